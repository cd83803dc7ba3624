//! What the webhook changes, as plain functions from objects to JSON Patches.
//!
//! - [`model`]: the common CPU model, written into a VirtualMachineInstance before it starts.
//! - [`trim`]: selector entries dropped from the pod of a migration's target.
//! - [`outlook`]: what people are told of the common model, and who is refused for not using it.
//!
//! The guest's CPU comes from its VMI at start, never from its pod; so the model is the only thing written that changes
//! what a guest gets. No VirtualMachine is ever changed: GitOps tools would change it back.

pub mod model;
pub mod outlook;
pub mod patch;
pub mod trim;

/// The annotation of a VMI that names the policy whose common model was written into it.
pub const POLICY: &str = "cpufit.io/policy";
/// The annotation of a VMI that names the CPU mode the common model took the place of.
pub const REPLACED: &str = "cpufit.io/replaced-model";
/// The annotation of a VMI that was sent without a model and left so. KubeVirt's own webhook fills one in, and no later
/// call could tell it from a wish.
pub const SENT: &str = "cpufit.io/sent-model";
/// The annotation of a pod that lists the selector keys dropped from it, with commas.
pub const DROPPED: &str = "cpufit.io/dropped-selectors";
/// The annotation of a migration that asks, with the value `true`, to drop what keeps its target off every node.
pub const RELAX: &str = "cpufit.io/relax";

#[cfg(test)]
mod tests;
