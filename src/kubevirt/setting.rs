//! What in a guest's specification a requirement of its launcher follows from, and where that comes from.

/// What in a guest's specification, or beside it, a requirement of its launcher follows from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setting {
    /// KubeVirt asks it of every launcher.
    KubeVirt,
    /// `developerConfiguration.nodeSelectors` of the KubeVirt custom resource.
    ClusterSelector,
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
    /// A feature of `domain.cpu.features` that is required, by name.
    Feature(String),
    /// One that is forbidden.
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

/// Where a setting comes from that does not stand in the object itself.
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
    /// The same where an operator writes that resource, by a HyperConverged resource.
    HyperConverged(&'static str),
    /// KubeVirt's own default; the field that would take its place.
    BuiltIn(Option<&'static str>),
    /// A Hyper-V setting that depends on it.
    HyperV(&'static str),
    /// The common model of a policy.
    Policy(String),
}

/// The settings that were filled in, and from where. The last that filled one in counts.
pub(crate) type Origins = Vec<(Setting, SettingOrigin)>;
