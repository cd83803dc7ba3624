//! Tests of verdicts and their findings, case by case.

use std::borrow::Cow;

use rstest::rstest;

use crate::fit::assess::targets_by_start;
use crate::fit::check::KnownNotUsable;
use crate::fit::fleet::Fleet;
use crate::fit::judgement::{Depth, Judgement, assess};
use crate::fit::label;
use crate::fit::node::Node;
use crate::fit::placement::{Affinity, Expression, NodeSelector, Placement, Term};
use crate::fit::remedy::{Action, RemedyId};
use crate::fit::subject::{
    AfterStart, CpuFeatures, CpuMode, FailedMigration, HostModelRule, Migration, Running, Stage, Start, Subject,
    Template,
};
use crate::fit::verdict::{Cause, Check, Detail, Evidence, Finding, Impact, Outcome, Verdict};
use crate::testing::Tweak;
use crate::testing::fleet::{
    arm, cascade_lake, cordon, feature, give, ice_lake, intel, known, machine, mixed, model, node, of, required, rome,
    set, skylake, taint, take, vendor,
};

const AFTER_START: AfterStart = AfterStart { host_model: HostModelRule::Copied, vendor: true };
const ZONE: &str = "topology.kubernetes.io/zone";

fn ask(subject: &mut Subject<'_>, key: &str, value: &str) {
    subject.placement.selector.insert(key.to_owned(), value.to_owned());
}

/// Returns KubeVirt's condition for host-model guests: no node whose host model is declared obsolete.
fn without_obsolete_host_model() -> Affinity {
    let expressions = vec![Expression::DoesNotExist(label::OBSOLETE_HOST_MODEL.to_owned())];
    NodeSelector { terms: vec![Term { expressions, names: Vec::new() }] }.into()
}

/// Returns the demands of a guest at its start.
fn start(cpu: &str) -> Start<'static> {
    let mode = CpuMode::parse(cpu);
    let mut keys = vec![label::SCHEDULABLE.to_owned(), machine("q35")];
    let is_host_model = mode == CpuMode::HostModel;
    keys.extend((!is_host_model && mode != CpuMode::HostPassthrough).then(|| model(cpu)));
    let mut selector: Vec<_> = keys.into_iter().map(|key| (Cow::Owned(key), Cow::Borrowed("true"))).collect();
    selector.push((Cow::Borrowed(label::ARCH), Cow::Borrowed("amd64")));
    let affinity = is_host_model.then(without_obsolete_host_model);
    let after_start =
        if is_host_model { AFTER_START } else { AfterStart { host_model: HostModelRule::NotAsked, ..AFTER_START } };
    let selector = selector.into_iter().collect();
    Start {
        mode,
        placement: Placement { selector, affinity, ..Placement::default() },
        own_models: Vec::new(),
        features: CpuFeatures::default(),
        by_policy: None,
        after_start,
    }
}

/// Builds a guest that is to start.
fn starting(cpu: &str) -> Subject<'static> {
    let start = start(cpu);
    Subject::new("shop", "db", Stage::Start(start.after_start), start.placement.clone()).tweak(|subject| {
        subject.mode = start.mode.clone();
        subject.restart = Some(start);
        subject.definition.template = Some(Template::VirtualMachine);
        "spec".clone_into(&mut subject.definition.field_root);
    })
}

/// Builds a guest that was started on a node like this one and is to migrate; `inherited`: it migrated before.
fn leaving(source: &Node, cpu: &str, inherited: bool) -> Subject<'static> {
    let mut subject = starting(cpu);
    let migration = Migration { source: Some(source.name.clone()), inherited, ..Migration::default() };
    subject.running = Some(Running { node: source.name.clone(), placement: Some(subject.placement.clone()) });
    if cpu == "host-model" {
        let fleet = Fleet::new(vec![source.clone()]);
        let class = fleet.host_model_class(0).clone();
        class.model.into_iter().flatten().for_each(|(key, value)| ask(&mut subject, &key, &value));
    }
    let vendor = source.labels.keys().find(|key| key.starts_with(label::CPU_VENDOR)).cloned();
    if let Some(key) = vendor {
        ask(&mut subject, &key, "true");
    }
    if inherited {
        subject.running.iter_mut().for_each(|running| running.placement = Some(subject.placement.clone()));
    }
    subject.stage = Stage::Migration(migration);
    subject.definition.field_root.clear();
    subject
}

