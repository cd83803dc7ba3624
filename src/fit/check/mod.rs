//! The checks: what is looked for in a judgement. One file each, in the order in which findings are reported.
//!
//! A check is found by [`CheckSpec::find`]; [`ALL`] lists them, and nothing else does. What is known from outside the
//! nodes (no pod would be created, a version had to be assumed, a policy's common model) comes as notes, which the verdict
//! reports at the place of their check.

mod asked_by;
mod assumed;
mod bound_volumes;
mod common_model;
mod contradiction;
mod drain_waits;
mod empty_label;
mod host_model_unasked;
mod libvirt_refused;
mod libvirt_refuses;
mod migration_target;
mod model_coverage;
mod model_not_usable;
mod model_withheld;
mod no_pod;
mod not_migratable;
mod not_ready;
mod other_architecture;
mod outdated_launcher;
mod own_host_model;
mod own_node;
mod pod_rules;
mod restart_required;
mod source_labels;
mod stale_model;
mod start_node;
mod start_outlook;
mod unknown;
mod unlike_hosts;

pub(crate) use asked_by::AskedBy;
pub(crate) use bound_volumes::{BoundVolumes, UsableOn};
pub(crate) use contradiction::Contradiction;
pub(crate) use drain_waits::DrainWaits;
pub(crate) use empty_label::EmptyLabel;
pub(crate) use host_model_unasked::HostModelUnasked;
pub(crate) use libvirt_refused::LibvirtRefused;
pub(crate) use migration_target::NoTarget;
pub(crate) use model_coverage::ModelCoverage;
pub(crate) use model_not_usable::KnownNotUsable;
pub(crate) use model_withheld::{Obsolete, WithheldModel};
pub(crate) use other_architecture::OtherArchitectures;
pub(crate) use own_host_model::OwnHostModel;
pub(crate) use own_node::OwnNode;
pub(crate) use pod_rules::PodRules;
pub(crate) use source_labels::SourceLabels;
pub(crate) use stale_model::StaleModel;
pub(crate) use start_node::{KeptOff, NoStartNode};
pub(crate) use start_outlook::{FromStart, StartOutlook};
pub(crate) use unlike_hosts::{AlikeHosts, UnlikeHosts, UnlikeVendors};

use super::judgement::Judgement;
use super::libvirt::Incompatible;
use super::outcome::{Impact, Outcome, Unknown};
use super::remedy::Remedy;
use super::subject::{NotMigratable, UnmetAtStart};

/// A check, and how it is used.
#[derive(Debug)]
pub struct CheckSpec {
    /// Which.
    pub id: Check,
    /// As JSON spells it.
    pub word: &'static str,
    /// Reported whatever the policy's `warn` says: without it the rest of an answer would mislead, or a guest that runs
    /// is in danger.
    pub always_reported: bool,
    /// Also looked for in launcher pods that fit, which are admitted without further work where nothing is found.
    pub applies_to_launcher_pods: bool,
    /// What is found; nothing where all is well.
    pub find: fn(&Judgement<'_, '_>) -> Vec<Finding>,
}

/// Declares the checks in the order in which their findings are reported.
macro_rules! checks {
    ($($(#[$doc:meta])* $id:ident = $file:ident,)*) => {
        /// A check, by name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Check {
            $($(#[$doc])* $id,)*
        }

        /// All checks, in the order in which their findings are reported.
        pub(crate) const ALL: &[CheckSpec] = &[$($file::SPEC,)*];
    };
}

checks! {
    /// Node labels are missing altogether, or the objects a judgement needs.
    Unknown = unknown,
    /// KubeVirt would create no pod.
    NoPod = no_pod,
    /// KubeVirt refuses to migrate it.
    NotMigratable = not_migratable,
    /// No node takes the guest at start.
    StartNode = start_node,
    /// No node, or one, is left to migrate to.
    MigrationTarget = migration_target,
    /// Where it starts decides where it can go.
    StartOutlook = start_outlook,
    /// Who asks for what nodes lack.
    AskedBy = asked_by,
    /// A node's own host model is not usable there by name.
    OwnHostModel = own_host_model,
    /// The guest's own feature hides its node's host model from its migration.
    HostModelUnasked = host_model_unasked,
    /// The labels of its own node give its migration no CPU requirement, or an ambiguous one.
    SourceLabels = source_labels,
    /// It takes its node's own CPU, or asks for no CPU vendor, and the nodes that fit are unlike each other.
    UnlikeHosts = unlike_hosts,
    /// kube-scheduler goes by pods as well.
    PodRules = pod_rules,
    /// Its volumes can be used on some of the nodes that fit only.
    BoundVolumes = bound_volumes,
    /// A model that it inherited is not known to its own node any more.
    StaleModel = stale_model,
    /// A drain of its node waits for it.
    DrainWaits = drain_waits,
    /// A running guest's own node no longer meets its pod's selector or affinity.
    OwnNode = own_node,
    /// Libvirt refused the last migration, whatever the labels say.
    LibvirtRefused = libvirt_refused,
    /// Libvirt was asked, and refuses the guest on nodes that fit by labels.
    LibvirtRefuses = libvirt_refuses,
    /// The launcher is outdated: the next migration crosses QEMU versions.
    OutdatedLauncher = outdated_launcher,
    /// Its VM waits for a restart: edits of it do not reach the running guest.
    RestartRequired = restart_required,
    /// The model is known to nodes, but usable on none.
    ModelKnownNotUsable = model_not_usable,
    /// The model leaves out a large part of the nodes that could take the guest.
    ModelCoverage = model_coverage,
    /// KubeVirt's list of obsolete models keeps labels off the nodes.
    ModelWithheld = model_withheld,
    /// The demand contradicts itself.
    Contradiction = contradiction,
    /// A capability label has no value where one is asked for.
    EmptyLabel = empty_label,
    /// Nodes of another architecture are not judged.
    OtherArchitecture = other_architecture,
    /// A node fits, though its Ready condition says otherwise.
    NotReady = not_ready,
    /// What had to be assumed.
    Assumed = assumed,
    /// The policy's common model.
    CommonModel = common_model,
}

impl Check {
    /// The check itself.
    #[must_use]
    pub fn spec(self) -> &'static CheckSpec {
        // The macro declares both in one order.
        &ALL[self as usize]
    }

    /// As JSON spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.spec().word
    }

    /// Whether a note of it is worth saying of such an outcome: what KubeVirt's list of obsolete models withholds is, where too few
    /// nodes take the guest.
    #[must_use]
    pub(super) fn is_noted_of(self, outcome: &Outcome) -> bool {
        self != Self::ModelWithheld || outcome.impact().is_some()
    }

    /// Whether it finds what may keep the guest off a node that fits by labels: where it does, "fits" alone would mislead.
    #[must_use]
    pub(crate) fn doubts_labels(self) -> bool {
        matches!(
            self,
            Self::LibvirtRefused
                | Self::HostModelUnasked
                | Self::SourceLabels
                | Self::UnlikeHosts
                | Self::PodRules
                | Self::BoundVolumes
                | Self::ModelWithheld
        )
    }
}

/// One thing that was found about a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which check found it.
    pub check: Check,
    /// How bad it is; `None` for a note.
    pub impact: Option<Impact>,
    /// The field of the judged object that is to blame, as a path; may be empty.
    pub field: String,
    /// What was found.
    pub detail: Detail,
    /// What would cure it, the least harmful first.
    pub remedies: Vec<Remedy>,
}

