//! A JSON Patch applied to the text of an object: parts that no operation touches are copied, not parsed.

use std::borrow::Cow;
use std::collections::BTreeMap;

use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, PatchError, PatchOperation, RemoveOperation, ReplaceOperation};
use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use thiserror::Error;

/// The reason why a patch does not apply.
#[derive(Debug, Error)]
pub(crate) enum TextPatchError {
    /// An operation does not apply.
    #[error(transparent)]
    Operation(#[from] PatchError),
    /// The text is not the JSON of an object.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

/// An operation with the part of its path below the value that is patched.
type Step<'p> = (Vec<String>, &'p PatchOperation);

/// Applies the operations to the part of an object's text that is at `place`, field by field.
///
/// # Errors
///
/// Returns an error if an operation does not apply, or the text is not the JSON of an object.
pub(crate) fn patched(
    text: &RawValue,
    place: &[&str],
    patch: &[PatchOperation],
) -> Result<Box<RawValue>, TextPatchError> {
    let is_of_a_field = |operation: &PatchOperation| is_plain(operation) && !operation.path().is_root();
    if !patch.iter().all(is_of_a_field) {
        let mut whole: Value = serde_json::from_str(text.get())?;
        let pointer = PointerBuf::from_tokens(place.iter().copied());
        json_patch::patch(whole.pointer_mut(pointer.as_str()).unwrap_or(&mut Value::Null), patch)?;
        return Ok(serde_json::value::to_raw_value(&whole)?);
    }
    let below = |operation| {
        let inner = tokens(operation);
        (place.iter().map(|field| (*field).to_owned()).chain(inner).collect(), operation)
    };
    let mut out = String::with_capacity(text.get().len());
    apply(text.get(), patch.iter().map(below).collect(), &mut out)?;
    Ok(RawValue::from_string(out)?)
}

fn tokens(operation: &PatchOperation) -> Vec<String> {
    operation.path().tokens().map(|token| token.decoded().into_owned()).collect()
}

/// Writes the text of an object after these operations.
fn apply(text: &str, steps: Vec<Step<'_>>, out: &mut String) -> Result<(), TextPatchError> {
    let mut fields: BTreeMap<String, Vec<Step<'_>>> = BTreeMap::new();
    for (mut path, operation) in steps {
        let field = path.remove(0);
        fields.entry(field).or_default().push((path, operation));
    }
    let mut writer = Writer { fields, out, is_first: true, failed: None };
    writer.out.push('{');
    serde_json::Deserializer::from_str(text).deserialize_map(&mut writer)?;
    if let Some(error) = writer.failed {
        return Err(error);
    }
    let added = std::mem::take(&mut writer.fields);
    for (field, steps) in added {
        writer.field(&field, None, steps)?;
    }
    writer.out.push('}');
    Ok(())
}

/// Copies the fields of an object, and patches some of them.
struct Writer<'o, 'p> {
    /// The operations by field, without those of fields that were written.
    fields: BTreeMap<String, Vec<Step<'p>>>,
    out: &'o mut String,
    is_first: bool,
    failed: Option<TextPatchError>,
}

/// The key of a field, borrowed where it holds no escape.
#[derive(Deserialize)]
struct Key<'t>(#[serde(borrow)] Cow<'t, str>);

impl<'t> Visitor<'t> for &mut Writer<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'t>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some((Key(key), value)) = map.next_entry::<Key<'t>, &'t RawValue>()? {
            let Some(steps) = self.fields.remove(key.as_ref()) else {
                self.copy(key, value.get());
                continue;
            };
            if let Err(error) = self.field(&key, Some(value.get()), steps) {
                self.failed.get_or_insert(error);
            }
        }
        Ok(())
    }
}

impl Writer<'_, '_> {
    /// Writes a field as it is.
    fn copy(&mut self, key: Cow<'_, str>, text: &str) {
        match key {
            // Without escapes, it is written as it was.
            Cow::Borrowed(plain) => {
                self.comma();
                self.out.extend(["\"", plain, "\":"]);
            }
            Cow::Owned(escaped) => self.key(&escaped),
        }
        self.out.push_str(text);
    }

    fn comma(&mut self) {
        if !std::mem::take(&mut self.is_first) {
            self.out.push(',');
        }
    }

