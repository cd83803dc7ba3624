//! The guests of a drain with rules about pods: the nodes that these rules close to them for certain.

use std::collections::HashMap;

use super::anti_affinity::{Mates, Residents};
use super::evicted::{EvictedGuest, EvictionEffect};
use crate::answers::pod_rules::{ClosedByRules, on};
use crate::fit::bits::Bits;
use crate::fit::fleet::{Fleet, NodeIndex};
use crate::kubevirt::wire::Vmi;

/// Closes nodes to these guests, given by node.
///
/// A guest that a drain moves may open nodes to the guests that required pod affinity binds to it, wherever it goes:
/// nodes are closed only if they stay closed for every order of the migrations and every choice of the scheduler. Pods
/// that are no guests are assumed to stay.
pub(super) fn keep(residents: &Residents<'_>, fleet: &Fleet, turns: &mut [(NodeIndex, Vec<EvictedGuest<'_>>)]) {
    let all = || turns.iter().flat_map(|(_, evicted_guests)| evicted_guests);
    let has_rules =
        |evicted: &&EvictedGuest<'_>| evicted.asks().is_some_and(|subject| !subject.unjudged.topology_keys.is_empty());
    if !all().any(|evicted| has_rules(&evicted)) {
        return;
    }
    let mates: Vec<Option<Mates<'_>>> =
        all().map(|evicted| has_rules(&evicted).then(|| residents.mates(evicted.vmi)).flatten()).collect();
    let mut may_go: HashMap<*const Vmi, Option<Bits>> =
        all().map(|evicted| (std::ptr::from_ref(evicted.vmi), first_places(evicted, fleet))).collect();
    let open = |may_go: &HashMap<*const Vmi, Option<Bits>>, mates: &Mates<'_>| {
        mates.open(fleet, |vmi| match may_go.get(&std::ptr::from_ref(vmi)) {
            Some(places) => places.clone(),
            None => Some(on(fleet, &vmi.status.node_name)),
        })
    };
    // More places of one guest open more places to others, until there are no more.
    loop {
        let mut has_grown = false;
        for (evicted, mates) in all().zip(&mates) {
            let is_moved = matches!(evicted.effect, EvictionEffect::Moves);
            let Some(Some(known)) = may_go.get(&std::ptr::from_ref(evicted.vmi)).filter(|_| is_moved) else { continue };
            let mut places = evicted.fitting.clone();
            if let Some(mates) = mates {
                places.intersect(&open(&may_go, mates));
            }
            places.union(known);
            if places != *known {
                has_grown = true;
                may_go.insert(std::ptr::from_ref(evicted.vmi), Some(places));
            }
        }
        if !has_grown {
            break;
        }
    }
    let closed: Vec<Option<ClosedByRules>> = all()
        .zip(&mates)
        .map(|(evicted, mates)| {
            let stays = |vmi: &Vmi| {
                let places = may_go.get(&std::ptr::from_ref(vmi)).cloned();
                std::ptr::eq(vmi, evicted.vmi)
                    || places.is_none_or(|places| places == Some(on(fleet, &vmi.status.node_name)))
            };
            let is_settled = |mates: &Mates<'_>| mates.guests.iter().all(|vmi| stays(vmi));
            let mates = mates.as_ref().map(|mates| (mates, open(&may_go, mates), is_settled(mates)));
            Some(ClosedByRules::of(&evicted.asks()?.unjudged, mates, fleet))
        })
        .collect();
    let guests = turns.iter_mut().flat_map(|(_, evicted_guests)| evicted_guests);
    for (evicted, closed) in guests.zip(closed) {
        if let Some(closed) = closed {
            evicted.keep_to_rules(closed);
        }
    }
}

/// Returns the nodes that a guest may be on at first; `None` if that may be any. A guest that labels or volumes keep on
/// its node may be freed by an act, and one that is shut down may start anywhere.
fn first_places(evicted: &EvictedGuest<'_>, fleet: &Fleet) -> Option<Bits> {
    let stays = match evicted.effect {
        EvictionEffect::Moves => !evicted.fitting.is_empty(),
        EvictionEffect::Refused(_) => true,
        _ => false,
    };
    stays.then(|| on(fleet, &evicted.vmi.status.node_name))
}
