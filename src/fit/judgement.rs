//! A subject looked up in the fleet: its assessment, the nearest nodes, and the inputs of the checks.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use super::assess::{self, StartGroup, StartOf};
use super::author::{AskedAt, Authors};
use super::bits::Bits;
use super::fleet::{FilterResult, Fleet, Lookup, NodeIndex};
use super::label::{self, Family};
use super::node::Taint;
use super::outcome::{Assessment, Besides, Blocked, Cause, Excluded, Nearest, Outcome, Unknown};
use super::placement::{AffinityRule, Placement};
use super::subject::{AfterStart, Stage, Subject};

pub use super::effort::{Depth, Effort};

/// Maximum number of nearest nodes.
const NEAREST_NODES: usize = 3;

/// Maximum number of nodes whose failing affinity a brief judgement names.
const EXCLUDED_IN_BRIEF: usize = 64;

/// A node that is excluded only by a temporary cause: a cordon, a taint, a virt-handler that is not ready.
pub(super) struct KeptOutNode {
    pub node: NodeIndex,
    pub cordoned: bool,
    pub taints: Vec<Taint>,
    pub unwell: bool,
}

/// A subject looked up in the fleet.
#[derive(Debug)]
pub struct Judgement<'s, 'f> {
    pub(super) subject: &'s Subject<'s>,
    pub(super) fleet: &'f Fleet,
    pub(super) effort: Effort<'s>,
    /// The node that the guest leaves.
    pub(super) source: Option<NodeIndex>,
    pub(super) lookup: Lookup<'f, 's>,
    pub(super) passes: FilterResult,
    /// The nodes that would fit if their libvirt did not refuse the guest.
    pub(super) refused_targets: Bits,
    /// The candidate nodes: those of the guest's architecture, without the node that it leaves.
    pub(super) neighbours: Bits,
    /// Outcome, cause and fitting nodes.
    pub(super) assessment: Assessment,
    nearest: OnceCell<Vec<Nearest>>,
    excluded: OnceCell<Vec<Excluded>>,
}

/// Returns the candidate nodes: those of the guest's architecture, without the node that it leaves.
pub(crate) fn neighbours(subject: &Subject<'_>, fleet: &Fleet) -> Bits {
    let mut out = Bits::all(fleet.len());
    if let Some(architecture) = subject.placement.get(label::ARCH) {
        out.subtract(&fleet.bearing_another(label::ARCH, architecture));
    }
    if let Some(node) = subject.source().and_then(|name| fleet.find(name)) {
        out.remove(node);
    }
    out
}

/// Judges a subject: the outcome, its cause and the fitting nodes. Runs no checks.
pub fn assess(subject: &Subject<'_>, fleet: &Fleet) -> Assessment {
    Judgement::new(subject, fleet, Depth::Brief).into_assessment()
}

impl<'s, 'f> Judgement<'s, 'f> {
    /// Looks the subject up and assesses it.
    #[must_use]
    pub fn new(subject: &'s Subject<'s>, fleet: &'f Fleet, effort: impl Into<Effort<'s>>) -> Self {
        let effort = effort.into();
        let source = subject.source().and_then(|name| fleet.find(name));
        let lookup = fleet.look_up(&subject.placement);
        let mut passes = lookup.passes();
        if let Some(node) = source {
            passes.leave_out(node);
        }
        let kept_out = subject.kept_out(fleet);
        let refused_targets = kept_out.as_ref().map(|kept_out| passes.leave_out_all(kept_out));
        let neighbours = neighbours(subject, fleet);
        let assessment = assess::assess_passes(subject, &lookup, &passes, &neighbours, effort);
        Self {
            subject,
            fleet,
            effort,
            source,
            lookup,
            passes,
            refused_targets: refused_targets.unwrap_or_else(|| Bits::none(fleet.len())),
            neighbours,
            assessment,
            nearest: OnceCell::new(),
            excluded: OnceCell::new(),
        }
    }

    /// Sets the outcome to unknown if a reason outside the nodes prevents a judgement.
    pub(crate) fn unless_not_judged(mut self, why: Option<String>) -> Self {
        if let Some(why) = why {
            self.assessment.outcome = Outcome::Unknown(Unknown::NotJudged(why));
            self.assessment.cause = None;
            self.assessment.fitting = Bits::none(self.fleet.len());
        }
        self
    }

    /// Whether a judgement was possible.
    pub(super) fn is_judged(&self) -> bool {
        !matches!(self.assessment.outcome, Outcome::Unknown(Unknown::NotJudged(_)))
    }

