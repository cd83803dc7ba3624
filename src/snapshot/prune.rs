//! Reduction of objects to the fields that are judged: no user data, no environment of containers, no managed fields.
//!
//! The wire types determine the kept fields: a field is dropped if the type that the object is read as ignores it.
//! Hence no judged field can be forgotten here, and no other field is kept.

mod others;

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde::Deserialize;
use serde::de::Error as _;
use serde_ignored::Path;
use serde_json::{Value, json};

use crate::bounds::Measured;
use crate::fit::subject::failed_migration;
use crate::kubevirt::cluster::{ClusterObject, is_finished, owner};
use crate::kubevirt::resource::{Resource, group_of};
use crate::kubevirt::room::{Room, asked_by_pod, is_quantity, of_namespace, only_namespace, read_conditions};
use crate::kubevirt::wire::{
    FAILURE, JsonText, LIVE_MIGRATABLE, POD_SCHEDULED, Pod, REJECTED_BY_QUOTA, RESTART_REQUIRED, Reader, SYNCHRONIZED,
};
use crate::libvirt::saved;
use crate::well_known::is_read_annotation;

/// The objects of a snapshot, while they are collected from a cluster or from dumps.
#[derive(Debug, Default)]
pub(crate) struct SnapshotObjects {
    objects: Vec<Value>,
    /// The requests of pods that are not kept themselves.
    room: Room,
    /// The namespaces that the dumps are snapshots of.
    only: BTreeSet<String>,
}

impl SnapshotObjects {
    /// Adds the judged part of an object of this kind; nothing if it has no effect.
    ///
    /// # Errors
    ///
    /// A field does not have the type that the kind requires.
    pub(crate) fn take(&mut self, api_version: &str, kind: &str, text: &str) -> Result<(), serde_json::Error> {
        if saved::is_kind(api_version, kind) {
            self.objects.extend(saved::read_fields(kind, text).map_err(serde_json::Error::custom)?);
            return Ok(());
        }
        self.only.extend(only_namespace(group_of(api_version), kind, &JsonText(text))?);
        self.objects.extend(prune(api_version, kind, text, &mut self.room)?);
        Ok(())
    }

    /// Records that all pods have been read, even if all are launchers.
    pub(crate) fn mark_pods_read(&mut self) {
        self.room.mark_pods_read();
    }

    /// Records that all budgets have been read, even if there are none.
    pub(crate) fn mark_budgets_read(&mut self) {
        self.room.mark_budgets_read();
    }

    /// Whether objects of guests in this namespace have been taken.
    pub(crate) fn has_guests_of(&self, namespace: &str) -> bool {
        self.objects.iter().any(|object| {
            resource(object).is_some_and(Resource::is_of_guests) && text_at(object, "/metadata/namespace") == namespace
        })
    }

    /// Whether namespaces have been taken, but not this one.
    pub(crate) fn lacks_namespace(&self, name: &str) -> bool {
        let is_namespace = |object: &&Value| resource(object) == Some(Resource::Namespaces);
        let mut names = self.objects.iter().filter(is_namespace).map(|object| text_at(object, "/metadata/name"));
        let is_named = names.clone().any(|other| other == name);
        names.next().is_some() && !is_named
    }

    /// Returns all objects, or those that affect the guests of one namespace. In the latter case room is left out,
    /// because it depends on pods of all namespaces.
    pub(crate) fn finish(self, only: Option<&str>) -> Vec<Value> {
        let Self { mut objects, room, only: namespaces } = self;
        objects.extend(others::others(room.others(), &objects));
        objects.extend(room.objects());
        if let Some(only) = only {
            objects.retain(|object| is_of(object, only));
            for object in &mut objects {
                remove(object, &["status", "allocatable"].map(|key| PathStep::Key(key.to_owned())));
            }
            objects.push(of_namespace(only));
        } else {
            objects.extend(namespaces.iter().map(|namespace| of_namespace(namespace)));
        }
        objects.sort_by_cached_key(|object| {
            ["/kind", "/metadata/namespace", "/metadata/name"].map(|pointer| text_at(object, pointer).to_owned())
        });
        objects
    }
}

