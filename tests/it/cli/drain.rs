//! Story: a drain of a whole node, and the smallest change.

use serde_json::{Value, json};

use crate::common::{Ran, Scratch, cpufit, kubevirt, launcher_pod, list, node, running};

const COMMON: [&str; 4] = ["aes", "avx2", "fpu", "vme"];

/// Returns a node of the small fleet: Skylake node-b, Ice Lake node-e, else Cascade Lake; node-c lost two labels.
fn host(name: &str) -> Value {
    let mut labels = json!({
        "kubevirt.io/schedulable": "true", "kubernetes.io/arch": "amd64", "kubernetes.io/hostname": name,
        "cpu-vendor.node.kubevirt.io/Intel": "true", "machine-type.node.kubevirt.io/q35": "true",
        "cpu-model.node.kubevirt.io/Skylake-Server-noTSX-IBRS": "true",
        "cpu-model-migration.node.kubevirt.io/Cascadelake-Server": "true",
    });
    let (model, more): (&str, &[&str]) = match name {
        "node-b" => ("Skylake-Server-noTSX-IBRS", &[]),
        "node-e" => ("Icelake-Server-noTSX", &["gfni"]),
        _ => ("Cascadelake-Server", &["avx512vnni", "hle", "rtm"]),
    };
    labels[format!("host-model-cpu.node.kubevirt.io/{model}")] = json!("true");
    labels["pool"] = json!(if name == "node-b" { "cache" } else { "general" });
    for feature in COMMON.iter().chain(more) {
        labels[format!("host-model-required-features.node.kubevirt.io/{feature}")] = json!("true");
        if name != "node-c" || !["fpu", "vme"].contains(feature) {
            labels[format!("cpu-feature.node.kubevirt.io/{feature}")] = json!("true");
        }
    }
    let mut node = node(name, &labels);
    if name == "node-d" {
        node["spec"] = json!({"unschedulable": true});
    }
    node
}

fn guest(name: &str, model: &str, selector: &Value) -> Value {
    let mut guest = running(name, "node-a", model);
    guest["spec"]["nodeSelector"] = selector.clone();
    guest
}

fn cluster() -> Value {
    let nodes = ["node-a", "node-b", "node-c", "node-d", "node-e"].map(host);
    let web = (0..8).map(|at| guest(&format!("web-{at}"), "Skylake-Server-noTSX-IBRS", &json!({})));
    let cache = (0..3).map(|at| guest(&format!("cache-{at}"), "Skylake-Server-noTSX-IBRS", &json!({"pool": "cache"})));
    let db = guest("db", "host-model", &json!({}));
    list(
        nodes
            .into_iter()
            .chain([kubevirt(&json!({"evictionStrategy": "LiveMigrate"}))])
            .chain(web)
            .chain(cache)
            .chain([db]),
    )
}

fn drain(args: &[&str], cluster: &Value) -> Ran {
    let scratch = Scratch::new();
    let dump = scratch.write_json("cluster.json", cluster);
    cpufit(["drain"]).args(args).args([std::ffi::OsStr::new("--snapshot"), dump.as_os_str()]).run()
}

#[test]
fn a_drain_prints_every_guest_and_the_least_to_do() {
    let ran = drain(&["node-a"], &cluster());
    assert_eq!(ran.code(), 1, "a script would drain and wait without end: {}", ran.stderr);
    insta::assert_snapshot!("drain_of_a_node", ran.stdout.trim_end());
}

/// One guest cannot be migrated, and may be restarted on the same node because it tolerates the cordon: the others are
/// freed.
#[test]
fn a_drain_names_the_least_to_do_for_guests_that_can_be_freed() {
    let mut cluster = cluster();
    let mut bound = guest("gpu", "Skylake-Server-noTSX-IBRS", &json!({}));
    bound["spec"]["tolerations"] = json!([{"operator": "Exists"}]);
    bound["status"]["conditions"] = json!([{"type": "LiveMigratable", "status": "False", "reason": "HostDeviceNotLiveMigratable",
        "message": "VMI uses a PCI host devices"}]);
    cluster["items"].as_array_mut().expect("a list").push(bound);
    let ran = drain(&["node-a"], &cluster);
    assert_eq!(ran.code(), 1, "{}", ran.stderr);
    insta::assert_snapshot!("drain_for_the_others", ran.stdout.trim_end());
    let json = drain(&["node-a", "-o", "json"], &cluster).json();
    assert_eq!(
        (&json["leastToDo"], &json["notFreed"]),
        (&Value::Null, &json!(["shop/gpu"])),
        "a guest that no change frees is promised to be freed"
    );
    assert_eq!(
        json["leastForOthers"]["acts"][0]["commands"],
        json!(["kubectl uncordon node-d"]),
        "the guests that can be freed are left without the change that frees them"
    );
    assert_eq!(
        json["leastForOthers"]["stuck"],
        json!(["shop/gpu"]),
        "the drain would wait for a guest that is not named"
    );
}

