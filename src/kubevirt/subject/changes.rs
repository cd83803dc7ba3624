//! Settings of a guest that a user could change and in whose support nodes differ, with the start after each change.
//!
//! Each change is applied to the VirtualMachine, and the resulting guest is rendered again: a preference may add a
//! dropped feature again, and a Hyper-V setting affects others.

use std::collections::BTreeSet;

use super::refused::Written;
use super::{NO_ORIGINS, last_failure, start_of};
use crate::fit::author::{Author, TypeReference};
use crate::fit::label::{self, Family};
use crate::fit::subject::{
    CpuMode, ListedFeature, Pinned, PinnedTo, Refresh, Setting, SettingChange, SettingSet, Stage, Start, Subject,
};
use crate::kubevirt::authors::Source;
use crate::kubevirt::cluster::Cluster;
use crate::kubevirt::defaults::is_on;
use crate::kubevirt::feature_gate::FeatureGate;
use crate::kubevirt::guest::{Guest, guest_of};
use crate::kubevirt::launch;
use crate::kubevirt::setting::{Setting as From, SettingOrigin};
use crate::kubevirt::wire::{AnyAffinity, Cpu, FeatureState, Hyperv, StatusRef, VirtualMachine, Vmi, VmiSpec, Vmim};

/// Maximum number of features that are tried one by one.
const MAX_FEATURES_TRIED: usize = 4;
/// Maximum number of sets of changes that are tried, of each size.
const MAX_SETS_TRIED: usize = 16;

/// Maximum number of conditions of the node affinity, their values and entries of the node selector in all tried
/// guests, as rendered, together: each is rendered with its own. With up to 90 of them every change and set is tried.
const MAX_CONDITIONS_TRIED: usize = 4096;

/// The changes of a guest, and sets of them.
#[derive(Default)]
pub(super) struct Changes {
    pub single: Vec<SettingChange<'static>>,
    pub combined: Vec<SettingSet<'static>>,
    pub refreshes: Vec<Refresh<'static>>,
}

impl Changes {
    pub(super) fn into_subject(self, subject: &mut Subject<'_>) {
        (subject.changes, subject.combined) = (self.single, self.combined);
        subject.refreshes = self.refreshes;
    }
}

/// Notes the entries of `spec.addedNodeSelector` that the guest's own node selector overrides, and that come back if it
/// no longer has the key. What KubeVirt itself selects by the key overrides both.
pub(super) fn override_added(subject: &mut Subject<'_>, vmim: &Vmim, cluster: &Cluster) {
    if !cluster.release.release().has_added_node_selector() {
        return;
    }
    let is_own = |key: &str| subject.is_own(key) && subject.value_without_own(key).is_none();
    let added = vmim.spec.added_node_selector.iter().filter(|(key, _)| is_own(key));
    let overridden: Vec<(String, String)> = added.map(|(key, value)| (key.clone(), value.clone())).collect();
    if let Stage::Migration(migration) = &mut subject.stage {
        migration.overridden = overridden;
    }
}

/// Returns the changes of a guest that its VirtualMachine can make.
pub(super) fn of_vm(vm: &VirtualMachine, guest: &Guest, cluster: &Cluster) -> Changes {
    // No changes are returned if settings are not known.
    if guest.missing.is_some() || guest.excess.is_some() || cluster.config.excess.is_some() {
        return Changes::default();
    }
    let refused = refused_by_libvirt(vm, cluster);
    let own = own_settings(&vm.spec.template.spec, &refused, cluster).into_iter().map(|setting| (setting, None));
    let others = set_elsewhere(vm, guest, &refused, cluster).into_iter().map(|(setting, named)| (setting, Some(named)));
    let of_affinity = guest.spec.affinity.as_ref().map_or(0, AnyAffinity::conditions);
    let conditions = of_affinity + guest.spec.node_selector.len() + launch::added_conditions(&guest.spec);
    let most = MAX_CONDITIONS_TRIED / (1 + conditions);
    let is_kept = |setting: &Setting| !(matches!(setting, Setting::Model(_)) && model_of_policy(guest).is_some());
    let changes: Vec<SettingChange<'static>> = own
        .chain(others)
        .filter(|(setting, _)| is_kept(setting))
        .take(most)
        .filter_map(|(setting, set_by)| {
            let start = changed(vm, guest, &[(&setting, set_by.is_some())], cluster)?;
            Some(SettingChange { setting, set_by, start, ends_refusal: false })
        })
        .collect();
    let combined = combined(vm, guest, &changes, most - changes.len(), cluster);
    let changes = changes.into_iter().chain(ending_a_refusal(vm, guest, cluster)).collect();
    let refreshes = refreshes(vm, guest, cluster).take(most).collect();
    Changes { single: changes, combined, refreshes }
}

