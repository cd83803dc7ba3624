use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::fit::node::Node;
use crate::kubevirt::cluster::ClusterObject;
use crate::review::tests::said;
use crate::testing::cluster::{cluster, read, running, vm, vmi};
use crate::testing::fleet::{model, of, taint, take};
use crate::testing::objects::{self, create};
use crate::testing::pool::{MODEL, common, nodes, policy, world};
use crate::testing::{NEVER, Tweak};

fn changed(world: &World, spec: &Value) -> Vec<String> {
    change(world, "intel-pool", &policy(spec), None, NEVER).warnings()
}

#[test]
fn a_common_model_names_guests_without_it_and_nodes_that_cannot_run_it() {
    insta::assert_snapshot!(changed(&world(nodes(), &[]), &common(MODEL)).join("\n"), @r"
    cpufit: intel-pool: 3 running guests are not on Cascadelake-Server-noTSX (shop/db, shop/erp and 1 more) until their next restart
    cpufit: intel-pool: commonModel Cascadelake-Server-noTSX leaves out 1 of 5 selected nodes: node-b lacks cpu-feature arch-capabilities, avx512vnni and 5 more
    cpufit: intel-pool: 1 guest keeps its own CPU model (shop/old): commonModel.replaces does not name it
    ");
}

/// Follows the ranking of `cpufit recommend`, as the status's `recommendedModel` does.
#[rstest]
#[case::one_node_is_older("", "Cascadelake-Server-noTSX, the next higher model, would leave out node-b")]
#[case::all_could("node-b", "all nodes can run Cascadelake-Server-noTSX, which ranks above Skylake-Server-noTSX-IBRS")]
fn where_all_can_run_it_the_next_higher_model_is_named(#[case] without: &str, #[case] expected: &str) {
    let nodes: Vec<Node> = nodes().into_iter().filter(|node| node.name != without).collect();
    let lines = changed(&world(nodes, &[]), &common("Skylake-Server-noTSX-IBRS")).join("\n");
    assert!(lines.contains(expected), "{lines}");
}

/// A model that would not be written is not promised, and the reason is named.
#[rstest]
#[case::feature_missing(
    json!({"domain": {"cpu": {"model": "host-model", "features": [{"name": "amd-stibp", "policy": "require"}]}}}),
    "1 guest keeps its own CPU model (shop/db): it requires cpu-feature amd-stibp, which none of the"
)]
#[case::other_nodes(
    json!({"domain": {"cpu": {"model": "host-model"}}, "nodeSelector": {"kubernetes.io/hostname": "node-b"}}),
    "1 guest keeps its own CPU model (shop/db): its node selector, affinity or machine type keeps it off the"
)]
fn a_guest_that_would_not_get_the_model_is_not_promised_it(#[case] spec: Value, #[case] expected: &str) {
    let guest = running("db", "node-a", "host-model").tweak(|db| db["spec"] = spec.clone());
    let own = vm("db", "host-model").tweak(|vm| vm["spec"]["template"]["spec"] = spec);
    let objects = [vmi(guest), ClusterObject::VirtualMachine(Box::new(read(own)))];
    let world = World { cluster: cluster("1.9.0", nodes(), objects), policies: Vec::new() };
    let lines = changed(&world, &common(MODEL)).join("\n");
    assert!(lines.contains(expected) && !lines.contains("next restart"), "{lines}");
}

/// A guest that has ended does not run: it is not counted as not using the model.
#[rstest]
#[case::ended("Succeeded")]
#[case::failed("Failed")]
fn guests_that_have_ended_are_not_counted(#[case] phase: &str) {
    let ended = running("db", "node-a", "host-model").tweak(|db| db["status"]["phase"] = json!(phase));
    let world = World { cluster: cluster("1.9.0", nodes(), [vmi(ended)]), policies: Vec::new() };
    let lines = changed(&world, &common(MODEL)).join("\n");
    assert!(!lines.contains("shop/db"), "{lines}");
}

#[test]
fn one_item_is_in_the_singular() {
    let spec = json!({"enforce": 1, "warn": 2, "audit": 3, "nodeSelector": 4});
    let lines = changed(&world(nodes(), &[]), &spec);
    assert_eq!(lines[3], "cpufit: intel-pool: 1 more problem; it is ignored until it is fixed");
}

