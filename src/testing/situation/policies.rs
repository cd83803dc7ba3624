//! Random policies, and the other objects of a cluster except nodes and guests.

use serde_json::{Value, json};

use super::further::further;
use super::guests::{INSTANCETYPES, MODELS, PREFERENCES};
use super::nodes::ZONE;
use super::{NAMES, NAMESPACE};
use crate::fit::label;
use crate::testing::fleet::{feature, vendor};
use crate::testing::objects;
use crate::testing::random::Random;

/// Returns a policy with this name.
pub(super) fn policy(random: &mut Random, name: &str) -> Value {
    let dial = ["None", "Unschedulable", "Pinned", "Fragile"];
    let mut spec = json!({"enforce": random.one(&dial), "warn": random.one(&dial), "audit": random.one(&dial)});
    let mut selectors = ["Keep", "DropStale", "Keep"];
    if random.percent(60) {
        let modes = ["Unset", "HostModel", "HostPassthrough", "Named"];
        let replaces = &modes[..random.one(&[0, 1, 2, 2, 4])];
        spec["commonModel"] = json!({
            "name": random.one(&MODELS), "replaces": replaces, "otherwise": random.one(&["Allow", "Warn", "Deny"]),
        });
        selectors = ["Keep", "DropStale", "Common"];
    }
    spec["launcherSelectors"] = json!(random.one(&selectors));
    if random.percent(25) {
        spec["nodeSelector"] = json!({"matchLabels": {vendor(random.one(&["Intel", "AMD"])): "true"}});
    }
    if random.percent(15) {
        spec["exemptions"] = json!({"controllers": random.percent(50), "namespaces": [NAMESPACE]});
    }
    objects::policy(name, &spec)
}

/// Returns the KubeVirt resource, the namespace, instancetypes and preferences.
pub(super) fn surroundings(random: &mut Random) -> Vec<Value> {
    let mut out = vec![namespace(random)];
    if random.percent(95) {
        out.push(kubevirt(random));
    }
    let kinds = [
        json!({"guest": 2, "model": MODELS[1], "dedicatedCPUPlacement": true}),
        json!({"guest": 2, "model": MODELS[random.below(3)]}),
    ];
    for (name, cpu) in INSTANCETYPES.iter().zip(kinds) {
        let mut spec = json!({"cpu": cpu});
        if random.percent(20) {
            spec["nodeSelector"] = json!({feature("gfni"): "true"});
        }
        out.push(json!({
            "apiVersion": "instancetype.kubevirt.io/v1beta1", "kind": "VirtualMachineClusterInstancetype",
            "metadata": {"name": name}, "spec": spec,
        }));
    }
    let kinds = [
        json!({
            "features": {"preferredHyperv": {"reenlightenment": {}, "vpindex": {}}},
            "machine": {"preferredMachineType": "pc-q35-9.2"},
        }),
        json!({"cpu": {"preferredCPUFeatures": [{"name": "vme", "policy": "require"}]}}),
    ];
    for (name, spec) in PREFERENCES.iter().zip(kinds) {
        out.push(json!({
            "apiVersion": "instancetype.kubevirt.io/v1beta1", "kind": "VirtualMachineClusterPreference",
            "metadata": {"name": name}, "spec": spec,
        }));
    }
    if random.percent(70) {
        out.extend(storage(random));
    }
    out
}

/// Returns claims of guests, and their volumes: one that every node can use, and one that some can.
fn storage(random: &mut Random) -> Vec<Value> {
    let term = match random.below(3) {
        0 => json!({"key": label::HOSTNAME, "operator": "In", "values": [random.one(&NAMES), random.one(&NAMES)]}),
        1 => json!({"key": ZONE, "operator": "In", "values": [random.one(&["z1", "z2", "z9"])]}),
        _ => json!({"key": label::HOSTNAME, "operator": "Exists"}),
    };
    let claim = |name: &str, volume: &str| {
        json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {"volumeName": volume},
        })
    };
    let volume = |name: &str, spec: Value| json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": spec});
    let required = json!({"nodeSelectorTerms": [{"matchExpressions": [term]}]});
    let mut first = claim("claim-1", "pv-bound");
    if random.percent(60) {
        first["metadata"]["labels"] = json!({"instancetype.kubevirt.io/default-preference": random.one(&PREFERENCES)});
    }
    vec![
        first,
        claim("claim-2", random.one(&["pv-free", "pv-bound", ""])),
        volume("pv-bound", json!({"nodeAffinity": {"required": required}})),
        volume("pv-free", json!({"capacity": {"storage": "1Gi"}})),
    ]
}

fn namespace(random: &mut Random) -> Value {
    let labels = if random.percent(3) { json!({"cpufit.io/exempt": "true"}) } else { json!({}) };
    let mut random = further(random, 1);
    let selector = random.one(&[
        "topology.kubernetes.io/zone=z1",
        "example.com/rack=2",
        "topology.kubernetes.io/zone=z9,example.com/rack=1",
    ]);
    let annotations = match random.below(20) {
        0 => json!({"openshift.io/node-selector": selector}),
        1 => json!({"scheduler.alpha.kubernetes.io/node-selector": selector}),
        _ => json!({}),
    };
    let metadata = json!({"name": NAMESPACE, "labels": labels, "annotations": annotations});
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
}

/// Returns the KubeVirt resource.
pub(super) fn kubevirt(random: &mut Random) -> Value {
    let mut configuration = json!({"developerConfiguration": {}});
    if further(random, 2).percent(5) {
        configuration["defaultRuntimeClass"] = json!("kata");
    }
    if further(random, 3).percent(3) {
        let limit = further(random, 4).one(&["parallelMigrationsPerCluster", "parallelOutboundMigrationsPerNode"]);
        configuration["migrations"] = json!({limit: 0});
    }
    if random.percent(30) {
        configuration["cpuModel"] =
            json!(random.one(&[MODELS[0], MODELS[3], MODELS[4], "host-passthrough", "host-model"]));
    }
    if random.percent(5) {
        configuration["developerConfiguration"]["nodeSelectors"] = json!({label::HOSTNAME: "quux"});
    }
    if random.percent(4) {
        configuration["developerConfiguration"]["minimumClusterTSCFrequency"] = json!(random.one(&[0, 2_000_000_000]));
    }
    let release = random.one(&["v1.9.0", "v1.5.1", "v1.8.0", "v1.7.1", "v1.6.0", "v1.5.0", "v1.4.0", "v1.3.0"]);
    // For one release only, so that the random draws of the others do not change.
    if release == "v1.8.0" {
        configuration["obsoleteCPUModels"] = json!({MODELS[0]: true, MODELS[1]: true, MODELS[4]: false});
    }
    // A guest with SEV or TDX is refused without its gate.
    if release.starts_with("v1.5.") {
        configuration["developerConfiguration"]["featureGates"] =
            json!(["WorkloadEncryptionSEV", "WorkloadEncryptionTDX"]);
    }
    let placement =
        if release == "v1.7.1" { json!({"nodeSelector": {"kubernetes.io/os": "linux"}}) } else { json!(null) };
    json!({
        "apiVersion": "kubevirt.io/v1", "kind": "KubeVirt",
        "metadata": {"name": "kubevirt", "namespace": "kubevirt", "uid": "kv"},
        "spec": {"configuration": configuration, "workloads": {"nodePlacement": placement}}, "status": {"observedKubeVirtVersion": release},
    })
}
