//! All nodes at one instant, indexed so that a demand is judged by classes of hardware, not node by node.
//!
//! Nodes with identical CPU labels share a profile and have consecutive numbers: a set of profiles becomes a
//! set of nodes by filling ranges. The index has, for every label pair, the profiles or the nodes with that
//! pair, so that a selector of 90 entries takes 90 look-ups and as many intersections of small sets.

mod build;
mod filters;
mod lookup;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::bits::{Bits, Counters};
use super::label::{self, Family};
use super::memo::FleetId;
use super::node::{Node, Taint};
use super::placement::Placement;

pub use build::FleetBuilder;
pub(crate) use lookup::Requirement;
use lookup::Resolved;
pub use lookup::{FilterResult, Lookup, NodeMismatch};

/// A node of a [`Fleet`], by its number in it.
pub type NodeIndex = usize;

/// Whether virt-handler of a node works, which is what migrates guests away from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeHealth {
    /// No sign that it does not.
    Well,
    /// The node is not ready; virt-handler may still work.
    NotReady,
    /// The node is ready, and `kubevirt.io/schedulable` is `false`: virt-handler has stopped, or works without its
    /// device plugins.
    Unschedulable,
    /// The node is not ready and `kubevirt.io/schedulable` is `false`: nothing migrates a guest away from it.
    Down,
}

/// All nodes at one instant. Immutable; remedies build a new one from edited nodes.
#[derive(Debug, Default)]
pub struct Fleet {
    id: FleetId,
    names: Vec<Arc<str>>,
    /// The position of each node in the order of names.
    rank: Vec<u32>,
    by_name: HashMap<Arc<str>, u32>,
    profile_of: Vec<u32>,
    profiles: Vec<Profile>,
    keys: HashMap<Arc<str>, IndexedLabel>,
    labels: Vec<Label>,
    /// The labels of each node that are not in its profile.
    own_labels: Vec<Arc<[u32]>>,
    /// The distinct sets of taints, each with its nodes.
    taints: Vec<(Vec<Taint>, Members)>,
    /// The position of each node's taints in `taints`; `None` for a node without taints.
    taints_of: Vec<Option<u32>>,
    cordoned: Bits,
    not_ready: Bits,
    skip_node: BTreeMap<NodeIndex, String>,
    /// The UIDs of the nodes, as far as they are known.
    uid: BTreeMap<NodeIndex, String>,
    /// The times at which the nodes were added, in seconds since 1970, as far as they are known.
    created: BTreeMap<NodeIndex, i64>,
    /// The nodes that were not read, with the reason.
    unread: BTreeMap<NodeIndex, String>,
    classes: Vec<HostModelClass>,
    /// The architectures of the nodes, each with whether any node of it has labels that a judgement can use.
    labelled: BTreeMap<String, bool>,
}

/// Nodes with equal profile labels: `start..end` in the numbering of the fleet.
#[derive(Debug)]
struct Profile {
    start: usize,
    end: usize,
    labels: Arc<[u32]>,
    class: usize,
}

/// The entries that a migration away from a node of these profiles would demand of a host-model guest's
/// target.
///
/// Mirrors `getHostCpuModelFromMap` and `getCPUVendorLabelKey` of
/// `pkg/virt-controller/watch/migration/migration.go` (KubeVirt).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostModelClass {
    /// The `cpu-feature` and `cpu-model-migration` entries; `None` if the node has no `host-model-cpu` label.
    pub model: Option<Vec<(String, String)>>,
    /// The vendor keys of the node; KubeVirt uses any one of them.
    pub vendors: Vec<String>,
}

#[derive(Clone, Debug)]
struct IndexedLabel {
    family: Family,
    /// The number of each label pair with this key, sorted by value.
    values: Vec<(Arc<str>, u32)>,
}

impl IndexedLabel {
    /// Returns the number of the pair with this value; `None` without such a pair.
    fn label(&self, value: &str) -> Option<u32> {
        match self.values.as_slice() {
            [(only, label)] => (only.as_ref() == value).then_some(*label),
            many => many.binary_search_by(|(known, _)| known.as_ref().cmp(value)).ok().map(|at| many[at].1),
        }
    }
}

#[derive(Debug)]
struct Label {
    key: Arc<str>,
    value: Arc<str>,
    members: Members,
}

