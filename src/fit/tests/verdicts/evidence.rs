//! The evidence of missing labels, case by case.

use rstest::rstest;

use super::*;
use crate::fit::label::Family;
use crate::fit::models;

fn of_node_c(change: impl Fn(&mut Node), subject: &Subject<'static>, source: impl Fn(&mut Node)) -> Evidence {
    let nodes = vec![cascade_lake("node-a").tweak(source), cascade_lake("node-c").tweak(change)];
    let verdict = judge(subject, nodes);
    let near = verdict.nearest.iter().find(|near| near.node == "node-c").expect("node-c lacks something");
    near.evidence
}

fn lost_everywhere(node: &mut Node) {
    take(node, &[feature("fpu"), required("fpu")]);
}

/// Loses a feature, and the models that need it.
fn truly_without(node: &mut Node) {
    lost_everywhere(node);
    node.labels.retain(|key, _| Family::of(key) != Family::CpuModel);
}

#[rstest]
#[case::source_lacks_it_too(lost_everywhere, lost_everywhere, Evidence::SourceLacksToo)]
#[case::host_model_still_names_it(drifted, |_: &mut Node| {}, Evidence::Drifted)]
#[case::frozen_by_skip_node(
    |node: &mut Node| {
        lost_everywhere(node);
        node.skip_node = Some("false".to_owned());
    },
    |_: &mut Node| {},
    Evidence::Drifted
)]
#[case::a_usable_model_needs_it(lost_everywhere, |_: &mut Node| {}, Evidence::Drifted)]
#[case::a_usable_model_of_a_frozen_node_needs_it(
    |node: &mut Node| {
        lost_everywhere(node);
        node.skip_node = Some("true".to_owned());
    },
    |node: &mut Node| node.skip_node = Some("true".to_owned()),
    Evidence::Drifted
)]
#[case::a_usable_model_needs_a_part_of_it(
    |node: &mut Node| {
        lost_everywhere(node);
        take(node, &[feature("hle"), required("hle"), model("Cascadelake-Server")]);
    },
    |_: &mut Node| {},
    Evidence::None
)]
#[case::alike_but_truly_without(truly_without, |_: &mut Node| {}, Evidence::OtherHardware)]
#[case::frozen_like_its_own_node(
    |node: &mut Node| {
        truly_without(node);
        node.skip_node = Some("true".to_owned());
    },
    |node: &mut Node| node.skip_node = Some("true".to_owned()),
    Evidence::None
)]
#[case::other_generation(|node: &mut Node| *node = ice_lake("node-c"), |_: &mut Node| {}, Evidence::OtherHardware)]
#[case::other_vendor(|node: &mut Node| *node = rome("node-c"), |_: &mut Node| {}, Evidence::OtherHardware)]
#[case::only_a_zone(
    |node: &mut Node| set(node, ZONE, "z2"),
    |node: &mut Node| set(node, ZONE, "z1"),
    Evidence::None
)]
fn evidence_states_whether_labels_or_machines_differ(
    #[case] change: fn(&mut Node),
    #[case] source: fn(&mut Node),
    #[case] expected: Evidence,
) {
    let subject = db().tweak(|s| {
        if expected == Evidence::None {
            ask(s, ZONE, "z1");
        }
    });
    assert_eq!(
        of_node_c(change, &subject, source),
        expected,
        "people would label machines that libvirt refuses, or leave alone what a label cures"
    );
}

#[test]
fn without_a_source_node_no_evidence_is_given() {
    let subject = db().tweak(|s| s.stage = Stage::Migration(Migration::default()));
    assert_eq!(of_node_c(drifted, &subject, |_| {}), Evidence::None, "drift was claimed without a comparison");
}

/// Returns the evidence about node-c for a host-model guest that never migrated, and the remedies.
fn of_a_first_migration(source: impl Fn(&mut Node), other: impl Fn(&mut Node)) -> (Evidence, Vec<&'static str>) {
    let source = cascade_lake("node-a").tweak(source);
    let nodes = vec![source.clone(), cascade_lake("node-c").tweak(other), rome("amd-1")];
    let verdict = judge(&leaving(&source, "host-model", false), nodes);
    let near = verdict.nearest.iter().find(|near| near.node == "node-c").expect("node-c lacks something");
    (near.evidence, offers(&verdict))
}

fn has(names: &'static [&'static str]) -> impl Fn(&mut Node) {
    move |node| give(node, names.iter().flat_map(|name| [feature(name), required(name)]))
}

