use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::fit::judgement::Depth;
use crate::fit::label;
use crate::judge::{Manifest, judge};
use crate::kubevirt::cluster::ClusterObject;
use crate::kubevirt::wire::JsonText;
use crate::policy::UserName;
use crate::say;
use crate::testing::Tweak;
use crate::testing::cluster::{cluster, migration, read, running, vm, vmi};
use crate::testing::fleet::intel;

const MODEL: &str = "Skylake-Server-noTSX-IBRS";

/// The affinity of pods that a required term of this kind, selecting these pods, has.
fn rule(kind: &str, app: &str) -> Value {
    let term = json!({"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": label::HOSTNAME});
    json!({kind: {"requiredDuringSchedulingIgnoredDuringExecution": [term]}})
}

fn guest(name: &str, node: &str, app: &str, affinity: &Value) -> ClusterObject {
    vmi(running(name, node, MODEL).tweak(|guest| {
        guest["metadata"]["labels"] = json!({"app": app});
        guest["spec"]["affinity"] = affinity.clone();
    }))
}

/// Where the pods are known, explain, check and audit name the nodes that they close, and no longer say that the rules
/// are not judged. The verdict by labels stays.
#[rstest]
#[case::apart(
    "podAntiAffinity",
    "",
    true,
    "node-a fits by labels, and required pod anti-affinity keeps it off (shop/db-2)"
)]
#[case::apart_of_the_other(
    "",
    "podAntiAffinity",
    true,
    "node-a fits by labels, and required pod anti-affinity keeps it off (shop/db-2)"
)]
#[case::apart_where_pods_are_not_known(
    "podAntiAffinity",
    "",
    false,
    "is not judged: by the pods on the nodes kube-scheduler may keep it off any of 4 of the 5 nodes that fit; node-a fits by \
     labels, and required pod anti-affinity keeps it off (shop/db-2)"
)]
#[case::together(
    "podAffinity",
    "",
    true,
    "fit by labels, and its required pod affinity (kubernetes.io/hostname) keeps it off: the pods that it selects are on \
     node-a alone"
)]
#[case::together_where_pods_are_not_known("podAffinity", "", false, "is not judged")]
#[case::no_rules("", "", true, "")]
fn rules_about_pods_are_judged_where_the_pods_are_known(
    #[case] own: &str,
    #[case] others: &str,
    #[case] knows_pods: bool,
    #[case] expected: &str,
    #[values(true, false)] starts: bool,
) {
    let with = if own == "podAffinity" { "cache" } else { "db" };
    let affinity = |kind: &str| if kind.is_empty() { Value::Null } else { rule(kind, with) };
    let source = if starts { Vec::new() } else { vec![guest("db", "node-b", "db", &affinity(own))] };
    let stored = vm("db", MODEL).tweak(|vm| {
        vm["spec"]["template"]["metadata"]["labels"] = json!({"app": "db"});
        vm["spec"]["template"]["spec"]["affinity"] = affinity(own);
    });
    let objects = source.into_iter().chain([guest("db-2", "node-a", with, &affinity(others))]);
    let mut known = World { cluster: cluster("1.9.0", intel(), objects), policies: Vec::new() };
    if knows_pods {
        let other = json!({"metadata": {"name": "web", "namespace": "shop", "labels": {"app": "web"}},
            "spec": {"nodeName": "node-c"}, "status": {"phase": "Running"}});
        let room = std::sync::Arc::make_mut(&mut known.cluster.room);
        room.read("", "Pod", &JsonText(&other.to_string())).expect("well-formed");
    }
    let stored: crate::kubevirt::wire::VirtualMachine = read(stored);
    let vmi = forecast::vmi_of(&stored, &guest_of(&stored, &known.cluster));
    let manifest = if starts {
        Manifest::VirtualMachine(Box::new(stored))
    } else {
        Manifest::Migration(Box::new(read(migration("db"))))
    };
    let mut case = judge(&known, &manifest, UserName::NOBODY, Depth::Full).expect("a guest");
    let by_labels = case.verdict.assessment.clone();
    settle(&mut case, Some(&vmi), &known, &Residents::of(&known));
    assert_eq!(case.verdict.assessment, by_labels, "the verdict is that of labels");
    let said = case.verdict.found(Check::PodRules).map(say::finding::message).unwrap_or_default();
    let expected = if starts { expected.to_owned() } else { expected.replace("4 of the 5", "3 of the 4") };
    assert!(said.contains(&expected), "a node that pods close is said to fit: {said:?}");
    assert_eq!(said.is_empty(), expected.is_empty(), "{said}");
    assert_eq!(
        said.contains("not judged"),
        expected.contains("not judged"),
        "what is judged is said not to be: {said}"
    );
}
