//! Log lines: text for people or JSON, filtered, one line for each event.

use std::fmt;
use std::io;
use std::sync::OnceLock;

use thiserror::Error;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::{Format, FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::{FmtContext, MakeWriter};
use tracing_subscriber::registry::LookupSpan;

use crate::console;
use crate::domain::Domain;
use crate::fit::shown::Shown;
use crate::word::{readable, words};

words! {
    /// The shape of log lines.
    #[derive(Default)]
    LogFormat {
        /// For people; coloured on a terminal.
        #[default]
        Text = "text",
        /// One JSON object a line.
        Json = "json",
    }
}

readable!(LogFormat);

/// A reason why logging could not be set up.
#[derive(Debug, Error)]
pub enum TelemetryError {
    /// The filter does not parse.
    #[error("log filter {filter:?} is not understood; examples: info, cpufit=debug, warn,cpufit::web::tls=debug")]
    Filter {
        /// The filter as given.
        filter: String,
        /// The parse error.
        source: tracing_subscriber::filter::ParseError,
    },
    /// A part of the filter is a mistyped level, which would be taken for the name of a module and log nothing.
    #[error(
        "log filter {filter:?}: {part:?} is no level (error, warn, info, debug, trace, off), and no module with a level, such as cpufit=debug"
    )]
    NoLevel {
        /// The filter as given.
        filter: String,
        /// The part.
        part: String,
    },
    /// Logging was already set up.
    #[error("logging is set up already")]
    Twice(#[source] tracing::subscriber::SetGlobalDefaultError),
}

/// Sends log lines to standard error, with the names of a cluster of this domain.
///
/// # Errors
/// The filter does not parse, or logging was already set up.
pub fn init(format: LogFormat, filter: &str, domain: &Domain) -> Result<(), TelemetryError> {
    let domain = domain.clone();
    let subscriber = subscriber(format, filter, move || Renamed(console::log(), domain.clone()))?;
    tracing::subscriber::set_global_default(subscriber).map_err(TelemetryError::Twice)?;
    // The first call counts.
    let _ = FORMAT.set(format);
    Ok(())
}

/// The format of the process's log, once it is set up.
static FORMAT: OnceLock<LogFormat> = OnceLock::new();

/// Returns the format of the log; `None` if nothing is logged.
pub(crate) fn log_format() -> Option<LogFormat> {
    FORMAT.get().copied()
}

/// A writer of whole lines that translates names to those of a cluster.
struct Renamed<W>(W, Domain);

impl<W: io::Write> io::Write for Renamed<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.write_all(&self.1.exchanged(line))?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Returns the first part of a filter that is a mistyped level: `EnvFilter` takes a word alone for a module, and logs
/// nothing of others. A part with a span (`[…]`) may hold any words.
fn mistyped(filter: &str) -> Option<&str> {
    let is_level = |word: &str| word.parse::<LevelFilter>().is_ok();
    let is_mistyped = |part: &&str| match part.split_once('=') {
        Some((module, _)) => is_level(module),
        None => !part.is_empty() && !is_level(part) && !part.contains("::") && *part != env!("CARGO_CRATE_NAME"),
    };
    if filter.contains('[') { None } else { filter.split(',').map(str::trim).find(is_mistyped) }
}

/// Returns the subscriber that [`init`] sets up, with this writer.
///
/// # Errors
/// The filter does not parse.
fn subscriber<W>(
    format: LogFormat,
    filter: &str,
    writer: W,
) -> Result<Box<dyn Subscriber + Send + Sync>, TelemetryError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    // The HTTP/2 library warns of each client that resets too many streams, so any client could cause a line for each
    // connection.
    let mut quiet = if filter.contains("h2") { filter.to_owned() } else { format!("{filter},h2=error") };
    // The library of watches logs each refusal too, which `live::watch` logs in words.
    if !filter.contains("kube_runtime") {
        quiet.push_str(",kube_runtime=error");
    }
    let parsed = EnvFilter::try_new(quiet);
    let parsed = parsed.map_err(|source| TelemetryError::Filter { filter: filter.to_owned(), source })?;
    if let Some(part) = mistyped(filter) {
        return Err(TelemetryError::NoLevel { filter: filter.to_owned(), part: part.to_owned() });
    }
    let builder = tracing_subscriber::fmt().with_env_filter(parsed).with_writer(writer);
    Ok(match format {
        LogFormat::Text => {
            let lines = ShownLines { plain: Format::default(), is_coloured: console::is_log_read() };
            Box::new(builder.with_ansi(false).event_format(lines).finish())
        }
        LogFormat::Json => Box::new(builder.json().flatten_event(true).with_current_span(false).finish()),
    })
}

