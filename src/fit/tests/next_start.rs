//! Tests of starts when libvirt lists the models and features of its nodes.

use std::collections::BTreeMap;
use std::sync::Arc;

use rstest::rstest;

use crate::fit::assess::targets_by_start;
use crate::fit::fleet::Fleet;
use crate::fit::judgement::{Depth, Judgement};
use crate::fit::libvirt::{
    Accelerator, Answers, Cpu, GuestCpu, Incompatible, LibvirtAnswer, LibvirtHost, NodeAnswers, Silence, Usable,
};
use crate::fit::models;
use crate::fit::node::Node;
use crate::fit::placement::Placement;
use crate::fit::remedy::{Action, NoModel, WhyNot};
use crate::fit::subject::{
    AfterStart, CpuFeatures, CpuMode, HostModelRule, Migration, Stage, Start, Subject, UnmetAtStart,
};
use crate::fit::verdict::{Check, Detail, Impact, Outcome, Verdict};
use crate::testing::fleet::{cascade_lake, feature, ice_lake, model, rome, skylake, take};
use crate::testing::random::Random;
use crate::testing::thorough::one_in;
use crate::testing::{Tweak, at_least};

const NEW: &str = "Cascadelake-Server-noTSX";
const OLD: &str = "Skylake-Server-noTSX-IBRS";

fn lists(models: &[(&str, Usable)]) -> LibvirtHost {
    LibvirtHost {
        model: None,
        models: Some(models.iter().map(|(name, usable)| ((*name).to_owned(), usable.clone())).collect()),
    }
}

fn blocked(features: &[&str]) -> Usable {
    Usable::No(features.iter().map(ToString::to_string).collect())
}

/// Builds a guest that is to start with a named model and selects these labels in addition; its CPU is not
/// known yet.
fn starts(named: &str, asks: &[String], hosts: BTreeMap<String, LibvirtHost>) -> Subject<'static> {
    let mut placement = Placement::default();
    for key in asks.iter().cloned().chain([model(named)]) {
        placement.selector.insert(key, "true");
    }
    let after_start = AfterStart { host_model: HostModelRule::NotAsked, vendor: false };
    Subject::new("shop", "db", Stage::Start(after_start), placement.clone()).tweak(|subject| {
        subject.mode = CpuMode::Named(named.to_owned());
        subject.restart = Some(Start {
            mode: subject.mode.clone(),
            placement,
            own_models: Vec::new(),
            features: CpuFeatures::default(),
            by_policy: None,
            after_start,
        });
        subject.asked = Some(Answers {
            guest: Err(Silence::NotSaved),
            nodes: Arc::default(),
            hosts: Arc::new(hosts),
            silent_hosts: Arc::default(),
            own_node: None,
            losses: BTreeMap::new(),
            saved: true,
        });
    })
}

fn hosts<const N: usize>(hosts: [(&str, LibvirtHost); N]) -> BTreeMap<String, LibvirtHost> {
    hosts.map(|(name, host)| (name.to_owned(), host)).into()
}

fn judge(subject: &Subject<'_>, nodes: Vec<Node>) -> (Verdict, Vec<String>) {
    let fleet = Fleet::new(nodes);
    let verdict = Judgement::new(subject, &fleet, Depth::Full).verdict();
    let fitting = fleet.names(&verdict.assessment.fitting).into_iter().map(str::to_owned).collect();
    (verdict, fitting)
}

/// Returns the start nodes by the number of nodes that a guest could migrate to from there.
fn targets_of(subject: &Subject<'_>, nodes: Vec<Node>) -> BTreeMap<usize, Vec<String>> {
    let fleet = Fleet::new(nodes);
    let Stage::Start(after_start) = subject.stage else { panic!("it starts") };
    let fitting = subject.fitting(&fleet);
    let by_count = targets_by_start(subject, &subject.placement, after_start, &fitting, &fleet);
    let names = |nodes| fleet.names(nodes).into_iter().map(str::to_owned).collect();
    by_count.iter().map(|(count, nodes)| (*count, names(nodes))).collect()
}

