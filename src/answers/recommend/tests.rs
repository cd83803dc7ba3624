use proptest::prelude::*;
use proptest::sample::Index;
use rstest::rstest;
use serde_json::{Value, json};

use super::what_if::{AssumedChange, GuestCount, what_if};
use super::*;
use crate::fit::node::Node;
use crate::kubevirt::cluster::ClusterObject;
use crate::testing::Tweak;
use crate::testing::cluster::{cluster, launcher, read_policy, running, vmi};
use crate::testing::fleet::{
    cascade_lake, feature, give, ice_lake, intel, mixed, model, node, of, required, rome, set, skylake, take,
};

const MODELS: [&str; 3] = ["host-model", "Skylake-Server-noTSX-IBRS", "Cascadelake-Server-noTSX"];

fn world(nodes: Vec<Node>, guests: impl IntoIterator<Item = Value>) -> World {
    World { cluster: cluster("1.9.0", nodes, guests.into_iter().map(vmi)), policies: Vec::new() }
}

/// Returns the changed world, and the effect of the last change, or of all together.
fn changed(world: &World, edits: &[AssumedChange]) -> (World, GuestCount) {
    let (then, mut effects) = what_if(world, &[], edits).expect("changes that can be made");
    (then, effects.pop().expect("an effect").guests)
}

/// Returns a change that replaces a node by another CPU under its name.
fn replaced(name: &str, by: usize) -> AssumedChange {
    let hosts = [skylake, cascade_lake, ice_lake, rome, node];
    AssumedChange::With(Box::new(hosts[by % hosts.len()](name)))
}

fn refused(guest: &mut Value, reason: &str) {
    guest["status"]["conditions"] = json!([{"type": "LiveMigratable", "status": "False", "reason": reason}]);
}

/// A running guest has the CPU of its node as it was when it started.
#[rstest]
#[case::a_feature_that_its_host_model_has(
    "host-model", AssumedChange::WithoutFeature("hle".to_owned()), GuestCount { none_left: 1, ..GuestCount::default() }
)]
#[case::a_feature_that_its_model_lacks(
    "Skylake-Server-noTSX-IBRS", AssumedChange::WithoutFeature("hle".to_owned()), GuestCount::default()
)]
#[case::a_feature_of_its_model(
    "Skylake-Server-noTSX-IBRS", AssumedChange::WithoutFeature("avx512f".to_owned()),
    GuestCount { none_left: 1, ..GuestCount::default() }
)]
#[case::its_node_with_less("host-model", replaced("node-a", 0), GuestCount::default())]
#[case::its_node_with_another_vendor("host-model", replaced("node-a", 3), GuestCount::default())]
#[case::its_node_without_labels("host-model", replaced("node-a", 4), GuestCount::default())]
#[case::a_node_of_less_comes(
    "host-model", replaced("new", 0), GuestCount { cannot_go_there: 1, of: 1, ..GuestCount::default() }
)]
#[case::a_node_like_its_own_comes("host-model", replaced("new", 1), GuestCount { of: 1, ..GuestCount::default() })]
#[case::a_node_of_another_vendor_comes("host-model", replaced("new", 3), GuestCount::default())]
fn a_running_guest_keeps_the_cpu_of_its_node_as_it_was(
    #[case] cpu: &str,
    #[case] change: AssumedChange,
    #[case] expected: GuestCount,
) {
    let (_, found) = changed(&world(intel(), [running("db", "node-a", cpu)]), &[change]);
    assert_eq!(found, expected, "the effect on the guest would be foretold wrongly");
}

