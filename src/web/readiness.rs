//! Conditions for answering requests.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::word::{Word as _, words};

words! {
    /// A condition for answering requests.
    Condition {
        /// The input of judgements was read: the snapshot, or every watch once. Until then reviews get a 503.
        Synced = "synced",
        /// The input is fresh: the API server answered recently. Otherwise reviews get a 503 as well.
        Fresh = "fresh",
        /// The TLS port accepts connections; false while the process drains, when reviews are still answered.
        Serving = "serving",
    }
}

/// The conditions that hold; initially none.
#[derive(Debug, Default)]
pub struct Readiness {
    held: [AtomicBool; Condition::ALL.len()],
}

impl Readiness {
    /// Returns a state in which no condition holds.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a condition.
    pub fn meet(&self, condition: Condition) {
        self.held[condition as usize].store(true, Ordering::Release);
    }

    /// Clears a condition.
    pub fn lose(&self, condition: Condition) {
        self.held[condition as usize].store(false, Ordering::Release);
    }

    /// Whether a condition holds.
    #[must_use]
    pub fn holds(&self, condition: Condition) -> bool {
        self.held[condition as usize].load(Ordering::Acquire)
    }

    /// Whether reviews can be judged, regardless of whether new ones should be sent here.
    pub(crate) fn can_judge(&self) -> bool {
        self.holds(Condition::Synced) && self.holds(Condition::Fresh)
    }

    /// Whether all conditions hold, so that requests should be sent here.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        Condition::ALL.iter().all(|&condition| self.holds(condition))
    }
}
