//! What judges reviews: the cluster that is watched, a snapshot, or in tests a plain function.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use thiserror::Error;

use super::turns::{NoTurn, Pace, Turn};
use crate::admission::Stage;
use crate::admission::response::Decision;
use crate::admission::review::{Request, ReviewError};
use crate::review::{self, ReviewAnswer, ReviewContext};
use crate::world::World;

/// The judgement of reviews.
pub trait Judging: Send + Sync {
    /// Judges a review, in its turn.
    fn judge<'a>(
        &'a self,
        stage: Stage,
        request: &'a Request<'_>,
        turn: &'a mut Turn<'_>,
    ) -> BoxFuture<'a, Result<Decision, Unjudged>>;
}

/// The judgement as the routes share it.
pub type Judge = Arc<dyn Judging>;

/// Why there is no decision.
#[derive(Debug, Error)]
pub enum Unjudged {
    /// An object is malformed.
    #[error(transparent)]
    Malformed(#[from] ReviewError),
    /// Others were judged meanwhile.
    #[error(transparent)]
    NoTurn(#[from] NoTurn),
}

/// A plain function that needs nothing but the review.
impl<F> Judging for F
where
    F: Fn(Stage, &Request<'_>) -> Result<Decision, ReviewError> + Send + Sync,
{
    fn judge<'a>(
        &'a self,
        stage: Stage,
        request: &'a Request<'_>,
        turn: &'a mut Turn<'_>,
    ) -> BoxFuture<'a, Result<Decision, Unjudged>> {
        Box::pin(async move { Ok(turn.run(Pace::One, |_| self(stage, request)).await??) })
    }
}

/// A snapshot, about which no Events are written.
impl Judging for World {
    fn judge<'a>(
        &'a self,
        stage: Stage,
        request: &'a Request<'_>,
        turn: &'a mut Turn<'_>,
    ) -> BoxFuture<'a, Result<Decision, Unjudged>> {
        Box::pin(async move { Ok(by_world(self, stage, request, turn).await?.decision) })
    }
}

/// Judges a review by the watched state, in its turn.
///
/// # Errors
/// An object is malformed, or its turn does not come in time.
pub(crate) async fn by_world(
    world: &World,
    stage: Stage,
    request: &Request<'_>,
    turn: &mut Turn<'_>,
) -> Result<ReviewAnswer, Unjudged> {
    let pace = if review::counts(request) { Pace::All } else { Pace::One };
    let judged = turn.run(pace, |enough| review::answer(&ReviewContext { world, enough }, stage, request)).await?;
    Ok(judged?)
}
