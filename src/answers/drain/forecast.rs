//! A forecast of where the guests of a node go when it is drained: all together, because two may compete for one place.
//!
//! The order in which KubeVirt starts the migrations is not known, and the scheduler chooses among the nodes that fit.
//! Guests that leave for certain are distinguished from guests that may lose their place to another one; if not all
//! guests find a place, the number counted as stuck is that of the best case. For a group of guests that share places,
//! all orders and choices are enumerated ([`race`]). If there are too many, bounds decide, and a guest without rivals
//! leaves for certain all the same, but one with rivals may do so too. A guest that is shut down and starts again is
//! one of the group ([`returning`]): in the best case it starts last.

use super::anti_affinity::Residents;
use super::evicted::{EvictedGuest, EvictionEffect};
use super::fellows::Fellows;
use super::outcome::{Destinations, GuestOutcome};
use super::race::{self, RaceEnds};
use super::returning;
use super::rivals::Contest;
use super::space::SizeIndex;
use super::work;
use crate::fit::bits::Bits;
use crate::fit::fleet::NodeIndex;
use crate::kubevirt::wire::Vmi;
use crate::world::World;

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
    /// The guests that are shut down, start again and may take a place that another one needs, each with whether all
    /// choices of their group were followed.
    pub returning: Vec<(usize, bool)>,
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
    pub fellows: Fellows,
}

impl Trouble<'_, '_> {
    /// Returns the nodes that neither other pods nor too little room close to a guest once all guests that may leave
    /// the node are gone.
    pub(super) fn open(&self, mut to: Destinations, residents: &Residents<'_>, at: usize) -> Bits {
        let Destinations { nodes, by_restart } = &mut to;
        self.fellows.keep_to_open(nodes, at, *by_restart, |other| self.evicted_guests[other].may_leave());
        residents.full(self.evicted_guests[at].vmi).iter().for_each(|full| nodes.subtract(full));
        to.nodes
    }
}

