//! `cpufit` keeps KubeVirt guests migratable.

pub mod admission;
pub mod app;
pub mod args;
pub mod cli;
pub mod compat;
pub mod judge;
pub mod kubevirt;
pub mod pki;
pub mod policy;
pub mod say;
pub mod server;
pub mod snapshot;
pub mod telemetry;
pub mod tls;
pub mod webhook;
pub mod world;
