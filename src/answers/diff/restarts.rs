//! Guests that a restart without changes is proved to help, judged by their next start on the nodes of now.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::answers::guest_state::{GuestOf, GuestStates};
use crate::fit::judgement::Depth;
use crate::fit::outcome::Outcome;
use crate::fit::remedy::Action;
use crate::fit::subject::BoundVolume;
use crate::kubevirt::wire::Vmi;
use crate::kubevirt::{migration, subject};
use crate::world::World;

/// A guest that a restart is proved to help.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProvedRestart {
    /// The guest as `namespace/name`.
    pub guest: String,
    /// Number of nodes it may start on.
    pub start_nodes: usize,
    /// Fewest migration targets from any of those nodes.
    pub least_targets: usize,
    /// Most migration targets from any of those nodes.
    pub most_targets: usize,
    /// Whether a policy with `launcherSelectors: DropStale` helps too, without a restart; computed for the first guests
    /// only.
    pub or_drop_stale: bool,
}

/// Number of guests for which the effect of a policy is computed.
const JUDGED_WHOLE: usize = 32;

/// Returns the running guests of `guests` (`namespace/name`) that a restart brings to a node, and that could migrate to
/// another one at least from some of their start nodes.
pub(super) fn proved(world: &World, guests: &BTreeSet<&str>) -> Vec<ProvedRestart> {
    let mut states = GuestStates::new(world);
    let mut out = Vec::new();
    for guest in guests {
        let (namespace, name) = guest.split_once('/').unwrap_or(("", guest));
        let Some(vmi) = world.cluster.vmi(namespace, name) else { continue };
        if !migration::runs(vmi) {
            continue;
        }
        let next = states.at_next_start(GuestOf::Vmi(vmi));
        let is_denied = next.stand.ruling.denies();
        let starts = next.stand.start_nodes.filter(|_| !matches!(next.stand.outcome, Outcome::Unknown(_)));
        let (Some(start_nodes), (least_targets, most_targets)) = (starts, next.stand.targets) else { continue };
        if is_denied || start_nodes == 0 || most_targets == 0 || !has_its_volumes(vmi, world) {
            continue;
        }
        let or_drop_stale = out.len() < JUDGED_WHOLE && drops_stale(vmi, world);
        out.push(ProvedRestart { guest: (*guest).to_owned(), start_nodes, least_targets, most_targets, or_drop_stale });
    }
    out
}

/// Whether at least two nodes that take the guest at its start can use its volumes, as far as those are known.
fn has_its_volumes(vmi: &Vmi, world: &World) -> bool {
    let cluster = &world.cluster;
    let Some(usable) = BoundVolume::all_usable(&subject::bound_volumes(vmi, cluster), &cluster.fleet) else {
        return true;
    };
    let start = match cluster.vm(&vmi.metadata.namespace, &vmi.metadata.name) {
        Some(vm) => subject::of_vm(vm, cluster),
        None => subject::of_vmi(vmi, cluster),
    };
    usable.count_common(&cluster.fleet.look_up(&start.subject.placement).passes().fitting) > 1
}

fn drops_stale(vmi: &Vmi, world: &World) -> bool {
    let Some(judged) = subject::of_running(vmi, &world.cluster) else { return false };
    let verdict = judged.judge(&world.cluster, Depth::Full);
    let mut remedies = verdict.findings.iter().flat_map(|found| &found.remedies);
    remedies.any(|remedy| matches!(remedy.action, Action::DropStale(_)))
}
