//! Reports as Kubernetes Events: repeated ones are counted, storms are limited, and reviews never wait for them.
//!
//! An Event is one object and one reason. A report repeated within some minutes increases the count of the existing
//! Event and replaces its note: virt-controller retries failures forever. Events are written to the API group `v1`
//! because `events.k8s.io/v1`, and with it the client library's recorder, keeps the first note permanently.

mod queue;

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::ObjectMeta;
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, warn};

use super::connect::words;
use crate::report::{EventReport, Reason, Regarding};
use crate::telemetry::{EventResult, Metrics};
use queue::{Due, EventQueue, Now, Queued, Series};

/// The reporting controller.
pub(crate) const CONTROLLER: &str = "cpufit.io/cpufit";
/// Maximum time of a write.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum time for the remaining writes at the end.
const LAST_WRITES: Duration = Duration::from_secs(3);
/// Maximum length of an object's name, in bytes.
const MAX_NAME_BYTES: usize = 253;

/// A handle to queue reports.
#[derive(Clone, Debug)]
pub struct Reports(Arc<SharedReports>);

#[derive(Debug)]
struct SharedReports {
    queue: Mutex<EventQueue>,
    /// Notified when a report was queued.
    queued: Notify,
    metrics: Arc<Metrics>,
}

impl Reports {
    /// Creates an empty queue.
    #[must_use]
    pub fn new(metrics: &Arc<Metrics>) -> Self {
        let queue = Mutex::new(EventQueue::new(Now::read().tick));
        Self(Arc::new(SharedReports { queue, queued: Notify::new(), metrics: Arc::clone(metrics) }))
    }

    /// Queues an Event and returns immediately. The report may be dropped.
    pub fn push(&self, report: EventReport) {
        let taken = self.queue().take(report, Now::read());
        match taken {
            Queued::New => {}
            Queued::Again => self.0.metrics.event(EventResult::Deduplicated),
            Queued::TooMuch => return self.0.metrics.event(EventResult::Limited),
        }
        self.0.queued.notify_one();
    }

    fn queue(&self) -> MutexGuard<'_, EventQueue> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes reports as Events until `stop` changes; then writes the rest within a short time.
pub(crate) async fn run(client: Client, replica: String, reports: Reports, mut stop: watch::Receiver<()>) {
    let mut writer = Writer { client, replica, reports, trouble: None };
    loop {
        let due = writer.reports.queue().next_due();
        tokio::select! {
            biased;
            // An error means that the process is ending.
            _ = stop.changed() => break,
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            () = writer.reports.0.queued.notified() => {}
        }
        let now = Now::read();
        let due = writer.reports.queue().due(now.tick);
        if let Some(due) = due {
            writer.write(&due, now).await;
        }
    }
    let rest = writer.reports.queue().rest();
    // Losing the last few increments of a count is acceptable.
    let _ = timeout(LAST_WRITES, async {
        for due in rest {
            writer.write(&due, Now::read()).await;
        }
    })
    .await;
}

struct Writer {
    client: Client,
    replica: String,
    reports: Reports,
    /// The last failure, so that a persistent one is logged once.
    trouble: Option<String>,
}

impl Writer {
    async fn write(&mut self, due: &Due, now: Now) {
        let Some(series) = self.reports.queue().series(due).cloned() else { return };
        let metrics = Arc::clone(&self.reports.0.metrics);
        let failure = match timeout(WRITE_TIMEOUT, put(&self.client, &self.replica, due, &series)).await {
            Ok(Ok(())) => {
                metrics.event(EventResult::Written);
                self.trouble = None;
                self.reports.queue().written(due, series.count, now.tick);
                return;
            }
            Ok(Err(kube::Error::Api(status))) if status.code == 404 && series.is_stored => {
                // The Event expired, or was deleted.
                self.reports.queue().lost(due, now.tick);
                return;
            }
            Ok(Err(kube::Error::Api(status))) => {
                let is_passing = status.code == 429 || status.code >= 500;
                self.reports.queue().failed(due, is_passing, now.tick);
                // A namespace that is being deleted, or is gone, accepts no Events.
                if status.code == 404 || has_cause(&status, "NamespaceTerminating") {
                    debug!(namespace = due.0.namespace(), error = status.message, "no Event: the namespace is gone");
                    metrics.event(EventResult::Failed);
                    return;
                }
                status.message.clone()
            }
            Ok(Err(error)) => {
                self.reports.queue().failed(due, true, now.tick);
                words(&error)
            }
            Err(_) => {
                self.reports.queue().failed(due, true, now.tick);
                format!("no answer in {WRITE_TIMEOUT:?}")
            }
        };
        metrics.event(EventResult::Failed);
        if self.trouble.is_none() {
            warn!(error = failure, "an Event cannot be written; logged once until one is written");
        } else {
            debug!(error = failure, "an Event cannot be written");
        }
        self.trouble = Some(failure);
    }
}

/// Whether the API server names this reason among the causes of an error.
fn has_cause(status: &kube::core::Status, reason: &str) -> bool {
    status.details.as_ref().is_some_and(|details| details.causes.iter().any(|cause| cause.reason == reason))
}

/// Creates or updates an Event.
async fn put(client: &Client, replica: &str, (about, reason): &Due, series: &Series) -> kube::Result<()> {
    // Events about cluster-scoped objects go to namespace `default`, where kubectl looks for them.
    let namespace = if about.namespace().is_empty() { "default" } else { about.namespace() };
    let api: Api<Event> = Api::namespaced(client.clone(), namespace);
    if series.is_stored {
        let patch = json!({
            "count": series.count, "lastTimestamp": Time(series.last), "message": series.note.as_str(),
            "reportingInstance": replica,
        });
        api.patch(&name(about.name(), series.first), &PatchParams::default(), &Patch::Merge(patch)).await?;
        return Ok(());
    }
    let event = event(namespace, replica, about, *reason, series);
    match api.create(&PostParams::default(), &event).await {
        // The response to an earlier create was lost.
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
        other => other.map(|_| ()),
    }
}

fn event(namespace: &str, replica: &str, about: &Regarding, reason: Reason, series: &Series) -> Event {
    let known = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let resource = about.kind().resource();
    Event {
        metadata: ObjectMeta {
            name: Some(name(about.name(), series.first)),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        involved_object: ObjectReference {
            api_version: Some(resource.api_version()),
            kind: Some(resource.kind().to_owned()),
            namespace: known(about.namespace()),
            name: Some(about.name().to_owned()),
            uid: known(about.uid()),
            ..ObjectReference::default()
        },
        type_: Some(if reason.is_normal() { "Normal" } else { "Warning" }.to_owned()),
        reason: Some(reason.as_str().to_owned()),
        message: Some(series.note.as_str().to_owned()),
        count: Some(series.count),
        first_timestamp: Some(Time(series.first)),
        last_timestamp: Some(Time(series.last)),
        reporting_component: Some(CONTROLLER.to_owned()),
        reporting_instance: Some(replica.to_owned()),
        ..Event::default()
    }
}

/// Returns the name `OBJECT.HEX`, as other components name their Events.
fn name(object: &str, clock: Timestamp) -> String {
    let suffix = format!(".{:x}", clock.as_nanosecond());
    let mut name = cut(object, MAX_NAME_BYTES - suffix.len()).trim_end_matches(['.', '-']).to_owned();
    // Writing to a String cannot fail.
    let _ = write!(name, "{suffix}");
    name
}

fn cut(text: &str, bytes: usize) -> &str {
    let end = (0..=bytes.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or_default()]
}

#[cfg(test)]
mod tests;
