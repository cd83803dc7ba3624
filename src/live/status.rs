//! The status that the leader writes into each policy: whether it is valid, on how many nodes its model is usable, and
//! the states of its guests.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant as Clock};

use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::core::DynamicObject;
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, warn};

use super::Live;
use super::connect::words;
use super::events::Reports;
use super::inventory::Snapshot;
use super::kinds::Registered;
use crate::answers::status::{PolicyCondition, PolicyStatus, conditions_of_invalid, statuses};
use crate::fit::shown::Shown;
use crate::kubevirt::resource::Resource;
use crate::report::{EventReport, Note, Reason, Regarding};

/// Minimum interval between two updates of the status.
const UPDATE_INTERVAL: Duration = Duration::from_secs(5);
/// Divisor of one core's time that counting may use.
const CORE_SHARE: u32 = 20;
/// Maximum time of a count; after it the status names the guests that are left out.
const COUNT_TIMEOUT: Duration = Duration::from_secs(30);
/// Delay before a retry after a failure.
const RETRY_INTERVAL: Duration = Duration::from_secs(30);
/// Maximum time of a write.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// Writes the status of all policies after each snapshot while this replica leads, forever.
pub(crate) async fn run(
    client: Client,
    live: Arc<Live>,
    mut published: watch::Receiver<u64>,
    mut leads: watch::Receiver<bool>,
    reports: Reports,
) {
    let api: Api<DynamicObject> = Api::all_with(client, &Resource::Policies.api());
    let mut writer = StatusWriter { api, reports, reported_invalid: BTreeMap::new(), trouble: None };
    let mut not_before = Instant::now();
    let mut again = None;
    loop {
        tokio::select! {
            changed = published.changed() => if changed.is_err() { return },
            changed = leads.changed() => if changed.is_err() { return },
            () = sleep_until(again.unwrap_or_else(Instant::now)), if again.is_some() => {}
        }
        sleep_until(not_before).await;
        let is_synced = *published.borrow_and_update() > 0;
        if !*leads.borrow_and_update() || !is_synced {
            again = None;
            continue;
        }
        let started = Instant::now();
        let is_done = writer.write(live.snapshot()).await;
        not_before = started + UPDATE_INTERVAL.max(started.elapsed() * CORE_SHARE);
        again = (!is_done).then(|| started + RETRY_INTERVAL);
    }
}

struct StatusWriter {
    api: Api<DynamicObject>,
    reports: Reports,
    /// The invalid policies for which an Event was written: UID and generation, by name.
    reported_invalid: BTreeMap<String, (String, i64)>,
    trouble: Option<String>,
}

impl StatusWriter {
    /// Writes the status of all policies. Returns whether everything succeeded.
    async fn write(&mut self, snapshot: Arc<Snapshot>) -> bool {
        self.reported_invalid.retain(|name, _| snapshot.policies.contains_key(name));
        if snapshot.policies.is_empty() {
            return true;
        }
        let counted = Arc::clone(&snapshot);
        // The count stops when it is no longer awaited, because a process that ends waits for all blocking tasks.
        let waiting = Arc::new(());
        let is_waiting = Arc::downgrade(&waiting);
        let counting = spawn_blocking(move || {
            let started = Clock::now();
            let is_over = || started.elapsed() > COUNT_TIMEOUT || is_waiting.strong_count() == 0;
            statuses(&counted.world, &is_over, &|| started.elapsed())
        });
        let Ok(found) = counting.await else { return false };
        drop(waiting);
        let mut is_done = true;
        for (name, registered) in &*snapshot.policies {
            let found = found.iter().find(|found| found.nodes.policy == *name);
            self.report_invalid(registered);
            let wanted = status(registered, found, Timestamp::now());
            if differs(&registered.status, &wanted) {
                is_done &= self.patch(name, wanted).await;
            }
        }
        is_done
    }

