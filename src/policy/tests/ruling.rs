//! Tests of rulings.

use super::*;

fn assessment(outcome: Outcome, cause: Option<Cause>) -> Assessment {
    Assessment { outcome, cause, nodes_judged: 4, fitting: Bits::none(4) }
}

fn impaired(impact: Impact, cause: Cause) -> Assessment {
    assessment(Outcome::Impaired(impact), Some(cause))
}

fn person(kind: RequestKind) -> RequestFacts {
    RequestFacts { kind, exemption: None, is_guess: false, is_too_large: false }
}

fn enforcing(enforce: Dial) -> Policy {
    Policy { name: "intel-pool".to_owned(), enforce, ..Policy::builtin() }
}

#[rstest]
#[case::dial_off(Dial::Off, Impact::Unschedulable, Cause::Structural, false)]
#[case::at_the_dial(Dial::From(Impact::Pinned), Impact::Pinned, Cause::Structural, true)]
#[case::beyond(Dial::From(Impact::Fragile), Impact::Unschedulable, Cause::Structural, true)]
#[case::below(Dial::From(Impact::Unschedulable), Impact::Pinned, Cause::Structural, false)]
#[case::placement(Dial::From(Impact::Fragile), Impact::Unschedulable, Cause::Placement, false)]
#[case::temporary(Dial::From(Impact::Fragile), Impact::Unschedulable, Cause::Temporary, false)]
fn only_a_structural_impact_at_or_above_the_dial_is_denied(
    #[case] dial: Dial,
    #[case] impact: Impact,
    #[case] cause: Cause,
    #[case] denied: bool,
) {
    let ruling = rule(&enforcing(dial), person(RequestKind::Migration), &impaired(impact, cause), false);
    assert_eq!(ruling.denies(), denied, "a guest is refused that may pass, or the reverse: {ruling:?}");
}

#[rstest]
#[case::vm(RequestKind::VirtualMachine, true)]
#[case::vmi(RequestKind::VirtualMachineInstance, true)]
#[case::migration(RequestKind::Migration, true)]
#[case::launcher(RequestKind::LauncherPod, true)]
#[case::target(RequestKind::TargetPod, false)]
#[case::other(RequestKind::Other, false)]
fn target_pods_and_other_objects_are_never_denied(#[case] kind: RequestKind, #[case] denied: bool) {
    let worst = impaired(Impact::Unschedulable, Cause::Structural);
    for unmet in [false, true] {
        let ruling = rule(&enforcing(Dial::From(Impact::Fragile)), person(kind), &worst, unmet);
        assert_eq!(ruling.denies(), denied, "{kind:?}: something would hang");
    }
}

#[rstest]
#[case::reached(Dial::From(Impact::Pinned), Impact::Pinned, true)]
#[case::below(Dial::From(Impact::Pinned), Impact::Fragile, false)]
#[case::off(Dial::Off, Impact::Unschedulable, false)]
fn each_dial_warns_or_records_from_its_impact_on(#[case] dial: Dial, #[case] impact: Impact, #[case] expected: bool) {
    let assessment = impaired(impact, Cause::Structural);
    for (policy, is_as_expected) in [
        (Policy { warn: dial, audit: Dial::Off, ..Policy::builtin() }, (expected, false)),
        (Policy { warn: Dial::Off, audit: dial, ..Policy::builtin() }, (false, expected)),
    ] {
        let Ruling::Admit { warned, recorded, exempted: None } =
            rule(&policy, person(RequestKind::Migration), &assessment, false)
        else {
            panic!("a policy that enforces nothing denies");
        };
        assert_eq!((warned, recorded), is_as_expected, "people would not be warned, or Events would flood a namespace");
    }
}

