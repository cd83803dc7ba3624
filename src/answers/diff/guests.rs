//! The guests with another verdict than before, and the labels that caused it.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use serde::Serialize;

use super::direction::Direction;
use super::evictions::{self, EvictionChange};
use super::verdicts::{GuestVerdict, Verdicts, guests};
use crate::answers::Demand;
use crate::answers::missing_launchers::lacks_launcher;
use crate::fit::bits::Bits;
use crate::fit::fleet::{Fleet, Lookup, NodeIndex, Requirement};
use crate::fit::label::{self, Family};
use crate::fit::node::Taint;
use crate::fit::outcome::{Outcome, OutcomeWord};
use crate::fit::placement::{AffinityRule, Placement};
use crate::judge::GuestOf;
use crate::kubevirt::cluster::Cluster;
use crate::kubevirt::resource::Resource;
use crate::kubevirt::wire::Vmi;
use crate::kubevirt::{migration, subject};
use crate::say;
use crate::snapshot::redact::comparable;
use crate::word::words;
use crate::world::World;

/// A guest with another verdict than before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GuestChange {
    /// The guest as `namespace/name`.
    pub guest: String,
    /// Its verdict before; null if it did not exist.
    pub before: Option<OutcomeWord>,
    /// Its verdict now; null if it does not exist.
    pub after: Option<OutcomeWord>,
    /// Keys of the labels that caused it: nodes lost or gained them, or the guest requires them now or no longer.
    pub because: Vec<String>,
    /// Other causes on nodes, sorted by change and node name; for many nodes only the first.
    pub because_nodes: Vec<NodeCause>,
    /// Whether KubeVirt's release or configuration caused it: with the old ones, its verdict now would be different.
    pub because_kubevirt: bool,
    /// The direction of the change.
    pub turn: Direction,
    /// Whether its launcher did not match the node it ran on.
    pub own_node_before: bool,
    /// Whether its launcher does not match the node it runs on.
    pub own_node_after: bool,
    /// The reason why KubeVirt refused to migrate it before; null if it did not refuse.
    pub not_migratable_before: Option<String>,
    /// The reason why KubeVirt refuses to migrate it now; null if it does not refuse.
    pub not_migratable_after: Option<String>,
    /// The node named by its VMI, if that node existed before and does not now.
    pub node_gone: Option<String>,
    /// Why its verdict before was not known; left out if it was known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown_before: Option<String>,
    /// Why its verdict now is not known; left out if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown_after: Option<String>,
}

/// A guest that runs elsewhere or since, or does not run any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RunChange {
    /// The guest as `namespace/name`.
    pub guest: String,
    /// The change.
    pub change: RunWord,
}

words! {
    /// A change of whether and where a guest runs.
    #[derive(Serialize)]
    #[serde(into = "&'static str")]
    RunWord {
        /// Its VMI is the same, and runs on another node.
        Migrated = "migrated",
        /// Its VM has another UID: it was deleted, and another VM has its name.
        Recreated = "recreated",
        /// Its VMI has another UID.
        Restarted = "restarted",
        /// It has a VMI, and had none.
        Started = "started",
        /// It has no VMI any more.
        Stopped = "stopped",
    }
}

/// A change of a node, other than of its labels, that caused a change of a guest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct NodeCause {
    /// The change: `removed`, `added`, `the guest runs there now`, or an entry of the node's `also`: `cordoned`, `not
    /// ready`, `taint …`, each also after `no longer `.
    pub change: String,
    /// The node.
    pub node: String,
    /// Whether the change is that the guest runs there now.
    #[serde(skip)]
    pub is_move: bool,
}

impl NodeCause {
    /// The guest runs on this node now.
    fn moved_to(node: &str) -> Self {
        Self { change: "the guest runs there now".to_owned(), node: node.to_owned(), is_move: true }
    }

    /// The node itself changed.
    fn of_node(change: &str, node: &str) -> Self {
        Self { change: change.to_owned(), node: node.to_owned(), is_move: false }
    }
}

