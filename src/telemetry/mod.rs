//! What operators see: log lines and metrics.
//!
//! Labels are finite enums, so no request can add a series. One metric and one log line a request.

mod exposition;
mod labels;
mod log;
mod metrics;
mod process;

pub use exposition::Exposition;
pub use labels::{DecodeReason, EventResult, HandshakeFailure, ObjectKind, ReloadResult, RequestOutcome};
pub(crate) use log::log_format;
pub use log::{LogFormat, TelemetryError, init};
pub use metrics::Metrics;
