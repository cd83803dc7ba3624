//! The checks of a judgement: one file each, in the order in which findings are reported.
//!
//! [`ALL`] lists them, and [`CheckSpec::find`] runs one. Findings that do not depend on the nodes (no pod
//! would be created, a version had to be assumed, a policy's common model) are notes, which the verdict
//! reports at the position of their check.

mod asked_by;
mod assumed;
mod bound_volumes;
mod chosen_nodes;
mod common_model;
mod contradiction;
mod drain_shuts_down;
mod drain_waits;
mod empty_label;
mod host_model_known;
mod host_model_unasked;
mod libvirt_refused;
mod libvirt_refuses;
mod migration_target;
mod migration_wanted;
mod migrations_off;
mod model_coverage;
mod model_not_usable;
mod model_withheld;
mod no_cpu_labels;
mod no_pod;
mod no_virt_handler;
mod not_migratable;
mod not_ready;
mod not_started;
mod optional_feature;
mod other_architecture;
mod outdated_launcher;
mod own_host_model;
mod own_node;
mod pod_rules;
mod restart_required;
mod similar_feature;
mod source_labels;
mod source_not_ready;
mod stale_model;
mod start_node;
mod start_outlook;
mod unknown;
mod unknown_host;
mod unlike_hosts;
mod will_not_migrate;

pub(crate) use asked_by::AskedBy;
pub(crate) use bound_volumes::{BoundVolumes, UsableOn};
pub(crate) use chosen_nodes::ChosenNodes;
pub(crate) use contradiction::Contradiction;
pub(crate) use drain_shuts_down::DrainShutsDown;
pub(crate) use drain_waits::DrainWaits;
pub(crate) use empty_label::EmptyLabel;
pub(crate) use host_model_known::{DoubtfulNodes, HostModelKnown};
pub(crate) use host_model_unasked::HostModelUnasked;
pub(crate) use libvirt_refused::LibvirtRefused;
pub(crate) use migration_target::NoTarget;
pub(crate) use model_coverage::ModelCoverage;
pub(crate) use model_not_usable::KnownNotUsable;
pub(crate) use model_withheld::WithheldModel;
pub(crate) use no_cpu_labels::NoCpuLabels;
pub(crate) use no_virt_handler::{NoVirtHandler, NotPlaced};
pub(crate) use optional_feature::OptionalFeature;
pub(crate) use other_architecture::OtherArchitectures;
pub(crate) use own_host_model::OwnHostModel;
pub(crate) use own_node::OwnNode;
pub(crate) use pod_rules::{ClosedByPods, PodRules};
pub(crate) use similar_feature::SimilarFeature;
pub(crate) use source_labels::SourceLabels;
pub(crate) use source_not_ready::SourceNotReady;
pub(crate) use stale_model::StaleModel;
pub(crate) use start_node::{KeptOff, NoStartNode};
pub(crate) use start_outlook::{FromStart, StartOutlook};
pub(crate) use unknown_host::UnknownHost;
pub(crate) use unlike_hosts::{AlikeHosts, UnlikeHosts, UnlikeVendors};

use super::judgement::Judgement;
use super::libvirt::Incompatible;
use super::outcome::{Impact, Unknown};
use super::remedy::Remedy;
use super::subject::{MigrationLimit, NotMigratable, NotStarted, PendingChange, UnmetAtStart};

/// A check and its properties.
#[derive(Debug)]
pub struct CheckSpec {
    /// The check.
    pub id: Check,
    /// The name in JSON.
    pub word: &'static str,
    /// When and where its findings are reported.
    pub reported: Reported,
    /// Whether it also runs for launcher pods that fit, which are admitted without further work if nothing is
    /// found.
    pub applies_to_launcher_pods: bool,
    /// Whether its findings matter to a guest that KubeVirt refuses: those about nodes do not.
    pub applies_to_refused_guests: bool,
    /// Whether a finding of it with an impact says that the running guest migrates nowhere now, whatever the labels
    /// are.
    pub immobilizes: bool,
    /// The program that may keep the guest off nodes that fit by labels, so that "fits" alone would mislead; `None` if
    /// its findings do not exclude nodes.
    pub doubt: Option<Doubt>,
    /// The function that runs the check; it returns nothing if there is no problem.
    pub find: fn(&Judgement<'_, '_>) -> Vec<Finding>,
}

