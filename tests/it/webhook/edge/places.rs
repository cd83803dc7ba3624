//! Connections that end if places are short, or if they are idle.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cpufit::page::Page;
use cpufit::telemetry::Metrics;
use cpufit::web::server::{ConnectionLimits, ServeEnd, Transport, serve};
use cpufit::web::{self, Edge, Judge, admin, router};
use futures_util::FutureExt as _;
use http::{Request, StatusCode};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rstest::rstest;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{Held, ready, review};

const PATIENCE: Duration = Duration::from_secs(20);

/// A running port, without TLS, which does not affect places.
struct Port {
    address: SocketAddr,
    held: Arc<Held>,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<ServeEnd>,
}

impl Port {
    async fn open(limits: ConnectionLimits) -> Self {
        let held = Arc::new(Held::default());
        let edge = Edge::new(Arc::clone(&held) as Judge, ready(), Arc::default(), web::Limits::default());
        Self::serve(router(edge), held, limits).await
    }

    async fn serve(router: axum::Router, held: Arc<Held>, limits: ConnectionLimits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let metrics = Arc::new(Metrics::default());
        let shutdown = async { drop(stopped.await) };
        let serving = tokio::spawn(serve(listener, Transport::Plain, router, limits, metrics, shutdown));
        Self { address, held, stop, serving }
    }

    /// Opens a connection that sends nothing; it is accepted before this returns.
    async fn silent(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).await.unwrap();
        settle().await;
        stream
    }

    async fn client(&self) -> Client {
        Client::over(TcpStream::connect(self.address).await.unwrap()).await
    }
}

/// An HTTP/1.1 connection.
struct Client(http1::SendRequest<Full<Bytes>>);

impl Client {
    async fn over(stream: TcpStream) -> Self {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self(sender)
    }

    async fn review(&mut self, name: &str) -> Result<StatusCode, hyper::Error> {
        Ok(self.answer(name).await?.0)
    }

    /// Returns the status, and whether the server announces that the connection ends with this answer.
    async fn answer(&mut self, name: &str) -> Result<(StatusCode, bool), hyper::Error> {
        let request = Request::post("/validate").header("host", "localhost").header("content-type", "application/json");
        let request = request.body(Full::new(Bytes::from(review(name).to_string()))).unwrap();
        self.0.ready().await?;
        let answer = self.0.send_request(request).await?;
        Ok((answer.status(), answer.headers().get("connection").is_some_and(|value| value == "close")))
    }
}

/// Lets the server act on everything that was sent. It runs on this thread: it is polled before the test continues, and
/// so is the readiness of sockets.
async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

/// Waits until connections are idle for long enough to give way.
async fn let_idle() {
    tokio::time::sleep(Duration::from_millis(50)).await;
    settle().await;
}

/// Whether the server ends a connection.
async fn ends(stream: &mut TcpStream) -> bool {
    matches!(timeout(PATIENCE, stream.read(&mut [0; 64])).await, Ok(Ok(0) | Err(_)))
}

/// Whether the server has not ended a connection that is idle for long enough to give way.
async fn is_open(stream: &mut TcpStream) -> bool {
    let_idle().await;
    stream.read(&mut [0; 64]).now_or_never().is_none()
}

fn places(connections: usize) -> ConnectionLimits {
    ConnectionLimits { connections, per_peer: connections, ..ConnectionLimits::default() }
}

#[tokio::test]
async fn the_longest_idle_connection_gives_way() {
    let port = Port::open(places(3)).await;
    let (mut first, mut second) = (port.silent().await, port.silent().await);
    let mut kept = port.client().await;
    assert_eq!(kept.review("db").await.unwrap(), StatusCode::OK);
    assert!(is_open(&mut first).await, "three fit");
    let mut fourth = port.client().await;
    assert_eq!(fourth.review("db").await.unwrap(), StatusCode::OK, "idle connections delay a review");
    assert!(ends(&mut first).await, "the longest idle connection keeps a place that a review needs");
    assert!(is_open(&mut second).await, "one was enough");
    assert_eq!(kept.review("db").await.unwrap(), StatusCode::OK, "a connection that was of use was closed instead");
}

