use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::answers::recommend::features::lacked;
use crate::fit::models;
use crate::fit::node::Node;
use crate::policy::Policy;
use crate::testing::cluster::{cluster, read_policy, running, vmi};
use crate::testing::fleet::{arm, cascade_lake, ice_lake, intel, node, rome, set, skylake};
use crate::testing::pool::{MODEL, common, nodes, policy, world};
use crate::testing::{NEVER, NO_TIME, Tweak};

#[test]
fn the_status_counts_what_the_columns_show() {
    let statuses = statuses(&world(nodes(), &[policy(&common(MODEL))]), NEVER, NO_TIME);
    let [status] = statuses.as_slice() else { panic!("one status for each policy: {statuses:?}") };
    let PolicyStatus { nodes, guests, not_compliant, now, stale, .. } = status;
    assert_eq!(
        (status.coverage().as_str(), *guests, *not_compliant, now.pinned, now.unschedulable, *stale),
        ("4/5", 5, 4, 2, 0, 1),
        "kubectl get cpupolicies would mislead"
    );
    assert_eq!(nodes.recommended_model.as_deref(), Some("Skylake-Server-noTSX-IBRS"));
    assert!(status.not_counted.is_empty());
    // The text is equal to the warning about an edit of the policy.
    let said = nodes.of_model.as_deref().expect("its model leaves one node out");
    assert!(said.contains(MODEL), "{said}");
    assert_eq!(status.conditions()[1].message, format!("it governs 5 guests; {said}"));
    assert!(status.conditions()[..2].iter().all(|condition| condition.holds));
}

/// The webhook removes stale entries from its target pod: it can leave.
#[test]
fn a_guest_whose_selector_would_be_trimmed_is_not_pinned() {
    let pinned = |selectors: &str| {
        let spec = json!({"launcherSelectors": selectors, "nodeSelector": {"matchLabels": {"pool": "intel"}}});
        statuses(&world(nodes(), &[policy(&spec)]), NEVER, NO_TIME)[0].now.pinned
    };
    assert_eq!((pinned("Keep"), pinned("DropStale")), (2, 1), "people would repair guests that need no repair");
}

#[test]
fn conditions_of_a_policy_name_the_problem() {
    let nowhere = statuses(&world(nodes(), &[policy(&common("Denverton"))]), NEVER, NO_TIME);
    let [_, ready, _] = nowhere[0].conditions();
    assert_eq!((ready.holds, ready.reason), (false, "ModelNotUsable"));
    let error = Policy::from_json(&policy(&json!({"enforce": "Sometimes"}))).expect_err("an invalid one");
    let [valid, ready, _] = conditions_of_invalid(&error.to_string());
    assert!(!valid.holds && !ready.holds && valid.message.contains("spec.enforce"), "{}", valid.message);
}

#[test]
fn a_guest_that_waits_for_a_node_is_unschedulable() {
    let waiting =
        running("wait", "", "Icelake-Server-noTSX").tweak(|vmi| vmi["status"] = json!({"phase": "Scheduling"}));
    let nodes = intel().tweak(|nodes| nodes.retain(|node| node.name != "node-e"));
    let cluster = cluster("1.9.0", nodes, [vmi(waiting)]);
    let policies = vec![Policy::from_json(&policy(&json!({}))).expect("a policy")];
    let statuses = statuses(&World { cluster, policies }, NEVER, NO_TIME);
    assert_eq!((statuses[0].guests, statuses[0].now.unschedulable, statuses[0].now.pinned), (1, 1, 0));
    assert_eq!(statuses[0].coverage(), "4");
}

#[test]
fn one_guest_is_in_the_singular() {
    let status = PolicyStatus {
        nodes: PolicyNodes { nodes: 2, ..PolicyNodes::default() },
        guests: 1,
        ..PolicyStatus::default()
    };
    assert_eq!(status.conditions()[1].message, "it governs 1 guest");
}

/// Prints the nodes of a policy, for each kind of nodes that it may select.
#[rstest]
#[case::no_selector_and_no_node(vec![], json!({}), "no node runs guests")]
#[case::no_node_selected(intel(), json!({"nodeSelector": {"matchLabels": {"zone": "mars"}}}), "its nodeSelector selects no node that runs guests")]
#[case::arm_alone(vec![arm("arm-1"), arm("arm-2")], common_everywhere(MODEL), "a common model is for amd64 alone, and none of its nodes is of amd64")]
#[case::one_vendor(vec![cascade_lake("i1"), cascade_lake("i2")], json!({}), "no common model; recommended for its 2 nodes: Cascadelake-Server-noTSX")]
#[case::two_vendors(vec![cascade_lake("i1"), cascade_lake("i2"), cascade_lake("i3"), rome("a1")], json!({}),
    "no common model; none is recommended for its 4 nodes: the nodes' labels name CPUs of AMD and Intel: no guest migrates from one vendor to another")]
#[case::one_without_labels(vec![cascade_lake("i1"), cascade_lake("i2"), bare("bare")], json!({}),
    "no common model; none is recommended for its 3 nodes: bare takes guests and offers no CPU model by a cpu-model label: a guest with a named model could not run there")]
#[case::nothing_in_common(vec![running_only("i1", "Haswell-noTSX"), running_only("i2", "Haswell-noTSX"), running_only("i3", "Denverton")], json!({}),
    "no common model; none is recommended for its 3 nodes: no model that is worth recommending is usable on all 3 nodes")]
