//! A large live cluster in memory: its size, and the cost of a heartbeat and of a change.
#![allow(clippy::expect_used, reason = "a benchmark ends with the panic")]

#[path = "../src/testing/objects/node.rs"]
mod node;
#[path = "shared/nodes.rs"]
mod nodes;
#[path = "shared/quantile.rs"]
mod quantile;
#[path = "shared/smoke.rs"]
mod smoke;
#[path = "shared/table.rs"]
mod table;

use std::hint::black_box;
use std::time::Instant;

use cpufit::fit::node::Node;
use cpufit::kubevirt::resource::Resource;
use cpufit::live::inventory::Inventory;
use cpufit::live::kinds::{Projected, project};
use cpufit::live::watch::ResourceChange;
use serde_json::{Value, json};

use quantile::quantile;
use smoke::is_smoke_test;

const NODES: usize = 15_000;
const GUESTS: usize = 20_000;

/// Returns a node as an API server sends it; a third of it is judged.
fn beat_of(node: &Node, beat: usize) -> String {
    let image =
        json!({"names": ["registry.example/some/image/that/is/there@sha256:0123456789abcdef"], "sizeBytes": 123});
    let mut out = node::node(&node.name, &json!(node.labels));
    out["metadata"]["uid"] = json!(node.name);
    out["metadata"]["resourceVersion"] = json!(beat.to_string());
    out["metadata"]["annotations"] = json!({"kubevirt.io/heartbeat": beat.to_string()});
    out["metadata"]["managedFields"] =
        json!([{"manager": "virt-handler", "fieldsV1": {"f:metadata": {"f:labels": node.labels}}}]);
    out["spec"] = json!({"unschedulable": node.cordoned});
    out["status"]["conditions"][0]["lastHeartbeatTime"] = json!(beat.to_string());
    out["status"]["images"] = json!(vec![image; 50]);
    out.to_string()
}

fn recorded(name: &str) -> Value {
    let path = format!("{}/tests/data/reviews/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    serde_json::from_str::<Value>(&text).expect("a review")["request"]["object"].clone()
}

fn put(resource: Resource, json: &str) -> ResourceChange {
    let value = |pointer: &str| {
        let object: Value = serde_json::from_str(json).expect("JSON");
        object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    match project(resource, json).expect("well-formed") {
        Projected::Nothing => ResourceChange::Gone(resource, Default::default()),
        projected => ResourceChange::Put(resource, (value("/metadata/namespace"), value("/metadata/name")), projected),
    }
}

/// Returns a figure of `/proc/self/status`, in MB; `None` if the file does not exist.
fn memory(figure: &str) -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(figure)?.strip_prefix(':'))?;
    Some(line.trim().trim_end_matches(" kB").parse::<f64>().ok()? / 1024.0)
}

fn main() {
    let (nodes, guests) = if is_smoke_test() { (150, 200) } else { (NODES, GUESTS) };
    let mut inventory = Inventory::new(None);
    for resource in Resource::WATCHED {
        inventory.apply(ResourceChange::Relisting(resource));
    }
    for one in nodes::nodes(nodes) {
        inventory.apply(put(Resource::Nodes, &beat_of(&one, 0)));
    }
    let (mut vmi, mut pod) = (recorded("vmi-create-by-controller"), recorded("pod-target-second"));
    for number in 0..guests {
        let (name, uid, node) =
            (format!("guest-{number:05}"), format!("uid-{number:05}"), format!("node-{:05}", number % nodes));
        vmi["metadata"]["name"] = json!(name);
        vmi["metadata"]["uid"] = json!(uid);
        vmi["status"] = json!({"phase": "Running", "nodeName": node, "selinuxContext": "none"});
        inventory.apply(put(Resource::Vmis, &vmi.to_string()));
        pod["metadata"]["name"] = json!(format!("virt-launcher-{name}"));
        pod["metadata"]["ownerReferences"][0]["name"] = json!(name);
        pod["metadata"]["ownerReferences"][0]["uid"] = json!(uid);
        pod["spec"]["nodeName"] = json!(node);
        pod["status"] = json!({"phase": "Running"});
        inventory.apply(put(Resource::Pods, &pod.to_string()));
    }
    for resource in Resource::WATCHED {
        inventory.apply(ResourceChange::Listed(resource));
    }
    let started = Instant::now();
    let snapshot = black_box(inventory.snapshot());
    let first = started.elapsed();
    if let (Some(now), Some(peak)) = (memory("VmRSS"), memory("VmHWM")) {
        table::row(&format!("memory with {nodes} nodes and {guests} guests, watched"), now, "MB", ..=64.0);
        table::row("  at most, while they were listed", peak, "MB", ..=150.0);
    }
    table::row("  the first snapshot of it", first.as_secs_f64() * 1e3, "ms", ..);

    let one = nodes::nodes(nodes).next().expect("a node");
    let beats: Vec<String> = (1..200).map(|beat| beat_of(&one, beat)).collect();
    let started = Instant::now();
    for beat in &beats {
        inventory.apply(ResourceChange::Put(
            Resource::Nodes,
            (String::new(), one.name.clone()),
            project(Resource::Nodes, beat).expect("a node"),
        ));
    }
    let beat = started.elapsed().as_secs_f64() / 199.0;
    assert!(!inventory.has_changed(), "a heartbeat publishes nothing");
    table::row("a node's heartbeat, read and compared", beat * 1e6, "µs", ..);

    let mut costs = Vec::new();
    for round in 0..20 {
        let mut changed = one.clone();
        changed.cordoned = round % 2 == 0;
        inventory.apply(put(Resource::Nodes, &beat_of(&changed, 300 + round)));
        let started = Instant::now();
        drop(black_box(inventory.snapshot()));
        costs.push(started.elapsed().as_secs_f64() * 1e3);
    }
    table::row("a node's change, published", quantile(&mut costs, 0.5), "ms", ..);
    drop(snapshot);
}
