//! A guest fits by labels on hardware that differs from that of its node.
//!
//! A host-passthrough guest uses the CPU of its node, and its pod selects no CPU labels: mirrors
//! `pkg/virt-controller/services/nodeselectorrenderer.go`, which adds no CPU entry for `host-passthrough`. A guest with
//! a CPU model can fit nodes of both vendors: `cpu-model` labels such as Westmere are on both, and only from KubeVirt
//! 1.6.4, and from 1.7.1, do migration targets select the vendor of the source
//! (`pkg/virt-controller/watch/migration/migration.go`).

use std::collections::{BTreeMap, BTreeSet};

use super::{Check, CheckSpec, Detail, Doubt, Finding, Reported};
use crate::fit::bits::Bits;
use crate::fit::fleet::{HostModelClass, NodeIndex};
use crate::fit::judgement::Judgement;
use crate::fit::label::{self, Family};
use crate::fit::models;
use crate::fit::remedy;
use crate::fit::subject::{CpuMode, Stage};

pub(super) const SPEC: CheckSpec = CheckSpec {
    id: Check::UnlikeHosts,
    word: "unlike-hosts",
    reported: Reported::Always,
    applies_to_launcher_pods: false,
    applies_to_refused_guests: false,
    immobilizes: false,
    doubt: Some(Doubt::Libvirt),
    find,
};

/// Nodes with different hardware, between which a host-passthrough guest could migrate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnlikeHosts {
    /// The node that the guest runs on; `None` if it is to start.
    pub runs_on: Option<String>,
    /// The nodes by hardware: first that of the guest's node, then by model.
    pub hosts: Vec<AlikeHosts>,
    /// The nodes with the hardware of the guest's node that only a cordon keeps it off, by name.
    pub cordoned: Vec<String>,
}

/// Nodes of one class of hardware.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlikeHosts {
    /// The host model.
    pub model: String,
    /// The CPU vendor; `None` if it is not known.
    pub vendor: Option<String>,
    /// The features that the host model requires and that are not common to all classes with this model name.
    pub with: Vec<String>,
    /// The fitting nodes, by name, including the node that the guest runs on.
    pub nodes: Vec<String>,
}

/// Nodes of several CPU vendors, between which a guest with a CPU model could migrate: its pod selects no
/// vendor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnlikeVendors {
    /// The node that the guest runs on and its vendor; `None` if it is to start.
    pub runs_on: Option<(String, String)>,
    /// The vendors of the fitting nodes, each with those nodes, by name; without the vendor of the guest's
    /// node.
    pub vendors: Vec<(String, Vec<String>)>,
}

