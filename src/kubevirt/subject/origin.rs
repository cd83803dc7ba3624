//! Whether the object with a guest's specification is in the cluster: only then a command can change it.

use super::concerns;
use crate::fit::subject::{Origin, Subject, Template};
use crate::kubevirt::cluster::Cluster;
use crate::kubevirt::replicas::ReplicasKind;
use crate::kubevirt::resource::Resource;
use crate::kubevirt::wire::{VirtualMachine, Vmi};

/// Sets the object that holds the template of a VirtualMachine: itself, or the pool that creates it.
pub(super) fn of_vm(subject: &mut Subject<'_>, vm: &VirtualMachine, cluster: &Cluster) {
    let (namespace, name) = (&vm.metadata.namespace, &vm.metadata.name);
    // A dump may lack the VM of a guest.
    let has_guest = || {
        let owners = cluster.vmi(namespace, name).map(|vmi| &vmi.metadata.owner_references);
        owners.into_iter().flatten().any(|owner| owner.is_a(Resource::VirtualMachines))
    };
    subject.definition.template = Some(Template::VirtualMachine);
    let is_stored = cluster.vm(namespace, name).map_or_else(has_guest, |stored| is_applied(vm, stored));
    subject.definition.origin = if is_stored { Origin::Stored } else { Origin::Submitted };
    let pool = vm.metadata.owner_references.iter().find(|owner| owner.is_a(Resource::Pools));
    let is_known = |name: &str| cluster.replicas(ReplicasKind::Pool, namespace, name).is_some();
    if let Some(pool) = pool.filter(|pool| subject.definition.origin == Origin::Submitted && is_known(&pool.name)) {
        (subject.definition.template, subject.definition.template_name) =
            (Some(Template::Pool), Some(pool.name.clone()));
        subject.definition.origin = Origin::Stored;
    }
}

/// Whether the stored VM has the specification of this one, with the machine type and the architecture that KubeVirt
/// adds when it stores it: else a command would change another guest than the one that is judged.
pub(super) fn is_applied(vm: &VirtualMachine, stored: &VirtualMachine) -> bool {
    if vm.spec == stored.spec {
        return true;
    }
    let mut vm = vm.clone();
    let (own, of_stored) = (&mut vm.spec.template.spec, &stored.spec.template.spec);
    if own.architecture.is_empty() {
        own.architecture.clone_from(&of_stored.architecture);
    }
    if own.domain.machine.as_ref().is_none_or(|machine| machine.kind.is_empty()) {
        own.domain.machine.clone_from(&of_stored.domain.machine);
    }
    !concerns(&vm, stored, true)
}

/// Sets whether a VMI, or the object that makes it, is stored. A manifest of a VMI is edited itself.
pub(super) fn of_vmi(subject: &mut Subject<'_>, vmi: &Vmi, cluster: &Cluster) {
    let (namespace, name) = (&vmi.metadata.namespace, &vmi.metadata.name);
    let is_made = match (subject.definition.template, &subject.definition.template_name) {
        (Some(Template::ReplicaSet), Some(set)) => cluster.replicas(ReplicasKind::ReplicaSet, namespace, set).is_some(),
        (Some(_), _) => cluster.vm(namespace, name).is_some(),
        (None, _) => false,
    };
    if !is_made && cluster.vmi(namespace, name).is_none() {
        (subject.definition.template, subject.definition.template_name, subject.definition.origin) =
            (None, None, Origin::Submitted);
    }
}
