//! The assessment of a subject: its outcome, the cause and the fitting nodes.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use super::bits::Bits;
use super::effort::{Depth, Effort};
use super::fleet::{FilterResult, Fleet, HostModelClass, Lookup, NodeIndex};
use super::label::{self, Family};
use super::outcome::{Assessment, Cause, Impact, Outcome, Unknown};
use super::placement::Placement;
use super::subject::{AfterStart, CpuFeatures, HostModelRule, Stage, Start, Subject};

/// A group of start nodes that leave a guest equal migration targets, apart from the start node itself.
#[derive(Clone, Debug)]
pub(crate) struct StartGroup {
    /// The start nodes.
    pub nodes: Bits,
    /// The targets of a guest that was started on one of them, that node itself included.
    pub targets: Bits,
    /// The targets, condition by condition.
    pub passes: FilterResult,
}

impl StartGroup {
    /// Returns the number of targets of a guest that was started on this node.
    pub(crate) fn targets_from(&self, node: NodeIndex) -> usize {
        self.targets.count() - usize::from(self.targets.contains(node))
    }

    /// Returns the largest number of targets that any of its start nodes leaves.
    pub(crate) fn most(&self) -> usize {
        // If every start node is also a target, each of them has one target less: itself.
        self.targets.count() - usize::from(self.nodes.count_common(&self.targets) == self.nodes.count())
    }

    /// Returns the smallest number of targets that any of its start nodes leaves.
    pub(crate) fn fewest(&self) -> usize {
        // A start node that is a target as well cannot be its own target.
        self.targets.count() - usize::from(self.nodes.meets(&self.targets))
    }
}

/// Judges a subject by the nodes that pass, from which its source was removed.
pub(super) fn assess_passes(
    subject: &Subject<'_>,
    lookup: &Lookup<'_, '_>,
    passes: &FilterResult,
    neighbours: &Bits,
    effort: Effort<'_>,
) -> Assessment {
    let fleet = lookup.fleet();
    let nodes_judged = neighbours.count();
    let (outcome, cause) = if fleet.is_empty() {
        (Outcome::Unknown(Unknown::NoNodes), None)
    } else if !fleet.is_labelled(subject.placement.get(label::ARCH)) {
        (Outcome::Unknown(Unknown::NoLabels), None)
    } else {
        match &subject.stage {
            Stage::Migration(_) => by_targets(lookup, passes, neighbours),
            Stage::Start(after_start) => by_start(subject, *after_start, lookup, passes, effort),
        }
    };
    // The unread node may be one that fits, so an impairment is not certain.
    let (outcome, cause) = match (outcome, fleet.unread()) {
        (Outcome::Impaired(_), Some((node, why))) => {
            (Outcome::Unknown(Unknown::UnreadNode { node: node.to_owned(), why: why.to_owned() }), None)
        }
        (outcome, _) => (outcome, cause),
    };
    let cause = cause.map(|cause| match cause {
        Cause::Placement if is_met_nowhere(subject, lookup, passes, neighbours) => Cause::Structural,
        cause => cause,
    });
    Assessment { outcome, cause, nodes_judged, fitting: passes.fitting.clone() }
}

/// Whether no candidate node, nor the node that the guest leaves, meets its CPU labels: then the CPU is the cause,
/// regardless of other conditions.
fn is_met_nowhere(subject: &Subject<'_>, lookup: &Lookup<'_, '_>, passes: &FilterResult, candidates: &Bits) -> bool {
    let own = || subject.source().and_then(|name| lookup.fleet().find(name));
    !candidates.is_empty()
        && !passes.cpu.meets(candidates)
        && own().is_none_or(|node| !lookup.passes().cpu.contains(node))
}

/// Judges a migration by its number of targets: with none the guest is pinned, with one fragile.
fn by_targets(lookup: &Lookup<'_, '_>, passes: &FilterResult, neighbours: &Bits) -> (Outcome, Option<Cause>) {
    let impaired = |impact, wanted| {
        let mut open = lookup.open();
        open.intersect(neighbours);
        (Outcome::Impaired(impact), Some(cause(passes, &open, wanted)))
    };
    match passes.fitting.count_to(2) {
        0 => impaired(Impact::Pinned, 1),
        // The only candidate node fits, so there is no cause to report.
        1 if neighbours.count_to(2) == 1 => (Outcome::Impaired(Impact::Fragile), None),
        1 => impaired(Impact::Fragile, 2),
        _ => (Outcome::Fits, None),
    }
}

