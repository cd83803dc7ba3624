//! The shapes of the few fields that are read, of each kind. Unknown fields are skipped.
//!
//! A launcher pod is 28 KB of which a few hundred bytes matter: [`Pod`] borrows them from the review.
//! The other kinds are small and rare, and own their text.

mod each_text;
mod object;
mod present;
mod text;

use std::collections::BTreeMap;

use serde::de::{Deserialize, Deserializer};
use serde_json::Value;

use crate::bounds::{Excess, Measured};
pub use each_text::EachText;
pub use present::Present;
pub use text::{Text, Texts};

/// `null` where a list or struct may stand is its default, as for Go's decoder.
fn nullable<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// Reads a struct from a JSON object alone: serde would take an array of its fields as well, which no API server sends.
macro_rules! object_only {
    ($name:ident $(<$life:lifetime>)?) => {
        impl<'de $(: $life, $life)?> Deserialize<'de> for $name $(<$life>)? {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                // The inherent function that `remote = "Self"` makes.
                $name::deserialize($crate::kubevirt::wire::object::ObjectOnly(deserializer))
            }
        }
    };
}

/// All text of a struct's fields; a field that is not listed does not compile.
macro_rules! each_text {
    ($name:ty { $($field:ident),* $(,)? }) => {
        impl EachText for $name {
            fn each_text(&self, _: &'static str, visit: &mut dyn FnMut(&'static str, &str)) {
                let Self { $($field,)* } = self;
                $($field.each_text(stringify!($field), visit);)*
            }
        }
    };
}

macro_rules! wire {
    ($($(#[$meta:meta])* $name:ident { $($(#[$fmeta:meta])* $field:ident : $type:ty,)* })*) => {$(
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, serde::Deserialize)]
        #[serde(rename_all = "camelCase", default, remote = "Self")]
        pub struct $name { $($(#[$fmeta])* #[serde(deserialize_with = "nullable")] pub $field: $type,)* }

        object_only!($name);
        each_text!($name { $($field,)* });
    )*};
}

mod instancetype;
mod meta;
mod replicas;
mod storage;

pub use instancetype::{
    ControllerRevision, DataSource, DataSourceRef, DataSourceSpec, DataVolume, DataVolumeSourceRef, DataVolumeSpec,
    Instancetype, InstancetypeCpu, InstancetypeSpec, Matcher, ObjectSource, Preference, PreferenceCpu,
    PreferenceFeatures, PreferenceMachine, PreferenceSpec, RevisionRef, StatusRef, VmStatus,
};
pub use meta::Meta;
pub use replicas::{Pool, PoolSpec, ReplicaSet, ReplicaSetSpec, VmTemplate};
pub use storage::{
    Claim, ClaimSpec, ClaimVolume, DataVolumeVolume, EphemeralVolume, PersistentVolume, PersistentVolumeSpec, Volume,
    VolumeNodeAffinity,
};

/// Whether a pod, a VMI or a migration of this `status.phase` has ended. Mirrors `IsFinal`.
#[must_use]
pub(crate) fn is_final(phase: &str) -> bool {
    matches!(phase, "Succeeded" | "Failed")
}

/// A launcher pod.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default, remote = "Self")]
pub struct Pod<'a> {
    /// `metadata`.
    #[serde(borrow, deserialize_with = "nullable")]
    pub metadata: PodMeta<'a>,
    /// `spec`.
    #[serde(borrow, deserialize_with = "nullable")]
    pub spec: PodSpec<'a>,
    /// `status`.
    #[serde(deserialize_with = "nullable")]
    pub status: PhaseOnly,
}

/// `metadata` of a pod.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", default, remote = "Self")]
pub struct PodMeta<'a> {
    /// `name`; empty at admission where `generateName` is used.
    #[serde(borrow)]
    pub name: Option<Text<'a>>,
    /// `generateName`.
    #[serde(borrow)]
    pub generate_name: Option<Text<'a>>,
    /// `namespace`.
    #[serde(borrow)]
    pub namespace: Option<Text<'a>>,
    /// `labels`.
    #[serde(borrow)]
    pub labels: Texts<'a>,
    /// `annotations`.
    #[serde(borrow)]
    pub annotations: Texts<'a>,
    /// `ownerReferences`.
    #[serde(deserialize_with = "nullable")]
    pub owner_references: Vec<OwnerReference>,
    /// `creationTimestamp`.
    pub creation_timestamp: Option<String>,
    /// `deletionTimestamp`: of a pod that is terminating.
    pub deletion_timestamp: Option<String>,
    /// Why the whole pod is too large to judge, if it is: what goes beyond a bound was not read.
    #[serde(skip)]
    pub excess: Option<Excess>,
}

