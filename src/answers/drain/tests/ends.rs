//! No act ends a guest for nothing, and no place is claimed that is none.

use super::*;

/// What a node lists as its own: processors and memory enough, and these.
fn with_allocatable(world: &mut World, node: &str, more: &Value) {
    let mut allocatable = json!({"cpu": "64", "memory": "256Gi", "pods": "110", "ephemeral-storage": "100Gi"});
    for (resource, amount) in more.as_object().expect("resources") {
        allocatable[resource] = amount.clone();
    }
    let text = json!({"metadata": {"name": node}, "status": {"allocatable": allocatable}}).to_string();
    std::sync::Arc::make_mut(&mut world.cluster.room).read("", "Node", &Json(&text)).expect("well-formed");
}

/// The launcher of a guest, which asks for this.
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

/// A node that lists resources lists all that it has.
#[rstest]
#[case::a_device("devices.kubevirt.io/vhost-net", "1", "it has no devices.kubevirt.io/vhost-net")]
#[case::a_gpu("nvidia.com/T4", "1", "it has no nvidia.com/T4")]
#[case::huge_pages("hugepages-2Mi", "1Gi", "it has no hugepages-2Mi")]
fn what_a_node_does_not_list_it_does_not_have(#[case] resource: &str, #[case] amount: &str, #[case] why: &str) {
    let bare = world(two_nodes(), [vmi(live(running("db", "node-a", SKY)))]);
    let pod = asks("db", "node-a", &json!({"cpu": "1", "memory": "1Gi", resource: amount}), &json!({}));
    let mut known = bare.clone();
    read_pod(&mut known, &pod);
    assert_eq!(states(&drained(&known, "node-a"))[0].1, State::OneTarget, "of node-b nothing is known");
    with_allocatable(&mut known, "node-b", &json!({}));
    let found = drained(&known, "node-a");
    let row = &found.nodes[0].guests[0];
    assert_eq!((row.state, row.why.contains(why)), (State::Stuck, true), "a drain would wait for ever: {row:?}");
    with_allocatable(&mut known, "node-b", &json!({resource: "8Gi"}));
    assert_eq!(states(&drained(&known, "node-a"))[0].1, State::OneTarget);
}

/// `large` needs what `small` has on node-b: whom it shuts down is said, and that it shuts down nobody.
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

/// Where a node has room as it is, the scheduler shuts nobody down.
#[test]
fn nobody_is_shut_down_where_there_is_room() {
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

/// `ends` goes down with node-b, so that `db` has room there afterwards.
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

/// Who keeps a guest off a node is said, for that is what a person may change.
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