    /// Returns outcome, cause and fitting nodes.
    pub(crate) fn into_assessment(self) -> Assessment {
        self.assessment
    }

    /// Returns the neighbours, and the node that the guest runs on.
    pub(super) fn neighbours_and_source(&self) -> Bits {
        let mut out = self.neighbours.clone();
        if let Some(source) = self.source {
            out.insert(source);
        }
        out
    }

    /// Returns the nodes that would fit but for a cordon, taints or virt-handler, and that libvirt excludes as well;
    /// `None` if libvirt was not asked.
    pub(super) fn refused_elsewhere(&self) -> Option<Bits> {
        let mut out = self.subject.kept_out(self.fleet)?;
        let passes = self.lookup.passes();
        out.intersect(&passes.placement);
        out.subtract(&passes.fitting);
        self.source.inspect(|&source| out.remove(source));
        Some(out)
    }

    pub(super) fn is_migration(&self) -> bool {
        matches!(self.subject.stage, Stage::Migration(_))
    }

    /// Runs `find_out`. Returns `None` if the deadline passed, because the result may be incomplete.
    pub(super) fn within<T>(&self, find_out: impl FnOnce() -> Option<T>) -> Option<T> {
        if self.effort.is_over() {
            return None;
        }
        find_out().filter(|_| !self.effort.is_over())
    }

    /// Groups the start nodes by the number of nodes that a guest started there could migrate to, fewest
    /// first.
    pub(super) fn targets_by_start(
        &self,
        start: &Placement<'_>,
        after_start: AfterStart,
        nodes: &Bits,
    ) -> BTreeMap<usize, Bits> {
        let groups = self.start_groups(start, after_start, nodes).unwrap_or_default();
        assess::by_count(groups, self.fleet)
    }

    /// Groups the start nodes by the targets that they leave; `None` if the deadline passed first.
    pub(super) fn start_groups(
        &self,
        start: &Placement<'_>,
        after_start: AfterStart,
        nodes: &Bits,
    ) -> Option<Vec<StartGroup>> {
        let start = StartOf::next(self.subject, start, after_start);
        assess::start_groups(self.subject, start, nodes, self.fleet, self.effort)
    }

    /// Returns the names of nodes, sorted.
    pub(super) fn names(&self, nodes: &Bits) -> Vec<String> {
        self.fleet.names(nodes).into_iter().map(str::to_owned).collect()
    }

    /// Returns up to three nodes that lack the fewest entries.
    pub(super) fn nearest(&self) -> &[Nearest] {
        self.nearest.get_or_init(|| if self.is_judged() { self.find_nearest(NEAREST_NODES) } else { Vec::new() })
    }

    /// Returns up to `most` nodes that lack the fewest entries.
    pub(super) fn find_nearest(&self, most: usize) -> Vec<Nearest> {
        let mut nodes = self.nearest_neighbours(most);
        // Nodes of another architecture are listed only if there is no other node and the guest is impaired.
        if nodes.is_empty() && self.assessment.outcome.impact().is_some() {
            let mut all = Bits::all(self.fleet.len());
            if let Some(node) = self.source {
                all.remove(node);
            }
            nodes = self.lookup.nearest(&all, most);
        }
        // A host that is selected by name is named first, even if it lacks more.
        if let Some(host) = self.selected_host() {
            let hosts = self.fleet.bearing(label::HOSTNAME, host);
            let lacks = |node: &NodeIndex| hosts.contains(*node) && !self.lookup.missing(*node).is_empty();
            let first: Vec<NodeIndex> = self.neighbours.iter().filter(lacks).take(most).collect();
            nodes.retain(|node| !first.contains(node));
            nodes.splice(0..0, first);
            nodes.truncate(most);
        }
        let affinity = self.failing_affinity(&nodes);
        nodes
            .into_iter()
            .zip(affinity)
            .map(|(node, affinity)| {
                let missing = self.lookup.missing(node);
                let evidence = self.evidence(node, &missing);
                let has = self.lookup.values(node, &missing);
                let name = self.fleet.name(node);
                let untrue = self.subject.untrue(name, &missing);
                let besides = self.besides(node, affinity);
                Nearest { node: name.to_owned(), missing, has, evidence, untrue, besides }
            })
            .collect()
    }

    /// Returns the conditions of the required node affinity that each of these nodes fails; none if the deadline passed
    /// first.
    fn failing_affinity(&self, nodes: &[NodeIndex]) -> Vec<Vec<Arc<AffinityRule>>> {
        let found = self.within(|| self.lookup.failing_affinity(nodes, self.effort));
        found.unwrap_or_else(|| vec![Vec::new(); nodes.len()])
    }

