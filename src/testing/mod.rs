//! Shared parts of the unit tests: a small fleet of mixed hardware, and minimal objects to be modified.

// Expectations fail only if the test's own input is wrong.
pub(crate) mod cluster;
pub(crate) mod fleet;
pub(crate) mod objects;
pub(crate) mod pool;
pub(crate) mod random;
pub(crate) mod situation;
pub(crate) mod thorough;

use std::time::Duration;

use crate::answers::{Deadline, Elapsed};
use thorough::one_in;

/// A deadline that never passes.
pub(crate) const NEVER: Deadline<'static> = &|| false;

/// A clock that stands still.
pub(crate) const NO_TIME: Elapsed<'static> = &|| Duration::ZERO;

/// Returns the number of random cases that must show something: `least` if all cases are tried. Fewer cases may show
/// none.
pub(crate) fn at_least(least: usize) -> usize {
    if one_in() == 1 { least } else { 0 }
}

/// A value with a modification, in one expression.
pub(crate) trait Tweak: Sized {
    /// Returns the value after a change.
    fn tweak(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}

impl<T> Tweak for T {}
