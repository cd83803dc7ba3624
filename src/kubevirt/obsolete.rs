//! The CPU models that KubeVirt leaves out of the nodes' labels: `spec.configuration.obsoleteCPUModels`.
//!
//! Mirrors `pkg/virt-handler/node-labeller`: `filterCpuModels` of `cpu_plugin.go`, `prepareLabels` of
//! `node_labeller.go`, `DefaultObsoleteCPUModels` of `util/util.go` (KubeVirt). A name in the list withholds its model,
//! regardless of its value. A list replaces the built-in one; an empty list counts as none. No labeller has read
//! `minCPUModel` since 0.56.

use std::collections::BTreeSet;

use super::cluster::Cluster;
use super::release::Release;
use super::wire::Configuration;
use crate::fit::label::{self, Family};
use crate::fit::node::Node;
use crate::fit::placement::{Affinity, Placement};
use crate::fit::subject::{Obsolete, ObsoleteModels};

/// The models that are withheld if no list is set; each also in a version `-v1`.
const BUILT_IN: [&str; 17] = [
    "486",
    "pentium",
    "pentium2",
    "pentium3",
    "pentiumpro",
    "coreduo",
    "n270",
    "core2duo",
    "Conroe",
    "athlon",
    "phenom",
    "qemu64",
    "qemu32",
    "kvm64",
    "kvm32",
    "Opteron_G1",
    "Opteron_G2",
];

/// Returns the list that withholds a model's labels; `None` if none does. Mirrors `filterCpuModels`.
pub(crate) fn withheld(configuration: &Configuration, model: &str) -> Option<Obsolete> {
    let list = &configuration.obsolete_cpu_models;
    if !list.is_empty() {
        return list.contains_key(model).then_some(Obsolete::Configured);
    }
    BUILT_IN.contains(&model.strip_suffix("-v1").unwrap_or(model)).then_some(Obsolete::BuiltIn)
}

/// Whether the list would be empty without this model, and the built-in one holds it too: `omitempty` makes an empty
/// list none.
fn is_in_both(configuration: &Configuration, model: &str) -> bool {
    configuration.obsolete_cpu_models.keys().all(|listed| listed == model)
        && withheld(&Configuration::default(), model).is_some()
}

/// Returns the CPU models that a selector requires.
fn asked<'p>(placement: &'p Placement<'_>) -> impl Iterator<Item = &'p str> {
    placement.selector.iter().map(|(key, _)| &**key).filter(|key| Family::of(key).is_model()).map(label::name)
}

/// Returns each required model that is withheld, with the list that withholds it.
pub(super) fn required(placement: &Placement<'_>, cluster: &Cluster) -> Vec<(String, Obsolete)> {
    let found = asked(placement).filter_map(|model| {
        let by = match withheld(&cluster.config.configuration, model)? {
            Obsolete::Configured if cluster.config.is_hyperconverged => Obsolete::HyperConverged,
            Obsolete::BuiltIn if cluster.config.is_hyperconverged => Obsolete::AlwaysListed,
            Obsolete::Configured if is_in_both(&cluster.config.configuration, model) => Obsolete::Both,
            by => by,
        };
        Some((model.to_owned(), by))
    });
    found.collect()
}

/// Returns the edits of the list that would release the models a guest requires; `None` if no edit does.
pub(super) fn list(placement: &Placement<'_>, cluster: &Cluster) -> Option<ObsoleteModels> {
    let configuration = &cluster.config.configuration;
    let mut models: BTreeSet<String> = asked(placement).map(str::to_owned).collect();
    if placement.affinity.as_ref().is_some_and(Affinity::avoids_obsolete_host_model) {
        models.extend(cluster.withheld.host_models(&cluster.fleet).iter().cloned());
    }
    // Entries that the HyperConverged operator always writes cannot be removed through its resource.
    let is_built_in = |model: &str| withheld(&Configuration::default(), model).is_some();
    models.retain(|model| {
        withheld(configuration, model).is_some() && !(cluster.config.is_hyperconverged && is_built_in(model))
    });
    if models.is_empty() {
        return None;
    }
    let listed = &configuration.obsolete_cpu_models;
    let mut edits: Vec<(String, bool)> =
        models.iter().filter(|model| listed.contains_key(*model)).map(|model| (model.clone(), false)).collect();
    // An empty list counts as none, so the built-in one applies.
    let is_left_empty = listed.keys().all(|model| models.contains(model));
    let built_in = BUILT_IN.iter().flat_map(|name| [(*name).to_owned(), format!("{name}-v1")]);
    if is_left_empty && models.iter().any(|model| is_built_in(model)) {
        edits.extend(built_in.filter(|name| !models.contains(name)).map(|name| (name, true)));
    }
    let rest = listed.keys().filter(|model| !models.contains(*model) && !is_built_in(model)).cloned().collect();
    Some(ObsoleteModels { models: models.into_iter().collect(), edits, rest, owner: cluster.list_owner.clone() })
}

