//! Fields of an X.509 certificate that the TLS library does not expose.

const SEQUENCE: u8 = 0x30;

/// The fields of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CertificateFacts {
    /// X.509 version: 1, 2 or 3.
    version: u8,
    /// The start of validity, in seconds since 1970; `None` if it cannot be parsed.
    pub(super) not_before: Option<i64>,
    /// The end of validity, in seconds since 1970; `None` if it cannot be parsed.
    pub(super) not_after: Option<i64>,
    key: PublicKey,
    /// The common name of the subject; `None` if it has none, or more than one.
    pub(super) common_name: Option<String>,
}

/// The public key of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
enum PublicKey {
    /// RSA with a modulus of this many bits.
    Rsa(usize),
    /// ECDSA on the curve of this name.
    Curve(&'static str),
    Ed25519,
    Ed448,
    /// A key of another algorithm.
    Other,
}

impl CertificateFacts {
    /// Reads a certificate in DER; `None` if it is malformed.
    pub(super) fn of(certificate: &[u8]) -> Option<Self> {
        const VERSION: u8 = 0xa0;
        let (_, certificate, _) = der(certificate).filter(|(tag, ..)| *tag == SEQUENCE)?;
        let (_, mut fields, _) = der(certificate)?;
        let mut version = 1;
        if fields.first() == Some(&VERSION) {
            let (_, number, rest) = der(fields)?;
            version = der(number)?.1.last()?.saturating_add(1);
            fields = rest;
        }
        // serialNumber, signature, issuer.
        for _ in 0..3 {
            fields = der(fields)?.2;
        }
        let (_, validity, fields) = der(fields)?;
        let (begin, not_before, rest) = der(validity)?;
        let (end, not_after, _) = der(rest)?;
        let (_, subject, fields) = der(fields)?;
        let (_, key, _) = der(fields)?;
        let (not_before, not_after) = (time_of(begin, not_before), time_of(end, not_after));
        let key = PublicKey::of(key).unwrap_or(PublicKey::Other);
        Some(Self { version, not_before, not_after, key, common_name: common_name(subject) })
    }

    /// Returns why the certificate is not supported, as the words after "the certificate"; `None` if it is supported.
    pub(super) fn fault(&self) -> Option<String> {
        if self.version < 3 {
            return Some(format!("is of X.509 version {}, which has no names that clients verify", self.version));
        }
        let key = match self.key {
            // A key of 2,048 bits may begin with a zero bit.
            PublicKey::Rsa(2_047..=4_096) | PublicKey::Curve("P-256" | "P-384") | PublicKey::Ed25519 => return None,
            PublicKey::Rsa(bits @ ..2_047) => return Some(format!("has an RSA key of {bits} bits, which is too weak")),
            PublicKey::Rsa(bits) => format!("an RSA key of {bits} bits"),
            PublicKey::Curve(curve) => format!("an ECDSA key on {curve}"),
            PublicKey::Ed448 => "an Ed448 key".to_owned(),
            PublicKey::Other => "a key of another sort".to_owned(),
        };
        Some(format!("has {key}, with which the TLS library cannot sign"))
    }
}

impl PublicKey {
    /// Reads a `SubjectPublicKeyInfo`.
    fn of(info: &[u8]) -> Option<Self> {
        let (_, algorithm, rest) = der(info)?;
        let (_, sort, parameters) = der(algorithm)?;
        Some(match sort {
            b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01" => {
                // The key is a bit string of whole bytes, which holds a sequence of modulus and exponent.
                let numbers = der(rest)?.1.strip_prefix(b"\0")?;
                let (_, modulus, _) = der(der(numbers)?.1)?;
                let modulus = &modulus[modulus.iter().take_while(|byte| **byte == 0).count()..];
                Self::Rsa(modulus.len() * 8 - modulus.first()?.leading_zeros() as usize)
            }
            b"\x2a\x86\x48\xce\x3d\x02\x01" => Self::Curve(match der(parameters)?.1 {
                b"\x2a\x86\x48\xce\x3d\x03\x01\x07" => "P-256",
                b"\x2b\x81\x04\x00\x22" => "P-384",
                b"\x2b\x81\x04\x00\x23" => "P-521",
                _ => "another curve",
            }),
            b"\x2b\x65\x70" => Self::Ed25519,
            b"\x2b\x65\x71" => Self::Ed448,
            _ => Self::Other,
        })
    }
}

/// Returns `notAfter` of an X.509 certificate, in seconds since 1970.
pub(crate) fn not_after(certificate: &[u8]) -> Option<i64> {
    CertificateFacts::of(certificate)?.not_after
}

/// Returns the common name of a subject.
fn common_name(mut sets: &[u8]) -> Option<String> {
    /// `id-at-commonName`, 2.5.4.3.
    const COMMON_NAME: &[u8] = b"\x06\x03\x55\x04\x03";
    const UTF8_STRING: u8 = 0x0c;
    const PRINTABLE_STRING: u8 = 0x13;
    let mut found = None;
    while !sets.is_empty() {
        let (_, mut attributes, others) = der(sets)?;
        sets = others;
        while !attributes.is_empty() {
            let (_, attribute, others) = der(attributes)?;
            attributes = others;
            let Some(value) = attribute.strip_prefix(COMMON_NAME) else { continue };
            let (tag, text, _) = der(value)?;
            if found.is_some() || ![UTF8_STRING, PRINTABLE_STRING].contains(&tag) {
                return None;
            }
            found = Some(std::str::from_utf8(text).ok()?.to_owned());
        }
    }
    found
}

