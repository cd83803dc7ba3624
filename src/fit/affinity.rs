//! The required node affinity of a pod.

use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use super::bits::Bits;
use super::label;
use super::memo::{FleetId, Memo};
use super::syntax;

/// A condition on a label. Mirrors `v1.NodeSelectorRequirement`; each variant holds what it needs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Expression {
    /// The label has one of the values, which are sorted.
    In(String, Vec<String>),
    /// The label has none of the values, which are sorted, or is absent.
    NotIn(String, Vec<String>),
    /// The label exists.
    Exists(String),
    /// The label does not exist.
    DoesNotExist(String),
    /// The label is an integer greater than this.
    Gt(String, i64),
    /// The label is an integer less than this.
    Lt(String, i64),
    /// A condition that the API server would refuse (unknown operator, not an integer): matches no node.
    Invalid(String),
}

impl Expression {
    /// Whether the condition keeps a guest off hosts whose model is obsolete.
    fn rejects_obsolete_host_model(&self) -> bool {
        matches!(self, Self::DoesNotExist(key) if label::is_obsolete_host_model(key))
    }

    /// Returns the label key of the condition.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Self::In(key, _)
            | Self::NotIn(key, _)
            | Self::Exists(key)
            | Self::DoesNotExist(key)
            | Self::Gt(key, _)
            | Self::Lt(key, _)
            | Self::Invalid(key) => key,
        }
    }

    /// Whether the condition holds for a node with this value of the label; `None`: the node lacks it. Mirrors
    /// `Requirement.Matches` of `k8s.io/apimachinery/pkg/labels/selector.go`.
    #[must_use]
    pub fn holds(&self, value: Option<&str>) -> bool {
        let among = |values: &[String]| {
            value.is_some_and(|value| values.binary_search_by(|known| known.as_str().cmp(value)).is_ok())
        };
        let number = || value.and_then(integer);
        match self {
            Self::In(_, values) => among(values),
            Self::NotIn(_, values) => !among(values),
            Self::Exists(_) => value.is_some(),
            Self::DoesNotExist(_) => value.is_none(),
            Self::Gt(_, bound) => number().is_some_and(|number| number > *bound),
            Self::Lt(_, bound) => number().is_some_and(|number| number < *bound),
            Self::Invalid(_) => false,
        }
    }

    /// Builds a condition from the API's fields. Mirrors `NewRequirement` of
    /// `k8s.io/apimachinery/pkg/labels/selector.go`: values that are no label values, too many or too few of them, or a
    /// bound that is no integer make the condition, and so its term, match nothing.
    #[must_use]
    pub fn new(key: String, operator: &str, mut values: Vec<String>) -> Self {
        if !values.iter().all(|value| syntax::label_value(value).is_ok()) {
            return Self::Invalid(key);
        }
        if !values.is_sorted() {
            values.sort_unstable();
        }
        if matches!(operator, "In" | "NotIn") {
            values.dedup();
        }
        match (operator, values.len()) {
            ("In", 1..) => Self::In(key, values),
            ("NotIn", 1..) => Self::NotIn(key, values),
            ("Exists", 0) => Self::Exists(key),
            ("DoesNotExist", 0) => Self::DoesNotExist(key),
            ("Gt" | "Lt", 1) => match values.pop().and_then(|value| integer(&value)) {
                Some(bound) if operator == "Gt" => Self::Gt(key, bound),
                Some(bound) => Self::Lt(key, bound),
                None => Self::Invalid(key),
            },
            _ => Self::Invalid(key),
        }
    }
}

impl std::fmt::Display for Expression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::In(key, values) => write!(f, "{key} in ({})", listed(values)),
            Self::NotIn(key, values) => write!(f, "{key} not in ({})", listed(values)),
            Self::Exists(key) => write!(f, "{key} exists"),
            Self::DoesNotExist(key) => write!(f, "{key} does not exist"),
            Self::Gt(key, bound) => write!(f, "{key} > {bound}"),
            Self::Lt(key, bound) => write!(f, "{key} < {bound}"),
            Self::Invalid(key) => write!(f, "an invalid condition on {key}"),
        }
    }
}

