//! Tests of a ruling's messages: warnings, and the text of a denial.

use super::*;
use crate::admission::response::FieldCause;
use crate::fit::judgement::Depth;
use crate::fit::remedy::Action;
use crate::fit::verdict::{Assessment, Check, Finding, Outcome, Unknown};
use crate::policy::{self, RequestFacts, RequestKind};

fn verdict(outcome: Outcome, cause: Option<Cause>, checks: &[Check]) -> Verdict {
    let assessment = Assessment { outcome, cause, nodes_judged: 4, fitting: crate::fit::bits::Bits::none(4) };
    let findings = checks.iter().map(|check| Finding::noted(*check, "", "")).collect();
    Verdict { findings, ..Verdict::plain(assessment) }
}

fn pinned(checks: &[Check]) -> Verdict {
    verdict(Outcome::Impaired(Impact::Pinned), Some(Cause::Structural), checks)
}

fn messages() -> Messages {
    Messages {
        title: "shop/ledger".to_owned(),
        headline: "cannot migrate".to_owned(),
        lines: vec!["node-c lacks fpu".to_owned(), "explain".to_owned()],
        notes: vec!["its own node lacks fpu".to_owned()],
        details: vec!["node-c lacks fpu".to_owned(), "what helps: restart".to_owned()],
        causes: vec![FieldCause { field: "spec.x".to_owned(), message: "no node offers it".to_owned() }],
        ..Messages::default()
    }
}

fn unmet() -> FieldCause {
    FieldCause { field: "spec.domain.cpu.model".to_owned(), message: "shop/web asks for EPYC".to_owned() }
}

fn put(policy: &Policy, manifest: &Manifest<'_>, verdict: &Verdict, messages: &Messages) -> Decision {
    let facts = RequestFacts { kind: manifest.request_kind(), exemption: None, is_guess: false, is_too_large: false };
    let ruling = policy::rule(policy, facts, &verdict.assessment, messages.unmet.is_some());
    decide(ruling, policy, manifest, verdict, messages)
}

fn migrating() -> Manifest<'static> {
    Manifest::Migration(Box::default())
}

fn starting() -> Manifest<'static> {
    Manifest::Vmi(Box::default())
}

fn strict() -> Policy {
    Policy { name: "intel-pool".to_owned(), enforce: Dial::From(Impact::Pinned), ..Policy::builtin() }
}

fn refused(manifest: &Manifest<'_>, verdict: &Verdict, messages: &Messages) -> (Denial, Vec<String>) {
    let decision = put(&strict(), manifest, verdict, messages);
    let warnings = decision.warnings();
    match decision {
        Decision::Deny { denial, audit, .. } => {
            assert!(!audit.is_empty() || verdict.assessment.outcome.impact().is_none(), "it would leave no trace");
            (denial, warnings)
        }
        Decision::Admit { .. } => panic!("it was admitted: {decision:?}"),
    }
}

#[test]
fn a_denial_is_complete() {
    let (denial, warnings) = refused(&migrating(), &pinned(&[Check::MigrationTarget]), &messages());
    assert_eq!(
        (denial.message.as_str(), denial.details.as_slice()),
        ("shop/ledger cannot migrate (policy intel-pool)", messages().details.as_slice()),
        "the person would not know why, who asked for it, or what to do"
    );
    let cause = &denial.causes[0];
    assert_eq!(cause.message, "shop/ledger no node offers it (policy intel-pool)", "422 shows the causes only");
    assert_eq!(denial.code, DenialKind::Forbidden, "no field of a migration can be fixed");
    assert_eq!(warnings, Vec::<String>::new(), "everything would be said twice");
    let (_, warnings) = refused(&migrating(), &pinned(&[Check::OwnNode]), &messages());
    assert_eq!(warnings, ["cpufit: shop/ledger: its own node lacks fpu"], "a guest in danger would go unmentioned");
}

#[rstest]
#[case::fields(messages().causes, DenialKind::Invalid)]
#[case::no_causes(vec![], DenialKind::Forbidden)]
#[case::no_field(vec![FieldCause { field: String::new(), message: "no node".to_owned() }], DenialKind::Forbidden)]
fn only_denials_with_fields_are_sent_as_invalid(#[case] causes: Vec<FieldCause>, #[case] expected: DenialKind) {
    let messages = Messages { causes, ..messages() };
    let (denial, _) = refused(&starting(), &pinned(&[Check::MigrationTarget]), &messages);
    assert_eq!(denial.code, expected, "with 422 kubectl prints the causes alone, without it the message alone");
}

