//! Guests and other pods that exclude a guest from a node: required pod anti-affinity, in both directions.
//!
//! Mirrors the scheduler's plugin `InterPodAffinity` (`satisfyPodAntiAffinity`, `satisfyExistingPodsAntiAffinity` of
//! `pkg/scheduler/framework/plugins/interpodaffinity/filtering.go`, Kubernetes), for the anti-affinity that KubeVirt
//! copies from a guest to its launcher, and for that of pods that belong to no guest. The latter are assumed to stay in
//! place: where the pods of a drained node go is not known.

mod domains;
mod mates;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;

use domains::Domains;
pub(crate) use mates::Mates;

use super::space::{SizeIndex, Space};
use super::work;
use crate::fit::bits::Bits;
use crate::fit::fleet::NodeIndex;
use crate::fit::label;
use crate::kubevirt::cluster::Cluster;
use crate::kubevirt::migration;
use crate::kubevirt::pod_affinity::{PodAffinityTerm, SET_ON_LAUNCHERS, launcher_label};
use crate::kubevirt::release::Release;
use crate::kubevirt::room::OtherPod;
use crate::kubevirt::subject;
use crate::kubevirt::wire::Vmi;
use crate::world::World;

/// The name of a guest's own launcher among the pods that keep it off nodes.
pub(crate) const OWN_LAUNCHER: &str = "its own launcher";

/// A pod on a node: its terms, and the namespace and labels by which the terms of others select it.
#[derive(Clone, Copy, Debug)]
struct Side<'s> {
    terms: &'s [PodAffinityTerm],
    namespace: &'s str,
    of: Of<'s>,
}

/// The owner of a pod's labels.
#[derive(Clone, Copy, Debug)]
enum Of<'s> {
    Guest(&'s Vmi),
    Other(&'s BTreeMap<String, String>),
}

impl<'s> Side<'s> {
    /// Returns its labels as written.
    fn labels(self) -> &'s BTreeMap<String, String> {
        match self.of {
            Of::Guest(vmi) => &vmi.metadata.labels,
            Of::Other(labels) => labels,
        }
    }

    fn label(self, key: &str, release: Release) -> Option<&'s str> {
        match self.of {
            Of::Guest(vmi) => launcher_label(vmi, key, release),
            Of::Other(labels) => labels.get(key).map(String::as_str),
        }
    }
}

/// A pod that belongs to no guest.
#[derive(Clone, Debug)]
struct Other<'w> {
    pod: &'w OtherPod,
    node: NodeIndex,
    terms: Vec<PodAffinityTerm>,
}

impl Other<'_> {
    /// Returns the guest of a launcher, else `a pod of namespace shop on node-a`: a snapshot has no names of other
    /// pods.
    fn title(&self) -> String {
        let OtherPod { namespace, guest, node, .. } = self.pod;
        match guest {
            Some(guest) => format!("{namespace}/{guest}"),
            None => format!("a pod of namespace {namespace} on {node}"),
        }
    }

    fn side(&self) -> Side<'_> {
        let OtherPod { namespace, labels, .. } = self.pod;
        Side { terms: &self.terms, namespace, of: Of::Other(labels) }
    }
}

/// A guest with the data that other guests' terms match.
#[derive(Clone, Debug)]
pub(super) struct Resident<'w> {
    pub vmi: &'w Vmi,
    pub node: Option<NodeIndex>,
    pub terms: Vec<PodAffinityTerm>,
}

impl Resident<'_> {
    fn side(&self) -> Side<'_> {
        Side { terms: &self.terms, namespace: &self.vmi.metadata.namespace, of: Of::Guest(self.vmi) }
    }
}

/// Number of placements of one group of guests that are followed.
const MAX_PLACEMENTS: usize = 4_000;

