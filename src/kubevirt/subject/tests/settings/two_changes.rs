//! Remedies of two changes, and those that depend on the start node: the commands are carried out on the
//! VirtualMachine, and it is judged again.

#![expect(clippy::needless_pass_by_value, reason = "the cases of a table give values")]

use rstest::rstest;
use serde_json::{Value, json};

use super::super::super::*;
use crate::fit::node::Node;
use crate::fit::remedy::{Action, Remedy, RemedyId};
use crate::fit::verdict::{Outcome, Verdict};
use crate::kubevirt::cluster::ClusterObject;
use crate::say;
use crate::testing::Tweak;
use crate::testing::cluster::{cluster as cluster_of, migration as request, read, running, vm, vmi};
use crate::testing::fleet::{cascade_lake, ice_lake, rome, set};

pub(super) fn nodes() -> Vec<Node> {
    let manager = |name: &str| cascade_lake(name).tweak(|node| set(node, label::CPU_MANAGER, "false"));
    ["n1", "n2", "n3"].map(manager).into()
}

pub(super) fn cluster(nodes: Vec<Node>, objects: Vec<ClusterObject>) -> Cluster {
    cluster_of("1.9.0", nodes, objects)
}

pub(super) fn guest(domain: Value) -> Value {
    vm("db", "").tweak(|vm| vm["spec"]["template"]["spec"]["domain"] = domain)
}

/// The merge patches and JSON patches of a remedy's commands, carried out.
pub(super) fn patched(mut vm: Value, commands: &[String]) -> Value {
    for command in commands.iter().filter(|command| command.starts_with("kubectl patch vm db -n shop")) {
        let (kind, patch) =
            command.split_once(" --type ").and_then(|(_, rest)| rest.split_once(" -p ")).expect("a patch");
        let patch: Value = serde_json::from_str(patch.trim_matches('\'')).expect("JSON");
        match kind {
            "merge" => merge(&mut vm, &patch),
            _ => json_patch(&mut vm, &patch),
        }
    }
    vm
}

fn merge(target: &mut Value, patch: &Value) {
    for (key, value) in patch.as_object().expect("an object") {
        match value {
            Value::Null => {
                target.as_object_mut().and_then(|fields| fields.remove(key));
            }
            Value::Object(_) => {
                if !target[key].is_object() {
                    target[key] = json!({});
                }
                merge(&mut target[key], value);
            }
            value => target[key] = value.clone(),
        }
    }
}

fn json_patch(target: &mut Value, patch: &Value) {
    for operation in patch.as_array().expect("operations") {
        let place = operation["path"].as_str().expect("a path");
        match operation["op"].as_str().expect("an operation") {
            "test" => {
                assert_eq!(target.pointer(place), Some(&operation["value"]), "the command would do nothing: {patch}");
            }
            "replace" => *target.pointer_mut(place).expect("a place") = operation["value"].clone(),
            "remove" => {
                let (list, at) = place.rsplit_once('/').expect("a place");
                let at: usize = at.parse().expect("an index");
                target.pointer_mut(list).and_then(Value::as_array_mut).expect("a list").remove(at);
            }
            other => panic!("{other}"),
        }
    }
}

pub(super) fn remedies(verdict: &Verdict) -> Vec<&Remedy> {
    verdict.findings.iter().flat_map(|finding| &finding.remedies).collect()
}

pub(super) fn summaries(verdict: &Verdict, subject: &Subject<'_>) -> Vec<String> {
    remedies(verdict).into_iter().map(|remedy| say::remedy::summary(&remedy.action, subject)).collect()
}

