//! Watches of a real cluster: created objects are known and deleted ones are removed, also if KubeVirt's kinds are
//! installed later.

use std::path::Path;

use serde_json::json;

use crate::common::read;
use crate::controlplane::{ControlPlane, Part};
use crate::installed::{Installation, output_of_cpufit};
use crate::launcher::launcher_pod;
use crate::session::Session;
use crate::webhook::Scene;
use crate::world::{self, data};

#[test]
#[ignore = "needs a control plane: make e2e"]
fn kubevirts_kinds_may_come_later() {
    let Some(cluster) = ControlPlane::start(&[]) else { return };
    let installation = Installation::new(&cluster);
    let replica = installation.serve("cpufit-0", &[]);
    let ready = replica.get("/readyz?verbose");
    assert!(ready.contains("virtualmachineinstances received") && ready.contains("(not installed)"), "{ready}");

    world::install_kubevirt(&cluster);
    world::create(&cluster, &Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/cluster.yaml"));
    replica.until_known(5, 1);
    let tries = replica.server.log().lines().filter(|line| line.contains("the watch failed")).count();
    assert!(tries < 50, "a kind that is not there is looked for {tries} times: a busy loop");
    let metrics = replica.get("/metrics");
    assert!(metrics.contains("cpufit_watch_age_seconds{resource=\"nodes\"}"), "{metrics}");

    let explained = output_of_cpufit(installation.kubeconfig(), "explain vmi/db -n shop");
    insta::assert_snapshot!("explained_live", explained);

    cluster.kubectl(&["delete", "node", "node-e"]);
    replica.until_known(4, 1);
}

/// A guest, its launcher and its migration created one after the other: the cache has none of them yet.
#[test]
#[ignore = "needs a control plane: make e2e"]
fn objects_created_a_moment_ago_are_looked_up() {
    let Some(cluster) = ControlPlane::start(&[]) else { return };
    let scene = Scene::new(&cluster);
    // Changes after the first snapshot are published after an hour, so that the cache is certainly behind.
    let replica = scene.installation.serve("cpufit-0", &["--publish-after", "3600000"]);
    replica.until_known(5, 1);
    scene.await_webhook();
    let of = |kind: &str, name: &str| cluster.get(&[kind, name, "--namespace=shop"]);
    let mut vmi = of("vmi", "db");
    let source = vmi["status"]["nodeName"].clone();
    vmi["metadata"] = json!({"name": "young", "namespace": "shop"});
    let created = cluster.kubectl_with(&["create", "--validate=false", "-o", "json", "-f", "-"], &vmi);
    let created: serde_json::Value = serde_json::from_str(&created).expect("a VMI");
    let pods = cluster.get(&["pods", "--namespace=shop", "--selector=kubevirt.io=virt-launcher"]);
    let pods = pods["items"].as_array().expect("pods");
    let mut pod = pods.iter().find(|pod| pod["metadata"]["ownerReferences"][0]["name"] == "db").expect("db's").clone();
    pod["metadata"] = launcher_pod(&created, "x", &json!({}))["metadata"].clone();
    assert_eq!(pod["spec"]["nodeName"], source, "the launcher runs where its guest is");
    cluster.kubectl_with(&["create", "--validate=false", "-f", "-"], &pod);
    let migration = String::from_utf8(read(&data("migrate-db.yaml"))).expect("text").replace("db", "young");
    cluster.workplace().write("migrate-young.yaml", migration);
    let jane = Session { cluster: &cluster, kubeconfig: cluster.kubeconfig("jane", &["shop-admins"]) };
    let output = jane.output("create -f migrate-young.yaml --dry-run=server");
    insta::assert_snapshot!("looked_up", output);
}

/// API servers before 1.34 refuse a watch that sends initial events: pages are read instead.
#[test]
#[ignore = "needs a control plane: make e2e"]
fn an_api_server_without_streaming_lists_is_read_by_pages() {
    let Some(cluster) = ControlPlane::start(&[Part::NoStreamingLists]) else { return };
    let installation = Installation::new(&cluster);
    // More than a page.
    let node = |number: usize| crate::node::node(&format!("node-{number:03}"), &json!({}));
    let nodes: Vec<_> = (0..300).map(node).collect();
    cluster.kubectl_with(&["create", "-f", "-"], &json!({"apiVersion": "v1", "kind": "List", "items": nodes}));
    let replica = installation.serve("cpufit-0", &[]);
    replica.until_known(300, 0);
    assert!(replica.server.log().contains("listing in pages"), "it streams: {}", replica.server.log());
    cluster.kubectl(&["delete", "node", "node-299"]);
    replica.until_known(299, 0);
}
