//! What the unit tests share: a small fleet of mixed hardware, and minimal objects to be tweaked.

// Each expectation is about what the test itself wrote.
#![allow(clippy::expect_used)]

pub(crate) mod cluster;
pub(crate) mod fleet;
pub(crate) mod launcher;
pub(crate) mod pool;
pub(crate) mod random;
pub(crate) mod review;
pub(crate) mod situation;

use crate::answers::Deadline;

/// A count that nothing breaks off.
pub(crate) const NEVER: Deadline<'static> = &|| false;

/// A minimal value and what is special about this one, in one expression.
pub(crate) trait Tweak: Sized {
    /// The value after a change.
    fn tweak(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}

impl<T> Tweak for T {}
