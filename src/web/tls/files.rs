//! Certificates in files, reloaded without a restart when their content changes.
//!
//! The content is compared about once a second instead of using inotify, which does not report all changes reliably: a
//! Secret volume changes by swapping the symlink `..data`, and editors rename files. If a pair is half-written or does
//! not match, the old pair is still served, and the fault is reported once.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls_pki_types::ServerName;
use tracing::{info, warn};

use super::{CertifiedKeyPair, Resolver, TlsError};
use crate::files;
use crate::telemetry::{Metrics, ReloadResult};

/// The paths of the pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain in PEM, with the server's own certificate first.
    pub chain: PathBuf,
    /// The key in PEM.
    pub key: PathBuf,
}

/// The result of a check of the files.
#[derive(Debug)]
pub enum Reload {
    /// The files did not change.
    Unchanged,
    /// The files changed, and the new pair is served.
    Replaced,
    /// The files changed, and the new pair is unusable; the old one is still served.
    Kept(TlsError),
}

/// Files that are checked regularly.
pub trait Look: Send + Sync + 'static {
    /// Checks the files once, and loads their content if it is new and usable.
    fn look(&self) -> Reload;
}

/// Checks files forever.
pub async fn watch(files: Arc<impl Look>, every: Duration) {
    let mut tick = tokio::time::interval(every);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let files = Arc::clone(&files);
        // A hanging volume must not block requests.
        if let Err(error) = tokio::task::spawn_blocking(move || files.look()).await {
            warn!(%error, "cannot read the certificate files");
        }
    }
}

/// Files and the result of the last check, so that a change is reported once.
#[derive(Debug)]
pub(super) struct Watched {
    paths: Vec<PathBuf>,
    seen: Mutex<Seen>,
}

#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Contents(Vec<Vec<u8>>),
    Unreadable { path: PathBuf, kind: io::ErrorKind },
}

impl Watched {
    /// Reads the files for the first time.
    ///
    /// # Errors
    /// A file cannot be read.
    pub(super) fn read(paths: Vec<PathBuf>) -> Result<(Self, Vec<Vec<u8>>), TlsError> {
        let contents = read(&paths).map_err(|(path, source)| TlsError::Read { path, source })?;
        let seen = Mutex::new(Seen::Contents(contents.clone()));
        Ok((Self { paths, seen }, contents))
    }

    /// Returns the files' content; `None` if it did not change since the last check.
    pub(super) fn changed(&self) -> Option<Result<Vec<Vec<u8>>, TlsError>> {
        let (now, contents) = match read(&self.paths) {
            Ok(contents) => (Seen::Contents(contents.clone()), Ok(contents)),
            Err((path, source)) => {
                let now = Seen::Unreadable { path: path.clone(), kind: source.kind() };
                (now, Err(TlsError::Read { path, source }))
            }
        };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen == now {
            return None;
        }
        *seen = now;
        Some(contents)
    }

    /// Returns the path of a file, for messages.
    pub(super) fn name(&self, which: usize) -> String {
        self.paths.get(which).map(|path| path.display().to_string()).unwrap_or_default()
    }
}

fn read(paths: &[PathBuf]) -> Result<Vec<Vec<u8>>, (PathBuf, io::Error)> {
    paths.iter().map(|path| files::read(path).map_err(|fault| (path.clone(), fault.into()))).collect()
}

/// The pair in files, and the resolver that serves it.
#[derive(Debug)]
pub struct Certificates {
    watched: Watched,
    /// The server name that API servers connect to.
    name: Option<ServerName<'static>>,
    resolver: Arc<Resolver>,
    metrics: Arc<Metrics>,
}

impl Certificates {
    /// Reads the pair for the first time. Logs a warning if clients that connect to `name` would refuse the
    /// certificate.
    ///
    /// # Errors
    /// A file cannot be read, or the two are no usable pair.
    pub fn load(
        files: CertificateFiles,
        name: Option<ServerName<'static>>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, TlsError> {
        let (watched, contents) = Watched::read(vec![files.chain, files.key])?;
        let pair = pair(&watched, &contents)?;
        let resolver = Resolver::new(&pair, Arc::clone(&metrics));
        let certificates = Self { watched, name, resolver, metrics };
        certificates.warn_of(&pair);
        Ok(certificates)
    }

    /// Returns the resolver that serves the pair in handshakes.
    #[must_use]
    pub fn resolver(&self) -> Arc<Resolver> {
        Arc::clone(&self.resolver)
    }

    fn warn_of(&self, pair: &CertifiedKeyPair) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        for objection in pair.objections(i64::try_from(now).unwrap_or(i64::MAX), self.name.as_ref()) {
            warn!(file = %self.watched.name(0), "{objection}");
        }
    }
}

impl Look for Certificates {
    fn look(&self) -> Reload {
        let Some(contents) = self.watched.changed() else { return Reload::Unchanged };
        match contents.and_then(|contents| pair(&self.watched, &contents)) {
            Ok(pair) => {
                self.resolver.replace(&pair);
                info!(file = %self.watched.name(0), not_after = pair.not_after, "serving a new certificate");
                self.warn_of(&pair);
                Reload::Replaced
            }
            Err(error) => {
                self.metrics.certificate_reload(ReloadResult::Kept);
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                warn!(%error, cause, "the certificate files changed but cannot be used; the old pair stays in use");
                Reload::Kept(error)
            }
        }
    }
}