/// Returns the starts of a VM without its references to older copies of its instancetype and preference: without each,
/// and without both.
fn refreshes<'c>(
    vm: &'c VirtualMachine,
    guest: &'c Guest,
    cluster: &'c Cluster,
) -> impl Iterator<Item = Refresh<'static>> + use<'c> {
    let known = guest.older.iter().zip([&guest.instancetype, &guest.preference]);
    let known = known.zip([PinnedTo::Instancetype, PinnedTo::Preference]);
    let pinned = known.filter_map(|((older, matcher), of)| {
        let (older, name) = (older.as_ref().filter(|older| older.is_live_known)?, matcher.as_ref()?.name.clone());
        Some(Pinned { of, name, in_spec: older.in_spec, in_status: older.in_status })
    });
    let pinned: Vec<Pinned> = pinned.collect();
    let both = (pinned.len() > 1).then(|| pinned.clone());
    let sets = pinned.into_iter().map(|one| vec![one]).chain(both);
    sets.filter_map(|pinned| {
        let mut vm = vm.clone();
        for Pinned { of, .. } in &pinned {
            let (matcher, status) = match of {
                PinnedTo::Instancetype => (&mut vm.spec.instancetype, &mut vm.status.instancetype_ref),
                PinnedTo::Preference => (&mut vm.spec.preference, &mut vm.status.preference_ref),
            };
            if let Some(matcher) = matcher {
                matcher.revision_name.clear();
            }
            // Without it the stored VM's would count.
            *status = Some(StatusRef::default());
        }
        let again = guest_of(&vm, cluster);
        let is_known = again.missing.is_none() && !again.is_guess && again.excess.is_none();
        if !is_known || is_refused(&vm, &again, cluster) {
            return None;
        }
        let mut spec = again.spec;
        // A policy sets its model again.
        if let Some(model) = model_of_policy(guest) {
            model.clone_into(&mut spec.domain.cpu.get_or_insert_default().model);
        }
        Some(Refresh { pinned, start: start_of(spec, cluster)? })
    })
}

/// Whether KubeVirt refuses this VM.
pub(super) fn is_refused(vm: &VirtualMachine, guest: &Guest, cluster: &Cluster) -> bool {
    let has_type = guest.instancetype.is_some();
    let own = &vm.spec.template.spec;
    let (origins, excess) = (&guest.origins, guest.excess.as_ref());
    let written = Written { own, whole: &guest.spec, root: "", has_type, origins, excess };
    super::is_refused(&guest.notes) || !written.refusals(&cluster.config, cluster.release.release()).is_empty()
}

/// Returns the changes of the VM's own specification each of which alone ends its refusal.
fn ending_a_refusal(vm: &VirtualMachine, guest: &Guest, cluster: &Cluster) -> Vec<SettingChange<'static>> {
    let own = &vm.spec.template.spec;
    if model_of_policy(guest).is_some() || !is_refused(vm, guest, cluster) {
        return Vec::new();
    }
    let cpu = own.domain.cpu.as_ref();
    let model = cpu.map(|cpu| cpu.model.clone()).filter(|model| !model.is_empty());
    let has = |is: fn(&Cpu) -> bool| cpu.is_some_and(is);
    // A setting that is switched off, which others require, comes before those.
    let hyperv = own.domain.features.hyperv.iter().flat_map(Hyperv::settings);
    let settings = hyperv.filter_map(|(name, state)| Some((state.as_ref()?.enabled != Some(false), name)));
    let mut settings: Vec<(bool, &'static str)> = settings.collect();
    settings.sort_by_key(|(is_on, _)| *is_on);
    let machine = own.domain.machine.as_ref().map(|machine| machine.kind.clone()).filter(|kind| !kind.is_empty());
    let settings = settings.into_iter().map(|(_, name)| Some(Setting::HyperV(name)));
    let candidates = [
        model.map(Setting::Model),
        machine.map(Setting::MachineType),
        has(|cpu| cpu.numa.is_some()).then_some(Setting::Numa),
        has(|cpu| cpu.realtime.is_some()).then_some(Setting::Realtime),
        (!own.node_selector.is_empty()).then_some(Setting::NodeSelector),
        own.affinity.is_some().then_some(Setting::NodeAffinity),
        has(|cpu| cpu.dedicated_cpu_placement).then_some(Setting::DedicatedCpus),
    ];
    let ends = |setting: Setting| {
        let mut vm = vm.clone();
        change(&mut vm.spec.template.spec, &setting);
        let guest = guest_of(&vm, cluster);
        let start = start_of(guest.spec.clone(), cluster).filter(|_| !is_refused(&vm, &guest, cluster))?;
        Some(SettingChange { setting, set_by: None, start, ends_refusal: true })
    };
    settings.chain(candidates).flatten().filter_map(ends).collect()
}

