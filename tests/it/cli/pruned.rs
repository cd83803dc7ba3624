//! `cpufit snapshot`: every verb reports the same for the snapshot as for the original dump, and the snapshot contains
//! no secrets.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::common::{Scratch, apart, cpufit, head, one_in, shipped};

/// Returns the demo's cluster and the recorded ones, with manifests to check if there are any.
fn dumps() -> Vec<(PathBuf, Option<PathBuf>)> {
    let mut out = vec![(Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/cluster.yaml"), None)];
    let mut cases: Vec<PathBuf> =
        std::fs::read_dir(shipped("cases")).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    for case in cases {
        let snapshot = case.join("snapshot.yaml");
        let input = case.join("input.yaml");
        if snapshot.is_file() {
            out.push((snapshot, Some(input).filter(|input| input.is_file())));
        }
    }
    assert!(out.len() > 5, "the recorded clusters are not there: {out:?}");
    out
}

/// Returns the demo's cluster with guests and other pods that exclude each other by anti-affinity.
fn crowded() -> Scratch {
    let scratch = Scratch::new();
    let demo = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/cluster.yaml")).unwrap();
    let more = json!({"apiVersion": "v1", "kind": "List", "items": apart::items()});
    scratch.write("crowded.yaml", format!("{demo}\n---\n{more}\n"));
    scratch
}

/// For other pods, a snapshot holds their nodes and the labels that guests' anti-affinity selects.
#[test]
fn a_snapshot_keeps_other_pods_that_block_guests() {
    let scratch = crowded();
    let dump = scratch.path().join("crowded.yaml");
    let taken = cpufit(["snapshot", "--snapshot"]).args([&dump]).run();
    assert!(!taken.stdout.contains(apart::SECRET), "{}", taken.stdout);
    let small = scratch.write("small.yaml", &taken.stdout);
    let pods = objects(&small).into_iter().filter(|object| object["kind"] == "OtherPods").collect::<Vec<_>>();
    assert_eq!(
        pods.iter()
            .map(|pod| (&pod["metadata"]["namespace"], &pod["metadata"]["labels"], &pod["nodes"]))
            .collect::<Vec<_>>(),
        [
            (&json!("lab"), &json!({}), &json!(["node-e"])),
            (&json!("lab"), &json!({"example.com/load": "light"}), &json!(["node-c"])),
            (&json!("shop"), &json!({"example.com/load": "heavy"}), &json!(["node-b"])),
        ]
    );
    let mut targets = Vec::new();
    for from in [&dump, &small] {
        let drained = cpufit(["drain", "node-a", "-o", "json", "--snapshot"]).args([from]).run().json();
        let guests = drained["nodes"][0]["guests"].as_array().unwrap().clone();
        let of = |name: &str| guests.iter().find(|row| row["guest"] == name).unwrap().clone();
        let (far, calm) = (of("shop/far"), of("shop/calm"));
        assert!(far["why"].as_str().unwrap().contains("required pod anti-affinity keeps it off"), "{far}");
        assert!(!drained.to_string().contains("other pods are not known"), "{drained:#}");
        targets.push((far["targets"].clone(), calm["targets"].clone()));
    }
    assert_eq!(targets[0], (json!(["node-c"]), json!(["node-b", "node-e"])));
    assert_eq!(targets[0], targets[1]);
}

#[test]
fn every_verb_says_the_same_of_a_snapshot() {
    let mut compared = 0;
    let crowded = crowded();
    let all = [(crowded.path().join("crowded.yaml"), None)].into_iter().chain(dumps());
    for (dump, input) in all.step_by(one_in()) {
        let scratch = Scratch::new();
        let taken = cpufit(["snapshot", "--snapshot"]).args([&dump]).run();
        assert_eq!(taken.code(), 0, "{}: {}", dump.display(), head(&taken.stderr));
        let small = scratch.write("small.yaml", &taken.stdout);
        let mut lines: Vec<Vec<&str>> = vec![
            vec!["audit", "-o", "json"],
            vec!["audit", "-o", "wide"],
            vec!["explain", "vm,vmi,vmim,pod,vmirs,vmpool", "-A", "-o", "json"],
            vec!["explain", "vm,vmi", "-A"],
            vec!["recommend", "-o", "json"],
            vec!["drain", "--all", "-o", "json"],
        ];
        let input = input.map(|input| input.to_str().unwrap().to_owned());
        if let Some(input) = &input {
            lines.push(vec!["check", "--predict", "-o", "json", "-f", input]);
        }
        for line in lines {
            let [before, after] =
                [&dump, &small].map(|from| cpufit(&line).args(["--snapshot".as_ref(), from.as_os_str()]).run());
            assert_eq!(before.code(), after.code(), "{line:?} of {}: {}", dump.display(), head(&after.stderr));
            assert_eq!(before.stdout, after.stdout, "{line:?} of {} is answered otherwise", dump.display());
            compared += usize::from(before.stdout.len() > 100);
        }
        let again = cpufit(["snapshot", "--snapshot"]).args([&small]).run();
        assert_eq!(again.stdout, taken.stdout, "{}: a snapshot of a snapshot differs", dump.display());
        let json = cpufit(["snapshot", "-o", "json", "--snapshot"]).args([&dump]).run().json();
        assert_eq!(objects(&small), objects(&scratch.write("small.json", json.to_string())));
        assert_eq!(json["kind"], "List");
        let before = std::fs::metadata(&dump).unwrap().len();
        assert!(u64::try_from(taken.stdout.len()).unwrap() <= before + before / 10, "{} grows", dump.display());
    }
    assert!(compared > 20 / one_in(), "only {compared} answers were compared");
}

#[test]
fn a_snapshot_holds_no_secrets_and_is_narrowed_to_a_namespace() {
    const DUMP: &str = "\
apiVersion: v1
kind: Node
metadata: {name: node-1, labels: {kubevirt.io/schedulable: 'true'}, annotations: {hunter2: hunter2}}
status: {images: [{names: [hunter2]}], addresses: [{type: InternalIP, address: hunter2}]}
---
apiVersion: kubevirt.io/v1
kind: VirtualMachineInstance
metadata: {name: db, namespace: shop, annotations: {kubectl.kubernetes.io/last-applied-configuration: hunter2}}
spec: {domain: {devices: {}}, volumes: [{name: init, cloudInitNoCloud: {userData: hunter2}}]}
status: {phase: Running, nodeName: node-1, guestOSInfo: {name: hunter2}, interfaces: [{ipAddress: hunter2}]}
---
apiVersion: kubevirt.io/v1
kind: VirtualMachine
metadata: {name: mail, namespace: lab}
spec: {runStrategy: Halted, template: {spec: {domain: {devices: {}}, volumes: [{cloudInitConfigDrive: {networkData: hunter2}}]}}}
---
apiVersion: v1
kind: Pod
metadata: {name: virt-launcher-db-abcde, namespace: shop, labels: {kubevirt.io: virt-launcher, kubevirt.io/created-by: 1-2-3}, ownerReferences: [{apiVersion: kubevirt.io/v1, kind: VirtualMachineInstance, name: db, uid: 1-2-3, controller: true}]}
spec: {containers: [{name: compute, env: [{name: TOKEN, value: hunter2}], args: [hunter2]}], nodeName: node-1}
---
apiVersion: v1
kind: Secret
metadata: {name: token}
stringData: {token: hunter2}
";
    let scratch = Scratch::new();
    let dump = scratch.write("dump.yaml", DUMP);
    let take = |more: &[&str]| cpufit(["snapshot", "--snapshot"]).args([&dump]).args(more).run();
    let all = take(&[]);
    assert_eq!((all.code(), all.stderr.as_str()), (0, ""));
    assert!(!all.stdout.contains("hunter2"), "{}", all.stdout);
    for word in ["node-1", "name: db", "name: mail", "virt-launcher-db-abcde"] {
        assert!(all.stdout.contains(word), "{word} is missing: {}", all.stdout);
    }
    let shop = take(&["-n", "shop"]);
    assert!(shop.stdout.contains("name: db") && !shop.stdout.contains("mail"), "{}", shop.stdout);
    assert_eq!(take(&["-A", "-n", "shop"]).stdout, all.stdout);
    let both = take(&["--context", "x"]);
    assert_eq!(both.code(), 2);
}

/// Returns the original objects of a snapshot: folded ones are unfolded.
fn objects(snapshot: &Path) -> Vec<Value> {
    let mut out = Vec::new();
    let file = std::fs::File::open(snapshot).unwrap();
    let read = cpufit::snapshot::read("snapshot", file, |item| {
        out.push(serde_json::from_str(item.json.get()).unwrap());
        Ok::<_, cpufit::snapshot::Error>(())
    });
    read.unwrap();
    let text =
        |object: &Value, pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    out.sort_by_cached_key(|object| {
        ["/kind", "/metadata/namespace", "/metadata/name"].map(|pointer| text(object, pointer))
    });
    out
}

/// Collects the renamed texts of two values of the same shape.
fn pairs(before: &Value, after: &Value, out: &mut BTreeMap<String, String>) {
    match (before, after) {
        (Value::String(before), Value::String(after)) => {
            if before != after {
                out.insert(before.clone(), after.clone());
            }
        }
        (Value::Array(before), Value::Array(after)) => {
            assert_eq!(before.len(), after.len());
            before.iter().zip(after).for_each(|(before, after)| pairs(before, after, out));
        }
        (Value::Object(before), Value::Object(after)) => {
            assert_eq!(before.len(), after.len(), "{before:?} {after:?}");
            // Keys keep their order as well.
            let only = |these: &serde_json::Map<String, Value>, those: &serde_json::Map<String, Value>| {
                these.keys().filter(|key| !those.contains_key(*key)).cloned().collect::<Vec<_>>()
            };
            out.extend(only(before, after).into_iter().zip(only(after, before)));
            for (key, value) in before {
                if let Some(same) = after.get(key).or_else(|| after.get(out.get(key)?)) {
                    pairs(value, same, out);
                }
            }
        }
        (before, after) => assert_eq!(before, after),
    }
}

/// Removes warnings, which are cut at 256 characters, so that the cut depends on the length of names.
fn without_warnings(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.remove("warnings");
            fields.values_mut().for_each(without_warnings);
        }
        Value::Array(items) => items.iter_mut().for_each(without_warnings),
        _ => {}
    }
}

