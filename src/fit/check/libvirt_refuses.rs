//! Libvirt refuses the guest's CPU on nodes that fit by labels, or reports that they do not provide the CPU
//! that its start requires. Neither a label nor a cordon is the cause.

use super::{Check, CheckSpec, Detail, Finding, Reported};
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
    if !judgement.is_judged() || judgement.refused_targets.is_empty() {
        return Vec::new();
    }
    let subject = judgement.subject;
    let nodes = judgement.names(&judgement.refused_targets).into_iter();
    let detail = match &subject.stage {
        Stage::Migration(_) => {
            let why = |node: String| Some((subject.asked()?.refusal(&node)?.clone(), node));
            Detail::LibvirtRefuses(nodes.filter_map(why).map(|(why, node)| (node, why)).collect())
        }
        Stage::Start(_) => {
            let why =
                |node: String| (node.clone(), subject.unmet_at_start(&subject.placement, &subject.features, &node));
            Detail::FailsAtStart(nodes.map(why).collect())
        }
    };
    vec![Finding::note(Check::LibvirtRefuses, "", detail)]
}
