//! Label selectors.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::Domain;
use crate::word::{readable, words};

words! {
    /// The comparison of a [`LabelCondition`]. Mirrors `metav1.LabelSelectorOperator`.
    Operator {
        /// The label exists and has one of the values.
        In = "In",
        /// The label is absent, or has none of the values.
        NotIn = "NotIn",
        /// The label exists, with any value.
        Exists = "Exists",
        /// The label is absent.
        DoesNotExist = "DoesNotExist",
    }
}

readable!(Operator);

impl Operator {
    /// Whether the operator compares with values; the other two have none.
    pub(crate) fn takes_values(self) -> bool {
        matches!(self, Self::In | Self::NotIn)
    }
}

/// A condition on a label. Mirrors `metav1.LabelSelectorRequirement`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelCondition {
    /// `key`: the label.
    pub key: String,
    /// `operator`: the comparison.
    pub operator: Operator,
    /// `values`: at least one for `In` and `NotIn`, none for `Exists` and `DoesNotExist`.
    pub values: Vec<String>,
}

impl LabelCondition {
    fn holds(&self, value: Option<&str>) -> bool {
        let listed = value.is_some_and(|value| self.values.iter().any(|allowed| allowed == value));
        match self.operator {
            Operator::In => listed,
            Operator::NotIn => !listed,
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }
}

/// A selection by labels: all conditions hold. Mirrors `metav1.LabelSelector`; empty selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector {
    /// `matchLabels`: each label has exactly this value.
    pub match_labels: BTreeMap<String, String>,
    /// `matchExpressions`: each condition holds.
    pub match_expressions: Vec<LabelCondition>,
}

impl LabelSelector {
    /// Returns this selector with KubeVirt's own label names.
    pub(crate) fn inward(&self, domain: &Domain) -> Self {
        let labels = self.match_labels.iter();
        let expressions = self.match_expressions.iter().cloned();
        Self {
            match_labels: labels.map(|(key, value)| (domain.inward(key).into_owned(), value.clone())).collect(),
            match_expressions: expressions
                .map(|condition| LabelCondition { key: domain.inward(&condition.key).into_owned(), ..condition })
                .collect(),
        }
    }

    /// Returns `zone=a,tier in (x,y)`, as `kubectl get -l` takes it; an empty text if it selects everything.
    pub(crate) fn text(&self) -> String {
        let labels = self.match_labels.iter().map(|(key, value)| format!("{key}={value}"));
        let condition = |LabelCondition { key, operator, values }: &LabelCondition| match operator {
            Operator::In => format!("{key} in ({})", values.join(",")),
            Operator::NotIn => format!("{key} notin ({})", values.join(",")),
            Operator::Exists => key.clone(),
            Operator::DoesNotExist => format!("!{key}"),
        };
        labels.chain(self.match_expressions.iter().map(condition)).collect::<Vec<_>>().join(",")
    }

    /// Whether the labels meet every condition. Mirrors `LabelSelectorAsSelector` of
    /// `k8s.io/apimachinery/pkg/apis/meta/v1/helpers.go`.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.matches_by(|key| labels.get(key).map(String::as_str))
    }

    /// Whether labels of which some are unknown can meet every condition: an unknown label may exist or not, and an
    /// empty value may be one that was not read.
    pub(crate) fn can_match(&self, labels: &BTreeMap<String, String>) -> bool {
        let met_by = |key: &str, holds: &dyn Fn(Option<&str>) -> bool| {
            labels.get(key).is_none_or(|value| value.is_empty() || holds(Some(value)))
        };
        self.match_labels.iter().all(|(key, wanted)| met_by(key, &|value| value == Some(wanted)))
            && self.match_expressions.iter().all(|rule| met_by(&rule.key, &|value| rule.holds(value)))
    }

    /// Whether labels that are not in a map meet every condition: `value` returns the value of a key.
    pub(crate) fn matches_by<'l>(&self, value: impl Fn(&str) -> Option<&'l str>) -> bool {
        self.match_labels.iter().all(|(key, wanted)| value(key) == Some(wanted))
            && self.match_expressions.iter().all(|condition| condition.holds(value(&condition.key)))
    }

    /// Returns the number of different labels in the selector. Several conditions on one label do not make it
    /// more specific.
    pub(crate) fn specificity(&self) -> usize {
        self.keys().collect::<BTreeSet<&str>>().len()
    }

    /// Iterates over the label keys of the selector; a key in several conditions is repeated.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        let of_conditions = self.match_expressions.iter().map(|condition| &condition.key);
        self.match_labels.keys().chain(of_conditions).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn labels(text: &str) -> BTreeMap<String, String> {
        text.split_whitespace()
            .filter_map(|pair| pair.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    }

    fn condition(key: &str, operator: Operator, values: &[&str]) -> LabelSelector {
        LabelSelector {
            match_expressions: vec![LabelCondition {
                key: key.to_owned(),
                operator,
                values: values.iter().map(|&value| value.to_owned()).collect(),
            }],
            ..LabelSelector::default()
        }
    }

    #[rstest]
    #[case::empty_selects_all(LabelSelector::default(), true)]
    #[case::label(LabelSelector { match_labels: labels("env=prod"), ..LabelSelector::default() }, true)]
    #[case::other_value(LabelSelector { match_labels: labels("env=test"), ..LabelSelector::default() }, false)]
    #[case::one_of_two(LabelSelector { match_labels: labels("env=prod x=y"), ..LabelSelector::default() }, false)]
    #[case::is_in(condition("env", Operator::In, &["test", "prod"]), true)]
    #[case::is_not_in_list(condition("env", Operator::In, &["test"]), false)]
    #[case::in_absent(condition("zone", Operator::In, &["a"]), false)]
    #[case::not_in(condition("env", Operator::NotIn, &["test"]), true)]
    #[case::not_in_listed(condition("env", Operator::NotIn, &["prod"]), false)]
    #[case::not_in_absent(condition("zone", Operator::NotIn, &["a"]), true)]
    #[case::exists(condition("empty", Operator::Exists, &[]), true)]
    #[case::exists_absent(condition("zone", Operator::Exists, &[]), false)]
    #[case::does_not_exist(condition("zone", Operator::DoesNotExist, &[]), true)]
    #[case::does_not_exist_there(condition("empty", Operator::DoesNotExist, &[]), false)]
    fn a_selector_matches_labels_as_the_api_server_does(#[case] selector: LabelSelector, #[case] expected: bool) {
        let given = labels("env=prod empty=");
        assert_eq!(selector.matches(&given), expected, "{selector:?}: a guest would be governed by the wrong policy");
    }

    #[test]
    fn a_label_counts_once_for_specificity() {
        let mut selector = condition("env", Operator::Exists, &[]);
        selector.match_labels = labels("env=prod tier=db");
        assert_eq!(selector.specificity(), 2, "a policy would win by saying the same thing twice");
    }
}
