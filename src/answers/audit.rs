//! The audit: judges every guest and sorts the result, worst first.

use std::borrow::Cow;
use std::cmp::Reverse;

use serde::Serialize;

use super::Deadline;
use super::anti_affinity::Residents;
use super::guest_state::{GuestState, GuestStates, PolicyAnswer, why};
use super::missing_guests::RunState;
use super::model_use::{ModelUse, model_use};
use super::obstacles::Obstacles;
use super::pod_rules;
use super::refusals::Refusal;
use super::room;
use super::scheduler::UnplacedLauncher;
use super::state::state;
use super::status::stale;
use crate::enforce::forecast;
use crate::enforce::model::Common;
use crate::fit::check::Doubt;
use crate::fit::judgement::Depth;
use crate::fit::label;
use crate::fit::subject::{CpuMode, Stage};
use crate::fit::verdict::{Cause, Check, Finding, Impact, OutcomeWord};
use crate::judge::{Evaluation, GuestOf, all_guests, judge_guest};
use crate::kubevirt::cluster::Cluster;
use crate::kubevirt::guest::guest_of;
use crate::kubevirt::migration;
use crate::kubevirt::subject::{Prepared, UnfinishedMigration};
use crate::kubevirt::wire::Vmi;
use crate::policy::Ruling;
use crate::say::{self, StateWord};
use crate::word::words;
use crate::world::World;

words! {
    /// The point in a guest's life at which it is judged.
    #[derive(Serialize)]
    #[serde(into = "&'static str")]
    LifeStage {
        /// A running guest: judged as if it were to migrate now.
        Running = "running",
        /// A VMI that waits for its start: judged as a start.
        Starting = "starting",
        /// A VM without a VMI: judged as a start.
        Stopped = "stopped",
        /// A VM that runs, and whose VMI the dump does not hold: judged as its next start.
        RunningUnseen = "running-unseen",
        /// A VM without a VMI and without a status, in a dump without VMIs: it may run; judged as a start.
        NotKnown = "not-known",
    }
}

impl LifeStage {
    /// Whether there is no VMI to judge now, so that only the next start is.
    pub(crate) fn is_without_vmi(self) -> bool {
        matches!(self, Self::Stopped | Self::RunningUnseen | Self::NotKnown)
    }
}

/// The verdict about a guest at one point of its life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StateRow {
    /// The verdict.
    pub verdict: OutcomeWord,
    /// The impact; null if it has none.
    pub impact: Option<Impact>,
    /// The cause; null without an impact.
    pub cause: Option<Cause>,
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
    /// The reasons for which KubeVirt refuses its specification.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refusals: Vec<Refusal>,
}

/// A minimum and a maximum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Span {
    /// The minimum.
    pub min: usize,
    /// The maximum.
    pub max: usize,
}

