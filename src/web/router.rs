//! The webhook over HTTP: `POST /validate`, `POST /mutate` and `POST /authorize`.
//!
//! ```text
//! turned away   503 no input of judgements yet   415 not JSON   413 over 8 MiB   429 too many at once
//!               408 body too slow             400 not a review, and why
//! answered      200 with the decision; if its time was used up or the judgement panicked: admitted, with a warning
//! ```
//!
//! An error response makes the API server apply the webhook's `failurePolicy`; a decision never does. Therefore every
//! understood review gets a decision, and internal failures admit.

use std::fmt;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody as _};
use axum::extract::{Request as HttpRequest, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use futures_util::FutureExt as _;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};
use tokio::time::{Instant, timeout_at};
use tracing::{debug, error, info};

use super::body::{BufferPool, declared_length, discard, read};
use super::clock::Clock;
use super::judge_queues::{JudgeLimits, JudgeQueues, JudgeScope, JudgeSlot, QueueError, run_blocking};
use super::judging::{Judge, Unjudged};
use super::log_limit::LogLimit;
use super::memory::{BODY_BYTES, Memory, SMALL, Share, TRANSLATED_BYTES};
use super::rejection::{Rejection, plain};
use super::{Peer, Readiness};
use crate::admission::Webhook;
use crate::admission::response::{Decision, render};
use crate::admission::review::{Request, decode};
use crate::domain::Domain;
use crate::fit::shown::Shown;
use crate::page::Page;
use crate::telemetry::{Metrics, RequestOutcome, ReviewedKind, panic_message};
use crate::word::Word as _;

/// Limits of the requests of one client, or of all together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of requests in flight: each counts 8 KiB plus the received part of its body. Three eighths are for bodies
    /// up to 256 KiB, the rest for larger ones.
    pub memory: usize,
    /// Maximum time a request waits for its share of the memory, while the slowest bodies are ended. Judged requests
    /// free theirs sooner, and API servers that get a 429 retry after a second.
    pub wait: Duration,
    /// Maximum time for a body to arrive, regardless of the time that the API server grants.
    pub body: Duration,
    /// The granted time if the API server states none.
    pub timeout: Duration,
    /// Number of reviews judged at once.
    pub judges: JudgeLimits,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: 64 << 20,
            wait: Duration::from_secs(1),
            body: Duration::from_secs(10),
            timeout: Duration::from_secs(10),
            judges: JudgeLimits::default(),
        }
    }
}

/// The state that the routes share.
pub struct Edge {
    judge: Judge,
    readiness: Arc<Readiness>,
    metrics: Arc<Metrics>,
    limits: Limits,
    domain: Domain,
    memory: Memory,
    buffers: Arc<BufferPool>,
    queues: JudgeQueues,
    /// The limit of log lines for each outcome without a decision.
    turned_away: Vec<LogLimit>,
    /// The limits of the lines about reviews, by outcome.
    reviewed: Vec<LogLimit>,
}

impl Edge {
    /// Creates the state around a source of judgements.
    #[must_use]
    pub fn new(judge: Judge, readiness: Arc<Readiness>, metrics: Arc<Metrics>, limits: Limits) -> Arc<Self> {
        Self::in_domain(Domain::default(), judge, readiness, metrics, limits)
    }

    /// Creates the state for reviews of a cluster with this domain.
    #[must_use]
    pub fn in_domain(
        domain: Domain,
        judge: Judge,
        readiness: Arc<Readiness>,
        metrics: Arc<Metrics>,
        limits: Limits,
    ) -> Arc<Self> {
        // While a body is translated, both it and its translation are held.
        let memory = Memory::new(limits.memory, limits.wait, if domain.is_own() { 1 } else { 2 });
        let turned_away = RequestOutcome::ALL.iter().map(|_| LogLimit::new(10, Duration::from_secs(1))).collect();
        // Far above the answers with warnings of a large cluster, and at most a few hundred KiB a second.
        let reviewed = RequestOutcome::ALL.iter().map(|_| LogLimit::new(1000, Duration::from_millis(10))).collect();
        let queues = JudgeQueues::new(limits.judges);
        let buffers = Arc::default();
        Arc::new(Self { judge, readiness, metrics, limits, domain, memory, buffers, queues, turned_away, reviewed })
    }
}

