//! A forecast of where the guests of a node go when it is drained: all together, because two may compete for one place.
//!
//! The order in which KubeVirt starts the migrations is not known, and the scheduler chooses among the nodes that fit.
//! Guests that leave for certain are distinguished from guests that may lose their place to another one; if not all
//! guests find a place, the number counted as stuck is that of the best case. For a group of guests that share places,
//! all orders and choices are enumerated ([`race`]). If there are too many, bounds decide, and a guest without rivals
//! leaves for certain all the same, but one with rivals may do so too.

use std::collections::BTreeSet;

use super::anti_affinity::Residents;
use super::evicted::{EvictedGuest, EvictionEffect};
use super::outcome::{GuestOutcome, Rivals};
use super::race::{self, RaceEnds};
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
    /// Whether as many guests find a place with every order and every choice of the scheduler.
    pub is_count_sure: bool,
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
    let (mut forecast, groups) = settled(residents, &evicted_guests, &fitting, true);
    for group in &groups {
        let found = match &group.ends {
            Some(ends) => race_rivals(&evicted_guests, &forecast.outcomes, &group.guests, ends),
            None => bounded_rivals(residents, &evicted_guests, &forecast.outcomes, &group.guests),
        };
        forecast.is_count_sure &= group.ends.as_ref().map_or(found.is_empty(), RaceEnds::is_count_sure);
        for (at, rivals) in found {
            forecast.outcomes[at].rivals = Some(rivals);
        }
    }
    forecast
}

/// Returns the forecast with other nodes than their `fitting`, without the rivals.
pub(super) fn with(residents: &Residents<'_>, evicted_guests: &[&EvictedGuest<'_>], fitting: &[Bits]) -> Forecast {
    settled(residents, evicted_guests, fitting, false).0
}

/// Guests that share places, by index, and the results of all orders of their migrations, if they were enumerated.
struct Group {
    guests: Vec<usize>,
    ends: Option<RaceEnds>,
}

