//! Output for operators of the running server: metrics, checked with Prometheus' own tools, and the log as JSON.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::{Http, Server, cpufit, create, program};

fn demo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/cluster.yaml")
}

/// Returns a review of a pod that is no launcher: admitted, and counted.
fn review() -> Value {
    create(&json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "shop"}}), "jane")
}

/// Returns promtool of Debian's package prometheus: from `PROMTOOL`, `target/promtool` or the PATH; `None`, with a
/// message on standard output, if it is missing.
fn promtool() -> Option<PathBuf> {
    let named = std::env::var_os("PROMTOOL").filter(|path| !path.is_empty()).map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/promtool");
    let found = named.into_iter().chain([built]);
    let found = found.chain(std::env::split_paths(&path).map(|folder| folder.join("promtool")));
    let found = found.into_iter().find(|program| program.is_file());
    if found.is_none() {
        println!(
            "LEFT OUT: metrics are not checked by promtool: it is neither in target nor on the PATH, nor named by PROMTOOL"
        );
    }
    found
}

const OPEN_METRICS: &str = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";

#[test]
fn prometheus_takes_the_metrics_in_both_formats() {
    let server = Server::start(&demo(), &[]);
    for path in ["/validate", "/mutate"] {
        server.review(path, review().to_string());
    }
    let text = server.admin("/metrics").expect("an answer");
    assert_eq!(text.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let open = server.admin_as("/metrics", &[OPEN_METRICS]).expect("an answer");
    assert_eq!(open.headers["content-type"], "application/openmetrics-text; version=1.0.0; charset=utf-8");
    let split = server.admin_as("/metrics", &["text/plain;q=0.5", "application/openmetrics-text"]).expect("an answer");
    assert_eq!(split.headers["content-type"], open.headers["content-type"], "headers may come apart");
    let (text, open) = (text.text(), open.text());
    let samples = |text: &str| -> Vec<String> {
        let names = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '));
        let mut names: Vec<String> = names.map(|(name, _)| name.to_owned()).collect();
        names.sort();
        names
    };
    assert_eq!(samples(&text), samples(&open), "what a dashboard asks for depends on the format");
    for wanted in [
        r#"cpufit_requests_total{webhook="validate",kind="Pod",outcome="admitted"} 1"#.to_owned(),
        format!(r#"cpufit_build_info{{version="{}"}} 1"#, env!("CARGO_PKG_VERSION")),
        r#"cpufit_exempted_total{exemption="controller"} 0"#.to_owned(),
    ] {
        assert!(text.lines().any(|line| line == wanted), "{wanted} is missing: {text}");
    }
    let expires = text.lines().find_map(|line| line.strip_prefix("cpufit_certificate_expiration_timestamp_seconds "));
    assert!(expires.and_then(|at| at.parse::<f64>().ok()) > Some(1.7e9), "the certificate's end: {expires:?}");

    let Some(promtool) = promtool() else { return };
    let mut command = Command::new(&promtool);
    command.args(["check", "metrics"]);
    let checked = program(command).stdin(text).run();
    assert_eq!((checked.code(), checked.stderr.as_str()), (0, ""), "promtool check metrics: {}", checked.stdout);
    // promtool parses OpenMetrics when it imports them, which requires a time for each sample.
    let timed = |line: &str| if line.starts_with('#') { format!("{line}\n") } else { format!("{line} 1700000000\n") };
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("open");
    std::fs::write(&file, open.lines().map(timed).collect::<String>()).expect("written");
    let mut command = Command::new(&promtool);
    command.args(["tsdb", "create-blocks-from", "openmetrics"]).arg(&file).arg(folder.path().join("data"));
    let imported = program(command).run();
    assert_eq!(imported.code(), 0, "OpenMetrics as promtool reads them: {}{}", imported.stdout, imported.stderr);
}

/// Parses every line as JSON.
#[track_caller]
fn lines(log: &str) -> Vec<Value> {
    let lines = log.lines().map(|line| {
        let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?} is no JSON"));
        assert!(value["timestamp"].is_string() && value["level"].is_string(), "{line}");
        value
    });
    lines.collect()
}

#[test]
fn a_log_of_json_is_json_from_the_first_line() {
    let server = Server::start(&demo(), &["--log-format=json", "--log=debug"]);
    server.review("/validate", review().to_string());
    let refused = server.post(Http::One, "/validate", Some("application/json"), "{}").expect("an answer");
    assert_eq!(refused.status, 400);
    let deadline = Instant::now() + Duration::from_secs(10);
    // An answer may arrive before its log line is read.
    while !server.log().contains("turned away") && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    let log = lines(&server.log());
    assert_eq!(log[0]["message"], "judging by a snapshot");
    for (message, fields) in
        [("reviewed", ["webhook", "outcome", "user"]), ("turned away", ["webhook", "outcome", "reason"])]
    {
        let line = log.iter().find(|line| line["message"] == message).unwrap_or_else(|| panic!("{message}: {log:#?}"));
        assert!(fields.iter().all(|field| line[field].is_string()), "{line}");
        assert!(line["took_seconds"].as_f64().is_some_and(|took| (0.0..10.0).contains(&took)), "no number: {line}");
    }
}

/// An error that ends the process is in the log like the others, and nowhere else.
#[test]
fn the_last_error_of_the_process_is_json_too() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().expect("its address").to_string();
    let demo = demo();
    let demo = demo.to_str().expect("UTF-8");
    for (more, named) in [
        (&["--snapshot", demo, "--listen", &taken][..], "cannot listen"),
        (&["--snapshot", "nowhere.yaml", "--listen=127.0.0.1:0"], "tls.crt"),
        (&["--snapshot", demo, "--log=cpufit=loud"], "loud"),
        (&["--snapshot=-", "--policy=-"], "standard input"),
        (&["--port=1"], "unexpected argument '--port' found"),
        (&["--listen=somewhere"], "invalid value 'somewhere' for '--listen <ADDRESS>'"),
        (&["more"], "unexpected argument 'more' found"),
    ] {
        let ran =
            cpufit(["serve", "--log-format=json", "--cert=tls.crt", "--key=tls.key", "--admin-listen=127.0.0.1:0"])
                .args(more)
                .run();
        assert_eq!((ran.code(), ran.stdout.as_str()), (2, ""), "{more:?}");
        let log = lines(&ran.stderr);
        let last = log.last().unwrap_or_else(|| panic!("{more:?} says nothing"));
        assert_eq!((&last["level"], &last["message"]), (&json!("ERROR"), &json!("stopped")), "{last}");
        assert!(last["error"].as_str().is_some_and(|error| error.contains(named)), "{more:?}: {last}");
    }
}
