//! Rates: a burst, and a sustained rate.

use std::time::Duration;

use tokio::time::Instant;

/// A burst, followed by a number per second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rate {
    /// Size of the burst.
    pub burst: f64,
    /// Number per second after the burst.
    pub per_second: f64,
}

/// The remaining tokens of a rate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Bucket {
    /// Creates a full bucket.
    pub(super) fn full(rate: Rate, now: Instant) -> Self {
        Self { tokens: rate.burst, at: now }
    }

    fn fill(&mut self, rate: Rate, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + passed * rate.per_second).min(rate.burst);
        self.at = now;
    }

    /// Whether a token is left.
    pub(super) fn has_one(&mut self, rate: Rate, now: Instant) -> bool {
        self.fill(rate, now);
        self.tokens >= 1.0
    }

    /// Whether all tokens are left.
    pub(super) fn is_full(&mut self, rate: Rate, now: Instant) -> bool {
        self.fill(rate, now);
        self.tokens >= rate.burst
    }

    /// Takes a token.
    pub(super) fn take(&mut self) {
        self.tokens -= 1.0;
    }

    /// Returns when the next token is available.
    pub(super) fn next(&self, rate: Rate) -> Instant {
        let missing = (1.0 - self.tokens).max(0.0);
        // One millisecond later, to compensate for rounding.
        self.at + Duration::from_secs_f64(missing / rate.per_second) + Duration::from_millis(1)
    }
}

/// Takes a token of each bucket if each has one. Returns whether it did.
pub(super) fn take_all<const N: usize>(buckets: [(&mut Bucket, Rate); N], now: Instant) -> bool {
    let mut buckets = buckets;
    let has_one = buckets.iter_mut().all(|(bucket, rate)| bucket.has_one(*rate, now));
    if has_one {
        for (bucket, _) in &mut buckets {
            bucket.take();
        }
    }
    has_one
}
