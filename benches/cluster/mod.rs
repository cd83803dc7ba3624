//! What is judged in the benchmarks: a cluster of eight CPU generations, and reviews of launcher pods for it.
//!
//! Nodes of one generation differ in five features at random, as microcode and firmware make them differ, so there are up
//! to 256 kinds of hardware; each node bears about 250 labels, those of its name, rack and zone among them.
// Every benchmark includes this module whole and uses its own part.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::routing::post;
use bytes::Bytes;
use cpufit::fit::node::{Effect, Node, Taint};
use cpufit::kubevirt::cluster::{Cluster, ClusterObject, launcher};
use cpufit::policy::Word as _;
use cpufit::telemetry::Metrics;
use cpufit::web::{self, Condition, Edge, Readiness};
use cpufit::world::World;
use http::header::CONTENT_TYPE;
use serde_json::{Map, Value, json};

const COMMON: &str = "abm aes apic arat avx avx2 bmi1 bmi2 clflush cmov cx16 cx8 de erms f16c fma fpu fsgsbase fxsr \
    hypervisor invpcid invtsc lahf_lm lm mca mce mmx movbe msr mtrr nx osxsave pae pat pcid pclmuldq pdcm pdpe1gb pge pni \
    popcnt pschange-mc-no pse pse36 rdrand rdtscp sep skip-l1dfl-vmentry smep spec-ctrl ssbd sse sse2 sse4.1 sse4.2 ssse3 \
    stibp syscall tsc tsc-deadline tsc_adjust umip vme vpclmulqdq-host x2apic xsave xsaveopt";
const INTEL: &str = "acpi ds ds_cpl dtes64 est ht ibrs-all mds-no md-clear monitor rdctl-no ss tm tm2 vmx \
    vmx-activity-hlt vmx-apicv-register vmx-apicv-vid vmx-cr3-load-noexit vmx-cr8-load-exit vmx-ept vmx-ept-1gb vmx-eptad \
    vmx-exit-load-efer vmx-flexpriority vmx-invept vmx-invvpid vmx-ins-outs vmx-mtf vmx-preemption-timer \
    vmx-unrestricted-guest vmx-vmfunc vmx-vpid xtpr";
const AMD: &str = "3dnowprefetch amd-ssbd amd-stibp clwb cmp_legacy cr8legacy extapic fxsr_opt gds-no ibpb ibrs lbrv \
    mds-no misalignsse mmxext npt nrip-save osvw pause-filter perfctr_core pfthreshold rdctl-no sha-ni smap svm \
    svme-addr-chk topoext tsc-scale vmcb-clean virt-ssbd wdt xgetbv1 xsavec xsaveerptr";
/// Models, oldest first, and the features that came with each.
const INTEL_STEPS: [(&str, &str); 6] = [
    ("Haswell-noTSX-IBRS", "lbr smap-host"),
    ("Broadwell-noTSX-IBRS", "adx rdseed smap 3dnowprefetch"),
    (
        "Skylake-Server-noTSX-IBRS",
        "avx512bw avx512cd avx512dq avx512f avx512vl clflushopt clwb pku xgetbv1 xsavec xsaves",
    ),
    ("Cascadelake-Server-noTSX", "avx512vnni arch-capabilities taa-no tsx-ctrl"),
    (
        "Icelake-Server-noTSX",
        "avx512-vpopcntdq avx512bitalg avx512ifma avx512vbmi fsrm gfni la57 rdpid sha-ni vaes wbnoinvd",
    ),
    (
        "SapphireRapids",
        "amx-bf16 amx-int8 amx-tile avx-vnni avx512-bf16 avx512-fp16 bus-lock-detect fsrs fzrm serialize xfd",
    ),
];
const AMD_STEPS: [(&str, &str); 2] = [
    ("EPYC-Rome", "clzero perfctr_nb rdpid wbnoinvd xsaves"),
    ("EPYC-Milan", "erms-amd fsrm pku vaes vpclmulqdq no-nested-data-bp lfence-always-serializing null-sel-clr-base"),
];
const OLD_MODELS: &str = "486 qemu32 kvm32 Conroe Penryn Nehalem Nehalem-IBRS Westmere Westmere-IBRS SandyBridge \
    SandyBridge-IBRS IvyBridge IvyBridge-IBRS Opteron_G1 Opteron_G2 Dhyana EPYC EPYC-IBPB Denverton";
