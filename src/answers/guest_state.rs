//! The state of each guest: NOW, as it runs or waits to start, and AT NEXT START, when it is created again.
//!
//! The audit, the status of a policy and the warnings about a policy change count these states. The ruling comes from
//! the code that rules on the requests of the webhook and of `check` (`judge::governed`): NOW on the guest's migration,
//! as if a person requested it, or on the VMI that waits to start; AT NEXT START on its VirtualMachine, or on its VMI
//! as it would be created again.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::rc::Rc;
use std::sync::Arc;

use serde::Serialize;

use super::guests::{Like, Likeness, MemoKey, alike};
use super::model_use::kept_by;
use super::refusals::Refusal;
use super::room;
use crate::enforce::forecast;
use crate::enforce::model::Common;
use crate::fit::assess::targets_by_start;
use crate::fit::author::Authors;
use crate::fit::bits::Bits;
use crate::fit::fleet::{Fleet, NodeIndex};
use crate::fit::immobile::Immobile;
use crate::fit::judgement::Depth;
use crate::fit::placement::Placement;
use crate::fit::subject::{BoundVolume, Device, Foreseen, Stage};
use crate::fit::verdict::{Assessment, Cause, Check, Finding, Impact, Outcome, OutcomeWord, Verdict};
use crate::judge::{Evaluation, Governed, GuestOf, Manifest, judge_subject};
use crate::kubevirt::cluster::Cluster;
use crate::kubevirt::devices;
use crate::kubevirt::guest::guest_of;
use crate::kubevirt::migration;
use crate::kubevirt::not_migratable::{Foresight, undecided_reason};
use crate::kubevirt::subject::{self, Prepared};
use crate::kubevirt::wire::{
    Devices, Domain, GuestMemory, GuestResources, Meta, VirtualMachine, Vmi, VmiSpec, VmiStatus,
};
use crate::libvirt::Answers;
use crate::policy::{Grounds, Ruling, UserName, lives_on};
use crate::say;
use crate::well_known;
use crate::word::words;
use crate::world::World;

words! {
    /// The answer of a policy.
    #[derive(Serialize)]
    #[serde(into = "&'static str")]
    PolicyAnswer {
        /// Admitted without a message.
        Admit = "admit",
        /// Admitted with warnings.
        Warn = "warn",
        /// Denied.
        Deny = "deny",
    }
}

impl PolicyAnswer {
    /// Returns the answer to a guest, apart from what one check found.
    pub(super) fn of(case: &Evaluation<'_>, without: Option<Check>) -> Self {
        match case.ruling {
            Ruling::Deny { .. } => Self::Deny,
            Ruling::Exempt => Self::Admit,
            Ruling::Admit { warned, .. } => {
                let is_reported = |found: &Finding| Some(found.check) != without && found.is_always_reported();
                let is_warned = warned
                    || case.messages.model.is_some()
                    || case.messages.unmet.is_some()
                    || case.verdict.findings.iter().any(is_reported);
                if is_warned { Self::Warn } else { Self::Admit }
            }
        }
    }
}

/// The state of a guest in numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestState {
    /// The outcome.
    pub outcome: Outcome,
    /// The cause, if the outcome is an impact.
    pub cause: Option<Cause>,
    /// Whether it migrates nowhere, now or once it runs, regardless of labels.
    pub is_immobile: bool,
    /// Whether KubeVirt refuses its specification, so that there will be no guest.
    pub is_refused: bool,
    /// Number of nodes judged, without the one it has to leave.
    pub judged: usize,
    /// Number of nodes it may start on; `None` for a running guest.
    pub start_nodes: Option<usize>,
    /// Fewest and most migration targets over the nodes it may start on.
    pub targets: (usize, usize),
    /// The ruling of its policy.
    pub ruling: Ruling,
    /// The policy that governs it; `None` for the built-in one, or if its namespace is exempt.
    pub policy: Option<String>,
}

