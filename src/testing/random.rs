//! Random clusters and launcher pods that an API server accepts, with many edge cases: labels "" and "false", invalid
//! numbers, empty terms, cordons with and without their taint, tolerations of every form.

use serde_json::{Map, Value, json};

/// `SplitMix64`: the same seed gives the same clusters on every machine.
pub struct Random(pub(super) u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number less than `end`.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).expect("less than a usize")
    }

    pub fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }

    pub fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    pub fn some(&mut self, at_most: usize, mut make: impl FnMut(&mut Self) -> Value) -> Vec<Value> {
        (0..self.below(at_most + 1)).map(|_| make(self)).collect()
    }
}

const HOSTNAME: &str = "kubernetes.io/hostname";
const GENERATION: &str = "example.com/generation";
/// Integers for Gt and Lt, and text that only resembles one.
const GENERATIONS: [&str; 10] =
    ["1", "2", "3", "007", "0", "3.5", "gen4", "", "9223372036854775807", "9223372036854775808"];

/// Labels, the values on nodes, and the percentage of nodes with the label.
const LABELS: [(&str, &[&str], usize); 10] = [
    ("kubevirt.io/schedulable", &["true", "true", "true", "true", "false"], 95),
    ("cpu-feature.node.kubevirt.io/fpu", &["true", "true", "true", "", "false"], 90),
    ("cpu-feature.node.kubevirt.io/vme", &["true", "true", "false"], 80),
    ("cpu-feature.node.kubevirt.io/avx512f", &["true"], 50),
    ("cpu-model.node.kubevirt.io/Skylake-Server", &["true"], 70),
    ("cpu-model.node.kubevirt.io/EPYC-Rome", &["true", ""], 30),
    ("cpu-vendor.node.kubevirt.io/Intel", &["true"], 70),
    ("kubernetes.io/arch", &["amd64", "amd64", "amd64", "arm64"], 100),
    ("topology.kubernetes.io/zone", &["a", "b", "c"], 90),
    (GENERATION, &GENERATIONS, 80),
];

const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
const TAINTS: [(&str, &[&str]); 4] = [
    ("example.com/level", &["vm", "gpu", ""]),
    ("kubevirt.io/drain", &["draining", ""]),
    ("node-role.kubernetes.io/control-plane", &[""]),
    ("node.kubernetes.io/unschedulable", &[""]),
];

/// Returns a node with room for any number of the pods, so that only the filters decide.
pub fn node(random: &mut Random, name: &str) -> Value {
    let mut labels = Map::new();
    labels.insert(HOSTNAME.to_owned(), json!(name));
    for (key, values, chance) in LABELS {
        if random.percent(chance) {
            labels.insert(key.to_owned(), json!(random.one(values)));
        }
    }
    let cordoned = random.percent(20);
    let mut taints: Vec<Value> = Vec::new();
    let mut add = |key: &str, value: &str, effect: &str| {
        if !taints.iter().any(|taint| taint["key"] == key && taint["effect"] == effect) {
            taints.push(json!({"key": key, "value": value, "effect": effect}));
        }
    };
    // The node controller adds this taint; it may not have done so yet.
    if cordoned && random.percent(50) {
        add("node.kubernetes.io/unschedulable", "", "NoSchedule");
    }
    if random.percent(40) {
        for _ in 0..=random.below(2) {
            let (key, values) = random.one(&TAINTS);
            add(key, random.one(values), random.one(&EFFECTS));
        }
    }
    let room = json!({"cpu": "1000", "memory": "4Ti", "pods": "10000", "ephemeral-storage": "4Ti"});
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "spec": {"unschedulable": cordoned, "taints": taints},
        "status": {
            "allocatable": room, "capacity": room,
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
        },
    })
}

