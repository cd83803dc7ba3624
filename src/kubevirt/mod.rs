//! KubeVirt's own behaviour: defaults, launcher pods, migrations, evictions.

pub(crate) mod active_migration;
pub(crate) mod authors;
pub mod cluster;
pub mod defaults;
pub(crate) mod devices;
pub(crate) mod eviction;
pub(crate) mod feature_gate;
pub(crate) mod guest;
pub mod launch;
pub(crate) mod migration;
pub(crate) mod not_migratable;
pub(crate) mod obsolete;
pub(crate) mod placement;
pub(crate) mod pod_affinity;
pub mod release;
pub(crate) mod replicas;
pub mod resource;
pub(crate) mod revision;
pub(crate) mod room;
pub(crate) mod setting;
mod storage;
pub mod subject;
pub(crate) mod topology;
pub mod wire;
mod withheld;
