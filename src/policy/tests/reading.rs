//! Tests of reading a policy: the meaning of its text, and its problems.

use super::*;

#[test]
fn every_field_of_a_policy_is_read() {
    let policy = read_spec(json!({
        "namespaceSelector": {"matchLabels": {"env": "prod"}},
        "virtualMachineSelector": {
            "matchExpressions": [{"key": "tier", "operator": "In", "values": ["db", "web"]}],
        },
        "nodeSelector": {"matchExpressions": [{"key": "cpu-vendor.node.kubevirt.io/Intel", "operator": "Exists"}]},
        "enforce": "Unschedulable",
        "warn": "Pinned",
        "audit": "None",
        "commonModel": {"name": "Cascadelake-Server", "replaces": ["Named"], "otherwise": "Deny", "announce": "Event"},
        "launcherSelectors": "DropStale",
        "exemptions": {"users": ["admin"], "namespaces": ["infra"], "controllers": false},
    }));
    let expression = |key: &str, operator, values: &[&str]| LabelSelector {
        match_expressions: vec![LabelCondition {
            key: key.to_owned(),
            operator,
            values: values.iter().map(|&value| value.to_owned()).collect(),
        }],
        ..LabelSelector::default()
    };
    let expected = Policy {
        name: "intel-pool".to_owned(),
        namespace_selector: LabelSelector { match_labels: labels("env=prod"), ..LabelSelector::default() },
        virtual_machine_selector: expression("tier", Operator::In, &["db", "web"]),
        node_selector: expression("cpu-vendor.node.kubevirt.io/Intel", Operator::Exists, &[]),
        enforce: Dial::From(Impact::Unschedulable),
        warn: Dial::From(Impact::Pinned),
        audit: Dial::Off,
        common_model: Some(CommonModel {
            name: "Cascadelake-Server".to_owned(),
            replaces: vec![ReplacedMode::Named],
            otherwise: Otherwise::Deny,
            announce: Announce::Event,
        }),
        launcher_selectors: LauncherSelectors::DropStale,
        exemptions: Exemptions {
            users: vec!["admin".into()],
            namespaces: vec!["infra".to_owned()],
            controllers: false,
        },
    };
    assert_eq!(policy, expected, "a field that an administrator set would be lost");
}

#[rstest]
#[case::empty(json!({}))]
#[case::nulls(json!({"enforce": null, "exemptions": null, "namespaceSelector": null, "commonModel": null}))]
#[case::empty_objects(json!({"exemptions": {}, "namespaceSelector": {}, "nodeSelector": {"matchLabels": null}}))]
fn omitted_fields_have_the_builtin_defaults(#[case] spec: Value) {
    let expected = Policy { name: "intel-pool".to_owned(), ..Policy::builtin() };
    assert_eq!(read_spec(spec), expected, "a policy would do more than it says");
}

#[test]
fn a_common_model_has_defaults() {
    let model = read_spec(json!({"commonModel": {"name": "EPYC-Rome"}})).common_model.expect("it was given");
    assert_eq!(model.replaces, [ReplacedMode::Unset, ReplacedMode::HostModel], "guests would keep their host's CPU");
    assert_eq!(
        model.otherwise,
        Otherwise::Warn,
        "guests would be refused without a setting for it, or users not warned"
    );
    let none = read_spec(json!({"commonModel": {"name": "EPYC-Rome", "replaces": []}})).common_model;
    assert_eq!(none.map(|model| model.replaces), Some(vec![]), "an empty list must not replace anything");
}

#[test]
fn a_dump_of_a_live_policy() {
    let mut document = with_spec(json!({"enforce": "Pinned"}));
    document["metadata"] = json!({
        "name": "intel-pool", "uid": "1", "resourceVersion": "7", "generation": 2, "labels": {"a": "b"},
        "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}"},
        "creationTimestamp": "2026-01-01T00:00:00Z", "managedFields": [{"manager": "kubectl"}],
    });
    document["status"] = json!({"nodes": 5, "conditions": []});
    let policy = read(&document).expect("what kubectl prints");
    assert_eq!(policy.enforce, Dial::From(Impact::Pinned), "kubectl get -o yaml could not be used as a file");
}

