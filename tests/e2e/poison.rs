//! Objects stored before the webhook starts, each with another oversized field: it starts, counts and answers as if
//! they did not exist, within its memory.

use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use kube::Client;
use kube::client::Body;
use serde_json::{Map, Value, json};

use crate::common::cpufit;
use crate::controlplane::ControlPlane;
use crate::installed::{Replica, SOON};
use crate::kubevirt::client;
use crate::objects::{Kind, merged};
use crate::servers::runtime;
use crate::webhook::Scene;

/// Sizes to try, bytes. etcd accepts requests of 1.5 MiB. The API server stores the managed fields of an object with
/// it, so some objects must be smaller.
const SIZES: [usize; 8] = [1_500_000, 1_350_000, 1_000_000, 700_000, 500_000, 350_000, 200_000, 100_000];
/// Memory limit, MiB; the manifests grant 384 MiB.
const MEMORY: u64 = 300;
/// Duration of the test; such objects killed the leader within 17 seconds.
const WHILE: Duration = Duration::from_secs(20);

fn plural(kind: Kind) -> &'static str {
    match kind {
        Kind::Node => "nodes",
        Kind::Namespace => "namespaces",
        Kind::Pod => "pods",
        Kind::VirtualMachine => "virtualmachines",
        Kind::Vmi => "virtualmachineinstances",
        Kind::ReplicaSet => "virtualmachineinstancereplicasets",
        Kind::Pool => "virtualmachinepools",
        Kind::Migration => "virtualmachineinstancemigrations",
        Kind::KubeVirt => "kubevirts",
        Kind::Instancetype => "virtualmachineinstancetypes",
        Kind::Preference => "virtualmachinepreferences",
        Kind::Revision => "controllerrevisions",
        Kind::DataSource => "datasources",
        Kind::Policy => "cpupolicies",
    }
}

/// Returns the path at which objects of a kind are created.
fn collection(kind: Kind) -> String {
    let (group, version, _) = kind.api();
    let api = if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
    let namespace = match kind {
        Kind::Node | Kind::Namespace | Kind::Policy => "",
        Kind::KubeVirt => "/namespaces/kubevirt",
        _ => "/namespaces/shop",
    };
    format!("{api}{namespace}/{}", plural(kind))
}

/// A client that stores objects.
struct Store {
    client: Client,
    next: usize,
}

impl Store {
    async fn send(&self, method: Method, path: &str, body: &Value) -> Result<(), String> {
        let kind = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
        let request = http::Request::builder().method(method).uri(path).header(http::header::CONTENT_TYPE, kind);
        let request = request.body(Body::from(body.to_string().into_bytes())).expect("a request");
        let sent = tokio::time::timeout(Duration::from_secs(10), self.client.send(request)).await;
        let sent = sent.map_err(|_| "no answer".to_owned())?;
        let (head, body) = sent.map_err(|error| format!("{error:?}"))?.into_parts();
        let body = body.collect().await.map_err(|error| format!("{error:?}"))?.to_bytes();
        match head.status {
            StatusCode::OK | StatusCode::CREATED => Ok(()),
            status => {
                Err(format!("{status}: {}", String::from_utf8_lossy(&body).chars().take(300).collect::<String>()))
            }
        }
    }

