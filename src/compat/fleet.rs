//! All nodes at one instant, indexed so that a demand is judged by kinds of hardware, not node by node.
//!
//! Nodes with identical CPU labels share a profile, and are numbered side by side: a set of profiles
//! becomes a set of nodes by filling ranges. Every label pair knows which profiles, or which nodes, bear
//! it, so that "which nodes meet these 90 entries" is 90 look-ups and as many intersections of small sets.

use std::collections::{BTreeMap, HashMap};

use super::bits::{Bits, Counters};
use super::label::{self, Family};
use super::node::{Node, Taint};
use super::placement::{Expression, NameRule, NodeSelector, Placement, Term};

/// A node of a [`Fleet`], by its number in it.
pub type NodeIndex = usize;

/// All nodes at one instant. Immutable; remedies make a new one from edited nodes.
#[derive(Debug, Default)]
pub struct Fleet {
    names: Vec<Box<str>>,
    /// The place of each node in the order of names.
    rank: Vec<u32>,
    by_name: HashMap<Box<str>, u32>,
    profile_of: Vec<u32>,
    profiles: Vec<Profile>,
    keys: HashMap<Box<str>, Key>,
    labels: Vec<Label>,
    /// Per node, its labels that are not in its profile.
    own_labels: Vec<Box<[u32]>>,
    /// Nodes with the same taints, by their taints.
    taints: Vec<(Vec<Taint>, Members)>,
    cordoned: Bits,
    not_ready: Bits,
    skip_node: BTreeMap<NodeIndex, String>,
    classes: Vec<HostModelClass>,
    labelled: bool,
}

/// Nodes that agree on all profile labels: `start..end` in the numbering of the fleet.
#[derive(Debug)]
struct Profile {
    start: usize,
    end: usize,
    labels: Box<[u32]>,
    class: usize,
}

/// What a migration away from a node of these profiles would demand of a host-model guest.
///
/// Mirrors `getHostCpuModelFromMap` and `getCPUVendorLabelKey` of `migration.go`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostModelClass {
    /// `cpu-feature` and `cpu-model-migration` entries; `None` where the node has no `host-model-cpu` label.
    pub model: Option<Vec<(String, String)>>,
    /// The vendor keys the node bears; KubeVirt takes any one of them.
    pub vendors: Vec<String>,
}

#[derive(Debug)]
struct Key {
    family: Family,
    /// By value.
    values: Vec<(Box<str>, u32)>,
}

#[derive(Debug)]
struct Label {
    key: Box<str>,
    value: Box<str>,
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
            Self::Few(few) => {
                let mut kept = Bits::none(bits.len());
                few.iter().map(|&m| m as usize).filter(|&m| bits.contains(m)).for_each(|m| kept.insert(m));
                *bits = kept;
            }
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

/// One selector entry, looked up.
#[derive(Clone, Copy, Debug)]
struct Resolved {
    family: Family,
    /// `None`: no node bears this pair.
    label: Option<u32>,
}

/// A placement looked up in a fleet.
#[derive(Debug)]
pub struct Lookup<'f, 'p> {
    fleet: &'f Fleet,
    placement: &'p Placement<'p>,
    entries: Vec<Resolved>,
}

/// The nodes that pass, condition by condition.
#[derive(Clone, Debug)]
pub struct Passes {
    /// Their CPU labels meet the demand.
    pub cpu: Bits,
    /// … and architecture, zone, machine type, affinity and node name do.
    pub placement: Bits,
    /// … and virt-handler is well there, and neither cordon nor taint keeps the pod out: they fit.
    pub fitting: Bits,
}

impl Passes {
    /// Takes a node out: the source of a migration is no target.
    pub fn leave_out(&mut self, node: NodeIndex) {
        self.cpu.remove(node);
        self.placement.remove(node);
        self.fitting.remove(node);
    }
}

/// Why one node does not take a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    /// Selector entries not met, by key.
    pub missing: Vec<(String, String)>,
    /// The required node affinity is not met, the expressions of the nearest term that fail.
    pub affinity: Vec<String>,
    /// Taints not tolerated (those of a cordon left out).
    pub taints: Vec<Taint>,
    /// It is cordoned.
    pub cordoned: bool,
    /// The pod names another node.
    pub other_node: bool,
}

