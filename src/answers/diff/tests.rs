#![allow(clippy::expect_used)]

use std::cell::Cell;
use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use serde_json::json;

use super::*;
use crate::answers::audit::{AuditRow, audit};
use crate::fit::label;
use crate::fit::node::Node;
use crate::kubevirt::cluster::ClusterObject;
use crate::testing::at_least;
use crate::testing::cluster::{cluster, launcher, read, read_policy, running, vm, vmi};
use crate::testing::fleet::{CASCADE_LAKE, COMMON, SKYLAKE, TSX, cordon, feature, intel, mixed, of, set, take};
use crate::testing::thorough::one_in;

/// An edit of a node.
#[derive(Clone, Copy, Debug)]
enum Edit {
    Lose(&'static str),
    Cordon,
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
            Edit::Unwell => set(&mut nodes[at], label::SCHEDULABLE, "false"),
            Edit::Skip => nodes[at].skip_node = Some("true".to_owned()),
            Edit::Go => drop(nodes.remove(at)),
            Edit::Nothing => {}
        }
    }
    nodes
}

/// Guests that run, wait and are stopped.
fn objects(guests: &[(usize, &'static str, bool)]) -> Vec<ClusterObject> {
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
                let guest = running(&name, node, model);
                let selector: Vec<String> = if *is_inherited { inherited().collect() } else { Vec::new() };
                out.push(launcher(&guest, selector));
                out.push(vmi(guest));
            }
        }
    }
    out
}

fn world(edits: &[(usize, Edit)], guests: &[(usize, &'static str, bool)], policies: &[serde_json::Value]) -> World {
    let policy = |spec: &serde_json::Value| read_policy("pool", spec);
    World { cluster: cluster("1.9.0", edited(edits), objects(guests)), policies: policies.iter().map(policy).collect() }
}

fn edits() -> impl Strategy<Value = Vec<(usize, Edit)>> {
    let edit = prop_oneof![
        prop::sample::select(vec!["fpu", "vme", "avx512vnni", "hle"]).prop_map(Edit::Lose),
        Just(Edit::Cordon),
        Just(Edit::Unwell),
        Just(Edit::Skip),
        Just(Edit::Go),
        Just(Edit::Nothing),
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
    fn nothing_changed_between_a_cluster_and_itself(edits in edits(), guests in guests(), policies in policies()) {
        let world = world(&edits, &guests, &policies);
        let found = diff(&world, &world.clone(), &|_| true, &|_, _| {});
        prop_assert!(found.is_empty(), "{found:?}");
        prop_assert_eq!((found.worse, found.better), (0, 0));
    }
}

#[test]
fn a_guest_is_named_exactly_if_an_audit_gives_it_another_verdict() {
    let (named, unnamed, worse, own_node) = (Cell::new(0), Cell::new(0), Cell::new(0), Cell::new(0));
    let add = |to: &Cell<usize>, more: usize| to.set(to.get() + more);
    let strategy = (edits(), edits(), guests(), guests(), any::<bool>(), policies());
    let mut runner = TestRunner::new_with_rng(
        ProptestConfig::with_cases(192 / one_in() as u32),
        TestRng::deterministic_rng(RngAlgorithm::ChaCha),
    );
    let ran = runner.run(&strategy, |(was, is, guests, others, are_the_same, policies)| {
        let old = world(&was, &guests, &policies);
        let new = world(&is, if are_the_same { &guests } else { &others }, &policies);
        let found = diff(&old, &new, &|_| true, &|_, _| {});
        let (was, is) = (rows(&old), rows(&new));
        let changed: BTreeMap<&str, (Option<&str>, Option<&str>)> =
            found.guests.iter().map(|change| (change.guest.as_str(), (change.before, change.after))).collect();
        let mut count = 0;
        for title in was.keys().chain(is.keys()) {
            let verdicts = (was.get(title).map(|row| row.verdict), is.get(title).map(|row| row.verdict));
            let expected = (verdicts.0 != verdicts.1).then_some(verdicts);
            prop_assert_eq!(changed.get(title.as_str()).copied(), expected, "{}", title);
            let is_in_both = was.contains_key(title) && is.contains_key(title);
            let is_listed = found.own_node.iter().any(|change| change.guest == *title);
            prop_assert!(is_in_both || !is_listed, "{} came or went, and its own node would have changed", title);
            add(if expected.is_some() { &named } else { &unnamed }, usize::from(is_in_both));
        }
        for (title, row) in &is {
            let Some(before) = was.get(title) else { continue };
            let is_named = found.own_node.iter().any(|change| change.guest == *title);
            prop_assert_eq!(is_named, before.own_node != row.own_node, "{}", title);
            add(&own_node, usize::from(is_named));
            let is_known = before.verdict != "unknown" && row.verdict != "unknown";
            let rank = |row: &AuditRow| {
                let bad = ["fits", "fragile", "pinned", "unschedulable"].iter().position(|word| *word == row.verdict);
                (row.severity(), bad)
            };
            count += usize::from((is_known || before.own_node != row.own_node) && rank(row) > rank(before));
        }
        prop_assert_eq!(found.worse, count, "{:?}", found.guests);
        add(&worse, count);
        Ok(())
    });
    ran.unwrap_or_else(|error| panic!("{error}"));
    let seen = [named.get(), unnamed.get(), worse.get(), own_node.get()];
    assert!(
        seen.iter().all(|&count| count >= at_least(20)),
        "too few guests show it (named, not named, worse, own node): {seen:?}"
    );
}

#[test]
fn the_label_that_did_it_is_named_and_what_no_node_has_any_more() {
    let guests = [(0, "host-model", false), (0, "host-model", false), (0, "host-model", true)];
    let with = |edits: &[(usize, Edit)]| world(edits, &guests, &[]);
    let lost: Vec<(usize, Edit)> = [0, 2, 3].map(|node| (node, Edit::Lose("hle"))).to_vec();
    let found = diff(&with(&[]), &with(&lost), &|_| true, &|_, _| {});
    let change = found.guests.iter().find(|change| change.guest == "shop/guest-2").expect("the guest that runs");
    assert_eq!((change.before, change.after, change.turn), (Some("fits"), Some("pinned"), Direction::Worse));
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
    assert_eq!(found.frozen, [Frozen { node: "node-c".to_owned(), was_before: false }]);
    let unlike = &found.unlike[..];
    assert_eq!(unlike.len(), 1, "{unlike:?}");
    assert_eq!(unlike[0].nodes, ["node-c"]);
    assert_eq!((&*unlike[0].lacks, unlike[0].alike), (&[feature("fpu"), feature("vme")][..], 2));
    assert_eq!(found.nodes[0].also, ["annotation skip-node"]);
}
