//! The content of a policy's status.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Deadline;
use super::guest_state::{GuestStates, Tally};
use super::model_use::{ModelUse, model_use};
use super::pool::Pool;
use super::recommend::{NotCountedRow, Recommended, recommended};
use super::turns::{Elapsed, in_turn};
use crate::fit::fleet::Fleet;
use crate::fit::label::Family;
use crate::fit::plural;
use crate::judge::{GuestOf, all_guests};
use crate::kubevirt::cluster::{Cluster, Launcher};
use crate::kubevirt::migration;
use crate::kubevirt::wire::Vmi;
use crate::policy::{LabelSelector, Policy};
use crate::world::World;

/// The nodes of a policy, and the models that they can run. Also the JSON of `policies` of an audit: fields are only
/// ever added.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyNodes {
    /// The policy.
    pub policy: String,
    /// Number of selected nodes that run guests.
    pub nodes: usize,
    /// Number of those of amd64, which a common model is for.
    pub amd64_nodes: usize,
    /// Its common model; `None` without one.
    pub common_model: Option<String>,
    /// Number of nodes that can run the common model; `None` without one.
    pub usable_nodes: Option<usize>,
    /// The model that `recommend` names for its nodes: the best that all of them can run; null without one.
    pub recommended_model: Option<String>,
    /// Number of nodes that can run that model: those of an architecture with models; null without one.
    pub recommended_runs_on: Option<usize>,
    /// A sentence that names the nodes that cannot run the common model; if all can, those that cannot run the next
    /// better one.
    pub of_model: Option<String>,
    /// The selected nodes with a virt-handler of which no CPU is known.
    pub not_counted: Vec<NotCountedRow>,
    /// The reason for the recommendation, or for none.
    #[serde(skip)]
    pub(crate) why: String,
    /// Whether the policy has a `nodeSelector`.
    #[serde(skip)]
    pub(crate) has_selector: bool,
}

impl PolicyNodes {
    /// Computes the nodes of this policy.
    #[must_use]
    pub fn of(cluster: &Cluster, policy: &Policy) -> Self {
        let fleet: &Fleet = &cluster.fleet;
        let pool = Pool::of(fleet, policy);
        let common = policy.common_model.as_ref().map(|common| common.name.as_str());
        let Recommended { model: recommended_model, why, counted, .. } = recommended(cluster, &pool.nodes);
        let usable_nodes = common.map(|common| pool.usable(fleet, common).count());
        let best = recommended_model.as_deref().zip(Some(counted));
        let of_model = of_model(cluster, &pool, common.zip(usable_nodes), best);
        Self {
            policy: policy.name.clone(),
            nodes: pool.nodes.count(),
            amd64_nodes: pool.amd64.count(),
            common_model: common.map(str::to_owned),
            usable_nodes,
            recommended_runs_on: recommended_model.is_some().then_some(counted),
            of_model,
            recommended_model,
            not_counted: pool.not_counted.into_iter().map(|(node, why)| NotCountedRow { node, why }).collect(),
            why,
            has_selector: has_selector(policy),
        }
    }

    /// Returns `CPUPolicy intel-pool: Skylake-Server-noTSX-IBRS runs on 5 of 5 nodes; …`.
    #[must_use]
    pub fn line(&self) -> String {
        let Self { policy, nodes, amd64_nodes, .. } = self;
        let recommended = self.recommended_model.as_ref().zip(self.recommended_runs_on);
        let what = match (*nodes, &self.common_model, self.usable_nodes, recommended) {
            (0, ..) if self.has_selector => Some("its nodeSelector selects no node that runs guests".to_owned()),
            (0, ..) => Some("no node runs guests".to_owned()),
            (nodes, Some(_), Some(_), _) if *amd64_nodes == 0 => Some(no_amd64(nodes)),
            // `of_model` names the nodes that it leaves out.
            (_, Some(model), Some(usable), _) => {
                (*amd64_nodes == usable).then(|| format!("{model} runs on {usable} of {}", plural::nodes(*amd64_nodes)))
            }
            (nodes, _, _, Some((best, on))) if on == nodes => {
                Some(format!("no common model; recommended for its {}: {best}", plural::nodes(nodes)))
            }
            (nodes, _, _, Some((best, on))) => Some(format!(
                "no common model; recommended: {best}, which runs on {on} of its {}",
                plural::nodes(nodes)
            )),
            (nodes, _, _, None) => {
                Some(format!("no common model; none is recommended for its {}: {}", plural::nodes(nodes), self.why))
            }
        };
        let not_counted = (!self.not_counted.is_empty()).then(|| {
            let names: Vec<&str> = self.not_counted.iter().map(|row| row.node.as_str()).collect();
            format!("not counted, as no CPU is known there: {}", plural::fold_names(&names, 3))
        });
        let parts: Vec<&str> =
            [what.as_deref(), self.of_model.as_deref(), not_counted.as_deref()].into_iter().flatten().collect();
        format!("CPUPolicy {policy}: {}", parts.join("; "))
    }
}

