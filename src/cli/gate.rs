//! `check --fail-on`: the results that fail a pipeline.

use clap::ValueEnum;

use super::output::ResultRow;
use crate::fit::bits::Bits;
use crate::fit::label::{self, Family};
use crate::kubevirt::resource::Resource;
use crate::world::World;

/// From which state on an object fails, mildest first; `denied` and `unknown` stand beside them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CheckFailOn {
    /// One node is left to migrate to, or worse.
    Fragile,
    /// It can migrate nowhere, or not from every node that it may start on, or cannot start.
    Pinned,
    /// It cannot start.
    Unschedulable,
    /// It would be denied.
    Denied,
    /// It could not be judged.
    Unknown,
}

/// Returns why nothing can be judged by a world without KubeVirt; `None` if there is a KubeVirt.
pub(crate) fn without_kubevirt(world: &World) -> Option<&'static str> {
    let cluster = &world.cluster;
    let kinds = [Resource::KubeVirts, Resource::VirtualMachines, Resource::Vmis];
    let labelled = || {
        let nodes = Bits::all(cluster.fleet.len());
        !cluster.fleet.offered(Family::CpuModel, &nodes).is_empty()
            || !cluster.fleet.bearing(label::SCHEDULABLE, "true").is_empty()
    };
    let is_there = kinds.into_iter().any(|kind| !cluster.names(kind).is_empty()) || labelled();
    (!is_there).then_some("there is no KubeVirt: no KubeVirt resource, no guest, and no node with its labels")
}

/// Returns a message that the namespace does not exist; `None` if it does, or if no namespace is known.
pub(crate) fn no_namespace(world: &World, name: &str) -> Option<String> {
    let is_known = !world.cluster.names(Resource::Namespaces).is_empty();
    (is_known && world.cluster.namespace(name).is_none()).then(|| absent_namespace(name))
}

/// Returns the message that a namespace does not exist.
pub(crate) fn absent_namespace(name: &str) -> String {
    format!("there is no namespace {name}")
}

/// The conditions that fail an object: a denial, and the given states.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gate<'a>(pub &'a [CheckFailOn]);

impl Gate<'_> {
    /// Returns why an object fails; `None` if it passes.
    pub(crate) fn failure(self, row: &ResultRow) -> Option<String> {
        if !row.allowed {
            return Some(row.denial.clone().unwrap_or_else(|| "denied".to_owned()));
        }
        if row.skipped.is_some() {
            return None;
        }
        let severity = ["fragile", "pinned", "unschedulable"].iter().position(|verdict| *verdict == row.verdict);
        let is_as_bad = |state: &CheckFailOn| match state {
            CheckFailOn::Fragile => severity >= Some(0),
            CheckFailOn::Pinned => severity >= Some(1),
            CheckFailOn::Unschedulable => severity >= Some(2),
            CheckFailOn::Denied => false,
            CheckFailOn::Unknown => row.verdict == "unknown",
        };
        if !self.0.iter().any(is_as_bad) {
            return None;
        }
        let of_impact = row.findings.iter().find(|finding| finding.impact.is_some()).or(row.findings.first());
        let why = row.warnings.first().cloned().or(of_impact.map(|finding| finding.message.clone()));
        Some(match why {
            Some(why) => format!("{}: {why}", row.verdict),
            None => row.verdict.to_owned(),
        })
    }
}
