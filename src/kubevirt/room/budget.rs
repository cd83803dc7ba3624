//! Disruption budgets, and the launchers that they protect.

use crate::policy::LabelSelector;

/// A `PodDisruptionBudget` that is not KubeVirt's own.
#[derive(Clone, Debug, PartialEq)]
pub struct DisruptionBudget {
    /// The budget's namespace.
    pub namespace: String,
    /// The budget's name.
    pub name: String,
    /// The selector of the protected pods.
    pub(super) selector: LabelSelector,
    /// `status.disruptionsAllowed`.
    pub allowed: i64,
    /// Whether it allows the eviction of a pod that is not ready, whatever `allowed` is: its
    /// `unhealthyPodEvictionPolicy` is `AlwaysAllow`, or enough of its pods are healthy. Mirrors `EvictionREST.Create`
    /// (`k8s.io/kubernetes/pkg/registry/core/pod/storage/eviction.go`).
    pub(crate) frees_unready: bool,
}

/// State of a launcher in which budgets do not protect it, or not always.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LauncherState {
    /// It waits or is being deleted: its eviction is a deletion (`canIgnorePDB`).
    Unprotected,
    /// It runs and its condition `Ready` is not `True`, as that of a paused guest is.
    Unready,
}

impl DisruptionBudget {
    /// Whether the budget protects a pod with these labels.
    pub(crate) fn protects<'l>(&self, namespace: &str, label: impl Fn(&str) -> Option<&'l str>) -> bool {
        self.namespace == namespace && self.selector.matches_by(label)
    }
}
