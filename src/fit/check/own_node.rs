//! A running guest's own node no longer meets its pod's selector or affinity: a restarting kubelet fails the
//! guest.
//!
//! Mirrors the kubelet's `HandlePodAdditions` (`pkg/kubelet/kubelet.go`) and `generalFilter`
//! (`pkg/kubelet/lifecycle/predicate.go`), which admit existing pods again.

use std::collections::BTreeMap;

use super::{Check, CheckSpec, Detail, Finding, Reported};
use crate::fit::fleet::Fleet;
use crate::fit::outcome::Impact;
use crate::fit::placement::AffinityRule;
use crate::fit::subject::Subject;

pub(super) const SPEC: CheckSpec = CheckSpec {
    id: Check::OwnNode,
    word: "own-node",
    reported: Reported::Always,
    applies_to_launcher_pods: true,
    applies_to_refused_guests: false,
    immobilizes: false,
    doubt: None,
    find: |judgement| own_node(judgement.subject, judgement.fleet).into_iter().collect(),
};

/// A node that does not meet the pod of the guest that runs there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnNode {
    /// The node.
    pub node: String,
    /// The selector entries that it does not meet, by key.
    pub missing: Vec<(String, String)>,
    /// For the missing entries whose key the node has: the node's value.
    pub has: BTreeMap<String, String>,
    /// The conditions of the required affinity that it does not meet.
    pub affinity: Vec<AffinityRule>,
}

/// Returns a finding if the guest's own node no longer meets the selector or affinity of the pod that runs
/// there.
pub(crate) fn own_node(subject: &Subject<'_>, fleet: &Fleet) -> Option<Finding> {
    let running = subject.running.as_ref()?;
    let node = fleet.find(&running.node)?;
    let lookup = fleet.look_up(running.placement.as_ref()?);
    let refusal = lookup.refusal(node);
    if refusal.missing.is_empty() && refusal.affinity.is_empty() {
        return None;
    }
    Some(Finding {
        check: Check::OwnNode,
        impact: Some(Impact::Unschedulable),
        // The finding is about an existing pod, not about a field of the judged object.
        field: String::new(),
        detail: Detail::OwnNode(OwnNode {
            node: running.node.clone(),
            has: lookup.values(node, &refusal.missing),
            missing: refusal.missing,
            affinity: refusal.affinity,
        }),
        remedies: Vec::new(),
    })
}
