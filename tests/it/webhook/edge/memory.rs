//! Memory limits of bodies, and which body is ended if memory is short; with a paused clock.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use cpufit::web::{BODY_BYTES, Edge, Judge, JudgeLimits, Limits, router};
use futures_util::FutureExt as _;
use http::{Request, Response, StatusCode};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tower::ServiceExt as _;

use super::router::{Frames, padded, padded_of, posted, send};
use super::{ByName, Held, edge, ready, review};

/// Room for five small requests with few received bytes, and for one large body of 7 MiB.
const FIVE: Limits = Limits {
    memory: 8 << 20,
    wait: Duration::from_secs(1),
    body: Duration::from_secs(10),
    timeout: Duration::from_secs(10),
    judges: JudgeLimits { quick: 2, slow: 2, waiting: 16 },
};

/// Bytes of small bodies that fit into [`FIVE`], in addition to the charges of the requests themselves.
const SMALL: usize = 3 << 20;

/// Returns a body of which `length` bytes arrive immediately, and the rest, a whole review, after a pause.
fn slow(length: usize, pause: Duration) -> Body {
    Frames::body([(Duration::ZERO, vec![b' '; length]), (pause, review("db").to_string().into_bytes())])
}

/// Sends a review in a separate task and lets it run until it waits.
async fn begin(router: &Router, body: impl Into<Body>) -> JoinHandle<Response<Body>> {
    let router = router.clone();
    let request = posted("/validate", body);
    let sent = tokio::spawn(async move { router.oneshot(request).await.unwrap() });
    // With a paused clock, this ends when all tasks wait.
    sleep(Duration::from_millis(1)).await;
    sent
}

async fn good(router: &Router) -> StatusCode {
    send(router, posted("/validate", review("db").to_string())).await.0
}

/// 12 bodies of 256 KiB, less the charge of a request, fill the memory for small ones.
const QUARTER: usize = (256 << 10) - (8 << 10);

#[tokio::test(start_paused = true)]
async fn the_slowest_body_is_ended_when_memory_is_short() {
    let router = router(edge(FIVE).0);
    let mut held = Vec::new();
    for _ in 0..SMALL / (256 << 10) {
        held.push(begin(&router, slow(QUARTER, Duration::from_secs(5))).await);
    }
    let started = Instant::now();
    assert_eq!(good(&router).await, StatusCode::OK, "the newest would pay for the slowest");
    assert!(started.elapsed() < Duration::from_millis(10), "nor does it wait");
    let slowest = held.remove(0).await.unwrap();
    assert_eq!(slowest.status(), StatusCode::TOO_MANY_REQUESTS, "the slowest body keeps memory that a review needs");
    assert_eq!(slowest.headers()["retry-after"], "1", "API servers try again after it");
    assert!(held.iter().all(|held| !held.is_finished()), "one was enough");
    for held in held {
        assert_eq!(held.await.unwrap().status(), StatusCode::OK, "the others arrive in their own time");
    }
}

