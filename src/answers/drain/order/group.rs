//! Guests that may block each other, followed through all placements that the scheduler can choose.

use std::collections::{BTreeSet, HashSet};
use std::rc::Rc;

use super::effort::TriesLeft;
use super::moves::{Moves, MovingGuest};
use crate::fit::bits::Bits;
use crate::fit::fleet::NodeIndex;

/// The node of each guest of a group: a fixed number of bits for each.
pub(super) type Positions = u128;

/// A set of nodes, by their index in a group.
type Mask = u64;

/// The condition that makes an order acceptable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// No guest is stuck, for every choice of the scheduler.
    All,
    /// No guest is stuck, with some choices of the scheduler.
    One,
}

/// A guest of a group.
#[derive(Clone, Debug)]
struct Member {
    now: Mask,
    later: Mask,
    /// The amounts it requests; `None` if not known.
    asked: Option<Vec<i64>>,
    priority: i64,
    /// The priority from which other pods keep their room from it.
    yields_to: i64,
    /// By node of the group and resource, the amount free for it without any guest of the group.
    free: Vec<i64>,
    /// The amounts that guests that are shut down free, with the group index of the node whose drain frees them.
    freed: Vec<(usize, Vec<i64>)>,
    /// The guests that close nodes to it, itself included if its own launcher does; and the closed nodes by the
    /// position of that guest.
    closed: Vec<(usize, Vec<Mask>)>,
    /// The nodes that guests that are shut down close to it until their node is drained.
    until: Vec<(NodeIndex, Mask)>,
}

/// A group of guests that may block each other.
#[derive(Clone, Debug)]
pub(super) struct Group {
    /// Their indices among all guests that move.
    pub guests: Vec<usize>,
    /// The nodes that they may be on.
    pub nodes: Vec<NodeIndex>,
    members: Vec<Member>,
    bits: u32,
    /// Sets of guests that differ only in their position and are interchangeable.
    alike: Vec<Vec<usize>>,
    width: usize,
}

impl Group {
    /// Builds a group of guests; `None` if they are too many to be followed.
    pub(super) fn of(board: &Moves<'_, '_>, guests: &[usize]) -> Option<Self> {
        let mut reach = Bits::none(board.turns.len());
        for &guest in guests {
            reach.union(&board.guests[guest].reach());
        }
        if reach.count() > Mask::BITS as usize {
            return None;
        }
        let nodes: Vec<NodeIndex> = reach.iter().collect();
        let bits = usize::BITS - nodes.len().saturating_sub(1).leading_zeros();
        if guests.len() > (Positions::BITS / bits.max(1)) as usize {
            return None;
        }
        let width = board.residents.space().width();
        let members: Vec<Member> = guests.iter().map(|&guest| Member::of(board, guest, guests, &nodes)).collect();
        let mut out = Self { guests: guests.to_vec(), nodes, members, bits: bits.max(1), alike: Vec::new(), width };
        out.alike = out.find_alike();
        Some(out)
    }

    /// Returns the group without interchangeable guests.
    pub(super) fn telling_apart(&self) -> Self {
        Self { alike: Vec::new(), ..self.clone() }
    }

    fn find_alike(&self) -> Vec<Vec<usize>> {
        let mut sets: Vec<Vec<usize>> = Vec::new();
        for at in (0..self.members.len()).filter(|&at| self.members[at].closed.is_empty()) {
            let like = |set: &&mut Vec<usize>| {
                let (one, other) = (&self.members[set[0]], &self.members[at]);
                one.now == other.now
                    && one.later == other.later
                    && one.asked == other.asked
                    && one.priority == other.priority
                    && one.yields_to == other.yields_to
                    && one.until == other.until
            };
            match sets.iter_mut().find(like) {
                Some(set) => set.push(at),
                None => sets.push(vec![at]),
            }
        }
        sets.retain(|set| set.len() > 1);
        sets
    }

    /// Returns the initial positions.
    pub(super) fn start(&self, board: &Moves<'_, '_>) -> Rc<Vec<Positions>> {
        let number = |node: NodeIndex| self.nodes.binary_search(&node).unwrap_or_default();
        let mut out = 0;
        for (at, &guest) in self.guests.iter().enumerate() {
            out = self.moved(out, at, number(board.guests[guest].source));
        }
        Rc::new(vec![self.in_order(out)])
    }

    /// Returns the index of a node in the group.
    pub(super) fn number(&self, node: NodeIndex) -> Option<usize> {
        self.nodes.binary_search(&node).ok()
    }

    fn place(&self, positions: Positions, member: usize) -> usize {
        (positions >> (member as u32 * self.bits)) as usize & ((1 << self.bits) - 1)
    }

    fn moved(&self, positions: Positions, member: usize, to: usize) -> Positions {
        let shift = member as u32 * self.bits;
        positions & !(((1 << self.bits) - 1) << shift) | (to as Positions) << shift
    }

    /// Returns the positions with interchangeable guests sorted by node.
    fn in_order(&self, mut positions: Positions) -> Positions {
        for set in &self.alike {
            let mut places: Vec<usize> = set.iter().map(|&member| self.place(positions, member)).collect();
            places.sort_unstable();
            for (&member, place) in set.iter().zip(places) {
                positions = self.moved(positions, member, place);
            }
        }
        positions
    }

    /// Counts the guests that may be on a node.
    pub(super) fn may_be_on(&self, all: &[Positions], node: usize) -> usize {
        let is_there = |member: &usize| all.iter().any(|&positions| self.place(positions, *member) == node);
        (0..self.members.len()).filter(is_there).count()
    }

