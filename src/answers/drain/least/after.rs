//! The nodes that guests can go to after acts. The search judges the same act in many sets, so that each node after
//! each act, each guest after its own, and whether the one takes the other, is computed once, for many nodes together.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use super::super::acts::{DrainAct, GuestKey};
use super::super::evicted::{EvictedGuest, EvictionEffect};
use super::super::forecast::Trouble;
use super::super::outcome::Destinations;
use super::super::work;
use crate::fit::assess::targets_by_start;
use crate::fit::bits::Bits;
use crate::fit::fleet::{Fleet, NodeIndex};
use crate::fit::node::Node;
use crate::fit::subject::{Stage, Subject};
use crate::world::World;

/// Guests and nodes after acts.
pub(super) struct AfterActs<'p, 'w> {
    world: &'p World,
    nodes: &'p [Trouble<'p, 'w>],
    acts: &'p [DrainAct],
    /// By act, the nodes that it changes.
    changes: Vec<Vec<NodeIndex>>,
    versions: RefCell<Versions>,
    /// The guests, each with the acts that change it.
    guests: RefCell<HashMap<GuestAndActs, Rc<GuestAfter>>>,
}

/// A guest, and the acts that change it.
type GuestAndActs = (GuestKey, Vec<usize>);

/// Nodes after acts.
#[derive(Default)]
struct Versions {
    /// The index in `fleets` and the one in that fleet, by node and the acts that change it.
    known: HashMap<(NodeIndex, Vec<usize>), Version>,
    fleets: Vec<Rc<Fleet>>,
}

/// The index of a fleet of [`Versions::fleets`], and that of a node in it.
type Version = (usize, NodeIndex);

/// The nodes that some acts change.
pub(super) struct Edited {
    /// Their indices in the fleet as it is.
    changed: Bits,
    /// Each of them, and it after the acts.
    versions: Vec<(NodeIndex, Version)>,
}

/// A guest after the acts that change it.
struct GuestAfter {
    /// `None` if no act changes it.
    subject: Option<Subject<'static>>,
    /// The nodes that take it, as they are.
    fits: Rc<Bits>,
    /// The nodes of each of [`Versions::fleets`] that take it; computed at first use.
    takes: RefCell<HashMap<usize, Bits>>,
}

impl<'p, 'w> AfterActs<'p, 'w> {
    pub(super) fn new(world: &'p World, nodes: &'p [Trouble<'p, 'w>], acts: &'p [DrainAct]) -> Self {
        let base = &world.cluster.fleet;
        let changes = |act: &DrainAct| act.nodes.iter().filter_map(|node| base.find(&node.name)).collect();
        let changes: Vec<Vec<NodeIndex>> = acts.iter().map(changes).collect();
        // Acts on different nodes are judged together.
        let mut layers: Vec<Vec<usize>> = Vec::new();
        let mut next = vec![0; base.len()];
        for (act, nodes) in changes.iter().enumerate().filter(|(_, nodes)| !nodes.is_empty()) {
            let layer = nodes.iter().map(|&node| next[node]).max().unwrap_or(0);
            for &node in nodes {
                next[node] = layer + 1;
            }
            layers.resize(layers.len().max(layer + 1), Vec::new());
            layers[layer].push(act);
        }
        let out = Self { world, nodes, acts, changes, versions: RefCell::default(), guests: RefCell::default() };
        for layer in layers {
            out.edit(&layer);
        }
        out
    }

    fn evicted(&self, (node, at): GuestKey) -> &'p EvictedGuest<'w> {
        &self.nodes[node].evicted_guests[at]
    }

    /// Returns the nodes that an act changes.
    pub(super) fn changes(&self, act: usize) -> &[NodeIndex] {
        &self.changes[act]
    }

    /// Returns the nodes after these acts, in this order.
    pub(super) fn edit(&self, set: &[usize]) -> Edited {
        let mut of_nodes: BTreeMap<NodeIndex, Vec<usize>> = BTreeMap::new();
        for &act in set {
            self.changes[act].iter().for_each(|&node| of_nodes.entry(node).or_default().push(act));
        }
        let mut changed = Bits::none(self.world.cluster.fleet.len());
        for &node in of_nodes.keys() {
            changed.insert(node);
        }
        let of_nodes: Vec<(NodeIndex, Vec<usize>)> = of_nodes.into_iter().collect();
        let Versions { known, fleets } = &mut *self.versions.borrow_mut();
        let new: Vec<&(NodeIndex, Vec<usize>)> =
            of_nodes.iter().filter(|version| !known.contains_key(*version)).collect();
        if !new.is_empty() {
            let fleet = Fleet::new(new.iter().filter_map(|(node, acts)| self.after(*node, acts)).collect());
            for version in new {
                let at = fleet.find(self.world.cluster.fleet.name(version.0));
                known.extend(at.map(|at| (version.clone(), (fleets.len(), at))));
            }
            fleets.push(Rc::new(fleet));
        }
        let versions = of_nodes.iter().filter_map(|version| Some((version.0, *known.get(version)?)));
        Edited { changed, versions: versions.collect() }
    }

