//! Client certificates: the clients that are answered.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::client::verify_server_name;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tracing::{info, warn};

use super::files::{Look, Reload, Watched};
use super::x509::CertificateFacts;
use super::{TlsError, provider};
use crate::telemetry::{Metrics, ReloadResult};

/// The accepted clients: those with a certificate that an authority in a file signed, and with certain names.
pub struct Clients {
    watched: Watched,
    names: Vec<String>,
    current: ArcSwap<Verifier>,
    metrics: Arc<Metrics>,
}

/// The check against the current authority.
struct Verifier(Arc<dyn ClientCertVerifier>);

impl Clients {
    /// Reads the authority's certificates in PEM. `names` are common names or DNS names; a client's certificate must
    /// have at least one of them. Empty `names` accept any certificate that the authority signed.
    ///
    /// # Errors
    /// The file cannot be read, or holds no certificate that can be an authority's.
    pub fn load(file: PathBuf, names: Vec<String>, metrics: Arc<Metrics>) -> Result<Arc<Self>, TlsError> {
        let (watched, contents) = Watched::read(vec![file])?;
        let current = ArcSwap::from_pointee(verifier(&watched, &contents)?);
        Ok(Arc::new(Self { watched, names, current, metrics }))
    }

    fn has_name(&self, certificate: &CertificateDer<'_>) -> bool {
        if self.names.is_empty() {
            return true;
        }
        let common_name = CertificateFacts::of(certificate).and_then(|facts| facts.common_name);
        let parsed = ParsedCertificate::try_from(certificate).ok();
        self.names.iter().any(|name| {
            common_name.as_ref() == Some(name)
                || ServerName::try_from(name.as_str())
                    .is_ok_and(|name| parsed.as_ref().is_some_and(|parsed| verify_server_name(parsed, &name).is_ok()))
        })
    }
}

impl Look for Clients {
    fn look(&self) -> Reload {
        let Some(contents) = self.watched.changed() else { return Reload::Unchanged };
        let file = self.watched.name(0);
        match contents.and_then(|contents| verifier(&self.watched, &contents)) {
            Ok(verifier) => {
                self.current.store(Arc::new(verifier));
                self.metrics.certificate_reload(ReloadResult::Replaced);
                info!(%file, "clients are checked against the new authority; connections that exist stay");
                Reload::Replaced
            }
            Err(error) => {
                self.metrics.certificate_reload(ReloadResult::Kept);
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                warn!(%error, cause, "the client authority changed but cannot be used; the old one stays in use");
                Reload::Kept(error)
            }
        }
    }
}

fn verifier(watched: &Watched, contents: &[Vec<u8>]) -> Result<Verifier, TlsError> {
    let origin = || watched.name(0);
    let pem = contents.first().map(Vec::as_slice).unwrap_or_default();
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|source| TlsError::Pem { origin: origin(), source })?;
        roots.add(certificate).map_err(|source| TlsError::ClientAuthority { origin: origin(), source })?;
    }
    if roots.is_empty() {
        return Err(TlsError::NoClientAuthority { origin: origin() });
    }
    let built = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()).build();
    // Only certificate revocation lists can fail here, and none are configured.
    built.map(Verifier).map_err(|error| TlsError::Setup(Error::General(error.to_string())))
}

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clients").field("names", &self.names).finish_non_exhaustive()
    }
}

impl ClientCertVerifier for Clients {
    /// Returns no hints: the trusted authority may change, and clients have only one certificate for this server.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.current.load().0.verify_client_cert(end_entity, intermediates, now)?;
        if self.has_name(end_entity) {
            Ok(verified)
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.current.load().0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.current.load().0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.current.load().0.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::SystemTime;

    use rcgen::{
        BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
        SanType, date_time_ymd,
    };
    use rstest::rstest;
    use tempfile::TempDir;

    use super::*;

    struct Authority(Issuer<'static, KeyPair>, String);

    fn authority() -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "clients");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let certificate = params.self_signed(&key).unwrap().pem();
        Authority(Issuer::new(params, key), certificate)
    }

