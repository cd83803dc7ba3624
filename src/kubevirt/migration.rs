//! The target pod of a migration, predicted as virt-controller will render it.
//!
//! Mirrors `pkg/virt-controller/watch/migration/migration.go` (`createTargetPod`,
//! `createDecentralizedMigrationPodAntiAffinity`, `createMigrationPodAntiAffinityRule`,
//! `prepareNodeSelectorForHostCpuModel`, `getHostCpuModelFromMap`, `getCPUVendorLabelKey`, `setTargetPodSELinuxLevel`)
//! of KubeVirt.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::defaults::ClusterConfig;
use super::launch::{self, Rendered, avoid_pods, require_in_terms};
use super::release::Release;
use super::setting::Setting;
use super::wire::{
    Condition, LIVE_MIGRATABLE, Meta, RESTART_REQUIRED, SourceState, VirtualMachine, Vmi, Vmim, is_final,
};
use crate::bounds::Excess;
use crate::fit::fleet::{Fleet, NodeIndex};
use crate::fit::host_model;
use crate::fit::label;
use crate::fit::models::vendors;
use crate::fit::placement::Expression;
use crate::fit::subject::PendingChange;
use crate::well_known;

/// A reason why no target pod is predicted: KubeVirt would create none, or its selector is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPod {
    /// The guest is sent to another cluster or namespace: `spec.sendTo`.
    #[error(
        "it is sent to another cluster or namespace (spec.sendTo): the migration that receives it creates its target pod"
    )]
    SentElsewhere,
    /// The source cluster or namespace has not reported yet: every decentralized migration starts this way.
    #[error(
        "its source has not reported yet: KubeVirt creates no target pod until it has, and what one will ask for is not known"
    )]
    SourceNotReported,
    /// The guest does not run.
    #[error("the guest does not run{}: KubeVirt creates no target pod", phase_in_words(.phase))]
    NotRunning {
        /// `status.phase`; may be empty.
        phase: String,
    },
    /// The guest is being deleted. Mirrors `sync` of `pkg/virt-controller/watch/migration/migration.go`, which
    /// does nothing for such a guest.
    #[error(
        "it is being deleted (metadata.deletionTimestamp): it ends, and KubeVirt does not migrate or start it any more"
    )]
    BeingDeleted,
    /// The node the guest runs on does not exist.
    #[error("node {node}, where it runs, is not known: without it KubeVirt creates no target pod")]
    SourceNodeGone {
        /// The node.
        node: String,
    },
    /// The source node has no `host-model-cpu` label.
    #[error(
        "{} has no host-model-cpu label, which virt-handler writes: KubeVirt creates no target pod, the migration stays Pending",
        source_in_words(.node)
    )]
    NoHostModel {
        /// The node; empty if it is in another cluster.
        node: String,
    },
    /// A starting guest needs a TSC frequency, and the configured value is not a frequency.
    #[error(
        "minimumClusterTSCFrequency of {holder} is {configured}, and must be greater than 0: KubeVirt creates no pod"
    )]
    NoTscFrequency {
        /// `spec.configuration.developerConfiguration.minimumClusterTSCFrequency`.
        configured: i64,
        /// The resource that holds it.
        holder: String,
    },
    /// An object that the prediction depends on is too large to be read whole.
    #[error("{whose} too large to judge: {excess}")]
    TooLarge {
        /// The object, with its verb.
        whose: &'static str,
        /// The bound it exceeds.
        excess: Excess,
    },
    /// A field of the VMI that a target pod requires is empty.
    #[error("{field} of the VMI is not set: KubeVirt creates no target pod until {by} sets it")]
    NotSet {
        /// The field that is empty.
        field: &'static str,
        /// The component that sets it.
        by: &'static str,
    },
}

impl NoPod {
    /// Whether a migration within the cluster stays Pending as long as the guest's node is as it is: mirrors
    /// `prepareNodeSelectorForHostCpuModel` of `pkg/virt-controller/watch/migration/migration.go`, which returned an
    /// error before KubeVirt 1.6. All other reasons end, or may be due to what a dump lacks.
    pub(crate) fn is_lasting(&self) -> bool {
        matches!(self, Self::NoHostModel { node } if !node.is_empty())
    }
}

fn source_in_words(node: &str) -> String {
    if node.is_empty() { "its source".to_owned() } else { format!("{node}, where it runs,") }
}

