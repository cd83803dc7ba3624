//! A policy is made or changed: which guests and nodes do not meet it, said at once; and what its status tells.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::guests::{Demand, Guests};
use super::{Enough, Looked, Named, nodes_are, policy_of, told};
use crate::admission::response::Decision;
use crate::enforce::model::{self, Common, Untouched, common_model};
use crate::enforce::{outlook, trim};
use crate::fit::bits::Bits;
use crate::fit::fleet::{Fleet, NodeIndex};
use crate::fit::label::{self, Family};
use crate::fit::models;
use crate::fit::subject::{CpuMode, Stage};
use crate::fit::verdict::{Assessment, Impact};
use crate::kubevirt::cluster::{Cluster, Launcher};
use crate::kubevirt::guest::guest_of;
use crate::kubevirt::migration;
use crate::kubevirt::subject::{self, title};
use crate::kubevirt::wire::Vmi;
use crate::policy::{
    CommonModel, Dial, LauncherSelectors, Otherwise, Policy, PolicyError, RequestFacts, RequestKind, UserName, rule,
};
use crate::say::plural;
use crate::well_known::{self, WellKnown};
use crate::world::World;

/// Warns whoever makes or changes a policy of what does not meet it today.
///
/// `text` is the policy as it was sent, `before` as it was stored. An invalid one is never half-applied: the warning
/// names field and problem.
pub fn change(world: &World, name: &str, text: &str, before: Option<&str>, enough: Enough<'_>) -> Decision {
    match Policy::from_json(text) {
        Err(error) => told(invalid(name, &error)),
        Ok(policy) if before.and_then(|before| Policy::from_json(before).ok()).as_ref() == Some(&policy) => {
            Decision::admit()
        }
        Ok(policy) => told(lines(world, &policy, enough)),
    }
}

fn invalid(name: &str, error: &PolicyError) -> Vec<String> {
    let ignored = "it is ignored until that is mended";
    match error {
        PolicyError::Syntax(error) => vec![format!("{name}: {error}: {ignored}")],
        PolicyError::Invalid { problems, .. } => {
            let shown = problems.len().min(3);
            let mut out: Vec<String> =
                problems.iter().take(shown).map(|problem| format!("{name}: {problem}")).collect();
            let more = match problems.len() - shown {
                0 => String::new(),
                1 => "1 more problem; ".to_owned(),
                more => format!("{more} more problems; "),
            };
            out.push(format!("{name}: {more}{ignored}"));
            out
        }
    }
}

/// What a policy says of today's guests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Governed {
    guests: usize,
    /// Not on the common model, but on it from their next start on.
    until_restart: Named,
    /// Not on the common model, and not from their next start on either, by the reason.
    kept: BTreeMap<String, Named>,
    /// Would be denied if they were created now.
    denied: Named,
    looked: Looked,
}

fn lines(world: &World, policy: &Policy, enough: Enough<'_>) -> Vec<String> {
    let name = &policy.name;
    let pool = Pool::of(&world.cluster.fleet, policy);
    let found = governed(world, policy, enough);
    let Governed { guests: _, until_restart, kept, denied, looked } = &found;
    let mut out = Vec::new();
    if let Some(common) = &policy.common_model {
        let model = &common.name;
        if !until_restart.is_empty() {
            let (verb, its) = if until_restart.count == 1 { ("is", "its") } else { ("are", "their") };
            out.push(format!(
                "{name}: {} {verb} not on {model} ({}) until {its} next restart",
                looked.count(until_restart.count, "running guest"),
                until_restart.names()
            ));
        }
        out.extend(pool.cannot_run(&world.cluster.fleet, model).map(|line| format!("{name}: {line}")));
    }
    if pool.nodes.is_empty() {
        out.push(format!("{name}: nodeSelector selects no node that runs guests"));
    }
    if !denied.is_empty() {
        out.push(format!(
            "{name}: enforce {} would deny {} if created now: {}",
            policy.enforce,
            looked.count(denied.count, "guest"),
            denied.names()
        ));
    }
    let mut kept: Vec<_> = kept.iter().collect();
    kept.sort_by_key(|(_, guests)| Reverse(guests.count));
    for (reason, guests) in kept {
        let (keep, its) = if guests.count == 1 { ("keeps", "its") } else { ("keep", "their") };
        out.push(format!(
            "{name}: {} {keep} {its} own CPU model ({}): {reason}",
            looked.count(guests.count, "guest"),
            guests.names()
        ));
    }
    if out.len() < 4 {
        out.extend(looked.left_out().map(|line| format!("{name}: {line}")));
    }
    out
}

