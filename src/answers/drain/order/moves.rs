//! The guests that move when nodes are drained in turn: the places of each, and the guests that may block it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use super::super::anti_affinity::Residents;
use super::super::evicted::{EvictedGuest, EvictionEffect};
use super::super::space::SizeIndex;
use super::NodeDrain;
use super::places::NodesBefore;
use crate::fit::bits::Bits;
use crate::fit::fleet::NodeIndex;
use crate::fit::label::Family;
use crate::fit::subject::Stage;
use crate::kubevirt::cluster::Cluster;
use crate::kubevirt::release::Release;
use crate::kubevirt::wire::Vmi;
use crate::world::World;

/// A guest that moves.
pub(super) struct MovingGuest<'b> {
    pub title: &'b str,
    pub vmi: &'b Vmi,
    /// The node it is on at first.
    pub source: NodeIndex,
    pub places: Rc<NodesBefore>,
    pub size: Option<SizeIndex>,
    /// The nodes that guests that are shut down close to it until their node is drained, by that node.
    pub until: Vec<(NodeIndex, Bits)>,
    /// Whether its own launcher closes more nodes to it than its own.
    pub closes_own: bool,
    /// The guests that close nodes to it, or to which it closes nodes.
    pub mates: Vec<usize>,
    /// Whether its next migration may be left with other nodes than this one: see [`Copied::leaves_unsettled`].
    pub is_unsettled: bool,
}

impl MovingGuest<'_> {
    /// Returns the nodes that it may ever be on.
    pub(super) fn reach(&self) -> Bits {
        let mut out = self.places.now.clone();
        out.union(&self.places.later);
        out.insert(self.source);
        out
    }
}

/// All guests that move, and the room of the nodes without them.
pub(super) struct Moves<'b, 'w> {
    pub residents: &'b Residents<'w>,
    pub guests: Vec<MovingGuest<'b>>,
    /// The nodes that are drained.
    pub turns: Bits,
    /// By [`Space::yields_to`], node and resource, the amount free without any of the guests; `i64::MAX` if not known.
    ///
    /// [`Space::yields_to`]: super::super::space::Space::yields_to
    pub free: BTreeMap<i64, Rc<Vec<i64>>>,
    /// The guests that are shut down or end: their node, which frees their room when it is drained, and their size.
    pub ended: Vec<(NodeIndex, SizeIndex)>,
    /// By size, the nodes without room for all guests that may go there.
    contested: HashMap<SizeIndex, Bits>,
    kinds: Vec<SizeGroup>,
    /// Results of [`Moves::closed_by_room`], by size and places.
    filled: RefCell<Filled>,
}

type Filled = HashMap<(Option<SizeIndex>, *const NodesBefore), Rc<(Bits, u128)>>;

/// Guests of one size that may be on the same nodes.
struct SizeGroup {
    size: SizeIndex,
    reach: Bits,
    count: usize,
}

