//! Requirements of a pod that KubeVirt does not render: what the cluster adds to it when it is created. They are named,
//! not judged: whether the plugin or webhook that adds them is on is not known. A launcher that exists has them
//! already.

use std::collections::BTreeMap;

use super::finding;
use crate::fit::bits::Bits;
use crate::fit::fleet::Fleet;
use crate::fit::label::{self, Family};
use crate::fit::placement::Placement;
use crate::fit::plural::{fold, number};
use crate::fit::verdict::{Check, Finding};
use crate::kubevirt::cluster::{Cluster, Launcher};
use crate::well_known::{MIGRATION_UID, POD_NODE_SELECTOR, PROJECT_NODE_SELECTOR, WellKnown};

/// Returns notes about what is added to a pod of this namespace with this predicted placement. `launcher`: the one that
/// the guest runs in.
pub(super) fn findings(
    placement: &Placement<'_>,
    namespace: &str,
    launcher: Option<&Launcher>,
    cluster: &Cluster,
) -> Vec<Finding> {
    let fleet = &cluster.fleet;
    let is_new = |(key, value): &(String, String)| placement.get(key) != Some(value.as_str());
    let annotations = cluster.namespace_annotations(namespace);
    let of_namespace = |known: &WellKnown| -> Vec<(String, String)> {
        let text = annotations.and_then(|annotations| known.value(annotations)).unwrap_or_default();
        pairs(text).into_iter().filter(is_new).collect()
    };
    // OpenShift's plugin leaves pods alone where the other annotation exists.
    let kubernetes = of_namespace(&POD_NODE_SELECTOR);
    let by = [
        (&POD_NODE_SELECTOR, "where the plugin PodNodeSelector is on,", kubernetes.clone()),
        (
            &PROJECT_NODE_SELECTOR,
            "on OpenShift",
            if kubernetes.is_empty() { of_namespace(&PROJECT_NODE_SELECTOR) } else { Vec::new() },
        ),
    ];
    let added: Vec<(String, String)> = by.iter().flat_map(|(_, _, pairs)| pairs.clone()).collect();
    let mut words: Vec<String> = Vec::new();
    for (known, wherever, pairs) in by.iter().filter(|(_, _, pairs)| !pairs.is_empty()) {
        words.push(format!(
            "{wherever} its pod also gets {} ({} of its namespace): {}",
            shown(pairs),
            known.key,
            bearers(pairs, fleet)
        ));
    }
    // The target of an earlier migration has what that one asked for; so have KubeVirt's own keys of earlier releases.
    let is_first = |pod: &&Launcher| !pod.labels.is_empty() && !MIGRATION_UID.is_set(&pod.labels);
    let is_foreign = |key: &str| {
        let is_own = key == label::ARCH || key == label::CPU_MANAGER_OLD || key.starts_with("kubevirt.io/");
        Family::of(key) == Family::Other && !is_own
    };
    let of_launcher: Vec<(String, String)> = launcher
        .filter(is_first)
        .into_iter()
        .flat_map(|pod| pod.placement.selector.iter())
        .filter(|(key, _)| is_foreign(key))
        .map(|(key, value)| (key.to_string(), value.to_string()))
        .filter(|pair| is_new(pair) && !added.contains(pair))
        .collect();
    if !of_launcher.is_empty() {
        let them = number(of_launcher.len(), "it", "them");
        words.push(format!(
            "its launcher has {}, which KubeVirt does not ask for now; a webhook or plugin that added {them} adds {them} to the \
             target pod too: {}",
            shown(&of_launcher),
            bearers(&of_launcher, fleet)
        ));
    }
    let class = &cluster.config.configuration.default_runtime_class;
    if !class.is_empty() {
        words.push(format!(
            "its pod gets the runtime class {class} (configuration.defaultRuntimeClass): a node selector and tolerations of that \
             RuntimeClass are not judged"
        ));
    }
    words.into_iter().map(|words| finding(Check::Assumed, "", words)).collect()
}

/// Reads `a=b,c=d`. Mirrors `ConvertSelectorToLabelsMap` of `k8s.io/apimachinery/pkg/labels/labels.go`; malformed
/// parts, with which no pod is admitted, are left out.
fn pairs(text: &str) -> BTreeMap<String, String> {
    let pair = |part: &str| part.split_once('=').map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()));
    text.split(',').filter_map(pair).collect()
}

fn shown(pairs: &[(String, String)]) -> String {
    fold(pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())), 2)
}

