//! Parsers of option values.

use std::time::Duration;

use crate::fit::syntax;
use crate::kubevirt::release::Release;

/// Parses a release of KubeVirt.
pub(super) fn release(text: &str) -> Result<Release, String> {
    Release::parse(text).ok_or_else(|| "say it as KubeVirt does, for example v1.6.3".to_owned())
}

/// Parses a time in whole milliseconds.
pub(super) fn milliseconds(text: &str) -> Result<Duration, String> {
    text.parse().map(Duration::from_millis).map_err(|_| "say whole milliseconds, for example 20".to_owned())
}

/// Parses a time in whole seconds.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    // A larger number, more than a century, would overflow a clock.
    let whole = text.trim_end_matches('s').parse::<u32>().map_err(|_| "say whole seconds, for example 20".to_owned());
    whole.map(|whole| Duration::from_secs(whole.into()))
}

/// The default filter of the log.
pub(super) const LOG: &str = "info";

/// Parses the filter of the log; an empty one, as an environment variable may be, means the default.
#[allow(clippy::unnecessary_wraps, reason = "a value parser returns a result")]
pub(super) fn log(text: &str) -> Result<String, String> {
    Ok(if text.trim().is_empty() { LOG } else { text }.to_owned())
}

/// Parses an image: a name with a tag or a digest, with the characters that references may have.
///
/// # Errors
///
/// Returns an error for other characters, or without tag and digest.
pub(in crate::cli) fn image(text: &str) -> Result<String, String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/:@".contains(&byte);
    // A colon before the last slash precedes a port.
    let last = text.rsplit('/').next().unwrap_or_default();
    if !text.is_empty() && text.bytes().all(is_plain) && !last.starts_with([':', '@']) && last.contains([':', '@']) {
        return Ok(text.to_owned());
    }
    Err("say it with its tag or digest, for example registry.example/cpufit:v0.1.0".to_owned())
}

/// Parses a namespace.
///
/// # Errors
///
/// Returns an error if the text is no valid namespace name.
pub(in crate::cli) fn namespace(text: &str) -> Result<String, String> {
    syntax::dns_label(text).map(|()| text.to_owned()).map_err(str::to_owned)
}
