//! Minimal JSON Patches (RFC 6902).

use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, PatchOperation, RemoveOperation, ReplaceOperation};
use serde_json::{Map, Value};

/// Sets a field of an object; `None` if it already has the value. Missing or `null` parents are created.
pub(crate) fn set(object: &Value, path: &[&str], value: Value) -> Option<PatchOperation> {
    let mut at = object;
    for (depth, field) in path.iter().enumerate() {
        let Some(found) = at.get(field).filter(|found| !found.is_null()) else {
            let below = path[depth + 1..].iter().rev();
            let nest = |inner, field: &&str| Value::Object(Map::from_iter([((*field).to_owned(), inner)]));
            let value = below.fold(value, nest);
            return Some(PatchOperation::Add(AddOperation { path: pointer(&path[..=depth]), value }));
        };
        at = found;
    }
    (*at != value).then(|| PatchOperation::Replace(ReplaceOperation { path: pointer(path), value }))
}

/// Sets annotations of an object, in one operation if it has none.
pub(crate) fn annotate(object: &Value, annotations: &[(&str, String)]) -> Vec<PatchOperation> {
    const PATH: [&str; 2] = ["metadata", "annotations"];
    let text = |value: &String| Value::String(value.clone());
    if object["metadata"]["annotations"].is_null() {
        let all: Map<String, Value> = annotations.iter().map(|(key, value)| ((*key).to_owned(), text(value))).collect();
        return if all.is_empty() { Vec::new() } else { set(object, &PATH, Value::Object(all)).into_iter().collect() };
    }
    annotations.iter().filter_map(|(key, value)| set(object, &[PATH[0], PATH[1], key], text(value))).collect()
}

/// Removes an existing field.
pub(crate) fn remove(path: &[&str]) -> PatchOperation {
    PatchOperation::Remove(RemoveOperation { path: pointer(path) })
}

fn pointer(path: &[&str]) -> PointerBuf {
    PointerBuf::from_tokens(path.iter().copied())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    const MODEL: [&str; 4] = ["spec", "domain", "cpu", "model"];

    #[rstest]
    #[case::no_cpu(json!({"spec": {"domain": {}}}), json!([{"op": "add", "path": "/spec/domain/cpu", "value": {"model": "M"}}]))]
    #[case::null_cpu(json!({"spec": {"domain": {"cpu": null}}}), json!([{"op": "add", "path": "/spec/domain/cpu", "value": {"model": "M"}}]))]
    #[case::null_domain(json!({"spec": {"domain": null}}), json!([{"op": "add", "path": "/spec/domain", "value": {"cpu": {"model": "M"}}}]))]
    #[case::nothing(json!({}), json!([{"op": "add", "path": "/spec", "value": {"domain": {"cpu": {"model": "M"}}}}]))]
    #[case::no_model(json!({"spec": {"domain": {"cpu": {"cores": 2}}}}), json!([{"op": "add", "path": "/spec/domain/cpu/model", "value": "M"}]))]
    #[case::null_model(json!({"spec": {"domain": {"cpu": {"model": null}}}}), json!([{"op": "add", "path": "/spec/domain/cpu/model", "value": "M"}]))]
    #[case::empty_model(json!({"spec": {"domain": {"cpu": {"model": ""}}}}), json!([{"op": "replace", "path": "/spec/domain/cpu/model", "value": "M"}]))]
    #[case::other_model(json!({"spec": {"domain": {"cpu": {"model": "X"}}}}), json!([{"op": "replace", "path": "/spec/domain/cpu/model", "value": "M"}]))]
    #[case::there_already(json!({"spec": {"domain": {"cpu": {"model": "M"}}}}), json!([]))]
    fn a_field_is_set_by_one_operation_that_applies(#[case] mut object: Value, #[case] expected: Value) {
        let patch: Vec<PatchOperation> = set(&object, &MODEL, json!("M")).into_iter().collect();
        assert_eq!(json!(patch), expected);
        json_patch::patch(&mut object, &patch).expect("the API server would refuse the whole request");
        assert_eq!(object["spec"]["domain"]["cpu"]["model"], "M", "{object}");
        assert_eq!(set(&object, &MODEL, json!("M")), None, "a second call would patch again");
    }

    #[rstest]
    #[case::none(json!({"metadata": {}}), 1)]
    #[case::null(json!({"metadata": {"annotations": null}}), 1)]
    #[case::no_metadata(json!({}), 1)]
    #[case::empty(json!({"metadata": {"annotations": {}}}), 2)]
    #[case::others(json!({"metadata": {"annotations": {"a": "b"}}}), 2)]
    #[case::one_stale(json!({"metadata": {"annotations": {"x.io/a": "9"}}}), 2)]
    fn annotations_are_added_beside_others(#[case] mut object: Value, #[case] operations: usize) {
        let wanted = [("x.io/a", "1".to_owned()), ("x.io/b", "2".to_owned())];
        let patch = annotate(&object, &wanted);
        assert_eq!(patch.len(), operations, "{patch:?}");
        json_patch::patch(&mut object, &patch).expect("slashes in keys are escaped");
        assert_eq!(
            (&object["metadata"]["annotations"]["x.io/a"], &object["metadata"]["annotations"]["x.io/b"]),
            (&json!("1"), &json!("2"))
        );
        assert!(annotate(&object, &wanted).is_empty());
    }

    #[test]
    fn keys_are_escaped() {
        assert_eq!(
            json!(remove(&["spec", "nodeSelector", "cpu-feature.node.kubevirt.io/a~b"])),
            json!({"op": "remove", "path": "/spec/nodeSelector/cpu-feature.node.kubevirt.io~1a~0b"})
        );
        let patch = [remove(&["spec", "nodeSelector", "x.io/a~b"]), remove(&["spec", "nodeSelector", "c"])];
        let mut object = json!({"spec": {"nodeSelector": {"x.io/a~b": "1", "c": "2"}, "x": [1]}});
        json_patch::patch(&mut object, &patch).expect("the API server would refuse the whole request");
        assert_eq!(object, json!({"spec": {"nodeSelector": {}, "x": [1]}}));
    }
}
