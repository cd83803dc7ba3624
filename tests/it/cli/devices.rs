//! Devices that a launcher requests, and the scheduler's message about a launcher, as all verbs say them.

use std::ffi::OsStr;

use serde_json::{Value, json};

use crate::common::{Scratch, cpufit};

const GPU: &str = "nvidia.com/A10";

/// Runs a verb on a dump.
fn run(dump: &Value, args: &[&str]) -> String {
    let scratch = Scratch::new();
    let file = scratch.write_json("dump.json", dump);
    cpufit([OsStr::new(args[0]), OsStr::new("--snapshot"), file.as_os_str()]).args(&args[1..]).run().stdout
}

/// Returns a node of a common kind of hardware with these allocatable resources besides the usual ones.
fn node(name: &str, more: &Value) -> Value {
    let mut allocatable = json!({"cpu": "64", "memory": "256Gi", "pods": "250", "devices.kubevirt.io/kvm": "1k"});
    more.as_object().into_iter().flatten().for_each(|(resource, amount)| allocatable[resource] = amount.clone());
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {
            "kubernetes.io/arch": "amd64", "kubernetes.io/hostname": name, "kubevirt.io/schedulable": "true",
            "cpu-vendor.node.kubevirt.io/Intel": "true", "machine-type.node.kubevirt.io/q35": "true",
            "cpu-model.node.kubevirt.io/Haswell": "true", "cpu-model-migration.node.kubevirt.io/Haswell": "true",
            "host-model-cpu.node.kubevirt.io/Haswell": "true",
        }},
        "status": {"allocatable": allocatable},
    })
}

fn kubevirt(configuration: &Value) -> Value {
    json!({"apiVersion": "kubevirt.io/v1", "kind": "KubeVirt", "metadata": {"name": "kubevirt", "namespace": "kubevirt"},
        "spec": {"configuration": configuration}, "status": {"observedKubeVirtVersion": "v1.7.1"}})
}

/// Returns a VM that runs on `node`, its VMI and its launcher; without a node, the launcher waits with this message.
fn guest(domain: &Value, node: Option<&str>, message: &str) -> Vec<Value> {
    let mut domain = domain.clone();
    domain["cpu"] = json!({"model": "Haswell"});
    domain["machine"] = json!({"type": "q35"});
    let spec = json!({"architecture": "amd64", "evictionStrategy": "LiveMigrate", "domain": domain});
    let meta = |kind: &str| json!({"name": "db", "namespace": "shop", "uid": "u-1", "ownerReferences": [{"kind": kind, "name": "db", "uid": "u-1", "controller": true}]});
    let phase = if node.is_some() { "Running" } else { "Scheduling" };
    let scheduled = json!([{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}]);
    let mut launcher = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": meta("VirtualMachineInstance"),
        "spec": {"nodeSelector": {"kubevirt.io/schedulable": "true", "cpu-model.node.kubevirt.io/Haswell": "true"},
            "containers": [{"resources": {"requests": {"memory": "1Gi"}}}]},
        "status": {"phase": if node.is_some() { "Running" } else { "Pending" }, "conditions": scheduled},
    });
    launcher["metadata"]["name"] = "virt-launcher-db-x".into();
    launcher["metadata"]["labels"] = json!({"kubevirt.io": "virt-launcher", "kubevirt.io/created-by": "u-1"});
    let mut vmi = json!({"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance",
        "metadata": meta("VirtualMachine"), "spec": spec.clone(), "status": {"phase": phase}});
    if let Some(node) = node {
        launcher["spec"]["nodeName"] = node.into();
        launcher["spec"]["containers"][0]["resources"]["requests"][GPU] = "1".into();
        launcher["status"]["conditions"] = json!([]);
        vmi["status"]["nodeName"] = node.into();
        vmi["status"]["conditions"] = json!([{"type": "LiveMigratable", "status": "False",
            "reason": "HostDeviceNotLiveMigratable", "message": "VMI uses a PCI host devices"}]);
    }
    let vm = json!({"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "metadata": {"name": "db", "namespace": "shop", "uid": "u-1"},
        "spec": {"runStrategy": "Always", "template": {"spec": spec}}});
    vec![vm, vmi, launcher]
}

fn dump(objects: &[Vec<Value>]) -> Value {
    json!({"apiVersion": "v1", "kind": "List", "items": objects.concat()})
}

