//! Reports in, Events due out.
#![allow(clippy::expect_used)]

use super::*;
use crate::kubevirt::wire::Meta;
use crate::testing::cluster::known;

fn report(name: &str, reason: Reason, line: &str) -> Report {
    let regarding = known("shop", name, &format!("uid-{name}"));
    Report { regarding, reason, note: Note::of_watched(line) }
}

struct Bench {
    ledger: Ledger,
    start: Now,
}

impl Bench {
    fn new() -> Self {
        let start = Now::read();
        Self { ledger: Ledger::new(start.tick), start }
    }

    fn at(&self, seconds: u64) -> Now {
        let passed = Duration::from_secs(seconds);
        Now { tick: self.start.tick + passed, clock: self.start.clock + passed }
    }

    fn tell(&mut self, seconds: u64, report: Report) -> Taken {
        self.ledger.take(report, self.at(seconds))
    }

    /// What is written by then, each time with success.
    fn written(&mut self, seconds: u64) -> Vec<(String, i32, String)> {
        let now = self.at(seconds).tick;
        let mut out = Vec::new();
        while let Some(due) = self.ledger.due(now) {
            let series = self.ledger.series(&due.0, due.1).expect("what is due is there").clone();
            self.ledger.written(&due, series.count, now);
            out.push((due.0.name().to_owned(), series.count, series.note.as_str().to_owned()));
        }
        out
    }
}

fn event(name: &str, count: i32, note: &str) -> (String, i32, String) {
    (name.to_owned(), count, note.to_owned())
}

#[test]
fn what_is_told_again_is_counted_with_the_newest_words_and_no_storm_of_writes() {
    let mut bench = Bench::new();
    assert_eq!(bench.tell(0, report("db", Reason::NoTarget, "first")), Taken::New);
    assert_eq!(bench.written(0), [event("db", 1, "first")], "the first word must not wait");
    for second in 1..=9 {
        assert_eq!(bench.tell(second, report("db", Reason::NoTarget, "again")), Taken::Again);
        assert_eq!(bench.written(second), [], "each retry of virt-controller would be a write");
    }
    bench.tell(9, report("db", Reason::NoTarget, "newest"));
    assert_eq!(bench.written(10), [event("db", 11, "newest")]);
    assert_eq!(bench.written(600), [], "what is not told is not written");
    assert_eq!(bench.tell(609, report("db", Reason::NoTarget, "late")), Taken::Again);
    assert_eq!(bench.written(609), [event("db", 12, "late")]);
    assert_eq!(bench.tell(1210, report("db", Reason::NoTarget, "new")), Taken::New, "old counts would never end");
    assert_eq!(bench.written(1210), [event("db", 1, "new")]);
}

#[test]
fn another_reason_and_another_object_are_other_events() {
    let mut bench = Bench::new();
    bench.tell(0, report("db", Reason::NoTarget, "a"));
    bench.tell(0, report("db", Reason::OwnNode, "b"));
    bench.tell(0, report("web", Reason::NoTarget, "c"));
    let mut reborn = report("db", Reason::NoTarget, "d");
    reborn.regarding = known("shop", "db", "another");
    bench.tell(0, reborn);
    assert_eq!(bench.written(0), [event("db", 1, "a"), event("db", 1, "b"), event("web", 1, "c"), event("db", 1, "d")]);
}

/// A guest that is created, denied and created again by a controller has another UID each time; one whose word changes has not.
#[test]
fn a_storm_is_cut_off_and_forgiven() {
    let mut bench = Bench::new();
    let storm = |bench: &mut Bench, second, guests: std::ops::Range<u32>| {
        guests.map(|number| bench.tell(second, report(&format!("g{number}"), Reason::NoNode, "x"))).collect::<Vec<_>>()
    };
    let taken = storm(&mut bench, 0, 0..500);
    assert_eq!(taken.iter().filter(|taken| **taken == Taken::New).count(), 100);
    assert_eq!(bench.written(0).len(), 100);
    assert_eq!(storm(&mut bench, 10, 500..600).iter().filter(|taken| **taken == Taken::New).count(), 50);
    bench.written(10);

    // One object's share: ten at once, then one each half minute.
    let mut bench = Bench::new();
    bench.tell(0, report("db", Reason::NoTarget, "x"));
    let mut writes = bench.written(0).len();
    for second in 1..=300 {
        bench.tell(second, report("db", Reason::NoTarget, "x"));
        writes += bench.written(second).len();
    }
    assert!((15..=22).contains(&writes), "{writes} writes in five minutes of one object");
}

