//! `make demo`: the webhook on a snapshot of five nodes, asked over TLS as an API server would ask it.
//!
//! Makes development certificates, starts `cpufit serve`, posts the reviews of `demo/reviews`, prints what a person
//! at kubectl would read, stops the server, and fails when anything is not as the story has it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

/// Start-up and shutdown take well below a second; a machine under load is given its time.
const PATIENCE: Duration = Duration::from_secs(30);

/// The answer that a review must get.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expected {
    /// Admitted without a word.
    Quiet,
    /// Admitted with at least one warning.
    Warned,
    /// Not admitted.
    Denied,
}

/// One review and its place in the story.
struct Step {
    review: &'static str,
    /// The event, for the person who watches.
    story: &'static str,
    /// The command of a person at kubectl; controllers have none.
    command: Option<&'static str>,
    expected: Expected,
    /// Words that warnings or denial must contain.
    named: &'static [&'static str],
}

const STORY: [Step; 7] = [
    Step {
        review: "1-migrate-db.json",
        story: "jane wants to move shop/db off node-a. It uses host-model and has migrated before.",
        command: Some("kubectl create -f migrate-db.yaml"),
        expected: Expected::Warned,
        named: &["shop/db", "node-d"],
    },
    Step {
        review: "2-create-report.json",
        story: "jane creates a guest with host-model: where it starts decides where it can ever go.",
        command: Some("kubectl create -f report.yaml"),
        expected: Expected::Warned,
        named: &["lab/report", "node-e"],
    },
    Step {
        review: "3-start-web.json",
        story: "virt-controller starts shop/web, whose model every node offers.",
        command: None,
        expected: Expected::Quiet,
        named: &[],
    },
    Step {
        review: "4-target-of-ledger.json",
        story: "virt-controller creates a target pod for shop/ledger. A denial would hang the migration, so it warns.",
        command: None,
        expected: Expected::Warned,
        named: &["shop/ledger", "amd-stibp"],
    },
    Step {
        review: "5-migrate-ledger.json",
        story: "jane tries to move shop/ledger; the policy denies what no node's CPU could take.",
        command: Some("kubectl create -f migrate-ledger.yaml"),
        expected: Expected::Denied,
        named: &["shop/ledger", "amd-stibp"],
    },
    Step {
        review: "6-plain-pod.json",
        story: "A pod that is no guest's.",
        command: None,
        expected: Expected::Quiet,
        named: &[],
    },
    Step {
        review: "7-status-of-db.json",
        story: "virt-controller notes a VM's status, as it does all day.",
        command: None,
        expected: Expected::Quiet,
        named: &[],
    },
];

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match demo().await {
        Ok(problems) if problems.is_empty() => ExitCode::SUCCESS,
        Ok(problems) => {
            eprintln!("\nNot as expected:");
            for problem in problems {
                eprintln!("  {problem}");
            }
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("\ndemo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn demo() -> anyhow::Result<Vec<String>> {
    ensure!(Path::new("demo/cluster.yaml").is_file(), "run this from the repository's root");
    let binary = binary()?;
    let certs = Command::new(&binary).args(["certs", "--out", "certs"]).status().await;
    let certs = certs.with_context(|| format!("starting {}", binary.display()))?;
    ensure!(certs.success(), "cpufit certs: {certs}");

    let mut server = Server::start(&binary).await?;
    let story = send_reviews(&server.ports).await;
    let stopped = server.stop().await;
    if story.is_err() || stopped.is_err() {
        server.print_log();
    }
    let problems = story?;
    stopped?;
    println!("\nThe webhook has stopped; {} reviews were answered over verified TLS.", STORY.len());
    Ok(problems)
}

/// The `cpufit` that was built beside this example.
fn binary() -> anyhow::Result<PathBuf> {
    let example = std::env::current_exe().context("finding this program")?;
    let profile = example.parent().and_then(Path::parent).context("finding the build folder")?;
    let binary = profile.join(format!("cpufit{}", std::env::consts::EXE_SUFFIX));
    ensure!(binary.is_file(), "cpufit is not built yet: make build");
    Ok(binary)
}

/// Where the server listens, as it prints it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ports {
    webhook: u16,
    admin: u16,
}

impl Ports {
    /// `listening on https://127.0.0.1:PORT, admin http://127.0.0.1:PORT`
    fn parse(line: &str) -> Option<Self> {
        let (webhook, admin) = line.trim().strip_prefix("listening on https://")?.split_once(", admin http://")?;
        let port = |address: &str| address.rsplit_once(':')?.1.parse().ok();
        Some(Self { webhook: port(webhook)?, admin: port(admin)? })
    }
}

/// A running `cpufit serve`; killed should this program end early.
struct Server {
    child: Child,
    ports: Ports,
    log: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start(binary: &Path) -> anyhow::Result<Self> {
        let mut child = Command::new(binary)
            .args(["serve", "--snapshot", "demo/cluster.yaml", "--policy", "demo/policy.yaml"])
            .args(["--cert", "certs/tls.crt", "--key", "certs/tls.key"])
            .args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("starting cpufit serve")?;
        let log = Arc::new(Mutex::new(Vec::new()));
        if let Some(stderr) = child.stderr.take() {
            keep(stderr, Arc::clone(&log));
        }
        let stdout = child.stdout.take().context("the server's output")?;
        let mut lines = BufReader::new(stdout).lines();
        match timeout(PATIENCE, listening(&mut lines)).await {
            Ok(Ok(ports)) => {
                // Read on: a full pipe would stop the server.
                keep(lines.into_inner(), Arc::clone(&log));
                Ok(Self { child, ports, log })
            }
            outcome => {
                // Its last messages are on standard error, which may arrive a little later.
                let _ = timeout(Duration::from_secs(1), child.wait()).await;
                tokio::task::yield_now().await;
                print_log(&log);
                outcome.context("cpufit serve did not say where it listens")??;
                unreachable!("every outcome but the first is an error");
            }
        }
    }

    async fn stop(&mut self) -> anyhow::Result<()> {
        let Some(id) = self.child.id() else { bail!("the server ended by itself: {:?}", self.child.wait().await?) };
        // The shell's own `kill`: the standard library sends no signal but SIGKILL.
        let signalled = Command::new("sh").args(["-c", &format!("kill -TERM {id}")]).status().await?;
        ensure!(signalled.success(), "sending SIGTERM to the server: {signalled}");
        let Ok(status) = timeout(PATIENCE, self.child.wait()).await else {
            self.child.kill().await?;
            bail!("the server was killed: it did not end within {PATIENCE:?} of SIGTERM");
        };
        let status = status?;
        ensure!(status.success(), "after SIGTERM the server ended with {status}");
        Ok(())
    }

    fn print_log(&self) {
        print_log(&self.log);
    }
}

async fn listening(lines: &mut tokio::io::Lines<BufReader<ChildStdout>>) -> anyhow::Result<Ports> {
    while let Some(line) = lines.next_line().await? {
        if let Some(ports) = Ports::parse(&line) {
            return Ok(ports);
        }
    }
    bail!("it ended before it listened")
}

fn keep(from: impl AsyncRead + Unpin + Send + 'static, log: Arc<Mutex<Vec<String>>>) {
    tokio::spawn(async move {
        let mut lines = BufReader::new(from).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            if let Ok(mut log) = log.lock() {
                log.push(line);
            }
        }
    });
}

