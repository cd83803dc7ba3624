//! The search for an order of nodes in which no guest is stuck.

use std::collections::{BTreeSet, HashSet};
use std::rc::Rc;

use super::effort::TriesLeft;
use super::group::{Ending, Group, Positions};
use super::moves::Moves;
use super::places::NodesBefore;
use crate::fit::bits::Bits;
use crate::fit::fleet::NodeIndex;

/// The most nodes in a row that are tried without all guests of them being safe for good.
const DEPTH: usize = 1_000;
/// The most nodes for which what was tried is remembered.
const REMEMBERED: usize = 64;

/// What a search came to.
pub(super) enum SearchResult {
    /// An order, as numbers of turns.
    Order(Vec<usize>),
    /// There is none; the guests that are in the way of the one that came furthest.
    None(BTreeSet<usize>),
    /// The search was given up.
    Cut(BTreeSet<usize>),
}

/// What is known of the guests after some nodes: which nodes are done, where lone guests are, and where groups may be.
type Reached = (Bits, Vec<Option<NodeIndex>>, Vec<Rc<Vec<Positions>>>);

pub(super) struct OrderSearch<'s> {
    turns: &'s [NodeIndex],
    has_turn: Bits,
    ending: Ending,
    /// Guests that labels alone keep off nodes and that are not safe for good, and their places.
    lone: Vec<(usize, Rc<NodesBefore>)>,
    /// Where each of these is; `None` once it is safe for good.
    at: Vec<Option<NodeIndex>>,
    groups: &'s [Group],
    /// Where the guests of each group may be.
    may_be: Vec<Rc<Vec<Positions>>>,
    /// The nodes that the groups may be on.
    shared: Bits,
    done: Bits,
    order: Vec<usize>,
    tried: HashSet<Reached>,
    /// How many nodes came before the one that is blamed on these guests.
    furthest: Option<usize>,
    blamed: BTreeSet<usize>,
    depth: usize,
    is_too_deep: bool,
}

/// Whether and where a lone guest leaves its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaves {
    /// No node takes it.
    Not,
    /// To one node, which it must leave again.
    To(NodeIndex),
    /// It is never stuck again, wherever it goes.
    ForGood,
}

/// What draining a node replaces.
struct Undo {
    lone: Vec<(usize, Option<NodeIndex>)>,
    groups: Vec<(usize, Rc<Vec<Positions>>)>,
}

impl<'s> OrderSearch<'s> {
    /// For these nodes; the lone guests are given by their numbers on the board.
    pub(super) fn new(
        board: &Moves<'_, '_>,
        turns: &'s [NodeIndex],
        lone: &[usize],
        groups: &'s [Group],
        ending: Ending,
    ) -> Self {
        let mut shared = Bits::none(board.turns.len());
        groups.iter().flat_map(|group| &group.nodes).for_each(|node| shared.insert(*node));
        let of = |&guest: &usize| (guest, Rc::clone(&board.guests[guest].places));
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

    pub(super) fn run(mut self, effort: &mut TriesLeft) -> SearchResult {
        if self.go(effort) {
            return SearchResult::Order(self.order);
        }
        if effort.is_used_up() || self.is_too_deep {
            SearchResult::Cut(self.blamed)
        } else {
            SearchResult::None(self.blamed)
        }
    }

    fn go(&mut self, effort: &mut TriesLeft) -> bool {
        let before = self.order.len();
        let mut harmless = Vec::new();
        self.take_harmless(&mut harmless);
        if self.order.len() == self.turns.len() {
            return true;
        }
        let is_new = self.turns.len() > REMEMBERED
            || self.tried.insert((self.done.clone(), self.at.clone(), self.may_be.clone()));
        self.depth += 1;
        self.is_too_deep |= self.depth > DEPTH;
        if is_new && !self.is_too_deep {
            // Nodes without guests come first: they open to the others.
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

    /// Goes on after a drain. Where one good ending is enough for a group that is alone, the places of its guests are tried one after
    /// the other: what was tried is then met again more often.
    fn goes_on(&mut self, effort: &mut TriesLeft) -> bool {
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

    /// Drains, as long as there are any, the nodes that no group comes to and whose guests are safe for good once they have left: that
    /// harms no other guest, whatever comes before or after.
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

    /// Where a lone guest goes.
    ///
    /// One that has two nodes to go to has one at all times from then on, as nodes only come to be open.
    fn leaves(&self, guest: usize, node: NodeIndex) -> Leaves {
        let places = &self.lone[guest].1;
        let mut targets = places.after(&self.done);
        targets.remove(node);
        if targets.count_to(2) == 2 {
            return Leaves::ForGood;
        }
        let Some(only) = targets.iter().next() else { return Leaves::Not };
        let comes_back = places.now.contains(node) || (places.later.contains(node) && self.has_turn.contains(node));
        let is_safe = comes_back || self.done.contains(only) || !self.has_turn.contains(only);
        if is_safe { Leaves::ForGood } else { Leaves::To(only) }
    }

    /// Drains a node; `None`, and nothing is changed, if a guest is stuck.
    fn drain(&mut self, turn: usize, effort: &mut TriesLeft) -> Option<Undo> {
        let node = self.turns[turn];
        let mut stuck = BTreeSet::new();
        let mut after = Vec::new();
        for guest in (0..self.at.len()).filter(|&guest| self.at[guest] == Some(node)) {
            match self.leaves(guest, node) {
                Leaves::ForGood => after.push((guest, None)),
                Leaves::To(place) => after.push((guest, Some(place))),
                Leaves::Not => {
                    stuck.insert(self.lone[guest].0);
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

    /// Keeps in mind who is in the way where most nodes came before.
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