/// A policy with `DropStale` removes entries that no node offers when the guest migrates: also those that a change
/// makes stale, and not those that an added node offers again.
#[rstest]
#[case::a_node_comes(&["gone"], replaced("new", 0), "DropStale", GuestCount { of: 1, ..GuestCount::default() })]
#[case::a_node_comes_and_it_stays(&["gone"], replaced("new", 0), "Keep", GuestCount {
    of: 1, cannot_go_there: 1, ..GuestCount::default()
})]
#[case::a_node_with_it_comes(&["pcid"], with_feature("new", "pcid"), "DropStale", GuestCount {
    of: 1, one_left: 1, ..GuestCount::default()
})]
#[case::its_node_goes(&["gone"], AssumedChange::Without("node-0".to_owned()), "DropStale", GuestCount {
    must_leave: 1, ..GuestCount::default()
})]
#[case::its_node_goes_and_it_stays(&["gone"], AssumedChange::Without("node-0".to_owned()), "Keep", GuestCount {
    must_leave: 1, cannot_leave: 1, ..GuestCount::default()
})]
#[case::only_its_node_has_it(&["only-0"], AssumedChange::Without("node-0".to_owned()), "DropStale", GuestCount {
    must_leave: 1, cannot_leave: 1, ..GuestCount::default()
})]
#[case::it_goes_stale(&["avx512f"], AssumedChange::WithoutFeature("avx512f".to_owned()), "DropStale", GuestCount::default())]
#[case::it_goes_stale_and_stays(&["avx512f"], AssumedChange::WithoutFeature("avx512f".to_owned()), "Keep", GuestCount {
    none_left: 1, ..GuestCount::default()
})]
fn entries_that_a_policy_drops_keep_no_guest_off_a_node(
    #[case] inherited: &[&str],
    #[case] change: AssumedChange,
    #[case] selectors: &str,
    #[case] expected: GuestCount,
) {
    let mut nodes: Vec<Node> = (0..3).map(|at| skylake(&format!("node-{at}"))).collect();
    give(&mut nodes[0], [feature("only-0")]);
    let guest = running("db", "node-0", "host-model");
    let keys = inherited.iter().copied().chain(["fpu"]).map(feature);
    let pod = launcher(&guest, keys);
    let world = World {
        cluster: cluster("1.9.0", nodes, [vmi(guest), pod]),
        policies: vec![read_policy("pool", &json!({"launcherSelectors": selectors}))],
    };
    assert_eq!(changed(&world, &[change]).1, expected, "what the policy drops would be counted as demanded");
}

/// Returns a change that adds a node with one more feature.
fn with_feature(name: &str, more: &str) -> AssumedChange {
    let mut node = skylake(name);
    give(&mut node, [feature(more)]);
    AssumedChange::With(Box::new(node))
}

/// The guests of a removed node, by the effect of their eviction.
#[rstest]
#[case::migrated(json!({}), None, GuestCount { must_leave: 1, ..GuestCount::default() }, "could leave it")]
#[case::not_live_migratable(
    json!({"evictionStrategy": "LiveMigrate"}), Some("DisksNotLiveMigratable"),
    GuestCount { must_leave: 1, cannot_leave: 1, ..GuestCount::default() }, "could not leave it"
)]
#[case::no_strategy(
    json!({"evictionStrategy": "None"}), None,
    GuestCount { must_leave: 1, shut_down: 1, ..GuestCount::default() }, "would be shut down"
)]
#[case::if_possible(
    json!({"evictionStrategy": "LiveMigrateIfPossible"}), Some("HostDeviceNotLiveMigratable"),
    GuestCount { must_leave: 1, shut_down: 1, ..GuestCount::default() }, "would be shut down"
)]
#[case::another_program(
    json!({"evictionStrategy": "External"}), None,
    GuestCount { must_leave: 1, stays: 1, ..GuestCount::default() }, "would stay until another program or a user acts"
)]
#[case::no_node_takes_it(
    json!({"nodeSelector": {"kubernetes.io/hostname": "node-a"}}), None,
    GuestCount { must_leave: 1, cannot_leave: 1, ..GuestCount::default() }, "could not leave it"
)]
fn guests_of_a_removed_node_leave_only_where_kubevirt_migrates_them(
    #[case] spec: Value,
    #[case] reason: Option<&str>,
    #[case] expected: GuestCount,
    #[case] says: &str,
) {
    let guest = running("db", "node-a", "host-model").tweak(|guest| {
        for (key, value) in spec.as_object().into_iter().flatten() {
            guest["spec"][key] = value.clone();
        }
        if let Some(reason) = reason {
            refused(guest, reason);
        }
    });
    let world = world(intel(), [guest]);
    let (_, effects) = what_if(&world, &[], &[AssumedChange::Without("node-a".to_owned())]).expect("a node");
    assert_eq!(effects[0].guests, expected, "a guest that cannot leave would count as one that can");
    let lines = effects[0].lines().join("\n");
    assert!(lines.contains(&format!("the one guest there {says}")), "{lines}");
}

#[test]
fn a_guest_that_kubevirt_refuses_to_migrate_could_not_go_to_a_new_node() {
    let guests = ["a", "b"].map(|name| running(name, "node-a", "Skylake-Server-noTSX-IBRS"));
    let guests = guests.tweak(|guests| refused(&mut guests[0], "DisksNotLiveMigratable"));
    let (_, effects) = what_if(&world(intel(), guests), &[], &[replaced("new", 1)]).expect("a node");
    let found = &effects[0].guests;
    assert_eq!((found.cannot_go_there, found.of, found.not_migratable), (1, 2, 1));
    let lines = effects[0].lines().join("\n");
    let says = "1 of 2 guests of that vendor could not go to it by labels before a restart (1 of them as KubeVirt refuses to migrate it anywhere)";
    assert!(lines.contains(says), "{lines}");
}

