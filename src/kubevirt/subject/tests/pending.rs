//! Tests of changes of a running guest that count once it has migrated.

use super::*;
use crate::say;

/// A guest on n1 with these conditions; n2 and n3 are like it.
fn judged(conditions: &Value) -> (Verdict, bool) {
    let guest = running("db", "n1", "host-model").tweak(|vmi| vmi["status"]["conditions"] = conditions.clone());
    let stored = ClusterObject::VirtualMachine(Box::new(read(vm("db", "host-model"))));
    let objects = [stored, launcher(&guest, []), ClusterObject::Vmi(Box::new(read(guest.clone())))];
    let cluster = cluster("1.8.4", ["n1", "n2", "n3"].map(cascade_lake).into(), objects);
    let prepared = of_migration(&asked_for(&read::<Vmi>(guest)), &cluster);
    let is_restarted = prepared.subject.restart.is_some();
    (prepared.judge(&cluster, Depth::Full), is_restarted)
}

/// virt-controller migrates a guest for these conditions, and does not look at the status of `HotVCPUChange`. A restart
/// is offered unless it loses the data that the migration copies.
#[rstest]
#[case::vcpus("HotVCPUChange", "True", Some("its new vCPUs count once"), true)]
#[case::vcpus_of_any_status("HotVCPUChange", "False", Some("its new vCPUs count once"), true)]
#[case::memory("HotMemoryChange", "True", Some("its new memory counts once"), true)]
#[case::memory_that_failed("HotMemoryChange", "False", None, true)]
#[case::volumes("VolumesChange", "True", Some("that migration copies its data"), false)]
#[case::volumes_that_are_done("VolumesChange", "False", None, true)]
#[case::interfaces("MigrationRequired", "True", Some("its new network interfaces count once"), true)]
#[case::interfaces_that_wait("MigrationRequired", "False", None, true)]
#[case::another("AgentConnected", "True", None, true)]
fn a_change_that_waits_for_a_migration_is_said(
    #[case] condition: &str,
    #[case] status: &str,
    #[case] expected: Option<&str>,
    #[case] may_restart: bool,
) {
    let live = json!({"type": "LiveMigratable", "status": "True"});
    let (verdict, is_restarted) = judged(&json!([live, {"type": condition, "status": status}]));
    let found = verdict.found(Check::MigrationWanted).map(say::finding::message);
    assert_eq!(found.is_some(), expected.is_some(), "{found:?}");
    let found = found.unwrap_or_default();
    assert!(found.contains(expected.unwrap_or_default()), "{found}");
    assert_eq!(is_restarted, may_restart, "a restart that loses data is offered, or one that helps is not");
}

#[test]
fn several_changes_are_said_in_one_sentence() {
    let conditions = ["LiveMigratable", "HotMemoryChange", "HotVCPUChange"];
    let conditions = conditions.map(|kind| json!({"type": kind, "status": "True"}));
    let (verdict, _) = judged(&json!(conditions));
    let found = verdict.found(Check::MigrationWanted).map(say::finding::message);
    let expected = "waits for a migration: its new vCPUs and memory count once it has migrated (conditions HotVCPUChange and \
                    HotMemoryChange)";
    assert_eq!(found.as_deref(), Some(expected));
}