    /// Returns a node after acts that change it.
    fn after(&self, node: NodeIndex, acts: &[usize]) -> Option<Node> {
        let base = &self.world.cluster.fleet;
        let name = base.name(node);
        let mut after = acts.iter().filter_map(|&act| self.acts[act].nodes.iter().find(|node| node.name == name));
        let mut merged = after.next()?.clone();
        for after in after {
            merge(&mut merged, &base.node(node), after);
        }
        Some(merged)
    }

    /// Returns a guest after those of these acts that change it.
    fn guest(&self, key: GuestKey, set: &[usize]) -> Option<Rc<GuestAfter>> {
        let evicted = self.evicted(key);
        let prepared = evicted.prepared(self.world)?;
        let own: Vec<usize> = set.iter().copied().filter(|&act| self.acts[act].guests.contains(&key)).collect();
        let mut guests = self.guests.borrow_mut();
        let after = guests.entry((key, own)).or_insert_with_key(|(_, own)| {
            let base = &self.world.cluster.fleet;
            let apply = |subject: Option<Subject<'static>>, &act: &usize| {
                Some(self.acts[act].action.apply(subject.as_ref().unwrap_or(&prepared.subject), base).0)
            };
            let subject = own.iter().fold(None, apply);
            let fits = subject.as_ref().map_or_else(|| Rc::clone(&evicted.fits), |it| Rc::new(it.fitting(base)));
            Rc::new(GuestAfter { subject, fits, takes: RefCell::default() })
        });
        Some(Rc::clone(after))
    }

    /// Whether a changed node takes a guest.
    fn takes(&self, subject: &Subject<'_>, after: &GuestAfter, (fleet, node): Version) -> bool {
        let fits = || subject.fitting(&self.versions.borrow().fleets[fleet]);
        after.takes.borrow_mut().entry(fleet).or_insert_with(fits).contains(node)
    }

    /// Whether a guest that these acts restart may start on its own node again, unless that is cordoned. A guest that
    /// tolerates the cordon may start there in any case.
    pub(super) fn may_start_where_it_is(&self, key: GuestKey, set: &[usize]) -> bool {
        let source = self.evicted(key).source;
        let Some(after) = self.guest(key, set) else { return false };
        let starts = |subject: &&Subject<'_>| matches!(subject.stage, Stage::Start(_));
        let Some(subject) = after.subject.as_ref().filter(starts).filter(|it| !it.placement.tolerates_cordon()) else {
            return false;
        };
        let edited = self.edit(set);
        match edited.versions.iter().find(|(node, _)| *node == source) {
            Some((_, version)) => self.takes(subject, &after, *version),
            None => after.fits.contains(source),
        }
    }

    /// Returns the nodes on which a guest that these acts restart may start and from which no node takes it then; none
    /// if labels do not predict that.
    pub(super) fn stuck_again(&self, key: GuestKey, set: &[usize]) -> Bits {
        let base = &self.world.cluster.fleet;
        let none = Bits::none(base.len());
        let Some(after) = self.guest(key, set).filter(|_| self.evicted(key).effect == EvictionEffect::Moves) else {
            return none;
        };
        let Some(subject) = after.subject.as_ref() else { return none };
        let to = self.destinations(key, set, &self.edit(set));
        self.stranding(subject, &to.nodes, set).unwrap_or(none)
    }

    /// Returns those of `nodes` from which no node takes a guest that starts there; `None` if labels do not predict
    /// that.
    fn stranding(&self, subject: &Subject<'_>, nodes: &Bits, set: &[usize]) -> Option<Bits> {
        let Stage::Start(after_start) = subject.stage else { return None };
        if subject.asked.is_some() {
            return None;
        }
        let changed = self.fleet(set);
        let fleet = changed.as_ref().unwrap_or(&self.world.cluster.fleet);
        let mut by_count = targets_by_start(subject, &subject.placement, after_start, nodes, fleet);
        Some(by_count.remove(&0).unwrap_or_else(|| Bits::none(fleet.len())))
    }

    /// Returns all nodes after these acts; `None` if none of them changes a node.
    pub(super) fn fleet(&self, set: &[usize]) -> Option<Fleet> {
        let edited = self.edit(set);
        let fleets = &self.versions.borrow().fleets;
        let nodes: Vec<Node> = edited.versions.iter().map(|(_, (fleet, node))| fleets[*fleet].node(*node)).collect();
        (!nodes.is_empty()).then(|| self.world.cluster.fleet.with(nodes))
    }

    /// Returns the nodes of `fleet`, all nodes after these acts, that a guest fits on by labels when it migrates and
    /// whose libvirt refuses it.
    pub(super) fn refused(&self, key: GuestKey, set: &[usize], fleet: &Fleet) -> Bits {
        let evicted = self.evicted(key);
        let moves = evicted.effect == EvictionEffect::Moves;
        let (Some(prepared), Some(after)) = (evicted.prepared(self.world).filter(|_| moves), self.guest(key, set))
        else {
            return Bits::none(fleet.len());
        };
        let subject = after.subject.as_ref().unwrap_or(&prepared.subject);
        let refused = subject.refused_targets(fleet).filter(|_| matches!(subject.stage, Stage::Migration(_)));
        let mut refused = refused.unwrap_or_else(|| Bits::none(fleet.len()));
        evicted.keep_to_places(&mut refused);
        refused
    }

    /// Whether a guest that starts on its node again can leave it by migration, as far as labels predict that.
    fn leaves_after_start(&self, subject: &Subject<'_>, source: NodeIndex, set: &[usize]) -> bool {
        let mut there = Bits::none(self.world.cluster.fleet.len());
        there.insert(source);
        self.stranding(subject, &there, set).is_some_and(|stranding| stranding.is_empty())
    }

    /// Returns the nodes that a guest can go to after these acts: by migration, or by a new start.
    pub(super) fn destinations(&self, key: GuestKey, set: &[usize], edited: &Edited) -> Destinations {
        let base = &self.world.cluster.fleet;
        let evicted = self.evicted(key);
        let none = || Destinations::of_migration(Bits::none(base.len()));
        work::count(1);
        let (Some(prepared), Some(after)) = (evicted.prepared(self.world), self.guest(key, set)) else { return none() };
        let subject = after.subject.as_ref().unwrap_or(&prepared.subject);
        let moves = evicted.effect == EvictionEffect::Moves;
        // Changes of nodes on which its volumes cannot be used do not affect it.
        let is_near = || evicted.usable.as_ref().is_none_or(|usable| usable.meets(&edited.changed));
        if after.subject.is_none() && (edited.changed.is_empty() || !moves || !is_near()) {
            return Destinations::of_migration(evicted.fitting.clone());
        }
        let migrates = after.subject.is_none() || matches!(subject.stage, Stage::Migration(_));
        if migrates && !moves {
            return none();
        }
        let mut fitting = Bits::clone(&after.fits);
        fitting.subtract(&edited.changed);
        let taking = edited.versions.iter().filter(|(_, version)| self.takes(subject, &after, *version));
        taking.for_each(|(node, _)| fitting.insert(*node));
        // A drained node is cordoned: a guest that tolerates the cordon may start there again, and leaves by migration.
        let may_start_there = !migrates && fitting.contains(evicted.source) && subject.placement.tolerates_cordon();
        if may_start_there && !(moves && self.leaves_after_start(subject, evicted.source, set)) {
            return none();
        }
        fitting.remove(evicted.source);
        if migrates {
            evicted.keep_to_places(&mut fitting);
            return Destinations::of_migration(fitting);
        }
        subject.known_starts(&fitting, None, base).map_or_else(none, Destinations::of_restart)
    }
}

/// Merges into a node the change that another act made to the original node.
fn merge(node: &mut Node, before: &Node, after: &Node) {
    node.labels.retain(|key, _| after.labels.contains_key(key) || !before.labels.contains_key(key));
    for (key, value) in &after.labels {
        if before.labels.get(key) != Some(value) {
            node.labels.insert(key.clone(), value.clone());
        }
    }
    node.taints.retain(|taint| after.taints.contains(taint) || !before.taints.contains(taint));
    node.cordoned &= after.cordoned;
    if before.skip_node != after.skip_node {
        node.skip_node.clone_from(&after.skip_node);
    }
}
