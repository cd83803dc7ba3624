//! Tests of remedies with libvirt's answers: no model that it lists as unusable, no label that it finds
//! untrue.

use std::collections::BTreeMap;
use std::sync::Arc;

use rstest::rstest;

use crate::fit::fleet::Fleet;
use crate::fit::judgement::{Depth, Judgement};
use crate::fit::label;
use crate::fit::libvirt::{
    Accelerator, Answers, Cpu, GuestCpu, Incompatible, LibvirtAnswer, LibvirtHost, LibvirtHosts, Provided, Silence,
    Usable,
};
use crate::fit::models;
use crate::fit::node::Node;
use crate::fit::placement::Placement;
use crate::fit::remedy::{Action, AddLabels, Backing, NoLabels, NoModel, NotUsable, Outage, UseModel, WhyNot};
use crate::fit::subject::{
    AfterStart, CpuFeatures, CpuMode, HostModelRule, Migration, Stage, Start, Subject, Template,
};
use crate::fit::verdict::{Check, Detail, Evidence, Verdict};
use crate::testing::fleet::{cascade_lake, feature, ice_lake, known, model, rome, skylake, take, vendor};
use crate::testing::random::Random;
use crate::testing::thorough::one_in;
use crate::testing::{Tweak, at_least};

mod evidence;
mod given_up;
mod random;

const OLD: &str = "Skylake-Server-noTSX-IBRS";
const NEW: &str = "Cascadelake-Server-noTSX";

fn cpu(model: &str, require: &[&str], disable: &[&str]) -> Cpu {
    let names = |names: &[&str]| names.iter().map(ToString::to_string).collect();
    let vendor = Some("Intel".to_owned());
    Cpu { model: model.to_owned(), vendor, require: names(require), disable: names(disable), ..Cpu::default() }
}

fn blocked(features: &[&str]) -> Usable {
    Usable::No(features.iter().map(ToString::to_string).collect())
}

fn lists(models: &[(&str, Usable)]) -> LibvirtHost {
    LibvirtHost {
        model: None,
        models: Some(models.iter().map(|(name, usable)| ((*name).to_owned(), usable.clone())).collect()),
    }
}

/// Whether a host lists a model in this way; `None` if it has no list of models.
fn is_listed(host: &LibvirtHost, model: &str, is: impl Fn(&Usable) -> bool) -> Option<bool> {
    Some(host.models.as_ref()?.get(model).is_some_and(is))
}

/// Builds libvirt's answers: about the guest's CPU by node, and about the nodes.
fn said<const A: usize, const H: usize>(
    guest: Cpu,
    answers: [(&str, LibvirtAnswer); A],
    hosts: [(&str, LibvirtHost); H],
) -> Answers {
    let hosts: LibvirtHosts = hosts.map(|(node, host)| (node.to_owned(), host)).into();
    Answers {
        guest: Ok(GuestCpu { cpu: guest, accelerator: Accelerator::Kvm }),
        nodes: Arc::new(answers.map(|(node, answer)| (node.to_owned(), Ok(answer))).into()),
        hosts: Arc::new(hosts),
        silent_hosts: Arc::default(),
        own_node: None,
        losses: BTreeMap::new(),
        saved: false,
    }
}

/// Builds a guest on node-a that selects these labels, and may restart on any node with its model.
fn guest(asks: &[String], asked: Answers) -> Subject<'static> {
    let mut placement = Placement::default();
    for key in asks {
        placement.selector.insert(key.clone(), "true");
    }
    let stage = Stage::Migration(Migration { source: Some("node-a".to_owned()), ..Migration::default() });
    Subject::new("shop", "db", stage, placement).tweak(|subject| {
        let after_start = AfterStart { host_model: HostModelRule::NotAsked, vendor: false };
        let (mode, placement, own_models) = (CpuMode::HostModel, Placement::default(), Vec::new());
        subject.mode = mode.clone();
        let features = CpuFeatures::default();
        subject.restart = Some(Start { mode, placement, own_models, features, by_policy: None, after_start });
        subject.definition.template = Some(Template::VirtualMachine);
        subject.asked = Some(asked);
    })
}

fn judge(subject: &Subject<'_>, nodes: Vec<Node>) -> Verdict {
    Judgement::new(subject, &Fleet::new(nodes), Depth::Full).verdict()
}

fn actions(verdict: &Verdict) -> impl Iterator<Item = &Action> {
    verdict.findings.iter().flat_map(|finding| &finding.remedies).map(|remedy| &remedy.action)
}

