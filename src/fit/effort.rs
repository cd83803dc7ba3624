//! How much is done for a judgement: what is found out, and until when.

use std::fmt;

/// How much is to be found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// What is wrong, and the nearest node: for requests that no person waits for.
    Brief,
    /// Remedies as well.
    Full,
}

/// How much is done for a judgement.
///
/// The loops over kinds of nodes, nodes, models and remedies ask at each step whether it is enough. Once it is, it stays so: what
/// is not known by then is not said.
#[derive(Clone, Copy)]
pub struct Effort<'e> {
    /// What is found out.
    pub depth: Depth,
    enough: Option<&'e dyn Fn() -> bool>,
}

impl<'e> Effort<'e> {
    /// Until it is enough, in time or in steps.
    #[must_use]
    pub fn until(depth: Depth, enough: &'e dyn Fn() -> bool) -> Self {
        Self { depth, enough: Some(enough) }
    }

    /// The same at another depth.
    #[must_use]
    pub fn at(self, depth: Depth) -> Self {
        Self { depth, ..self }
    }

    /// Whether to stop; asked once for each step.
    pub(super) fn is_enough(self) -> bool {
        self.enough.is_some_and(|enough| enough())
    }
}

/// Until all is found out.
impl From<Depth> for Effort<'_> {
    fn from(depth: Depth) -> Self {
        Self { depth, enough: None }
    }
}

impl fmt::Debug for Effort<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Effort").field("depth", &self.depth).finish_non_exhaustive()
    }
}
