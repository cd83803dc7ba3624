//! A connection: handshake, protocol, and end.

use std::convert::Infallible;
use std::error::Error as StdError;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use http::header::CONNECTION;
use http::{HeaderValue, Request, StatusCode, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tower::ServiceExt as _;
use tracing::{debug, warn};

use super::head;
use super::limits::ConnectionLimits;
use super::log_limit::LogLimit;
use super::places::{Peer, Place, Places, WaitingConnection};
use super::rejection::plain;
use super::woken::WakeTracked;
use crate::page::Page;
use crate::telemetry::{HandshakeFailure, Metrics};

/// Maximum time for a client to close an idle connection after the server asked it to.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Maximum time a connection lives on after another connection got its place; its client may have sent a review before
/// it received the notice.
const GRACE_AFTER_GOAWAY: Duration = Duration::from_secs(1);

/// The state that the connections of a port share.
pub(super) struct PortState {
    pub(super) acceptor: Option<TlsAcceptor>,
    pub(super) protocols: Protocols,
    pub(super) router: Router,
    pub(super) limits: ConnectionLimits,
    pub(super) places: Arc<Places>,
    pub(super) metrics: Arc<Metrics>,
    /// Whether each HTTP/1.1 connection closes after its next answer.
    pub(super) last_answers: AtomicBool,
    /// True once connections must end.
    pub(super) stop: watch::Sender<bool>,
    pub(super) refused: LogLimit,
    /// Permits for connections that live on after others got their places.
    pub(super) leaving: Semaphore,
}

/// Builders of HTTP/1.1 and HTTP/2 connections with the limits of this server.
pub(super) struct Protocols {
    http1: Builder<TokioExecutor>,
    http2: Builder<TokioExecutor>,
}

impl Protocols {
    pub(super) fn new(limits: &ConnectionLimits) -> Self {
        let mut builder = Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(limits.idle).max_buf_size(limits.http1_buffer);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.streams)
            .max_header_list_size(limits.http2_head)
            // A launcher review fits into one frame and needs no window update.
            .max_frame_size(256 << 10)
            .initial_stream_window_size(256 << 10)
            .initial_connection_window_size(1 << 20)
            .keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(Duration::from_secs(20));
        Self { http1: builder.clone().http1_only(), http2: builder.http2_only() }
    }
}

/// Serves a connection, once it has a place, until it ends, is idle for too long, or its place is needed.
pub(super) async fn connection(stream: TcpStream, entry: WaitingConnection, shared: Arc<PortState>) {
    let mut stop = shared.stop.subscribe();
    let place = tokio::select! {
        biased;
        place = entry.place(shared.limits.handshake) => place,
        _ = stop.wait_for(|stop| *stop) => None,
    };
    let Some(place) = place else { return };
    let woken = place.peer().woken();
    WakeTracked::new(converse(stream, place, &shared), woken).await;
}

async fn converse(stream: TcpStream, place: Place, shared: &Arc<PortState>) {
    // Otherwise an answer may wait 40 ms for the client's acknowledgement of the previous one.
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "cannot set TCP_NODELAY");
    }
    let Protocols { http1, http2 } = &shared.protocols;
    match &shared.acceptor {
        None => drive(http1, stream, place, shared).await,
        Some(acceptor) => {
            let stream = tokio::select! {
                biased;
                () = place.needed() => return debug!(peer = %place.peer().address(), "closed a handshake to make room for another connection"),
                stream = handshake(acceptor, stream, place.peer(), shared) => stream,
            };
            let Some(stream) = stream else { return };
            let protocol = if stream.get_ref().1.alpn_protocol() == Some(b"h2") { http2 } else { http1 };
            drive(protocol, stream, place, shared).await;
        }
    }
}

