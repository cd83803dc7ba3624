//! Folding of similar objects, because a cluster of 15,000 nodes has only a few kinds of hardware.
//!
//! A snapshot object of [`KIND`] holds the first of them, and for each other one the JSON merge patch (RFC 7386) from
//! the first. Dumps are unfolded when they are read, so no other code uses this form.

use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::{Map, Value, json};

use crate::policy::API_VERSION;

/// The kind of an object that represents several.
pub(crate) const KIND: &str = "Alike";

/// Minimum number of objects to fold; fewer are easier to read unfolded.
const MIN_OBJECTS: usize = 8;

/// Maximum number of objects in one folded object: a dump is read object by object, and a small file must not expand
/// without limit.
pub(crate) const MOST: usize = 1000;

/// Maximum bytes of its patches, because the size of an object that is read is limited as well.
const MOST_BYTES: usize = 4 << 20;

/// Maximum number of forms of a kind that an object is compared with.
const MAX_FORMS: usize = 64;

/// Number of values in which two objects may always differ if they have twice as many. Otherwise they get separate
/// forms, because nodes of another kind of hardware are similar to each other; if there are many forms already, objects
/// may differ in an eighth of their values.
const FEW_VALUES: usize = 10;

/// Number of forms that count as few, and number of objects for each further form: a form that no other object uses
/// costs a whole object.
const FEW_FORMS: usize = 8;
const OBJECTS_OF_A_FORM: usize = 64;

/// Returns the objects in their order; at least [`MIN_OBJECTS`] similar ones of a kind are replaced by one object in
/// the place of the first.
pub(crate) fn fold(objects: Vec<Value>) -> Vec<Value> {
    let mut groups: Vec<AlikeObjects> = Vec::new();
    // The forms of the current kind, latest first.
    let mut forms: Vec<usize> = Vec::new();
    // The number of objects of this kind so far, and the number of their forms.
    let (mut seen, mut opened) = (0, 0);
    for (at, object) in objects.into_iter().enumerate() {
        let leaves = leaves(&object);
        let is_same_kind = |group: &AlikeObjects| {
            let kind = |object: &Value| ["apiVersion", "kind"].map(|key| object.get(key).cloned());
            kind(&group.first) == kind(&object)
        };
        forms.retain(|form| is_same_kind(&groups[*form]));
        if forms.is_empty() {
            (seen, opened) = (0, 0);
        }
        seen += 1;
        let are_forms_few = opened < FEW_FORMS + seen / OBJECTS_OF_A_FORM;
        let like = |form: &usize| {
            let group = &groups[*form];
            let others = leaves.len().max(group.leaves.len()).saturating_sub(shared(&leaves, &group.leaves));
            let few = (leaves.len() / 2).min(FEW_VALUES);
            let most = if are_forms_few { few } else { few.max(leaves.len() / 8) };
            (others <= most && group.others.len() < MOST && group.bytes < MOST_BYTES).then_some((others, *form))
        };
        let nearest = forms.iter().filter_map(like).min_by_key(|(others, _)| *others);
        match nearest {
            Some((_, form)) if !holds_null(&object) => {
                let patch = difference(&groups[form].first, &object);
                groups[form].bytes += patch.to_string().len();
                groups[form].others.push((patch, at, object));
            }
            _ => {
                opened += 1;
                forms.insert(0, groups.len());
                forms.truncate(MAX_FORMS);
                groups.push(AlikeObjects { at, first: object, leaves, others: Vec::new(), bytes: 0 });
            }
        }
    }
    let mut out: Vec<(usize, Value)> = groups.into_iter().flat_map(AlikeObjects::written).collect();
    out.sort_by_key(|(at, _)| *at);
    out.into_iter().map(|(_, object)| object).collect()
}