fn print_log(log: &Mutex<Vec<String>>) {
    let Ok(log) = log.lock() else { return };
    eprintln!("\nThe server said:");
    for line in log.iter() {
        eprintln!("  {line}");
    }
}

/// Sends every review and returns what was not as expected.
async fn send_reviews(ports: &Ports) -> anyhow::Result<Vec<String>> {
    ready(ports.admin).await?;
    let sender = connect(ports.webhook).await?;
    println!("cpufit serves https://127.0.0.1:{} from demo/cluster.yaml, with demo/policy.yaml", ports.webhook);
    let mut problems = Vec::new();
    for (number, step) in STORY.iter().enumerate() {
        println!("\n{}. {}", number + 1, step.story);
        if let Some(command) = step.command {
            println!("$ {command}");
        }
        let review = fs::read(Path::new("demo/reviews").join(step.review)).with_context(|| step.review)?;
        let started = Instant::now();
        let answer = timeout(PATIENCE, post(&sender, ports.webhook, &review)).await.context("no answer in time")?;
        let answer = answer.with_context(|| format!("posting {}", step.review))?;
        let took = started.elapsed();
        answer.print(step);
        println!("[{}, {} ms]", step.review, took.as_millis());
        problems.extend(answer.problems(step).into_iter().map(|problem| format!("{}: {problem}", step.review)));
    }
    Ok(problems)
}

/// Waits until the admin port says that the server is ready.
async fn ready(port: u16) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let mut last = String::new();
    while Instant::now() < deadline {
        match timeout(PATIENCE, get(port, "/readyz")).await.context("/readyz hangs")? {
            Ok(StatusCode::OK) => return Ok(()),
            Ok(status) => last = status.to_string(),
            Err(error) => last = format!("{error:#}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    bail!("not ready after {PATIENCE:?}: {last}")
}

async fn get(port: u16, path: &str) -> anyhow::Result<StatusCode> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = Request::get(path).header("host", "127.0.0.1").body(Empty::<Bytes>::new())?;
    Ok(sender.send_request(request).await?.status())
}

/// A connection as an API server makes it: TLS with the webhook's authority as the only root, HTTP/2.
async fn connect(port: u16) -> anyhow::Result<SendRequest<Full<Bytes>>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file("certs/ca.pem").context("reading certs/ca.pem")?)?;
    let provider = cpufit::crypto::provider();
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TcpStream::connect(("127.0.0.1", port)).await.context("connecting to the webhook")?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from("localhost")?;
    let tls = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await.context("TLS")?;
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(tls)).await.context("HTTP/2")?;
    tokio::spawn(connection);
    Ok(sender)
}

