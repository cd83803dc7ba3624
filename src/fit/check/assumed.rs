//! Assumptions: a version that no object names, an object that is not known.
//!
//! The findings do not depend on the nodes: they are notes of the judgement.

use super::{Check, CheckSpec};

pub(super) const SPEC: CheckSpec = CheckSpec {
    id: Check::Assumed,
    word: "assumed",
    always_reported: true,
    applies_to_launcher_pods: false,
    find: |_| Vec::new(),
};
