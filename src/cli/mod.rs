//! The verbs: each collects inputs, calls the same functions as the webhook, and prints.

pub mod args;
pub(crate) mod audit;
pub(crate) mod certs;
pub mod check;
pub(crate) mod ci;
pub(crate) mod completion;
pub(crate) mod diff;
pub(crate) mod drain;
pub(crate) mod explain;
pub(crate) mod gate;
pub mod judged;
mod libvirt_rows;
pub(crate) mod manifests;
pub(crate) mod output;
pub(crate) mod probe;
pub(crate) mod recommend;
mod remedies;
pub(crate) mod resource;
pub(crate) mod rights;
mod room;
mod scheduler;
pub(crate) mod selector;
pub(crate) mod snapshot;
pub(crate) mod targets;
pub(crate) mod test;
mod tsc;
pub(crate) mod version;

use std::process::ExitCode;

use serde_json::Value;

use crate::snapshot::{Error, Item};

/// The result of a verb, as its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The input was judged, and nothing has failed.
    Success,
    /// An object has failed: it would be denied, is in a state of `--fail-on`, is stuck, is worse off, or does not meet
    /// an expectation.
    Failed,
    /// The input could not be read, or not be judged.
    Trouble,
}

impl Exit {
    /// Returns the exit code of a verb that judged its input.
    pub(crate) fn failed_if(failed: bool) -> Self {
        if failed { Self::Failed } else { Self::Success }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Success => 0,
            Exit::Failed => 1,
            Exit::Trouble => 2,
        })
    }
}

/// The namespace of objects that name none.
#[derive(Clone, Debug)]
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// Whether the user named it: objects of another one are then refused, as in kubectl.
    pub is_asked: bool,
}

impl Namespace {
    /// Puts an object into its namespace.
    ///
    /// # Errors
    ///
    /// Returns an error if the object names another namespace than the user.
    pub fn of(&self, item: Item) -> Result<Item, Error> {
        let named = item.namespace();
        if self.is_asked && !named.is_empty() && named != self.name {
            let field = if item.is_review() { "request.namespace" } else { "metadata.namespace" };
            let problem =
                format!("expected {}, as -n says, found {}", Value::from(self.name.as_str()), Value::from(named));
            return Err(item.wrong(field, &problem));
        }
        Ok(item.in_namespace(&self.name))
    }
}
