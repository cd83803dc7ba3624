//! Whether a guest is worse or better off than before.

use serde::Serialize;

/// The direction of a change for a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Worse off.
    Worse,
    /// Better off.
    Better,
    /// Did not exist before.
    Came,
    /// Does not exist any more.
    Went,
    /// The verdict before or after is not known.
    Unknown,
}
