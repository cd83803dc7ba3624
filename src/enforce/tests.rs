//! Tests of the webhook's changes, case by case: the common model, and trimmed selectors.

mod model;
mod promises;
mod trim;

use serde_json::{Value, json};

use crate::fit::node::Node;
use crate::kubevirt::cluster::ClusterObject;
use crate::policy::Policy;
use crate::testing::cluster::{cluster, read_policy};
use crate::world::World;

const SKYLAKE: &str = "Skylake-Server-noTSX-IBRS";

/// Builds a policy with this common model, `replaces` and `otherwise`.
fn with_model(model: &str, replaces: &[&str], otherwise: &str) -> Policy {
    read_policy("intel-pool", &json!({"commonModel": {"name": model, "replaces": replaces, "otherwise": otherwise}}))
}

fn world(nodes: Vec<Node>, objects: Vec<ClusterObject>, policies: Vec<Policy>) -> World {
    World { cluster: cluster("1.9.0", nodes, objects), policies }
}

/// Builds a VMI of namespace `shop` as virt-controller or a person sends it.
fn sent(cpu: &Value) -> Value {
    json!({
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance",
        "metadata": {"namespace": "shop", "name": "web", "labels": {"app": "web"}},
        "spec": {"domain": {"cpu": cpu, "devices": {}}},
    })
}

/// Applies a patch as the API server does.
fn applied(object: &Value, patch: &[json_patch::PatchOperation]) -> Value {
    let mut out = object.clone();
    json_patch::patch(&mut out, patch).expect("the API server would refuse the whole request");
    out
}

/// Applies the changes of KubeVirt's own webhook after ours: it adds model, architecture and machine type, and
/// replaces `spec` and `metadata` as a whole.
fn defaulted(object: &Value, world: &World) -> Value {
    let mut out = object.clone();
    let mut spec = crate::testing::cluster::read::<crate::kubevirt::wire::Vmi>(object.clone()).spec;
    crate::kubevirt::defaults::apply(&mut spec, &world.cluster.config);
    if out["spec"]["domain"]["cpu"].is_null() {
        out["spec"]["domain"]["cpu"] = json!({});
    }
    out["spec"]["domain"]["cpu"]["model"] = json!(spec.domain.cpu.map(|cpu| cpu.model));
    out["spec"]["domain"]["machine"] = json!({"type": spec.domain.machine.map(|machine| machine.kind)});
    out["spec"]["architecture"] = json!(spec.architecture);
    out
}
