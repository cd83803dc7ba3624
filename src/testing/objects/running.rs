//! A running guest.

use serde_json::{Value, json};

/// Returns a VMI of namespace `shop` that runs on a node, with this CPU model.
pub(crate) fn running(name: &str, node: &str, model: &str) -> Value {
    json!({
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance",
        "metadata": {"namespace": "shop", "name": name, "uid": format!("uid-{name}")},
        "spec": {"architecture": "amd64", "domain": {"cpu": {"model": model}, "machine": {"type": "q35"}}},
        "status": {"phase": "Running", "nodeName": node, "selinuxContext": "none", "machine": {"type": "q35"}},
    })
}