/// Returns a launcher pod in KubeVirt's form with random requirements.
pub fn pod(random: &mut Random, name: &str, nodes: &[String]) -> Value {
    let guest = name.trim_start_matches("virt-launcher-");
    let mut selector = Map::new();
    for _ in 0..random.below(4) {
        let (key, values, _) = random.one(&LABELS);
        selector.insert(key.to_owned(), json!(random.one(values)));
    }
    let mut spec = json!({
        "containers": [{"name": "compute", "image": "registry.example/virt-launcher:v1"}],
        "nodeSelector": selector,
        "tolerations": random.some(4, toleration),
    });
    let mut affinity = Map::new();
    if random.percent(50) {
        let terms: Vec<Value> = (0..=random.below(3)).map(|_| term(random, nodes)).collect();
        affinity.insert("requiredDuringSchedulingIgnoredDuringExecution".into(), json!({"nodeSelectorTerms": terms}));
    }
    if random.percent(20) {
        let weight = 1 + random.below(100);
        let preferred = json!([{"weight": weight, "preference": {"matchExpressions": [preference(random)]}}]);
        affinity.insert("preferredDuringSchedulingIgnoredDuringExecution".into(), preferred);
    }
    if !affinity.is_empty() {
        spec["affinity"] = json!({"nodeAffinity": affinity});
    }
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name, "namespace": "default",
            "labels": {"kubevirt.io": "virt-launcher", "vm.kubevirt.io/name": guest},
            "annotations": {"kubevirt.io/domain": guest},
            "ownerReferences": [{
                "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance", "name": guest, "controller": true,
                "uid": format!("00000000-0000-4000-8000-{:012}", random.below(1_000_000)),
            }],
        },
        "spec": spec,
    })
}

pub fn term(random: &mut Random, nodes: &[String]) -> Value {
    let mut term = Map::new();
    let expressions = random.some(3, |random| expression(random, nodes));
    if !expressions.is_empty() {
        term.insert("matchExpressions".into(), json!(expressions));
    }
    if random.percent(15) {
        let operator = random.one(&["In", "NotIn"]);
        let field = json!({"key": "metadata.name", "operator": operator, "values": [name(random, nodes)]});
        term.insert("matchFields".into(), json!([field]));
    }
    Value::Object(term)
}

/// Returns a node's name, or one that no node has.
fn name(random: &mut Random, nodes: &[String]) -> String {
    if random.percent(10) { "nobody".to_owned() } else { nodes[random.below(nodes.len())].clone() }
}

/// Returns a valid preference: invalid ones fail the scheduler's scoring, after the filters have accepted the pod.
pub fn preference(random: &mut Random) -> Value {
    let operator = random.one(&["Exists", "DoesNotExist", "Gt", "Lt"]);
    let values: &[&str] = if matches!(operator, "Gt" | "Lt") { &["2"] } else { &[] };
    json!({"key": GENERATION, "operator": operator, "values": values})
}

pub fn expression(random: &mut Random, nodes: &[String]) -> Value {
    let operator = random.one(&["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]);
    match operator {
        "Gt" | "Lt" => {
            let key = if random.percent(80) { GENERATION } else { random.one(&LABELS).0 };
            json!({"key": key, "operator": operator, "values": [random.one(&GENERATIONS)]})
        }
        "Exists" | "DoesNotExist" => json!({"key": random.one(&LABELS).0, "operator": operator}),
        _ if random.percent(15) => {
            let values: Vec<String> = (0..=random.below(5)).map(|_| name(random, nodes)).collect();
            json!({"key": HOSTNAME, "operator": operator, "values": values})
        }
        _ => {
            let (key, values, _) = random.one(&LABELS);
            let values: Vec<&str> = (0..=random.below(3)).map(|_| random.one(values)).collect();
            json!({"key": key, "operator": operator, "values": values})
        }
    }
}

pub fn toleration(random: &mut Random) -> Value {
    let mut toleration = Map::new();
    let mut put = |key: &str, value: Value| drop(toleration.insert(key.to_owned(), value));
    let (key, values) = random.one(&TAINTS);
    if random.percent(10) {
        // Without a key it tolerates every key.
        put("operator", json!("Exists"));
    } else {
        put("key", json!(key));
        match random.below(3) {
            0 => put("operator", json!("Exists")),
            1 => {
                put("operator", json!("Equal"));
                put("value", json!(random.one(values)));
            }
            // Equal is the default.
            _ => put("value", json!(random.one(values))),
        }
    }
    if random.percent(60) {
        let effect = random.one(&EFFECTS);
        put("effect", json!(effect));
        if effect == "NoExecute" && random.percent(30) {
            put("tolerationSeconds", json!(300));
        }
    }
    Value::Object(toleration)
}
