//! Random nodes: as KubeVirt labelled them at first, and as they are now.

use serde_json::{Value, json};

use super::NAMES;
use super::further::further;
use crate::fit::label;
use crate::fit::node::{Effect, Node, Taint};
use crate::kubevirt::cluster::ClusterObject;
use crate::testing::Tweak;
use crate::testing::fleet::{
    arm, cascade_lake, cordon, feature, give, ice_lake, known, machine, model, required, rome, set, skylake, taint,
    take, tsc, vendor,
};
use crate::testing::random::{self, Random};

pub(super) const ZONE: &str = "topology.kubernetes.io/zone";
pub(super) const RACK: &str = "example.com/rack";
const FAST: i64 = 2_500_000_000;
const SLOW: i64 = 2_100_000_000;
const HYPERV: [&str; 7] = ["base", "vpindex", "synic", "reenlightenment", "frequencies", "ipi", "vapic"];

fn s390x(name: &str) -> Node {
    arm(name).tweak(|node| set(node, label::ARCH, "s390x"))
}

/// Returns two lists of the same nodes: as they were labelled at first, and now.
pub(super) fn nodes(random: &mut Random) -> (Vec<Node>, Vec<Node>) {
    let count = match random.below(100) {
        0 => 0,
        1..=9 => 1,
        10..=24 => 2,
        _ => 3 + random.below(NAMES.len() - 2),
    };
    let kinds = [cascade_lake, skylake, ice_lake, rome, arm, s390x];
    let most = kinds[random.one(&[0, 0, 0, 1, 2, 3, 3, 4])];
    let first = random.below(NAMES.len());
    let then: Vec<Node> = (0..count)
        .map(|at| {
            let kind = if random.percent(65) { most } else { kinds[random.one(&[0, 1, 2, 3, 3, 4, 5])] };
            kind(NAMES[(first + at) % NAMES.len()]).tweak(|node| equip(random, node))
        })
        .collect();
    let now = then.iter().map(|node| if random.percent(4) { corner(random, &node.name) } else { aged(random, node) });
    let now = now.collect();
    (then, now)
}

/// Adds initial differences between nodes of one kind.
fn equip(random: &mut Random, node: &mut Node) {
    set(node, ZONE, random.one(&["z1", "z1", "z2"]));
    if random.percent(50) {
        set(node, RACK, random.one(&["1", "2", "007", "r3", ""]));
    }
    let is_x86 = node.labels.get(label::ARCH).is_some_and(|arch| arch == "amd64");
    if is_x86 {
        give(node, HYPERV.map(|name| format!("{}{name}", label::HYPERV)));
        let clock = if random.percent(20) { SLOW } else { FAST };
        set(node, label::TSC_FREQUENCY, &clock.to_string());
        give(node, [tsc(clock)]);
    }
    if random.percent(30) {
        let key = random.one(&[label::REALTIME, label::SEV, label::SEV_ES, label::TDX, label::CPU_MANAGER]);
        set(node, key, random.one(&["true", "true", "", "false"]));
    }
    if random.percent(30) {
        let value = random.one(&["true", "false", "older"]);
        // A virt-handler before 1.8 writes the earlier name alone.
        if value != "older" {
            set(node, label::CPU_MANAGER, value);
        }
        set(node, label::CPU_MANAGER_OLD, if value == "false" { "false" } else { "true" });
    }
    if is_x86 && random.percent(25) {
        give(node, [feature("vmx"), format!("{}evmcs", label::HYPERV)]);
    }
}

/// Returns a node with edge cases, as used for the comparison with the scheduler.
fn corner(random: &mut Random, name: &str) -> Node {
    match super::object(&random::node(random, name)) {
        Some(ClusterObject::Node(node)) => node,
        _ => unreachable!("it is a node"),
    }
}

fn aged(random: &mut Random, node: &Node) -> Node {
    node.clone().tweak(|node| age(random, node))
}

