//! Guests that KubeVirt refuses, and those that nothing migrates: every verb and gate says the same.

use super::*;
use crate::answers::drain::{State, drain};
use crate::answers::missing_guests::MissingGuests;
use crate::fit::label;
use crate::judge::{Manifest, judge};
use crate::kubevirt::subject;
use crate::policy::UserName;
use crate::testing::fleet::{cascade_lake, cordon, set};

const MODEL: &str = "Skylake-Server-noTSX-IBRS";

/// A guest on node n1 with this state; n2 and n3 fit, and are cordoned if `cordoned`.
fn world_of(not_ready: bool, schedulable: &str, cordoned: bool) -> World {
    let own = cascade_lake("n1").tweak(|node| {
        node.not_ready = not_ready;
        set(node, label::SCHEDULABLE, schedulable);
    });
    let others = ["n2", "n3"].map(|name| {
        cascade_lake(name).tweak(|node| {
            if cordoned {
                cordon(node);
            }
        })
    });
    let nodes = [own].into_iter().chain(others).collect();
    let guest = running("db", "n1", MODEL).tweak(|guest| guest["spec"]["evictionStrategy"] = json!("LiveMigrate"));
    World { cluster: cluster("1.9.0", nodes, [vmi(guest)]), policies: Vec::new() }
}

/// A node that is not ready and has no heartbeat migrates nothing: audit, the gate of `check`, the remedies of
/// `explain` and `drain` agree. One of the two signs alone is a doubt.
#[rstest]
#[case::well(false, "true", false, "FITS", State::CanLeave)]
#[case::not_ready(true, "true", false, "FITS-BY-LABELS", State::CanLeave)]
#[case::no_heartbeat(false, "false", false, "FITS-BY-LABELS", State::CanLeave)]
#[case::down(true, "false", false, "STUCK", State::Stuck)]
#[case::down_and_no_target(true, "false", true, "STUCK", State::Stuck)]
#[case::well_and_no_target(false, "true", true, "STUCK", State::Stuck)]
fn a_node_that_is_down_is_down_for_every_verb(
    #[case] not_ready: bool,
    #[case] schedulable: &str,
    #[case] cordoned: bool,
    #[case] state: &str,
    #[case] at_drain: State,
) {
    let world = world_of(not_ready, schedulable, cordoned);
    let rows = audit(&world, NEVER);
    let row = one(&rows, "db");
    let is_stuck = state == "STUCK";
    let manifest =
        Manifest::Migration(Box::new(subject::asked_for(world.cluster.vmi(&row.namespace, "db").expect("the guest"))));
    let case = judge(&world, &manifest, UserName::NOBODY, Depth::Full).expect("a verdict");
    assert_eq!(say::state(&case.verdict, case.verdict.impact()).as_str(), state, "explain");
    assert_eq!(case.verdict.impact() == Some(Impact::Pinned), is_stuck, "the gate of check");
    assert_eq!(row.impact == Some(Impact::Pinned), is_stuck, "the gate of audit: {row:#?}");
    // The node that lost its heartbeat no longer meets the pod's own selector, which the table says first.
    assert!(row.state.as_str() == state || row.state == say::StateWord::OwnNode && schedulable == "false", "{row:#?}");
    let node = world.cluster.fleet.find("n1").expect("the node");
    let drained = drain(&world, &[node], false, &|_, _| {});
    assert_eq!(drained.nodes[0].guests[0].state, at_drain, "drain");
    let is_down = not_ready && schedulable == "false";
    let offered: Vec<_> = case.verdict.findings.iter().flat_map(|finding| &finding.remedies).collect();
    assert_eq!(offered.is_empty(), is_down || !is_stuck, "a remedy is offered that frees nothing: {offered:?}");
    assert_eq!(row.cause == Some(Cause::Temporary), is_stuck, "{row:#?}");
}

const NO_GPU: &str =
    "GPU nvidia.com/A100 is not in permittedHostDevices of the KubeVirt resource, so virt-controller creates no pod";

