//! Every guest judged, worst first.

use std::cmp::Reverse;

use serde::Serialize;

use super::standing::{Standing, at_next_start, standing};
use super::status::stale;
use super::{Enough, policy_of};
use crate::enforce::model::{Common, model_of};
use crate::fit::assess::targets_by_start;
use crate::fit::judgement::Depth;
use crate::fit::label;
use crate::fit::subject::Stage;
use crate::fit::verdict::{Cause, Check, Impact, Outcome, Verdict};
use crate::judge::{Case, Manifest, judge};
use crate::kubevirt::cluster::Cluster;
use crate::kubevirt::migration;
use crate::kubevirt::subject::Judged;
use crate::kubevirt::wire::{VirtualMachine, Vmi, Vmim};
use crate::policy::{Policy, UserName, Word as _};
use crate::say;
use crate::world::World;

/// Where a guest is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stand {
    /// It runs: judged as if it were to migrate now.
    Running,
    /// Its VMI waits to be started: judged as a start.
    Starting,
    /// Only its VM is there: judged as a start.
    Stopped,
}

/// What a policy answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// Nothing is said.
    Admit,
    /// There are warnings.
    Warn,
    /// It is denied.
    Deny,
}

/// What a policy changes in a guest that starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The common model, which is written into its VMI.
    pub model: String,
    /// The CPU mode it takes the place of: `Unset`, `HostModel`, `HostPassthrough` or `Named`.
    pub replaces: &'static str,
}

/// One guest, judged. Also the JSON of `cpufit audit`: fields are only ever added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditRow {
    /// `namespace/name`.
    pub guest: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Where it is in its life.
    pub stand: Stand,
    /// The node it runs on.
    pub node: Option<String>,
    /// Its CPU model or mode.
    pub cpu: String,
    /// How many CPU entries of its launcher were inherited at an earlier migration.
    pub inherited: usize,
    /// How many nodes it could migrate to; before its start, from the start node that leaves it fewest.
    pub targets: usize,
    /// How many nodes were judged, its own left out.
    pub judged: usize,
    /// On how many nodes it may start; `None` for one that runs.
    pub start_nodes: Option<usize>,
    /// `fits`, `fragile`, `pinned`, `unschedulable` or `unknown`.
    pub verdict: &'static str,
    /// `Fragile`, `Pinned`, `Unschedulable`, or null.
    pub impact: Option<&'static str>,
    /// `structural`, `placement`, `temporary`, or null.
    pub cause: Option<&'static str>,
    /// Its own node no longer meets its launcher: a restart of the kubelet there would fail it.
    pub own_node: bool,
    /// Why, in one line; empty where all is well.
    pub why: String,
    /// The policy that governs it; null for the built-in one.
    pub policy: Option<String>,
    /// Whether it is on its policy's common model; null where that has none for it.
    pub on_common_model: Option<bool>,
    /// What its policy would change at its next start; null where it is so already, or nothing is changed.
    pub change: Option<Change>,
    /// What its policy would answer if a person asked for its migration, or its start, now.
    pub answer: Answer,
    /// The CPU features its launcher asks for that no node offers any more.
    pub stale: Vec<String>,
    /// Its launcher is outdated.
    pub outdated_launcher: bool,
    /// Libvirt's last refusal of it.
    pub refused: Option<String>,
    /// Why KubeVirt refuses to migrate it, whatever the labels say; null where it does not.
    pub not_migratable: Option<String>,
    #[serde(skip)]
    severity: Severity,
}

/// How bad it is, worst last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing is wrong, as far as is known.
    #[default]
    None,
    /// One node is left.
    Fragile,
    /// It can migrate nowhere.
    Pinned,
    /// It cannot start.
    Unschedulable,
    /// The running guest is in danger.
    OwnNode,
}

impl AuditRow {
    /// How bad it is.
    #[must_use]
    pub fn severity(&self) -> Severity {
        self.severity
    }

