//! Conversion of a migration: the guest with the target pod that KubeVirt would create for it.

use std::collections::BTreeMap;
use std::fmt;

use super::{
    Prepared, assumed, authors_of_vmi, by_cluster, changes, configured, decentralized, describe, describe_restart,
    finding, mode_of_vmi, not_migratable, restart, too_large, under_own, unjudged, vm_of, without_architecture,
};
use crate::fit::author::{Author, Holder};
use crate::fit::label::Family;
use crate::fit::placement::Placement;
use crate::fit::plural::number;
use crate::fit::shown::{Shown, TITLE_CHARS};
use crate::fit::subject::{LiveMigratable, Migration, ReportedNode, RestartRequest, ShutDownBy, Stage, Subject};
use crate::fit::verdict::{Check, Finding, Impact};
use crate::kubevirt::active_migration;
use crate::kubevirt::authors::seen_from_migration;
use crate::kubevirt::cluster::{Cluster, Launcher};
use crate::kubevirt::eviction::{self, Effect, ShutDown, Strategy};
use crate::kubevirt::migration::{self, NoPod, NotEvacuated, is_being_deleted};
use crate::kubevirt::not_migratable::undecided_reason;
use crate::kubevirt::storage::MountedBy;
use crate::kubevirt::wire::{REJECTED_BY_QUOTA, VirtualMachine, Vmi, Vmim, is_final};

/// Prepares a running guest as if a user requested its migration now; `None` if it does not run.
pub(crate) fn of_running(vmi: &Vmi, cluster: &Cluster) -> Option<Prepared<'static>> {
    if !migration::runs(vmi) {
        return None;
    }
    Some(of_migration(&asked_for(vmi), cluster))
}

/// Returns a migration of the guest as a user would request it.
pub(crate) fn asked_for(vmi: &Vmi) -> Vmim {
    let mut vmim = Vmim::default();
    vmim.metadata.namespace.clone_from(&vmi.metadata.namespace);
    vmim.spec.vmi_name.clone_from(&vmi.metadata.name);
    vmim
}

