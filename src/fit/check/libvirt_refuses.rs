//! Libvirt was asked, and refuses the guest's CPU on nodes that fit by labels: no label and no cordon is the cause.

use super::{Check, CheckSpec, Detail, Finding};
use crate::fit::judgement::Judgement;
use crate::fit::libvirt::Incompatible;

pub(super) const SPEC: CheckSpec = CheckSpec {
    id: Check::LibvirtRefuses,
    word: "libvirt-refuses",
    always_reported: true,
    applies_to_launcher_pods: false,
    find,
};

fn find(judgement: &Judgement<'_, '_>) -> Vec<Finding> {
    let Some(asked) = judgement.subject.asked().filter(|_| judgement.is_judged()) else { return Vec::new() };
    let nodes = judgement.names(&judgement.refused_targets).into_iter();
    let refusals: Vec<(String, Incompatible)> =
        nodes.filter_map(|node| asked.refusal(&node).cloned().map(|why| (node, why))).collect();
    if refusals.is_empty() {
        return Vec::new();
    }
    vec![Finding::note(Check::LibvirtRefuses, "", Detail::LibvirtRefuses(refusals))]
}
