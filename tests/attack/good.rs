//! Good clients during an attack: API servers and the kubelet.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, interval, timeout};

use crate::target::{Client, Target, short};
use crate::tls::Http;

/// Interval between two requests of each client.
const EVERY: Duration = Duration::from_millis(100);
/// Time after which a review is lost: `timeoutSeconds` of the webhook that fails closed.
const REVIEW: Duration = Duration::from_secs(5);
/// Time after which a probe is lost: `timeoutSeconds` of the readiness probe.
const PROBE: Duration = Duration::from_secs(2);

/// Results of a client's requests.
#[derive(Debug, Default)]
pub struct Count {
    pub sent: usize,
    pub lost: usize,
    /// Some of the reasons for lost requests.
    pub reasons: Vec<String>,
    took: Vec<Duration>,
}

impl Count {
    fn add(&mut self, took: Duration, outcome: Result<(), String>) {
        self.sent += 1;
        self.took.push(took);
        if let Err(reason) = outcome {
            self.lost += 1;
            if self.reasons.len() < 3 && !self.reasons.contains(&reason) {
                self.reasons.push(reason);
            }
        }
    }

    fn merge(&mut self, other: Self) {
        self.sent += other.sent;
        self.lost += other.lost;
        self.took.extend(other.took);
        for reason in other.reasons {
            if self.reasons.len() < 3 && !self.reasons.contains(&reason) {
                self.reasons.push(reason);
            }
        }
    }

    /// Returns the quantile of the times, in milliseconds.
    pub fn quantile(&self, part: f64) -> u128 {
        let mut took = self.took.clone();
        took.sort_unstable();
        #[expect(clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a part of a small count")]
        let at = (took.len() as f64 * part) as usize;
        took.get(at.min(took.len().saturating_sub(1))).map_or(0, Duration::as_millis)
    }
}

/// Results of all clients.
#[derive(Debug)]
pub struct Counts {
    pub reviews: Count,
    pub probes: Count,
}

/// A client like an API server on a kept connection, one that connects for each review, and a kubelet.
///
/// They run in a separate thread, as on a separate machine: attackers delay the server, not these clients.
pub struct Good {
    stop: watch::Sender<bool>,
    counts: oneshot::Receiver<Counts>,
}

impl Good {
    pub fn start(target: &Arc<Target>) -> Self {
        let (stop, stopped) = watch::channel(false);
        let (count, counts) = oneshot::channel();
        let target = Arc::clone(target);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let all = async {
                tokio::join!(
                    reviews(&target, true, &stopped),
                    reviews(&target, false, &stopped),
                    probes(&target, &stopped)
                )
            };
            let (mut kept, fresh, probes) = runtime.block_on(all);
            kept.merge(fresh);
            count.send(Counts { reviews: kept, probes }).ok();
        });
        Self { stop, counts }
    }

    /// Waits for the requests in flight, and returns the counts.
    pub async fn stop(self) -> Counts {
        self.stop.send(true).ok();
        self.counts.await.expect("a good client does not panic")
    }
}

async fn reviews(target: &Arc<Target>, keeps: bool, stopped: &watch::Receiver<bool>) -> Count {
    let mut count = Count::default();
    let mut kept: Option<Client> = None;
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !*stopped.borrow() {
        ticks.tick().await;
        let started = Instant::now();
        let sent = timeout(REVIEW, async {
            // If the server closed the connection between two reviews, no review is lost.
            let open = match kept.take() {
                Some(mut client) => client.is_open().await.then_some(client),
                None => None,
            };
            let mut client = match open {
                Some(client) => client,
                None => target.client(Http::Two, None).await?,
            };
            let (status, _, answer) = client.post("/validate?timeout=5s", target.review.clone()).await?;
            if status != 200 {
                return Err(format!("{status}: {}", short(&answer)));
            }
            if !answer.windows(14).any(|part| part == b"\"allowed\":true")
                || answer.windows(9).any(|w| w == b"not judged")
            {
                return Err(format!("unjudged: {}", short(&answer)));
            }
            Ok(client)
        });
        let sent = sent.await.unwrap_or_else(|_| Err(format!("no answer in {REVIEW:?}")));
        let outcome = match sent {
            Ok(client) => {
                kept = keeps.then_some(client);
                Ok(())
            }
            Err(reason) => Err(reason),
        };
        count.add(started.elapsed(), outcome);
    }
    count
}

async fn probes(target: &Target, stopped: &watch::Receiver<bool>) -> Count {
    let mut count = Count::default();
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !*stopped.borrow() {
        ticks.tick().await;
        for path in ["/livez", "/readyz"] {
            let started = Instant::now();
            let outcome = match target.admin(path, PROBE).await {
                Ok(status) if status == 200 => Ok(()),
                Ok(status) => Err(format!("{path}: {status}")),
                Err(reason) => Err(format!("{path}: {reason}")),
            };
            count.add(started.elapsed(), outcome);
        }
    }
    count
}
