//! Guests that a restart without changes is proved to help, judged by their next start on the nodes of now.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::answers::guest_state::GuestStates;
use crate::answers::policy_of;
use crate::fit::bits::Bits;
use crate::fit::fleet::Fleet;
use crate::fit::judgement::Depth;
use crate::fit::outcome::Outcome;
use crate::fit::remedy::{Action, Restart};
use crate::fit::subject::Subject;
use crate::judge::GuestOf;
use crate::kubevirt::migration;
use crate::kubevirt::subject::{self, Prepared};
use crate::kubevirt::wire::Vmi;
use crate::policy::LauncherSelectors;
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
        // A guest that is being deleted is not started again.
        if !migration::runs(vmi) || migration::is_being_deleted(&vmi.metadata) {
            continue;
        }
        let next = states.at_next_start(GuestOf::Vmi(vmi));
        let is_denied = next.state.ruling.denies();
        let starts = next.state.start_nodes.filter(|_| !matches!(next.state.outcome, Outcome::Unknown(_)));
        let (Some(start_nodes), (least_targets, most_targets)) = (starts, next.state.targets) else { continue };
        let Some(prepared) = subject::of_running(vmi, &world.cluster).filter(|_| !is_denied) else { continue };
        let Some(known) = starts_again(&prepared.subject, &vmi.status.node_name, &world.cluster.fleet) else {
            continue;
        };
        // The node that it starts on is no target.
        let [least_targets, most_targets] =
            [least_targets, most_targets].map(|count| count.min(known.saturating_sub(1)));
        let start_nodes = start_nodes.min(known);
        if start_nodes == 0 || most_targets == 0 {
            continue;
        }
        let or_drop_stale = out.len() < JUDGED_WHOLE && !is_dropped(vmi, world) && drops_stale(&prepared, world);
        out.push(ProvedRestart { guest: (*guest).to_owned(), start_nodes, least_targets, most_targets, or_drop_stale });
    }
    out
}

/// Returns the number of nodes on which a guest is known to start again, by the rule that `explain` and `drain` propose
/// a restart by; `None` if that is not known, or no restart of it is possible.
fn starts_again(subject: &Subject<'_>, runs_on: &str, fleet: &Fleet) -> Option<usize> {
    subject.restart.as_ref()?;
    let starts = Action::from(Restart).apply(subject, fleet).0.fitting(fleet);
    subject.known_starts(&starts, fleet.find(runs_on), fleet).map(|known| known.count())
}

/// Whether a policy drops the stale entries of a guest already: it has to migrate only.
fn is_dropped(vmi: &Vmi, world: &World) -> bool {
    let fleet = &world.cluster.fleet;
    let policy = policy_of(world, &world.policies, vmi, fleet.find(&vmi.status.node_name), &Bits::none(fleet.len()));
    policy.is_some_and(|policy| policy.launcher_selectors == LauncherSelectors::DropStale)
}

fn drops_stale(prepared: &Prepared<'_>, world: &World) -> bool {
    let findings = prepared.look_up(&world.cluster, Depth::Full).findings(prepared.notes());
    let mut remedies = findings.iter().flat_map(|found| &found.remedies);
    remedies.any(|remedy| matches!(remedy.action, Action::DropStale(_)))
}
