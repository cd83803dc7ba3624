//! Hints beside a verdict: why nodes have no labels, which feature may be meant, and the pod that waits for a node.

use std::collections::BTreeMap;

use super::*;
use crate::fit::node::{Effect, Taint};
use crate::testing::cluster::launcher;
use crate::testing::fleet::feature;

/// Returns the finding of a check in words.
fn found(check: Check, prepared: &Prepared<'_>, cluster: &Cluster) -> Option<String> {
    prepared.judge(cluster, Depth::Full).found(check).map(say::finding::message)
}

#[rstest]
#[case::excluded_by_selector(json!({"nodeSelector": {"virt": "yes"}}), json!({}), json!({}), Some("KubeVirt"))]
#[case::excluded_by_affinity(
    json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
        {"matchExpressions": [{"key": "virt", "operator": "Exists"}]}]}}}}),
    json!({}), json!({}), Some("KubeVirt")
)]
#[case::under_an_operator(json!({"nodeSelector": {"virt": "yes"}}), json!({}), json!({"app.kubernetes.io/managed-by": "hco-operator"}), Some("HyperConverged"))]
#[case::selected(json!({"nodeSelector": {"virt": "yes"}}), json!({"virt": "yes"}), json!({}), Some(""))]
#[case::with_a_heartbeat(json!({"nodeSelector": {"virt": "yes"}}), json!({label::SCHEDULABLE: "false"}), json!({}), None)]
#[case::labelled(json!({"nodeSelector": {"virt": "yes"}}), json!({feature("fpu"): "true"}), json!({}), None)]
#[case::no_placement(json!({}), json!({}), json!({}), Some(""))]
#[case::silent(json!(null), json!({}), json!({}), Some(""))]
fn a_node_without_virt_handler_is_said_to_have_none(
    #[case] placement: Value,
    #[case] labels: Value,
    #[case] of_kubevirt: Value,
    #[case] by: Option<&str>,
) {
    let labels: BTreeMap<String, String> = read(labels);
    let odd = Node { name: "new-1".to_owned(), labels, ..Node::default() };
    let kubevirt = ClusterObject::KubeVirt(Box::new(read(json!({
        "metadata": {"name": "kubevirt", "namespace": "kubevirt", "labels": of_kubevirt},
        "spec": {"workloads": {"nodePlacement": placement}}, "status": {"observedKubeVirtVersion": "v1.9.0"},
    }))));
    let cluster = cluster(three().into_iter().chain([odd]).collect(), [kubevirt]);
    let prepared = of_vm(&read(vm("db", "EPYC-Turin")), &cluster);
    let expected = by.map(|by| match by {
        "" => "no virt-handler has run on new-1, so that nothing labels it: look why its DaemonSet starts none there".to_owned(),
        by => format!(
            "no virt-handler runs on new-1, so that nothing labels it: spec.workloads.nodePlacement of the {by} resource \
             excludes it"
        ),
    });
    assert_eq!(
        found(Check::NoVirtHandler, &prepared, &cluster),
        expected,
        "labels are looked for where nothing writes them"
    );
}

