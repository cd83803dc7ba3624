//! Nodes that know a host model by name and lack features of it, case by case.

use std::collections::BTreeMap;
use std::sync::Arc;

use rstest::rstest;

use super::*;
use crate::fit::libvirt::{Accelerator, Answers, Cpu, GuestCpu};

/// Returns an Ice Lake node with labels of KubeVirt 1.6.4 to 1.8.3: the model's own features are not required.
fn ice(name: &str) -> Node {
    ice_lake(name).tweak(|node| {
        node.labels.retain(|key, _| !key.starts_with(label::HOST_MODEL_REQUIRED));
        give(node, [required("vmx"), feature("vmx"), feature("gfni"), feature("vaes"), feature("avx512vbmi")]);
    })
}

/// Returns an older node that knows the model, has what is required in addition to it, and not the features `without`.
fn older(name: &str, without: &[&str], is_usable: bool) -> Node {
    ice(name).tweak(|node| {
        node.labels.retain(|key, _| !key.starts_with(label::HOST_MODEL_CPU));
        give(node, [format!("{}Skylake-Server-noTSX-IBRS", label::HOST_MODEL_CPU)]);
        take(node, &without.iter().map(|name| feature(name)).collect::<Vec<_>>());
        if !is_usable {
            take(node, &[model("Icelake-Server-noTSX")]);
        }
    })
}

fn doubts(verdict: &Verdict) -> Vec<(&str, Vec<&str>)> {
    verdict
        .doubtful()
        .map(|(node, lacks)| (node.as_str(), lacks.iter().map(|(key, _)| label::name(key)).collect()))
        .collect()
}

#[rstest]
#[case::lacks_features(&["gfni", "vaes"], false, Some(&["gfni", "vaes"][..]))]
#[case::usable_by_name(&["gfni", "vaes"], true, None)]
#[case::usable_and_has_all(&[], true, None)]
#[case::has_what_labels_name_and_is_not_usable(&[], false, Some(&["Icelake-Server-noTSX"][..]))]
fn a_node_that_knows_the_model_and_lacks_a_feature_of_it_gets_a_doubt(
    #[case] without: &[&str],
    #[case] is_usable: bool,
    #[case] expected: Option<&[&str]>,
    #[values(false, true)] inherited: bool,
) {
    let source = ice("ice-1");
    let nodes =
        vec![source.clone(), ice("ice-2"), older("sky-1", without, is_usable), older("sky-2", without, is_usable)];
    let verdict = judge(&leaving(&source, "host-model", inherited), nodes);
    assert_eq!(verdict.assessment.outcome, Outcome::Fits, "the scheduler lets it go there");
    let of = |node| expected.map(|lacks| (node, lacks.to_vec()));
    let expected: Vec<(&str, Vec<&str>)> = ["sky-1", "sky-2"].into_iter().filter_map(of).collect();
    assert_eq!(doubts(&verdict), expected, "people drain a node whose guests libvirt refuses elsewhere, or fear to");
    assert_eq!(verdict.is_in_doubt(), !expected.is_empty(), "the state is said to be sure, or not to be");
}

#[test]
fn a_source_that_cannot_run_the_model_is_no_evidence() {
    let source = ice("ice-1").tweak(|node| take(node, &[model("Icelake-Server-noTSX")]));
    let nodes = vec![source.clone(), older("sky-1", &[], false), older("sky-2", &[], false)];
    let verdict = judge(&leaving(&source, "host-model", false), nodes);
    assert_eq!(doubts(&verdict), [], "the same host model, in short of the same features, is called in doubt");
}

#[test]
fn features_that_the_guest_disables_are_not_missing() {
    let source = ice("ice-1");
    let nodes = vec![source.clone(), older("sky-1", &["gfni"], false), older("sky-2", &["gfni"], false)];
    let subject = leaving(&source, "host-model", false).tweak(|s| s.features.disabled = vec!["gfni".to_owned()]);
    assert_eq!(doubts(&judge(&subject, nodes)), [], "the guest has no gfni");
}