impl StateRow {
    fn new(state: &GuestState, answer: PolicyAnswer, why: String, refusals: Vec<Refusal>) -> Self {
        Self {
            verdict: state.verdict(),
            impact: state.impact(),
            cause: state.cause,
            judged: state.judged,
            start_nodes: state.start_nodes,
            targets: Span { min: state.targets.0, max: state.targets.1 },
            answer,
            why,
            policy: state.policy.clone(),
            refusals,
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
    /// Its CPU model or mode; null if it has none, the model is too large to read, or its guest is not known.
    pub model: Option<String>,
    /// Whether its model is too large to read.
    #[serde(skip)]
    pub is_model_unread: bool,
    /// Number of CPU node selector entries that its launcher inherited at an earlier migration.
    pub inherited: usize,
    /// Number of nodes it could migrate to; for a guest that does not run, the fewest over its start nodes.
    pub targets: usize,
    /// Number of nodes judged, without its own.
    pub judged: usize,
    /// Number of nodes it may start on; `None` for a running guest.
    pub start_nodes: Option<usize>,
    /// The verdict; `pinned` at least if KubeVirt refuses to migrate it.
    #[serde(rename = "verdict")]
    pub stated_verdict: OutcomeWord,
    /// The state as one word, as in the table.
    pub state: StateWord,
    /// The verdict by its selector and the nodes alone, also if KubeVirt refuses to migrate it.
    #[serde(skip)]
    pub verdict: OutcomeWord,
    /// The impact; null if it has none.
    pub impact: Option<Impact>,
    /// The cause; null without an impact.
    pub cause: Option<Cause>,
    /// Whether its own node no longer matches its launcher: a restart of the kubelet there would fail the launcher.
    pub own_node: bool,
    /// The reason, in one line; empty if nothing is wrong.
    pub why: String,
    /// The policy that governs it; null for the built-in one.
    pub policy: Option<String>,
    /// Whether it uses its policy's common model; null if the policy has none for it, or if it is stopped.
    pub on_common_model: Option<bool>,
    /// The change that its policy would make at its next start; else null.
    pub change: Option<StartChange>,
    /// The answer of its policy if a person requested its migration, or its start, now.
    pub answer: PolicyAnswer,
    /// NOW: the migration of a running guest, or the start of a waiting one; null for a stopped guest.
    pub now: Option<StateRow>,
    /// AT NEXT START: the verdict about its VM, or about its VMI created again.
    pub at_next_start: StateRow,
    /// CPU features that its launcher requires and no node has any more.
    pub stale: Vec<String>,
    /// Whether its launcher is outdated.
    pub outdated_launcher: bool,
    /// Risks at the next upgrade: `inherited-selectors`, `outdated-launcher`, `host-model-vcpus`.
    pub exposed: Vec<&'static str>,
    /// Libvirt's last refusal of this guest; `None` if there was none.
    pub refused: Option<String>,
    /// The reasons for which KubeVirt refuses its specification, regardless of labels, so that there will be no guest.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refusals: Vec<Refusal>,
    /// The reason why KubeVirt refuses to migrate it, regardless of labels; null if KubeVirt does not refuse.
    pub not_migratable: Option<String>,
    /// The checks that found something that may exclude nodes that fit by labels.
    pub doubts: Vec<&'static str>,
    /// Whether no node that fits has room for it.
    #[serde(skip)]
    pub no_room: bool,
    /// The reason why it has not started, as KubeVirt reports it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_started: Option<String>,
    /// Whether it waits for its start, and the scheduler placed its launcher nowhere.
    #[serde(skip)]
    pub is_unplaced: bool,
    /// Whether it has a migration under way that does not end.
    #[serde(skip)]
    pub migration_is_stuck: bool,
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

impl From<Option<Impact>> for Severity {
    fn from(impact: Option<Impact>) -> Self {
        match impact {
            Some(Impact::Unschedulable) => Self::Unschedulable,
            Some(Impact::Pinned) => Self::Pinned,
            Some(Impact::Fragile) => Self::Fragile,
            None => Self::None,
        }
    }
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

    /// Adds the state that its other fields result in.
    fn with_state(mut self) -> Self {
        self.state = match self.severity {
            Severity::OwnNode => StateWord::OwnNode,
            Severity::Unschedulable => StateWord::CannotStart,
            _ if self.is_unplaced || self.not_started.is_some() => StateWord::Pending,
            Severity::Pinned | Severity::Fragile | Severity::None if self.has_no_room() => StateWord::NoRoom,
            Severity::Pinned => StateWord::Stuck,
            Severity::Fragile => StateWord::Fragile,
            Severity::None if self.verdict == OutcomeWord::Unknown => StateWord::Unknown,
            Severity::None if !self.doubts.is_empty() => StateWord::FitsByLabels,
            Severity::None => StateWord::Fits,
        };
        self
    }
}

/// Judges every guest and sorts them: own-node first, then by impact, targets left, and name. Stops at the deadline.
#[must_use]
pub fn audit(world: &World, is_over: Deadline<'_>) -> Vec<AuditRow> {
    let mut states = GuestStates::new(world);
    let guests = all_guests(&world.cluster).take_while(|_| !is_over());
    let residents = Residents::of(world);
    let mut out: Vec<AuditRow> = guests.map(|guest| row(world, guest, &mut states, &residents)).collect();
    out.sort_by(|one, other| {
        let rank = |row: &AuditRow| (Reverse(row.severity), row.verdict != OutcomeWord::Unknown, row.targets);
        rank(one).cmp(&rank(other)).then_with(|| one.guest.cmp(&other.guest))
    });
    out
}

/// Returns the point of a guest's life, and its VMI, or the VMI that its VM would make.
fn stand<'w>(guest: GuestOf<'w>, cluster: &Cluster) -> (LifeStage, Cow<'w, Vmi>) {
    match guest {
        GuestOf::Vmi(vmi) if migration::runs(vmi) => (LifeStage::Running, Cow::Borrowed(vmi)),
        GuestOf::Vmi(vmi) => (LifeStage::Starting, Cow::Borrowed(vmi)),
        GuestOf::Vm(vm) => {
            let stand = match RunState::without_vmi(vm, cluster) {
                RunState::Stopped => LifeStage::Stopped,
                RunState::Runs => LifeStage::RunningUnseen,
                RunState::NotKnown => LifeStage::NotKnown,
            };
            (stand, Cow::Owned(forecast::vmi_of(vm, &guest_of(vm, cluster))))
        }
    }
}

/// Judges a guest as the webhook judges a request by a person.
fn row<'w>(world: &'w World, guest: GuestOf<'w>, states: &mut GuestStates<'w>, residents: &Residents<'w>) -> AuditRow {
    let cluster = &world.cluster;
    let (stand, vmi) = stand(guest, cluster);
    let mut case = judge_guest(world, guest, Depth::Brief);
    pod_rules::settle(&mut case, Some(&vmi), world, residents);
    let Evaluation { prepared, verdict, .. } = &case;
    let (subject, assessment) = (&prepared.subject, &verdict.assessment);
    let (is_running, is_stopped) = (stand == LifeStage::Running, stand.is_without_vmi());
    let numbers = GuestState::of(&case, &cluster.fleet);
    let next = states.at_next_start(guest);
    let answer = PolicyAnswer::of(&case, None);
    let reasons = StateReasons {
        own_node: verdict.found(Check::OwnNode).filter(|_| is_running),
        state: why(prepared, verdict, cluster),
        doubts: verdict.findings.iter().filter(|finding| finding.check.spec().doubt.is_some()).collect(),
        not_started: verdict.found(Check::NotStarted),
        guess: verdict.found(Check::Assumed).filter(|_| prepared.is_guess),
        no_room: room::nowhere(&case, cluster),
        migration: UnfinishedMigration::of(&vmi, cluster)
            .filter(|unfinished| is_running && (unfinished.goes_nowhere || unfinished.is_beyond_quota()))
            .map(|unfinished| unfinished.to_string()),
        unplaced: match guest {
            GuestOf::Vmi(vmi) => UnplacedLauncher::of(cluster, &vmi.metadata.namespace, &vmi.metadata.name),
            GuestOf::Vm(_) => None,
        },
        is_certain: verdict.immobile().or_else(|| verdict.refused()).is_some(),
        leaves_one: is_running && verdict.impact() == Some(Impact::Fragile),
    };
    let of_obstacles = obstacles(&case, reasons.no_room.is_some(), world, residents);
    let refusals = Refusal::all_of(verdict);
    let stale = if is_running { stale(&vmi, cluster) } else { Vec::new() };
    let row = AuditRow {
        guest: subject.title(),
        namespace: subject.namespace.clone(),
        name: subject.name.clone(),
        stand,
        node: Some(vmi.status.node_name.clone()).filter(|node| !node.is_empty()),
        cpu: subject.mode.to_string(),
        model: (!matches!(subject.mode, CpuMode::Unset | CpuMode::Unread)).then(|| subject.mode.to_string()),
        is_model_unread: subject.mode == CpuMode::Unread,
        inherited: inherited(prepared),
        targets: numbers.targets.0,
        judged: assessment.nodes_judged,
        start_nodes: numbers.start_nodes,
        stated_verdict: numbers.verdict(),
        verdict: assessment.outcome.word(),
        impact: numbers.impact(),
        cause: numbers.cause,
        own_node: reasons.own_node.is_some(),
        why: reasons.in_words(),
        // A stopped guest runs with no CPU yet.
        on_common_model: if is_stopped { None } else { on_common_model(&case, &vmi, cluster) },
        change: change(&vmi, next.common.as_ref()),
        answer,
        now: (!is_stopped).then(|| StateRow::new(&numbers, answer, reasons.state.clone(), refusals.clone())),
        at_next_start: StateRow::new(&next.state, next.answer, next.reasons(), next.refusals.clone()),
        refusals,
        stale: stale.iter().map(|key| label::name(key).to_owned()).collect(),
        outdated_launcher: is_running && subject.outdated_launcher,
        exposed: if is_running { exposed(prepared, &vmi) } else { Vec::new() },
        refused: subject.failed.as_ref().filter(|_| is_running).map(|failed| failed.reason.clone()),
        not_migratable: subject.live_migratable.refused.as_ref().map(say::finding::condition),
        doubts: reasons.doubts.iter().map(|finding| finding.check.as_str()).collect(),
        no_room: reasons.no_room.is_some(),
        not_started: reasons.not_started.map(say::finding::message),
        is_unplaced: reasons.unplaced.is_some() && stand == LifeStage::Starting,
        migration_is_stuck: reasons.migration.is_some(),
        // The next start of a guest without a VMI is what was judged, its rules about pods too.
        next_in_doubt: if is_stopped { verdict.is_in_doubt() } else { next.is_in_doubt },
        next_no_room: next.no_room.is_some(),
        severity: if reasons.own_node.is_some() {
            Severity::OwnNode
        } else {
            numbers.impact().max(of_obstacles).into()
        },
        policy: numbers.policy,
        state: StateWord::Fits,
    };
    row.with_state()
}

/// Returns the impact, given the pods and volumes that may close nodes that a guest fits on by labels; `None` if no
/// finding names any.
fn obstacles(case: &Evaluation<'_>, has_no_room: bool, world: &World, residents: &Residents<'_>) -> Option<Impact> {
    let Evaluation { prepared, verdict, .. } = case;
    let is_closing = |finding: &Finding| finding.check.spec().doubt == Some(Doubt::Scheduler);
    let is_closed = verdict.findings.iter().any(is_closing);
    let obstacles = || Obstacles::of(&prepared.subject, None, world, residents, &[]);
    is_closed.then(|| state(verdict, &obstacles(), has_no_room).1).flatten()
}

/// The reasons for the state of a guest.
struct StateReasons<'c> {
    /// The finding about its own node, if it runs.
    own_node: Option<&'c Finding>,
    /// The reason for its verdict; empty if nothing is wrong.
    state: String,
    /// The findings that may exclude nodes that fit by labels.
    doubts: Vec<&'c Finding>,
    /// KubeVirt's report about its start, if it has not started.
    not_started: Option<&'c Finding>,
    /// The assumption by which it is judged, if an object that KubeVirt reads is not known.
    guess: Option<&'c Finding>,
    /// The reason why no node that fits has room.
    no_room: Option<String>,
    /// The migration under way that does not end.
    migration: Option<String>,
    /// Its launcher, if the scheduler placed it nowhere.
    unplaced: Option<UnplacedLauncher<'c>>,
    /// Whether the reason holds whatever the labels are.
    is_certain: bool,
    /// Whether one node is left to migrate to.
    leaves_one: bool,
}