/// A guest that KubeVirt refuses starts nowhere: it is counted, listed and stopped by a gate, whether it is stopped or
/// waits, and also if another guest differs in its devices alone.
#[test]
fn a_guest_that_kubevirt_refuses_is_no_guest_that_fits() {
    let gpu = |name: &str, device: &str| {
        vm(name, MODEL).tweak(|vm| {
            vm["spec"]["template"]["spec"]["domain"]["devices"] =
                json!({"gpus": [{"name": "a", "deviceName": device}]});
        })
    };
    let numa = vm("numa", MODEL).tweak(|vm| {
        vm["spec"]["template"]["spec"]["domain"]["cpu"]["numa"] = json!({"guestMappingPassthrough": {}});
    });
    let waiting = running("waits", "", MODEL).tweak(|vmi| {
        vmi["spec"]["domain"]["devices"] = json!({"gpus": [{"name": "a", "deviceName": "nvidia.com/A100"}]});
        vmi["status"] = json!({"phase": "Pending"});
    });
    let permitted = json!({"pciHostDevices": [{"resourceName": "nvidia.com/A10"}]});
    let kubevirt = json!({"metadata": {"name": "kubevirt", "namespace": "kubevirt"},
        "spec": {"configuration": {"permittedHostDevices": permitted}}});
    let objects = [
        ClusterObject::KubeVirt(Box::new(read(kubevirt))),
        ClusterObject::VirtualMachine(Box::new(read(gpu("a10", "nvidia.com/A10")))),
        ClusterObject::VirtualMachine(Box::new(read(gpu("a100", "nvidia.com/A100")))),
        ClusterObject::VirtualMachine(Box::new(read(numa))),
        vmi(waiting),
    ];
    let nodes = ["n1", "n2", "n3"].map(cascade_lake).into();
    let world = World { cluster: cluster("1.9.0", nodes, objects), policies: Vec::new() };
    let rows = audit(&world, NEVER);
    let of = |name: &str| {
        let row = one(&rows, name);
        let why: Vec<&str> = row.refusals.iter().map(|refusal| refusal.why.as_str()).collect();
        let next = &row.at_next_start;
        assert_eq!(next.refusals.is_empty(), why.is_empty(), "{row:#?}");
        assert_eq!(next.start_nodes == Some(0), !why.is_empty(), "it is said to start somewhere: {row:#?}");
        (row.state, row.impact, why.join("; "))
    };
    let refused = |why: &str| (say::StateWord::CannotStart, Some(Impact::Unschedulable), why.to_owned());
    assert_eq!(of("a10").2, "", "a permitted device is refused");
    assert_eq!(of("a100"), refused(NO_GPU));
    assert_eq!(of("waits"), refused(NO_GPU));
    let numa = "cpu.numa.guestMappingPassthrough requires";
    assert_eq!(of("numa"), refused(&format!("{numa} memory.hugepages; {numa} cpu.dedicatedCpuPlacement")));
}

/// A VMI that waits is deleted by KubeVirt once its VM is Halted: the guest is a stopped one, and its VM is judged.
#[rstest]
#[case::halted("Halted", LifeStage::Stopped)]
#[case::always("Always", LifeStage::Starting)]
fn a_guest_that_waits_and_is_halted_is_stopped(#[case] strategy: &str, #[case] expected: LifeStage) {
    let waiting = running("db", "", MODEL).tweak(|vmi| vmi["status"] = json!({"phase": "Scheduling"}));
    let stored = vm("db", MODEL).tweak(|vm| vm["spec"]["runStrategy"] = json!(strategy));
    let objects = [ClusterObject::VirtualMachine(Box::new(read(stored))), vmi(waiting)];
    let nodes = ["n1", "n2", "n3"].map(cascade_lake).into();
    let world = World { cluster: cluster("1.9.0", nodes, objects), policies: Vec::new() };
    let rows = audit(&world, NEVER);
    assert_eq!(rows.len(), 1, "it is counted twice, or not at all");
    assert_eq!(one(&rows, "db").stand, expected, "a guest that is being stopped is said to start");
    let vmi = world.cluster.vmi("shop", "db").expect("the VMI");
    assert_eq!(subject::of_vmi(vmi, &world.cluster).not_judged.is_some(), expected == LifeStage::Stopped);
}

