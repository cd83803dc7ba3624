use rstest::rstest;
use serde_json::json;

use super::*;
use crate::testing::Tweak;
use crate::testing::objects::{node, policy, running};

fn guest(namespace: &str, node: &str, spec: Value) -> Value {
    running("db", node, "host-model").tweak(|guest| {
        guest["metadata"]["namespace"] = json!(namespace);
        guest["spec"] = spec;
    })
}

#[test]
fn redaction_keeps_equality_and_order_of_names() {
    let selector = |rack: &str| json!({"nodeSelector": {"acme.example/rack": rack, "kubernetes.io/hostname": "b"}});
    let objects = vec![
        node("b", &json!({"acme.example/rack": "r2", "kubernetes.io/hostname": "b"})),
        node("a", &json!({"acme.example/rack": "r1", "kubernetes.io/hostname": "a"})),
        guest("shop", "b", selector("r2")),
        guest("lab", "a", selector("r1")),
    ];
    let out = redact(objects);
    let text =
        |at: usize, pointer: &str| out[at].pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    assert!(text(1, "/metadata/name") < text(0, "/metadata/name"), "nodes would be listed in another order");
    assert_eq!(text(2, "/status/nodeName"), text(0, "/metadata/name"));
    assert_eq!(text(0, "/metadata/labels/kubernetes.io~1hostname"), text(0, "/metadata/name"));
    assert_eq!(text(2, "/spec/nodeSelector/kubernetes.io~1hostname"), text(0, "/metadata/name"));
    assert_eq!(out[2]["spec"]["nodeSelector"], out[0]["metadata"]["labels"], "the selector would not match");
    assert_eq!(text(2, "/metadata/name"), text(3, "/metadata/name"), "both are called db");
    assert!(text(3, "/metadata/namespace") < text(2, "/metadata/namespace"));
    for name in ["acme", "shop", "\"lab\"", "\"db\"", "\"a\"", "\"r1\""] {
        assert!(out.iter().all(|object| !object.to_string().contains(name)), "{name}: {out:#?}");
    }
}

#[rstest]
#[case::plain_words("cannot migrate VMI: PVC is not shared", "cannot migrate VMI: PVC is not shared")]
#[case::a_claim_that_is_known("PVC db-root is not shared.", "PVC object-1 is not shared.")]
#[case::something_that_is_not_known("PVC other-7 in acme.example/x", "PVC word-2 in word-1/x")]
#[case::numbers("1 of 2", "1 of 2")]
#[case::nothing("", "")]
fn redacted_sentences_use_the_redacted_names(#[case] message: &str, #[case] expected: &str) {
    let spec = json!({"volumes": [{"name": "root", "persistentVolumeClaim": {"claimName": "db-root"}}]});
    let condition =
        json!({"type": "LiveMigratable", "status": "False", "reason": "DisksNotLiveMigratable", "message": message});
    let out = redact(vec![guest("shop", "a", spec).tweak(|guest| guest["status"]["conditions"] = json!([condition]))]);
    assert_eq!(out[0].pointer("/status/conditions/0/message").unwrap(), expected);
    assert_eq!(out[0].pointer("/status/conditions/0/reason").unwrap(), "DisksNotLiveMigratable");
}

#[test]
fn compared_numbers_and_libvirts_features_are_not_redacted() {
    let affinity = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
        {"matchExpressions": [{"key": "acme/generation", "operator": "Gt", "values": ["3"]}]},
    ]}}});
    let refused =
        "guest CPU doesn't match specification: missing features: vmx-exit-load-perf-global-ctrl,pcid on host-7";
    let objects = vec![
        node("n", &json!({"acme/generation": "4", "acme/asset": "4711"})),
        guest("shop", "n", json!({"affinity": affinity}))
            .tweak(|guest| guest["status"]["migrationState"] = json!({"failureReason": refused})),
    ];
    let out = redact(objects);
    let labels = out[0]["metadata"]["labels"].to_string();
    assert!(labels.contains("\"4\"") && !labels.contains("4711"), "{labels}");
    let reason = out[1].pointer("/status/migrationState/failureReason").unwrap().to_string();
    assert!(reason.contains("vmx-exit-load-perf-global-ctrl") && !reason.contains("host-7"), "{reason}");
}

#[rstest]
#[case::a_person("jane", "user-1")]
#[case::a_service_account("system:serviceaccount:ops:bot", "system:serviceaccount:ns-1:user-1")]
#[case::of_kubevirt("system:serviceaccount:kv:kubevirt-controller", "system:serviceaccount:ns-1:kubevirt-controller")]
#[case::of_kubernetes("system:kube-scheduler", "system:kube-scheduler")]
#[case::half_a_service_account("system:serviceaccount:ops", "user-1")]
fn users_are_renamed_but_those_of_kubernetes(#[case] user: &str, #[case] expected: &str) {
    let policy = policy("p", &json!({"exemptions": {"users": [user]}}));
    assert_eq!(redact(vec![policy])[0].pointer("/spec/exemptions/users/0").unwrap(), expected);
}

#[rstest]
#[case::kubernetes("topology.kubernetes.io/zone", true)]
#[case::kubevirt("cpu-model.node.kubevirt.io/Haswell", true)]
#[case::launchers("kubevirt.io", true)]
#[case::a_role("node-role.kubernetes.io/worker", true)]
#[case::a_role_that_people_chose("node-role.kubernetes.io/acme-gold", false)]
#[case::nobodys("app", false)]
#[case::a_company("acme.example/tier", false)]
#[case::a_company_that_looks_alike("notkubernetes.io/tier", false)]
fn keys_of_kubernetes_and_kubevirt_keep_their_names(#[case] key: &str, #[case] expected: bool) {
    assert_eq!(is_public(key), expected);
}

/// A UID of a cluster has the same new one in every snapshot; one that a person could guess is numbered, and numbers of
/// two snapshots are not compared.
#[rstest]
#[case::random("0b9e5c3a-7d41-4f6e-9a2b-001122334455", true)]
#[case::random_in_capitals("0B9E5C3A-7D41-4F6E-9A2B-001122334455", true)]
#[case::the_name_of_a_node("node-a", false)]
#[case::a_hash_of_a_static_pod("3f0c1b9a7e5d4c2b1a09f8e7d6c5b4a3", false)]
#[case::other_groups("0b9e5c3a-7d41-4f6e-9a2b0-01122334455", false)]
#[case::no_hex("0b9e5c3a-7d41-4f6e-9a2b-00112233445x", false)]
fn a_random_uid_is_the_same_in_every_snapshot(#[case] uid: &str, #[case] is_random: bool) {
    let alone = guest("shop", "a", json!({})).tweak(|guest| guest["metadata"]["uid"] = json!(uid));
    let before = guest("lab", "a", json!({}))
        .tweak(|guest| guest["metadata"]["uid"] = json!("00000000-0000-4000-8000-000000000000"));
    let new = |objects: Vec<Value>| -> String {
        let out = redact(objects);
        out.last().and_then(|guest| guest["metadata"]["uid"].as_str()).unwrap().to_owned()
    };
    let (one, two) = (new(vec![alone.clone()]), new(vec![before, alone]));
    assert!(!one.contains(uid) && !two.contains(uid), "the UID is disclosed: {one}, {two}");
    assert_eq!((is_redacted(&one), comparable(&one).is_some()), (is_random, is_random), "{one}");
    assert!(!is_random || one == two, "diff would say that the guest was created again: {one}, {two}");
}
