//! A forecast of where the guests of a node go when it is drained: all together, because two may compete for one place.
//!
//! The order in which KubeVirt starts the migrations is not known, and the scheduler chooses among the nodes that fit.
//! Guests that leave for certain are distinguished from guests that may lose their place to another one; if not all
//! guests find a place, the number counted as stuck is that of the best case.

use super::anti_affinity::Residents;
use super::evicted::{EvictedGuest, EvictionEffect};
use super::outcome::{GuestOutcome, Rivals};
use super::space::SizeIndex;
use super::work;
use crate::fit::bits::Bits;
use crate::fit::fleet::NodeIndex;
use crate::kubevirt::wire::Vmi;

/// Number of places tried for the guests of one node. After that the best result so far counts.
const MAX_TRIES: usize = 20_000;

/// The outcome for each guest of a node, in their order.
#[derive(Clone, Debug)]
pub(super) struct Forecast {
    pub outcomes: Vec<GuestOutcome>,
    /// By guest, whether it has to be migrated and finds no place.
    stuck: Vec<bool>,
}

impl Forecast {
    pub(super) fn has_stuck(&self) -> bool {
        self.stuck.contains(&true)
    }

    /// Returns the indices of the guests that find no place.
    pub(super) fn stuck(&self) -> Vec<usize> {
        (0..self.stuck.len()).filter(|&at| self.stuck[at]).collect()
    }
}

/// A node with a stuck guest: its guests and their forecast.
pub(super) struct Trouble<'t, 'w> {
    pub evicted_guests: &'t [EvictedGuest<'w>],
    pub forecast: Forecast,
}

/// Returns the forecast for these guests of a node; by labels, each may go to the nodes of its `fitting`.
pub(super) fn of(residents: &Residents<'_>, evicted_guests: &[EvictedGuest<'_>]) -> Forecast {
    let fitting: Vec<Bits> = evicted_guests.iter().map(|evicted| evicted.fitting.clone()).collect();
    let evicted_guests: Vec<&EvictedGuest<'_>> = evicted_guests.iter().collect();
    let (mut forecast, groups) = settled(residents, &evicted_guests, &fitting);
    for group in &groups {
        let rivals = |&at: &usize| Some((at, rivals(residents, &evicted_guests, &forecast.outcomes, group, at)?));
        let found: Vec<(usize, Rivals)> = group.iter().filter_map(rivals).collect();
        for (at, rivals) in found {
            forecast.outcomes[at].rivals = Some(rivals);
        }
    }
    forecast
}

/// Returns the forecast with other nodes than their `fitting`, without the rivals.
pub(super) fn with(residents: &Residents<'_>, evicted_guests: &[&EvictedGuest<'_>], fitting: &[Bits]) -> Forecast {
    settled(residents, evicted_guests, fitting).0
}

