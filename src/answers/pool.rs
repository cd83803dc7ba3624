//! The nodes that a policy selects, the models that they can run, and the features that they lack.

use std::collections::BTreeSet;

use super::NAMED;
use super::recommend::features::lacked;
use super::recommend::why_not_counted;
use crate::fit::bits::Bits;
use crate::fit::fleet::{Fleet, NodeIndex};
use crate::fit::label::{self, Family};
use crate::fit::models::{self, NotCounted};
use crate::fit::plural::{self, fold_names};
use crate::kubevirt::cluster::Cluster;
use crate::policy::Policy;
use crate::well_known::{self, WellKnown};

/// The nodes of a policy on which its guests can run.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    /// The selected nodes that run guests, of any architecture.
    pub(crate) nodes: Bits,
    /// The selected nodes of amd64, which a common model is for.
    pub(crate) amd64: Bits,
    /// The selected nodes with a virt-handler of which no CPU is known, by name, each with the reason.
    pub(crate) not_counted: Vec<(String, String)>,
}

impl Pool {
    /// Collects the nodes of a policy; those count that `recommend` counts, and those of architectures without models.
    pub(crate) fn of(fleet: &Fleet, policy: &Policy) -> Self {
        let with_handler = bearing(fleet, &well_known::HAS_VIRT_HANDLER);
        let none = || Bits::none(fleet.len());
        let mut out = Self { nodes: none(), amd64: none(), not_counted: Vec::new() };
        for (node, part) in models::takes_part(fleet, &policy.node_selector.nodes(fleet)) {
            match part {
                Ok(architecture) => {
                    out.nodes.insert(node);
                    if architecture == "amd64" {
                        out.amd64.insert(node);
                    }
                }
                Err(_) if !with_handler.contains(node) => {}
                Err(NotCounted::Architecture(_)) => out.nodes.insert(node),
                Err(why) => out.not_counted.push((fleet.name(node).to_owned(), why_not_counted(&why))),
            }
        }
        out
    }

    /// Returns the nodes that can run a common model.
    pub(crate) fn usable(&self, fleet: &Fleet, model: &str) -> Bits {
        let mut usable = fleet.bearing(&format!("{}{model}", label::CPU_MODEL), "true");
        usable.intersect(&self.amd64);
        usable
    }

    /// Returns a note about a common model: the nodes that cannot run it or, if all can, those that cannot run the next
    /// higher one.
    pub(crate) fn of_model(&self, cluster: &Cluster, model: &str) -> Option<String> {
        let withheld = || {
            let is_withheld = cluster.withheld.models.contains(model);
            is_withheld.then(|| format!("obsoleteCPUModels withholds {model}: its labels go within 3 minutes"))
        };
        let cannot_run = self.cannot_run(&cluster.fleet, model);
        cannot_run.or_else(withheld).or_else(|| next_higher(cluster, &self.amd64, model))
    }

    /// Returns a note about the model above this one: see [`next_higher`].
    pub(crate) fn next_higher(&self, cluster: &Cluster, model: &str) -> Option<String> {
        next_higher(cluster, &self.amd64, model)
    }

    /// Returns a note about the nodes that cannot run a common model: their number and names, and the features that the
    /// first one lacks.
    fn cannot_run(&self, fleet: &Fleet, model: &str) -> Option<String> {
        let usable = self.usable(fleet, model);
        let LeftOut { nodes, of, tainted, .. } = LeftOut::of(fleet, &self.amd64, &usable);
        let names = fleet.names(&nodes);
        let first = fleet.find(names.first()?)?;
        if usable.is_empty() {
            let mut known = fleet.bearing(&format!("{}{model}", label::CPU_MODEL_MIGRATION), "true");
            known.intersect(&self.amd64);
            return Some(format!(
                "no selected node can run {model}: known on {} of {}, usable on 0 of {of}",
                known.count(),
                plural::nodes(of)
            ));
        }
        let which = if names.len() == 1 { String::new() } else { format!(" ({})", fold_names(&names, NAMED)) };
        Some(format!(
            "commonModel {model} leaves out {} of {of} selected nodes{which}: {}{tainted}",
            names.len(),
            why_left_out(fleet, first, model, &usable)
        ))
    }
}

/// The nodes that cannot run a model, of those that could take a guest. A guest without a toleration can use no tainted
/// node, so tainted nodes do not count where other nodes are left out and others are not.
#[derive(Clone, Debug)]
pub(crate) struct LeftOut {
    /// The nodes that cannot run the model.
    pub(crate) nodes: Bits,
    /// Number of nodes that count.
    pub(crate) of: usize,
    /// A note about the tainted nodes, as the end of a sentence; empty without one.
    pub(crate) tainted: String,
    /// Whether tainted nodes, which do not count, can run the model.
    pub(crate) is_usable_on_tainted: bool,
}

