//! A cluster around a fleet, built from objects as in the API server.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::Tweak;
use super::objects::{self, policy};
use crate::fit::node::Node;
use crate::fit::placement::Placement;
use crate::kubevirt::cluster::{Cluster, ClusterObject, Launcher};
use crate::kubevirt::release::Release;
use crate::kubevirt::wire::Vmi;
use crate::policy::Policy;
use crate::report::{EventKind, Regarding};
use crate::world::World;

/// Parses an object from JSON.
pub(crate) fn read<T: DeserializeOwned>(json: Value) -> T {
    serde_json::from_value(json).expect("an object of this kind")
}

/// Builds a cluster of these nodes with a KubeVirt of this release.
pub(crate) fn cluster(release: &str, nodes: Vec<Node>, objects: impl IntoIterator<Item = ClusterObject>) -> Cluster {
    let release = Release::parse(release).expect("a release");
    Cluster::new(nodes.into_iter().map(ClusterObject::Node).chain(objects), Some(release))
}

/// Builds a world of these nodes and objects without policies, with the newest KubeVirt.
pub(crate) fn world(nodes: Vec<Node>, objects: impl IntoIterator<Item = ClusterObject>) -> World {
    World { cluster: cluster("1.9.0", nodes, objects), policies: Vec::new() }
}

/// Parses a policy with this name and spec as if a user wrote it.
pub(crate) fn read_policy(name: &str, spec: &Value) -> Policy {
    Policy::from_json(&policy(name, spec).to_string()).expect("a policy")
}

/// Returns a guest of namespace `shop` that runs on a node, owned by a VM.
pub(crate) fn running(name: &str, node: &str, model: &str) -> Value {
    let owner = json!({"kind": "VirtualMachine", "name": name, "uid": format!("vm-{name}"), "controller": true});
    objects::running(name, node, model).tweak(|guest| guest["metadata"]["ownerReferences"] = json!([owner]))
}

/// Returns a VM of namespace `shop`.
pub(crate) fn vm(name: &str, model: &str) -> Value {
    let cpu = if model.is_empty() { json!({}) } else { json!({"model": model}) };
    json!({
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine",
        "metadata": {"namespace": "shop", "name": name, "uid": format!("vm-{name}")},
        "spec": {"template": {"metadata": {"labels": {"app": name}}, "spec": {"domain": {"cpu": cpu}}}},
    })
}

/// Returns a replica set of guests like that of this VM; replica sets have no instancetype and no preference.
pub(crate) fn replica_set(vm: &Value) -> Value {
    json!({
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstanceReplicaSet",
        "metadata": vm["metadata"],
        "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "web"}}, "template": vm["spec"]["template"]},
    })
}

/// Returns a pool of VMs like this one.
pub(crate) fn vm_pool(vm: &Value) -> Value {
    json!({
        "apiVersion": "pool.kubevirt.io/v1beta1", "kind": "VirtualMachinePool",
        "metadata": vm["metadata"],
        "spec": {
            "replicas": 3, "selector": {"matchLabels": {"app": "web"}},
            "virtualMachineTemplate": {"metadata": {"labels": {"app": "web"}}, "spec": vm["spec"]},
        },
    })
}

/// Returns a migration of a guest of namespace `shop`.
pub(crate) fn migration(guest: &str) -> Value {
    json!({
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstanceMigration",
        "metadata": {"namespace": "shop", "name": format!("migrate-{guest}")},
        "spec": {"vmiName": guest},
    })
}

/// Parses a VMI as an object of a cluster.
pub(crate) fn vmi(json: Value) -> ClusterObject {
    ClusterObject::Vmi(Box::new(read(json)))
}

/// Returns the launcher pod of a guest, with a node selector of these keys, each `true`.
pub(crate) fn launcher(guest: &Value, keys: impl IntoIterator<Item = String>) -> ClusterObject {
    let guest: Vmi = read(guest.clone());
    let selector = keys.into_iter().map(|key| (key.into(), "true".into())).collect();
    let launcher = Launcher {
        name: format!("virt-launcher-{}-x7k2p", guest.metadata.name),
        guest: guest.metadata.name,
        namespace: guest.metadata.namespace,
        node: guest.status.node_name,
        owner: guest.metadata.uid,
        created: "2026-01-01T00:00:00Z".to_owned(),
        is_terminating: false,
        labels: BTreeMap::new(),
        placement: Placement { selector, ..Placement::default() }.into(),
        excess: None,
    };
    ClusterObject::Launcher(launcher)
}

/// Returns a guest that the watch knows, as Events refer to it.
pub(crate) fn known(namespace: &str, name: &str, uid: &str) -> Regarding {
    let guest = vmi(json!({"metadata": {"namespace": namespace, "name": name, "uid": uid}}));
    let world = World { cluster: Cluster::new([guest], None), ..World::default() };
    Regarding::known(&world, EventKind::Vmi, namespace, name, Some(uid)).expect("it is known")
}