fn failing(verdict: &Verdict) -> Vec<(String, Vec<UnmetAtStart>)> {
    match verdict.found(Check::LibvirtRefuses).map(|found| &found.detail) {
        Some(Detail::FailsAtStart(nodes)) => nodes.clone(),
        None => Vec::new(),
        other => panic!("{other:?}"),
    }
}

/// The answer of node-b's libvirt about the model, with these features disabled in the guest.
#[rstest]
#[case::usable(lists(&[(NEW, Usable::Yes)]), &[], true)]
#[case::not_known(lists(&[(NEW, Usable::Unknown)]), &[], true)]
#[case::says_nothing(LibvirtHost::default(), &[], true)]
#[case::runs_none_by_name(lists(&[]), &[], false)]
#[case::blocked(lists(&[(NEW, blocked(&["hle"]))]), &[], false)]
#[case::blocked_by_what_the_guest_does_not_have(lists(&[(NEW, blocked(&["hle"]))]), &["hle", "rtm"], true)]
#[case::blocked_by_more(lists(&[(NEW, blocked(&["hle", "vaes"]))]), &["hle", "rtm"], false)]
#[case::blocked_by_what_is_not_named(lists(&[(NEW, blocked(&[]))]), &["avx512vnni"], true)]
#[case::blocked_by_what_is_not_named_and_no_part_of_it_is_off(lists(&[(NEW, blocked(&[]))]), &["gfni"], false)]
#[case::blocked_and_nothing_is_switched_off(lists(&[(NEW, blocked(&[]))]), &[], false)]
#[case::not_listed(lists(&[(OLD, Usable::Yes)]), &[], false)]
#[case::not_listed_and_something_is_switched_off(lists(&[(OLD, Usable::Yes), ("pentium", blocked(&["hle"]))]), &["hle"], false)]
#[case::runs_none_by_name_and_something_is_switched_off(lists(&[]), &["hle"], false)]
#[case::only_usable_ones_were_stored(lists(&[(OLD, Usable::Yes)]), &["avx512vnni"], true)]
fn a_start_fails_where_libvirt_cannot_run_its_model(
    #[case] host: LibvirtHost,
    #[case] off: &[&str],
    #[case] fits: bool,
) {
    let mut subject = starts(NEW, &[], hosts([("node-b", host)]));
    subject.features.disabled = off.iter().map(ToString::to_string).collect();
    let (verdict, fitting) = judge(&subject, ["node-a", "node-b", "node-c", "node-d"].map(cascade_lake).to_vec());
    assert_eq!(fitting.contains(&"node-b".to_owned()), fits);
    assert_eq!(
        failing(&verdict).iter().map(|(node, _)| node.as_str()).collect::<Vec<_>>(),
        ["node-b"][usize::from(fits)..]
    );
    assert_eq!(verdict.assessment.outcome, Outcome::Fits, "three others are left");
}

/// Builds answers about the guest's present CPU: node-b and others refuse it.
fn refusals<const N: usize>(refused: [(&str, &[&str]); N]) -> NodeAnswers {
    let refusal = |(node, missing): (&str, &[&str])| {
        let missing = missing.iter().map(ToString::to_string).collect();
        (node.to_owned(), Ok(LibvirtAnswer::Incompatible(Incompatible { missing, ..Incompatible::default() })))
    };
    refused.map(refusal).into()
}

fn of_present(model: &str) -> GuestCpu {
    GuestCpu { cpu: Cpu { model: model.to_owned(), ..Cpu::default() }, accelerator: Accelerator::Kvm }
}

