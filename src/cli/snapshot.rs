//! `cpufit snapshot`: what is judged of a cluster, and nothing else, as a dump.

use std::io::Read;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::args::{SnapshotArgs, SnapshotOutput};
use crate::domain::Domain;
use crate::page::{Page, PageError};
use crate::snapshot::prune::prune;
use crate::snapshot::{Skipped, read_dumps};

/// The objects of dumps as far as they are judged.
///
/// # Errors
///
/// An input cannot be read, or holds something malformed.
pub(crate) fn of_dumps(
    args: &SnapshotArgs,
    domain: &Domain,
    stdin: impl Read,
) -> anyhow::Result<(Vec<Value>, Skipped)> {
    let mut objects = Vec::new();
    let skipped = read_dumps(&args.snapshot, domain, stdin, |item| {
        let pruned = prune(&item.api_version, &item.kind, item.json.get()).with_context(|| item.place.to_string())?;
        objects.extend(pruned);
        anyhow::Ok(())
    })?;
    Ok((objects, skipped))
}

/// Prints them as a List, by kind, namespace and name, so that two snapshots can be compared line by line.
///
/// # Errors
///
/// They cannot be written as JSON or YAML.
pub(crate) fn print(
    args: &SnapshotArgs,
    only: Option<&str>,
    mut objects: Vec<Value>,
    page: &mut Page,
) -> Result<(), PageError> {
    let text =
        |object: &Value, pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    if let Some(only) = only {
        let guests = ["VirtualMachine", "Pod", "ControllerRevision", "PersistentVolumeClaim"];
        objects.retain(|object| {
            let (kind, namespace) = (text(object, "/kind"), text(object, "/metadata/namespace"));
            let is_of_guests = guests.iter().any(|guest| kind.starts_with(guest));
            !is_of_guests || namespace.is_empty() || namespace == only
        });
    }
    objects.sort_by_cached_key(|object| {
        ["/kind", "/metadata/namespace", "/metadata/name"].map(|pointer| text(object, pointer))
    });
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    match args.output {
        SnapshotOutput::Yaml => page.yaml(&list),
        SnapshotOutput::Json => page.json_line(&list),
    }
}