/// Builds a guest that was started on node-a when its labels were those of node-c and node-d.
fn db() -> Subject<'static> {
    leaving(&cascade_lake("node-a"), "host-model", true)
}

fn judge(subject: &Subject<'_>, nodes: Vec<Node>) -> Verdict {
    Judgement::new(subject, &Fleet::new(nodes), Depth::Full).verdict()
}

fn found(verdict: &Verdict, check: Check) -> Option<&Finding> {
    verdict.found(check)
}

/// Returns the identifiers of all remedies that are offered.
fn offers(verdict: &Verdict) -> Vec<&'static str> {
    verdict.findings.iter().flat_map(|finding| &finding.remedies).map(|remedy| remedy.action.id().as_str()).collect()
}

/// Removes labels from node-c that node-a's guest selects.
fn drifted(node: &mut Node) {
    take(node, &[feature("fpu"), feature("vme")]);
}

mod outcomes {
    use super::*;

    fn pool(change: impl Fn(&mut [Node])) -> Vec<Node> {
        let mut nodes = vec![cascade_lake("node-a"), cascade_lake("node-c"), cascade_lake("node-d")];
        change(&mut nodes);
        nodes
    }

    #[rstest]
    #[case::two_targets(db(), pool(|_| {}), "fits", None)]
    #[case::one_target(db(), pool(|n| drifted(of(n, "node-c"))), "fragile", Some(Cause::Structural))]
    #[case::no_target(db(), pool(|n| n[1..].iter_mut().for_each(drifted)), "pinned", Some(Cause::Structural))]
    #[case::all_cordoned(db(), pool(|n| n[1..].iter_mut().for_each(cordon)), "pinned", Some(Cause::Temporary))]
    #[case::one_cordoned(db(), pool(|n| cordon(of(n, "node-d"))), "fragile", Some(Cause::Temporary))]
    #[case::cordoned_and_drifted(
        db(),
        pool(|n| {
            drifted(of(n, "node-c"));
            cordon(of(n, "node-d"));
        }),
        "pinned",
        Some(Cause::Temporary)
    )]
    #[case::tainted(
        db(),
        pool(|n| n[1..].iter_mut().for_each(|node| node.taints.push(taint("dedicated")))),
        "pinned",
        Some(Cause::Temporary)
    )]
    #[case::virt_handler_down(
        db(),
        pool(|n| n[1..].iter_mut().for_each(|node| set(node, label::SCHEDULABLE, "false"))),
        "pinned",
        Some(Cause::Temporary)
    )]
    #[case::wrong_zone(db().tweak(|s| ask(s, ZONE, "z9")), pool(|_| {}), "pinned", Some(Cause::Placement))]
    #[case::no_such_machine(
        db(),
        pool(|n| n[1..].iter_mut().for_each(|node| take(node, &[machine("q35")]))),
        "pinned",
        Some(Cause::Placement)
    )]
    #[case::affinity(
        db().tweak(|s| {
            let expressions = vec![Expression::In(ZONE.to_owned(), vec!["z9".to_owned()])];
            s.placement.affinity = Some(NodeSelector { terms: vec![Term { expressions, names: Vec::new() }] }.into());
        }),
        pool(|_| {}),
        "pinned",
        Some(Cause::Placement)
    )]
    #[case::forbidden_feature(
        db().tweak(|s| {
            let expressions = vec![Expression::DoesNotExist(feature("hle"))];
            s.placement.affinity = Some(NodeSelector { terms: vec![Term { expressions, names: Vec::new() }] }.into());
        }),
        pool(|_| {}),
        "pinned",
        Some(Cause::Structural)
    )]
    #[case::alone(db(), vec![cascade_lake("node-a")], "pinned", Some(Cause::Placement))]
    #[case::empty_cluster(db(), Vec::new(), "unknown", None)]
    #[case::no_labeller(starting("host-model"), vec![node("n1"), node("n2")], "unknown", None)]
    #[case::only_arm(starting("host-model"), vec![arm("arm-1")], "unschedulable", Some(Cause::Placement))]
    #[case::arm_on_arm(
        starting("host-passthrough").tweak(|s| {
            s.placement.selector.retain(|(key, _)| key != label::ARCH && !key.starts_with(label::MACHINE_TYPE));
            ask(s, label::ARCH, "arm64");
        }),
        vec![arm("arm-1"), arm("arm-2"), arm("arm-3")],
        "fits",
        None
    )]
    #[case::only_another_architecture_is_labelled(
        starting("host-model"),
        vec![node("n1"), cascade_lake("z-1").tweak(|n| set(n, label::ARCH, "s390x"))],
        "unknown",
        None
    )]
    #[case::no_node_of_its_architecture(
        starting("host-model"),
        vec![arm("arm-1"), node("z-1").tweak(|n| set(n, label::ARCH, "s390x"))],
        "unschedulable",
        Some(Cause::Placement)
    )]
    #[case::a_node_may_be_of_its_architecture(
        starting("host-model"),
        vec![arm("arm-1"), node("n1").tweak(|n| drop(n.labels.remove(label::ARCH)))],
        "unknown",
        None
    )]
    #[case::model_nowhere(starting("EPYC-Turin"), mixed(), "unschedulable", Some(Cause::Structural))]
    #[case::model_on_cordoned(
        starting("EPYC-Rome"),
        vec![skylake("node-b"), rome("amd-1").tweak(cordon)],
        "unschedulable",
        Some(Cause::Temporary)
    )]
    #[case::model_elsewhere(
        starting("EPYC-Rome").tweak(|s| ask(s, ZONE, "z1")),
        vec![skylake("node-b"), rome("amd-1")],
        "unschedulable",
        Some(Cause::Placement)
    )]
    #[case::model_nowhere_and_wrong_zone(
        starting("EPYC-Turin").tweak(|s| ask(s, ZONE, "z9")),
        mixed(),
        "unschedulable",
        Some(Cause::Structural)
    )]
    #[case::model_nowhere_and_wrong_affinity(
        starting("EPYC-Turin").tweak(|s| {
            let expressions = vec![Expression::In(ZONE.to_owned(), vec!["z9".to_owned()])];
            s.placement.affinity = Some(NodeSelector { terms: vec![Term { expressions, names: Vec::new() }] }.into());
        }),
        mixed(),
        "unschedulable",
        Some(Cause::Structural)
    )]
    #[case::model_nowhere_and_wrong_machine(
        starting("EPYC-Turin").tweak(|s| ask(s, &machine("pc-q35-gone"), "true")),
        mixed(),
        "unschedulable",
        Some(Cause::Structural)
    )]
    #[case::model_nowhere_and_another_node(
        starting("EPYC-Turin").tweak(|s| s.placement.node_name = Some(Cow::Borrowed("no-such-node"))),
        mixed(),
        "unschedulable",
        Some(Cause::Structural)
    )]
    #[case::model_on_another_architecture(
        starting("EPYC-Rome").tweak(|s| ask(s, ZONE, "z9")),
        vec![skylake("node-b"), rome("amd-1").tweak(|n| set(n, label::ARCH, "arm64"))],
        "unschedulable",
        Some(Cause::Structural)
    )]
    #[case::inherited_nowhere_and_wrong_zone(
        db().tweak(|s| ask(s, ZONE, "z9")),
        pool(|n| n.iter_mut().for_each(drifted)),
        "pinned",
        Some(Cause::Structural)
    )]
    #[case::only_its_own_node_may_take_it(
        db().tweak(|s| ask(s, label::HOSTNAME, "node-a")),
        pool(|n| n[1..].iter_mut().for_each(drifted)),
        "pinned",
        Some(Cause::Placement)
    )]
    #[case::alone_and_drifted(
        db(),
        vec![cascade_lake("node-a").tweak(drifted)],
        "pinned",
        Some(Cause::Placement)
    )]
    #[case::model_on_one(starting("Icelake-Server-noTSX"), mixed(), "pinned", Some(Cause::Structural))]
    #[case::model_on_two(starting("EPYC-Rome"), vec![rome("amd-1"), rome("amd-2")], "fragile", Some(Cause::Placement))]
    #[case::model_on_three(starting("EPYC-Rome"), mixed(), "fits", None)]
    #[case::worst_start_decides(starting("host-model"), mixed(), "pinned", Some(Cause::Structural))]
    #[case::any_start_will_do(starting("host-model"), vec![rome("amd-1"), rome("amd-2"), rome("amd-3")], "fits", None)]
    fn a_verdict_has_the_impact_and_cause_of_what_keeps_the_guest(
        #[case] subject: Subject<'static>,
        #[case] nodes: Vec<Node>,
        #[case] expected: &str,
        #[case] cause: Option<Cause>,
    ) {
        let verdict = judge(&subject, nodes);
        assert_eq!(
            (verdict.assessment.outcome.as_str(), verdict.assessment.cause),
            (expected, cause),
            "a guest in need is let pass, or one is denied for what will pass by itself: {verdict:#?}"
        );
        let in_need = verdict.assessment.outcome.impact().is_some();
        let said = verdict.findings.iter().any(|f| matches!(f.check, Check::StartNode | Check::MigrationTarget));
        assert_eq!(in_need, said, "an impact that is not reported, or words without one");
        assert!(!verdict.assessment.fitting.iter().any(|n| n >= verdict.assessment.fitting.len()));
    }

    #[rstest]
    #[case::nothing_known(Vec::new())]
    #[case::no_cpu_labels(vec![node("n1"), node("n2")])]
    fn fitting_nodes_are_named_even_if_the_verdict_is_unknown(#[case] nodes: Vec<Node>) {
        let count = nodes.len();
        let verdict = judge(&starting("host-model"), nodes);
        assert_eq!(verdict.assessment.fitting.count(), count, "the scheduler's own answer is withheld");
        assert!(found(&verdict, Check::Unknown).is_some(), "no reason is given for the missing verdict");
        assert!(offers(&verdict).is_empty(), "a remedy for a guess");
    }

    #[test]
    fn the_source_node_is_not_a_migration_target() {
        let verdict = judge(&db(), pool(|n| n[1..].iter_mut().for_each(drifted)));
        assert_eq!(
            (verdict.assessment.nodes_judged, verdict.assessment.fitting.count()),
            (2, 0),
            "a guest cannot migrate to where it is"
        );
    }

    /// The targets of a host-model guest depend on the node where it starts.
    #[test]
    fn host_model_is_judged_from_each_node_it_may_start_on() {
        let fleet = Fleet::new(intel());
        let subject = starting("host-model");
        let verdict = assess(&subject, &fleet);
        let by_targets: Vec<(usize, Vec<&str>)> =
            targets_by_start(&subject, &subject.placement, AFTER_START, &verdict.fitting, &fleet)
                .iter()
                .map(|(count, nodes)| (*count, fleet.names(nodes)))
                .collect();
        assert_eq!(
            by_targets,
            [(0, vec!["node-e"]), (2, vec!["node-a", "node-c", "node-d"]), (4, vec!["node-b"])],
            "a guest that starts on node-e is stuck there, and no warning said so"
        );
        assert_eq!(verdict.outcome, Outcome::Impaired(Impact::Pinned), "the best start must not hide the worst");
    }

    /// A guest that requires a feature looks as if it had migrated before, so its host model is never
    /// selected.
    #[test]
    fn a_guest_that_looks_migrated_requires_no_host_model() {
        let after_start = AfterStart { host_model: HostModelRule::NotAsked, vendor: true };
        let subject = starting("host-model").tweak(|s| {
            s.stage = Stage::Start(after_start);
            ask(s, &feature("avx"), "true");
        });
        let verdict = judge(&subject, intel());
        assert_eq!(verdict.assessment.outcome, Outcome::Fits, "KubeVirt lets it go anywhere of its vendor");
    }

    /// Nodes of one host model, with labels of a release without `cpu-model-migration`.
    #[rstest]
    #[case::up_to_0_53(HostModelRule::SameHostOrRefused, "fits")]
    #[case::since_0_54(HostModelRule::CopiedOrRefused, "pinned")]
    fn the_model_is_asked_for_by_the_label_of_the_release(#[case] host_model: HostModelRule, #[case] expected: &str) {
        let old = |name: &str| {
            rome(name).tweak(|node| node.labels.retain(|key, _| !key.starts_with(label::CPU_MODEL_MIGRATION)))
        };
        let subject =
            starting("host-model").tweak(|s| s.stage = Stage::Start(AfterStart { host_model, vendor: false }));
        let verdict = judge(&subject, vec![old("amd-1"), old("amd-2"), old("amd-3")]);
        assert_eq!(
            verdict.assessment.outcome.as_str(),
            expected,
            "a start would foretell another migration than KubeVirt makes"
        );
    }

    #[rstest]
    #[case::since_1_6(HostModelRule::Copied, "fits")]
    #[case::before(HostModelRule::CopiedOrRefused, "pinned")]
    fn a_start_node_without_a_host_model_label_is_judged_by_the_release(
        #[case] host_model: HostModelRule,
        #[case] expected: &str,
    ) {
        let bare =
            |name: &str| rome(name).tweak(|node| node.labels.retain(|key, _| !key.starts_with(label::HOST_MODEL_CPU)));
        let subject = starting("host-model").tweak(|s| s.stage = Stage::Start(AfterStart { host_model, vendor: true }));
        let verdict = judge(&subject, vec![bare("amd-1"), bare("amd-2"), bare("amd-3")]);
        assert_eq!(verdict.assessment.outcome.as_str(), expected, "KubeVirt's older releases make no target pod then");
    }
}