/// Names a feature that node-b's libvirt missed when it refused the present CPU, if it counts at the next start as
/// well: it is of the named model or required, the guest does not disable it, and libvirt does not list the model as
/// usable.
#[rstest]
#[case::of_the_model(&["avx512vnni"], LibvirtHost::default(), &[], Some("does not provide avx512vnni of Cascadelake-Server-noTSX"))]
#[case::of_the_model_among_others(&["vaes", "avx512vnni", "ssbd"], LibvirtHost::default(), &[], Some("does not provide avx512vnni, ssbd of Cascadelake-Server-noTSX"))]
#[case::required(&["gfni"], LibvirtHost::default(), &[], Some("does not provide gfni"))]
#[case::both(&["avx512vnni", "gfni"], LibvirtHost::default(), &[], Some("does not provide avx512vnni of Cascadelake-Server-noTSX and does not provide gfni"))]
#[case::of_the_present_cpu_alone(&["vaes"], LibvirtHost::default(), &[], None)]
#[case::switched_off(&["avx512vnni"], LibvirtHost::default(), &["avx512vnni"], None)]
#[case::switched_off_in_part(&["avx512vnni", "ssbd"], LibvirtHost::default(), &["avx512vnni"], Some("does not provide ssbd of Cascadelake-Server-noTSX"))]
#[case::listed_as_usable(&["avx512vnni"], lists(&[(NEW, Usable::Yes)]), &[], None)]
#[case::neither_usable_nor_not(&["avx512vnni"], lists(&[(NEW, Usable::Unknown)]), &[], Some("does not provide avx512vnni of Cascadelake-Server-noTSX"))]
#[case::not_named(&[], LibvirtHost::default(), &[], None)]
fn features_that_libvirt_missed_are_missing_at_the_next_start(
    #[case] missing: &[&str],
    #[case] host: LibvirtHost,
    #[case] off: &[&str],
    #[case] unmet: Option<&str>,
) {
    let mut subject = starts(NEW, &[feature("gfni")], hosts([("node-b", host)]));
    subject.features.disabled = off.iter().map(ToString::to_string).collect();
    if let Some(asked) = &mut subject.asked {
        asked.guest = Ok(of_present(NEW));
        asked.nodes = Arc::new(refusals([("node-b", missing)]));
    }
    let with_gfni = |name| cascade_lake(name).tweak(|node| node.labels.extend([(feature("gfni"), "true".to_owned())]));
    let (verdict, fitting) = judge(&subject, ["node-a", "node-b", "node-c", "node-d"].map(with_gfni).to_vec());
    assert_eq!(fitting.contains(&"node-b".to_owned()), unmet.is_none(), "a start that fails there is promised");
    let said = verdict.found(Check::LibvirtRefuses).map(crate::say::finding::message);
    let expected =
        unmet.map(|unmet| format!("it would fail at its start on node-b, which fits by labels: libvirt there {unmet}"));
    assert_eq!(said, expected);
}

#[test]
fn a_guest_that_libvirt_can_run_nowhere_cannot_start() {
    let none = || lists(&[(NEW, blocked(&["vaes"])), (OLD, Usable::Yes)]);
    let subject = starts(NEW, &[], hosts([("node-a", none()), ("node-b", none())]));
    let (verdict, fitting) = judge(&subject, ["node-a", "node-b"].map(cascade_lake).to_vec());
    assert_eq!((verdict.assessment.outcome.impact(), fitting.len()), (Some(Impact::Unschedulable), 0));
    let message = crate::say::finding::message(verdict.found(Check::StartNode).expect("why"));
    assert_eq!(message, "cannot start: on the nodes that fit by labels it would fail, as libvirt there says");
    let message = crate::say::finding::message(verdict.found(Check::LibvirtRefuses).expect("which"));
    let expected = "it would fail at its start on node-a, node-b, which fit by labels: libvirt there does not list \
                    Cascadelake-Server-noTSX as usable (missing: vaes)";
    assert_eq!(message, expected);
    let models =
        verdict.findings.iter().flat_map(|finding| &finding.remedies).filter_map(|remedy| match &remedy.action {
            Action::UseModel(model) => Some(model.model.as_str()),
            _ => None,
        });
    assert_eq!(models.collect::<Vec<_>>(), [OLD], "the other one runs");
    let none = || lists(&[(NEW, blocked(&["vaes"]))]);
    let subject = starts(NEW, &[], hosts([("node-a", none()), ("node-b", none())]));
    let (verdict, _) = judge(&subject, ["node-a", "node-b"].map(cascade_lake).to_vec());
    let has_it = |why: &WhyNot| matches!(why, WhyNot::Model(NoModel::HasNotUsable(found)) if found.model == NEW);
    assert!(verdict.not_helping.iter().any(|not| has_it(&not.why)), "{:?}", verdict.not_helping);
}