/// The text format. Data of objects and peers cannot forge a line: each event is one line of [`Shown`] text.
struct ShownLines {
    plain: Format,
    is_coloured: bool,
}

impl<S, N> FormatEvent<S, N> for ShownLines
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    N: for<'w> FormatFields<'w> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = String::new();
        self.plain.format_event(context, Writer::new(&mut line), event)?;
        let line = Shown::new(line.trim_end());
        match *event.metadata().level() {
            Level::ERROR if self.is_coloured => writeln!(out, "\u{1b}[31m{line}\u{1b}[0m"),
            Level::WARN if self.is_coloured => writeln!(out, "\u{1b}[33m{line}\u{1b}[0m"),
            _ => writeln!(out, "{line}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::word::Word as _;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, filter: &str) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        tracing::subscriber::with_default(subscriber(format, filter, move || writer.clone()).unwrap(), || {
            tracing::info!(node = "node-a", "noted");
            tracing::debug!("not noted");
            tracing::warn!(target: "h2::proto::streams::recv", "reset");
            tracing::warn!(target: "kube_runtime::watcher", "watch list error with 403: Status {{ .. }}");
        });
        let bytes = lines.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn every_log_format_is_read_as_it_is_written() {
        for format in LogFormat::ALL {
            assert_eq!(format.to_string().parse().as_ref(), Ok(format));
        }
        assert_eq!("yaml".parse::<LogFormat>().unwrap_err().to_string(), r#""yaml" is not one of text, json"#);
    }

    #[test]
    fn json_lines_are_json_and_the_filter_filters() {
        let line = logged(LogFormat::Json, "info");
        let value: serde_json::Value = serde_json::from_str(line.trim_end()).expect("one object on one line");
        assert_eq!((&value["node"], &value["message"]), (&"node-a".into(), &"noted".into()));
        assert!(logged(LogFormat::Text, "info").contains("noted node=\"node-a\""));
        assert_eq!(logged(LogFormat::Text, "warn"), "");
        assert!(logged(LogFormat::Text, "warn,h2=warn").contains("reset"), "who asks for it gets it");
        assert!(logged(LogFormat::Text, "warn,kube_runtime=warn").contains("watch list"), "who asks for it gets it");
    }

    /// A hostile name in the message, in a value, and instead of either.
    #[test]
    fn no_value_adds_a_line_to_the_log() {
        let hostile = "a\nERROR cpufit: forged\r\u{1b}[2J\u{1b}]0;x\u{7}\u{9b}1m\u{202e}\u{2028}b";
        let lines = Lines::default();
        let writer = lines.clone();
        let text = subscriber(LogFormat::Text, "info", move || writer.clone()).unwrap();
        tracing::subscriber::with_default(text, || {
            let error = io::Error::other(hostile);
            tracing::info!(name = %hostile, quoted = hostile, ?hostile, error = &error as &dyn std::error::Error, "said");
            tracing::warn!("{hostile}");
            let _entered = tracing::info_span!("span", name = %hostile).entered();
            tracing::error!("in a span");
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 3, "{text}");
        for line in text.lines() {
            assert_eq!(Shown::new(line).as_str(), line);
        }
    }

    /// A crash loop without a line in the log could not be explained.
    #[test]
    fn a_mistyped_log_level_is_an_error() {
        for (filter, part) in [
            ("warning", "warning"),
            ("verbose", "verbose"),
            ("info,fatal", "fatal"),
            ("critical,h2=error", "critical"),
            ("trace=1", "trace=1"),
        ] {
            let error = subscriber(LogFormat::Json, filter, io::sink).err().map(|error| error.to_string());
            let names = error.as_ref().is_some_and(|error| error.contains(&format!("{part:?} is no level")));
            assert!(names, "{filter:?} logs nothing, and nothing says so: {error:?}");
        }
        for filter in
            ["info", "WARN", "off", "cpufit=debug", "cpufit", "warn,cpufit::web::tls=debug", "cpufit::web", "", "3"]
        {
            assert!(subscriber(LogFormat::Json, filter, io::sink).is_ok(), "{filter:?} is a filter");
        }
    }

    #[test]
    fn a_filter_that_does_not_parse_is_named() {
        let error = subscriber(LogFormat::Text, "cpufit=loud", io::sink).err().unwrap();
        assert!(error.to_string().contains("\"cpufit=loud\""), "{error}");
    }
}
