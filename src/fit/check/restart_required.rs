//! A guest whose VM waits for a restart (condition `RestartRequired`), so that KubeVirt applies no change of it live.

use super::{Check, CheckSpec, Detail, Finding, Reported};
use crate::fit::judgement::Judgement;

pub(super) const SPEC: CheckSpec = CheckSpec {
    id: Check::RestartRequired,
    word: "restart-required",
    reported: Reported::IfWarned,
    applies_to_launcher_pods: false,
    applies_to_refused_guests: false,
    immobilizes: false,
    doubt: None,
    find,
};

fn find(judgement: &Judgement<'_, '_>) -> Vec<Finding> {
    // A guest that can migrate needs no edit of its VM.
    let matters = judgement.is_migration() && judgement.assessment.outcome.impact().is_some();
    if judgement.subject.definition.restart_required && matters {
        vec![Finding::note(Check::RestartRequired, "", Detail::RestartRequired)]
    } else {
        Vec::new()
    }
}
