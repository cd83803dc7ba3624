//! What people at kubectl read: drains, fields to blame, edits of nodes, of policies and of KubeVirt.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::common::read;
use crate::controlplane::ControlPlane;
use crate::kubevirt::VirtApi;
use crate::session::Session;
use crate::webhook::Scene;
use crate::world::data;

const DRAIN: &str = "drain node-a --ignore-daemonsets --delete-emptydir-data --force";

/// The lines, each once, in a fixed order: kubectl evicts pods side by side, and again and again.
fn lines(output: &str) -> String {
    let lines: BTreeSet<&str> = output.lines().collect();
    lines.into_iter().collect::<Vec<_>>().join("\n")
}

/// Story 2: KubeVirt's 429 for ever, and beside it why, and what to do.
#[test]
#[ignore = "needs a control plane: make e2e"]
fn a_drain_says_why() {
    let Some(cluster) = ControlPlane::start(&[]) else { return };
    let scene = Scene::new(&cluster);
    let _virt_api = {
        let virt_api = VirtApi::start(&cluster);
        virt_api.intercept_evictions();
        virt_api
    };
    let replica = scene.serve();
    let admin = Session { cluster: &cluster, kubeconfig: cluster.admin().to_owned() };
    insta::assert_snapshot!(
        "drain_asked_first",
        lines(&admin.output_for(&format!("{DRAIN} --dry-run=server"), Duration::from_secs(7)))
    );
    // kubectl cordons and evicts at once; here the cordon is known before.
    admin.output("cordon node-a");
    replica.until("the cordon is known", |replica| replica.server.log().matches("published").count() > 1);
    std::thread::sleep(Duration::from_secs(1));
    let drained = admin.output_for(DRAIN, Duration::from_secs(7));
    insta::assert_snapshot!("drain", lines(&drained));
    let warning = drained.lines().find(|line| line.starts_with("Warning: cpufit")).expect("a warning");
    assert_eq!(drained.matches(warning).count(), 1, "once through all retries: {drained}");
}

/// Stories 4 and 11, and what an edit of a node or of KubeVirt means for guests.
#[test]
#[ignore = "needs a control plane: make e2e"]
fn edits_are_answered() {
    let Some(cluster) = ControlPlane::start(&[]) else { return };
    let scene = Scene::new(&cluster);
    let _replica = scene.serve();
    for file in ["forge.yaml", "pool.yaml"] {
        cluster.workplace().write(file, read(&data(file)));
    }
    let admin = Session { cluster: &cluster, kubeconfig: cluster.admin().to_owned() };
    insta::assert_snapshot!("fields_to_blame", scene.jane.output("apply -f forge.yaml"));
    let stored = cluster.get(&["vm", "--namespace=shop"]);
    let names: Vec<_> = stored["items"].as_array().expect("a list").iter().map(|vm| &vm["metadata"]["name"]).collect();
    assert!(names.iter().all(|name| *name != "forge"), "what is denied is not stored: {names:?}");

    insta::assert_snapshot!("policy_applied", admin.output("apply -f pool.yaml"));
    insta::assert_snapshot!(
        "policy_invalid",
        admin.output("patch cpupolicy pool --type=merge -p {\"spec\":{\"enforce\":\"Sometimes\"}}")
    );
    let edits = [
        admin.output("label node node-a cpu-feature.node.kubevirt.io/fpu-"),
        admin.output("label node node-b example.com/rack=7"),
        admin.output("cordon node-c"),
        admin.output("uncordon node-d"),
    ];
    insta::assert_snapshot!("node_edits", edits.concat());
    insta::assert_snapshot!(
        "default_model",
        admin.output(
            "patch kubevirt kubevirt --namespace=kubevirt --type=merge -p {\"spec\":{\"configuration\":{\"cpuModel\":\"Cascadelake-Server-noTSX\"}}}"
        )
    );
}
