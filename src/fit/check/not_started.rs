//! KubeVirt reports why a guest has not started: nodes may fit, and it does not run.

use super::{Check, CheckSpec, Detail, Finding, Reported};
use crate::fit::judgement::Judgement;

pub(super) const SPEC: CheckSpec = CheckSpec {
    id: Check::NotStarted,
    word: "not-started",
    reported: Reported::IfWarned,
    applies_to_launcher_pods: false,
    applies_to_refused_guests: true,
    immobilizes: false,
    doubt: None,
    find,
};

fn find(judgement: &Judgement<'_, '_>) -> Vec<Finding> {
    let reported = judgement.subject.not_started.as_ref().filter(|_| !judgement.is_migration());
    // The source is the status of a stored object, which the judged object need not be.
    reported.map(|why| Finding::note(Check::NotStarted, "", Detail::NotStarted(why.clone()))).into_iter().collect()
}
