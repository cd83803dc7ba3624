//! Self-managed certificates. A Secret holds them, every replica serves them, and the leader creates and renews them
//! and writes the authority into the webhook configurations (`caBundle`).

mod rotation;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::{ApiResource, DynamicObject, ObjectMeta};
use kube::{Api, Client};
use rustls_pki_types::DnsName;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info, warn};

use super::connect::words;
use crate::pki::{PkiError, ServerNames};
use crate::telemetry::Metrics;
use crate::web::tls::{self, Resolver};
use rotation::{RotationStep, Stored};

/// Name of the Secret.
pub(crate) const SECRET: &str = "cpufit-certificates";
/// Name of the Service that the API server connects to, and of the webhook configurations.
const NAME: &str = "cpufit";
/// Maximum time of one round of requests.
const ROUND_TIMEOUT: Duration = Duration::from_secs(15);

/// The namespace of the certificates, and their validity.
#[derive(Clone, Debug)]
pub(crate) struct CertificateSettings {
    /// The namespace of the Secret and the Service.
    pub namespace: String,
    /// Validity of a certificate; it is replaced when a third of that is left.
    pub validity: Duration,
}

impl CertificateSettings {
    /// Returns the names that the API server connects to.
    fn names(&self) -> ServerNames {
        let namespace = &self.namespace;
        let names = ["svc.cluster.local", "svc", ""].map(|end| format!("{NAME}.{namespace}.{end}"));
        // A namespace's name is a valid DNS label.
        let dns = names.iter().filter_map(|name| DnsName::try_from(name.trim_end_matches('.').to_owned()).ok());
        ServerNames { dns: dns.collect(), ips: Vec::new() }
    }

    /// Returns the interval of checks of the Secret and the configurations.
    fn look(&self) -> Duration {
        (self.validity / 60).clamp(Duration::from_millis(200), Duration::from_secs(10))
    }

    /// Returns the time that API servers get to read a new authority.
    fn settling(&self) -> Duration {
        (self.validity / 6).min(Duration::from_secs(10))
    }
}

