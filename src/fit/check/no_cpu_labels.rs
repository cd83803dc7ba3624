//! Nodes that virt-handler reports on and that have no CPU label at all.
//!
//! Mirrors `run` of `pkg/virt-handler/node-labeller/node_labeller.go`: the labeller writes all of its labels at once,
//! and none if it cannot read libvirt's capabilities, which it does once, at the start of virt-handler, or where
//! `skip-node` is set.

use super::{Check, CheckSpec, Detail, Finding, Reported};
use crate::fit::bits::Bits;
use crate::fit::fleet::NodeIndex;
use crate::fit::judgement::Judgement;
use crate::fit::label::{self, Family};
use crate::fit::outcome::{Outcome, Unknown};

pub(super) const SPEC: CheckSpec = CheckSpec {
    id: Check::NoCpuLabels,
    word: "no-cpu-labels",
    reported: Reported::IfWarned,
    applies_to_launcher_pods: false,
    applies_to_refused_guests: false,
    immobilizes: false,
    doubt: None,
    find,
};

/// Nodes without CPU labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoCpuLabels {
    /// The nodes that virt-handler should have labelled, by name.
    pub nodes: Vec<String>,
    /// The nodes where `skip-node` keeps it from that, by name.
    pub skipped: Vec<String>,
}

fn find(judgement: &Judgement<'_, '_>) -> Vec<Finding> {
    let fleet = judgement.fleet;
    let is_impaired = judgement.assessment.outcome.impact().is_some();
    // Without a host model on its node, KubeVirt may create no pod.
    let has_no_pod = matches!(judgement.assessment.outcome, Outcome::Unknown(Unknown::NotJudged(_)));
    let mut nodes = if is_impaired { judgement.neighbours.clone() } else { Bits::none(fleet.len()) };
    if let Some(source) = judgement.source.filter(|_| is_impaired || has_no_pod || !judgement.passes.fitting.is_empty())
    {
        nodes.insert(source);
    }
    let (mut found, mut skipped) = (Bits::none(fleet.len()), Bits::none(fleet.len()));
    for node in fleet.one_of_each_profile(&nodes) {
        if has_cpu_labels(judgement, node) {
            continue;
        }
        for other in nodes.iter().filter(|other| fleet.first_of_profile(*other) == fleet.first_of_profile(node)) {
            match (fleet.label(other, label::SCHEDULABLE), fleet.skip_node(other)) {
                // No virt-handler has run there.
                (None, _) => {}
                // The labeller writes no CPU label on arm64.
                _ if fleet.label(other, label::ARCH) == Some("arm64") => {}
                (Some(_), Some(_)) => skipped.insert(other),
                (Some(_), None) => found.insert(other),
            }
        }
    }
    if found.is_empty() && skipped.is_empty() {
        return Vec::new();
    }
    let detail = NoCpuLabels { nodes: judgement.names(&found), skipped: judgement.names(&skipped) };
    vec![Finding::note(Check::NoCpuLabels, "", Detail::NoCpuLabels(detail))]
}

fn has_cpu_labels(judgement: &Judgement<'_, '_>, node: NodeIndex) -> bool {
    judgement.fleet.labels(node).any(|(key, _)| {
        let family = Family::of(key);
        family.is_cpu() && family != Family::SchedulingTsc
    })
}
