//! Reports about guests, as the content of Kubernetes Events.
//!
//! Any client that reaches the port may send a review of any object. Therefore an Event is written only about an object
//! that the watch knows, with the UID that the watch knows ([`Regarding`]), and its note repeats text of the reviewed
//! object only if it consists entirely of names and labels ([`Note`]). Neither type can be constructed in another way.

mod note;

use crate::kubevirt::replicas::ReplicasKind;
use crate::kubevirt::resource::Resource;
use crate::kubevirt::wire::{Meta, OwnerReference};
use crate::word::words;
use crate::world::World;

pub(crate) use note::{Note, Quotable};

/// The kind of object an Event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EventKind {
    /// A VirtualMachineInstance.
    Vmi,
    /// A VirtualMachine, if there is no VMI yet.
    VirtualMachine,
    /// A replica set or a pool, if there is no VMI or VM yet.
    Replicas(ReplicasKind),
    /// A `CPUPolicy`.
    Policy,
}

impl EventKind {
    /// Returns the kind of the owner of a VMI or a VM.
    pub(crate) fn of_owner(owner: &OwnerReference) -> Option<Self> {
        if owner.is_a(Resource::VirtualMachines) {
            return Some(Self::VirtualMachine);
        }
        ReplicasKind::ALL.into_iter().find(|known| owner.is_a(known.resource())).map(Self::Replicas)
    }

    /// Returns the row in the table of resources.
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

/// The object of an Event: one in the watched state.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Regarding {
    kind: EventKind,
    namespace: String,
    name: String,
    uid: String,
}

impl Regarding {
    /// Returns a guest's object as recorded in `world`. `uid` is the UID that the review states, if any: an object of
    /// the same name with another UID is another object.
    ///
    /// `None` if the object is not in `world`, or has another UID there.
    #[must_use]
    pub fn known(world: &World, kind: EventKind, namespace: &str, name: &str, uid: Option<&str>) -> Option<Self> {
        let meta = match kind {
            EventKind::Vmi => &world.cluster.vmi(namespace, name)?.metadata,
            EventKind::VirtualMachine => &world.cluster.vm(namespace, name)?.metadata,
            EventKind::Replicas(kind) => &world.cluster.replicas(kind, namespace, name)?.vm.metadata,
            EventKind::Policy => return None,
        };
        // A dump may lack UIDs.
        let is_it = meta.uid.is_empty() || uid.is_none_or(|uid| uid == meta.uid);
        is_it.then(|| Self::of(kind, meta))
    }

    /// Returns a watched policy, by its metadata.
    pub(crate) fn policy(meta: &Meta) -> Self {
        Self::of(EventKind::Policy, meta)
    }

    fn of(kind: EventKind, meta: &Meta) -> Self {
        let Meta { namespace, name, uid, .. } = meta.clone();
        Self { kind, namespace, name, uid }
    }

    /// Returns the kind.
    #[must_use]
    pub fn kind(&self) -> EventKind {
        self.kind
    }

    /// Returns the namespace; empty for a cluster-scoped object.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Returns the name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the UID, which `kubectl describe` uses to find the Event; empty in a dump without UIDs.
    #[must_use]
    pub fn uid(&self) -> &str {
        &self.uid
    }
}

words! {
    /// The Event's `reason`, which people and alerts filter by.
    Reason {
        /// The guest runs or would run, and can migrate nowhere.
        NoTarget = "CPUNoTarget",
        /// The guest can start nowhere.
        NoNode = "CPUNoNode",
        /// The guest has one target left.
        OneTarget = "CPUOneTarget",
        /// The guest's node no longer matches its pod's selector.
        OwnNode = "CPUOwnNode",
        /// The guest got the common CPU model.
        ModelReplaced = "CPUModelReplaced",
        /// The guest should have got the common CPU model, but did not.
        ModelNotReplaced = "CPUModelNotReplaced",
        /// Selector keys were removed from the target pod of the guest's migration.
        SelectorsDropped = "CPUSelectorsDropped",
        /// Selector keys should have been removed from the target pod, but were not.
        SelectorsKept = "CPUSelectorsKept",
        /// A policy is invalid, and ignored.
        PolicyInvalid = "CPUPolicyInvalid",
    }
}

impl Reason {
    /// Returns the meaning in fixed words, without text of objects.
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

    /// Whether the Event has type `Normal`, because it reports no problem.
    pub(crate) fn is_normal(self) -> bool {
        self == Self::ModelReplaced
    }
}

/// An Event to write.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EventReport {
    /// The object of the Event.
    pub regarding: Regarding,
    /// The reason of the Event.
    pub reason: Reason,
    /// The note of the Event.
    pub note: Note,
}
