//! An order that is tried with one place for each guest, where too many may be in each other's way to follow all choices.

use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;

use super::super::anti_affinity::Residents;
use super::super::evicted::{EvictedGuest, EvictionEffect};
use super::super::forecast;
use super::NodeDrain;
use super::places::NodesBefore;
use crate::fit::bits::Bits;

/// The number of drains that are tried beyond one for each node.
const AGAIN: usize = 2_000;

/// An order in which each guest finds a place, as numbers of turns; a node whose guests do not all find one is tried again later.
///
/// # Errors
///
/// The guests that find no place, by their numbers among those that move, and how many drains were tried.
pub(super) fn order(
    residents: &Residents<'_>,
    turns: &[NodeDrain<'_>],
    places: &[Rc<NodesBefore>],
    first: Vec<usize>,
) -> Result<Vec<usize>, (BTreeSet<usize>, usize)> {
    let mut residents = residents.clone();
    let moving: Vec<&EvictedGuest<'_>> =
        turns.iter().flat_map(|(_, movers)| movers).filter(|mover| mover.fate == EvictionEffect::Moves).collect();
    let len = places.first().map_or(0, |places| places.now.len());
    let mut done = Bits::none(len);
    let mut here: Vec<Vec<usize>> = vec![Vec::new(); len];
    moving.iter().enumerate().for_each(|(guest, mover)| here[mover.source].push(guest));
    let (mut left, mut order) = (VecDeque::from(first), Vec::new());
    let (mut in_vain, mut stuck, mut tries) = (0, BTreeSet::new(), 0);
    while let Some(turn) = left.pop_front() {
        if in_vain > left.len() || tries >= turns.len() + AGAIN {
            return Err((stuck, tries));
        }
        tries += 1;
        let (node, movers) = &turns[turn];
        let leaving = std::mem::take(here.get_mut(*node).unwrap_or(&mut Vec::new()));
        let ended: Vec<&EvictedGuest<'_>> = movers.iter().filter(|mover| mover.is_gone()).collect();
        let guests: Vec<&EvictedGuest<'_>> =
            leaving.iter().map(|&guest| moving[guest]).chain(ended.iter().copied()).collect();
        let mut fitting: Vec<Bits> = leaving.iter().map(|&guest| places[guest].after(&done)).collect();
        for fitting in &mut fitting {
            fitting.remove(*node);
        }
        fitting.resize(guests.len(), Bits::none(len));
        let forecast = forecast::with(&residents, &guests, &fitting);
        if forecast.has_stuck() {
            if in_vain == 0 {
                stuck.clear();
            }
            stuck.extend(forecast.stuck().into_iter().map(|at| leaving[at]));
            in_vain += 1;
            here[*node] = leaving;
            left.push_back(turn);
            continue;
        }
        in_vain = 0;
        for mover in &ended {
            residents.end(mover.vmi);
        }
        for (&guest, outcome) in leaving.iter().zip(&forecast.outcomes) {
            if let Some(place) = outcome.place {
                residents.put(moving[guest].vmi, place);
                here[place].push(guest);
            }
        }
        done.insert(*node);
        order.push(turn);
    }
    Ok(order)
}
