//! The scheduler's sentence about a pod that it placed nowhere, taken apart: which nodes it means, as far as the nodes that are
//! known show it.
//!
//! Mirrors `FitError.Error` (`pkg/scheduler/framework/types.go`): `0/9 nodes are available: 3 node(s) didn't match …, 2 node(s)
//! were unschedulable.` Each node is counted under the first filter that refuses it.

use std::collections::BTreeMap;

use crate::fit::fleet::{Fleet, NodeIndex};
use crate::fit::placement::Placement;

/// A sentence, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sentence {
    /// How many nodes there were.
    pub total: usize,
    /// The groups, in the sentence's order.
    pub groups: Vec<Group>,
    /// What stands there and counts no nodes.
    pub rest: String,
}

/// Nodes that the scheduler refuses for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    /// How many.
    pub count: usize,
    /// The reason in the scheduler's words.
    pub reason: String,
}

/// Why the scheduler refuses a node, as far as labels, cordons and taints show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Filter {
    /// `NodeUnschedulable`.
    Cordon,
    /// `TaintToleration`.
    Taint,
    /// `NodeAffinity`: selector or required node affinity.
    Selector,
}

impl Filter {
    /// The filter that a reason comes from; `None` for those that other things decide: room, volumes, other pods.
    #[must_use]
    pub(crate) fn of(reason: &str) -> Option<Self> {
        let says = |words: &[&str]| words.iter().any(|word| reason.contains(word));
        if says(&["unschedulable"]) {
            Some(Self::Cordon)
        } else if says(&["taint"]) {
            Some(Self::Taint)
        } else if says(&["node affinity/selector", "node selector", "affinity/selector"]) && !says(&["volume"]) {
            Some(Self::Selector)
        } else {
            None
        }
    }
}

impl Sentence {
    /// Takes a message apart; `None` where it is no such sentence.
    #[must_use]
    pub(crate) fn parse(message: &str) -> Option<Self> {
        let (head, tail) = message.split_once(" nodes are available")?;
        let (_, total) = head.trim().rsplit_once('/')?;
        let total = total.parse().ok()?;
        // What preemption would do is said in a sentence of its own.
        let end = tail.find("preemption:").unwrap_or(tail.len());
        let tail = tail[..end].trim_start_matches(':').trim().trim_end_matches(['.', ',', ' ']);
        let mut groups: Vec<Group> = Vec::new();
        let mut rest = Vec::new();
        for part in tail.split(", ") {
            let counted = part.split_once(' ').and_then(|(count, reason)| Some((count.parse().ok()?, reason)));
            match (counted, groups.last_mut()) {
                (Some((count, reason)), _) => groups.push(Group { count, reason: reason.to_owned() }),
                // A reason may hold a comma.
                (None, Some(last)) => {
                    last.reason.push_str(", ");
                    last.reason.push_str(part);
                }
                (None, None) => rest.extend(Some(part).filter(|part| !part.is_empty())),
            }
        }
        Some(Self { total, groups, rest: rest.join(", ") })
    }

    /// How many nodes the groups make together.
    #[must_use]
    pub(crate) fn counted(&self) -> usize {
        self.groups.iter().map(|group| group.count).fold(0, usize::saturating_add)
    }
}

/// The nodes by the first filter that refuses a pod there; nodes that take it are in none.
#[must_use]
pub(crate) fn refused(placement: &Placement<'_>, fleet: &Fleet) -> BTreeMap<Filter, Vec<NodeIndex>> {
    let lookup = fleet.look_up(placement);
    let mut out: BTreeMap<Filter, Vec<NodeIndex>> = BTreeMap::new();
    for node in fleet.in_name_order() {
        let refusal = lookup.refusal(node);
        let filter = if refusal.cordoned {
            Filter::Cordon
        } else if !refusal.taints.is_empty() {
            Filter::Taint
        } else if !refusal.missing.is_empty() || !refusal.affinity.is_empty() {
            Filter::Selector
        } else {
            continue;
        };
        out.entry(filter).or_default().push(node);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    /// How many nodes in all, the groups, and what was not read.
    type Groups = (usize, Vec<(usize, String)>, String);

    fn groups(message: &str) -> Option<Groups> {
        let found = Sentence::parse(message)?;
        Some((found.total, found.groups.into_iter().map(|group| (group.count, group.reason)).collect(), found.rest))
    }

    #[rstest]
    #[case::two_groups(
        "0/9 nodes are available: 3 node(s) didn't match Pod's node affinity/selector, 2 node(s) were unschedulable. preemption: 0/9 nodes are available: 9 Preemption is not helpful for scheduling.",
        9, &[(3, "node(s) didn't match Pod's node affinity/selector"), (2, "node(s) were unschedulable")], ""
    )]
    #[case::a_comma_in_a_reason(
        "0/3 nodes are available: 1 node(s) had taint {a: b}, that the pod didn't tolerate, 2 Insufficient cpu.",
        3, &[(1, "node(s) had taint {a: b}, that the pod didn't tolerate"), (2, "Insufficient cpu")], ""
    )]
    #[case::nothing_is_counted(
        "0/3 nodes are available: persistentvolumeclaim \"x\" not found.",
        3, &[], "persistentvolumeclaim \"x\" not found"
    )]
    #[case::preemption_behind_a_comma(
        "0/2 nodes are available: 2 node(s) were unschedulable, no new claims to deallocate, preemption: 0/2 nodes are available: 2 Preemption is not helpful.",
        2, &[(2, "node(s) were unschedulable, no new claims to deallocate")], ""
    )]
    fn a_sentence_is_taken_apart(
        #[case] message: &str,
        #[case] total: usize,
        #[case] expected: &[(usize, &str)],
        #[case] rest: &str,
    ) {
        let expected = expected.iter().map(|(count, reason)| (*count, (*reason).to_owned())).collect();
        assert_eq!(groups(message), Some((total, expected, rest.to_owned())));
    }

    #[rstest]
    #[case::another_sentence("pod has unbound immediate PersistentVolumeClaims")]
    #[case::no_count("many nodes are available: 3 x")]
    fn another_sentence_is_none(#[case] message: &str) {
        assert_eq!(groups(message), None);
    }
}
