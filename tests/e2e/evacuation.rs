//! A simulated virt-controller: it migrates guests with launchers that a drain evicts, two at a time from a node, by
//! target pods that the scheduler places. It is written from KubeVirt's rules (`prepareNodeSelectorForHostCpuModel`,
//! `handleTargetPodCreation`), not from cpufit's code.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::join_all;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, PostParams,
};
use kube::{Client, ResourceExt as _};
use serde_json::{Map, Value, json};

use crate::launcher::launcher_pod;
use crate::random::Random;

/// The default of `parallelOutboundMigrationsPerNode`.
const AT_ONCE: usize = 2;
/// Interval between checks.
const TICK: Duration = Duration::from_millis(150);
/// Time after which Unschedulable is final: the scheduler tries a pod again once something has changed.
const LAST_WORD: Duration = Duration::from_secs(2);
/// Time limit for placing a target. KubeVirt gives an unschedulable target five minutes; here nothing changes after
/// this time.
const DECIDED: Duration = Duration::from_secs(40);

pub type Fault = Box<dyn std::error::Error + Send + Sync>;

/// A namespace with guests that are evacuated from one node.
pub struct Evacuation {
    client: Client,
    namespace: String,
    node: String,
}

impl Evacuation {
    pub fn new(client: Client, namespace: &str, node: &str) -> Self {
        Self { client, namespace: namespace.to_owned(), node: node.to_owned() }
    }

    fn objects(&self, kind: &str) -> Api<DynamicObject> {
        let group = if kind == "Pod" { "" } else { "kubevirt.io" };
        Api::namespaced_with(self.client.clone(), &self.namespace, &resource(group, kind))
    }

    /// Migrates until every guest that is marked for eviction has moved, or was tried since the last move. Ends once
    /// `all_asked` returns that the drain has tried to evict every launcher.
    pub async fn run(&self, random: &mut Random, all_asked: impl Fn() -> bool) -> Result<(), Fault> {
        let (mut moves, mut tried) = (0_usize, BTreeMap::<String, usize>::new());
        loop {
            let asked = all_asked();
            let vmis = self.objects("VirtualMachineInstance").list(&ListParams::default()).await?;
            let mut waiting: Vec<DynamicObject> = vmis.items.into_iter().filter(|vmi| self.is_marked(vmi)).collect();
            waiting.retain(|vmi| tried.get(&vmi.name_any()) != Some(&moves));
            if waiting.is_empty() && asked {
                return Ok(());
            }
            let mut now = Vec::new();
            while now.len() < AT_ONCE && !waiting.is_empty() {
                now.push(waiting.swap_remove(random.below(waiting.len())));
            }
            if now.is_empty() {
                tokio::time::sleep(TICK).await;
            }
            let before = moves;
            for (vmi, moved) in now.iter().zip(join_all(now.iter().map(|vmi| self.migrate(vmi))).await) {
                moves += usize::from(moved?);
                tried.insert(vmi.name_any(), before);
            }
        }
    }

    /// Whether virt-controller has to migrate it: marked by the eviction, on this node, and not with the strategy
    /// External.
    fn is_marked(&self, vmi: &DynamicObject) -> bool {
        let (status, spec) = (&vmi.data["status"], &vmi.data["spec"]);
        status["evacuationNodeName"] == self.node
            && status["nodeName"] == self.node
            && spec["evictionStrategy"] != "External"
    }

    /// Migrates a guest; returns whether it moved.
    async fn migrate(&self, vmi: &DynamicObject) -> Result<bool, Fault> {
        let pods = self.objects("Pod");
        let launchers =
            ListParams::default().labels(&format!("kubevirt.io/created-by={}", vmi.uid().unwrap_or_default()));
        let source = pods.list(&launchers).await?.items.into_iter().next().ok_or("a guest without a launcher")?;
        let nodes: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource("", "Node"));
        let target = target(vmi, &source, &nodes.get(&self.node).await?);
        let target = pods.create(&PostParams::default(), &serde_json::from_value(target)?).await?;
        let at_once = DeleteParams::default().grace_period(0);
        let Some(node) = self.place(&pods, &target.name_any()).await? else {
            pods.delete(&target.name_any(), &at_once).await?;
            return Ok(false);
        };
        let moved = json!({"status": {"nodeName": node, "evacuationNodeName": null}});
        let vmis = self.objects("VirtualMachineInstance");
        vmis.patch(&vmi.name_any(), &PatchParams::default(), &Patch::Merge(&moved)).await?;
        pods.delete(&source.name_any(), &at_once).await?;
        Ok(true)
    }

    /// Returns the node that the scheduler binds a pod to; `None` if no node takes it.
    async fn place(&self, pods: &Api<DynamicObject>, name: &str) -> Result<Option<String>, Fault> {
        let started = std::time::Instant::now();
        let mut refused_since = None;
        while started.elapsed() < DECIDED {
            let pod = pods.get(name).await?;
            if let Some(node) = pod.data["spec"]["nodeName"].as_str() {
                return Ok(Some(node.to_owned()));
            }
            let conditions = pod.data["status"]["conditions"].as_array();
            let is_refused = conditions.into_iter().flatten().any(|condition| condition["reason"] == "Unschedulable");
            // A nominated pod waits for preemption.
            if is_refused && pod.data["status"]["nominatedNodeName"].is_null() {
                if refused_since.get_or_insert_with(std::time::Instant::now).elapsed() > LAST_WORD {
                    return Ok(None);
                }
            } else {
                refused_since = None;
            }
            tokio::time::sleep(TICK).await;
        }
        Err(format!("the scheduler did not decide about {name}").into())
    }
}

