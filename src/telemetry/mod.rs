//! Log lines and metrics for operators.
//!
//! Labels are finite enums, so no request can add a series. Each request makes one metric and one log line.

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
