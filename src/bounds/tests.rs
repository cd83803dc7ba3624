use std::collections::BTreeMap;

use proptest::prelude::*;
use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::kubevirt::wire::{Node, Pod, Vmi};

fn vmi(json: &Value) -> Vmi {
    serde_json::from_str::<Bounded<Vmi>>(&json.to_string()).unwrap().0
}

fn map(count: usize) -> Value {
    (0..count).map(|at| (format!("key-{at:05}"), json!("true"))).collect::<serde_json::Map<_, _>>().into()
}

fn required(terms: &Value) -> Value {
    json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}})
}

#[rstest]
#[case::selector(json!({"spec": {"nodeSelector": map(SELECTOR)}}), json!({"spec": {"nodeSelector": map(SELECTOR + 1)}}),
    "spec.nodeSelector holds more than 1024 entries")]
#[case::labels(json!({"metadata": {"labels": map(LABELS)}}), json!({"metadata": {"labels": map(LABELS + 1)}}),
    "metadata.labels holds more than 2048 entries")]
#[case::tolerations(json!({"spec": {"tolerations": vec![json!({}); TOLERATIONS]}}),
    json!({"spec": {"tolerations": vec![json!({}); TOLERATIONS + 1]}}), "spec.tolerations holds more than 256 entries")]
#[case::terms(json!({"spec": {"affinity": required(&json!(vec![json!({}); TERMS]))}}),
    json!({"spec": {"affinity": required(&json!(vec![json!({}); TERMS + 1]))}}),
    "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms holds more than 128 entries")]
#[case::model(json!({"spec": {"domain": {"cpu": {"model": "m".repeat(TEXT)}}}}),
    json!({"spec": {"domain": {"cpu": {"model": "m".repeat(TEXT + 1)}}}}), "spec.domain.cpu.model is longer than 1024 bytes")]
#[case::a_value(json!({"spec": {"nodeSelector": {"disk": "v".repeat(TEXT)}}}),
    json!({"spec": {"nodeSelector": {"disk": "v".repeat(TEXT + 1)}}}), "spec.nodeSelector.disk is longer than 1024 bytes")]
#[case::a_key(json!({"spec": {"nodeSelector": {"k".repeat(TEXT): ""}}}),
    json!({"spec": {"nodeSelector": {"k".repeat(TEXT + 1): ""}}}), "spec.nodeSelector is longer than 1024 bytes")]
fn beyond_a_bound_an_object_is_marked(#[case] within: Value, #[case] beyond: Value, #[case] words: &str) {
    assert_eq!(vmi(&within).metadata.excess, None, "a real object would not be judged");
    let marked = vmi(&beyond).metadata.excess.map(|excess| excess.to_string());
    assert_eq!(marked.as_deref(), Some(words));
}

/// Each list is within its bound, but together they are not.
#[test]
fn all_entries_together_are_bounded() {
    let values: Vec<String> = (0..VALUES).map(|at| at.to_string()).collect();
    let rule = json!({"key": "zone", "operator": "In", "values": values});
    let found = vmi(&json!({"spec": {"affinity": required(&json!([{"matchExpressions": [rule, rule, rule]}]))}}));
    let words = found.metadata.excess.unwrap().to_string();
    assert!(
        words.ends_with("values goes beyond the 4096 entries that its lists and maps may have together"),
        "{words}"
    );
}

#[test]
fn all_texts_together_are_bounded() {
    let selector: BTreeMap<String, String> = (0..200).map(|at| (at.to_string(), "a".repeat(TEXT))).collect();
    let found = vmi(&json!({"spec": {"nodeSelector": selector}}));
    let kept: usize = found.spec.node_selector.iter().map(|(key, value)| key.len() + value.len()).sum();
    assert!(kept <= ALL_TEXT, "{kept} bytes are kept");
    let words = found.metadata.excess.unwrap().to_string();
    assert!(
        words.ends_with("goes beyond the 131072 bytes that the texts of its lists and maps may have together"),
        "{words}"
    );
}

/// Lists and maps that use up the bytes of all texts, before and after the texts that say what a guest is.
#[rstest]
#[case::labels(json!({"metadata": {"labels": (0..1200).map(|at| (format!("l{at:04}{}", "k".repeat(50)), json!("v".repeat(60))))
    .collect::<serde_json::Map<_, _>>()}}))]