/// Returns the CPU model that a policy sets for the guest; `None` if none does.
fn model_of_policy(guest: &Guest) -> Option<&str> {
    let is_set = guest.origins.iter().any(|(_, origin)| matches!(origin, SettingOrigin::Policy(_)));
    guest.spec.domain.cpu.as_ref().filter(|_| is_set).map(|cpu| cpu.model.as_str())
}

/// Returns the start of the guest with these changes, each with whether a type has the setting; `None` if KubeVirt
/// refuses it then.
fn changed(
    vm: &VirtualMachine,
    guest: &Guest,
    settings: &[(&Setting, bool)],
    cluster: &Cluster,
) -> Option<Start<'static>> {
    let mut own: Vec<&Setting> = settings.iter().filter(|(_, by_type)| !by_type).map(|(setting, _)| *setting).collect();
    let mut spec = if own.is_empty() {
        guest.spec.clone()
    } else {
        let mut vm = vm.clone();
        // A feature that is forbidden is known by its place, which moves where another is taken out.
        own.sort_by_key(|setting| !matches!(setting, Setting::Forbidden(_)));
        for setting in own {
            change(&mut vm.spec.template.spec, setting);
        }
        let mut spec = guest_of(&vm, cluster).spec;
        // A policy sets its model again.
        if let Some(model) = model_of_policy(guest) {
            model.clone_into(&mut spec.domain.cpu.get_or_insert_default().model);
        }
        spec
    };
    for (setting, _) in settings.iter().filter(|(_, by_type)| *by_type) {
        let setting = placed(setting, &spec);
        change(&mut spec, &setting);
    }
    start_unless_refused(spec, guest, cluster)
}

/// Returns the start of a guest with this specification, made of a VM with the `guest`'s types; `None` if KubeVirt
/// refuses it.
fn start_unless_refused(spec: VmiSpec, guest: &Guest, cluster: &Cluster) -> Option<Start<'static>> {
    let written = Written { own: &spec, whole: &spec, root: "", has_type: false, origins: &NO_ORIGINS, excess: None };
    let is_refused =
        super::is_refused(&guest.notes) || !written.refusals(&cluster.config, cluster.release.release()).is_empty();
    if is_refused { None } else { start_of(spec, cluster) }
}

/// A setting with its features by their places in a specification, those left out that it does not have.
fn placed(setting: &Setting, spec: &VmiSpec) -> Setting {
    let at = |listed: &ListedFeature| {
        let features = &spec.domain.cpu.as_ref()?.features;
        let at = features.iter().position(|feature| feature.name == listed.name)?;
        Some(ListedFeature { at, name: listed.name.clone() })
    };
    match setting {
        Setting::Features(features) => Setting::Features(features.iter().filter_map(at).collect()),
        Setting::Forbidden(features) => Setting::Forbidden(features.iter().filter_map(at).collect()),
        setting => setting.clone(),
    }
}

