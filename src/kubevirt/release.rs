//! Differences between releases of KubeVirt, from 0.54 on.

use std::fmt;

use super::defaults::ClusterConfig;
use super::feature_gate::FeatureGate;

/// A release of KubeVirt, as in `status.observedKubeVirtVersion`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Release(u16, u16, u16);

impl Release {
    /// The newest release whose behaviour is known here; assumed if no release is named.
    pub const NEWEST: Self = Self(1, 9, 0);
    /// The last release that neither labels machine types nor selects them.
    pub(crate) const BEFORE_MACHINE_TYPES: Self = Self(1, 5, 0);

    /// Reads `v1.5.2`, `1.5.2`, `v1.2.0-150500.8.1`, `v1.8.4+build`. `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let text = text.strip_prefix('v').unwrap_or(text);
        let text = text.split(['-', '+']).next().unwrap_or(text);
        let mut parts = text.split('.').map(str::parse);
        let release = Self(parts.next()?.ok()?, parts.next()?.ok()?, parts.next().unwrap_or(Ok(0)).ok()?);
        parts.next().is_none().then_some(release)
    }

    /// Whether it is of a later minor version than all whose rules are known: those of the newest are assumed.
    pub(crate) fn is_beyond_known(self) -> bool {
        (self.0, self.1) > (Self::NEWEST.0, Self::NEWEST.1)
    }

    /// Returns the value that launchers require of `kubevirt.io/realtime` and `kubevirt.io/sev…`.
    pub(crate) fn capability_value(self) -> &'static str {
        if self.asks_for_true_capabilities() { "true" } else { "" }
    }

    /// Returns the release since which the labeller writes the value that launchers require of `kubevirt.io/realtime`
    /// and `kubevirt.io/sev…`; `None` if the labeller of this release does.
    pub(crate) fn fixes_capability_values_in(self) -> Option<&'static str> {
        (self.asks_for_true_capabilities() != self.labels_true_capabilities()).then_some("1.5.3")
    }

    /// Returns the release since which the labeller writes the `cpu-model-migration` label of each model that libvirt
    /// knows; `None` if the labeller of this release does.
    pub(crate) fn labels_known_models_in(self) -> Option<&'static str> {
        (self.inherits_host_model() && !self.labels_known_models()).then_some("1.6.4")
    }

    /// Whether KubeVirt refuses a guest of arm64 with this CPU model.
    pub(crate) fn refuses_on_arm(self, model: &str) -> bool {
        match model {
            "" | "host-passthrough" => false,
            "host-model" => true,
            _ => self.refuses_models_on_arm(),
        }
    }

    /// Whether a change of a VM's node selector or node affinity reaches its running guest. `opts_in`: the VM asks for
    /// it (`spec.liveUpdateFeatures.affinity`).
    pub(crate) fn updates_live(self, config: &ClusterConfig, opts_in: bool) -> bool {
        let by_strategy = match config.configuration.vm_rollout_strategy.as_str() {
            "LiveUpdate" => {
                self.updates_live_by_strategy()
                    && (!self.gates_live_updates() || config.gate(FeatureGate::VmLiveUpdateFeatures))
            }
            "" => self.updates_live_by_default(),
            _ => false,
        };
        by_strategy || opts_in && self.updates_live_on_request()
    }

    /// Whether a change of a VM's tolerations reaches its running guest.
    pub(crate) fn updates_tolerations_live(self, config: &ClusterConfig) -> bool {
        self.updates_tolerations() && self.updates_live(config, false)
    }

    /// Whether the feature gate of decentralized migration is off by default (`pkg/virt-config/featuregate/active.go`:
    /// Alpha). Of later releases nothing is known.
    pub(crate) fn gates_decentralized_migration(self) -> bool {
        !self.is_beyond_known()
    }

    /// Whether guests with virtiofs are not migrated. Of earlier releases nothing is known.
    pub(crate) fn refuses_virtiofs(self) -> bool {
        self.is_migratability_known() && !self.migrates_virtiofs()
    }

    /// Whether guests with a SCSI persistent reservation are not migrated. Of earlier releases nothing is known.
    pub(crate) fn refuses_persistent_reservation(self) -> bool {
        self.is_migratability_known() && !self.migrates_reservations()
    }

    /// Whether it is known which guests virt-handler keeps from migrating for their interfaces, file systems and
    /// reservations.
    ///
    /// Mirrors `calculateLiveMigrationCondition` and `checkNetworkInterfacesForMigration` of `pkg/virt-handler/vm.go`:
    /// since 1.0.0.
    pub(crate) fn is_migratability_known(self) -> bool {
        self >= Self(1, 0, 0)
    }
}

