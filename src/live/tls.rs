//! Errors of TLS connections in plain words. The texts of rustls are written for its developers: many are the names of
//! its variants.

use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};
use rustls_pki_types::UnixTime;
use time::OffsetDateTime;

/// Returns what an error of TLS means, beginning with the server that was called.
pub(crate) fn words(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(error) => format!("the server's certificate {}", of_certificate(error)),
        Error::InvalidCertRevocationList(_) => "the list of revoked certificates cannot be used".to_owned(),
        Error::NoCertificatesPresented => "the server has no certificate".to_owned(),
        Error::AlertReceived(alert) => format!("the server ends the connection: {}", of_alert(*alert)),
        Error::PeerIncompatible(why) => of_incompatible(why),
        Error::InvalidMessage(_) | Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. } => {
            "the server does not answer with TLS: does its address begin with http:// instead of https://?".to_owned()
        }
        Error::NoApplicationProtocol => "the server does not speak HTTP".to_owned(),
        Error::UnsupportedNameType => "no certificate can be for the server's name".to_owned(),
        Error::PeerMisbehaved(why) => format!("the server breaks the rules of TLS: {}", spaced(&format!("{why:?}"))),
        Error::InconsistentKeys(_) => "the client certificate and its key do not belong together".to_owned(),
        Error::General(text) => text.clone(),
        other => format!("TLS fails: {}", spaced(&other.to_string())),
    }
}

/// Returns what is wrong with the server's certificate, to be read after "the server's certificate".
fn of_certificate(error: &CertificateError) -> String {
    match error {
        CertificateError::Expired => "has expired".to_owned(),
        CertificateError::ExpiredContext { not_after, .. } => format!("expired on {}", date(*not_after)),
        CertificateError::NotValidYet => "is not valid yet: is the clock right?".to_owned(),
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("is not valid before {}: is the clock right?", date(*not_before))
        }
        CertificateError::Revoked => "is revoked".to_owned(),
        CertificateError::UnknownIssuer => {
            "is of an authority that is not trusted; --certificate-authority names another".to_owned()
        }
        CertificateError::BadEncoding => "is malformed".to_owned(),
        // Many clusters have an authority of the same name, such as kubeadm's `kubernetes`.
        CertificateError::BadSignature => {
            "is of an authority that is not trusted: the trusted one of that name has another key".to_owned()
        }
        CertificateError::UnhandledCriticalExtension => "has a critical extension that is not known".to_owned(),
        CertificateError::UnknownRevocationStatus
        | CertificateError::ExpiredRevocationList
        | CertificateError::ExpiredRevocationListContext { .. }
        | CertificateError::InvalidOcspResponse => "may be revoked: that cannot be found out".to_owned(),
        CertificateError::NotValidForName => "is for another name; --tls-server-name says which to expect".to_owned(),
        CertificateError::NotValidForNameContext { expected, presented } => {
            let names: Vec<&str> = presented.iter().map(|name| bare(name)).collect();
            let of = if names.is_empty() { "of no name".to_owned() } else { format!("of {}", names.join(", ")) };
            format!("is {of}, not of {}; --tls-server-name says which to expect", expected.to_str())
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "is not one for servers (its extended key usage lacks serverAuth)".to_owned()
        }
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "is signed with an algorithm that is not supported".to_owned()
        }
        CertificateError::ApplicationVerificationFailure => "is refused".to_owned(),
        // rustls-webpki's errors are not exported by rustls; their texts are the names of the variants.
        CertificateError::Other(error) => of_webpki(&error.to_string()),
        // The deprecated spelling of an algorithm that is not supported, and what later releases add.
        other => of_webpki(&other.to_string()),
    }
}