fn pair(watched: &Watched, contents: &[Vec<u8>]) -> Result<CertifiedKeyPair, TlsError> {
    let content = |which: usize| contents.get(which).map(Vec::as_slice).unwrap_or_default();
    CertifiedKeyPair::from_pem((&watched.name(0), content(0)), (&watched.name(1), content(1)))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use rcgen::{CertificateParams, KeyPair, date_time_ymd};
    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject as _;
    use tempfile::TempDir;

    use super::super::Objection;
    use super::*;

    /// Returns a self-signed chain and key that expire in a given year.
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
        (Certificates::load(files(directory), None, Arc::clone(&metrics)).unwrap(), metrics)
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
        let text = metrics.render(crate::telemetry::Exposition::Text).unwrap();
        assert!(text.contains(r#"cpufit_certificate_reloads_total{result="replaced"} 1"#), "{text}");
        assert!(text.contains("cpufit_certificate_expiration_timestamp_seconds 2254867200.0"), "{text}");
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

    /// Reading a named pipe would block forever, and so would the process.
    #[test]
    fn a_named_pipe_in_the_place_of_a_file_is_not_waited_for() {
        let directory = TempDir::new().unwrap();
        write(directory.path(), &issue(2040));
        let (certificates, _) = load(directory.path());
        let key = directory.path().join("tls.key");
        fs::remove_file(&key).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&key).status().unwrap().success());
        assert!(matches!(certificates.look(), Reload::Kept(TlsError::Read { .. })));
        assert!(matches!(certificates.look(), Reload::Unchanged), "said once");
    }

    #[test]
    fn an_invalid_pair_leaves_the_old_one_and_is_reported_once() {
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
        let text = metrics.render(crate::telemetry::Exposition::Text).unwrap();
        assert!(text.contains(r#"cpufit_certificate_reloads_total{result="kept"} 3"#), "{text}");
    }

    #[test]
    fn certificates_that_clients_refuse_are_warned_about() {
        let (chain, key) = issue(2040);
        let pair = CertifiedKeyPair::from_pem(("tls.crt", chain.as_bytes()), ("tls.key", key.as_bytes())).unwrap();
        let service = ServerName::try_from("cpufit.cpufit-system.svc").unwrap();
        let localhost = ServerName::try_from("localhost").unwrap();
        let (now, far) = (1_900_000_000, 4_000_000_000);
        assert_eq!(pair.objections(now, None), []);
        assert_eq!(pair.objections(now, Some(&localhost)), []);
        assert_eq!(pair.objections(now, Some(&service)), [Objection::Name("cpufit.cpufit-system.svc".to_owned())]);
        assert_eq!(pair.objections(far, Some(&localhost)), [Objection::Expired]);
        // rcgen's certificates are valid from 1975.
        assert_eq!(pair.objections(100_000_000, None), [Objection::NotYetValid]);
    }

    /// Encrypted keys of older forms state it in headers, which are no base64.
    #[test]
    fn an_encrypted_key_is_said_to_be_encrypted() {
        let (chain, _) = issue(2040);
        for kind in ["EC ", "RSA ", "ENCRYPTED "] {
            let headers = "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\n";
            let headers = if kind == "ENCRYPTED " { "" } else { headers };
            let key = format!("-----BEGIN {kind}PRIVATE KEY-----\n{headers}MIIB\n-----END {kind}PRIVATE KEY-----\n");
            let read = CertifiedKeyPair::from_pem(("tls.crt", chain.as_bytes()), ("tls.key", key.as_bytes()));
            assert!(matches!(read, Err(TlsError::NoKey { .. })), "{kind}: {read:?}");
        }
    }

    #[test]
    fn errors_name_the_file_and_the_fix() {
        let directory = TempDir::new().unwrap();
        let at = |error: TlsError| error.to_string().replace(&directory.path().display().to_string(), "/d");
        let load = || at(Certificates::load(files(directory.path()), None, Arc::default()).unwrap_err());
        let (pair, other) = (issue(2040), issue(2041));
        let mut lines = vec![load()];
        write(directory.path(), &(String::new(), pair.1.clone()));
        lines.push(load());
        write(directory.path(), &(pair.0.clone(), String::new()));
        lines.push(load());
        write(directory.path(), &(pair.0.clone(), other.1));
        lines.push(load());
        write(directory.path(), &("-----BEGIN CERTIFICATE-----\nMIIB".to_owned(), pair.1.clone()));
        lines.push(load());
        write(directory.path(), &("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n".to_owned(), pair.1));
        lines.push(load());
        insta::assert_snapshot!(lines.join("\n"), @r#"
        cannot read /d/tls.crt; it must be a PEM file this process may read
        /d/tls.crt holds no CERTIFICATE block; give the PEM chain, the server's own certificate first
        /d/tls.key holds no unencrypted PRIVATE KEY block; give the key of the certificate, as PKCS#8, PKCS#1 or SEC1
        the key in /d/tls.key is not that of the certificate in /d/tls.crt; give both files of one issue
        /d/tls.crt is not valid PEM; it is half-written or was stored in another format
        the pair /d/tls.crt and /d/tls.key cannot serve; use an X.509 v3 certificate with an ECDSA key on P-256 or P-384, an Ed25519 key, or an RSA key of 2048 to 4096 bits
        "#);
    }
}