#[case::another_architecture_besides(vec![cascade_lake("i1"), cascade_lake("i2"), arm("arm-1")], json!({}),
    "no common model; recommended: Cascadelake-Server-noTSX, which runs on 2 of its 3 nodes")]
#[case::half_without_labels(vec![cascade_lake("i1"), bare("bare")], json!({}),
    "no common model; none is recommended for its 2 nodes: bare takes guests and offers no CPU model by a cpu-model label: a guest with a named model could not run there")]
#[case::unlabelled_left_out(vec![cascade_lake("i1"), cascade_lake("i2"), bare("bare")], common_everywhere(MODEL),
    "commonModel Cascadelake-Server-noTSX leaves out 1 of 3 selected nodes: bare has no CPU labels")]
#[case::virt_handler_down(vec![cascade_lake("i1"), cascade_lake("i2"), down("dead")], common_everywhere(MODEL),
    "Cascadelake-Server-noTSX runs on 2 of 2 nodes; not counted, as no CPU is known there: dead")]
#[case::an_older_host(vec![cascade_lake("i1"), skylake("i2")], common_everywhere(MODEL),
    "commonModel Cascadelake-Server-noTSX leaves out 1 of 2 selected nodes: i2 lacks cpu-feature arch-capabilities, avx512vnni and 5 more; recommended: Skylake-Server-noTSX-IBRS, which runs on 2 of 2 nodes")]
#[case::another_spelling(vec![spelled("i1"), spelled("i2")], common_everywhere("Cascadelake-Server-v3"),
    "Cascadelake-Server-v3 runs on 2 of 2 nodes")]
fn the_line_on_a_policy_is_true_of_its_nodes(#[case] nodes: Vec<Node>, #[case] spec: Value, #[case] expected: &str) {
    let policy = read_policy("p", &spec);
    let line = PolicyNodes::of(&cluster("1.9.0", nodes, []), &policy).line();
    assert_eq!(line, format!("CPUPolicy p: {expected}"));
}

/// A policy of arm64 nodes governs and denies: it must not look as if it selected nothing.
#[test]
fn a_policy_of_another_architecture_is_in_force() {
    let policies = vec![read_policy("arm", &json!({"enforce": "Pinned"}))];
    let world = World { cluster: cluster("1.9.0", vec![arm("arm-1"), arm("arm-2")], []), policies };
    let statuses = statuses(&world, NEVER, NO_TIME);
    let ready = &statuses[0].conditions()[1];
    assert_eq!((statuses[0].nodes.nodes, ready.holds, ready.reason), (2, true, "InForce"));
}

/// No feature is named that the model does not need, on any mixture of hosts.
#[test]
fn only_features_of_the_model_are_missing() {
    let nodes = vec![ice_lake("i1"), cascade_lake("i2"), skylake("i3")];
    let fleet = &cluster("1.9.0", nodes, []).fleet;
    for model in [MODEL, "Skylake-Server-noTSX-IBRS", "Icelake-Server-noTSX"] {
        let held = models::features(model).expect("a known model");
        for node in 0..fleet.len() {
            for feature in lacked(fleet, node, model).expect("a known model") {
                assert!(held.contains(feature.as_str()), "{} would need {feature} for {model}", fleet.name(node));
            }
        }
    }
}

fn common_everywhere(model: &str) -> Value {
    json!({"commonModel": {"name": model}})
}

/// Returns a node that takes guests and has no CPU labels.
fn bare(name: &str) -> Node {
    node(name).tweak(|node| {
        node.labels.retain(|key, _| !key.starts_with("cpu-") && !key.starts_with("host-model"));
        set(node, "kubevirt.io/schedulable", "true");
    })
}

/// Returns an Intel node that can run this model alone.
fn running_only(name: &str, model: &str) -> Node {
    cascade_lake(name).tweak(|node| {
        node.labels.retain(|key, _| !key.starts_with("cpu-model.node"));
        set(node, &format!("cpu-model.node.kubevirt.io/{model}"), "true");
    })
}

/// Returns a node whose virt-handler is down, of which no CPU is known.
fn down(name: &str) -> Node {
    bare(name).tweak(|node| set(node, "kubevirt.io/schedulable", "false"))
}

/// Returns a node whose libvirt lists two names of one model.
fn spelled(name: &str) -> Node {
    cascade_lake(name).tweak(|node| set(node, "cpu-model.node.kubevirt.io/Cascadelake-Server-v3", "true"))
}

/// Guests of one namespace that take too long to judge hide no other guest, and the status says which are missing.
#[test]
fn a_namespace_whose_guests_take_too_long_is_named_as_not_counted() {
    let world = world(nodes(), &[policy(&common(MODEL))]);
    let all = statuses(&world, NEVER, NO_TIME).remove(0);
    let none = statuses(&world, &|| true, NO_TIME).remove(0);
    assert_eq!((none.guests, none.not_counted.values().sum::<usize>() >= all.guests), (0, true));
    let message = &none.conditions()[1].message;
    assert!(message.starts_with("it governs at least 0 guests; "), "{message}");
    assert!(message.contains(" of shop are not counted, because judging them takes too long"), "{message}");
}