/// Changes a node: labels drift, users cordon it, virt-handler fails.
fn age(random: &mut Random, node: &mut Node) {
    let losable = ["fpu", "vme", "avx512vnni", "hle", "rtm", "aes", "svm", "clzero"];
    if random.percent(35) {
        let lost: Vec<&str> = (0..=random.below(3)).map(|_| random.one(&losable)).collect();
        take(node, &lost.iter().map(|name| feature(name)).collect::<Vec<_>>());
        if random.percent(40) {
            take(node, &lost.iter().map(|name| required(name)).collect::<Vec<_>>());
        }
        if random.percent(50) {
            node.skip_node = Some(random.one(&["true", "false", ""]).to_owned());
        }
    }
    if random.percent(8) {
        let key = feature(random.one(&losable));
        if node.labels.contains_key(&key) {
            set(node, &key, random.one(&["", "false"]));
        }
    }
    if random.percent(5) {
        node.labels.retain(|key, _| !key.starts_with(label::HOST_MODEL_CPU));
        if random.percent(50) {
            give(node, [format!("{}Opteron_G7", label::HOST_MODEL_CPU)]);
        }
    }
    if random.percent(10) {
        rename(random, node);
    }
    if random.percent(20) {
        take(node, &[machine(random.one(&["q35", "pc-q35-9.2"]))]);
    }
    if random.percent(22) {
        cordon(node);
        if random.percent(15) {
            // The node controller has not handled it yet.
            node.taints.clear();
        }
    }
    if random.percent(18) {
        let value = random.one(&["", "db"]).to_owned();
        let effect = random.one(&[Effect::NoSchedule, Effect::NoExecute, Effect::PreferNoSchedule]);
        node.taints.push(Taint { value, effect, ..taint(random.one(&["example.com/dedicated", "kubevirt.io/drain"])) });
    }
    match random.below(100) {
        0..=11 => set(node, label::SCHEDULABLE, "false"),
        12..=14 => take(node, &[label::SCHEDULABLE.to_owned()]),
        _ => {}
    }
    match random.below(100) {
        0..=4 => node.labels.retain(|key, _| !label::Family::of(key).is_cpu()),
        5 => node.labels.clear(),
        _ => {}
    }
    if random.percent(8) {
        give(node, [label::OBSOLETE_HOST_MODEL.to_owned()]);
    }
    node.not_ready = random.percent(8);
    // Another mainboard: the labeller removes no vendor.
    let mut rare = further(random, 12);
    if random.percent(4) {
        give(node, [vendor(random.one(&["AMD", "Intel"]))]);
    } else if rare.percent(4) {
        give(node, [vendor(rare.one(&["AMD", "Intel"]))]);
    }
}

/// Simulates a new libvirt: the host model is not usable by name, or has another name and the old one is unknown.
fn rename(random: &mut Random, node: &mut Node) {
    let own = node.labels.keys().find_map(|key| key.strip_prefix(label::HOST_MODEL_CPU)).map(str::to_owned);
    let Some(own) = own else { return };
    take(node, &[model(&own)]);
    if random.percent(50) {
        take(node, &[known(&own), format!("{}{own}", label::HOST_MODEL_CPU)]);
        give(node, [format!("{}Opteron_G7", label::HOST_MODEL_CPU)]);
    }
}

/// Returns the node as in a dump.
pub(crate) fn json(node: &Node) -> Value {
    let taints: Vec<Value> = node
        .taints
        .iter()
        .map(|taint| json!({"key": taint.key, "value": taint.value, "effect": taint.effect.as_str()}))
        .collect();
    let mut out = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": node.name, "labels": node.labels},
        "spec": {"taints": taints},
        "status": {"conditions": [{"type": "Ready", "status": if node.not_ready { "False" } else { "True" }}]},
    });
    if node.cordoned {
        out["spec"]["unschedulable"] = json!(true);
    }
    if let Some(value) = &node.skip_node {
        out["metadata"]["annotations"] = json!({label::SKIP_NODE: value});
    }
    out
}
