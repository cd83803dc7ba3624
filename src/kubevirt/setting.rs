//! Settings of a guest's specification from which requirements of its launcher follow, and the origins of the settings.

/// A setting of a guest's specification, or outside it, from which a requirement of its launcher follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setting {
    /// KubeVirt's requirement of every launcher.
    KubeVirt,
    /// KubeVirt's requirement of the target of a migration from another cluster or namespace.
    Receiver,
    /// `developerConfiguration.nodeSelectors` of the KubeVirt custom resource.
    ClusterSelector {
        /// Whether an operator writes that resource from a HyperConverged resource.
        by_hyperconverged: bool,
    },
    /// `architecture`.
    Architecture,
    /// `nodeSelector`.
    NodeSelector,
    /// `domain.cpu.dedicatedCpuPlacement`.
    DedicatedCpus,
    /// A setting below `domain.features.hyperv`.
    HyperV(&'static str),
    /// `domain.cpu.model`.
    Model,
    /// A required feature of `domain.cpu.features`, by name.
    Feature(String),
    /// A forbidden feature, by name.
    Forbidden(String),
    /// `domain.machine.type`.
    MachineType,
    /// `domain.cpu.realtime`.
    Realtime,
    /// `domain.launchSecurity`.
    LaunchSecurity,
    /// `spec.addedNodeSelector` of a migration.
    Added,
    /// The selector of the launcher that the guest runs in.
    Inherited,
    /// Labels of the node that the guest runs on.
    SourceNode,
}

/// The origin of a setting that the object itself does not state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingOrigin {
    /// The instancetype.
    Instancetype,
    /// The preference.
    Preference,
    /// A DataSource: its namespace and name.
    DataSource(String, String),
    /// A field of the KubeVirt custom resource, below `spec.configuration`.
    Configuration(&'static str),
    /// A field of the same resource, where an operator writes it from a HyperConverged resource.
    HyperConverged(&'static str),
    /// KubeVirt's built-in default, with the field that overrides it.
    BuiltIn(Option<&'static str>),
    /// A field of its `status`, which virt-operator sets.
    Status {
        /// The field.
        field: &'static str,
        /// Whether an operator writes that resource from a HyperConverged resource.
        by_hyperconverged: bool,
    },
    /// A Hyper-V setting that depends on this one.
    HyperV(&'static str),
    /// The common model of a policy.
    Policy(String),
}

/// The settings that were filled in, with their origins. For repeated settings, the last entry counts.
pub(crate) type Origins = Vec<(Setting, SettingOrigin)>;
