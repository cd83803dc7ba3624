//! A pasted description of a pending launcher, with a dump of nodes.

use std::ffi::OsStr;

use crate::common::{Ran, Scratch, cpufit, fitting, list, node, results};
use serde_json::json;

const DESCRIBED: &str = "\
$ kubectl describe pod -n shop virt-launcher-db-x7k2p
Name:             virt-launcher-db-x7k2p
Namespace:        shop
Priority:         0
Service Account:  default
Node:             <none>
Labels:           kubevirt.io=virt-launcher
                  kubevirt.io/created-by=7d3c
Annotations:      kubevirt.io/domain: db
Status:           Pending
IP:               
Controlled By:    VirtualMachineInstance/db
Containers:
  compute:
    Image:      registry.example/virt-launcher:v1.6.0
    Limits:
      devices.kubevirt.io/kvm:  1
Conditions:
  Type           Status
  PodScheduled   False 
Volumes:
  private:
    Type:       EmptyDir (a temporary directory that shares a pod's lifetime)
QoS Class:                   Burstable
Node-Selectors:              cpu-feature.node.kubevirt.io/fpu=true
                             cpu-feature.node.kubevirt.io/vme=true
                             kubernetes.io/arch=amd64
                             kubevirt.io/schedulable=true
Tolerations:                 node.kubernetes.io/not-ready:NoExecute op=Exists for 300s
                             node.kubernetes.io/unreachable:NoExecute op=Exists for 300s
Events:
  Type     Reason            Age   From               Message
  ----     ------            ----  ----               -------
  Warning  FailedScheduling  12s   default-scheduler  0/4 nodes are available: 1 node(s) had untolerated taint {gpu: only}, 1 node(s) were unschedulable, 1 node(s) didn't match Pod's node affinity/selector. preemption: 0/4 nodes are available: 4 Preemption is not helpful for scheduling.
";

fn nodes() -> serde_json::Value {
    let host = |name: &str, features: &[&str]| {
        let mut labels = json!({"kubevirt.io/schedulable": "true", "kubernetes.io/arch": "amd64"});
        for feature in features {
            labels[format!("cpu-feature.node.kubevirt.io/{feature}")] = json!("true");
        }
        node(name, &labels)
    };
    let mut nodes = [
        host("node-a", &["fpu"]),
        host("node-b", &["fpu", "vme"]),
        host("node-c", &["fpu", "vme"]),
        host("node-d", &[]),
    ];
    nodes[1]["spec"] = json!({"unschedulable": true});
    nodes[2]["spec"] = json!({"taints": [{"key": "gpu", "value": "only", "effect": "NoSchedule"}]});
    list(nodes)
}

fn explain(text: &str) -> Ran {
    let scratch = Scratch::new();
    let (dump, file) = (scratch.write_json("nodes.json", &nodes()), scratch.write("pasted.txt", text));
    cpufit([OsStr::new("explain"), OsStr::new("--snapshot"), dump.as_os_str(), OsStr::new("-f"), file.as_os_str()])
        .run()
}

#[test]
fn a_pasted_description_is_explained_with_the_schedulers_words() {
    let ran = explain(DESCRIBED);
    assert_eq!(ran.code(), 0, "{}", ran.stderr);
    insta::assert_snapshot!("pasted_description", ran.stdout.trim_end());
}

#[test]
fn a_pasted_description_may_be_indented_and_fenced() {
    let lines: Vec<&str> = DESCRIBED.lines().skip(1).collect();
    let indented = format!("    {}\r\n", lines.join("\r\n    "));
    let fenced = format!("```\n{}```\n", DESCRIBED.split_once('\n').map_or("", |(_, rest)| rest));
    let expected = explain(DESCRIBED).stdout;
    for text in [indented, fenced] {
        assert_eq!(explain(&text).stdout, expected, "pasted otherwise it says something else: {text}");
    }
}

/// People paste a description with the command above it, behind any prompt.
#[test]
fn a_pasted_description_may_include_its_command_and_prompt() {
    let (_, described) = DESCRIBED.split_once('\n').expect("the command");
    let expected = explain(DESCRIBED).stdout;
    for command in [
        "root@ubuntu:~# kubectl describe pods virt-launcher-db-x7k2p",
        "[core@master-0 ~]$ oc describe pod/virt-launcher-db-x7k2p -n shop",
        "PS C:\\Users\\admin> kubectl describe pod virt-launcher-db-x7k2p",
        "admin ~ % /usr/local/bin/kubectl -n shop describe pod virt-launcher-db-x7k2p",
        "$ k describe pod virt-launcher-db-x7k2p",
    ] {
        let ran = explain(&format!("{command}\n{described}"));
        assert_eq!(ran.stdout, expected, "it is not read as it is pasted: {command}\n{}", ran.stderr);
    }
}

/// A description does not show the affinity.
#[test]
fn a_guest_without_a_model_may_be_host_model_or_host_passthrough() {
    let default = DESCRIBED.replace(
        "cpu-feature.node.kubevirt.io/fpu=true\n                             cpu-feature.node.kubevirt.io/vme=true\n                             ",
        "",
    );
    assert_ne!(default, DESCRIBED);
    let scratch = Scratch::new();
    let host = |name: &str, model: &str, is_obsolete: bool| {
        let mut labels = json!({"kubevirt.io/schedulable": "true", "kubernetes.io/arch": "amd64",
            "cpu-feature.node.kubevirt.io/fpu": "true"});
        labels[format!("host-model-cpu.node.kubevirt.io/{model}")] = json!("true");
        labels[format!("cpu-model-migration.node.kubevirt.io/{model}")] = json!("true");
        if is_obsolete {
            labels["node-labeller.kubevirt.io/obsolete-host-model"] = json!("true");
        }
        node(name, &labels)
    };
    let dump = scratch.write_json(
        "nodes.json",
        &list([host("n1", "Haswell", false), host("n2", "Haswell", false), host("n3", "Penryn", true)]),
    );
    let file = scratch.write("pasted.txt", &default);
    let args = ["explain", "--snapshot"].map(OsStr::new);
    let said = cpufit(args).args([dump.as_os_str(), OsStr::new("-f"), file.as_os_str()]).run().stdout;
    assert!(said.contains("shop/db: host-model or host-passthrough, 0 CPU entries"), "one of two is made up: {said}");
    assert!(
        said.contains("with host-model, it would not start on n3, which has the label of an obsolete host model; and started on n1, n2 it could migrate to 1 other node only"),
        "a guest of the default mode is stranded, and nothing says so: {said}"
    );
}

/// Mailers wrap lines; kubectl's table and terminals cut them off; the newest event counts.
#[test]
fn a_pasted_description_may_be_cut_off_or_repeated() {
    let expected = explain(DESCRIBED).stdout;
    let broken = DESCRIBED.replace("taint {gpu: only}, 1 node(s) were", "taint {gpu: only}, 1 node(s)\nwere");
    assert_ne!(broken, DESCRIBED);
    assert_eq!(explain(&broken).stdout, expected, "a description that a mailer wrapped gives another answer");
    let older = "  Warning  FailedScheduling  5m (x3 over 9m)  default-scheduler  0/9 nodes are available: 9 Insufficient cpu.\n";
    let repeated =
        DESCRIBED.replace("  Warning  FailedScheduling  12s", &format!("{older}  Warning  FailedScheduling  12s"));
    assert_ne!(repeated, DESCRIBED);
    assert_eq!(explain(&repeated).stdout, expected, "a description that was repeated gives another answer");
    let (whole, _) = DESCRIBED.split_once("tch Pod's node affinity/selector").expect("the last group");
    let cut = explain(&format!("{whole}...\n"));
    assert!(cut.stdout.contains("- 1 for a reason that is cut off (node(s) didn't ma...)"), "{}", cut.stdout);
}

/// Mail breaks lines and removes indentation; an entry of which a part is missing would change the verdict.
#[test]
fn a_pasted_description_from_mail_is_read_whole_or_refused_with_its_line() {
    let (_, described) = DESCRIBED.split_once('\n').expect("the command");
    let expected = explain(described).stdout;
    let stripped: String = described.lines().flat_map(|line| [line.trim(), "\n"]).collect();
    let prose = format!("Hello,\n\nmy VM is stuck:\n\n{}\nAny idea?\n", described.replace("  ", "\u{a0}\u{a0}"));
    let quoted: String = described.lines().flat_map(|line| ["> ", line, "\n"]).collect();
    let wrapped = described.replace("0/4 nodes are available: 1", "0/4 nodes are\navailable: 1");
    for text in [stripped, prose, quoted, wrapped, format!("[code]\n{described}[/code]\n")] {
        let ran = explain(&text);
        assert_eq!(ran.stdout, expected, "pasted otherwise it says something else: {text}{}", ran.stderr);
    }
    let ran = explain(&format!("\nSee this:\n{}", described.replace("kubevirt.io/vme=true", "kubevirt.io/vm")));
    let line = described.lines().position(|line| line.contains("/vme=")).expect("the entry") + 3;
    assert!(
        ran.code() == 2
            && ran.stderr.contains(&format!("line {line}, "))
            && ran.stderr.contains("paste the description with its indentation"),
        "a selector is lost, and nothing says so: {}{}",
        ran.stdout,
        ran.stderr
    );
}

/// A group with a taint stands for the nodes with that taint.
#[test]
fn a_group_with_a_taint_means_the_nodes_with_that_one() {
    let text = DESCRIBED.replace(
        "1 node(s) had untolerated taint {gpu: only}",
        "1 node(s) had untolerated taint {gpu: only}, 1 node(s) had untolerated taint {disk: slow}",
    );
    let said = explain(&text).stdout;
    assert!(said.contains("(node(s) had untolerated taint {gpu: only}): node-c"), "{said}");
    assert!(said.contains("(node(s) had untolerated taint {disk: slow}): none of the nodes known here"), "{said}");
}

/// A node that fits by labels but lacks room for the requests in the description does not fit.
#[test]
fn the_requests_of_a_pasted_pod_are_judged() {
    let room = |cpu: &str, more: &serde_json::Value| {
        let mut nodes = nodes();
        for node in nodes["items"].as_array_mut().expect("a list") {
            let mut allocatable = json!({"cpu": cpu, "memory": "8Gi", "pods": "110"});
            more.as_object().expect("resources").iter().for_each(|(name, amount)| allocatable[name] = amount.clone());
            node["status"] = json!({"allocatable": allocatable});
            node["spec"] = json!({});
        }
        nodes
    };
    let requests = "    Requests:\n      cpu:  2\n      devices.kubevirt.io/kvm:  1\n      memory:  1Gi\n    Environment:  <none>\n";
    let text = DESCRIBED
        .replace("      devices.kubevirt.io/kvm:  1\n", &format!("      devices.kubevirt.io/kvm:  1\n{requests}"));
    assert_ne!(text, DESCRIBED);
    let kvm = json!({"devices.kubevirt.io/kvm": "1k"});
    let explain = |nodes: &serde_json::Value, more: &[&str]| {
        let scratch = Scratch::new();
        let (dump, file) = (scratch.write_json("nodes.json", nodes), scratch.write("pasted.txt", &text));
        let args =
            [OsStr::new("explain"), OsStr::new("--snapshot"), dump.as_os_str(), OsStr::new("-f"), file.as_os_str()];
        cpufit(args).args(more).run()
    };
    let enough = explain(&room("4", &kvm), &[]).stdout;
    assert!(!enough.contains("no room"), "{enough}");
    for (nodes, why) in [
        (room("1500m", &kvm), "1.5 of 1.5 cores free (it asks for 2 cores)"),
        (room("4", &json!({})), "it has no devices.kubevirt.io/kvm (it asks for 1 devices.kubevirt.io/kvm)"),
    ] {
        let said = explain(&nodes, &[]).stdout;
        assert!(said.lines().next().is_some_and(|line| line.ends_with(" NO-ROOM")), "it would stay Pending: {said}");
        assert!(
            said.contains(&format!("Cannot start now: no node that fits has room: node-b fits by CPU, no room: {why}")),
            "{said}"
        );
        let json = explain(&nodes, &["-o", "json"]).json();
        assert_eq!(json["results"][0]["nodes"]["noRoom"]["node-b"], why, "{json}");
    }
}

/// Two pods in one paste, each with its own sentence.
#[test]
fn several_pods_may_be_pasted() {
    let second = DESCRIBED
        .split_once('\n')
        .map_or("", |(_, rest)| rest)
        .replace("virt-launcher-db-x7k2p", "virt-launcher-web-aaaaa");
    let second = second
        .replace("VirtualMachineInstance/db", "VirtualMachineInstance/web")
        .replace("1 node(s) were unschedulable, ", "");
    let said = explain(&format!("{DESCRIBED}\n\n{second}")).stdout;
    assert!(said.contains("shop/db:") && said.contains("shop/web:"), "{said}");
    assert_eq!(said.matches("The scheduler found no place among 4 nodes").count(), 2, "{said}");
    assert_eq!(said.matches("(node(s) were unschedulable)").count(), 1, "{said}");
}

#[test]
fn the_condition_of_a_pod_in_yaml_is_parsed_too() {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "virt-launcher-db-x", "namespace": "shop", "labels": {"kubevirt.io": "virt-launcher"}},
        "spec": {"nodeSelector": {"cpu-feature.node.kubevirt.io/vme": "true"}},
        "status": {"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
            "message": "0/4 nodes are available: 2 node(s) didn't match Pod's node affinity/selector, 2 Insufficient memory."}]},
    });
    let said = explain(&pod.to_string()).stdout;
    assert!(said.contains("- 2 do not meet its selector or node affinity"), "{said}");
    assert!(said.contains(": node-a, node-d"), "{said}");
    assert!(said.contains("- 2 without room for it (Insufficient memory)"), "{said}");
}