mod evidence;
mod known_by_name;

mod founding {
    use super::*;

    /// The original case: the guest has 25 keys and a node meets 23 of them, but no message names the other
    /// two.
    #[test]
    fn the_nearest_node_and_its_two_missing_labels_are_named() {
        let subject = db().tweak(|s| {
            s.placement.selector.retain(|(key, _)| ![feature("hle"), feature("rtm")].contains(&key.to_string()));
        });
        assert_eq!(subject.placement.selector.len(), 25);
        let nodes =
            vec![cascade_lake("node-a"), skylake("node-b"), cascade_lake("node-c").tweak(drifted), rome("amd-1")];
        let verdict = judge(&subject, nodes);
        let near = verdict.nearest.first().expect("a nearest node");
        let missing = vec![(feature("fpu"), "true".to_owned()), (feature("vme"), "true".to_owned())];
        assert_eq!(
            (near.node.as_str(), &near.missing),
            ("node-c", &missing),
            "people look for them in 25 keys by hand"
        );
        assert_eq!(verdict.nearest.len(), 3);
        let counts: Vec<usize> = verdict.nearest.iter().map(|near| near.missing.len()).collect();
        assert!(counts.is_sorted(), "a node that lacks more is named before one that lacks less: {counts:?}");
    }

    const FOUR: [&str; 4] = ["restart", "restart-with-common-model", "add-labels", "remove-labels"];

