//! Which kinds are watched, and what is kept of an object: no more than guests are judged by.

use std::fmt;

use kube::core::ApiResource;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::bounds::{Bounded, Excess, Measured};
use crate::kubevirt::cluster::{Kind, Name, Object};
use crate::kubevirt::replicas::ReplicasKind;
use crate::kubevirt::wire::{Cpu, Domain, LIVE_MIGRATABLE, Meta, Reader, VmiSpec};
use crate::policy::Policy;
use crate::well_known;

/// A resource that is watched, in all namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Watched {
    /// Nodes.
    Nodes,
    /// Namespaces.
    Namespaces,
    /// Pods, launchers only.
    Pods,
    /// `VirtualMachine`s.
    VirtualMachines,
    /// `VirtualMachineInstanceReplicaSet`s.
    ReplicaSets,
    /// `VirtualMachinePool`s.
    Pools,
    /// `VirtualMachineInstance`s.
    Vmis,
    /// `VirtualMachineInstanceMigration`s.
    Migrations,
    /// The KubeVirt custom resource.
    KubeVirts,
    /// `CPUPolicy` objects.
    Policies,
    /// Instancetypes of a namespace.
    Instancetypes,
    /// Instancetypes of the cluster.
    ClusterInstancetypes,
    /// Preferences of a namespace.
    Preferences,
    /// Preferences of the cluster.
    ClusterPreferences,
    /// `ControllerRevision`s, those of instancetypes and preferences only.
    Revisions,
    /// `DataSource`s of CDI.
    DataSources,
}

impl Watched {
    /// All.
    pub const ALL: [Self; 16] = [
        Self::Nodes,
        Self::Namespaces,
        Self::Pods,
        Self::VirtualMachines,
        Self::ReplicaSets,
        Self::Pools,
        Self::Vmis,
        Self::Migrations,
        Self::KubeVirts,
        Self::Policies,
        Self::Instancetypes,
        Self::ClusterInstancetypes,
        Self::Preferences,
        Self::ClusterPreferences,
        Self::Revisions,
        Self::DataSources,
    ];

    /// Group, version, kind and plural.
    const fn names(self) -> (&'static str, &'static str, &'static str, &'static str) {
        const KUBEVIRT: &str = "kubevirt.io";
        const TYPES: &str = "instancetype.kubevirt.io";
        match self {
            Self::Nodes => ("", "v1", "Node", "nodes"),
            Self::Namespaces => ("", "v1", "Namespace", "namespaces"),
            Self::Pods => ("", "v1", "Pod", "pods"),
            Self::VirtualMachines => (KUBEVIRT, "v1", "VirtualMachine", "virtualmachines"),
            Self::ReplicaSets => (KUBEVIRT, "v1", ReplicasKind::ReplicaSet.kind(), "virtualmachineinstancereplicasets"),
            // The version that every release with pools serves; 1.9 serves v1beta1 as well, of the same shape.
            Self::Pools => (ReplicasKind::Pool.group(), "v1alpha1", ReplicasKind::Pool.kind(), "virtualmachinepools"),
            Self::Vmis => (KUBEVIRT, "v1", "VirtualMachineInstance", "virtualmachineinstances"),
            Self::Migrations => (KUBEVIRT, "v1", "VirtualMachineInstanceMigration", "virtualmachineinstancemigrations"),
            Self::KubeVirts => (KUBEVIRT, "v1", "KubeVirt", "kubevirts"),
            Self::Policies => ("cpufit.io", "v1alpha1", "CPUPolicy", "cpupolicies"),
            Self::Instancetypes => (TYPES, "v1beta1", "VirtualMachineInstancetype", "virtualmachineinstancetypes"),
            Self::ClusterInstancetypes => {
                (TYPES, "v1beta1", "VirtualMachineClusterInstancetype", "virtualmachineclusterinstancetypes")
            }
            Self::Preferences => (TYPES, "v1beta1", "VirtualMachinePreference", "virtualmachinepreferences"),
            Self::ClusterPreferences => {
                (TYPES, "v1beta1", "VirtualMachineClusterPreference", "virtualmachineclusterpreferences")
            }
            Self::Revisions => ("apps", "v1", "ControllerRevision", "controllerrevisions"),
            Self::DataSources => ("cdi.kubevirt.io", "v1beta1", "DataSource", "datasources"),
        }
    }