fn added(verdict: &Verdict) -> Option<&AddLabels> {
    actions(verdict).find_map(|action| match action {
        Action::AddLabels(add) => Some(add),
        _ => None,
    })
}

fn offered(verdict: &Verdict) -> Option<&UseModel> {
    actions(verdict).find_map(|action| match action {
        Action::UseModel(model) => Some(model),
        _ => None,
    })
}

fn refusal() -> LibvirtAnswer {
    LibvirtAnswer::Incompatible(Incompatible { missing: vec!["hle".to_owned()], ..Incompatible::default() })
}

/// For each family of labels: the answer from libvirt's host model and list of models about a node, and from
/// its answer about a guest's CPU.
#[rstest]
#[case::required(feature("avx512vnni"), Provided::Yes)]
#[case::of_its_model(feature("fpu"), Provided::Yes)]
#[case::disabled(feature("rtm"), Provided::No)]
#[case::not_of_its_model(feature("gfni"), Provided::No)]
#[case::of_nested_virtualization(feature("vmx-ept"), Provided::Unknown)]
#[case::usable(model(OLD), Provided::Yes)]
#[case::blocked(model(NEW), Provided::No)]
#[case::neither(model("n270"), Provided::Unknown)]
#[case::unheard_of(model("EPYC-Turin"), Provided::No)]
#[case::known_and_blocked(known(NEW), Provided::Yes)]
#[case::its_host_model(known("Skylake-Server"), Provided::Yes)]
#[case::not_known(known("EPYC-Turin"), Provided::No)]
#[case::vendor(vendor("Intel"), Provided::Yes)]
#[case::other_vendor(vendor("AMD"), Provided::No)]
#[case::host_model(format!("{}Skylake-Server", label::HOST_MODEL_CPU), Provided::Yes)]
#[case::other_host_model(format!("{}{OLD}", label::HOST_MODEL_CPU), Provided::No)]
#[case::host_feature(format!("{}avx512vnni", label::HOST_MODEL_REQUIRED), Provided::Yes)]
#[case::feature_of_its_model(format!("{}fpu", label::HOST_MODEL_REQUIRED), Provided::No)]
#[case::hyperv(format!("{}synic", label::HYPERV), Provided::Unknown)]
#[case::tsc(format!("{}2100000000", label::SCHEDULING_TSC), Provided::Unknown)]
#[case::machine_type("machine-type.node.kubevirt.io/q35".to_owned(), Provided::Unknown)]
#[case::place("topology.kubernetes.io/zone".to_owned(), Provided::Unknown)]
fn a_node_provides_what_its_libvirt_says(#[case] key: String, #[case] expected: Provided) {
    let models = [(OLD, Usable::Yes), (NEW, blocked(&["avx512vnni"])), ("n270", Usable::Unknown)];
    let host = LibvirtHost { model: Some(cpu("Skylake-Server", &["avx512vnni"], &["rtm"])), ..lists(&models) };
    assert_eq!(host.provides(&key), expected, "{key}");
    let answers = said(cpu("Haswell", &[], &[]), [], [("node-c", host)]);
    assert_eq!(answers.provides("node-c", &key), expected, "{key}");
    assert_eq!(answers.provides("node-d", &key), Provided::Unknown, "{key}: nothing is known of that node");
}

#[rstest]
#[case::required(feature("avx512vnni"), Provided::Yes)]
#[case::of_its_model(feature("fpu"), Provided::Yes)]
#[case::switched_off(feature("hle"), Provided::Unknown)]
#[case::not_asked_about(feature("gfni"), Provided::Unknown)]
#[case::of_nested_virtualization(feature("vmx-ept"), Provided::Unknown)]
#[case::its_model(known("Skylake-Server"), Provided::Yes)]
#[case::other_model(known(OLD), Provided::Unknown)]
#[case::its_model_as_a_whole(model("Skylake-Server"), Provided::Unknown)]
#[case::vendor(vendor("Intel"), Provided::Yes)]
#[case::other_vendor(vendor("AMD"), Provided::Unknown)]
#[case::hyperv(format!("{}synic", label::HYPERV), Provided::Unknown)]
#[case::tsc(format!("{}2100000000", label::SCHEDULING_TSC), Provided::Unknown)]
fn a_cpu_that_libvirt_provides_counts_as_having_its_features(#[case] key: String, #[case] expected: Provided) {
    let guest = || cpu("Skylake-Server", &["avx512vnni"], &["hle", "rtm"]);
    for answer in [LibvirtAnswer::Identical, LibvirtAnswer::Superset] {
        assert_eq!(said(guest(), [("node-c", answer)], []).provides("node-c", &key), expected, "{key}");
    }
    assert_eq!(said(guest(), [("node-c", refusal())], []).provides("node-c", &key), Provided::Unknown, "{key}");
    let unknown =
        Answers { guest: Err(Silence::NoLauncher), ..said(guest(), [("node-c", LibvirtAnswer::Superset)], []) };
    assert_eq!(unknown.provides("node-c", &key), Provided::Unknown, "{key}: what was compared is not known");
}

