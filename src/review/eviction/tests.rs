use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::fit::node::Node;
use crate::kubevirt::cluster::ClusterObject;
use crate::review::tests::{recorded, recording, said};
use crate::testing::Tweak;
use crate::testing::cluster::{cluster, launcher, read, read_policy, running, vmi};
use crate::testing::fleet::{CASCADE_LAKE, COMMON, SKYLAKE, TSX, cordon, feature, intel, of, take};

/// Returns the entries that shop/db inherited at its first migration, from a Cascade Lake node.
fn inherited() -> impl Iterator<Item = String> {
    [&COMMON[..], &SKYLAKE, &CASCADE_LAKE, &TSX].concat().into_iter().map(feature)
}

/// Returns nodes of which node-a is being drained, node-d is cordoned and node-c lost two labels.
fn drained() -> Vec<Node> {
    let mut nodes = intel();
    cordon(of(&mut nodes, "node-a"));
    cordon(of(&mut nodes, "node-d"));
    take(of(&mut nodes, "node-c"), &[feature("fpu"), feature("vme")]);
    nodes
}

fn db() -> Value {
    running("db", "node-a", "host-model").tweak(|db| db["spec"]["evictionStrategy"] = json!("LiveMigrate"))
}

fn world(nodes: Vec<Node>, db: &Value, more: Vec<ClusterObject>) -> World {
    let objects = vec![vmi(db.clone()), launcher(db, inherited())];
    World { cluster: cluster("1.9.0", nodes, objects.into_iter().chain(more)), policies: Vec::new() }
}

fn evict(world: &World) -> Vec<String> {
    eviction(world, "shop", "virt-launcher-db-x7k2p", false, &|| false).warnings()
}

