//! A review's body, read in one piece and charged against the memory that all share.

use axum::body::Body;
use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body_util::BodyExt as _;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::router::Refusal;
use crate::fit::shown::Shown;

/// The largest body that is read, in bytes. API servers accept objects of 3 MiB, and an update carries two.
pub const BODY_BYTES: usize = 8 << 20;

/// What a review is charged against [`Limits::memory`](super::Limits::memory), at least and by the piece.
pub(super) const UNIT: usize = 64 << 10;

pub(super) fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The body in one piece: as it came, if it came in one frame, else copied once.
pub(super) async fn read<'m>(
    mut body: Body,
    declared: usize,
    memory: &'m Semaphore,
    share: &mut SemaphorePermit<'m>,
) -> Result<Bytes, Refusal> {
    let mut first = Bytes::new();
    let mut joined = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Refusal::Broken(Shown::within(&error.to_string(), 160).to_string()))?;
        let Ok(data) = frame.into_data() else { continue };
        let length = first.len().max(joined.len()) + data.len();
        if length > BODY_BYTES {
            return Err(Refusal::TooLarge);
        }
        if let Some(more) = length.div_ceil(UNIT).checked_sub(share.num_permits()).filter(|more| *more > 0) {
            let more = u32::try_from(more).map_err(|_| Refusal::Busy)?;
            share.merge(memory.try_acquire_many(more).map_err(|_| Refusal::Busy)?);
        }
        if first.is_empty() && joined.is_empty() {
            first = data;
            continue;
        }
        if joined.is_empty() {
            joined = Vec::with_capacity(declared.max(length));
            joined.extend_from_slice(&std::mem::take(&mut first));
        }
        joined.extend_from_slice(&data);
    }
    Ok(if joined.is_empty() { first } else { joined.into() })
}