/// All guests that run or whose launcher is on a node, with their terms, and the other pods on the nodes.
#[derive(Clone, Debug)]
pub(crate) struct Residents<'w> {
    cluster: &'w Cluster,
    all: Vec<Resident<'w>>,
    /// The pods that belong to no guest.
    others: Rc<Vec<Other<'w>>>,
    /// By guest: the numbers of the guests, followed by those of the other pods, that exclude it or that it excludes,
    /// sorted; empty if no pod has terms.
    near: Rc<Vec<Vec<u32>>>,
    /// Whether all terms use the topology key of nodes.
    is_by_host: bool,
    /// The index in `all`, by the address of the guest.
    places: HashMap<*const Vmi, usize>,
    /// Whether a guest has more labels than are read.
    is_cut: bool,
    /// The pods by their labels, guests first; `None` if no guest has required pod affinity.
    bearing: Option<Rc<PodsByLabel<'w>>>,
    /// The guests of `all` that are being deleted.
    deleted: Rc<Vec<usize>>,
    /// The size of each of `all`; `None` if its requests are not known.
    sizes: Rc<Vec<Option<SizeIndex>>>,
    space: Space<'w>,
    /// The domains by topology key; computed at first use.
    domains: RefCell<HashMap<String, Rc<Domains>>>,
    /// Number of placements of one group of guests that are followed.
    pub(super) max_placements: usize,
}

