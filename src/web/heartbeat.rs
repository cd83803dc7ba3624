//! Liveness of the runtime that answers reviews, checked by the admin port, which has its own runtime.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval};

/// Interval between two beats.
const BEAT_INTERVAL: Duration = Duration::from_secs(1);

/// Maximum time without a beat. An overloaded runtime still beats within seconds, and a restart would not help it.
const SILENCE: Duration = Duration::from_secs(60);

/// A record of beats while a runtime runs.
#[derive(Debug)]
pub struct Heartbeat {
    started: Instant,
    /// Time of the last beat, in milliseconds after the start.
    last: AtomicU64,
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self { started: Instant::now(), last: AtomicU64::new(0) }
    }
}

impl Heartbeat {
    /// Beats forever, on the runtime to be checked.
    pub async fn beat(&self) {
        let mut ticks = interval(BEAT_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.last.store(self.milliseconds(Instant::now()), Ordering::Relaxed);
        }
    }

    /// Whether the last beat, or the start, was recent.
    pub(crate) fn is_recent(&self) -> bool {
        self.is_recent_at(Instant::now())
    }

    fn is_recent_at(&self, now: Instant) -> bool {
        let since = self.milliseconds(now).saturating_sub(self.last.load(Ordering::Relaxed));
        u128::from(since) <= SILENCE.as_millis()
    }

    /// Returns the time after the start.
    fn milliseconds(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.started).as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_heartbeat_counts_until_its_limit() {
        let pulse = Heartbeat::default();
        let limit = pulse.started + SILENCE;
        assert!(pulse.is_recent_at(limit), "at the start it need not have beaten yet");
        assert!(!pulse.is_recent_at(limit + Duration::from_millis(1)), "a runtime that hangs is not restarted");
        tokio::time::sleep(Duration::from_millis(50)).await;
        tokio::select! {
            () = pulse.beat() => {}
            () = tokio::time::sleep(Duration::from_millis(50)) => {}
        }
        let beaten = limit + Duration::from_millis(50);
        assert!(pulse.is_recent_at(beaten), "a runtime that answers is restarted");
    }
}
