//! A pool of Intel nodes with guests of several CPU modes, and policies for it.

use serde_json::{Value, json};

use super::Tweak;
use super::cluster::{cluster, launcher, read, running, vm, vmi};
use super::fleet::{feature, mixed, set};
use super::objects;
use crate::fit::node::Node;
use crate::kubevirt::cluster::ClusterObject;
use crate::policy::Policy;
use crate::world::World;

pub(crate) const MODEL: &str = "Cascadelake-Server-noTSX";

pub(crate) fn policy(spec: &Value) -> String {
    objects::policy("intel-pool", spec).to_string()
}

pub(crate) fn common(name: &str) -> Value {
    json!({"commonModel": {"name": name}, "nodeSelector": {"matchLabels": {"pool": "intel"}}})
}

/// Returns the mixed fleet, with its Intel nodes as a pool.
pub(crate) fn nodes() -> Vec<Node> {
    mixed().tweak(|nodes| nodes.iter_mut().take(5).for_each(|node| set(node, "pool", "intel")))
}

/// Returns a world with guests of several CPU modes on the pool, and one outside.
pub(crate) fn world(nodes: Vec<Node>, policies: &[String]) -> World {
    let guests = [
        ("db", "node-a", "host-model"),
        ("erp", "node-c", "host-model"),
        ("mail", "node-e", "host-model"),
        ("on", "node-a", MODEL),
        ("old", "node-d", "Skylake-Server-noTSX-IBRS"),
        ("amd", "amd-1", "host-model"),
    ];
    let mut objects: Vec<ClusterObject> = Vec::new();
    for (name, node, cpu) in guests {
        let guest = running(name, node, cpu);
        objects.push(launcher(&guest, if name == "db" { vec![feature("gone"), feature("fpu")] } else { Vec::new() }));
        objects.push(vmi(guest));
        let stated = if name == "erp" { "" } else { cpu };
        objects.push(ClusterObject::VirtualMachine(Box::new(read(vm(name, stated)))));
    }
    let policies = policies.iter().map(|text| Policy::from_json(text).expect("a policy")).collect();
    World { cluster: cluster("1.9.0", nodes, objects), policies }
}
