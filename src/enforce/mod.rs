//! The changes that the webhook makes, as plain functions from objects to JSON Patches.
//!
//! - [`model`]: the common CPU model, written into a VirtualMachineInstance before it starts.
//! - [`trim`]: selector entries dropped from the pod of a migration's target.
//! - [`present_fields`]: the fields of a VMI that a patch depends on.
//! - [`text_patch`]: a patch applied to the text of an object.
//! - [`forecast`]: messages about the common model, and denials of guests that do not use it.
//!
//! The guest's CPU comes from its VMI at start, never from its pod, so the model is the only written field
//! that changes the guest. A VirtualMachine is never changed: GitOps tools would revert it.

pub(crate) mod forecast;
pub(crate) mod model;
pub(crate) mod patch;
pub(crate) mod present_fields;
pub(crate) mod text_patch;
pub(crate) mod trim;

#[cfg(test)]
mod tests;
