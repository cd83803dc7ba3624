//! Counter of the steps of an answer, so that tests can bound how they grow with the cluster.

/// Counts steps, each of which looks at one guest, node or act.
pub(super) fn count(steps: usize) {
    #[cfg(test)]
    STEPS.with(|all| all.set(all.get() + steps));
    #[cfg(not(test))]
    let _ = steps;
}

#[cfg(test)]
thread_local! {
    static STEPS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Returns the number of steps that `run` takes.
#[cfg(test)]
pub(super) fn counted(run: impl FnOnce()) -> usize {
    STEPS.with(|all| all.set(0));
    run();
    STEPS.with(std::cell::Cell::get)
}
