//! The recommendation of a CPU model for guests that are to run on any of these nodes.

use std::collections::{BTreeMap, BTreeSet};

use super::super::bits::Bits;
use super::super::fleet::{Fleet, NodeIndex};
use super::super::label::{self, Family};
use super::{Drawback, KnownModel, contradicting, ranked};

/// A model that all counted nodes can run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// The name for `domain.cpu.model`.
    pub model: String,
    /// The hardware generation: the name without suffixes.
    pub family: &'static str,
    /// The disadvantages compared with others of its family.
    pub drawbacks: Vec<Drawback>,
}

impl Candidate {
    /// Whether KubeVirt withholds it, so that it is not recommended.
    pub(crate) fn is_withheld(&self) -> bool {
        self.drawbacks.contains(&Drawback::Withheld)
    }
}

/// A model that some of the nodes can run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Offer {
    /// The model.
    pub candidate: Candidate,
    /// The nodes that can run it.
    pub runs_on: Bits,
}

/// The reason why a node does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NotCounted {
    /// The node has this architecture, on which KubeVirt labels no CPU models, or which is not that of the
    /// counted nodes.
    Architecture(String),
    /// The node offers no CPU model and takes no guests now: `kubevirt.io/schedulable` is not `true`.
    TakesNoGuests,
    /// The node has neither CPU model labels nor `kubevirt.io/schedulable`, like a control plane without
    /// KubeVirt.
    NotLabelled,
    /// The node is too large to read; names the part.
    TooLarge(String),
}

/// The reason why no model is recommended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum WhyNone {
    /// No node counts.
    NoNode,
    /// These nodes take guests and have no CPU model labels.
    NoModels(Vec<String>),
    /// The nodes have CPUs of several vendors, or none is labelled.
    Vendors(Vec<String>),
    /// These nodes have no vendor's label, and the others have that of one vendor.
    NoVendor {
        /// The nodes, by name.
        nodes: Vec<String>,
        /// The vendor of the others.
        vendor: String,
    },
    /// No model can run on all nodes.
    NothingInCommon,
    /// `obsoleteCPUModels` withholds all candidates; names the best one.
    Withheld(String),
}

/// The recommendation for a set of nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Recommendation {
    /// The models that all counted nodes can run, best first; the first is the recommendation. Of several
    /// names of one model only one is listed.
    pub candidates: Result<Vec<Candidate>, WhyNone>,
    /// The best model that all of them can run and that is not recommended, because KubeVirt withholds it.
    pub passed_over: Option<String>,
    /// The counted nodes, by name.
    pub counted: Vec<String>,
    /// The other nodes, by name, each with the reason.
    pub not_counted: Vec<(String, NotCounted)>,
}

/// The architectures on which KubeVirt labels CPU models: nodes of the first one present are counted.
const WITH_MODELS: [&str; 2] = ["amd64", "s390x"];

/// Recommends the models that all of these nodes can run, best first.
///
/// A node counts if it is of architecture amd64 and takes guests (`kubevirt.io/schedulable`), or offers a
/// model although it takes none now: each restart of virt-handler sets that label to `false`. If no node of
/// amd64 counts, those of s390x do. Only `cpu-model` labels state what a node can run, unless nobody updates them and
/// its other labels contradict ([`contradicting`]). A model that KubeVirt has `withheld` is not recommended, regardless
/// of the labels now.
pub(crate) fn recommend(fleet: &Fleet, nodes: &Bits, withheld: &BTreeSet<String>) -> Recommendation {
    let mut of: BTreeMap<&str, Bits> = BTreeMap::new();
    let mut not_counted = Vec::new();
    let names = |nodes: &Bits| -> Vec<String> { fleet.names(nodes).into_iter().map(str::to_owned).collect() };
    for (node, part) in takes_part(fleet, nodes) {
        match part {
            Ok(architecture) => {
                of.entry(architecture).or_insert_with(|| Bits::none(fleet.len())).insert(node);
            }
            Err(why) => not_counted.push((fleet.name(node).to_owned(), why)),
        }
    }
    let counted = WITH_MODELS.iter().find_map(|architecture| of.remove(architecture));
    let counted = counted.unwrap_or_else(|| Bits::none(fleet.len()));
    for (architecture, nodes) in of {
        let why = NotCounted::Architecture(architecture.to_owned());
        not_counted.extend(names(&nodes).into_iter().map(|node| (node, why.clone())));
    }
    not_counted.sort_by(|(one, _), (other, _)| one.cmp(other));
    let (withheld, candidates): (Vec<Candidate>, Vec<Candidate>) = match candidates(fleet, &counted, withheld) {
        Ok(all) => all.into_iter().partition(Candidate::is_withheld),
        Err(why) => {
            return Recommendation { candidates: Err(why), passed_over: None, counted: names(&counted), not_counted };
        }
    };
    let passed_over = withheld.into_iter().next().map(|best| best.model);
    let candidates = match (&passed_over, candidates.is_empty()) {
        (Some(best), true) => Err(WhyNone::Withheld(best.clone())),
        (None, true) => Err(WhyNone::NothingInCommon),
        (_, false) => Ok(candidates),
    };
    Recommendation { candidates, passed_over, counted: names(&counted), not_counted }
}

