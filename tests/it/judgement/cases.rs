//! Recorded clusters of real users, with the problems that cpufit must report.
//!
//! `CASES=DIR` names other cases of the same form. Verdict, fitting nodes and nearest nodes must be right in every
//! case; for the shipped cases, this file lists what `explain` must say.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::common::{
    self, Scratch, Tally, check, cpufit, data, fitting, head, kubevirt, launcher_pod, list, nearest, node, read_json,
    texts,
};
use serde_json::{Map, Value, json};

/// Wordings of one statement, of which any is accepted. Case and white space do not count.
type Idea = &'static [&'static str];

const LIBVIRT_MAY_REFUSE: Idea = &["libvirt may refuse", "libvirt there may refuse"];
const OFFERED_BY_NONE: Idea = &[
    "no node offers",
    "offered by no node",
    "no node has",
    "on no node",
    "none of the nodes offers",
    "offered nowhere",
];

/// The required content of each shipped case's explanation.
const IDEAS: &[(&str, &[Idea])] = &[
    (
        "01-ryzen-two-generations",
        &[&["node-a"], &["erms"], &["fsrm"], &["vaes"], &["vpclmulqdq"], LIBVIRT_MAY_REFUSE, &["EPYC-IBPB"]],
    ),
    (
        "02-required-but-never-labelled",
        &[
            &["3dnow"],
            &["3dnowext"],
            &["acpi"],
            &["amd-ssbd"],
            OFFERED_BY_NONE,
            &["not even node-a", "not even the source", "node-a itself"],
            &[
                "not a matter of hardware",
                "not the hardware",
                "labels, not machines",
                "labels, not hardware",
                "not machines",
            ],
        ],
    ),
    (
        "04-upgrade-lost-one-feature",
        &[
            &["amd-stibp"],
            OFFERED_BY_NONE,
            &["node-b"],
            &["node-c"],
            &["lack only", "lacks only", "only lack"],
            &["not even node-a", "not even the source", "node-a itself"],
            &["virtctl restart"],
        ],
    ),
    (
        "06-nine-cordoned-nodes-blamed-on-cpu",
        &[
            &["9 nodes fit but are cordoned", "9 nodes fit", "nine nodes fit", "9 fit but are cordoned", "9 cordoned"],
            &["kubectl uncordon"],
            &["worker-11"],
            &["GraniteRapids"],
            &["4 nodes are tainted", "4 nodes tainted", "4 tainted", "taint on 4 nodes", "4 nodes"],
            &["node-role.kubernetes.io/master"],
        ],
    ),
    (
        "10-labels-fit-libvirt-refuses",
        &[
            &["ctrl-02"],
            &["ctrl-03"],
            &["by their labels", "by labels", "by its labels", "labels alone"],
            &["outdated launcher", "outdated virt-launcher", "launcher is outdated", "outdatedLauncherImage"],
            &["older", "QEMU"],
            &["extra features: ht"],
            &["restart"],
        ],
    ),
    (
        "13-upgrade-stuck-cordon-suspected",
        &[
            &["node-1"],
            &["Cascadelake-Server"],
            &["ibrs-all"],
            &["not the cause", "does not matter", "no matter", "is not why", "not to blame"],
            &["node-2"],
            &["witness"],
            &[
                "takes no guests",
                "no guests",
                "not take guests",
                "cannot take guests",
                "shuts guests out",
                "keeps guests out",
            ],
        ],
    ),
    (
        "15-tsc-of-a-node-it-may-not-use",
        &[
            &["tsc-frequency-2197454000"],
            &["cp-1"],
            &["node-role.kubernetes.io/control-plane"],
            &["topologyHints"],
            &[
                "waiting does not help",
                "waiting will not",
                "waiting cannot",
                "waiting is no",
                "not cure it",
                "does not change by waiting",
            ],
            &["worker-1"],
            &["worker-2"],
            &["lack only", "lacks only", "only lack"],
        ],
    ),
    (
        "16-virt-handler-not-well",
        &[
            &["kubevirt.io/schedulable"],
            &["node-a"],
            &["node-b"],
            &["virt-handler"],
            &["not a matter of CPU", "not the CPU", "nothing to do with CPU", "not a CPU", "not a question of CPU"],
        ],
    ),
    (
        "19-skip-node-set-to-false",
        &[
            &["node-c"],
            &["ibpb"],
            &["ibrs"],
            &["same host model"],
            &["skip-node"],
            &[
                "value does not count",
                "value does not matter",
                "presence counts",
                "mere presence",
                "presence alone",
                "whatever its value",
                "=false does not end",
            ],
            &["kubectl annotate node node-c node-labeller.kubevirt.io/skip-node-"],
            &["node-b"],
            &["cordoned"],
        ],
    ),
    (
        "07-own-host-model-not-usable-by-name",
        &[
            &["EPYC-Rome"],
            &["runs on 1 of 4 nodes (genoa-a)"],
            &["can never migrate", "could never leave", "could never migrate"],
            &["host model of rome-a, rome-b and rome-c but not usable there by name"],
            &["EPYC-IBPB runs on 4 nodes"],
        ],
    ),
    (
        "11-lottery-among-milan-and-epyc",
        &[
            &["from ctrl-01, ctrl-02 or ctrl-03"],
            &["never to work-01"],
            &["from work-01 to 3 nodes"],
            &["EPYC-IBPB runs on 4 nodes"],
            &["EPYC-Milan by name would lose no node against host-model on ctrl-01, ctrl-02 and ctrl-03"],
        ],
    ),
    (
        "17-maintenance-mode-loop-vmx",
        &[
            &["can migrate to one node only: n1"],
            &["failed in libvirt"],
            &["vmx-exit-load-perf-global-ctrl"],
            &["vmx-entry-load-perf-global-ctrl"],
            &["no node has a label for that"],
            &["Skylake-Server-noTSX-IBRS runs on both nodes"],
        ],
    ),
    (
        "24-cpu-pinning-one-manager-node",
        &[
            &["hv-2, hv-3 lack only cpumanager (has false, needs true)"],
            &["asked for by spec.domain.cpu.dedicatedCpuPlacement"],
            &["not a matter of CPU models"],
            &["turn on the CPU manager", "CPU manager on hv-2"],
            &["until it is shut down", "shut it down"],
        ],
    ),
    (
        "26-sev-label-without-value",
        &[
            &["conf-1 and conf-2 carry kubevirt.io/sev with an empty value, and true is asked for"],
            &["has an empty value, needs true"],
            &["plain-1 has no such label at all"],
            &["KubeVirt 1.5.0 to 1.5.2"],
            &["1.5.3"],
        ],
    ),
    (
        "28-nested-svm-host-model-forgotten",
        &[
            &["will ask for the guest's own cpu-feature svm alone"],
            &["as if it had migrated before"],
            &["rome-1 may be chosen and lacks cpu-feature vaes, vpclmulqdq of the host model of milan-1"],
            &["libvirt may refuse"],
            &["milan-2 has all of it"],
            &["FITS-BY-LABELS"],
        ],
    ),
    (
        "30-preference-of-another-architecture",
        &[
            &["kubernetes.io/arch=amd64 is asked for by VirtualMachineClusterPreference rhel.10"],
            &["no node is of its architecture amd64: 2 are arm64, 2 are s390x"],
            &["use the preference for the architecture that you want"],
        ],
    ),
    (
        "32-single-node",
        &[
            &["there is no other node"],
            &["a drain of sno-1 waits until it is shut down"],
            &["evictionStrategy is LiveMigrate"],
            &["on a single-node cluster the strategy None"],
        ],
    ),
    (
        "35-affinity-left-from-the-last-move",
        &[
            &["n1, n4 meet every entry of its selector, of the CPU and others, and fail its node affinity"],
            &["is asked for by spec.affinity of the VMI: metadata.name in (n2); or example.com/rack > 3"],
            &["n3 lacks only cpu-feature pku"],
            &["take spec.affinity"],
        ],
    ),
    (
        "39-data-source-decides-the-architecture",
        &[
            &["kubernetes.io/arch=arm64 is asked for by DataSource"],
            &["the only node of its architecture arm64 is arm-1"],
            &["could never leave", "can never migrate"],
        ],
    ),
    (
        "41-instancetype-of-yesterday",
        &[
            &["the VM uses ControllerRevision"],
            &["of instancetype corp.medium, which has changed since"],
            &["cpu-model EPYC-Genoa is asked for by ControllerRevision app-corp.medium-v1beta1"],
            &["an older copy of VirtualMachineClusterInstancetype corp.medium"],
            &["take instancetype corp.medium as it is now: clear the VM's revision"],
            &["until its revision is cleared"],
        ],
    ),
    (
        "42-kubevirt-says-not-migratable",
        &[&["KubeVirt refuses it"], &["DisksNotLiveMigratable"], &["is not shared"], &["w-1, w-2, w-4 fit by labels"]],
    ),
    (
        "43-cluster-network-on-one-host",
        &[
            &["network.harvesterhci.io/cn2 in (true) is asked for by spec.affinity of the VMI"],
            &["hv-2, hv-3 meet every entry of its selector, of the CPU and others"],
        ],
    ),
    (
        "22-two-real-nodes-ci",
        &[
            &["haswell-1"],
            &[
                "only node that fits",
                "only node that would fit",
                "only haswell-1",
                "no other node fits",
                "the only one that fits",
            ],
            &["ivybridge-1"],
            &["Haswell-noTSX-IBRS"],
            LIBVIRT_MAY_REFUSE,
            &["IvyBridge-IBRS"],
        ],
    ),
];

