//! Node selector entries removed from target pods on a live cluster: by policy, by annotation, and the users who may
//! request it.

use serde_json::{Value, json};

use crate::controlplane::ControlPlane;
use crate::enforcing::{govern, until};
use crate::launcher::launcher_pod;
use crate::session::Session;
use crate::webhook::Scene;

const DROPPED: &str = "cpufit.io/dropped-selectors";

fn migration(name: &str, guest: &str, relax: bool) -> Value {
    let annotations = if relax { json!({"cpufit.io/relax": "true"}) } else { json!(null) };
    json!({
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstanceMigration",
        "metadata": {"name": name, "namespace": "shop", "annotations": annotations}, "spec": {"vmiName": guest},
    })
}

/// Returns the target pod of a migration as virt-controller creates it: a copy of its guest's launcher, without a node.
#[track_caller]
fn target(cluster: &ControlPlane, name: &str, guest: &str, migration: &str, selector: &Value) -> Value {
    let guest = cluster.get(&["vmi", guest, "-n", "shop"]);
    let mut pod = launcher_pod(&json!({"metadata": guest["metadata"]}), "", selector);
    pod["metadata"]["name"] = json!(name);
    pod["metadata"]["labels"]["app"] = guest["metadata"]["name"].clone();
    let uid = cluster.get(&["vmim", migration, "-n", "shop"])["metadata"]["uid"].clone();
    pod["metadata"]["labels"]["kubevirt.io/migrationJobUID"] = uid;
    pod["metadata"]["annotations"]["kubevirt.io/migrationJobName"] = json!(migration);
    pod
}

/// Returns the node selector of a guest's launcher.
#[track_caller]
fn selector_of(cluster: &ControlPlane, guest: &str) -> Value {
    let pods = cluster.get(&["pods", "-n", "shop", "-l", &format!("app={guest}")]);
    pods["items"][0]["spec"]["nodeSelector"].clone()
}

/// Returns the keys removed from a stored pod; checks that nothing else changed in its node selector.
#[track_caller]
fn taken(cluster: &ControlPlane, sent: &Value) -> Vec<String> {
    let pod = cluster.get(&["pod", sent["metadata"]["name"].as_str().expect("a name"), "-n", "shop"]);
    let (now, before) = (&pod["spec"]["nodeSelector"], &sent["spec"]["nodeSelector"]);
    let before = before.as_object().expect("a selector");
    let is_kept = |key: &str, value: &Value| now.get(key).inspect(|now| assert_eq!(*now, value)).is_some();
    let keys: Vec<String> =
        before.iter().filter(|(key, value)| !is_kept(key, value)).map(|(key, _)| key.clone()).collect();
    assert_eq!(now.as_object().map_or(0, serde_json::Map::len) + keys.len(), before.len(), "entries came in");
    let output = pod["metadata"]["annotations"][DROPPED].as_str().unwrap_or_default();
    assert_eq!(output, keys.join(","), "the pod's annotation");
    keys
}

/// Returns the audit annotation of the request that created a pod.
fn audited(cluster: &ControlPlane, pod: &str) -> Option<String> {
    let log = cluster.audit_log();
    let of_pod = log.iter().find(|event| {
        event["objectRef"]["resource"] == "pods" && event["objectRef"]["name"] == pod && event["verb"] == "create"
    });
    of_pod?["annotations"]["pods.mutate.cpufit.io/dropped-selectors"].as_str().map(str::to_owned)
}

/// Creates a target pod as virt-controller, repeatedly until it is stored without these keys.
#[track_caller]
fn trimmed(scene: &Scene<'_>, pod: &Value, wanted: &[&str]) -> String {
    let name = pod["metadata"]["name"].as_str().expect("a name");
    scene.cluster.workplace().write("target.json", pod.to_string());
    let ask = || scene.controller.output("create -f target.json --dry-run=server");
    // The policy is in force a moment after it was changed.
    until(name, ask, |output| output.contains("need not have"));
    let output = scene.controller.output("create -f target.json");
    assert_eq!(taken(scene.cluster, pod), wanted, "other keys were dropped than the policy asked for");
    let annotation = until("audited", || audited(scene.cluster, name), Option::is_some);
    assert_eq!(annotation, Some(wanted.join(",")));
    output
}

