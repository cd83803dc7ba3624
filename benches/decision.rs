//! The decision alone: a launcher pod is matched and assessed at four cluster sizes.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, reason = "a benchmark ends with the panic")]

#[path = "shared/launcher_review.rs"]
mod launcher_review;
#[path = "shared/nodes.rs"]
mod nodes;
#[path = "shared/table.rs"]
mod table;
#[path = "shared/world.rs"]
mod world;

use std::fs;
use std::hint::black_box;
use std::ops::RangeBounds;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use cpufit::fit::fleet::Fleet;
use cpufit::fit::judgement::{Depth, Judgement, assess};
use cpufit::fit::node::Node;
use cpufit::fit::verdict::Outcome;
use cpufit::kubevirt::subject::{self, Prepared};
use cpufit::kubevirt::wire::Pod;
use criterion::{BatchSize, BenchmarkId, Criterion, SamplingMode};
use serde_json::Value;

use launcher_review::{Demand, launcher_review};
use world::world;

const SIZES: [usize; 4] = [10, 1_000, 15_000, 65_000];
/// Maximum number of nodes to build: beyond it, the copies of the plain nodes that each round makes fill the memory of
/// a small machine.
const LARGEST_BUILT: usize = 15_000;

fn main() {
    let started = SystemTime::now();
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("criterion");
    let mut criterion = Criterion::default()
        .output_directory(&home)
        .without_plots()
        // Samples of a millisecond: on a busy machine most are not interrupted, and the median is one of those.
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(200))
        .sample_size(200)
        .configure_from_args();
    for size in SIZES {
        judge(&mut criterion, size);
    }
    for size in SIZES.into_iter().filter(|size| *size <= LARGEST_BUILT) {
        build(&mut criterion, size);
    }
    criterion.final_summary();
    for demand in Demand::ALL {
        for size in SIZES {
            let most = if demand == Demand::Last { 15.0 } else { 10.0 };
            report("decision", demand.as_str(), size, ..=most, &home, started);
        }
    }
    for demand in Demand::ALL {
        for size in SIZES {
            report("advice in brief", demand.as_str(), size, .., &home, started);
        }
    }
    for size in SIZES {
        report("build", "fleet", size, .., &home, started);
    }
}

fn judge(criterion: &mut Criterion, size: usize) {
    let cluster = world(size, []).cluster;
    for demand in Demand::ALL {
        let review = launcher_review(demand, size);
        let text = review["request"]["object"].to_string();
        let pod: Pod<'_> = serde_json::from_str(&text).expect("a pod");
        let prepared = subject::of_pod(&pod, &cluster).expect("a launcher");
        let fits = assess(&prepared.subject, &cluster.fleet).fitting.count();
        let id = BenchmarkId::new(demand.as_str(), size);
        assert_eq!(
            fits,
            expected(demand, size, &prepared, &review),
            "{demand:?} at {size} nodes would measure something else"
        );

        let mut group = criterion.benchmark_group("decision");
        group.sampling_mode(SamplingMode::Flat).bench_with_input(id.clone(), &prepared, |bencher, prepared| {
            bencher.iter(|| assess(black_box(&prepared.subject), &cluster.fleet));
        });
        group.finish();
        let mut group = criterion.benchmark_group("advice in brief");
        group.sampling_mode(SamplingMode::Flat).bench_with_input(id, &prepared, |bencher, prepared| {
            bencher.iter(|| Judgement::new(black_box(&prepared.subject), &cluster.fleet, Depth::Brief).verdict());
        });
        if demand == Demand::Feasible {
            let outcome = assess(&prepared.subject, &cluster.fleet).outcome;
            assert_eq!(outcome == Outcome::Fits, fits >= 2);
        }
    }
}

/// Counts the fitting nodes one by one.
fn expected(demand: Demand, size: usize, prepared: &Prepared<'_>, review: &Value) -> usize {
    let selector = review["request"]["object"]["spec"]["nodeSelector"].as_object().unwrap();
    let fits =
        |node: &Node| selector.iter().all(|(key, value)| node.labels.get(key).map(String::as_str) == value.as_str());
    match demand {
        Demand::Infeasible | Demand::Conflict => 0,
        Demand::Last => 1,
        Demand::Feasible => nodes::nodes(size)
            .filter(|node| !node.cordoned && Some(node.name.as_str()) != prepared.subject.source() && fits(node))
            .count(),
    }
}

fn build(criterion: &mut Criterion, size: usize) {
    let nodes: Vec<Node> = nodes::nodes(size).collect();
    let mut group = criterion.benchmark_group("build");
    group.sample_size(10).bench_function(BenchmarkId::new("fleet", size), |bencher| {
        bencher.iter_batched(|| nodes.clone(), Fleet::new, BatchSize::PerIteration);
    });
}

/// Prints the median of this run's measurements, in microseconds; nothing if this run did not measure it.
fn report(group: &str, name: &str, size: usize, target: impl RangeBounds<f64>, home: &Path, started: SystemTime) {
    let path: PathBuf = [group, name, &size.to_string(), "new", "estimates.json"].iter().collect();
    let path = home.join(path);
    let measured_now = fs::metadata(&path).and_then(|meta| meta.modified()).is_ok_and(|modified| modified >= started);
    if !measured_now {
        return;
    }
    let estimates: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let median = estimates["median"]["point_estimate"].as_f64().unwrap() / 1_000.0;
    table::row(&format!("{group}, {name}, {size} nodes"), median, "µs", target);
}