    fn stale() -> Subject<'static> {
        db().tweak(|s| ask(s, &feature("amd-stibp"), "true"))
    }

    fn never_migrated() -> Subject<'static> {
        leaving(&cascade_lake("node-a"), "host-model", false)
    }

    fn two(change: impl FnOnce(&mut Node)) -> Vec<Node> {
        vec![cascade_lake("node-a"), cascade_lake("node-c").tweak(change)]
    }

    #[rstest]
    #[case::stale_after_an_upgrade(
        stale(),
        vec![cascade_lake("node-a"), cascade_lake("node-c"), cascade_lake("node-d")],
        &["add-labels", "restart", "restart-with-common-model"]
    )]
    #[case::drifted_and_inherited(db(), two(drifted), &["add-labels", "restart-with-common-model"])]
    #[case::drifted_and_never_migrated(
        never_migrated(),
        two(drifted),
        &["add-labels", "remove-labels", "restart-with-common-model"]
    )]
    #[case::other_hardware(
        db(),
        vec![cascade_lake("node-a"), ice_lake("node-e")],
        &["restart-with-common-model"]
    )]
    #[case::nothing_in_common(db(), vec![cascade_lake("node-a"), rome("amd-1")], &[])]
    #[case::cordon_alone(db(), two(cordon), &[])]
    #[case::named_model_on_the_source_alone(
        leaving(&ice_lake("node-e"), "Icelake-Server-noTSX", false),
        vec![cascade_lake("node-a"), ice_lake("node-e")],
        &["restart-with-common-model"]
    )]
    #[case::fits(db(), vec![cascade_lake("node-a"), cascade_lake("node-c"), cascade_lake("node-d")], &[])]
    #[case::wrong_machine_type(db(), two(|node| take(node, &[machine("q35")])), &[])]
    fn each_of_the_four_remedies_is_offered_where_it_helps_and_only_there(
        #[case] subject: Subject<'static>,
        #[case] nodes: Vec<Node>,
        #[case] expected: &[&str],
    ) {
        let verdict = judge(&subject, nodes);
        let mut offered: Vec<&str> = offers(&verdict).into_iter().filter(|id| FOUR.contains(id)).collect();
        offered.sort_unstable();
        assert_eq!(
            offered, expected,
            "a remedy that does not help was offered, or one that does was not: {verdict:#?}"
        );
        if verdict.assessment.outcome != Outcome::Fits {
            for id in FOUR.iter().filter(|id| !expected.contains(id)) {
                let is_named = verdict.not_helping.iter().any(|not| not.id.as_str() == *id)
                    || verdict.by_luck.iter().any(|luck| luck.action.id().as_str() == *id);
                assert!(is_named, "{id} is left out without a reason: {verdict:#?}");
            }
        }
    }

    #[test]
    fn the_cheapest_remedy_comes_first() {
        let nodes =
            vec![cascade_lake("node-a"), cascade_lake("node-c").tweak(drifted), cascade_lake("node-d").tweak(cordon)];
        let verdict = judge(&db(), nodes);
        // A new machine harms no guest, but it is the last choice.
        let remedies = verdict.findings.iter().flat_map(|f| &f.remedies).filter(|r| r.action.id() != RemedyId::AddNode);
        let outages: Vec<_> = remedies.map(|remedy| remedy.action.outage(&db())).collect();
        assert_eq!(offers(&verdict).first(), Some(&"uncordon"), "labels are forged where an uncordon would do");
        assert!(outages.is_sorted(), "a guest is restarted where it need not be: {:?}", offers(&verdict));
    }

    #[test]
    fn the_labels_to_add_are_those_that_are_missing() {
        let verdict = judge(&db(), two(drifted));
        let commands: Vec<String> = verdict
            .findings
            .iter()
            .flat_map(|f| &f.remedies)
            .flat_map(|remedy| remedy.action.commands(&db()).lines())
            .collect();
        assert!(
            commands
                .iter()
                .any(|line| line.starts_with("kubectl annotate node node-c node-labeller.kubevirt.io/skip-node=")),
            "the labeller undoes the rest in three minutes: {commands:#?}"
        );
        let wanted = format!("kubectl label node node-c {}=true {}=true", feature("fpu"), feature("vme"));
        assert!(commands.contains(&wanted), "the command cannot be pasted: {commands:#?}");
    }
}

