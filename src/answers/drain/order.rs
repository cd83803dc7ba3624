//! An order in which nodes can be drained and returned, one after the other, without a stuck guest.
//!
//! A drained node is returned empty and without its cordon. A guest is stuck if it is on the node that is drained, no
//! node takes it, and all guests of that node that can leave have left. An order is *sure* if no guest is ever stuck,
//! for every order of a node's guests and every choice of the scheduler among the nodes that take a guest. If no order
//! is sure, the result is one in which no guest is stuck with some of these choices, with the guests that other choices
//! would strand.
//!
//! Guests that only labels exclude from nodes are followed one by one; guests that may block each other, by room or
//! required anti-affinity, are followed together, through all choices. A guest with more nodes than all others together
//! can close is never stuck.

mod effort;
mod group;
mod moves;
mod places;
mod search;
mod trial;

use std::collections::BTreeSet;
use std::rc::Rc;

use super::anti_affinity::Residents;
use super::evicted::EvictedGuest;
use super::returning::Restarts;
use super::space::SizeIndex;
use crate::fit::bits::Bits;
use crate::fit::fleet::NodeIndex;
use crate::fit::plural::{fold_names, number};
use crate::world::World;

use effort::TriesLeft;
use group::{Ending, Group};
use moves::Moves;
use places::NodesBefore;
use search::{OrderSearch, SearchResult};

/// A drained node and its guests.
pub(super) type NodeDrain<'w> = (NodeIndex, Vec<EvictedGuest<'w>>);

/// Number of steps tried for a sure order, and again for one with choices of the scheduler. A step is a drain of a
/// node, or one placement of the guests of a group.
const MAX_STEPS: usize = 500_000;

/// An order, or the guests that no order was found for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// An order that was found.
    Found {
        /// The nodes, in order.
        nodes: Vec<NodeIndex>,
        /// The guests that may still be stuck if the scheduler gives their places to others; empty if the order is
        /// sure.
        may_strand: Vec<String>,
        /// Further assumptions.
        assumes: Vec<String>,
    },
    /// No order, or none found.
    Stranded {
        /// The guests that would be stuck, by name.
        guests: Vec<String>,
        /// Number of steps after which the search was given up; `None` if everything was tried.
        tries: Option<usize>,
    },
}

/// Called with the number of steps of a search so far and their limit.
type Progress<'p> = &'p dyn Fn(usize, usize);

/// Returns an order for these nodes, given with their guests.
pub(super) fn of(world: &World, residents: &Residents<'_>, turns: &[NodeDrain<'_>], progress: Progress<'_>) -> Order {
    let evicted_guests = || turns.iter().flat_map(|(_, evicted_guests)| evicted_guests);
    let held = evicted_guests().filter(|evicted| evicted.never_leaves());
    let held: Vec<String> = held.map(|evicted| evicted.title.clone()).collect();
    match of_moving(world, residents, turns, progress) {
        found if held.is_empty() => found,
        // Guests that only a search that was given up names may have an order.
        Order::Stranded { guests, tries: None } => {
            Order::Stranded { guests: sorted(held.into_iter().chain(guests)), tries: None }
        }
        Order::Found { .. } | Order::Stranded { .. } => {
            Order::Stranded { guests: sorted(held.into_iter()), tries: None }
        }
    }
}

/// Returns an order for the guests that KubeVirt migrates; the others stay where they are, or end.
fn of_moving(world: &World, residents: &Residents<'_>, turns: &[NodeDrain<'_>], progress: Progress<'_>) -> Order {
    let places = places::of(&world.cluster.fleet, turns);
    let board = Moves::of(residents, turns, &places, world);
    let unsettled = board.unsettled();
    let order = of_board(world, turns, &places, &board, &unsettled, progress);
    if unsettled.is_empty() || matches!(order, Order::Found { .. }) {
        return order;
    }
    match of_board(world, turns, &places, &board, &BTreeSet::new(), progress) {
        Order::Found { nodes, may_strand, assumes } => {
            let may_strand: BTreeSet<String> = may_strand.into_iter().chain(board.names(&unsettled)).collect();
            Order::Found { nodes, may_strand: may_strand.into_iter().collect(), assumes }
        }
        stranded @ Order::Stranded { .. } => stranded,
    }
}