async fn handshake(
    acceptor: &TlsAcceptor,
    stream: TcpStream,
    peer: &Peer,
    shared: &PortState,
) -> Option<TlsStream<TcpStream>> {
    let shake_hands = async {
        // The client must send first; after that, the handshake may wait for the processor.
        stream.readable().await?;
        peer.step();
        acceptor.accept(stream).await
    };
    let failure = match timeout(shared.limits.handshake, shake_hands).await {
        Ok(Ok(stream)) => {
            peer.step();
            return Some(stream);
        }
        Ok(Err(error)) => {
            let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
            if let Some(rustls::Error::AlertReceived(alert)) = tls {
                if let Some(more) = shared.refused.line() {
                    warn!(peer = %peer.address(), ?alert, more, "the client refused the TLS handshake; does its caBundle belong to this certificate?");
                }
                HandshakeFailure::Refused
            } else if let Some(rustls::Error::NoCertificatesPresented | rustls::Error::InvalidCertificate(_)) = tls {
                debug!(peer = %peer.address(), %error, "the client has no certificate that --client-ca and --client-name ask for");
                HandshakeFailure::Client
            } else {
                debug!(peer = %peer.address(), %error, "TLS handshake failed");
                HandshakeFailure::Other
            }
        }
        Err(_) => {
            debug!(peer = %peer.address(), "TLS handshake took too long");
            HandshakeFailure::Slow
        }
    };
    shared.metrics.handshake_failure(failure);
    None
}

/// Serves HTTP. Connections are closed gracefully if they are idle for too long, if they were answered with success and
/// their place is needed, and all of them when the server stops: HTTP/2 clients get GOAWAY, and requests they sent
/// before they received it are answered.
async fn drive<S>(protocol: &Builder<TokioExecutor>, stream: S, place: Place, shared: &Arc<PortState>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let peer = place.peer().clone();
    let service = service_fn(|request| answer(request, peer.clone(), Arc::clone(shared)));
    let mut connection = pin!(protocol.serve_connection(TokioIo::new(stream), service));
    let mut stop = shared.stop.subscribe();
    let (within, _leaving) = tokio::select! {
        biased;
        ended = connection.as_mut() => return closed(&peer, ended),
        _ = stop.wait_for(|stop| *stop) => (None, None),
        () = place.needed() => {
            debug!(peer = %peer.address(), "closing a connection to make room for another");
            // A client without a successful answer is most likely no API server. The number of connections that end
            // slowly is bounded.
            let Some(leaving) = shared.leaving.try_acquire().ok().filter(|_| peer.was_of_use()) else { return };
            drop(place);
            (Some(GRACE_AFTER_GOAWAY), Some(leaving))
        }
        () = place.idle_for(shared.limits.idle) => (Some(CLOSE_TIMEOUT), None),
    };
    connection.as_mut().graceful_shutdown();
    let ended = match within {
        None => connection.await,
        Some(within) => {
            let late = || Err(io::Error::from(io::ErrorKind::TimedOut).into());
            timeout(within, connection).await.unwrap_or_else(|_| late())
        }
    };
    closed(&peer, ended);
}

fn closed(peer: &Peer, ended: Result<(), Box<dyn StdError + Send + Sync>>) {
    if let Err(error) = ended {
        debug!(peer = %peer.address(), %error, "connection ended");
    }
}

/// Answers a request through the router.
async fn answer(mut request: Request<Incoming>, peer: Peer, shared: Arc<PortState>) -> Result<Response, Infallible> {
    let mut under_way = peer.request();
    let address = peer.address();
    let is_http1 = request.version() < Version::HTTP_2;
    let fault = head::fault(&request);
    let mut response = if let Some(fault) = fault {
        debug!(peer = %peer.address(), fault, "the request head is malformed");
        plain(StatusCode::BAD_REQUEST, Page::of(fault))
    } else {
        request.extensions_mut().insert(peer);
        shared.router.clone().oneshot(request.map(Body::new)).await?
    };
    if response.status().is_success() {
        under_way.succeeded();
    }
    // HTTP/2 uses GOAWAY for this purpose and forbids the header.
    let is_last = || {
        fault.is_some()
            || shared.limits.one_request
            || shared.last_answers.load(Ordering::Relaxed)
            || shared.places.are_short(address)
    };
    if is_http1 && is_last() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}