/// The guests of one pool of two vendors, on a part of its nodes, by what a start with the model would give them.
#[rstest]
#[case::of_the_pool(&[], json!({}), None, json!({"guestsByTargets": {"2": 1}, "cannotStart": 0, "notMigratable": 0, "unknown": 0}))]
#[case::nodes_outside_of_it(
    &[], json!({"nodeSelector": {"kubernetes.io/hostname": "node-e"}}), None,
    json!({"guestsByTargets": {}, "cannotStart": 1, "notMigratable": 0, "unknown": 0})
)]
#[case::volumes_keep_it(
    &[], json!({}), Some("DisksNotLiveMigratable"),
    json!({"guestsByTargets": {}, "cannotStart": 0, "notMigratable": 1, "unknown": 0})
)]
#[case::its_cpu_mode_keeps_it(
    &[], json!({}), Some("CPUModeLiveMigratable"),
    json!({"guestsByTargets": {"2": 1}, "cannotStart": 0, "notMigratable": 0, "unknown": 0})
)]
#[case::guests_of_other_pools(
    &[("x", "amd-1"), ("y", "node-e")], json!({}), None,
    json!({"guestsByTargets": {"2": 1}, "cannotStart": 0, "notMigratable": 0, "unknown": 0})
)]
fn coverage_counts_guests_and_nodes_of_the_pool(
    #[case] others: &[(&str, &str)],
    #[case] spec: Value,
    #[case] reason: Option<&str>,
    #[case] expected: Value,
) {
    let nodes = mixed().tweak(|nodes| {
        for name in ["node-a", "node-c", "node-d", "amd-2"] {
            set(of(nodes, name), "pool", "mine");
        }
    });
    let guest = running("db", "node-a", "host-model").tweak(|guest| {
        for (key, value) in spec.as_object().into_iter().flatten() {
            guest["spec"][key] = value.clone();
        }
        if let Some(reason) = reason {
            refused(guest, reason);
        }
    });
    let others = others.iter().map(|(name, node)| running(name, node, "host-model"));
    let world = world(nodes, others.chain([guest]));
    let selector = read_policy("mine", &json!({"nodeSelector": {"matchLabels": {"pool": "mine"}}})).node_selector;
    let found = recommend(&world, &[selector], &|_, _| {});
    let pool = found.pools.iter().find(|pool| pool.vendor.as_deref() == Some("Intel")).expect("a pool");
    let candidate = &pool.candidates[0];
    assert_eq!(pool.guests, 1, "guests of other nodes would count");
    let coverage = serde_json::to_value(&candidate.coverage).expect("JSON");
    assert_eq!(coverage, expected, "{}: an administrator would count on targets that are none", candidate.model);
}

#[test]
fn guests_that_run_outside_of_a_pool_and_could_start_only_in_it_are_counted_apart() {
    let on = |name: &str, node: &str, bound: bool| {
        running(name, node, "host-model").tweak(|guest| {
            if bound {
                guest["spec"]["nodeSelector"] = json!({"disk": "fast"});
            }
        })
    };
    let nodes = mixed().tweak(|nodes| set(of(nodes, "node-a"), "disk", "fast"));
    let guests = [on("moved", "amd-1", true), on("at-home", "node-a", true), on("free", "amd-1", false)];
    let found = recommend(&world(nodes, guests), &[], &|_, _| {});
    let elsewhere = |vendor: &str| {
        found.pools.iter().find(|pool| pool.vendor.as_deref() == Some(vendor)).map(|pool| (pool.guests, pool.elsewhere))
    };
    assert_eq!((elsewhere("Intel"), elsewhere("AMD")), (Some((1, 1)), Some((2, 0))));
}

#[rstest]
#[case::migrated("LiveMigrate", 0)]
#[case::shut_down("None", 1)]
#[case::left_to_others("External", 1)]
fn guests_that_no_drain_migrates_are_counted(#[case] strategy: &str, #[case] expected: usize) {
    let guest =
        running("db", "node-a", "host-model").tweak(|guest| guest["spec"]["evictionStrategy"] = json!(strategy));
    let found = recommend(&world(intel(), [guest]), &[], &|_, _| {});
    assert_eq!(found.pools[0].not_evacuated, expected, "coverage would look like that of a guest that a drain moves");
}

