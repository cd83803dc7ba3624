//! A simulation of the parts of KubeVirt that interact with cpufit at the API server: its webhooks by a server in the
//! test, the states of guests by kwok.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};

use crate::controlplane::ControlPlane;
use crate::process::Server;
use crate::servers::Https;
use crate::world::data;

/// Simulates virt-controller and virt-handler: guests annotated with `test.cpufit.io/node` start to run there.
/// KubeVirt's kinds must be served.
#[track_caller]
pub fn play_guests(cluster: &ControlPlane) -> Option<Server> {
    cluster.play(&data("stages"))
}

/// Creates a client from a kubeconfig file.
///
/// # Errors
///
/// Returns an error if the file is no kubeconfig, or no client can be created from it.
pub async fn client(kubeconfig: &std::path::Path) -> Result<Client, Box<dyn std::error::Error + Send + Sync>> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

/// An answer in JSON.
pub type Answer = ([(http::HeaderName, &'static str); 1], String);

/// Returns the answer to a request of an admission review.
pub fn answer(request: &Value, mut response: Value) -> Answer {
    response["uid"] = request["uid"].clone();
    let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response});
    ([(http::header::CONTENT_TYPE, "application/json")], review.to_string())
}

/// Returns the request of an admission review.
pub fn request(review: &[u8]) -> Value {
    serde_json::from_slice::<Value>(review).expect("the API server sends reviews")["request"].take()
}

/// A simulated virt-api: KubeVirt's webhooks, under their own names. The test selects those that the API server calls.
pub struct VirtApi<'a> {
    cluster: &'a ControlPlane,
    server: Https,
    seen: Arc<Mutex<Vec<Value>>>,
}

#[derive(Clone)]
struct Shared {
    kubeconfig: Arc<std::path::Path>,
    seen: Arc<Mutex<Vec<Value>>>,
}

impl<'a> VirtApi<'a> {
    #[track_caller]
    pub fn start(cluster: &'a ControlPlane) -> Self {
        let seen = Arc::default();
        let shared = Shared { kubeconfig: cluster.admin().into(), seen: Arc::clone(&seen) };
        let router = Router::new()
            .route("/launcher-eviction-validate", post(intercept_eviction))
            .route("/virtualmachineinstances-mutate", post(set_defaults))
            .with_state(shared);
        let pair = cluster.authority().server(&["virt-api"], &[std::net::Ipv4Addr::LOCALHOST.into()]);
        Self { cluster, server: Https::start(&pair, router), seen }
    }

    /// Registers `virt-launcher-eviction-interceptor`: a launcher pod is not evicted, its guest migrates.
    #[track_caller]
    pub fn intercept_evictions(&self) {
        let rule = json!({
            "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods/eviction"], "operations": ["*"],
            "scope": "Namespaced",
        });
        let name = "virt-launcher-eviction-interceptor.kubevirt.io";
        self.register(
            "ValidatingWebhookConfiguration",
            "virt-api-validator",
            name,
            "/launcher-eviction-validate",
            &rule,
        );
    }

    /// Registers `virtualmachineinstances-mutator`: unset fields of a guest are set.
    #[track_caller]
    pub fn set_defaults(&self) {
        let rule = json!({
            "apiGroups": ["kubevirt.io"], "apiVersions": ["v1alpha3", "v1"], "resources": ["virtualmachineinstances"],
            "operations": ["CREATE"],
        });
        let name = "virtualmachineinstances-mutator.kubevirt.io";
        self.register(
            "MutatingWebhookConfiguration",
            "virt-api-mutator",
            name,
            "/virtualmachineinstances-mutate",
            &rule,
        );
    }

    #[track_caller]
    fn register(&self, kind: &str, configuration: &str, webhook: &str, path: &str, rule: &Value) {
        let configuration = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": configuration},
            "webhooks": [{
                "name": webhook, "rules": [rule], "failurePolicy": "Fail", "sideEffects": "NoneOnDryRun",
                "timeoutSeconds": 10,
                "admissionReviewVersions": ["v1"],
                "clientConfig": {
                    "url": format!("https://{}{path}", self.server.address),
                    "caBundle": STANDARD.encode(&self.cluster.authority().certificate),
                },
            }],
        });
        self.cluster.kubectl_with(&["create", "-f", "-"], &configuration);
    }

    /// Returns the requests received so far, each with its object, in order.
    pub fn seen(&self) -> Vec<Value> {
        self.seen.lock().expect("no panic").clone()
    }
}

/// Mirrors `pod-eviction-admitter.go`: a launcher with a guest that is to be migrated is not evicted, its guest is
/// marked.
async fn intercept_eviction(State(shared): State<Shared>, review: Bytes) -> Answer {
    let request = request(&review);
    shared.seen.lock().expect("no panic").push(request.clone());
    let client = client(&shared.kubeconfig).await.expect("a client");
    let refusal = refusal(client, &request).await;
    answer(&request, refusal.map_or_else(
        || json!({"allowed": true}),
        |message| {
            json!({"allowed": false, "status": {"code": 429, "reason": "TooManyRequests", "message": message}})
        },
    ))
}

