//! Differences between releases of KubeVirt, from 0.54 on.

use std::fmt;

use super::defaults::ClusterConfig;

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

    /// Whether launchers select `kubernetes.io/arch`.
    ///
    /// Mirrors `NewNodeSelectorRenderer` of `pkg/virt-controller/services/nodeselectorrenderer.go`, since 1.0.0.
    pub(crate) fn selects_arch(self) -> bool {
        self >= Self(1, 0, 0)
    }

    /// Whether host models can be obsolete, and host-model guests avoid them.
    ///
    /// Mirrors `NodeHostModelIsObsoleteLabel` in `prepareLabels` of `pkg/virt-handler/node-labeller/node_labeller.go`
    /// and in `pkg/virt-controller/services/template.go`, since 0.59.0.
    pub(crate) fn avoids_obsolete_host_models(self) -> bool {
        self >= Self(0, 59, 0)
    }

    /// Whether launchers select the machine type.
    ///
    /// Mirrors `WithMachineType` of `pkg/virt-controller/services/nodeselectorrenderer.go`, since 1.5.1.
    pub(crate) fn selects_machine_type(self) -> bool {
        self >= Self(1, 5, 1)
    }

    /// Returns the value that launchers require of `kubevirt.io/realtime` and `kubevirt.io/sev…`.
    ///
    /// Mirrors `enableSelectorLabel` of `pkg/virt-controller/services/nodeselectorrenderer.go`, since 1.5.0; before,
    /// `addNodeSelector` of `pkg/virt-api/webhooks/mutating-webhook/mutators/vmi-mutator.go`.
    pub(crate) fn capability_value(self) -> &'static str {
        if self >= Self(1, 5, 0) { "true" } else { "" }
    }

    /// Returns the release since which the labeller writes the value that launchers require of `kubevirt.io/realtime`
    /// and `kubevirt.io/sev…`; `None` if the labeller of this release does.
    ///
    /// Mirrors `prepareLabels` of `pkg/virt-handler/node-labeller/node_labeller.go`: empty until 1.5.2, `true` since
    /// 1.5.3.
    pub(crate) fn fixes_capability_values_in(self) -> Option<&'static str> {
        (Self(1, 5, 0) <= self && self < Self(1, 5, 3)).then_some("1.5.3")
    }

    /// Returns the release since which the labeller writes the `cpu-model-migration` label of each model that libvirt
    /// knows; `None` if the labeller of this release does.
    ///
    /// Mirrors `prepareLabels` of `pkg/virt-handler/node-labeller/node_labeller.go`: the host model and usable models
    /// until 1.6.3, `getKnownCpuModels` since 1.6.4.
    pub(crate) fn labels_known_models_in(self) -> Option<&'static str> {
        (self.inherits_host_model() && self < Self(1, 6, 4)).then_some("1.6.4")
    }

    /// Whether a launcher requests a device for SCSI persistent reservation.
    ///
    /// Mirrors `WithPersistentReservation` of `pkg/virt-controller/services/renderresources.go`, since 1.0.0.
    pub(crate) fn requests_reservation_device(self) -> bool {
        self >= Self(1, 0, 0)
    }

    /// Whether devices may be from resource claims, so that only those without a claim are requested by name.
    ///
    /// Mirrors `WithGPUsDevicePlugins` and `WithHostDevicesDevicePlugins` of
    /// `pkg/virt-controller/services/renderresources.go`, since 1.6.0.
    pub(crate) fn has_resource_claims(self) -> bool {
        self >= Self(1, 6, 0)
    }

    /// Whether a launcher requests a device for Intel TDX, and one for IOMMUFD with its feature gate.
    ///
    /// Mirrors `WithTDX` and `WithIOMMUFD` of `pkg/virt-controller/services/renderresources.go`, since 1.9.0.
    pub(crate) fn requests_tdx_and_iommufd(self) -> bool {
        self >= Self(1, 9, 0)
    }

    /// Whether `launchSecurity` has `snp` and `tdx`: launchers select their labels, and guests with them are not
    /// migrated.
    ///
    /// Mirrors `WithSEVSNPSelector` and `WithTDXSelector` of `pkg/virt-controller/services/nodeselectorrenderer.go`,
    /// and `IsSEVVMI` and `IsTDXVMI` of `pkg/util/amd64.go`, since 1.7.0.
    pub(crate) fn knows_snp_and_tdx(self) -> bool {
        self >= Self(1, 7, 0)
    }

    /// Whether KubeVirt refuses a guest of arm64 with this CPU model.
    ///
    /// Mirrors `validateCPUModel` of `pkg/virt-api/webhooks/arm64.go`: until 1.5, host-model alone is refused.
    pub(crate) fn refuses_on_arm(self, model: &str) -> bool {
        match model {
            "" | "host-passthrough" => false,
            "host-model" => true,
            _ => self >= Self(1, 6, 0),
        }
    }

    /// Whether launchers have the label `vmi.kubevirt.io/id`, and `sidecar.istio.io/inject` if the guest is annotated
    /// with it.
    ///
    /// Mirrors `podLabels` of `pkg/virt-controller/services/template.go`, since 1.7.0.
    pub(crate) fn labels_launchers_by_id(self) -> bool {
        self >= Self(1, 7, 0)
    }

    /// Whether s390x guests with `launchSecurity` use Secure Execution: their launchers select `kubevirt.io/s390-pv`,
    /// and they are not migrated.
    ///
    /// Mirrors `WithSecureExecutionSelector` of `pkg/virt-controller/services/nodeselectorrenderer.go`, and
    /// `IsSecureExecutionVMI` of `pkg/util/s390x.go`, since 1.6.0.
    pub(crate) fn knows_secure_execution(self) -> bool {
        self >= Self(1, 6, 0)
    }

    /// Whether the feature gate `CrossArchitectureVirtualization` exists.
    ///
    /// Mirrors `CrossArchitectureVirtualizationEnabled` of `pkg/virt-config/feature-gates.go`, since 1.9.0.
    pub(crate) fn crosses_architectures(self) -> bool {
        self >= Self(1, 9, 0)
    }

    /// Whether launchers select `kubevirt.io/cpumanager` instead of `cpumanager`.
    ///
    /// Mirrors `CPUManager` of `staging/src/kubevirt.io/api/core/v1/types.go`, renamed in 1.8.0.
    pub(crate) fn renamed_cpumanager(self) -> bool {
        self >= Self(1, 8, 0)
    }

    /// Whether a target pod selects the source's CPU vendor.
    ///
    /// Mirrors `getCPUVendorLabelKey` of `pkg/virt-controller/watch/migration/migration.go`, since 1.6.4 and 1.7.1.
    pub(crate) fn selects_vendor(self) -> bool {
        self >= Self(1, 6, 4) && self != Self(1, 7, 0)
    }

    /// Whether target pods select `cpu-model-migration`, and later ones inherit it; earlier releases select
    /// `host-model-cpu`.
    ///
    /// Mirrors `prepareNodeSelectorForHostCpuModel` of `pkg/virt-controller/watch/migration/migration.go`, since 0.54.0
    /// (then in `pkg/virt-controller/watch/migration.go`).
    pub(crate) fn inherits_host_model(self) -> bool {
        self >= Self(0, 54, 0)
    }

    /// Whether `spec.addedNodeSelector` of a migration is honoured, and decentralized migration exists.
    ///
    /// Mirrors `createTargetPod` of `pkg/virt-controller/watch/migration/migration.go`, since 1.6.0.
    pub(crate) fn has_added_node_selector(self) -> bool {
        self >= Self(1, 6, 0)
    }

    /// Whether a missing host-model label on the source is ignored instead of stopping the migration.
    ///
    /// Mirrors `createTargetPod` of `pkg/virt-controller/watch/migration/migration.go`: since 1.6.0, a second variable
    /// `err` hides the error of `prepareNodeSelectorForHostCpuModel`.
    pub(crate) fn overlooks_missing_host_model(self) -> bool {
        self >= Self(1, 6, 0)
    }

    /// Whether the architecture of a VirtualMachine that names none comes from its DataSource.
    ///
    /// Mirrors `setDefaultArchitectureFromDataSource` of `pkg/defaults/defaults.go`, since 1.6.4.
    pub(crate) fn reads_architecture_of_data_source(self) -> bool {
        self >= Self(1, 6, 4)
    }

    /// Whether the architecture of a VirtualMachine that names none comes from its preference.
    ///
    /// Mirrors `PreferredArchitecture` in `pkg/instancetype/preference/apply/architecture.go`, since 1.7.0.
    pub(crate) fn reads_preferred_architecture(self) -> bool {
        self >= Self(1, 7, 0)
    }

    /// Whether a change of a VM's node selector or node affinity reaches its running guest.
    ///
    /// Mirrors `handleAffinityChangeRequest` of `pkg/virt-controller/watch/vm/vm.go` (`watch/vm.go` until 1.3). 1.1
    /// asks for `spec.liveUpdateFeatures.affinity` of the VM (`opts_in`). Since 1.2.0, `sync` asks
    /// `IsVMRolloutStrategyLiveUpdate` of `pkg/virt-config/virt-config.go`, which requires the feature gate
    /// `VMLiveUpdateFeatures` until 1.4 and permits an unset strategy since 1.6.0.
    pub(crate) fn updates_live(self, config: &ClusterConfig, opts_in: bool) -> bool {
        let strategy = config.configuration.vm_rollout_strategy.as_str();
        if self < Self(1, 2, 0) {
            self >= Self(1, 1, 0) && opts_in
        } else if self < Self(1, 6, 0) {
            strategy == "LiveUpdate" && (self >= Self(1, 5, 0) || config.gate("VMLiveUpdateFeatures"))
        } else {
            matches!(strategy, "" | "LiveUpdate")
        }
    }

    /// Whether a change of a VM's tolerations reaches its running guest. Mirrors `handleTolerationsChangeRequest` of
    /// `pkg/virt-controller/watch/vm/vm.go`.
    pub(crate) fn updates_tolerations_live(self, config: &ClusterConfig) -> bool {
        self >= Self(1, 4, 0) && self.updates_live(config, false)
    }

    /// Whether the lowest TSC frequency is that of nodes which are schedulable or run guests, not of all nodes:
    /// `LowestTSCFrequencyOnCluster` of `pkg/virt-controller/watch/topology/hinter.go`, since 1.0.1.
    pub(crate) fn leaves_out_unschedulable_tsc(self) -> bool {
        self >= Self(1, 0, 1)
    }

    /// Whether the feature gate of SEV is on by default (`pkg/virt-config/featuregate/active.go`: Beta).
    pub(crate) fn encrypts_by_default(self) -> bool {
        self >= Self(1, 9, 0)
    }

    /// Whether guests can be migrated between clusters and namespaces: `spec.receive` and `spec.sendTo` of a migration,
    /// `WaitAsReceiver`.
    pub(crate) fn has_decentralized_migration(self) -> bool {
        self >= Self(1, 6, 0)
    }

    /// Whether the feature gate of decentralized migration is off by default (`pkg/virt-config/featuregate/active.go`:
    /// Alpha).
    pub(crate) fn gates_decentralized_migration(self) -> bool {
        self <= Self(1, 9, u16::MAX)
    }

    /// Whether virt-handler checks a guest's volumes before all else that keeps it from migrating.
    ///
    /// Mirrors `calculateLiveMigrationCondition` of `pkg/virt-handler/vm.go`: until 1.5.
    pub(crate) fn checks_volumes_first(self) -> bool {
        self < Self(1, 6, 0)
    }

    /// Whether a guest with one mediated GPU may migrate, with the feature gate `VGPULiveMigration`.
    ///
    /// Mirrors `vmiContainsNonMigratablePCIHostDevices` of `pkg/virt-handler/vm.go`, since 1.9.0.
    pub(crate) fn may_migrate_gpus(self) -> bool {
        self >= Self(1, 9, 0)
    }

    /// Whether guests with `hypervPassthrough` are not migrated.
    ///
    /// Mirrors `calculateLiveMigrationCondition` of `pkg/virt-handler/vm.go`, since 1.3.0.
    pub(crate) fn refuses_hyperv_passthrough(self) -> bool {
        self >= Self(1, 3, 0)
    }

    /// Whether guests with virtiofs are not migrated.
    ///
    /// Mirrors `calculateLiveMigrationCondition` of `pkg/virt-handler/vm.go`: until 1.4.
    pub(crate) fn refuses_virtiofs(self) -> bool {
        Self(1, 0, 0) <= self && self < Self(1, 5, 0)
    }

    /// Whether guests with a SCSI persistent reservation are not migrated.
    ///
    /// Mirrors `calculateLiveMigrationCondition` of `pkg/virt-handler/vm.go`: until 1.8.
    pub(crate) fn refuses_persistent_reservation(self) -> bool {
        Self(1, 0, 0) <= self && self < Self(1, 9, 0)
    }

    /// Whether launchers keep away from those that reserve the same claim.
    ///
    /// Mirrors `setPersistentReservationAntiAffinity` of `pkg/virt-controller/services/template.go`, since 1.9.0.
    pub(crate) fn spreads_reservations(self) -> bool {
        self >= Self(1, 9, 0)
    }

    /// Whether it is known which bindings on the pod network keep a guest from migrating.
    ///
    /// Mirrors `checkNetworkInterfacesForMigration` of `pkg/virt-handler/vm.go`: since 1.0.0.
    pub(crate) fn checks_interfaces(self) -> bool {
        self >= Self(1, 0, 0)
    }

    /// Whether guests with a network binding plugin may migrate.
    ///
    /// Mirrors `VerifyVMIMigratable` of `pkg/network/vmispec/interface.go`, since 1.2.0.
    pub(crate) fn may_migrate_plugins(self) -> bool {
        self >= Self(1, 2, 0)
    }

    /// Whether guests with `passtBinding` migrate, and those without an interface on their pod network do not.
    ///
    /// Mirrors `VerifyVMIMigratable` of `pkg/network/vmispec/interface.go`, since 1.8.0.
    pub(crate) fn asks_for_a_pod_interface(self) -> bool {
        self >= Self(1, 8, 0)
    }

    /// Whether `preferredLaunchSecurity` of a preference is honoured.
    ///
    /// Mirrors `PreferredLaunchSecurity` in `pkg/instancetype/preference/apply/launchsecurity.go`, since 1.9.0.
    pub(crate) fn reads_preferred_launch_security(self) -> bool {
        self >= Self(1, 9, 0)
    }

    /// Whether a ControllerRevision in the status of a VirtualMachine counts only if it is a copy of the object named
    /// in its spec.
    ///
    /// Mirrors `Find` of `pkg/instancetype/find/revision.go` and `FindPreference` of
    /// `pkg/instancetype/preference/find/revision.go`, since 1.5.2.
    pub(crate) fn compares_revision_name(self) -> bool {
        self >= Self(1, 5, 2)
    }
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
    const RELEASES: [&str; 25] = [
        "0.54.0", "0.58.0", "0.59.0", "1.0.0", "1.0.1", "1.1.0", "1.1.1", "1.2.0", "1.2.2", "1.3.0", "1.3.1", "1.4.0",
        "1.4.1", "1.5.0", "1.5.1", "1.5.2", "1.5.3", "1.6.0", "1.6.3", "1.6.4", "1.6.6", "1.7.0", "1.7.4", "1.8.4",
        "1.9.0",
    ];

    #[rstest]
    #[case::obsolete_host_models(Release::avoids_obsolete_host_models, "0.59.0")]
    #[case::architectures(Release::selects_arch, "1.0.0")]
    #[case::names_of_revisions(Release::compares_revision_name, "1.5.2")]
    #[case::reservation_devices(Release::requests_reservation_device, "1.0.0")]
    #[case::resource_claims(Release::has_resource_claims, "1.6.0")]
    #[case::tdx_and_iommufd(Release::requests_tdx_and_iommufd, "1.9.0")]
    #[case::secure_execution(Release::knows_secure_execution, "1.6.0")]
    #[case::added_node_selectors(Release::has_added_node_selector, "1.6.0")]
    #[case::decentralized_migration(Release::has_decentralized_migration, "1.6.0")]
    #[case::data_sources(Release::reads_architecture_of_data_source, "1.6.4")]
    #[case::preferred_architectures(Release::reads_preferred_architecture, "1.7.0")]
    #[case::launcher_ids(Release::labels_launchers_by_id, "1.7.0")]
    #[case::snp_and_tdx(Release::knows_snp_and_tdx, "1.7.0")]
    #[case::crossed_architectures(Release::crosses_architectures, "1.9.0")]
    #[case::preferred_launch_security(Release::reads_preferred_launch_security, "1.9.0")]
    fn a_rule_applies_from_a_release_on(#[case] rule: fn(Release) -> bool, #[case] first: &str) {
        let first = Release::parse(first).expect("a release");
        let applies = |text: &&str| Release::parse(text).is_some_and(rule);
        let (with, without): (Vec<&str>, Vec<&str>) = RELEASES.iter().partition(|text| applies(text));
        assert!(
            with.iter().all(|text| Release::parse(text) >= Some(first))
                && without.iter().all(|text| Release::parse(text) < Some(first)),
            "guests of another release are judged by this rule: it applies to {with:?}"
        );
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
            .extend(gate.then(|| "VMLiveUpdateFeatures".to_owned()));
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
