//! The conditions of pods: whether a launcher is ready, and whether the scheduler has placed it.

use serde_json::{Value, json};

use super::{LauncherState, PodCondition, PodRoom, PodRoomStatus};
use crate::kubevirt::wire::{Meta, Reader};

/// The type of the condition that reports whether the scheduler has placed the pod.
const SCHEDULED: &str = "PodScheduled";

/// Returns the state of a launcher in which budgets do not protect it, or not always; `None` for any other.
pub(super) fn launcher_state(metadata: &Meta, status: &PodRoomStatus) -> Option<LauncherState> {
    if status.phase.as_deref() == Some("Pending") || !metadata.deletion_timestamp.is_empty() {
        return Some(LauncherState::Unprotected);
    }
    let mut conditions = status.conditions.iter().flatten();
    // A dump may have been cut down: without the condition nothing is known.
    let ready = conditions.find(|condition| condition.r#type.as_deref() == Some("Ready"))?;
    (ready.status.as_deref() != Some("True")).then_some(LauncherState::Unready)
}

/// Returns the scheduler's message about a pod that it placed nowhere.
pub(super) fn unplaced(status: &PodRoomStatus) -> Option<&str> {
    let is_meant = |condition: &&PodCondition| {
        condition.r#type.as_deref() == Some(SCHEDULED) && condition.status.as_deref() == Some("False")
    };
    status.conditions.iter().flatten().find(is_meant)?.message.as_deref()
}

/// Returns the read `status.conditions` of a pod: of a running one that is not ready, and of one that the scheduler
/// placed nowhere; `None` for any other pod.
///
/// # Errors
///
/// Whatever `reader` says.
pub(crate) fn read_conditions<'a, R: Reader<'a>>(reader: &R) -> Result<Option<Value>, R::Error> {
    let pod = reader.read::<PodRoom>()?;
    let status = pod.status.unwrap_or_default();
    let state = launcher_state(&pod.metadata.unwrap_or_default(), &status);
    let unready = (state == Some(LauncherState::Unready)).then(|| json!({"type": "Ready", "status": "False"}));
    let unplaced = unplaced(&status);
    let unplaced = unplaced.map(|message| json!({"type": SCHEDULED, "status": "False", "message": message}));
    let conditions: Vec<Value> = unready.into_iter().chain(unplaced).collect();
    Ok((!conditions.is_empty()).then_some(Value::Array(conditions)))
}