#[test]
#[ignore = "needs a control plane: make e2e"]
fn target_pods_lose_exactly_what_may_be_dropped() {
    let Some(cluster) = ControlPlane::start(&[]) else { return };
    let scene = Scene::new(&cluster);
    let replica = scene.serve();
    let feature = |name: &str| format!("cpu-feature.node.kubevirt.io/{name}");
    let create = |object: &Value| cluster.kubectl_with(&["create", "-f", "-"], object);
    govern(&cluster, &json!({"launcherSelectors": "DropStale"}));

    // Entries that no node has any more: a migration that was denied for them is admitted.
    scene.jane.output_until("create -f migrate-ledger.yaml --dry-run=server", "need not have");
    insta::assert_snapshot!("drop_stale_migration", scene.jane.output("create -f migrate-ledger.yaml"));
    let pod =
        target(&cluster, "virt-launcher-ledger-new", "ledger", "migrate-ledger", &selector_of(&cluster, "ledger"));
    insta::assert_snapshot!("drop_stale", trimmed(&scene, &pod, &[&feature("amd-stibp")]));
    insta::assert_snapshot!(scene.await_event("VirtualMachineInstance/ledger", "CPUSelectorsDropped"), @"shop/ledger: its target need not have cpu-feature amd-stibp, which no node offers any more (policy intel-pool); libvirt decides");

    // Entries that a guest with the common model does not need: web waits on its first node, so its launcher is
    // constructed.
    let common = "Skylake-Server-noTSX-IBRS";
    govern(&cluster, &json!({"launcherSelectors": "Common", "commonModel": {"name": common}}));
    create(&migration("common", "web", false));
    let model = format!("cpu-model.node.kubevirt.io/{common}");
    let foreign = "cpu-model-migration.node.kubevirt.io/Cascadelake-Server";
    let selector = json!({
        feature("avx512vnni"): "true", foreign: "true", model: "true", "cpu-vendor.node.kubevirt.io/Intel": "true",
        "kubernetes.io/arch": "amd64", "kubevirt.io/schedulable": "true", "machine-type.node.kubevirt.io/q35": "true",
    });
    let pod = target(&cluster, "virt-launcher-web-new", "web", "common", &selector);
    insta::assert_snapshot!("drop_common", trimmed(&scene, &pod, &[&feature("avx512vnni"), foreign]));
    scene.await_event("VirtualMachineInstance/web", "CPUSelectorsDropped");

    // The entries remain until a user with the right requests less.
    govern(&cluster, &json!({"launcherSelectors": "Keep", "commonModel": null}));
    create(&migration("plain", "db", false));
    let pod = target(&cluster, "virt-launcher-db-plain", "db", "plain", &selector_of(&cluster, "db"));
    cluster.workplace().write("target.json", pod.to_string());
    scene.controller.output("create -f target.json");
    assert_eq!(taken(&cluster, &pod), [""; 0], "keys were dropped without the right to do so");

    cluster.workplace().write("relax.yaml", migration("relaxed", "db", true).to_string());
    let jane = &scene.jane;
    let on_create = jane.output("create -f relax.yaml");
    let on_update = jane.output("annotate vmim plain -n shop cpufit.io/relax=true");
    insta::assert_snapshot!("relax_refused", [on_create, on_update].concat());
    cluster.kubectl(&["create", "clusterrolebinding", "kate", "--clusterrole=cpufit-admin", "--user=kate"]);
    let kate = Session { cluster: &cluster, kubeconfig: cluster.kubeconfig("kate", &["shop-admins"]) };
    kate.output_until("create -f relax.yaml --dry-run=server", " created");
    insta::assert_snapshot!("relax_allowed", kate.output("create -f relax.yaml"));
    let pod = target(&cluster, "virt-launcher-db-relaxed", "db", "relaxed", &selector_of(&cluster, "db"));
    insta::assert_snapshot!("relaxed", trimmed(&scene, &pod, &[&feature("fpu"), &feature("vme")]));
    insta::assert_snapshot!(scene.await_event("VirtualMachineInstance/db", "CPUSelectorsDropped"), @"shop/db: its target need not have cpu-feature fpu, vme, so that node-c fits (relaxed is annotated cpufit.io/relax); libvirt decides");
    assert!(!replica.server.log().contains("panicked at"), "{}", replica.server.log());

    // The API server itself refuses a user without the right. A user with the right, and a user who does not set the
    // annotation, are admitted.
    drop(replica);
    cluster.kubectl(&["delete", "vmim", "--all", "-n", "shop"]);
    cluster.workplace().write("plain.yaml", migration("plain", "db", false).to_string());
    let refused = jane.output("create -f relax.yaml");
    // The error of the connection varies.
    let (what, _how) = refused.split_once(": Post ").unwrap_or((&refused, ""));
    insta::assert_snapshot!(
        "relax_while_down",
        format!("{what}: …\n{}{}", jane.output("create -f plain.yaml"), kate.output("create -f relax.yaml"))
    );
}
