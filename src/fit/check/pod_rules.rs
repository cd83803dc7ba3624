//! Rules that kube-scheduler decides by the pods on the nodes: required pod affinity and anti-affinity,
//! `DoNotSchedule` spread.
//!
//! Mirrors the scheduler's plugins `InterPodAffinity` and `PodTopologySpread`, whose results depend on the pods of the
//! moment: the rules are reported, not judged. One thing is certain: they take no node without the topology key of a
//! `DoNotSchedule` constraint (`Filter` of `pkg/scheduler/framework/plugins/podtopologyspread/filtering.go`) or of a
//! required pod affinity (`satisfyPodAffinity` of `pkg/scheduler/framework/plugins/interpodaffinity/filtering.go`).

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
    /// The topology keys of rules that fitting nodes lack, each with those nodes, by name: kube-scheduler takes none of
    /// them, regardless of pods.
    pub without_key: Vec<(PodRule, String, Vec<String>)>,
}

impl PodRules {
    /// Whether each fitting node lacks such a key, so that the other rules do not matter.
    pub(crate) fn is_nowhere(&self) -> bool {
        let lacks_one = |node: &String| self.without_key.iter().any(|(_, _, nodes)| nodes.contains(node));
        !self.fitting.is_empty() && self.fitting.iter().all(lacks_one)
    }
}

fn find(judgement: &Judgement<'_, '_>) -> Vec<Finding> {
    let rules = &judgement.subject.unjudged.pod_rules;
    let Some(first) = rules.first().filter(|_| judgement.is_judged()) else { return Vec::new() };
    let fitting = judgement.names(&judgement.passes.fitting);
    if fitting.is_empty() {
        return Vec::new();
    }
    let without_keys = judgement.subject.unjudged.without_keys(judgement.fleet);
    let without = without_keys.map(|(rule, key, mut nodes)| {
        nodes.intersect(&judgement.passes.fitting);
        (rule, key.to_owned(), judgement.names(&nodes))
    });
    let without_key = without.filter(|(_, _, nodes)| !nodes.is_empty()).collect();
    let field = judgement.field_of_guest(first.path());
    vec![Finding::note(
        Check::PodRules,
        field,
        Detail::PodRules(PodRules { rules: rules.clone(), fitting, without_key }),
    )]
}
