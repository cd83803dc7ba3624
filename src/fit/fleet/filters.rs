//! The nodes that meet a required node affinity, and the nodes whose taints keep a pod out: each computed once
//! per fleet.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::{Fleet, Members};
use crate::fit::affinity::{Affinity, Expression, Met, NameRule, NodeSelector, RuleRef, Term};
use crate::fit::bits::Bits;
use crate::fit::label::Family;
use crate::fit::node::Taint;
use crate::fit::toleration::{TaintedNodes, Tolerations};

/// Returns the conditions of a term that decide: equal ones once, and of the bounds on one label the tightest, because
/// a bound is compared with every value of its label.
fn deciding(expressions: &[Expression]) -> Vec<&Expression> {
    let mut tightest: HashMap<(&str, bool), (i64, &Expression)> = HashMap::new();
    let mut others = HashSet::new();
    let mut out = Vec::new();
    for expression in expressions {
        let (key, is_lower, bound) = match expression {
            Expression::Gt(key, bound) => (key, true, *bound),
            Expression::Lt(key, bound) => (key, false, *bound),
            other => {
                if others.insert(other) {
                    out.push(other);
                }
                continue;
            }
        };
        let known = tightest.entry((key.as_str(), is_lower)).or_insert((bound, expression));
        if (is_lower && bound > known.0) || (!is_lower && bound < known.0) {
            *known = (bound, expression);
        }
    }
    out.extend(tightest.into_values().map(|(_, expression)| expression));
    out
}

impl Fleet {
    /// Returns the nodes that meet a required node affinity.
    pub(super) fn met(&self, affinity: &Affinity) -> Arc<Met> {
        affinity.met(self.id, || {
            let speaks_of_cpu =
                affinity.terms.iter().flat_map(|term| &term.expressions).any(|rule| Family::of(rule.key()).is_cpu());
            Met { all: self.meeting(affinity, false), cpu: speaks_of_cpu.then(|| self.meeting(affinity, true)) }
        })
    }

    /// Returns the nodes whose taints keep a pod out.
    pub(super) fn kept_out(&self, tolerations: &Tolerations) -> Arc<TaintedNodes> {
        tolerations.kept_out(self.id, || {
            let nodes_with = |keeps_out: &dyn Fn(&Taint) -> bool| {
                let refuses =
                    |taint: &Taint| taint.effect.refuses() && keeps_out(taint) && !tolerations.tolerates(taint);
                self.tainted(|taints| taints.iter().any(refuses))
            };
            TaintedNodes {
                by_any: nodes_with(&|_| true),
                by_person: nodes_with(&|taint| !taint.key.starts_with("node.kubernetes.io/")),
            }
        })
    }

    /// Returns the nodes with a taint that a person set and that keeps out pods without a toleration.
    pub(crate) fn tainted_by_people(&self) -> Bits {
        self.kept_out(&Tolerations::default()).by_person.clone()
    }

    /// Returns the nodes that meet a required node affinity; with `only_cpu`, as if all conditions on other
    /// labels held.
    fn meeting(&self, affinity: &NodeSelector, only_cpu: bool) -> Bits {
        let mut out = Bits::none(self.len());
        for term in affinity.terms.iter().filter(|term| !term.is_empty()) {
            out.union(&self.meeting_term(term, only_cpu));
        }
        out
    }

    fn meeting_term(&self, term: &Term, only_cpu: bool) -> Bits {
        let mut out = Bits::all(self.len());
        for expression in deciding(&term.expressions) {
            if !only_cpu || Family::of(expression.key()).is_cpu() {
                self.keep_matching(expression, &mut out);
            }
        }
        for rule in term.names.iter().filter(|_| !only_cpu) {
            match rule {
                NameRule::Is(name) => {
                    let found = self.find(name).filter(|&node| out.contains(node));
                    out = Bits::none(self.len());
                    if let Some(node) = found {
                        out.insert(node);
                    }
                }
                NameRule::IsNot(name) => self.find(name).into_iter().for_each(|node| out.remove(node)),
                NameRule::Invalid => out = Bits::none(self.len()),
            }
        }
        out
    }

