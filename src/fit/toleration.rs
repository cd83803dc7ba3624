//! Tolerations of a pod.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::bits::Bits;
use super::memo::{FleetId, Memo};
use super::node::{Effect, Taint};

/// A toleration. Mirrors `Toleration` and its `ToleratesTaint` of `k8s.io/api/core/v1/toleration.go`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Toleration {
    /// The key; empty with [`TolerationOperator::Exists`] it tolerates every key.
    pub key: String,
    /// The comparison of values.
    pub operator: TolerationOperator,
    /// The value compared with.
    pub value: String,
    /// The effect; `None` tolerates every effect.
    pub effect: Option<Effect>,
}

impl std::fmt::Display for Toleration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.key)?;
        if self.operator == TolerationOperator::Equal {
            write!(f, "={}", self.value)?;
        }
        self.effect.map_or(Ok(()), |effect| write!(f, ":{}", effect.as_str()))
    }
}

/// A toleration that nearly matches a taint, and in what it differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NearMiss {
    /// The toleration.
    pub toleration: Toleration,
    key: bool,
    value: bool,
    effect: bool,
}

impl NearMiss {
    /// Returns the fields that differ.
    pub(crate) fn differs_in(&self) -> &'static str {
        match (self.key, self.value, self.effect) {
            (true, true, true) => "key, value and effect",
            (true, true, false) => "key and value",
            (true, false, true) => "key and effect",
            (true, false, false) => "key",
            (false, true, true) => "value and effect",
            (false, true, false) => "value",
            (false, false, _) => "effect",
        }
    }

    /// Returns the toleration as it matches the taint.
    pub(crate) fn corrected(&self, taint: &Taint) -> Toleration {
        let own = &self.toleration;
        let value = if own.operator == TolerationOperator::Exists { String::new() } else { taint.value.clone() };
        let effect = own.effect.map(|_| taint.effect);
        Toleration { key: taint.key.clone(), operator: own.operator, value, effect }
    }
}

/// The comparison of a toleration with a taint's value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TolerationOperator {
    /// The values are equal; the default.
    #[default]
    Equal,
    /// Any value.
    Exists,
    /// An operator that is not supported (`Lt` and `Gt` need a feature gate that is off): tolerates nothing.
    Unknown,
}

/// The tolerations of a pod, shared by all placements that are derived from one. Two are equal if they
/// tolerate the same taints.
#[derive(Clone, Debug, Default)]
pub struct Tolerations(Arc<SharedTolerations>);

#[derive(Debug, Default)]
struct SharedTolerations {
    /// The distinct tolerations, sorted; without those that tolerate nothing, and without values that are not
    /// compared.
    sorted: Vec<Toleration>,
    kept_out: Memo<TaintedNodes>,
}

/// The nodes whose taints keep a pod out.
#[derive(Debug)]
pub(super) struct TaintedNodes {
    /// The nodes with any taint that is not tolerated.
    pub(super) by_any: Bits,
    /// The nodes with such a taint that a person set, rather than a cordon or a failing node.
    pub(super) by_person: Bits,
}

impl Tolerations {
    /// Whether a toleration matches the taint.
    #[must_use]
    pub fn tolerates(&self, taint: &Taint) -> bool {
        let has = |key: &str, operator, value: &str, effect| {
            let order = |known: &Toleration| -> Ordering {
                let (known_key, known_value) = (known.key.as_str(), known.value.as_str());
                (known_key, known.operator, known_value, known.effect).cmp(&(key, operator, value, effect))
            };
            self.0.sorted.binary_search_by(order).is_ok()
        };
        // An empty key matches every key, an absent effect every effect.
        ["", &taint.key].into_iter().any(|key| {
            [None, Some(taint.effect)].into_iter().any(|effect| {
                has(key, TolerationOperator::Exists, "", effect)
                    || has(key, TolerationOperator::Equal, &taint.value, effect)
            })
        })
    }

    /// Returns the toleration that nearly matches a taint which it does not tolerate: of the same key, but for upper
    /// and lower case, and of the fewest differences.
    pub(crate) fn near(&self, taint: &Taint) -> Option<NearMiss> {
        let of_key = self.0.sorted.iter().filter(|own| own.key.eq_ignore_ascii_case(&taint.key));
        let misses = of_key.map(|own| NearMiss {
            key: own.key != taint.key,
            value: own.operator == TolerationOperator::Equal && own.value != taint.value,
            effect: own.effect.is_some_and(|effect| effect != taint.effect),
            toleration: own.clone(),
        });
        let count = |miss: &NearMiss| usize::from(miss.key) + usize::from(miss.value) + usize::from(miss.effect);
        misses.filter(|miss| count(miss) > 0).min_by_key(count)
    }

    /// Returns these tolerations and others.
    pub(crate) fn with(&self, others: &[Toleration]) -> Self {
        self.0.sorted.iter().chain(others).cloned().collect()
    }

    /// Returns the nodes of a fleet whose taints keep the pod out, computed once per fleet.
    pub(super) fn kept_out(&self, fleet: FleetId, find_out: impl FnOnce() -> TaintedNodes) -> Arc<TaintedNodes> {
        self.0.kept_out.of(fleet, find_out)
    }
}

impl FromIterator<Toleration> for Tolerations {
    fn from_iter<I: IntoIterator<Item = Toleration>>(tolerations: I) -> Self {
        let known = tolerations.into_iter().filter(|one| one.operator != TolerationOperator::Unknown);
        let mut sorted: Vec<Toleration> = known
            .map(|mut toleration| {
                if toleration.operator == TolerationOperator::Exists {
                    toleration.value.clear();
                }
                toleration
            })
            .collect();
        sorted.sort_unstable();
        sorted.dedup();
        Self(Arc::new(SharedTolerations { sorted, kept_out: Memo::default() }))
    }
}

impl PartialEq for Tolerations {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.sorted == other.0.sorted
    }
}

impl Eq for Tolerations {}

impl Hash for Tolerations {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.sorted.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn toleration(key: &str, operator: TolerationOperator, value: &str, effect: Option<Effect>) -> Toleration {
        Toleration { key: key.into(), operator, value: value.into(), effect }
    }

    #[rstest]
    #[case::everything(toleration("", TolerationOperator::Exists, "", None), true)]
    #[case::same(toleration("k", TolerationOperator::Equal, "v", Some(Effect::NoSchedule)), true)]
    #[case::any_value(toleration("k", TolerationOperator::Exists, "w", None), true)]
    #[case::any_key_same_value(toleration("", TolerationOperator::Equal, "v", None), true)]
    #[case::other_value(toleration("k", TolerationOperator::Equal, "w", None), false)]
    #[case::other_effect(toleration("k", TolerationOperator::Exists, "", Some(Effect::NoExecute)), false)]
    #[case::other_key(toleration("x", TolerationOperator::Exists, "", None), false)]
    #[case::unknown_operator(toleration("k", TolerationOperator::Unknown, "v", None), false)]
    fn a_toleration_tolerates_the_taints_that_the_scheduler_lets_it(
        #[case] toleration: Toleration,
        #[case] expected: bool,
    ) {
        let taint = Taint { key: "k".into(), value: "v".into(), effect: Effect::NoSchedule };
        let others = ["a", "j", "l", "z"].map(|key| self::toleration(key, TolerationOperator::Equal, "v", None));
        let all: Tolerations = others.into_iter().chain([toleration]).collect();
        assert_eq!(all.tolerates(&taint), expected, "{all:?}: a guest would be promised or refused wrongly");
    }
}
