//! The effect of the policy's common model on the guest.
//!
//! The findings do not depend on the nodes: they are notes of the judgement.

use super::{Check, CheckSpec};

pub(super) const SPEC: CheckSpec = CheckSpec {
    id: Check::CommonModel,
    word: "common-model",
    always_reported: false,
    applies_to_launcher_pods: false,
    find: |_| Vec::new(),
};
