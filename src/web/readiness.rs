//! What must hold before requests are answered.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

/// One thing that must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// What reviews are judged by was read: the snapshot, or every watch once through. Until then reviews get a 503.
    Synced,
    /// What was read is not too old: the API server answered lately. Else reviews get a 503 as well.
    Fresh,
    /// The TLS port accepts connections; lost when the process drains, while reviews are still answered.
    Serving,
}

impl Condition {
    /// All, in the order in which they are listed.
    pub const ALL: [Self; 3] = [Self::Synced, Self::Fresh, Self::Serving];

    /// As `/readyz` spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Synced => "synced",
            Self::Fresh => "fresh",
            Self::Serving => "serving",
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
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
    pub fn can_judge(&self) -> bool {
        self.holds(Condition::Synced) && self.holds(Condition::Fresh)
    }

    /// All conditions hold: requests should be sent here.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        Condition::ALL.into_iter().all(|condition| self.holds(condition))
    }
}
