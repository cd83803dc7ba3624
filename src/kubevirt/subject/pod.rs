//! Preparation of launcher pods: the guest, its stage and its CPU mode.

use std::sync::Arc;

use super::{
    Prepared, after_start, describe, describe_restart, either_mode, finding, mode, mode_of_vmi, of_running, of_vmi,
    restart, too_large,
};
use crate::fit::author::{AskedAt, Author};
use crate::fit::label::{self, Family};
use crate::fit::placement::{Affinity, Placement};
use crate::fit::subject::{CpuMode, Migration, Running, Stage, Subject};
use crate::fit::verdict::{Check, Finding};
use crate::kubevirt::cluster::{self, Cluster, Launcher};
use crate::kubevirt::launch;
use crate::kubevirt::migration;
use crate::kubevirt::placement;
use crate::kubevirt::wire::{Pod, Vmi, Vmim};
use crate::libvirt::facts::GuestStart;
use crate::well_known;

/// Prepares a launcher pod; `None` for any other pod. For the launcher that its guest runs in, as a dump or a
/// description shows it, the guest's migration is prepared: it has started already.
#[must_use]
pub fn of_pod<'a>(pod: &Pod<'a>, cluster: &Cluster) -> Option<Prepared<'a>> {
    let mut out = without_restart(pod, cluster)?;
    add_restart(&mut out.subject, pod, cluster);
    Some(out)
}

/// Sets the start after a restart of a launcher pod's guest. Costs a prediction, so callers use it only for requests
/// that get messages.
pub(crate) fn add_restart(subject: &mut Subject<'_>, pod: &Pod<'_>, cluster: &Cluster) {
    match vmi_of_pod(pod, cluster) {
        Some(vmi) => describe_restart(subject, vmi, cluster),
        None => subject.restart = restart::of_stranger(subject, cluster),
    }
}

/// Prepares a launcher pod without the start after a restart; `None` for any other pod.
pub(crate) fn without_restart<'a>(pod: &Pod<'a>, cluster: &Cluster) -> Option<Prepared<'a>> {
    if !cluster::is_launcher(pod) {
        return None;
    }
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let vmi = vmi_of_pod(pod, cluster);
    let owner = cluster::owner(pod);
    let name = owner.map(|owner| owner.name.as_str()).filter(|name| !name.is_empty());
    let name = name.or(pod.metadata.name.as_deref()).or(pod.metadata.generate_name.as_deref()).unwrap_or_default();

    let placement = placement::of_pod(pod);
    let running_on = placement.node_name.as_deref().filter(|node| !node.is_empty()).map(str::to_owned);
    let runs_here = |vmi: &&Vmi| running_on.as_ref() == Some(&vmi.status.node_name);
    if let Some(running) = vmi.filter(runs_here).and_then(|vmi| of_running(vmi, cluster)) {
        return Some(running);
    }
    let mode = vmi.map_or_else(|| mode_of(&placement, either_mode::shows_mode(pod, cluster)), mode_of_vmi);
    let is_target = well_known::MIGRATION_UID.is_set(&pod.metadata.labels);
    let stage = if is_target && running_on.is_none() {
        let source = vmi
            .map(|vmi| vmi.status.node_name.as_str())
            .filter(|node| !node.is_empty())
            .or_else(|| well_known::NODE_NAME.value(&pod.metadata.labels));
        let may_be_first = vmi.is_none() && source.is_some_and(|source| is_of_labels(&placement, source, cluster));
        Stage::Migration(Migration {
            source: source.map(str::to_owned),
            inherited: !may_be_first && is_inherited(vmi, cluster, &placement),
            may_be_first,
            ..Migration::default()
        })
    } else {
        Stage::Start(after_start(&placement, &mode, cluster))
    };
    let mut subject = Subject::new(namespace, name, stage, placement);
    subject.configured.withheld = Arc::clone(&cluster.withheld.models);
    subject.configured.list = cluster.config.list();
    subject.mode = mode;
    if let Some(vmi) = vmi {
        describe(&mut subject, vmi, cluster);
    } else {
        let uid = owner.map(|owner| owner.uid.as_str()).unwrap_or_default();
        let start = GuestStart { uid, ..GuestStart::default() };
        subject.asked = cluster.libvirt.of(namespace, name, start, &cluster.fleet);
    }
    if let Some(node) = running_on {
        subject.running = Some(Running { node, placement: Some(subject.placement.clone()) });
    }
    let not_judged = pod.metadata.excess.as_ref().map(too_large);
    let notes: Vec<Finding> = either_mode::note(&subject, cluster).into_iter().collect();
    let is_guess = !notes.is_empty();
    Some(Prepared { subject, predicted: None, not_judged, notes, is_guess, is_too_large: false })
}

