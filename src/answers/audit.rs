//! The audit: judges every guest and sorts the result, worst first.

use std::borrow::Cow;
use std::cmp::Reverse;

use serde::Serialize;

use super::Deadline;
use super::guest_state::{self, GuestOf, GuestStates, PolicyAnswer, each, why};
use super::model_use::{ModelUse, model_use};
use super::room;
use super::scheduler::UnplacedLauncher;
use super::status::stale;
use crate::enforce::forecast;
use crate::enforce::model::Common;
use crate::fit::judgement::Depth;
use crate::fit::label;
use crate::fit::subject::{CpuMode, Stage};
use crate::fit::verdict::{Cause, Check, Finding, Impact};
use crate::judge::{Evaluation, Manifest, judge, judge_subject};
use crate::kubevirt::guest::guest_of;
use crate::kubevirt::migration;
use crate::kubevirt::subject::{self, Prepared};
use crate::kubevirt::wire::Vmi;
use crate::policy::{Ruling, UserName};
use crate::say;
use crate::world::World;

/// The point in a guest's life at which it is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LifeStage {
    /// A running guest: judged as if it were to migrate now.
    Running,
    /// A VMI that waits for its start: judged as a start.
    Starting,
    /// A VM without a VMI: judged as a start.
    Stopped,
}

/// The verdict about a guest at one point of its life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StandRow {
    /// The verdict: `fits`, `fragile`, `pinned`, `unschedulable` or `unknown`.
    pub verdict: &'static str,
    /// The impact: `Fragile`, `Pinned`, `Unschedulable`, or null.
    pub impact: Option<&'static str>,
    /// The cause: `structural`, `placement`, `temporary`, or null.
    pub cause: Option<&'static str>,
    /// Number of nodes judged; a running guest's own node is not counted.
    pub judged: usize,
    /// Number of nodes it may start on; null for a running guest.
    pub start_nodes: Option<usize>,
    /// Number of nodes it could migrate to: fewest and most, over the nodes it may start on.
    pub targets: Span,
    /// The answer of its policy to a request by a person.
    pub answer: PolicyAnswer,
    /// The reason, in one line; empty if nothing is wrong.
    pub why: String,
    /// The policy that governs it at that point; null for the built-in one.
    pub policy: Option<String>,
}

/// A minimum and a maximum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Span {
    /// The minimum.
    pub min: usize,
    /// The maximum.
    pub max: usize,
}

impl StandRow {
    fn new(stand: &guest_state::GuestState, answer: PolicyAnswer, why: String) -> Self {
        Self {
            verdict: stand.verdict(),
            impact: stand.impact().map(Impact::as_str),
            cause: stand.cause.map(Cause::as_str),
            judged: stand.judged,
            start_nodes: stand.start_nodes,
            targets: Span { min: stand.targets.0, max: stand.targets.1 },
            answer,
            why,
            policy: stand.policy.clone(),
        }
    }
}

/// The change that a policy makes to a guest at its start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StartChange {
    /// The common model that is written into its VMI.
    pub model: String,
    /// The CPU mode that the model replaces: `Unset`, `HostModel`, `HostPassthrough` or `Named`.
    pub replaces: &'static str,
}

