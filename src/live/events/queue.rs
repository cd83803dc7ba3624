//! Recent reports and the queue of Events to write.
//!
//! Each namespace has its own budget and queue, and namespaces take turns: none can use up the budget of another, or
//! delay it by more than a turn.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use tokio::time::Instant;

use super::super::rate::{Bucket, Rate, take_all};
use crate::report::{EventReport, Note, Reason, Regarding};

/// Minimum interval between two updates of an Event.
const RENEWED: Duration = Duration::from_secs(10);
/// Time without a report after which the next one becomes a new Event.
const FORGET_AFTER: Duration = Duration::from_secs(600);
/// Maximum number of remembered objects; each has at most one Event for a reason, which may wait to be written.
const MAX_OBJECTS: usize = 2048;

/// Writes about one object: a burst of ten, then two a minute.
const OF_OBJECT: Rate = Rate { burst: 10.0, per_second: 1.0 / 30.0 };
/// Writes about the objects of one namespace: enough for the guests of a node that is drained.
const OF_NAMESPACE: Rate = Rate { burst: 50.0, per_second: 0.5 };
/// All writes: the pace at which namespaces take turns.
const OF_ALL: Rate = Rate { burst: 100.0, per_second: 5.0 };

/// An instant, by the monotonic clock and by the wall clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub(super) tick: Instant,
    pub(super) clock: Timestamp,
}

impl Now {
    pub(super) fn read() -> Self {
        Self { tick: Instant::now(), clock: Timestamp::now() }
    }
}

/// The desired state of an Event.
#[derive(Clone, Debug)]
pub(super) struct Series {
    pub(super) note: Note,
    pub(super) count: i32,
    pub(super) first: Timestamp,
    pub(super) last: Timestamp,
    /// Whether the API server has the Event.
    pub(super) is_stored: bool,
    /// The part of `count` that was written.
    written: i32,
    renewed: Instant,
    is_queued: bool,
}

impl Series {
    pub(super) fn new(note: Note, now: Now) -> Self {
        Self {
            note,
            count: 1,
            first: now.clock,
            last: now.clock,
            is_stored: false,
            written: 0,
            renewed: now.tick,
            is_queued: true,
        }
    }
}

/// The reports about an object.
#[derive(Debug)]
struct History {
    budget: Bucket,
    series: BTreeMap<Reason, Series>,
    reported: Instant,
}

impl History {
    fn is_queued(&self) -> bool {
        self.series.values().any(|series| series.is_queued)
    }
}

/// An Event to write: object and reason.
pub(super) type Due = (Regarding, Reason);

/// The reports about the objects of a namespace.
#[derive(Debug)]
struct Namespace {
    budget: Bucket,
    objects: HashMap<Regarding, History>,
    queue: BTreeMap<(Instant, u64), Due>,
    /// Number of its last turn; later turns have larger numbers.
    turn: u64,
}

impl Namespace {
    /// Removes the object with the oldest report. Returns whether there was one.
    fn forget_one(&mut self) -> bool {
        let oldest = self.objects.iter().min_by_key(|(_, history)| history.reported);
        let Some(oldest) = oldest.map(|(regarding, _)| regarding.clone()) else { return false };
        self.queue.retain(|_, due| due.0 != oldest);
        self.objects.remove(&oldest).is_some()
    }
}

/// The result of queueing a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Queued {
    /// A new Event.
    New,
    /// A repetition of an existing Event.
    Again,
    /// A dropped report: its object or its namespace has used up its budget.
    TooMuch,
}

/// Recent reports and the queue of Events to write.
#[derive(Debug)]
pub(super) struct EventQueue {
    namespaces: HashMap<String, Namespace>,
    all: Bucket,
    /// A counter that orders turns and entries of the same instant.
    number: u64,
}

impl EventQueue {
    pub(super) fn new(now: Instant) -> Self {
        Self { namespaces: HashMap::new(), all: Bucket::full(OF_ALL, now), number: 0 }
    }

    pub(super) fn take(&mut self, report: EventReport, now: Now) -> Queued {
        let EventReport { regarding, reason, note } = report;
        let tick = now.tick;
        let namespace = regarding.namespace().to_owned();
        let known = self.namespaces.get_mut(&namespace).and_then(|known| known.objects.get_mut(&regarding));
        if let Some(history) = known {
            history.series.retain(|_, series| series.is_queued || series.renewed + FORGET_AFTER > tick);
            if let Some(series) = history.series.get_mut(&reason) {
                history.reported = tick;
                series.count = series.count.saturating_add(1);
                series.last = now.clock;
                series.note = note;
                if !series.is_queued {
                    series.is_queued = true;
                    let at = series.renewed + RENEWED;
                    self.queue(at.max(tick), (regarding, reason));
                }
                return Queued::Again;
            }
        } else if !self.make_room(&namespace, tick) {
            return Queued::TooMuch;
        }
        let of_namespace = self.namespaces.entry(namespace).or_insert_with(|| Namespace {
            budget: Bucket::full(OF_NAMESPACE, tick),
            objects: HashMap::new(),
            queue: BTreeMap::new(),
            turn: 0,
        });
        let history = of_namespace.objects.entry(regarding.clone()).or_insert_with(|| History {
            budget: Bucket::full(OF_OBJECT, tick),
            series: BTreeMap::new(),
            reported: tick,
        });
        if !take_all([(&mut history.budget, OF_OBJECT), (&mut of_namespace.budget, OF_NAMESPACE)], tick) {
            // An object without Events and with a full budget need not be remembered.
            if history.series.is_empty() && history.budget.is_full(OF_OBJECT, tick) {
                of_namespace.objects.remove(&regarding);
            }
            return Queued::TooMuch;
        }
        history.reported = tick;
        history.series.insert(reason, Series::new(note, now));
        self.queue(tick, (regarding, reason));
        Queued::New
    }