const HYPERV: &str = "base frequencies ipi reenlightenment relaxed reset runtime spinlocks synic synic2 synictimer time \
    tlbflush vapic vendorid vpindex evmcs";
/// Each of these is on half of the nodes.
const VARYING: [&str; 5] = ["flush-l1d", "gds-no", "its-no", "rfds-no", "bhi-no"];
/// No node has it: what a host with newer microcode leaves in a selector.
const MISSING: &str = "tsa-sq-no";
/// Only the last node has it.
const LAST: &str = "srso-user-kernel-no";
/// The node the guest runs on, of the generation that most demands are made for.
const SOURCE: &str = "node-00004";
const MACHINE: &str = "pc-q35-rhel9.4.0";

/// A CPU generation.
struct Generation {
    vendor: &'static str,
    model: &'static str,
    /// Sorted.
    features: Vec<&'static str>,
    models: Vec<&'static str>,
}

fn generations() -> Vec<Generation> {
    let mut out = Vec::new();
    for (vendor, base, steps) in [("Intel", INTEL, &INTEL_STEPS[..]), ("AMD", AMD, &AMD_STEPS[..])] {
        let mut features: Vec<&str> = COMMON.split_whitespace().chain(base.split_whitespace()).collect();
        let mut models: Vec<&str> = OLD_MODELS.split_whitespace().collect();
        for (model, more) in steps {
            features.extend(more.split_whitespace());
            features.sort_unstable();
            features.dedup();
            models.push(model);
            out.push(Generation { vendor, model, features: features.clone(), models: models.clone() });
        }
    }
    out
}

impl Generation {
    /// The labels that all its nodes bear.
    fn labels(&self) -> BTreeMap<String, String> {
        let mut out = BTreeMap::new();
        let mut put = |key: String, value: &str| out.insert(key, value.to_owned());
        for feature in &self.features {
            put(format!("cpu-feature.node.kubevirt.io/{feature}"), "true");
        }
        for feature in self.features.iter().step_by(3) {
            put(format!("host-model-required-features.node.kubevirt.io/{feature}"), "true");
        }
        for model in &self.models {
            put(format!("cpu-model.node.kubevirt.io/{model}"), "true");
            put(format!("cpu-model-migration.node.kubevirt.io/{model}"), "true");
        }
        for feature in HYPERV.split_whitespace() {
            put(format!("hyperv.node.kubevirt.io/{feature}"), "true");
        }
        for machine in ["q35", "pc-q35-rhel8.6.0", "pc-q35-rhel9.0.0", "pc-q35-rhel9.2.0", MACHINE] {
            put(format!("machine-type.node.kubevirt.io/{machine}"), "true");
        }
        put(format!("cpu-vendor.node.kubevirt.io/{}", self.vendor), "true");
        put(format!("host-model-cpu.node.kubevirt.io/{}", self.model), "true");
        put("cpu-timer.node.kubevirt.io/tsc-scalable".to_owned(), "true");
        put("kubevirt.io/schedulable".to_owned(), "true");
        put("kubernetes.io/arch".to_owned(), "amd64");
        put("kubernetes.io/os".to_owned(), "linux");
        put("network.harvesterhci.io/mgmt".to_owned(), "true");
        put("node.kubernetes.io/instance-type".to_owned(), self.model);
        for at in out.len()..238 {
            let name = self.features[at % self.features.len()].to_uppercase();
            out.insert(format!("feature.node.kubernetes.io/cpu-cpuid.{name}-{at}"), "true".to_owned());
        }
        out
    }
}