/// A GPU guest is shut down by its restart where no other node has such a GPU, or another guest uses it.
#[test]
fn a_restart_is_offered_only_where_the_device_is_free() {
    let gpus = json!({"devices": {"gpus": [{"name": "gpu", "deviceName": GPU}]}});
    let user = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "train", "namespace": "ml"},
        "spec": {"nodeName": "b", "containers": [{"resources": {"requests": {GPU: "1"}}}]}, "status": {"phase": "Running"}});
    for (name, other, pods, is_offered) in [
        ("another node has one", json!({GPU: "1"}), Vec::new(), true),
        ("no other node has one", json!({}), Vec::new(), false),
        ("it is in use", json!({GPU: "1"}), vec![user], false),
    ] {
        let nodes = vec![node("a", &json!({GPU: "1"})), node("b", &other)];
        let dump = dump(&[vec![kubevirt(&json!({}))], nodes, guest(&gpus, Some("a"), ""), pods]);
        let drain = run(&dump, &["drain", "a"]);
        let plan = drain.contains("virtctl restart db -n shop");
        assert_eq!(plan, is_offered, "{name}: a restart leaves the guest down, or none is offered: {drain}");
        let explain = run(&dump, &["explain", "vm/db", "-n", "shop"]);
        let next = explain.split_once("At next start:").map_or("", |(_, next)| next);
        assert_eq!(!next.contains("b fits by CPU, no room"), is_offered, "{name}: {explain}");
    }
}

/// A guest that could start nowhere for want of a device is not one without a problem.
#[test]
fn every_verb_names_the_device_that_no_node_has() {
    let devices = json!({"devices": {"hostDevices": [{"name": "nic", "deviceName": "x.com/nic"}]}});
    let nodes = vec![node("a", &json!({})), node("b", &json!({"x.com/nic": "0"})), node("c", &json!({}))];
    let objects = guest(&devices, None, "");
    let gate = json!({"developerConfiguration": {"featureGates": ["HostDevices"]}});
    let dump = dump(&[vec![kubevirt(&gate), objects[0].clone()], nodes]);
    let why = "no node that fits has room: a fits by CPU, no room: it has no x.com/nic";
    let audit = run(&dump, &["audit"]);
    assert!(audit.contains(why) && audit.contains("NO-ROOM"), "{audit}");
    assert!(audit.contains("# At next start: 1 without room where it fits"), "{audit}");
    let explain = run(&dump, &["explain", "vm/db", "-n", "shop"]);
    assert!(explain.lines().next().is_some_and(|line| line.ends_with(" NO-ROOM")), "{explain}");
}

/// The message stands in the pod's condition, and no one looks for it there.
#[test]
fn a_waiting_launcher_is_said_with_the_schedulers_reasons() {
    let message = "0/2 nodes are available: 1 Insufficient memory, 1 node(s) had untolerated taint {a: b}. preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling.";
    let nodes = vec![node("a", &json!({})), node("b", &json!({}))];
    let dump = dump(&[vec![kubevirt(&json!({}))], nodes, guest(&json!({}), None, message)]);
    let audit = run(&dump, &["audit"]);
    let said = "the scheduler found no place for pod virt-launcher-db-x among 2 nodes: 1 Insufficient memory, 1 node(s) had untolerated taint {a: b}";
    assert!(audit.contains(said) && audit.contains(" PENDING "), "a guest that waits seems well: {audit}");
    assert!(audit.contains("# 1 guest now: 1 placed nowhere by the scheduler"), "{audit}");
    for object in ["vm/db", "vmi/db", "pod/virt-launcher-db-x"] {
        let explain = run(&dump, &["explain", object, "-n", "shop"]);
        assert!(
            explain.contains("The scheduler found no place for pod virt-launcher-db-x among 2 nodes:"),
            "{explain}"
        );
        assert!(explain.contains("- 1 without room for it (Insufficient memory)"), "{explain}");
    }
    let json: Value =
        serde_json::from_str(&run(&dump, &["explain", "vmi/db", "-n", "shop", "-o", "json"])).expect("JSON");
    assert_eq!(json["results"][0]["scheduler"], "1 Insufficient memory, 1 node(s) had untolerated taint {a: b}");
    let (all, small) = (run(&dump, &["audit"]), Scratch::new());
    let file = small.write_json("dump.json", &dump);
    let snapshot = cpufit([OsStr::new("snapshot"), OsStr::new("--snapshot"), file.as_os_str()]).run().stdout;
    let taken = small.write("taken.yaml", &snapshot);
    let again = cpufit([OsStr::new("audit"), OsStr::new("--snapshot"), taken.as_os_str()]).run().stdout;
    assert_eq!(again, all, "the snapshot lost the scheduler's message");
}

