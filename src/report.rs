//! What is told about a guest when nobody sits at a keyboard: the content of a Kubernetes Event.

use std::fmt;

/// Which object an Event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A VirtualMachineInstance.
    Vmi,
    /// A VirtualMachine, where there is no VMI yet.
    VirtualMachine,
    /// A `CPUPolicy`.
    Policy,
}

impl Kind {
    /// `apiVersion` and `kind`.
    #[must_use]
    pub fn api(self) -> (&'static str, &'static str) {
        match self {
            Self::Vmi => ("kubevirt.io/v1", "VirtualMachineInstance"),
            Self::VirtualMachine => ("kubevirt.io/v1", "VirtualMachine"),
            Self::Policy => (crate::policy::API_VERSION, crate::policy::KIND),
        }
    }
}

/// The object an Event is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Regarding {
    /// What it is.
    pub kind: Kind,
    /// Its namespace; empty for what has none.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID, by which `kubectl describe` finds the Event; empty where it is not known.
    pub uid: String,
}

/// Why an Event is written: a word of its own for each, so that people and alerts can filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// It runs or would run, and can migrate nowhere.
    NoTarget,
    /// It can start nowhere.
    NoNode,
    /// It has one target left.
    OneTarget,
    /// The node it runs on no longer meets its pod's selector.
    OwnNode,
    /// It was given the common CPU model.
    ModelReplaced,
    /// It should have been given the common CPU model, and was not.
    ModelNotReplaced,
    /// Selector keys were taken off its migration's target pod.
    SelectorsDropped,
    /// They should have been, and were not.
    SelectorsKept,
    /// A policy is not valid, and ignored.
    PolicyInvalid,
}

impl Reason {
    /// As it stands in the Event.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoTarget => "CPUNoTarget",
            Self::NoNode => "CPUNoNode",
            Self::OneTarget => "CPUOneTarget",
            Self::OwnNode => "CPUOwnNode",
            Self::ModelReplaced => "CPUModelReplaced",
            Self::ModelNotReplaced => "CPUModelNotReplaced",
            Self::SelectorsDropped => "CPUSelectorsDropped",
            Self::SelectorsKept => "CPUSelectorsKept",
            Self::PolicyInvalid => "CPUPolicyInvalid",
        }
    }

    /// Whether it is news rather than trouble: an Event of type `Normal`.
    #[must_use]
    pub fn is_normal(self) -> bool {
        self == Self::ModelReplaced
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One thing to be told about an object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Report {
    /// About whom.
    pub regarding: Regarding,
    /// Why.
    pub reason: Reason,
    /// What, in one line.
    pub message: String,
}
