//! `ControllerRevisions` that KubeVirt pins VMs to: copies of instancetypes and preferences.
//!
//! Mirrors `CreateControllerRevision` of `pkg/instancetype/revision/store.go` (KubeVirt).

use serde::Deserialize;
use serde_json::Value;

use super::resource::{Resource, group_of};
use super::wire::{ControllerRevision, InstancetypeSpec, Meta, PreferenceSpec};
use crate::well_known;

/// A ControllerRevision of KubeVirt: a copy of an instancetype or a preference.
#[derive(Clone, Debug, PartialEq)]
pub struct Revision {
    /// `metadata`.
    pub metadata: Meta,
    /// The name of the copied object.
    pub(super) object: String,
    /// The copied specification.
    pub(super) copy: Copied,
}

/// The content of a ControllerRevision.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Copied {
    /// An instancetype.
    Instancetype(Box<InstancetypeSpec>),
    /// A preference.
    Preference(Box<PreferenceSpec>),
    /// Unreadable content, with the reason.
    Unreadable(String),
}

impl Revision {
    /// Reads a ControllerRevision; `None` if it is a copy of something else.
    #[must_use]
    pub fn read(revision: ControllerRevision) -> Option<Self> {
        let ControllerRevision { metadata, data } = revision;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (version, kind) = (text(&data["apiVersion"]), data["kind"].as_str());
        if group_of(&version) != Resource::Instancetypes.group() {
            return None;
        }
        let spec = &data["spec"];
        let copy = match Resource::of(group_of(&version), kind.unwrap_or_default()) {
            Some(Resource::Instancetypes | Resource::ClusterInstancetypes) => {
                Option::deserialize(spec).map(|spec| Copied::Instancetype(Box::new(spec.unwrap_or_default())))
            }
            Some(Resource::Preferences | Resource::ClusterPreferences) => {
                Option::deserialize(spec).map(|spec| Copied::Preference(Box::new(spec.unwrap_or_default())))
            }
            // Up to v1alpha2, a revision held only an encoded specification; KubeVirt itself has since replaced those.
            _ => Ok(Copied::Unreadable(format!("holds a {}", kind.unwrap_or("nameless kind")))),
        };
        let copy = copy.unwrap_or_else(|error| Copied::Unreadable(format!("holds a malformed spec: {error}")));
        // KubeVirt uses the label; in a dump without labels, the copy names the object.
        let labelled = well_known::REVISION_OF.value(&metadata.labels).map(str::to_owned);
        let object = labelled.unwrap_or_else(|| text(&data["metadata"]["name"]));
        Some(Self { metadata, object, copy })
    }
}
