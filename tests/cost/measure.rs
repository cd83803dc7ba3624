//! Table of processor time and memory for objects of 3 MiB: `make cost`. Times are printed and never asserted.

use std::fs;

use allocation_counter::measure;

use crate::large::all_large;
use crate::objects::Kind;
use crate::paths;

const BYTES: usize = 3 << 20;
/// The times that work is measured which takes long.
const TRIES: usize = 5;
/// A long time, in nanoseconds.
const LONG: u64 = 40_000_000;

/// Returns the processor time of this thread, in nanoseconds.
fn processor_time() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").expect("Linux reports it");
    text.split(' ').next().and_then(|time| time.parse().ok()).expect("a number")
}

/// The row with the largest value.
#[derive(Default)]
struct Worst(f64, String);

impl Worst {
    fn note(&mut self, value: f64, name: &str) {
        if value > self.0 {
            *self = Self(value, name.to_owned());
        }
    }
}

#[derive(Default)]
struct Way {
    objects: usize,
    milliseconds: Worst,
    mebibytes: Worst,
    kept: Worst,
}

impl Way {
    /// Measures a piece of work, again where it seems to take long: the least of the times counts, because other
    /// programs on the machine lengthen them.
    fn take(&mut self, name: &str, mut work: impl FnMut()) {
        let mut took = u64::MAX;
        let mut once = || {
            let before = processor_time();
            work();
            took = took.min(processor_time() - before);
            took
        };
        let info = measure(|| {
            once();
        });
        for _ in 1..TRIES {
            if once() < LONG {
                break;
            }
        }
        self.objects += 1;
        self.milliseconds.note(took as f64 / 1e6, name);
        self.mebibytes.note(info.bytes_max as f64 / f64::from(1 << 20), name);
        self.kept.note(info.bytes_current as f64 / f64::from(1 << 20), name);
    }
}

#[test]
#[ignore = "measures: make cost"]
fn costs_of_objects_of_three_mebibytes_are_printed() {
    let mut ways: [(&str, Way); 4] =
        ["a review", "a watch", "status and audit", "check"].map(|name| (name, Way::default()));
    for kind in Kind::ALL {
        let mut inventory = paths::inventory_without(kind);
        let world = inventory.snapshot().world;
        for (name, object) in all_large(kind, BYTES) {
            let [(_, reviewed), (_, watched), (_, counted), (_, checked)] = &mut ways;
            for review in paths::reviews(kind, &object) {
                for webhook in paths::WEBHOOKS {
                    reviewed.take(&name, || drop(paths::answer_at(webhook, &world, &review)));
                }
            }
            let text = object.to_string();
            drop(object);
            let at = ("shop".to_owned(), "x".to_owned());
            watched.take(&name, || paths::watch(&mut inventory, kind, at.clone(), &text));
            let with = inventory.snapshot().world;
            counted.take(&name, || paths::count(&with));
            if matches!(kind, Kind::VirtualMachine | Kind::Vmi | Kind::Migration | Kind::Pod) {
                checked.take(&name, || paths::check(&world, &text));
            }
            inventory = paths::inventory_without(kind);
        }
    }
    println!("{:<17} {:>8} {:>9} {:>9} {:>9}", "3 MiB in", "objects", "ms", "MiB held", "MiB kept");
    for (name, Way { objects, milliseconds, mebibytes, kept }) in &ways {
        println!("{name:<17} {objects:>8} {:>9.1} {:>9.1} {:>9.2}", milliseconds.0, mebibytes.0, kept.0);
        println!("    the longest: {}\n    the largest: {}", milliseconds.1, mebibytes.1);
    }
}
