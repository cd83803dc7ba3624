//! The outcome for one guest of a drained node.

use super::State;
use crate::fit::bits::Bits;
use crate::fit::fleet::{Fleet, NodeIndex};
use crate::fit::plural::{fold_names, number};
use crate::kubevirt::room::Shortage;
use crate::say;

/// The outcome for one guest.
#[derive(Clone, Debug)]
pub(super) struct GuestOutcome {
    /// The nodes that take it, now or after others have left its node, as long as none of the others has gone there.
    pub targets: Bits,
    /// The target it gets in the best case; `None` if it gets none.
    pub place: Option<NodeIndex>,
    /// The guests of its node that may take its places first, with these places.
    pub rivals: Option<Rivals>,
    /// The guests of its node that must leave before any node takes it, by name; empty if one takes it now.
    pub after: Vec<String>,
    /// The nodes that fit except for pods there, by anti-affinity.
    pub kept_off: Bits,
    /// The pods on `kept_off`; at least one for each node.
    pub keepers: Vec<String>,
    /// The targets that have room only after pods with a lower priority are shut down, if that may happen.
    pub by_preemption: Bits,
    /// The guests among those pods, by name.
    pub victims: Vec<String>,
    /// The nodes that fit and have no room.
    pub no_room: Bits,
    /// The guests on `no_room` that are being deleted, by name.
    pub ending: Vec<String>,
    /// The first node of `no_room`, and the resource that it lacks.
    pub shortage: Option<(NodeIndex, Shortage)>,
    /// If its eviction shuts it down, the nodes on which it may start again and so affect the places of others; `None`
    /// if there are none.
    pub starts: Option<Bits>,
    /// Whether an act restarts it before the drain, as [`Destinations::by_restart`].
    pub is_restarted: bool,
}

/// The nodes that a guest may go to, as far as labels and its volumes decide.
#[derive(Clone, Debug)]
pub(super) struct Destinations {
    pub nodes: Bits,
    /// Whether an act restarts the guest before the drain, and it goes there by its start. Its launcher has ended by
    /// then: it closes no node, neither to the guest itself nor to others.
    pub by_restart: bool,
}

impl Destinations {
    /// Returns those of a migration.
    pub(super) fn of_migration(nodes: Bits) -> Self {
        Self { nodes, by_restart: false }
    }

    /// Returns those of a restart. Without a node the guest is judged as if it were not restarted: no other guest has
    /// an advantage from a guest that stays down.
    pub(super) fn of_restart(nodes: Bits) -> Self {
        Self { by_restart: !nodes.is_empty(), nodes }
    }
}

/// Guests of one node that compete for places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rivals {
    pub names: Vec<String>,
    pub places: Bits,
}

impl Rivals {
    pub(super) fn sentence(&self, fleet: &Fleet, state: State) -> String {
        let (names, places) = (fold_names(&self.names, 2), fold_names(&fleet.names(&self.places), 2));
        match state {
            State::Stuck => format!("{names} and it share too few places ({places}): the last one waits"),
            State::ShutDown | State::Stays | State::Ends | State::OneTarget | State::CanLeave => {
                format!("{names} may take its place first ({places})")
            }
        }
    }
}

impl GuestOutcome {
    /// Returns the nodes that it may go to: by its migration, or by a start after its shutdown that affects others.
    pub(super) fn reach(&self) -> &Bits {
        self.starts.as_ref().unwrap_or(&self.targets)
    }

    /// Whether its launcher is gone from the drained node before it has a new place.
    pub(super) fn leaves_at_once(&self) -> bool {
        self.starts.is_some() || self.is_restarted
    }

    /// Returns `node-d fits by CPU, no room: 2 of 64 cores free (it asks for 8 cores)`.
    pub(super) fn without_room(&self, fleet: &Fleet) -> Option<String> {
        let (node, short) = self.shortage.as_ref()?;
        Some(say::room::no_room(fleet.name(*node), short, self.no_room.count() - 1))
    }

    /// Returns `shop/old is being deleted: its room there is free once it has ended`.
    pub(super) fn room_to_come(&self) -> Option<String> {
        let (is, its) = (number(self.ending.len(), "is", "are"), number(self.ending.len(), "its", "their"));
        let has = number(self.ending.len(), "it has", "they have");
        let names = fold_names(&self.ending, 2);
        (!self.ending.is_empty())
            .then(|| format!("{names} {is} being deleted: {its} room there is free once {has} ended"))
    }

    /// Returns `once shop/db has left`.
    pub(super) fn once_left(&self) -> Option<String> {
        let has = number(self.after.len(), "has", "have");
        (!self.after.is_empty()).then(|| format!("once {} {has} left", fold_names(&self.after, 2)))
    }

    /// Returns `node-d fits by labels, and required pod anti-affinity keeps it off (shop/db-2)`.
    pub(super) fn kept_apart(&self, fleet: &Fleet) -> Option<String> {
        if self.kept_off.is_empty() {
            return None;
        }
        Some(say::room::kept_apart(&fleet.names(&self.kept_off), &self.keepers))
    }

    /// Returns `node-d has room for it only once pods of a lower priority are shut down (preemption): shop/batch may be
    /// among them`.
    pub(super) fn preempts(&self, fleet: &Fleet) -> Option<String> {
        let nodes = fleet.names(&self.by_preemption);
        (!nodes.is_empty()).then(|| say::room::by_preemption(&nodes, &self.victims))
    }
}
