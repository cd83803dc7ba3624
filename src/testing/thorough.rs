//! How much of a long test runs; also part of the integration tests.

/// One in this many random cases, or objects of a long list, is tested: 8, or 1 (all) if `THOROUGH` is set, as `.ci/run` does.
pub(crate) fn one_in() -> usize {
    if std::env::var_os("THOROUGH").is_some_and(|value| !value.is_empty()) { 1 } else { 8 }
}