#[test]
fn enforcement_names_the_guests_that_would_be_denied() {
    let spec = json!({"enforce": "Pinned"});
    insta::assert_snapshot!(changed(&world(nodes(), &[]), &spec).join("\n"), @"cpufit: intel-pool: it would deny 2 guests now (shop/db, shop/mail), and 4 guests at next start (shop/amd, shop/db and 2 more); each and why: kubectl cpufit audit");
}

#[rstest]
#[case::usable_nowhere(common("Denverton"))]
#[case::known_only(common("Skylake-Server-IBRS"))]
#[case::no_node(json!({"nodeSelector": {"matchLabels": {"pool": "none"}}}))]
fn a_policy_that_can_have_no_effect_is_warned_about(#[case] spec: Value) {
    let lines = changed(&world(nodes(), &[]), &spec);
    let names = |line: &String| line.contains("no selected node can run") || line.contains("selects no node");
    assert!(lines.iter().any(names), "{lines:?}");
    assert!(!lines.iter().any(|line| line.contains("next restart")), "a restart would not help: {lines:?}");
}

#[test]
fn a_node_that_has_every_feature_lacks_only_the_label() {
    let nodes = nodes().tweak(|nodes| take(of(nodes, "node-c"), &[model(MODEL), model("Cascadelake-Server")]));
    let lines = changed(&world(nodes, &[]), &common(MODEL));
    let line = lines.iter().find(|line| line.contains("leaves out")).expect("two nodes cannot run it");
    assert!(line.contains("leaves out 2 of 5 selected nodes (node-b, node-c): node-b lacks"), "{line}");
}

#[test]
fn tainted_nodes_do_not_hide_those_that_a_model_leaves_out() {
    let nodes = nodes().tweak(|nodes| {
        take(of(nodes, "node-c"), &[model(MODEL), model("Cascadelake-Server")]);
        of(nodes, "node-b").taints.push(taint("dedicated"));
    });
    let lines = changed(&world(nodes, &[]), &common(MODEL));
    let line = lines.iter().find(|line| line.contains("leaves out")).expect("two nodes cannot run it");
    assert!(line.contains("leaves out 1 of 4 selected nodes: node-c lacks"), "{line}");
    assert!(line.ends_with("; 1 tainted node is not counted"), "{line}");
}

#[test]
fn guests_of_a_more_specific_policy_are_not_listed() {
    let other = objects::policy("vip", &json!({"virtualMachineSelector": {"matchLabels": {"vip": "yes"}}}));
    let mut world = world(nodes(), &[other.to_string()]);
    let all = changed(&world, &common(MODEL)).join("\n");
    let vip = running("vip", "node-a", "host-model").tweak(|vip| vip["metadata"]["labels"] = json!({"vip": "yes"}));
    world.cluster = cluster("1.9.0", nodes(), [vmi(vip)]);
    let lines = changed(&world, &common(MODEL)).join("\n");
    assert!(all.contains("shop/db") && !lines.contains("shop/vip"), "the wrong guests would be named: {lines}");
}

