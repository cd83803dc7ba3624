//! The serving certificate: read as a pair with its key, replaced without a restart when the files' content changes.
//!
//! Content is compared, once a second or so, rather than watched for: a Secret volume changes by swapping the symlink
//! `..data`, editors rename, and inotify sees neither reliably. A pair that is half-written or does not belong together
//! leaves the old one serving and is reported once.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwapOption;
use rustls::crypto::{CryptoProvider, ring};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{InconsistentKeys, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem};
use thiserror::Error;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::telemetry::{Metrics, ReloadResult};

/// Why a certificate and key cannot serve. Each names the file and the cure.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}; it must be a PEM file this process may read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not PEM.
    #[error("{origin} is not valid PEM; it is half-written or was stored in another format")]
    Pem {
        /// The file.
        origin: String,
        /// Why.
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
    /// The pair is of a sort that cannot serve.
    #[error("the pair {chain} and {key} cannot serve; use an X.509 v3 certificate with an ECDSA, Ed25519 or RSA key")]
    Unusable {
        /// The certificate's file.
        chain: String,
        /// The key's file.
        key: String,
        /// Why.
        source: rustls::Error,
    },
    /// The TLS library refused the settings.
    #[error("TLS cannot be set up")]
    Setup(#[source] rustls::Error),
}

/// A certificate chain and the key that belongs to it.
#[derive(Clone, Debug)]
pub struct Pair {
    certified: Arc<CertifiedKey>,
    not_after: Option<i64>,
}

impl Pair {
    /// Reads a PEM chain and key and checks that they belong together; `chain_origin` and `key_origin` name them in errors.
    ///
    /// # Errors
    /// Not PEM, not a pair, or of a sort that cannot serve.
    pub fn from_pem((chain_origin, chain): (&str, &[u8]), (key_origin, key): (&str, &[u8])) -> Result<Self, TlsError> {
        let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<_, _>>()
            .map_err(|source| TlsError::Pem { origin: chain_origin.to_owned(), source })?;
        let Some(leaf) = certificates.first() else {
            return Err(TlsError::NoCertificate { origin: chain_origin.to_owned() });
        };
        let not_after = not_after(leaf);
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|source| match source {
            pem::Error::NoItemsFound => TlsError::NoKey { origin: key_origin.to_owned() },
            source => TlsError::Pem { origin: key_origin.to_owned(), source },
        })?;
        let certified = CertifiedKey::from_der(certificates, key, &provider()).map_err(|source| match source {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                TlsError::Mismatch { chain: chain_origin.to_owned(), key: key_origin.to_owned() }
            }
            source => TlsError::Unusable { chain: chain_origin.to_owned(), key: key_origin.to_owned(), source },
        })?;
        Ok(Self { certified: Arc::new(certified), not_after })
    }

    /// When the certificate expires, in seconds since 1970; `None` if it does not say so legibly.
    #[must_use]
    pub fn not_after(&self) -> Option<i64> {
        self.not_after
    }
}

/// Answers each handshake with the pair of the moment.
pub struct Resolver {
    current: ArcSwapOption<CertifiedKey>,
    serves: watch::Sender<bool>,
    metrics: Arc<Metrics>,
}

impl Resolver {
    /// Serves `pair` until it is replaced.
    #[must_use]
    pub fn new(pair: &Pair, metrics: Arc<Metrics>) -> Arc<Self> {
        let resolver = Self::waiting(metrics);
        resolver.serve(pair);
        resolver
    }

    /// Has no pair yet: handshakes fail until there is one.
    #[must_use]
    pub fn waiting(metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self { current: ArcSwapOption::empty(), serves: watch::Sender::new(false), metrics })
    }

    /// Waits until there is a pair.
    pub async fn has_pair(&self) {
        // An error means that the resolver is gone, which this borrows.
        let _ = self.serves.subscribe().wait_for(|serves| *serves).await;
    }

    fn serve(&self, pair: &Pair) {
        self.current.store(Some(Arc::clone(&pair.certified)));
        self.metrics.certificate_expiry(pair.not_after);
        self.serves.send_replace(true);
    }

    /// Serves `pair` to all handshakes from now on; connections that exist are not touched.
    pub fn replace(&self, pair: &Pair) {
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

/// TLS 1.3 and 1.2, HTTP/2 and HTTP/1.1, with the certificate of `resolver`.
///
/// Sessions are not resumed: API servers keep connections open instead, and each handshake sees the newest certificate.
///
/// # Errors
/// The TLS library refuses the settings; it does not.
pub fn server_config(resolver: Arc<Resolver>) -> Result<Arc<ServerConfig>, TlsError> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(TlsError::Setup)?
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Where the pair lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain, PEM, the server's own certificate first.
    pub chain: PathBuf,
    /// The key, PEM.
    pub key: PathBuf,
}

