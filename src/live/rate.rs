//! Rates: how much may be done at once, and how much for good.

use std::time::Duration;

use tokio::time::Instant;

/// A number at once, then a number a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rate {
    /// How many at once.
    pub burst: f64,
    /// How many a second after that.
    pub per_second: f64,
}

/// What is left of a rate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Bucket {
    /// All of it is left.
    pub(super) fn full(rate: Rate, now: Instant) -> Self {
        Self { tokens: rate.burst, at: now }
    }

    fn fill(&mut self, rate: Rate, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + passed * rate.per_second).min(rate.burst);
        self.at = now;
    }

    /// Whether one is left.
    pub(super) fn has_one(&mut self, rate: Rate, now: Instant) -> bool {
        self.fill(rate, now);
        self.tokens >= 1.0
    }

    /// Whether nothing was taken lately.
    pub(super) fn is_full(&mut self, rate: Rate, now: Instant) -> bool {
        self.fill(rate, now);
        self.tokens >= rate.burst
    }

    /// Takes one that is left.
    pub(super) fn take(&mut self) {
        self.tokens -= 1.0;
    }

    /// When one is left.
    pub(super) fn next(&self, rate: Rate) -> Instant {
        let missing = (1.0 - self.tokens).max(0.0);
        // A little later, for what is lost in the division.
        self.at + Duration::from_secs_f64(missing / rate.per_second) + Duration::from_millis(1)
    }
}

/// Takes one of each of these, if each has one left.
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