#[test]
fn an_invalid_policy_is_named_by_field_and_problem() {
    let world = world(nodes(), &[]);
    let spec = json!({"enforce": "Sometimes", "warn": 3});
    insta::assert_snapshot!(changed(&world, &spec).join("\n"), @r#"
    cpufit: intel-pool: spec.enforce: "Sometimes" is not one of None, Unschedulable, Pinned, Fragile
    cpufit: intel-pool: spec.warn: must be a string, is a number
    cpufit: intel-pool: it is ignored until it is fixed
    "#);
}

#[test]
fn an_unchanged_policy_gives_no_warning() {
    let text = policy(&common(MODEL));
    let decision = change(&world(nodes(), &[]), "intel-pool", &text, Some(&text), NEVER);
    assert_eq!(decision, Decision::admit(), "every apply in a pipeline would repeat it");
}

#[test]
fn a_review_is_answered() {
    let object: Value = serde_json::from_str(&policy(&common(MODEL))).expect("JSON");
    let review = create(&object, "admin");
    assert!(!said(&world(nodes(), &[]), &review).is_empty());
}

#[test]
fn an_incomplete_count_is_marked() {
    let calls = std::cell::Cell::new(0);
    let is_over = || calls.replace(calls.get() + 1) >= 2;
    let lines = change(&world(nodes(), &[]), "intel-pool", &policy(&common(MODEL)), None, &is_over).warnings();
    assert!(lines[0].contains("at least 1 running guest"), "{lines:?}");
}

#[test]
fn one_node_is_in_the_singular() {
    let nodes = nodes().tweak(|nodes| nodes.iter_mut().skip(1).for_each(|node| take(node, &["pool".to_owned()])));
    let lines = changed(&world(nodes, &[]), &common("Denverton")).join("\n");
    assert!(lines.contains("known on 0 of 1 node, usable on 0 of 1"), "{lines}");
}

/// The guests that change hands, by the policy that had or gets them.
#[rstest]
#[case::from_a_general_policy(
    &[("all", json!({}))], None, json!({"virtualMachineSelector": {"matchLabels": {"tier": "gold"}}}),
    "it takes over 1 guest from policy all (shop/db), now or at next start"
)]
#[case::by_its_name(
    &[("zone", json!({}))], None, json!({}),
    "it takes over 3 guests from policy zone (shop/amd, shop/db and 1 more), now or at next start"
)]
#[case::from_two(
    &[("mine", json!({"nodeSelector": {"matchLabels": {"pool": "intel"}}})), ("zone", json!({}))], None,
    json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "shop"}}}),
    "it takes over 3 guests from policy mine (shop/amd, shop/db and 1 more), and 1 guest from policy zone (shop/amd), now or at next start"
)]
#[case::to_another_policy(
    &[("zone", json!({}))], Some(json!({})), json!({"virtualMachineSelector": {"matchLabels": {"tier": "gold"}}}),
    "it loses 2 guests to policy zone (shop/amd, shop/mail), now or at next start"
)]
#[case::to_none(
    &[], Some(json!({})), json!({"virtualMachineSelector": {"matchLabels": {"tier": "gold"}}}),
    "it loses 2 guests to the built-in policy (shop/amd, shop/mail), now or at next start"
)]
#[case::from_none(&[], None, json!({}), "")]
#[case::of_a_less_specific_one(
    &[("gold", json!({"virtualMachineSelector": {"matchLabels": {"tier": "gold"}}})), ("zone", json!({}))],
    Some(json!({"warn": "None"})), json!({}), ""
)]
fn guests_that_change_policy_are_named_with_the_other_policy(
    #[case] others: &[(&str, Value)],
    #[case] before: Option<Value>,
    #[case] spec: Value,
    #[case] expected: &str,
) {
    let gold = |guest: Value, name: &str| {
        guest.tweak(|guest| {
            if name == "db" {
                guest["metadata"]["labels"] = json!({"tier": "gold"});
            }
        })
    };
    let guests = [("db", "node-a"), ("mail", "node-e"), ("amd", "amd-1")];
    let guests = guests.map(|(name, node)| vmi(gold(running(name, node, "host-model"), name)));
    let namespace = json!({"metadata": {"name": "shop", "labels": {"kubernetes.io/metadata.name": "shop"}}});
    let objects = guests.into_iter().chain([ClusterObject::Namespace(read(namespace))]);
    let others = others.iter().map(|(name, spec)| objects::policy(name, spec).to_string());
    let policies = others.map(|text| Policy::from_json(&text).expect("a policy")).collect();
    let world = World { cluster: cluster("1.9.0", nodes(), objects), policies };
    let before = before.map(|spec| policy(&spec));
    let lines = change(&world, "intel-pool", &policy(&spec), before.as_deref(), NEVER).warnings();
    let hands: Vec<&String> =
        lines.iter().filter(|line| line.contains(" takes over ") || line.contains(" loses ")).collect();
    if expected.is_empty() {
        assert!(hands.is_empty(), "no guest changes hands: {lines:?}");
    } else {
        let expected = format!("cpufit: intel-pool: {expected}");
        assert_eq!(hands, [&expected], "guests would change hands without a word: {lines:?}");
    }
}
