//! What the webhook changes, as plain functions from objects to JSON Patches.
//!
//! - [`model`]: the common CPU model, written into a VirtualMachineInstance before it starts.
//! - [`trim`]: selector entries dropped from the pod of a migration's target.
//! - [`present_fields`]: what a patch must know of a VMI.
//! - [`foresee`]: what is said about the common model, and who is denied for not using it.
//!
//! The guest's CPU comes from its VMI at start, never from its pod; so the model is the only thing written that changes
//! what a guest gets. No VirtualMachine is ever changed: GitOps tools would change it back.

pub(crate) mod foresee;
pub(crate) mod model;
pub(crate) mod patch;
pub(crate) mod present_fields;
pub(crate) mod trim;

#[cfg(test)]
mod tests;
