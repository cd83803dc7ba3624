//! What a pod asks of a node: selector, required affinity, tolerations, a node name.

use std::borrow::Cow;

use super::label;
use super::node::{Effect, Taint};

/// A toleration. Mirrors `v1.Toleration` and `ToleratesTaint` of `k8s.io/component-helpers`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Toleration {
    /// Empty with [`TolerationOperator::Exists`] tolerates every key.
    pub key: String,
    /// How the value is compared.
    pub operator: TolerationOperator,
    /// The value compared with.
    pub value: String,
    /// `None` tolerates every effect.
    pub effect: Option<Effect>,
}

/// How a toleration compares values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TolerationOperator {
    /// The values are equal; the default.
    #[default]
    Equal,
    /// Any value.
    Exists,
    /// A word this release does not know (`Lt` and `Gt` need a feature gate that is off): tolerates nothing.
    Unknown,
}

impl Toleration {
    /// Whether a taint is tolerated.
    #[must_use]
    pub fn tolerates(&self, taint: &Taint) -> bool {
        if self.effect.is_some_and(|effect| effect != taint.effect) {
            return false;
        }
        if !self.key.is_empty() && self.key != taint.key {
            return false;
        }
        match self.operator {
            TolerationOperator::Equal => self.value == taint.value,
            TolerationOperator::Exists => true,
            TolerationOperator::Unknown => false,
        }
    }
}

/// One condition on a label. Mirrors `v1.NodeSelectorRequirement`; each variant holds what it needs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Expression {
    /// The label has one of the values.
    In(String, Vec<String>),
    /// The label has none of the values, or is absent.
    NotIn(String, Vec<String>),
    /// The label is there.
    Exists(String),
    /// The label is not there.
    DoesNotExist(String),
    /// The label is an integer greater than this.
    Gt(String, i64),
    /// The label is an integer less than this.
    Lt(String, i64),
    /// The API server would refuse it (unknown operator, not an integer): matches no node.
    Invalid(String),
}

impl Expression {
    /// The key it speaks of.
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

    /// Whether the condition holds for a node with this value of the label, or without it. Mirrors
    /// `labels.Requirement.Matches`.
    #[must_use]
    pub fn holds(&self, value: Option<&str>) -> bool {
        let among = |values: &[String]| value.is_some_and(|value| values.iter().any(|v| v == value));
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

    /// From the API's words. Mirrors `labels.NewRequirement`: values that are no label values, too many or too
    /// few of them, or a bound that is no integer make the condition, and so its term, match nothing.
    #[must_use]
    pub fn new(key: String, operator: &str, mut values: Vec<String>) -> Self {
        if !values.iter().all(|value| is_label_value(value)) {
            return Self::Invalid(key);
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

/// Whether text can be a label's value. Mirrors `validation.IsValidLabelValue`.
#[must_use]
pub fn is_label_value(text: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let at_an_end = |byte: Option<&u8>| byte.is_none_or(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    bytes.len() <= 63 && bytes.iter().copied().all(inside) && at_an_end(bytes.first()) && at_an_end(bytes.last())
}

impl std::fmt::Display for Expression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::In(key, values) => write!(f, "{key} in ({})", values.join(", ")),
            Self::NotIn(key, values) => write!(f, "{key} not in ({})", values.join(", ")),
            Self::Exists(key) => write!(f, "{key} exists"),
            Self::DoesNotExist(key) => write!(f, "{key} does not exist"),
            Self::Gt(key, bound) => write!(f, "{key} > {bound}"),
            Self::Lt(key, bound) => write!(f, "{key} < {bound}"),
            Self::Invalid(key) => write!(f, "{key}: invalid expression"),
        }
    }
}

/// A base-10 integer as Go's `strconv.ParseInt(text, 10, 64)` reads it: a sign, then digits only.
#[must_use]
pub fn integer(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// A condition on the node's name: the only field `matchFields` knows is `metadata.name`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum NameRule {
    /// The node has this name.
    Is(String),
    /// The node has another name.
    IsNot(String),
    /// Another field, operator or number of values: matches no node.
    Invalid,
}

/// One of the ORed terms of a required node affinity; its conditions are ANDed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Term {
    /// Conditions on labels.
    pub expressions: Vec<Expression>,
    /// Conditions on the node's name.
    pub names: Vec<NameRule>,
}

impl Term {
    /// A term without conditions matches no node (`nodeaffinity.isEmptyNodeSelectorTerm`).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.expressions.is_empty() && self.names.is_empty()
    }
}

/// The required node affinity: terms are ORed. Mirrors `v1.NodeSelector`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct NodeSelector {
    /// The terms. None at all match no node.
    pub terms: Vec<Term>,
}

/// One entry of a pod's `nodeSelector`.
pub type Entry<'a> = (Cow<'a, str>, Cow<'a, str>);

/// All that a pod asks of a node, as the scheduler's node filters read it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Placement<'a> {
    /// `spec.nodeSelector`; each entry must be met by exact key and value.
    pub selector: Vec<Entry<'a>>,
    /// `spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution`.
    pub affinity: Option<NodeSelector>,
    /// `spec.tolerations`.
    pub tolerations: Vec<Toleration>,
    /// `spec.nodeName`, where the pod is bound already or by hand.
    pub node_name: Option<Cow<'a, str>>,
}

impl Placement<'_> {
    /// The same, owning its text.
    #[must_use]
    pub fn into_owned(self) -> Placement<'static> {
        Placement {
            selector: self
                .selector
                .into_iter()
                .map(|(key, value)| (Cow::Owned(key.into_owned()), Cow::Owned(value.into_owned())))
                .collect(),
            affinity: self.affinity,
            tolerations: self.tolerations,
            node_name: self.node_name.map(|name| Cow::Owned(name.into_owned())),
        }
    }

    /// Whether a taint is tolerated.
    #[must_use]
    pub fn tolerates(&self, taint: &Taint) -> bool {
        self.tolerations.iter().any(|toleration| toleration.tolerates(taint))
    }

    /// Whether a cordon is tolerated. Mirrors the scheduler's `NodeUnschedulable` plugin.
    #[must_use]
    pub fn tolerates_cordon(&self) -> bool {
        self.tolerates(&Taint {
            key: label::TAINT_UNSCHEDULABLE.to_owned(),
            value: String::new(),
            effect: Effect::NoSchedule,
        })
    }

    /// The value asked for a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.selector.iter().find(|(k, _)| k == key).map(|(_, value)| value.as_ref())
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

    fn toleration(key: &str, operator: TolerationOperator, value: &str, effect: Option<Effect>) -> Toleration {
        Toleration { key: key.into(), operator, value: value.into(), effect }
    }

    #[rstest]
    #[case::everything(toleration("", TolerationOperator::Exists, "", None), true)]
    #[case::same(toleration("k", TolerationOperator::Equal, "v", Some(Effect::NoSchedule)), true)]
    #[case::other_value(toleration("k", TolerationOperator::Equal, "w", None), false)]
    #[case::other_effect(toleration("k", TolerationOperator::Exists, "", Some(Effect::NoExecute)), false)]
    #[case::other_key(toleration("x", TolerationOperator::Exists, "", None), false)]
    #[case::unknown_operator(toleration("k", TolerationOperator::Unknown, "v", None), false)]
    fn tolerations(#[case] toleration: Toleration, #[case] expected: bool) {
        let taint = Taint { key: "k".into(), value: "v".into(), effect: Effect::NoSchedule };
        assert_eq!(
            toleration.tolerates(&taint),
            expected,
            "{toleration:?}: a guest would be promised or refused wrongly"
        );
    }
}