/// Sets of two and of three changes, at most `most`. Features of one list are dropped by one change.
fn combined(
    vm: &VirtualMachine,
    guest: &Guest,
    changes: &[SettingChange<'static>],
    most: usize,
    cluster: &Cluster,
) -> Vec<SettingSet<'static>> {
    let is_of_list = |at: &usize| changes[*at].set_by.is_none() && matches!(changes[*at].setting, Setting::Features(_));
    let has_one_list = |of: &Vec<usize>| of.iter().filter(|at| is_of_list(at)).count() < 2;
    // Three settings of different kinds, of one type, which is replaced as a whole, or of Hyper-V, where nodes with one
    // kernel often lack several.
    let is_likely = |of: &Vec<usize>| {
        let kind = |at: &usize| std::mem::discriminant(&changes[*at].setting);
        let is_hyperv = |at: &usize| matches!(changes[*at].setting, Setting::HyperV(_));
        let is_twice = |other: &usize, at: &usize| kind(other) == kind(at) && !is_hyperv(at);
        let is_of_type = of.iter().all(|at| changes[*at].set_by.is_some());
        is_of_type || of.iter().enumerate().all(|(place, at)| !of[..place].iter().any(|other| is_twice(other, at)))
    };
    let count = changes.len();
    let pairs = move || (0..count).flat_map(move |one| (one + 1..count).map(move |two| (one, two)));
    let twos = pairs().map(|(one, two)| vec![one, two]);
    let threes = pairs().flat_map(move |(one, two)| (two + 1..count).map(move |three| vec![one, two, three]));
    let twos = twos.filter(has_one_list).take(MAX_SETS_TRIED);
    let threes = threes.filter(has_one_list).filter(is_likely).take(MAX_SETS_TRIED);
    twos.chain(threes)
        .take(most)
        .filter_map(|of| {
            let settings: Vec<_> = of.iter().map(|at| (&changes[*at].setting, changes[*at].set_by.is_some())).collect();
            Some(SettingSet { start: changed(vm, guest, &settings, cluster)?, of })
        })
        .collect()
}

/// Returns the changes of a guest that has a VMI: those of its VirtualMachine if one owns it, else those of its own
/// specification.
pub(super) fn of_vmi(vmi: &Vmi, vm: Option<&VirtualMachine>, cluster: &Cluster) -> Changes {
    if let Some(vm) = vm {
        return of_vm(vm, &guest_of(vm, cluster), cluster);
    }
    if !vmi.metadata.owner_references.is_empty() {
        return Changes::default();
    }
    let mut alone = VirtualMachine::default();
    alone.metadata.clone_from(&vmi.metadata);
    alone.spec.template.spec.clone_from(&vmi.spec);
    of_vm(&alone, &guest_of(&alone, cluster), cluster)
}

/// Whether some node lacks a label, so that requiring it excludes nodes.
fn is_scarce(cluster: &Cluster, key: &str) -> bool {
    cluster.fleet.bearing(key, "true").count() < cluster.fleet.len()
}

fn cpu_manager(cluster: &Cluster) -> &'static str {
    if cluster.release.release().renamed_cpumanager() { label::CPU_MANAGER } else { label::CPU_MANAGER_OLD }
}

/// Whether some node lacks a feature. `invtsc` requires a TSC frequency as well.
fn is_scarce_feature(cluster: &Cluster, name: &str) -> bool {
    is_scarce(cluster, &format!("{}{name}", label::CPU_FEATURE)) || (name == "invtsc" && is_scarce_frequency(cluster))
}

/// Whether some node lacks a TSC frequency that others offer, or no node offers one.
fn is_scarce_frequency(cluster: &Cluster) -> bool {
    let bearers = cluster.fleet.bearers(Family::SchedulingTsc);
    bearers.is_empty() || bearers.values().any(|nodes| nodes.count() < cluster.fleet.len())
}

/// Whether some node lacks a requirement of a Hyper-V setting. EVMCS requires vmx and an Intel CPU.
fn is_scarce_setting(cluster: &Cluster, name: &str) -> bool {
    match name {
        "evmcs" => is_scarce_feature(cluster, "vmx") || is_scarce(cluster, &format!("{}Intel", label::CPU_VENDOR)),
        "vapic" => false,
        "reenlightenment" if is_scarce_frequency(cluster) => true,
        name => {
            cluster.config.gate(FeatureGate::HypervStrictCheck)
                && is_scarce(cluster, &format!("{}{name}", label::HYPERV))
        }
    }
}

