//! What changed between two looks at a cluster: labels that came and went, and for whom that is better or worse.

mod guests;
mod nodes;
mod verdicts;

use serde::Serialize;

use crate::fit::fleet::Fleet;
use crate::world::World;

pub use guests::{Direction, GuestChange};
pub use nodes::{Frozen, NodeChange, Unlike, What};

/// What changed. Also the JSON of `cpufit diff`: fields are only ever added.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Diff {
    /// The nodes that came, went or changed, by name.
    pub nodes: Vec<NodeChange>,
    /// The guests whose verdict is another one, by name.
    pub guests: Vec<GuestChange>,
    /// How many guests are worse off; who was not there before is not counted.
    pub worse: usize,
    /// How many are better off.
    pub better: usize,
    /// The guests that ceased to match the node they run on, or match it again, whatever their verdict.
    pub own_node: Vec<GuestChange>,
    /// Nodes of the new cluster whose labels are frozen by the annotation `skip-node`.
    pub frozen: Vec<Frozen>,
    /// Nodes of the new cluster whose CPU labels differ from those of most nodes with their host model.
    pub unlike: Vec<Unlike>,
    /// CPU labels that guests who are worse off ask for, and that no node has any more.
    pub gone: Vec<String>,
}

impl Diff {
    /// Whether nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty() && self.guests.is_empty() && self.own_node.is_empty()
    }
}

/// What changed from one cluster to the other.
///
/// Only guests whose `namespace/name` is asked for are compared.
///
/// `progress` is called with how many guests have been compared, and of how many.
#[must_use]
pub fn diff(old: &World, new: &World, is_asked_for: &dyn Fn(&str) -> bool, progress: &dyn Fn(usize, usize)) -> Diff {
    let guests::GuestChanges { guests, own_node, worse, better } = guests::changes(old, new, is_asked_for, progress);
    let fleet = &new.cluster.fleet;
    let has = |fleet: &Fleet, key: &str| fleet.values(key).any(|value| !fleet.bearing(key, value).is_empty());
    let hit = guests.iter().chain(&own_node).filter(|change| change.turn == Direction::Worse);
    let mut gone: Vec<String> = hit
        .flat_map(|change| &change.because)
        .filter(|key| has(&old.cluster.fleet, key) && !has(fleet, key))
        .cloned()
        .collect();
    gone.sort_unstable();
    gone.dedup();
    Diff {
        nodes: nodes::changes(&old.cluster.fleet, fleet),
        guests,
        worse,
        better,
        own_node,
        frozen: nodes::frozen(&old.cluster.fleet, fleet),
        unlike: nodes::unlike(fleet),
        gone,
    }
}

#[cfg(test)]
mod tests;