impl StateReasons<'_> {
    /// Returns them in one line; empty if nothing is wrong.
    fn in_words(&self) -> String {
        let mut out: Vec<String> =
            self.not_started.map(say::finding::message).into_iter().chain(self.first()).collect();
        // The node that it must leave may fail it and be down too.
        let certain = Some(self.state.clone()).filter(|why| self.is_certain && !why.is_empty());
        for words in certain.into_iter().chain(self.undecided()) {
            if !out.contains(&words) {
                out.push(words);
            }
        }
        out.extend(self.guess.map(say::finding::message));
        out.extend(self.migration.clone());
        out.extend(self.unplaced.as_ref().map(UnplacedLauncher::sentence));
        out.join("; ")
    }

    /// Returns the most severe one.
    fn first(&self) -> Option<String> {
        let first = match (self.own_node, self.state.as_str()) {
            (Some(own_node), _) => say::finding::message(own_node),
            (None, "") => say::finding::message(self.doubts.first()?),
            (None, why) if self.no_room.is_some() && !self.is_certain => format!("by labels: {why}"),
            (None, why) => why.to_owned(),
        };
        (!first.is_empty()).then_some(first)
    }

    /// Returns the rules that labels do not decide, which are named beside every count of nodes.
    fn undecided(&self) -> Vec<String> {
        if self.is_certain {
            return Vec::new();
        }
        let is_undecided = |doubt: &&&Finding| match doubt.check.spec().doubt {
            Some(Doubt::Scheduler | Doubt::VirtHandler) => true,
            // Libvirt may refuse the guest on the only node that is left.
            Some(Doubt::Libvirt) => self.leaves_one,
            Some(Doubt::Labeller) | None => false,
        };
        let undecided = self.doubts.iter().filter(is_undecided);
        undecided.map(|doubt| say::finding::message(doubt)).chain(self.no_room.clone()).collect()
    }
}

