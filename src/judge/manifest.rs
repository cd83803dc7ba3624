//! The objects that are judged, and their common properties.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::bounds::Excess;
use crate::fit::subject::CpuMode;
use crate::kubevirt::cluster::{Cluster, is_launcher};
use crate::kubevirt::replicas::{Replicas, ReplicasKind};
use crate::kubevirt::resource::Resource;
use crate::kubevirt::subject::{self, Prepared};
use crate::kubevirt::wire::{EachText, Meta, Pod, Reader, Text, Texts, VirtualMachine, Vmi, Vmim};
use crate::policy::RequestKind;
use crate::well_known;
use crate::world::World;

/// An object that is judged.
#[derive(Debug)]
pub(crate) enum Manifest<'a> {
    /// A virt-launcher pod.
    Pod(Arc<Pod<'a>>),
    /// A VirtualMachine.
    VirtualMachine(Box<VirtualMachine>),
    /// A replica set or a pool.
    Replicas(Box<Replicas>),
    /// A VirtualMachineInstance.
    Vmi(Box<Vmi>),
    /// A VirtualMachineInstanceMigration.
    Migration(Box<Vmim>),
}

impl<'a> Manifest<'a> {
    /// Reads an object of a kind that is judged; `None` for all others, and for pods that are no launchers.
    ///
    /// # Errors
    ///
    /// Returns the error of `reader`.
    pub(crate) fn read<R: Reader<'a>>(group: &str, kind: &str, reader: &R) -> Result<Option<Self>, R::Error> {
        let replicas = |kind| Ok(Some(Self::Replicas(Box::new(Replicas::read(kind, reader)?))));
        Ok(match Resource::of(group, kind) {
            Some(Resource::Pods) => Self::launcher(Arc::new(reader.read()?)),
            Some(Resource::VirtualMachines) => Some(Self::VirtualMachine(Box::new(reader.read()?))),
            Some(Resource::Vmis) => Some(Self::Vmi(Box::new(reader.read()?))),
            Some(Resource::Migrations) => Some(Self::Migration(Box::new(reader.read()?))),
            Some(Resource::ReplicaSets) => return replicas(ReplicasKind::ReplicaSet),
            Some(Resource::Pools) => return replicas(ReplicasKind::Pool),
            _ => None,
        })
    }

    pub(crate) fn launcher(pod: Arc<Pod<'a>>) -> Option<Self> {
        is_launcher(&pod).then_some(Self::Pod(pod))
    }

    /// Whether an update of an object of this kind can change the demands of its guests: those of pods and
    /// VMIs are immutable.
    pub(crate) fn is_mutable(group: &str, kind: &str) -> bool {
        let resource = Resource::of(group, kind);
        matches!(resource, Some(Resource::VirtualMachines | Resource::ReplicaSets | Resource::Pools))
    }

    /// Returns the object of this name that the cluster holds; `None` if no such object exists, or objects of the kind
    /// cannot be changed.
    pub(crate) fn stored(&self, cluster: &Cluster) -> Option<Self> {
        let meta = self.metadata()?;
        let (namespace, name) = (meta.namespace.as_str(), meta.name.as_str());
        match self {
            Self::VirtualMachine(_) => Some(Self::VirtualMachine(Box::new(cluster.vm(namespace, name)?.clone()))),
            Self::Replicas(new) => Some(Self::Replicas(Box::new(cluster.replicas(new.kind, namespace, name)?.clone()))),
            Self::Pod(_) | Self::Vmi(_) | Self::Migration(_) => None,
        }
    }

    /// Sets the namespace of the request if the object does not have one.
    pub(crate) fn put_into(&mut self, namespace: &Text<'a>) {
        let meta = match self {
            Self::Pod(pod) => {
                if pod.metadata.namespace.is_none() {
                    Arc::make_mut(pod).metadata.namespace = Some(namespace.clone());
                }
                return;
            }
            Self::VirtualMachine(vm) => &mut vm.metadata,
            Self::Replicas(replicas) => &mut replicas.vm.metadata,
            Self::Vmi(vmi) => &mut vmi.metadata,
            Self::Migration(vmim) => &mut vmim.metadata,
        };
        if meta.namespace.is_empty() {
            meta.namespace = namespace.to_string();
        }
    }

    /// Returns the subject; `None` if there is nothing to judge. Only messages need the authors of a pod's requirements
    /// and its guest's next start, which `Governed::new` adds.
    pub(crate) fn subject(&self, world: &World) -> Option<Prepared<'a>> {
        match self {
            Self::Pod(pod) => subject::without_restart(pod, &world.cluster),
            Self::VirtualMachine(vm) => Some(subject::of_vm(vm, &world.cluster)),
            Self::Replicas(replicas) => Some(replicas.prepared(&world.cluster)),
            Self::Vmi(vmi) => Some(subject::of_vmi(vmi, &world.cluster)),
            Self::Migration(vmim) => Some(subject::of_migration(vmim, &world.cluster)),
        }
    }

    /// Returns the least that the guests of this object ask for, if their instancetype or preference is not known;
    /// `None` if both are known. `keeps`: whether a guest keeps this CPU mode.
    pub(super) fn least(&self, cluster: &Cluster, keeps: impl Fn(&CpuMode) -> bool) -> Option<Prepared<'a>> {
        let vm = self.template()?;
        Some(subject::least(vm, cluster, keeps)?.prepared(|guest| match self {
            Self::Replicas(replicas) => replicas.judged_as(guest, cluster),
            _ => subject::of_guest(vm, guest, cluster),
        }))
    }

    pub(super) fn request_kind(&self) -> RequestKind {
        match self {
            Self::Pod(pod) if well_known::MIGRATION_UID.is_set(&pod.metadata.labels) => RequestKind::TargetPod,
            Self::Pod(_) => RequestKind::LauncherPod,
            Self::VirtualMachine(_) => RequestKind::VirtualMachine,
            Self::Replicas(_) => RequestKind::Replicas,
            Self::Vmi(_) => RequestKind::VirtualMachineInstance,
            Self::Migration(_) => RequestKind::Migration,
        }
    }

    /// Returns `metadata`; `None` for pods, whose metadata has another type.
    pub(crate) fn metadata(&self) -> Option<&Meta> {
        match self {
            Self::Pod(_) => None,
            Self::VirtualMachine(vm) => Some(&vm.metadata),
            Self::Replicas(replicas) => Some(&replicas.vm.metadata),
            Self::Vmi(vmi) => Some(&vmi.metadata),
            Self::Migration(vmim) => Some(&vmim.metadata),
        }
    }

    /// Returns the resource and the name of the object.
    pub(super) fn identity(&self) -> (Resource, String) {
        match self {
            Self::Pod(pod) => (Resource::Pods, pod.metadata.name.as_deref().unwrap_or_default().to_owned()),
            Self::VirtualMachine(vm) => (Resource::VirtualMachines, subject::name_of(&vm.metadata)),
            Self::Replicas(replicas) => (replicas.kind.resource(), subject::name_of(&replicas.vm.metadata)),
            Self::Vmi(vmi) => (Resource::Vmis, subject::name_of(&vmi.metadata)),
            Self::Migration(vmim) => (Resource::Migrations, vmim.metadata.name.clone()),
        }
    }

    /// Returns the VirtualMachine that is judged: the object itself, or the one that represents the guests of
    /// a replica set or pool.
    pub(crate) fn template(&self) -> Option<&VirtualMachine> {
        match self {
            Self::VirtualMachine(vm) => Some(vm),
            Self::Replicas(replicas) => Some(&replicas.vm),
            Self::Pod(_) | Self::Vmi(_) | Self::Migration(_) => None,
        }
    }

    /// Returns why the object that has the guest's labels is too large to be read whole; `None` if it is not.
    pub(super) fn excess<'m>(&'m self, world: &'m World) -> Option<&'m Excess> {
        match self {
            Self::Pod(pod) => pod.metadata.excess.as_ref(),
            Self::Migration(vmim) => {
                world.cluster.vmi(&vmim.metadata.namespace, &vmim.spec.vmi_name)?.metadata.excess.as_ref()
            }
            _ => self.metadata()?.excess.as_ref(),
        }
    }

    /// Returns the labels by which policies select the guest: those of its VMI.
    pub(super) fn labels(&self, world: &World) -> BTreeMap<String, String> {
        let texts = |labels: &Texts<'_>| labels.0.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        match self {
            Self::Pod(pod) => texts(&pod.metadata.labels),
            Self::VirtualMachine(vm) => vm.spec.template.metadata.labels.clone(),
            Self::Replicas(replicas) => replicas.vm.spec.template.metadata.labels.clone(),
            Self::Vmi(vmi) => vmi.metadata.labels.clone(),
            Self::Migration(vmim) => world
                .cluster
                .vmi(&vmim.metadata.namespace, &vmim.spec.vmi_name)
                .map(|vmi| vmi.metadata.labels.clone())
                .unwrap_or_default(),
        }
    }
}

impl EachText for Manifest<'_> {
    fn each_text(&self, field: &'static str, visit: &mut dyn FnMut(&'static str, &str)) {
        match self {
            Self::Pod(pod) => pod.each_text(field, visit),
            Self::VirtualMachine(vm) => vm.each_text(field, visit),
            Self::Replicas(replicas) => replicas.vm.each_text(field, visit),
            Self::Vmi(vmi) => vmi.each_text(field, visit),
            Self::Migration(vmim) => vmim.each_text(field, visit),
        }
    }
}