fn phase_in_words(phase: &str) -> String {
    if phase.is_empty() { String::new() } else { format!(" (it is {phase})") }
}

/// Labels of the source node: from this cluster, or as reported by another one.
pub(crate) type SourceLabels = BTreeMap<String, String>;

/// A predicted target pod.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PredictedTarget {
    /// The scheduling part of the pod.
    pub pod: Rendered,
    /// Whether the selector has entries inherited from an earlier migration: the source pod has entries that the guest
    /// itself does not require.
    pub inherited: bool,
    /// The source's host-model labels that KubeVirt does not require: see [`Migration::unasked`].
    ///
    /// [`Migration::unasked`]: crate::fit::subject::Migration::unasked
    pub unasked: Option<Vec<(String, String)>>,
    /// See [`Migration::overlooked`].
    ///
    /// [`Migration::overlooked`]: crate::fit::subject::Migration::overlooked
    pub overlooked: bool,
    /// See [`Migration::vendors`].
    ///
    /// [`Migration::vendors`]: crate::fit::subject::Migration::vendors
    pub vendors: Vec<String>,
    /// Whether the guest comes from another cluster.
    pub from_elsewhere: bool,
}

impl PredictedTarget {
    /// Returns the target pod with the vendor that leaves the most nodes: KubeVirt selects any one of the source's
    /// vendors at each try of a migration, so that the guest leaves at a later try what it does not leave at the first.
    /// Among vendors that leave equally many, that of the source's host model is the true one.
    pub(crate) fn with_best_vendor(mut self, source: Option<NodeIndex>, fleet: &Fleet) -> Self {
        if self.vendors.len() < 2 {
            return self;
        }
        let placement = self.pod.placement();
        let of_host = source.and_then(|node| vendors::of_host_model(fleet, node));
        let fitting = |key: &str| {
            let mut nodes = fleet.look_up(&placement.with_vendor(key)).passes().fitting;
            source.inspect(|&node| nodes.remove(node));
            nodes.count()
        };
        let best =
            self.vendors.iter().rev().max_by_key(|key| (fitting(key), of_host == Some(label::name(key)))).cloned();
        if let Some(best) = best {
            self.ask_for_vendor(best);
        }
        self
    }

    /// Selects this one of the source's vendors.
    fn ask_for_vendor(&mut self, vendor: String) {
        self.pod.node_selector.retain(|key, _| !self.vendors.contains(key));
        self.pod.settings.retain(|key, _| !self.vendors.contains(key));
        self.pod.settings.insert(vendor.clone(), Setting::SourceNode);
        self.pod.node_selector.insert(vendor, "true".to_owned());
    }
}

