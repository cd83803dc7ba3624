//! What must hold before requests are answered.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::word::{Word as _, words};

words! {
    /// One thing that must hold.
    Condition {
        /// What reviews are judged by was read: the snapshot, or every watch once through. Until then reviews get a 503.
        Synced = "synced",
        /// What was read is not too old: the API server answered lately. Else reviews get a 503 as well.
        Fresh = "fresh",
        /// The TLS port accepts connections; lost when the process drains, while reviews are still answered.
        Serving = "serving",
    }
}

/// Which conditions hold; at first none.
#[derive(Debug, Default)]
pub struct Readiness {
    held: [AtomicBool; Condition::ALL.len()],
}

impl Readiness {
    /// None hold yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A condition holds from now on.
    pub fn meet(&self, condition: Condition) {
        self.held[condition as usize].store(true, Ordering::Release);
    }

    /// A condition no longer holds.
    pub fn lose(&self, condition: Condition) {
        self.held[condition as usize].store(false, Ordering::Release);
    }

    /// Whether a condition holds.
    #[must_use]
    pub fn holds(&self, condition: Condition) -> bool {
        self.held[condition as usize].load(Ordering::Acquire)
    }

    /// Reviews can be judged, whether or not new ones should be sent here.
    #[must_use]
    pub(crate) fn can_judge(&self) -> bool {
        self.holds(Condition::Synced) && self.holds(Condition::Fresh)
    }

    /// All conditions hold: requests should be sent here.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        Condition::ALL.iter().all(|&condition| self.holds(condition))
    }
}
