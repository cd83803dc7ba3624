//! Preparation of launcher pods: the guest, its stage and its CPU mode.

use std::sync::Arc;

use super::{Prepared, after_start, describe, describe_restart, either_mode, mode, of_running, restart, too_large};
use crate::fit::label::{self, Family};
use crate::fit::placement::{Affinity, Placement};
use crate::fit::subject::{CpuMode, Migration, Running, Stage, Subject};
use crate::fit::verdict::Finding;
use crate::kubevirt::cluster::{self, Cluster, Launcher};
use crate::kubevirt::launch;
use crate::kubevirt::placement;
use crate::kubevirt::wire::{Pod, Vmi};
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
    let mode = vmi.map_or_else(|| mode_of(&placement, either_mode::shows_mode(pod, cluster)), |vmi| mode(&vmi.spec));
    let is_target = well_known::MIGRATION_UID.is_set(&pod.metadata.labels);
    let stage = if is_target && running_on.is_none() {
        let source = vmi
            .map(|vmi| vmi.status.node_name.as_str())
            .filter(|node| !node.is_empty())
            .or_else(|| well_known::NODE_NAME.value(&pod.metadata.labels));
        Stage::Migration(Migration {
            source: source.map(str::to_owned),
            inherited: is_inherited(vmi, cluster, &placement),
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
        subject.asked = cluster.libvirt.of(namespace, name, "", &cluster.fleet);
    }
    if let Some(node) = running_on {
        subject.running = Some(Running { node, placement: subject.placement.clone() });
    }
    let not_judged = pod.metadata.excess.as_ref().map(too_large);
    let notes: Vec<Finding> = either_mode::note(&subject, cluster).into_iter().collect();
    let is_guess = !notes.is_empty();
    Some(Prepared { subject, predicted: None, not_judged, notes, is_guess })
}

/// Returns a predicted guest with the requirements of its launcher that waits for a node: kube-scheduler reads the pod,
/// and the guest, the configuration or the source's labels may have changed since.
pub(crate) fn waiting(mut judged: Prepared<'static>, pod: &Launcher) -> Prepared<'static> {
    if !pod.node.is_empty() || judged.not_judged.is_some() {
        return judged;
    }
    if let Some(excess) = &pod.excess {
        return Prepared { not_judged: Some(too_large(excess)), ..judged };
    }
    let subject = &mut judged.subject;
    let (asked, own) = (std::mem::replace(&mut subject.placement, (*pod.placement).clone()), &*pod.placement);
    // The author of another requirement is not known.
    subject.authors.entries.retain(|key, _| asked.get(key) == own.get(key));
    if own.affinity.is_none() {
        // A description of a pod does not show its affinity.
        subject.placement.affinity = asked.affinity;
    } else if asked.affinity != own.affinity {
        subject.authors.rules.clear();
        subject.authors.affinity = None;
    }
    judged.predicted = None;
    judged
}

/// Returns the VMI that owns a pod; `None` if it is not known, or has another UID. A pasted pod may have no UID.
pub(crate) fn vmi_of_pod<'c>(pod: &Pod<'_>, cluster: &'c Cluster) -> Option<&'c Vmi> {
    let owner = cluster::owner(pod)?;
    let vmi = cluster.vmi(pod.metadata.namespace.as_deref().unwrap_or_default(), &owner.name)?;
    (vmi.metadata.uid.is_empty() || owner.uid.is_empty() || vmi.metadata.uid == owner.uid).then_some(vmi)
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
