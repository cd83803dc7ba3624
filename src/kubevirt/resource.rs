//! The API resources that are read, in one table. Watches, dumps, reviews, arguments, Events and the RBAC rules in
//! `deploy/` take names and versions from it.

use std::fmt;

/// A resource that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Resource {
    /// Nodes.
    Nodes,
    /// Namespaces.
    Namespaces,
    /// Pods; launchers only.
    Pods,
    /// `VirtualMachine`s.
    VirtualMachines,
    /// `VirtualMachineInstanceReplicaSet`s.
    ReplicaSets,
    /// `VirtualMachinePool`s.
    Pools,
    /// `VirtualMachineInstance`s.
    Vmis,
    /// `VirtualMachineInstanceMigration`s.
    Migrations,
    /// The KubeVirt custom resource.
    KubeVirts,
    /// `CPUPolicy` objects.
    Policies,
    /// Instancetypes of a namespace.
    Instancetypes,
    /// Instancetypes of the cluster.
    ClusterInstancetypes,
    /// Preferences of a namespace.
    Preferences,
    /// Preferences of the cluster.
    ClusterPreferences,
    /// `ControllerRevision`s of instancetypes and preferences.
    Revisions,
    /// `DataSource`s of CDI.
    DataSources,
    /// `PersistentVolumeClaim`s.
    Claims,
    /// `PersistentVolume`s.
    Volumes,
    /// `DataVolume`s of CDI.
    DataVolumes,
    /// `VolumeSnapshot`s.
    VolumeSnapshots,
    /// `PodDisruptionBudget`s.
    Budgets,
}

/// The names of a resource in the API and in kubectl.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResourceNames {
    /// The API group; empty for the core.
    pub group: &'static str,
    /// The version that is read, followed by other versions of the same shape that are reviewed.
    pub versions: &'static [&'static str],
    /// The kind.
    pub kind: &'static str,
    /// The plural, as in URL paths and RBAC rules.
    pub plural: &'static str,
    /// Short names; messages use the first.
    pub short: &'static [&'static str],
}

/// The location of a resource's objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// In no namespace.
    Cluster,
    /// In the namespace of the guests they affect.
    Guests,
    /// In a namespace that may differ from the guests'.
    Namespace,
}

/// The degree to which judgements need a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Guests cannot be judged without it.
    Required,
    /// Guests can be judged without it, less exactly.
    Dispensable,
    /// Guests can be judged without it, less exactly; CLI verbs read it if they have permission, and the webhook never
    /// does.
    OfVerbs,
    /// Like `OfVerbs`, and reported in the verdict of each guest that needs a missing object, not once for the whole
    /// run.
    Sought,
}

const KUBEVIRT: &str = "kubevirt.io";
const TYPES: &str = "instancetype.kubevirt.io";

impl Resource {
    /// All resources that judgements depend on.
    pub const ALL: [Self; 20] = [
        Self::Nodes,
        Self::Namespaces,
        Self::Pods,
        Self::VirtualMachines,
        Self::ReplicaSets,
        Self::Pools,
        Self::Vmis,
        Self::Migrations,
        Self::KubeVirts,
        Self::Policies,
        Self::Instancetypes,
        Self::ClusterInstancetypes,
        Self::Preferences,
        Self::ClusterPreferences,
        Self::Revisions,
        Self::DataSources,
        Self::Claims,
        Self::Volumes,
        Self::DataVolumes,
        Self::VolumeSnapshots,
    ];

    /// The resources of which a drain reads all objects: for free room, and for evictions that are refused.
    pub const OF_DRAINS: [Self; 3] = [Self::Nodes, Self::Pods, Self::Budgets];

    /// The watched resources. CLI verbs list all.
    pub const WATCHED: [Self; 16] = {
        let mut watched = [Self::Nodes; 16];
        let (mut at, mut next) = (0, 0);
        while at < Self::ALL.len() {
            if matches!(Self::ALL[at].row().2, Need::Required | Need::Dispensable) {
                watched[next] = Self::ALL[at];
                next += 1;
            }
            at += 1;
        }
        watched
    };

