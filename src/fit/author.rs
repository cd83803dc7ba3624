//! The authors of a launcher pod's node requirements: of each entry of its selector and each rule of its
//! required node affinity.

use std::collections::BTreeMap;

use super::placement::{AffinityRule, Expression};

/// The kind of object that holds a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Holder {
    /// The VirtualMachine.
    VirtualMachine,
    /// The VirtualMachineInstance.
    VirtualMachineInstance,
    /// The `VirtualMachineInstanceReplicaSet`.
    ReplicaSet,
    /// The `VirtualMachinePool`.
    Pool,
}

/// The author of a requirement.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Author {
    /// A field of the guest's own specification, as found in this object.
    Field {
        /// The object.
        of: Holder,
        /// The field's path in it.
        path: String,
    },
    /// An instancetype that the VirtualMachine names.
    Instancetype(TypeReference),
    /// A preference that the VirtualMachine names.
    Preference(TypeReference),
    /// A DataSource that the VirtualMachine boots from.
    DataSource {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// A field of the KubeVirt custom resource, as a path below `spec.configuration`.
    Configuration(&'static str),
    /// A field of that resource, set by the HyperConverged resource that manages it.
    HyperConverged(&'static str),
    /// KubeVirt's own default, and the field below `spec.configuration` that overrides it, if there is one.
    BuiltIn(Option<&'static str>),
    /// A field of the `status` of the KubeVirt custom resource.
    Status {
        /// The field, and its name below `spec.configuration.architectureConfiguration`, which overrides it.
        field: &'static str,
        /// Whether an operator writes that resource from a HyperConverged resource.
        by_hyperconverged: bool,
    },
    /// A Hyper-V setting that implies further requirements, and the author of that setting.
    HyperV {
        /// The setting, such as `evmcs`.
        setting: &'static str,
        /// The author of the setting.
        author: Box<Author>,
    },
    /// The policy `forbid` of a CPU feature, and its author: the condition that KubeVirt derives from it.
    Forbid(Box<Self>),
    /// CPU mode host-model, and its author: the condition that KubeVirt gives every such guest.
    HostModel(Box<Self>),
    /// KubeVirt, of the target of a migration from another cluster or namespace.
    Receiver,
    /// The common model of a CPUPolicy.
    Policy(String),
    /// `spec.addedNodeSelector` of the migration.
    AddedNodeSelector,
    /// Labels of this node, on which the guest runs: its host model at the first migration, its vendor at
    /// each.
    SourceNode(String),
    /// An earlier migration: the current launcher already had the requirement, and the guest's specification
    /// does not.
    Inherited,
    /// The launcher pod that waits for a node: KubeVirt would not give it the requirement now.
    LauncherPod,
    /// KubeVirt, which adds the requirement to every launcher, or to every launcher with this CPU mode.
    KubeVirt,
}

impl Author {
    /// Returns the author of the setting from which KubeVirt derives a condition; itself for any other author.
    pub(crate) fn of_setting(&self) -> &Self {
        match self {
            Self::Forbid(author) | Self::HostModel(author) => author,
            other => other,
        }
    }

    /// Whether it sets a default of the cluster, of KubeVirt or of the guest's status: the guest's own specification
    /// takes precedence.
    pub(crate) fn is_default(&self) -> bool {
        matches!(self, Self::Configuration(_) | Self::HyperConverged(_) | Self::BuiltIn(_) | Self::Status { .. })
    }

    /// Whether it sets a requirement of all guests, and no default that a guest can replace.
    pub(crate) fn is_of_all_guests(&self) -> bool {
        let is_of_all = |field: &str| field.starts_with("developerConfiguration.");
        matches!(self, Self::Configuration(field) | Self::HyperConverged(field) if is_of_all(field))
    }
}

/// An instancetype or a preference.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TypeReference {
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The field that sets the requirement, as a path below `spec`.
    pub field: &'static str,
    /// The ControllerRevision that has the field, if the object has changed since; empty otherwise.
    pub revision: Box<str>,
    /// Whether `revisionName` beside its name pins the guest to a ControllerRevision.
    pub is_pinned: bool,
}

impl TypeReference {
    /// Returns `preference` or `instancetype`, regardless of the case in which the VM spells the kind.
    #[must_use]
    pub fn what(&self) -> &'static str {
        if self.kind.to_ascii_lowercase().contains("preference") { "preference" } else { "instancetype" }
    }
}

/// The author of a requirement, and the corresponding field of the judged object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AskedAt {
    /// The author.
    pub author: Author,
    /// The path of a field in the judged object that leads to the requirement. Empty without such a field.
    pub field: String,
}

/// The authors of all node requirements of a launcher pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Authors {
    /// The author of each selector entry, by key.
    pub entries: BTreeMap<String, AskedAt>,
    /// The author of each condition that KubeVirt adds to the required node affinity.
    pub rules: BTreeMap<Expression, AskedAt>,
    /// The author of the rest of the required node affinity, which is the guest's own.
    pub affinity: Option<AskedAt>,
    /// The author of the CPU mode: host-model and host-passthrough add no selector entries at start.
    pub mode: Option<AskedAt>,
}

impl Authors {
    /// Returns the author of a selector entry; `None` if it is not known.
    pub(crate) fn of_entry(&self, key: &str) -> Option<&AskedAt> {
        self.entries.get(key)
    }

    /// Returns the author of an expression of the required node affinity; `None` if it is not known.
    fn of_expression(&self, expression: &Expression) -> Option<&AskedAt> {
        self.rules.get(expression).or(self.affinity.as_ref())
    }

    /// Returns the author of a condition of the required node affinity; `None` if it is not known.
    pub(crate) fn of_rule(&self, rule: &AffinityRule) -> Option<&AskedAt> {
        match rule {
            AffinityRule::Label(expression) => self.of_expression(expression),
            AffinityRule::Name(_) | AffinityRule::NoTerm => self.affinity.as_ref(),
        }
    }
}