/// Prepares a stored VMI that does not run: by its launcher, if that waits for a node. virt-controller never compares a
/// pod with the VMI, which may have changed since. One that has ended starts no more: mirrors `sync` of the
/// controller in `pkg/virt-controller/watch/vmi`, which creates no pod for a VMI that is `IsFinal`.
pub(crate) fn of_waiting(vmi: &Vmi, cluster: &Cluster) -> Prepared<'static> {
    let prepared = of_vmi(vmi, cluster);
    if migration::has_ended(vmi) {
        let words = format!("it has ended (its phase is {}): KubeVirt does not start it again", vmi.status.phase);
        return prepared.unless_refused(Some(finding(Check::NoPod, "", words)));
    }
    match unplaced(vmi, cluster).filter(|pod| *pod.placement != prepared.subject.placement) {
        Some(pod) => waiting(prepared, pod),
        None => prepared,
    }
}

/// Returns the launcher of a VMI that has not started, if it waits for a node.
pub(crate) fn unplaced<'c>(vmi: &Vmi, cluster: &'c Cluster) -> Option<&'c Launcher> {
    cluster.current_launcher(vmi).filter(|pod| pod.node.is_empty() && !pod.is_terminating)
}

/// Returns a predicted guest with the requirements of its launcher that waits for a node: kube-scheduler reads the pod,
/// and the guest, the configuration or the source's labels may have changed since.
pub(crate) fn waiting(mut prepared: Prepared<'static>, pod: &Launcher) -> Prepared<'static> {
    if !pod.node.is_empty() || prepared.not_judged.is_some() {
        return prepared;
    }
    if let Some(excess) = &pod.excess {
        return Prepared { not_judged: Some(too_large(excess)), ..prepared };
    }
    let subject = &mut prepared.subject;
    let (asked, own) = (std::mem::replace(&mut subject.placement, (*pod.placement).clone()), &*pod.placement);
    // The author of another requirement is not known, but for a start it is the pod itself.
    subject.authors.entries.retain(|key, _| asked.get(key) == own.get(key));
    if matches!(subject.stage, Stage::Start(_)) {
        let others = own.selector.iter().filter(|(key, value)| asked.get(key) != Some(&**value));
        let of_pod = AskedAt { author: Author::LauncherPod, field: String::new() };
        subject.authors.entries.extend(others.map(|(key, _)| (key.to_string(), of_pod.clone())));
    } else {
        // Entries that KubeVirt would not ask for, and that a migration does not copy.
        let is_copied = |key: &str| label::is_inherited(key) || Family::of(key) == Family::CpuVendor;
        let others = own.selector.iter().filter(|(key, _)| asked.get(key).is_none() && !is_copied(key));
        let added = AskedAt { author: Author::AddedNodeSelector, field: String::new() };
        subject.authors.entries.extend(others.map(|(key, _)| (key.to_string(), added.clone())));
        set_added(subject);
    }
    if own.affinity.is_none() {
        // A description of a pod does not show its affinity.
        subject.placement.affinity.clone_from(&asked.affinity);
    } else if asked.affinity != own.affinity {
        subject.authors.rules.clear();
        subject.authors.affinity = None;
    }
    if let Stage::Migration(migration) = &mut subject.stage {
        migration.new_target = Some(Box::new(asked));
    }
    prepared.predicted = None;
    prepared
}

/// Returns the VMI that owns a pod; `None` if it is not known, or has another UID. A pasted pod may have no UID.
pub(crate) fn vmi_of_pod<'c>(pod: &Pod<'_>, cluster: &'c Cluster) -> Option<&'c Vmi> {
    let owner = cluster::owner(pod)?;
    let vmi = cluster.vmi(pod.metadata.namespace.as_deref().unwrap_or_default(), &owner.name)?;
    (vmi.metadata.uid.is_empty() || owner.uid.is_empty() || vmi.metadata.uid == owner.uid).then_some(vmi)
}

/// The sources of the entries of a target pod that no start of its guest requires. Mirrors `createTargetPod` and
/// `prepareNodeSelectorForHostCpuModel` of `pkg/virt-controller/watch/migration/migration.go`: for a host-model guest
/// they are copied from its launcher, or, at its first migration, from the labels of its node; all others are those of
/// `addedNodeSelector`, under what is copied.
pub(super) struct OfMigration<'c> {
    cluster: &'c Cluster,
    node: &'c str,
    launcher: Option<&'c Launcher>,
    /// Its VirtualMachineInstanceMigration, if it is known.
    migration: Option<&'c Vmim>,
    /// Whether labels of its node may have been copied, as they were then.
    copies_labels: bool,
}

