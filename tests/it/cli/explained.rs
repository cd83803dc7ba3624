//! The table of nodes that `explain` prints.

use serde_json::{Value, json};

use crate::common::{Scratch, cpufit, kubevirt, list, node};

/// Returns a node with the label of Westmere, of these vendors.
fn host(name: &str, vendors: &[&str]) -> Value {
    let mut labels = json!({
        "kubevirt.io/schedulable": "true", "kubernetes.io/arch": "amd64", "machine-type.node.kubevirt.io/q35": "true",
        "cpu-model.node.kubevirt.io/Westmere": "true", "cpu-feature.node.kubevirt.io/aes": "true",
        "host-model-cpu.node.kubevirt.io/Westmere": "true",
    });
    for vendor in vendors {
        labels[format!("cpu-vendor.node.kubevirt.io/{vendor}")] = json!("true");
    }
    node(name, &labels)
}

/// Libvirt checks little of a guest that is moved between vendors: no output may suggest a safe refusal, or mention
/// vendors if a node's own vendor is not known.
#[test]
fn a_node_of_another_vendor_is_where_a_guest_may_crash() {
    const CRASH: &str = "a CPU of another vendor: moved there it may crash";
    let guest = json!({
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance",
        "metadata": {"namespace": "shop", "name": "web", "uid": "web"},
        "spec": {"domain": {"cpu": {"model": "Westmere"}, "machine": {"type": "q35"}}},
        "status": {"phase": "Running", "nodeName": "node-a", "selinuxContext": "none"},
    });
    for (own, other, is_said) in [
        (&["Intel"][..], &["AMD"][..], true),
        (&["Intel"], &[], false),
        (&["Intel"], &["AMD", "Hygon"], false),
        (&["AMD", "Intel"], &["Intel"], false),
    ] {
        let scratch = Scratch::new();
        let cluster = list([host("node-a", own), host("node-b", other), kubevirt(&json!({})), guest.clone()]);
        let dump = scratch.write_json("cluster.json", &cluster);
        let explained = cpufit(["explain", "vmi/web", "-n", "shop", "--snapshot"]).args([dump.as_os_str()]).run();
        assert!(explained.stdout.contains("cpu-vendor"), "node-b lacks the vendor: {}", explained.stdout);
        assert_eq!(explained.stdout.contains(CRASH), is_said, "{own:?}, {other:?}: {}", explained.stdout);
    }
}
