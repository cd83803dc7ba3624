//! Tests of reviews that no API server sent: which of their text can reach Events.

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::report::EventKind;

/// A text that a forger would show to people. It is valid as a label, but not with the text around it.
const WORDS: &str = "CALL-THIS-NUMBER";

/// Builds a fleet on which each of [`objects`] gets an Event in one of the stages, with all known objects.
fn scene() -> World {
    let db = running("db", "node-a", "host-model");
    let inherited = launcher(&db, [feature("hle"), feature("amd-stibp")]);
    let known = |name| ClusterObject::VirtualMachine(Box::new(read(vm(name, ""))));
    let instancetype =
        ClusterObject::Instancetype(read(json!({"metadata": {"name": "u1", "namespace": "shop"}, "spec": {}})));
    let preference = ClusterObject::Preference(read(json!({"metadata": {"name": "p1"}, "spec": {}})));
    World {
        cluster: cluster(
            "1.9.0",
            intel(),
            [vmi(db), inherited, known("db"), known("web"), known("lost"), instancetype, preference],
        ),
        policies: vec![read_policy(
            "pool",
            &json!({"commonModel": {"name": "Skylake-Server-noTSX-IBRS"}, "launcherSelectors": "DropStale"}),
        )],
    }
}

/// Returns one object of each kind that Events are written for, with a value in every field that is read.
fn objects() -> Vec<Value> {
    let expression = json!({"key": "rack", "operator": "In", "values": ["r1"]});
    let terms = json!([{"matchExpressions": [expression], "matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]}]);
    let affinity =
        json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}});
    let tolerations = json!([{"key": "k", "operator": "Equal", "value": "v", "effect": "NoSchedule"}]);
    let annotations = json!({
        "cpufit.io/relax": "true", "cpufit.io/policy": "pool", "cpufit.io/replaced-model": "Unset", "cpufit.io/sent-model": "Unset",
        "cpufit.io/dropped-selectors": "a", "kubevirt.io/migrationJobName": "m", "kubevirt.io/create-migration-target": "true",
        "example.com/other": "x",
    });
    let labels = json!({"kubevirt.io": "virt-launcher", "kubevirt.io/migrationJobUID": "j", "kubevirt.io/nodeName": "node-a", "app": "x"});
    let owner =
        |kind: &str, name: &str, uid: &str| json!([{"kind": kind, "name": name, "uid": uid, "controller": true}]);
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"generateName": "virt-launcher-db-", "name": "", "namespace": "shop", "labels": labels, "annotations": annotations,
            "ownerReferences": owner("VirtualMachineInstance", "db", "uid-db"), "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"nodeSelector": {feature("amd-stibp"): "true", feature("avx"): "true", "zone": "z"}, "affinity": affinity, "tolerations": tolerations},
        "status": {"phase": "Pending"},
    });
    let guest = json!({
        "architecture": "amd64", "nodeSelector": {"zone": "z"}, "affinity": affinity, "tolerations": tolerations, "evictionStrategy": "LiveMigrate",
        "domain": {
            "cpu": {"model": "EPYC-Turin", "features": [{"name": "aes", "policy": "require"}], "realtime": {"mask": "0-3,^1"}},
            "machine": {"type": "q35"}, "launchSecurity": {"snp": {"x": "y"}},
        },
    });
    let started = |model: &str| {
        running("web", "", model).tweak(|vmi| {
        vmi["metadata"]["annotations"] = annotations.clone();
        // The target of a migration that its source has reported: it is judged.
        vmi["metadata"]["labels"] = json!({"app": "x", "kubevirt.io/migrationTargetNodeName": "node-a"});
        vmi["spec"] = guest.clone();
        vmi["spec"]["domain"]["cpu"]["model"] = json!(model);
        vmi["status"] = json!({
            "conditions": [{"type": "LiveMigratable", "status": "False", "reason": "R", "message": "m"}],
            "migrationState": {"failed": true, "failureReason": "r", "sourceNode": "node-a", "targetNode": "node-c"},
        });
    })
    };
    let plain = |vmi: &mut Value| vmi["spec"] = json!({"domain": {"cpu": {"model": ""}}, "architecture": "amd64"});
    let changed = vm("lost", "").tweak(|vm| {
        vm["spec"]["template"]["spec"] = guest.clone();
        vm["spec"]["template"]["metadata"]["annotations"] = annotations.clone();
        vm["spec"]["instancetype"] = json!({"name": "u1", "kind": "virtualmachineinstancetype"});
        vm["spec"]["preference"] = json!({"name": "p1"});
    });
    let asked = migration("db").tweak(|vmim| {
        vmim["metadata"]["annotations"] = annotations.clone();
        vmim["metadata"]["annotations"]["cpufit.io/relax"] = json!("false");
        vmim["spec"]["addedNodeSelector"] = json!({"zone": "z"});
    });
    vec![pod, started("EPYC-Turin"), started("").tweak(plain), changed, asked]
}

