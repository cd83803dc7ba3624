//! The evidence that a node's missing CPU labels give about its hardware.

use super::fleet::NodeIndex;
use super::judgement::Judgement;
use super::label::{self, Family};
use super::libvirt::{LibvirtAnswer, Provided};
use super::models;
use super::outcome::Evidence;
use super::subject::{CpuMode, Stage};

/// Whether only other silicon has this feature: it is an instruction set of a CPU model, and no setting hides it.
fn is_silicon(key: &str) -> bool {
    Family::of(key) == Family::CpuFeature && models::is_silicon(label::name(key))
}

/// Whether a node on which these models are usable has what this label states: one of the models needs the feature, or
/// is the model that the label calls known.
fn proves(usable: &[&str], key: &str) -> bool {
    let name = label::name(key);
    match Family::of(key) {
        Family::CpuFeature => usable.iter().any(|model| models::proves(model, name)),
        Family::CpuModelMigration => usable.contains(&name),
        _ => false,
    }
}

impl Judgement<'_, '_> {
    /// Returns the evidence that these missing entries give about the node's hardware, or libvirt's answer if
    /// it was asked.
    #[must_use]
    pub fn evidence(&self, node: NodeIndex, missing: &[(String, String)]) -> Evidence {
        let name = self.fleet.name(node);
        let answer = self.subject.asked().and_then(|asked| asked.answer(name));
        if answer.is_some_and(|answer| !answer.agrees()) {
            return Evidence::LibvirtRefuses;
        }
        let takes_cpu = answer.is_some_and(LibvirtAnswer::agrees);
        let provided: Vec<Provided> =
            self.subject.of_cpu(missing).map(|(key, _)| self.subject.provides(name, key)).collect();
        match (provided.iter().min(), takes_cpu) {
            (None, _) => Evidence::None,
            (Some(Provided::No), _) if provided.iter().all(|known| *known == Provided::No) => Evidence::LibvirtLacks,
            (Some(Provided::No), _) => Evidence::LibvirtLacksSome,
            (Some(Provided::Yes), true) => Evidence::LibvirtAgrees,
            (Some(Provided::Unknown), true) => match self.evidence_of_labels(node, missing) {
                likely @ (Evidence::Drifted | Evidence::SourceLacksToo) => likely,
                _ => Evidence::LibvirtTakesCpu,
            },
            (Some(_), false) => self.evidence_of_labels(node, missing),
        }
    }