/// Predicts the target pod of a migration.
///
/// `source_selector` is the selector of the launcher the guest runs in, `source_labels` the labels of its node.
///
/// # Errors
///
/// [`NoPod`] if KubeVirt would create none, or the prediction is impossible.
pub(crate) fn predict(
    migration: &Vmim,
    vmi: &Vmi,
    source_selector: &BTreeMap<String, String>,
    source_labels: Option<&SourceLabels>,
    config: &ClusterConfig,
    release: Release,
) -> Result<PredictedTarget, NoPod> {
    was_read(migration, vmi, config)?;
    let from_elsewhere = migration.spec.receive.is_some();
    if migration.spec.send_to.is_some() && !from_elsewhere {
        return Err(NoPod::SentElsewhere);
    }
    is_alive(vmi, from_elsewhere)?;
    let Rendered { node_selector: rendered, mut affinity, tolerations, mut settings, mut rules, excess } =
        launch::render(&vmi.spec, &vmi.status, config, release);
    if let Some(excess) = excess {
        let excess = excess.at(|below| format!("spec.{below}"));
        return Err(NoPod::TooLarge {
            whose: "it is",
            excess: excess.of(&format!("VMI {}", vmi.metadata.name), "spec.vmiName"),
        });
    }
    let elsewhere = vmi.status.migration_state.as_ref().and_then(|state| state.source_state.as_ref());
    if from_elsewhere {
        is_synchronized(migration, vmi)?;
        let node = elsewhere.map_or("", |source| source.node.as_str());
        let condition = json!({"key": label::HOSTNAME, "operator": "NotIn", "values": [node]});
        require_in_terms(&mut affinity, &condition, 1);
        rules.push((Expression::NotIn(label::HOSTNAME.to_owned(), vec![node.to_owned()]), Setting::Receiver));
    } else {
        let term = json!({
            "labelSelector": {"matchLabels": {well_known::CREATED_BY.key: vmi.metadata.uid}},
            "topologyKey": label::HOSTNAME,
        });
        avoid_pods(&mut affinity, term);
    }
    let labels: Option<&SourceLabels> =
        if from_elsewhere { elsewhere.map(|source| &source.node_selectors) } else { source_labels };

    let mut selector = BTreeMap::new();
    if release.has_added_node_selector() {
        selector.extend(migration.spec.added_node_selector.clone());
    }
    let asked: BTreeSet<String> = rendered.keys().filter(|key| label::is_inherited(key)).cloned().collect();
    settings.extend(
        selector
            .keys()
            .filter(|key| !rendered.contains_key(*key))
            .map(|key| (key.clone(), Setting::Added))
            .collect::<Vec<_>>(),
    );
    selector.extend(rendered);

    let (mut inherited, mut unasked, mut overlooked, mut vendors) = (false, None, false, Vec::new());
    let gone = || NoPod::SourceNodeGone { node: vmi.status.node_name.clone() };
    if vmi.spec.domain.cpu.as_ref().is_some_and(|cpu| cpu.model == "host-model") {
        let host_model = if from_elsewhere {
            host_model(labels.unwrap_or(&BTreeMap::new()), release)
                .ok_or_else(|| NoPod::NoHostModel { node: String::new() })?
        } else {
            let labels = labels.ok_or_else(gone)?;
            let of_source: BTreeMap<String, String> = source_selector
                .iter()
                .filter(|(key, _)| label::is_inherited(key))
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect();
            inherited = of_source.keys().any(|key| !asked.contains(key));
            match (!of_source.is_empty(), host_model(labels, release)) {
                (true, hidden) => {
                    let hidden = hidden.into_iter().flatten().filter(|(key, _)| !of_source.contains_key(key));
                    // A migration copies the host model's name too: without it, some entries were dropped.
                    let names_model = of_source.keys().any(|key| key.starts_with(label::CPU_MODEL_MIGRATION));
                    unasked = (!inherited || !names_model).then(|| hidden.collect());
                    of_source
                }
                (false, Some(found)) => found,
                (false, None) if release.overlooks_missing_host_model() => BTreeMap::new(),
                (false, None) => return Err(NoPod::NoHostModel { node: vmi.status.node_name.clone() }),
            }
        };
        overlooked = host_model.is_empty();
        for (key, value) in host_model {
            // An entry that the guest itself requires keeps its setting.
            if settings.get(&key).is_none_or(|known| *known == Setting::Added) {
                settings.insert(key.clone(), if inherited { Setting::Inherited } else { Setting::SourceNode });
            }
            selector.insert(key, value);
        }
    }
    if release.selects_vendor() && !selector.keys().any(|key| key.starts_with(label::CPU_VENDOR)) {
        let labels = match labels {
            Some(labels) => labels,
            None if from_elsewhere => &BTreeMap::new(),
            None => return Err(gone()),
        };
        // If the node has several vendor keys, KubeVirt uses one, in the random order of a Go map: here the first.
        vendors.extend(labels.keys().filter(|key| key.starts_with(label::CPU_VENDOR)).cloned());
        if let Some(vendor) = vendors.first() {
            selector.insert(vendor.clone(), "true".to_owned());
            settings.insert(vendor.clone(), Setting::SourceNode);
        }
    }
    has_selinux_context(vmi, elsewhere.filter(|_| from_elsewhere), config)?;
    let pod = Rendered { node_selector: selector, affinity, tolerations, settings, rules, excess: None };
    Ok(PredictedTarget { pod, inherited, unasked, overlooked, vendors, from_elsewhere })
}

/// Checks that the guest runs (unless it comes from another cluster) and is not being deleted.
fn is_alive(vmi: &Vmi, from_elsewhere: bool) -> Result<(), NoPod> {
    if !from_elsewhere && !runs(vmi) {
        return Err(NoPod::NotRunning { phase: vmi.status.phase.clone() });
    }
    if is_being_deleted(&vmi.metadata) { Err(NoPod::BeingDeleted) } else { Ok(()) }
}