/// Returns `node-a has them`, of the nodes with all these labels; many are counted.
fn bearers(pairs: &[(String, String)], fleet: &Fleet) -> String {
    let mut nodes = Bits::all(fleet.len());
    for (key, value) in pairs {
        nodes.intersect(&fleet.bearing(key, value));
    }
    let them = number(pairs.len(), "it", "them");
    match nodes.count() {
        0 => format!("no node has {them}"),
        1 => format!("{} alone has {them}", fleet.names(&nodes).join(", ")),
        count => format!("{count} of {} nodes have {them}", fleet.len()),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;
    use crate::kubevirt::cluster::ClusterObject;
    use crate::kubevirt::subject;
    use crate::testing::Tweak;
    use crate::testing::cluster::{cluster, launcher, read, running, vm, vmi};
    use crate::testing::fleet::{cascade_lake, set};

    const PROJECT: &str = PROJECT_NODE_SELECTOR.key;
    const KUBERNETES: &str = POD_NODE_SELECTOR.key;

    /// A start and a migration name what the cluster adds to their pods, with the nodes that have it.
    #[rstest]
    #[case::nothing(json!({}), json!({}), "")]
    #[case::openshift(
        json!({PROJECT: "env=virt"}), json!({}),
        "on OpenShift its pod also gets env=virt (openshift.io/node-selector of its namespace): n1 alone has it"
    )]
    #[case::kubernetes(
        json!({KUBERNETES: "env=virt, disk=ssd"}), json!({}),
        "where the plugin PodNodeSelector is on, its pod also gets disk=ssd, env=virt (scheduler.alpha.kubernetes.io/node-selector \
         of its namespace): no node has them"
    )]
    #[case::both(
        json!({PROJECT: "env=virt", KUBERNETES: "env=other"}), json!({}),
        "where the plugin PodNodeSelector is on, its pod also gets env=other (scheduler.alpha.kubernetes.io/node-selector of its \
         namespace): no node has it"
    )]
    #[case::empty(json!({PROJECT: ""}), json!({}), "")]
    #[case::asked_for_already(json!({PROJECT: "pool=a"}), json!({}), "")]
    #[case::runtime_class(
        json!({}), json!({"defaultRuntimeClass": "kata"}),
        "its pod gets the runtime class kata (configuration.defaultRuntimeClass): a node selector and tolerations of that RuntimeClass \
         are not judged"
    )]
    fn what_the_cluster_adds_to_pods_is_named(
        #[case] annotations: Value,
        #[case] configuration: Value,
        #[case] expected: &str,
        #[values(true, false)] starts: bool,
    ) {
        let namespace = json!({"metadata": {"name": "shop", "annotations": annotations}});
        let kubevirt = json!({"metadata": {"name": "kubevirt", "namespace": "kubevirt"}, "spec": {"configuration": configuration}});
        let asks = json!({"pool": "a"});
        let guest = running("db", "n1", "host-model").tweak(|guest| guest["spec"]["nodeSelector"] = asks.clone());
        let stored = vm("web", "host-model").tweak(|vm| vm["spec"]["template"]["spec"]["nodeSelector"] = asks.clone());
        let objects =
            [ClusterObject::Namespace(read(namespace)), ClusterObject::KubeVirt(Box::new(read(kubevirt))), vmi(guest)];
        let nodes = ["n1", "n2", "n3"].map(|name| cascade_lake(name).tweak(|node| set(node, "pool", "a")));
        let nodes = nodes
            .into_iter()
            .map(|node| if node.name == "n1" { node.tweak(|node| set(node, "env", "virt")) } else { node });
        let cluster = cluster("1.9.0", nodes.collect(), objects);
        let prepared = if starts {
            subject::of_vm(&read(stored), &cluster)
        } else {
            subject::of_running(cluster.vmi("shop", "db").expect("a guest"), &cluster).expect("it runs")
        };
        let said: Vec<&str> =
            prepared.notes.iter().filter(|note| note.field.is_empty()).filter_map(Finding::words).collect();
        assert_eq!(said.join("; "), expected, "a node that the pod may not use is said to fit");
    }

    /// A launcher shows what a webhook adds to the pods of its guest.
    #[rstest]
    #[case::more(&["pool", "virt"], false, "its launcher has virt=true, which KubeVirt does not ask for now; a webhook or plugin that \
        added it adds it to the target pod too: n1 alone has it")]
    #[case::of_an_earlier_migration(&["pool", "virt"], true, "")]
    #[case::of_kubevirt(&["pool", "kubevirt.io/sev", "cpumanager"], false, "")]
    #[case::inherited(&["pool", "cpu-feature.node.kubevirt.io/fpu"], false, "")]
    #[case::nothing(&["pool"], false, "")]
    fn what_a_launcher_has_beyond_the_prediction_is_named(
        #[case] keys: &[&str],
        #[case] migrated: bool,
        #[case] expected: &str,
    ) {
        let guest =
            running("db", "n1", "host-model").tweak(|guest| guest["spec"]["nodeSelector"] = json!({"pool": "true"}));
        let pod = launcher(&guest, keys.iter().map(ToString::to_string)).tweak(|pod| {
            if let ClusterObject::Launcher(pod) = pod {
                let key = if migrated { MIGRATION_UID.key } else { "app" };
                pod.labels.insert(key.to_owned(), "db".to_owned());
            }
        });
        let nodes = vec![cascade_lake("n1").tweak(|node| set(node, "virt", "true")), cascade_lake("n2")];
        let cluster = cluster("1.9.0", nodes, [vmi(guest), pod]);
        let prepared = subject::of_running(cluster.vmi("shop", "db").expect("a guest"), &cluster).expect("it runs");
        let said: Vec<&str> = prepared.notes.iter().filter_map(Finding::words).collect();
        assert_eq!(said.join("; "), expected, "a node that the target pod may not use is said to fit");
    }
}
