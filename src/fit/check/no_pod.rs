//! KubeVirt would create no pod for the guest.
//!
//! The findings do not depend on the nodes: they are notes of the judgement.

use super::{Check, CheckSpec};

pub(super) const SPEC: CheckSpec = CheckSpec {
    id: Check::NoPod,
    word: "no-pod",
    always_reported: true,
    applies_to_launcher_pods: true,
    find: |_| Vec::new(),
};
