//! Whether a guest is worse or better off than before.

use serde::Serialize;

use crate::word::words;

words! {
    /// The direction of a change for a guest.
    #[derive(Serialize)]
    #[serde(into = "&'static str")]
    Direction {
        /// Worse off.
        Worse = "worse",
        /// Better off.
        Better = "better",
        /// Did not exist before.
        Came = "came",
        /// Does not exist any more.
        Went = "went",
        /// The verdict before or after is not known.
        Unknown = "unknown",
    }
}