/// The scheduler's `Insufficient cpu` and `Too many pods` name nodes, where their room is known.
#[test]
fn a_group_without_room_means_the_nodes_that_lack_that_resource() {
    let mut nodes = nodes();
    for (node, cpu, pods) in [(0, "1", "110"), (1, "1", "110"), (2, "8", "110"), (3, "8", "0")] {
        let node = &mut nodes["items"][node];
        node["status"] = json!({"allocatable": {"cpu": cpu, "memory": "8Gi", "pods": pods}});
        node["spec"] = json!({});
        for feature in ["fpu", "vme"] {
            node["metadata"]["labels"][format!("cpu-feature.node.kubevirt.io/{feature}")] = json!("true");
        }
    }
    nodes["items"][1]["spec"] = json!({"unschedulable": true});
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "virt-launcher-db-x", "namespace": "shop", "labels": {"kubevirt.io": "virt-launcher"}},
        "spec": {"nodeSelector": {"cpu-feature.node.kubevirt.io/vme": "true"},
            "containers": [{"name": "compute", "resources": {"requests": {"cpu": "2", "memory": "1Gi"}}}]},
        "status": {"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
            "message": "0/4 nodes are available: 1 node(s) were unschedulable, 1 Insufficient cpu, 1 Too many pods, 1 Insufficient memory."}]},
    });
    let scratch = Scratch::new();
    let (dump, file) = (scratch.write_json("nodes.json", &nodes), scratch.write("pod.json", pod.to_string()));
    let args = ["explain", "--snapshot"].map(OsStr::new);
    let said = cpufit(args).args([dump.as_os_str(), OsStr::new("-f"), file.as_os_str()]).run().stdout;
    for words in [
        "- 1 cordoned (node(s) were unschedulable): node-b",
        "- 1 without room for it (Insufficient cpu): node-a",
        "- 1 without room for it (Too many pods): node-d",
        "- 1 without room for it (Insufficient memory): none of the nodes known here",
    ] {
        assert!(said.contains(words), "the full nodes are not named: {words}\n{said}");
    }
}

