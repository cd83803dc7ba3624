//! A group of guests that share places: every order of their migrations and every choice of the scheduler, enumerated;
//! also every start of a guest that is shut down, at any time or not at all.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::anti_affinity::Residents;
use super::evicted::EvictedGuest;
use super::outcome::GuestOutcome;
use super::space::SizeIndex;
use super::work;
use crate::fit::bits::Bits;
use crate::fit::fleet::NodeIndex;

/// Number of placements of one group that would be possible if its guests did not exclude each other, from which on
/// none is followed.
const MAX_POSSIBLE: usize = 1_000_000;

/// Number of guests on one node whose subsets are tried; of more guests, each counts as one that fills the node.
const MAX_BESIDE: usize = 6;

/// The places of a group's guests; `None` for one that has not left, or not started again.
type Placement = Vec<Option<NodeIndex>>;

/// The results of all orders and choices, for the guests of a group in their order. A guest that starts again neither
/// stays nor reaches places.
#[derive(Clone, Debug)]
pub(super) struct RaceEnds {
    /// The places that a guest gets in one of them.
    pub reached: Vec<Bits>,
    /// Whether a guest stays in one of them.
    pub may_stay: Vec<bool>,
    /// The guests that leave before a guest can, in all of them.
    pub after: Vec<BTreeSet<usize>>,
    /// The guests that close a place of a guest in one of them in which that guest stays.
    pub takers: Vec<BTreeSet<usize>>,
    /// The result with the fewest guests that stay.
    pub best: Placement,
    /// The fewest and the most guests that stay in one of them.
    pub stay: (usize, usize),
}

impl RaceEnds {
    /// Whether as many guests stay in all of them.
    pub(super) fn is_count_sure(&self) -> bool {
        self.stay.0 == self.stay.1
    }
}

/// A group and all that decides about its places.
struct Race<'r, 'w> {
    residents: &'r Residents<'w>,
    /// The nodes that each guest may go to.
    reach: Vec<&'r Bits>,
    /// Whether each guest is shut down and starts again, instead of being migrated.
    starts: Vec<bool>,
    sizes: Vec<Option<SizeIndex>>,
    /// The nodes that one guest closes to another one, by both and the closing one's place, if there are any.
    closed: HashMap<(usize, usize, Option<NodeIndex>), Bits>,
}