fn folders() -> Vec<PathBuf> {
    let root = data("CASES", "cases");
    let entries = std::fs::read_dir(&root).unwrap_or_else(|error| panic!("{}: {error}", root.display()));
    let mut folders: Vec<PathBuf> =
        entries.map(|entry| entry.unwrap().path()).filter(|path| path.join("expect.json").is_file()).collect();
    folders.sort();
    folders
}

fn name(folder: &Path) -> String {
    folder.file_name().expect("a name").to_string_lossy().into_owned()
}

/// Whether the case's `KubeVirt` selects the vendor of a migration's source: since 1.6.4 and 1.7.1, not in 1.7.0.
///
/// Some recorded answers select it in every release.
fn asks_for_vendor(folder: &Path) -> bool {
    let text = std::fs::read_to_string(folder.join("snapshot.yaml")).expect("a snapshot");
    let version = text.split("observedKubeVirtVersion: v").nth(1).map(|rest| {
        let version = rest.split_whitespace().next().unwrap_or_default();
        version.split('.').map(|part| part.parse().unwrap_or(0)).collect::<Vec<u32>>()
    });
    version.is_none_or(|version| version >= vec![1, 6, 4] && version != [1, 7, 0])
}

/// Returns the expected `nearest`: fewest missing keys first, then by name.
fn expected_nearest(expect: &Value, asks_for_vendor: bool) -> Vec<(String, Vec<String>)> {
    let mut nodes: Vec<(String, Vec<String>)> = expect["nearest"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(node, keys)| {
            let mut keys = texts(keys);
            keys.retain(|key| asks_for_vendor || !key.starts_with("cpu-vendor.node"));
            keys.sort();
            (node.clone(), keys)
        })
        .collect();
    nodes.sort_by(|(a, lacks_a), (b, lacks_b)| (lacks_a.len(), a).cmp(&(lacks_b.len(), b)));
    nodes
}

