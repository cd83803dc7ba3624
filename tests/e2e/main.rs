//! End-to-end tests with real etcd, kube-apiserver, kube-scheduler and kubectl, and `cpufit`.
//!
//! `make e2e` builds the control plane and runs these tests; `make test` skips them and says so.
// A test that cannot create its data stops; its functions are documented by their names.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "a test ends with the panic")]

mod certificates;
mod chart;
mod common;
mod controlplane;
mod documents;
mod drains;
mod enforcing;
mod evacuation;
mod events;
mod failing;
mod guard;
mod guarded;
mod installed;
mod kubevirt;
#[path = "../../src/testing/objects/launcher.rs"]
mod launcher;
mod leader;
mod libvirt;
mod lines;
mod live;
mod load;
mod manifests;
#[path = "../../src/testing/objects/node.rs"]
mod node;
#[path = "../common/objects.rs"]
mod objects;
mod pki;
mod poison;
#[path = "../../src/testing/objects/policy.rs"]
mod policy;
mod policy_crd;
mod process;
mod proxy;
/// The generator shared with the unit tests.
#[path = "../../src/testing/random.rs"]
mod random;
mod renamed;
mod replicas;
#[path = "../../src/testing/objects/review.rs"]
mod review;
mod rights;
#[path = "../../src/testing/objects/running.rs"]
mod running;
mod scheduler;
mod servers;
mod session;
mod status;
mod stories;
mod trimming;
#[path = "../../src/testing/objects/vmi_of.rs"]
mod vmi_of;
mod webhook;
mod world;