#[case::selector(json!({"spec": {"nodeSelector": (0..200).map(|at| (at.to_string(), json!("a".repeat(TEXT))))
    .collect::<serde_json::Map<_, _>>()}}))]
#[case::owners(json!({"metadata": {"ownerReferences": vec![json!({"name": "n".repeat(TEXT), "uid": "u".repeat(TEXT),
    "kind": "k".repeat(TEXT)}); OWNERS]}}))]
fn a_guest_whose_lists_are_too_large_keeps_its_node_model_and_phase(#[case] large: Value) {
    let mut object = json!({"metadata": {"name": "db", "namespace": "shop", "uid": "u-1"},
        "spec": {"domain": {"cpu": {"model": "Haswell"}}, "evictionStrategy": "LiveMigrate"},
        "status": {"nodeName": "node-a", "phase": "Running"}});
    for (part, fields) in large.as_object().unwrap() {
        for (field, value) in fields.as_object().unwrap() {
            object[part][field] = value.clone();
        }
    }
    let found = vmi(&object);
    assert!(found.metadata.excess.is_some(), "the case is not too large");
    let read = [&found.metadata.name, &found.metadata.uid, &found.spec.eviction_strategy, &found.status.node_name];
    assert_eq!(read, ["db", "u-1", "LiveMigrate", "node-a"], "a drain of its node would say that there is no guest");
    assert_eq!((found.spec.cpu_model(), found.status.phase.as_str()), ("Haswell", "Running"));
}

/// The status comes last in an object, and its conditions say whether a guest can be migrated.
#[test]
fn a_guest_whose_labels_are_too_large_keeps_its_conditions() {
    let labels: serde_json::Map<_, _> = (0..1200).map(|at| (format!("{at:060}"), json!("v".repeat(60)))).collect();
    let found = vmi(&json!({"metadata": {"labels": labels}, "spec": {"nodeSelector": {"zone": "z"}},
        "status": {"conditions": [{"type": "LiveMigratable", "status": "False"}]}}));
    assert!(found.metadata.excess.is_some_and(|excess| excess.cuts_labels()), "the case is not too large");
    assert_eq!(found.status.conditions[0].kind, "LiveMigratable", "a drain would wait for a migration");
    assert_eq!(found.spec.node_selector["zone"], "z");
}

/// libvirt's messages are long.
#[rstest]
#[case::condition(json!({"status": {"conditions": [{"type": "Ready", "message": "ä".repeat(100_000)}]}}))]
#[case::refusal(json!({"status": {"migrationState": {"failureReason": "ä".repeat(100_000)}}}))]
fn a_text_that_is_only_quoted_is_cut_and_the_object_is_judged(#[case] object: Value) {
    let found = vmi(&object);
    assert_eq!(found.metadata.excess, None);
    let Vmi { status, .. } = found;
    let texts = status.conditions.into_iter().map(|condition| condition.message);
    let texts = texts.chain(status.migration_state.map(|state| state.failure_reason));
    assert_eq!(texts.map(|text| text.len()).max(), Some(QUOTED), "cut between characters");
}

proptest! {
    /// Operators keep whole objects in annotations; who wants an object to be misread fills it with them.
    #[test]
    fn annotations_without_a_meaning_change_nothing(
        count in prop_oneof![0..20_usize, 1000..1100_usize],
        length in prop_oneof![0..5_usize, 900..2000_usize],
        domain in prop_oneof![Just("example.io/other"), Just("kubevirt.example.io/migrationJobName"), Just("")],
        mine in proptest::sample::select(vec!["true", "", "another"]),
    ) {
        let mut annotations: BTreeMap<String, String> =
            (0..count).map(|at| (format!("a{at:05}.{domain}"), "ä".repeat(length / 2))).collect();
        annotations.insert("cpufit.io/relax".to_owned(), mine.to_owned());
        let found = vmi(&json!({"metadata": {"annotations": annotations, "labels": map(5)}}));
        prop_assert_eq!(found.metadata.excess, None);
        prop_assert_eq!(found.metadata.annotations.get("cpufit.io/relax").map(String::as_str), Some(mine));
        prop_assert!(found.metadata.annotations.len() <= 1 + RENAMED_ANNOTATIONS, "the others are kept in memory");
        prop_assert_eq!(found.metadata.labels.len(), 5);
    }
}

