//! The outcome of a judgement, and what is said about it.

use std::fmt;

use super::bits::Bits;
use super::remedy::Remedy;

/// How bad it is for the guest, mildest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Impact {
    /// It runs, and exactly one node is left to migrate to.
    Fragile,
    /// It starts or runs, but can migrate nowhere.
    Pinned,
    /// No node takes it.
    Unschedulable,
}

impl Impact {
    /// All, mildest first.
    pub const ALL: [Self; 3] = [Self::Fragile, Self::Pinned, Self::Unschedulable];

    /// As policies and JSON spell it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fragile => "Fragile",
            Self::Pinned => "Pinned",
            Self::Unschedulable => "Unschedulable",
        }
    }
}

impl fmt::Display for Impact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why no node, or too few, take the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// No node's CPU labels fit. The only cause that is ever denied.
    Structural,
    /// The CPU labels fit somewhere; architecture, zone, machine type or affinity do not.
    Placement,
    /// A node fits but is cordoned, tainted or not ready, or virt-handler there is not well.
    Temporary,
}

impl Cause {
    /// As JSON spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Structural => "structural",
            Self::Placement => "placement",
            Self::Temporary => "temporary",
        }
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
    Unknown(String),
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
    /// What the lack says about the node's hardware.
    pub evidence: Evidence,
}

/// What a lack of CPU labels says about the hardware behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// The guest's own node lacks them too: labels changed, not machines.
    SourceLacksToo,
    /// The node's own host model still names what its feature labels lack, or its labels are frozen by
    /// `skip-node` while its like are richer: drifted labels, probably.
    Drifted,
    /// Another host model, or one with fewer features: libvirt would refuse even if the labels were added.
    OtherHardware,
    /// Nothing can be said: no source to compare with, or not CPU labels.
    None,
}

/// One thing to say about a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which check found it.
    pub check: Check,
    /// How bad it is; `None` for a note.
    pub impact: Option<Impact>,
    /// The field of the judged object that is to blame, as a path; may be empty.
    pub field: String,
    /// One sentence in the field's own words.
    pub message: String,
    /// What would cure it, the least harmful first.
    pub remedies: Vec<Remedy>,
}

/// The checks, in the order in which their findings are reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Check {
    /// Node labels are missing altogether, or the objects a judgement needs.
    Unknown,
    /// KubeVirt would create no pod.
    NoPod,
    /// No node takes the guest at start.
    StartNode,
    /// No node, or one, is left to migrate to.
    MigrationTarget,
    /// A running guest's own node no longer meets its pod's selector or affinity.
    OwnNode,
    /// Libvirt refused the last migration, whatever the labels say.
    LibvirtRefused,
    /// The launcher is outdated: the next migration crosses QEMU versions.
    OutdatedLauncher,
    /// The model is known to nodes, but usable on none.
    ModelKnownNotUsable,
    /// The demand contradicts itself.
    Contradiction,
    /// A node fits, though its Ready condition says otherwise.
    NotReady,
    /// What had to be assumed.
    Assumed,
    /// The policy's common model.
    CommonModel,
}

impl Check {
    /// As JSON spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::NoPod => "no-pod",
            Self::StartNode => "start-node",
            Self::MigrationTarget => "migration-target",
            Self::OwnNode => "own-node",
            Self::LibvirtRefused => "libvirt-refused",
            Self::OutdatedLauncher => "outdated-launcher",
            Self::ModelKnownNotUsable => "model-known-not-usable",
            Self::Contradiction => "contradiction",
            Self::NotReady => "not-ready",
            Self::Assumed => "assumed",
            Self::CommonModel => "common-model",
        }
    }
}

/// What a judgement found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Verdict {
    /// The judgement in one word.
    pub outcome: Outcome,
    /// Why, where the outcome is an impact.
    pub cause: Option<Cause>,
    /// How many nodes were judged.
    pub judged: usize,
    /// The nodes that the scheduler's node filters accept, the source of a migration left out.
    pub fitting: Bits,
    /// Up to three nodes that lack least.
    pub nearest: Vec<Nearest>,
    /// What is to be said, in the order of [`Check`].
    pub findings: Vec<Finding>,
}
