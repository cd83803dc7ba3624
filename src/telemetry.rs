//! What operators see: log lines and metrics.
//!
//! Labels are finite enums, so no request can add a series. One metric and one log line a request.

pub(crate) mod exposition;
mod process;

use std::fmt;
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use thiserror::Error;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{Format, FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::{FmtContext, MakeWriter};
use tracing_subscriber::registry::LookupSpan;

use crate::admission::Stage;
use crate::admission::review::{Request, ReviewError};
use crate::console;
use crate::domain::Domain;
use crate::fit::shown::Shown;
use crate::kubevirt::resource::Resource;
use crate::policy::Exemption;
use crate::word::{Word as _, words};

pub use exposition::Exposition;

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

/// Why logging could not be set up.
#[derive(Debug, Error)]
pub enum TelemetryError {
    /// The filter does not parse.
    #[error("log filter {filter:?} is not understood; examples: info, cpufit=debug, warn,cpufit::web::tls=debug")]
    Filter {
        /// The filter as given.
        filter: String,
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// Logging was set up before.
    #[error("logging is set up already")]
    Twice(#[source] tracing::subscriber::SetGlobalDefaultError),
}

/// Sends log lines to standard error, with the names of a cluster of this domain.
///
/// # Errors
/// The filter does not parse, or logging was set up before.
pub fn init(format: LogFormat, filter: &str, domain: &Domain) -> Result<(), TelemetryError> {
    let domain = domain.clone();
    let subscriber = subscriber(format, filter, move || Renamed(console::log(), domain.clone()))?;
    tracing::subscriber::set_global_default(subscriber).map_err(TelemetryError::Twice)?;
    // The first one counts.
    let _ = FORMAT.set(format);
    Ok(())
}

/// How the process logs, once it does.
static FORMAT: OnceLock<LogFormat> = OnceLock::new();

/// The format of the log; `None` where nothing is logged.
#[must_use]
pub fn log_format() -> Option<LogFormat> {
    FORMAT.get().copied()
}

/// A writer of whole lines, with the names of a cluster.
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

/// What [`init`] sets up, with another writer.
///
/// # Errors
/// The filter does not parse.
pub fn subscriber<W>(
    format: LogFormat,
    filter: &str,
    writer: W,
) -> Result<Box<dyn Subscriber + Send + Sync>, TelemetryError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    // The HTTP/2 library warns of each client that resets too many streams: a line a connection, whenever somebody likes.
    let quiet = if filter.contains("h2") { filter.to_owned() } else { format!("{filter},h2=error") };
    let parsed = EnvFilter::try_new(quiet);
    let filter = parsed.map_err(|source| TelemetryError::Filter { filter: filter.to_owned(), source })?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    Ok(match format {
        LogFormat::Text => {
            let lines = ShownLines { plain: Format::default(), is_coloured: console::is_log_read() };
            Box::new(builder.with_ansi(false).event_format(lines).finish())
        }
        LogFormat::Json => Box::new(builder.json().flatten_event(true).with_current_span(false).finish()),
    })
}

/// The text format. What objects and peers sent cannot forge a line: each event is one line of [`Shown`] text.
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
        /// Of another kind.
        WrongKind = "wrong-kind",
        /// Of another version.
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

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    webhook: Stage,
    kind: ObjectKind,
    outcome: RequestOutcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WebhookLabel {
    webhook: Stage,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BuildLabel {
    version: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DecodeLabel {
    reason: DecodeReason,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReloadLabel {
    result: ReloadResult,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EventLabel {
    result: EventResult,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ExemptionLabel {
    exemption: Exemption,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HandshakeLabel {
    reason: HandshakeFailure,
}

/// Ten microseconds to ten seconds: a judgement takes some of the former, an API server waits the latter.
const LATENCY_BUCKETS: [f64; 13] =
    [1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 1e-2, 5e-2, 2.5e-1, 1.0, 10.0];

/// All metrics of the process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    exempted: Family<ExemptionLabel, Counter>,
    latency: Family<WebhookLabel, Histogram, fn() -> Histogram>,
    decode_errors: Family<DecodeLabel, Counter>,
    judge_panics: Counter,
    reloads: Family<ReloadLabel, Counter>,
    expiry: Gauge<f64, AtomicU64>,
    rotations: Counter,
    events: Family<EventLabel, Counter>,
    handshake_failures: Family<HandshakeLabel, Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new(|_| {})
    }
}

impl Metrics {
    /// Metrics, with those that `more` registers besides; names get the prefix `cpufit_`.
    pub fn new(more: impl FnOnce(&mut Registry)) -> Self {
        let mut all = Registry::default();
        process::register(all.sub_registry_with_prefix("process"));
        let registry = all.sub_registry_with_prefix("cpufit");
        let requests = Family::default();
        registry.register("requests", "Admission requests by webhook, kind of object and outcome", requests.clone());
        let exempted = Family::default();
        registry.register(
            "exempted",
            "Requests that a policy would have denied but for an exemption",
            exempted.clone(),
        );
        let latency: Family<_, _, fn() -> _> = Family::new_with_constructor(|| Histogram::new(LATENCY_BUCKETS));
        registry.register(
            "request_duration_seconds",
            "Seconds from the request's head to its answer, the body's arrival included",
            latency.clone(),
        );
        let decode_errors = Family::default();
        registry.register("decode_errors", "Bodies that were no AdmissionReview, by reason", decode_errors.clone());
        let judge_panics = Counter::default();
        registry.register(
            "judge_panics",
            "Judgements that panicked; each such request was admitted with a warning",
            judge_panics.clone(),
        );
        let reloads = Family::default();
        registry.register(
            "certificate_reloads",
            "Changes of the serving certificate: replaced, or kept the old pair because the new one was unusable",
            reloads.clone(),
        );
        let expiry = Gauge::default();
        registry.register(
            "certificate_expiration_timestamp_seconds",
            "When the serving certificate expires, in seconds since 1970; 0 if unknown",
            expiry.clone(),
        );
        let rotations = Counter::default();
        registry.register(
            "certificate_rotations",
            "Certificates that this replica, as the leader, made and had served",
            rotations.clone(),
        );
        let events = Family::default();
        registry.register("events", "Reports for Events, by what became of them", events.clone());
        let handshake_failures = Family::default();
        registry.register(
            "tls_handshake_failures",
            "Connections that ended before a request; refused most often means that the caBundle is not the certificate's",
            handshake_failures.clone(),
        );
        let build = Family::<BuildLabel, Gauge>::default();
        build.get_or_create(&BuildLabel { version: env!("CARGO_PKG_VERSION") }).set(1);
        registry.register("build_info", "1, with the version of the program", build);
        more(registry);
        // A counter that exists from the start shows 0 where nothing happened.
        for reason in DecodeReason::ALL {
            drop(decode_errors.get_or_create(&DecodeLabel { reason: *reason }));
        }
        // A labelled namespace is left alone before anything is decided.
        for exemption in Exemption::ALL.iter().filter(|exemption| !exemption.is_silent()) {
            drop(exempted.get_or_create(&ExemptionLabel { exemption: *exemption }));
        }
        for result in ReloadResult::ALL {
            drop(reloads.get_or_create(&ReloadLabel { result: *result }));
        }
        for result in EventResult::ALL {
            drop(events.get_or_create(&EventLabel { result: *result }));
        }
        for reason in HandshakeFailure::ALL {
            drop(handshake_failures.get_or_create(&HandshakeLabel { reason: *reason }));
        }
        for stage in Stage::ALL {
            drop(latency.get_or_create(&WebhookLabel { webhook: stage }));
        }
        Self {
            registry: all,
            requests,
            exempted,
            latency,
            decode_errors,
            judge_panics,
            reloads,
            expiry,
            rotations,
            events,
            handshake_failures,
        }
    }

    /// A request was answered.
    pub fn request(&self, stage: Stage, kind: ObjectKind, outcome: RequestOutcome, took: Duration) {
        self.requests.get_or_create(&RequestLabels { webhook: stage, kind, outcome }).inc();
        self.latency.get_or_create(&WebhookLabel { webhook: stage }).observe(took.as_secs_f64());
    }

    /// A policy would have denied a request that was not a dry run, but for an exemption.
    pub fn exempted(&self, exemption: Exemption) {
        self.exempted.get_or_create(&ExemptionLabel { exemption }).inc();
    }

    /// A body was no review.
    pub fn decode_error(&self, reason: DecodeReason) {
        self.decode_errors.get_or_create(&DecodeLabel { reason }).inc();
    }

    /// A judgement panicked.
    pub fn judge_panic(&self) {
        self.judge_panics.inc();
    }

    /// The serving certificate changed, or would have.
    pub fn certificate_reload(&self, result: ReloadResult) {
        self.reloads.get_or_create(&ReloadLabel { result }).inc();
    }

    /// The serving certificate's end, in seconds since 1970.
    #[allow(clippy::cast_precision_loss, reason = "seconds since 1970 fit 52 bits for 142 million years")]
    pub fn certificate_expiry(&self, not_after: Option<i64>) {
        self.expiry.set(not_after.unwrap_or_default() as f64);
    }

    /// A certificate made here is served from now on.
    pub fn certificate_rotation(&self) {
        self.rotations.inc();
    }

    /// A report was queued for an Event.
    pub fn event(&self, result: EventResult) {
        self.events.get_or_create(&EventLabel { result }).inc();
    }

    /// A connection ended before a request.
    pub fn handshake_failure(&self, reason: HandshakeFailure) {
        self.handshake_failures.get_or_create(&HandshakeLabel { reason }).inc();
    }

    /// All, in this format.
    ///
    /// # Errors
    /// A metric of `more` cannot be written.
    pub fn render(&self, exposition: Exposition) -> Result<String, fmt::Error> {
        let mut text = String::with_capacity(8192);
        encode(&mut text, &self.registry)?;
        Ok(match exposition {
            Exposition::OpenMetrics => text,
            Exposition::Text => exposition::text(&text),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

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
    }

    /// A name that a stranger chose, in the message, in a value, and in the place of either.
    #[test]
    fn no_value_forges_a_line() {
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

    #[test]
    fn a_filter_that_does_not_parse_is_named() {
        let error = subscriber(LogFormat::Text, "cpufit=loud", io::sink).err().unwrap();
        assert!(error.to_string().contains("\"cpufit=loud\""), "{error}");
    }

    /// Dashboards and alerts are written against this text.
    #[test]
    fn the_metrics_text() {
        let metrics = Metrics::default();
        metrics.request(Stage::Validate, ObjectKind::Pod, RequestOutcome::Warned, Duration::from_micros(60));
        metrics.decode_error(DecodeReason::WrongVersion);
        metrics.judge_panic();
        metrics.exempted(Exemption::Controller);
        metrics.certificate_reload(ReloadResult::Kept);
        metrics.certificate_expiry(Some(1_900_000_000));
        let text = metrics.render(Exposition::OpenMetrics).unwrap();
        let (about, mut values): (Vec<&str>, Vec<&str>) = text
            .lines()
            // Those of the process: another test.
            .filter(|line| !line.contains("process_"))
            .partition(|line| line.starts_with('#'));
        insta::assert_snapshot!(about.join("\n"), @r#"
        # HELP cpufit_requests Admission requests by webhook, kind of object and outcome.
        # TYPE cpufit_requests counter
        # HELP cpufit_exempted Requests that a policy would have denied but for an exemption.
        # TYPE cpufit_exempted counter
        # HELP cpufit_request_duration_seconds Seconds from the request's head to its answer, the body's arrival included.
        # TYPE cpufit_request_duration_seconds histogram
        # HELP cpufit_decode_errors Bodies that were no AdmissionReview, by reason.
        # TYPE cpufit_decode_errors counter
        # HELP cpufit_judge_panics Judgements that panicked; each such request was admitted with a warning.
        # TYPE cpufit_judge_panics counter
        # HELP cpufit_certificate_reloads Changes of the serving certificate: replaced, or kept the old pair because the new one was unusable.
        # TYPE cpufit_certificate_reloads counter
        # HELP cpufit_certificate_expiration_timestamp_seconds When the serving certificate expires, in seconds since 1970; 0 if unknown.
        # TYPE cpufit_certificate_expiration_timestamp_seconds gauge
        # HELP cpufit_certificate_rotations Certificates that this replica, as the leader, made and had served.
        # TYPE cpufit_certificate_rotations counter
        # HELP cpufit_events Reports for Events, by what became of them.
        # TYPE cpufit_events counter
        # HELP cpufit_tls_handshake_failures Connections that ended before a request; refused most often means that the caBundle is not the certificate's.
        # TYPE cpufit_tls_handshake_failures counter
        # HELP cpufit_build_info 1, with the version of the program.
        # TYPE cpufit_build_info gauge
        # EOF
        "#);
        values.retain(|line| !line.contains("_bucket") && !line.ends_with(" 0"));
        values.sort_unstable();
        insta::assert_snapshot!(values.join("\n"), @r#"
        cpufit_build_info{version="0.1.0"} 1
        cpufit_certificate_expiration_timestamp_seconds 1900000000.0
        cpufit_certificate_reloads_total{result="kept"} 1
        cpufit_decode_errors_total{reason="wrong-version"} 1
        cpufit_exempted_total{exemption="controller"} 1
        cpufit_judge_panics_total 1
        cpufit_request_duration_seconds_count{webhook="validate"} 1
        cpufit_request_duration_seconds_sum{webhook="authorize"} 0.0
        cpufit_request_duration_seconds_sum{webhook="mutate"} 0.0
        cpufit_request_duration_seconds_sum{webhook="validate"} 0.00006
        cpufit_requests_total{webhook="validate",kind="Pod",outcome="warned"} 1
        "#);
    }
}
