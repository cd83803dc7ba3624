//! Tests of guests whose launcher waits for a node, and of manifests of guests that run.

use super::*;
use crate::testing::cluster::replica_set;

/// The object whose VMI waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Vm,
    VmOnce,
    ReplicaSet,
}

/// The part of the guest in the way, and whether its VM was changed after the pod was created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blocked {
    ByModel { is_changed: bool },
    ByZone { is_changed: bool },
}

use Blocked::{ByModel, ByZone};

/// A guest of model EPYC-Genoa, or with zone=q, on nodes with neither, that waits for a node. KubeVirt has updated the
/// node selector of the VMI if the VM was changed, and not its model.
fn waiting_guest(by: By, blocked: Blocked) -> (Cluster, Vmi) {
    let (old, new) = ("EPYC-Genoa", "Cascadelake-Server-noTSX");
    let zone = |is: bool| if is { json!({ZONE: "q"}) } else { json!({}) };
    let (now, model, has_zone, pod) = match blocked {
        ByModel { is_changed } => (if is_changed { new } else { old }, old, false, model(old)),
        ByZone { is_changed } => (new, new, !is_changed, model(new)),
    };
    let vm = vm("db", now).tweak(|vm| {
        vm["spec"]["runStrategy"] = json!(if by == By::VmOnce { "Once" } else { "Always" });
        vm["spec"]["template"]["spec"]["nodeSelector"] = zone(has_zone);
    });
    let owner = if by == By::ReplicaSet { "VirtualMachineInstanceReplicaSet" } else { "VirtualMachine" };
    let guest = running("db", "", model).tweak(|vmi| {
        vmi["metadata"]["ownerReferences"][0]["kind"] = json!(owner);
        vmi["spec"]["nodeSelector"] = zone(has_zone);
        vmi["status"] = json!({"phase": "Scheduling"});
    });
    let ClusterObject::Launcher(mut launcher) = launcher(&guest, [pod]) else { unreachable!("it is a launcher") };
    if matches!(blocked, ByZone { .. }) {
        let mut placement = (*launcher.placement).clone();
        placement.selector.insert(ZONE, "q");
        launcher.placement = placement.into();
    }
    let nodes = ["n1", "n2", "n3"].map(cascade_lake).into();
    let template = match by {
        By::ReplicaSet => {
            ClusterObject::Replicas(Box::new(read::<crate::kubevirt::wire::ReplicaSet>(replica_set(&vm)).into()))
        }
        By::Vm | By::VmOnce => ClusterObject::VirtualMachine(Box::new(read(vm))),
    };
    let objects = [template, ClusterObject::Vmi(Box::new(read(guest.clone()))), ClusterObject::Launcher(launcher)];
    (cluster("1.8.4", nodes, objects), read(guest))
}

/// virt-controller changes neither the CPU of a VMI nor a pod: the guest has to be created again. A VM that was changed
/// already needs no other change.
#[rstest]
#[case::model(By::Vm, ByModel { is_changed: false }, &["kubectl patch vm db", "virtctl restart db"])]
#[case::model_changed(By::Vm, ByModel { is_changed: true }, &["virtctl restart db"])]
#[case::zone(By::Vm, ByZone { is_changed: false }, &["kubectl patch vm db", "virtctl restart db"])]
#[case::zone_changed(By::Vm, ByZone { is_changed: true }, &["virtctl restart db"])]
#[case::once(By::VmOnce, ByZone { is_changed: false },
    &["kubectl patch vm db", "virtctl stop db", "kubectl wait --for=delete vmi/db", "kubectl patch vm db"])]
#[case::replica_set(By::ReplicaSet, ByModel { is_changed: false }, &["kubectl patch vmirs db", "kubectl delete vmi db"])]
fn a_guest_that_waits_for_a_node_is_created_again(#[case] by: By, #[case] blocked: Blocked, #[case] commands: &[&str]) {
    let (cluster, guest) = waiting_guest(by, blocked);
    let prepared = of_waiting(&guest, &cluster);
    let verdict = prepared.judge(&cluster, Depth::Full);
    assert_eq!(verdict.assessment.outcome.as_str(), "unschedulable", "its pod is said to fit, and is Pending");
    let remedies: Vec<Remedy> = verdict.findings.into_iter().flat_map(|finding| finding.remedies).collect();
    let first = remedies.first().expect("a remedy");
    let lines = first.action.commands(&prepared.subject).lines();
    assert_eq!(lines.len(), commands.len(), "{lines:?}");
    for (line, wanted) in lines.iter().zip(commands) {
        assert!(line.starts_with(wanted), "the pod stays as it is, and the guest never starts: {lines:?}");
    }
    assert_eq!(first.then_fits, (3, 3), "{first:?}");
    let (after, changed) = first.action.apply(&prepared.subject, &cluster.fleet);
    assert!(changed.is_empty(), "{changed:?}");
    assert_eq!(after.fitting(&cluster.fleet).count(), 3, "the guest that is created again starts nowhere");
}