impl Refusal {
    /// Whether the node takes the pod.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Whether only a cordon or taints keep the pod out.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        self.missing.is_empty()
            && self.affinity.is_empty()
            && !self.other_node
            && (self.cordoned || !self.taints.is_empty())
    }
}

impl Fleet {
    /// Indexes nodes. Of two nodes with one name the later counts.
    #[must_use]
    pub fn new(nodes: Vec<Node>) -> Self {
        let mut by_name: BTreeMap<String, Node> = BTreeMap::new();
        for node in nodes {
            by_name.insert(node.name.clone(), node);
        }
        Builder::default().build(by_name.into_values().collect())
    }

    /// How many nodes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there is no node.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// How many kinds of hardware there are.
    #[must_use]
    pub fn profiles(&self) -> usize {
        self.profiles.len()
    }

    /// Whether any node has a CPU model or feature label: without them nothing can be known.
    #[must_use]
    pub fn is_labelled(&self) -> bool {
        self.labelled
    }

    /// Whether a node-labeller that knows no machine types has been at work: a node bears all that it writes
    /// about CPUs, and no node bears a machine type.
    #[must_use]
    pub fn is_labelled_without_machine_types(&self) -> bool {
        const WRITTEN: [Family; 5] =
            [Family::CpuFeature, Family::CpuModel, Family::CpuVendor, Family::HostModelCpu, Family::HostModelRequired];
        let families = |node| self.labels(node).map(|(key, _)| Family::of(key)).collect::<Vec<_>>();
        let by_labeller = |node| {
            let found = families(node);
            WRITTEN.iter().all(|family| found.contains(family))
        };
        !self.keys.keys().any(|key| Family::of(key) == Family::MachineType) && (0..self.len()).any(by_labeller)
    }

