//! KubeVirt would create no pod for the guest: nothing is there to be placed.
//!
//! Known from outside the nodes: it comes as a note of the judgement.

use super::{Check, CheckSpec};

pub(super) const SPEC: CheckSpec = CheckSpec {
    id: Check::NoPod,
    word: "no-pod",
    always_reported: true,
    applies_to_launcher_pods: true,
    find: |_| Vec::new(),
};
