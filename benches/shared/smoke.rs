//! How the benchmarks are run by tests.

/// Whether this run only shows that the benchmark works.
pub fn is_smoke_test() -> bool {
    std::env::args().any(|arg| arg == "--test")
}
