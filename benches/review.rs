//! Reviews through the real router, in process, beside a route on the same router that reads the body and answers a constant.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod cluster;
mod table;

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use cpufit::telemetry::Metrics;
use http::header::CONTENT_TYPE;
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tower::ServiceExt as _;

use cluster::Demand;
use table::{Target, median};

/// Requests in a row, and how often such rows take turns: rows short enough that on a busy machine most are left alone.
const ROW: u32 = 5;
const ROUNDS: usize = 1_000;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for size in [10, 15_000] {
        let feasible = cluster::launcher_review(Demand::Feasible, size);
        let reviews = [
            ("launcher pod, feasible", feasible.clone()),
            ("launcher pod, infeasible", cluster::launcher_review(Demand::Infeasible, size)),
            ("status of a VM", cluster::status_noise()),
            ("plain pod", cluster::plain_pod()),
        ];
        let router = |known| cluster::router(cluster::world(size, known), Arc::new(Metrics::default()));
        let strangers = router(None);
        for (name, review) in reviews {
            runtime.block_on(compare(&format!("router, {name}, {size} nodes"), &strangers, &review));
        }
        let what = format!("router, launcher pod of a known guest, feasible, {size} nodes");
        runtime.block_on(compare(&what, &router(Some(&feasible)), &feasible));
    }
}

/// Rows of both routes take turns, so that a busy machine hurts both alike.
async fn compare(what: &str, router: &Router, review: &Value) {
    let review = &Bytes::from(review.to_string());
    let (row, rounds) = if table::is_smoke_test() { (1, 1) } else { (ROW, ROUNDS) };
    let (mut took, mut ratios) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let null = time(router, "/null", review, row).await;
        let full = time(router, "/validate", review, row).await;
        took.push(full);
        ratios.push(full / null);
    }
    if !table::is_smoke_test() {
        table::row(what, median(&mut took), "µs", Target::None);
        table::row(&format!("{what} / null route"), median(&mut ratios), "x", Target::None);
    }
}

/// Microseconds for one request.
async fn time(router: &Router, path: &str, review: &Bytes, times: u32) -> f64 {
    let started = Instant::now();
    for _ in 0..times {
        let request =
            Request::post(path).header(CONTENT_TYPE, "application/json").body(Body::from(review.clone())).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let answer = response.into_body().collect().await.unwrap().to_bytes();
        assert!(answer.starts_with(b"{\"kind\":\"AdmissionReview\""));
    }
    started.elapsed().as_secs_f64() * 1e6 / f64::from(times)
}