#[test]
fn a_drain_says_why_the_guest_cannot_leave_and_what_to_do() {
    insta::assert_snapshot!(evict(&world(drained(), &db(), Vec::new())).join("\n"), @r"
    cpufit: shop/db cannot leave node-a: node-d fits but is cordoned, node-c lacks cpu-feature fpu, vme. The drain waits until that changes
    cpufit: shop/db: to go on: kubectl uncordon node-d
    cpufit: shop/db: to give up: kubectl uncordon node-a
    ");
}

/// The reason is known at once; the remedy is left out if there was no time to compute it.
#[test]
fn an_eviction_that_is_broken_off_still_says_why() {
    let world = world(drained(), &db(), Vec::new());
    let until = |after: usize| {
        let asked = std::cell::Cell::new(0);
        let is_over = || asked.replace(asked.get() + 1) >= after;
        let lines = eviction(&world, "shop", "virt-launcher-db-x7k2p", false, &is_over).warnings();
        (lines, asked.get())
    };
    let (whole, asked) = until(usize::MAX);
    assert!(asked > 1, "nothing of it is ever broken off");
    for after in 0..asked {
        let (part, until) = until(after);
        assert!(until <= after + 64, "{until} - {after} steps after it was enough");
        assert!(part[0].starts_with("cpufit: shop/db cannot leave node-a"), "{part:?}");
        assert!(part.len() <= whole.len() + 1, "{part:?}");
    }
}

#[test]
fn a_guest_that_can_leave_leaves_in_silence() {
    assert_eq!(
        evict(&world(intel(), &db(), Vec::new())),
        Vec::<String>::new(),
        "every drain would be full of warnings"
    );
}

#[rstest]
#[case::unknown_pod("shop", "virt-launcher-web-1")]
#[case::another_namespace("lab", "virt-launcher-db-x7k2p")]
fn a_pod_that_is_no_launcher_of_a_known_guest_is_admitted(#[case] namespace: &str, #[case] pod: &str) {
    let world = world(drained(), &db(), Vec::new());
    assert_eq!(eviction(&world, namespace, pod, true, &|| false), warned(Vec::new()));
}

#[test]
fn the_pod_it_left_behind_is_not_the_guest() {
    let old = Value::clone(&db()).tweak(|old| old["status"]["nodeName"] = json!("node-b"));
    let ClusterObject::Launcher(mut pod) = launcher(&old, inherited()) else { panic!("a launcher") };
    "virt-launcher-db-old".clone_into(&mut pod.name);
    let world = world(drained(), &db(), vec![ClusterObject::Launcher(pod)]);
    let warnings = eviction(&world, "shop", "virt-launcher-db-old", false, &|| false);
    assert!(warnings.warnings().is_empty(), "{warnings:?}: the guest does not leave with it");
}

/// The effect of an eviction depends on the strategy and on whether the guest can be migrated at all.
#[rstest]
#[case::stuck("LiveMigrate", "", "True", "shop/db cannot leave node-a: node-d fits but is cordoned")]
#[case::by_default("", "LiveMigrate", "True", "shop/db cannot leave node-a: node-d fits but is cordoned")]
#[case::its_own_wins("None", "LiveMigrate", "True", "shop/db will be shut down, not migrated")]
#[case::nowhere("", "", "True", "shop/db will be shut down, not migrated")]
#[case::if_possible("LiveMigrateIfPossible", "", "True", "shop/db cannot leave node-a: node-d fits but is cordoned")]
#[case::not_possible(
    "LiveMigrateIfPossible",
    "",
    "False",
    "shop/db will be shut down: it is not live-migratable (DisksNotLiveMigratable: PVC root is not shared)"
)]
#[case::never(
    "LiveMigrate",
    "",
    "False",
    "shop/db cannot leave node-a: it is not live-migratable (DisksNotLiveMigratable: PVC root is not shared)"
)]
#[case::others_act("External", "", "True", "")]
#[case::not_decided(
    "LiveMigrate",
    "",
    "Unknown",
    "shop/db cannot leave node-a: its condition LiveMigratable is Unknown, not True. The drain waits until it is"
)]
#[case::absent_beside_others(
    "LiveMigrate",
    "",
    "",
    "shop/db cannot leave node-a: it has no condition LiveMigratable yet, which must be True. The"
)]
#[case::not_known_possible(
    "LiveMigrateIfPossible",
    "",
    "Unknown",
    "shop/db will be shut down: its condition LiveMigratable is Unknown, not True"
)]
#[case::absent_and_if_possible(
    "LiveMigrateIfPossible",
    "",
    "",
    "shop/db will be shut down: it has no condition LiveMigratable yet"
)]
fn an_eviction_says_what_happens_to_the_guest(
    #[case] own: &str,
    #[case] default: &str,
    #[case] status: &str,
    #[case] expected: &str,
) {
    let guest = db().tweak(|db| {
        db["spec"]["evictionStrategy"] = json!(own);
        let kind = if status.is_empty() { "Ready" } else { "LiveMigratable" };
        db["status"]["conditions"] = json!([{"type": kind, "status": status,
            "reason": "DisksNotLiveMigratable", "message": "PVC root is not shared"}]);
    });
    let kubevirt = json!({"metadata": {"name": "kubevirt", "namespace": "kubevirt"},
        "spec": {"configuration": {"evictionStrategy": default}}});
    let warnings = evict(&world(drained(), &guest, vec![ClusterObject::KubeVirt(Box::new(read(kubevirt)))]));
    let first = warnings.first().map_or("", |line| line.strip_prefix("cpufit: ").expect("the prefix"));
    if expected.is_empty() {
        assert_eq!(first, "", "the user is warned about what another program decides");
    } else {
        assert!(first.starts_with(expected), "{first}");
    }
}

#[test]
fn without_the_kubevirt_resource_a_default_is_not_guessed() {
    let guest = db().tweak(|db| db["spec"]["evictionStrategy"] = Value::Null);
    assert_eq!(
        evict(&world(drained(), &guest, Vec::new())),
        Vec::<String>::new(),
        "a shutdown is announced on a guess"
    );
}

#[test]
fn an_exempt_namespace_is_left_alone() {
    let namespace = json!({"metadata": {"name": "shop", "labels": {"cpufit.io/exempt": "true"}}});
    let world = world(drained(), &db(), vec![ClusterObject::Namespace(read(namespace))]);
    assert_eq!(evict(&world), Vec::<String>::new());
}

