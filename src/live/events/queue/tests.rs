//! Reports in, due Events out.
use proptest::prelude::*;

use super::*;
use crate::testing::cluster::known;
use crate::word::Word as _;

fn report_of(namespace: &str, name: &str, reason: Reason, line: &str) -> EventReport {
    let regarding = known(namespace, name, &format!("uid-{name}"));
    EventReport { regarding, reason, note: Note::of_watched(line) }
}

fn report(name: &str, reason: Reason, line: &str) -> EventReport {
    report_of("shop", name, reason, line)
}

struct Bench {
    queue: EventQueue,
    start: Now,
}

impl Bench {
    fn new() -> Self {
        let start = Now::read();
        Self { queue: EventQueue::new(start.tick), start }
    }

    fn at(&self, seconds: u64) -> Now {
        let passed = Duration::from_secs(seconds);
        Now { tick: self.start.tick + passed, clock: self.start.clock + passed }
    }

    fn queue(&mut self, seconds: u64, report: EventReport) -> Queued {
        self.queue.take(report, self.at(seconds))
    }

    /// Returns the Events written by then, each with success.
    fn written(&mut self, seconds: u64) -> Vec<(String, i32, String)> {
        let now = self.at(seconds).tick;
        let mut out = Vec::new();
        while let Some(due) = self.queue.due(now) {
            let series = self.queue.series(&due).expect("what is due is there").clone();
            self.queue.written(&due, series.count, now);
            out.push((due.0.name().to_owned(), series.count, series.note.as_str().to_owned()));
        }
        out
    }
}

fn event(name: &str, count: i32, note: &str) -> (String, i32, String) {
    (name.to_owned(), count, note.to_owned())
}

#[test]
fn repeated_reports_are_one_event_with_a_count_and_few_writes() {
    let mut bench = Bench::new();
    assert_eq!(bench.queue(0, report("db", Reason::NoTarget, "first")), Queued::New);
    assert_eq!(bench.written(0), [event("db", 1, "first")], "the first word must not wait");
    for second in 1..=9 {
        assert_eq!(bench.queue(second, report("db", Reason::NoTarget, "again")), Queued::Again);
        assert_eq!(bench.written(second), [], "each retry of virt-controller would be a write");
    }
    bench.queue(9, report("db", Reason::NoTarget, "newest"));
    assert_eq!(bench.written(10), [event("db", 11, "newest")]);
    assert_eq!(bench.written(600), [], "what is not reported is not written");
    assert_eq!(bench.queue(609, report("db", Reason::NoTarget, "late")), Queued::Again);
    assert_eq!(bench.written(609), [event("db", 12, "late")]);
    assert_eq!(bench.queue(1210, report("db", Reason::NoTarget, "new")), Queued::New, "old counts would never end");
    assert_eq!(bench.written(1210), [event("db", 1, "new")]);
}

#[test]
fn another_reason_and_another_object_are_other_events() {
    let mut bench = Bench::new();
    bench.queue(0, report("db", Reason::NoTarget, "a"));
    bench.queue(0, report("db", Reason::OwnNode, "b"));
    bench.queue(0, report("web", Reason::NoTarget, "c"));
    let mut reborn = report("db", Reason::NoTarget, "d");
    reborn.regarding = known("shop", "db", "another");
    bench.queue(0, reborn);
    assert_eq!(bench.written(0), [event("db", 1, "a"), event("db", 1, "b"), event("web", 1, "c"), event("db", 1, "d")]);
}

/// A guest that a controller creates again after each denial has a new UID each time; one whose note changes keeps its
/// UID.
#[test]
fn events_of_a_busy_namespace_are_limited_for_a_time() {
    let mut bench = Bench::new();
    let storm = |bench: &mut Bench, second, guests: std::ops::Range<u32>| {
        let taken = guests.map(|number| bench.queue(second, report(&format!("g{number}"), Reason::NoNode, "x")));
        taken.filter(|taken| *taken == Queued::New).count()
    };
    assert_eq!(storm(&mut bench, 0, 0..500), 50);
    assert_eq!(bench.written(0).len(), 50);
    assert_eq!(storm(&mut bench, 10, 500..600), 5);
    bench.written(10);

    // The share of one object: a burst of ten, then one each half minute.
    let mut bench = Bench::new();
    bench.queue(0, report("db", Reason::NoTarget, "x"));
    let mut writes = bench.written(0).len();
    for second in 1..=300 {
        bench.queue(second, report("db", Reason::NoTarget, "x"));
        writes += bench.written(second).len();
    }
    assert!((15..=22).contains(&writes), "{writes} writes in five minutes of one object");
}

