//! The running server, used like an API server does: real reviews over TLS, then requests that no API server would
//! send.
//!
//! `REVIEWS=DIR` names another folder of the same form.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::common::{
    self, Http, Server, Tally, channel_faults, check, cpufit, create, data, fitting, head, launcher_pod, nearest, read,
    read_json, texts,
};
use hyper::{Method, Request};
use serde_json::{Value, json};

const JSON: Option<&str> = Some("application/json");

fn folder() -> PathBuf {
    data("REVIEWS", "reviews")
}

fn cluster() -> PathBuf {
    folder().join("cluster.yaml")
}

fn review_files() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder()).expect("the folder of reviews");
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension() == Some(OsStr::new("json")))
        .collect();
    files.sort();
    files
}

fn stem(path: &Path) -> String {
    path.file_stem().expect("a name").to_string_lossy().into_owned()
}

/// Returns violations of an API server's requirements of any answer to this review.
fn answer_faults(review: &Value, answer: &common::Answer) -> Vec<String> {
    if answer.status != 200 {
        return vec![format!("status {}: {}", answer.status, answer.text())];
    }
    let Ok(body) = serde_json::from_slice::<Value>(&answer.body) else {
        return vec![format!("no JSON: {}", head(&answer.text()))];
    };
    let mut faults = common::differences("apiVersion", &json!("admission.k8s.io/v1"), &body["apiVersion"]);
    faults.extend(common::differences("kind", &json!("AdmissionReview"), &body["kind"]));
    faults.extend(common::differences("response.uid", &review["request"]["uid"], &body["response"]["uid"]));
    faults.extend(common::differences("response.allowed", &json!(true), &body["response"]["allowed"]));
    let content_type = answer.headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !content_type.starts_with("application/json") {
        faults.push(format!("content type {content_type:?} is not JSON"));
    }
    faults.extend(channel_faults(&body["response"]));
    faults
}

/// Returns violations of the requirements of this review's warnings.
fn warning_faults(name: &str, response: &Value) -> Vec<String> {
    let warnings = texts(&response["warnings"]);
    let said = warnings.join("\n");
    let wants = |any: &[&str]| -> Option<String> {
        (!any.iter().any(|word| said.contains(word)))
            .then(|| format!("the warnings name none of {any:?}: {warnings:?}"))
    };
    match name {
        "vmim-create-stuck" | "pod-target-stuck" => {
            [wants(&["node-e", "node-a", "node-c"]), wants(&["vmx-activity-wait-sipi", "pku", "umip"])]
                .into_iter()
                .flatten()
                .collect()
        }
        // A guest that starts on Ice Lake or Skylake could never leave that node.
        "vm-create" => [wants(&["start"]), wants(&["node-e"]), wants(&["node-b"])].into_iter().flatten().collect(),
        "vm-update-status-noise" if !warnings.is_empty() => {
            vec![format!("status updates of a controller come all day and must pass in silence: {warnings:?}")]
        }
        _ => Vec::new(),
    }
}

#[test]
fn every_recorded_review_is_answered_over_tls() {
    let mut server = Server::start(&cluster(), &[]);
    let mut tally = Tally::new("reviews");
    for file in review_files() {
        let (name, body) = (stem(&file), read(&file));
        let review: Value = serde_json::from_slice(&body).expect("a review");
        let mut faults = Vec::new();
        let mut posts = vec![(Http::Two, "/validate"), (Http::One, "/validate")];
        if name.contains("mutate") {
            posts.extend([(Http::Two, "/mutate"), (Http::One, "/mutate?timeout=5s")]);
        }
        let mut seen: Vec<Value> = Vec::new();
        for (http, path) in posts {
            match server.post(http, path, JSON, body.clone()) {
                Ok(answer) => {
                    faults.extend(answer_faults(&review, &answer).into_iter().map(|f| format!("{http:?} {path}: {f}")));
                    seen.push(serde_json::from_slice(&answer.body).unwrap_or(Value::Null));
                }
                Err(error) => faults.push(format!("{http:?} {path}: {error}")),
            }
        }
        if let [first, second, ..] = seen.as_slice() {
            faults.extend(common::differences("HTTP/2 against HTTP/1.1", first, second));
            faults.extend(warning_faults(&name, &first["response"]));
            // The command line must print the server's answer, so that reviews can be studied offline.
            let ran = cpufit(["check", "-o", "review"])
                .args([OsStr::new("--snapshot"), cluster().as_os_str(), OsStr::new("-f"), file.as_os_str()])
                .run();
            match serde_json::from_str::<Value>(&ran.stdout) {
                Ok(printed) => faults.extend(common::differences("check -o review", first, &printed)),
                Err(error) => faults.push(format!("check -o review: {error}: {}", head(&(ran.stdout + &ran.stderr)))),
            }
        }
        tally.case(&name, &faults);
    }
    tally.finish("an API server would get no answer, or the wrong one");
    plain_pod_passes_in_silence(&server);
    tls12_is_supported(&server);
    admin_port_reports(&server);
    server.assert_well();
}