/// Returns the CPU features that libvirt names where it refuses the running guest, now or at its last migration,
/// whatever the labels of nodes are.
fn refused_by_libvirt(vm: &VirtualMachine, cluster: &Cluster) -> BTreeSet<String> {
    let (namespace, name) = (&vm.metadata.namespace, &vm.metadata.name);
    let Some(vmi) = cluster.vmi(namespace, name) else { return BTreeSet::new() };
    let mut out: BTreeSet<String> = last_failure(vmi).into_iter().flat_map(|failed| failed.missing).collect();
    if let Some(asked) = cluster.asked(namespace, name) {
        for why in asked.nodes.keys().filter_map(|node| asked.refusal(node)) {
            out.extend(why.missing.iter().cloned().chain(why.provided_forbidden().map(str::to_owned)));
        }
    }
    out
}

/// Whether a feature that is listed with this policy keeps the guest off some node: by labels if it is required, and
/// with any policy that gives it to the guest if libvirt `refused` the guest for it.
fn is_in_the_way(policy: &str, name: &str, refused: &BTreeSet<String>, cluster: &Cluster) -> bool {
    match policy {
        "" | "require" => refused.contains(name) || is_scarce_feature(cluster, name),
        "force" | "optional" => refused.contains(name),
        _ => false,
    }
}