/// The guests that a policy would govern beside the other policies of the world.
fn governed(world: &World, policy: &Policy, enough: Enough<'_>) -> Governed {
    let cluster = &world.cluster;
    let mut out = Governed { looked: Looked::none_of(cluster), ..Governed::default() };
    let mut guests = Guests::new(cluster);
    let others = || world.policies.iter().filter(|other| other.name != policy.name);
    for vmi in cluster.vmis() {
        if enough() {
            break;
        }
        out.looked.at(vmi);
        if migration::has_ended(vmi) {
            continue;
        }
        let runs_on = cluster.fleet.find(&vmi.status.node_name);
        let none = Bits::none(cluster.fleet.len());
        let start = runs_on.is_none().then(|| guests.start(vmi));
        let fitting = start.as_ref().map_or(&none, |start| &start.fitting);
        let governing = policy_of(world, others().chain([policy]), vmi, runs_on, fitting);
        if governing.is_none_or(|governing| governing.name != policy.name) {
            continue;
        }
        out.guests += 1;
        let is_off = |common| standing(vmi, cluster, common) == Standing::Off;
        if policy.common_model.as_ref().is_some_and(is_off) {
            match kept_by(&at_next_start(world, policy, vmi)) {
                None => out.until_restart.add(title(vmi)),
                Some(reason) => out.kept.entry(reason).or_default().add(title(vmi)),
            }
        }
        let refuses = policy.common_model.as_ref().is_some_and(|common| common.otherwise == Otherwise::Deny);
        if (policy.enforce != Dial::Off || refuses) && denies(world, policy, vmi, &guests.start(vmi)) {
            out.denied.add(title(vmi));
        }
    }
    out
}

/// Whether a guest would be denied if it were created now, with the common model where it would get that.
fn denies(world: &World, policy: &Policy, vmi: &Vmi, start: &Assessment) -> bool {
    let cluster = &world.cluster;
    let guest = world.guest(&vmi.metadata.namespace, &vmi.metadata.labels, UserName::NOBODY);
    let kind = RequestKind::VirtualMachineInstance;
    let facts = RequestFacts { kind, exemption: policy.exempt(&guest, kind) };
    let refuses = policy.common_model.as_ref().is_some_and(|common| common.otherwise == Otherwise::Deny);
    let unmet = refuses && outlook::of_vmi(world, policy, &anew(world, vmi)).unmet.is_some();
    if !rule(policy, facts, start, unmet).denies() {
        return false;
    }
    let Some(common) = policy.common_model.as_ref().filter(|_| !unmet) else { return true };
    let is_off = standing(vmi, cluster, common) == Standing::Off;
    if !is_off || kept_by(&at_next_start(world, policy, vmi)).is_some() {
        return true;
    }
    let mut judged = subject::of_vmi(vmi, cluster);
    if let Some(start) = &judged.subject.restart {
        let start = start.with_model(&common.name);
        judged.subject.stage = Stage::Start(start.onward);
        judged.subject.placement = start.placement;
        judged.subject.mode = start.mode;
    }
    rule(policy, facts, &judged.assess(cluster), false).denies()
}

/// How a guest stands to the common model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It runs with it.
    On,
    /// It runs with another.
    Off,
    /// It is no x86 guest: named models are not for it.
    Apart,
}

/// How a guest stands to a common model.
#[must_use]
pub fn standing(vmi: &Vmi, cluster: &Cluster, common: &CommonModel) -> Standing {
    let architecture = match vmi.spec.architecture.as_str() {
        "" => cluster.config.default_architecture(),
        named => named,
    };
    if architecture != "amd64" {
        return Standing::Apart;
    }
    let mode = CpuMode::parse(model::model_of(vmi));
    if mode == CpuMode::Named(common.name.clone()) { Standing::On } else { Standing::Off }
}

/// What a policy makes of the CPU model of a guest that starts anew.
pub(super) fn at_next_start(world: &World, policy: &Policy, vmi: &Vmi) -> Common {
    common_model(world, policy, &anew(world, vmi))
}

