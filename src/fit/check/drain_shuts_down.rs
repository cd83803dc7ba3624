//! A drain of the node shuts the guest down: by its eviction strategy, KubeVirt does not migrate it.
//!
//! Mirrors `admitLauncherPod` of `pkg/virt-api/webhooks/validating-webhook/admitters/pod-eviction-admitter.go`, which
//! lets the eviction of such a guest pass, as that of any other pod.

use super::{Check, CheckSpec, Detail, Finding, Reported};
use crate::fit::judgement::Judgement;
use crate::fit::subject::ShutDownBy;

pub(super) const SPEC: CheckSpec = CheckSpec {
    id: Check::DrainShutsDown,
    word: "drain-shuts-down",
    reported: Reported::Apart,
    applies_to_launcher_pods: false,
    applies_to_refused_guests: false,
    immobilizes: false,
    doubt: None,
    find,
};

/// A guest that a drain of its node shuts down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrainShutsDown {
    /// The node that it runs on.
    pub node: String,
    /// The reason.
    pub by: ShutDownBy,
}

fn find(judgement: &Judgement<'_, '_>) -> Vec<Finding> {
    let (Some(by), Some(source)) = (&judgement.subject.shut_down, judgement.source) else { return Vec::new() };
    let found = DrainShutsDown { node: judgement.fleet.name(source).to_owned(), by: by.clone() };
    vec![Finding::note(Check::DrainShutsDown, "spec.vmiName", Detail::DrainShutsDown(found))]
}
