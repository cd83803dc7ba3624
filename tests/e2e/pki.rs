//! The authority of a control plane, which signs certificates of its servers and clients.

use std::net::IpAddr;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};
use time::{Duration, OffsetDateTime};

/// A certificate and its key, PEM.
pub struct Pair {
    pub certificate: String,
    pub key: String,
}

pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub certificate: String,
}

impl Authority {
    pub fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = named("cpufit-e2e", &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).expect("an authority").pem();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    /// Signs a certificate for a server on loopback.
    pub fn server(&self, names: &[&str], addresses: &[IpAddr]) -> Pair {
        let mut params = named(names[0], &[]);
        params.subject_alt_names =
            names.iter().map(|name| SanType::DnsName((*name).try_into().expect("a DNS name"))).collect();
        params.subject_alt_names.extend(addresses.iter().copied().map(SanType::IpAddress));
        self.sign(params, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// Signs a certificate for a server that was valid for a day and has expired.
    pub fn expired_server(&self, name: &str) -> Pair {
        let mut params = named(name, &[]);
        params.subject_alt_names = vec![SanType::DnsName(name.try_into().expect("a DNS name"))];
        let now = OffsetDateTime::now_utc();
        (params.not_before, params.not_after) = (now - Duration::days(2), now - Duration::days(1));
        self.sign(params, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// Signs a certificate for a client: the API server uses the common name as user and the organizations as groups.
    pub fn client(&self, user: &str, groups: &[&str]) -> Pair {
        self.sign(named(user, groups), ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn sign(&self, mut params: CertificateParams, usage: ExtendedKeyUsagePurpose) -> Pair {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate").pem();
        Pair { certificate, key: key.serialize_pem() }
    }
}

fn named(common_name: &str, organizations: &[&str]) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, common_name);
    // The library keeps one entry of each type; the type given by numbers counts as another one.
    let types = [DnType::OrganizationName, DnType::CustomDnType(vec![2, 5, 4, 10])];
    assert!(organizations.len() <= types.len(), "no certificate for {organizations:?}: two groups at most");
    for (kind, organization) in types.into_iter().zip(organizations) {
        params.distinguished_name.push(kind, *organization);
    }
    params
}

/// Returns the keys that sign and verify tokens: the private and the public one, PEM.
pub fn token_keys() -> (String, String) {
    let key = KeyPair::generate().expect("a key");
    (key.serialize_pem(), key.public_key_pem())
}
