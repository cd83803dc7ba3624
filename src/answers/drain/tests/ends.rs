//! No act shuts a guest down needlessly, and every claimed place exists.

use super::*;

/// Sets the allocatable resources of a node: enough processors and memory, and `more`.
fn with_allocatable(world: &mut World, node: &str, more: &Value) {
    let mut allocatable = json!({"cpu": "64", "memory": "256Gi", "pods": "110", "ephemeral-storage": "100Gi"});
    for (resource, amount) in more.as_object().expect("resources") {
        allocatable[resource] = amount.clone();
    }
    let text = json!({"metadata": {"name": node}, "status": {"allocatable": allocatable}}).to_string();
    std::sync::Arc::make_mut(&mut world.cluster.room).read("", "Node", &Json(&text)).expect("well-formed");
}

/// Returns the launcher of a guest with these requests.
fn asks(guest: &str, node: &str, requests: &Value, more: &Value) -> Value {
    let mut pod = json!({
        "metadata": {"name": format!("virt-launcher-{guest}"), "namespace": "shop",
            "ownerReferences": [{"kind": "VirtualMachineInstance", "name": guest}]},
        "spec": {"nodeName": node, "containers": [{"resources": {"requests": requests}}]},
        "status": {"phase": "Running"}});
    for (field, value) in more.as_object().expect("fields") {
        pod["spec"][field] = value.clone();
    }
    pod
}

fn two_nodes() -> Vec<Node> {
    intel().into_iter().filter(|node| ["node-a", "node-b"].contains(&&*node.name)).collect()
}

/// A node that lists its resources has no others.
#[rstest]
#[case::a_device("devices.kubevirt.io/vhost-net", "1", "it has no devices.kubevirt.io/vhost-net")]
#[case::a_gpu("nvidia.com/T4", "1", "it has no nvidia.com/T4")]
#[case::huge_pages("hugepages-2Mi", "1Gi", "it has no hugepages-2Mi")]
fn a_device_that_a_node_does_not_list_is_not_there(#[case] resource: &str, #[case] amount: &str, #[case] why: &str) {
    let bare = world(two_nodes(), [vmi(live(running("db", "node-a", SKY)))]);
    let pod = asks("db", "node-a", &json!({"cpu": "1", "memory": "1Gi", resource: amount}), &json!({}));
    let mut known = bare.clone();
    read_pod(&mut known, &pod);
    assert_eq!(states(&drained(&known, "node-a"))[0].1, State::OneTarget, "of node-b nothing is known");
    with_allocatable(&mut known, "node-b", &json!({}));
    let found = drained(&known, "node-a");
    let row = &found.nodes[0].guests[0];
    assert_eq!((row.state, row.why.contains(why)), (State::Stuck, true), "a drain would wait without end: {row:?}");
    with_allocatable(&mut known, "node-b", &json!({resource: "8Gi"}));
    assert_eq!(states(&drained(&known, "node-a"))[0].1, State::OneTarget);
}

/// `large` needs the room of `small` on node-b: the report names the guest that is shut down.
#[rstest]
#[case::shuts_down(100, "", State::OneTarget, true)]
#[case::never(100, "Never", State::Stuck, false)]
#[case::of_the_same_priority(0, "", State::Stuck, false)]
fn a_guest_that_is_shut_down_to_make_room_is_named(
    #[case] priority: i64,
    #[case] policy: &str,
    #[case] expected: State,
    #[case] preempts: bool,
) {
    let guests = [("large", "node-a"), ("small", "node-b")].map(|(name, node)| vmi(live(running(name, node, SKY))));
    let mut known = world(two_nodes(), guests);
    with_allocatable(&mut known, "node-b", &json!({"cpu": "8"}));
    let fields = json!({"priority": priority, "preemptionPolicy": policy});
    read_pod(&mut known, &asks("large", "node-a", &json!({"cpu": "6"}), &fields));
    read_pod(&mut known, &asks("small", "node-b", &json!({"cpu": "4"}), &json!({})));
    let found = drained(&known, "node-a");
    let row = &found.nodes[0].guests[0];
    assert_eq!(row.state, expected, "{row:?}");
    let expected: &[&str] = if preempts { &["shop/small"] } else { &[] };
    assert_eq!(row.preempts, expected, "a guest goes down without a word: {row:?}");
    assert_eq!(row.why.contains("shut down (preemption): shop/small"), preempts, "{}", row.why);
    assert!(found.has_failed());
}

