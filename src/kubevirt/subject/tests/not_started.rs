//! Tests of guests that are to run and do not start, as KubeVirt reports it.

use super::*;
use crate::fit::verdict::Check;
use crate::judge;
use crate::world::World;

const HANDLER: &str = "Synchronizing with the Domain failed.";
const REFUSED: &str = "server error. command SyncVMI failed: \"LibvirtError(Code=91, Domain=31, Message='the CPU is incompatible with host CPU: Host CPU does not provide required features: avx512-vnni, vaes')\"";
const QUOTA: &str = "pods \"virt-launcher-db-x\" is forbidden: exceeded quota: small";

/// Returns the report of an explained guest.
fn report(world: &World) -> Option<String> {
    let guest = judge::GuestOf::named("shop", "db", &world.cluster)?;
    let case = judge::judge_guest(world, guest, crate::fit::judgement::Depth::Full);
    case.verdict.found(Check::NotStarted).map(message)
}

fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Value {
    json!([{"type": kind, "status": status, "reason": reason, "message": message}])
}

#[rstest]
#[case::libvirt(
    "Scheduled",
    "n1",
    condition("Synchronized", "False", HANDLER, REFUSED),
    Some(
        "libvirt refuses to start it on n1: the CPU is incompatible with host CPU: Host CPU does not provide required features: avx512-vnni, vaes"
    )
)]
#[case::another_error_there(
    "Scheduled",
    "n1",
    condition("Synchronized", "False", HANDLER, "no space left on device"),
    Some("it has not started on n1: KubeVirt reports: no space left on device")
)]
#[case::no_pod(
    "Pending",
    "",
    condition("Synchronized", "False", "FailedCreate", QUOTA),
    Some(
        "it has not started: KubeVirt reports FailedCreate: pods \"virt-launcher-db-x\" is forbidden: exceeded quota: small"
    )
)]
#[case::without_a_message("Pending", "", condition("Synchronized", "False", "FailedCreate", ""), None)]
#[case::in_order("Scheduled", "n1", condition("Synchronized", "True", "", ""), None)]
#[case::it_runs("Running", "n1", condition("Synchronized", "False", "", "a volume cannot be plugged"), None)]
#[case::it_has_ended("Failed", "n1", condition("Synchronized", "False", HANDLER, REFUSED), None)]
fn what_kubevirt_reports_about_a_vmi_is_said(
    #[case] phase: &str,
    #[case] node: &str,
    #[case] conditions: Value,
    #[case] expected: Option<&str>,
) {
    let guest = running("db", node, "").tweak(|vmi| {
        vmi["status"] = json!({"phase": phase, "nodeName": node, "conditions": conditions});
    });
    let owner = vm("db", "").tweak(|vm| vm["spec"]["runStrategy"] = json!("Always"));
    let world = crate::testing::cluster::world(mixed(), [vmi(guest), ClusterObject::VirtualMachine(read(owner))]);
    assert_eq!(
        report(&world).as_deref(),
        expected,
        "a guest that does not start is said to fit, or one that runs not to"
    );
}

#[rstest]
#[case::denied("Always", json!({"conditions": condition("Failure", "True", "FailedCreate", "admission webhook denied the request")}),
    Some("it has not started: KubeVirt reports FailedCreate: admission webhook denied the request"))]
#[case::crashes("Always", json!({"startFailure": {"consecutiveFailCount": 7}}), Some("its last 7 starts failed, and KubeVirt tries again"))]
#[case::crashed_once("RerunOnFailure", json!({"startFailure": {"consecutiveFailCount": 1}}), Some("its last start failed, and KubeVirt tries again"))]
#[case::mended("Always", json!({"conditions": condition("Failure", "False", "", "")}), None)]
#[case::stopped("Halted", json!({"startFailure": {"consecutiveFailCount": 7}}), None)]
#[case::nothing_failed("Always", json!({}), None)]
fn what_kubevirt_reports_about_a_vm_is_said(
    #[case] strategy: &str,
    #[case] status: Value,
    #[case] expected: Option<&str>,
) {
    let owner = vm("db", "").tweak(|vm| {
        vm["spec"]["runStrategy"] = json!(strategy);
        vm["status"] = status;
    });
    let world = crate::testing::cluster::world(mixed(), [ClusterObject::VirtualMachine(read(owner))]);
    assert_eq!(report(&world).as_deref(), expected, "a VM that never starts is said to be stopped and to fit");
}

#[rstest]
#[case::refused(
    "Pending",
    "True",
    Some(
        "its migration migrate-db is unfinished (Pending), and a ResourceQuota of its namespace refuses its target pod"
    )
)]
#[case::no_longer("Pending", "False", Some("its migration migrate-db is unfinished (Pending)"))]
#[case::ended("Failed", "True", None)]
fn a_quota_that_refuses_a_target_pod_is_named(
    #[case] phase: &str,
    #[case] status: &str,
    #[case] expected: Option<&str>,
) {
    let vmim = request("db").tweak(|vmim| {
        vmim["metadata"]["name"] = json!("migrate-db");
        vmim["status"] =
            json!({"phase": phase, "conditions": condition("migrationRejectedByResourceQuota", status, "", "")});
    });
    let objects = [vmi(running("db", "n1", "")), ClusterObject::Migration(read(vmim))];
    let cluster = cluster("1.8.4", mixed(), objects);
    let unfinished = UnfinishedMigration::of(cluster.vmi("shop", "db").expect("the guest"), &cluster);
    let said = unfinished.map(|unfinished| unfinished.to_string());
    assert_eq!(said.as_deref(), expected, "a migration waits for ever, and nodes that fit are named");
}

/// The condition of the VMI stands for that of a launcher that a dump lacks.
#[rstest]
#[case::waits("Scheduling", false, true)]
#[case::runs("Running", false, false)]
#[case::its_launcher_is_known("Scheduling", true, false)]
fn the_scheduler_is_read_from_the_vmi_too(#[case] phase: &str, #[case] has_launcher: bool, #[case] expected: bool) {
    let message = "0/3 nodes are available: 3 Insufficient memory.";
    let guest = running("db", "", "").tweak(|vmi| {
        vmi["status"] =
            json!({"phase": phase, "conditions": condition("PodScheduled", "False", "Unschedulable", message)});
    });
    let pod = has_launcher.then(|| launcher(&guest, []));
    let cluster = cluster("1.8.4", mixed(), pod.into_iter().chain([vmi(guest)]));
    let found = found_no_place(cluster.vmi("shop", "db").expect("the guest"), &cluster);
    assert_eq!(found, expected.then_some(message), "a guest without a place is said to fit");
}