#[test]
fn the_description_of_a_node_is_not_read_as_a_pod() {
    let ran = explain("Name:               node-a\nRoles:              worker\nLabels:             a=b\n");
    assert_eq!(ran.code(), 2);
    assert!(ran.stderr.contains("holds the output of `kubectl describe`"), "{}", ran.stderr);
}

/// The target pod of a migration, with a dump that holds its guest: the guest's own node is no target.
#[test]
fn the_node_of_the_guest_is_no_target_of_a_pasted_pod() {
    let mut with_guest = nodes();
    let guest = |uid: &str| {
        json!({"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance",
            "metadata": {"name": "db", "namespace": "shop", "uid": uid},
            "spec": {"domain": {"cpu": {"model": "host-model"}}}, "status": {"phase": "Running", "nodeName": "node-e"}})
    };
    let host = |name: &str| {
        let labels = json!({"kubevirt.io/schedulable": "true", "kubernetes.io/arch": "amd64",
            "cpu-feature.node.kubevirt.io/fpu": "true", "cpu-feature.node.kubevirt.io/vme": "true"});
        node(name, &labels)
    };
    with_guest["items"].as_array_mut().unwrap().extend([host("node-e"), host("node-f"), guest("7d3c")]);
    let scratch = Scratch::new();
    let dump = scratch.write_json("dump.json", &with_guest);
    let target = "kubevirt.io/created-by=7d3c\n                  kubevirt.io/migrationJobUID=1";
    for (text, sees_it) in [
        (DESCRIBED.replace("kubevirt.io/created-by=7d3c", target), true),
        (DESCRIBED.replace("kubevirt.io/created-by=7d3c", "kubevirt.io/migrationJobUID=1"), true),
        (DESCRIBED.replace("kubevirt.io/created-by=7d3c", &target.replace("7d3c", "another")), false),
    ] {
        let file = scratch.write("pasted.txt", &text);
        let args = ["explain", "-o", "json", "--snapshot"].map(OsStr::new);
        let ran = cpufit(args).args([dump.as_os_str(), OsStr::new("-f"), file.as_os_str()]).run().json();
        let fitting = fitting(&results(&ran)[0]);
        assert_eq!(fitting.contains(&"node-e".to_owned()), !sees_it, "{text}: {fitting:?}");
        assert!(fitting.contains(&"node-f".to_owned()), "{fitting:?}");
    }
    let kept_off = DESCRIBED
        .replace("kubevirt.io/created-by=7d3c", target)
        .replace("1 node(s) were unschedulable", "1 node(s) didn't match pod anti-affinity rules");
    let file = scratch.write("pasted.txt", &kept_off);
    let args = ["explain", "--snapshot"].map(OsStr::new);
    let said = cpufit(args).args([dump.as_os_str(), OsStr::new("-f"), file.as_os_str()]).run().stdout;
    let expected = "- 1 kept off by the pod's anti-affinity (node(s) didn't match pod anti-affinity rules): KubeVirt keeps the target of a \
                    migration off the node that it leaves, node-e";
    assert!(said.contains(expected), "a rule of KubeVirt's own looks like a fault: {said}");
}