    /// A node by its name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<NodeIndex> {
        self.by_name.get(name).map(|&index| index as usize)
    }

    /// The name of a node.
    #[must_use]
    pub fn name(&self, node: NodeIndex) -> &str {
        &self.names[node]
    }

    /// The names of a set of nodes, sorted.
    #[must_use]
    pub fn names(&self, nodes: &Bits) -> Vec<&str> {
        let mut out: Vec<&str> = nodes.iter().map(|node| self.name(node)).collect();
        out.sort_unstable();
        out
    }

    /// All nodes in the order of their names.
    #[must_use]
    pub fn in_name_order(&self) -> Vec<NodeIndex> {
        let mut out: Vec<NodeIndex> = (0..self.len()).collect();
        out.sort_unstable_by_key(|&node| self.rank[node]);
        out
    }

    /// The value of a node's label.
    #[must_use]
    pub fn label(&self, node: NodeIndex, key: &str) -> Option<&str> {
        if Family::of(key).is_profile() {
            let key = self.keys.get(key)?;
            let labels = &self.profile(node).labels;
            return key.values.iter().find(|(_, label)| labels.binary_search(label).is_ok()).map(|(v, _)| v.as_ref());
        }
        let mut own = self.own_labels[node].iter().map(|&label| &self.labels[label as usize]);
        own.find(|label| label.key.as_ref() == key).map(|label| label.value.as_ref())
    }

    /// All labels of a node, in no particular order.
    pub fn labels(&self, node: NodeIndex) -> impl Iterator<Item = (&str, &str)> {
        self.profile(node).labels.iter().chain(&self.own_labels[node]).map(|&label| {
            let label = &self.labels[label as usize];
            (label.key.as_ref(), label.value.as_ref())
        })
    }

    /// The names behind a prefix of label keys whose value is `true`, sorted: `cpu-model…/` gives models.
    #[must_use]
    pub fn names_under(&self, node: NodeIndex, family: Family) -> Vec<&str> {
        let mut out: Vec<&str> = self
            .labels(node)
            .filter(|(key, value)| *value == "true" && Family::of(key) == family)
            .map(|(key, _)| label::name(key))
            .collect();
        out.sort_unstable();
        out
    }

    /// Whether a node is cordoned.
    #[must_use]
    pub fn is_cordoned(&self, node: NodeIndex) -> bool {
        self.cordoned.contains(node)
    }

    /// The nodes whose `Ready` condition is not `True`.
    #[must_use]
    pub fn not_ready(&self) -> &Bits {
        &self.not_ready
    }

    /// The value of the node's `skip-node` annotation, if it is there.
    #[must_use]
    pub fn skip_node(&self, node: NodeIndex) -> Option<&str> {
        self.skip_node.get(&node).map(String::as_str)
    }

    /// The taints of a node.
    #[must_use]
    pub fn taints(&self, node: NodeIndex) -> &[Taint] {
        self.taints
            .iter()
            .find(|(_, members)| match members {
                Members::Few(few) => few.binary_search(&(node as u32)).is_ok(),
                Members::Many(many) => many.contains(node),
                Members::All => true,
            })
            .map_or(&[], |(taints, _)| taints)
    }

    /// The nodes that bear a label with this value.
    #[must_use]
    pub fn bearing(&self, key: &str, value: &str) -> Bits {
        let mut out = Bits::none(self.len());
        if let Some(found) = self.keys.get(key)
            && let Ok(at) = found.values.binary_search_by(|(v, _)| v.as_ref().cmp(value))
        {
            let members = self.members(found.values[at].1);
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

    /// The names of a family (models, machine types) that any of these nodes bears with the value `true`.
    #[must_use]
    pub fn offered(&self, family: Family, nodes: &Bits) -> Vec<&str> {
        let mut out: Vec<&str> = self
            .keys
            .keys()
            .filter(|key| Family::of(key) == family && self.bearing(key, "true").count_common(nodes) > 0)
            .map(|key| label::name(key))
            .collect();
        out.sort_unstable();
        out
    }

    /// What migrations away from a node demand of a host-model guest.
    #[must_use]
    pub fn host_model_class(&self, node: NodeIndex) -> &HostModelClass {
        &self.classes[self.profile(node).class]
    }

    /// A set of nodes, split by the class of their host model, each with one member.
    #[must_use]
    pub fn split_by_class(&self, nodes: &Bits) -> Vec<(&HostModelClass, Bits)> {
        let mut out: Vec<Option<Bits>> = vec![None; self.classes.len()];
        for profile in &self.profiles {
            for node in nodes.iter_range(profile.start, profile.end) {
                out[profile.class].get_or_insert_with(|| Bits::none(self.len())).insert(node);
            }
        }
        self.classes.iter().zip(out).filter_map(|(class, set)| Some((class, set?))).collect()
    }

    /// A plain copy of a node.
    #[must_use]
    pub fn node(&self, node: NodeIndex) -> Node {
        Node {
            name: self.name(node).to_owned(),
            labels: self.labels(node).map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
            taints: self.taints(node).to_vec(),
            cordoned: self.is_cordoned(node),
            not_ready: self.not_ready.contains(node),
            skip_node: self.skip_node(node).map(str::to_owned),
        }
    }

    /// The fleet after some of its nodes changed, or came.
    #[must_use]
    pub fn with(&self, changed: Vec<Node>) -> Self {
        // Of two nodes with one name the later counts.
        Self::new((0..self.len()).map(|node| self.node(node)).chain(changed).collect())
    }

    /// Looks a placement up.
    #[must_use]
    pub fn look_up<'f, 'p>(&'f self, placement: &'p Placement<'p>) -> Lookup<'f, 'p> {
        let entries = placement.selector.iter().map(|(key, value)| self.resolve(key, value)).collect();
        Lookup { fleet: self, placement, entries }
    }

    fn resolve(&self, key: &str, value: &str) -> Resolved {
        let Some(found) = self.keys.get(key) else {
            return Resolved { family: Family::of(key), label: None };
        };
        let label = match found.values.as_slice() {
            [(only, label)] => (only.as_ref() == value).then_some(*label),
            many => many.binary_search_by(|(v, _)| v.as_ref().cmp(value)).ok().map(|at| many[at].1),
        };
        Resolved { family: found.family, label }
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

    /// Those of `nodes` that meet a required node affinity; with `only_cpu`, as if every other condition held.
    fn meeting(&self, affinity: &NodeSelector, nodes: &Bits, only_cpu: bool) -> Bits {
        let terms = affinity.terms.iter().filter(|term| !term.is_empty());
        let met = terms.map(|term| self.meeting_term(term, nodes.clone(), only_cpu));
        let any = met.reduce(|mut any, one| {
            any.union(&one);
            any
        });
        any.unwrap_or_else(|| Bits::none(self.len()))
    }

    fn meeting_term(&self, term: &Term, nodes: Bits, only_cpu: bool) -> Bits {
        let mut out = nodes;
        for expression in &term.expressions {
            if !only_cpu || Family::of(expression.key()).is_cpu() {
                self.keep_matching(expression, &mut out);
            }
        }
        for rule in term.names.iter().filter(|_| !only_cpu) {
            match rule {
                NameRule::Is(name) => {
                    let found = self.find(name).filter(|&node| out.contains(node));
                    out = Bits::none(self.len());
                    if let Some(node) = found {
                        out.insert(node);
                    }
                }
                NameRule::IsNot(name) => self.find(name).into_iter().for_each(|node| out.remove(node)),
                NameRule::Invalid => out = Bits::none(self.len()),
            }
        }
        out
    }

    fn keep_matching(&self, expression: &Expression, nodes: &mut Bits) {
        let Some(key) = self.keys.get(expression.key()) else {
            if !expression.holds(None) {
                *nodes = Bits::none(self.len());
            }
            return;
        };
        let negated = matches!(expression, Expression::NotIn(..) | Expression::DoesNotExist(_));
        // Those that have the label with a value that decides: for it, or for a negated condition against it.
        let decides = |value: &str| expression.holds(Some(value)) != negated;
        let deciding: Vec<&Members> =
            key.values.iter().filter(|(value, _)| decides(value)).map(|(_, label)| self.members(*label)).collect();
        let in_profile = key.family.is_profile();
        match deciding.as_slice() {
            [one] if !in_profile && negated => return one.take_from(nodes),
            [one] if !in_profile => return one.keep_in(nodes),
            _ => {}
        }
        let mut having = Bits::none(if in_profile { self.profiles.len() } else { self.len() });
        for members in deciding {
            members.add_to(&mut having);
        }
        if in_profile {
            having = self.expand(&having);
        }
        if negated {
            nodes.subtract(&having);
        } else {
            nodes.intersect(&having);
        }
    }
}

impl<'f> Lookup<'f, '_> {
    /// The nodes that pass, condition by condition. Mirrors the scheduler's filters `NodeName`,
    /// `NodeUnschedulable`, `NodeAffinity` and `TaintToleration`.
    #[must_use]
    pub fn passes(&self) -> Passes {
        let fleet = self.fleet;
        let cpu = self.cpu();
        if cpu.is_empty() {
            return Passes { placement: cpu.clone(), fitting: cpu.clone(), cpu };
        }
        let affinity = self.placement.affinity.as_ref();
        let mut placement = affinity.map_or_else(|| cpu.clone(), |affinity| fleet.meeting(affinity, &cpu, false));
        for entry in self.entries.iter().filter(|e| !e.family.is_cpu() && e.family != Family::Schedulable) {
            self.keep(*entry, &mut placement);
        }
        if let Some(name) = self.placement.node_name.as_deref().filter(|name| !name.is_empty()) {
            let found = fleet.find(name).filter(|&node| placement.contains(node));
            placement = Bits::none(fleet.len());
            if let Some(node) = found {
                placement.insert(node);
            }
        }
        let mut fitting = placement.clone();
        for entry in self.entries.iter().filter(|e| e.family == Family::Schedulable) {
            self.keep(*entry, &mut fitting);
        }
        if !self.placement.tolerates_cordon() {
            fitting.subtract(&fleet.cordoned);
        }
        for (taints, members) in &fleet.taints {
            if taints.iter().any(|taint| taint.effect.refuses() && !self.placement.tolerates(taint)) {
                members.take_from(&mut fitting);
            }
        }
        Passes { cpu, placement, fitting }
    }

    /// The nodes whose CPU labels meet the demand, affinity on CPU labels included.
    fn cpu(&self) -> Bits {
        let fleet = self.fleet;
        let mut profiles = Bits::all(fleet.profiles.len());
        for entry in self.entries.iter().filter(|entry| entry.family.is_profile()) {
            match entry.label {
                Some(label) => fleet.members(label).keep_in(&mut profiles),
                None => return Bits::none(fleet.len()),
            }
        }
        let mut nodes = fleet.expand(&profiles);
        for entry in self.entries.iter().filter(|e| e.family.is_cpu() && !e.family.is_profile()) {
            self.keep(*entry, &mut nodes);
        }
        if let Some(affinity) = &self.placement.affinity
            && affinity.terms.iter().flat_map(|t| &t.expressions).any(|e| Family::of(e.key()).is_cpu())
        {
            nodes = fleet.meeting(affinity, &nodes, true);
        }
        nodes
    }

    fn keep(&self, entry: Resolved, nodes: &mut Bits) {
        match entry.label {
            Some(label) => self.fleet.members(label).keep_in(nodes),
            None => *nodes = Bits::none(self.fleet.len()),
        }
    }

    /// Up to `most` nodes that lack the fewest selector entries, those that lack none left out: count first,
    /// then name; nodes whose taints shut the pod out come last.
    #[must_use]
    pub fn nearest(&self, leave_out: Option<NodeIndex>, most: usize) -> Vec<NodeIndex> {
        let fleet = self.fleet;
        let mut by_profile = Counters::new(fleet.profiles.len());
        let mut by_node = Counters::new(fleet.len());
        let mut everywhere = 0;
        for entry in &self.entries {
            match (entry.label, entry.family.is_profile()) {
                (None, _) => everywhere += 1,
                (Some(label), true) => {
                    fleet.members(label).count_absent(&mut by_profile, fleet.profiles.len());
                }
                (Some(label), false) => {
                    fleet.members(label).count_absent(&mut by_node, fleet.len());
                }
            }
        }
        let mut shut_out = Bits::none(fleet.len());
        for (taints, members) in &fleet.taints {
            if taints.iter().any(|taint| self.shuts_out(taint)) {
                members.add_to(&mut shut_out);
            }
        }
        let mut open = shut_out.clone();
        open.invert();
        if let Some(node) = leave_out {
            open.remove(node);
            shut_out.remove(node);
        }
        let mut out = Vec::new();
        for group in [open, shut_out] {
            let mut best: Vec<(u32, u32, NodeIndex)> = Vec::new();
            let wanted = most - out.len();
            if wanted == 0 || group.is_empty() {
                continue;
            }
            let by_count: Vec<(u32, Bits)> = (0..=by_node.limit())
                .map(|count| {
                    let mut nodes = by_node.equal_to(count);
                    nodes.intersect(&group);
                    (count, nodes)
                })
                .filter(|(_, nodes)| !nodes.is_empty())
                .collect();
            for of_profile in 0..=by_profile.limit() {
                if best.len() == wanted && best[wanted - 1].0 < of_profile {
                    break;
                }
                for profile in by_profile.equal_to(of_profile).iter() {
                    let Profile { start, end, .. } = fleet.profiles[profile];
                    for (of_node, nodes) in &by_count {
                        let count = of_profile + of_node;
                        if count + everywhere == 0 {
                            continue;
                        }
                        for node in nodes.iter_range(start, end) {
                            let found = (count, fleet.rank[node], node);
                            if best.len() == wanted && best[wanted - 1] <= found {
                                break;
                            }
                            let at = best.partition_point(|kept| *kept < found);
                            best.insert(at, found);
                            best.truncate(wanted);
                        }
                    }
                }
            }
            out.extend(best.into_iter().map(|(_, _, node)| node));
        }
        out
    }

    fn shuts_out(&self, taint: &Taint) -> bool {
        // A cordon's and a failing node's own taints pass; those of a person stay.
        taint.effect.refuses() && !taint.key.starts_with("node.kubernetes.io/") && !self.placement.tolerates(taint)
    }

    /// The selector entries a node does not meet, by key.
    #[must_use]
    pub fn missing(&self, node: NodeIndex) -> Vec<(String, String)> {
        let mut out: Vec<(String, String)> = self
            .placement
            .selector
            .iter()
            .zip(&self.entries)
            .filter(|(_, entry)| !self.fleet.meets(node, **entry))
            .map(|((key, value), _)| (key.to_string(), value.to_string()))
            .collect();
        out.sort_unstable();
        out
    }

    /// Why one node does not take the pod.
    #[must_use]
    pub fn refusal(&self, node: NodeIndex) -> Refusal {
        let affinity = self.placement.affinity.as_ref().map(|affinity| self.failing(affinity, node));
        Refusal {
            missing: self.missing(node),
            affinity: affinity.unwrap_or_default(),
            taints: self.untolerated(node),
            cordoned: self.is_kept_out_by_cordon(node),
            other_node: self
                .placement
                .node_name
                .as_deref()
                .is_some_and(|name| !name.is_empty() && name != self.fleet.name(node)),
        }
    }

    /// The taints of a node that keep the pod out, that of a cordon left aside.
    #[must_use]
    pub fn untolerated(&self, node: NodeIndex) -> Vec<Taint> {
        let taints = self.fleet.taints(node).iter().filter(|taint| taint.key != label::TAINT_UNSCHEDULABLE);
        taints.filter(|taint| taint.effect.refuses() && !self.placement.tolerates(taint)).cloned().collect()
    }

    /// Whether the pod is kept out by a cordon.
    #[must_use]
    pub fn is_kept_out_by_cordon(&self, node: NodeIndex) -> bool {
        let tainted = self
            .fleet
            .taints(node)
            .iter()
            .any(|t| t.key == label::TAINT_UNSCHEDULABLE && t.effect.refuses() && !self.placement.tolerates(t));
        tainted || (self.fleet.is_cordoned(node) && !self.placement.tolerates_cordon())
    }

    /// The conditions that fail in the term that comes nearest to matching; none where one matches.
    fn failing(&self, affinity: &NodeSelector, node: NodeIndex) -> Vec<String> {
        let name = self.fleet.name(node);
        let fails = |term: &Term| -> Vec<String> {
            let labels = term.expressions.iter().filter(|e| !e.holds(self.fleet.label(node, e.key())));
            let names = term.names.iter().filter_map(|rule| match rule {
                NameRule::Is(wanted) if wanted != name => Some(format!("metadata.name in ({wanted})")),
                NameRule::IsNot(other) if other == name => Some(format!("metadata.name not in ({other})")),
                NameRule::Invalid => Some("an invalid matchFields".to_owned()),
                _ => None,
            });
            labels.map(ToString::to_string).chain(names).collect()
        };
        let nearest = affinity.terms.iter().filter(|term| !term.is_empty()).map(fails).min_by_key(Vec::len);
        nearest.unwrap_or_else(|| vec!["the node affinity has no term that could match".to_owned()])
    }

    /// The fleet looked into.
    #[must_use]
    pub fn fleet(&self) -> &'f Fleet {
        self.fleet
    }
}

