//! `PodDisruptionBudgets` created by users over guests that a drain would shut down, and the number of guests that each
//! lets be evicted at a time.
//!
//! Mirrors the eviction subresource (`EvictionREST.Create` and `checkAndDecrement`,
//! `pkg/registry/core/pod/storage/eviction.go` of Kubernetes): of the pods that one budget protects, each eviction
//! uses one of its `status.disruptionsAllowed`; at zero the eviction is refused with 429 and `kubectl drain` retries it
//! until enough pods are healthy again. A guest that is to be migrated uses none: KubeVirt's webhook answers its
//! eviction first.

use std::collections::BTreeMap;

use super::anti_affinity::Residents;
use super::evicted::{EvictedGuest, EvictionEffect};
use super::returning::{self, Restarts};
use crate::fit::plural::{fold_names, number};
use crate::kubevirt::eviction::protection;
use crate::kubevirt::room::DisruptionBudget;
use crate::world::World;

/// Marks the guests that a drain would shut down but that wait because others use up their budget. The order is not
/// known in advance: the number counted as shut down is the lowest possible one.
pub(super) fn share(world: &World, residents: &Residents<'_>, evicted_guests: &mut [EvictedGuest<'_>]) {
    let mut groups: BTreeMap<(&str, &str), (&DisruptionBudget, Vec<usize>)> = BTreeMap::new();
    for (at, evicted) in evicted_guests.iter().enumerate().filter(|(_, evicted)| evicted.is_shut_down()) {
        if let Ok(Some(budget)) = protection(evicted.vmi, &world.cluster) {
            groups.entry((&budget.namespace, &budget.name)).or_insert((budget, Vec::new())).1.push(at);
        }
    }
    for (budget, mut group) in groups.into_values() {
        let allowed = usize::try_from(budget.allowed).unwrap_or(usize::MAX);
        if group.len() <= allowed {
            continue;
        }
        group.sort_by(|&one, &other| evicted_guests[one].title.cmp(&evicted_guests[other].title));
        let names: Vec<&str> = group.iter().map(|&at| evicted_guests[at].title.as_str()).collect();
        let (who, count) = (fold_names(&names, 4), group.len());
        let whose = format!("PodDisruptionBudget {}/{}", budget.namespace, budget.name);
        let gone = group.iter().filter(|&&at| !returns(world, residents, &evicted_guests[at])).count();
        // A guest that runs again elsewhere restores the disruption it used.
        let all_go = gone < allowed;
        let disruptions = number(allowed, "disruption", "disruptions");
        let line = if all_go {
            format!(
                "{whose} allows {allowed} {disruptions} at a time, of {count} guests here ({who}): the next once one of them runs elsewhere"
            )
        } else {
            format!(
                "{whose} allows {allowed} {disruptions} now, and {count} guests here need one ({who}): that many are shut \
                 down, the others stay until it allows another"
            )
        };
        for (turn, &at) in group.iter().enumerate() {
            evicted_guests[at].goes_in_turn = all_go;
            if let EvictionEffect::ShutDown(why) = &evicted_guests[at].effect {
                let is_shut_down = all_go || turn < allowed;
                evicted_guests[at].effect = if is_shut_down {
                    EvictionEffect::ShutDown(format!("{why}; {line}"))
                } else {
                    EvictionEffect::Held(line.clone())
                };
            }
        }
    }
}

/// Whether a guest that is shut down starts again without a user, on another node.
fn returns(world: &World, residents: &Residents<'_>, evicted: &EvictedGuest<'_>) -> bool {
    Restarts::of(world, evicted.vmi) == Restarts::Always
        && returning::starts(world, residents, evicted).is_some_and(|starts| starts.are_known)
}
