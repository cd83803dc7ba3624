//! Requirements of a pod that KubeVirt does not render: what the cluster adds to it when it is created. They are named,
//! not judged: whether the plugin or webhook that adds them is on is not known. A launcher that exists has them
//! already.

use std::collections::{BTreeMap, BTreeSet};

use super::finding;
use crate::fit::bits::Bits;
use crate::fit::fleet::Fleet;
use crate::fit::label::{self, Family};
use crate::fit::node::{Effect, Taint};
use crate::fit::placement::Placement;
use crate::fit::plural::{fold, fold_names, number};
use crate::fit::verdict::{Check, Finding};
use crate::kubevirt::cluster::{Cluster, Launcher};
use crate::well_known::{MIGRATION_UID, POD_NODE_SELECTOR, PROJECT_NODE_SELECTOR, WellKnown};

/// The predicted pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Predicted {
    Start,
    Target,
}

/// Returns notes about what is added to a pod of this namespace with this predicted placement. `launcher`: the one that
/// the guest runs in.
pub(super) fn findings(
    placement: &Placement<'_>,
    namespace: &str,
    (predicted, launcher): (Predicted, Option<&Launcher>),
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
    // A node that fits by all else may not be used.
    let is_in_the_way = !added.is_empty() && {
        let mut out = fleet.look_up(placement).passes().fitting;
        out.subtract(&with_all(&added, fleet));
        !out.is_empty()
    };
    let of_namespaces = words.len();
    // The target of an earlier migration has what that one asked for; so have KubeVirt's own keys of earlier releases.
    let is_first = |pod: &&Launcher| !pod.labels.is_empty() && !MIGRATION_UID.is_set(&pod.labels);
    let is_foreign = |key: &str| {
        let is_own = key == label::ARCH || key == label::CPU_MANAGER_OLD || key.starts_with("kubevirt.io/");
        Family::of(key) == Family::Other && !is_own
    };
    let of_launcher: Vec<(String, String)> = launcher
        .filter(|_| predicted == Predicted::Target)
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
    words.extend(launcher.and_then(|pod| tolerated(placement, &pod.placement, fleet)));
    let class = &cluster.config.configuration.default_runtime_class;
    if !class.is_empty() {
        words.push(format!(
            "its pod gets the runtime class {class} (configuration.defaultRuntimeClass): a node selector and tolerations of that \
             RuntimeClass are not judged"
        ));
    }
    // A note without a field is printed if something is wrong; with one it is printed in any case.
    let field = |at: usize| if is_in_the_way && at < of_namespaces { NAMESPACE } else { "" };
    words.into_iter().enumerate().map(|(at, words)| finding(Check::Assumed, field(at), words)).collect()
}

const NAMESPACE: &str = "metadata.namespace";

/// Whether a launcher tolerates taints of nodes that the predicted pod does not.
pub(super) fn tolerates_more(placement: &Placement<'_>, launcher: Option<&Launcher>, cluster: &Cluster) -> bool {
    launcher.is_some_and(|pod| tolerated(placement, &pod.placement, &cluster.fleet).is_some())
}