/// The nodes of a cluster of `count`, one at a time: together they are large.
pub fn nodes(count: usize) -> impl Iterator<Item = Node> {
    let templates: Vec<BTreeMap<String, String>> = generations().iter().map(Generation::labels).collect();
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    (0..count).map(move |index| {
        // Xorshift: the same cluster in every run.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let is_last = index + 1 == count;
        // The last node is of the newest Intel generation, the others take turns.
        let mut labels = templates[if is_last { 5 } else { index % templates.len() }].clone();
        let mut put = |key: String, value: String| labels.insert(key, value);
        let name = format!("node-{index:05}");
        put("kubernetes.io/hostname".to_owned(), name.clone());
        put("topology.kubernetes.io/region".to_owned(), format!("region-{}", index % 3));
        put("topology.kubernetes.io/zone".to_owned(), format!("zone-{}", index % 9));
        put("example.com/rack".to_owned(), format!("rack-{:04}", index / 20));
        put("example.com/row".to_owned(), format!("row-{:03}", index / 400));
        put(
            "cpu-timer.node.kubevirt.io/tsc-frequency".to_owned(),
            (2_000_000_000 + index % 12 * 1_000_000).to_string(),
        );
        put("feature.node.kubernetes.io/kernel-version.full".to_owned(), format!("6.4.0-150700.53.{}", index % 4));
        let varying =
            VARYING.iter().enumerate().filter(|(bit, _)| random >> (bit + 20) & 1 == 1).map(|(_, name)| *name);
        for feature in varying.chain(is_last.then_some(LAST)) {
            put(format!("cpu-feature.node.kubevirt.io/{feature}"), "true".to_owned());
        }
        let cordoned = index % 50 == 7;
        let taint = || Taint {
            key: "node.kubernetes.io/unschedulable".to_owned(),
            value: String::new(),
            effect: Effect::NoSchedule,
        };
        Node { name, labels, taints: cordoned.then(taint).into_iter().collect(), cordoned, ..Node::default() }
    })
}

/// What a launcher pod asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// About a quarter of the nodes can host it.
    Feasible,
    /// One of its features is on no node.
    Infeasible,
    /// Each of its features is on some node, all of them on none.
    Conflict,
    /// Only the last node can host it.
    Last,
}

impl Demand {
    pub const ALL: [Self; 4] = [Self::Feasible, Self::Infeasible, Self::Conflict, Self::Last];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Feasible => "feasible",
            Self::Infeasible => "infeasible",
            Self::Conflict => "conflict",
            Self::Last => "last",
        }
    }

    /// Ninety entries, those of features spread evenly over all that the generation has.
    fn selector(self, cluster: usize) -> BTreeMap<String, String> {
        let generations = generations();
        let (generation, extra) = match self {
            Self::Feasible => (4, None),
            Self::Infeasible => (4, Some(MISSING)),
            // Where there is no node of AMD, a feature that no node has is all the conflict there can be.
            Self::Conflict => (5, Some(if cluster >= 8 { "npt" } else { MISSING })),
            Self::Last => (5, Some(LAST)),
        };
        let generation = &generations[generation];
        let fixed = [
            "kubevirt.io/schedulable".to_owned(),
            format!("cpu-model-migration.node.kubevirt.io/{}", generation.model),
            format!("machine-type.node.kubevirt.io/{MACHINE}"),
        ];
        let mut out: BTreeMap<String, String> = fixed.into_iter().map(|key| (key, "true".to_owned())).collect();
        out.insert("kubernetes.io/arch".to_owned(), "amd64".to_owned());
        let room = 90 - out.len() - usize::from(extra.is_some());
        let all = &generation.features;
        for feature in (0..room).map(|at| all[at * all.len() / room]).chain(extra) {
            out.insert(format!("cpu-feature.node.kubevirt.io/{feature}"), "true".to_owned());
        }
        assert_eq!(out.len(), 90);
        out
    }
}

