//! Facts that a drain depends on and that are not known: a sentence for each.

use std::collections::BTreeSet;

use super::anti_affinity::Residents;
use super::evicted::{EvictedGuest, EvictionEffect};
use super::returning::Restarts;
use super::{DrainedNode, State};
use crate::answers::missing_launchers::{self, hides_inheritance};
use crate::fit::fleet::NodeIndex;
use crate::fit::plural::{fold_names, number};
use crate::kubevirt::eviction::strategy;
use crate::world::World;

/// The guests of a drain with their outcomes.
pub(super) struct NotKnown<'n, 'w> {
    pub(super) world: &'w World,
    pub(super) residents: &'n Residents<'w>,
    /// The guests of each node, in the order of the nodes.
    pub(super) turns: &'n [(NodeIndex, Vec<EvictedGuest<'w>>)],
    pub(super) rows: &'n [DrainedNode],
    pub(super) returning: Vec<Returning<'n>>,
}

/// A guest that is shut down, starts again and may take a place that another one needs.
pub(super) struct Returning<'n> {
    pub(super) title: &'n str,
    pub(super) restarts: Restarts,
    /// Whether all choices of its group were followed.
    pub(super) are_followed: bool,
}

impl<'n, 'w> NotKnown<'n, 'w> {
    /// Returns the sentences.
    pub(super) fn lines(&self) -> Vec<String> {
        let one = [self.launchers(), self.room(), self.strategies(), self.volumes(), self.budgets()];
        one.into_iter().flatten().chain(self.places()).collect()
    }

    fn evicted_guests(&self) -> impl Iterator<Item = &'n EvictedGuest<'w>> {
        self.turns.iter().flat_map(|(_, evicted_guests)| evicted_guests)
    }

    /// Returns the guests for which this is so, by name.
    fn named(&self, is_so: impl Fn(&EvictedGuest<'w>) -> bool) -> Vec<&'n str> {
        self.evicted_guests().filter(|evicted| is_so(evicted)).map(|evicted| evicted.title.as_str()).collect()
    }

    /// The entries that guests inherited, if their launchers are missing.
    fn launchers(&self) -> Option<String> {
        let moves = |evicted: &EvictedGuest<'_>| evicted.effect == EvictionEffect::Moves;
        let lacks = |evicted: &EvictedGuest<'w>| moves(evicted) && hides_inheritance(evicted.vmi, &self.world.cluster);
        missing_launchers::line(&self.named(lacks))
    }

    /// The room of nodes, or the sizes of guests.
    fn room(&self) -> Option<String> {
        let moves = |evicted: &EvictedGuest<'_>| evicted.effect == EvictionEffect::Moves;
        if self.world.cluster.room.is_empty() && self.evicted_guests().any(moves) {
            return Some(
                "how much room the nodes have (from status.allocatable and all pods): a node that fits may be full"
                    .to_owned(),
            );
        }
        let small = self.named(|evicted| moves(evicted) && self.residents.size(evicted.vmi).is_none());
        if small.is_empty() {
            return None;
        }
        let asks = number(small.len(), "asks", "ask");
        let launcher = number(small.len(), "its launcher is", "their launchers are");
        let names = fold_names(&small, 3);
        Some(format!("how much {names} {asks} for: {launcher} not known; a node that fits may be full"))
    }

    /// The eviction strategies that guests take from a KubeVirt resource that is not known.
    fn strategies(&self) -> Option<String> {
        let unstated = self.named(|evicted| {
            let is_judged = !matches!(evicted.effect, EvictionEffect::Ends(_));
            is_judged && strategy(evicted.vmi, &self.world.cluster).is_none()
        });
        if unstated.is_empty() {
            return None;
        }
        let names = fold_names(&unstated, 3);
        let states = number(unstated.len(), "it states", "they state");
        Some(format!(
            "the evictionStrategy of {names}: {states} none, and the KubeVirt resource, which sets the default, is not known; \
             judged as LiveMigrate"
        ))
    }

    /// The nodes of the volumes of stuck guests.
    fn volumes(&self) -> Option<String> {
        let guests = self.rows.iter().flat_map(|row| &row.guests);
        let stuck: BTreeSet<&str> =
            guests.filter(|guest| guest.state == State::Stuck).map(|guest| guest.guest.as_str()).collect();
        // Guests with targets are not prepared one by one.
        let is_unplaced = |evicted: &EvictedGuest<'w>| {
            let subject = evicted.prepared(self.world).map(|prepared| &prepared.subject);
            subject.is_some_and(|subject| subject.restart.is_some() && !subject.unjudged_next().unplaced.is_empty())
        };
        let unplaced = self.named(|evicted| stuck.contains(evicted.title.as_str()) && is_unplaced(evicted));
        if unplaced.is_empty() {
            return None;
        }
        Some(format!(
            "on which nodes volumes of {} can be used (their PersistentVolumes are not known, or they are hostDisk): a restart, after \
             which no node may be left to start on, is not among the changes",
            fold_names(&unplaced, 3)
        ))
    }

    /// The places of guests that are shut down and start again, a line for each way in which they do.
    fn places(&self) -> impl Iterator<Item = String> + use<'_, 'n, 'w> {
        let kinds = [Restarts::Always, Restarts::OnFailure, Restarts::Replaced];
        kinds.into_iter().filter_map(|kind| {
            let of_kind: Vec<&Returning<'_>> = self.returning.iter().filter(|guest| guest.restarts == kind).collect();
            let mut names: Vec<&str> = of_kind.iter().map(|guest| guest.title).collect();
            names.sort_unstable();
            let (count, names) = (names.len(), fold_names(&names, 3));
            let starts = match kind {
                _ if count == 0 => return None,
                Restarts::Always => {
                    format!("where {names} {} again after the shutdown", number(count, "starts", "start"))
                }
                Restarts::OnFailure => format!(
                    "whether and where {names} {} again (RerunOnFailure: only after a failure, such as a shutdown that takes too long)",
                    number(count, "starts", "start")
                ),
                Restarts::Replaced | Restarts::Never => format!(
                    "where the {} that {} replica set starts instead of {names} {} placed",
                    number(count, "guest", "guests"),
                    number(count, "its", "their"),
                    number(count, "is", "are")
                ),
            };
            let may_be = "it may be the place of a guest that is migrated, which is stuck then";
            let too_many = if of_kind.iter().all(|guest| guest.are_followed) {
                ""
            } else {
                " (there are too many choices to follow each: whether such a guest can still leave is not certain)"
            };
            Some(format!("{starts}: {may_be}{too_many}"))
        })
    }

    /// The disruption budgets of guests that are shut down.
    fn budgets(&self) -> Option<String> {
        let is_shut_down = self.rows.iter().any(|row| row.count(State::ShutDown) > 0);
        let line = "PodDisruptionBudgets: one that allows no disruption would hold up a guest that is to be shut down";
        (is_shut_down && !self.world.cluster.room.knows_budgets()).then(|| line.to_owned())
    }
}
