//! What the black-box tests share: the binary under a time limit, folders that vanish, the server under a guard, a TLS client.
//!
//! Nothing here knows the inside of the product; it is reached as its users reach it.
// Every test file includes this module whole and uses its own part.
#![allow(dead_code)]

pub mod forward;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper::{HeaderMap, Method, Request, header};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// The program under test.
pub const BIN: &str = env!("CARGO_BIN_EXE_cpufit");

/// No run of the program may take longer, however slow the machine is: a hang must end as a failure, not as silence.
const LIMIT: Duration = Duration::from_secs(120);

/// What one run of the program left behind.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// The exit code, or a panic that shows what the program said before it was killed by a signal.
    #[track_caller]
    pub fn code(&self) -> i32 {
        self.code.unwrap_or_else(|| panic!("the program was killed by a signal; it said:\n{}", self.stderr))
    }

    /// Standard output as one JSON document.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| {
            panic!(
                "scripts read one JSON document from standard output, but it does not parse: {error}\n\
                 exit {:?}\nstdout: {}\nstderr: {}",
                self.code,
                head(&self.stdout),
                head(&self.stderr)
            )
        })
    }
}

/// One run of the program, under construction.
pub struct Run {
    command: Command,
    input: Option<Vec<u8>>,
    limit: Duration,
}

/// The program with these arguments, in an environment that cannot change what it says.
pub fn cpufit<I, S>(args: I) -> Run
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    let mut command = Command::new(BIN);
    command.args(args).env("NO_COLOR", "1").env_remove("RUST_LOG").env_remove("KUBECONFIG");
    for (key, _) in std::env::vars_os() {
        let name = key.to_string_lossy().to_ascii_uppercase();
        if name.starts_with("CPUFIT_") || name.ends_with("_PROXY") {
            command.env_remove(key);
        }
    }
    Run { command, input: None, limit: LIMIT }
}

/// Another program than the one under test, under the same rules.
pub fn program(command: Command) -> Run {
    Run { command, input: None, limit: LIMIT }
}

impl Run {
    pub fn args<I, S>(mut self, args: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        self.command.args(args);
        self
    }

    /// One variable of the environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// What the program reads from standard input; without it standard input is empty.
    pub fn stdin(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = Some(input.into());
        self
    }

    /// Another time limit.
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Runs to the end, or kills it at the time limit and fails.
    #[track_caller]
    pub fn run(mut self) -> Ran {
        self.command.stdout(Stdio::piped()).stderr(Stdio::piped());
        self.command.stdin(if self.input.is_some() { Stdio::piped() } else { Stdio::null() });
        let mut child = self.command.spawn().expect("the program under test cannot be started");
        if let (Some(input), Some(mut stdin)) = (self.input.take(), child.stdin.take()) {
            // A program that fails early closes its end; its exit code says the rest.
            thread::spawn(move || stdin.write_all(&input).ok());
        }
        let stdout = drain(child.stdout.take().expect("stdout is piped"));
        let stderr = drain(child.stderr.take().expect("stderr is piped"));
        let limit = self.limit;
        let status = wait(&mut child, limit);
        if status.is_none() {
            child.kill().ok();
            child.wait().ok();
        }
        let ran = Ran {
            code: status.and_then(|status| status.code()),
            stdout: stdout.join().expect("reader of stdout"),
            stderr: stderr.join().expect("reader of stderr"),
        };
        assert!(
            status.is_some(),
            "{:?} did not end within {limit:?}: a pipeline would hang for ever; it had said:\n{}",
            self.command,
            head(&ran.stderr)
        );
        assert!(
            !ran.stderr.contains("panicked at"),
            "{:?} panicked, so its user sees a backtrace instead of an answer:\n{}",
            self.command,
            head(&ran.stderr)
        );
        ran
    }
}

