//! The start node decides which targets the guest has, though all start nodes leave enough.

use std::collections::BTreeMap;

use super::{Check, CheckSpec, Detail, Finding, Reported};
use crate::fit::bits::Bits;
use crate::fit::judgement::Judgement;
use crate::fit::label::Family;
use crate::fit::outcome::Outcome;
use crate::fit::remedy;
use crate::fit::subject::{CpuMode, Stage};

pub(super) const SPEC: CheckSpec = CheckSpec {
    id: Check::StartOutlook,
    word: "start-outlook",
    reported: Reported::Apart,
    applies_to_launcher_pods: false,
    applies_to_refused_guests: false,
    immobilizes: false,
    doubt: None,
    find,
};

/// The targets of a guest by start node, fewest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartOutlook {
    /// The groups of start nodes.
    pub starts: Vec<FromStart>,
}

/// The targets of a guest that starts on one of these nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FromStart {
    /// The nodes, by name.
    pub nodes: Vec<String>,
    /// Number of targets.
    pub targets: usize,
    /// The other start nodes, to which it could never migrate from these.
    pub never: Vec<String>,
    /// The host model of these nodes, if it is usable by name on them and on all their targets.
    pub by_name: Option<String>,
}

fn find(judgement: &Judgement<'_, '_>) -> Vec<Finding> {
    let subject = judgement.subject;
    let Stage::Start(after_start) = subject.stage else { return Vec::new() };
    // A guest that KubeVirt will not migrate has no targets.
    if judgement.assessment.outcome != Outcome::Fits || subject.live_migratable.foreseen.is_some() {
        return Vec::new();
    }
    let (fleet, fitting) = (judgement.fleet, &judgement.passes.fitting);
    // For each group of start nodes: the number of targets, and the start nodes that are not among them.
    let mut found: BTreeMap<(usize, Vec<String>), Bits> = BTreeMap::new();
    let Some(groups) = judgement.start_groups(&subject.placement, after_start, fitting) else {
        return Vec::new();
    };
    for group in groups {
        let mut never = fitting.clone();
        never.subtract(&group.passes.placement);
        let never = judgement.names(&never);
        for node in group.nodes.iter() {
            // A node is not listed for itself.
            let never = never.iter().filter(|name| *name != fleet.name(node)).cloned().collect();
            let key = (group.targets_from(node), never);
            found.entry(key).or_insert_with(|| Bits::none(fleet.len())).insert(node);
        }
    }
    if found.len() < 2 || found.keys().all(|(_, never)| never.is_empty()) {
        return Vec::new();
    }
    let starts = found.into_iter().map(|((targets, never), nodes)| FromStart {
        by_name: by_name(judgement, &nodes),
        nodes: judgement.names(&nodes),
        targets,
        never,
    });
    let mode = subject.authors.mode.as_ref();
    let detail = Detail::StartOutlook(StartOutlook { starts: starts.collect() });
    vec![Finding {
        remedies: remedy::evens_starts(judgement),
        ..Finding::note(Check::StartOutlook, mode.map(|asked| asked.field.clone()).unwrap_or_default(), detail)
    }]
}

/// Returns the host model of these nodes if a guest with it as a named model would have all targets of a
/// host-model guest.
fn by_name(judgement: &Judgement<'_, '_>, nodes: &Bits) -> Option<String> {
    let (fleet, subject) = (judgement.fleet, judgement.subject);
    let (Stage::Start(after_start), CpuMode::HostModel, Some(start)) =
        (&subject.stage, &subject.mode, &subject.restart)
    else {
        return None;
    };
    let mut names = nodes.iter().map(|node| fleet.names_under(node, Family::HostModelCpu));
    let first = names.next()?;
    let (&[model], true) = (first.as_slice(), names.all(|other| other == first)) else { return None };
    let mut needed = nodes.clone();
    for group in judgement.start_groups(&subject.placement, *after_start, nodes)? {
        needed.union(&group.targets);
    }
    let changed = start.with_model(model);
    let passes = fleet.look_up(&changed.placement).passes();
    let is_refused = |node: usize| subject.host(fleet.name(node)).is_some_and(|host| host.unusable(model).is_some());
    if passes.placement.iter().any(is_refused) {
        return None;
    }
    (needed.count_common(&passes.fitting) == needed.count()).then(|| model.to_owned())
}
