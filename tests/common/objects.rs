//! An object of every kind that is read.

use serde_json::{Map, Value, json};

use crate::launcher::launcher_pod;

/// The node that guests run on.
const HOME: &str = "node-000";

/// A kind of object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Node,
    Namespace,
    Pod,
    VirtualMachine,
    Vmi,
    ReplicaSet,
    Pool,
    Migration,
    KubeVirt,
    Instancetype,
    Preference,
    Revision,
    DataSource,
    Policy,
}

impl Kind {
    pub const ALL: [Self; 14] = [
        Self::Node,
        Self::Namespace,
        Self::Pod,
        Self::VirtualMachine,
        Self::Vmi,
        Self::ReplicaSet,
        Self::Pool,
        Self::Migration,
        Self::KubeVirt,
        Self::Instancetype,
        Self::Preference,
        Self::Revision,
        Self::DataSource,
        Self::Policy,
    ];

    /// Returns group, version and kind.
    pub fn api(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Node => ("", "v1", "Node"),
            Self::Namespace => ("", "v1", "Namespace"),
            Self::Pod => ("", "v1", "Pod"),
            Self::VirtualMachine => ("kubevirt.io", "v1", "VirtualMachine"),
            Self::Vmi => ("kubevirt.io", "v1", "VirtualMachineInstance"),
            Self::ReplicaSet => ("kubevirt.io", "v1", "VirtualMachineInstanceReplicaSet"),
            Self::Pool => ("pool.kubevirt.io", "v1beta1", "VirtualMachinePool"),
            Self::Migration => ("kubevirt.io", "v1", "VirtualMachineInstanceMigration"),
            Self::KubeVirt => ("kubevirt.io", "v1", "KubeVirt"),
            Self::Instancetype => ("instancetype.kubevirt.io", "v1beta1", "VirtualMachineInstancetype"),
            Self::Preference => ("instancetype.kubevirt.io", "v1beta1", "VirtualMachinePreference"),
            Self::Revision => ("apps", "v1", "ControllerRevision"),
            Self::DataSource => ("cdi.kubevirt.io", "v1beta1", "DataSource"),
            Self::Policy => ("cpufit.io", "v1alpha1", "CPUPolicy"),
        }
    }

    /// Returns an object that is judged, or that judgements depend on.
    pub fn base(self) -> Value {
        let (group, version, kind) = self.api();
        let mut base = match self {
            Self::Node => node(0),
            Self::Namespace => json!({"metadata": {"name": "shop", "labels": {"env": "prod"}}}),
            Self::Pod => launcher(),
            Self::VirtualMachine => json!({
                "metadata": {"name": "db", "namespace": "shop", "uid": "vm-db"},
                "spec": {
                    "instancetype": {"name": "large", "kind": "VirtualMachineInstancetype", "revisionName": "large-1"},
                    "preference": {"name": "modern", "kind": "VirtualMachinePreference"},
                    "template": {"metadata": {"labels": {"tier": "db"}}, "spec": guest()},
                },
            }),
            Self::Vmi => json!({
                "metadata": {"name": "db", "namespace": "shop", "uid": "uid-db", "labels": {"tier": "db"},
                    "ownerReferences": [{"kind": "VirtualMachine", "name": "db", "uid": "vm-db", "controller": true}]},
                "spec": guest(),
                "status": {"phase": "Running", "nodeName": HOME, "selinuxContext": "none", "machine": {"type": "q35"}},
            }),
            Self::ReplicaSet => json!({
                "metadata": {"name": "web", "namespace": "shop", "uid": "rs-web"},
                "spec": {"template": {"metadata": {"labels": {"tier": "web"}}, "spec": guest()}},
            }),
            Self::Pool => json!({
                "metadata": {"name": "workers", "namespace": "shop", "uid": "pool-workers"},
                "spec": {"virtualMachineTemplate": {
                    "spec": {"template": {"metadata": {"labels": {"tier": "worker"}}, "spec": guest()}},
                }},
            }),
            Self::Migration => json!({
                "metadata": {"name": "move-db", "namespace": "shop", "uid": "m-1"}, "spec": {"vmiName": "db"},
            }),
            Self::KubeVirt => json!({
                "metadata": {"name": "kubevirt", "namespace": "kubevirt"},
                "spec": {"configuration": {"evictionStrategy": "LiveMigrate"}},
                "status": {"observedKubeVirtVersion": "v1.9.0"},
            }),
            Self::Instancetype => {
                json!({"metadata": {"name": "large", "namespace": "shop"}, "spec": {"cpu": {"guest": 2}}})
            }
            Self::Preference => json!({"metadata": {"name": "modern", "namespace": "shop"}, "spec": {}}),
            Self::Revision => json!({
                "metadata": {"name": "large-1", "namespace": "shop"},
                "data": {"apiVersion": "instancetype.kubevirt.io/v1beta1", "kind": "VirtualMachineInstancetype",
                    "metadata": {"name": "large"}, "spec": {"cpu": {"guest": 2}}},
            }),
            Self::DataSource => json!({"metadata": {"name": "fedora", "namespace": "shop"}, "spec": {}}),
            Self::Policy => json!({
                "metadata": {"name": "pool"},
                "spec": {"enforce": "Fragile", "launcherSelectors": "DropStale",
                    "commonModel": {"name": "Model-common", "replaces": ["Unset", "HostModel"], "otherwise": "Deny"}},
            }),
        };
        base["kind"] = kind.into();
        base["apiVersion"] = if group.is_empty() { version.into() } else { format!("{group}/{version}").into() };
        base
    }
}