/// A set of nodes or profiles: few as a list, many as bits.
#[derive(Debug)]
enum Members {
    Few(Box<[u32]>),
    Many(Bits),
    All,
}

impl Members {
    fn of(members: Vec<u32>, len: usize) -> Self {
        if members.len() == len {
            Self::All
        } else if members.len() * 32 <= len {
            Self::Few(members.into())
        } else {
            let mut bits = Bits::none(len);
            for member in members {
                bits.insert(member as usize);
            }
            Self::Many(bits)
        }
    }

    fn add_to(&self, bits: &mut Bits) {
        match self {
            Self::Few(few) => few.iter().for_each(|&member| bits.insert(member as usize)),
            Self::Many(many) => bits.union(many),
            Self::All => *bits = Bits::all(bits.len()),
        }
    }

    fn take_from(&self, bits: &mut Bits) {
        match self {
            Self::Few(few) => few.iter().for_each(|&member| bits.remove(member as usize)),
            Self::Many(many) => bits.subtract(many),
            Self::All => *bits = Bits::none(bits.len()),
        }
    }

    fn keep_in(&self, bits: &mut Bits) {
        match self {
            Self::Few(few) => bits.keep_few(few),
            Self::Many(many) => bits.intersect(many),
            Self::All => {}
        }
    }

    fn count_absent(&self, counters: &mut Counters, len: usize) {
        match self {
            Self::Few(_) => {
                let mut bits = Bits::none(len);
                self.add_to(&mut bits);
                counters.add_absent(&bits);
            }
            Self::Many(many) => counters.add_absent(many),
            Self::All => {}
        }
    }
}

impl Fleet {
    /// Indexes nodes. If two nodes have the same name, the later one counts.
    #[must_use]
    pub fn new(nodes: Vec<Node>) -> Self {
        let mut fleet_builder = FleetBuilder::default();
        for node in nodes {
            fleet_builder.insert(node);
        }
        fleet_builder.fleet()
    }

    /// Returns the number of nodes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there is no node.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Returns the number of profiles.
    pub(crate) fn profiles(&self) -> usize {
        self.profiles.len()
    }

    /// Whether the CPUs of the nodes that a guest of this architecture could run on are known: a node has a
    /// CPU model or feature label, or on arm64, where the labeller writes neither, a machine type. `None`
    /// stands for any architecture. No CPU needs to be known for an architecture if every node states another one.
    pub(crate) fn is_labelled(&self, architecture: Option<&str>) -> bool {
        let known = architecture.and_then(|architecture| self.labelled.get(architecture));
        let states_another = !self.labelled.is_empty() && !self.labelled.contains_key("");
        if architecture.is_some() && known.is_none() && states_another {
            return true;
        }
        // A machine type of arm64 says nothing about the CPUs of other nodes.
        let elsewhere = || self.labelled.iter().any(|(architecture, &labelled)| labelled && architecture != "arm64");
        known.copied().unwrap_or_else(elsewhere)
    }

    /// Whether the node-labeller wrote CPU labels but no machine types: a node has a label of
    /// each CPU family that it writes, and no node has a machine type.
    pub(crate) fn is_labelled_without_machine_types(&self) -> bool {
        const WRITTEN: [Family; 5] =
            [Family::CpuFeature, Family::CpuModel, Family::CpuVendor, Family::HostModelCpu, Family::HostModelRequired];
        let families = |node| self.labels(node).map(|(key, _)| Family::of(key)).collect::<Vec<_>>();
        let by_labeller = |node| {
            let found = families(node);
            WRITTEN.iter().all(|family| found.contains(family))
        };
        !self.keys.keys().any(|key| Family::of(key) == Family::MachineType) && (0..self.len()).any(by_labeller)
    }