/// If a node has enough room, the scheduler shuts no guest down.
#[test]
fn no_guest_is_shut_down_where_there_is_room() {
    let guests = [("large", "node-a"), ("small", "node-b")].map(|(name, node)| vmi(live(running(name, node, SKY))));
    let nodes = intel().into_iter().filter(|node| ["node-a", "node-b", "node-c"].contains(&&*node.name)).collect();
    let mut known = world(nodes, guests);
    for node in ["node-b", "node-c"] {
        with_allocatable(&mut known, node, &json!({"cpu": "8"}));
    }
    read_pod(&mut known, &asks("large", "node-a", &json!({"cpu": "6"}), &json!({"priority": 100})));
    read_pod(&mut known, &asks("small", "node-b", &json!({"cpu": "4"}), &json!({})));
    let found = drained(&known, "node-a");
    assert_eq!((found.nodes[0].guests[0].preempts.len(), found.has_failed()), (0, false), "{found:?}");
}

/// `ends` is shut down with node-b, so that `db` has room there afterwards.
#[test]
fn a_guest_that_is_shut_down_frees_its_room_in_an_order() {
    let db = live(running("db", "node-a", SKY));
    let ends = running("ends", "node-b", SKY).tweak(|guest| guest["spec"]["evictionStrategy"] = json!("None"));
    let known = with_room(
        world(two_nodes(), [vmi(db), vmi(ends)]),
        &[("node-a", "8"), ("node-b", "8")],
        &[("node-a", Some("db"), "6"), ("node-b", Some("ends"), "6")],
    );
    let (found, stranded) = order(&known, &["node-a", "node-b"]);
    assert_eq!(found, Some(vec!["node-b".to_owned(), "node-a".to_owned()]), "in the way: {stranded:?}");
}

/// The pods that exclude a guest from a node are named, because a person may change them.
#[test]
fn the_pods_that_keep_a_guest_off_are_named() {
    let guests = [("db-1", "node-a"), ("db-2", "node-b")];
    let guests = guests.map(|(name, node)| vmi(apart(name, node, SKY, "kubernetes.io/hostname")));
    let nodes = intel().into_iter().filter(|node| ["node-a", "node-b", "node-c"].contains(&&*node.name)).collect();
    let mut known = world(nodes, guests);
    read_pod(
        &mut known,
        &json!({
        "metadata": {"name": "postgres-0", "namespace": "shop", "labels": {"app": "db"}},
        "spec": {"nodeName": "node-c", "containers": []}, "status": {"phase": "Running"}}),
    );
    let found = drained(&known, "node-a");
    let row = found.nodes[0].guests.iter().find(|row| row.guest == "shop/db-1").expect("its row");
    assert_eq!(row.state, State::Stuck);
    assert!(row.why.contains("keeps it off (a pod of namespace shop on node-c, shop/db-2)"), "{}", row.why);
}

/// Returns a claim `root` of namespace `shop`, and its volume, which can be used on these nodes.
fn root_on(nodes: &[&str]) -> [ClusterObject; 2] {
    let claim = json!({"metadata": {"namespace": "shop", "name": "root"}, "spec": {"volumeName": "pv-root"}});
    let required = json!({"nodeSelectorTerms": [{"matchExpressions": [
        {"key": label::HOSTNAME, "operator": "In", "values": nodes}]}]});
    let volume = json!({"metadata": {"name": "pv-root"}, "spec": {"nodeAffinity": {"required": required}}});
    [ClusterObject::Claim(read(claim)), ClusterObject::Volume(read(volume))]
}

