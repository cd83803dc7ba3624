//! The rule by which a request is denied, warned about and recorded, defined only here.

use super::{Dial, Exemption, Policy};
use crate::fit::verdict::{Assessment, Cause};

/// The kind of a request, as far as it determines whether and how it can be denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RequestKind {
    /// A `VirtualMachine`, whose fields the sender can fix.
    VirtualMachine,
    /// A `VirtualMachineInstance`, whose fields the sender can fix.
    VirtualMachineInstance,
    /// A `VirtualMachineInstanceReplicaSet` or a `VirtualMachinePool`, whose template the sender can fix.
    Replicas,
    /// A `VirtualMachineInstanceMigration`, which has no field to fix: the cause is in the guest.
    Migration,
    /// A launcher pod at a guest's start.
    LauncherPod,
    /// A launcher pod as a migration's target. Never denied: its migration would stay pending permanently.
    TargetPod,
    /// An eviction, or a change of a node, a policy or KubeVirt's configuration. Never denied: the sender is
    /// warned.
    Other,
}

impl RequestKind {
    /// All kinds.
    pub const ALL: [Self; 7] = [
        Self::VirtualMachine,
        Self::VirtualMachineInstance,
        Self::Replicas,
        Self::Migration,
        Self::LauncherPod,
        Self::TargetPod,
        Self::Other,
    ];

    /// Whether a policy can deny the request at all.
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

    /// Whether it is a guest, or the migration of one, rather than a pod that KubeVirt creates.
    fn has_a_guest(self) -> bool {
        self.is_fixable() || self == Self::Migration
    }

    /// Whether the sender can fix the object's fields.
    pub(crate) fn is_fixable(self) -> bool {
        matches!(self, Self::VirtualMachine | Self::VirtualMachineInstance | Self::Replicas)
    }
}

/// The facts about a request, other than its verdict, that determine a ruling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestFacts {
    /// The kind of the request.
    pub kind: RequestKind,
    /// The reason why it is exempt, from [`Policy::exempt`].
    pub exemption: Option<Exemption>,
    /// Whether the guest is judged by an assumption about an object that is not known.
    pub is_guess: bool,
    /// Whether the object itself, or its type, is too large to judge.
    pub is_too_large: bool,
}

/// The result for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Ruling {
    /// The request's namespace is exempt from everything: admitted without a warning or a record.
    Exempt,
    /// The request is admitted.
    Admit {
        /// Whether there is a warning about the impact.
        warned: bool,
        /// Whether it is recorded in audit annotations and Events.
        recorded: bool,
        /// The exemption without which it would have been denied.
        exempted: Option<Exemption>,
    },
    /// The request is denied.
    Deny {
        /// The grounds.
        grounds: Grounds,
        /// Whether it is recorded in audit annotations and Events.
        recorded: bool,
    },
}

impl Ruling {
    /// Whether the request is denied.
    #[must_use]
    pub fn denies(self) -> bool {
        matches!(self, Self::Deny { .. })
    }

    /// Whether the request is recorded in audit annotations and Events.
    pub(crate) fn is_recorded(self) -> bool {
        match self {
            Self::Exempt => false,
            Self::Admit { recorded, .. } | Self::Deny { recorded, .. } => recorded,
        }
    }
}

/// The grounds of a denial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grounds {
    /// The impact, which the policy's `enforce` reaches.
    Impact,
    /// Only the guest's CPU model: `commonModel.otherwise` is `Deny`.
    CommonModel,
    /// Only its size: the policy enforces an impact, and the guest cannot be judged.
    TooLarge,
}

/// Rules on a request.
///
/// Denies only if the policy enforces this impact, the cause is structural, and no exemption applies: a guess,
/// a cordon or a zone never denies. A guest that is too large to judge is denied by a policy that enforces any impact,
/// so that no user avoids the policy by its size; real guests are far below the bounds. A guest that is admitted only
/// because it is judged by a guess always gets a warning. `unmet`: whether the guest does not use the common model of a
/// policy that denies such guests.
pub fn rule(policy: &Policy, request: RequestFacts, assessment: &Assessment, unmet: bool) -> Ruling {
    let RequestFacts { kind, exemption, is_guess, is_too_large } = request;
    if exemption.is_some_and(Exemption::is_entire) {
        return Ruling::Exempt;
    }
    let impact = assessment.outcome.impact();
    let is_enforced = policy.enforce.reached(impact) && assessment.cause == Some(Cause::Structural);
    let is_deniable = kind.is_deniable();
    let grounds = match (is_enforced, unmet) {
        _ if !is_deniable || is_guess => None,
        (true, _) => Some(Grounds::Impact),
        (false, true) => Some(Grounds::CommonModel),
        (false, false) if is_too_large && kind.has_a_guest() && policy.enforce != Dial::Off => Some(Grounds::TooLarge),
        (false, false) => None,
    };
    // A guest that a controller creates is recorded if a person's would be denied, regardless of the dial.
    let is_escape = grounds.is_some() && exemption == Some(Exemption::Controller) && kind != RequestKind::Migration;
    let recorded = policy.audit.reached(impact) || is_escape;
    // An update that is admitted because it makes nothing worse always gets a warning.
    let is_exempted = grounds == Some(Grounds::Impact) && exemption == Some(Exemption::NotWorse);
    let is_guessed = is_guess && is_enforced && is_deniable;
    match (grounds, exemption) {
        (Some(grounds), None) => Ruling::Deny { grounds, recorded },
        (grounds, exemption) => Ruling::Admit {
            warned: policy.warn.reached(impact) || is_exempted || is_guessed,
            recorded,
            exempted: exemption.filter(|_| grounds.is_some()),
        },
    }
}
