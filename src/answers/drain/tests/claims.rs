//! Claims of the report about guests that wait for each other, and about what was tried for them.

use super::*;
use crate::testing::fleet::{cascade_lake, skylake};

/// A guest is a rival only if it has a part in filling a place: with some of the others there, there is room without
/// it, and none with it.
#[rstest]
#[case::a_small_one_hinders_no_other(&[("big-1", "3"), ("big-2", "3"), ("tiny", "500m")], &[("big-2", "big-1")])]
#[case::a_small_one_that_fills_the_rest(
    &[("big-1", "3"), ("big-2", "3"), ("tiny", "1500m")],
    &[("big-1", "big-2 tiny"), ("big-2", "big-1 tiny")]
)]
fn a_guest_that_takes_no_place_of_another_is_not_named_as_rival(
    #[case] guests: &[(&str, &str)],
    #[case] expected: &[(&str, &str)],
) {
    let nodes = vec![skylake("node-a"), skylake("node-b")];
    let running = guests.iter().map(|(name, _)| vmi(live(running(name, "node-a", SKY))));
    let pods: Vec<(&str, Option<&str>, &str)> =
        guests.iter().map(|(name, cores)| ("node-a", Some(*name), *cores)).collect();
    let known = with_room(world(nodes, running), &[("node-a", "64"), ("node-b", "4")], &pods);
    let found = drained(&known, "node-a");
    for (name, rivals) in expected {
        let title = format!("shop/{name}");
        let row = found.nodes[0].guests.iter().find(|row| row.guest == title).expect("a row");
        let rivals: Vec<String> = rivals.split(' ').map(|name| format!("shop/{name}")).collect();
        assert_eq!(row.rivals, rivals, "a guest is blamed that leaves room, or one that takes it is not: {found:#?}");
    }
}

/// The scheduler shuts guests down only if no node has room without that; a guest that goes nowhere takes no room.
#[rstest]
#[case::room_elsewhere("3", false)]
#[case::no_room_elsewhere("64", true)]
fn a_guest_is_not_named_as_preempted_while_there_is_room(#[case] taken: &str, #[case] is_preempted: bool) {
    let nodes = ["node-a", "node-b", "node-c"].map(skylake).to_vec();
    let guests = [("high", "node-a"), ("stuck", "node-a"), ("low", "node-b")];
    let guests = guests.map(|(name, node)| vmi(live(running(name, node, SKY))));
    let cores = [("node-a", "64"), ("node-b", "4"), ("node-c", "4")];
    let mut known = with_room(world(nodes, guests), &cores, &[("node-a", Some("stuck"), "32")]);
    let mut launcher = |name: &str, node: &str, cores: &str, priority: i64| {
        let owners = json!([{"kind": "VirtualMachineInstance", "name": name}]);
        read_pod(
            &mut known,
            &json!({
            "metadata": {"name": format!("of-{name}"), "namespace": "shop", "ownerReferences": owners},
            "spec": {"nodeName": node, "priority": priority,
                     "containers": [{"resources": {"requests": {"cpu": cores, "memory": "4Gi"}}}]},
            "status": {"phase": "Running"}}),
        );
    };
    launcher("high", "node-a", "1", 1000);
    launcher("low", "node-b", "4", 0);
    launcher("none", "node-c", taken, 2000);
    let found = drained(&known, "node-a");
    let row = found.nodes[0].guests.iter().find(|row| row.guest == "shop/high").expect("a row");
    assert_eq!(!row.preempts.is_empty(), is_preempted, "a shutdown is announced that cannot be: {row:?}");
}