/// Judges a guest that runs without `hle` but selects its label, which node-c lacks.
fn asks_for_hle(asked: Answers) -> Verdict {
    let nodes = vec![cascade_lake("node-a"), cascade_lake("node-c").tweak(|node| take(node, &[feature("hle")]))];
    judge(&guest(&[feature("fpu"), feature("hle")], asked), nodes)
}

#[test]
fn a_label_that_libvirt_finds_untrue_is_not_offered() {
    let without = || cpu("Cascadelake-Server", &[], &["hle", "rtm"]);
    let host = LibvirtHost { model: Some(without()), ..LibvirtHost::default() };
    for answer in [LibvirtAnswer::Identical, LibvirtAnswer::Superset] {
        let verdict = asks_for_hle(said(without(), [("node-c", answer)], [("node-c", host.clone())]));
        assert_eq!(added(&verdict), None, "node-c would be labelled with what it does not have");
        assert_eq!(verdict.nearest[0].evidence, Evidence::LibvirtLacks);
        assert_eq!(verdict.nearest[0].untrue, [(feature("hle"), "true".to_owned())]);
        let untrue = |why: &WhyNot| matches!(why, WhyNot::Labels(NoLabels::Untrue { node, .. }) if node == "node-c");
        assert!(verdict.not_helping.iter().any(|not| untrue(&not.why)), "{:?}", verdict.not_helping);
    }
    let unasked = asks_for_hle(said(without(), [], [("node-c", host)]));
    assert_eq!(added(&unasked), None, "the node's own word stands, whatever CPU it was asked about");
}

/// Libvirt compared a CPU without `hle`: a node that provides that CPU need not provide `hle`.
#[test]
fn a_label_without_an_answer_of_libvirt_is_offered_with_a_risk() {
    let without = cpu("Cascadelake-Server", &[], &["hle", "rtm"]);
    let verdict = asks_for_hle(said(without, [("node-c", LibvirtAnswer::Superset)], []));
    let add = added(&verdict).expect("node-c's own host model names it: drifted labels, probably");
    assert_eq!(add.backing, Backing::TakesCpu);
    let elsewhere = vec![cascade_lake("node-a"), skylake("node-c")];
    let without = cpu("Skylake-Server", &[], &["hle", "rtm"]);
    let asks = guest(&[feature("fpu"), feature("hle")], said(without, [("node-c", LibvirtAnswer::Superset)], []));
    let verdict = judge(&asks, elsewhere);
    assert_eq!((added(&verdict), verdict.nearest[0].evidence), (None, Evidence::LibvirtTakesCpu));
    let with = cpu("Cascadelake-Server", &[], &["rtm"]);
    let verdict = asks_for_hle(said(with, [("node-c", LibvirtAnswer::Superset)], []));
    assert_eq!(added(&verdict).map(|add| add.backing), Some(Backing::Provided));
}

/// A guest without `hle` has its label in the selector; if libvirt accepts the guest, removing the entry is
/// enough.
#[rstest]
#[case::agrees(Some(LibvirtAnswer::Superset), Some(Backing::Provided))]
#[case::refuses(Some(refusal()), None)]
#[case::not_asked(None, Some(Backing::Labels))]
fn labels_are_removed_where_libvirt_does_not_refuse(
    #[case] answer: Option<LibvirtAnswer>,
    #[case] expected: Option<Backing>,
) {
    let without = cpu("Cascadelake-Server", &[], &["hle", "rtm"]);
    let host = LibvirtHost { model: Some(without.clone()), ..LibvirtHost::default() };
    let mut asked = said(without, [], [("node-c", host)]);
    asked.nodes = Arc::new(answer.into_iter().map(|answer| ("node-c".to_owned(), Ok(answer))).collect());
    let verdict = asks_for_hle(asked);
    let removed = actions(&verdict).find_map(|action| match action {
        Action::RemoveLabels(remove) => Some(remove),
        _ => None,
    });
    assert_eq!(removed.map(|remove| remove.backing), expected, "{:?}", verdict.not_helping);
    let risk = removed.map(|remove| {
        Action::from(remove.clone()).risk(&guest(&[], said(Cpu::default(), [], [])), &Fleet::new(Vec::new()))
    });
    let agrees = risk.as_ref().map(|risk| risk.contains("libvirt agrees") && !risk.contains("may refuse"));
    assert_eq!(agrees, expected.map(|backing| backing == Backing::Provided), "{risk:?}");
}

