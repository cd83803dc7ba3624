//! Certificates made by this program: an authority and the leaf certificates it issues. Pure functions, without files
//! or clock.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, DnsName, PrivateKeyDer, ServerName, UnixTime};

/// Time by which the start of validity is set back, because clocks differ.
const BACKDATED: Duration = Duration::from_secs(60 * 60);

/// A reason why a certificate could not be made, or an existing one not be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PkiError {
    /// No name is given, and a certificate without a name would match no server.
    #[error("a certificate needs at least one DNS name or IP address")]
    NoNames,
    /// The library failed to make a key or a certificate.
    #[error("making a certificate")]
    Making(#[from] rcgen::Error),
    /// A text is not PEM.
    #[error("{what}: not readable as PEM")]
    Pem {
        /// The name of the text.
        what: &'static str,
        /// The parser's error.
        source: rustls_pki_types::pem::Error,
    },
    /// The authority did not issue the certificate, or the key belongs to another one.
    #[error("the certificate, its key and its authority do not belong together")]
    Unrelated(#[source] rustls::Error),
}

/// The period in which a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Validity {
    /// The first instant.
    pub from: SystemTime,
    /// The last instant.
    pub until: SystemTime,
}

impl Validity {
    /// Returns the validity of this duration from `now`, starting an hour early for clocks that lag.
    pub(crate) fn lasting(now: SystemTime, duration: Duration) -> Self {
        Self { from: now - BACKDATED, until: now + duration }
    }

    /// Returns the validity of this many days from `now`, starting an hour early for clocks that lag.
    pub(crate) fn of_days(now: SystemTime, days: u16) -> Self {
        Self::lasting(now, Duration::from_secs(u64::from(days) * 24 * 60 * 60))
    }
}

/// The names and addresses of a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ServerNames {
    /// DNS names, without wildcards.
    pub dns: Vec<DnsName<'static>>,
    /// IP addresses.
    pub ips: Vec<IpAddr>,
}

impl ServerNames {
    fn iter(&self) -> impl Iterator<Item = ServerName<'static>> {
        let dns = self.dns.iter().cloned().map(ServerName::DnsName);
        dns.chain(self.ips.iter().map(|ip| ServerName::IpAddress((*ip).into())))
    }
}

/// A certificate and its private key, as PEM.
#[derive(Clone)]
pub(crate) struct PemPair {
    /// The certificate.
    pub certificate_pem: String,
    /// The private key, PKCS #8.
    pub key_pem: String,
}

impl std::fmt::Debug for PemPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pair").field("certificate_pem", &self.certificate_pem).finish_non_exhaustive()
    }
}

/// A certificate authority with its private key.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate_pem: String,
}

impl Authority {
    /// Creates an authority with a new key (ECDSA P-256), which may sign leaf certificates but no further authority.
    ///
    /// # Errors
    ///
    /// The key or the certificate cannot be made.
    pub(crate) fn new(name: &str, validity: Validity) -> Result<Self, PkiError> {
        let key = KeyPair::generate()?;
        let mut params = params(name, validity);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate_pem = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), certificate_pem })
    }

    /// Returns the authority's certificate: a client that trusts it trusts every leaf certificate issued here.
    pub(crate) fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// Issues a server certificate for these names, with a new key.
    ///
    /// # Errors
    ///
    /// [`PkiError::NoNames`] without any name; else the key or the certificate cannot be made.
    pub(crate) fn issue(&self, names: &ServerNames, validity: Validity) -> Result<PemPair, PkiError> {
        let first = names.iter().next().ok_or(PkiError::NoNames)?;
        let key = KeyPair::generate()?;
        let mut params = params(&first.to_str(), validity);
        for name in &names.dns {
            params.subject_alt_names.push(SanType::DnsName(name.as_ref().try_into()?));
        }
        params.subject_alt_names.extend(names.ips.iter().copied().map(SanType::IpAddress));
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(PemPair { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() })
    }
}

fn params(common_name: &str, validity: Validity) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::OrganizationName, "cpufit");
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.not_before = validity.from.into();
    params.not_after = validity.until.into();
    params
}

/// A certificate and key that were checked to match each other and their authority.
#[derive(Debug)]
pub(crate) struct Inspected {
    leaf: CertificateDer<'static>,
    until: SystemTime,
}

impl Inspected {
    /// Checks an authority's certificate, a certificate that it issued, and that one's key. Expiry is not checked.
    ///
    /// # Errors
    ///
    /// [`PkiError::Pem`] if a text is not PEM, [`PkiError::Unrelated`] if the parts do not match.
    pub(crate) fn new(authority_pem: &str, pair: &PemPair) -> Result<Self, PkiError> {
        let pem = |what| move |source| PkiError::Pem { what, source };
        let authority = CertificateDer::from_pem_slice(authority_pem.as_bytes()).map_err(pem("authority"))?;
        let leaf = CertificateDer::from_pem_slice(pair.certificate_pem.as_bytes()).map_err(pem("certificate"))?;
        let key = PrivateKeyDer::from_pem_slice(pair.key_pem.as_bytes()).map_err(pem("private key"))?;
        let until = related(authority, &leaf, key).map_err(PkiError::Unrelated)?;
        Ok(Self { leaf, until })
    }

    /// Returns the end of the certificate's validity.
    pub(crate) fn until(&self) -> SystemTime {
        self.until
    }