    /// Returns the nodes that meet one condition of an affinity.
    pub(super) fn meeting_rule(&self, rule: RuleRef<'_>) -> Bits {
        match rule {
            RuleRef::Label(expression) => self.meeting_condition(expression),
            RuleRef::Name(rule) => self.meeting_term(&Term { names: vec![rule.clone()], ..Term::default() }, false),
        }
    }

    /// Returns the nodes that meet a condition on a label.
    pub(crate) fn meeting_condition(&self, expression: &Expression) -> Bits {
        let mut out = Bits::all(self.len());
        self.keep_matching(expression, &mut out);
        out
    }

    fn keep_matching(&self, expression: &Expression, nodes: &mut Bits) {
        let Some(key) = self.keys.get(expression.key()) else {
            if !expression.holds(None) {
                *nodes = Bits::none(self.len());
            }
            return;
        };
        let negated = matches!(expression, Expression::NotIn(..) | Expression::DoesNotExist(_));
        // The nodes or profiles whose value of the label decides: for a negated condition against it, else for
        // it.
        let deciding: Vec<&Members> = match expression {
            Expression::In(_, wanted) | Expression::NotIn(_, wanted) => {
                let found = wanted.iter().filter_map(|value| key.label(value));
                found.map(|label| self.members(label)).collect()
            }
            _ => {
                let decides = |value: &str| expression.holds(Some(value)) != negated;
                let found = key.values.iter().filter(|(value, _)| decides(value));
                found.map(|(_, label)| self.members(*label)).collect()
            }
        };
        let in_profile = key.family.is_profile();
        match deciding.as_slice() {
            [one] if !in_profile && negated => return one.take_from(nodes),
            [one] if !in_profile => return one.keep_in(nodes),
            _ => {}
        }
        let mut having = Bits::none(if in_profile { self.profiles.len() } else { self.len() });
        for members in deciding {
            members.add_to(&mut having);
        }
        if in_profile {
            having = self.expand(&having);
        }
        if negated {
            nodes.subtract(&having);
        } else {
            nodes.intersect(&having);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn expression() -> impl Strategy<Value = Expression> {
        let key = proptest::sample::select(vec!["a", "b"]).prop_map(str::to_owned);
        let values = proptest::collection::vec(0..5_i64, 0..3);
        let operator = proptest::sample::select(vec!["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt", "Other"]);
        (key, operator, values).prop_map(|(key, operator, values)| {
            Expression::new(key, operator, values.iter().map(i64::to_string).collect())
        })
    }

    proptest! {
        #[test]
        fn the_conditions_that_decide_are_met_by_the_same_labels(
            expressions in proptest::collection::vec(expression(), 0..12),
            one in proptest::option::of(0..5_i64), other in proptest::option::of(0..5_i64),
        ) {
            let values = [("a", one.map(|value| value.to_string())), ("b", other.map(|value| value.to_string()))];
            let value = |key: &str| values.iter().find(|(known, _)| *known == key).and_then(|(_, value)| value.as_deref());
            let all = expressions.iter().all(|expression| expression.holds(value(expression.key())));
            let left = deciding(&expressions);
            prop_assert_eq!(left.iter().all(|expression| expression.holds(value(expression.key()))), all);
        }

        /// A thousand bounds or equal conditions of one label would be compared with every node each.
        #[test]
        fn many_conditions_on_one_label_cost_as_few(count in 1..500_i64) {
            let one = |at: i64, operator: &str| {
                let values = if operator == "Exists" { Vec::new() } else { vec![at.to_string()] };
                Expression::new("rack".to_owned(), operator, values)
            };
            let many: Vec<Expression> =
                (0..count).flat_map(|at| ["Exists", "Gt", "Lt"].map(|operator| one(at, operator))).collect();
            prop_assert_eq!(deciding(&many).len(), 3);
        }
    }
}
