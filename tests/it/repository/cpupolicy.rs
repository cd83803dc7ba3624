//! The schema of `CPUPolicy`, compared with the reader of policies.

use std::collections::BTreeSet;

use cpufit::policy::{Announce, Dial, LauncherSelectors, Operator, Otherwise, Policy, PolicyError, ReplacedMode, Word};
use rstest::rstest;
use serde_json::{Value, json};

use super::deploy::documents;
use crate::common::policy;

/// Returns the schema of a `CPUPolicy`, or of a field of it.
fn schema(path: &[&str]) -> Value {
    let crd = documents("crd.yaml").remove(0);
    let mut schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone();
    for step in path {
        schema = if *step == "[]" { schema["items"].clone() } else { schema["properties"][step].clone() };
        assert!(schema.is_object(), "the schema has no {}", path.join("."));
    }
    schema
}

/// Returns the fields that the reader accepts, from its error for an unknown field.
#[track_caller]
fn known_to_reader(spec: &Value) -> BTreeSet<String> {
    let Err(PolicyError::Invalid { problems, .. }) = Policy::from_json(&policy("test", spec).to_string()) else {
        panic!("an unknown field was taken: {spec}")
    };
    let known = problems.iter().find_map(|problem| problem.message.strip_prefix("unknown field; known are "));
    known.expect("the known fields").split(", ").map(str::to_owned).collect()
}

#[rstest]
#[case::spec(&["spec"], json!({"zzzzzzzz": 1}))]
#[case::namespace_selector(&["spec", "namespaceSelector"], json!({"namespaceSelector": {"zzzzzzzz": 1}}))]
#[case::guest_selector(&["spec", "virtualMachineSelector"], json!({"virtualMachineSelector": {"zzzzzzzz": 1}}))]
#[case::node_selector(&["spec", "nodeSelector"], json!({"nodeSelector": {"zzzzzzzz": 1}}))]
#[case::condition(
    &["spec", "nodeSelector", "matchExpressions", "[]"],
    json!({"nodeSelector": {"matchExpressions": [{"key": "a", "operator": "Exists", "zzzzzzzz": 1}]}})
)]
#[case::common_model(&["spec", "commonModel"], json!({"commonModel": {"name": "m", "zzzzzzzz": 1}}))]
#[case::exemptions(&["spec", "exemptions"], json!({"exemptions": {"zzzzzzzz": 1}}))]
fn schema_and_reader_know_the_same_fields(#[case] path: &[&str], #[case] spec: Value) {
    let properties = schema(path)["properties"].as_object().expect("properties").keys().cloned().collect();
    assert_eq!(
        known_to_reader(&spec),
        properties,
        "a field of a file would be lost on the cluster, or one of the cluster refused in a file"
    );
}

#[test]
fn the_three_selectors_have_equal_schemas() {
    let [namespaces, guests, nodes] = ["namespaceSelector", "virtualMachineSelector", "nodeSelector"].map(|field| {
        let mut schema = schema(&["spec", field]);
        schema.as_object_mut().expect("a schema").remove("description");
        schema
    });
    assert_eq!(namespaces, guests, "what selects namespaces would not select guests");
    assert_eq!(namespaces, nodes, "what selects namespaces would not select nodes");
}

fn words<T: Word>() -> Value {
    T::ALL.iter().map(|word| word.as_str()).collect()
}

#[rstest]
#[case::enforce(&["spec", "enforce"], words::<Dial>())]
#[case::warn(&["spec", "warn"], words::<Dial>())]
#[case::audit(&["spec", "audit"], words::<Dial>())]
#[case::replaces(&["spec", "commonModel", "replaces", "[]"], words::<ReplacedMode>())]
#[case::otherwise(&["spec", "commonModel", "otherwise"], words::<Otherwise>())]
#[case::announce(&["spec", "commonModel", "announce"], words::<Announce>())]
#[case::launcher_selectors(&["spec", "launcherSelectors"], words::<LauncherSelectors>())]
#[case::operator(&["spec", "nodeSelector", "matchExpressions", "[]", "operator"], words::<Operator>())]
fn schema_and_reader_know_the_same_words(#[case] path: &[&str], #[case] expected: Value) {
    assert_eq!(
        schema(path)["enum"],
        expected,
        "{path:?}: a word would be taken in a file and refused on the cluster, or the other way round"
    );
}

/// Sets the schema's defaults, as the API server does before it stores an object.
fn set_defaults(schema: &Value, value: &mut Value) {
    let (Some(properties), Some(fields)) = (schema["properties"].as_object(), value.as_object_mut()) else { return };
    for (name, schema) in properties {
        if let Some(default) = schema.get("default") {
            fields.entry(name.as_str()).or_insert_with(|| default.clone());
        }
        if let Some(field) = fields.get_mut(name) {
            set_defaults(schema, field);
        }
    }
}

#[rstest]
#[case::nothing(json!({}), &["enforce", "warn", "audit", "launcherSelectors"])]
#[case::a_model(json!({"commonModel": {"name": "EPYC-Rome"}}), &["commonModel/replaces", "commonModel/otherwise", "commonModel/announce"])]
#[case::exemptions(json!({"exemptions": {"users": ["backup"]}}), &["exemptions/controllers"])]
fn schema_and_reader_have_the_same_defaults(#[case] spec: Value, #[case] shown: &[&str]) {
    let minimal = policy("test", &spec);
    let mut stored = minimal.clone();
    set_defaults(&schema(&[]), &mut stored);
    let policy = |document: &Value| Policy::from_json(&document.to_string()).expect("a policy");
    assert_eq!(policy(&stored), policy(&minimal), "a policy would do something else on the cluster than from a file");
    for field in shown {
        assert!(
            stored["spec"].pointer(&format!("/{field}")).is_some(),
            "{field}: kubectl get -o yaml would not show what is in force"
        );
    }
}

#[test]
fn every_field_is_described() {
    fn undescribed(path: &str, schema: &Value, found: &mut Vec<String>) {
        for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{name}");
            if schema.get("description").is_none() && path != ".metadata" {
                found.push(path.clone());
            }
            undescribed(&path, schema, found);
            undescribed(&path, &schema["items"], found);
        }
    }
    let mut found = Vec::new();
    undescribed("", &schema(&[]), &mut found);
    assert!(found.is_empty(), "kubectl explain would say nothing about {found:?}");
}
