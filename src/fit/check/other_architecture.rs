//! Nodes of another architecture are no candidates: only this check counts them.

use std::collections::BTreeMap;

use super::{Check, CheckSpec, Detail, Finding, Reported};
use crate::fit::author::Author;
use crate::fit::bits::Bits;
use crate::fit::judgement::Judgement;
use crate::fit::label;

pub(super) const SPEC: CheckSpec = CheckSpec {
    id: Check::OtherArchitecture,
    word: "other-architecture",
    reported: Reported::IfWarned,
    applies_to_launcher_pods: false,
    applies_to_refused_guests: false,
    immobilizes: false,
    doubt: None,
    find,
};

/// The nodes of architectures other than the guest's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherArchitectures {
    /// The architecture of the guest.
    pub wanted: String,
    /// Whether no node has the guest's architecture, the node that it leaves included.
    pub none_wanted: bool,
    /// The only node of the guest's architecture, the node that it leaves included; `None` if there is not
    /// exactly one.
    pub only: Option<String>,
    /// Number of nodes of each other architecture.
    pub counts: BTreeMap<String, usize>,
    /// The author of the architecture of a guest that is to start, if that is no field of the guest and no other
    /// finding names it.
    pub by: Option<Author>,
}

fn find(judgement: &Judgement<'_, '_>) -> Vec<Finding> {
    let (fleet, subject) = (judgement.fleet, judgement.subject);
    let Some(wanted) = subject.placement.get(label::ARCH).filter(|_| judgement.assessment.outcome.impact().is_some())
    else {
        return Vec::new();
    };
    let others: Bits = fleet.bearing_another(label::ARCH, wanted);
    let mut counts = BTreeMap::new();
    for node in others.iter() {
        *counts.entry(fleet.label(node, label::ARCH).unwrap_or_default().to_owned()).or_default() += 1;
    }
    if counts.is_empty() {
        return Vec::new();
    }
    let of_wanted = fleet.bearing(label::ARCH, wanted);
    let only = match of_wanted.count_to(2) {
        1 => judgement.names(&of_wanted).pop(),
        _ => None,
    };
    let by = subject.authors.of_entry(label::ARCH).map(|asked| &asked.author);
    // Without a candidate node the architecture is among the demands that nodes do not meet.
    // A guest that starts on one of two nodes of its architecture is not impaired by a default.
    let is_unsaid = !judgement.is_migration() && !judgement.neighbours.is_empty();
    let matters = only.is_some() || judgement.needs_a_node();
    let by = by.filter(|author| author.is_default()).filter(|_| is_unsaid && matters).cloned();
    let none_wanted = of_wanted.is_empty();
    let detail = OtherArchitectures { wanted: wanted.to_owned(), none_wanted, only, counts, by };
    vec![Finding::note(Check::OtherArchitecture, "", Detail::OtherArchitectures(detail))]
}