mod findings {
    use super::*;

    fn pool() -> Vec<Node> {
        vec![cascade_lake("node-a"), cascade_lake("node-c"), cascade_lake("node-d")]
    }

    #[rstest]
    #[case::meets_it(|_: &mut Node| {}, false)]
    #[case::lost_a_feature(drifted, true)]
    #[case::virt_handler_down(|node: &mut Node| set(node, label::SCHEDULABLE, "false"), true)]
    #[case::cordoned(cordon, false)]
    #[case::declared_obsolete(|node: &mut Node| give(node, [label::OBSOLETE_HOST_MODEL.to_owned()]), true)]
    fn a_node_that_no_longer_meets_its_guests_pod_is_reported(#[case] change: fn(&mut Node), #[case] expected: bool) {
        let nodes = pool().tweak(|nodes| change(of(nodes, "node-a")));
        let verdict = judge(&db(), nodes);
        let finding = found(&verdict, Check::OwnNode);
        assert_eq!(
            finding.is_some(),
            expected,
            "a kubelet that restarts fails the guest, and users were not warned: {verdict:#?}"
        );
        if let Some(finding) = finding {
            let Detail::OwnNode(found) = &finding.detail else { panic!("{finding:?}") };
            assert_eq!(found.node, "node-a");
            assert!(!found.missing.is_empty() || !found.affinity.is_empty(), "{found:?}");
        }
    }