impl LeftOut {
    /// Collects the nodes of `all` that are not in `usable`.
    pub(crate) fn of(fleet: &Fleet, all: &Bits, usable: &Bits) -> Self {
        let mut tainted = fleet.tainted_by_people();
        tainted.intersect(all);
        let mut open = all.clone();
        open.subtract(&tainted);
        let (mut left_out, mut open_left_out) = (all.clone(), open.clone());
        left_out.subtract(usable);
        open_left_out.subtract(usable);
        if open.meets(usable) && !open_left_out.is_empty() {
            let count = tainted.count();
            let (nodes, are) =
                (plural::counted(count, "tainted node", "tainted nodes"), plural::number(count, "is", "are"));
            let note = if count == 0 { String::new() } else { format!("; {nodes} {are} not counted") };
            let is_usable_on_tainted = tainted.meets(usable);
            return Self { nodes: open_left_out, of: open.count(), tainted: note, is_usable_on_tainted };
        }
        let note = if open.is_empty() || left_out.is_empty() || left_out.meets(&open) {
            ""
        } else if left_out.count() == 1 {
            "; it is tainted, and takes no guest without a toleration"
        } else {
            "; they are tainted, and take no guest without a toleration"
        };
        Self { nodes: left_out, of: all.count(), tainted: note.to_owned(), is_usable_on_tainted: false }
    }
}

/// Returns why a node cannot run a model that others can: `node-b lacks cpu-feature avx512vnni`.
fn why_left_out(fleet: &Fleet, node: NodeIndex, model: &str, usable: &Bits) -> String {
    let name = fleet.name(node);
    let is_of_cpu = |(key, _): (&str, _)| matches!(Family::of(key), Family::CpuFeature | Family::CpuModel);
    if !fleet.labels(node).any(is_of_cpu) {
        return format!("{name} has no CPU labels");
    }
    match lacked(fleet, node, model) {
        Some(lacks) if lacks.is_empty() => format!("{name} lacks no feature, only the label cpu-model {model}"),
        Some(lacks) => format!("{name} lacks {}", features(lacks.iter().map(String::as_str))),
        // The features of the model are not known.
        None => match &unlike(fleet, node, usable)[..] {
            [] => format!("{name} lacks the label cpu-model {model}"),
            more => format!("{name} has no {}, unlike the nodes that can run it", features(more.iter().copied())),
        },
    }
}

/// Returns `cpu-feature avx512vnni, ibrs-all and 2 more`.
fn features<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let keys: Vec<String> = names.map(|name| format!("{}{name}", label::CPU_FEATURE)).collect();
    plural::fold(keys.iter().map(|key| (key.as_str(), "true")), 2)
}

/// Returns the nodes that run guests of an architecture: those with a virt-handler, ready or not. A node without a
/// label of its architecture counts as x86.
pub(crate) fn guest_nodes(fleet: &Fleet, architecture: &str) -> Bits {
    let mut nodes = bearing(fleet, &well_known::HAS_VIRT_HANDLER);
    if architecture == "amd64" {
        for other in ["arm64", "s390x"] {
            nodes.subtract(&fleet.bearing(label::ARCH, other));
        }
    } else {
        nodes.intersect(&fleet.bearing(label::ARCH, architecture));
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
fn unlike<'f>(fleet: &'f Fleet, node: NodeIndex, others: &Bits) -> Vec<&'f str> {
    let features = |node| -> BTreeSet<&'f str> {
        let labels =
            fleet.labels(node).filter(|(key, value)| Family::of(key) == Family::CpuFeature && *value == "true");
        labels.map(|(key, _)| label::name(key)).collect()
    };
    // Nodes of one class have equal hardware: one of each class suffices.
    let classes = fleet.split_by_class(others);
    let ones = classes.iter().filter_map(|(_, nodes)| nodes.iter().next()).map(features);
    let common = ones.reduce(|common, other| common.intersection(&other).copied().collect()).unwrap_or_default();
    common.difference(&features(node)).copied().collect()
}

/// Returns a note about the next higher model, if all of these nodes can run `model`, and the nodes that cannot run it,
/// by the ranking of [`crate::answers::recommend`]; `None` if there is no higher one, or if the nodes have several
/// vendors or one of them has none.
pub(crate) fn next_higher(cluster: &Cluster, nodes: &Bits, model: &str) -> Option<String> {
    let fleet: &Fleet = &cluster.fleet;
    let vendor = models::vendor_of(fleet, nodes).ok()?;
    let left_out = |offer: &models::Offer| nodes.count() - offer.runs_on.count();
    let offers = models::offers(fleet, nodes, vendor, &cluster.withheld.models);
    // Among offers that exclude the same number of nodes, the best comes first.
    // Another spelling of a model ranks as the model does.
    let own = models::first_spelling(model);
    let is_higher = |model: &str| models::is_better(&models::first_spelling(model), &own);
    let higher = offers
        .iter()
        .filter(|offer| !offer.candidate.is_withheld() && is_higher(&offer.candidate.model))
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
