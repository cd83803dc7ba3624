//! The KubeVirt custom resource, the part that affects placement and migrations.

use std::collections::BTreeMap;

use serde::de::{Deserialize, Deserializer};

use super::{Affinity, EachText, Meta, Present, Toleration, nullable};

wire! {
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
        /// `workloads`: virt-handler.
        workloads: Option<Workloads>,
    }
    /// `spec.workloads` of the KubeVirt custom resource.
    Workloads {
        /// `nodePlacement`.
        node_placement: Option<NodePlacement>,
    }
    /// `nodePlacement`, the part that selects nodes.
    NodePlacement {
        /// `nodeSelector`.
        node_selector: BTreeMap<String, String>,
        /// `affinity`.
        affinity: Affinity,
        /// `tolerations`.
        tolerations: Vec<Toleration>,
    }
    /// `spec.configuration`.
    Configuration {
        /// `cpuModel`.
        cpu_model: String,
        /// `evictionStrategy`: the default for guests that state none.
        eviction_strategy: String,
        /// `vmRolloutStrategy`: `LiveUpdate` or `Stage`.
        vm_rollout_strategy: String,
        /// `migrations`.
        migrations: MigrationConfiguration,
        /// `machineType`: deprecated, for all architectures.
        machine_type: String,
        /// `emulatedMachines`: deprecated, for all architectures.
        emulated_machines: Option<Vec<String>>,
        /// `architectureConfiguration`.
        architecture_configuration: Architectures,
        /// `developerConfiguration`.
        developer_configuration: DeveloperConfiguration,
        /// `defaultRuntimeClass`: the runtime class of launchers.
        default_runtime_class: String,
        /// `network`.
        network: NetworkConfiguration,
        /// `permittedHostDevices`.
        permitted_host_devices: Option<PermittedHostDevices>,
        /// `obsoleteCPUModels`: a name withholds its model, regardless of its value.
        #[serde(rename = "obsoleteCPUModels")]
        obsolete_cpu_models: BTreeMap<String, Option<bool>>,
        /// `minCPUModel`.
        #[serde(rename = "minCPUModel")]
        min_cpu_model: String,
    }
    /// `spec.configuration.migrations`.
    MigrationConfiguration {
        /// `matchSELinuxLevelOnMigration`; unset means true.
        #[serde(rename = "matchSELinuxLevelOnMigration")]
        match_selinux_level_on_migration: Option<bool>,
        /// `parallelMigrationsPerCluster`.
        parallel_migrations_per_cluster: Option<i64>,
        /// `parallelOutboundMigrationsPerNode`.
        parallel_outbound_migrations_per_node: Option<i64>,
    }
    /// `spec.configuration.network`.
    NetworkConfiguration {
        /// `binding`: the network binding plugins, by name.
        binding: BTreeMap<String, BindingPlugin>,
    }
    /// `spec.configuration.network.binding`, one plugin.
    BindingPlugin {
        /// `migration`: guests with the plugin can be migrated.
        migration: Option<Present>,
    }
    /// `spec.configuration.permittedHostDevices`.
    PermittedHostDevices {
        /// `pciHostDevices`.
        pci_host_devices: Vec<PermittedDevice>,
        /// `mediatedDevices`.
        mediated_devices: Vec<PermittedDevice>,
        /// `usb`.
        usb: Vec<PermittedDevice>,
    }
    /// A device of `spec.configuration.permittedHostDevices`.
    PermittedDevice {
        /// `resourceName`.
        resource_name: String,
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
    /// Configuration of an architecture.
    Architecture {
        /// `machineType`.
        machine_type: String,
        /// `emulatedMachines`: the machine types that guests may have, as patterns.
        emulated_machines: Option<Vec<String>>,
    }
    /// `spec.configuration.developerConfiguration`.
    DeveloperConfiguration {
        /// `featureGates`.
        feature_gates: Vec<String>,
        /// `disabledFeatureGates`.
        disabled_feature_gates: Vec<String>,
        /// `nodeSelectors`.
        node_selectors: BTreeMap<String, String>,
        /// `useEmulation`: whether a guest may run without KVM.
        use_emulation: bool,
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
