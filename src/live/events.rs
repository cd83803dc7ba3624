//! Reports, written as Kubernetes Events: equal ones counted, storms cut off, reviews never kept waiting.
//!
//! An Event is one object and one reason. What is told again within some minutes is counted in the Event that is there, with
//! the newest words: virt-controller tries again for ever what fails. That is why Events are written to the API group `v1`:
//! `events.k8s.io/v1`, and with it the client library's recorder, keeps the words of the first for good.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::ObjectMeta;
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, warn};

use super::connect::words;
use crate::report::{Note, Reason, Regarding, Report};
use crate::telemetry::{EventResult, Metrics};

/// Who reports.
pub const CONTROLLER: &str = "cpufit.io/cpufit";
/// So many reports wait to be written.
const QUEUE: usize = 256;
/// An Event that is told again is renewed no more often than this.
const RENEWED: Duration = Duration::from_secs(10);
/// What is told again after this is another Event.
const FORGOTTEN: Duration = Duration::from_secs(600);
/// So many objects are remembered.
const OBJECTS: usize = 4096;
/// How long a write may take.
const WRITE: Duration = Duration::from_secs(5);
/// How long writing what is left may take at the end.
const LAST_WRITES: Duration = Duration::from_secs(3);
/// How long an object's name may be.
const NAME: usize = 253;

/// Writes about one object: ten at once, then two a minute.
const OF_OBJECT: Rate = Rate { burst: 10.0, per_second: 1.0 / 30.0 };
/// All writes: a hundred at once, then five a second.
const OF_ALL: Rate = Rate { burst: 100.0, per_second: 5.0 };

/// Where reports are handed in.
#[derive(Clone, Debug)]
pub struct Reports {
    queue: mpsc::Sender<Report>,
    metrics: Arc<Metrics>,
}

/// Where reports are handed in, and where they come out.
#[must_use]
pub fn channel(metrics: &Arc<Metrics>) -> (Reports, mpsc::Receiver<Report>) {
    let (queue, reports) = mpsc::channel(QUEUE);
    (Reports { queue, metrics: Arc::clone(metrics) }, reports)
}

impl Reports {
    /// Tells of something, if there is room: Events are a courtesy, reviews are not.
    pub fn tell(&self, report: Report) {
        if self.queue.try_send(report).is_err() {
            self.metrics.event(EventResult::Dropped);
        }
    }
}

/// Writes reports as Events until nobody hands in any more or `stop` changes; then what is left, briefly.
pub async fn run(
    client: Client,
    replica: String,
    mut reports: mpsc::Receiver<Report>,
    metrics: Arc<Metrics>,
    mut stop: watch::Receiver<()>,
) {
    let mut writer = Writer { client, replica, metrics, ledger: Ledger::new(Now::read().tick), trouble: None };
    loop {
        let due = writer.ledger.next_due();
        tokio::select! {
            biased;
            // An error means that the process ends.
            _ = stop.changed() => break,
            report = reports.recv() => match report {
                Some(report) => writer.take(report),
                None => break,
            },
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
        }
        let now = Now::read();
        if let Some(write) = writer.ledger.due(now.tick) {
            writer.write(&write, now).await;
        }
    }
    reports.close();
    while let Ok(report) = reports.try_recv() {
        writer.take(report);
    }
    // A count that is short of the last few is no loss.
    let _ = timeout(LAST_WRITES, async {
        for write in writer.ledger.rest() {
            writer.write(&write, Now::read()).await;
        }
    })
    .await;
}

/// One instant, by the clock that never jumps and by the one that people read.
#[derive(Clone, Copy, Debug)]
struct Now {
    tick: Instant,
    clock: Timestamp,
}

impl Now {
    fn read() -> Self {
        Self { tick: Instant::now(), clock: Timestamp::now() }
    }
}

struct Writer {
    client: Client,
    replica: String,
    metrics: Arc<Metrics>,
    ledger: Ledger,
    /// The last failure, so that a lasting one is told once.
    trouble: Option<String>,
}

impl Writer {
    fn take(&mut self, report: Report) {
        match self.ledger.take(report, Now::read()) {
            Taken::New => {}
            Taken::Again => self.metrics.event(EventResult::Deduplicated),
            Taken::TooMuch => self.metrics.event(EventResult::Limited),
        }
    }