    /// Returns the evidence that labels alone give.
    pub(super) fn evidence_of_labels(&self, node: NodeIndex, missing: &[(String, String)]) -> Evidence {
        // If the source has several vendor labels, KubeVirt selects an arbitrary one: a node without that
        // vendor label proves nothing.
        let by_chance = matches!(&self.subject.stage, Stage::Migration(migration) if migration.vendors.len() > 1);
        let is_of_cpu = |key: &str| {
            let family = Family::of(key);
            family.is_profile() && !(by_chance && family == Family::CpuVendor) && !self.subject.is_chosen(key)
        };
        let mut lacks: Vec<&(String, String)> = missing.iter().filter(|(key, _)| is_of_cpu(key)).collect();
        if lacks.is_empty() {
            return Evidence::None;
        }
        let source_lacks = |(key, value): &(String, String)| {
            self.source.is_some_and(|source| self.fleet.label(source, key) != Some(value))
        };
        if lacks.iter().all(|entry| source_lacks(entry)) {
            return Evidence::SourceLacksToo;
        }
        // The CPU is not what decides about Hyper-V labels.
        lacks.retain(|(key, _)| Family::of(key) != Family::Hyperv);
        if lacks.is_empty() {
            return Evidence::HypervOfKernel;
        }
        let host_model = |node| self.fleet.names_under(node, Family::HostModelCpu);
        // The labeller wrote no labels on the node, or only those of another release.
        if host_model(node).is_empty() {
            return Evidence::None;
        }
        let keys: Vec<&str> = lacks.iter().map(|(key, _)| key.as_str()).collect();
        let Some(source) = self.source else {
            return if self.is_without_nested(node, &keys) { Evidence::NestedOff } else { Evidence::None };
        };
        if host_model(source).is_empty() {
            return Evidence::None;
        }
        // Labels of a vendor stay on a node for ever.
        let is_of_another_vendor = keys.iter().any(|key| Family::of(key) == Family::CpuVendor)
            && !self.fleet.host_model_class(node).vendors.is_empty();
        let alike = host_model(node) == host_model(source) && !is_of_another_vendor;
        let frozen = self.fleet.skip_node(node).is_some();
        let source_frozen = self.fleet.skip_node(source).is_some();
        let usable = self.fleet.names_under(node, Family::CpuModel);
        let is_proved = |key: &str| proves(&usable, key);
        // A definition of a usable model has the feature, and another one may not.
        let is_named =
            |key: &str| usable.iter().any(|model| models::needed(model).any(|name| name == label::name(key)));
        let own_host_model_has = |key: &str| {
            let family = match Family::of(key) {
                Family::CpuFeature => label::HOST_MODEL_REQUIRED,
                Family::CpuModelMigration => label::HOST_MODEL_CPU,
                _ => return false,
            };
            self.fleet.label(node, &label::same_name_in(key, family)).is_some()
        };
        let has_drifted = |entry: &(String, String)| {
            let by_likes = || source_lacks(entry) || (frozen && !source_frozen) || own_host_model_has(&entry.0);
            is_proved(&entry.0) || (alike && by_likes())
        };
        if lacks.iter().all(|entry| has_drifted(entry)) {
            Evidence::Drifted
        } else if alike && source_frozen && keys.iter().all(|key| self.is_copied(source, key)) {
            Evidence::FrozenSource
        } else if alike && self.is_of_older_release(source, node) {
            Evidence::OlderLabels
        } else if self.is_without_nested(node, &keys) {
            Evidence::NestedOff
        } else if !alike || !frozen && keys.iter().any(|key| is_silicon(key) && !is_named(key)) {
            Evidence::OtherHardware
        } else if keys
            .iter()
            .all(|key| Family::of(key) == Family::CpuFeature && models::MICROCODE.contains(&label::name(key)))
        {
            Evidence::Microcode
        } else {
            Evidence::None
        }
    }

    /// Whether the migration copies an entry from the host-model labels of the guest's node.
    pub(super) fn is_copied(&self, source: NodeIndex, key: &str) -> bool {
        let Stage::Migration(migration) = &self.subject.stage else { return false };
        let family = match Family::of(key) {
            Family::CpuFeature => label::HOST_MODEL_REQUIRED,
            Family::CpuModelMigration => label::HOST_MODEL_CPU,
            _ => return false,
        };
        let is_first = migration.copies_labels() && !migration.adds(key);
        let is_label = self.fleet.label(source, &label::same_name_in(key, family)).is_some();
        is_first && is_label && self.subject.mode == CpuMode::HostModel
    }

    /// Whether KVM on a node offers no nested virtualization, likely: its vendor's CPUs have it, and nothing else is
    /// missing.
    fn is_without_nested(&self, node: NodeIndex, keys: &[&str]) -> bool {
        let [vendor] = self.fleet.host_model_class(node).vendors.as_slice() else { return false };
        let all_features = keys.iter().all(|key| Family::of(key) == Family::CpuFeature);
        let mut names = keys.iter().map(|key| label::name(key));
        let (vmx, svm) = (names.clone().any(|name| name == label::VMX), names.clone().any(|name| name == label::SVM));
        all_features
            && match label::name(vendor) {
                "Intel" => vmx && names.all(|name| name == label::VMX || name.starts_with("vmx-")),
                "AMD" | "Hygon" => svm && names.all(|name| models::NESTED_AMD.contains(&name)),
                _ => false,
            }
    }

    /// Whether a node's labels are those of an older KubeVirt than the source's: since 1.8.4 the features of the model
    /// itself are among the required ones, before only a few that libvirt leaves out of the model. Mirrors
    /// `cmd/virt-launcher/node-labeller/node-labeller.sh`, which asks libvirt to expand the host model.
    fn is_of_older_release(&self, source: NodeIndex, node: NodeIndex) -> bool {
        let models = self.fleet.names_under(source, Family::HostModelCpu);
        let [model] = models.as_slice() else { return false };
        let expanded = |node: NodeIndex| {
            models::is_expanded(model, |name| {
                self.fleet.label(node, &format!("{}{name}", label::HOST_MODEL_REQUIRED)).is_some()
            })
        };
        expanded(source) == Some(true) && expanded(node) == Some(false)
    }
}
