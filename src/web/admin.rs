//! The admin port: `/livez`, `/readyz`, `/metrics`, over plain HTTP.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::{ACCEPT, CONTENT_TYPE, VARY};
use http::{HeaderMap, HeaderValue, StatusCode};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::heartbeat::Heartbeat;
use super::rejection::plain;
use super::server::{self, ConnectionLimits, ServeEnd, Transport};
use super::{Condition, Readiness};
use crate::page::Page;
use crate::telemetry::{Exposition, Metrics};
use crate::word::Word as _;

const INDEX: [&str; 5] = [
    "cpufit: keeps KubeVirt guests migratable",
    "",
    "/livez            200 while the runtime that answers reviews runs, else 503",
    "/readyz           200 when reviews should be sent here, else 503; ?verbose lists the conditions and the age of what is known",
    "/metrics          metrics, in the text format of Prometheus or, if asked for by Accept, in OpenMetrics",
];

/// Lines that `/readyz?verbose` prints after the conditions.
pub type Details = Arc<dyn Fn() -> Page + Send + Sync>;

#[derive(Clone)]
struct Admin {
    readiness: Arc<Readiness>,
    metrics: Arc<Metrics>,
    details: Details,
    pulse: Arc<Heartbeat>,
}

/// Returns the routes `/livez`, `/readyz` with `?verbose`, `/metrics`, and `/`, which lists them. Further routes can be
/// added.
pub fn router(readiness: Arc<Readiness>, metrics: Arc<Metrics>, details: Details, pulse: Arc<Heartbeat>) -> Router {
    Router::new()
        .route("/", get(async || plain(StatusCode::OK, INDEX.into_iter().collect())))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics_text))
        .fallback(async || plain(StatusCode::NOT_FOUND, Page::of("no such path; / lists them")))
        .with_state(Admin { readiness, metrics, details, pulse })
}

/// Serves the admin port until `shutdown` completes, on its own thread and runtime, so that reviews, genuine or
/// hostile, do not delay probes.
///
/// # Errors
/// The thread or its runtime cannot be created.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: ConnectionLimits,
    metrics: Arc<Metrics>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<JoinHandle<ServeEnd>> {
    let listener = listener.into_std()?;
    let (started, start) = oneshot::channel();
    let serving = thread::Builder::new().name("admin".to_owned()).spawn(move || {
        let begun = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let listener = {
                let _context = runtime.enter();
                TcpListener::from_std(listener)?
            };
            io::Result::Ok((runtime, listener))
        };
        match begun() {
            Ok((runtime, listener)) => {
                // If the receiver is gone, no caller waits for the start.
                let _ = started.send(Ok(()));
                runtime.block_on(server::serve(listener, Transport::Plain, router, limits, metrics, shutdown))
            }
            Err(error) => {
                let _ = started.send(Err(error));
                ServeEnd::Completely
            }
        }
    })?;
    start.await.unwrap_or_else(|_| Err(io::Error::other("the thread of the admin port panicked")))?;
    Ok(serving)
}

async fn livez(State(admin): State<Admin>) -> Response {
    if admin.pulse.is_recent() {
        plain(StatusCode::OK, Page::of("ok"))
    } else {
        plain(StatusCode::SERVICE_UNAVAILABLE, Page::of("the runtime that answers reviews does not run"))
    }
}

async fn readyz(State(admin): State<Admin>, RawQuery(query): RawQuery) -> Response {
    let verbose = query.is_some_and(|query| query.split('&').any(|p| p == "verbose" || p.starts_with("verbose=")));
    let ready = admin.readiness.is_ready();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut page = Page::default();
    for &condition in Condition::ALL {
        let held = admin.readiness.holds(condition);
        if verbose || !held {
            let (mark, state) = if held { ('+', "ok") } else { ('-', "not yet") };
            page.line(format_args!("[{mark}]{condition} {state}"));
        }
    }
    // A response that is not ready lists the details without `?verbose` too.
    if verbose || !ready {
        page.append(&(admin.details)());
    }
    page.line(if ready { "ok" } else { "not ready" });
    plain(status, page)
}

async fn metrics_text(State(admin): State<Admin>, headers: HeaderMap) -> Response {
    let accept = headers.get_all(ACCEPT).into_iter().filter_map(|value| value.to_str().ok()).collect::<Vec<_>>();
    let exposition = Exposition::accepted(&accept.join(","));
    match admin.metrics.render(exposition) {
        Ok(text) => {
            let kind = HeaderValue::from_static(exposition.content_type());
            ([(CONTENT_TYPE, kind), (VARY, HeaderValue::from_static("accept"))], text).into_response()
        }
        Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, Page::of(error)),
    }
}
