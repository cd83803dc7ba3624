//! Obstacles that keep a guest off nodes that fit by labels, or would after a remedy: room, other pods, volumes.
//! `explain`, `drain` and `recommend --without-node` go by the same facts.

use serde_json::{Value, json};

use crate::common::{Scratch, cpufit, kubevirt, launcher_pod, list, node, results};

/// The features of the host model.
const FEATURES: [&str; 3] = ["fpu", "vme", "aes"];

/// The obstacle on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Obstacle {
    None,
    Room,
    Pods,
    Volume,
}

/// Returns a node of the guest's hardware, without a label of these features.
fn host(name: &str, lacks: &[&str], is_closed: bool) -> Value {
    let mut labels = json!({
        "kubevirt.io/schedulable": "true", "kubernetes.io/arch": "amd64", "kubernetes.io/hostname": name,
        "machine-type.node.kubevirt.io/q35": "true", "cpu-vendor.node.kubevirt.io/Intel": "true",
        "host-model-cpu.node.kubevirt.io/Penryn": "true", "cpu-model-migration.node.kubevirt.io/Penryn": "true",
        "zone": if is_closed { "far" } else { "near" },
    });
    for feature in FEATURES {
        labels[format!("host-model-required-features.node.kubevirt.io/{feature}")] = json!("true");
        if !lacks.contains(&feature) {
            labels[format!("cpu-feature.node.kubevirt.io/{feature}")] = json!("true");
        }
    }
    let mut node = node(name, &labels);
    node["status"] = json!({"allocatable": {"cpu": "4", "memory": "64Gi", "pods": "110"}});
    node
}

fn pod(name: &str, on: &str, labels: &Value, cores: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "shop", "labels": labels},
        "spec": {"nodeName": on, "containers": [{"name": "a", "resources": {"requests": {"cpu": cores, "memory": "1Gi"}}}]},
        "status": {"phase": "Running"}})
}

/// Returns a cluster whose guest on node-a takes node-b once it is uncordoned, and node-c once it has its labels, with
/// this obstacle on those of them that are closed.
fn cluster(obstacle: Obstacle, closed: [bool; 2]) -> Value {
    let is_closed = |at: usize| closed[at] && obstacle != Obstacle::None;
    let mut nodes = [
        host("node-a", &[], false),
        host("node-b", &[], obstacle == Obstacle::Volume && is_closed(0)),
        host("node-c", &["vme"], obstacle == Obstacle::Volume && is_closed(1)),
    ];
    nodes[1]["spec"] = json!({"unschedulable": true});
    let mut guest = json!({
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance",
        "metadata": {"namespace": "shop", "name": "db", "uid": "uid-db", "labels": {"app": "db"}},
        "spec": {"architecture": "amd64", "evictionStrategy": "LiveMigrate",
            "domain": {"cpu": {"model": "host-model"}, "machine": {"type": "q35"}}},
        "status": {"phase": "Running", "nodeName": "node-a", "selinuxContext": "none", "machine": {"type": "q35"},
            "conditions": [{"type": "LiveMigratable", "status": "True"}]},
    });
    let mut selector = json!({"kubevirt.io/schedulable": "true", "kubernetes.io/arch": "amd64",
        "machine-type.node.kubevirt.io/q35": "true", "cpu-model-migration.node.kubevirt.io/Penryn": "true"});
    for feature in FEATURES {
        selector[format!("cpu-feature.node.kubevirt.io/{feature}")] = json!("true");
    }
    let mut others = Vec::new();
    for (at, name) in ["node-b", "node-c"].into_iter().enumerate().filter(|(at, _)| is_closed(*at)) {
        match obstacle {
            Obstacle::Room => others.push(pod(&format!("batch-{at}"), name, &json!({}), "2")),
            Obstacle::Pods => others.push(pod(&format!("db-{at}"), name, &json!({"app": "db"}), "1")),
            Obstacle::None | Obstacle::Volume => {}
        }
    }
    if obstacle == Obstacle::Pods {
        let term = json!({"labelSelector": {"matchLabels": {"app": "db"}}, "topologyKey": "kubernetes.io/hostname"});
        guest["spec"]["affinity"] =
            json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}});
    }
    if obstacle == Obstacle::Volume {
        guest["spec"]["volumes"] = json!([{"name": "root", "persistentVolumeClaim": {"claimName": "root"}}]);
        let near = json!({"matchExpressions": [{"key": "zone", "operator": "In", "values": ["near"]}]});
        others.push(json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": "root", "namespace": "shop"}, "spec": {"volumeName": "pv-1"}, "status": {"phase": "Bound"}}));
        others.push(json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "pv-1"},
            "spec": {"nodeAffinity": {"required": {"nodeSelectorTerms": [near]}}}}));
    }
    let mut launcher = launcher_pod(&guest, "x7k2p", &selector);
    launcher["apiVersion"] = json!("v1");
    launcher["kind"] = json!("Pod");
    launcher["spec"]["containers"] =
        json!([{"name": "compute", "resources": {"requests": {"cpu": "3", "memory": "2Gi"}}}]);
    list(nodes.into_iter().chain([kubevirt(&json!({})), guest, launcher]).chain(others))
}