#[tokio::test]
async fn idle_connections_leave_half_of_the_places_to_active_ones() {
    let port = Port::open(places(4)).await;
    let mut kept = port.client().await;
    assert_eq!(kept.review("db").await.unwrap(), StatusCode::OK);
    for _ in 0..20 {
        port.silent().await;
    }
    let_idle().await;
    assert_eq!(kept.review("db").await.unwrap(), StatusCode::OK, "it was the longest idle, but is an API server's");
}

#[tokio::test]
async fn connections_that_sent_reviews_leave_half_of_the_places_to_new_ones() {
    let port = Port::open(places(4)).await;
    let mut of_use = Vec::new();
    for _ in 0..4 {
        let mut client = port.client().await;
        assert_eq!(client.review("db").await.unwrap(), StatusCode::OK);
        of_use.push(client);
    }
    let (mut first, mut second) = (port.silent().await, port.silent().await);
    assert!(is_open(&mut first).await && is_open(&mut second).await, "two who are about to send something");
    assert_eq!(
        of_use[3].review("db").await.unwrap(),
        StatusCode::OK,
        "an API server loses its connection to clients that sent nothing yet"
    );
    of_use[0].review("db").await.unwrap_err();
}

/// The client then sends no further review into the closing connection.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn where_places_are_short_answers_say_that_their_connection_closes() {
    let port = Port::open(ConnectionLimits { connections: 10, per_peer: 3, ..ConnectionLimits::default() }).await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = port.client().await;
        assert_eq!(client.answer("db").await.unwrap(), (StatusCode::OK, false), "there is room");
        clients.push(client);
    }
    let mut elsewhere = Client::over(from(2, port.address).await).await;
    let mut new_client = port.client().await;
    assert_eq!(
        new_client.answer("db").await.unwrap(),
        (StatusCode::OK, true),
        "the client sends its next review into a closing connection"
    );
    new_client.review("db").await.unwrap_err();
    assert_eq!(
        clients[2].answer("db").await.unwrap(),
        (StatusCode::OK, true),
        "the client sends its next review into a closing connection"
    );
    assert_eq!(elsewhere.answer("db").await.unwrap(), (StatusCode::OK, false), "its address has its share");
}

#[rstest]
#[case::a_head("POST /validate HTTP/1.1\r\nhost: a\r\n")]
#[case::a_body("POST /validate HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{")]
#[tokio::test]
async fn a_slow_request_gives_way_when_connections_are_short(#[case] sent: &str) {
    let port = Port::open(places(1)).await;
    let mut slow = port.silent().await;
    slow.write_all(sent.as_bytes()).await.unwrap();
    settle().await;
    assert_eq!(
        port.client().await.review("db").await.unwrap(),
        StatusCode::OK,
        "a client that sends a byte at a time keeps API servers out"
    );
    assert!(ends(&mut slow).await, "it keeps its place without end");
}

#[tokio::test]
async fn a_connection_that_waits_for_its_answer_is_not_closed() {
    let port = Port::open(ConnectionLimits { per_peer: 2, ..places(1) }).await;
    let mut first = port.client().await;
    let first = tokio::spawn(async move { first.review("hold").await });
    timeout(PATIENCE, port.held.begun.notified()).await.unwrap();
    let (sent, mut second) = (Arc::new(Notify::new()), port.client().await);
    let second = {
        let sent = Arc::clone(&sent);
        tokio::spawn(async move {
            sent.notify_one();
            second.review("db").await
        })
    };
    sent.notified().await;
    let_idle().await;
    assert!(!first.is_finished() && !second.is_finished(), "there is one place, and it is in use");
    port.held.release.notify_one();
    assert_eq!(
        timeout(PATIENCE, first).await.unwrap().unwrap().unwrap(),
        StatusCode::OK,
        "its place was given away while it waited for its answer"
    );
    assert_eq!(
        timeout(PATIENCE, second).await.unwrap().unwrap().unwrap(),
        StatusCode::OK,
        "it waited for a place and was turned away"
    );
}

