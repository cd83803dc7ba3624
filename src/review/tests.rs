//! Shared parts of these tests: the recorded cluster and its reviews.

use std::path::PathBuf;

use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::admission::review::decode;
use crate::answers::Guests;
use crate::domain::Domain;
use crate::snapshot::DumpSource;
use crate::testing::NEVER;
use crate::testing::cluster::{cluster, launcher, running, vmi};
use crate::testing::fleet::{feature, intel};
use crate::world::{self, LoadInput};

fn data(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/reviews").join(name)
}

/// Loads the cluster for which the reviews were recorded.
pub(super) fn recorded() -> World {
    let source = DumpSource::Path(data("cluster.yaml").into());
    let domain = Domain::default();
    world::load(LoadInput::new(&[source], &domain), std::io::empty()).expect("the recorded cluster").0
}

/// Loads a recorded review.
pub(super) fn recording(name: &str) -> Value {
    let bytes = std::fs::read(data(name)).expect("a recorded review");
    serde_json::from_slice(&bytes).expect("JSON")
}

/// Returns the warnings about a review.
#[track_caller]
pub(super) fn said(world: &World, review: &Value) -> Vec<String> {
    let bytes = review.to_string();
    let request = decode(bytes.as_bytes()).expect("a review");
    let decision = act(world, &request, NEVER).expect("an answer").expect("one of these acts");
    for warning in decision.warnings() {
        assert!(warning.chars().count() <= 256, "the API server would cut it: {warning}");
        assert!(warning.starts_with("cpufit: ") && !warning.contains('\n'), "{warning}");
    }
    assert!(decision.warnings().len() <= 4);
    assert!(matches!(decision, Decision::Admit { .. }), "none of these acts is ever denied");
    decision.warnings()
}

#[rstest]
#[case::kubelet("system:node:node-a", false)]
#[case::node_controller("system:serviceaccount:kube-system:node-controller", false)]
#[case::node_labeller("system:serviceaccount:kubevirt:kubevirt-handler", false)]
#[case::a_person("admin", true)]
#[case::a_pipeline("system:serviceaccount:gitops:argocd", true)]
fn node_edits_are_judged_only_for_users_who_see_warnings(#[case] user: &str, #[case] expected: bool) {
    assert_eq!(is_read(user), expected, "work for every heartbeat, or silence for a person");
}

/// A storm of taints by the node controller, and the status of every object, may not use up the judges on which the
/// edits of people wait.
#[rstest]
#[case::a_person("node-update-cordon.json", Webhook::Validate, "admin", true)]
#[case::node_controller(
    "node-update-cordon.json",
    Webhook::Validate,
    "system:serviceaccount:kube-system:node-controller",
    false
)]
#[case::kubelet("node-update-cordon.json", Webhook::Validate, "system:node:node-a", false)]
#[case::the_default("kubevirt-update-cpumodel.json", Webhook::Validate, "admin", true)]
#[case::a_guest("vm-create.json", Webhook::Validate, "admin", false)]
#[case::a_model_written("vmi-create-mutate-by-controller.json", Webhook::Mutate, "admin", false)]
fn only_edits_that_are_counted_wait_for_the_judges_of_all_guests(
    #[case] name: &str,
    #[case] webhook: Webhook,
    #[case] user: &str,
    #[case] expected: bool,
) {
    let mut review = recording(name);
    review["request"]["userInfo"]["username"] = json!(user);
    let text = review.to_string();
    let request = decode(text.as_bytes()).expect("a review");
    assert_eq!(
        concerns_all_guests(webhook, &request),
        expected,
        "{user} keeps a person's edit waiting, or waits in vain"
    );
    let world = recorded();
    let is_counted = webhook == Webhook::Validate && act(&world, &request, NEVER).expect("an answer").is_some();
    assert_eq!(is_counted, expected, "the queue and the answer differ about {name} of {user}");
    review["request"]["subResource"] = json!("status");
    let text = review.to_string();
    let request = decode(text.as_bytes()).expect("a review");
    assert!(!concerns_all_guests(webhook, &request), "a write of the status keeps a person's edit waiting");
}

#[test]
fn guests_and_migrations_are_left_to_the_judgement() {
    let world = World::default();
    for name in ["vm-create.json", "pod-start.json", "vmim-create-stuck.json"] {
        let bytes = recording(name).to_string();
        let request = decode(bytes.as_bytes()).expect("a review");
        assert_eq!(act(&world, &request, NEVER), Ok(None), "{name} would not be judged");
    }
}