    fn besides(&self, node: NodeIndex, affinity: Vec<Arc<AffinityRule>>) -> Besides {
        let untolerated = self.lookup.untolerated(node);
        let (down, taints): (Vec<Taint>, Vec<Taint>) = untolerated.into_iter().partition(Taint::is_of_down_node);
        let not_ready = !down.is_empty() || self.fleet.not_ready().contains(node);
        Besides { not_ready, cordoned: self.lookup.is_kept_out_by_cordon(node), taints, affinity }
    }

    /// Returns the host that the pod's selector names, by the guest's own node selector or by the migration.
    pub(super) fn selected_host(&self) -> Option<&str> {
        self.subject.placement.get(label::HOSTNAME)
    }

    /// Returns the candidate nodes that lack the fewest entries. With answers of libvirt, in this order: nodes
    /// whose CPU labels libvirt finds wrong, nodes on which it gives no answer about them, nodes whose labels
    /// it finds right, and nodes that it refuses, to which no added label moves the guest.
    fn nearest_neighbours(&self, most: usize) -> Vec<NodeIndex> {
        if self.subject.asked.is_none() {
            return self.lookup.nearest(&self.neighbours, most);
        }
        let mut groups: [Bits; 4] = std::array::from_fn(|_| Bits::none(self.fleet.len()));
        for node in self.neighbours.iter() {
            groups[self.evidence(node, &self.lookup.missing(node)).rank()].insert(node);
        }
        let mut out = Vec::new();
        for group in &groups {
            out.extend(self.lookup.nearest(group, most - out.len()));
        }
        out
    }

    pub(super) fn blocked(&self) -> Vec<Blocked> {
        if !self.is_judged() {
            return Vec::new();
        }
        let tolerations = self.subject.own_tolerations();
        let kept_out = self.kept_out().into_iter().filter(|kept| !kept.unwell);
        let mut out: Vec<Blocked> = kept_out
            .map(|kept| Blocked {
                node: self.fleet.name(kept.node).to_owned(),
                cordoned: kept.cordoned,
                near: kept.taints.iter().filter_map(|taint| tolerations.near(taint)).collect(),
                taints: kept.taints,
            })
            .collect();
        out.sort_unstable_by(|one, other| one.node.cmp(&other.node));
        out
    }

    /// Returns the nodes that take the guest once they are uncordoned.
    pub(crate) fn opened_by_uncordon(&self) -> Bits {
        let mut out = Bits::none(self.fleet.len());
        if self.is_judged() {
            let kept_out = self.kept_out().into_iter();
            let is_cordoned = |kept: &KeptOutNode| !kept.unwell && kept.cordoned && kept.taints.is_empty();
            kept_out.filter(is_cordoned).for_each(|kept| out.insert(kept.node));
        }
        out
    }