    #[test]
    fn not_ready_fits_with_a_note() {
        let nodes = pool().tweak(|nodes| of(nodes, "node-c").not_ready = true);
        let verdict = judge(&db(), nodes);
        assert_eq!(verdict.assessment.fitting.count(), 2, "the scheduler goes by taints, not by the condition");
        let note = found(&verdict, Check::NotReady).expect("a note that node-c is not Ready");
        assert_eq!((&note.detail, note.impact), (&Detail::NotReady(vec!["node-c".to_owned()]), None));
    }

    #[rstest]
    #[case::both(true, true, true)]
    #[case::required_alone(true, false, false)]
    #[case::forbidden_alone(false, true, false)]
    fn a_feature_both_required_and_forbidden_is_reported(
        #[case] requires: bool,
        #[case] forbids: bool,
        #[case] expected: bool,
    ) {
        let subject = starting("host-model").tweak(|s| {
            if requires {
                ask(s, &feature("hle"), "true");
            }
            if forbids {
                s.placement.affinity = s.placement.affinity.as_deref().cloned().map(|mut affinity| {
                    let forbidden = || Expression::DoesNotExist(feature("hle"));
                    affinity.terms.iter_mut().for_each(|term| term.expressions.push(forbidden()));
                    affinity.into()
                });
            }
        });
        let verdict = judge(&subject, intel());
        assert_eq!(
            found(&verdict, Check::Contradiction).is_some(),
            expected,
            "people look for a node where none can ever be: {verdict:#?}"
        );
    }

