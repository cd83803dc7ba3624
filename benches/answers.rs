//! Questions about the whole cluster: `recommend`, `drain` and `diff` with 5,000 nodes and 20,000 guests, compared with
//! reading the dump, which includes nodes' allocatable resources and pods' requests; `recommend -o yaml` beside a
//! policy; and `drain` where many guests share few places.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, reason = "a benchmark ends with the panic")]

#[path = "../src/testing/objects/launcher.rs"]
mod launcher;
#[path = "../src/testing/objects/node.rs"]
mod node;
#[path = "shared/nodes.rs"]
mod nodes;
#[path = "../src/testing/objects/running.rs"]
mod running;
#[path = "shared/smoke.rs"]
mod smoke;
#[path = "shared/table.rs"]
mod table;

use std::hint::black_box;
use std::time::Instant;

use cpufit::answers::diff::diff;
use cpufit::answers::drain::{State, drain};
use cpufit::answers::recommend::policy::{Adoption, adoptions};
use cpufit::answers::recommend::recommend;
use cpufit::domain::Domain;
use cpufit::fit::label::CPU_FEATURE;
use cpufit::fit::node::Node;
use cpufit::snapshot::DumpSource;
use cpufit::world::{self, LoadInput, World};
use serde_json::{Value, json};

use launcher::launcher_pod;
use node::node;
use running::running;
use smoke::is_smoke_test;

const NODES: usize = 5_000;
const GUESTS: usize = 20_000;
/// Number of guests on the drained node.
const HERE: usize = 100;
/// Number of nodes that take guests in the cluster with few places.
const OPEN: usize = 10;
/// Maximum seconds for an answer once the dump is read.
const MOST: f64 = 2.0;

fn main() {
    let smoke = is_smoke_test();
    let (nodes, guests) = if smoke { (50, 200) } else { (NODES, GUESTS) };
    let nodes: Vec<Node> = nodes::nodes(nodes).collect();
    let dump = dump(&nodes, &nodes, guests);
    let started = Instant::now();
    let old = read(&dump);
    let reading = started.elapsed().as_secs_f64();

    let lost = format!("{CPU_FEATURE}avx2");
    let mut after = nodes.clone();
    for node in after.iter_mut().step_by(3) {
        node.labels.remove(&lost);
    }
    let new = read(&self::dump(&after, &nodes, guests));

    let started = Instant::now();
    let report = black_box(recommend(&old, &[], &|_, _| {}));
    let recommending = started.elapsed().as_secs_f64();
    assert!(report.pools.len() > 1 && report.pools.iter().any(|pool| pool.guests > 0));

    let governed = read(&with_policy(&dump));
    let started = Instant::now();
    let report = recommend(&governed, &[], &|_, _| {});
    let table = started.elapsed().as_secs_f64();
    let started = Instant::now();
    let adopted = black_box(adoptions(&governed, &report, &|_, _| {}));
    let adopting = started.elapsed().as_secs_f64();
    let is_changed =
        |adoption: &Adoption| matches!(adoption, Adoption::Nothing(why) if why.contains("no longer do the same"));
    assert!(adopted.iter().any(is_changed), "no guest of the policy would get another one: {adopted:?}");

    let drained = old.cluster.fleet.find(&nodes[0].name).expect("the node");
    let started = Instant::now();
    let found = black_box(drain(&old, &[drained], false, &|_, _| {}));
    let draining = started.elapsed().as_secs_f64();
    assert!(found.nodes[0].guests.len() >= HERE);
    let started = Instant::now();
    let all = black_box(drain(&old, &old.cluster.fleet.in_name_order(), true, &|_, _| {}));
    let ordering = started.elapsed().as_secs_f64();
    assert_eq!(all.nodes.len(), nodes.len());

    let started = Instant::now();
    let found = black_box(diff(&old, &new, &|_| true, &|_, _| {}));
    let comparing = started.elapsed().as_secs_f64();
    assert_eq!(found.nodes.len(), after.len().div_ceil(3));
    assert!(found.worse > 0, "guests that inherited the feature are worse off");

    let crowded = crowded(&nodes, guests);
    let started = Instant::now();
    let few_places = read(&crowded);
    let reading_it = started.elapsed().as_secs_f64();
    let started = Instant::now();
    let found = black_box(drain(&few_places, &[drained], false, &|_, _| {}));
    let searching = started.elapsed().as_secs_f64();
    let guests = &found.nodes[0].guests;
    assert!(guests.iter().any(|guest| guest.state == State::Stuck), "no guest lacks a place");
    assert!(guests.iter().any(|guest| !guest.rivals.is_empty()), "no guests compete for a place");
    let open: Vec<usize> =
        nodes.iter().step_by(nodes.len() / OPEN).filter_map(|node| few_places.cluster.fleet.find(&node.name)).collect();
    let started = Instant::now();
    black_box(drain(&few_places, &open, true, &|_, _| {}));
    let searching_all = started.elapsed().as_secs_f64();

    if smoke {
        return;
    }
    table::row("reading a dump of 5,000 nodes and 20,000 guests", reading, "s", ..);
    for (verb, took) in [
        ("recommend", recommending),
        ("recommend -o yaml beside a policy", adopting),
        ("drain of one node", draining),
        ("diff", comparing),
    ] {
        table::row(&format!("{verb}, {NODES} nodes, {GUESTS} guests"), took, "s", ..=MOST);
        table::row(&format!("{verb} / reading the dump"), took / reading, "x", ..=1.0);
    }
    table::row("recommend -o yaml beside a policy / recommend", (table + adopting) / table, "x", ..=3.0);
    table::row("drain --all / reading the dump", ordering / reading, "x", ..=3.0);
    table::row(&format!("drain of one node, {HERE} guests that share few places"), searching, "s", ..=MOST);
    table::row("drain of one node, few places / reading the dump", searching / reading_it, "x", ..=1.0);
    table::row(
        &format!("drain of {OPEN} nodes in turn, few places / reading the dump"),
        searching_all / reading_it,
        "x",
        ..,
    );
}