pub fn resource(group: &str, kind: &str) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", kind))
}

/// Returns the node selector of a launcher at a guest's start.
pub fn start_selector(vmi: &Value) -> BTreeMap<String, String> {
    let domain = &vmi["spec"]["domain"];
    let mut out = BTreeMap::from([("kubevirt.io/schedulable", "true"), ("kubernetes.io/arch", "amd64")].map(owned));
    let own = vmi["spec"]["nodeSelector"].as_object();
    out.extend(
        own.into_iter().flatten().map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned())),
    );
    if let Some(model) = domain["cpu"]["model"].as_str().filter(|model| !model.starts_with("host-")) {
        out.insert(format!("cpu-model.node.kubevirt.io/{model}"), "true".to_owned());
    }
    if let Some(machine) = domain["machine"]["type"].as_str() {
        out.insert(format!("machine-type.node.kubevirt.io/{machine}"), "true".to_owned());
    }
    out
}

fn owned((key, value): (&str, &str)) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

/// Returns the launcher of a guest with this node selector.
pub fn launcher(vmi: &Value, selector: &BTreeMap<String, String>) -> Value {
    let waiting = json!({"metadata": vmi["metadata"]});
    let mut pod = launcher_pod(&waiting, "", &json!(selector));
    pod["metadata"]["generateName"] = pod["metadata"]["name"].take();
    for (key, value) in vmi["metadata"]["labels"].as_object().into_iter().flatten() {
        pod["metadata"]["labels"][key] = value.clone();
    }
    pod["spec"]["affinity"] = vmi["spec"]["affinity"].clone();
    if vmi["spec"]["domain"]["cpu"]["model"] == "host-model" {
        let condition = json!({"key": "node-labeller.kubevirt.io/obsolete-host-model", "operator": "DoesNotExist"});
        pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] =
            json!({"nodeSelectorTerms": [{"matchExpressions": [condition]}]});
    }
    pod["spec"]["tolerations"] = vmi["spec"]["tolerations"].clone();
    pod["spec"]["terminationGracePeriodSeconds"] = json!(1);
    let cpu = &vmi["metadata"]["annotations"]["test.cpufit.io/cpu"];
    pod["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": cpu, "memory": "1Gi"}});
    pod
}

/// Returns the target pod of a migration.
fn target(vmi: &DynamicObject, source: &DynamicObject, node: &DynamicObject) -> Value {
    let whole = serde_json::to_value(vmi).unwrap_or_default();
    let mut selector = start_selector(&whole);
    let labels = node.labels();
    if whole["spec"]["domain"]["cpu"]["model"] == "host-model" {
        let of_source = source.data["spec"]["nodeSelector"].as_object().cloned().unwrap_or_default();
        let inherited: Map<String, Value> = of_source
            .into_iter()
            .filter(|(key, _)| {
                key.contains("cpu-feature.node.kubevirt.io/") || key.contains("cpu-model-migration.node.kubevirt.io/")
            })
            .collect();
        for (key, value) in &inherited {
            selector.insert(key.clone(), value.as_str().unwrap_or_default().to_owned());
        }
        let renamed = [
            ("host-model-required-features.node.kubevirt.io/", "cpu-feature.node.kubevirt.io/"),
            ("host-model-cpu.node.kubevirt.io/", "cpu-model-migration.node.kubevirt.io/"),
        ];
        for (key, value) in labels.iter().filter(|_| inherited.is_empty()) {
            for (from, to) in renamed {
                if let Some(name) = key.strip_prefix(from) {
                    selector.insert(format!("{to}{name}"), value.clone());
                }
            }
        }
    }
    let vendors: BTreeSet<&String> =
        labels.keys().filter(|key| key.starts_with("cpu-vendor.node.kubevirt.io/")).collect();
    selector.extend(vendors.into_iter().map(|vendor| (vendor.clone(), "true".to_owned())));
    let mut pod = launcher(&whole, &selector);
    let apart = json!({
        "labelSelector": {"matchLabels": {"kubevirt.io/created-by": vmi.uid()}}, "topologyKey": "kubernetes.io/hostname",
    });
    let required = &mut pod["spec"]["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    match required.as_array_mut() {
        Some(terms) => terms.push(apart),
        None => *required = json!([apart]),
    }
    pod
}
