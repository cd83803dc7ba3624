//! The state of a guest as one word, for tables and headings.

use serde::Serialize;

use crate::fit::verdict::{Check, Impact, Outcome, Verdict};
use crate::word::words;

words! {
    /// The state of a guest as one word, the worst first.
    #[derive(Serialize)]
    #[serde(into = "&'static str")]
    StateWord {
        /// Its own node no longer meets its pod.
        OwnNode = "OWN-NODE",
        /// No node takes it, or KubeVirt refuses its start.
        CannotStart = "CANNOT-START",
        /// It waits for its start, and its launcher for a node, or KubeVirt reports a failure.
        Pending = "PENDING",
        /// Nodes fit, and none of them has room for it.
        NoRoom = "NO-ROOM",
        /// It can migrate to no node, or KubeVirt refuses its migration.
        Stuck = "STUCK",
        /// It can migrate to one node only.
        Fragile = "FRAGILE",
        /// Its nodes are not known.
        Unknown = "UNKNOWN",
        /// Nodes fit by labels, and a finding doubts them.
        FitsByLabels = "FITS-BY-LABELS",
        /// Nodes fit.
        Fits = "FITS",
    }
}

/// Returns the state of a guest by its verdict and its impact, regardless of room.
pub(crate) fn state(verdict: &Verdict, impact: Option<Impact>) -> StateWord {
    match impact {
        Some(Impact::Unschedulable) => StateWord::CannotStart,
        _ if verdict.found(Check::NotStarted).is_some() => StateWord::Pending,
        Some(Impact::Pinned) => StateWord::Stuck,
        Some(Impact::Fragile) => StateWord::Fragile,
        None if matches!(verdict.assessment.outcome, Outcome::Unknown(_)) => StateWord::Unknown,
        None if verdict.is_in_doubt() => StateWord::FitsByLabels,
        None => StateWord::Fits,
    }
}
