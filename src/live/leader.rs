//! Leader election: the replica that holds the Lease leads.
//!
//! Clocks of different machines are never compared, as in client-go: a Lease is free if its holder was not observed to
//! renew it for its duration, by the local clock. Writes carry the version that was read, so only one of two concurrent
//! ones succeeds.

use std::hash::{BuildHasher as _, Hasher as _};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::core::ObjectMeta;
use kube::{Api, Client};
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, info, warn};

use super::connect::{NOT_A_STATUS, refused_user, words};

/// Name of the Lease.
pub(crate) const NAME: &str = "cpufit";
/// Duration of a Lease without renewal.
const LEASE_DURATION: Duration = Duration::from_secs(15);
/// Interval at which the holder renews the Lease.
const RENEW_INTERVAL: Duration = Duration::from_secs(5);
/// Time without renewal after which the holder gives up leadership: before another replica can take the Lease.
const GIVE_UP: Duration = Duration::from_secs(10);
/// Interval at which other replicas check the Lease, and at which the holder retries after a failure.
const RETRY_PERIOD: Duration = Duration::from_secs(2);
/// Maximum time of a request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(4);

/// Returns the unique name of this replica (holder of the Lease): the configured one, or host name and a random suffix.
pub(crate) fn identity(configured: Option<&str>) -> String {
    if let Some(name) = configured.filter(|name| !name.is_empty()) {
        return name.to_owned();
    }
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let chance = std::collections::hash_map::RandomState::new().build_hasher().finish();
    format!("{}-{:08x}", if host.trim().is_empty() { "cpufit" } else { host.trim() }, chance >> 32)
}

/// The version of this program.
pub(crate) const THIS_VERSION: &str = concat!("v", env!("CARGO_PKG_VERSION"));
/// The Lease's annotation with the version of its holder.
const VERSION_ANNOTATION: &str = "cpufit.io/version";

/// The leading replica and its version. Also JSON of `cpufit version`: fields are only ever added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Leader {
    /// The version, such as `v0.1.0`; null if the Lease does not name it.
    pub version: Option<String>,
    /// The replica's name.
    pub replica: String,
}

/// The leader of a cluster, as its Lease shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Leading {
    /// No replica holds the Lease, or no Lease exists.
    Nobody,
    /// This replica leads.
    Replica(Leader),
    /// This replica held the Lease, and did not renew it in time.
    Expired {
        /// The replica's name.
        replica: String,
        /// The last renewal.
        renewed: String,
    },
}

/// Longest difference between the clocks of two machines that is not taken for an expired Lease.
const CLOCK_DIFFERENCE: Duration = Duration::from_secs(60);

/// Returns the leader by this Lease.
fn leading(lease: Option<Lease>, now: Timestamp) -> Leading {
    let Some(Lease { metadata, spec: Some(spec) }) = lease else { return Leading::Nobody };
    let Some(replica) = spec.holder_identity.filter(|holder| !holder.is_empty()) else { return Leading::Nobody };
    let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    let lasts = seconds.map_or(LEASE_DURATION, Duration::from_secs) + CLOCK_DIFFERENCE;
    let is_over = |renewed: &MicroTime| renewed.0.checked_add(lasts).is_ok_and(|ends| ends < now);
    if let Some(MicroTime(renewed)) = spec.renew_time.filter(is_over) {
        return Leading::Expired { replica, renewed: renewed.to_string() };
    }
    let version = metadata.annotations.and_then(|mut annotations| annotations.remove(VERSION_ANNOTATION));
    Leading::Replica(Leader { version, replica })
}

/// Returns the leading replica and its version.
///
/// # Errors
///
/// The API server refuses or cannot be reached, or another server answers.
pub(crate) async fn version(client: Client, namespace: &str) -> Result<Leading, LeaseError> {
    let lease = match Api::<Lease>::namespaced(client, namespace).get_opt(NAME).await {
        // Every API server has Leases, and says of a missing one which it is.
        Err(kube::Error::Api(status)) if status.code == 404 => return Err(LeaseError::NoApiServer),
        found => found?,
    };
    // All fields of a Lease are optional: other JSON would be read as one without a holder.
    if lease.as_ref().is_some_and(|lease| lease.metadata.name.as_deref() != Some(NAME)) {
        return Err(LeaseError::NoApiServer);
    }
    Ok(leading(lease, Timestamp::now()))
}