#[test]
fn the_pod_is_named_that_asks_for_what_its_guest_no_longer_does() {
    let (cluster, guest) = waiting_guest(By::Vm, ByZone { is_changed: true });
    let verdict = of_waiting(&guest, &cluster).judge(&cluster, Depth::Full);
    let said: Vec<String> = verdict.findings.iter().map(message).collect();
    let wanted = format!(
        "{ZONE}=q is asked for by the launcher pod alone, which was created before: KubeVirt would not ask for it now"
    );
    assert!(said.contains(&wanted), "people look for it in the VM: {said:?}");
}

/// A manifest that the stored VM does not equal is edited itself: a command would change the guest that runs.
#[rstest]
#[case::as_stored(json!({}), true)]
#[case::without_defaults(json!({"architecture": null, "domain": {"cpu": {"model": "EPYC-Genoa"}}}), true)]
#[case::another_model(json!({"domain": {"cpu": {"model": "EPYC-Rome"}}}), false)]
#[case::another_zone(json!({"nodeSelector": {ZONE: "q"}}), false)]
fn a_manifest_that_is_not_applied_gets_no_commands_for_the_stored_vm(#[case] change: Value, #[case] is_stored: bool) {
    let stored = vm("db", "EPYC-Genoa").tweak(|vm| {
        vm["spec"]["template"]["spec"]["architecture"] = json!("amd64");
        vm["spec"]["template"]["spec"]["domain"]["machine"] = json!({"type": "q35"});
    });
    let sent = stored.clone().tweak(|vm| json_patch::merge(&mut vm["spec"]["template"]["spec"], &change));
    let guest = running("db", "n1", "Cascadelake-Server-noTSX");
    let objects = [
        ClusterObject::VirtualMachine(Box::new(read(stored))),
        launcher(&guest, []),
        ClusterObject::Vmi(Box::new(read(guest))),
    ];
    let nodes: Vec<Node> = ["n1", "n2", "n3"]
        .map(|name| cascade_lake(name).tweak(|node| set(node, "machine-type.node.kubevirt.io/q35", "true")))
        .into();
    let cluster = cluster("1.8.4", nodes, objects);
    let prepared = of_vm(&read(sent), &cluster);
    let verdict = prepared.judge(&cluster, Depth::Full);
    let found = verdict.found(Check::StartNode).map(message).unwrap_or_default();
    assert_eq!(
        found.starts_with("cannot start next time: "),
        !is_stored,
        "a running guest is said to be down: {found}"
    );
    let remedies = verdict.findings.iter().flat_map(|finding| &finding.remedies);
    let lines: Vec<String> = remedies.flat_map(|remedy| remedy.action.commands(&prepared.subject).lines()).collect();
    let in_manifest = lines.iter().all(|line| line.starts_with("# in the manifest "));
    assert!(!lines.is_empty() && in_manifest != is_stored, "the stored guest is restarted for nothing: {lines:?}");
}

/// A migration that is under way is cancelled before another one is requested, and before the node selector of its
/// guest is changed: its target pod stays as it is.
#[rstest]
#[case::added(json!({ZONE: "q"}), json!({}), &["virtctl migrate-cancel db", "virtctl migrate db"])]
#[case::of_the_guest(json!({}), json!({ZONE: "q"}),
    &["virtctl migrate-cancel db", "kubectl patch vm db", "virtctl migrate db"])]
