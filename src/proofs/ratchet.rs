//! An update that makes nothing worse is never denied, regardless of the kind of object: it is compared with the
//! answers to the creation of the old and the new object by a user.

use serde_json::{Value, json};

use crate::admission::Webhook;
use crate::admission::response::Decision;
use crate::admission::review::decode;
use crate::fit::judgement::Depth;
use crate::fit::verdict::{Cause, Impact};
use crate::judge::{self, Evaluation, Manifest};
use crate::kubevirt::cluster::ClusterObject;
use crate::policy::UserName;
use crate::review::{self, ReviewContext};
use crate::testing::at_least;
use crate::testing::objects::{create, policy};
use crate::testing::situation::{Situation, object};
use crate::testing::thorough::one_in;
use crate::world::World;

/// Number of situations tried.
const SITUATIONS: u64 = 400;

/// Returns edits of an object's template, and of the object.
fn edits(old: &Value) -> Vec<Value> {
    let template: &[&str] = match old["kind"].as_str() {
        Some("VirtualMachinePool") => &["spec", "virtualMachineTemplate", "spec", "template"],
        _ => &["spec", "template"],
    };
    let edited = |change: &dyn Fn(&mut Value)| {
        let mut new = old.clone();
        let template = template.iter().fold(&mut new, |value, &key| &mut value[key]);
        change(template);
        new
    };
    let mut named = old.clone();
    named["metadata"]["labels"] = json!({"team": "b"});
    let mut out = vec![
        named,
        edited(&|template| template["metadata"]["labels"]["app"] = json!("another")),
        edited(&|template| template["spec"]["nodeSelector"] = json!({"topology.kubernetes.io/zone": "z9"})),
        edited(&|template| template["spec"]["nodeSelector"] = Value::Null),
        edited(&|template| template["spec"]["terminationGracePeriodSeconds"] = json!(5)),
    ];
    // KubeVirt refuses a VM that sets a field that its instancetype sets.
    if !old.to_string().contains("\"instancetype\"") {
        for model in ["host-model", "host-passthrough", "EPYC-Turin", "Skylake-Server-noTSX-IBRS", "Denverton"] {
            out.push(edited(&|template| template["spec"]["domain"]["cpu"]["model"] = json!(model)));
        }
        let features = json!([{"name": "gone", "policy": "require"}]);
        out.push(edited(&|template| template["spec"]["domain"]["cpu"]["features"] = features.clone()));
    }
    out
}

/// Returns the answer to a person who creates it.
fn created(world: &World, json: &Value) -> Option<Evaluation<'static>> {
    let manifest = match object(json)? {
        ClusterObject::VirtualMachine(vm) => Manifest::VirtualMachine(vm),
        ClusterObject::Replicas(replicas) => Manifest::Replicas(replicas),
        _ => return None,
    };
    judge::judge(world, &manifest, &UserName::from("kubernetes-admin"), Depth::Brief)
}

fn updated(world: &World, old: &Value, new: &Value) -> Decision {
    let mut review = create(new, "kubernetes-admin");
    review["request"]["operation"] = json!("UPDATE");
    review["request"]["oldObject"] = old.clone();
    let review = review.to_string();
    let request = decode(review.as_bytes()).expect("a review");
    review::answer(&ReviewContext::new(world), Webhook::Validate, &request).expect("an answer").decision
}

/// Whether the new object is worse: by impact, by a structural cause, and by the model that a policy requires.
fn is_worse(old: &Evaluation<'_>, new: &Evaluation<'_>) -> bool {
    let grade = |case: &Evaluation<'_>| match case.verdict.assessment.outcome.impact() {
        None => 0,
        Some(Impact::Fragile) => 1,
        Some(Impact::Pinned) => 2,
        Some(Impact::Unschedulable) => 3,
    };
    let lasts = |case: &Evaluation<'_>| case.verdict.assessment.cause == Some(Cause::Structural);
    let is_off = |case: &Evaluation<'_>| case.messages.unmet.is_some();
    grade(new) > grade(old) || lasts(new) && !lasts(old) || is_off(new) && !is_off(old)
}

#[test]
fn an_update_that_makes_nothing_worse_is_never_denied() {
    let (mut denied, mut admitted) = (0, 0);
    for seed in (0..SITUATIONS).step_by(one_in()) {
        let mut situation = Situation::new(seed);
        situation.objects.push(policy("a-strict-one", &json!({"enforce": "Fragile", "warn": "Fragile"})));
        let world = situation.world();
        let kinds = ["VirtualMachine", "VirtualMachineInstanceReplicaSet", "VirtualMachinePool"];
        for old in situation.objects.iter().filter(|object| kinds.iter().any(|kind| object["kind"] == *kind)) {
            let Some(was) = created(&world, old) else { continue };
            for new in edits(old) {
                let Some(is) = created(&world, &new) else { continue };
                let decision = updated(&world, old, &new);
                let is_denied = matches!(decision, Decision::Deny { .. });
                // If the policy denied nothing of it before, the guest is new.
                let is_new = !was.ruling.denies();
                assert!(
                    !is_denied || is.ruling.denies() && (is_new || is_worse(&was, &is)),
                    "situation {seed}: {old} becomes {new}: {decision:?}"
                );
                let is_new = is_new || is_worse(&was, &is);
                assert!(is_denied || !is.ruling.denies() || !is_new || new["spec"] == old["spec"], "{seed}: {new}");
                denied += usize::from(is_denied);
                admitted += usize::from(!is_denied && is.ruling.denies());
            }
        }
    }
    assert!(
        denied.min(admitted) >= at_least(50),
        "{denied} were denied and {admitted} admitted: too few to trust them"
    );
}
