use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::fit::judgement::Depth;
use crate::fit::label;
use crate::fit::node::Node;
use crate::kubevirt::cluster::ClusterObject;
use crate::kubevirt::subject;
use crate::testing::cluster::{cluster, launcher, read, read_policy, running, vm, vmi, world};
use crate::testing::fleet::{CASCADE_LAKE, COMMON, SKYLAKE, TSX, cordon, feature, intel, of, rome, take};
use crate::testing::thorough::one_in;
use crate::testing::{Tweak, at_least};

/// A guest that inherited the CPU of a Cascade Lake node at an earlier migration.
fn migrated(name: &str, node: &str) -> (Value, ClusterObject) {
    let guest = live(running(name, node, "host-model"));
    let inherited = [&COMMON[..], &SKYLAKE, &CASCADE_LAKE, &TSX].concat().into_iter().map(feature);
    let pod = launcher(&guest, inherited);
    (guest, pod)
}

fn live(guest: Value) -> Value {
    guest.tweak(|guest| guest["spec"]["evictionStrategy"] = json!("LiveMigrate"))
}

/// A guest with a named model and anti-affinity to other guests of its app.
fn apart(name: &str, node: &str, model: &str, key: &str) -> Value {
    live(running(name, node, model)).tweak(|guest| {
        guest["metadata"]["labels"] = json!({"app": "db"});
        guest["spec"]["affinity"] = json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
            {"labelSelector": {"matchLabels": {"app": "db"}}, "topologyKey": key}]}});
    })
}

fn drained(world: &World, node: &str) -> DrainReport {
    drain(world, &[world.cluster.fleet.find(node).expect("the node")], false, &|_, _| {})
}

fn states(drained: &DrainReport) -> Vec<(String, State, usize)> {
    drained.nodes[0].guests.iter().map(|guest| (guest.guest.clone(), guest.state, guest.targets.len())).collect()
}

fn commands(drained: &DrainReport) -> Option<Vec<String>> {
    Some(drained.least_to_do.as_ref()?.iter().flat_map(|step| step.commands.clone()).collect())
}

#[test]
fn one_uncordoned_node_frees_the_guest_that_only_fits_there() {
    let mut nodes = intel();
    cordon(of(&mut nodes, "node-d"));
    take(of(&mut nodes, "node-c"), &[feature("fpu"), feature("vme")]);
    let (db, pod) = migrated("db", "node-a");
    let web = live(running("web", "node-a", "Skylake-Server-noTSX-IBRS"));
    let found = drained(&world(nodes, [vmi(db), pod, vmi(web)]), "node-a");
    assert_eq!(
        states(&found),
        [("shop/db".to_owned(), State::Stuck, 0), ("shop/web".to_owned(), State::CanLeave, 3)],
        "{found:?}"
    );
    assert_eq!(commands(&found), Some(vec!["kubectl uncordon node-d".to_owned()]));
    assert!(found.has_failed(), "a script would drain and wait without end");
}

#[test]
fn a_drain_that_all_guests_can_leave_needs_no_act() {
    let web = live(running("web", "node-a", "Skylake-Server-noTSX-IBRS"));
    let found = drained(&world(intel(), [vmi(web)]), "node-a");
    assert_eq!(found.least_to_do, Some(Vec::new()));
    assert!(!found.has_failed());
}

#[test]
fn a_drain_that_no_act_frees_has_no_least_to_do() {
    let web = live(running("web", "node-a", "Skylake-Server-noTSX-IBRS"));
    let nodes = intel().into_iter().filter(|node| node.name == "node-a").collect();
    let found = drained(&world(nodes, [vmi(web)]), "node-a");
    assert_eq!((states(&found)[0].1, &found.least_to_do), (State::Stuck, &None));
    assert_eq!((found.not_freed, found.tried), (vec!["shop/web".to_owned()], vec!["restart"]));
}