    /// Stores an object under a unique name, with its status. An object that the API server refuses is no threat.
    async fn store(&mut self, kind: Kind, mut object: Value) -> Result<(), String> {
        self.next += 1;
        let own = format!("poison-{}", self.next);
        object["metadata"]["name"] = own.clone().into();
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.remove("uid");
            for owner in metadata.get_mut("ownerReferences").and_then(Value::as_array_mut).into_iter().flatten() {
                let whole = json!({"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "name": "db", "uid": "u"});
                *owner = merged(whole, owner.take());
            }
            if kind == Kind::KubeVirt {
                metadata.insert("namespace".to_owned(), "kubevirt".into());
            }
        }
        if kind == Kind::Pod {
            object = merged(object, json!({"spec": {"containers": [{"name": "compute", "image": "none"}]}}));
        }
        if kind == Kind::Revision {
            object["revision"] = 1.into();
        }
        let path = collection(kind);
        let mut outcome = self.send(Method::POST, &path, &object).await;
        let has_status = !matches!(kind, Kind::Vmi | Kind::Namespace | Kind::Instancetype | Kind::Preference);
        if outcome.is_ok() && has_status && object["status"].is_object() {
            let status = json!({"status": object["status"]});
            outcome = self.send(Method::PATCH, &format!("{path}/{own}/status"), &status).await;
        }
        outcome
    }

    /// Stores the largest object that the API server accepts; returns its size.
    async fn largest(&mut self, kind: Kind, name: &str, of: impl Fn(usize) -> Value) -> usize {
        let mut why = String::new();
        for bytes in SIZES {
            let object = merged(kind.base(), of(bytes));
            let length = object.to_string().len();
            match self.store(kind, object).await {
                Ok(()) => return length,
                Err(reason) => why = reason,
            }
        }
        panic!("{name}: {why}");
    }
}

fn keys(bytes: usize, prefix: &str) -> Value {
    let one = prefix.len() + 5 + 12;
    (0..bytes / one).map(|at| (format!("{prefix}{at:05}"), json!("true"))).collect::<Map<_, _>>().into()
}

fn many(bytes: usize, one: &Value) -> Value {
    vec![one.clone(); bytes / (one.to_string().len() + 1)].into()
}

fn affinity(terms: &Value) -> Value {
    json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}})
}

