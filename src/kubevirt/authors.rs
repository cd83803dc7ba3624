//! Authors of a launcher's requirements: traces each requirement from the place where a setting is filled in to the
//! entry that follows from it.

use super::guest::{Guest, OlderCopy};
use super::launch::Rendered;
use super::resource::Resource;
use super::setting::{Setting, SettingOrigin};
use super::wire::{Matcher, VirtualMachine, Vmi, VmiSpec};
use crate::fit::author::{AskedAt, Author, Authors, Holder, TypeReference};

/// The field below `spec.configuration` whose entries all launchers select.
const CLUSTER_SELECTOR: &str = "developerConfiguration.nodeSelectors";

/// An object that holds a guest's specification.
pub(super) struct Source<'s> {
    holder: Holder,
    /// The specification as written in that object.
    spec: &'s VmiSpec,
    origins: &'s [(Setting, SettingOrigin)],
    instancetype: TypeReference,
    preference: TypeReference,
    /// The node that the guest runs on.
    node: &'s str,
    /// Whether the object's status holds the machine type that the guest was started with, which takes precedence.
    has_machine_in_status: bool,
}

impl<'s> Source<'s> {
    /// Returns the source for a VirtualMachine.
    pub(super) fn vm(vm: &'s VirtualMachine, origins: &'s [(Setting, SettingOrigin)], guest: &Guest) -> Self {
        let named = |matcher: Option<&Matcher>, older: Option<&OlderCopy>, cluster_wide: Resource| {
            matcher.map_or_else(TypeReference::default, |matcher| TypeReference {
                kind: if matcher.kind.is_empty() { cluster_wide.kind().to_owned() } else { matcher.kind.clone() },
                name: matcher.name.clone(),
                revision: older.map(|older| older.revision.as_str().into()).unwrap_or_default(),
                is_pinned: !matcher.revision_name.is_empty(),
                ..TypeReference::default()
            })
        };
        let [older_instancetype, older_preference] = guest.older.each_ref().map(Option::as_ref);
        Self {
            holder: Holder::VirtualMachine,
            spec: &vm.spec.template.spec,
            origins,
            instancetype: named(guest.instancetype.as_ref(), older_instancetype, Resource::ClusterInstancetypes),
            preference: named(guest.preference.as_ref(), older_preference, Resource::ClusterPreferences),
            node: "",
            has_machine_in_status: false,
        }
    }

    /// Returns the source for a VirtualMachineInstance.
    pub(super) fn vmi(vmi: &'s Vmi, origins: &'s [(Setting, SettingOrigin)]) -> Self {
        Self {
            holder: Holder::VirtualMachineInstance,
            spec: &vmi.spec,
            origins,
            instancetype: TypeReference::default(),
            preference: TypeReference::default(),
            node: &vmi.status.node_name,
            has_machine_in_status: vmi.status.machine.as_ref().is_some_and(|machine| !machine.kind.is_empty()),
        }
    }