#[test]
fn a_dry_run_says_what_it_will_not() {
    let warnings = said(&recorded(), &recording("eviction-dry-run.json"));
    insta::assert_snapshot!(warnings.join("\n"), @r"
    cpufit: shop/r1 cannot leave node-d: node-e lacks cpu-feature vmx-activity-wait-sipi (other hardware), node-a lacks cpu-feature pku, umip. The drain waits until that changes
    cpufit: shop/r1: to go on: add 2 labels to node-a, with skip-node (kubectl cpufit explain vmi/r1 -n shop)
    cpufit: shop/r1: a dry run moves nothing, and KubeVirt answers it as the real eviction: the drain never ends, stop it with Ctrl-C
    ");
}

#[test]
fn the_recorded_eviction_of_a_pod_that_is_gone_passes() {
    assert_eq!(said(&recorded(), &recording("eviction.json")), Vec::<String>::new());
}

/// KubeVirt's reasons are long, and the end of the wait is named last.
#[test]
fn a_long_reason_leaves_room_for_what_to_do() {
    let why = "cannot migrate VMI: PVC db-root is not shared, live migration requires that all PVCs must be shared (using ReadWriteMany access mode)";
    let condition =
        json!({"type": "LiveMigratable", "status": "False", "reason": "DisksNotLiveMigratable", "message": why});
    let db = db().tweak(|db| db["status"]["conditions"] = json!([condition]));
    let lines = evict(&world(drained(), &db, Vec::new()));
    assert!(lines[0].ends_with("The drain waits until it is stopped"), "{lines:?}");
    assert!(lines[0].chars().count() <= 220, "longer names would cut it off: {lines:?}");
}

/// The target of the drain's migration will require less than the launcher does now.
#[test]
fn entries_that_a_policy_drops_block_no_drain() {
    let db = db();
    let objects = vec![vmi(db.clone()), launcher(&db, inherited().chain([feature("gone")]))];
    let mut world = World { cluster: cluster("1.9.0", intel(), objects), policies: Vec::new() };
    assert!(evict(&world)[0].contains("cannot leave node-a"));
    world.policies.push(read_policy("intel-pool", &json!({"launcherSelectors": "DropStale"})));
    assert_eq!(evict(&world), Vec::<String>::new(), "the drain goes on");
}

/// `kubectl drain` cordons, and evicts before the watch reports the cordon: each retry adds lines and changes none.
#[test]
fn a_retry_repeats_no_line() {
    let first = evict(&world(drained().tweak(|nodes| of(nodes, "node-a").cordoned = false), &db(), Vec::new()));
    let second = evict(&world(drained(), &db(), Vec::new()));
    assert!(second.starts_with(&first), "kubectl would print a line twice: {first:?} {second:?}");
    assert!(second.len() > first.len(), "the way back is not given: {second:?}");
}

/// Its target pod has a node: the drain waits for that migration, regardless of the nodes that labels allow.
#[rstest]
#[case::it_is_under_way("2026-01-02T00:00:00Z", "LiveMigrate", 0)]
#[case::the_pod_that_it_left("2025-12-31T00:00:00Z", "LiveMigrate", 3)]
#[case::it_is_shut_down_all_the_same("2026-01-02T00:00:00Z", "None", 1)]
fn a_guest_whose_migration_is_under_way_leaves_in_silence(
    #[case] created: &str,
    #[case] strategy: &str,
    #[case] lines: usize,
) {
    let db = db().tweak(|db| db["spec"]["evictionStrategy"] = json!(strategy));
    let elsewhere = db.clone().tweak(|db| db["status"]["nodeName"] = json!("node-b"));
    let ClusterObject::Launcher(mut pod) = launcher(&elsewhere, inherited()) else { panic!("a launcher") };
    pod.name.push_str("-target");
    created.clone_into(&mut pod.created);
    let said = evict(&world(drained(), &db, vec![ClusterObject::Launcher(pod)]));
    assert_eq!(said.len(), lines, "{said:?}");
}
