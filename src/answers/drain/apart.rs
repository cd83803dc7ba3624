//! Which guests and other pods keep a guest off a node: required pod anti-affinity, both ways.
//!
//! Mirrors the scheduler's plugin `InterPodAffinity` (`satisfyPodAntiAffinity`, `satisfyExistingPodsAntiAffinity`), for the
//! anti-affinity that KubeVirt copies from a guest to its launcher, and that of pods that are no guest's. These stay where they are:
//! where those of a drained node go is not known.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use super::space::{SizeIndex, Space};
use crate::fit::bits::Bits;
use crate::fit::fleet::{Fleet, NodeIndex};
use crate::fit::label;
use crate::kubevirt::apart::{Term, launcher_label};
use crate::kubevirt::cluster::Cluster;
use crate::kubevirt::migration;
use crate::kubevirt::room::OtherPod;
use crate::kubevirt::wire::Vmi;
use crate::world::World;

/// A pod on a node: its terms, and what the terms of others select it by.
#[derive(Clone, Copy, Debug)]
struct Side<'s> {
    terms: &'s [Term],
    namespace: &'s str,
    of: Of<'s>,
}

/// Whose labels a pod has.
#[derive(Clone, Copy, Debug)]
enum Of<'s> {
    Guest(&'s Vmi),
    Other(&'s BTreeMap<String, String>),
}

impl<'s> Side<'s> {
    fn label(self, key: &str) -> Option<&'s str> {
        match self.of {
            Of::Guest(vmi) => launcher_label(vmi, key),
            Of::Other(labels) => labels.get(key).map(String::as_str),
        }
    }
}

/// A pod that is no guest's.
#[derive(Clone, Debug)]
struct Other<'w> {
    pod: &'w OtherPod,
    node: NodeIndex,
    terms: Vec<Term>,
}

impl Other<'_> {
    fn side(&self) -> Side<'_> {
        let OtherPod { namespace, labels, .. } = self.pod;
        Side { terms: &self.terms, namespace, of: Of::Other(labels) }
    }
}

/// A guest as other guests' terms see it.
#[derive(Clone, Debug)]
pub(super) struct Resident<'w> {
    pub vmi: &'w Vmi,
    pub node: Option<NodeIndex>,
    pub terms: Vec<Term>,
}

impl Resident<'_> {
    fn side(&self) -> Side<'_> {
        Side { terms: &self.terms, namespace: &self.vmi.metadata.namespace, of: Of::Guest(self.vmi) }
    }
}

/// All guests that run, with their terms, and the other pods on the nodes.
#[derive(Clone, Debug)]
pub(super) struct Residents<'w> {
    cluster: &'w Cluster,
    all: Vec<Resident<'w>>,
    /// Those that have terms.
    with_terms: Vec<usize>,
    /// The pods that are no guest's; those with terms come first.
    others: Rc<Vec<Other<'w>>>,
    /// So many of these have terms.
    others_with_terms: usize,
    /// By the guest's address, its place in `all`.
    places: HashMap<*const Vmi, usize>,
    /// The size of each of `all`; `None` where it is not known what it asks for.
    sizes: Rc<Vec<Option<SizeIndex>>>,
    space: Space<'w>,
}