fn read(dump: &str) -> World {
    let domain = Domain::default();
    let input = LoadInput { with_room: true, ..LoadInput::new(&[DumpSource::Stdin], &domain) };
    world::load(input, dump.as_bytes()).expect("a dump").0
}

/// Returns a dump of nodes and guests. Each fourth guest has migrated before, when the nodes were as in `before`.
fn dump(nodes: &[Node], before: &[Node], guests: usize) -> String {
    let mut items: Vec<String> = nodes.iter().map(|node| of_node(node).to_string()).collect();
    for number in 0..guests {
        let node = &before[if number < HERE { 0 } else { number * 7 % before.len() }];
        let name = format!("guest-{number:05}");
        let model = if number % 5 == 0 { "Haswell-noTSX-IBRS" } else { "host-model" };
        let guest = guest(&name, &node.name, model);
        items.push(guest.to_string());
        items.push(launcher(&guest, node, number % 4 == 1).to_string());
    }
    format!("{{\"apiVersion\":\"v1\",\"kind\":\"List\",\"items\":[{}]}}", items.join(","))
}

/// Adds a policy for some of the nodes of a vendor to a dump.
fn with_policy(dump: &str) -> String {
    let policy = json!({
        "apiVersion": "cpufit.io/v1alpha1", "kind": "CPUPolicy", "metadata": {"name": "some"},
        "spec": {"nodeSelector": {"matchLabels": {
            "cpu-vendor.node.kubevirt.io/Intel": "true", "topology.kubernetes.io/zone": "zone-0"}}}});
    dump.replacen("\"items\":[", &format!("\"items\":[{policy},"), 1)
}