    /// Returns the possible positions after a node is drained, for every order of leaving and every choice of the
    /// scheduler; adds to `stuck` the guests that are stuck with some of these choices, by their index among all.
    /// `None` if a guest is stuck with every choice, or the search takes too long.
    pub(super) fn drained(
        &self,
        all: &[Positions],
        node: usize,
        done: &Bits,
        ending: Ending,
        effort: &mut TriesLeft<'_>,
        stuck: &mut BTreeSet<usize>,
    ) -> Option<Vec<Positions>> {
        let open: Vec<Mask> = self.members.iter().map(|member| self.open(member, node, done)).collect();
        let free: Vec<Vec<i64>> = self.members.iter().map(|member| self.free(member, done)).collect();
        let mut seen: HashSet<Positions> = all.iter().copied().collect();
        let mut left: Vec<Positions> = all.to_vec();
        let mut ends: Vec<Positions> = Vec::new();
        while let Some(positions) = left.pop() {
            if !effort.takes_one() {
                return None;
            }
            let here = (0..self.members.len()).filter(|&member| self.place(positions, member) == node);
            let (mut is_empty, mut is_stuck) = (true, true);
            for member in here.clone() {
                is_empty = false;
                let mut targets = self.targets(positions, member, open[member], &free[member]);
                while targets != 0 {
                    is_stuck = false;
                    let next = self.in_order(self.moved(positions, member, targets.trailing_zeros() as usize));
                    targets &= targets - 1;
                    if seen.insert(next) {
                        left.push(next);
                    }
                }
            }
            if is_empty {
                ends.push(positions);
            } else if is_stuck {
                stuck.extend(here.map(|member| self.guests[member]));
                if ending == Ending::All {
                    return None;
                }
            }
        }
        ends.sort_unstable();
        (!ends.is_empty()).then_some(ends)
    }

    /// Returns the nodes that are open to a guest while this one is drained, regardless of the other guests' positions.
    fn open(&self, member: &Member, node: usize, done: &Bits) -> Mask {
        let mut returned = 0;
        self.nodes.iter().enumerate().filter(|(_, node)| done.contains(**node)).for_each(|(at, _)| returned |= 1 << at);
        let mut open = member.now | member.later & returned;
        open &= !(1 << node);
        for (other, closed) in &member.until {
            if *other != self.nodes[node] && !done.contains(*other) {
                open &= !closed;
            }
        }
        open
    }

    /// Returns the amounts free for a guest without any guest of the group, after these nodes were drained.
    fn free(&self, member: &Member, done: &Bits) -> Vec<i64> {
        let mut free = member.free.clone();
        for (at, amounts) in member.freed.iter().filter(|(at, _)| done.contains(self.nodes[*at])) {
            super::moves::add(&mut free[at * self.width..], amounts, 1);
        }
        free
    }

    /// Returns the nodes that take a guest with the others in these positions and these amounts free without them.
    fn targets(&self, positions: Positions, member: usize, mut open: Mask, free: &[i64]) -> Mask {
        let own = &self.members[member];
        for (other, closed) in &own.closed {
            open &= !closed[self.place(positions, *other)];
        }
        let Some(asked) = own.asked.as_ref().filter(|_| open != 0) else { return open };
        let mut free = free.to_vec();
        for (at, other) in self.members.iter().enumerate().filter(|(_, other)| other.priority >= own.yields_to) {
            let Some(taken) = &other.asked else { continue };
            let start = self.place(positions, at) * self.width;
            for (free, taken) in free[start..].iter_mut().zip(taken).filter(|(free, _)| **free != i64::MAX) {
                *free = free.saturating_sub(*taken);
            }
        }
        let mut left = open;
        while left != 0 {
            let node = left.trailing_zeros() as usize;
            left &= left - 1;
            let free = &free[node * self.width..];
            if asked.iter().zip(free).any(|(&asked, &free)| asked > 0 && free != i64::MAX && asked > free) {
                open &= !(1 << node);
            }
        }
        open
    }
}

impl Member {
    fn of(board: &Moves<'_, '_>, at: usize, group: &[usize], nodes: &[NodeIndex]) -> Self {
        let guest = &board.guests[at];
        let mask = |of: &Bits| {
            nodes.iter().enumerate().fold(0, |mask, (at, node)| mask | Mask::from(of.contains(*node)) << at)
        };
        let space = board.residents.space();
        let width = space.width();
        let priority = guest.size.map_or(0, |size| space.priority(size));
        let yields_to = guest.size.map_or(0, |size| space.yields_to(size));
        let free = board.free.get(&yields_to).filter(|_| guest.size.is_some());
        let free =
            free.map(|free| nodes.iter().flat_map(|node| free[node * width..(node + 1) * width].iter().copied()));
        let by_place = |other: &MovingGuest<'_>| -> Vec<Mask> {
            nodes.iter().map(|&place| mask(&board.residents.closes(guest.vmi, other.vmi, place))).collect()
        };
        let is_mate = |other: &usize| guest.mates.contains(other) || (*other == at && guest.closes_own);
        let mates = group.iter().enumerate().filter(|(_, other)| is_mate(other));
        Self {
            now: mask(&guest.places.now),
            later: mask(&guest.places.later),
            asked: guest.size.map(|size| space.asked(size).to_vec()),
            priority,
            yields_to,
            freed: board
                .ended
                .iter()
                .filter(|(_, size)| guest.size.is_some() && space.priority(*size) >= yields_to)
                .filter_map(|(node, size)| Some((nodes.binary_search(node).ok()?, space.asked(*size).to_vec())))
                .collect(),
            free: free.into_iter().flatten().collect(),
            closed: mates.map(|(number, &other)| (number, by_place(&board.guests[other]))).collect(),
            until: guest.until.iter().map(|(node, closed)| (*node, mask(closed))).collect(),
        }
    }
}