/// Returns a guest with that claim.
fn with_root(is_migratable: bool) -> Value {
    live(running("db", "node-a", SKY)).tweak(|guest| {
        guest["spec"]["volumes"] = json!([{"name": "disk", "persistentVolumeClaim": {"claimName": "root"}}]);
        let status = if is_migratable { "True" } else { "False" };
        guest["status"]["conditions"] = json!([{"type": "LiveMigratable", "status": status,
            "reason": "DisksNotLiveMigratable", "message": "PVC root is not shared"}]);
    })
}

/// A restart shuts the guest down: it is advised only if a node is known on which it starts again.
#[rstest]
#[case::where_it_is(Some(&["node-a"][..]), None, "its volume disk (PersistentVolume pv-root) can be used on node-a alone, so it starts nowhere else")]
#[case::elsewhere_as_well(Some(&["node-a", "node-b"][..]), Some("virtctl restart db -n shop"), "")]
#[case::not_known(None, None, "")]
fn a_guest_is_not_ended_where_its_volumes_leave_it_no_start(
    #[case] usable: Option<&[&str]>,
    #[case] expected: Option<&str>,
    #[case] why: &str,
) {
    let objects = usable.map(root_on).into_iter().flatten();
    let found = drained(&world(intel(), objects.chain([vmi(with_root(false))])), "node-a");
    let acts = commands(&found).unwrap_or_default();
    let restart = acts.iter().find(|command| command.starts_with("virtctl"));
    assert_eq!(
        restart.map(|command| command.starts_with(expected.unwrap_or("none"))),
        expected.map(|_| true),
        "{acts:?}"
    );
    let row = &found.nodes[0].guests[0];
    assert!(row.why.contains(why), "{}", row.why);
    let is_said = found.not_known.iter().any(|line| line.contains("volumes of shop/db can be used"));
    assert_eq!(is_said, usable.is_none(), "{:?}", found.not_known);
}

/// A zonal volume restricts the target of a migration to its zone.
#[test]
fn a_volume_keeps_a_migration_off_nodes() {
    let objects = || root_on(&["node-a", "node-b"]).into_iter().chain([vmi(with_root(true))]);
    let found = drained(&world(intel(), objects()), "node-a");
    let row = &found.nodes[0].guests[0];
    assert_eq!((row.state, row.targets.names()), (State::OneTarget, vec!["node-b"]), "{row:?}");
    let mut nodes = intel();
    cordon(of(&mut nodes, "node-b"));
    let known = world(nodes, objects());
    let found = drained(&known, "node-a");
    let row = &found.nodes[0].guests[0];
    assert_eq!(
        (row.state, commands(&found)),
        (State::Stuck, Some(vec!["kubectl uncordon node-b".to_owned()])),
        "{row:?}"
    );
    assert!(row.why.contains("pv-root) can be used on node-a and node-b alone"), "{}", row.why);
    assert_eq!(
        order(&known, &["node-a", "node-c"]),
        (None, vec!["shop/db".to_owned()]),
        "node-c cannot use its volume"
    );
}

