//! Remedies as data.

/// A change that would cure a finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// placeholder until written
    Uncordon,
}
