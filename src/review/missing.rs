//! Objects that a review refers to and the world does not hold yet, because they were just created.

use crate::admission::review::Request;
use crate::enforce::trim;
use crate::judge::Manifest;
use crate::kubevirt::cluster;
use crate::kubevirt::migration;
use crate::kubevirt::subject;
use crate::kubevirt::wire::Vmi;
use crate::report;
use crate::world::World;

/// An object that a judgement needs and the world does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MissingInput {
    /// A VirtualMachineInstance with its launcher pods.
    Vmi {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// A VirtualMachine, replica set or pool that an Event is to be written about.
    Owner {
        /// Its kind.
        kind: report::EventKind,
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// A launcher pod with its VirtualMachineInstance.
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

/// Returns the objects that the judgement would need and the world does not hold, because they were just created.
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

/// Returns the unknown objects about a migration's target: its guest, or the migration that may be annotated.
pub(super) fn of_mutation(world: &World, manifest: &Manifest<'_>) -> Vec<MissingInput> {
    let Manifest::Pod(pod) = manifest else { return Vec::new() };
    let unknown = trim::unknown_migration(pod, &world.cluster).map(|name| MissingInput::Migration {
        namespace: pod.metadata.namespace.as_deref().unwrap_or_default().to_owned(),
        name: name.to_owned(),
    });
    let guest = if trim::concerns(world, pod) { of_workload(world, manifest) } else { Vec::new() };
    guest.into_iter().chain(unknown).collect()
}

/// Returns the launcher that an eviction refers to, if the world does not hold it.
pub(super) fn of_act(world: &World, request: &Request<'_>) -> Vec<MissingInput> {
    let (namespace, name) = (&*request.namespace, &*request.name);
    let is_eviction = &*request.sub_resource == "eviction";
    if !is_eviction || world.cluster.guest_of_launcher(namespace, name).is_some() {
        return Vec::new();
    }
    vec![MissingInput::Launcher { namespace: namespace.to_owned(), name: name.to_owned() }]
}
