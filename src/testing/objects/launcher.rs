//! The launcher pod of a guest, reduced to the metadata that is read; also used by the integration tests and the
//! benchmarks.

use serde_json::{Value, json};

/// Returns the pod in which this VMI runs, on the VMI's node or still without one; `suffix` ends its name.
pub(crate) fn launcher_pod(vmi: &Value, suffix: &str, selector: &Value) -> Value {
    let (name, uid) = (&vmi["metadata"]["name"], &vmi["metadata"]["uid"]);
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": format!("virt-launcher-{}-{suffix}", name.as_str().unwrap_or_default()),
            "namespace": vmi["metadata"]["namespace"],
            "labels": {"kubevirt.io": "virt-launcher", "kubevirt.io/created-by": uid},
            "annotations": {"kubevirt.io/domain": name},
            "ownerReferences": [{
                "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance", "name": name, "uid": uid,
                "controller": true, "blockOwnerDeletion": true,
            }],
        },
        "spec": {
            "containers": [{"name": "compute", "image": "registry.example/virt-launcher:v1"}],
            "nodeSelector": selector,
        },
    });
    if vmi["status"]["nodeName"].is_string() {
        pod["spec"]["nodeName"] = vmi["status"]["nodeName"].clone();
        pod["status"] = json!({"phase": "Running"});
    }
    pod
}