impl<'w> Residents<'w> {
    pub(crate) fn of(world: &'w World) -> Self {
        let cluster = &world.cluster;
        // Pod anti-affinity is that of a pod on a node, whether or not its guest runs yet.
        let resident = |vmi: &'w Vmi| {
            let runs = migration::runs(vmi);
            let on_node = || {
                let named = &vmi.status.node_name;
                let launcher = || cluster.current_launcher(vmi).map_or("", |pod| &pod.node);
                cluster.fleet.find(if runs || !named.is_empty() { named } else { launcher() })
            };
            let node = (runs || !migration::has_ended(vmi)).then(on_node).flatten();
            (runs || node.is_some()).then(|| Resident { vmi, node, terms: PodAffinityTerm::apart_of(vmi) })
        };
        let all: Vec<Resident<'w>> = cluster.vmis().filter_map(resident).collect();
        let places = all.iter().enumerate().map(|(at, resident)| (std::ptr::from_ref(resident.vmi), at)).collect();
        let needs: Vec<_> = all.iter().map(|resident| cluster.room.need(resident.vmi)).collect();
        let (space, sizes) = Space::of(cluster, &needs);
        let is_deleted = |at: &usize| migration::is_being_deleted(&all[*at].vmi.metadata);
        let deleted = Rc::new((0..all.len()).filter(is_deleted).collect());
        let other = |pod: &'w OtherPod| {
            Some(Other {
                pod,
                node: cluster.fleet.find(&pod.node)?,
                terms: PodAffinityTerm::all(&pod.apart_from, &pod.labels),
            })
        };
        let others: Vec<Other<'w>> = cluster.room.others().iter().filter_map(other).collect();
        let pods: Vec<Side<'_>> = all.iter().map(Resident::side).chain(others.iter().map(Other::side)).collect();
        let is_by_host = pods.iter().flat_map(|pod| pod.terms).all(|term| term.topology_key == label::HOSTNAME);
        let near = Rc::new(near(cluster, &pods, all.len()));
        let others = Rc::new(others);
        let has_mates = all.iter().any(|resident| !PodAffinityTerm::together_of(resident.vmi).is_empty());
        let bearing = has_mates.then(|| {
            let guests = all.iter().map(|resident| &resident.vmi.metadata.labels);
            Rc::new(PodsByLabel::of(guests.chain(others.iter().map(|other| &other.pod.labels))))
        });
        let is_cut = all.iter().any(|resident| resident.vmi.metadata.excess.is_some());
        Self {
            cluster,
            all,
            others,
            near,
            is_by_host,
            places,
            is_cut,
            bearing,
            deleted,
            sizes: Rc::new(sizes),
            space,
            domains: RefCell::default(),
            max_placements: MAX_PLACEMENTS,
        }
    }

    /// Whether labels alone decide: no pod excludes a guest from a node, and no node's room is known.
    pub(super) fn is_free(&self) -> bool {
        self.near.is_empty() && self.cluster.room.is_empty()
    }

    /// Whether a pod excludes a guest from a node.
    pub(super) fn keep_apart(&self) -> bool {
        !self.near.is_empty()
    }

    /// Moves a guest to a node.
    pub(super) fn put(&mut self, vmi: &Vmi, node: NodeIndex) {
        let Some(&at) = self.places.get(&std::ptr::from_ref(vmi)) else { return };
        let before = self.all[at].node.replace(node);
        if let Some(size) = self.sizes[at] {
            self.space.put(size, before, Some(node));
        }
    }

    /// Removes a guest that is shut down: it excludes no other guest, and its room is free.
    pub(super) fn end(&mut self, vmi: &Vmi) {
        let Some(&at) = self.places.get(&std::ptr::from_ref(vmi)) else { return };
        let before = self.all[at].node.take();
        if let Some(size) = self.sizes[at] {
            self.space.put(size, before, None);
        }
    }

    /// Returns the names of guests with a lower priority on these nodes, which preemption may shut down if a guest of
    /// this size needs their room.
    pub(super) fn victims(&self, size: SizeIndex, nodes: &Bits) -> Vec<String> {
        let here = self.of_lower_priority(size).filter(|it| it.node.is_some_and(|node| nodes.contains(node)));
        let mut out: Vec<String> = here.map(|resident| subject::title(&resident.vmi.metadata)).collect();
        out.sort_unstable();
        out
    }

    /// Whether preemption may shut down any guest if a guest of this size needs its room.
    pub(super) fn has_victims(&self, size: SizeIndex) -> bool {
        self.of_lower_priority(size).any(|it| it.node.is_some())
    }

    fn of_lower_priority(&self, size: SizeIndex) -> impl Iterator<Item = &Resident<'w>> {
        work::count(self.all.len());
        let most = self.space.yields_to(size);
        let all = self.all.iter().zip(self.sizes.iter());
        all.filter(move |(_, other)| other.is_some_and(|other| self.space.priority(other) < most)).map(|(it, _)| it)
    }

    /// Returns the names of the guests on these nodes that are being deleted.
    pub(super) fn being_deleted(&self, nodes: &Bits) -> Vec<String> {
        if nodes.is_empty() {
            return Vec::new();
        }
        work::count(self.deleted.len());
        let deleted = self.deleted.iter().map(|&at| &self.all[at]);
        let here = deleted.filter(|it| it.node.is_some_and(|node| nodes.contains(node)));
        let mut out: Vec<String> = here.map(|it| subject::title(&it.vmi.metadata)).collect();
        out.sort_unstable();
        out
    }

    /// Returns the guests, by name, and other pods that exclude a guest from one of these nodes; the guests of
    /// `leaving` are ignored.
    pub(crate) fn keepers(&self, vmi: &Vmi, nodes: &Bits, leaving: &[&Vmi]) -> Vec<String> {
        let Some(own) = self.number(vmi).filter(|_| !self.near.is_empty()) else { return Vec::new() };
        let leaving: HashSet<usize> = leaving.iter().filter_map(|vmi| self.number(vmi)).collect();
        let closes = |other: Side<'_>, at: NodeIndex| {
            self.domains(self.all[own].side(), other, at).any(|domain| domain.meets(nodes))
        };
        let mut out = Vec::new();
        for near in self.near[own].iter().map(|&near| near as usize).chain([own]) {
            match near.checked_sub(self.all.len()) {
                None if near != own && leaving.contains(&near) => {}
                None => {
                    let Resident { vmi, node, .. } = &self.all[near];
                    let who = if near == own { OWN_LAUNCHER.to_owned() } else { subject::title(&vmi.metadata) };
                    out.extend(node.filter(|&node| closes(self.all[near].side(), node)).map(|_| who));
                }
                Some(other) => {
                    let other = &self.others[other];
                    out.extend(closes(other.side(), other.node).then(|| other.title()));
                }
            }
        }
        out.sort_unstable();
        out.dedup();
        out
    }

    /// Returns the guests, by name, and other pods that exclude the launcher of a guest that is to start, each with the
    /// nodes from which it does. The guest's own launcher, if it has one, has ended by then.
    pub(crate) fn keepers_at_start(&self, vmi: &Vmi) -> Vec<(String, Bits)> {
        let terms = PodAffinityTerm::apart_of(vmi);
        if terms.is_empty() && self.near.is_empty() {
            return Vec::new();
        }
        let own = Side { terms: &terms, namespace: &vmi.metadata.namespace, of: Of::Guest(vmi) };
        let closed = |other: Side<'_>, node: NodeIndex| {
            if own.terms.is_empty() && other.terms.is_empty() {
                return None;
            }
            let closed = self.domains(own, other, node).map(|domain| Bits::clone(&domain));
            closed.reduce(|mut all, domain| {
                all.union(&domain);
                all
            })
        };
        let guests = self.all.iter().filter(|resident| !mates::is_same(resident.vmi, vmi)).filter_map(|resident| {
            Some((subject::title(&resident.vmi.metadata), closed(resident.side(), resident.node?)?))
        });
        let others = self.others.iter().filter_map(|other| Some((other.title(), closed(other.side(), other.node)?)));
        guests.chain(others).collect()
    }

    /// Whether the anti-affinity of a guest can be judged: all pods on the nodes are known, and the labels of the
    /// namespaces that it selects by label.
    pub(crate) fn know_all_apart(&self, vmi: &Vmi) -> bool {
        let terms = PodAffinityTerm::apart_of(vmi);
        let own = &vmi.metadata.namespace;
        let has_labels = || {
            let mut spaces = self.others.iter().map(|other| &other.pod.namespace);
            let mut of_guests = self.all.iter().map(|resident| &resident.vmi.metadata.namespace);
            let is_known = |name: &String| self.cluster.namespace(name).is_some();
            spaces.all(is_known) && of_guests.all(is_known)
        };
        let by_name = terms.iter().all(|term| term.namespaces(own).is_some());
        self.cluster.room.knows_others() && !self.is_cut && (by_name || has_labels())
    }

    /// Returns the size of a guest; `None` if its requests are not known or it does not run.
    pub(super) fn size(&self, vmi: &Vmi) -> Option<SizeIndex> {
        self.places.get(&std::ptr::from_ref(vmi)).and_then(|&at| self.sizes[at])
    }

    /// Returns the room on the nodes.
    pub(super) fn space(&self) -> &Space<'w> {
        &self.space
    }

    /// Returns the nodes without room for a guest; `None` if its requests are not known.
    pub(super) fn full(&self, vmi: &Vmi) -> Option<Rc<Bits>> {
        self.size(vmi).map(|size| self.space.full(size))
    }

    fn number(&self, vmi: &Vmi) -> Option<usize> {
        self.places.get(&std::ptr::from_ref(vmi)).copied()
    }

    fn find(&self, vmi: &Vmi) -> Option<&Resident<'w>> {
        self.number(vmi).map(|at| &self.all[at])
    }

    /// Whether pods other than guests are known.
    pub(super) fn knows_others(&self) -> bool {
        self.cluster.room.knows_others()
    }

    /// Returns the nodes from which other guests and pods exclude this one; the guests of `leaving` are ignored. Its
    /// own launcher counts too: it runs until its target does.
    pub(crate) fn kept_off(&self, vmi: &Vmi, leaving: &[&Vmi]) -> Bits {
        self.closed_but(vmi, leaving, true)
    }

    /// Returns the same for the start of a guest that was restarted: its own launcher has ended by then.
    pub(crate) fn kept_off_at_start(&self, vmi: &Vmi, leaving: &[&Vmi]) -> Bits {
        self.closed_but(vmi, leaving, false)
    }

    fn closed_but(&self, vmi: &Vmi, leaving: &[&Vmi], with_its_own: bool) -> Bits {
        let Some(own) = self.number(vmi).filter(|_| !self.near.is_empty()) else {
            return Bits::none(self.cluster.fleet.len());
        };
        let leaving: HashSet<usize> = leaving.iter().filter_map(|vmi| self.number(vmi)).collect();
        self.closed_by(own, |other| if other == own { with_its_own } else { !leaving.contains(&other) })
    }

    /// Returns the nodes that other pods, and the guests for which `counts` is true, close to a guest, itself included.
    fn closed_by(&self, own: usize, counts: impl Fn(usize) -> bool) -> Bits {
        let mut out = Bits::none(self.cluster.fleet.len());
        // Many pods close the same domain.
        let mut closed: HashSet<*const Bits> = HashSet::new();
        for near in self.near[own].iter().map(|&near| near as usize).chain([own]) {
            let other = match near.checked_sub(self.all.len()) {
                None if !counts(near) => None,
                None => self.all[near].node.map(|node| (self.all[near].side(), node)),
                Some(other) => Some((self.others[other].side(), self.others[other].node)),
            };
            let Some((other, node)) = other else { continue };
            for domain in self.domains(self.all[own].side(), other, node) {
                if closed.insert(Rc::as_ptr(&domain)) {
                    out.union(&domain);
                }
            }
        }
        out
    }

    /// Returns the nodes from which all other guests and pods exclude these guests, wherever these guests are; keyed by
    /// the index of each guest that is excluded from any node.
    pub(crate) fn kept_off_by_others(&self, guests: &[&Vmi]) -> HashMap<usize, Bits> {
        let mut out = HashMap::new();
        if self.near.is_empty() {
            return out;
        }
        let leaving: HashSet<usize> = guests.iter().filter_map(|vmi| self.number(vmi)).collect();
        for (at, own) in guests.iter().enumerate().filter_map(|(at, vmi)| Some((at, self.number(vmi)?))) {
            let off = self.closed_by(own, |other| !leaving.contains(&other));
            if !off.is_empty() {
                out.insert(at, off);
            }
        }
        out
    }

    /// Returns, by the index of each of these guests, the indices of those that close nodes to it or to which it closes
    /// nodes.
    pub(super) fn near(&self, guests: &[&Vmi]) -> Vec<Vec<usize>> {
        let mut numbers: HashMap<usize, usize> = HashMap::new();
        let of_guests: Vec<Option<usize>> = guests.iter().map(|vmi| self.number(vmi)).collect();
        numbers.extend(of_guests.iter().enumerate().filter_map(|(at, own)| Some(((*own)?, at))));
        let near = |own: &Option<usize>| {
            let near = own.and_then(|own| self.near.get(own)).map(Vec::as_slice).unwrap_or_default();
            near.iter().filter_map(|&other| numbers.get(&(other as usize)).copied()).collect()
        };
        of_guests.iter().map(near).collect()
    }

    /// Whether no pod excludes others from more than its node: all terms use the topology key of nodes.
    pub(super) fn is_by_host(&self) -> bool {
        self.is_by_host
    }

    /// Whether a guest's own launcher closes more nodes to it than its own.
    pub(super) fn closes_beyond_its_node(&self, vmi: &Vmi) -> bool {
        self.find(vmi).is_some_and(|own| {
            own.terms
                .iter()
                .any(|term| term.topology_key != label::HOSTNAME && selects(self.cluster, term, own.side(), own.side()))
        })
    }

    /// Returns the nodes that `other` closes to `vmi` while `other` is on this node.
    pub(super) fn closes(&self, vmi: &Vmi, other: &Vmi, node: NodeIndex) -> Bits {
        let mut out = Bits::none(self.cluster.fleet.len());
        self.closed(vmi, other, node).for_each(|domain| out.union(&domain));
        out
    }

    /// Returns the nodes that `other` closes to `vmi` where it is now; `None` if there are none.
    pub(super) fn closes_now(&self, vmi: &Vmi, other: &Vmi) -> Option<Bits> {
        let closed = self.closes(vmi, other, self.find(other)?.node?);
        (!closed.is_empty()).then_some(closed)
    }

    /// Whether `other`, while it is on `at`, closes `node` to `vmi`.
    pub(super) fn closes_node(&self, vmi: &Vmi, other: &Vmi, at: NodeIndex, node: NodeIndex) -> bool {
        self.closed(vmi, other, at).any(|domain| domain.contains(node))
    }

    fn closed(&self, vmi: &Vmi, other: &Vmi, node: NodeIndex) -> impl Iterator<Item = Rc<Bits>> {
        let both = self.find(vmi).zip(self.find(other));
        both.into_iter().flat_map(move |(own, other)| self.domains(own.side(), other.side(), node))
    }

    /// Whether two guests exclude each other anywhere.
    pub(super) fn are_apart(&self, one: &Vmi, other: &Vmi) -> bool {
        let (Some(one), Some(other)) = (self.number(one), self.number(other)) else { return false };
        self.near.get(one).is_some_and(|near| near.binary_search(&(other as u32)).is_ok())
    }

    /// Returns the nodes that two pods close to each other while the other one is on this node, a set for each term.
    fn domains<'s>(&'s self, own: Side<'s>, other: Side<'s>, node: NodeIndex) -> impl Iterator<Item = Rc<Bits>> {
        let mine = own.terms.iter().filter(move |term| selects(self.cluster, term, own, other));
        let its = other.terms.iter().filter(move |term| selects(self.cluster, term, other, own));
        mine.chain(its).filter_map(move |term| self.of_key(&term.topology_key).at(node))
    }

    fn of_key(&self, key: &str) -> Rc<Domains> {
        let mut known = self.domains.borrow_mut();
        if let Some(domains) = known.get(key) {
            return Rc::clone(domains);
        }
        let domains = Rc::new(Domains::of(&self.cluster.fleet, key));
        known.insert(key.to_owned(), Rc::clone(&domains));
        domains
    }
}

