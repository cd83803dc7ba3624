//! `cpufit` keeps KubeVirt guests migratable.

pub mod compat;
pub mod kubevirt;
pub mod snapshot;