/// Returns a dump of nodes of which few take guests, with little room, and lack features; the guests of the first node
/// exclude each other from nodes or zones, and some of them are shut down and start again.
fn crowded(nodes: &[Node], guests: usize) -> String {
    let zones = ["kubernetes.io/hostname", "topology.kubernetes.io/zone"];
    let object = |(number, one): (usize, &Node)| {
        let is_closed = number % (nodes.len() / OPEN) > 0;
        let mut after = Node { cordoned: is_closed, ..one.clone() };
        let features: Vec<String> = one.labels.keys().filter(|key| key.starts_with(CPU_FEATURE)).cloned().collect();
        let lost = features.iter().filter(|_| number % 3 == 1).skip(number % 7).step_by(29);
        lost.for_each(|key| drop(after.labels.remove(key)));
        let mut node = of_node(&after);
        node["status"]["allocatable"]["cpu"] = if is_closed { "6" } else { "12" }.into();
        node.to_string()
    };
    let mut items: Vec<String> = nodes.iter().enumerate().map(object).collect();
    for number in 0..guests {
        let node = &nodes[if number < HERE { 0 } else { number * 7 % nodes.len() }];
        let model = if number % 2 == 0 { "Haswell-noTSX-IBRS" } else { "host-model" };
        let mut guest = guest(&format!("guest-{number:05}"), &node.name, model);
        let app = format!("app-{}", number % 9);
        guest["metadata"]["labels"] = json!({"app": app});
        if number < HERE {
            guest["spec"]["affinity"] = json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
                {"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": zones[number % 2]}]}});
        }
        if number % 10 == 7 {
            guest["spec"]["evictionStrategy"] = "None".into();
            guest["metadata"]["ownerReferences"] = json!([{
                "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "name": guest["metadata"]["name"],
                "uid": format!("vm-{number}"), "controller": true}]);
            items.push(vm_of(&guest).to_string());
        }
        let mut launcher = launcher(&guest, node, number % 4 == 1);
        launcher["spec"]["containers"][0]["resources"]["requests"]["cpu"] = (1 + number % 3).to_string().into();
        items.push(guest.to_string());
        items.push(launcher.to_string());
    }
    format!("{{\"apiVersion\":\"v1\",\"kind\":\"List\",\"items\":[{}]}}", items.join(","))
}

/// Returns the VM that keeps a guest running.
fn vm_of(guest: &Value) -> Value {
    let mut spec = guest["spec"].clone();
    if let Some(spec) = spec.as_object_mut() {
        spec.remove("evictionStrategy");
    }
    json!({
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine",
        "metadata": {"namespace": guest["metadata"]["namespace"], "name": guest["metadata"]["name"]},
        "spec": {"runStrategy": "Always", "template": {"metadata": {"labels": guest["metadata"]["labels"]}, "spec": spec}},
    })
}

fn of_node(one: &Node) -> Value {
    let mut out = node(&one.name, &json!(one.labels));
    out["spec"] = json!({"unschedulable": one.cordoned});
    out["status"]["allocatable"] = json!({"cpu": "256", "memory": "1Ti", "pods": "250"});
    out
}

fn guest(name: &str, node: &str, model: &str) -> Value {
    let mut guest = running(name, node, model);
    guest["spec"]["evictionStrategy"] = "LiveMigrate".into();
    guest["spec"]["domain"]["cpu"]["cores"] = 2.into();
    guest["status"]["conditions"] = json!([{"type": "LiveMigratable", "status": "True"}]);
    guest
}

fn launcher(guest: &Value, node: &Node, has_migrated: bool) -> Value {
    let mut selector = json!({"kubernetes.io/arch": "amd64", "kubevirt.io/schedulable": "true"});
    if has_migrated {
        for key in node.labels.keys().filter(|key| key.starts_with(CPU_FEATURE)) {
            selector[key.as_str()] = "true".into();
        }
    }
    let mut pod = launcher_pod(guest, "x7k2p", &selector);
    pod["spec"]["containers"] =
        json!([{"name": "compute", "resources": {"requests": {"cpu": "200m", "memory": "2Gi"}}}]);
    pod
}
