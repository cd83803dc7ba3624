//! Each ControllerRevision that KubeVirt pins a VirtualMachine to: a copy of its instancetype or preference.
//!
//! Mirrors `CreateControllerRevision` of `pkg/instancetype/revision/store.go`.

use serde::Deserialize;
use serde_json::Value;

use super::wire::{ControllerRevision, InstancetypeSpec, Meta, PreferenceSpec};
use crate::well_known;

/// A ControllerRevision of KubeVirt: a copy of an instancetype or a preference.
#[derive(Clone, Debug, PartialEq)]
pub struct Revision {
    /// `metadata`.
    pub metadata: Meta,
    /// The name of the object it is a copy of.
    pub(super) object: String,
    /// What it is a copy of.
    pub(super) copy: Copied,
}

/// What a ControllerRevision holds.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Copied {
    /// An instancetype.
    Instancetype(Box<InstancetypeSpec>),
    /// A preference.
    Preference(Box<PreferenceSpec>),
    /// It cannot be read, and why.
    Unreadable(String),
}

impl Revision {
    /// Reads a ControllerRevision; `None` where it is a copy of something else.
    #[must_use]
    pub fn read(revision: ControllerRevision) -> Option<Self> {
        let ControllerRevision { metadata, data } = revision;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        if !text(&data["apiVersion"]).starts_with("instancetype.kubevirt.io/") {
            return None;
        }
        let spec = &data["spec"];
        let copy = match data["kind"].as_str() {
            Some("VirtualMachineInstancetype" | "VirtualMachineClusterInstancetype") => {
                Option::deserialize(spec).map(|spec| Copied::Instancetype(Box::new(spec.unwrap_or_default())))
            }
            Some("VirtualMachinePreference" | "VirtualMachineClusterPreference") => {
                Option::deserialize(spec).map(|spec| Copied::Preference(Box::new(spec.unwrap_or_default())))
            }
            // Up to v1alpha2 a revision held a specification alone, encoded; KubeVirt itself has replaced those since.
            kind => Ok(Copied::Unreadable(format!("holds a {}", kind.unwrap_or("nameless kind")))),
        };
        let copy = copy.unwrap_or_else(|error| Copied::Unreadable(format!("holds a malformed spec: {error}")));
        // KubeVirt goes by the label; a dump that was cleaned of labels still shows it by the copy itself.
        let labelled = well_known::REVISION_OF.value(&metadata.labels).map(str::to_owned);
        let object = labelled.unwrap_or_else(|| text(&data["metadata"]["name"]));
        Some(Self { metadata, object, copy })
    }
}