fn drain(mut from: impl Read + Send + 'static) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).ok();
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Waits for a process; `None` if it still runs at the limit.
pub fn wait(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().expect("the program can be waited for") {
            return Some(status);
        }
        if Instant::now() > deadline {
            return None;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// The results of `cpufit check -o json`, one for each object of each file.
#[track_caller]
pub fn check(snapshots: &[&Path], files: &[&Path], more: &[&str]) -> Vec<Value> {
    let mut run = cpufit(["check", "-o", "json"]).args(more);
    for path in snapshots {
        run = run.args([OsStr::new("--snapshot"), path.as_os_str()]);
    }
    for path in files {
        run = run.args([OsStr::new("-f"), path.as_os_str()]);
    }
    let ran = run.run();
    assert!(
        matches!(ran.code(), 0 | 1),
        "check could not judge {files:?} against {snapshots:?} (exit {}), so nothing is said about the guest: {}",
        ran.code(),
        head(&ran.stderr)
    );
    results(&ran.json())
}

/// `results` of a JSON answer.
#[track_caller]
pub fn results(answer: &Value) -> Vec<Value> {
    answer["results"]
        .as_array()
        .unwrap_or_else(|| {
            panic!("the answer has no list named results, which scripts read: {}", head(&answer.to_string()))
        })
        .clone()
}

/// The texts in a JSON list; nothing where there is no list.
pub fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// `nodes.fitting` of a result.
#[track_caller]
pub fn fitting(result: &Value) -> Vec<String> {
    assert!(result["nodes"]["fitting"].is_array(), "a result without nodes.fitting names no node: {result}");
    texts(&result["nodes"]["fitting"])
}

/// `nearest` of a result: node, then the keys it lacks, sorted.
pub fn nearest(result: &Value) -> Vec<(String, Vec<String>)> {
    let node = |entry: &Value| {
        let mut keys: Vec<String> = entry["missing"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|missing| missing["key"].as_str().map(str::to_owned))
            .collect();
        keys.sort();
        (entry["node"].as_str().unwrap_or_default().to_owned(), keys)
    };
    result["nearest"].as_array().into_iter().flatten().map(node).collect()
}

/// A text short enough for a failure message.
pub fn head(text: &str) -> String {
    const LONG: usize = 2_000;
    match text.char_indices().nth(LONG) {
        Some((end, _)) => format!("{} … ({} bytes in all)", &text[..end], text.len()),
        None => text.to_owned(),
    }
}

/// A folder of test data: the one that the environment names, else the one shipped.
pub fn data(variable: &str, folder: &str) -> PathBuf {
    std::env::var_os(variable).filter(|path| !path.is_empty()).map_or_else(|| shipped(folder), PathBuf::from)
}

/// A folder of test data as shipped, whatever the environment says.
pub fn shipped(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(folder)
}

#[track_caller]
pub fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[track_caller]
pub fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&read(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The commands of a section of a page of the documentation.
#[track_caller]
pub fn documented_commands(page: &str, section: &str) -> Vec<String> {
    let text = String::from_utf8(read(&Path::new(env!("CARGO_MANIFEST_DIR")).join(page))).expect("UTF-8");
    let section = text.split("\n## ").find(|part| part.starts_with(section)).expect("the section");
    let blocks = section.split("```sh\n").skip(1).filter_map(|block| block.split("```").next());
    blocks.flat_map(str::lines).map(str::to_owned).collect()
}

/// A folder for one test, removed with all it holds when dropped.
pub struct Scratch(TempDir);

impl Scratch {
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file (and the folders above it) and returns its path.
    #[track_caller]
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        std::fs::write(&path, content).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }

    #[track_caller]
    pub fn write_json(&self, name: &str, content: &Value) -> PathBuf {
        self.write(name, content.to_string())
    }
}

/// A `v1` List of these objects.
pub fn list(items: impl IntoIterator<Item = Value>) -> Value {
    let items: Vec<Value> = items.into_iter().collect();
    serde_json::json!({"apiVersion": "v1", "kind": "List", "items": items})
}

/// A ready Node with these labels.
pub fn node(name: &str, labels: &Value) -> Value {
    serde_json::json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "spec": {},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    })
}

/// The `KubeVirt` CR of a cluster with this configuration. No observed version: then the newest rules hold.
pub fn kubevirt(configuration: &Value) -> Value {
    serde_json::json!({
        "apiVersion": "kubevirt.io/v1", "kind": "KubeVirt",
        "metadata": {"name": "kubevirt", "namespace": "kubevirt"},
        "spec": {"configuration": configuration},
        "status": {"phase": "Deployed"},
    })
}

/// Counts agreement over many cases, so that one failure does not hide the others.
pub struct Tally {
    what: String,
    agreed: usize,
    notes: Vec<String>,
    problems: Vec<String>,
}

impl Tally {
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), agreed: 0, notes: Vec::new(), problems: Vec::new() }
    }

    /// A remark for the summary line.
    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// One case; no difference means agreement.
    pub fn case(&mut self, name: &str, differences: &[String]) {
        if differences.is_empty() {
            self.agreed += 1;
        } else {
            self.problems.push(format!("{name}\n      {}", differences.join("\n      ")));
        }
    }

    /// Prints the count; fails with the list of all that disagreed.
    #[track_caller]
    pub fn finish(self, loss: &str) {
        let total = self.agreed + self.problems.len();
        let notes = if self.notes.is_empty() { String::new() } else { format!(" ({})", self.notes.join("; ")) };
        println!("{}: {} of {total} agree{notes}", self.what, self.agreed);
        assert!(total > 0, "{}: there is no case, so nothing was shown", self.what);
        if !self.problems.is_empty() {
            let mut text = format!("{}: {} of {total} disagree: {loss}\n", self.what, self.problems.len());
            for problem in &self.problems {
                writeln!(text, "  - {problem}").expect("writing to a string");
            }
            panic!("{text}");
        }
    }
}