fn a_migration_under_way_is_cancelled_first(#[case] added: Value, #[case] own: Value, #[case] commands: &[&str]) {
    let stored = |phase: &str| {
        let vm = vm("db", "host-model").tweak(|vm| vm["spec"]["template"]["spec"]["nodeSelector"] = own.clone());
        let guest = running("db", "n1", "host-model").tweak(|vmi| vmi["spec"]["nodeSelector"] = own.clone());
        let vmim = request("db").tweak(|vmim| {
            vmim["spec"]["addedNodeSelector"] = added.clone();
            vmim["status"] = json!({"phase": phase});
        });
        let ClusterObject::Launcher(mut waits) = launcher(&guest, []) else { unreachable!("it is a launcher") };
        (waits.name, waits.node, waits.created) = ("target".into(), String::new(), "2026-02-01T00:00:00Z".into());
        waits.placement =
            Placement { selector: [(ZONE.into(), "q".into())].into_iter().collect(), ..Placement::default() }.into();
        let objects = [
            ClusterObject::VirtualMachine(Box::new(read(vm))),
            launcher(&guest, []),
            ClusterObject::Launcher(waits),
            ClusterObject::Vmi(Box::new(read(guest))),
            ClusterObject::Migration(Box::new(read(vmim.clone()))),
        ];
        let nodes = ["n1", "n2", "n3"].map(cascade_lake).into();
        (cluster("1.8.4", nodes, objects), read::<crate::kubevirt::wire::Vmim>(vmim))
    };
    let shown = |phase: &str| {
        let (cluster, vmim) = stored(phase);
        let prepared = of_migration(&vmim, &cluster);
        let notes: Vec<String> = prepared.notes.iter().map(message).collect();
        let remedies = remedies(&prepared, &cluster);
        (remedies.first().expect("a remedy").action.commands(&prepared.subject).lines(), notes)
    };
    let (lines, notes) = shown("Scheduling");
    assert_eq!(lines.len(), commands.len(), "{lines:?}");
    for (line, wanted) in lines.iter().zip(commands) {
        assert!(line.starts_with(wanted), "KubeVirt refuses the second migration: {lines:?}");
    }
    assert!(notes.iter().any(|note| note.starts_with("this migration is unfinished (Scheduling)")), "{notes:?}");
    let (lines, notes) = shown("Failed");
    assert!(
        !lines.is_empty() && lines.iter().all(|line| !line.contains("cancel")),
        "there is nothing to cancel: {lines:?}"
    );
    assert!(notes.iter().all(|note| !note.contains("unfinished")), "{notes:?}");
    // The view of the guest names the migration that goes nowhere.
    let (cluster, _) = stored("Scheduling");
    let vmi = cluster.vmi("shop", "db").expect("the guest");
    let wanted = "its migration migrate-db is unfinished (Scheduling), and no node takes its target pod";
    let unfinished = UnfinishedMigration::of(vmi, &cluster).map(|unfinished| unfinished.to_string());
    assert_eq!(unfinished.as_deref(), Some(wanted));
    let notes: Vec<String> = of_running(vmi, &cluster).expect("it runs").notes.iter().map(message).collect();
    assert!(notes.iter().any(|note| note.starts_with(wanted)), "the guest is said to fit: {notes:?}");
}

/// A target pod that waits for a node asks for what there was when it was created. A migration that is requested again
/// gets a new pod.
#[rstest]
#[case::the_new_one_fits(&["cpu-feature.node.kubevirt.io/gone"], json!({}), json!({}), Some(2))]
#[case::the_same_as_now(&[], json!({}), json!({}), None)]
#[case::the_new_one_fits_no_better(&["cpu-feature.node.kubevirt.io/gone"], json!({ZONE: "q"}), json!({}), None)]
#[case::the_request_has_entries_of_its_own(&["cpu-feature.node.kubevirt.io/gone"], json!({}), json!({"kubernetes.io/hostname": "n2"}), None)]
fn a_migration_whose_target_pod_is_out_of_date_is_cancelled_and_requested_again(
    #[case] stale: &[&str],
    #[case] own: Value,
    #[case] added: Value,
    #[case] then_fits: Option<usize>,
) {
    let guest = running("db", "n1", "Cascadelake-Server-noTSX").tweak(|vmi| vmi["spec"]["nodeSelector"] = own);
    let vmim = request("db").tweak(|vmim| {
        vmim["spec"]["addedNodeSelector"] = added;
        vmim["status"] = json!({"phase": "Scheduling"});
    });
    let mut objects = vec![
        launcher(&guest, []),
        ClusterObject::Vmi(Box::new(read(guest.clone()))),
        ClusterObject::Migration(Box::new(read(vmim.clone()))),
    ];
    let nodes: Vec<Node> = ["n1", "n2", "n3"].map(cascade_lake).into();
    let before = cluster("1.8.4", nodes.clone(), objects.clone());
    let vmim: crate::kubevirt::wire::Vmim = read(vmim);
    let ClusterObject::Launcher(mut waits) = launcher(&guest, []) else { unreachable!("it is a launcher") };
    let mut placement = of_migration(&vmim, &before).subject.placement.into_owned();
    for key in stale {
        placement.selector.insert((*key).to_owned(), "true");
    }
    (waits.name, waits.node, waits.placement) = ("target".into(), String::new(), placement.into());
    objects.push(ClusterObject::Launcher(waits.clone()));
    let cluster = cluster("1.8.4", nodes, objects);
    let prepared = super::super::waiting(of_migration(&vmim, &cluster), &waits);
    let found = remedies(&prepared, &cluster).into_iter().find(|remedy| remedy.action.id().as_str() == "migrate-again");
    assert_eq!(found.as_ref().map(|remedy| remedy.then_fits), then_fits.map(|count| (count, count)));
    let lines = found.map(|remedy| remedy.action.commands(&prepared.subject).lines()).unwrap_or_default();
    let starts = |line: &str, with: &str| line.starts_with(with);
    assert!(
        then_fits.is_none()
            || matches!(&lines[..], [one, two] if starts(one, "virtctl migrate-cancel db") && starts(two, "virtctl migrate db")),
        "{lines:?}"
    );
}

