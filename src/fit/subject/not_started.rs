//! KubeVirt's report about a guest that has not started.

use super::failed_migration::failed_migration;

/// The reason why a guest has not started, as KubeVirt reports it in the status of its VM or VMI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotStarted {
    /// Libvirt refuses the guest's CPU on its node: condition `Synchronized` of the VMI.
    Refused {
        /// The node; empty if it is not known.
        node: String,
        /// The part of the condition's `message` that libvirt wrote.
        said: String,
    },
    /// Any other failure, by a condition of the VMI or the VM.
    Reported {
        /// The node; empty before the guest has one.
        node: String,
        /// `reason`; empty if it is no word.
        reason: String,
        /// The end of `message`, shortened.
        message: String,
    },
    /// Its last starts failed: `status.startFailure.consecutiveFailCount` of the VM.
    Failed {
        /// The number of failures in a row.
        times: u64,
    },
}

impl NotStarted {
    /// Reads a condition of a guest on a node; `None` if it has no message.
    pub(crate) fn of(node: &str, reason: &str, message: &str) -> Option<Self> {
        let found = failed_migration(node, message)?;
        let (node, said) = (found.target, found.reason);
        if found.is_of_cpu {
            return Some(Self::Refused { node, said });
        }
        // virt-handler gives a sentence as the reason, which says no more than the type of the condition.
        let reason = if reason.contains(' ') { String::new() } else { reason.to_owned() };
        Some(Self::Reported { node, reason, message: said })
    }
}
