//! The outcome of a judgement in numbers and names: how bad it is, why, and what nodes lack.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::bits::Bits;
use super::label;
use super::node::Taint;
use super::placement::AffinityRule;
use super::word::words;

words! {
    /// How bad it is for the guest, mildest first.
    Impact {
        /// It runs, and exactly one node is left to migrate to.
        Fragile = "Fragile",
        /// It starts or runs, but can migrate nowhere.
        Pinned = "Pinned",
        /// No node takes it.
        Unschedulable = "Unschedulable",
    }
}

words! {
    /// Why no node, or too few, take the guest.
    Cause {
        /// No node's CPU labels fit. The only cause that is ever denied.
        Structural = "structural",
        /// The CPU labels fit somewhere; architecture, zone, machine type or affinity do not.
        Placement = "placement",
        /// A node fits but is cordoned, tainted or not ready, or virt-handler there is not well.
        Temporary = "temporary",
    }
}

/// The judgement in one word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nodes enough.
    Fits,
    /// Too few nodes, or none.
    Impaired(Impact),
    /// It cannot be known, and why. Never denied.
    Unknown(Unknown),
}

/// Why nothing can be known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// There is no node.
    NoNodes,
    /// No node has a CPU model or feature label.
    NoLabels,
    /// A node that might take it is too large to be read.
    UnreadNode {
        /// The node.
        node: String,
        /// What of it is too large.
        why: String,
    },
    /// There was no time to find it out.
    NotInTime,
    /// KubeVirt would create no pod, or an object is not known, in words.
    NotJudged(String),
}

impl Outcome {
    /// As JSON spells it.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Fits => "fits",
            Self::Impaired(Impact::Fragile) => "fragile",
            Self::Impaired(Impact::Pinned) => "pinned",
            Self::Impaired(Impact::Unschedulable) => "unschedulable",
            Self::Unknown(_) => "unknown",
        }
    }

    /// The impact, if there is one.
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
    /// The selector entries it does not meet, by key.
    pub missing: Vec<(String, String)>,
    /// The missing entries whose key the node has with another value, and that value.
    pub has: BTreeMap<String, String>,
    /// What the lack says about the node's hardware.
    pub evidence: Evidence,
    /// The missing entries that would be untrue on the node: libvirt says that the node does not have them.
    pub untrue: Vec<(String, String)>,
}

/// A node that meets every selector entry and fails the required node affinity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excluded {
    /// The node.
    pub node: String,
    /// The conditions it fails, of the term that comes nearest to matching.
    pub conditions: Vec<Arc<AffinityRule>>,
}

impl Nearest {
    /// Whether it is of another architecture: named in data, where there is no other node; in words such nodes are counted.
    #[must_use]
    pub(crate) fn is_foreign(&self) -> bool {
        self.missing.iter().any(|(key, _)| key == label::ARCH)
    }

    /// What of its lack a person can do something about: of a node of another architecture no more than that.
    pub(crate) fn to_blame(&self) -> impl Iterator<Item = &(String, String)> {
        let is_foreign = self.is_foreign();
        self.missing.iter().filter(move |(key, _)| !is_foreign || key == label::ARCH)
    }

    /// Whether it is marked by virt-handler as unable to take guests.
    #[must_use]
    pub(crate) fn is_unwell(&self) -> bool {
        self.has.contains_key(label::SCHEDULABLE)
    }

    /// Whether only labels are to blame, as far as is known.
    #[must_use]
    pub(crate) fn is_curable(&self) -> bool {
        matches!(self.evidence, Evidence::Drifted | Evidence::SourceLacksToo | Evidence::LibvirtAgrees)
    }
}

/// What a lack of CPU labels says about the hardware behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// The guest's own node lacks them too: labels changed, not machines.
    SourceLacksToo,
    /// The node's own host model still names what its feature labels lack, or its labels are frozen by
    /// `skip-node` while its like are richer: drifted labels, probably.
    Drifted,
    /// By its labels another host model, or one with fewer features: no label changes that, and libvirt may refuse.
    OtherHardware,
    /// Libvirt there provides the guest's CPU, and says that the node has what its CPU labels lack: labels are to blame.
    LibvirtAgrees,
    /// Libvirt there provides the guest's CPU. Whether the node has what its CPU labels lack is not known.
    LibvirtTakesCpu,
    /// Libvirt there says that the node does not have all that its CPU labels lack: they are right.
    LibvirtLacks,
    /// Libvirt there was asked, and does not provide the guest's CPU, whatever the labels say.
    LibvirtRefuses,
    /// Nothing can be said: no source to compare with, or not CPU labels.
    None,
}

/// A node on which all but a cordon or taints fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// The node.
    pub node: String,
    /// It is cordoned.
    pub cordoned: bool,
    /// Its taints that are not tolerated, that of a cordon left out.
    pub taints: Vec<Taint>,
}

impl Blocked {
    /// What keeps the guest out, as JSON spells it: `cordoned`, `taint KEY=VALUE:EFFECT`.
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
    /// The judgement in one word.
    pub outcome: Outcome,
    /// Why, where the outcome is an impact.
    pub cause: Option<Cause>,
    /// How many nodes were judged, the source of a migration left out.
    pub nodes_judged: usize,
    /// The nodes that the scheduler's node filters accept, the source of a migration left out.
    pub fitting: Bits,
}
