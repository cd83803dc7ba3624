//! What had to be assumed: a version that nothing names, an object that is not known.
//!
//! Known from outside the nodes: it comes as a note of the judgement.

use super::{Check, CheckSpec};

pub(super) const SPEC: CheckSpec = CheckSpec {
    id: Check::Assumed,
    word: "assumed",
    always_reported: true,
    applies_to_launcher_pods: false,
    find: |_| Vec::new(),
};