/// Returns the first word that changed into something other than its new name.
fn other_word<'t>(before: &'t str, after: &'t str, names: &BTreeMap<String, String>) -> Option<(&'t str, &'t str)> {
    let words = |text: &'t str| {
        let words = text.split(|c: char| !(c.is_alphanumeric() || matches!(c, '-' | '.' | '_' | '/')));
        words.map(|word| word.trim_end_matches('.')).collect::<Vec<_>>()
    };
    let (before, after) = (words(before), words(after));
    let is_new = |old: &str, new: &str| old == new || names.get(old).is_some_and(|name| name == new);
    // The word may be a label's key, or a guest in its namespace.
    let is_other = |(old, new): &(&str, &str)| {
        let (old_parts, new_parts) = (old.split('/'), new.split('/'));
        let are_parts_new = old_parts.clone().count() == new_parts.clone().count()
            && old_parts.zip(new_parts).all(|(old, new)| is_new(old, new));
        !is_new(old, new) && !are_parts_new
    };
    let other = before.iter().copied().zip(after.iter().copied()).find(is_other);
    other.or((before.len() != after.len()).then_some(("as many words", "more or fewer")))
}

#[test]
fn every_verb_says_the_same_of_a_redacted_snapshot_under_the_new_names() {
    let mut compared = 0;
    let crowded = crowded();
    let all = [crowded.path().join("crowded.yaml")].into_iter().chain(dumps().into_iter().map(|(dump, _)| dump));
    for dump in all.step_by(one_in()) {
        let scratch = Scratch::new();
        let take = |name: &str, more: &[&str]| {
            let taken = cpufit(["snapshot", "--snapshot"]).args([&dump]).args(more).run();
            assert_eq!(taken.code(), 0, "{}: {}", dump.display(), head(&taken.stderr));
            scratch.write(name, &taken.stdout)
        };
        let (plain, redacted) = (take("plain.yaml", &[]), take("redacted.yaml", &["--redact"]));
        let mut names = BTreeMap::new();
        let (before, after) = (objects(&plain), objects(&redacted));
        assert_eq!(before.len(), after.len());
        before.iter().zip(&after).for_each(|(before, after)| pairs(before, after, &mut names));
        for object in &before {
            let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
            // Some original names happen to look like new names.
            let is_new =
                ["node-", "ns-", "guest-", "pod-", "object-", "policy-"].iter().any(|word| name.starts_with(word));
            let is_renamed = is_new || names.contains_key(name);
            assert!(name.is_empty() || name == "snapshot" || is_renamed, "{name} keeps its name");
        }
        for line in [
            vec!["audit", "-o", "json"],
            vec!["explain", "vm,vmi,vmim,vmirs,vmpool", "-A", "-o", "json"],
            vec!["recommend", "-o", "json"],
            vec!["drain", "--all", "-o", "json"],
        ] {
            let [plain, redacted] =
                [&plain, &redacted].map(|from| cpufit(&line).args(["--snapshot".as_ref(), from.as_os_str()]).run());
            assert_eq!(plain.code(), redacted.code(), "{line:?} of {}", dump.display());
            if plain.stdout.is_empty() {
                assert_eq!(plain.stderr, redacted.stderr, "{line:?} of {}", dump.display());
                continue;
            }
            let [before, after] = [plain, redacted].map(|ran| {
                let mut answer = ran.json();
                without_warnings(&mut answer);
                answer.to_string()
            });
            assert_eq!(other_word(&before, &after, &names), None, "{line:?} of {}", dump.display());
            compared += usize::from(before.len() > 100);
        }
    }
    assert!(compared > 20 / one_in(), "only {compared} answers were compared");
}

