//! Remedies of three changes: the commands are carried out on the VirtualMachine, and it is judged again; no part of
//! them is enough.

#![expect(clippy::needless_pass_by_value, reason = "the cases of a table give values")]

use rstest::rstest;
use serde_json::{Value, json};

use super::super::super::*;
use super::stored;
use super::two_changes::{cluster, guest, instancetype, nodes, patched, remedies, summaries};
use crate::fit::verdict::Outcome;
use crate::testing::Tweak;
use crate::testing::cluster::read;

fn placed(domain: Value, placement: Value) -> Value {
    guest(domain).tweak(|vm| {
        let spec = vm["spec"]["template"]["spec"].as_object_mut().expect("an object");
        spec.extend(placement.as_object().expect("an object").clone());
    })
}

fn zone(at: &str) -> Value {
    let term = json!({"matchExpressions": [{"key": "zone", "operator": "In", "values": [at]}]});
    json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}})
}

/// Returns whether the guest could start, and go on, with these commands of its remedy.
fn fits_after(vm: &Value, commands: &[String], cluster: &Cluster) -> bool {
    let after = of_vm(&read(patched(vm.clone(), commands)), cluster).judge(cluster, Depth::Full);
    after.assessment.outcome == Outcome::Fits
}

#[rstest]
#[case::a_model_a_machine_type_and_own_cpus(
    guest(json!({"cpu": {"model": "EPYC", "dedicatedCpuPlacement": true}, "machine": {"type": "pc-q35-rhel7.6.0"}})),
    "drop dedicatedCpuPlacement, start with machine type q35 and Cascadelake-Server-noTSX"
)]
#[case::a_feature_own_cpus_and_a_machine_type(
    guest(json!({
        "cpu": {"model": "host-model", "dedicatedCpuPlacement": true, "features": [{"name": "svm"}]},
        "machine": {"type": "pc-q35-4.2"},
    })),
    "drop CPU feature svm and drop dedicatedCpuPlacement, start with machine type q35"
)]
#[case::three_settings(
    guest(json!({"cpu": {"dedicatedCpuPlacement": true,
        "features": [{"name": "gfni"}, {"name": "aes", "policy": "forbid"}]}})),
    "disable aes instead of forbidding it, drop CPU feature gfni and drop dedicatedCpuPlacement"
)]
#[case::a_selector_a_feature_and_a_model(
    placed(json!({"cpu": {"model": "EPYC", "features": [{"name": "svm"}]}}), json!({"nodeSelector": {"zone": "z9"}})),
    "drop CPU feature svm and change nodeSelector zone, start with Cascadelake-Server-noTSX"
)]
#[case::a_selector_an_affinity_and_a_machine_type(
    placed(json!({"machine": {"type": "pc-q35-4.2"}}), json!({"nodeSelector": {"rack": "r9"}, "affinity": zone("z9")})),
    "change nodeSelector rack and take its own required node affinity out, start with machine type q35"
)]
#[case::an_affinity_a_machine_type_and_a_model(
    placed(json!({"cpu": {"model": "EPYC"}, "machine": {"type": "pc-q35-4.2"}}), json!({"affinity": zone("z9")})),
    "take its own required node affinity out, start with machine type q35 and Cascadelake-Server-noTSX"
)]
fn three_causes_in_a_vm_are_changed_together(#[case] vm: Value, #[case] expected: &str) {
    let cluster = cluster(nodes(), vec![stored(&vm)]);
    let prepared = of_vm(&read(vm.clone()), &cluster);
    let verdict = prepared.judge(&cluster, Depth::Full);
    assert_eq!(summaries(&verdict, &prepared.subject), [expected], "the user knows no way out");
    let remedy = remedies(&verdict)[0];
    assert_eq!(remedy.action.risk(&prepared.subject, &cluster.fleet), "the guest is changed in three ways");
    let commands = remedy.action.commands(&prepared.subject).lines();
    assert_eq!(commands.len(), 3, "{commands:?}");
    assert!(fits_after(&vm, &commands, &cluster), "the user does what is said, and it cannot start: {commands:?}");
    for left_out in 0..3 {
        let mut two = commands.clone();
        two.remove(left_out);
        assert!(!fits_after(&vm, &two, &cluster), "two of three are enough: {two:?}");
    }
}

/// The settings of a type are changed by one step, whatever else is changed with it.
#[test]
fn two_settings_of_an_instancetype_count_as_one_step() {
    let large = instancetype(json!({"cpu": {"guest": 2, "model": "EPYC-Rome", "dedicatedCPUPlacement": true}}));
    let vm = guest(json!({"machine": {"type": "pc-q35-4.2"}}))
        .tweak(|vm| vm["spec"]["instancetype"] = json!({"name": "large"}));
    let cluster = cluster(nodes(), vec![large, stored(&vm)]);
    let prepared = of_vm(&read(vm), &cluster);
    let verdict = prepared.judge(&cluster, Depth::Full);
    let expected = "another instancetype than large, which sets CPU model EPYC-Rome and dedicatedCpuPlacement, \
                    start with machine type q35";
    assert_eq!(summaries(&verdict, &prepared.subject), [expected]);
    let commands = remedies(&verdict)[0].action.commands(&prepared.subject).lines();
    assert_eq!(commands.len(), 2, "the same step twice: {commands:?}");
}

/// Four causes are no matter of a few changes.
#[test]
fn four_causes_have_no_remedy() {
    let vm = placed(
        json!({"cpu": {"model": "EPYC", "dedicatedCpuPlacement": true}, "machine": {"type": "pc-q35-4.2"}}),
        json!({"nodeSelector": {"zone": "z9"}}),
    );
    let cluster = cluster(nodes(), vec![stored(&vm)]);
    let prepared = of_vm(&read(vm), &cluster);
    let verdict = prepared.judge(&cluster, Depth::Full);
    assert_eq!(summaries(&verdict, &prepared.subject), Vec::<String>::new());
}