impl GuestState {
    /// Builds the state of a guest that is judged and ruled on.
    fn new(
        prepared: &Prepared<'_>,
        assessment: &Assessment,
        ruling: Ruling,
        policy: Option<&str>,
        fleet: &Fleet,
    ) -> Self {
        let subject = &prepared.subject;
        let is_judged = prepared.not_judged.is_none();
        let immobile = Immobile::of(subject, fleet).filter(|why| is_judged || matches!(why, Immobile::Refused(_)));
        let has_no_pod = prepared.not_judged.as_ref().is_some_and(|found| found.impact.is_some());
        let is_immobile = immobile.is_some() || has_no_pod || subject.live_migratable.foreseen.is_some();
        let (start_nodes, targets) = match subject.stage {
            // Nothing migrates it, so no node is a target.
            Stage::Migration(_) if is_immobile => (None, (0, 0)),
            // There will be no guest, so it starts on no node.
            Stage::Start(_) if subject.is_refused => (Some(0), (0, 0)),
            Stage::Start(_) if is_immobile => (Some(assessment.fitting.count()), (0, 0)),
            Stage::Migration(_) => (None, (assessment.fitting.count(), assessment.fitting.count())),
            Stage::Start(after_start) => {
                let by_start = targets_by_start(subject, &subject.placement, after_start, &assessment.fitting, fleet);
                let count = |entry: Option<&usize>| entry.copied().unwrap_or(0);
                let targets = (count(by_start.keys().next()), count(by_start.keys().next_back()));
                (Some(assessment.fitting.count()), targets)
            }
        };
        Self {
            outcome: assessment.outcome.clone(),
            cause: match immobile {
                Some(Immobile::SourceDown(_) | Immobile::Off(_)) => Some(Cause::Temporary),
                Some(Immobile::Refused(_)) | None => assessment.cause,
            },
            is_immobile,
            is_refused: subject.is_refused,
            judged: assessment.nodes_judged,
            start_nodes,
            targets,
            ruling,
            policy: policy.filter(|_| ruling != Ruling::Exempt).map(str::to_owned),
        }
    }

    /// Builds the state from an evaluation.
    #[must_use]
    pub fn of(case: &Evaluation<'_>, fleet: &Fleet) -> Self {
        let policy = case.policy.as_ref().map(|policy| policy.name.as_str());
        Self::new(&case.prepared, &case.verdict.assessment, case.ruling, policy, fleet)
    }

    /// Returns the impact, `None` without one: `Pinned` at least if it migrates nowhere, `Unschedulable` if KubeVirt
    /// refuses it.
    #[must_use]
    pub fn impact(&self) -> Option<Impact> {
        let of_immobile = self.is_immobile.then_some(Impact::Pinned);
        let of_refusal = self.is_refused.then_some(Impact::Unschedulable);
        self.outcome.impact().max(of_immobile).max(of_refusal)
    }

    /// Returns the verdict: the outcome, or the worse one that follows from KubeVirt's refusal, or from a node that is
    /// down.
    #[must_use]
    pub fn verdict(&self) -> OutcomeWord {
        self.impact().map_or(self.outcome.word(), OutcomeWord::from)
    }
}

/// The state of a guest at its next start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NextStart {
    /// The state in numbers.
    pub state: GuestState,
    /// The answer of its policy.
    pub answer: PolicyAnswer,
    /// The reason, in one line without the guest's name; empty if nothing is wrong.
    pub why: String,
    /// The result of its policy's common model; `None` without one.
    pub common: Option<Common>,
    /// The reasons for which KubeVirt refuses its specification.
    pub refusals: Vec<Refusal>,
    /// Whether a finding may exclude nodes that fit by labels.
    pub is_in_doubt: bool,
    /// The reason why no node that fits has room; `None` if one has, or that is not known.
    pub no_room: Option<String>,
}

impl NextStart {
    fn of(case: &Evaluation<'_>, cluster: &Cluster) -> Self {
        let why = match case.ruling {
            Ruling::Deny { grounds: Grounds::CommonModel, .. } => {
                let kept = case.common.as_ref().and_then(kept_by);
                format!("it would not use the common CPU model: {}", kept.unwrap_or_default())
            }
            _ => why(&case.prepared, &case.verdict, cluster),
        };
        Self {
            state: GuestState::of(case, &cluster.fleet),
            // The launcher that its own node no longer meets has ended by then.
            answer: PolicyAnswer::of(case, Some(Check::OwnNode)),
            why,
            common: case.common.clone(),
            refusals: Refusal::all_of(&case.verdict),
            is_in_doubt: case.verdict.is_in_doubt(),
            // Nodes do not matter to a guest that KubeVirt refuses.
            no_room: room::nowhere(case, cluster).filter(|_| case.verdict.refused().is_none()),
        }
    }

