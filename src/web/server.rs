//! A port: connections accepted, bounded in number and time, drained at the end.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinSet, yield_now};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, info, warn};

use super::connection::{Protocols, Shared, connection};
use super::places::{Bounds, Places};
use super::seldom::Seldom;
use crate::descriptors;
use crate::telemetry::Metrics;

/// How often it is looked whether connections became idle for so long that others can have their places.
const LOOK: Duration = Duration::from_millis(5);

/// The protocol below HTTP.
#[derive(Clone, Debug)]
pub enum Transport {
    /// Nothing: HTTP/1.1 over TCP, for the admin port.
    Plain,
    /// TLS; the client chooses HTTP/2 or HTTP/1.1.
    Tls(Arc<ServerConfig>),
}

/// What connections may use up.
///
/// The clients that matter are few: each API server keeps one HTTP/2 connection, and opens another for each
/// [`streams`](Self::streams) reviews that it sends at once. Several of them may have one address, through a proxy such as
/// konnectivity's. All others are let in as long as they cost those nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How many are served at once. For a further one an idle one ends; while all wait for answers, further ones wait.
    pub connections: usize,
    /// How many of one address are served at once. For a further one an idle one of its own ends; while all of them wait for
    /// answers, further ones wait, and hold up those of no other address.
    ///
    /// More than half of all. Over HTTP/2 that carries 38,400 reviews at once. An API server that has to use HTTP/1.1 opens a
    /// connection for each request that it reviews, 200 changes at once where it is not configured otherwise
    /// (`--max-mutating-requests-inflight`).
    pub per_peer: usize,
    /// How many connections wait until others end. Beyond, the newest of the address that has most waiting is closed.
    pub waiting: usize,
    /// How long each step of a connection that was never answered may take before a newcomer can have its place: its
    /// handshake's, its request's head and its body. Longer than they take on a machine that is busy.
    pub patience: Duration,
    /// How long a TLS handshake may take, and how long a connection waits before it.
    pub handshake: Duration,
    /// How long a connection may be without a request, and the head of one over HTTP/1.1 may take.
    ///
    /// Longer than the 90 seconds after which API servers close it themselves: who closes first must not be the server, or a
    /// review is sent into a closing connection.
    pub idle: Duration,
    /// How many requests one HTTP/2 connection carries at once. Go's clients begin with 100, before they know the server's
    /// limit, and open another connection beyond it.
    pub streams: u32,
    /// The largest head of a request over HTTP/2, unpacked, in bytes. That of a review takes some hundred, and some thousand
    /// where the API server was given a token to send with it.
    pub http2_head: u32,
    /// The largest head of a request over HTTP/1.1, and what is read at once, in bytes.
    pub http1_buffer: usize,
    /// Each connection carries one request: for clients that connect for each one anyway.
    pub one_request: bool,
    /// How long, once it is asked to stop, the server goes on answering, each connection's last request: clients that are
    /// about to send one on an open connection would find it closed, and API servers send no review twice.
    pub linger: Duration,
    /// How long requests in flight may take to finish at the end.
    pub drain: Duration,
}

/// The connections that are served on both ports.
const REVIEWS: usize = 640;
const PROBES: usize = 192;
/// The connections whose places others have, and that still answer what was sent to them before.
pub(super) const LEAVING: usize = 64;
const SERVED: usize = REVIEWS + PROBES + LEAVING;

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: REVIEWS,
            per_peer: 384,
            waiting: (descriptors::beyond(SERVED) / 3 * 2).clamp(64, 2048),
            patience: Duration::from_millis(200),
            handshake: Duration::from_secs(10),
            idle: Duration::from_secs(120),
            streams: 100,
            http2_head: 16 << 10,
            http1_buffer: 64 << 10,
            one_request: false,
            linger: Duration::ZERO,
            drain: Duration::from_secs(20),
        }
    }
}

impl Limits {
    /// Those of the admin port: few connections and short ones. The kubelet connects anew for each probe, and Prometheus can.
    #[must_use]
    pub fn admin() -> Self {
        Self {
            // As each is over in moments, more are open only where somebody holds them. So many that five thousand a second are accepted
            // though each has its time.
            connections: PROBES,
            // The node's address is the kubelet's, and that of all pods in the host's network.
            per_peer: 128,
            waiting: (descriptors::beyond(SERVED) / 3).clamp(32, 1024),
            // A probe is sent at once.
            patience: Duration::from_millis(25),
            idle: Duration::from_secs(5),
            http1_buffer: 16 << 10,
            one_request: true,
            drain: Duration::from_secs(1),
            ..Self::default()
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

/// How many connections the kernel keeps until they are accepted. Beyond it a client tries again after a second, too late for a probe.
const BACKLOG: u32 = 1024;

/// Listens on an address.
///
/// # Errors
/// The address is taken, not this machine's, or may not be used.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A port whose last server ended just now has connections that linger in the kernel.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
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
    let Limits { connections: total, per_peer, waiting, patience, .. } = limits;
    let places = Places::new(Bounds { total, per_peer, waiting, patience });
    let shared = Arc::new(Shared {
        acceptor,
        protocols: Protocols::new(&limits),
        router,
        limits,
        places: Arc::clone(&places),
        metrics,
        last_answers: AtomicBool::new(false),
        stop: watch::Sender::new(false),
        refused: Seldom::new(10, Duration::from_secs(60)),
        leaving: Semaphore::new(LEAVING),
    });
    let full = Seldom::new(1, Duration::from_secs(60));
    let mut connections = JoinSet::new();
    let mut backoff = Backoff::default();
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut shutdown = pin!(async {
        shutdown.await;
        shared.last_answers.store(true, Ordering::Relaxed);
        sleep(limits.linger).await;
    });
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut shutdown => break,
            // Only to forget those that ended.
            Some(_) = connections.join_next() => continue,
            _ = look.tick(), if places.are_waited_for() => {
                places.settle();
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) if is_of_one_connection(&error) => {
                debug!(%error, "a connection ended before it was accepted");
                continue;
            }
            Err(error) => {
                let pause = backoff.next();
                warn!(%error, pause_seconds = pause.as_secs_f64(), "cannot accept connections");
                // Descriptors may be short: one is given back.
                places.give_back();
                tokio::select! {
                    () = &mut shutdown => break,
                    () = sleep(pause) => continue,
                }
            }
        };
        backoff = Backoff::default();
        if places.are_taken(peer.ip())
            && let Some(more) = full.line()
        {
            warn!(%peer, connections = total, per_peer, more, "as many connections as allowed are open: idle ones end for others");
        }
        connections.spawn(connection(stream, places.enter(peer.ip()), Arc::clone(&shared)));
        // Those that were accepted have their turn before further ones are.
        yield_now().await;
    }
    drop(listener);
    shared.stop.send_replace(true);
    let all = async { while connections.join_next().await.is_some() {} };
    let drained = if timeout(limits.drain, all).await.is_ok() {
        Drained::Completely
    } else {
        while connections.try_join_next().is_some() {}
        Drained::Cut(connections.len())
    };
    connections.shutdown().await;
    info!(%drained, "stopped serving");
    drained
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
