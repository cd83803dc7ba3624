//! A line of the table of ratios: printed, and added to the file in `BENCH_TABLE`, which `make bench` prints.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::ops::{Bound, RangeBounds};

/// Prints a measured value in its unit, `x` for a ratio, and its target: `..=10.0`, `0.5..`; `..` for information.
pub fn row(what: &str, value: f64, unit: &str, target: impl RangeBounds<f64>) {
    let wanted = match (target.start_bound(), target.end_bound()) {
        (_, Bound::Included(most)) => format!("≤ {most} {unit}"),
        (Bound::Included(least), _) => format!("≥ {least} {unit}"),
        _ => String::new(),
    };
    let digits = if value.abs() < 100.0 { 2 } else { 0 };
    let mut line = format!("{what:<72} {value:>9.digits$} {unit:<3} {wanted:<10}");
    if !target.contains(&value) {
        let _ = write!(line, " MISSED");
    }
    let line = line.trim_end();
    println!("{line}");
    let Some(path) = std::env::var_os("BENCH_TABLE").filter(|path| !path.is_empty()) else { return };
    let file = OpenOptions::new().create(true).append(true).open(&path);
    if let Err(error) = file.and_then(|mut file| writeln!(file, "{line}")) {
        eprintln!("cannot write {}: {error}", path.display());
    }
}