/// A storm of guests of one namespace, forged or real, does not affect the Events of others.
#[test]
fn no_namespace_uses_up_what_another_may_write() {
    let mut bench = Bench::new();
    for number in 0..500 {
        bench.queue(0, report_of("noisy", &format!("g{number}"), Reason::NoNode, "x"));
    }
    assert_eq!(bench.queue(0, report("db", Reason::NoTarget, "true")), Queued::New);
    let now = bench.at(0).tick;
    let first = [bench.queue.due(now), bench.queue.due(now)].map(|due| due.expect("due").0.namespace().to_owned());
    assert!(first.contains(&"shop".to_owned()), "it waits for more than one turn of another namespace: {first:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    /// Some namespaces storm forever, with any number of objects and reasons. A namespace that keeps to its budget has
    /// each of its Events written within one turn of all.
    #[test]
    fn a_namespace_with_few_events_is_not_starved_by_busy_ones(
        loud in 1_usize..30,
        each in 1_usize..20,
        seconds in 20_u64..60,
        seed in any::<u64>(),
    ) {
        let guests = |namespace: usize| (0..60).map(move |guest| known(&format!("loud-{namespace}"), &format!("g{guest}"), "u"));
        let guests: Vec<Vec<Regarding>> = (0..loud).map(|namespace| guests(namespace).collect()).collect();
        let mut bench = Bench::new();
        let (mut random, mut reported, mut seen, mut waited) = (seed | 1, 0_u64, 0_u64, 0_u64);
        let turn = u64::try_from(loud).expect("few") / 5 + 2;
        let note = Note::of_watched("x");
        for second in 0..seconds {
            for _ in 0..loud * each {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                let number = usize::try_from(random >> 8).expect("64 bits");
                let regarding = guests[number % loud][number / loud % 60].clone();
                bench.queue(second, EventReport { regarding, reason: Reason::ALL[number % 9], note: note.clone() });
            }
            if second % turn == 0 {
                let quiet = report_of("quiet", &format!("q{reported}"), Reason::NoTarget, "true");
                prop_assert_eq!(bench.queue(second, quiet), Queued::New);
                reported += 1;
            }
            let written = bench.written(second);
            seen += u64::try_from(written.iter().filter(|(name, ..)| name.starts_with('q')).count()).expect("few");
            waited = if seen < reported { waited + 1 } else { 0 };
            prop_assert!(waited <= turn, "{waited} s for a turn among {loud}");
            prop_assert!(bench.queue.objects() <= MAX_OBJECTS);
        }
    }
}

#[test]
fn the_event_queue_is_bounded() {
    let mut bench = Bench::new();
    for number in 0..6_000 {
        let second = number / 100;
        bench.queue(second, report_of(&format!("n{}", number % 150), &format!("g{number}"), Reason::NoNode, "x"));
        bench.written(second);
    }
    assert!(bench.queue.objects() <= MAX_OBJECTS, "{}", bench.queue.objects());
    assert_eq!(bench.queue(61, report("last", Reason::NoNode, "x")), Queued::New, "a full memory is full for all");
    bench.queue(20_000, report_of("later", "first", Reason::NoNode, "x"));
    for second in 20_000..21_000 {
        bench.written(second);
    }
    assert_eq!(bench.queue.next_due(), None, "what was written is due no more");
}

#[test]
fn an_expired_event_is_created_again_and_a_failed_write_is_retried() {
    let mut bench = Bench::new();
    bench.queue(0, report("db", Reason::NoTarget, "x"));
    let now = bench.at(0).tick;
    let due = bench.queue.due(now).expect("due");
    bench.queue.failed(&due, true, now);
    assert_eq!(bench.written(9), [], "an API server that is down must not be hammered");
    assert_eq!(bench.written(10), [event("db", 1, "x")]);

    bench.queue(30, report("db", Reason::NoTarget, "y"));
    let now = bench.at(30).tick;
    let due = bench.queue.due(now).expect("due");
    bench.queue.lost(&due, now);
    assert!(!bench.queue.series(&due).expect("there").is_stored);
    assert_eq!(bench.written(30), [event("db", 2, "y")]);

    bench.queue(60, report("gone", Reason::NoTarget, "z"));
    let now = bench.at(60).tick;
    let due = bench.queue.due(now).expect("due");
    bench.queue.failed(&due, false, now);
    assert_eq!(bench.written(600), [], "a namespace that is gone takes no Events");
}

#[test]
fn queued_events_are_written_at_shutdown() {
    let mut bench = Bench::new();
    bench.queue(0, report("db", Reason::NoTarget, "x"));
    bench.written(0);
    bench.queue(1, report("db", Reason::NoTarget, "y"));
    bench.queue(1, report("web", Reason::NoTarget, "z"));
    assert_eq!(bench.queue.rest().len(), 2);
}
