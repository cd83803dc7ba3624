//! Whether the guests of a node can leave it: what a drain would do, the least that makes it end, and an order for several
//! nodes.
//!
//! `kubectl drain` cordons a node and evicts its pods. KubeVirt answers the eviction of a guest that is to be migrated with 429
//! and migrates it, a few at a time ([`Parallel`]); the drain waits until the last launcher is gone. A guest without an
//! `evictionStrategy` is shut down.

mod acts;
mod anti_affinity;
mod budgets;
mod demand_class;
mod evicted;
mod forecast;
mod least;
mod order;
mod outcome;
mod space;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use serde::Serialize;

use super::unanswered::Unanswered;
use crate::fit::bits::Bits;
use crate::fit::fleet::{Fleet, NodeIndex};
use crate::kubevirt::eviction::Parallel;
use crate::kubevirt::wire::Vmi;
use crate::kubevirt::{active_migration, migration};
use crate::say::plural::{fold_names, number};
use crate::word::words;
use crate::world::World;

use anti_affinity::Residents;
use demand_class::DemandClasses;
use evicted::{EvictedGuest, EvictionEffect};
use forecast::Trouble;
use least::Least;
use order::Order;

pub use acts::LeastAct;

words! {
    /// What becomes of a guest when its node is drained.
    #[derive(Serialize)]
    #[serde(into = "&'static str")]
    State {
        /// Its eviction ends it: KubeVirt does not migrate it.
        ShutDown = "shut-down",
        /// It is to be migrated and has nowhere to go: the drain waits for it.
        Stuck = "stuck",
        /// KubeVirt does not move it, and the drain waits for another program or a user.
        Stays = "stays",
        /// It is ending already, and the drain waits until it has.
        Ends = "ends",
        /// It leaves, and one node can take it.
        OneTarget = "one-target",
        /// It leaves.
        CanLeave = "can-leave",
    }
}

/// Some nodes of a fleet. As JSON and in `Debug` their names, sorted: of thousands of guests with thousands of targets each, they
/// are written only where they are asked for.
#[derive(Clone)]
pub struct NodeList {
    fleet: Arc<Fleet>,
    nodes: Bits,
}

impl NodeList {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.count()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Their numbers in their fleet.
    pub(crate) fn numbers(&self) -> &Bits {
        &self.nodes
    }

    /// Their names, sorted.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        self.fleet.names(&self.nodes)
    }
}

impl Serialize for NodeList {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.names().serialize(serializer)
    }
}

impl std::fmt::Debug for NodeList {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.names().fmt(f)
    }
}

impl PartialEq for NodeList {
    fn eq(&self, other: &Self) -> bool {
        self.names() == other.names()
    }
}

/// A guest of a node that is to be drained. Also the JSON of `cpufit drain`: fields are only ever added.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GuestRow {
    /// `namespace/name`.
    pub guest: String,
    /// What becomes of it.
    pub state: State,
    /// The nodes that can take it, now or once others have left its node, by name.
    pub targets: NodeList,
    /// Why, in one line; empty where all is well.
    pub why: String,
    /// How many nodes were judged, its own left out.
    pub judged: usize,
    /// The nodes that fit and have no room for it, by name; none where no room is known.
    pub no_room: NodeList,
    /// The nodes that fit by labels and whose libvirt refuses it, by name; kube-scheduler may choose them all the same. `None`
    /// where libvirt was not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub libvirt_refuses: Option<NodeList>,
    /// The guests of its node that must have left before any node takes it: pod anti-affinity.
    pub after: Vec<String>,
    /// The guests of its node that may take all of its places first: who of them gets one is not known before.
    pub rivals: Vec<String>,
    /// The guests of a lower priority that the scheduler may shut down to make room for it: preemption.
    pub preempts: Vec<String>,
    /// Where its migration that is under way takes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub migrates_to: Option<String>,
    /// Where its migration that is under way brings it from: it is not on this node yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comes_from: Option<String>,
    /// Whether KubeVirt tries to migrate it: then its target pod waits where it is stuck.
    #[serde(skip)]
    pub is_tried: bool,
    /// Whether a budget holds it up until it is shut down.
    #[serde(skip)]
    pub is_held: bool,
    /// Whether libvirt may refuse it on nodes that take it by labels.
    #[serde(skip)]
    pub is_doubtful: bool,
}

/// A node that is to be drained.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DrainedNode {
    /// The node.
    pub node: String,
    /// Its guests, by state and name.
    pub guests: Vec<GuestRow>,
}

impl DrainedNode {
    /// How many of its guests are in a state.
    #[must_use]
    pub fn count(&self, state: State) -> usize {
        self.guests.iter().filter(|guest| guest.state == state).count()
    }
}