#[rstest]
#[case::a_model_and_a_machine_type(
    json!({"cpu": {"model": "EPYC"}, "machine": {"type": "pc-q35-rhel7.6.0"}}),
    "start with machine type q35 and Cascadelake-Server-noTSX"
)]
#[case::own_cpus_and_a_machine_type(
    json!({"cpu": {"model": "host-model", "dedicatedCpuPlacement": true}, "machine": {"type": "pc-q35-rhel7.6.0"}}),
    "drop dedicatedCpuPlacement, start with machine type q35"
)]
#[case::a_feature_and_a_machine_type(
    json!({"cpu": {"features": [{"name": "aes"}, {"name": "gfni"}]}, "machine": {"type": "pc-q35-4.2"}}),
    "drop CPU feature gfni, start with machine type q35"
)]
#[case::a_model_and_own_cpus(
    json!({"cpu": {"model": "EPYC-Rome", "dedicatedCpuPlacement": true}}),
    "drop dedicatedCpuPlacement, start with Cascadelake-Server-noTSX"
)]
#[case::a_feature_and_own_cpus(
    json!({"cpu": {"model": "host-model", "dedicatedCpuPlacement": true, "features": [{"name": "svm"}]}}),
    "drop CPU feature svm and drop dedicatedCpuPlacement"
)]
#[case::a_feature_that_is_forbidden_and_one_that_is_missing(
    json!({"cpu": {"features": [{"name": "gfni"}, {"name": "aes", "policy": "forbid"}]}}),
    "disable aes instead of forbidding it and drop CPU feature gfni"
)]
#[case::a_hyperv_setting_and_a_feature(
    json!({"cpu": {"features": [{"name": "svm"}]}, "features": {"hyperv": {"evmcs": {}}}}),
    "drop Hyper-V setting evmcs and drop CPU feature svm"
)]
fn two_causes_in_a_vm_are_changed_together(#[case] domain: Value, #[case] expected: &str) {
    // EVMCS asks for vmx, which no node here has.
    let lacks_vmx = |node: Node| node.tweak(|node| node.labels.retain(|key, _| !key.ends_with("/vmx")));
    let vm = guest(domain);
    let stored = ClusterObject::VirtualMachine(Box::new(read(vm.clone())));
    let cluster = cluster(nodes().into_iter().map(lacks_vmx).collect(), vec![stored]);
    let prepared = of_vm(&read(vm.clone()), &cluster);
    let verdict = prepared.judge(&cluster, Depth::Full);
    assert_eq!(summaries(&verdict, &prepared.subject), [expected], "the user changes too much, or knows no way out");
    let remedy = remedies(&verdict)[0];
    let commands = remedy.action.commands(&prepared.subject).lines();
    let after = of_vm(&read(patched(vm.clone(), &commands)), &cluster).judge(&cluster, Depth::Full);
    assert_eq!(
        after.assessment.outcome,
        Outcome::Fits,
        "the user does what is said, and it cannot start: {commands:?}"
    );
    let count = after.assessment.fitting.count();
    assert_eq!(remedy.then_fits, (count, count), "{commands:?}");
    for command in &commands {
        let half = of_vm(&read(patched(vm.clone(), std::slice::from_ref(command))), &cluster);
        let half = half.judge(&cluster, Depth::Full).assessment.outcome;
        assert_ne!(half, Outcome::Fits, "one of both is enough: {command}");
    }
}

pub(super) fn instancetype(spec: Value) -> ClusterObject {
    ClusterObject::Instancetype(read(json!({"metadata": {"name": "large"}, "spec": spec})))
}

fn preference(spec: Value) -> ClusterObject {
    ClusterObject::Preference(read(json!({"metadata": {"name": "fast"}, "spec": spec})))
}