/// Checks that the source in another cluster or namespace has reported what KubeVirt waits for before it creates the
/// target pod. Mirrors `IsMigrationSourceSynchronized` of `staging/src/kubevirt.io/api/core/v1/types.go`, which
/// `processMigrationPhase` asks in phase `WaitingForSync`, the first of such a migration; later, `createTargetPod`
/// reads node and labels only.
pub(super) fn is_synchronized(migration: &Vmim, vmi: &Vmi) -> Result<(), NoPod> {
    let state = vmi.status.migration_state.as_ref();
    let Some(source) = state.and_then(|state| state.source_state.as_ref()) else {
        return Err(NoPod::SourceNotReported);
    };
    if source.node.is_empty() || source.node_selectors.is_empty() {
        return Err(NoPod::SourceNotReported);
    }
    if !matches!(migration.status.phase.as_str(), "" | "WaitingForSync") {
        return Ok(());
    }
    let has_target = state.is_some_and(|state| state.target_state.is_some());
    let fields = [
        ("status.migrationState.sourceState.migrationUID", !source.migration_uid.is_empty(), SOURCE_REPORT),
        ("status.migrationState.sourceState.pod", !source.pod.is_empty(), SOURCE_REPORT),
        ("status.migrationState.targetState", has_target, "virt-controller"),
    ];
    let missing = fields.into_iter().find(|(_, is_set, _)| !is_set);
    missing.map_or(Ok(()), |(field, _, by)| Err(NoPod::NotSet { field, by }))
}

/// The component that sets the fields of `status.migrationState.sourceState`.
const SOURCE_REPORT: &str = "the report of its source";

/// Checks that the `SELinux` context that the target must match is known: that of the source, here or as another
/// cluster reports it. Mirrors `setTargetPodSELinuxLevel`, and what `createTargetPod` gives it.
fn has_selinux_context(vmi: &Vmi, elsewhere: Option<&SourceState>, config: &ClusterConfig) -> Result<(), NoPod> {
    let (context, field, by) = match elsewhere {
        Some(source) => (&source.selinux_context, "status.migrationState.sourceState.selinuxContext", SOURCE_REPORT),
        None => (&vmi.status.selinux_context, "status.selinuxContext", "virt-handler"),
    };
    let is_matched = config.configuration.migrations.match_selinux_level_on_migration != Some(false);
    if is_matched && context.is_empty() { Err(NoPod::NotSet { field, by }) } else { Ok(()) }
}

/// Checks that all objects that the pod depends on were read whole.
fn was_read(migration: &Vmim, vmi: &Vmi, config: &ClusterConfig) -> Result<(), NoPod> {
    let read = [
        ("its migration is", &migration.metadata.excess),
        ("it is", &vmi.metadata.excess),
        ("the KubeVirt resource is", &config.excess),
    ];
    let beyond = read.into_iter().find_map(|(whose, excess)| Some((whose, excess.clone()?)));
    beyond.map_or(Ok(()), |(whose, excess)| Err(NoPod::TooLarge { whose, excess }))
}

/// Whether a VirtualMachine waits for a restart: until then, virt-controller applies no change of its node selector or
/// node affinity to the running guest. Mirrors `sync` of `pkg/virt-controller/watch/vm/vm.go`, which calls
/// `handleAffinityChangeRequest` only if `HasCondition` finds no `RestartRequired`, regardless of the condition's
/// status.
pub(crate) fn waits_for_restart(vm: &VirtualMachine) -> bool {
    vm.status.conditions.iter().any(|condition| condition.kind == RESTART_REQUIRED)
}

/// Returns the condition `LiveMigratable` if it is `False`: KubeVirt then does not live-migrate the guest. Mirrors
/// `isMigratable` of `pkg/virt-api/webhooks/validating-webhook/admitters/migration-create-admitter.go`.
pub(crate) fn not_migratable(vmi: &Vmi) -> Option<&Condition> {
    vmi.status.conditions.iter().find(|condition| condition.kind == LIVE_MIGRATABLE && condition.status == "False")
}

