use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::answers::drain::{State, drain};
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
fn an_eviction_of_a_guest_that_can_leave_gives_no_warning() {
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
    assert_eq!(eviction(&world, namespace, pod, true, &|| false), Decision::admit_with(Vec::new()));
}

#[test]
fn a_pod_of_an_ended_migration_is_not_the_guest() {
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

/// One effect of an eviction, worded by all that speak of it: the webhook, `drain` and `recommend` do not contradict
/// each other. Each case changes the guest and KubeVirt's configuration; an empty text means that nothing is said.
#[rstest]
#[case::migrates(json!({}), json!({}), State::Stuck, "node-d fits but is cordoned", "cannot leave node-a: node-d fits")]
#[case::is_being_deleted(
    json!({"metadata": {"deletionTimestamp": "2026-01-02T00:00:00Z"}}), json!({}),
    State::Ends, "it is being deleted", ""
)]
#[case::is_being_deleted_and_not_migratable(
    json!({"metadata": {"deletionTimestamp": "2026-01-02T00:00:00Z"},
           "status": {"conditions": [{"type": "LiveMigratable", "status": "False"}]}}), json!({}),
    State::Ends, "it is being deleted", ""
)]
#[case::starts(
    json!({"status": {"phase": "Scheduled", "conditions": []}}), json!({}),
    State::Stays, "does not run yet (phase Scheduled); KubeVirt migrates it once", "does not run yet (phase Scheduled)"
)]
#[case::starts_without_the_condition(
    json!({"status": {"phase": "Scheduling", "conditions": [{"type": "Ready", "status": "False"}]}}), json!({}),
    State::Stays, "does not run yet (phase Scheduling)", "does not run yet (phase Scheduling)"
)]
#[case::lost_its_node(
    json!({"status": {"phase": "Unknown"}}), json!({}),
    State::Stays, "its phase is Unknown", "its phase is Unknown: its node does not report"
)]
#[case::no_migration_starts(
    json!({}), json!({"migrations": {"parallelMigrationsPerCluster": 0}}),
    State::Stuck, "KubeVirt starts no migration: parallelMigrationsPerCluster", "KubeVirt starts no migration"
)]
#[case::not_migratable(
    json!({"status": {"conditions": [{"type": "LiveMigratable", "status": "False", "reason": "NotShared"}]}}), json!({}),
    State::Stuck, "not live-migratable: NotShared", "not live-migratable (NotShared)"
)]
#[case::is_shut_down(
    json!({"spec": {"evictionStrategy": "None"}}), json!({}), State::ShutDown, "shut down", "will be shut down"
)]
#[case::has_an_unknown_strategy(
    json!({"spec": {"evictionStrategy": "Sometimes"}}), json!({}),
    State::ShutDown, "evictionStrategy Sometimes is not one", "evictionStrategy Sometimes is not one"
)]
#[case::is_moved_by_others(json!({"spec": {"evictionStrategy": "External"}}), json!({}), State::Stays, "External", "")]
fn the_webhook_and_drain_say_the_same_of_an_eviction(
    #[case] guest: Value,
    #[case] configuration: Value,
    #[case] state: State,
    #[case] drain_says: &str,
    #[case] webhook_says: &str,
) {
    for is_held in [false, true] {
        let db = db().tweak(|db| merge(db, &guest));
        let kubevirt = json!({"metadata": {"name": "kubevirt", "namespace": "kubevirt"}, "spec": {"configuration": configuration}});
        let mut world = world(drained(), &db, vec![ClusterObject::KubeVirt(Box::new(read(kubevirt)))]);
        let budget = json!({"metadata": {"name": "one", "namespace": "shop"}, "spec": {"selector": {}},
                            "status": {"disruptionsAllowed": i32::from(!is_held)}});
        let room = std::sync::Arc::make_mut(&mut world.cluster.room);
        room.read("policy", "PodDisruptionBudget", &Json(&budget.to_string())).expect("well-formed");
        // A budget delays only a shutdown.
        let is_held = is_held && state == State::ShutDown;
        let budget = "PodDisruptionBudget shop/one allows no disruption now";
        let (state, drain_says, webhook_says) =
            if is_held { (State::Stays, budget, budget) } else { (state, drain_says, webhook_says) };
        let node = world.cluster.fleet.find("node-a").expect("the node");
        let row = drain(&world, &[node], false, &|_, _| {}).nodes[0].guests[0].clone();
        assert_eq!(row.state, state, "drain foretells another end: {row:?}");
        assert!(row.why.contains(drain_says), "{row:?}");
        let warnings = evict(&world);
        let said = warnings.first().map_or("", |line| line.as_str());
        assert!(said.contains(webhook_says), "{warnings:?}");
        assert_eq!(
            said.is_empty(),
            webhook_says.is_empty(),
            "the webhook and drain contradict each other: {warnings:?}"
        );
        let vmi = world.cluster.vmi("shop", "db").expect("the guest");
        let migrates = matches!(eviction::effect(vmi, &world.cluster), Effect::Migrates);
        assert_eq!(migrates, drain_says.starts_with("node-d fits"), "recommend counts it as one that is migrated");
    }
}

struct Json<'a>(&'a str);

impl<'a> crate::kubevirt::wire::Reader<'a> for Json<'a> {
    type Error = serde_json::Error;

    fn read<T: serde::Deserialize<'a> + Measured>(&self) -> Result<T, Self::Error> {
        serde_json::from_str(self.0)
    }
}

/// Merges an object into another one, as a merge patch does.
fn merge(into: &mut Value, patch: &Value) {
    match patch {
        Value::Object(fields) => fields.iter().for_each(|(key, value)| merge(&mut into[key.as_str()], value)),
        other => *into = other.clone(),
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
fn a_dry_run_states_that_no_migration_starts() {
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
fn a_long_reason_is_cut_before_the_remedy() {
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
fn an_eviction_of_a_migrating_guest_gives_no_warning(
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