/// A remedy is in vain exactly if each node that it opens is closed; it ranks behind those that help; `drain` finds
/// nothing exactly if all are in vain, and names the same obstacle.
#[test]
fn a_remedy_that_opens_only_unusable_nodes_is_marked_as_useless() {
    for (obstacle, words) in [
        (Obstacle::None, ""),
        (Obstacle::Room, "fits by CPU, no room: 2 of 4 cores free (it asks for 3 cores)"),
        (Obstacle::Pods, "fits by labels, and required pod anti-affinity keeps it off (a pod of namespace shop on"),
        (Obstacle::Volume, "fits by labels, and its volume root (PersistentVolume pv-1) can be used on"),
    ] {
        for closed in [[false, false], [true, false], [false, true], [true, true]] {
            let scratch = Scratch::new();
            let dump = scratch.write_json("cluster.json", &cluster(obstacle, closed));
            let explained =
                cpufit(["explain", "vmi/db", "-n", "shop", "-o", "json", "--snapshot"]).args([dump.as_os_str()]);
            let json = explained.run().json();
            let remedies = results(&json)[0]["remedies"].as_array().expect("remedies").clone();
            let of = |id: &str| remedies.iter().position(|remedy| remedy["id"] == id).expect(id);
            let at = format!("{obstacle:?} {closed:?}: {json}");
            for (id, is_closed) in [("uncordon", closed[0]), ("add-labels", closed[1])] {
                let is_closed = is_closed && obstacle != Obstacle::None;
                let remedy = &remedies[of(id)];
                assert_eq!(
                    remedy["isInVain"] == true,
                    is_closed,
                    "{id} would be tried for nothing, or not at all: {at}"
                );
                assert_eq!(remedy["inTheWay"].to_string().contains(words), is_closed || words.is_empty(), "{at}");
                assert_eq!(remedy["thenFits"]["min"], 1, "the number of targets is that by labels: {at}");
            }
            let in_vain = remedies.iter().map(|remedy| remedy["isInVain"] == true);
            assert!(in_vain.is_sorted(), "a remedy in vain is offered before one that helps: {at}");
            let drained = cpufit(["drain", "node-a", "-o", "json", "--snapshot"]).args([dump.as_os_str()]).run().json();
            let is_stuck = closed == [true, true] && obstacle != Obstacle::None;
            assert_eq!(drained["leastToDo"].is_null(), is_stuck, "drain and explain disagree: {at} {drained}");
            if is_stuck {
                assert!(
                    drained.to_string().contains(words.split(", and").last().unwrap_or(words).trim()),
                    "drain does not say why: {drained}"
                );
            }
        }
    }
}

/// A node without a room is named in the table as well, before a person uncordons or labels it.
#[test]
fn obstacles_are_printed_in_the_table_and_beside_the_commands() {
    let scratch = Scratch::new();
    let dump = scratch.write_json("cluster.json", &cluster(Obstacle::Room, [true, true]));
    let said = cpufit(["explain", "vmi/db", "-n", "shop", "--snapshot"]).args([dump.as_os_str()]).run().stdout;
    for words in [
        "cordoned, no room: 2 of 4 cores free",
        "# does not help now: then node-b fits by CPU, no room: 2 of 4 cores free (it asks for 3 cores)",
        "# does not help now: then node-c fits by CPU, no room: 2 of 4 cores free (it asks for 3 cores)",
    ] {
        assert!(said.contains(words), "a person would act for nothing: {words}\n{said}");
    }
    let drained = cpufit(["drain", "node-a", "--snapshot"]).args([dump.as_os_str()]).run().stdout;
    let words = "In the way after all of these: shop/db: node-b fits by CPU, no room: 2 of 4 cores free (it asks for 3 cores); 1 more node has too little room";
    assert!(drained.contains(words), "the cause is named nowhere: {drained}");
}