    /// The plural name, by which people know it.
    #[must_use]
    pub const fn plural(self) -> &'static str {
        self.names().3
    }

    /// What the client library must know.
    #[must_use]
    pub fn api(self) -> ApiResource {
        let (group, version, kind, plural) = self.names();
        let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
        ApiResource {
            group: group.to_owned(),
            version: version.to_owned(),
            api_version,
            kind: kind.to_owned(),
            plural: plural.to_owned(),
        }
    }

    /// Whether guests can be judged without it, less exactly.
    #[must_use]
    pub fn is_dispensable(self) -> bool {
        match self {
            Self::Nodes | Self::Pods | Self::VirtualMachines | Self::Vmis | Self::Migrations => false,
            Self::Namespaces
            | Self::ReplicaSets
            | Self::Pools
            | Self::KubeVirts
            | Self::Policies
            | Self::Instancetypes
            | Self::ClusterInstancetypes
            | Self::Preferences
            | Self::ClusterPreferences
            | Self::Revisions
            | Self::DataSources => true,
        }
    }

    /// Whether its objects are in namespaces.
    #[must_use]
    pub fn is_namespaced(self) -> bool {
        !matches!(
            self,
            Self::Nodes | Self::Namespaces | Self::Policies | Self::ClusterInstancetypes | Self::ClusterPreferences
        )
    }

    /// Whether the objects that a guest is judged by are in the guest's own namespace.
    #[must_use]
    pub fn is_of_guests(self) -> bool {
        // KubeVirt's configuration is in its own namespace, and a guest may boot from a DataSource of any.
        self.is_namespaced() && !matches!(self, Self::KubeVirts | Self::DataSources)
    }

    /// Which of them are read, by their labels.
    #[must_use]
    pub fn selector(self) -> Option<&'static str> {
        match self {
            Self::Pods => Some("kubevirt.io=virt-launcher"),
            // There is the label: those of other controllers, and of VirtualMachines at their start, are left out.
            Self::Revisions => Some(well_known::REVISION_OF.key),
            _ => None,
        }
    }

    /// The resource whose list or watch in all namespaces has this path.
    #[must_use]
    pub fn of_path(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|watched| {
            let (group, version, _, plural) = watched.names();
            let rest = if group.is_empty() { path.strip_prefix("/api/") } else { path.strip_prefix("/apis/") };
            let rest =
                rest.and_then(
                    |rest| if group.is_empty() { Some(rest) } else { rest.strip_prefix(group)?.strip_prefix('/') },
                );
            rest.and_then(|rest| rest.strip_prefix(version)?.strip_prefix('/')) == Some(plural)
        })
    }

    /// Where it is kept; nodes and policies are kept elsewhere.
    #[must_use]
    pub fn kept_as(self) -> Option<Kind> {
        Some(match self {
            Self::Nodes | Self::Policies => return None,
            Self::Namespaces => Kind::Namespace,
            Self::Pods => Kind::Launcher,
            Self::VirtualMachines => Kind::VirtualMachine,
            Self::ReplicaSets => Kind::Replicas(ReplicasKind::ReplicaSet),
            Self::Pools => Kind::Replicas(ReplicasKind::Pool),
            Self::Vmis => Kind::Vmi,
            Self::Migrations => Kind::Migration,
            Self::KubeVirts => Kind::KubeVirt,
            Self::Instancetypes | Self::ClusterInstancetypes => Kind::Instancetype,
            Self::Preferences | Self::ClusterPreferences => Kind::Preference,
            Self::Revisions => Kind::Revision,
            Self::DataSources => Kind::DataSource,
        })
    }
}

impl fmt::Display for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.plural())
    }
}

/// A `CPUPolicy` as the cluster holds it.
#[derive(Clone, Debug)]
pub struct Registered {
    /// `metadata`.
    pub metadata: Meta,
    /// The policy, or what is wrong with it.
    pub policy: Result<Policy, String>,
    /// `status`, as it stands there.
    pub status: serde_json::Value,
}

/// What is kept of an object.
#[derive(Clone, Debug)]
pub enum Projected {
    /// Something that guests are judged by.
    Object(Box<Object>),
    /// A policy.
    Policy(Box<Registered>),
    /// It bears on nothing: a pod that is finished.
    Nothing,
}

/// An object's text.
pub(super) struct Text<'a>(pub &'a str);

impl<'a> Reader<'a> for Text<'a> {
    type Error = serde_json::Error;

    fn read<T: Deserialize<'a> + Measured>(&self) -> Result<T, Self::Error> {
        serde_json::from_str(self.0).map(|Bounded(object)| object)
    }
}

/// Reads of an object what is kept of it.
///
/// # Errors
///
/// A field is not what the kind says.
pub fn project(watched: Watched, json: &str) -> Result<Projected, serde_json::Error> {
    if watched == Watched::Policies {
        return registered(json).map(|registered| Projected::Policy(Box::new(registered)));
    }
    let (group, _, kind, _) = watched.names();
    let object = Object::read(group, kind, &Text(json))?;
    Ok(object.map_or(Projected::Nothing, |object| Projected::Object(Box::new(slim(object)))))
}

