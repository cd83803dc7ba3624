//! Limits of connections.

use std::time::Duration;

use crate::descriptors;

/// Limits of the connections of a port.
///
/// The relevant clients are few: each API server keeps one HTTP/2 connection, and opens another for each
/// [`streams`](Self::streams) reviews that it sends at once. Several of them may share an address, through a proxy such
/// as konnectivity's. All other clients are accepted as long as they do not affect these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Number of connections served at once. To admit another, an idle one is closed; while all wait for answers, new
    /// ones wait.
    pub connections: usize,
    /// Number of connections of one address served at once. To admit another, an idle one of the same address is
    /// closed; while all of them wait for answers, its new ones wait, and do not delay those of other addresses.
    ///
    /// More than half of all. Over HTTP/2 that carries 38,400 reviews at once. An API server that has to use HTTP/1.1
    /// opens a connection for each request that it reviews, by default 200 changes at once
    /// (`--max-mutating-requests-inflight`).
    pub per_peer: usize,
    /// Number of connections that wait until others end. Beyond it, the newest of the address with most waiting
    /// connections is closed.
    pub waiting: usize,
    /// Time for each step (handshake, request head, body) of a connection that was never answered, before a new
    /// connection may take its place. Longer than the steps take on a busy machine.
    pub patience: Duration,
    /// Maximum time of a TLS handshake, and of the wait for a place before it.
    pub handshake: Duration,
    /// Maximum time of a connection without a request, and for the head of a request over HTTP/1.1.
    ///
    /// Longer than the 90 seconds after which API servers close the connection themselves: if the server closed first,
    /// a review could be sent into a closing connection.
    pub idle: Duration,
    /// Number of concurrent requests on an HTTP/2 connection. Go's clients begin with 100, before they know the
    /// server's limit, and open another connection beyond it.
    pub streams: u32,
    /// Maximum size of a request's head over HTTP/2, decompressed, in bytes. The head of a review takes some hundred
    /// bytes, and some thousand if the API server sends a token.
    pub http2_head: u32,
    /// Maximum size of a request's head over HTTP/1.1, and of a single read, in bytes.
    pub http1_buffer: usize,
    /// Whether each connection carries only one request, for clients that connect for each one anyway.
    pub one_request: bool,
    /// Time after a stop request during which the server still answers each connection's last request: clients about to
    /// send one on an open connection would find it closed, and API servers do not repeat a review.
    pub linger: Duration,
    /// Maximum time for the requests in flight to finish at the end.
    pub drain: Duration,
}

/// Numbers of connections served on the two ports.
const REVIEWS: usize = 640;
const PROBES: usize = 192;
/// Number of connections that lost their places and still answer the requests they received before.
pub(super) const LEAVING: usize = 64;
const SERVED: usize = REVIEWS + PROBES + LEAVING;

impl Default for ConnectionLimits {
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

impl ConnectionLimits {
    /// Returns the limits of the admin port, which has few and short connections. The kubelet connects again for each
    /// probe, and Prometheus may.
    #[must_use]
    pub fn admin() -> Self {
        Self {
            // Each connection ends quickly: a large number is open only if clients hold them. With this limit, five
            // thousand are accepted a second although each gets its `patience`.
            connections: PROBES,
            // The kubelet and all pods in the host's network share the node's address.
            per_peer: 128,
            waiting: (descriptors::beyond(SERVED) / 3).clamp(32, 1024),
            // Probes are sent immediately after the connection opens.
            patience: Duration::from_millis(25),
            idle: Duration::from_secs(5),
            http1_buffer: 16 << 10,
            one_request: true,
            drain: Duration::from_secs(1),
            ..Self::default()
        }
    }
}