/// Whether an object affects the guests of a namespace.
fn is_of(object: &Value, namespace: &str) -> bool {
    let (kind, api_version) = (text_at(object, "/kind"), text_at(object, "/apiVersion"));
    if saved::is_kind(api_version, kind) {
        return kind == saved::NODE || text_at(object, "/metadata/namespace") == namespace;
    }
    match resource(object) {
        Some(Resource::Namespaces) => text_at(object, "/metadata/name") == namespace,
        Some(resource) => !resource.is_of_guests() || text_at(object, "/metadata/namespace") == namespace,
        None => false,
    }
}

fn resource(object: &Value) -> Option<Resource> {
    Resource::of(group_of(text_at(object, "/apiVersion")), text_at(object, "/kind"))
}

fn text_at<'v>(object: &'v Value, pointer: &str) -> &'v str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Returns the judged part of an object of this kind; `None` if it has no effect, or is counted in `room`.
fn prune(api_version: &str, kind: &str, text: &str, room: &mut Room) -> Result<Option<Value>, serde_json::Error> {
    let group = group_of(api_version);
    let reading = PrunedReader { text, ignored: RefCell::default() };
    let resource = Resource::ALL.into_iter().find(|resource| resource.is(group, kind));
    let is_judged = match resource {
        Some(Resource::Policies) => return policy(api_version, kind, text).map(Some),
        _ if group == Resource::Policies.group() => {
            room.read(group, kind, &reading)?;
            false
        }
        Some(Resource::Pods) if ClusterObject::read(group, kind, &reading)?.is_none() && !is_of_guest(&reading)? => {
            room.read(group, kind, &reading)?;
            false
        }
        Some(Resource::Nodes | Resource::Budgets) => {
            ClusterObject::read(group, kind, &reading)?;
            Room::default().read(group, kind, &reading)?;
            true
        }
        Some(Resource::Pods) => true,
        _ => ClusterObject::read(group, kind, &reading)?.is_some(),
    };
    if !is_judged {
        return Ok(None);
    }
    let mut whole: Value = serde_json::from_str(text)?;
    for path in reading.ignored.take().unwrap_or_default() {
        remove(&mut whole, &path);
    }
    without_annotations(&mut whole);
    without_strangers_in_affinity(&mut whole);
    match resource {
        Some(Resource::Pods) => {
            let asked = asked_by_pod(&JsonText(text))?;
            if let Some(spec) = whole.get_mut("spec").and_then(Value::as_object_mut) {
                spec.extend(asked);
            }
            if let Some(conditions) = read_conditions(&JsonText(text))? {
                whole["status"]["conditions"] = conditions;
            }
        }
        Some(Resource::Nodes) => {
            retain_conditions(&mut whole, &["Ready"]);
            if let Some(allocatable) = whole.pointer_mut("/status/allocatable").and_then(Value::as_object_mut) {
                allocatable.retain(|_, amount| is_quantity(amount));
            }
        }
        Some(Resource::VirtualMachines) => {
            retain_conditions(&mut whole, &[RESTART_REQUIRED, FAILURE]);
            retain_failures(&mut whole, &[(FAILURE, "True")]);
        }
        Some(Resource::Vmis) => {
            retain_conditions(&mut whole, &[LIVE_MIGRATABLE, SYNCHRONIZED, POD_SCHEDULED]);
            retain_failures(&mut whole, &[(SYNCHRONIZED, "False"), (POD_SCHEDULED, "False")]);
            retain_refusal(&mut whole);
        }
        Some(Resource::Migrations) => retain_conditions(&mut whole, &[REJECTED_BY_QUOTA]),
        Some(Resource::Revisions) => copied(&mut whole["data"]),
        _ => {}
    }
    let Value::Object(mut fields) = whole else { return Ok(None) };
    if let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("resourceVersion");
        // These kinds are judged only by name and labels.
        let by_name = [Resource::Nodes, Resource::Namespaces, Resource::Volumes, Resource::Budgets];
        if resource.is_some_and(|resource| by_name.contains(&resource)) {
            metadata.remove("generation");
            // `diff` finds a node replaced under its name by its UID, and answers of libvirt from before a node was
            // added do not count.
            if resource != Some(Resource::Nodes) {
                metadata.remove("uid");
                metadata.remove("creationTimestamp");
            }
        }
    }
    fields.insert("apiVersion".to_owned(), api_version.into());
    fields.insert("kind".to_owned(), kind.into());
    Ok(Some(Value::Object(fields)))
}