/// The doubts of `explain` are the doubts of a drain, before the act and after it.
#[rstest]
#[case::its_nodes_own_cpu("host-passthrough", "", "host-passthrough keeps the CPU of node-a", (true, false))]
#[case::as_libvirt_said(
    SKY,
    "operation failed: guest CPU doesn't match specification: missing features: ht",
    "the last try, to node-b, failed in libvirt",
    (true, false)
)]
#[case::another_reason(
    SKY,
    "internal error: process exited while connecting to monitor: unsupported machine type",
    "the last try, to node-b, failed, which is not due to labels",
    (false, true)
)]
#[case::both("host-passthrough", "operation aborted: migration job is stuck", "failed, which is not due to labels", (true, true))]
fn possible_delays_of_a_drain_are_named(
    #[case] model: &str,
    #[case] reason: &str,
    #[case] why: &str,
    #[case] doubt_or_failure: (bool, bool),
) {
    let guest = live(running("db", "node-a", model)).tweak(|guest| {
        if !reason.is_empty() {
            guest["status"]["migrationState"] =
                json!({"failed": true, "targetNode": "node-b", "failureReason": reason});
        }
    });
    let found = drained(&world(two_nodes(), [vmi(guest)]), "node-a");
    let row = &found.nodes[0].guests[0];
    assert_eq!(row.state, State::OneTarget, "{row:?}");
    assert_eq!((row.is_doubtful, row.has_failed), doubt_or_failure, "the summary blames libvirt for another failure");
    assert!(row.why.contains(why), "a drain may wait for ever: {}", row.why);
}

/// The launcher lost the name of the host model: KubeVirt asks for features alone, and a node may lack what the model
/// has by its name.
#[rstest]
#[case::before_the_drain(false, State::OneTarget)]
#[case::after_an_act(true, State::Stuck)]
fn a_lost_host_model_is_said(#[case] is_cordoned: bool, #[case] expected: State) {
    let key = |model: &str| format!("{}{model}", label::CPU_MODEL);
    let named = format!("{}Cascadelake-Server", label::CPU_MODEL_MIGRATION);
    let mut nodes: Vec<Node> = intel().into_iter().filter(|node| ["node-a", "node-c"].contains(&&*node.name)).collect();
    for node in &mut nodes {
        node.labels.insert(named.clone(), "true".to_owned());
    }
    of(&mut nodes, "node-a").labels.insert(key("Cascadelake-Server"), "true".to_owned());
    let other = of(&mut nodes, "node-c");
    other.labels.remove(&key("Cascadelake-Server"));
    if is_cordoned {
        cordon(other);
    }
    let guest = live(running("db", "node-a", "host-model"));
    let pod = launcher(&guest, [feature("fpu")]);
    let known = world(nodes, [vmi(guest), pod]);
    let found = drained(&known, "node-a");
    let row = &found.nodes[0].guests[0];
    assert_eq!((row.state, row.is_doubtful), (expected, true), "libvirt may refuse: {row:?}");
    if !is_cordoned {
        assert!(row.why.contains("its launcher has lost the name"), "{}", row.why);
    }
}

/// Uncordoning a node guarantees nothing for a guest that keeps the CPU of its node.
#[test]
fn an_uncordoned_node_is_offered_with_a_risk_for_host_passthrough() {
    let mut nodes = two_nodes();
    cordon(of(&mut nodes, "node-b"));
    let known = world(nodes, [vmi(live(running("db", "node-a", "host-passthrough")))]);
    let found = drained(&known, "node-a");
    assert_eq!(commands(&found), Some(vec!["kubectl uncordon node-b".to_owned()]));
    assert!(found.nodes[0].guests[0].is_doubtful, "it may stay where it is: {found:?}");
    let guest = known.cluster.vmi("shop", "db").expect("it runs");
    let prepared = crate::kubevirt::subject::of_running(guest, &known.cluster).expect("it runs");
    let verdict = prepared.judge(&known.cluster, crate::fit::judgement::Depth::Full);
    let mut remedies = verdict.findings.iter().flat_map(|finding| &finding.remedies);
    let uncordon = remedies.find(|remedy| remedy.action.id().as_str() == "uncordon").expect("a remedy");
    assert_eq!(
        uncordon.action.risk(&prepared.subject, &known.cluster.fleet),
        "it keeps the CPU of its node: libvirt may refuse it there"
    );
}