/// When and where the findings of a check are reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reported {
    /// As the headline, with the number of nodes by labels.
    AsHeadline,
    /// Regardless of the policy's `warn`: without it the rest of an answer would mislead, or a running guest is in
    /// danger.
    Always,
    /// With the reasons of a warning.
    IfWarned,
    /// With the authors of the demands, after the reasons.
    WithAuthors,
    /// On a line of its own, or only by verbs.
    Apart,
}

/// The program that may keep a guest off nodes that fit by labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// Libvirt, because of the node's CPU.
    Libvirt,
    /// kube-scheduler, because of other pods or volumes.
    Scheduler,
    /// virt-handler of the node that the guest leaves, if it does not run.
    VirtHandler,
    /// The labeller, which removes labels that are still there.
    Labeller,
}

/// Declares the checks in the order in which their findings are reported.
macro_rules! checks {
    ($($(#[doc = $doc:literal])+ $id:ident = $file:ident,)*) => {
        /// A check, by name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Check {
            $($(#[doc = $doc])+ $id,)*
        }

        impl Check {
            /// Returns the properties of the check.
            #[must_use]
            pub fn spec(self) -> &'static CheckSpec {
                match self {
                    $(Self::$id => &$file::SPEC,)*
                }
            }

            /// Returns what it finds, in a sentence.
            #[must_use]
            pub fn description(self) -> &'static str {
                match self {
                    $(Self::$id => concat!($($doc),+).trim_ascii(),)*
                }
            }
        }

        /// All checks, in the order in which their findings are reported.
        pub(crate) const ALL: &[CheckSpec] = &[$($file::SPEC,)*];
    };
}

checks! {
    /// All node labels are missing, or objects that a judgement needs.
    Unknown = unknown,
    /// KubeVirt would create no pod.
    NoPod = no_pod,
    /// KubeVirt refuses to migrate the guest.
    NotMigratable = not_migratable,
    /// KubeVirt starts no migration, because it allows none at a time.
    MigrationsOff = migrations_off,
    /// KubeVirt will refuse to migrate the guest, by its specification.
    WillNotMigrate = will_not_migrate,
    /// No node takes the guest at start.
    StartNode = start_node,
    /// At most one node is left to migrate to.
    MigrationTarget = migration_target,
    /// The start node decides which targets the guest has.
    StartOutlook = start_outlook,
    /// The authors of the demands that nodes do not meet.
    AskedBy = asked_by,
    /// The selector names a host that no node has.
    UnknownHost = unknown_host,
    /// Nodes are chosen by host name or by `addedNodeSelector`: judged with and without that choice.
    ChosenNodes = chosen_nodes,
    /// A required CPU feature or model that no node offers has a name like one that nodes offer.
    SimilarFeature = similar_feature,
    /// The host model of a node is not usable there by name.
    OwnHostModel = own_host_model,
    /// The guest's own feature hides its node's host model from its migration.
    HostModelUnasked = host_model_unasked,
    /// Nodes that fit know the guest's host model by name, and lack features of it.
    HostModelKnown = host_model_known,
    /// Fitting nodes lack an optional CPU feature that the guest has from its node.
    OptionalFeature = optional_feature,
    /// The labels of the guest's own node add no CPU requirement to its migration, or an ambiguous one.
    SourceLabels = source_labels,
    /// The guest uses its node's own CPU, or selects no CPU vendor, and the hardware of the fitting nodes
    /// differs.
    UnlikeHosts = unlike_hosts,
    /// kube-scheduler considers pods as well.
    PodRules = pod_rules,
    /// The guest's volumes can be used only on some of the fitting nodes.
    BoundVolumes = bound_volumes,
    /// A model that the guest inherited is no longer listed by its own node.
    StaleModel = stale_model,
    /// A drain of its node waits for the guest.
    DrainWaits = drain_waits,
    /// A drain of its node shuts the guest down.
    DrainShutsDown = drain_shuts_down,
    /// A running guest's own node no longer meets its pod's selector or affinity.
    OwnNode = own_node,
    /// The last migration failed: libvirt refused it regardless of the labels, or for another reason.
    LibvirtRefused = libvirt_refused,
    /// KubeVirt reports why the guest has not started.
    NotStarted = not_started,
    /// Libvirt refuses the guest on nodes that fit by labels.
    LibvirtRefuses = libvirt_refuses,
    /// The launcher is outdated: the next migration crosses QEMU versions.
    OutdatedLauncher = outdated_launcher,
    /// Changes of the guest count once it has migrated.
    MigrationWanted = migration_wanted,
    /// The guest's VM waits for a restart: edits of it do not reach the running guest.
    RestartRequired = restart_required,
    /// Nodes list the model, but none can run it.
    ModelKnownNotUsable = model_not_usable,
    /// The model excludes a large part of the nodes that could take the guest.
    ModelCoverage = model_coverage,
    /// KubeVirt's list of obsolete models withholds labels from the nodes.
    ModelWithheld = model_withheld,
    /// The demand contradicts itself.
    Contradiction = contradiction,
    /// A capability label has an empty value, but the guest selects another.
    EmptyLabel = empty_label,
    /// No virt-handler has run on nodes, so that nothing labels them.
    NoVirtHandler = no_virt_handler,
    /// Nodes have no CPU labels, although virt-handler runs there.
    NoCpuLabels = no_cpu_labels,
    /// Nodes of another architecture are not judged.
    OtherArchitecture = other_architecture,
    /// The node that the guest leaves is down, or may be.
    SourceNotReady = source_not_ready,
    /// A node fits, although its `Ready` condition is not `True`.
    NotReady = not_ready,
    /// An assumption of the judgement.
    Assumed = assumed,
    /// The policy's common model.
    CommonModel = common_model,
}

/// Returns the check with this name in JSON.
pub(crate) fn of_word(word: &str) -> Option<Check> {
    ALL.iter().find(|spec| spec.word == word).map(|spec| spec.id)
}

impl Check {
    /// Returns the name in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.spec().word
    }
}

