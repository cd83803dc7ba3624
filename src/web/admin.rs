//! The admin port: `/livez`, `/readyz`, `/metrics`, over plain HTTP.

use std::sync::Arc;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};

use super::router::plain;
use super::{Condition, Readiness};
use crate::page::Page;
use crate::telemetry::Metrics;

const INDEX: [&str; 5] = [
    "cpufit: keeps KubeVirt guests migratable",
    "",
    "/livez            200 while the process answers",
    "/readyz           200 when reviews should be sent here, else 503; ?verbose lists the conditions and the age of what is known",
    "/metrics          OpenMetrics text",
];

/// Lines that `/readyz?verbose` lists besides the conditions.
pub type Details = Arc<dyn Fn() -> Page + Send + Sync>;

#[derive(Clone)]
struct Admin {
    readiness: Arc<Readiness>,
    metrics: Arc<Metrics>,
    details: Details,
}

/// `/livez`, `/readyz` with `?verbose`, `/metrics`, and `/` which lists them; a plain router, to which more can be added.
pub fn router(readiness: Arc<Readiness>, metrics: Arc<Metrics>, details: Details) -> Router {
    Router::new()
        .route("/", get(async || plain(StatusCode::OK, INDEX.into_iter().collect())))
        .route("/livez", get(async || plain(StatusCode::OK, Page::of("ok"))))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics_text))
        .fallback(async || plain(StatusCode::NOT_FOUND, Page::of("no such path; / lists them")))
        .with_state(Admin { readiness, metrics, details })
}

async fn readyz(State(admin): State<Admin>, RawQuery(query): RawQuery) -> Response {
    let verbose = query.is_some_and(|query| query.split('&').any(|p| p == "verbose" || p.starts_with("verbose=")));
    let ready = admin.readiness.is_ready();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut page = Page::default();
    for condition in Condition::ALL {
        let held = admin.readiness.holds(condition);
        if verbose || !held {
            let (mark, state) = if held { ('+', "ok") } else { ('-', "not yet") };
            page.line(format_args!("[{mark}]{condition} {state}"));
        }
    }
    // Who is not ready says what it waits for.
    if verbose || !ready {
        page.append(&(admin.details)());
    }
    page.line(if ready { "ok" } else { "not ready" });
    plain(status, page)
}

async fn metrics_text(State(admin): State<Admin>) -> Response {
    match admin.metrics.render() {
        Ok(text) => {
            let format = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
            ([(CONTENT_TYPE, format)], text).into_response()
        }
        Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, Page::of(error)),
    }
}