/// Scripts read rows: what is said beside them is left out.
#[test]
fn without_headers_there_are_rows_alone() {
    for args in [&["node-a", "--no-headers"][..], &["--all", "--no-headers"], &["--all", "--no-headers", "-o", "wide"]]
    {
        let ran = drain(args, &cluster());
        let is_row = |line: &str| line.starts_with("shop/");
        assert!(!ran.stdout.is_empty() && ran.stdout.lines().all(is_row), "{args:?}: {}", ran.stdout);
    }
}

/// No VM is in the dump: whether one makes the guest is not known, and no command starts it again for certain.
#[test]
fn acts_without_a_command_are_printed_as_sentences() {
    let mut cluster = cluster();
    cluster["items"].as_array_mut().expect("a list").retain(|item| {
        let node = item["metadata"]["name"].as_str().unwrap_or_default();
        item["kind"] != "Node" || ["node-a", "node-b"].contains(&node)
    });
    let json = drain(&["node-a", "-o", "json"], &cluster).json();
    let steps = json["leastToDo"].as_array().expect("changes");
    let restart = steps.iter().find(|step| step["id"] == "restart").unwrap_or_else(|| panic!("no restart: {json:#}"));
    let commands = restart["commands"].as_array().expect("a list");
    assert!(!commands.is_empty(), "{restart}");
    assert!(commands.iter().all(|command| !command.as_str().unwrap_or_default().starts_with('#')), "{restart}");
    assert!(
        restart["byHand"].as_str().unwrap_or_default().contains("virtctl restart"),
        "a script would do nothing: {restart}"
    );
    let table = drain(&["node-a"], &cluster).stdout;
    assert!(table.contains("   # by hand: virtctl restart"), "{table}");
}

