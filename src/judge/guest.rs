//! The guests of a cluster, and the object that each is judged as now: one rule for the audit, `explain`, `diff` and
//! the policies' status.

use super::{Evaluation, Manifest, judge_subject};
use crate::fit::judgement::Effort;
use crate::kubevirt::cluster::Cluster;
use crate::kubevirt::migration;
use crate::kubevirt::subject::{self, Prepared};
use crate::kubevirt::wire::{Meta, VirtualMachine, Vmi};
use crate::policy::UserName;
use crate::world::World;

/// A guest of the cluster.
#[derive(Clone, Copy, Debug)]
pub(crate) enum GuestOf<'w> {
    /// A VMI that has not ended: judged as its migration if it runs, else as its start.
    Vmi(&'w Vmi),
    /// A VM without such a VMI: judged as its next start.
    Vm(&'w VirtualMachine),
}

impl<'w> GuestOf<'w> {
    /// Returns the guest of this name; `None` if there is neither a VMI nor a VM. A VMI that has ended and has no VM
    /// starts no more: it is judged as nothing.
    pub(crate) fn named(namespace: &str, name: &str, cluster: &'w Cluster) -> Option<Self> {
        let vmi = cluster.vmi(namespace, name);
        let live = vmi.filter(|vmi| !is_over(vmi, cluster)).map(Self::Vmi);
        live.or_else(|| cluster.vm(namespace, name).map(Self::Vm)).or_else(|| vmi.map(Self::Vmi))
    }

    /// Returns its metadata.
    pub(crate) fn metadata(self) -> &'w Meta {
        match self {
            Self::Vmi(vmi) => &vmi.metadata,
            Self::Vm(vm) => &vm.metadata,
        }
    }

    /// Returns `namespace/name`, shortened for messages.
    pub(crate) fn title(self) -> String {
        subject::title(self.metadata())
    }

    /// Returns its VMI if it runs.
    pub(crate) fn running(self) -> Option<&'w Vmi> {
        match self {
            Self::Vmi(vmi) if migration::runs(vmi) => Some(vmi),
            Self::Vmi(_) | Self::Vm(_) => None,
        }
    }

    /// Returns the object that it is judged as, as if a person created it now: a migration of a running guest, else
    /// the VMI or the VM itself.
    pub(crate) fn manifest(self) -> Manifest<'static> {
        match self {
            Self::Vmi(vmi) if migration::runs(vmi) => Manifest::Migration(Box::new(subject::asked_for(vmi))),
            Self::Vmi(vmi) => Manifest::Vmi(Box::new(vmi.clone())),
            Self::Vm(vm) => Manifest::VirtualMachine(Box::new(vm.clone())),
        }
    }

    /// Prepares it: its migration if it runs, the start that its VMI waits for, or the next start of its VM.
    pub(crate) fn prepared(self, cluster: &Cluster) -> Prepared<'static> {
        match self {
            Self::Vmi(vmi) => subject::of_running(vmi, cluster).unwrap_or_else(|| subject::of_waiting(vmi, cluster)),
            Self::Vm(vm) => subject::of_vm(vm, cluster),
        }
    }
}

/// Returns all guests of a cluster: first those that run or wait to start, then the stopped ones.
pub(crate) fn all_guests(cluster: &Cluster) -> impl Iterator<Item = GuestOf<'_>> {
    let live = cluster.vmis().filter(|vmi| !is_over(vmi, cluster)).map(GuestOf::Vmi);
    let is_stopped = |vm: &&VirtualMachine| {
        cluster.vmi(&vm.metadata.namespace, &vm.metadata.name).is_none_or(|vmi| is_over(vmi, cluster))
    };
    live.chain(cluster.vms().filter(is_stopped).map(GuestOf::Vm))
}

/// Whether a VMI has ended, or its VM starts none.
fn is_over(vmi: &Vmi, cluster: &Cluster) -> bool {
    migration::has_ended(vmi) || subject::is_stopped(vmi, cluster)
}

/// Judges a guest of the cluster as the webhook judges a request by a person.
pub(crate) fn judge_guest<'e>(world: &World, guest: GuestOf<'_>, effort: impl Into<Effort<'e>>) -> Evaluation<'static> {
    let prepared = guest.prepared(&world.cluster);
    judge_subject(world, &guest.manifest(), UserName::NOBODY, prepared, effort.into())
}
