//! A guest fits by labels on hardware that is unlike what it runs on.
//!
//! A host-passthrough guest takes the CPU of its node as it is, and its pod asks nothing of the CPU of the next one: mirrors
//! `nodeselectorrenderer.go`, which adds no CPU entry for `host-passthrough`. A guest with a CPU model can have nodes of both vendors:
//! `cpu-model` labels such as Westmere are on both, and only from KubeVirt 1.6.4, and from 1.7.1, do migration targets ask for the
//! vendor of the source (`pkg/virt-controller/watch/migration/migration.go`).

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

/// Nodes of several CPU vendors, between which a guest with a CPU model could be moved: its pod asks for no vendor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnlikeVendors {
    /// The node that it runs on and its vendor; `None` where it is to start.
    pub runs_on: Option<(String, String)>,
    /// The vendors of the nodes that fit, and those nodes, by name; that of the node it runs on is not among them.
    pub vendors: Vec<(String, Vec<String>)>,
}

fn find(judgement: &Judgement<'_, '_>) -> Vec<Finding> {
    let subject = judgement.subject;
    if !judgement.is_judged() {
        return Vec::new();
    }
    if subject.mode != CpuMode::HostPassthrough {
        let field = judgement.field();
        let found = unlike_vendors(judgement).map(Detail::UnlikeVendors);
        return found.map(|detail| Finding::note(Check::UnlikeHosts, field, detail)).into_iter().collect();
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

fn unlike_vendors(judgement: &Judgement<'_, '_>) -> Option<UnlikeVendors> {
    let subject = judgement.subject;
    let fleet = judgement.fleet;
    // What the labels of a node with several vendors mean is not known.
    let only = |class: &HostModelClass| match class.vendors.as_slice() {
        [one] => Some(label::name(one).to_owned()),
        _ => None,
    };
    let runs_on = match &subject.stage {
        Stage::Migration(_) => {
            let source = judgement.source?;
            Some((fleet.name(source).to_owned(), only(fleet.host_model_class(source))?))
        }
        // A guest on host-model goes by the host model of its node afterwards.
        Stage::Start(after_start) if !after_start.vendor && matches!(subject.mode, CpuMode::Named(_)) => None,
        Stage::Start(_) => return None,
    };
    let mut vendors: BTreeMap<String, Bits> = BTreeMap::new();
    for (class, nodes) in fleet.split_by_class(&judgement.passes.fitting) {
        if let Some(vendor) = only(class).filter(|vendor| runs_on.as_ref().is_none_or(|(_, own)| own != vendor)) {
            vendors.entry(vendor).or_insert_with(|| Bits::none(fleet.len())).union(&nodes);
        }
    }
    let is_unlike = vendors.len() > usize::from(runs_on.is_none());
    let vendors = vendors.into_iter().map(|(vendor, nodes)| (vendor, judgement.names(&nodes)));
    is_unlike.then(|| UnlikeVendors { runs_on, vendors: vendors.collect() })
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
