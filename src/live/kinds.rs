//! Which kinds are watched, and what is kept of an object: no more than guests are judged by.

use kube::core::ApiResource;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::bounds::{Bounded, Excess, Measured};
use crate::kubevirt::cluster::{ClusterObject, ObjectName};
use crate::kubevirt::resource::Resource;
use crate::kubevirt::wire::{Cpu, Domain, LIVE_MIGRATABLE, Meta, RESTART_REQUIRED, Reader, VmiSpec};
use crate::policy::Policy;
use crate::well_known;

impl Resource {
    /// What the client library must know of it.
    #[must_use]
    pub fn api(self) -> ApiResource {
        let names = self.names();
        ApiResource {
            group: names.group.to_owned(),
            version: names.versions.first().copied().unwrap_or_default().to_owned(),
            api_version: self.api_version(),
            kind: names.kind.to_owned(),
            plural: names.plural.to_owned(),
        }
    }

    /// Which of its objects are read, by their labels.
    #[must_use]
    pub fn selector(self) -> Option<&'static str> {
        match self {
            Self::Pods => Some("kubevirt.io=virt-launcher"),
            // There is the label: those of other controllers, and of VirtualMachines at their start, are left out.
            Self::Revisions => Some(well_known::REVISION_OF.key),
            _ => None,
        }
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
    Object(Box<ClusterObject>),
    /// A policy.
    Policy(Box<Registered>),
    /// It affects nothing: a pod that is finished.
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
pub fn project(resource: Resource, json: &str) -> Result<Projected, serde_json::Error> {
    if resource == Resource::Policies {
        return registered(json).map(|registered| Projected::Policy(Box::new(registered)));
    }
    let object = ClusterObject::read(resource.group(), resource.kind(), &Text(json))?;
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

/// Keeps of a guest that is too large to judge only this fact and its CPU model.
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
fn slim(mut object: ClusterObject) -> ClusterObject {
    let versioned = |meta: &mut Meta| {
        meta.annotations.retain(|key, _| well_known::is_read_annotation(key));
        meta.resource_version.clear();
    };
    let own = |meta: &mut Meta| {
        versioned(meta);
        meta.generation = 0;
    };
    match &mut object {
        ClusterObject::Node(_) | ClusterObject::Launcher(_) => {}
        ClusterObject::VirtualMachine(vm) => {
            if vm.metadata.excess.is_some() {
                forget(&mut vm.spec.template.spec);
            }
            own(&mut vm.metadata);
            own(&mut vm.spec.template.metadata);
            vm.status.conditions.retain(|condition| condition.kind == RESTART_REQUIRED);
        }
        ClusterObject::Replicas(replicas) => {
            if replicas.vm.metadata.excess.is_some() {
                forget(&mut replicas.vm.spec.template.spec);
            }
            own(&mut replicas.vm.metadata);
            own(&mut replicas.vm.spec.template.metadata);
        }
        ClusterObject::Vmi(vmi) => {
            if vmi.metadata.excess.is_some() {
                forget(&mut vmi.spec);
            }
            own(&mut vmi.metadata);
            // The others come and go with the guest's agent, and judge nothing.
            vmi.status.conditions.retain(|condition| condition.kind == LIVE_MIGRATABLE);
        }
        ClusterObject::Migration(vmim) => own(&mut vmim.metadata),
        ClusterObject::KubeVirt(kubevirt) => own(&mut kubevirt.metadata),
        ClusterObject::Namespace(namespace) => own(&mut namespace.metadata),
        // Its generation distinguishes a revision from the object of today.
        ClusterObject::Instancetype(found) => versioned(&mut found.metadata),
        ClusterObject::Preference(found) => versioned(&mut found.metadata),
        ClusterObject::Revision(found) => own(&mut found.metadata),
        ClusterObject::DataSource(found) => own(&mut found.metadata),
        ClusterObject::Claim(found) => own(&mut found.metadata),
        ClusterObject::Volume(found) => own(&mut found.metadata),
        ClusterObject::DataVolume(found) => own(&mut found.metadata),
        ClusterObject::VolumeSnapshot(found) => own(&mut found.metadata),
    }
    object
}

/// An object of a list or a watch, projected at once: nothing else of it is ever held.
#[derive(Clone, Debug)]
pub struct ProjectedObject {
    meta: kube::core::ObjectMeta,
    text: Box<RawValue>,
}

impl ProjectedObject {
    /// Namespace and name.
    #[must_use]
    pub fn name(&self) -> ObjectName {
        (self.meta.namespace.clone().unwrap_or_default(), self.meta.name.clone().unwrap_or_default())
    }

    /// The object as it came.
    #[must_use]
    pub fn json(&self) -> &str {
        self.text.get()
    }
}

impl<'de> Deserialize<'de> for ProjectedObject {
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

impl kube::Resource for ProjectedObject {
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
