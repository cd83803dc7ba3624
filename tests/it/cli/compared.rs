//! Pairs of dumps that differ in one thing, and the sentences that `diff` prints about it; and what `recommend` says of
//! obsolete models.

use rstest::rstest;
use serde_json::{Value, json};

use crate::common::{Scratch, cpufit, kubevirt, launcher_pod, list, node, running};

const FEATURES: [&str; 5] = ["aes", "avx2", "fpu", "vme", "amd-stibp"];
const SKIP_NODE: &str = "node-labeller.kubevirt.io/skip-node";
const SKYLAKE: &str = "Skylake-Server-noTSX-IBRS";

fn feature(name: &str) -> String {
    format!("cpu-feature.node.kubevirt.io/{name}")
}

/// Returns a Cascade Lake node.
fn host(name: &str) -> Value {
    let mut labels = json!({
        "kubevirt.io/schedulable": "true", "kubernetes.io/arch": "amd64", "kubernetes.io/hostname": name,
        "cpu-vendor.node.kubevirt.io/Intel": "true", "machine-type.node.kubevirt.io/q35": "true",
        "host-model-cpu.node.kubevirt.io/Cascadelake-Server": "true",
    });
    for model in [SKYLAKE, "Cascadelake-Server-noTSX"] {
        labels[format!("cpu-model.node.kubevirt.io/{model}")] = json!("true");
    }
    for name in FEATURES {
        labels[feature(name)] = json!("true");
    }
    node(name, &labels)
}

/// Returns a guest that inherited the features of its first node, and its launcher.
fn migrated(name: &str, node: &str) -> [Value; 2] {
    let guest = running(name, node, "host-model");
    let mut selector = json!({"kubevirt.io/schedulable": "true", "kubernetes.io/arch": "amd64"});
    for name in FEATURES {
        selector[feature(name)] = json!("true");
    }
    let pod = launcher_pod(&guest, "x", &selector);
    [guest, pod]
}

/// A cluster as a list of objects that tests edit.
struct Side(Vec<Value>);

impl Side {
    /// Makes four nodes, shop/db on node-a, which has migrated, and shop/web on node-b.
    fn new() -> Self {
        let nodes = ["node-a", "node-b", "node-c", "node-d"].map(host);
        let web = running("web", "node-b", SKYLAKE);
        let pod = launcher_pod(&web, "x", &json!({"kubevirt.io/schedulable": "true", "kubernetes.io/arch": "amd64"}));
        Self(nodes.into_iter().chain(migrated("db", "node-a")).chain([web, pod, kubevirt(&json!({}))]).collect())
    }

    fn of(&mut self, kind: &str, name: &str) -> &mut Value {
        let is_meant = |item: &&mut Value| item["kind"] == kind && item["metadata"]["name"] == name;
        self.0.iter_mut().find(is_meant).expect("an object of that name")
    }

    fn without(&mut self, kind: &str) {
        self.0.retain(|item| item["kind"] != kind);
    }

    /// Takes features from nodes.
    fn lose(&mut self, nodes: &[&str], names: &[&str]) {
        for node in nodes {
            let labels = self.of("Node", node)["metadata"]["labels"].as_object_mut().expect("labels");
            for name in names {
                labels.remove(&feature(name));
            }
        }
    }

    fn annotate(&mut self, node: &str) {
        self.of("Node", node)["metadata"]["annotations"] = json!({SKIP_NODE: "true"});
    }

    /// Sets a field of the KubeVirt resource's configuration.
    fn configure(&mut self, field: &str, value: Value) {
        self.of("KubeVirt", "kubevirt")["spec"]["configuration"][field] = value;
    }
}

fn policy(spec: &Value) -> Value {
    json!({"apiVersion": "cpufit.io/v1alpha1", "kind": "CPUPolicy", "metadata": {"name": "pool"}, "spec": spec})
}

type Edit = fn(&mut Side, &mut Side);