/// Splits off the first DER element: tag, content and rest.
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

/// Parses `UTCTime` and `GeneralizedTime` in the form of certificates: `YYMMDDHHMMSSZ`, `YYYYMMDDHHMMSSZ`.
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
    // Days since 1970 in the proleptic Gregorian calendar, with years that begin in March.
    let shifted = if month > 2 { year } else { year - 1 };
    let era = shifted.div_euclid(400);
    let of_era = shifted.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    Some(days * 86_400 + seconds)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn ending(year: i32) -> Vec<u8> {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_after = date_time_ymd(year, 6, 15);
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn the_end_of_a_certificate_is_read() {
        for (year, seconds) in [(2040, 2_223_331_200), (2049, 2_507_328_000), (2050, 2_538_864_000)] {
            let end = not_after(&ending(year));
            assert_eq!(end, Some(seconds), "{year}: UTCTime until 2049, GeneralizedTime from 2050");
        }
        assert_eq!(time_of(0x17, b"700101000000Z"), Some(0));
        assert_eq!(time_of(0x18, b"20000229235959Z"), Some(951_868_799));
        for bad in [&b""[..], b"\x30", b"\x30\x84\xff\xff\xff\xff", b"\x30\x03\x30\x01\x00", b"\x04\x00"] {
            assert_eq!(not_after(bad), None, "{bad:?}");
        }
    }

    /// Returns a DER element.
    fn element(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        [&[tag, 0x82], &length[..], content].concat()
    }

    /// Returns a certificate with this version and key, and an arbitrary signature.
    fn certificate(version: Option<u8>, algorithm: &[u8], key: &[u8]) -> Vec<u8> {
        let time = element(0x17, b"300101000000Z");
        let key = element(SEQUENCE, &[element(SEQUENCE, algorithm), element(0x03, &[b"\0", key].concat())].concat());
        let fields = [
            version.map_or_else(Vec::new, |version| element(0xa0, &element(0x02, &[version]))),
            element(0x02, b"\x01"),
            element(SEQUENCE, b""),
            element(SEQUENCE, b""),
            element(SEQUENCE, &[time.clone(), time].concat()),
            element(SEQUENCE, b""),
            key,
        ];
        element(SEQUENCE, &element(SEQUENCE, &fields.concat()))
    }

    fn oid(content: &[u8]) -> Vec<u8> {
        element(0x06, content)
    }

    fn rsa(bits: usize) -> Vec<u8> {
        let mut modulus = vec![0xff; bits / 8];
        modulus.insert(0, 0);
        let numbers = [element(0x02, &modulus), element(0x02, &[1, 0, 1])].concat();
        certificate(Some(2), &oid(b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01"), &element(SEQUENCE, &numbers))
    }

    fn ec(curve: &[u8]) -> Vec<u8> {
        let algorithm = [oid(b"\x2a\x86\x48\xce\x3d\x02\x01"), oid(curve)].concat();
        certificate(Some(2), &algorithm, b"\x04")
    }

    #[test]
    fn keys_that_clients_refuse_are_not_served() {
        let p256 = &b"\x2a\x86\x48\xce\x3d\x03\x01\x07"[..];
        let (ed25519, ed448) = (oid(b"\x2b\x65\x70"), oid(b"\x2b\x65\x71"));
        let lines: Vec<String> = [
            rsa(1024),
            rsa(2048),
            rsa(3072),
            rsa(4096),
            rsa(8192),
            ec(p256),
            ec(b"\x2b\x81\x04\x00\x22"),
            ec(b"\x2b\x81\x04\x00\x23"),
            ec(b"\x2b\x81\x04\x00\x0a"),
            certificate(Some(2), &ed25519, b"\x01"),
            certificate(Some(2), &ed448, b"\x01"),
            certificate(Some(2), &oid(b"\x2a\x03"), b"\x01"),
            certificate(None, &ed25519, b"\x01"),
            certificate(Some(1), &ed25519, b"\x01"),
        ]
        .iter()
        .map(|certificate| CertificateFacts::of(certificate).unwrap().fault().unwrap_or_else(|| "is served".to_owned()))
        .collect();
        insta::assert_snapshot!(lines.join("\n"), @r"
        has an RSA key of 1024 bits, which is too weak
        is served
        is served
        is served
        has an RSA key of 8192 bits, with which the TLS library cannot sign
        is served
        is served
        has an ECDSA key on P-521, with which the TLS library cannot sign
        has an ECDSA key on another curve, with which the TLS library cannot sign
        is served
        has an Ed448 key, with which the TLS library cannot sign
        has a key of another sort, with which the TLS library cannot sign
        is of X.509 version 1, which has no names that clients verify
        is of X.509 version 2, which has no names that clients verify
        ");
    }
}