/// Returns realistic nodes: a few kinds of hardware, some with drifted labels, in racks and zones, full of pods.
fn fleet(nodes: usize) -> String {
    let mut items = Vec::new();
    for at in 0..nodes {
        let hardware = at % 7;
        let mut labels: BTreeMap<String, String> = (0..150)
            .filter(|feature| feature % 7 != hardware)
            .map(|feature| (format!("cpu-feature.node.kubevirt.io/feature-{feature}"), "true".to_owned()))
            .collect();
        labels.remove(&format!("cpu-feature.node.kubevirt.io/feature-{}", if at % 50 == 0 { at % 150 } else { 999 }));
        labels.insert("kubernetes.io/hostname".to_owned(), format!("worker-{at:05}.cluster.example"));
        labels.insert("topology.kubernetes.io/zone".to_owned(), format!("zone-{}", at % 3));
        labels.insert("example.com/rack".to_owned(), format!("rack-{}", at / 20));
        let name = format!("worker-{at:05}.cluster.example");
        items.push(json!({
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels, "uid": format!("00000000-0000-0000-0000-{at:012}")},
            "status": {"allocatable": {"cpu": "63500m", "memory": format!("{}Ki", 528_000_000 + at), "pods": "250"}},
        }));
        for pod in 0..3 {
            items.push(json!({
                "apiVersion": "v1", "kind": "Pod", "metadata": {"name": format!("agent-{pod}-{at}"), "namespace": "kube-system"},
                "spec": {"nodeName": name, "containers": [{"name": "a", "resources": {"requests": {"cpu": "100m", "memory": format!("{}Mi", 100 + at % 9)}}}]},
                "status": {"phase": "Running"},
            }));
        }
    }
    json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
}

/// 15,000 nodes take a few MB: 450 bytes for a node of 8 KB.
#[test]
fn nodes_that_are_alike_take_little_room() {
    const NODES: usize = 1500;
    let scratch = Scratch::new();
    let dump = scratch.write("dump.json", fleet(NODES));
    for more in [&["-o", "yaml"][..], &["-o", "json"], &["--redact"]].into_iter().step_by(one_in()) {
        let taken = cpufit(["snapshot", "--snapshot"]).args([&dump]).args(more).run();
        assert_eq!(taken.code(), 0, "{}", head(&taken.stderr));
        assert!(taken.stdout.len() < 450 * NODES, "{} bytes a node", taken.stdout.len() / NODES);
        let small = scratch.write("small", &taken.stdout);
        assert_eq!(objects(&small).iter().filter(|object| object["kind"] == "Node").count(), NODES);
    }
}