/// Returns the settings of a specification that some node does not support, the smallest changes first.
fn own_settings(spec: &VmiSpec, refused: &BTreeSet<String>, cluster: &Cluster) -> Vec<Setting> {
    let mut out = Vec::new();
    let hyperv = spec.domain.features.hyperv.iter().flat_map(Hyperv::settings);
    // A setting without a value is on by default.
    let is_set = |name: &str, state: Option<&FeatureState>| {
        state.is_some_and(|state| state.enabled != Some(false)) && is_scarce_setting(cluster, name)
    };
    out.extend(hyperv.filter(|(name, state)| is_set(name, state.as_ref())).map(|(name, _)| Setting::HyperV(name)));
    if let Some(cpu) = &spec.domain.cpu {
        let listed = |is: &dyn Fn(&str, &str) -> bool| -> Vec<ListedFeature> {
            let features = cpu.features.iter().enumerate();
            let found = features.filter(|(_, feature)| is(&feature.policy, &feature.name));
            found.map(|(at, feature)| ListedFeature { at, name: feature.name.clone() }).collect()
        };
        let required = listed(&|policy, name| is_in_the_way(policy, name, refused, cluster));
        let mut names: Vec<&str> = required.iter().map(|feature| feature.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        if names.len() > 1 {
            let only = |wanted: &[&str]| {
                let is_wanted = |feature: &&ListedFeature| wanted.contains(&feature.name.as_str());
                Setting::Features(required.iter().filter(is_wanted).cloned().collect())
            };
            let each = || names.iter().take(MAX_FEATURES_TRIED);
            out.extend(each().map(|name| only(&[*name])));
            if names.len() > 2 {
                let both = |one: usize| each().skip(one + 1).map(move |other| (one, *other));
                out.extend(
                    (0..MAX_FEATURES_TRIED.min(names.len()))
                        .flat_map(both)
                        .map(|(one, other)| only(&[names[one], other])),
                );
            }
        }
        out.extend((!required.is_empty()).then(|| Setting::Features(required.clone())));
        let is_there = |name: &str| cluster.fleet.values(&format!("{}{name}", label::CPU_FEATURE)).next().is_some();
        let forbidden = listed(&|policy, name| policy == "forbid" && (refused.contains(name) || is_there(name)));
        out.extend((!forbidden.is_empty()).then_some(Setting::Forbidden(forbidden)));
        let is_dedicated = cpu.dedicated_cpu_placement && is_scarce(cluster, cpu_manager(cluster));
        out.extend(is_dedicated.then_some(Setting::DedicatedCpus));
        // No node of arm64 has the label of a model, so no other model helps.
        let is_of_arm = match spec.architecture.as_str() {
            "" => cluster.config.default_architecture() == "arm64",
            own => own == "arm64",
        };
        let is_named = matches!(CpuMode::parse(&cpu.model), CpuMode::Named(_));
        out.extend((is_of_arm && is_named).then(|| Setting::Model(cpu.model.clone())));
    }
    out
}

/// Returns the settings of an instancetype or a preference that some node does not support.
fn set_elsewhere(
    vm: &VirtualMachine,
    guest: &Guest,
    refused: &BTreeSet<String>,
    cluster: &Cluster,
) -> Vec<(Setting, TypeReference)> {
    let source = Source::vm(vm, &guest.origins, guest);
    let cpu = guest.spec.domain.cpu.as_ref();
    let found = guest.origins.iter().filter_map(|(from, _)| {
        let (Author::Instancetype(set_by) | Author::Preference(set_by)) = source.author(from) else { return None };
        let setting = match from {
            From::Model => {
                let model = cpu.map(|cpu| cpu.model.clone())?;
                let key = format!("{}{model}", label::CPU_MODEL);
                let is_named = !matches!(model.as_str(), "" | "host-model" | "host-passthrough");
                (is_named && is_scarce(cluster, &key)).then_some(Setting::Model(model))
            }
            From::MachineType => {
                let name = guest.spec.domain.machine.as_ref()?.kind.clone();
                is_scarce(cluster, &format!("{}{name}", label::MACHINE_TYPE)).then_some(Setting::MachineType(name))
            }
            From::DedicatedCpus => is_scarce(cluster, cpu_manager(cluster)).then_some(Setting::DedicatedCpus),
            From::NodeSelector => {
                let mut entries = guest.spec.node_selector.iter();
                let is_scarce =
                    |(key, value): (&String, &String)| cluster.fleet.bearing(key, value).count() < cluster.fleet.len();
                entries.any(is_scarce).then_some(Setting::NodeSelector)
            }
            From::HyperV(name) => {
                let hyperv = guest.spec.domain.features.hyperv.as_ref()?;
                let state = hyperv.settings().into_iter().find(|(known, _)| known == name)?.1;
                let is_set = state.as_ref().is_some_and(|state| state.enabled.is_none() || is_on(Some(state)));
                (is_set && is_scarce_setting(cluster, name)).then_some(Setting::HyperV(name))
            }
            From::Feature(name) => {
                let at = cpu?.features.iter().position(|feature| feature.name == *name)?;
                let listed = vec![ListedFeature { at, name: name.clone() }];
                match cpu?.features[at].policy.as_str() {
                    "forbid" => Some(Setting::Forbidden(listed)),
                    policy => is_in_the_way(policy, name, refused, cluster).then_some(Setting::Features(listed)),
                }
            }
            _ => None,
        };
        Some((setting?, set_by))
    });
    found.collect()
}

/// Applies a change to a specification.
fn change(spec: &mut VmiSpec, setting: &Setting) {
    let cpu = spec.domain.cpu.get_or_insert_default();
    match setting {
        Setting::Features(features) => {
            let is_dropped = |at: usize| features.iter().any(|dropped| dropped.at == at);
            let kept = std::mem::take(&mut cpu.features).into_iter().enumerate();
            cpu.features = kept.filter(|(at, _)| !is_dropped(*at)).map(|(_, feature)| feature).collect();
        }
        Setting::Forbidden(features) => {
            for listed in features {
                if let Some(feature) = cpu.features.get_mut(listed.at) {
                    "disable".clone_into(&mut feature.policy);
                }
            }
        }
        Setting::Model(_) => cpu.model.clear(),
        Setting::MachineType(_) => spec.domain.machine = None,
        Setting::DedicatedCpus => {
            *cpu = Cpu {
                model: std::mem::take(&mut cpu.model),
                features: std::mem::take(&mut cpu.features),
                ..Cpu::default()
            };
        }
        Setting::HyperV(name) => {
            let hyperv = spec.domain.features.hyperv.iter_mut().flat_map(Hyperv::settings_mut);
            hyperv.filter(|(known, _)| known == name).for_each(|(_, state)| *state = None);
        }
        Setting::Numa => cpu.numa = None,
        Setting::Realtime => cpu.realtime = None,
        Setting::NodeSelector => spec.node_selector.clear(),
        Setting::NodeAffinity => {
            if let Some(affinity) = &mut spec.affinity {
                affinity.remove_required_nodes();
            }
        }
    }
}
