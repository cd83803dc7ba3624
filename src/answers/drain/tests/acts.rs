//! The least to do has no act that is not needed, and finds the nodes that are open once acts are done.

use super::*;
use crate::testing::fleet::{cascade_lake, skylake};

fn ids(found: &DrainReport) -> Option<Vec<&'static str>> {
    Some(found.least_to_do.as_ref()?.iter().map(|step| step.id).collect())
}

fn only(names: &[&str]) -> Vec<Node> {
    intel().into_iter().filter(|node| names.contains(&node.name.as_str())).collect()
}

fn refused(guest: Value) -> Value {
    guest.tweak(|guest| {
        guest["status"]["conditions"] = json!([{"type": "LiveMigratable", "status": "False",
            "reason": "DisksNotLiveMigratable", "message": "PVC root is not shared"}]);
    })
}

/// A restart alone frees db, and labels with an uncordon free both: the restart is an outage for nothing.
#[test]
fn no_guest_is_restarted_whom_the_acts_for_another_one_free() {
    let mut nodes = only(&["node-a", "node-c", "node-e"]);
    for name in ["node-a", "node-c"] {
        of(&mut nodes, name).labels.insert("pool".to_owned(), "c".to_owned());
    }
    cordon(of(&mut nodes, "node-c"));
    take(of(&mut nodes, "node-c"), &[feature("fpu"), feature("vme")]);
    let (db, pod) = migrated("db", "node-a");
    let erp = migrated("erp", "node-a").0.tweak(|guest| guest["spec"]["nodeSelector"] = json!({"pool": "c"}));
    let entries = [&COMMON[..], &SKYLAKE, &CASCADE_LAKE, &TSX].concat().into_iter().map(feature);
    let of_erp = launcher(&erp, entries);
    let found = drained(&world(nodes, [vmi(db), pod, vmi(erp), of_erp]), "node-a");
    assert_eq!(found.nodes[0].count(State::Stuck), 2, "the case is another one: {found:?}");
    assert_eq!(ids(&found), Some(vec!["uncordon", "add-labels"]), "{:?}", found.least_to_do);
}

#[test]
fn a_guest_that_is_not_migrated_starts_on_a_node_that_is_opened() {
    let mut nodes = only(&["node-a", "node-b"]);
    cordon(of(&mut nodes, "node-b"));
    let web = refused(live(running("web", "node-a", "Skylake-Server-noTSX-IBRS")));
    let found = drained(&world(nodes, [vmi(web)]), "node-a");
    assert_eq!(ids(&found), Some(vec!["uncordon", "restart"]), "{found:?}");
}

/// The nearest node is full: labels on the next one free the guest.
#[test]
fn labels_are_added_to_the_node_that_has_room() {
    let mut nodes = only(&["node-a", "node-c", "node-d"]);
    for name in ["node-c", "node-d"] {
        take(of(&mut nodes, name), &[feature("fpu"), feature("vme")]);
    }
    let (db, pod) = migrated("db", "node-a");
    let world = with_room(
        world(nodes, [vmi(db), pod]),
        &[("node-a", "16"), ("node-c", "2"), ("node-d", "16")],
        &[("node-a", Some("db"), "8")],
    );
    let found = drained(&world, "node-a");
    assert_eq!(ids(&found), Some(vec!["add-labels"]), "{found:?}");
    assert!(commands(&found).is_some_and(|all| all.iter().all(|command| command.contains(" node-d "))), "{found:?}");
}

/// A launcher keeps others off its node before its guest runs.
#[rstest]
#[case::handed_over("Scheduled", true)]
#[case::bound("Scheduling", false)]
fn a_guest_that_starts_on_a_node_keeps_others_off(#[case] phase: &str, #[case] is_named: bool) {
    let model = "Skylake-Server-noTSX-IBRS";
    let (db, mut starts) =
        (apart("db", "node-a", model, label::HOSTNAME), apart("starts", "node-b", model, label::HOSTNAME));
    let pod = launcher(&starts, []);
    starts["status"]["phase"] = json!(phase);
    if !is_named {
        starts["status"]["nodeName"] = json!("");
    }
    let found = drained(&world(only(&["node-a", "node-b"]), [vmi(db), vmi(starts), pod]), "node-a");
    assert_eq!(states(&found)[0].1, State::Stuck, "the drain waits: {found:?}");
}

/// The VM of a guest that is shut down starts it again, in the one place that another guest needs.
#[rstest]
#[case::kept_running("Always", false)]
#[case::started_by_hand("Manual", true)]
fn a_guest_that_is_shut_down_may_take_the_place_of_another(#[case] strategy: &str, #[case] expected: bool) {
    let model = "Skylake-Server-noTSX-IBRS";
    let off = running("off", "node-a", model).tweak(|guest| guest["spec"]["evictionStrategy"] = json!("None"));
    let moves = live(running("moves", "node-a", model));
    let own = vm("off", model).tweak(|vm| {
        vm["spec"]["running"] = Value::Null;
        vm["spec"]["runStrategy"] = json!(strategy);
    });
    let (of_off, of_moves) = (launcher(&off, []), launcher(&moves, []));
    let objects = [vmi(off), of_off, vmi(moves), of_moves, ClusterObject::VirtualMachine(Box::new(read(own)))];
    let world = with_room(
        world(only(&["node-a", "node-b"]), objects),
        &[("node-a", "16"), ("node-b", "4")],
        &[("node-a", Some("off"), "3"), ("node-a", Some("moves"), "3")],
    );
    let found = drained(&world, "node-a");
    assert_eq!(found.nodes[0].is_count_sure, expected, "{found:?}");
    assert_eq!(!found.not_known.iter().any(|line| line.contains("shop/off starts again")), expected, "{found:?}");
}

