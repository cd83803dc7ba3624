//! The running server, and a client that sends it requests over TLS.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper::{HeaderMap, Method, Request, header};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::SupportedProtocolVersion;
use rustls_pki_types::ServerName;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{BIN, Http, Scratch, client_config, cpufit, head, ports, wait};

/// Maximum time for the server to print its addresses on the slowest machine.
const LIMIT: Duration = Duration::from_secs(120);

/// A response of the server.
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

/// The server, running on a snapshot with its own certificates; killed when dropped.
pub struct Server {
    child: Child,
    https: SocketAddr,
    admin: SocketAddr,
    certificates: Scratch,
    stderr: Arc<Mutex<String>>,
    runtime: tokio::runtime::Runtime,
}

impl Server {
    /// Creates certificates, starts the server on free ports, and waits for its addresses.
    #[track_caller]
    pub fn start(snapshot: &Path, more: &[&str]) -> Self {
        let certificates = Scratch::new();
        let out = certificates.path().as_os_str();
        let made = cpufit([OsStr::new("certs"), OsStr::new("--out"), out]).run();
        assert_eq!(made.code(), 0, "without certificates the webhook cannot be tried: {}", head(&made.stderr));
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
        let (said, lines) = mpsc::channel();
        let logged = said.clone();
        let errors = BufReader::new(child.stderr.take().expect("stderr is piped"));
        thread::spawn(move || {
            for line in errors.lines().map_while(Result::ok) {
                let mut text = sink.lock().expect("no reader panics");
                text.push_str(&line);
                text.push('\n');
                // A JSON log contains the addresses.
                if let Ok(line) = serde_json::from_str::<Value>(&line)
                    && line["message"] == "listening"
                    && let (Some(address), Some(admin)) = (line["address"].as_str(), line["admin_address"].as_str())
                {
                    logged.send(format!("listening on https://{address}, admin http://{admin}")).ok();
                }
            }
        });
        let output = BufReader::new(child.stdout.take().expect("stdout is piped"));
        thread::spawn(move || {
            // Reading continues after the first line; otherwise the server might block on a full pipe.
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

    /// Returns the server's standard error so far.
    pub fn log(&self) -> String {
        self.stderr.lock().expect("no reader panics").clone()
    }

    /// Fails if a request made the server panic, even if it still runs.
    #[track_caller]
    pub fn assert_well(&mut self) {
        assert!(self.child.try_wait().expect("a status").is_none(), "the server died: {}", head(&self.log()));
        assert!(!self.log().contains("panicked at"), "a request made the server panic: {}", head(&self.log()));
        let live = self.admin("/livez").expect("the admin port answers");
        assert_eq!(live.status, 200, "a kubelet would restart this server: {}", live.text());
    }

    /// Posts a body; the server's certificate is verified against its CA.
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

    /// Posts a review over HTTP/2 and returns the `response`, which must exist.
    #[track_caller]
    pub fn review(&self, path: &str, body: impl Into<Bytes>) -> Value {
        let answer = self.post(Http::Two, path, Some("application/json"), body).expect("an answer over HTTP/2");
        assert_eq!(answer.status, 200, "the API server takes this for a failed webhook: {}", answer.text());
        answer.json()["response"].clone()
    }

    /// Sends a request over TLS, restricted to these versions if any are given.
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

    /// Sends a GET request to the admin port, over plain HTTP.
    pub fn admin(&self, path: &str) -> Result<Answer, String> {
        self.admin_as(path, &[])
    }

    /// Sends a GET request to the admin port with these `Accept` headers.
    pub fn admin_as(&self, path: &str, accept: &[&str]) -> Result<Answer, String> {
        let address = self.admin;
        let request = accept.iter().fold(Request::get(path), |request, kind| request.header(header::ACCEPT, *kind));
        let request = request
            .header(header::HOST, address.to_string())
            .body(Full::new(Bytes::new()))
            .map_err(|error| error.to_string())?;
        self.runtime.block_on(within(async move {
            let tcp = TcpStream::connect(address).await.map_err(|error| format!("connecting: {error}"))?;
            exchange(tcp, Http::One, request).await
        }))
    }

    /// Sends SIGTERM and waits. Returns the time it took and the exit status, `None` if it had to be killed.
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

fn ports_missing(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    eprintln!("the first line of the server is not the one that scripts wait for: {line:?}");
    None
}

async fn within<T>(work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    tokio::time::timeout(Duration::from_secs(30), work)
        .await
        .unwrap_or_else(|_| Err("no answer in 30 seconds".to_owned()))
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
