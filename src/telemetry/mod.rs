//! Log lines and metrics for operators.
//!
//! Labels are finite enums, so no request can add a series. Each request makes one metric and one log line.

mod exposition;
mod labels;
mod log;
mod metrics;
mod process;

use std::any::Any;

pub use exposition::Exposition;
pub use labels::{DecodeReason, EventResult, HandshakeFailure, ReloadResult, RequestOutcome, ReviewedKind};
pub(crate) use log::log_format;
pub use log::{LogFormat, TelemetryError, init};
pub use metrics::Metrics;

/// Returns the message of a panic's payload.
pub(crate) fn panic_message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}