    #[test]
    fn a_model_that_nodes_know_but_cannot_run() {
        let known_only = |name: &str| skylake(name).tweak(|node| give(node, [known("Haswell")]));
        let verdict = judge(&starting("Haswell"), vec![known_only("n1"), known_only("n2"), skylake("n3")]);
        let finding = found(&verdict, Check::ModelKnownNotUsable).expect("manuals send people to those labels");
        let expected = KnownNotUsable { model: "Haswell".to_owned(), known: 2, total: 3 };
        assert_eq!(finding.detail, Detail::KnownNotUsable(expected));

        let usable = skylake("n1").tweak(|node| give(node, [model("Haswell"), known("Haswell")]));
        let verdict = judge(&starting("Haswell"), vec![usable, known_only("n2")]);
        assert!(found(&verdict, Check::ModelKnownNotUsable).is_none(), "it is usable on one");
    }

    fn refused() -> FailedMigration {
        FailedMigration {
            is_of_cpu: true,
            target: "node-c".to_owned(),
            reason: "guest CPU doesn't match specification: extra features: ht".to_owned(),
            missing: Vec::new(),
            extra: vec!["ht".to_owned()],
        }
    }

    #[test]
    fn libvirts_refusal_is_reported_beside_labels_that_fit() {
        let subject = db().tweak(|s| s.failed = Some(refused()));
        let verdict = judge(&subject, pool());
        assert_eq!(verdict.assessment.outcome, Outcome::Fits);
        let finding =
            found(&verdict, Check::LibvirtRefused).expect("a bare \"fits\" sends people into the same failure");
        let Detail::LibvirtRefused(found) = &finding.detail else { panic!("{finding:?}") };
        assert_eq!((found.target.as_str(), &found.reason), ("node-c", &refused().reason));
        assert_eq!(offers(&verdict), ["restart"]);
        assert!(verdict.not_helping.iter().any(|not| not.id == RemedyId::AddLabels), "labels are not the cause");
    }

