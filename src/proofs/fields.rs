//! Fields named in answers exist in the object that the answer is about, or are those that a policy wants set.

use serde_json::Value;

use super::Fault;
use super::seen::{Answered, Seen};

/// Returns a fault for each field that is named and that the object does not have.
pub(super) fn faults(answered: &Answered, seen: &Seen) -> Vec<Fault> {
    let row = &answered.row;
    let (kind, name) = (row["kind"].as_str().unwrap_or_default(), row["name"].as_str().unwrap_or_default());
    let judged = if answered.object["kind"] == kind { Some(&answered.object) } else { seen.situation.find(kind, name) };
    let findings = row["findings"].as_array().into_iter().flatten();
    let of_findings = findings.filter_map(|finding| Some((finding["field"].as_str()?, finding["check"].as_str()?)));
    let of_row = of_findings.map(|(field, check)| (judged, field, check));
    let of_causes = answered.causes.iter().map(|field| (Some(&answered.object), field.as_str(), "cause"));
    let is_there = |object: Option<&Value>, field: &str| object.is_some_and(|object| has(object, field));
    let missing =
        of_row.chain(of_causes).filter(|(object, field, by)| !is_there(*object, field) && !is_to_be_set(field, by));
    let fault = |(_, field, by): (_, &str, &str)| {
        Fault::new("a field is named that the object does not have", format!("{}: {field} ({by})", answered.asked))
    };
    missing.map(fault).collect()
}

/// Whether a policy may require the field, as the API server does with `Required value`, where an object lacks it.
fn is_to_be_set(field: &str, by: &str) -> bool {
    matches!(by, "common-model" | "cause") && field.ends_with(".domain.cpu.model")
}

/// Whether an object has the field; the empty path is no field.
fn has(object: &Value, path: &str) -> bool {
    path.is_empty() || path.split('.').try_fold(object, |at, part| step(at, part)).is_some()
}

fn step<'v>(at: &'v Value, part: &str) -> Option<&'v Value> {
    let (name, index) = match part.strip_suffix(']').and_then(|part| part.split_once('[')) {
        Some((name, index)) => (name, Some(index.parse::<usize>().ok()?)),
        None => (part, None),
    };
    let found = at.get(name)?;
    index.map_or(Some(found), |index| found.get(index))
}

/// Ways of naming a setting of the KubeVirt resource.
const SETTINGS: [&str; 5] = [
    "KubeVirt resource",
    "kubectl patch kubevirt ",
    "spec.configuration.",
    "of its resource is ",
    "of KubeVirt, which",
];
/// Facts about that resource that no edit follows from.
const FACTS: [&str; 6] = [
    "(no spec.configuration.",
    "No minimumClusterTSCFrequency of",
    " is minimumClusterTSCFrequency of the KubeVirt resource, and",
    "the KubeVirt resource is too large",
    "neither it nor the KubeVirt resource has an evictionStrategy",
    "no KubeVirt resource",
];

/// Whether a line sends people to the KubeVirt resource although a HyperConverged resource owns it: its operator undoes
/// the edit.
pub(super) fn sends_to_what_is_undone(line: &str, seen: &Seen) -> bool {
    let owned = || {
        seen.situation.find("KubeVirt", "kubevirt").is_some_and(|it| it["metadata"]["ownerReferences"][0].is_object())
    };
    let names = |all: &[&str]| all.iter().any(|setting| line.contains(setting));
    names(&SETTINGS) && !names(&FACTS) && !line.contains("HyperConverged") && owned()
}

#[test]
fn a_field_that_an_object_lacks_is_found() {
    let object = serde_json::json!({"spec": {"features": [{"name": "vmx"}]}});
    for (path, is_there) in [
        ("", true),
        ("spec.features[0].name", true),
        ("spec.features[1].name", false),
        ("spec.features.name", false),
        ("spec.model", false),
    ] {
        assert_eq!(has(&object, path), is_there, "{path:?}: a person is sent to a field that does not exist");
    }
}
