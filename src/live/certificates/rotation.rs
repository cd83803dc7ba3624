//! In which order certificates are replaced, so that no handshake fails. Values in, values out.
//!
//! Every certificate has an authority of its own, whose key is dropped after it has signed, so that no other certificate can be
//! made with it. Both expire at the same instant.
//!
//! ```text
//! Make     tls.crt signed by A            ca.crt: A
//! Prepare  next.crt signed by B           ca.crt: A B    written into the webhook configurations; API servers get time to read it
//! Promote  tls.crt is what next.crt was   ca.crt: A B    replicas that have not read it yet serve A's
//! Prune                                   ca.crt:   B    when A has ended, and with it all that A signed
//! ```

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use crate::pki::{self, Inspected, PemPair, PkiError, ServerNames, Validity};
use crate::web::tls;

/// The key of the Secret that holds all authorities which are trusted.
pub(super) const BUNDLE: &str = "ca.crt";
const CURRENT: (&str, &str) = ("tls.crt", "tls.key");
const NEXT: (&str, &str) = ("next.crt", "next.key");
/// How long before its certificate ends a replica surely serves the successor: at least three looks at the Secret.
const LAST_MOMENT: Duration = Duration::from_secs(30);

/// A certificate authority that is trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
struct TrustedAuthority {
    pem: String,
    until: SystemTime,
}

/// A certificate and its key, found to be signed by an authority that is trusted and to have all names.
#[derive(Clone, Debug)]
pub(super) struct HeldCertificate {
    /// The two.
    pub pair: PemPair,
    until: SystemTime,
}

/// What the Secret holds.
#[derive(Clone, Debug, Default)]
pub(super) struct Stored {
    authorities: Vec<TrustedAuthority>,
    current: Option<HeldCertificate>,
    next: Option<HeldCertificate>,
}

/// What is to be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RotationStep {
    /// Nothing.
    Keep,
    /// There is nothing that can serve: a certificate is made, and serves at once.
    Make,
    /// The time of what serves comes to its end: its successor is made, and serves when its authority is known everywhere.
    Prepare,
    /// The successor serves.
    Promote,
    /// Authorities that have ended are forgotten.
    Prune,
}

impl Stored {
    /// Reads the Secret. What cannot be read, or belongs to no authority of it, counts as not there.
    #[must_use]
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

    /// What the Secret should hold.
    #[must_use]
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

    /// All authorities that are trusted, PEM.
    #[must_use]
    pub(super) fn bundle(&self) -> String {
        self.authorities.iter().map(|authority| authority.pem.as_str()).collect()
    }

    /// What serves.
    #[must_use]
    pub(super) fn current(&self) -> Option<&HeldCertificate> {
        self.current.as_ref()
    }

    /// What to go on from, and what is to be done. `last` is what the Secret held when it was last of use: deleted or
    /// spoilt, that is still served everywhere, until what is made now is known.
    #[must_use]
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

    /// What is to be done; `is_settled` says that all API servers have had time to read the bundle.
    #[must_use]
    pub(super) fn step(&self, validity: Duration, is_settled: bool, now: SystemTime) -> RotationStep {
        let is_valid = |held: &&HeldCertificate| now < held.until;
        let next = self.next.as_ref().filter(is_valid);
        match self.current.as_ref().filter(is_valid) {
            // Nothing valid is served: promote `next`, although its authority may not be everywhere yet.
            None if next.is_some() => RotationStep::Promote,
            None => RotationStep::Make,
            Some(current) if next.is_some() => {
                // A successor that was made late is not waited for until nothing valid is served.
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

    /// What the Secret should hold after a step.
    ///
    /// # Errors
    ///
    /// A certificate cannot be made.
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

/// The certificates of a bundle; what is not a certificate is left out.
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