/// KubeVirt's own entries, and the guest's, go before those that a migration adds.
#[rstest]
#[case::of_the_guest(json!({ZONE: "a"}), json!({ZONE: "b"}),
    Some("topology.kubernetes.io/zone=b does not count: its guest's own nodeSelector has topology.kubernetes.io/zone=a, which overrules it"))]
#[case::the_same_value(json!({ZONE: "a"}), json!({ZONE: "a"}), None)]
#[case::nothing_else_has_the_key(json!({}), json!({ZONE: "b"}), None)]
#[case::of_kubevirt(json!({}), json!({"kubevirt.io/schedulable": "false"}),
    Some("kubevirt.io/schedulable=false does not count: the selector that KubeVirt makes has kubevirt.io/schedulable=true, which overrules it"))]
#[case::two(json!({ZONE: "a"}), json!({ZONE: "b", "kubevirt.io/schedulable": "false"}),
    Some("kubevirt.io/schedulable=false does not count: the selector that KubeVirt makes has kubevirt.io/schedulable=true, which overrules it, and 1 more entry is overruled too"))]
fn an_added_entry_that_does_not_count_is_noted(#[case] own: Value, #[case] added: Value, #[case] note: Option<&str>) {
    let guest = running("db", "n1", "host-model").tweak(|vmi| vmi["spec"]["nodeSelector"] = own);
    let objects = || [launcher(&guest, []), ClusterObject::Vmi(Box::new(read(guest.clone())))];
    let vmim = read(request("db").tweak(|vmim| vmim["spec"]["addedNodeSelector"] = added));
    let notes = |release: &str| -> Vec<String> {
        let cluster = cluster(release, ["n1", "n2"].map(cascade_lake).into(), objects());
        of_migration(&vmim, &cluster).notes.iter().map(message).filter(|note| note.contains("does not count")).collect()
    };
    assert_eq!(notes("1.8.4"), note.into_iter().collect::<Vec<_>>());
    assert_eq!(notes("1.5.2"), Vec::<String>::new(), "the release has no such field");
}

/// An edit of a guest that runs counts at its next start: a dump without pods does not make it one that is down.
#[rstest]
#[case::with_its_pod("Running", true, true)]
#[case::in_a_dump_without_pods("Running", false, true)]
#[case::ended("Succeeded", true, false)]
#[case::ended_in_a_dump_without_pods("Succeeded", false, false)]
fn a_guest_runs_whether_or_not_its_pod_is_known(#[case] phase: &str, #[case] has_pod: bool, #[case] expected: bool) {
    let vm = vm("db", "EPYC-Genoa").tweak(|vm| vm["spec"]["runStrategy"] = json!("Always"));
    let guest = running("db", "n1", "EPYC-Genoa").tweak(|vmi| {
        vmi["metadata"]["ownerReferences"][0]["kind"] = json!("VirtualMachine");
        vmi["status"]["phase"] = json!(phase);
    });
    let pod = has_pod.then(|| launcher(&guest, [model("EPYC-Genoa")]));
    let vm: VirtualMachine = read(vm);
    let objects = [vmi(guest), ClusterObject::VirtualMachine(Box::new(vm.clone()))];
    let nodes = ["n1", "n2"].map(cascade_lake).into();
    let cluster = cluster("v1.6.3", nodes, objects.into_iter().chain(pod));
    let subject = of_vm(&vm, &cluster).subject;
    assert_eq!(subject.is_running(), expected, "a change of a running guest is said to need no restart");
    assert_eq!(subject.running.is_some_and(|running| running.placement.is_some()), expected && has_pod);
}