fn find(judgement: &Judgement<'_, '_>) -> Vec<Finding> {
    let subject = judgement.subject;
    if !judgement.is_judged() {
        return Vec::new();
    }
    if !subject.mode.may_pass_through() {
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
    // A class whose host model no label names is not known to differ from another.
    let mut kinds: Vec<Kind<'_>> = found.iter().filter_map(|(class, nodes)| Kind::of(class, nodes)).collect();
    match subject.stage {
        // The node that the guest comes from is not known.
        Stage::Migration(_) if runs_on.is_none() => return Vec::new(),
        // The migration stays on the vendor of the start node.
        Stage::Start(after_start) if after_start.vendor => {
            let vendors: Vec<_> = kinds.iter().map(|kind| kind.vendor).collect();
            kinds.retain(|kind| vendors.iter().filter(|other| **other == kind.vendor).count() > 1);
        }
        Stage::Migration(_) | Stage::Start(_) => {}
    }
    kinds = comparable(kinds, runs_on);
    let like_nodes = like_nodes(judgement, &kinds);
    // The required features of all host models with one name.
    let mut features: BTreeMap<&str, Vec<&BTreeSet<&str>>> = BTreeMap::new();
    for kind in &kinds {
        features.entry(&kind.model).or_default().push(&kind.required);
    }
    let hosts = kinds.iter().map(|kind| {
        let alike = &features[kind.model.as_str()];
        let beyond = kind.required.iter().filter(|name| !alike.iter().all(|other| other.contains(**name)));
        let with = beyond.map(|name| (*name).to_owned()).collect();
        let is_first = runs_on.is_some_and(|node| kind.nodes.contains(node));
        let vendor = kind.vendor.map(|vendor| label::name(vendor).to_owned());
        (!is_first, AlikeHosts { model: kind.model.clone(), vendor, with, nodes: judgement.names(kind.nodes) })
    });
    let mut hosts: Vec<(bool, AlikeHosts)> = hosts.collect();
    hosts.sort_by(|(one, left), (other, right)| {
        (one, &left.model, &left.nodes).cmp(&(other, &right.model, &right.nodes))
    });
    // The hardware of the guest's own node must be known to call another different.
    let is_known = runs_on.is_none() || hosts.first().is_some_and(|(is_other, _)| !is_other);
    if hosts.len() < 2 || !is_known {
        return Vec::new();
    }
    let detail = UnlikeHosts {
        runs_on: runs_on.map(|node| fleet.name(node).to_owned()),
        hosts: hosts.into_iter().map(|(_, hosts)| hosts).collect(),
        cordoned: runs_on.map(|node| cordoned_like(judgement, node)).unwrap_or_default(),
    };
    let field = subject.authors.mode.as_ref().map(|asked| asked.field.clone()).unwrap_or_default();
    let remedies = remedy::against_doubt(judgement, like_nodes);
    vec![Finding { remedies, ..Finding::note(Check::UnlikeHosts, field, Detail::UnlikeHosts(detail)) }]
}

/// Returns the number of fitting nodes that are not known to be unlike the guest's node: from the start node with the
/// fewest, if it is to start.
fn like_nodes(judgement: &Judgement<'_, '_>, kinds: &[Kind<'_>]) -> usize {
    match judgement.source {
        Some(source) => {
            let unlike = kinds.iter().filter(|kind| !kind.nodes.contains(source));
            let unlike: usize = unlike.map(|kind| kind.nodes.count_common(&judgement.passes.fitting)).sum();
            judgement.passes.fitting.count() - unlike
        }
        None => kinds.iter().map(|kind| kind.nodes.count() - 1).min().unwrap_or_default(),
    }
}

impl UnlikeHosts {
    /// Returns the kind of a node that has another CPU than the node on which the guest runs.
    pub(crate) fn unlike(&self, node: &str) -> Option<&AlikeHosts> {
        let mut others = self.hosts.iter().skip(1).filter(|_| self.runs_on.is_some());
        others.find(|hosts| hosts.nodes.iter().any(|name| name == node))
    }
}

/// Returns the kinds without those of which it is not known whether they differ, from the kind of the guest's node or
/// from another one: labels of two KubeVirt releases do not show that.
fn comparable(kinds: Vec<Kind<'_>>, runs_on: Option<NodeIndex>) -> Vec<Kind<'_>> {
    let own = kinds.iter().position(|kind| runs_on.is_some_and(|node| kind.nodes.contains(node)));
    let is_known = |kind: &Kind<'_>| match own {
        Some(own) => kind.is_comparable(&kinds[own]),
        None => kind.is_expanded != Some(false) || kinds.iter().all(|other| kind.is_comparable(other)),
    };
    let known: Vec<bool> = kinds.iter().map(is_known).collect();
    kinds.into_iter().zip(known).filter(|(_, known)| *known).map(|(kind, _)| kind).collect()
}

impl Judgement<'_, '_> {
    /// Returns the fitting nodes, by name, of which no label shows whether they have the CPU that a host-passthrough
    /// guest keeps when it migrates: that of its node. Arm64 nodes have no labels of the CPU, and labels of two
    /// KubeVirt releases may differ on equal nodes.
    pub(crate) fn hosts_not_compared(&self) -> Vec<String> {
        let Some(source) = self.source.filter(|_| self.subject.mode.may_pass_through() && self.is_judged()) else {
            return Vec::new();
        };
        let mut alone = Bits::none(self.fleet.len());
        alone.insert(source);
        let own = Kind::of(self.fleet.host_model_class(source), &alone);
        let mut out = Bits::none(self.fleet.len());
        for (class, nodes) in self.fleet.split_by_class(&self.passes.fitting) {
            let is_compared = match (&own, Kind::of(class, &nodes)) {
                (Some(own), Some(kind)) => kind.is_comparable(own),
                _ => false,
            };
            if !is_compared {
                out.union(&nodes);
            }
        }
        self.names(&out)
    }
}

/// Returns the nodes of a node's class that take the guest once they are uncordoned.
fn cordoned_like(judgement: &Judgement<'_, '_>, node: NodeIndex) -> Vec<String> {
    let fleet = judgement.fleet;
    let like = fleet.host_model_class(node);
    let mut nodes = Bits::none(fleet.len());
    for other in judgement.opened_by_uncordon().iter().filter(|other| fleet.host_model_class(*other) == like) {
        nodes.insert(other);
    }
    judgement.names(&nodes)
}

fn unlike_vendors(judgement: &Judgement<'_, '_>) -> Option<UnlikeVendors> {
    let subject = judgement.subject;
    let fleet = judgement.fleet;
    // The vendor of a node with several vendor labels is not known.
    let only = |class: &HostModelClass| match class.vendors.as_slice() {
        [one] => Some(label::name(one).to_owned()),
        _ => None,
    };
    let runs_on = match &subject.stage {
        Stage::Migration(_) => {
            let source = judgement.source?;
            Some((fleet.name(source).to_owned(), only(fleet.host_model_class(source))?))
        }
        // Migrations of a host-model guest use the host model of its start node.
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

/// A class of hardware whose labels name its host model.
struct Kind<'c> {
    vendor: Option<&'c String>,
    model: String,
    /// The features that its host model requires.
    required: BTreeSet<&'c str>,
    /// See [`models::is_expanded`].
    is_expanded: Option<bool>,
    nodes: &'c Bits,
}

impl<'c> Kind<'c> {
    fn of(class: &'c HostModelClass, nodes: &'c Bits) -> Option<Self> {
        let entries = class.model.as_ref()?;
        let of =
            |family| entries.iter().filter(move |(key, _)| Family::of(key) == family).map(|(key, _)| label::name(key));
        let models: Vec<&str> = of(Family::CpuModelMigration).collect();
        let (model, required): (String, BTreeSet<&str>) = (models.join(" and "), of(Family::CpuFeature).collect());
        let is_expanded = models::is_expanded(&model, |name| required.contains(name));
        // The vendor of a node with several vendor labels is not known.
        let vendor = class.vendors.first().filter(|_| class.vendors.len() == 1);
        Some(Self { vendor, model, required, is_expanded, nodes })
    }

    /// Whether labels show that two kinds differ, or that they do not.
    fn is_comparable(&self, other: &Kind<'_>) -> bool {
        let differ = matches!((self.vendor, other.vendor), (Some(own), Some(other)) if own != other);
        let is_of_two_releases =
            matches!((self.is_expanded, other.is_expanded), (Some(one), Some(other)) if one != other);
        differ || self.model != other.model || !is_of_two_releases
    }
}