/// A VM without a VMI is called stopped only if the dump shows that it does not run.
#[rstest]
#[case::by_its_status("Running", "Always", false, LifeStage::RunningUnseen)]
#[case::paused("Paused", "Always", true, LifeStage::RunningUnseen)]
#[case::migrating("Migrating", "Manual", true, LifeStage::RunningUnseen)]
#[case::stopped_by_its_status("Stopped", "Always", false, LifeStage::Stopped)]
#[case::without_a_status("", "Always", false, LifeStage::NotKnown)]
#[case::manual_without_a_status("", "Manual", false, LifeStage::NotKnown)]
#[case::halted_without_a_status("", "Halted", false, LifeStage::Stopped)]
#[case::others_have_a_vmi("", "Always", true, LifeStage::Stopped)]
fn a_vm_without_a_vmi_is_called_what_the_dump_shows(
    #[case] status: &str,
    #[case] strategy: &str,
    #[case] has_others: bool,
    #[case] expected: LifeStage,
) {
    let stored = vm("db", MODEL).tweak(|vm| {
        vm["spec"]["runStrategy"] = json!(strategy);
        vm["status"] = json!({"printableStatus": status});
    });
    let other = has_others.then(|| vmi(running("web", "n1", MODEL)));
    let objects = [ClusterObject::VirtualMachine(Box::new(read(stored)))].into_iter().chain(other);
    let nodes = ["n1", "n2", "n3"].map(cascade_lake).into();
    let mut world = World { cluster: cluster("1.9.0", nodes, objects), policies: Vec::new() };
    let stand = |world: &World| one(&audit(world, NEVER), "db").stand;
    assert_eq!(stand(&world), expected, "a guest that may run is said to be stopped, or the reverse");
    let missing = MissingGuests::of(&world.cluster, &|_, name| name == "db");
    assert_eq!(missing.are_any(), expected != LifeStage::Stopped, "{missing:?}");
    assert_eq!(missing.without_vmi().is_some(), expected != LifeStage::Stopped, "{missing:?}");
    world.cluster.is_live = true;
    assert_eq!(stand(&world), LifeStage::Stopped, "in a live cluster every VMI is known");
}

/// virt-controller starts no guest of a VM that is being deleted, whatever else its specification equals.
#[test]
fn a_vm_that_is_being_deleted_starts_no_more() {
    let going = |vm: &mut Value| vm["metadata"]["deletionTimestamp"] = json!("2026-11-01T00:00:00Z");
    let stored = |vm: Value| ClusterObject::VirtualMachine(Box::new(read(vm)));
    let waiting = running("waits", "", MODEL).tweak(|vmi| vmi["status"] = json!({"phase": "Scheduling"}));
    let objects = [
        stored(vm("stays", MODEL)),
        stored(vm("goes", MODEL).tweak(going)),
        stored(vm("waits", MODEL).tweak(going)),
        vmi(waiting),
        stored(vm("runs", MODEL).tweak(going)),
        vmi(running("runs", "n1", MODEL)),
    ];
    let nodes = ["n1", "n2", "n3"].map(cascade_lake).into();
    let world = World { cluster: cluster("1.9.0", nodes, objects), policies: Vec::new() };
    let rows = audit(&world, NEVER);
    let next = |name: &str| {
        let next = &one(&rows, name).at_next_start;
        (next.verdict, next.why.clone())
    };
    assert_eq!(next("stays").0, OutcomeWord::Fits, "a guest that starts is said to start no more");
    let gone = "it is being deleted: KubeVirt does not start it again";
    for name in ["goes", "waits", "runs"] {
        assert_eq!(
            next(name),
            (OutcomeWord::Unknown, gone.to_owned()),
            "a guest that ends for ever is judged for a next start"
        );
    }
    assert_eq!(one(&rows, "waits").stand, LifeStage::Stopped, "KubeVirt deletes the VMI");
    let guest = world.cluster.vmi("shop", "runs").expect("a guest");
    let prepared = subject::of_running(guest, &world.cluster).expect("it runs");
    assert_eq!(prepared.subject.restart, None, "a restart would never start it again");
}
