//! Launcher pods that do not show whether the guest uses host-model or host-passthrough: a description shows no
//! affinity, and with both modes the pod asks for nothing of the CPU at a start.
//!
//! Mirrors `setNodeAffinityForHostModelCpuModel` of `pkg/virt-controller/services/template.go`: the affinity is the
//! only difference between the launchers, from KubeVirt 0.59 on; before, there is no difference.

use super::{after_start, finding};
use crate::fit::assess::targets_by_start;
use crate::fit::label::{self, fold_names};
use crate::fit::plural::number;
use crate::fit::subject::{CpuMode, Stage, Subject};
use crate::fit::verdict::{Check, Finding};
use crate::kubevirt::cluster::Cluster;
use crate::kubevirt::wire::Pod;
use crate::well_known;

/// Whether a launcher of a host-model guest, given in this form, shows that it is one.
pub(super) fn shows_mode(pod: &Pod<'_>, cluster: &Cluster) -> bool {
    let is_described = well_known::DESCRIBED.is_set(&pod.metadata.annotations);
    !is_described && cluster.release.release().avoids_obsolete_host_models()
}

/// Returns a note that the CPU mode is not known, with the effects of host-model, as the guest is judged as
/// host-passthrough.
pub(super) fn note(subject: &Subject<'_>, cluster: &Cluster) -> Option<Finding> {
    let Stage::Start(_) = subject.stage else { return None };
    if subject.mode != CpuMode::HostModelOrPassthrough || subject.running.is_some() {
        return None;
    }
    let fleet = &cluster.fleet;
    let release = cluster.release.release();
    let mut fitting = fleet.look_up(&subject.placement).passes().fitting;
    let mut parts = Vec::new();
    if release.avoids_obsolete_host_models() {
        let mut avoided = fleet.bearing_another(label::OBSOLETE_HOST_MODEL, "");
        avoided.union(&fleet.bearing(label::OBSOLETE_HOST_MODEL, ""));
        avoided.intersect(&fitting);
        fitting.subtract(&avoided);
        let names = fleet.names(&avoided);
        if !names.is_empty() {
            let have = number(names.len(), "has", "have");
            let names = fold_names(&names, 3);
            parts.push(format!("it would not start on {names}, which {have} the label of an obsolete host model"));
        }
    }
    let after = after_start(&subject.placement, &CpuMode::HostModel, cluster);
    let by_start = targets_by_start(subject, &subject.placement, after, &fitting, fleet);
    if let Some((fewest @ (0 | 1), starts)) = by_start.first_key_value() {
        let targets = if *fewest == 0 { "no other node" } else { "1 other node only" };
        parts.push(format!("started on {} it could migrate to {targets}", fold_names(&fleet.names(starts), 3)));
    }
    let why = if release.avoids_obsolete_host_models() {
        "a description of its pod does not show which, because it lacks the affinity".to_owned()
    } else {
        format!("KubeVirt {release} makes the same pod for both")
    };
    let with = if parts.is_empty() { String::new() } else { format!("; with host-model, {}", parts.join("; and ")) };
    Some(finding(
        Check::Assumed,
        "",
        format!("host-model or host-passthrough: {why}; judged as host-passthrough{with}"),
    ))
}
