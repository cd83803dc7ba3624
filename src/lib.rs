//! `cpufit` keeps KubeVirt guests migratable: an admission webhook and a command-line tool in one.
//!
//! KubeVirt pins a guest to CPU labels through the node selector of its virt-launcher pod. Labels drift and
//! nodes differ, and a migration hangs without a usable reason. This crate reports the nearest node, the
//! labels that it lacks, and the remedies.
//!
//! ```text
//! object -prepare-> Subject -assess-> Assessment -govern, adjust-> Verdict -say-> Messages -decide-> Decision
//!        kubevirt            fit                 policy, enforce           say           policy
//! ```
//!
//! ARCHITECTURE.md describes the modules and their invariants.

// Only `console` prints, and it prints only pages.
#![deny(clippy::print_stdout, clippy::print_stderr, clippy::dbg_macro)]
#![cfg_attr(not(test), deny(unreachable_pub))]
#![allow(rustdoc::private_intra_doc_links, reason = "it is for developers of the crate, and includes private items")]

pub mod admission;
pub mod answers;
pub mod app;
pub mod bounds;
pub mod cli;
mod connection;
pub mod console;
pub mod crypto;
mod descriptors;
pub mod domain;
mod enforce;
mod files;
pub mod fit;
mod fnv;
mod judge;
pub mod kubevirt;
mod libvirt;
pub mod live;
pub mod page;
mod pki;
pub mod policy;
#[cfg(test)]
mod proofs;
mod report;
pub mod review;
mod say;
pub mod snapshot;
pub mod telemetry;
#[cfg(test)]
mod testing;
pub mod web;
mod well_known;
mod word;
pub mod world;