    /// Returns the reasons for its state in one line; empty if nothing is wrong.
    pub(super) fn reasons(&self) -> String {
        let why = Some(self.why.as_str()).filter(|why| !why.is_empty());
        why.into_iter().chain(self.no_room.as_deref()).collect::<Vec<_>>().join("; ")
    }
}

/// Returns the reason for a guest's state, in one line without its name; empty if nothing is wrong.
pub(super) fn why(prepared: &Prepared<'_>, verdict: &Verdict, cluster: &Cluster) -> String {
    if let Some(certain) = verdict.refused().or_else(|| verdict.immobile()) {
        return say::finding::message(certain);
    }
    let of_nodes = why_of_nodes(prepared, verdict, cluster);
    // A guest that cannot start does not migrate either.
    let is_startable = verdict.assessment.outcome.impact() < Some(Impact::Unschedulable);
    let will_not_migrate = verdict.found(Check::WillNotMigrate).filter(|_| is_startable).map(say::finding::message);
    let reasons = will_not_migrate.into_iter().chain(Some(of_nodes).filter(|why| !why.is_empty()));
    reasons.collect::<Vec<_>>().join("; ")
}

/// Returns the reason why too few nodes, or none, take a guest; empty if enough do.
fn why_of_nodes(prepared: &Prepared<'_>, verdict: &Verdict, cluster: &Cluster) -> String {
    let of = |check: Check| verdict.found(check).map(say::finding::message);
    match (&verdict.assessment.outcome, &prepared.subject.stage) {
        (Outcome::Unknown(why), _) => say::finding::unknown(why),
        (Outcome::Impaired(Impact::Pinned), Stage::Migration(_)) => say::obstacles(verdict),
        (Outcome::Impaired(Impact::Fragile), Stage::Migration(_)) => {
            let left = cluster.fleet.names(&verdict.assessment.fitting).join(", ");
            let why = say::obstacles(verdict);
            let is_refused = verdict.found(Check::LibvirtRefuses).is_some();
            if say::named(verdict).next().is_none() && verdict.blocked.is_empty() && !is_refused {
                format!("only {left} is left")
            } else {
                format!("only {left} is left; {why}")
            }
        }
        (Outcome::Impaired(_), Stage::Start(_)) => {
            let found = verdict.found(Check::StartNode).or_else(|| verdict.found(Check::MigrationTarget));
            let message = found.map(say::finding::message).unwrap_or_default();
            // Details that the message lacks.
            let near = found.filter(|found| say::finding::asks_why(found)).and_then(|_| say::nearest(verdict));
            let parts = [Some(message), of(Check::LibvirtRefuses), near];
            parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
        }
        (_, Stage::Start(_)) => {
            let found = [Check::LibvirtRefused, Check::LibvirtRefuses, Check::ModelCoverage].into_iter().find_map(of);
            found.unwrap_or_default()
        }
        (_, Stage::Migration(_)) => of(Check::LibvirtRefused).unwrap_or_default(),
    }
}

/// Number of guests by impact, and of those that would be denied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Guests with one migration target.
    pub fragile: usize,
    /// Guests with no migration target.
    pub pinned: usize,
    /// Guests that no node takes.
    pub unschedulable: usize,
    /// Guests that would be denied.
    pub denied: usize,
}

impl Tally {
    /// Adds a guest.
    pub fn add(&mut self, state: &GuestState) {
        self.count(state.impact(), state.ruling.denies());
    }

    /// Adds a guest of this impact.
    pub(crate) fn count(&mut self, impact: Option<Impact>, denied: bool) {
        match impact {
            Some(Impact::Fragile) => self.fragile += 1,
            Some(Impact::Pinned) => self.pinned += 1,
            Some(Impact::Unschedulable) => self.unschedulable += 1,
            None => {}
        }
        self.denied += usize::from(denied);
    }
}

/// The states of the guests of a world, computed once for guests with equal input.
#[derive(Debug)]
pub(crate) struct GuestStates<'w> {
    world: &'w World,
    moves: MemoKey<Likeness<'w>, Prepared<'static>>,
    starts: MemoKey<StartLikeness<'w>, NextStart>,
}