#[tokio::test(start_paused = true)]
async fn a_length_that_is_only_declared_is_not_charged() {
    let router = router(edge(FIVE).0);
    let mut declared = Vec::new();
    for _ in 0..100 {
        let body = Frames::body([(Duration::from_secs(5), review("db").to_string().into_bytes())]);
        let request = Request::post("/validate").header("content-type", "application/json");
        let request = request.header("content-length", BODY_BYTES).body(body).unwrap();
        declared.push(tokio::spawn(router.clone().oneshot(request)));
    }
    sleep(Duration::from_secs(1)).await;
    assert_eq!(good(&router).await, StatusCode::OK, "declared lengths alone refuse a review");
    for declared in declared {
        assert_eq!(
            declared.await.unwrap().unwrap().status(),
            StatusCode::OK,
            "800 MiB were declared, and none was held"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn streams_with_a_byte_each_end_oldest_first() {
    let router = router(edge(FIVE).0);
    let mut held = Vec::new();
    for _ in 0..2_000 {
        held.push(begin(&router, slow(1, Duration::from_secs(9))).await);
        if held.len() % 100 == 0 {
            assert_eq!(good(&router).await, StatusCode::OK, "slow streams refuse a whole review");
        }
    }
    let (over, open): (Vec<_>, Vec<_>) = held.into_iter().partition(JoinHandle::is_finished);
    // 3 MiB hold that many requests of 9 KiB.
    assert!((300..=341).contains(&open.len()), "{} are open", open.len());
    for over in over {
        assert_eq!(
            over.await.unwrap().status(),
            StatusCode::TOO_MANY_REQUESTS,
            "a stream ended without a status that API servers retry"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn large_bodies_leave_room_for_small_ones() {
    let router = router(edge(FIVE).0);
    let large = begin(&router, slow(4 << 20, Duration::from_secs(5))).await;
    assert_eq!(good(&router).await, StatusCode::OK, "a large body takes the memory of small ones");
    assert!(!large.is_finished(), "and nothing ends for it");
    let second = begin(&router, slow(4 << 20, Duration::from_secs(5))).await;
    assert_eq!(large.await.unwrap().status(), StatusCode::TOO_MANY_REQUESTS, "a second large one takes its place");
    assert_eq!(second.await.unwrap().status(), StatusCode::OK, "the newer large body was not given the memory");
    let (status, _) = send(&router, posted("/validate", padded(6 << 20))).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS, "what is larger than all memory is refused");
}

#[tokio::test(start_paused = true)]
async fn a_complete_body_is_judged_even_if_a_later_one_needs_its_memory() {
    let held = Arc::new(Held::default());
    let judge: Judge = Arc::clone(&held) as Judge;
    let router = router(Edge::new(judge, ready(), Arc::default(), FIVE));
    let whole = begin(&router, padded_of("hold", 4 << 20)).await;
    held.begun.notified().await;
    let started = Instant::now();
    let second = begin(&router, padded_of("hold", 4 << 20)).await;
    assert_eq!(second.await.unwrap().status(), StatusCode::TOO_MANY_REQUESTS, "two large bodies are held at once");
    assert_eq!(started.elapsed().as_secs(), 1, "it waits for the answer to the first, and no longer");
    let third = begin(&router, padded_of("hold", 4 << 20)).await;
    held.release.notify_one();
    assert_eq!(whole.await.unwrap().status(), StatusCode::OK, "a whole review was dropped for a later one");
    held.begun.notified().await;
    held.release.notify_one();
    assert_eq!(third.await.unwrap().status(), StatusCode::OK, "memory that is given back goes to who waits");
}

#[tokio::test(start_paused = true)]
async fn memory_is_given_back_however_a_request_ends() {
    let router = router(edge(FIVE).0);
    for round in 0..200 {
        let broken: Box<dyn Future<Output = StatusCode> + Unpin> = match round % 4 {
            // A request dropped by the client.
            0 => {
                let sent = begin(&router, slow(2 << 20, Duration::from_secs(5))).await;
                sent.abort();
                Box::new(std::future::ready(StatusCode::OK))
            }
            1 => Box::new(send(&router, posted("/validate", padded(BODY_BYTES + 1))).map(|(status, _)| status).boxed()),
            2 => Box::new(send(&router, posted("/validate", "{")).map(|(status, _)| status).boxed()),
            _ => Box::new(send(&router, posted("/validate", padded(3 << 20))).map(|(status, _)| status).boxed()),
        };
        let expected = [StatusCode::OK, StatusCode::PAYLOAD_TOO_LARGE, StatusCode::BAD_REQUEST, StatusCode::OK];
        assert_eq!(
            broken.await,
            expected[round % 4],
            "round {round}: the request did not end in the way whose memory is tested"
        );
    }
    assert_eq!(send(&router, posted("/validate", padded(4 << 20))).await.0, StatusCode::OK, "all of it is free");
    let mut held = Vec::new();
    for _ in 0..SMALL / (256 << 10) {
        held.push(begin(&router, slow(QUARTER - 1024, Duration::from_secs(5))).await);
    }
    for held in held {
        assert_eq!(held.await.unwrap().status(), StatusCode::OK, "all of it is free");
    }
}

/// Returns a review with `metadata.annotations` full of a domain, so that the body has `length` bytes.
fn full_of(domain: &str, length: usize) -> Vec<u8> {
    let mut review = review("db");
    let text = format!("{domain} ").repeat(length / (domain.len() + 1));
    review["request"]["object"]["metadata"]["annotations"] = serde_json::json!({ "a": text });
    review.to_string().into_bytes()
}

/// If a distribution renames KubeVirt's domain, a body is held twice, and the additional length of its names is charged
/// as well.
#[tokio::test(start_paused = true)]
async fn a_translation_is_charged() {
    let renamed = |domain: &str, limits: Limits| {
        router(Edge::in_domain(domain.parse().unwrap(), Arc::new(ByName), ready(), Arc::default(), limits))
    };
    let theirs = "internal.virtualization.example.io";
    let router = renamed(theirs, FIVE);
    let sent = async |body: Vec<u8>| send(&router, posted("/validate", body)).await.0;
    assert_eq!(sent(padded(2 << 20)).await, StatusCode::OK, "a body that fits twice is refused");
    assert_eq!(sent(padded(3 << 20)).await, StatusCode::TOO_MANY_REQUESTS, "twice that is more than 5 MiB");
    assert_eq!(sent(full_of(theirs, 2 << 20)).await, StatusCode::OK, "it becomes shorter");
    assert_eq!(sent(full_of("kubevirt.io", 1 << 20)).await, StatusCode::OK, "it becomes 2.9 MiB");
    assert_eq!(sent(full_of("kubevirt.io", 3 << 19)).await, StatusCode::TOO_MANY_REQUESTS, "it becomes 4.4 MiB");
    assert_eq!(sent(padded(2 << 20)).await, StatusCode::OK, "all of it is free");

    let router = renamed(&format!("{}.io", "x".repeat(60)), Limits::default());
    let (status, answer) = send(&router, posted("/validate", full_of("kubevirt.io", BODY_BYTES - (1 << 10)))).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "a body that is too large once translated is judged");
    assert!(answer.contains("with KubeVirt's own names, is larger than 29360128 bytes"), "{answer}");
    // The largest body from an API server: an object of 3 MiB with the stored one.
    let (status, _) = send(&router, posted("/validate", full_of("kubevirt.io", 9 << 19))).await;
    assert_eq!(status, StatusCode::OK, "the largest body of an API server is refused");
}
