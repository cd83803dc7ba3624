//! A fleet of a thousand nodes: the same answer from `check`, from the running server, and from an independent count.
//!
//! `GEN_REVIEW=SCRIPT` names a Python generator of larger, more detailed fleets with its own expectations; with it (and
//! with python3) its data is judged as well.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::common::{self, Scratch, Server, Tally, check, create, fitting, launcher_pod, read, read_json, texts};
use serde_json::{Map, Value, json};

const NODES: usize = 1_000;
const FEATURE: &str = "cpu-feature.node.kubevirt.io/";
const MODEL: &str = "cpu-model.node.kubevirt.io/";
const KNOWN: &str = "cpu-model-migration.node.kubevirt.io/";
const OBSOLETE: &str = "node-labeller.kubevirt.io/obsolete-host-model";

/// A CPU generation. Each has all features of its predecessors of the same vendor, and more.
struct Generation {
    vendor: &'static str,
    models: &'static [&'static str],
    features: usize,
}

const INTEL: [&str; 6] = [
    "Nehalem-IBRS",
    "SandyBridge-IBRS",
    "Haswell-noTSX-IBRS",
    "Skylake-Server-noTSX-IBRS",
    "Cascadelake-Server-noTSX",
    "Icelake-Server-noTSX",
];
const AMD: [&str; 2] = ["EPYC-Rome", "EPYC-Milan"];

/// Numbers of features of the two newest Intel generations; both meet a selector of the older one.
const FIFTH: usize = 78;
const SIXTH: usize = 90;

fn generations() -> Vec<Generation> {
    let intel = (0..INTEL.len()).map(|i| Generation {
        vendor: "Intel",
        models: &INTEL[..=i],
        features: if i == 5 { SIXTH } else { 30 + 12 * i },
    });
    let amd = (0..AMD.len()).map(|i| Generation { vendor: "AMD", models: &AMD[..=i], features: 40 + 10 * i });
    intel.chain(amd).collect()
}

fn labels_of(index: usize, generation: &Generation) -> Map<String, Value> {
    let vendor = generation.vendor.to_lowercase();
    let mut labels = Map::new();
    let mut put = |key: String, value: &str| drop(labels.insert(key, json!(value)));
    put("kubernetes.io/hostname".to_owned(), &name_of(index));
    put("kubernetes.io/arch".to_owned(), "amd64");
    put("kubevirt.io/schedulable".to_owned(), if index % 41 == 5 { "false" } else { "true" });
    put("topology.kubernetes.io/zone".to_owned(), ["a", "b", "c"][index % 3]);
    put("machine-type.node.kubevirt.io/q35".to_owned(), "true");
    put(format!("cpu-vendor.node.kubevirt.io/{}", generation.vendor), "true");
    let own = generation.models.last().expect("a model");
    put(format!("host-model-cpu.node.kubevirt.io/{own}"), "true");
    for model in generation.models {
        put(format!("{MODEL}{model}"), "true");
        put(format!("{KNOWN}{model}"), "true");
    }
    for feature in 0..generation.features {
        put(format!("{FEATURE}{vendor}-{feature:02}"), "true");
        if feature % 5 == 0 {
            put(format!("host-model-required-features.node.kubevirt.io/{vendor}-{feature:02}"), "true");
        }
    }
    if index % 29 == 3 {
        put(OBSOLETE.to_owned(), "true");
    }
    if index == NODES - 1 {
        put(format!("{FEATURE}only-here"), "true");
    }
    labels
}

fn name_of(index: usize) -> String {
    format!("node-{index:05}")
}

/// Returns a node's spec: cordons with their taint, and taints with and without effect.
fn spec_of(index: usize) -> Value {
    match index {
        _ if index == NODES - 1 => json!({}),
        _ if index % 50 == 7 => json!({
            "unschedulable": true,
            "taints": [{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}],
        }),
        _ if index % 37 == 4 => json!({"taints": [{"key": "dedicated", "value": "db", "effect": "NoSchedule"}]}),
        _ if index % 31 == 4 => json!({"taints": [{"key": "dedicated", "value": "db", "effect": "PreferNoSchedule"}]}),
        _ => json!({}),
    }
}

fn fleet() -> Vec<Value> {
    let generations = generations();
    (0..NODES)
        .map(|index| {
            // The last node is of the newest Intel generation, the others alternate.
            let generation = if index == NODES - 1 { &generations[5] } else { &generations[index % generations.len()] };
            let mut node = common::node(&name_of(index), &Value::Object(labels_of(index, generation)));
            node["spec"] = spec_of(index);
            node
        })
        .collect()
}

fn selector(model: &str, features: usize, more: &[&str]) -> Map<String, Value> {
    let mut selector = Map::new();
    selector.insert(format!("{KNOWN}{model}"), json!("true"));
    selector.insert("kubevirt.io/schedulable".to_owned(), json!("true"));
    selector.insert("kubernetes.io/arch".to_owned(), json!("amd64"));
    selector.insert("machine-type.node.kubevirt.io/q35".to_owned(), json!("true"));
    selector.extend((0..features).map(|feature| (format!("{FEATURE}intel-{feature:02}"), json!("true"))));
    selector.extend(more.iter().map(|feature| (format!("{FEATURE}{feature}"), json!("true"))));
    selector
}

