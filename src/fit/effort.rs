//! The effort of a judgement: how much is searched for, and until when.

use std::fmt;

/// The depth of the search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// The impact and the nearest nodes: for requests that no person waits for.
    Brief,
    /// Remedies as well.
    Full,
}

/// The depth and the deadline of a judgement.
///
/// Loops over classes, nodes, models and remedies check the deadline at each step. Results that are incomplete
/// when it passes are not reported.
#[derive(Clone, Copy)]
pub struct Effort<'e> {
    /// The depth of the search.
    pub depth: Depth,
    is_over: Option<&'e dyn Fn() -> bool>,
}

impl<'e> Effort<'e> {
    /// Limits the effort by a deadline in time or steps: `is_over` returns true once it has passed.
    #[must_use]
    pub fn until(depth: Depth, is_over: &'e dyn Fn() -> bool) -> Self {
        Self { depth, is_over: Some(is_over) }
    }

    /// Returns this effort with another depth.
    #[must_use]
    pub fn at(self, depth: Depth) -> Self {
        Self { depth, ..self }
    }

    /// Whether the deadline has passed. Called once for each step.
    pub(super) fn is_over(self) -> bool {
        self.is_over.is_some_and(|is_over| is_over())
    }
}

/// An effort without a deadline.
impl From<Depth> for Effort<'_> {
    fn from(depth: Depth) -> Self {
        Self { depth, is_over: None }
    }
}

impl fmt::Debug for Effort<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Effort").field("depth", &self.depth).finish_non_exhaustive()
    }
}