/// The input of a guest's start.
#[derive(Debug, PartialEq)]
struct StartLikeness<'w> {
    namespace: &'w str,
    /// Specification and status, and the metadata that affects the judgement.
    vmi: Vmi,
    /// Whether each policy selects the guest.
    policies: Vec<bool>,
    /// Whether each policy selects the node it runs on; `None` if it does not run.
    home: Option<Vec<bool>>,
    /// The kind of object that is judged.
    made_of: MadeOf,
    /// Whether the judged object, or the VM of a VMI that waits, is being deleted.
    is_going: bool,
    /// Libvirt's answers about nodes and about the CPU that the guest has, if it was asked.
    asked: Option<Answers>,
    foresight: ForesightLikeness,
    /// The requirements of its launcher, if that waits for a node.
    launcher: Option<Arc<Placement<'static>>>,
}

/// The forecast of the guest's start and migrations, as far as it follows from devices, networks, volumes and memory.
#[derive(Debug, PartialEq)]
struct ForesightLikeness {
    /// The reason why KubeVirt will not migrate it.
    reason: Option<String>,
    /// The reasons for which KubeVirt refuses it, which may follow from devices, memory and requests.
    refusals: Vec<String>,
    /// The devices of which some nodes have too little.
    devices: Vec<Device>,
    /// The nodes on which its volumes can be used, if such devices leave out nodes.
    usable: Option<Bits>,
    /// The machine type labels of its start and of its later migrations, if they differ.
    machine: Option<(String, String)>,
}

impl ForesightLikeness {
    /// `conflicts`: what the guest's VirtualMachine is refused for.
    fn of(foreseen: Option<Foreseen>, vmi: &Vmi, conflicts: &[Finding], live: Option<&Vmi>, cluster: &Cluster) -> Self {
        let devices = devices::lacking(&vmi.spec, live, cluster);
        let volumes = || subject::bound_volumes(vmi, cluster);
        let usable = if devices.is_empty() { None } else { BoundVolume::all_usable(&volumes(), &cluster.fleet) };
        let refusals = subject::refusals(vmi, conflicts, cluster);
        let machine = live.and_then(|vmi| subject::resolved_machine(vmi, cluster));
        Self { reason: foreseen.map(|found| found.refused.reason), refusals, devices, usable, machine }
    }
}

/// The object that a start is judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum MadeOf {
    /// A VM.
    Vm {
        /// Whether an object that determines the guest is not known.
        is_unknown: bool,
        /// Whether the VM itself is too large to be read whole.
        is_cut: bool,
    },
    /// A VMI, created again.
    VmiAgain,
    /// A VMI that waits to start.
    VmiAsItIs,
}

impl Like for StartLikeness<'_> {
    fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        let Self { namespace, vmi, policies, home, made_of, is_going, asked: _, foresight: _, launcher: _ } = self;
        (namespace, policies, home, made_of, is_going).hash(&mut hasher);
        vmi.spec.node_selector.hash(&mut hasher);
        vmi.spec.domain.cpu.as_ref().map(|cpu| (&cpu.model, cpu.features.len())).hash(&mut hasher);
        hasher.finish()
    }
}

impl<'w> GuestStates<'w> {
    /// Creates an empty cache of states for a world.
    pub(crate) fn new(world: &'w World) -> Self {
        Self { world, moves: HashMap::new(), starts: HashMap::new() }
    }

    /// Returns the state that a guest is judged by now: as it runs or waits to start, or at the next start of its VM.
    pub(crate) fn of(&mut self, guest: GuestOf<'w>) -> GuestState {
        match guest {
            GuestOf::Vmi(vmi) => self.now(vmi),
            GuestOf::Vm(vm) => self.of_vm(vm).state.clone(),
        }
    }

