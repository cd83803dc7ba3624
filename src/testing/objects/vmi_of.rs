//! The VMI that virt-controller creates for a VM.

use serde_json::{Value, json};

/// Returns the VMI of a VM as virt-controller creates it: the VM's template, with the VM as owner.
pub(crate) fn vmi_of(vm: &Value) -> Value {
    let (metadata, template) = (&vm["metadata"], &vm["spec"]["template"]);
    json!({
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance",
        "metadata": {
            "namespace": metadata["namespace"], "name": metadata["name"], "labels": template["metadata"]["labels"],
            "ownerReferences": [{
                "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "name": metadata["name"], "uid": metadata["uid"],
                "controller": true, "blockOwnerDeletion": true,
            }],
        },
        "spec": template["spec"],
    })
}
