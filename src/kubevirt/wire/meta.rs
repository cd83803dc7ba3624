//! The metadata of an object.

use std::collections::BTreeMap;

use serde::de::{Deserialize, Deserializer};

use super::{EachText, OwnerReference, nullable, seconds};
use crate::bounds::Excess;
use crate::kubevirt::resource::Resource;
use crate::libvirt::facts::GuestStart;

/// `metadata` of all other kinds.
#[derive(Clone, Debug, Default, PartialEq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default, remote = "Self")]
pub struct Meta {
    /// `name`.
    #[serde(deserialize_with = "nullable")]
    pub name: String,
    /// `generateName`.
    #[serde(deserialize_with = "nullable")]
    pub generate_name: String,
    /// `namespace`.
    #[serde(deserialize_with = "nullable")]
    pub namespace: String,
    /// `uid`.
    #[serde(deserialize_with = "nullable")]
    pub uid: String,
    /// `resourceVersion`.
    #[serde(deserialize_with = "nullable")]
    pub resource_version: String,
    /// `generation`.
    #[serde(deserialize_with = "nullable")]
    pub generation: i64,
    /// `labels`.
    #[serde(deserialize_with = "nullable")]
    pub labels: BTreeMap<String, String>,
    /// `annotations`.
    #[serde(deserialize_with = "nullable")]
    pub annotations: BTreeMap<String, String>,
    /// `ownerReferences`.
    #[serde(deserialize_with = "nullable")]
    pub owner_references: Vec<OwnerReference>,
    /// `creationTimestamp`, in seconds since 1970; 0 if it is not known.
    #[serde(deserialize_with = "seconds")]
    pub creation_timestamp: i64,
    /// `deletionTimestamp`: set while the object is being deleted.
    #[serde(deserialize_with = "nullable")]
    pub deletion_timestamp: String,
    /// The reason why the whole object is too large to judge, because fields beyond a bound were not read; `None` if it
    /// is not.
    #[serde(skip)]
    pub excess: Option<Excess>,
}

object_only!(Meta);

impl Meta {
    /// Returns the start of the guest whose VMI has this metadata.
    pub(crate) fn start(&self) -> GuestStart<'_> {
        GuestStart { uid: &self.uid, created: self.creation_timestamp }
    }
}

impl OwnerReference {
    /// Whether it is of this resource. The end of the kind decides: a distribution that renames KubeVirt's groups may
    /// put a prefix before the kinds (Deckhouse: `InternalVirtualizationVirtualMachine`).
    pub(crate) fn is_a(&self, resource: Resource) -> bool {
        self.kind.ends_with(resource.kind())
    }
}

each_text!(Meta {
    name,
    generate_name,
    namespace,
    uid,
    resource_version,
    generation,
    labels,
    annotations,
    owner_references,
    creation_timestamp,
    deletion_timestamp,
    excess,
});
