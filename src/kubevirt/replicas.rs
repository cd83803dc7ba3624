//! Objects of which KubeVirt makes many guests by one template: replica sets and pools.
//!
//! A `VirtualMachineInstanceReplicaSet` holds the template of VMIs, a `VirtualMachinePool` that of VMs. Either is judged as
//! one VirtualMachine of its template; the fields to blame are named as they stand in the object itself.
//!
//! Mirrors `pkg/virt-controller/watch/replicaset/replicaset.go` (`scale`) and `watch/pool/pool.go` (`scaleOut`,
//! `indexVMSpec`): each guest gets labels, annotations and specification of the template; what differs from guest to guest
//! are names, of volumes and of what they are filled from.

use super::authors::seen_from_replicas;
use super::cluster::Cluster;
use super::guest::{Guest, guest_of};
use super::resource::Resource;
use super::subject::{self, Judged};
use super::wire::{Pool, Reader, ReplicaSet, VirtualMachine, VmSpec};
use crate::fit::author::Holder;
use crate::fit::subject::Template;
use crate::fit::verdict::{Detail, Finding};

/// A replica set or a pool.
#[derive(Clone, Debug, PartialEq)]
pub struct Replicas {
    /// Which of them.
    pub kind: ReplicasKind,
    /// The VirtualMachine that stands for each of its guests, under the name of the object itself.
    pub vm: VirtualMachine,
}

/// A kind of object that holds the template of many guests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ReplicasKind {
    /// `VirtualMachineInstanceReplicaSet`, group `kubevirt.io`.
    ReplicaSet,
    /// `VirtualMachinePool`, group `pool.kubevirt.io`; `v1alpha1` and `v1beta1` have the same shape.
    Pool,
}

impl ReplicasKind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::ReplicaSet, Self::Pool];

    /// Its row in the table of resources.
    #[must_use]
    pub const fn resource(self) -> Resource {
        match self {
            Self::ReplicaSet => Resource::ReplicaSets,
            Self::Pool => Resource::Pools,
        }
    }

    /// The API group.
    #[must_use]
    pub const fn group(self) -> &'static str {
        self.resource().group()
    }

    /// The kind's name.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        self.resource().kind()
    }

    /// The short name that kubectl takes.
    #[must_use]
    pub const fn short_name(self) -> &'static str {
        self.resource().names().short[0]
    }

    /// The path in the object of a field of the VirtualMachine that stands for its guests:
    /// `spec.virtualMachineTemplate.spec.template.spec` for `spec.template.spec` of a pool's.
    #[must_use]
    pub fn field(self, of_vm: &str) -> String {
        match (self, of_vm.strip_prefix("spec")) {
            (Self::Pool, Some(below)) if below.is_empty() || below.starts_with('.') => {
                format!("spec.virtualMachineTemplate.spec{below}")
            }
            _ => of_vm.to_owned(),
        }
    }
}

impl From<ReplicaSet> for Replicas {
    fn from(set: ReplicaSet) -> Self {
        let spec = VmSpec { template: set.spec.template, ..VmSpec::default() };
        Self {
            kind: ReplicasKind::ReplicaSet,
            vm: VirtualMachine { metadata: set.metadata, spec, ..VirtualMachine::default() },
        }
    }
}

impl From<Pool> for Replicas {
    fn from(pool: Pool) -> Self {
        let vm = VirtualMachine {
            metadata: pool.metadata,
            spec: pool.spec.virtual_machine_template.spec,
            ..VirtualMachine::default()
        };
        Self { kind: ReplicasKind::Pool, vm }
    }
}

impl Replicas {
    /// Reads an object of one of these kinds.
    ///
    /// # Errors
    ///
    /// Whatever `reader` says.
    pub fn read<'a, R: Reader<'a>>(kind: ReplicasKind, reader: &R) -> Result<Self, R::Error> {
        Ok(match kind {
            ReplicasKind::ReplicaSet => reader.read::<ReplicaSet>()?.into(),
            ReplicasKind::Pool => reader.read::<Pool>()?.into(),
        })
    }

    /// Any of its guests, made ready for judgement.
    #[must_use]
    pub fn judged(&self, cluster: &Cluster) -> Judged<'static> {
        self.judged_as(guest_of(&self.vm, cluster), cluster)
    }

    /// Any of its guests, by the guest that it becomes.
    #[must_use]
    pub fn judged_as(&self, guest: Guest, cluster: &Cluster) -> Judged<'static> {
        let mut out = subject::of_guest(&self.vm, guest, cluster);
        // A VM or VMI of the same name is not one of its guests.
        out.subject.template = Some(match self.kind {
            ReplicasKind::ReplicaSet => Template::ReplicaSet,
            ReplicasKind::Pool => Template::Pool,
        });
        out.subject.running = None;
        out.subject.field_root = self.kind.field(&out.subject.field_root);
        let holder = match self.kind {
            ReplicasKind::ReplicaSet => Holder::ReplicaSet,
            ReplicasKind::Pool => Holder::Pool,
        };
        seen_from_replicas(&mut out.subject.authors, holder, |field| self.kind.field(field));
        out.notes.iter_mut().chain(&mut out.not_judged).for_each(|finding| self.relocate(finding));
        out
    }

    /// Names the field of a finding, and where its words name it, as it stands in the object.
    fn relocate(&self, finding: &mut Finding) {
        let field = self.kind.field(&finding.field);
        if field == finding.field {
            return;
        }
        if let Detail::Noted(words) = &mut finding.detail {
            *words = words.replace(&finding.field, &field);
        }
        finding.field = field;
    }
}