/// Returns the forecast without the rivals, and the groups of guests that share places.
fn settled(
    residents: &Residents<'_>,
    evicted_guests: &[&EvictedGuest<'_>],
    fitting: &[Bits],
) -> (Forecast, Vec<Vec<usize>>) {
    // A guest that is shut down is gone at once; a migrated one, once it has a place. Each may make room for others.
    let mut gone: Vec<&Vmi> =
        evicted_guests.iter().filter(|evicted| evicted.is_shut_down()).map(|evicted| evicted.vmi).collect();
    let mut found = outcomes(residents, evicted_guests, fitting, &gone);
    let at_first: Vec<bool> = found.iter().map(|outcome| outcome.targets.is_empty()).collect();
    while found.iter().any(|outcome| !outcome.kept_off.is_empty()) {
        let leaves = |(evicted, outcome): &(&&EvictedGuest<'_>, &GuestOutcome)| {
            !outcome.targets.is_empty() || evicted.is_shut_down()
        };
        let leaving: Vec<&Vmi> =
            evicted_guests.iter().zip(&found).filter(leaves).map(|(evicted, _)| evicted.vmi).collect();
        if leaving.len() == gone.len() {
            break;
        }
        gone = leaving;
        found = outcomes(residents, evicted_guests, fitting, &gone);
    }
    // Places depend on the targets only: they are searched when these are final.
    let groups = if residents.is_free() { Vec::new() } else { groups(residents, evicted_guests, &found) };
    for group in &groups {
        settle(residents, evicted_guests, &mut found, group);
    }
    for (at, outcome) in found.iter_mut().enumerate().filter(|(at, _)| at_first[*at]) {
        if outcome.place.is_some() {
            let own = evicted_guests[at].vmi;
            let opens = |other: &&&EvictedGuest<'_>| {
                let is_gone = gone.iter().any(|gone| std::ptr::eq(*gone, other.vmi));
                is_gone && !std::ptr::eq(other.vmi, own) && other.must_move() && residents.are_apart(own, other.vmi)
            };
            outcome.after = evicted_guests.iter().filter(opens).map(|other| other.title.clone()).collect();
        }
    }
    let is_stuck =
        |(evicted, outcome): (&&EvictedGuest<'_>, &GuestOutcome)| evicted.must_move() && outcome.place.is_none();
    let stuck = evicted_guests.iter().zip(&found).map(is_stuck).collect();
    (Forecast { outcomes: found, stuck }, groups)
}

/// Returns the outcomes of these guests once some of them are gone from their node.
fn outcomes(
    residents: &Residents<'_>,
    evicted_guests: &[&EvictedGuest<'_>],
    fitting: &[Bits],
    gone: &[&Vmi],
) -> Vec<GuestOutcome> {
    let outcome = |(evicted, fitting): (&&EvictedGuest<'_>, &Bits)| {
        let mut targets = fitting.clone();
        if !residents.is_free() {
            targets.subtract(&residents.kept_off(evicted.vmi, gone));
        }
        let mut kept_off = fitting.clone();
        kept_off.subtract(&targets);
        let (mut no_room, mut shortage) = (Bits::none(targets.len()), None);
        if let Some(full) = residents.full(evicted.vmi).filter(|_| !residents.is_free()) {
            no_room.union(&targets);
            no_room.intersect(&full);
            targets.subtract(&no_room);
            let size = residents.size(evicted.vmi);
            let of = |node| Some((node, residents.space().shortage(size?, node)?));
            shortage = no_room.iter().next().and_then(of);
        }
        let place = targets.iter().next();
        let (keepers, by_preemption) = (Vec::new(), Bits::none(targets.len()));
        GuestOutcome {
            place,
            targets,
            rivals: None,
            after: Vec::new(),
            kept_off,
            keepers,
            by_preemption,
            victims: Vec::new(),
            ending: Vec::new(),
            no_room,
            shortage,
        }
    };
    evicted_guests.iter().zip(fitting).map(outcome).collect()
}

/// Fills in the names of pods that exclude these guests, and of guests that may be preempted for them.
pub(super) fn name(residents: &Residents<'_>, evicted_guests: &[EvictedGuest<'_>], forecast: &mut Forecast) {
    let leave =
        |(evicted, outcome): &(&EvictedGuest<'_>, &GuestOutcome)| !outcome.targets.is_empty() || evicted.is_shut_down();
    let leaving: Vec<&Vmi> =
        evicted_guests.iter().zip(&forecast.outcomes).filter(leave).map(|(evicted, _)| evicted.vmi).collect();
    let moving = evicted_guests.iter().filter(|evicted| evicted.must_move()).count();
    for (evicted, outcome) in evicted_guests.iter().zip(&mut forecast.outcomes) {
        if !outcome.kept_off.is_empty() {
            outcome.keepers = residents.keepers(evicted.vmi, &outcome.kept_off, &leaving);
        }
        outcome.ending = residents.being_deleted(&outcome.no_room);
        let Some(size) = residents.size(evicted.vmi) else { continue };
        let mut by_preemption = Bits::clone(&residents.space().by_preemption(size));
        by_preemption.intersect(&outcome.targets);
        // The scheduler preempts only if no node has room without it (`PostFilter` of
        // `pkg/scheduler/framework/plugins/defaultpreemption/default_preemption.go`): each of the other guests takes at
        // most one of these nodes.
        if !by_preemption.is_empty() && outcome.targets.count() - by_preemption.count() < moving {
            outcome.victims = residents.victims(size, &by_preemption);
            outcome.by_preemption = by_preemption;
        }
    }
}

/// Returns the nodes without room for all of these guests that may go there.
fn tight(
    residents: &Residents<'_>,
    evicted_guests: &[&EvictedGuest<'_>],
    outcomes: &[GuestOutcome],
    guests: &[usize],
) -> Bits {
    let mut out = Bits::none(outcomes.first().map_or(0, |outcome| outcome.targets.len()));
    let known: Vec<(usize, SizeIndex)> =
        guests.iter().filter_map(|&at| Some((at, residents.size(evicted_guests[at].vmi)?))).collect();
    let mut all = out.clone();
    for (at, _) in &known {
        all.union(&outcomes[*at].targets);
    }
    let space = residents.space();
    let sizes: Vec<SizeIndex> = known.iter().map(|(_, size)| *size).collect();
    for node in space.crowded(&all, &sizes) {
        let coming = known.iter().filter(|(at, _)| outcomes[*at].targets.contains(node)).map(|(_, size)| *size);
        let coming: Vec<SizeIndex> = coming.collect();
        let together = space.sum(coming.iter().copied());
        let lacks = |&own: &SizeIndex| {
            let others: Vec<i64> = together.iter().zip(space.sum([own])).map(|(all, own)| all - own).collect();
            space.lacks(own, node, &others)
        };
        if coming.len() > 1 && coming.iter().any(lacks) {
            out.insert(node);
        }
    }
    out
}

/// Returns the groups of two or more guests that exclude each other or share too little room, directly or indirectly.
fn groups(
    residents: &Residents<'_>,
    evicted_guests: &[&EvictedGuest<'_>],
    outcomes: &[GuestOutcome],
) -> Vec<Vec<usize>> {
    let mut left: Vec<usize> = (0..evicted_guests.len()).filter(|&at| !outcomes[at].targets.is_empty()).collect();
    let tight = tight(residents, evicted_guests, outcomes, &left);
    let mut out = Vec::new();
    if tight.is_empty() && !residents.keep_apart() {
        return out;
    }
    while let Some(first) = left.pop() {
        let mut group = vec![first];
        let mut at = 0;
        while at < group.len() {
            let one = group[at];
            let mut shared = tight.clone();
            shared.intersect(&outcomes[one].targets);
            let (near, far) = left.into_iter().partition(|&other| {
                residents.are_apart(evicted_guests[one].vmi, evicted_guests[other].vmi)
                    || outcomes[other].targets.meets(&shared)
            });
            left = far;
            group.extend::<Vec<usize>>(near);
            at += 1;
        }
        if group.len() > 1 {
            group.sort_unstable();
            out.push(group);
        }
    }
    out
}

/// Finds places for guests that exclude each other.
fn settle(
    residents: &Residents<'_>,
    evicted_guests: &[&EvictedGuest<'_>],
    outcomes: &mut [GuestOutcome],
    group: &[usize],
) {
    let mut search =
        PlaceSearch { residents, evicted_guests, outcomes, placed: Vec::new(), best: Vec::new(), tries: 0 };
    let mut order = group.to_vec();
    order.sort_by_key(|&at| (outcomes[at].targets.count(), &evicted_guests[at].title));
    search.go(&order);
    let best = search.best;
    for &at in group {
        outcomes[at].place = best.iter().find(|(who, _)| *who == at).map(|(_, node)| *node);
    }
}

struct PlaceSearch<'s, 'w> {
    residents: &'s Residents<'w>,
    evicted_guests: &'s [&'s EvictedGuest<'w>],
    outcomes: &'s [GuestOutcome],
    placed: Vec<(usize, NodeIndex)>,
    best: Vec<(usize, NodeIndex)>,
    tries: usize,
}

impl PlaceSearch<'_, '_> {
    /// Places as many guests as possible, trying the remaining ones in this order.
    fn go(&mut self, left: &[usize]) {
        if self.placed.len() > self.best.len() {
            self.best.clone_from(&self.placed);
        }
        let Some((&at, rest)) = left.split_first() else { return };
        for node in self.outcomes[at].targets.iter() {
            // This branch cannot improve on the best result.
            if self.placed.len() + left.len() <= self.best.len() || self.tries >= MAX_TRIES {
                return;
            }
            self.tries += 1;
            if self.takes(at, node) {
                self.placed.push((at, node));
                self.go(rest);
                self.placed.pop();
            }
        }
        self.go(rest);
    }

    fn takes(&self, at: usize, node: NodeIndex) -> bool {
        let own = self.evicted_guests[at].vmi;
        let closes = |&(other, place): &(usize, NodeIndex)| {
            self.residents.closes_node(own, self.evicted_guests[other].vmi, place, node)
        };
        let Some(size) = self.residents.size(own) else { return !self.placed.iter().any(closes) };
        let there = self.placed.iter().filter(|(_, place)| *place == node);
        let there = there.filter_map(|(other, _)| self.residents.size(self.evicted_guests[*other].vmi));
        let space = self.residents.space();
        !space.lacks(size, node, &space.sum(there)) && !self.placed.iter().any(closes)
    }
}

/// Returns the guests that may take all places of this one first, if each of its places can be closed by another guest.
fn rivals(
    residents: &Residents<'_>,
    evicted_guests: &[&EvictedGuest<'_>],
    outcomes: &[GuestOutcome],
    group: &[usize],
    at: usize,
) -> Option<Rivals> {
    let own = evicted_guests[at].vmi;
    let places: Vec<NodeIndex> = outcomes[at].targets.iter().collect();
    // By guest, the places that it closes to this one from anywhere it can go.
    let others: Vec<(usize, Bits)> = group
        .iter()
        .filter(|&&other| other != at && residents.are_apart(own, evicted_guests[other].vmi))
        .map(|&other| {
            let mut closed = Bits::none(outcomes[at].targets.len());
            outcomes[other]
                .targets
                .iter()
                .for_each(|node| closed.union(&residents.closes(own, evicted_guests[other].vmi, node)));
            closed.intersect(&outcomes[at].targets);
            (other, closed)
        })
        .filter(|(_, closed)| !closed.is_empty())
        .collect();
    // For room, the largest guests come first.
    let beside: Vec<usize> = group.iter().copied().filter(|&other| other != at).collect();
    let mut by_room = 0;
    // One guest closes one place; if a place is a whole zone it may close more.
    let mut taken: Vec<Option<NodeIndex>> = vec![None; others.len()];
    for &place in &places {
        let by_zone = others.iter().zip(&taken).any(|((_, closed), taken)| {
            taken.is_some_and(|taken| {
                taken != place
                    && closed.contains(place)
                    && closes_both(residents, own, evicted_guests, outcomes, &others, taken, place)
            })
        });
        if by_zone || augment(&others, &mut taken, place, &mut vec![false; others.len()]) {
            continue;
        }
        by_room += fills(residents, evicted_guests, outcomes, &beside, at, place)?;
        if by_room > beside.len() {
            return None;
        }
    }
    let enough = taken.iter().flatten().count() + by_room <= beside.len();
    let meets = |other: &usize| {
        outcomes[*other].targets.meets(&outcomes[at].targets) || others.iter().any(|(it, _)| it == other)
    };
    enough.then(|| Rivals {
        names: beside.iter().filter(|other| meets(other)).map(|other| evicted_guests[*other].title.clone()).collect(),
        places: outcomes[at].targets.clone(),
    })
}

/// Returns the lowest number of these guests that fill a place; `None` if they cannot fill it.
fn fills(
    residents: &Residents<'_>,
    evicted_guests: &[&EvictedGuest<'_>],
    outcomes: &[GuestOutcome],
    beside: &[usize],
    at: usize,
    place: NodeIndex,
) -> Option<usize> {
    let own = residents.size(evicted_guests[at].vmi)?;
    let space = residents.space();
    let others = beside.iter().filter(|&&other| outcomes[other].targets.contains(place));
    let mut others: Vec<Vec<i64>> = others.map(|&other| space.sum(residents.size(evicted_guests[other].vmi))).collect();
    work::count(others.len());
    // The largest come first: processors, then memory.
    others.sort_by_key(|asked| std::cmp::Reverse(space.rank(asked)));
    let mut sum = space.sum([]);
    let mut is_filled_by = |asked: &Vec<i64>| {
        sum.iter_mut().zip(asked).for_each(|(sum, asked)| *sum = sum.saturating_add(*asked));
        space.lacks(own, place, &sum)
    };
    others.iter().position(&mut is_filled_by).map(|position| position + 1)
}

/// Whether one guest in one place closes two.
fn closes_both(
    residents: &Residents<'_>,
    own: &Vmi,
    evicted_guests: &[&EvictedGuest<'_>],
    outcomes: &[GuestOutcome],
    others: &[(usize, Bits)],
    one: NodeIndex,
    two: NodeIndex,
) -> bool {
    others.iter().any(|(other, _)| {
        outcomes[*other].targets.iter().any(|node| {
            let closed = residents.closes(own, evicted_guests[*other].vmi, node);
            closed.contains(one) && closed.contains(two)
        })
    })
}

/// Finds a guest that closes this place while the others keep theirs: a step of bipartite matching.
fn augment(others: &[(usize, Bits)], taken: &mut [Option<NodeIndex>], place: NodeIndex, seen: &mut [bool]) -> bool {
    for at in 0..others.len() {
        if seen[at] || !others[at].1.contains(place) {
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

impl EvictedGuest<'_> {
    /// Whether KubeVirt has to migrate it.
    pub(super) fn must_move(&self) -> bool {
        matches!(self.effect, EvictionEffect::Moves | EvictionEffect::Refused(_))
    }

    /// Whether it is gone after the drain without a migration.
    pub(super) fn is_gone(&self) -> bool {
        self.is_shut_down() || matches!(self.effect, EvictionEffect::Ends(_))
    }

    /// Whether its eviction shuts it down without a migration.
    pub(super) fn is_shut_down(&self) -> bool {
        matches!(self.effect, EvictionEffect::ShutDown(_))
    }
}