    async fn write(&mut self, write: &Due, now: Now) {
        let Some(series) = self.ledger.series(&write.0, write.1) else { return };
        let told = series.count;
        let failure = match timeout(WRITE, put(&self.client, &self.replica, write, series)).await {
            Ok(Ok(())) => {
                self.metrics.event(EventResult::Written);
                self.trouble = None;
                self.ledger.written(write, told, now.tick);
                return;
            }
            Ok(Err(kube::Error::Api(status))) if status.code == 404 && series.is_stored => {
                // It expired, or somebody deleted it.
                self.ledger.lost(write, now.tick);
                return;
            }
            Ok(Err(kube::Error::Api(status))) => {
                let is_passing = status.code == 429 || status.code >= 500;
                self.ledger.failed(write, is_passing, now.tick);
                // A namespace that is being deleted, or is gone, takes no Events.
                if status.code == 404 || status.has_cause("NamespaceTerminating") {
                    debug!(namespace = write.0.namespace(), error = status.message, "no Event: the namespace is gone");
                    self.metrics.event(EventResult::Failed);
                    return;
                }
                status.message.clone()
            }
            Ok(Err(error)) => {
                self.ledger.failed(write, true, now.tick);
                words(&error)
            }
            Err(_) => {
                self.ledger.failed(write, true, now.tick);
                format!("no answer in {WRITE:?}")
            }
        };
        self.metrics.event(EventResult::Failed);
        if self.trouble.is_none() {
            warn!(error = failure, "an Event cannot be written; this is said once until one can");
        } else {
            debug!(error = failure, "an Event cannot be written");
        }
        self.trouble = Some(failure);
    }
}

trait HasCause {
    fn has_cause(&self, reason: &str) -> bool;
}

impl HasCause for kube::core::Status {
    fn has_cause(&self, reason: &str) -> bool {
        self.details.as_ref().is_some_and(|details| details.causes.iter().any(|cause| cause.reason == reason))
    }
}