#[rstest]
#[case::controller(Exemption::Controller)]
#[case::user(Exemption::User)]
#[case::namespace(Exemption::Namespace)]
fn exempt_requests_are_warned_and_recorded(#[case] exemption: Exemption) {
    let facts =
        RequestFacts { kind: RequestKind::Migration, exemption: Some(exemption), is_guess: false, is_too_large: false };
    let pinned = impaired(Impact::Pinned, Cause::Structural);
    let ruling = rule(&enforcing(Dial::From(Impact::Pinned)), facts, &pinned, false);
    let expected = Ruling::Admit { warned: true, recorded: true, exempted: Some(exemption) };
    assert_eq!(ruling, expected, "an exemption would hide what happens");
    let never_at_stake = rule(&Policy::builtin(), facts, &pinned, false);
    assert!(
        matches!(never_at_stake, Ruling::Admit { exempted: None, .. }),
        "the metric would count what was never at stake"
    );
}

/// Requests of a controller that a person would be denied are recorded even if the policy records nothing
/// else, because a controller's warnings are not read. A drain is recorded according to the dial.
#[rstest]
#[case::vmi(RequestKind::VirtualMachineInstance, Exemption::Controller, true)]
#[case::vm(RequestKind::VirtualMachine, Exemption::Controller, true)]
#[case::launcher(RequestKind::LauncherPod, Exemption::Controller, true)]
#[case::drain(RequestKind::Migration, Exemption::Controller, false)]
#[case::target_pod(RequestKind::TargetPod, Exemption::Controller, false)]
#[case::a_listed_user(RequestKind::VirtualMachine, Exemption::User, false)]
#[case::a_listed_namespace(RequestKind::VirtualMachine, Exemption::Namespace, false)]
#[case::an_update(RequestKind::Replicas, Exemption::NotWorse, false)]
fn exempted_denials_are_recorded(#[case] kind: RequestKind, #[case] exemption: Exemption, #[case] expected: bool) {
    let policy = Policy { audit: Dial::Off, warn: Dial::Off, ..enforcing(Dial::From(Impact::Pinned)) };
    let facts = RequestFacts { kind, exemption: Some(exemption), is_guess: false, is_too_large: false };
    let (fits, pinned) = (assessment(Outcome::Fits, None), impaired(Impact::Pinned, Cause::Structural));
    for (judged, unmet) in [(&pinned, false), (&fits, true)] {
        let Ruling::Admit { warned, recorded, exempted } = rule(&policy, facts, judged, unmet) else {
            panic!("{kind:?} is denied")
        };
        assert_eq!(recorded, expected, "{kind:?}: unmet is {unmet}");
        assert_eq!(exempted, kind.is_deniable().then_some(exemption), "{kind:?}: unmet is {unmet}");
        // An update that makes nothing worse always gets a warning; the model has its own message.
        assert_eq!(warned, exemption == Exemption::NotWorse && !unmet, "{kind:?}: unmet is {unmet}");
    }
}

#[test]
fn a_labelled_namespace_is_left_alone() {
    let facts = RequestFacts {
        kind: RequestKind::Migration,
        exemption: Some(Exemption::LabelledNamespace),
        is_guess: false,
        is_too_large: false,
    };
    let ruling =
        rule(&enforcing(Dial::From(Impact::Fragile)), facts, &impaired(Impact::Pinned, Cause::Structural), true);
    assert_eq!(ruling, Ruling::Exempt, "a namespace that opted out would still get warnings");
}

#[rstest]
#[case::a_person(None, None, Some(Grounds::CommonModel))]
#[case::and_its_impact(None, Some(Impact::Unschedulable), Some(Grounds::Impact))]
#[case::a_controller(Some(Exemption::Controller), None, None)]
fn a_guest_without_the_common_model(
    #[case] exemption: Option<Exemption>,
    #[case] impact: Option<Impact>,
    #[case] expected: Option<Grounds>,
) {
    let facts =
        RequestFacts { kind: RequestKind::VirtualMachineInstance, exemption, is_guess: false, is_too_large: false };
    let judged = assessment(impact.map_or(Outcome::Fits, Outcome::Impaired), impact.map(|_| Cause::Structural));
    match rule(&enforcing(Dial::From(Impact::Pinned)), facts, &judged, true) {
        Ruling::Deny { grounds, .. } => assert_eq!(Some(grounds), expected),
        Ruling::Admit { exempted, .. } => {
            assert_eq!(
                (exempted, expected),
                (exemption, None),
                "the policy is not enforced, or its violations are not reported"
            );
        }
        Ruling::Exempt => panic!("the guest did not ask to be left alone"),
    }
}