/// A CPU model of an instancetype is changed by naming another one, which no command does; the restart comes after it.
#[test]
fn a_restart_comes_after_the_edit_by_hand_that_it_needs() {
    let mut it = running("it", "node-a", "Icelake-Server-noTSX");
    it["metadata"]["ownerReferences"] = json!([{"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "name": "it", "uid": "u", "controller": true}]);
    let vm = json!({"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine",
        "metadata": {"name": "it", "namespace": "shop", "uid": "u"},
        "spec": {"runStrategy": "Always", "instancetype": {"name": "u1", "kind": "VirtualMachineClusterInstancetype"},
                 "template": {"spec": {"domain": {}}}}});
    let instancetype = json!({"apiVersion": "instancetype.kubevirt.io/v1beta1", "kind": "VirtualMachineClusterInstancetype",
        "metadata": {"name": "u1"}, "spec": {"cpu": {"guest": 1, "model": "Icelake-Server-noTSX"}, "memory": {"guest": "1Gi"}}});
    let mut nodes = ["node-a", "node-f", "node-g"].map(host);
    nodes[0]["metadata"]["labels"]["cpu-model.node.kubevirt.io/Icelake-Server-noTSX"] = json!("true");
    let config = kubevirt(&json!({"evictionStrategy": "LiveMigrate"}));
    let cluster = list(nodes.into_iter().chain([config, it, vm, instancetype]));
    let json = drain(&["node-a", "-o", "json"], &cluster).json();
    let act = &json["leastToDo"][0];
    let steps: Vec<&str> =
        act["steps"].as_array().unwrap_or_else(|| panic!("{json:#}")).iter().filter_map(Value::as_str).collect();
    let at = |of: &str| steps.iter().position(|step| step.contains(of)).unwrap_or_else(|| panic!("no {of}: {json:#}"));
    assert!(
        at("kubectl cordon") < at("# name another instancetype") && at("# name another") < at("virtctl restart"),
        "the guest restarts with the old instancetype: {steps:?}"
    );
    assert_eq!(act["commands"].as_array().map(Vec::len), Some(1), "a script restarts it before the edit: {act}");
    let by_hand = act["byHand"].as_str().unwrap_or_default();
    assert!(by_hand.ends_with("; then virtctl restart it -n shop"), "a script's user does not restart it: {act}");
    let table = drain(&["node-a"], &cluster).stdout;
    let place = |of: &str| table.find(of).unwrap_or_else(|| panic!("no {of}: {table}"));
    assert!(place("# by hand: name another") < place("virtctl restart"), "it restarts before the edit: {table}");
}

fn vm(name: &str, status: &str) -> Value {
    json!({"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "metadata": {"name": name, "namespace": "shop"},
           "spec": {"runStrategy": "Always", "template": {"spec": {"domain": {}}}},
           "status": {"printableStatus": status}})
}

/// A dump may lack guests, as one without `vmi` does: no verb says of it that all is well.
#[test]
fn no_verb_reports_success_for_a_dump_without_guests() {
    let web = running("web", "node-b", "Skylake-Server-noTSX-IBRS");
    let pod = |guest: &Value| launcher_pod(guest, "x", &json!({"kubernetes.io/arch": "amd64"}));
    let db = running("db", "node-a", "Skylake-Server-noTSX-IBRS");
    let (known, lost) = (vec![web.clone(), pod(&web)], pod(&db));
    let cases: [(&str, Vec<Value>, i32, &str); 8] = [
        ("nodes alone", vec![], 2, "the dump holds no guest"),
        ("a launcher without its VMI", vec![lost.clone()], 2, "shop/db run"),
        ("a VM that runs", vec![vm("db", "Running")], 2, "shop/db run"),
        ("a VM that migrates", vec![vm("db", "Migrating")], 2, "shop/db run"),
        ("a stopped VM", vec![vm("db", "Stopped")], 0, ""),
        ("a VM of a dump without its status", vec![vm("db", "")], 2, "whether shop/db runs is not known"),
        ("another guest's VMI", [known.clone(), vec![lost]].concat(), 2, "no VirtualMachineInstance of it"),
        ("all VMIs", known, 0, ""),
    ];
    for (what, guests, code, said) in cases {
        let nodes = ["node-a", "node-b", "node-e"].map(host);
        let config = kubevirt(&json!({"evictionStrategy": "LiveMigrate"}));
        let dump = list(nodes.into_iter().chain([config]).chain(guests));
        let ran = drain(&["node-a"], &dump);
        assert_eq!(ran.code(), code, "{what}: a person would drain by this: {}{}", ran.stdout, ran.stderr);
        assert!(format!("{}{}", ran.stdout, ran.stderr).contains(said), "{what}: {}{}", ran.stdout, ran.stderr);
        let scratch = Scratch::new();
        let path = scratch.write_json("cluster.json", &dump);
        for verb in ["audit", "recommend"] {
            let ran = cpufit([verb]).args([std::ffi::OsStr::new("--snapshot"), path.as_os_str()]).run();
            let all = format!("{}{}", ran.stdout, ran.stderr);
            assert!(all.contains(said) || all.contains("there is no guest"), "{verb}, {what}: {all}");
            assert!(!said.is_empty() || !all.contains("VirtualMachineInstance"), "{verb}, {what}: {all}");
        }
    }
}

/// A snapshot of one namespace says so: a drain ends guests of all.
#[test]
fn a_snapshot_of_one_namespace_is_not_taken_for_the_cluster() {
    let scratch = Scratch::new();
    let whole = scratch.write_json("cluster.json", &cluster());
    let of = std::ffi::OsStr::new("--snapshot");
    let one = cpufit(["snapshot", "-n", "shop"]).args([of, whole.as_os_str()]).run().stdout;
    let one = scratch.write("shop.yaml", &one);
    for (how, args) in [("as it is", &[][..]), ("redacted", &["--redact"])] {
        let again = cpufit(["snapshot"]).args(args).args([of, one.as_os_str()]).run().stdout;
        let again = scratch.write("again.yaml", &again);
        let ran = cpufit(["drain", "--all"]).args([of, again.as_os_str()]).run();
        assert!(ran.stdout.contains("is a snapshot of namespace "), "{how}: {}", ran.stdout);
        let json = cpufit(["drain", "--all", "-o", "json"]).args([of, again.as_os_str()]).run().json();
        let not_known = json["notKnown"].as_array().expect("a list");
        let says = |line: &Value| line.as_str().is_some_and(|line| line.contains("alone: guests of other namespaces"));
        assert!(not_known.iter().any(says), "{how}: a script takes it for the cluster: {json:#}");
    }
    let empty = cpufit(["drain", "node-b"]).args([of, one.as_os_str()]).run();
    assert_eq!(empty.code(), 2, "guests of other namespaces may be there: {}{}", empty.stdout, empty.stderr);
    let diff = cpufit(["diff"]).args([&one, &one]).run().stdout;
    assert!(diff.contains("the new dump is a snapshot of namespace shop alone"), "{diff}");
    let both = cpufit(["drain", "--all"]).args([of, one.as_os_str(), of, whole.as_os_str()]).run();
    assert!(both.code() <= 2, "{}", both.stderr);
}

/// Each guest that is shut down or waits is counted by what decides it.
#[test]
fn guests_are_counted_by_what_they_wait_for() {
    let guest = |name: &str, strategy: &str| {
        let mut guest = running(name, "node-a", "Skylake-Server-noTSX-IBRS");
        guest["metadata"]["labels"] = json!({"app": name});
        guest["spec"]["evictionStrategy"] = json!(strategy);
        guest
    };
    let starting = |name: &str, phase: &str| {
        let mut guest = guest(name, "LiveMigrate");
        guest["status"]["phase"] = json!(phase);
        guest
    };
    let budget = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
        "metadata": {"name": "pair", "namespace": "shop"},
        "spec": {"selector": {"matchExpressions": [{"key": "app", "operator": "In", "values": ["one", "two"]}]}},
        "status": {"disruptionsAllowed": 1}});
    let pair = ["one", "two"].map(|name| guest(name, "None")).to_vec();
    let vms = ["one", "two"].map(|name| {
        let mut vm = vm(name, "Running");
        vm["metadata"]["uid"] = json!(format!("vm-{name}"));
        vm
    });
    let owned = |guest: Value| {
        let mut guest = guest;
        let name = guest["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        guest["metadata"]["ownerReferences"] = json!([{"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine",
            "name": name, "uid": format!("vm-{name}"), "controller": true}]);
        guest
    };
    let shared = pair.iter().cloned().map(owned).chain(vms).chain([budget]).collect();
    let cases: [(Vec<Value>, &str); 6] = [
        (pair, "What happens: 2 guests are shut down at once\n"),
        (shared, "What happens: 2 guests are shut down one after the other, as a PodDisruptionBudget allows\n"),
        (vec![starting("new", "Scheduled")], "1 guest; 1 stays until it runs\n"),
        (vec![starting("lost", "Unknown"), starting("new", "Scheduled")], "2 guests; 2 stay until they run\n"),
        (vec![guest("other", "External")], "1 guest; 1 stays until another program or a user acts\n"),
        (
            vec![guest("other", "External"), starting("new", "Scheduled")],
            "1 stays until it runs, 1 stays until another program or a user acts\n",
        ),
    ];
    for (guests, said) in cases {
        let config = kubevirt(&json!({"evictionStrategy": "LiveMigrate"}));
        let nodes = ["node-a", "node-b", "node-f"].map(host);
        let ran = drain(&["node-a"], &list(nodes.into_iter().chain([config]).chain(guests)));
        assert!(ran.stdout.contains(said), "no {said:?}: {}", ran.stdout);
    }
}

