//! The nodes that labels allow a guest, before and after nodes are drained and returned.

use std::collections::HashMap;
use std::rc::Rc;

use super::super::acts::uncordoned;
use super::super::evicted::{EvictedGuest, EvictionEffect};
use super::NodeDrain;
use crate::fit::bits::Bits;
use crate::fit::fleet::{Fleet, NodeIndex};
use crate::fit::label;
use crate::fit::node::Node;

/// The nodes that a guest may be on.
#[derive(Clone, Debug)]
pub(super) struct NodesBefore {
    /// The nodes that take it now.
    pub now: Bits,
    /// The nodes that take it once they are uncordoned, which happens at their return.
    pub later: Bits,
}

impl NodesBefore {
    /// Returns the nodes that take it after these were drained and returned.
    pub(super) fn after(&self, done: &Bits) -> Bits {
        let mut out = self.later.clone();
        out.intersect(done);
        out.union(&self.now);
        out
    }

    /// Returns the places without these nodes.
    pub(super) fn without(&self, nodes: &Bits) -> Self {
        let mut out = self.clone();
        out.now.subtract(nodes);
        out.later.subtract(nodes);
        out
    }
}

/// Returns the places of each guest of these nodes that moves, in their order.
pub(super) fn of(fleet: &Fleet, turns: &[NodeDrain<'_>]) -> Vec<Rc<NodesBefore>> {
    let returned = returned(fleet, turns);
    let moving = turns
        .iter()
        .flat_map(|(_, evicted_guests)| evicted_guests)
        .filter(|evicted| evicted.effect == EvictionEffect::Moves);
    // Guests of one demand class share one set of nodes, with one address.
    let mut known: HashMap<*const Bits, Rc<NodesBefore>> = HashMap::new();
    let places = |evicted: &EvictedGuest<'_>| {
        let places = known.entry(Rc::as_ptr(&evicted.fits)).or_insert_with(|| {
            let later = returned.as_ref().zip(evicted.asks()).map(|(returned, asks)| {
                let mut later = asks.fitting(returned);
                evicted.usable.iter().for_each(|usable| later.intersect(usable));
                later
            });
            let now = Bits::clone(&evicted.fits);
            Rc::new(NodesBefore { later: later.unwrap_or_else(|| now.clone()), now })
        });
        Rc::clone(places)
    };
    moving.map(places).collect()
}

/// Returns the nodes after all were returned; `None` if none is cordoned.
fn returned(fleet: &Fleet, turns: &[NodeDrain<'_>]) -> Option<Fleet> {
    let is_cordoned = |node: &NodeIndex| {
        fleet.is_cordoned(*node) || fleet.taints(*node).iter().any(|taint| taint.key == label::TAINT_UNSCHEDULABLE)
    };
    let cordoned = turns.iter().map(|(node, _)| *node).filter(is_cordoned);
    let changed: Vec<Node> = cordoned.map(|node| uncordoned(fleet, node)).collect();
    if changed.is_empty() { None } else { Some(fleet.with(changed)) }
}
