//! Time of the API server's last answer about each watched resource, which bounds the age of the data.
//!
//! A healthy watch gets at least a bookmark a minute. The client library does not expose those, so a layer around the
//! client records the time of every successful answer to a list or watch, and of every part of it.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{Request, Response};
use http_body_util::BodyExt as _;
use kube::client::Body as Sent;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::gauge::ConstGauge;
use tokio::time::Instant;

use super::middleware::{AnswerBody, Middleware};
use crate::kubevirt::resource::Resource;

const RESOURCES: usize = Resource::ALL.len();

/// The time of the last answer and the last failure, for each resource.
#[derive(Debug)]
pub struct Freshness {
    start: Instant,
    /// Milliseconds since the start, plus one; 0 means never.
    received_at: [AtomicU64; RESOURCES],
    /// Time of the last failure, on the same clock, and its description.
    trouble: Mutex<[Option<(u64, String)>; RESOURCES]>,
}

impl Default for Freshness {
    fn default() -> Self {
        Self { start: Instant::now(), received_at: [const { AtomicU64::new(0) }; RESOURCES], trouble: Mutex::default() }
    }
}

impl Freshness {
    /// Records an answer about a resource, now.
    pub fn received(&self, resource: Resource) {
        self.received_at[resource as usize].store(self.now(), Ordering::Relaxed);
    }

    /// Returns the milliseconds since the start, plus one.
    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).map_or(u64::MAX, |now| now.saturating_add(1))
    }

    /// Records a failure of a resource's watch, or, with `None`, that it works.
    pub fn note(&self, resource: Resource, trouble: Option<String>) {
        let trouble = trouble.map(|trouble| (self.now(), trouble));
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)[resource as usize] = trouble;
    }

    /// Returns the time since the API server last answered about a resource; `None` before its first answer.
    #[must_use]
    pub fn age(&self, resource: Resource) -> Option<Duration> {
        let received_at = self.received_at[resource as usize].load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.start.elapsed().saturating_sub(Duration::from_millis(received_at)))
    }

    /// Returns the resources with a first answer, but none within `limit`. Any of them may affect a verdict. An answer
    /// that a resource is not installed, or that a dispensable one is forbidden, counts as an answer.
    #[must_use]
    pub fn silent(&self, limit: Duration) -> Vec<Resource> {
        let is_silent = |resource: &Resource| self.age(*resource).is_some_and(|age| age > limit);
        Resource::WATCHED.into_iter().filter(is_silent).collect()
    }

    /// Returns the last failure of a resource's watch; `None` if the watch is healthy.
    pub(crate) fn trouble(&self, resource: Resource) -> Option<String> {
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner)[resource as usize].clone();
        // A watch that resumed is healthy, even if no event arrived since.
        let received_at = self.received_at[resource as usize].load(Ordering::Relaxed);
        trouble.filter(|(since, _)| *since >= received_at).map(|(_, trouble)| trouble)
    }
}

/// The metric `cpufit_watch_age_seconds`, computed on each scrape: a stored value would be outdated when a watch hangs.
#[derive(Debug)]
pub(crate) struct AgeCollector(pub Arc<Freshness>);

impl Collector for AgeCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut family = encoder.encode_descriptor(
            "watch_age_seconds",
            "Seconds since the API server last answered, by watched resource; about 60 at most while a watch is well",
            None,
            prometheus_client::metrics::MetricType::Gauge,
        )?;
        for resource in Resource::WATCHED {
            if let Some(age) = self.0.age(resource) {
                ConstGauge::new(age.as_secs_f64()).encode(family.encode_family(&[("resource", resource.plural())])?)?;
            }
        }
        Ok(())
    }
}

/// Records each answer to a client about a resource, and each part of it.
impl Middleware for Arc<Freshness> {
    type RequestInfo = Option<Resource>;

    fn request(&self, request: Request<Sent>) -> (Request<Sent>, Option<Resource>) {
        let resource = Resource::of_path(request.uri().path());
        (request, resource)
    }

    fn answer(self, asked: Option<Resource>, answer: Response<AnswerBody>) -> Response<AnswerBody> {
        let Some(resource) = asked.filter(|_| answer.status().is_success()) else { return answer };
        self.received(resource);
        let note = move |frame| {
            self.received(resource);
            frame
        };
        answer.map(|body| body.map_frame(note).boxed_unsync())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each resource counts separately, because a verdict needs them all.
    #[tokio::test(start_paused = true)]
    async fn each_resource_has_its_own_freshness() {
        let limit = Duration::from_secs(60);
        for dead in Resource::WATCHED {
            let freshness = Freshness::default();
            assert_eq!(freshness.silent(limit), Vec::new(), "a resource that was not read yet is not silent");
            for resource in Resource::WATCHED {
                freshness.received(resource);
            }
            tokio::time::advance(Duration::from_secs(61)).await;
            for resource in Resource::WATCHED.into_iter().filter(|other| *other != dead) {
                freshness.received(resource);
            }
            assert_eq!(freshness.silent(limit), [dead], "reviews would be judged by what is long gone");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_watch_is_fresh_after_the_next_answer() {
        let freshness = Freshness::default();
        assert_eq!(freshness.age(Resource::Nodes), None, "what was never received is not fresh");
        freshness.received(Resource::Nodes);
        tokio::time::advance(Duration::from_secs(40)).await;
        freshness.note(Resource::Nodes, Some("connection refused".to_owned()));
        assert_eq!(freshness.age(Resource::Nodes), Some(Duration::from_secs(40)));
        assert_eq!(freshness.trouble(Resource::Nodes).as_deref(), Some("connection refused"));
        tokio::time::advance(Duration::from_secs(2)).await;
        freshness.received(Resource::Nodes);
        assert_eq!(freshness.trouble(Resource::Nodes), None, "a quiet watch would be reported as broken");
        assert_eq!(freshness.trouble(Resource::Vmis), None);
    }
}
