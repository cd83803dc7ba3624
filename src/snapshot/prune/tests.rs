use std::collections::BTreeSet;

use super::*;
use crate::snapshot::redact::redact;

const MARKER: &str = "hunter2";

/// Returns an object of each kind that is read, with many fields that are not judged.
fn objects() -> Vec<Value> {
    let text = include_str!("full.yaml");
    let mut out = Vec::new();
    let read = crate::snapshot::read("full.yaml", text.as_bytes(), |item| {
        out.push(serde_json::from_str(item.json.get()).unwrap());
        Ok::<_, crate::snapshot::Error>(())
    });
    read.expect("the objects are well-formed");
    out
}

/// Returns the snapshot's content for an object; `None` if it is refused.
fn taken(object: &Value) -> Option<Vec<Value>> {
    let mut taken = SnapshotObjects::default();
    let (api_version, kind) = (text_at(object, "/apiVersion").to_owned(), text_at(object, "/kind").to_owned());
    taken.take(&api_version, &kind, &object.to_string()).ok()?;
    Some(taken.finish(None))
}

fn holds(objects: &[Value], text: &str) -> bool {
    objects.iter().any(|object| object.to_string().contains(text))
}

/// Collects the paths of all texts of a value: generic path and JSON pointer.
fn places(value: &Value, place: &str, pointer: &str, out: &mut Vec<(String, String)>) {
    match value {
        Value::String(_) => out.push((place.to_owned(), pointer.to_owned())),
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                places(item, &format!("{place}[]"), &format!("{pointer}/{at}"), out);
            }
        }
        Value::Object(fields) => {
            for (key, item) in fields {
                let escaped = key.replace('~', "~0").replace('/', "~1");
                places(item, &format!("{place}.{key}"), &format!("{pointer}/{escaped}"), out);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Returns the paths from which a marker, put in place of each text of each object, appears in a snapshot and in a
/// redacted one.
fn let_through() -> [BTreeSet<String>; 2] {
    let mut out = [BTreeSet::new(), BTreeSet::new()];
    for object in objects() {
        let mut texts = Vec::new();
        places(&object, text_at(&object, "/kind"), "", &mut texts);
        for (place, pointer) in texts {
            let mut marked = object.clone();
            *marked.pointer_mut(&pointer).unwrap() = MARKER.into();
            let Some(taken) = taken(&marked) else { continue };
            if holds(&taken, MARKER) {
                out[0].insert(place.clone());
            }
            if holds(&redact(taken), MARKER) {
                out[1].insert(place);
            }
        }
    }
    out
}

/// Adds an unknown field to each object and each list of a value.
fn with_strangers(value: &mut Value, field: &str) {
    match value {
        Value::Object(fields) => {
            fields.iter_mut().for_each(|(key, value)| with_strangers(value, key));
            let stranger = match field {
                "labels" | "matchLabels" | "nodeSelector" | "addedNodeSelector" | "nodeSelectors"
                | "obsoleteCPUModels" | "allocatable" | "requests" => return,
                "annotations" => ("example.org/strange", Value::from(MARKER)),
                _ => ("strange", json!({"text": MARKER, "list": [MARKER, {"text": MARKER}]})),
            };
            fields.insert(stranger.0.to_owned(), stranger.1);
        }
        Value::Array(items) => items.iter_mut().for_each(|item| with_strangers(item, "")),
        _ => {}
    }
}

#[test]
fn a_snapshot_has_texts_only_in_fields_that_judgements_read() {
    let [taken, redacted] = let_through();
    let lines = |places: BTreeSet<String>| places.into_iter().collect::<Vec<_>>().join("\n");
    insta::assert_snapshot!("texts_of_a_snapshot", lines(taken));
    insta::assert_snapshot!("texts_of_a_redacted_snapshot", lines(redacted));
}

#[test]
fn a_snapshot_keeps_only_fields_that_are_read() {
    for object in objects() {
        let kind = text_at(&object, "/kind").to_owned();
        // A policy is refused with an unknown field.
        if kind == "CPUPolicy" {
            continue;
        }
        let mut strange = object.clone();
        with_strangers(&mut strange, "");
        let taken = taken(&strange).unwrap_or_else(|| panic!("{kind} is refused"));
        assert!(!holds(&taken, MARKER), "{kind}: {taken:#?}");
        assert_eq!(Some(taken), super::tests::taken(&object), "{kind}");
    }
}

#[test]
fn a_snapshot_keeps_all_texts_that_judgements_read() {
    let all: Vec<Value> = objects().iter().flat_map(|object| taken(object).unwrap()).collect();
    for text in [
        "kubernetes.io/hostname",
        "NoSchedule",
        "Skylake-Server",
        "vmx",
        "require",
        "pc-q35-rhel9.4.0",
        "LiveMigrate",
        "DisksNotLiveMigratable",
        "missing features: vmx-exit-load-perf-global-ctrl",
        "v1.6.0",
        "hco-operator",
    ] {
        assert!(holds(&all, text), "{text} is judged");
    }
    let of = |kind: &str| all.iter().filter(|object| object["kind"] == kind).collect::<Vec<_>>();
    assert_eq!(of("Node")[0].pointer("/status/allocatable/cpu"), Some(&json!("64")));
    let launcher = of("Pod")[0];
    assert_eq!(launcher.pointer("/spec/resources/requests"), Some(&json!({"cpu": "2100m", "memory": "4294967296"})));
    let summed = json!([{"priority": 1000, "requests": {"cpu": "250m", "memory": "1073741824", "pods": "1"}}]);
    assert_eq!(
        of("PodRequests")[0]["requests"],
        summed,
        "the room that other pods take is known, and nothing else of them"
    );
    assert_eq!(of("Pod").len(), 1);
    assert!(taken(&json!({"apiVersion": "v1", "kind": "ConfigMap"})).unwrap().is_empty());
    assert!(taken(&json!({"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "spec": []})).is_none());
}

#[test]
fn a_snapshot_of_one_namespace_names_no_other() {
    let mut all = SnapshotObjects::default();
    for object in objects() {
        let mut other = object.clone();
        all.take(text_at(&object, "/apiVersion"), text_at(&object, "/kind"), &object.to_string()).unwrap();
        if other["metadata"]["namespace"] == "shop" || other["kind"] == "Namespace" {
            other["metadata"]["namespace"] = "warehouse".into();
            other["metadata"]["name"] = "warehouse".into();
            all.take(text_at(&object, "/apiVersion"), text_at(&object, "/kind"), &other.to_string()).unwrap();
        }
    }
    let shop = all.finish(Some("shop"));
    assert!(!holds(&shop, "warehouse"), "{shop:#?}");
    assert!(
        !holds(&shop, "allocatable") && !holds(&shop, "PodRequests"),
        "nodes would look free: pods of others are not there"
    );
    assert!(holds(&shop, "\"VirtualMachineInstance\""));
}