    /// A restart because of libvirt's refusal is offered only if the guest can start again.
    #[test]
    fn no_restart_is_offered_if_no_node_fits_afterwards() {
        let subject = db().tweak(|s| {
            s.failed = Some(refused());
            s.restart.iter_mut().for_each(|start| {
                start.placement.selector.insert(ZONE, "gone");
            });
        });
        let verdict = judge(&subject, pool());
        assert!(!offers(&verdict).contains(&"restart"), "the guest is stopped and stays down: {verdict:#?}");
    }

    #[rstest]
    #[case::migration(db(), true)]
    #[case::start(starting("host-model"), false)]
    fn an_outdated_launcher_is_reported_where_it_matters(#[case] subject: Subject<'static>, #[case] expected: bool) {
        let verdict = judge(&subject.tweak(|s| s.outdated_launcher = true), pool());
        assert_eq!(found(&verdict, Check::OutdatedLauncher).is_some(), expected);
    }

    #[test]
    fn findings_stand_in_the_order_of_the_checks() {
        let subject = db().tweak(|s| {
            s.failed = Some(refused());
            s.outdated_launcher = true;
        });
        let nodes = pool().tweak(|nodes| {
            drifted(of(nodes, "node-a"));
            drifted(of(nodes, "node-c"));
            of(nodes, "node-d").not_ready = true;
        });
        let verdict = judge(&subject, nodes);
        let checks: Vec<Check> = verdict.findings.iter().map(|finding| finding.check).collect();
        assert!(checks.is_sorted() && checks.len() >= 4, "messages would change places from run to run: {checks:?}");
    }

    /// The host that a user selected by name comes first, however much it lacks.
    #[test]
    fn a_host_asked_for_by_name_is_named_first() {
        let subject = db().tweak(|s| {
            ask(s, label::HOSTNAME, "node-e");
            if let Stage::Migration(migration) = &mut s.stage {
                migration.added.push((label::HOSTNAME.to_owned(), "node-e".to_owned()));
            }
        });
        let verdict = judge(&subject, intel());
        assert_eq!(
            verdict.nearest.first().map(|near| near.node.as_str()),
            Some("node-e"),
            "the added entry is not met"
        );
        assert!(
            offers(&verdict).contains(&"drop-added-node-selector"),
            "without the added entry it could go elsewhere"
        );
    }

    /// If no user waits for the answer, the advice names the node and offers no remedy.
    #[test]
    fn a_brief_judgement_has_no_remedies() {
        let fleet = Fleet::new(vec![cascade_lake("node-a"), cascade_lake("node-c").tweak(drifted)]);
        let subject = db();
        let verdict = Judgement::new(&subject, &fleet, Depth::Brief).verdict();
        assert!(offers(&verdict).is_empty() && verdict.not_helping.is_empty(), "remedies cost time in every pod's way");
        assert_eq!(verdict.nearest.len(), 1, "the nearest node is named all the same");
    }

    #[test]
    fn vendors_do_not_share_a_model() {
        let amd_with_intel_model =
            |name: &str| rome(name).tweak(|node| give(node, [model("Skylake-Server-noTSX-IBRS")]));
        let nodes = vec![cascade_lake("node-a"), amd_with_intel_model("amd-1"), amd_with_intel_model("amd-2")];
        assert!(
            nodes.iter().all(|node| node.labels.keys().any(|key| *key == vendor("Intel") || *key == vendor("AMD")))
        );
        let verdict = judge(&db(), nodes);
        let models = verdict.findings.iter().flat_map(|finding| &finding.remedies).filter_map(|remedy| {
            let Action::UseModel(offer) = &remedy.action else { return None };
            Some((offer.model.as_str(), offer.nodes.join(" ")))
        });
        assert_eq!(
            models.collect::<Vec<_>>(),
            [("EPYC-Rome", "amd-1 amd-2".to_owned())],
            "a migration never leads from one vendor to the other, and a restart may"
        );
    }
}
