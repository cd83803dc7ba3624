//! A review's body, read in one piece.

use axum::body::{Body, HttpBody as _};
use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body_util::BodyExt as _;

use super::memory::Share;
use super::router::Refusal;
use crate::fit::shown::Shown;

/// The largest body that is read, in bytes. API servers accept objects of 3 MiB, and an update carries two.
pub const BODY_BYTES: usize = 8 << 20;

pub(super) fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The body in one piece, charged as it arrives; given up where the memory is needed and this body is the slowest.
pub(super) async fn read(body: Body, declared: usize, share: &mut Share<'_>) -> Result<Bytes, Refusal> {
    let needed = share.needed();
    tokio::select! {
        biased;
        () = needed.notified() => Err(Refusal::Slowest),
        body = collect(body, declared, share) => body,
    }
}

/// The body as it came, if it came in one frame, else copied once.
async fn collect(mut body: Body, declared: usize, share: &mut Share<'_>) -> Result<Bytes, Refusal> {
    let mut joined = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Refusal::Broken(Shown::within(&error.to_string(), 160).to_string()))?;
        let Ok(data) = frame.into_data() else { continue };
        let length = joined.len() + data.len();
        if length > BODY_BYTES {
            return Err(Refusal::TooLarge);
        }
        if !share.hold(length).await {
            return Err(Refusal::Busy);
        }
        if joined.is_empty() && body.is_end_stream() {
            return Ok(data);
        }
        // A frame is a part of a larger buffer, which is given back only with the last of its frames.
        if length > joined.capacity() {
            let capacity = length.max((2 * length).min(declared));
            joined.reserve_exact(capacity - joined.len());
        }
        joined.extend_from_slice(&data);
    }
    Ok(joined.into())
}