/// The reason why the Lease cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LeaseError {
    /// The request failed.
    #[error("{}", words(.0))]
    Request(#[from] kube::Error),
    /// The answer is not that of an API server.
    #[error("no API server of Kubernetes answers there: it has no Lease")]
    NoApiServer,
}

impl LeaseError {
    /// Whether the API server rejects the user's credentials.
    pub(crate) fn is_unauthorized(&self) -> bool {
        matches!(self, Self::Request(kube::Error::Api(status)) if status.code == 401)
    }

    /// Whether the user lacks the permission.
    pub(crate) fn is_forbidden(&self) -> bool {
        matches!(self, Self::Request(kube::Error::Api(status)) if status.code == 403 && status.reason != NOT_A_STATUS)
    }

    /// Returns the user whom the API server refuses.
    pub(crate) fn user(&self) -> Option<&str> {
        match self {
            Self::Request(kube::Error::Api(status)) => refused_user(&status.message),
            _ => None,
        }
    }
}

/// Runs leader election until `stop` changes, then releases the Lease; `leads` is true while this replica leads.
pub(crate) async fn run(
    client: Client,
    namespace: String,
    me: String,
    leads: watch::Sender<bool>,
    mut stop: watch::Receiver<()>,
) {
    let mut candidate = Candidate {
        api: Api::namespaced(client, &namespace),
        me,
        seen: None,
        leads,
        gives_up: None,
        is_in_trouble: false,
    };
    loop {
        let next = tokio::select! {
            biased;
            // An error means that the process is ending.
            _ = stop.changed() => break,
            next = candidate.turn() => next,
        };
        tokio::select! {
            biased;
            _ = stop.changed() => break,
            () = sleep_until(next) => {}
        }
    }
    candidate.release().await;
}

/// The next action on the Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LeaseStep {
    /// No Lease exists: create it.
    Create,
    /// No replica holds it any more: acquire it.
    Take,
    /// This replica holds it: renew it.
    Renew,
    /// Another replica holds it.
    Follow,
}

/// Returns the next action. `unchanged` is how long the Lease has not changed.
fn step(lease: Option<&LeaseSpec>, unchanged: Duration, me: &str) -> LeaseStep {
    let Some(lease) = lease else { return LeaseStep::Create };
    match lease.holder_identity.as_deref().unwrap_or_default() {
        "" => LeaseStep::Take,
        holder if holder == me => LeaseStep::Renew,
        _ => {
            let seconds = lease.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
            let lasts = seconds.map_or(LEASE_DURATION, Duration::from_secs);
            if unchanged > lasts { LeaseStep::Take } else { LeaseStep::Follow }
        }
    }
}

/// Returns the Lease held by `me` from now on.
fn held(before: Option<&LeaseSpec>, step: LeaseStep, me: &str, now: Timestamp) -> LeaseSpec {
    let mut spec = before.cloned().unwrap_or_default();
    if step != LeaseStep::Renew {
        spec.acquire_time = Some(MicroTime(now));
        spec.lease_transitions = Some(before.map_or(0, |before| before.lease_transitions.unwrap_or_default() + 1));
    }
    spec.holder_identity = Some(me.to_owned());
    spec.lease_duration_seconds = i32::try_from(LEASE_DURATION.as_secs()).ok();
    spec.renew_time = Some(MicroTime(now));
    spec
}

struct Candidate {
    api: Api<Lease>,
    me: String,
    /// The last observed Lease, and when it was first observed in this state.
    seen: Option<(LeaseSpec, Instant)>,
    leads: watch::Sender<bool>,
    /// End of this replica's leadership without another renewal; `None` if it does not lead.
    gives_up: Option<Instant>,
    is_in_trouble: bool,
}

