//! The comparison of two states of a cluster: labels gained and lost, KubeVirt's release and configuration, and the
//! guests that are better or worse off.

mod direction;
mod evictions;
mod guests;
mod kubevirt;
mod nodes;
mod redacted;
mod restarts;
pub(crate) mod verdicts;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;

use super::missing_guests::{MissingGuests, only};
use super::missing_launchers::lacks_launcher;
use crate::fit::fleet::Fleet;
use crate::fit::plural::{fold_names, number};
use crate::kubevirt::cluster::Cluster;
use crate::kubevirt::wire::Vmi;
use crate::kubevirt::{migration, subject};
use crate::policy::Policy;
use crate::world::World;

pub use direction::Direction;
pub use evictions::{EvictionChange, EvictionWord};
pub use guests::{GuestChange, NodeCause, RunChange, RunWord};
pub use kubevirt::KubeVirtChange;
pub(crate) use kubevirt::of_configuration;
pub use nodes::{ChangeKind, Frozen, NodeChange, Unlike};
pub(crate) use redacted::OtherNames;
pub use restarts::ProvedRestart;

/// The differences. Also the JSON of `cpufit diff`: fields are only ever added.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Diff {
    /// The nodes that were added, removed or changed, by name.
    pub nodes: Vec<NodeChange>,
    /// The guests with another verdict, by name.
    pub guests: Vec<GuestChange>,
    /// Number of guests that are worse off; new guests are not counted.
    pub worse: usize,
    /// Number of guests that are better off.
    pub better: usize,
    /// The guests that ceased to match the node they run on, or match it again, regardless of their verdict.
    pub own_node: Vec<GuestChange>,
    /// The guests that KubeVirt refuses to migrate now and did not before, or the other way round, regardless of their
    /// verdict.
    pub not_migratable: Vec<GuestChange>,
    /// The guests on a node that does not exist any more, regardless of their verdict.
    pub node_gone: Vec<GuestChange>,
    /// The guests on which an eviction has another effect than before, regardless of their verdict.
    pub evictions: Vec<EvictionChange>,
    /// Changes of KubeVirt: its release, and settings that affect guests.
    pub kubevirt: Vec<KubeVirtChange>,
    /// Nodes of the new cluster with labels that the annotation `skip-node` freezes.
    pub frozen: Vec<Frozen>,
    /// Nodes of the new cluster with CPU labels other than those of most nodes with their host model.
    pub unlike: Vec<Unlike>,
    /// CPU labels that worse-off guests require and that no node has any more.
    pub gone: Vec<String>,
    /// Worse-off guests that lack such a label and that a restart is proved to help; only the first ones are tried.
    pub restarts: Vec<ProvedRestart>,
    /// The policies that are on one side only, or differ, by name.
    pub policies: Vec<PolicyChange>,
    /// The guests that started, stopped, restarted or migrated, by name.
    pub running: Vec<RunChange>,
    /// The parts that could not be compared, and why: one sentence each.
    pub not_known: Vec<String>,
    /// Whether guests were compared. If a dump holds none, nothing is known about the guests of the other.
    pub are_guests_compared: bool,
    /// Whether a dump lacks guests that ran, their launchers, or all nodes, so that a guest may be worse off that is
    /// not named.
    #[serde(skip)]
    pub lacks_guests: bool,
}

/// A policy that differs between the two sides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PolicyChange {
    /// The name of the policy.
    pub policy: String,
    /// Whether it was added, removed or changed.
    pub change: ChangeKind,
}

impl Diff {
    /// Whether nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self { nodes, kubevirt, policies, running, evictions, .. } = self;
        nodes.is_empty()
            && evictions.is_empty()
            && kubevirt.is_empty()
            && policies.is_empty()
            && running.is_empty()
            && self.changes().next().is_none()
    }

    /// Returns all changes of guests: one guest may be in several lists.
    pub fn changes(&self) -> impl Iterator<Item = &GuestChange> {
        [&self.node_gone, &self.own_node, &self.not_migratable, &self.guests].into_iter().flatten()
    }

    /// Returns the guests that changed in this direction, each once.
    #[must_use]
    pub fn turned(&self, turn: Direction) -> BTreeSet<&str> {
        let by_eviction = self.evictions.iter().map(|change| (change.turn, &change.guest));
        let all = self.changes().map(|change| (change.turn, &change.guest)).chain(by_eviction);
        all.filter(|(of, _)| *of == turn).map(|(_, guest)| guest.as_str()).collect()
    }
}

