//! No node takes the guest at its start.

use super::{Check, CheckSpec, Detail, Finding, Reported};
use crate::fit::judgement::Judgement;
use crate::fit::outcome::{Cause, Impact, Outcome};
use crate::fit::remedy;
use crate::fit::subject::Stage;

pub(super) const SPEC: CheckSpec = CheckSpec {
    id: Check::StartNode,
    word: "start-node",
    reported: Reported::AsHeadline,
    applies_to_launcher_pods: true,
    applies_to_refused_guests: false,
    immobilizes: false,
    doubt: None,
    find,
};

/// No node takes the guest at its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoStartNode {
    /// Number of judged nodes.
    pub judged: usize,
    /// Whether there are nodes of another architecture, which were not judged.
    pub has_others: bool,
    /// CPU entries of its selector that no node offers, if they are the cause.
    pub nowhere: Vec<(String, String)>,
    /// Whether the guest runs, and this manifest of it counts at its next start.
    pub next_time: bool,
    /// The condition that excludes these nodes.
    pub by: KeptOff,
}

/// The condition that keeps a guest off all nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeptOff {
    /// Only a temporary condition on one of them.
    Temporary,
    /// The guest's selector.
    Selector,
    /// The guest's node affinity.
    Affinity,
    /// The guest's selector for some nodes, its node affinity for the others.
    Both,
    /// Libvirt, which refuses the nodes that fit by labels.
    Libvirt,
    /// None that is known.
    Unknown,
}

fn kept_off(judgement: &Judgement<'_, '_>) -> KeptOff {
    match (judgement.lacks_somewhere(), !judgement.excluded_nodes().is_empty()) {
        _ if !judgement.refused_targets.is_empty() => KeptOff::Libvirt,
        _ if judgement.assessment.cause == Some(Cause::Temporary) => KeptOff::Temporary,
        (true, false) => KeptOff::Selector,
        (false, true) => KeptOff::Affinity,
        (true, true) => KeptOff::Both,
        (false, false) => KeptOff::Unknown,
    }
}

fn find(judgement: &Judgement<'_, '_>) -> Vec<Finding> {
    let assessment = &judgement.assessment;
    let impact = Impact::Unschedulable;
    if !matches!(judgement.subject.stage, Stage::Start(_)) || assessment.outcome != Outcome::Impaired(impact) {
        return Vec::new();
    }
    vec![Finding {
        check: Check::StartNode,
        impact: Some(impact),
        field: judgement.field(),
        detail: Detail::NoStartNode(NoStartNode {
            judged: assessment.nodes_judged,
            has_others: judgement.has_other_architectures(),
            nowhere: judgement.cpu_nowhere(),
            next_time: judgement.subject.is_for_next_start(),
            by: kept_off(judgement),
        }),
        remedies: remedy::offers(judgement),
    }]
}
