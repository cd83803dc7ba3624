//! A placement looked up in a fleet: the nodes that pass, the nearest others, and why a node does not pass.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use super::{Fleet, NodeIndex, Profile};
use crate::fit::affinity::RuleRef;
use crate::fit::bits::{Bits, Counters};
use crate::fit::effort::Effort;
use crate::fit::label::{self, Family};
use crate::fit::node::Taint;
use crate::fit::placement::{AffinityRule, NameRule, NodeSelector, Placement, Term};

/// Maximum number of failing affinity conditions listed for a node.
const CONDITIONS: usize = 64;

/// A selector entry, looked up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Resolved {
    pub(super) family: Family,
    /// The number of the label pair; `None` if no node has it.
    pub(super) label: Option<u32>,
}

/// A placement looked up in a fleet.
#[derive(Debug)]
pub struct Lookup<'f, 'p> {
    pub(super) fleet: &'f Fleet,
    pub(super) placement: &'p Placement<'p>,
    pub(super) entries: Vec<Resolved>,
}

/// The nodes that pass, condition by condition.
#[derive(Clone, Debug)]
pub struct FilterResult {
    /// The nodes whose CPU labels meet the demand.
    pub cpu: Bits,
    /// The nodes among `cpu` that also meet architecture, zone, machine type, affinity and node name.
    pub placement: Bits,
    /// The nodes among `placement` on which virt-handler is ready and neither cordon nor taint keeps the pod
    /// out.
    pub fitting: Bits,
}

impl FilterResult {
    /// Returns that of a pod which no node takes, or which is not created.
    pub(crate) fn none(nodes: usize) -> Self {
        let none = Bits::none(nodes);
        Self { cpu: none.clone(), placement: none.clone(), fitting: none }
    }

    /// Removes a node: the source of a migration is no target.
    pub(crate) fn leave_out(&mut self, node: NodeIndex) {
        self.cpu.remove(node);
        self.placement.remove(node);
        self.fitting.remove(node);
    }

    /// Removes nodes. Returns the removed nodes that were fitting.
    pub(crate) fn leave_out_all(&mut self, nodes: &Bits) -> Bits {
        let mut fitting = self.fitting.clone();
        fitting.intersect(nodes);
        self.cpu.subtract(nodes);
        self.placement.subtract(nodes);
        self.fitting.subtract(nodes);
        fitting
    }
}

/// The reasons why a node does not take a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeMismatch {
    /// The selector entries that the node does not meet, by key.
    pub missing: Vec<(String, String)>,
    /// The failing conditions of the affinity term that has the fewest of them; empty if the affinity is met.
    pub affinity: Vec<AffinityRule>,
    /// The taints that the pod does not tolerate, without that of a cordon.
    pub taints: Vec<Taint>,
    /// Whether a cordon keeps the pod out.
    pub cordoned: bool,
    /// Whether the pod names another node.
    pub other_node: bool,
}

impl NodeMismatch {
    /// Whether the node takes the pod.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Returns what the pod requires of the node's labels and does not find: the kubelet admits it again by these.
    pub(crate) fn unmet(self) -> BTreeSet<Requirement> {
        let entries = self.missing.into_iter().map(|(key, value)| Requirement::Entry(key, value));
        entries.chain(self.affinity.into_iter().map(Requirement::Condition)).collect()
    }
}

/// A requirement of a pod for the labels of its node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Requirement {
    /// An entry of its node selector.
    Entry(String, String),
    /// A condition of its required node affinity.
    Condition(AffinityRule),
}

impl Requirement {
    /// Returns the key of the label; `None` for a condition without one.
    pub(crate) fn key(&self) -> Option<&str> {
        match self {
            Self::Entry(key, _) => Some(key),
            Self::Condition(AffinityRule::Label(expression)) => Some(expression.key()),
            Self::Condition(AffinityRule::Name(_) | AffinityRule::NoTerm) => None,
        }
    }
}

/// A condition of a term, with the nodes that meet it.
struct TermRule<'a> {
    rule: RuleRef<'a>,
    meeting: Bits,
    /// The condition as the nodes that fail it share it: most conditions are never copied.
    shared: OnceCell<Arc<AffinityRule>>,
}

impl TermRule<'_> {
    fn shared(&self) -> Arc<AffinityRule> {
        Arc::clone(self.shared.get_or_init(|| Arc::new(self.rule.into())))
    }
}

