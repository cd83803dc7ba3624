//! The real router, called in process without a port.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready as poll_ready};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::routing::post;
use cpufit::page::Page;
use cpufit::telemetry::Metrics;
use cpufit::web::{BODY_BYTES, Condition, Edge, Limits, Readiness, admin, router};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Frame;
use rstest::rstest;
use serde_json::{Value, json};
use tokio::time::{Instant, Sleep, sleep};
use tower::ServiceExt as _;

use super::{ByName, edge, ready, review};

pub(crate) async fn send(router: &Router, request: Request<Body>) -> (StatusCode, String) {
    let response = router.clone().oneshot(request).await.unwrap();
    let status = response.status();
    (status, text(response).await)
}

async fn text(response: Response<Body>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

pub(crate) fn posted(path: &str, body: impl Into<Body>) -> Request<Body> {
    Request::post(path).header("content-type", "application/json").body(body.into()).unwrap()
}

async fn validate(body: impl Into<Body>) -> (StatusCode, String) {
    send(&router(edge(Limits::default()).0), posted("/validate", body)).await
}

/// Returns the response in a review's answer.
fn response_of(text: &str) -> Value {
    let mut review: Value = serde_json::from_str(text).unwrap();
    assert_eq!(
        (&review["kind"], &review["apiVersion"]),
        (&"AdmissionReview".into(), &"admission.k8s.io/v1".into()),
        "API servers refuse a response of another type"
    );
    assert_eq!(review["response"]["uid"], "u-1", "the API server discards an answer to another question");
    review["response"].take()
}

#[tokio::test]
async fn a_decision_is_sent_as_an_admission_response() {
    let (status, text) = validate(review("db").to_string()).await;
    assert_eq!((status, response_of(&text)), (StatusCode::OK, json!({"uid": "u-1", "allowed": true})));
    let (status, text) = validate(review("deny").to_string()).await;
    assert_eq!(status, StatusCode::OK, "a denial is a decision, not an error");
    assert_eq!(response_of(&text)["status"]["message"], "as asked");
}

#[tokio::test]
async fn patches_are_answered_by_mutate_alone() {
    let router = router(edge(Limits::default()).0);
    let (_, text) = send(&router, posted("/mutate", review("patch").to_string())).await;
    assert_eq!(response_of(&text)["patchType"], "JSONPatch");
    let (_, text) = send(&router, posted("/validate", review("patch").to_string())).await;
    assert_eq!(response_of(&text), json!({"uid": "u-1", "allowed": true}));
}

fn with(tweak: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut review = review("db");
    tweak(&mut review);
    review.to_string().into_bytes()
}

fn replaced(from: &str, to: &str) -> Vec<u8> {
    let text = review("db").to_string();
    assert!(text.contains(from), "{from}");
    text.replace(from, to).into_bytes()
}

/// Returns bodies that are not reviews. The line of the response is all that the API server's log shows.
fn malformed() -> Vec<(&'static str, Vec<u8>)> {
    let whole = review("db").to_string();
    vec![
        ("nothing", Vec::new()),
        ("blanks", b" \n ".to_vec()),
        ("not JSON", b"kind: AdmissionReview".to_vec()),
        ("a form", b"uid=1&kind=Pod".to_vec()),
        ("truncated", whole.as_bytes()[..whole.len() / 2].to_vec()),
        ("trailing text", format!("{whole} {{}}").into_bytes()),
        ("two commas", replaced("\"uid\":\"u-1\"", "\"uid\":\"u-1\",")),
        ("invalid UTF-8", [&whole.as_bytes()[..20], b"\xff", &whole.as_bytes()[20..]].concat()),
        ("UTF-16", whole.encode_utf16().flat_map(u16::to_le_bytes).collect()),
        ("a lone surrogate", replaced("u-1", r"\ud800")),
        ("a raw newline in text", replaced("u-1", "u\n1")),
        ("a list", b"[]".to_vec()),
        ("a list in a review's order", br#"["admission.k8s.io/v1","AdmissionReview",null]"#.to_vec()),
        ("null", b"null".to_vec()),
        ("a number", b"7".to_vec()),
        ("an empty object", b"{}".to_vec()),
        ("deep nesting", "[".repeat(100_000).into_bytes()),
        ("deep nesting in a field", replaced("\"u-1\"", &"{\"a\":".repeat(100_000))),
        ("another kind", with(|review| review["kind"] = json!("ConversionReview"))),
        ("a bare pod", json!({"kind": "Pod", "apiVersion": "v1", "spec": {}}).to_string().into_bytes()),
        ("a kind that only looks so", with(|review| review["kind"] = json!("admissionreview"))),
        ("v1beta1", with(|review| review["apiVersion"] = json!("admission.k8s.io/v1beta1"))),
        ("no version", with(|review| review["apiVersion"] = json!(null))),
        ("a response", with(|review| review["response"] = review["request"].take())),
        ("an empty request", with(|review| review["request"] = json!({}))),
        ("a request that is a list", with(|review| review["request"] = json!([]))),
        ("a request that is text", with(|review| review["request"] = json!("please"))),
        ("no uid", with(|review| review["request"]["uid"] = json!(""))),
        ("a uid that is a number", with(|review| review["request"]["uid"] = json!(5))),
        ("a second uid", replaced("\"uid\":\"u-1\"", "\"uid\":\"u-1\",\"uid\":\"u-2\"")),
        ("no kind", with(|review| review["request"]["kind"] = json!(null))),
        ("a kind that is text", with(|review| review["request"]["kind"] = json!("Pod"))),
        ("no operation", with(|review| review["request"]["operation"] = json!(null))),
        ("another operation", with(|review| review["request"]["operation"] = json!("PATCH"))),
        ("a user that is a number", with(|review| review["request"]["userInfo"]["username"] = json!(1))),
        ("a dry run that is text", with(|review| review["request"]["dryRun"] = json!("yes"))),
        ("no object", with(|review| review["request"]["object"] = json!(null))),
        (
            "oldObject only",
            with(|review| {
                review["request"]["operation"] = json!("UPDATE");
                review["request"]["oldObject"] = review["request"]["object"].take();
            }),
        ),
        ("an object that is text", with(|review| review["request"]["object"] = json!("{}"))),
        ("an oldObject that is a list", with(|review| review["request"]["oldObject"] = json!([]))),
    ]
}

#[tokio::test]
async fn what_is_not_a_review_is_refused_in_one_line() {
    let mut lines = Vec::new();
    for (name, body) in malformed() {
        let (status, text) = validate(body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{name}");
        let line = text.strip_suffix('\n').expect("a whole line");
        assert!(!line.contains('\n') && line.len() < 300, "{name}: {line}");
        lines.push(format!("{name}: {line}"));
    }
    insta::assert_snapshot!(lines.join("\n"), @r#"
    nothing: the body is empty; an admission.k8s.io/v1 AdmissionReview is expected
    blanks: the body is empty; an admission.k8s.io/v1 AdmissionReview is expected
    not JSON: the body is not JSON: expected value (line 1, column 1)
    a form: the body is not JSON: expected value (line 1, column 1)
    truncated: the body is cut off: EOF while parsing a string (line 1, column 305)
    trailing text: the body is not JSON: trailing characters (line 1, column 612)
    two commas: the body is not JSON: key must be a string (line 1, column 544)
    invalid UTF-8: the body is not UTF-8 (byte 20); JSON must be
    UTF-16: the body is not JSON: key must be a string (line 1, column 2)
    a lone surrogate: the body is not JSON: unexpected end of hex escape (line 1, column 545)
    a raw newline in text: the body is not JSON: control character (\u0000-\u001F) found while parsing a string (line 2, column 0)
    a list: the body is JSON but not an object; an admission.k8s.io/v1 AdmissionReview is expected
    a list in a review's order: the body is JSON but not an object; an admission.k8s.io/v1 AdmissionReview is expected
    null: the body is JSON but not an object; an admission.k8s.io/v1 AdmissionReview is expected
    a number: the body is JSON but not an object; an admission.k8s.io/v1 AdmissionReview is expected
    an empty object: kind is "", expected "AdmissionReview"
    deep nesting: the body is JSON but not an object; an admission.k8s.io/v1 AdmissionReview is expected
    deep nesting in a field: request.uid: invalid type: map, expected a string
    another kind: kind is "ConversionReview", expected "AdmissionReview"
    a bare pod: kind is "Pod", expected "AdmissionReview"
    a kind that only looks so: kind is "admissionreview", expected "AdmissionReview"
    v1beta1: apiVersion is "admission.k8s.io/v1beta1", but only admission.k8s.io/v1 is served: list "v1" in admissionReviewVersions
    no version: apiVersion is "", but only admission.k8s.io/v1 is served: list "v1" in admissionReviewVersions
    a response: the review holds no request
    an empty request: request.uid is missing or empty
    a request that is a list: request: invalid type: sequence, expected an object
    a request that is text: request: invalid type: string "please", expected an object
    no uid: request.uid is missing or empty
    a uid that is a number: request.uid: invalid type: integer `5`, expected a string
    a second uid: request: duplicate field Uid
    no kind: request.kind.kind is missing or empty
    a kind that is text: request.kind: invalid type: string "Pod", expected an object
    no operation: request.operation is missing or empty
    another operation: request.operation: unknown variant `PATCH`, expected one of `CREATE`, `UPDATE`, `DELETE`, `CONNECT`
    a user that is a number: request.userInfo.username: invalid type: integer `1`, expected a string
    a dry run that is text: request.dryRun: invalid type: string "yes", expected a boolean
    no object: request.object is missing on CREATE
    oldObject only: request.object is missing on UPDATE; there is only request.oldObject
    an object that is text: request.object: not a JSON object
    an oldObject that is a list: request.oldObject: not a JSON object
    "#);
}

#[tokio::test]
async fn decode_errors_are_counted_by_reason() {
    let (edge, metrics) = edge(Limits::default());
    let router = router(edge);
    for (_, body) in malformed() {
        send(&router, posted("/mutate", body)).await;
    }
    let text = metrics.render(cpufit::telemetry::Exposition::Text).unwrap();
    let mut counted: Vec<&str> = text.lines().filter(|line| line.starts_with("cpufit_decode_errors_total")).collect();
    counted.sort_unstable();
    insta::assert_snapshot!(counted.join("\n"), @r#"
    cpufit_decode_errors_total{reason="broken"} 0
    cpufit_decode_errors_total{reason="empty"} 2
    cpufit_decode_errors_total{reason="missing-field"} 7
    cpufit_decode_errors_total{reason="not-json"} 12
    cpufit_decode_errors_total{reason="not-utf8"} 1
    cpufit_decode_errors_total{reason="too-deep"} 0
    cpufit_decode_errors_total{reason="truncated"} 1
    cpufit_decode_errors_total{reason="wrong-field"} 11
    cpufit_decode_errors_total{reason="wrong-kind"} 4
    cpufit_decode_errors_total{reason="wrong-version"} 2
    "#);
}

/// Unusual reviews that the API server may send; the judgement decides how to treat the object.
#[rstest]
#[case::unknown_fields(with(|review| review["request"]["new"] = json!({"a": [1, 2, {"b": null}]})))]
#[case::null_labels(with(|review| review["request"]["object"]["metadata"]["labels"] = json!(null)))]
#[case::numbers_where_text_belongs(with(|review| review["request"]["object"]["spec"] = json!({"nodeSelector": {"a": 1}})))]
#[case::an_empty_object(with(|review| review["request"]["object"] = json!({})))]
#[case::duplicate_keys(replaced(r#""metadata":{"#, r#""metadata":{"name":"a","name":"b","#))]
#[case::escapes_in_keys(replaced(r#""uid""#, r#""\u0075\u0069\u0064""#))]
#[case::deep_nesting(replaced(r#""metadata":{"#, &format!(r#""deep":{}{},"metadata":{{"#, "[".repeat(50_000), "]".repeat(50_000))))]
#[case::blanks_around(format!(" \r\n\t{}\n", review("db")).into_bytes())]
#[case::five_thousand_selector_keys(with(|review| {
    let selector: serde_json::Map<_, _> = (0..5000).map(|n| (format!("k{n}"), json!("true"))).collect();
    review["request"]["object"]["spec"] = json!({"nodeSelector": selector});
}))]
#[tokio::test]
async fn unusual_but_valid_reviews_are_answered(#[case] body: Vec<u8>) {
    let (status, text) = validate(body).await;
    assert_eq!(status, StatusCode::OK, "{text}");
    assert_eq!(response_of(&text)["allowed"], true, "an odd review denies a user's request: {text}");
}

#[rstest]
#[case::plain(&[("content-type", "application/json")], 200)]
#[case::charset(&[("content-type", "application/json; charset=utf-8")], 200)]
#[case::upper_case(&[("content-type", "Application/JSON ;a=b")], 200)]
#[case::identity(&[("content-type", "application/json"), ("content-encoding", "identity")], 200)]
#[case::none(&[], 415)]
#[case::yaml(&[("content-type", "application/yaml")], 415)]
#[case::text(&[("content-type", "text/plain")], 415)]
#[case::a_like_name(&[("content-type", "application/json-patch+json")], 415)]
#[case::protobuf(&[("content-type", "application/vnd.kubernetes.protobuf")], 415)]
#[case::not_ascii(&[("content-type", "applicatiön/json")], 415)]
#[case::compressed(&[("content-type", "application/json"), ("content-encoding", "gzip")], 415)]
#[tokio::test]
async fn only_json_is_read(#[case] headers: &[(&str, &str)], #[case] status: u16) {
    let mut request = Request::post("/validate");
    for (name, value) in headers {
        request = request.header(*name, value.as_bytes());
    }
    let request = request.body(Body::from(review("db").to_string())).unwrap();
    assert_eq!(send(&router(edge(Limits::default()).0), request).await.0.as_u16(), status);
}

#[rstest]
#[case::get("GET", "/validate", 405)]
#[case::put("PUT", "/mutate", 405)]
#[case::root("POST", "/", 404)]
#[case::trailing_slash("POST", "/validate/", 404)]
#[case::no_null_route("POST", "/null", 404)]
#[tokio::test]
async fn other_methods_and_paths_are_refused(#[case] method: &str, #[case] path: &str, #[case] status: u16) {
    let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
    assert_eq!(send(&router(edge(Limits::default()).0), request).await.0.as_u16(), status);
}

/// A benchmark compares the webhook with a route without work, on the same server.
#[tokio::test]
async fn more_routes_can_be_mounted_beside() {
    let router = router(edge(Limits::default()).0).route("/null", post(async |_: Bytes| "{}"));
    assert_eq!(send(&router, posted("/null", "x")).await, (StatusCode::OK, "{}".to_owned()));
    assert_eq!(send(&router, posted("/validate", review("db").to_string())).await.0, StatusCode::OK);
}

/// A body in frames, each after a pause, without a declared length.
pub(crate) struct Frames {
    frames: VecDeque<(Duration, Bytes)>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Frames {
    pub(crate) fn body(frames: impl IntoIterator<Item = (Duration, Vec<u8>)>) -> Body {
        let frames = frames.into_iter().map(|(pause, bytes)| (pause, Bytes::from(bytes))).collect();
        Body::new(Self { frames, pause: None })
    }

    fn at_once(frames: impl IntoIterator<Item = Vec<u8>>) -> Body {
        Self::body(frames.into_iter().map(|frame| (Duration::ZERO, frame)))
    }
}

impl HttpBody for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(pause) = self.frames.front().map(|(pause, _)| *pause) else { return Poll::Ready(None) };
        if !pause.is_zero() {
            poll_ready!(self.pause.get_or_insert_with(|| Box::pin(sleep(pause))).as_mut().poll(context));
            self.pause = None;
        }
        Poll::Ready(self.frames.pop_front().map(|(_, bytes)| Ok(Frame::data(bytes))))
    }
}

