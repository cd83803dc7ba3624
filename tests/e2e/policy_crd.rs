//! `CPUPolicy` on a real API server: it accepts the policies that the parser of files accepts, and refuses the others.

use cpufit::policy::Policy;
use serde_json::{Value, json};

use crate::controlplane::ControlPlane;
use crate::policy::policy;
use crate::world;

/// Returns policies by name, valid and invalid ones.
fn specs() -> Vec<(&'static str, Value)> {
    let label = |key: &str, value: &str| json!({"namespaceSelector": {"matchLabels": {key: value}}});
    let condition = |condition: Value| json!({"virtualMachineSelector": {"matchExpressions": [condition]}});
    let key = |key: &str| condition(json!({"key": key, "operator": "Exists"}));
    let model = |name: &str| json!({"commonModel": {"name": name}});
    let namespace = |name: &str| json!({"exemptions": {"namespaces": [name]}});
    let long = |length| "a".repeat(length);
    vec![
        ("minimal", json!({})),
        ("nulls", json!({"enforce": null, "exemptions": null, "namespaceSelector": null, "commonModel": null})),
        ("empty-objects", json!({"exemptions": {}, "namespaceSelector": {}, "nodeSelector": {"matchLabels": null}})),
        (
            "every-field",
            json!({
                "namespaceSelector": {"matchLabels": {"tier": "production", "empty": ""}},
                "virtualMachineSelector": {"matchExpressions": [
                    {"key": "a", "operator": "In", "values": ["b", ""]}, {"key": "a", "operator": "DoesNotExist"},
                    {"key": "c", "operator": "NotIn", "values": ["b", "b"]},
                    {"key": "d", "operator": "Exists", "values": []},
                ]},
                "nodeSelector": {"matchLabels": {"cpu-vendor.node.kubevirt.io/Intel": "true"}},
                "enforce": "Unschedulable", "warn": "None", "audit": "Pinned",
                "commonModel": {"name": "Skylake-Server-noTSX-IBRS", "replaces": ["Named"], "otherwise": "Deny",
                    "announce": "Event"},
                "launcherSelectors": "Common",
                "exemptions": {"users": ["system:serviceaccount:a:b", "jane@example.org"], "namespaces": ["infra"],
                    "controllers": false},
            }),
        ),
        ("drop-stale", json!({"launcherSelectors": "DropStale"})),
        ("replaces-nothing", json!({"commonModel": {"name": "EPYC-Rome", "replaces": []}})),
        ("reduced-to-nothing", json!({"launcherSelectors": "Common"})),
        ("wrong-word", json!({"warn": "pinned"})),
        ("number-for-word", json!({"audit": 3})),
        ("empty-word", json!({"enforce": ""})),
        ("word-for-switch", json!({"exemptions": {"controllers": "yes"}})),
        ("list-for-object", json!({"nodeSelector": []})),
        ("text-for-list", json!({"exemptions": {"users": "bob"}})),
        ("no-model-name", json!({"commonModel": {}})),
        ("null-model-name", json!({"commonModel": {"name": null}})),
        ("empty-model-name", model("")),
        ("model-host-model", model("host-model")),
        ("model-host-passthrough", model("host-passthrough")),
        ("model-space", model("EPYC Rome")),
        ("model-dash-last", model("EPYC-")),
        ("model-longest", model(&long(63))),
        ("model-too-long", model(&long(64))),
        ("replaced-twice", json!({"commonModel": {"name": "m", "replaces": ["Unset", "Named", "Unset"]}})),
        ("replaced-unknown", json!({"commonModel": {"name": "m", "replaces": ["Host-Model"]}})),
        ("announce-unknown", json!({"commonModel": {"name": "m", "announce": "Loud"}})),
        ("otherwise-unknown", json!({"commonModel": {"name": "m", "otherwise": "Refuse"}})),
        ("empty-user", json!({"exemptions": {"users": ["a", ""]}})),
        ("user-twice", json!({"exemptions": {"users": ["a", "a"]}})),
        ("namespace-twice", json!({"exemptions": {"namespaces": ["a", "a"]}})),
        ("namespace-upper-case", namespace("Infra")),
        ("namespace-dotted", namespace("a.b")),
        ("namespace-empty", namespace("")),
        ("namespace-longest", namespace(&long(63))),
        ("namespace-too-long", namespace(&long(64))),
        ("label-space", label("a b", "c")),
        ("label-empty", label("", "c")),
        ("label-two-slashes", label("a/b/c", "c")),
        ("label-upper-case-prefix", label("A/b", "c")),
        ("label-longest", label(&long(63), "c")),
        ("label-too-long", label(&long(64), "c")),
        ("label-value-dash", label("a", "-")),
        ("label-value-longest", label("a", &long(63))),
        ("label-value-too-long", label("a", &long(64))),
        ("label-value-number", json!({"nodeSelector": {"matchLabels": {"a": 1}}})),
        ("label-value-null", json!({"nodeSelector": {"matchLabels": {"a": null}}})),
        ("key-longest-prefix", key(&format!("{}.{}/x", long(126), long(126)))),
        ("key-too-long-prefix", key(&format!("{}.{}/x", long(127), long(126)))),
        ("key-longest-name", key(&format!("a.b/{}", long(63)))),
        ("key-too-long-name", key(&format!("a.b/{}", long(64)))),
        ("key-no-name", key("kubevirt.io/")),
        ("key-no-prefix", key("/a")),
        ("key-multibyte", key("größe")),
        ("no-key", condition(json!({"operator": "Exists"}))),
        ("no-operator", condition(json!({"key": "a"}))),
        ("unknown-operator", condition(json!({"key": "a", "operator": "Gt", "values": ["1"]}))),
        ("in-without-values", condition(json!({"key": "a", "operator": "In"}))),
        ("not-in-without-values", condition(json!({"key": "a", "operator": "NotIn", "values": []}))),
        ("exists-with-values", condition(json!({"key": "a", "operator": "Exists", "values": ["b"]}))),
        ("does-not-exist-with-values", condition(json!({"key": "a", "operator": "DoesNotExist", "values": ["b"]}))),
        ("bad-value", condition(json!({"key": "a", "operator": "In", "values": ["b c"]}))),
        ("null-condition", condition(Value::Null)),
    ]
}