/// The changed guests: each is in the list for its kind of change, or in several.
#[derive(Debug, Default)]
pub(super) struct GuestChanges {
    /// Guests with another verdict.
    pub(super) guests: Vec<GuestChange>,
    /// Guests that ceased to match their own node, or match it again.
    pub(super) own_node: Vec<GuestChange>,
    /// Guests that KubeVirt refuses to migrate now and did not before, or the other way round.
    pub(super) not_migratable: Vec<GuestChange>,
    /// Guests on a node that does not exist any more.
    pub(super) node_gone: Vec<GuestChange>,
    /// Guests on which an eviction has another effect.
    pub(super) evictions: Vec<EvictionChange>,
    /// Guests that started, stopped, restarted or migrated.
    pub(super) running: Vec<RunChange>,
}

/// Returns the changed guests, by name. `before` is the new side under the old release and configuration of KubeVirt;
/// `None` if neither changed.
pub(super) fn changes(
    old: &World,
    new: &World,
    before: Option<&World>,
    is_asked_for: &dyn Fn(&str) -> bool,
    progress: &dyn Fn(usize, usize),
) -> GuestChanges {
    let (were, are) = (guests(&old.cluster), guests(&new.cluster));
    let mut sides = Sides::new(old, new);
    let mut under = before.map(|world| (guests(&world.cluster), Verdicts::new(world)));
    let mut out = GuestChanges::default();
    let titles: BTreeSet<&String> = were.keys().chain(are.keys()).filter(|title| is_asked_for(title)).collect();
    for (at, title) in titles.iter().copied().enumerate() {
        progress(at, titles.len());
        let compared = sides.compared(were.get(title).copied(), are.get(title).copied());
        let run_change = compared.run_change(old, new);
        out.running.extend(run_change.map(|change| RunChange { guest: title.clone(), change }));
        if let Some((GuestOf::Vmi(was), GuestOf::Vmi(is))) = compared.both() {
            out.evictions.extend(evictions::change(title, (was, &old.cluster), (is, &new.cluster)));
        }
        let Some(turn) = compared.turn() else { continue };
        let Reasons { labels, nodes } = sides.reasons(&compared);
        let Compared { before, after, .. } = &compared;
        let is_other_outcome = compared.is_other_outcome();
        let because_kubevirt = is_other_outcome && before.guest.is_some() && {
            let then = under.as_mut().map(|(guests, verdicts)| {
                let guest = guests.get(title).copied();
                guest.map(|guest| verdicts.of(guest).outcome)
            });
            then.is_some_and(|then| then != after.outcome())
        };
        let change = GuestChange {
            guest: title.clone(),
            before: before.outcome(),
            after: after.outcome(),
            because: labels.into_iter().collect(),
            because_nodes: nodes.into_iter().collect(),
            because_kubevirt,
            turn,
            own_node_before: before.own_node(),
            own_node_after: after.own_node(),
            not_migratable_before: before.guest.and_then(not_migratable),
            not_migratable_after: after.guest.and_then(not_migratable),
            node_gone: compared.node_gone.clone(),
            unknown_before: if is_other_outcome { before.unknown(old) } else { None },
            unknown_after: if is_other_outcome { after.unknown(new) } else { None },
        };
        if change.node_gone.is_some() {
            out.node_gone.push(change.clone());
        }
        if compared.is_other_own_node() {
            out.own_node.push(change.clone());
        }
        if compared.differs(|verdict| verdict.not_migratable) {
            out.not_migratable.push(change.clone());
        }
        if is_other_outcome {
            out.guests.push(change);
        }
    }
    progress(titles.len(), titles.len());
    out
}

/// Returns the UID of a guest's VM, also from the owner reference of its VMI; `None` if it is not known.
fn vm_uid<'w>(guest: GuestOf<'w>, cluster: &'w Cluster) -> Option<&'w str> {
    let (vm, vmi) = match guest {
        GuestOf::Vm(vm) => (Some(vm), None),
        GuestOf::Vmi(vmi) => (cluster.vm(&vmi.metadata.namespace, &vmi.metadata.name), Some(vmi)),
    };
    let owner = || vmi?.metadata.owner_references.iter().find(|owner| owner.is_a(Resource::VirtualMachines));
    let uid = vm.map(|vm| &vm.metadata.uid).or_else(|| owner().map(|owner| &owner.uid));
    comparable(uid?)
}

