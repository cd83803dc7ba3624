//! Smoke tests: runs of the benchmarks as tests.

/// Whether this run only checks that the benchmark works.
pub fn is_smoke_test() -> bool {
    std::env::args().any(|arg| arg == "--test")
}