/// A change of an object.
type Edit = fn(&mut Value);

/// An order is not said to strand a guest that waits for something else than a node.
#[test]
fn guests_that_stay_have_an_order_of_their_own_words() {
    let stays = "Order: in every order a drain waits for a guest that stays; in the way: shop/db\n";
    let not_known = "Order: whether there is one in which every drain ends is not known; in the way: shop/db\n";
    let cases: [(Edit, &str); 3] = [
        (|guest| guest["spec"]["evictionStrategy"] = json!("External"), stays),
        (|guest| guest["status"]["phase"] = json!("Scheduled"), stays),
        (|guest| drop(guest["status"].as_object_mut().unwrap().remove("selinuxContext")), not_known),
    ];
    for (change, said) in cases {
        let mut guest = running("db", "node-a", "Skylake-Server-noTSX-IBRS");
        change(&mut guest);
        let config = kubevirt(&json!({"evictionStrategy": "LiveMigrate"}));
        let ran = drain(&["--all"], &list(["node-a", "node-b"].map(host).into_iter().chain([config, guest])));
        assert!(ran.stdout.contains(said), "no {said:?}: {}", ran.stdout);
        assert_eq!(ran.code(), 0, "{}", ran.stdout);
    }
}

#[test]
fn a_rolling_upgrade_has_an_order() {
    let ran = drain(&["--all"], &cluster());
    insta::assert_snapshot!("drain_of_all_nodes", ran.stdout.trim_end());
}

