//! Objects that a VirtualMachine takes values from: instancetypes, preferences, their revisions, and `DataSource`s.

use std::collections::BTreeMap;

use serde::de::{Deserialize, Deserializer};
use serde_json::Value;

use super::{
    Condition, CpuFeature, EachText, Efi, GuestMemory, HostDevice, Hyperv, LaunchSecurity, Meta, Numa, Present,
    Quantity, Tpm, nullable,
};

wire! {
    /// `spec.instancetype` and `spec.preference` of a VirtualMachine.
    Matcher {
        /// `name`.
        name: String,
        /// `kind`; empty means the cluster-wide kind.
        kind: String,
        /// `revisionName`: the ControllerRevision that takes precedence over the named object.
        revision_name: String,
        /// `inferFromVolume`: resolved by virt-api when the VirtualMachine is created.
        infer_from_volume: String,
        /// `inferFromVolumeFailurePolicy`: `Ignore` or, by default, `Reject`.
        infer_from_volume_failure_policy: String,
    }
    /// `status` of a VirtualMachine.
    VmStatus {
        /// `printableStatus`: `Running`, `Stopped` and others.
        printable_status: String,
        /// `instancetypeRef` (KubeVirt 1.5 and later).
        instancetype_ref: Option<StatusRef>,
        /// `preferenceRef` (KubeVirt 1.5 and later).
        preference_ref: Option<StatusRef>,
        /// `conditions`.
        conditions: Vec<Condition>,
        /// `startFailure`.
        start_failure: Option<StartFailure>,
    }
    /// `status.startFailure`. Mirrors `VirtualMachineStartFailure`.
    StartFailure {
        /// `consecutiveFailCount`.
        consecutive_fail_count: u64,
    }
    /// `status.instancetypeRef` and `status.preferenceRef`. Mirrors `InstancetypeStatusRef`.
    StatusRef {
        /// `name`.
        name: String,
        /// `kind`.
        kind: String,
        /// `controllerRevisionRef`.
        controller_revision_ref: Option<RevisionRef>,
    }
    /// `controllerRevisionRef`.
    RevisionRef {
        /// `name`.
        name: String,
    }
    /// A VirtualMachineInstancetype or VirtualMachineClusterInstancetype.
    Instancetype {
        /// `metadata`.
        metadata: Meta,
        /// `spec`.
        spec: InstancetypeSpec,
    }
    /// `spec` of an instancetype, the part that affects placement.
    InstancetypeSpec {
        /// `cpu`.
        cpu: InstancetypeCpu,
        /// `nodeSelector`.
        node_selector: Option<BTreeMap<String, String>>,
        /// `launchSecurity`.
        launch_security: Option<LaunchSecurity>,
        /// `memory`.
        memory: GuestMemory,
        /// `gpus`.
        gpus: Vec<HostDevice>,
        /// `hostDevices`.
        host_devices: Vec<HostDevice>,
        /// `annotations` of the guests.
        annotations: BTreeMap<String, String>,
    }
    /// `spec.cpu` of an instancetype.
    InstancetypeCpu {
        /// `model`.
        model: Option<String>,
        /// `guest`: the number of virtual CPUs.
        guest: u32,
        /// `maxSockets`.
        max_sockets: Option<u32>,
        /// `dedicatedCPUPlacement`.
        #[serde(rename = "dedicatedCPUPlacement")]
        dedicated_cpu_placement: Option<bool>,
        /// `isolateEmulatorThread`.
        isolate_emulator_thread: Option<bool>,
        /// `numa`.
        numa: Option<Numa>,
        /// `realtime`.
        realtime: Option<Present>,
    }
    /// A VirtualMachinePreference or VirtualMachineClusterPreference.
    Preference {
        /// `metadata`.
        metadata: Meta,
        /// `spec`.
        spec: PreferenceSpec,
    }
    /// `spec` of a preference, the part that affects placement.
    PreferenceSpec {
        /// `cpu`.
        cpu: PreferenceCpu,
        /// `features`.
        features: PreferenceFeatures,
        /// `machine`.
        machine: PreferenceMachine,
        /// `preferSpreadSocketToCoreRatio`: 0 if it is not set.
        prefer_spread_socket_to_core_ratio: u32,
        /// `preferredArchitecture` (KubeVirt 1.7 and later).
        preferred_architecture: String,
        /// `requirements`.
        requirements: PreferenceRequirements,
        /// `preferredLaunchSecurity` (KubeVirt 1.9 and later).
        preferred_launch_security: Option<LaunchSecurity>,
        /// `devices`.
        devices: PreferenceDevices,
        /// `firmware`.
        firmware: PreferenceFirmware,
        /// `annotations` of the guests.
        annotations: BTreeMap<String, String>,
    }
    /// `spec.requirements` of a preference.
    PreferenceRequirements {
        /// `cpu`.
        cpu: Option<RequiredCpu>,
        /// `memory`.
        memory: Option<RequiredMemory>,
        /// `architecture` (KubeVirt 1.7 and later); empty if any will do.
        architecture: String,
    }
    /// `spec.requirements.cpu` of a preference.
    RequiredCpu {
        /// `guest`: the least number of virtual CPUs.
        guest: u32,
    }
    /// `spec.requirements.memory` of a preference.
    RequiredMemory {
        /// `guest`: the least memory.
        guest: Quantity,
    }
    /// `spec.firmware` of a preference.
    PreferenceFirmware {
        /// `preferredUseBios`.
        preferred_use_bios: Option<bool>,
        /// `preferredEfi`.
        preferred_efi: Option<Efi>,
        /// `preferredUseEfi`, deprecated.
        preferred_use_efi: Option<bool>,
        /// `preferredUseSecureBoot`, deprecated.
        preferred_use_secure_boot: Option<bool>,
    }
    /// `spec.devices` of a preference.
    PreferenceDevices {
        /// `preferredInterfaceMasquerade`.
        preferred_interface_masquerade: Option<Present>,
        /// `preferredInterfaceModel`.
        preferred_interface_model: String,
        /// `preferredAutoattachPodInterface`.
        preferred_autoattach_pod_interface: Option<bool>,
        /// `preferredTPM`.
        #[serde(rename = "preferredTPM")]
        preferred_tpm: Option<Tpm>,
    }
    /// `spec.cpu` of a preference.
    PreferenceCpu {
        /// `preferredCPUTopology`: what the virtual CPUs of an instancetype are; empty means sockets.
        #[serde(rename = "preferredCPUTopology")]
        preferred_cpu_topology: String,
        /// `spreadOptions`.
        spread_options: SpreadOptions,
        /// `preferredCPUFeatures`.
        #[serde(rename = "preferredCPUFeatures")]
        preferred_cpu_features: Vec<CpuFeature>,
    }
    /// `spec.cpu.spreadOptions` of a preference.
    SpreadOptions {
        /// `across`; empty means `SocketsCores`.
        across: String,
        /// `ratio`.
        ratio: Option<u32>,
    }
    /// `spec.features` of a preference.
    PreferenceFeatures {
        /// `preferredHyperv`.
        preferred_hyperv: Option<Hyperv>,
    }
    /// `spec.machine` of a preference.
    PreferenceMachine {
        /// `preferredMachineType`.
        preferred_machine_type: String,
    }
    /// A ControllerRevision (`apps/v1`).
    ControllerRevision {
        /// `metadata`.
        metadata: Meta,
        /// `data`: the object it is a copy of.
        data: Value,
    }
    /// A DataVolume, and `spec.dataVolumeTemplates[]` of a VirtualMachine.
    DataVolume {
        /// `metadata`.
        metadata: Meta,
        /// `spec`.
        spec: DataVolumeSpec,
    }
    /// `spec` of a DataVolume template.
    DataVolumeSpec {
        /// `pvc`: the claim that is made.
        pvc: Option<RequestedClaim>,
        /// `storage`: the claim that is made, completed by the storage class.
        storage: Option<RequestedClaim>,
        /// `source`.
        source: Option<ObjectSource>,
        /// `sourceRef`.
        source_ref: Option<DataVolumeSourceRef>,
    }
    /// `spec.pvc` and `spec.storage` of a DataVolume.
    RequestedClaim {
        /// `accessModes`.
        access_modes: Vec<String>,
    }
    /// `source` of a DataVolume or a DataSource, if it names an object.
    ObjectSource {
        /// `dataSource` of a DataSource: refers to another one.
        data_source: Option<DataSourceRef>,
        /// `pvc`.
        pvc: Option<DataSourceRef>,
        /// `snapshot`.
        snapshot: Option<DataSourceRef>,
    }
    /// `sourceRef` of a DataVolume.
    DataVolumeSourceRef {
        /// `kind`.
        kind: String,
        /// `namespace`; empty means the VirtualMachine's own.
        namespace: String,
        /// `name`.
        name: String,
    }
    /// A DataSource (`cdi.kubevirt.io/v1beta1`).
    DataSource {
        /// `metadata`.
        metadata: Meta,
        /// `spec`.
        spec: DataSourceSpec,
    }
    /// `spec` of a DataSource.
    DataSourceSpec {
        /// `source`.
        source: ObjectSource,
    }
    /// A namespace and a name of the source of a DataSource or a DataVolume.
    DataSourceRef {
        /// `namespace`.
        namespace: String,
        /// `name`.
        name: String,
    }
}
