//! What becomes of a request.

use super::*;

fn finding(check: Check) -> Finding {
    Finding::noted(check, "", "")
}

fn verdict(outcome: Outcome, cause: Option<Cause>, checks: &[Check]) -> Verdict {
    let findings = checks.iter().copied().map(finding).collect();
    Verdict { findings, ..Verdict::plain(Assessment { outcome, cause, nodes_judged: 4, fitting: Bits::none(4) }) }
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
        ..Words::default()
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
        (plain.message.as_str(), plain.details.as_slice()),
        (
            "shop/ledger cannot migrate (policy intel-pool)",
            &["node-c lacks fpu", "what helps: restart"].map(str::to_owned)[..]
        ),
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
#[case::unknown(Outcome::Unknown(Unknown::NoLabels), &[Check::Unknown], &[NOTE])]
#[case::no_matter(Outcome::Fits, &[Check::OutdatedLauncher, Check::NotReady], &[])]
fn what_is_told(#[case] outcome: Outcome, #[case] checks: &[Check], #[case] expected: &[&str]) {
    let (warnings, _) = admitted(&Policy::builtin(), &verdict(outcome, None, checks), &words());
    assert_eq!(warnings, expected, "people would not be told, or be told for nothing");
}

#[test]
fn what_must_be_told_falls_back_on_the_headline() {
    let verdict = verdict(Outcome::Unknown(Unknown::NoLabels), None, &[Check::Unknown]);
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
        Just(Outcome::Unknown(Unknown::NoLabels)),
        proptest::sample::select(Impact::ALL.to_vec()).prop_map(Outcome::Impaired),
    ];
    let cause =
        proptest::sample::select(vec![None, Some(Cause::Structural), Some(Cause::Placement), Some(Cause::Temporary)]);
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
                prop_assert_eq!(verdict.assessment.cause, Some(Cause::Structural), "a cordon or a zone would deny");
                prop_assert!(verdict.assessment.outcome.impact().is_some(), "a guess would deny");
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

/// What a policy's common model means for a guest is said first, and refused where the policy says so.
#[rstest]
#[case::a_person(None, None, true)]
#[case::and_its_impact(None, Some(Impact::Unschedulable), true)]
#[case::a_controller(Some(Exemption::Controller), None, false)]
fn a_guest_without_the_common_model(
    #[case] exemption: Option<Exemption>,
    #[case] impact: Option<Impact>,
    #[case] denied: bool,
) {
    let unmet = FieldCause { field: "spec.domain.cpu.model".to_owned(), message: "shop/web asks for EPYC".to_owned() };
    let words = Words { unmet: Some(unmet.clone()), ..words() };
    let facts = RequestFacts { kind: RequestKind::VirtualMachineInstance, exemption };
    let cause = impact.map(|_| Cause::Structural);
    let verdict = verdict(impact.map_or(Outcome::Fits, Outcome::Impaired), cause, &[]);
    match decide(&enforcing(Dial::From(Impact::Pinned)), facts, &verdict, &words) {
        Ruling::Deny(denial) => {
            assert!(denied, "{denial:?}: a drain would hang");
            assert_eq!(denial.kind, DenialKind::Invalid);
            let causes: Vec<&str> = denial.causes.iter().map(|cause| cause.field.as_str()).collect();
            let expected =
                if impact.is_some() { vec!["spec.x", "spec.domain.cpu.model"] } else { vec!["spec.domain.cpu.model"] };
            assert_eq!(causes, expected, "a bullet is missing");
            assert!(denial.message.ends_with("(policy intel-pool)"));
        }
        Ruling::Admit { warnings, spared, .. } => {
            assert!(!denied, "the policy is not enforced");
            assert_eq!(spared, exemption);
            assert_eq!(
                warnings.first().map(String::as_str),
                Some("cpufit: shop/web asks for EPYC (policy intel-pool)")
            );
        }
    }
}