impl<'b, 'w> Moves<'b, 'w> {
    /// Collects the guests of these nodes that move, with the places that their labels allow.
    pub(super) fn of(
        residents: &'b Residents<'w>,
        turns: &'b [NodeDrain<'w>],
        places: &[Rc<NodesBefore>],
        world: &World,
    ) -> Self {
        let fleet = &world.cluster.fleet;
        let evicted_guests = || turns.iter().flat_map(|(_, evicted_guests)| evicted_guests);
        let moving: Vec<&EvictedGuest<'w>> =
            evicted_guests().filter(|evicted| evicted.effect == EvictionEffect::Moves).collect();
        let ended: Vec<&EvictedGuest<'w>> = evicted_guests().filter(|evicted| evicted.is_gone()).collect();
        let mut drained = Bits::none(fleet.len());
        for (node, _) in turns {
            drained.insert(*node);
        }
        let mut board = Self {
            residents,
            guests: Vec::new(),
            turns: drained,
            free: BTreeMap::new(),
            ended: ended.iter().filter_map(|evicted| Some((evicted.source, residents.size(evicted.vmi)?))).collect(),
            contested: HashMap::new(),
            kinds: Vec::new(),
            filled: RefCell::default(),
        };
        let leave: Vec<&Vmi> = moving.iter().chain(&ended).map(|evicted| evicted.vmi).collect();
        let off = residents.kept_off_by_others(&leave);
        let mut near = residents.near(&leave);
        let copied = Copied::of(&world.cluster);
        for (at, (evicted, places)) in moving.iter().zip(places).enumerate() {
            let mut places = Rc::clone(places);
            if let Some(off) = off.get(&at).filter(|off| !off.is_empty()) {
                places = Rc::new(places.without(off));
            }
            let (mates, until): (Vec<usize>, Vec<usize>) =
                std::mem::take(&mut near[at]).into_iter().partition(|&other| other < moving.len());
            let until = until.into_iter().map(|other| ended[other - moving.len()]);
            let until =
                until.map(|other| (other.source, residents.closes(evicted.vmi, other.vmi, other.source))).collect();
            board.guests.push(MovingGuest {
                title: &evicted.title,
                vmi: evicted.vmi,
                source: evicted.source,
                places,
                size: residents.size(evicted.vmi),
                until,
                closes_own: residents.closes_beyond_its_node(evicted.vmi),
                mates,
                is_unsettled: copied.leaves_unsettled(evicted),
            });
        }
        board.count_room();
        board
    }

    /// Subtracts the guests from the nodes' used room, and finds the nodes without room for all of them.
    fn count_room(&mut self) {
        let space = self.residents.space();
        let mut kinds: HashMap<(SizeIndex, Bits), usize> = HashMap::new();
        for guest in &self.guests {
            if let Some(size) = guest.size {
                *kinds.entry((size, guest.reach())).or_default() += 1;
            }
        }
        self.kinds = kinds.into_iter().map(|((size, reach), count)| SizeGroup { size, reach, count }).collect();
        let sizes: BTreeSet<SizeIndex> = self.kinds.iter().map(|kind| kind.size).collect();
        let like: BTreeMap<i64, SizeIndex> = sizes.iter().map(|&size| (space.yields_to(size), size)).collect();
        let width = space.width();
        for (least, like) in like {
            let mut free = space.free(like).to_vec();
            let counts = |size: &SizeIndex| space.priority(*size) >= least;
            for guest in &self.guests {
                let Some(size) = guest.size.filter(counts) else { continue };
                add(&mut free[guest.source * width..], space.asked(size), 1);
            }
            let mut wanted = vec![0_i64; free.len()];
            for kind in self.kinds.iter().filter(|kind| counts(&kind.size)) {
                let times = i64::try_from(kind.count).unwrap_or(i64::MAX);
                for node in kind.reach.iter() {
                    add(&mut wanted[node * width..], space.asked(kind.size), times);
                }
            }
            for &size in sizes.iter().filter(|size| space.yields_to(**size) == least) {
                let asked = space.asked(size);
                let lacks = |node: &NodeIndex| {
                    let start = node * width;
                    (0..width).any(|at| {
                        asked[at] > 0 && free[start + at] != i64::MAX && wanted[start + at] > free[start + at]
                    })
                };
                let mut nodes = Bits::none(self.turns.len());
                (0..self.turns.len()).filter(lacks).for_each(|node| nodes.insert(node));
                self.contested.insert(size, nodes);
            }
            self.free.insert(least, Rc::new(free));
        }
    }

    /// Returns the nodes that a guest may be on and that lack room for all guests that may go there.
    fn contested(&self, guest: usize) -> Bits {
        let none = || Bits::none(self.turns.len());
        let Some(size) = self.guests[guest].size else { return none() };
        let mut out = self.contested.get(&size).cloned().unwrap_or_else(none);
        out.intersect(&self.guests[guest].reach());
        out
    }

    /// Whether only labels ever exclude a guest from a node; it may still block others.
    fn is_alone(&self, at: usize) -> bool {
        let guest = &self.guests[at];
        guest.until.is_empty() && !guest.closes_own && guest.mates.is_empty() && self.contested(at).is_empty()
    }

    /// Returns the guests whose next migration may ask for other labels than this one: see
    /// [`Copied::leaves_unsettled`].
    pub(super) fn unsettled(&self) -> BTreeSet<usize> {
        (0..self.guests.len()).filter(|&guest| self.guests[guest].is_unsettled).collect()
    }

    /// Iterates over the names of guests.
    pub(super) fn names(&self, guests: &BTreeSet<usize>) -> impl Iterator<Item = String> {
        guests.iter().map(|&guest| self.guests[guest].title.to_owned())
    }

    /// Returns the groups of guests that may block each other, directly or indirectly. A guest in no group is excluded
    /// from nodes by labels only.
    pub(super) fn groups(&self) -> Vec<Vec<usize>> {
        let count = self.guests.len();
        let mut sets = Sets((0..count + self.turns.len()).collect());
        let mut crowded = Bits::none(self.turns.len());
        self.contested.values().for_each(|nodes| crowded.union(nodes));
        let mut first: HashMap<(Option<SizeIndex>, Bits), usize> = HashMap::new();
        for (at, guest) in self.guests.iter().enumerate() {
            for &mate in &guest.mates {
                sets.join(at, mate);
            }
            if guest.size.is_none() {
                continue;
            }
            let mut shared = guest.reach();
            shared.intersect(&crowded);
            if shared.is_empty() {
                continue;
            }
            let like = *first.entry((guest.size, shared.clone())).or_insert(at);
            if like == at {
                for node in shared.iter() {
                    sets.join(at, count + node);
                }
            } else {
                sets.join(at, like);
            }
        }
        let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for at in 0..count {
            groups.entry(sets.root(at)).or_default().push(at);
        }
        groups.into_values().filter(|group| group.iter().any(|&at| !self.is_alone(at))).collect()
    }

    /// Whether a guest always finds a node, wherever the others go: it has more nodes than all others together can
    /// close.
    pub(super) fn always_leaves(&self, at: usize) -> bool {
        let guest = &self.guests[at];
        let mut nodes = guest.places.now.clone();
        for (_, closed) in &guest.until {
            nodes.subtract(closed);
        }
        let mut closed: u128 = 0;
        if !self.contested(at).is_empty() {
            let filled = self.closed_by_room(at, &nodes);
            nodes.clone_from(&filled.0);
            closed = filled.1;
        }
        if self.residents.is_by_host() {
            closed += guest.mates.len() as u128;
        }
        for &mate in guest.mates.iter().filter(|_| !self.residents.is_by_host()) {
            let other = &self.guests[mate];
            let most = other
                .reach()
                .iter()
                .map(|place| self.residents.closes(guest.vmi, other.vmi, place).count_common(&nodes))
                .max();
            closed += most.unwrap_or(0) as u128;
        }
        if !guest.closes_own {
            return nodes.count() as u128 > closed + 1;
        }
        let mut drained = guest.reach();
        drained.intersect(&self.turns);
        drained.iter().all(|node| {
            let mut left = nodes.clone();
            left.remove(node);
            left.subtract(&self.residents.closes(guest.vmi, guest.vmi, node));
            left.count() as u128 > closed
        })
    }

    /// Returns the nodes of `nodes` that have room for the guest without any other guest, and how many of them the
    /// others can fill.
    fn closed_by_room(&self, at: usize, nodes: &Bits) -> Rc<(Bits, u128)> {
        let guest = &self.guests[at];
        // Guests of one demand class share one set of places, with one address.
        let key = (guest.size, Rc::as_ptr(&guest.places));
        let is_shared = guest.until.is_empty();
        if let Some(known) = self.filled.borrow().get(&key).filter(|_| is_shared) {
            return Rc::clone(known);
        }
        let found = Rc::new(self.filled_by_others(at, nodes));
        if is_shared {
            self.filled.borrow_mut().insert(key, Rc::clone(&found));
        }
        found
    }

    fn filled_by_others(&self, at: usize, nodes: &Bits) -> (Bits, u128) {
        /// Number of parts of a node in which amounts are counted, rounded up.
        const PARTS: i128 = 1 << 20;
        let space = self.residents.space();
        let Some(size) = self.guests[at].size else { return (nodes.clone(), 0) };
        let (from, asked, width) = (space.yields_to(size), space.asked(size), space.width());
        let Some(free) = self.free.get(&from) else { return (nodes.clone(), 0) };
        let (mut open, mut least) = (nodes.clone(), vec![i64::MAX; width]);
        for node in nodes.iter() {
            // The amount of a resource that must be taken before the guest has no room; `None` if not known.
            let fills = |at: usize| {
                let free = free[node * width + at];
                (asked[at] > 0 && free != i64::MAX).then(|| free.saturating_sub(asked[at]).saturating_add(1))
            };
            if (0..width).filter_map(fills).any(|amount| amount <= 0) {
                open.remove(node);
                continue;
            }
            for (at, least) in least.iter_mut().enumerate() {
                *least = fills(at).map_or(*least, |amount| amount.min(*least));
            }
        }
        let share = |of: SizeIndex| {
            let parts = |(asked, &least): (&i64, &i64)| {
                if least == i64::MAX {
                    0
                } else {
                    (i128::from(*asked) * PARTS + i128::from(least) - 1) / i128::from(least)
                }
            };
            space.asked(of).iter().zip(&least).map(parts).max().unwrap_or(0)
        };
        let others = self.kinds.iter().filter(|kind| space.priority(kind.size) >= from && kind.reach.meets(&open));
        let all: i128 = others.map(|kind| share(kind.size) * kind.count as i128).sum();
        // If no open node takes it, it may not be counted among the others itself.
        let own = if self.guests[at].places.now.meets(&open) { share(size) } else { 0 };
        (open, u128::try_from((all - own) / PARTS).unwrap_or(0))
    }
}