/// A change that leaves the guest with few targets from some start nodes still takes it off the drained node.
#[test]
fn a_remedy_that_depends_on_the_start_node_is_tried_and_proved_too() {
    let bound = |spec: &mut Value| spec["nodeSelector"] = json!({label::HOSTNAME: "node-a"});
    let guest = live(running("db", "node-a", "host-model")).tweak(|guest| bound(&mut guest["spec"]));
    let own = vm("db", "host-model").tweak(|vm| bound(&mut vm["spec"]["template"]["spec"]));
    let objects = [vmi(guest), ClusterObject::VirtualMachine(Box::new(read(own)))];
    let nodes = intel().into_iter().filter(|node| ["node-a", "node-c", "node-d"].contains(&&*node.name));
    let nodes = nodes.chain([rome("odd")]).collect();
    // Up to 1.3 KubeVirt applies no change of a node selector to a guest that runs.
    let world = World { cluster: cluster("1.3.0", nodes, objects), policies: Vec::new() };
    let prepared = subject::of_running(world.cluster.vmi("shop", "db").expect("it"), &world.cluster).expect("it runs");
    let verdict = prepared.judge(&world.cluster, Depth::Full);
    let lucky: Vec<&str> = verdict.by_luck.iter().map(|remedy| remedy.action.id().as_str()).collect();
    assert!(lucky.contains(&"change-node-selector"), "the case is another one: {verdict:?}");
    let found = drained(&world, "node-a");
    let ids: Option<Vec<&str>> = found.least_to_do.as_ref().map(|steps| steps.iter().map(|step| step.id).collect());
    assert_eq!(ids, Some(vec!["change-node-selector"]), "the drain could go on, and nothing would be offered");
    assert_eq!((found.not_freed, found.tried), (Vec::<String>::new(), Vec::new()));
}

/// The only other node with the same hardware is cordoned and lost two labels: two acts are needed.
#[test]
fn a_node_that_is_cordoned_and_lacks_labels_takes_two_acts() {
    let mut nodes: Vec<Node> = intel().into_iter().filter(|node| ["node-a", "node-c"].contains(&&*node.name)).collect();
    cordon(of(&mut nodes, "node-c"));
    take(of(&mut nodes, "node-c"), &[feature("fpu"), feature("vme")]);
    let (db, pod) = migrated("db", "node-a");
    let found = drained(&world(nodes, [vmi(db), pod]), "node-a");
    let ids: Option<Vec<&str>> = found.least_to_do.map(|steps| steps.iter().map(|step| step.id).collect());
    assert_eq!((ids, found.not_freed), (Some(vec!["uncordon", "add-labels"]), Vec::new()));
}

/// A command that only shows a pod frees no guest: a drain after it would wait forever.
#[test]
fn a_command_that_only_reads_is_not_counted_as_an_act() {
    let mut nodes: Vec<Node> = intel().into_iter().filter(|node| ["node-a", "node-c"].contains(&&*node.name)).collect();
    let other = of(&mut nodes, "node-c");
    other.labels.insert(label::SCHEDULABLE.to_owned(), "false".to_owned());
    let (db, pod) = migrated("db", "node-a");
    let found = drained(&world(nodes.clone(), [vmi(db.clone()), pod.clone()]), "node-a");
    assert_eq!((&found.least_to_do, &found.not_freed), (&None, &vec!["shop/db".to_owned()]), "{found:?}");
    let [look] = found.to_look_at.as_slice() else { panic!("nothing to look at: {found:?}") };
    assert_eq!((look.id, look.summary.contains("node-c")), ("mend-virt-handler", true), "{look:?}");
    assert!(look.commands[0].starts_with("kubectl get pods "), "{look:?}");

    // If an act frees it, there is nothing to inspect.
    nodes.extend(intel().into_iter().filter(|node| node.name == "node-d"));
    cordon(of(&mut nodes, "node-d"));
    let found = drained(&world(nodes, [vmi(db), pod]), "node-a");
    assert_eq!(commands(&found), Some(vec!["kubectl uncordon node-d".to_owned()]));
    assert!(found.to_look_at.is_empty(), "{found:?}");
}

