//! What changed between two looks at a cluster: labels that came and went, KubeVirt's release and configuration, and for whom that is
//! better or worse.

mod guests;
mod kubevirt;
mod nodes;
mod restarts;
mod verdicts;

use std::collections::BTreeSet;

use serde::Serialize;

use crate::fit::fleet::Fleet;
use crate::kubevirt::cluster::Cluster;
use crate::kubevirt::migration;
use crate::world::World;

pub use guests::{Direction, GuestChange, NodeCause};
pub use kubevirt::SettingChange;
pub use nodes::{Frozen, NodeChange, Unlike, What};
pub use restarts::ProvedRestart;

/// What changed. Also the JSON of `cpufit diff`: fields are only ever added.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Diff {
    /// The nodes that came, went or changed, by name.
    pub nodes: Vec<NodeChange>,
    /// The guests whose verdict is another one, by name.
    pub guests: Vec<GuestChange>,
    /// How many guests are worse off; who was not there before is not counted.
    pub worse: usize,
    /// How many are better off.
    pub better: usize,
    /// The guests that ceased to match the node they run on, or match it again, whatever their verdict.
    pub own_node: Vec<GuestChange>,
    /// The guests that KubeVirt refuses to migrate and did not, or no longer refuses to, whatever their verdict.
    pub not_migratable: Vec<GuestChange>,
    /// The guests whose node is not there any more, whatever their verdict.
    pub node_gone: Vec<GuestChange>,
    /// What changed of KubeVirt: its release, and what of its configuration affects guests.
    pub kubevirt: Vec<SettingChange>,
    /// Nodes of the new cluster whose labels are frozen by the annotation `skip-node`.
    pub frozen: Vec<Frozen>,
    /// Nodes of the new cluster whose CPU labels differ from those of most nodes with their host model.
    pub unlike: Vec<Unlike>,
    /// CPU labels that guests who are worse off ask for, and that no node has any more.
    pub gone: Vec<String>,
    /// Guests that are worse off for such labels, and that a restart as they are is proved to help: of many the first that were looked at.
    pub restarts: Vec<ProvedRestart>,
    /// What could not be compared, and why, a sentence each.
    pub not_known: Vec<String>,
    /// Whether guests were compared: a dump without any tells nothing of those that were there.
    pub are_guests_compared: bool,
}

impl Diff {
    /// Whether nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty() && self.kubevirt.is_empty() && self.changes().next().is_none()
    }

    /// All that happened to guests: one may be in several lists.
    pub fn changes(&self) -> impl Iterator<Item = &GuestChange> {
        [&self.node_gone, &self.own_node, &self.not_migratable, &self.guests].into_iter().flatten()
    }

    /// The guests to which it turned so, each once.
    #[must_use]
    pub fn turned(&self, turn: Direction) -> BTreeSet<&str> {
        self.changes().filter(|change| change.turn == turn).map(|change| change.guest.as_str()).collect()
    }
}

/// What changed from one cluster to the other.
///
/// Only guests whose `namespace/name` is asked for are compared.
///
/// `progress` is called with how many guests have been compared, and of how many.
#[must_use]
pub fn diff(old: &World, new: &World, is_asked_for: &dyn Fn(&str) -> bool, progress: &dyn Fn(usize, usize)) -> Diff {
    let (are_guests_compared, mut not_known) = comparable(&old.cluster, &new.cluster);
    not_known.extend(kubevirt::not_known(&old.cluster, &new.cluster));
    let kubevirt = kubevirt::changes(&old.cluster, &new.cluster);
    let as_before = (!kubevirt.is_empty()).then(|| kubevirt::as_before(old, new));
    let is_compared = |guest: &str| are_guests_compared && is_asked_for(guest);
    let guests::GuestChanges { guests, own_node, not_migratable, node_gone } =
        guests::changes(old, new, as_before.as_ref(), &is_compared, progress);
    let fleet = &new.cluster.fleet;
    let mut out = Diff {
        nodes: nodes::changes(&old.cluster.fleet, fleet),
        guests,
        own_node,
        not_migratable,
        node_gone,
        kubevirt,
        frozen: nodes::frozen(&old.cluster.fleet, fleet),
        unlike: nodes::unlike(fleet),
        not_known,
        are_guests_compared,
        ..Diff::default()
    };
    let has = |fleet: &Fleet, key: &str| fleet.values(key).any(|value| !fleet.bearing(key, value).is_empty());
    let hit = out.changes().filter(|change| change.turn == Direction::Worse);
    let gone: BTreeSet<String> = hit
        .flat_map(|change| &change.because)
        .filter(|key| has(&old.cluster.fleet, key) && !has(fleet, key))
        .cloned()
        .collect();
    out.gone = gone.into_iter().collect();
    let is_stranded = |change: &&GuestChange| {
        change.turn == Direction::Worse && change.because.iter().any(|key| out.gone.contains(key))
    };
    let stranded: BTreeSet<&str> = out.changes().filter(is_stranded).map(|change| change.guest.as_str()).collect();
    out.restarts = restarts::proved(new, &stranded);
    (out.worse, out.better) = (out.turned(Direction::Worse).len(), out.turned(Direction::Better).len());
    out
}

/// Whether guests can be compared, and what of them cannot. A dump says nothing of a kind that it does not hold; a live cluster that
/// shows none has none.
fn comparable(old: &Cluster, new: &Cluster) -> (bool, Vec<String>) {
    let holds = |cluster: &Cluster| cluster.vmis().next().is_some() || cluster.vms().next().is_some();
    let said = |side: &str, what: &str| format!("the {side} dump holds {what}");
    match (holds(old), holds(new)) {
        (false, false) => (new.is_live, (!new.is_live).then(|| NO_GUESTS.to_owned()).into_iter().collect()),
        (true, false) if !new.is_live => {
            let none = said("new", "no guests (VirtualMachines and VirtualMachineInstances)");
            (false, vec![format!("{none}: nothing can be said of those of the old one")])
        }
        (false, true) if !old.is_live => {
            let none = said("old", "no guests (VirtualMachines and VirtualMachineInstances)");
            (false, vec![format!("{none}: nothing can be said of how those of the new one were before")])
        }
        _ => {
            let runs = |cluster: &Cluster| cluster.vmis().any(|vmi| !migration::has_ended(vmi));
            let is_without = |cluster: &Cluster| !cluster.is_live && cluster.vmis().next().is_none();
            let of = |side: &str| {
                format!(
                    "the {side} dump holds no VirtualMachineInstance: each guest there is compared as a stopped one"
                )
            };
            let notes = [("new", is_without(new) && runs(old)), ("old", is_without(old) && runs(new))];
            (true, notes.into_iter().filter(|(_, is_so)| *is_so).map(|(side, _)| of(side)).collect())
        }
    }
}

/// Two dumps of nodes alone.
const NO_GUESTS: &str =
    "neither dump holds guests (VirtualMachines and VirtualMachineInstances): nothing can be said of them";

#[cfg(test)]
mod tests;
