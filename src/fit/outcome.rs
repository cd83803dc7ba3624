//! The outcome of a judgement: severity, cause, and the entries that nodes lack.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::bits::Bits;
use super::label::{self, Family};
use super::node::Taint;
use super::placement::{AffinityRule, NearMiss};
use super::word::words;

words! {
    /// The severity of an impact, mildest first.
    Impact {
        /// The guest runs, and exactly one node is left to migrate to.
        Fragile = "Fragile",
        /// The guest starts or runs, but can migrate nowhere.
        Pinned = "Pinned",
        /// No node takes the guest.
        Unschedulable = "Unschedulable",
    }
}

words! {
    /// The cause why no node, or too few, take the guest.
    Cause {
        /// No node's CPU labels fit. The only cause for which a request is denied.
        Structural = "structural",
        /// The CPU labels of a node fit; its architecture, zone, machine type or affinity does not.
        Placement = "placement",
        /// A node fits, but is cordoned, tainted or not ready, or its virt-handler is not ready.
        Temporary = "temporary",
    }
}

words! {
    /// The outcome of a judgement without its reason, best first.
    OutcomeWord {
        /// Two or more targets, or nothing to migrate.
        Fits = "fits",
        /// One node is left to migrate to.
        Fragile = "fragile",
        /// It can migrate nowhere.
        Pinned = "pinned",
        /// No node takes it.
        Unschedulable = "unschedulable",
        /// The outcome cannot be known.
        Unknown = "unknown",
    }
}

impl From<Impact> for OutcomeWord {
    fn from(impact: Impact) -> Self {
        match impact {
            Impact::Fragile => Self::Fragile,
            Impact::Pinned => Self::Pinned,
            Impact::Unschedulable => Self::Unschedulable,
        }
    }
}

/// The result of a judgement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Two or more targets, or nothing to migrate.
    Fits,
    /// Too few nodes, or none.
    Impaired(Impact),
    /// The outcome cannot be known, for this reason. Never denied.
    Unknown(Unknown),
}

/// The reason why the outcome cannot be known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// There is no node.
    NoNodes,
    /// No node has a CPU model or feature label.
    NoLabels,
    /// A node that might take the guest was too large to read.
    UnreadNode {
        /// The node.
        node: String,
        /// The part that is too large.
        why: String,
    },
    /// The deadline passed before the outcome was known.
    NotInTime,
    /// KubeVirt would create no pod, or an object is not known: the reason as text.
    NotJudged(String),
}

impl Outcome {
    /// Returns the outcome without its reason.
    #[must_use]
    pub fn word(&self) -> OutcomeWord {
        match self {
            Self::Fits => OutcomeWord::Fits,
            Self::Impaired(impact) => (*impact).into(),
            Self::Unknown(_) => OutcomeWord::Unknown,
        }
    }

    /// Returns the name in JSON.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        self.word().as_str()
    }

    /// Returns the impact; `None` without an impact.
    #[must_use]
    pub fn impact(&self) -> Option<Impact> {
        match self {
            Self::Impaired(impact) => Some(*impact),
            Self::Fits | Self::Unknown(_) => None,
        }
    }
}

/// A node that does not take the guest, and the selector entries it lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nearest {
    /// The node.
    pub node: String,
    /// The selector entries that it does not meet, by key.
    pub missing: Vec<(String, String)>,
    /// For the missing entries whose key the node has: the node's value.
    pub has: BTreeMap<String, String>,
    /// The evidence that the missing entries give about the node's hardware.
    pub evidence: Evidence,
    /// The missing entries that would be untrue on the node, because libvirt reports that the node does not
    /// have them.
    pub untrue: Vec<(String, String)>,
    /// The other obstacles.
    pub besides: Besides,
}

/// The obstacles of a node for a guest, besides the selector entries that it lacks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Besides {
    /// Whether the node is not ready, or has a taint that says so.
    pub not_ready: bool,
    /// Whether a cordon keeps the guest out.
    pub cordoned: bool,
    /// The taints that the pod does not tolerate, without those of a cordon and of a node that is not ready.
    pub taints: Vec<Taint>,
    /// The conditions of the required node affinity that it fails, as those of [`Excluded`].
    pub affinity: Vec<Arc<AffinityRule>>,
}

impl Besides {
    /// Counts the obstacles.
    pub(crate) fn count(&self) -> usize {
        usize::from(self.not_ready) + usize::from(self.cordoned) + self.taints.len() + self.affinity.len()
    }

    /// Whether nothing else keeps the guest off.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// A node that meets every selector entry and fails the required node affinity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excluded {
    /// The node.
    pub node: String,
    /// The failing conditions of the term that has the fewest of them.
    pub conditions: Vec<Arc<AffinityRule>>,
    /// Number of terms of the affinity that may match a node: one that does suffices.
    pub terms: usize,
}

impl Nearest {
    /// Whether the node is of another architecture: listed in data if there is no other node; sentences only
    /// count such nodes.
    pub(crate) fn is_foreign(&self) -> bool {
        self.missing.iter().any(|(key, _)| key == label::ARCH)
    }