/// The least to do for all guests but those that stay stuck whatever is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ForOthers {
    /// The fewest acts after which only these are stuck: none where the others need none.
    pub acts: Vec<LeastAct>,
    /// The guests that are stuck then, by name. Of guests that find too few places these are as many as stay, and which of them do is
    /// not known before.
    pub stuck: Vec<String>,
}

/// What a drain of some nodes would do.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DrainReport {
    /// The nodes, in the order in which they were asked for.
    pub nodes: Vec<DrainedNode>,
    /// The fewest acts after which no guest is stuck: none where nothing need be done, `None` where nothing would do.
    pub least_to_do: Option<Vec<LeastAct>>,
    /// Where nothing would do for all of them, the least to do for the others; else `None`.
    pub least_for_others: Option<ForOthers>,
    /// Where nothing would do, the guests that no act frees; none where each could be freed, and not all of them together.
    pub not_freed: Vec<String>,
    /// Where nothing would do, what a person may look at and mend first: its commands change nothing.
    pub to_look_at: Vec<LeastAct>,
    /// With several nodes, an order in which each is drained and returned and no guest is stuck; `None` if none was found.
    pub order: Option<Vec<String>>,
    /// The guests for whom no order was found, by name.
    pub stranded: Vec<String>,
    /// The guests that may be stuck in this order nevertheless, if the scheduler puts others into their places: none where nobody is
    /// stuck whatever it chooses.
    pub order_may_strand: Vec<String>,
    /// What else the order assumes: a line each.
    pub order_assumes: Vec<String>,
    /// Where no order was found: after how many steps the search was given up; `None` where there is none.
    pub order_tries: Option<usize>,
    /// What is not known of the guests' targets and evictions, and not judged: a line each.
    pub not_known: Vec<String>,
    /// Where libvirt gave no answer about guests that are to be migrated; `None` where it was not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub libvirt: Option<Unanswered>,
    /// How many migrations run at a time.
    #[serde(skip)]
    pub parallel: Parallel,
}

impl DrainReport {
    /// Whether a guest is stuck or would be shut down, be it once a budget allows it or to make room for another one, or is in the way
    /// of every order.
    #[must_use]
    pub(crate) fn has_failed(&self) -> bool {
        let fails = |guest: &GuestRow| {
            matches!(guest.state, State::Stuck | State::ShutDown) || guest.is_held || !guest.preempts.is_empty()
        };
        !self.stranded.is_empty() || self.nodes.iter().flat_map(|node| &node.guests).any(fails)
    }
}

/// What the drain of each of these nodes would do, each by itself; and with `in_turn` in which order.
///
/// `progress` learns how many nodes have been judged, of how many.
#[must_use]
pub fn drain(world: &World, nodes: &[NodeIndex], in_turn: bool, progress: &dyn Fn(usize, usize)) -> DrainReport {
    // A drain waits for the migrations that are under way: what it does then is judged by where they end.
    let (now, landed) = (world, landed(world));
    let world = landed.as_ref().unwrap_or(now);
    let fleet = &world.cluster.fleet;
    let residents = Residents::of(world);
    let kinds = DemandClasses::of(world);
    let mut guests: HashMap<&str, Vec<&Vmi>> = HashMap::new();
    for vmi in world.cluster.vmis().filter(|vmi| !migration::has_ended(vmi)) {
        guests.entry(vmi.status.node_name.as_str()).or_default().push(vmi);
    }
    let movers_of = |&node: &NodeIndex| {
        let here = guests.get(fleet.name(node)).into_iter().flatten();
        let mut movers: Vec<EvictedGuest<'_>> =
            here.map(|vmi| EvictedGuest::of(&kinds, vmi, node).on_its_way(now)).collect();
        budgets::share(world, &residents, &mut movers);
        (node, movers)
    };
    let leaving = landed.as_ref().map(|landed| evicted::leaving(now, landed)).unwrap_or_default();
    let turns: Vec<(NodeIndex, Vec<EvictedGuest<'_>>)> = nodes.iter().map(movers_of).collect();
    let mut rows = Vec::new();
    let mut trouble: Vec<Trouble<'_, '_>> = Vec::new();
    for (at, (node, movers)) in turns.iter().enumerate() {
        progress(at, turns.len());
        let mut forecast = forecast::of(&residents, movers);
        forecast::name(&residents, movers, &mut forecast);
        let row = |(mover, outcome): (&EvictedGuest<'_>, &outcome::GuestOutcome)| mover.row(world, &residents, outcome);
        let mut guests: Vec<GuestRow> = movers.iter().zip(&forecast.outcomes).map(row).collect();
        guests.extend(leaving.get(node).into_iter().flatten().cloned());
        guests.sort_by(|one, other| {
            (one.state, one.targets.len(), &one.guest).cmp(&(other.state, other.targets.len(), &other.guest))
        });
        rows.push(DrainedNode { node: fleet.name(*node).to_owned(), guests });
        if forecast.has_stuck() {
            trouble.push(Trouble { movers, forecast });
        }
    }
    progress(turns.len(), turns.len());
    let moving = turns.iter().flat_map(|(_, movers)| movers).filter(|mover| mover.fate == EvictionEffect::Moves);
    let libvirt = Unanswered::of(world, moving.map(|mover| mover.vmi));
    let mut not_known = not_known(world, &residents, &turns, &rows);
    not_known.extend(libvirt.iter().flat_map(Unanswered::lines));
    let Least { steps, stuck, not_freed, looks: to_look_at } = least::least(world, &residents, &trouble);
    let (least_to_do, least_for_others) =
        if stuck.is_empty() { (Some(steps), None) } else { (None, Some(ForOthers { acts: steps, stuck })) };
    let order = in_turn.then(|| order::of(world, &residents, &turns));
    let parallel = Parallel::of(&world.cluster);
    let mut drained = DrainReport {
        nodes: rows,
        least_to_do,
        least_for_others,
        not_freed,
        to_look_at,
        order: None,
        stranded: Vec::new(),
        order_may_strand: Vec::new(),
        order_assumes: Vec::new(),
        order_tries: None,
        not_known,
        libvirt,
        parallel,
    };
    match order {
        None => {}
        Some(Order::Found { nodes, may_strand, assumes }) => {
            drained.order = Some(nodes.into_iter().map(|node| fleet.name(node).to_owned()).collect());
            (drained.order_may_strand, drained.order_assumes) = (may_strand, assumes);
        }
        Some(Order::Stranded { guests, tries }) => (drained.stranded, drained.order_tries) = (guests, tries),
    }
    drained
}

/// The world once all migrations that are under way have ended; `None` where there is none.
fn landed(world: &World) -> Option<World> {
    let cluster = active_migration::landed(&world.cluster)?;
    Some(World { cluster, policies: world.policies.clone() })
}

/// The guests that a drain of these nodes moves: those there, and those on their way there.
pub(crate) fn guests_of<'w>(world: &'w World, nodes: &[NodeIndex]) -> impl Iterator<Item = &'w Vmi> {
    let nodes: BTreeSet<NodeIndex> = nodes.iter().copied().collect();
    let cluster = &world.cluster;
    cluster.vmis().filter(move |vmi| {
        let node = active_migration::target(vmi, cluster).map_or(vmi.status.node_name.as_str(), |pod| &pod.node);
        cluster.fleet.find(node).is_some_and(|node| nodes.contains(&node))
    })
}