/// Whether a term of one pod selects another one. Mirrors `AffinityTerm.Matches` of
/// `pkg/scheduler/framework/types.go`.
fn selects(cluster: &Cluster, term: &PodAffinityTerm, of: Side<'_>, other: Side<'_>) -> bool {
    let namespace = other.namespace;
    let release = cluster.release.release();
    term.reaches(of.namespace, namespace, cluster.namespace(namespace)) && term.selects(|key| other.label(key, release))
}

/// Pods by each of their labels, as written.
#[derive(Debug)]
struct PodsByLabel<'l>(HashMap<(&'l str, &'l str), Vec<usize>>);

impl<'l> PodsByLabel<'l> {
    fn of(pods: impl IntoIterator<Item = &'l BTreeMap<String, String>>) -> Self {
        let mut out: HashMap<(&str, &str), Vec<usize>> = HashMap::new();
        for (at, labels) in pods.into_iter().enumerate() {
            for (key, value) in labels {
                out.entry((key, value)).or_default().push(at);
            }
        }
        Self(out)
    }

    /// Returns the fewest pods among which are all that these terms select together; `None` if that may be any pod.
    fn that_may_match<'t>(&'t self, terms: impl IntoIterator<Item = &'t PodAffinityTerm>) -> Option<&'t [usize]> {
        let required = terms.into_iter().flat_map(PodAffinityTerm::match_labels);
        let written = required.filter(|(key, _)| !SET_ON_LAUNCHERS.contains(&key.as_str()));
        let lists =
            written.map(|(key, value)| self.0.get(&(key.as_str(), value.as_str())).map_or(&[][..], Vec::as_slice));
        lists.min_by_key(|list| list.len())
    }
}

/// Returns, for each pod of which the first `guests` are guests, the others that exclude it or that it excludes. A term
/// is compared only with the pods that have one of the labels that it requires.
fn near(cluster: &Cluster, pods: &[Side<'_>], guests: usize) -> Vec<Vec<u32>> {
    if pods.iter().all(|pod| pod.terms.is_empty()) {
        return Vec::new();
    }
    let bearing = PodsByLabel::of(pods.iter().map(|pod| pod.labels()));
    let all: Vec<usize> = (0..pods.len()).collect();
    let mut out = vec![Vec::new(); pods.len()];
    for (at, pod) in pods.iter().enumerate() {
        for term in pod.terms {
            for &other in bearing.that_may_match([term]).unwrap_or(&all) {
                let one_is_a_guest = at < guests || other < guests;
                if other != at && one_is_a_guest && selects(cluster, term, *pod, pods[other]) {
                    out[at].push(other as u32);
                    out[other].push(at as u32);
                }
            }
        }
    }
    out.truncate(guests);
    for near in &mut out {
        near.sort_unstable();
        near.dedup();
    }
    out
}