    /// Returns the nodes that take the guest once they are ready again, by name: kept out by the taints of a node that
    /// is not ready and by its virt-handler alone.
    pub(crate) fn fits_once_ready(&self) -> Vec<&'f str> {
        let is_down = |kept: &KeptOutNode| {
            !kept.cordoned && !kept.taints.is_empty() && kept.taints.iter().all(Taint::is_of_down_node)
        };
        let kept_out = if self.is_judged() { self.kept_out() } else { Vec::new() };
        kept_out.iter().filter(|kept| is_down(kept)).map(|kept| self.fleet.name(kept.node)).collect()
    }

    /// Returns the nodes that are excluded only by temporary causes: a cordon, taints, a virt-handler that is
    /// not ready.
    pub(super) fn kept_out(&self) -> Vec<KeptOutNode> {
        let mut nodes = self.passes.placement.clone();
        nodes.subtract(&self.passes.fitting);
        let well = self.subject.placement.selector.iter().find(|(key, _)| Family::of(key) == Family::Schedulable);
        nodes
            .iter()
            .map(|node| KeptOutNode {
                node,
                cordoned: self.lookup.is_kept_out_by_cordon(node),
                taints: self.lookup.untolerated(node),
                unwell: well.is_some_and(|(key, value)| self.fleet.label(node, key) != Some(value)),
            })
            .collect()
    }

    /// Whether there are nodes of an architecture other than the guest's.
    pub(super) fn has_other_architectures(&self) -> bool {
        self.neighbours.count() + usize::from(self.source.is_some()) < self.fleet.len()
    }

    /// Whether a candidate node fails an entry of the selector.
    pub(super) fn lacks_somewhere(&self) -> bool {
        !self.lookup.nearest(&self.neighbours, 1).is_empty()
    }

    /// Returns the candidate nodes that meet every selector entry and fail the required node affinity, if the
    /// guest is impaired.
    pub(super) fn excluded_nodes(&self) -> Bits {
        let has_failed = self.assessment.outcome.impact().is_some() && self.is_judged();
        let mut nodes = if has_failed { self.lookup.excluded_by_affinity() } else { Bits::none(self.fleet.len()) };
        nodes.intersect(&self.neighbours);
        nodes
    }

    /// Returns the nodes of [`Self::excluded_nodes`] with the conditions they fail, by name: all of them in a
    /// full judgement, the first [`EXCLUDED_IN_BRIEF`] in a brief one.
    pub(super) fn excluded(&self) -> &[Excluded] {
        self.excluded.get_or_init(|| self.find_excluded())
    }

    fn find_excluded(&self) -> Vec<Excluded> {
        let nodes = self.excluded_nodes();
        let most = if self.effort.depth == Depth::Full { usize::MAX } else { EXCLUDED_IN_BRIEF };
        let mut nodes: Vec<NodeIndex> = nodes.iter().collect();
        nodes.sort_unstable_by_key(|&node| self.fleet.name(node));
        nodes.truncate(most);
        let found = self.within(|| self.lookup.failing_affinity(&nodes, self.effort)).unwrap_or_default();
        let affinity = self.subject.placement.affinity.as_ref();
        let terms = affinity.map_or(0, |affinity| affinity.terms.iter().filter(|term| !term.is_empty()).count());
        let names = nodes.into_iter().map(|node| self.fleet.name(node).to_owned());
        names.zip(found).map(|(node, conditions)| Excluded { node, conditions, terms }).collect()
    }

    /// Returns the number of nodes of [`Self::excluded_nodes`] that [`Self::excluded`] does not name.
    pub(super) fn excluded_unnamed(&self) -> usize {
        let named = self.excluded().len();
        if named == 0 { 0 } else { self.excluded_nodes().count() - named }
    }

    /// Returns the affinity conditions that excluded nodes fail, each once.
    pub(super) fn excluding_rules(&self) -> Vec<&AffinityRule> {
        let (mut shared, mut known) = (HashSet::new(), BTreeSet::new());
        // Nodes share the conditions that they fail, and comparing pointers first is faster than comparing
        // conditions.
        let rules =
            self.excluded().iter().flat_map(|node| &node.conditions).filter(|rule| shared.insert(Arc::as_ptr(rule)));
        rules.map(|rule| &**rule).filter(|rule| known.insert(*rule)).collect()
    }

    /// Returns the nearest nodes whose labels are probably wrong, so that adding them helps.
    pub(super) fn curable(&self) -> impl Iterator<Item = (NodeIndex, &Nearest)> {
        self.nearest()
            .iter()
            .filter(|near| near.is_curable())
            .filter_map(|near| Some((self.fleet.find(&near.node)?, near)))
    }

    /// Returns the entries that no node meets, the source included.
    pub(super) fn nowhere(&self) -> Vec<(String, String)> {
        self.lookup.nowhere()
    }

    /// Returns the CPU entries that no node meets, if they are the reason why no node fits.
    pub(super) fn cpu_nowhere(&self) -> Vec<(String, String)> {
        if !self.assessment.fitting.is_empty() || self.assessment.cause != Some(Cause::Structural) {
            return Vec::new();
        }
        self.nowhere().into_iter().filter(|(key, _)| Family::of(key).is_cpu()).collect()
    }

    /// Returns the field of the judged object that leads to the field `below` the guest's spec.
    pub(super) fn field_of_guest(&self, below: &str) -> String {
        if self.is_migration() { "spec.vmiName".to_owned() } else { self.subject.field(below) }
    }

    /// Returns the field of the judged object that causes an impact: where it demands more than the nodes
    /// offer. Empty if no field does.
    pub(super) fn field(&self) -> String {
        let authors = &self.subject.authors;
        let entries = self.nearest().iter().flat_map(Nearest::to_blame);
        let of_entries = entries.filter_map(|(key, _)| authors.of_entry(key));
        let rules = self.excluding_rules();
        let of_rules = rules.into_iter().filter_map(|rule| authors.of_rule(rule));
        let leads = |asked: &&AskedAt| !asked.field.is_empty();
        let found = of_rules.chain(of_entries).chain(&authors.mode).find(leads);
        match found {
            Some(asked) => asked.field.clone(),
            // The guest that the pod belongs to is not known.
            None if self.subject.definition.field_root.is_empty() && *authors == Authors::default() => {
                "spec.nodeSelector".to_owned()
            }
            None => String::new(),
        }
    }
}