fn plain_pod_passes_in_silence(server: &Server) {
    let response = server.review("/validate", plain_pod().to_string());
    assert_eq!(response["allowed"], true, "a pod that is no launcher is held up: {response}");
    assert_eq!(
        texts(&response["warnings"]),
        Vec::<String>::new(),
        "people would be warned about pods that are no guests"
    );
}

fn tls12_is_supported(server: &Server) {
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let request = Request::builder().method(Method::POST).header("content-type", "application/json");
        let answer = server.send(Http::Two, &[version], "/validate", request, plain_pod().to_string().into());
        let status = answer.map(|answer| answer.status);
        assert_eq!(status, Ok(200), "an API server limited to {:?} gets no answer", version.version);
    }
}

fn admin_port_reports(server: &Server) {
    for path in ["/livez", "/readyz", "/metrics"] {
        let answer = server.admin(path).expect("the admin port answers");
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        assert!(path != "/metrics" || !answer.body.is_empty(), "an empty page of metrics shows nothing");
    }
}

#[test]
fn a_stuck_migration_has_no_node_and_names_what_is_missing() {
    let [stuck, target] = ["vmim-create-stuck.json", "pod-target-stuck.json"].map(|file| folder().join(file));
    let results = check(&[&cluster()], &[&stuck, &target], &[]);
    assert_eq!(results.len(), 2, "each review is one object, so two results");
    let keys = |features: &[&str]| -> Vec<String> {
        features.iter().map(|feature| format!("cpu-feature.node.kubevirt.io/{feature}")).collect()
    };
    for result in &results {
        let kind = &result["kind"];
        assert_eq!(fitting(result), Vec::<String>::new(), "{kind}: the scheduler left this target Pending");
        assert_eq!(result["verdict"], "pinned", "{kind}");
        assert_eq!(
            nearest(result),
            [
                ("node-e".to_owned(), keys(&["vmx-activity-wait-sipi"])),
                ("node-a".to_owned(), keys(&["pku", "umip"])),
                ("node-c".to_owned(), keys(&["pku", "umip"])),
            ],
            "{kind}: the user does not learn which labels drifted"
        );
    }
}

fn plain_pod() -> Value {
    pod_review(&json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "web-1", "namespace": "shop", "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "web", "image": "registry.example/web:1"}], "nodeSelector": {"no": "such-node"}},
    }))
}

/// Returns a launcher pod with this node selector.
fn launcher(selector: &Value) -> Value {
    let uid = "6f0d2c1e-0000-4000-8000-000000000099";
    launcher_pod(&json!({"metadata": {"name": "db", "namespace": "shop", "uid": uid}}), "x7k2p", selector)
}

fn pod_review(object: &Value) -> Value {
    create(object, "admin")
}