/// Prepares a migration: its target pod is predicted.
pub(crate) fn of_migration(vmim: &Vmim, cluster: &Cluster) -> Prepared<'static> {
    if let Some((within, note)) = decentralized::dropped(vmim, cluster) {
        let mut out = of_migration(&within, cluster);
        out.notes.push(note);
        return out;
    }
    let namespace = &vmim.metadata.namespace;
    let Some(vmi) = cluster.vmi(namespace, &vmim.spec.vmi_name) else { return of_unknown_guest(vmim, cluster) };
    let fleet = &cluster.fleet;
    let source = fleet.find(&vmi.status.node_name);
    let labels = source.map(|node| fleet.node(node).labels);
    let pod = cluster.current_launcher(vmi);
    let release = cluster.release.release();
    let mut notes = assumed(cluster);
    let selector = source_selector(vmi, cluster);
    let predict = |vmim: &Vmim| {
        let selector = selector.as_ref().map_err(Clone::clone)?;
        migration::predict(vmim, vmi, selector, labels.as_ref(), &cluster.config, release)
    };
    let target = predict(vmim).map(|target| target.with_best_vendor(source, &cluster.fleet));
    let is_too_large = matches!(target, Err(NoPod::TooLarge { .. }));
    notes.extend(target.as_ref().ok().and_then(|target| overruled(vmim, vmi, target, cluster)));
    let is_guess = pod.is_none() && vmim.spec.receive.is_none() && target.is_ok();
    if is_guess {
        notes.push(finding(
            Check::Assumed,
            "spec.vmiName",
            "its running launcher pod is not known: judged as if it had never migrated".to_owned(),
        ));
    }
    notes.extend(unfinished(vmi, vmim, cluster));
    let mut migration = Migration {
        source: Some(vmi.status.node_name.clone()).filter(|node| !node.is_empty()),
        from_elsewhere: vmim.spec.receive.is_some(),
        is_under_way: unfinished_migrations(vmi, cluster).next().is_some(),
        ..Migration::default()
    };
    let (placement, predicted, not_judged) = match target {
        Ok(target) => {
            migration.inherited = target.inherited;
            migration.unasked.clone_from(&target.unasked);
            migration.overlooked = target.overlooked;
            migration.vendors.clone_from(&target.vendors);
            migration.added = added(vmim, &target, predict);
            (target.pod.placement(), Some(target.pod), None)
        }
        Err(why) => (Placement::default(), None, Some(no_target(&why, vmim, cluster))),
    };
    let from_elsewhere = migration.from_elsewhere;
    // A plugin that opens nodes to its launcher may open them to the next one.
    let is_start_unknown = by_cluster::tolerates_more(&placement, pod, cluster);
    if from_elsewhere {
        migration.source = None;
        migration.reported = reported(vmi);
    }
    notes.extend(without_architecture(&placement, cluster));
    notes.extend(without_added(vmim, cluster));
    if not_judged.is_none() {
        notes.extend(by_cluster::findings(&placement, namespace, (by_cluster::Predicted::Target, pod), cluster));
    }
    let mut subject = Subject::new(namespace, &vmi.metadata.name, Stage::Migration(migration), placement);
    subject.mode = mode_of_vmi(vmi);
    subject.unjudged = unjudged(&vmi.spec, (namespace, &vmi.metadata.name), MountedBy::Target, cluster);
    configured(&mut subject, cluster);
    describe(&mut subject, vmi, cluster);
    describe_restart(&mut subject, vmi, cluster);
    subject.restart = subject.restart.filter(|_| !is_start_unknown);
    subject.definition.under_own = under_own(vmi, cluster);
    changes::override_added(&mut subject, vmim, cluster);
    if let Some(rendered) = &predicted {
        subject.authors = authors_of_vmi(vmi, rendered, &[], cluster);
        seen_from_migration(&mut subject.authors);
    }
    if from_elsewhere {
        // The guest has not started in this cluster, so it cannot be restarted.
        subject.restart = None;
    } else {
        changes::of_vmi(vmi, vm_of(vmi, cluster), cluster).into_subject(&mut subject);
        subject.live_migrate = live_migrate(vmi, cluster);
        subject.shut_down = shut_down(vmi, cluster);
        subject.configured.migrations_off = eviction::not_started(vmi, cluster);
    }
    subject.live_migratable = live_migratable(vmi, vmim, cluster);
    Prepared { subject, predicted, not_judged, notes, is_guess, is_too_large }
        .unless_refused(decentralized::refused(vmim, cluster))
}

/// Prepares a migration of a guest that is not known.
fn of_unknown_guest(vmim: &Vmim, cluster: &Cluster) -> Prepared<'static> {
    let (namespace, name) = (&vmim.metadata.namespace, &vmim.spec.vmi_name);
    let subject = Subject::new(namespace, name, Stage::Migration(Migration::default()), Placement::default());
    let is_halted = |vm: &VirtualMachine| restart::request(vm) == RestartRequest::Halted;
    let words = if cluster.vm(namespace, name).is_some_and(is_halted) {
        "its VM is halted and has no VMI: KubeVirt refuses a migration of it".to_owned()
    } else {
        format!("VMI {} is not known, so its target pod cannot be predicted", subject.title())
    };
    let why = match &vmim.metadata.excess {
        Some(excess) => too_large(excess),
        None => finding(Check::Unknown, "spec.vmiName", words),
    };
    Prepared {
        subject,
        predicted: None,
        not_judged: Some(why),
        notes: Vec::new(),
        is_guess: false,
        is_too_large: vmim.metadata.excess.is_some(),
    }
}