#[test]
fn an_annotation_with_a_meaning_is_read_whole_or_not_at_all() {
    for length in [1, TEXT + 1, QUOTED, QUOTED + 1] {
        let value = "v".repeat(length);
        let found = vmi(&json!({"metadata": {"annotations": {"cpufit.io/policy": value}}}));
        let expected = if length > QUOTED { "" } else { value.as_str() };
        assert_eq!(found.metadata.annotations["cpufit.io/policy"], expected, "{length}");
        assert_eq!(found.metadata.excess, None);
    }
}

#[test]
fn fields_that_are_not_read_have_no_bound() {
    let object =
        json!({"spec": {"accessCredentials": vec![json!({"name": "x".repeat(5000)}); 5000]}, "more": map(20_000)});
    assert_eq!(vmi(&object).metadata.excess, None);
}

/// A label that was cut off may be the one that a policy selects.
#[rstest]
#[case::too_many(json!({"metadata": {"labels": map(LABELS + 1)}}), true)]
#[case::too_long(json!({"metadata": {"labels": {"app": "v".repeat(TEXT + 1)}}}), true)]
#[case::elsewhere(json!({"metadata": {"labels": map(3)}, "spec": {"nodeSelector": map(SELECTOR + 1)}}), false)]
#[case::after_another(
    json!({"metadata": {"generateName": "n".repeat(TEXT + 1), "labels": map(LABELS + 1)}}), true)]
fn an_object_with_cut_labels_is_marked_as_cut(#[case] object: Value, #[case] expected: bool) {
    assert_eq!(vmi(&object).metadata.excess.unwrap().cuts_labels(), expected);
}

#[test]
fn messages_about_bounds_quote_no_text_of_the_object() {
    let object = json!({"spec": {"nodeSelector": {"\u{1b}[31mrm -rf /": "v".repeat(TEXT + 1)}}});
    assert_eq!(vmi(&object).metadata.excess.unwrap().field(), "spec.nodeSelector");
}

/// Text, borrowed or with escapes, and parsed values: the same part is kept.
#[test]
fn a_pod_keeps_no_more_than_the_bound() {
    let object =
        json!({"metadata": {"labels": {"a": "\n".repeat(TEXT + 1)}}, "spec": {"nodeSelector": map(SELECTOR + 5)}});
    let text = object.to_string();
    let Bounded(pod): Bounded<Pod<'_>> = serde_json::from_str(&text).unwrap();
    assert_eq!(pod.spec.node_selector.0.len(), SELECTOR);
    assert_eq!(pod.metadata.labels.get("a"), Some(""), "a part of a text would be another text");
    assert_eq!(
        pod.metadata.excess.map(|excess| excess.to_string()).as_deref(),
        Some("metadata.labels.a is longer than 1024 bytes")
    );
}

/// A field's name with escapes is the same field.
#[test]
fn an_escaped_field_name_does_not_evade_the_bound() {
    let text =
        json!({"spec": {"nodeSelector": map(SELECTOR + 1)}}).to_string().replace("nodeSelector", r"nodeSelecto\u0072");
    let Bounded(found): Bounded<Vmi> = serde_json::from_str(&text).unwrap();
    assert!(found.metadata.excess.is_some() && found.spec.node_selector.len() <= SELECTOR);
}

#[test]
fn errors_name_the_type_and_path_in_the_object() {
    let wrong = r#"{"spec": {"unschedulable": "yes"}}"#;
    let error = serde_json::from_str::<Bounded<Node>>(wrong).unwrap_err().to_string();
    assert!(error.starts_with("invalid type: string \"yes\", expected a boolean"), "{error}");
    let deserializer = &mut serde_json::Deserializer::from_str(wrong);
    let error = serde_path_to_error::deserialize::<_, Bounded<Node>>(deserializer).unwrap_err();
    assert_eq!(error.path().to_string(), "spec.unschedulable");
}
