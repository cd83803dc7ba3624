//! `cpufit snapshot`: a dump of the judged parts of a cluster only.

use std::io::Read;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::args::{SnapshotArgs, SnapshotOutput};
use crate::domain::Domain;
use crate::page::{Page, PageError};
use crate::policy::API_VERSION;
use crate::snapshot::fold::{self, fold};
use crate::snapshot::prune::SnapshotObjects;
use crate::snapshot::redact::redact;
use crate::snapshot::{Skipped, read_dumps};

/// Returns the judged parts of objects in dumps: all, or those that affect the guests of one namespace.
///
/// # Errors
///
/// Returns an error if an input cannot be read, or holds something malformed.
pub(crate) fn of_dumps(
    args: &SnapshotArgs,
    only: Option<&str>,
    domain: &Domain,
    stdin: impl Read,
) -> anyhow::Result<(Vec<Value>, Skipped)> {
    let mut taken = SnapshotObjects::default();
    let skipped = read_dumps(&args.snapshot, domain, stdin, |item| {
        taken.take(&item.api_version, &item.kind, item.json.get()).with_context(|| item.place.to_string())
    })?;
    Ok((taken.finish(only), skipped))
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