/// Returns what happened to the VMI of a guest; `None` if it is the same on the same node, or no VMI exists.
fn run_change(was: GuestOf<'_>, is: GuestOf<'_>) -> Option<RunWord> {
    match (was, is) {
        (GuestOf::Vm(_), GuestOf::Vmi(_)) => Some(RunWord::Started),
        (GuestOf::Vmi(_), GuestOf::Vm(_)) => Some(RunWord::Stopped),
        (GuestOf::Vmi(was), GuestOf::Vmi(is)) => {
            let differ = |one: &str, other: &str| !one.is_empty() && !other.is_empty() && one != other;
            let uids = comparable(&was.metadata.uid).zip(comparable(&is.metadata.uid));
            if uids.is_some_and(|(was, is)| was != is) {
                Some(RunWord::Restarted)
            } else {
                differ(&was.status.node_name, &is.status.node_name).then_some(RunWord::Migrated)
            }
        }
        (GuestOf::Vm(_), GuestOf::Vm(_)) => None,
    }
}

/// A guest on one side; without a guest and a verdict if it does not exist there.
#[derive(Clone, Copy)]
struct GuestSide<'w> {
    guest: Option<GuestOf<'w>>,
    verdict: Option<GuestVerdict>,
}

impl GuestSide<'_> {
    fn outcome(&self) -> Option<OutcomeWord> {
        self.verdict.map(|verdict| verdict.outcome)
    }

    fn own_node(&self) -> bool {
        self.verdict.is_some_and(|verdict| verdict.own_node)
    }

    /// Returns why its outcome is not known; `None` if it is.
    fn unknown(&self, world: &World) -> Option<String> {
        let guest = self.guest.filter(|_| self.outcome() == Some(OutcomeWord::Unknown))?;
        let cluster = &world.cluster;
        let prepared = guest.prepared(cluster);
        match (&prepared.not_judged, prepared.assess(cluster).outcome) {
            (Some(finding), _) => Some(say::finding::message(finding)),
            (None, Outcome::Unknown(why)) => Some(say::finding::unknown(&why)),
            (None, _) => None,
        }
    }
}

/// A guest on both sides.
struct Compared<'w> {
    before: GuestSide<'w>,
    after: GuestSide<'w>,
    /// Whether each side lacks its launcher.
    lacks_launcher: [bool; 2],
    /// The node it runs on, if that existed before and does not now.
    node_gone: Option<String>,
    /// Whether the old side holds nodes: else it is not known whether the guest matched its own.
    knows_nodes: bool,
}

impl<'w> Compared<'w> {
    /// Returns both guests; `None` if one side lacks it.
    fn both(&self) -> Option<(GuestOf<'w>, GuestOf<'w>)> {
        self.before.guest.zip(self.after.guest)
    }

    /// Whether a part of the verdict differs; a guest on one side only has nothing to compare.
    fn differs(&self, of: fn(GuestVerdict) -> bool) -> bool {
        self.before.verdict.zip(self.after.verdict).is_some_and(|(before, after)| of(before) != of(after))
    }

    fn is_other_outcome(&self) -> bool {
        self.before.outcome() != self.after.outcome()
    }

    /// Whether it ceased to match its own node, or matches it again.
    fn is_other_own_node(&self) -> bool {
        self.knows_nodes && self.differs(|verdict| verdict.own_node) && self.node_gone.is_none()
    }

    /// Returns what happened to its VM or VMI; `None` if both are the same, on the same node.
    fn run_change(&self, old: &World, new: &World) -> Option<RunWord> {
        let (was, is) = self.both()?;
        let uids = vm_uid(was, &old.cluster).zip(vm_uid(is, &new.cluster));
        if uids.is_some_and(|(was, is)| was != is) { Some(RunWord::Recreated) } else { run_change(was, is) }
    }

