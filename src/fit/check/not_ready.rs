//! A node fits, although its `Ready` condition is not `True`: the scheduler uses taints instead.

use super::{Check, CheckSpec, Detail, Finding, Reported};
use crate::fit::judgement::Judgement;

pub(super) const SPEC: CheckSpec = CheckSpec {
    id: Check::NotReady,
    word: "not-ready",
    reported: Reported::IfWarned,
    applies_to_launcher_pods: true,
    applies_to_refused_guests: false,
    immobilizes: false,
    doubt: None,
    find,
};

fn find(judgement: &Judgement<'_, '_>) -> Vec<Finding> {
    let not_ready = judgement.fleet.not_ready();
    if !judgement.assessment.fitting.meets(not_ready) {
        return Vec::new();
    }
    let mut nodes = judgement.assessment.fitting.clone();
    nodes.intersect(not_ready);
    vec![Finding::note(Check::NotReady, "", Detail::NotReady(judgement.names(&nodes)))]
}