/// Returns why a pod is not evicted; `None` if KubeVirt admits the eviction.
async fn refusal(client: Client, request: &Value) -> Option<String> {
    let (namespace, name) = (request["namespace"].as_str()?, request["name"].as_str()?);
    let pod = Api::<Pod>::namespaced(client.clone(), namespace).get(name).await.ok()?;
    let is_launcher = pod.metadata.labels?.get("kubevirt.io").is_some_and(|app| app == "virt-launcher");
    let has_ended =
        pod.status.and_then(|status| status.phase).is_some_and(|phase| phase == "Succeeded" || phase == "Failed");
    let guest = pod.metadata.annotations?.get("kubevirt.io/domain").filter(|_| is_launcher && !has_ended)?.clone();
    let kind = |kind| ApiResource::from_gvk(&GroupVersionKind::gvk("kubevirt.io", "v1", kind));
    let vmis = Api::<DynamicObject>::namespaced_with(client.clone(), namespace, &kind("VirtualMachineInstance"));
    let vmi = match vmis.get(&guest).await {
        Ok(vmi) => vmi.data,
        Err(error) => return Some(format!("kubevirt failed getting the vmi: {error}")),
    };
    let strategy = if let Some(strategy) = vmi["spec"]["evictionStrategy"].as_str() {
        strategy.to_owned()
    } else {
        let list = Api::<DynamicObject>::all_with(client, &kind("KubeVirt")).list(&ListParams::default()).await;
        let kubevirt = list.ok()?.items.into_iter().next()?;
        kubevirt.data["spec"]["configuration"]["evictionStrategy"].as_str()?.to_owned()
    };
    let conditions = vmi["status"]["conditions"].as_array();
    let is_migratable = conditions
        .into_iter()
        .flatten()
        .any(|condition| condition["type"] == "LiveMigratable" && condition["status"] == "True");
    match strategy.as_str() {
        "LiveMigrate" if !is_migratable => {
            return Some(format!("VMI {guest} is configured with an eviction strategy but is not live-migratable"));
        }
        "LiveMigrate" | "External" => {}
        "LiveMigrateIfPossible" if is_migratable => {}
        _ => return None,
    }
    let evacuation = format!("Eviction triggered evacuation of VMI \"{namespace}/{guest}\"");
    if vmi["status"]["evacuationNodeName"].is_string() {
        return Some(format!("Evacuation in progress: {evacuation}"));
    }
    let node = pod.spec.and_then(|spec| spec.node_name);
    if vmi["status"]["nodeName"].as_str() != node.as_deref() {
        return Some("Eviction request for target Pod".to_owned());
    }
    // kubectl sets it in the Eviction.
    if request["object"]["deleteOptions"]["dryRun"].as_array().is_none_or(Vec::is_empty) {
        let mark = json!({"status": {"evacuationNodeName": node}});
        if let Err(error) = vmis.patch(&guest, &PatchParams::default(), &Patch::Merge(&mark)).await {
            return Some(format!("kubevirt failed marking the vmi for eviction: {error}"));
        }
    }
    Some(evacuation)
}

/// Mirrors the part of `pkg/defaults` about the CPU and the node, without finalizers, which nothing here would remove.
async fn set_defaults(State(shared): State<Shared>, review: Bytes) -> Answer {
    let request = request(&review);
    shared.seen.lock().expect("no panic").push(request.clone());
    let client = client(&shared.kubeconfig).await.expect("a client");
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("kubevirt.io", "v1", "KubeVirt"));
    let list = Api::<DynamicObject>::all_with(client, &kind).list(&ListParams::default()).await;
    let kubevirt = list.ok().and_then(|list| list.items.into_iter().next());
    let configuration = kubevirt.map(|kubevirt| kubevirt.data["spec"]["configuration"].clone()).unwrap_or_default();

    let mut spec = request["object"]["spec"].clone();
    with_defaults(&mut spec, &configuration);
    let patch = json!([
        {"op": "replace", "path": "/spec", "value": spec},
        {"op": "replace", "path": "/metadata", "value": request["object"]["metadata"]},
    ]);
    answer(&request, json!({"allowed": true, "patchType": "JSONPatch", "patch": STANDARD.encode(patch.to_string())}))
}

fn with_defaults(spec: &mut Value, configuration: &Value) {
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let architecture = text(&spec["architecture"])
        .or_else(|| text(&configuration["architectureConfiguration"]["defaultArchitecture"]))
        .unwrap_or_else(|| "amd64".to_owned());
    if text(&spec["domain"]["cpu"]["model"]).is_none() {
        let model = match architecture.as_str() {
            "arm64" => "host-passthrough".to_owned(),
            _ => text(&configuration["cpuModel"]).unwrap_or_else(|| "host-model".to_owned()),
        };
        spec["domain"]["cpu"]["model"] = json!(model);
    }
    if text(&spec["domain"]["machine"]["type"]).is_none() {
        let machine = match architecture.as_str() {
            "arm64" => "virt",
            "s390x" => "s390-ccw-virtio",
            _ => "q35",
        };
        spec["domain"]["machine"]["type"] = json!(machine);
    }
    spec["architecture"] = json!(architecture);
}
