//! An order tried with one place for each guest, if too many guests may block each other to follow all choices.

use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;

use super::super::anti_affinity::Residents;
use super::super::evicted::{EvictedGuest, EvictionEffect};
use super::super::fellows::Fellows;
use super::super::forecast;
use super::super::outcome::Destinations;
use super::NodeDrain;
use super::places::NodesBefore;
use crate::fit::bits::Bits;

/// Number of drains tried in addition to one for each node.
const MAX_EXTRA_DRAINS: usize = 2_000;

/// Returns an order in which each guest finds a place, as indices of turns; a node with a guest that finds none is
/// tried again later. `progress` is called with the number of drains tried so far and their limit.
///
/// # Errors
///
/// Returns the guests that find no place, by their index among those that move, and the number of drains tried.
pub(super) fn order(
    residents: &Residents<'_>,
    turns: &[NodeDrain<'_>],
    places: &[Rc<NodesBefore>],
    first: Vec<usize>,
    progress: &dyn Fn(usize, usize),
) -> Result<Vec<usize>, (BTreeSet<usize>, usize)> {
    let mut residents = residents.clone();
    let moving: Vec<&EvictedGuest<'_>> = turns
        .iter()
        .flat_map(|(_, evicted_guests)| evicted_guests)
        .filter(|evicted| evicted.effect == EvictionEffect::Moves)
        .collect();
    let len = places.first().map_or(0, |places| places.now.len());
    let mut done = Bits::none(len);
    let mut here: Vec<Vec<usize>> = vec![Vec::new(); len];
    moving.iter().enumerate().for_each(|(guest, evicted)| here[evicted.source].push(guest));
    let (mut left, mut order) = (VecDeque::from(first), Vec::new());
    let (mut in_vain, mut stuck, mut tries) = (0, BTreeSet::new(), 0);
    while let Some(turn) = left.pop_front() {
        let most = turns.len() + MAX_EXTRA_DRAINS;
        if in_vain > left.len() || tries >= most {
            progress(most, most);
            return Err((stuck, tries));
        }
        progress(tries, most);
        tries += 1;
        let (node, evicted_guests) = &turns[turn];
        let leaving = std::mem::take(here.get_mut(*node).unwrap_or(&mut Vec::new()));
        let ended: Vec<&EvictedGuest<'_>> = evicted_guests.iter().filter(|evicted| evicted.is_gone()).collect();
        let guests: Vec<&EvictedGuest<'_>> =
            leaving.iter().map(|&guest| moving[guest]).chain(ended.iter().copied()).collect();
        let mut fitting: Vec<Bits> = leaving.iter().map(|&guest| places[guest].after(&done)).collect();
        for fitting in &mut fitting {
            fitting.remove(*node);
        }
        fitting.resize(guests.len(), Bits::none(len));
        let to: Vec<Destinations> = fitting.into_iter().map(Destinations::of_migration).collect();
        let forecast = forecast::with(&residents, &guests, &Fellows::of(&residents, &guests), &to);
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
        for evicted in &ended {
            residents.end(evicted.vmi);
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
    progress(tries, tries);
    Ok(order)
}