/// Returns what the condition `LiveMigratable` says of a running guest and its migration, or will say.
fn live_migratable(vmi: &Vmi, vmim: &Vmim, cluster: &Cluster) -> LiveMigratable {
    let from_elsewhere = vmim.spec.receive.is_some();
    // Decentralized migration does not need shared disks.
    let is_exempted =
        |reason: &str| (from_elsewhere || vmim.spec.send_to.is_some()) && reason == "DisksNotLiveMigratable";
    let foreseen = undecided_reason(vmi, cluster);
    LiveMigratable {
        pending: if from_elsewhere { Vec::new() } else { migration::pending_changes(vmi) },
        refused: not_migratable(vmi).filter(|refused| !is_exempted(&refused.reason)),
        foreseen: foreseen.filter(|foreseen| !is_exempted(&foreseen.refused.reason)),
        undecided: match migration::not_evacuated(vmi) {
            Some(NotEvacuated::Undecided(status)) if !from_elsewhere => Some(status.to_owned()),
            _ => None,
        },
    }
}

/// Returns the finding for a missing target pod.
fn no_target(why: &NoPod, vmim: &Vmim, cluster: &Cluster) -> Finding {
    let check = if matches!(why, NoPod::TooLarge { .. }) { Check::Unknown } else { Check::NoPod };
    let field = match why {
        NoPod::TooLarge { excess, .. } if vmim.metadata.excess.is_some() => excess.field(),
        NoPod::SentElsewhere => "spec.sendTo",
        NoPod::SourceNotReported => "spec.receive",
        NoPod::NotRunning { .. }
        | NoPod::NotSet { .. }
        | NoPod::BeingDeleted
        | NoPod::SourceNodeGone { .. }
        | NoPod::NoHostModel { .. }
        | NoPod::NoTscFrequency { .. }
        | NoPod::TooLarge { .. } => "spec.vmiName",
    };
    let words = match why {
        NoPod::SentElsewhere => decentralized::received_by(vmim, cluster),
        _ => None,
    };
    let impact = why.is_lasting().then_some(Impact::Pinned);
    Finding { impact, ..finding(check, field, words.unwrap_or_else(|| why.to_string())) }
}

/// Returns the node that a guest from elsewhere leaves, as its source reports it.
fn reported(vmi: &Vmi) -> Option<ReportedNode> {
    let source = vmi.status.migration_state.as_ref()?.source_state.as_ref()?;
    let is_read = |key: &str| matches!(Family::of(key), Family::CpuFeature | Family::CpuModel);
    let labels = source.node_selectors.iter().filter(|(key, value)| is_read(key) && *value == "true");
    Some(ReportedNode { name: source.node.clone(), labels: labels.map(|(key, _)| key.clone()).collect() })
}

fn stored<'c>(vmim: &Vmim, cluster: &'c Cluster) -> Option<&'c Vmim> {
    cluster.migration(&vmim.metadata.namespace, &vmim.metadata.name)
}

/// Returns a note about an unfinished migration of the guest: the judged one, or another. Mirrors
/// `ensureNoMigrationConflict`
/// (`pkg/virt-api/webhooks/validating-webhook/admitters/migration-create-admitter.go`).
fn unfinished(vmi: &Vmi, vmim: &Vmim, cluster: &Cluster) -> Option<Finding> {
    let is_under_way = |other: &&Vmim| !is_final(&other.status.phase);
    let own = stored(vmim, cluster).filter(is_under_way).filter(|own| own.spec.vmi_name == vmi.metadata.name);
    let is_other = |other: &&Vmim| other.metadata.name != vmim.metadata.name && is_under_way(other);
    let other = unfinished_migrations(vmi, cluster).find(is_other).filter(|_| !is_being_deleted(&vmi.metadata));
    let words = match (own, other) {
        (Some(own), _) => {
            let to = active_migration::target(vmi, cluster)
                .map(|pod| format!("it moves the guest to {}, and ", Shown::within(&pod.node, TITLE_CHARS)));
            format!(
                "this migration is unfinished ({}): {}until it has ended KubeVirt refuses another one",
                phase(own),
                to.unwrap_or_default()
            )
        }
        (None, Some(other)) => {
            let unfinished = UnfinishedMigration { vmim: other, goes_nowhere: goes_nowhere(vmi, cluster) };
            format!("{unfinished}: until it has ended KubeVirt refuses another one, which is judged here")
        }
        (None, None) => return None,
    };
    Some(finding(Check::Assumed, "spec.vmiName", words))
}

fn phase(vmim: &Vmim) -> &str {
    if vmim.status.phase.is_empty() { "Pending" } else { &vmim.status.phase }
}

