// A failed expectation in a test is the test's answer.
#![allow(clippy::expect_used)]

use super::*;
use crate::compat::bits::Bits;
use crate::compat::verdict::{Cause, Check, Finding, Outcome, Verdict};
use proptest::prelude::*;
use rstest::rstest;
use serde_json::{Value, json};

fn labels(text: &str) -> BTreeMap<String, String> {
    text.split_whitespace()
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

fn with_spec(spec: Value) -> Value {
    let mut document = json!({"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": "intel-pool"}});
    document["spec"] = spec;
    document
}

fn read(document: &Value) -> Result<Policy, PolicyError> {
    Policy::from_json(&document.to_string())
}

fn read_spec(spec: Value) -> Policy {
    read(&with_spec(spec)).expect("a valid policy")
}

/// The problems of a document, one a line.
fn problems(text: &str) -> Vec<String> {
    match Policy::from_json(text) {
        Err(PolicyError::Invalid { problems, .. }) => problems.iter().map(ToString::to_string).collect(),
        Err(error) => vec![error.to_string()],
        Ok(policy) => panic!("{text} was taken as {policy:?}"),
    }
}

mod spelling {
    use super::*;

    fn spells_all<T: Word + std::fmt::Debug + PartialEq>(words: &str) {
        let spelled: Vec<&str> = T::ALL.iter().map(|word| word.as_str()).collect();
        let expected: Vec<&str> = words.split_whitespace().collect();
        assert_eq!(spelled, expected, "a policy that is right by the reference would be refused");
        for (word, text) in T::ALL.iter().zip(expected) {
            assert_eq!(word::parse::<T>(text).as_ref(), Ok(word), "{text} would mean another thing");
            assert!(
                word::parse::<T>(&text.to_uppercase()).is_err() || text == text.to_uppercase(),
                "{text}: laxer than the API server"
            );
        }
    }

    #[rstest]
    #[case::dial(spells_all::<Dial>, "None Unschedulable Pinned Fragile")]
    #[case::replaces(spells_all::<ReplacedMode>, "Unset HostModel HostPassthrough Named")]
    #[case::otherwise(spells_all::<Otherwise>, "Allow Warn Deny")]
    #[case::launcher_selectors(spells_all::<LauncherSelectors>, "Keep DropStale Common")]
    #[case::operator(spells_all::<Operator>, "In NotIn Exists DoesNotExist")]
    #[case::exemption(spells_all::<Exemption>, "labelled-namespace namespace user controller")]
    fn of_every_word(#[case] check: fn(&str), #[case] words: &str) {
        check(words);
    }

    #[test]
    fn from_str_and_display_agree() {
        for dial in Dial::ALL {
            let read: Result<Dial, _> = dial.to_string().parse();
            assert_eq!(read.as_ref(), Ok(dial), "a dial that was printed could not be read back");
        }
        let error = "Pined".parse::<Dial>().expect_err("no such word").to_string();
        assert_eq!(
            error, "\"Pined\" is not one of None, Unschedulable, Pinned, Fragile; did you mean Pinned?",
            "the person is not told what to write"
        );
    }
}

mod reading {
    use super::*;

    #[test]
    fn every_field() {
        let policy = read_spec(json!({
            "namespaceSelector": {"matchLabels": {"env": "prod"}},
            "virtualMachineSelector": {
                "matchExpressions": [{"key": "tier", "operator": "In", "values": ["db", "web"]}],
            },
            "nodeSelector": {"matchExpressions": [{"key": "cpu-vendor.node.kubevirt.io/Intel", "operator": "Exists"}]},
            "enforce": "Unschedulable",
            "warn": "Pinned",
            "audit": "None",
            "commonModel": {"name": "Cascadelake-Server", "replaces": ["Named"], "otherwise": "Deny"},
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
            }),
            launcher_selectors: LauncherSelectors::DropStale,
            exemptions: Exemptions {
                users: vec!["admin".into()],
                namespaces: vec!["infra".to_owned()],
                controllers: false,
            },
        };
        assert_eq!(policy, expected, "an administrator's wish would be lost");
    }

