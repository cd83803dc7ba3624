//! Labels of the node that a guest leaves of which KubeVirt makes nothing, or either of two things.
//!
//! Mirrors `getHostCpuModelFromMap`, whose error is overlooked since 1.6.0, and `getCPUVendorLabelKey` of `migration.go`. The labeller
//! takes no vendor off a node (`node_labeller.go`): after a change of its board a node has two.

use super::{Check, CheckSpec, Detail, Finding};
use crate::fit::judgement::Judgement;
use crate::fit::label::{self, Family};
use crate::fit::subject::Stage;

pub(super) const SPEC: CheckSpec = CheckSpec {
    id: Check::SourceLabels,
    word: "source-labels",
    always_reported: true,
    applies_to_launcher_pods: false,
    find,
};

/// What is odd about the labels of the node that a guest leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceLabels {
    /// None names its host model: the migration asks for no CPU model and for no feature.
    NoHostModel {
        /// The node.
        node: String,
    },
    /// They name several vendors: the migration asks for any one of them.
    Vendors {
        /// The node.
        node: String,
        /// The vendors, by name, and how many nodes fit with each.
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
    let no_host_model = migration.overlooked && !judgement.passes.fitting.is_empty();
    let no_host_model = no_host_model.then(|| SourceLabels::NoHostModel { node: node() });
    let fit = |vendor: &String| {
        let mut with = judgement.subject.placement.clone();
        with.selector.retain(|(key, _)| Family::of(key) != Family::CpuVendor);
        with.selector.insert(vendor.clone(), "true");
        let mut fitting = judgement.fleet.look_up(&with).passes().fitting;
        fitting.intersect(&judgement.neighbours);
        (label::name(vendor).to_owned(), fitting.count())
    };
    let fit: Vec<(String, usize)> = migration.vendors.iter().map(fit).collect();
    // Where chance changes nothing it is not worth a word.
    let decides = fit.iter().any(|(_, count)| *count != fit[0].1);
    let vendors = decides.then(|| SourceLabels::Vendors { node: node(), fit });
    let found = no_host_model.into_iter().chain(vendors);
    found.map(|found| Finding::note(Check::SourceLabels, "", Detail::SourceLabels(found))).collect()
}