/// A taint for which virt-handler has no toleration is named, with key, value and effect.
#[rstest]
#[case::not_tolerated(json!({}), &[("gpu", "only", Effect::NoSchedule)], Some("its taint gpu=only:NoSchedule"))]
#[case::another_value(
    json!({"tolerations": [{"key": "gpu", "value": "some"}]}),
    &[("gpu", "only", Effect::NoExecute)],
    Some("its taint gpu=only:NoExecute")
)]
#[case::two(
    json!(null),
    &[("gpu", "only", Effect::NoSchedule), ("lab", "", Effect::NoSchedule)],
    Some("its taints gpu=only:NoSchedule and lab:NoSchedule")
)]
#[case::tolerated(json!({"tolerations": [{"key": "gpu", "operator": "Exists"}]}), &[("gpu", "only", Effect::NoSchedule)], Some(""))]
#[case::preferred(json!({}), &[("gpu", "only", Effect::PreferNoSchedule)], Some(""))]
#[case::of_kubernetes(json!({}), &[("node.kubernetes.io/not-ready", "", Effect::NoSchedule)], Some(""))]
fn a_taint_that_keeps_virt_handler_off_is_named(
    #[case] placement: Value,
    #[case] taints: &[(&str, &str, Effect)],
    #[case] expected: Option<&str>,
) {
    let taint = |(key, value, effect): &(&str, &str, Effect)| Taint {
        key: (*key).to_owned(),
        value: (*value).to_owned(),
        effect: *effect,
    };
    let odd = Node { name: "new-1".to_owned(), taints: taints.iter().map(taint).collect(), ..Node::default() };
    let kubevirt = ClusterObject::KubeVirt(Box::new(read(json!({
        "metadata": {"name": "kubevirt", "namespace": "kubevirt"},
        "spec": {"workloads": {"nodePlacement": placement}}, "status": {"observedKubeVirtVersion": "v1.9.0"},
    }))));
    let cluster = cluster(three().into_iter().chain([odd]).collect(), [kubevirt]);
    let prepared = of_vm(&read(vm("db", "EPYC-Turin")), &cluster);
    let expected = expected.map(|taints| match taints {
        "" => "no virt-handler has run on new-1, so that nothing labels it: look why its DaemonSet starts none there".to_owned(),
        taints => format!(
            "no virt-handler runs on new-1, so that nothing labels it: spec.workloads.nodePlacement of the KubeVirt resource \
             has no toleration for {taints}"
        ),
    });
    assert_eq!(
        found(Check::NoVirtHandler, &prepared, &cluster),
        expected,
        "people look for a fault of virt-handler on a node that it is kept off"
    );
}

#[rstest]
#[case::misspelled(
    "avx512-vnni",
    Some(
        "no node offers CPU feature avx512-vnni; 3 of 3 nodes offer the similar avx512vnni: rename it, if that is meant"
    )
)]
#[case::another_feature("svm", None)]
#[case::offered("avx512vnni", None)]
fn a_misspelled_feature_is_compared_with_those_that_nodes_offer(#[case] name: &str, #[case] expected: Option<&str>) {
    let cluster = cluster(three(), []);
    let cpu = json!({"model": "host-model", "features": [{"name": name, "policy": "require"}]});
    let prepared = of_vm(&read(guest(json!({"cpu": cpu}))), &cluster);
    assert_eq!(found(Check::SimilarFeature, &prepared, &cluster).as_deref(), expected);
    let verdict = prepared.judge(&cluster, Depth::Full);
    let field = verdict.found(Check::SimilarFeature).map(|finding| finding.field.as_str());
    assert_eq!(field, expected.map(|_| "spec.template.spec.domain.cpu.features[0].name"));
}

/// The guest, or what it takes its values from, may have changed since its pod was made.
#[rstest]
#[case::waits("", true)]
#[case::runs("node-a", false)]
fn a_pod_that_waits_for_a_node_is_judged_as_it_is(#[case] node: &str, #[case] by_pod: bool) {
    let guest = running("db", node, "host-model").tweak(|guest| guest["status"]["phase"] = json!("Scheduling"));
    let cluster = cluster(three(), [vmi(guest.clone()), launcher(&guest, [feature("fpu"), "zone".to_owned()])]);
    let guest: Vmi = read(guest);
    let pod = cluster.launchers_of(&guest).next().expect("its launcher");
    let predicted = of_vmi(&guest, &cluster);
    let keys = |prepared: &Prepared<'_>| -> Vec<String> {
        prepared.subject.placement.selector.iter().map(|(key, _)| key.to_string()).collect()
    };
    let expected = if by_pod { vec![feature("fpu"), "zone".to_owned()] } else { keys(&predicted) };
    let affinity = predicted.subject.placement.affinity.clone();
    let prepared = waiting(predicted, pod);
    assert_eq!(keys(&prepared), expected, "kube-scheduler reads another selector than the one that is explained");
    assert_eq!(prepared.subject.placement.affinity, affinity, "a description of a pod does not show its affinity");
    let known = prepared.subject.authors.entries.keys().all(|key| expected.contains(key));
    assert!(known, "the guest is said to ask for what its pod does not ask for");
}