    /// Iterates over the missing entries to report; for a node of another architecture only the architecture.
    pub(crate) fn to_blame(&self) -> impl Iterator<Item = &(String, String)> {
        let is_foreign = self.is_foreign();
        self.missing.iter().filter(move |(key, _)| !is_foreign || key == label::ARCH)
    }

    /// Whether the guest fits once the node and its virt-handler are ready again.
    pub(crate) fn fits_once_ready(&self) -> bool {
        let is_down = Besides { not_ready: true, ..Besides::default() };
        self.besides == is_down && self.missing.iter().all(|(key, _)| Family::of(key) == Family::Schedulable)
    }

    /// Whether virt-handler marks the node as unable to run guests.
    pub(crate) fn is_unwell(&self) -> bool {
        self.has.get(label::SCHEDULABLE).is_some_and(|value| value != "true")
    }

    /// Whether only labels are probably the cause.
    pub(crate) fn is_curable(&self) -> bool {
        matches!(self.evidence, Evidence::Drifted | Evidence::SourceLacksToo | Evidence::LibvirtAgrees)
    }
}

words! {
    /// The evidence that missing CPU labels give about the node's hardware.
    Evidence {
        /// The guest's own node lacks them too: the labels changed, not the machines.
        SourceLacksToo = "source-lacks-too",
        /// The node's own host model still names the features that its labels lack, models that are usable there need
        /// them, or its labels are frozen by `skip-node` while nodes of its class have more: probably drifted labels.
        Drifted = "drifted",
        /// The labels describe another host model, or lack instructions that no setting hides and no usable model
        /// needs: no label changes that, and libvirt may refuse.
        OtherHardware = "other-hardware",
        /// The entries were copied from the guest's own node, whose labels are frozen by `skip-node`: they may be out
        /// of date.
        FrozenSource = "frozen-source",
        /// An equal host model, labelled by a KubeVirt before 1.8.4, and the guest's own node by a later one.
        OlderLabels = "older-labels",
        /// Only features of nested virtualization: probably it is off in the node's KVM.
        NestedOff = "nested-off",
        /// An equal host model without bits that microcode adds: probably its microcode is older.
        Microcode = "microcode",
        /// Only Hyper-V labels, which the labeller takes from the KVM of the node's kernel. Mirrors `getCapLabels` of
        /// `pkg/virt-handler/node-labeller/kvm-caps-info-plugin_amd64.go`.
        HypervOfKernel = "hyperv-of-kernel",
        /// Libvirt there provides the guest's CPU and reports that the node has what its CPU labels lack: the
        /// labels are wrong.
        LibvirtAgrees = "libvirt-agrees",
        /// Libvirt there provides the guest's CPU. It is not known whether the node has what its CPU labels lack.
        LibvirtTakesCpu = "libvirt-takes-cpu",
        /// Libvirt there reports that the node has nothing of what its CPU labels lack: the labels are right.
        LibvirtLacks = "libvirt-lacks",
        /// Libvirt there reports that the node does not have some of what its CPU labels lack, and does not deny the
        /// others.
        LibvirtLacksSome = "libvirt-lacks-some",
        /// Libvirt there does not provide the guest's CPU, regardless of the labels.
        LibvirtRefuses = "libvirt-refuses",
        /// No conclusion: there is no source to compare with, or the labels do not describe the CPU.
        None = "none",
    }
}

impl Evidence {
    /// Returns the rank of a node by what libvirt there said: 0 is the best.
    pub(crate) fn rank(self) -> usize {
        match self {
            Self::LibvirtAgrees => 0,
            Self::LibvirtLacks | Self::LibvirtLacksSome => 2,
            Self::LibvirtRefuses => 3,
            Self::SourceLacksToo
            | Self::Drifted
            | Self::OtherHardware
            | Self::FrozenSource
            | Self::OlderLabels
            | Self::NestedOff
            | Self::Microcode
            | Self::HypervOfKernel
            | Self::LibvirtTakesCpu
            | Self::None => 1,
        }
    }
}

/// A node that is excluded only by a cordon or taints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// The node.
    pub node: String,
    /// Whether a cordon keeps the guest out.
    pub cordoned: bool,
    /// The taints that the pod does not tolerate, without that of a cordon.
    pub taints: Vec<Taint>,
    /// The pod's tolerations that nearly match one of them.
    pub near: Vec<NearMiss>,
}

impl Blocked {
    /// Returns the reasons why the node is excluded, as JSON spells them: `cordoned`, `taint
    /// KEY=VALUE:EFFECT`.
    #[must_use]
    pub fn reasons(&self) -> Vec<String> {
        let cordoned = self.cordoned.then(|| "cordoned".to_owned());
        cordoned.into_iter().chain(self.taints.iter().map(|taint| format!("taint {taint}"))).collect()
    }
}

/// The numbers of a judgement.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Assessment {
    /// The result.
    pub outcome: Outcome,
    /// The cause, if the outcome is an impact.
    pub cause: Option<Cause>,
    /// Number of nodes judged, without the source of a migration.
    pub nodes_judged: usize,
    /// The nodes that the scheduler's node filters accept, without the source of a migration.
    pub fitting: Bits,
}