fn by_start(
    subject: &Subject<'_>,
    after_start: AfterStart,
    lookup: &Lookup<'_, '_>,
    passes: &FilterResult,
    effort: Effort<'_>,
) -> (Outcome, Option<Cause>) {
    let (fleet, placement) = (lookup.fleet(), &subject.placement);
    if passes.fitting.is_empty() {
        return (Outcome::Impaired(Impact::Unschedulable), Some(cause(passes, &lookup.open(), 1)));
    }
    let start = StartOf::next(subject, placement, after_start);
    let Some(groups) = start_groups(subject, start, &passes.fitting, fleet, effort) else {
        return (Outcome::Unknown(Unknown::NotInTime), None);
    };
    let Some(worst) = groups.iter().min_by_key(|group| group.fewest()) else {
        return (Outcome::Fits, None);
    };
    let fewest = worst.fewest();
    if fewest >= 2 {
        return (Outcome::Fits, None);
    }
    // A migration demands more of the CPU than the start does. Its other demands are the same, but for the machine
    // type.
    let migrating = Placement { node_name: None, ..subject.after_start(placement) };
    let mut open = fleet.look_up(&migrating).open();
    let mut left = worst.passes.clone();
    let node = worst.nodes.iter().find(|&node| worst.targets.contains(node)).or_else(|| worst.nodes.iter().next());
    if let Some(node) = node {
        left.leave_out(node);
        open.remove(node);
    }
    let impact = if fewest == 0 { Impact::Pinned } else { Impact::Fragile };
    (Outcome::Impaired(impact), Some(cause(&left, &open, fewest + 1)))
}

/// Returns why fewer than `wanted` nodes fit: the first condition that leaves too few. If fewer than `wanted`
/// nodes are `open` to the guest regardless of their CPU, the CPU is not the cause.
fn cause(passes: &FilterResult, open: &Bits, wanted: usize) -> Cause {
    if open.count_to(wanted) < wanted {
        Cause::Placement
    } else if passes.cpu.count_to(wanted) < wanted {
        Cause::Structural
    } else if passes.placement.count_to(wanted) < wanted {
        Cause::Placement
    } else {
        Cause::Temporary
    }
}

/// A start whose targets are counted.
#[derive(Clone, Copy)]
pub(super) struct StartOf<'s> {
    /// The placement of the launcher.
    pub placement: &'s Placement<'s>,
    /// The entries that its first migration adds.
    pub after_start: AfterStart,
    /// The CPU features that the specification lists then.
    pub features: &'s CpuFeatures,
}

impl<'s> StartOf<'s> {
    /// Returns the next start of a guest with another placement, or the same one.
    pub(super) fn next(subject: &'s Subject<'_>, placement: &'s Placement<'_>, after_start: AfterStart) -> Self {
        Self { placement, after_start, features: subject.features_at_start() }
    }
}

impl<'s> From<&'s Start<'_>> for StartOf<'s> {
    fn from(start: &'s Start<'_>) -> Self {
        Self { placement: &start.placement, after_start: start.after_start, features: &start.features }
    }
}

/// Groups the start nodes of this placement by the targets that they leave at the best try, without targets on which
/// libvirt reports that the guest would fail. Cost grows with the number of host-model classes; `None` if the deadline
/// passed before all were examined.
pub(super) fn start_groups(
    subject: &Subject<'_>,
    start: StartOf<'_>,
    start_nodes: &Bits,
    fleet: &Fleet,
    effort: Effort<'_>,
) -> Option<Vec<StartGroup>> {
    let StartOf { placement, after_start, features } = start;
    let failing = subject.failing_targets(placement, features, fleet);
    let migrating = subject.after_start(placement);
    let mut out: Vec<StartGroup> = Vec::new();
    let mut known: HashMap<Option<Added<'_>>, usize> = HashMap::new();
    let has_vendor = placement.selector.iter().any(|(key, _)| Family::of(key) == Family::CpuVendor);
    for (class, nodes) in fleet.split_by_class(start_nodes) {
        let added = Added::of(class, after_start, has_vendor);
        if let Some(&at) = known.get(&added) {
            out[at].nodes.union(&nodes);
            continue;
        }
        if effort.is_over() {
            return None;
        }
        known.insert(added, out.len());
        let with_each = added.iter().flat_map(|added| added.each(&migrating)).map(|placement| {
            let mut passes = fleet.look_up(&placement).passes();
            if let Some(failing) = &failing {
                passes.leave_out_all(failing);
            }
            passes
        });
        let more = |best: FilterResult, with: FilterResult| {
            if with.fitting.count() >= best.fitting.count() { with } else { best }
        };
        let passes = with_each.reduce(more).unwrap_or_else(|| FilterResult::none(fleet.len()));
        out.push(StartGroup { nodes, targets: passes.fitting.clone(), passes });
    }
    Some(out)
}

