//! The verbs: each gathers inputs, calls the same functions as the webhook, and prints.

pub mod args;
pub mod audit;
pub mod certs;
pub mod check;
pub mod ci;
pub mod completion;
pub mod diff;
pub mod drain;
pub mod explain;
pub mod gate;
pub mod manifests;
pub mod output;
pub mod probe;
pub mod recommend;
pub mod resource;
pub mod rights;
mod scheduler;
pub mod selector;
pub mod snapshot;
pub mod targets;
pub mod test;
pub mod version;

use std::collections::BTreeMap;

use serde_json::Value;

use crate::snapshot::{Error, Item};
use crate::world::World;

/// Where objects are that name no namespace.
#[derive(Clone, Debug)]
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// Whether the user named it: objects of another are then refused, as kubectl does.
    pub is_asked: bool,
}

impl Namespace {
    /// The object in its namespace.
    ///
    /// # Errors
    ///
    /// It names another one than the user.
    pub fn of(&self, item: Item) -> Result<Item, Error> {
        let named = item.namespace();
        if self.is_asked && !named.is_empty() && named != self.name {
            let field = if item.kind == "AdmissionReview" { "request.namespace" } else { "metadata.namespace" };
            let problem =
                format!("expected {}, as -n says, found {}", Value::from(self.name.as_str()), Value::from(named));
            return Err(item.wrong(field, &problem));
        }
        Ok(item.in_namespace(&self.name))
    }
}

/// The labels of a guest: those of its VMI, and of its VM where it is stopped.
fn labels_of_guest<'w>(world: &'w World, namespace: &str, name: &str) -> Option<&'w BTreeMap<String, String>> {
    let cluster = &world.cluster;
    let vmi = cluster.vmi(namespace, name).map(|vmi| &vmi.metadata);
    let metadata = vmi.or_else(|| cluster.vm(namespace, name).map(|vm| &vm.metadata));
    metadata.map(|metadata| &metadata.labels)
}