/// Joins values for people: an empty one is printed as `""`, and those beyond five are counted.
fn listed(values: &[String]) -> String {
    let shown: Vec<&str> = values.iter().map(|value| if value.is_empty() { "\"\"" } else { value }).collect();
    label::fold_names(&shown, 5)
}

/// Parses a base-10 integer as Go's `strconv.ParseInt(text, 10, 64)` does: an optional sign, then digits only.
pub(crate) fn integer(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// A condition on the node's name, which is the only field that `matchFields` supports (`metadata.name`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NameRule {
    /// The node has this name.
    Is(String),
    /// The node has another name.
    IsNot(String),
    /// Another field, operator or number of values: matches no node.
    Invalid,
}

/// A condition of a required node affinity that a node does not meet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AffinityRule {
    /// A condition on a label.
    Label(Expression),
    /// A condition on the node's name.
    Name(NameRule),
    /// The affinity has no term that can match a node.
    NoTerm,
}

/// A condition of a term, borrowed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RuleRef<'a> {
    /// A condition on a label.
    Label(&'a Expression),
    /// A condition on the node's name.
    Name(&'a NameRule),
}

impl From<RuleRef<'_>> for AffinityRule {
    fn from(rule: RuleRef<'_>) -> Self {
        match rule {
            RuleRef::Label(expression) => Self::Label(expression.clone()),
            RuleRef::Name(rule) => Self::Name(rule.clone()),
        }
    }
}

impl std::fmt::Display for AffinityRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Label(expression) => expression.fmt(f),
            Self::Name(NameRule::Is(name)) => write!(f, "metadata.name in ({name})"),
            Self::Name(NameRule::IsNot(name)) => write!(f, "metadata.name not in ({name})"),
            Self::Name(NameRule::Invalid) => f.write_str("an invalid matchFields"),
            Self::NoTerm => f.write_str("an empty nodeSelectorTerm"),
        }
    }
}

/// A term of a required node affinity. Terms are ORed; the conditions of a term are ANDed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Term {
    /// Conditions on labels.
    pub expressions: Vec<Expression>,
    /// Conditions on the node's name.
    pub names: Vec<NameRule>,
}

impl Term {
    /// Whether the term has no condition: it matches no node then. Mirrors
    /// `isEmptyNodeSelectorTerm` of `k8s.io/component-helpers/scheduling/corev1/nodeaffinity/nodeaffinity.go`.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.expressions.is_empty() && self.names.is_empty()
    }

    /// Returns the label keys that the term forbids.
    fn forbidden_keys(&self) -> BTreeSet<&str> {
        let forbidden = self.expressions.iter().filter_map(|rule| match rule {
            Expression::DoesNotExist(key) => Some(key.as_str()),
            _ => None,
        });
        forbidden.collect()
    }
}

/// The required node affinity: terms are ORed. Mirrors `v1.NodeSelector`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct NodeSelector {
    /// The terms. An empty list matches no node.
    pub terms: Vec<Term>,
}

/// A required node affinity, shared by all placements that are derived from one.
#[derive(Clone, Debug, Default)]
pub struct Affinity(Arc<SharedAffinity>);

#[derive(Debug, Default)]
struct SharedAffinity {
    selector: NodeSelector,
    met: Memo<Met>,
    without_obsolete: OnceLock<Option<Affinity>>,
}

/// The nodes of a fleet that meet an affinity.
#[derive(Debug)]
pub(super) struct Met {
    /// All nodes that meet it.
    pub(super) all: Bits,
    /// The nodes that meet its conditions on CPU labels; `None` if it has none.
    pub(super) cpu: Option<Bits>,
}

impl Affinity {
    /// Returns the nodes of a fleet that meet the affinity, computed once per fleet.
    pub(super) fn met(&self, fleet: FleetId, find_out: impl FnOnce() -> Met) -> Arc<Met> {
        self.0.met.of(fleet, find_out)
    }

