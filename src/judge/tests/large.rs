//! Tests of objects that are too large to judge, or that are filled up so that a part of them is not read: no policy is
//! avoided so.

use std::collections::BTreeSet;

use super::*;
use crate::bounds::{ALL_TEXT, Bounded, LABELS, SELECTOR, TEXT, TOLERATIONS};
use crate::kubevirt::wire::{VirtualMachine, Vmi};
use crate::testing::objects::vmi_of;

const NONE_HAS: &str = "EPYC-Turin";
const SKYLAKE: &str = "Skylake-Server-noTSX-IBRS";

fn filler(count: usize, value: &str) -> Value {
    (0..count).map(|at| (format!("a.example/{at:05}"), json!(value))).collect::<serde_json::Map<_, _>>().into()
}

/// Annotations that fill every bound, beside one with a meaning.
fn fillers() -> [Value; 4] {
    let many_domains = (0..1100).map(|at| (format!("kubevirt.a{at:05}.io/migrationJobName"), json!("x")));
    [
        filler(1, ""),
        filler(1100, ""),
        filler(ALL_TEXT / 1000 + 2, &"x".repeat(1000)),
        many_domains.collect::<serde_json::Map<_, _>>().into(),
    ]
}

fn annotated(mut object: Value, annotations: Value) -> Value {
    let Value::Object(more) = annotations else { panic!("annotations") };
    if object["metadata"]["annotations"].is_null() {
        object["metadata"]["annotations"] = json!({});
    }
    object["metadata"]["annotations"].as_object_mut().expect("annotations").extend(more);
    object
}

fn is_denied(world: &World, review: &Value, webhook: Webhook) -> bool {
    let bytes = review.to_string();
    let request = review::decode(bytes.as_bytes()).expect("a review");
    let decision = answer(&ReviewContext::new(world), webhook, &request).expect("an answer").decision;
    matches!(decision, Decision::Deny { .. })
}

/// A user who may create a migration would relax it without the right, and remove the filler afterwards.
#[test]
fn no_filler_hides_the_annotation_that_takes_a_right() {
    let relaxed =
        migration("db").tweak(|vmim| vmim["metadata"]["annotations"] = json!({well_known::RELAX.key: "true"}));
    let world = stuck(intel());
    let mut filled: Vec<Value> = fillers().map(|filler| annotated(relaxed.clone(), filler)).into();
    let labels = |count, value: &str| relaxed.clone().tweak(|vmim| vmim["metadata"]["labels"] = filler(count, value));
    filled.extend([labels(LABELS + 1, ""), labels(ALL_TEXT / 1000 + 2, &"x".repeat(1000))]);
    for new in filled {
        for asked in [review(&new), update(&migration("db"), &new)] {
            assert!(is_denied(&world, &asked, Webhook::Authorize), "a migration is relaxed without the right");
        }
    }
}

/// An update that removes a filler sees the annotation in an old object that was too large to be read.
#[test]
fn a_migration_that_is_too_large_does_not_count_as_relaxed() {
    let relaxed =
        migration("db").tweak(|vmim| vmim["metadata"]["annotations"] = json!({well_known::RELAX.key: "true"}));
    let old = relaxed.clone().tweak(|vmim| vmim["metadata"]["labels"] = filler(LABELS + 1, ""));
    assert!(is_denied(&stuck(intel()), &update(&old, &relaxed), Webhook::Authorize), "the right is bypassed");
}

/// The objects that a user sends for a guest on a model that no node has, filled up at each place.
fn oversized() -> Vec<(&'static str, Value)> {
    let bad = vm("db", NONE_HAS);
    let spec = |field: &str, value: Value| bad.clone().tweak(|vm| vm["spec"]["template"]["spec"][field] = value);
    let terms = json!(vec![json!({"matchExpressions": [{"key": "a", "operator": "Exists"}]}); 100]);
    let forbidden: Vec<Value> = (0..100).map(|at| json!({"name": format!("f{at}"), "policy": "forbid"})).collect();
    let affinity =
        json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}});
    let [_, many, long, domains] = fillers();
    vec![
        ("annotations", annotated(bad.clone(), many)),
        ("text of annotations", annotated(bad.clone(), long)),
        ("annotations of renamed domains", annotated(bad.clone(), domains)),
        ("labels", bad.clone().tweak(|vm| vm["metadata"]["labels"] = filler(LABELS + 1, ""))),
        (
            "labels of the guest",
            bad.clone().tweak(|vm| vm["spec"]["template"]["metadata"] = json!({"labels": filler(LABELS + 1, "")})),
        ),
        ("selector", spec("nodeSelector", filler(SELECTOR + 1, ""))),
        ("a value", spec("nodeSelector", json!({"disk": "x".repeat(TEXT + 1)}))),
        ("tolerations", spec("tolerations", json!(vec![json!({"operator": "Exists"}); TOLERATIONS + 1]))),
        (
            "conditions",
            spec("affinity", affinity).tweak(|vm| {
                vm["spec"]["template"]["spec"]["domain"]["cpu"]["features"] = json!(forbidden);
            }),
        ),
    ]
}

