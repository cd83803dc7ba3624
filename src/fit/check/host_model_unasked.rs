//! A feature that a host-model guest requires itself hides the host model of its node from its first
//! migration.
//!
//! Mirrors `prepareNodeSelectorForHostCpuModel` of `pkg/virt-controller/watch/migration/migration.go`: any
//! `cpu-feature` key of the launcher is taken for the trace of an earlier migration, and then nothing is copied from
//! the node. Libvirt still compares the guest's whole CPU.

use std::collections::BTreeMap;

use super::host_model_known::DoubtfulNodes;
use super::{Check, CheckSpec, Detail, Doubt, Finding, Reported, host_model_known};
use crate::fit::bits::Bits;
use crate::fit::judgement::Judgement;
use crate::fit::label::{self, Family};
use crate::fit::placement::Placement;
use crate::fit::remedy;
use crate::fit::subject::{CpuMode, HostModelRule, Stage};

pub(super) const SPEC: CheckSpec = CheckSpec {
    id: Check::HostModelUnasked,
    word: "host-model-unasked",
    reported: Reported::Always,
    applies_to_launcher_pods: false,
    applies_to_refused_guests: false,
    immobilizes: false,
    doubt: Some(Doubt::Libvirt),
    find,
};

/// Fitting nodes that lack entries of the host model that KubeVirt does not select.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostModelUnasked {
    /// The node with that host model: where the guest runs, or where it may start.
    pub node: String,
    /// Whether the guest runs there.
    pub runs: bool,
    /// Whether its launcher has entries that an earlier migration copied, without the host model's name, which every
    /// migration copies too: it was dropped.
    pub is_dropped: bool,
    /// The guest's own entries that look like those of an earlier migration, or what is left of those.
    pub asked: Vec<(String, String)>,
    /// The fitting nodes that lack entries, by name, with those entries; without nodes whose libvirt provides
    /// the guest's CPU.
    pub doubtful: DoubtfulNodes,
    /// The fitting nodes that lack none, by name.
    pub sound: Vec<String>,
    /// Number of fitting nodes that are not doubtful.
    pub certain: usize,
}

fn find(judgement: &Judgement<'_, '_>) -> Vec<Finding> {
    let subject = judgement.subject;
    if !judgement.is_judged() || subject.mode != CpuMode::HostModel {
        return Vec::new();
    }
    let found = match &subject.stage {
        Stage::Migration(migration) => match (&migration.unasked, judgement.source) {
            (Some(unasked), Some(source)) => of(judgement, source, unasked, true),
            _ => None,
        },
        Stage::Start(after_start) if after_start.host_model == HostModelRule::NotAsked => starts(judgement),
        Stage::Start(_) => None,
    };
    let finding = |found: HostModelUnasked| {
        let asked = found.asked.first().and_then(|(key, _)| subject.authors.of_entry(key));
        let field = asked.map(|asked| asked.field.clone()).unwrap_or_default();
        let remedies = remedy::against_doubt(judgement, found.certain);
        Finding { remedies, ..Finding::note(Check::HostModelUnasked, field, Detail::HostModelUnasked(found)) }
    };
    found.map(finding).into_iter().collect()
}

fn starts(judgement: &Judgement<'_, '_>) -> Option<HostModelUnasked> {
    let classes = judgement.fleet.split_by_class(&judgement.passes.fitting);
    let found = classes.into_iter().filter_map(|(class, nodes)| {
        let node = nodes.iter().min_by_key(|&node| judgement.fleet.name(node))?;
        of(judgement, node, class.model.as_deref()?, false)
    });
    host_model_known::worst_start(found, |found| (found.certain == 0, found.doubtful.count(), &found.node))
}

fn of(
    judgement: &Judgement<'_, '_>,
    node: usize,
    host_model: &[(String, String)],
    runs: bool,
) -> Option<HostModelUnasked> {
    let fleet = judgement.fleet;
    // A live CPU that is known shows what the guest runs without.
    let runs_without =
        |key: &str| Family::of(key) == Family::CpuFeature && judgement.subject.runs_without(label::name(key));
    let entries = host_model.iter().filter(|(key, _)| !runs_without(key));
    let selector = entries.map(|(key, value)| (key.as_str().into(), value.as_str().into())).collect();
    let whole = Placement { selector, ..Placement::default() };
    let lookup = fleet.look_up(&whole);
    let mut sound: Bits = judgement.passes.fitting.clone();
    sound.remove(node);
    let mut doubtful = sound.clone();
    // The features that the model has by its name are not selected either.
    let models = host_model.iter().map(|(key, _)| key).filter(|key| Family::of(key).is_model());
    let by_name: BTreeMap<String, Vec<(String, String)>> =
        models.flat_map(|key| host_model_known::doubtful(judgement, node, label::name(key), &sound)).collect();
    sound.intersect(&lookup.passes().cpu);
    for node in by_name.keys().filter_map(|name| fleet.find(name)) {
        sound.remove(node);
    }
    doubtful.subtract(&sound);
    let asked = judgement.subject.asked();
    let taken: Vec<usize> =
        doubtful.iter().filter(|node| asked.is_some_and(|asked| asked.agrees(fleet.name(*node)))).collect();
    for node in &taken {
        doubtful.remove(*node);
    }
    let lacks = |name: String| {
        let mut missing = fleet.find(&name).map(|node| lookup.missing(node)).unwrap_or_default();
        if missing.is_empty() {
            missing.extend(by_name.get(&name).into_iter().flatten().cloned());
        }
        (name, missing)
    };
    let asked = judgement.subject.placement.selector.iter().filter(|(key, _)| label::is_inherited(key));
    Some(HostModelUnasked {
        node: fleet.name(node).to_owned(),
        runs,
        is_dropped: matches!(&judgement.subject.stage, Stage::Migration(migration) if migration.inherited),
        asked: asked.map(|(key, value)| (key.to_string(), value.to_string())).collect(),
        doubtful: DoubtfulNodes::of(judgement.names(&doubtful).into_iter().map(lacks))?,
        certain: sound.count() + taken.len(),
        sound: judgement.names(&sound),
    })
}