async fn post(sender: &SendRequest<Full<Bytes>>, port: u16, review: &[u8]) -> anyhow::Result<Answer> {
    let sent: Value = serde_json::from_slice(review)?;
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!("https://localhost:{port}/validate?timeout=10s"))
        .header("content-type", "application/json")
        .body(Full::new(Bytes::copy_from_slice(review)))?;
    let response = sender.clone().send_request(request).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    ensure!(status == StatusCode::OK, "{status}: {}", String::from_utf8_lossy(&body));
    let received: Value = serde_json::from_slice(&body).context("reading the answer")?;
    ensure!(received["kind"] == "AdmissionReview", "the answer is no AdmissionReview");
    ensure!(received["apiVersion"] == "admission.k8s.io/v1", "the answer is of another version");
    ensure!(received["response"]["uid"] == sent["request"]["uid"], "the answer is to another review");
    Answer::read(&sent["request"], &received["response"])
}

/// The answer that an API server would pass on to the client.
struct Answer {
    kind: String,
    resource: String,
    name: String,
    warnings: Vec<String>,
    /// Absent when admitted.
    denial: Option<Value>,
}

impl Answer {
    fn read(request: &Value, response: &Value) -> anyhow::Result<Self> {
        let allowed = response["allowed"].as_bool().context("the answer does not say whether it allows")?;
        let warnings = response["warnings"].as_array().map(Vec::as_slice).unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let kind = text(&request["kind"]["kind"]);
        let group = text(&request["kind"]["group"]);
        let resource = kind.to_lowercase() + if group.is_empty() { "" } else { "." } + &group;
        let warnings = warnings.iter().map(text).collect();
        let denial = (!allowed).then(|| response["status"].clone());
        Ok(Self { kind, resource, name: text(&request["name"]), warnings, denial })
    }

    /// As kubectl would print it; for a controller's request, what came of it.
    fn print(&self, step: &Step) {
        for warning in &self.warnings {
            println!("Warning: {warning}");
        }
        match &self.denial {
            Some(status) => println!("{}", self.refusal(status, step)),
            None if step.command.is_some() => println!("{}/{} created", self.resource, self.name),
            None if self.warnings.is_empty() => println!("(admitted without a word)"),
            None => println!("(admitted)"),
        }
    }

    fn refusal(&self, status: &Value, step: &Step) -> String {
        let message = status["message"].as_str().unwrap_or_default();
        let reason = status["reason"].as_str().unwrap_or("BadRequest");
        let causes = status["details"]["causes"].as_array().map(Vec::as_slice).unwrap_or_default();
        if reason == "Invalid" && !causes.is_empty() {
            let bullets = causes.iter().map(|cause| {
                let text = |key: &str| cause[key].as_str().unwrap_or_default();
                format!("\n* {}: {}", text("field"), text("message"))
            });
            let head = format!("The {} {:?} is invalid: ", self.kind, self.name);
            return bullets.fold(head, |all, bullet| all + &bullet);
        }
        let file = step.command.and_then(|command| command.rsplit(' ').next()).unwrap_or(step.review);
        format!(
            "Error from server ({reason}): error when creating {file:?}: \
             admission webhook \"validate.cpufit.io\" denied the request: {message}"
        )
    }

    fn problems(&self, step: &Step) -> Vec<String> {
        let mut problems = Vec::new();
        let outcome = match (&self.denial, self.warnings.is_empty()) {
            (Some(_), _) => Expected::Denied,
            (None, false) => Expected::Warned,
            (None, true) => Expected::Quiet,
        };
        if outcome != step.expected {
            let say = |expected| match expected {
                Expected::Quiet => "admitted without a word",
                Expected::Warned => "admitted with a warning",
                Expected::Denied => "denied",
            };
            problems.push(format!("{}, but should be {}", say(outcome), say(step.expected)));
        }
        let denial = self.denial.as_ref().and_then(|status| status["message"].as_str()).unwrap_or_default();
        for named in step.named {
            if !denial.contains(named) && !self.warnings.iter().any(|warning| warning.contains(named)) {
                problems.push(format!("nothing that was said names {named}"));
            }
        }
        for warning in &self.warnings {
            // Longer ones the API server cuts; with a control character it drops them.
            if warning.len() > 256 || warning.chars().any(char::is_control) {
                problems.push(format!("a warning that would not arrive whole: {warning:?}"));
            }
        }
        problems
    }
}