/// The review of a migration's target pod in a cluster of this many nodes: a recorded one, grown to the 28 KB of a guest with
/// ten disks, three networks and the notes that backup tools and controllers leave on it.
pub fn launcher_review(demand: Demand, cluster: usize) -> Value {
    let mut review: Value = recorded(include_str!("../../tests/data/reviews/pod-target-second.json"));
    let pod = &mut review["request"]["object"];
    let selector = demand.selector(cluster);
    pod["metadata"]["labels"]["kubevirt.io/nodeName"] = json!(SOURCE);
    let fields: Map<String, Value> = selector.keys().map(|key| (format!("f:{key}"), json!({}))).collect();
    pod["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]["f:nodeSelector"] = fields.into();
    let disk =
        |at: usize| json!({"name": format!("disk-{at}"), "serial": format!("{:032x}", at * 7919), "bus": "virtio"});
    let notes = json!({"disks": (0..60).map(disk).collect::<Vec<_>>(), "cache": "none"}).to_string();
    pod["metadata"]["annotations"]["example.com/last-applied"] = notes.into();
    for at in 0..10 {
        let (name, claim) = (format!("disk-{at}"), format!("vm-0001-disk-{at}-abcde"));
        let path = format!("/var/run/kubevirt-private/vmi-disks/{name}");
        push(&mut pod["spec"]["volumes"], json!({"name": name, "persistentVolumeClaim": {"claimName": claim}}));
        push(&mut pod["spec"]["containers"][0]["volumeMounts"], json!({"name": name, "mountPath": path}));
    }
    pod["spec"]["nodeSelector"] = json!(selector);
    let terms = &mut pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    push(
        &mut terms["nodeSelectorTerms"][0]["matchExpressions"],
        json!({"key": "network.harvesterhci.io/mgmt", "operator": "In", "values": ["true"]}),
    );
    review
}

/// An update of a VM's status, as virt-controller sends it all day.
pub fn status_noise() -> Value {
    recorded(include_str!("../../tests/data/reviews/vm-update-status-noise.json"))
}

/// A pod that is no guest's.
pub fn plain_pod() -> Value {
    let mut review = status_noise();
    let request = &mut review["request"];
    request["kind"] = json!({"group": "", "version": "v1", "kind": "Pod"});
    request["resource"] = json!({"group": "", "version": "v1", "resource": "pods"});
    request["operation"] = json!("CREATE");
    request["oldObject"] = Value::Null;
    request["object"] = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "web-1", "namespace": "shop", "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "web", "image": "web:v1", "resources": {"requests": {"cpu": "100m"}}}],
                 "nodeSelector": {"kubernetes.io/os": "linux"}, "serviceAccountName": "default"},
    });
    review
}

#[allow(clippy::expect_used)]
fn recorded(text: &str) -> Value {
    serde_json::from_str(text).expect("a recorded review is JSON")
}

fn push(list: &mut Value, item: Value) {
    if let Some(list) = list.as_array_mut() {
        list.push(item);
    }
}

/// A world of this many nodes, without policies, and without guests but for the one that `known`, the review of its target
/// pod, is about.
///
/// Built on a thread of its own, as in the server it is built on another one than judges by it: what is freed on the way
/// stays in that thread's part of the heap, and does not slow down what is allocated later.
#[allow(clippy::expect_used)]
pub fn world(count: usize, known: Option<&Value>) -> World {
    let guest = known.map(guest).into_iter().flatten();
    let build = move || World {
        cluster: Cluster::new(nodes(count).map(ClusterObject::Node).chain(guest), None),
        policies: Vec::new(),
    };
    std::thread::spawn(build).join().expect("the world is built")
}

/// The guest that a target pod is made for, and the launcher it runs in, which has the same selector.
#[allow(clippy::expect_used)]
fn guest(review: &Value) -> [ClusterObject; 2] {
    let mut pod = review["request"]["object"].clone();
    pod["spec"]["nodeName"] = json!(SOURCE);
    let owner = &pod["metadata"]["ownerReferences"][0];
    let vmi = json!({
        "metadata": {"name": owner["name"], "namespace": pod["metadata"]["namespace"], "uid": owner["uid"]},
        "spec": {"domain": {"cpu": {"model": "host-model"}}},
        "status": {"phase": "Running", "nodeName": SOURCE},
    });
    let text = pod.to_string();
    let launcher = launcher(&serde_json::from_str(&text).expect("a pod")).expect("a launcher");
    [ClusterObject::Vmi(Box::new(serde_json::from_value(vmi).expect("a VMI"))), ClusterObject::Launcher(launcher)]
}

/// The webhook's own router, and beside it `/null`, which reads the body and answers a constant.
pub fn router(world: World, metrics: Arc<Metrics>) -> Router {
    const ANSWER: &str = r#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","response":{"uid":"a145cf43-b63d-43a6-8ff1-4d4456486f08","allowed":true}}"#;
    let readiness = Readiness::new();
    for &condition in Condition::ALL {
        readiness.meet(condition);
    }
    let edge = Edge::new(Arc::new(world), Arc::new(readiness), metrics, web::Limits::default());
    let null = async |body: Bytes| {
        drop(body);
        ([(CONTENT_TYPE, "application/json")], ANSWER)
    };
    web::router(edge).route("/null", post(null))
}