/// A migration of a running guest that has not ended: KubeVirt accepts and creates no other one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UnfinishedMigration<'c> {
    vmim: &'c Vmim,
    /// Whether its target pod waits for a node, and no node takes it.
    pub goes_nowhere: bool,
}

impl<'c> UnfinishedMigration<'c> {
    /// Returns the unfinished migration of a running guest.
    pub(crate) fn of(vmi: &Vmi, cluster: &'c Cluster) -> Option<Self> {
        let vmim = unfinished_migrations(vmi, cluster).next()?;
        Some(Self { vmim, goes_nowhere: goes_nowhere(vmi, cluster) })
    }

    /// Whether a `ResourceQuota` refuses its target pod, which virt-controller tries to create again. Mirrors
    /// `updateStatus` of `pkg/virt-controller/watch/migration/migration.go`.
    pub(crate) fn is_beyond_quota(self) -> bool {
        let mut conditions = self.vmim.status.conditions.iter();
        conditions.any(|condition| condition.kind == REJECTED_BY_QUOTA && condition.status == "True")
    }

    /// Returns its name.
    pub(crate) fn name(self) -> &'c str {
        &self.vmim.metadata.name
    }
}

impl fmt::Display for UnfinishedMigration<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Shown::within(self.name(), TITLE_CHARS);
        write!(f, "its migration {name} is unfinished ({})", phase(self.vmim))?;
        if self.goes_nowhere {
            f.write_str(", and no node takes its target pod")
        } else if self.is_beyond_quota() {
            f.write_str(", and a ResourceQuota of its namespace refuses its target pod")
        } else {
            Ok(())
        }
    }
}

fn unfinished_migrations<'c>(vmi: &Vmi, cluster: &'c Cluster) -> impl Iterator<Item = &'c Vmim> {
    cluster.migrations_of(vmi).filter(|vmim| !is_final(&vmim.status.phase))
}

/// Whether the target pod of a guest waits for a node, and no node takes it.
fn goes_nowhere(vmi: &Vmi, cluster: &Cluster) -> bool {
    let fleet = &cluster.fleet;
    let waits = |pod: &&Launcher| pod.node.is_empty() && !pod.is_terminating && pod.excess.is_none();
    let Some(pod) = cluster.launchers_of(vmi).find(waits) else { return false };
    let mut fitting = fleet.look_up(&pod.placement).passes().fitting;
    if let Some(source) = fleet.find(&vmi.status.node_name) {
        fitting.remove(source);
    }
    fitting.is_empty()
}

/// Returns the eviction strategy with which a drain waits for a guest, and its author: `LiveMigrate`, or
/// `LiveMigrateIfPossible` for a guest that is migratable (`admitLauncherPod` of
/// `pkg/virt-api/webhooks/validating-webhook/admitters/pod-eviction-admitter.go`).
fn live_migrate(vmi: &Vmi, cluster: &Cluster) -> Option<(&'static str, Author)> {
    let strategy = match eviction::strategy(vmi, cluster)? {
        Strategy::LiveMigrate => "LiveMigrate",
        Strategy::IfPossible if migration::not_evacuated(vmi).is_none() => "LiveMigrateIfPossible",
        Strategy::IfPossible | Strategy::ShutDown | Strategy::External | Strategy::Unknown => return None,
    };
    Some((strategy, author_of_strategy(vmi, cluster)))
}

/// Returns the author of a guest's eviction strategy, which is stated.
fn author_of_strategy(vmi: &Vmi, cluster: &Cluster) -> Author {
    match vmi.spec.eviction_strategy.as_str() {
        "" if cluster.config.is_hyperconverged => Author::HyperConverged("evictionStrategy"),
        "" => Author::Configuration("evictionStrategy"),
        _ => Author::Field { of: Holder::VirtualMachineInstance, path: "spec.evictionStrategy".to_owned() },
    }
}

