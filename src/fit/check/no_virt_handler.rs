//! Nodes on which no virt-handler runs, because KubeVirt's placement of workloads excludes them: nothing labels them.

use super::{Check, CheckSpec, Detail, Finding};
use crate::fit::fleet::NodeIndex;
use crate::fit::judgement::Judgement;
use crate::fit::label::{self, Family};

pub(super) const SPEC: CheckSpec = CheckSpec {
    id: Check::NoVirtHandler,
    word: "no-virt-handler",
    always_reported: false,
    applies_to_launcher_pods: false,
    find,
};

/// Nodes without virt-handler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoVirtHandler {
    /// The nodes, by name.
    pub nodes: Vec<String>,
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
    if nodes.is_empty() {
        return Vec::new();
    }
    nodes.subtract(&fleet.look_up(&workloads.placement).passes().placement);
    // A dump may lack the label of the heartbeat alone.
    let is_labelled = |node: &NodeIndex| fleet.labels(*node).any(|(key, _)| Family::of(key).is_labeller());
    let labelled: Vec<NodeIndex> = nodes.iter().filter(is_labelled).collect();
    for node in labelled {
        nodes.remove(node);
    }
    if nodes.is_empty() {
        return Vec::new();
    }
    let detail = NoVirtHandler { nodes: judgement.names(&nodes), by_hyperconverged: workloads.by_hyperconverged };
    vec![Finding::note(Check::NoVirtHandler, "", Detail::NoVirtHandler(detail))]
}