/// Random nodes and answers: the verdict equals that for nodes whose labels state libvirt's answers.
#[test]
fn a_start_judged_by_libvirt_equals_one_judged_by_true_labels() {
    let mut seen = [0; 2];
    for seed in (0..1_500).step_by(one_in()) {
        let random = &mut Random::new(seed);
        let kinds: [fn(&str) -> Node; 5] = [cascade_lake, cascade_lake, skylake, ice_lake, rome];
        let names = &["node-a", "node-b", "node-c", "node-d", "node-e"][..2 + random.below(4)];
        let mut nodes: Vec<Node> = names.iter().map(|name| random.one(&kinds)(name)).collect();
        let asks: Vec<String> =
            ["fpu", "hle", "vaes"].map(feature).into_iter().filter(|_| random.percent(30)).collect();
        let mut known = BTreeMap::new();
        for name in names {
            if random.percent(30) {
                continue;
            }
            let usable = |random: &mut Random| match random.below(5) {
                0 => blocked(&["vaes"]),
                1 => Usable::Unknown,
                _ => Usable::Yes,
            };
            let models = BTreeMap::from([(NEW.to_owned(), usable(random)), (OLD.to_owned(), usable(random))]);
            let disable = ["fpu", "hle"].into_iter().filter(|_| random.percent(30)).map(str::to_owned).collect();
            let own = Cpu { model: "Cascadelake-Server".to_owned(), disable, ..Cpu::default() };
            known.insert(
                (*name).to_owned(),
                LibvirtHost { model: random.percent(60).then_some(own), models: Some(models) },
            );
        }
        let wanted = random.one(&[NEW, OLD]);
        let mut subject = starts(wanted, &asks, known.clone());
        let mut missed: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for name in names {
            if !random.percent(30) {
                continue;
            }
            let features = ["avx512vnni", "fpu", "gfni", "vaes"].into_iter().filter(|_| random.percent(20)).collect();
            missed.insert((*name).to_owned(), features);
        }
        if let Some(asked) = &mut subject.asked {
            asked.guest = Ok(of_present(NEW));
            asked.nodes =
                Arc::new(missed.iter().flat_map(|(node, missing)| refusals([(node.as_str(), missing)])).collect());
        }
        let (verdict, fitting) = judge(&subject, nodes.clone());
        let targets = targets_of(&subject, nodes.clone());
        for node in &mut nodes {
            let mut untrue = Vec::new();
            let host = known.get(&node.name).cloned().unwrap_or_default();
            let is_usable = host.models.as_ref().is_some_and(|models| models[wanted] == Usable::Yes);
            for name in missed.get(&node.name).into_iter().flatten() {
                let of_model = models::features(wanted).is_some_and(|features| features.contains(name));
                untrue.extend(Some(model(wanted)).filter(|_| of_model && !is_usable));
                let has = host.model.as_ref().and_then(|own| own.has(name));
                untrue.extend(Some(feature(name)).filter(|_| has != Some(true)));
            }
            if host.models.as_ref().is_some_and(|models| matches!(models[wanted], Usable::No(_))) {
                untrue.push(model(wanted));
            }
            if let Some(own) = &host.model {
                let lacks = |name: &&str| own.disable.contains(*name) || *name == "vaes";
                untrue.extend(["fpu", "hle", "vaes"].iter().filter(|name| lacks(name)).map(|name| feature(name)));
            }
            take(node, &untrue);
        }
        let by_labels = Subject { asked: None, ..subject.clone() };
        let (expected, fits) = judge(&by_labels, nodes.clone());
        assert_eq!((&verdict.assessment.outcome, &fitting), (&expected.assessment.outcome, &fits), "{seed}");
        assert_eq!(targets, targets_of(&by_labels, nodes), "{seed}");
        seen[usize::from(!failing(&verdict).is_empty())] += 1;
    }
    assert!(seen.iter().all(|count| *count >= at_least(100)), "{seen:?}");
}