/// Whether a guest uses the common model of its policy; `None` if the policy has none for it.
fn on_common_model(case: &Evaluation<'_>, vmi: &Vmi, cluster: &Cluster) -> Option<bool> {
    let policy = case.policy.as_ref().filter(|_| case.ruling != Ruling::Exempt)?;
    match model_use(vmi, cluster, policy.common_model.as_ref()?) {
        ModelUse::On => Some(true),
        ModelUse::Off => Some(false),
        ModelUse::Apart => None,
    }
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
fn exposed(prepared: &Prepared<'_>, vmi: &Vmi) -> Vec<&'static str> {
    let cpu = vmi.spec.domain.cpu.as_ref().filter(|_| CpuMode::parse(vmi.spec.cpu_model()) == CpuMode::HostModel);
    let vcpus = cpu.map_or(1, |cpu| {
        [cpu.sockets, cpu.cores, cpu.threads]
            .map(|count| u64::from(count.max(1)))
            .into_iter()
            .fold(1, u64::saturating_mul)
    });
    let facts = [
        ("inherited-selectors", inherited(prepared) > 0),
        ("outdated-launcher", prepared.subject.outdated_launcher),
        ("host-model-vcpus", vcpus > 1),
    ];
    facts.into_iter().filter(|(_, is_so)| *is_so).map(|(word, _)| word).collect()
}

/// Counts the entries that its launcher inherited, including those that a policy drops, without those that the guest
/// itself asks for.
pub(crate) fn inherited(prepared: &Prepared<'_>) -> usize {
    let subject = &prepared.subject;
    let is_inherited = |key: &str| label::is_inherited(key) && !subject.is_own(key);
    match (&subject.stage, &prepared.predicted) {
        (Stage::Migration(migration), _) if !migration.inherited => 0,
        (Stage::Migration(_), Some(target)) => target.node_selector.keys().filter(|key| is_inherited(key)).count(),
        // An existing target pod has the entries in its own node selector.
        (Stage::Migration(_), None) => subject.placement.selector.iter().filter(|(key, _)| is_inherited(key)).count(),
        (Stage::Start(_), _) => 0,
    }
}

#[cfg(test)]
mod tests;