fn review(guest: &str, selector: &Map<String, Value>) -> Value {
    let uid = "6f0d2c1e-0000-4000-8000-00000000000a";
    let guest = json!({"metadata": {"name": guest, "namespace": "tenant-a", "uid": uid}});
    let mut pod = launcher_pod(&guest, "x7k2p", &json!(selector));
    pod["metadata"]["labels"]["kubevirt.io/nodeName"] = json!(name_of(0));
    pod["metadata"]["labels"]["kubevirt.io/migrationJobUID"] = json!("5e6f7a8b-0000-4000-8000-00000000000a");
    pod["spec"]["affinity"] = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
        "nodeSelectorTerms": [{"matchExpressions": [{"key": OBSOLETE, "operator": "DoesNotExist"}]}],
    }}});
    create(&pod, "system:serviceaccount:kubevirt:kubevirt-controller")
}

/// Returns the nodes that accept this pod, by checking every one except the source, `node-00000`.
fn by_hand(nodes: &[Value], selector: &Map<String, Value>) -> Vec<String> {
    let takes = |node: &&Value| {
        let labels = &node["metadata"]["labels"];
        let mut taints = node["spec"]["taints"].as_array().into_iter().flatten();
        selector.iter().all(|(key, value)| labels.get(key) == Some(value))
            && labels.get(OBSOLETE).is_none()
            && node["spec"]["unschedulable"] != true
            && !taints.any(|taint| taint["effect"] != "PreferNoSchedule")
    };
    let names = nodes.iter().skip(1).filter(takes).filter_map(|node| node["metadata"]["name"].as_str());
    names.map(str::to_owned).collect()
}

/// Whether the warnings say that there is no node at all.
fn say_no_node(warnings: &[String]) -> bool {
    warnings.iter().any(|warning| {
        let warning = warning.to_lowercase();
        ["none of", "no node", "no other node", "nowhere"].iter().any(|words| warning.contains(words))
    })
}

fn warning_differences(feasible: bool, response: &Value) -> Vec<String> {
    let warnings = texts(&response["warnings"]);
    let mut found = common::channel_faults(response);
    if response["allowed"] != true {
        found.push(format!("not allowed under the default policy: {response}"));
    }
    if say_no_node(&warnings) == feasible {
        found.push(format!("feasible is {feasible}, but the warnings are {warnings:?}"));
    }
    found
}

#[test]
fn a_thousand_nodes_are_judged_as_counted_by_hand() {
    let scratch = Scratch::new();
    let nodes = fleet();
    let snapshot =
        scratch.write_json("nodes.json", &json!({"apiVersion": "v1", "kind": "NodeList", "items": nodes.clone()}));
    let server = Server::start(&snapshot, &[]);
    let asked = [
        ("feasible", selector(INTEL[4], FIFTH, &[])),
        ("last", selector(INTEL[5], SIXTH, &["only-here"])),
        ("infeasible", selector(INTEL[4], FIFTH, &["no-such"])),
        ("conflict", selector(INTEL[5], SIXTH, &["amd-01"])),
    ];
    let files: Vec<PathBuf> = asked
        .iter()
        .map(|(name, selector)| scratch.write_json(&format!("{name}.json"), &review(name, selector)))
        .collect();
    let results = check(&[&snapshot], &files.iter().map(PathBuf::as_path).collect::<Vec<_>>(), &[]);
    assert_eq!(results.len(), asked.len(), "a review got no result");
    let mut tally = Tally::new("generated fleet");
    for (((name, selector), file), result) in asked.iter().zip(&files).zip(&results) {
        let expected = by_hand(&nodes, selector);
        let mut found = Vec::new();
        let got = fitting(result);
        if got != expected {
            let (some, few): (Vec<_>, Vec<_>) = (got.iter().take(5).collect(), expected.iter().take(5).collect());
            found.push(format!("{} nodes fit by hand, {} by check: {few:?} … {some:?} …", expected.len(), got.len()));
        }
        found.extend(warning_differences(!expected.is_empty(), &server.review("/validate", read(file))));
        tally.case(name, &found);
        assert_eq!(expected.is_empty(), ["infeasible", "conflict"].contains(name), "the fleet does not show {name}");
    }
    tally.finish("at the size of a real fleet the answer is wrong");
}

#[test]
fn an_external_generator_agrees() {
    let Some(script) = std::env::var_os("GEN_REVIEW").filter(|path| !path.is_empty()) else {
        println!("skipped: GEN_REVIEW names no generator");
        return;
    };
    let python = Command::new("python3").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !python.is_ok_and(|status| status.success()) {
        println!("skipped: there is no python3 to run {}", Path::new(&script).display());
        return;
    }
    let mut tally = Tally::new("external generator");
    for nodes in ["10", "1000"] {
        let scratch = Scratch::new();
        let made = Command::new("python3")
            .arg(&script)
            .args(["--nodes", nodes, "--out"])
            .arg(scratch.path())
            .status()
            .expect("python3");
        assert!(made.success(), "the generator failed");
        let snapshot = scratch.path().join("nodes.json");
        let server = Server::start(&snapshot, &[]);
        let expect = read_json(&scratch.path().join("expect.json"));
        for (file, expected) in expect["reviews"].as_object().expect("reviews") {
            let path = scratch.path().join(file);
            let response = server.review("/validate", read(&path));
            let mut found = common::differences("uid", &expected["uid"], &response["uid"]);
            if let Some(feasible) = expected["feasible"].as_bool() {
                found.extend(warning_differences(feasible, &response));
            } else if response["allowed"] != true {
                found.push(format!("not allowed: {response}"));
            }
            if let Some(schedulable) = expected["nodes_schedulable"].as_u64() {
                let results = check(&[&snapshot], &[&path], &[]);
                let counted = fitting(&results[0]).len() as u64;
                if counted != schedulable {
                    found.push(format!("{schedulable} nodes take it, check counts {counted}"));
                }
            }
            tally.case(&format!("{nodes} nodes, {file}"), &found);
        }
    }
    tally.finish("at the size of a real fleet the answer is wrong");
}