/// The features of a guest come from its node as it was, also where that is changed or gone.
#[rstest]
#[case::node_with_less(&[AssumedChange::WithoutFeature("avx512vnni".to_owned())])]
#[case::node_gone(&[AssumedChange::Without("node-a".to_owned())])]
#[case::node_replaced(&[replaced("node-a", 0)])]
fn what_a_guest_would_lose_is_compared_with_the_cpu_that_it_has(#[case] edits: &[AssumedChange]) {
    let now = world(intel(), [running("db", "node-a", "host-model")]);
    let (then, _) = changed(&now, edits);
    let found = recommend_after(&now, &then, &[], &|_, _| {});
    let pool = found.pools.iter().find(|pool| pool.vendor.as_deref() == Some("Intel")).expect("a pool");
    let skylake = pool.candidates.iter().find(|candidate| candidate.model == "Skylake-Server-noTSX-IBRS");
    let lose = &skylake.expect("a model of all nodes").lose;
    assert_eq!(pool.guests, 1, "the guest would be forgotten");
    assert!(lose.features.contains(&"avx512vnni".to_owned()), "the guest has it now: {lose:?}");
}

fn edit() -> impl Strategy<Value = (u8, Index, usize)> {
    (0_u8..3, any::<Index>(), 0_usize..5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Guests are counted in one pool each, whatever changes; and a changed node alone is no other node for its guests.
    #[test]
    fn changes_of_nodes_lose_no_guest_and_change_no_running_cpu(
        guests in prop::collection::vec((any::<Index>(), 0_usize..3, any::<bool>(), any::<bool>()), 1..6),
        edits in prop::collection::vec(edit(), 1..3),
        moved in any::<Index>(),
        by in 0_usize..5,
    ) {
        let nodes: Vec<Node> = mixed().into_iter().filter(|node| node.name != "arm-1").collect();
        let mut objects = Vec::new();
        for (at, (on, cpu, inherits, is_refused)) in guests.iter().enumerate() {
            let mut guest = running(&format!("g{at}"), &on.get(&nodes).name, MODELS[*cpu]);
            if *is_refused {
                refused(&mut guest, "DisksNotLiveMigratable");
            }
            objects.push(launcher(&guest, inherits.then(|| feature("hle"))));
            objects.push(vmi(guest));
        }
        let now = World { cluster: cluster("1.9.0", nodes.clone(), objects), policies: Vec::new() };
        let edits: Vec<AssumedChange> = edits
            .iter()
            .map(|(kind, on, by)| match kind {
                0 => AssumedChange::Without(on.get(&nodes).name.clone()),
                1 => replaced(&on.get(&nodes).name, *by),
                _ => AssumedChange::WithoutFeature(["avx512f", "hle", "fpu"][by % 3].to_owned()),
            })
            .collect();
        prop_assume!(what_if(&now, &[], &edits).is_ok());
        let (then, _) = changed(&now, &edits);
        let report = recommend_after(&now, &then, &[], &|_, _| {});
        for pool in &report.pools {
            for candidate in &pool.candidates {
                let Coverage { guests_by_targets, cannot_start, not_migratable, unknown } = &candidate.coverage;
                let all = guests_by_targets.values().sum::<usize>() + cannot_start + not_migratable + unknown;
                prop_assert_eq!(all, pool.guests, "{} of {} leaves guests out", candidate.model, pool.name);
                let most = guests_by_targets.keys().next_back().copied().unwrap_or(0);
                prop_assert!(most < candidate.runs_on.len().max(1), "more targets than the pool has nodes: {:?}", candidate);
            }
        }
        let had = recommend(&now, &[], &|_, _| {});
        for pool in &had.pools {
            if let Some(then) = report.pools.iter().find(|then| then.name == pool.name) {
                prop_assert_eq!(then.guests, pool.guests, "guests of {} would be forgotten", pool.name);
            }
        }
        // One node changes: its own guests have the targets that they had.
        let node = &moved.get(&nodes).name;
        let own = now.cluster.vmis().filter(|vmi| vmi.status.node_name == *node).cloned();
        let alone = World { cluster: cluster("1.9.0", nodes.clone(), own.map(|vmi| ClusterObject::Vmi(Box::new(vmi)))), policies: Vec::new() };
        let (_, effect) = changed(&alone, &[replaced(node, by)]);
        prop_assert_eq!(effect, GuestCount::default(), "a running guest would be judged by a CPU that it never had");
    }
}

#[test]
fn a_node_of_two_vendors_is_no_target_in_the_pool_of_one() {
    let nodes = intel().tweak(|nodes| {
        let name = format!("{}AMD", crate::fit::label::CPU_VENDOR);
        give(of(nodes, "node-e"), [name]);
        take(of(nodes, "node-b"), &[model("Skylake-Server-noTSX-IBRS"), required("fpu")]);
    });
    let found = recommend(&world(nodes, [running("db", "node-a", "host-model")]), &[], &|_, _| {});
    let pool = found.pools.iter().find(|pool| pool.vendor.as_deref() == Some("Intel")).expect("a pool");
    let skylake = pool.candidates.iter().find(|candidate| candidate.model == "Skylake-Server-noTSX-IBRS");
    let coverage = &skylake.expect("a model of the pool").coverage;
    assert_eq!(coverage.guests_by_targets, BTreeMap::from([(2, 1)]), "node-e is in another pool");
}

mod same_model;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Nodes are one pool exactly where `all` counts them as one: with one architecture, and one and the same vendor.
    #[test]
    fn all_and_the_pools_agree_about_vendors(of_node in prop::collection::vec((0_usize..3, 0_usize..4), 1..5)) {
        let hosts = [skylake, cascade_lake, rome];
        let nodes = of_node.iter().enumerate().map(|(at, (host, vendor))| {
            let mut node = hosts[*host](&format!("node-{at}"));
            if *vendor == 0 {
                node.labels.retain(|key, _| !key.starts_with(crate::fit::label::CPU_VENDOR));
            }
            node
        });
        let report = recommend(&world(nodes.collect(), []), &[], &|_, _| {});
        if let [pool] = report.pools.as_slice() {
            prop_assert_eq!(&pool.model, &report.all.model, "{:?}", report);
        } else {
            prop_assert_eq!(&report.all.model, &None, "a guest would be sent where none migrates: {:?}", report);
        }
    }
}