#[rstest]
#[case::misspelled(json!({"enfroce": "None"}), "spec.enfroce: unknown field, did you mean enforce?")]
#[case::in_exemptions(
    json!({"exemptions": {"user": []}}),
    "spec.exemptions.user: unknown field, did you mean users?"
)]
#[case::in_the_wrong_object(json!({"users": []}), "spec.users: unknown field, did you mean spec.exemptions.users?")]
#[case::unlike_any(
    json!({"exemptions": {"zebra": 1}}),
    "spec.exemptions.zebra: unknown field; known are users, namespaces, controllers"
)]
#[case::wrong_word(
    json!({"warn": "pinned"}),
    "spec.warn: \"pinned\" is not one of None, Unschedulable, Pinned, Fragile; did you mean Pinned?"
)]
#[case::far_word(
    json!({"launcherSelectors": "Trim"}),
    "spec.launcherSelectors: \"Trim\" is not one of Keep, DropStale, Common"
)]
#[case::reduced_to_nothing(
    json!({"launcherSelectors": "Common"}),
    "spec.launcherSelectors: Common needs commonModel: name the CPU model that the selectors are reduced to"
)]
#[case::number_for_word(json!({"audit": 3}), "spec.audit: must be a string, is a number")]
#[case::word_for_switch(
    json!({"exemptions": {"controllers": "yes"}}),
    "spec.exemptions.controllers: must be true or false, is a string"
)]
#[case::list_for_object(json!({"nodeSelector": []}), "spec.nodeSelector: must be an object, is a list")]
#[case::text_for_list(
    json!({"exemptions": {"users": "bob"}}),
    "spec.exemptions.users: must be a list, is a string"
)]
#[case::no_model_name(
    json!({"commonModel": {}}),
    "spec.commonModel.name: is required: name a CPU model, such as Skylake-Server-noTSX-IBRS"
)]
#[case::empty_model_name(
    json!({"commonModel": {"name": ""}}),
    "spec.commonModel.name: must not be empty: name a CPU model, such as Skylake-Server-noTSX-IBRS"
)]
#[case::mode_as_model(
    json!({"commonModel": {"name": "host-model"}}),
    "spec.commonModel.name: host-model differs from host to host: name a CPU model that nodes share"
)]
#[case::passthrough_as_model(
    json!({"commonModel": {"name": "host-passthrough"}}),
    "spec.commonModel.name: host-passthrough differs from host to host: name a CPU model that nodes share"
)]
#[case::no_label_name(
    json!({"commonModel": {"name": "EPYC Rome"}}),
    "spec.commonModel.name: \"EPYC Rome\" is not a CPU model's name: only letters, digits, '-', '_' and '.', \
     beginning and ending with a letter or digit"
)]
#[case::replaced_twice(
    json!({"commonModel": {"name": "m", "replaces": ["Unset", "Named", "Unset"]}}),
    "spec.commonModel.replaces[2]: \"Unset\" is listed twice"
)]
#[case::replaced_unknown(
    json!({"commonModel": {"name": "m", "replaces": ["Host-Model"]}}),
    "spec.commonModel.replaces[0]: \"Host-Model\" is not one of Unset, HostModel, HostPassthrough, Named; \
     did you mean HostModel?"
)]
#[case::empty_user(json!({"exemptions": {"users": ["a", ""]}}), "spec.exemptions.users[1]: must not be empty")]
#[case::bad_namespace(
    json!({"exemptions": {"namespaces": ["Infra"]}}),
    "spec.exemptions.namespaces[0]: \"Infra\" is not a namespace: only lower-case letters, digits and '-', \
     beginning and ending with a letter or digit, at most 63"
)]
#[case::bad_key(
    json!({"namespaceSelector": {"matchLabels": {"a b": "c"}}}),
    "spec.namespaceSelector.matchLabels[a b]: not a label key: only letters, digits, '-', '_' and '.', \
     beginning and ending with a letter or digit"
)]
#[case::bad_value(
    json!({"nodeSelector": {"matchLabels": {"a": "-"}}}),
    "spec.nodeSelector.matchLabels[a]: \"-\" is not a label value: only letters, digits, '-', '_' and '.', \
     beginning and ending with a letter or digit"
)]
#[case::number_as_value(
    json!({"nodeSelector": {"matchLabels": {"a": 1}}}),
    "spec.nodeSelector.matchLabels[a]: must be a string, is a number"
)]
#[case::unknown_operator(
    json!({"virtualMachineSelector": {"matchExpressions": [{"key": "a", "operator": "Gt", "values": ["1"]}]}}),
    "spec.virtualMachineSelector.matchExpressions[0].operator: \"Gt\" is not one of In, NotIn, Exists, DoesNotExist"
)]
#[case::no_operator(
    json!({"virtualMachineSelector": {"matchExpressions": [{"key": "a"}]}}),
    "spec.virtualMachineSelector.matchExpressions[0].operator: is required: In, NotIn, Exists, DoesNotExist"
)]
#[case::no_key(
    json!({"virtualMachineSelector": {"matchExpressions": [{"operator": "Exists"}]}}),
    "spec.virtualMachineSelector.matchExpressions[0].key: is required: a condition is about a label"
)]
#[case::no_values(
    json!({"virtualMachineSelector": {"matchExpressions": [{"key": "a", "operator": "NotIn", "values": []}]}}),
    "spec.virtualMachineSelector.matchExpressions[0].values: NotIn needs at least one value"
)]
#[case::needless_values(
    json!({"virtualMachineSelector": {"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["b"]}]}}),
    "spec.virtualMachineSelector.matchExpressions[0].values: Exists takes no values"
)]
fn a_mistake_in_a_policy_is_named_by_field(#[case] spec: Value, #[case] expected: &str) {
    let found = problems(&with_spec(spec).to_string());
    assert_eq!(found, [expected], "a mistake would pass unseen, or the person not know what to write");
}

#[rstest]
#[case::truncated(r#"{"kind":"#, "not JSON: EOF while parsing a value at line 1 column 8")]
#[case::a_list("[]", "must be an object, is a list")]
#[case::wrong_version(
    r#"{"apiVersion":"cpufit.io/v1","kind":"CPUPolicy","metadata":{"name":"a"},"spec":{}}"#,
    "apiVersion: must be cpufit.io/v1alpha1, is \"cpufit.io/v1\""
)]
#[case::wrong_kind(
    r#"{"apiVersion":"cpufit.io/v1alpha1","kind":"CpuPolicy","metadata":{"name":"a"},"spec":{}}"#,
    "kind: must be CPUPolicy, is \"CpuPolicy\""
)]
#[case::no_name(
    r#"{"apiVersion":"cpufit.io/v1alpha1","kind":"CPUPolicy","metadata":{},"spec":{}}"#,
    "metadata.name: is required: it names the policy"
)]
#[case::bad_name(
    r#"{"apiVersion":"cpufit.io/v1alpha1","kind":"CPUPolicy","metadata":{"name":"Intel"},"spec":{}}"#,
    "metadata.name: \"Intel\" is not a name: only lower-case letters, digits, '-' and '.', each part beginning and \
     ending with a letter or digit"
)]
#[case::no_spec(
    r#"{"apiVersion":"cpufit.io/v1alpha1","kind":"CPUPolicy","metadata":{"name":"a"}}"#,
    "spec: is required: with {} every field has its default"
)]
#[case::outside_spec(
    r#"{"apiVersion":"cpufit.io/v1alpha1","kind":"CPUPolicy","metadata":{"name":"a"},"spec":{},"enforce":"None"}"#,
    "enforce: unknown field, did you mean spec.enforce?"
)]
#[case::given_twice(
    r#"{"apiVersion":"cpufit.io/v1alpha1","kind":"CPUPolicy","metadata":{"name":"a"},
        "spec":{"warn":"None","warn":"Pinned"}}"#,
    "spec.warn: is given more than once"
)]
fn a_wrong_document_is_named(#[case] text: &str, #[case] expected: &str) {
    assert_eq!(problems(text), [expected], "a mistake would pass unseen, or the person not know what to write");
}

