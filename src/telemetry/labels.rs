//! The values of the metrics' labels, each a finite enum.

use std::fmt;

use prometheus_client::encoding::{EncodeLabelValue, LabelValueEncoder};

use crate::admission::Stage;
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
    /// What was reviewed.
    ObjectKind {
        /// A VirtualMachine.
        VirtualMachine = "VirtualMachine",
        /// A VirtualMachineInstance.
        VirtualMachineInstance = "VirtualMachineInstance",
        /// A `VirtualMachineInstanceReplicaSet`.
        ReplicaSet = "VirtualMachineInstanceReplicaSet",
        /// A `VirtualMachinePool`.
        Pool = "VirtualMachinePool",
        /// A VirtualMachineInstanceMigration.
        Migration = "VirtualMachineInstanceMigration",
        /// The KubeVirt custom resource.
        KubeVirt = "KubeVirt",
        /// A Pod.
        Pod = "Pod",
        /// The eviction of a Pod.
        Eviction = "Eviction",
        /// A Node.
        Node = "Node",
        /// A `CPUPolicy`.
        Policy = "CPUPolicy",
        /// Anything else.
        Other = "other",
        /// The request was turned away before its kind was read.
        Unread = "unread",
    }
    /// How a request ended.
    RequestOutcome {
        /// Admitted, nothing said.
        Admitted = "admitted",
        /// Admitted with warnings.
        Warned = "warned",
        /// Admitted with a patch.
        Patched = "patched",
        /// Denied.
        Denied = "denied",
        /// Admitted unjudged: its time was used up.
        Late = "late",
        /// Admitted unjudged: the judgement panicked.
        Panicked = "panicked",
        /// 400: not a review.
        Malformed = "malformed",
        /// 413: too large.
        TooLarge = "too-large",
        /// 415: not sent as JSON.
        NotJson = "not-json",
        /// 408: the body did not arrive in time.
        Slow = "slow",
        /// 429: too many at once.
        Busy = "busy",
        /// 503: nothing to judge by yet.
        NotReady = "not-ready",
        /// 500: the answer could not be written.
        Failed = "failed",
    }
    /// Why a body was no review.
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
    /// What a change of the certificate files led to.
    ReloadResult {
        /// The new pair serves.
        Replaced = "replaced",
        /// The old pair goes on serving.
        Kept = "kept",
    }
    /// What became of a report that was to become an Event.
    EventResult {
        /// An Event was written, or one that counts several was renewed.
        Written = "written",
        /// Counted in an Event that was there.
        Deduplicated = "deduplicated",
        /// Left out: its object or its namespace has used up its budget.
        Limited = "limited",
        /// The API server refused it or could not be reached.
        Failed = "failed",
    }
    /// Why no request came of a connection.
    HandshakeFailure {
        /// The client sent an alert, most often because it does not trust the certificate.
        Refused = "refused",
        /// The client has no certificate, or none that is asked for (`--client-ca`, `--client-name`).
        Client = "client-certificate",
        /// It took too long.
        Slow = "slow",
        /// Anything else, such as a port scan.
        Other = "other",
    }
}

impl ObjectKind {
    /// The kind of a request.
    #[must_use]
    pub fn of(request: &Request<'_>) -> Self {
        let (group, kind) = (&*request.kind.group, &*request.kind.kind);
        match Resource::of(group, kind) {
            Some(Resource::VirtualMachines) => Self::VirtualMachine,
            Some(Resource::Vmis) => Self::VirtualMachineInstance,
            Some(Resource::ReplicaSets) => Self::ReplicaSet,
            Some(Resource::Pools) => Self::Pool,
            Some(Resource::Migrations) => Self::Migration,
            Some(Resource::KubeVirts) => Self::KubeVirt,
            Some(Resource::Pods) => Self::Pod,
            Some(Resource::Nodes) => Self::Node,
            Some(Resource::Policies) => Self::Policy,
            None if (group, kind) == ("policy", "Eviction") => Self::Eviction,
            _ => Self::Other,
        }
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

impl EncodeLabelValue for Stage {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        EncodeLabelValue::encode(&self.as_str(), encoder)
    }
}

impl EncodeLabelValue for Exemption {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        EncodeLabelValue::encode(&self.as_str(), encoder)
    }
}