#[rstest]
#[case::migrated("LiveMigrate", "", true, State::CanLeave)]
#[case::by_the_clusters_default("", "LiveMigrate", true, State::CanLeave)]
#[case::its_own_wins("None", "LiveMigrate", true, State::ShutDown)]
#[case::no_strategy_at_all("", "", true, State::ShutDown)]
#[case::if_possible("LiveMigrateIfPossible", "", true, State::CanLeave)]
#[case::not_possible("LiveMigrateIfPossible", "", false, State::ShutDown)]
#[case::never("LiveMigrate", "", false, State::Stuck)]
#[case::others_act("External", "", true, State::Stays)]
#[case::an_unknown_word("Later", "", true, State::ShutDown)]
fn the_eviction_strategy_decides(
    #[case] own: &str,
    #[case] default: &str,
    #[case] migratable: bool,
    #[case] expected: State,
) {
    let guest = running("web", "node-a", "Skylake-Server-noTSX-IBRS").tweak(|guest| {
        guest["spec"]["evictionStrategy"] = json!(own);
        let status = if migratable { "True" } else { "False" };
        guest["status"]["conditions"] = json!([{"type": "LiveMigratable", "status": status,
            "reason": "DisksNotLiveMigratable", "message": "PVC root is not shared"}]);
    });
    let kubevirt = read(json!({"metadata": {"name": "kubevirt", "namespace": "kubevirt"},
        "spec": {"configuration": {"evictionStrategy": default}}}));
    let found = drained(&world(intel(), [vmi(guest), ClusterObject::KubeVirt(Box::new(kubevirt))]), "node-a");
    assert_eq!(states(&found)[0].1, expected, "{found:?}");
    assert_eq!(found.has_failed(), matches!(expected, State::Stuck | State::ShutDown));
}

#[test]
fn a_guest_that_cannot_be_migrated_is_started_again_elsewhere() {
    let guest = live(running("web", "node-a", "Skylake-Server-noTSX-IBRS")).tweak(|guest| {
        guest["status"]["conditions"] = json!([{"type": "LiveMigratable", "status": "False",
            "reason": "DisksNotLiveMigratable", "message": "PVC root is not shared"}]);
    });
    let found = drained(&world(intel(), [vmi(guest)]), "node-a");
    let commands = commands(&found).expect("a restart on a cordoned node");
    assert!(commands[0].starts_with("kubectl cordon node-a"), "it would start on node-a again: {commands:?}");
    assert!(commands[1].starts_with("virtctl restart web -n shop"), "{commands:?}");
}

/// Puts node-a, node-b and node-c into one zone, node-d and node-e into another.
fn zoned() -> Vec<Node> {
    intel().tweak(|nodes| {
        for node in nodes {
            let zone = if ["node-d", "node-e"].contains(&node.name.as_str()) { "east" } else { "west" };
            node.labels.insert("zone".to_owned(), zone.to_owned());
        }
    })
}

#[test]
fn two_guests_that_share_one_place_do_not_both_leave() {
    let mut nodes = intel();
    for name in ["node-b", "node-c", "node-e"] {
        cordon(of(&mut nodes, name));
    }
    let guests =
        ["db-1", "db-2"].map(|name| apart(name, "node-a", "Skylake-Server-noTSX-IBRS", "kubernetes.io/hostname"));
    let found = drained(&world(nodes, guests.map(vmi)), "node-a");
    let states: Vec<State> = states(&found).into_iter().map(|(_, state, _)| state).collect();
    assert_eq!(states, [State::Stuck, State::OneTarget], "{found:?}");
    assert!(found.nodes[0].guests[1].why.contains("may take its place first"), "{found:?}");
    assert_eq!(commands(&found).map(|commands| commands.len()), Some(1), "one more place is enough");
}

