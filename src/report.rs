//! What is reported about a guest, as the content of a Kubernetes Event.
//!
//! Any client that reaches the port may send a review of any object. So an Event is written only about an object that the watch
//! knows, under the UID that the watch knows ([`Regarding`]), and its note repeats text of the reviewed object only where
//! all of it is made of names and labels ([`Note`]). Both types can be made in no other way.

mod note;

use crate::kubevirt::replicas::ReplicasKind;
use crate::kubevirt::resource::Resource;
use crate::kubevirt::wire::Meta;
use crate::word::words;
use crate::world::World;

pub(crate) use note::{Note, Quotable};

/// The kind of object an Event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EventKind {
    /// A VirtualMachineInstance.
    Vmi,
    /// A VirtualMachine, where there is no VMI yet.
    VirtualMachine,
    /// A replica set or a pool, where there is no VMI or VM yet.
    Replicas(ReplicasKind),
    /// A `CPUPolicy`.
    Policy,
}

impl EventKind {
    /// The kind of what a VMI or a VM is made of, by the name of the kind in its `ownerReferences`.
    #[must_use]
    pub(crate) fn of_owner(kind: &str) -> Option<Self> {
        if kind.ends_with("VirtualMachine") {
            return Some(Self::VirtualMachine);
        }
        ReplicasKind::ALL.into_iter().find(|known| known.kind() == kind).map(Self::Replicas)
    }

    /// Its row in the table of resources.
    #[must_use]
    pub fn resource(self) -> Resource {
        match self {
            Self::Vmi => Resource::Vmis,
            Self::VirtualMachine => Resource::VirtualMachines,
            Self::Replicas(kind) => kind.resource(),
            Self::Policy => Resource::Policies,
        }
    }
}

/// The object an Event is about: one that the watch knows.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Regarding {
    kind: EventKind,
    namespace: String,
    name: String,
    uid: String,
}

impl Regarding {
    /// A guest's object, as `world` knows it. `uid` is the UID by which the review refers to it, where it states one:
    /// an object of the same name with another UID is another object.
    ///
    /// `None` where `world` does not know the object, or knows it under another UID.
    #[must_use]
    pub fn known(world: &World, kind: EventKind, namespace: &str, name: &str, uid: Option<&str>) -> Option<Self> {
        let meta = match kind {
            EventKind::Vmi => &world.cluster.vmi(namespace, name)?.metadata,
            EventKind::VirtualMachine => &world.cluster.vm(namespace, name)?.metadata,
            EventKind::Replicas(kind) => &world.cluster.replicas(kind, namespace, name)?.vm.metadata,
            EventKind::Policy => return None,
        };
        // A dump may have been cleaned of UIDs.
        let is_it = meta.uid.is_empty() || uid.is_none_or(|uid| uid == meta.uid);
        is_it.then(|| Self::of(kind, meta))
    }

    /// A policy that the watch knows, by its metadata.
    #[must_use]
    pub(crate) fn policy(meta: &Meta) -> Self {
        Self::of(EventKind::Policy, meta)
    }

    fn of(kind: EventKind, meta: &Meta) -> Self {
        let Meta { namespace, name, uid, .. } = meta.clone();
        Self { kind, namespace, name, uid }
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> EventKind {
        self.kind
    }

    /// Its namespace; empty for a cluster-scoped object.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its UID, by which `kubectl describe` finds the Event; empty in a dump that was cleaned of UIDs.
    #[must_use]
    pub fn uid(&self) -> &str {
        &self.uid
    }
}

words! {
    /// Why an Event is written: the Event's `reason`, by which people and alerts filter.
    Reason {
        /// It runs or would run, and can migrate nowhere.
        NoTarget = "CPUNoTarget",
        /// It can start nowhere.
        NoNode = "CPUNoNode",
        /// It has one target left.
        OneTarget = "CPUOneTarget",
        /// The node it runs on no longer meets its pod's selector.
        OwnNode = "CPUOwnNode",
        /// It was given the common CPU model.
        ModelReplaced = "CPUModelReplaced",
        /// It should have been given the common CPU model, and was not.
        ModelNotReplaced = "CPUModelNotReplaced",
        /// Selector keys were taken off its migration's target pod.
        SelectorsDropped = "CPUSelectorsDropped",
        /// They should have been, and were not.
        SelectorsKept = "CPUSelectorsKept",
        /// A policy is not valid, and ignored.
        PolicyInvalid = "CPUPolicyInvalid",
    }
}

impl Reason {
    /// What it means, in words that no object has a part in.
    #[must_use]
    pub(crate) fn meaning(self) -> &'static str {
        match self {
            Self::NoTarget => "it can migrate to no node",
            Self::NoNode => "no node can take it",
            Self::OneTarget => "it can migrate to one node only",
            Self::OwnNode => "its own node does not meet its launcher's selector",
            Self::ModelReplaced => "its policy's common CPU model was written into it",
            Self::ModelNotReplaced => "its policy's common CPU model was not written into it",
            Self::SelectorsDropped => "selector keys were taken off its migration's target",
            Self::SelectorsKept => "its migration's target keeps its selector",
            Self::PolicyInvalid => "the policy is not valid, and ignored",
        }
    }

    /// Whether it is news rather than trouble: an Event of type `Normal`.
    #[must_use]
    pub(crate) fn is_normal(self) -> bool {
        self == Self::ModelReplaced
    }
}

/// An Event to be written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EventReport {
    /// The object it is about.
    pub regarding: Regarding,
    /// Why it is written.
    pub reason: Reason,
    /// What it says.
    pub note: Note,
}