/// The verdict about one guest. Also the JSON of `cpufit audit`: fields are only ever added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_excessive_bools, reason = "each is a field of the JSON")]
pub struct AuditRow {
    /// The guest as `namespace/name`.
    pub guest: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The point of its life.
    pub stand: LifeStage,
    /// The node it runs on; `None` if it does not run.
    pub node: Option<String>,
    /// Its CPU model or mode as text, also if it has none.
    pub cpu: String,
    /// Its CPU model or mode; null if it has none or its guest is not known.
    pub model: Option<String>,
    /// Number of CPU node selector entries that its launcher inherited at an earlier migration.
    pub inherited: usize,
    /// Number of nodes it could migrate to; for a guest that does not run, the fewest over its start nodes.
    pub targets: usize,
    /// Number of nodes judged, without its own.
    pub judged: usize,
    /// Number of nodes it may start on; `None` for a running guest.
    pub start_nodes: Option<usize>,
    /// The verdict: `fits`, `fragile`, `pinned`, `unschedulable` or `unknown`; `pinned` at least if KubeVirt refuses to
    /// migrate it.
    #[serde(rename = "verdict")]
    pub stated_verdict: &'static str,
    /// The verdict by its selector and the nodes alone, also if KubeVirt refuses to migrate it.
    #[serde(skip)]
    pub verdict: &'static str,
    /// The impact: `Fragile`, `Pinned`, `Unschedulable`, or null.
    pub impact: Option<&'static str>,
    /// The cause: `structural`, `placement`, `temporary`, or null.
    pub cause: Option<&'static str>,
    /// Whether its own node no longer matches its launcher: a restart of the kubelet there would fail the launcher.
    pub own_node: bool,
    /// The reason, in one line; empty if nothing is wrong.
    pub why: String,
    /// The policy that governs it; null for the built-in one.
    pub policy: Option<String>,
    /// Whether it uses its policy's common model; null if the policy has none for it, or if it is stopped.
    pub on_common_model: Option<bool>,
    /// The change that its policy would make at its next start; null if there is none.
    pub change: Option<StartChange>,
    /// The answer of its policy if a person requested its migration, or its start, now.
    pub answer: PolicyAnswer,
    /// NOW: the migration of a running guest, or the start of a waiting one; null for a stopped guest.
    pub now: Option<StandRow>,
    /// AT NEXT START: the verdict about its VM, or about its VMI created again.
    pub at_next_start: StandRow,
    /// CPU features that its launcher requires and no node has any more.
    pub stale: Vec<String>,
    /// Whether its launcher is outdated.
    pub outdated_launcher: bool,
    /// Risks at the next upgrade: `inherited-selectors`, `outdated-launcher`, `host-model-vcpus`.
    pub exposed: Vec<&'static str>,
    /// Libvirt's last refusal of this guest; `None` if there was none.
    pub refused: Option<String>,
    /// The reason why KubeVirt refuses to migrate it, regardless of labels; null if KubeVirt does not refuse.
    pub not_migratable: Option<String>,
    /// The checks that found something that may exclude nodes that fit by labels.
    pub doubts: Vec<&'static str>,
    /// Whether no node that fits has room for it.
    #[serde(skip)]
    pub no_room: bool,
    /// Whether it waits for its start, and the scheduler placed its launcher nowhere.
    #[serde(skip)]
    pub is_unplaced: bool,
    /// Whether there are such findings about its next start.
    #[serde(skip)]
    pub next_in_doubt: bool,
    /// Whether no node that fits has room for its next start.
    #[serde(skip)]
    pub next_no_room: bool,
    #[serde(skip)]
    severity: Severity,
}

/// The severity of a guest's state, worst last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// No known problem.
    #[default]
    None,
    /// One node is left.
    Fragile,
    /// No migration target.
    Pinned,
    /// No node to start on.
    Unschedulable,
    /// Its own node no longer matches the launcher of the running guest.
    OwnNode,
}

impl AuditRow {
    /// Returns the severity.
    pub(crate) fn severity(&self) -> Severity {
        self.severity
    }

    /// Whether nodes fit, and none of them has room for it. KubeVirt's refusal to migrate a running guest goes first.
    pub(crate) fn has_no_room(&self) -> bool {
        self.no_room && !(self.stand == LifeStage::Running && self.severity == Severity::Pinned)
    }

    /// Returns the state as one word for tables.
    #[must_use]
    pub fn state(&self) -> &'static str {
        match self.severity {
            Severity::OwnNode => "OWN-NODE",
            Severity::Unschedulable => "CANNOT-START",
            _ if self.is_unplaced => "PENDING",
            Severity::Pinned | Severity::Fragile | Severity::None if self.has_no_room() => "NO-ROOM",
            Severity::Pinned => "STUCK",
            Severity::Fragile => "FRAGILE",
            Severity::None if self.verdict == "unknown" => "UNKNOWN",
            Severity::None if !self.doubts.is_empty() => "FITS-BY-LABELS",
            Severity::None => "FITS",
        }
    }
}

/// Judges every guest and sorts them: own-node first, then by impact, targets left, and name. Stops at the deadline.
#[must_use]
pub fn audit(world: &World, is_over: Deadline<'_>) -> Vec<AuditRow> {
    let mut stands = GuestStates::new(world);
    let guests = each(&world.cluster).take_while(|_| !is_over());
    let mut out: Vec<AuditRow> = guests.filter_map(|guest| row(world, guest, &mut stands)).collect();
    out.sort_by(|one, other| {
        let rank = |row: &AuditRow| (Reverse(row.severity), row.verdict != "unknown", row.targets);
        rank(one).cmp(&rank(other)).then_with(|| one.guest.cmp(&other.guest))
    });
    out
}