/// A reason why a round failed.
#[derive(Debug, thiserror::Error)]
enum RoundError {
    #[error("{what}: {}", words(source))]
    Api { what: &'static str, source: kube::Error },
    #[error("a certificate cannot be made: {0}")]
    Making(#[from] PkiError),
    #[error("no answer in {ROUND_TIMEOUT:?}")]
    Slow,
}

/// Serves the Secret's certificate forever, and maintains the Secret while this replica leads.
pub(crate) async fn run(
    client: Client,
    settings: CertificateSettings,
    resolver: Arc<Resolver>,
    mut leads: watch::Receiver<bool>,
    metrics: Arc<Metrics>,
) {
    let names = settings.names();
    let secrets = Api::namespaced(client.clone(), &settings.namespace);
    let mut keeper = Keeper {
        client,
        secrets,
        settings,
        names,
        resolver,
        metrics,
        served: None,
        last: None,
        published_bundle: None,
    };
    let mut trouble = None;
    loop {
        let is_leader = *leads.borrow_and_update();
        let outcome = timeout(ROUND_TIMEOUT, keeper.round(is_leader)).await.unwrap_or(Err(RoundError::Slow));
        match outcome.map_err(|error| error.to_string()) {
            Ok(()) => trouble = None,
            Err(error) if trouble.as_ref() == Some(&error) => debug!(error, "certificates cannot be reconciled"),
            Err(error) => {
                warn!(error, "certificates cannot be reconciled; retried every few seconds");
                trouble = Some(error);
            }
        }
        // Until a certificate is served, no review is answered, so the Secret is checked more often.
        let look = keeper.settings.look();
        let pause = if keeper.served.is_some() { look } else { look.min(Duration::from_millis(500)) };
        tokio::select! {
            () = sleep(pause) => {}
            changed = leads.changed() => if changed.is_err() { sleep(pause).await },
        }
    }
}

struct Keeper {
    client: Client,
    secrets: Api<Secret>,
    settings: CertificateSettings,
    names: ServerNames,
    resolver: Arc<Resolver>,
    metrics: Arc<Metrics>,
    /// The certificate that is served, as PEM.
    served: Option<String>,
    /// The last usable content of the Secret.
    last: Option<Stored>,
    /// The bundle in the webhook configurations, and the time since when.
    published_bundle: Option<(String, Instant)>,
}

impl Keeper {
    async fn round(&mut self, is_leader: bool) -> Result<(), RoundError> {
        let api = |what| move |source| RoundError::Api { what, source };
        let secret = self.secrets.get_opt(SECRET).await.map_err(api("reading the Secret"))?;
        let mut stored = match &secret {
            Some(secret) => self.read(secret),
            None => Stored::default(),
        };
        if is_leader {
            let now = SystemTime::now();
            let is_settled = self.is_settled(&stored);
            if stored.current().is_none() && self.last.is_some() {
                info!(secret = SECRET, "the Secret does not exist or holds no usable certificate");
            }
            let step;
            (stored, step) = stored.plan(self.last.as_ref(), self.settings.validity, is_settled, now);
            if step != RotationStep::Keep {
                stored = stored.after(step, &self.names, self.settings.validity, now)?;
                match self.store(secret, &stored).await {
                    Ok(()) => {}
                    // Another replica wrote it first: it is read in the next round.
                    Err(kube::Error::Api(status)) if status.code == 409 => return Ok(()),
                    Err(source) => return Err(RoundError::Api { what: "writing the Secret", source }),
                }
                info!(secret = SECRET, ?step, "certificates");
                if matches!(step, RotationStep::Make | RotationStep::Promote) {
                    self.metrics.certificate_rotation();
                }
            }
        }
        self.serve(&stored);
        if is_leader {
            self.publish(&stored.bundle()).await.map_err(api("writing caBundle into the webhook configurations"))?;
        } else {
            self.published_bundle = None;
        }
        if !stored.bundle().is_empty() {
            self.last = Some(stored);
        }
        Ok(())
    }

    fn read(&self, secret: &Secret) -> Stored {
        let none = BTreeMap::new();
        let data: BTreeMap<_, _> =
            secret.data.as_ref().unwrap_or(&none).iter().map(|(key, ByteString(value))| (key.clone(), value)).collect();
        Stored::read(&data, &self.names)
    }

    async fn store(&self, secret: Option<Secret>, stored: &Stored) -> kube::Result<()> {
        let data = stored.data().into_iter().map(|(key, value)| (key, ByteString(value.into_bytes()))).collect();
        let params = PostParams { field_manager: Some(NAME.to_owned()), ..PostParams::default() };
        if let Some(secret) = secret {
            // The request carries the version that was read, so only one of two concurrent writes succeeds.
            let secret = Secret { data: Some(data), ..secret };
            self.secrets.replace(SECRET, &params, &secret).await?;
        } else {
            let metadata = ObjectMeta {
                name: Some(SECRET.to_owned()),
                labels: Some([("app.kubernetes.io/name".to_owned(), NAME.to_owned())].into()),
                ..ObjectMeta::default()
            };
            let type_ = Some("kubernetes.io/tls".to_owned());
            self.secrets.create(&params, &Secret { metadata, type_, data: Some(data), ..Secret::default() }).await?;
        }
        Ok(())
    }

    fn serve(&mut self, stored: &Stored) {
        let Some(held) = stored.current() else { return };
        if self.served.as_ref() == Some(&held.pair.certificate_pem) {
            return;
        }
        let (chain, key) = (held.pair.certificate_pem.as_bytes(), held.pair.key_pem.as_bytes());
        match tls::CertifiedKeyPair::from_pem(("tls.crt of the Secret", chain), ("tls.key of the Secret", key)) {
            Ok(pair) => {
                self.resolver.replace(&pair);
                info!(secret = SECRET, not_after = pair.not_after(), "serving a new certificate");
            }
            Err(error) => warn!(%error, "the Secret's certificate cannot be used; the previous one stays in use"),
        }
        self.served = Some(held.pair.certificate_pem.clone());
    }

    fn is_settled(&self, stored: &Stored) -> bool {
        let published = self.published_bundle.as_ref().filter(|(bundle, _)| *bundle == stored.bundle());
        published.is_some_and(|(_, since)| since.elapsed() >= self.settings.settling())
    }

    /// Writes the bundle into both webhook configurations; skips one that does not exist.
    async fn publish(&mut self, bundle: &str) -> kube::Result<()> {
        let mut is_news = self.published_bundle.as_ref().is_none_or(|(published, _)| published != bundle);
        let kinds = [
            ApiResource::erase::<MutatingWebhookConfiguration>(&()),
            ApiResource::erase::<ValidatingWebhookConfiguration>(&()),
        ];
        for kind in &kinds {
            let api: Api<DynamicObject> = Api::all_with(self.client.clone(), kind);
            let Some(mut found) = api.get_opt(NAME).await? else {
                if is_news {
                    info!(kind = kind.kind, name = NAME, "the webhook configuration does not exist yet");
                }
                continue;
            };
            let params = PatchParams { field_manager: Some(NAME.to_owned()), ..PatchParams::default() };
            if let Some(patch) = trusting(&found.data, bundle) {
                found = api.patch(NAME, &params, &Patch::Strategic(&patch)).await?;
                info!(kind = kind.kind, name = NAME, "caBundle written");
                is_news = true;
            }
            if let Some(patch) = disowning(&found.metadata) {
                match api.patch(NAME, &params, &Patch::Merge(&patch)).await {
                    // Another client changed it meanwhile: retry at the next check.
                    Err(kube::Error::Api(status)) if status.code == 409 => {}
                    other => drop(other?),
                }
            }
        }
        if is_news {
            self.published_bundle = Some((bundle.to_owned(), Instant::now()));
        }
        Ok(())
    }
}

/// Returns a strategic merge patch that sets this bundle in all webhooks of a configuration; `None` if all have it.
fn trusting(configuration: &Value, bundle: &str) -> Option<Value> {
    let bundle = STANDARD.encode(bundle);
    let webhooks = configuration["webhooks"].as_array()?;
    if webhooks.iter().all(|webhook| webhook["clientConfig"]["caBundle"] == bundle.as_str()) {
        return None;
    }
    let trusting = |webhook: &Value| json!({"name": webhook["name"], "clientConfig": {"caBundle": bundle}});
    Some(json!({"webhooks": webhooks.iter().map(trusting).collect::<Vec<_>>()}))
}

/// Returns a merge patch that removes this program's field ownership from a configuration; `None` if it owns nothing.
///
/// An owned field would keep its webhook in the list. A server-side apply of a release with one webhook less, as by
/// Helm or Flux, would then be refused, because the remaining `caBundle` is no valid webhook.
fn disowning(metadata: &ObjectMeta) -> Option<Value> {
    let managers = metadata.managed_fields.as_ref()?;
    let others: Vec<_> = managers.iter().filter(|entry| entry.manager.as_deref() != Some(NAME)).collect();
    // An empty list of entries would leave the field unchanged.
    if others.len() == managers.len() || others.is_empty() {
        return None;
    }
    Some(json!({"metadata": {"resourceVersion": metadata.resource_version, "managedFields": others}}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_is_written_only_when_a_webhook_of_it_does_not_trust_the_bundle() {
        let webhook = |name: &str, bundle: Option<&str>| {
            let service = json!({"name": "cpufit", "namespace": "cpufit-system"});
            let bundle = bundle.map(|bundle| STANDARD.encode(bundle));
            json!({"name": name, "clientConfig": {"service": service, "caBundle": bundle}, "failurePolicy": "Ignore"})
        };
        let published = json!({"webhooks": [webhook("a", Some("AB")), webhook("b", Some("AB"))]});
        assert_eq!(trusting(&published, "AB"), None, "each look would be a write");
        assert_eq!(trusting(&json!({}), "AB"), None);
        let reset = json!({"webhooks": [webhook("a", Some("AB")), webhook("b", None)]});
        let bundle = STANDARD.encode("AB");
        let expected = json!({
            "webhooks": [
                {"name": "a", "clientConfig": {"caBundle": bundle}},
                {"name": "b", "clientConfig": {"caBundle": bundle}},
            ],
        });
        assert_eq!(trusting(&reset, "AB"), Some(expected), "and nothing else of it is touched");
        assert!(trusting(&published, "ABC").is_some());
    }

    #[test]
    fn the_leader_owns_no_field_of_a_configuration() {
        let metadata = |managers: &[&str]| {
            let managers: Vec<Value> = managers.iter().map(|manager| json!({"manager": manager})).collect();
            serde_json::from_value::<ObjectMeta>(json!({"resourceVersion": "7", "managedFields": managers})).unwrap()
        };
        let expected = json!({"metadata": {"resourceVersion": "7", "managedFields": [{"manager": "helm"}]}});
        assert_eq!(disowning(&metadata(&["helm", "cpufit"])), Some(expected));
        assert_eq!(disowning(&metadata(&["helm"])), None, "each look would be a write");
        assert_eq!(disowning(&metadata(&["cpufit"])), None);
        assert_eq!(disowning(&ObjectMeta::default()), None);
    }

    #[test]
    fn the_names_are_those_by_which_the_api_server_asks() {
        let settings =
            CertificateSettings { namespace: "harvester-system".to_owned(), validity: Duration::from_secs(60) };
        let names: Vec<String> = settings.names().dns.iter().map(|name| name.as_ref().to_owned()).collect();
        let expected =
            ["cpufit.harvester-system.svc.cluster.local", "cpufit.harvester-system.svc", "cpufit.harvester-system"];
        assert_eq!(names, expected);
    }
}