/// What a look at the files brought.
#[derive(Debug)]
pub enum Reload {
    /// They are as they were.
    Unchanged,
    /// They changed and the new pair serves.
    Replaced,
    /// They changed and the new pair is unusable; the old one serves.
    Kept(TlsError),
}

/// The pair in files, and the resolver that serves it.
#[derive(Debug)]
pub struct Certificates {
    files: CertificateFiles,
    resolver: Arc<Resolver>,
    metrics: Arc<Metrics>,
    /// What the last look saw, so that an unusable pair is reported once.
    seen: Mutex<Seen>,
}

#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Content { chain: Vec<u8>, key: Vec<u8> },
    Unreadable { path: PathBuf, kind: io::ErrorKind },
}

impl Certificates {
    /// Reads the pair for the first time.
    ///
    /// # Errors
    /// A file cannot be read, or the two are no pair that can serve.
    pub fn load(files: CertificateFiles, metrics: Arc<Metrics>) -> Result<Self, TlsError> {
        let (chain, key) = read(&files)?;
        let pair = pair(&files, &chain, &key)?;
        warn_if_expired(&files.chain, &pair);
        let resolver = Resolver::new(&pair, Arc::clone(&metrics));
        Ok(Self { files, resolver, metrics, seen: Mutex::new(Seen::Content { chain, key }) })
    }

    /// What answers handshakes with the pair.
    #[must_use]
    pub fn resolver(&self) -> Arc<Resolver> {
        Arc::clone(&self.resolver)
    }

    /// Looks at the files once and serves what they hold, if that is new and usable.
    pub fn look(&self) -> Reload {
        let (now, outcome) = match read(&self.files) {
            Ok((chain, key)) => {
                let pair = pair(&self.files, &chain, &key);
                (Seen::Content { chain, key }, pair)
            }
            Err(TlsError::Read { path, source }) => {
                (Seen::Unreadable { path: path.clone(), kind: source.kind() }, Err(TlsError::Read { path, source }))
            }
            Err(error) => return Reload::Kept(error),
        };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen == now {
            return Reload::Unchanged;
        }
        *seen = now;
        drop(seen);
        match outcome {
            Ok(pair) => {
                self.resolver.replace(&pair);
                info!(file = %self.files.chain.display(), not_after = pair.not_after, "serving a new certificate");
                warn_if_expired(&self.files.chain, &pair);
                Reload::Replaced
            }
            Err(error) => {
                self.metrics.certificate_reload(ReloadResult::Kept);
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                warn!(%error, cause, "the certificate files changed but cannot serve; the old pair goes on serving");
                Reload::Kept(error)
            }
        }
    }

    /// Looks at the files again and again, for ever.
    pub async fn watch(self: Arc<Self>, every: Duration) {
        let mut tick = tokio::time::interval(every);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let certificates = Arc::clone(&self);
            // A volume that hangs must not hold up requests.
            if let Err(error) = tokio::task::spawn_blocking(move || certificates.look()).await {
                warn!(%error, "could not look at the certificate files");
            }
        }
    }
}

fn read(files: &CertificateFiles) -> Result<(Vec<u8>, Vec<u8>), TlsError> {
    let read = |path: &Path| std::fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source });
    Ok((read(&files.chain)?, read(&files.key)?))
}

fn pair(files: &CertificateFiles, chain: &[u8], key: &[u8]) -> Result<Pair, TlsError> {
    let (chain_origin, key_origin) = (files.chain.display().to_string(), files.key.display().to_string());
    Pair::from_pem((&chain_origin, chain), (&key_origin, key))
}

fn warn_if_expired(chain: &Path, pair: &Pair) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    if pair.not_after.is_some_and(|end| end < i64::try_from(now).unwrap_or(i64::MAX)) {
        warn!(file = %chain.display(), "the certificate has expired; API servers refuse it until it is renewed");
    }
}

/// `notAfter` of an X.509 certificate, in seconds since 1970.
pub(crate) fn not_after(certificate: &[u8]) -> Option<i64> {
    const SEQUENCE: u8 = 0x30;
    const VERSION: u8 = 0xa0;
    let (_, certificate, _) = der(certificate).filter(|(tag, ..)| *tag == SEQUENCE)?;
    let (_, mut fields, _) = der(certificate)?;
    if fields.first() == Some(&VERSION) {
        fields = der(fields)?.2;
    }
    // serialNumber, signature, issuer.
    for _ in 0..3 {
        fields = der(fields)?.2;
    }
    let (_, validity, _) = der(fields)?;
    let (_, _, end) = der(validity)?;
    let (tag, time, _) = der(end)?;
    time_of(tag, time)
}