/// Returns the forecast without the rivals, and the groups of guests that share places. `for_rivals`: whether the
/// results of all orders are needed even if the order does not affect how many guests find a place.
fn settled(
    residents: &Residents<'_>,
    evicted_guests: &[&EvictedGuest<'_>],
    fitting: &[Bits],
    for_rivals: bool,
) -> (Forecast, Vec<Group>) {
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
    let group = |guests: Vec<usize>| {
        let is_raced = for_rivals || race::depends_on_order(residents, evicted_guests, &found, &guests);
        let ends = is_raced.then(|| race::ends(residents, evicted_guests, &found, &guests)).flatten();
        Group { guests, ends }
    };
    let groups: Vec<Group> = groups.into_iter().map(group).collect();
    for Group { guests, ends } in &groups {
        match ends {
            Some(ends) => {
                for ((&at, place), reached) in guests.iter().zip(&ends.best).zip(&ends.reached) {
                    let outcome = &mut found[at];
                    outcome.place = *place;
                    // No order opens the other ones.
                    let mut never = std::mem::replace(&mut outcome.targets, reached.clone());
                    never.subtract(reached);
                    outcome.kept_off.union(&never);
                }
            }
            None => settle(residents, evicted_guests, &mut found, guests),
        }
    }
    for (at, outcome) in found.iter_mut().enumerate().filter(|(at, _)| at_first[*at]) {
        let raced = groups.iter().find_map(|Group { guests, ends }| {
            let own = guests.iter().position(|guest| *guest == at)?;
            Some(ends.as_ref()?.after[own].iter().map(|&other| guests[other]).collect::<Vec<usize>>())
        });
        let others = raced.unwrap_or_else(|| {
            if outcome.place.is_none() {
                return Vec::new();
            }
            let own = evicted_guests[at].vmi;
            let opens = |other: &usize| {
                let other = evicted_guests[*other];
                let is_gone = gone.iter().any(|gone| std::ptr::eq(*gone, other.vmi));
                is_gone && !std::ptr::eq(other.vmi, own) && other.must_move() && residents.are_apart(own, other.vmi)
            };
            (0..evicted_guests.len()).filter(opens).collect()
        });
        outcome.after = others.into_iter().map(|other| evicted_guests[other].title.clone()).collect();
    }
    let is_stuck =
        |(evicted, outcome): (&&EvictedGuest<'_>, &GuestOutcome)| evicted.must_move() && outcome.place.is_none();
    let stuck = evicted_guests.iter().zip(&found).map(is_stuck).collect();
    (Forecast { outcomes: found, stuck, is_count_sure: true }, groups)
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
    let reach: Vec<Bits> = forecast.outcomes.iter().map(|outcome| outcome.targets.clone()).collect();
    for (at, (evicted, outcome)) in evicted_guests.iter().zip(&mut forecast.outcomes).enumerate() {
        if !outcome.kept_off.is_empty() {
            outcome.keepers = residents.keepers(evicted.vmi, &outcome.kept_off, &leaving);
        }
        outcome.ending = residents.being_deleted(&outcome.no_room);
        let Some(size) = residents.size(evicted.vmi) else { continue };
        let mut by_preemption = Bits::clone(&residents.space().by_preemption(size));
        by_preemption.intersect(&outcome.targets);
        if by_preemption.is_empty() {
            continue;
        }
        // The scheduler preempts only if no node has room without it (`PostFilter` of
        // `pkg/scheduler/framework/plugins/defaultpreemption/default_preemption.go`): each of the other guests takes at
        // most one of these nodes.
        let mut free = outcome.targets.clone();
        free.subtract(&by_preemption);
        let others = reach.iter().enumerate().filter(|(other, targets)| *other != at && targets.meets(&free)).count();
        if free.count() <= others {
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

/// Returns the guests that stay with some orders or choices only, each with the guests that take its places then. A
/// guest that only waits for another one to leave has no rivals of its own.
fn race_rivals(
    evicted_guests: &[&EvictedGuest<'_>],
    outcomes: &[GuestOutcome],
    group: &[usize],
    ends: &RaceEnds,
) -> Vec<(usize, Rivals)> {
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

/// Returns the guests of a group that may stay, each with the guests that may take all its places first.
fn bounded_rivals(
    residents: &Residents<'_>,
    evicted_guests: &[&EvictedGuest<'_>],
    outcomes: &[GuestOutcome],
    group: &[usize],
) -> Vec<(usize, Rivals)> {
    let mut uncertain: Vec<usize> = group.to_vec();
    loop {
        let mut found: Vec<(usize, Rivals)> = Vec::new();
        for &at in &uncertain {
            // A guest that may stay keeps closing what it closes now.
            let mut places = outcomes[at].targets.clone();
            for &other in uncertain.iter().filter(|&&other| other != at && residents.keep_apart()) {
                let (own, other) = (evicted_guests[at], evicted_guests[other]);
                places.subtract(&residents.closes(own.vmi, other.vmi, other.source));
            }
            found.extend(rivals(residents, evicted_guests, outcomes, group, at, &places).map(|rivals| (at, rivals)));
        }
        if found.len() == uncertain.len() {
            return found;
        }
        uncertain = found.into_iter().map(|(at, _)| at).collect();
    }
}

/// Returns the guests that may take all of these places of a guest first, if each can be closed by another guest.
fn rivals(
    residents: &Residents<'_>,
    evicted_guests: &[&EvictedGuest<'_>],
    outcomes: &[GuestOutcome],
    group: &[usize],
    at: usize,
    places: &Bits,
) -> Option<Rivals> {
    let own = evicted_guests[at].vmi;
    let is_near = |other: &&usize| **other != at && residents.are_apart(own, evicted_guests[**other].vmi);
    let closers: Vec<Closer> =
        group.iter().filter(is_near).map(|&other| Closer::of(residents, evicted_guests, outcomes, at, other)).collect();
    let beside: Vec<usize> = group.iter().copied().filter(|&other| other != at).collect();
    // Places that only one guest each can close, and the number of guests that the others take at least. A guest that
    // closes several places, such as those of a zone, is not counted.
    let (mut alone, mut by_room) = (Vec::new(), 0);
    for place in places.iter() {
        if closers.iter().any(|closer| closer.closes_several && closer.closed.contains(place)) {
            continue;
        }
        let is_closed = closers.iter().any(|closer| closer.closed.contains(place));
        match fills(residents, evicted_guests, outcomes, &beside, at, place) {
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
        outcomes[*other].targets.meets(&outcomes[at].targets) || closers.iter().any(is_closer)
    };
    Some(Rivals {
        names: beside.iter().filter(|other| meets(other)).map(|other| evicted_guests[*other].title.clone()).collect(),
        places: outcomes[at].targets.clone(),
    })
}

/// A guest that excludes another one from places.
struct Closer {
    guest: usize,
    /// The places that it closes from anywhere it can go.
    closed: Bits,
    /// Whether it closes several of them from one place.
    closes_several: bool,
}

impl Closer {
    fn of(
        residents: &Residents<'_>,
        evicted_guests: &[&EvictedGuest<'_>],
        outcomes: &[GuestOutcome],
        own: usize,
        guest: usize,
    ) -> Self {
        let targets = &outcomes[own].targets;
        let mut out = Self { guest, closed: Bits::none(targets.len()), closes_several: false };
        for node in outcomes[guest].targets.iter() {
            let mut closed = residents.closes(evicted_guests[own].vmi, evicted_guests[guest].vmi, node);
            closed.intersect(targets);
            out.closes_several |= closed.count() > 1;
            out.closed.union(&closed);
        }
        out
    }
}

/// Returns a lower bound for the number of these guests that fill a place; `None` if they cannot fill it.
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
    let others: Vec<Vec<i64>> = others.map(|&other| space.sum(residents.size(evicted_guests[other].vmi))).collect();
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

impl EvictedGuest<'_> {
    /// Whether KubeVirt has to migrate it.
    pub(super) fn must_move(&self) -> bool {
        matches!(self.effect, EvictionEffect::Moves | EvictionEffect::Refused(_))
    }

    /// Whether its eviction neither migrates nor ends it, as far as is known.
    pub(super) fn never_leaves(&self) -> bool {
        matches!(
            self.effect,
            EvictionEffect::Refused(_)
                | EvictionEffect::Stays(_)
                | EvictionEffect::Starts(_)
                | EvictionEffect::NotKnown(_)
                | EvictionEffect::Held(_)
        )
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
