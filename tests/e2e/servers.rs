//! Servers inside the test: HTTPS for simulated services, and the proxy that acts as a Service.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::serve::Listener;
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::AsyncWriteExt as _;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::pki::Pair;

pub fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

/// A server that runs until it is dropped, on a free port of loopback.
pub struct Https {
    pub address: SocketAddr,
    _runtime: Runtime,
}

impl Https {
    #[track_caller]
    pub fn start(pair: &Pair, router: Router) -> Self {
        let provider = cpufit::crypto::provider();
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("TLS versions")
            .with_no_client_auth();
        let certificate = CertificateDer::from_pem_slice(pair.certificate.as_bytes()).expect("a certificate");
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("a key");
        let mut config = config.with_single_cert(vec![certificate], key).expect("a pair");
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];

        let runtime = runtime();
        let tcp = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).expect("a free port");
        let address = tcp.local_addr().expect("its address");
        let listener = Tls { tcp, acceptor: TlsAcceptor::from(Arc::new(config)) };
        runtime.spawn(async { axum::serve(listener, router).await });
        Self { address, _runtime: runtime }
    }
}

struct Tls {
    tcp: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let Ok((stream, peer)) = self.tcp.accept().await else { continue };
            // A client that does not trust the certificate disconnects here.
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, peer);
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

/// A simulation of kube-proxy for one port of a Service: each new connection goes to one of the backends, in turn.
/// Existing connections stay until one end closes them. Without backends, connections are closed at once.
pub struct Proxy {
    behind: Arc<Mutex<Vec<SocketAddr>>>,
    _runtime: Runtime,
}

impl Proxy {
    #[track_caller]
    pub fn start(address: Ipv4Addr, port: u16) -> Self {
        let runtime = runtime();
        let listener = runtime.block_on(TcpListener::bind((IpAddr::V4(address), port))).unwrap_or_else(|error| {
            panic!(
                "this user cannot listen on {address}:{port}, the Service of the manifests: {error}. Run the test as \
                 root, or allow every user: sysctl net.ipv4.ip_unprivileged_port_start={port}"
            )
        });
        let behind = Arc::new(Mutex::new(Vec::new()));
        runtime.spawn(forward(listener, Arc::clone(&behind)));
        Self { behind, _runtime: runtime }
    }

    /// Adds a backend to the Service while the returned value lives.
    pub fn put(&self, address: SocketAddr) -> Behind {
        self.behind.lock().expect("no panic").push(address);
        Behind { address, all: Arc::clone(&self.behind) }
    }
}

async fn forward(listener: TcpListener, behind: Arc<Mutex<Vec<SocketAddr>>>) {
    let mut turn = 0;
    loop {
        let Ok((client, _)) = listener.accept().await else { continue };
        let mut these = behind.lock().expect("no panic").clone();
        turn += 1;
        if !these.is_empty() {
            let first = turn % these.len();
            these.rotate_left(first);
        }
        tokio::spawn(async move {
            for address in these {
                // The next backend, if this one does not listen any more.
                if let Ok(server) = TcpStream::connect(address).await {
                    client.set_nodelay(true).ok();
                    server.set_nodelay(true).ok();
                    let ((from_client, to_client), (from_server, to_server)) =
                        (client.into_split(), server.into_split());
                    tokio::spawn(one_way(from_client, to_server));
                    return one_way(from_server, to_client).await;
                }
            }
        });
    }
}

/// Copies one direction to its end, regardless of the other: the last bytes of a server arrive.
async fn one_way(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
    tokio::io::copy(&mut from, &mut to).await.ok();
    to.shutdown().await.ok();
}

/// A backend of a Service.
pub struct Behind {
    address: SocketAddr,
    all: Arc<Mutex<Vec<SocketAddr>>>,
}

impl Drop for Behind {
    fn drop(&mut self) {
        self.all.lock().expect("no panic").retain(|address| *address != self.address);
    }
}
