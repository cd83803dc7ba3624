//! `cpufit` keeps KubeVirt guests migratable.

pub mod cli;
pub mod compat;
pub mod kubevirt;
pub mod pki;
pub mod policy;
pub mod say;