/// The node that the guest leaves is full: kube-scheduler counts it there, and the anti-affinity is that of another.
#[test]
fn a_node_is_named_in_the_group_of_the_first_filter_only() {
    let mut all = nodes();
    let host = |name: &str| {
        let labels = json!({"kubevirt.io/schedulable": "true", "kubernetes.io/arch": "amd64",
            "cpu-feature.node.kubevirt.io/fpu": "true", "cpu-feature.node.kubevirt.io/vme": "true"});
        let mut host = node(name, &labels);
        host["status"] = json!({"allocatable": {"cpu": "8", "memory": "64Gi", "pods": "110",
            "devices.kubevirt.io/kvm": "1k"}});
        host
    };
    let guest = json!({"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance",
        "metadata": {"name": "db", "namespace": "shop", "uid": "7d3c"},
        "spec": {"domain": {"cpu": {"model": "host-model"}}}, "status": {"phase": "Running", "nodeName": "node-e"}});
    let busy = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "busy", "namespace": "shop"},
        "spec": {"nodeName": "node-e", "containers": [{"resources": {"requests": {"cpu": "8"}}}]},
        "status": {"phase": "Running"}});
    all["items"].as_array_mut().unwrap().extend([host("node-e"), host("node-f"), guest, busy]);
    let scratch = Scratch::new();
    let dump = scratch.write_json("dump.json", &all);
    let text = DESCRIBED
        .replace(
            "kubevirt.io/created-by=7d3c",
            "kubevirt.io/created-by=7d3c\n                  kubevirt.io/migrationJobUID=1",
        )
        .replace("    Limits:", "    Requests:\n      cpu:  2\n    Limits:")
        .replace("0/4 nodes", "0/6 nodes")
        .replace(
            "1 node(s) were unschedulable",
            "1 node(s) were unschedulable, 1 Insufficient cpu, 1 node(s) didn't match pod anti-affinity rules",
        );
    let file = scratch.write("pasted.txt", &text);
    let args = ["explain", "--snapshot"].map(OsStr::new);
    let said = cpufit(args).args([dump.as_os_str(), OsStr::new("-f"), file.as_os_str()]).run().stdout;
    assert!(said.contains("- 1 without room for it (Insufficient cpu): node-e"), "the case is another one: {said}");
    assert!(!said.contains("the node that it leaves, node-e"), "node-e is counted twice: {said}");
}
