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
//! The layers, from the inside out:
//!
//! - [`fit`], the judgement: classes of nodes, which nodes fit, why others do not, and the remedies. Pure.
//! - [`kubevirt`]: how KubeVirt itself handles an object; from objects to subjects.
//! - [`well_known`]: labels and annotations with a meaning, and how each is read.
//! - [`policy`]: the dials, and from verdict to ruling. [`say`]: from verdict to messages.
//! - [`enforce`]: the changes that the webhook makes, as patches.
//! - [`judge`]: one object through all of these, for reviews and the command line.
//! - [`review`]: the answer to one review, a file for each kind of object. [`answers`]: questions about the whole
//!   cluster, such as the audit of all guests.
//! - [`libvirt`]: libvirt's answers about a running guest's CPU, and how they are saved.
//! - [`snapshot`] and [`world`]: dumps to objects, objects to the input of judgements. [`live`]: a watched cluster, and
//!   writes to it: Events ([`report`]), status, certificates ([`pki`]).
//! - [`word`]: enums that are spelled as words, and suggestions for misspelled ones.
//! - [`admission`]: the AdmissionReview in and out. [`web`], [`telemetry`]: HTTP and TLS around it.
//! - [`crypto`]: the cryptography of TLS and certificates.
//! - [`domain`]: KubeVirt's names in a distribution that renames `kubevirt.io`, translated on input and output.
//! - `files`: every file named on the command line, opened without blocking and read up to a size limit.
//! - [`cli`], [`app`]: the verbs, and the one place that constructs everything. [`page`]: their escaped output;
//!   [`console`]: its destination.

// Only `console` prints, and it prints only pages.
#![deny(clippy::print_stdout, clippy::print_stderr, clippy::dbg_macro)]
#![cfg_attr(not(test), deny(unreachable_pub))]
// The documentation is for developers of the crate and includes private items.
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
