//! A CPU feature with policy `optional` that the guest's node has and fitting nodes lack.
//!
//! No selector asks for it: `setNodeAffinityForPod` and `CPUFeatureLabelsFromCPUFeatures` of
//! `pkg/virt-controller/services` read only `require` and `forbid`. Libvirt replaces `optional` by `require` or
//! `disable` when the guest starts, and a target has to provide what it required.

use super::host_model_known::{DoubtfulNodes, worst_start};
use super::{Check, CheckSpec, Detail, Doubt, Finding, Reported};
use crate::fit::bits::Bits;
use crate::fit::fleet::NodeIndex;
use crate::fit::judgement::Judgement;
use crate::fit::subject::Stage;

pub(super) const SPEC: CheckSpec = CheckSpec {
    id: Check::OptionalFeature,
    word: "optional-feature",
    reported: Reported::Always,
    applies_to_launcher_pods: false,
    applies_to_refused_guests: false,
    immobilizes: false,
    doubt: Some(Doubt::Libvirt),
    find,
};

/// Fitting nodes that lack an optional CPU feature of the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionalFeature {
    /// The node that has the features: where the guest runs, or where it may start.
    pub node: String,
    /// Whether the guest runs there.
    pub runs: bool,
    /// The fitting nodes that lack features, by name, with those entries; without nodes whose libvirt provides the
    /// guest's CPU.
    pub doubtful: DoubtfulNodes,
}

fn find(judgement: &Judgement<'_, '_>) -> Vec<Finding> {
    let subject = judgement.subject;
    if subject.features.optional.is_empty() || !judgement.is_judged() {
        return Vec::new();
    }
    let found = match &subject.stage {
        Stage::Migration(_) => {
            judgement.source.and_then(|source| of(judgement, source, &judgement.passes.fitting, true))
        }
        Stage::Start(after_start) => {
            let groups = judgement.start_groups(&subject.placement, *after_start, &judgement.passes.fitting);
            let found = groups.iter().flatten().flat_map(|group| {
                let starts = group.nodes.iter().map(|node| judgement.fleet.first_of_profile(node));
                let mut starts: Vec<NodeIndex> = starts.collect();
                starts.sort_unstable();
                starts.dedup();
                let first = |profile: NodeIndex| {
                    let alike = group.nodes.iter().filter(|&node| judgement.fleet.first_of_profile(node) == profile);
                    alike.min_by_key(|&node| judgement.fleet.name(node))
                };
                let nodes: Vec<NodeIndex> = starts.into_iter().filter_map(first).collect();
                nodes.into_iter().filter_map(|node| of(judgement, node, &group.targets, false)).collect::<Vec<_>>()
            });
            worst_start(found, |found| (false, found.doubtful.count(), &found.node))
        }
    };
    let field = subject.field("domain.cpu.features");
    let field = if judgement.is_migration() { String::new() } else { field };
    found
        .map(|found| Finding::note(Check::OptionalFeature, field, Detail::OptionalFeature(found)))
        .into_iter()
        .collect()
}