#[rstest]
#[case::by_host("kubernetes.io/hostname", &["node-b", "node-d", "node-e"])]
#[case::by_zone("zone", &["node-d", "node-e"])]
fn a_guest_keeps_off_those_that_stay(#[case] key: &str, #[case] expected: &[&str]) {
    let model = "Skylake-Server-noTSX-IBRS";
    let found = drained(
        &world(zoned(), [vmi(apart("db-1", "node-a", model, key)), vmi(apart("db-2", "node-c", model, key))]),
        "node-a",
    );
    let guest = &found.nodes[0].guests[0];
    assert_eq!(guest.targets.names(), expected, "{guest:?}");
    assert!(guest.why.contains("anti-affinity keeps it off"), "{guest:?}");
}

/// Its own launcher matches its anti-affinity term and runs until the target does.
#[test]
fn a_guest_that_is_alone_in_its_zone_cannot_move_within_it() {
    let nodes: Vec<Node> = zoned().into_iter().filter(|node| node.labels["zone"] == "west").collect();
    let found = drained(&world(nodes, [vmi(apart("db", "node-a", "Skylake-Server-noTSX-IBRS", "zone"))]), "node-a");
    assert_eq!(states(&found)[0].1, State::Stuck, "{found:?}");
}

/// A drain in which db-2 has no anti-affinity; db-1 has, and must leave the zone before db-2 can come there.
fn waiting(model_of_the_first: &str) -> DrainReport {
    let nodes: Vec<Node> =
        zoned().into_iter().filter(|node| ["node-a", "node-c", "node-e"].contains(&node.name.as_str())).collect();
    let first = apart("db-1", "node-a", model_of_the_first, "zone");
    let second = live(running("db-2", "node-a", "Cascadelake-Server")).tweak(|guest| {
        guest["metadata"]["labels"] = json!({"app": "db"});
    });
    drained(&world(nodes, [vmi(first), vmi(second)]), "node-a")
}

#[test]
fn a_guest_leaves_once_the_one_has_left_that_keeps_it_off() {
    let found = waiting("Skylake-Server-noTSX-IBRS");
    assert_eq!(
        states(&found),
        [("shop/db-1".to_owned(), State::OneTarget, 1), ("shop/db-2".to_owned(), State::OneTarget, 1)],
        "{found:?}"
    );
    let second = &found.nodes[0].guests[1];
    assert_eq!((second.after.as_slice(), second.targets.names()), (&["shop/db-1".to_owned()][..], vec!["node-c"]));
    assert!(second.why.contains("once shop/db-1 has left"), "{}", second.why);
}

/// Labels would let it leave, but its own launcher excludes it from the zone: it blocks the other one permanently.
#[test]
fn a_guest_that_waits_for_one_that_stays_is_stuck() {
    let found = waiting("Cascadelake-Server");
    let states: Vec<State> = states(&found).into_iter().map(|(_, state, _)| state).collect();
    assert_eq!(states, [State::Stuck, State::Stuck], "{found:?}");
}

#[test]
fn guests_that_wait_for_each_other_are_stuck() {
    let nodes: Vec<Node> = zoned().into_iter().filter(|node| node.labels["zone"] == "west").collect();
    let guests = ["db-1", "db-2"].map(|name| vmi(apart(name, "node-a", "Skylake-Server-noTSX-IBRS", "zone")));
    let found = drained(&world(nodes, guests), "node-a");
    let states: Vec<State> = states(&found).into_iter().map(|(_, state, _)| state).collect();
    assert_eq!(states, [State::Stuck, State::Stuck], "{found:?}");
}

/// A guest that is shut down is gone at once and excludes no other guest.
#[test]
fn a_guest_that_is_shut_down_frees_its_node_for_others() {
    let nodes: Vec<Node> =
        zoned().into_iter().filter(|node| ["node-a", "node-c"].contains(&node.name.as_str())).collect();
    let ends = apart("db-1", "node-a", "Cascadelake-Server", "zone")
        .tweak(|guest| guest["spec"]["evictionStrategy"] = json!("None"));
    let moves = live(running("db-2", "node-a", "Cascadelake-Server")).tweak(|guest| {
        guest["metadata"]["labels"] = json!({"app": "db"});
    });
    let found = drained(&world(nodes, [vmi(ends), vmi(moves)]), "node-a");
    let states: Vec<State> = states(&found).into_iter().map(|(_, state, _)| state).collect();
    assert_eq!(states, [State::ShutDown, State::OneTarget], "{found:?}");
}

