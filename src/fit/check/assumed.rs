//! Assumptions: a version that no object names, an object that is not known.
//!
//! The findings do not depend on the nodes: they are notes of the judgement.

use super::{Check, CheckSpec, Reported};

pub(super) const SPEC: CheckSpec = CheckSpec {
    id: Check::Assumed,
    word: "assumed",
    reported: Reported::Always,
    applies_to_launcher_pods: false,
    applies_to_refused_guests: true,
    immobilizes: false,
    doubt: None,
    find: |_| Vec::new(),
};
