//! A TLS client of the running server, and the server's addresses.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

/// The HTTP version of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Http {
    One,
    Two,
}

/// Returns a TLS client that trusts this authority, restricted to these versions if any are given.
pub fn client_config(ca: &Path, http: Http, versions: &[&'static SupportedProtocolVersion]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca).expect("ca.pem of cpufit certs") {
        roots.add(certificate.expect("a certificate in PEM")).expect("a usable CA");
    }
    let versions = if versions.is_empty() { rustls::ALL_VERSIONS } else { versions };
    let mut config = ClientConfig::builder_with_provider(cpufit::crypto::provider())
        .with_protocol_versions(versions)
        .expect("TLS versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![if http == Http::Two { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
    Arc::new(config)
}

/// Parses the addresses in `listening on https://127.0.0.1:PORT, admin http://127.0.0.1:PORT`.
pub fn ports(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    let (https, admin) = line.strip_prefix("listening on https://")?.split_once(", admin http://")?;
    Some((https.trim().parse().ok()?, admin.trim().parse().ok()?))
}