/// A form of object that is expensive to judge, in each kind that can hold it: its name, and the object by its size.
type Shape = (&'static str, Kind, fn(usize) -> Value);

const SHAPES: &[Shape] = &[
    ("empty terms", Kind::Vmi, |bytes| json!({"spec": affinity(&many(bytes, &json!({})))})),
    ("terms of one expression", Kind::Vmi, |bytes| {
        let term = json!({"matchExpressions": [{"key": "zone", "operator": "Exists"}]});
        json!({"spec": affinity(&many(bytes, &term))})
    }),
    ("a node selector of 40,000 keys", Kind::Vmi, |bytes| json!({"spec": {"nodeSelector": keys(bytes / 2, "k")}})),
    (
        "features as keys",
        Kind::Vmi,
        |bytes| json!({"spec": {"nodeSelector": keys(bytes / 2, "cpu-feature.node.kubevirt.io/f")}}),
    ),
    ("tolerations", Kind::Vmi, |bytes| json!({"spec": {"tolerations": many(bytes, &json!({}))}})),
    (
        "forbidden features",
        Kind::Vmi,
        |bytes| json!({"spec": {"domain": {"cpu": {"features": many(bytes, &json!({"name": "avx", "policy": "forbid"}))}}}}),
    ),
    (
        "conditions",
        Kind::Vmi,
        |bytes| json!({"status": {"conditions": many(bytes, &json!({"type": "LiveMigratable", "status": "False"}))}}),
    ),
    (
        "selectors of a migration's state",
        Kind::Vmi,
        |bytes| json!({"status": {"migrationState": {"sourceState": {"nodeSelectors": keys(bytes / 2, "k")}}}}),
    ),
    (
        "empty terms of a template",
        Kind::VirtualMachine,
        |bytes| json!({"spec": {"template": {"spec": affinity(&many(bytes, &json!({})))}}}),
    ),
    (
        "tolerations of a template",
        Kind::ReplicaSet,
        |bytes| json!({"spec": {"template": {"spec": {"tolerations": many(bytes, &json!({}))}}}}),
    ),
    (
        "empty terms of a template",
        Kind::Pool,
        |bytes| json!({"spec": {"virtualMachineTemplate": {"spec": {"template": {"spec": affinity(&many(bytes, &json!({})))}}}}}),
    ),
    ("an added node selector", Kind::Migration, |bytes| json!({"spec": {"addedNodeSelector": keys(bytes / 2, "k")}})),
    ("labels of a node", Kind::Node, |bytes| json!({"metadata": {"labels": keys(bytes / 2, "k")}})),
    (
        "feature labels of a node",
        Kind::Node,
        |bytes| json!({"metadata": {"labels": keys(bytes / 2, "cpu-feature.node.kubevirt.io/f")}}),
    ),
    (
        "host models of a node",
        Kind::Node,
        |bytes| json!({"metadata": {"labels": keys(bytes / 2, "host-model-cpu.node.kubevirt.io/H")}}),
    ),
    (
        "annotations of a node",
        Kind::Node,
        |bytes| json!({"metadata": {"annotations": {"a": "x".repeat(bytes.min(250 << 10))}}}),
    ),
    ("taints of a node", Kind::Node, |bytes| {
        let taint = |at: usize| json!({"key": format!("k{at}"), "effect": "NoSchedule"});
        json!({"spec": {"taints": (0..bytes / 60).map(taint).collect::<Vec<_>>()}})
    }),
    ("labels of a namespace", Kind::Namespace, |bytes| json!({"metadata": {"labels": keys(bytes / 2, "k")}})),
    ("a node selector of a pod", Kind::Pod, |bytes| json!({"spec": {"nodeSelector": keys(bytes / 2, "k")}})),
    (
        "tolerations of a pod",
        Kind::Pod,
        |bytes| json!({"spec": {"tolerations": many(bytes, &json!({"operator": "Exists"}))}}),
    ),
    ("empty terms of a pod", Kind::Pod, |bytes| json!({"spec": affinity(&many(bytes, &json!({})))})),
    (
        "gates",
        Kind::KubeVirt,
        |bytes| json!({"spec": {"configuration": {"developerConfiguration": {"featureGates": many(bytes, &json!("Gate"))}}}}),
    ),
    ("obsolete models", Kind::KubeVirt, |bytes| {
        json!({"spec": {"configuration": {"obsoleteCPUModels": (0..bytes / 20).map(|at| (format!("M{at}"), json!(true)))
            .collect::<Map<_, _>>()}}})
    }),
    ("preferred features", Kind::Preference, |bytes| {
        let feature = json!({"name": "avx", "policy": "forbid"});
        json!({"spec": {"cpu": {"preferredCPUFeatures": many(bytes, &feature)}}})
    }),
    (
        "a node selector of an instancetype",
        Kind::Instancetype,
        |bytes| json!({"spec": {"nodeSelector": keys(bytes / 2, "k")}}),
    ),
    (
        "a node selector of a revision",
        Kind::Revision,
        |bytes| json!({"data": {"spec": {"nodeSelector": keys(bytes / 2, "k")}}}),
    ),
    (
        "selected namespaces",
        Kind::Policy,
        |bytes| json!({"spec": {"namespaceSelector": {"matchLabels": keys(bytes / 2, "k")}}}),
    ),
    ("values of a selector", Kind::Policy, |bytes| {
        let values: Vec<_> = (0..bytes / 10).map(|at| format!("v{at}")).collect();
        let expression = json!({"key": "zone", "operator": "In", "values": values});
        json!({"spec": {"nodeSelector": {"matchExpressions": [expression]}}})
    }),
];

/// Stores all expensive forms, as large as possible.
fn store(cluster: &ControlPlane) {
    // The API server here does not serve DataSources.
    for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::DataSource) {
        let is_stored = SHAPES.iter().any(|(_, stored, _)| *stored == kind);
        assert!(is_stored, "the largest {kind:?} might keep the webhook from starting, and is not stored");
    }
    let started = Instant::now();
    let all = async {
        let client = client(cluster.admin()).await.expect("a client");
        let mut store = Store { client, next: 0 };
        for (name, kind, of) in SHAPES {
            let bytes = store.largest(*kind, name, of).await;
            println!("{bytes:>9} bytes: {name} ({kind:?})");
        }
        store.next
    };
    let stored = runtime().block_on(all);
    println!("{stored} objects stored in {:.0} s", started.elapsed().as_secs_f32());
}

