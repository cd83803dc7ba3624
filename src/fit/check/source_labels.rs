//! Labels of the node that a guest leaves that KubeVirt ignores, or interprets in one of two ways.
//!
//! Mirrors `getHostCpuModelFromMap`, whose error is ignored since 1.6.0, and `getCPUVendorLabelKey` of
//! `pkg/virt-controller/watch/migration/migration.go`. The labeller removes no vendor label from a node
//! (`pkg/virt-handler/node-labeller/node_labeller.go`): after a replacement of its board a node has two.

use super::{Check, CheckSpec, Detail, Doubt, Finding, Reported};
use crate::fit::bits::Bits;
use crate::fit::judgement::Judgement;
use crate::fit::label;
use crate::fit::remedy;
use crate::fit::subject::Stage;

pub(super) const SPEC: CheckSpec = CheckSpec {
    id: Check::SourceLabels,
    word: "source-labels",
    reported: Reported::Always,
    applies_to_launcher_pods: false,
    applies_to_refused_guests: false,
    immobilizes: false,
    doubt: Some(Doubt::Libvirt),
    find,
};

/// The unusual labels of the node that a guest leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceLabels {
    /// No label names its host model: the migration selects no CPU model and no feature.
    NoHostModel {
        /// The node.
        node: String,
        /// Whether `skip-node` keeps the labeller from it.
        is_frozen: bool,
    },
    /// Labels name several vendors: the migration selects an arbitrary one of them.
    Vendors {
        /// The node.
        node: String,
        /// The vendors, by name, each with the number of nodes that would fit.
        fit: Vec<(String, usize)>,
    },
}

fn find(judgement: &Judgement<'_, '_>) -> Vec<Finding> {
    let (Stage::Migration(migration), Some(source)) = (&judgement.subject.stage, judgement.source) else {
        return Vec::new();
    };
    if !judgement.is_judged() {
        return Vec::new();
    }
    let node = || judgement.fleet.name(source).to_owned();
    let is_frozen = judgement.fleet.skip_node(source).is_some();
    let no_host_model = migration.overlooked && !judgement.passes.fitting.is_empty();
    let no_host_model = no_host_model.then(|| SourceLabels::NoHostModel { node: node(), is_frozen });
    let fit = |vendor: &String| {
        let with = judgement.subject.placement.with_vendor(vendor);
        let mut fitting = judgement.fleet.look_up(&with).passes().fitting;
        fitting.intersect(&judgement.neighbours);
        (label::name(vendor).to_owned(), fitting)
    };
    let fit: Vec<(String, Bits)> = migration.vendors.iter().map(fit).collect();
    // If all vendors leave the same nodes, the choice does not matter.
    let decides = fit.iter().any(|(_, fitting)| *fitting != fit[0].1);
    let fit = fit.into_iter().map(|(vendor, fitting)| (vendor, fitting.count())).collect();
    let vendors = decides.then(|| SourceLabels::Vendors { node: node(), fit });
    let noted = |found| Finding::note(Check::SourceLabels, "", Detail::SourceLabels(found));
    let of_vendors = |found| Finding { remedies: remedy::makes_vendor_certain(judgement), ..noted(found) };
    no_host_model.map(noted).into_iter().chain(vendors.map(of_vendors)).collect()
}