    /// Returns the row of the table: names, scope, need, and the purpose of reading it.
    #[rustfmt::skip]
    const fn row(self) -> (ResourceNames, Scope, Need, &'static str) {
        use Need::{Dispensable, OfVerbs, Required, Sought};
        use Scope::{Cluster, Guests, Namespace};
        const fn names(
            group: &'static str, versions: &'static [&'static str], kind: &'static str, plural: &'static str,
            short: &'static [&'static str],
        ) -> ResourceNames {
            ResourceNames { group, versions, kind, plural, short }
        }
        match self {
            Self::Nodes => (names("", &["v1"], "Node", "nodes", &["node", "no"]), Cluster, Required,
                "labels, taints, cordon"),
            Self::Namespaces => (names("", &["v1"], "Namespace", "namespaces", &["ns"]), Cluster, Dispensable,
                "labels by which policies select guests"),
            Self::Pods => (names("", &["v1"], "Pod", "pods", &["pod", "po"]), Guests, Required,
                "launchers: where a guest runs, and what its pod asks of a node"),
            Self::VirtualMachines => (names(KUBEVIRT, &["v1"], "VirtualMachine", "virtualmachines", &["vm", "vms"]), Guests, Required,
                "guests that are stopped, and how those that run start again"),
            Self::ReplicaSets => (names(KUBEVIRT, &["v1"], "VirtualMachineInstanceReplicaSet", "virtualmachineinstancereplicasets",
                &["vmirs", "vmirss"]), Guests, Dispensable, "templates of guests"),
            // The version served by every release with pools; 1.9 serves v1beta1 as well.
            Self::Pools => (names("pool.kubevirt.io", &["v1alpha1", "v1beta1"], "VirtualMachinePool", "virtualmachinepools",
                &["vmpool", "vmpools"]), Guests, Dispensable, "templates of guests"),
            Self::Vmis => (names(KUBEVIRT, &["v1"], "VirtualMachineInstance", "virtualmachineinstances", &["vmi", "vmis"]), Guests, Required,
                "guests that run"),
            Self::Migrations => (names(KUBEVIRT, &["v1"], "VirtualMachineInstanceMigration", "virtualmachineinstancemigrations",
                &["vmim", "vmims"]), Guests, Required, "labels that a migration adds, and whose target a pod is"),
            Self::KubeVirts => (names(KUBEVIRT, &["v1"], "KubeVirt", "kubevirts", &["kv", "kvs"]), Namespace, Dispensable,
                "configuration and release"),
            Self::Policies => (names("cpufit.io", &["v1alpha1"], "CPUPolicy", "cpupolicies", &["cpupol"]), Cluster, Dispensable,
                "policies"),
            Self::Instancetypes => (names(TYPES, &["v1beta1"], "VirtualMachineInstancetype", "virtualmachineinstancetypes",
                &["vminstancetype", "vminstancetypes", "vmf", "vmfs"]), Guests, Dispensable, "CPU models of guests"),
            Self::ClusterInstancetypes => (names(TYPES, &["v1beta1"], "VirtualMachineClusterInstancetype",
                "virtualmachineclusterinstancetypes", &["vmclusterinstancetype", "vmclusterinstancetypes", "vmcf", "vmcfs"]),
                Cluster, Dispensable, "CPU models of guests"),
            Self::Preferences => (names(TYPES, &["v1beta1"], "VirtualMachinePreference", "virtualmachinepreferences",
                &["vmpref", "vmprefs", "vmp", "vmps"]), Guests, Dispensable, "CPU features and machine types of guests"),
            Self::ClusterPreferences => (names(TYPES, &["v1beta1"], "VirtualMachineClusterPreference",
                "virtualmachineclusterpreferences", &["vmcp", "vmcps"]), Cluster, Dispensable, "CPU features and machine types of guests"),
            Self::Revisions => (names("apps", &["v1"], "ControllerRevision", "controllerrevisions", &[]), Guests, Dispensable,
                "instancetypes and preferences as they were when a guest was made"),
            Self::DataSources => (names("cdi.kubevirt.io", &["v1beta1"], "DataSource", "datasources", &["das"]), Namespace, Dispensable,
                "the architecture of what guests boot from"),
            Self::Claims => (names("", &["v1"], "PersistentVolumeClaim", "persistentvolumeclaims", &["pvc"]), Guests, OfVerbs,
                "which volumes guests have, and the instancetypes and preferences inferred from them"),
            Self::Volumes => (names("", &["v1"], "PersistentVolume", "persistentvolumes", &["pv"]), Cluster, OfVerbs,
                "on which nodes a volume can be used"),
            Self::DataVolumes => (names("cdi.kubevirt.io", &["v1beta1"], "DataVolume", "datavolumes", &["dv", "dvs"]), Guests, Sought,
                "instancetypes and preferences inferred from volumes"),
            Self::VolumeSnapshots => (names("snapshot.storage.k8s.io", &["v1"], "VolumeSnapshot", "volumesnapshots", &["vs"]), Namespace, Sought,
                "instancetypes and preferences inferred from volumes"),
            Self::Budgets => (names("policy", &["v1"], "PodDisruptionBudget", "poddisruptionbudgets", &["pdb"]), Guests, OfVerbs,
                "which evictions a drain is refused"),
        }
    }