/// A rule that some releases follow.
#[derive(Debug)]
pub(crate) struct ReleaseRule {
    /// Whether a release follows it.
    pub holds: fn(Release) -> bool,
    /// The behaviour of a release that follows it.
    pub on: &'static str,
    /// The behaviour of a release that does not.
    pub off: &'static str,
}

/// Defines each rule as a function of [`Release`], and [`RULES`], from which `diff` names what an upgrade changes.
macro_rules! rules {
    ($($(#[$doc:meta])* $name:ident: $holds:expr, $on:literal, $off:literal;)*) => {
        impl Release {
            $($(#[$doc])*
            pub(crate) fn $name(self) -> bool {
                const HOLDS: fn(Release) -> bool = $holds;
                HOLDS(self)
            })*
        }

        /// All rules, by the release in which they first changed.
        pub(crate) const RULES: &[ReleaseRule] =
            &[$(ReleaseRule { holds: Release::$name, on: $on, off: $off },)*];
    };
}

rules! {
    /// Whether target pods select `cpu-model-migration`, and later ones inherit it; earlier releases select
    /// `host-model-cpu`.
    ///
    /// Mirrors `prepareNodeSelectorForHostCpuModel` of `pkg/virt-controller/watch/migration/migration.go`, since 0.54.0
    /// (then in `pkg/virt-controller/watch/migration.go`).
    inherits_host_model: |it| it >= Release(0, 54, 0),
        "target pods of host-model guests ask for cpu-model-migration labels, and later targets inherit them",
        "target pods of host-model guests ask for the host-model-cpu label of the node that the guest leaves";

    /// Whether host models can be obsolete, and host-model guests avoid them.
    ///
    /// Mirrors `NodeHostModelIsObsoleteLabel` in `prepareLabels` of `pkg/virt-handler/node-labeller/node_labeller.go`
    /// and in `pkg/virt-controller/services/template.go`, since 0.59.0.
    avoids_obsolete_host_models: |it| it >= Release(0, 59, 0),
        "launchers of host-model guests avoid nodes whose host model is obsolete",
        "launchers of host-model guests do not avoid nodes whose host model is obsolete";

    /// Whether launchers select `kubernetes.io/arch`.
    ///
    /// Mirrors `NewNodeSelectorRenderer` of `pkg/virt-controller/services/nodeselectorrenderer.go`, since 1.0.0.
    selects_arch: |it| it >= Release(1, 0, 0),
        "launchers ask for their architecture",
        "launchers do not ask for their architecture";

    /// Whether a launcher requests a device for SCSI persistent reservation.
    ///
    /// Mirrors `WithPersistentReservation` of `pkg/virt-controller/services/renderresources.go`, since 1.0.0.
    requests_reservation_device: |it| it >= Release(1, 0, 0),
        "launchers of guests with a SCSI persistent reservation request devices.kubevirt.io/pr-helper",
        "launchers do not request devices.kubevirt.io/pr-helper";

    /// Whether virt-api checks the `requirements` of preferences.
    ///
    /// Mirrors `CheckPreferenceRequirements` of `pkg/instancetype/instancetype.go`, since 1.0.0.
    checks_requirements: |it| it >= Release(1, 0, 0),
        "a new VM that does not meet the requirements of its preference is refused",
        "the requirements of a preference have no effect";

    /// Whether the lowest TSC frequency is that of nodes which are schedulable or run guests, not of all nodes.
    ///
    /// Mirrors `LowestTSCFrequencyOnCluster` of `pkg/virt-controller/watch/topology/hinter.go`, since 1.0.1.
    leaves_out_unschedulable_tsc: |it| it >= Release(1, 0, 1),
        "guests that need a TSC frequency get the lowest of the nodes that are schedulable or run a guest",
        "guests that need a TSC frequency get the lowest of all nodes";

    /// Whether a VM may ask that a change of its node selector or node affinity reaches its running guest.
    ///
    /// Mirrors `handleAffinityChangeRequest` of `pkg/virt-controller/watch/vm.go`: 1.1 asks for
    /// `spec.liveUpdateFeatures.affinity` of the VM.
    updates_live_on_request: |it| Release(1, 1, 0) <= it && it < Release(1, 2, 0),
        "with liveUpdateFeatures.affinity of a VM, a change of its node selector or affinity reaches its running guest",
        "liveUpdateFeatures.affinity of a VM has no effect";

    /// Whether an arm64 guest with dedicated CPUs may have one thread a core at most.
    ///
    /// Mirrors `validateThreadCountOnArchitecture` of
    /// `pkg/virt-api/webhooks/validating-webhook/admitters/vmi-create-admitter.go`, since 1.1.0.
    limits_threads_on_arm: |it| it >= Release(1, 1, 0),
        "arm64 guests with dedicated CPUs are refused if they have more than one thread a core",
        "arm64 guests with dedicated CPUs are refused if they have more than two threads a core";

    /// Whether the rollout strategy `LiveUpdate` counts for changes of a VM's node selector and node affinity.
    ///
    /// Mirrors `handleAffinityChangeRequest` of `pkg/virt-controller/watch/vm/vm.go` (`watch/vm.go` until 1.3), whose
    /// caller `sync` asks `IsVMRolloutStrategyLiveUpdate` of `pkg/virt-config/virt-config.go`, since 1.2.0.
    updates_live_by_strategy: |it| it >= Release(1, 2, 0),
        "a change of a VM's node selector or affinity reaches its running guest with vmRolloutStrategy LiveUpdate",
        "vmRolloutStrategy has no effect on a change of a VM's node selector or affinity";

    /// Whether the rollout strategy `LiveUpdate` needs the feature gate `VMLiveUpdateFeatures`.
    ///
    /// Mirrors `IsVMRolloutStrategyLiveUpdate` of `pkg/virt-config/virt-config.go`, until 1.4.
    gates_live_updates: |it| Release(1, 2, 0) <= it && it < Release(1, 5, 0),
        "vmRolloutStrategy LiveUpdate needs the feature gate VMLiveUpdateFeatures",
        "vmRolloutStrategy LiveUpdate does not need the feature gate VMLiveUpdateFeatures";

    /// Whether guests with a network binding plugin may migrate.
    ///
    /// Mirrors `VerifyVMIMigratable` of `pkg/network/vmispec/interface.go`, since 1.2.0.
    may_migrate_plugins: |it| it >= Release(1, 2, 0),
        "guests with a network binding plugin on the pod network migrate if its configuration has a migration",
        "guests with a network binding plugin on the pod network are not migrated";

    /// Whether guests with `hypervPassthrough` are not migrated, and may not have `hyperv` too.
    ///
    /// Mirrors `ValidateVirtualMachineInstanceHypervMode` of `pkg/virt-api/webhooks/hyperv.go` and
    /// `calculateLiveMigrationCondition` of `pkg/virt-handler/vm.go`, since 1.3.0.
    knows_hyperv_passthrough: |it| it >= Release(1, 3, 0),
        "guests with hypervPassthrough are not migrated, and are refused if they have hyperv too",
        "hypervPassthrough keeps no guest from migrating";

    /// Whether `configuration.emulatedMachines` takes precedence over the list of the architecture.
    ///
    /// Mirrors `GetEmulatedMachines` of `pkg/virt-config/virt-config.go`, since 1.3.0.
    reads_machines_of_all_architectures: |it| it >= Release(1, 3, 0),
        "emulatedMachines of the configuration takes precedence over that of an architecture",
        "emulatedMachines of the configuration does not take precedence over that of an architecture";

    /// Whether a change of a VM's tolerations reaches its running guest as one of its node selector does.
    ///
    /// Mirrors `handleTolerationsChangeRequest` of `pkg/virt-controller/watch/vm/vm.go`, since 1.4.0.
    updates_tolerations: |it| it >= Release(1, 4, 0),
        "a change of a VM's tolerations reaches its running guest as one of its node selector does",
        "a change of a VM's tolerations does not reach its running guest";

    /// Whether launchers select the value `true` of `kubevirt.io/realtime` and `kubevirt.io/sev…`.
    ///
    /// Mirrors `enableSelectorLabel` of `pkg/virt-controller/services/nodeselectorrenderer.go`, since 1.5.0; before,
    /// `addNodeSelector` of `pkg/virt-api/webhooks/mutating-webhook/mutators/vmi-mutator.go`.
    asks_for_true_capabilities: |it| it >= Release(1, 5, 0),
        "launchers ask for the value true of the labels of realtime, SEV and SEV-ES",
        "launchers ask for an empty value of the labels of realtime, SEV and SEV-ES";

    /// Whether guests with virtiofs migrate.
    ///
    /// Mirrors `calculateLiveMigrationCondition` of `pkg/virt-handler/vm.go`: since 1.5.0.
    migrates_virtiofs: |it| it >= Release(1, 5, 0),
        "virtiofs keeps no guest from migrating",
        "guests with virtiofs are not migrated";

    /// Whether launchers select the machine type.
    ///
    /// Mirrors `WithMachineType` of `pkg/virt-controller/services/nodeselectorrenderer.go`, since 1.5.1.
    selects_machine_type: |it| it >= Release(1, 5, 1),
        "launchers ask for their machine type",
        "launchers do not ask for their machine type";

    /// Whether a ControllerRevision in the status of a VirtualMachine counts only if it is a copy of the object named
    /// in its spec.
    ///
    /// Mirrors `Find` of `pkg/instancetype/find/revision.go` and `FindPreference` of
    /// `pkg/instancetype/preference/find/revision.go`, since 1.5.2.
    compares_revision_name: |it| it >= Release(1, 5, 2),
        "a ControllerRevision in a VM's status counts only if it is a copy of what the VM's spec names",
        "a ControllerRevision in a VM's status counts whatever the VM's spec names";

    /// Whether the labeller writes `kubevirt.io/realtime` and `kubevirt.io/sev…` with the value `true`.
    ///
    /// Mirrors `prepareLabels` of `pkg/virt-handler/node-labeller/node_labeller.go`: empty until 1.5.2, `true` since
    /// 1.5.3.
    labels_true_capabilities: |it| it >= Release(1, 5, 3),
        "node-labeller gives the labels of realtime, SEV and SEV-ES the value true",
        "node-labeller gives the labels of realtime, SEV and SEV-ES an empty value";

    /// Whether devices may be from resource claims, so that only those without a claim are requested by name.
    ///
    /// Mirrors `WithGPUsDevicePlugins` and `WithHostDevicesDevicePlugins` of
    /// `pkg/virt-controller/services/renderresources.go`, since 1.6.0.
    has_resource_claims: |it| it >= Release(1, 6, 0),
        "GPUs and host devices may come from resource claims",
        "GPUs and host devices do not come from resource claims";

    /// Whether KubeVirt refuses a guest of arm64 with a named CPU model.
    ///
    /// Mirrors `validateCPUModel` of `pkg/virt-api/webhooks/arm64.go`: until 1.5, host-model alone is refused.
    refuses_models_on_arm: |it| it >= Release(1, 6, 0),
        "on arm64, KubeVirt refuses every CPU model but host-passthrough",
        "on arm64, KubeVirt refuses no CPU model but host-model";

    /// Whether s390x guests with `launchSecurity` use Secure Execution: their launchers select `kubevirt.io/s390-pv`,
    /// and they are not migrated.
    ///
    /// Mirrors `WithSecureExecutionSelector` of `pkg/virt-controller/services/nodeselectorrenderer.go`, and
    /// `IsSecureExecutionVMI` of `pkg/util/s390x.go`, since 1.6.0.
    knows_secure_execution: |it| it >= Release(1, 6, 0),
        "s390x guests with launchSecurity ask for the label kubevirt.io/s390-pv, and are not migrated",
        "s390x guests with launchSecurity do not ask for the label kubevirt.io/s390-pv";

    /// Whether KubeVirt refuses guests of an architecture that it does not know.
    ///
    /// Mirrors `ValidateVirtualMachineInstancePerArch` of
    /// `pkg/virt-api/webhooks/validating-webhook/admitters/vmi-create-admitter.go`, since 1.6.0.
    refuses_unknown_architectures: |it| it >= Release(1, 6, 0),
        "guests of an architecture that KubeVirt does not know are refused",
        "guests of an architecture that KubeVirt does not know are not refused";

    /// Whether `spec.addedNodeSelector` of a migration is honoured.
    ///
    /// Mirrors `createTargetPod` of `pkg/virt-controller/watch/migration/migration.go`, since 1.6.0.
    has_added_node_selector: |it| it >= Release(1, 6, 0),
        "target pods ask for the addedNodeSelector of their migration",
        "the addedNodeSelector of a migration is dropped";

    /// Whether a missing host-model label on the source is ignored instead of stopping the migration.
    ///
    /// Mirrors `createTargetPod` of `pkg/virt-controller/watch/migration/migration.go`: since 1.6.0, a second variable
    /// `err` hides the error of `prepareNodeSelectorForHostCpuModel`.
    overlooks_missing_host_model: |it| it >= Release(1, 6, 0),
        "a node without host-model labels does not keep its guests from migrating",
        "a node without host-model labels keeps its host-model guests from migrating";

    /// Whether guests can be migrated between clusters and namespaces: `spec.receive` and `spec.sendTo` of a migration,
    /// `WaitAsReceiver`.
    has_decentralized_migration: |it| it >= Release(1, 6, 0),
        "with the feature gate DecentralizedLiveMigration, guests migrate between clusters and namespaces",
        "no guest migrates between clusters or namespaces";

    /// Whether an unset rollout strategy counts as `LiveUpdate`.
    ///
    /// Mirrors `IsVMRolloutStrategyLiveUpdate` of `pkg/virt-config/virt-config.go`, since 1.6.0.
    updates_live_by_default: |it| it >= Release(1, 6, 0),
        "an unset vmRolloutStrategy is LiveUpdate",
        "an unset vmRolloutStrategy is not LiveUpdate";

    /// Whether virt-handler checks a guest's volumes before all else that keeps it from migrating.
    ///
    /// Mirrors `calculateLiveMigrationCondition` of `pkg/virt-handler/vm.go`: until 1.5.
    checks_volumes_first: |it| it < Release(1, 6, 0),
        "of several reasons not to migrate a guest, that of its volumes is reported first",
        "of several reasons not to migrate a guest, that of its volumes is reported last";

    /// Whether the labeller writes the `cpu-model-migration` label of each model that libvirt knows.
    ///
    /// Mirrors `prepareLabels` of `pkg/virt-handler/node-labeller/node_labeller.go`: the host model and usable models
    /// until 1.6.3, `getKnownCpuModels` since 1.6.4.
    labels_known_models: |it| it >= Release(1, 6, 4),
        "node-labeller writes cpu-model-migration labels of the models that libvirt knows, usable or not",
        "node-labeller writes cpu-model-migration labels of usable models and of the host model only";

    /// Whether a target pod selects the source's CPU vendor.
    ///
    /// Mirrors `getCPUVendorLabelKey` of `pkg/virt-controller/watch/migration/migration.go`, since 1.6.4 and 1.7.1.
    selects_vendor: |it| it >= Release(1, 6, 4) && it != Release(1, 7, 0),
        "a migration asks for the CPU vendor of the node that it leaves",
        "a migration does not ask for the CPU vendor of the node that it leaves";

    /// Whether the architecture of a VirtualMachine that names none comes from its DataSource.
    ///
    /// Mirrors `setDefaultArchitectureFromDataSource` of `pkg/defaults/defaults.go`, since 1.6.4.
    reads_architecture_of_data_source: |it| it >= Release(1, 6, 4),
        "a new VM that names no architecture gets that of its DataSource",
        "a new VM does not get the architecture of its DataSource";

    /// Whether the architecture of a VirtualMachine that names none comes from its preference.
    ///
    /// Mirrors `PreferredArchitecture` in `pkg/instancetype/preference/apply/architecture.go`, since 1.7.0.
    reads_preferred_architecture: |it| it >= Release(1, 7, 0),
        "a new VM that names no architecture gets that of its preference",
        "a new VM does not get the architecture of its preference";

    /// Whether `launchSecurity` has `snp` and `tdx`: launchers select their labels, and guests with them are not
    /// migrated.
    ///
    /// Mirrors `WithSEVSNPSelector` and `WithTDXSelector` of `pkg/virt-controller/services/nodeselectorrenderer.go`,
    /// and `IsSEVVMI` and `IsTDXVMI` of `pkg/util/amd64.go`, since 1.7.0.
    knows_snp_and_tdx: |it| it >= Release(1, 7, 0),
        "guests with SEV-SNP or TDX ask for the label of it, and are not migrated",
        "launchSecurity has neither snp nor tdx";

    /// Whether launchers have the label `vmi.kubevirt.io/id`, and `sidecar.istio.io/inject` if the guest is annotated
    /// with it.
    ///
    /// Mirrors `podLabels` of `pkg/virt-controller/services/template.go`, since 1.7.0.
    labels_launchers_by_id: |it| it >= Release(1, 7, 0),
        "launchers have the label vmi.kubevirt.io/id",
        "launchers do not have the label vmi.kubevirt.io/id";

    /// Whether launchers select `kubevirt.io/cpumanager` instead of `cpumanager`.
    ///
    /// Mirrors `CPUManager` of `staging/src/kubevirt.io/api/core/v1/types.go`, renamed in 1.8.0.
    renamed_cpumanager: |it| it >= Release(1, 8, 0),
        "guests with dedicated CPUs ask for the label kubevirt.io/cpumanager",
        "guests with dedicated CPUs ask for the label cpumanager";

    /// Whether guests with `passtBinding` migrate, and those without an interface on their pod network do not.
    ///
    /// Mirrors `VerifyVMIMigratable` of `pkg/network/vmispec/interface.go`, since 1.8.0.
    asks_for_a_pod_interface: |it| it >= Release(1, 8, 0),
        "guests with passtBinding migrate, and those without an interface on their pod network do not",
        "guests with passtBinding on the pod network are not migrated";

    /// Whether a launcher requests a device for Intel TDX, and one for IOMMUFD with its feature gate.
    ///
    /// Mirrors `WithTDX` and `WithIOMMUFD` of `pkg/virt-controller/services/renderresources.go`, since 1.9.0.
    requests_tdx_and_iommufd: |it| it >= Release(1, 9, 0),
        "launchers request devices for TDX, and with the feature gate IOMMUFD for that",
        "launchers request no devices for TDX and IOMMUFD";

    /// Whether the feature gate `CrossArchitectureVirtualization` exists.
    ///
    /// Mirrors `CrossArchitectureVirtualizationEnabled` of `pkg/virt-config/feature-gates.go`, since 1.9.0.
    crosses_architectures: |it| it >= Release(1, 9, 0),
        "with the feature gate CrossArchitectureVirtualization, guests run on nodes of another architecture",
        "the feature gate CrossArchitectureVirtualization has no effect";

    /// Whether the feature gate of SEV is on by default (`pkg/virt-config/featuregate/active.go`: Beta).
    encrypts_by_default: |it| it >= Release(1, 9, 0),
        "the feature gate WorkloadEncryptionSEV is on by default",
        "the feature gate WorkloadEncryptionSEV is off by default";

    /// Whether a guest with one mediated GPU may migrate, with the feature gate `VGPULiveMigration`.
    ///
    /// Mirrors `vmiContainsNonMigratablePCIHostDevices` of `pkg/virt-handler/vm.go`, since 1.9.0.
    may_migrate_gpus: |it| it >= Release(1, 9, 0),
        "with the feature gate VGPULiveMigration, guests with one mediated GPU migrate",
        "guests with a GPU are not migrated";

    /// Whether guests with a SCSI persistent reservation migrate.
    ///
    /// Mirrors `calculateLiveMigrationCondition` of `pkg/virt-handler/vm.go`: since 1.9.0.
    migrates_reservations: |it| it >= Release(1, 9, 0),
        "a SCSI persistent reservation keeps no guest from migrating",
        "guests with a SCSI persistent reservation are not migrated";

    /// Whether launchers keep away from those that reserve the same claim.
    ///
    /// Mirrors `setPersistentReservationAntiAffinity` of `pkg/virt-controller/services/template.go`, since 1.9.0.
    spreads_reservations: |it| it >= Release(1, 9, 0),
        "launchers of guests that reserve the same claim (SCSI persistent reservation) keep apart",
        "launchers of guests that reserve the same claim (SCSI persistent reservation) do not keep apart";

    /// Whether `preferredLaunchSecurity` of a preference is honoured.
    ///
    /// Mirrors `PreferredLaunchSecurity` in `pkg/instancetype/preference/apply/launchsecurity.go`, since 1.9.0.
    reads_preferred_launch_security: |it| it >= Release(1, 9, 0),
        "preferredLaunchSecurity of a preference counts",
        "preferredLaunchSecurity of a preference has no effect";
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}.{}.{}", self.0, self.1, self.2)
    }
}

/// The source of the release.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ReleaseKnown {
    /// The KubeVirt custom resource or the user names the release.
    Observed(Release),
    /// No release is named: the newest is assumed.
    #[default]
    Newest,
    /// No release is named, and no labelled node has a machine type: an older release is assumed.
    WithoutMachineTypes,
}

