//! `--fail-on`: the results that fail a pipeline, and the reasons for which no result could.

use std::collections::BTreeSet;

use clap::ValueEnum;

use super::output::ResultRow;
use crate::console;
use crate::fit::bits::Bits;
use crate::fit::label::{self, Family};
use crate::fit::verdict::{Impact, OutcomeWord};
use crate::kubevirt::cluster::WhyUnread;
use crate::kubevirt::resource::Resource;
use crate::policy::LabelSelector;
use crate::world::{World, no_nodes};

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

/// Returns why a gate would pass whatever the guests are; `None` if it can fail.
pub(crate) fn blind(world: &World) -> Option<String> {
    let nodeless = || world.cluster.fleet.is_empty().then(|| no_nodes(&world.cluster));
    without_kubevirt(world).or_else(nodeless).or_else(|| ungoverned(world)).map(str::to_owned)
}

/// Returns why it is not known which policies govern a guest; `None` if it is known.
pub(crate) fn ungoverned(world: &World) -> Option<&'static str> {
    let is_forbidden = |resource| world.cluster.unread.contains(&(resource, WhyUnread::Forbidden));
    if world.cluster.unread.contains(&(Resource::Policies, WhyUnread::Invalid)) {
        return Some("a CPUPolicy cannot be read, so whether a guest would be denied is not known");
    }
    let mut selectors = world.policies.iter().map(|policy| &policy.namespace_selector);
    if is_forbidden(Resource::Policies) {
        Some("cpupolicies cannot be read, so whether a guest would be denied is not known")
    } else if is_forbidden(Resource::Namespaces) && selectors.any(|selector| *selector != LabelSelector::default()) {
        Some("namespaces cannot be read, so which policies govern a guest is not known")
    } else {
        None
    }
}

/// Returns why nothing can be judged by a world without KubeVirt; `None` if there is a KubeVirt.
pub(crate) fn without_kubevirt(world: &World) -> Option<&'static str> {
    let cluster = &world.cluster;
    if cluster.unread.contains(&(Resource::Vmis, WhyUnread::NotInstalled)) {
        return Some("there is no KubeVirt: the API server has no VirtualMachineInstances");
    }
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

/// Returns why nothing can be found in this namespace: the cluster has no KubeVirt, or not this namespace; `None`
/// if something may be there. An empty name is any namespace.
pub(crate) fn nowhere(world: &World, name: &str) -> Option<String> {
    let without = world.cluster.is_live.then(|| without_kubevirt(world)).flatten();
    without
        .map(str::to_owned)
        .or_else(|| Some(name).filter(|name| !name.is_empty()).and_then(|name| no_namespace(world, name)))
}

/// Prints a note that a live cluster has no KubeVirt, without which a judgement by its nodes means nothing.
pub(crate) fn note_kubevirt(world: &World) {
    if let Some(why) = world.cluster.is_live.then(|| without_kubevirt(world)).flatten() {
        console::note(&world.cluster.domain, why);
    }
}