#[test]
fn a_policy_that_enforces_is_not_avoided_by_size() {
    let enforced = world(intel(), Vec::new(), Some(Impact::Unschedulable));
    let selecting = World {
        policies: vec![read_policy(
            "pool",
            &json!({"enforce": "Unschedulable", "virtualMachineSelector": {"matchLabels": {"app": "db"}}}),
        )],
        ..world(intel(), Vec::new(), None)
    };
    for (place, bad) in oversized() {
        let stored = vmi_of(&bad);
        for asked in [review(&bad), review(&vm_pool(&bad)), review(&stored), update(&vm("db", SKYLAKE), &bad)] {
            let kind = &asked["request"]["kind"]["kind"];
            let denial =
                denied(&enforced, &asked).unwrap_or_else(|| panic!("{place} of {kind}: the policy is avoided"));
            assert!(denial.message.contains("(policy strict)"), "{place}: {}", denial.message);
            assert!(!denial.causes.is_empty(), "{place}: no field is named");
            if place == "labels of the guest" {
                assert!(
                    denied(&selecting, &asked).is_some(),
                    "{kind}: the label that is selected may be the one cut off"
                );
            }
            let free = world(intel(), Vec::new(), None);
            assert!(denied(&free, &asked).is_none(), "{place} of {kind}: denied without a policy");
        }
    }
}

/// Migrations whose size keeps them, or their guest, from being judged.
#[test]
fn a_migration_does_not_avoid_a_policy_by_size() {
    let large = running("db", "node-a", SKYLAKE).tweak(|vmi| vmi["metadata"]["labels"] = filler(LABELS + 1, ""));
    let plain = vmi(running("db", "node-a", SKYLAKE));
    let Bounded(large): Bounded<Vmi> = serde_json::from_str(&large.to_string()).expect("a VMI");
    let of_large = (ClusterObject::Vmi(Box::new(large)), migration("db"));
    let labelled = (plain.clone(), migration("db").tweak(|vmim| vmim["metadata"]["labels"] = filler(LABELS + 1, "")));
    let added = (plain, migration("db").tweak(|vmim| vmim["spec"]["addedNodeSelector"] = filler(SELECTOR + 1, "")));
    for (place, (guest, migration)) in [("guest", of_large), ("labels", labelled), ("addedNodeSelector", added)] {
        for (enforce, expected) in [(Some(Impact::Pinned), true), (None, false)] {
            let world = world(intel(), vec![guest.clone()], enforce);
            assert_eq!(denied(&world, &review(&migration)).is_some(), expected, "{place}, {enforce:?}");
            assert!(denied(&world, &by(review(&migration), CONTROLLER)).is_none(), "{place}: a drain is stopped");
        }
    }
}

/// A controller, an exempt user, and an update of an object that was too large before.
#[test]
fn who_is_exempt_is_not_denied_for_size() {
    let enforced = world(intel(), Vec::new(), Some(Impact::Unschedulable));
    for (place, bad) in oversized() {
        for asked in [
            by(review(&vmi_of(&bad)), CONTROLLER),
            by(review(&bad), "backup"),
            update(&bad, &bad.clone().tweak(|vm| vm["spec"]["template"]["spec"]["hostname"] = json!("other"))),
        ] {
            assert!(denied(&enforced, &asked).is_none(), "{place}: {}", asked["request"]["userInfo"]);
        }
    }
}

/// A text that is cut would be read as another one: `amd64` as another architecture, a model as the common one.
#[test]
fn no_text_is_read_in_part_whatever_fills_the_object() {
    let world = World {
        policies: vec![read_policy("pool", &json!({"commonModel": {"name": SKYLAKE, "otherwise": "Deny"}}))],
        ..world(intel(), Vec::new(), None)
    };
    let longer = format!("{SKYLAKE}-v2");
    for (architecture, model) in [("amd64", "host-passthrough"), ("amd64", longer.as_str()), ("", longer.as_str())] {
        let mut cut = 0;
        for last in 0..=TEXT {
            let mut labels = filler(ALL_TEXT / 1016 - 1, &"x".repeat(1001));
            labels["b"] = json!("y".repeat(TEXT / 2));
            labels["c"] = json!("z".repeat(last));
            let object = vm("db", model).tweak(|vm| {
                vm["spec"]["template"]["metadata"] = json!({"labels": labels});
                vm["spec"]["template"]["spec"]["architecture"] = json!(architecture);
            });
            let text = object.to_string();
            let Bounded(read): Bounded<VirtualMachine> = serde_json::from_str(&text).expect("a VM");
            let spec = &read.spec.template.spec;
            for (read, whole) in [(spec.architecture.as_str(), architecture), (spec.cpu_model(), model)] {
                assert!(read.is_empty() || read == whole, "{last}: {read} is read for {whole}");
            }
            let is_whole = spec.architecture == architecture && spec.cpu_model() == model;
            cut += usize::from(!is_whole);
            if !is_whole || last % 50 == 0 {
                assert!(
                    denied(&world, &review(&object)).is_some(),
                    "{last}: {architecture} {model} escapes the policy"
                );
            }
        }
        assert_eq!(cut, 0, "a text in no list is always read, whatever fills the object");
    }
}

