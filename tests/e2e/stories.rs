//! The texts for kubectl users: drains, fields to blame, edits of nodes, of policies and of KubeVirt.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::common::{cpufit, read};
use crate::controlplane::ControlPlane;
use crate::installed::output_of_cpufit;
use crate::kubevirt::VirtApi;
use crate::session::Session;
use crate::webhook::Scene;
use crate::world::data;

const DRAIN: &str = "drain node-a --ignore-daemonsets --delete-emptydir-data --force";

/// Returns the lines, each once, in a fixed order: kubectl evicts pods concurrently, and repeatedly.
fn lines(output: &str) -> String {
    let lines: BTreeSet<&str> = output.lines().collect();
    lines.into_iter().collect::<Vec<_>>().join("\n")
}

/// Story 2: KubeVirt's repeated 429, with the reason and the next step.
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

/// Stories 4 and 11, and the effect of an edit of a node or of KubeVirt on guests.
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

/// Stories 7 to 10, run on the live cluster by its administrator: the guests that could leave a node, the effect of an
/// upgrade, the recommended model, and what-if. The output of `recommend` can be applied, warns, and denies nothing.
#[test]
#[ignore = "needs a control plane: make e2e"]
fn the_verbs_answer_before_a_drain_and_an_upgrade() {
    let Some(cluster) = ControlPlane::start(&[]) else { return };
    let scene = Scene::new(&cluster);
    let replica = scene.serve();
    let admin = Session { cluster: &cluster, kubeconfig: cluster.admin().to_owned() };
    let asked = |command: &str| output_of_cpufit(&admin.kubeconfig, command);
    insta::assert_snapshot!("drain_foretold", asked("drain node-a"));

    let kinds = "nodes,pods,poddisruptionbudgets,vm,vmi,vmim,kubevirt,ns,cpupolicies";
    let before = cluster.kubectl(&["get", kinds, "-A", "-o", "yaml"]);
    let before = cluster.workplace().write("before.yaml", before);
    let before = before.to_str().expect("a path in UTF-8");
    assert!(asked(&format!("diff {before}")).contains("nothing changed"), "between a dump and the cluster it is of");
    cluster.kubectl(&["label", "node", "node-a", "node-c", "node-d", "cpu-feature.node.kubevirt.io/hle-"]);
    insta::assert_snapshot!("upgrade_compared", asked(&format!("diff {before}")).replace(before, "before.yaml"));

    insta::assert_snapshot!("recommended", asked("recommend"));
    insta::assert_snapshot!("what_if", asked("recommend --without-node node-b"));
    // The existing policy denies: recommend leaves it to a person.
    cluster.kubectl(&["delete", "cpupolicy", "intel-pool"]);
    let kubeconfig = admin.kubeconfig.to_str().expect("a path in UTF-8");
    let policies = cpufit(["recommend", "-o", "yaml", "--kubeconfig", kubeconfig]).run();
    assert_eq!(policies.code(), 0, "{}", policies.stderr);
    cluster.workplace().write("adopt.yaml", policies.stdout);
    replica.until_known(5, 0);
    insta::assert_snapshot!("adopted", admin.output("apply -f adopt.yaml"));
    let stored = cluster.get(&["cpupolicies"]);
    let models: Vec<&serde_json::Value> = stored["items"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|policy| &policy["spec"]["commonModel"]["name"])
        .collect();
    assert_eq!(models, ["Skylake-Server-noTSX-IBRS"]);
    let report = data("report.yaml");
    let checked = cpufit(["check", "--kubeconfig", kubeconfig, "-o", "json", "-f"]).args([&report]).run();
    assert_eq!(checked.code(), 0, "the policy that is adopted denies nothing: {}{}", checked.stdout, checked.stderr);
    let result = &checked.json()["results"][0];
    assert_eq!((&result["allowed"], &result["patch"]), (&serde_json::json!(true), &serde_json::json!([])), "{result}");
}
