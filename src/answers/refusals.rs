//! The reasons for which KubeVirt refuses a guest's specification, for programs.

use serde::Serialize;

use crate::fit::verdict::Verdict;

/// A reason for which KubeVirt refuses a guest, whatever the labels are: `refusals` of `check`, `explain` and `audit`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// The field to blame; empty if the judged object has none.
    pub field: String,
    /// The reason.
    pub why: String,
}

impl Refusal {
    /// Returns those of a verdict.
    pub(crate) fn all_of(verdict: &Verdict) -> Vec<Self> {
        verdict.refusals().map(|(finding, why)| Self { field: finding.field.clone(), why: why.to_owned() }).collect()
    }
}
