//! TLS: the certificate with its key as a pair, and the server's settings.

mod clients;
mod files;
mod x509;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rustls::client::verify_server_name;
use rustls::server::{ClientHello, NoServerSessionStorage, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{InconsistentKeys, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem};
use thiserror::Error;
use tokio::sync::watch;

pub use self::clients::Clients;
pub use self::files::{CertificateFiles, Certificates, Look, Reload, watch};
use self::x509::CertificateFacts;
pub(crate) use self::x509::not_after;
use crate::crypto::provider;
use crate::telemetry::{Metrics, ReloadResult};

/// A reason why a certificate and key cannot be served. Each names the file and the fix.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}; it must be a PEM file this process may read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The error.
        source: io::Error,
    },
    /// A file is not PEM.
    #[error("{origin} is not valid PEM; it is half-written or was stored in another format")]
    Pem {
        /// The file.
        origin: String,
        /// The error.
        source: pem::Error,
    },
    /// A file holds no certificate.
    #[error("{origin} holds no CERTIFICATE block; give the PEM chain, the server's own certificate first")]
    NoCertificate {
        /// The file.
        origin: String,
    },
    /// A file holds no key.
    #[error(
        "{origin} holds no unencrypted PRIVATE KEY block; give the key of the certificate, as PKCS#8, PKCS#1 or SEC1"
    )]
    NoKey {
        /// The file.
        origin: String,
    },
    /// Certificate and key are not a pair.
    #[error("the key in {key} is not that of the certificate in {chain}; give both files of one issue")]
    Mismatch {
        /// The certificate's file.
        chain: String,
        /// The key's file.
        key: String,
    },
    /// The certificate is of an unsupported kind.
    #[error(
        "the certificate in {chain} {fault}; use an X.509 v3 certificate with an ECDSA key on P-256 or P-384, an Ed25519 key, or an RSA key of 2048 to 4096 bits"
    )]
    Unserved {
        /// The certificate's file.
        chain: String,
        /// The certificate's fault.
        fault: String,
    },
    /// The pair cannot be served for another reason.
    #[error(
        "the pair {chain} and {key} cannot serve; use an X.509 v3 certificate with an ECDSA key on P-256 or P-384, an Ed25519 key, or an RSA key of 2048 to 4096 bits"
    )]
    Unusable {
        /// The certificate's file.
        chain: String,
        /// The key's file.
        key: String,
        /// The error.
        source: rustls::Error,
    },
    /// The file of the client authority holds no certificate.
    #[error("{origin} holds no CERTIFICATE block; give the certificate of the authority that signs the clients', PEM")]
    NoClientAuthority {
        /// The file.
        origin: String,
    },
    /// A certificate of the client authority cannot sign.
    #[error("{origin} holds a certificate that cannot be an authority's; give an X.509 v3 certificate")]
    ClientAuthority {
        /// The file.
        origin: String,
        /// The error.
        source: rustls::Error,
    },
    /// The TLS library refused the settings.
    #[error("TLS cannot be set up")]
    Setup(#[source] rustls::Error),
}

/// A certificate chain and its key.
#[derive(Clone, Debug)]
pub struct CertifiedKeyPair {
    certified: Arc<CertifiedKey>,
    not_before: Option<i64>,
    not_after: Option<i64>,
}

impl CertifiedKeyPair {
    /// Reads a PEM chain and key and checks that they match; `chain_origin` and `key_origin` name them in errors.
    ///
    /// # Errors
    /// They are not PEM, do not match, or are of an unsupported kind.
    pub fn from_pem((chain_origin, chain): (&str, &[u8]), (key_origin, key): (&str, &[u8])) -> Result<Self, TlsError> {
        let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<_, _>>()
            .map_err(|source| TlsError::Pem { origin: chain_origin.to_owned(), source })?;
        let Some(leaf) = certificates.first() else {
            return Err(TlsError::NoCertificate { origin: chain_origin.to_owned() });
        };
        let facts = CertificateFacts::of(leaf);
        if let Some(fault) = facts.as_ref().and_then(CertificateFacts::fault) {
            return Err(TlsError::Unserved { chain: chain_origin.to_owned(), fault });
        }
        let (not_before, not_after) = facts.map_or((None, None), |facts| (facts.not_before, facts.not_after));
        // The encryption of a PKCS#1 or SEC1 key is stated in headers, which are no base64.
        let is_encrypted = key.windows(9).any(|text| text == b"ENCRYPTED");
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|source| match source {
            _ if is_encrypted => TlsError::NoKey { origin: key_origin.to_owned() },
            pem::Error::NoItemsFound => TlsError::NoKey { origin: key_origin.to_owned() },
            source => TlsError::Pem { origin: key_origin.to_owned(), source },
        })?;
        let certified = CertifiedKey::from_der(certificates, key, &provider()).map_err(|source| match source {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                TlsError::Mismatch { chain: chain_origin.to_owned(), key: key_origin.to_owned() }
            }
            source => TlsError::Unusable { chain: chain_origin.to_owned(), key: key_origin.to_owned(), source },
        })?;
        Ok(Self { certified: Arc::new(certified), not_before, not_after })
    }

    /// Returns the expiry of the certificate, in seconds since 1970; `None` if it cannot be parsed.
    #[must_use]
    pub fn not_after(&self) -> Option<i64> {
        self.not_after
    }
}

