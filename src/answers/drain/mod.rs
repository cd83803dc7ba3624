//! The answer of `cpufit drain`: what a drain would do to the guests of a node, the fewest acts that let it end, and an
//! order for several nodes.
//!
//! `kubectl drain` cordons a node and evicts its pods. KubeVirt answers the eviction of a guest that is to be migrated
//! with 429 and migrates it, a few at a time ([`Parallel`]); the drain waits until the last launcher is gone. A guest
//! without an `evictionStrategy` is shut down.

mod acts;
mod budgets;
mod demand_class;
mod evicted;
mod fellows;
mod forecast;
mod in_need;
mod least;
mod not_known;
mod order;
mod outcome;
mod race;
mod returning;
mod rivals;
mod rules;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use serde::Serialize;

use super::missing_guests::MissingGuests;
use super::unanswered::Unanswered;
use super::{anti_affinity, space, work};
use crate::fit::bits::Bits;
use crate::fit::command::{Command, Invalid, Name};
use crate::fit::fleet::{Fleet, NodeIndex};
use crate::kubevirt::eviction::Parallel;
use crate::kubevirt::wire::Vmi;
use crate::kubevirt::{active_migration, migration};
use crate::word::words;
use crate::world::World;

use anti_affinity::Residents;
use demand_class::DemandClasses;
use evicted::EvictedGuest;
use fellows::Fellows;
use forecast::Trouble;
use least::Least;
use not_known::{NotKnown, Returning};
use order::Order;
use returning::Restarts;

pub use acts::LeastAct;
pub(crate) use evicted::{EvictionEffect, eviction_effect};
pub use least::LeastProof;

words! {
    /// The outcome for a guest when its node is drained.
    #[derive(Serialize)]
    #[serde(into = "&'static str")]
    State {
        /// A shutdown by the eviction: KubeVirt does not migrate it.
        ShutDown = "shut-down",
        /// A migration without a target: the drain waits for it.
        Stuck = "stuck",
        /// No migration by KubeVirt: the drain waits for another program or a user.
        Stays = "stays",
        /// An end already under way: the drain waits for it.
        Ends = "ends",
        /// A migration with one target.
        OneTarget = "one-target",
        /// A migration with several targets.
        CanLeave = "can-leave",
    }
}

/// The event after which a guest that stays goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StaysUntil {
    /// A budget allows its eviction, which shuts it down.
    Budget,
    /// It runs: KubeVirt migrates it then.
    Running,
    /// Another program or a user acts.
    Others,
}

/// A set of nodes of a fleet. JSON and `Debug` write their names, sorted: with thousands of guests and targets, the
/// names are built only when written.
#[derive(Clone)]
pub struct NodeList {
    fleet: Arc<Fleet>,
    nodes: Bits,
}

impl NodeList {
    /// Returns the number of nodes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.count()
    }

    /// Whether the set is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Returns the indices of the nodes in their fleet.
    pub(crate) fn numbers(&self) -> &Bits {
        &self.nodes
    }

    /// Returns the names, sorted.
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
#[expect(clippy::struct_excessive_bools, reason = "each is a fact by itself")]
pub struct GuestRow {
    /// The guest as `namespace/name`.
    pub guest: String,
    /// The outcome for it.
    pub state: State,
    /// The nodes that can take it, now or after others have left its node, by name.
    pub targets: NodeList,
    /// The reason, in one line; empty if nothing is wrong.
    pub why: String,
    /// Number of nodes judged, without its own.
    pub judged: usize,
    /// The nodes that fit but have no room for it, by name; empty if no room is known.
    pub no_room: NodeList,
    /// The nodes that fit by labels and have a libvirt that refuses it, by name; kube-scheduler may still choose them.
    /// `None` if libvirt was not asked, for a guest that KubeVirt does not migrate, and for one whose migration is
    /// under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub libvirt_refuses: Option<NodeList>,
    /// The guests of its node that must leave before any node takes it: pod anti-affinity.
    pub after: Vec<String>,
    /// The guests of its node that may take all of its places first: it is not known in advance which of them gets one.
    pub rivals: Vec<String>,
    /// The guests with a lower priority that the scheduler may shut down to make room for it: preemption.
    pub preempts: Vec<String>,
    /// The target of its active migration, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub migrates_to: Option<String>,
    /// The source of its active migration, if there is one: it is not on this node yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comes_from: Option<String>,
    /// The name of its migration that has not ended and has no target pod on a node yet: KubeVirt creates no other one
    /// before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unfinished_migration: Option<String>,
    /// Whether KubeVirt tries to migrate it: if it is stuck, its target pod stays pending.
    #[serde(skip)]
    pub is_tried: bool,
    /// If it stays, the event that the drain waits for; `None` if that is not known.
    #[serde(skip)]
    pub stays_until: Option<StaysUntil>,
    /// Whether a budget that it shares with others lets its shutdown wait for theirs.
    #[serde(skip)]
    pub goes_in_turn: bool,
    /// Whether libvirt may refuse its CPU on nodes that take it by labels.
    #[serde(skip)]
    pub is_doubtful: bool,
    /// Whether its migration asks for any one of several CPU vendors, one of which leaves no target.
    #[serde(skip)]
    pub draws_vendor: bool,
    /// Whether a target is not Ready, so that it may be down.
    #[serde(skip)]
    pub may_be_down: bool,
    /// Whether its last migration failed for another reason than its CPU.
    #[serde(skip)]
    pub has_failed: bool,
}

