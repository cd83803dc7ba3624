//! kube-scheduler goes by the pods on the nodes as well: required pod affinity and anti-affinity, `DoNotSchedule` spread.
//!
//! Mirrors the scheduler's plugins `InterPodAffinity` and `PodTopologySpread`, which depend on what runs at that moment: they are
//! named, not judged.

use super::{Check, CheckSpec, Detail, Finding};
use crate::fit::judgement::Judgement;
use crate::fit::subject::PodRule;

pub(super) const SPEC: CheckSpec =
    CheckSpec { id: Check::PodRules, word: "pod-rules", always_reported: false, applies_to_launcher_pods: false, find };

/// Rules that may keep the guest off nodes that fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodRules {
    /// The rules, each once.
    pub rules: Vec<PodRule>,
    /// The nodes that fit, by name.
    pub fitting: Vec<String>,
}

fn find(judgement: &Judgement<'_, '_>) -> Vec<Finding> {
    let rules = &judgement.subject.pod_rules;
    let Some(first) = rules.first().filter(|_| judgement.is_judged()) else { return Vec::new() };
    let fitting = judgement.names(&judgement.passes.fitting);
    if fitting.is_empty() {
        return Vec::new();
    }
    let field = judgement.field_of_guest(first.path());
    vec![Finding::note(Check::PodRules, field, Detail::PodRules(PodRules { rules: rules.clone(), fitting }))]
}