/// Entries that KubeVirt omits cause no doubt if libvirt itself accepts the guest.
#[rstest]
#[case::not_asked(None, &["node-c", "node-d"])]
#[case::agrees(Some(LibvirtAnswer::Superset), &["node-d"])]
#[case::refuses(Some(refusal()), &["node-d"])]
fn a_node_that_libvirt_accepts_gets_no_doubt(#[case] answer: Option<LibvirtAnswer>, #[case] expected: &[&str]) {
    let mut asked = said(cpu("Cascadelake-Server", &[], &[]), [], []);
    asked.nodes = Arc::new(answer.into_iter().map(|answer| ("node-c".to_owned(), Ok(answer))).collect());
    let mut subject = guest(&[feature("fpu")], asked);
    subject.mode = CpuMode::HostModel;
    if let Stage::Migration(migration) = &mut subject.stage {
        migration.unasked = Some(vec![(feature("avx512vnni"), "true".to_owned())]);
    }
    let nodes = vec![cascade_lake("node-a"), cascade_lake("node-b"), skylake("node-c"), skylake("node-d")];
    let verdict = judge(&subject, nodes);
    let doubtful: Vec<&str> = verdict.doubtful().map(|(node, _)| node.as_str()).collect();
    assert_eq!(doubtful, expected, "people would fear a migration that libvirt agrees to");
}

/// A guest with a named model that libvirt refuses everywhere has a finding about that model, and is offered
/// another one or none.
#[test]
fn the_model_that_is_refused_is_not_said_to_help() {
    let refused = |names: &[&str]| {
        let missing = names.iter().map(ToString::to_string).collect();
        LibvirtAnswer::Incompatible(Incompatible { missing, ..Incompatible::default() })
    };
    let judged = |missing: &[&str], asks: &[String]| {
        let answers = [("node-b", refused(missing)), ("node-c", refused(missing))];
        let mut subject = guest(asks, said(cpu(NEW, &["xyz"], &[]), answers, []));
        subject.mode = CpuMode::Named(NEW.to_owned());
        if let Some(start) = &mut subject.restart {
            start.mode = CpuMode::Named(NEW.to_owned());
            for key in asks {
                start.placement.selector.insert(key.clone(), "true");
            }
        }
        let plain = |name| cascade_lake(name).tweak(|node| take(node, &[model("Cascadelake-Server")]));
        judge(&subject, ["node-a", "node-b", "node-c"].map(plain).to_vec())
    };
    let why = |verdict: &Verdict| {
        verdict.not_helping.iter().find_map(|not| match &not.why {
            WhyNot::Model(why) => Some(why.clone()),
            _ => None,
        })
    };
    // The missing feature does not belong to the other model, or to either.
    for missing in [&["xyz"][..], &["avx512vnni"], &[]] {
        assert_eq!(offered(&judged(missing, &[])).map(|offer| offer.model.as_str()), Some(OLD), "{missing:?}");
    }
    let both = judged(&["fpu"], &[]);
    let nodes = ["node-b", "node-c"].map(str::to_owned).to_vec();
    let expected = NoModel::HasRefused { model: NEW.to_owned(), nodes };
    assert_eq!((offered(&both), why(&both)), (None, Some(expected.clone())), "both models have it");
    let asks = judged(&["aes"], &[feature("aes")]);
    assert_eq!((offered(&asks), why(&asks)), (None, Some(expected)), "it asks for that itself, whatever its model");
}

