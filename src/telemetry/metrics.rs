//! The metrics of the process: names, meanings, and counters.

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

use super::exposition::{self, Exposition};
use super::labels::{DecodeReason, EventResult, HandshakeFailure, ReloadResult, RequestOutcome, ReviewedKind};
use super::process;
use crate::admission::Webhook;
use crate::policy::Exemption;
use crate::word::Word as _;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    webhook: Webhook,
    kind: ReviewedKind,
    outcome: RequestOutcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WebhookLabel {
    webhook: Webhook,
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

/// Buckets in seconds, from ten microseconds to ten seconds: a judgement takes some of the former, and an API server
/// waits the latter.
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

/// Registers a metric, and returns it.
fn registered<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register(name, help, metric.clone());
    metric
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new(|_| {})
    }
}

impl Metrics {
    /// Creates the metrics, with additional ones that `more` registers; names get the prefix `cpufit_`.
    pub fn new(more: impl FnOnce(&mut Registry)) -> Self {
        let mut all = Registry::default();
        process::register(all.sub_registry_with_prefix("process"));
        let registry = all.sub_registry_with_prefix("cpufit");
        let latency: Family<_, _, fn() -> _> = Family::new_with_constructor(|| Histogram::new(LATENCY_BUCKETS));
        let requests = registered(
            registry,
            "requests",
            "Admission requests by webhook, kind of object and outcome",
            Family::default(),
        );
        let exempted = registered(
            registry,
            "exempted",
            "Requests that a policy would have denied without an exemption",
            Family::default(),
        );
        let latency = registered(
            registry,
            "request_duration_seconds",
            "Seconds from the arrival of the request's head to its answer, including the arrival of the body",
            latency,
        );
        let decode_errors = registered(
            registry,
            "decode_errors",
            "Request bodies that were not an AdmissionReview, by reason",
            Family::default(),
        );
        let judge_panics = registered(
            registry,
            "judge_panics",
            "Judgements that panicked; each such request was admitted with a warning",
            Counter::default(),
        );
        let reloads = registered(
            registry,
            "certificate_reloads",
            "Changes of the serving certificate: replaced, or kept the old pair because the new one was unusable",
            Family::default(),
        );
        let expiry = registered(
            registry,
            "certificate_expiration_timestamp_seconds",
            "When the serving certificate expires, in seconds since 1970; 0 if unknown",
            Gauge::default(),
        );
        let rotations = registered(
            registry,
            "certificate_rotations",
            "Certificates issued by this replica as the leader",
            Counter::default(),
        );
        let events = registered(registry, "events", "Reports for Events, by result", Family::default());
        let handshake_failures = registered(
            registry,
            "tls_handshake_failures",
            "Connections that ended before a request; refused usually means that caBundle does not match the certificate",
            Family::default(),
        );
        let build = Family::<BuildLabel, Gauge>::default();
        build.get_or_create(&BuildLabel { version: env!("CARGO_PKG_VERSION") }).set(1);
        registry.register("build_info", "1, with the version of the program", build);
        more(registry);
        // Counters that exist from the start show 0 before the first event.
        for reason in DecodeReason::ALL {
            drop(decode_errors.get_or_create(&DecodeLabel { reason: *reason }));
        }
        // An exemption by a namespace's label ends before a decision, so it is not counted.
        for exemption in Exemption::ALL.iter().filter(|exemption| !exemption.is_entire()) {
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
        for webhook in Webhook::ALL {
            drop(latency.get_or_create(&WebhookLabel { webhook: *webhook }));
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

    /// Counts an answered request.
    pub fn request(&self, webhook: Webhook, kind: ReviewedKind, outcome: RequestOutcome, took: Duration) {
        self.requests.get_or_create(&RequestLabels { webhook, kind, outcome }).inc();
        self.latency.get_or_create(&WebhookLabel { webhook }).observe(took.as_secs_f64());
    }

    /// Counts a request, other than a dry run, that a policy would have denied without an exemption.
    pub fn exempted(&self, exemption: Exemption) {
        self.exempted.get_or_create(&ExemptionLabel { exemption }).inc();
    }

    /// Counts a body that is not a review.
    pub(crate) fn decode_error(&self, reason: DecodeReason) {
        self.decode_errors.get_or_create(&DecodeLabel { reason }).inc();
    }

    /// Counts a judgement that panicked.
    pub(crate) fn judge_panic(&self) {
        self.judge_panics.inc();
    }

    /// Counts a change of the serving certificate, whether it was usable or not.
    pub(crate) fn certificate_reload(&self, result: ReloadResult) {
        self.reloads.get_or_create(&ReloadLabel { result }).inc();
    }

    /// Sets the serving certificate's expiry, in seconds since 1970.
    #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 fit 52 bits for 142 million years")]
    pub(crate) fn certificate_expiry(&self, not_after: Option<i64>) {
        self.expiry.set(not_after.unwrap_or_default() as f64);
    }

    /// Counts a new self-managed certificate that is served from now on.
    pub(crate) fn certificate_rotation(&self) {
        self.rotations.inc();
    }

    /// Counts a report for an Event.
    pub fn event(&self, result: EventResult) {
        self.events.get_or_create(&EventLabel { result }).inc();
    }

    /// Counts a connection that ended before a request.
    pub(crate) fn handshake_failure(&self, reason: HandshakeFailure) {
        self.handshake_failures.get_or_create(&HandshakeLabel { reason }).inc();
    }

    /// Returns all metrics in this format.
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
    use super::*;
    use crate::kubevirt::resource::Resource;

    /// Dashboards and alerts depend on this text.
    #[test]
    fn every_metric_has_its_name_help_and_labels() {
        let metrics = Metrics::default();
        metrics.request(
            Webhook::Validate,
            ReviewedKind::Of(Resource::Pods),
            RequestOutcome::Warned,
            Duration::from_micros(60),
        );
        metrics.decode_error(DecodeReason::WrongVersion);
        metrics.judge_panic();
        metrics.exempted(Exemption::Controller);
        metrics.certificate_reload(ReloadResult::Kept);
        metrics.certificate_expiry(Some(1_900_000_000));
        let text = metrics.render(Exposition::OpenMetrics).unwrap();
        let (about, mut values): (Vec<&str>, Vec<&str>) = text
            .lines()
            // Metrics of the process have another test.
            .filter(|line| !line.contains("process_"))
            .partition(|line| line.starts_with('#'));
        insta::assert_snapshot!(about.join("\n"), @r#"
        # HELP cpufit_requests Admission requests by webhook, kind of object and outcome.
        # TYPE cpufit_requests counter
        # HELP cpufit_exempted Requests that a policy would have denied without an exemption.
        # TYPE cpufit_exempted counter
        # HELP cpufit_request_duration_seconds Seconds from the arrival of the request's head to its answer, including the arrival of the body.
        # TYPE cpufit_request_duration_seconds histogram
        # HELP cpufit_decode_errors Request bodies that were not an AdmissionReview, by reason.
        # TYPE cpufit_decode_errors counter
        # HELP cpufit_judge_panics Judgements that panicked; each such request was admitted with a warning.
        # TYPE cpufit_judge_panics counter
        # HELP cpufit_certificate_reloads Changes of the serving certificate: replaced, or kept the old pair because the new one was unusable.
        # TYPE cpufit_certificate_reloads counter
        # HELP cpufit_certificate_expiration_timestamp_seconds When the serving certificate expires, in seconds since 1970; 0 if unknown.
        # TYPE cpufit_certificate_expiration_timestamp_seconds gauge
        # HELP cpufit_certificate_rotations Certificates issued by this replica as the leader.
        # TYPE cpufit_certificate_rotations counter
        # HELP cpufit_events Reports for Events, by result.
        # TYPE cpufit_events counter
        # HELP cpufit_tls_handshake_failures Connections that ended before a request; refused usually means that caBundle does not match the certificate.
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