/// Each case: what differs, the lines that are printed, and texts that are not.
#[rstest]
#[case::forgotten_annotations(
    |old: &mut Side, new: &mut Side| { old.annotate("node-c"); new.annotate("node-c"); new.annotate("node-d"); },
    &[
        "node-c has the annotation node-labeller.kubevirt.io/skip-node (as before): its labels are frozen, right or wrong",
        "  kubectl annotate node node-c node-labeller.kubevirt.io/skip-node-",
        "node-d has the annotation node-labeller.kubevirt.io/skip-node (since): its labels are frozen, right or wrong",
        "  kubectl annotate node node-d node-labeller.kubevirt.io/skip-node-",
    ],
    &["worse off:"],
)]
#[case::unlike_its_like(
    |_: &mut Side, new: &mut Side| new.lose(&["node-c"], &["fpu", "vme"]),
    &["node-c differs from 3 others with host model Cascadelake-Server: without cpu-feature fpu, vme"],
    &["which no node has any more"],
)]
#[case::an_upgrade(
    |_: &mut Side, new: &mut Side| new.lose(&["node-a", "node-b", "node-c", "node-d"], &["amd-stibp"]),
    &[
        "1 guest (shop/db): two targets or more before, no target now: cpu-feature amd-stibp, which no node has any more",
        "Next time, before the upgrade, keep the labels until the guests were restarted or moved:",
        "  kubectl annotate node node-a node-b node-c node-d node-labeller.kubevirt.io/skip-node=true",
    ],
    &["shop/web"],
)]
#[case::a_policy_that_drops_them_already(
    |_: &mut Side, new: &mut Side| {
        new.lose(&["node-a", "node-b", "node-c", "node-d"], &["amd-stibp"]);
        new.0.push(policy(&json!({"launcherSelectors": "DropStale"})));
    },
    &["CPUPolicy pool is on the new side only"],
    &["or a policy with launcherSelectors"],
)]
#[case::a_policy_is_another(
    |old: &mut Side, new: &mut Side| {
        old.0.push(policy(&json!({"enforce": "None"})));
        new.0.push(policy(&json!({"enforce": "Pinned"})));
    },
    &["CPUPolicy pool changed", "no guest is worse off, none better"],
    &["nothing changed"],
)]
#[case::a_policy_is_gone(
    |old: &mut Side, _: &mut Side| old.0.push(policy(&json!({"enforce": "None"}))),
    &["CPUPolicy pool is on the old side only"],
    &["nothing changed"],
)]
#[case::restarted(
    |_: &mut Side, new: &mut Side| {
        new.of("VirtualMachineInstance", "web")["metadata"]["uid"] = json!("uid-again");
        let pod = new.of("Pod", "virt-launcher-web-x");
        pod["metadata"]["labels"]["kubevirt.io/created-by"] = json!("uid-again");
        pod["metadata"]["ownerReferences"][0]["uid"] = json!("uid-again");
    },
    &["1 guest restarted: shop/web"],
    &["nothing changed"],
)]
#[case::migrated(
    |_: &mut Side, new: &mut Side| {
        new.of("VirtualMachineInstance", "web")["status"]["nodeName"] = json!("node-c");
        new.of("Pod", "virt-launcher-web-x")["spec"]["nodeName"] = json!("node-c");
    },
    &["1 guest migrated: shop/web"],
    &["nothing changed"],
)]
#[case::migrated_to_a_node_that_does_not_match(
    |old: &mut Side, new: &mut Side| {
        old.lose(&["node-c"], &["vme"]);
        new.lose(&["node-c"], &["vme"]);
        new.of("VirtualMachineInstance", "db")["status"]["nodeName"] = json!("node-c");
        new.of("Pod", "virt-launcher-db-x")["spec"]["nodeName"] = json!("node-c");
    },
    &["1 guest (shop/db): runs on node-c now and does not match it, so a restart of the kubelet there would fail it: cpu-feature vme"],
    &["no longer matches its own node"],
)]
#[case::being_deleted(
    |_: &mut Side, new: &mut Side| {
        new.lose(&["node-a", "node-b", "node-c", "node-d"], &["amd-stibp"]);
        new.of("VirtualMachineInstance", "db")["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    },
    &["1 guest (shop/db): two targets or more before, not known now: "],
    &["restart db", "not known now: cpu-feature"],
)]
#[case::its_node_is_gone(
    |_: &mut Side, new: &mut Side| new.0.retain(|item| item["kind"] != "Node" || item["metadata"]["name"] != "node-a"),
    &["1 guest (shop/db): runs on node-a, and node-a is gone"],
    &[],
)]
#[case::no_launchers(
    |_: &mut Side, new: &mut Side| new.without("Pod"),
    &["Not known: the new dump holds no launcher pods: which entries guests inherited at earlier migrations is not known, and \
       each guest there is compared as if it had never migrated"],
    &["nothing changed"],
)]
#[case::the_default_is_named(
    |old: &mut Side, _: &mut Side| old.configure("evictionStrategy", json!("None")),
    &["KubeVirt evictionStrategy: None before, not set now: None is the default: nothing changes"],
    &["from now on"],
)]
#[case::the_default_is_another(
    |old: &mut Side, _: &mut Side| old.configure("evictionStrategy", json!("LiveMigrate")),
    &["KubeVirt evictionStrategy: LiveMigrate before, not set now: guests that state none are shut down at a drain, from now on"],
    &["nothing changes"],
)]
#[case::the_default_number(
    |_: &mut Side, new: &mut Side| new.configure("migrations", json!({"parallelMigrationsPerCluster": 5})),
    &["KubeVirt migrations.parallelMigrationsPerCluster: not set before, 5 now: 5 is the default: nothing changes"],
    &["how many guests"],
)]
#[case::nothing(|_: &mut Side, _: &mut Side| {}, &["nothing changed: no label, taint or verdict by labels"], &["guest"])]
fn each_difference_of_two_dumps_is_printed_truthfully(
    #[case] edit: Edit,
    #[case] expected: &[&str],
    #[case] others: &[&str],
) {
    let (mut old, mut new) = (Side::new(), Side::new());
    edit(&mut old, &mut new);
    let scratch = Scratch::new();
    let sides = [("old.json", old), ("new.json", new)].map(|(name, side)| scratch.write_json(name, &list(side.0)));
    let printed = cpufit(["diff"]).args(&sides).run().stdout;
    for line in expected {
        let is_there =
            printed.lines().any(|printed| printed == *line || (line.ends_with(' ') && printed.starts_with(line)));
        assert!(is_there, "a reader misses `{line}`:\n{printed}");
    }
    for text in others {
        assert!(!printed.contains(text), "a reader is misled by `{text}`:\n{printed}");
    }
}

