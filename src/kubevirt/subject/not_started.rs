//! KubeVirt's report about a guest that has not started.
//!
//! Mirrors `CheckFailure` of `pkg/controller/conditions.go`, by which virt-controller and virt-handler set the
//! condition `Synchronized` of a VMI to `False` with the error of the last try and remove it after a success;
//! `processFailure` and `startFailureBackoffTimeLeft` of `pkg/virt-controller/watch/vm/vm.go`.

use super::{has_not_started, starts_none};
use crate::fit::subject::NotStarted;
use crate::kubevirt::cluster::Cluster;
use crate::kubevirt::wire::{Condition, FAILURE, POD_SCHEDULED, SYNCHRONIZED, VirtualMachine, Vmi};

fn is(condition: &Condition, kind: &str, status: &str) -> bool {
    condition.kind == kind && condition.status == status
}

/// Returns the report about a VMI that waits to start.
pub(crate) fn why_not_started(vmi: &Vmi) -> Option<NotStarted> {
    let found = vmi.status.conditions.iter().find(|condition| is(condition, SYNCHRONIZED, "False"))?;
    NotStarted::of(&vmi.status.node_name, &found.reason, &found.message)
}

/// Returns the scheduler's message about the launcher of a guest that waits to start, by the condition that
/// virt-controller copies from the pod (`updateStatus` of `pkg/virt-controller/watch/vmi/lifecycle.go`); `None` if the
/// launcher itself is known.
pub(crate) fn found_no_place<'v>(vmi: &'v Vmi, cluster: &Cluster) -> Option<&'v str> {
    let waits = has_not_started(vmi) && cluster.launchers_of(vmi).next().is_none();
    let found = vmi.status.conditions.iter().find(|condition| is(condition, POD_SCHEDULED, "False"));
    found.filter(|_| waits).map(|condition| condition.message.as_str())
}

/// Returns the report about a VM that is to run and has no VMI.
pub(super) fn of_vm(vm: &VirtualMachine) -> Option<NotStarted> {
    if starts_none(vm) {
        return None;
    }
    let failed = vm.status.conditions.iter().find(|condition| is(condition, FAILURE, "True"));
    let reported = failed.and_then(|condition| NotStarted::of("", &condition.reason, &condition.message));
    let times = vm.status.start_failure.as_ref().map_or(0, |failure| failure.consecutive_fail_count);
    reported.or_else(|| (times > 0).then_some(NotStarted::Failed { times }))
}
