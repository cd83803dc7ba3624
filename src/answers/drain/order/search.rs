//! The search for an order of nodes in which no guest is stuck.

use std::collections::{BTreeSet, HashSet};
use std::rc::Rc;

use super::effort::TriesLeft;
use super::group::{Ending, Group, Positions};
use super::moves::Moves;
use super::places::NodesBefore;
use crate::fit::bits::Bits;
use crate::fit::fleet::NodeIndex;

/// Maximum number of consecutive nodes tried while some of their guests may still get stuck later.
const MAX_DEPTH: usize = 1_000;
/// Maximum number of nodes for which tried states are remembered.
const MAX_NODES_REMEMBERED: usize = 64;

/// The result of a search.
pub(super) enum SearchResult {
    /// An order, as indices of turns.
    Order(Vec<usize>),
    /// No order exists; the guests that block the longest attempt.
    None(BTreeSet<usize>),
    /// The search was given up; the guests that block the longest attempt.
    Cut(BTreeSet<usize>),
}

/// The state after some nodes: the drained nodes, the positions of lone guests, and the possible positions of groups.
type Reached = (Bits, Vec<Option<NodeIndex>>, Vec<Rc<Vec<Positions>>>);

pub(super) struct OrderSearch<'s> {
    turns: &'s [NodeIndex],
    has_turn: Bits,
    ending: Ending,
    /// Guests that may still get stuck and that labels alone exclude from nodes, or whose next migration may ask for
    /// other labels.
    lone: Vec<Lone>,
    /// The position of each of `lone`; `None` once it can never get stuck again.
    at: Vec<Option<NodeIndex>>,
    groups: &'s [Group],
    /// The possible positions of each group.
    may_be: Vec<Rc<Vec<Positions>>>,
    /// The nodes that the groups may be on.
    shared: Bits,
    done: Bits,
    order: Vec<usize>,
    tried: HashSet<Reached>,
    /// Number of nodes drained before the one that `blamed` blocks.
    furthest: Option<usize>,
    blamed: BTreeSet<usize>,
    depth: usize,
    is_too_deep: bool,
}

/// A guest that is followed by itself.
struct Lone {
    /// Its index on the board.
    guest: usize,
    places: Rc<NodesBefore>,
    /// Whether it must not have to leave the node to which it goes.
    moves_once: bool,
}

/// The way in which a lone guest leaves its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaves {
    /// No node takes it, or it would have to leave again and must not.
    Not,
    /// One node takes it, which it must leave again.
    To(NodeIndex),
    /// The guest can never get stuck again, wherever it goes.
    ForGood,
}

/// The state that draining a node replaced.
struct Undo {
    lone: Vec<(usize, Option<NodeIndex>)>,
    groups: Vec<(usize, Rc<Vec<Positions>>)>,
}

impl<'s> OrderSearch<'s> {
    /// Starts a search for these nodes; `lone` are indices of guests on the board, `once` those of them that must not
    /// have to leave the node to which they go.
    pub(super) fn new(
        board: &Moves<'_, '_>,
        turns: &'s [NodeIndex],
        lone: &[usize],
        once: &BTreeSet<usize>,
        groups: &'s [Group],
        ending: Ending,
    ) -> Self {
        let mut shared = Bits::none(board.turns.len());
        groups.iter().flat_map(|group| &group.nodes).for_each(|node| shared.insert(*node));
        let of = |&guest: &usize| Lone {
            guest,
            places: Rc::clone(&board.guests[guest].places),
            moves_once: once.contains(&guest),
        };
        Self {
            turns,
            has_turn: board.turns.clone(),
            ending,
            lone: lone.iter().map(of).collect(),
            at: lone.iter().map(|&guest| Some(board.guests[guest].source)).collect(),
            groups,
            may_be: groups.iter().map(|group| group.start(board)).collect(),
            shared,
            done: Bits::none(board.turns.len()),
            order: Vec::new(),
            tried: HashSet::new(),
            furthest: None,
            blamed: BTreeSet::new(),
            depth: 0,
            is_too_deep: false,
        }
    }

    pub(super) fn run(mut self, effort: &mut TriesLeft<'_>) -> SearchResult {
        if self.go(effort) {
            return SearchResult::Order(self.order);
        }
        if effort.is_used_up() || self.is_too_deep {
            SearchResult::Cut(self.blamed)
        } else {
            SearchResult::None(self.blamed)
        }
    }

    fn go(&mut self, effort: &mut TriesLeft<'_>) -> bool {
        let before = self.order.len();
        let mut harmless = Vec::new();
        self.take_harmless(&mut harmless);
        if self.order.len() == self.turns.len() {
            return true;
        }
        let is_new = self.turns.len() > MAX_NODES_REMEMBERED
            || self.tried.insert((self.done.clone(), self.at.clone(), self.may_be.clone()));
        self.depth += 1;
        self.is_too_deep |= self.depth > MAX_DEPTH;
        if is_new && !self.is_too_deep {
            // Nodes without guests come first: they become available to the others.
            for empty_ones in [true, false] {
                for turn in 0..self.turns.len() {
                    let node = self.turns[turn];
                    if self.done.contains(node) || self.is_empty(node) != empty_ones {
                        continue;
                    }
                    if !effort.takes_one() {
                        return false;
                    }
                    let Some(undo) = self.drain(turn, effort) else { continue };
                    if self.goes_on(effort) {
                        return true;
                    }
                    self.undo(undo);
                    if effort.is_used_up() || self.is_too_deep {
                        return false;
                    }
                }
            }
        }
        self.depth -= 1;
        while self.order.len() > before {
            if let Some(undo) = harmless.pop() {
                self.undo(undo);
            }
        }
        false
    }

