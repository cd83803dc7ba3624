//! `check --fail-on`: which results fail a pipeline.

use clap::ValueEnum;

use super::output::ResultRow;

/// From which state on an object fails, mildest first; `denied` and `unknown` stand beside them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CheckFailOn {
    /// One node is left to migrate to, or worse.
    Fragile,
    /// It can migrate nowhere, or cannot start.
    Pinned,
    /// It cannot start.
    Unschedulable,
    /// It would be denied.
    Denied,
    /// It could not be judged.
    Unknown,
}

/// What fails: what would be denied, and what is asked for besides.
#[derive(Clone, Copy, Debug)]
pub struct Gate<'a>(pub &'a [CheckFailOn]);

impl Gate<'_> {
    /// Why an object fails; `None` where it passes.
    #[must_use]
    pub fn failure(self, row: &ResultRow) -> Option<String> {
        if !row.allowed {
            return Some(row.denial.clone().unwrap_or_else(|| "denied".to_owned()));
        }
        if row.skipped.is_some() {
            return None;
        }
        let severity = ["fragile", "pinned", "unschedulable"].iter().position(|verdict| *verdict == row.verdict);
        let is_as_bad = |state: &CheckFailOn| match state {
            CheckFailOn::Fragile => severity >= Some(0),
            CheckFailOn::Pinned => severity >= Some(1),
            CheckFailOn::Unschedulable => severity >= Some(2),
            CheckFailOn::Denied => false,
            CheckFailOn::Unknown => row.verdict == "unknown",
        };
        if !self.0.iter().any(is_as_bad) {
            return None;
        }
        let of_impact = row.findings.iter().find(|finding| finding.impact.is_some()).or(row.findings.first());
        let why = row.warnings.first().cloned().or(of_impact.map(|finding| finding.message.clone()));
        Some(match why {
            Some(why) => format!("{}: {why}", row.verdict),
            None => row.verdict.to_owned(),
        })
    }
}
