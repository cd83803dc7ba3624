//! An order in which nodes can be drained and returned, one after the other, with no guest stuck on the way.
//!
//! Wherever the scheduler puts a guest that leaves, it must find a node when that one's turn comes. A node that was drained is
//! returned: empty and without its cordon. A guest with two nodes to be on is safe for good; one with a single node needs that node to
//! be drained before, or not at all.

use super::acts::uncordoned;
use super::apart::Residents;
use super::forecast;
use super::mover::{Fate, Mover};
use crate::fit::bits::Bits;
use crate::fit::fleet::{Fleet, NodeIndex};
use crate::fit::label;
use crate::fit::node::Node;
use crate::world::World;

/// How many steps are tried where no node is safe by itself.
const STEPS: usize = 20_000;

/// An order, or the guests for whom none was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// The nodes in it.
    Found(Vec<NodeIndex>),
    /// The guests that would be stuck, by name.
    Stranded(Vec<String>),
}

/// Where a guest may be.
#[derive(Clone, Debug)]
struct Place {
    /// The nodes that take it now.
    now: Bits,
    /// Those that take it once their cordon has ended, which comes with their return.
    later: Bits,
}

impl Place {
    /// The nodes that take it once these were drained and returned.
    fn after(&self, done: &Bits) -> Bits {
        let mut out = self.later.clone();
        out.intersect(done);
        out.union(&self.now);
        out
    }
}

/// The order for these nodes, whose guests are given beside them.
pub(super) fn of(world: &World, residents: &Residents<'_>, nodes: &[(NodeIndex, Vec<Mover<'_>>)]) -> Order {
    let fleet = &world.cluster.fleet;
    let returned = returned(fleet, nodes);
    let mut stranded = Vec::new();
    let mut guests: Vec<(usize, usize, Place)> = Vec::new();
    for (turn, (_, movers)) in nodes.iter().enumerate() {
        for (at, mover) in movers.iter().enumerate() {
            match (&mover.fate, &mover.judged) {
                (Fate::Moves, Some(judged)) => {
                    let fitting = |fleet: &Fleet| judged.subject.fitting(fleet);
                    let now = fitting(fleet);
                    let later = returned.as_ref().map_or_else(|| now.clone(), fitting);
                    guests.push((turn, at, Place { now, later }));
                }
                (Fate::Refused(_) | Fate::Stays(_), _) => stranded.push(mover.title.clone()),
                _ => {}
            }
        }
    }
    if !stranded.is_empty() {
        stranded.sort_unstable();
        return Order::Stranded(stranded);
    }
    let done = Bits::none(fleet.len());
    let mut search = Search { nodes, guests, done, order: Vec::new(), whereabouts: Vec::new(), steps: 0 };
    search.safe_ones();
    if search.order.len() < nodes.len() && !search.rest() {
        return Order::Stranded(search.stranded());
    }
    let order = search.order;
    match simulate(residents, nodes, &search.guests, &order, fleet.len()) {
        Ok(()) => Order::Found(order.into_iter().map(|turn| nodes[turn].0).collect()),
        Err(stranded) => Order::Stranded(stranded),
    }
}

/// The nodes as they are once each was returned; `None` where none is cordoned.
fn returned(fleet: &Fleet, nodes: &[(NodeIndex, Vec<Mover<'_>>)]) -> Option<Fleet> {
    let is_cordoned = |node: &NodeIndex| {
        fleet.is_cordoned(*node) || fleet.taints(*node).iter().any(|taint| taint.key == label::TAINT_UNSCHEDULABLE)
    };
    let cordoned = nodes.iter().map(|(node, _)| *node).filter(is_cordoned);
    let changed: Vec<Node> = cordoned.map(|node| uncordoned(fleet, node)).collect();
    if changed.is_empty() { None } else { Some(fleet.with(changed)) }
}

struct Search<'s, 'w> {
    nodes: &'s [(NodeIndex, Vec<Mover<'w>>)],
    /// The turn of a guest's node, its number there, and where it may be.
    guests: Vec<(usize, usize, Place)>,
    done: Bits,
    order: Vec<usize>,
    /// The guests that are not safe for good, by their numbers in `guests`, and where each may be.
    whereabouts: Vec<(usize, Bits)>,
    steps: usize,
}

impl Search<'_, '_> {
    fn is_done(&self, turn: usize) -> bool {
        self.done.contains(self.nodes[turn].0)
    }

    /// Drains, as long as there are any, the nodes whose guests are safe for good once they have left: that harms no other
    /// guest, whatever comes before or after.
    fn safe_ones(&mut self) {
        let mut by_turn: Vec<Vec<usize>> = vec![Vec::new(); self.nodes.len()];
        self.guests.iter().enumerate().for_each(|(at, (turn, _, _))| by_turn[*turn].push(at));
        loop {
            let before = self.order.len();
            for (turn, here) in by_turn.iter().enumerate() {
                if !self.is_done(turn) && here.iter().all(|&at| self.is_safe(turn, &self.guests[at].2)) {
                    self.done.insert(self.nodes[turn].0);
                    self.order.push(turn);
                }
            }
            if self.order.len() == before {
                return;
            }
        }
    }