/// Returns nodes of a zone and an architecture.
fn of_zone(mut node: Node, zone: &str) -> Node {
    set(&mut node, "zone", zone);
    node
}

#[rstest]
#[case::none_is_left_out(vec![skylake("a"), skylake("b")], "")]
#[case::of_s390x(vec![skylake("a"), mainframe("z-1"), mainframe("z-2")],
    "2 nodes of s390x (z-1, z-2) are left out: no guest migrates to another architecture")]
#[case::of_arm(vec![skylake("a"), crate::testing::fleet::arm("arm-1")],
    "1 node of arm64 (arm-1) is left out: no guest migrates to another architecture")]
#[case::of_both(vec![skylake("a"), mainframe("z-1"), crate::testing::fleet::arm("arm-1")],
    "1 node of arm64 (arm-1) is left out: no guest migrates to another architecture; 1 node of s390x (z-1) is left out: no \
     guest migrates to another architecture")]
fn the_recommendation_for_all_nodes_names_those_of_other_architectures(
    #[case] nodes: Vec<Node>,
    #[case] expected: &str,
) {
    let why = recommend(&world(nodes, []), &[], &|_, _| {}).all.why;
    let left_out = why.split_once("; ").map_or("", |(_, left_out)| left_out);
    assert_eq!(left_out, expected, "a model would be adopted for nodes that were not looked at: {why}");
}

/// A mainframe that offers a model.
fn mainframe(name: &str) -> Node {
    let mut out = node(name);
    set(&mut out, crate::fit::label::ARCH, "s390x");
    give(&mut out, [model("z15")]);
    out
}

#[test]
fn pools_of_several_selectors_have_names_of_their_own() {
    let nodes = vec![of_zone(skylake("a"), "x"), of_zone(cascade_lake("b"), "y"), of_zone(rome("c"), "y")];
    let zone = |value: &str| LabelSelector {
        match_labels: [("zone".to_owned(), value.to_owned())].into(),
        ..LabelSelector::default()
    };
    let names = |selectors: &[LabelSelector]| -> Vec<String> {
        recommend(&world(nodes.clone(), []), selectors, &|_, _| {}).pools.into_iter().map(|pool| pool.name).collect()
    };
    assert_eq!(names(&[zone("x"), zone("y")]), ["zone=x: Intel", "zone=y: AMD", "zone=y: Intel"]);
    assert_eq!(names(&[zone("y")]), ["AMD", "Intel"], "one selector: the hardware distinguishes its pools");
}
