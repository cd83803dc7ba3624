//! The stage of its life at which a guest is judged: its start, or a migration.

use std::collections::BTreeSet;

use super::{CpuMode, has_key};
use crate::fit::label::{self, Family};
use crate::fit::placement::Placement;

/// The entries that a later migration adds to the pod's selector at start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AfterStart {
    /// The rule for the start node's host model (host-model guests only).
    pub host_model: HostModelRule,
    /// Whether the start node's vendor is demanded (KubeVirt 1.6.4, 1.7.1 and later).
    pub vendor: bool,
}

/// The rule by which the first migration uses the start node's host model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostModelRule {
    /// Nothing is added: the guest has another CPU mode, or its pod looks as if it had migrated before.
    NotAsked,
    /// Model and required features are copied; if the label is missing, nothing is copied (KubeVirt 1.6.0 and
    /// later).
    Copied,
    /// Model and required features are copied; if the label is missing, no target pod is created (up to 1.5).
    CopiedOrRefused,
    /// Like `CopiedOrRefused`, but the model is selected by its `host-model-cpu` label: a target has the
    /// source's host model (up to 0.53).
    SameHostOrRefused,
}

/// The CPU features that a guest's specification lists, by policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuFeatures {
    /// Features with policy `require`, which the launcher's selector has as well.
    pub required: Vec<String>,
    /// Features with policy `force`.
    pub forced: Vec<String>,
    /// Features with policy `optional`.
    pub optional: Vec<String>,
    /// Features with policy `disable`: the guest lacks them wherever it runs.
    pub disabled: Vec<String>,
    /// Features with policy `forbid`: the guest lacks them, and does not start where the hypervisor provides them.
    pub forbidden: Vec<String>,
}

impl CpuFeatures {
    /// Whether a guest with a named model gets the same features by these lists as by `others`: a required feature and
    /// a forced one are given alike, and a disabled one is hidden as a forbidden one is.
    pub(crate) fn give_as(&self, others: &Self) -> bool {
        fn lists(of: &CpuFeatures) -> [BTreeSet<&String>; 3] {
            let given = of.required.iter().chain(&of.forced).collect();
            [given, of.optional.iter().collect(), of.switched_off().collect()]
        }
        lists(self) == lists(others)
    }

    /// Iterates over the features that the specification disables or forbids: they do not prevent the use of a named
    /// model.
    pub(crate) fn switched_off(&self) -> impl Iterator<Item = &String> {
        self.disabled.iter().chain(&self.forbidden)
    }

    /// Whether the specification disables or forbids a feature.
    pub(crate) fn switches_off(&self, feature: &str) -> bool {
        self.switched_off().any(|off| off == feature)
    }

    /// Whether the specification forbids a feature.
    pub(crate) fn forbids(&self, feature: &str) -> bool {
        self.forbidden.iter().any(|forbidden| forbidden == feature)
    }

    /// Whether the specification asks for a feature beyond those of the model.
    pub(crate) fn asks_for(&self, feature: &str) -> bool {
        [&self.required, &self.forced, &self.optional].into_iter().flatten().any(|asked| asked == feature)
    }
}

/// The start of a guest: its launcher's placement, and the entries that its migrations add.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start<'a> {
    /// The CPU mode at the start.
    pub mode: CpuMode,
    /// The placement of the launcher.
    pub placement: Placement<'a>,
    /// The `cpu-model` keys that a node selector requires, the guest's own or the cluster's: they stay with any CPU
    /// model.
    pub own_models: Vec<String>,
    /// The CPU features that its specification lists.
    pub features: CpuFeatures,
    /// The CPUPolicy that sets its CPU model, by name.
    pub by_policy: Option<String>,
    /// The entries that its first migration adds.
    #[expect(clippy::struct_field_names, reason = "what comes after the start is part of how a guest would start")]
    pub after_start: AfterStart,
}