/// Returns a node with the labels that the labeller will have set within three minutes, as far as they are known
/// (`prepareLabels`). Labels of models that are no longer withheld return on hosts that can run them, but which hosts
/// can is not known. `None` if nothing changes.
pub(crate) fn relabelled(node: &Node, configuration: &Configuration, release: Release) -> Option<Node> {
    // A node without virt-handler has no labeller, and one with `skip-node` keeps its labels.
    if node.skip_node.is_some() || !node.labels.contains_key(label::SCHEDULABLE) {
        return None;
    }
    let mut out = node.clone();
    out.labels.retain(|key, _| !Family::of(key).is_model() || withheld(configuration, label::name(key)).is_none());
    let mut host_models = node.labels.keys().filter(|key| Family::of(key) == Family::HostModelCpu);
    // The built-in list does not make a host model obsolete: `prepareLabels` uses the configured one only.
    let is_obsolete = host_models.any(|key| {
        let by = withheld(configuration, label::name(key));
        by.is_some_and(|by| by != Obsolete::BuiltIn)
    });
    if is_obsolete && release.avoids_obsolete_host_models() {
        out.labels.insert(label::OBSOLETE_HOST_MODEL.to_owned(), "true".to_owned());
    } else {
        out.labels.retain(|key, _| !label::is_obsolete_host_model(key));
    }
    (out != *node).then_some(out)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;
    use crate::kubevirt::cluster::ClusterObject;
    use crate::testing::cluster::read;

    fn configuration(list: &Value) -> Configuration {
        read(json!({"obsoleteCPUModels": list}))
    }

    #[rstest]
    #[case::built_in(json!(null), "Conroe", Some(Obsolete::BuiltIn))]
    #[case::built_in_version(json!({}), "kvm64-v1", Some(Obsolete::BuiltIn))]
    #[case::another_version(json!(null), "Haswell-v1", None)]
    #[case::listed(json!({"Westmere": true}), "Westmere", Some(Obsolete::Configured))]
    #[case::listed_as_false(json!({"Westmere": false}), "Westmere", Some(Obsolete::Configured))]
    #[case::listed_without_a_value(json!({"Westmere": null}), "Westmere", Some(Obsolete::Configured))]
    #[case::a_list_takes_the_place_of_the_other(json!({"Westmere": true}), "Conroe", None)]
    #[case::each_spelling_by_itself(json!({"Westmere": true}), "Westmere-IBRS", None)]
    fn a_model_listed_as_obsolete_is_withheld_for_every_value(
        #[case] list: Value,
        #[case] model: &str,
        #[case] expected: Option<Obsolete>,
    ) {
        assert_eq!(withheld(&configuration(&list), model), expected);
    }

    /// The operator of OpenShift Virtualization reverts edits of the KubeVirt resource.
    #[test]
    fn the_author_of_the_list_is_known() {
        let list_of = |owner: &Value| {
            let spec = json!({"configuration": {"obsoleteCPUModels": {"Westmere": true}}});
            let kubevirt = json!({"metadata": {"name": "kubevirt", "ownerReferences": [owner]}, "spec": spec});
            let cluster = Cluster::new([ClusterObject::KubeVirt(Box::new(read(kubevirt)))], None);
            let mut placement = Placement::default();
            placement.selector.insert(MODEL, "true");
            let (_, by) = required(&placement, &cluster).remove(0);
            let is_said = by == Obsolete::HyperConverged;
            assert_eq!(is_said, cluster.config.is_hyperconverged, "the remedy would edit another object");
            Some(by)
        };
        let owner = |kind: &str, controls: bool| json!({"kind": kind, "name": "a", "uid": "u", "controller": controls});
        assert_eq!(list_of(&owner("HyperConverged", true)), Some(Obsolete::HyperConverged));
        assert_eq!(list_of(&owner("HyperConverged", false)), Some(Obsolete::Configured));
        assert_eq!(list_of(&owner("Other", true)), Some(Obsolete::Configured));
    }

    fn node(labels: &[&str]) -> Node {
        let labels = labels.iter().map(|key| ((*key).to_owned(), "true".to_owned()));
        Node { name: "n1".to_owned(), labels: labels.collect(), ..Node::default() }
    }

    const HOST: &str = "host-model-cpu.node.kubevirt.io/Westmere";
    const MODEL: &str = "cpu-model.node.kubevirt.io/Westmere";
    const KNOWN: &str = "cpu-model-migration.node.kubevirt.io/Westmere";

    #[test]
    fn the_labellers_next_run_follows_the_obsolete_list() {
        let listed = configuration(&json!({"Westmere": true}));
        let before = node(&[label::SCHEDULABLE, HOST, MODEL, KNOWN, "cpu-feature.node.kubevirt.io/aes"]);
        let after = node(&[label::SCHEDULABLE, HOST, "cpu-feature.node.kubevirt.io/aes", label::OBSOLETE_HOST_MODEL]);
        assert_eq!(relabelled(&before, &listed, Release::NEWEST), Some(after.clone()));
        assert_eq!(relabelled(&after, &listed, Release::NEWEST), None, "it would be said at each edit");
        let back = relabelled(&after, &configuration(&json!(null)), Release::NEWEST);
        let back = back.map(|node| node.labels.contains_key(label::OBSOLETE_HOST_MODEL));
        assert_eq!(back, Some(false), "host-model guests would stay away");
    }

    #[test]
    fn labels_stay_on_nodes_without_a_labeller() {
        let listed = configuration(&json!({"Westmere": true}));
        assert_eq!(relabelled(&node(&[HOST, MODEL, KNOWN]), &listed, Release::NEWEST), None);
        let frozen = Node { skip_node: Some("false".to_owned()), ..node(&[label::SCHEDULABLE, HOST, MODEL]) };
        assert_eq!(relabelled(&frozen, &listed, Release::NEWEST), None);
    }
}
