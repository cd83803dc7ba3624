//! Values of the metrics' labels, each a finite enum.

use std::fmt;

use prometheus_client::encoding::{EncodeLabelValue, LabelValueEncoder};

use crate::admission::Webhook;
use crate::admission::review::{Request, ReviewError};
use crate::kubevirt::resource::Resource;
use crate::policy::Exemption;
use crate::word::words;

macro_rules! labels {
    ($($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $text:literal,)* })*) => {$(
        words! {
            $(#[$meta])*
            $name { $($(#[$vmeta])* $variant = $text,)* }
        }

        impl EncodeLabelValue for $name {
            fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
                EncodeLabelValue::encode(&self.as_str(), encoder)
            }
        }
    )*};
}

labels! {
    /// The outcome of a request.
    RequestOutcome {
        /// Admitted without a warning.
        Admitted = "admitted",
        /// Admitted with warnings.
        Warned = "warned",
        /// Admitted with a patch.
        Patched = "patched",
        /// Denied.
        Denied = "denied",
        /// Admitted without a judgement: its time was used up.
        Late = "late",
        /// Admitted without a judgement: the judgement panicked.
        Panicked = "panicked",
        /// 400: the body is not a review.
        Malformed = "malformed",
        /// 413: the body is too large.
        TooLarge = "too-large",
        /// 415: the body was not sent as JSON.
        NotJson = "not-json",
        /// 408: the body did not arrive in time.
        Slow = "slow",
        /// 429: too many requests at once.
        Busy = "busy",
        /// 503: the input of judgements was not read yet.
        NotReady = "not-ready",
        /// 500: the response could not be written.
        Failed = "failed",
    }
    /// A reason why a body is not a review.
    DecodeReason {
        /// Empty body.
        Empty = "empty",
        /// Not UTF-8.
        NotUtf8 = "not-utf8",
        /// Cut off.
        Truncated = "truncated",
        /// Not JSON, or not an object.
        NotJson = "not-json",
        /// Nested too deeply.
        TooDeep = "too-deep",
        /// The object has another kind than expected.
        WrongKind = "wrong-kind",
        /// The object has another version than expected.
        WrongVersion = "wrong-version",
        /// A field is missing.
        MissingField = "missing-field",
        /// A field is of another type.
        WrongField = "wrong-field",
        /// The connection broke in the middle of the body.
        Broken = "broken",
    }
    /// The result of a change of the certificate files.
    ReloadResult {
        /// The new pair is served.
        Replaced = "replaced",
        /// The old pair is still served.
        Kept = "kept",
    }
    /// The result of a report for an Event.
    EventResult {
        /// An Event was created, or an existing one was updated.
        Written = "written",
        /// The report was counted in an existing Event.
        Deduplicated = "deduplicated",
        /// The report was dropped: its object or its namespace has used up its budget.
        Limited = "limited",
        /// The API server refused the Event, or could not be reached.
        Failed = "failed",
    }
    /// A reason why a connection ended without a request.
    HandshakeFailure {
        /// The client sent an alert, most often because it does not trust the certificate.
        Refused = "refused",
        /// The client has no certificate, or none that is accepted (`--client-ca`, `--client-name`).
        Client = "client-certificate",
        /// The handshake took too long.
        Slow = "slow",
        /// Any other reason, such as a port scan.
        Other = "other",
    }
}

/// The kind of the reviewed object. The value of its label is the kind of a resource that is read, or one of three
/// words, so that requests with made-up kinds add no values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReviewedKind {
    /// A resource that is read.
    Of(Resource),
    /// The eviction of a Pod.
    Eviction,
    /// Any other kind.
    Other,
    /// A request that was turned away before its kind was read.
    Unread,
}

impl ReviewedKind {
    /// Returns the kind of a request's object.
    #[must_use]
    pub fn of(request: &Request<'_>) -> Self {
        let (group, kind) = (&*request.kind.group, &*request.kind.kind);
        match Resource::of(group, kind) {
            Some(resource) => Self::Of(resource),
            None if (group, kind) == ("policy", "Eviction") => Self::Eviction,
            None => Self::Other,
        }
    }

    /// Returns the value of its label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Of(resource) => resource.kind(),
            Self::Eviction => "Eviction",
            Self::Other => "other",
            Self::Unread => "unread",
        }
    }
}

impl EncodeLabelValue for ReviewedKind {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        EncodeLabelValue::encode(&self.as_str(), encoder)
    }
}

impl From<&ReviewError> for DecodeReason {
    fn from(error: &ReviewError) -> Self {
        match error {
            ReviewError::Empty => Self::Empty,
            ReviewError::NotUtf8 { .. } => Self::NotUtf8,
            ReviewError::Truncated { .. } => Self::Truncated,
            ReviewError::NotJson { .. } | ReviewError::NotAnObject => Self::NotJson,
            ReviewError::TooDeep { .. } => Self::TooDeep,
            ReviewError::WrongKind { .. } => Self::WrongKind,
            ReviewError::WrongVersion { .. } => Self::WrongVersion,
            ReviewError::NoRequest | ReviewError::Missing { .. } | ReviewError::NoObject { .. } => Self::MissingField,
            ReviewError::Field { .. } => Self::WrongField,
        }
    }
}

impl EncodeLabelValue for Webhook {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        EncodeLabelValue::encode(&self.as_str(), encoder)
    }
}

impl EncodeLabelValue for Exemption {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        EncodeLabelValue::encode(&self.as_str(), encoder)
    }
}