/// Tag, content and rest of the first DER element.
fn der(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&short, rest) = rest.split_first()?;
    let (length, rest) = if short < 0x80 {
        (usize::from(short), rest)
    } else {
        let (digits, rest) =
            rest.split_at_checked(usize::from(short & 0x7f)).filter(|(digits, _)| digits.len() <= 4)?;
        (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// `UTCTime` and `GeneralizedTime` as certificates write them: `YYMMDDHHMMSSZ`, `YYYYMMDDHHMMSSZ`.
fn time_of(tag: u8, text: &[u8]) -> Option<i64> {
    const UTC_TIME: u8 = 0x17;
    const GENERALIZED_TIME: u8 = 0x18;
    let digits = text.strip_suffix(b"Z")?;
    let two = |at: usize| -> Option<i64> {
        match digits.get(at..at + 2)? {
            [a @ b'0'..=b'9', b @ b'0'..=b'9'] => Some(i64::from(a - b'0') * 10 + i64::from(b - b'0')),
            _ => None,
        }
    };
    let (year, at) = match (tag, digits.len()) {
        (UTC_TIME, 12) => (two(0).map(|year| if year < 50 { 2000 + year } else { 1900 + year })?, 2),
        (GENERALIZED_TIME, 14) => (two(0)? * 100 + two(2)?, 4),
        _ => return None,
    };
    let (month, day) = (two(at)?, two(at + 2)?);
    let seconds = two(at + 4)? * 3600 + two(at + 6)? * 60 + two(at + 8)?;
    // Days since 1970 of the proleptic Gregorian calendar, the year begun in March.
    let shifted = if month > 2 { year } else { year - 1 };
    let era = shifted.div_euclid(400);
    let of_era = shifted.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    Some(days * 86_400 + seconds)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use std::fs;
    use std::os::unix::fs::symlink;

    use rcgen::{CertificateParams, KeyPair, date_time_ymd};
    use tempfile::TempDir;

    use super::*;

    /// A self-signed chain and key that end in a given year.
    fn issue(year: i32) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_after = date_time_ymd(year, 6, 15);
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    fn write(directory: &Path, (chain, key): &(String, String)) {
        fs::write(directory.join("tls.crt"), chain).unwrap();
        fs::write(directory.join("tls.key"), key).unwrap();
    }

    fn files(directory: &Path) -> CertificateFiles {
        CertificateFiles { chain: directory.join("tls.crt"), key: directory.join("tls.key") }
    }

    fn load(directory: &Path) -> (Certificates, Arc<Metrics>) {
        let metrics = Arc::new(Metrics::default());
        (Certificates::load(files(directory), Arc::clone(&metrics)).unwrap(), metrics)
    }

    fn served(certificates: &Certificates) -> Vec<u8> {
        certificates.resolver.current.load_full().unwrap().cert[0].to_vec()
    }

    fn der_of(pem: &str) -> Vec<u8> {
        CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec()
    }

    #[test]
    fn a_changed_pair_is_served() {
        let directory = TempDir::new().unwrap();
        let (old, new) = (issue(2040), issue(2041));
        write(directory.path(), &old);
        let (certificates, metrics) = load(directory.path());
        assert!(matches!(certificates.look(), Reload::Unchanged));
        write(directory.path(), &new);
        assert!(matches!(certificates.look(), Reload::Replaced));
        assert_eq!(served(&certificates), der_of(&new.0));
        assert!(matches!(certificates.look(), Reload::Unchanged));
        let text = metrics.render().unwrap();
        assert!(text.contains(r#"cpufit_certificate_reloads_total{result="replaced"} 1"#), "{text}");
        assert!(text.contains("cpufit_certificate_not_after_seconds 2254867200.0"), "{text}");
    }

    /// The kubelet updates a Secret volume by renaming a new symlink over `..data`.
    #[test]
    fn a_secret_volumes_symlink_swap_is_seen() {
        let volume = TempDir::new().unwrap();
        let (old, new) = (issue(2040), issue(2041));
        for (name, pair) in [("..2026_01", &old), ("..2026_02", &new)] {
            fs::create_dir(volume.path().join(name)).unwrap();
            write(&volume.path().join(name), pair);
        }
        symlink("..2026_01", volume.path().join("..data")).unwrap();
        for name in ["tls.crt", "tls.key"] {
            symlink(Path::new("..data").join(name), volume.path().join(name)).unwrap();
        }
        let (certificates, _) = load(volume.path());
        symlink("..2026_02", volume.path().join("..data_tmp")).unwrap();
        fs::rename(volume.path().join("..data_tmp"), volume.path().join("..data")).unwrap();
        assert!(matches!(certificates.look(), Reload::Replaced), "the webhook would serve an expired certificate");
        assert_eq!(served(&certificates), der_of(&new.0));
    }

    #[test]
    fn a_pair_that_is_none_keeps_the_old_one_and_is_reported_once() {
        let directory = TempDir::new().unwrap();
        let (old, new) = (issue(2040), issue(2041));
        write(directory.path(), &old);
        let (certificates, metrics) = load(directory.path());

        fs::write(directory.path().join("tls.crt"), &new.0).unwrap();
        assert!(matches!(certificates.look(), Reload::Kept(TlsError::Mismatch { .. })));
        assert!(matches!(certificates.look(), Reload::Unchanged), "a warning every second drowns the log");
        assert_eq!(served(&certificates), der_of(&old.0));

        fs::write(directory.path().join("tls.key"), &new.1[..new.1.len() / 2]).unwrap();
        assert!(matches!(certificates.look(), Reload::Kept(_)), "half-written");
        fs::remove_file(directory.path().join("tls.key")).unwrap();
        assert!(matches!(certificates.look(), Reload::Kept(TlsError::Read { .. })));
        assert!(matches!(certificates.look(), Reload::Unchanged));
        assert_eq!(served(&certificates), der_of(&old.0));

        fs::write(directory.path().join("tls.key"), &new.1).unwrap();
        assert!(matches!(certificates.look(), Reload::Replaced), "once whole, it serves");
        assert_eq!(served(&certificates), der_of(&new.0));
        let text = metrics.render().unwrap();
        assert!(text.contains(r#"cpufit_certificate_reloads_total{result="kept"} 3"#), "{text}");
    }

    #[test]
    fn errors_name_the_file_and_the_cure() {
        let directory = TempDir::new().unwrap();
        let at = |error: TlsError| error.to_string().replace(&directory.path().display().to_string(), "/d");
        let load = || at(Certificates::load(files(directory.path()), Arc::default()).unwrap_err());
        let (pair, other) = (issue(2040), issue(2041));
        let mut told = vec![load()];
        write(directory.path(), &(String::new(), pair.1.clone()));
        told.push(load());
        write(directory.path(), &(pair.0.clone(), String::new()));
        told.push(load());
        write(directory.path(), &(pair.0.clone(), other.1));
        told.push(load());
        write(directory.path(), &("-----BEGIN CERTIFICATE-----\nMIIB".to_owned(), pair.1.clone()));
        told.push(load());
        write(directory.path(), &("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n".to_owned(), pair.1));
        told.push(load());
        insta::assert_snapshot!(told.join("\n"), @r#"
        cannot read /d/tls.crt; it must be a PEM file this process may read
        /d/tls.crt holds no CERTIFICATE block; give the PEM chain, the server's own certificate first
        /d/tls.key holds no unencrypted PRIVATE KEY block; give the key of the certificate, as PKCS#8, PKCS#1 or SEC1
        the key in /d/tls.key is not that of the certificate in /d/tls.crt; give both files of one issue
        /d/tls.crt is not valid PEM; it is half-written or was stored in another format
        the pair /d/tls.crt and /d/tls.key cannot serve; use an X.509 v3 certificate with an ECDSA, Ed25519 or RSA key
        "#);
    }

    #[test]
    fn the_end_of_a_certificate_is_read() {
        for (year, seconds) in [(2040, 2_223_331_200), (2049, 2_507_328_000), (2050, 2_538_864_000)] {
            let end = not_after(&der_of(&issue(year).0));
            assert_eq!(end, Some(seconds), "{year}: UTCTime until 2049, GeneralizedTime from 2050");
        }
        assert_eq!(time_of(0x17, b"700101000000Z"), Some(0));
        assert_eq!(time_of(0x18, b"20000229235959Z"), Some(951_868_799));
        for bad in [&b""[..], b"\x30", b"\x30\x84\xff\xff\xff\xff", b"\x30\x03\x30\x01\x00", b"\x04\x00"] {
            assert_eq!(not_after(bad), None, "{bad:?}");
        }
    }
}
