//! Libvirt refuses the guest's CPU on nodes that fit by labels, or reports that they do not provide the CPU
//! that its start requires. Neither a label nor a cordon is the cause.

use super::{Check, CheckSpec, Detail, Finding, Reported};
use crate::fit::bits::Bits;
use crate::fit::judgement::Judgement;
use crate::fit::subject::Stage;

pub(super) const SPEC: CheckSpec = CheckSpec {
    id: Check::LibvirtRefuses,
    word: "libvirt-refuses",
    reported: Reported::Always,
    applies_to_launcher_pods: false,
    applies_to_refused_guests: false,
    immobilizes: false,
    doubt: None,
    find,
};

fn find(judgement: &Judgement<'_, '_>) -> Vec<Finding> {
    if !judgement.is_judged() {
        return Vec::new();
    }
    let subject = judgement.subject;
    let refusals = |nodes: &Bits| {
        let why = |node: String| Some((subject.asked()?.refusal(&node)?.clone(), node));
        judgement.names(nodes).into_iter().filter_map(why).map(|(why, node)| (node, why)).collect::<Vec<_>>()
    };
    if judgement.refused_targets.is_empty() {
        let is_stuck = judgement.is_migration() && judgement.passes.fitting.is_empty();
        let nodes = if is_stuck { judgement.refused_elsewhere() } else { None };
        let refusals = nodes.map(|nodes| refusals(&nodes)).filter(|refusals| !refusals.is_empty());
        let found = refusals.map(Detail::LibvirtRefusesToo);
        return found.map(|detail| Finding::note(Check::LibvirtRefuses, "", detail)).into_iter().collect();
    }
    let nodes = judgement.names(&judgement.refused_targets).into_iter();
    let detail = match &subject.stage {
        Stage::Migration(_) => Detail::LibvirtRefuses(refusals(&judgement.refused_targets)),
        Stage::Start(_) => {
            let why =
                |node: String| (node.clone(), subject.unmet_at_start(&subject.placement, &subject.features, &node));
            Detail::FailsAtStart(nodes.map(why).collect())
        }
    };
    vec![Finding::note(Check::LibvirtRefuses, "", detail)]
}