#[rstest]
#[case::model_and_own_cpus(
    instancetype(json!({"cpu": {"guest": 2, "model": "EPYC-Rome", "dedicatedCPUPlacement": true}})),
    "another instancetype than large, which sets CPU model EPYC-Rome and dedicatedCpuPlacement",
    "# name another instancetype in spec.instancetype of the VM: large sets spec.cpu.model and spec.cpu.dedicatedCPUPlacement"
)]
#[case::model_and_places(
    instancetype(json!({"cpu": {"guest": 2, "model": "EPYC-Rome"}, "nodeSelector": {"zone": "z9"}})),
    "another instancetype than large, which sets its node selector and CPU model EPYC-Rome",
    "# name another instancetype in spec.instancetype of the VM: large sets spec.nodeSelector and spec.cpu.model"
)]
#[case::feature_and_machine_type(
    preference(json!({
        "cpu": {"preferredCPUFeatures": [{"name": "svm"}]}, "machine": {"preferredMachineType": "pc-q35-rhel9.2.0"},
    })),
    "another preference than fast, which sets machine type pc-q35-rhel9.2.0 and CPU feature svm",
    "# name another preference in spec.preference of the VM: fast sets spec.machine.preferredMachineType and spec.cpu.preferredCPUFeatures"
)]
#[case::two_features(
    preference(json!({"cpu": {"preferredCPUFeatures": [{"name": "svm"}, {"name": "gfni"}]}})),
    "another preference than fast, which sets CPU feature svm and CPU feature gfni",
    "# name another preference in spec.preference of the VM: fast sets spec.cpu.preferredCPUFeatures"
)]
fn two_causes_in_one_type_take_another_type(
    #[case] found: ClusterObject,
    #[case] expected: &str,
    #[case] command: &str,
) {
    let kind = if matches!(found, ClusterObject::Preference(_)) { "preference" } else { "instancetype" };
    let named = vm("db", "").tweak(|vm| {
        vm["spec"]["template"]["spec"]["domain"] = json!({});
        vm["spec"][kind] = json!({"name": if kind == "preference" { "fast" } else { "large" }});
    });
    let cluster = cluster(nodes(), vec![found, ClusterObject::VirtualMachine(Box::new(read(named.clone())))]);
    let prepared = of_vm(&read(named.clone()), &cluster);
    let verdict = prepared.judge(&cluster, Depth::Full);
    assert_eq!(summaries(&verdict, &prepared.subject), [expected], "the user knows no way out");
    assert_eq!(remedies(&verdict)[0].action.commands(&prepared.subject).lines(), [command]);
    let without = named.tweak(|vm| vm["spec"][kind] = Value::Null);
    assert_eq!(of_vm(&read(without), &cluster).judge(&cluster, Depth::Full).assessment.outcome, Outcome::Fits);
}

/// A guest that its node selector binds to its node, in a cluster with these other nodes.
fn bound(others: Vec<Node>) -> (Cluster, Value) {
    let host = json!({label::HOSTNAME: "n1"});
    let vm = vm("db", "host-model").tweak(|vm| vm["spec"]["template"]["spec"]["nodeSelector"] = host.clone());
    let guest = running("db", "n1", "host-model").tweak(|vmi| vmi["spec"]["nodeSelector"] = host);
    let objects = vec![vmi(guest), ClusterObject::VirtualMachine(Box::new(read(vm.clone())))];
    let named = |node: Node| {
        let name = node.name.clone();
        node.tweak(|node| set(node, label::HOSTNAME, &name))
    };
    // Up to 1.3 KubeVirt applies no change of a node selector to a guest that runs.
    let nodes = nodes().into_iter().chain(others).map(named).collect();
    (cluster_of("1.3.0", nodes, objects), vm)
}

#[rstest]
#[case::of_another_vendor(vec![rome("odd")], &["odd"])]
#[case::of_a_newer_generation(vec![ice_lake("odd")], &["odd"])]
#[case::none_odd(Vec::new(), &[])]
fn a_remedy_that_fails_on_one_start_node_depends_on_the_start(#[case] others: Vec<Node>, #[case] stuck: &[&str]) {
    let (cluster, _) = bound(others);
    let prepared = of_migration(&read(request("db")), &cluster);
    let verdict = prepared.judge(&cluster, Depth::Full);
    let is_of_selector = |remedy: &&Remedy| remedy.action.id() == RemedyId::ChangeSelector;
    let lucky = verdict.by_luck.iter().find(is_of_selector);
    let certain = remedies(&verdict).into_iter().find(is_of_selector);
    assert_eq!(certain.is_some(), stuck.is_empty(), "a promise that one node breaks, or none though it holds");
    assert_eq!(lucky.is_some(), !stuck.is_empty(), "a cure that helps almost everywhere is not named");
    if let Some(luck) = lucky.and_then(|remedy| remedy.luck.as_ref()) {
        assert_eq!(luck.stuck_on, stuck);
        assert_eq!(
            say::remedy::depends(luck, &prepared.subject),
            "whether it helps depends on the node that the scheduler chooses: started on odd it would be stuck again"
        );
    }
    let both = remedies(&verdict).into_iter().find(|remedy| matches!(remedy.action, Action::ChangeTogether(_)));
    assert_eq!(both.is_some(), !stuck.is_empty(), "with a model as well it could go on from everywhere");
}