/// The nodes with labels that a migration copies, by kind.
struct Copied {
    models: Bits,
    vendors: Bits,
    release: Release,
}

impl Copied {
    fn of(cluster: &Cluster) -> Self {
        let fleet = &cluster.fleet;
        let bearers = |families: &[Family]| {
            let mut out = Bits::none(fleet.len());
            for family in families {
                fleet.bearers(*family).values().for_each(|nodes| out.union(nodes));
            }
            out
        };
        Self {
            models: bearers(&[Family::HostModelCpu, Family::CpuModelMigration]),
            vendors: bearers(&[Family::CpuVendor]),
            release: cluster.release.release(),
        }
    }

    /// Whether a guest's next migration may ask for labels of the node to which this one goes: this one copies no CPU
    /// model, because no label of its node names that, or no CPU vendor, or any one of several.
    fn leaves_unsettled(&self, evicted: &EvictedGuest<'_>) -> bool {
        let Some(subject) = evicted.asks() else { return false };
        let Stage::Migration(migration) = &subject.stage else { return false };
        let asks_vendor = || subject.placement.selector.iter().any(|(key, _)| Family::of(key) == Family::CpuVendor);
        let copies_vendor = || self.release.selects_vendor() && self.vendors.meets(&evicted.fitting);
        migration.vendors.len() > 1
            || (migration.overlooked && self.models.meets(&evicted.fitting))
            || (!asks_vendor() && copies_vendor())
    }
}

/// Adds `amounts` to `to`, `times` times; an unknown amount stays unknown.
pub(super) fn add(to: &mut [i64], amounts: &[i64], times: i64) {
    for (known, amount) in to.iter_mut().zip(amounts).filter(|(known, _)| **known != i64::MAX) {
        *known = known.saturating_add(amount.saturating_mul(times));
    }
}

/// A union-find structure.
struct Sets(Vec<usize>);

impl Sets {
    fn root(&mut self, mut at: usize) -> usize {
        while self.0[at] != at {
            self.0[at] = self.0[self.0[at]];
            at = self.0[at];
        }
        at
    }

    fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.root(one), self.root(other));
        self.0[one] = other;
    }
}
