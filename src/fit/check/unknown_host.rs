//! Check: the selector names a host that no node has.

use super::{Check, CheckSpec, Detail, Finding};
use crate::fit::judgement::Judgement;
use crate::fit::label;

pub(super) const SPEC: CheckSpec = CheckSpec {
    id: Check::UnknownHost,
    word: "unknown-host",
    always_reported: false,
    applies_to_launcher_pods: false,
    find,
};

fn find(judgement: &Judgement<'_, '_>) -> Vec<Finding> {
    let Some(host) = judgement.selected_host().filter(|_| judgement.is_judged()) else { return Vec::new() };
    let fleet = judgement.fleet;
    if fleet.is_empty() || fleet.unread().is_some() || !fleet.bearing(label::HOSTNAME, host).is_empty() {
        return Vec::new();
    }
    let asked = judgement.subject.authors.of_entry(label::HOSTNAME);
    let field = asked.map(|asked| asked.field.clone()).unwrap_or_default();
    vec![Finding::note(Check::UnknownHost, field, Detail::UnknownHost(host.to_owned()))]
}
