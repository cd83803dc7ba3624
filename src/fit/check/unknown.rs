//! No judgement is possible: there are no nodes, none has labels that a judgement can use, or an object is not
//! known.

use super::{Check, CheckSpec, Detail, Finding, Reported};
use crate::fit::judgement::Judgement;
use crate::fit::outcome::{Outcome, Unknown};

pub(super) const SPEC: CheckSpec = CheckSpec {
    id: Check::Unknown,
    word: "unknown",
    reported: Reported::Always,
    applies_to_launcher_pods: true,
    applies_to_refused_guests: true,
    immobilizes: false,
    doubt: None,
    find,
};

fn find(judgement: &Judgement<'_, '_>) -> Vec<Finding> {
    match &judgement.assessment.outcome {
        // The reason why no judgement is possible is a note.
        Outcome::Unknown(Unknown::NotJudged(_)) | Outcome::Fits | Outcome::Impaired(_) => Vec::new(),
        Outcome::Unknown(why) => vec![Finding::note(Check::Unknown, "", Detail::Unknown(why.clone()))],
    }
}