/// Returns a note about taints that a launcher tolerates and the target pod, as KubeVirt renders it, does not: the
/// plugins `ExtendedResourceToleration` and `PodTolerationRestriction`, and webhooks, add tolerations to each pod.
fn tolerated(placement: &Placement<'_>, launcher: &Placement<'_>, fleet: &Fleet) -> Option<String> {
    // Kubernetes itself sets these taints, and its plugins tolerate them for a while.
    let is_own = |taint: &Taint| taint.key.starts_with("node.kubernetes.io/");
    let is_added = |taint: &&Taint| {
        let keeps_off = taint.effect != Effect::PreferNoSchedule && !placement.tolerates(taint);
        keeps_off && launcher.tolerates(taint) && !is_own(taint)
    };
    if placement.tolerations == launcher.tolerations {
        return None;
    }
    let mut taints = BTreeSet::new();
    let mut nodes = Bits::none(fleet.len());
    for node in Bits::all(fleet.len()).iter() {
        let added: Vec<&Taint> = fleet.taints(node).iter().filter(is_added).collect();
        if !added.is_empty() {
            nodes.insert(node);
        }
        taints.extend(added.into_iter().map(Taint::to_string));
    }
    let taints: Vec<String> = taints.into_iter().collect();
    let count = taints.len();
    let (they, keep) = (number(count, "it", "they"), number(count, "does", "do"));
    (!taints.is_empty()).then(|| {
        format!(
            "its launcher tolerates {}, which KubeVirt does not ask for; if a plugin adds this to each of its pods, {they} {keep} not \
             keep it off {}",
            fold_names(&taints, 1),
            fold_names(&fleet.names(&nodes), 2)
        )
    })
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

/// Returns the nodes with all these labels.
fn with_all(pairs: &[(String, String)], fleet: &Fleet) -> Bits {
    let mut nodes = Bits::all(fleet.len());
    for (key, value) in pairs {
        nodes.intersect(&fleet.bearing(key, value));
    }
    nodes
}

/// Returns `node-a has them`, of the nodes with all these labels; many are counted.
fn bearers(pairs: &[(String, String)], fleet: &Fleet) -> String {
    let nodes = with_all(pairs, fleet);
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
    use crate::fit::judgement::Depth;
    use crate::fit::placement::{Toleration, TolerationOperator};
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
        let of_cluster = |note: &&Finding| note.field.is_empty() || note.field == NAMESPACE;
        let said: Vec<&str> = prepared.notes.iter().filter(of_cluster).filter_map(Finding::words).collect();
        assert_eq!(said.join("; "), expected, "a node that the pod may not use is said to fit");
        let verdict = prepared.judge(&cluster, Depth::Full);
        let warned = crate::say::speak(&prepared, &verdict).notes;
        let excludes = expected.contains("node-selector");
        assert_eq!(
            warned.iter().any(|note| note == expected),
            excludes,
            "the user that applies the guest does not learn it: {warned:?}"
        );
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

    /// The target pod is created like the launcher, so a plugin that added a toleration adds it again.
    #[rstest]
    #[case::added(&["gpu"], false, "its launcher tolerates gpu=only:NoSchedule, which KubeVirt does not ask for; if a plugin adds this \
        to each of its pods, it does not keep it off n2")]
    #[case::asked_for(&["gpu"], true, "")]
    #[case::of_no_taint(&["other"], false, "")]
    #[case::of_kubernetes(&["node.kubernetes.io/unreachable"], false, "")]
    fn a_toleration_of_the_launcher_alone_is_named(
        #[case] keys: &[&str],
        #[case] is_asked: bool,
        #[case] expected: &str,
    ) {
        let tolerations: Vec<Value> = keys.iter().map(|key| json!({"key": key, "operator": "Exists"})).collect();
        let guest = running("db", "n1", "host-model").tweak(|guest| {
            if is_asked {
                guest["spec"]["tolerations"] = json!(tolerations);
            }
        });
        let pod = launcher(&guest, Vec::<String>::new()).tweak(|pod| {
            if let ClusterObject::Launcher(pod) = pod {
                let own = |key: &&str| Toleration {
                    key: (*key).to_owned(),
                    operator: TolerationOperator::Exists,
                    ..Toleration::default()
                };
                let mut placement = (*pod.placement).clone();
                placement.tolerations = keys.iter().map(own).collect();
                pod.placement = placement.into();
            }
        });
        let taint =
            |key: &str, value: &str| Taint { key: key.to_owned(), value: value.to_owned(), effect: Effect::NoSchedule };
        let mut nodes = vec![cascade_lake("n1"), cascade_lake("n2")];
        nodes[1].taints = vec![taint("gpu", "only"), taint("node.kubernetes.io/unreachable", "")];
        let cluster = cluster("1.9.0", nodes, [vmi(guest), pod]);
        let prepared = subject::of_running(cluster.vmi("shop", "db").expect("a guest"), &cluster).expect("it runs");
        let said: Vec<&str> = prepared.notes.iter().filter_map(Finding::words).collect();
        assert_eq!(said.join("; "), expected, "a node that the target pod may use is said to be closed to it");
        assert_eq!(
            prepared.subject.restart.is_none(),
            !expected.is_empty(),
            "a restart is said to leave the guest down, and a plugin opens the nodes"
        );
    }
}
