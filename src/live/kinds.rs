//! Watched kinds and the kept part of their objects: only what judgements depend on.

use kube::core::ApiResource;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::bounds::{Bounded, Excess, Measured};
use crate::fit::subject::PendingChange;
use crate::kubevirt::cluster::{ClusterObject, ObjectName};
use crate::kubevirt::resource::Resource;
use crate::kubevirt::wire::{Cpu, Domain, JsonText, LIVE_MIGRATABLE, Meta, RESTART_REQUIRED, VmiSpec};
use crate::policy::Policy;
use crate::well_known;

impl Resource {
    /// Returns the client library's description of the resource.
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

    /// Returns the label selector for the objects that are read; `None` means all.
    #[must_use]
    pub fn selector(self) -> Option<&'static str> {
        match self {
            Self::Pods => Some("kubevirt.io=virt-launcher"),
            // Only revisions of instancetypes and preferences have this label; those of other controllers, and of
            // VirtualMachines at their start, do not.
            Self::Revisions => Some(well_known::REVISION_OF.key),
            _ => None,
        }
    }
}

/// A `CPUPolicy` in the cluster.
#[derive(Clone, Debug)]
pub struct Registered {
    /// `metadata`.
    pub metadata: Meta,
    /// The policy, or why it is invalid.
    pub policy: Result<Policy, String>,
    /// `status`, unchanged.
    pub status: serde_json::Value,
}

/// The kept part of an object.
#[derive(Clone, Debug)]
pub enum Projected {
    /// An object that judgements depend on.
    Object(Box<ClusterObject>),
    /// A policy.
    Policy(Box<Registered>),
    /// An object without effect: a pod that has ended.
    Nothing,
}

/// Reads the kept part of an object.
///
/// # Errors
///
/// A field does not have the type that its kind requires.
pub fn project(resource: Resource, json: &str) -> Result<Projected, serde_json::Error> {
    if resource == Resource::Policies {
        return registered(json).map(|registered| Projected::Policy(Box::new(registered)));
    }
    let object = ClusterObject::read(resource.group(), resource.kind(), &JsonText(json))?;
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

/// Reduces a guest that is too large to judge to the fields that are still needed, such as its CPU model.
fn forget(spec: &mut VmiSpec) {
    let model = spec.domain.cpu.take().map(|cpu| Cpu { model: cpu.model, ..Cpu::default() });
    *spec = VmiSpec {
        architecture: std::mem::take(&mut spec.architecture),
        domain: Domain { cpu: model, ..Domain::default() },
        eviction_strategy: std::mem::take(&mut spec.eviction_strategy),
        ..VmiSpec::default()
    };
}

/// Removes the fields that only other programs read: annotations are often larger than the rest.
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
            // Read from dumps only: here every VMI is known.
            vm.status.printable_status.clear();
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
            // Other conditions change with the guest agent, and do not affect judgements.
            vmi.status.conditions.retain(|condition| {
                condition.kind == LIVE_MIGRATABLE
                    || PendingChange::ALL.iter().any(|change| condition.kind == change.condition())
            });
        }
        ClusterObject::Migration(vmim) => own(&mut vmim.metadata),
        ClusterObject::KubeVirt(kubevirt) => own(&mut kubevirt.metadata),
        ClusterObject::Namespace(namespace) => own(&mut namespace.metadata),
        // The generation distinguishes a revision from the object's current version.
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

/// An object of a list or a watch, reduced while it is parsed, so that the whole object is never held.
#[derive(Clone, Debug)]
pub struct ProjectedObject {
    meta: kube::core::ObjectMeta,
    text: Box<RawValue>,
}

impl ProjectedObject {
    /// Returns the namespace and name.
    #[must_use]
    pub fn name(&self) -> ObjectName {
        (self.meta.namespace.clone().unwrap_or_default(), self.meta.name.clone().unwrap_or_default())
    }

    /// Returns the object's JSON as received.
    #[must_use]
    pub fn json(&self) -> &str {
        self.text.get()
    }
}

impl<'de> Deserialize<'de> for ProjectedObject {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// The part of an object that the client library reads.
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