fn guest() -> Value {
    json!({"architecture": "amd64", "domain": {"cpu": {"model": "host-model"}, "machine": {"type": "q35"}}})
}

fn launcher() -> Value {
    let guest = json!({"metadata": {"name": "db", "namespace": "shop", "uid": "uid-db"}, "status": {"nodeName": HOME}});
    let selector = json!({"kubevirt.io/schedulable": "true", "kubernetes.io/arch": "amd64",
        "machine-type.node.kubevirt.io/q35": "true", "cpu-feature.node.kubevirt.io/f0": "true"});
    launcher_pod(&guest, "x7k2p", &selector)
}

/// Returns a node; no two have equal hardware.
pub fn node(number: usize) -> Value {
    let on = || json!("true");
    let mut labels: Map<String, Value> = Map::new();
    for feature in (0..60).filter(|feature| !(number + feature).is_multiple_of(7)) {
        labels.insert(format!("cpu-feature.node.kubevirt.io/f{feature}"), on());
        labels.insert(format!("host-model-required-features.node.kubevirt.io/f{feature}"), on());
    }
    for model in (0..30).filter(|model| !(number + model).is_multiple_of(3)) {
        labels.insert(format!("cpu-model.node.kubevirt.io/Model-{model}"), on());
        labels.insert(format!("cpu-model-migration.node.kubevirt.io/Model-{model}"), on());
    }
    let name = format!("node-{number:03}");
    for (key, value) in [
        ("cpu-model.node.kubevirt.io/Model-common", "true"),
        (&*format!("host-model-cpu.node.kubevirt.io/Host-{number}"), "true"),
        ("cpu-vendor.node.kubevirt.io/Intel", "true"),
        ("machine-type.node.kubevirt.io/q35", "true"),
        ("kubevirt.io/schedulable", "true"),
        ("kubernetes.io/arch", "amd64"),
        ("kubernetes.io/hostname", &name),
        ("topology.kubernetes.io/zone", &format!("zone-{}", number % 5)),
    ] {
        labels.insert(key.to_owned(), json!(value));
    }
    let taints = json!([{"key": format!("dedicated-{}", number % 9), "value": "x", "effect": "NoSchedule"}]);
    let taints = if number.is_multiple_of(3) { taints } else { json!([]) };
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": labels}, "spec": {"taints": taints},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    })
}

/// Returns an object with another one's fields merged over its own.
pub fn merged(mut under: Value, over: Value) -> Value {
    match (&mut under, over) {
        (Value::Object(fields), Value::Object(more)) => {
            for (name, value) in more {
                let known = fields.remove(&name).unwrap_or(Value::Null);
                fields.insert(name, merged(known, value));
            }
            under
        }
        (_, over) => over,
    }
}
