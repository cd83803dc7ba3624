//! Deadlines of a review: the time that the API server grants, less a margin.

use std::time::Duration;

use tokio::time::Instant;

/// The arrival and the deadlines of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    pub(super) started: Instant,
    /// After this instant the answer may be late: a judgement that has not begun is left out.
    pub(super) judge_by: Instant,
    /// After this instant the API server no longer waits for the answer.
    pub(super) end: Instant,
}

impl Clock {
    /// Starts now. `unsaid` is the granted time if the query does not state one.
    pub(super) fn start(query: Option<&str>, unsaid: Duration) -> Self {
        /// The API server's maximum for webhooks.
        const MAX_WEBHOOK_TIMEOUT: Duration = Duration::from_secs(30);
        let started = Instant::now();
        let asked = query.and_then(timeout_of).filter(|asked| !asked.is_zero());
        let granted = asked.unwrap_or(unsaid).min(MAX_WEBHOOK_TIMEOUT);
        let margin = (granted / 10).min(Duration::from_secs(1));
        Self { started, judge_by: started + granted.saturating_sub(margin), end: started + granted }
    }
}

/// Returns the `timeout` of a query.
fn timeout_of(query: &str) -> Option<Duration> {
    query.split('&').find_map(|pair| pair.strip_prefix("timeout=")).and_then(go_duration)
}

/// Parses a duration in Go's format: `10s`, `500ms`, `1m30s`, `1.5h`.
fn go_duration(text: &str) -> Option<Duration> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    let mut total = 0.0;
    loop {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(digits);
        let number: f64 = number.parse().ok()?;
        let end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let seconds = match unit {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        total += number * seconds;
        if tail.is_empty() {
            return Duration::try_from_secs_f64(total).ok();
        }
        rest = tail;
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::seconds("10s", Some(10_000))]
    #[case::milliseconds("500ms", Some(500))]
    #[case::compound("1m30s", Some(90_000))]
    #[case::fraction("1.5s", Some(1_500))]
    #[case::leading_point(".5s", Some(500))]
    #[case::plus("+2s", Some(2_000))]
    #[case::micro("2000µs", Some(2))]
    #[case::zero("0", Some(0))]
    #[case::hours("1h0m0s", Some(3_600_000))]
    #[case::no_unit("10", None)]
    #[case::no_number("s", None)]
    #[case::negative("-1s", None)]
    #[case::unknown_unit("10d", None)]
    #[case::two_points("1..2s", None)]
    #[case::empty("", None)]
    #[case::overflow("99999999999999999999999h", None)]
    fn durations_as_go_writes_them(#[case] text: &str, #[case] milliseconds: Option<u64>) {
        assert_eq!(go_duration(text), milliseconds.map(Duration::from_millis));
    }

    #[test]
    fn the_timeout_is_found_among_other_parameters() {
        assert_eq!(timeout_of("a=b&timeout=3s"), Some(Duration::from_secs(3)));
        assert_eq!(timeout_of("xtimeout=3s"), None);
    }

    /// An answer that is a little early costs nothing; one that is a little late fails the review.
    #[tokio::test]
    async fn the_deadline_leaves_a_margin_and_ignores_invalid_timeouts() {
        let seconds = Duration::from_secs_f64;
        let granted = |query| {
            let clock = Clock::start(query, seconds(10.0));
            (clock.judge_by - clock.started, clock.end - clock.started)
        };
        assert_eq!(granted(Some("timeout=5s")), (seconds(4.5), seconds(5.0)));
        assert_eq!(granted(Some("timeout=1h")), (seconds(29.0), seconds(30.0)));
        assert_eq!(granted(None), (seconds(9.0), seconds(10.0)));
        assert_eq!(granted(Some("timeout=soon")), granted(None));
        assert_eq!(granted(Some("timeout=0s")), granted(None));
    }
}
