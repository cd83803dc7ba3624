//! Minimal objects as in the API server; a test adds the fields that it needs.
//!
//! Each file holds one function: the integration tests and the benchmarks include the files that they use.

mod launcher;
mod node;
mod policy;
mod review;
mod running;
mod vmi_of;

pub(crate) use launcher::launcher_pod;
pub(crate) use node::node;
pub(crate) use policy::policy;
pub(crate) use review::create;
pub(crate) use running::running;
pub(crate) use vmi_of::vmi_of;
