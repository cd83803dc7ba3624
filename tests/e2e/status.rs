//! The status of policies, as kubectl shows it: it follows the cluster, and reports problems.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::controlplane::ControlPlane;
use crate::installed::SOON;
use crate::policy::policy;
use crate::webhook::Scene;

/// Waits until the status of a policy is as expected.
#[track_caller]
fn until(cluster: &ControlPlane, policy: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + SOON;
    loop {
        let status = cluster.get(&["cpupolicy", policy])["status"].clone();
        if holds(&status) {
            return status;
        }
        assert!(Instant::now() < deadline, "{what}: {status:#}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn is(status: &Value, kind: &str, expected: &str) -> bool {
    let conditions = status["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    conditions.iter().any(|condition| condition["type"] == kind && condition["status"] == expected)
}

#[test]
#[ignore = "needs a control plane: make e2e"]
fn the_status_of_policies_follows_the_cluster() {
    let Some(cluster) = ControlPlane::start(&[]) else { return };
    let scene = Scene::new(&cluster);
    let replica = scene.serve();
    let status = until(&cluster, "intel-pool", "valid and counted", |status| is(status, "Valid", "True"));
    assert_eq!((&status["observedGeneration"], &status["nodes"]), (&json!(1), &json!(5)), "{status:#}");
    assert!(status["guests"].as_u64() > Some(0), "{status:#}");
    let output = cluster.output(cluster.admin(), &["get", "cpupolicies"]);
    println!("{output}");

    cluster.kubectl(&["delete", "node", "node-e"]);
    until(&cluster, "intel-pool", "a node less", |status| status["nodes"] == 4);
    let model = json!({"spec": {"commonModel": {"name": "No-Such-Model"}}}).to_string();
    cluster.kubectl(&["patch", "cpupolicy", "intel-pool", "--type=merge", "-p", &model]);
    let status = until(&cluster, "intel-pool", "a model that runs nowhere", |status| is(status, "Ready", "False"));
    assert_eq!((&status["coverage"], &status["observedGeneration"]), (&json!("0/4"), &json!(2)), "{status:#}");

    // A correct status is not written again.
    std::thread::sleep(Duration::from_secs(6));
    let version = cluster.get(&["cpupolicy", "intel-pool"])["metadata"]["resourceVersion"].clone();
    std::thread::sleep(Duration::from_secs(12));
    assert_eq!(cluster.get(&["cpupolicy", "intel-pool"])["metadata"]["resourceVersion"], version);
    assert!(!replica.server.log().contains("cannot be written"), "{}", replica.server.log());
}

/// The effect of a schema of an older release.
#[test]
#[ignore = "needs a control plane: make e2e"]
fn an_invalid_policy_that_slips_through_is_reported_once() {
    let Some(cluster) = ControlPlane::start(&[]) else { return };
    let scene = Scene::new(&cluster);
    let anything = json!([{"op": "replace", "path": "/spec/versions/0/schema/openAPIV3Schema",
        "value": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}]);
    cluster.kubectl(&["patch", "crd", "cpupolicies.cpufit.io", "--type=json", "-p", &anything.to_string()]);
    let wrong = policy("wrong", &json!({"enforce": "Sometimes"}));
    let deadline = Instant::now() + SOON;
    // The API server uses the new schema after a moment.
    let path = cluster.workplace().write("wrong.json", wrong.to_string());
    while !cluster
        .output(cluster.admin(), &["apply", "-f", path.to_str().expect("a path in UTF-8")])
        .contains("created")
    {
        assert!(Instant::now() < deadline, "the schema stays as it was");
    }
    let replica = scene.serve();
    let status = until(&cluster, "wrong", "invalid", |status| is(status, "Valid", "False"));
    assert!(status["conditions"].to_string().contains("spec.enforce"), "{status:#}");
    let message = scene.await_event("CPUPolicy/wrong", "CPUPolicyInvalid");
    assert!(message.contains("spec.enforce"), "{message}");
    let output = cluster.output(cluster.admin(), &["events", "--for", "cpupolicy/wrong"]);
    assert!(output.contains("CPUPolicyInvalid"), "{output}");
    let described = cluster.output(cluster.admin(), &["describe", "cpupolicy", "wrong"]);
    assert!(described.contains("the policy is ignored"), "{described}");
    until(&cluster, "intel-pool", "the others are in force", |status| is(status, "Valid", "True"));

    // The next leader does not report it again.
    drop(replica);
    let replica = scene.installation.serve("cpufit-1", &[]);
    replica.until("the next leader", |replica| replica.server.log().contains("became leader"));
    std::thread::sleep(Duration::from_secs(8));
    let about = scene.events().into_iter().filter(|(object, ..)| object == "CPUPolicy/wrong").count();
    assert_eq!(about, 1);
}
