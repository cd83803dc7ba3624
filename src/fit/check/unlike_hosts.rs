//! A host-passthrough guest takes the CPU of its node as it is, and its pod asks nothing of the CPU of the next one.
//!
//! Mirrors `nodeselectorrenderer.go`, which adds no CPU entry for `host-passthrough`: by labels it fits on hardware of any kind.

use std::collections::{BTreeMap, BTreeSet};

use super::{Check, CheckSpec, Detail, Finding};
use crate::fit::bits::Bits;
use crate::fit::fleet::HostModelClass;
use crate::fit::judgement::Judgement;
use crate::fit::label::{self, Family};
use crate::fit::subject::{CpuMode, Stage};

pub(super) const SPEC: CheckSpec = CheckSpec {
    id: Check::UnlikeHosts,
    word: "unlike-hosts",
    always_reported: true,
    applies_to_launcher_pods: false,
    find,
};

/// Nodes that are unlike each other, between which a host-passthrough guest could be moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnlikeHosts {
    /// The node that it runs on; `None` where it is to start.
    pub runs_on: Option<String>,
    /// The nodes by their hardware; that of the node it runs on first, the others by model.
    pub hosts: Vec<AlikeHosts>,
}

/// Nodes of one kind of hardware.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlikeHosts {
    /// Their host model.
    pub model: String,
    /// What their host model requires beyond that of others with the same name.
    pub with: Vec<String>,
    /// The nodes that fit, by name; the node it runs on is among them.
    pub nodes: Vec<String>,
}

fn find(judgement: &Judgement<'_, '_>) -> Vec<Finding> {
    let subject = judgement.subject;
    if !judgement.is_judged() || subject.mode != CpuMode::HostPassthrough {
        return Vec::new();
    }
    let fleet = judgement.fleet;
    let mut nodes = judgement.passes.fitting.clone();
    let runs_on = judgement.source;
    if let Some(node) = runs_on {
        nodes.insert(node);
    }
    let found = fleet.split_by_class(&nodes);
    // A kind of which no label tells is not known to be unlike another.
    let mut kinds: Vec<Kind<'_>> = found.iter().filter_map(|(class, nodes)| Kind::of(class, nodes)).collect();
    match subject.stage {
        // Where it comes from is not known.
        Stage::Migration(_) if runs_on.is_none() => return Vec::new(),
        // It goes to no other vendor.
        Stage::Start(after_start) if after_start.vendor => {
            let vendors: Vec<_> = kinds.iter().map(|kind| kind.vendor).collect();
            kinds.retain(|kind| vendors.iter().filter(|other| **other == kind.vendor).count() > 1);
        }
        Stage::Migration(_) | Stage::Start(_) => {}
    }
    // The required features of each host model that goes by one name.
    let mut features: BTreeMap<&str, Vec<&BTreeSet<&str>>> = BTreeMap::new();
    for kind in &kinds {
        features.entry(&kind.model).or_default().push(&kind.required);
    }
    let hosts = kinds.iter().map(|kind| {
        let alike = &features[kind.model.as_str()];
        let beyond = kind.required.iter().filter(|name| !alike.iter().all(|other| other.contains(**name)));
        let with = beyond.map(|name| (*name).to_owned()).collect();
        let is_first = runs_on.is_some_and(|node| kind.nodes.contains(node));
        (!is_first, AlikeHosts { model: kind.model.clone(), with, nodes: judgement.names(kind.nodes) })
    });
    let mut hosts: Vec<(bool, AlikeHosts)> = hosts.collect();
    hosts.sort_by(|(one, left), (other, right)| {
        (one, &left.model, &left.nodes).cmp(&(other, &right.model, &right.nodes))
    });
    // What the hardware of its own node is must be known to call another unlike.
    let is_known = runs_on.is_none() || hosts.first().is_some_and(|(is_other, _)| !is_other);
    if hosts.len() < 2 || !is_known {
        return Vec::new();
    }
    let detail = UnlikeHosts {
        runs_on: runs_on.map(|node| fleet.name(node).to_owned()),
        hosts: hosts.into_iter().map(|(_, hosts)| hosts).collect(),
    };
    let field = subject.authors.mode.as_ref().map(|asked| asked.field.clone()).unwrap_or_default();
    vec![Finding::note(Check::UnlikeHosts, field, Detail::UnlikeHosts(detail))]
}

/// A kind of hardware whose labels tell its host model.
struct Kind<'c> {
    vendor: Option<&'c String>,
    model: String,
    /// The features that its host model requires.
    required: BTreeSet<&'c str>,
    nodes: &'c Bits,
}

impl<'c> Kind<'c> {
    fn of(class: &'c HostModelClass, nodes: &'c Bits) -> Option<Self> {
        let entries = class.model.as_ref()?;
        let of =
            |family| entries.iter().filter(move |(key, _)| Family::of(key) == family).map(|(key, _)| label::name(key));
        let models: Vec<&str> = of(Family::CpuModelMigration).collect();
        let (model, required) = (models.join(" and "), of(Family::CpuFeature).collect());
        Some(Self { vendor: class.vendors.first(), model, required, nodes })
    }
}
