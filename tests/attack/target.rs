//! The server under attack, and the connections to it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use std::io::{BufRead as _, BufReader};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tempfile::TempDir;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::poison;
use crate::tls::{Http, client_config, ports};

/// The server binary, unless `ATTACK_BINARY` names another one.
const BIN: &str = env!("CARGO_BIN_EXE_cpufit");

/// Maximum time for the server to start.
const START: Duration = Duration::from_secs(60);

/// Counters of an attack: attempts, and attempts that the server answered other than by closing the connection.
#[derive(Debug, Default)]
pub struct Tally {
    tries: AtomicU64,
    answered: AtomicU64,
}

impl Tally {
    pub fn tried(&self) {
        self.tries.fetch_add(1, Ordering::Relaxed);
    }

    pub fn answer(&self) {
        self.answered.fetch_add(1, Ordering::Relaxed);
    }

    pub fn tries(&self) -> u64 {
        self.tries.load(Ordering::Relaxed)
    }

    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }
}

/// The running server; killed when dropped.
pub struct Process {
    child: Child,
    log: Arc<Mutex<String>>,
    _certificates: TempDir,
}

impl Process {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns the exit status; `None` if the process still runs.
    pub fn ended(&mut self) -> Option<String> {
        self.child.try_wait().unwrap().map(|status| status.to_string())
    }

    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The server's addresses, and the data that is sent to it.
pub struct Target {
    pub https: SocketAddr,
    pub admin: SocketAddr,
    /// A review that is admitted with a warning.
    pub review: Bytes,
    /// Reviews of objects of the maximum size.
    pub largest: Vec<Bytes>,
    /// Reviews that are most expensive to judge.
    pub costliest: Vec<Bytes>,
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
}

/// Starts the server on a snapshot; `ATTACK_BINARY` names another build of it, for comparison.
pub fn start() -> (Process, Target) {
    let certificates = tempfile::tempdir().unwrap();
    let reviews = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/reviews");
    let at = |name: &str| certificates.path().join(name);
    let made = Command::new(BIN).args(["certs", "--out"]).arg(certificates.path()).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    std::fs::write(at("nodes.json"), poison::nodes()).unwrap();
    let binary = std::env::var_os("ATTACK_BINARY").filter(|path| !path.is_empty()).unwrap_or_else(|| BIN.into());
    let mut child = Command::new(binary)
        // The image is linked with musl, which returns the memory of large bodies to the system; this setting makes
        // glibc do so as well.
        .env("MALLOC_MMAP_THRESHOLD_", "131072")
        .arg("serve")
        .args([std::ffi::OsStr::new("--snapshot"), reviews.join("cluster.yaml").as_os_str()])
        .arg("--snapshot")
        .arg(at("nodes.json"))
        .args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
        .arg("--cert")
        .arg(at("tls.crt"))
        .arg("--key")
        .arg(at("tls.key"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the server can be started");
    let log = Arc::new(Mutex::new(String::new()));
    let errors = BufReader::new(child.stderr.take().unwrap());
    let kept = Arc::clone(&log);
    std::thread::spawn(move || {
        for line in errors.lines().map_while(Result::ok) {
            let mut kept = kept.lock().unwrap();
            // A flood of log lines must not exhaust the attacker's memory.
            if kept.len() < 1 << 20 {
                kept.push_str(&line);
                kept.push('\n');
            }
        }
    });
    let (said, lines) = mpsc::channel();
    let output = BufReader::new(child.stdout.take().unwrap());
    std::thread::spawn(move || output.lines().map_while(Result::ok).for_each(|line| drop(said.send(line))));
    let line = lines.recv_timeout(START).expect("the server says where it listens");
    let (https, admin) = ports(&line).expect("two addresses");
    let ca = at("ca.pem");
    let target = Target {
        https,
        admin,
        review: std::fs::read(reviews.join("pod-start.json")).unwrap().into(),
        largest: poison::largest(),
        costliest: poison::costliest(),
        http1: client_config(&ca, Http::One, &[]),
        http2: client_config(&ca, Http::Two, &[]),
    };
    (Process { child, log, _certificates: certificates }, target)
}

/// Connects from a loopback address, `127.0.0.1` by default. Only Linux has others.
pub async fn connect(to: SocketAddr, from: Option<Ipv4Addr>) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    if let Some(from) = from {
        socket.bind((IpAddr::V4(from), 0).into())?;
    }
    let stream = socket.connect(to).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

impl Target {
    /// Waits until reviews are answered.
    pub async fn until_ready(&self) {
        let ready = async { while !self.admin("/readyz", START).await.is_ok_and(|status| status == 200) {} };
        timeout(START, ready).await.expect("the server is ready");
    }

    /// Opens a TLS connection and completes its handshake.
    pub async fn tls(&self, http: Http, from: Option<Ipv4Addr>) -> io::Result<TlsStream<TcpStream>> {
        let config = if http == Http::One { &self.http1 } else { &self.http2 };
        let stream = connect(self.https, from).await?;
        TlsConnector::from(Arc::clone(config)).connect(ServerName::IpAddress(self.https.ip().into()), stream).await
    }

    /// Opens an HTTP connection.
    pub async fn client(&self, http: Http, from: Option<Ipv4Addr>) -> Result<Client, String> {
        let stream = TokioIo::new(self.tls(http, from).await.map_err(|error| format!("connecting: {error}"))?);
        let text = |error: hyper::Error| format!("HTTP handshake: {error}");
        let sender = match http {
            Http::One => {
                let (sender, connection) = http1::handshake(stream).await.map_err(text)?;
                tokio::spawn(connection);
                Sender::One(sender)
            }
            Http::Two => {
                let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.map_err(text)?;
                tokio::spawn(connection);
                Sender::Two(sender)
            }
        };
        Ok(Client { sender, address: self.https })
    }

    /// Sends a GET request to the admin port on a new connection, as the kubelet probes.
    pub async fn admin(&self, path: &str, limit: Duration) -> Result<StatusCode, String> {
        let asked = async {
            let stream = connect(self.admin, None).await.map_err(|error| format!("connecting: {error}"))?;
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
            tokio::spawn(connection);
            let request = Request::get(path).header("host", self.admin.to_string()).body(Full::<Bytes>::default());
            let response = sender.send_request(request.unwrap()).await.map_err(|error| format!("{error:?}"))?;
            Ok(response.status())
        };
        timeout(limit, asked).await.unwrap_or_else(|_| Err(format!("no answer in {limit:?}")))
    }
}

enum Sender {
    One(http1::SendRequest<Full<Bytes>>),
    Two(http2::SendRequest<Full<Bytes>>),
}

/// A connection over TLS.
pub struct Client {
    sender: Sender,
    address: SocketAddr,
}

impl Client {
    /// Whether a request can be sent, because the server has not closed the connection.
    pub async fn is_open(&mut self) -> bool {
        match &mut self.sender {
            Sender::One(sender) => sender.ready().await.is_ok(),
            Sender::Two(sender) => sender.ready().await.is_ok(),
        }
    }

    /// Posts JSON. Returns the status and the whole response.
    pub async fn post(&mut self, path: &str, body: Bytes) -> Result<(StatusCode, HeaderMap, Bytes), String> {
        let request = |uri: String| {
            let request = Request::post(uri).header("content-type", "application/json");
            request.header("host", self.address.to_string()).body(Full::new(body)).unwrap()
        };
        let address = self.address;
        let sent = match &mut self.sender {
            Sender::One(sender) => sender.send_request(request(path.to_owned())).await,
            Sender::Two(sender) => sender.send_request(request(format!("https://{address}{path}"))).await,
        };
        let (head, body) = sent.map_err(|error| format!("sending: {error:?}"))?.into_parts();
        let body = body.collect().await.map_err(|error| format!("reading: {error:?}"))?.to_bytes();
        Ok((head.status, head.headers, body))
    }

    /// Returns another sender on the same HTTP/2 connection; `None` for HTTP/1.1.
    pub fn sibling(&self) -> Option<Self> {
        match &self.sender {
            Sender::One(_) => None,
            Sender::Two(sender) => Some(Self { sender: Sender::Two(sender.clone()), address: self.address }),
        }
    }
}

/// Returns a text cut to the length of a reason.
pub fn short(text: &[u8]) -> String {
    String::from_utf8_lossy(text).trim().chars().take(120).collect()
}
