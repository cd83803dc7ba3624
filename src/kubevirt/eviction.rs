//! What KubeVirt makes of the eviction of a guest's launcher, and how many guests it migrates at a time.
//!
//! Mirrors `VMIEvictionStrategy` (`pkg/util/migrations/migrations.go`), `pod-eviction-admitter.go` (`admitLauncherPod`) and the
//! limits of `handleTargetPodCreation` (`pkg/virt-controller/watch/migration/migration.go`).

use super::cluster::Cluster;
use super::wire::Vmi;

/// What becomes of a guest whose launcher is evicted. Mirrors `EvictionStrategy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strategy {
    /// `LiveMigrate`: it is migrated, or stays.
    LiveMigrate,
    /// `LiveMigrateIfPossible`: it is migrated if it can be at all, else shut down.
    IfPossible,
    /// `None`, or none anywhere: the pod is evicted like any other.
    ShutDown,
    /// `External`: the VMI is marked, and something else than KubeVirt acts on it.
    External,
    /// A word that this release does not know: the pod is evicted like any other.
    Unknown,
}

/// The strategy for this guest: its own, else that of the KubeVirt resource, else none. `None` where that resource is not
/// known, and the guest states none.
#[must_use]
pub(crate) fn strategy(vmi: &Vmi, cluster: &Cluster) -> Option<Strategy> {
    let default = &cluster.config.configuration.eviction_strategy;
    let stated = [&vmi.spec.eviction_strategy, default].into_iter().find(|stated| !stated.is_empty());
    match stated.map(String::as_str) {
        Some("LiveMigrate") => Some(Strategy::LiveMigrate),
        Some("LiveMigrateIfPossible") => Some(Strategy::IfPossible),
        Some("None") => Some(Strategy::ShutDown),
        Some("External") => Some(Strategy::External),
        Some(_) => Some(Strategy::Unknown),
        // Only the KubeVirt resource tells that there is no default.
        None => cluster.kubevirt_namespace.is_some().then_some(Strategy::ShutDown),
    }
}

/// How many migrations run at a time; the others wait with their target pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parallel {
    /// In the whole cluster: `parallelMigrationsPerCluster`, 5 where it is not set.
    pub cluster: u32,
    /// Away from one node: `parallelOutboundMigrationsPerNode`, 2 where it is not set.
    pub outbound: u32,
}

impl Parallel {
    /// As the KubeVirt resource has it.
    #[must_use]
    pub fn of(cluster: &Cluster) -> Self {
        let migrations = &cluster.config.configuration.migrations;
        let or = |set: Option<i64>, default: u32| set.and_then(|set| u32::try_from(set).ok()).unwrap_or(default);
        Self {
            cluster: or(migrations.parallel_migrations_per_cluster, 5),
            outbound: or(migrations.parallel_outbound_migrations_per_node, 2),
        }
    }

    /// The limit that lets no migration start at all. Mirrors `handleTargetPodCreation`.
    #[must_use]
    pub(crate) fn is_off(self) -> Option<&'static str> {
        match self {
            Self { outbound: 0, .. } => Some("parallelOutboundMigrationsPerNode"),
            Self { cluster: 0, .. } => Some("parallelMigrationsPerCluster"),
            Self { .. } => None,
        }
    }

    /// How many guests leave one node at a time.
    #[must_use]
    pub(crate) fn of_a_node(self) -> u32 {
        self.outbound.min(self.cluster)
    }
}
