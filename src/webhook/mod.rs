//! The webhook over HTTP: `POST /validate`, `POST /mutate` and `POST /authorize`.
//!
//! ```text
//! turned away   503 nothing to judge by yet   415 not JSON   413 over 8 MiB   429 too many at once
//!               408 body too slow             400 not a review, and why
//! answered      200 with the decision; also where its time was used up or the judgement panicked: admitted, with a warning
//! ```
//!
//! An error answer makes the API server follow the webhook's `failurePolicy`; a decision never does. So what was understood
//! is always answered by a decision, and trouble of our own admits.

use std::any::Any;
use std::fmt;
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
use futures_util::future::BoxFuture;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::BodyExt as _;
use thiserror::Error;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{debug, error, info};

use crate::admission::response::{Decision, render};
use crate::admission::review::{Request, ReviewError, decode};
use crate::admission::{Stage, one_line};
use crate::telemetry::{DecodeReason, Metrics, ObjectKind, RequestOutcome};

pub mod admin;
mod readiness;

pub use readiness::{Condition, Readiness};

/// The largest body that is read, in bytes. API servers accept objects of 3 MiB, and an update carries two.
pub const BODY_BYTES: usize = 8 << 20;

/// What a review is charged against [`Limits::memory`], at least and by the piece.
const UNIT: usize = 64 << 10;

/// The judgement of reviews. An error is a malformed object.
pub trait Judging: Send + Sync {
    /// Judges a review, within its time.
    fn judge<'a>(
        &'a self,
        stage: Stage,
        request: &'a Request<'_>,
        time: Time,
    ) -> BoxFuture<'a, Result<Decision, ReviewError>>;
}

/// A plain function that needs nothing but the review.
impl<F> Judging for F
where
    F: Fn(Stage, &Request<'_>) -> Result<Decision, ReviewError> + Send + Sync,
{
    fn judge<'a>(
        &'a self,
        stage: Stage,
        request: &'a Request<'_>,
        _time: Time,
    ) -> BoxFuture<'a, Result<Decision, ReviewError>> {
        Box::pin(async move { self(stage, request) })
    }
}

/// The judgement as the routes share it.
pub type Judge = Arc<dyn Judging>;

/// The time a judgement has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time {
    /// Half of it is used up then: what is only nice to know is left out.
    pub half: Instant,
    /// The answer must be there then.
    pub end: Instant,
}

/// What one client, or all together, may use up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of bodies in flight; each counts in steps of 64 KiB as it arrives.
    pub memory: usize,
    /// How long a request waits for its share of the memory.
    pub wait: Duration,
    /// How long a body may take to arrive, whatever time the API server grants.
    pub body: Duration,
    /// The time granted where the API server does not say.
    pub timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: 64 << 20,
            wait: Duration::from_millis(200),
            body: Duration::from_secs(10),
            timeout: Duration::from_secs(10),
        }
    }
}

/// What the routes share.
pub struct Edge {
    judge: Judge,
    readiness: Arc<Readiness>,
    metrics: Arc<Metrics>,
    limits: Limits,
    memory: Semaphore,
}

impl Edge {
    /// The judgement and what surrounds it.
    #[must_use]
    pub fn new(judge: Judge, readiness: Arc<Readiness>, metrics: Arc<Metrics>, limits: Limits) -> Arc<Self> {
        let memory = Semaphore::new((limits.memory / UNIT).clamp(1, Semaphore::MAX_PERMITS));
        Arc::new(Self { judge, readiness, metrics, limits, memory })
    }
}

impl fmt::Debug for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Edge").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// `POST /validate`, `POST /mutate` and `POST /authorize`; a plain router, to which more routes can be added.
pub fn router(edge: Arc<Edge>) -> Router {
    let handler = |stage| post(move |State(edge): State<Arc<Edge>>, request| review(stage, edge, request));
    Router::new()
        .route("/validate", handler(Stage::Validate))
        .route("/mutate", handler(Stage::Mutate))
        .route("/authorize", handler(Stage::Authorize))
        .fallback(async || {
            plain(StatusCode::NOT_FOUND, "no such path; POST /validate, /mutate and /authorize are served")
        })
        .method_not_allowed_fallback(async || plain(StatusCode::METHOD_NOT_ALLOWED, "reviews are sent by POST"))
        .with_state(edge)
}

