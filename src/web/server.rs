//! Connections: accepted, bounded in number and time, TLS and HTTP spoken on them, drained at the end.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use http::header::CONNECTION;
use http::{HeaderValue, Version};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, info, warn};

use crate::telemetry::{HandshakeFailure, Metrics};

/// What is spoken below HTTP.
#[derive(Clone, Debug)]
pub enum Transport {
    /// Nothing: HTTP/1.1 over TCP, for the admin port.
    Plain,
    /// TLS; the client chooses HTTP/2 or HTTP/1.1.
    Tls(Arc<ServerConfig>),
}

/// What connections may use up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How many are open at once; further ones wait in the kernel's queue.
    pub connections: usize,
    /// How long a TLS handshake may take.
    pub handshake: Duration,
    /// How long an HTTP/1.1 connection may stay silent, and a request's head may take.
    ///
    /// Longer than the 90 seconds after which API servers close it themselves: who closes first must not be the server, or a
    /// review is sent into a closing connection.
    pub idle: Duration,
    /// How many requests one HTTP/2 connection carries at once.
    pub streams: u32,
    /// How long, once it is asked to stop, the server goes on answering, each connection's last request: clients that are
    /// about to send one on an open connection would find it closed, and API servers send no review twice.
    pub linger: Duration,
    /// How long requests in flight may take to finish at the end.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            handshake: Duration::from_secs(10),
            idle: Duration::from_secs(120),
            streams: 256,
            linger: Duration::ZERO,
            drain: Duration::from_secs(20),
        }
    }
}

/// How serving ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Drained {
    /// Every connection finished.
    Completely,
    /// Time was up and this many were cut.
    Cut(usize),
}

impl fmt::Display for Drained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Completely => f.write_str("all connections finished"),
            Self::Cut(open) => write!(f, "{open} connections were cut"),
        }
    }
}

/// HTTP/1.1 and HTTP/2 as they are spoken here.
struct Protocols {
    http1: Builder<TokioExecutor>,
    http2: Builder<TokioExecutor>,
}

impl Protocols {
    fn new(limits: &Limits) -> Self {
        let mut builder = Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(limits.idle);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.streams)
            // A launcher review comes in one frame, without waiting for a window.
            .max_frame_size(256 << 10)
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(4 << 20)
            .keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(Duration::from_secs(20));
        Self { http1: builder.clone().http1_only(), http2: builder.http2_only() }
    }
}

/// What every connection shares.
struct Shared {
    protocols: Protocols,
    acceptor: Option<TlsAcceptor>,
    limits: Limits,
    metrics: Arc<Metrics>,
}

/// Serves `router` on `listener` until `shutdown` completes, then lets the requests in flight finish.
///
/// For [`Limits::linger`] all goes on, but HTTP/1.1 connections close after their answer. From then on no connection is accepted,
/// HTTP/2 clients get GOAWAY, and silent connections are closed. What is not done within [`Limits::drain`] is cut. Errors of one connection are its own; errors of the listener are waited out.
pub async fn serve(
    listener: TcpListener,
    transport: Transport,
    router: Router,
    limits: Limits,
    metrics: Arc<Metrics>,
    shutdown: impl Future<Output = ()>,
) -> Drained {
    let acceptor = match transport {
        Transport::Plain => None,
        Transport::Tls(config) => Some(TlsAcceptor::from(config)),
    };
    let farewell = Arc::new(AtomicBool::new(false));
    let router = router.layer(from_fn_with_state(Arc::clone(&farewell), last_of_its_connection));
    let shared = Arc::new(Shared { protocols: Protocols::new(&limits), acceptor, limits, metrics });
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let mut backoff = Backoff::default();
    let mut shutdown = pin!(async {
        shutdown.await;
        farewell.store(true, Ordering::Relaxed);
        sleep(limits.linger).await;
    });
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut shutdown => break,
            // Only to forget those that ended.
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept(), if connections.len() < limits.connections => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                backoff = Backoff::default();
                let service = TowerToHyperService::new(router.clone());
                connections.spawn(connection(stream, peer, service, Arc::clone(&shared), graceful.watcher()));
                if connections.len() == limits.connections {
                    warn!(connections = limits.connections, "as many connections as allowed are open; others wait");
                }
            }
            Err(error) if is_of_one_connection(&error) => debug!(%error, "a connection ended before it was accepted"),
            Err(error) => {
                let pause = backoff.next();
                warn!(%error, ?pause, "cannot accept connections");
                tokio::select! {
                    () = &mut shutdown => break,
                    () = sleep(pause) => {}
                }
            }
        }
    }
    drop(listener);
    let drained = if timeout(limits.drain, graceful.shutdown()).await.is_ok() {
        Drained::Completely
    } else {
        while connections.try_join_next().is_some() {}
        Drained::Cut(connections.len())
    };
    connections.shutdown().await;
    info!(%drained, "stopped serving");
    drained
}

/// Closes an HTTP/1.1 connection after its answer, once the server is about to stop.
async fn last_of_its_connection(State(farewell): State<Arc<AtomicBool>>, request: Request, next: Next) -> Response {
    // HTTP/2 has GOAWAY for that, and forbids the header.
    let is_http1 = request.version() < Version::HTTP_2;
    let mut response = next.run(request).await;
    if is_http1 && farewell.load(Ordering::Relaxed) {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Pauses between failed accepts, so that exhausted file descriptors do not keep a core busy.
#[derive(Default)]
struct Backoff {
    failures: u32,
}

impl Backoff {
    fn next(&mut self) -> Duration {
        let pause = Duration::from_millis(10 << self.failures.min(7)).min(Duration::from_secs(1));
        self.failures += 1;
        pause
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    service: TowerToHyperService<Router>,
    shared: Arc<Shared>,
    watcher: Watcher,
) {
    // Without it an answer may wait 40 ms for the client's acknowledgement of the one before.
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%peer, %error, "cannot set TCP_NODELAY");
    }
    let Protocols { http1, http2 } = &shared.protocols;
    let served = match &shared.acceptor {
        None => watcher.watch(http1.serve_connection(TokioIo::new(stream), service)).await,
        Some(acceptor) => {
            let Some(stream) = handshake(acceptor, stream, peer, &shared).await else { return };
            let protocol = if stream.get_ref().1.alpn_protocol() == Some(b"h2") { http2 } else { http1 };
            watcher.watch(protocol.serve_connection(TokioIo::new(stream), service)).await
        }
    };
    if let Err(error) = served {
        debug!(%peer, %error, "connection ended");
    }
}

async fn handshake(
    acceptor: &TlsAcceptor,
    stream: TcpStream,
    peer: SocketAddr,
    shared: &Shared,
) -> Option<tokio_rustls::server::TlsStream<TcpStream>> {
    let failure = match timeout(shared.limits.handshake, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => return Some(stream),
        Ok(Err(error)) => {
            let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
            if let Some(rustls::Error::AlertReceived(alert)) = tls {
                warn!(%peer, ?alert, "the client refused the TLS handshake; does its caBundle belong to this certificate?");
                HandshakeFailure::Refused
            } else {
                debug!(%peer, %error, "TLS handshake failed");
                HandshakeFailure::Other
            }
        }
        Err(_) => {
            debug!(%peer, "TLS handshake took too long");
            HandshakeFailure::Slow
        }
    };
    shared.metrics.handshake_failure(failure);
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_accepts_are_paused_for_longer_and_longer() {
        let mut backoff = Backoff::default();
        let pauses: Vec<u128> = std::iter::repeat_with(|| backoff.next().as_millis()).take(9).collect();
        assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
    }
}
