//! Conclusions from libvirt's answers, node by node and model by model, and how a node without an answer is asked.

use rstest::rstest;
use serde_json::{Value, json};

use super::libvirt::{Scene, cpu, guest, guest_facts, host, node_facts, silent};
use crate::common::{self, head, kubevirt, list};

pub(super) const MODEL: &str = "Cascadelake-Server";

/// Returns a scene of these objects, with these answers in `own.json`.
pub(super) fn scene(objects: impl IntoIterator<Item = Value>, facts: &[Value]) -> Scene {
    let scene = Scene::new();
    scene.scratch.write_json("cluster.json", &list(objects.into_iter().chain([kubevirt(&json!({}))])));
    scene.scratch.write_json("own.json", &list(facts.iter().cloned()));
    scene
}

pub(super) fn feature(name: &str) -> String {
    format!("cpu-feature.node.kubevirt.io/{name}")
}

/// Returns a node with more features, and without the labels of some.
pub(super) fn node(name: &str, more: &[&str], lost: &[&str]) -> Value {
    let mut node = host(name);
    let labels = node["metadata"]["labels"].as_object_mut().unwrap();
    for name in more {
        labels.insert(feature(name), json!("true"));
        labels.insert(format!("host-model-required-features.node.kubevirt.io/{name}"), json!("true"));
    }
    for name in lost {
        labels.remove(&feature(name));
    }
    node
}

/// Returns a stopped VM that requires these features.
pub(super) fn stopped(features: &[&str]) -> Value {
    let features: Vec<Value> = features.iter().map(|name| json!({"name": name, "policy": "require"})).collect();
    let domain = json!({"cpu": {"features": features}, "machine": {"type": "q35"}});
    json!({
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "metadata": {"namespace": "shop", "name": "new"},
        "spec": {"runStrategy": "Always", "template": {"metadata": {}, "spec": {"architecture": "amd64", "domain": domain}}},
    })
}

#[track_caller]
pub(super) fn text(scene: &Scene, args: &[&str]) -> String {
    let ran = scene.run(args, &["own.json"]);
    assert!(ran.code() < 2, "{}", head(&ran.stderr));
    ran.stdout
}

#[track_caller]
pub(super) fn explained(scene: &Scene, name: &str) -> Value {
    let ran = scene.run(&["explain", name, "-n", "shop", "-o", "json"], &["own.json"]);
    assert!(ran.code() < 2, "{}", head(&ran.stderr));
    ran.json()["results"][0].clone()
}

/// Libvirt on node-b denies one of two missing labels: only that one is said to be rightly missing.
#[test]
fn one_untrue_label_does_not_make_the_others_untrue() {
    let mut answer = node_facts("node-b", MODEL, &json!({"answer": "superset"}));
    answer["hostModel"] = cpu();
    let nodes = [node("node-a", &["hle"], &[]), node("node-b", &["hle"], &["fpu", "hle"])];
    let running =
        scene(nodes.clone().into_iter().chain(guest("db", "node-a")), &[guest_facts("db", "uid-db"), answer.clone()]);
    let only = "node-b lacks cpu-feature fpu, hle (libvirt there confirms only cpu-feature hle)";
    for verb in [&["drain", "node-a"][..], &["audit"]] {
        let text = text(&running, verb);
        assert!(text.contains(only), "hardware is said to lack fpu: {text}");
    }
    let near = explained(&running, "vmi/db")["nearest"][0].clone();
    assert_eq!(
        (&near["evidence"], &near["untrue"]),
        (&json!("libvirt-lacks-some"), &json!([feature("hle")])),
        "{near:#}"
    );
    let lacking = [node("node-a", &[], &["fpu"]), node("node-b", &[], &["fpu"])];
    let start = scene(lacking.into_iter().chain([stopped(&["fpu", "hle"])]), &[answer]);
    let text = text(&start, &["explain", "vm/new", "-n", "shop"]);
    let row = text.lines().find(|line| line.starts_with("node-b ")).unwrap_or_else(|| panic!("{text}"));
    assert!(row.ends_with("libvirt there confirms only cpu-feature hle"), "{row}");
}