/// Returns the reports of both stages.
fn reports(world: &World, object: &Value) -> Vec<EventReport> {
    let bytes = by(review(object), CONTROLLER).to_string();
    let Ok(request) = review::decode(bytes.as_bytes()) else { return Vec::new() };
    let answers =
        [Webhook::Mutate, Webhook::Validate].map(|webhook| answer(&ReviewContext::new(world), webhook, &request));
    answers.into_iter().flatten().flat_map(|answer| answer.reports).collect()
}

/// Calls `change` with each text of an object, keys included.
fn texts(object: &mut Value, change: &mut dyn FnMut(&mut String)) {
    match object {
        Value::String(text) => change(text),
        Value::Array(items) => items.iter_mut().for_each(|item| texts(item, change)),
        Value::Object(fields) => {
            *fields = std::mem::take(fields)
                .into_iter()
                .map(|(mut key, mut value)| {
                    change(&mut key);
                    texts(&mut value, change);
                    (key, value)
                })
                .collect();
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn count(object: &Value) -> usize {
    let mut count = 0;
    texts(&mut object.clone(), &mut |_| count += 1);
    count
}

/// Returns the object with one of its texts changed.
fn with_text(mut object: Value, which: usize, change: impl Fn(&str) -> String) -> Value {
    let mut left = which + 1;
    texts(&mut object, &mut |text| {
        left = left.saturating_sub(1);
        if left == 0 {
            *text = change(text);
            left = usize::MAX;
        }
    });
    object
}

#[test]
fn each_object_gets_an_event() {
    for object in objects() {
        let reports = reports(&scene(), &object);
        assert!(!reports.is_empty(), "nothing is shown by changing {object:#}");
        for report in reports {
            assert!(!report.note.as_str().contains("details are left out"), "{report:?} for {object:#}");
        }
    }
}

#[test]
fn text_of_any_field_reaches_no_event() {
    let world = scene();
    for object in objects() {
        for which in 0..count(&object) {
            let forged = with_text(object.clone(), which, |old| format!("{old} {WORDS}"));
            for report in reports(&world, &forged) {
                assert!(!report.note.as_str().contains(WORDS), "{report:?} of {forged:#}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    /// An Event repeats no text of an object that is not a name or label.
    #[test]
    fn text_of_a_forged_review_reaches_no_event(
        object in prop::sample::select(objects()),
        which in any::<Index>(),
        before in "[ -~]{0,8}|\\PC{0,4}|[\\n\\r\\t\\x1b]",
        after in "[ -~]{0,8}|\\PC{0,4}|[\\n\\r\\t\\x1b]",
    ) {
        let words = format!("{before} {WORDS}{after}");
        let forged = with_text(object.clone(), which.index(count(&object)), |old| format!("{old}{words}"));
        for report in reports(&scene(), &forged) {
            prop_assert!(!report.note.as_str().contains(WORDS), "{report:?} of {forged:#}");
        }
    }

    /// Events are about known objects with their own UIDs, regardless of the review's content.
    #[test]
    fn events_are_about_known_objects(
        object in prop::sample::select(objects()),
        which in any::<Index>(),
        text in "shop|db|web|lost|uid-db|vm-db|vm-web|other|VirtualMachine|[a-z]{1,5}|",
    ) {
        let forged = with_text(object.clone(), which.index(count(&object)), |_| text.clone());
        for report in reports(&scene(), &forged) {
            let (name, kind) = (report.regarding.name(), report.regarding.kind());
            let expected = if kind == EventKind::Vmi { format!("uid-{name}") } else { format!("vm-{name}") };
            prop_assert_eq!(report.regarding.uid(), expected);
            prop_assert!(report.regarding.namespace() == "shop" && ["db", "web", "lost"].contains(&name));
        }
    }
}

/// Labels are repeated, because an Event must be able to name the missing one.
#[test]
fn a_label_is_repeated() {
    let object = migration("db").tweak(|vmim| vmim["spec"]["addedNodeSelector"] = json!({WORDS: "z"}));
    let notes = reports(&scene(), &object);
    assert!(notes.iter().any(|report| report.note.as_str().contains(WORDS)), "{notes:#?}");
}