/// Returns the objects that an object of [`KIND`] represents.
///
/// # Errors
///
/// The faulty field, and its error.
pub(crate) fn unfold(folded: &Value) -> Result<Vec<Value>, (&'static str, String)> {
    let first = folded.get("first").filter(|first| first.is_object());
    let first = first.ok_or_else(|| ("first", "expected an object, the first of those that are alike".to_owned()))?;
    let others = folded.get("others").and_then(Value::as_array);
    let others =
        others.ok_or_else(|| ("others", "expected a list, of what the others have in its place".to_owned()))?;
    if others.len() > MOST {
        return Err(("others", format!("expected at most {MOST}, found {}", others.len())));
    }
    let mut out = vec![first.clone()];
    for patch in others {
        let mut other = first.clone();
        json_patch::merge(&mut other, patch);
        out.push(other);
    }
    Ok(out)
}

struct AlikeObjects {
    /// The place of the first object.
    at: usize,
    first: Value,
    leaves: Vec<u64>,
    /// The patch of each other object, its place, and the object itself.
    others: Vec<(Value, usize, Value)>,
    bytes: usize,
}

impl AlikeObjects {
    /// Returns the objects to write, each with its place.
    fn written(self) -> Vec<(usize, Value)> {
        let Self { at, first, others, .. } = self;
        if others.len() + 1 < MIN_OBJECTS {
            let others = others.into_iter().map(|(_, at, object)| (at, object));
            return std::iter::once((at, first)).chain(others).collect();
        }
        let others: Vec<Value> = others.into_iter().map(|(patch, ..)| patch).collect();
        let folded = json!({"apiVersion": API_VERSION, "kind": KIND, "first": first, "others": others});
        vec![(at, folded)]
    }
}

/// Returns a sorted list with a number for each value and its path.
fn leaves(object: &Value) -> Vec<u64> {
    fn walk(value: &Value, place: &DefaultHasher, out: &mut Vec<u64>) {
        match value {
            Value::Object(fields) if !fields.is_empty() => {
                for (key, value) in fields {
                    let mut place = place.clone();
                    key.hash(&mut place);
                    walk(value, &place, out);
                }
            }
            other => {
                let mut place = place.clone();
                other.to_string().hash(&mut place);
                out.push(place.finish());
            }
        }
    }
    let mut out = Vec::new();
    walk(object, &DefaultHasher::new(), &mut out);
    out.sort_unstable();
    out
}

/// Returns how many numbers two sorted lists share.
fn shared(one: &[u64], other: &[u64]) -> usize {
    let (mut at, mut count) = (0, 0);
    for number in one {
        while other.get(at).is_some_and(|known| known < number) {
            at += 1;
        }
        if other.get(at) == Some(number) {
            at += 1;
            count += 1;
        }
    }
    count
}

