//! The nodes that a guest's rules about pods leave for certain: those with the topology keys of its topology spread
//! (`DoNotSchedule`) and its required pod affinity, and in the domains of the pods that this affinity selects.
//!
//! A topology spread is judged by its key alone: its counts depend on the pods of the moment.

use super::drain::anti_affinity::{Mates, Residents};
use crate::fit::bits::Bits;
use crate::fit::fleet::{Fleet, NodeIndex};
use crate::fit::subject::{PodRule, Unjudged};
use crate::kubevirt::wire::Vmi;
use crate::say;

/// The nodes that rules about pods close to a guest.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClosedByRules {
    /// The topology keys that nodes lack, with these nodes.
    without_keys: Vec<(PodRule, String, Bits)>,
    /// The nodes outside of the domains of the pods that required pod affinity selects.
    apart: Option<Apart>,
}

/// The nodes that required pod affinity closes.
#[derive(Clone, Debug)]
struct Apart {
    closed: Bits,
    keys: Vec<String>,
    /// The nodes that the selected pods are on.
    mates: Bits,
    /// Whether these pods stay there, so that no other node is closed.
    is_settled: bool,
}

impl ClosedByRules {
    /// Finds them, given the pods that its affinity selects, if they are known, the nodes that may be in their domains,
    /// and whether these pods stay where they are.
    pub(crate) fn of(unjudged: &Unjudged, mates: Option<(&Mates<'_>, Bits, bool)>, fleet: &Fleet) -> Self {
        let without_keys = unjudged.without_keys(fleet).map(|(rule, key, nodes)| (rule, key.to_owned(), nodes));
        let apart = mates.map(|(mates, open, is_settled)| {
            let mut closed = open;
            closed.invert();
            Apart { closed, keys: mates.keys.iter().cloned().collect(), mates: mates.nodes(fleet), is_settled }
        });
        Self { without_keys: without_keys.collect(), apart }
    }

    /// Finds those of a guest, while all other pods stay where they are, but for the guests of `leaving`.
    pub(crate) fn now(
        unjudged: &Unjudged,
        vmi: &Vmi,
        residents: &Residents<'_>,
        leaving: &[&Vmi],
        fleet: &Fleet,
    ) -> Self {
        let mates = residents.mates(vmi);
        let leaves =
            |guest: &Vmi| !std::ptr::eq(guest, vmi) && leaving.iter().any(|leaving| std::ptr::eq(*leaving, guest));
        let place = |guest: &Vmi| (!leaves(guest)).then(|| on(fleet, &guest.status.node_name));
        let is_settled = |mates: &Mates<'_>| !mates.guests.iter().any(|guest| leaves(guest));
        let mates = mates.as_ref().map(|mates| (mates, mates.open(fleet, place), is_settled(mates)));
        Self::of(unjudged, mates, fleet)
    }

    /// Whether they close no node.
    pub(crate) fn is_empty(&self) -> bool {
        self.without_keys.is_empty() && self.apart.as_ref().is_none_or(|apart| apart.closed.is_empty())
    }

    /// Whether required pod affinity closes no other node.
    pub(crate) fn judges_affinity(&self) -> bool {
        self.apart.as_ref().is_some_and(|apart| apart.is_settled)
    }

    /// Whether they close a node.
    pub(crate) fn closes(&self, node: NodeIndex) -> bool {
        self.without_keys.iter().any(|(_, _, nodes)| nodes.contains(node)) || self.keeps_apart(node)
    }

    fn keeps_apart(&self, node: NodeIndex) -> bool {
        self.apart.as_ref().is_some_and(|apart| apart.closed.contains(node))
    }

    /// Removes the nodes that they close.
    pub(crate) fn leave(&self, nodes: &mut Bits) {
        self.without_keys.iter().for_each(|(_, _, closed)| nodes.subtract(closed));
        self.apart.iter().for_each(|apart| nodes.subtract(&apart.closed));
    }

    /// Returns why they close one node, in a few words.
    pub(crate) fn on(&self, node: NodeIndex) -> Option<String> {
        let without = self.without_keys.iter().find(|(_, _, nodes)| nodes.contains(node));
        let without = without.map(|(rule, key, _)| say::pod_rules::lacks_key(*rule, key));
        without.or_else(|| self.keeps_apart(node).then(|| "kept off by pod affinity".to_owned()))
    }

    /// Returns why they close these nodes, a sentence for each reason.
    pub(crate) fn sentences(&self, nodes: &Bits, fleet: &Fleet) -> Vec<String> {
        let mut left = nodes.clone();
        let mut out = Vec::new();
        for (rule, key, closed) in &self.without_keys {
            let mut lacking = left.clone();
            lacking.intersect(closed);
            left.subtract(closed);
            if !lacking.is_empty() {
                out.push(say::pod_rules::without_key(*rule, key, &fleet.names(&lacking)));
            }
        }
        if let Some(Apart { closed, keys, mates, .. }) = &self.apart {
            left.intersect(closed);
            if !left.is_empty() {
                out.push(say::pod_rules::without_mates(&fleet.names(&left), keys, &fleet.names(mates)));
            }
        }
        out
    }
}

/// Returns the set of this one node; empty if it is not known.
pub(crate) fn on(fleet: &Fleet, node: &str) -> Bits {
    let mut out = Bits::none(fleet.len());
    fleet.find(node).into_iter().for_each(|node| out.insert(node));
    out
}
