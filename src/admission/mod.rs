//! The admission protocol: [`review`] turns bytes into a request, [`response`] a decision into bytes.
//!
//! Nothing here knows of HTTP, so the command line reads and prints reviews with the same code as the webhook.

pub mod response;
pub mod review;

use crate::word::words;

words! {
    /// Which webhook was called.
    Stage {
        /// `POST /validate`: may warn and deny.
        Validate = "validate",
        /// `POST /mutate`: may patch as well.
        Mutate = "mutate",
        /// `POST /authorize`: only whether the sender has the right to what an annotation asks for.
        Authorize = "authorize",
    }
}