#[rstest]
#[case::no_such_path("POST", "/elsewhere", "application/json", true, StatusCode::NOT_FOUND)]
#[case::no_such_method("PUT", "/validate", "application/json", true, StatusCode::METHOD_NOT_ALLOWED)]
#[case::not_json("POST", "/validate", "text/plain", true, StatusCode::UNSUPPORTED_MEDIA_TYPE)]
#[case::not_ready("POST", "/validate", "application/json", false, StatusCode::SERVICE_UNAVAILABLE)]
#[tokio::test(start_paused = true)]
async fn a_request_is_rejected_after_its_small_body(
    #[case] method: &str,
    #[case] path: &str,
    #[case] content_type: &str,
    #[case] is_ready: bool,
    #[case] expected: StatusCode,
) {
    let readiness = if is_ready { ready() } else { Arc::default() };
    let router = router(Edge::new(Arc::new(ByName), readiness, Arc::default(), Limits::default()));
    let sent = async |rest: Duration| {
        let body = Frames::body([(Duration::ZERO, b"{".to_vec()), (rest, b"}".to_vec())]);
        let request = Request::builder().method(method).uri(path).header("content-type", content_type);
        let (started, request) = (Instant::now(), request.body(body).unwrap());
        (send(&router, request).await.0, started.elapsed().as_millis())
    };
    let why = "HTTP/2 resets the stream before the rest of the body, and the client loses the response";
    assert_eq!(sent(Duration::from_millis(50)).await, (expected, 50), "{why}");
    let (status, waited) = sent(Duration::from_secs(60)).await;
    assert!(status == expected && (250..300).contains(&waited), "a body that never ends is waited for: {waited} ms");
}

