//! The rule by which a request is denied, warned about and recorded: the one place where it stands.

use super::{Exemption, Policy};
use crate::fit::verdict::{Assessment, Cause};

/// What is asked for, as far as it decides whether and how it can be denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RequestKind {
    /// A `VirtualMachine`: its fields are the person's to mend.
    VirtualMachine,
    /// A `VirtualMachineInstance`: its fields are the person's to mend.
    VirtualMachineInstance,
    /// A `VirtualMachineInstanceReplicaSet` or a `VirtualMachinePool`: its template is the person's to mend.
    Replicas,
    /// A `VirtualMachineInstanceMigration`: nothing in it can be mended, for the guest is to blame.
    Migration,
    /// A launcher pod at a guest's start.
    LauncherPod,
    /// A launcher pod as a migration's target. Never denied: its migration would stay pending for ever.
    TargetPod,
    /// An eviction, or a change of a node, a policy or KubeVirt's configuration. Never denied: people are warned.
    Other,
}

impl RequestKind {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::VirtualMachine,
        Self::VirtualMachineInstance,
        Self::Replicas,
        Self::Migration,
        Self::LauncherPod,
        Self::TargetPod,
        Self::Other,
    ];

    /// Whether a policy can deny it at all.
    #[must_use]
    pub(crate) fn is_deniable(self) -> bool {
        match self {
            Self::VirtualMachine
            | Self::VirtualMachineInstance
            | Self::Replicas
            | Self::Migration
            | Self::LauncherPod => true,
            Self::TargetPod | Self::Other => false,
        }
    }

    /// Whether the person who sent it can mend its fields.
    #[must_use]
    pub(crate) fn is_mendable(self) -> bool {
        matches!(self, Self::VirtualMachine | Self::VirtualMachineInstance | Self::Replicas)
    }
}

/// What must be known of a request beside its verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestFacts {
    /// What is asked for.
    pub kind: RequestKind,
    /// Why it is exempt, by [`Policy::exempt`].
    pub exemption: Option<Exemption>,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Ruling {
    /// Its namespace is left alone: it passes without a word or a record.
    LeftAlone,
    /// It may pass.
    Admit {
        /// Whether the impact is warned about.
        warned: bool,
        /// Whether it is recorded in audit annotations and Events.
        recorded: bool,
        /// The exemption without which it would have been denied.
        exempted: Option<Exemption>,
    },
    /// It may not.
    Deny {
        /// For what.
        grounds: Grounds,
        /// Whether it is recorded in audit annotations and Events.
        recorded: bool,
    },
}

impl Ruling {
    /// Whether it may not pass.
    #[must_use]
    pub fn denies(self) -> bool {
        matches!(self, Self::Deny { .. })
    }

    /// Whether it is recorded in audit annotations and Events.
    #[must_use]
    pub(crate) fn is_recorded(self) -> bool {
        match self {
            Self::LeftAlone => false,
            Self::Admit { recorded, .. } | Self::Deny { recorded, .. } => recorded,
        }
    }
}

/// For what a request is denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grounds {
    /// The impact, which the policy's `enforce` reaches.
    Impact,
    /// Nothing but the guest's CPU model: `commonModel.otherwise` is `Deny`.
    CommonModel,
}

/// Rules on a request.
///
/// Denied is only what a policy enforces, what is structural, and what nobody exempted: a guess, a cordon or a zone
/// never denies. `unmet` says that the guest does not use the common model of a policy that refuses such guests.
pub fn rule(policy: &Policy, request: RequestFacts, assessment: &Assessment, unmet: bool) -> Ruling {
    let RequestFacts { kind, exemption } = request;
    if exemption.is_some_and(Exemption::is_silent) {
        return Ruling::LeftAlone;
    }
    let impact = assessment.outcome.impact();
    let is_enforced = policy.enforce.reached(impact) && assessment.cause == Some(Cause::Structural);
    let grounds = match (is_enforced, unmet) {
        _ if !kind.is_deniable() => None,
        (true, _) => Some(Grounds::Impact),
        (false, true) => Some(Grounds::CommonModel),
        (false, false) => None,
    };
    // A guest that a controller makes is recorded where a person would be denied, whatever the dial says.
    let is_escape = grounds.is_some() && exemption == Some(Exemption::Controller) && kind != RequestKind::Migration;
    let recorded = policy.audit.reached(impact) || is_escape;
    // An update that makes nothing worse is never without a word.
    let is_exempted = grounds == Some(Grounds::Impact) && exemption == Some(Exemption::NotWorse);
    match (grounds, exemption) {
        (Some(grounds), None) => Ruling::Deny { grounds, recorded },
        (grounds, exemption) => Ruling::Admit {
            warned: policy.warn.reached(impact) || is_exempted,
            recorded,
            exempted: exemption.filter(|_| grounds.is_some()),
        },
    }
}
