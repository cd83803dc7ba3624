//! Guests and other pods of the demo's cluster that exclude each other from nodes by required pod anti-affinity.

use serde_json::{Value, json};

use super::running;

/// A secret in the labels of other pods, which must not appear in output.
pub const SECRET: &str = "hunter2";

fn required(terms: &Value) -> Value {
    json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}})
}

fn guest(name: &str, affinity: &Value) -> Value {
    let mut guest = running(name, "node-a", "Skylake-Server-noTSX-IBRS");
    guest["metadata"]["labels"] = json!({"app": name});
    guest["spec"]["evictionStrategy"] = json!("LiveMigrate");
    guest["spec"]["affinity"] = affinity.clone();
    guest["status"]["conditions"] =
        json!([{"type": "LiveMigratable", "status": "True"}, {"type": "Ready", "status": "True"}]);
    guest
}

fn pod(namespace: &str, name: &str, node: &str, labels: &Value, affinity: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "uid": format!("0001-{name}"), "labels": labels},
        "spec": {"nodeName": node, "affinity": affinity, "containers": [{"name": "main", "image": "registry.example/app:1"}]},
        "status": {"phase": "Running"},
    })
}

/// Returns pods and guests: the guest `far` excludes heavy pods of its namespace, and in `lab` all that are not light;
/// `calm` is excluded by pods.
pub fn items() -> Vec<Value> {
    let terms = json!([
        {"labelSelector": {"matchLabels": {"example.com/load": "heavy"}}, "topologyKey": "kubernetes.io/hostname"},
        {
            "labelSelector": {"matchExpressions": [{"key": "example.com/load", "operator": "NotIn", "values": ["light"]}]},
            "namespaces": ["lab"], "topologyKey": "kubernetes.io/hostname",
        },
    ]);
    let own = |app: &str| {
        required(&json!([{
            "labelSelector": {"matchLabels": {"app": app}}, "namespaces": ["shop"], "topologyKey": "kubernetes.io/hostname",
        }]))
    };
    let heavy = json!({"example.com/load": "heavy", "customer": SECRET});
    vec![
        guest("far", &required(&terms)),
        guest("calm", &json!({})),
        pod("shop", "batch-0", "node-b", &heavy, &json!({})),
        pod("shop", "batch-1", "node-c", &json!({"example.com/load": "light", "customer": SECRET}), &json!({})),
        // This pod has no such label, so it is not light.
        pod("lab", "plain-0", "node-e", &json!({"customer": SECRET}), &json!({})),
        pod("lab", "light-0", "node-c", &json!({"example.com/load": "light"}), &own("calm")),
        pod("lab", "proud-0", "node-e", &json!({"example.com/load": "light", "customer": SECRET}), &own(SECRET)),
    ]
}
