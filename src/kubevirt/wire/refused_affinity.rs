//! Required node affinities that virt-api refuses. Mirrors `ValidateNodeSelector` and what it calls of
//! `pkg/virt-api/webhooks/validating-webhook/admitters/validate-k8s-utils.go` (KubeVirt).

use super::{NodeSelector, NodeSelectorRequirement};
use crate::fit::shown::{Shown, TITLE_CHARS};
use crate::fit::syntax;

/// The only field of a node that `matchFields` may name.
const NAME: &str = "metadata.name";

/// Returns why a required node affinity is refused; `None` if it is not.
pub(super) fn why(required: &NodeSelector) -> Option<String> {
    let terms = &required.node_selector_terms;
    if terms.is_empty() {
        return Some("its required node affinity must have at least one node selector term, and has none".to_owned());
    }
    let expressions = terms.iter().flat_map(|term| &term.match_expressions).filter_map(|rule| named(rule, expression));
    let fields = terms.iter().flat_map(|term| &term.match_fields).filter_map(|rule| named(rule, field));
    expressions.chain(fields).next()
}

fn named(rule: &NodeSelectorRequirement, why: fn(&NodeSelectorRequirement) -> Option<String>) -> Option<String> {
    let key = Shown::within(&rule.key, TITLE_CHARS);
    why(rule).map(|why| format!("a condition of its required node affinity, for key {key}, {why}"))
}

/// Mirrors `ValidateNodeSelectorRequirement`.
fn expression(rule: &NodeSelectorRequirement) -> Option<String> {
    let operator = rule.operator.as_str();
    let why = match (operator, rule.values.len()) {
        ("In" | "NotIn", 0) => format!("has operator {operator} and no value"),
        ("Exists" | "DoesNotExist", 1..) => format!("has operator {operator}, which takes no value"),
        ("Gt" | "Lt", 0 | 2..) => format!("has operator {operator}, which takes one value"),
        ("In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt", _) => {
            return syntax::qualified(&rule.key).is_err().then(|| "has a key that no label can have".to_owned());
        }
        _ => unknown_operator(operator),
    };
    Some(why)
}

/// Mirrors `ValidateNodeFieldSelectorRequirement`.
fn field(rule: &NodeSelectorRequirement) -> Option<String> {
    let operator = rule.operator.as_str();
    match operator {
        _ if rule.key != NAME => Some(format!("is one of a field, and {NAME} alone can be one")),
        "In" | "NotIn" if rule.values.len() == 1 => None,
        "In" | "NotIn" => Some(format!("has operator {operator}, which takes one value for a field")),
        _ => Some(unknown_operator(operator)),
    }
}

fn unknown_operator(operator: &str) -> String {
    format!("has operator {}, which does not exist there", Shown::within(operator, TITLE_CHARS))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::cluster::read;

    #[rstest]
    #[case::in_a_list(json!({"key": "zone", "operator": "In", "values": ["a", "b"]}), false, None)]
    #[case::in_nothing(json!({"key": "zone", "operator": "In"}), false, Some("has operator In and no value"))]
    #[case::not_in_nothing(json!({"key": "zone", "operator": "NotIn", "values": []}), false, Some("has operator NotIn and no value"))]
    #[case::exists(json!({"key": "zone", "operator": "Exists"}), false, None)]
    #[case::exists_with_values(json!({"key": "zone", "operator": "Exists", "values": ["a"]}), false, Some("has operator Exists, which takes no value"))]
    #[case::more_than(json!({"key": "cores", "operator": "Gt", "values": ["8"]}), false, None)]
    #[case::more_than_two(json!({"key": "cores", "operator": "Gt", "values": ["8", "9"]}), false, Some("has operator Gt, which takes one value"))]
    #[case::a_misspelled_operator(json!({"key": "zone", "operator": "in", "values": ["a"]}), false, Some("has operator in, which does not exist there"))]
    #[case::no_key(json!({"operator": "Exists"}), false, Some("has a key that no label can have"))]
    #[case::a_name(json!({"key": "metadata.name", "operator": "In", "values": ["n1"]}), true, None)]
    #[case::two_names(json!({"key": "metadata.name", "operator": "In", "values": ["n1", "n2"]}), true, Some("has operator In, which takes one value for a field"))]
    #[case::another_field(json!({"key": "spec.unschedulable", "operator": "In", "values": ["true"]}), true, Some("is one of a field, and metadata.name alone can be one"))]
    #[case::operator_of_a_field(json!({"key": "metadata.name", "operator": "Exists"}), true, Some("has operator Exists, which does not exist there"))]
    fn conditions_are_refused_as_virt_api_refuses_them(
        #[case] condition: Value,
        #[case] is_field: bool,
        #[case] expected: Option<&str>,
    ) {
        let list = if is_field { "matchFields" } else { "matchExpressions" };
        let found = why(&read(json!({"nodeSelectorTerms": [{list: [condition]}]})));
        assert_eq!(
            found.is_some(),
            expected.is_some(),
            "the verdict is FITS for a guest that KubeVirt refuses, or not: {found:?}"
        );
        assert!(
            expected.is_none_or(|expected| found.as_ref().is_some_and(|found| found.ends_with(expected))),
            "{found:?}"
        );
    }
}