/// A host model that does not name `mpx`, which is part of its model in some releases, proves nothing about it.
#[test]
fn a_feature_that_releases_define_otherwise_keeps_no_guest_off() {
    let answer = node_facts("node-b", MODEL, &json!({"answer": "identical"}));
    let nodes = || [node("node-a", &["mpx"], &[]), node("node-b", &["mpx"], &[])];
    let verdict = explained(&scene(nodes().into_iter().chain([stopped(&["mpx"])]), &[answer]), "vm/new");
    assert_ne!(verdict["verdict"], "unschedulable", "{verdict:#}");

    let with = |mut object: Value, at: &str| {
        object[at]["require"] = json!(["mpx", "ss"]);
        object
    };
    let mut answer = node_facts("node-b", MODEL, &json!({"answer": "identical"}));
    answer["answers"][0]["cpu"]["require"] = json!(["mpx", "ss"]);
    let [source, _] = nodes();
    let drifted = [source, node("node-b", &["mpx"], &["mpx"])];
    let scene =
        scene(drifted.into_iter().chain(guest("db", "node-a")), &[with(guest_facts("db", "uid-db"), "cpu"), answer]);
    let result = explained(&scene, "vmi/db");
    let ids: Vec<&str> = result["remedies"].as_array().unwrap().iter().filter_map(|row| row["id"].as_str()).collect();
    assert!(ids.contains(&"add-labels"), "the label that drifted is not offered: {result:#}");
    let text = text(&scene, &["explain", "vmi/db", "-n", "shop"]);
    assert!(text.contains("identical: libvirt there has exactly its features\n"), "{text}");
    assert!(!text.contains("though without") && !text.contains("does not have"), "{text}");
}