    /// Whether a guest of this node leaves it now and is never stuck again.
    fn is_safe(&self, turn: usize, place: &Place) -> bool {
        let node = self.nodes[turn].0;
        let mut targets = place.after(&self.done);
        let stays_one = targets.contains(node) || place.later.contains(node);
        targets.remove(node);
        match targets.count_to(2) {
            0 => false,
            1 if !stays_one => targets.iter().all(|only| self.done.contains(only) || !self.has_a_turn(only)),
            _ => true,
        }
    }

    fn has_a_turn(&self, node: NodeIndex) -> bool {
        self.nodes.iter().any(|(other, _)| *other == node)
    }

    /// Looks for an order of the nodes that are left, following each guest to all places where it may be.
    fn rest(&mut self) -> bool {
        let left: Vec<usize> = (0..self.nodes.len()).filter(|&turn| !self.is_done(turn)).collect();
        // Who left before is safe for good.
        let waiting = |(at, (turn, _, _)): (usize, &(usize, usize, Place))| {
            let node = self.nodes[*turn].0;
            let mut place = Bits::none(self.done.len());
            place.insert(node);
            (!self.is_done(*turn)).then_some((at, place))
        };
        self.whereabouts = self.guests.iter().enumerate().filter_map(waiting).collect();
        self.go(&left)
    }

    fn go(&mut self, left: &[usize]) -> bool {
        if left.is_empty() {
            return true;
        }
        for &turn in left {
            self.steps += 1;
            if self.steps > STEPS {
                return false;
            }
            let Some(before) = self.drain(turn) else { continue };
            let node = self.nodes[turn].0;
            self.done.insert(node);
            self.order.push(turn);
            let rest: Vec<usize> = left.iter().copied().filter(|&other| other != turn).collect();
            if self.go(&rest) {
                return true;
            }
            self.done.remove(node);
            self.order.pop();
            for (at, place) in before {
                self.whereabouts[at].1 = place;
            }
        }
        false
    }

    /// Drains a node: its guests may then be wherever they fit. What that replaces; `None`, and nothing is changed, where one of
    /// them would be stuck.
    fn drain(&mut self, turn: usize) -> Option<Vec<(usize, Bits)>> {
        let node = self.nodes[turn].0;
        let mut after = Vec::new();
        for (at, (guest, place)) in self.whereabouts.iter().enumerate().filter(|(_, (_, place))| place.contains(node)) {
            let mut targets = self.guests[*guest].2.after(&self.done);
            targets.remove(node);
            if targets.is_empty() {
                return None;
            }
            targets.union(place);
            targets.remove(node);
            after.push((at, targets));
        }
        let replace = |(at, place): (usize, Bits)| (at, std::mem::replace(&mut self.whereabouts[at].1, place));
        Some(after.into_iter().map(replace).collect())
    }

    /// The guests that hold up the nodes that are left.
    fn stranded(&self) -> Vec<String> {
        let held = self.guests.iter().filter(|(turn, _, place)| !self.is_done(*turn) && !self.is_safe(*turn, place));
        let mut out: Vec<String> = held.map(|(turn, at, _)| self.nodes[*turn].1[*at].title.clone()).collect();
        out.sort_unstable();
        out
    }
}

/// Drains the nodes in this order, with room and the guests that keep each other off.
///
/// # Errors
///
/// The guests that would be stuck.
fn simulate(
    residents: &Residents<'_>,
    nodes: &[(NodeIndex, Vec<Mover<'_>>)],
    guests: &[(usize, usize, Place)],
    order: &[usize],
    len: usize,
) -> Result<(), Vec<String>> {
    if residents.is_free() {
        return Ok(());
    }
    let mut residents = residents.clone();
    let mut done = Bits::none(len);
    let mut at: Vec<NodeIndex> = guests.iter().map(|(turn, _, _)| nodes[*turn].0).collect();
    for &turn in order {
        let node = nodes[turn].0;
        nodes[turn].1.iter().filter(|mover| mover.is_shut_down()).for_each(|mover| residents.end(mover.vmi));
        let here: Vec<usize> = (0..guests.len()).filter(|&guest| at[guest] == node).collect();
        let movers: Vec<&Mover<'_>> = here.iter().map(|&guest| &nodes[guests[guest].0].1[guests[guest].1]).collect();
        let fitting: Vec<Bits> = here
            .iter()
            .map(|&guest| {
                let mut fitting = guests[guest].2.after(&done);
                fitting.remove(node);
                fitting
            })
            .collect();
        let forecast = forecast::with(&residents, &movers, &fitting);
        let stuck = forecast.stuck();
        if !stuck.is_empty() {
            let mut names: Vec<String> = stuck.into_iter().map(|guest| movers[guest].title.clone()).collect();
            names.sort_unstable();
            return Err(names);
        }
        for (&guest, (mover, outcome)) in here.iter().zip(movers.iter().zip(&forecast.outcomes)) {
            if let Some(place) = outcome.place {
                residents.put(mover.vmi, place);
                at[guest] = place;
            }
        }
        done.insert(node);
    }
    Ok(())
}
