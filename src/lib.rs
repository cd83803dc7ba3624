//! `cpufit` keeps KubeVirt guests migratable: an admission webhook and a command-line tool in one.
//!
//! KubeVirt pins a guest to CPU labels through the node selector of its virt-launcher pod. Labels drift and
//! nodes differ, and a migration hangs without a usable reason. This crate says which node is nearest, what it
//! lacks and what cures it.
//!
//! ```text
//! object --prepare--> Subject --assess--> Assessment --govern, adjust--> Verdict --say--> Messages --decide--> Decision
//!          kubevirt             fit                    policy, enforce              say              policy
//! ```
//!
//! The layers, from the inside out:
//!
//! - [`fit`], the judgement: nodes by kind of hardware, what fits, why not, what would cure it. Pure.
//! - [`kubevirt`]: what KubeVirt itself would do with an object; from objects to subjects.
//! - [`well_known`]: labels and annotations that are read for their meaning, and how each is read.
//! - [`policy`]: the dials, and from verdict to ruling. [`say`]: from verdict to words.
//! - [`enforce`]: what the webhook changes, and the patches that change it.
//! - [`judge`]: one object through all of these; what reviews and command line both call.
//! - [`review`]: one review answered, a file for each kind of object. [`answers`]: questions about the whole cluster, the
//!   audit of all guests among them.
//! - [`libvirt`]: what libvirt answers when it is asked about a running guest's CPU, and how answers are kept.
//! - [`snapshot`] and [`world`]: dumps to objects, objects to what is judged by. [`live`]: a cluster watched, and written
//!   to: Events ([`report`]), status, certificates ([`pki`]).
//! - [`word`]: enums that are spelled as words, and the word that was most likely meant.
//! - [`admission`]: the AdmissionReview in and out. [`web`], [`telemetry`]: HTTP and TLS around it.
//! - [`crypto`]: what TLS and certificates are made with.
//! - [`domain`]: KubeVirt's names in a cluster whose distribution renames `kubevirt.io`, translated on the way in and out.
//! - `files`: every file that is named on the command line, opened without waiting and read within a bound.
//! - [`cli`], [`app`]: the verbs, and the one place that builds things. [`page`]: what they print, escaped;
//!   [`console`]: where.

// Only `console` prints, and only pages.
#![deny(clippy::print_stdout, clippy::print_stderr, clippy::dbg_macro)]
#![cfg_attr(not(test), deny(unreachable_pub))]
// The documentation is for those who work on the crate: it is made with private items.
#![allow(rustdoc::private_intra_doc_links)]

pub mod admission;
pub mod answers;
pub mod app;
pub mod bounds;
pub mod cli;
pub mod console;
pub mod crypto;
mod descriptors;
pub mod domain;
mod enforce;
mod files;
pub mod fit;
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
