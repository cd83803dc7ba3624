//! A migration asks for the name of the guest's host model, and nodes that fit by that name lack features of the model.
//!
//! Mirrors `prepareNodeSelectorForHostCpuModel` of `pkg/virt-controller/watch/migration/migration.go`, which copies
//! `cpu-model-migration` and required features: see [`NamedPart`] for the features that neither of them promises.
//! Libvirt compares the guest's whole CPU.

use std::collections::HashMap;
use std::iter;

use super::{Check, CheckSpec, Detail, Doubt, Finding, Reported};
use crate::fit::bits::Bits;
use crate::fit::fleet::{HostModelClass, NodeIndex};
use crate::fit::judgement::Judgement;
use crate::fit::label::{self, Family};
use crate::fit::named_part::NamedPart;
use crate::fit::remedy;
use crate::fit::subject::{AfterStart, CpuMode, HostModelRule, Stage};

pub(super) const SPEC: CheckSpec = CheckSpec {
    id: Check::HostModelKnown,
    word: "host-model-known",
    reported: Reported::Always,
    applies_to_launcher_pods: false,
    applies_to_refused_guests: false,
    immobilizes: false,
    doubt: Some(Doubt::Libvirt),
    find,
};

/// Fitting nodes that know the host model by name and lack features of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostModelKnown {
    /// The model that the migration asks for.
    pub model: String,
    /// The node where the guest runs, in this cluster or another, or where it may start.
    pub node: String,
    /// Whether the guest runs there.
    pub runs: bool,
    /// The fitting nodes that lack features of the model, by name, with those features; without nodes whose libvirt
    /// provides the guest's CPU.
    pub doubtful: DoubtfulNodes,
    /// Number of fitting nodes that are not doubtful.
    pub certain: usize,
}

/// Fitting nodes, one or more, by name, with the entries that they lack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DoubtfulNodes {
    first: (String, Vec<(String, String)>),
    rest: Vec<(String, Vec<(String, String)>)>,
}

