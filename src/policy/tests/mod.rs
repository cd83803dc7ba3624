// A failed expectation is the result of a test.
use super::*;
use crate::fit::bits::Bits;
use crate::fit::verdict::{Assessment, Cause, Outcome, Unknown};
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

/// Returns the problems of a document, one a line.
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
            assert_eq!(crate::word::parse::<T>(text).as_ref(), Ok(word), "{text} would mean another thing");
            assert!(
                crate::word::parse::<T>(&text.to_uppercase()).is_err() || text == text.to_uppercase(),
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
    #[case::exemption(spells_all::<Exemption>, "labelled-namespace namespace user controller not-worse")]
    fn every_word_of_a_policy_is_read_and_printed_alike(#[case] check: fn(&str), #[case] words: &str) {
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
            "the error does not say what to write"
        );
    }
}

mod reading;

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
        let guest = PolicySubject {
            namespace: "shop",
            namespace_labels: &labels(namespace),
            labels: &labels(guest),
            user: &"admin".into(),
            kubevirt_namespace: None,
            unread: Unread::default(),
        };
        governing(policies, &guest).map(|policy| policy.name.clone())
    }

    fn refusing(policy: Policy) -> Policy {
        let common = CommonModel {
            name: "Haswell".to_owned(),
            replaces: Vec::new(),
            otherwise: Otherwise::Deny,
            announce: Announce::Event,
        };
        Policy { common_model: Some(common), ..policy }
    }

    /// Labels that were not read may be those that a policy selects; labels that were read are known.
    #[rstest]
    #[case::it_may_have_it(vec![policy("a", "", "tier=web")], Some("a"))]
    #[case::it_has_another_value(vec![policy("a", "", "app=web")], None)]
    #[case::the_one_that_refuses_first(vec![refusing(policy("a", "", "")), policy("b", "", "tier=web x=y")], Some("a"))]
    #[case::of_two_that_refuse_the_closer(
        vec![refusing(policy("a", "", "")), refusing(policy("b", "", "tier=web"))], Some("b"))]
    #[case::the_namespace_is_known(vec![refusing(policy("a", "env=test", ""))], None)]
    fn more_labels_than_are_read_hide_no_guest(#[case] policies: Vec<Policy>, #[case] expected: Option<&str>) {
        let guest = PolicySubject {
            namespace: "shop",
            namespace_labels: &labels("env=prod"),
            labels: &labels("app=db"),
            user: &"admin".into(),
            kubevirt_namespace: None,
            unread: Unread { labels: true, nodes: true, ..Unread::default() },
        };
        let found = governing(&policies, &guest).map(|policy| policy.name.as_str());
        assert_eq!(found, expected, "a guest would slip out of a policy, or into one that is not about it");
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
    fn the_most_specific_policy_governs(#[case] policies: Vec<Policy>, #[case] expected: Option<&str>) {
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
    fn only_the_service_accounts_of_kubevirts_controllers_are_controllers(#[case] user: &str, #[case] expected: bool) {
        let found = UserName::from(user).is_kubevirt_controller(None);
        assert_eq!(found, expected, "{user}: a drain would hang, or a person pass unjudged");
    }

    #[test]
    fn a_service_account_of_another_namespace_is_no_controller() {
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
    fn an_exemption_has_its_reason(
        #[case] namespace_labels: &str,
        #[case] namespace: &str,
        #[case] user: &str,
        #[case] expected: Option<Exemption>,
    ) {
        let policy = read_spec(json!({"exemptions": {"users": ["root"], "namespaces": ["infra"]}}));
        let guest = PolicySubject {
            namespace,
            namespace_labels: &labels(namespace_labels),
            labels: &BTreeMap::new(),
            user: &user.into(),
            kubevirt_namespace: Some("kubevirt"),
            unread: Unread::default(),
        };
        assert_eq!(
            policy.exempt(&guest, RequestKind::Migration),
            expected,
            "someone would be denied who should not be, or the reverse"
        );
    }

    /// A restart, a growing pool, a clone or a restore must not fail because of a policy; a drain may if the
    /// policy allows it.
    #[test]
    fn only_migrations_of_controllers_may_be_denied_where_the_policy_says_so() {
        let policy = read_spec(json!({"exemptions": {"controllers": false}}));
        let guest = PolicySubject {
            namespace: "shop",
            namespace_labels: &BTreeMap::new(),
            labels: &BTreeMap::new(),
            user: &"system:serviceaccount:kubevirt:kubevirt-controller".into(),
            kubevirt_namespace: None,
            unread: Unread::default(),
        };
        for kind in RequestKind::ALL {
            let expected = (kind != RequestKind::Migration).then_some(Exemption::Controller);
            assert_eq!(policy.exempt(&guest, kind), expected, "{kind:?}");
        }
        let virtctl = UserName::from("system:serviceaccount:kubevirt:kubevirt-apiserver");
        for kind in RequestKind::ALL {
            assert_eq!(
                policy.exempt(&PolicySubject { user: &virtctl, ..guest }, kind),
                None,
                "{kind:?}: a person asks by virtctl"
            );
        }
    }
}

mod ruling;

fn dial() -> impl Strategy<Value = Dial> {
    proptest::sample::select(Dial::ALL.to_vec())
}

mod reference {
    use super::*;

    const PAGE: &str = include_str!("../../../docs/policy.md");

    fn blocks(language: &str) -> Vec<&'static str> {
        let fence = format!("```{language}\n");
        PAGE.split(fence.as_str()).skip(1).filter_map(|rest| rest.split("```").next()).collect()
    }

    #[test]
    fn the_example_in_the_reference_is_a_valid_policy() {
        let examples = blocks("yaml");
        assert_eq!(examples.len(), 1, "an example would go untested");
        let document: Value = serde_saphyr::from_str(examples[0]).expect("the example is YAML");
        let policy = read(&document).expect("a user who copies the example would get an error");
        assert_eq!(policy.enforce, Dial::From(Impact::Unschedulable), "the table below the example would be wrong");
        assert_eq!(policy.audit, Dial::From(Impact::Pinned), "the table below the example would be wrong");
    }

    #[test]
    fn the_error_report_in_the_reference_is_the_printed_one() {
        let spec = json!({"enfroce": "None", "warn": "pinned", "commonModel": {"name": "host-model"}});
        let error = read(&with_spec(spec)).expect_err("three mistakes");
        let printed = format!("error: wrong.yaml, document 1: {}\n", error.lines().join("\n"));
        assert_eq!(blocks("text"), [printed], "the page would promise another report");
    }

    #[test]
    fn the_reference_names_every_word() {
        fn all<T: Word>() -> Vec<&'static str> {
            T::ALL.iter().map(|word| word.as_str()).collect()
        }
        let words =
            [all::<Dial>(), all::<ReplacedMode>(), all::<Otherwise>(), all::<LauncherSelectors>(), all::<Operator>()];
        for word in words.concat() {
            assert!(PAGE.contains(&format!("`{word}`")), "{word} is accepted and not documented");
        }
    }
}