impl Candidate {
    /// Makes one attempt. Returns when the next one is due.
    async fn turn(&mut self) -> Instant {
        let started = Instant::now();
        let limit = self.gives_up.map_or(started + REQUEST_TIMEOUT, |gives_up| gives_up.min(started + REQUEST_TIMEOUT));
        let outcome = timeout(limit.saturating_duration_since(started), self.attempt()).await;
        let is_held = match outcome {
            Ok(Ok(is_held)) => {
                self.is_in_trouble = false;
                Some(is_held)
            }
            // Another replica wrote it first.
            Ok(Err(kube::Error::Api(status))) if status.code == 409 => {
                debug!(lease = NAME, "another replica acquired the Lease");
                None
            }
            Ok(Err(error)) => {
                self.failed(&words(&error));
                None
            }
            Err(_) => {
                self.failed("no answer in time");
                None
            }
        };
        match is_held {
            Some(true) => {
                self.gives_up = Some(started + GIVE_UP);
                self.lead(true);
                started + RENEW_INTERVAL
            }
            Some(false) => {
                self.gives_up = None;
                self.lead(false);
                started + RETRY_PERIOD
            }
            None => {
                let now = Instant::now();
                if self.gives_up.is_some_and(|gives_up| gives_up <= now) {
                    self.gives_up = None;
                    self.lead(false);
                }
                self.gives_up.map_or(now + RETRY_PERIOD, |gives_up| gives_up.min(now + RETRY_PERIOD))
            }
        }
    }

    fn failed(&mut self, error: &str) {
        if self.is_in_trouble {
            debug!(lease = NAME, error, "the Lease cannot be read or written");
        } else {
            warn!(lease = NAME, error, "the Lease cannot be read or written; retrying every few seconds");
        }
        self.is_in_trouble = true;
    }

    fn lead(&self, leads: bool) {
        let changed = self.leads.send_if_modified(|before| std::mem::replace(before, leads) != leads);
        if changed && leads {
            info!(replica = self.me, "became leader");
        } else if changed {
            info!(replica = self.me, "lost leadership");
        }
    }

    /// Reads and writes the Lease. Returns whether this replica holds it afterwards.
    async fn attempt(&mut self) -> kube::Result<bool> {
        let lease = self.api.get_opt(NAME).await?;
        let spec = lease.as_ref().map(|lease| lease.spec.clone().unwrap_or_default());
        let unchanged = self.observe(spec.as_ref());
        let step = step(spec.as_ref(), unchanged, &self.me);
        if step == LeaseStep::Follow {
            return Ok(false);
        }
        let held = held(spec.as_ref(), step, &self.me, Timestamp::now());
        let params = PostParams::default();
        let stored = if let Some(lease) = lease {
            let mut lease = Lease { spec: Some(held), ..lease };
            lease
                .metadata
                .annotations
                .get_or_insert_default()
                .insert(VERSION_ANNOTATION.to_owned(), THIS_VERSION.to_owned());
            self.api.replace(NAME, &params, &lease).await?
        } else {
            let metadata = ObjectMeta {
                name: Some(NAME.to_owned()),
                labels: Some([("app.kubernetes.io/name".to_owned(), "cpufit".to_owned())].into()),
                annotations: Some([(VERSION_ANNOTATION.to_owned(), THIS_VERSION.to_owned())].into()),
                ..ObjectMeta::default()
            };
            self.api.create(&params, &Lease { metadata, spec: Some(held) }).await?
        };
        self.observe(stored.spec.as_ref());
        Ok(true)
    }

    /// Returns how long the Lease has been unchanged.
    fn observe(&mut self, spec: Option<&LeaseSpec>) -> Duration {
        match (spec, &self.seen) {
            (Some(spec), Some((seen, since))) if seen == spec => since.elapsed(),
            (spec, _) => {
                self.seen = spec.map(|spec| (spec.clone(), Instant::now()));
                Duration::ZERO
            }
        }
    }

    /// Releases the Lease, so that other replicas need not wait until it expires.
    async fn release(self) {
        self.lead(false);
        // An attempt may have been under way, so the Lease is read to see its holder.
        let released = timeout(REQUEST_TIMEOUT, async {
            let lease = self.api.get(NAME).await?;
            let Some(spec) = lease.spec.clone().filter(|spec| spec.holder_identity.as_ref() == Some(&self.me)) else {
                return Ok(());
            };
            let spec = LeaseSpec {
                holder_identity: Some(String::new()),
                lease_duration_seconds: Some(1),
                renew_time: Some(MicroTime(Timestamp::now())),
                ..spec
            };
            self.api.replace(NAME, &PostParams::default(), &Lease { spec: Some(spec), ..lease }).await.map(|_| ())
        });
        match released.await {
            Ok(Ok(())) => debug!(lease = NAME, "released"),
            Ok(Err(error)) => {
                debug!(lease = NAME, error = words(&error), "the Lease could not be released; it expires");
            }
            Err(_) => debug!(lease = NAME, "the Lease was not released in time; it expires"),
        }
    }
}

#[cfg(test)]
mod tests;