/// A guest that is being deleted needs no act.
#[test]
fn a_guest_that_is_being_deleted_ends_by_itself() {
    let mut nodes = intel();
    for name in ["node-b", "node-c", "node-d", "node-e"] {
        cordon(of(&mut nodes, name));
    }
    let guest = live(running("db", "node-a", SKY))
        .tweak(|guest| guest["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z"));
    let known = world(nodes, [vmi(guest)]);
    let found = drained(&known, "node-a");
    let row = &found.nodes[0].guests[0];
    assert_eq!((row.state, row.targets.len(), found.has_failed()), (State::Ends, 0, false), "{row:?}");
    assert_eq!(found.least_to_do, Some(Vec::new()), "an act for a guest that ends");
    assert!(order(&known, &["node-a", "node-b"]).0.is_some(), "it is in nobody's way");
}

/// With a limit of 0 no migration starts; shutting guests down is no solution.
#[rstest]
#[case::of_a_node(json!({"parallelOutboundMigrationsPerNode": 0}), "parallelOutboundMigrationsPerNode")]
#[case::of_the_cluster(json!({"parallelMigrationsPerCluster": 0}), "parallelMigrationsPerCluster")]
fn all_guests_are_stuck_if_no_migration_can_start(#[case] migrations: Value, #[case] field: &str) {
    let kubevirt = read(json!({"metadata": {"name": "kubevirt", "namespace": "kubevirt"},
        "spec": {"configuration": {"migrations": migrations}}}));
    let objects = [vmi(live(running("db", "node-a", SKY))), ClusterObject::KubeVirt(Box::new(kubevirt))];
    let found = drained(&world(intel(), objects), "node-a");
    let row = &found.nodes[0].guests[0];
    assert_eq!((row.state, row.why.contains(field), &found.least_to_do), (State::Stuck, true, &None), "{row:?}");
}

/// KubeVirt refuses to restart a running VM with the strategy `Once`.
#[rstest]
#[case::always("Always", &["kubectl cordon node-a", "virtctl restart db -n shop"])]
#[case::once("Once", &[
    "kubectl cordon node-a", "virtctl stop db -n shop", "kubectl wait --for=delete vmi/db -n shop --timeout=10m",
    "kubectl patch vm db -n shop --type merge -p '{\"spec\":{\"runStrategy\":\"Once\"}}'"])]
#[case::halted("Halted", &[])]
fn the_commands_of_a_restart_are_those_that_kubevirt_takes(#[case] strategy: &str, #[case] expected: &[&str]) {
    let guest = with_root(false).tweak(|guest| guest["spec"]["volumes"] = json!([]));
    let vm = crate::testing::cluster::vm("db", SKY).tweak(|vm| vm["spec"]["runStrategy"] = json!(strategy));
    let found = drained(&world(intel(), [vmi(guest), ClusterObject::VirtualMachine(Box::new(read(vm)))]), "node-a");
    let commands = commands(&found).unwrap_or_default();
    let bare = |command: &String| command.split("      #").next().unwrap_or_default().to_owned();
    assert_eq!(commands.iter().map(bare).collect::<Vec<_>>(), expected, "KubeVirt would refuse it");
}

/// The room of a guest that is being deleted will be free: the report says so, and an order relies on it.
#[test]
fn a_guest_that_is_being_deleted_leaves_its_room() {
    let old = live(running("old", "node-b", SKY))
        .tweak(|guest| guest["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z"));
    let known = with_room(
        world(two_nodes(), [vmi(live(running("db", "node-a", SKY))), vmi(old)]),
        &[("node-a", "8"), ("node-b", "8")],
        &[("node-a", Some("db"), "6"), ("node-b", Some("old"), "6")],
    );
    let row = &drained(&known, "node-a").nodes[0].guests[0];
    assert_eq!(row.state, State::Stuck);
    assert!(row.why.contains("shop/old is being deleted: its room there is free once it has ended"), "{}", row.why);
    let (found, stranded) = order(&known, &["node-a", "node-b"]);
    assert_eq!(found, Some(vec!["node-b".to_owned(), "node-a".to_owned()]), "in the way: {stranded:?}");
}