/// Installs only the definition and waits until it is served.
#[track_caller]
fn define(cluster: &ControlPlane) {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/base/crd.yaml");
    cluster.kubectl(&["create", "-f", file]);
    cluster.kubectl(&["wait", "--for=condition=Established", "--timeout=30s", "-f", file]);
}

#[test]
#[ignore = "needs a control plane: make e2e"]
fn policy_crd_and_files_accept_the_same_policies() {
    let Some(cluster) = ControlPlane::start(&[]) else { return };
    define(&cluster);
    let admin = cluster.kubeconfig("root", &["system:masters"]);
    let specs = specs();
    let items: Vec<Value> = specs.iter().map(|(name, spec)| policy(name, spec)).collect();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string();
    cluster.workplace().write("policies.json", list);
    let output = cluster.output(&admin, &["create", "--dry-run=server", "--validate=false", "-f", "policies.json"]);
    let mut differences = Vec::new();
    for ((name, _), document) in specs.iter().zip(&items) {
        let created = output.contains(&format!("cpupolicy.cpufit.io/{name} created"));
        let read = Policy::from_json(&document.to_string());
        if created != read.is_ok() {
            differences.push(format!("{name}: the API server takes it: {created}; the reader says {read:?}"));
        }
    }
    assert!(differences.is_empty(), "the same YAML is a policy here and none there: {differences:#?}\n{output}");
    insta::assert_snapshot!("policies", output);

    let misspelled = policy("misspelled", &json!({"enfroce": "None"})).to_string();
    cluster.workplace().write("misspelled.json", misspelled);
    let output = cluster.output(&admin, &["create", "--dry-run=server", "-f", "misspelled.json"]);
    assert!(output.contains("unknown field"), "a misspelled field would be dropped in silence: {output}");
}

