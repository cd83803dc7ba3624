//! Nodes that know a host model by name and lack features of it, case by case.

use rstest::rstest;

use super::*;

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
    let subject = leaving(&source, "host-model", false).tweak(|s| s.switched_off = vec!["gfni".to_owned()]);
    assert_eq!(doubts(&judge(&subject, nodes)), [], "the guest has no gfni");
}

#[test]
fn a_start_names_the_nodes_that_its_migration_may_choose() {
    let nodes = vec![ice("ice-1"), ice("ice-2"), older("sky-1", &["gfni"], false), older("sky-2", &["gfni"], false)];
    let verdict = judge(&starting("host-model"), nodes);
    let found = verdict.found(Check::HostModelKnown).map(|finding| &finding.detail);
    let Some(Detail::HostModelKnown(found)) = found else { panic!("a start in a mixed fleet is said to be sure") };
    assert_eq!((found.node.as_str(), found.doubtful.len(), found.runs), ("ice-1", 2, false), "{found:?}");
}