/// Returns the changes that count once a running guest has migrated. Mirrors `isHotplugInProgress` and
/// `isVolumesUpdateInProgress` of `pkg/virt-controller/watch/workload-updater/workload-updater.go`: the status of
/// `HotVCPUChange` does not count.
pub(crate) fn pending_changes(vmi: &Vmi) -> Vec<PendingChange> {
    let is_pending = |change: &PendingChange| {
        vmi.status.conditions.iter().any(|condition| {
            condition.kind == change.condition() && (*change == PendingChange::VCpus || condition.status == "True")
        })
    };
    PendingChange::ALL.into_iter().filter(is_pending).collect()
}

/// A reason why an eviction does not migrate a guest although its eviction strategy requires a migration.
#[derive(Clone, Copy, Debug)]
pub(crate) enum NotEvacuated<'v> {
    /// `LiveMigratable` is `False`: no migration is admitted.
    Refused(&'v Condition),
    /// `LiveMigratable` is neither `True` nor `False`: its value, or empty without the condition. A migration that a
    /// user creates is admitted.
    Undecided(&'v str),
}

/// Returns why an eviction does not migrate a guest; `None` if `LiveMigratable` is `True`. Mirrors
/// `VirtualMachineInstance.IsMigratable` of `staging/src/kubevirt.io/api/core/v1/types.go`, which `admitLauncherPod` of
/// the pod eviction admitter and the evacuation controller use, unlike [`not_migratable`]. A guest without any
/// condition comes from a reduced dump and counts as `True`.
pub(crate) fn not_evacuated(vmi: &Vmi) -> Option<NotEvacuated<'_>> {
    let conditions = &vmi.status.conditions;
    match conditions.iter().find(|condition| condition.kind == LIVE_MIGRATABLE) {
        Some(condition) => match condition.status.as_str() {
            "True" => None,
            "False" => Some(NotEvacuated::Refused(condition)),
            status => Some(NotEvacuated::Undecided(status)),
        },
        None => (!conditions.is_empty()).then_some(NotEvacuated::Undecided("")),
    }
}

/// Whether the guest runs (`IsRunning` of `staging/src/kubevirt.io/api/core/v1/types.go`). A reduced dump may lack the
/// phase; then the node counts.
pub(crate) fn runs(vmi: &Vmi) -> bool {
    match vmi.status.phase.as_str() {
        "" => !vmi.status.node_name.is_empty(),
        phase => phase == "Running",
    }
}

/// Whether an object is being deleted.
pub(crate) fn is_being_deleted(metadata: &Meta) -> bool {
    !metadata.deletion_timestamp.is_empty()
}

/// Whether the guest has ended (`IsFinal`) and only its VMI object is left.
pub(crate) fn has_ended(vmi: &Vmi) -> bool {
    is_final(&vmi.status.phase)
}