#[rstest]
#[case::bytewise(1)]
#[case::a_few(7)]
#[case::two_frames(200)]
#[tokio::test]
async fn a_body_in_many_frames_is_put_together(#[case] size: usize) {
    let text = review("warn").to_string();
    let (status, text) = validate(Frames::at_once(text.as_bytes().chunks(size).map(<[u8]>::to_vec))).await;
    assert_eq!(status, StatusCode::OK, "{text}");
    assert_eq!(
        response_of(&text)["warnings"],
        json!(["cpufit: shop/warn: as asked"]),
        "the frames were not put together: {text}"
    );
}

/// Returns a review of exactly `length` bytes.
pub(crate) fn padded(length: usize) -> Vec<u8> {
    padded_of("db", length)
}

/// Returns a review of a pod of this name, of exactly `length` bytes.
pub(crate) fn padded_of(name: &str, length: usize) -> Vec<u8> {
    let mut body = review(name).to_string().into_bytes();
    body.resize(length, b' ');
    body
}

#[rstest]
#[case::as_large_as_allowed(BODY_BYTES, 200)]
#[case::one_byte_more(BODY_BYTES + 1, 413)]
#[tokio::test]
async fn eight_mebibytes_are_the_limit(#[case] length: usize, #[case] status: u16) {
    let body = padded(length);
    assert_eq!(
        validate(Frames::at_once(body.chunks(1 << 20).map(<[u8]>::to_vec))).await.0.as_u16(),
        status,
        "streamed"
    );
    assert_eq!(validate(body).await.0.as_u16(), status, "declared");
}