/// Returns the results for a group; `None` if there are too many placements. `group` holds indices of `outcomes`.
pub(super) fn ends(
    residents: &Residents<'_>,
    evicted_guests: &[&EvictedGuest<'_>],
    outcomes: &[GuestOutcome],
    group: &[usize],
) -> Option<RaceEnds> {
    let possible = group.iter().fold(1_usize, |all, &at| all.saturating_mul(outcomes[at].reach().count() + 1));
    if possible > MAX_POSSIBLE {
        return None;
    }
    Race::of(residents, evicted_guests, outcomes, group).ends()
}

/// Whether a guest of the group closes a place of another one as long as it has not left.
pub(super) fn depends_on_order(
    residents: &Residents<'_>,
    evicted_guests: &[&EvictedGuest<'_>],
    outcomes: &[GuestOutcome],
    group: &[usize],
) -> bool {
    let guest = |at: usize| evicted_guests[at];
    residents.keep_apart()
        && group.iter().any(|&one| {
            let closes = |&&other: &&usize| {
                other != one
                    && !outcomes[other].leaves_at_once()
                    && residents
                        .closes(guest(one).vmi, guest(other).vmi, guest(other).source)
                        .meets(&outcomes[one].targets)
            };
            group.iter().find(closes).is_some()
        })
}

impl<'r, 'w> Race<'r, 'w> {
    fn of(
        residents: &'r Residents<'w>,
        evicted_guests: &[&EvictedGuest<'_>],
        outcomes: &'r [GuestOutcome],
        group: &[usize],
    ) -> Self {
        let guests: Vec<&EvictedGuest<'_>> = group.iter().map(|&at| evicted_guests[at]).collect();
        let reach: Vec<&Bits> = group.iter().map(|&at| outcomes[at].reach()).collect();
        let starts: Vec<bool> = group.iter().map(|&at| outcomes[at].starts.is_some()).collect();
        let mut closed = HashMap::new();
        for (own, other) in (0..guests.len()).flat_map(|own| (0..guests.len()).map(move |other| (own, other))) {
            if own == other || !residents.are_apart(guests[own].vmi, guests[other].vmi) {
                continue;
            }
            // A guest that is shut down or restarted is gone until it starts again.
            let before = (!outcomes[group[other]].leaves_at_once()).then_some(None);
            for place in reach[other].iter().map(Some).chain(before) {
                let node = place.unwrap_or(guests[other].source);
                let mut nodes = residents.closes(guests[own].vmi, guests[other].vmi, node);
                nodes.intersect(reach[own]);
                if !nodes.is_empty() {
                    closed.insert((own, other, place), nodes);
                }
            }
        }
        let sizes = guests.iter().map(|guest| residents.size(guest.vmi)).collect();
        Self { residents, reach, starts, sizes, closed }
    }

    fn ends(&self) -> Option<RaceEnds> {
        let count = self.reach.len();
        let mut moving: Vec<usize> = (0..count).filter(|&at| !self.starts[at]).collect();
        moving.sort_by_key(|&at| self.reach[at].count());
        let nowhere = || self.reach.iter().map(|nodes| Bits::none(nodes.len())).collect();
        let none = || vec![BTreeSet::new(); count];
        let mut out = RaceEnds {
            reached: nowhere(),
            may_stay: vec![false; count],
            after: none(),
            takers: none(),
            best: Vec::new(),
            stay: (usize::MAX, 0),
        };
        let mut after: Vec<Option<BTreeSet<usize>>> = vec![None; count];
        let start: Placement = vec![None; count];
        let mut seen: HashSet<Placement> = [start.clone()].into();
        let mut todo = vec![start];
        while let Some(places) = todo.pop() {
            work::count(count);
            let left: BTreeSet<usize> = (0..count).filter(|&at| places[at].is_some()).collect();
            let open: Vec<(usize, Bits)> =
                (0..count).filter(|at| !left.contains(at)).map(|at| (at, self.open(&places, at))).collect();
            // A start of another guest opens no place.
            let is_end = !open.iter().any(|(at, open)| !self.starts[*at] && !open.is_empty());
            for (at, open) in open.into_iter().filter(|(_, open)| !is_end && !open.is_empty()) {
                if !self.starts[at] {
                    match &mut after[at] {
                        Some(before) => before.retain(|other| left.contains(other)),
                        unknown => *unknown = Some(left.clone()),
                    }
                    out.reached[at].union(&open);
                }
                for node in open.iter() {
                    let mut next = places.clone();
                    next[at] = Some(node);
                    if seen.insert(next.clone()) {
                        todo.push(next);
                    }
                }
            }
            if seen.len() > self.residents.max_placements {
                return None;
            }
            if is_end {
                let stay = moving.iter().filter(|at| !left.contains(at)).count();
                out.stay = (out.stay.0.min(stay), out.stay.1.max(stay));
                for &at in moving.iter().filter(|at| !left.contains(at)) {
                    out.may_stay[at] = true;
                    out.takers[at].extend(left.iter().filter(|&&other| self.takes(&places, at, other)));
                }
                // The guests with the fewest places have them, as far as that is possible.
                let rank = |places: &Placement| -> (usize, Vec<(bool, Option<NodeIndex>)>) {
                    let of_order = moving.iter().map(|&at| (places[at].is_none(), places[at])).collect();
                    (moving.iter().filter(|&&at| places[at].is_none()).count(), of_order)
                };
                if out.best.is_empty() || rank(&places) < rank(&out.best) {
                    out.best = places;
                }
            }
        }
        out.after = after.into_iter().map(Option::unwrap_or_default).collect();
        Some(out)
    }

    /// Returns the places of a guest that are open while the others are at theirs.
    fn open(&self, places: &Placement, at: usize) -> Bits {
        let mut out = self.reach[at].clone();
        for (other, place) in places.iter().enumerate() {
            self.closed.get(&(at, other, *place)).into_iter().for_each(|nodes| out.subtract(nodes));
        }
        let taken: BTreeSet<NodeIndex> = places.iter().flatten().copied().filter(|node| out.contains(*node)).collect();
        for node in taken {
            if self.is_full(places, at, node) {
                out.remove(node);
            }
        }
        out
    }

    /// Whether the guests on a node leave no room for this one.
    fn is_full(&self, places: &Placement, at: usize, node: NodeIndex) -> bool {
        let Some(size) = self.sizes[at] else { return false };
        let there = places.iter().zip(&self.sizes).filter(|(place, _)| **place == Some(node));
        let space = self.residents.space();
        space.lacks(size, node, &space.sum(there.filter_map(|(_, size)| *size)))
    }

    /// Whether `other` has a part in filling its node for this guest: with some of the guests there, there is room
    /// without it, and none with it.
    fn has_part(&self, places: &Placement, at: usize, other: usize, node: NodeIndex) -> bool {
        let (Some(size), Some(own)) = (self.sizes[at], self.sizes[other]) else { return false };
        if !self.is_full(places, at, node) {
            return false;
        }
        let beside = (0..places.len()).filter(|&one| one != other && places[one] == Some(node));
        let beside: Vec<SizeIndex> = beside.filter_map(|one| self.sizes[one]).collect();
        if beside.len() > MAX_BESIDE {
            return true;
        }
        let space = self.residents.space();
        (0..1_usize << beside.len()).any(|some| {
            let some = || beside.iter().enumerate().filter(move |(bit, _)| some >> bit & 1 == 1).map(|(_, size)| *size);
            !space.lacks(size, node, &space.sum(some())) && space.lacks(size, node, &space.sum(some().chain([own])))
        })
    }

    /// Whether `other` closes a place of this guest, or has a part in filling it.
    fn takes(&self, places: &Placement, at: usize, other: usize) -> bool {
        let fills = |node: NodeIndex| self.reach[at].contains(node) && self.has_part(places, at, other, node);
        self.closed.contains_key(&(at, other, places[other])) || places[other].is_some_and(fills)
    }
}