fn any_assessment() -> impl Strategy<Value = Assessment> {
    let outcome = prop_oneof![
        Just(Outcome::Fits),
        Just(Outcome::Unknown(Unknown::NoLabels)),
        proptest::sample::select(Impact::ALL.to_vec()).prop_map(Outcome::Impaired),
    ];
    let cause =
        proptest::sample::select(vec![None, Some(Cause::Structural), Some(Cause::Placement), Some(Cause::Temporary)]);
    (outcome, cause).prop_map(|(outcome, cause)| assessment(outcome, cause))
}

fn any_facts() -> impl Strategy<Value = RequestFacts> {
    let exemption = prop_oneof![
        3 => Just(None),
        1 => proptest::sample::select(Exemption::ALL.to_vec()).prop_map(Some),
    ];
    (proptest::sample::select(RequestKind::ALL.to_vec()), exemption, any::<bool>())
        .prop_map(|(kind, exemption, is_guess)| RequestFacts { kind, exemption, is_guess, is_too_large: false })
}

proptest! {
    #[test]
    fn only_known_structural_impacts_are_denied(
        enforce in dial(), warn in dial(), audit in dial(), facts in any_facts(), judged in any_assessment(),
    ) {
        let policy = Policy { warn, audit, ..enforcing(enforce) };
        if let Ruling::Deny { grounds, .. } = rule(&policy, facts, &judged, false) {
            prop_assert_eq!(grounds, Grounds::Impact);
            prop_assert_eq!(judged.cause, Some(Cause::Structural), "a cordon or a zone would deny");
            prop_assert!(judged.outcome.impact().is_some(), "a guess would deny");
            prop_assert_eq!(facts.exemption, None, "an exemption would not hold");
            prop_assert!(enforce != Dial::Off, "a dial that is off would deny");
        }
    }

    /// Neither the impact nor the common model denies a guest that is judged by an unknown object's later version.
    #[test]
    fn a_guess_never_denies(
        enforce in dial(), warn in dial(), audit in dial(), facts in any_facts(), judged in any_assessment(),
        unmet in any::<bool>(),
    ) {
        let policy = Policy { warn, audit, ..enforcing(enforce) };
        let known = rule(&policy, RequestFacts { is_guess: false, ..facts }, &judged, unmet);
        let guessed = rule(&policy, RequestFacts { is_guess: true, ..facts }, &judged, unmet);
        match (known, guessed) {
            (Ruling::Deny { grounds, .. }, Ruling::Admit { warned, exempted, .. }) => {
                let is_warned = warned || grounds == Grounds::CommonModel;
                prop_assert!(is_warned, "a guest that would be denied if its revision were known is admitted in silence");
                prop_assert_eq!(exempted, None, "the metric would count an exemption that nothing needed");
            }
            (Ruling::Exempt, Ruling::Exempt) => {}
            (Ruling::Admit { .. }, Ruling::Admit { exempted, .. }) => prop_assert_eq!(exempted, None),
            other => prop_assert!(false, "a guess denies: {other:?}"),
        }
    }

    #[test]
    fn the_builtin_policy_never_denies(facts in any_facts(), judged in any_assessment()) {
        let ruling = rule(&Policy::builtin(), facts, &judged, false);
        prop_assert!(!ruling.denies(), "installing cpufit would break a cluster that has no policy");
    }
}