fn order(world: &World, names: &[&str]) -> (Option<Vec<String>>, Vec<String>) {
    let nodes: Vec<NodeIndex> = names.iter().map(|name| world.cluster.fleet.find(name).expect("the node")).collect();
    let found = drain(world, &nodes, true, &|_, _| {});
    (found.order, found.stranded)
}

/// node-c lost two labels, so shop/db, which inherited them, can never return to it: node-d must be drained before its
/// own node.
#[test]
fn a_cordoned_node_is_returned_before_the_guest_that_needs_it_must_leave() {
    let mut nodes = intel();
    cordon(of(&mut nodes, "node-d"));
    take(of(&mut nodes, "node-c"), &[feature("fpu"), feature("vme")]);
    let (db, pod) = migrated("db", "node-a");
    let (found, stranded) = order(&world(nodes, [vmi(db), pod]), &["node-a", "node-b", "node-d"]);
    let found = found.unwrap_or_else(|| panic!("none for {stranded:?}"));
    let at = |name: &str| found.iter().position(|node| node == name);
    assert!(at("node-d") < at("node-a"), "shop/db would be stuck on node-a: {found:?}");
}

/// node-a itself lost labels that shop/db inherited: once it is on node-d it can go nowhere.
#[test]
fn a_guest_that_cannot_come_back_leaves_last() {
    let mut nodes = intel();
    for name in ["node-a", "node-c"] {
        take(of(&mut nodes, name), &[feature("fpu"), feature("vme")]);
    }
    let (db, pod) = migrated("db", "node-a");
    let world = world(nodes, [vmi(db), pod]);
    let (found, _) = order(&world, &["node-a", "node-d"]);
    assert_eq!(found, Some(vec!["node-d".to_owned(), "node-a".to_owned()]));
}

#[test]
fn without_an_order_the_guest_in_the_way_is_named() {
    let mut nodes = intel();
    for name in ["node-c", "node-d"] {
        take(of(&mut nodes, name), &[feature("fpu"), feature("vme")]);
    }
    let (db, pod) = migrated("db", "node-a");
    let (found, stranded) = order(&world(nodes, [vmi(db), pod]), &["node-a", "node-b"]);
    assert_eq!((found, stranded), (None, vec!["shop/db".to_owned()]));
}

/// An eviction is a migration only if the condition is `True`; a guest without any condition was dumped without them.
#[rstest]
#[case::stays_and_waits("LiveMigrate", json!([{"type": "LiveMigratable", "status": "Unknown"}]), State::Stuck, "LiveMigratable is Unknown")]
#[case::is_shut_down("LiveMigrateIfPossible", json!([{"type": "LiveMigratable", "status": "Unknown"}]), State::ShutDown, "LiveMigratable is Unknown")]
#[case::not_there_yet("LiveMigrate", json!([{"type": "Ready", "status": "True"}]), State::Stuck, "no condition LiveMigratable yet")]
#[case::not_there_and_shut_down("LiveMigrateIfPossible", json!([{"type": "Ready", "status": "True"}]), State::ShutDown, "no condition LiveMigratable yet")]
#[case::none_was_dumped("LiveMigrate", json!([]), State::CanLeave, "")]
fn a_guest_without_live_migratable_true_is_not_migrated(
    #[case] strategy: &str,
    #[case] conditions: Value,
    #[case] expected: State,
    #[case] why: &str,
) {
    let web = running("web", "node-a", "Skylake-Server-noTSX-IBRS").tweak(|guest| {
        guest["spec"]["evictionStrategy"] = json!(strategy);
        guest["status"]["conditions"] = conditions;
    });
    let world = world(intel(), [vmi(web)]);
    let found = drained(&world, "node-a");
    let guest = &found.nodes[0].guests[0];
    assert_eq!((guest.state, guest.why.contains(why)), (expected, true), "{guest:?}");
    // A user's migration is admitted, and explain reports the effect of a drain on it.
    let prepared =
        crate::kubevirt::subject::of_running(world.cluster.vmi("shop", "web").expect("it runs"), &world.cluster);
    let verdict = prepared.expect("it runs").judge(&world.cluster, crate::fit::judgement::Depth::Full);
    let waits = verdict.found(crate::fit::verdict::Check::DrainWaits).map(crate::say::finding::message);
    assert_eq!((verdict.assessment.outcome.impact(), waits.is_some()), (None, expected == State::Stuck), "{waits:?}");
    assert!(waits.is_none_or(|waits| waits.starts_with("a drain of node-a waits for it") && waits.contains(why)));
}

