//! The properties of a node that a judgement uses: labels, taints, cordon, readiness.

use std::collections::BTreeMap;

use super::label;
use super::word::words;

words! {
    /// The effect of a taint on pods that do not tolerate it. Mirrors `v1.TaintEffect`.
    Effect {
        /// New pods are kept away.
        NoSchedule = "NoSchedule",
        /// New pods are kept away if another node accepts them; never a refusal.
        PreferNoSchedule = "PreferNoSchedule",
        /// New pods are kept away and running pods are evicted.
        NoExecute = "NoExecute",
    }
}

impl Effect {
    /// Whether the scheduler's `TaintToleration` filter refuses a pod because of this effect.
    #[must_use]
    pub fn refuses(self) -> bool {
        self != Self::PreferNoSchedule
    }
}

/// A taint of a node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Taint {
    /// The key.
    pub key: String,
    /// The value, often empty.
    pub value: String,
    /// The effect.
    pub effect: Effect,
}

impl Taint {
    /// Whether a person set it, so that a guest may be meant to tolerate it: Kubernetes' own follow the state of the
    /// node, and KubeVirt's is for a drain.
    pub(crate) fn is_for_choice(&self) -> bool {
        !self.key.starts_with("node.kubernetes.io/") && self.key != label::TAINT_DRAIN
    }

    /// Whether the node controller sets it on a node that is not ready, and takes it off once the node is. Mirrors
    /// `nodeConditionToTaintKeyStatusMap` of `pkg/controller/nodelifecycle/node_lifecycle_controller.go` of kubernetes.
    pub(crate) fn is_of_down_node(&self) -> bool {
        matches!(self.key.as_str(), label::TAINT_NOT_READY | label::TAINT_UNREACHABLE)
    }
}

impl std::fmt::Display for Taint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.key)?;
        if !self.value.is_empty() {
            write!(f, "={}", self.value)?;
        }
        write!(f, ":{}", self.effect.as_str())
    }
}

/// A node in plain form: built from dumps and watches, and edited by remedies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`; empty if it is not known.
    pub uid: String,
    /// `metadata.creationTimestamp`, in seconds since 1970; 0 if it is not known.
    pub created: i64,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// `spec.taints`.
    pub taints: Vec<Taint>,
    /// `spec.unschedulable`.
    pub cordoned: bool,
    /// Whether the `Ready` condition has a status other than `True`.
    pub not_ready: bool,
    /// The value of the `skip-node` annotation, if it is set: its presence alone stops the labeller.
    pub skip_node: Option<String>,
    /// The reason why the rest of the node was not read, if so. It is treated as fitting no guest.
    pub unread: Option<String>,
}

impl Node {
    /// Removes the cordon and its taint, as `kubectl uncordon` and the node controller do.
    pub fn uncordon(&mut self) {
        self.cordoned = false;
        self.taints.retain(|taint| taint.key != label::TAINT_UNSCHEDULABLE);
    }
}