/// A result of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The check.
    pub check: Check,
    /// The severity; `None` for a note.
    pub impact: Option<Impact>,
    /// The path of the field of the judged object that causes it; may be empty.
    pub field: String,
    /// The data of the finding.
    pub detail: Detail,
    /// The remedies, least harmful first.
    pub remedies: Vec<Remedy>,
}

impl Finding {
    /// Creates a note: a finding without an impact of its own.
    #[must_use]
    pub fn note(check: Check, field: impl Into<String>, detail: Detail) -> Self {
        Self { check, impact: None, field: field.into(), detail, remedies: Vec::new() }
    }

    /// Creates a note with this text, about something that does not depend on the nodes.
    pub(crate) fn noted(check: Check, field: impl Into<String>, words: impl Into<String>) -> Self {
        Self::note(check, field, Detail::Noted(words.into()))
    }

    /// Whether it is reported regardless of the policy's `warn`.
    pub(crate) fn is_always_reported(&self) -> bool {
        self.check.spec().reported == Reported::Always && !self.is_on_request()
    }

    /// Whether only `explain` prints it: in a mixed fleet before KubeVirt 1.8.4, most starts of a host-model guest
    /// leave nodes that know its host model by name only. That changes an outcome if they leave no other node.
    pub(crate) fn is_on_request(&self) -> bool {
        matches!(&self.detail, Detail::HostModelKnown(found) if !found.runs && found.certain > 0)
    }

    /// Returns the text of a note that was created with one.
    #[must_use]
    pub fn words(&self) -> Option<&str> {
        match &self.detail {
            Detail::Noted(words) => Some(words),
            _ => None,
        }
    }
}