/// A dump without pods, allocatable and budgets: the report lists these as not known.
#[test]
fn unknown_facts_about_a_drain_are_listed() {
    let guests = [("web", "LiveMigrate"), ("ends", "None")].map(|(name, strategy)| {
        vmi(running(name, "node-a", "Skylake-Server-noTSX-IBRS")
            .tweak(|guest| guest["spec"]["evictionStrategy"] = json!(strategy)))
    });
    let bare = world(intel(), guests);
    let found = drained(&bare, "node-a").not_known;
    let launcher = "which entries shop/web inherited at earlier migrations: its launcher pod is not in the dump; it is \
                    judged as if it had never migrated";
    assert!(
        found.len() == 3
            && found[0] == launcher
            && found[1].contains("how much room")
            && found[2].contains("PodDisruptionBudgets"),
        "{found:?}"
    );
    let known = with_room(bare.clone(), &[("node-a", "64"), ("node-b", "64")], &[("node-a", Some("ends"), "8")]);
    let found = drained(&known, "node-a").not_known;
    assert!(found[0].contains("how much shop/web asks for: its launcher is not known"), "{found:?}");
    let mut all = with_room(bare.clone(), &[("node-a", "64")], &[("node-a", Some("web"), "8")]);
    std::sync::Arc::make_mut(&mut all.cluster.room).mark_budgets_read();
    assert_eq!(drained(&all, "node-a").not_known, Vec::<String>::new());
    let mut is_live = bare;
    is_live.cluster.is_live = true;
    assert!(!drained(&is_live, "node-a").not_known.iter().any(|line| line == launcher), "a cluster is no dump");
}

/// Required pod affinity depends on the pods on the nodes and is not judged; anti-affinity is judged among guests.
#[test]
fn a_rule_that_is_not_judged_is_named_beside_the_targets() {
    let web = live(running("web", "node-a", "Skylake-Server-noTSX-IBRS")).tweak(|guest| {
        guest["spec"]["affinity"] = json!({"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
            {"labelSelector": {"matchLabels": {"app": "db"}}, "topologyKey": "kubernetes.io/hostname"}]}});
    });
    let found = drained(&world(intel(), [vmi(web)]), "node-a");
    let guest = &found.nodes[0].guests[0];
    assert_eq!(guest.state, State::CanLeave);
    assert!(guest.why.starts_with("its required pod affinity is not judged"), "{}", guest.why);
}