/// A refusal that names no feature says nothing of other models, and enough of the model of the refused CPU, unless
/// libvirt itself lists that as usable.
#[rstest]
#[case::unknown_there("libvirt there does not know CPU model Cascadelake-Server-noTSX", None, OLD)]
#[case::without_words("", None, OLD)]
#[case::of_another_vendor("host CPU vendor does not match required CPU vendor Intel", Some(Usable::Unknown), OLD)]
#[case::usable("host CPU vendor does not match required CPU vendor Intel", Some(Usable::Yes), NEW)]
fn a_model_refused_without_features_is_not_offered(
    #[case] reason: &str,
    #[case] listed: Option<Usable>,
    #[case] expected: &str,
) {
    let refusal = || LibvirtAnswer::Incompatible(Incompatible { reason: reason.to_owned(), ..Incompatible::default() });
    let host =
        || listed.clone().map_or_else(LibvirtHost::default, |usable| lists(&[(NEW, usable), (OLD, Usable::Yes)]));
    let hosts = [("node-b", host()), ("node-c", host())];
    let subject = guest(&[], said(cpu(NEW, &["xyz"], &[]), [("node-b", refusal()), ("node-c", refusal())], hosts));
    let plain = |name| cascade_lake(name).tweak(|node| take(node, &[model("Cascadelake-Server")]));
    let verdict = judge(&subject, ["node-a", "node-b", "node-c"].map(plain).to_vec());
    let offer = offered(&verdict).map(|offer| offer.model.as_str());
    assert_eq!(offer, Some(expected), "the very model that libvirt refused would be set");
}

/// Judges a guest that fits nowhere now, on three nodes that have labels of two models.
fn stuck(hosts: [(&str, LibvirtHost); 2]) -> Verdict {
    let plain = |name| cascade_lake(name).tweak(|node| take(node, &[model("Cascadelake-Server")]));
    let nodes = ["node-a", "node-b", "node-c"].map(plain).to_vec();
    let asked = said(cpu("Cascadelake-Server", &["hle"], &[]), [("node-b", refusal()), ("node-c", refusal())], hosts);
    judge(&guest(&[feature("fpu")], asked), nodes)
}

#[test]
fn a_model_is_offered_where_libvirt_lists_it_as_usable() {
    let both = || lists(&[(OLD, Usable::Yes), (NEW, Usable::Yes)]);
    let verdict = stuck([("node-b", both()), ("node-c", both())]);
    let model = offered(&verdict).expect("a model");
    assert_eq!((model.model.as_str(), &model.instead_of), (NEW, &None));
    assert_eq!(model.nodes, ["node-a", "node-b", "node-c"]);
    assert_eq!(model.listed, ["node-b", "node-c"], "node-a was not asked");

    let one = || lists(&[(OLD, Usable::Yes), (NEW, blocked(&["avx512vnni"]))]);
    let verdict = stuck([("node-b", both()), ("node-c", one())]);
    let model = offered(&verdict).expect("another model");
    assert_eq!(model.model, OLD);
    let nodes = vec![("node-c".to_owned(), vec!["avx512vnni".to_owned()])];
    assert_eq!(model.instead_of, Some(NotUsable { model: NEW.to_owned(), nodes }), "what was passed over is said");

    let unlisted = lists(&[(OLD, Usable::Yes)]);
    let verdict = stuck([("node-b", both()), ("node-c", unlisted)]);
    assert_eq!(offered(&verdict).map(|model| model.model.as_str()), Some(OLD), "node-c's libvirt does not know it");

    let none = || lists(&[(OLD, blocked(&[])), (NEW, blocked(&[]))]);
    let verdict = stuck([("node-b", none()), ("node-c", none())]);
    assert_eq!(offered(&verdict), None);
    let says = |why: &WhyNot| matches!(why, WhyNot::Model(NoModel::NotUsable(found)) if found.model == NEW);
    assert!(verdict.not_helping.iter().any(|not| says(&not.why)), "{:?}", verdict.not_helping);

    let unknown = || lists(&[(OLD, Usable::Unknown), (NEW, Usable::Unknown)]);
    let verdict = stuck([("node-b", unknown()), ("node-c", LibvirtHost::default())]);
    assert_eq!(offered(&verdict).map(|model| model.model.as_str()), Some(NEW), "no answer of libvirt rules it out");
}

/// The nodes that are named account for the number of targets afterwards.
#[test]
fn nodes_of_another_vendor_with_the_model_are_named_apart() {
    let hygon = rome("node-h").tweak(|node| {
        take(node, &[vendor("AMD")]);
        node.labels.insert(vendor("Hygon"), "true".to_owned());
    });
    let answers = [("node-b", refusal()), ("node-h", refusal())];
    let subject = guest(&[feature("fpu")], said(cpu("Unheard-of", &[], &[]), answers, []));
    let verdict = judge(&subject, vec![rome("node-a"), rome("node-b"), hygon]);
    let offer = offered(&verdict).expect("a model");
    assert_eq!(
        (offer.nodes.join(" "), offer.of_another_vendor.join(" ")),
        ("node-a node-b".to_owned(), "node-h".to_owned())
    );
    let said = crate::say::model::runs_on(offer, "2 nodes");
    let expected = "node-a, node-b. node-h has its label too, and a CPU of another vendor.";
    assert!(said.ends_with(expected), "{said}");
}

