//! Questions about the whole cluster, as scripts use them: `recommend` on constructed clusters (more: make clusters
//! CLUSTERS=FILE).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::common::documents::before_the_upgrade;
use crate::common::{self, Ran, Scratch, cpufit, head, list, shipped, texts};
use cpufit::policy::{Dial, Otherwise, Policy};
use rstest::rstest;
use serde::Deserialize;
use serde_json::{Value, json};

fn recommend(snapshot: &Path, more: &[&str]) -> Ran {
    let ran = cpufit(["recommend", "--snapshot"]).args([snapshot]).args(more).run();
    assert_eq!(ran.code(), 0, "{}", head(&ran.stderr));
    ran
}

/// A cluster and the expected recommendation, as in `clusters.json` beside the case files.
#[derive(Deserialize)]
struct Cluster {
    name: String,
    nodes: Vec<Labelled>,
    expected: Expected,
}

#[derive(Deserialize)]
struct Labelled {
    name: String,
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Expected {
    model: Option<String>,
    candidates: Vec<String>,
}

impl Labelled {
    fn node(&self) -> Value {
        let mut node = common::node(&self.name, &json!(self.labels));
        node["metadata"]["annotations"] = json!(self.annotations);
        node
    }
}

/// Expands a packed list: `Broadwell . -IBRS` is Broadwell, Broadwell-IBRS.
fn spread(packed: &Value) -> Vec<String> {
    let of_family = |line: String| -> Vec<String> {
        let mut words = line.split(' ');
        let family = words.next().unwrap().to_owned();
        words.map(|suffix| format!("{family}{}", suffix.trim_start_matches('.'))).collect()
    };
    texts(packed).into_iter().flat_map(of_family).collect()
}

/// Returns the shipped clusters, expanded.
fn clusters() -> Vec<Cluster> {
    let recorded: Value = serde_json::from_slice(&common::read(&shipped("models").join("clusters.json"))).unwrap();
    let node = |number: usize, kind: &Value| {
        let kind = kind.as_str().unwrap();
        let (kind, schedulable) = kind.split_once(" (").map_or((kind, "true"), |(kind, _)| (kind, "false"));
        let host = &recorded["hosts"][kind];
        let on = |prefix: &str, name: &str| (format!("{prefix}.node.kubevirt.io/{name}"), "true".to_owned());
        let mut labels = BTreeMap::from([
            ("kubernetes.io/arch".to_owned(), "amd64".to_owned()),
            ("kubevirt.io/schedulable".to_owned(), schedulable.to_owned()),
            on("cpu-vendor", host["vendor"].as_str().unwrap()),
            on("host-model-cpu", host["hostModel"].as_str().unwrap()),
        ]);
        labels.extend(texts(&host["knownModels"]).iter().map(|model| on("cpu-model-migration", model)));
        labels.extend(spread(&host["models"]).iter().map(|model| on("cpu-model", model)));
        Labelled { name: format!("node{}", number + 1), labels, annotations: BTreeMap::new() }
    };
    let cluster = |cluster: &Value| {
        let candidates = spread(&cluster["candidates"]);
        Cluster {
            name: cluster["name"].as_str().unwrap().to_owned(),
            nodes: cluster["nodes"].as_array().unwrap().iter().enumerate().map(|(at, kind)| node(at, kind)).collect(),
            expected: Expected { model: candidates.first().cloned(), candidates },
        }
    };
    recorded["clusters"].as_array().unwrap().iter().map(cluster).collect()
}

fn pools(report: &Value) -> &Vec<Value> {
    report["pools"].as_array().expect("pools")
}

#[test]
fn every_cluster_gets_the_model_that_all_its_nodes_can_run() {
    let (what, clusters) = match std::env::var_os("CLUSTERS").filter(|path| !path.is_empty()) {
        Some(path) => (
            path.to_string_lossy().into_owned(),
            serde_json::from_slice::<Vec<Cluster>>(&common::read(&PathBuf::from(path))).expect("clusters"),
        ),
        None => ("shipped".to_owned(), clusters()),
    };
    let scratch = Scratch::new();
    for Cluster { name, nodes, expected } in &clusters {
        let dump = scratch.write_json("cluster.json", &list(nodes.iter().map(Labelled::node)));
        let report = recommend(&dump, &["-o", "json"]).json();
        let all = &report["all"];
        assert_eq!(all["model"], json!(expected.model), "{name}: {}", all["why"]);
        assert_eq!(texts(&all["candidates"]), expected.candidates, "{name}");
        assert!(all["why"].as_str().is_some_and(|why| !why.is_empty()), "{name}: no reason is given");
        for pool in pools(&report) {
            let count = usize::try_from(pool["nodes"].as_u64().unwrap()).unwrap();
            for candidate in pool["candidates"].as_array().unwrap() {
                let (runs_on, leaves_out) = (texts(&candidate["runsOn"]), texts(&candidate["leavesOut"]));
                assert_eq!(runs_on.len() + leaves_out.len(), count, "{name}: {candidate}");
                let key = format!("cpu-model.node.kubevirt.io/{}", candidate["model"].as_str().unwrap());
                for node in nodes.iter().filter(|node| runs_on.contains(&node.name) || leaves_out.contains(&node.name))
                {
                    assert_eq!(node.labels.contains_key(&key), runs_on.contains(&node.name), "{name}: {candidate}");
                }
            }
        }
        if pools(&report).len() == 1 {
            assert_eq!(pools(&report)[0]["model"], all["model"], "{name}: one pool is all nodes");
        }
    }
    println!("clusters ({what}): {} of {} as expected", clusters.len(), clusters.len());
}

/// The comparison with other tools is about what the verb answers: its column for the verb is that of these fleets.
#[test]
fn the_comparison_with_other_tools_states_what_recommend_answers() {
    const FLEETS: [(&str, &[&str]); 5] = [
        ("Cascade Lake, Sapphire Rapids; TSX on", &["kb-cascadelake-sapphirerapids"]),
        ("Skylake, Cascade Lake; TSX off", &["skylake-cascadelake-tsx-off"]),
        ("Cooper Lake, Ice Lake", &["cooperlake-icelake"]),
        ("Rome, Milan", &["rome-milan"]),
        ("Intel and AMD nodes", &["cooperlake-icelake", "rome-milan"]),
    ];
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/recommend.md");
    let page = std::fs::read_to_string(page).expect("the page");
    let scratch = Scratch::new();
    let all = clusters();
    for (fleet, names) in FLEETS {
        let row =
            page.lines().find(|line| line.starts_with(&format!("| {fleet} |"))).unwrap_or_else(|| panic!("{fleet}"));
        let said = row.split(" | ").nth(1).expect("the column of the verb");
        let of = |name: &&str| all.iter().find(|cluster| cluster.name == **name).expect("a cluster of that name");
        let nodes = names.iter().map(of).flat_map(|cluster| {
            cluster.nodes.iter().map(|node| {
                let mut object = node.node();
                object["metadata"]["name"] = format!("{}-{}", cluster.name, node.name).into();
                object
            })
        });
        let dump = scratch.write_json("fleet.json", &list(nodes));
        let report = recommend(&dump, &["-o", "json"]).json();
        let Some(model) = report["all"]["model"].as_str() else {
            assert_eq!(said, "one for each vendor; none for all", "{fleet}: {report}");
            assert!(
                pools(&report).len() == 2 && pools(&report).iter().all(|pool| pool["model"].is_string()),
                "{report}"
            );
            continue;
        };
        assert_eq!(said.split(':').next(), Some(model), "{fleet}: people would compare another answer");
    }
}

/// Nodes of two vendors, of s390x, of arm64, without labels, and with a model of an unknown name.
#[test]
fn each_kind_of_hardware_has_its_pool_and_other_nodes_are_named() {
    let node = |name: &str, arch: &str, vendor: &str, models: &[&str]| {
        let mut labels = json!({"kubernetes.io/arch": arch});
        if !vendor.is_empty() {
            labels["kubevirt.io/schedulable"] = json!("true");
            labels[format!("cpu-vendor.node.kubevirt.io/{vendor}")] = json!("true");
        }
        for model in models {
            labels[format!("cpu-model.node.kubevirt.io/{model}")] = json!("true");
        }
        common::node(name, &labels)
    };
    let mut arm = node("arm-1", "arm64", "", &[]);
    arm["metadata"]["labels"]["kubevirt.io/schedulable"] = json!("true");
    let nodes = vec![
        node("i-1", "amd64", "Intel", &["Haswell-noTSX-IBRS", "Skylake-Server-noTSX-IBRS", "FutureLake"]),
        node("i-2", "amd64", "Intel", &["Haswell-noTSX-IBRS", "qemu64"]),
        node("a-1", "amd64", "AMD", &["EPYC-Rome", "EPYC-IBPB"]),
        node("z-1", "s390x", "IBM", &["z14", "z14-base", "gen15a", "max", "qemu"]),
        node("z-2", "s390x", "IBM", &["z13", "z14-base", "z14"]),
        arm,
        node("control", "amd64", "", &[]),
    ];
    let scratch = Scratch::new();
    let dump = scratch.write_json("cluster.json", &list(nodes.clone()));
    let report = recommend(&dump, &["-o", "json"]).json();
    assert_eq!(report["all"]["model"], Value::Null, "two vendors");
    assert!(report["all"]["why"].as_str().unwrap().contains("AMD and Intel"), "{}", report["all"]["why"]);
    let found: Vec<(&Value, &Value, &Value)> =
        pools(&report).iter().map(|pool| (&pool["vendor"], &pool["arch"], &pool["model"])).collect();
    let expected = [("AMD", "amd64", "EPYC-Rome"), ("Intel", "amd64", "Haswell-noTSX-IBRS"), ("IBM", "s390x", "z14")];
    let expected = expected.map(|(vendor, arch, model)| (json!(vendor), json!(arch), json!(model)));
    assert_eq!(found, expected.iter().map(|(vendor, arch, model)| (vendor, arch, model)).collect::<Vec<_>>());
    let not_counted: Vec<&str> =
        report["notCounted"].as_array().unwrap().iter().map(|row| row["node"].as_str().unwrap()).collect();
    assert_eq!(not_counted, ["arm-1", "control"]);
    assert!(report["notCounted"][0]["why"].as_str().unwrap().contains("host-passthrough"), "{}", report["notCounted"]);
    assert_eq!(report["unknownModels"], json!([{"model": "FutureLake", "nodes": ["i-1"]}]));
    let lacks = &pools(&report)[1]["candidates"][0]["lacks"];
    assert_eq!(lacks[0]["nodes"], json!(["i-2"]), "the node to leave out, or to relabel, is not named");
    assert!(texts(&lacks[0]["features"]).contains(&"avx512f".to_owned()), "{lacks}");

    let only_z = scratch.write_json("z.json", &list(nodes[3..5].to_vec()));
    assert_eq!(recommend(&only_z, &["-o", "json"]).json()["all"]["candidates"], json!(["z14", "z14-base"]));
    insta::assert_snapshot!("recommend_of_many_kinds", recommend(&dump, &[]).stdout);
}

/// Statements about a pool are true for it, however small it is; a selection without nodes is not a dump without nodes.
#[test]
fn sentences_about_pools_of_one_two_and_no_nodes_are_true() {
    let node = |name: &str, arch: &str, vendor: &str| {
        let mut labels = json!({"kubernetes.io/arch": arch, "kubevirt.io/schedulable": "true", "pool": name});
        if !vendor.is_empty() {
            labels[format!("cpu-vendor.node.kubevirt.io/{vendor}")] = json!("true");
        }
        labels["cpu-model.node.kubevirt.io/qemu64"] = json!("true");
        common::node(name, &labels)
    };
    let nodes = [
        node("a-1", "amd64", "AMD"),
        node("i-1", "amd64", "Intel"),
        node("i-2", "amd64", "Intel"),
        node("z-1", "s390x", ""),
    ];
    let scratch = Scratch::new();
    let dump = scratch.write_json("cluster.json", &list(nodes.to_vec()));
    let said = recommend(&dump, &[]).stdout;
    for expected in [
        "is usable on the one node",
        "is usable on both nodes",
        "(s390x) (z-1): no model is recommended: the one node has no cpu-vendor label",
    ] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    assert!(!said.contains("all 1") && !said.contains("all 2") && !said.contains("usable on one CPU"), "{said}");
    for more in [&["--node-selector", "pool=none"][..], &["-l", "pool=none", "-o", "json"]] {
        let unlabelled = cpufit(["recommend", "--snapshot", dump.to_str().unwrap()]).args(more).run();
        assert_eq!((unlabelled.code(), unlabelled.stdout.as_str()), (2, ""), "{more:?}");
        assert_eq!(unlabelled.stderr, "error: no node has such labels\n", "a misspelled label looks like an answer");
    }
    let all = nodes.iter().flat_map(|node| ["--without-node", node["metadata"]["name"].as_str().unwrap()]);
    let left = recommend(&dump, &all.collect::<Vec<_>>()).stdout;
    assert!(left.starts_with("no node is left: --without-node takes out all of them"), "{left}");
}

fn demo(more: &[&str]) -> Ran {
    recommend(&Path::new(env!("CARGO_MANIFEST_DIR")).join("demo").join("cluster.yaml"), more)
}

#[test]
fn recommend_prints_a_model_for_each_kind_of_hardware() {
    insta::assert_snapshot!("recommend_of_the_demo", demo(&[]).stdout);
}

#[test]
fn recommend_shows_what_an_added_or_removed_node_changes() {
    let scratch = Scratch::new();
    let file = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/cluster.yaml")).unwrap();
    let documents: Vec<Value> = serde_saphyr::from_multiple(&file).unwrap();
    let items = documents.into_iter().flat_map(|mut document| match document["items"].take() {
        Value::Array(items) => items,
        _ => vec![document],
    });
    let mut old = items.into_iter().find(|item| item["metadata"]["name"] == "node-b").expect("a Skylake node");
    let labels = old["metadata"]["labels"].as_object_mut().unwrap();
    labels.retain(|key, _| !["cpu-model.", "host-model", "cpu-feature."].iter().any(|family| key.starts_with(family)));
    for key in ["host-model-cpu.node.kubevirt.io/Haswell", "cpu-model.node.kubevirt.io/Haswell-noTSX-IBRS"] {
        labels.insert(key.to_owned(), "true".into());
    }
    old["metadata"]["name"] = "new".into();
    let new = scratch.write_json("new.json", &old);
    let ran = demo(&["--with-node", new.to_str().unwrap(), "--without-node", "node-b"]);
    insta::assert_snapshot!("recommend_what_if", ran.stdout);
    let json = demo(&["--without-node", "node-b", "-o", "json"]).json();
    assert_eq!(json["all"]["model"], "Cascadelake-Server-noTSX", "the report is that of the changed cluster");
    let without = demo(&["--without-model-feature", "avx512f", "-o", "json"]).json();
    assert_eq!(without["whatIf"][0]["pools"][0]["after"], "Skylake-Client-noTSX-IBRS", "{}", without["whatIf"]);
    for wrong in [["--without-node", "node-x"], ["--without-model-feature", "no-such"]] {
        let ran = cpufit(["recommend", "--snapshot"])
            .args([common::shipped("reviews").join("cluster.yaml")])
            .args(wrong)
            .run();
        assert_eq!(ran.code(), 2);
        assert!(ran.stderr.contains(wrong[1]), "{}", ran.stderr);
    }
}

#[test]
fn the_printed_policies_only_warn_and_are_read_as_they_are() {
    for more in
        [&["-o", "yaml"][..], &["-o", "yaml", "--node-selector", "kubernetes.io/arch in (amd64),!no-such-label"]]
    {
        let ran = demo(more);
        let documents: Vec<Value> = serde_saphyr::from_multiple(&ran.stdout).expect("YAML");
        let documents: Vec<Value> = documents.into_iter().filter(|document| !document.is_null()).collect();
        assert_eq!(documents.len(), 1, "{}", ran.stdout);
        for document in documents {
            let policy = Policy::from_json(&document.to_string()).expect("a policy");
            let common = policy.common_model.expect("a common model");
            assert_eq!((policy.enforce, common.otherwise), (Dial::Off, Otherwise::Warn));
            assert!(common.replaces.is_empty(), "a guest would be changed");
        }
    }
    let scratch = Scratch::new();
    let is_there = scratch.write(
        "policy.yaml",
        "apiVersion: cpufit.io/v1alpha1\nkind: CPUPolicy\nmetadata: {name: mine}\nspec: {namespaceSelector: {matchLabels: {a: b}}, enforce: None}\n",
    );
    let with = demo(&["-o", "yaml", "--policy", is_there.to_str().unwrap()]).stdout;
    assert!(with.contains("name: mine") && with.contains("a: b"), "{with}");
    let denies = Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/policy.yaml");
    let with = demo(&["-o", "yaml", "--policy", denies.to_str().unwrap()]).stdout;
    assert!(!with.contains("kind: CPUPolicy"), "a policy that denies would be made milder: {with}");
}

/// Returns the demo's cluster before an upgrade removed `amd-stibp` from its nodes, and after it.
fn upgrade(scratch: &Scratch) -> [PathBuf; 2] {
    let after = Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/cluster.yaml");
    [scratch.write_json("before.json", &before_the_upgrade()), after]
}

fn diff(old: &Path, new: &Path, more: &[&str]) -> Ran {
    cpufit(["diff"]).args([old, new]).args(more).run()
}

/// A snapshot of one namespace knows all that is asked about this namespace.
#[rstest]
#[case::of_all(&[], true)]
#[case::of_its_own(&["-n", "shop"], false)]
#[case::of_another(&["-n", "bank"], true)]
fn diff_says_what_a_snapshot_of_one_namespace_leaves_out_to_those_who_ask_for_it(
    #[case] scope: &[&str],
    #[case] says: bool,
) {
    let scratch = Scratch::new();
    let mut whole = before_the_upgrade();
    let items = whole["items"].as_array_mut().unwrap();
    let complete = json!({
        "apiVersion": "cpufit.io/v1alpha1", "kind": "Complete", "metadata": {"name": "snapshot"}, "namespace": "shop",
    });
    items.insert(0, complete);
    let one = scratch.write_json("one.json", &whole);
    let ran = diff(&one, &one, scope);
    assert_eq!(ran.stdout.contains("guests of other namespaces"), says, "{}", ran.stdout);
}

#[test]
fn diff_names_the_guests_that_an_upgrade_stranded_and_the_label() {
    let scratch = Scratch::new();
    let [before, after] = upgrade(&scratch);
    let ran = diff(&before, &after, &[]);
    assert_eq!(ran.code(), 1, "a guest is worse off: {}", head(&ran.stderr));
    insta::assert_snapshot!("diff_of_an_upgrade", ran.stdout);
    let json = diff(&before, &after, &["-o", "json"]).json();
    assert_eq!(
        json["nodes"][0]["lost"],
        json!(["cpu-feature.node.kubevirt.io/amd-stibp"]),
        "a script does not see what the upgrade removed"
    );
    assert_eq!(json["nodes"][0]["change"], "changed");
    let ledger =
        json["guests"].as_array().unwrap().iter().find(|row| row["guest"] == "shop/ledger").expect("the guest");
    assert_eq!(ledger["after"], "pinned");
    assert_eq!(
        ledger["because"],
        json!(["cpu-feature.node.kubevirt.io/amd-stibp"]),
        "the guest is listed without its cause"
    );
    assert_eq!(json["worse"], 1, "a gate passes although a guest is worse off");

    let back = diff(&after, &before, &[]);
    assert_eq!(back.code(), 0, "no guest is worse off: {}", back.stdout);
    let same = diff(&after, &after, &["-o", "json"]);
    assert_eq!(
        (same.code(), &same.json()["nodes"], &same.json()["guests"]),
        (0, &json!([]), &json!([])),
        "equal dumps differ"
    );
    // A dump without guests says nothing about guests, so a gate on the exit code must not pass.
    let mut nodes = before_the_upgrade();
    let items = nodes["items"].as_array_mut().unwrap();
    items.retain(|item| item["kind"] == "Node");
    let nodes = scratch.write_json("nodes.json", &nodes);
    for (old, new, code, says) in [
        (&after, &nodes, 2, "Not known: the new dump holds no guests"),
        (&nodes, &after, 0, "Not known: the old dump holds no guests"),
        (&nodes, &nodes, 0, "Not known: neither dump holds guests"),
    ] {
        let ran = diff(old, new, &[]);
        assert_eq!(ran.code(), code, "{}", ran.stdout);
        assert!(ran.stdout.contains(says) && !ran.stdout.contains("nothing changed"), "{}", ran.stdout);
    }
    let both = cpufit(["diff", "-", "-"]).stdin("").run();
    assert_eq!(both.code(), 2, "standard input can be read once");
}