fn of(judgement: &Judgement<'_, '_>, node: NodeIndex, targets: &Bits, runs: bool) -> Option<OptionalFeature> {
    let (fleet, subject) = (judgement.fleet, judgement.subject);
    let has = subject.optional_on(node, fleet);
    if has.is_empty() {
        return None;
    }
    let agrees = |name: &str| subject.asked().is_some_and(|asked| asked.agrees(name));
    let lacks = |target: NodeIndex| {
        let name = fleet.name(target);
        let lacks: Vec<(String, String)> =
            has.iter().filter(|(key, value)| fleet.label(target, key) != Some(value)).cloned().collect();
        (!lacks.is_empty() && !agrees(name)).then(|| (name.to_owned(), lacks))
    };
    let mut doubtful: Vec<_> = targets.iter().filter(|target| *target != node).filter_map(lacks).collect();
    doubtful.sort_unstable();
    Some(OptionalFeature { node: fleet.name(node).to_owned(), runs, doubtful: DoubtfulNodes::of(doubtful)? })
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::Arc;

    use rstest::rstest;

    use crate::fit::judgement::Depth;
    use crate::fit::libvirt::{Accelerator, Answers, Cpu, GuestCpu};
    use crate::fit::verdict::{Check, Detail};
    use crate::kubevirt::subject::{of_running, of_vm};
    use crate::testing::Tweak;
    use crate::testing::cluster::{cluster, read, running, vm, vmi};
    use crate::testing::fleet::{cascade_lake, feature, give};
    use serde_json::json;

    /// The live CPU, as its libvirt describes it, has the optional feature or not.
    #[rstest]
    #[case::not_known(None, true)]
    #[case::has_it(Some(true), true)]
    #[case::runs_without(Some(false), false)]
    fn an_optional_feature_that_the_guest_did_not_get_binds_it_to_no_node(
        #[case] has: Option<bool>,
        #[case] is_said: bool,
    ) {
        let nodes = vec![cascade_lake("node-a").tweak(|node| give(node, [feature("pks")])), cascade_lake("node-b")];
        let cpu = json!({"model": "Cascadelake-Server", "features": [{"name": "pks", "policy": "optional"}]});
        let guest = running("db", "node-a", "").tweak(|db| db["spec"]["domain"]["cpu"] = cpu);
        let known = cluster("1.8.4", nodes, [vmi(guest.clone())]);
        let mut runs = of_running(&read(guest), &known).expect("it runs");
        runs.subject.asked = has.map(|has| {
            let (with, without) = if has {
                (["pks".to_owned()].into(), BTreeSet::new())
            } else {
                (BTreeSet::new(), ["pks".to_owned()].into())
            };
            let cpu = Cpu { model: "Cascadelake-Server".to_owned(), require: with, disable: without, ..Cpu::default() };
            let (nodes, hosts) = (Arc::default(), Arc::default());
            let guest = Ok(GuestCpu { cpu, accelerator: Accelerator::Kvm });
            Answers {
                guest,
                nodes,
                hosts,
                silent_hosts: Arc::default(),
                losses: BTreeMap::new(),
                own_node: None,
                saved: true,
            }
        });
        let verdict = runs.judge(&known, Depth::Full);
        assert_eq!(
            verdict.found(Check::OptionalFeature).is_some(),
            is_said,
            "libvirt is said to refuse what it does not miss"
        );
    }

    /// `has`: the nodes with the feature vmx.
    #[rstest]
    #[case::only_its_own_node("Haswell", "optional", &["node-a"], &["node-b", "node-c"], &["node-b", "node-c"])]
    #[case::one_other("Haswell", "optional", &["node-a", "node-b"], &["node-c"], &["node-c"])]
    #[case::all("Haswell", "optional", &["node-a", "node-b", "node-c"], &[], &[])]
    #[case::not_its_own("Haswell", "optional", &["node-b"], &[], &["node-a", "node-c"])]
    #[case::required("Haswell", "require", &["node-a"], &[], &[])]
    #[case::disabled("Haswell", "disable", &["node-a"], &[], &[])]
    #[case::forced("Haswell", "force", &["node-a"], &[], &[])]
    #[case::passed_through("host-passthrough", "optional", &["node-a"], &[], &[])]
    fn a_target_without_an_optional_feature_of_the_guest_is_in_doubt(
        #[case] model: &str,
        #[case] policy: &str,
        #[case] has: &[&str],
        #[case] expected: &[&str],
        #[case] at_start: &[&str],
    ) {
        let nodes = ["node-a", "node-b", "node-c"].into_iter().map(|name| {
            cascade_lake(name).tweak(|node| {
                node.labels.remove(&feature("vmx"));
                node.labels.insert(crate::testing::fleet::model("Haswell"), "true".to_owned());
                if has.contains(&node.name.as_str()) {
                    node.labels.insert(feature("vmx"), "true".to_owned());
                }
            })
        });
        let cpu = json!({"model": model, "features": [{"name": "vmx", "policy": policy}]});
        let guest = running("db", "node-a", model).tweak(|db| db["spec"]["domain"]["cpu"] = cpu.clone());
        let new = vm("web", model).tweak(|vm| vm["spec"]["template"]["spec"]["domain"]["cpu"] = cpu);
        let known = cluster("1.8.4", nodes.collect(), [vmi(guest.clone())]);
        let named = |prepared: &crate::kubevirt::subject::Prepared<'_>| {
            let verdict = prepared.judge(&known, Depth::Full);
            match verdict.found(Check::OptionalFeature).map(|finding| &finding.detail) {
                Some(Detail::OptionalFeature(found)) => {
                    found.doubtful.iter().map(|(node, _)| node.clone()).collect::<Vec<_>>()
                }
                _ => Vec::new(),
            }
        };
        let runs = of_running(&read(guest), &known).expect("it runs");
        assert_eq!(named(&runs), expected, "libvirt refuses a migration that is said to be sure");
        assert_eq!(named(&of_vm(&read(new), &known)), at_start, "a start is said to leave targets that refuse it");
    }
}