/// Judges a guest as the webhook judges a request by a person.
fn row<'w>(world: &'w World, guest: GuestOf<'w>, stands: &mut GuestStates<'w>) -> Option<AuditRow> {
    let cluster = &world.cluster;
    let (manifest, stand, vmi) = match guest {
        GuestOf::Vmi(vmi) if migration::runs(vmi) => {
            (Manifest::Migration(Box::new(subject::asked_for(vmi))), LifeStage::Running, Cow::Borrowed(vmi))
        }
        GuestOf::Vmi(vmi) => (Manifest::Vmi(Box::new(vmi.clone())), LifeStage::Starting, Cow::Borrowed(vmi)),
        GuestOf::Vm(vm) => {
            let made = forecast::vmi_of(vm, &guest_of(vm, cluster));
            (Manifest::VirtualMachine(Box::new(vm.clone())), LifeStage::Stopped, Cow::Owned(made))
        }
    };
    let case = match guest {
        GuestOf::Vmi(vmi) if stand == LifeStage::Starting => {
            judge_subject(world, &manifest, UserName::NOBODY, subject::of_waiting(vmi, cluster), Depth::Brief.into())
        }
        _ => judge(world, &manifest, UserName::NOBODY, Depth::Brief)?,
    };
    let numbers = guest_state::GuestState::of(&case, &cluster.fleet);
    let no_room = room::nowhere(&case, cluster);
    let next = stands.at_next_start(guest);
    let answer = PolicyAnswer::of(&case, None);
    let Evaluation { judged, verdict, ruling, policy, .. } = case;
    let assessment = &verdict.assessment;
    let policy = policy.filter(|_| ruling != Ruling::Exempt);
    let subject = &judged.subject;
    let own_node = verdict.found(Check::OwnNode).filter(|_| stand == LifeStage::Running).map(say::finding::message);
    let impact = numbers.impact();
    let common = policy.as_ref().and_then(|policy| policy.common_model.as_ref());
    // A stopped guest runs with no CPU yet.
    let common = common.filter(|_| stand != LifeStage::Stopped).map(|common| model_use(&vmi, cluster, common));
    let is_in_danger = own_node.is_some();
    let why = why(&judged, &verdict, cluster);
    let now = (stand != LifeStage::Stopped).then(|| StandRow::new(&numbers, answer, why.clone()));
    let doubts: Vec<&Finding> = verdict.findings.iter().filter(|finding| finding.check.doubt().is_some()).collect();
    let doubt = doubts.first().map(|finding| say::finding::message(finding)).unwrap_or_default();
    // Rules that labels do not decide are named beside every count of nodes.
    let undecided = doubts.iter().filter(|finding| matches!(finding.check, Check::PodRules | Check::BoundVolumes));
    let undecided = undecided.map(|finding| say::finding::message(finding)).chain(no_room.clone());
    let is_refused = subject.live_migratable.refused.is_some();
    let by_labels =
        |why: &str| if no_room.is_some() && !is_refused { format!("by labels: {why}") } else { why.to_owned() };
    let said = own_node.clone().unwrap_or(if why.is_empty() { doubt } else { by_labels(&why) });
    let mut said = if said.is_empty() { Vec::new() } else { vec![said] };
    for words in undecided.filter(|_| subject.live_migratable.refused.is_none()) {
        if !said.contains(&words) {
            said.push(words);
        }
    }
    let next_why = Some(next.why.clone()).filter(|why| !why.is_empty());
    let at_next_start = next_why.into_iter().chain(next.no_room.clone()).collect::<Vec<_>>().join("; ");
    let unplaced = match guest {
        GuestOf::Vmi(vmi) => UnplacedLauncher::of(cluster, &vmi.metadata.namespace, &vmi.metadata.name),
        GuestOf::Vm(_) => None,
    };
    if stand == LifeStage::Running {
        said.extend(subject::stuck_migration(&vmi, cluster));
    }
    said.extend(unplaced.as_ref().map(UnplacedLauncher::sentence));
    let exposed = if stand == LifeStage::Running { exposed(&judged, &vmi) } else { Vec::new() };
    let stale = if stand == LifeStage::Running { stale(&vmi, cluster) } else { Vec::new() };
    Some(AuditRow {
        guest: subject.title(),
        namespace: subject.namespace.clone(),
        name: subject.name.clone(),
        stand,
        node: Some(vmi.status.node_name.clone()).filter(|node| !node.is_empty()),
        cpu: subject.mode.to_string(),
        model: (subject.mode != CpuMode::Unset).then(|| subject.mode.to_string()),
        inherited: inherited(&judged),
        targets: numbers.targets.0,
        judged: assessment.nodes_judged,
        start_nodes: numbers.start_nodes,
        stated_verdict: numbers.verdict(),
        verdict: assessment.outcome.as_str(),
        impact: impact.map(Impact::as_str),
        cause: assessment.cause.map(Cause::as_str),
        own_node: is_in_danger,
        why: said.join("; "),
        policy: policy.map(|policy| policy.name),
        on_common_model: common.filter(|stands| *stands != ModelUse::Apart).map(|stands| stands == ModelUse::On),
        change: change(&vmi, next.common.as_ref()),
        answer,
        now,
        at_next_start: StandRow::new(&next.stand, next.answer, at_next_start),
        stale: stale.iter().map(|key| label::name(key).to_owned()).collect(),
        outdated_launcher: stand == LifeStage::Running && subject.outdated_launcher,
        exposed,
        refused: subject.failed.as_ref().filter(|_| stand == LifeStage::Running).map(|failed| failed.reason.clone()),
        not_migratable: subject.live_migratable.refused.as_ref().map(say::finding::condition),
        doubts: doubts.iter().map(|finding| finding.check.as_str()).collect(),
        no_room: no_room.is_some(),
        is_unplaced: unplaced.is_some() && stand == LifeStage::Starting,
        next_in_doubt: next.is_in_doubt,
        next_no_room: next.no_room.is_some(),
        severity: match impact {
            _ if is_in_danger => Severity::OwnNode,
            Some(Impact::Unschedulable) => Severity::Unschedulable,
            Some(Impact::Pinned) => Severity::Pinned,
            Some(Impact::Fragile) => Severity::Fragile,
            None => Severity::None,
        },
    })
}

