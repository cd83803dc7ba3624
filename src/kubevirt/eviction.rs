//! Effects of the eviction of a guest's launcher, and limits of parallel migrations.
//!
//! Mirrors `VMIEvictionStrategy` (`pkg/util/migrations/migrations.go`), `pod-eviction-admitter.go` (`admitLauncherPod`)
//! and the limits of `handleTargetPodCreation` (`pkg/virt-controller/watch/migration/migration.go`).

use super::cluster::Cluster;
use super::wire::Vmi;

/// The effect of evicting a guest's launcher. Mirrors `EvictionStrategy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strategy {
    /// `LiveMigrate`: the guest is migrated; if that is impossible, the eviction is refused.
    LiveMigrate,
    /// `LiveMigrateIfPossible`: the guest is migrated if possible, else shut down.
    IfPossible,
    /// `None`, or no strategy stated: the pod is evicted like any other.
    ShutDown,
    /// `External`: KubeVirt marks the VMI, and another program acts on it.
    External,
    /// A value that this release does not know: the pod is evicted like any other.
    Unknown,
}

/// Returns the strategy of a guest (`VMIEvictionStrategy`): its own, else the one of the KubeVirt resource, else none.
/// `None` if the guest states none and that resource is not known.
pub(crate) fn strategy(vmi: &Vmi, cluster: &Cluster) -> Option<Strategy> {
    let default = &cluster.config.configuration.eviction_strategy;
    let stated = [&vmi.spec.eviction_strategy, default].into_iter().find(|stated| !stated.is_empty());
    match stated.map(String::as_str) {
        Some("LiveMigrate") => Some(Strategy::LiveMigrate),
        Some("LiveMigrateIfPossible") => Some(Strategy::IfPossible),
        Some("None") => Some(Strategy::ShutDown),
        Some("External") => Some(Strategy::External),
        Some(_) => Some(Strategy::Unknown),
        // Without the KubeVirt resource, the default is not known.
        None => cluster.kubevirt_namespace.is_some().then_some(Strategy::ShutDown),
    }
}

/// Limits of parallel migrations; further migrations wait with their target pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parallel {
    /// Limit for the whole cluster: `parallelMigrationsPerCluster`, 5 if it is not set.
    pub cluster: u32,
    /// Limit for one source node: `parallelOutboundMigrationsPerNode`, 2 if it is not set.
    pub outbound: u32,
}

impl Parallel {
    /// Reads the limits from the KubeVirt resource.
    #[must_use]
    pub fn of(cluster: &Cluster) -> Self {
        let migrations = &cluster.config.configuration.migrations;
        let or = |set: Option<i64>, default: u32| set.and_then(|set| u32::try_from(set).ok()).unwrap_or(default);
        Self {
            cluster: or(migrations.parallel_migrations_per_cluster, 5),
            outbound: or(migrations.parallel_outbound_migrations_per_node, 2),
        }
    }

    /// Returns the limit that prevents all migrations because it is 0. Mirrors `handleTargetPodCreation`.
    pub(crate) fn is_off(self) -> Option<&'static str> {
        match self {
            Self { outbound: 0, .. } => Some("parallelOutboundMigrationsPerNode"),
            Self { cluster: 0, .. } => Some("parallelMigrationsPerCluster"),
            Self { .. } => None,
        }
    }

    /// Returns how many guests leave one node at a time.
    pub(crate) fn of_a_node(self) -> u32 {
        self.outbound.min(self.cluster)
    }
}
