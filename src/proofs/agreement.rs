//! The verbs agree about each guest: what it is judged as, its verdict, its state and its next start.

use rstest::rstest;
use serde_json::{Value, json};

use super::Fault;
use crate::answers::audit::{AuditRow, audit};
use crate::answers::diff::verdicts::{GuestVerdict, Verdicts};
use crate::answers::drain::{State, drain};
use crate::answers::libvirt_plan::Survey;
use crate::answers::pod_rules;
use crate::cli::explain::{Explained, case_of, next_start};
use crate::cli::output::{ResultOrigin, ResultRow};
use crate::cli::resource::ObjectKind;
use crate::fit::label;
use crate::judge::{Evaluation, GuestOf, all_guests};
use crate::kubevirt::active_migration;
use crate::kubevirt::cluster::ClusterObject;
use crate::kubevirt::migration::{self, NotEvacuated};
use crate::say::StateWord;
use crate::testing::cluster::{cluster, read, running, vm, vmi as vmi_of_cluster};
use crate::testing::fleet::{intel, mixed};
use crate::world::World;

/// Returns the disagreements about the guests of a world.
pub(super) fn faults(world: &World) -> Vec<Fault> {
    let rows = audit(world, &|| false);
    let mut out = Vec::new();
    for guest in all_guests(&world.cluster) {
        let title = guest.title();
        let Some(row) = rows.iter().find(|row| row.guest == title) else {
            out.push(Fault::new("the audit leaves out a guest", title));
            continue;
        };
        out.extend(of_explain(world, guest, row));
        // It compares guests by labels alone.
        out.extend(of_diff(world, guest, row).filter(|_| world.cluster.libvirt.is_empty()));
    }
    out.extend(of_drain(world, &rows));
    out
}

fn differs(rule: &'static str, title: &str, one: impl std::fmt::Debug, other: impl std::fmt::Debug) -> Option<Fault> {
    let (one, other) = (format!("{one:?}"), format!("{other:?}"));
    (one != other).then(|| Fault::new(rule, format!("{title}: {one} against {other}")))
}

/// Compares `explain`, by the VM and by the VMI, and the row of its JSON with the audit.
fn of_explain(world: &World, guest: GuestOf<'_>, row: &AuditRow) -> Vec<Fault> {
    let (namespace, name) = (&guest.metadata().namespace, &guest.metadata().name);
    let survey = Survey::of(world);
    let settled = |mut case: Evaluation<'static>| {
        let vmi = pod_rules::vmi_at_start(namespace, name, &world.cluster);
        pod_rules::settle(&mut case, vmi.as_deref(), world, survey.residents());
        case
    };
    let mut out = Vec::new();
    for kind in [ObjectKind::VirtualMachine, ObjectKind::Vmi] {
        let Some(case) = case_of(world, kind, namespace, name).map(settled) else { continue };
        let verdict = (case.verdict.assessment.outcome.word(), case.verdict.impact());
        out.extend(differs("explain and audit differ", &row.guest, verdict, (row.verdict, row.impact)));
        let state = Explained::of(&case, None, &survey, false).state();
        if !matches!(row.state, StateWord::OwnNode | StateWord::Pending) {
            out.extend(differs("explain and audit differ in the state", &row.guest, state, row.state));
        }
        let json = ResultRow::new(ResultOrigin::default(), &case, &survey, false);
        let stated = if row.refusals.is_empty() { row.stated_verdict.as_str() } else { "refused" };
        out.extend(differs("check and audit differ", &row.guest, json.word(), stated));
        if let Some(next) = next_start(world, kind, namespace, name).map(settled) {
            let expected = (row.at_next_start.impact, row.at_next_start.verdict);
            let impact = next.verdict.impact();
            let outcome = impact.map_or(next.verdict.assessment.outcome.word(), Into::into);
            out.extend(differs("explain and audit differ at next start", &row.guest, (impact, outcome), expected));
        }
    }
    out
}