#[test]
fn an_object_of_another_kind_gets_one_error() {
    let found = problems(r#"{"apiVersion":"v1","kind":"Node","metadata":{"name":"a"},"spec":{"podCIDR":"x"}}"#);
    assert_eq!(
        found,
        ["apiVersion: must be cpufit.io/v1alpha1, is \"v1\"", "kind: must be CPUPolicy, is \"Node\""],
        "the wrong file is drowned in what its fields are not"
    );
}

#[test]
fn all_problems_at_once_in_the_order_of_the_reference() {
    let mut document = with_spec(json!({
        "launcherSelectors": "Trim", "commonModel": {"name": ""}, "enfroce": "None", "audit": "Bad", "warn": true,
        "nodeSelector": {"matchLabels": {"": "x"}},
    }));
    document["kind"] = json!("Policy");
    document["metadata"] = json!({});
    let fields: Vec<String> = problems(&document.to_string())
        .iter()
        .filter_map(|problem| problem.split_once(": ").map(|(field, _)| field.to_owned()))
        .collect();
    assert_eq!(
        fields,
        [
            "kind",
            "metadata.name",
            "spec.nodeSelector.matchLabels[]",
            "spec.warn",
            "spec.audit",
            "spec.commonModel.name",
            "spec.launcherSelectors",
            "spec.enfroce",
        ],
        "a person would have to try again for each mistake"
    );
}

#[test]
fn an_error_about_a_policy_is_readable() {
    let one = read(&with_spec(json!({"enfroce": "None"}))).expect_err("a misspelled field").to_string();
    assert_eq!(one, "CPUPolicy intel-pool: spec.enfroce: unknown field, did you mean enforce?", "one line for one");
    let two = read(&with_spec(json!({"warn": 1, "audit": 2}))).expect_err("two wrong types");
    let (warn, audit) = ("spec.warn: must be a string, is a number", "spec.audit: must be a string, is a number");
    let lines = ["CPUPolicy intel-pool: 2 problems".to_owned(), format!("  {warn}"), format!("  {audit}")];
    assert_eq!(two.lines(), lines, "the person would not find both");
    let line = format!("CPUPolicy intel-pool: 2 problems: {warn}; {audit}");
    assert_eq!(two.to_string(), line, "an Event and a condition have one line");
}

#[test]
fn a_hostile_text_is_cut_and_escaped() {
    let found = problems(&with_spec(json!({"warn": "x\n".repeat(1000), "a\nb": 1})).to_string());
    assert!(!found.is_empty(), "the policy is said to be valid");
    assert!(found.iter().all(|line| !line.contains('\n')), "a line break would forge a line of the report: {found:?}");
    assert!(found.iter().all(|line| line.len() < 400), "a long text would bury the report: {found:?}");
}

proptest! {
    #[test]
    fn a_written_policy_is_read_back_unchanged(
        enforce in dial(), warn in dial(), audit in dial(),
        selectors in proptest::sample::select(LauncherSelectors::ALL.to_vec()),
        replaces in proptest::sample::subsequence(ReplacedMode::ALL.to_vec(), 0..=4),
        match_labels in proptest::collection::btree_map("[a-z]{1,8}", "[a-z0-9]{0,8}", 0..4),
        controllers: bool,
    ) {
        let policy = read_spec(json!({
            "virtualMachineSelector": {"matchLabels": match_labels},
            "enforce": enforce.as_str(), "warn": warn.as_str(), "audit": audit.as_str(),
            "commonModel": {"name": "m", "replaces": replaces.iter().map(|mode| mode.as_str()).collect::<Vec<_>>()},
            "launcherSelectors": selectors.as_str(),
            "exemptions": {"controllers": controllers},
        }));
        let Policy { exemptions, virtual_machine_selector, common_model, .. } = policy;
        let got = (policy.enforce, policy.warn, policy.audit, policy.launcher_selectors, exemptions.controllers);
        prop_assert_eq!(got, (enforce, warn, audit, selectors, controllers), "a field would be lost");
        prop_assert_eq!(virtual_machine_selector.match_labels, match_labels, "other guests would be governed");
        prop_assert_eq!(common_model.map(|model| model.replaces), Some(replaces), "other guests would change");
    }

    #[test]
    fn no_text_makes_reading_a_policy_panic(cut in 0usize..400, insert in ".{0,6}") {
        let spec = json!({"warn": "None", "commonModel": {"name": "m", "replaces": ["Unset"]}});
        let whole = with_spec(spec).to_string();
        let at = (0..=cut.min(whole.len())).rev().find(|&at| whole.is_char_boundary(at)).unwrap_or(0);
        let _ = Policy::from_json(&format!("{}{insert}{}", &whole[..at], &whole[at..]));
        let _ = Policy::from_json(&whole[..at]);
    }
}
