//! Sources of judgements: the watched cluster, or a snapshot.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use thiserror::Error;

use super::judge_queues::{JudgeScope, JudgeSlot, QueueError};
use crate::admission::Webhook;
use crate::admission::response::Decision;
use crate::admission::review::{Request, ReviewError};
use crate::review::{self, ReviewAnswer, ReviewContext};
use crate::world::World;

/// A source of judgements.
pub trait Judging: Send + Sync {
    /// Judges a review when its turn comes.
    fn judge<'a>(
        &'a self,
        webhook: Webhook,
        request: &'a Request<'_>,
        slot: &'a mut JudgeSlot<'_>,
    ) -> BoxFuture<'a, Result<Decision, Unjudged>>;
}

/// The judgement source that the routes share.
pub type Judge = Arc<dyn Judging>;

/// A reason why there is no decision.
#[derive(Debug, Error)]
pub enum Unjudged {
    /// An object is malformed.
    #[error(transparent)]
    Malformed(#[from] ReviewError),
    /// No judge became free in time.
    #[error(transparent)]
    Queue(#[from] QueueError),
}

/// A snapshot; no Events are written about its objects.
impl Judging for World {
    fn judge<'a>(
        &'a self,
        webhook: Webhook,
        request: &'a Request<'_>,
        slot: &'a mut JudgeSlot<'_>,
    ) -> BoxFuture<'a, Result<Decision, Unjudged>> {
        Box::pin(async move { Ok(by_world(self, webhook, request, slot).await?.decision) })
    }
}

/// Judges a review by the watched state, when its turn comes.
///
/// # Errors
/// An object is malformed, or the turn does not come in time.
pub(crate) async fn by_world(
    world: &World,
    webhook: Webhook,
    request: &Request<'_>,
    slot: &mut JudgeSlot<'_>,
) -> Result<ReviewAnswer, Unjudged> {
    let scope = if review::concerns_all_guests(webhook, request) {
        JudgeScope::AllGuests
    } else if review::is_cheap(world, request) {
        JudgeScope::CheapObject
    } else {
        JudgeScope::Object
    };
    let judged = slot.run(scope, |is_over| review::answer(&ReviewContext { world, is_over }, webhook, request)).await?;
    Ok(judged?)
}