impl<'a> Start<'a> {
    /// Returns the start with a named model: with the model's key, and without host-model conditions.
    pub(crate) fn with_model(&self, model: &str) -> Start<'a> {
        let mut out = self.with_any_model();
        out.mode = CpuMode::Named(model.to_owned());
        out.placement.selector.insert(format!("{}{model}", label::CPU_MODEL), "true");
        out
    }

    /// Returns the start with a named model that each node has: only the models that a node selector requires remain.
    /// Mirrors `NewNodeSelectorRenderer` (`pkg/virt-controller/services/nodeselectorrenderer.go`), which copies the
    /// node selectors of the cluster and of the guest.
    pub(crate) fn with_any_model(&self) -> Start<'a> {
        let mut placement = self.placement.clone();
        let stays = |key: &str| self.own_models.iter().any(|own| own == key);
        placement.selector.retain(|(key, _)| Family::of(key) != Family::CpuModel || stays(key));
        if self.mode == CpuMode::HostModel {
            placement.affinity = placement.affinity.and_then(|affinity| affinity.without_obsolete_host_model());
        }
        Start {
            mode: CpuMode::Named(String::new()),
            placement,
            own_models: self.own_models.clone(),
            features: self.features.clone(),
            by_policy: None,
            after_start: AfterStart { host_model: HostModelRule::NotAsked, ..self.after_start },
        }
    }
}

/// The stage of its life at which the guest is judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The guest is to start; its later migrations are judged too.
    Start(AfterStart),
    /// The guest runs and is to migrate.
    Migration(Migration),
}

/// A migration under judgement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own about the migration")]
pub struct Migration {
    /// The node that the guest runs on, which is no target.
    pub source: Option<String>,
    /// Whether its CPU entries were inherited from the selector of an earlier migration.
    pub inherited: bool,
    /// Whether it is not known if its CPU entries were inherited: the guest is not known, and its node has labels that
    /// give the same entries.
    pub may_be_first: bool,
    /// `spec.addedNodeSelector`: the entries that the migration adds, sorted by key.
    pub added: Vec<(String, String)>,
    /// Whether it comes from another cluster, so that no node here is its source.
    pub from_elsewhere: bool,
    /// The entries of the source's host model that KubeVirt does not add to the selector, because it takes a
    /// feature that the guest itself requires as the trace of an earlier migration, or because the launcher lost
    /// the model that a migration had copied: libvirt may refuse a node that lacks one of them. `None` if the host
    /// model is selected or inherited, or is not the guest's CPU mode.
    pub unasked: Option<Vec<(String, String)>>,
    /// The entries of `spec.addedNodeSelector` that the guest's own node selector overrides, sorted by key.
    pub overridden: Vec<(String, String)>,
    /// Whether no label of the source names the host model and KubeVirt ignores that: it selects no CPU model
    /// and no features.
    pub overlooked: bool,
    /// Whether it, or another migration of the guest, is stored and has not ended. Its target pod, if it has one, stays
    /// as it is, and KubeVirt accepts no other migration of the guest.
    pub is_under_way: bool,
    /// The placement of the target pod that KubeVirt would create now, if the judged one exists and waits for a node:
    /// it stays as it was created.
    pub new_target: Option<Box<Placement<'static>>>,
    /// The `cpu-vendor` keys of its source, sorted, if KubeVirt selects any one of them.
    pub vendors: Vec<String>,
    /// The node that the guest leaves, as another cluster or namespace reports it.
    pub reported: Option<ReportedNode>,
}

/// A node of another cluster or namespace, which a guest leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportedNode {
    /// Its name.
    pub name: String,
    /// Its labels of CPU features and of usable CPU models that are `true`, by key.
    pub labels: BTreeSet<String>,
}

impl Migration {
    /// Whether its CPU entries are copied from the labels of the node that the guest leaves.
    pub(crate) fn copies_labels(&self) -> bool {
        !self.inherited && !self.may_be_first && self.unasked.is_none()
    }

    /// Whether the migration adds this key.
    #[must_use]
    pub fn adds(&self, key: &str) -> bool {
        has_key(&self.added, key)
    }
}

/// The node of a running guest, and its pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running<'a> {
    /// The node that the guest runs on.
    pub node: String,
    /// The node requirements of its pod, which a restarting kubelet checks again; `None` if they are not known.
    pub placement: Option<Placement<'a>>,
}
