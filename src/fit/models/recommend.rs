//! Which CPU model guests should have that are to run on any of these nodes.

use std::collections::BTreeSet;

use super::super::bits::Bits;
use super::super::fleet::{Fleet, NodeIndex};
use super::super::label::{self, Family};
use super::{Drawback, Known, is_spelled_otherwise, ranked};

/// A model that all counted nodes can run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The name, as `domain.cpu.model` takes it.
    pub model: String,
    /// The hardware generation: the name less its suffixes.
    pub family: &'static str,
    /// What speaks against it, beside others of its family.
    pub drawbacks: Vec<Drawback>,
}

/// Why a node does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotCounted {
    /// It is of this architecture; CPU models are named for amd64 only.
    Architecture(String),
    /// It offers no CPU model and takes no guests, as a control plane without KubeVirt.
    TakesNoGuests,
}

/// Why no model can be recommended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WhyNone {
    /// No node counts.
    NoNode,
    /// These nodes take guests and offer no model by name.
    NoModels(Vec<String>),
    /// The nodes have CPUs of several vendors, or none is labelled.
    Vendors(Vec<String>),
    /// There is no model that all nodes can run.
    NothingInCommon,
}

/// What was found for a set of nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recommendation {
    /// The models that all counted nodes can run, best first; the first is the recommendation. Of several spellings of one
    /// model only one is listed.
    pub candidates: Result<Vec<Candidate>, WhyNone>,
    /// The nodes that count, by name.
    pub counted: Vec<String>,
    /// The others, by name, each with the reason.
    pub not_counted: Vec<(String, NotCounted)>,
}

/// The models that all of these nodes can run, best first.
///
/// A node counts if it is of architecture amd64 and takes guests (`kubevirt.io/schedulable`), or offers a model although it
/// takes none now: each restart of virt-handler turns that label to `false`. Only `cpu-model` labels say what a node can run;
/// host-model, migration and feature labels play no part.
#[must_use]
pub fn recommend(fleet: &Fleet, nodes: &Bits) -> Recommendation {
    let mut counted = Bits::none(fleet.len());
    let mut not_counted = Vec::new();
    for node in fleet.in_name_order().into_iter().filter(|node| nodes.contains(*node)) {
        match why_not(fleet, node) {
            None => counted.insert(node),
            Some(why) => not_counted.push((fleet.name(node).to_owned(), why)),
        }
    }
    let names = |nodes: &Bits| fleet.names(nodes).into_iter().map(str::to_owned).collect();
    Recommendation { candidates: candidates(fleet, &counted), counted: names(&counted), not_counted }
}

fn why_not(fleet: &Fleet, node: NodeIndex) -> Option<NotCounted> {
    let architecture = fleet.label(node, label::ARCH).unwrap_or("amd64");
    if architecture != "amd64" {
        return Some(NotCounted::Architecture(architecture.to_owned()));
    }
    let takes_guests = fleet.label(node, label::SCHEDULABLE) == Some("true");
    (!takes_guests && models(fleet, node).is_empty()).then_some(NotCounted::TakesNoGuests)
}

fn models(fleet: &Fleet, node: NodeIndex) -> BTreeSet<&str> {
    fleet.names_under(node, Family::CpuModel).into_iter().collect()
}

fn candidates(fleet: &Fleet, counted: &Bits) -> Result<Vec<Candidate>, WhyNone> {
    let without: Vec<String> = fleet
        .in_name_order()
        .into_iter()
        .filter(|node| counted.contains(*node) && models(fleet, *node).is_empty())
        .map(|node| fleet.name(node).to_owned())
        .collect();
    if !without.is_empty() {
        return Err(WhyNone::NoModels(without));
    }
    // Nodes of one profile have the same CPU labels.
    let each = fleet.one_of_each_profile(counted);
    let Some((first, others)) = each.split_first() else { return Err(WhyNone::NoNode) };
    let vendors: BTreeSet<&str> = each.iter().flat_map(|node| fleet.names_under(*node, Family::CpuVendor)).collect();
    let vendor = match Vec::from_iter(&vendors)[..] {
        [vendor] => *vendor,
        _ => return Err(WhyNone::Vendors(vendors.into_iter().map(str::to_owned).collect())),
    };
    let mut common = models(fleet, *first);
    for node in others {
        let of_node = models(fleet, *node);
        common.retain(|model| of_node.contains(model));
    }
    let common: Vec<&str> = common.into_iter().collect();
    let candidate = |model: &str| {
        let known = Known::of(model)?;
        Some(Candidate { model: model.to_owned(), family: known.family.name, drawbacks: known.drawbacks() })
    };
    let once = ranked(common.iter().copied(), vendor).into_iter().filter(|model| !is_spelled_otherwise(model, &common));
    let candidates: Vec<Candidate> = once.filter_map(candidate).collect();
    if candidates.is_empty() { Err(WhyNone::NothingInCommon) } else { Ok(candidates) }
}