impl Finding {
    /// A note: something to say that is no impact by itself.
    #[must_use]
    pub fn note(check: Check, field: impl Into<String>, detail: Detail) -> Self {
        Self { check, impact: None, field: field.into(), detail, remedies: Vec::new() }
    }

    /// A note in words of its own: of what lies outside the nodes.
    #[must_use]
    pub(crate) fn noted(check: Check, field: impl Into<String>, words: impl Into<String>) -> Self {
        Self::note(check, field, Detail::Noted(words.into()))
    }

    /// The words of a note that has words of its own.
    #[must_use]
    pub fn words(&self) -> Option<&str> {
        match &self.detail {
            Detail::Noted(words) => Some(words),
            _ => None,
        }
    }
}

/// What was found, as data: the words are made of it elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Nothing can be judged.
    Unknown(Unknown),
    /// One sentence, of something that lies outside the nodes.
    Noted(String),
    /// No node takes it at start.
    NoStartNode(NoStartNode),
    /// Too few nodes to migrate to.
    NoTarget(NoTarget),
    /// Where it starts decides where it can go.
    StartOutlook(StartOutlook),
    /// Who asks for what nodes lack.
    AskedBy(AskedBy),
    /// A node's own host model is not usable there by name.
    OwnHostModel(OwnHostModel),
    /// Nodes fit and lack some of the host model that is not asked for.
    HostModelUnasked(HostModelUnasked),
    /// What is odd about the labels of the node that it leaves.
    SourceLabels(SourceLabels),
    /// Nodes that fit and are unlike each other, of a guest that takes its node's own CPU.
    UnlikeHosts(UnlikeHosts),
    /// Its pod asks for no CPU vendor, and nodes of several fit.
    UnlikeVendors(UnlikeVendors),
    /// Rules that kube-scheduler decides by the pods on the nodes.
    PodRules(PodRules),
    /// Volumes that keep it off nodes that fit.
    BoundVolumes(BoundVolumes),
    /// A model that its own node does not know any more.
    StaleModel(StaleModel),
    /// A drain of its node waits for it.
    DrainWaits(DrainWaits),
    /// Its own node does not meet its pod.
    OwnNode(OwnNode),
    /// KubeVirt refuses to migrate it.
    NotMigratable(NotMigratable),
    /// Libvirt refused it.
    LibvirtRefused(LibvirtRefused),
    /// Libvirt refuses it on these nodes, which fit by labels.
    LibvirtRefuses(Vec<(String, Incompatible)>),
    /// A start on these nodes, which fit by labels, would fail, as libvirt there says.
    FailsAtStart(Vec<(String, Vec<UnmetAtStart>)>),
    /// The launcher is outdated.
    OutdatedLauncher,
    /// Its VM waits for a restart.
    RestartRequired,
    /// A model that nodes know and cannot run.
    KnownNotUsable(KnownNotUsable),
    /// A model that many nodes cannot run.
    ModelCoverage(ModelCoverage),
    /// A model, or host models, that KubeVirt's list of obsolete models keeps out.
    Withheld(WithheldModel),
    /// A demand that contradicts itself.
    Contradiction(Contradiction),
    /// A label without a value.
    EmptyLabel(EmptyLabel),
    /// Nodes of another architecture.
    OtherArchitectures(OtherArchitectures),
    /// These nodes fit and are not ready.
    NotReady(Vec<String>),
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_check_is_at_its_index_and_has_its_own_word() {
        for (at, spec) in ALL.iter().enumerate() {
            assert_eq!(spec.id as usize, at, "{:?} would be described by another check", spec.id);
            assert!(spec.word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "{}", spec.word);
        }
        let words: BTreeSet<&str> = ALL.iter().map(|spec| spec.word).collect();
        assert_eq!(words.len(), ALL.len(), "JSON would not tell two checks apart");
    }
}
