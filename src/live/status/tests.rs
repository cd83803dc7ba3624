//! A policy and its counts in, the patch of its status out.
use rstest::rstest;

use super::*;
use crate::answers::guest_state::Tally;
use crate::answers::status::PolicyNodes;
use crate::live::kinds::{Projected, project};
use crate::testing::Tweak;
use crate::testing::objects::policy;

const GENERATION: i64 = 3;

fn registered(enforce: &str, status: &Value) -> Registered {
    let object =
        policy("intel", &json!({"enforce": enforce, "commonModel": {"name": "Cascadelake-Server"}})).tweak(|policy| {
            policy["metadata"]["uid"] = json!("u");
            policy["metadata"]["generation"] = json!(GENERATION);
            policy["status"] = status.clone();
        });
    match project(Resource::Policies, &object.to_string()).unwrap() {
        Projected::Policy(policy) => *policy,
        other => panic!("{other:?} is no policy"),
    }
}

fn counted() -> PolicyStatus {
    PolicyStatus {
        nodes: PolicyNodes {
            policy: "intel".to_owned(),
            nodes: 6,
            amd64_nodes: 6,
            usable_nodes: Some(5),
            ..PolicyNodes::default()
        },
        guests: 14,
        not_compliant: 3,
        now: Tally { pinned: 1, ..Tally::default() },
        at_next_start: Tally { pinned: 2, denied: 2, ..Tally::default() },
        ..PolicyStatus::default()
    }
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
}

/// Applies a merge patch, as the API server does.
fn applied(before: &Value, patch: &Value) -> Value {
    let mut after = before.clone();
    json_patch::merge(&mut after, patch);
    after
}

#[test]
fn a_valid_policys_status() {
    let patch = status(&registered("Pinned", &Value::Null), Some(&counted()), at(0));
    insta::assert_json_snapshot!(patch);
}

#[test]
fn an_invalid_policy_says_why_and_counts_nothing() {
    let before = status(&registered("Pinned", &Value::Null), Some(&counted()), at(0));
    let before = applied(&json!({}), &before);
    let after = applied(&before, &status(&registered("Sometimes", &before), None, at(60)));
    insta::assert_json_snapshot!(after);
}

#[test]
fn a_status_that_is_right_is_not_written_again() {
    let before = applied(&json!({}), &status(&registered("Pinned", &Value::Null), Some(&counted()), at(0)));
    let again = status(&registered("Pinned", &before), Some(&counted()), at(60));
    assert!(!differs(&before, &again), "each write would be watched, and written again: {again}");
    let more = PolicyStatus { guests: 15, ..counted() };
    assert!(differs(&before, &status(&registered("Pinned", &before), Some(&more), at(60))));
    assert!(!differs(&before, &status(&registered("Pinned", &before), None, at(60))), "not counted yet");
}

/// `kubectl wait` and alerts use the time of the last transition.
#[rstest]
#[case::still_usable(5, "2027-01-15T08:00:00Z")]
#[case::no_longer_usable(0, "2027-01-15T08:01:00Z")]
fn a_condition_keeps_the_time_of_its_last_transition(#[case] usable: usize, #[case] expected: &str) {
    let before = applied(&json!({}), &status(&registered("Pinned", &Value::Null), Some(&counted()), at(0)));
    let nodes = PolicyNodes { usable_nodes: Some(usable), ..counted().nodes };
    let found = PolicyStatus { nodes, ..counted() };
    let after = status(&registered("Pinned", &before), Some(&found), at(60));
    let since = |kind| condition(&after, kind).expect(kind)["lastTransitionTime"].clone();
    assert_eq!(since("Ready"), expected);
    assert_eq!(since("Valid"), "2027-01-15T08:00:00Z");
}

#[test]
fn conditions_of_other_writers_are_kept() {
    let others = json!({"conditions": [{"type": "Synced", "status": "True", "reason": "GitOps"}]});
    let after = status(&registered("Pinned", &others), Some(&counted()), at(0));
    assert_eq!(condition(&after, "Synced"), Some(&others["conditions"][0]));
    assert_eq!(after["conditions"].as_array().unwrap().len(), 4);
}

#[test]
fn an_invalid_policy_is_reported_once() {
    let known = |status: &str, generation: i64| json!({"conditions": [{"type": "Valid", "status": status, "observedGeneration": generation}]});
    assert!(!is_known_invalid(&registered("Sometimes", &Value::Null)));
    assert!(!is_known_invalid(&registered("Sometimes", &known("True", 2))));
    assert!(!is_known_invalid(&registered("Sometimes", &known("False", 2))), "it was changed, and is invalid still");
    assert!(
        is_known_invalid(&registered("Sometimes", &known("False", GENERATION))),
        "a leader before wrote that Event"
    );
}