/// A pod that belongs to no guest excludes a guest from its node or zone: by the guest's own term or the pod's.
#[rstest]
#[case::the_guests_own_term(apart("db", "node-a", SKY, "kubernetes.io/hostname"), "shop", json!(null), &["node-b", "node-d", "node-e"])]
#[case::by_zone(apart("db", "node-a", SKY, "zone"), "shop", json!(null), &["node-d", "node-e"])]
#[case::another_namespace(apart("db", "node-a", SKY, "kubernetes.io/hostname"), "bank", json!(null), &["node-b", "node-c", "node-d", "node-e"])]
#[case::the_pods_own_term(labelled("db"), "shop", json!([{"labelSelector": {"matchLabels": {"app": "db"}}, "topologyKey": "zone"}]), &["node-d", "node-e"])]
#[case::of_other_labels(labelled("db"), "shop", json!([{"labelSelector": {"matchLabels": {"app": "web"}}, "topologyKey": "zone"}]), &["node-b", "node-c", "node-d", "node-e"])]
#[case::of_its_namespace_by_name(labelled("db"), "bank", json!([{"labelSelector": {}, "namespaces": ["shop"], "topologyKey": "zone"}]), &["node-d", "node-e"])]
fn anti_affinity_to_other_pods_keeps_a_guest_off_their_nodes(
    #[case] guest: Value,
    #[case] namespace: &str,
    #[case] term: Value,
    #[case] expected: &[&str],
) {
    let mut nodes = zoned();
    // Alone in its zone, a guest could not move within it.
    of(&mut nodes, "node-a").labels.insert("zone".to_owned(), "north".to_owned());
    let pod = json!({
        "metadata": {"name": "postgres-0", "namespace": namespace, "labels": {"app": "db"}},
        "spec": {"nodeName": "node-c", "containers": [],
            "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": term}}},
        "status": {"phase": "Running"}});
    let mut known = world(nodes, [vmi(guest)]);
    let alone = drained(&known, "node-a").nodes[0].guests[0].clone();
    assert_eq!(alone.targets.len(), 4, "{alone:?}");
    let is_said = alone.why.contains("anti-affinity is judged among guests: other pods are not known");
    assert_eq!(is_said, term.is_null(), "{}", alone.why);
    read_pod(&mut known, &pod);
    let guest = &drained(&known, "node-a").nodes[0].guests[0];
    assert_eq!(guest.targets.names(), expected, "{guest:?}");
    assert_eq!(guest.why.contains("required pod anti-affinity keeps it off"), expected.len() < 4, "{}", guest.why);
    assert!(!guest.why.contains("not known"), "{}", guest.why);
}

/// The pod has ended, belongs to a launcher, or is a launcher itself: it excludes no guest.
#[rstest]
#[case::it_has_ended("Succeeded", json!(null))]
#[case::it_holds_a_launchers_volumes("Running", json!([{"kind": "Pod", "name": "virt-launcher-db"}]))]
fn ended_pods_and_volume_pods_of_launchers_exclude_no_target(#[case] phase: &str, #[case] owners: Value) {
    let mut known = world(zoned(), [vmi(apart("db", "node-a", SKY, "kubernetes.io/hostname"))]);
    read_pod(
        &mut known,
        &json!({
        "metadata": {"name": "postgres-0", "namespace": "shop", "labels": {"app": "db"}, "ownerReferences": owners},
        "spec": {"nodeName": "node-c", "containers": []}, "status": {"phase": phase}}),
    );
    assert_eq!(drained(&known, "node-a").nodes[0].guests[0].targets.len(), 4);
}

/// If the drained node is returned, the pod on the other one still excludes the guest: there is no order.
#[test]
fn an_order_respects_anti_affinity_to_other_pods() {
    let nodes: Vec<Node> = intel().into_iter().filter(|node| ["node-a", "node-c"].contains(&&*node.name)).collect();
    let mut known = world(nodes, [vmi(apart("db", "node-a", "Cascadelake-Server", "kubernetes.io/hostname"))]);
    let (found, _) = order(&known, &["node-a", "node-c"]);
    assert!(found.is_some(), "node-c takes it");
    read_pod(
        &mut known,
        &json!({
        "metadata": {"name": "postgres-0", "namespace": "shop", "labels": {"app": "db"}},
        "spec": {"nodeName": "node-c", "containers": []}, "status": {"phase": "Running"}}),
    );
    assert_eq!(order(&known, &["node-a", "node-c"]), (None, vec!["shop/db".to_owned()]));
}

