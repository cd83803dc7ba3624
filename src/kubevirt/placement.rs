//! Placement requirements of a pod, converted from the API's types.

use std::borrow::Cow;

use super::defaults::ClusterConfig;
use super::wire::{self, NodePlacement, Pod, Toleration};
use crate::fit::node::Effect;
use crate::fit::placement::{self, Expression, NameRule, Placement, Term, TolerationOperator};
use crate::fit::subject::Workloads;
use crate::word::Word as _;

/// Returns the placement requirements of a pod.
pub(crate) fn of_pod<'a>(pod: &Pod<'a>) -> Placement<'a> {
    let required = &pod.spec.affinity.node_affinity.required_during_scheduling_ignored_during_execution;
    Placement {
        selector: pod.spec.node_selector.0.iter().cloned().collect(),
        affinity: required.clone().map(|required| node_selector(required).into()),
        tolerations: pod.spec.tolerations.iter().map(toleration).collect(),
        node_name: pod.spec.node_name.as_ref().map(|name| name.0.clone()),
    }
}

/// Returns the placement of virt-handler; `None` if it is not known. Mirrors `InjectPlacementMetadata` of
/// `pkg/virt-operator/resource/placement/placement.go` (`resource/apply/reconcile.go` in earlier releases), called with
/// `spec.workloads`. `NewHandlerDaemonSet` of `generate/components/daemonsets.go` has no tolerations of its own.
pub(crate) fn of_workloads(config: &ClusterConfig) -> Option<Workloads> {
    if config.excess.is_some() || !config.is_known {
        return None;
    }
    let unset = NodePlacement::default();
    let NodePlacement { node_selector: own, affinity, tolerations } = config.workloads.as_ref().unwrap_or(&unset);
    let required = affinity.node_affinity.required_during_scheduling_ignored_during_execution.clone();
    let placement = Placement {
        selector: own.iter().map(|(key, value)| (Cow::Owned(key.clone()), Cow::Owned(value.clone()))).collect(),
        affinity: required.map(|required| node_selector(required).into()),
        tolerations: tolerations.iter().map(toleration).collect(),
        ..Placement::default()
    };
    Some(Workloads { placement, by_hyperconverged: config.is_hyperconverged })
}

/// Converts a node selector.
pub(crate) fn node_selector(selector: wire::NodeSelector) -> placement::NodeSelector {
    let term = |term: wire::NodeSelectorTerm| Term {
        expressions: term
            .match_expressions
            .into_iter()
            .map(|rule| Expression::new(rule.key, &rule.operator, rule.values))
            .collect(),
        names: term.match_fields.into_iter().map(name_rule).collect(),
    };
    placement::NodeSelector { terms: selector.node_selector_terms.into_iter().map(term).collect() }
}

/// Converts a rule on a node's name. Mirrors `nodeSelectorRequirementsAsFieldSelector`
/// (`k8s.io/component-helpers/scheduling/corev1/nodeaffinity/nodeaffinity.go`): one value, `In` or `NotIn`,
/// `metadata.name`.
fn name_rule(mut rule: wire::NodeSelectorRequirement) -> NameRule {
    match (rule.values.len(), rule.values.pop(), rule.key.as_str(), rule.operator.as_str()) {
        (1, Some(name), "metadata.name", "In") => NameRule::Is(name),
        (1, Some(name), "metadata.name", "NotIn") => NameRule::IsNot(name),
        _ => NameRule::Invalid,
    }
}

/// Converts a toleration. One with an effect that this release does not know tolerates nothing.
pub(crate) fn toleration(toleration: &Toleration) -> placement::Toleration {
    let effect = toleration.effect.as_deref().filter(|effect| !effect.is_empty());
    let known = effect.and_then(Effect::of);
    let operator = match toleration.operator.as_deref().unwrap_or_default() {
        _ if effect.is_some() && known.is_none() => TolerationOperator::Unknown,
        "" | "Equal" => TolerationOperator::Equal,
        "Exists" => TolerationOperator::Exists,
        _ => TolerationOperator::Unknown,
    };
    placement::Toleration {
        key: toleration.key.clone().unwrap_or_default(),
        operator,
        value: toleration.value.clone().unwrap_or_default(),
        effect: known,
    }
}