fn of_diff(world: &World, guest: GuestOf<'_>, row: &AuditRow) -> Option<Fault> {
    let GuestVerdict { outcome, own_node, not_migratable } = Verdicts::new(world).of(guest);
    differs(
        "diff and audit differ",
        &row.guest,
        (outcome, own_node, not_migratable),
        (row.stated_verdict, row.own_node, row.not_migratable.is_some()),
    )
}

/// Compares a drain of each node with the audit, as far as no other guest that leaves and no room matters.
fn of_drain(world: &World, rows: &[AuditRow]) -> Vec<Fault> {
    let cluster = &world.cluster;
    if active_migration::landed(cluster).is_some() {
        return Vec::new();
    }
    let nodes: Vec<usize> = (0..cluster.fleet.len()).collect();
    let report = drain(world, &nodes, false, &|_, _| {});
    let alone = report.nodes.iter().flat_map(|node| &node.guests).filter(|guest| {
        guest.after.is_empty()
            && guest.rivals.is_empty()
            && guest.no_room.is_empty()
            && guest.unfinished_migration.is_none()
            && guest.libvirt_refuses.is_none()
            && !guest.draws_vendor
    });
    let mut out = Vec::new();
    for guest in alone {
        let Some(row) = rows.iter().find(|row| row.guest == guest.guest && row.now.is_some()) else { continue };
        // An eviction is stricter than the webhook for migrations.
        let vmi = cluster.vmi(&row.namespace, &row.name);
        if matches!(vmi.and_then(migration::not_evacuated), Some(NotEvacuated::Undecided(_))) {
            continue;
        }
        let expected = match guest.state {
            State::ShutDown | State::Stays | State::Ends => continue,
            State::Stuck => StateWord::Stuck,
            State::OneTarget => StateWord::Fragile,
            State::CanLeave => StateWord::Fits,
        };
        let state = match row.state {
            StateWord::OwnNode => continue,
            StateWord::FitsByLabels => StateWord::Fits,
            other => other,
        };
        out.extend(differs("drain and audit differ", &row.guest, (expected, &guest.why), (state, &guest.why)));
    }
    out
}

/// Returns a change of a VMI's status.
fn at(phase: &str, node: &str) -> Value {
    json!({"status": {"phase": phase, "nodeName": node}})
}

