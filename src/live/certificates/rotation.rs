//! Order in which certificates are replaced, so that no handshake fails. Pure functions.
//!
//! Every certificate has its own authority, whose key is dropped after signing, so that it cannot sign another
//! certificate. Both expire at the same instant.
//!
//! ```text
//! Make     tls.crt signed by A            ca.crt: A
//! Prepare  next.crt signed by B           ca.crt: A B    in the webhook configurations; API servers read it meanwhile
//! Promote  tls.crt is what next.crt was   ca.crt: A B    replicas that have not read it yet serve A's
//! Prune                                   ca.crt:   B    when A has expired, and with it everything that A signed
//! ```

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use crate::pki::{self, Inspected, PemPair, PkiError, ServerNames, Validity};
use crate::web::tls;

/// The Secret's key for the bundle of all trusted authorities.
const BUNDLE: &str = "ca.crt";
const CURRENT: (&str, &str) = ("tls.crt", "tls.key");
const NEXT: (&str, &str) = ("next.crt", "next.key");
/// Time before a certificate's expiry within which every replica serves the successor: at least three checks of the
/// Secret.
const LAST_MOMENT: Duration = Duration::from_secs(30);

/// A trusted certificate authority.
#[derive(Clone, Debug, PartialEq, Eq)]
struct TrustedAuthority {
    pem: String,
    until: SystemTime,
}

/// A certificate and its key, checked to be signed by a trusted authority and to have all names.
#[derive(Clone, Debug)]
pub(super) struct HeldCertificate {
    /// The certificate and its key.
    pub pair: PemPair,
    until: SystemTime,
}

/// The content of the Secret.
#[derive(Clone, Debug, Default)]
pub(super) struct Stored {
    authorities: Vec<TrustedAuthority>,
    current: Option<HeldCertificate>,
    next: Option<HeldCertificate>,
}

/// The next step of the rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RotationStep {
    /// Nothing to do.
    Keep,
    /// No usable certificate exists: create one, and serve it immediately.
    Make,
    /// The current certificate expires soon: create its successor, to be served once its authority is known everywhere.
    Prepare,
    /// Serve the successor.
    Promote,
    /// Remove expired authorities.
    Prune,
}

impl Stored {
    /// Reads the Secret. Certificates that are malformed, or signed by none of its authorities, are ignored.
    pub(super) fn read<V: AsRef<[u8]>>(data: &BTreeMap<String, V>, names: &ServerNames) -> Self {
        let text = |key| data.get(key).and_then(|bytes| std::str::from_utf8(bytes.as_ref()).ok());
        let authorities = authorities(text(BUNDLE).unwrap_or_default());
        let held = |(certificate, key)| {
            let pair = PemPair { certificate_pem: text(certificate)?.to_owned(), key_pem: text(key)?.to_owned() };
            let inspected = authorities.iter().find_map(|authority| Inspected::new(&authority.pem, &pair).ok())?;
            let until = inspected.until();
            inspected.first_missing(names).is_none().then_some(HeldCertificate { pair, until })
        };
        let (current, next) = (held(CURRENT), held(NEXT));
        Self { authorities, current, next }
    }

    /// Returns the Secret's new content.
    pub(super) fn data(&self) -> BTreeMap<String, String> {
        let mut data = BTreeMap::from([(BUNDLE.to_owned(), self.bundle())]);
        for ((certificate, key), held) in [(CURRENT, &self.current), (NEXT, &self.next)] {
            if let Some(HeldCertificate { pair, .. }) = held {
                data.insert(certificate.to_owned(), pair.certificate_pem.clone());
                data.insert(key.to_owned(), pair.key_pem.clone());
            }
        }
        data
    }

    /// Returns all trusted authorities as PEM.
    pub(super) fn bundle(&self) -> String {
        self.authorities.iter().map(|authority| authority.pem.as_str()).collect()
    }

    /// Returns the current certificate.
    pub(super) fn current(&self) -> Option<&HeldCertificate> {
        self.current.as_ref()
    }

    /// Returns the state to start from and the next step. `last` is the last usable content of the Secret: if the
    /// Secret is deleted or damaged, replicas still serve that content until they read the new one.
    pub(super) fn plan(
        self,
        last: Option<&Self>,
        validity: Duration,
        is_settled: bool,
        now: SystemTime,
    ) -> (Self, RotationStep) {
        let Some(last) = last.filter(|_| self.current.is_none()) else {
            let step = self.step(validity, is_settled, now);
            return (self, step);
        };
        let step = if last.step(validity, false, now) == RotationStep::Make {
            RotationStep::Make
        } else {
            RotationStep::Prepare
        };
        (last.clone(), step)
    }

    /// Returns the next step. `is_settled`: all API servers have had time to read the bundle.
    pub(super) fn step(&self, validity: Duration, is_settled: bool, now: SystemTime) -> RotationStep {
        let is_valid = |held: &&HeldCertificate| now < held.until;
        let next = self.next.as_ref().filter(is_valid);
        match self.current.as_ref().filter(is_valid) {
            // Nothing valid is served: promote `next`, although its authority may not be everywhere yet.
            None if next.is_some() => RotationStep::Promote,
            None => RotationStep::Make,
            Some(current) if next.is_some() => {
                // A successor that was created late is promoted before nothing valid is served.
                if is_settled || now + LAST_MOMENT.min(validity / 12) >= current.until {
                    RotationStep::Promote
                } else {
                    RotationStep::Keep
                }
            }
            Some(current) if now + validity / 3 >= current.until => RotationStep::Prepare,
            Some(_) if self.authorities.iter().any(|authority| authority.until <= now) => RotationStep::Prune,
            Some(_) => RotationStep::Keep,
        }
    }

    /// Returns the Secret's content after a step.
    ///
    /// # Errors
    ///
    /// A certificate cannot be created.
    pub(super) fn after(
        mut self,
        step: RotationStep,
        names: &ServerNames,
        validity: Duration,
        now: SystemTime,
    ) -> Result<Self, PkiError> {
        self.authorities.retain(|authority| now < authority.until);
        match step {
            RotationStep::Keep | RotationStep::Prune => {}
            RotationStep::Make => {
                self.current = Some(self.make(names, validity, now)?);
                self.next = None;
            }
            RotationStep::Prepare => self.next = Some(self.make(names, validity, now)?),
            RotationStep::Promote => self.current = self.next.take(),
        }
        Ok(self)
    }

    fn make(&mut self, names: &ServerNames, validity: Duration, now: SystemTime) -> Result<HeldCertificate, PkiError> {
        let validity = Validity::lasting(now, validity);
        let authority = pki::Authority::new("cpufit", validity)?;
        let pair = authority.issue(names, validity)?;
        self.authorities.push(TrustedAuthority { pem: authority.certificate_pem().to_owned(), until: validity.until });
        Ok(HeldCertificate { pair, until: validity.until })
    }
}

/// Parses the certificates of a bundle; other content is left out.
fn authorities(bundle: &str) -> Vec<TrustedAuthority> {
    const END: &str = "-----END CERTIFICATE-----";
    let read = |block: &str| {
        let certificate = CertificateDer::from_pem_slice(block.as_bytes()).ok()?;
        let until = u64::try_from(tls::not_after(&certificate)?).ok()?;
        let pem = format!("{}\n", block.get(block.find("-----BEGIN CERTIFICATE-----")?..)?);
        Some(TrustedAuthority { pem, until: UNIX_EPOCH + Duration::from_secs(until) })
    };
    bundle.split_inclusive(END).filter_map(read).collect()
}

#[cfg(test)]
mod tests;