impl<'f> Lookup<'f, '_> {
    /// Filters the nodes, condition by condition. Mirrors the scheduler's filters `NodeName`,
    /// `NodeUnschedulable`, `NodeAffinity` and `TaintToleration`.
    #[must_use]
    pub fn passes(&self) -> FilterResult {
        let fleet = self.fleet;
        let mut cpu = self.cpu();
        fleet.unread.keys().for_each(|&node| cpu.remove(node));
        if cpu.is_empty() {
            return FilterResult { placement: cpu.clone(), fitting: cpu.clone(), cpu };
        }
        let mut placement = cpu.clone();
        if let Some(affinity) = &self.placement.affinity {
            placement.intersect(&fleet.met(affinity).all);
        }
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
        fitting.subtract(&fleet.kept_out(&self.placement.tolerations).by_any);
        FilterResult { cpu, placement, fitting }
    }

    /// Returns the nodes whose CPU labels meet the demand, including affinity on CPU labels.
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
            && let Some(met) = &fleet.met(affinity).cpu
        {
            nodes.intersect(met);
        }
        nodes
    }

    fn keep(&self, entry: Resolved, nodes: &mut Bits) {
        match entry.label {
            Some(label) => self.fleet.members(label).keep_in(nodes),
            None => *nodes = Bits::none(self.fleet.len()),
        }
    }

    /// Returns the nodes that meet every demand that is neither about the CPU nor temporary: architecture,
    /// zone, machine type, node name, and the affinity if it has no conditions on CPU labels.
    #[must_use]
    pub fn open(&self) -> Bits {
        let fleet = self.fleet;
        let mut nodes = Bits::all(fleet.len());
        for entry in self.entries.iter().filter(|e| !e.family.is_cpu() && e.family != Family::Schedulable) {
            self.keep(*entry, &mut nodes);
        }
        if let Some(affinity) = &self.placement.affinity {
            let met = fleet.met(affinity);
            if met.cpu.is_none() {
                nodes.intersect(&met.all);
            }
        }
        if let Some(name) = self.placement.node_name.as_deref().filter(|name| !name.is_empty()) {
            let found = fleet.find(name).filter(|&node| nodes.contains(node));
            nodes = Bits::none(fleet.len());
            if let Some(node) = found {
                nodes.insert(node);
            }
        }
        nodes
    }

    /// Returns the nodes that meet every selector entry and fail the required affinity.
    pub(crate) fn excluded_by_affinity(&self) -> Bits {
        let fleet = self.fleet;
        let Some(affinity) = &self.placement.affinity else { return Bits::none(fleet.len()) };
        let mut nodes = Bits::all(fleet.len());
        nodes.subtract(&fleet.met(affinity).all);
        for entry in &self.entries {
            if !entry.family.is_profile() {
                self.keep(*entry, &mut nodes);
            }
        }
        let mut profiles = Bits::all(fleet.profiles.len());
        for entry in self.entries.iter().filter(|entry| entry.family.is_profile()) {
            match entry.label {
                Some(label) => fleet.members(label).keep_in(&mut profiles),
                None => return Bits::none(fleet.len()),
            }
        }
        nodes.intersect(&fleet.expand(&profiles));
        nodes
    }

    /// Returns up to `most` of these nodes that lack the fewest selector entries, but at least one: ordered by
    /// that number, then by name. Nodes whose taints keep the pod out come last.
    #[must_use]
    pub fn nearest(&self, among: &Bits, most: usize) -> Vec<NodeIndex> {
        let fleet = self.fleet;
        let mut by_profile = Counters::default();
        let mut by_node = Counters::default();
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
        // Taints of a cordon or a failing node are temporary; taints set by a person are not.
        let mut shut_out = fleet.kept_out(&self.placement.tolerations).by_person.clone();
        shut_out.intersect(among);
        let mut open = among.clone();
        open.subtract(&shut_out);
        for &node in fleet.unread.keys() {
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
            let by_count = by_node.groups(&group);
            for (of_profile, profiles) in by_profile.groups(&Bits::all(fleet.profiles.len())) {
                if best.len() == wanted && best[wanted - 1].0 < of_profile {
                    break;
                }
                for profile in profiles.iter() {
                    let Profile { start, end, .. } = fleet.profiles[profile];
                    for (of_node, nodes) in &by_count {
                        let count = of_profile + of_node;
                        if best.len() == wanted && best[wanted - 1].0 < count {
                            break;
                        }
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

    /// Returns the selector entries that a node does not meet, by key.
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

    /// Returns the selector entries that no node meets, by key.
    pub(in crate::fit) fn nowhere(&self) -> Vec<(String, String)> {
        let entries = self.placement.selector.iter().zip(&self.entries);
        let unknown = entries.filter(|(_, entry)| entry.label.is_none());
        let mut out: Vec<(String, String)> =
            unknown.map(|((key, value), _)| (key.to_string(), value.to_string())).collect();
        out.sort_unstable();
        out
    }

    /// Returns, for the entries of `missing` whose key the node has, the node's value.
    #[must_use]
    pub fn values(&self, node: NodeIndex, missing: &[(String, String)]) -> BTreeMap<String, String> {
        let value = |(key, _): &(String, String)| Some((key.clone(), self.fleet.label(node, key)?.to_owned()));
        missing.iter().filter_map(value).collect()
    }

    /// Returns the reasons why a node does not take the pod.
    #[must_use]
    pub fn refusal(&self, node: NodeIndex) -> NodeMismatch {
        let affinity = self.placement.affinity.as_ref().filter(|affinity| !self.fleet.met(affinity).all.contains(node));
        let affinity = affinity.map(|affinity| self.failing(affinity, node));
        NodeMismatch {
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

    /// Returns the taints of a node that keep the pod out, without that of a cordon.
    #[must_use]
    pub fn untolerated(&self, node: NodeIndex) -> Vec<Taint> {
        let taints = self.fleet.taints(node).iter().filter(|taint| taint.key != label::TAINT_UNSCHEDULABLE);
        taints.filter(|taint| taint.effect.refuses() && !self.placement.tolerates(taint)).cloned().collect()
    }

    /// Whether a cordon keeps the pod out.
    pub(crate) fn is_kept_out_by_cordon(&self, node: NodeIndex) -> bool {
        let tainted = self
            .fleet
            .taints(node)
            .iter()
            .any(|t| t.key == label::TAINT_UNSCHEDULABLE && t.effect.refuses() && !self.placement.tolerates(t));
        tainted || (self.fleet.is_cordoned(node) && !self.placement.tolerates_cordon())
    }

    /// Returns the failing conditions of the term that has the fewest of them.
    fn failing(&self, affinity: &NodeSelector, node: NodeIndex) -> Vec<AffinityRule> {
        let name = self.fleet.name(node);
        let fails = |term: &Term| -> Vec<AffinityRule> {
            let labels = term.expressions.iter().filter(|e| !e.holds(self.fleet.label(node, e.key())));
            let names = term.names.iter().filter(|rule| match rule {
                NameRule::Is(wanted) => wanted != name,
                NameRule::IsNot(other) => other == name,
                NameRule::Invalid => true,
            });
            // KubeVirt adds a condition to each term. If the guest's own affinity already has it, it is listed
            // once.
            let mut seen = HashSet::new();
            let rules = labels.cloned().map(AffinityRule::Label).chain(names.cloned().map(AffinityRule::Name));
            rules.filter(|rule| seen.insert(rule.clone())).collect()
        };
        let nearest = affinity.terms.iter().filter(|term| !term.is_empty()).map(fails).min_by_key(Vec::len);
        nearest.unwrap_or_else(|| vec![AffinityRule::NoTerm])
    }

    /// Returns, for each of these nodes, the first [`CONDITIONS`] failing conditions of the term that has the
    /// fewest. Conditions are looked up once for all nodes; `None` if the deadline passed first.
    pub(in crate::fit) fn failing_affinity(
        &self,
        nodes: &[NodeIndex],
        effort: Effort<'_>,
    ) -> Option<Vec<Vec<Arc<AffinityRule>>>> {
        let fleet = self.fleet;
        let Some(affinity) = self.placement.affinity.as_ref().filter(|_| !nodes.is_empty()) else {
            return Some(vec![Vec::new(); nodes.len()]);
        };
        let mut terms: Vec<Vec<TermRule<'_>>> = Vec::new();
        for term in affinity.terms.iter().filter(|term| !term.is_empty()) {
            let mut rules = Vec::new();
            let labels = term.expressions.iter().map(RuleRef::Label);
            for rule in labels.chain(term.names.iter().map(RuleRef::Name)) {
                if effort.is_over() {
                    return None;
                }
                rules.push(TermRule { rule, meeting: fleet.meeting_rule(rule), shared: OnceCell::new() });
            }
            terms.push(rules);
        }
        let no_term = [Arc::new(AffinityRule::NoTerm)];
        let mut out = Vec::new();
        for &node in nodes {
            if effort.is_over() {
                return None;
            }
            let fails = |rule: &&TermRule<'_>| !rule.meeting.contains(node);
            let nearest = terms.iter().min_by_key(|rules| rules.iter().filter(fails).count());
            let failing = nearest.map(|rules| rules.iter().filter(fails).take(CONDITIONS));
            let failing = failing.map(|rules| rules.map(TermRule::shared).collect());
            out.push(failing.unwrap_or_else(|| no_term.to_vec()));
        }
        Some(out)
    }

    /// Returns the fleet.
    #[must_use]
    pub fn fleet(&self) -> &'f Fleet {
        self.fleet
    }

    /// Returns the placement.
    #[must_use]
    pub fn placement(&self) -> &Placement<'_> {
        self.placement
    }
}
