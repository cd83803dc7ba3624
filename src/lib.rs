//! `cpufit` keeps KubeVirt guests migratable.

pub mod admission;
pub mod compat;
pub mod kubevirt;
pub mod server;
pub mod telemetry;
pub mod tls;
pub mod webhook;