    /// Returns the first name that the certificate lacks.
    pub(crate) fn first_missing(&self, names: &ServerNames) -> Option<String> {
        let leaf = ParsedCertificate::try_from(&self.leaf);
        let borne = |name: &ServerName<'_>| leaf.as_ref().is_ok_and(|leaf| verify_server_name(leaf, name).is_ok());
        names.iter().find(|name| !borne(name)).map(|name| name.to_str().into_owned())
    }
}

/// Returns the end of validity of a leaf certificate, if the authority signed it and this is its key.
fn related(
    authority: CertificateDer<'static>,
    leaf: &CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
) -> Result<SystemTime, rustls::Error> {
    let provider = crate::crypto::provider();
    CertifiedKey::from_der(vec![leaf.clone()], key, &provider)?.keys_match()?;
    let mut roots = RootCertStore::empty();
    roots.add(authority)?;
    let parsed = ParsedCertificate::try_from(leaf)?;
    let algorithms = provider.signature_verification_algorithms.all;
    let verify = |at| verify_server_cert_signed_by_trust_anchor(&parsed, &roots, &[], at, algorithms);

    // The verifier reports `notAfter` of an expired certificate, and in the year 10000 every certificate is expired.
    let far_future = UnixTime::since_unix_epoch(Duration::from_secs(253_402_300_800));
    let not_after = match verify(far_future) {
        Err(rustls::Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) => not_after,
        Err(error) => return Err(error),
        Ok(()) => return Err(CertificateError::BadEncoding.into()),
    };
    // The certificate is verified as of its last instant, so that an expired one is still recognized as the authority's
    // own.
    verify(not_after)?;
    Ok(SystemTime::UNIX_EPOCH + Duration::from_secs(not_after.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> ServerNames {
        let dns = ["localhost", "cpufit.cpufit-system.svc"].map(|name| DnsName::try_from(name).unwrap());
        ServerNames { dns: dns.to_vec(), ips: vec!["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()] }
    }

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
    }

    #[test]
    fn a_leaf_verifies_against_its_authority_under_every_name() {
        let validity = Validity::of_days(now(), 30);
        let authority = Authority::new("test", validity).unwrap();
        let pair = authority.issue(&names(), validity).unwrap();
        let inspected = Inspected::new(authority.certificate_pem(), &pair).unwrap();
        assert_eq!(inspected.until(), validity.until);
        assert_eq!(inspected.first_missing(&names()), None);
    }

    #[test]
    fn a_name_that_the_certificate_lacks_is_named() {
        let validity = Validity::of_days(now(), 30);
        let authority = Authority::new("test", validity).unwrap();
        let pair = authority.issue(&names(), validity).unwrap();
        let inspected = Inspected::new(authority.certificate_pem(), &pair).unwrap();
        let other = ServerNames { dns: vec![], ips: vec!["192.0.2.1".parse().unwrap()] };
        assert_eq!(inspected.first_missing(&other).as_deref(), Some("192.0.2.1"));
    }

    #[test]
    fn a_client_accepts_the_pair_while_it_is_valid_and_not_after() {
        use rustls::client::WebPkiServerVerifier;
        use rustls::client::danger::ServerCertVerifier;
        let validity = Validity::of_days(now(), 2);
        let authority = Authority::new("test", validity).unwrap();
        let pair = authority.issue(&names(), validity).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.certificate_pem().as_bytes()).unwrap()).unwrap();
        let provider = crate::crypto::provider();
        let verifier =
            WebPkiServerVerifier::builder_with_provider(std::sync::Arc::new(roots), provider).build().unwrap();
        let leaf = CertificateDer::from_pem_slice(pair.certificate_pem.as_bytes()).unwrap();
        let accepted = |name: ServerName<'static>, at: SystemTime| {
            let at = UnixTime::since_unix_epoch(at.duration_since(SystemTime::UNIX_EPOCH).unwrap());
            verifier.verify_server_cert(&leaf, &[], &name, &[], at).is_ok()
        };
        for name in names().iter() {
            assert!(accepted(name.clone(), now()), "{name:?}");
            assert!(!accepted(name.clone(), now() + Duration::from_secs(3 * 24 * 60 * 60)), "{name:?}");
        }
        assert!(!accepted(ServerName::try_from("elsewhere.example").unwrap(), now()));
    }

    #[test]
    fn a_key_and_a_certificate_of_two_pairs_are_refused() {
        let validity = Validity::of_days(now(), 30);
        let (one, two) = (Authority::new("test", validity).unwrap(), Authority::new("test", validity).unwrap());
        let (of_one, of_two) = (one.issue(&names(), validity).unwrap(), two.issue(&names(), validity).unwrap());
        assert!(matches!(Inspected::new(one.certificate_pem(), &of_two), Err(PkiError::Unrelated(_))));
        let mixed = PemPair { key_pem: of_two.key_pem, ..of_one };
        assert!(matches!(Inspected::new(one.certificate_pem(), &mixed), Err(PkiError::Unrelated(_))));
        let unreadable = PemPair { certificate_pem: "none".to_owned(), ..mixed };
        assert!(matches!(Inspected::new(one.certificate_pem(), &unreadable), Err(PkiError::Pem { .. })));
    }

    #[test]
    fn a_leaf_without_a_name_is_refused() {
        let validity = Validity::of_days(now(), 30);
        let authority = Authority::new("test", validity).unwrap();
        assert!(matches!(authority.issue(&ServerNames::default(), validity), Err(PkiError::NoNames)));
    }

    #[test]
    fn a_pair_keeps_its_key_out_of_logs() {
        let validity = Validity::of_days(now(), 30);
        let pair = Authority::new("test", validity).unwrap().issue(&names(), validity).unwrap();
        assert!(!format!("{pair:?}").contains("PRIVATE"));
    }
}
