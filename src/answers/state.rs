//! The state of a guest by its verdict, and by what is known of room, volumes and other pods.

use super::obstacles::Obstacles;
use crate::fit::verdict::{Impact, Verdict};
use crate::say::{self, StateWord};

/// Returns the state of a guest as one word, and the impact that it follows from. `has_no_room`: nodes fit, and none of
/// them has room.
pub(crate) fn state(verdict: &Verdict, obstacles: &Obstacles<'_>, has_no_room: bool) -> (StateWord, Option<Impact>) {
    // Obstacles do not matter to a guest that KubeVirt refuses, or that nothing migrates.
    if verdict.refused().is_some() || verdict.immobile().is_some() {
        return (say::state(verdict, verdict.impact()), verdict.impact());
    }
    if has_no_room {
        return (StateWord::NoRoom, verdict.impact());
    }
    let impact = verdict.impact().max(obstacles.impact(verdict));
    let mut findings = verdict.findings.iter().filter_map(|finding| obstacles.not_judged(finding));
    let word = match say::state(verdict, impact) {
        StateWord::FitsByLabels if !findings.any(|finding| finding.check.spec().doubt.is_some()) => StateWord::Fits,
        word => word,
    };
    (word, impact)
}