/// A guest that is to start is only offered models that libvirt lists as usable.
#[test]
fn a_start_is_offered_no_model_that_libvirt_lists_as_unusable() {
    let starts = |hosts: [(&str, LibvirtHost); 1]| {
        let mut subject =
            guest(&[], Answers { guest: Err(Silence::NoLauncher), ..said(cpu(OLD, &[], &[]), [], hosts) });
        let start = Placement::default().tweak(|placement| {
            placement.selector.insert(model("Nowhere"), "true");
        });
        subject.stage = Stage::Start(AfterStart { host_model: HostModelRule::NotAsked, vendor: false });
        subject.placement = start.clone();
        if let Some(restart) = &mut subject.restart {
            (restart.placement, restart.mode) = (start.clone(), CpuMode::Named("Nowhere".to_owned()));
        }
        judge(&subject, ["node-a", "node-b", "node-c"].map(cascade_lake).to_vec())
    };
    let free = starts([("node-b", LibvirtHost::default())]);
    let best = offered(&free).expect("a model").model.clone();
    let verdict = starts([("node-b", lists(&[(best.as_str(), blocked(&["hle"])), (OLD, Usable::Yes)]))]);
    let other = offered(&verdict).expect("another model");
    assert_ne!(other.model, best);
    assert_eq!(other.instead_of.as_ref().map(|passed| &passed.model), Some(&best));
}

/// Random nodes, guests and answers: no remedy and no statement contradicts the answers.
#[test]
fn nothing_is_offered_that_libvirt_contradicts() {
    let mut seen = BTreeMap::<&'static str, usize>::new();
    for seed in (0..1_500).step_by(one_in()) {
        let (subject, nodes) = random::case(&mut Random::new(seed));
        let asked = subject.asked.clone().expect("libvirt was asked");
        let names: Vec<String> = nodes.iter().map(|node| node.name.clone()).collect();
        let fleet = Fleet::new(nodes.clone());
        let verdict = Judgement::new(&subject, &fleet, Depth::Full).verdict();
        let fitting = fleet.names(&verdict.assessment.fitting);
        assert!(fitting.iter().all(|node| asked.refusal(node).is_none()), "{seed}: a target that libvirt refuses");
        // The guest fits there by labels, but the CPU that it would start with is refused there like the
        // present one.
        let by_labels = fleet.look_up(&subject.placement).passes().fitting;
        let source = match &subject.stage {
            Stage::Migration(migration) => migration.source.clone().unwrap_or_default(),
            Stage::Start(_) => String::new(),
        };
        let is_refused = fleet.names(&by_labels).iter().any(|node| *node != source && asked.refusal(node).is_some());
        if is_refused && verdict.assessment.outcome.impact().is_some() {
            *seen.entry("refused").or_default() += 1;
            let remedies = verdict.findings.iter().flat_map(|finding| &finding.remedies);
            for remedy in remedies.filter(|remedy| remedy.action.outage(&subject) == Outage::Restart) {
                assert!(matches!(remedy.action, Action::UseModel(_)), "{seed}: {:?} keeps the CPU", remedy.action);
            }
        }
        if let Some(offer) = offered(&verdict) {
            *seen.entry("a model").or_default() += 1;
            for model in [&offer.model].into_iter().chain(&offer.also) {
                let has = models::features(model).unwrap_or_default();
                let misses = |node: &&String| {
                    let is_usable = |host| is_listed(host, model, |usable| *usable == Usable::Yes) == Some(true);
                    let is_listed = asked.hosts.get(*node).is_some_and(is_usable);
                    let missing = asked.refusal(node).into_iter().flat_map(|refusal| &refusal.missing);
                    !is_listed && missing.map(String::as_str).any(|name| has.contains(name))
                };
                let missing: Vec<&String> = offer.nodes.iter().filter(misses).collect();
                assert!(missing.is_empty(), "{seed}: {model} has what libvirt misses on {missing:?}");
                let lists_it_as_unusable = |node: &String| {
                    asked.hosts.get(node).is_some_and(|host| {
                        is_listed(host, model, |usable| !matches!(usable, Usable::No(_))) == Some(false)
                    })
                };
                let key = crate::testing::fleet::model(model);
                let labelled = nodes.iter().filter(|node| node.labels.contains_key(&key)).map(|node| node.name.clone());
                let refusing: Vec<String> = labelled.filter(lists_it_as_unusable).collect();
                assert_eq!(refusing, [""; 0], "{seed}: {model}");
            }
            assert!(offer.nodes.len() > 1 && offer.nodes.iter().all(|node| names.contains(node)), "{seed}");
            assert!(offer.listed.iter().all(|node| offer.nodes.contains(node)), "{seed}");
            if let Some(other) = &offer.instead_of {
                *seen.entry("another model").or_default() += 1;
                assert!(other.model != offer.model && !other.nodes.is_empty(), "{seed}");
            }
        }
        if let Some(add) = added(&verdict) {
            *seen.entry("labels").or_default() += 1;
            assert!(asked.refusal(&add.node).is_none(), "{seed}: libvirt refuses there");
            for (key, _) in &add.labels {
                let name = label::name(key);
                let own = asked.hosts.get(&add.node).and_then(|host| host.model.as_ref());
                let compared = asked.guest.as_ref().ok().filter(|_| asked.agrees(&add.node)).map(|guest| &guest.cpu);
                let is_compared = compared.is_some_and(|cpu| cpu.has(name) == Some(true));
                let is_denied = !is_compared && own.is_some_and(|cpu| cpu.disable.contains(name));
                assert!(!is_denied, "{seed}: {key} is untrue on {}", add.node);
                if add.backing == Backing::Provided && key.starts_with(label::CPU_FEATURE) {
                    let has = |cpu: &Cpu| !cpu.disable.contains(name) && cpu.has(name) == Some(true);
                    assert!(own.is_some_and(has) || is_compared, "{seed}: no answer of libvirt names {key}");
                    *seen.entry("labels with confidence").or_default() += 1;
                }
            }
        }
        for near in &verdict.nearest {
            *seen.entry(near.evidence_word()).or_default() += 1;
            assert!(near.untrue.iter().all(|entry| near.missing.contains(entry)), "{seed}");
            let agrees = asked.agrees(&near.node);
            match near.evidence {
                Evidence::LibvirtAgrees | Evidence::LibvirtTakesCpu => {
                    assert!(agrees && near.untrue.is_empty(), "{seed}");
                }
                Evidence::LibvirtLacks | Evidence::LibvirtLacksSome => {
                    let is_of_all = near.untrue.len() == subject.of_cpu(&near.missing).count();
                    let says_all = near.evidence == Evidence::LibvirtLacks;
                    assert!(!near.untrue.is_empty() && is_of_all == says_all, "{seed}: libvirt does not confirm it");
                }
                Evidence::LibvirtRefuses => assert!(asked.refusal(&near.node).is_some(), "{seed}"),
                _ => assert!(near.untrue.is_empty(), "{seed}: {near:?}"),
            }
        }
    }
    for what in [
        "a model",
        "another model",
        "labels",
        "labels with confidence",
        "agrees",
        "takes CPU",
        "lacks",
        "lacks some",
        "refuses",
        "refused",
    ] {
        assert!(seen.get(what).copied().unwrap_or(0) >= at_least(5), "{what} is hardly tried: {seen:?}");
    }
}

