//! The server on a real socket: TLS 1.2 and 1.3, HTTP/1.1 and HTTP/2, certificates replaced while it runs, drained at
//! the end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::routing::post;
use bytes::Bytes;
use cpufit::crypto::provider;
use cpufit::page::Page;
use cpufit::telemetry::Metrics;
use cpufit::web::server::{ConnectionLimits, ServeEnd, Transport, serve};
use cpufit::web::tls::{CertifiedKeyPair, Resolver, server_config};
use cpufit::web::{self, admin, router};
use http::{Request, Response, StatusCode, Version};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertificateParams, KeyPair};
use rstest::rstest;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ProtocolVersion, RootCertStore, SupportedProtocolVersion};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{edge, ready, review};

const PATIENCE: Duration = Duration::from_secs(20);

/// Issues a self-signed certificate. Returns the PEM chain and the pair.
fn issue() -> (String, CertifiedKeyPair) {
    let key = KeyPair::generate().unwrap();
    let chain = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap().pem();
    let pair =
        CertifiedKeyPair::from_pem(("tls.crt", chain.as_bytes()), ("tls.key", key.serialize_pem().as_bytes())).unwrap();
    (chain, pair)
}

/// A running server.
struct Running {
    address: SocketAddr,
    chain: String,
    resolver: Arc<Resolver>,
    metrics: Arc<Metrics>,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<ServeEnd>,
    /// Notified when a request to `/hold` arrived.
    arrived: Arc<Notify>,
    /// Releases the answer to that request.
    release: Arc<Notify>,
}

impl Running {
    async fn start(limits: ConnectionLimits) -> Self {
        let (edge, metrics) = edge(web::Limits::default());
        let (arrived, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let hold = {
            let (arrived, release) = (Arc::clone(&arrived), Arc::clone(&release));
            async move || {
                arrived.notify_one();
                release.notified().await;
                "held to the end"
            }
        };
        let router = router(edge).route("/hold", post(hold));
        let (chain, pair) = issue();
        let resolver = Resolver::new(&pair, Arc::clone(&metrics));
        let transport = Transport::Tls(server_config(Arc::clone(&resolver), None).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let shutdown = async { drop(stopped.await) };
        let serving = tokio::spawn(serve(listener, transport, router, limits, Arc::clone(&metrics), shutdown));
        Self { address, chain, resolver, metrics, stop, serving, arrived, release }
    }

    async fn connect(&self, versions: &[&'static SupportedProtocolVersion], http: Version) -> Client {
        Client::connect(self.address, &self.chain, versions, http).await.unwrap()
    }
}

/// A connection.
struct Client {
    sender: Sender,
    tls: ProtocolVersion,
    certificate: CertificateDer<'static>,
}

enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

async fn handshake(
    address: SocketAddr,
    trusted: &str,
    versions: &[&'static SupportedProtocolVersion],
    alpn: &[u8],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(trusted.as_bytes()).unwrap()).unwrap();
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    let stream = TcpStream::connect(address).await?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), stream).await
}

impl Client {
    async fn connect(
        address: SocketAddr,
        trusted: &str,
        versions: &[&'static SupportedProtocolVersion],
        http: Version,
    ) -> std::io::Result<Self> {
        let alpn: &[u8] = if http == Version::HTTP_2 { b"h2" } else { b"http/1.1" };
        let stream = handshake(address, trusted, versions, alpn).await?;
        let session = stream.get_ref().1;
        assert_eq!(session.alpn_protocol(), Some(alpn));
        let tls = session.protocol_version().unwrap();
        let certificate = session.peer_certificates().unwrap()[0].clone().into_owned();
        let io = TokioIo::new(stream);
        let sender = if http == Version::HTTP_2 {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
            tokio::spawn(connection);
            Sender::Http2(sender)
        } else {
            let (sender, connection) = http1::handshake(io).await.unwrap();
            tokio::spawn(connection);
            Sender::Http1(sender)
        };
        Ok(Self { sender, tls, certificate })
    }

    async fn post(&mut self, path: &str, body: &str) -> hyper::Result<Response<Incoming>> {
        let body = Full::new(Bytes::copy_from_slice(body.as_bytes()));
        let request = |uri: &str| {
            Request::post(uri)
                .header("host", "localhost")
                .header("content-type", "application/json")
                .body(body)
                .unwrap()
        };
        match &mut self.sender {
            Sender::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request(path)).await
            }
            Sender::Http2(sender) => {
                sender.ready().await?;
                sender.send_request(request(&format!("https://localhost{path}"))).await
            }
        }
    }
}