/// A reason why clients refuse a usable certificate.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Objection {
    /// `notBefore` is in the future.
    #[error("the certificate is not valid yet; API servers refuse it until then, unless this clock is wrong")]
    NotYetValid,
    /// `notAfter` is in the past.
    #[error("the certificate has expired; API servers refuse it until it is renewed")]
    Expired,
    /// The certificate lacks the name that API servers connect to.
    #[error("the certificate is not valid for {0}, the name that API servers verify: they refuse it")]
    Name(String),
}

impl CertifiedKeyPair {
    /// Returns why clients that connect to this name refuse the certificate at an instant, in seconds since 1970.
    pub(crate) fn objections(&self, now: i64, name: Option<&ServerName<'_>>) -> Vec<Objection> {
        let mut out = Vec::new();
        if self.not_before.is_some_and(|begin| begin > now) {
            out.push(Objection::NotYetValid);
        }
        if self.not_after.is_some_and(|end| end < now) {
            out.push(Objection::Expired);
        }
        let has = |name: &ServerName<'_>| {
            let leaf = self.certified.cert.first().and_then(|leaf| ParsedCertificate::try_from(leaf).ok());
            leaf.is_some_and(|leaf| verify_server_name(&leaf, name).is_ok())
        };
        out.extend(name.filter(|name| !has(name)).map(|name| Objection::Name(name.to_str().into_owned())));
        out
    }
}

/// A resolver that answers each handshake with the current pair.
pub struct Resolver {
    current: ArcSwapOption<CertifiedKey>,
    serves: watch::Sender<bool>,
    metrics: Arc<Metrics>,
}

impl Resolver {
    /// Creates a resolver that serves `pair` until it is replaced.
    #[must_use]
    pub fn new(pair: &CertifiedKeyPair, metrics: Arc<Metrics>) -> Arc<Self> {
        let resolver = Self::waiting(metrics);
        resolver.serve(pair);
        resolver
    }

    /// Creates a resolver without a pair: handshakes fail until it gets one.
    #[must_use]
    pub fn waiting(metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self { current: ArcSwapOption::empty(), serves: watch::Sender::new(false), metrics })
    }

    /// Waits until there is a pair.
    pub(crate) async fn has_pair(&self) {
        // An error would mean that the resolver is gone, but it is borrowed here.
        let _ = self.serves.subscribe().wait_for(|serves| *serves).await;
    }

    fn serve(&self, pair: &CertifiedKeyPair) {
        self.current.store(Some(Arc::clone(&pair.certified)));
        self.metrics.certificate_expiry(pair.not_after);
        self.serves.send_replace(true);
    }

    /// Serves `pair` in all handshakes from now on; existing connections are not affected.
    pub fn replace(&self, pair: &CertifiedKeyPair) {
        self.serve(pair);
        self.metrics.certificate_reload(ReloadResult::Replaced);
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.current.load_full()
    }
}

/// Returns the settings for TLS 1.3 and 1.2, HTTP/2 and HTTP/1.1, with the certificate of `resolver`, restricted to
/// `clients` if given.
///
/// Sessions are not resumed: API servers keep connections open instead, and each handshake uses the newest
/// certificates.
///
/// # Errors
/// The TLS library refuses the settings, which does not happen.
pub fn server_config(resolver: Arc<Resolver>, clients: Option<Arc<Clients>>) -> Result<Arc<ServerConfig>, TlsError> {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(TlsError::Setup)?;
    let builder = match clients {
        Some(clients) => builder.with_client_cert_verifier(clients),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(resolver);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}