    /// Continues after a drain. If one good ending suffices and there is only one group, each of its positions is tried
    /// alone: then known states recur more often.
    fn goes_on(&mut self, effort: &mut TriesLeft<'_>) -> bool {
        match self.may_be.as_slice() {
            [all] if self.ending == Ending::One && all.len() > 1 => {
                let all = Rc::clone(all);
                all.iter().any(|&positions| {
                    self.may_be[0] = Rc::new(vec![positions]);
                    !effort.is_used_up() && !self.is_too_deep && self.go(effort)
                })
            }
            _ => self.go(effort),
        }
    }

    fn is_empty(&self, node: NodeIndex) -> bool {
        !self.at.contains(&Some(node))
            && self
                .groups
                .iter()
                .zip(&self.may_be)
                .all(|(group, all)| group.number(node).is_none_or(|number| group.may_be_on(all, number) == 0))
    }

    /// Drains, while there are any, the nodes that no group uses and that have only guests that can never get stuck
    /// after leaving: this harms no other guest at any point of the order.
    fn take_harmless(&mut self, undo: &mut Vec<Undo>) {
        let mut here: Vec<Vec<usize>> = Vec::new();
        loop {
            let before = self.order.len();
            here.clear();
            here.resize(self.done.len(), Vec::new());
            for (guest, at) in self.at.iter().enumerate() {
                if let Some(node) = *at {
                    here[node].push(guest);
                }
            }
            for turn in 0..self.turns.len() {
                let node = self.turns[turn];
                if self.done.contains(node) || self.shared.contains(node) {
                    continue;
                }
                if here[node].iter().all(|&guest| self.leaves(guest, node) == Leaves::ForGood) {
                    let lone = here[node].iter().map(|&guest| (guest, self.at[guest].take())).collect();
                    self.done.insert(node);
                    self.order.push(turn);
                    undo.push(Undo { lone, groups: Vec::new() });
                }
            }
            if self.order.len() == before {
                return;
            }
        }
    }

    /// Returns where a lone guest goes.
    ///
    /// A guest with two targets always has one from then on, because the set of open nodes only grows.
    fn leaves(&self, guest: usize, node: NodeIndex) -> Leaves {
        let Lone { places, moves_once, .. } = &self.lone[guest];
        let mut targets = places.after(&self.done);
        targets.remove(node);
        if *moves_once {
            let stays = |place: NodeIndex| self.done.contains(place) || !self.has_turn.contains(place);
            let is_settled = !targets.is_empty() && targets.iter().all(stays);
            return if is_settled { Leaves::ForGood } else { Leaves::Not };
        }
        if targets.count_to(2) == 2 {
            return Leaves::ForGood;
        }
        let Some(only) = targets.iter().next() else { return Leaves::Not };
        let comes_back = places.now.contains(node) || (places.later.contains(node) && self.has_turn.contains(node));
        let is_safe = comes_back || self.done.contains(only) || !self.has_turn.contains(only);
        if is_safe { Leaves::ForGood } else { Leaves::To(only) }
    }

    /// Drains a node; `None`, without a change, if a guest is stuck.
    fn drain(&mut self, turn: usize, effort: &mut TriesLeft<'_>) -> Option<Undo> {
        let node = self.turns[turn];
        let mut stuck = BTreeSet::new();
        let mut after = Vec::new();
        for guest in (0..self.at.len()).filter(|&guest| self.at[guest] == Some(node)) {
            match self.leaves(guest, node) {
                Leaves::ForGood => after.push((guest, None)),
                Leaves::To(place) => after.push((guest, Some(place))),
                Leaves::Not => {
                    stuck.insert(self.lone[guest].guest);
                }
            }
        }
        let mut groups = Vec::new();
        for (at, group) in self.groups.iter().enumerate().filter(|_| stuck.is_empty()) {
            let Some(number) = group.number(node) else { continue };
            let mut of_group = BTreeSet::new();
            let all = group.drained(&self.may_be[at], number, &self.done, self.ending, effort, &mut of_group);
            let Some(all) = all else {
                stuck.extend(of_group);
                if stuck.is_empty() {
                    return None;
                }
                break;
            };
            groups.push((at, Rc::new(all)));
        }
        if !stuck.is_empty() {
            self.blame(stuck);
            return None;
        }
        let lone =
            after.into_iter().map(|(guest, place)| (guest, std::mem::replace(&mut self.at[guest], place))).collect();
        let replace = |(at, all): (usize, Rc<Vec<Positions>>)| (at, std::mem::replace(&mut self.may_be[at], all));
        let groups = groups.into_iter().map(replace).collect();
        self.done.insert(node);
        self.order.push(turn);
        Some(Undo { lone, groups })
    }

    fn undo(&mut self, undo: Undo) {
        if let Some(turn) = self.order.pop() {
            self.done.remove(self.turns[turn]);
        }
        undo.lone.into_iter().for_each(|(guest, place)| self.at[guest] = place);
        undo.groups.into_iter().for_each(|(at, all)| self.may_be[at] = all);
    }

    /// Records the guests that block the longest attempt.
    fn blame(&mut self, stuck: BTreeSet<usize>) {
        let length = self.order.len();
        if self.furthest.is_none_or(|furthest| furthest < length) {
            self.furthest = Some(length);
            self.blamed.clear();
        }
        if self.furthest == Some(length) {
            self.blamed.extend(stuck);
        }
    }
}