impl DoubtfulNodes {
    /// Returns `None` if there are none.
    pub(super) fn of(nodes: impl IntoIterator<Item = (String, Vec<(String, String)>)>) -> Option<Self> {
        let mut nodes = nodes.into_iter();
        Some(Self { first: nodes.next()?, rest: nodes.collect() })
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &(String, Vec<(String, String)>)> {
        iter::once(&self.first).chain(&self.rest)
    }

    pub(crate) fn count(&self) -> usize {
        1 + self.rest.len()
    }

    /// Returns the entries that the first node lacks, and the names of the nodes that lack the same.
    pub(crate) fn alike(&self) -> (&[(String, String)], Vec<&str>) {
        let lacked = &self.first.1;
        (lacked, self.iter().filter(|(_, lacks)| lacks == lacked).map(|(name, _)| name.as_str()).collect())
    }
}

fn find(judgement: &Judgement<'_, '_>) -> Vec<Finding> {
    let subject = judgement.subject;
    if !judgement.is_judged() {
        return Vec::new();
    }
    let found = match (&subject.mode, &subject.stage) {
        (CpuMode::HostPassthrough, _) => passed_through(judgement),
        (CpuMode::HostModel, Stage::Migration(migration)) if migration.unasked.is_none() => migrates(judgement),
        (CpuMode::HostModel, Stage::Start(after_start)) if asks_for_name(*after_start) => {
            starts(judgement, *after_start)
        }
        _ => None,
    };
    let finding = |found: HostModelKnown| {
        let field = subject.authors.mode.as_ref().map(|asked| asked.field.clone()).unwrap_or_default();
        let remedies = remedy::against_doubt(judgement, found.certain);
        Finding { remedies, ..Finding::note(Check::HostModelKnown, field, Detail::HostModelKnown(found)) }
    };
    found.map(finding).into_iter().collect()
}

/// Whether the first migration selects `cpu-model-migration`; `host-model-cpu` names the same host model.
fn asks_for_name(after_start: AfterStart) -> bool {
    matches!(after_start.host_model, HostModelRule::Copied | HostModelRule::CopiedOrRefused)
}

/// Returns the nodes that lack features of the CPU that a host-passthrough guest has from its node, or may get, among
/// those that have the same host model by their labels; the check `unlike-hosts` names those of another one.
fn passed_through(judgement: &Judgement<'_, '_>) -> Option<HostModelKnown> {
    let (fleet, source) = (judgement.fleet, judgement.source);
    if source.is_none() && judgement.is_migration() {
        return None;
    }
    let mut nodes = judgement.passes.fitting.clone();
    if let Some(source) = source {
        nodes.insert(source);
    }
    let of_class = |(class, mut nodes): (&HostModelClass, Bits)| {
        let mut keys = class.model.as_deref()?.iter().map(|(key, _)| key);
        let key = keys.find(|key| Family::of(key) == Family::CpuModelMigration)?;
        let model = label::name(key);
        let unusable = NamedPart::not_usable(fleet, model, &nodes);
        let node = match source {
            Some(source) => nodes.contains(source).then_some(source)?,
            None => nodes.iter().filter(|&node| !unusable.contains(node)).min_by_key(|&node| fleet.name(node))?,
        };
        nodes.intersect(&fleet.bearing(key, "true"));
        of(judgement, node, model, &nodes, source.is_some())
    };
    let found = fleet.split_by_class(&nodes).into_iter().filter_map(of_class);
    worst_start(found, |found| (found.certain == 0, found.doubtful.count(), &found.node))
}

fn migrates(judgement: &Judgement<'_, '_>) -> Option<HostModelKnown> {
    let selector = &judgement.subject.placement.selector;
    let (key, _) = selector.iter().find(|(key, _)| Family::of(key) == Family::CpuModelMigration)?;
    let model = label::name(key);
    match (judgement.source, &judgement.subject.stage) {
        (Some(source), _) => of(judgement, source, model, &judgement.passes.fitting, true),
        (None, Stage::Migration(migration)) => {
            let reported = migration.reported.as_ref()?;
            let doubtful = lacking(judgement, |key| reported.labels.contains(key), model, &judgement.passes.fitting);
            found(reported.name.clone(), model, doubtful, &judgement.passes.fitting, true)
        }
        (None, Stage::Start(_)) => None,
    }
}

/// Returns the finding of the worst start node: one that leaves no certain target, then the one with the most doubtful
/// nodes. `rank` returns whether it leaves none, the number of doubtful nodes and the name of the start node.
pub(super) fn worst_start<F>(
    found: impl Iterator<Item = F>,
    rank: impl for<'f> Fn(&'f F) -> (bool, usize, &'f str),
) -> Option<F> {
    found.min_by(|one, other| {
        let (left, right) = (rank(one), rank(other));
        (right.0, right.1, left.2).cmp(&(left.0, left.1, right.2))
    })
}

fn starts(judgement: &Judgement<'_, '_>, after_start: AfterStart) -> Option<HostModelKnown> {
    let (fleet, placement) = (judgement.fleet, &judgement.subject.placement);
    let groups = judgement.start_groups(placement, after_start, &judgement.passes.fitting)?;
    let found = groups.iter().flat_map(|group| {
        let classes = fleet.split_by_class(&group.nodes).into_iter();
        classes.filter_map(|(class, nodes)| {
            let node = nodes.iter().min_by_key(|&node| fleet.name(node))?;
            let mut keys = class.model.as_deref()?.iter().map(|(key, _)| key);
            let key = keys.find(|key| Family::of(key) == Family::CpuModelMigration)?;
            of(judgement, node, label::name(key), &group.targets, false)
        })
    });
    worst_start(found, |found| (found.certain == 0, found.doubtful.count(), &found.node))
}

fn of(
    judgement: &Judgement<'_, '_>,
    node: NodeIndex,
    model: &str,
    targets: &Bits,
    runs: bool,
) -> Option<HostModelKnown> {
    let mut targets = targets.clone();
    targets.remove(node);
    let doubtful = doubtful(judgement, node, model, &targets);
    found(judgement.fleet.name(node).to_owned(), model, doubtful, &targets, runs)
}

fn found(
    node: String,
    model: &str,
    doubtful: Vec<(String, Vec<(String, String)>)>,
    targets: &Bits,
    runs: bool,
) -> Option<HostModelKnown> {
    let doubtful = DoubtfulNodes::of(doubtful)?;
    let certain = targets.count() - doubtful.count();
    Some(HostModelKnown { model: model.to_owned(), node, runs, certain, doubtful })
}

/// Returns those of `targets` that lack features of the host model of `node`, by name, with those entries.
pub(super) fn doubtful(
    judgement: &Judgement<'_, '_>,
    node: NodeIndex,
    model: &str,
    targets: &Bits,
) -> Vec<(String, Vec<(String, String)>)> {
    lacking(judgement, |key| judgement.fleet.label(node, key) == Some("true"), model, targets)
}

/// Returns the same for a node with these labels.
fn lacking(
    judgement: &Judgement<'_, '_>,
    is_true: impl Fn(&str) -> bool,
    model: &str,
    targets: &Bits,
) -> Vec<(String, Vec<(String, String)>)> {
    let (fleet, subject) = (judgement.fleet, judgement.subject);
    let suspects = NamedPart::not_usable(fleet, model, targets);
    if suspects.is_empty() {
        return Vec::new();
    }
    let named = NamedPart::of(fleet, is_true, model, subject);
    let mut by_profile: HashMap<NodeIndex, Vec<(String, String)>> = HashMap::new();
    let mut out = Vec::new();
    for node in suspects.iter() {
        let name = fleet.name(node);
        let lacked = by_profile.entry(fleet.first_of_profile(node)).or_insert_with(|| named.lacked_by(node));
        if !lacked.is_empty() && !subject.asked().is_some_and(|asked| asked.agrees(name)) {
            out.push((name.to_owned(), lacked.clone()));
        }
    }
    out.sort_unstable();
    out
}