/// A line of text.
fn plain(status: StatusCode, line: impl fmt::Display) -> Response {
    (status, [(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"))], format!("{line}\n"))
        .into_response()
}

/// Why a request got no decision.
#[derive(Debug, Error)]
enum Refusal {
    #[error("not ready: what reviews are judged by is still being read")]
    NotReady,
    #[error("content type must be application/json, without content encoding")]
    NotJson,
    #[error("the body is larger than {BODY_BYTES} bytes")]
    TooLarge,
    #[error("too many reviews at once; try again in a second")]
    Busy,
    #[error("the body did not arrive in time")]
    Slow,
    #[error("the body could not be read: {0}")]
    Broken(String),
    #[error(transparent)]
    Malformed(#[from] ReviewError),
    #[error("the answer could not be written")]
    Unwritable(#[from] serde_json::Error),
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::NotReady => StatusCode::SERVICE_UNAVAILABLE,
            Self::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Busy => StatusCode::TOO_MANY_REQUESTS,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::Broken(_) | Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::Unwritable(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn outcome(&self) -> RequestOutcome {
        match self {
            Self::NotReady => RequestOutcome::NotReady,
            Self::NotJson => RequestOutcome::NotJson,
            Self::TooLarge => RequestOutcome::TooLarge,
            Self::Busy => RequestOutcome::Busy,
            Self::Slow => RequestOutcome::Slow,
            Self::Broken(_) | Self::Malformed(_) => RequestOutcome::Malformed,
            Self::Unwritable(_) => RequestOutcome::Failed,
        }
    }

    fn decode_reason(&self) -> Option<DecodeReason> {
        match self {
            Self::Malformed(error) => Some(error.into()),
            Self::Broken(_) => Some(DecodeReason::Broken),
            _ => None,
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = plain(self.status(), &self);
        if matches!(self, Self::Busy) {
            // API servers obey it, within the time they grant.
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// When a request came and when it must be done.
#[derive(Clone, Copy, Debug)]
struct Clock {
    started: Instant,
    /// From here on the answer might come too late: no judgement is begun.
    judge_by: Instant,
    /// From here on nobody waits for the answer.
    end: Instant,
}

impl Clock {
    fn start(query: Option<&str>, limits: &Limits) -> Self {
        /// API servers allow webhooks no more.
        const LONGEST: Duration = Duration::from_secs(30);
        let started = Instant::now();
        let asked = query.and_then(timeout_of).filter(|asked| !asked.is_zero());
        let granted = asked.unwrap_or(limits.timeout).min(LONGEST);
        let margin = (granted / 10).min(Duration::from_secs(1));
        Self { started, judge_by: started + granted.saturating_sub(margin), end: started + granted }
    }

    fn time(&self) -> Time {
        Time { half: self.started + (self.judge_by - self.started) / 2, end: self.judge_by }
    }
}

async fn review(stage: Stage, edge: Arc<Edge>, request: HttpRequest) -> Response {
    let clock = Clock::start(request.uri().query(), &edge.limits);
    match answer(stage, &edge, request, clock).await {
        Ok(json) => ([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], Body::from(json)).into_response(),
        Err(refusal) => {
            let took = clock.started.elapsed();
            edge.metrics.request(stage, ObjectKind::Unread, refusal.outcome(), took);
            if let Some(reason) = refusal.decode_reason() {
                edge.metrics.decode_error(reason);
            }
            info!(%stage, status = refusal.status().as_u16(), outcome = %refusal.outcome(), reason = %refusal, ?took, "turned away");
            refusal.into_response()
        }
    }
}

async fn answer(stage: Stage, edge: &Edge, request: HttpRequest, clock: Clock) -> Result<Vec<u8>, Refusal> {
    if !edge.readiness.can_judge() {
        return Err(Refusal::NotReady);
    }
    let (head, body) = request.into_parts();
    if !is_json(&head.headers) {
        return Err(Refusal::NotJson);
    }
    let declared = declared_length(&head.headers).or_else(|| body.size_hint().exact());
    let declared = usize::try_from(declared.unwrap_or_default()).unwrap_or(usize::MAX);
    if declared > BODY_BYTES {
        return Err(Refusal::TooLarge);
    }
    let mut share = match edge.memory.try_acquire() {
        Ok(share) => share,
        Err(_) => match timeout(edge.limits.wait, edge.memory.acquire()).await {
            Ok(Ok(share)) => share,
            Ok(Err(_)) | Err(_) => return Err(Refusal::Busy),
        },
    };
    let until = clock.end.min(clock.started + edge.limits.body);
    let reading = timeout_at(until, read(body, declared, &edge.memory, &mut share));
    let body = reading.await.map_err(|_| Refusal::Slow)??;
    decide(stage, edge, &body, clock).await
}

fn is_json(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap_or_default());
    let plain = text(CONTENT_ENCODING).is_none_or(|encoding| encoding.eq_ignore_ascii_case("identity"));
    let media_type = text(CONTENT_TYPE).and_then(|value| value.split(';').next()).unwrap_or_default();
    plain && media_type.trim().eq_ignore_ascii_case("application/json")
}

fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The body in one piece: as it came, if it came in one frame, else copied once.
async fn read<'m>(
    mut body: Body,
    declared: usize,
    memory: &'m Semaphore,
    share: &mut SemaphorePermit<'m>,
) -> Result<Bytes, Refusal> {
    let mut first = Bytes::new();
    let mut joined = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Refusal::Broken(one_line(&error.to_string(), 160).into_owned()))?;
        let Ok(data) = frame.into_data() else { continue };
        let length = first.len().max(joined.len()) + data.len();
        if length > BODY_BYTES {
            return Err(Refusal::TooLarge);
        }
        if let Some(more) = length.div_ceil(UNIT).checked_sub(share.num_permits()).filter(|more| *more > 0) {
            let more = u32::try_from(more).map_err(|_| Refusal::Busy)?;
            share.merge(memory.try_acquire_many(more).map_err(|_| Refusal::Busy)?);
        }
        if first.is_empty() && joined.is_empty() {
            first = data;
            continue;
        }
        if joined.is_empty() {
            joined = Vec::with_capacity(declared.max(length));
            joined.extend_from_slice(&std::mem::take(&mut first));
        }
        joined.extend_from_slice(&data);
    }
    Ok(if joined.is_empty() { first } else { joined.into() })
}

/// From bytes to bytes, recorded in one metric and one log line.
async fn decide(stage: Stage, edge: &Edge, body: &[u8], clock: Clock) -> Result<Vec<u8>, Refusal> {
    let request = decode(body)?;
    let (decision, outcome) = if Instant::now() < clock.judge_by {
        let judging = async { edge.judge.judge(stage, &request, clock.time()).await };
        match AssertUnwindSafe(judging).catch_unwind().await {
            Ok(judged) => {
                let decision = judged?;
                let outcome = outcome(stage, &decision);
                (decision, outcome)
            }
            Err(panic) => {
                edge.metrics.judge_panic();
                error!(%stage, uid = %&*request.uid, object = %subject(&request), panic = told(&*panic), "the judgement panicked; admitted");
                (unjudged(&request, "cpufit failed, see its log"), RequestOutcome::Panicked)
            }
        }
    } else {
        (unjudged(&request, "the review took too long to arrive"), RequestOutcome::Late)
    };
    let json = render(stage, &request.uid, &decision)?;
    let took = clock.started.elapsed();
    edge.metrics.request(stage, ObjectKind::of(&request), outcome, took);
    log(stage, &request, &decision, outcome, took);
    Ok(json)
}

fn outcome(stage: Stage, decision: &Decision) -> RequestOutcome {
    match decision {
        Decision::Deny { .. } => RequestOutcome::Denied,
        Decision::Admit { patch, .. } if stage == Stage::Mutate && !patch.is_empty() => RequestOutcome::Patched,
        Decision::Admit { warnings, .. } if !warnings.is_empty() => RequestOutcome::Warned,
        Decision::Admit { .. } => RequestOutcome::Admitted,
    }
}

fn unjudged(request: &Request<'_>, why: &str) -> Decision {
    Decision::admit_with(format!("cpufit: {} was not judged: {why}", subject(request)))
}

/// The object as people name it.
fn subject(request: &Request<'_>) -> String {
    match (&*request.namespace, &*request.name) {
        ("", name) => format!("{} {name}", &*request.kind.kind).trim_end().to_owned(),
        (namespace, "") => format!("a {} in {namespace}", &*request.kind.kind),
        (namespace, name) => format!("{namespace}/{name}"),
    }
}

/// What a panic said.
fn told(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("nothing")
}

fn log(stage: Stage, request: &Request<'_>, decision: &Decision, outcome: RequestOutcome, took: Duration) {
    macro_rules! line {
        ($level:ident) => {
            $level!(
                %stage,
                uid = %&*request.uid,
                operation = %request.operation,
                kind = %&*request.kind.kind,
                namespace = %&*request.namespace,
                name = %&*request.name,
                user = %&*request.user.username,
                dry_run = request.dry_run,
                %outcome,
                warnings = decision.warnings().len(),
                ?took,
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

/// The `timeout` of a query.
fn timeout_of(query: &str) -> Option<Duration> {
    query.split('&').find_map(|pair| pair.strip_prefix("timeout=")).and_then(go_duration)
}

/// A duration as Go writes it: `10s`, `500ms`, `1m30s`, `1.5h`.
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

    /// Answering a little early costs nothing; a little late costs the review.
    #[tokio::test]
    async fn a_clock_leaves_a_margin_and_believes_no_nonsense() {
        let granted = |query| {
            let clock = Clock::start(query, &Limits::default());
            (clock.judge_by - clock.started, clock.end - clock.started)
        };
        let seconds = Duration::from_secs_f64;
        assert_eq!(granted(Some("timeout=5s")), (seconds(4.5), seconds(5.0)));
        assert_eq!(granted(Some("timeout=1h")), (seconds(29.0), seconds(30.0)));
        assert_eq!(granted(None), (seconds(9.0), seconds(10.0)));
        assert_eq!(granted(Some("timeout=soon")), granted(None));
        assert_eq!(granted(Some("timeout=0s")), granted(None));
    }
}
