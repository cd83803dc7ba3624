//! KubeVirt would create no pod for the guest.
//!
//! The findings do not depend on the nodes: they are notes of the judgement.

use super::{Check, CheckSpec, Reported};

pub(super) const SPEC: CheckSpec = CheckSpec {
    id: Check::NoPod,
    word: "no-pod",
    reported: Reported::Always,
    applies_to_launcher_pods: true,
    applies_to_refused_guests: true,
    immobilizes: true,
    doubt: None,
    find: |_| Vec::new(),
};