/// Returns why the eviction of a guest's launcher shuts it down, if it does.
fn shut_down(vmi: &Vmi, cluster: &Cluster) -> Option<ShutDownBy> {
    let Effect::ShutDown(why) = eviction::effect(vmi, cluster) else { return None };
    let author = author_of_strategy(vmi, cluster);
    Some(match (why, eviction::stated(vmi, cluster)) {
        (ShutDown::NotPossible(_), _) => ShutDownBy::NotMigratable { author },
        (ShutDown::NoStrategy | ShutDown::UnknownStrategy(_), Some(stated)) => {
            ShutDownBy::Strategy { stated: stated.to_owned(), author }
        }
        (ShutDown::NoStrategy | ShutDown::UnknownStrategy(_), None) => ShutDownBy::NoStrategy,
    })
}

/// Notes that the release has no `spec.addedNodeSelector`: its API server drops the field.
fn without_added(vmim: &Vmim, cluster: &Cluster) -> Option<Finding> {
    let release = cluster.release.release();
    let is_dropped = !release.has_added_node_selector() && !vmim.spec.added_node_selector.is_empty();
    let words =
        format!("KubeVirt {release} has no spec.addedNodeSelector: it is dropped, and does not choose the node");
    is_dropped.then(|| finding(Check::Assumed, "spec.addedNodeSelector", words))
}

/// Notes the entries of `spec.addedNodeSelector` that do not count. Mirrors `createTargetPod` of
/// `pkg/virt-controller/watch/migration/migration.go`, which copies the entries of the rendered pod over them, of the
/// guest's own `spec.nodeSelector` and of KubeVirt itself, and those of the source's launcher or labels over both.
fn overruled(vmim: &Vmim, vmi: &Vmi, target: &migration::PredictedTarget, cluster: &Cluster) -> Option<Finding> {
    if !cluster.release.release().has_added_node_selector() {
        return None;
    }
    let selector = &target.pod.node_selector;
    let of = |(key, value): (&String, &String)| {
        let other = selector.get(key).filter(|other| *other != value)?;
        let is_own = vmi.spec.node_selector.get(key) == Some(other);
        let who = if is_own { "its guest's own nodeSelector" } else { "the selector that KubeVirt makes" };
        let entry = |value: &str| Shown::within(&format!("{key}={value}"), TITLE_CHARS).to_string();
        Some(format!("{} does not count: {who} has {}, which overrules it", entry(value), entry(other)))
    };
    let words: Vec<String> = vmim.spec.added_node_selector.iter().filter_map(of).collect();
    let first = words.first()?;
    let more = match words.len() - 1 {
        0 => String::new(),
        more => format!(", and {more} more {} overruled too", number(more, "entry is", "entries are")),
    };
    Some(finding(Check::Assumed, "spec.addedNodeSelector", format!("{first}{more}")))
}

/// Returns the entries that only `addedNodeSelector` requires: KubeVirt's own entries take precedence and stay without
/// it.
fn added(
    vmim: &Vmim,
    target: &migration::PredictedTarget,
    predict: impl FnOnce(&Vmim) -> Result<migration::PredictedTarget, NoPod>,
) -> Vec<(String, String)> {
    let added = &vmim.spec.added_node_selector;
    if added.is_empty() {
        return Vec::new();
    }
    let mut plain = vmim.clone();
    plain.spec.added_node_selector.clear();
    let without = predict(&plain).map(|target| target.pod.node_selector).unwrap_or_default();
    let selector = &target.pod.node_selector;
    let alone = |(key, _): &(&String, &String)| selector.contains_key(*key) && !without.contains_key(*key);
    added.iter().filter(alone).map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// Returns the selector of the launcher that a guest runs in; empty if it is not known.
///
/// # Errors
///
/// The launcher is too large to be read.
pub(crate) fn source_selector(vmi: &Vmi, cluster: &Cluster) -> Result<BTreeMap<String, String>, NoPod> {
    match cluster.current_launcher(vmi) {
        Some(Launcher { excess: Some(excess), .. }) => {
            Err(NoPod::TooLarge { whose: "its launcher pod is", excess: excess.clone() })
        }
        pod => Ok(pod.map(Launcher::selector).unwrap_or_default()),
    }
}
