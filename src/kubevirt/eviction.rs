//! Effects of the eviction of a guest's launcher, and limits of parallel migrations.
//!
//! Mirrors `VMIEvictionStrategy` (`pkg/util/migrations/migrations.go`), `pod-eviction-admitter.go` (`admitLauncherPod`)
//! and the limits of `handleTargetPodCreation` (`pkg/virt-controller/watch/migration/migration.go`).

use super::cluster::Cluster;
use super::migration::{self, NotEvacuated};
use super::pod_affinity::launcher_label;
use super::room::{DisruptionBudget, LauncherState};
use super::wire::Vmi;
use crate::fit::subject::MigrationLimit;

/// The strategy with which KubeVirt treats the eviction of a guest's launcher. Mirrors `EvictionStrategy`.
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
    match stated(vmi, cluster) {
        Some("LiveMigrate") => Some(Strategy::LiveMigrate),
        Some("LiveMigrateIfPossible") => Some(Strategy::IfPossible),
        Some("None") => Some(Strategy::ShutDown),
        Some("External") => Some(Strategy::External),
        Some(_) => Some(Strategy::Unknown),
        // Without the KubeVirt resource, the default is not known.
        None => cluster.kubevirt_namespace.is_some().then_some(Strategy::ShutDown),
    }
}

/// Returns the strategy that the guest or the KubeVirt resource states.
pub(crate) fn stated<'c>(vmi: &'c Vmi, cluster: &'c Cluster) -> Option<&'c str> {
    let default = &cluster.config.configuration.eviction_strategy;
    let stated = [&vmi.spec.eviction_strategy, default].into_iter().find(|stated| !stated.is_empty());
    stated.map(String::as_str)
}

