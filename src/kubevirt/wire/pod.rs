//! Launcher pods, which borrow their text.

use serde::de::{Deserialize, Deserializer};

use super::{Affinity, EachText, OwnerReference, PhaseOnly, Text, Texts, Toleration, nullable};
use crate::bounds::Excess;

/// A launcher pod.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default, remote = "Self")]
pub struct Pod<'a> {
    /// `metadata`.
    #[serde(borrow, deserialize_with = "nullable")]
    pub metadata: PodMeta<'a>,
    /// `spec`.
    #[serde(borrow, deserialize_with = "nullable")]
    pub spec: PodSpec<'a>,
    /// `status`.
    #[serde(deserialize_with = "nullable")]
    pub status: PhaseOnly,
}

/// `metadata` of a pod.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", default, remote = "Self")]
pub struct PodMeta<'a> {
    /// `name`; empty at admission if `generateName` is used.
    #[serde(borrow)]
    pub name: Option<Text<'a>>,
    /// `generateName`.
    #[serde(borrow)]
    pub generate_name: Option<Text<'a>>,
    /// `namespace`.
    #[serde(borrow)]
    pub namespace: Option<Text<'a>>,
    /// `labels`.
    #[serde(borrow)]
    pub labels: Texts<'a>,
    /// `annotations`: those that are read; `None` if the pod has none at all.
    #[serde(borrow)]
    pub annotations: Option<Texts<'a>>,
    /// `ownerReferences`.
    #[serde(deserialize_with = "nullable")]
    pub owner_references: Vec<OwnerReference>,
    /// `creationTimestamp`.
    pub creation_timestamp: Option<String>,
    /// `deletionTimestamp`; set while the pod is terminating.
    pub deletion_timestamp: Option<String>,
    /// The reason why the whole pod is too large to judge, because fields beyond a bound were not read; `None` if it is
    /// not.
    #[serde(skip)]
    pub excess: Option<Excess>,
}

/// `spec` of a pod.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", default, remote = "Self")]
pub struct PodSpec<'a> {
    /// `nodeName`.
    #[serde(borrow)]
    pub node_name: Option<Text<'a>>,
    /// `nodeSelector`.
    #[serde(borrow)]
    pub node_selector: Texts<'a>,
    /// `affinity`; only its required node affinity is read.
    #[serde(deserialize_with = "nullable")]
    pub affinity: Affinity,
    /// `tolerations`.
    #[serde(deserialize_with = "nullable")]
    pub tolerations: Vec<Toleration>,
}

object_only!(Pod<'a>);
object_only!(PodMeta<'a>);
object_only!(PodSpec<'a>);
each_text!(Pod<'_> { metadata, spec, status, });
each_text!(PodMeta<'_> {
    name, generate_name, namespace, labels, annotations, owner_references, creation_timestamp,
    deletion_timestamp, excess,
});
each_text!(PodSpec<'_> { node_name, node_selector, affinity, tolerations, });
