//! A guest keeps what its VM asked for at its start: who asks for it now, and whether a restart takes it away.

use rstest::rstest;
use serde_json::{Value, json};

use super::super::*;
use crate::fit::remedy::RemedyId;
use crate::kubevirt::cluster::ClusterObject;
use crate::say;
use crate::testing::Tweak;
use crate::testing::cluster::{cluster, migration as request, read, running, vm, vmi};
use crate::testing::fleet::{cascade_lake, set};

const POOL: &str = "pool";

/// Returns a cluster whose guest `db` was started with this part of the specification, on the one node of its pool, and
/// that has this VM by now.
fn changed(started: &Value, now: &Value, instancetype: Option<&Value>) -> Cluster {
    let nodes = ["node-a", "node-c", "node-d"].map(cascade_lake).tweak(|nodes| set(&mut nodes[0], POOL, "fast"));
    let with = |spec: &mut Value, part: &Value| {
        part.as_object().into_iter().flatten().for_each(|(key, value)| spec[key] = value.clone());
    };
    let stored = vm("db", "Cascadelake-Server").tweak(|vm| {
        with(&mut vm["spec"]["template"]["spec"], now);
        if instancetype.is_some() {
            vm["spec"]["instancetype"] = json!({"name": "big"});
        }
    });
    let guest = running("db", "node-a", "Cascadelake-Server").tweak(|vmi| with(&mut vmi["spec"], started));
    let kind = "VirtualMachineClusterInstancetype";
    let known = instancetype.filter(|spec| !spec.is_null());
    let known = known.map(|spec| json!({"kind": kind, "metadata": {"name": "big"}, "spec": spec}));
    let objects = [vmi(guest), ClusterObject::VirtualMachine(Box::new(read(stored)))];
    let known = known.map(|known| ClusterObject::Instancetype(read(known)));
    cluster("1.9.0", nodes.into(), objects.into_iter().chain(known))
}

#[rstest]
#[case::as_it_was(json!({"pool": "fast"}), None, "spec.template.spec.nodeSelector of the VM", true)]
#[case::gone(json!({}), None, "spec.nodeSelector of the VMI; its VM does not ask for it: a restart takes it away", false)]
#[case::another_value(
    json!({"pool": "slow"}), None,
    "spec.nodeSelector of the VMI; its VM does not ask for it: a restart takes it away", false
)]
#[case::of_its_instancetype(
    json!({}), Some(json!({"nodeSelector": {"pool": "fast"}})),
    "VirtualMachineClusterInstancetype big (spec.nodeSelector)", false
)]
#[case::its_instancetype_has_another_value(
    json!({}), Some(json!({"nodeSelector": {"pool": "slow"}})),
    "spec.nodeSelector of the VMI; its VM does not ask for it: a restart takes it away", false
)]
#[case::of_the_vm_beside_its_instancetype(
    json!({"pool": "fast"}), Some(json!({"cpu": {"guest": 2}})), "spec.template.spec.nodeSelector of the VM", true
)]
#[case::its_instancetype_is_not_known(json!({}), Some(json!(null)), "spec.nodeSelector of the VMI", false)]
fn the_vm_is_named_for_what_it_asks_for_now(
    #[case] selector: Value,
    #[case] instancetype: Option<Value>,
    #[case] expected: &str,
    #[case] is_edited: bool,
) {
    let started = json!({"nodeSelector": {"pool": "fast"}});
    let cluster = changed(&started, &json!({"nodeSelector": selector}), instancetype.as_ref());
    let prepared = of_migration(&read(request("db")), &cluster);
    let verdict = prepared.judge(&cluster, Depth::Full);
    let asked = verdict.findings.iter().filter(|finding| finding.check == Check::AskedBy);
    let lines: Vec<String> = asked.map(say::finding::message).collect();
    let expected = format!("pool=fast is asked for by {expected}");
    assert_eq!(lines, [expected], "the user edits an object that does not ask for it");
    let next = prepared.subject.restart.as_ref();
    let is_kept = next.map(|start| start.placement.get(POOL) == Some("fast"));
    let is_gone = lines[0].contains("a restart takes it away");
    assert_eq!(is_kept.unwrap_or(!is_gone), !is_gone, "a restart does not do what is said of it");
    let remedies = verdict.findings.iter().flat_map(|finding| &finding.remedies);
    let is_offered = remedies.map(|remedy| remedy.action.id()).any(|id| id == RemedyId::ChangeSelector);
    assert_eq!(is_offered, is_edited, "an edit of the VM is offered that changes nothing, or takes out its new choice");
}

#[rstest]
#[case::as_it_was("fast", "spec.template.spec.affinity of the VM", true)]
#[case::another_value("slow", "spec.affinity of the VMI", false)]
fn an_affinity_is_ascribed_to_the_vm_that_has_it(#[case] now: &str, #[case] expected: &str, #[case] is_edited: bool) {
    let affinity = |value: &str| {
        let term = json!({"matchExpressions": [{"key": POOL, "operator": "In", "values": [value]}]});
        let required = json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}});
        json!({"affinity": {"nodeAffinity": required}})
    };
    let cluster = changed(&affinity("fast"), &affinity(now), None);
    let verdict = of_migration(&read(request("db")), &cluster).judge(&cluster, Depth::Full);
    let asked = verdict.findings.iter().filter(|finding| finding.check == Check::AskedBy);
    let lines: Vec<String> = asked.map(say::finding::message).collect();
    let expected = format!("pool in (fast) is asked for by {expected}");
    assert_eq!(lines, [expected], "the user looks for a condition that the VM does not have");
    let remedies = verdict.findings.iter().flat_map(|finding| &finding.remedies);
    let is_offered = remedies.map(|remedy| remedy.action.id()).any(|id| id == RemedyId::ChangeAffinity);
    assert_eq!(is_offered, is_edited, "an edit is offered of an affinity that the VM has chosen since");
}