#[rstest]
#[case::the_model_alone(None, &["spec.domain.cpu.model"], "shop/web asks for EPYC (policy intel-pool)")]
#[case::and_its_impact(Some(Impact::Pinned), &["spec.x", "spec.domain.cpu.model"], "shop/ledger cannot migrate (policy intel-pool)")]
fn a_denial_names_the_field_of_the_model_that_the_policy_wants(
    #[case] impact: Option<Impact>,
    #[case] fields: &[&str],
    #[case] first: &str,
) {
    let messages = Messages { unmet: Some(unmet()), ..messages() };
    let judged = verdict(impact.map_or(Outcome::Fits, Outcome::Impaired), impact.map(|_| Cause::Structural), &[]);
    let (denial, _) = refused(&starting(), &judged, &messages);
    assert_eq!(denial.code, DenialKind::Invalid);
    assert_eq!(
        denial.causes.iter().map(|cause| cause.field.as_str()).collect::<Vec<_>>(),
        fields,
        "a bullet is missing"
    );
    assert_eq!(denial.message, first);
}

#[test]
fn a_guest_that_is_exempt_is_warned_of_its_model_first() {
    let messages = Messages { unmet: Some(unmet()), ..messages() };
    let target = RequestFacts {
        kind: RequestKind::VirtualMachineInstance,
        exemption: Some(Exemption::Controller),
        is_guess: false,
        is_too_large: false,
    };
    let judged = pinned(&[Check::MigrationTarget]);
    let ruling = policy::rule(&strict(), target, &judged.assessment, true);
    let warnings = decide(ruling, &strict(), &starting(), &judged, &messages).warnings();
    assert_eq!(warnings.first().map(String::as_str), Some("cpufit: shop/web asks for EPYC (policy intel-pool)"));
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
fn only_findings_that_need_an_answer_become_warnings(
    #[case] outcome: Outcome,
    #[case] checks: &[Check],
    #[case] expected: &[&str],
) {
    let decision = put(&Policy::builtin(), &migrating(), &verdict(outcome, None, checks), &messages());
    assert_eq!(decision.warnings(), expected, "people would not be warned, or be warned for nothing");
}

#[test]
fn without_other_lines_the_headline_is_the_warning() {
    let judged = verdict(Outcome::Unknown(Unknown::NoLabels), None, &[Check::Unknown]);
    let messages =
        Messages { title: "shop/ledger".to_owned(), headline: "cannot be judged".to_owned(), ..Messages::default() };
    let decision = put(&Policy::builtin(), &migrating(), &judged, &messages);
    assert_eq!(decision.warnings(), ["cpufit: shop/ledger cannot be judged"], "silence would pass for a good verdict");
}

fn asking(cpu: &Value, rest: &Value) -> Value {
    vm("db", "").tweak(|vm| {
        let spec = &mut vm["spec"]["template"]["spec"];
        spec["domain"]["cpu"] = cpu.clone();
        rest.as_object().into_iter().flatten().for_each(|(key, value)| spec[key] = value.clone());
    })
}

fn own_affinity() -> Value {
    let terms = json!([{"matchExpressions": [{"key": feature("hle"), "operator": "DoesNotExist"}]}]);
    json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}})
}

/// A denial names the nodes that only the affinity keeps off, and recommends the remedy that comes first everywhere
/// else.
#[rstest]
#[case::forbidden(json!({"features": [{"name": "fpu", "policy": "forbid"}]}), json!({}), true)]
#[case::forbidden_on_some(json!({"features": [{"name": "hle", "policy": "forbid"}, {"name": "gone"}]}), json!({}), false)]
#[case::its_own_affinity(json!({"model": "Cascadelake-Server"}), json!({"affinity": own_affinity()}), true)]
#[case::a_model_of_no_node(json!({"model": "EPYC-Turin"}), json!({}), false)]
#[case::a_feature_of_no_node(json!({"features": [{"name": "gone"}]}), json!({}), false)]
fn a_denial_says_what_keeps_nodes_off_and_what_helps(#[case] cpu: Value, #[case] rest: Value, #[case] excluded: bool) {
    let world = super::world(intel(), Vec::new(), Some(Impact::Fragile));
    let sent = asking(&cpu, &rest);
    let manifest = Manifest::VirtualMachine(Box::new(read(sent.clone())));
    let case = judge(&world, &manifest, &UserName::from(KUBECTL), Depth::Full).expect("a guest");
    let denial = denied(&world, &review(&sent)).expect("a denial");
    assert_eq!(!case.verdict.excluded.is_empty(), excluded, "{:?}", case.verdict.excluded);
    let by_affinity = denial.details.iter().filter(|line| line.contains("not its node affinity")).count();
    assert_eq!(by_affinity, usize::from(excluded), "nodes that only the affinity keeps off: {:?}", denial.details);
    let found = case.verdict.findings.iter().find(|found| found.impact.is_some()).expect("the reason");
    let Some(best) = found.remedies.first() else { return };
    let said = match &best.action {
        Action::UseModel(model) => format!("with model {}", model.model),
        action => format!("; cheapest remedy: {}", say::remedy::summary(action, &case.prepared.subject)),
    };
    let causes: Vec<&str> = denial.causes.iter().map(|cause| cause.message.as_str()).collect();
    assert!(causes.iter().any(|cause| cause.contains(&said)), "another remedy than {said} is recommended: {causes:?}");
    assert!(!causes.iter().any(|cause| cause.contains("kubectl ")), "a command on what is not stored: {causes:?}");
}