#[test]
#[ignore = "needs a control plane: make e2e"]
fn policy_crd_columns_show_the_settings_and_their_effect() {
    let Some(cluster) = ControlPlane::start(&[]) else { return };
    world::install_kubevirt(&cluster);
    define(&cluster);
    for (name, spec) in
        [("minimal", json!({})), ("intel-pool", json!({"commonModel": {"name": "Skylake-Server-noTSX-IBRS"}}))]
    {
        let minimal = policy(name, &spec);
        cluster.kubectl_with(&["create", "-f", "-"], &minimal);
        let stored = cluster.get(&["cpupol", name]);
        assert_eq!(stored["spec"]["enforce"], "None", "kubectl get -o yaml does not show what is in force: {stored}");
        let read = |document: &Value| Policy::from_json(&document.to_string()).expect("a policy");
        assert_eq!(read(&stored), read(&minimal), "a policy does something else on the cluster than from a file");
    }
    let condition = json!({"type": "Ready", "status": "True", "reason": "Read", "message": "", "observedGeneration": 1,
        "lastTransitionTime": "2026-11-01T00:00:00Z"});
    let status = json!({"status": {
        "observedGeneration": 1, "ready": "False,NoNodes", "nodes": 6, "usableNodes": 5, "coverage": "5/6", "guests": 312, "notCompliant": 14,
        "pinned": 1, "unschedulable": 0, "stale": 2, "recommendedModel": "Cascadelake-Server-noTSX",
        "conditions": [condition],
    }});
    let patch = status.to_string();
    cluster.kubectl(&["patch", "cpupol", "intel-pool", "--subresource=status", "--type=merge", "-p", &patch]);
    assert_eq!(
        cluster.get(&["cpupol", "intel-pool"])["status"],
        status["status"],
        "the API server dropped a field of status"
    );
    let columns = |more: &[&str]| -> Vec<Vec<String>> {
        let table = cluster.kubectl(&[&["get", "cpupolicies", "intel-pool"], more].concat());
        table.lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
    };
    let [titles, row] = &columns(&["-o", "wide"])[..] else { panic!("a title and a row") };
    let shown: Vec<(&str, &str)> = titles.iter().map(String::as_str).zip(row.iter().map(String::as_str)).collect();
    let expected = [
        ("NAME", "intel-pool"),
        ("MODEL", "Skylake-Server-noTSX-IBRS"),
        ("ENFORCE", "None"),
        ("READY", "False,NoNodes"),
        ("NODES", "5/6"),
        ("GUESTS", "312"),
        ("OFF-MODEL", "14"),
        ("PINNED", "1"),
        ("AGE", &row[8]),
        ("STALE", "2"),
        ("LAUNCHER-SELECTORS", "Keep"),
        ("RECOMMENDED", "Cascadelake-Server-noTSX"),
    ];
    assert_eq!(shown, expected, "what kubectl get shows of a policy");
    assert_eq!(columns(&[])[0].last().map(String::as_str), Some("AGE"), "kubectl get without -o wide is too wide");
    let metadata = json!({"name": "kubevirt", "namespace": "default"});
    let kubevirt = json!({"apiVersion": "kubevirt.io/v1", "kind": "KubeVirt", "metadata": metadata});
    cluster.kubectl_with(&["create", "-f", "-"], &kubevirt);
    let kubevirt = cluster.kubectl(&["get", "kubevirt", "--all-namespaces", "-o", "name"]);
    assert_eq!(kubevirt.trim(), "kubevirt.kubevirt.io/kubevirt", "a category hides the KubeVirt resource");
}