/// Returns what a variant of `rustls-webpki`'s `Error` says about a certificate, by the name of the variant.
fn of_webpki(text: &str) -> String {
    let name = text.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
    match name {
        "CaUsedAsEndEntity" => {
            "is one of a certificate authority, not of a server (its basic constraints say CA)".to_owned()
        }
        "EndEntityUsedAsCa" => "is issued by a certificate that is not one of a certificate authority".to_owned(),
        "CertDistrusted" => "is of an authority that is distrusted".to_owned(),
        "NameConstraintViolation" => "is for a name that its authority may not certify".to_owned(),
        "PathLenConstraintViolated" | "MaximumPathDepthExceeded" => {
            "has more authorities above it than they allow".to_owned()
        }
        "MaximumPathBuildCallsExceeded"
        | "MaximumSignatureChecksExceeded"
        | "MaximumNameConstraintComparisonsExceeded" => "has too many possible authorities".to_owned(),
        "UnsupportedCertVersion" => "is not of version 3, the one that is supported".to_owned(),
        "UnsupportedCriticalExtension" => "has a critical extension that is not known".to_owned(),
        "SignatureAlgorithmMismatch" => "names two different signature algorithms".to_owned(),
        "UnsupportedSignatureAlgorithm" => "is signed with an algorithm that is not supported".to_owned(),
        "" => "is refused".to_owned(),
        name if name.starts_with("Malformed")
            || name.starts_with("Invalid")
            || ["EmptyEkuExtension", "ExtensionValueInvalid"].contains(&name) =>
        {
            format!("is malformed: {}", spaced(name))
        }
        name => format!("is refused: {}", spaced(name)),
    }
}

/// Returns what the server says about the client.
fn of_alert(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::CertificateRequired | AlertDescription::NoCertificate => {
            "it asks for a client certificate".to_owned()
        }
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::DecryptError
        | AlertDescription::AccessDenied => "it does not accept the client certificate".to_owned(),
        AlertDescription::CertificateRevoked => "the client certificate is revoked".to_owned(),
        AlertDescription::CertificateExpired => "the client certificate has expired".to_owned(),
        AlertDescription::UnknownCA => "it does not know the authority of the client certificate".to_owned(),
        AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity => {
            "it supports none of the cipher suites and signatures that are offered".to_owned()
        }
        AlertDescription::ProtocolVersion => "it supports neither TLS 1.2 nor TLS 1.3".to_owned(),
        AlertDescription::UnrecognisedName => "it does not serve this name".to_owned(),
        AlertDescription::NoApplicationProtocol => "it does not speak HTTP".to_owned(),
        AlertDescription::InternalError => "it has an internal error".to_owned(),
        AlertDescription::Unknown(code) => format!("TLS alert {code}"),
        other => format!("TLS alert {}", spaced(&format!("{other:?}"))),
    }
}

/// Returns what the server does not support.
fn of_incompatible(why: &PeerIncompatible) -> String {
    match why {
        PeerIncompatible::ServerDoesNotSupportTls12Or13
        | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
        | PeerIncompatible::SupportedVersionsExtensionRequired => {
            "the server supports neither TLS 1.2 nor TLS 1.3".to_owned()
        }
        PeerIncompatible::NoCipherSuitesInCommon
        | PeerIncompatible::NoKxGroupsInCommon
        | PeerIncompatible::NoSignatureSchemesInCommon
        | PeerIncompatible::NoCertificateRequestSignatureSchemesInCommon => {
            "the server supports none of the cipher suites and signatures that are offered".to_owned()
        }
        other => format!("the server does not support a part of TLS: {}", spaced(&format!("{other:?}"))),
    }
}

/// Returns a name as a person writes it: `localhost` for `DnsName("localhost")`, as rustls-webpki presents names.
fn bare(presented: &str) -> &str {
    let inner = presented.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(presented);
    inner.trim_matches('"')
}

