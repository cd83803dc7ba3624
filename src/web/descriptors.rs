//! How many files and connections the process may have open.

/// What is kept for the watches, files and the log.
const OTHERS: usize = 128;

/// How many descriptors are left beside so many connections.
pub(super) fn beyond(connections: usize) -> usize {
    limit().saturating_sub(connections + OTHERS)
}

/// The soft limit; where the system does not say, the 1,024 that most processes begin with.
fn limit() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    of(&limits).unwrap_or(1024)
}

fn of(limits: &str) -> Option<usize> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}