    /// Returns the direction of its change; `None` if nothing changed.
    fn turn(&self) -> Option<Direction> {
        let (before, after) = match (self.before.verdict, self.after.verdict) {
            (Some(before), Some(after)) => (before, after),
            (None, Some(_)) => return Some(Direction::Came),
            (Some(_), None) => return Some(Direction::Went),
            (None, None) => return None,
        };
        if self.node_gone.is_some() {
            return Some(Direction::Worse);
        }
        let comparable =
            |verdict: GuestVerdict| GuestVerdict { own_node: verdict.own_node && self.knows_nodes, ..verdict };
        let (before, after) = (comparable(before), comparable(after));
        if before == after {
            return None;
        }
        let differs = before.own_node != after.own_node || before.not_migratable != after.not_migratable;
        if !(differs || before.is_known() && after.is_known()) {
            return Some(Direction::Unknown);
        }
        // A guest that fits its own node again may have lost its targets.
        let elsewhere = |verdict: GuestVerdict| GuestVerdict { own_node: false, ..verdict }.severity();
        let rank = |verdict: GuestVerdict| (elsewhere(verdict), rank(Some(verdict.outcome)), verdict.not_migratable);
        let is_worse = match before.own_node.cmp(&after.own_node) {
            Ordering::Less => true,
            Ordering::Equal => rank(after) > rank(before),
            Ordering::Greater => elsewhere(after) > elsewhere(before),
        };
        // Entries that it inherited exclude nodes only: without its launcher, its state is no better than it seems.
        Some(match (is_worse, self.lacks_launcher) {
            (true, [true, false]) | (false, [false, true]) => Direction::Unknown,
            (true, _) => Direction::Worse,
            (false, _) => Direction::Better,
        })
    }
}

/// Returns the reason why KubeVirt refuses to migrate a guest; `None` if it does not refuse.
fn not_migratable(guest: GuestOf<'_>) -> Option<String> {
    match guest {
        GuestOf::Vmi(vmi) if migration::runs(vmi) => {
            subject::not_migratable(vmi).map(|refused| say::finding::condition(&refused))
        }
        GuestOf::Vmi(_) | GuestOf::Vm(_) => None,
    }
}

/// Returns an outcome that can be compared, best first; `None` if it is unknown or missing.
fn rank(outcome: Option<OutcomeWord>) -> Option<OutcomeWord> {
    outcome.filter(|outcome| *outcome != OutcomeWord::Unknown)
}

/// Number of nodes for which missing entries are computed one by one.
const MAX_NODES_COMPARED: usize = 16;

/// The causes of a guest's change.
#[derive(Clone, Debug, Default)]
struct Reasons {
    /// Label keys.
    labels: BTreeSet<String>,
    nodes: BTreeSet<NodeCause>,
}

/// The causes of a different placement: nodes that took the pod and do not now, and the other way round.
#[derive(Debug, Default)]
struct Decided {
    lost: Vec<OfNode>,
    gained: Vec<OfNode>,
}

/// The causes on one node.
#[derive(Debug)]
struct OfNode {
    name: String,
    labels: Vec<String>,
    changes: Vec<String>,
    /// Whether another node has the same labels and lost or gained the same ones.
    has_like: bool,
}

/// Both clusters, with the mapping between their nodes.
struct Sides<'w> {
    old: Verdicts<'w>,
    new: Verdicts<'w>,
    old_world: &'w World,
    new_world: &'w World,
    /// The new cluster's index of each node of the old cluster; `None` if the node was removed.
    now: Vec<Option<NodeIndex>>,
    /// The added nodes.
    came: Vec<NodeIndex>,
    /// Causes already computed, by the demands before and now.
    known: HashMap<(*const Demand, *const Demand), KnownReasons>,
}

/// The demands are kept alive so that their addresses, which are keys, are not reused.
struct KnownReasons {
    _held: (Rc<Demand>, Rc<Demand>),
    decided: Rc<Decided>,
}

impl<'w> Sides<'w> {
    fn new(old: &'w World, new: &'w World) -> Self {
        let (before, after): (&Fleet, &Fleet) = (&old.cluster.fleet, &new.cluster.fleet);
        Self {
            old: Verdicts::new(old),
            new: Verdicts::new(new),
            old_world: old,
            new_world: new,
            now: (0..before.len()).map(|node| after.find(before.name(node))).collect(),
            // A dump without nodes does not show which came.
            came: (0..after.len())
                .filter(|node| !before.is_empty() && before.find(after.name(*node)).is_none())
                .collect(),
            known: HashMap::new(),
        }
    }

