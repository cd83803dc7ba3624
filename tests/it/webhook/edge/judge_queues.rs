//! The number of concurrent judgements is limited: the fate of waiting reviews.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use cpufit::admission::Webhook;
use cpufit::admission::response::Decision;
use cpufit::admission::review::Request as Review;
use cpufit::domain::Domain;
use cpufit::telemetry::Metrics;
use cpufit::web::{Edge, Judge, JudgeLimits, JudgeScope, JudgeSlot, Judging, Limits, Unjudged, router};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::StatusCode;
use rstest::rstest;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::router::{posted, send};
use super::{ready, review};

/// A judgement that keeps its turn until it is released.
struct Keeping {
    release: Arc<Notify>,
}

impl Judging for Keeping {
    fn judge<'a>(
        &'a self,
        _: Webhook,
        review: &'a Review<'_>,
        slot: &'a mut JudgeSlot<'_>,
    ) -> BoxFuture<'a, Result<Decision, Unjudged>> {
        async move {
            slot.run(JudgeScope::Object, |_| ()).await?;
            if &*review.name == "long" {
                self.release.notified().await;
            }
            Ok(Decision::admit())
        }
        .boxed()
    }
}

/// Returns a router with one judge of each sort, and room for one waiting review.
fn one_judge() -> (Router, Arc<Notify>, Arc<Metrics>) {
    one_judge_of(Domain::default())
}

fn one_judge_of(domain: Domain) -> (Router, Arc<Notify>, Arc<Metrics>) {
    let (release, metrics) = (Arc::new(Notify::new()), Arc::new(Metrics::default()));
    let judge: Judge = Arc::new(Keeping { release: Arc::clone(&release) });
    let limits = Limits { judges: JudgeLimits { quick: 1, slow: 1, waiting: 1 }, ..Limits::default() };
    (router(Edge::in_domain(domain, judge, ready(), Arc::clone(&metrics), limits)), release, metrics)
}

/// Sends a review in a separate task and lets it run until it waits.
async fn begin(router: &Router, path: &'static str, body: Vec<u8>) -> JoinHandle<(StatusCode, String)> {
    let router = router.clone();
    let sent = tokio::spawn(async move { send(&router, posted(path, body)).await });
    sleep(Duration::from_millis(1)).await;
    sent
}

fn body(name: &str) -> Vec<u8> {
    review(name).to_string().into_bytes()
}

#[tokio::test(start_paused = true)]
async fn a_review_whose_turn_does_not_come_in_time_is_admitted_with_a_warning() {
    let (router, release, metrics) = one_judge();
    let first = begin(&router, "/validate", body("long")).await;
    let (status, answer) = send(&router, posted("/validate?timeout=2s", body("db"))).await;
    assert_eq!(status, StatusCode::OK, "an error would follow the webhook's failurePolicy: {answer}");
    let warning = "cpufit: shop/db was not judged: its time was used up while others were judged";
    assert!(answer.contains("\"allowed\":true") && answer.contains(warning), "{answer}");
    assert!(
        metrics.render(cpufit::telemetry::Exposition::Text).unwrap().contains("outcome=\"late\"} 1"),
        "operators see it"
    );
    release.notify_one();
    assert_eq!(first.await.unwrap().0, StatusCode::OK, "a review under way was dropped");
    let (_, answer) = send(&router, posted("/validate", body("db"))).await;
    assert!(!answer.contains("warnings"), "the judge is free again: {answer}");
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_is_full_turns_away() {
    let (router, release, _) = one_judge();
    let first = begin(&router, "/validate", body("long")).await;
    let second = begin(&router, "/validate", body("db")).await;
    let (status, answer) = send(&router, posted("/validate", body("web"))).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS, "API servers come again within their time: {answer}");
    release.notify_one();
    assert_eq!(
        (first.await.unwrap().0, second.await.unwrap().0),
        (StatusCode::OK, StatusCode::OK),
        "a review that was in the queue was turned away"
    );
}

#[rstest]
#[case::as_kubevirt_names_it("kubevirt.io")]
#[case::renamed("internal.virtualization.example.io")]
#[tokio::test(start_paused = true)]
async fn a_large_body_is_read_in_its_turn_or_late(#[case] domain: &str) {
    let (router, release, metrics) = one_judge_of(domain.parse().unwrap());
    let large = |name: &str| {
        let mut text = body(name);
        text.resize(1 << 20, b' ');
        text
    };
    let first = begin(&router, "/validate", large("long")).await;
    let (status, answer) = send(&router, posted("/validate?timeout=2s", large("db"))).await;
    assert!(status == StatusCode::OK && answer.contains("shop/db was not judged"), "{answer}");
    assert!(
        metrics.render(cpufit::telemetry::Exposition::Text).unwrap().contains("outcome=\"late\"} 1"),
        "operators do not see it"
    );
    let (status, answer) = send(&router, posted("/validate", body("db"))).await;
    assert!(status == StatusCode::OK && !answer.contains("not judged"), "a small one does not wait for it: {answer}");
    release.notify_one();
    assert_eq!(first.await.unwrap().0, StatusCode::OK, "a review under way was dropped");
}
