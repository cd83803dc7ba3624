use proptest::prelude::*;
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

/// Returns a node with a tainted label and a resource, and its waiting launcher with a message of the scheduler.
fn pending(key: &str, value: &str, resource: &str, message: &str) -> Vec<Value> {
    let node = node("n", &json!({key: value})).tweak(|node| {
        node["spec"] = json!({"taints": [{"key": key, "value": value, "effect": "NoSchedule"}]});
        node["status"] = json!({"allocatable": {"cpu": "8", resource: "0"}});
    });
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "launcher", "namespace": "shop"},
        "status": {"conditions": [{"type": "PodScheduled", "status": "False", "message": message}]}});
    vec![node, pod]
}

fn message(out: &[Value]) -> &str {
    out[1].pointer("/status/conditions/0/message").and_then(Value::as_str).unwrap_or_default()
}

#[rstest]
#[case::a_taint(
    "1 node(s) had untolerated taint {tenant: acmebank}.",
    "1 node(s) had untolerated taint {label-2: value-1}."
)]
#[case::a_resource("1 Insufficient acme.example/gpu. preemption: 0/1", "1 Insufficient label-1. preemption: 0/1")]
#[case::of_kubernetes(
    "1 Insufficient hugepages-1Gi, 1 Insufficient cpu.",
    "1 Insufficient hugepages-1Gi, 1 Insufficient cpu."
)]
#[case::a_public_taint("had taint {node.kubernetes.io/not-ready: }", "had taint {node.kubernetes.io/not-ready: }")]
#[case::alone("tenant acmebank lacks acme.example/gpu", "label-2 value-1 lacks label-1")]
#[case::a_pair("acme.example/gpu=acmebank...", "label-1=value-1...")]
fn sentences_name_taints_and_resources_as_the_objects_do(#[case] said: &str, #[case] expected: &str) {
    let out = redact(pending("tenant", "acmebank", "acme.example/gpu", said));
    assert_eq!(message(&out), expected);
}

/// A label may have the text of a word that the scheduler's sentence is parsed by.
#[rstest]
fn a_label_that_reads_like_a_word_of_the_scheduler_does_not_break_its_sentence(
    #[values("node", "taint", "Pod", "nodes", "available", "7")] text: &str,
) {
    let said = "0/7 nodes are available: 7 node(s) had untolerated taint {gpu: only}, 1 node(s) didn't match Pod's node affinity/selector.";
    let out = redact(pending(text, text, "acme.example/gpu", said));
    let expected = said.replace("{gpu: only}", "");
    let (head, tail) = message(&out).split_once('{').unwrap();
    assert_eq!(format!("{head}{}", tail.split_once('}').unwrap().1), expected, "the sentence is no longer understood");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// A redacted snapshot is given to strangers.
    #[test]
    fn no_sentence_discloses_a_taint_a_resource_or_a_label(
        key in "(xq[a-z]{1,3}\\.[a-z]{2}/)?xq[a-z]{1,4}", value in "xq[a-z0-9]{1,4}([-_.][a-z]{1,3})?",
        resource in "xq[a-z]{1,4}\\.[a-z]{2}/xq[a-z]{1,4}",
        shape in 0_usize..5,
    ) {
        let said = [
            format!("0/1 nodes are available: 1 node(s) had untolerated taint {{{key}: {value}}}, 1 Insufficient {resource}."),
            format!("1 Insufficient {resource}, 1 node(s) had taint {{{key}: {value}}}, that the pod didn't tolerate."),
            format!("label {key} is {value}; resource {resource}: none"),
            format!("{key}={value} and {resource}..."),
            format!("({resource}) [{key}] \"{value}\""),
        ];
        let out = redact(pending(&key, &value, &resource, &said[shape]));
        let message = message(&out);
        prop_assert!(!message.contains("xq"), "{} discloses a name: {}", said[shape], message);
        let labels = out[0]["metadata"]["labels"].as_object().unwrap();
        let (new_key, new_value) = labels.iter().next().unwrap();
        let new_value = new_value.as_str().unwrap();
        prop_assert!(message.contains(new_key) && message.contains(new_value), "{} lacks the new names of {:?}", message, labels);
        let is_named = |resource: &String| resource != "cpu" && message.contains(resource.as_str());
        prop_assert!(out[0]["status"]["allocatable"].as_object().unwrap().keys().any(is_named), "{}", message);
    }
}