fn registered(json: &str) -> Result<Registered, serde_json::Error> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Whole {
        metadata: Meta,
        status: serde_json::Value,
    }
    impl Measured for Whole {
        fn mark(&mut self, excess: Excess) {
            self.metadata.excess = Some(excess);
        }
    }
    let Bounded(Whole { metadata, status }) = serde_json::from_str(json)?;
    Ok(Registered { metadata, policy: Policy::from_json(json).map_err(|error| error.to_string()), status })
}

/// Of a guest that is too large to judge no more is kept than that, and its CPU model.
fn forget(spec: &mut VmiSpec) {
    let model = spec.domain.cpu.take().map(|cpu| Cpu { model: cpu.model, ..Cpu::default() });
    *spec = VmiSpec {
        architecture: std::mem::take(&mut spec.architecture),
        domain: Domain { cpu: model, ..Domain::default() },
        eviction_strategy: std::mem::take(&mut spec.eviction_strategy),
        ..VmiSpec::default()
    };
}

/// Without what only other programs read: annotations are often larger than all the rest.
fn slim(mut object: Object) -> Object {
    let versioned = |meta: &mut Meta| {
        meta.annotations.retain(|key, _| well_known::is_read_annotation(key));
        meta.resource_version.clear();
    };
    let own = |meta: &mut Meta| {
        versioned(meta);
        meta.generation = 0;
    };
    match &mut object {
        Object::Node(_) | Object::Launcher(_) => {}
        Object::VirtualMachine(vm) => {
            if vm.metadata.excess.is_some() {
                forget(&mut vm.spec.template.spec);
            }
            own(&mut vm.metadata);
            own(&mut vm.spec.template.metadata);
        }
        Object::Replicas(replicas) => {
            if replicas.vm.metadata.excess.is_some() {
                forget(&mut replicas.vm.spec.template.spec);
            }
            own(&mut replicas.vm.metadata);
            own(&mut replicas.vm.spec.template.metadata);
        }
        Object::Vmi(vmi) => {
            if vmi.metadata.excess.is_some() {
                forget(&mut vmi.spec);
            }
            own(&mut vmi.metadata);
            // The others come and go with the guest's agent, and judge nothing.
            vmi.status.conditions.retain(|condition| condition.kind == LIVE_MIGRATABLE);
        }
        Object::Migration(vmim) => own(&mut vmim.metadata),
        Object::KubeVirt(kubevirt) => own(&mut kubevirt.metadata),
        Object::Namespace(namespace) => own(&mut namespace.metadata),
        // Its generation distinguishes a revision from the object of today.
        Object::Instancetype(found) => versioned(&mut found.metadata),
        Object::Preference(found) => versioned(&mut found.metadata),
        Object::Revision(found) => own(&mut found.metadata),
        Object::DataSource(found) => own(&mut found.metadata),
        Object::Claim(found) => own(&mut found.metadata),
        Object::Volume(found) => own(&mut found.metadata),
    }
    object
}

/// An object of a list or a watch, projected at once: nothing else of it is ever held.
#[derive(Clone, Debug)]
pub struct Seen {
    meta: kube::core::ObjectMeta,
    text: Box<RawValue>,
}

impl Seen {
    /// Namespace and name.
    #[must_use]
    pub fn name(&self) -> Name {
        (self.meta.namespace.clone().unwrap_or_default(), self.meta.name.clone().unwrap_or_default())
    }

    /// The object as it came.
    #[must_use]
    pub fn json(&self) -> &str {
        self.text.get()
    }
}

impl<'de> Deserialize<'de> for Seen {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// The part of an object that the client library looks at.
        #[derive(Deserialize)]
        struct Head {
            metadata: HeadMeta,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct HeadMeta {
            name: Option<String>,
            namespace: Option<String>,
            resource_version: Option<String>,
        }
        let text = Box::<RawValue>::deserialize(deserializer)?;
        let Head { metadata } = serde_json::from_str(text.get()).map_err(serde::de::Error::custom)?;
        let meta = kube::core::ObjectMeta {
            name: metadata.name,
            namespace: metadata.namespace,
            resource_version: metadata.resource_version,
            ..kube::core::ObjectMeta::default()
        };
        Ok(Self { meta, text })
    }
}

impl kube::Resource for Seen {
    type DynamicType = ApiResource;
    type Scope = kube::core::DynamicResourceScope;

    fn kind(api: &ApiResource) -> std::borrow::Cow<'_, str> {
        api.kind.as_str().into()
    }

    fn group(api: &ApiResource) -> std::borrow::Cow<'_, str> {
        api.group.as_str().into()
    }

    fn version(api: &ApiResource) -> std::borrow::Cow<'_, str> {
        api.version.as_str().into()
    }

    fn plural(api: &ApiResource) -> std::borrow::Cow<'_, str> {
        api.plural.as_str().into()
    }

    fn meta(&self) -> &kube::core::ObjectMeta {
        &self.meta
    }

    fn meta_mut(&mut self) -> &mut kube::core::ObjectMeta {
        &mut self.meta
    }
}