/// Returns a change, and that the object is being deleted.
fn deleted(mut change: Value) -> Value {
    change["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    change
}

fn condition(kind: &str, status: &str) -> Value {
    json!({"status": {"conditions": [{"type": kind, "status": status, "reason": "R", "message": "m"}]}})
}

fn halted() -> Value {
    json!({"spec": {"runStrategy": "Halted"}})
}

/// The objects of a guest, here changes of its VMI and of its VM, null without one, decide what it is judged as: each
/// verb says the same.
#[rstest]
#[case::runs(json!({}), json!({}), "running fits")]
#[case::runs_without_a_vm(json!({}), json!(null), "running fits")]
#[case::pending(at("Pending", ""), json!({}), "starting fits")]
#[case::scheduling(at("Scheduling", ""), json!({}), "starting fits")]
#[case::node_does_not_report(at("Unknown", "node-a"), json!({}), "starting unknown")]
#[case::being_deleted(deleted(json!({})), json!({}), "running unknown")]
#[case::deleted_before_it_runs(deleted(at("Scheduling", "")), json!({}), "starting unknown")]
#[case::succeeded(at("Succeeded", "node-a"), json!({}), "stopped fits")]
#[case::failed(at("Failed", "node-a"), json!({}), "stopped fits")]
#[case::succeeded_without_a_vm(at("Succeeded", "node-a"), json!(null), "")]
#[case::paused(condition("Paused", "True"), json!({}), "running fits")]
#[case::no_eviction_migrates_it(condition("AgentConnected", "True"), json!({}), "running fits")]
#[case::refused(condition("LiveMigratable", "False"), json!({}), "running pinned")]
#[case::stopped(json!(null), halted(), "stopped fits")]
#[case::vm_being_deleted(json!(null), deleted(json!({})), "stopped unknown")]
#[case::vm_being_deleted_while_it_runs(json!({}), deleted(json!({})), "running fits")]
#[case::vm_being_deleted_before_it_runs(at("Scheduling", ""), deleted(json!({})), "stopped unknown")]
#[case::stopped_before_it_runs(at("Scheduling", ""), halted(), "stopped fits")]
fn a_guest_is_judged_as_the_same_by_each_verb(#[case] of_vmi: Value, #[case] of_vm: Value, #[case] expected: &str) {
    let mut objects = Vec::new();
    if !of_vmi.is_null() {
        let mut vmi = running("db", "node-a", "Skylake-Server-noTSX-IBRS");
        if !of_vm.is_null() {
            vmi["metadata"]["ownerReferences"] = json!([{"kind": "VirtualMachine", "name": "db", "uid": "vm-db"}]);
        }
        json_patch::merge(&mut vmi, &of_vmi);
        objects.push(vmi_of_cluster(vmi));
    }
    if !of_vm.is_null() {
        let mut vm = vm("db", "Skylake-Server-noTSX-IBRS");
        vm["spec"]["runStrategy"] = json!("Always");
        json_patch::merge(&mut vm, &of_vm);
        objects.push(ClusterObject::VirtualMachine(Box::new(read(vm))));
    }
    let world = World { cluster: cluster("v1.6.3", mixed(), objects), policies: Vec::new() };
    let rows = audit(&world, &|| false);
    let found: Vec<String> =
        rows.iter().map(|row| format!("{} {}", row.stand.as_str(), row.stated_verdict.as_str())).collect();
    assert_eq!(found.join(", "), expected, "the audit shows another guest than there is");
    let faults = faults(&world);
    assert!(faults.is_empty(), "two verbs disagree about a guest: {faults:#?}");
    let explained = case_of(&world, ObjectKind::Vmi, "shop", "db").expect("a guest");
    let is_over = expected.is_empty();
    let is_judged = explained.prepared.not_judged.is_none();
    assert!(!is_over || !is_judged, "a guest that has ended is said to start again");
}

/// A volume that can be used on these nodes keeps the guest on node-a off the others.
#[rstest]
#[case::on_its_node_alone(&["node-a"], "STUCK")]
#[case::on_one_other(&["node-a", "node-b"], "FRAGILE")]
#[case::everywhere(&["node-a", "node-b", "node-c", "node-d", "node-e"], "FITS")]
fn a_guest_whose_volume_is_bound_to_nodes_is_in_the_same_state_for_each_verb(
    #[case] usable: &[&str],
    #[case] expected: &str,
) {
    let claim = json!({"metadata": {"namespace": "shop", "name": "root"}, "spec": {"volumeName": "pv-root"}});
    let required = json!({"nodeSelectorTerms": [{"matchExpressions": [
        {"key": label::HOSTNAME, "operator": "In", "values": usable}]}]});
    let volume = json!({"metadata": {"name": "pv-root"}, "spec": {"nodeAffinity": {"required": required}}});
    let mut guest = running("db", "node-a", "Skylake-Server-noTSX-IBRS");
    guest["spec"]["volumes"] = json!([{"name": "root", "persistentVolumeClaim": {"claimName": "root"}}]);
    let objects = [ClusterObject::Claim(read(claim)), ClusterObject::Volume(read(volume)), vmi_of_cluster(guest)];
    let world = World { cluster: cluster("v1.6.3", intel(), objects), policies: Vec::new() };
    let states: Vec<&str> = audit(&world, &|| false).iter().map(|row| row.state.as_str()).collect();
    assert_eq!(states, [expected], "the audit shows another state");
    let faults = faults(&world);
    assert!(faults.is_empty(), "two verbs disagree about a guest: {faults:#?}");
}