    /// Returns the state of a guest as it runs or waits to start.
    pub(crate) fn now(&mut self, vmi: &'w Vmi) -> GuestState {
        let (world, cluster) = (self.world, &self.world.cluster);
        if !migration::runs(vmi) {
            return self.start(vmi, &vmi.metadata, MadeOf::VmiAsItIs).state.clone();
        }
        let asked = subject::asked_for(vmi);
        let like = alike(&mut self.moves, Likeness::of_running(vmi, cluster), || {
            let mut prepared = subject::of_migration(&asked, cluster);
            (prepared.predicted, prepared.subject.authors) = (None, Authors::default());
            prepared
        });
        let mut prepared = Prepared::clone(&like);
        prepared.subject.namespace.clone_from(&vmi.metadata.namespace);
        prepared.subject.name.clone_from(&vmi.metadata.name);
        prepared.subject.live_migratable.refused = subject::not_migratable(vmi);
        prepared.subject.running = None;
        if let Stage::Migration(migration) = &mut prepared.subject.stage {
            migration.source = Some(vmi.status.node_name.clone()).filter(|node| !node.is_empty());
        }
        let assessment = prepared.assess(cluster);
        let manifest = Manifest::Migration(Box::new(asked));
        let ready = Governed::new(world, &manifest, UserName::NOBODY, prepared, &assessment, Depth::Brief.into());
        let assessment = ready.prepared.assess(cluster);
        let policy = Some(ready.rules.policy.name.as_str()).filter(|_| !ready.rules.is_builtin);
        GuestState::new(&ready.prepared, &assessment, ready.ruling(&assessment), policy, &cluster.fleet)
    }

    /// Returns the state of a guest when it is created again: from its VM, if it has one.
    pub(crate) fn at_next_start(&mut self, guest: GuestOf<'w>) -> Rc<NextStart> {
        let vm = match guest {
            GuestOf::Vm(vm) => Some(vm),
            GuestOf::Vmi(vmi) => self.world.cluster.vm(&vmi.metadata.namespace, &vmi.metadata.name),
        };
        match (vm, guest) {
            (Some(vm), _) | (None, GuestOf::Vm(vm)) => self.of_vm(vm),
            (None, GuestOf::Vmi(vmi)) => {
                let again = Vmi { status: VmiStatus::default(), ..vmi.clone() };
                self.start(&again, &vmi.metadata, MadeOf::VmiAgain)
            }
        }
    }

    /// Returns the architecture of a guest that takes the cluster's default CPU model at its next start; `None` if its
    /// VM, its instancetype or a policy sets a model, or if that is not known.
    pub(crate) fn takes_default(&mut self, guest: GuestOf<'w>) -> Option<String> {
        let (world, cluster) = (self.world, &self.world.cluster);
        let vm = match guest {
            GuestOf::Vm(vm) => vm,
            GuestOf::Vmi(vmi) => subject::vm_of(vmi, cluster)?,
        };
        let made = guest_of(vm, cluster);
        let is_known = made.missing.is_none() && !made.is_guess && made.excess.is_none();
        if !is_known || !made.spec.cpu_model().is_empty() {
            return None;
        }
        let has_model = world.policies.iter().any(|policy| policy.common_model.is_some());
        if has_model && matches!(self.of_vm(vm).common, Some(Common::Written { .. })) {
            return None;
        }
        Some(cluster.config.architecture_of(&made.spec).to_owned())
    }

    fn of_vm(&mut self, vm: &'w VirtualMachine) -> Rc<NextStart> {
        let (world, cluster) = (self.world, &self.world.cluster);
        let guest = guest_of(vm, cluster);
        let made_of = MadeOf::Vm { is_unknown: guest.missing.is_some(), is_cut: vm.metadata.excess.is_some() };
        let live = cluster.vmi(&vm.metadata.namespace, &vm.metadata.name);
        let node = live.and_then(subject::runs_on).and_then(|node| cluster.fleet.find(node));
        let made = forecast::vmi_of(vm, &guest);
        let foreseen = Foresight::of_guest(vm, &guest).reason(cluster);
        let foresight = ForesightLikeness::of(foreseen, &made, &guest.notes, live, cluster);
        let key = self.likeness(&made, &vm.metadata.namespace, node, made_of, foresight);
        let key = StartLikeness { is_going: migration::is_being_deleted(&vm.metadata), ..key };
        alike(&mut self.starts, key, || {
            let manifest = Manifest::VirtualMachine(Box::new(vm.clone()));
            NextStart::of(&judge_start(world, &manifest, subject::of_vm(vm, cluster)), cluster)
        })
    }