/// The entries that the first migration away from a node adds to the selector of the start.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Added<'x> {
    host_model: Option<&'x [(String, String)]>,
    /// Whether the model is demanded by its `host-model-cpu` label.
    same_host: bool,
    /// The vendors of which KubeVirt selects any one at each try; none if it selects no vendor.
    vendors: &'x [String],
}

impl<'x> Added<'x> {
    /// Returns the entries that are added after a start on a node of this class; `None` if KubeVirt would
    /// create no target pod.
    fn of(class: &'x HostModelClass, after_start: AfterStart, has_vendor: bool) -> Option<Self> {
        let host_model = match (after_start.host_model, &class.model) {
            (HostModelRule::NotAsked, _) | (HostModelRule::Copied, None) => None,
            (HostModelRule::CopiedOrRefused | HostModelRule::SameHostOrRefused, None) => return None,
            (_, Some(entries)) => Some(entries.as_slice()),
        };
        let same_host = after_start.host_model == HostModelRule::SameHostOrRefused;
        let vendors: &[String] = if after_start.vendor && !has_vendor { &class.vendors } else { &[] };
        Some(Self { host_model, same_host, vendors })
    }

    /// Returns the placement of the migration's target with each vendor that it may ask for.
    fn each(self, placement: &'x Placement<'_>) -> impl Iterator<Item = Placement<'x>> {
        let vendors = self.vendors.iter().map(|vendor| Some(vendor.as_str()));
        let none = self.vendors.is_empty().then_some(None);
        vendors.chain(none).map(move |vendor| self.to(vendor, placement))
    }

    /// Returns the placement of the migration's target.
    fn to(self, vendor: Option<&'x str>, placement: &'x Placement<'_>) -> Placement<'x> {
        let host_model = self.host_model.unwrap_or_default().iter().map(|(entry, value)| {
            let is_host = self.same_host && Family::of(entry) == Family::CpuModelMigration;
            let key = is_host.then(|| label::same_name_in(entry, label::HOST_MODEL_CPU));
            (key.map_or(Cow::Borrowed(entry.as_str()), Cow::Owned), Cow::Borrowed(value.as_str()))
        });
        let vendor = vendor.map(|vendor| (Cow::Borrowed(vendor), Cow::Borrowed("true")));
        let mut out = Placement { node_name: None, ..placement.borrowed() };
        out.selector.extend(host_model.chain(vendor));
        out
    }
}

/// Groups the start nodes by the number of nodes that a guest started there could migrate to, fewest first.
pub(crate) fn targets_by_start(
    subject: &Subject<'_>,
    placement: &Placement<'_>,
    after_start: AfterStart,
    start_nodes: &Bits,
    fleet: &Fleet,
) -> BTreeMap<usize, Bits> {
    let start = StartOf::next(subject, placement, after_start);
    let groups = start_groups(subject, start, start_nodes, fleet, Depth::Full.into());
    by_count(groups.unwrap_or_default(), fleet)
}

pub(super) fn by_count(groups: Vec<StartGroup>, fleet: &Fleet) -> BTreeMap<usize, Bits> {
    let mut out: BTreeMap<usize, Bits> = BTreeMap::new();
    for group in groups {
        for node in group.nodes.iter() {
            let nodes = out.entry(group.targets_from(node)).or_insert_with(|| Bits::none(fleet.len()));
            nodes.insert(node);
        }
    }
    out
}
