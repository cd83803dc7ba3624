//! Attacks on the running webhook, and their effects on other clients: `make attack`.
//!
//! Each row starts `cpufit serve --snapshot` as a separate process and attacks it over loopback for some seconds, while
//! [`good`] clients send reviews as API servers do and probes as the kubelet does. A row is a function in [`rows`]; to
//! add one, write it and list it in [`rows::ALL`]. An attack runs until it is dropped, so it need not end by itself.
// A test that cannot create its data stops there; its functions are documented by their names.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "a test ends with the panic")]

mod good;
mod h2;
mod poison;
mod process;
#[path = "../../src/testing/objects/review.rs"]
mod review;
mod rows;
mod target;
#[path = "../common/tls.rs"]
mod tls;

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use good::Good;
use process::Peak;
use rows::Row;
use target::Tally;

/// Maximum resident memory of a row, in MiB: the manifests' limit is 384, and this build is not optimized.
const MOST_MEMORY: u64 = 300;

/// Maximum p99 of a good client's reviews, in milliseconds, beside the attackers of [`is_timed`]. Not of a debug build.
const MOST_TIME: u128 = 250;

/// Whether a row sends objects that are costly to judge: their cost is bounded by what is judged, not by how fast the
/// attackers are.
fn is_timed(row: &Row) -> bool {
    row.name.starts_with("objects: 8")
}

/// Runs every row for a short time.
#[test]
#[ignore = "attacks a running server for a minute: make attack SHORT=1"]
fn short() {
    run(Duration::from_secs(3));
}

/// Runs every row long enough for timeouts to pass.
#[test]
#[ignore = "attacks a running server for minutes: make attack"]
fn long() {
    run(Duration::from_secs(25));
}

/// Runs all rows, or those with names that contain `ROWS`, and prints the table.
fn run(span: Duration) {
    let chosen = std::env::var("ROWS").unwrap_or_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut table = String::new();
    let mut problems = Vec::new();
    writeln!(
        table,
        "{:<34} {:>9} {:>9} | {:>5} {:>5} {:>7} {:>7} | {:>6} {:>5} {:>7} | {:>6} {:>6}",
        "attack", "tries", "answered", "good", "lost", "p50 ms", "p99 ms", "probes", "lost", "p99 ms", "MiB", "files"
    )
    .unwrap();
    for row in rows::ALL.iter().filter(|row| row.name.contains(&chosen)) {
        let line = runtime.block_on(one(row, span, &mut problems));
        println!("{line}");
        writeln!(table, "{line}").unwrap();
    }
    println!("\nEach for {} s, over loopback:\n\n{table}", span.as_secs());
    assert!(problems.is_empty(), "the attacks cost others something:\n  {}", problems.join("\n  "));
}

/// Runs one row and returns its line of the table. Adds effects on other clients to `problems`.
async fn one(row: &Row, span: Duration, problems: &mut Vec<String>) -> String {
    let (mut process, target) = target::start();
    let target = Arc::new(target);
    target.until_ready().await;
    let peak = Peak::watch(process.pid());
    let tally = Arc::new(Tally::default());
    let good = Good::start(&target);
    let attack = tokio::spawn((row.attack)(Arc::clone(&target), Arc::clone(&tally)));
    tokio::time::sleep(span).await;
    let good = good.stop().await;
    let ended = attack.is_finished();
    attack.abort();
    let (memory, files) = peak.stop();

    let mut fail = |problem: String| problems.push(format!("{}: {problem}", row.name));
    if let Some(ended) = process.ended() {
        fail(format!("the server ended: {ended}"));
    }
    if process.log().contains("panicked at") {
        fail("the server panicked".to_owned());
    }
    if ended {
        fail("the attack ended before its time: it shows nothing".to_owned());
    }
    let (reviews, probes) = (&good.reviews, &good.probes);
    for (what, count) in [("reviews", reviews), ("probes", probes)] {
        if count.sent == 0 {
            fail(format!("no {what} were sent"));
        }
        if count.lost > 0 {
            fail(format!("{} of {} {what} were lost: {}", count.lost, count.sent, count.reasons.join("; ")));
        }
    }
    // A few reviews have no p99.
    let is_timed = is_timed(row) && !cfg!(debug_assertions) && reviews.sent >= 100;
    if is_timed && reviews.quantile(0.99) >= MOST_TIME {
        fail(format!("the p99 of reviews is {} ms, not below {MOST_TIME}", reviews.quantile(0.99)));
    }
    if memory.is_some_and(|memory| memory > MOST_MEMORY) {
        fail(format!("{memory:?} MiB of memory, more than {MOST_MEMORY}"));
    }
    let number = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
    format!(
        "{:<34} {:>9} {:>9} | {:>5} {:>5} {:>7} {:>7} | {:>6} {:>5} {:>7} | {:>6} {:>6}",
        row.name,
        tally.tries(),
        tally.answered(),
        reviews.sent,
        reviews.lost,
        reviews.quantile(0.5),
        reviews.quantile(0.99),
        probes.sent,
        probes.lost,
        probes.quantile(0.99),
        number(memory),
        number(files)
    )
}
