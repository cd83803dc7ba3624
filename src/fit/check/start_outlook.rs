//! Every start is fine, and where it starts decides where it can go.

use std::collections::BTreeMap;

use super::{Check, CheckSpec, Detail, Finding};
use crate::fit::bits::Bits;
use crate::fit::judgement::Judgement;
use crate::fit::label::Family;
use crate::fit::outcome::Outcome;
use crate::fit::remedy;
use crate::fit::subject::{CpuMode, Stage};

pub(super) const SPEC: CheckSpec = CheckSpec {
    id: Check::StartOutlook,
    word: "start-outlook",
    always_reported: false,
    applies_to_launcher_pods: false,
    find,
};

/// Where a guest could go, by where it starts: fewest nodes first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartOutlook {
    /// Each kind of start.
    pub starts: Vec<FromStart>,
}

/// Where a guest could go that starts on one of these nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FromStart {
    /// The nodes, by name.
    pub nodes: Vec<String>,
    /// To how many nodes it could go.
    pub targets: usize,
    /// The nodes that it could start on, and to which it could never go from these.
    pub never: Vec<String>,
    /// The host model of these nodes, where it is usable by name on them and on all that the guest could go to.
    pub by_name: Option<String>,
}

fn find(judgement: &Judgement<'_, '_>) -> Vec<Finding> {
    let subject = judgement.subject;
    let Stage::Start(after_start) = subject.stage else { return Vec::new() };
    if judgement.assessment.outcome != Outcome::Fits {
        return Vec::new();
    }
    let (fleet, fitting) = (judgement.fleet, &judgement.passes.fitting);
    // From each kind of start: how many nodes, and where it could not go though it could start there.
    let mut found: BTreeMap<(usize, Vec<String>), Bits> = BTreeMap::new();
    let Some(groups) = judgement.start_groups(&subject.placement, after_start, fitting) else {
        return Vec::new();
    };
    for group in groups {
        let mut never = fitting.clone();
        never.subtract(&group.passes.placement);
        let never = judgement.names(&never);
        for node in group.nodes.iter() {
            // A node that could not be gone back to is one that it leaves.
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

/// The host model of these nodes, where a guest that has it by name could go wherever a host-model guest could.
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
    let anew = start.with_model(model);
    let passes = fleet.look_up(&anew.placement).passes();
    let is_refused = |node: usize| subject.host(fleet.name(node)).is_some_and(|host| host.unusable(model).is_some());
    if passes.placement.iter().any(is_refused) {
        return None;
    }
    (needed.count_common(&passes.fitting) == needed.count()).then(|| model.to_owned())
}
