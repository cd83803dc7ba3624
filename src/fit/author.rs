//! Who asks for what a launcher pod requires of a node: each entry of its selector, each rule of its required node affinity.

use std::collections::BTreeMap;

use super::placement::{AffinityRule, Expression};

/// An object that has a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// Who asks for a requirement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Author {
    /// A field of the guest's own specification, as it stands in this object.
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
    /// The same where an operator writes that resource, by a HyperConverged resource.
    HyperConverged(&'static str),
    /// KubeVirt's own default, and the field below `spec.configuration` that would take its place, where there is one.
    BuiltIn(Option<&'static str>),
    /// A Hyper-V setting that asks for more than itself, and who asks for that setting.
    HyperV {
        /// The setting: `evmcs`.
        setting: &'static str,
        /// Who asks for it.
        author: Box<Author>,
    },
    /// The common model of a CPUPolicy.
    Policy(String),
    /// `spec.addedNodeSelector` of the migration.
    AddedNodeSelector,
    /// Labels of this node, where the guest runs: its host model at the first migration, its vendor at each.
    SourceNode(String),
    /// An earlier migration: the launcher that the guest runs in had it already, and the guest itself does not ask for it.
    Inherited,
    /// KubeVirt asks it of every launcher, or of every one with this CPU mode.
    KubeVirt,
}

/// An instancetype or a preference.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TypeReference {
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The field of it that asks, as a path below `spec`.
    pub field: &'static str,
}

impl TypeReference {
    /// `preference` or `instancetype`, whatever the case in which the VM spells its kind.
    #[must_use]
    pub fn what(&self) -> &'static str {
        if self.kind.to_ascii_lowercase().contains("preference") { "preference" } else { "instancetype" }
    }
}

/// Who asks, and where that stands in the judged object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskedAt {
    /// Who asks.
    pub author: Author,
    /// A path in the judged object that leads there: a field that it has. Empty where none does.
    pub field: String,
}

/// The authors of all that a launcher pod requires of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Authors {
    /// Who asked for each entry of the selector, by key.
    pub entries: BTreeMap<String, AskedAt>,
    /// Who asked for each condition that KubeVirt adds to the required node affinity.
    pub rules: Vec<(Expression, AskedAt)>,
    /// Who asked for the rest of the required node affinity, which is the guest's own.
    pub affinity: Option<AskedAt>,
    /// Who set the CPU mode: host-model and host-passthrough add no selector entries at start.
    pub mode: Option<AskedAt>,
}

impl Authors {
    /// Who asks for a selector entry; `None` where it is not known.
    #[must_use]
    pub(crate) fn of_entry(&self, key: &str) -> Option<&AskedAt> {
        self.entries.get(key)
    }

    /// Who asks for an expression of the required node affinity; `None` where it is not known.
    #[must_use]
    pub(crate) fn of_expression(&self, expression: &Expression) -> Option<&AskedAt> {
        let added = self.rules.iter().find(|(rule, _)| rule == expression).map(|(_, asked)| asked);
        added.or(self.affinity.as_ref())
    }

    /// Who asks for a condition of the required node affinity; `None` where it is not known.
    #[must_use]
    pub(crate) fn of_rule(&self, rule: &AffinityRule) -> Option<&AskedAt> {
        match rule {
            AffinityRule::Label(expression) => self.of_expression(expression),
            AffinityRule::Name(_) | AffinityRule::NoTerm => self.affinity.as_ref(),
        }
    }
}