/// Installs a schema that accepts any policy, as an older release might.
fn take_any_policy(cluster: &ControlPlane) {
    let anything = json!([{"op": "replace", "path": "/spec/versions/0/schema/openAPIV3Schema",
        "value": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}]);
    cluster.kubectl(&["patch", "crd", "cpupolicies.cpufit.io", "--type=json", "-p", &anything.to_string()]);
    let mut policy = Kind::Policy.base();
    policy["spec"] = json!("none at all");
    let path = cluster.workplace().write("anything.json", policy.to_string());
    let create = ["create", "--dry-run=server", "-f", path.to_str().expect("a path in UTF-8")];
    let deadline = Instant::now() + SOON;
    // The API server uses the new schema after a moment.
    while !cluster.output(cluster.admin(), &create).contains("created") {
        assert!(Instant::now() < deadline, "the schema stays as it was");
    }
}

/// Returns the policies without a status of their generation.
fn without_status(cluster: &ControlPlane) -> Vec<String> {
    let policies = cluster.get(&["cpupolicies"]);
    let is_current = |policy: &&Value| {
        let status = &policy["status"];
        status["observedGeneration"] == policy["metadata"]["generation"] && status["conditions"].is_array()
    };
    let without = policies["items"].as_array().expect("a list").iter().filter(|policy| !is_current(policy));
    without.map(|policy| policy["metadata"]["name"].as_str().expect("a name").to_owned()).collect()
}

/// Starts a replica with all stored objects, and sends every kind of request to it.
#[track_caller]
fn endure(scene: &Scene<'_>, name: &str) -> Replica {
    let started = Instant::now();
    let replica = scene.installation.serve(name, &[]);
    let ready = started.elapsed();
    let pid = replica.server.pid();
    scene.await_webhook();
    replica.until("leads", |replica| replica.server.log().contains("became leader"));
    while started.elapsed() < WHILE {
        assert!(replica.get("/livez").contains(" 200 ") && replica.get("/readyz").contains(" 200 "), "{name}");
        let before = Instant::now();
        let output = scene.jane.output("create -f migrate-db.yaml --dry-run=server");
        assert!(output.contains("Warning: cpufit") && !output.contains("not judged"), "{output}");
        assert!(before.elapsed() < Duration::from_secs(10), "{:?}", before.elapsed());
        std::thread::sleep(Duration::from_millis(500));
    }
    let deadline = Instant::now() + SOON;
    while !without_status(scene.cluster).is_empty() {
        assert!(Instant::now() < deadline, "no status: {:?}", without_status(scene.cluster));
        std::thread::sleep(Duration::from_millis(500));
    }
    assert_eq!(replica.server.pid(), pid, "it was started again");
    let memory = replica.server.most_memory();
    println!("{name}: ready after {:.1} s, {memory} MiB at most", ready.as_secs_f32());
    assert!(memory < MEMORY, "{memory} MiB");
    let log = replica.server.log();
    assert!(!log.contains("panicked") && !log.contains("cannot be written"), "{log}");
    replica
}

#[test]
#[ignore = "needs a control plane: make e2e"]
fn large_stored_objects_do_not_stop_the_webhook() {
    let Some(cluster) = ControlPlane::start(&[]) else { return };
    let scene = Scene::new(&cluster);
    take_any_policy(&cluster);
    store(&cluster);
    let first = endure(&scene, "cpufit-0");

    let audit = cpufit(["audit", "-A", "--kubeconfig"]).args([cluster.admin()]).run();
    assert!(matches!(audit.code, Some(0 | 1)), "{:?}: {}", audit.code, audit.stderr);
    assert!(audit.stdout.contains("too large to judge"), "what is left out is said: {}", audit.stdout);

    // The effect of kill -9: the next leader reads the same objects.
    drop(first);
    drop(endure(&scene, "cpufit-1"));
}
