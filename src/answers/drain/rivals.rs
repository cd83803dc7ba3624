//! The guests that may take the places of others: for each guest that may stay, its rivals.

use std::collections::BTreeSet;

use super::anti_affinity::Residents;
use super::evicted::EvictedGuest;
use super::outcome::{GuestOutcome, Rivals};
use super::race::RaceEnds;
use super::work;
use crate::fit::bits::Bits;
use crate::fit::fleet::NodeIndex;

/// A group of guests that share places, by index.
pub(super) struct Contest<'f, 'w> {
    pub(super) residents: &'f Residents<'w>,
    pub(super) evicted_guests: &'f [&'f EvictedGuest<'w>],
    pub(super) outcomes: &'f [GuestOutcome],
    pub(super) group: &'f [usize],
}

impl Contest<'_, '_> {
    /// Returns the guests that stay with some orders or choices only, each with the guests that take its places then.
    /// A guest that only waits for another one to leave has no rivals of its own.
    pub(super) fn raced(&self, ends: &RaceEnds) -> Vec<(usize, Rivals)> {
        let Self { evicted_guests, outcomes, group, .. } = self;
        let rivals = |own: usize| {
            let places = &ends.reached[own];
            let waits = ends.takers[own].is_empty() && ends.after[own].iter().any(|&other| ends.may_stay[other]);
            if !ends.may_stay[own] || places.is_empty() || waits {
                return None;
            }
            let mut others: BTreeSet<usize> = ends.takers[own].clone();
            if others.is_empty() {
                others.extend((0..group.len()).filter(|&other| other != own && !ends.reached[other].is_empty()));
            }
            let names = others.into_iter().map(|other| evicted_guests[group[other]].title.clone()).collect();
            Some((group[own], Rivals { names, places: outcomes[group[own]].targets.clone() }))
        };
        (0..group.len()).filter_map(rivals).collect()
    }

    /// Returns the guests that may stay, each with the guests that may take all its places first.
    pub(super) fn bounded(&self) -> Vec<(usize, Rivals)> {
        let is_here = |at: usize| self.residents.keep_apart() && !self.outcomes[at].is_restarted;
        let is_moving = |at: &usize| self.outcomes[*at].starts.is_none();
        let mut uncertain: Vec<usize> = self.group.iter().copied().filter(is_moving).collect();
        loop {
            let mut found: Vec<(usize, Rivals)> = Vec::new();
            for &at in &uncertain {
                // A guest that may stay keeps closing what it closes now.
                let mut places = self.outcomes[at].targets.clone();
                for &other in uncertain.iter().filter(|&&other| other != at && is_here(other)) {
                    let (own, other) = (self.evicted_guests[at], self.evicted_guests[other]);
                    places.subtract(&self.residents.closes(own.vmi, other.vmi, other.source));
                }
                found.extend(self.rivals(at, &places).map(|rivals| (at, rivals)));
            }
            if found.len() == uncertain.len() {
                return found;
            }
            uncertain = found.into_iter().map(|(at, _)| at).collect();
        }
    }

    /// Returns the guests that may take all of these places of a guest first, if each can be closed by another guest.
    fn rivals(&self, at: usize, places: &Bits) -> Option<Rivals> {
        let Self { residents, evicted_guests, outcomes, group } = self;
        let own = evicted_guests[at].vmi;
        let is_near = |other: &&usize| **other != at && residents.are_apart(own, evicted_guests[**other].vmi);
        let closers: Vec<Closer> = group.iter().filter(is_near).map(|&other| self.closer(at, other)).collect();
        let beside: Vec<usize> = group.iter().copied().filter(|&other| other != at).collect();
        // Places that only one guest each can close, and the number of guests that the others take at least. A guest
        // that closes several places, such as those of a zone, is not counted.
        let (mut alone, mut by_room) = (Vec::new(), 0);
        for place in places.iter() {
            if closers.iter().any(|closer| closer.closes_several && closer.closed.contains(place)) {
                continue;
            }
            let is_closed = closers.iter().any(|closer| closer.closed.contains(place));
            match self.fills(&beside, at, place) {
                Some(_) if is_closed => by_room += 1,
                Some(guests) => by_room += guests,
                None => alone.push(place),
            }
            if alone.len() + by_room > beside.len() {
                return None;
            }
        }
        let mut taken: Vec<Option<NodeIndex>> = vec![None; closers.len()];
        if !alone.iter().all(|&place| augment(&closers, &mut taken, place, &mut vec![false; closers.len()])) {
            return None;
        }
        let meets = |other: &usize| {
            let is_closer = |closer: &Closer| closer.guest == *other && !closer.closed.is_empty();
            outcomes[*other].reach().meets(&outcomes[at].targets) || closers.iter().any(is_closer)
        };
        Some(Rivals {
            names: beside
                .iter()
                .filter(|other| meets(other))
                .map(|other| evicted_guests[*other].title.clone())
                .collect(),
            places: outcomes[at].targets.clone(),
        })
    }

    /// Returns the places of a guest that another one closes.
    fn closer(&self, own: usize, guest: usize) -> Closer {
        let targets = &self.outcomes[own].targets;
        let mut out = Closer { guest, closed: Bits::none(targets.len()), closes_several: false };
        for node in self.outcomes[guest].reach().iter() {
            let mut closed = self.residents.closes(self.evicted_guests[own].vmi, self.evicted_guests[guest].vmi, node);
            closed.intersect(targets);
            out.closes_several |= closed.count() > 1;
            out.closed.union(&closed);
        }
        out
    }

    /// Returns a lower bound for the number of these guests that fill a place; `None` if they cannot fill it.
    fn fills(&self, beside: &[usize], at: usize, place: NodeIndex) -> Option<usize> {
        let size = |at: usize| self.residents.size(self.evicted_guests[at].vmi);
        let own = size(at)?;
        let space = self.residents.space();
        let others = beside.iter().filter(|&&other| self.outcomes[other].reach().contains(place));
        let others: Vec<Vec<i64>> = others.map(|&other| space.sum(size(other))).collect();
        let of_resource = |resource: usize| {
            work::count(others.len());
            // The largest come first.
            let mut asked: Vec<i64> = others.iter().map(|asked| asked[resource]).collect();
            asked.sort_by_key(|asked| std::cmp::Reverse(*asked));
            let mut sum = space.sum([]);
            let mut is_filled_by = |asked: &i64| {
                sum[resource] = sum[resource].saturating_add(*asked);
                space.lacks(own, place, &sum)
            };
            asked.iter().position(&mut is_filled_by).map(|position| position + 1)
        };
        (0..space.width()).filter_map(of_resource).min()
    }
}

/// A guest that excludes another one from places.
struct Closer {
    guest: usize,
    /// The places that it closes from anywhere it can go.
    closed: Bits,
    /// Whether it closes several of them from one place.
    closes_several: bool,
}

/// Finds a guest that closes this place while the others keep theirs: a step of bipartite matching.
fn augment(others: &[Closer], taken: &mut [Option<NodeIndex>], place: NodeIndex, seen: &mut [bool]) -> bool {
    for at in 0..others.len() {
        if seen[at] || !others[at].closed.contains(place) {
            continue;
        }
        seen[at] = true;
        if taken[at].is_none_or(|other| augment(others, taken, other, seen)) {
            taken[at] = Some(place);
            return true;
        }
    }
    false
}
