//! An object without what nobody judges by: no user data, no environment of containers, no managed fields.
//!
//! What is kept is what the wire types read: a field is dropped where the type that the object is read as ignores it. So
//! nothing that is judged can be forgotten here, and nothing else is kept.

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde::Deserialize;
use serde_ignored::Path;
use serde_json::{Map, Value, json};

use crate::bounds::Measured;
use crate::kubevirt::cluster::Object;
use crate::kubevirt::wire::Reader;
use crate::well_known::is_read_annotation;

/// The object of this kind as far as it is judged; `None` where it bears on nothing.
///
/// # Errors
///
/// A field is not what the kind says.
pub(crate) fn prune(api_version: &str, kind: &str, text: &str) -> Result<Option<Value>, serde_json::Error> {
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    let mut whole: Value = serde_json::from_str(text)?;
    if (group, kind) == ("cpufit.io", "CPUPolicy") {
        return Ok(Some(json!({
            "apiVersion": api_version,
            "kind": kind,
            "metadata": {"name": whole["metadata"]["name"].take()},
            "spec": whole["spec"].take(),
        })));
    }
    let reading = Reading { text, ignored: RefCell::default() };
    if Object::read(group, kind, &reading)?.is_none() {
        return Ok(None);
    }
    for path in reading.ignored.take().unwrap_or_default() {
        remove(&mut whole, &path);
    }
    without_annotations(&mut whole);
    let Value::Object(fields) = &mut whole else { return Ok(None) };
    if let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("resourceVersion");
    }
    let mut out = Map::new();
    out.insert("apiVersion".to_owned(), api_version.into());
    out.insert("kind".to_owned(), kind.into());
    out.extend(std::mem::take(fields).into_iter().filter(|(key, _)| key != "apiVersion" && key != "kind"));
    Ok(Some(Value::Object(out)))
}

/// A step from a value to one in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Key(String),
    Index(usize),
}

/// The reader of one object: it notes what is ignored by all that it is read as.
struct Reading<'a> {
    text: &'a str,
    ignored: RefCell<Option<BTreeSet<Vec<Step>>>>,
}

impl<'a> Reader<'a> for Reading<'a> {
    type Error = serde_json::Error;

    fn read<T: Deserialize<'a> + Measured>(&self) -> Result<T, Self::Error> {
        let mut ignored = BTreeSet::new();
        let mut deserializer = serde_json::Deserializer::from_str(self.text);
        let object = serde_ignored::deserialize(&mut deserializer, |path| {
            ignored.insert(steps(&path));
        })?;
        let mut known = self.ignored.borrow_mut();
        *known = Some(match known.take() {
            Some(known) => known.intersection(&ignored).cloned().collect(),
            None => ignored,
        });
        Ok(object)
    }
}

fn steps(path: &Path<'_>) -> Vec<Step> {
    let (parent, step) = match path {
        Path::Root => return Vec::new(),
        Path::Seq { parent, index } => (parent, Some(Step::Index(*index))),
        Path::Map { parent, key } => (parent, Some(Step::Key(key.clone()))),
        Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => (parent, None),
    };
    let mut out = steps(parent);
    out.extend(step);
    out
}

fn remove(value: &mut Value, path: &[Step]) {
    match (path, value) {
        ([Step::Key(key)], Value::Object(fields)) => {
            fields.remove(key);
        }
        // An item that is only counted.
        ([Step::Index(index)], Value::Array(items)) => {
            if let Some(item) = items.get_mut(*index) {
                *item = json!({});
            }
        }
        ([Step::Key(key), rest @ ..], Value::Object(fields)) => {
            if let Some(field) = fields.get_mut(key) {
                remove(field, rest);
            }
        }
        ([Step::Index(index), rest @ ..], Value::Array(items)) => {
            if let Some(item) = items.get_mut(*index) {
                remove(item, rest);
            }
        }
        _ => {}
    }
}

/// Of annotations, wherever they stand, those that are read: others hold whole manifests, or what belongs to other programs.
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

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_judged_is_gone_and_what_is_stays() {
        let vm = json!({
            "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine",
            "metadata": {
                "name": "db", "namespace": "shop", "labels": {"app": "db"}, "resourceVersion": "7",
                "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "hunter2"},
                "managedFields": [{"manager": "hunter2"}],
            },
            "spec": {"template": {"metadata": {"annotations": {"x": "hunter2"}}, "spec": {
                "nodeSelector": {"zone": "a"},
                "accessCredentials": [{"sshPublicKey": "hunter2"}],
                "domain": {"cpu": {"model": "Haswell", "features": [{"name": "vmx", "policy": "require"}]}, "firmware": {"serial": "hunter2"}},
                "volumes": [{"name": "init", "cloudInitNoCloud": {"userData": "hunter2", "userDataBase64": "hunter2"}}],
            }}},
        });
        let pruned =
            prune("kubevirt.io/v1", "VirtualMachine", &vm.to_string()).expect("a VM").expect("one that is judged");
        assert!(!pruned.to_string().contains("hunter2"), "{pruned}");
        for pointer in [
            "/metadata/name",
            "/metadata/labels/app",
            "/spec/template/spec/nodeSelector/zone",
            "/spec/template/spec/domain/cpu/model",
            "/spec/template/spec/domain/cpu/features/0/policy",
        ] {
            assert_eq!(pruned.pointer(pointer), vm.pointer(pointer), "{pointer} is judged");
        }
        assert_eq!(pruned["metadata"].get("resourceVersion"), None);
        assert_eq!(prune("v1", "ConfigMap", "{}").expect("read"), None);
        assert!(prune("kubevirt.io/v1", "VirtualMachine", r#"{"spec": []}"#).is_err());
    }
}