    #[rstest]
    #[case::empty(json!({}))]
    #[case::nulls(json!({"enforce": null, "exemptions": null, "namespaceSelector": null, "commonModel": null}))]
    #[case::empty_objects(json!({"exemptions": {}, "namespaceSelector": {}, "nodeSelector": {"matchLabels": null}}))]
    fn what_is_left_out_is_as_built_in(#[case] spec: Value) {
        let expected = Policy { name: "intel-pool".to_owned(), ..Policy::builtin() };
        assert_eq!(read_spec(spec), expected, "a policy would do more than it says");
    }

    #[test]
    fn a_common_model_has_defaults() {
        let model = read_spec(json!({"commonModel": {"name": "EPYC-Rome"}})).common_model.expect("it was given");
        assert_eq!(
            model.replaces,
            [ReplacedMode::Unset, ReplacedMode::HostModel],
            "guests would keep their host's CPU"
        );
        assert_eq!(model.otherwise, Otherwise::Warn, "guests would be refused unasked, or nobody told");
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
        "spec.virtualMachineSelector.matchExpressions[0].key: is required: a condition speaks of a label"
    )]
    #[case::no_values(
        json!({"virtualMachineSelector": {"matchExpressions": [{"key": "a", "operator": "NotIn", "values": []}]}}),
        "spec.virtualMachineSelector.matchExpressions[0].values: NotIn needs at least one value"
    )]
    #[case::needless_values(
        json!({"virtualMachineSelector": {"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["b"]}]}}),
        "spec.virtualMachineSelector.matchExpressions[0].values: Exists takes no values"
    )]
    fn a_mistake_is_named(#[case] spec: Value, #[case] expected: &str) {
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
        "metadata.name: is required: policies are told apart by it"
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
    fn another_kind_is_not_picked_to_pieces() {
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
    fn an_error_reads_well() {
        let one = read(&with_spec(json!({"enfroce": "None"}))).expect_err("a misspelled field").to_string();
        assert_eq!(one, "CPUPolicy intel-pool: spec.enfroce: unknown field, did you mean enforce?", "one line for one");
        let two = read(&with_spec(json!({"warn": 1, "audit": 2}))).expect_err("two wrong types").to_string();
        assert_eq!(
            two,
            "CPUPolicy intel-pool: 2 problems\n  spec.warn: must be a string, is a number\n  \
             spec.audit: must be a string, is a number",
            "the person would not find both"
        );
    }

    #[test]
    fn a_hostile_text_is_cut_and_escaped() {
        let found = problems(&with_spec(json!({"warn": "x\n".repeat(1000), "a\nb": 1})).to_string());
        assert!(
            found.iter().all(|line| !line.contains('\n')),
            "a line break would forge a line of the report: {found:?}"
        );
        assert!(found.iter().all(|line| line.len() < 400), "a long text would bury the report: {found:?}");
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(
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
            prop_assert_eq!(got, (enforce, warn, audit, selectors, controllers), "a wish would be lost");
            prop_assert_eq!(virtual_machine_selector.match_labels, match_labels, "other guests would be governed");
            prop_assert_eq!(common_model.map(|model| model.replaces), Some(replaces), "other guests would change");
        }

        #[test]
        fn no_text_is_too_strange(cut in 0usize..400, insert in ".{0,6}") {
            let spec = json!({"warn": "None", "commonModel": {"name": "m", "replaces": ["Unset"]}});
            let whole = with_spec(spec).to_string();
            let at = (0..=cut.min(whole.len())).rev().find(|&at| whole.is_char_boundary(at)).unwrap_or(0);
            let _ = Policy::from_json(&format!("{}{insert}{}", &whole[..at], &whole[at..]));
            let _ = Policy::from_json(&whole[..at]);
        }
    }
}

mod choice {
    use super::*;

    fn policy(name: &str, namespace: &str, guest: &str) -> Policy {
        Policy {
            name: name.to_owned(),
            namespace_selector: LabelSelector { match_labels: labels(namespace), ..LabelSelector::default() },
            virtual_machine_selector: LabelSelector { match_labels: labels(guest), ..LabelSelector::default() },
            ..Policy::builtin()
        }
    }

    fn governing_name(policies: &[Policy], namespace: &str, guest: &str) -> Option<String> {
        let guest = Guest {
            namespace: "shop",
            namespace_labels: &labels(namespace),
            labels: &labels(guest),
            user: &"admin".into(),
            kubevirt_namespace: None,
        };
        governing(policies, &guest).map(|policy| policy.name.clone())
    }

    #[rstest]
    #[case::none_there(vec![], None)]
    #[case::none_selects(vec![policy("a", "env=test", "")], None)]
    #[case::the_only_one(vec![policy("a", "", "")], Some("a"))]
    #[case::half_a_match(vec![policy("a", "env=prod", "tier=web")], None)]
    #[case::more_labels(vec![policy("a", "", ""), policy("b", "env=prod", "")], Some("b"))]
    #[case::most_in_all(vec![policy("a", "", "tier=db"), policy("b", "env=prod team=x", "")], Some("b"))]
    #[case::guest_before_namespace(vec![policy("a", "env=prod", ""), policy("b", "", "tier=db")], Some("b"))]
    #[case::then_by_name(vec![policy("b", "env=prod", ""), policy("a", "env=prod", "")], Some("a"))]
    #[case::unmatched_do_not_count(vec![policy("a", "env=prod", ""), policy("b", "", "tier=web x=y")], Some("a"))]
    fn the_most_specific_governs(#[case] policies: Vec<Policy>, #[case] expected: Option<&str>) {
        let found = governing_name(&policies, "env=prod team=x", "tier=db");
        assert_eq!(
            found.as_deref(),
            expected,
            "a guest would be judged by another policy than KubeVirt's rule chooses"
        );
    }

    proptest! {
        #[test]
        fn the_order_of_the_policies_does_not_matter(
            policies in proptest::collection::vec(("(a=1 )?(b=1)?", "(a=1 )?(c=1 )?(d=2)?"), 0..6)
                .prop_map(|specs| {
                    let named = |(i, (namespace, guest)): (usize, &(String, String))| {
                        policy(&format!("p{i}"), namespace, guest)
                    };
                    specs.iter().enumerate().map(named).collect::<Vec<_>>()
                })
                .prop_flat_map(|policies| (Just(policies.clone()), Just(policies).prop_shuffle())),
            namespace in "(a=1 )?(b=1)?",
            guest in "(a=1 )?(c=1 )?(d=2)?",
        ) {
            let (given, shuffled) = policies;
            prop_assert_eq!(
                governing_name(&given, &namespace, &guest),
                governing_name(&shuffled, &namespace, &guest),
                "two replicas would answer differently"
            );
        }
    }
}

mod exemption {
    use super::*;

    #[rstest]
    #[case::controller("system:serviceaccount:kubevirt:kubevirt-controller", true)]
    #[case::openshift("system:serviceaccount:openshift-cnv:kubevirt-controller", true)]
    #[case::harvester("system:serviceaccount:harvester-system:kubevirt-handler", true)]
    #[case::synchronization("system:serviceaccount:kubevirt:kubevirt-synchronization-controller", true)]
    #[case::virtctl("system:serviceaccount:kubevirt:kubevirt-apiserver", false)]
    #[case::another_account("system:serviceaccount:kubevirt:my-kubevirt-controller", false)]
    #[case::person("kubevirt-controller", false)]
    #[case::no_namespace("system:serviceaccount::kubevirt-controller", false)]
    #[case::longer("system:serviceaccount:kubevirt:x:kubevirt-controller", false)]
    fn whose_denial_hangs(#[case] user: &str, #[case] expected: bool) {
        let found = UserName::from(user).is_kubevirt_controller(None);
        assert_eq!(found, expected, "{user}: a drain would hang, or a person pass unjudged");
    }

    #[test]
    fn a_namesake_elsewhere_is_no_controller() {
        let namesake = UserName::from("system:serviceaccount:tenant:kubevirt-controller");
        assert!(
            !namesake.is_kubevirt_controller(Some("kubevirt")),
            "a tenant could make an account that is never denied"
        );
    }

    #[rstest]
    #[case::labelled("cpufit.io/exempt=true", "shop", "bob", Some(Exemption::LabelledNamespace))]
    #[case::labelled_otherwise("cpufit.io/exempt=false", "shop", "bob", None)]
    #[case::label_first("cpufit.io/exempt=true", "infra", "root", Some(Exemption::LabelledNamespace))]
    #[case::listed_namespace("", "infra", "root", Some(Exemption::Namespace))]
    #[case::listed_user("", "shop", "root", Some(Exemption::User))]
    #[case::controller("", "shop", "system:serviceaccount:kubevirt:kubevirt-controller", Some(Exemption::Controller))]
    #[case::nobody("", "shop", "bob", None)]
    fn reasons(
        #[case] namespace_labels: &str,
        #[case] namespace: &str,
        #[case] user: &str,
        #[case] expected: Option<Exemption>,
    ) {
        let policy = read_spec(json!({"exemptions": {"users": ["root"], "namespaces": ["infra"]}}));
        let guest = Guest {
            namespace,
            namespace_labels: &labels(namespace_labels),
            labels: &BTreeMap::new(),
            user: &user.into(),
            kubevirt_namespace: Some("kubevirt"),
        };
        assert_eq!(policy.exempt(&guest), expected, "someone would be denied who should not be, or the reverse");
    }

    #[test]
    fn controllers_may_be_denied_where_the_policy_says_so() {
        let policy = read_spec(json!({"exemptions": {"controllers": false}}));
        let guest = Guest {
            namespace: "shop",
            namespace_labels: &BTreeMap::new(),
            labels: &BTreeMap::new(),
            user: &"system:serviceaccount:kubevirt:kubevirt-controller".into(),
            kubevirt_namespace: None,
        };
        assert_eq!(policy.exempt(&guest), None, "the switch would do nothing");
    }
}

mod decision {
    use super::*;

    fn finding(check: Check) -> Finding {
        Finding { check, impact: None, field: String::new(), message: String::new(), remedies: Vec::new() }
    }

    fn verdict(outcome: Outcome, cause: Option<Cause>, checks: &[Check]) -> Verdict {
        let findings = checks.iter().copied().map(finding).collect();
        Verdict { outcome, cause, judged: 4, fitting: Bits::none(4), nearest: Vec::new(), findings }
    }

    fn impaired(impact: Impact, cause: Cause) -> Verdict {
        verdict(Outcome::Impaired(impact), Some(cause), &[Check::MigrationTarget])
    }

    fn words() -> Words {
        Words {
            headline: "shop/ledger cannot migrate".to_owned(),
            lines: vec!["shop/ledger: node-c lacks fpu".to_owned(), "shop/ledger: explain".to_owned()],
            notes: vec!["shop/ledger: its own node lacks fpu".to_owned()],
            details: vec!["node-c lacks fpu".to_owned(), "what helps: restart".to_owned()],
            causes: vec![FieldCause { field: "spec.x".to_owned(), message: "no node offers it".to_owned() }],
        }
    }

    fn person(kind: RequestKind) -> RequestFacts {
        RequestFacts { kind, exemption: None }
    }

    fn enforcing(enforce: Dial) -> Policy {
        Policy { name: "intel-pool".to_owned(), enforce, ..Policy::builtin() }
    }

    fn denial(ruling: Ruling) -> Denial {
        match ruling {
            Ruling::Deny(denial) => denial,
            Ruling::Admit { .. } => panic!("it was admitted: {ruling:?}"),
        }
    }

    #[rstest]
    #[case::dial_off(Dial::Off, Impact::Unschedulable, Cause::Structural, false)]
    #[case::at_the_dial(Dial::From(Impact::Pinned), Impact::Pinned, Cause::Structural, true)]
    #[case::beyond(Dial::From(Impact::Fragile), Impact::Unschedulable, Cause::Structural, true)]
    #[case::below(Dial::From(Impact::Unschedulable), Impact::Pinned, Cause::Structural, false)]
    #[case::placement(Dial::From(Impact::Fragile), Impact::Unschedulable, Cause::Placement, false)]
    #[case::temporary(Dial::From(Impact::Fragile), Impact::Unschedulable, Cause::Temporary, false)]
    fn what_is_denied(#[case] dial: Dial, #[case] impact: Impact, #[case] cause: Cause, #[case] denied: bool) {
        let ruling = decide(&enforcing(dial), person(RequestKind::Migration), &impaired(impact, cause), &words());
        assert_eq!(
            matches!(ruling, Ruling::Deny(_)),
            denied,
            "a guest is refused that may pass, or the reverse: {ruling:?}"
        );
    }

    #[rstest]
    #[case::vm(RequestKind::VirtualMachine, Some(422))]
    #[case::vmi(RequestKind::VirtualMachineInstance, Some(422))]
    #[case::migration(RequestKind::Migration, Some(403))]
    #[case::launcher(RequestKind::LauncherPod, Some(403))]
    #[case::target(RequestKind::TargetPod, None)]
    #[case::other(RequestKind::Other, None)]
    fn how_it_is_denied(#[case] kind: RequestKind, #[case] code: Option<u16>) {
        let verdict = impaired(Impact::Unschedulable, Cause::Structural);
        let found = match decide(&enforcing(Dial::From(Impact::Fragile)), person(kind), &verdict, &words()) {
            Ruling::Deny(denial) => Some(denial.kind.code()),
            Ruling::Admit { .. } => None,
        };
        assert_eq!(found, code, "{kind:?}: kubectl would hide the reason, or something would hang");
    }

    #[rstest]
    #[case::no_causes(vec![])]
    #[case::no_field(vec![FieldCause { field: String::new(), message: "no node".to_owned() }])]
    fn without_fields_the_message_must_show(#[case] causes: Vec<FieldCause>) {
        let words = Words { causes, ..words() };
        let verdict = impaired(Impact::Unschedulable, Cause::Structural);
        let policy = enforcing(Dial::From(Impact::Fragile));
        let denial = denial(decide(&policy, person(RequestKind::VirtualMachine), &verdict, &words));
        assert_eq!(denial.kind, DenialKind::Forbidden, "with 422 kubectl would print an empty reason");
    }

    #[test]
    fn a_denial_is_complete() {
        let mut verdict = impaired(Impact::Pinned, Cause::Structural);
        let policy = enforcing(Dial::From(Impact::Pinned));
        let plain = denial(decide(&policy, person(RequestKind::Migration), &verdict, &words()));
        assert_eq!(
            plain.message, "shop/ledger cannot migrate (policy intel-pool)\n  node-c lacks fpu\n  what helps: restart",
            "the person would not know why, by whose wish, or what to do"
        );
        assert_eq!(plain.causes[0].message, "no node offers it (policy intel-pool)", "422 shows the causes only");
        assert_eq!(plain.warnings, Vec::<String>::new(), "everything would be said twice");
        assert!(plain.audit, "the denial would leave no trace");
        verdict.findings.push(finding(Check::OwnNode));
        let told = denial(decide(&policy, person(RequestKind::Migration), &verdict, &words()));
        assert_eq!(
            told.warnings,
            ["cpufit: shop/ledger: its own node lacks fpu"],
            "a guest in danger would go unmentioned"
        );
    }

    fn admitted(policy: &Policy, verdict: &Verdict, words: &Words) -> (Vec<String>, bool) {
        match decide(policy, person(RequestKind::Migration), verdict, words) {
            Ruling::Admit { warnings, audit, .. } => (warnings, audit),
            Ruling::Deny(denial) => panic!("it was denied: {denial:?}"),
        }
    }

    const HEADLINE: &str = "cpufit: shop/ledger cannot migrate";
    const NEAREST: &str = "cpufit: shop/ledger: node-c lacks fpu";
    const NEXT: &str = "cpufit: shop/ledger: explain";
    const NOTE: &str = "cpufit: shop/ledger: its own node lacks fpu";

    #[rstest]
    #[case::fits(Outcome::Fits, &[], &[])]
    #[case::dial_reached(Outcome::Impaired(Impact::Fragile), &[Check::MigrationTarget], &[HEADLINE, NEAREST, NEXT])]
    #[case::and_a_note(Outcome::Impaired(Impact::Fragile), &[Check::OwnNode], &[HEADLINE, NEAREST, NEXT, NOTE])]
    #[case::own_node(Outcome::Fits, &[Check::OwnNode], &[NOTE])]
    #[case::libvirt(Outcome::Fits, &[Check::LibvirtRefused], &[NOTE])]
    #[case::no_pod(Outcome::Fits, &[Check::NoPod], &[NOTE])]
    #[case::assumed(Outcome::Fits, &[Check::Assumed], &[NOTE])]
    #[case::unknown(Outcome::Unknown("no labels".to_owned()), &[Check::Unknown], &[NOTE])]
    #[case::no_matter(Outcome::Fits, &[Check::OutdatedLauncher, Check::NotReady], &[])]
    fn what_is_told(#[case] outcome: Outcome, #[case] checks: &[Check], #[case] expected: &[&str]) {
        let (warnings, _) = admitted(&Policy::builtin(), &verdict(outcome, None, checks), &words());
        assert_eq!(warnings, expected, "people would not be told, or be told for nothing");
    }

    #[test]
    fn what_must_be_told_falls_back_on_the_headline() {
        let verdict = verdict(Outcome::Unknown("no labels".to_owned()), None, &[Check::Unknown]);
        let words = Words { headline: "shop/ledger cannot be judged".to_owned(), ..Words::default() };
        let (warnings, _) = admitted(&Policy::builtin(), &verdict, &words);
        assert_eq!(warnings, ["cpufit: shop/ledger cannot be judged"], "silence would pass for a good verdict");
    }

    #[test]
    fn warnings_are_few() {
        let many = |word: &str| (0..9).map(|i| format!("{word} {i}")).collect::<Vec<_>>();
        let verdict = verdict(Outcome::Impaired(Impact::Pinned), Some(Cause::Structural), &[Check::OwnNode]);
        let lines = Words { lines: many("line"), ..words() };
        let (warnings, _) = admitted(&Policy::builtin(), &verdict, &lines);
        assert_eq!(warnings, [HEADLINE, "cpufit: line 0", "cpufit: line 1", NOTE], "a note would give way to advice");
        let notes = Words { notes: many("note"), ..words() };
        let (warnings, _) = admitted(&Policy::builtin(), &verdict, &notes);
        assert_eq!(warnings.len(), MAX, "the API server would cut what follows: {warnings:?}");
        assert_eq!(warnings[0], HEADLINE, "the verdict itself would give way");
    }

    const MAX: usize = 4;

    #[rstest]
    #[case::reached(Dial::From(Impact::Pinned), Impact::Pinned, true)]
    #[case::below(Dial::From(Impact::Pinned), Impact::Fragile, false)]
    #[case::off(Dial::Off, Impact::Unschedulable, false)]
    fn what_is_recorded(#[case] audit: Dial, #[case] impact: Impact, #[case] expected: bool) {
        let policy = Policy { audit, ..Policy::builtin() };
        let (_, recorded) = admitted(&policy, &impaired(impact, Cause::Structural), &words());
        assert_eq!(recorded, expected, "Events would miss a guest, or flood a namespace");
    }

    #[rstest]
    #[case::controller(Exemption::Controller)]
    #[case::user(Exemption::User)]
    #[case::namespace(Exemption::Namespace)]
    fn the_exempt_are_told_and_recorded(#[case] exemption: Exemption) {
        let facts = RequestFacts { kind: RequestKind::Migration, exemption: Some(exemption) };
        let verdict = impaired(Impact::Pinned, Cause::Structural);
        let ruling = decide(&enforcing(Dial::From(Impact::Pinned)), facts, &verdict, &words());
        let expected = Ruling::Admit {
            warnings: vec![HEADLINE.to_owned(), NEAREST.to_owned(), NEXT.to_owned()],
            audit: true,
            spared: Some(exemption),
        };
        assert_eq!(ruling, expected, "an exemption would hide what happens");
    }

    #[test]
    fn who_needed_no_exemption_is_not_called_spared() {
        let facts = RequestFacts { kind: RequestKind::Migration, exemption: Some(Exemption::User) };
        let ruling = decide(&Policy::builtin(), facts, &impaired(Impact::Pinned, Cause::Structural), &words());
        assert!(matches!(ruling, Ruling::Admit { spared: None, .. }), "the metric would count what was never at stake");
    }

    #[test]
    fn a_labelled_namespace_is_left_alone() {
        let facts = RequestFacts { kind: RequestKind::Migration, exemption: Some(Exemption::LabelledNamespace) };
        let verdict = verdict(Outcome::Impaired(Impact::Pinned), Some(Cause::Structural), &[Check::OwnNode]);
        let ruling = decide(&enforcing(Dial::From(Impact::Fragile)), facts, &verdict, &words());
        let silent = Ruling::Admit { warnings: vec![], audit: false, spared: None };
        assert_eq!(ruling, silent, "a namespace that opted out would still be spoken to");
    }

    fn any_verdict() -> impl Strategy<Value = Verdict> {
        let outcome = prop_oneof![
            Just(Outcome::Fits),
            Just(Outcome::Unknown("no labels".to_owned())),
            proptest::sample::select(Impact::ALL.to_vec()).prop_map(Outcome::Impaired),
        ];
        let cause = proptest::sample::select(vec![
            None,
            Some(Cause::Structural),
            Some(Cause::Placement),
            Some(Cause::Temporary),
        ]);
        let checks = proptest::sample::subsequence(
            vec![Check::Unknown, Check::MigrationTarget, Check::OwnNode, Check::NotReady, Check::Assumed],
            0..=5,
        );
        (outcome, cause, checks).prop_map(|(outcome, cause, checks)| verdict(outcome, cause, &checks))
    }

    fn any_facts() -> impl Strategy<Value = RequestFacts> {
        let exemption = prop_oneof![
            3 => Just(None),
            1 => proptest::sample::select(Exemption::ALL.to_vec()).prop_map(Some),
        ];
        (proptest::sample::select(RequestKind::ALL.to_vec()), exemption)
            .prop_map(|(kind, exemption)| RequestFacts { kind, exemption })
    }

    proptest! {
        #[test]
        fn only_what_is_structural_and_known_is_denied(
            enforce in dial(), warn in dial(), audit in dial(), facts in any_facts(), verdict in any_verdict(),
        ) {
            let policy = Policy { warn, audit, ..enforcing(enforce) };
            match decide(&policy, facts, &verdict, &words()) {
                Ruling::Deny(denial) => {
                    prop_assert_eq!(verdict.cause, Some(Cause::Structural), "a cordon or a zone would deny");
                    prop_assert!(verdict.outcome.impact().is_some(), "a guess would deny");
                    prop_assert_eq!(facts.exemption, None, "an exemption would not hold");
                    prop_assert!(enforce != Dial::Off, "a dial that is off would deny");
                    prop_assert!(!denial.message.is_empty(), "a denial without a reason");
                    prop_assert!(denial.warnings.len() <= MAX, "the API server would cut them");
                }
                Ruling::Admit { warnings, .. } => {
                    prop_assert!(warnings.len() <= MAX, "the API server would cut them");
                }
            }
        }

        #[test]
        fn the_builtin_policy_never_denies(facts in any_facts(), verdict in any_verdict()) {
            let ruling = decide(&Policy::builtin(), facts, &verdict, &words());
            let admitted = matches!(ruling, Ruling::Admit { .. });
            prop_assert!(admitted, "installing cpufit would break a cluster that has no policy");
        }
    }
}

fn dial() -> impl Strategy<Value = Dial> {
    proptest::sample::select(Dial::ALL.to_vec())
}

mod reference {
    use super::*;

    const PAGE: &str = include_str!("../../docs/policy.md");

    fn blocks(language: &str) -> Vec<&'static str> {
        let fence = format!("```{language}\n");
        PAGE.split(fence.as_str()).skip(1).filter_map(|rest| rest.split("```").next()).collect()
    }

    #[test]
    fn its_example_is_valid() {
        let examples = blocks("yaml");
        assert_eq!(examples.len(), 1, "an example would go untested");
        let document: Value = serde_saphyr::from_str(examples[0]).expect("the example is YAML");
        let policy = read(&document).expect("whoever copies the example would be refused");
        assert_eq!(policy.enforce, Dial::From(Impact::Unschedulable), "the table below the example would be wrong");
        assert_eq!(policy.audit, Dial::From(Impact::Pinned), "the table below the example would be wrong");
    }

    #[test]
    fn its_report_is_what_is_printed() {
        let spec = json!({"enfroce": "None", "warn": "pinned", "commonModel": {"name": "host-model"}});
        let error = read(&with_spec(spec)).expect_err("three mistakes").to_string();
        assert_eq!(blocks("text"), [format!("{error}\n")], "the page would promise another report");
    }

    #[test]
    fn it_names_every_word() {
        fn all<T: Word>() -> Vec<&'static str> {
            T::ALL.iter().map(|word| word.as_str()).collect()
        }
        let words =
            [all::<Dial>(), all::<ReplacedMode>(), all::<Otherwise>(), all::<LauncherSelectors>(), all::<Operator>()];
        for word in words.concat() {
            assert!(PAGE.contains(&format!("`{word}`")), "{word} could be written, but nobody would know");
        }
    }
}
