//! A cluster created from a snapshot: nodes, guests and launchers with their status and their owner references.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::common::read;
use crate::controlplane::ControlPlane;

/// Kinds in the order of creation: owners first.
const ORDER: [&str; 7] = [
    "Namespace",
    "Node",
    "KubeVirt",
    "VirtualMachine",
    "VirtualMachineInstance",
    "VirtualMachineInstanceMigration",
    "Pod",
];

/// Fields that the API server sets itself.
const SERVERS_OWN: [&str; 5] = ["uid", "resourceVersion", "generation", "creationTimestamp", "managedFields"];

/// Returns the path of a file of this test's data.
pub fn data(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/data").join(name)
}

/// Installs KubeVirt's kinds and waits until they are served.
#[track_caller]
pub fn install_kubevirt(cluster: &ControlPlane) {
    let file = data("kubevirt-crds.yaml");
    let file = file.to_str().expect("a path in UTF-8");
    cluster.kubectl(&["create", "-f", file]);
    cluster.kubectl(&["wait", "--for=condition=Established", "--timeout=30s", "-f", file]);
}

/// Creates the objects of a snapshot. Their new UIDs replace the recorded ones everywhere.
#[track_caller]
pub fn create(cluster: &ControlPlane, snapshot: &Path) {
    let text = String::from_utf8(read(snapshot)).expect("a snapshot in UTF-8");
    let snapshot: Value = serde_saphyr::from_str(&text).expect("a snapshot in YAML");
    let mut objects = snapshot["items"].as_array().expect("a List").clone();
    for kind in ORDER {
        let (these, rest): (Vec<Value>, Vec<Value>) = objects.into_iter().partition(|object| object["kind"] == kind);
        objects = rest;
        for (recorded, created) in create_all(cluster, these) {
            let text = Value::Array(objects).to_string().replace(&recorded, &created);
            objects = serde_json::from_str(&text).expect("still JSON");
        }
    }
    assert!(objects.is_empty(), "these are not created: {objects:?}");
}

/// Creates objects of one kind; returns their recorded UIDs with the new ones.
#[track_caller]
fn create_all(cluster: &ControlPlane, mut objects: Vec<Value>) -> Vec<(String, String)> {
    // Some namespaces exist: the API server's own, and those of earlier installations.
    let there = cluster.get(&["namespaces"]);
    let is_there = |object: &Value| {
        let items = there["items"].as_array().expect("a list");
        object["kind"] == "Namespace"
            && items.iter().any(|known| known["metadata"]["name"] == object["metadata"]["name"])
    };
    objects.retain(|object| !is_there(object));
    if objects.is_empty() {
        return Vec::new();
    }
    let uid = |object: &Value| object["metadata"]["uid"].as_str().expect("a UID").to_owned();
    let recorded: Vec<String> = objects.iter().map(uid).collect();
    for object in &mut objects {
        let metadata = object["metadata"].as_object_mut().expect("metadata");
        metadata.retain(|key, _| !SERVERS_OWN.contains(&key.as_str()));
    }
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    // A shipped snapshot omits fields that are not read, even required ones.
    let answer = cluster.kubectl_with(&["create", "--validate=false", "-o", "json", "-f", "-"], &list);
    let created = answers(&answer);
    assert_eq!(created.len(), recorded.len(), "kubectl created other objects than it was given");
    // Most kinds accept their status through a subresource only.
    for object in &objects {
        if matches!(object["kind"].as_str(), Some("KubeVirt" | "VirtualMachine" | "Pod")) {
            set_status(cluster, object);
        }
    }
    recorded.into_iter().zip(created.iter().map(uid)).collect()
}

/// Parses the output of `create -o json`: one document, or a List of them.
fn answers(text: &str) -> Vec<Value> {
    let documents = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    documents
        .map(|document| document.expect("kubectl prints JSON"))
        .flat_map(|document| document["items"].as_array().cloned().unwrap_or_else(|| vec![document]))
        .collect()
}

#[track_caller]
fn set_status(cluster: &ControlPlane, object: &Value) {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let (kind, name) = (text(&object["kind"]), text(&object["metadata"]["name"]));
    let namespace = format!("--namespace={}", text(&object["metadata"]["namespace"]));
    let mut patch = Map::new();
    patch.insert("status".into(), object["status"].clone());
    let patch = Value::Object(patch).to_string();
    cluster.kubectl(&["patch", &kind, &name, &namespace, "--subresource=status", "--type=merge", "-p", &patch]);
}
