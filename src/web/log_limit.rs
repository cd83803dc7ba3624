//! A limit of log lines that clients cause.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A limit that lets a burst of lines through and then one line in each period; the others are counted.
#[derive(Debug)]
pub(super) struct LogLimit {
    at_once: u32,
    every: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Number of written lines that still count against `at_once`, as of `since`.
    counted: u32,
    since: Option<Instant>,
    left_out: u64,
}

impl LogLimit {
    pub(super) const fn new(at_once: u32, every: Duration) -> Self {
        Self { at_once, every, state: Mutex::new(State { counted: 0, since: None, left_out: 0 }) }
    }

    /// Returns how many lines were left out since the last one; `None` if no line may be written now.
    pub(super) fn line(&self) -> Option<u64> {
        let now = Instant::now();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let since = *state.since.get_or_insert(now);
        let periods = u32::try_from((now - since).as_millis() / self.every.as_millis().max(1)).unwrap_or(u32::MAX);
        if periods > 0 {
            state.counted = state.counted.saturating_sub(periods);
            state.since = Some(now);
        }
        if state.counted >= self.at_once {
            state.left_out += 1;
            return None;
        }
        state.counted += 1;
        Some(std::mem::take(&mut state.left_out))
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_log_limit_allows_a_burst_and_then_one_line_per_period() {
        let seldom = LogLimit::new(2, Duration::from_secs(60));
        let lines = |times: usize| (0..times).map(|_| seldom.line()).collect::<Vec<_>>();
        assert_eq!(lines(4), [Some(0), Some(0), None, None]);
        advance(Duration::from_secs(59)).await;
        assert_eq!(lines(1), [None]);
        advance(Duration::from_secs(1)).await;
        assert_eq!(lines(2), [Some(3), None], "those that were left out are counted");
        advance(Duration::from_secs(3600)).await;
        assert_eq!(lines(3), [Some(1), Some(0), None], "an hour of silence allows no more than at first");
    }
}