/// Returns a note about the common model, given with the number of nodes that can run it; if some cannot, with the
/// recommended one, given likewise. Without a common model the note is about the next model above the recommended one.
fn of_model(
    cluster: &Cluster,
    pool: &Pool,
    common: Option<(&str, usize)>,
    best: Option<(&str, usize)>,
) -> Option<String> {
    let Some((common, usable)) = common else { return pool.next_higher(cluster, best?.0) };
    let note = pool.of_model(cluster, common)?;
    let is_whole = usable == pool.amd64.count();
    match best.filter(|(model, _)| !is_whole && *model != common) {
        Some((model, on)) => {
            Some(format!("{note}; recommended: {model}, which runs on {on} of {}", plural::nodes(pool.amd64.count())))
        }
        None => Some(note),
    }
}

/// The content of a policy's status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyStatus {
    /// Its nodes.
    pub nodes: PolicyNodes,
    /// Number of guests it governs that run or wait to start.
    pub guests: usize,
    /// Number of these guests that do not use the common model.
    pub not_compliant: usize,
    /// The states of these guests now.
    pub now: Tally,
    /// The states of the guests it will govern at their next start, including stopped ones.
    pub at_next_start: Tally,
    /// Number of running guests that require a CPU feature that no node offers any more.
    pub stale: usize,
    /// Number of guests that are too large to judge: they count neither as pinned nor as unschedulable.
    pub too_large: usize,
    /// Number of guests of the cluster that are not counted, because judging those of their namespace takes too long,
    /// by namespace.
    pub not_counted: BTreeMap<String, usize>,
}

impl PolicyStatus {
    /// Returns `5/6`: the nodes that can run the common model, of those of amd64; without a common model, the number of
    /// nodes.
    #[must_use]
    pub fn coverage(&self) -> String {
        let PolicyNodes { nodes, amd64_nodes, usable_nodes, .. } = &self.nodes;
        match usable_nodes {
            Some(usable) => format!("{usable}/{amd64_nodes}"),
            None => nodes.to_string(),
        }
    }

    /// Returns `it governs 12 guests, 1 of which is too large to judge`.
    fn governs(&self) -> String {
        let guests = plural::number(self.guests, "guest", "guests");
        let too_large = match (self.guests, self.too_large) {
            (_, 0) => String::new(),
            (1, 1) => ", which is too large to judge".to_owned(),
            (_, 1) => ", 1 of which is too large to judge".to_owned(),
            (_, many) => format!(", {many} of which are too large to judge"),
        };
        let denied = match (self.now.denied, self.at_next_start.denied) {
            (0, 0) => String::new(),
            (now, next) => format!("; it would deny {now} now, as they run, and {next} at their next start"),
        };
        let least = if self.not_counted.is_empty() { "" } else { "at least " };
        format!("it governs {least}{} {guests}{too_large}{denied}{}", self.guests, self.uncounted())
    }

    /// Returns `; 80 guests of shop are not counted, because …`; empty if all are counted.
    fn uncounted(&self) -> String {
        let namespaces: Vec<&str> = self.not_counted.keys().map(String::as_str).collect();
        match self.not_counted.values().sum::<usize>() {
            0 => String::new(),
            left => format!(
                "; {} of {} {} not counted, because judging {} takes too long",
                plural::counted(left, "guest", "guests"),
                plural::fold_names(&namespaces, 3),
                plural::number(left, "is", "are"),
                plural::number(left, "it", "them"),
            ),
        }
    }

    /// Returns its conditions, if it is valid.
    #[must_use]
    pub fn conditions(&self) -> [PolicyCondition; 3] {
        let PolicyNodes { nodes, amd64_nodes, usable_nodes, of_model, has_selector, .. } = &self.nodes;
        let (ready, reason, message) = match (*nodes, usable_nodes) {
            (0, _) => (false, "NoNodes", no_nodes(*has_selector).to_owned()),
            (nodes, Some(0)) if *amd64_nodes == 0 => (false, "ModelNotUsable", no_amd64(nodes)),
            (_, Some(0)) => {
                let of = plural::nodes(*amd64_nodes);
                (false, "ModelNotUsable", format!("the common model is usable on 0 of {of}"))
            }
            (_, _) => {
                let of_model = of_model.iter().map(|line| format!("; {line}"));
                (true, "InForce", self.governs() + &of_model.collect::<String>())
            }
        };
        let ready = PolicyCondition { kind: "Ready", holds: ready, reason, message };
        let valid = PolicyCondition { kind: "Valid", holds: true, reason: "Valid", message: String::new() };
        let stalled = PolicyCondition { kind: "Stalled", holds: false, reason: "Valid", message: String::new() };
        [valid, ready, stalled]
    }
}

