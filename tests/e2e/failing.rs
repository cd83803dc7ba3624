//! cpufit down, slow, broken, or disconnected from the API server: requests are admitted as without it, and the audit
//! finds what was missed.

use std::time::Duration;

use serde_json::{Value, json};

use crate::common::read;
use crate::controlplane::ControlPlane;
use crate::installed::{Fault, output_of_cpufit};
use crate::load::Load;
use crate::webhook::Scene;
use crate::world::data;

const MIGRATIONS: &str = "/apis/kubevirt.io/v1/namespaces/shop/virtualmachineinstancemigrations?dryRun=All";

#[test]
#[ignore = "needs a control plane: make e2e"]
fn guests_start_while_the_webhook_fails_and_its_data_is_complete_afterwards() {
    let Some(cluster) = ControlPlane::start(&[]) else { return };
    let scene = Scene::new(&cluster);
    let launcher = String::from_utf8(read(&data("launcher.yaml"))).expect("text");
    let start = |name: &str| {
        let file = format!("launcher-{name}.yaml");
        cluster
            .workplace()
            .write(&file, launcher.replace("virt-launcher-lost-7k2px", &format!("virt-launcher-lost-{name}")));
        let output = scene.controller.output(&format!("create -f {file}"));
        assert!(output.contains("created"), "{name}: {output}");
        assert!(!output.contains("cpufit"), "{name}: the webhook was not running: {output}");
    };
    let lost = String::from_utf8(read(&data("lost.yaml"))).expect("text");
    cluster.workplace().write("lost.yaml", lost);
    cluster.kubectl(&["create", "--validate=false", "-f", "lost.yaml"]);
    start("down");
    for fault in [Fault::Slow, Fault::Rubbish, Fault::Expired] {
        let _impostor = scene.installation.impostor(fault);
        let failed_open = cluster.failed_open();
        start(&format!("{fault:?}").to_lowercase());
        assert!(cluster.failed_open() > failed_open, "{fault:?}: the API server did not ask it");
    }

    let audited = output_of_cpufit(scene.installation.kubeconfig(), "audit --fail-on pinned");
    insta::assert_snapshot!("audit", audited);
    let json = output_of_cpufit(scene.installation.kubeconfig(), "audit -A -o json");
    // Notes follow: the account may not read claims.
    let (_, output) = json.split_once('\n').expect("the command, then JSON");
    let first = serde_json::Deserializer::from_str(output).into_iter().next();
    let json: Value = first.expect("a value").expect("JSON");
    let items = json["items"].as_array().expect("items");
    let lost = items.iter().find(|item| item["guest"] == "lab/lost").expect("what was missed");
    assert_eq!(lost["impact"], json!("Unschedulable"), "{lost}");
}

/// The API server restarts: reviews are answered again, watch data catches up, readiness is correct.
#[test]
#[ignore = "needs a control plane: make e2e"]
fn the_api_server_restarts_under_load() {
    let Some(cluster) = ControlPlane::start(&[]) else { return };
    let scene = Scene::new(&cluster);
    let replica = scene.serve();
    let migration = |number: usize| {
        json!({
            "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstanceMigration",
            "metadata": {"name": format!("migrate-db-{number}"), "namespace": "shop"}, "spec": {"vmiName": "db"},
        })
    };
    let load = Load::start(&scene.jane.kubeconfig, 2, MIGRATIONS, migration);
    load.until_sent(50);
    cluster.api_restart(Duration::from_secs(3));
    let away = replica.get("/readyz?verbose");
    let warned = load.so_far().warned;
    replica.until("every watch is well again", |replica| {
        let ready = replica.get("/readyz?verbose");
        ready.contains(" 200 ")
            && !ready
                .lines()
                .any(|line| line.starts_with("[ ]") && line.contains('(') && !line.contains("not installed"))
    });
    // Changes during and after the restart are known.
    cluster.kubectl_with(&["create", "-f", "-"], &crate::node::node("node-new", &json!({})));
    replica.until_known(6, 1);
    load.until_sent(50);
    let count = load.stop();
    assert!(count.warned > warned, "reviews are answered again");
    assert!(away.contains("nodes received"), "{away}");
    let known = replica.get("/metrics");
    let age =
        known.lines().find(|line| line.starts_with("cpufit_watch_age_seconds{resource=\"nodes\"}")).expect("its age");
    let age: f64 = age.rsplit(' ').next().and_then(|age| age.parse().ok()).expect("seconds");
    assert!(age < 70.0, "a watch that is well brings something at least once a minute: {age}");
    assert!(!replica.server.log().contains("panicked at"), "{}", replica.server.log());
    println!(
        "{} sent, {} failed while the API server was away, {} warned",
        count.sent,
        count.failures.len(),
        count.warned
    );
}

/// The watch data is too old because the API server did not answer: nothing is judged by it, and everything is
/// admitted.
#[test]
#[ignore = "needs a control plane: make e2e"]
fn no_review_is_judged_by_old_data() {
    let Some(cluster) = ControlPlane::start(&[]) else { return };
    let scene = Scene::new(&cluster);
    // Shorter than the minute in which a healthy watch receives a bookmark, and longer than the half minute after which
    // a resource that is not installed is checked again.
    let replica = scene.installation.serve("cpufit-0", &["--stale-after", "40"]);
    scene.await_webhook();
    replica.until("not fresh", |replica| replica.get("/readyz").contains("[-]fresh"));
    replica.until("no review judged by old data", |_| {
        let output = scene.jane.output("create -f migrate-db.yaml --dry-run=server");
        assert!(output.contains("created (server dry run)"), "a review that is not answered stops the user: {output}");
        !output.contains("cpufit")
    });
    // Every watch reconnects, so that the API server sends something for each resource.
    cluster.api_restart(Duration::from_secs(1));
    replica.until("fresh again", |replica| {
        replica.server.log().contains("the API server answers again: reviews are judged")
    });
}
