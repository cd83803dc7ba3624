//! End to end: the server in a separate process, with requests over TLS on the loopback interface. Every number is
//! compared with that of a route that only reads the body.
//!
//! With `LOAD_NODES` set, this program is that server; it ends when its standard input ends.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, reason = "a benchmark ends with the panic")]
#![expect(clippy::cast_precision_loss, reason = "sizes and times are far below 2^52")]

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

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cpufit::telemetry::{LogFormat, Metrics, init};
use cpufit::web::server::{ConnectionLimits, Transport, serve};
use cpufit::web::tls::{CertifiedKeyPair, Resolver, server_config};
use http::header::{CONTENT_TYPE, HOST};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertificateParams, KeyPair};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

use launcher_review::{Demand, launcher_review};
use quantile::quantile;
use router::router;
use smoke::is_smoke_test;
use world::world;

const SERVER: &str = "LOAD_NODES";
/// Requests of one round, and number of rounds of each route, which alternate.
const REQUESTS: usize = 2_000;
const ROUNDS: usize = 7;
/// Maximum time of a round, for slow machines.
const LONGEST: Duration = Duration::from_secs(3);

fn main() {
    if let Ok(nodes) = std::env::var(SERVER) {
        server(nodes.parse().expect("a number of nodes"));
    } else {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(client());
    }
}

/// Serves until standard input ends, so that no server outlives its client.
#[tokio::main]
async fn server(nodes: usize) {
    init(LogFormat::Text, "info", &cpufit::domain::Domain::default()).unwrap();
    let metrics = Arc::new(Metrics::default());
    let router = router(world(nodes, []), Arc::clone(&metrics));
    let key = KeyPair::generate().unwrap();
    let chain = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap().pem();
    let pair =
        CertifiedKeyPair::from_pem(("tls.crt", chain.as_bytes()), ("tls.key", key.serialize_pem().as_bytes())).unwrap();
    let transport = Transport::Tls(server_config(Resolver::new(&pair, Arc::clone(&metrics)), None).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}\n{chain}", listener.local_addr().unwrap());
    let ended = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    let stop = async { drop(ended.await) };
    let limits = ConnectionLimits { drain: Duration::from_secs(1), ..ConnectionLimits::default() };
    let _ = serve(listener, transport, router, limits, metrics, stop).await;
}

/// A running server.
struct Server {
    child: Child,
    address: SocketAddr,
    trusted: CertificateDer<'static>,
}

impl Server {
    fn start(nodes: usize) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .env(SERVER, nodes.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // The log is written, as in production, but not read.
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let address = lines.next().expect("the server prints where it listens").parse().unwrap();
        // Reads up to the empty line, after which the server writes no more.
        let chain: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
        Self { child, address, trusted: CertificateDer::from_pem_slice(chain.join("\n").as_bytes()).unwrap() }
    }

    /// Returns the processor seconds used so far, in user and kernel mode; NaN if the system does not report them.
    fn processor_time(&self) -> f64 {
        let Ok(tasks) = fs::read_dir(format!("/proc/{}/task", self.child.id())) else { return f64::NAN };
        let nanoseconds = |task: fs::DirEntry| -> Option<f64> {
            fs::read_to_string(task.path().join("schedstat")).ok()?.split_whitespace().next()?.parse().ok()
        };
        tasks.filter_map(Result::ok).filter_map(nanoseconds).sum::<f64>() / 1e9
    }