#[test]
fn memory_is_bounded() {
    let mut bench = Bench::new();
    for number in 0..20_000 {
        let second = number / 4;
        bench.tell(second, report(&format!("g{number}"), Reason::NoNode, "x"));
        bench.written(second);
    }
    assert!(bench.ledger.objects.len() <= OBJECTS, "{}", bench.ledger.objects.len());
    assert_eq!(bench.tell(20_000, report("last", Reason::NoNode, "x")), Taken::New, "a full memory must not last");
    assert!(bench.ledger.queue.len() <= 1, "what was written is due no more");
}

#[test]
fn an_event_that_expired_is_made_anew_and_what_failed_in_passing_is_tried_again() {
    let mut bench = Bench::new();
    bench.tell(0, report("db", Reason::NoTarget, "x"));
    let now = bench.at(0).tick;
    let due = bench.ledger.due(now).expect("due");
    bench.ledger.failed(&due, true, now);
    assert_eq!(bench.written(9), [], "an API server that is down must not be hammered");
    assert_eq!(bench.written(10), [event("db", 1, "x")]);

    bench.tell(30, report("db", Reason::NoTarget, "y"));
    let now = bench.at(30).tick;
    let due = bench.ledger.due(now).expect("due");
    bench.ledger.lost(&due, now);
    assert!(!bench.ledger.series(&due.0, due.1).expect("there").is_stored);
    assert_eq!(bench.written(30), [event("db", 2, "y")]);

    bench.tell(60, report("gone", Reason::NoTarget, "z"));
    let now = bench.at(60).tick;
    let due = bench.ledger.due(now).expect("due");
    bench.ledger.failed(&due, false, now);
    assert_eq!(bench.written(600), [], "a namespace that is gone takes no Events");
}

#[test]
fn what_is_left_is_written_at_the_end() {
    let mut bench = Bench::new();
    bench.tell(0, report("db", Reason::NoTarget, "x"));
    bench.written(0);
    bench.tell(1, report("db", Reason::NoTarget, "y"));
    bench.tell(1, report("web", Reason::NoTarget, "z"));
    assert_eq!(bench.ledger.rest().len(), 2);
}

#[test]
fn names_fit_whatever_they_are_made_of() {
    let clock = Timestamp::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    assert_eq!(name("db", clock), "db.18fae27693b40000");
    let long = name(&"a.".repeat(126), clock);
    assert!(long.len() <= NAME && !long.contains(".."), "{long}");
}

#[test]
fn a_policys_event_names_no_namespace_and_is_kept_in_default() {
    let about = Regarding::policy(&Meta { name: "intel".to_owned(), uid: "u".to_owned(), ..Meta::default() });
    let clock = Timestamp::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let series = Series {
        name: "intel.1".to_owned(),
        note: Note::of_watched("spec.enforce: Sometimes is none"),
        count: 1,
        first: clock,
        last: clock,
        is_stored: false,
        written: 0,
        renewed: Instant::now(),
        is_queued: false,
    };
    let event = super::event("default", "cpufit-1", &about, Reason::PolicyInvalid, &series);
    insta::assert_json_snapshot!(event, @r#"
    {
      "apiVersion": "v1",
      "kind": "Event",
      "count": 1,
      "firstTimestamp": "2027-01-15T08:00:00Z",
      "involvedObject": {
        "apiVersion": "cpufit.io/v1alpha1",
        "kind": "CPUPolicy",
        "name": "intel",
        "uid": "u"
      },
      "lastTimestamp": "2027-01-15T08:00:00Z",
      "message": "spec.enforce: Sometimes is none",
      "metadata": {
        "name": "intel.1",
        "namespace": "default"
      },
      "reason": "CPUPolicyInvalid",
      "reportingComponent": "cpufit.io/cpufit",
      "reportingInstance": "cpufit-1",
      "type": "Warning"
    }
    "#);
}
