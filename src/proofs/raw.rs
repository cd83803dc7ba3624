//! The oracle: computes the nodes that take a pod from the raw objects, with simple code that shares nothing with the
//! judgement.

use std::collections::BTreeMap;

use serde_json::Value;

use super::seen::Seen;
use crate::fit::placement::{Expression, NameRule, Placement, Term};

const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// A node as in the dump.
#[derive(Clone, Copy)]
pub(super) struct RawNode<'s>(&'s Value);

/// The demand of a pod: the judged node selector and affinity, and the tolerations that KubeVirt sets.
pub(super) struct Demand<'d> {
    pub(super) selector: BTreeMap<&'d str, &'d str>,
    terms: Option<Vec<&'d Term>>,
    pub(super) tolerations: &'d [Value],
}

impl<'d> Demand<'d> {
    pub(super) fn new(placement: &'d Placement<'_>, tolerations: &'d [Value]) -> Self {
        Self {
            selector: placement.selector.iter().map(|(key, value)| (&**key, &**value)).collect(),
            terms: placement.affinity.as_ref().map(|affinity| affinity.terms.iter().collect()),
            tolerations,
        }
    }

    fn tolerates(&self, key: &str, value: &str, effect: &str) -> bool {
        self.tolerations.iter().any(|toleration| {
            let text = |field: &str| toleration[field].as_str().unwrap_or_default();
            let by_value = match text("operator") {
                "" | "Equal" => text("value") == value,
                "Exists" => true,
                _ => false,
            };
            let by_key = text("key") == key || text("key").is_empty() && text("operator") == "Exists";
            by_value && by_key && (text("effect").is_empty() || text("effect") == effect)
        })
    }

    fn is_kept_off_by(&self, taint: &Value) -> bool {
        let text = |field: &str| taint[field].as_str().unwrap_or_default();
        text("effect") != "PreferNoSchedule" && !self.tolerates(text("key"), text("value"), text("effect"))
    }
}

/// Returns all nodes of the dump.
pub(super) fn nodes(seen: &Seen) -> Vec<RawNode<'_>> {
    seen.situation.nodes.iter().map(RawNode).collect()
}

