//! How much of a long test runs; also part of the integration tests.

/// Of so many random cases, or objects of a long list, one is tried: eight, or each where `THOROUGH` is set, as `.ci/run` sets it.
pub(crate) fn one_in() -> usize {
    if std::env::var_os("THOROUGH").is_some_and(|value| !value.is_empty()) { 1 } else { 8 }
}
