//! A result that depends on one fleet and is computed once for it.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The identifier of a fleet. Number zero is the empty fleet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FleetId {
    number: u64,
    nodes: usize,
}

impl FleetId {
    /// Returns a new identifier for a fleet of this many nodes.
    pub(super) fn fresh(nodes: usize) -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Self { number: LAST.fetch_add(1, Ordering::Relaxed) + 1, nodes }
    }
}

/// The result for the last fleet queried, except that a smaller fleet does not replace a larger one. Comparisons
/// ignore it.
pub(crate) struct Memo<T>(Mutex<Option<MemoValue<T>>>);

struct MemoValue<T> {
    fleet: FleetId,
    found: Arc<T>,
}

impl<T> Memo<T> {
    /// Returns the result for this fleet: the stored one, or that of `find_out`.
    pub(crate) fn of(&self, fleet: FleetId, find_out: impl FnOnce() -> T) -> Arc<T> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = kept.as_ref().filter(|kept| kept.fleet == fleet) {
            return Arc::clone(&kept.found);
        }
        let found = Arc::new(find_out());
        // Remedies are tried on fleets of a few edited nodes between two queries about the whole fleet.
        if kept.as_ref().is_none_or(|kept| kept.fleet.nodes <= fleet.nodes) {
            *kept = Some(MemoValue { fleet, found: Arc::clone(&found) });
        }
        found
    }
}

impl<T> Default for Memo<T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<T> fmt::Debug for Memo<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Memo")
    }
}