/// Returns the merge patch from `from` to `to`; `to` holds no null.
fn difference(from: &Value, to: &Value) -> Value {
    let (Value::Object(before), Value::Object(after)) = (from, to) else { return to.clone() };
    let mut patch = Map::new();
    for key in before.keys().filter(|key| !after.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    for (key, value) in after {
        match before.get(key) {
            Some(known) if known == value => {}
            Some(known) if known.is_object() && value.is_object() => {
                drop(patch.insert(key.clone(), difference(known, value)));
            }
            _ => drop(patch.insert(key.clone(), value.clone())),
        }
    }
    Value::Object(patch)
}

/// Whether a field is null, which a merge patch cannot express.
fn holds_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.values().any(holds_null),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value() -> impl Strategy<Value = Value> {
        let leaf =
            prop_oneof![Just(Value::Null), any::<bool>().prop_map(Value::from), "[a-c]{0,2}".prop_map(Value::from)];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::btree_map("[a-d]", inner, 0..4).prop_map(|map| map.into_iter().collect()),
            ]
        })
    }

    #[expect(clippy::needless_pass_by_value, reason = "a test is easier to read so")]
    fn object(kind: &str, spec: Value) -> Value {
        json!({"apiVersion": "v1", "kind": kind, "spec": spec})
    }

    fn sorted(objects: &[Value]) -> Vec<String> {
        let mut out: Vec<String> = objects.iter().map(ToString::to_string).collect();
        out.sort();
        out
    }

    proptest! {
        #[test]
        fn folded_objects_are_read_back_unchanged(specs in prop::collection::vec(("[AB]", value()), 0..60)) {
            let objects: Vec<Value> = specs.into_iter().map(|(kind, spec)| object(&kind, spec)).collect();
            let mut read = Vec::new();
            for folded in fold(objects.clone()) {
                if folded["kind"] == KIND {
                    read.extend(unfold(&folded).map_err(|(field, why)| TestCaseError::fail(format!("{field}: {why}")))?);
                } else {
                    read.push(folded);
                }
            }
            prop_assert_eq!(sorted(&read), sorted(&objects));
        }
    }

    proptest! {
        /// Two snapshots are compared line by line, and policies are judged in the order in which they are read.
        #[test]
        fn objects_that_are_not_folded_keep_their_order(specs in prop::collection::vec(("[AB]", value()), 0..30)) {
            let name = |object: &Value| object["metadata"]["name"].as_u64();
            let objects: Vec<Value> = specs
                .into_iter()
                .enumerate()
                .map(|(at, (kind, spec))| {
                    let mut object = object(&kind, spec);
                    object["metadata"] = json!({"name": at});
                    object
                })
                .collect();
            let folded = fold(objects.clone());
            let first = |object: &Value| name(object).or_else(|| name(&object["first"]));
            prop_assert!(folded.iter().map(first).is_sorted(), "{:?}", folded);
            if objects.len() < MIN_OBJECTS {
                prop_assert_eq!(folded, objects);
            }
        }
    }

    #[test]
    fn objects_that_are_alike_are_written_once() {
        let labels: Map<String, Value> = (0..100).map(|at| (format!("feature-{at}"), json!("true"))).collect();
        let node = |at: usize| {
            let mut node = object("Node", json!({"labels": labels, "name": format!("node-{at}")}));
            node["spec"]["labels"][format!("feature-{}", at % 10)].take();
            node["spec"]["labels"].as_object_mut().map(|labels| labels.remove(&format!("feature-{}", at % 10)));
            node
        };
        let objects: Vec<Value> = (0..3000).map(node).collect();
        let folded = fold(objects.clone());
        assert!(folded.len() < 40, "{} objects", folded.len());
        let size = |objects: &[Value]| objects.iter().map(|object| object.to_string().len()).sum::<usize>();
        assert!(size(&folded) * 15 < size(&objects), "{} bytes of {}", size(&folded), size(&objects));
        assert!(
            fold(objects[..3].to_vec()).iter().all(|object| object["kind"] == "Node"),
            "three nodes are easier to read as they are"
        );
    }

    /// Nodes of a few generations that differ in more than a few labels, but in less than an eighth.
    #[test]
    fn each_kind_of_hardware_has_a_form_of_its_own() {
        let node = |at: usize| {
            let generation = at % 5;
            let labels = (0..240).filter(|label| label % 5 != generation || label % 3 > 0 || *label > 200);
            let labels: Map<String, Value> = labels.map(|label| (format!("feature-{label}"), json!("true"))).collect();
            object("Node", json!({"labels": labels, "name": format!("node-{at}")}))
        };
        let objects: Vec<Value> = (0..1000).map(node).collect();
        let folded = fold(objects);
        assert_eq!(folded.len(), 5);
        let longest = folded.iter().flat_map(|folded| folded["others"].as_array().into_iter().flatten());
        let longest = longest.map(|patch| patch.to_string().len()).max();
        assert!(longest < Some(40), "{longest:?}: a node is written as another kind of hardware with changes");
        // Objects without similar ones do not each become a form.
        let strange = |at: usize| {
            let own = (0..20).map(|label| (format!("own-{at}-{label}"), json!("true")));
            let shared = (0..240).map(|label| (format!("feature-{label}"), json!("true")));
            object("Node", json!({"labels": own.chain(shared).collect::<Map<String, Value>>()}))
        };
        let folded = fold((0..1000).map(strange).collect());
        assert!(folded.len() < 100, "{} objects of 1000", folded.len());
    }

    #[test]
    fn a_malformed_folded_object_is_refused_with_its_field() {
        let many = vec![json!({}); MOST + 1];
        for (folded, field) in [
            (json!({"others": []}), "first"),
            (json!({"first": {}, "others": {}}), "others"),
            (json!({"first": {}, "others": many}), "others"),
        ] {
            assert_eq!(unfold(&folded).err().map(|(field, _)| field), Some(field));
        }
    }
}
