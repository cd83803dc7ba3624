//! A guest that is created again, by a restart or as it waits for a node.

use super::Outage;
use crate::fit::judgement::Judgement;
use crate::fit::subject::{AfterStart, HostModelRule, Stage, Subject};

/// The risk of a start with another CPU model.
pub(super) const OTHER_CPU: &str = "the guest sees another CPU";

/// Returns the number of nodes on which a guest starts that waits for a node, and that no node takes, once it is
/// created again: its VM may have changed since. Mirrors `handleAffinityChangeRequest` of
/// `pkg/virt-controller/watch/vm/vm.go`, which changes the VMI, and no pod; nothing changes the CPU of a VMI.
pub(super) fn starts_if_made_again(judgement: &Judgement<'_, '_>) -> Option<usize> {
    let waits = judgement.subject.definition.waits && !judgement.is_migration() && judgement.passes.fitting.is_empty();
    let start = judgement.subject.restart.as_ref().filter(|_| waits)?;
    Some(judgement.outlook(start).1.count()).filter(|count| *count > 0)
}

/// Whether a change of the guest's template counts only once the guest is created again.
pub(super) fn is_made_again(subject: &Subject<'_>, outage: Outage) -> bool {
    subject.definition.waits || outage == Outage::Restart && matches!(subject.stage, Stage::Migration(_))
}

/// Restarts the guest: it becomes one that is to start with its start placement.
pub(super) fn restarted(subject: &mut Subject<'_>) {
    let after_start = subject.restart.as_ref().map(|start| start.after_start);
    if let Some(start) = &subject.restart {
        subject.placement = start.placement.clone();
        subject.mode = start.mode.clone();
        subject.features = start.features.clone();
    }
    let fallback = match subject.stage {
        Stage::Start(after_start) => after_start,
        Stage::Migration(_) => AfterStart { host_model: HostModelRule::NotAsked, vendor: false },
    };
    subject.stage = Stage::Start(after_start.unwrap_or(fallback));
    subject.running = None;
    subject.outdated_launcher = false;
}
