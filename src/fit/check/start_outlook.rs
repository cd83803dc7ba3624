//! The start node decides which targets the guest has, though all start nodes leave enough.

use std::collections::HashMap;

use super::{Check, CheckSpec, Detail, Finding, Reported};
use crate::fit::assess::StartGroup;
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
    let Some(groups) = judgement.start_groups(&subject.placement, after_start, fitting) else {
        return Vec::new();
    };
    // For each group of start nodes: the number of targets, and the start nodes that are not among them.
    let mut found: HashMap<(usize, Bits), Bits> = HashMap::new();
    for group in &groups {
        for (targets, never, nodes) in by_outlook(group, fitting) {
            found.entry((targets, never)).or_insert_with(|| Bits::none(fleet.len())).union(&nodes);
        }
    }
    if found.len() < 2 || found.keys().all(|(_, never)| never.is_empty()) {
        return Vec::new();
    }
    let named = found.into_iter().map(|((targets, never), nodes)| (targets, judgement.names(&never), nodes));
    let mut found: Vec<(usize, Vec<String>, Bits)> = named.collect();
    found.sort_by(|(targets, never, _), (others, other, _)| (targets, never).cmp(&(others, other)));
    let starts = found.into_iter().map(|(targets, never, nodes)| FromStart {
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

/// Splits the nodes of a group by the number of their targets and by the start nodes that never are among them. A node
/// is not listed for itself, so each that is not among its own targets is a part by itself.
fn by_outlook(group: &StartGroup, fitting: &Bits) -> Vec<(usize, Bits, Bits)> {
    let mut never = fitting.clone();
    never.subtract(&group.passes.placement);
    let (mut alone, mut targets, mut others) = (group.nodes.clone(), group.nodes.clone(), group.nodes.clone());
    alone.intersect(&never);
    targets.subtract(&never);
    targets.intersect(&group.targets);
    others.subtract(&never);
    others.subtract(&group.targets);
    let alike = [targets, others].into_iter();
    let alike = alike.filter_map(|nodes| {
        let any = nodes.iter().next()?;
        Some((group.targets_from(any), never.clone(), nodes))
    });
    let alone = alone.iter().map(|node| {
        let (mut rest, mut only) = (never.clone(), Bits::none(fitting.len()));
        rest.remove(node);
        only.insert(node);
        (group.targets_from(node), rest, only)
    });
    alike.chain(alone).collect()
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
    let models = fleet.bearers(Family::HostModelCpu);
    let mut models = models.into_iter().filter(|(_, bearers)| bearers.meets(nodes));
    let (Some((model, bearers)), None) = (models.next(), models.next()) else { return None };
    if bearers.count_common(nodes) < nodes.count() {
        return None;
    }
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::fit::fleet::FilterResult;

    const NODES: usize = 7;

    fn bits() -> impl Strategy<Value = Bits> {
        prop::collection::vec(any::<bool>(), NODES).prop_map(|is_in| {
            let mut out = Bits::none(NODES);
            (0..NODES).filter(|at| is_in[*at]).for_each(|at| out.insert(at));
            out
        })
    }

    proptest! {
        /// Nodes alike are found at once, and each has the targets and the unreachable nodes that it has by itself.
        #[test]
        fn each_start_node_has_the_outlook_that_it_has_by_itself(
            nodes in bits(), targets in bits(), placement in bits(), fitting in bits(),
        ) {
            let passes = FilterResult { placement, ..FilterResult::none(NODES) };
            let group = StartGroup { nodes, targets, passes };
            let mut expected: BTreeMap<(usize, Vec<usize>), Vec<usize>> = BTreeMap::new();
            for node in group.nodes.iter() {
                let never = fitting.iter().filter(|other| *other != node && !group.passes.placement.contains(*other));
                expected.entry((group.targets_from(node), never.collect())).or_default().push(node);
            }
            let mut found: BTreeMap<(usize, Vec<usize>), Vec<usize>> = BTreeMap::new();
            for (targets, never, nodes) in by_outlook(&group, &fitting) {
                found.entry((targets, never.iter().collect())).or_default().extend(nodes.iter());
            }
            for nodes in found.values_mut() {
                nodes.sort_unstable();
            }
            prop_assert_eq!(found, expected);
        }
    }
}
