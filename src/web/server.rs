//! A port: its connections are bounded in number and time, and drained at the end.

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

use super::connection::{PortState, Protocols, connection};
use super::limits::LEAVING;
use super::log_limit::LogLimit;
use super::places::{Bounds, Places};
use crate::telemetry::Metrics;

pub use super::limits::ConnectionLimits;

/// Interval of checks for connections that were idle for long enough to lose their places.
const IDLE_CHECK_INTERVAL: Duration = Duration::from_millis(5);

/// The protocol below HTTP.
#[derive(Clone, Debug)]
pub enum Transport {
    /// Plain TCP with HTTP/1.1, for the admin port.
    Plain,
    /// TLS; the client chooses HTTP/2 or HTTP/1.1.
    Tls(Arc<ServerConfig>),
}

/// The result of draining a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum ServeEnd {
    /// Every connection finished.
    Completely,
    /// Number of connections cut at the end of the drain time.
    Cut(usize),
}

impl fmt::Display for ServeEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Completely => f.write_str("all connections finished"),
            Self::Cut(open) => write!(f, "{open} connections were cut"),
        }
    }
}

/// Number of connections that the kernel queues until they are accepted. Beyond it, clients retry after a second, too
/// late for a probe.
const BACKLOG: u32 = 1024;

/// Listens on an address.
///
/// # Errors
/// The address is in use, does not belong to this machine, or may not be used.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // After a restart, connections of the previous server may linger in the kernel.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves `router` on `listener` until `shutdown` completes, then lets the requests in flight finish.
///
/// For [`ConnectionLimits::linger`], serving continues, but HTTP/1.1 connections close after their answer. Then no
/// connection is accepted, HTTP/2 clients get GOAWAY, and silent connections are closed. Requests that are not finished
/// within [`ConnectionLimits::drain`] are cut. Errors of a connection end only that connection; after errors of the
/// listener, accepting is retried.
pub async fn serve(
    listener: TcpListener,
    transport: Transport,
    router: Router,
    limits: ConnectionLimits,
    metrics: Arc<Metrics>,
    shutdown: impl Future<Output = ()>,
) -> ServeEnd {
    let acceptor = match transport {
        Transport::Plain => None,
        Transport::Tls(config) => Some(TlsAcceptor::from(config)),
    };
    let ConnectionLimits { connections: total, per_peer, waiting, patience, .. } = limits;
    let places = Places::new(Bounds { total, per_peer, waiting, patience });
    let shared = Arc::new(PortState {
        acceptor,
        protocols: Protocols::new(&limits),
        router,
        limits,
        places: Arc::clone(&places),
        metrics,
        last_answers: AtomicBool::new(false),
        stop: watch::Sender::new(false),
        refused: LogLimit::new(10, Duration::from_secs(60)),
        leaving: Semaphore::new(LEAVING),
    });
    let full = LogLimit::new(1, Duration::from_secs(60));
    let mut connections = JoinSet::new();
    let mut backoff = Backoff::default();
    let mut look = interval(IDLE_CHECK_INTERVAL);
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
            // Removes the connections that ended.
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
                // File descriptors may be exhausted: close one connection.
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
            warn!(%peer, connections = total, per_peer, more, "connection limit reached: closing idle connections");
        }
        connections.spawn(connection(stream, places.enter(peer.ip()), Arc::clone(&shared)));
        // Lets the accepted connections run before more are accepted.
        yield_now().await;
    }
    drop(listener);
    shared.stop.send_replace(true);
    let all = async { while connections.join_next().await.is_some() {} };
    let drained = if timeout(limits.drain, all).await.is_ok() {
        ServeEnd::Completely
    } else {
        while connections.try_join_next().is_some() {}
        ServeEnd::Cut(connections.len())
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