/// Returns a policy with its whole specification, because policies are read strictly.
fn policy(api_version: &str, kind: &str, text: &str) -> Result<Value, serde_json::Error> {
    let mut whole: Value = serde_json::from_str(text)?;
    let metadata = json!({"name": whole["metadata"]["name"].take()});
    Ok(json!({"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": whole["spec"].take()}))
}

/// Whether a pod that runs uses room for a guest, which owns it as it owns launchers.
fn is_of_guest(reading: &PrunedReader<'_>) -> Result<bool, serde_json::Error> {
    let pod: Pod<'_> = reading.read()?;
    Ok(owner(&pod).is_some() && !is_finished(&pod))
}

/// Keeps only the conditions of these types, as no other is judged.
fn retain_conditions(object: &mut Value, kinds: &[&str]) {
    if let Some(conditions) = object.pointer_mut("/status/conditions").and_then(Value::as_array_mut) {
        conditions.retain(|condition| kinds.iter().any(|kind| condition["type"] == *kind));
    }
}

/// Keeps conditions of these types only if they report a failure by this status, and their messages as they are shown.
fn retain_failures(object: &mut Value, kinds: &[(&str, &str)]) {
    let Some(conditions) = object.pointer_mut("/status/conditions").and_then(Value::as_array_mut) else { return };
    conditions.retain(|condition| {
        let known = kinds.iter().find(|(kind, _)| condition["type"] == *kind);
        known.is_none_or(|(_, failure)| condition["status"] == *failure)
    });
    for condition in conditions.iter_mut().filter(|condition| kinds.iter().any(|(kind, _)| condition["type"] == *kind))
    {
        // The scheduler's message is read group by group.
        if condition["type"] != POD_SCHEDULED {
            let shown = condition["message"].as_str().and_then(|message| failed_migration("", message));
            condition["message"] = shown.map(|shown| shown.reason).unwrap_or_default().into();
        }
    }
}

/// Keeps the reason of a failed migration as it is shown.
fn retain_refusal(vmi: &mut Value) {
    let Some(state) = vmi.pointer_mut("/status/migrationState").and_then(Value::as_object_mut) else { return };
    let reason = state.remove("failureReason").unwrap_or_default();
    if let Some(refused) = reason.as_str().and_then(|reason| failed_migration("", reason)) {
        state.insert("failureReason".to_owned(), refused.reason.into());
    }
}

/// Reduces the copy in a ControllerRevision to its judged part. An unreadable copy is kept, because that is reported.
fn copied(data: &mut Value) {
    let (api_version, kind) = (text_at(data, "/apiVersion").to_owned(), text_at(data, "/kind").to_owned());
    if let Ok(Some(Value::Object(mut copy))) = prune(&api_version, &kind, &data.to_string(), &mut Room::default()) {
        let name = data["metadata"]["name"].take();
        copy.insert("metadata".to_owned(), json!({"name": name}));
        *data = Value::Object(copy);
    } else if !is_read_as_type(&kind) {
        *data = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": data["metadata"]["name"].take()}});
    }
}

/// Whether a ControllerRevision of this kind is read as an instancetype or a preference.
fn is_read_as_type(kind: &str) -> bool {
    use Resource::{ClusterInstancetypes, ClusterPreferences, Instancetypes, Preferences};
    [Instancetypes, ClusterInstancetypes, Preferences, ClusterPreferences].iter().any(|types| types.kind() == kind)
}

/// A step from a value to a value inside it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum PathStep {
    Key(String),
    Index(usize),
}

/// A reader of one object that records which fields are ignored by every type it is read as.
struct PrunedReader<'a> {
    text: &'a str,
    ignored: RefCell<Option<BTreeSet<Vec<PathStep>>>>,
}

