//! Objects as the API server has them, each with the least that makes it one; a test adds what is special about its own.
//!
//! A function a file: the integration tests and the benchmarks include those files that they use.

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