    fn root(&self) -> &'static str {
        match self.holder {
            Holder::VirtualMachineInstance => "spec",
            _ => "spec.template.spec",
        }
    }

    /// Returns the path of the field that holds a setting; `None` if the object does not set it.
    fn path(&self, setting: &Setting) -> Option<String> {
        let spec = self.spec;
        let cpu = spec.domain.cpu.as_ref();
        let below = match setting {
            Setting::Architecture => (!spec.architecture.is_empty()).then(|| "architecture".to_owned()),
            Setting::NodeSelector => (!spec.node_selector.is_empty()).then(|| "nodeSelector".to_owned()),
            Setting::DedicatedCpus => {
                cpu.filter(|cpu| cpu.dedicated_cpu_placement).map(|_| "domain.cpu.dedicatedCpuPlacement".to_owned())
            }
            Setting::HyperV(name) => {
                let hyperv = spec.domain.features.hyperv.as_ref()?;
                let is_set = hyperv.settings().into_iter().any(|(known, state)| known == *name && state.is_some());
                is_set.then(|| format!("domain.features.hyperv.{name}"))
            }
            Setting::Model => cpu.filter(|cpu| !cpu.model.is_empty()).map(|_| "domain.cpu.model".to_owned()),
            Setting::Feature(name) | Setting::Forbidden(name) => {
                let is_forbidden = matches!(setting, Setting::Forbidden(_));
                let named = cpu?.features.iter().enumerate().filter(|(_, feature)| feature.name == *name);
                // A feature may be listed with both policies.
                let (at, _) = named.min_by_key(|(_, feature)| (feature.policy == "forbid") != is_forbidden)?;
                Some(format!("domain.cpu.features[{at}].name"))
            }
            // Launchers follow `machine_type` of `launch.rs`.
            Setting::MachineType if self.has_machine_in_status => return Some("status.machine.type".to_owned()),
            Setting::MachineType => {
                let machine = spec.domain.machine.as_ref().filter(|machine| !machine.kind.is_empty());
                machine.map(|_| "domain.machine.type".to_owned())
            }
            Setting::Realtime => cpu?.realtime.as_ref().map(|_| "domain.cpu.realtime".to_owned()),
            Setting::LaunchSecurity => spec.domain.launch_security.as_ref().map(|_| "domain.launchSecurity".to_owned()),
            Setting::KubeVirt
            | Setting::Receiver
            | Setting::ClusterSelector { .. }
            | Setting::Added
            | Setting::Inherited
            | Setting::SourceNode => None,
        };
        below.map(|below| format!("{}.{below}", self.root()))
    }

    /// Returns the author of a setting.
    pub(super) fn author(&self, setting: &Setting) -> Author {
        let is_filled = |filled: &Setting| match (filled, setting) {
            (Setting::Feature(filled), Setting::Forbidden(name)) => filled == name && self.path(setting).is_none(),
            (Setting::MachineType, _) if self.has_machine_in_status => false,
            (filled, setting) => filled == setting,
        };
        match self.origins.iter().rfind(|(filled, _)| is_filled(filled)).map(|(_, origin)| origin) {
            Some(SettingOrigin::Instancetype) => {
                Author::Instancetype(TypeReference { field: field(setting), ..self.instancetype.clone() })
            }
            Some(SettingOrigin::Preference) => {
                Author::Preference(TypeReference { field: preferred(setting), ..self.preference.clone() })
            }
            Some(SettingOrigin::DataSource(namespace, name)) => {
                Author::DataSource { namespace: namespace.clone(), name: name.clone() }
            }
            Some(SettingOrigin::Configuration(field)) => Author::Configuration(field),
            Some(SettingOrigin::HyperConverged(field)) => Author::HyperConverged(field),
            Some(SettingOrigin::BuiltIn(field)) => Author::BuiltIn(*field),
            Some(SettingOrigin::Status { field, by_hyperconverged }) => {
                Author::Status { field, by_hyperconverged: *by_hyperconverged }
            }
            Some(SettingOrigin::HyperV(name)) => {
                Author::HyperV { setting: name, author: Box::new(self.author(&Setting::HyperV(name))) }
            }
            Some(SettingOrigin::Policy(name)) => Author::Policy(name.clone()),
            None => match (self.path(setting), setting) {
                (Some(path), _) => Author::Field { of: self.holder, path },
                (None, Setting::ClusterSelector { by_hyperconverged: true }) => {
                    Author::HyperConverged(CLUSTER_SELECTOR)
                }
                (None, Setting::ClusterSelector { .. }) => Author::Configuration(CLUSTER_SELECTOR),
                (None, Setting::Receiver) => Author::Receiver,
                (None, Setting::Added) => Author::AddedNodeSelector,
                (None, Setting::Inherited) => Author::Inherited,
                (None, Setting::SourceNode) => Author::SourceNode(self.node.to_owned()),
                (None, _) => Author::KubeVirt,
            },
        }
    }

    /// Returns the path in this object that leads to an author.
    fn field(&self, author: &Author) -> String {
        match author {
            Author::Field { path, .. } => path.clone(),
            Author::Instancetype(_) => "spec.instancetype".to_owned(),
            Author::Preference(_) => "spec.preference".to_owned(),
            Author::DataSource { .. } => "spec.dataVolumeTemplates".to_owned(),
            Author::HyperV { author, .. } | Author::Forbid(author) | Author::HostModel(author) => self.field(author),
            Author::Configuration(_)
            | Author::HyperConverged(_)
            | Author::BuiltIn(_)
            | Author::Status { .. }
            | Author::Policy(_) => {
                format!("{}.domain", self.root())
            }
            Author::KubeVirt
            | Author::Receiver
            | Author::AddedNodeSelector
            | Author::SourceNode(_)
            | Author::Inherited
            | Author::LauncherPod => String::new(),
        }
    }

    fn asked(&self, setting: &Setting) -> AskedAt {
        let author = self.author(setting);
        AskedAt { field: self.field(&author), author }
    }

    /// Returns the author of a condition that KubeVirt derives from a setting.
    fn derived(&self, setting: &Setting) -> AskedAt {
        let AskedAt { author, field } = self.asked(setting);
        let author = match setting {
            Setting::Forbidden(_) => Author::Forbid(Box::new(author)),
            Setting::Model => Author::HostModel(Box::new(author)),
            _ => author,
        };
        AskedAt { author, field }
    }

    /// Returns the authors of a predicted launcher's requirements.
    pub(super) fn authors(&self, rendered: &Rendered) -> Authors {
        let affinity = self.spec.affinity.as_ref().map(|_| {
            let path = format!("{}.affinity", self.root());
            AskedAt { author: Author::Field { of: self.holder, path: path.clone() }, field: path }
        });
        Authors {
            entries: rendered.settings.iter().map(|(key, setting)| (key.clone(), self.asked(setting))).collect(),
            // If a feature is forbidden twice, the first counts.
            rules: rendered.rules.iter().rev().map(|(rule, setting)| (rule.clone(), self.derived(setting))).collect(),
            affinity,
            mode: Some(self.asked(&Setting::Model)),
        }
    }
}