/// The VMI with which a guest starts anew: from its VM, where it has one.
fn anew<'v>(world: &World, vmi: &'v Vmi) -> Cow<'v, Vmi> {
    let cluster = &world.cluster;
    let anew = cluster.vm(&vmi.metadata.namespace, &vmi.metadata.name).and_then(|vm| {
        let guest = guest_of(vm, cluster);
        guest.missing.is_none().then(|| outlook::vmi_of(vm, &guest))
    });
    anew.map_or(Cow::Borrowed(vmi), Cow::Owned)
}

/// Why a guest that starts anew comes to run without the common model, if so.
fn kept_by(common: &Common) -> Option<String> {
    match common {
        Common::Written { .. } | Common::Untouched(Untouched::UsesIt) => None,
        Common::NotWritten(reason) => Some(reason.to_string()),
        Common::Untouched(Untouched::Received) => {
            Some("it comes by a decentralized migration, with the CPU it has there".to_owned())
        }
        Common::Untouched(_) => Some("commonModel.replaces does not name it".to_owned()),
    }
}

/// Whether a guest's VM states a CPU model, itself or by its instancetype; `None` where its VM or instancetype is not known.
#[must_use]
pub(super) fn states_model(vmi: &Vmi, cluster: &Cluster) -> Option<bool> {
    let owner = vmi.metadata.owner_references.iter().find(|owner| owner.kind.ends_with("VirtualMachine"))?;
    let guest = guest_of(cluster.vm(&vmi.metadata.namespace, &owner.name)?, cluster);
    guest.missing.is_none().then(|| guest.spec.domain.cpu.is_some_and(|cpu| !cpu.model.is_empty()))
}

/// The nodes of a policy on which its guests can run: selected, x86, and with a virt-handler.
#[derive(Clone, Debug)]
struct Pool {
    nodes: Bits,
}

impl Pool {
    fn of(fleet: &Fleet, policy: &Policy) -> Self {
        let mut nodes = guest_nodes(fleet);
        nodes.intersect(&model::pool(&policy.node_selector, fleet));
        Self { nodes }
    }

    fn usable(&self, fleet: &Fleet, model: &str) -> Bits {
        let mut usable = fleet.bearing(&format!("{}{model}", label::CPU_MODEL), "true");
        usable.intersect(&self.nodes);
        usable
    }

    /// The nodes that cannot run the model, and what they lack.
    fn cannot_run(&self, fleet: &Fleet, model: &str) -> Option<String> {
        let usable = self.usable(fleet, model);
        let mut others = self.nodes.clone();
        others.subtract(&usable);
        let names = fleet.names(&others);
        let first = fleet.find(names.first()?)?;
        if usable.is_empty() {
            let mut known = fleet.bearing(&format!("{}{model}", label::CPU_MODEL_MIGRATION), "true");
            known.intersect(&self.nodes);
            let total = self.nodes.count();
            return Some(format!(
                "no selected node can run {model}: known on {} of {}, usable on 0 of {total}",
                known.count(),
                plural::nodes(total)
            ));
        }
        let lacks = lacking(fleet, first, &usable);
        let lacks = if lacks.is_empty() {
            format!("no feature, only the label cpu-model {model}")
        } else {
            plural::fold(lacks.iter().map(|key| (*key, "true")), 2)
        };
        let who = if names.len() == 1 { "it" } else { names[0] };
        Some(format!("{} selected but cannot run {model}; {who} lacks {lacks}", nodes_are(&names)))
    }
}

/// The nodes that run x86 guests: those with a virt-handler, well or not.
pub(super) fn guest_nodes(fleet: &Fleet) -> Bits {
    let mut nodes = bearing(fleet, &well_known::HAS_VIRT_HANDLER);
    for architecture in ["arm64", "s390x"] {
        nodes.subtract(&fleet.bearing(label::ARCH, architecture));
    }
    nodes
}

/// The nodes that bear a label which counts there.
pub(super) fn bearing(fleet: &Fleet, known: &WellKnown) -> Bits {
    let mut nodes = Bits::none(fleet.len());
    (0..fleet.len())
        .filter(|&node| fleet.label(node, known.key).is_some_and(|value| known.counts(value)))
        .for_each(|node| nodes.insert(node));
    nodes
}