    /// Returns the node a guest runs on, if it existed before and does not now.
    fn node_gone(&self, guest: GuestOf<'_>) -> Option<String> {
        let node = &guest.running()?.status.node_name;
        let (before, after) = (&self.old_world.cluster.fleet, &self.new_world.cluster.fleet);
        let is_gone = before.find(node).is_some() && after.find(node).is_none() && !after.is_empty();
        is_gone.then(|| node.clone())
    }

    /// Judges a guest on both sides.
    fn compared(&mut self, was: Option<GuestOf<'w>>, is: Option<GuestOf<'w>>) -> Compared<'w> {
        let lacks = |guest, world: &World| match guest {
            Some(GuestOf::Vmi(vmi)) => lacks_launcher(vmi, &world.cluster),
            _ => false,
        };
        Compared {
            lacks_launcher: [lacks(was, self.old_world), lacks(is, self.new_world)],
            before: GuestSide { guest: was, verdict: was.map(|guest| self.old.of(guest)) },
            after: GuestSide { guest: is, verdict: is.map(|guest| self.new.of(guest)) },
            node_gone: is.and_then(|guest| self.node_gone(guest)),
            knows_nodes: !self.old_world.cluster.fleet.is_empty(),
        }
    }

    /// Returns the causes of a guest's change; none for a guest on one side only.
    fn reasons(&mut self, compared: &Compared<'w>) -> Reasons {
        let mut out = Reasons::default();
        let Some((was, is)) = compared.both() else { return out };
        let by_own_node = compared.is_other_own_node();
        if compared.is_other_outcome() {
            let ranks = rank(compared.before.outcome()).zip(rank(compared.after.outcome()));
            out = self.of_verdict(was, is, ranks.map(|(before, after)| after.cmp(&before)));
            // No label makes an outcome unknown.
            if ranks.is_none() {
                out.labels.clear();
            }
        }
        if let (true, GuestOf::Vmi(was), GuestOf::Vmi(is)) = (by_own_node, was, is)
            && was.status.node_name != is.status.node_name
        {
            out.nodes.insert(NodeCause::moved_to(&is.status.node_name));
        }
        if by_own_node && out.labels.is_empty() {
            for (guest, world) in [(was, self.old_world), (is, self.new_world)] {
                if let GuestOf::Vmi(vmi) = guest {
                    out.labels.extend(world.cluster.unmet(vmi).iter().filter_map(Requirement::key).map(str::to_owned));
                }
            }
        }
        out
    }

    fn of_verdict(&mut self, was: GuestOf<'w>, is: GuestOf<'w>, turn: Option<Ordering>) -> Reasons {
        let (ran, runs) = (was.running(), is.running());
        let decided = if let (Some(was), Some(is)) = (ran, runs) {
            self.of_demands(was, is)
        } else {
            let (asked, asks) = (self.old.start(was), self.new.start(is));
            Rc::new(self.between(&asked, &asks))
        };
        let on = |vmi: Option<&'w Vmi>| vmi.map(|vmi| vmi.status.node_name.as_str()).filter(|node| !node.is_empty());
        let (ran_on, runs_on) = (on(ran), on(runs));
        let mut out = Reasons::default();
        // For a start, lost and gained nodes both count: losing a node on which the guest would be stuck is better.
        let of_turn: [&[OfNode]; 2] = match turn {
            Some(Ordering::Greater) if runs.is_some() && ran.is_some() => [&decided.lost, &[]],
            Some(Ordering::Less) if runs.is_some() && ran.is_some() => [&[], &decided.gained],
            _ => [&decided.lost, &decided.gained],
        };
        for node in of_turn.into_iter().flatten() {
            // The node a guest stays on is no target, neither before nor now.
            let is_own = ran_on == runs_on && runs_on == Some(node.name.as_str());
            if !is_own || node.has_like {
                out.labels.extend(node.labels.iter().cloned());
            }
            if !is_own {
                out.nodes.extend(node.changes.iter().map(|change| NodeCause::of_node(change, &node.name)));
            }
        }
        if let (Some(was), Some(is)) = (ran, runs) {
            let of_source = self.of_source(was, is, &out.labels);
            out.labels.extend(of_source);
        }
        if let (Some(before), Some(now)) = (ran_on, runs_on) {
            let is_there = |world: &World| world.cluster.fleet.find(now).is_some();
            if before != now {
                out.nodes.insert(NodeCause::moved_to(now));
            } else if is_there(self.new_world) && !is_there(self.old_world) && !self.old_world.cluster.fleet.is_empty()
            {
                // Without its node nothing is known about the guest.
                out.nodes.insert(NodeCause::of_node("added", now));
            }
        }
        out
    }

    /// Returns the labels of a guest's node that changed and because of which its migration asks for others of these
    /// keys than before.
    fn of_source(&mut self, was: &'w Vmi, is: &'w Vmi, keys: &BTreeSet<String>) -> Vec<String> {
        let (Some(before), Some(after)) = (self.old.demand(was), self.new.demand(is)) else { return Vec::new() };
        let (Ok(asked), Ok(asks)) = (&before.placement, &after.placement) else { return Vec::new() };
        let is_turned = |key: &String| keys.contains(key) && asked.get(key).is_some() != asks.get(key).is_some();
        let labels = |world: &'w World, vmi: &Vmi| -> BTreeSet<(&'w str, &'w str)> {
            let fleet: &Fleet = &world.cluster.fleet;
            fleet.find(&vmi.status.node_name).into_iter().flat_map(|node| fleet.labels(node)).collect()
        };
        let (had, has) = (labels(self.old_world, was), labels(self.new_world, is));
        let asks_for = |key: &str| match Family::of(key) {
            Family::HostModelRequired => is_turned(&label::same_name_in(key, label::CPU_FEATURE)),
            Family::HostModelCpu => {
                let families = [label::CPU_MODEL_MIGRATION, label::CPU_MODEL];
                families.iter().any(|family| is_turned(&label::same_name_in(key, family)))
            }
            _ => false,
        };
        let changed = had.symmetric_difference(&has).map(|(key, _)| *key).filter(|key| asks_for(key));
        changed.map(str::to_owned).collect()
    }

    fn of_demands(&mut self, was: &'w Vmi, is: &'w Vmi) -> Rc<Decided> {
        let (Some(before), Some(after)) = (self.old.demand(was), self.new.demand(is)) else { return Rc::default() };
        let key = (Rc::as_ptr(&before), Rc::as_ptr(&after));
        if let Some(known) = self.known.get(&key) {
            return Rc::clone(&known.decided);
        }
        let decided = Rc::new(match (&before.placement, &after.placement) {
            (Ok(asked), Ok(asks)) => self.between(asked, asks),
            _ => Decided::default(),
        });
        self.known.insert(key, KnownReasons { _held: (before, after), decided: Rc::clone(&decided) });
        decided
    }

    /// Returns the changes of nodes that let them take a pod before and not now, or the other way round.
    fn between(&self, asked: &Placement<'_>, asks: &Placement<'_>) -> Decided {
        let (old, new): (&Fleet, &Fleet) = (&self.old_world.cluster.fleet, &self.new_world.cluster.fleet);
        let (before, after) = (old.look_up(asked), new.look_up(asks));
        let (fitted, fits) = (before.passes().fitting, after.passes().fitting);
        let (mut lost, mut gained) = (Bits::none(new.len()), Bits::none(old.len()));
        let mut out = Decided::default();
        let whole = |name: &str, change: &str| OfNode {
            name: name.to_owned(),
            labels: Vec::new(),
            changes: vec![change.to_owned()],
            has_like: false,
        };
        for (was, is) in self.now.iter().enumerate() {
            match (fitted.contains(was), is.map(|is| fits.contains(is))) {
                (true, Some(false)) => is.iter().for_each(|is| lost.insert(*is)),
                (false, Some(true)) => gained.insert(was),
                (true, None) if out.lost.len() < MAX_NODES_COMPARED => out.lost.push(whole(old.name(was), "removed")),
                _ => {}
            }
        }
        let came = self.came.iter().copied().filter(|node| fits.contains(*node)).take(MAX_NODES_COMPARED);
        out.gained.extend(came.map(|node| whole(new.name(node), "added")));
        out.lost.extend(of_nodes(&after, &lost, old, ""));
        out.gained.extend(of_nodes(&before, &gained, new, "no longer "));
        out
    }
}

