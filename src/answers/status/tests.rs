#![allow(clippy::expect_used, reason = "a failed expectation in a test is the test's answer")]

use serde_json::json;

use super::*;
use crate::policy::Policy;
use crate::testing::cluster::{cluster, running, vmi};
use crate::testing::fleet::intel;
use crate::testing::pool::{MODEL, common, nodes, policy, world};
use crate::testing::{NEVER, Tweak};

#[test]
fn the_status_counts_what_the_columns_show() {
    let statuses = statuses(&world(nodes(), &[policy(&common(MODEL))]), NEVER);
    let [status] = statuses.as_slice() else { panic!("one status for each policy: {statuses:?}") };
    let PolicyStatus { guests, not_compliant, now, stale, recommended_model, .. } = status;
    assert_eq!(
        (status.coverage().as_str(), *guests, *not_compliant, now.pinned, now.unschedulable, *stale),
        ("4/5", 5, 4, 2, 0, 1),
        "kubectl get cpupolicies would mislead"
    );
    assert_eq!(recommended_model.as_deref(), Some("Skylake-Server-noTSX-IBRS"));
    assert!(status.looked.is_complete());
    // The text is equal to the warning about an edit of the policy.
    let said = status.of_model.as_deref().expect("its model leaves one node out");
    assert!(said.contains(MODEL), "{said}");
    assert_eq!(status.conditions()[1].message, format!("it governs 5 guests; {said}"));
    assert!(status.conditions()[..2].iter().all(|condition| condition.holds));
}

/// The webhook removes stale entries from its target pod: it can leave.
#[test]
fn a_guest_whose_selector_would_be_trimmed_is_not_pinned() {
    let pinned = |selectors: &str| {
        let spec = json!({"launcherSelectors": selectors, "nodeSelector": {"matchLabels": {"pool": "intel"}}});
        statuses(&world(nodes(), &[policy(&spec)]), NEVER)[0].now.pinned
    };
    assert_eq!((pinned("Keep"), pinned("DropStale")), (2, 1), "people would mend what mends itself");
}

#[test]
fn conditions_say_what_is_wrong() {
    let nowhere = statuses(&world(nodes(), &[policy(&common("Denverton"))]), NEVER);
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
    let statuses = statuses(&World { cluster, policies }, NEVER);
    assert_eq!((statuses[0].guests, statuses[0].now.unschedulable, statuses[0].now.pinned), (1, 1, 0));
    assert_eq!(statuses[0].coverage(), "4");
}

#[test]
fn one_guest_is_in_the_singular() {
    let status = PolicyStatus { nodes: 2, guests: 1, ..PolicyStatus::default() };
    assert_eq!(status.conditions()[1].message, "it governs 1 guest");
}
