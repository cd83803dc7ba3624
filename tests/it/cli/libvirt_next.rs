//! Conclusions from libvirt's answers about the next start and about restarts.

use rstest::rstest;
use serde_json::{Value, json};

use super::libvirt::{guest, guest_facts, host, node_facts, silent};
use super::libvirt_nodes::{MODEL, explained, feature, node, scene, stopped, text};
use crate::common;

/// The risk of a restart with another CPU.
const OTHER_CPU: &str = "the guest sees another CPU";

/// Returns a node that is labelled with Nehalem too.
fn with_nehalem(name: &str) -> Value {
    let mut node = host(name);
    node["metadata"]["labels"]["cpu-model.node.kubevirt.io/Nehalem"] = json!("true");
    node
}

/// Returns a running guest with its launcher, and its VM, whose template has this model.
fn with_vm(model: &str) -> [Value; 3] {
    let [mut vmi, pod] = guest("db", "node-a");
    vmi["metadata"]["ownerReferences"] = json!([{"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "name": "db", "uid": "vm", "controller": true}]);
    let mut spec = vmi["spec"].clone();
    spec["domain"]["cpu"]["model"] = json!(model);
    let vm = json!({
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "metadata": {"namespace": "shop", "name": "db", "uid": "vm"},
        "spec": {"runStrategy": "Always", "template": {"metadata": {}, "spec": spec}},
    });
    [vm, vmi, pod]
}

fn by_id<'r>(rows: &'r Value, id: &str) -> Option<&'r Value> {
    rows.as_array().expect("rows").iter().find(|row| row["id"] == id)
}

/// Libvirt refuses the present CPU on both other nodes; at its next start the guest gets another model, by its VM or a
/// policy.
#[rstest]
#[case::edited_vm("Nehalem", None, true, Some(true))]
#[case::policy("host-model", Some("Nehalem"), true, Some(true))]
#[case::edited_vm_that_libvirt_contradicts("Nehalem", None, false, Some(false))]
#[case::unchanged("host-model", None, true, Some(false))]
fn a_restart_that_gives_another_cpu_helps_against_a_refusal(
    #[case] of_vm: &str,
    #[case] of_policy: Option<&str>,
    #[case] is_usable: bool,
    #[case] is_offered: Option<bool>,
) {
    let refuses = |name: &str| {
        let mut facts = node_facts(name, MODEL, &json!({"answer": "incompatible", "missing": ["ss"]}));
        facts["usableModels"] = if is_usable { json!([MODEL, "Nehalem"]) } else { json!([MODEL]) };
        facts["unusableModels"] = if is_usable { json!({}) } else { json!({"Nehalem": ["aes"]}) };
        facts
    };
    let answers = [guest_facts("db", "uid-db"), refuses("node-b"), refuses("node-c")];
    let nodes = ["node-a", "node-b", "node-c"].map(with_nehalem).map(|mut node| {
        node["metadata"]["labels"]["cpu-feature.node.kubevirt.io/fpu"] = json!("true");
        node
    });
    let policy = of_policy.map(|model| common::policy("p1", &json!({"commonModel": {"name": model}})));
    let scene = scene(nodes.into_iter().chain(with_vm(of_vm)).chain(policy), &answers);
    let result = explained(&scene, "vmi/db");
    let offer = by_id(&result["remedies"], "restart");
    let useless = by_id(&result["notHelping"], "restart");
    assert_eq!(Some(offer.is_some()), is_offered, "the cure is missing, or one that does not help: {result:#}");
    assert_eq!(useless.is_none(), offer.is_some(), "a remedy is said to help and not to help: {result:#}");
    if let Some(offer) = offer {
        assert_eq!(offer["risk"], OTHER_CPU, "the CPU that libvirt refuses does not come again: {offer:#}");
        let drained = text(&scene, &["drain", "node-a"]);
        assert!(!drained.contains("it gets the CPU again that libvirt refuses"), "{drained}");
    }
}

/// Features of the guest's own specification stay beside a new model: KubeVirt writes them into the domain, whatever
/// their policy.
#[rstest]
#[case::required("require", &["avx512f"])]
#[case::forced("force", &["avx512f"])]
#[case::optional("optional", &["avx512f"])]
#[case::of_another_feature("", &["avx512f", "pks"])]
fn a_feature_of_the_specification_is_not_lost_with_a_model(#[case] policy: &str, #[case] expected: &[&str]) {
    let mut objects = guest("db", "node-a");
    if !policy.is_empty() {
        objects[0]["spec"]["domain"]["cpu"]["features"] = json!([{"name": "pks", "policy": policy}]);
    }
    let mut facts = guest_facts("db", "uid-db");
    facts["losses"] = json!({"Nehalem": ["avx512f", "pks"]});
    let policy = common::policy("old", &json!({"commonModel": {"name": "Nehalem"}}));
    let scene = scene(["node-a", "node-b"].map(host).into_iter().chain(objects).chain([policy]), &[facts]);
    let libvirt = explained(&scene, "vmi/db")["libvirt"].clone();
    assert_eq!(libvirt["compared"]["Nehalem"]["lost"], json!(expected), "a restart looks worse than it is");
    assert_eq!(libvirt["losses"]["Nehalem"], json!(expected));
}

/// A stopped VM that forbids a feature: libvirt starts it on no node whose hypervisor has the feature, though labels
/// lack it.
#[test]
fn a_guest_does_not_start_where_libvirt_provides_what_it_forbids() {
    let mut vm = stopped(&[]);
    vm["spec"]["template"]["spec"]["domain"]["cpu"] =
        json!({"model": "host-model", "features": [{"name": "pks", "policy": "forbid"}]});
    let describes = |name: &str, require: &[&str], disable: &[&str]| {
        let mut facts = node_facts(name, MODEL, &json!({"answer": "superset"}));
        facts["hostModel"] = json!({"model": MODEL, "vendor": "Intel", "require": require, "disable": disable});
        facts
    };
    let answers = [describes("node-b", &["pks"], &[]), describes("node-c", &[], &["pks"])];
    let scene = scene(["node-a", "node-b", "node-c"].map(host).into_iter().chain([vm]), &answers);
    let result = explained(&scene, "vm/new");
    assert_eq!(result["nodes"]["fitting"], json!(["node-a", "node-c"]), "{result:#}");
    let said = text(&scene, &["explain", "vm/new", "-n", "shop"]);
    assert!(
        said.contains("on node-b, which fits by labels: libvirt there provides pks, which it forbids"),
        "it is not said why it does not start there: {said}"
    );
}

/// Libvirt lists the model as unusable and names no reason: what the guest switches off of the model may be the reason,
/// other features are not.
#[rstest]
#[case::of_the_model("fpu", true)]
#[case::of_no_model("pks", false)]
fn a_model_that_is_unusable_for_an_unnamed_reason_is_not_said_to_be_unknown(#[case] off: &str, #[case] starts: bool) {
    let mut vm = stopped(&[]);
    vm["spec"]["template"]["spec"]["domain"]["cpu"] =
        json!({"model": MODEL, "features": [{"name": off, "policy": "disable"}]});
    let mut facts = node_facts("node-b", MODEL, &json!({"answer": "superset"}));
    facts["usableModels"] = json!(["Nehalem"]);
    facts["unusableModels"] = json!({MODEL: []});
    let scene = scene(["node-a", "node-b"].map(host).into_iter().chain([vm]), &[facts]);
    let result = explained(&scene, "vm/new");
    let expected = if starts { json!(["node-a", "node-b"]) } else { json!(["node-a"]) };
    assert_eq!(result["nodes"]["fitting"], expected, "{result:#}");
    let said = text(&scene, &["explain", "vm/new", "-n", "shop"]);
    let line = format!("libvirt does not list {MODEL} as usable on node-b");
    assert!(!starts || said.contains(&line), "what libvirt says is called unknown: {said}");
    assert!(!said.contains("is not known of these nodes") || !starts, "{said}");
}

/// Required features are judged by libvirt where it describes nodes, also if it lists no models.
#[test]
fn what_a_start_is_judged_by_is_said() {
    let describes = |name: &str, require: &[&str], disable: &[&str]| {
        let mut facts = node_facts(name, MODEL, &json!({"answer": "superset"}));
        facts["hostModel"] = json!({"model": MODEL, "vendor": "Intel", "require": require, "disable": disable});
        facts["usableModels"] = Value::Null;
        facts
    };
    let nodes = ["node-a", "node-b"].map(|name| node(name, &["hle"], &[]));
    let answers = [describes("node-a", &["hle"], &[]), describes("node-b", &[], &["hle"])];
    let scene = scene(nodes.into_iter().chain([stopped(&["hle"])]), &answers);
    let said = text(&scene, &["explain", "vm/new", "-n", "shop"]);
    assert!(said.contains("libvirt there does not provide hle"), "{said}");
    let by = "Its start is judged by labels, and the features that it requires by what libvirt says of nodes";
    assert!(said.contains(by), "a start that libvirt prevents is said to be judged by labels: {said}");
    let audited = text(&scene, &["audit"]);
    assert!(!audited.contains("all is judged by labels"), "{audited}");
    let by =
        "At next start required and forbidden CPU features are judged by what libvirt provides, all else by labels";
    assert!(audited.contains(by), "{audited}");
}

/// The nearest of the nodes whose labels drifted is closed: the labels of an open one help.
#[rstest]
#[case::cordoned(1)]
#[case::more_closed_nodes_than_are_named(5)]
fn labels_are_added_to_an_open_node(#[case] closed: usize) {
    let names: Vec<String> = (0..closed).map(|number| format!("closed-{number}")).collect();
    let shut = names.iter().map(|name| {
        let mut node = node(name, &[], &["fpu"]);
        node["spec"]["unschedulable"] = json!(true);
        node["spec"]["taints"] = json!([{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}]);
        node
    });
    let nodes = [node("node-a", &[], &[]), node("node-z", &[], &["aes", "fpu"])].into_iter().chain(shut);
    let identical = |name: &str| node_facts(name, MODEL, &json!({"answer": "identical"}));
    let answers: Vec<Value> = names
        .iter()
        .map(String::as_str)
        .chain(["node-z"])
        .map(identical)
        .chain([guest_facts("db", "uid-db")])
        .collect();
    let scene = scene(nodes.chain(guest("db", "node-a")), &answers);
    let result = explained(&scene, "vmi/db");
    let add = by_id(&result["remedies"], "add-labels").unwrap_or_else(|| panic!("no labels are offered: {result:#}"));
    let commands = add["commands"].to_string();
    assert!(commands.contains("node-z") && commands.contains(&feature("fpu")), "{commands}");
}

/// Emulation has no `host-passthrough`: a guest with it never becomes ready, and the node is never asked.
#[rstest]
#[case::kvm("kvm", "host-passthrough")]
#[case::emulation("qemu", "host-model")]
fn the_guest_that_brings_a_launcher_starts_with_the_accelerator(#[case] accelerator: &str, #[case] model: &str) {
    let mut facts = guest_facts("db", "uid-db");
    facts["accelerator"] = json!(accelerator);
    let answers = [facts, silent("node-b", "no-launcher", "")];
    let scene = scene(["node-a", "node-b"].map(host).into_iter().chain(guest("db", "node-a")), &answers);
    let said = text(&scene, &["explain", "vmi/db", "-n", "shop"]);
    assert!(said.contains(&format!(r#""cpu":{{"model":"{model}"}}"#)), "the node can never be asked: {said}");
}

/// Emulation of another architecture gives the guest the model `max`, which no libvirt can compare.
#[test]
fn an_emulated_guest_of_another_architecture_is_not_said_to_be_refused() {
    let mut facts = guest_facts("db", "uid-db");
    facts["accelerator"] = json!("qemu");
    facts["cpu"] = json!({"model": "max", "require": [], "disable": []});
    let mut answering = node_facts(
        "node-b",
        MODEL,
        &json!({"answer": "incompatible", "reason": "libvirt there does not know CPU model max"}),
    );
    answering["answers"][0]["cpu"] = facts["cpu"].clone();
    answering["answers"][0]["accelerator"] = json!("qemu");
    let mut objects = guest("db", "node-a");
    objects[0]["spec"]["architecture"] = json!("arm64");
    objects[0]["spec"]["domain"]["cpu"] = json!({});
    for object in &mut objects {
        object["spec"]["nodeSelector"] = json!({"zone": "a", "kubevirt.io/vm-arch-arm64": "true"});
    }
    let nodes = ["node-a", "node-b", "node-c"].map(|name| {
        let mut node = host(name);
        node["metadata"]["labels"]["kubevirt.io/vm-arch-arm64"] = json!("true");
        node
    });
    let scene = scene(nodes.into_iter().chain(objects), &[facts, answering]);
    let result = explained(&scene, "vmi/db");
    assert_eq!(result["libvirt"]["unansweredCode"], "no-model", "{result:#}");
    let refused = result["findings"].as_array().unwrap().iter().any(|found| found["check"] == "libvirt-refuses");
    assert!(!refused, "a migration that works is called impossible: {result:#}");
    let offered = by_id(&result["remedies"], "restart-with-common-model");
    assert_eq!(offered, None, "KubeVirt refuses a model on arm64");
}

/// The printed command explains the guest with libvirt's answers, if the drain went by them.
#[test]
fn the_command_of_a_drain_asks_libvirt_if_the_drain_did() {
    // No restart helps either: libvirt does not list the model as usable.
    let mut stuck = guest("db", "node-a");
    stuck[0]["spec"]["domain"]["cpu"]["model"] = json!(MODEL);
    let nodes = || ["node-a", "node-b"].map(host).into_iter().chain(stuck.clone());
    let mut refuses = node_facts("node-b", MODEL, &json!({"answer": "incompatible", "missing": ["ss"]}));
    refuses["usableModels"] = json!([]);
    let scene = scene(nodes(), &[guest_facts("db", "uid-db"), refuses]);
    let commands = |facts: &[&str]| -> Vec<String> {
        let ran = scene.run(&["drain", "node-a"], facts);
        assert!(ran.code() < 2, "{}", common::head(&ran.stderr));
        let lines = ran.stdout.lines().filter(|line| line.starts_with("What is in its way: "));
        lines.map(str::to_owned).collect()
    };
    let said = commands(&["own.json"]);
    assert_eq!(said.len(), 1, "libvirt's refusal keeps the guest there, and the drain does not say so: {said:?}");
    assert!(said[0].ends_with("--ask-libvirt"), "the command prints that it fits: {said:?}");
    assert_eq!(commands(&[]), [""; 0], "without libvirt's answers nothing is in its way");
}

/// A folder with a dump and answers may be named by `--libvirt-facts` too: the other objects of the dump are skipped.
#[test]
fn a_dump_with_answers_is_a_folder_of_answers() {
    let answers = [guest_facts("db", "uid-db"), node_facts("node-b", MODEL, &json!({"answer": "identical"}))];
    let scene = scene(["node-a", "node-b"].map(host).into_iter().chain(guest("db", "node-a")), &answers);
    let cluster = std::fs::read_to_string(scene.scratch.path().join("cluster.json")).unwrap();
    let own = std::fs::read_to_string(scene.scratch.path().join("own.json")).unwrap();
    scene.scratch.write("dump/cluster.json", cluster);
    scene.scratch.write("dump/own.json", own);
    let ran = scene.run(&["explain", "vmi/db", "-n", "shop", "-o", "json"], &["dump"]);
    assert_eq!(ran.code(), 0, "{}", common::head(&ran.stderr));
    assert_eq!(ran.json()["results"][0]["libvirt"]["nodes"]["node-b"]["answer"], "identical");
}

/// A description of a node that was asked for in vain: the reason is said, and not that it was not asked.
#[test]
fn a_node_that_did_not_describe_itself_is_named_with_the_reason() {
    let mut facts = node_facts("node-b", MODEL, &json!({"answer": "identical"}));
    (facts["hostModel"], facts["usableModels"]) = (Value::Null, Value::Null);
    facts["hostUnanswered"] =
        json!({"unanswered": "-", "unansweredCode": "failed", "unansweredDetail": "internal error: boom"});
    let answers = [guest_facts("db", "uid-db"), facts];
    let scene = scene(["node-a", "node-b"].map(host).into_iter().chain(guest("db", "node-a")), &answers);
    let row = explained(&scene, "vmi/db")["libvirt"]["nodes"]["node-b"].clone();
    assert_eq!(row["hostUnanswered"], "virsh failed: internal error: boom", "{row:#}");
    assert_eq!((&row["hostUnansweredCode"], &row["answer"]), (&json!("failed"), &json!("identical")));
    let said = text(&scene, &["explain", "vmi/db", "-n", "shop"]);
    let line = "node-b gives no answer about its host model and usable models: virsh failed: internal error: boom.";
    assert!(said.lines().any(|printed| printed == line), "{said}");
}

/// Libvirt gave no description of nodes, and named a feature when it refused the running guest: its next start, which
/// requires the feature, goes by that.
#[test]
fn a_start_is_judged_by_what_libvirt_missed_of_the_running_guest() {
    let [mut vm, vmi, pod] = with_vm("host-model");
    vm["spec"]["template"]["spec"]["domain"]["cpu"]["features"] = json!([{"name": "ss", "policy": "require"}]);
    let mut refuses = node_facts("node-b", MODEL, &json!({"answer": "incompatible", "missing": ["ss"]}));
    (refuses["hostModel"], refuses["usableModels"]) = (Value::Null, Value::Null);
    let nodes = ["node-a", "node-b", "node-c"].map(|name| node(name, &["ss"], &[]));
    let scene = scene(nodes.into_iter().chain([vm, vmi, pod]), &[guest_facts("db", "uid-db"), refuses]);
    let said = text(&scene, &["explain", "vm/db", "-n", "shop"]);
    assert!(said.contains("libvirt there does not provide ss"), "the feature is not named: {said}");
    let by = "Its start is judged by labels, and the features that it requires by what libvirt says of nodes";
    assert!(said.contains(by), "a start that libvirt prevents is said to be judged by labels: {said}");
}

/// A guest that forbids a feature, in files of earlier releases and of this one.
#[rstest]
#[case::listed_as_disabled("disable", "not-saved")]
#[case::listed_as_forbidden("forbid", "superset")]
fn a_forbidden_feature_in_saved_answers_is_read_as_forbidden(#[case] listed: &str, #[case] expected: &str) {
    let mut objects = guest("db", "node-a");
    objects[0]["spec"]["domain"]["cpu"]["features"] = json!([{"name": "hle", "policy": "forbid"}]);
    let listing = |mut facts: Value, at: &str| {
        let saved = facts.pointer_mut(at).expect("a CPU");
        saved["disable"] = json!([]);
        saved[listed] = json!(["hle"]);
        facts
    };
    let of_node = |name: &str, answer: Value, disable: &[&str]| {
        let mut facts = listing(node_facts(name, MODEL, &answer), "/answers/0/cpu");
        facts["hostModel"] = json!({"model": MODEL, "vendor": "Intel", "require": [], "disable": disable});
        facts
    };
    let answers = [
        listing(guest_facts("db", "uid-db"), "/cpu"),
        of_node("node-b", json!({"answer": "superset"}), &[]),
        of_node("node-c", json!({"answer": "superset"}), &["hle"]),
        of_node("node-d", json!({"answer": "incompatible", "missing": ["ss"]}), &[]),
    ];
    let nodes = ["node-a", "node-b", "node-c", "node-d"].map(host);
    let scene = scene(nodes.into_iter().chain(objects), &answers);
    let libvirt = explained(&scene, "vmi/db")["libvirt"].clone();
    assert_eq!(libvirt["cpu"]["forbid"], json!(["hle"]), "{libvirt:#}");
    let said = |name: &str| {
        let row = &libvirt["nodes"][name];
        row["answer"].as_str().or(row["unansweredCode"].as_str()).unwrap_or_default().to_owned()
    };
    assert_eq!(said("node-b"), expected, "a migration that libvirt refuses is promised: {libvirt:#}");
    assert_eq!((said("node-c"), said("node-d")), ("superset".to_owned(), "incompatible".to_owned()), "{libvirt:#}");
}

/// Libvirt on the other nodes misses a feature that the guest lists, or provides one that it forbids: the change of
/// that feature alone is offered, and not hidden behind a common model.
#[rstest]
#[case::required("require", json!({"missing": ["pks"]}), Some("drop-setting"))]
#[case::forced("force", json!({"missing": ["pks"]}), Some("drop-setting"))]
#[case::optional("optional", json!({"missing": ["pks"]}), Some("drop-setting"))]
#[case::another_is_missing_too("require", json!({"missing": ["pks", "ss"]}), None)]
#[case::forbidden("forbid", json!({"reason": "Host CPU provides forbidden features: pks"}), Some("disable-feature"))]
fn a_feature_that_libvirt_names_is_given_up(
    #[case] policy: &str,
    #[case] why: Value,
    #[case] expected: Option<&str>,
    #[values(false, true)] by_preference: bool,
) {
    let [mut vm, mut vmi, pod] = with_vm("Nehalem");
    let cpu = json!({"model": "Nehalem", "features": [{"name": "pks", "policy": policy}]});
    vmi["spec"]["domain"]["cpu"] = cpu.clone();
    let mut more = Vec::new();
    if by_preference {
        vm["spec"]["preference"] = json!({"name": "shy"});
        more.push(json!({
            "apiVersion": "instancetype.kubevirt.io/v1beta1", "kind": "VirtualMachineClusterPreference",
            "metadata": {"name": "shy"}, "spec": {"cpu": {"preferredCPUFeatures": cpu["features"]}},
        }));
    } else {
        vm["spec"]["template"]["spec"]["domain"]["cpu"] = cpu;
    }
    let mut known = guest_facts("db", "uid-db");
    known["cpu"] = json!({"model": "Nehalem", "require": ["pks"], "disable": []});
    if policy == "forbid" {
        known["cpu"] = json!({"model": "Nehalem", "require": [], "disable": [], "forbid": ["pks"]});
    }
    let refuses = |name: &str| {
        let mut answer = why.clone();
        answer["answer"] = json!("incompatible");
        let mut facts = node_facts(name, MODEL, &answer);
        facts["answers"][0]["cpu"] = known["cpu"].clone();
        (facts["hostModel"], facts["usableModels"]) = (Value::Null, Value::Null);
        facts
    };
    let answers = [known.clone(), refuses("node-b"), refuses("node-c")];
    let labels: &[&str] = if policy == "require" { &["pks"] } else { &[] };
    let nodes = ["node-a", "node-b", "node-c"].map(|name| {
        let mut node = node(name, labels, &[]);
        node["metadata"]["labels"]["cpu-model.node.kubevirt.io/Nehalem"] = json!("true");
        node
    });
    let scene = scene(nodes.into_iter().chain([vm, vmi, pod]).chain(more), &answers);
    let result = explained(&scene, "vmi/db");
    assert_eq!(result["verdict"], "pinned", "{result:#}");
    let rows = result["remedies"].as_array().expect("remedies");
    let small: Vec<&str> = rows.iter().filter_map(|row| row["id"].as_str()).collect();
    let small: Vec<&str> = small.into_iter().filter(|id| ["drop-setting", "disable-feature"].contains(id)).collect();
    assert_eq!(small, expected.into_iter().collect::<Vec<_>>(), "{result:#}");
}

/// The next start of a guest lists an optional feature that one of the nodes has: the counted targets are not certain.
#[rstest]
#[case::only_then("", "optional", true)]
#[case::only_now("optional", "", false)]
fn a_restart_with_an_optional_feature_names_that_it_binds(#[case] now: &str, #[case] then: &str, #[case] binds: bool) {
    let listing = |policy: &str| if policy.is_empty() { json!([]) } else { json!([{"name": "pks", "policy": policy}]) };
    let [mut vm, mut vmi, pod] = with_vm("Nehalem");
    vmi["spec"]["domain"]["cpu"]["features"] = listing(now);
    vm["spec"]["template"]["spec"]["domain"]["cpu"]["features"] = listing(then);
    let refuses = |name: &str| node_facts(name, MODEL, &json!({"answer": "incompatible", "missing": ["ss"]}));
    let answers = [guest_facts("db", "uid-db"), refuses("node-b"), refuses("node-c")];
    let nodes = [("node-a", &[][..]), ("node-b", &["pks"]), ("node-c", &[])].map(|(name, more)| {
        let mut node = node(name, more, &[]);
        node["metadata"]["labels"]["cpu-model.node.kubevirt.io/Nehalem"] = json!("true");
        node
    });
    let scene = scene(nodes.into_iter().chain([vm, vmi, pod]), &answers);
    let result = explained(&scene, "vmi/db");
    let offer = by_id(&result["remedies"], "restart").unwrap_or_else(|| panic!("{result:#}"));
    let risk =
        "the guest sees another CPU; an optional feature binds it to the nodes that have it, if it starts on one";
    let expected = if binds { risk } else { OTHER_CPU };
    assert_eq!(offer["risk"], expected, "two targets are promised, and libvirt refuses one: {offer:#}");
}
