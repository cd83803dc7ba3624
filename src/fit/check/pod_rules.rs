//! Rules that kube-scheduler decides by the pods on the nodes: required pod affinity and anti-affinity,
//! `DoNotSchedule` spread.
//!
//! Mirrors the scheduler's plugins `InterPodAffinity` and `PodTopologySpread`, whose results depend on the
//! pods of the moment: the rules are reported, not judged.

use super::{Check, CheckSpec, Detail, Finding};
use crate::fit::judgement::Judgement;
use crate::fit::subject::PodRule;

pub(super) const SPEC: CheckSpec =
    CheckSpec { id: Check::PodRules, word: "pod-rules", always_reported: false, applies_to_launcher_pods: false, find };

/// Rules that may keep the guest off fitting nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodRules {
    /// The rules, each once.
    pub rules: Vec<PodRule>,
    /// The fitting nodes, by name.
    pub fitting: Vec<String>,
}

fn find(judgement: &Judgement<'_, '_>) -> Vec<Finding> {
    let rules = &judgement.subject.unjudged.pod_rules;
    let Some(first) = rules.first().filter(|_| judgement.is_judged()) else { return Vec::new() };
    let fitting = judgement.names(&judgement.passes.fitting);
    if fitting.is_empty() {
        return Vec::new();
    }
    let field = judgement.field_of_guest(first.path());
    vec![Finding::note(Check::PodRules, field, Detail::PodRules(PodRules { rules: rules.clone(), fitting }))]
}