#[test]
fn every_case_gets_its_verdict_its_nodes_and_its_nearest_nodes() {
    let mut tally = Tally::new("cases");
    for folder in folders() {
        let expect = read_json(&folder.join("expect.json"));
        let results = check(&[&folder.join("snapshot.yaml")], &[&folder.join("input.yaml")], &[]);
        let result = results.first().unwrap_or(&Value::Null);
        let mut found = common::differences("verdict", &expect["verdict"], &result["verdict"]);
        let (expected, got) = (texts(&expect["fitting"]), fitting(result));
        if expected != got {
            found.push(format!("fitting: expected {expected:?}, got {got:?}"));
        }
        let (expected, got) = (expected_nearest(&expect, asks_for_vendor(&folder)), nearest(result));
        if expected != got {
            found.push(format!("nearest: expected {expected:?}, got {got:?}"));
        }
        found.extend(common::channel_faults(result));
        // A node that fits and is cordoned makes the cause a temporary one, whatever the other nodes lack.
        let is_cordoned = expect["blocked"].as_object().is_some_and(|blocked| !blocked.is_empty());
        if expect.get("cause").is_some() && !(is_cordoned && result["cause"] == "temporary") {
            found.extend(common::differences("cause", &expect["cause"], &result["cause"]));
        }
        tally.case(&name(&folder), &found);
    }
    tally.finish("a wrong answer about a cluster that really was");
}