    /// One word for tables.
    #[must_use]
    pub fn state(&self) -> &'static str {
        match self.severity {
            Severity::OwnNode => "OWN-NODE",
            Severity::Unschedulable => "CANNOT-START",
            Severity::Pinned => "STUCK",
            Severity::Fragile => "FRAGILE",
            Severity::None if self.verdict == "unknown" => "UNKNOWN",
            Severity::None => "FITS",
        }
    }
}

/// Judges every guest: own-node first, then by impact, targets left, and name. Stops when told that it is enough.
#[must_use]
pub fn audit(world: &World, enough: Enough<'_>) -> Vec<AuditRow> {
    let cluster = &world.cluster;
    let ended = |vmi: &&Vmi| migration::has_ended(vmi);
    let mut out: Vec<AuditRow> = cluster
        .vmis()
        .filter(|vmi| !ended(vmi))
        .take_while(|_| !enough())
        .filter_map(|vmi| of_vmi(world, vmi))
        .collect();
    let stopped =
        |vm: &&VirtualMachine| cluster.vmi(&vm.metadata.namespace, &vm.metadata.name).as_ref().is_none_or(ended);
    out.extend(cluster.vms().filter(stopped).take_while(|_| !enough()).filter_map(|vm| of_vm(world, vm)));
    out.sort_by(|one, other| {
        let rank = |row: &AuditRow| (Reverse(row.severity), row.verdict != "unknown", row.targets);
        rank(one).cmp(&rank(other)).then_with(|| one.guest.cmp(&other.guest))
    });
    out
}

fn of_vmi(world: &World, vmi: &Vmi) -> Option<AuditRow> {
    let (manifest, stand) = if migration::runs(vmi) {
        let mut vmim = Vmim::default();
        vmim.metadata.namespace.clone_from(&vmi.metadata.namespace);
        vmim.spec.vmi_name.clone_from(&vmi.metadata.name);
        (Manifest::Migration(Box::new(vmim)), Stand::Running)
    } else {
        (Manifest::Vmi(Box::new(vmi.clone())), Stand::Starting)
    };
    let stale: Vec<String> = stale(vmi, &world.cluster).iter().map(|key| label::name(key).to_owned()).collect();
    Some(AuditRow { stale, ..row(world, vmi, &manifest, stand)? })
}

fn of_vm(world: &World, vm: &VirtualMachine) -> Option<AuditRow> {
    // Policies select a VM by the labels and namespace that its VMI will have.
    let mut vmi = Vmi { spec: vm.spec.template.spec.clone(), ..Vmi::default() };
    vmi.metadata.labels.clone_from(&vm.spec.template.metadata.labels);
    vmi.metadata.namespace.clone_from(&vm.metadata.namespace);
    vmi.metadata.name.clone_from(&vm.metadata.name);
    row(world, &vmi, &Manifest::VirtualMachine(Box::new(vm.clone())), Stand::Stopped)
}