/// Creates or renews an Event.
async fn put(client: &Client, replica: &str, (about, reason): &Due, series: &Series) -> kube::Result<()> {
    // That of a cluster-scoped object is in `default`: where kubectl looks for it.
    let namespace = if about.namespace().is_empty() { "default" } else { about.namespace() };
    let api: Api<Event> = Api::namespaced(client.clone(), namespace);
    if series.is_stored {
        let patch = json!({
            "count": series.count, "lastTimestamp": Time(series.last), "message": series.note.as_str(),
            "reportingInstance": replica,
        });
        api.patch(&series.name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        return Ok(());
    }
    let event = event(namespace, replica, about, *reason, series);
    match api.create(&PostParams::default(), &event).await {
        // A create whose answer was lost.
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
        other => other.map(|_| ()),
    }
}

fn event(namespace: &str, replica: &str, about: &Regarding, reason: Reason, series: &Series) -> Event {
    let known = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let (api_version, kind) = about.kind().api();
    Event {
        metadata: ObjectMeta {
            name: Some(series.name.clone()),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        involved_object: ObjectReference {
            api_version: Some(api_version.to_owned()),
            kind: Some(kind.to_owned()),
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

/// How much may be written.
#[derive(Clone, Copy, Debug)]
struct Rate {
    burst: f64,
    per_second: f64,
}

/// What may still be written.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Bucket {
    fn full(rate: Rate, now: Instant) -> Self {
        Self { tokens: rate.burst, at: now }
    }

    fn fill(&mut self, rate: Rate, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + passed * rate.per_second).min(rate.burst);
        self.at = now;
        self.tokens >= 1.0
    }
}

/// One Event, as it should stand.
#[derive(Clone, Debug)]
struct Series {
    name: String,
    note: Note,
    count: i32,
    first: Timestamp,
    last: Timestamp,
    /// The API server has it.
    is_stored: bool,
    /// How many of `count` the API server knows.
    written: i32,
    renewed: Instant,
    is_queued: bool,
}

#[derive(Debug)]
struct Told {
    bucket: Bucket,
    series: BTreeMap<Reason, Series>,
    heard: Instant,
}

type Due = (Regarding, Reason);

/// What a report became.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taken {
    /// An Event of its own.
    New,
    /// One more of an Event that is there.
    Again,
    /// Nothing.
    TooMuch,
}

/// What was told lately, and what is to be written when.
#[derive(Debug)]
struct Ledger {
    objects: HashMap<Regarding, Told>,
    all: Bucket,
    queue: BTreeMap<(Instant, u64), Due>,
    /// Tells those of one instant apart.
    number: u64,
}

impl Ledger {
    fn new(now: Instant) -> Self {
        Self { objects: HashMap::new(), all: Bucket::full(OF_ALL, now), queue: BTreeMap::new(), number: 0 }
    }

    fn take(&mut self, report: Report, now: Now) -> Taken {
        let Report { regarding, reason, note } = report;
        let Now { tick, clock } = now;
        if !self.objects.contains_key(&regarding) && self.objects.len() >= OBJECTS {
            self.objects.retain(|_, told| told.heard + FORGOTTEN > tick);
            if self.objects.len() >= OBJECTS {
                return Taken::TooMuch;
            }
        }
        let told = self.objects.entry(regarding.clone()).or_insert_with(|| Told {
            bucket: Bucket::full(OF_OBJECT, tick),
            series: BTreeMap::new(),
            heard: tick,
        });
        told.series.retain(|_, series| series.is_queued || series.renewed + FORGOTTEN > tick);
        if let Some(series) = told.series.get_mut(&reason) {
            told.heard = tick;
            series.count = series.count.saturating_add(1);
            series.last = clock;
            series.note = note;
            if !series.is_queued {
                series.is_queued = true;
                let at = series.renewed + RENEWED;
                self.queue(at.max(tick), (regarding, reason));
            }
            return Taken::Again;
        }
        // Both are looked at before either is taken from.
        if !(told.bucket.fill(OF_OBJECT, tick) & self.all.fill(OF_ALL, tick)) {
            return Taken::TooMuch;
        }
        told.bucket.tokens -= 1.0;
        self.all.tokens -= 1.0;
        told.heard = tick;
        let series = Series {
            name: name(regarding.name(), clock),
            note,
            count: 1,
            first: clock,
            last: clock,
            is_stored: false,
            written: 0,
            renewed: tick,
            is_queued: true,
        };
        told.series.insert(reason, series);
        self.queue(tick, (regarding, reason));
        Taken::New
    }

    fn queue(&mut self, at: Instant, due: Due) {
        self.number += 1;
        self.queue.insert((at, self.number), due);
    }

    fn next_due(&self) -> Option<Instant> {
        self.queue.keys().next().map(|(at, _)| *at)
    }

    /// The next one that is to be written by now; a renewal for which there is no room waits.
    fn due(&mut self, now: Instant) -> Option<Due> {
        while self.next_due()? <= now {
            let (_, due) = self.queue.pop_first()?;
            let Some(told) = self.objects.get_mut(&due.0) else { continue };
            let Some(series) = told.series.get_mut(&due.1) else { continue };
            // A new one has paid when it was taken.
            if series.written > 0 || series.is_stored {
                if !(told.bucket.fill(OF_OBJECT, now) & self.all.fill(OF_ALL, now)) {
                    self.queue(now + RENEWED, due);
                    continue;
                }
                told.bucket.tokens -= 1.0;
                self.all.tokens -= 1.0;
            }
            series.is_queued = false;
            return Some(due);
        }
        None
    }

    /// All that is still to be written.
    fn rest(&mut self) -> Vec<Due> {
        std::mem::take(&mut self.queue).into_values().collect()
    }

    fn series(&self, about: &Regarding, reason: Reason) -> Option<&Series> {
        self.objects.get(about)?.series.get(&reason)
    }

    fn series_mut(&mut self, (about, reason): &Due) -> Option<&mut Series> {
        self.objects.get_mut(about)?.series.get_mut(reason)
    }

    fn written(&mut self, due: &Due, count: i32, now: Instant) {
        if let Some(series) = self.series_mut(due) {
            series.is_stored = true;
            series.written = count;
            series.renewed = now;
        }
    }

    /// The API server has it no more: it is made anew.
    fn lost(&mut self, due: &Due, now: Instant) {
        if let Some(series) = self.series_mut(due) {
            series.is_stored = false;
            series.written = 0;
            series.is_queued = true;
            self.queue(now, due.clone());
        }
    }

    /// It could not be written: tried again later, or never.
    fn failed(&mut self, due: &Due, is_passing: bool, now: Instant) {
        let Some(told) = self.objects.get_mut(&due.0) else { return };
        if is_passing && told.heard + FORGOTTEN > now {
            if let Some(series) = told.series.get_mut(&due.1) {
                series.is_queued = true;
                self.queue(now + RENEWED, due.clone());
            }
        } else {
            told.series.remove(&due.1);
        }
    }
}

/// `OBJECT.HEX`, as others name their Events.
fn name(object: &str, clock: Timestamp) -> String {
    let suffix = format!(".{:x}", clock.as_nanosecond());
    let mut name = cut(object, NAME - suffix.len()).trim_end_matches(['.', '-']).to_owned();
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