/// Returns two guests of 4 and 2 cores on node-d; node-c has room for the small one, node-e for either.
fn tight(cores_of_node_e: u32) -> Value {
    let nodes = [("node-c", 2), ("node-d", 6), ("node-e", cores_of_node_e)].map(|(name, cores)| {
        let mut node = host(name);
        node["spec"] = json!({});
        node["status"] = json!({"allocatable": {"cpu": cores.to_string(), "memory": "64Gi", "pods": "110"}});
        node
    });
    let guests = [("large", "4"), ("small", "2")].map(|(name, cores)| {
        let guest = running(name, "node-d", "Skylake-Server-noTSX-IBRS");
        let mut pod = launcher_pod(&guest, "x", &json!({"kubernetes.io/arch": "amd64"}));
        pod["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": cores, "memory": "4Gi"}});
        [guest, pod]
    });
    list(
        nodes
            .into_iter()
            .chain([kubevirt(&json!({"evictionStrategy": "LiveMigrate"}))])
            .chain(guests.into_iter().flatten()),
    )
}

#[test]
fn an_order_names_guests_that_the_scheduler_may_strand() {
    let ran = drain(&["--all"], &tight(4));
    assert_eq!(ran.code(), 0, "{}{}", ran.stdout, ran.stderr);
    let json = drain(&["--all", "-o", "json"], &tight(4)).json();
    assert_eq!(
        (json["order"].as_array().map(Vec::len), &json["orderMayStrand"]),
        (Some(3), &json!(["shop/large"])),
        "a guest that may be stuck is not named"
    );
    let said =
        ["Order in which each guest can find a place, ", "Not sure: whether shop/large can leave in this order "];
    assert!(said.iter().all(|said| ran.stdout.contains(said)), "{}", ran.stdout);
    let wide = drain(&["--all", "-o", "json"], &tight(6)).json();
    assert_eq!((wide["order"].is_null(), &wide["orderMayStrand"]), (false, &json!([])), "both have room on node-e");
    let none = drain(&["--all"], &tight(3));
    assert_eq!(none.code(), 1, "{}", none.stderr);
    assert!(none.stdout.contains("Order: in every order a guest is stuck; in the way: shop/large"), "{}", none.stdout);
    let json = drain(&["--all", "-o", "json"], &tight(3)).json();
    assert_eq!(
        (&json["order"], &json["orderTries"], &json["stranded"]),
        (&Value::Null, &Value::Null, &json!(["shop/large"]))
    );
}

#[test]
fn the_json_of_drain_keeps_its_fields() {
    let cluster = cluster();
    let one = drain(&["node-a", "-o", "json"], &cluster).json();
    assert_eq!(one["order"], Value::Null, "there is no order of one node");
    assert_eq!(one["nodes"][0]["node"], "node-a");
    let db = &one["nodes"][0]["guests"][0];
    assert_eq!((&db["guest"], &db["state"], &db["targets"]), (&json!("shop/db"), &json!("stuck"), &json!([])));
    assert_eq!(one["leastToDo"][0]["id"], "uncordon");
    assert_eq!(
        one["leastToDo"][0]["commands"],
        json!(["kubectl uncordon node-d"]),
        "a script does not find the change that frees all"
    );
    let two = drain(&["node-a", "node-d", "-o", "json"], &cluster).json();
    assert_eq!(two["order"], json!(["node-d", "node-a"]), "node-d is a target once it was drained and returned");
}

#[test]
fn a_node_that_is_not_known_is_an_error() {
    let ran = drain(&["node-x"], &cluster());
    assert_eq!(ran.code(), 2, "no verdict was given");
    assert!(ran.stderr.contains("node/node-x not found"), "{}", ran.stderr);
}
