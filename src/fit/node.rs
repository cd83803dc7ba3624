//! A node as it is judged: labels, taints, cordon, readiness. Nothing else of a node matters here.

use std::collections::BTreeMap;

use super::label;
use super::word::words;

words! {
    /// What a taint does to pods that do not tolerate it. Mirrors `v1.TaintEffect`.
    Effect {
        /// New pods are kept away.
        NoSchedule = "NoSchedule",
        /// New pods are kept away if another node will do; never a refusal.
        PreferNoSchedule = "PreferNoSchedule",
        /// New pods are kept away and running ones evicted.
        NoExecute = "NoExecute",
    }
}

impl Effect {
    /// Whether the scheduler's `TaintToleration` filter refuses for it.
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
    /// What it does.
    pub effect: Effect,
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

/// One node, owned and plain: what dumps and watches are turned into, and what remedies edit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// `spec.taints`.
    pub taints: Vec<Taint>,
    /// `spec.unschedulable`.
    pub cordoned: bool,
    /// The `Ready` condition says something other than `True`.
    pub not_ready: bool,
    /// The value of the `skip-node` annotation, if it is there: its presence alone stops the labeller.
    pub skip_node: Option<String>,
    /// Why the rest of it is not known, if so: it takes no guest, as far as is known.
    pub unread: Option<String>,
}

impl Node {
    /// Ends its cordon, as `kubectl uncordon` and the node controller do.
    pub fn uncordon(&mut self) {
        self.cordoned = false;
        self.taints.retain(|taint| taint.key != label::TAINT_UNSCHEDULABLE);
    }
}
