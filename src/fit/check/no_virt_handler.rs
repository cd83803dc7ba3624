//! Nodes on which no virt-handler has run: nothing labels them. KubeVirt's placement of workloads excludes them, or
//! their taints do, or the reason is not known.

use std::collections::BTreeSet;

use super::{Check, CheckSpec, Detail, Finding, Reported};
use crate::fit::fleet::NodeIndex;
use crate::fit::judgement::Judgement;
use crate::fit::label::{self, Family};
use crate::fit::node::Taint;
use crate::fit::subject::Workloads;

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

/// Nodes on which no virt-handler has run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoVirtHandler {
    /// The nodes, by name.
    pub nodes: Vec<String>,
    /// The reason.
    pub why: NotPlaced,
    /// Whether an operator writes the placement from a HyperConverged resource.
    pub by_hyperconverged: bool,
}

/// The reason why no virt-handler has run on nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotPlaced {
    /// Its node selector or node affinity excludes the nodes.
    Excluded,
    /// It has no toleration for these taints, each once.
    Taints(Vec<Taint>),
    /// Its placement, as far as it is known, allows the nodes.
    NotKnown,
}

/// Virt-handler's heartbeat labels its node at once and never removes that label, so a node without it has no
/// virt-handler.
fn find(judgement: &Judgement<'_, '_>) -> Vec<Finding> {
    if judgement.assessment.outcome.impact().is_none() || !judgement.is_judged() {
        return Vec::new();
    }
    let fleet = judgement.fleet;
    let mut nodes = fleet.without(label::SCHEDULABLE);
    // A dump without any heartbeat shows nothing.
    if nodes.count() == fleet.len() {
        return Vec::new();
    }
    nodes.intersect(&judgement.neighbours);
    // A dump may lack the label of the heartbeat alone.
    let is_labelled = |node: &NodeIndex| fleet.labels(*node).any(|(key, _)| Family::of(key).is_labeller());
    let labelled: Vec<NodeIndex> = nodes.iter().filter(is_labelled).collect();
    for node in labelled {
        nodes.remove(node);
    }
    if nodes.is_empty() {
        return Vec::new();
    }
    let workloads = judgement.subject.configured.workloads.as_ref();
    let selected = workloads.map(|workloads| fleet.look_up(&workloads.placement).passes().placement);
    let taints_of = |node: NodeIndex| {
        let keeps_out = |taint: &&Taint| {
            let tolerates = |workloads: &Workloads| workloads.placement.tolerates(taint);
            taint.effect.refuses() && taint.is_for_choice() && !workloads.is_none_or(tolerates)
        };
        fleet.taints(node).iter().filter(keeps_out)
    };
    let is_selected = |node: &NodeIndex| selected.as_ref().is_none_or(|selected| selected.contains(*node));
    let (in_place, excluded): (Vec<NodeIndex>, Vec<NodeIndex>) = nodes.iter().partition(is_selected);
    let (tainted, others): (Vec<NodeIndex>, Vec<NodeIndex>) =
        in_place.into_iter().partition(|node| taints_of(*node).next().is_some());
    let taints: BTreeSet<&Taint> = tainted.iter().flat_map(|node| taints_of(*node)).collect();
    let taints = NotPlaced::Taints(taints.into_iter().cloned().collect());
    let finding = |(nodes, why): (Vec<NodeIndex>, NotPlaced)| {
        let mut nodes: Vec<String> = nodes.into_iter().map(|node| fleet.name(node).to_owned()).collect();
        nodes.sort_unstable();
        let by_hyperconverged = workloads.is_some_and(|workloads| workloads.by_hyperconverged);
        Finding::note(Check::NoVirtHandler, "", Detail::NoVirtHandler(NoVirtHandler { nodes, why, by_hyperconverged }))
    };
    let found = [(excluded, NotPlaced::Excluded), (tainted, taints), (others, NotPlaced::NotKnown)];
    found.into_iter().filter(|(nodes, _)| !nodes.is_empty()).map(finding).collect()
}
