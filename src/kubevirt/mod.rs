//! What KubeVirt itself would do with an object.

pub mod authors;
mod changes;
pub mod cluster;
pub mod defaults;
pub mod eviction;
pub mod guest;
pub mod launch;
pub mod migration;
pub mod obsolete;
pub mod release;
pub mod replicas;
pub mod resource;
pub mod room;
mod storage;
pub mod subject;
pub mod topology;
pub mod wire;