/// Compares two clusters.
///
/// Compares only guests for which `is_asked_for` returns true for `namespace/name`.
///
/// `progress` is called with the number of guests compared so far and the total.
///
/// # Errors
///
/// The names of the sides stand for different objects: redacted snapshots.
pub(crate) fn try_diff(
    old: &World,
    new: &World,
    is_asked_for: &dyn Fn(&str) -> bool,
    progress: &dyn Fn(usize, usize),
) -> Result<Diff, OtherNames> {
    let are_redacted = redacted::redacted(old, new)?;
    let mut out = diff(old, new, is_asked_for, progress);
    if are_redacted && !out.is_empty() {
        out.not_known.push(NUMBERED.to_owned());
    }
    Ok(out)
}

/// The message for two redacted snapshots.
const NUMBERED: &str = "whether label keys, label values and names without a UID stand for the same thing on both sides: each redacted \
                        snapshot numbers them by itself";

/// Compares two clusters whose names stand for the same objects.
#[must_use]
pub fn diff(old: &World, new: &World, is_asked_for: &dyn Fn(&str) -> bool, progress: &dyn Fn(usize, usize)) -> Diff {
    let by_labels = [old, new].map(without_libvirt);
    let has_answers = by_labels.iter().any(Option::is_some);
    let [without_old, without_new] = &by_labels;
    let (old, new) = (without_old.as_ref().unwrap_or(old), without_new.as_ref().unwrap_or(new));
    let sides = [("old", &old.cluster), ("new", &new.cluster)];
    let missing =
        sides.map(|(_, cluster)| MissingGuests::of(cluster, &|space, name| is_asked_for(&format!("{space}/{name}"))));
    let nodes = nodes::changes(&old.cluster.fleet, &new.cluster.fleet);
    let Comparable { are_guests_compared, mut not_known, mut lacks_guests } =
        comparable(&old.cluster, &new.cluster, &missing, is_asked_for);
    if are_guests_compared {
        // Equal nodes take a guest that inherited entries as before.
        let unseen = (!nodes.is_empty()).then(|| on_neither_side(&old.cluster, &new.cluster, is_asked_for)).flatten();
        lacks_guests |= unseen.is_some() || (old.cluster.fleet.is_empty() && !new.cluster.fleet.is_empty());
        not_known.extend(unseen);
        not_known.extend(sides.iter().zip(&missing).filter_map(|((side, _), missing)| not_compared(side, missing)));
        lacks_guests |= missing.iter().any(|missing| !missing.names().is_empty());
    }
    if has_answers {
        not_known.push(NOT_BY_LIBVIRT.to_owned());
    }
    not_known.extend(kubevirt::not_known(&old.cluster, &new.cluster));
    let kubevirt = kubevirt::changes(&old.cluster, &new.cluster);
    let as_before = (!kubevirt.is_empty()).then(|| kubevirt::as_before(old, new));
    let is_compared = |guest: &str| {
        let is_missing = |missing: &MissingGuests| missing.names().contains(guest);
        // A snapshot of some namespaces proves nothing about guests of others.
        let is_elsewhere = |(_, cluster): &(&str, &Cluster)| {
            let namespace = guest.split_once('/').map_or("", |(namespace, _)| namespace);
            only(cluster).is_some() && !cluster.only_namespaces.contains(namespace)
        };
        are_guests_compared && is_asked_for(guest) && !missing.iter().any(is_missing) && !sides.iter().any(is_elsewhere)
    };
    let guests::GuestChanges { guests, own_node, not_migratable, node_gone, evictions, mut running } =
        guests::changes(old, new, as_before.as_ref(), &is_compared, progress);
    // A dump without VMIs does not show which guests ran.
    if [old, new].into_iter().any(|world| lacks_vmis(&world.cluster)) {
        running.clear();
    }
    let fleet = &new.cluster.fleet;
    not_known.extend(sides.into_iter().filter_map(|(side, cluster)| elsewhere(side, cluster)));
    if old.cluster.fleet.is_empty() && !fleet.is_empty() {
        not_known.push(NO_NODES_BEFORE.to_owned());
    }
    let mut out = Diff {
        nodes,
        guests,
        own_node,
        not_migratable,
        node_gone,
        evictions,
        kubevirt,
        policies: policies(old, new),
        running,
        frozen: nodes::frozen(&old.cluster.fleet, fleet),
        unlike: nodes::unlike(fleet),
        not_known,
        are_guests_compared,
        lacks_guests,
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

/// Returns the message for a side that holds some namespaces alone; `None` if it holds all.
pub(crate) fn elsewhere(side: &str, cluster: &Cluster) -> Option<String> {
    let only = only(cluster)?;
    Some(format!("the {side} dump {only}: nothing can be said of guests of other namespaces"))
}

/// The message for an old dump without nodes.
const NO_NODES_BEFORE: &str =
    "the old dump holds no nodes: what changed of the nodes, and the verdicts of its guests, are not known";

/// The message for dumps with answers of libvirt.
const NOT_BY_LIBVIRT: &str =
    "the answers of libvirt in the dumps: guests are compared by labels alone (`explain` and `audit` use them)";

/// Returns the world without answers of libvirt; `None` if it has none.
fn without_libvirt(world: &World) -> Option<World> {
    (!world.cluster.libvirt.is_empty()).then(|| {
        let mut out = world.clone();
        out.cluster.libvirt = Arc::default();
        out
    })
}

/// Returns the guests of a side that run and whose VMI its dump lacks: they are not compared. `None` without any.
fn not_compared(side: &str, missing: &MissingGuests) -> Option<String> {
    let names: Vec<&str> = missing.names().iter().map(String::as_str).collect();
    let [runs, of, are] =
        [["runs", "run"], ["it", "them"], ["it is", "they are"]].map(|[one, many]| number(names.len(), one, many));
    (!names.is_empty()).then(|| {
        format!(
            "by the rest of the {side} dump {} {runs}, and it holds no VirtualMachineInstance of {of}: {are} not compared",
            fold_names(&names, 3)
        )
    })
}

/// The extent to which guests can be compared.
struct Comparable {
    are_guests_compared: bool,
    /// The parts that cannot be compared.
    not_known: Vec<String>,
    /// Whether guests are compared as if they had not run, or had never migrated, because a dump lacks objects.
    lacks_guests: bool,
}

/// Whether guests can be compared, and the parts that cannot. A dump that holds no objects of a kind proves nothing
/// about it; a live cluster that shows none has none. `missing` are the guests that run and whose VMI a side lacks.
fn comparable(
    old: &Cluster,
    new: &Cluster,
    missing: &[MissingGuests; 2],
    is_asked_for: &dyn Fn(&str) -> bool,
) -> Comparable {
    let of = |are_guests_compared, not_known| Comparable { are_guests_compared, not_known, lacks_guests: false };
    let holds = |cluster: &Cluster| cluster.vmis().next().is_some() || cluster.vms().next().is_some();
    let said = |side: &str, what: &str| format!("the {side} dump holds {what}");
    match (holds(old), holds(new)) {
        (false, false) => of(new.is_live, (!new.is_live).then(|| NO_GUESTS.to_owned()).into_iter().collect()),
        (true, false) if !new.is_live => {
            let none = said("new", "no guests (VirtualMachines and VirtualMachineInstances)");
            of(false, vec![format!("{none}: nothing can be said of those of the old one")])
        }
        (false, true) if !old.is_live => {
            let none = said("old", "no guests (VirtualMachines and VirtualMachineInstances)");
            of(false, vec![format!("{none}: nothing can be said of how those of the new one were before")])
        }
        _ => {
            let title = |vmi: &Vmi| subject::title(&vmi.metadata);
            let runs = |cluster: &Cluster, unseen: &MissingGuests| {
                let runs = |vmi: &Vmi| !migration::has_ended(vmi) && !unseen.names().contains(&title(vmi));
                cluster.vmis().any(|vmi| runs(vmi) && is_asked_for(&title(vmi)))
            };
            let as_stopped = |side: &str| {
                format!(
                    "the {side} dump holds no VirtualMachineInstance: each guest there is compared as a stopped one"
                )
            };
            let [of_old, of_new] = missing;
            let mut notes = Vec::new();
            notes.extend((lacks_vmis(new) && runs(old, of_new)).then(|| as_stopped("new")));
            notes.extend((lacks_vmis(old) && runs(new, of_old)).then(|| as_stopped("old")));
            for (side, cluster, other) in [("new", new, old), ("old", old, new)] {
                let lacking = cluster.vmis().filter(|vmi| {
                    let known = other.vmi(&vmi.metadata.namespace, &vmi.metadata.name);
                    lacks_launcher(vmi, cluster)
                        && known.is_some_and(|known| other.current_launcher(known).is_some())
                        && is_asked_for(&title(vmi))
                });
                let lacking: Vec<String> = lacking.map(title).collect();
                let holds_no = format!("the {side} dump holds no");
                let is_whole = !holds_launchers(cluster);
                notes.extend((!lacking.is_empty()).then(|| without_launchers(&holds_no, is_whole, &lacking)));
            }
            let lacks_guests = !notes.is_empty();
            Comparable { are_guests_compared: true, not_known: notes, lacks_guests }
        }
    }
}

/// Returns what is not known of the guests whose launchers both dumps lack; `None` without any.
fn on_neither_side(old: &Cluster, new: &Cluster, is_asked_for: &dyn Fn(&str) -> bool) -> Option<String> {
    let lacking = new.vmis().filter(|vmi| {
        let was = old.vmi(&vmi.metadata.namespace, &vmi.metadata.name);
        lacks_launcher(vmi, new)
            && was.is_some_and(|was| lacks_launcher(was, old))
            && is_asked_for(&subject::title(&vmi.metadata))
    });
    let lacking: Vec<String> = lacking.map(|vmi| subject::title(&vmi.metadata)).collect();
    let is_whole = !holds_launchers(old) && !holds_launchers(new);
    (!lacking.is_empty()).then(|| without_launchers("neither dump holds any", is_whole, &lacking))
}

/// Returns what is not known of these guests, of which dumps lack the launchers. `holds_no`: `the old dump holds no`.
/// `is_whole`: there are no launchers of other guests.
fn without_launchers(holds_no: &str, is_whole: bool, lacking: &[String]) -> String {
    if is_whole {
        return format!(
            "{holds_no} launcher pods: which entries guests inherited at earlier migrations is not known, and each guest there is \
             compared as if it had never migrated"
        );
    }
    let [it, is, had] = [["it", "they"], ["it is", "they are"], ["it had", "they had"]]
        .map(|[one, many]| number(lacking.len(), one, many));
    format!(
        "{holds_no} launcher pod of {}: which entries {it} inherited at earlier migrations is not known, and {is} \
         compared as if {had} never migrated",
        fold_names(lacking, 3)
    )
}

/// The message for two dumps that hold nodes only.
const NO_GUESTS: &str =
    "neither dump holds guests (VirtualMachines and VirtualMachineInstances): nothing can be said of them";

fn lacks_vmis(cluster: &Cluster) -> bool {
    !cluster.is_live && cluster.vmis().next().is_none()
}

fn holds_launchers(cluster: &Cluster) -> bool {
    cluster.vmis().any(|vmi| cluster.current_launcher(vmi).is_some())
}

/// Returns the policies that are on one side only, or differ, by name.
fn policies(old: &World, new: &World) -> Vec<PolicyChange> {
    let [before, after] = [old, new].map(|world| -> BTreeMap<&str, &Policy> {
        world.policies.iter().map(|policy| (policy.name.as_str(), policy)).collect()
    });
    let names: BTreeSet<&str> = before.keys().chain(after.keys()).copied().collect();
    let change = |name: &str| match (before.get(name), after.get(name)) {
        (Some(_), None) => Some(ChangeKind::Removed),
        (None, Some(_)) => Some(ChangeKind::Added),
        (before, after) => (before != after).then_some(ChangeKind::Changed),
    };
    names.into_iter().filter_map(|name| Some(PolicyChange { policy: name.to_owned(), change: change(name)? })).collect()
}

#[cfg(test)]
mod tests;
