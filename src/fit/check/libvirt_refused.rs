//! The last migration failed: where libvirt refused the guest's CPU, the only trace of that CPU, and better evidence
//! than any label; any other failure is repeated as it is.

use super::{Check, CheckSpec, Detail, Doubt, Finding, Reported};
use crate::fit::judgement::Judgement;
use crate::fit::label;
use crate::fit::remedy;

pub(super) const SPEC: CheckSpec = CheckSpec {
    id: Check::LibvirtRefused,
    word: "libvirt-refused",
    reported: Reported::Always,
    applies_to_launcher_pods: true,
    applies_to_refused_guests: false,
    immobilizes: false,
    doubt: Some(Doubt::Libvirt),
    find,
};

/// Libvirt's refusal of the last migration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LibvirtRefused {
    /// The target of that migration; empty if it is not known.
    pub target: String,
    /// The message of libvirt.
    pub reason: String,
    /// Whether libvirt refused the CPU.
    pub is_of_cpu: bool,
    /// Whether the message names missing features and no node has a label for any of them.
    pub unlabelled: bool,
}

fn find(judgement: &Judgement<'_, '_>) -> Vec<Finding> {
    let Some(refused) = &judgement.subject.failed else { return Vec::new() };
    let has_label = |name: &String| judgement.fleet.values(&format!("{}{name}", label::CPU_FEATURE)).next().is_some();
    let detail = LibvirtRefused {
        target: refused.target.clone(),
        reason: refused.reason.clone(),
        is_of_cpu: refused.is_of_cpu,
        unlabelled: !refused.missing.is_empty() && !refused.missing.iter().any(has_label),
    };
    vec![Finding {
        remedies: remedy::after_refusal(judgement),
        // The source is the status of the VMI, which the judged object need not be.
        ..Finding::note(Check::LibvirtRefused, "", Detail::LibvirtRefused(detail))
    }]
}