/// A withheld model has no labels after the next round of the labeller: it is not recommended, and that is said.
#[test]
fn recommend_names_the_models_that_the_cluster_withholds() {
    let mut side = Side::new();
    side.configure("obsoleteCPUModels", json!({"Cascadelake-Server-noTSX": true}));
    let scratch = Scratch::new();
    let dump = scratch.write_json("cluster.json", &list(side.0));
    let ran = cpufit(["recommend", "--snapshot"]).args([&dump]).run();
    let line = "# Not considered: Cascadelake-Server-noTSX, withheld by the cluster's obsoleteCPUModels";
    assert!(ran.stdout.lines().any(|printed| printed == line), "{}", ran.stdout);
    let best = ran.stdout.lines().find(|line| line.contains("<- recommended")).unwrap_or_default();
    assert!(best.contains(SKYLAKE), "a model is recommended that no guest may have: {}", ran.stdout);
    let rows = cpufit(["recommend", "--no-headers", "--snapshot"]).args([&dump]).run().stdout;
    assert!(!rows.is_empty() && rows.lines().all(|row| row.starts_with("Intel")), "a script reads rows: {rows}");
}

/// Returns a random-looking UID for a number.
fn uid(number: usize) -> String {
    format!("0b9e5c3a-7d41-4f6e-9a2b-{number:012x}")
}

/// Gives an object, and the owner references to it, another UID.
fn created_again(side: &mut Side, kind: &str, name: &str, to: &str) {
    let before = side.of(kind, name)["metadata"]["uid"].as_str().expect("a UID").to_owned();
    for item in &mut side.0 {
        *item = serde_json::from_str(&item.to_string().replace(&before, to)).expect("JSON");
    }
}

