//! The admission protocol: [`review`] decodes bytes into a request, [`response`] encodes a decision into bytes.
//!
//! This module does not depend on HTTP, so the command line reads and prints reviews with the code of the webhook.

pub mod response;
pub mod review;

use crate::word::words;

words! {
    /// The webhook that was called.
    Webhook {
        /// `POST /validate`: may warn and deny.
        Validate = "validate",
        /// `POST /mutate`: may also patch.
        Mutate = "mutate",
        /// `POST /authorize`: only checks whether the sender has the right to set an annotation.
        Authorize = "authorize",
    }
}
