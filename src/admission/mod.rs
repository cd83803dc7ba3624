//! The admission protocol: [`review`] turns bytes into a request, [`response`] a decision into bytes.
//!
//! Nothing here knows of HTTP, so the command line reads and prints reviews with the same code as the webhook.

use std::fmt;

pub mod response;
pub mod review;

/// Which webhook was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// `POST /validate`: may warn and deny.
    Validate,
    /// `POST /mutate`: may patch as well.
    Mutate,
    /// `POST /authorize`: only whether the sender has the right to what an annotation asks for.
    Authorize,
}

impl Stage {
    /// All, in the order of the routes' names in logs and metrics.
    pub const ALL: [Self; 3] = [Self::Validate, Self::Mutate, Self::Authorize];

    /// As logs and metrics spell it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Validate => "validate",
            Self::Mutate => "mutate",
            Self::Authorize => "authorize",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