impl ReleaseKnown {
    /// Returns the release whose rules apply.
    #[must_use]
    pub fn release(&self) -> Release {
        match self {
            Self::Observed(release) => *release,
            Self::Newest => Release::NEWEST,
            Self::WithoutMachineTypes => Release::BEFORE_MACHINE_TYPES,
        }
    }

    /// Returns the oldest and the newest release that the cluster may have, if one is assumed; else nothing. Nodes have
    /// machine-type labels since 1.5.1.
    pub(crate) fn possible(&self) -> &'static [Release] {
        match self {
            Self::Observed(_) => &[],
            Self::Newest => &[Release(1, 5, 1), Release::NEWEST],
            Self::WithoutMachineTypes => &[Release(1, 0, 0), Release::BEFORE_MACHINE_TYPES],
        }
    }

    /// Returns a sentence about the assumption; `None` if nothing was assumed.
    pub(crate) fn assumption(&self) -> Option<String> {
        match self {
            Self::Observed(release) if release.is_beyond_known() => Some(format!(
                "KubeVirt {release} is newer than the releases whose rules are known here: judged by the rules of {}",
                Release::NEWEST
            )),
            Self::Observed(_) => None,
            Self::Newest => Some(format!(
                "no KubeVirt version is known (status.observedKubeVirtVersion): judged by the rules of {}",
                Release::NEWEST
            )),
            Self::WithoutMachineTypes => Some(
                "no KubeVirt version is known and no node has a machine-type label: judged by the rules before v1.5.1"
                    .to_owned(),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::plain("v1.5.2", Some(Release(1, 5, 2)))]
    #[case::bare("1.8.4", Some(Release(1, 8, 4)))]
    #[case::packaged("v1.6.3-150700.3.13.1", Some(Release(1, 6, 3)))]
    #[case::built("v1.9.0+abc", Some(Release(1, 9, 0)))]
    #[case::short("v1.4", Some(Release(1, 4, 0)))]
    #[case::nothing("", None)]
    #[case::branch("main", None)]
    #[case::too_long("1.2.3.4", None)]
    fn versions_are_read(#[case] text: &str, #[case] expected: Option<Release>) {
        assert_eq!(Release::parse(text), expected, "another release's rules would be applied");
    }

    #[rstest]
    #[case::the_newest("1.9.0", false)]
    #[case::a_later_patch("1.9.7", false)]
    #[case::an_old_one("0.58.0", false)]
    #[case::the_next_minor("1.10.0", true)]
    #[case::far_ahead("v1.12.0", true)]
    #[case::the_next_major("2.0.1", true)]
    #[case::a_version_of_the_distribution("v4.17.3", true)]
    fn a_release_whose_rules_are_not_known_is_said(#[case] text: &str, #[case] expected: bool) {
        let release = Release::parse(text).expect("a release");
        let said = ReleaseKnown::Observed(release).assumption();
        assert_eq!(said.is_some(), expected, "a verdict by the rules of another release is said to be sure: {said:?}");
        assert!(
            said.is_none_or(|said| said.contains(&release.to_string())),
            "people do not see which release is meant"
        );
    }

    /// The first and the last release of each minor version, and those between that changed a rule.
    const RELEASES: [&str; 27] = [
        "0.54.0", "0.58.0", "0.59.0", "1.0.0", "1.0.1", "1.1.0", "1.1.1", "1.2.0", "1.2.2", "1.3.0", "1.3.1", "1.4.0",
        "1.4.1", "1.5.0", "1.5.1", "1.5.2", "1.5.3", "1.6.0", "1.6.3", "1.6.4", "1.6.6", "1.7.0", "1.7.1", "1.7.4",
        "1.8.0", "1.8.4", "1.9.0",
    ];

    /// The rows of docs/kubevirt.md: who reads there when a behaviour changed sees what `diff` and the verdicts follow.
    #[test]
    fn the_page_lists_each_rule_with_the_releases_that_change_it() {
        let releases: Vec<Release> =
            ["0.53.0"].iter().chain(&RELEASES).map(|text| Release::parse(text).expect("a release")).collect();
        let changes = |rule: &ReleaseRule, to: bool| {
            let steps = releases.windows(2).filter(|step| (rule.holds)(step[0]) != to && (rule.holds)(step[1]) == to);
            steps.map(|step| step[1].to_string().replace('v', "")).collect::<Vec<_>>().join(", ")
        };
        let row = |rule: &ReleaseRule| format!("| {} | {} | {} |", rule.on, changes(rule, true), changes(rule, false));
        let expected: Vec<String> = RULES.iter().map(|rule| row(rule).replace("|  |", "| |")).collect();
        let page = include_str!("../../docs/kubevirt.md");
        let table = page.lines().skip_while(|line| *line != "| Behaviour | From | No longer from |").skip(2);
        let rows: Vec<&str> = table.take_while(|line| line.starts_with('|')).collect();
        assert_eq!(rows, expected, "people look up the release of a change, and find another one than is judged by");
    }

    #[test]
    fn the_pages_name_the_newest_release() {
        let newest = format!("{}.{}", Release::NEWEST.0, Release::NEWEST.1);
        let gate = format!("by default up to {newest}, KubeVirt refuses that run strategy");
        assert!(include_str!("../../docs/kubevirt.md").contains(&gate), "the page is not about {newest}");
        let row = format!("| KubeVirt | 1.0 to {newest}, by the rules of each release");
        assert!(include_str!("../../docs/compatibility.md").contains(&row), "people do not see that {newest} is known");
    }

    #[rstest]
    #[case::nothing_is_set("", false, false, "1.6.0", "")]
    #[case::the_strategy("LiveUpdate", false, false, "1.5.0", "")]
    #[case::strategy_and_gate("LiveUpdate", true, false, "1.2.0", "")]
    #[case::the_gate_alone("", true, false, "1.6.0", "")]
    #[case::staged("Stage", true, true, "", "1.1.0 1.1.1")]
    #[case::the_vm_opts_in("", false, true, "1.6.0", "1.1.0 1.1.1")]
    fn a_change_of_the_vm_reaches_its_guest(
        #[case] strategy: &str,
        #[case] gate: bool,
        #[case] opts_in: bool,
        #[case] from: &str,
        #[case] also: &str,
    ) {
        let mut config = ClusterConfig::default();
        config.configuration.vm_rollout_strategy = strategy.to_owned();
        config
            .configuration
            .developer_configuration
            .feature_gates
            .extend(gate.then(|| FeatureGate::VmLiveUpdateFeatures.to_string()));
        let live = |text: &&str| Release::parse(text).is_some_and(|release| release.updates_live(&config, opts_in));
        let expected = |text: &&str| {
            also.split(' ').any(|known| known == *text)
                || Release::parse(from).is_some_and(|from| Release::parse(text) >= Some(from))
        };
        let found: Vec<&str> = RELEASES.into_iter().filter(live).collect();
        let expected: Vec<&str> = RELEASES.into_iter().filter(expected).collect();
        assert_eq!(found, expected, "an edit is said to need a restart, or to need none, and the opposite is true");
    }
}
