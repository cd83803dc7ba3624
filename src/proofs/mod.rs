//! The texts are true: every sentence of every channel, over thousands of random situations, is compared with the raw
//! objects by independent rules.
//!
//! [`seen`] collects all answers about a situation, [`faults`] applies the rules. A fault is reported with the smallest
//! situation that shows it. If all situations are tried, every possible text must occur once: [`variants`].

mod agreement;
mod commands;
mod fields;
mod libvirt;
mod names;
mod ratchet;
mod raw;
mod reasons;
mod seen;
mod text;
mod unknown_types;
mod users;
mod variants;
mod vocabulary;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;

use crate::testing::situation::Situation;
use crate::testing::thorough::one_in;
use seen::Seen;

/// Number of situations in which each sentence that can be printed is printed at least once.
const ENOUGH: u64 = 2_000;

/// Returns the number of situations to try; `SITUATIONS` in the environment overrides it.
fn situations() -> u64 {
    let named = std::env::var("SITUATIONS").ok().and_then(|text| text.parse().ok());
    named.unwrap_or(ENOUGH / one_in() as u64)
}

/// A fault of a text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Fault {
    /// The broken rule.
    rule: &'static str,
    /// The place and the details.
    what: String,
}

impl Fault {
    fn new(rule: &'static str, what: impl Into<String>) -> Self {
        Self { rule, what: what.into() }
    }
}

/// Applies all rules to all answers about a situation.
fn faults(seen: &Seen) -> Vec<Fault> {
    let mut out = Vec::new();
    let fails_to_start = |object: &Value| object["status"]["conditions"].to_string().contains("LibvirtError");
    let refused = |object: &Value| !object["status"]["migrationState"]["failureReason"].is_null();
    let refused = seen.situation.objects.iter().any(|object| refused(object) || fails_to_start(object));
    for answered in &seen.answered {
        for said in &answered.said {
            let is_unasked = seen.situation.libvirt.is_none() && text::speaks_for_libvirt(&said.line, refused);
            let answers = is_unasked.then_some("libvirt is said to answer, and was not asked");
            let is_gone = commands::names_what_is_not_there(&said.line, seen);
            let gone = is_gone.then_some("a command in a sentence is for what is not there");
            let is_undone = fields::sends_to_what_is_undone(&said.line, seen);
            let undone = is_undone.then_some("an edit of the KubeVirt resource is undone: HyperConverged owns it");
            let wrong = text::faults(said).into_iter().chain(names::faults(said, seen)).chain(answers).chain(gone);
            let wrong = wrong.chain(undone);
            out.extend(
                wrong.map(|rule| Fault::new(rule, format!("{}: {:?}: {}", answered.asked, said.channel, said.line))),
            );
        }
        out.extend(commands::faults(answered, seen));
        out.extend(answered.contradictions());
        out.extend(reasons::faults(answered, seen));
        out.extend(fields::faults(answered, seen));
    }
    out.extend(agreement::faults(&seen.situation.world()));
    out
}

/// Tries the situations, on several processors.
fn walk(make: fn(u64) -> Situation, each: impl Fn(u64, &Situation, &Seen) + Sync) {
    let (next, count) = (AtomicU64::new(0), situations());
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(4);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= count {
                        return;
                    }
                    let situation = make(seed);
                    each(seed, &situation, &Seen::of(&situation));
                }
            });
        }
    });
}

/// Returns the smallest situation that shows a fault of this rule, found by removing objects one at a time.
fn smallest(situation: &Situation, rule: &str) -> (Situation, String) {
    let shows = |situation: &Situation| {
        faults(&Seen::of(situation)).into_iter().find(|fault| fault.rule == rule).map(|fault| fault.what)
    };
    let mut found = (situation.clone(), shows(situation).unwrap_or_default());
    loop {
        let less = found.0.smaller().find_map(|less| Some((less.clone(), shows(&less)?)));
        match less {
            Some(less) => found = less,
            None => return found,
        }
    }
}

/// Applies all rules to all these situations. Returns the possible texts that occurred.
fn assert_true(make: fn(u64) -> Situation) -> BTreeSet<String> {
    let found = Mutex::new(BTreeMap::<&'static str, (u64, u64)>::new());
    let said = Mutex::new(BTreeSet::<String>::new());
    let lines = Mutex::new(BTreeSet::<String>::new());
    walk(make, |seed, _, seen| {
        for fault in faults(seen) {
            let mut found = found.lock().expect("no test thread panics");
            let (first, count) = found.entry(fault.rule).or_insert((seed, 0));
            *first = seed.min(*first);
            *count += 1;
        }
        said.lock().expect("no test thread panics").extend(seen.variants());
        lines.lock().expect("no test thread panics").extend(seen.commands());
    });
    let found = found.into_inner().expect("no test thread panics");
    let report: Vec<String> = found
        .iter()
        .map(|(rule, (seed, count))| {
            let (situation, what) = smallest(&make(*seed), rule);
            format!("{rule}: {count} times, first in situation {seed}:\n  {what}\n{}", situation.brief())
        })
        .collect();
    assert!(report.is_empty(), "{}", report.join("\n"));
    commands::assert_shell_reads(&lines.into_inner().expect("no test thread panics"));
    said.into_inner().expect("no test thread panics")
}

#[test]
fn every_sentence_is_true_where_libvirt_was_asked() {
    assert_true(Situation::asked);
}

#[test]
fn every_sentence_is_true_of_its_cluster() {
    let said = assert_true(Situation::new);
    let silent: Vec<String> = variants::all().into_iter().filter(|name| !said.contains(name)).collect();
    assert!(
        silent.is_empty() || situations() < ENOUGH,
        "no situation brought these about, so it is not known whether what users read of them is true: {silent:?}"
    );
}