/// Returns the field of an instancetype that a setting comes from.
fn field(setting: &Setting) -> &'static str {
    match setting {
        Setting::NodeSelector => "nodeSelector",
        Setting::DedicatedCpus => "cpu.dedicatedCPUPlacement",
        Setting::Realtime => "cpu.realtime",
        Setting::LaunchSecurity => "launchSecurity",
        _ => "cpu.model",
    }
}

/// Returns the field of a preference that a setting comes from.
fn preferred(setting: &Setting) -> &'static str {
    match setting {
        Setting::Architecture => "preferredArchitecture",
        Setting::MachineType => "machine.preferredMachineType",
        Setting::LaunchSecurity => "preferredLaunchSecurity",
        Setting::HyperV(_) => "features.preferredHyperv",
        _ => "cpu.preferredCPUFeatures",
    }
}

/// Replaces the authors of a guest by those of its VirtualMachine, which are more precise, where both have the same
/// entries.
///
/// `same_mode`: whether the VirtualMachine requires the guest's CPU mode.
pub(super) fn overlay(authors: &mut Authors, of_vm: &Authors, same_mode: bool) {
    let better = |known: &mut AskedAt, other: Option<&AskedAt>| {
        if let Some(other) = other
            && matches!(known.author, Author::Field { .. })
        {
            known.author = other.author.clone();
        }
    };
    for (key, asked) in &mut authors.entries {
        better(asked, of_vm.entries.get(key));
    }
    for (rule, asked) in &mut authors.rules {
        better(asked, of_vm.rules.get(rule));
    }
    if let Some(asked) = &mut authors.affinity {
        better(asked, of_vm.affinity.as_ref());
    }
    if let Some(asked) = authors.mode.as_mut().filter(|_| same_mode) {
        better(asked, of_vm.mode.as_ref());
    }
}

/// Changes the authors' fields to those of the replica set or pool for whose template a VirtualMachine stands.
pub(super) fn seen_from_replicas(authors: &mut Authors, holder: Holder, place: impl Fn(&str) -> String) {
    fn holds(author: &mut Author) -> Option<(&mut Holder, &mut String)> {
        match author {
            Author::Field { of, path } => Some((of, path)),
            Author::HyperV { author, .. } | Author::Forbid(author) | Author::HostModel(author) => holds(author),
            _ => None,
        }
    }
    let Authors { entries, rules, affinity, mode } = authors;
    let all = entries.values_mut().chain(rules.values_mut()).chain(affinity).chain(mode);
    for asked in all {
        asked.field = place(&asked.field);
        if let Some((of, path)) = holds(&mut asked.author) {
            *of = holder;
            *path = place(path);
        }
    }
}

/// Changes the authors' fields to those of a migration, which holds none of its guest's fields.
pub(super) fn seen_from_migration(authors: &mut Authors) {
    let Authors { entries, rules, affinity, mode } = authors;
    let all = entries.values_mut().chain(rules.values_mut()).chain(affinity).chain(mode);
    for asked in all {
        let field = if asked.author == Author::AddedNodeSelector { "spec.addedNodeSelector" } else { "spec.vmiName" };
        field.clone_into(&mut asked.field);
    }
}

#[cfg(test)]
mod tests;
