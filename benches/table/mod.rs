//! One line of the table of ratios: printed, and added to the file that `BENCH_TABLE` names, which `make bench` prints.
#![allow(dead_code)]

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;

/// What must hold of a measured value.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    AtMost(f64),
    AtLeast(f64),
    /// For information.
    None,
}

/// A measured value in its unit: `x` for a ratio.
pub fn row(what: &str, value: f64, unit: &str, target: Target) {
    let (wanted, met) = match target {
        Target::AtMost(most) => (format!("≤ {most} {unit}"), value <= most),
        Target::AtLeast(least) => (format!("≥ {least} {unit}"), value >= least),
        Target::None => (String::new(), true),
    };
    let digits = if value.abs() < 100.0 { 2 } else { 0 };
    let mut line = format!("{what:<72} {value:>9.digits$} {unit:<3} {wanted:<10}");
    if !met {
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

/// Whether this run only shows that the benchmark works.
pub fn is_smoke_test() -> bool {
    std::env::args().any(|arg| arg == "--test")
}

/// The value in the middle, and at other parts of the way from least to greatest.
pub fn quantile(values: &mut [f64], part: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    #[allow(clippy::cast_precision_loss, clippy::cast_sign_loss)]
    let at = ((values.len().max(1) - 1) as f64 * part).round() as usize;
    values.get(at).copied().unwrap_or(f64::NAN)
}

/// The median.
pub fn median(values: &mut [f64]) -> f64 {
    quantile(values, 0.5)
}