/// A node that is to be drained.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DrainedNode {
    /// The node.
    pub node: String,
    /// Its guests, by state and name.
    pub guests: Vec<GuestRow>,
    /// Whether as many guests find a place with every order of the migrations and every choice of the scheduler.
    #[serde(skip)]
    pub is_count_sure: bool,
}

impl DrainedNode {
    /// Counts its guests in a state.
    #[must_use]
    pub fn count(&self, state: State) -> usize {
        self.guests.iter().filter(|guest| guest.state == state).count()
    }
}

/// The fewest acts for all guests except those that stay stuck regardless of the acts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ForOthers {
    /// The fewest acts after which only these guests are stuck; empty if the others need none.
    pub acts: Vec<LeastAct>,
    /// The guests that are stuck then, by name. If guests find too few places, the number is exact, but which of them
    /// stay is not known in advance.
    pub stuck: Vec<String>,
}

/// The effect of a drain of some nodes.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DrainReport {
    /// The nodes, in the requested order.
    pub nodes: Vec<DrainedNode>,
    /// The fewest acts after which no guest is stuck: empty if none is needed, `None` if none suffices.
    pub least_to_do: Option<Vec<LeastAct>>,
    /// If nothing frees all guests, the fewest acts for the others; else `None`.
    pub least_for_others: Option<ForOthers>,
    /// The proof about the acts of `least_to_do` or `least_for_others`.
    pub least_is: LeastProof,
    /// Whether as many guests leave after these acts with every order and every choice of the scheduler.
    #[serde(skip)]
    pub is_least_sure: bool,
    /// The migrations that may fail after these acts, a line each: to nodes that fit by labels and whose libvirt
    /// refuses the guest.
    pub least_may_fail: Vec<String>,
    /// If nothing frees all guests, the guests that no act frees; empty if each could be freed, but not all together.
    pub not_freed: Vec<String>,
    /// The obstacles on the nodes that these guests would fit on after all remedies, a line each.
    pub in_the_way: Vec<String>,
    /// The remedies that were tried for these guests, and that free none of them even together, by identifier; empty if
    /// none is offered for them.
    pub tried: Vec<&'static str>,
    /// If nothing frees all guests, causes that a person can inspect and fix first: the commands change nothing.
    pub to_look_at: Vec<LeastAct>,
    /// For several nodes, an order in which each is drained and returned and no guest is stuck; `None` if none was
    /// found.
    pub order: Option<Vec<String>>,
    /// The guests that no order was found for, by name.
    pub stranded: Vec<String>,
    /// The guests that may still be stuck in this order if the scheduler gives their places to others; empty if no
    /// choice of it leaves a guest stuck.
    pub order_may_strand: Vec<String>,
    /// Further assumptions of the order, a line each.
    pub order_assumes: Vec<String>,
    /// If no order was found because the search was given up, the number of steps; else `None`.
    pub order_tries: Option<usize>,
    /// Facts about the guests' targets and evictions that are not known or not judged, a line each.
    pub not_known: Vec<String>,
    /// The guests to be migrated for which libvirt gave no answer; `None` if libvirt was not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub libvirt: Option<Unanswered>,
    /// Number of migrations that run at a time.
    #[serde(skip)]
    pub parallel: Parallel,
    /// Whether the dump shows that it may hold not all guests of these nodes.
    #[serde(skip)]
    pub misses_guests: bool,
}