/// Running and at its next start: a model that libvirt misses on a node where the guest may start is not called the
/// best one.
#[test]
fn a_model_that_libvirt_misses_is_not_said_to_run_on_the_most_nodes() {
    let mut doubted = [0; 2];
    for seed in (0..1_500).step_by(one_in()) {
        let random = &mut Random::new(seed);
        let kinds: [fn(&str) -> Node; 4] = [cascade_lake, cascade_lake, skylake, ice_lake];
        let names = &["node-a", "node-b", "node-c", "node-d", "node-e"][..2 + random.below(4)];
        let nodes: Vec<Node> = names.iter().map(|name| random.one(&kinds)(name)).collect();
        let wanted = random.one(&[NEW, OLD]);
        let mut missed = NodeAnswers::new();
        for name in names {
            if random.percent(40) {
                continue;
            }
            let features: Vec<&str> =
                ["avx512vnni", "fpu", "gfni"].into_iter().filter(|_| random.percent(40)).collect();
            missed.extend(refusals([(*name, &features)]));
        }
        let mut next = starts(wanted, &[], BTreeMap::new());
        if let Some(asked) = &mut next.asked {
            asked.guest = Ok(of_present(wanted));
            asked.nodes = Arc::new(missed);
        }
        let source = Some(names[0].to_owned());
        let now = Subject {
            stage: Stage::Migration(Migration { source: source.clone(), ..Migration::default() }),
            ..next.clone()
        };
        for (stand, subject) in [now, next].into_iter().enumerate() {
            let (verdict, _) = judge(&subject, nodes.clone());
            for not in &verdict.not_helping {
                match &not.why {
                    WhyNot::Model(NoModel::HasIt { model: best }) => {
                        let may_start = |node: &&Node| node.labels.contains_key(&model(best));
                        let fails = |node: &Node| {
                            !subject.unmet_at_start(&subject.placement, &subject.features, &node.name).is_empty()
                        };
                        assert!(
                            !nodes.iter().filter(may_start).any(fails),
                            "{seed}, {stand}: where it fails to start, it is said to run"
                        );
                    }
                    WhyNot::Model(NoModel::NotProvided(_) | NoModel::HasRefused { .. }) => doubted[stand] += 1,
                    _ => {}
                }
            }
        }
    }
    assert!(doubted.iter().all(|count| *count >= at_least(50)), "{doubted:?}");
}

/// A guest with its node's CPU selects no model, so libvirt's list does not exclude nodes.
#[test]
fn a_start_without_a_named_model_goes_by_labels() {
    let none = lists(&[(NEW, blocked(&[])), (OLD, blocked(&[]))]);
    let mut subject = starts(NEW, &[], hosts([("node-a", none.clone()), ("node-b", none)]));
    subject.mode = CpuMode::HostModel;
    subject.placement = Placement::default();
    let (verdict, fitting) = judge(&subject, ["node-a", "node-b", "node-c"].map(cascade_lake).to_vec());
    assert_eq!((fitting.len(), failing(&verdict).len()), (3, 0));
}