    /// Writes the key of a field.
    fn key(&mut self, key: &str) {
        self.comma();
        push_json(key, self.out);
        self.out.push(':');
    }

    /// Writes a field after its operations; nothing if they remove it.
    fn field(&mut self, key: &str, text: Option<&str>, steps: Vec<Step<'_>>) -> Result<(), TextPatchError> {
        let is_inside = steps.iter().all(|(path, operation)| !path.is_empty() && is_plain(operation));
        if let Some(text) = text.filter(|text| is_inside && text.starts_with('{')) {
            self.key(key);
            return apply(text, steps, self.out);
        }
        let mut whole = Map::new();
        if let Some(text) = text {
            whole.insert(key.to_owned(), serde_json::from_str(text)?);
        }
        let mut whole = Value::Object(whole);
        let steps: Vec<PatchOperation> = steps.into_iter().map(|(path, operation)| at(key, &path, operation)).collect();
        json_patch::patch(&mut whole, &steps)?;
        if let Some(value) = whole.get(key) {
            self.key(key);
            push_json(value, self.out);
        }
        Ok(())
    }
}

/// Whether the operation has one path.
fn is_plain(operation: &PatchOperation) -> bool {
    matches!(operation, PatchOperation::Add(_) | PatchOperation::Remove(_) | PatchOperation::Replace(_))
}

/// Returns the operation with another path.
fn at(key: &str, below: &[String], operation: &PatchOperation) -> PatchOperation {
    let path = PointerBuf::from_tokens(std::iter::once(key).chain(below.iter().map(String::as_str)));
    match operation.clone() {
        PatchOperation::Add(add) => PatchOperation::Add(AddOperation { path, ..add }),
        PatchOperation::Remove(_) => PatchOperation::Remove(RemoveOperation { path }),
        PatchOperation::Replace(replace) => PatchOperation::Replace(ReplaceOperation { path, ..replace }),
        other => other,
    }
}

fn push_json<T: Serialize + ?Sized>(value: &T, out: &mut String) {
    if let Ok(text) = serde_json::to_string(value) {
        out.push_str(&text);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::patch::{annotate, remove, set};
    use super::*;

    const NAMES: [&str; 4] = ["a", "b~/\"", "metadata", "annotations"];

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![Just(Value::Null), Just(json!("x")), Just(json!([1, {"a": {}}])), Just(json!({}))];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop::collection::btree_map(prop::sample::select(&NAMES[..]), inner, 0..4)
                .prop_map(|fields| fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
        })
    }

    fn path() -> impl Strategy<Value = Vec<&'static str>> {
        prop::collection::vec(prop::sample::select(&NAMES[..]), 1..4)
    }

    proptest! {
        /// `check` would judge another object than the one that the API server stores.
        #[test]
        fn a_text_is_patched_as_the_object_is(
            object in values(),
            is_inside in any::<bool>(),
            sets in prop::collection::vec((path(), values()), 0..3),
            removed in prop::option::of(path()),
            is_annotated in any::<bool>(),
        ) {
            let object = if object.is_object() { object } else { json!({"a": object}) };
            let mut patch: Vec<PatchOperation> =
                sets.iter().filter_map(|(path, value)| set(&object, path, value.clone())).collect();
            patch.extend(removed.map(|path| remove(&path)));
            if is_annotated {
                patch.extend(annotate(&object, &[("a", "1".to_owned())]));
            }
            let mut expected = object.clone();
            let is_applied = json_patch::patch(&mut expected, &patch).is_ok();
            let (whole, place) = if is_inside {
                (json!({"first": [1], "request": {"object": object}, "z": 2}), vec!["request", "object"])
            } else {
                (object, vec![])
            };
            let text = serde_json::value::to_raw_value(&whole).expect("JSON");
            match patched(&text, &place, &patch) {
                Ok(done) => {
                    prop_assert!(is_applied, "{done}");
                    let mut done: Value = serde_json::from_str(done.get()).expect("JSON");
                    let inner = if is_inside { done["request"]["object"].take() } else { done };
                    prop_assert_eq!(inner, expected);
                }
                Err(error) => prop_assert!(!is_applied, "{error}"),
            }
        }
    }
}