    /// Returns megabytes of `VmRSS` or `VmHWM`.
    fn memory(&self, field: &str) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        line.and_then(|line| line.split_whitespace().next()?.parse().ok()).map_or(f64::NAN, |kb: f64| kb / 1024.0)
    }

    async fn connect(&self, http2: bool) -> Sender {
        let mut roots = RootCertStore::empty();
        roots.add(self.trusted.clone()).unwrap();
        let mut config = ClientConfig::builder_with_provider(cpufit::crypto::provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![if http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
        let stream = TcpStream::connect(self.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TokioIo::new(TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap());
        if http2 {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
            tokio::spawn(connection);
            Sender::Http2(sender)
        } else {
            let (sender, connection) = http1::handshake(stream).await.unwrap();
            tokio::spawn(connection);
            Sender::Http1(sender)
        }
    }

    /// Returns one sender for each request in flight: HTTP/2 shares one connection, HTTP/1.1 has one for each.
    async fn senders(&self, http2: bool, in_flight: usize) -> Vec<Sender> {
        let first = self.connect(http2).await;
        let mut out = Vec::new();
        for _ in 1..in_flight {
            out.push(match &first {
                Sender::Http2(shared) => Sender::Http2(shared.clone()),
                Sender::Http1(_) => self.connect(http2).await,
            });
        }
        out.push(first);
        out
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Sender {
    async fn ask(&mut self, path: &str, review: &Bytes) {
        let request = Request::post(format!("https://localhost{path}"))
            .header(HOST, "localhost")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(review.clone()))
            .unwrap();
        let response = match self {
            Self::Http1(sender) => {
                sender.ready().await.unwrap();
                sender.send_request(request).await.unwrap()
            }
            Self::Http2(sender) => sender.send_request(request).await.unwrap(),
        };
        assert_eq!(response.status(), StatusCode::OK);
        response.into_body().collect().await.unwrap();
    }
}

/// The results of one round.
#[derive(Clone, Copy)]
struct Round {
    /// Requests per second.
    rate: f64,
    /// Processor microseconds of the server for each request.
    processor: f64,
    /// Microseconds until the answer: the median and the 99th percentile.
    p50: f64,
    p99: f64,
}

async fn round(server: &Server, senders: &mut [Sender], path: &str, review: &Bytes) -> Round {
    let requests = if is_smoke_test() { senders.len() } else { REQUESTS };
    let share = requests / senders.len();
    let (before, started) = (server.processor_time(), Instant::now());
    let each = senders.iter_mut().map(async |sender| {
        let mut took = Vec::with_capacity(share);
        while took.len() < share && started.elapsed() < LONGEST {
            let asked = Instant::now();
            sender.ask(path, review).await;
            took.push(asked.elapsed().as_secs_f64() * 1e6);
        }
        took
    });
    let mut took: Vec<f64> = join(each).await.into_iter().flatten().collect();
    let (elapsed, processor) = (started.elapsed().as_secs_f64(), server.processor_time() - before);
    let done = took.len() as f64;
    Round {
        rate: done / elapsed,
        processor: processor * 1e6 / done,
        p50: quantile(&mut took, 0.5),
        p99: quantile(&mut took, 0.99),
    }
}

/// Runs futures concurrently in this task.
async fn join<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut waiting: Vec<_> = futures.map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|context| {
        for (future, output) in waiting.iter_mut().filter(|(_, output)| output.is_none()) {
            if let std::task::Poll::Ready(value) = future.as_mut().poll(context) {
                *output = Some(value);
            }
        }
        if waiting.iter().all(|(_, output)| output.is_some()) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    waiting.into_iter().filter_map(|(_, output)| output).collect()
}

async fn client() {
    let (small, large) = if is_smoke_test() { (10, 1_000) } else { (10, 15_000) };
    let servers = [Server::start(small), Server::start(large)];
    let loaded = servers[1].memory("VmRSS:");
    for demand in &Demand::ALL[..2] {
        let review = Bytes::from(launcher_review(*demand, large).to_string());
        for (protocol, http2) in [("HTTP/1.1", false), ("HTTP/2", true)] {
            beside_null(&servers[1], &review, demand.as_str(), protocol, http2, 8).await;
        }
        beside_null(&servers[1], &review, demand.as_str(), "HTTP/2", true, 1).await;
        by_size(&servers, &review, demand.as_str()).await;
    }
    if !is_smoke_test() {
        table::row(&format!("resident memory with {large} nodes, loaded"), loaded, "MB", ..);
        table::row(
            &format!("resident memory with {large} nodes, after the load"),
            servers[1].memory("VmRSS:"),
            "MB",
            ..,
        );
        table::row(&format!("resident memory with {large} nodes, greatest"), servers[1].memory("VmHWM:"), "MB", ..);
    }
}

/// Compares a route with `/null`. Rounds alternate, so that a busy machine affects both equally.
async fn beside_null(server: &Server, review: &Bytes, demand: &str, protocol: &str, http2: bool, in_flight: usize) {
    let mut senders = server.senders(http2, in_flight).await;
    let mut pairs = Vec::new();
    for _ in 0..if is_smoke_test() { 1 } else { ROUNDS } {
        let null = round(server, &mut senders, "/null", review).await;
        pairs.push((round(server, &mut senders, "/validate", review).await, null));
    }
    if is_smoke_test() {
        return;
    }
    let what = format!("{demand} launcher over {protocol}, {in_flight} in flight: ");
    let median = |mut values: Vec<f64>| quantile(&mut values, 0.5);
    let ratio = |of: fn(&Round) -> f64| median(pairs.iter().map(|(full, null)| of(full) / of(null)).collect());
    let value = |of: fn(&Round) -> f64| median(pairs.iter().map(|(full, _)| of(full)).collect());
    if in_flight > 1 {
        table::row(&format!("{what}throughput / null"), ratio(|round| round.rate), "x", 0.5..);
    }
    table::row(&format!("{what}processor time / null"), ratio(|round| round.processor), "x", ..=3.0);
    table::row(&format!("{what}processor time"), value(|round| round.processor), "µs", ..);
    table::row(&format!("{what}p50 / null"), ratio(|round| round.p50), "x", ..);
    table::row(&format!("{what}p99 / null"), ratio(|round| round.p99), "x", ..=3.0);
    table::row(&format!("{what}p99"), value(|round| round.p99) / 1000.0, "ms", ..=30.0);
    table::row(&format!("{what}requests in a second"), value(|round| round.rate), "", ..);
}

/// Compares a review with a large and with a small cluster.
async fn by_size([small, large]: &[Server; 2], review: &Bytes, demand: &str) {
    let mut senders = [small.senders(true, 1).await, large.senders(true, 1).await];
    let mut ratios = Vec::new();
    for _ in 0..if is_smoke_test() { 1 } else { ROUNDS } {
        let few = round(small, &mut senders[0], "/validate", review).await;
        let many = round(large, &mut senders[1], "/validate", review).await;
        ratios.push(many.p50 / few.p50);
    }
    if !is_smoke_test() {
        let what = format!("{demand} launcher over HTTP/2: p50 at 15000 nodes / at 10");
        table::row(&what, quantile(&mut ratios, 0.5), "x", ..=1.3);
    }
}