#[test]
fn a_malformed_node_is_named_by_its_field() {
    let mut review = recording("node-update-cordon.json");
    review["request"]["object"]["spec"]["taints"] = json!([1]);
    let bytes = review.to_string();
    let request = decode(bytes.as_bytes()).expect("a review");
    let error = act(&World::default(), &request, NEVER).expect_err("a wrong answer instead of a reason");
    assert!(error.to_string().contains("request.object.spec.taints[0]"), "{error}");
}

/// Answers 20,000 guests within a second: equal guests are judged once, whichever node of a class they run on.
#[test]
fn equal_guests_are_judged_once() {
    let guest = |name: &str, node: &str| running(name, node, "host-model");
    let guests = [guest("one", "node-a"), guest("two", "node-c"), guest("other", "node-b"), guest("moved", "node-a")];
    let objects = guests.iter().flat_map(|guest| {
        let inherited = (guest["metadata"]["name"] == "moved").then(|| feature("fpu"));
        [vmi(guest.clone()), launcher(guest, inherited)]
    });
    let cluster = cluster("1.9.0", intel(), objects);
    let mut guests = Guests::new(&cluster);
    let mut demand = |name| guests.demand(cluster.vmi("shop", name).expect("a guest")).expect("it runs");
    let (one, two, other, moved) = (demand("one"), demand("two"), demand("other"), demand("moved"));
    assert!(std::rc::Rc::ptr_eq(&one, &two), "each guest would be judged again");
    assert!(!std::rc::Rc::ptr_eq(&one, &other), "another kind of host asks for more or less");
    assert!(!std::rc::Rc::ptr_eq(&one, &moved), "what it inherited would be overlooked");
    let fleet = &cluster.fleet;
    assert_eq!(one.targets(fleet, fleet.find("node-a")), 2, "node-c and node-d; its own node is no target");
}

/// Answers a review with a deadline after `after` checks of it; returns the number of checks made.
fn broken_off(world: &World, review: &str, webhook: Webhook, after: usize) -> (Decision, usize) {
    let asked = std::sync::atomic::AtomicUsize::new(0);
    let is_over = || asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) >= after;
    let request = decode(review.as_bytes()).expect("a review");
    let context = ReviewContext { world, is_over: &is_over };
    let decision = answer(&context, webhook, &request).expect("an answer").decision;
    (decision, asked.load(std::sync::atomic::Ordering::Relaxed))
}

fn patch_of(decision: &Decision) -> usize {
    match decision {
        Decision::Admit { patch, .. } => patch.len(),
        Decision::Deny { .. } => 0,
    }
}

/// All stages obey the deadline at any step: little is done after it, nothing is denied that was not judged, and no
/// other patch is made.
#[rstest]
#[case::a_guest("vm-create.json", Webhook::Validate)]
#[case::a_guest_sent("vmi-create-by-controller.json", Webhook::Validate)]
#[case::a_model_written("vmi-create-mutate-by-controller.json", Webhook::Mutate)]
#[case::a_start("pod-start.json", Webhook::Validate)]
#[case::a_migration("vmim-create-stuck.json", Webhook::Validate)]
#[case::a_node("node-update-labels.json", Webhook::Validate)]
#[case::the_default("kubevirt-update-cpumodel.json", Webhook::Validate)]
fn a_review_ends_soon_after_its_deadline(#[case] name: &str, #[case] webhook: Webhook) {
    /// Maximum number of deadline checks after it passed: each check and each remedy makes at most one more.
    const AFTER: usize = 66;
    let policy = crate::testing::cluster::read_policy(
        "all",
        &json!({
            "enforce": "Unschedulable",
            "commonModel": {"name": "Skylake-Server-noTSX-IBRS", "replaces": ["Unset", "HostModel"], "otherwise": "Deny"},
        }),
    );
    let world = World { policies: vec![policy], ..recorded() };
    let review = recording(name).to_string();
    let (whole, asked) = broken_off(&world, &review, webhook, usize::MAX);
    let is_denied = |decision: &Decision| matches!(decision, Decision::Deny { .. });
    for after in 0..asked {
        let (part, until) = broken_off(&world, &review, webhook, after);
        assert!(until <= after + AFTER, "{until} - {after} steps after it was enough");
        assert!(is_denied(&whole) || !is_denied(&part), "a guess denies at step {after}: {part:?}");
        assert!([0, patch_of(&whole)].contains(&patch_of(&part)), "{part:?}");
        for line in part.warnings() {
            assert!(line.chars().count() <= 256, "{line}");
        }
    }
    assert!(asked > 0, "nothing of it is ever broken off");
}