/// Two redacted snapshots compare as the dumps that they were made of: each gives the same UID the same new one.
#[rstest]
#[case::nothing(|_: &mut Side| {}, &[])]
#[case::restarted(|new: &mut Side| created_again(new, "VirtualMachineInstance", "db", &uid(100)), &["restarted"])]
#[case::its_vm_created_again(|new: &mut Side| {
    created_again(new, "VirtualMachine", "web", &uid(100));
    created_again(new, "VirtualMachineInstance", "web", &uid(101));
}, &["recreated"])]
#[case::migrated(
    |new: &mut Side| new.of("VirtualMachineInstance", "db")["status"]["nodeName"] = json!("node-c"),
    &["migrated"]
)]
#[case::both(|new: &mut Side| {
    created_again(new, "VirtualMachineInstance", "db", "ffffffff-7d41-4f6e-9a2b-000000000000");
    created_again(new, "VirtualMachineInstance", "web", "00000000-7d41-4f6e-9a2b-000000000000");
}, &["restarted", "restarted"])]
#[case::a_node_replaced(|new: &mut Side| created_again(new, "Node", "node-d", &uid(100)), &[])]
#[case::labels_lost(|new: &mut Side| new.lose(&["node-b", "node-c", "node-d"], &["fpu"]), &[])]
fn redacted_snapshots_compare_like_their_originals(#[case] edit: fn(&mut Side), #[case] running: &[&str]) {
    let scratch = Scratch::new();
    let [old, mut new] = [with_uids(), with_uids()];
    edit(&mut new);
    let plain = compared(&scratch, &old, &new, &[]).json();
    let redacted = compared(&scratch, &old, &new, &["--redact"]).json();
    let changes: Vec<&str> =
        plain["running"].as_array().into_iter().flatten().filter_map(|row| row["change"].as_str()).collect();
    assert_eq!(changes, running, "{plain:#}");
    let mut renamed = plain.to_string();
    for (from, to) in [("shop/db", "ns-2/guest-1"), ("shop/web", "ns-2/guest-2")] {
        renamed = renamed.replace(from, to);
    }
    for (number, letter) in ["a", "b", "c", "d"].iter().enumerate() {
        renamed = renamed.replace(&format!("node-{letter}"), &format!("node-{}", number + 1));
    }
    let mut renamed: Value = serde_json::from_str(&renamed).expect("JSON");
    renamed["notKnown"] = redacted["notKnown"].clone();
    assert_eq!(redacted, renamed, "a person who gets redacted snapshots reads of changes that were none");
}

/// Where an object has another number in each, or one side is not redacted, nothing is compared.
#[test]
fn redacted_snapshots_with_other_numbers_are_not_compared() {
    let scratch = Scratch::new();
    let [old, mut new] = [with_uids(), with_uids()];
    new.0.extend(migrated("aa", "node-a"));
    let ran = compared(&scratch, &old, &new, &["--redact"]);
    assert_eq!((ran.code(), ran.stdout.as_str()), (2, ""), "guest-1 would be compared with another guest");
    let expected = "VirtualMachine ns-2/guest-2 of the old side is VirtualMachine ns-2/guest-3 of the new one";
    assert!(ran.stderr.contains(expected), "{}", ran.stderr);
    scratch.write_json("old.json", &list(old.0));
    let [old, new] = ["old.json", "new.yaml"].map(|name| scratch.path().join(name));
    let ran = cpufit(["diff"]).args([old, new]).run();
    assert_eq!(ran.code(), 2, "{}", ran.stderr);
    assert!(ran.stderr.contains("the new side is a redacted snapshot and the other one is not"), "{}", ran.stderr);
}

/// Returns a side whose nodes and guests have UIDs, as a cluster's have; shop/web has a VM.
fn with_uids() -> Side {
    let mut side = Side::new();
    let web = side.of("VirtualMachineInstance", "web").clone();
    side.0.push(json!({
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "metadata": {"namespace": "shop", "name": "web"},
        "spec": {"runStrategy": "Always", "template": {"metadata": {}, "spec": web["spec"]}},
    }));
    let mut pairs = Vec::new();
    for (number, item) in side.0.iter_mut().enumerate() {
        let before = item["metadata"]["uid"].as_str().map(str::to_owned);
        item["metadata"]["uid"] = json!(uid(number));
        pairs.extend(before.map(|before| (before, uid(number))));
    }
    let vm = side.of("VirtualMachine", "web")["metadata"]["uid"].clone();
    side.of("VirtualMachineInstance", "web")["metadata"]["ownerReferences"] = json!([{"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "name": "web", "uid": vm, "controller": true}]);
    for item in &mut side.0 {
        let text = pairs
            .iter()
            .fold(item.to_string(), |text, (from, to)| text.replace(&format!("\"{from}\""), &format!("\"{to}\"")));
        *item = serde_json::from_str(&text).expect("JSON");
    }
    side
}

/// Compares the snapshots of two sides.
fn compared(scratch: &Scratch, old: &Side, new: &Side, snapshot: &[&str]) -> crate::common::Ran {
    for (name, side) in [("old", old), ("new", new)] {
        let dump = scratch.write_json(&format!("{name}.json"), &list(side.0.iter().cloned()));
        let taken = cpufit(["snapshot", "--snapshot"]).args([&dump]).args(snapshot).run();
        assert_eq!(taken.code(), 0, "{}", taken.stderr);
        scratch.write(&format!("{name}.yaml"), &taken.stdout);
    }
    let [old, new] = ["old.yaml", "new.yaml"].map(|name| scratch.path().join(name));
    cpufit(["diff"]).args([old, new]).args(["-o", "json"]).run()
}
