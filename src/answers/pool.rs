//! The nodes that a policy selects, the models that they can run, and the features that they lack.

use std::collections::BTreeSet;

use super::NAMED;
use crate::enforce::model::{self};
use crate::fit::bits::Bits;
use crate::fit::fleet::{Fleet, NodeIndex};
use crate::fit::label::{self, Family};
use crate::fit::models;
use crate::kubevirt::cluster::Cluster;
use crate::policy::Policy;
use crate::say::plural::{self, fold_names};
use crate::well_known::{self, WellKnown};

/// Whether the configuration withholds a model.
fn is_withheld(cluster: &Cluster, model: &str) -> bool {
    cluster.withheld.models.contains(model)
}

/// The nodes of a policy on which its guests can run: selected, x86, and with a virt-handler.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    pub(crate) nodes: Bits,
}

impl Pool {
    pub(crate) fn of(fleet: &Fleet, policy: &Policy) -> Self {
        let mut nodes = guest_nodes(fleet);
        nodes.intersect(&model::pool(&policy.node_selector, fleet));
        Self { nodes }
    }

    pub(crate) fn usable(&self, fleet: &Fleet, model: &str) -> Bits {
        let mut usable = fleet.bearing(&format!("{}{model}", label::CPU_MODEL), "true");
        usable.intersect(&self.nodes);
        usable
    }

    /// Returns a note about a common model: the nodes that cannot run it or, if all can, those that cannot run the next
    /// higher one.
    pub(crate) fn of_model(&self, cluster: &Cluster, model: &str) -> Option<String> {
        let withheld = || {
            is_withheld(cluster, model)
                .then(|| format!("obsoleteCPUModels withholds {model}: its labels go within 3 minutes"))
        };
        let cannot_run = self.cannot_run(&cluster.fleet, model);
        cannot_run.or_else(withheld).or_else(|| next_higher(cluster, &self.nodes, model))
    }

    /// Returns a note about the nodes that cannot run a common model: their number and names, and the features that the
    /// first one lacks.
    fn cannot_run(&self, fleet: &Fleet, model: &str) -> Option<String> {
        let usable = self.usable(fleet, model);
        let mut others = self.nodes.clone();
        others.subtract(&usable);
        let names = fleet.names(&others);
        let first = fleet.find(names.first()?)?;
        if usable.is_empty() {
            let mut known = fleet.bearing(&format!("{}{model}", label::CPU_MODEL_MIGRATION), "true");
            known.intersect(&self.nodes);
            let total = self.nodes.count();
            return Some(format!(
                "no selected node can run {model}: known on {} of {}, usable on 0 of {total}",
                known.count(),
                plural::nodes(total)
            ));
        }
        let lacks = lacking(fleet, first, &usable);
        let lacks = if lacks.is_empty() {
            format!("no feature, only the label cpu-model {model}")
        } else {
            plural::fold(lacks.iter().map(|key| (*key, "true")), 2)
        };
        let (of, first) = (self.nodes.count(), names[0]);
        let which = if names.len() == 1 { String::new() } else { format!(" ({})", fold_names(&names, NAMED)) };
        Some(format!(
            "commonModel {model} leaves out {} of {of} selected nodes{which}: {first} lacks {lacks}",
            names.len()
        ))
    }
}

/// Returns the nodes that run x86 guests: those with a virt-handler, ready or not.
pub(crate) fn guest_nodes(fleet: &Fleet) -> Bits {
    let mut nodes = bearing(fleet, &well_known::HAS_VIRT_HANDLER);
    for architecture in ["arm64", "s390x"] {
        nodes.subtract(&fleet.bearing(label::ARCH, architecture));
    }
    nodes
}

/// Returns the nodes that have a well-known label with a value that counts.
pub(crate) fn bearing(fleet: &Fleet, known: &WellKnown) -> Bits {
    let mut nodes = Bits::none(fleet.len());
    (0..fleet.len())
        .filter(|&node| fleet.label(node, known.key).is_some_and(|value| known.counts(value)))
        .for_each(|node| nodes.insert(node));
    nodes
}

/// Returns the CPU features that all of `others` have and this node lacks, sorted.
pub(crate) fn lacking<'f>(fleet: &'f Fleet, node: NodeIndex, others: &Bits) -> Vec<&'f str> {
    let features = |node| -> BTreeSet<&'f str> {
        let labels =
            fleet.labels(node).filter(|(key, value)| Family::of(key) == Family::CpuFeature && *value == "true");
        labels.map(|(key, _)| key).collect()
    };
    // Nodes of one class have equal hardware: one of each class suffices.
    let classes = fleet.split_by_class(others);
    let ones = classes.iter().filter_map(|(_, nodes)| nodes.iter().next()).map(features);
    let common = ones.reduce(|common, other| common.intersection(&other).copied().collect()).unwrap_or_default();
    common.difference(&features(node)).copied().collect()
}

/// Returns a note about the next higher model, if all of these nodes can run `model`, and the nodes that cannot run it,
/// by the ranking of [`crate::answers::recommend`]; `None` if there is no higher one, or if the nodes have no vendor or
/// several.
pub(crate) fn next_higher(cluster: &Cluster, nodes: &Bits, model: &str) -> Option<String> {
    let fleet: &Fleet = &cluster.fleet;
    let of_vendors: Vec<&str> = fleet
        .bearers(Family::CpuVendor)
        .into_iter()
        .filter(|(_, bearers)| bearers.meets(nodes))
        .map(|(vendor, _)| vendor)
        .collect();
    let [vendor] = of_vendors[..] else { return None };
    let left_out = |offer: &models::Offer| nodes.count() - offer.runs_on.count();
    let offers = models::offers(fleet, nodes, vendor, &cluster.withheld.models);
    // Among offers that exclude the same number of nodes, the best comes first.
    let higher = offers
        .iter()
        .filter(|offer| !offer.candidate.is_withheld() && models::is_better(&offer.candidate.model, model))
        .min_by_key(|offer| left_out(offer))?;
    let name = &higher.candidate.model;
    if left_out(higher) == 0 {
        let all = plural::number(nodes.count(), "the one node", "all nodes");
        return Some(format!("{all} can run {name}, which ranks above {model}: kubectl cpufit recommend"));
    }
    let mut others = nodes.clone();
    others.subtract(&higher.runs_on);
    Some(format!("{name}, the next higher model, would leave out {}", fold_names(&fleet.names(&others), NAMED)))
}

/// Returns the best model that all of these nodes can run or, without one, the best that the largest number of them
/// can.
#[must_use]
pub(crate) fn recommended(cluster: &Cluster, nodes: &Bits) -> Option<String> {
    let fleet: &Fleet = &cluster.fleet;
    if let Ok(candidates) = models::recommend(fleet, nodes, &cluster.withheld.models).candidates {
        return candidates.into_iter().next().map(|candidate| candidate.model);
    }
    let classes = fleet.split_by_class(nodes);
    let vendors: BTreeSet<&str> =
        classes.iter().flat_map(|(class, _)| &class.vendors).map(|key| label::name(key)).collect();
    let vendors: Vec<&str> = vendors.into_iter().collect();
    let passes = |model: &str| {
        if is_withheld(cluster, model) {
            return Bits::none(fleet.len());
        }
        let mut usable = fleet.bearing(&format!("{}{model}", label::CPU_MODEL), "true");
        usable.intersect(nodes);
        usable
    };
    models::most_common(fleet, &vendors, 2, passes).map(|(model, _)| model)
}