fn explain(folder: &Path, more: &[&str]) -> common::Ran {
    let (input, snapshot) = (folder.join("input.yaml"), folder.join("snapshot.yaml"));
    let ran = cpufit([OsStr::new("explain"), OsStr::new("-f"), input.as_os_str()])
        .args([OsStr::new("--snapshot"), snapshot.as_os_str()])
        .args(more)
        .run();
    assert!(
        matches!(ran.code(), 0 | 1),
        "{}: explain could not judge, so the user is left alone: {}",
        name(folder),
        head(&ran.stderr)
    );
    ran
}

/// Returns the text in lower case with single blanks, so that line breaks of a table do not hide a sentence.
fn plain(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}

#[test]
fn explain_prints_the_expected_statements_of_every_case() {
    let mut tally = Tally::new("explanations");
    for folder in folders() {
        let said = explain(&folder, &[]).stdout;
        let flat = plain(&said);
        let Some((_, ideas)) = IDEAS.iter().find(|(case, _)| *case == name(&folder)) else {
            let must_say = texts(&read_json(&folder.join("expect.json"))["must_say"]);
            println!("note: {} is not listed here; it must say {must_say:#?} and says\n{said}", name(&folder));
            continue;
        };
        let unsaid: Vec<String> = ideas
            .iter()
            .filter(|wordings| !wordings.iter().any(|wording| flat.contains(&plain(wording))))
            .map(|wordings| format!("nothing says {wordings:?}"))
            .collect();
        if !unsaid.is_empty() {
            println!("{} says:\n{said}", name(&folder));
        }
        tally.case(&name(&folder), &unsaid);
    }
    tally.finish("the user does not learn what would have saved the day");
}

/// Returns the value at a path such as `spec.a[0].b`.
fn at<'v>(object: &'v Value, path: &str) -> &'v Value {
    path.split('.').fold(object, |value, part| match part.strip_suffix(']').and_then(|part| part.split_once('[')) {
        Some((field, index)) => &value[field][index.parse::<usize>().expect("an index")],
        None => &value[part],
    })
}

#[test]
fn the_field_of_a_finding_is_one_that_the_object_has() {
    let (mut tally, mut named) = (Tally::new("fields"), 0);
    for folder in folders() {
        let text = std::fs::read_to_string(folder.join("input.yaml")).unwrap();
        let object: Value = serde_saphyr::from_str(&text).unwrap();
        let results = common::results(&explain(&folder, &["-o", "json"]).json());
        let findings = results.iter().flat_map(|result| result["findings"].as_array().into_iter().flatten());
        let fields = findings.filter_map(|finding| finding["field"].as_str()).filter(|field| !field.is_empty());
        let fields: Vec<&str> = fields.collect();
        named += fields.len();
        let absent = fields.iter().filter(|field| at(&object, field).is_null());
        tally.case(&name(&folder), &absent.map(|field| format!("it has no {field}")).collect::<Vec<_>>());
    }
    assert!(named > 0, "no finding names a field, so users do not see where to look");
    tally.finish("a person looks for a field that is not there");
}

fn ids(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(|entry| entry["id"].as_str().map(str::to_owned)).collect()
}

#[test]
fn explain_offers_what_helps_and_never_what_does_not() {
    let mut tally = Tally::new("remedies");
    for folder in folders() {
        let expect = read_json(&folder.join("expect.json"));
        let results = common::results(&explain(&folder, &["-o", "json"]).json());
        let result = results.first().unwrap_or(&Value::Null);
        let (offered, not_helping) = (ids(&result["remedies"]), &result["notHelping"]);
        let mut found = Vec::new();
        for list in ["remedies", "notHelping"] {
            if !result[list].is_array() {
                found.push(format!("{list} is {}, not a list", result[list]));
            }
        }
        for id in texts(&expect["helps"]) {
            if !offered.contains(&id) {
                found.push(format!("{id} helps and is not offered, only {offered:?}"));
            }
        }
        for id in texts(&expect["does_not_help"]) {
            if offered.contains(&id) {
                found.push(format!("{id} does not help and is offered"));
            }
        }
        for entry in not_helping.as_array().into_iter().flatten() {
            let id = entry["id"].as_str().unwrap_or_default();
            if entry["why"].as_str().is_none_or(|why| why.trim().is_empty()) {
                found.push(format!("{id} is said not to help, but not why"));
            }
            if offered.iter().any(|offer| offer == id) {
                found.push(format!("{id} is offered and said not to help"));
            }
        }
        tally.case(&name(&folder), &found);
    }
    tally.finish("the user tries what cannot work, or misses what would");
}

