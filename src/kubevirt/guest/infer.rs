//! Inference of the instancetype and the preference from a volume. When a VirtualMachine is created, virt-api reads
//! them from the labels of the object that the volume is filled from.
//!
//! Mirrors `pkg/instancetype/infer` (`handler.go`, `volume.go`).

use std::borrow::Cow;

use super::not_known;
use crate::kubevirt::cluster::Cluster;
use crate::kubevirt::resource::Resource;
use crate::kubevirt::wire::{DataSourceRef, DataVolumeSpec, Matcher, Meta, ObjectSource, VirtualMachine};
use crate::well_known::{self, WellKnown};

/// The kind of object that is inferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Inferred {
    Instancetype,
    Preference,
}

impl Inferred {
    /// Returns the field of the VirtualMachine's `spec`.
    pub(super) fn field(self) -> &'static str {
        match self {
            Self::Instancetype => "instancetype",
            Self::Preference => "preference",
        }
    }

    /// Returns the labels that hold the name and the kind.
    fn labels(self) -> [WellKnown; 2] {
        match self {
            Self::Instancetype => [well_known::DEFAULT_INSTANCETYPE, well_known::DEFAULT_INSTANCETYPE_KIND],
            Self::Preference => [well_known::DEFAULT_PREFERENCE, well_known::DEFAULT_PREFERENCE_KIND],
        }
    }
}

/// A reason why nothing is inferred.
#[derive(Clone, Debug, PartialEq, Eq)]
enum NotInferred {
    /// The object is not known. `needed` names the resources that may hold it.
    Unknown { object: String, needed: &'static [Resource] },
    /// The object is too large to be read whole; the text says why.
    TooLarge(String),
    /// No label names an object. With the failure policy `Ignore`, the VirtualMachine is created without one
    /// (`IgnoreableInferenceError`).
    Unnamed(String),
    /// KubeVirt refuses the VirtualMachine, regardless of the failure policy.
    Refused(String),
}

/// Returns the reference after virt-api's inference; `None` if the VirtualMachine uses no such object.
///
/// # Errors
///
/// A sentence: an object is not known, or KubeVirt refuses the VirtualMachine.
pub(super) fn matcher<'v>(
    what: Inferred,
    matcher: &'v Matcher,
    vm: &VirtualMachine,
    cluster: &Cluster,
) -> Result<Option<Cow<'v, Matcher>>, String> {
    let volume = matcher.infer_from_volume.as_str();
    if volume.is_empty() {
        return Ok(Some(Cow::Borrowed(matcher)));
    }
    let is_ignored = matcher.infer_from_volume_failure_policy == "Ignore";
    let inference = format!("the {} is inferred from volume {volume}", what.field());
    match (VolumeSearch { what, vm, cluster }).by_volume(volume) {
        Ok((name, kind)) => Ok(Some(Cow::Owned(Matcher { name, kind, ..Matcher::default() }))),
        Err(NotInferred::Unnamed(_)) if is_ignored => Ok(None),
        Err(NotInferred::Unnamed(why) | NotInferred::Refused(why)) => {
            Err(format!("{inference}, and {why}: KubeVirt refuses the VM"))
        }
        Err(NotInferred::Unknown { object, needed }) => {
            let cure = not_known(cluster, needed);
            Err(format!("{inference}, by the labels of {object}, which is not known; {cure}"))
        }
        Err(NotInferred::TooLarge(why)) => Err(format!("{inference}, and {why}")),
    }
}

/// A search from a volume to the labels.
struct VolumeSearch<'v> {
    what: Inferred,
    vm: &'v VirtualMachine,
    cluster: &'v Cluster,
}

/// Name and kind, read from the labels.
type InferredName = Result<(String, String), NotInferred>;