/// Guests that KubeVirt never migrates do not hide those that no node takes.
#[test]
fn all_guests_without_an_order_are_named() {
    let strategy = |name: &str, strategy: &str| {
        running(name, "node-a", SKY).tweak(|guest| guest["spec"]["evictionStrategy"] = json!(strategy))
    };
    let own = |name: &str, node: &str| live(running(name, node, "EPYC-Rome"));
    let refused = live(running("refused", "node-b", SKY))
        .tweak(|guest| guest["status"]["conditions"] = json!([{"type": "LiveMigratable", "status": "False"}]));
    let guests = [strategy("external", "External"), own("one", "node-a"), own("two", "node-b"), refused];
    let nodes = ["node-a", "node-b", "node-c"].map(skylake).to_vec();
    let known = world(nodes, guests.map(vmi));
    let nodes: Vec<_> = known.cluster.fleet.in_name_order();
    let found = drain(&known, &nodes, true, &|_, _| {});
    let expected = ["shop/external", "shop/one", "shop/refused", "shop/two"];
    assert_eq!(found.stranded, expected, "a person clears the named ones, and the next drain waits: {found:?}");
}

/// A guest that stays is stuck in no order: the exit code of several nodes is that of each of them.
#[rstest]
#[case::external(&|guest: &mut Value| guest["spec"]["evictionStrategy"] = json!("External"), true, false)]
#[case::not_running(&|guest: &mut Value| guest["status"]["phase"] = json!("Scheduled"), true, false)]
#[case::not_known(&|guest: &mut Value| drop(guest["status"].as_object_mut().expect("a map").remove("selinuxContext")), true, false)]
#[case::refused(
    &|guest: &mut Value| guest["status"]["conditions"] = json!([{"type": "LiveMigratable", "status": "False"}]),
    false,
    true
)]
#[case::no_node(&|guest: &mut Value| guest["spec"]["domain"]["cpu"]["model"] = json!("EPYC-Rome"), false, true)]
fn guests_that_stay_are_stuck_in_no_order(
    #[case] change: &dyn Fn(&mut Value),
    #[case] stays: bool,
    #[case] fails: bool,
) {
    let guest = live(running("db", "node-a", SKY)).tweak(change);
    let known = world(["node-a", "node-b", "node-c"].map(skylake).to_vec(), [vmi(guest)]);
    let all = drain(&known, &known.cluster.fleet.in_name_order(), true, &|_, _| {});
    let alone = drained(&known, "node-a");
    assert_eq!(all.stranded, ["shop/db"], "{all:#?}");
    assert_eq!(all.only_staying_in_the_way().is_some(), stays, "called stuck, or not: {all:#?}");
    assert_eq!((all.has_failed(), alone.has_failed()), (fails, fails), "{all:#?}");
}

/// A target that is not Ready is a doubt, as in `explain`.
#[test]
fn a_target_that_is_not_ready_is_said() {
    for not_ready in [false, true] {
        let mut nodes = ["node-a", "node-b"].map(skylake).to_vec();
        of(&mut nodes, "node-b").not_ready = not_ready;
        let found = drained(&world(nodes, [vmi(live(running("db", "node-a", SKY)))]), "node-a");
        let row = &found.nodes[0].guests[0];
        assert_eq!((row.state, row.may_be_down), (State::OneTarget, not_ready), "{row:?}");
        let words = "node-b fits by labels and taints, but is not Ready";
        assert_eq!(row.why.contains(words), not_ready, "{row:?}");
    }
}

/// KubeVirt selects one of the vendors of the source at random, for each try: the guest leaves sooner or later.
#[test]
fn a_guest_on_a_node_with_two_vendors_leaves_at_some_try() {
    for other in ["AMD", "Zhaoxin"] {
        let mut nodes = vec![cascade_lake("node-a"), cascade_lake("node-b"), cascade_lake("node-c")];
        of(&mut nodes, "node-a").labels.insert(format!("{}{other}", label::CPU_VENDOR), "true".to_owned());
        let known = world(nodes, [vmi(live(running("db", "node-a", SKY)))]);
        let row = drained(&known, "node-a").nodes[0].guests[0].clone();
        assert_eq!((row.state, row.targets.len()), (State::CanLeave, 2), "{other}: {row:?}");
        assert!(row.draws_vendor, "{other}: no node has it, and a try may ask for it: {row:?}");
        let guest = known.cluster.vmi("shop", "db").expect("it runs");
        let prepared = subject::of_running(guest, &known.cluster).expect("it runs");
        let verdict = prepared.judge(&known.cluster, Depth::Full);
        let waits = verdict.found(crate::fit::verdict::Check::DrainWaits);
        assert!(waits.is_none(), "{other}: a drain does not wait until it is shut down: {waits:?}");
    }
}

