mod causes;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use rstest::rstest;
use serde_json::json;

use super::*;
use crate::answers::audit::{AuditRow, LifeStage, audit};
use crate::fit::label;
use crate::fit::node::Node;
use crate::fit::verdict::OutcomeWord;
use crate::kubevirt::cluster::{Cluster, ClusterObject};
use crate::testing::at_least;
use crate::testing::cluster::{cluster, launcher, read, read_policy, running, vm, vmi};
use crate::testing::fleet::{
    CASCADE_LAKE, COMMON, SKYLAKE, TSX, cordon, feature, intel, mixed, of, rome, set, taint, take,
};
use crate::testing::thorough::one_in;

/// An edit of a node.
#[derive(Clone, Copy, Debug)]
enum Edit {
    Lose(&'static str),
    Cordon,
    Taint,
    NotReady,
    Unwell,
    Skip,
    Go,
    Nothing,
}

fn edited(edits: &[(usize, Edit)]) -> Vec<Node> {
    let mut nodes = mixed();
    for (at, edit) in edits {
        let at = at % nodes.len();
        match edit {
            Edit::Lose(name) => take(&mut nodes[at], &[feature(name)]),
            Edit::Cordon => cordon(&mut nodes[at]),
            Edit::Taint => nodes[at].taints.push(taint("broken")),
            Edit::NotReady => {
                nodes[at].not_ready = true;
                nodes[at].taints.push(taint("node.kubernetes.io/not-ready"));
            }
            Edit::Unwell => set(&mut nodes[at], label::SCHEDULABLE, "false"),
            Edit::Skip => nodes[at].skip_node = Some("true".to_owned()),
            Edit::Go => drop(nodes.remove(at)),
            Edit::Nothing => {}
        }
    }
    nodes
}

/// A guest that KubeVirt refuses to migrate.
fn refuse(guest: &mut serde_json::Value) {
    let refused = json!({"type": "LiveMigratable", "status": "False", "reason": "HostDeviceNotLiveMigratable"});
    guest["status"]["conditions"] = json!([refused]);
}

/// Guests that run, wait and are stopped; KubeVirt refuses to migrate some of the running ones if `are_refused`.
fn objects(guests: &[(usize, &'static str, bool)], are_refused: bool) -> Vec<ClusterObject> {
    let all = [&COMMON[..], &SKYLAKE, &CASCADE_LAKE, &TSX].concat();
    let inherited = || all.iter().map(|name| feature(name));
    let names = ["node-a", "node-b", "node-c", "node-e", "amd-1", "gone"];
    let mut out = Vec::new();
    for (number, (node, model, is_inherited)) in guests.iter().enumerate() {
        let name = format!("guest-{number}");
        let node = names[node % names.len()];
        match number % 4 {
            0 => out.push(ClusterObject::VirtualMachine(Box::new(read(vm(&name, model))))),
            1 => {
                let mut waits = running(&name, "", model);
                waits["status"]["phase"] = json!("Scheduling");
                out.push(vmi(waits));
            }
            _ => {
                let mut guest = running(&name, node, model);
                if are_refused && number % 3 == 0 {
                    refuse(&mut guest);
                }
                let selector: Vec<String> = if *is_inherited { inherited().collect() } else { Vec::new() };
                out.push(launcher(&guest, selector));
                out.push(vmi(guest));
            }
        }
    }
    out
}

fn world(edits: &[(usize, Edit)], guests: &[(usize, &'static str, bool)], policies: &[serde_json::Value]) -> World {
    world_with(edits, guests, policies, false)
}

fn world_with(
    edits: &[(usize, Edit)],
    guests: &[(usize, &'static str, bool)],
    policies: &[serde_json::Value],
    are_refused: bool,
) -> World {
    let policy = |spec: &serde_json::Value| read_policy("pool", spec);
    World {
        cluster: cluster("1.9.0", edited(edits), objects(guests, are_refused)),
        policies: policies.iter().map(policy).collect(),
    }
}

fn edits() -> impl Strategy<Value = Vec<(usize, Edit)>> {
    let edit = prop_oneof![
        1 => prop::sample::select(vec!["fpu", "vme", "avx512vnni", "hle"]).prop_map(Edit::Lose),
        1 => Just(Edit::Cordon),
        1 => Just(Edit::Taint),
        1 => Just(Edit::NotReady),
        1 => Just(Edit::Unwell),
        1 => Just(Edit::Skip),
        3 => Just(Edit::Go),
        1 => Just(Edit::Nothing),
    ];
    prop::collection::vec((0_usize..9, edit), 0..4)
}

fn guests() -> impl Strategy<Value = Vec<(usize, &'static str, bool)>> {
    let model =
        prop::sample::select(vec!["host-model", "host-passthrough", "Cascadelake-Server", "EPYC-Rome", "none-such"]);
    prop::collection::vec((0_usize..6, model, any::<bool>()), 0..9)
}

fn policies() -> impl Strategy<Value = Vec<serde_json::Value>> {
    prop::sample::select(vec![
        vec![],
        vec![json!({"enforce": "Pinned"})],
        vec![json!({"launcherSelectors": "DropStale"})],
        vec![json!({"commonModel": {"name": "Skylake-Server-noTSX-IBRS"}})],
    ])
}

fn rows(world: &World) -> BTreeMap<String, AuditRow> {
    audit(world, &|| false).into_iter().map(|row| (row.guest.clone(), row)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96 / one_in() as u32))]

    #[test]
    fn a_diff_of_a_cluster_with_itself_is_empty(edits in edits(), guests in guests(), policies in policies()) {
        let world = world(&edits, &guests, &policies);
        let found = diff(&world, &world.clone(), &|_| true, &|_, _| {});
        prop_assert!(found.is_empty(), "{found:?}");
        prop_assert_eq!((found.worse, found.better), (0, 0));
    }
}

#[test]
fn a_diff_names_the_guests_whose_audit_differs_and_each_counted_one_with_a_cause() {
    let counts: [Cell<usize>; 7] = Default::default();
    let [named, unnamed, worse, own_node, refused, gone, by_nodes] = &counts;
    let add = |to: &Cell<usize>, more: usize| to.set(to.get() + more);
    let strategy = (edits(), edits(), guests(), guests(), any::<bool>(), any::<[bool; 2]>(), policies());
    let mut runner = TestRunner::new_with_rng(
        ProptestConfig::with_cases(192 / one_in() as u32),
        TestRng::deterministic_rng(RngAlgorithm::ChaCha),
    );
    let ran = runner.run(&strategy, |(was, is, guests, others, are_the_same, are_refused, policies)| {
        let old = world_with(&was, &guests, &policies, are_refused[0]);
        let new = world_with(&is, if are_the_same { &guests } else { &others }, &policies, are_refused[1]);
        let found = diff(&old, &new, &|_| true, &|_, _| {});
        let (was, is) = (rows(&old), rows(&new));
        if was.is_empty() || is.is_empty() {
            prop_assert!(!found.are_guests_compared && !found.not_known.is_empty() && found.changes().next().is_none());
            return Ok(());
        }
        let changed: BTreeMap<&str, (Option<OutcomeWord>, Option<OutcomeWord>)> =
            found.guests.iter().map(|change| (change.guest.as_str(), (change.before, change.after))).collect();
        let [mut are_worse, mut are_better] = [BTreeSet::new(), BTreeSet::new()];
        for title in was.keys().chain(is.keys()) {
            let verdicts = (was.get(title).map(|row| row.stated_verdict), is.get(title).map(|row| row.stated_verdict));
            let expected = (verdicts.0 != verdicts.1).then_some(verdicts);
            prop_assert_eq!(changed.get(title.as_str()).copied(), expected, "{}", title);
            let is_in_both = was.contains_key(title) && is.contains_key(title);
            let is_listed = found.own_node.iter().any(|change| change.guest == *title);
            prop_assert!(is_in_both || !is_listed, "{} came or went, and its own node would have changed", title);
            add(if expected.is_some() { named } else { unnamed }, usize::from(is_in_both));
        }
        for (title, row) in &is {
            let Some(before) = was.get(title) else { continue };
            let lists = |list: &[GuestChange]| list.iter().any(|change| change.guest == *title);
            let is_there = |world: &World, node: &str| world.cluster.fleet.find(node).is_some();
            let running = row.node.as_deref().filter(|_| row.stand == LifeStage::Running);
            let node_gone = running.is_some_and(|node| is_there(&old, node) && !is_there(&new, node));
            prop_assert_eq!(lists(&found.node_gone), node_gone, "{}", title);
            prop_assert_eq!(lists(&found.own_node), before.own_node != row.own_node && !node_gone, "{}", title);
            let refusals = (before.not_migratable.is_some(), row.not_migratable.is_some());
            prop_assert_eq!(lists(&found.not_migratable), refusals.0 != refusals.1, "{}", title);
            add(own_node, usize::from(lists(&found.own_node)));
            add(refused, usize::from(lists(&found.not_migratable)));
            add(gone, usize::from(node_gone));
            let is_known = ![before, row].into_iter().any(|row| row.stated_verdict == OutcomeWord::Unknown);
            let rank = |row: &AuditRow| {
                let bad = Some(row.stated_verdict).filter(|verdict| *verdict != OutcomeWord::Unknown);
                let level = match row.stated_verdict {
                    OutcomeWord::Unschedulable => 3,
                    OutcomeWord::Pinned => 2,
                    _ if row.not_migratable.is_some() => 2,
                    OutcomeWord::Fragile => 1,
                    OutcomeWord::Fits | OutcomeWord::Unknown => 0,
                };
                (level, bad, row.not_migratable.is_some())
            };
            let (level_was, level_is) = (rank(before).0, rank(row).0);
            let (lost, regained) = (!before.own_node && row.own_node, before.own_node && !row.own_node);
            let is_lower = lost || if regained { level_is > level_was } else { rank(row) > rank(before) };
            let is_higher = !is_lower && (regained || rank(row) < rank(before));
            let is_comparable = is_known || before.own_node != row.own_node || refusals.0 != refusals.1;
            if node_gone || is_comparable && is_lower {
                are_worse.insert(title.as_str());
            } else if is_comparable && is_higher {
                are_better.insert(title.as_str());
            }
        }
        prop_assert_eq!(&found.turned(Direction::Worse), &are_worse, "who is counted is not named: {:?}", found);
        prop_assert_eq!(&found.turned(Direction::Better), &are_better, "who is counted is not named: {:?}", found);
        prop_assert_eq!((found.worse, found.better), (are_worse.len(), are_better.len()));
        add(worse, are_worse.len());
        for change in found.guests.iter().filter(|change| {
            let is_known =
                |verdict: Option<OutcomeWord>| verdict.is_some_and(|verdict| verdict != OutcomeWord::Unknown);
            are_the_same && is_known(change.before) && is_known(change.after)
        }) {
            let has_cause = !change.because.is_empty()
                || !change.because_nodes.is_empty()
                || change.node_gone.is_some()
                || change.not_migratable_before != change.not_migratable_after;
            prop_assert!(has_cause, "the cause is not named: {:?}", change);
            add(by_nodes, usize::from(!change.because_nodes.is_empty()));
        }
        Ok(())
    });
    ran.unwrap_or_else(|error| panic!("{error}"));
    let seen = counts.map(|count| count.get());
    assert!(
        seen.iter().all(|&count| count >= at_least(5)),
        "too few guests show it (named, not named, worse, own node, refused, node gone, by nodes): {seen:?}"
    );
}

/// A change of one of a guest's two targets, and the cause that is reported.
#[rstest]
#[case::cordon(Edit::Cordon, "cordoned")]
#[case::taint(Edit::Taint, "taint broken:NoSchedule")]
#[case::not_ready(Edit::NotReady, "not ready")]
#[case::removed(Edit::Go, "removed")]
fn changes_of_a_node_are_named_as_the_cause(#[case] edit: Edit, #[case] expected: &str) {
    let guests = [(0, "host-model", false), (0, "host-model", false), (0, "host-model", false)];
    let with = |edits: &[(usize, Edit)]| world(edits, &guests, &[]);
    let (before, after) = (with(&[]), with(&[(2, edit)]));
    let node = mixed()[2].name.clone();
    for (old, new, change) in [(&before, &after, expected.to_owned()), (&after, &before, undone(expected))] {
        let found = diff(old, new, &|_| true, &|_, _| {});
        let of = found.guests.iter().find(|change| change.guest == "shop/guest-2").expect("the guest that runs");
        assert_eq!(of.because_nodes, [NodeCause { change, node: node.clone(), is_move: false }], "{:?}", found.guests);
        assert!(of.because.is_empty(), "no label decided: {:?}", of.because);
    }
}

fn undone(change: &str) -> String {
    if change == "removed" { "added".to_owned() } else { format!("no longer {change}") }
}

#[test]
fn changes_of_kubevirt_are_named_with_their_effect() {
    let with = |release: &str, configuration: serde_json::Value| {
        let kubevirt = json!({
            "metadata": {"namespace": "kubevirt", "name": "kubevirt"},
            "spec": {"configuration": configuration},
            "status": {"observedKubeVirtVersion": release},
        });
        let objects = [
            ClusterObject::KubeVirt(Box::new(read(kubevirt))),
            ClusterObject::VirtualMachine(Box::new(read(vm("db", "")))),
        ];
        let nodes = mixed().into_iter().map(ClusterObject::Node);
        World { cluster: Cluster::new(nodes.chain(objects), None), policies: Vec::new() }
    };
    let old =
        with("v1.5.0", json!({"evictionStrategy": "LiveMigrate", "developerConfiguration": {"featureGates": ["A"]}}));
    let new = with(
        "v1.6.4",
        json!({"cpuModel": "none-such", "obsoleteCPUModels": {"Haswell": true}, "developerConfiguration": {"featureGates": ["HypervStrictCheck"]}}),
    );
    let found = diff(&old, &new, &|_| true, &|_, _| {});
    assert!(!found.is_empty(), "it would be said that nothing changed");
    let settings: Vec<&str> = found.kubevirt.iter().map(|change| change.setting.as_str()).collect();
    let expected = [
        "observedKubeVirtVersion",
        "cpuModel",
        "evictionStrategy",
        "developerConfiguration.featureGates",
        "obsoleteCPUModels",
    ];
    assert_eq!(settings, expected);
    assert!(found.kubevirt.iter().all(|change| !change.means.is_empty()), "{:?}", found.kubevirt);
    let change = &found.guests[0];
    assert_eq!((change.after, change.because_kubevirt), (Some(OutcomeWord::Unschedulable), true), "{change:?}");
    let objects = objects(&[(0, "", false)], false);
    let nodes = mixed().into_iter().map(ClusterObject::Node);
    let without = World { cluster: Cluster::new(nodes.chain(objects), None), policies: Vec::new() };
    let found = diff(&old, &without, &|_| true, &|_, _| {});
    assert!(found.kubevirt.is_empty(), "a dump without the resource proves nothing: {:?}", found.kubevirt);
    assert!(found.not_known.iter().any(|line| line.contains("the new side holds no KubeVirt resource")));
}

/// A diff of the dumps before and after an upgrade says what the upgrade changes for guests.
#[rstest]
#[case::an_update("v1.4.0", "v1.5.0", "launchers ask for the value true of the labels of realtime")]
#[case::the_newest("v1.8.0", "v1.9.0", "launchers of guests that reserve the same claim")]
#[case::back("v1.9.0", "v1.8.0", "do not keep apart")]
#[case::a_patch("v1.7.0", "v1.7.1", "from now on: a migration asks for the CPU vendor of the node that it leaves")]
#[case::nothing_changes("v1.7.1", "v1.7.4", "")]
#[case::beyond_what_is_known("v1.9.0", "v1.10.0", "")]
fn a_step_between_releases_names_what_it_changes(#[case] old: &str, #[case] new: &str, #[case] expected: &str) {
    let with = |release: &str| {
        let kubevirt = json!({
            "metadata": {"namespace": "kubevirt", "name": "kubevirt"}, "status": {"observedKubeVirtVersion": release},
        });
        let objects =
            mixed().into_iter().map(ClusterObject::Node).chain([ClusterObject::KubeVirt(Box::new(read(kubevirt)))]);
        World { cluster: Cluster::new(objects, None), policies: Vec::new() }
    };
    let found = diff(&with(old), &with(new), &|_| true, &|_, _| {});
    let change = found.kubevirt.first().expect("the change of the release");
    let is_named = if expected.is_empty() { change.means.is_empty() } else { change.means.contains(expected) };
    assert!(
        is_named,
        "{old} to {new}: an effect on guests is not named, or one that is not known is: {}",
        change.means
    );
}

/// A dump without guests proves nothing about them, on either side.
#[rstest]
#[case::new_side(&[(0, "host-model", false)], &[], "the new dump holds no guests")]
#[case::old_side(&[], &[(0, "host-model", false)], "the old dump holds no guests")]
#[case::both(&[], &[], "neither dump holds guests")]
fn a_dump_without_guests_makes_no_statement_about_guests(
    #[case] old: &[(usize, &'static str, bool)],
    #[case] new: &[(usize, &'static str, bool)],
    #[case] expected: &str,
) {
    let found = diff(&world(&[], old, &[]), &world(&[], new, &[]), &|_| true, &|_, _| {});
    assert!(!found.are_guests_compared && found.changes().next().is_none(), "{found:?}");
    assert!(found.not_known[0].starts_with(expected), "{:?}", found.not_known);
}

/// A restart ends a guest that no node takes at its next start: it is advised only if that start is proved.
#[rstest]
#[case::starts_elsewhere("host-model", 1)]
#[case::model_on_no_node("Lost-Model", 0)]
fn a_restart_is_advised_where_the_next_start_is_proved(#[case] model: &'static str, #[case] expected: usize) {
    let guests = [(0, model, false), (0, model, false), (0, model, true)];
    let with = |lost: bool| {
        let mut nodes = mixed();
        for node in &mut nodes {
            let key = crate::testing::fleet::model("Lost-Model");
            if lost { take(node, &[feature("hle")]) } else { set(node, &key, "true") }
        }
        World { cluster: cluster("1.9.0", nodes, objects(&guests, false)), policies: Vec::new() }
    };
    let found = diff(&with(false), &with(true), &|_| true, &|_, _| {});
    assert!(found.turned(Direction::Worse).contains("shop/guest-2"), "{:?}", found.guests);
    assert_eq!(found.restarts.len(), expected, "{:?}", found.restarts);
    assert!(found.restarts.iter().all(|restart| restart.start_nodes > 0 && restart.most_targets > 0));
}

/// A node replaced under its old name by hardware of another vendor: the old labels are no advice for the new one.
#[test]
fn findings_about_replaced_hardware_are_not_repeated_for_the_new_nodes() {
    let objects = || objects(&[(0, "host-model", false)], false);
    let mut nodes = intel();
    nodes[1] = rome(&nodes[1].name.clone());
    nodes[1].skip_node = Some("true".to_owned());
    let old = World { cluster: cluster("1.9.0", intel(), objects()), policies: Vec::new() };
    let new = World { cluster: cluster("1.9.0", nodes, objects()), policies: Vec::new() };
    let found = diff(&old, &new, &|_| true, &|_, _| {});
    assert_eq!(found.nodes.iter().map(|node| node.other_cpu).collect::<Vec<_>>(), [true]);
    assert_eq!(found.frozen.iter().map(|row| row.other_cpu).collect::<Vec<_>>(), [true]);
}

/// A newer libvirt may rename host models. Each row: the UID and a feature of the node with the other host model.
#[rstest]
#[case::of_the_same_node(Some("uid-b"), None, false)]
#[case::of_the_same_node_with_another_cpu(Some("uid-b"), Some("avx512vnni-2"), true)]
#[case::of_another_node(Some("uid-2"), None, true)]
#[case::of_a_node_that_is_not_known(None, None, true)]
fn a_host_model_with_another_name_is_no_other_cpu(
    #[case] uid: Option<&str>,
    #[case] gained: Option<&str>,
    #[case] is_other: bool,
) {
    let named = |uid: Option<&str>, model: &str, gained: Option<&str>| {
        let mut nodes = intel();
        let node = of(&mut nodes, "node-b");
        uid.unwrap_or_default().clone_into(&mut node.uid);
        node.labels.retain(|key, _| !key.starts_with("host-model-cpu."));
        set(node, &format!("host-model-cpu.node.kubevirt.io/{model}"), "true");
        if let Some(name) = gained {
            set(node, &feature(name), "true");
        }
        World { cluster: cluster("1.9.0", nodes, []), policies: Vec::new() }
    };
    let (old, new) = (named(Some("uid-b"), "Cascadelake-Server", None), named(uid, "Cascadelake-Server-noTSX", gained));
    let found = diff(&old, &new, &|_| true, &|_, _| {});
    assert_eq!(found.nodes.iter().map(|node| node.other_cpu).collect::<Vec<_>>(), [is_other], "{:?}", found.nodes);
}

#[test]
fn the_label_that_caused_a_change_and_labels_gone_from_all_nodes_are_named() {
    let guests = [(0, "host-model", false), (0, "host-model", false), (0, "host-model", true)];
    let with = |edits: &[(usize, Edit)]| world(edits, &guests, &[]);
    let lost: Vec<(usize, Edit)> = [0, 2, 3].map(|node| (node, Edit::Lose("hle"))).to_vec();
    let found = diff(&with(&[]), &with(&lost), &|_| true, &|_, _| {});
    let change = found.guests.iter().find(|change| change.guest == "shop/guest-2").expect("the guest that runs");
    assert_eq!(
        (change.before, change.after, change.turn),
        (Some(OutcomeWord::Fits), Some(OutcomeWord::Pinned), Direction::Worse)
    );
    assert_eq!(change.because, [feature("hle")]);
    assert_eq!(found.gone, [feature("hle")]);
    assert!(found.own_node.iter().any(|change| change.guest == "shop/guest-2" && change.own_node_after));
    assert_eq!(found.nodes.len(), 3);
    assert!(
        found.nodes.iter().all(|node| node.lost == [feature("hle")] && node.gained.is_empty()),
        "{:?}",
        found.nodes
    );
    let back = diff(&with(&lost), &with(&[]), &|_| true, &|_, _| {});
    assert_eq!((back.worse, back.better), (found.better, found.worse), "what is lost comes back");
    assert_eq!(back.guests[0].because, [feature("hle")]);
}

#[test]
fn forgotten_annotations_and_nodes_that_differ_from_their_like_are_said() {
    let mut nodes = intel();
    take(of(&mut nodes, "node-c"), &[feature("fpu"), feature("vme")]);
    of(&mut nodes, "node-c").skip_node = Some("false".to_owned());
    let new = World { cluster: cluster("1.9.0", nodes, []), policies: Vec::new() };
    let old = World { cluster: cluster("1.9.0", intel(), []), policies: Vec::new() };
    let found = diff(&old, &new, &|_| true, &|_, _| {});
    assert_eq!(found.frozen, [Frozen { node: "node-c".to_owned(), was_before: false, other_cpu: false }]);
    let unlike = &found.unlike[..];
    assert_eq!(unlike.len(), 1, "{unlike:?}");
    assert_eq!(unlike[0].nodes, ["node-c"]);
    assert_eq!((&*unlike[0].lacks, unlike[0].alike), (&[feature("fpu"), feature("vme")][..], 2));
    assert_eq!(found.nodes[0].also, ["annotation skip-node"]);
}

/// Compares a node by the UIDs of the same name.
#[rstest]
#[case::another_node("n-1", "n-2", true)]
#[case::the_same("n-1", "n-1", false)]
#[case::not_known_before("", "n-2", false)]
#[case::not_known_now("n-1", "", false)]
#[case::not_known("", "", false)]
fn a_node_replaced_under_its_name_is_named(#[case] before: &str, #[case] after: &str, #[case] expected: bool) {
    let world = |uid: &str| {
        let mut nodes = intel();
        uid.clone_into(&mut nodes[1].uid);
        World { cluster: cluster("1.9.0", nodes, objects(&[(0, "host-model", false)], false)), policies: Vec::new() }
    };
    let found = diff(&world(before), &world(after), &|_| true, &|_, _| {});
    let replaced: Vec<(&str, bool)> = found.nodes.iter().map(|node| (node.node.as_str(), node.replaced)).collect();
    let expected: &[(&str, bool)] = if expected { &[("node-b", true)] } else { &[] };
    assert_eq!(replaced, expected, "labels of a node that is gone would be taken for those of the new one");
}

#[derive(Clone, Copy)]
struct Uids {
    /// The UID of the VM; empty if the dump does not hold it.
    vm: &'static str,
    /// The UID of the VM in the owner reference of the VMI; empty for a VMI without an owner.
    owner: &'static str,
    /// The UID of the VMI; `None` for a stopped guest.
    vmi: Option<&'static str>,
}

const fn uids(vm: &'static str, owner: &'static str, vmi: Option<&'static str>) -> Uids {
    Uids { vm, owner, vmi }
}

/// Compares a guest by the UIDs of the same names.
#[rstest]
#[case::restarted(uids("v1", "v1", Some("i1")), uids("v1", "v1", Some("i2")), &["restarted"])]
#[case::its_vm_is_another(uids("v1", "v1", Some("i1")), uids("v2", "v2", Some("i2")), &["recreated"])]
#[case::stopped_and_its_vm_is_another(uids("v1", "v1", None), uids("v2", "v2", None), &["recreated"])]
#[case::stopped_since_and_another(uids("v1", "v1", Some("i1")), uids("v2", "v2", None), &["recreated"])]
#[case::stopped(uids("v1", "v1", Some("i1")), uids("v1", "v1", None), &["stopped"])]
#[case::by_the_owner_alone(uids("", "v1", Some("i1")), uids("", "v2", Some("i2")), &["recreated"])]
#[case::one_dump_without_vms(uids("v1", "v1", Some("i1")), uids("", "v1", Some("i2")), &["restarted"])]
#[case::a_vmi_without_a_vm(uids("", "", Some("i1")), uids("", "", Some("i2")), &["restarted"])]
#[case::the_same(uids("v1", "v1", Some("i1")), uids("v1", "v1", Some("i1")), &[])]
#[case::no_uid_before(uids("", "", Some("")), uids("v2", "v2", Some("i2")), &[])]
#[case::no_vm_before(uids("", "", Some("i1")), uids("v2", "v2", Some("i2")), &["restarted"])]
fn a_vm_created_again_under_its_name_is_not_called_a_restarted_guest(
    #[case] before: Uids,
    #[case] after: Uids,
    #[case] expected: &[&str],
) {
    let world = |Uids { vm: of_vm, owner, vmi: of_vmi }| {
        let mut objects = Vec::new();
        if !of_vm.is_empty() {
            let mut vm = vm("db", "host-model");
            vm["metadata"]["uid"] = json!(of_vm);
            objects.push(ClusterObject::VirtualMachine(Box::new(read(vm))));
        }
        if let Some(uid) = of_vmi {
            let mut guest = running("db", "node-a", "host-model");
            guest["metadata"]["uid"] = json!(uid);
            guest["metadata"]["ownerReferences"][0]["uid"] = json!(owner);
            if owner.is_empty() {
                guest["metadata"]["ownerReferences"] = json!([]);
            }
            objects.push(vmi(guest));
        }
        // Another guest, so that a dump holds VMIs.
        objects.push(vmi(running("other", "node-a", "host-model")));
        World { cluster: cluster("1.9.0", intel(), objects), policies: Vec::new() }
    };
    let found = diff(&world(before), &world(after), &|_| true, &|_, _| {});
    let changes: Vec<&str> = found.running.iter().map(|change| change.change.as_str()).collect();
    assert_eq!(changes, expected, "another guest under the name would be taken for the old one");
}

/// A guest that a drain shuts down now would be lost to a script that only reads verdicts.
#[rstest]
#[case::shut_down_now("LiveMigrate", "None", &[("shop/db", EvictionWord::ShutDown, Direction::Worse)])]
#[case::migrated_now("None", "LiveMigrateIfPossible", &[("shop/db", EvictionWord::Migrates, Direction::Better)])]
#[case::left_to_others("LiveMigrate", "External", &[("shop/db", EvictionWord::Stays, Direction::Worse)])]
#[case::as_before("LiveMigrate", "LiveMigrateIfPossible", &[])]
#[case::not_known("", "LiveMigrate", &[])]
fn another_eviction_strategy_is_a_change(
    #[case] before: &str,
    #[case] after: &str,
    #[case] expected: &[(&str, EvictionWord, Direction)],
) {
    let world = |strategy: &str| {
        let mut guest = running("db", "node-a", "host-model");
        guest["spec"]["evictionStrategy"] = json!(strategy);
        World { cluster: cluster("1.9.0", intel(), [vmi(guest)]), policies: Vec::new() }
    };
    let found = diff(&world(before), &world(after), &|_| true, &|_, _| {});
    let changes: Vec<(&str, EvictionWord, Direction)> =
        found.evictions.iter().map(|change| (change.guest.as_str(), change.after, change.turn)).collect();
    assert_eq!(changes, expected);
    assert_eq!(found.worse, expected.iter().filter(|(.., turn)| *turn == Direction::Worse).count());
    assert_eq!(found.is_empty(), expected.is_empty(), "a drain would shut it down, and nothing would be said");
}

/// A guest that KubeVirt refuses to migrate is not better off because a node opened.
#[rstest]
#[case::refused_on_both_sides(true, true, 0)]
#[case::refused_since(false, true, 1)]
fn a_refused_guest_is_not_better_off_by_a_node(#[case] before: bool, #[case] after: bool, #[case] worse: usize) {
    let world = |is_refused: bool, is_closed: bool| {
        let mut nodes = intel();
        for node in nodes.iter_mut().skip(2) {
            cordon(node);
        }
        if is_closed {
            cordon(&mut nodes[1]);
        }
        let mut guest = running("db", "node-a", "Skylake-Server-noTSX-IBRS");
        if is_refused {
            refuse(&mut guest);
        }
        World { cluster: cluster("1.9.0", nodes, [vmi(guest)]), policies: Vec::new() }
    };
    let found = diff(&world(before, true), &world(after, false), &|_| true, &|_, _| {});
    assert_eq!((found.worse, found.better), (worse, 0), "{found:?}");
}

/// A dump without nodes proves nothing about them.
#[test]
fn nodes_do_not_come_where_the_old_dump_holds_none() {
    let world = |nodes: Vec<Node>| World {
        cluster: cluster("1.9.0", nodes, objects(&[(0, "host-model", false)], false)),
        policies: Vec::new(),
    };
    let found = diff(&world(Vec::new()), &world(intel()), &|_| true, &|_, _| {});
    assert!(found.nodes.is_empty() && found.frozen.is_empty(), "{:?}", found.nodes);
    assert!(found.not_known.iter().any(|line| line.contains("holds no nodes")), "{:?}", found.not_known);
    assert!(found.lacks_guests, "a gate would pass though nothing is known of before");
}

/// A dump may lack the VMI or the launcher of a guest: what is said of guests then is also said of the whole dump.
#[test]
fn a_dump_that_lacks_objects_of_guests_proves_no_change_of_them() {
    let counts: [Cell<usize>; 3] = Default::default();
    let [lacking, worse, unproved] = &counts;
    let strategy =
        (edits(), edits(), guests(), prop::collection::vec((0_usize..9, any::<bool>()), 1..4), any::<bool>());
    let mut runner = TestRunner::new_with_rng(
        ProptestConfig::with_cases(256 / one_in() as u32),
        TestRng::deterministic_rng(RngAlgorithm::ChaCha),
    );
    let ran = runner.run(&strategy, |(was, is, guests, lost, of_new)| {
        let is_lost = |object: &ClusterObject| {
            let lacks = |of: &str, vmi: bool| {
                lost.iter().any(|(number, is_vmi)| *is_vmi == vmi && format!("guest-{number}") == of)
            };
            let lacks_vmi = |of: &str| {
                lost.iter().any(|(number, _)| number % 4 > 1 && format!("guest-{number}") == of) && lacks(of, true)
            };
            match object {
                ClusterObject::Vmi(vmi) => lacks_vmi(&vmi.metadata.name),
                // A guest of which a dump holds nothing has not run there.
                ClusterObject::Launcher(pod) => lacks(&pod.guest, false) && !lacks_vmi(&pod.guest),
                _ => false,
            }
        };
        let world = |edits: &[(usize, Edit)], is_whole: bool| {
            let mut all = objects(&guests, false);
            all.retain(|object| is_whole || !is_lost(object));
            World { cluster: cluster("1.9.0", edited(edits), all), policies: Vec::new() }
        };
        let [old, new] = [(&was, of_new), (&is, !of_new)].map(|(edits, is_whole)| world(edits, is_whole));
        let found = diff(&old, &new, &|_| true, &|_, _| {});
        let whole = diff(&world(&was, true), &world(&is, true), &|_| true, &|_, _| {});
        if !found.are_guests_compared || !whole.are_guests_compared {
            return Ok(());
        }
        for turn in [Direction::Worse, Direction::Better] {
            let more: Vec<&str> = found.turned(turn).difference(&whole.turned(turn)).copied().collect();
            prop_assert!(more.is_empty(), "{:?} {:?}, by what the dump lacks: {:?}", more, turn, found.not_known);
        }
        prop_assert!(found.running.iter().all(|change| whole.running.contains(change)), "{:?}", found.running);
        let not_said = whole.turned(Direction::Worse).difference(&found.turned(Direction::Worse)).count();
        prop_assert!(not_said == 0 || found.lacks_guests, "a guest is worse off, and a gate would pass: {:?}", found);
        lacking.set(lacking.get() + usize::from(found.lacks_guests));
        worse.set(worse.get() + found.turned(Direction::Worse).len());
        unproved.set(unproved.get() + not_said);
        Ok(())
    });
    ran.unwrap_or_else(|failure| panic!("{failure}"));
    let counts = counts.map(Cell::into_inner);
    assert!(counts.iter().all(|count| *count >= at_least(10)), "too few dumps show it: {counts:?}");
}

/// A setting that is taken away means the opposite of one that is added.
#[rstest]
#[case::node_selectors("developerConfiguration", json!({"nodeSelectors": {"pool": "vm"}}), "ask for pool=vm", "no longer ask for pool=vm")]
#[case::binding("network", json!({"binding": {"passt": {"migration": {"method": "link-refresh"}}}}), "passt on the pod network are migrated", "are no longer migrated")]
#[case::devices("permittedHostDevices", json!({"mediatedDevices": [{"resourceName": "nvidia.com/T4"}]}), "nvidia.com/T4 may be migrated", "may no longer be migrated")]
#[case::model("cpuModel", json!("Haswell"), "get it at their next start", "get KubeVirt's own default")]
#[case::no_migrations("migrations", json!({"parallelMigrationsPerCluster": 0}), "KubeVirt starts no migration", "how many guests migrate")]
fn the_effect_of_a_setting_follows_its_direction(
    #[case] setting: &str,
    #[case] value: serde_json::Value,
    #[case] added: &str,
    #[case] removed: &str,
) {
    let with = |configuration: serde_json::Value| {
        let kubevirt = json!({"metadata": {"namespace": "kubevirt", "name": "kubevirt"}, "spec": {"configuration": configuration}});
        let guest = running("db", "node-a", "Skylake-Server-noTSX-IBRS");
        let mut guest = guest;
        guest["spec"]["evictionStrategy"] = json!("LiveMigrate");
        let objects = [ClusterObject::KubeVirt(Box::new(read(kubevirt))), vmi(guest)];
        World { cluster: cluster("1.9.0", intel(), objects), policies: Vec::new() }
    };
    let (without, with) = (with(json!({})), with(json!({setting: value})));
    for (old, new, expected, worse) in [(&without, &with, added, true), (&with, &without, removed, false)] {
        let found = diff(old, new, &|_| true, &|_, _| {});
        let means: Vec<&str> = found.kubevirt.iter().map(|change| change.means.as_str()).collect();
        assert!(means.iter().any(|means| means.contains(expected)), "the opposite is said: {means:?}");
        if setting == "migrations" {
            assert_eq!(found.worse > 0, worse, "no guest can leave its node: {found:?}");
        }
    }
}

/// A snapshot of one namespace holds no guest of another one.
#[test]
fn guests_of_namespaces_that_a_snapshot_leaves_out_are_not_gone() {
    let world = |is_whole: bool| {
        let mut other = running("away", "node-a", "Skylake-Server-noTSX-IBRS");
        other["metadata"]["namespace"] = json!("bank");
        let here = running("db", "node-a", "Skylake-Server-noTSX-IBRS");
        let objects = [vmi(here)].into_iter().chain(is_whole.then(|| vmi(other)));
        let mut cluster = cluster("1.9.0", intel(), objects);
        if !is_whole {
            cluster.only_namespaces = ["shop".to_owned()].into();
        }
        World { cluster, policies: Vec::new() }
    };
    for (old, new) in [(true, false), (false, true)] {
        let found = diff(&world(old), &world(new), &|_| true, &|_, _| {});
        assert!(found.guests.is_empty(), "a guest of another namespace came or went: {:?}", found.guests);
        assert!(found.not_known.iter().any(|line| line.contains("other namespaces")), "{:?}", found.not_known);
    }
}
