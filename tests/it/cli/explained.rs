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

/// The launcher of a stopped VM does not exist, so what it asks for is not known; what is free where it fits is.
#[test]
fn free_room_is_printed_for_the_nodes_of_a_stopped_vm() {
    let host = |name: &str, cores: &str, memory: &str, model: &str| {
        let mut node = host(name, &["Intel"]);
        let labels = node["metadata"]["labels"].as_object_mut().unwrap();
        labels.remove("cpu-model.node.kubevirt.io/Westmere");
        labels.insert(format!("cpu-model.node.kubevirt.io/{model}"), json!("true"));
        node["status"] = json!({"allocatable": {"cpu": cores, "memory": memory, "pods": "110"}});
        node
    };
    let pod = |name: &str, on: &str, cores: &str| {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "kube-system"},
            "spec": {"nodeName": on, "containers": [{"name": "a", "resources": {"requests": {"cpu": cores, "memory": "1Gi"}}}]},
            "status": {"phase": "Running"}})
    };
    let vm = |name: &str, model: &str| {
        json!({"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "metadata": {"name": name, "namespace": "shop"},
            "spec": {"runStrategy": "Halted", "template": {"spec": {"domain": {"cpu": {"model": model}}}}}})
    };
    let objects = vec![
        host("node-a", "8", "16Gi", "Westmere"),
        host("node-b", "4", "64Gi", "Westmere"),
        host("node-c", "64", "256Gi", "Haswell"),
        pod("agent", "node-a", "2"),
        vm("db", "Westmere"),
        vm("nowhere", "Denverton"),
    ];
    let scratch = Scratch::new();
    let dump = scratch.write_json("dump.json", &list(objects));
    let explain = |vm: &str| cpufit(["explain", "-n", "shop", vm, "--snapshot"]).args([&dump]).run().stdout;
    let said = explain("vm/db");
    assert!(
        said.contains("Most free where it fits: 6 of 8 cores free on node-a, 64 of 64 GiB of memory free on node-b."),
        "a person would have to add up the requests of all pods: {said}"
    );
    assert!(!explain("vm/nowhere").contains("Most free"), "it fits on no node");
}

/// Each row: whether the guest runs, the nodes beside its own with huge pages or without, and whether room is short on
/// all of them, so that labels, cordons and models are not the cause.
#[test]
fn if_only_room_is_missing_verdict_and_remedies_are_about_room() {
    let host = |name: &str, pages: &str, cordoned: bool| {
        let mut node = host(name, &["Intel"]);
        node["status"] =
            json!({"allocatable": {"cpu": "64", "memory": "256Gi", "pods": "110", "hugepages-1Gi": pages}});
        node["spec"] = json!({"unschedulable": cordoned});
        node
    };
    let spec = json!({"domain": {"cpu": {"model": "Westmere"}, "machine": {"type": "q35"},
        "memory": {"guest": "4Gi", "hugepages": {"pageSize": "1Gi"}}}});
    let vm = json!({"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "metadata": {"name": "db", "namespace": "shop"},
        "spec": {"runStrategy": "Always", "template": {"spec": spec}}});
    let vmi = json!({"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance",
        "metadata": {"name": "db", "namespace": "shop", "uid": "db"}, "spec": spec,
        "status": {"phase": "Running", "nodeName": "node-a", "selinuxContext": "none"}});
    for (runs, others, is_short_everywhere) in [
        (true, vec![host("node-b", "0", false), host("node-c", "0", false)], true),
        (true, vec![host("node-b", "0", false)], true),
        (true, vec![host("node-b", "0", false), host("node-c", "8Gi", true)], false),
        (false, vec![host("node-b", "0", false)], true),
        (false, vec![host("node-b", "0", false), host("node-c", "8Gi", true)], false),
    ] {
        let (own, guest) = if runs { ("8Gi", vmi.clone()) } else { ("0", vm.clone()) };
        let objects = [host("node-a", own, false), kubevirt(&json!({})), guest].into_iter().chain(others);
        let scratch = Scratch::new();
        let dump = scratch.write_json("dump.json", &list(objects.collect::<Vec<_>>()));
        let explain =
            |more: &[&str]| cpufit(["explain", "-n", "shop", "vmi/db", "--snapshot"]).args([&dump]).args(more).run();
        let said = explain(&[]).stdout;
        let headline =
            if runs { "Cannot migrate now: no node that fits" } else { "Cannot start now: no node that fits" };
        assert!(said.lines().nth(1).is_some_and(|line| line.starts_with(headline)), "{said}");
        assert!(!said.contains("Can start") && !said.contains("Can migrate"), "two verdicts contradict: {said}");
        let reason = if runs { "room is short on every other node" } else { "room is short on every node" };
        assert_eq!(said.contains(reason), is_short_everywhere, "people edit labels where room is short: {said}");
        let json = explain(&["-o", "json"]).json();
        let ids = |list: &str| -> Vec<String> {
            let rows = json["results"][0][list].as_array().cloned().unwrap_or_default();
            rows.iter().filter_map(|row| row["id"].as_str().map(str::to_owned)).collect()
        };
        let (offered, useless) = (ids("remedies"), ids("notHelping"));
        assert_eq!(
            useless.contains(&"add-labels".to_owned()) && json.to_string().contains(reason),
            is_short_everywhere,
            "{json}"
        );
        assert!(offered.iter().all(|id| !useless.contains(id)), "offered and said not to help: {json}");
    }
}