/// Returns the messages about namespaces of objects in files that neither exist nor are among the files, in order.
pub(crate) fn absent_namespaces<'a>(
    world: &World,
    of_objects: impl IntoIterator<Item = &'a str>,
    in_files: &BTreeSet<String>,
) -> Vec<String> {
    let missing: BTreeSet<&str> =
        of_objects.into_iter().filter(|name| !name.is_empty() && !in_files.contains(*name)).collect();
    let why = missing.into_iter().filter_map(|name| no_namespace(world, name));
    why.map(|why| format!("{why}, nor is one among the manifests")).collect()
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
        let impact = row.gated_impact;
        let is_as_bad = |state: &CheckFailOn| match state {
            CheckFailOn::Fragile => impact >= Some(Impact::Fragile),
            CheckFailOn::Pinned => impact >= Some(Impact::Pinned),
            CheckFailOn::Unschedulable => impact >= Some(Impact::Unschedulable),
            CheckFailOn::Denied => false,
            CheckFailOn::Unknown => row.verdict == OutcomeWord::Unknown,
        };
        if !self.0.iter().any(is_as_bad) {
            return None;
        }
        let of_impact = row.findings.iter().find(|finding| finding.impact.is_some()).or(row.findings.first());
        // Volumes and other pods are in the remarks alone.
        let is_closed =
            row.refusals.is_empty() && impact > row.findings.iter().filter_map(|finding| finding.impact).max();
        let why = row.remarks.first().filter(|_| is_closed).or(row.warnings.first()).cloned();
        let why = why.or(of_impact.map(|finding| finding.message.clone()));
        let word = row.word();
        Some(match why {
            Some(why) => format!("{word}: {why}"),
            None => word.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::cli::output::{ResultOrigin, Skipped};
    use crate::testing::cluster::{cluster, read_policy};
    use crate::testing::fleet::node;

    /// A gate that passes because its policies were not read lets through what the cluster denies.
    #[rstest]
    #[case::all_was_read(&[], json!({}), None)]
    #[case::no_policy_was_read(&[(Resource::Policies, WhyUnread::Forbidden)], json!({}), Some("cpupolicies cannot be read"))]
    #[case::a_policy_is_of_a_later_release(&[(Resource::Policies, WhyUnread::Invalid)], json!({}), Some("a CPUPolicy cannot be read"))]
    #[case::policies_are_not_installed(&[(Resource::Policies, WhyUnread::NotInstalled)], json!({}), None)]
    #[case::namespaces_choose(
        &[(Resource::Namespaces, WhyUnread::Forbidden)],
        json!({"namespaceSelector": {"matchLabels": {"team": "a"}}}),
        Some("namespaces cannot be read")
    )]
    #[case::namespaces_do_not_choose(&[(Resource::Namespaces, WhyUnread::Forbidden)], json!({}), None)]
    #[case::no_kubevirt(&[(Resource::Vmis, WhyUnread::NotInstalled)], json!({}), Some("there is no KubeVirt"))]
    fn a_gate_that_can_never_fail_gives_the_reason(
        #[case] unread: &[(Resource, WhyUnread)],
        #[case] policy: serde_json::Value,
        #[case] expected: Option<&str>,
    ) {
        let mut labelled = node("node-a");
        crate::testing::fleet::set(&mut labelled, label::SCHEDULABLE, "true");
        let mut cluster = cluster("v1.6.3", vec![labelled], []);
        cluster.unread = unread.to_vec();
        let mut spec = json!({"enforce": "Pinned"});
        spec.as_object_mut().unwrap().extend(policy.as_object().unwrap().clone());
        let world = World { cluster, policies: vec![read_policy("strict", &spec)] };
        let found = blind(&world);
        assert_eq!(found.is_some(), expected.is_some(), "{found:?}");
        assert!(found.unwrap_or_default().contains(expected.unwrap_or_default()), "the reason is another one");
    }

    /// KubeVirt creates no guest, even if labels allow it.
    #[rstest]
    #[case::refused(Impact::Unschedulable, "unschedulable", true)]
    #[case::refused_by_a_milder_gate(Impact::Unschedulable, "pinned", true)]
    #[case::immobile(Impact::Pinned, "pinned", true)]
    #[case::immobile_by_a_stricter_gate(Impact::Pinned, "unschedulable", false)]
    #[case::accepted(Impact::Fragile, "unschedulable", false)]
    fn a_gate_stops_what_kubevirt_refuses(#[case] impact: Impact, #[case] gate: &str, #[case] expected: bool) {
        let state = if gate == "pinned" { CheckFailOn::Pinned } else { CheckFailOn::Unschedulable };
        let origin = ResultOrigin::default();
        let row = ResultRow {
            impact: Some(Impact::Fragile),
            gated_impact: Some(impact),
            skipped: None,
            ..ResultRow::skipped(origin, Skipped::OtherKind)
        };
        let found = Gate(&[state]).failure(&row);
        assert_eq!(found.is_some(), expected, "{found:?}");
    }

    /// Volumes and other pods keep a guest off nodes that fit by labels, which no warning says.
    #[test]
    fn a_gate_names_the_volumes_and_pods_that_fail_an_object() {
        let row = ResultRow {
            skipped: None,
            gated_impact: Some(Impact::Pinned),
            warnings: vec!["another warning".to_owned()],
            remarks: vec!["its disk is elsewhere".to_owned()],
            ..ResultRow::skipped(ResultOrigin::default(), Skipped::OtherKind)
        };
        let found = Gate(&[CheckFailOn::Pinned]).failure(&row);
        assert_eq!(found.as_deref(), Some("pinned: its disk is elsewhere"), "the reason is another one");
    }

    /// A note about a namespace that exists, or is created with the guest, would be false.
    #[test]
    fn namespaces_that_neither_exist_nor_come_with_the_manifests_are_named_once() {
        let known: crate::kubevirt::wire::MetaOnly =
            serde_json::from_value(json!({"metadata": {"name": "shop"}})).expect("a namespace");
        let cluster = cluster("v1.6.3", Vec::new(), [crate::kubevirt::cluster::ClusterObject::Namespace(known)]);
        let world = World { cluster, policies: Vec::new() };
        let come = BTreeSet::from(["new".to_owned()]);
        let found = absent_namespaces(&world, ["shop", "lab", "new", "", "lab", "a"], &come);
        let expected = ["a", "lab"].map(|name| format!("there is no namespace {name}, nor is one among the manifests"));
        assert_eq!(found, expected);
        assert!(absent_namespaces(&World::default(), ["lab"], &come).is_empty(), "a dump may lack its namespaces");
    }

    #[test]
    fn nothing_is_judged_without_nodes() {
        let mut cluster = cluster(
            "v1.6.3",
            Vec::new(),
            [crate::testing::cluster::vmi(crate::testing::cluster::running("db", "node-a", ""))],
        );
        cluster.is_live = true;
        let found = blind(&World { cluster, policies: Vec::new() });
        assert_eq!(found.as_deref(), Some("the cluster has no node, so nothing can be judged"));
    }
}