/// What could not be judged.
fn not_known(
    world: &World,
    residents: &Residents<'_>,
    turns: &[(NodeIndex, Vec<EvictedGuest<'_>>)],
    rows: &[DrainedNode],
) -> Vec<String> {
    let room = &world.cluster.room;
    let mut out = Vec::new();
    let moving: Vec<&EvictedGuest<'_>> =
        turns.iter().flat_map(|(_, movers)| movers).filter(|mover| mover.fate == EvictionEffect::Moves).collect();
    if room.is_empty() && !moving.is_empty() {
        out.push(
            "how much room the nodes have (from status.allocatable and all pods): a node that fits may be full"
                .to_owned(),
        );
    } else {
        let small: Vec<&str> = moving
            .iter()
            .filter(|mover| residents.size(mover.vmi).is_none())
            .map(|mover| mover.title.as_str())
            .collect();
        if !small.is_empty() {
            let asks = number(small.len(), "asks", "ask");
            let launcher = number(small.len(), "its launcher is", "their launchers are");
            out.push(format!(
                "how much {} {asks} for: {launcher} not known; a node that fits may be full",
                fold_names(&small, 3)
            ));
        }
    }
    let stuck: BTreeSet<&str> = rows
        .iter()
        .flat_map(|row| &row.guests)
        .filter(|guest| guest.state == State::Stuck)
        .map(|guest| guest.guest.as_str())
        .collect();
    let is_unplaced = |mover: &&EvictedGuest<'_>| {
        let subject = mover.judged(world).map(|judged| &judged.subject);
        subject.is_some_and(|subject| subject.restart.is_some() && !subject.unplaced.is_empty())
    };
    let movers = turns.iter().flat_map(|(_, movers)| movers).filter(|mover| stuck.contains(mover.title.as_str()));
    let unplaced: Vec<&str> = movers.filter(is_unplaced).map(|mover| mover.title.as_str()).collect();
    if !unplaced.is_empty() {
        out.push(format!(
            "on which nodes volumes of {} can be used (their PersistentVolumes are not known, or they are hostDisk): a restart, after \
             which no node may be left to start on, is not among the acts",
            fold_names(&unplaced, 3)
        ));
    }
    if !room.knows_budgets() && rows.iter().any(|row| row.count(State::ShutDown) > 0) {
        out.push(
            "PodDisruptionBudgets: one that allows no disruption would hold up a guest that is to be shut down"
                .to_owned(),
        );
    }
    out
}

#[cfg(test)]
mod tests;
