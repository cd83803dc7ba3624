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
#[expect(clippy::unnecessary_wraps, reason = "a value parser returns a result")]
pub(super) fn log(text: &str) -> Result<String, String> {
    Ok(if text.trim().is_empty() { LOG } else { text }.to_owned())
}

/// Parses an image: the name of a repository with a tag or a digest, as the chart's `image` values are.
///
/// # Errors
///
/// Returns an error for other characters, or without tag and digest.
pub(in crate::cli) fn image(text: &str) -> Result<String, String> {
    let (tagged, digest) = text.split_once('@').map_or((text, None), |(tagged, digest)| (tagged, Some(digest)));
    // A colon before the last slash precedes a port.
    let (name, tag) = match tagged.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (tagged, None),
    };
    let is_reference = (tag.is_some() || digest.is_some())
        && tag.is_none_or(is_tag)
        && digest.is_none_or(is_digest)
        && is_repository(name);
    if is_reference {
        return Ok(text.to_owned());
    }
    Err("say it with its tag or digest, for example registry.example/cpufit:v0.1.0".to_owned())
}

/// Whether a text is a tag, by the reference grammar of the `distribution` project (`reference/regexp.go`).
fn is_tag(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let rest = |byte: u8| is_word(byte) || b".-".contains(&byte);
    text.len() <= 128 && text.bytes().next().is_some_and(is_word) && text.bytes().all(rest)
}

/// Whether a text is a SHA-256 digest, the only one that registries give.
fn is_digest(text: &str) -> bool {
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.strip_prefix("sha256:").is_some_and(|hex| hex.len() == 64 && hex.bytes().all(is_hex))
}

/// Whether a text is the name of a repository, with or without its registry.
fn is_repository(text: &str) -> bool {
    let path = match text.split_once('/') {
        // A registry has a dot or a port, or is localhost.
        Some((registry, path)) if registry.contains(['.', ':']) || registry == "localhost" => {
            let host = registry.split_once(':').map_or(registry, |(host, _)| host);
            let port = registry.split_once(':').map(|(_, port)| port);
            let is_port = |port: &str| port.parse::<u16>().is_ok();
            if syntax::subdomain(&host.to_ascii_lowercase()).is_err() || !port.is_none_or(is_port) {
                return false;
            }
            path
        }
        _ => text,
    };
    let is_alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    path.split('/').all(|part| {
        let bytes = part.as_bytes();
        let ends = bytes
            .first()
            .zip(bytes.last())
            .is_some_and(|(first, last)| is_alphanumeric(*first) && is_alphanumeric(*last));
        ends && bytes.iter().all(|byte| is_alphanumeric(*byte) || b"._-".contains(byte))
    })
}

/// Parses a namespace.
///
/// # Errors
///
/// Returns an error if the text is no valid namespace name.
pub(in crate::cli) fn namespace(text: &str) -> Result<String, String> {
    syntax::dns_label(text).map(|()| text.to_owned()).map_err(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::image;

    /// A pod with an image that is no reference never starts: `InvalidImageName`.
    #[test]
    fn an_image_is_a_reference_with_a_tag_or_a_digest() {
        let digest = format!("sha256:{}", "00ff".repeat(16));
        for text in [
            "cpufit:v1".to_owned(),
            "a/cpufit:v1_2.3-x".to_owned(),
            "registry.example:5000/a/cpufit:v9".to_owned(),
            "localhost/cpufit:1".to_owned(),
            format!("registry.example/a/cpufit@{digest}"),
            format!("cpufit:v1@{digest}"),
        ] {
            assert_eq!(image(&text).as_ref(), Ok(&text), "a valid image is refused");
        }
        for text in [
            "",
            "cpufit",
            "a:b:c",
            "x@sha256:abc",
            "x@md5:00",
            "registry.example:5000/cpufit",
            "registry.example/Cpufit:v1",
            "cpufit:-v1",
            "cpufit:",
            "-cpufit:v1",
            "a//b:v1",
            "a b:v1",
            "registry.example:port/a:v1",
        ] {
            assert!(image(text).is_err(), "{text:?} is no image, and its pods would not start");
        }
    }
}
