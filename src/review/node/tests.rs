use rstest::rstest;
use serde_json::json;

use super::*;
use crate::kubevirt::cluster::ClusterObject;
use crate::review::tests::{recorded, recording, said};
use crate::testing::cluster::{cluster, launcher, running, vmi};
use crate::testing::fleet::{CASCADE_LAKE, COMMON, SKYLAKE, TSX, cascade_lake, cordon, feature, intel, of, set, take};
use crate::testing::{NEVER, Tweak};

fn inherited() -> impl Iterator<Item = String> {
    [&COMMON[..], &SKYLAKE, &CASCADE_LAKE, &TSX].concat().into_iter().map(feature)
}

/// Returns a world with shop/db on node-a and shop/erp on node-c, both migrated before: only Cascade Lake takes them.
fn world(nodes: Vec<Node>) -> World {
    let guests = [running("db", "node-a", "host-model"), running("erp", "node-c", "host-model")];
    let objects = guests.iter().flat_map(|guest| [vmi(guest.clone()), launcher(guest, inherited())]);
    World { cluster: cluster("1.9.0", nodes, objects), policies: Vec::new() }
}

fn edit(nodes: Vec<Node>, name: &str, change: impl FnOnce(&mut Node)) -> Vec<String> {
    let before = of(&mut nodes.clone(), name).clone();
    let after = before.clone().tweak(change);
    update(&world(nodes), &before, &after, NEVER).warnings()
}

#[test]
fn removing_a_label_that_running_guests_require_is_warned_about() {
    let lines = edit(intel(), "node-a", |node| take(node, &[feature("fpu"), feature("vme")]));
    insta::assert_snapshot!(lines.join("\n"), @r"
    cpufit: 1 guest on node-a (shop/db) asks for cpu-feature fpu, vme, which it will no longer meet: a restart of the kubelet there would fail it
    cpufit: this edit of node-a leaves 1 guest one node to migrate to: shop/erp
    cpufit: node-a: virt-handler's node-labeller undoes this within 7 minutes: the node has no skip-node
    ");
}

/// Role labels have an empty value: an entry of the selector with one is named among the entries.
#[test]
fn a_lost_entry_with_an_empty_value_is_an_entry() {
    const ROLE: &str = "node-role.kubernetes.io/worker";
    let nodes = intel().tweak(|nodes| {
        for node in nodes {
            node.labels.insert(ROLE.to_owned(), String::new());
        }
    });
    let guest = running("db", "node-a", "host-model");
    let mut pod = launcher(&guest, [feature("fpu")]);
    if let ClusterObject::Launcher(pod) = &mut pod {
        let mut placement = (*pod.placement).clone();
        let selector = [(feature("fpu"), "true"), (ROLE.to_owned(), "")];
        placement.selector = selector.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
        pod.placement = placement.into();
    }
    let world = crate::testing::cluster::world(nodes.clone(), [vmi(guest), pod]);
    let before = of(&mut nodes.clone(), "node-a").clone();
    let after = before.clone().tweak(|node| {
        node.labels.remove(ROLE);
        take(node, &[feature("fpu")]);
    });
    let lines = update(&world, &before, &after, NEVER).warnings();
    let expected = "(shop/db) asks for cpu-feature fpu; node-role.kubernetes.io/worker=, which it will no longer meet";
    assert!(lines[0].contains(expected), "people look for a condition that the guest does not have: {lines:?}");
}

#[test]
fn an_edit_of_a_node_with_skip_node_is_not_undone() {
    let lines = edit(intel(), "node-c", |node| {
        node.skip_node = Some("true".to_owned());
        take(node, &[feature("fpu")]);
    });
    insta::assert_snapshot!(lines.join("\n"), @r"
    cpufit: 1 guest on node-c (shop/erp) asks for cpu-feature fpu, which it will no longer meet: a restart of the kubelet there would fail it
    cpufit: this edit of node-c leaves 1 guest one node to migrate to: shop/db
    cpufit: node-c: to undo: kubectl label node node-c --overwrite cpu-feature.node.kubevirt.io/fpu=true
    ");
}

/// The labeller writes the vendor of the hardware, and removes no other one.
#[rstest]
#[case::added(
    "AMD",
    None,
    Some("true"),
    "node-a: to undo: kubectl label node node-a --overwrite cpu-vendor.node.kubevirt.io/AMD-"
)]
#[case::made_true(
    "AMD",
    Some("false"),
    Some("true"),
    "node-a: to undo: kubectl label node node-a --overwrite cpu-vendor.node.kubevirt.io/AMD=false"
)]
#[case::taken_off(
    "Intel",
    Some("true"),
    None,
    "node-a: virt-handler's node-labeller undoes this within 7 minutes: the node has no skip-node"
)]
fn a_vendor_that_is_added_stays(
    #[case] vendor: &str,
    #[case] had: Option<&str>,
    #[case] has: Option<&str>,
    #[case] expected: &str,
) {
    let with = |value: Option<&str>| {
        let key = format!("{}{vendor}", crate::fit::label::CPU_VENDOR);
        of(&mut intel(), "node-a").clone().tweak(|node| match value {
            Some(value) => set(node, &key, value),
            None => take(node, &[key]),
        })
    };
    let said = undo(&with(had), &with(has));
    assert_eq!(said.as_deref(), Some(expected), "an administrator waits for what does not come");
}