/// Returns the entries that a host model requires, from the labels of its node; `None` if no label names the model.
/// Mirrors `getHostCpuModelFromMap`.
fn host_model(labels: &SourceLabels, release: Release) -> Option<BTreeMap<String, String>> {
    let model_label = if release.inherits_host_model() { label::CPU_MODEL_MIGRATION } else { label::HOST_MODEL_CPU };
    let labels = labels.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    host_model::demand(labels, model_label).map(|entries| entries.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::Value;

    #[rstest]
    #[case::runs(json!({}), json!({"phase": "Running", "nodeName": "n1"}), None)]
    #[case::no_phase_in_a_short_dump(json!({}), json!({"nodeName": "n1"}), None)]
    #[case::over(
        json!({}),
        json!({"phase": "Succeeded", "nodeName": "n1"}),
        Some("the guest does not run (it is Succeeded): KubeVirt creates no target pod")
    )]
    #[case::never_started(
        json!({}),
        json!({}),
        Some("the guest does not run: KubeVirt creates no target pod")
    )]
    #[case::being_deleted(
        json!({}),
        json!({"phase": "Running", "nodeName": "n1", "deletionTimestamp": "2026-01-01T00:00:00Z"}),
        Some("it is being deleted (metadata.deletionTimestamp): it ends, and KubeVirt does not migrate or start it any more")
    )]
    #[case::sent(
        json!({"sendTo": {"migrationID": "x"}}),
        json!({"phase": "Running", "nodeName": "n1"}),
        Some("it is sent to another cluster or namespace (spec.sendTo): the migration that receives it creates its target pod")
    )]
    #[case::received_too_early(
        json!({"receive": {"migrationID": "x"}}),
        json!({"phase": "WaitingForSync"}),
        Some("its source has not reported yet: KubeVirt creates no target pod until it has, and what one will ask for is not known")
    )]
    #[case::received_without_a_node(
        json!({"receive": {"migrationID": "x"}}),
        json!({"phase": "WaitingForSync", "migrationState": {"sourceState": {
            "pod": "p", "migrationUID": "u", "nodeSelectors": {"a": "b"}, "selinuxContext": "none"}, "targetState": {}}}),
        Some("its source has not reported yet: KubeVirt creates no target pod until it has, and what one will ask for is not known")
    )]
    #[case::received_without_a_context(
        json!({"receive": {"migrationID": "x"}}),
        json!({"phase": "WaitingForSync", "migrationState": {"sourceState": {
            "node": "far", "pod": "p", "migrationUID": "u", "nodeSelectors": {"a": "b"}}, "targetState": {}}}),
        Some("status.migrationState.sourceState.selinuxContext of the VMI is not set: KubeVirt creates no target pod until the report of its source sets it")
    )]
    fn a_migration_without_a_target_pod_has_the_reason(
        #[case] spec: Value,
        #[case] mut status: Value,
        #[case] expected: Option<&str>,
    ) {
        status["selinuxContext"] = json!("none");
        let read = |value: Value| serde_json::from_value::<Vmim>(value).ok();
        let deleted = status["deletionTimestamp"].take();
        let vmi = json!({"metadata": {"deletionTimestamp": deleted},
            "spec": {"domain": {"cpu": {"model": "Haswell"}}}, "status": status});
        let (Some(vmim), Ok(vmi)) = (read(json!({"spec": spec})), serde_json::from_value::<Vmi>(vmi)) else {
            panic!("the objects are well-formed")
        };
        let labels = SourceLabels::new();
        let found = predict(&vmim, &vmi, &labels, Some(&labels), &ClusterConfig::default(), Release::NEWEST);
        assert_eq!(
            found.err().map(|why| why.to_string()).as_deref(),
            expected,
            "a pod would be judged that never comes, or one that comes would not"
        );
    }

    /// virt-controller waits for the whole report of the source, and asks for less once it has it.
    #[rstest]
    #[case::whole(|_: &mut Value| {}, "")]
    #[case::no_migration(|state: &mut Value| state["sourceState"]["migrationUID"] = json!(null),
        "status.migrationState.sourceState.migrationUID of the VMI is not set: KubeVirt creates no target pod until the report of its source sets it")]
    #[case::no_pod(|state: &mut Value| state["sourceState"]["pod"] = json!(""),
        "status.migrationState.sourceState.pod of the VMI is not set: KubeVirt creates no target pod until the report of its source sets it")]
    #[case::no_target(|state: &mut Value| state["targetState"] = json!(null),
        "status.migrationState.targetState of the VMI is not set: KubeVirt creates no target pod until virt-controller sets it")]
    fn a_guest_from_elsewhere_waits_for_the_whole_report(#[case] change: fn(&mut Value), #[case] expected: &str) {
        let mut state = json!({"sourceState": {"node": "far", "pod": "p", "migrationUID": "u",
            "nodeSelectors": {"a": "b"}, "selinuxContext": "none"}, "targetState": {"syncAddress": "10.0.0.1"}});
        change(&mut state);
        for (phase, waits) in [("", true), ("WaitingForSync", true), ("Pending", false), ("Scheduling", false)] {
            let vmim = json!({"spec": {"receive": {"migrationID": "x"}}, "status": {"phase": phase}});
            let vmi = json!({"spec": {"domain": {"cpu": {"model": "Haswell"}}},
                "status": {"phase": "WaitingForSync", "migrationState": state}});
            let read = (serde_json::from_value::<Vmim>(vmim), serde_json::from_value::<Vmi>(vmi));
            let (Ok(vmim), Ok(vmi)) = read else { panic!("the objects are well-formed") };
            let none = SourceLabels::new();
            let found = predict(&vmim, &vmi, &none, None, &ClusterConfig::default(), Release::NEWEST);
            let words = found.err().map(|why| why.to_string()).unwrap_or_default();
            assert_eq!(words, if waits { expected } else { "" }, "in phase {phase:?} another pod is judged than comes");
        }
    }
}
