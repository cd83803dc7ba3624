//! Reading of a review's body into one buffer.

use std::mem;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body_util::BodyExt as _;
use tokio::time::timeout;

use super::memory::{BODY_BYTES, SMALL, Share};
use super::rejection::Rejection;
use crate::fit::shown::Shown;

pub(super) fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Buffers of large bodies, kept for reuse: with a new buffer for each body, allocators would hold several times the
/// memory in use.
#[derive(Debug, Default)]
pub(super) struct BufferPool(Mutex<Vec<Vec<u8>>>);

impl BufferPool {
    /// Maximum number of kept buffers: the number of the largest bodies that are in memory at once.
    const MAX_KEPT_BUFFERS: usize = 5;

    /// Returns an empty buffer for this many bytes.
    fn take(self: &Arc<Self>, bytes: usize) -> Buffer {
        if bytes <= SMALL {
            return Buffer { bytes: Vec::with_capacity(bytes), buffers: Arc::clone(self) };
        }
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = kept.iter().position(|buffer| buffer.capacity() >= bytes);
        let buffer = at.map(|at| kept.swap_remove(at));
        drop(kept);
        Buffer { bytes: buffer.unwrap_or_else(|| Vec::with_capacity(bytes)), buffers: Arc::clone(self) }
    }

    /// Keeps a large buffer; if too many are kept, drops the smallest.
    fn put(&self, mut buffer: Vec<u8>) {
        if buffer.capacity() <= SMALL {
            return;
        }
        buffer.clear();
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push(buffer);
        if kept.len() > Self::MAX_KEPT_BUFFERS {
            kept.sort_unstable_by_key(|buffer| std::cmp::Reverse(buffer.capacity()));
            kept.truncate(Self::MAX_KEPT_BUFFERS);
        }
    }
}

/// The bytes of a body; dropping it returns a large buffer to the pool.
struct Buffer {
    bytes: Vec<u8>,
    buffers: Arc<BufferPool>,
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.buffers.put(mem::take(&mut self.bytes));
    }
}

/// Reads the body into one piece and charges the bytes as they arrive. Gives up if the memory is needed and this body
/// is the slowest.
pub(super) async fn read(
    body: Body,
    declared: usize,
    share: &mut Share<'_>,
    buffers: &Arc<BufferPool>,
) -> Result<Bytes, Rejection> {
    let needed = share.needed();
    tokio::select! {
        biased;
        () = needed.notified() => Err(Rejection::Slowest),
        body = collect(body, declared, share, buffers) => body,
    }
}

/// Collects the body: a single frame is returned as it came, several are copied once.
async fn collect(
    mut body: Body,
    declared: usize,
    share: &mut Share<'_>,
    buffers: &Arc<BufferPool>,
) -> Result<Bytes, Rejection> {
    let mut joined = Buffer { bytes: Vec::new(), buffers: Arc::clone(buffers) };
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Rejection::Broken(Shown::within(&error.to_string(), 160).to_string()))?;
        let Ok(data) = frame.into_data() else { continue };
        let length = joined.bytes.len() + data.len();
        if length > BODY_BYTES {
            return Err(Rejection::TooLarge);
        }
        if !share.hold(length).await {
            return Err(Rejection::Busy);
        }
        if joined.bytes.is_empty() && body.is_end_stream() {
            return Ok(data);
        }
        // A frame is a part of a larger buffer, which is freed only with the last of its frames.
        if length > joined.bytes.capacity() {
            // HTTP/2 requests need not declare a length.
            let most = if declared < length { BODY_BYTES } else { declared };
            // The declared bytes may never arrive, so at most twice the received bytes are reserved.
            let capacity = length.max((2 * length).min(most));
            let mut larger = buffers.take(capacity);
            larger.bytes.extend_from_slice(&joined.bytes);
            joined = larger;
        }
        joined.bytes.extend_from_slice(&data);
    }
    Ok(Bytes::from_owner(joined))
}

/// Maximum time for the rest of a body that is not used.
const DISCARD_TIME: Duration = Duration::from_millis(250);

/// Reads and drops a small body before its request is rejected. Otherwise HTTP/2 resets the stream after the response,
/// and some clients (curl 7.88) then lose the response.
pub(super) async fn discard(mut body: Body) {
    let rest = async {
        let mut bytes = 0;
        while bytes <= SMALL
            && let Some(Ok(frame)) = body.frame().await
        {
            bytes += frame.data_ref().map_or(0, Bytes::len);
        }
    };
    // A client that is slower may lose the response.
    let _ = timeout(DISCARD_TIME, rest).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_buffers_are_used_again_and_few_are_kept() {
        let buffers = Arc::new(BufferPool::default());
        let kept = || buffers.0.lock().map_or(0, |kept| kept.len());
        let first = buffers.take(1 << 20);
        let at = first.bytes.as_ptr();
        drop(Bytes::from_owner(first));
        let again = buffers.take(SMALL + 1);
        assert_eq!(
            (again.bytes.as_ptr(), again.bytes.len(), kept()),
            (at, 0, 0),
            "it is empty, and its buffer is its own"
        );
        drop((0..20).map(|_| buffers.take(1 << 20)).collect::<Vec<_>>());
        assert_eq!(kept(), BufferPool::MAX_KEPT_BUFFERS);
        drop(buffers.take(8 << 20));
        assert!(
            buffers.0.lock().is_ok_and(|kept| kept.iter().any(|buffer| buffer.capacity() >= 8 << 20)),
            "the largest"
        );
        assert_eq!(kept(), BufferPool::MAX_KEPT_BUFFERS);
        drop(Buffer { bytes: vec![0; 10], buffers: Arc::clone(&buffers) });
        assert_eq!(kept(), BufferPool::MAX_KEPT_BUFFERS, "small ones are not worth it");
    }
}