/// The expected result.
#[derive(Clone, Copy, Debug)]
enum Expect {
    /// A refusal with one of these codes and a readable reason.
    Refused(&'static [u16]),
    /// An unusual but valid review: a 200 with its uid, allowed under the default policy.
    Answered,
    /// Either of the two, if complete.
    RefusedOrAnswered,
}

/// A name, the content type, the body, and the expected result.
type Malformed = (&'static str, Option<&'static str>, Vec<u8>, Expect);

fn edited(edit: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut review = pod_review(&launcher(&json!({"cpu-feature.node.kubevirt.io/aes": "true"})));
    edit(&mut review);
    review.to_string().into_bytes()
}

/// Returns a valid review with one piece of its text replaced.
fn spliced(from: &str, to: &[u8]) -> Vec<u8> {
    let text = edited(|_| ());
    let at = text.windows(from.len()).position(|window| window == from.as_bytes()).expect("the text to replace");
    [&text[..at], to, &text[at + from.len()..]].concat()
}

fn malformed() -> Vec<Malformed> {
    use Expect::{Answered, Refused, RefusedOrAnswered};
    const BAD: Expect = Refused(&[400]);
    let sound = edited(|_| ());
    let nested = |depth: usize| {
        let deep = ["[".repeat(depth), "]".repeat(depth)].concat();
        spliced("\"dryRun\":false", format!("\"dryRun\":false,\"unknown\":{deep}").as_bytes())
    };
    let selector: serde_json::Map<String, Value> =
        (0..5_000).map(|i| (format!("cpu-feature.node.kubevirt.io/feature-{i}"), json!("true"))).collect();
    vec![
        ("empty body", JSON, Vec::new(), BAD),
        ("truncated JSON", JSON, sound[..sound.len() / 2].to_vec(), BAD),
        ("last byte missing", JSON, sound[..sound.len() - 1].to_vec(), BAD),
        ("not JSON at all", JSON, b"hello".to_vec(), BAD),
        ("YAML", JSON, b"apiVersion: admission.k8s.io/v1\nkind: AdmissionReview\n".to_vec(), BAD),
        ("empty object", JSON, b"{}".to_vec(), BAD),
        ("a list", JSON, [b"[".as_slice(), &sound, b"]"].concat(), BAD),
        ("null", JSON, b"null".to_vec(), BAD),
        ("wrong kind", JSON, edited(|review| review["kind"] = json!("Pod")), BAD),
        ("v1beta1", JSON, edited(|review| review["apiVersion"] = json!("admission.k8s.io/v1beta1")), BAD),
        ("no request", JSON, edited(|review| drop(review.as_object_mut().unwrap().remove("request"))), BAD),
        ("null request", JSON, edited(|review| review["request"] = Value::Null), BAD),
        ("request is a list", JSON, edited(|review| review["request"] = json!([])), BAD),
        ("no uid", JSON, edited(|review| drop(review["request"].as_object_mut().unwrap().remove("uid"))), BAD),
        ("empty uid", JSON, edited(|review| review["request"]["uid"] = json!("")), RefusedOrAnswered),
        ("number for uid", JSON, edited(|review| review["request"]["uid"] = json!(7)), BAD),
        ("object is a text", JSON, edited(|review| review["request"]["object"] = json!("pod")), BAD),
        (
            "number where text belongs",
            JSON,
            edited(|review| review["request"]["object"]["spec"]["nodeSelector"] = json!({"a": 1})),
            BAD,
        ),
        (
            "list where a map belongs",
            JSON,
            edited(|review| review["request"]["object"]["spec"]["nodeSelector"] = json!(["a"])),
            BAD,
        ),
        ("invalid UTF-8", JSON, spliced("kubevirt.io/aes", b"kubevirt.io/\xff\xfe"), BAD),
        ("half of a surrogate pair", JSON, spliced("kubevirt.io/aes", br"kubevirt.io/\ud800"), BAD),
        ("raw control character", JSON, spliced("kubevirt.io/aes", b"kubevirt.io/\x01"), BAD),
        ("rest after the end", JSON, [sound.as_slice(), b" x"].concat(), BAD),
        ("two documents", JSON, [sound.as_slice(), &sound].concat(), BAD),
        ("byte order mark", JSON, [b"\xef\xbb\xbf".as_slice(), &sound].concat(), BAD),
        ("uid twice", JSON, spliced("\"dryRun\":false", b"\"dryRun\":false,\"uid\":\"second\""), RefusedOrAnswered),
        (
            "selector key twice",
            JSON,
            spliced("{\"cpu-feature", b"{\"a\":\"1\",\"a\":\"2\",\"cpu-feature"),
            RefusedOrAnswered,
        ),
        ("nesting of 200", JSON, nested(200), RefusedOrAnswered),
        ("nesting of 200,000", JSON, nested(200_000), RefusedOrAnswered),
        (
            "number beyond all bounds",
            JSON,
            spliced("\"dryRun\":false", b"\"dryRun\":false,\"n\":1e999999"),
            RefusedOrAnswered,
        ),
        (
            "null labels",
            JSON,
            edited(|review| review["request"]["object"]["metadata"]["labels"] = Value::Null),
            Answered,
        ),
        (
            "null selector",
            JSON,
            edited(|review| review["request"]["object"]["spec"]["nodeSelector"] = Value::Null),
            Answered,
        ),
        (
            "oldObject only",
            JSON,
            edited(|review| {
                review["request"]["operation"] = json!("DELETE");
                review["request"]["oldObject"] = review["request"]["object"].take();
            }),
            Answered,
        ),
        (
            "a selector of 5,000 keys",
            JSON,
            pod_review(&launcher(&Value::Object(selector))).to_string().into_bytes(),
            Answered,
        ),
        (
            "names of 100,000 characters",
            JSON,
            edited(|review| review["request"]["object"]["metadata"]["name"] = json!("x\n".repeat(50_000))),
            RefusedOrAnswered,
        ),
        ("another content type", Some("text/plain"), sound.clone(), Refused(&[415])),
        ("YAML by its content type", Some("application/yaml"), sound.clone(), Refused(&[415])),
        ("no content type", None, sound.clone(), Refused(&[415, 400])),
        ("content type with charset", Some("application/json; charset=utf-8"), sound, Answered),
        ("beyond 8 MiB", JSON, [b"{\"pad\":\"".as_slice(), &vec![b'x'; 8 << 20], b"\"}"].concat(), Refused(&[413])),
    ]
}

#[test]
fn malformed_input_is_refused_with_a_reason_and_the_server_keeps_running() {
    let mut server = Server::start(&cluster(), &[]);
    let mut tally = Tally::new("malformed input");
    for (name, content_type, body, expect) in malformed() {
        let mut faults = Vec::new();
        for http in [Http::Two, Http::One] {
            match server.post(http, "/validate", content_type, body.clone()) {
                Ok(answer) => faults.extend(refusal_fault(expect, &answer).map(|fault| format!("{http:?}: {fault}"))),
                // Over HTTP/1.1 a server that refuses early may close before the client has sent everything.
                Err(_) if http == Http::One && body.len() > 1 << 20 => {}
                Err(error) => faults.push(format!("{http:?}: no answer: {error}")),
            }
        }
        tally.case(name, &faults);
        server.assert_well();
    }
    tally.finish("an API server, or any client on the network, could confuse the server");
    escapes_in_keys_change_nothing(&server);
    other_requests_are_refused(&server);
    server.assert_well();
    let stuck = read_json(&folder().join("vmim-create-stuck.json"));
    let response = server.review("/validate", stuck.to_string());
    assert_eq!(
        warning_faults("vmim-create-stuck", &response),
        Vec::<String>::new(),
        "after bad input good input suffers"
    );
}

fn refusal_fault(expect: Expect, answer: &common::Answer) -> Option<String> {
    let answered = || {
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
        let uid = body["response"]["uid"].is_string() && body["response"]["allowed"] == true;
        let faults = channel_faults(&body["response"]);
        if uid { faults.into_iter().next() } else { Some(format!("200, but not an answer: {}", head(&answer.text()))) }
    };
    let refused = |codes: &[u16]| {
        if !codes.contains(&answer.status) {
            return Some(format!("expected {codes:?}, got {}: {}", answer.status, head(&answer.text())));
        }
        let reason = answer.text();
        (reason.trim().len() < 8).then(|| format!("{} without a reason that helps: {reason:?}", answer.status))
    };
    match expect {
        Expect::Refused(codes) => refused(codes),
        Expect::RefusedOrAnswered if answer.status != 200 => refused(&[400]),
        Expect::Answered | Expect::RefusedOrAnswered if answer.status == 200 => answered(),
        Expect::Answered | Expect::RefusedOrAnswered => {
            Some(format!("a sound review got {}: {}", answer.status, head(&answer.text())))
        }
    }
}

/// Checks that an equal review gets the same answer: JSON may escape any character, in keys too.
fn escapes_in_keys_change_nothing(server: &Server) {
    let review = read(&folder().join("pod-target-stuck.json"));
    let text = String::from_utf8(review).expect("UTF-8");
    let escaped = text
        .replace("\"nodeSelector\"", r#""node\u0053elector""#)
        .replace("cpu-feature.node.kubevirt.io/", r"cpu-feature.node.kubevirt.io\/")
        .replace("\"kubevirt.io\":\"virt-launcher\"", r#""\u006bubevirt.io":"virt\u002dlauncher""#);
    assert_ne!(text, escaped, "nothing was escaped, so nothing is shown");
    let (plain, odd) = (server.review("/validate", text), server.review("/validate", escaped));
    assert_eq!(plain, odd, "a guest could slip past the judgement by the way its keys are written");
}

fn other_requests_are_refused(server: &Server) {
    let get = server.send(Http::Two, &[], "/validate", Request::get("/"), bytes::Bytes::new()).expect("an answer");
    assert_eq!(get.status, 405, "GET is no review: {}", get.text());
    let lost = server.post(Http::Two, "/nowhere", JSON, "{}").expect("an answer");
    assert_eq!(lost.status, 404, "a wrong path in a webhook configuration must be visible: {}", lost.text());
}

#[test]
fn sigterm_ends_the_server_in_seconds() {
    let server = Server::start(&cluster(), &[]);
    let response = server.review("/validate", plain_pod().to_string());
    assert_eq!(response["allowed"], true);
    let (took, status) = server.terminate(Duration::from_secs(10));
    let code = status.and_then(|status| status.code());
    assert_eq!(code, Some(0), "a rolling update sees a crash instead of a clean end, after {took:?}");
}
