//! A host that is selected by name, or the entries of `addedNodeSelector`: judged with and without that choice.

use super::{Check, CheckSpec, Detail, Finding, Reported};
use crate::fit::judgement::Judgement;
use crate::fit::label;
use crate::fit::outcome::Outcome;
use crate::fit::subject::Stage;

pub(super) const SPEC: CheckSpec = CheckSpec {
    id: Check::ChosenNodes,
    word: "chosen-nodes",
    reported: Reported::IfWarned,
    applies_to_launcher_pods: false,
    applies_to_refused_guests: false,
    immobilizes: false,
    doubt: None,
    find,
};

/// The number of nodes that take the guest, with and without a choice of nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChosenNodes {
    /// The entries of the selector that choose the nodes.
    pub entries: Vec<(String, String)>,
    /// Number of nodes that take the guest.
    pub fitting: usize,
    /// Number of nodes judged.
    pub judged: usize,
    /// Number of nodes that take the guest without these entries.
    pub without: usize,
    /// The entries that no node meets, without a host: the check `unknown-host` reports that.
    pub nowhere: Vec<(String, String)>,
}

fn find(judgement: &Judgement<'_, '_>) -> Vec<Finding> {
    let assessment = &judgement.assessment;
    if matches!(assessment.outcome, Outcome::Unknown(_)) || assessment.nodes_judged == 0 {
        return Vec::new();
    }
    let added = match &judgement.subject.stage {
        Stage::Migration(migration) => migration.added.clone(),
        Stage::Start(_) => Vec::new(),
    };
    // A host that no node has is named with the same numbers by another check.
    let is_there = |host: &&str| !judgement.fleet.bearing(label::HOSTNAME, host).is_empty();
    let own = judgement.selected_host().filter(is_there).filter(|_| assessment.outcome.impact().is_some());
    let own = own.map(|host| vec![(label::HOSTNAME.to_owned(), host.to_owned())]);
    let own = own.filter(|own| !added.contains(&own[0]));
    [added].into_iter().chain(own).filter_map(|entries| chosen(judgement, entries)).collect()
}

fn chosen(judgement: &Judgement<'_, '_>, entries: Vec<(String, String)>) -> Option<Finding> {
    let without = judgement.fitting_without(&entries)?;
    let fleet = judgement.fleet;
    let nowhere = entries.iter().filter(|(key, value)| key != label::HOSTNAME && fleet.bearing(key, value).is_empty());
    let asked = entries.first().and_then(|(key, _)| judgement.subject.authors.of_entry(key));
    let field = asked.map(|asked| asked.field.clone()).unwrap_or_default();
    let found = ChosenNodes {
        fitting: judgement.assessment.fitting.count(),
        judged: judgement.assessment.nodes_judged,
        without,
        nowhere: nowhere.cloned().collect(),
        entries,
    };
    Some(Finding::note(Check::ChosenNodes, field, Detail::ChosenNodes(found)))
}