/// The scheduler read the target pod that waits: its entries go before those of a pod that would be created now.
#[test]
fn the_schedulers_groups_are_those_of_the_waiting_target_pod() {
    let message = "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector.";
    let mut target = guest(&json!({}), None, message).pop().expect("a launcher");
    target["metadata"]["name"] = json!("virt-launcher-db-target");
    target["metadata"]["labels"]["kubevirt.io/migrationJobUID"] = json!("job");
    target["spec"]["nodeSelector"] = json!({"gone": "true"});
    let nodes = vec![node("a", &json!({})), node("b", &json!({}))];
    let dump = dump(&[vec![kubevirt(&json!({}))], nodes, guest(&json!({}), Some("a"), ""), vec![target]]);
    let explain = run(&dump, &["explain", "vmi/db", "-n", "shop"]);
    let group =
        "- 2 do not meet its selector or node affinity (node(s) didn't match Pod's node affinity/selector): a, b";
    assert!(explain.contains(group), "no node is named, though no node has the pod's entry: {explain}");
}

/// A node without KVM takes no guest, unless KubeVirt emulates.
#[test]
fn a_node_without_kvm_is_said_to_have_none() {
    let kvm = "devices.kubevirt.io/kvm";
    let nodes = vec![node("a", &json!({kvm: "0"})), node("b", &json!({kvm: "0"}))];
    for (emulates, is_said) in [(false, true), (true, false)] {
        let kubevirt = kubevirt(&json!({"developerConfiguration": {"useEmulation": emulates}}));
        let vm = guest(&json!({}), None, "")[0].clone();
        let explain = run(&dump(&[vec![kubevirt, vm], nodes.clone()]), &["explain", "vm/db", "-n", "shop"]);
        assert_eq!(
            explain.contains("a and b offer no devices.kubevirt.io/kvm: virtualization is off"),
            is_said,
            "{explain}"
        );
    }
}

/// A guest at its start asks for the lowest frequency of the nodes, unless KubeVirt is configured with another.
#[test]
fn another_tsc_frequency_is_named_where_more_nodes_give_it() {
    let hyperv = json!({"features": {"hyperv": {"reenlightenment": {"enabled": true}}}});
    let clock = |name: &str, hz: &str, scalable: &str| {
        let mut node = node(name, &json!({}));
        let labels = &mut node["metadata"]["labels"];
        labels["cpu-timer.node.kubevirt.io/tsc-frequency"] = hz.into();
        labels["cpu-timer.node.kubevirt.io/tsc-scalable"] = scalable.into();
        labels[format!("scheduling.node.kubevirt.io/tsc-frequency-{hz}")] = "true".into();
        node
    };
    let (slow, fast, faster) = ("2100000000", "2600000000", "2900000000");
    let better = "With developerConfiguration.minimumClusterTSCFrequency 2600000000 in the KubeVirt resource it would ask for that frequency, which 2 nodes can give (b, c)";
    let none = "No minimumClusterTSCFrequency of the KubeVirt resource helps: with each frequency of the nodes at most 1 node is left for it.";
    for (clocks, said) in [
        ([(slow, "false"), (fast, "false"), (fast, "false")], Some(better)),
        ([(slow, "false"), (fast, "false"), (faster, "true")], Some(better)),
        ([(slow, "false"), (fast, "false"), (faster, "false")], Some(none)),
    ] {
        let nodes = ["a", "b", "c"].into_iter().zip(clocks).map(|(name, (hz, scalable))| clock(name, hz, scalable));
        let vm = guest(&hyperv, None, "")[0].clone();
        let objects = vec![vec![kubevirt(&json!({})), vm], nodes.collect()];
        let explain = run(&dump(&objects), &["explain", "vm/db", "-n", "shop"]);
        assert!(said.is_some_and(|said| explain.contains(said)), "{clocks:?}: {explain}");
        let scratch = Scratch::new();
        let file = scratch.write_json("dump.json", &dump(&objects));
        let check = cpufit([OsStr::new("check"), OsStr::new("--snapshot"), file.as_os_str()]);
        let check = check.args(["-f"]).args([file.as_os_str()]).run().stdout;
        let said = said.map(|said| said.trim_end_matches('.'));
        assert!(said.is_some_and(|said| check.contains(said)), "check does not name the setting: {check}");
    }
}