#[test]
fn a_guest_that_no_longer_matches_its_own_node_is_found() {
    let snapshot = common::shipped("cases").join("04-upgrade-lost-one-feature/snapshot.yaml");
    let ran = cpufit(["explain", "vmi/db", "-n", "shop", "-o", "json"])
        .args([OsStr::new("--snapshot"), snapshot.as_os_str()])
        .run();
    let answer = ran.json();
    let results = common::results(&answer);
    let findings = results.iter().flat_map(|result| result["findings"].as_array().into_iter().flatten());
    let own: Vec<&Value> = findings.filter(|finding| finding["check"] == "own-node").collect();
    assert!(!own.is_empty(), "a guest one kubelet restart away from its end is not found: {answer:#}");
    let message = own.iter().filter_map(|finding| finding["message"].as_str()).collect::<Vec<_>>().join("\n");
    for word in ["node-a", "amd-stibp", "kubelet"] {
        assert!(message.contains(word), "the finding does not name {word}, so users cannot act on it: {message}");
    }

    let healthy = common::shipped("cases").join("10-labels-fit-libvirt-refuses/snapshot.yaml");
    let ran = cpufit(["explain", "vmi/ubuntu-dev", "-n", "shop", "-o", "json"])
        .args([OsStr::new("--snapshot"), healthy.as_os_str()])
        .run();
    assert!(
        !ran.stdout.contains("own-node"),
        "a guest that matches its node is said to be at risk: false alarms are soon ignored: {}",
        head(&ran.stdout)
    );
}

/// Returns the labels of a node with these CPU features.
fn labels(host: &str, features: impl Iterator<Item = usize>) -> Value {
    let mut labels: Map<String, Value> =
        features.map(|index| (format!("cpu-feature.node.kubevirt.io/feature-{index:02}"), json!("true"))).collect();
    labels.insert("kubevirt.io/schedulable".to_owned(), json!("true"));
    labels.insert("kubernetes.io/hostname".to_owned(), json!(host));
    Value::Object(labels)
}

#[test]
fn a_pod_that_meets_23_of_25_keys_names_the_nearest_node_and_two_keys() {
    let scratch = Scratch::new();
    let snapshot = scratch.write_json(
        "snapshot.json",
        &list([
            node("node-far", &labels("node-far", 0..20)),
            node("node-near", &labels("node-near", (0..25).filter(|index| ![7, 19].contains(index)))),
            node("node-src", &labels("node-src", 0..25)),
            kubevirt(&json!({})),
        ]),
    );
    let selector: Map<String, Value> =
        (0..25).map(|index| (format!("cpu-feature.node.kubevirt.io/feature-{index:02}"), json!("true"))).collect();
    let uid = "6f0d2c1e-0000-4000-8000-000000000025";
    let guest = json!({"metadata": {"name": "db", "namespace": "shop", "uid": uid}});
    let mut pod = launcher_pod(&guest, "x7k2p", &json!(selector));
    pod["metadata"]["labels"]["kubevirt.io/migrationJobUID"] = json!("5e6f7a8b-0000-4000-8000-000000000001");
    pod["metadata"]["labels"]["kubevirt.io/nodeName"] = json!("node-src");
    let pod = scratch.write_json("pod.json", &pod);
    let results = check(&[&snapshot], &[&pod], &[]);
    let lacking = ["07", "19"].map(|index| format!("cpu-feature.node.kubevirt.io/feature-{index}"));
    assert_eq!(fitting(&results[0]), Vec::<String>::new(), "the source is no target for its own guest");
    assert_eq!(results[0]["verdict"], "pinned", "{:#}", results[0]);
    assert_eq!(
        nearest(&results[0]).first(),
        Some(&("node-near".to_owned(), lacking.to_vec())),
        "the user must learn which node is nearest and which two labels it lacks: {:#}",
        results[0]["nearest"]
    );
    let warnings = texts(&results[0]["warnings"]).join("\n");
    for word in ["node-near", "feature-07", "feature-19"] {
        assert!(warnings.contains(word), "kubectl would not show {word}: {warnings:?}");
    }
}