/// Returns the forecast for these guests of a node; by labels, each may go to the nodes of its `fitting`.
pub(super) fn of(
    world: &World,
    residents: &Residents<'_>,
    evicted_guests: &[EvictedGuest<'_>],
    fellows: &Fellows,
) -> Forecast {
    let to = |evicted: &EvictedGuest<'_>| Destinations::of_migration(evicted.fitting.clone());
    to_all(world, residents, evicted_guests, fellows, &evicted_guests.iter().map(to).collect::<Vec<_>>())
}

/// Returns the forecast with other destinations than their `fitting`.
pub(super) fn to_all(
    world: &World,
    residents: &Residents<'_>,
    evicted_guests: &[EvictedGuest<'_>],
    fellows: &Fellows,
    to: &[Destinations],
) -> Forecast {
    let evicted_guests: Vec<&EvictedGuest<'_>> = evicted_guests.iter().collect();
    let (mut forecast, groups) = settled(residents, &evicted_guests, fellows, to, Some(world));
    let mut returning = Vec::new();
    for Group { guests, ends, returning: left_out } in &groups {
        let is_raced = left_out.is_empty();
        let all: Vec<usize> = guests.iter().chain(left_out).copied().collect();
        let contest = Contest { residents, evicted_guests: &evicted_guests, outcomes: &forecast.outcomes, group: &all };
        let ends = ends.as_ref().filter(|_| is_raced);
        let found = ends.map_or_else(|| contest.bounded(), |ends| contest.raced(ends));
        forecast.is_count_sure &= ends.map_or(found.is_empty(), RaceEnds::is_count_sure);
        let names = |title: &String| found.iter().any(|(_, rivals)| rivals.names.contains(title));
        let may_take = |&at: &usize| forecast.outcomes[at].starts.is_some() && names(&evicted_guests[at].title);
        returning.extend(all.iter().copied().filter(may_take).map(|at| (at, ends.is_some())));
        for (at, rivals) in found {
            forecast.outcomes[at].rivals = Some(rivals);
        }
    }
    forecast.returning = returning;
    forecast
}

/// Returns the same without the rivals: the best case, in which guests that are shut down start again last.
pub(super) fn with(
    residents: &Residents<'_>,
    evicted_guests: &[&EvictedGuest<'_>],
    fellows: &Fellows,
    to: &[Destinations],
) -> Forecast {
    settled(residents, evicted_guests, fellows, to, None).0
}

/// Guests that share places, by index.
struct Group {
    guests: Vec<usize>,
    /// The results of all orders and choices, if they were enumerated.
    ends: Option<RaceEnds>,
    /// The guests that are shut down and may start again on these places, if there are too many choices to enumerate
    /// them too.
    returning: Vec<usize>,
}

impl Group {
    /// Enumerates the results for these guests; with too many, for those that are migrated.
    fn raced(
        residents: &Residents<'_>,
        evicted_guests: &[&EvictedGuest<'_>],
        outcomes: &[GuestOutcome],
        guests: Vec<usize>,
    ) -> Self {
        let ends = race::ends(residents, evicted_guests, outcomes, &guests);
        let (returning, moving): (Vec<usize>, Vec<usize>) =
            guests.iter().partition(|at| outcomes[**at].starts.is_some());
        if ends.is_some() || returning.is_empty() {
            return Self { guests, ends, returning: Vec::new() };
        }
        let ends = race::ends(residents, evicted_guests, outcomes, &moving);
        Self { guests: moving, ends, returning }
    }
}

/// Returns the forecast without the rivals, and the groups of guests that share places. With a world, the results of
/// all orders are found even if the order does not affect how many guests find a place.
fn settled(
    residents: &Residents<'_>,
    evicted_guests: &[&EvictedGuest<'_>],
    fellows: &Fellows,
    to: &[Destinations],
    for_rivals: Option<&World>,
) -> (Forecast, Vec<Group>) {
    // A guest that is shut down or restarted is gone at once; a migrated one, once it has a place. Each may make room
    // for others.
    let at_once: Vec<bool> =
        evicted_guests.iter().zip(to).map(|(evicted, to)| evicted.is_shut_down() || to.by_restart).collect();
    let mut gone = at_once.clone();
    let mut found = outcomes(residents, evicted_guests, fellows, to, &gone);
    let at_first: Vec<bool> = found.iter().map(|outcome| outcome.targets.is_empty()).collect();
    while found.iter().any(|outcome| !outcome.kept_off.is_empty()) {
        let leaves = |(at_once, outcome): (&bool, &GuestOutcome)| !outcome.targets.is_empty() || *at_once;
        let leaving: Vec<bool> = at_once.iter().zip(&found).map(leaves).collect();
        if leaving == gone {
            break;
        }
        gone = leaving;
        found = outcomes(residents, evicted_guests, fellows, to, &gone);
    }
    // Places depend on the targets only: they are searched when these are final.
    if let Some(world) = for_rivals {
        returning::find(world, residents, evicted_guests, &mut found);
    }
    let groups = if residents.is_free() { Vec::new() } else { groups(residents, evicted_guests, &found) };
    let group = |guests: Vec<usize>| {
        if for_rivals.is_some() || race::depends_on_order(residents, evicted_guests, &found, &guests) {
            Group::raced(residents, evicted_guests, &found, guests)
        } else {
            Group { guests, ends: None, returning: Vec::new() }
        }
    };
    let groups: Vec<Group> = groups.into_iter().map(group).collect();
    for Group { guests, ends, .. } in &groups {
        match ends {
            Some(ends) => {
                for ((&at, place), reached) in guests.iter().zip(&ends.best).zip(&ends.reached) {
                    let outcome = &mut found[at];
                    if outcome.starts.is_some() {
                        continue;
                    }
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
        let raced = groups.iter().find_map(|Group { guests, ends, .. }| {
            let own = guests.iter().position(|guest| *guest == at)?;
            Some(ends.as_ref()?.after[own].iter().map(|&other| guests[other]).collect::<Vec<usize>>())
        });
        let others = raced.unwrap_or_else(|| {
            if outcome.place.is_none() {
                return Vec::new();
            }
            let own = evicted_guests[at].vmi;
            let opens = |&at: &usize| {
                let other = evicted_guests[at];
                gone[at] && !std::ptr::eq(other.vmi, own) && other.must_move() && residents.are_apart(own, other.vmi)
            };
            (0..evicted_guests.len()).filter(opens).collect()
        });
        outcome.after = others.into_iter().map(|other| evicted_guests[other].title.clone()).collect();
    }
    let is_stuck =
        |(evicted, outcome): (&&EvictedGuest<'_>, &GuestOutcome)| evicted.must_move() && outcome.place.is_none();
    let stuck = evicted_guests.iter().zip(&found).map(is_stuck).collect();
    (Forecast { outcomes: found, stuck, is_count_sure: true, returning: Vec::new() }, groups)
}

/// Returns the outcomes of these guests once some of them are gone from their node.
fn outcomes(
    residents: &Residents<'_>,
    evicted_guests: &[&EvictedGuest<'_>],
    fellows: &Fellows,
    to: &[Destinations],
    gone: &[bool],
) -> Vec<GuestOutcome> {
    let outcome = |(at, (evicted, to)): (usize, (&&EvictedGuest<'_>, &Destinations))| {
        let mut targets = to.nodes.clone();
        fellows.keep_to_open(&mut targets, at, to.by_restart, |other| gone[other]);
        let mut kept_off = to.nodes.clone();
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
            starts: None,
            is_restarted: to.by_restart,
        }
    };
    evicted_guests.iter().zip(to).enumerate().map(outcome).collect()
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
        all.union(outcomes[*at].reach());
    }
    let space = residents.space();
    let sizes: Vec<SizeIndex> = known.iter().map(|(_, size)| *size).collect();
    for node in space.crowded(&all, &sizes) {
        let coming = known.iter().filter(|(at, _)| outcomes[*at].reach().contains(node)).map(|(_, size)| *size);
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

/// Returns the groups of two or more guests that exclude each other or share too little room, directly or indirectly;
/// at least one of each is migrated.
fn groups(
    residents: &Residents<'_>,
    evicted_guests: &[&EvictedGuest<'_>],
    outcomes: &[GuestOutcome],
) -> Vec<Vec<usize>> {
    let mut left: Vec<usize> = (0..evicted_guests.len()).filter(|&at| !outcomes[at].reach().is_empty()).collect();
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
            shared.intersect(outcomes[one].reach());
            let (near, far) = left.into_iter().partition(|&other| {
                residents.are_apart(evicted_guests[one].vmi, evicted_guests[other].vmi)
                    || outcomes[other].reach().meets(&shared)
            });
            left = far;
            group.extend::<Vec<usize>>(near);
            at += 1;
        }
        if group.len() > 1 && group.iter().any(|&at| outcomes[at].starts.is_none()) {
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
    let mut order: Vec<usize> = group.iter().copied().filter(|&at| outcomes[at].starts.is_none()).collect();
    order.sort_by_key(|&at| (outcomes[at].targets.count(), &evicted_guests[at].title));
    search.go(&order);
    let best = search.best;
    for at in order {
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
            work::count(self.placed.len());
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

/// Returns the guests of a node that leave it, or may do so after an act: the others stay until another program or a
/// user moves them, and close nodes until then.
pub(super) fn may_leave<'w>(evicted_guests: &[EvictedGuest<'w>]) -> Vec<&'w Vmi> {
    evicted_guests.iter().filter(|evicted| evicted.may_leave()).map(|evicted| evicted.vmi).collect()
}

impl EvictedGuest<'_> {
    /// Whether it leaves its node, or may do so after an act.
    pub(super) fn may_leave(&self) -> bool {
        self.must_move() || self.is_gone()
    }

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