#[rstest]
#[case::nested_off(has(&["vmx"]), |_: &mut Node| {}, Evidence::NestedOff)]
#[case::nested_off_with_its_parts(has(&["vmx", "vmx-vnmi"]), |_: &mut Node| {}, Evidence::NestedOff)]
#[case::a_part_of_nested_alone(has(&["vmx-vnmi"]), |_: &mut Node| {}, Evidence::None)]
#[case::nested_and_more(has(&["vmx", "gfni"]), |_: &mut Node| {}, Evidence::OtherHardware)]
#[case::the_other_vendors_nested(has(&["svm"]), |_: &mut Node| {}, Evidence::None)]
#[case::a_mitigation(has(&["md-clear"]), |_: &mut Node| {}, Evidence::Microcode)]
#[case::mitigations(has(&["md-clear", "stibp"]), |_: &mut Node| {}, Evidence::Microcode)]
#[case::a_mitigation_and_more(has(&["md-clear", "gfni"]), |_: &mut Node| {}, Evidence::OtherHardware)]
#[case::tsx_that_is_off(has(&["mpx"]), |_: &mut Node| {}, Evidence::None)]
#[case::a_property_of_the_silicon(has(&["taa-no"]), |_: &mut Node| {}, Evidence::None)]
#[case::frozen_source(
    |node: &mut Node| {
        has(&["mpx"])(node);
        node.skip_node = Some("true".to_owned());
    },
    |_: &mut Node| {},
    Evidence::FrozenSource
)]
#[case::both_frozen(
    |node: &mut Node| {
        has(&["mpx"])(node);
        node.skip_node = Some("true".to_owned());
    },
    |node: &mut Node| node.skip_node = Some("true".to_owned()),
    Evidence::FrozenSource
)]
#[case::frozen_target(
    has(&["mpx"]),
    |node: &mut Node| node.skip_node = Some("true".to_owned()),
    Evidence::Drifted
)]
#[case::labels_of_an_older_release(
    |node: &mut Node| {
        let own = crate::fit::models::features("Cascadelake-Server").expect("a known model");
        give(node, own.into_iter().flat_map(|name| [feature(name), required(name)]));
        has(&["vmx-vnmi"])(node);
    },
    |node: &mut Node| node.labels.retain(|key, _| !key.starts_with(label::HOST_MODEL_REQUIRED)),
    Evidence::OlderLabels
)]
fn equal_host_models_are_not_called_other_hardware(
    #[case] source: impl Fn(&mut Node),
    #[case] other: impl Fn(&mut Node),
    #[case] expected: Evidence,
) {
    let (evidence, _) = of_a_first_migration(source, other);
    assert_eq!(evidence, expected, "people exchange hardware for a setting, or change a setting of other hardware");
}

#[test]
fn frozen_labels_of_the_source_are_ended_only_by_what_other_nodes_show() {
    let frozen = |node: &mut Node| {
        has(&["mpx"])(node);
        node.skip_node = Some("true".to_owned());
    };
    let (_, offered) = of_a_first_migration(frozen, |_| {});
    assert!(offered.contains(&"remove-skip-node"), "the annotation on the guest's own node is the cause: {offered:?}");
    let (_, offered) = of_a_first_migration(frozen, |node| node.skip_node = Some("true".to_owned()));
    for word in ["remove-skip-node", "add-labels", "remove-labels"] {
        assert!(!offered.contains(&word), "{word}: labels that are as frozen prove nothing: {offered:?}");
    }
}

#[test]
fn hyperv_labels_are_of_the_kernel() {
    let subject = db().tweak(|subject| ask(subject, "hyperv.node.kubevirt.io/tlbflush", "true"));
    let source = |node: &mut Node| give(node, ["hyperv.node.kubevirt.io/tlbflush".to_owned()]);
    assert_eq!(of_node_c(|_| {}, &subject, source), Evidence::HypervOfKernel, "people exchange hardware for a kernel");
}

/// Every feature of every model: where the model is usable, labels that lack a feature that it needs are wrong,
/// whatever the host models are; where it is only known, nothing is proved.
#[test]
fn a_usable_model_proves_the_features_that_it_needs() {
    let of_cpu = |key: &str| matches!(Family::of(key), Family::CpuFeature | Family::HostModelRequired);
    let source = cascade_lake("node-a");
    let subject = leaving(&source, "host-model", false);
    let mut proved = 0;
    for name in models::holding("fpu").into_iter().chain(["Unheard-Of"]) {
        let all = models::features(name).unwrap_or_else(|| models::features("Cascadelake-Server").expect("known"));
        let node = |at: &str, labels: Vec<String>, host_model: &str| {
            cascade_lake(at).tweak(|node| {
                let is_replaced = [Family::CpuModel, Family::HostModelCpu];
                node.labels.retain(|key, _| !of_cpu(key) && !is_replaced.contains(&Family::of(key)));
                give(node, labels);
                give(node, [format!("{}{host_model}", label::HOST_MODEL_CPU)]);
            })
        };
        let with_all = all.iter().flat_map(|name| [feature(name), required(name)]).collect();
        let fleet = Fleet::new(vec![
            node("node-a", with_all, "Made-Up"),
            node("usable", vec![model(name)], "Made-Up"),
            node("usable-elsewhere", vec![model(name)], "Other"),
            node("known", vec![known(name)], "Made-Up"),
        ]);
        let judgement = Judgement::new(&subject, &fleet, Depth::Brief);
        for lacked in all {
            let of = |node: &str| {
                let node = fleet.find(node).expect("a node");
                judgement.evidence_of_labels(node, &[(feature(lacked), "true".to_owned())])
            };
            let is_needed = models::proves(name, lacked);
            proved += usize::from(is_needed);
            let what = format!("{name} and {lacked}");
            assert_eq!(of("usable") == Evidence::Drifted, is_needed, "{what}: the labels are wrong, or right");
            assert_eq!(of("usable-elsewhere") == Evidence::Drifted, is_needed, "{what}: on another host model");
            assert_ne!(of("known"), Evidence::Drifted, "{what}: a model that is only known proves nothing");
            if name != "Unheard-Of" && models::is_given(lacked) {
                assert_ne!(of("usable"), Evidence::OtherHardware, "{what}: a guest would be restarted for a label");
            }
        }
    }
    assert!(proved > 3_000, "{proved} features of models are proved");
}