/// Where two JSON values differ, a line each.
pub fn differences(path: &str, expected: &Value, got: &Value) -> Vec<String> {
    match (expected, got) {
        (Value::Object(expected), Value::Object(got)) => {
            let keys: BTreeSet<&String> = expected.keys().chain(got.keys()).collect();
            let at = |key: &str| format!("{path}[{key:?}]");
            keys.into_iter()
                .flat_map(|key| match (expected.get(key), got.get(key)) {
                    (Some(expected), Some(got)) => differences(&at(key), expected, got),
                    (Some(expected), None) => vec![format!("{}: expected {expected}, got nothing", at(key))],
                    (None, Some(got)) => vec![format!("{}: expected nothing, got {got}", at(key))],
                    (None, None) => Vec::new(),
                })
                .collect()
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).enumerate().flat_map(|(i, (a, b))| differences(&format!("{path}[{i}]"), a, b)).collect()
        }
        (expected, got) if expected == got => Vec::new(),
        (expected, got) => vec![format!("{path}: expected {expected}, got {got}")],
    }
}

/// The rules of the channel: what the API server or kubectl would cut, drop or show twice must never be sent.
pub fn channel_faults(response: &Value) -> Vec<String> {
    let warnings = texts(&response["warnings"]);
    let mut faults = Vec::new();
    if warnings.len() > 4 {
        faults.push(format!("{} warnings for one request drown each other (at most four)", warnings.len()));
    }
    if warnings.iter().map(String::len).sum::<usize>() > 4_096 {
        faults.push("warnings past 4,096 bytes: the API server would drop some".to_owned());
    }
    for warning in &warnings {
        if warning.chars().count() > 256 {
            faults.push(format!("a warning of {} characters would be cut: {warning:?}", warning.chars().count()));
        }
        if warning.chars().any(char::is_control) {
            faults.push(format!("a control character makes the whole warning vanish: {warning:?}"));
        }
        if warning.starts_with("Warning:") || warning.trim().is_empty() {
            faults.push(format!("kubectl adds the prefix itself: {warning:?}"));
        }
    }
    let message = response["status"]["message"].as_str().unwrap_or_default();
    for words in ["violates PodSecurity", "exceeded quota"] {
        if message.contains(words) {
            faults.push(format!("KubeVirt takes another path on a denial that says {words:?}"));
        }
    }
    faults
}

/// Which HTTP a request is sent over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Http {
    One,
    Two,
}

