//! The API resources that are read, in one table. Watches, dumps, reviews, arguments, Events and the RBAC rules in
//! `deploy/` take names and versions from it.

use std::fmt;

use crate::policy;

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
    /// No judgement needs it; a drain reads it.
    OfDrains,
}

const KUBEVIRT: &str = "kubevirt.io";
const TYPES: &str = "instancetype.kubevirt.io";

/// The properties of a resource.
struct Row {
    names: ResourceNames,
    scope: Scope,
    need: Need,
    /// The purpose of reading it.
    read_for: &'static str,
}

/// Declares the resources, each by one row: names, scope, need, and the purpose of reading it.
macro_rules! resources {
    ($(
        $(#[$doc:meta])*
        $id:ident: $group:expr, $versions:expr, $kind:expr, $plural:literal, $short:expr;
        $scope:ident, $need:ident, $read_for:literal;
    )*) => {
        /// A resource that is read.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Resource {
            $($(#[$doc])* $id,)*
        }

        impl Resource {
            /// All resources, in their order.
            pub const ALL: [Self; [$(Self::$id),*].len()] = [$(Self::$id),*];

            /// Returns the row of the table.
            const fn row(self) -> Row {
                match self {
                    $(Self::$id => Row {
                        names: ResourceNames {
                            group: $group, versions: &$versions, kind: $kind, plural: $plural, short: &$short,
                        },
                        scope: Scope::$scope,
                        need: Need::$need,
                        read_for: $read_for,
                    },)*
                }
            }
        }
    };
}

resources! {
    /// Nodes.
    Nodes: "", ["v1"], "Node", "nodes", ["node", "no"];
        Cluster, Required, "labels, taints, cordon";
    /// Namespaces.
    Namespaces: "", ["v1"], "Namespace", "namespaces", ["ns"];
        Cluster, Dispensable, "labels by which policies select guests";
    /// Pods; launchers only.
    Pods: "", ["v1"], "Pod", "pods", ["pod", "po"];
        Guests, Required, "launchers: where a guest runs, and what its pod asks of a node";
    /// `VirtualMachine`s.
    VirtualMachines: KUBEVIRT, ["v1"], "VirtualMachine", "virtualmachines", ["vm", "vms"];
        Guests, Required, "guests that are stopped, and how those that run start again";
    /// `VirtualMachineInstanceReplicaSet`s.
    ReplicaSets: KUBEVIRT, ["v1"], "VirtualMachineInstanceReplicaSet", "virtualmachineinstancereplicasets",
        ["vmirs", "vmirss"];
        Guests, Dispensable, "templates of guests";
    // The version served by every release with pools; 1.9 serves v1beta1 as well.
    /// `VirtualMachinePool`s.
    Pools: "pool.kubevirt.io", ["v1alpha1", "v1beta1"], "VirtualMachinePool", "virtualmachinepools",
        ["vmpool", "vmpools"];
        Guests, Dispensable, "templates of guests";
    /// `VirtualMachineInstance`s.
    Vmis: KUBEVIRT, ["v1"], "VirtualMachineInstance", "virtualmachineinstances", ["vmi", "vmis"];
        Guests, Required, "guests that run";
    /// `VirtualMachineInstanceMigration`s.
    Migrations: KUBEVIRT, ["v1"], "VirtualMachineInstanceMigration", "virtualmachineinstancemigrations",
        ["vmim", "vmims"];
        Guests, Required, "labels that a migration adds, and whose target a pod is";
    /// The KubeVirt custom resource.
    KubeVirts: KUBEVIRT, ["v1"], "KubeVirt", "kubevirts", ["kv", "kvs"];
        Namespace, Dispensable, "configuration and release";
    /// `CPUPolicy` objects.
    Policies: "cpufit.io", ["v1alpha1"], policy::KIND, "cpupolicies", ["cpupol"];
        Cluster, Dispensable, "policies";
    /// Instancetypes of a namespace.
    Instancetypes: TYPES, ["v1beta1"], "VirtualMachineInstancetype", "virtualmachineinstancetypes",
        ["vminstancetype", "vminstancetypes", "vmf", "vmfs"];
        Guests, Dispensable, "CPU models of guests";
    /// Instancetypes of the cluster.
    ClusterInstancetypes: TYPES, ["v1beta1"], "VirtualMachineClusterInstancetype", "virtualmachineclusterinstancetypes",
        ["vmclusterinstancetype", "vmclusterinstancetypes", "vmcf", "vmcfs"];
        Cluster, Dispensable, "CPU models of guests";
    /// Preferences of a namespace.
    Preferences: TYPES, ["v1beta1"], "VirtualMachinePreference", "virtualmachinepreferences",
        ["vmpref", "vmprefs", "vmp", "vmps"];
        Guests, Dispensable, "CPU features and machine types of guests";
    /// Preferences of the cluster.
    ClusterPreferences: TYPES, ["v1beta1"], "VirtualMachineClusterPreference", "virtualmachineclusterpreferences",
        ["vmcp", "vmcps"];
        Cluster, Dispensable, "CPU features and machine types of guests";
    /// `ControllerRevision`s of instancetypes and preferences.
    Revisions: "apps", ["v1"], "ControllerRevision", "controllerrevisions", [];
        Guests, Dispensable, "instancetypes and preferences as they were when a guest was made";
    /// `DataSource`s of CDI.
    DataSources: "cdi.kubevirt.io", ["v1beta1"], "DataSource", "datasources", ["das"];
        Namespace, Dispensable, "the architecture of what guests boot from";
    /// `PersistentVolumeClaim`s.
    Claims: "", ["v1"], "PersistentVolumeClaim", "persistentvolumeclaims", ["pvc"];
        Guests, OfVerbs, "which volumes guests have, and the instancetypes and preferences inferred from them";
    /// `PersistentVolume`s.
    Volumes: "", ["v1"], "PersistentVolume", "persistentvolumes", ["pv"];
        Cluster, OfVerbs, "on which nodes a volume can be used";
    /// `DataVolume`s of CDI.
    DataVolumes: "cdi.kubevirt.io", ["v1beta1"], "DataVolume", "datavolumes", ["dv", "dvs"];
        Guests, Sought, "instancetypes and preferences inferred from volumes";
    /// `VolumeSnapshot`s.
    VolumeSnapshots: "snapshot.storage.k8s.io", ["v1"], "VolumeSnapshot", "volumesnapshots", ["vs"];
        Namespace, Sought, "instancetypes and preferences inferred from volumes";
    /// `PodDisruptionBudget`s.
    Budgets: "policy", ["v1"], "PodDisruptionBudget", "poddisruptionbudgets", ["pdb"];
        Guests, OfDrains, "which evictions a drain is refused";
}

/// Returns the group of an `apiVersion`; empty for the core.
#[must_use]
pub(crate) fn group_of(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

impl Resource {
    const WATCHED_FOR: &[Need] = &[Need::Required, Need::Dispensable];
    const JUDGED_FOR: &[Need] = &[Need::Required, Need::Dispensable, Need::OfVerbs, Need::Sought];

    /// The resources that judgements depend on.
    pub(crate) const JUDGED: [Self; Self::count(Self::JUDGED_FOR)] = Self::chosen(Self::JUDGED_FOR);

    /// The watched resources. CLI verbs list all.
    pub const WATCHED: [Self; Self::count(Self::WATCHED_FOR)] = Self::chosen(Self::WATCHED_FOR);

    /// The resources of which all objects are read for free room.
    pub(crate) const OF_ROOM: [Self; 2] = [Self::Nodes, Self::Pods];

    /// The resources of which a drain reads all objects: for free room, and for evictions that are refused.
    pub(crate) const OF_DRAINS: [Self; 3] = [Self::Nodes, Self::Pods, Self::Budgets];

    const fn is_for(self, needs: &[Need]) -> bool {
        let mut at = 0;
        while at < needs.len() {
            if self.row().need as u8 == needs[at] as u8 {
                return true;
            }
            at += 1;
        }
        false
    }

    /// Returns the number of resources with one of these needs.
    const fn count(needs: &[Need]) -> usize {
        let (mut at, mut count) = (0, 0);
        while at < Self::ALL.len() {
            count += Self::ALL[at].is_for(needs) as usize;
            at += 1;
        }
        count
    }

    /// Returns the resources with one of these needs.
    const fn chosen<const N: usize>(needs: &[Need]) -> [Self; N] {
        let mut chosen = [Self::Nodes; N];
        let (mut at, mut next) = (0, 0);
        while at < Self::ALL.len() {
            if Self::ALL[at].is_for(needs) {
                chosen[next] = Self::ALL[at];
                next += 1;
            }
            at += 1;
        }
        chosen
    }

    /// Returns the names.
    #[must_use]
    pub const fn names(self) -> ResourceNames {
        self.row().names
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
        self.row().read_for
    }

    /// Whether guests can be judged without it, less exactly.
    pub(crate) fn is_dispensable(self) -> bool {
        self.row().need != Need::Required
    }

    /// Whether a missing permission is noted once for the whole run, because the verdicts that depend on it do not
    /// report it.
    pub(crate) fn is_missed_unsaid(self) -> bool {
        self.row().need != Need::Sought
    }

    /// Whether its objects are namespaced.
    #[must_use]
    pub fn is_namespaced(self) -> bool {
        self.row().scope != Scope::Cluster
    }

    /// Whether the objects that affect a guest are in the guest's own namespace.
    pub(crate) fn is_of_guests(self) -> bool {
        self.row().scope == Scope::Guests
    }

    /// Whether an API server serves objects of this resource in this version. KubeVirt still serves the deprecated
    /// `kubevirt.io/v1alpha3`.
    ///
    /// Mirrors `ApiSupportedVersions` of staging/src/kubevirt.io/api/core/v1/register.go.
    pub(crate) fn is_served_in(self, version: &str) -> bool {
        let ResourceNames { group, versions, .. } = self.names();
        versions.contains(&version) || (group == KUBEVIRT && version == "v1alpha3")
    }

    /// Whether objects of this group and kind, in any version, belong to this resource.
    pub(crate) fn is(self, group: &str, kind: &str) -> bool {
        self.kind() == kind && self.group() == group
    }

    /// Returns the resource of a group and a kind, in any version; `None` if no judgement depends on it.
    #[must_use]
    pub fn of(group: &str, kind: &str) -> Option<Self> {
        Self::JUDGED.into_iter().find(|resource| resource.is(group, kind))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_a_policy_is_that_of_its_row() {
        assert_eq!(Resource::Policies.api_version(), policy::API_VERSION, "printed policies would be read by no watch");
    }
}