/// `spec` of a pod.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", default, remote = "Self")]
pub struct PodSpec<'a> {
    /// `nodeName`.
    #[serde(borrow)]
    pub node_name: Option<Text<'a>>,
    /// `nodeSelector`.
    #[serde(borrow)]
    pub node_selector: Texts<'a>,
    /// `affinity`; only its required node affinity is read.
    #[serde(deserialize_with = "nullable")]
    pub affinity: Affinity,
    /// `tolerations`.
    #[serde(deserialize_with = "nullable")]
    pub tolerations: Vec<Toleration>,
}

object_only!(Pod<'a>);
object_only!(PodMeta<'a>);
object_only!(PodSpec<'a>);
each_text!(Pod<'_> { metadata, spec, status, });
each_text!(PodMeta<'_> {
    name, generate_name, namespace, labels, annotations, owner_references, creation_timestamp,
    deletion_timestamp, excess,
});
each_text!(PodSpec<'_> { node_name, node_selector, affinity, tolerations, });

wire! {
    /// `status.phase`.
    PhaseOnly {
        /// `phase`.
        phase: String,
    }
    /// `metadata.ownerReferences[]`.
    OwnerReference {
        /// `kind`.
        kind: String,
        /// `name`.
        name: String,
        /// `uid`.
        uid: String,
        /// `controller`.
        controller: bool,
    }
    /// `affinity`, the part that filters nodes.
    Affinity {
        /// `nodeAffinity`.
        node_affinity: NodeAffinity,
    }
    /// `affinity.nodeAffinity`, the part that filters nodes.
    NodeAffinity {
        /// `requiredDuringSchedulingIgnoredDuringExecution`.
        required_during_scheduling_ignored_during_execution: Option<NodeSelector>,
    }
    /// `v1.NodeSelector`.
    NodeSelector {
        /// `nodeSelectorTerms`.
        node_selector_terms: Vec<NodeSelectorTerm>,
    }
    /// `v1.NodeSelectorTerm`.
    NodeSelectorTerm {
        /// `matchExpressions`.
        match_expressions: Vec<NodeSelectorRequirement>,
        /// `matchFields`.
        match_fields: Vec<NodeSelectorRequirement>,
    }
    /// `v1.NodeSelectorRequirement`.
    NodeSelectorRequirement {
        /// `key`.
        key: String,
        /// `operator`.
        operator: String,
        /// `values`.
        values: Vec<String>,
    }
    /// A Namespace, or anything of which only the metadata matters.
    MetaOnly {
        /// `metadata`.
        metadata: Meta,
    }
    /// A Node.
    Node {
        /// `metadata`.
        metadata: Meta,
        /// `spec`.
        spec: NodeSpec,
        /// `status`.
        status: NodeStatus,
    }
    /// `spec` of a Node.
    NodeSpec {
        /// `unschedulable`.
        unschedulable: bool,
        /// `taints`.
        taints: Vec<Taint>,
    }
    /// `spec.taints[]`.
    Taint {
        /// `key`.
        key: String,
        /// `value`.
        value: String,
        /// `effect`.
        effect: String,
    }
    /// `status` of a Node.
    NodeStatus {
        /// `conditions`.
        conditions: Vec<NodeCondition>,
    }
    /// `status.conditions[]` of a node.
    NodeCondition {
        /// `type`.
        #[serde(rename = "type")]
        kind: String,
        /// `status`.
        status: String,
    }
    /// `status.conditions[]`.
    Condition {
        /// `type`.
        #[serde(rename = "type")]
        kind: String,
        /// `status`.
        status: String,
        /// `reason`.
        reason: String,
        /// `message`.
        message: String,
    }
    /// A VirtualMachine.
    VirtualMachine {
        /// `metadata`.
        metadata: Meta,
        /// `spec`.
        spec: VmSpec,
        /// `status`.
        status: VmStatus,
    }
    /// `spec` of a VirtualMachine.
    VmSpec {
        /// `template`.
        template: VmiTemplate,
        /// `instancetype`.
        instancetype: Option<Matcher>,
        /// `preference`.
        preference: Option<Matcher>,
        /// `runStrategy`: `WaitAsReceiver` makes its VMI the target of a decentralized migration.
        run_strategy: String,
        /// `running`, which newer VMs leave to `runStrategy`: `true` is `Always`.
        running: Option<bool>,
        /// `dataVolumeTemplates`.
        data_volume_templates: Vec<DataVolume>,
    }
    /// `spec.template` of a VirtualMachine.
    VmiTemplate {
        /// `metadata`.
        metadata: Meta,
        /// `spec`.
        spec: VmiSpec,
    }
    /// A VirtualMachineInstance.
    Vmi {
        /// `metadata`.
        metadata: Meta,
        /// `spec`.
        spec: VmiSpec,
        /// `status`.
        status: VmiStatus,
    }
    /// `spec` of a VirtualMachineInstance.
    VmiSpec {
        /// `architecture`.
        architecture: String,
        /// `domain`.
        domain: Domain,
        /// `nodeSelector`.
        node_selector: BTreeMap<String, String>,
        /// `affinity`, kept as it is: KubeVirt copies it whole.
        affinity: Option<AnyAffinity>,
        /// `tolerations`.
        tolerations: Vec<Toleration>,
        /// `evictionStrategy`: what becomes of the guest when its launcher is evicted.
        eviction_strategy: String,
        /// `topologySpreadConstraints`.
        topology_spread_constraints: Vec<SpreadConstraint>,
        /// `volumes`.
        volumes: Vec<Volume>,
    }
    /// `spec.topologySpreadConstraints[]`.
    SpreadConstraint {
        /// `whenUnsatisfiable`: `DoNotSchedule` or `ScheduleAnyway`.
        when_unsatisfiable: String,
    }
    /// `spec.domain`.
    Domain {
        /// `cpu`.
        cpu: Option<Cpu>,
        /// `machine`.
        machine: Option<Machine>,
        /// `features`.
        features: DomainFeatures,
        /// `launchSecurity`.
        launch_security: Option<LaunchSecurity>,
    }
    /// `spec.domain.cpu`.
    Cpu {
        /// `model`.
        model: String,
        /// `features`.
        features: Vec<CpuFeature>,
        /// `sockets`; 0 where it is not set, as for the next two.
        sockets: u32,
        /// `cores`.
        cores: u32,
        /// `threads`.
        threads: u32,
        /// `dedicatedCpuPlacement`.
        dedicated_cpu_placement: bool,
        /// `numa`.
        numa: Option<Present>,
        /// `realtime`.
        realtime: Option<Present>,
    }
    /// `spec.domain.cpu.features[]`.
    CpuFeature {
        /// `name`.
        name: String,
        /// `policy`.
        policy: String,
    }
    /// `spec.domain.machine` and `status.machine`.
    Machine {
        /// `type`.
        #[serde(rename = "type")]
        kind: String,
    }
    /// `spec.domain.features`.
    DomainFeatures {
        /// `hyperv`.
        hyperv: Option<Hyperv>,
    }
    /// `spec.domain.features.hyperv`.
    Hyperv {
        /// `vpindex`.
        vpindex: Option<FeatureState>,
        /// `runtime`.
        runtime: Option<FeatureState>,
        /// `reset`.
        reset: Option<FeatureState>,
        /// `synic`.
        synic: Option<FeatureState>,
        /// `synictimer`.
        synictimer: Option<FeatureState>,
        /// `frequencies`.
        frequencies: Option<FeatureState>,
        /// `reenlightenment`.
        reenlightenment: Option<FeatureState>,
        /// `tlbflush`.
        tlbflush: Option<FeatureState>,
        /// `ipi`.
        ipi: Option<FeatureState>,
        /// `evmcs`.
        evmcs: Option<FeatureState>,
        /// `vapic`.
        vapic: Option<FeatureState>,
    }
    /// A feature that may be switched on; present and silent means on.
    FeatureState {
        /// `enabled`.
        enabled: Option<bool>,
    }
    /// `spec.domain.launchSecurity`.
    LaunchSecurity {
        /// `sev`.
        sev: Option<Sev>,
        /// `snp`.
        snp: Option<Present>,
        /// `tdx`.
        tdx: Option<Present>,
    }
    /// `launchSecurity.sev`.
    Sev {
        /// `policy`.
        policy: Option<SevPolicy>,
    }
    /// `launchSecurity.sev.policy`.
    SevPolicy {
        /// `encryptedState`: SEV-ES.
        encrypted_state: Option<bool>,
    }
    /// `status` of a VirtualMachineInstance.
    VmiStatus {
        /// `phase`.
        phase: String,
        /// `nodeName`.
        node_name: String,
        /// `topologyHints`.
        topology_hints: TopologyHints,
        /// `machine`.
        machine: Option<Machine>,
        /// `selinuxContext`.
        selinux_context: String,
        /// `migrationState`.
        migration_state: Option<MigrationState>,
        /// `conditions`.
        conditions: Vec<Condition>,
    }
    /// `status.topologyHints`.
    TopologyHints {
        /// `tscFrequency`, Hz.
        tsc_frequency: Option<i64>,
    }
    /// `status.migrationState`.
    MigrationState {
        /// `failureReason`: libvirt's last word.
        failure_reason: String,
        /// `failed`.
        failed: bool,
        /// `completed`.
        completed: bool,
        /// `targetNode`.
        target_node: String,
        /// `sourceState`: set on the receiving side of a decentralized migration.
        source_state: Option<SourceState>,
    }
    /// `status.migrationState.sourceState`.
    SourceState {
        /// `node`.
        node: String,
        /// `nodeSelectors`: labels of the source's node, reported by the source cluster.
        node_selectors: BTreeMap<String, String>,
        /// `selinuxContext`.
        selinux_context: String,
    }
    /// A VirtualMachineInstanceMigration.
    Vmim {
        /// `metadata`.
        metadata: Meta,
        /// `spec`.
        spec: VmimSpec,
        /// `status`.
        status: PhaseOnly,
    }
    /// `spec` of a VirtualMachineInstanceMigration.
    VmimSpec {
        /// `vmiName`.
        vmi_name: String,
        /// `addedNodeSelector`.
        added_node_selector: BTreeMap<String, String>,
        /// `receive`: this cluster receives a decentralized migration.
        receive: Option<Present>,
        /// `sendTo`: this cluster sends it.
        send_to: Option<Present>,
    }
    /// The KubeVirt custom resource.
    KubeVirt {
        /// `metadata`.
        metadata: Meta,
        /// `spec`.
        spec: KubeVirtSpec,
        /// `status`.
        status: KubeVirtStatus,
    }
    /// `spec` of the KubeVirt custom resource.
    KubeVirtSpec {
        /// `configuration`.
        configuration: Configuration,
    }
    /// `spec.configuration`.
    Configuration {
        /// `cpuModel`.
        cpu_model: String,
        /// `evictionStrategy`: that of guests that state none.
        eviction_strategy: String,
        /// `vmRolloutStrategy`: `LiveUpdate` or `Stage`.
        vm_rollout_strategy: String,
        /// `migrations`.
        migrations: MigrationConfiguration,
        /// `machineType`, deprecated: for all architectures.
        machine_type: String,
        /// `architectureConfiguration`.
        architecture_configuration: Architectures,
        /// `developerConfiguration`.
        developer_configuration: DeveloperConfiguration,
        /// `obsoleteCPUModels`: a name withholds its model whatever its value.
        #[serde(rename = "obsoleteCPUModels")]
        obsolete_cpu_models: BTreeMap<String, Option<bool>>,
        /// `minCPUModel`.
        #[serde(rename = "minCPUModel")]
        min_cpu_model: String,
    }
    /// `spec.configuration.migrations`.
    MigrationConfiguration {
        /// `matchSELinuxLevelOnMigration`; not set means true.
        #[serde(rename = "matchSELinuxLevelOnMigration")]
        match_selinux_level_on_migration: Option<bool>,
        /// `parallelMigrationsPerCluster`.
        parallel_migrations_per_cluster: Option<i64>,
        /// `parallelOutboundMigrationsPerNode`.
        parallel_outbound_migrations_per_node: Option<i64>,
    }
    /// `spec.configuration.architectureConfiguration`.
    Architectures {
        /// `defaultArchitecture`.
        default_architecture: String,
        /// `amd64`.
        amd64: Architecture,
        /// `arm64`.
        arm64: Architecture,
        /// `s390x`.
        s390x: Architecture,
    }
    /// One architecture's configuration.
    Architecture {
        /// `machineType`.
        machine_type: String,
    }
    /// `spec.configuration.developerConfiguration`.
    DeveloperConfiguration {
        /// `featureGates`.
        feature_gates: Vec<String>,
        /// `disabledFeatureGates`.
        disabled_feature_gates: Vec<String>,
        /// `nodeSelectors`.
        node_selectors: BTreeMap<String, String>,
        /// `minimumClusterTSCFrequency`, Hz.
        #[serde(rename = "minimumClusterTSCFrequency")]
        minimum_cluster_tsc_frequency: Option<i64>,
    }
    /// `status` of the KubeVirt custom resource.
    KubeVirtStatus {
        /// `observedKubeVirtVersion`.
        #[serde(rename = "observedKubeVirtVersion")]
        observed_kubevirt_version: String,
        /// `defaultArchitecture`.
        default_architecture: String,
    }
}

/// Each enlightenment of a borrowed [`Hyperv`] with its name; a field that is not listed does not compile.
macro_rules! settings {
    ($hyperv:expr => $($field:ident)*) => {{
        let Hyperv { $($field,)* } = $hyperv;
        [$((stringify!($field), $field),)*]
    }};
    ($hyperv:expr) => {
        settings!($hyperv => vpindex runtime reset synic synictimer frequencies reenlightenment tlbflush ipi evmcs vapic)
    };
}

impl Hyperv {
    /// The enlightenments that KubeVirt knows and that affect placement, by their names.
    #[must_use]
    pub fn settings(&self) -> [(&'static str, &Option<FeatureState>); 11] {
        settings!(self)
    }

    /// The same, to be changed.
    #[must_use]
    pub(crate) fn settings_mut(&mut self) -> [(&'static str, &mut Option<FeatureState>); 11] {
        settings!(self)
    }
}

/// The condition of a VMI that says whether it can be migrated at all (`VirtualMachineInstanceIsMigratable`).
pub(crate) const LIVE_MIGRATABLE: &str = "LiveMigratable";

/// The condition of a VirtualMachine that waits for a restart (`VirtualMachineRestartRequired`).
pub(crate) const RESTART_REQUIRED: &str = "RestartRequired";

macro_rules! measured {
    ($($name:ident $(<$life:lifetime>)?),*) => {$(
        impl $(<$life>)? Measured for $name $(<$life>)? {
            fn mark(&mut self, excess: Excess) {
                self.metadata.excess = Some(excess);
            }
        }
    )*};
}

measured!(
    Pod<'a>,
    MetaOnly,
    Node,
    VirtualMachine,
    Instancetype,
    Preference,
    ControllerRevision,
    DataSource,
    Claim,
    PersistentVolume,
    DataVolume,
    ReplicaSet,
    Pool,
    Vmi,
    Vmim,
    KubeVirt
);

/// Where an object is read from, within the bounds, and how its errors name it.
pub trait Reader<'a> {
    /// What a malformed object gives.
    type Error;

    /// Reads it.
    ///
    /// # Errors
    ///
    /// It does not have the shape that is asked for.
    fn read<T: Deserialize<'a> + Measured>(&self) -> Result<T, Self::Error>;
}

/// An affinity kept whole, of which the part that filters nodes is well-formed.
#[derive(Clone, Debug, PartialEq)]
pub struct AnyAffinity(pub Value);

impl<'de> Deserialize<'de> for AnyAffinity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let whole = Value::deserialize(deserializer)?;
        // What the API server would refuse must not count as no affinity at all.
        serde_path_to_error::deserialize::<_, Affinity>(&whole)
            .map_err(|error| serde::de::Error::custom(format_args!("{}: {}", error.path(), error.inner())))?;
        Ok(Self(whole))
    }
}

/// A toleration, kept whole so that it can be printed as it was given.
#[derive(Clone, Debug, Default, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Toleration {
    /// `key`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// `operator`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operator: Option<String>,
    /// `value`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// `effect`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effect: Option<String>,
    /// `tolerationSeconds`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub toleration_seconds: Option<i64>,
}

each_text!(Toleration { key, operator, value, effect, toleration_seconds });

#[cfg(test)]
mod tests;