    /// Returns a client's certificate with these changed parameters.
    fn client(authority: &Authority, change: impl FnOnce(&mut CertificateParams)) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let signed = params.signed_by(&KeyPair::generate().unwrap(), &authority.0).unwrap();
        signed.der().clone().into_owned()
    }

    fn named(name: &str) -> impl FnOnce(&mut CertificateParams) {
        let name = name.to_owned();
        move |params| params.distinguished_name.push(DnType::CommonName, name)
    }

    fn load(directory: &TempDir, authority: &Authority, names: &[&str]) -> Arc<Clients> {
        let file = directory.path().join("ca.crt");
        fs::write(&file, &authority.1).unwrap();
        Clients::load(file, names.iter().map(|name| (*name).to_owned()).collect(), Arc::default()).unwrap()
    }

    fn is_answered(clients: &Clients, certificate: &CertificateDer<'_>) -> bool {
        let now = UnixTime::since_unix_epoch(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap());
        clients.verify_client_cert(certificate, &[], now).is_ok()
    }

    #[rstest]
    #[case::any_name(&[], named("any-client"), true)]
    #[case::its_common_name(&["a", "kube-apiserver"], named("kube-apiserver"), true)]
    #[case::another_name(&["kube-apiserver"], named("kubelet"), false)]
    #[case::a_part_of_the_name(&["kube-apiserver"], named("kube-apiserver-2"), false)]
    #[case::no_name(&["kube-apiserver"], |_: &mut CertificateParams| {}, false)]
    #[case::its_dns_name(&["api.example"], |params: &mut CertificateParams| {
        params.subject_alt_names = vec![SanType::DnsName("api.example".try_into().unwrap())];
    }, true)]
    #[case::another_dns_name(&["api.example"], |params: &mut CertificateParams| {
        params.subject_alt_names = vec![SanType::DnsName("b.example".try_into().unwrap())];
    }, false)]
    #[case::two_names(&["kube-apiserver"], |params: &mut CertificateParams| {
        params.distinguished_name.push(DnType::CustomDnType(vec![2, 5, 4, 3]), "kube-apiserver");
        params.distinguished_name.push(DnType::CommonName, "kubelet");
    }, false)]
    #[case::of_a_server(&[], |params: &mut CertificateParams| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    }, false)]
    #[case::expired(&[], |params: &mut CertificateParams| params.not_after = date_time_ymd(2020, 1, 1), false)]
    fn only_clients_with_a_valid_certificate_are_answered(
        #[case] names: &[&str],
        #[case] change: impl FnOnce(&mut CertificateParams),
        #[case] expected: bool,
    ) {
        let (directory, own, other) = (TempDir::new().unwrap(), authority(), authority());
        let clients = load(&directory, &own, names);
        assert!(
            clients.offer_client_auth() && clients.client_auth_mandatory(),
            "one without a certificate is answered"
        );
        let certificate = client(&own, change);
        assert_eq!(is_answered(&clients, &certificate), expected);
        // The name is equal, and the authority is another one.
        assert!(!is_answered(&clients, &client(&other, named("kube-apiserver"))));
    }

    #[test]
    fn a_changed_client_authority_is_loaded_and_an_invalid_one_ignored() {
        let (directory, old, new) = (TempDir::new().unwrap(), authority(), authority());
        let clients = load(&directory, &old, &[]);
        let file = directory.path().join("ca.crt");
        let certificates = [&old, &new].map(|authority| client(authority, named("kube-apiserver")));
        let answered = |clients: &Clients| certificates.each_ref().map(|one| is_answered(clients, one));
        assert!(matches!(clients.look(), Reload::Unchanged));
        assert_eq!(answered(&clients), [true, false]);
        for rubbish in ["", "rubbish", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"] {
            fs::write(&file, rubbish).unwrap();
            assert!(matches!(clients.look(), Reload::Kept(_)), "{rubbish:?}");
            assert!(matches!(clients.look(), Reload::Unchanged), "a warning every second drowns the log");
            assert_eq!(answered(&clients), [true, false], "{rubbish:?}");
        }
        fs::write(&file, format!("{}{}", old.1, new.1)).unwrap();
        assert!(matches!(clients.look(), Reload::Replaced));
        assert_eq!(answered(&clients), [true, true], "while authorities are changed both are trusted");
        fs::write(&file, &new.1).unwrap();
        assert!(matches!(clients.look(), Reload::Replaced));
        assert_eq!(answered(&clients), [false, true]);
    }

    #[test]
    fn errors_name_the_file_and_the_fix() {
        let directory = TempDir::new().unwrap();
        let file = directory.path().join("ca.crt");
        let error_of = |content: &str| {
            fs::write(&file, content).unwrap();
            let error = Clients::load(file.clone(), Vec::new(), Arc::default()).unwrap_err().to_string();
            error.replace(&directory.path().display().to_string(), "/d")
        };
        insta::assert_snapshot!(
            [error_of(""), error_of("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n")].join("\n"),
            @r"
        /d/ca.crt holds no CERTIFICATE block; give the certificate of the authority that signs the clients', PEM
        /d/ca.crt holds a certificate that cannot be an authority's; give an X.509 v3 certificate
        "
        );
    }
}
