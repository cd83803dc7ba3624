//! What the policy's common model means for the guest.
//!
//! Known from outside the nodes: it comes as a note of the judgement.

use super::{Check, CheckSpec};

pub(super) const SPEC: CheckSpec = CheckSpec {
    id: Check::CommonModel,
    word: "common-model",
    always_reported: false,
    applies_to_launcher_pods: false,
    find: |_| Vec::new(),
};
