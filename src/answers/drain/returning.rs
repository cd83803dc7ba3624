//! Guests that the eviction shuts down and whose VMs start them again at once: each may take the place of a guest that
//! is migrated.

use super::anti_affinity::Residents;
use super::budgets;
use super::evicted::EvictedGuest;
use super::outcome::GuestOutcome;
use super::space::SizeIndex;
use crate::fit::bits::Bits;
use crate::world::World;

/// Returns the guests, by name, that may take a place of a guest that is migrated.
pub(super) fn takers<'e>(
    world: &World,
    residents: &Residents<'_>,
    evicted_guests: &'e [EvictedGuest<'_>],
    outcomes: &[GuestOutcome],
) -> Vec<&'e str> {
    if residents.is_free() {
        return Vec::new();
    }
    let movers: Vec<(&EvictedGuest<'_>, &Bits)> = evicted_guests
        .iter()
        .zip(outcomes)
        .filter(|(evicted, outcome)| evicted.must_move() && !outcome.targets.is_empty())
        .map(|(evicted, outcome)| (evicted, &outcome.targets))
        .collect();
    let is_taker = |evicted: &&EvictedGuest<'_>| {
        evicted.is_shut_down()
            && movers.iter().any(|mover| is_near(residents, evicted, *mover, &movers, None))
            && budgets::starts_again(world, residents, evicted).is_some_and(|places| {
                movers.iter().any(|mover| is_near(residents, evicted, *mover, &movers, Some(&places)))
            })
    };
    let mut out: Vec<&str> = evicted_guests.iter().filter(is_taker).map(|evicted| evicted.title.as_str()).collect();
    out.sort_unstable();
    out
}

/// Whether a guest that comes to one of `places`, or to any node without them, closes a target of another one or leaves
/// it too little room once all others have come that may.
fn is_near(
    residents: &Residents<'_>,
    comes: &EvictedGuest<'_>,
    (own, targets): (&EvictedGuest<'_>, &Bits),
    movers: &[(&EvictedGuest<'_>, &Bits)],
    places: Option<&Bits>,
) -> bool {
    let closes = || match places {
        None => true,
        Some(places) => places.iter().any(|place| residents.closes(own.vmi, comes.vmi, place).meets(targets)),
    };
    if residents.are_apart(own.vmi, comes.vmi) && closes() {
        return true;
    }
    let Some((size, coming)) = residents.size(own.vmi).zip(residents.size(comes.vmi)) else { return false };
    let space = residents.space();
    let may_come = |node| places.is_none_or(|places| places.contains(node));
    targets.iter().filter(|&node| may_come(node)).any(|node| {
        let others = movers.iter().filter(|(other, targets)| other.title != own.title && targets.contains(node));
        let others = others.filter_map(|(other, _)| residents.size(other.vmi));
        let all: Vec<SizeIndex> = others.chain([coming]).collect();
        space.lacks(size, node, &space.sum(all.iter().copied()))
    })
}