impl VolumeSearch<'_> {
    /// Mirrors `fromVolumes`.
    fn by_volume(&self, name: &str) -> InferredName {
        let Some(volume) = self.vm.spec.template.spec.volumes.iter().find(|volume| volume.name == name) else {
            return Err(NotInferred::Refused("the VM has no volume of that name".to_owned()));
        };
        match (&volume.persistent_volume_claim, &volume.data_volume) {
            (Some(claim), _) => self.by_claim(&self.vm.metadata.namespace, &claim.claim_name),
            (None, Some(data_volume)) => self.by_data_volume(&data_volume.name),
            (None, None) => {
                Err(NotInferred::Unnamed("the volume is neither a PersistentVolumeClaim nor a DataVolume".to_owned()))
            }
        }
    }

    /// Mirrors `fromLabels`.
    fn by_labels(&self, metadata: &Meta, object: &str) -> InferredName {
        let [name, kind] = self.what.labels();
        if let Some(excess) = &metadata.excess {
            return Err(NotInferred::TooLarge(format!("{object} is too large to judge by: {excess}")));
        }
        match name.value(&metadata.labels) {
            Some("") => Err(NotInferred::Refused(format!("label {} of {object} is empty", name.key))),
            Some(found) => Ok((found.to_owned(), kind.value(&metadata.labels).unwrap_or_default().to_owned())),
            None => Err(NotInferred::Unnamed(format!("{object} has no label {}", name.key))),
        }
    }

    /// Infers from the labels, or, if they name nothing, from the source of the object's data.
    fn by_labels_or(&self, metadata: &Meta, object: &str, source: impl FnOnce() -> InferredName) -> InferredName {
        match self.by_labels(metadata, object) {
            Err(NotInferred::Unnamed(_)) => source(),
            found => found,
        }
    }

    /// Mirrors `fromPVC`.
    fn by_claim(&self, namespace: &str, name: &str) -> InferredName {
        let object = format!("PersistentVolumeClaim {namespace}/{name}");
        match self.cluster.claim(namespace, name) {
            Some(claim) => self.by_labels(&claim.metadata, &object),
            None => Err(NotInferred::Unknown { object, needed: &[Resource::Claims] }),
        }
    }

    /// Mirrors `fromVolumeSnapshot`.
    fn by_snapshot(&self, snapshot: &DataSourceRef) -> InferredName {
        let DataSourceRef { namespace, name } = snapshot;
        let object = format!("VolumeSnapshot {namespace}/{name}");
        match self.cluster.volume_snapshot(namespace, name) {
            Some(found) => self.by_labels(&found.metadata, &object),
            None => Err(NotInferred::Unknown { object, needed: &[Resource::VolumeSnapshots] }),
        }
    }

    /// Mirrors `fromDataVolume`.
    fn by_data_volume(&self, name: &str) -> InferredName {
        let namespace = &self.vm.metadata.namespace;
        let mut templates = self.vm.spec.data_volume_templates.iter();
        if let Some(template) = templates.find(|template| template.metadata.name == name) {
            return self.by_spec(&template.spec);
        }
        let object = format!("DataVolume {namespace}/{name}");
        match self.cluster.data_volume(namespace, name) {
            Some(found) => self.by_labels_or(&found.metadata, &object, || self.by_spec(&found.spec)),
            // CDI may delete a DataVolume once it is filled; the claim has the same name. If the dump has no
            // DataVolume, it is not known which of the two KubeVirt reads, unless the claim names an object.
            None => self
                .by_claim(namespace, name)
                .map_err(|_| NotInferred::Unknown { object, needed: &[Resource::DataVolumes, Resource::Claims] }),
        }
    }

    /// Mirrors `fromDataVolumeSpec`.
    fn by_spec(&self, spec: &DataVolumeSpec) -> InferredName {
        if let Some(found) = spec.source.as_ref().and_then(|source| self.by_source(source)) {
            return found;
        }
        let Some(source) = &spec.source_ref else {
            let why =
                "its DataVolume is filled from neither a PersistentVolumeClaim, nor a VolumeSnapshot, nor a DataSource";
            return Err(NotInferred::Unnamed(why.to_owned()));
        };
        if source.kind != Resource::DataSources.kind() {
            return Err(NotInferred::Unnamed(format!("kind {} of its sourceRef is not DataSource", source.kind)));
        }
        let own = &self.vm.metadata.namespace;
        let namespace = if source.namespace.is_empty() { own } else { &source.namespace };
        self.by_data_source(namespace, &source.name)
    }

    /// Mirrors `fromDataSource`.
    fn by_data_source(&self, namespace: &str, name: &str) -> InferredName {
        let object = format!("DataSource {namespace}/{name}");
        let Some(found) = self.cluster.data_source(namespace, name) else {
            return Err(NotInferred::Unknown { object, needed: &[Resource::DataSources] });
        };
        self.by_labels_or(&found.metadata, &object, || {
            let names_none = || format!("{object} names neither a PersistentVolumeClaim nor a VolumeSnapshot");
            self.by_source(&found.spec.source).unwrap_or_else(|| Err(NotInferred::Unnamed(names_none())))
        })
    }

    /// Infers from the labels of the object that a DataVolume or a DataSource names; `None` if it names none.
    fn by_source(&self, source: &ObjectSource) -> Option<InferredName> {
        match (&source.pvc, &source.snapshot) {
            (Some(claim), _) => Some(self.by_claim(&claim.namespace, &claim.name)),
            (None, Some(snapshot)) => Some(self.by_snapshot(snapshot)),
            (None, None) => None,
        }
    }
}