/// Returns the number of nodes that fit without doubt about the model's name; `None` without doubt.
fn certain(verdict: &Verdict) -> Option<usize> {
    let Detail::HostModelKnown(found) = &verdict.found(Check::HostModelKnown)?.detail else { return None };
    Some(found.certain)
}

/// A remedy that is offered without libvirt's answers is offered with them too, unless they show that it does
/// not help.
#[test]
fn libvirts_answers_hide_no_remedy_that_helps() {
    let mut seen = BTreeMap::<(&str, bool), usize>::new();
    let mut lost = Vec::new();
    for seed in (0..3_000).step_by(one_in()) {
        let random = &mut Random::new(seed);
        let (mut subject, nodes) = random::case(random);
        subject.mode = CpuMode::HostModel;
        if let Stage::Migration(migration) = &mut subject.stage {
            migration.inherited = random.percent(30);
        }
        let fleet = Fleet::new(nodes);
        let by_labels = Subject { asked: None, ..subject.clone() };
        let judge = |subject: &Subject<'_>| Judgement::new(subject, &fleet, Depth::Full).verdict();
        let (with, without) = (judge(&subject), judge(&by_labels));
        // Where libvirt agrees, more nodes are certain: a model of fewer nodes is no remedy for a doubt about the
        // others.
        let is_surer =
            certain(&without).is_some_and(|by_labels| certain(&with).is_none_or(|by_libvirt| by_libvirt > by_labels));
        let with: Vec<Action> = actions(&with).cloned().collect();
        for action in actions(&without) {
            let is_settled = is_surer && matches!(action, Action::UseModel(_));
            let is_offered = with.iter().any(|other| other.id() == action.id());
            if !is_offered && !is_settled && !is_of_no_use(action, &subject, &fleet) {
                lost.push(format!("{seed}: {action:?} is not among {with:?}"));
            }
            *seen.entry((action.id().as_str(), is_offered)).or_default() += 1;
        }
    }
    lost.truncate(10);
    assert_eq!(lost, [""; 0]);
    for what in ["add-labels", "remove-labels", "restart", "restart-with-common-model"] {
        for is_offered in [true, false] {
            assert!(seen.get(&(what, is_offered)).copied().unwrap_or(0) >= at_least(5), "{what}: {seen:?}");
        }
    }
}