/// A guest judged as the webhook judges what a person asks for.
fn row(world: &World, vmi: &Vmi, manifest: &Manifest<'_>, stand: Stand) -> Option<AuditRow> {
    let cluster = &world.cluster;
    let fleet = &cluster.fleet;
    let Case { judged, verdict, decision, ruling, .. } = judge(world, manifest, UserName::NOBODY, Depth::Brief)?;
    let assessment = &verdict.assessment;
    let runs_on = fleet.find(&vmi.status.node_name);
    let policy = policy_of(world, &world.policies, vmi, runs_on, &assessment.fitting);
    let subject = &judged.subject;
    let own_node = stand == Stand::Running && verdict.found(Check::OwnNode).is_some();
    let impact = assessment.outcome.impact();
    let common = policy.and_then(|policy| policy.common_model.as_ref()).map(|common| standing(vmi, cluster, common));
    let targets = match subject.stage {
        Stage::Migration(_) => assessment.fitting.count(),
        Stage::Start(onward) => {
            targets_by_start(&subject.placement, onward, &assessment.fitting, fleet).into_keys().next().unwrap_or(0)
        }
    };
    Some(AuditRow {
        guest: subject.title(),
        namespace: subject.namespace.clone(),
        name: subject.name.clone(),
        stand,
        node: Some(vmi.status.node_name.clone()).filter(|node| !node.is_empty()),
        cpu: subject.mode.to_string(),
        inherited: inherited(&judged),
        targets,
        judged: assessment.nodes_judged,
        start_nodes: matches!(subject.stage, Stage::Start(_)).then(|| assessment.fitting.count()),
        verdict: assessment.outcome.as_str(),
        impact: impact.map(Impact::as_str),
        cause: assessment.cause.map(Cause::as_str),
        own_node,
        why: why(&judged, &verdict, cluster, own_node),
        policy: policy.map(|policy| policy.name.clone()),
        on_common_model: common.filter(|stands| *stands != Standing::Apart).map(|stands| stands == Standing::On),
        change: policy.and_then(|policy| change(world, policy, vmi)),
        answer: match ruling.denies() {
            true => Answer::Deny,
            false if !decision.warnings().is_empty() => Answer::Warn,
            false => Answer::Admit,
        },
        stale: Vec::new(),
        outdated_launcher: stand == Stand::Running && subject.outdated_launcher,
        refused: subject.refused.as_ref().filter(|_| stand == Stand::Running).map(|refused| refused.reason.clone()),
        not_migratable: subject.not_migratable.as_ref().map(say::finding::condition),
        severity: match impact {
            _ if own_node => Severity::OwnNode,
            _ if subject.not_migratable.is_some() => Severity::Pinned,
            Some(Impact::Unschedulable) => Severity::Unschedulable,
            Some(Impact::Pinned) => Severity::Pinned,
            Some(Impact::Fragile) => Severity::Fragile,
            None => Severity::None,
        },
    })
}

/// What a policy makes of the CPU model of a guest that starts anew: from its VM, where it has one.
fn change(world: &World, policy: &Policy, vmi: &Vmi) -> Option<Change> {
    match at_next_start(world, policy, vmi) {
        Common::Written { model, replaced } if model_of(vmi) != model => {
            Some(Change { model, replaces: replaced.as_str() })
        }
        Common::Written { .. } | Common::NotWritten(_) | Common::Untouched(_) => None,
    }
}

/// How many entries its launcher inherited, whatever a policy drops of them.
fn inherited(judged: &Judged<'_>) -> usize {
    match (&judged.subject.stage, &judged.predicted) {
        (Stage::Migration(migration), Some(target)) if migration.inherited => {
            target.node_selector.keys().filter(|key| label::is_inherited(key)).count()
        }
        _ => 0,
    }
}

/// The reason in one line.
fn why(judged: &Judged<'_>, verdict: &Verdict, cluster: &Cluster, own_node: bool) -> String {
    let of = |check: Check| verdict.found(check).map(say::finding::message);
    if let Some(message) = of(Check::OwnNode).filter(|_| own_node) {
        return message;
    }
    if let Some(message) = of(Check::NotMigratable) {
        return message;
    }
    match (&verdict.assessment.outcome, &judged.subject.stage) {
        (Outcome::Unknown(why), _) => say::finding::unknown(why),
        (Outcome::Impaired(Impact::Pinned), Stage::Migration(_)) => say::obstacles(verdict),
        (Outcome::Impaired(Impact::Fragile), Stage::Migration(_)) => {
            let left = cluster.fleet.names(&verdict.assessment.fitting).join(", ");
            let why = say::obstacles(verdict);
            if verdict.nearest.is_empty() && verdict.blocked.is_empty() {
                format!("only {left} is left")
            } else {
                format!("only {left} is left; {why}")
            }
        }
        (Outcome::Impaired(_), Stage::Start(_)) => {
            of(Check::StartNode).or_else(|| of(Check::MigrationTarget)).unwrap_or_default()
        }
        (_, _) => of(Check::LibvirtRefused).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests;