/// Returns for each of these nodes, ordered by name, its architecture if guests with a named model can run on
/// it, or the reason why the node does not count.
pub(crate) fn takes_part<'f>(fleet: &'f Fleet, nodes: &Bits) -> Vec<(NodeIndex, Result<&'f str, NotCounted>)> {
    let mut with_models = Bits::none(fleet.len());
    fleet.bearers(Family::CpuModel).values().for_each(|bearers| with_models.union(bearers));
    let too_large: BTreeMap<NodeIndex, &str> = fleet.all_unread().collect();
    let part = |node: NodeIndex| {
        if let Some(why) = too_large.get(&node) {
            return Err(NotCounted::TooLarge((*why).to_owned()));
        }
        let architecture = fleet.label(node, label::ARCH).unwrap_or("amd64");
        if !WITH_MODELS.contains(&architecture) {
            return Err(NotCounted::Architecture(architecture.to_owned()));
        }
        match fleet.label(node, label::SCHEDULABLE) {
            _ if with_models.contains(node) => Ok(architecture),
            Some("true") => Ok(architecture),
            Some(_) => Err(NotCounted::TakesNoGuests),
            None => Err(NotCounted::NotLabelled),
        }
    };
    fleet.in_name_order().into_iter().filter(|node| nodes.contains(*node)).map(|node| (node, part(node))).collect()
}

/// Returns the models that any of these nodes can run and that are suitable for this vendor, best first. Of
/// several names of a model only one is listed, unless it is the only one on a node. A model that KubeVirt has
/// `withheld` has that drawback.
pub(crate) fn offers(fleet: &Fleet, nodes: &Bits, vendor: &str, withheld: &BTreeSet<String>) -> Vec<Offer> {
    let mut bearers = fleet.bearers(Family::CpuModel);
    for (model, bearers) in &mut bearers {
        bearers.intersect(nodes);
        let contradicting = contradicting(fleet, model, bearers);
        bearers.subtract(&contradicting);
    }
    bearers.retain(|_, bearers| !bearers.is_empty());
    let holds_all = |model: &str, runs_on: &Bits| {
        let mut left = runs_on.clone();
        bearers.get(model).is_some_and(|bearers| {
            left.subtract(bearers);
            left.is_empty()
        })
    };
    let offer = |model: &str| {
        let known = KnownModel::of(model)?;
        let runs_on = bearers.get(model)?.clone();
        let other = known.other_spelling();
        if other.is_some_and(|other| holds_all(&other, &runs_on)) {
            return None;
        }
        let mut drawbacks = known.drawbacks();
        drawbacks.extend(withheld.contains(model).then_some(Drawback::Withheld));
        let candidate = Candidate { model: model.to_owned(), family: known.family, drawbacks };
        Some(Offer { candidate, runs_on })
    };
    ranked(bearers.keys().copied(), vendor).into_iter().filter_map(offer).collect()
}

/// Returns the models that all nodes can run, best first, including withheld ones.
fn candidates(fleet: &Fleet, counted: &Bits, withheld: &BTreeSet<String>) -> Result<Vec<Candidate>, WhyNone> {
    if counted.is_empty() {
        return Err(WhyNone::NoNode);
    }
    let mut without = counted.clone();
    fleet.bearers(Family::CpuModel).values().for_each(|bearers| without.subtract(bearers));
    if !without.is_empty() {
        return Err(WhyNone::NoModels(fleet.names(&without).into_iter().map(str::to_owned).collect()));
    }
    let vendor = vendor_of(fleet, counted)?;
    let on_all = |offer: Offer| (offer.runs_on == *counted).then_some(offer.candidate);
    Ok(offers(fleet, counted, vendor, withheld).into_iter().filter_map(on_all).collect())
}

/// Returns the CPU vendor of these nodes.
///
/// A migration asks for the vendor label of the node that it leaves, so it never goes to a node without one
/// (`getCPUVendorLabelKey` in `pkg/virt-controller/watch/migration/migration.go`).
///
/// # Errors
///
/// The nodes have labels of several vendors, or some of them, or all, have none.
pub(crate) fn vendor_of<'f>(fleet: &'f Fleet, nodes: &Bits) -> Result<&'f str, WhyNone> {
    let mut vendors = fleet.bearers(Family::CpuVendor);
    vendors.retain(|_, bearers| bearers.meets(nodes));
    let mut found = vendors.iter();
    let (Some((vendor, bearers)), None) = (found.next(), found.next()) else {
        return Err(WhyNone::Vendors(vendors.into_keys().map(str::to_owned).collect()));
    };
    let mut unlabelled = nodes.clone();
    unlabelled.subtract(bearers);
    if unlabelled.is_empty() {
        return Ok(vendor);
    }
    let nodes = fleet.names(&unlabelled).into_iter().map(str::to_owned).collect();
    Err(WhyNone::NoVendor { nodes, vendor: (*vendor).to_owned() })
}
