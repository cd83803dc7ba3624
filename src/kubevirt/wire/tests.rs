use std::borrow::Cow;

use super::*;
use rstest::rstest;

#[rstest]
#[case::labels_list(r#"{"metadata":{"labels":["a"]}}"#)]
#[case::metadata_list(r#"{"metadata":["db"]}"#)]
#[case::number_for_text(r#"{"metadata":{"name":7}}"#)]
#[case::number_as_value(r#"{"spec":{"nodeSelector":{"a":1}}}"#)]
#[case::object_as_value(r#"{"spec":{"nodeSelector":{"a":{}}}}"#)]
#[case::terms_object(
    r#"{"spec":{"affinity":{"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":{}}}}}}"#
)]
fn objects_that_no_api_server_sends_are_refused(#[case] json: &str) {
    let read = serde_json::from_str::<Pod<'_>>(json);
    assert!(read.is_err(), "{json}: a wrong verdict instead of a reason: {read:?}");
}

#[test]
fn nulls_are_absent_and_unknown_fields_are_skipped() {
    let json = r#"{"metadata":{"labels":null,"ownerReferences":null,"new":1},"spec":{"nodeSelector":{"a":null},"affinity":null,
        "tolerations":null,"nodeName":null},"status":null,"more":[1]}"#;
    let pod: Pod<'_> = serde_json::from_str(json).unwrap();
    assert_eq!(pod.spec.node_selector.get("a"), Some(""), "Go reads a null value as the empty text");
    assert!(pod.metadata.labels.0.is_empty());
}

#[test]
fn a_repeated_key_keeps_its_last_value() {
    let texts: Texts<'_> = serde_json::from_str(r#"{"b":"1","a":"2","b":"3"}"#).unwrap();
    assert_eq!(texts.get("b"), Some("3"), "Go's decoder, and so the API server, keeps the last");
    assert_eq!(texts.0.len(), 2);
}

#[test]
fn text_without_escapes_is_borrowed() {
    let texts: Texts<'_> = serde_json::from_str(r#"{"plain":"text","esc\u0061ped":"te\nxt"}"#).unwrap();
    let borrowed = |text: &Cow<'_, str>| matches!(text, Cow::Borrowed(_));
    assert_eq!(texts.get("escaped"), Some("te\nxt"));
    assert!(texts.0.iter().any(|(k, v)| borrowed(k) && borrowed(v)), "a launcher pod would be copied whole");
}