/// The CPU features that all of these nodes have and this one has not, sorted.
pub(super) fn lacking<'f>(fleet: &'f Fleet, node: NodeIndex, others: &Bits) -> Vec<&'f str> {
    let features = |node| -> BTreeSet<&'f str> {
        let labels =
            fleet.labels(node).filter(|(key, value)| Family::of(key) == Family::CpuFeature && *value == "true");
        labels.map(|(key, _)| key).collect()
    };
    // Nodes of one class have like hardware: one of each tells enough.
    let classes = fleet.split_by_class(others);
    let ones = classes.iter().filter_map(|(_, nodes)| nodes.iter().next()).map(features);
    let common = ones.reduce(|common, other| common.intersection(&other).copied().collect()).unwrap_or_default();
    common.difference(&features(node)).copied().collect()
}

/// What the status of a policy tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyStatus {
    /// The policy.
    pub name: String,
    /// The nodes it selects, of those that run x86 guests.
    pub nodes: usize,
    /// Those of them that can run the common model; `None` without one.
    pub usable_nodes: Option<usize>,
    /// The guests it governs: those that run or are to be started.
    pub guests: usize,
    /// Those that are not on the common model.
    pub not_compliant: usize,
    /// Those that run and can migrate nowhere.
    pub pinned: usize,
    /// Those that wait to be started and that no node takes.
    pub unschedulable: usize,
    /// Those that run and ask for a CPU feature that no node offers any more.
    pub stale: usize,
    /// The most modern model that the most of its nodes can run.
    pub recommended_model: Option<String>,
    /// Those of the guests that are too large to judge: they count neither as pinned nor as unschedulable.
    pub too_large: usize,
    /// How many guests were looked at, of all in the cluster.
    pub looked: Looked,
}

impl PolicyStatus {
    /// `5/6`: so many nodes can run the common model, of so many; without one just how many there are.
    #[must_use]
    pub fn coverage(&self) -> String {
        match self.usable_nodes {
            Some(usable) => format!("{usable}/{}", self.nodes),
            None => self.nodes.to_string(),
        }
    }

    /// `it governs 12 guests, 1 of which is too large to judge`.
    fn governs(&self) -> String {
        let guests = if self.guests == 1 { "guest" } else { "guests" };
        let too_large = match (self.guests, self.too_large) {
            (_, 0) => String::new(),
            (1, 1) => ", which is too large to judge".to_owned(),
            (_, 1) => ", 1 of which is too large to judge".to_owned(),
            (_, many) => format!(", {many} of which are too large to judge"),
        };
        format!("it governs {} {guests}{too_large}", self.guests)
    }

    /// What its conditions say, if it is valid.
    #[must_use]
    pub fn conditions(&self) -> [PolicyCondition; 2] {
        let (ready, reason, message) = match (self.nodes, self.usable_nodes) {
            (0, _) => (false, "NoNodes", "nodeSelector selects no node that runs guests".to_owned()),
            (nodes, Some(0)) => {
                (false, "ModelNotUsable", format!("the common model is usable on 0 of {}", plural::nodes(nodes)))
            }
            (_, _) => (true, "InForce", self.governs()),
        };
        let ready = PolicyCondition { kind: "Ready", holds: ready, reason, message };
        [PolicyCondition { kind: "Valid", holds: true, reason: "Valid", message: String::new() }, ready]
    }
}

/// A condition of a policy's status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyCondition {
    /// `type`: `Valid` or `Ready`.
    pub kind: &'static str,
    /// `status`.
    pub holds: bool,
    /// `reason`.
    pub reason: &'static str,
    /// `message`.
    pub message: String,
}

/// The conditions of a policy that is not valid: it is ignored as a whole.
#[must_use]
pub fn conditions_of_invalid(problem: &str) -> [PolicyCondition; 2] {
    let message = problem.to_owned();
    [
        PolicyCondition { kind: "Valid", holds: false, reason: "Invalid", message },
        PolicyCondition {
            kind: "Ready",
            holds: false,
            reason: "Invalid",
            message: "it is ignored until it is valid".to_owned(),
        },
    ]
}