impl<'s> RawNode<'s> {
    pub(super) fn name(self) -> &'s str {
        self.0["metadata"]["name"].as_str().unwrap_or_default()
    }

    pub(super) fn label(self, key: &str) -> Option<&'s str> {
        self.0["metadata"]["labels"][key].as_str()
    }

    /// Whether a label's key begins with this text.
    pub(super) fn has_key_with(self, prefix: &str) -> bool {
        let labels = self.0["metadata"]["labels"].as_object();
        labels.is_some_and(|labels| labels.keys().any(|key| key.starts_with(prefix)))
    }

    /// Returns the host models in its labels.
    pub(super) fn host_models(self) -> Vec<&'s str> {
        let labels = self.0["metadata"]["labels"].as_object();
        let keys = labels.into_iter().flatten().map(|(key, _)| key.as_str());
        keys.filter_map(|key| key.strip_prefix("host-model-cpu.node.kubevirt.io/")).collect()
    }

    /// Returns the models that its labels call usable.
    pub(super) fn usable_models(self) -> Vec<&'s str> {
        let labels = self.0["metadata"]["labels"].as_object();
        let keys = labels.into_iter().flatten().filter(|(_, value)| *value == "true");
        keys.filter_map(|(key, _)| key.strip_prefix("cpu-model.node.kubevirt.io/")).collect()
    }

    pub(super) fn is_ready(self) -> bool {
        let conditions = self.0["status"]["conditions"].as_array();
        conditions.into_iter().flatten().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
    }

    fn taints(self) -> impl Iterator<Item = &'s Value> {
        self.0["spec"]["taints"].as_array().into_iter().flatten()
    }

    pub(super) fn is_cordoned(self) -> bool {
        let is_of_cordon = |taint: &Value| taint["key"] == UNSCHEDULABLE && taint["effect"] != "PreferNoSchedule";
        self.0["spec"]["unschedulable"] == true || self.taints().any(is_of_cordon)
    }

    /// Returns the entries that it does not match.
    pub(super) fn missing(self, demand: &Demand<'_>) -> BTreeMap<String, String> {
        let unmet = demand.selector.iter().filter(|(key, value)| self.label(key) != Some(**value));
        unmet.map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    pub(super) fn meets_affinity(self, demand: &Demand<'_>) -> bool {
        let Some(terms) = &demand.terms else { return true };
        terms.iter().any(|term| {
            let is_empty = term.expressions.is_empty() && term.names.is_empty();
            !is_empty
                && term.expressions.iter().all(|rule| self.meets(rule))
                && term.names.iter().all(|rule| self.is(rule))
        })
    }

    fn meets(self, rule: &Expression) -> bool {
        let value = |key: &String| self.label(key);
        let number = |key: &String| value(key).and_then(|value| value.parse::<i64>().ok());
        match rule {
            Expression::In(key, values) => value(key).is_some_and(|value| values.iter().any(|known| known == value)),
            Expression::NotIn(key, values) => {
                !value(key).is_some_and(|value| values.iter().any(|known| known == value))
            }
            Expression::Exists(key) => value(key).is_some(),
            Expression::DoesNotExist(key) => value(key).is_none(),
            Expression::Gt(key, bound) => number(key).is_some_and(|number| number > *bound),
            Expression::Lt(key, bound) => number(key).is_some_and(|number| number < *bound),
            Expression::Invalid(_) => false,
        }
    }

    fn fails(self, demand: &Demand<'_>, is: fn(&Expression) -> bool) -> bool {
        let conditions = demand.terms.iter().flatten().flat_map(|term| &term.expressions);
        conditions.into_iter().any(|rule| is(rule) && !self.meets(rule))
    }

    /// Whether it fails its affinity by a condition that a label of some value meets.
    pub(super) fn lacks_by_affinity(self, demand: &Demand<'_>) -> bool {
        let is_met_by_a_label =
            |rule: &Expression| !matches!(rule, Expression::DoesNotExist(_) | Expression::Invalid(_));
        !self.meets_affinity(demand) && self.fails(demand, is_met_by_a_label)
    }

    /// Whether it fails a condition that it would meet without the label.
    pub(super) fn has_too_much(self, demand: &Demand<'_>) -> bool {
        self.fails(demand, |rule| matches!(rule, Expression::DoesNotExist(_) | Expression::NotIn(..)))
    }

    fn is(self, rule: &NameRule) -> bool {
        match rule {
            NameRule::Is(name) => self.name() == name,
            NameRule::IsNot(name) => self.name() != name,
            NameRule::Invalid => false,
        }
    }

    /// Whether a taint or the cordon excludes the pod; the cordon counts only if `cordon_counts`.
    pub(super) fn keeps_off(self, demand: &Demand<'_>, cordon_counts: bool) -> bool {
        let mut others = self.taints().filter(|taint| taint["key"] != UNSCHEDULABLE);
        others.any(|taint| demand.is_kept_off_by(taint)) || cordon_counts && self.is_kept_off_by_cordon(demand)
    }

    /// Whether the cordon, or its taint, excludes the pod.
    pub(super) fn is_kept_off_by_cordon(self, demand: &Demand<'_>) -> bool {
        let mut taints = self.taints().filter(|taint| taint["key"] == UNSCHEDULABLE);
        taints.any(|taint| demand.is_kept_off_by(taint))
            || self.0["spec"]["unschedulable"] == true && !demand.tolerates(UNSCHEDULABLE, "", "NoSchedule")
    }

    pub(super) fn takes(self, demand: &Demand<'_>) -> bool {
        self.missing(demand).is_empty() && self.meets_affinity(demand) && !self.keeps_off(demand, true)
    }

    /// Whether it has the required architecture.
    pub(super) fn is_neighbour(self, demand: &Demand<'_>) -> bool {
        let wanted = demand.selector.get("kubernetes.io/arch");
        wanted.is_none_or(|wanted| self.label("kubernetes.io/arch").is_none_or(|arch| arch == *wanted))
    }
}
