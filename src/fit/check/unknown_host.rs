//! Check: the selector names a host that no node has.

use super::{Check, CheckSpec, Detail, Finding, Reported};
use crate::fit::judgement::Judgement;
use crate::fit::label;
use crate::fit::outcome::Outcome;

pub(super) const SPEC: CheckSpec = CheckSpec {
    id: Check::UnknownHost,
    word: "unknown-host",
    reported: Reported::IfWarned,
    applies_to_launcher_pods: false,
    applies_to_refused_guests: false,
    immobilizes: false,
    doubt: None,
    find,
};

/// A host that no node has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownHost {
    /// The value of the label, which is the host's name.
    pub host: String,
    /// Number of nodes judged.
    pub judged: usize,
    /// Number of nodes that take the guest if it does not select a host; `None` if that is not known.
    pub without: Option<usize>,
}

fn find(judgement: &Judgement<'_, '_>) -> Vec<Finding> {
    let Some(host) = judgement.selected_host().filter(|_| judgement.is_judged()) else { return Vec::new() };
    let fleet = judgement.fleet;
    if fleet.is_empty() || fleet.unread().is_some() || !fleet.bearing(label::HOSTNAME, host).is_empty() {
        return Vec::new();
    }
    let asked = judgement.subject.authors.of_entry(label::HOSTNAME);
    let field = asked.map(|asked| asked.field.clone()).unwrap_or_default();
    let judged = judgement.assessment.nodes_judged;
    let is_known = judged > 0 && !matches!(judgement.assessment.outcome, Outcome::Unknown(_));
    let entry = [(label::HOSTNAME.to_owned(), host.to_owned())];
    let without = if is_known { judgement.fitting_without(&entry) } else { None };
    let found = UnknownHost { host: host.to_owned(), judged, without };
    vec![Finding::note(Check::UnknownHost, field, Detail::UnknownHost(found))]
}
