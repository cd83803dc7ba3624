//! KubeVirt's configuration, as far as it affects a guest.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::fit::placement::Placement;

/// KubeVirt's configuration and release, as far as they affect the guest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configured {
    /// The list of obsolete CPU models, if it affects the guest.
    pub obsolete: Option<ObsoleteModels>,
    /// The models that the guest requires and a list withholds, with the list.
    pub required: Vec<(String, Obsolete)>,
    /// The models that the list withholds: none of them is proposed for the guest.
    pub withheld: Arc<BTreeSet<String>>,
    /// Whether the list is known, so that a model which is not in `withheld` is not in the list.
    pub list: ListKnown,
    /// The placement of virt-handler, if it is known.
    pub workloads: Option<Workloads>,
    /// The first release whose labeller gives capability labels the value that the cluster's KubeVirt selects;
    /// `None` if the cluster's does so already, or the release is not known.
    pub fixed_in: Option<&'static str>,
    /// The first release whose labeller gives each node the `cpu-model-migration` label of each model that libvirt
    /// knows; `None` if the cluster's does so already, or the release is not known.
    pub known_models_in: Option<&'static str>,
    /// Whether KubeVirt's feature gate `CPUManager` is known to be off: virt-handler then labels each node as one
    /// without CPU manager, whatever its kubelet does (`do` of `pkg/virt-handler/heartbeat/heartbeat.go`).
    pub cpu_manager_is_off: bool,
    /// The limit of parallel migrations that is 0, so that the running guest gets no target pod; `None` if KubeVirt
    /// creates one, or has created it.
    pub migrations_off: Option<MigrationLimit>,
    /// Whether an operator writes the KubeVirt custom resource from a HyperConverged resource, and undoes other edits.
    pub by_hyperconverged: bool,
}

/// A limit of parallel migrations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MigrationLimit {
    /// The field below `spec.configuration.migrations` of the KubeVirt custom resource.
    pub field: &'static str,
    /// Whether an operator writes it from a HyperConverged resource: from a field of this name below
    /// `spec.liveMigrationConfig`.
    pub by_hyperconverged: bool,
}

/// A list of obsolete models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obsolete {
    /// The list of the KubeVirt custom resource.
    Configured,
    /// The list of the KubeVirt custom resource, which a HyperConverged resource manages.
    HyperConverged,
    /// The list of the KubeVirt custom resource, which holds only this model, and the list that is built into KubeVirt
    /// and counts if the former is empty.
    Both,
    /// The list built into KubeVirt.
    BuiltIn,
    /// The list built into KubeVirt, whose models the operator of a HyperConverged resource lists by itself.
    AlwaysListed,
}

/// The part of KubeVirt's list of obsolete CPU models that keeps the guest off nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObsoleteModels {
    /// The listed models that the guest requires, or that are the host model of nodes which it avoids, by
    /// name.
    pub models: Vec<String>,
    /// The edits that make the list exclude them, by name: true to add the name, false to remove it.
    pub edits: Vec<(String, bool)>,
    /// The other models that people listed, which a HyperConverged resource has to list after the edits.
    pub rest: Vec<String>,
    /// The object that holds the list.
    pub owner: ListOwner,
}

/// The object that holds KubeVirt's configuration, including its list of obsolete CPU models.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ListOwner {
    /// The KubeVirt custom resource.
    KubeVirt {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// A HyperConverged resource, whose operator writes the KubeVirt resource and reverts other edits of it.
    HyperConverged {
        /// Its namespace, which is KubeVirt's.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// The owner is not known.
    #[default]
    Unknown,
}

/// Whether the configured list of obsolete CPU models is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListKnown {
    /// The KubeVirt resource is known, with a list or without one.
    Known,
    /// No KubeVirt resource is known.
    #[default]
    Unknown,
}

/// The placement of virt-handler: `spec.workloads.nodePlacement` of the KubeVirt custom resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workloads {
    /// Its node selector, required node affinity and tolerations.
    pub placement: Placement<'static>,
    /// Whether an operator writes it from a HyperConverged resource.
    pub by_hyperconverged: bool,
}