    /// Whether the affinity keeps the guest off hosts whose model is obsolete.
    pub(crate) fn avoids_obsolete_host_model(&self) -> bool {
        self.terms.iter().flat_map(|term| &term.expressions).any(Expression::rejects_obsolete_host_model)
    }

    /// Returns the affinity without the condition by which KubeVirt keeps host-model guests off obsolete
    /// hosts; `None` if nothing is left of it.
    pub(crate) fn without_obsolete_host_model(&self) -> Option<Self> {
        let found = self.0.without_obsolete.get_or_init(|| {
            let mut left = self.0.selector.clone();
            for term in &mut left.terms {
                // KubeVirt's condition comes after those of the guest, which may be equal.
                if let Some(at) = term.expressions.iter().rposition(Expression::rejects_obsolete_host_model) {
                    term.expressions.remove(at);
                }
            }
            left.terms.retain(|term| !term.is_empty());
            (!left.terms.is_empty()).then(|| left.into())
        });
        found.clone()
    }

    /// Returns the label keys that every term forbids.
    pub(crate) fn forbidden_keys(&self) -> BTreeSet<&str> {
        let of_term = self.terms.iter().map(Term::forbidden_keys);
        of_term.reduce(|both, other| both.intersection(&other).copied().collect()).unwrap_or_default()
    }
}

impl From<NodeSelector> for Affinity {
    fn from(selector: NodeSelector) -> Self {
        Self(Arc::new(SharedAffinity { selector, met: Memo::default(), without_obsolete: OnceLock::new() }))
    }
}

impl Deref for Affinity {
    type Target = NodeSelector;

    fn deref(&self) -> &NodeSelector {
        &self.0.selector
    }
}

impl PartialEq for Affinity {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.selector == other.0.selector
    }
}

impl Eq for Affinity {}

impl Hash for Affinity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.selector.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::plain("12", Some(12))]
    #[case::signed("+12", Some(12))]
    #[case::negative("-12", Some(-12))]
    #[case::zeros("0012", Some(12))]
    #[case::overflow("9223372036854775808", None)]
    #[case::lowest("-9223372036854775808", Some(i64::MIN))]
    #[case::fraction("1.5", None)]
    #[case::spaced(" 1", None)]
    #[case::empty("", None)]
    #[case::two_signs("+-1", None)]
    fn integers_are_read_as_go_reads_them(#[case] text: &str, #[case] expected: Option<i64>) {
        assert_eq!(integer(text), expected, "Gt and Lt would differ from the scheduler");
    }

    #[test]
    fn affinity_values_are_found_in_any_order_and_printed_folded() {
        let values = ["c", "a", "e", "b", "g", "d", "f"].map(str::to_owned).to_vec();
        let rule = Expression::new("zone".to_owned(), "In", values);
        for value in ["a", "d", "g"] {
            assert!(rule.holds(Some(value)), "{value} is listed");
        }
        assert!(!rule.holds(Some("h")) && !rule.holds(None));
        assert_eq!(rule.to_string(), "zone in (a, b, c, d, e and 2 more)");
    }

    #[test]
    fn a_key_is_forbidden_where_every_term_forbids_it() {
        let term = |keys: &[&str]| Term {
            expressions: keys.iter().map(|key| Expression::DoesNotExist((*key).to_owned())).collect(),
            names: Vec::new(),
        };
        let forbidden = |terms: Vec<Term>| -> Vec<String> {
            let affinity = Affinity::from(NodeSelector { terms });
            affinity.forbidden_keys().into_iter().map(str::to_owned).collect()
        };
        assert_eq!(forbidden(vec![term(&["a", "b"]), term(&["c", "b"])]), ["b"]);
        assert!(forbidden(vec![term(&["a"]), term(&[])]).is_empty(), "a term without the condition can be met");
        assert!(forbidden(Vec::new()).is_empty());
    }
}