/// Returns why nodes refuse a pod that they take on the other side. Nodes with one profile lack the same CPU labels; of
/// what differs by node, the first few are shown.
fn of_nodes(lookup: &Lookup<'_, '_>, nodes: &Bits, other: &Fleet, prefix: &str) -> Vec<OfNode> {
    let fleet = lookup.fleet();
    let mut profiles: HashMap<NodeIndex, usize> = HashMap::new();
    for node in nodes.iter() {
        *profiles.entry(fleet.first_of_profile(node)).or_default() += 1;
    }
    let shown: BTreeSet<NodeIndex> =
        fleet.one_of_each_profile(nodes).into_iter().chain(nodes.iter().take(MAX_NODES_COMPARED)).collect();
    let of = |node: NodeIndex| {
        let refusal = lookup.refusal(node);
        let of_affinity = refusal.affinity.iter().filter_map(|rule| match rule {
            AffinityRule::Label(expression) => Some(expression.key().to_owned()),
            AffinityRule::Name(_) | AffinityRule::NoTerm => None,
        });
        let labels = refusal.missing.iter().map(|(key, _)| key.clone()).chain(of_affinity).collect();
        let name = fleet.name(node);
        let was_ready = other.find(name).is_some_and(|node| !other.not_ready().contains(node));
        let is_not_ready = fleet.not_ready().contains(node) && was_ready;
        let (of_readiness, others): (Vec<&Taint>, Vec<&Taint>) =
            refusal.taints.iter().partition(|taint| is_not_ready && taint.is_of_down_node());
        let mut changes: Vec<String> = others.iter().map(|taint| format!("{prefix}taint {taint}")).collect();
        changes.extend((!of_readiness.is_empty()).then(|| format!("{prefix}not ready")));
        changes.extend(refusal.cordoned.then(|| format!("{prefix}cordoned")));
        let has_like = profiles.get(&fleet.first_of_profile(node)).is_some_and(|nodes| *nodes > 1);
        OfNode { name: name.to_owned(), labels, changes, has_like }
    };
    shown.into_iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns how bad a verdict is on each of its two axes: where the guest runs, and where it could go.
    fn axes(verdict: GuestVerdict) -> (bool, u8) {
        let outcome = match verdict.outcome {
            OutcomeWord::Fits | OutcomeWord::Unknown => 0,
            OutcomeWord::Fragile => 1,
            OutcomeWord::Pinned => 2,
            OutcomeWord::Unschedulable => 3,
        };
        (verdict.own_node, if verdict.not_migratable { outcome.max(2) } else { outcome })
    }

    #[test]
    fn a_guest_that_is_worse_off_in_one_way_is_not_called_better() {
        use OutcomeWord::{Fits, Fragile, Pinned, Unschedulable};
        let outcomes = [Fits, Fragile, Pinned, Unschedulable];
        let verdicts = outcomes.into_iter().flat_map(|outcome| {
            [(false, false), (false, true), (true, false), (true, true)]
                .map(|(own_node, not_migratable)| GuestVerdict { outcome, own_node, not_migratable })
        });
        // A guest that KubeVirt refuses to migrate is pinned at least.
        let is_possible =
            |verdict: &GuestVerdict| !(verdict.not_migratable && matches!(verdict.outcome, Fits | Fragile));
        let verdicts: Vec<GuestVerdict> = verdicts.filter(is_possible).collect();
        for (before, after) in verdicts.iter().flat_map(|before| verdicts.iter().map(move |after| (*before, *after))) {
            let side = |verdict| GuestSide { guest: None, verdict: Some(verdict) };
            let (before_side, after_side, lacks_launcher) = (side(before), side(after), [false; 2]);
            let turn =
                Compared { before: before_side, after: after_side, lacks_launcher, node_gone: None, knows_nodes: true }
                    .turn();
            let (was, is) = (axes(before), axes(after));
            if is.0 && !was.0 || is.1 > was.1 {
                assert_eq!(
                    turn,
                    Some(Direction::Worse),
                    "an upgrade goes on that costs a guest: {before:?}, {after:?}"
                );
            } else if is != was {
                assert_eq!(turn, Some(Direction::Better), "a guest is called worse that gained: {before:?}, {after:?}");
            }
        }
    }
}