impl DrainReport {
    /// Returns the rows of the guests that no order was found for and that stay where they are; `None` if another guest
    /// is among those that no order was found for.
    pub(crate) fn only_staying_in_the_way(&self) -> Option<Vec<&GuestRow>> {
        let rows = self.nodes.iter().flat_map(|node| &node.guests).filter(|guest| guest.state == State::Stays);
        let staying: HashMap<&str, &GuestRow> = rows.map(|guest| (guest.guest.as_str(), guest)).collect();
        self.stranded.iter().map(|guest| staying.get(guest.as_str()).copied()).collect()
    }

    /// Whether a guest is stuck, or would be shut down (also later, when a budget allows it, or by preemption), or
    /// is stuck in every order.
    pub(crate) fn has_failed(&self) -> bool {
        let fails = |guest: &GuestRow| {
            matches!(guest.state, State::Stuck | State::ShutDown)
                || guest.stays_until == Some(StaysUntil::Budget)
                || !guest.preempts.is_empty()
        };
        self.only_staying_in_the_way().is_none() || self.nodes.iter().flat_map(|node| &node.guests).any(fails)
    }
}

/// Returns the effect of draining each of these nodes alone; and, with `in_turn`, an order for them.
///
/// `progress` is called with the number of nodes judged so far and the total, then with the steps of each search, for
/// the least to do and for an order, and their limit.
#[must_use]
pub fn drain(world: &World, nodes: &[NodeIndex], in_turn: bool, progress: &dyn Fn(usize, usize)) -> DrainReport {
    drain_within(world, nodes, in_turn, None, progress)
}

