//! What the status of a policy tells.

use super::pool::{Pool, recommended};
use super::standing::{Standing, standing};
use super::{Demand, Enough, Guests, Looked, policy_of};
use crate::enforce::trim;
use crate::fit::bits::Bits;
use crate::fit::fleet::Fleet;
use crate::fit::label::Family;
use crate::fit::verdict::Impact;
use crate::kubevirt::cluster::{Cluster, Launcher};
use crate::kubevirt::migration;
use crate::kubevirt::wire::Vmi;
use crate::policy::{CommonModel, LauncherSelectors, Policy};
use crate::say::plural;
use crate::world::World;
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