impl<'a> Reader<'a> for PrunedReader<'a> {
    type Error = serde_json::Error;

    fn read<T: Deserialize<'a> + Measured>(&self) -> Result<T, Self::Error> {
        let mut ignored = BTreeSet::new();
        let mut deserializer = serde_json::Deserializer::from_str(self.text);
        let object = serde_ignored::deserialize(&mut deserializer, |path| {
            ignored.insert(steps(&path));
        })?;
        let mut known = self.ignored.borrow_mut();
        *known = Some(match known.take() {
            Some(known) => ignored_by_both(&known, &ignored),
            None => ignored,
        });
        Ok(object)
    }
}

/// Returns the paths that both readings ignore: those that one ignores and that are equal to, or inside, a path that
/// the other ignores.
fn ignored_by_both(one: &BTreeSet<Vec<PathStep>>, other: &BTreeSet<Vec<PathStep>>) -> BTreeSet<Vec<PathStep>> {
    let holds = |ignored: &BTreeSet<Vec<PathStep>>, path: &[PathStep]| {
        (1..=path.len()).any(|end| ignored.contains(&path[..end]))
    };
    let of = |these: &BTreeSet<Vec<PathStep>>, those: &BTreeSet<Vec<PathStep>>| -> Vec<Vec<PathStep>> {
        these.iter().filter(|path| holds(those, path)).cloned().collect()
    };
    of(one, other).into_iter().chain(of(other, one)).collect()
}

fn steps(path: &Path<'_>) -> Vec<PathStep> {
    let (parent, step) = match path {
        Path::Root => return Vec::new(),
        Path::Seq { parent, index } => (parent, Some(PathStep::Index(*index))),
        Path::Map { parent, key } => (parent, Some(PathStep::Key(key.clone()))),
        Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => (parent, None),
    };
    let mut out = steps(parent);
    out.extend(step);
    out
}

fn remove(value: &mut Value, path: &[PathStep]) {
    match (path, value) {
        ([PathStep::Key(key)], Value::Object(fields)) => {
            fields.remove(key);
        }
        // An item that is only counted.
        ([PathStep::Index(index)], Value::Array(items)) => {
            if let Some(item) = items.get_mut(*index) {
                *item = json!({});
            }
        }
        ([PathStep::Key(key), rest @ ..], Value::Object(fields)) => {
            if let Some(field) = fields.get_mut(key) {
                remove(field, rest);
            }
        }
        ([PathStep::Index(index), rest @ ..], Value::Array(items)) => {
            if let Some(item) = items.get_mut(*index) {
                remove(item, rest);
            }
        }
        _ => {}
    }
}

/// Removes all annotations that are not read, at any depth: they hold whole manifests, or data of other programs.
fn without_annotations(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::Object(annotations)) = fields.get_mut("annotations") {
                annotations.retain(|key, _| is_read_annotation(key));
                if annotations.is_empty() {
                    fields.remove("annotations");
                }
            }
            fields.values_mut().for_each(without_annotations);
        }
        Value::Array(items) => items.iter_mut().for_each(without_annotations),
        _ => {}
    }
}

/// The fields of an affinity: it is kept whole for predicted pods, but restricted to these.
const AFFINITY: [&str; 21] = [
    "nodeAffinity",
    "podAffinity",
    "podAntiAffinity",
    "requiredDuringSchedulingIgnoredDuringExecution",
    "preferredDuringSchedulingIgnoredDuringExecution",
    "nodeSelectorTerms",
    "matchExpressions",
    "matchFields",
    "matchLabels",
    "key",
    "operator",
    "values",
    "weight",
    "preference",
    "podAffinityTerm",
    "labelSelector",
    "namespaceSelector",
    "namespaces",
    "topologyKey",
    "matchLabelKeys",
    "mismatchLabelKeys",
];

/// Removes the fields of affinities that the API does not have.
fn without_strangers_in_affinity(value: &mut Value) {
    fn clean(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields.retain(|key, _| AFFINITY.contains(&key.as_str()));
                fields.iter_mut().filter(|(key, _)| *key != "matchLabels").for_each(|(_, value)| clean(value));
            }
            Value::Array(items) => items.iter_mut().for_each(clean),
            _ => {}
        }
    }
    let Value::Object(fields) = value else { return };
    for (key, value) in fields {
        match value.get_mut("affinity") {
            Some(affinity) if key == "spec" => clean(affinity),
            _ => without_strangers_in_affinity(value),
        }
    }
}

#[cfg(test)]
mod tests;