    /// Makes room for another object of a namespace. If memory is full, a namespace with less than its even share
    /// replaces the object with the oldest report of the largest namespace. Returns whether there is room.
    fn make_room(&mut self, namespace: &str, now: Instant) -> bool {
        if self.objects() < MAX_OBJECTS && self.namespaces.len() < MAX_OBJECTS {
            return true;
        }
        for known in self.namespaces.values_mut() {
            known.objects.retain(|_, history| history.is_queued() || history.reported + FORGET_AFTER > now);
        }
        // A full budget need not be remembered.
        self.namespaces.retain(|_, known| !known.objects.is_empty() || !known.budget.is_full(OF_NAMESPACE, now));
        if self.objects() < MAX_OBJECTS {
            return true;
        }
        let own = self.namespaces.get(namespace).map_or(0, |known| known.objects.len());
        let others = self.namespaces.values().filter(|known| !known.objects.is_empty()).count() - usize::from(own > 0);
        if own >= MAX_OBJECTS / (others + 1) {
            return false;
        }
        let largest = self.namespaces.values_mut().max_by_key(|known| known.objects.len());
        largest.is_some_and(Namespace::forget_one)
    }

    fn objects(&self) -> usize {
        self.namespaces.values().map(|namespace| namespace.objects.len()).sum()
    }

    fn queue(&mut self, at: Instant, due: Due) {
        self.number += 1;
        if let Some(namespace) = self.namespaces.get_mut(due.0.namespace()) {
            namespace.queue.insert((at, self.number), due);
        }
    }

    /// Returns when [`due`](Self::due) has the next Event; `None` if none waits.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let first = self.namespaces.values().filter_map(|namespace| namespace.queue.keys().next()).min();
        first.map(|(at, _)| self.all.next(OF_ALL).max(*at))
    }

    /// Returns the next Event due by now: of the namespaces that have one, that of the namespace with the oldest last
    /// turn. An update without budget is postponed.
    pub(super) fn due(&mut self, now: Instant) -> Option<Due> {
        while self.all.has_one(OF_ALL, now) {
            let is_due = |namespace: &&mut Namespace| namespace.queue.keys().next().is_some_and(|(at, _)| *at <= now);
            let namespace = self.namespaces.values_mut().filter(is_due).min_by_key(|namespace| namespace.turn)?;
            let (_, due) = namespace.queue.pop_first()?;
            let Some(history) = namespace.objects.get_mut(&due.0) else { continue };
            let Some(series) = history.series.get_mut(&due.1) else { continue };
            // A new Event was charged when it was queued.
            let is_new = series.written == 0 && !series.is_stored;
            let budgets = [(&mut history.budget, OF_OBJECT), (&mut namespace.budget, OF_NAMESPACE)];
            if !is_new && !take_all(budgets, now) {
                self.queue(now + RENEWED, due);
                continue;
            }
            series.is_queued = false;
            self.number += 1;
            namespace.turn = self.number;
            self.all.take();
            return Some(due);
        }
        None
    }

    /// Returns all Events that are still to be written.
    pub(super) fn rest(&mut self) -> Vec<Due> {
        let queues = self.namespaces.values_mut().map(|namespace| std::mem::take(&mut namespace.queue));
        queues.flat_map(BTreeMap::into_values).collect()
    }

    pub(super) fn series(&self, (about, reason): &Due) -> Option<&Series> {
        self.namespaces.get(about.namespace())?.objects.get(about)?.series.get(reason)
    }

    fn history_mut(&mut self, about: &Regarding) -> Option<&mut History> {
        self.namespaces.get_mut(about.namespace())?.objects.get_mut(about)
    }

    /// Records that an Event was written with this count.
    pub(super) fn written(&mut self, due: &Due, count: i32, now: Instant) {
        if let Some(series) = self.history_mut(&due.0).and_then(|history| history.series.get_mut(&due.1)) {
            series.is_stored = true;
            series.written = count;
            series.renewed = now;
        }
    }

    /// Records that the API server no longer has an Event, so that it is created again.
    pub(super) fn lost(&mut self, due: &Due, now: Instant) {
        if let Some(series) = self.history_mut(&due.0).and_then(|history| history.series.get_mut(&due.1)) {
            series.is_stored = false;
            series.written = 0;
            // The Event may have been reported again meanwhile.
            if !std::mem::replace(&mut series.is_queued, true) {
                self.queue(now, due.clone());
            }
        }
    }

    /// Records that an Event could not be written: it is retried later if the failure is temporary.
    pub(super) fn failed(&mut self, due: &Due, is_passing: bool, now: Instant) {
        let Some(history) = self.history_mut(&due.0) else { return };
        if is_passing && history.reported + FORGET_AFTER > now {
            let series = history.series.get_mut(&due.1);
            if series.is_some_and(|series| !std::mem::replace(&mut series.is_queued, true)) {
                self.queue(now + RENEWED, due.clone());
            }
        } else {
            history.series.remove(&due.1);
        }
    }
}

#[cfg(test)]
mod tests;