/// The effect of the eviction of a guest's launcher, regardless of the nodes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Effect<'c> {
    /// An end of the guest that is already under way (`metadata.deletionTimestamp`), regardless of the eviction.
    Ends,
    /// Migration by KubeVirt.
    Migrates,
    /// No migration yet: the guest is not `Running`. KubeVirt migrates it once it is.
    MigratesOnceItRuns,
    /// No migration, as long as this limit of the KubeVirt resource is 0.
    NotStarted(MigrationLimit),
    /// A refused eviction: the guest's strategy requires a migration, and KubeVirt admits none.
    NotMigrated(NotEvacuated<'c>),
    /// A shutdown.
    ShutDown(ShutDown<'c>),
    /// An eviction that the API server refuses for now, and then a shutdown.
    Held(Held<'c>),
    /// No effect: a program other than KubeVirt has to move the guest.
    External,
}

/// The reason why an eviction shuts a guest down.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ShutDown<'c> {
    /// `evictionStrategy` is `None`, or not stated.
    NoStrategy,
    /// `evictionStrategy` has a value that this release does not know.
    UnknownStrategy(&'c str),
    /// `evictionStrategy` is `LiveMigrateIfPossible`, and the guest cannot be migrated.
    NotPossible(NotEvacuated<'c>),
}

/// The reason why the API server refuses an eviction.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Held<'c> {
    /// This budget allows no disruption now.
    Budget(&'c DisruptionBudget),
    /// Both budgets protect the launcher: the API server evicts no such pod.
    TwoBudgets(&'c DisruptionBudget, &'c DisruptionBudget),
}

/// Returns the effect of the eviction of a guest's launcher. Mirrors `admitLauncherPod` of
/// `pkg/virt-api/webhooks/validating-webhook/admitters/pod-eviction-admitter.go` and `filterRunningNonMigratingVMIs` of
/// `pkg/virt-controller/watch/drain/evacuation/evacuation.go`. A guest whose [`strategy`] is not known is judged as one
/// with `LiveMigrate`. A migration under way is not considered.
pub(crate) fn effect<'c>(vmi: &'c Vmi, cluster: &'c Cluster) -> Effect<'c> {
    if migration::is_being_deleted(&vmi.metadata) {
        return Effect::Ends;
    }
    let why_not = migration::not_evacuated(vmi);
    let ends = match (strategy(vmi, cluster), why_not) {
        (Some(Strategy::External), _) => return Effect::External,
        (Some(Strategy::ShutDown), _) => ShutDown::NoStrategy,
        (Some(Strategy::Unknown), _) => ShutDown::UnknownStrategy(stated(vmi, cluster).unwrap_or_default()),
        (Some(Strategy::IfPossible), Some(why)) => ShutDown::NotPossible(why),
        (Some(Strategy::LiveMigrate | Strategy::IfPossible) | None, _) if !migration::runs(vmi) => {
            return Effect::MigratesOnceItRuns;
        }
        (Some(Strategy::LiveMigrate) | None, Some(why)) => return Effect::NotMigrated(why),
        (Some(Strategy::LiveMigrate | Strategy::IfPossible) | None, None) => {
            return not_started(vmi, cluster).map_or(Effect::Migrates, Effect::NotStarted);
        }
    };
    match protection(vmi, cluster) {
        Ok(_) => Effect::ShutDown(ends),
        Err(held) => Effect::Held(held),
    }
}

/// Returns the budget that currently allows the eviction of a guest's launcher and counts it, if there is one. Mirrors
/// `EvictionREST.Create`.
///
/// # Errors
///
/// Returns why the API server refuses the eviction.
pub(crate) fn protection<'c>(vmi: &Vmi, cluster: &'c Cluster) -> Result<Option<&'c DisruptionBudget>, Held<'c>> {
    let state = cluster.room.launcher_state(vmi);
    if state == Some(LauncherState::Unprotected) {
        return Ok(None);
    }
    let budgets = cluster.room.budgets().iter();
    let release = cluster.release.release();
    let label = |key: &str| launcher_label(vmi, key, release);
    let own: Vec<&DisruptionBudget> =
        budgets.filter(|budget| budget.protects(&vmi.metadata.namespace, label)).collect();
    match own.as_slice() {
        [] => Ok(None),
        [budget] if state == Some(LauncherState::Unready) && budget.frees_unready => Ok(None),
        [budget] if budget.allowed > 0 => Ok(Some(budget)),
        [budget] => Err(Held::Budget(budget)),
        [one, two, ..] => Err(Held::TwoBudgets(one, two)),
    }
}

/// Returns the limit that is 0, so that a running guest gets no target pod. `None` if it has one: that is not held up.
pub(crate) fn not_started(vmi: &Vmi, cluster: &Cluster) -> Option<MigrationLimit> {
    Parallel::of(cluster).is_off().filter(|_| cluster.launchers_of(vmi).nth(1).is_none())
}

/// Limits of parallel migrations; further migrations wait with their target pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parallel {
    /// Limit for the whole cluster: `parallelMigrationsPerCluster`.
    pub cluster: u32,
    /// Limit for one source node: `parallelOutboundMigrationsPerNode`.
    pub outbound: u32,
    /// Whether an operator writes them from a HyperConverged resource.
    pub by_hyperconverged: bool,
}

impl Parallel {
    /// The limits that KubeVirt has if they are not set. Mirrors `ParallelMigrationsPerClusterDefault` and
    /// `ParallelOutboundMigrationsPerNodeDefault` of `pkg/virt-config/virt-config.go`.
    pub(crate) const DEFAULT: Self = Self { cluster: 5, outbound: 2, by_hyperconverged: false };

    /// Reads the limits from the KubeVirt resource.
    #[must_use]
    pub fn of(cluster: &Cluster) -> Self {
        let migrations = &cluster.config.configuration.migrations;
        let or = |set: Option<i64>, default: u32| set.and_then(|set| u32::try_from(set).ok()).unwrap_or(default);
        Self {
            cluster: or(migrations.parallel_migrations_per_cluster, Self::DEFAULT.cluster),
            outbound: or(migrations.parallel_outbound_migrations_per_node, Self::DEFAULT.outbound),
            by_hyperconverged: cluster.config.is_hyperconverged,
        }
    }

    /// Returns the limit that prevents all migrations because it is 0. Mirrors `handleTargetPodCreation`.
    pub(crate) fn is_off(self) -> Option<MigrationLimit> {
        let field = match self {
            Self { outbound: 0, .. } => "parallelOutboundMigrationsPerNode",
            Self { cluster: 0, .. } => "parallelMigrationsPerCluster",
            Self { .. } => return None,
        };
        Some(MigrationLimit { field, by_hyperconverged: self.by_hyperconverged })
    }

    /// Returns how many guests leave one node at a time.
    pub(crate) fn of_a_node(self) -> u32 {
        self.outbound.min(self.cluster)
    }
}
