//! What a review is about and the world does not hold yet: objects that were created a moment ago.

use crate::admission::review::Request;
use crate::enforce::trim;
use crate::judge::Manifest;
use crate::kubevirt::cluster::{self};
use crate::kubevirt::migration;
use crate::kubevirt::subject::{self};
use crate::kubevirt::wire::Vmi;
use crate::report::{self};
use crate::world::World;

/// An object that a judgement needs and the world does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MissingInput {
    /// A VirtualMachineInstance, and the launcher pods it has.
    Vmi {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// A VirtualMachine, a replica set or a pool, about which an Event is to be written.
    Owner {
        /// Which of them.
        kind: report::EventKind,
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// A launcher pod, and the VirtualMachineInstance it belongs to.
    Launcher {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// A VirtualMachineInstanceMigration.
    Migration {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
}

impl MissingInput {
    /// Its namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        match self {
            Self::Vmi { namespace, .. }
            | Self::Owner { namespace, .. }
            | Self::Launcher { namespace, .. }
            | Self::Migration { namespace, .. } => namespace,
        }
    }
}

/// What the judgement of an object would need and the world does not hold: what was created a moment ago.
pub(super) fn of_workload(world: &World, manifest: &Manifest<'_>) -> Vec<MissingInput> {
    let vmi = |namespace: &str, name: &str, known: Option<&Vmi>| {
        let has_pod = |vmi: &Vmi| !migration::runs(vmi) || world.cluster.current_launcher(vmi).is_some();
        let lack = MissingInput::Vmi { namespace: namespace.to_owned(), name: name.to_owned() };
        if known.is_some_and(has_pod) { Vec::new() } else { vec![lack] }
    };
    match manifest {
        Manifest::Pod(pod) => match cluster::owner(pod) {
            Some(owner) => {
                let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
                vmi(namespace, &owner.name, subject::vmi_of_pod(pod, &world.cluster))
            }
            None => Vec::new(),
        },
        Manifest::Migration(vmim) => {
            let (namespace, name) = (&vmim.metadata.namespace, &vmim.spec.vmi_name);
            vmi(namespace, name, world.cluster.vmi(namespace, name))
        }
        Manifest::VirtualMachine(_) | Manifest::Replicas(_) | Manifest::Vmi(_) => Vec::new(),
    }
}

/// What was not known of a migration's target: its guest, or whether its migration is annotated.
pub(super) fn of_mutation(world: &World, manifest: &Manifest<'_>) -> Vec<MissingInput> {
    let Manifest::Pod(pod) = manifest else { return Vec::new() };
    let unknown = trim::unknown_migration(pod, &world.cluster).map(|name| MissingInput::Migration {
        namespace: pod.metadata.namespace.as_deref().unwrap_or_default().to_owned(),
        name: name.to_owned(),
    });
    let guest = if trim::concerns(world, pod) { of_workload(world, manifest) } else { Vec::new() };
    guest.into_iter().chain(unknown).collect()
}

/// What such a review is about and the world does not hold: the launcher of a guest that was created a moment ago.
#[must_use]
pub(super) fn of_act(world: &World, request: &Request<'_>) -> Vec<MissingInput> {
    let (namespace, name) = (&*request.namespace, &*request.name);
    let is_eviction = &*request.sub_resource == "eviction";
    if !is_eviction || world.cluster.guest_of_launcher(namespace, name).is_some() {
        return Vec::new();
    }
    vec![MissingInput::Launcher { namespace: namespace.to_owned(), name: name.to_owned() }]
}
