//! The effect of the policy's common model on the guest.
//!
//! The findings do not depend on the nodes: they are notes of the judgement.

use super::{Check, CheckSpec, Reported};

pub(super) const SPEC: CheckSpec = CheckSpec {
    id: Check::CommonModel,
    word: "common-model",
    reported: Reported::Apart,
    applies_to_launcher_pods: false,
    applies_to_refused_guests: true,
    immobilizes: false,
    doubt: None,
    find: |_| Vec::new(),
};