/// The status of every policy of the world, in their order.
#[must_use]
pub fn statuses(world: &World, enough: Enough<'_>) -> Vec<PolicyStatus> {
    let cluster = &world.cluster;
    let fleet: &Fleet = &cluster.fleet;
    let mut out: Vec<PolicyStatus> = world
        .policies
        .iter()
        .map(|policy| {
            let pool = Pool::of(fleet, policy);
            let usable = |common: &CommonModel| pool.usable(fleet, &common.name).count();
            PolicyStatus {
                name: policy.name.clone(),
                nodes: pool.nodes.count(),
                usable_nodes: policy.common_model.as_ref().map(usable),
                recommended_model: recommended(fleet, &pool.nodes),
                ..PolicyStatus::default()
            }
        })
        .collect();
    let mut guests = Guests::new(cluster);
    let mut looked = Looked::none_of(cluster);
    for vmi in cluster.vmis() {
        if enough() {
            break;
        }
        looked.at(vmi);
        count(world, vmi, &mut guests, &mut out);
    }
    for status in &mut out {
        status.looked = looked;
    }
    out
}

fn count<'w>(world: &'w World, vmi: &'w Vmi, guests: &mut Guests<'w>, statuses: &mut [PolicyStatus]) {
    let cluster = &world.cluster;
    let fleet: &Fleet = &cluster.fleet;
    let runs_on = fleet.find(&vmi.status.node_name);
    let demand = guests.demand(vmi);
    let start = demand.is_none().then(|| guests.start(vmi));
    let none = Bits::none(fleet.len());
    let fitting = start.as_ref().map_or(&none, |start| &start.fitting);
    let Some(policy) = policy_of(world, &world.policies, vmi, runs_on, fitting) else { return };
    let Some(status) = statuses.iter_mut().find(|status| status.name == policy.name) else { return };
    if migration::has_ended(vmi) {
        return;
    }
    status.guests += 1;
    status.too_large += usize::from(vmi.metadata.excess.is_some());
    let off = |common| standing(vmi, cluster, common) == Standing::Off;
    status.not_compliant += usize::from(policy.common_model.as_ref().is_some_and(off));
    if let Some(demand) = &demand {
        status.pinned += usize::from(is_pinned(world, policy, vmi, demand));
        status.stale += usize::from(!stale(vmi, cluster).is_empty());
    }
    let outcome = start.and_then(|start| start.outcome.impact());
    status.unschedulable += usize::from(outcome == Some(Impact::Unschedulable));
}

/// Whether a guest can migrate nowhere, whatever the policy drops from its target's selector.
fn is_pinned(world: &World, policy: &Policy, vmi: &Vmi, demand: &Demand) -> bool {
    let fleet = &world.cluster.fleet;
    let own = fleet.find(&vmi.status.node_name);
    let Ok(placement) = &demand.placement else { return false };
    if demand.targets(fleet, own) > 0 {
        return false;
    }
    if policy.launcher_selectors == LauncherSelectors::Keep {
        return true;
    }
    let mut left = placement.clone();
    trim::foreseen(world, policy, vmi, None, placement).leave(&mut left);
    fleet.look_up(&left).passes().fitting.iter().all(|node| Some(node) == own)
}

/// The CPU features that a running guest's launcher asks for and no node, its own included, offers.
#[must_use]
pub fn stale(vmi: &Vmi, cluster: &Cluster) -> Vec<String> {
    let selector = cluster.current_launcher(vmi).map(|pod: &Launcher| &pod.placement.selector);
    let nowhere = |(key, value): &&(std::borrow::Cow<'_, str>, std::borrow::Cow<'_, str>)| {
        Family::of(key) == Family::CpuFeature && cluster.fleet.bearing(key, value).is_empty()
    };
    selector.into_iter().flatten().filter(nowhere).map(|(key, _)| key.to_string()).collect()
}

/// The best model that all of these nodes can run; where there is none, the best that the most of them can.
#[must_use]
pub fn recommended(fleet: &Fleet, nodes: &Bits) -> Option<String> {
    if let Ok(candidates) = models::recommend(fleet, nodes).candidates {
        return candidates.into_iter().next().map(|candidate| candidate.model);
    }
    let classes = fleet.split_by_class(nodes);
    let vendors: BTreeSet<&str> =
        classes.iter().flat_map(|(class, _)| &class.vendors).map(|key| label::name(key)).collect();
    let vendors: Vec<&str> = vendors.into_iter().collect();
    let passes = |model: &str| {
        let mut usable = fleet.bearing(&format!("{}{model}", label::CPU_MODEL), "true");
        usable.intersect(nodes);
        usable
    };
    models::most_common(fleet, &vendors, passes).map(|(model, _)| model)
}

#[cfg(test)]
mod tests;