const SKY: &str = "Skylake-Server-noTSX-IBRS";

fn labelled(name: &str) -> Value {
    live(running(name, "node-a", SKY)).tweak(|guest| guest["metadata"]["labels"] = json!({"app": "db"}))
}

fn read_pod(world: &mut World, pod: &Value) {
    let text = pod.to_string();
    std::sync::Arc::make_mut(&mut world.cluster.room).read("", "Pod", &Json(&text)).expect("well-formed");
}

/// Adds allocatable of nodes and requests of pods, as in a dump.
fn with_room(mut world: World, nodes: &[(&str, &str)], pods: &[(&str, Option<&str>, &str)]) -> World {
    let mut room = crate::kubevirt::room::Room::default();
    let mut read = |kind: &str, object: Value| {
        let text = object.to_string();
        room.read(if kind == "PodDisruptionBudget" { "policy" } else { "" }, kind, &Json(&text)).expect("well-formed");
    };
    for (name, cores) in nodes {
        read(
            "Node",
            json!({"metadata": {"name": name}, "status": {"allocatable": {"cpu": cores, "memory": "256Gi", "pods": "110"}}}),
        );
    }
    for (at, (node, guest, cores)) in pods.iter().enumerate() {
        let owners = guest.map(|guest| json!([{"kind": "VirtualMachineInstance", "name": guest}]));
        read(
            "Pod",
            json!({
            "metadata": {"name": format!("pod-{at}"), "namespace": "shop", "ownerReferences": owners},
            "spec": {"nodeName": node, "containers": [{"resources": {"requests": {"cpu": cores, "memory": "4Gi"}}}]},
            "status": {"phase": "Running"}}),
        );
    }
    world.cluster.room = std::sync::Arc::new(room);
    world
}

struct Json<'a>(&'a str);

impl<'a> crate::kubevirt::wire::Reader<'a> for Json<'a> {
    type Error = serde_json::Error;

    fn read<T: serde::Deserialize<'a> + crate::bounds::Measured>(&self) -> Result<T, Self::Error> {
        serde_json::from_str(self.0)
    }
}

#[test]
fn a_full_node_is_no_target() {
    let web = live(running("web", "node-a", "Icelake-Server-noTSX"));
    let mut nodes = intel();
    nodes.retain(|node| node.name == "node-a" || node.name == "node-e");
    let world = with_room(
        world(nodes, [vmi(web)]),
        &[("node-a", "64"), ("node-e", "64")],
        &[("node-a", Some("web"), "8"), ("node-e", None, "62")],
    );
    let guest = &drained(&world, "node-a").nodes[0].guests[0];
    assert_eq!((guest.state, guest.no_room.names()), (State::Stuck, vec!["node-e"]), "{guest:?}");
    assert!(
        guest.why.contains("node-e fits by CPU, no room: 2 of 64 cores free (it asks for 8 cores)"),
        "{}",
        guest.why
    );
}

#[test]
fn two_guests_share_room_for_one() {
    let guests = ["web-1", "web-2"].map(|name| vmi(live(running(name, "node-a", "Skylake-Server-noTSX-IBRS"))));
    let mut nodes = intel();
    nodes.retain(|node| node.name == "node-a" || node.name == "node-b");
    let world = with_room(
        world(nodes, guests),
        &[("node-a", "64"), ("node-b", "64")],
        &[("node-a", Some("web-1"), "8"), ("node-a", Some("web-2"), "8"), ("node-b", None, "50")],
    );
    let found = drained(&world, "node-a");
    let states: Vec<State> = states(&found).into_iter().map(|(_, state, _)| state).collect();
    assert_eq!(states, [State::Stuck, State::OneTarget], "{found:?}");
}

mod acts;
mod budgets;
mod causes;
mod claims;
mod cost;
mod ends;
mod explained;
mod flights;
mod orders;
mod promises;
mod races;
mod rules;
mod smallest;
mod too_large;