impl<'w> Residents<'w> {
    pub(super) fn of(world: &'w World) -> Self {
        let cluster = &world.cluster;
        let running = cluster.vmis().filter(|vmi| migration::runs(vmi));
        let resident =
            |vmi: &'w Vmi| Resident { vmi, node: cluster.fleet.find(&vmi.status.node_name), terms: Term::all_of(vmi) };
        let all: Vec<Resident<'w>> = running.map(resident).collect();
        let with_terms = (0..all.len()).filter(|&at| !all[at].terms.is_empty()).collect();
        let places = all.iter().enumerate().map(|(at, resident)| (std::ptr::from_ref(resident.vmi), at)).collect();
        let needs: Vec<_> = all.iter().map(|resident| cluster.room.need(resident.vmi)).collect();
        let (space, sizes) = Space::of(cluster, &needs);
        let other = |pod: &'w OtherPod| {
            Some(Other { pod, node: cluster.fleet.find(&pod.node)?, terms: Term::all(&pod.apart_from, &pod.labels) })
        };
        let (mut others, without): (Vec<_>, Vec<_>) =
            cluster.room.others().iter().filter_map(other).partition(|other| !other.terms.is_empty());
        let others_with_terms = others.len();
        others.extend(without);
        let others = Rc::new(others);
        Self { cluster, all, with_terms, others, others_with_terms, places, sizes: Rc::new(sizes), space }
    }

    /// Whether labels alone decide: nobody keeps a guest off a node, and no node's room is known.
    pub(super) fn is_free(&self) -> bool {
        self.with_terms.is_empty() && self.others_with_terms == 0 && self.cluster.room.is_empty()
    }

    /// Moves a guest to a node.
    pub(super) fn put(&mut self, vmi: &Vmi, node: NodeIndex) {
        let Some(&at) = self.places.get(&std::ptr::from_ref(vmi)) else { return };
        let before = self.all[at].node.replace(node);
        if let Some(size) = self.sizes[at] {
            self.space.put(size, before, node);
        }
    }

    /// A guest that is shut down keeps nobody off any more. Where it starts again is not known, so its room is not counted as free.
    pub(super) fn end(&mut self, vmi: &Vmi) {
        if let Some(&at) = self.places.get(&std::ptr::from_ref(vmi)) {
            self.all[at].node = None;
        }
    }

    /// The size of a guest; `None` where it is not known what it asks for, or it does not run.
    pub(super) fn size(&self, vmi: &Vmi) -> Option<SizeIndex> {
        self.places.get(&std::ptr::from_ref(vmi)).and_then(|&at| self.sizes[at])
    }

    /// How much room nodes have.
    pub(super) fn space(&self) -> &Space<'w> {
        &self.space
    }

    /// The nodes without room for a guest; `None` where what it asks for is not known.
    pub(super) fn full(&self, vmi: &Vmi) -> Option<Rc<Bits>> {
        self.size(vmi).map(|size| self.space.full(size))
    }

    fn find(&self, vmi: &Vmi) -> Option<&Resident<'w>> {
        self.places.get(&std::ptr::from_ref(vmi)).map(|&at| &self.all[at])
    }

    /// Whether other pods than guests are known.
    pub(super) fn knows_others(&self) -> bool {
        self.cluster.room.knows_others()
    }

    /// The nodes that other guests and pods keep this one off, the guests of `leaving` left aside. Its own launcher counts as well: it
    /// runs until its target does.
    pub(super) fn kept_off(&self, vmi: &Vmi, leaving: &[&Vmi]) -> Bits {
        let fleet = &self.cluster.fleet;
        let mut out = Bits::none(fleet.len());
        let Some(own) = self.find(vmi).filter(|_| !self.with_terms.is_empty() || self.others_with_terms > 0) else {
            return out;
        };
        let counts = |guest: &&Resident<'_>| {
            std::ptr::eq(guest.vmi, vmi) || !leaving.iter().any(|leaving| std::ptr::eq(*leaving, guest.vmi))
        };
        let mut close = |other: Side<'_>, node: NodeIndex| {
            self.domains(own.side(), other, node).iter().for_each(|domain| out.union(domain));
        };
        let (guests, others): (Box<dyn Iterator<Item = &Resident<'_>>>, _) = if own.terms.is_empty() {
            (Box::new(self.with_terms.iter().map(|&at| &self.all[at])), &self.others[..self.others_with_terms])
        } else {
            (Box::new(self.all.iter()), &self.others[..])
        };
        guests.filter(counts).filter_map(|guest| Some((guest, guest.node?))).for_each(|(it, at)| close(it.side(), at));
        for other in others {
            close(other.side(), other.node);
        }
        out
    }

    /// The nodes that one guest closes to another where it is on this node.
    pub(super) fn closes(&self, vmi: &Vmi, other: &Vmi, node: NodeIndex) -> Bits {
        let mut out = Bits::none(self.cluster.fleet.len());
        self.closed(vmi, other, node).iter().for_each(|domain| out.union(domain));
        out
    }

    /// Whether one guest closes a node to another where it is on this one.
    pub(super) fn closes_node(&self, vmi: &Vmi, other: &Vmi, at: NodeIndex, node: NodeIndex) -> bool {
        self.closed(vmi, other, at).iter().any(|domain| domain.contains(node))
    }

    fn closed(&self, vmi: &Vmi, other: &Vmi, node: NodeIndex) -> Vec<Bits> {
        match (self.find(vmi), self.find(other)) {
            (Some(own), Some(other)) => self.domains(own.side(), other.side(), node),
            _ => Vec::new(),
        }
    }

    /// Whether two guests keep off each other somewhere.
    pub(super) fn are_apart(&self, one: &Vmi, other: &Vmi) -> bool {
        let (Some(one), Some(other)) = (self.find(one), self.find(other)) else { return false };
        let (one, other) = (one.side(), other.side());
        one.terms.iter().any(|term| self.selects(term, one, other))
            || other.terms.iter().any(|term| self.selects(term, other, one))
    }

    fn domains(&self, own: Side<'_>, other: Side<'_>, node: NodeIndex) -> Vec<Bits> {
        let mine = own.terms.iter().filter(|term| self.selects(term, own, other));
        let its = other.terms.iter().filter(|term| self.selects(term, other, own));
        mine.chain(its).map(|term| domain(&self.cluster.fleet, &term.topology_key, node)).collect()
    }

    /// Whether a term of a pod speaks of another one. Mirrors `AffinityTerm.Matches`.
    fn selects(&self, term: &Term, of: Side<'_>, other: Side<'_>) -> bool {
        let namespace = other.namespace;
        term.reaches(of.namespace, namespace, self.cluster.namespace(namespace)) && term.selects(|key| other.label(key))
    }
}

/// The nodes that share a node's value of a topology key; none where the node has no such label.
fn domain(fleet: &Fleet, key: &str, node: NodeIndex) -> Bits {
    if let Some(value) = fleet.label(node, key) {
        return fleet.bearing(key, value);
    }
    let mut alone = Bits::none(fleet.len());
    // A dump may have been cut down to the labels of CPUs.
    if key == label::HOSTNAME {
        alone.insert(node);
    }
    alone
}