async fn text(response: Response<Incoming>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

#[rstest]
#[tokio::test]
async fn reviews_are_answered_over_every_tls_and_http(
    #[values(&TLS12, &TLS13)] tls: &'static SupportedProtocolVersion,
    #[values(Version::HTTP_11, Version::HTTP_2)] http: Version,
) {
    let running = Running::start(ConnectionLimits::default()).await;
    let mut client = running.connect(&[tls], http).await;
    assert_eq!(client.tls, tls.version, "the client got another version of TLS than it asked for");
    // Two requests on one connection; the second one needs several frames and TLS records.
    for padding in [0, 300_000] {
        let response =
            client.post("/validate?timeout=10s", &format!("{}{}", review("warn"), " ".repeat(padding))).await;
        let response = response.unwrap();
        assert_eq!((response.status(), response.version()), (StatusCode::OK, http));
        assert_eq!(response.headers()["content-type"], "application/json");
        let answer: Value = serde_json::from_str(&text(response).await).unwrap();
        assert_eq!(answer["response"]["warnings"][0], "cpufit: shop/warn: as asked");
    }
    let too_large = client.post("/validate", &" ".repeat(web::BODY_BYTES + 1)).await;
    // An HTTP/1.1 client that is still writing may see the connection close before the answer.
    assert!(
        too_large.is_ok_and(|response| response.status() == StatusCode::PAYLOAD_TOO_LARGE) || http == Version::HTTP_11
    );
}

#[tokio::test]
async fn many_reviews_share_one_http2_connection() {
    let running = Running::start(ConnectionLimits::default()).await;
    let client = running.connect(&[&TLS13], Version::HTTP_2).await;
    let Sender::Http2(sender) = client.sender else { unreachable!("asked for HTTP/2") };
    let mut answers = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let mut sender = sender.clone();
        let request = Request::post("https://localhost/mutate").header("content-type", "application/json");
        let request = request.body(Full::new(Bytes::from(review("db").to_string()))).unwrap();
        answers.spawn(async move { sender.send_request(request).await.unwrap().status() });
    }
    assert!(
        answers.join_all().await.into_iter().all(|status| status == StatusCode::OK),
        "a review of many on one connection was lost"
    );
}

#[tokio::test]
async fn a_new_certificate_serves_new_handshakes_and_breaks_no_connection() {
    let running = Running::start(ConnectionLimits::default()).await;
    let mut old = running.connect(&[&TLS13], Version::HTTP_2).await;
    let (chain, pair) = issue();
    running.resolver.replace(&pair);
    let mut new = Client::connect(running.address, &chain, &[&TLS13], Version::HTTP_11).await.unwrap();
    assert_ne!(
        old.certificate, new.certificate,
        "a rotated certificate is not served: clients fail when the old one expires"
    );
    for client in [&mut old, &mut new] {
        assert_eq!(client.post("/validate", &review("db").to_string()).await.unwrap().status(), StatusCode::OK);
    }
}