/// `diff` names each guest whose verdict differs: by the vendor that leaves the most nodes, before and after.
#[test]
fn a_guest_on_a_node_with_two_vendors_is_compared() {
    let with = |is_cordoned: bool| {
        let mut nodes = vec![cascade_lake("node-a"), cascade_lake("node-b"), cascade_lake("node-c")];
        of(&mut nodes, "node-a").labels.insert(format!("{}AMD", label::CPU_VENDOR), "true".to_owned());
        if is_cordoned {
            for name in ["node-b", "node-c"] {
                cordon(of(&mut nodes, name));
            }
        }
        world(nodes, [vmi(live(running("db", "node-a", SKY)))])
    };
    let found = crate::answers::diff::diff(&with(false), &with(true), &|_| true, &|_, _| {});
    assert_eq!((found.worse, found.better), (1, 0), "a guest that is stuck by now is not named: {found:?}");
}

/// A vendor is a doubt only if it leaves no target.
#[rstest]
#[case::each_has_a_node(&["AMD"], false)]
#[case::a_node_has_both(&["AMD", "Intel"], false)]
#[case::its_only_node_is_cordoned(&["AMD"], true)]
#[case::the_other_has_one_too(&["AMD", "Intel"], true)]
fn a_vendor_with_a_free_node_is_no_doubt(#[case] vendors: &[&str], #[case] is_cordoned: bool) {
    let vendor = |name: &str| format!("{}{name}", label::CPU_VENDOR);
    let mut nodes = vec![skylake("node-a"), skylake("node-b"), skylake("node-c")];
    of(&mut nodes, "node-a").labels.insert(vendor("AMD"), "true".to_owned());
    let other = of(&mut nodes, "node-c");
    other.labels.remove(&vendor("Intel"));
    for name in vendors {
        other.labels.insert(vendor(name), "true".to_owned());
    }
    if is_cordoned {
        cordon(other);
    }
    let row = drained(&world(nodes, [vmi(live(running("db", "node-a", SKY)))]), "node-a").nodes[0].guests[0].clone();
    assert_eq!(row.draws_vendor, is_cordoned, "{row:?}");
}

/// A change that is tried, or that a person is asked to look at, can help one of the guests that nothing frees.
#[test]
fn acts_that_cannot_help_a_guest_are_not_tried() {
    let mut nodes = vec![skylake("node-a"), skylake("node-b"), skylake("node-c")];
    of(&mut nodes, "node-b").labels.insert(label::SCHEDULABLE.to_owned(), "false".to_owned());
    cordon(of(&mut nodes, "node-c"));
    let guests = ["huge", "small"].map(|name| vmi(live(running(name, "node-a", SKY))));
    let cores = [("node-a", "64"), ("node-b", "4"), ("node-c", "4")];
    let pods = [("node-a", Some("huge"), "20"), ("node-a", Some("small"), "1")];
    let found = drained(&with_room(world(nodes, guests), &cores, &pods), "node-a");
    assert_eq!(found.not_freed, ["shop/huge"], "{found:#?}");
    assert!(
        found.to_look_at.is_empty(),
        "virt-handler of a node that is too small is looked at: {:?}",
        found.to_look_at
    );
    let mut unplaced = live(running("db", "node-a", "EPYC-Rome"));
    unplaced["spec"]["volumes"] = json!([{"name": "root", "persistentVolumeClaim": {"claimName": "root"}}]);
    let nodes = vec![skylake("node-a"), skylake("node-b")];
    let found = drained(&world(nodes, [vmi(unplaced)]), "node-a");
    assert_eq!(found.not_freed, ["shop/db"], "{found:#?}");
    assert!(
        !found.tried.contains(&"restart"),
        "a restart was not tried: where it could start is not known: {found:#?}"
    );
}