impl<'c> OfMigration<'c> {
    pub(super) fn of(pod: &Pod<'_>, vmi: &'c Vmi, launcher: Option<&'c Launcher>, cluster: &'c Cluster) -> Self {
        let uid = well_known::MIGRATION_UID.value(&pod.metadata.labels).unwrap_or_default();
        let name = well_known::MIGRATION_NAME.value(&pod.metadata.annotations);
        let is_its = |vmim: &&Vmim| match vmim.metadata.uid.as_str() {
            // A dump may lack UIDs.
            "" => name == Some(vmim.metadata.name.as_str()),
            known => known == uid,
        };
        let has_migrated = launcher
            .is_some_and(|launcher| launcher.placement.selector.iter().any(|(key, _)| label::is_inherited(key)));
        let is_host_model = !matches!(mode(&vmi.spec), CpuMode::Named(_) | CpuMode::HostPassthrough);
        Self {
            cluster,
            node: &vmi.status.node_name,
            launcher,
            migration: cluster.migrations_of(vmi).find(is_its),
            copies_labels: is_host_model && !has_migrated,
        }
    }

    /// Returns the author of an entry.
    pub(super) fn author(&self, key: &str, value: &str) -> Author {
        let added = self.migration.and_then(|vmim| vmim.spec.added_node_selector.get(key));
        let is_vendor = Family::of(key) == Family::CpuVendor;
        if label::is_inherited(key) && self.launcher.is_some_and(|launcher| launcher.placement.get(key).is_some()) {
            Author::Inherited
        } else if label::is_inherited(key) && self.copies_labels && (self.is_label(key) || added.is_none())
            || is_vendor && added.is_none_or(|added| added != value)
        {
            Author::SourceNode(self.node.to_owned())
        } else {
            Author::AddedNodeSelector
        }
    }

    /// Whether a label of its node gives this entry.
    fn is_label(&self, key: &str) -> bool {
        let family = match Family::of(key) {
            Family::CpuFeature => label::HOST_MODEL_REQUIRED,
            Family::CpuModelMigration => label::HOST_MODEL_CPU,
            _ => return false,
        };
        let fleet = &self.cluster.fleet;
        fleet.find(self.node).is_some_and(|node| fleet.label(node, &label::same_name_in(key, family)).is_some())
    }
}

/// Sets the entries of a target pod that `addedNodeSelector` of its migration asks for, by their authors.
pub(crate) fn set_added(subject: &mut Subject<'_>) {
    let is_added =
        |key: &str| subject.authors.of_entry(key).is_some_and(|asked| asked.author == Author::AddedNodeSelector);
    let entries = subject.placement.selector.iter().filter(|(key, _)| is_added(key));
    let mut added: Vec<(String, String)> = entries.map(|(key, value)| (key.to_string(), value.to_string())).collect();
    added.sort_unstable();
    if let Stage::Migration(migration) = &mut subject.stage {
        migration.added = added;
    }
}

/// Whether entries of a target pod were inherited: the guest's current launcher has entries that the guest itself does
/// not require.
fn is_inherited(vmi: Option<&Vmi>, cluster: &Cluster, target: &Placement<'_>) -> bool {
    match vmi.and_then(|vmi| Some((vmi, cluster.current_launcher(vmi)?))) {
        Some((vmi, source)) => {
            let mut entries = source.placement.selector.iter().filter(|(key, _)| label::is_inherited(key));
            entries.any(|(key, _)| !launch::asks(&vmi.spec, &cluster.config, key))
        }
        // The source is not known: a target pod with inheritable entries has inherited them.
        None => target.selector.iter().any(|(key, _)| label::is_inherited(key)),
    }
}

/// Whether the labels of a node give all entries of a target pod that may have been inherited, so that the first
/// migration of a guest there asks for them too.
fn is_of_labels(target: &Placement<'_>, source: &str, cluster: &Cluster) -> bool {
    let fleet = &cluster.fleet;
    let Some(source) = fleet.find(source) else { return false };
    let model = fleet.host_model_class(source).model.as_deref().unwrap_or_default();
    let is_label = |key: &str| model.iter().any(|(known, _)| known == key);
    let mut entries = target.selector.iter().map(|(key, _)| &**key).filter(|key| label::is_inherited(key)).peekable();
    entries.peek().is_some() && entries.all(is_label)
}

/// Derives the CPU mode of a pod whose VMI is not known from its requirements. `is_shown`: whether the affinity would
/// show host-model.
fn mode_of(placement: &Placement<'_>, is_shown: bool) -> CpuMode {
    let named = placement.selector.iter().find(|(key, _)| Family::of(key) == Family::CpuModel);
    if let Some((key, _)) = named {
        return CpuMode::Named(label::name(key).to_owned());
    }
    let avoids_obsolete = placement.affinity.as_ref().is_some_and(Affinity::avoids_obsolete_host_model);
    let host_model = |family| matches!(family, Family::CpuModelMigration | Family::HostModelCpu);
    if avoids_obsolete || placement.selector.iter().any(|(key, _)| host_model(Family::of(key))) {
        CpuMode::HostModel
    } else if is_shown {
        CpuMode::HostPassthrough
    } else {
        CpuMode::HostModelOrPassthrough
    }
}