/// A running `host-model` guest whose VM names another model: it is compared with the model of its next start.
#[test]
fn a_guest_is_compared_with_the_model_of_its_next_start() {
    let [mut vmi, pod] = guest("db", "node-a");
    vmi["metadata"]["ownerReferences"] = json!([{"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "name": "db", "uid": "vm", "controller": true}]);
    let vm = |model: &str| {
        let mut spec = vmi["spec"].clone();
        spec["domain"]["cpu"]["model"] = json!(model);
        json!({
            "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "metadata": {"namespace": "shop", "name": "db", "uid": "vm"},
            "spec": {"runStrategy": "Always", "template": {"metadata": {}, "spec": spec}},
        })
    };
    let answers = [guest_facts("db", "uid-db"), node_facts("node-b", MODEL, &json!({"answer": "identical"}))];
    let nodes = || ["node-a", "node-b"].map(host).into_iter();
    let edited = scene(nodes().chain([vm("Nehalem"), vmi.clone(), pod.clone()]), &answers);
    let compared = explained(&edited, "vmi/db")["libvirt"]["compared"]["Nehalem"].clone();
    assert_eq!((&compared["atNextStart"], &compared["lost"]), (&json!(true), &json!(["avx512f"])), "{compared:#}");
    let said = text(&edited, &["explain", "vmi/db", "-n", "shop"]);
    assert!(said.contains("With Nehalem, which it gets at its next start, it would lose avx512f.\n"), "{said}");

    let mut named = vmi.clone();
    named["spec"]["domain"]["cpu"]["model"] = json!("Nehalem");
    let unedited = scene(nodes().chain([vm("Nehalem"), named, pod]), &answers);
    let compared = explained(&unedited, "vmi/db")["libvirt"]["compared"].clone();
    assert!(compared["Nehalem"].is_null(), "a guest is compared with the model that it has: {compared:#}");
}

/// A question about a model that failed was put nevertheless.
#[test]
fn a_failed_comparison_is_said_with_its_reason() {
    let mut answer = guest_facts("db", "uid-db");
    answer["losses"] = json!({});
    answer["lossesUnanswered"] =
        json!({"Nehalem": {"unanswered": "-", "unansweredCode": "failed", "unansweredDetail": "internal error: boom"}});
    let scene = scene(["node-a", "node-b"].map(host).into_iter().chain(guest("db", "node-a")), &[answer]);
    let policy = common::policy("old", &json!({"commonModel": {"name": "Nehalem"}}));
    scene.scratch.write_json("policies/old.json", &policy);
    let policies = scene.scratch.path().join("policies");
    let args = ["explain", "vmi/db", "-n", "shop", "--policy", policies.to_str().unwrap()];
    let said = text(&scene, &args);
    assert!(
        said.contains("define it: libvirt gave no answer about it (virsh failed: internal error: boom)."),
        "{said}"
    );
    let line = said.lines().find(|line| line.starts_with("With Nehalem")).unwrap_or_else(|| panic!("{said}"));
    assert!(!line.contains("not asked"), "{line}");
    let ran = scene.run(&[&args[..], &["-o", "json"]].concat(), &["own.json"]).json();
    let compared = &ran["results"][0]["libvirt"]["compared"]["Nehalem"];
    assert_eq!(
        (&compared["by"], &compared["unanswered"]),
        (&json!("models"), &json!("virsh failed: internal error: boom")),
        "{compared:#}"
    );
}

/// A refusal through outdated launchers alone: beside it stands that the current one may know more.
#[test]
fn a_refusal_by_outdated_launchers_is_said_to_be_one() {
    let refusal = json!({"answer": "incompatible", "missing": ["ss"], "outdatedLauncher": true});
    let answers = [guest_facts("db", "uid-db"), node_facts("node-b", MODEL, &refusal)];
    let scene = scene(["node-a", "node-b"].map(host).into_iter().chain(guest("db", "node-a")), &answers);
    assert_eq!(explained(&scene, "vmi/db")["libvirt"]["nodes"]["node-b"]["outdatedLauncher"], true);
    let said = text(&scene, &["explain", "vmi/db", "-n", "shop"]);
    let row = "incompatible: missing feature ss; only outdated launchers there could be asked";
    assert!(said.lines().any(|line| line.ends_with(row)), "{said}");
}

/// Pasting the printed lines starts a guest that the node takes, asks while it runs, and ends it.
#[test]
fn the_printed_lines_ask_a_node_without_a_launcher() {
    let guest = guest("db", "node-a");
    let mut tainted = host("node-f");
    tainted["spec"]["taints"] = json!([{"key": "db", "value": "x", "effect": "NoSchedule"}]);
    let answers = [guest_facts("db", "uid-db"), silent("node-f", "no-launcher", "")];
    let scene = scene([host("node-a"), tainted].into_iter().chain(guest), &answers);
    let said = text(&scene, &["explain", "vmi/db", "-n", "shop"]);
    let lines: Vec<&str> =
        said.lines().skip_while(|line| !line.starts_with("No launcher is known on node-f")).collect();
    let [_, create, wait, ask, delete, ..] = lines.as_slice() else { panic!("{said}") };
    let tolerates = r#""tolerations":[{"operator":"Exists"}]"#;
    assert!(
        create.contains(tolerates) && create.ends_with("| kubectl create -n shop -f -"),
        "it stays pending: {create}"
    );
    assert!(create.contains(r#""evictionStrategy":"None""#), "a drain waits for it, and it cannot migrate: {create}");
    assert_eq!(wait.trim(), "kubectl wait --for=condition=Ready --timeout=2m vmi/cpufit-probe -n shop");
    assert_eq!(ask.trim(), "kubectl cpufit explain vmi/db -n shop --ask-libvirt", "it ends before it is asked");
    assert_eq!(delete.trim(), "kubectl delete vmi cpufit-probe -n shop");
}

/// On these nodes no guest starts, not even one that tolerates all.
#[rstest]
#[case::not_ready("condition", "a node that is not ready starts no pod")]
#[case::unreachable("taint", "a node that is not ready starts no pod")]
#[case::virt_handler(
    "virt-handler",
    "its label kubevirt.io/schedulable is not true, so that virt-handler starts no guest there"
)]
#[case::host_name("host name", "without the label kubernetes.io/hostname nothing selects the node alone")]
#[case::kvm("kvm", "it offers no devices.kubevirt.io/kvm, which the guest asks for")]
#[case::room("room", "no room: it has no pods (it asks for 1 pod)")]
fn a_node_that_takes_no_launcher_is_named_with_the_reason(#[case] what: &str, #[case] why: &str) {
    let mut closed = host("node-f");
    match what {
        "condition" => closed["status"]["conditions"] = json!([{"type": "Ready", "status": "False"}]),
        "taint" => {
            closed["spec"]["taints"] = json!([{"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"}]);
        }
        "kvm" => closed["status"]["allocatable"] = offers("110", "0"),
        "room" => closed["status"]["allocatable"] = offers("0", "1k"),
        "virt-handler" => closed["metadata"]["labels"]["kubevirt.io/schedulable"] = json!("false"),
        _ => drop(closed["metadata"]["labels"].as_object_mut().unwrap().remove("kubernetes.io/hostname")),
    }
    for others in [&[][..], &["node-g"]] {
        let unasked = others.iter().map(|name| silent(name, "no-launcher", ""));
        let answers: Vec<Value> =
            [guest_facts("db", "uid-db"), silent("node-f", "no-launcher", "")].into_iter().chain(unasked).collect();
        let others_too = others.iter().map(|name| {
            let mut node = host(name);
            node["metadata"]["labels"]["zone"] = json!("a");
            node["status"]["allocatable"] = offers("110", "1k");
            node
        });
        let mut own = host("node-a");
        own["status"]["allocatable"] = offers("110", "1k");
        let objects = [own, closed.clone()].into_iter().chain(others_too).chain(guest("db", "node-a"));
        let said = text(&scene(objects, &answers), &["explain", "vmi/db", "-n", "shop"]);
        let line = format!("No launcher is known on node-f, and none can be started there now: {why}.");
        assert!(said.lines().any(|printed| printed == line), "the node is left out without a word: {said}");
        assert_eq!(said.contains("cpufit-probe"), !others.is_empty(), "{said}");
        assert!(
            !said.contains(r#""kubernetes.io/hostname":"node-f""#),
            "a guest is created that stays pending: {said}"
        );
    }
}

fn offers(pods: &str, kvm: &str) -> Value {
    json!({"cpu": "64", "memory": "256Gi", "pods": pods, "devices.kubevirt.io/kvm": kvm})
}

/// With emulation no launcher has KVM: a guest that runs with it cannot be asked about, and one without it can.
#[rstest]
#[case::runs_with_kvm("kvm", None)]
#[case::emulated("qemu", Some("host-model"))]
fn a_cluster_that_emulates_brings_no_launcher_with_kvm(#[case] accelerator: &str, #[case] model: Option<&str>) {
    let mut facts = guest_facts("db", "uid-db");
    facts["accelerator"] = json!(accelerator);
    let made = scene([], &[facts, silent("node-f", "no-launcher", "")]);
    let mut emulates = kubevirt(&json!({}));
    emulates["spec"]["configuration"]["developerConfiguration"]["useEmulation"] = json!(true);
    let objects = [host("node-a"), host("node-f"), emulates].into_iter().chain(guest("db", "node-a"));
    made.scratch.write_json("cluster.json", &list(objects));
    let said = text(&made, &["explain", "vmi/db", "-n", "shop"]);
    let create = said.lines().find(|line| line.contains("kubectl create"));
    assert_eq!(create.is_some(), model.is_some(), "{said}");
    assert_eq!(said.contains("KubeVirt emulates (developerConfiguration.useEmulation)"), model.is_none(), "{said}");
    if let (Some(create), Some(model)) = (create, model) {
        assert!(create.contains(&format!(r#""cpu":{{"model":"{model}"}}"#)), "{create}");
        assert!(said.contains("with virt-launcher's image; while"), "it needs no KVM: {said}");
    }
}

/// Each node without a launcher has its commands once, though several guests ask about it.
#[test]
fn drain_and_audit_say_how_to_ask_a_node_without_a_launcher() {
    let closed = |name: &str| {
        let mut node = host(name);
        node["metadata"]["labels"]["kubevirt.io/schedulable"] = json!("false");
        node
    };
    let nodes = ["node-c", "node-d", "node-e", "node-f"];
    let objects = [host("node-a"), closed("node-h")].into_iter().chain(nodes.map(host));
    let guests = guest("db", "node-a").into_iter().chain(guest("web", "node-a"));
    let answers = ["db", "web"].map(|name| guest_facts(name, &format!("uid-{name}"))).into_iter();
    let silent = nodes.into_iter().chain(["node-h"]).map(|name| silent(name, "no-launcher", ""));
    let made = scene(objects.chain(guests), &answers.chain(silent).collect::<Vec<_>>());
    let verbs = [
        (["drain", "node-a"], "kubectl cpufit drain node-a --ask-libvirt"),
        (["audit", "-A"], "kubectl cpufit audit -n shop --ask-libvirt"),
    ];
    for (args, ask) in verbs {
        let ran = made.run(&[&args[..], &["-o", "json"]].concat(), &["own.json"]).json();
        let rows = ran["libvirt"]["nodes"].as_array().unwrap();
        let mut names = Vec::new();
        for row in rows {
            let commands: Vec<&str> =
                row["commands"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            if row["node"] == "node-h" {
                assert!(
                    commands.is_empty() && row["commandsMissing"].as_str().unwrap().contains("schedulable"),
                    "{row:#}"
                );
                continue;
            }
            let [create, wait, asks, delete] = commands.as_slice() else { panic!("{row:#}") };
            assert!(create.contains(&format!(r#""kubernetes.io/hostname":{}"#, row["node"])), "{create}");
            assert!(wait.contains("kubectl wait") && *asks == ask, "{commands:#?}");
            names.push(delete.split_whitespace().nth(3).unwrap());
        }
        assert_eq!(names, ["cpufit-probe", "cpufit-probe-2", "cpufit-probe-3", "cpufit-probe-4"], "{rows:#?}");
        let said = made.run(&args, &["own.json"]);
        let said = said.stdout + &said.stderr;
        assert_eq!(said.matches("kubectl create").count(), 3, "{said}");
        for line in [
            "No launcher is known on node-c. A guest without disks brings one, with virt-launcher's image and the node's KVM; while it runs, node-c can be asked:",
            "No launcher is known on 1 more node, which can be asked so (-o json lists the commands).",
            "No launcher is known on node-h, and none can be started there now: its label kubevirt.io/schedulable is not true, so that virt-handler starts no guest there.",
        ] {
            assert!(said.contains(line), "{line}\n{said}");
        }
    }
}

/// The other files of a folder of answers are read.
#[test]
fn a_link_to_no_file_among_saved_answers_is_left_out_with_a_note() {
    let made = Scene::new();
    let args = ["explain", "vmi/db", "-n", "shop", "-o", "json"];
    let plain = made.run(&args, &["facts"]).json();
    let link = made.scratch.path().join("facts/gone.json");
    std::os::unix::fs::symlink(made.scratch.path().join("nowhere.json"), &link).unwrap();
    let ran = made.run(&args, &["facts"]);
    let note = "facts/gone.json is left out: it is a link to a file that does not exist";
    assert!(ran.stderr.contains(note), "{}", ran.stderr);
    assert_eq!(ran.json(), plain, "the answers of the other files are lost");
    let named = made.run(&args, &["facts/gone.json"]);
    assert!(named.code() == 2 && named.stderr.contains("gone.json: No such file"), "{}", named.stderr);
    std::fs::create_dir(made.scratch.path().join("alone")).unwrap();
    std::fs::rename(link, made.scratch.path().join("alone/gone.json")).unwrap();
    let alone = made.run(&args, &["alone"]);
    assert!(alone.code() == 2 && alone.stderr.contains("gone.json: No such file"), "{}", alone.stderr);
}

/// A guest that tolerates all would stand in the way of a drain of the cordoned node.
#[test]
fn a_node_that_fits_is_asked_before_a_cordoned_one() {
    let mut cordoned = host("node-b");
    cordoned["spec"]["unschedulable"] = json!(true);
    let answers =
        [guest_facts("db", "uid-db"), silent("node-b", "no-launcher", ""), silent("node-f", "no-launcher", "")];
    let scene = scene([host("node-a"), cordoned, host("node-f")].into_iter().chain(guest("db", "node-a")), &answers);
    let said = text(&scene, &["explain", "vmi/db", "-n", "shop"]);
    let create = said.lines().find(|line| line.contains("cpufit-probe")).expect("a launcher to ask through");
    assert!(create.contains(r#""kubernetes.io/hostname":"node-f""#), "the cordoned node gets a guest: {said}");
}

/// Many nodes: equal rows share one, and those that libvirt refuses or whose labels drifted are first.
#[test]
fn a_long_table_begins_with_the_nodes_that_need_attention() {
    let names: Vec<String> = (0..90).map(|number| format!("n{number:02}")).collect();
    let of = |number: usize, name: &str| node(name, &[], if number % 30 == 3 { &["fpu"] } else { &[] });
    let nodes = names.iter().enumerate().map(|(number, name)| of(number, name));
    let answer = |number: usize, name: &str| match number {
        number if number % 30 == 5 => node_facts(name, MODEL, &json!({"answer": "incompatible", "missing": ["ss"]})),
        _ => node_facts(name, MODEL, &json!({"answer": "superset"})),
    };
    let answers = names.iter().enumerate().map(|(number, name)| answer(number, name));
    let answers: Vec<Value> = [guest_facts("db", "uid-db")].into_iter().chain(answers).collect();
    let scene = scene([host("node-a")].into_iter().chain(nodes).chain(guest("db", "node-a")), &answers);
    let said = text(&scene, &["explain", "vmi/db", "-n", "shop"]);
    let rows: Vec<&str> = said.lines().skip_while(|line| !line.contains("BY LIBVIRT")).skip(1).take(3).collect();
    let expected = [
        ("n05, n35, n65", "incompatible: missing feature ss"),
        ("n03, n33, n63", "lacks cpu-feature fpu"),
        ("n00, n01, n02 and 81 more", "superset"),
    ];
    for (row, (names, words)) in rows.iter().zip(expected) {
        assert!(row.starts_with(names) && row.contains(words), "the nodes to look at are folded away: {said}");
    }
    assert!(!said.contains("more nodes (-o json"), "{said}");
}

/// The table with libvirt's answers names what else keeps the guest off, as the table of labels does.
#[rstest]
#[case::pod_anti_affinity("fits, kept off by pod anti-affinity")]
#[case::virt_handler("virt-handler is not ready there")]
#[case::room("fits, no room: ")]
fn the_table_with_answers_names_what_else_keeps_a_guest_off(#[case] expected: &str) {
    let mut guest = guest("db", "node-a");
    let mut other = super::libvirt::guest("other", "node-b");
    let mut node = host("node-b");
    let rule = json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
        [{"labelSelector": {"matchLabels": {"app": "x"}}, "topologyKey": "kubernetes.io/hostname"}]}});
    match expected {
        "virt-handler is not ready there" => node["metadata"]["labels"]["kubevirt.io/schedulable"] = json!("false"),
        "fits, no room: " => {
            node["status"]["allocatable"] = json!({"cpu": "1", "memory": "1Gi", "pods": "110"});
            let requests = json!({"requests": {"cpu": "2", "memory": "2Gi"}});
            guest[1]["spec"]["containers"][0]["resources"] = requests;
        }
        _ => {
            for object in guest.iter_mut().chain(&mut other) {
                object["metadata"]["labels"]["app"] = json!("x");
                object["spec"]["affinity"] = rule.clone();
            }
        }
    }
    let answers = [guest_facts("db", "uid-db"), node_facts("node-b", MODEL, &json!({"answer": "identical"}))];
    let scene = scene([host("node-a"), node].into_iter().chain(guest).chain(other), &answers);
    let said = text(&scene, &["explain", "vmi/db", "-n", "shop"]);
    let row = said.lines().rfind(|line| line.starts_with("node-b ")).unwrap_or_else(|| panic!("{said}"));
    assert!(row.contains(expected) && row.contains("identical"), "the node is said to be free: {said}");
}

/// The guest's features, beyond its model's, for which no node has a label.
#[test]
fn what_no_label_shows_is_named() {
    let mut facts = guest_facts("db", "uid-db");
    facts["cpu"]["require"] = json!(["aes", "pks", "ss"]);
    let scene = scene(["node-a", "node-b"].map(host).into_iter().chain(guest("db", "node-a")), &[facts]);
    assert_eq!(explained(&scene, "vmi/db")["libvirt"]["unlabelled"], json!(["pks", "ss"]));
    let said = text(&scene, &["explain", "vmi/db", "-n", "shop"]);
    assert!(said.lines().any(|line| line == "Its CPU has pks, ss, which no label shows."), "{said}");
}

/// Returns the object of this name.
fn named<'c>(cluster: &'c mut Value, name: &str) -> &'c mut Value {
    let nodes = cluster["items"].as_array_mut().unwrap();
    nodes.iter_mut().find(|node| node["metadata"]["name"] == name).unwrap()
}

/// Carries out a command that a drain offers.
fn carry_out(cluster: &mut Value, command: &str) {
    let words: Vec<&str> = command.split(" #").next().unwrap().split_whitespace().collect();
    match words[..] {
        ["kubectl", "uncordon", node] => named(cluster, node)["spec"] = json!({}),
        ["kubectl", "annotate", "node", node, annotation] => {
            let (key, value) = annotation.split_once('=').unwrap();
            named(cluster, node)["metadata"]["annotations"][key] = json!(value);
        }
        ["kubectl", "label", "node", node, ref keys @ ..] => {
            let labels = named(cluster, node)["metadata"]["labels"].as_object_mut().unwrap();
            for key in keys {
                labels.remove(key.strip_suffix('-').unwrap()).expect("a label that exists");
            }
        }
        _ => panic!("{command}"),
    }
}

/// The migrations that may fail after the least to do are named with it, for all guests of the node: they are those
/// that the drain names once its commands are carried out.
#[rstest]
#[case::of_another_guest("another", &["shop/web"], "libvirt agrees on each node that becomes a target")]
#[case::of_the_guest_itself("itself", &["shop/db"], "libvirt agrees on some of the nodes that fit by labels in addition")]
#[case::by_a_cordon("cordon", &["shop/web"], "none")]
#[case::of_none("none", &[], "libvirt agrees on each node that becomes a target")]
fn what_may_fail_after_the_least_to_do_is_said_with_it(
    #[case] case: &str,
    #[case] may_fail: &[&str],
    #[case] risk: &str,
) {
    let other_cpu = json!({"model": MODEL, "vendor": "Intel", "require": ["vaes"], "disable": []});
    // The guests run without hle, which node-a requires of targets.
    let without_hle = |name: &str| {
        let mut node = host(name);
        node["metadata"]["labels"].as_object_mut().unwrap().remove("cpu-model.node.kubevirt.io/Cascadelake-Server");
        node
    };
    let mut near = without_hle("node-d");
    if case == "cordon" {
        near = node("node-d", &["hle"], &[]);
        near["spec"] = json!({"unschedulable": true});
    }
    let mut nodes = vec![node("node-a", &["hle"], &[]), near];
    if case == "itself" {
        nodes.push(without_hle("node-e"));
    }
    // shop/db alone is bound to the rack.
    let [mut db, mut pod] = guest("db", "node-a");
    for object in &mut nodes {
        object["metadata"]["labels"]["rack"] = json!("1");
    }
    for object in [&mut db, &mut pod] {
        object["spec"]["nodeSelector"]["rack"] = json!("1");
    }
    let answer = |node: &str, answer: Value| {
        let mut facts = node_facts(node, MODEL, &answer);
        for known in ["hostModel", "usableModels"] {
            facts.as_object_mut().unwrap().remove(known);
        }
        facts
    };
    let early = "2026-11-01T08:00:00Z";
    let mut facts = vec![
        guest_facts("db", "uid-db"),
        answer("node-d", json!({"answer": "superset", "askedAt": early})),
        answer("node-e", json!({"answer": "incompatible", "missing": ["ss"], "askedAt": early})),
    ];
    let mut objects: Vec<Value> = nodes.into_iter().chain([node("node-b", &["hle"], &[]), db, pod]).collect();
    if ["another", "cordon"].contains(&case) {
        objects.extend(guest("web", "node-a"));
        let mut web = guest_facts("web", "uid-web");
        web["cpu"] = other_cpu.clone();
        web.as_object_mut().unwrap().remove("losses");
        let refusal = json!({"answer": "incompatible", "missing": ["vaes"], "askedAt": early, "accelerator": "kvm", "cpu": other_cpu});
        facts[1]["answers"].as_array_mut().unwrap().push(refusal);
        let mut far = answer("node-b", json!({"answer": "superset", "askedAt": early}));
        far["answers"][0]["cpu"] = other_cpu.clone();
        facts.extend([web, far]);
    }
    let mut cluster = list(objects);
    let run = |cluster: &Value, output: &[&str]| {
        let objects = cluster["items"].as_array().unwrap().iter().cloned();
        let ran = scene(objects, &facts).run(&[&["drain", "node-a"], output].concat(), &["own.json"]);
        assert!(ran.code() < 2, "{}", head(&ran.stderr));
        ran
    };
    let before = run(&cluster, &["-o", "json"]).json();
    let acts = before["leastToDo"].as_array().unwrap();
    let [act] = &acts[..] else { panic!("{before:#}") };
    assert!(act["risk"].as_str().unwrap().ends_with(risk), "{before:#}");
    let text = run(&cluster, &[]).stdout;
    for command in act["commands"].as_array().unwrap() {
        carry_out(&mut cluster, command.as_str().unwrap());
    }
    let after = run(&cluster, &["-o", "json"]).json();
    let mut expected = Vec::new();
    for row in after["nodes"][0]["guests"].as_array().unwrap() {
        let (guest, nodes) = (row["guest"].as_str().unwrap(), row["libvirtRefuses"].as_array().unwrap());
        if let [node] = &nodes[..] {
            assert!(may_fail.contains(&guest), "{after:#}");
            let node = node.as_str().unwrap();
            let words = format!("kube-scheduler goes by labels and may choose {node}, where libvirt refuses {guest}");
            assert!(text.contains(&format!("May fail after that, and KubeVirt then tries again: {words}\n")), "{text}");
            expected.push(words);
        }
    }
    assert_eq!(expected.len(), may_fail.len(), "{after:#}");
    assert_eq!(before["leastMayFail"], json!(expected), "a migration fails that was said to succeed");
    assert!(before["nodes"][0]["guests"].as_array().unwrap().iter().any(|row| row["state"] == "stuck"), "{before:#}");
    assert!(after["nodes"][0]["guests"].as_array().unwrap().iter().all(|row| row["state"] != "stuck"), "{after:#}");
}
