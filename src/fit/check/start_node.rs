//! No node takes the guest at its start.

use super::{Check, CheckSpec, Detail, Finding};
use crate::fit::judgement::Judgement;
use crate::fit::remedy;
use crate::fit::subject::Stage;
use crate::fit::verdict::{Cause, Impact, Outcome};

pub(super) const SPEC: CheckSpec = CheckSpec {
    id: Check::StartNode,
    word: "start-node",
    always_reported: false,
    applies_to_launcher_pods: true,
    find,
};

/// No node takes the guest at its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoStartNode {
    /// How many nodes were judged.
    pub judged: usize,
    /// Whether there are nodes of another architecture, which were not.
    pub has_others: bool,
    /// Whether a node does not meet its selector.
    pub by_selector: bool,
    /// Whether a node meets its selector and fails its node affinity.
    pub by_affinity: bool,
    /// CPU entries of its selector that no node offers, where that is the cause.
    pub nowhere: Vec<(String, String)>,
    /// Whether what keeps it out may pass by itself.
    pub temporary: bool,
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
            by_selector: judgement.lacks_somewhere(),
            by_affinity: !judgement.excluded_nodes().is_empty(),
            nowhere: judgement.cpu_nowhere(),
            temporary: assessment.cause == Some(Cause::Temporary),
        }),
        remedies: remedy::offers(judgement),
    }]
}
