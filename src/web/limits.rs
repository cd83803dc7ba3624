//! What connections may use up.

use std::time::Duration;

use crate::descriptors;

/// What connections may use up.
///
/// The clients that matter are few: each API server keeps one HTTP/2 connection, and opens another for each
/// [`streams`](Self::streams) reviews that it sends at once. Several of them may have one address, through a proxy such as
/// konnectivity's. All others are let in as long as they cost those nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
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
    /// How long each step of a connection that was never answered may take before a new one can have its place: its
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
    /// Those of the admin port: few connections and short ones. The kubelet connects again for each probe, and Prometheus can.
    #[must_use]
    pub fn admin() -> Self {
        Self {
            // Each is over quickly, so more are open only if clients hold them. Enough that five thousand a second are accepted
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