/// Returns an order in which the guests of `once` do not have to leave the nodes to which they go: what their next
/// migration asks for depends on the node.
fn of_board(
    world: &World,
    turns: &[NodeDrain<'_>],
    places: &[Rc<NodesBefore>],
    board: &Moves<'_, '_>,
    once: &BTreeSet<usize>,
    progress: Progress<'_>,
) -> Order {
    let residents = board.residents;
    let nodes: Vec<NodeIndex> = turns.iter().map(|(node, _)| *node).collect();
    let stranded = |guests: &BTreeSet<usize>, tries| Order::Stranded { guests: sorted(board.names(guests)), tries };
    let found = |order: Vec<usize>, may_strand: &BTreeSet<usize>| Order::Found {
        nodes: order.into_iter().map(|turn| nodes[turn]).collect(),
        may_strand: sorted(board.names(may_strand)),
        assumes: assumes(world, residents, turns),
    };

    let may_be_stuck: BTreeSet<usize> = (0..board.guests.len()).filter(|&guest| !board.always_leaves(guest)).collect();
    let groups = board.groups();
    let grouped: BTreeSet<usize> = groups.iter().flatten().copied().collect();
    let by_labels: BTreeSet<usize> = may_be_stuck.difference(&grouped).copied().collect();
    let lone: Vec<usize> = by_labels.union(once).copied().collect();
    let together: Vec<Vec<usize>> =
        groups.into_iter().filter(|group| group.iter().any(|guest| may_be_stuck.contains(guest))).collect();
    let groups: Option<Vec<Group>> = together.iter().map(|group| Group::of(board, group)).collect();
    let search = |groups: &[Group], ending: Ending, effort: &mut TriesLeft<'_>| {
        OrderSearch::new(board, &nodes, &lone, once, groups, ending).run(effort)
    };

    let mut effort = TriesLeft::of(MAX_STEPS, progress);
    if together.is_empty() {
        return match search(&[], Ending::All, &mut effort) {
            SearchResult::Order(order) => found(order, &BTreeSet::new()),
            SearchResult::None(guests) => stranded(&guests, None),
            SearchResult::Cut(guests) => stranded(&guests, Some(effort.tries)),
        };
    }
    let in_groups = || -> BTreeSet<usize> {
        together.iter().flatten().copied().filter(|guest| may_be_stuck.contains(guest)).collect()
    };
    let mut first: Vec<usize> = (0..turns.len()).collect();
    let mut steps = 0;
    if let Some(groups) = &groups {
        if let SearchResult::Order(order) = search(groups, Ending::All, &mut effort) {
            return found(order, &BTreeSet::new());
        }
        steps += effort.tries;
        effort = TriesLeft::of(MAX_STEPS, progress);
        match search(groups, Ending::One, &mut effort) {
            SearchResult::Order(order) => {
                let exactly = stranded_in(board, groups, &nodes, &order, progress);
                return found(order, &exactly.unwrap_or_else(in_groups));
            }
            SearchResult::None(guests) => return stranded(&guests, None),
            SearchResult::Cut(_) => {}
        }
    } else {
        // If labels alone leave no order, no order exists.
        match search(&[], Ending::One, &mut effort) {
            SearchResult::Order(order) => first = order,
            SearchResult::None(guests) => return stranded(&guests, None),
            SearchResult::Cut(_) => {}
        }
    }
    steps += effort.tries;
    match trial::order(residents, turns, places, first, progress) {
        Ok(order) => found(order, &in_groups().union(once).copied().collect()),
        Err((guests, tries)) => stranded(&guests, Some(steps + tries)),
    }
}

/// Returns the guests that are stuck in this order with some choices of the scheduler; `None` if that would take too
/// long to compute.
fn stranded_in(
    board: &Moves<'_, '_>,
    groups: &[Group],
    nodes: &[NodeIndex],
    order: &[usize],
    progress: Progress<'_>,
) -> Option<BTreeSet<usize>> {
    let mut stuck = BTreeSet::new();
    let mut effort = TriesLeft::of(MAX_STEPS, progress);
    for group in groups {
        let group = group.telling_apart();
        let mut all = group.start(board);
        let mut done = Bits::none(board.turns.len());
        for &turn in order {
            if let Some(node) = group.number(nodes[turn]) {
                all = group.drained(&all, node, &done, Ending::One, &mut effort, &mut stuck)?.into();
            }
            done.insert(nodes[turn]);
        }
    }
    Some(stuck)
}

/// Returns the assumptions of an order that depends on room or anti-affinity.
fn assumes(world: &World, residents: &Residents<'_>, turns: &[NodeDrain<'_>]) -> Vec<String> {
    if residents.is_free() {
        return Vec::new();
    }
    let ended = turns.iter().flat_map(|(_, evicted_guests)| evicted_guests).filter(|evicted| evicted.is_gone());
    let (ended, restarting): (Vec<&EvictedGuest<'_>>, Vec<&EvictedGuest<'_>>) =
        ended.partition(|evicted| Restarts::of(world, evicted.vmi) == Restarts::Never);
    let [ended, restarting] =
        [ended, restarting].map(|guests| guests.into_iter().map(|evicted| evicted.title.as_str()).collect::<Vec<_>>());
    let mut out = Vec::new();
    if !ended.is_empty() {
        let are = number(ended.len(), "is shut down or ends", "are shut down or end");
        let start = number(ended.len(), "does not start", "do not start");
        out.push(format!("{}, which {are}, {start} again before all nodes are drained", fold_names(&ended, 3)));
    }
    if !restarting.is_empty() {
        let are = number(restarting.len(), "is shut down or ends", "are shut down or end");
        let take = number(restarting.len(), "takes", "take");
        out.push(format!(
            "{}, which {are}, {take} no place that another guest needs if KubeVirt starts {} again",
            fold_names(&restarting, 3),
            number(restarting.len(), "it", "them")
        ));
    }
    let evicted_guests = turns.iter().flat_map(|(_, evicted_guests)| evicted_guests);
    let sizes: BTreeSet<SizeIndex> = evicted_guests.filter_map(|evicted| residents.size(evicted.vmi)).collect();
    if sizes.into_iter().any(|size| residents.has_victims(size)) {
        out.push("guests of a lower priority that the scheduler shuts down to make room are not followed".to_owned());
    }
    if residents.knows_others() || !world.cluster.room.is_empty() {
        out.push("pods other than launchers stay on their nodes".to_owned());
    }
    out
}

fn sorted(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut names: Vec<String> = names.collect();
    names.sort_unstable();
    names
}