impl fmt::Debug for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Edge").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// Returns the routes `POST /validate`, `POST /mutate` and `POST /authorize`. Further routes can be added.
pub fn router(edge: Arc<Edge>) -> Router {
    let handler = |webhook| post(move |State(edge): State<Arc<Edge>>, request| review(webhook, edge, request));
    Router::new()
        .route("/validate", handler(Webhook::Validate))
        .route("/mutate", handler(Webhook::Mutate))
        .route("/authorize", handler(Webhook::Authorize))
        .fallback(async |request: HttpRequest| {
            discard(request.into_body()).await;
            plain(StatusCode::NOT_FOUND, Page::of("no such path; POST /validate, /mutate and /authorize are served"))
        })
        .method_not_allowed_fallback(async |request: HttpRequest| {
            discard(request.into_body()).await;
            plain(StatusCode::METHOD_NOT_ALLOWED, Page::of("reviews are sent by POST"))
        })
        .with_state(edge)
}

async fn review(webhook: Webhook, edge: Arc<Edge>, request: HttpRequest) -> Response {
    let clock = Clock::start(request.uri().query(), edge.limits.timeout);
    match answer(webhook, &edge, request, clock).await {
        Ok(json) => ([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], Body::from(json)).into_response(),
        Err(refusal) => {
            let took = clock.started.elapsed();
            edge.metrics.request(webhook, ReviewedKind::Unread, refusal.outcome(), took);
            if let Some(reason) = refusal.decode_reason() {
                edge.metrics.decode_error(reason);
            }
            let outcome = refusal.outcome();
            if let Some(more) = edge.turned_away.get(outcome as usize).and_then(LogLimit::line) {
                let took_seconds = took.as_secs_f64();
                info!(webhook = %webhook, status = refusal.status().as_u16(), %outcome, reason = %refusal, took_seconds, more, "turned away");
            }
            refusal.response(&edge.domain)
        }
    }
}

async fn answer(webhook: Webhook, edge: &Edge, request: HttpRequest, clock: Clock) -> Result<Vec<u8>, Rejection> {
    let (head, body) = request.into_parts();
    if !edge.readiness.can_judge() {
        discard(body).await;
        return Err(Rejection::NotReady);
    }
    if !is_json(&head.headers) {
        discard(body).await;
        return Err(Rejection::NotJson);
    }
    let declared = declared_length(&head.headers).or_else(|| body.size_hint().exact());
    let declared = usize::try_from(declared.unwrap_or_default()).unwrap_or(usize::MAX);
    if declared > BODY_BYTES {
        return Err(Rejection::TooLarge);
    }
    let peer = head.extensions.get::<Peer>().cloned();
    // A head may hold far more than the request is charged for.
    drop(head);
    let address = peer.as_ref().map(Peer::address);
    let Some(mut share) = edge.memory.share(address).await else { return Err(Rejection::Busy) };
    let until = clock.end.min(clock.started + edge.limits.body);
    let body =
        timeout_at(until, read(body, declared, &mut share, &edge.buffers)).await.map_err(|_| Rejection::Slow)??;
    share.whole();
    let _answering = peer.as_ref().map(Peer::answering);
    let slot = |bytes: usize| edge.queues.slot(peer.as_ref(), bytes > SMALL, clock.judge_by);
    if edge.domain.is_own() {
        return decide(webhook, edge, &body, slot(body.len()), clock).await;
    }
    let mut translating = slot(body.len());
    let (translated, _besides) = translated(edge, body, address, &mut translating).await?;
    // A small body whose translation is large is judged as a large one.
    let slot = if translating.is_large() { translating } else { slot(translated.len()) };
    decide(webhook, edge, &translated, slot, clock).await
}

/// Returns the body with KubeVirt's own names, and the memory for the additional length.
async fn translated<'e>(
    edge: &'e Edge,
    body: Bytes,
    address: Option<IpAddr>,
    slot: &mut JudgeSlot<'_>,
) -> Result<(Vec<u8>, Option<Share<'e>>), Rejection> {
    let (length, _) = in_slot(&body, slot, || edge.domain.exchanged_length(&body)).await?;
    if length > TRANSLATED_BYTES {
        return Err(Rejection::Grown);
    }
    let mut besides = None;
    if length > body.len() {
        slot.release();
        besides = Some(edge.memory.besides(address, length - body.len()).await.ok_or(Rejection::Busy)?);
    }
    let (translated, _) = in_slot(&body, slot, || edge.domain.exchanged(&body).into_owned()).await?;
    Ok((translated, besides))
}

/// Processes a body, and returns whether it was late. A small body takes less than a millisecond; a large one waits for
/// its turn, and is processed even if that is late, because the answer needs its content.
async fn in_slot<T>(body: &[u8], slot: &mut JudgeSlot<'_>, work: impl Fn() -> T) -> Result<(T, bool), Rejection> {
    if body.len() <= SMALL {
        return Ok((work(), false));
    }
    match slot.run(JudgeScope::Object, |_| work()).await {
        Ok(done) => Ok((done, false)),
        Err(QueueError::Late) => Ok((run_blocking(work), true)),
        Err(QueueError::Full) => Err(Rejection::Busy),
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap_or_default());
    let plain = text(CONTENT_ENCODING).is_none_or(|encoding| encoding.eq_ignore_ascii_case("identity"));
    let media_type = text(CONTENT_TYPE).and_then(|value| value.split(';').next()).unwrap_or_default();
    plain && media_type.trim().eq_ignore_ascii_case("application/json")
}

