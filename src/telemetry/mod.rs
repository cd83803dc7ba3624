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
pub use log::{LogFormat, TelemetryError, init, log_format};
pub use metrics::Metrics;
