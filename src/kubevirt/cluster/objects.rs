//! The kinds of objects that a cluster holds by name, in one table: their type, and how they are read, put, removed and
//! listed.

use std::borrow::Borrow as _;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::Launcher;
use crate::fit::node::Node;
use crate::kubevirt::replicas::{Replicas, ReplicasKind};
use crate::kubevirt::resource::Resource;
use crate::kubevirt::revision::Revision;
use crate::kubevirt::wire::{
    self, Claim, DataSource, DataVolume, Instancetype, KubeVirt, Meta, MetaOnly, PersistentVolume, Preference, Reader,
    VirtualMachine, Vmi, Vmim,
};

/// Namespace (empty for cluster-wide kinds) and name.
pub type ObjectName = (String, String);

/// The objects of a kind.
pub(super) type Objects<T> = Arc<BTreeMap<ObjectName, Arc<T>>>;

/// Defines [`ClusterObject`] and [`Kept`]. A row is a variant with its content, the field that keeps it, the type of
/// the field's objects, and their resources.
macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident($content:ty), $field:ident: $object:ty, $($resource:ident)|+;)+) => {
        /// An object that judgements depend on.
        #[derive(Clone, Debug)]
        pub enum ClusterObject {
            /// A Node.
            Node(Node),
            /// A launcher pod.
            Launcher(Launcher),
            /// The KubeVirt custom resource.
            KubeVirt(Box<KubeVirt>),
            /// A replica set or a pool.
            Replicas(Box<Replicas>),
            /// A ControllerRevision that holds an instancetype or a preference.
            Revision(Revision),
            $($(#[$doc])* $variant($content),)+
        }

        impl ClusterObject {
            /// Reads an object of a kind that judgements depend on; `None` for all other kinds.
            ///
            /// # Errors
            ///
            /// An error of `reader`: the object is malformed or too large.
            pub fn read<'a, R: Reader<'a>>(group: &str, kind: &str, reader: &R) -> Result<Option<Self>, R::Error> {
                let Some(resource) = Resource::of(group, kind) else { return Ok(None) };
                Ok(Some(match resource {
                    Resource::Nodes => Self::Node(reader.read::<wire::Node>()?.into()),
                    Resource::Pods => return Ok(super::launcher(&reader.read()?).map(Self::Launcher)),
                    Resource::KubeVirts => Self::KubeVirt(Box::new(reader.read()?)),
                    Resource::ReplicaSets => {
                        Self::Replicas(Box::new(Replicas::read(ReplicasKind::ReplicaSet, reader)?))
                    }
                    Resource::Pools => Self::Replicas(Box::new(Replicas::read(ReplicasKind::Pool, reader)?)),
                    Resource::Revisions => return Ok(Revision::read(reader.read()?).map(Self::Revision)),
                    // Policies are kept elsewhere, budgets in `room`.
                    Resource::Policies | Resource::Budgets => return Ok(None),
                    $($(Resource::$resource)|+ => Self::$variant(<$content>::from(reader.read::<$object>()?)),)+
                }))
            }
        }

        /// The objects that are kept by name.
        #[derive(Clone, Debug, Default)]
        pub(super) struct Kept {
            pub(super) replica_sets: Objects<Replicas>,
            pub(super) pools: Objects<Replicas>,
            pub(super) revisions: Objects<Revision>,
            $(pub(super) $field: Objects<$object>,)+
        }

        impl Kept {
            /// Adds an object, or replaces the one with its name. Returns whether that changes anything; it does not
            /// for the objects that [`Cluster`](super::Cluster) keeps in another way.
            pub(super) fn put(&mut self, object: ClusterObject) -> bool {
                match object {
                    ClusterObject::Node(_) | ClusterObject::Launcher(_) | ClusterObject::KubeVirt(_) => false,
                    ClusterObject::Replicas(found) => {
                        let kept = match found.kind {
                            ReplicasKind::ReplicaSet => &mut self.replica_sets,
                            ReplicasKind::Pool => &mut self.pools,
                        };
                        put(kept, key(&found.vm.metadata), &*found)
                    }
                    ClusterObject::Revision(found) => put(&mut self.revisions, key(&found.metadata), &found),
                    $(ClusterObject::$variant(found) => {
                        let found: &$object = found.borrow();
                        put(&mut self.$field, key(&found.metadata), found)
                    })+
                }
            }

            /// Removes an object. Returns whether it existed.
            pub(super) fn remove(&mut self, resource: Resource, name: &ObjectName) -> bool {
                match resource {
                    Resource::Nodes
                    | Resource::Pods
                    | Resource::KubeVirts
                    | Resource::Policies
                    | Resource::Budgets => false,
                    Resource::ReplicaSets => remove(&mut self.replica_sets, name),
                    Resource::Pools => remove(&mut self.pools, name),
                    Resource::Revisions => remove(&mut self.revisions, name),
                    $($(Resource::$resource)|+ => remove(&mut self.$field, name),)+
                }
            }

            /// Returns the names of a resource's objects.
            pub(super) fn names(&self, resource: Resource) -> Vec<ObjectName> {
                match resource {
                    Resource::Nodes
                    | Resource::Pods
                    | Resource::KubeVirts
                    | Resource::Policies
                    | Resource::Budgets => Vec::new(),
                    Resource::ReplicaSets => self.replica_sets.keys().cloned().collect(),
                    Resource::Pools => self.pools.keys().cloned().collect(),
                    Resource::Revisions => self.revisions.keys().cloned().collect(),
                    $($(Resource::$resource)|+ => {
                        // Namespaced and cluster-wide objects of two resources are kept together.
                        let is_shared = [$(Resource::$resource),+].len() > 1;
                        let is_its = |name: &&ObjectName| !is_shared || name.0.is_empty() != resource.is_namespaced();
                        self.$field.keys().filter(is_its).cloned().collect()
                    })+
                }
            }
        }
    };
}

kinds! {
    /// A VirtualMachine.
    VirtualMachine(Box<VirtualMachine>), vms: VirtualMachine, VirtualMachines;
    /// A VirtualMachineInstance.
    Vmi(Box<Vmi>), vmis: Vmi, Vmis;
    /// A VirtualMachineInstanceMigration.
    Migration(Box<Vmim>), migrations: Vmim, Migrations;
    /// A Namespace.
    Namespace(MetaOnly), namespaces: MetaOnly, Namespaces;
    /// An instancetype.
    Instancetype(Instancetype), instancetypes: Instancetype, Instancetypes | ClusterInstancetypes;
    /// A preference.
    Preference(Preference), preferences: Preference, Preferences | ClusterPreferences;
    /// A DataSource.
    DataSource(DataSource), data_sources: DataSource, DataSources;
    /// A PersistentVolumeClaim.
    Claim(Claim), claims: Claim, Claims;
    /// A PersistentVolume.
    Volume(PersistentVolume), volumes: PersistentVolume, Volumes;
    /// A DataVolume.
    DataVolume(DataVolume), data_volumes: DataVolume, DataVolumes;
    /// A `VolumeSnapshot`.
    VolumeSnapshot(MetaOnly), volume_snapshots: MetaOnly, VolumeSnapshots;
}

pub(super) fn key(meta: &Meta) -> ObjectName {
    (meta.namespace.clone(), meta.name.clone())
}

pub(super) fn get<'k, T>(kept: &'k Objects<T>, namespace: &str, name: &str) -> Option<&'k T> {
    kept.get(&(namespace.to_owned(), name.to_owned())).map(AsRef::as_ref)
}

fn put<T: Clone + PartialEq>(kept: &mut Objects<T>, name: ObjectName, object: &T) -> bool {
    if kept.get(&name).is_some_and(|known| **known == *object) {
        return false;
    }
    // Lists and maps that grew while they were read have unused capacity, often more than they hold. A copy has only
    // what it needs.
    Arc::make_mut(kept).insert(name, Arc::new(object.clone()));
    true
}

fn remove<T>(kept: &mut Objects<T>, name: &ObjectName) -> bool {
    kept.contains_key(name) && Arc::make_mut(kept).remove(name).is_some()
}