/// The data of a finding, which `say` renders as sentences.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Detail {
    /// No judgement is possible.
    Unknown(Unknown),
    /// A sentence about something that does not depend on the nodes.
    Noted(String),
    /// Why KubeVirt refuses the guest's specification, so that there will be no guest.
    Refused(String),
    /// No node takes the guest at its start.
    NoStartNode(NoStartNode),
    /// Too few nodes to migrate to.
    NoTarget(NoTarget),
    /// The start node decides which targets the guest has.
    StartOutlook(StartOutlook),
    /// The authors of the demands that nodes do not meet.
    AskedBy(AskedBy),
    /// A host that no node has.
    UnknownHost(UnknownHost),
    /// A choice of nodes, judged with and without it.
    ChosenNodes(ChosenNodes),
    /// A feature that no node offers, with a similar one that nodes offer.
    SimilarFeature(SimilarFeature),
    /// The host model of a node is not usable there by name.
    OwnHostModel(OwnHostModel),
    /// Fitting nodes that lack entries of a host model that is not selected.
    HostModelUnasked(HostModelUnasked),
    /// Fitting nodes that lack features of a host model that they know by name.
    HostModelKnown(HostModelKnown),
    /// Fitting nodes that lack an optional CPU feature of the guest.
    OptionalFeature(OptionalFeature),
    /// The unusual labels of the node that the guest leaves.
    SourceLabels(SourceLabels),
    /// Fitting nodes with different hardware, for a guest that uses its node's own CPU.
    UnlikeHosts(UnlikeHosts),
    /// Fitting nodes of several CPU vendors, for a guest that selects no vendor.
    UnlikeVendors(UnlikeVendors),
    /// Rules that kube-scheduler decides by the pods on the nodes.
    PodRules(PodRules),
    /// The volumes that keep the guest off fitting nodes.
    BoundVolumes(BoundVolumes),
    /// A model that the guest's own node no longer lists.
    StaleModel(StaleModel),
    /// A drain of its node waits for the guest.
    DrainWaits(DrainWaits),
    /// A drain that shuts the guest down.
    DrainShutsDown(DrainShutsDown),
    /// The guest's own node does not meet its pod.
    OwnNode(OwnNode),
    /// KubeVirt refuses to migrate the guest.
    NotMigratable(NotMigratable),
    /// KubeVirt will refuse to migrate the guest, by its specification.
    WillNotMigrate(NotMigratable),
    /// The last migration failed.
    LibvirtRefused(LibvirtRefused),
    /// Why the guest has not started, as KubeVirt reports it.
    NotStarted(NotStarted),
    /// Libvirt refuses the guest on these nodes, which fit by labels.
    LibvirtRefuses(Vec<(String, Incompatible)>),
    /// Nodes that a cordon, taints or virt-handler close, and on which libvirt refuses the guest as well, with the
    /// reason.
    LibvirtRefusesToo(Vec<(String, Incompatible)>),
    /// A start on these nodes, which fit by labels, would fail according to their libvirt.
    FailsAtStart(Vec<(String, Vec<UnmetAtStart>)>),
    /// The launcher is outdated.
    OutdatedLauncher,
    /// The guest's VM waits for a restart.
    RestartRequired,
    /// A model that nodes list but cannot run.
    KnownNotUsable(KnownNotUsable),
    /// A model that many nodes cannot run.
    ModelCoverage(ModelCoverage),
    /// A model, or host models, withheld by KubeVirt's list of obsolete models.
    Withheld(WithheldModel),
    /// A demand that contradicts itself.
    Contradiction(Contradiction),
    /// A label with an empty value.
    EmptyLabel(EmptyLabel),
    /// Nodes without virt-handler.
    NoVirtHandler(NoVirtHandler),
    /// Nodes without CPU labels.
    NoCpuLabels(NoCpuLabels),
    /// Nodes of another architecture.
    OtherArchitectures(OtherArchitectures),
    /// The changes of the guest that count once it has migrated.
    MigrationWanted(Vec<PendingChange>),
    /// The limit of parallel migrations that is 0.
    MigrationsOff(MigrationLimit),
    /// The node that the guest leaves, which is down or may be.
    SourceNotReady(SourceNotReady),
    /// Fitting nodes that are not ready.
    NotReady(Vec<String>),
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_check_has_a_file_and_a_word_of_its_own() {
        let ids: BTreeSet<Check> = ALL.iter().map(|spec| spec.id.spec().id).collect();
        assert_eq!(ids.len(), ALL.len(), "one would be described by another check: {ids:?}");
        for spec in ALL {
            assert!(spec.word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "{}", spec.word);
        }
        let words: BTreeSet<&str> = ALL.iter().map(|spec| spec.word).collect();
        assert_eq!(words.len(), ALL.len(), "two checks would have the same name in JSON");
    }
}