/// Opens a connection from another loopback address.
#[cfg(target_os = "linux")]
async fn from(host: u8, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((IpAddr::V4(Ipv4Addr::new(127, 0, 0, host)), 0).into()).unwrap();
    let stream = socket.connect(to).await.unwrap();
    settle().await;
    stream
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_address_with_most_connections_loses_one() {
    let port = Port::open(places(4)).await;
    let mut of_one = from(2, port.address).await;
    let mut of_many = Vec::new();
    for _ in 0..3 {
        of_many.push(from(3, port.address).await);
    }
    let mut new_client = Client::over(from(4, port.address).await).await;
    assert_eq!(
        new_client.review("db").await.unwrap(),
        StatusCode::OK,
        "an address with many connections keeps others out"
    );
    assert!(is_open(&mut of_one).await, "it is the longest idle, but its address has no more than one");
    assert!(ends(&mut of_many[0]).await, "the address with most connections does not make room");
    assert!(is_open(&mut of_many[1]).await, "one was enough");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn one_address_has_its_share_and_no_more() {
    let port = Port::open(ConnectionLimits { connections: 10, per_peer: 2, ..ConnectionLimits::default() }).await;
    let mut elsewhere = from(2, port.address).await;
    let mut first = port.client().await;
    let first = tokio::spawn(async move { first.review("hold").await });
    timeout(PATIENCE, port.held.begun.notified()).await.unwrap();
    let (mut second, mut third) = (port.silent().await, port.silent().await);
    assert!(ends(&mut second).await, "the idle one of the same address");
    let mut fourth = port.client().await;
    let fourth = tokio::spawn(async move { fourth.review("hold").await });
    timeout(PATIENCE, port.held.begun.notified()).await.unwrap();
    assert!(ends(&mut third).await, "the address has more than its share");
    let mut fifth = port.client().await;
    let fifth = tokio::spawn(async move { fifth.review("db").await });
    assert!(is_open(&mut elsewhere).await, "no other address pays for it");
    assert_eq!(
        Client::over(from(5, port.address).await).await.review("db").await.unwrap(),
        StatusCode::OK,
        "another address waits for this one's reviews"
    );
    let_idle().await;
    assert!(!fifth.is_finished(), "while both wait for their answers a further one waits");
    port.held.release.notify_one();
    port.held.release.notify_one();
    tokio::task::yield_now().await;
    port.held.release.notify_one();
    assert_eq!(
        timeout(PATIENCE, first).await.unwrap().unwrap().unwrap(),
        StatusCode::OK,
        "its place was given away while it waited for its answer"
    );
    assert_eq!(
        timeout(PATIENCE, fourth).await.unwrap().unwrap().unwrap(),
        StatusCode::OK,
        "its place was given away while it waited for its answer"
    );
    assert_eq!(timeout(PATIENCE, fifth).await.unwrap().unwrap().unwrap(), StatusCode::OK, "it was not turned away");
}

/// The number of waiting connections is limited, and the address with most of them loses one.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn waiting_connections_are_bounded_and_the_address_with_most_makes_room() {
    let port = Port::open(ConnectionLimits { waiting: 2, handshake: Duration::from_secs(1), ..places(1) }).await;
    let mut first = port.client().await;
    let first = tokio::spawn(async move { first.review("hold").await });
    timeout(PATIENCE, port.held.begun.notified()).await.unwrap();
    let mut of_many = Vec::new();
    for _ in 0..3 {
        of_many.push(from(3, port.address).await);
    }
    assert!(ends(&mut of_many[2]).await, "two wait");
    assert!(is_open(&mut of_many[1]).await, "fewer wait than may");
    let mut of_one = from(4, port.address).await;
    assert!(ends(&mut of_many[1]).await, "it makes room");
    assert!(is_open(&mut of_one).await, "an address with one connection pays for one with many");
    let ended = timeout(PATIENCE, of_many[0].read(&mut [0; 1])).await.expect("a connection would wait without end");
    assert_eq!(ended.unwrap_or(0), 0);
    port.held.release.notify_one();
    assert_eq!(timeout(PATIENCE, first).await.unwrap().unwrap().unwrap(), StatusCode::OK);
}

#[tokio::test]
async fn a_client_with_many_reviews_outlasts_those_with_one() {
    let port = Port::open(places(4)).await;
    let mut kept = port.client().await;
    for _ in 0..3 {
        assert_eq!(kept.review("db").await.unwrap(), StatusCode::OK);
    }
    for _ in 0..12 {
        assert_eq!(port.client().await.review("db").await.unwrap(), StatusCode::OK);
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    assert_eq!(kept.review("db").await.unwrap(), StatusCode::OK, "it was idle for longest, and is an API server's");
}

#[tokio::test]
async fn an_idle_connection_ends_in_time_and_a_busy_one_does_not() {
    let idle = Duration::from_millis(200);
    let port = Port::open(ConnectionLimits { idle, ..ConnectionLimits::default() }).await;
    let mut silent = port.silent().await;
    let mut busy = port.client().await;
    let busy = tokio::spawn(async move { busy.review("hold").await });
    timeout(PATIENCE, port.held.begun.notified()).await.unwrap();
    let read = timeout(PATIENCE, silent.read(&mut [0; 1])).await.expect("it would hold a place without end");
    assert_eq!(read.unwrap_or(0), 0, "an idle connection was answered, not closed");
    tokio::time::sleep(2 * idle).await;
    port.held.release.notify_one();
    assert_eq!(timeout(PATIENCE, busy).await.unwrap().unwrap().unwrap(), StatusCode::OK, "it waited for us");
}

#[tokio::test]
async fn the_admin_port_carries_one_request_a_connection() {
    let router = admin::router(ready(), Arc::default(), Arc::new(Page::default), Arc::default());
    let port = Port::serve(router, Arc::default(), ConnectionLimits::admin()).await;
    let mut stream = TcpStream::connect(port.address).await.unwrap();
    stream.write_all(b"GET /livez HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await.expect("the server closes").unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("connection: close"), "{answer}");
}

#[tokio::test]
async fn probes_are_answered_despite_many_idle_connections() {
    let router = admin::router(ready(), Arc::default(), Arc::new(Page::default), Arc::default());
    let port = Port::serve(router, Arc::default(), ConnectionLimits::admin()).await;
    let mut silent = Vec::new();
    for _ in 0..4 * ConnectionLimits::admin().connections {
        silent.push(TcpStream::connect(port.address).await.unwrap());
    }
    let mut stream = TcpStream::connect(port.address).await.unwrap();
    stream.write_all(b"GET /livez HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await.expect("an answer").unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    port.stop.send(()).unwrap();
    assert_eq!(timeout(PATIENCE, port.serving).await.unwrap().unwrap(), ServeEnd::Completely, "they hold nothing up");
}

/// Requests that HTTP defines as malformed get a 400, and the connection ends.
#[rstest]
#[case::good("GET /livez HTTP/1.1\r\nhost: a\r\n\r\n", "200 OK")]
#[case::http_1_0("GET /livez HTTP/1.0\r\n\r\n", "200 OK")]
#[case::no_host("GET /livez HTTP/1.1\r\n\r\n", "400 Bad Request")]
#[case::two_hosts("GET /livez HTTP/1.1\r\nhost: a\r\nHost: b\r\n\r\n", "400 Bad Request")]
#[case::length_beside_chunks(
    "POST /livez HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "400 Bad Request"
)]
#[case::chunks_beside_length(
    "POST /livez HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
    "400 Bad Request"
)]
#[case::chunks("POST /livez HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", "400 Bad Request")]
#[case::another_encoding("POST /livez HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip\r\n\r\n", "400 Bad Request")]
#[case::two_lengths(
    "POST /livez HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n{",
    "400 Bad Request"
)]
#[case::a_large_head(&format!("GET /livez HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "x".repeat(20_000)), "431 Request Header Fields Too Large")]
#[tokio::test]
async fn malformed_heads_are_refused(#[case] sent: &str, #[case] status: &str) {
    let router = admin::router(ready(), Arc::default(), Arc::new(Page::default), Arc::default());
    let port = Port::serve(router, Arc::default(), ConnectionLimits::admin()).await;
    let mut stream = TcpStream::connect(port.address).await.unwrap();
    stream.write_all(sent.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await.expect("the server closes").unwrap();
    let (version, rest) = answer.split_once(' ').unwrap();
    assert!(version.starts_with("HTTP/1.") && rest.starts_with(&format!("{status}\r\n")), "{answer}");
}
