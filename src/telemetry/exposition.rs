//! Formats of metrics: `OpenMetrics` for clients that request it, else the text format of Prometheus.

use std::fmt::Write as _;

/// A format of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposition {
    /// `OpenMetrics` 1.0.0.
    OpenMetrics,
    /// The text format of Prometheus, 0.0.4.
    Text,
}

impl Exposition {
    /// Returns the `Content-Type` of the response.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// Returns the format for a client's `Accept` headers, joined with commas: `OpenMetrics` if it is named and not
    /// less preferred.
    #[must_use]
    pub fn accepted(accept: &str) -> Self {
        let (mut open_metrics, mut text) = (0, 0);
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
            let (mut weight, mut is_known) = (1000, true);
            for parameter in parts {
                let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
                let value = value.trim().trim_matches('"');
                match name.trim().to_ascii_lowercase().as_str() {
                    "q" => weight = thousandths(value),
                    "version" if kind == "application/openmetrics-text" => {
                        is_known = matches!(value, "1.0.0" | "0.0.1");
                    }
                    _ => {}
                }
            }
            match kind.as_str() {
                "application/openmetrics-text" if is_known => open_metrics = weight.max(open_metrics),
                "text/plain" | "text/*" | "*/*" => text = weight.max(text),
                _ => {}
            }
        }
        if open_metrics > 0 && open_metrics >= text { Self::OpenMetrics } else { Self::Text }
    }
}

/// Parses a weight of RFC 9110 in thousandths: `0.5` is 500; 0 for anything else.
fn thousandths(text: &str) -> u16 {
    let weight = text.parse::<f64>().ok().filter(|weight| (0.0..=1.0).contains(weight));
    weight.map_or(0, |weight| {
        #[expect(clippy::cast_sign_loss, reason = "from 0 to 1000")]
        let weight = (weight * 1000.0).round() as u16;
        weight
    })
}

/// Converts `OpenMetrics` to the text format: metadata names the samples of counters, with `_total`; units and the end
/// marker are removed.
pub(crate) fn text(open_metrics: &str) -> String {
    let mut out = String::with_capacity(open_metrics.len());
    let mut help = None;
    for line in open_metrics.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("HELP"), Some(_), about) => help = about,
            (Some("#"), Some("TYPE"), Some(name), Some(kind)) => {
                let suffix = if kind == "counter" { "_total" } else { "" };
                if let Some(help) = help.take() {
                    // Writing to a String cannot fail.
                    let _ = writeln!(out, "# HELP {name}{suffix} {}", help.replace("\\\"", "\""));
                }
                let _ = writeln!(out, "# TYPE {name}{suffix} {kind}");
            }
            (Some("#"), ..) => {}
            _ => {
                out.push_str(line);
                out.push('\n');
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::none("", Exposition::Text)]
    #[case::anything("*/*", Exposition::Text)]
    #[case::prometheus_2(
        "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
        Exposition::OpenMetrics
    )]
    #[case::prometheus_3(
        "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,*/*;q=0.2",
        Exposition::OpenMetrics
    )]
    #[case::protobuf_first(
        "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.3",
        Exposition::OpenMetrics
    )]
    #[case::text_preferred("application/openmetrics-text;q=0.3, text/plain;q=0.9", Exposition::Text)]
    #[case::alike("text/plain, application/openmetrics-text", Exposition::OpenMetrics)]
    #[case::refused("application/openmetrics-text;q=0", Exposition::Text)]
    #[case::refused_in_full("application/openmetrics-text;q=0.000, */*", Exposition::Text)]
    #[case::another_version("application/openmetrics-text; version=2.0.0", Exposition::Text)]
    #[case::quoted(r#"Application/OpenMetrics-Text; Version="1.0.0"; charset=utf-8"#, Exposition::OpenMetrics)]
    #[case::browser("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", Exposition::Text)]
    #[case::weight_of_nonsense("application/openmetrics-text;q=much", Exposition::Text)]
    #[case::commas(",,;;,", Exposition::Text)]
    fn the_accept_header_chooses_the_metrics_format(#[case] accept: &str, #[case] expected: Exposition) {
        assert_eq!(Exposition::accepted(accept), expected);
    }

    #[test]
    fn metadata_name_the_samples() {
        let open_metrics = "# HELP a_seconds \\\"Waited\\\".\n# TYPE a_seconds counter\n# UNIT a_seconds seconds\na_seconds_total{b=\"# c\"} 1.5\n\
            # HELP d E f.\n# TYPE d gauge\nd 2\n# TYPE e counter\n# EOF\n";
        insta::assert_snapshot!(text(open_metrics), @r##"
        # HELP a_seconds_total "Waited".
        # TYPE a_seconds_total counter
        a_seconds_total{b="# c"} 1.5
        # HELP d E f.
        # TYPE d gauge
        d 2
        # TYPE e_total counter
        "##);
    }
}