    /// Judges the start of a VMI that has no VM or waits to start.
    fn start(&mut self, vmi: &Vmi, metadata: &'w Meta, made_of: MadeOf) -> Rc<NextStart> {
        let (world, cluster) = (self.world, &self.world.cluster);
        let node = subject::runs_on(vmi).and_then(|node| cluster.fleet.find(node));
        let foreseen = undecided_reason(vmi, cluster);
        let live = cluster.vmi(&metadata.namespace, &metadata.name);
        let foresight = ForesightLikeness::of(foreseen, vmi, &[], live, cluster);
        let key = self.likeness(vmi, &metadata.namespace, node, made_of, foresight);
        let launcher = subject::unplaced(vmi, cluster).filter(|_| made_of == MadeOf::VmiAsItIs);
        let is_stopped = subject::is_stopped(vmi, cluster);
        let launcher = launcher.map(|pod| Arc::clone(&pod.placement));
        let key = StartLikeness { launcher, is_going: key.is_going || is_stopped, ..key };
        alike(&mut self.starts, key, || {
            let judge = |vmi: Vmi| {
                let prepared = match made_of {
                    MadeOf::VmiAsItIs => subject::of_waiting(&vmi, cluster),
                    MadeOf::Vm { .. } | MadeOf::VmiAgain => subject::of_vmi(&vmi, cluster),
                };
                judge_start(world, &Manifest::Vmi(Box::new(vmi)), prepared)
            };
            let case = judge(vmi.clone());
            let policy = case.policy.as_ref().filter(|_| made_of == MadeOf::VmiAgain);
            // The mutating webhook changes the VMI before it is judged.
            let made = policy.zip(case.common.as_ref()).and_then(|(policy, common)| common.applied(policy, vmi));
            match made {
                Some(made) => NextStart { common: case.common.clone(), ..NextStart::of(&judge(made), cluster) },
                None => NextStart::of(&case, cluster),
            }
        })
    }

    /// Collects the input of the start of a guest with this VMI.
    fn likeness(
        &self,
        vmi: &Vmi,
        namespace: &'w str,
        runs_on: Option<NodeIndex>,
        made_of: MadeOf,
        foresight: ForesightLikeness,
    ) -> StartLikeness<'w> {
        let read =
            [&well_known::SENT_MODEL, &well_known::MIGRATION_TARGET, &well_known::REPLACED_MODEL, &well_known::POLICY];
        let annotations = &vmi.metadata.annotations;
        let annotations = read.iter().filter_map(|known| annotations.get_key_value(known.key));
        let metadata = Meta {
            annotations: annotations.map(|(key, value)| (key.clone(), value.clone())).collect(),
            excess: vmi.metadata.excess.clone(),
            ..Meta::default()
        };
        let status = VmiStatus {
            machine: vmi.status.machine.clone(),
            topology_hints: vmi.status.topology_hints.clone(),
            ..VmiStatus::default()
        };
        let guest = self.world.guest(namespace, &vmi.metadata.labels, UserName::NOBODY);
        let guest = guest.less(vmi.metadata.excess.as_ref());
        let fleet = &self.world.cluster.fleet;
        let policies = || self.world.policies.iter();
        let none = Bits::none(fleet.len());
        let at_home =
            |node| policies().map(|policy| lives_on(&policy.node_selector, Some(node), &none, fleet)).collect();
        StartLikeness {
            namespace,
            policies: policies().map(|policy| policy.selects(&guest)).collect(),
            home: runs_on.map(at_home),
            foresight,
            asked: {
                let asked = self.world.cluster.asked(namespace, &vmi.metadata.name);
                asked.map(|asked| Answers { losses: BTreeMap::new(), ..asked })
            },
            vmi: Vmi {
                metadata,
                // Each guest has its own host name, volumes, devices, networks and memory.
                spec: VmiSpec {
                    hostname: String::new(),
                    volumes: Vec::new(),
                    networks: Vec::new(),
                    domain: without_own(&vmi.spec.domain),
                    ..vmi.spec.clone()
                },
                status,
            },
            made_of,
            is_going: migration::is_being_deleted(&vmi.metadata),
            launcher: None,
        }
    }
}

/// A domain without devices, memory and requests, by which guests differ and which placement does not follow from.
fn without_own(domain: &Domain) -> Domain {
    let memory = GuestMemory { guest: None, ..domain.memory.clone() };
    Domain { devices: Devices::default(), resources: GuestResources::default(), memory, ..domain.clone() }
}

fn judge_start(world: &World, manifest: &Manifest<'static>, prepared: Prepared<'static>) -> Evaluation<'static> {
    judge_subject(world, manifest, UserName::NOBODY, prepared, Depth::Brief.into())
}