/// Reasons why a review is not judged.
const ARRIVED_LATE: &str = "the review took too long to arrive";
const WAITED: &str = "its time was used up while others were judged";

/// Decides a review, from bytes to bytes, and records it in one metric and one log line.
async fn decide(
    webhook: Webhook,
    edge: &Edge,
    body: &[u8],
    mut slot: JudgeSlot<'_>,
    clock: Clock,
) -> Result<Vec<u8>, Rejection> {
    let has_arrived_late = Instant::now() >= clock.judge_by;
    let (request, is_late) = in_slot(body, &mut slot, || decode(body)).await?;
    let request = request?;
    let judging = async {
        if is_late { Err(QueueError::Late.into()) } else { edge.judge.judge(webhook, &request, &mut slot).await }
    };
    let (decision, outcome) = match AssertUnwindSafe(judging).catch_unwind().await {
        Ok(Ok(decision)) => {
            let outcome = outcome(webhook, &decision);
            (decision, outcome)
        }
        Ok(Err(Unjudged::Queue(QueueError::Late))) => {
            let why = if has_arrived_late { ARRIVED_LATE } else { WAITED };
            (unjudged(&request, why), RequestOutcome::Late)
        }
        Ok(Err(Unjudged::Queue(QueueError::Full))) => return Err(Rejection::Busy),
        Ok(Err(Unjudged::Malformed(error))) => return Err(error.into()),
        Err(panic) => {
            edge.metrics.judge_panic();
            error!(webhook = %webhook, uid = %logged(&request.uid), object = %logged(&subject(&request)), panic = panic_message(&*panic), "judging panicked: request admitted");
            (unjudged(&request, "cpufit failed, see its log"), RequestOutcome::Panicked)
        }
    };
    // The judge is free for another review from here on.
    drop(slot);
    let json = render(webhook, &request.uid, &decision, &edge.domain)?;
    let took = clock.started.elapsed();
    edge.metrics.request(webhook, ReviewedKind::of(&request), outcome, took);
    log(&edge.reviewed, webhook, &request, &decision, outcome, took);
    Ok(json)
}

fn outcome(webhook: Webhook, decision: &Decision) -> RequestOutcome {
    match decision {
        Decision::Deny { .. } => RequestOutcome::Denied,
        Decision::Admit { patch, .. } if webhook == Webhook::Mutate && !patch.is_empty() => RequestOutcome::Patched,
        Decision::Admit { warnings, .. } if !warnings.is_empty() => RequestOutcome::Warned,
        Decision::Admit { .. } => RequestOutcome::Admitted,
    }
}

fn unjudged(request: &Request<'_>, why: &str) -> Decision {
    Decision::admit_with(vec![format!("{} was not judged: {why}", subject(request))])
}

/// Returns the object's title in the log.
fn subject(request: &Request<'_>) -> String {
    match (&*request.namespace, &*request.name) {
        ("", name) => format!("{} {name}", &*request.kind.kind).trim_end().to_owned(),
        (namespace, "") => format!("a {} in {namespace}", &*request.kind.kind),
        (namespace, name) => format!("{namespace}/{name}"),
    }
}

fn log(
    limits: &[LogLimit],
    webhook: Webhook,
    request: &Request<'_>,
    decision: &Decision,
    outcome: RequestOutcome,
    took: Duration,
) {
    // The lines of this outcome that were left out since the last one.
    let Some(more) = limits.get(outcome as usize).and_then(LogLimit::line) else { return };
    macro_rules! line {
        ($level:ident) => {
            $level!(
                webhook = %webhook,
                uid = %logged(&request.uid),
                operation = %request.operation,
                kind = %logged(&request.kind.kind),
                namespace = %logged(&request.namespace),
                name = %logged(&request.name),
                user = %logged(&request.user.username),
                dry_run = request.dry_run,
                %outcome,
                warnings = decision.warning_count(),
                took_seconds = took.as_secs_f64(),
                more = (more > 0).then_some(more),
                "reviewed"
            )
        };
    }
    if outcome == RequestOutcome::Admitted {
        line!(debug);
    } else {
        line!(info);
    }
}

/// Returns a text of a review for the log, shortened: a name has at most 253 characters.
fn logged(text: &str) -> Shown<'_> {
    Shown::within(text, 253)
}