/// `recommend --without-node` counts the guests that leave as `drain` does.
#[test]
fn a_guest_that_finds_no_room_could_not_leave() {
    for (obstacle, closed, could) in [
        (Obstacle::None, [true, true], true),
        (Obstacle::Room, [true, true], false),
        (Obstacle::Room, [false, true], true),
        (Obstacle::Pods, [true, true], false),
        (Obstacle::Volume, [true, true], false),
    ] {
        let scratch = Scratch::new();
        let mut cluster = cluster(obstacle, closed);
        // Both nodes fit by labels.
        for node in cluster["items"].as_array_mut().expect("objects").iter_mut().filter(|it| it["kind"] == "Node") {
            node["spec"] = json!({});
            node["metadata"]["labels"]["cpu-feature.node.kubevirt.io/vme"] = json!("true");
        }
        let dump = scratch.write_json("cluster.json", &cluster);
        let said =
            cpufit(["recommend", "--without-node", "node-a", "--snapshot"]).args([dump.as_os_str()]).run().stdout;
        let words = if could { "the one guest there could leave it" } else { "the one guest there could not leave it" };
        assert!(said.contains(words), "{obstacle:?} {closed:?}: a node would be removed under a guest: {said}");
        let drained = cpufit(["drain", "node-a", "-o", "json", "--snapshot"]).args([dump.as_os_str()]).run().json();
        let is_stuck = drained["nodes"][0]["guests"][0]["state"] == "stuck";
        assert_eq!(is_stuck, !could, "drain says something else: {drained}");
    }
}

/// With `-n`, and in a dump of one namespace with all pods, guests of other namespaces are known by their launchers.
#[test]
fn a_guest_that_was_not_read_closes_its_node_by_its_launcher() {
    let term = |namespace: &str| {
        json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
            {"labelSelector": {"matchLabels": {"app": "db"}}, "namespaces": [namespace], "topologyKey": "kubernetes.io/hostname"},
        ]}})
    };
    for (its, own) in [(json!({}), term("lab")), (term("shop"), json!({})), (term("lab"), term("shop"))] {
        let mut cluster = cluster(Obstacle::None, [false, false]);
        let items = cluster["items"].as_array_mut().expect("objects");
        let guest = items.iter_mut().find(|item| item["kind"] == "VirtualMachineInstance").expect("the guest");
        guest["spec"]["affinity"] = own.clone();
        for on in ["node-b", "node-c"] {
            let mut launcher = pod(&format!("virt-launcher-{on}"), on, &json!({"app": "db"}), "1");
            launcher["metadata"]["namespace"] = json!("lab");
            launcher["metadata"]["ownerReferences"] = json!([
                {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance", "name": format!("away-{on}"), "uid": on},
            ]);
            launcher["spec"]["affinity"] = its.clone();
            items.push(launcher);
        }
        let scratch = Scratch::new();
        let dump = scratch.write_json("cluster.json", &cluster);
        let explain = |output: &str| {
            cpufit(["explain", "vmi/db", "-n", "shop", "-o", output, "--snapshot"]).args([dump.as_os_str()]).run()
        };
        let json = explain("json").json();
        let is_apart = its == term("shop") || own == term("lab");
        for remedy in results(&json)[0]["remedies"].as_array().expect("remedies") {
            if !["uncordon", "add-labels"].contains(&remedy["id"].as_str().expect("an id")) {
                continue;
            }
            assert_eq!(remedy["isInVain"] == true, is_apart, "it would be tried for nothing: {its} {own} {remedy}");
            let words = remedy["inTheWay"].to_string();
            assert_eq!(words.contains("lab/away-node-"), is_apart, "the guest in the way is not named: {words}");
        }
    }
}

/// Without the pods of all nodes, what a remedy opens may be closed by anti-affinity.
#[test]
fn anti_affinity_is_judged_only_if_all_pods_are_known() {
    let mut cluster = cluster(Obstacle::Pods, [false, false]);
    let scratch = Scratch::new();
    let said = |cluster: &Value| {
        let dump = scratch.write_json("cluster.json", cluster);
        cpufit(["explain", "vmi/db", "-n", "shop", "--snapshot"]).args([dump.as_os_str()]).run().stdout
    };
    let words = "Where a remedy opens nodes, its required pod anti-affinity is not judged";
    let without = said(&cluster);
    assert!(without.contains(words), "a person uncordons a node that a pod may close: {without}");
    cluster["items"].as_array_mut().expect("objects").push(pod("other", "node-a", &json!({}), "1"));
    let with = said(&cluster);
    assert!(!with.contains(words), "what is judged is called unknown: {with}");
    // The labels of namespaces decide, and are not known.
    let guest = cluster["items"].as_array_mut().expect("objects").iter_mut();
    for guest in guest.filter(|item| item["kind"] == "VirtualMachineInstance") {
        let term =
            &mut guest["spec"]["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][0];
        term["namespaceSelector"] = json!({"matchLabels": {"tier": "db"}});
    }
    assert!(
        said(&cluster).contains(words),
        "a namespace whose labels are not known counts as one that is not selected"
    );
}