/// Returns the same, with at most `placements` of one group of competing guests followed, if that is given.
fn drain_within(
    world: &World,
    nodes: &[NodeIndex],
    in_turn: bool,
    placements: Option<usize>,
    progress: &dyn Fn(usize, usize),
) -> DrainReport {
    // A drain waits for active migrations: it is judged by where they end.
    let (now, landed) = (world, landed(world));
    let world = landed.as_ref().unwrap_or(now);
    let fleet = &world.cluster.fleet;
    let mut residents = Residents::of(world);
    residents.max_placements = placements.unwrap_or(residents.max_placements);
    let residents = residents;
    let kinds = DemandClasses::of(world);
    let guests = by_node(world);
    let movers_of = |&node: &NodeIndex| {
        let here = guests.get(fleet.name(node)).into_iter().flatten();
        let mut evicted_guests: Vec<EvictedGuest<'_>> =
            here.map(|vmi| EvictedGuest::of(&kinds, vmi, node).on_its_way(now)).collect();
        budgets::share(world, &residents, &mut evicted_guests);
        (node, evicted_guests)
    };
    let leaving = landed.as_ref().map(|landed| evicted::leaving(now, landed)).unwrap_or_default();
    let mut turns: Vec<(NodeIndex, Vec<EvictedGuest<'_>>)> = nodes.iter().map(movers_of).collect();
    rules::keep(&residents, fleet, &mut turns);
    let mut rows = Vec::new();
    let mut trouble: Vec<Trouble<'_, '_>> = Vec::new();
    let mut returning: Vec<Returning<'_>> = Vec::new();
    for (at, (node, evicted_guests)) in turns.iter().enumerate() {
        progress(at, turns.len());
        let fellows = Fellows::of(&residents, &evicted_guests.iter().collect::<Vec<_>>());
        let mut forecast = forecast::of(world, &residents, evicted_guests, &fellows);
        forecast::name(&residents, evicted_guests, &mut forecast);
        let row =
            |(evicted, outcome): (&EvictedGuest<'_>, &outcome::GuestOutcome)| evicted.row(world, &residents, outcome);
        let mut guests: Vec<GuestRow> = evicted_guests.iter().zip(&forecast.outcomes).map(row).collect();
        guests.extend(leaving.get(node).into_iter().flatten().cloned());
        guests.sort_by(|one, other| {
            (one.state, one.targets.len(), &one.guest).cmp(&(other.state, other.targets.len(), &other.guest))
        });
        returning.extend(forecast.returning.iter().map(|(at, are_followed)| Returning {
            title: &evicted_guests[*at].title,
            restarts: Restarts::of(world, evicted_guests[*at].vmi),
            are_followed: *are_followed,
        }));
        rows.push(DrainedNode { node: fleet.name(*node).to_owned(), guests, is_count_sure: forecast.is_count_sure });
        if forecast.has_stuck() {
            trouble.push(Trouble { evicted_guests, forecast, fellows });
        }
    }
    progress(turns.len(), turns.len());
    let moving = turns
        .iter()
        .flat_map(|(_, evicted_guests)| evicted_guests)
        .filter(|evicted| evicted.effect == EvictionEffect::Moves);
    let libvirt = Unanswered::of(world, moving.map(|evicted| evicted.vmi), &|_| ask_again(now, nodes));
    let mut not_known = NotKnown { world, residents: &residents, turns: &turns, rows: &rows, returning }.lines();
    not_known.extend(libvirt.iter().flat_map(Unanswered::lines));
    let missing = missing(now, nodes).lines();
    let misses_guests = !missing.is_empty();
    not_known.extend(missing);
    let Least {
        steps,
        proof: least_is,
        is_sure: is_least_sure,
        may_fail: least_may_fail,
        stuck,
        not_freed,
        in_the_way,
        tried,
        looks: to_look_at,
        ..
    } = least::least(world, &residents, &trouble, turns.len() > 1, progress);
    let (least_to_do, least_for_others) =
        if stuck.is_empty() { (Some(steps), None) } else { (None, Some(ForOthers { acts: steps, stuck })) };
    let order = in_turn.then(|| order::of(world, &residents, &turns, progress));
    let parallel = Parallel::of(&world.cluster);
    let mut drained = DrainReport {
        nodes: rows,
        least_to_do,
        least_for_others,
        least_is,
        is_least_sure,
        least_may_fail,
        not_freed,
        in_the_way,
        tried,
        to_look_at,
        order: None,
        stranded: Vec::new(),
        order_may_strand: Vec::new(),
        order_assumes: Vec::new(),
        order_tries: None,
        not_known,
        libvirt,
        parallel,
        misses_guests,
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

/// Returns the guests that have not ended, by the node that they are on.
fn by_node(world: &World) -> HashMap<&str, Vec<&Vmi>> {
    let mut out: HashMap<&str, Vec<&Vmi>> = HashMap::new();
    for vmi in world.cluster.vmis().filter(|vmi| !migration::has_ended(vmi)) {
        out.entry(vmi.status.node_name.as_str()).or_default().push(vmi);
    }
    out
}

/// Returns the guests that a dump lacks and that may run on these nodes.
pub(crate) fn missing(world: &World, nodes: &[NodeIndex]) -> MissingGuests {
    let (cluster, drained) = (&world.cluster, nodes.iter().copied().collect::<BTreeSet<NodeIndex>>());
    // By guest, whether one of its launchers is on these nodes.
    let mut here: HashMap<(&str, &str), bool> = HashMap::new();
    for pod in cluster.launchers() {
        let is_here = cluster.fleet.find(&pod.node).is_some_and(|node| drained.contains(&node));
        *here.entry((&pod.namespace, &pod.guest)).or_default() |= is_here;
    }
    MissingGuests::of(cluster, &|namespace, name| *here.get(&(namespace, name)).unwrap_or(&true))
}

/// Returns the world once all active migrations have ended; `None` if there are none.
fn landed(world: &World) -> Option<World> {
    let cluster = active_migration::landed(&world.cluster)?;
    Some(World { cluster, policies: world.policies.clone() })
}

/// Returns the guests that a drain of these nodes moves: the guests there, and those on their way there.
pub(crate) fn guests_of<'w>(world: &'w World, nodes: &[NodeIndex]) -> impl Iterator<Item = &'w Vmi> {
    let nodes: BTreeSet<NodeIndex> = nodes.iter().copied().collect();
    let cluster = &world.cluster;
    cluster.vmis().filter(move |vmi| {
        let node = active_migration::target(vmi, cluster).map_or(vmi.status.node_name.as_str(), |pod| &pod.node);
        cluster.fleet.find(node).is_some_and(|node| nodes.contains(&node))
    })
}

/// Returns the command that drains these nodes again, and asks libvirt.
fn ask_again(world: &World, nodes: &[NodeIndex]) -> Result<Command, Invalid> {
    let fleet = &world.cluster.fleet;
    let drain = Command::kubectl(["cpufit", "drain"]);
    if nodes.len() > 1 && nodes.len() == fleet.len() {
        return Ok(drain.args(["--all", "--ask-libvirt"]));
    }
    let names = nodes.iter().map(|node| Name::new(fleet.name(*node))).collect::<Result<Vec<_>, _>>()?;
    Ok(drain.args(names).args(["--ask-libvirt"]))
}

#[cfg(test)]
mod tests;
