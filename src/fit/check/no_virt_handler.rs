//! Nodes on which no virt-handler runs, because KubeVirt's placement of workloads excludes them, or their taints do:
//! nothing labels them.

use std::collections::BTreeSet;

use super::{Check, CheckSpec, Detail, Finding, Reported};
use crate::fit::fleet::NodeIndex;
use crate::fit::judgement::Judgement;
use crate::fit::label::{self, Family};
use crate::fit::node::Taint;

pub(super) const SPEC: CheckSpec = CheckSpec {
    id: Check::NoVirtHandler,
    word: "no-virt-handler",
    reported: Reported::IfWarned,
    applies_to_launcher_pods: false,
    applies_to_refused_guests: false,
    immobilizes: false,
    doubt: None,
    find,
};

/// Nodes without virt-handler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoVirtHandler {
    /// The nodes, by name.
    pub nodes: Vec<String>,
    /// The taints for which virt-handler has no toleration, each once; empty if its node selector or node affinity
    /// excludes the nodes.
    pub taints: Vec<Taint>,
    /// Whether an operator writes the placement from a HyperConverged resource.
    pub by_hyperconverged: bool,
}

/// Virt-handler's heartbeat labels its node at once and never removes that label, so a node without it has no
/// virt-handler.
fn find(judgement: &Judgement<'_, '_>) -> Vec<Finding> {
    let Some(workloads) = &judgement.subject.configured.workloads else { return Vec::new() };
    if judgement.assessment.outcome.impact().is_none() || !judgement.is_judged() {
        return Vec::new();
    }
    let fleet = judgement.fleet;
    let mut nodes = fleet.without(label::SCHEDULABLE);
    nodes.intersect(&judgement.neighbours);
    // A dump may lack the label of the heartbeat alone.
    let is_labelled = |node: &NodeIndex| fleet.labels(*node).any(|(key, _)| Family::of(key).is_labeller());
    let labelled: Vec<NodeIndex> = nodes.iter().filter(is_labelled).collect();
    for node in labelled {
        nodes.remove(node);
    }
    let selected = fleet.look_up(&workloads.placement).passes().placement;
    let taints_of = |node: NodeIndex| {
        let keeps_out = |taint: &&Taint| taint.effect.refuses() && taint.is_for_choice();
        fleet.taints(node).iter().filter(keeps_out).filter(|taint| !workloads.placement.tolerates(taint))
    };
    let (in_place, excluded): (Vec<NodeIndex>, Vec<NodeIndex>) =
        nodes.iter().partition(|node| selected.contains(*node));
    let tainted: Vec<NodeIndex> = in_place.into_iter().filter(|node| taints_of(*node).next().is_some()).collect();
    let taints: BTreeSet<&Taint> = tainted.iter().flat_map(|node| taints_of(*node)).collect();
    let taints = taints.into_iter().cloned().collect();
    let finding = |(nodes, taints): (Vec<NodeIndex>, Vec<Taint>)| {
        let mut nodes: Vec<String> = nodes.into_iter().map(|node| fleet.name(node).to_owned()).collect();
        nodes.sort_unstable();
        let detail = NoVirtHandler { nodes, taints, by_hyperconverged: workloads.by_hyperconverged };
        Finding::note(Check::NoVirtHandler, "", Detail::NoVirtHandler(detail))
    };
    let found = [(excluded, Vec::new()), (tainted, taints)];
    found.into_iter().filter(|(nodes, _)| !nodes.is_empty()).map(finding).collect()
}