/// Whether libvirt's answers show that an action does not help a guest.
fn is_of_no_use(action: &Action, subject: &Subject<'_>, fleet: &Fleet) -> bool {
    let asked = subject.asked.as_ref().expect("libvirt was asked");
    let Stage::Migration(Migration { source: Some(source), .. }) = &subject.stage else { panic!("{subject:?}") };
    let cpu = &asked.guest.as_ref().expect("its CPU").cpu;
    let own = |node: &str| asked.hosts.get(node).and_then(|host| host.model.as_ref());
    let lacks = |node: &str, key: &String| {
        let is_denied = own(node).is_some_and(|cpu| cpu.has(label::name(key)) == Some(false));
        is_denied && asked.provides(node, key) == Provided::No
    };
    match action {
        Action::AddLabels(add) => {
            let is_untrue = |(key, _): &(String, String)| {
                asked.provides(&add.node, key) == Provided::No
                    || key.starts_with(label::CPU_FEATURE) && lacks(&add.node, key)
            };
            asked.refusal(&add.node).is_some() || add.labels.iter().any(is_untrue)
        }
        Action::RemoveLabels(remove) => {
            let (after, _) = action.apply(subject, fleet);
            let by_labels = Subject { asked: None, ..subject.clone() };
            let is_refused = |node: &&str| {
                let has_more = |key: &String| cpu.has(label::name(key)) == Some(true) && lacks(node, key);
                let index = fleet.find(node).expect("a node");
                let missing = fleet.look_up(&subject.placement).missing(index);
                let by_labels = Judgement::new(&by_labels, fleet, Depth::Brief).evidence(index, &missing);
                let is_unlike = remove.keys.iter().any(has_more) || by_labels == Evidence::OtherHardware;
                asked.refusal(node).is_some() || !asked.agrees(node) && is_unlike
            };
            let before = fleet.look_up(&subject.placement).passes().fitting;
            let then = fleet.look_up(&after.placement).passes().fitting;
            let freed = then.iter().filter(|node| !before.contains(*node)).map(|node| fleet.name(node));
            freed.filter(|node| node != source).all(|node| is_refused(&node))
        }
        // The guest would start with the CPU that it has, and be refused as it is now.
        Action::Restart(_) => {
            let by_labels = fleet.names(&fleet.look_up(&subject.placement).passes().fitting);
            by_labels.iter().any(|node| node != source && asked.refusal(node).is_some())
        }
        Action::UseModel(offer) => fleet.names(&fleet.bearing(&model(&offer.model), "true")).into_iter().any(|node| {
            let has = models::features(&offer.model).unwrap_or_default();
            let missing = asked.refusal(node).into_iter().flat_map(|refusal| &refusal.missing);
            let is_missing = |name: &String| has.contains(name.as_str());
            let is_unlisted = |host: &LibvirtHost| host.unusable(&offer.model).is_some();
            asked.hosts.get(node).is_some_and(is_unlisted) || missing.into_iter().any(is_missing)
        }),
        // The changes to nodes and guest leave no additional node that libvirt does not refuse.
        other => {
            let (after, changed) = other.apply(subject, fleet);
            let count = |subject: &Subject<'_>, fleet: &Fleet| {
                fleet.names(&subject.fitting(fleet)).iter().filter(|node| *node != source).count()
            };
            count(&after, &fleet.with(changed)) <= count(subject, fleet)
        }
    }
}

impl crate::fit::verdict::Nearest {
    fn evidence_word(&self) -> &'static str {
        match self.evidence {
            Evidence::LibvirtAgrees => "agrees",
            Evidence::LibvirtTakesCpu => "takes CPU",
            Evidence::LibvirtLacks => "lacks",
            Evidence::LibvirtLacksSome => "lacks some",
            Evidence::LibvirtRefuses => "refuses",
            _ => "by labels",
        }
    }
}
