//! Counter of the steps of an answer: a search ends at a number of them, and tests bound how they grow with the
//! cluster.

/// Counts steps, each of which looks at one guest, node or act.
pub(super) fn count(steps: usize) {
    STEPS.with(|all| all.set(all.get().saturating_add(steps)));
}

thread_local! {
    static STEPS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Returns the number of steps so far.
pub(super) fn so_far() -> usize {
    STEPS.with(std::cell::Cell::get)
}

/// Returns the number of steps that `run` takes.
#[cfg(test)]
pub(super) fn counted(run: impl FnOnce()) -> usize {
    STEPS.with(|all| all.set(0));
    run();
    so_far()
}
