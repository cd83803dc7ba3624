//! `cpufit snapshot`: a dump of the judged parts of a cluster only.

use std::io::Read;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::args::{SnapshotArgs, SnapshotOutput};
use super::gate;
use crate::domain::Domain;
use crate::page::{Page, PageError};
use crate::policy::API_VERSION;
use crate::snapshot::fold::{self, fold};
use crate::snapshot::prune::SnapshotObjects;
use crate::snapshot::redact::redact;
use crate::snapshot::{Skipped, read_dumps};

/// Returns the judged parts of objects in dumps.
///
/// # Errors
///
/// Returns an error if an input cannot be read, or holds something malformed.
pub(crate) fn of_dumps(
    args: &SnapshotArgs,
    domain: &Domain,
    stdin: impl Read,
) -> anyhow::Result<(SnapshotObjects, Skipped)> {
    let mut taken = SnapshotObjects::default();
    let skipped = read_dumps(&args.snapshot, domain, stdin, |item| {
        taken.take(&item.api_version, &item.kind, item.json.get()).with_context(|| item.place.to_string())
    })?;
    Ok((taken, skipped))
}

/// Returns why there is no guest of this namespace among the objects; `None` if there is one.
pub(crate) fn nobody(taken: &SnapshotObjects, namespace: &str) -> Option<String> {
    if taken.has_guests_of(namespace) {
        return None;
    }
    let none = || format!("there is no guest in namespace {namespace}");
    Some(if taken.lacks_namespace(namespace) { gate::absent_namespace(namespace) } else { none() })
}

/// Prints them as a List, by kind, namespace and name, so that two snapshots can be compared line by line.
///
/// # Errors
///
/// Returns an error if writing JSON or YAML fails.
pub(crate) fn print(args: &SnapshotArgs, objects: Vec<Value>, page: &mut Page) -> Result<(), PageError> {
    let objects = if args.redact { redact(objects) } else { objects };
    let objects = fold(objects);
    match args.output {
        SnapshotOutput::Yaml => {
            page.yaml(&json!({"apiVersion": "v1", "kind": "List"}))?;
            page.line("items:");
            for object in &objects {
                match object["others"].as_array().filter(|_| object["kind"] == fold::KIND) {
                    // One line for each object that is similar to the first.
                    Some(others) => {
                        page.line(format_args!("- apiVersion: {API_VERSION}"));
                        page.line(format_args!("  kind: {}", fold::KIND));
                        page.flow("  first: ", &object["first"])?;
                        page.line("  others:");
                        others.iter().try_for_each(|other| page.flow("  - ", other))?;
                    }
                    None => page.yaml_item(object)?,
                }
            }
            if objects.is_empty() {
                page.line("  []");
            }
            Ok(())
        }
        SnapshotOutput::Json => page.json_line(&json!({"apiVersion": "v1", "kind": "List", "items": objects})),
    }
}