    async fn patch(&mut self, name: &str, status: Value) -> bool {
        let patch = Patch::Merge(json!({"status": status}));
        let failure = match timeout(WRITE_TIMEOUT, self.api.patch_status(name, &PatchParams::default(), &patch)).await {
            Ok(Ok(_)) => {
                self.trouble = None;
                return true;
            }
            // The policy was deleted a moment ago.
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => return true,
            Ok(Err(error)) => words(&error),
            Err(_) => format!("no answer in {WRITE_TIMEOUT:?}"),
        };
        if self.trouble.is_none() {
            warn!(
                policy = name,
                error = failure,
                "the status of a policy cannot be written; logged once until it is written"
            );
        } else {
            debug!(policy = name, error = failure, "its status cannot be written");
        }
        self.trouble = Some(failure);
        false
    }

    /// Reports an invalid policy, once for each generation.
    fn report_invalid(&mut self, registered: &Registered) {
        let Registered { metadata, policy, .. } = registered;
        let Err(problem) = policy else { return };
        let now = (metadata.uid.clone(), metadata.generation);
        if self.reported_invalid.insert(metadata.name.clone(), now.clone()) == Some(now) || is_known_invalid(registered)
        {
            return;
        }
        self.reports.push(EventReport {
            regarding: Regarding::policy(metadata),
            reason: Reason::PolicyInvalid,
            note: Note::of_watched(&format!("the policy is ignored: {problem}")),
        });
    }
}

/// Whether the status already says that this generation is invalid, so that an earlier leader wrote the Event.
fn is_known_invalid(registered: &Registered) -> bool {
    let known = condition(&registered.status, "Valid");
    known.is_some_and(|known| {
        known["status"] == "False" && known["observedGeneration"] == registered.metadata.generation
    })
}

fn condition<'s>(status: &'s Value, kind: &str) -> Option<&'s Value> {
    status["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind)
}

/// Returns the new status as a merge patch, in which `null` removes a field.
fn status(registered: &Registered, found: Option<&PolicyStatus>, now: Timestamp) -> Value {
    let generation = registered.metadata.generation;
    let conditions = match (&registered.policy, found) {
        (Err(problem), _) => conditions_of_invalid(problem),
        (Ok(_), Some(found)) => found.conditions(),
        // The policy did not exist when it was counted.
        (Ok(_), None) => return json!({}),
    };
    let count = |of: fn(&PolicyStatus) -> usize| found.map(of);
    json!({
        "observedGeneration": generation,
        "ready": conditions.iter().find(|condition| condition.kind == "Ready").map(PolicyCondition::word),
        "nodes": count(|found| found.nodes.nodes),
        "usableNodes": count(|found| found.nodes.usable_nodes.unwrap_or(found.nodes.nodes)),
        "coverage": found.map(PolicyStatus::coverage),
        "guests": count(|found| found.guests),
        "notCompliant": count(|found| found.not_compliant),
        "pinned": count(|found| found.now.pinned),
        "unschedulable": count(|found| found.now.unschedulable),
        "now": found.map(|found| found.now),
        "atNextStart": found.map(|found| found.at_next_start),
        "stale": count(|found| found.stale),
        "recommendedModel": found.and_then(|found| found.nodes.recommended_model.as_ref()),
        "conditions": merged(&registered.status, &conditions, generation, now),
    })
}

/// Merges the conditions: those of other writers stay, and unchanged ones keep their transition time.
fn merged(before: &Value, conditions: &[PolicyCondition], generation: i64, now: Timestamp) -> Value {
    let is_own = |known: &&Value| conditions.iter().any(|own| known["type"] == own.kind);
    let known = before["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let own = conditions.iter().map(|PolicyCondition { kind, holds, reason, message }| {
        let holds = if *holds { "True" } else { "False" };
        let since = condition(before, kind).filter(|known| known["status"] == holds);
        let since = since.and_then(|known| known["lastTransitionTime"].as_str().map(str::to_owned));
        let since = since.unwrap_or_else(|| now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
        json!({
            "type": kind, "status": holds, "observedGeneration": generation, "reason": reason, "message": Shown::new(message),
            "lastTransitionTime": since,
        })
    });
    own.chain(known.iter().filter(|known| !is_own(known)).cloned()).collect()
}

/// Whether a merge patch would change a field.
fn differs(before: &Value, patch: &Value) -> bool {
    patch.as_object().is_some_and(|patch| patch.iter().any(|(field, value)| before[field.as_str()] != *value))
}

#[cfg(test)]
mod tests;
