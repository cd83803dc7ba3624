//! Minimal JSON Patches (RFC 6902).

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, PatchOperation, RemoveOperation, ReplaceOperation};
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::kubevirt::wire::Text;

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

/// Applies a patch of this module to the text of an object, at a path in it, parsing only the objects along
/// the patched paths.
///
/// # Errors
///
/// Returns an error if the text is no object, or has none at the path.
pub(crate) fn apply(text: &str, root: &[&str], patch: &[PatchOperation]) -> Result<String, serde_json::Error> {
    let mut text = Cow::Borrowed(text);
    for operation in patch {
        let (target, value) = match operation {
            PatchOperation::Add(AddOperation { path, value })
            | PatchOperation::Replace(ReplaceOperation { path, value }) => (path, Some(value)),
            PatchOperation::Remove(RemoveOperation { path }) => (path, None),
            other => return Err(serde_json::Error::custom(format_args!("{other:?} is not made here"))),
        };
        let tokens: Vec<Cow<'_, str>> = root
            .iter()
            .map(|&field| field.into())
            .chain(target.tokens().map(|token| token.decoded().into_owned().into()))
            .collect();
        text = Cow::Owned(edit(&text, &tokens, value)?);
    }
    Ok(text.into_owned())
}

/// Returns the text of an object with another value at a path, or without the field.
fn edit(text: &str, path: &[Cow<'_, str>], value: Option<&Value>) -> Result<String, serde_json::Error> {
    let Some((field, below)) = path.split_first() else {
        return Ok(value.unwrap_or(&Value::Null).to_string());
    };
    let mut fields: Vec<(Cow<'_, str>, Cow<'_, str>)> = serde_json::from_str::<Fields<'_>>(text)?.0;
    // If a field is repeated, the last one counts.
    let at = fields.iter().rposition(|(name, _)| name == field);
    match (at, value) {
        (Some(at), None) if below.is_empty() => drop(fields.remove(at)),
        (Some(at), _) => fields[at].1 = edit(&fields[at].1, below, value)?.into(),
        (None, Some(value)) if below.is_empty() => fields.push((field.clone(), value.to_string().into())),
        (None, _) => return Err(serde_json::Error::custom(format_args!("there is no field {field}"))),
    }
    let mut out = String::with_capacity(text.len() + 256);
    for (name, value) in &fields {
        out.push(if out.is_empty() { '{' } else { ',' });
        out.push_str(&Value::from(name.as_ref()).to_string());
        out.push(':');
        out.push_str(value);
    }
    out.push_str(if out.is_empty() { "{}" } else { "}" });
    Ok(out)
}

/// The fields of an object, each with its unchanged text.
struct Fields<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldsVisitor<'a>(PhantomData<&'a ()>);
        impl<'de: 'a, 'a> Visitor<'de> for FieldsVisitor<'a> {
            type Value = Fields<'a>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'a>, A::Error> {
                let mut fields = Vec::new();
                while let Some((Text(name), value)) = map.next_entry::<Text<'a>, &'a RawValue>()? {
                    fields.push((name, Cow::Borrowed(value.get())));
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(FieldsVisitor(PhantomData))
    }
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
        let text = json!({"request": {"object": object.clone()}}).to_string();
        json_patch::patch(&mut object, &patch).expect("the API server would refuse the whole request");
        assert_eq!(object["spec"]["domain"]["cpu"]["model"], "M", "{object}");
        let edited = apply(&text, &["request", "object"], &patch).expect("the text of an object");
        let edited: Value = serde_json::from_str(&edited).expect("JSON");
        assert_eq!(edited["request"]["object"], object, "check would show another object than the API server stores");
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
        let text = apply(&object.to_string(), &[], &patch).expect("the text of an object");
        json_patch::patch(&mut object, &patch).expect("slashes in keys are escaped");
        assert_eq!(serde_json::from_str::<Value>(&text).expect("JSON"), object);
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
        let left = apply(r#"{"spec": {"nodeSelector": {"x.io/a~b": "1", "c": "2"}, "x": [ 1 ]}}"#, &[], &patch);
        assert_eq!(left.expect("the text of an object"), r#"{"spec":{"nodeSelector":{},"x":[ 1 ]}}"#);
    }
}