/// Returns the change that a policy makes to the CPU model of a guest at its next start.
fn change(vmi: &Vmi, common: Option<&Common>) -> Option<StartChange> {
    match common? {
        Common::Written { model, replaced } if vmi.spec.cpu_model() != model => {
            Some(StartChange { model: model.clone(), replaces: replaced.as_str() })
        }
        Common::Written { .. } | Common::NotWritten(_) | Common::Untouched(_) => None,
    }
}

/// Returns the risks of a running guest at the next upgrade of KubeVirt, if it has to migrate then.
///
/// Labels that an upgrade removes from nodes strand guests that inherited them. A launcher that is outdated already is
/// of an older release than its target would be. Libvirt with a newer QEMU has refused host-model guests with several
/// vCPUs, for an extra feature `ht`.
fn exposed(judged: &Prepared<'_>, vmi: &Vmi) -> Vec<&'static str> {
    let cpu = vmi.spec.domain.cpu.as_ref().filter(|_| CpuMode::parse(vmi.spec.cpu_model()) == CpuMode::HostModel);
    let vcpus = cpu.map_or(1, |cpu| {
        [cpu.sockets, cpu.cores, cpu.threads]
            .map(|count| u64::from(count.max(1)))
            .into_iter()
            .fold(1, u64::saturating_mul)
    });
    let facts = [
        ("inherited-selectors", inherited(judged) > 0),
        ("outdated-launcher", judged.subject.outdated_launcher),
        ("host-model-vcpus", vcpus > 1),
    ];
    facts.into_iter().filter(|(_, is_so)| *is_so).map(|(word, _)| word).collect()
}

/// Counts the entries that its launcher inherited, including those that a policy drops.
pub(crate) fn inherited(judged: &Prepared<'_>) -> usize {
    let subject = &judged.subject;
    match (&subject.stage, &judged.predicted) {
        (Stage::Migration(migration), _) if !migration.inherited => 0,
        (Stage::Migration(_), Some(target)) => {
            target.node_selector.keys().filter(|key| label::is_inherited(key)).count()
        }
        // An existing target pod has the entries in its own node selector.
        (Stage::Migration(_), None) => {
            subject.placement.selector.iter().filter(|(key, _)| label::is_inherited(key)).count()
        }
        (Stage::Start(_), _) => 0,
    }
}

#[cfg(test)]
mod tests;