/// Without this rule, a declared length could make the webhook wait for gigabytes.
#[tokio::test]
async fn a_declared_length_is_refused_before_the_body_is_read() {
    let never = Frames::body([(Duration::from_secs(3600), Vec::new())]);
    let request = Request::post("/validate").header("content-type", "application/json");
    let request = request.header("content-length", "8388609").body(never).unwrap();
    assert_eq!(
        send(&router(edge(Limits::default()).0), request).await.0,
        StatusCode::PAYLOAD_TOO_LARGE,
        "8 MiB are waited for and held"
    );
}

#[tokio::test]
async fn reviews_are_answered_503_before_the_first_snapshot() {
    let readiness = Arc::new(Readiness::new());
    let metrics = Arc::new(Metrics::default());
    let edge = Edge::new(Arc::new(ByName), Arc::clone(&readiness), Arc::clone(&metrics), Limits::default());
    let router = router(edge);
    let ask = async || send(&router, posted("/validate", review("db").to_string())).await;
    readiness.meet(Condition::Serving);
    assert_eq!(ask().await.0, StatusCode::SERVICE_UNAVAILABLE, "an empty fleet would call every guest unschedulable");
    readiness.meet(Condition::Synced);
    readiness.meet(Condition::Fresh);
    assert_eq!(ask().await.0, StatusCode::OK, "a ready replica answers nothing");
    readiness.lose(Condition::Serving);
    assert_eq!(ask().await.0, StatusCode::OK, "while draining, what still comes is judged");
    let text = metrics.render(cpufit::telemetry::Exposition::Text).unwrap();
    assert!(
        text.contains(r#"cpufit_requests_total{webhook="validate",kind="unread",outcome="not-ready"} 1"#),
        "{text}"
    );
}

#[tokio::test]
async fn a_panic_admits_with_a_warning() {
    let (edge, metrics) = edge(Limits::default());
    let router = router(edge);
    let (status, text) = send(&router, posted("/validate", review("panic").to_string())).await;
    assert_eq!(status, StatusCode::OK, "our failure must not become the user's");
    insta::assert_snapshot!(response_of(&text), @r#"{"allowed":true,"uid":"u-1","warnings":["cpufit: shop/panic was not judged: cpufit failed, see its log"]}"#);
    assert_eq!(send(&router, posted("/validate", review("db").to_string())).await.0, StatusCode::OK);
    let text = metrics.render(cpufit::telemetry::Exposition::Text).unwrap();
    assert!(text.contains("cpufit_judge_panics_total 1"), "{text}");
    assert!(text.contains(r#"{webhook="validate",kind="Pod",outcome="panicked"} 1"#), "{text}");
}

async fn with_pause(query: &str, pause: Duration, limits: Limits) -> (StatusCode, String) {
    let text = review("deny").to_string().into_bytes();
    let (early, late) = text.split_at(100);
    let body = Frames::body([(Duration::ZERO, early.to_vec()), (pause, late.to_vec())]);
    send(&router(edge(limits).0), posted(&format!("/validate{query}"), body)).await
}

#[tokio::test(start_paused = true)]
async fn a_review_that_took_its_whole_time_to_arrive_is_admitted_unjudged() {
    let (status, text) = with_pause("?timeout=2s", Duration::from_millis(1900), Limits::default()).await;
    assert_eq!(status, StatusCode::OK, "cut off, the API server would report a broken webhook");
    insta::assert_snapshot!(response_of(&text), @r#"{"allowed":true,"uid":"u-1","warnings":["cpufit: shop/deny was not judged: the review took too long to arrive"]}"#);
    let (_, text) = with_pause("?timeout=2s", Duration::from_millis(1700), Limits::default()).await;
    assert_eq!(response_of(&text)["allowed"], false, "with time left it is judged");
    let (_, text) = with_pause("", Duration::from_millis(1900), Limits::default()).await;
    assert_eq!(response_of(&text)["allowed"], false, "without a timeout it is ten seconds");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_never_ends_is_not_waited_for() {
    let hour = Duration::from_secs(3600);
    let started = tokio::time::Instant::now();
    let (status, _) = with_pause("?timeout=2s", hour, Limits::default()).await;
    assert_eq!(
        (status, started.elapsed().as_secs()),
        (StatusCode::REQUEST_TIMEOUT, 2),
        "it takes longer than the API server waits"
    );
    let limits = Limits { body: Duration::from_secs(3), ..Limits::default() };
    let started = tokio::time::Instant::now();
    let (status, _) = with_pause("?timeout=30s", hour, limits).await;
    assert_eq!(
        (status, started.elapsed().as_secs()),
        (StatusCode::REQUEST_TIMEOUT, 3),
        "it takes longer than the limit for bodies"
    );
}

#[tokio::test]
async fn the_admin_port_names_the_missing_inputs() {
    let readiness = Arc::new(Readiness::new());
    let router = admin::router(Arc::clone(&readiness), Arc::default(), Arc::new(Page::default), Arc::default());
    let get = async |path: &str| send(&router, Request::get(path).body(Body::empty()).unwrap()).await;
    assert_eq!(get("/livez").await, (StatusCode::OK, "ok\n".to_owned()), "the kubelet would restart a healthy replica");
    readiness.meet(Condition::Serving);
    assert_eq!(
        get("/readyz").await,
        (StatusCode::SERVICE_UNAVAILABLE, "[-]synced not yet\n[-]fresh not yet\nnot ready\n".to_owned())
    );
    readiness.meet(Condition::Synced);
    readiness.meet(Condition::Fresh);
    assert_eq!(get("/readyz").await, (StatusCode::OK, "ok\n".to_owned()), "a ready replica would get no reviews");
    assert_eq!(
        get("/readyz?verbose").await,
        (StatusCode::OK, "[+]synced ok\n[+]fresh ok\n[+]serving ok\nok\n".to_owned())
    );
    assert!(get("/").await.1.contains("/metrics"), "the page does not lead to the metrics");
    assert_eq!(get("/debug").await.0, StatusCode::NOT_FOUND, "an unknown page is answered");
}

#[tokio::test]
async fn every_request_is_counted_once() {
    let (edge, metrics) = edge(Limits::default());
    let router = router(edge);
    for name in ["db", "warn", "deny", "patch"] {
        send(&router, posted("/mutate", review(name).to_string())).await;
    }
    send(&router, posted("/mutate", "{}")).await;
    let admin = admin::router(ready(), metrics, Arc::new(Page::default), Arc::default());
    let (status, text) = send(&admin, Request::get("/metrics").body(Body::empty()).unwrap()).await;
    assert_eq!(status, StatusCode::OK);
    let mut counted: Vec<&str> = text.lines().filter(|line| line.starts_with("cpufit_requests_total")).collect();
    counted.sort_unstable();
    insta::assert_snapshot!(counted.join("\n"), @r#"
    cpufit_requests_total{webhook="mutate",kind="Pod",outcome="admitted"} 1
    cpufit_requests_total{webhook="mutate",kind="Pod",outcome="denied"} 1
    cpufit_requests_total{webhook="mutate",kind="Pod",outcome="patched"} 1
    cpufit_requests_total{webhook="mutate",kind="Pod",outcome="warned"} 1
    cpufit_requests_total{webhook="mutate",kind="unread",outcome="malformed"} 1
    "#);
    assert!(text.contains(r#"cpufit_request_duration_seconds_count{webhook="mutate"} 5"#), "{text}");
}
