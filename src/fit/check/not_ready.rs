//! A node fits, although its `Ready` condition is not `True`: the scheduler uses taints instead.

use super::{Check, CheckSpec, Detail, Finding};
use crate::fit::judgement::Judgement;

pub(super) const SPEC: CheckSpec =
    CheckSpec { id: Check::NotReady, word: "not-ready", always_reported: false, applies_to_launcher_pods: true, find };

fn find(judgement: &Judgement<'_, '_>) -> Vec<Finding> {
    let not_ready = judgement.fleet.not_ready();
    if !judgement.assessment.fitting.meets(not_ready) {
        return Vec::new();
    }
    let mut nodes = judgement.assessment.fitting.clone();
    nodes.intersect(not_ready);
    vec![Finding::note(Check::NotReady, "", Detail::NotReady(judgement.names(&nodes)))]
}
