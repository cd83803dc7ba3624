//! Rules that kube-scheduler decides by the pods on the nodes: required pod affinity and anti-affinity,
//! `DoNotSchedule` spread.
//!
//! Mirrors the scheduler's plugins `InterPodAffinity` and `PodTopologySpread`, whose results depend on the pods of the
//! moment: the rules are reported, not judged here. Where these pods are known, `answers::pod_rules::settle` judges
//! them. One thing is certain: they take no node without the topology key of a
//! `DoNotSchedule` constraint (`Filter` of `pkg/scheduler/framework/plugins/podtopologyspread/filtering.go`) or of a
//! required pod affinity (`satisfyPodAffinity` of `pkg/scheduler/framework/plugins/interpodaffinity/filtering.go`).

use super::{Check, CheckSpec, Detail, Doubt, Finding, Reported};
use crate::fit::judgement::Judgement;
use crate::fit::subject::PodRule;

pub(super) const SPEC: CheckSpec = CheckSpec {
    id: Check::PodRules,
    word: "pod-rules",
    reported: Reported::IfWarned,
    applies_to_launcher_pods: false,
    applies_to_refused_guests: false,
    immobilizes: false,
    doubt: Some(Doubt::Scheduler),
    find,
};

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
    /// The fitting nodes that pods close, where the pods on the nodes are known.
    pub closed: Vec<ClosedByPods>,
}

/// Fitting nodes that pods close to a guest, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClosedByPods {
    /// By required pod anti-affinity, the guest's own or that of others.
    Apart {
        /// The nodes.
        nodes: Vec<String>,
        /// The guests and other pods that exclude it.
        keepers: Vec<String>,
    },
    /// By the guest's required pod affinity: no pod that it selects is in the domain of these nodes.
    WithoutMates {
        /// The nodes.
        nodes: Vec<String>,
        /// The topology keys.
        keys: Vec<String>,
        /// The nodes that such pods are on.
        mates: Vec<String>,
    },
}

impl ClosedByPods {
    /// Returns the nodes.
    pub(crate) fn nodes(&self) -> &[String] {
        match self {
            Self::Apart { nodes, .. } | Self::WithoutMates { nodes, .. } => nodes,
        }
    }
}

impl PodRules {
    /// Whether each fitting node is closed for certain, so that the rules that are not judged do not matter.
    pub(crate) fn is_nowhere(&self) -> bool {
        !self.fitting.is_empty() && self.fitting.iter().all(|node| self.is_closed(node))
    }

    /// Whether a node lacks a topology key, or pods close it.
    pub(crate) fn is_closed(&self, node: &str) -> bool {
        let without_key = self.without_key.iter().map(|(_, _, nodes)| nodes.as_slice());
        let mut closed = without_key.chain(self.closed.iter().map(ClosedByPods::nodes));
        closed.any(|nodes| nodes.iter().any(|closed| closed == node))
    }

    /// Whether nothing is left to say.
    pub(crate) fn is_empty(&self) -> bool {
        self.rules.is_empty() && self.without_key.is_empty() && self.closed.is_empty()
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
        Detail::PodRules(PodRules { rules: rules.clone(), fitting, without_key, closed: Vec::new() }),
    )]
}