/// Returns nodes of which two are Cascade Lake, each the other's only target.
fn pair() -> Vec<Node> {
    intel().into_iter().filter(|node| node.name != "node-d").collect()
}

#[test]
fn a_cordon_names_the_guests_that_get_stuck() {
    insta::assert_snapshot!(edit(pair(), "node-c", cordon).join("\n"), @r"
    cpufit: cordoning node-c leaves 1 guest no node to migrate to: shop/db
    cpufit: node-c: to undo: kubectl uncordon node-c
    ");
}

#[test]
fn an_uncordon_names_the_guests_that_can_move_again() {
    let nodes = pair().tweak(|nodes| cordon(of(nodes, "node-c")));
    // The taint is still there: the node controller removes it a moment later.
    let lines = edit(nodes, "node-c", |node| node.cordoned = false);
    insta::assert_snapshot!(lines.join("\n"), @"cpufit: uncordoning node-c frees 1 guest that could migrate nowhere: shop/db");
}

#[test]
fn a_cordon_of_one_of_two_targets_names_the_remaining_one() {
    insta::assert_snapshot!(edit(intel(), "node-d", cordon).join("\n"), @"cpufit: cordoning node-d leaves 2 guests one node to migrate to: shop/db, shop/erp");
}

#[rstest]
#[case::heartbeat(|node: &mut Node| node.not_ready = true)]
#[case::a_label_nobody_asks_for(|node: &mut Node| set(node, "example.com/rack", "9"))]
#[case::skip_node(|node: &mut Node| node.skip_node = Some("true".to_owned()))]
#[case::the_cordon_of_a_node_nobody_could_go_to(cordon)]
fn an_edit_without_effect_gives_no_warning(#[case] change: fn(&mut Node)) {
    assert_eq!(
        edit(intel(), "node-b", change),
        Vec::<String>::new(),
        "warnings without consequence hide those that matter"
    );
}

#[test]
fn a_guest_that_cannot_migrate_is_not_listed_as_stuck_by_the_edit() {
    let guest = running("db", "node-a", "host-model").tweak(|db| {
        db["status"]["conditions"] = json!([{"type": "LiveMigratable", "status": "False"}]);
    });
    let cluster = cluster("1.9.0", pair(), [vmi(guest.clone()), launcher(&guest, inherited())]);
    let before = cascade_lake("node-c");
    let after = before.clone().tweak(cordon);
    assert!(consequences(&cluster, &before, &after, NEVER).stranded.is_empty());
}

/// The cache may already hold the node as it is after the edit, or not know it yet.
#[rstest]
#[case::as_before(false)]
#[case::as_after(true)]
fn a_review_compares_both_versions_of_the_node(#[case] ahead: bool) {
    let before = cascade_lake("node-c");
    let after = before.clone().tweak(cordon);
    let nodes = pair().tweak(|nodes| *of(nodes, "node-c") = if ahead { after.clone() } else { before.clone() });
    let found = consequences(&world(nodes).cluster, &before, &after, NEVER);
    assert_eq!((found.stranded.count, found.freed.count), (1, 0), "said or not as the race goes");
}

#[test]
fn an_incomplete_count_is_marked() {
    let calls = std::cell::Cell::new(0);
    let is_over = || calls.replace(calls.get() + 1) >= 1;
    let before = cascade_lake("node-a");
    let after = before.clone().tweak(|node| take(node, &[feature("fpu")]));
    let lines = update(&world(intel()), &before, &after, &is_over).warnings();
    assert!(lines.iter().any(|line| line.contains("at least 1 guest on node-a")), "{lines:?}");
    let none = update(&world(intel()), &before, &after, &|| true).warnings();
    assert_eq!(none, ["cpufit: node-a: only 0 of 2 guests were looked at in time; all: kubectl cpufit audit"]);
}

#[rstest]
#[case::labels("node-update-labels.json")]
#[case::cordon("node-update-cordon.json")]
#[case::annotation("node-update-annotation.json")]
fn recorded_edits_of_a_node_name_the_affected_guests(#[case] name: &str) {
    let lines = said(&recorded(), &recording(name));
    insta::with_settings!({snapshot_suffix => name.trim_end_matches(".json")}, {
        insta::assert_snapshot!(lines.join("\n"));
    });
}
