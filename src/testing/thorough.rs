//! The share of a long test that runs; also used by the integration tests.

/// Returns the divisor of random cases, or of objects of a long list, that are tested: 8, or 1 (all) if `THOROUGH` is
/// set, as `.ci/run` does.
pub(crate) fn one_in() -> usize {
    if std::env::var_os("THOROUGH").is_some_and(|value| !value.is_empty()) { 1 } else { 8 }
}