/// The live CPU, as its libvirt describes it, decides which features a target may miss.
#[rstest]
#[case::not_known(None, &["gfni", "vaes"])]
#[case::has_them(Some(&[][..]), &["gfni", "vaes"])]
#[case::runs_without_one(Some(&["gfni"][..]), &["vaes"])]
#[case::runs_without_both(Some(&["gfni", "vaes"][..]), &[])]
fn features_that_the_live_cpu_lacks_are_not_missing(#[case] disabled: Option<&[&str]>, #[case] expected: &[&str]) {
    let source = ice("ice-1");
    let nodes = vec![source.clone(), older("sky-1", &["gfni", "vaes"], false)];
    let subject = leaving(&source, "host-model", false).tweak(|subject| {
        subject.asked = disabled.map(|disabled| {
            let disable = disabled.iter().map(|name| (*name).to_owned()).collect();
            let cpu = Cpu { model: "Icelake-Server-noTSX".to_owned(), disable, ..Cpu::default() };
            Answers {
                guest: Ok(GuestCpu { cpu, accelerator: Accelerator::Kvm }),
                nodes: Arc::default(),
                hosts: Arc::default(),
                silent_hosts: Arc::default(),
                own_node: None,
                losses: BTreeMap::new(),
                saved: true,
            }
        });
    });
    let found = judge(&subject, nodes);
    let expected: Vec<_> = (!expected.is_empty()).then(|| ("sky-1", expected.to_vec())).into_iter().collect();
    assert_eq!(doubts(&found), expected, "libvirt is said to refuse what the guest does not have");
}

#[test]
fn a_start_names_the_nodes_that_its_migration_may_choose() {
    let nodes = vec![ice("ice-1"), ice("ice-2"), older("sky-1", &["gfni"], false), older("sky-2", &["gfni"], false)];
    let verdict = judge(&starting("host-model"), nodes);
    let found = verdict.found(Check::HostModelKnown).map(|finding| &finding.detail);
    let Some(Detail::HostModelKnown(found)) = found else { panic!("a start in a mixed fleet is said to be sure") };
    assert_eq!((found.node.as_str(), found.doubtful.count(), found.runs), ("ice-1", 2, false), "{found:?}");
}

/// A start in a mixed fleet is warned about if a start node leaves no sure target; `explain` lists the others
/// too. A migration is always warned about.
#[rstest]
#[case::every_start_leaves_another(2, false, false)]
#[case::one_start_leaves_none(1, false, true)]
#[case::a_migration(2, true, true)]
fn a_start_is_warned_of_doubts_that_leave_it_no_target(
    #[case] like: usize,
    #[case] runs: bool,
    #[case] is_warned: bool,
) {
    let mut nodes: Vec<Node> = (1..=like).map(|number| ice(&format!("ice-{number}"))).collect();
    nodes.extend([older("sky-1", &["gfni"], false), older("sky-2", &["gfni"], false)]);
    let subject = if runs { leaving(&nodes[0], "host-model", false) } else { starting("host-model") };
    let verdict = judge(&subject, nodes);
    let finding = verdict.found(Check::HostModelKnown).expect("explain names what libvirt will likely refuse");
    assert_eq!(finding.is_always_reported(), is_warned, "each start is warned, or a pinned one is not: {finding:?}");
    assert_eq!(verdict.is_always_reported(), is_warned);
    assert!(verdict.is_in_doubt(), "the state is said to be sure");
}

#[test]
fn the_start_node_that_leaves_no_sure_target_is_named_first() {
    let other = |name: &str| {
        older(name, &[], false).tweak(|node| {
            node.labels.retain(|key, _| !key.starts_with(label::HOST_MODEL_CPU));
            give(node, [format!("{}Icelake-Server", label::HOST_MODEL_CPU), feature("rtm"), known("Icelake-Server")]);
        })
    };
    // From ice-3 only nodes that know its model by name are left; from ice-1 more of them, beside ice-2.
    let nodes = vec![
        ice("ice-1"),
        ice("ice-2"),
        older("sky-1", &["gfni"], false),
        other("ice-3"),
        older("sky-2", &["gfni"], false).tweak(|node| give(node, [known("Icelake-Server")])),
    ];
    let verdict = judge(&starting("host-model"), nodes);
    let found = verdict.found(Check::HostModelKnown).map(|finding| &finding.detail);
    let Some(Detail::HostModelKnown(found)) = found else { panic!("a start in a mixed fleet is said to be sure") };
    assert_eq!((found.node.as_str(), found.certain), ("ice-3", 0), "{found:?}");
}
