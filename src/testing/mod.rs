//! What the unit tests share: a small fleet of mixed hardware, and minimal objects to be tweaked.

// Each expectation is about what the test itself wrote.
#![allow(clippy::expect_used)]

pub(crate) mod cluster;
pub(crate) mod fleet;
pub(crate) mod objects;
pub(crate) mod pool;
pub(crate) mod random;
pub(crate) mod situation;
pub(crate) mod thorough;

use crate::answers::Deadline;
use thorough::one_in;

/// A count that nothing breaks off.
pub(crate) const NEVER: Deadline<'static> = &|| false;

/// How many random cases must show a thing: `least` where all of them are tried. Fewer cases may show none.
pub(crate) fn at_least(least: usize) -> usize {
    if one_in() == 1 { least } else { 0 }
}

/// A minimal value and what is special about this one, in one expression.
pub(crate) trait Tweak: Sized {
    /// The value after a change.
    fn tweak(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}

impl<T> Tweak for T {}
