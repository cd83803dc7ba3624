//! Reviews through the real router, in process, compared with a route on the same router that reads the body and
//! returns a constant.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, reason = "a benchmark ends with the panic")]

#[path = "shared/launcher_review.rs"]
mod launcher_review;
#[path = "shared/nodes.rs"]
mod nodes;
#[path = "shared/quantile.rs"]
mod quantile;
#[path = "shared/router.rs"]
mod router;
#[path = "shared/smoke.rs"]
mod smoke;
#[path = "shared/table.rs"]
mod table;
#[path = "shared/world.rs"]
mod world;

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use cpufit::kubevirt::cluster::{ClusterObject, launcher};
use cpufit::telemetry::Metrics;
use http::header::CONTENT_TYPE;
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use launcher_review::{Demand, SOURCE, launcher_review};
use quantile::quantile;
use router::router;
use smoke::is_smoke_test;
use world::world;

/// Requests of a row, and number of rows, which alternate: rows are short enough that most are not interrupted on a
/// busy machine.
const ROW: u32 = 5;
const ROUNDS: usize = 1_000;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for size in [10, 15_000] {
        let launcher = |demand: Demand| (format!("launcher pod, {}", demand.as_str()), launcher_review(demand, size));
        let others = [("status of a VM".to_owned(), status_noise()), ("plain pod".to_owned(), plain_pod())];
        let strangers = router(world(size, []), Arc::new(Metrics::default()));
        for (name, review) in Demand::ALL.into_iter().take(2).map(launcher).chain(others) {
            runtime.block_on(compare(&format!("router, {name}, {size} nodes"), &strangers, &review));
        }
        let what = format!("router, launcher pod of a known guest, feasible, {size} nodes");
        let feasible = launcher_review(Demand::Feasible, size);
        let known = router(world(size, guest(&feasible)), Arc::new(Metrics::default()));
        runtime.block_on(compare(&what, &known, &feasible));
    }
}

/// Returns an update of a VM's status, as virt-controller sends it continuously.
fn status_noise() -> Value {
    serde_json::from_str(include_str!("../tests/data/reviews/vm-update-status-noise.json")).unwrap()
}

/// Returns a review of a pod that is not a launcher.
fn plain_pod() -> Value {
    let mut review = status_noise();
    let request = &mut review["request"];
    request["kind"] = json!({"group": "", "version": "v1", "kind": "Pod"});
    request["resource"] = json!({"group": "", "version": "v1", "resource": "pods"});
    request["operation"] = json!("CREATE");
    request["oldObject"] = Value::Null;
    request["object"] = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "web-1", "namespace": "shop", "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "web", "image": "web:v1", "resources": {"requests": {"cpu": "100m"}}}],
                 "nodeSelector": {"kubernetes.io/os": "linux"}, "serviceAccountName": "default"},
    });
    review
}

/// Returns the guest of a target pod, and its current launcher with the same selector.
fn guest(review: &Value) -> [ClusterObject; 2] {
    let mut pod = review["request"]["object"].clone();
    pod["spec"]["nodeName"] = json!(SOURCE);
    let owner = &pod["metadata"]["ownerReferences"][0];
    let vmi = json!({
        "metadata": {"name": owner["name"], "namespace": pod["metadata"]["namespace"], "uid": owner["uid"]},
        "spec": {"domain": {"cpu": {"model": "host-model"}}},
        "status": {"phase": "Running", "nodeName": SOURCE},
    });
    let text = pod.to_string();
    let launcher = launcher(&serde_json::from_str(&text).expect("a pod")).expect("a launcher");
    [ClusterObject::Vmi(Box::new(serde_json::from_value(vmi).expect("a VMI"))), ClusterObject::Launcher(launcher)]
}

/// Compares a route with `/null`. Rows alternate, so that a busy machine affects both equally.
async fn compare(what: &str, router: &Router, review: &Value) {
    let review = &Bytes::from(review.to_string());
    let (row, rounds) = if is_smoke_test() { (1, 1) } else { (ROW, ROUNDS) };
    let (mut took, mut ratios) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let null = time(router, "/null", review, row).await;
        let full = time(router, "/validate", review, row).await;
        took.push(full);
        ratios.push(full / null);
    }
    if !is_smoke_test() {
        table::row(what, quantile(&mut took, 0.5), "µs", ..);
        table::row(&format!("{what} / null route"), quantile(&mut ratios, 0.5), "x", ..);
    }
}

/// Returns microseconds for one request.
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