#[rstest]
#[tokio::test]
async fn a_request_in_flight_is_finished_at_shutdown(#[values(Version::HTTP_11, Version::HTTP_2)] http: Version) {
    let running = Running::start(ConnectionLimits::default()).await;
    let idle = running.connect(&[&TLS13], http).await;
    let mut client = running.connect(&[&TLS13], http).await;
    let answer = tokio::spawn(async move { client.post("/hold", "").await });
    timeout(PATIENCE, running.arrived.notified()).await.unwrap();
    running.stop.send(()).unwrap();
    // The listener closes; until then the kernel may still accept a connection that is never answered.
    let refused = async {
        while TcpStream::connect(running.address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, refused).await.expect("no connection is accepted any more");
    assert!(!running.serving.is_finished(), "the request in flight would be lost");
    running.release.notify_one();
    let response = timeout(PATIENCE, answer).await.unwrap().unwrap().unwrap();
    assert_eq!(text(response).await, "held to the end");
    assert_eq!(
        timeout(PATIENCE, running.serving).await.unwrap().unwrap(),
        ServeEnd::Completely,
        "an idle client holds nothing up"
    );
    drop(idle);
}

#[tokio::test]
async fn draining_is_bounded() {
    let running =
        Running::start(ConnectionLimits { drain: Duration::from_millis(50), ..ConnectionLimits::default() }).await;
    let mut client = running.connect(&[&TLS13], Version::HTTP_11).await;
    let answer = tokio::spawn(async move { client.post("/hold", "").await.map(|_| ()) });
    timeout(PATIENCE, running.arrived.notified()).await.unwrap();
    running.stop.send(()).unwrap();
    assert_eq!(
        timeout(PATIENCE, running.serving).await.unwrap().unwrap(),
        ServeEnd::Cut(1),
        "a request without end keeps a replica from ending"
    );
    timeout(PATIENCE, answer).await.unwrap().unwrap().unwrap_err();
}

#[tokio::test]
async fn a_client_that_never_shakes_hands_is_disconnected() {
    let running =
        Running::start(ConnectionLimits { handshake: Duration::from_millis(50), ..ConnectionLimits::default() }).await;
    let mut silent = TcpStream::connect(running.address).await.unwrap();
    let read = timeout(PATIENCE, silent.read(&mut [0; 1])).await.expect("it would hold a connection without end");
    assert_eq!(read.unwrap_or(0), 0, "it was answered, not disconnected");
    let text = running.metrics.render(cpufit::telemetry::Exposition::Text).unwrap();
    assert!(text.contains(r#"cpufit_tls_handshake_failures_total{reason="slow"} 1"#), "{text}");
}

#[tokio::test]
async fn a_client_that_does_not_trust_the_certificate_is_counted() {
    let running = Running::start(ConnectionLimits::default()).await;
    let (stranger, _) = issue();
    assert!(
        handshake(running.address, &stranger, &[&TLS13], b"h2").await.is_err(),
        "a client accepts a certificate that its authority did not sign"
    );
    let counted = async {
        while !running
            .metrics
            .render(cpufit::telemetry::Exposition::Text)
            .unwrap()
            .contains(r#"cpufit_tls_handshake_failures_total{reason="refused"} 1"#)
        {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, counted).await.expect("a wrong caBundle is the commonest mistake, and must be visible");
}

/// Host and authority over HTTP/2, where `:authority` replaces Host.
#[rstest]
#[case::as_clients_send_it(None, StatusCode::OK)]
#[case::both_alike(Some("LocalHost"), StatusCode::OK)]
#[case::both_unlike(Some("elsewhere"), StatusCode::BAD_REQUEST)]
#[tokio::test]
async fn host_and_authority_agree(#[case] host: Option<&str>, #[case] status: StatusCode) {
    let running = Running::start(ConnectionLimits::default()).await;
    let client = running.connect(&[&TLS13], Version::HTTP_2).await;
    let Sender::Http2(mut sender) = client.sender else { unreachable!("asked for HTTP/2") };
    let mut request = Request::post("https://localhost/validate").header("content-type", "application/json");
    if let Some(host) = host {
        request = request.header("host", host);
    }
    let request = request.body(Full::new(Bytes::from(review("db").to_string()))).unwrap();
    assert_eq!(sender.send_request(request).await.unwrap().status(), status);
}

/// Starts a forwarder to a server that delays everything sent to the client.
async fn late(to: SocketAddr, delay: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut from_client, mut to_client) = listener.accept().await.unwrap().0.into_split();
        let (mut from_server, mut to_server) = TcpStream::connect(to).await.unwrap().into_split();
        tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
        let mut buffer = vec![0; 64 << 10];
        while let Ok(read @ 1..) = from_server.read(&mut buffer).await {
            tokio::time::sleep(delay).await;
            if to_client.write_all(&buffer[..read]).await.is_err() {
                break;
            }
        }
    });
    address
}

/// A new connection takes the place of an API server's, which sends a review before it receives GOAWAY.
#[tokio::test]
async fn a_review_is_answered_that_crosses_the_end_of_its_connection() {
    let running = Running::start(ConnectionLimits { connections: 1, per_peer: 1, ..ConnectionLimits::default() }).await;
    let delay = Duration::from_millis(500);
    let far = late(running.address, delay).await;
    let mut kept = Client::connect(far, &running.chain, &[&TLS13], Version::HTTP_2).await.unwrap();
    assert_eq!(kept.post("/validate", &review("db").to_string()).await.unwrap().status(), StatusCode::OK);
    let mut new_client = running.connect(&[&TLS13], Version::HTTP_2).await;
    assert_eq!(new_client.post("/validate", &review("db").to_string()).await.unwrap().status(), StatusCode::OK);
    assert_eq!(kept.post("/validate", &review("db").to_string()).await.unwrap().status(), StatusCode::OK);
    let Sender::Http2(sender) = kept.sender else { unreachable!("asked for HTTP/2") };
    let ended = async {
        while !sender.is_closed() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, ended).await.expect("it had to leave");
    assert_eq!(new_client.post("/validate", &review("db").to_string()).await.unwrap().status(), StatusCode::OK);
}

/// TLS connections end as well, regardless of the stage at which the client stops sending.
#[rstest]
#[case::before_the_handshake(0)]
#[case::after_it(1)]
#[case::of_http_2(2)]
#[tokio::test]
async fn idle_connections_end(#[case] stage: u8) {
    let short = Duration::from_millis(100);
    let running =
        Running::start(ConnectionLimits { idle: short, handshake: short, ..ConnectionLimits::default() }).await;
    if stage == 2 {
        let mut client = running.connect(&[&TLS13], Version::HTTP_2).await;
        assert_eq!(client.post("/validate", &review("db").to_string()).await.unwrap().status(), StatusCode::OK);
        let Sender::Http2(sender) = client.sender else { unreachable!("asked for HTTP/2") };
        let ended = async {
            while !sender.is_closed() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        return timeout(PATIENCE, ended).await.expect("its keep-alive pings keep it open without end");
    }
    let mut plain = TcpStream::connect(running.address).await.unwrap();
    let mut tls;
    let stream: &mut (dyn tokio::io::AsyncRead + Unpin + Send) = if stage == 0 {
        &mut plain
    } else {
        tls = handshake(running.address, &running.chain, &[&TLS13], b"h2").await.unwrap();
        &mut tls
    };
    let read = async { while stream.read(&mut [0; 64]).await.is_ok_and(|read| read > 0) {} };
    timeout(PATIENCE, read).await.expect("it would hold a place without end");
}

#[tokio::test]
async fn the_admin_port_is_plain_http() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let metrics = Arc::new(Metrics::default());
    let router = admin::router(ready(), Arc::clone(&metrics), Arc::new(Page::default), Arc::default());
    let never = std::future::pending();
    tokio::spawn(serve(listener, Transport::Plain, router, ConnectionLimits::default(), metrics, never));
    let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let (mut sender, connection) = http1::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get("/readyz").header("host", "localhost").body(Full::<Bytes>::default()).unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(text(response).await, "ok\n");
}
