//! API servers with certificates that a client refuses: the error says in plain words what is wrong with them.

use std::io::Write as _;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use time::{Duration, OffsetDateTime};

use crate::common::{Scratch, cpufit};

/// Changes the parameters of a server's certificate.
type Change = fn(&mut CertificateParams);

fn params() -> CertificateParams {
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params
}

fn authority(name: &str) -> (Issuer<'static, KeyPair>, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let pem = params.self_signed(&key).unwrap().pem();
    (Issuer::new(params, key), pem)
}

/// Starts a server with this certificate, which answers nothing, and returns its port.
fn serve(certificate: &str, key: &KeyPair) -> u16 {
    let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(cpufit::crypto::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut stream = StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), stream);
            // The handshake fails: the client refuses the certificate.
            let _ = stream.write_all(b"-");
        }
    });
    port
}

/// Returns the error of a command that calls this port.
#[track_caller]
fn error(port: u16, ca: &Path, more: &[&str]) -> String {
    let server = format!("https://localhost:{port}");
    let args = ["audit", "--server", &server, "--certificate-authority", ca.to_str().unwrap()];
    let ran = cpufit(args).args(more).env("HOME", "/nowhere").run();
    assert_eq!(ran.code(), 2, "{}", ran.stdout);
    ran.stderr
}

#[test]
fn a_refused_certificate_is_described_in_plain_words() {
    let made = Scratch::new();
    let (issuer, pem) = authority("one");
    let ca = made.write("ca.pem", &pem);
    let other = made.write("other.pem", authority("another").1);
    let now = OffsetDateTime::now_utc;
    let mut faults = Vec::new();
    let rows: [(Change, &[&str], &str); 5] = [
        (
            |of| of.not_after = OffsetDateTime::now_utc() - Duration::days(1),
            &[],
            "the server's certificate expired on 20",
        ),
        (
            |of| of.not_before = OffsetDateTime::now_utc() + Duration::days(1),
            &[],
            "the server's certificate is not valid before 20",
        ),
        (
            |_| {},
            &["--tls-server-name", "api.example"],
            "the server's certificate is of localhost, not of api.example; --tls-server-name says which to expect\n",
        ),
        (
            |of| of.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth],
            &[],
            "the server's certificate is not one for servers",
        ),
        (
            |of| of.is_ca = IsCa::Ca(BasicConstraints::Unconstrained),
            &[],
            "the server's certificate is one of a certificate authority, not of a server",
        ),
    ];
    let key = KeyPair::generate().unwrap();
    for (change, more, expected) in rows {
        let mut params = params();
        change(&mut params);
        if params.not_before > now() {
            params.not_after = params.not_before + Duration::days(1);
        }
        let certificate = params.signed_by(&key, &issuer).unwrap().pem();
        let said = error(serve(&certificate, &key), &ca, more);
        if !said.contains(expected) {
            faults.push(format!("{expected:?}: {said}"));
        }
    }
    let good = params().signed_by(&key, &issuer).unwrap().pem();
    let said = error(serve(&good, &key), &other, &[]);
    if !said.contains("the server's certificate is of an authority that is not trusted") {
        faults.push(format!("another authority: {said}"));
    }
    // Another cluster's authority of the same name.
    let said = error(serve(&good, &key), &made.write("same.pem", authority("one").1), &[]);
    if !said.contains("is of an authority that is not trusted: the trusted one of that name has another key") {
        faults.push(format!("an authority of the same name: {said}"));
    }
    // The server's own certificate, trusted as it is.
    let mut own = params();
    own.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let own = own.self_signed(&key).unwrap().pem();
    let said = error(serve(&own, &key), &made.write("own.pem", &own), &[]);
    if !said.contains("is one of a certificate authority, not of a server") {
        faults.push(format!("an authority as server: {said}"));
    }
    assert!(faults.is_empty(), "an administrator cannot see what is wrong:\n{}", faults.join("\n"));
}

#[test]
fn a_server_without_tls_is_recognised() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let made = Scratch::new();
    let said = error(port, &made.write("ca.pem", authority("one").1), &[]);
    assert!(said.contains("the server does not answer with TLS"), "{said}");
}