/// An object that complies, as far as it was read, is not denied for its model.
#[test]
fn a_large_guest_on_the_common_model_uses_it() {
    let world = World {
        policies: vec![read_policy("pool", &json!({"commonModel": {"name": SKYLAKE, "otherwise": "Deny"}}))],
        ..world(intel(), Vec::new(), None)
    };
    let large = vm("db", SKYLAKE).tweak(|vm| vm["spec"]["template"]["spec"]["nodeSelector"] = filler(SELECTOR + 1, ""));
    assert!(denied(&world, &review(&large)).is_none());
}

/// Every kind of object that holds a guest names the field that it has.
#[test]
fn the_conditions_that_are_too_many_have_the_path_of_the_reviewed_kind() {
    let features: Vec<Value> = (0..60).map(|at| json!({"name": format!("f{at}"), "policy": "forbid"})).collect();
    let terms: Vec<Value> = (0..40)
        .map(|at| json!({"matchExpressions": [{"key": "zone", "operator": "In", "values": [format!("z{at}")]}]}))
        .collect();
    let required = json!({"nodeSelectorTerms": terms});
    let bad = vm("db", SKYLAKE).tweak(|vm| {
        let spec = &mut vm["spec"]["template"]["spec"];
        spec["domain"]["cpu"]["features"] = json!(features);
        spec["affinity"] = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}});
    });
    let mut seen = BTreeSet::new();
    for object in [bad.clone(), vmi_of(&bad), replica_set(&bad), vm_pool(&bad)] {
        let kind = object["kind"].as_str().expect("a kind").to_owned();
        let root = match kind.as_str() {
            "VirtualMachine" | "VirtualMachineInstanceReplicaSet" => "spec.template.spec",
            "VirtualMachinePool" => "spec.virtualMachineTemplate.spec.template.spec",
            _ => "spec",
        };
        let pointer = format!("/{root}/domain/cpu/features").replace('.', "/");
        assert!(object.pointer(&pointer).is_some_and(Value::is_array), "{kind}: the test names another field");
        let enforced = world(intel(), Vec::new(), Some(Impact::Unschedulable));
        let denial = denied(&enforced, &review(&object)).unwrap_or_else(|| panic!("{kind}: the policy is avoided"));
        let field = format!("{root}.domain.cpu.features");
        let said = format!("too large to judge: {field} adds more than 1024 conditions");
        assert!(denial.message.contains(&said), "{kind}: {}", denial.message);
        assert!(denial.causes.iter().any(|cause| cause.field == field), "{kind}: {:?}", denial.causes);
        seen.insert(kind);
    }
    assert_eq!(seen.len(), 4);
}

/// A model that is not read is not said to be the default one.
#[test]
fn a_model_that_is_too_long_is_not_taken_for_another_one() {
    let bad = vm("db", &"m".repeat(TEXT + 1));
    for object in [bad.clone(), vmi_of(&bad), running("db", "node-a", &"m".repeat(TEXT + 1))] {
        let text = object.to_string();
        let kind = object["kind"].as_str().expect("a kind").to_owned();
        let object = if kind == "VirtualMachine" {
            let Bounded(read): Bounded<VirtualMachine> = serde_json::from_str(&text).expect("a VM");
            ClusterObject::VirtualMachine(Box::new(read))
        } else {
            let Bounded(read): Bounded<Vmi> = serde_json::from_str(&text).expect("a VMI");
            ClusterObject::Vmi(Box::new(read))
        };
        let rows = crate::answers::audit::audit(&world(intel(), vec![object], None), &|| false);
        let row = rows.first().expect("a guest");
        assert_eq!(
            (row.cpu.as_str(), &row.model, row.is_model_unread),
            ("a CPU model that is too large to read", &None, true),
            "{kind}: another model is stated"
        );
    }
}