/// Whether a policy has a `nodeSelector`.
fn has_selector(policy: &Policy) -> bool {
    policy.node_selector != LabelSelector::default()
}

/// Returns the message about a policy without a node.
pub(crate) fn no_nodes(has_selector: bool) -> &'static str {
    if has_selector { "nodeSelector selects no node that runs guests" } else { "no node runs guests" }
}

/// Returns the message about a common model for nodes none of which is of amd64.
fn no_amd64(nodes: usize) -> String {
    let none = plural::number(nodes, "its node is not", "none of its nodes is");
    format!("a common model is for amd64 alone, and {none} of amd64")
}

/// A condition of a policy's status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyCondition {
    /// The `type`: `Valid`, `Ready`, or `Stalled`, which kstatus reads: nothing changes until the policy is edited.
    pub kind: &'static str,
    /// Whether the `status` is `True`.
    pub holds: bool,
    /// The `reason`.
    pub reason: &'static str,
    /// The `message`.
    pub message: String,
}

impl PolicyCondition {
    /// Returns `True`, or `False` with the reason: `False,NoNodes`.
    #[must_use]
    pub fn word(&self) -> String {
        if self.holds { "True".to_owned() } else { format!("False,{}", self.reason) }
    }
}

/// Returns the conditions of an invalid policy, which is ignored entirely.
pub(crate) fn conditions_of_invalid(problem: &str) -> [PolicyCondition; 3] {
    let message = problem.to_owned();
    let stalled = PolicyCondition { kind: "Stalled", holds: true, reason: "Invalid", message: message.clone() };
    [
        PolicyCondition { kind: "Valid", holds: false, reason: "Invalid", message },
        PolicyCondition {
            kind: "Ready",
            holds: false,
            reason: "Invalid",
            message: "it is ignored until it is valid".to_owned(),
        },
        stalled,
    ]
}

/// Returns the status of every policy of the world, in their order. Once the time is over, it leaves out the guests of
/// the namespaces that used the most.
#[must_use]
pub fn statuses(world: &World, is_over: Deadline<'_>, elapsed: Elapsed<'_>) -> Vec<PolicyStatus> {
    let cluster = &world.cluster;
    let mut out: Vec<PolicyStatus> = world
        .policies
        .iter()
        .map(|policy| PolicyStatus { nodes: PolicyNodes::of(cluster, policy), ..PolicyStatus::default() })
        .collect();
    let mut judged = GuestStates::new(world);
    let guests = all_guests(cluster).map(|guest| (guest.metadata().namespace.as_str(), guest));
    let left = in_turn(guests, is_over, elapsed, |guest| count(world, guest, &mut judged, &mut out));
    let left: BTreeMap<String, usize> =
        left.into_iter().map(|(namespace, left)| (namespace.to_owned(), left)).collect();
    for status in &mut out {
        status.not_counted.clone_from(&left);
    }
    out
}

fn count<'w>(world: &'w World, guest: GuestOf<'w>, judged: &mut GuestStates<'w>, statuses: &mut [PolicyStatus]) {
    let of = |policy: Option<&str>| world.policies.iter().position(|known| Some(known.name.as_str()) == policy);
    let next = judged.at_next_start(guest);
    if let Some(at) = of(next.state.policy.as_deref()) {
        statuses[at].at_next_start.add(&next.state);
    }
    let GuestOf::Vmi(vmi) = guest else { return };
    let now = judged.now(vmi);
    let Some(at) = of(now.policy.as_deref()) else { return };
    let (policy, status) = (&world.policies[at], &mut statuses[at]);
    status.now.add(&now);
    status.guests += 1;
    status.too_large += usize::from(vmi.metadata.excess.is_some());
    let off = |common| model_use(vmi, &world.cluster, common) == ModelUse::Off;
    status.not_compliant += usize::from(policy.common_model.as_ref().is_some_and(off));
    status.stale += usize::from(migration::runs(vmi) && !stale(vmi, &world.cluster).is_empty());
}

/// Returns the CPU features that a running guest's launcher requires and no node, its own included, has.
#[must_use]
pub fn stale(vmi: &Vmi, cluster: &Cluster) -> Vec<String> {
    let selector = cluster.current_launcher(vmi).map(|pod: &Launcher| &pod.placement.selector);
    let nowhere = |(key, value): &&(std::borrow::Cow<'_, str>, std::borrow::Cow<'_, str>)| {
        Family::of(key) == Family::CpuFeature && cluster.fleet.bearing(key, value).is_empty()
    };
    selector.into_iter().flatten().filter(nowhere).map(|(key, _)| key.to_string()).collect()
}

#[cfg(test)]
mod tests;