#[derive(Default)]
struct Builder {
    keys: HashMap<Box<str>, Key>,
    labels: Vec<(Box<str>, Box<str>, Vec<u32>)>,
}

impl Builder {
    fn intern(&mut self, key: &str, value: &str) -> (Family, u32) {
        let found = match self.keys.get_mut(key) {
            Some(found) => found,
            None => self.keys.entry(key.into()).or_insert(Key { family: Family::of(key), values: Vec::new() }),
        };
        let label = match found.values.binary_search_by(|(v, _)| v.as_ref().cmp(value)) {
            Ok(at) => found.values[at].1,
            Err(at) => {
                let label = self.labels.len() as u32;
                self.labels.push((key.into(), value.into(), Vec::new()));
                found.values.insert(at, (value.into(), label));
                label
            }
        };
        (found.family, label)
    }

    /// Nodes come in the order of their names, so that this order holds inside each profile.
    fn build(mut self, nodes: Vec<Node>) -> Fleet {
        let mut by_profile: HashMap<Box<[u32]>, Vec<usize>> = HashMap::new();
        let mut own: Vec<Box<[u32]>> = Vec::with_capacity(nodes.len());
        for (at, node) in nodes.iter().enumerate() {
            let (mut of_profile, mut of_node) = (Vec::new(), Vec::new());
            for (key, value) in &node.labels {
                let (family, label) = self.intern(key, value);
                let list = if family.is_profile() { &mut of_profile } else { &mut of_node };
                list.push(label);
            }
            of_profile.sort_unstable();
            of_node.sort_unstable();
            own.push(of_node.into());
            by_profile.entry(of_profile.into()).or_default().push(at);
        }
        let mut groups: Vec<(Box<[u32]>, Vec<usize>)> = by_profile.into_iter().collect();
        groups.sort_unstable_by_key(|(_, members)| members[0]);

        let count = nodes.len();
        let mut fleet = Fleet { cordoned: Bits::none(count), not_ready: Bits::none(count), ..Fleet::default() };
        let mut slots: Vec<Option<(Node, Box<[u32]>)>> = nodes.into_iter().zip(own).map(Some).collect();
        let mut classes: HashMap<HostModelClass, usize> = HashMap::new();
        let mut taints: BTreeMap<Vec<Taint>, Vec<u32>> = BTreeMap::new();
        for (number, (labels, members)) in groups.into_iter().enumerate() {
            let start = fleet.names.len();
            for &label in &labels {
                self.labels[label as usize].2.push(number as u32);
            }
            for at in members {
                let Some((node, own)) = slots[at].take() else { continue };
                let index = fleet.names.len();
                for &label in &own {
                    self.labels[label as usize].2.push(index as u32);
                }
                if node.cordoned {
                    fleet.cordoned.insert(index);
                }
                if node.not_ready {
                    fleet.not_ready.insert(index);
                }
                if let Some(value) = node.skip_node {
                    fleet.skip_node.insert(index, value);
                }
                if !node.taints.is_empty() {
                    let mut sorted = node.taints;
                    sorted.sort_unstable();
                    taints.entry(sorted).or_default().push(index as u32);
                }
                fleet.rank.push(at as u32);
                fleet.by_name.insert(node.name.as_str().into(), index as u32);
                fleet.names.push(node.name.into());
                fleet.profile_of.push(number as u32);
                fleet.own_labels.push(own);
            }
            let next = classes.len();
            let class = *classes.entry(self.class(&labels)).or_insert(next);
            fleet.profiles.push(Profile { start, end: fleet.names.len(), labels, class });
        }
        let mut ordered: Vec<(HostModelClass, usize)> = classes.into_iter().collect();
        ordered.sort_unstable_by_key(|(_, number)| *number);
        fleet.classes = ordered.into_iter().map(|(class, _)| class).collect();
        fleet.taints = taints.into_iter().map(|(taints, members)| (taints, Members::of(members, count))).collect();
        let profiles = fleet.profiles.len();
        fleet.labels = self
            .labels
            .into_iter()
            .map(|(key, value, members)| {
                let len = if Family::of(&key).is_profile() { profiles } else { count };
                Label { members: Members::of(members, len), key, value }
            })
            .collect();
        fleet.labelled = self.keys.keys().any(|key| matches!(Family::of(key), Family::CpuFeature | Family::CpuModel));
        fleet.keys = self.keys;
        fleet
    }

    fn class(&self, labels: &[u32]) -> HostModelClass {
        let mut entries = Vec::new();
        let mut vendors = Vec::new();
        let mut named = false;
        for &label in labels {
            let (key, value, _) = &self.labels[label as usize];
            match Family::of(key) {
                Family::HostModelRequired => {
                    entries.push((label::twin(key, label::CPU_FEATURE), value.to_string()));
                }
                Family::HostModelCpu => {
                    named = true;
                    entries.push((label::twin(key, label::CPU_MODEL_MIGRATION), value.to_string()));
                }
                Family::CpuVendor => vendors.push(key.to_string()),
                _ => {}
            }
        }
        entries.sort_unstable();
        vendors.sort_unstable();
        HostModelClass { model: named.then_some(entries), vendors }
    }
}