    /// Returns the names.
    #[must_use]
    pub const fn names(self) -> ResourceNames {
        self.row().0
    }

    /// Returns the API group; empty for the core.
    #[must_use]
    pub const fn group(self) -> &'static str {
        self.names().group
    }

    /// Returns the kind.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        self.names().kind
    }

    /// Returns the plural.
    #[must_use]
    pub const fn plural(self) -> &'static str {
        self.names().plural
    }

    /// Returns an object's title as `-o name` prints it: `virtualmachine.kubevirt.io/db`.
    #[must_use]
    pub fn title(self, name: &str) -> String {
        let (singular, group) = (self.kind().to_ascii_lowercase(), self.group());
        if group.is_empty() { format!("{singular}/{name}") } else { format!("{singular}.{group}/{name}") }
    }

    /// Returns the group and version of the objects that are read: `v1`, `kubevirt.io/v1`.
    #[must_use]
    pub fn api_version(self) -> String {
        let ResourceNames { group, versions, .. } = self.names();
        let version = versions.first().copied().unwrap_or_default();
        if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
    }

    /// Returns the purpose of reading it.
    #[must_use]
    pub const fn read_for(self) -> &'static str {
        self.row().3
    }

    /// Whether guests can be judged without it, less exactly.
    pub(crate) fn is_dispensable(self) -> bool {
        self.row().2 != Need::Required
    }

    /// Whether a missing permission is noted once for the whole run, because the verdicts that depend on it do not
    /// report it.
    pub(crate) fn is_missed_unsaid(self) -> bool {
        self.row().2 != Need::Sought
    }

    /// Whether its objects are namespaced.
    #[must_use]
    pub fn is_namespaced(self) -> bool {
        self.row().1 != Scope::Cluster
    }

    /// Whether the objects that affect a guest are in the guest's own namespace.
    pub(crate) fn is_of_guests(self) -> bool {
        self.row().1 == Scope::Guests
    }

    /// Whether objects of this group and kind, in any version, belong to this resource.
    pub(crate) fn is(self, group: &str, kind: &str) -> bool {
        self.kind() == kind && self.group() == group
    }

    /// Returns the resource of a group and a kind, in any version; `None` if it is not read.
    #[must_use]
    pub fn of(group: &str, kind: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|resource| resource.is(group, kind))
    }

    /// Returns the resource with this path for its list or watch in all namespaces.
    pub(crate) fn of_path(path: &str) -> Option<Self> {
        let (prefix, rest) = path.strip_prefix('/')?.split_once('/')?;
        Self::WATCHED.into_iter().find(|resource| {
            let root = if resource.group().is_empty() { "api" } else { "apis" };
            let plural = rest.strip_prefix(&resource.api_version()).and_then(|rest| rest.strip_prefix('/'));
            prefix == root && plural == Some(resource.plural())
        })
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.plural())
    }
}