/// A node that the guest's own selector excludes does not start it again: nothing has to be cordoned first.
#[test]
fn a_node_that_would_not_start_the_guest_again_is_not_cordoned_first() {
    let mut nodes = only(&["node-a", "node-e"]);
    of(&mut nodes, "node-e").labels.insert("pool".to_owned(), "e".to_owned());
    let db = migrated("db", "node-a").0.tweak(|guest| guest["spec"]["nodeSelector"] = json!({"pool": "e"}));
    let entries = [&COMMON[..], &SKYLAKE, &CASCADE_LAKE, &TSX].concat().into_iter().map(feature);
    let pod = launcher(&db, entries);
    let found = drained(&world(nodes, [vmi(db), pod]), "node-a");
    assert_eq!(ids(&found), Some(vec!["restart"]), "the case is another one: {found:?}");
    let commands = commands(&found).unwrap_or_default();
    assert!(!commands.is_empty() && commands.iter().all(|command| !command.contains("cordon")), "{commands:?}");
}

/// The one open node that fits is closed by anti-affinity: another one is opened.
#[test]
fn a_node_is_opened_where_the_open_one_is_taken() {
    let model = "Skylake-Server-noTSX-IBRS";
    let mut nodes = only(&["node-a", "node-b", "node-c"]);
    cordon(of(&mut nodes, "node-c"));
    let db = refused(apart("db", "node-a", model, label::HOSTNAME));
    let taken = apart("taken", "node-b", model, label::HOSTNAME);
    let found = drained(&world(nodes, [vmi(db), vmi(taken)]), "node-a");
    assert_eq!(ids(&found), Some(vec!["uncordon", "restart"]), "{found:?}");
}

/// A guest that only another program moves closes the zone of the open node until then: another node is opened.
#[test]
fn a_node_is_opened_where_a_guest_that_stays_closes_the_open_one() {
    let model = "Skylake-Server-noTSX-IBRS";
    let mut nodes = only(&["node-a", "node-b", "node-c"]);
    for (node, zone) in nodes.iter_mut().zip(["one", "one", "two"]) {
        node.labels.insert("zone".to_owned(), zone.to_owned());
    }
    let closed = nodes.last_mut().expect("a node");
    let name = closed.name.clone();
    cordon(closed);
    let stays = apart("stays", &nodes[0].name, model, "zone")
        .tweak(|guest| guest["spec"]["evictionStrategy"] = json!("External"));
    let db = refused(apart("db", &nodes[0].name, model, label::HOSTNAME));
    let drained_node = nodes[0].name.clone();
    let found = drained(&world(nodes, [vmi(db), vmi(stays)]), &drained_node);
    assert_eq!(ids(&found), Some(vec!["uncordon", "restart"]), "{found:?}");
    let commands = commands(&found).unwrap_or_default();
    assert!(commands.contains(&format!("kubectl uncordon {name}")), "{commands:?}");
}

/// Many guests that keep each other off, and many closed nodes: the search ends, its answer frees all, and says no more
/// than is proved of it.
#[rstest]
#[case::all_sets_are_tried(7, 4, LeastProof::Smallest)]
#[case::not_all_sets_are_tried(24, 6, LeastProof::EachNeeded)]
#[case::too_large_for_a_proof(120, 12, LeastProof::Enough)]
fn a_search_among_many_closed_nodes_ends(#[case] nodes: usize, #[case] guests: usize, #[case] proof: LeastProof) {
    let model = "Skylake-Server-noTSX-IBRS";
    let mut all = vec![crate::testing::fleet::skylake("node-0")];
    all.extend((1..nodes).map(|at| {
        let mut node = crate::testing::fleet::skylake(&format!("node-{at}"));
        cordon(&mut node);
        node
    }));
    let guests_here = (0..guests).map(|at| vmi(apart(&format!("db-{at}"), "node-0", model, label::HOSTNAME)));
    let world = world(all, guests_here.collect::<Vec<_>>());
    let mut found = None;
    let steps = crate::answers::drain::work::counted(|| found = Some(drained(&world, "node-0")));
    let found = found.expect("an answer");
    assert_eq!(ids(&found).map(|ids| ids.len()), Some(guests), "{:?}", found.least_to_do);
    assert_eq!(found.least_is, proof, "a set that may not be the smallest would be called that");
    assert!(steps < 6_000_000, "the answer takes {steps} steps");
}

/// Wherever it starts, on its own node included, it leaves by migration then.
#[rstest]
#[case::not_tolerated(false)]
#[case::tolerated(true)]
fn a_guest_that_tolerates_the_cordon_is_freed_by_a_restart_too(#[case] is_tolerated: bool) {
    let nodes = vec![cascade_lake("node-a"), skylake("node-b"), skylake("node-c")];
    let model = "Cascadelake-Server-noTSX";
    let mut db = live(running("db", "node-a", model));
    let mut made_by = vm("db", model);
    if is_tolerated {
        let all = json!([{"operator": "Exists"}]);
        db["spec"]["tolerations"] = all.clone();
        made_by["spec"]["template"]["spec"]["tolerations"] = all;
    }
    let objects = [vmi(db), ClusterObject::VirtualMachine(Box::new(read(made_by)))];
    let found = drained(&world(nodes, objects), "node-a");
    assert_eq!(ids(&found), Some(vec!["restart-with-common-model"]), "{found:?}");
    let cordons = commands(&found).unwrap_or_default().iter().any(|command| command.contains("kubectl cordon"));
    assert!(!(cordons && is_tolerated), "a cordon that the guest tolerates keeps it nowhere: {found:?}");
}
