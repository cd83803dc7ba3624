//! The proof about a set of acts that is enough.

use serde::Serialize;

use crate::word::words;

words! {
    /// The proof about a set of acts after which no guest is stuck, or only certain ones are.
    #[derive(Serialize)]
    #[serde(into = "&'static str")]
    LeastProof {
        /// No smaller set of the known acts is enough.
        Smallest = "smallest",
        /// The set without one of its acts is not enough; a smaller set with other acts may be.
        EachNeeded = "each-needed",
        /// It is enough; the search ended before each act was shown to be needed.
        Enough = "enough",
    }
}

/// A set of acts that is enough, in ascending order.
pub(super) struct EnoughActs {
    pub set: Vec<usize>,
    pub proof: LeastProof,
}