    /// Finds a node by its name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<NodeIndex> {
        self.by_name.get(name).map(|&index| index as usize)
    }

    /// Returns the name of a node.
    #[must_use]
    pub fn name(&self, node: NodeIndex) -> &str {
        &self.names[node]
    }

    /// Returns the names of a set of nodes, sorted.
    #[must_use]
    pub fn names(&self, nodes: &Bits) -> Vec<&str> {
        let mut out: Vec<&str> = nodes.iter().map(|node| self.name(node)).collect();
        out.sort_unstable();
        out
    }

    /// Returns the first node, by name, of each profile among these nodes, ordered by name.
    pub(crate) fn one_of_each_profile(&self, nodes: &Bits) -> Vec<NodeIndex> {
        // The nodes of a profile are numbered by name.
        let first = |profile: &Profile| nodes.iter_range(profile.start, profile.end).next();
        let mut out: Vec<NodeIndex> = self.profiles.iter().filter_map(first).collect();
        out.sort_unstable_by_key(|&node| self.rank[node]);
        out
    }

    /// Returns all nodes in the order of their names.
    #[must_use]
    pub fn in_name_order(&self) -> Vec<NodeIndex> {
        let mut out: Vec<NodeIndex> = (0..self.len()).collect();
        out.sort_unstable_by_key(|&node| self.rank[node]);
        out
    }

    /// Returns the value of a node's label; `None` if the node lacks it.
    #[must_use]
    pub fn label(&self, node: NodeIndex, key: &str) -> Option<&str> {
        if Family::of(key).is_profile() {
            let key = self.keys.get(key)?;
            let labels = &self.profile(node).labels;
            return key.values.iter().find(|(_, label)| labels.binary_search(label).is_ok()).map(|(v, _)| v.as_ref());
        }
        // Each key's text is stored once, so pointers can be compared.
        let (key, _) = self.keys.get_key_value(key)?;
        let mut own = self.own_labels[node].iter().map(|&label| &self.labels[label as usize]);
        own.find(|label| Arc::ptr_eq(&label.key, key)).map(|label| label.value.as_ref())
    }

    /// Iterates over all labels of a node, in no particular order.
    pub fn labels(&self, node: NodeIndex) -> impl Iterator<Item = (&str, &str)> {
        self.profile_labels(node).chain(self.own_labels(node))
    }

    /// Iterates over the CPU labels of a node that all nodes of its profile share.
    pub(crate) fn profile_labels(&self, node: NodeIndex) -> impl Iterator<Item = (&str, &str)> {
        self.profile(node).labels.iter().map(|&label| self.pair(label))
    }

    /// Iterates over the other labels of a node.
    pub(crate) fn own_labels(&self, node: NodeIndex) -> impl Iterator<Item = (&str, &str)> {
        self.own_labels[node].iter().map(|&label| self.pair(label))
    }

    fn pair(&self, label: u32) -> (&str, &str) {
        let label = &self.labels[label as usize];
        (label.key.as_ref(), label.value.as_ref())
    }

    /// Returns the names in the keys of a family, such as CPU models, that the node has with the value `true`,
    /// sorted.
    pub(crate) fn names_under(&self, node: NodeIndex, family: Family) -> Vec<&str> {
        let mut out: Vec<&str> = self
            .labels(node)
            .filter(|(key, value)| *value == "true" && Family::of(key) == family)
            .map(|(key, _)| label::name(key))
            .collect();
        out.sort_unstable();
        out
    }

    /// Whether a node is cordoned.
    pub(crate) fn is_cordoned(&self, node: NodeIndex) -> bool {
        self.cordoned.contains(node)
    }

    /// Returns the nodes whose `Ready` condition is not `True`.
    pub(crate) fn not_ready(&self) -> &Bits {
        &self.not_ready
    }

    /// Returns whether a node can be left by a migration, as far as its labels and conditions show.
    ///
    /// Mirrors `markNodeAsUnresponsive` of `pkg/virt-controller/watch/node/node.go`, which sets
    /// `kubevirt.io/schedulable` to `false` after five minutes without a heartbeat, and `do` and
    /// `labelNodeUnschedulable` of `pkg/virt-handler/heartbeat/heartbeat.go`, which set it where device plugins have
    /// not registered, or virt-handler ends.
    pub(crate) fn health(&self, node: NodeIndex) -> NodeHealth {
        let is_unschedulable = self.label(node, label::SCHEDULABLE) == Some("false");
        match (self.not_ready.contains(node), is_unschedulable) {
            (false, false) => NodeHealth::Well,
            (true, false) => NodeHealth::NotReady,
            (false, true) => NodeHealth::Unschedulable,
            (true, true) => NodeHealth::Down,
        }
    }

    /// Returns the value of the node's `skip-node` annotation; `None` if it is absent.
    pub(crate) fn skip_node(&self, node: NodeIndex) -> Option<&str> {
        self.skip_node.get(&node).map(String::as_str)
    }

    /// Returns the UID of the node; `None` if it is not known.
    pub(crate) fn uid(&self, node: NodeIndex) -> Option<&str> {
        self.uid.get(&node).map(String::as_str)
    }

    /// Returns the time at which the node was added, in seconds since 1970; 0 if it is not known.
    pub(crate) fn created(&self, node: NodeIndex) -> i64 {
        self.created.get(&node).copied().unwrap_or_default()
    }

    /// Returns the first node that was too large to read, and why. It is not known whether it takes guests.
    #[must_use]
    pub fn unread(&self) -> Option<(&str, &str)> {
        self.unread.first_key_value().map(|(&node, why)| (self.name(node), why.as_str()))
    }

    /// Returns the taints of a node.
    #[must_use]
    pub fn taints(&self, node: NodeIndex) -> &[Taint] {
        self.taints_of[node].map_or(&[], |at| &self.taints[at as usize].0)
    }

    /// Returns the tainted nodes whose taints meet the condition.
    pub(super) fn tainted(&self, is_meant: impl Fn(&[Taint]) -> bool) -> Bits {
        let mut out = Bits::none(self.len());
        for (_, members) in self.taints.iter().filter(|(taints, _)| is_meant(taints)) {
            members.add_to(&mut out);
        }
        out
    }

    /// Returns the fleet's unique identifier.
    pub(crate) fn id(&self) -> FleetId {
        self.id
    }

    /// Iterates over the values of a label on all nodes, sorted.
    pub fn values(&self, key: &str) -> impl Iterator<Item = &str> {
        self.keys.get(key).into_iter().flat_map(|key| &key.values).map(|(value, _)| value.as_ref())
    }

    /// Returns the nodes that have a label with a value other than this.
    pub(crate) fn bearing_another(&self, key: &str, value: &str) -> Bits {
        let mut out = Bits::none(self.len());
        let values = self.keys.get(key).into_iter().flat_map(|key| &key.values);
        for (other, _) in values.filter(|(other, _)| other.as_ref() != value) {
            out.union(&self.bearing(key, other));
        }
        out
    }

    /// Returns the nodes that lack a label, regardless of its value.
    #[must_use]
    pub fn without(&self, key: &str) -> Bits {
        let mut out = Bits::all(self.len());
        let values = self.keys.get(key).into_iter().flat_map(|key| &key.values);
        values.for_each(|(value, _)| out.subtract(&self.bearing(key, value)));
        out
    }

    /// Returns the nodes that have a label with this value.
    pub(crate) fn bearing(&self, key: &str, value: &str) -> Bits {
        let mut out = Bits::none(self.len());
        if let Some(found) = self.keys.get(key)
            && let Some(label) = found.label(value)
        {
            let members = self.members(label);
            if found.family.is_profile() {
                let mut profiles = Bits::none(self.profiles.len());
                members.add_to(&mut profiles);
                out = self.expand(&profiles);
            } else {
                members.add_to(&mut out);
            }
        }
        out
    }

    /// Whether any of these nodes has a label with this value.
    pub(crate) fn is_borne(&self, key: &str, value: &str, among: &Bits) -> bool {
        let Some((family, label)) = self.keys.get(key).and_then(|found| Some((found.family, found.label(value)?)))
        else {
            return false;
        };
        if !family.is_profile() {
            return self.bearing(key, value).meets(among);
        }
        let mut profiles = Bits::none(self.profiles.len());
        self.members(label).add_to(&mut profiles);
        let has_one = |profile: usize| {
            let Profile { start, end, .. } = self.profiles[profile];
            among.iter_range(start, end).next().is_some()
        };
        profiles.iter().any(has_one)
    }

    /// Iterates over the keys of a family that nodes have, with any value.
    pub(crate) fn keys_of(&self, family: Family) -> impl Iterator<Item = &str> {
        self.keys.keys().map(AsRef::as_ref).filter(move |key| Family::of(key) == family)
    }

    /// Returns the names of a family (models, machine types) that any of these nodes has with the value
    /// `true`.
    #[must_use]
    pub fn offered(&self, family: Family, nodes: &Bits) -> Vec<&str> {
        let borne = self.keys_of(family).filter(|key| self.is_borne(key, "true", nodes));
        let mut out: Vec<&str> = borne.map(label::name).collect();
        out.sort_unstable();
        out
    }

    /// Returns the names of a family, each with the nodes that have it with the value `true`.
    pub(crate) fn bearers(&self, family: Family) -> BTreeMap<&str, Bits> {
        let mut out: BTreeMap<&str, Bits> = BTreeMap::new();
        for key in self.keys_of(family) {
            let nodes = self.bearing(key, "true");
            // Distributions that rename KubeVirt's domain keep the name after the slash.
            out.entry(label::name(key)).and_modify(|known| known.union(&nodes)).or_insert(nodes);
        }
        out.retain(|_, nodes| !nodes.is_empty());
        out
    }

    /// Returns the first node, by name, with the CPU labels of this one.
    pub(crate) fn first_of_profile(&self, node: NodeIndex) -> NodeIndex {
        self.profile(node).start
    }

    /// Iterates over the nodes that were too large to read, each with the reason.
    pub(crate) fn all_unread(&self) -> impl Iterator<Item = (NodeIndex, &str)> {
        self.unread.iter().map(|(&node, why)| (node, why.as_str()))
    }

    /// Returns the entries that migrations away from a node demand of a host-model guest's target.
    pub(crate) fn host_model_class(&self, node: NodeIndex) -> &HostModelClass {
        &self.classes[self.profile(node).class]
    }

    /// Splits a set of nodes by their host-model class; classes without a member are left out.
    pub(crate) fn split_by_class(&self, nodes: &Bits) -> Vec<(&HostModelClass, Bits)> {
        let mut out: Vec<Option<Bits>> = vec![None; self.classes.len()];
        for profile in &self.profiles {
            for node in nodes.iter_range(profile.start, profile.end) {
                out[profile.class].get_or_insert_with(|| Bits::none(self.len())).insert(node);
            }
        }
        self.classes.iter().zip(out).filter_map(|(class, set)| Some((class, set?))).collect()
    }

    /// Returns an owned copy of a node.
    #[must_use]
    pub fn node(&self, node: NodeIndex) -> Node {
        Node {
            name: self.name(node).to_owned(),
            uid: self.uid(node).unwrap_or_default().to_owned(),
            created: self.created(node),
            labels: self.labels(node).map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
            taints: self.taints(node).to_vec(),
            cordoned: self.is_cordoned(node),
            not_ready: self.not_ready.contains(node),
            skip_node: self.skip_node(node).map(str::to_owned),
            unread: self.unread.get(&node).cloned(),
        }
    }

    /// Returns the fleet with these nodes added, or replaced if their names exist.
    #[must_use]
    pub fn with(&self, changed: Vec<Node>) -> Self {
        // If two nodes have the same name, the later one counts.
        Self::new((0..self.len()).map(|node| self.node(node)).chain(changed).collect())
    }

    /// Looks up a placement.
    pub(crate) fn look_up<'f, 'p>(&'f self, placement: &'p Placement<'p>) -> Lookup<'f, 'p> {
        let entries = placement.selector.iter().map(|(key, value)| self.resolve(key, value)).collect();
        Lookup { fleet: self, placement, entries }
    }

    fn resolve(&self, key: &str, value: &str) -> Resolved {
        let Some(found) = self.keys.get(key) else {
            return Resolved { family: Family::of(key), label: None };
        };
        Resolved { family: found.family, label: found.label(value) }
    }

    fn profile(&self, node: NodeIndex) -> &Profile {
        &self.profiles[self.profile_of[node] as usize]
    }

    fn members(&self, label: u32) -> &Members {
        &self.labels[label as usize].members
    }

    /// Whether a node meets a selector entry.
    fn meets(&self, node: NodeIndex, entry: Resolved) -> bool {
        let labels = if entry.family.is_profile() { &self.profile(node).labels } else { &self.own_labels[node] };
        entry.label.is_some_and(|label| labels.binary_search(&label).is_ok())
    }

    fn expand(&self, profiles: &Bits) -> Bits {
        let mut out = Bits::none(self.len());
        for profile in profiles.iter() {
            let Profile { start, end, .. } = self.profiles[profile];
            out.insert_range(start, end);
        }
        out
    }
}