/// Returns the first name of a variant as words: `bad record mac` for `BadRecordMac(..)`. Other text stays as it is.
fn spaced(text: &str) -> String {
    let end = text.find(['(', '{', ' ']).unwrap_or(text.len());
    if text[end..].starts_with(' ') && !text[end..].starts_with(" {") {
        return text.to_owned();
    }
    let mut out = String::new();
    for c in text[..end].chars() {
        if c.is_ascii_uppercase() && !out.is_empty() {
            out.push(' ');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

/// Returns `2026-11-27 10:00:00 UTC`; the seconds since 1970 if no calendar holds them.
fn date(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).ok();
    let at = seconds.and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    at.map_or_else(
        || format!("second {} after 1970", time.as_secs()),
        |at| {
            let (hour, minute, second) = at.to_hms();
            format!("{} {hour:02}:{minute:02}:{second:02} UTC", at.date())
        },
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use rustls::{CertRevocationListError, ContentType, InconsistentKeys, InvalidMessage, OtherError, PeerMisbehaved};
    use rustls_pki_types::ServerName;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Webpki(&'static str);

    fn other(text: &'static str) -> CertificateError {
        CertificateError::Other(OtherError(Arc::new(Webpki(text))))
    }

    fn certificates() -> Vec<(CertificateError, &'static str)> {
        let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let expected = ServerName::try_from("api.example").expect("a name");
        let presented = vec!["DnsName(\"localhost\")".to_owned(), "IpAddress(127.0.0.1)".to_owned()];
        vec![
            (CertificateError::BadEncoding, "is malformed"),
            (CertificateError::Expired, "has expired"),
            (
                CertificateError::ExpiredContext { time: at(1_800_000_000), not_after: at(1_700_000_000) },
                "expired on 2023-11-14 22:13:20 UTC",
            ),
            (CertificateError::NotValidYet, "is not valid yet: is the clock right?"),
            (
                CertificateError::NotValidYetContext { time: at(1), not_before: at(1_700_000_000) },
                "is not valid before 2023-11-14 22:13:20 UTC: is the clock right?",
            ),
            (CertificateError::Revoked, "is revoked"),
            (CertificateError::UnhandledCriticalExtension, "has a critical extension that is not known"),
            (
                CertificateError::UnknownIssuer,
                "is of an authority that is not trusted; --certificate-authority names another",
            ),
            (CertificateError::UnknownRevocationStatus, "may be revoked: that cannot be found out"),
            (CertificateError::ExpiredRevocationList, "may be revoked: that cannot be found out"),
            (
                CertificateError::ExpiredRevocationListContext { time: at(2), next_update: at(1) },
                "may be revoked: that cannot be found out",
            ),
            (
                CertificateError::BadSignature,
                "is of an authority that is not trusted: the trusted one of that name has another key",
            ),
            (
                CertificateError::UnsupportedSignatureAlgorithmContext {
                    signature_algorithm_id: vec![1],
                    supported_algorithms: vec![],
                },
                "is signed with an algorithm that is not supported",
            ),
            (
                CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext {
                    signature_algorithm_id: vec![1],
                    public_key_algorithm_id: vec![2],
                },
                "is signed with an algorithm that is not supported",
            ),
            (CertificateError::NotValidForName, "is for another name; --tls-server-name says which to expect"),
            (
                CertificateError::NotValidForNameContext { expected: expected.clone(), presented },
                "is of localhost, 127.0.0.1, not of api.example; --tls-server-name says which to expect",
            ),
            (
                CertificateError::NotValidForNameContext { expected, presented: Vec::new() },
                "is of no name, not of api.example; --tls-server-name says which to expect",
            ),
            (CertificateError::InvalidPurpose, "is not one for servers (its extended key usage lacks serverAuth)"),
            (CertificateError::InvalidOcspResponse, "may be revoked: that cannot be found out"),
            (CertificateError::ApplicationVerificationFailure, "is refused"),
            (
                other("CaUsedAsEndEntity"),
                "is one of a certificate authority, not of a server (its basic constraints say CA)",
            ),
            (other("EndEntityUsedAsCa"), "is issued by a certificate that is not one of a certificate authority"),
            (other("CertDistrusted"), "is of an authority that is distrusted"),
            (other("NameConstraintViolation"), "is for a name that its authority may not certify"),
            (other("PathLenConstraintViolated"), "has more authorities above it than they allow"),
            (other("MaximumPathDepthExceeded"), "has more authorities above it than they allow"),
            (other("MaximumPathBuildCallsExceeded"), "has too many possible authorities"),
            (other("MaximumSignatureChecksExceeded"), "has too many possible authorities"),
            (other("MaximumNameConstraintComparisonsExceeded"), "has too many possible authorities"),
            (other("UnsupportedCertVersion"), "is not of version 3, the one that is supported"),
            (other("UnsupportedCriticalExtension"), "has a critical extension that is not known"),
            (other("SignatureAlgorithmMismatch"), "names two different signature algorithms"),
            (other("EmptyEkuExtension"), "is malformed: empty eku extension"),
            (other("ExtensionValueInvalid"), "is malformed: extension value invalid"),
            (other("MalformedNameConstraint"), "is malformed: malformed name constraint"),
            (other("MalformedDnsIdentifier"), "is malformed: malformed dns identifier"),
            (other("InvalidNetworkMaskConstraint"), "is malformed: invalid network mask constraint"),
            (other("InvalidSerialNumber"), "is malformed: invalid serial number"),
            (other("SomethingNew(Inner { a: 1 })"), "is refused: something new"),
        ]
    }

    #[test]
    fn every_error_of_a_certificate_is_said_in_plain_words() {
        let mut faults = Vec::new();
        for (error, expected) in certificates() {
            let found = words(&Error::InvalidCertificate(error));
            if found != format!("the server's certificate {expected}") {
                faults.push(format!("{found}, expected {expected}"));
            }
        }
        assert!(faults.is_empty(), "an administrator reads the names of a library:\n{}", faults.join("\n"));
    }

    #[test]
    fn other_errors_of_tls_are_said_in_plain_words() {
        let alerts = (0..=255).map(|code| Error::AlertReceived(AlertDescription::from(code)));
        let mut errors: Vec<Error> = alerts.collect();
        errors.extend([
            Error::InappropriateMessage { expect_types: vec![], got_type: ContentType::Alert },
            Error::InvalidMessage(InvalidMessage::InvalidContentType),
            Error::NoCertificatesPresented,
            Error::UnsupportedNameType,
            Error::DecryptError,
            Error::EncryptError,
            Error::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13),
            Error::PeerIncompatible(PeerIncompatible::NullCompressionRequired),
            Error::PeerMisbehaved(PeerMisbehaved::TooManyEmptyFragments),
            Error::InvalidCertRevocationList(CertRevocationListError::BadSignature),
            Error::General("no verifier".to_owned()),
            Error::FailedToGetCurrentTime,
            Error::FailedToGetRandomBytes,
            Error::HandshakeNotComplete,
            Error::PeerSentOversizedRecord,
            Error::NoApplicationProtocol,
            Error::BadMaxFragmentSize,
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch),
            Error::Other(OtherError(Arc::new(Webpki("of a provider")))),
        ]);
        // Several capitals within a word, or brackets, are the name of a type.
        let is_name = |word: &str| {
            let inner = word.get(1..).unwrap_or_default();
            word.contains(['{', '(', '"']) || (inner.contains(char::is_uppercase) && inner.contains(char::is_lowercase))
        };
        let faults: Vec<String> =
            errors.iter().map(words).filter(|said| said.split_whitespace().any(is_name)).collect();
        assert!(faults.is_empty(), "an administrator reads the names of a library:\n{}", faults.join("\n"));
        let expired = words(&Error::AlertReceived(AlertDescription::CertificateExpired));
        assert_eq!(expired, "the server ends the connection: the client certificate has expired");
    }
}
