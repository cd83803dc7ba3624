//! Objects of every kind with one large field.

use cpufit::kubevirt::wire;
use serde_json::{Map, Value, json};

use crate::objects::{Kind, merged};
use crate::shapes::{Place, Shape, Step, least, places, places_of, whole};

/// Returns all places that are read of a kind.
pub fn of_kind(kind: Kind) -> Vec<Place> {
    match kind {
        Kind::Node => places::<wire::Node>(),
        Kind::Namespace => places::<wire::MetaOnly>(),
        Kind::Pod => places_of(|walker| serde::Deserialize::deserialize(walker).map(|_: wire::Pod<'_>| ())),
        Kind::VirtualMachine => {
            with_affinity(places::<wire::VirtualMachine>(), &["spec", "template", "spec", "affinity"])
        }
        Kind::Vmi => with_affinity(places::<wire::Vmi>(), &["spec", "affinity"]),
        Kind::ReplicaSet => with_affinity(places::<wire::ReplicaSet>(), &["spec", "template", "spec", "affinity"]),
        Kind::Pool => with_affinity(
            places::<wire::Pool>(),
            &["spec", "virtualMachineTemplate", "spec", "template", "spec", "affinity"],
        ),
        Kind::Migration => places::<wire::Vmim>(),
        Kind::KubeVirt => places::<wire::KubeVirt>(),
        Kind::Instancetype => places::<wire::Instancetype>(),
        Kind::Preference => places::<wire::Preference>(),
        Kind::Revision => of_revision(),
        Kind::DataSource => places::<wire::DataSource>(),
        Kind::Policy => of_policy(),
    }
}

/// Adds the places that are read of an affinity, which is kept whole, so that the walk ends there.
fn with_affinity(mut found: Vec<Place>, at: &[&'static str]) -> Vec<Place> {
    let path: Vec<Step> = at.iter().copied().map(Step::Field).collect();
    found.retain(|place| place.path != path);
    found.extend(
        places::<wire::Affinity>()
            .into_iter()
            .map(|inside| Place { path: path.iter().copied().chain(inside.path).collect(), shape: inside.shape }),
    );
    found.push(Place { path, shape: Shape::Any });
    found
}

/// Returns the places of a revision, which holds an instancetype that is read from its kept data.
fn of_revision() -> Vec<Place> {
    let mut found = places::<wire::ControllerRevision>();
    let path = [Step::Field("data"), Step::Field("spec")];
    found.extend(
        places::<wire::InstancetypeSpec>()
            .into_iter()
            .map(|inside| Place { path: path.into_iter().chain(inside.path).collect(), shape: inside.shape }),
    );
    found
}

/// Returns the places of a policy, which is read by hand; `a_policy_has_no_other_fields` checks this list.
fn of_policy() -> Vec<Place> {
    let mut out = Vec::new();
    let mut add = |path: &[&'static str], ends: &[Step], shape| {
        let path = path.iter().copied().map(Step::Field).chain(ends.iter().copied()).collect();
        out.push(Place { path, shape });
    };
    add(&["metadata", "name"], &[], Shape::Text);
    add(&["metadata", "labels"], &[], Shape::Map);
    add(&["metadata", "managedFields"], &[], Shape::Any);
    for selector in ["namespaceSelector", "virtualMachineSelector", "nodeSelector"] {
        let expressions = ["spec", selector, "matchExpressions"];
        add(&["spec", selector, "matchLabels"], &[], Shape::Map);
        add(&["spec", selector, "matchLabels"], &[Step::Entry], Shape::Text);
        add(&expressions, &[], Shape::List);
        add(&expressions, &[Step::Item], Shape::Struct);
        add(&expressions, &[Step::Item, Step::Field("key")], Shape::Text);
        add(&expressions, &[Step::Item, Step::Field("operator")], Shape::Text);
        add(&expressions, &[Step::Item, Step::Field("values")], Shape::List);
        add(&expressions, &[Step::Item, Step::Field("values"), Step::Item], Shape::Text);
    }
    add(&["spec", "commonModel", "name"], &[], Shape::Text);
    for list in [["commonModel", "replaces"], ["exemptions", "users"], ["exemptions", "namespaces"]] {
        add(&["spec", list[0], list[1]], &[], Shape::List);
        add(&["spec", list[0], list[1]], &[Step::Item], Shape::Text);
    }
    add(&["status"], &[], Shape::Any);
    out
}

/// The form of the entries of a list or map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entries {
    /// The shortest form: `{}`, `"a"`.
    Least,
    /// Entries with all their fields, no two equal.
    Whole,
    /// Keys of a map in the form that KubeVirt writes.
    Features,
}

impl Entries {
    pub const ALL: [Self; 3] = [Self::Least, Self::Whole, Self::Features];
}

/// Returns a value like [`whole`]'s with another number in its texts and keys.
fn numbered(like: &Value, number: usize) -> Value {
    match like {
        Value::String(_) => format!("t{number}").into(),
        Value::Array(items) => items.iter().map(|item| numbered(item, number)).collect(),
        Value::Object(fields) => {
            let key = |key: &String| if key == "k99999" { format!("k{number}") } else { key.clone() };
            fields.iter().map(|(name, value)| (key(name), numbered(value, number))).collect::<Map<_, _>>().into()
        }
        other => other.clone(),
    }
}

/// Returns the value for a place, enlarged to this many bytes; `None` if it cannot be enlarged.
pub fn large(places: &[Place], at: &Place, entries: Entries, bytes: usize) -> Option<Value> {
    let inside = |last: Step| {
        let is_inside = |place: &&Place| place.path.split_last() == Some((&last, at.path.as_slice()));
        places.iter().find(is_inside)
    };
    let many = |one: &Value, extra: usize| bytes / (one.to_string().len() + extra) + 1;
    Some(match (at.shape, entries) {
        (Shape::Text, Entries::Least) => "x".repeat(bytes).into(),
        (Shape::Any, Entries::Least) => json!({"a": vec![json!({}); bytes / 3]}),
        (Shape::Any, Entries::Whole) => {
            let values: Map<_, _> = (0..bytes / 20).map(|at| (format!("k{at}"), json!({"a": [1, 2]}))).collect();
            values.into()
        }
        (Shape::List, Entries::Least) => {
            let item = inside(Step::Item).map_or(Value::Null, least);
            vec![item.clone(); many(&item, 1)].into()
        }
        (Shape::List, Entries::Whole) => {
            let item = inside(Step::Item)?;
            let one = whole(places, item, 99_999);
            (0..many(&one, 1)).map(|number| numbered(&one, number)).collect()
        }
        (Shape::Map, Entries::Whole) => {
            let value = |at: usize| match inside(Step::Entry) {
                Some(entry) if entry.shape == Shape::Scalar => json!(true),
                Some(entry) if entry.shape == Shape::Struct => whole(places, entry, at),
                _ => json!(format!("v{at}")),
            };
            (0..bytes / 20).map(|at| (format!("k{at}"), value(at))).collect::<Map<_, _>>().into()
        }
        (Shape::Map, Entries::Features) => {
            if inside(Step::Entry).is_some_and(|entry| matches!(entry.shape, Shape::Scalar | Shape::Struct)) {
                return None;
            }
            let key = |at: usize| (format!("cpu-feature.node.kubevirt.io/f{at}"), json!("true"));
            (0..bytes / 45).map(key).collect::<Map<_, _>>().into()
        }
        _ => return None,
    })
}

/// Returns objects of a kind, each with another list, map or text enlarged to this many bytes, and the name of the
/// large part.
pub fn all_large(kind: Kind, bytes: usize) -> impl Iterator<Item = (String, Value)> {
    large_where(kind, bytes, |_| true)
}

/// Returns the enlarged objects with these names.
pub fn large_where(
    kind: Kind,
    bytes: usize,
    is_wanted: impl Fn(&str) -> bool + Copy,
) -> impl Iterator<Item = (String, Value)> {
    let places = of_kind(kind);
    let all = (0..places.len()).flat_map(|at| Entries::ALL.map(|entries| (at, entries)));
    all.filter_map(move |(at, entries)| {
        let at = &places[at];
        let name = format!("{kind:?} {at} ({entries:?})");
        let value = is_wanted(&name).then(|| large(&places, at, entries, bytes))??;
        Some((name, merged(kind.base(), at.around(value))))
    })
}