/// What the server answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| {
            panic!("the API server cannot read this answer ({}): {error}: {}", self.status, head(&self.text()))
        })
    }
}

/// The server, running on a snapshot with certificates of its own; killed when dropped.
pub struct Server {
    child: Child,
    https: SocketAddr,
    admin: SocketAddr,
    certificates: Scratch,
    stderr: Arc<Mutex<String>>,
    runtime: tokio::runtime::Runtime,
}

impl Server {
    /// Makes certificates, starts the server on free ports, and waits until it says where it listens.
    #[track_caller]
    pub fn start(snapshot: &Path, more: &[&str]) -> Self {
        let certificates = Scratch::new();
        let out = certificates.path().as_os_str();
        let made = cpufit([OsStr::new("certs"), OsStr::new("--out"), out]).run();
        assert_eq!(made.code(), 0, "without certificates nobody can try the webhook: {}", head(&made.stderr));
        let mut command = Command::new(BIN);
        command
            .args([OsStr::new("serve"), OsStr::new("--snapshot"), snapshot.as_os_str()])
            .args([OsStr::new("--cert"), certificates.path().join("tls.crt").as_os_str()])
            .args([OsStr::new("--key"), certificates.path().join("tls.key").as_os_str()])
            .args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
            .args(more)
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program under test cannot be started");
        let stderr = Arc::new(Mutex::new(String::new()));
        let sink = Arc::clone(&stderr);
        let errors = BufReader::new(child.stderr.take().expect("stderr is piped"));
        thread::spawn(move || {
            for line in errors.lines().map_while(Result::ok) {
                let mut text = sink.lock().expect("no reader panics");
                text.push_str(&line);
                text.push('\n');
            }
        });
        let (said, lines) = mpsc::channel();
        let output = BufReader::new(child.stdout.take().expect("stdout is piped"));
        thread::spawn(move || {
            // Read on after the first line, or a chatty server would block on a full pipe.
            for line in output.lines().map_while(Result::ok) {
                said.send(line).ok();
            }
        });
        let ports = lines.recv_timeout(LIMIT).ok().and_then(|line| ports(&line).or_else(|| ports_missing(&line)));
        let Some((https, admin)) = ports else {
            child.kill().ok();
            child.wait().ok();
            panic!("the server never said where it listens: {}", head(&stderr.lock().expect("no reader panics")));
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime for the client");
        Self { child, https, admin, certificates, stderr, runtime }
    }

    /// What the server wrote to standard error so far.
    pub fn log(&self) -> String {
        self.stderr.lock().expect("no reader panics").clone()
    }

    /// Fails if a request made the server panic, even if it lives on.
    #[track_caller]
    pub fn assert_well(&mut self) {
        assert!(self.child.try_wait().expect("a status").is_none(), "the server died: {}", head(&self.log()));
        assert!(!self.log().contains("panicked at"), "a request made the server panic: {}", head(&self.log()));
        let live = self.admin("/livez").expect("the admin port answers");
        assert_eq!(live.status, 200, "a kubelet would restart this server: {}", live.text());
    }

    /// Posts a body; the server's certificate is verified against the CA that was made with it.
    pub fn post(
        &self,
        http: Http,
        path: &str,
        content_type: Option<&str>,
        body: impl Into<Bytes>,
    ) -> Result<Answer, String> {
        let mut request = Request::builder().method(Method::POST);
        if let Some(content_type) = content_type {
            request = request.header(header::CONTENT_TYPE, content_type);
        }
        self.send(http, &[], path, request, body.into())
    }

    /// Posts a review over HTTP/2 and returns the `response`, which must be there.
    #[track_caller]
    pub fn review(&self, path: &str, body: impl Into<Bytes>) -> Value {
        let answer = self.post(Http::Two, path, Some("application/json"), body).expect("an answer over HTTP/2");
        assert_eq!(answer.status, 200, "the API server takes this for a failed webhook: {}", answer.text());
        answer.json()["response"].clone()
    }

    /// Any request over TLS, of these versions only if some are given.
    pub fn send(
        &self,
        http: Http,
        versions: &[&'static SupportedProtocolVersion],
        path: &str,
        request: hyper::http::request::Builder,
        body: Bytes,
    ) -> Result<Answer, String> {
        let tls = client_config(&self.certificates.path().join("ca.pem"), http, versions);
        let address = self.https;
        let request = match http {
            Http::One => request.uri(path).header(header::HOST, address.to_string()),
            Http::Two => request.uri(format!("https://{address}{path}")),
        };
        let request = request.body(Full::new(body)).map_err(|error| error.to_string())?;
        self.runtime.block_on(within(async move {
            let tcp = TcpStream::connect(address).await.map_err(|error| format!("connecting: {error}"))?;
            let name = ServerName::IpAddress(address.ip().into());
            let stream = TlsConnector::from(tls).connect(name, tcp).await.map_err(|error| format!("TLS: {error}"))?;
            let agreed = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
            if http == Http::Two && agreed.as_deref() != Some(b"h2") {
                return Err(format!("the server does not offer HTTP/2 by ALPN, only {agreed:?}"));
            }
            exchange(stream, http, request).await
        }))
    }

    /// GET on the admin port, plain HTTP.
    pub fn admin(&self, path: &str) -> Result<Answer, String> {
        let address = self.admin;
        let request = Request::get(path)
            .header(header::HOST, address.to_string())
            .body(Full::new(Bytes::new()))
            .map_err(|error| error.to_string())?;
        self.runtime.block_on(within(async move {
            let tcp = TcpStream::connect(address).await.map_err(|error| format!("connecting: {error}"))?;
            exchange(tcp, Http::One, request).await
        }))
    }

    /// Sends SIGTERM and waits: how long it took and how it ended, `None` if it had to be killed.
    #[track_caller]
    pub fn terminate(mut self, limit: Duration) -> (Duration, Option<ExitStatus>) {
        let started = Instant::now();
        let sent = Command::new("sh").args(["-c", &format!("kill -TERM {}", self.child.id())]).status();
        assert!(sent.expect("a shell").success(), "the signal could not be sent: {}", head(&self.log()));
        let status = wait(&mut self.child, limit);
        (started.elapsed(), status)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The addresses in `listening on https://127.0.0.1:PORT, admin http://127.0.0.1:PORT`.
pub fn ports(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    let (https, admin) = line.strip_prefix("listening on https://")?.split_once(", admin http://")?;
    Some((https.trim().parse().ok()?, admin.trim().parse().ok()?))
}

fn ports_missing(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    eprintln!("the first line of the server is not the one that scripts wait for: {line:?}");
    None
}

async fn within<T>(work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    tokio::time::timeout(Duration::from_secs(30), work)
        .await
        .unwrap_or_else(|_| Err("no answer in 30 seconds".to_owned()))
}

/// A TLS client that trusts this authority, of these versions only if some are given.
pub fn client_config(ca: &Path, http: Http, versions: &[&'static SupportedProtocolVersion]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca).expect("ca.pem of cpufit certs") {
        roots.add(certificate.expect("a certificate in PEM")).expect("a usable CA");
    }
    let versions = if versions.is_empty() { rustls::ALL_VERSIONS } else { versions };
    let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(versions)
        .expect("TLS versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![if http == Http::Two { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
    Arc::new(config)
}

async fn exchange<T>(stream: T, http: Http, request: Request<Full<Bytes>>) -> Result<Answer, String>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let io = TokioIo::new(stream);
    let response = match http {
        Http::One => {
            let (mut sender, connection) = http1::handshake(io).await.map_err(|error| format!("handshake: {error}"))?;
            tokio::spawn(connection);
            sender.send_request(request).await
        }
        Http::Two => {
            let (mut sender, connection) =
                http2::handshake(TokioExecutor::new(), io).await.map_err(|error| format!("handshake: {error}"))?;
            tokio::spawn(connection);
            sender.send_request(request).await
        }
    };
    let (parts, body) = response.map_err(|error| format!("sending: {error:?}"))?.into_parts();
    let body = body.collect().await.map_err(|error| format!("reading: {error:?}"))?.to_bytes();
    Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, body })
}
