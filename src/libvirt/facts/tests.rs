use rstest::rstest;

use super::*;
use crate::fit::node::Node;
use crate::libvirt::{Cpu, Incompatible};

const EARLY: &str = "2026-11-01T08:00:00Z";
const LATE: &str = "2026-11-02T08:00:00Z";

fn cpu(model: &str) -> GuestCpu {
    GuestCpu { cpu: Cpu { model: model.to_owned(), ..Cpu::default() }, accelerator: Accelerator::Kvm }
}

/// Returns a file as source; an empty time means none.
fn file(name: &str, at: &str) -> AnswerOrigin {
    AnswerOrigin { at: at.parse().ok(), place: Some(name.into()) }
}

fn asked_now() -> AnswerOrigin {
    AnswerOrigin::now(EARLY.parse().unwrap())
}

fn no() -> LibvirtAnswer {
    LibvirtAnswer::Incompatible(Incompatible { missing: vec!["hle".to_owned()], ..Incompatible::default() })
}

/// Returns a start of which only the UID is known.
fn uid(uid: &str) -> GuestStart<'_> {
    GuestStart { uid, created: 0 }
}

/// Returns a time in seconds since 1970; 0 for an empty text.
fn seconds(time: &str) -> i64 {
    time.parse().map_or(0, Timestamp::as_second)
}

/// Returns a refusal by a launcher whose libvirt is older than that of a migration's target.
fn by_outdated() -> LibvirtAnswer {
    LibvirtAnswer::Incompatible(Incompatible {
        missing: vec!["hle".to_owned()],
        by_outdated: true,
        ..Incompatible::default()
    })
}

fn machine(host_model: &str) -> Machine {
    Machine { vendor: "Intel".to_owned(), host_model: host_model.to_owned() }
}

fn add(
    facts: &mut LibvirtFacts,
    of: &Machine,
    answer: Result<LibvirtAnswer, Silence>,
    origin: AnswerOrigin,
) -> Result<(), Contradiction> {
    facts.add_node("node-b", of, [], [(cpu("EPYC"), Sourced::new(answer, origin))], None)
}

fn labelled(host_model: &str) -> Fleet {
    let mut node = Node { name: "node-b".to_owned(), ..Node::default() };
    if !host_model.is_empty() {
        node.labels.insert(format!("host-model-cpu.node.kubevirt.io/{host_model}"), "true".to_owned());
        node.labels.insert("cpu-vendor.node.kubevirt.io/Intel".to_owned(), "true".to_owned());
    }
    Fleet::new(vec![node])
}

/// Returns the answer of `node-b`, labelled with this host model, about the guest's CPU.
fn said(facts: &mut LibvirtFacts, host_model: &str) -> Option<Result<LibvirtAnswer, Silence>> {
    let guest = GuestFacts { cpu: Sourced::new(Ok(cpu("EPYC")), file("guest", EARLY)), losses: BTreeMap::new() };
    facts.add_guest(("shop".to_owned(), "db".to_owned()), "1".to_owned(), guest).unwrap();
    facts.of("shop", "db", uid("1"), &labelled(host_model)).unwrap().nodes.get("node-b").cloned()
}

/// Two answers to one question: the one that counts, the number of notes, or an error; independent of the order of
/// reading.
#[rstest]
#[case::alike(Ok(no()), file("a", EARLY), Ok(no()), file("b", LATE), Some((Ok(no()), 0)))]
#[case::alike_without_times(Ok(no()), file("a", ""), Ok(no()), file("b", ""), Some((Ok(no()), 0)))]
#[case::later(Ok(no()), file("a", EARLY), Ok(LibvirtAnswer::Superset), file("b", LATE), Some((Ok(LibvirtAnswer::Superset), 1)))]
#[case::other_features(Ok(LibvirtAnswer::Superset), file("a", EARLY), Ok(no()), file("b", LATE), Some((Ok(no()), 1)))]
#[case::at_one_time(Ok(no()), file("a", EARLY), Ok(LibvirtAnswer::Superset), file("b", EARLY), None)]
#[case::one_without_a_time(Ok(no()), file("a", EARLY), Ok(LibvirtAnswer::Superset), file("b", ""), None)]
#[case::without_times(Ok(no()), file("a", ""), Ok(LibvirtAnswer::Identical), file("b", ""), None)]
#[case::asked_now(Ok(no()), file("a", LATE), Ok(LibvirtAnswer::Superset), asked_now(), Some((Ok(LibvirtAnswer::Superset), 1)))]
#[case::asked_now_beside_no_time(Ok(no()), file("a", ""), Ok(LibvirtAnswer::Superset), asked_now(), Some((Ok(LibvirtAnswer::Superset), 1)))]
#[case::refused_since_by_an_outdated_launcher(Ok(LibvirtAnswer::Superset), file("a", EARLY), Ok(by_outdated()), file("b", LATE), Some((Ok(LibvirtAnswer::Superset), 0)))]
#[case::refused_before_by_an_outdated_launcher(Ok(by_outdated()), file("a", EARLY), Ok(no()), file("b", LATE), Some((Ok(no()), 0)))]
#[case::refused_by_both(Ok(by_outdated()), file("a", LATE), Ok(no()), file("b", EARLY), Some((Ok(no()), 0)))]
#[case::refused_by_an_outdated_launcher_without_times(Ok(by_outdated()), file("a", ""), Ok(LibvirtAnswer::Superset), file("b", ""), Some((Ok(LibvirtAnswer::Superset), 0)))]
#[case::silent_since(Ok(no()), file("a", EARLY), Err(Silence::TooSlow(3)), file("b", LATE), Some((Ok(no()), 0)))]
#[case::silent_now(Ok(no()), file("a", EARLY), Err(Silence::TooSlow(3)), asked_now(), Some((Ok(no()), 0)))]
#[case::silent_twice(Err(Silence::NoShell), file("a", EARLY), Err(Silence::TooSlow(3)), file("b", LATE), Some((Err(Silence::TooSlow(3)), 0)))]
fn answers_of_two_files_are_put_together(
    #[case] one: Result<LibvirtAnswer, Silence>,
    #[case] of_one: AnswerOrigin,
    #[case] two: Result<LibvirtAnswer, Silence>,
    #[case] of_two: AnswerOrigin,
    #[case] expected: Option<(Result<LibvirtAnswer, Silence>, usize)>,
) {
    let both = [(one, of_one), (two, of_two)];
    for order in [[0, 1], [1, 0]] {
        let mut facts = LibvirtFacts::default();
        let added = order.map(|at| add(&mut facts, &machine("Skylake"), both[at].0.clone(), both[at].1.clone()));
        let error = added.into_iter().find_map(Result::err);
        match &expected {
            None => {
                let words = error.expect("nothing is chosen silently").to_string();
                assert!(words.contains("node-b") && words.contains("EPYC"), "{words}");
                let mut lines = both.iter().map(|(_, origin)| origin.place.clone().unwrap());
                assert!(lines.all(|place| words.contains(&*place)), "both files are named: {words}");
            }
            Some((answer, notes)) => {
                assert_eq!(error, None);
                assert_eq!(facts.take_notes().len(), *notes, "{order:?}");
                assert_eq!(said(&mut facts, "Skylake").as_ref(), Some(answer), "{order:?}");
            }
        }
    }
}

#[test]
fn a_note_names_both_files_and_both_answers() {
    let mut facts = LibvirtFacts::default();
    add(&mut facts, &machine("Skylake"), Ok(no()), file("old.json", EARLY)).unwrap();
    add(&mut facts, &machine("Skylake"), Ok(LibvirtAnswer::Superset), file("new.json", LATE)).unwrap();
    let notes = facts.take_notes();
    assert_eq!(
        notes,
        [
            "node node-b about the CPU EPYC (kvm): new.json (asked 2026-11-02T08:00:00Z) says superset, and counts; before \
          that, old.json (asked 2026-11-01T08:00:00Z) said incompatible (hle)"
        ]
    );
    for number in 0..20 {
        let of = format!("node-{number}");
        let answer = |answer, at| [(cpu("EPYC"), Sourced::new(Ok(answer), file("f", at)))];
        facts.add_node(&of, &machine("Skylake"), [], answer(no(), EARLY), None).unwrap();
        facts.add_node(&of, &machine("Skylake"), [], answer(LibvirtAnswer::Superset, LATE), None).unwrap();
    }
    let notes = facts.take_notes();
    assert_eq!((notes.len(), notes[5].as_str()), (6, "15 more answers of libvirt gave way to later ones"));
}

/// Answers apply to a machine: if the labels name another host model now, it is another machine, or has another
/// libvirt.
#[rstest]
#[case::the_same("Skylake", "Skylake", true)]
#[case::another("Skylake", "Cascadelake-Server", false)]
#[case::not_known_then("", "Skylake", true)]
#[case::not_known_now("Skylake", "", true)]
fn answers_of_another_host_cpu_under_the_same_node_name_are_not_used(
    #[case] then: &str,
    #[case] now: &str,
    #[case] counts: bool,
) {
    let mut facts = LibvirtFacts::default();
    let of = if then.is_empty() { Machine::default() } else { machine(then) };
    add(&mut facts, &of, Ok(no()), file("a", EARLY)).unwrap();
    match said(&mut facts, now).unwrap() {
        Ok(answer) => assert!(counts && answer == no()),
        Err(silence) => {
            assert!(!counts);
            let words = silence.to_string();
            assert!(words.contains(then) && words.contains(now), "{words}");
        }
    }
}

#[test]
fn two_machines_of_one_name_contradict_nothing() {
    let mut facts = LibvirtFacts::default();
    add(&mut facts, &machine("Skylake"), Ok(no()), file("a", "")).unwrap();
    add(&mut facts, &machine("Icelake"), Ok(LibvirtAnswer::Superset), file("b", "")).unwrap();
    assert_eq!(said(&mut facts, "Skylake"), Some(Ok(no())));
    assert_eq!(said(&mut facts, "Icelake"), Some(Ok(LibvirtAnswer::Superset)));
    let unlabelled = add(&mut facts, &Machine::default(), Ok(LibvirtAnswer::Superset), file("c", ""));
    assert!(unlabelled.is_err(), "a file of old may be about either");
}

#[test]
fn a_node_that_answered_since_is_not_silent() {
    let silent = |at| Some(Sourced::new(Silence::NoLauncher, file("s", at)));
    let mut facts = LibvirtFacts::default();
    facts.add_node("node-b", &machine("Skylake"), [], [], silent(EARLY)).unwrap();
    assert_eq!(said(&mut facts, "Skylake"), Some(Err(Silence::NoLauncher)));
    let other = [(cpu("Nehalem"), Sourced::new(Ok(LibvirtAnswer::Superset), file("a", LATE)))];
    facts.add_node("node-b", &machine("Skylake"), [], other, None).unwrap();
    assert_eq!(said(&mut facts, "Skylake"), None, "it had a launcher then: this CPU was not asked about");
    facts.add_node("node-b", &machine("Skylake"), [], [], silent(EARLY)).unwrap();
    assert_eq!(said(&mut facts, "Skylake"), None);
}

/// A guest is identified by the UID of its VMI: answers about another start do not apply.
#[rstest]
#[case::the_same("1", "1", None)]
#[case::another_start("1", "2", Some(Silence::StartedAgain))]
#[case::not_known_then("", "2", None)]
#[case::not_known_now("1", "", None)]
fn answers_from_another_start_of_the_guest_are_not_used(
    #[case] then: &str,
    #[case] now: &str,
    #[case] silence: Option<Silence>,
) {
    let mut facts = LibvirtFacts::default();
    let guest = GuestFacts { cpu: Sourced::new(Ok(cpu("EPYC")), file("a", EARLY)), losses: BTreeMap::new() };
    facts.add_guest(("shop".to_owned(), "db".to_owned()), then.to_owned(), guest).unwrap();
    let fleet = labelled("Skylake");
    assert_eq!(facts.of("shop", "db", uid(now), &fleet).unwrap().guest.err(), silence);
    assert_eq!(facts.of("shop", "web", uid(now), &fleet).unwrap().guest, Err(Silence::NotSaved));
    assert_eq!(
        LibvirtFacts::default().of("shop", "db", uid(now), &fleet),
        None,
        "libvirt was not asked, and no file was read"
    );
}

#[test]
fn starts_of_a_guest_are_kept_beside_each_other() {
    let mut facts = LibvirtFacts::default();
    for (uid, model) in [("1", "EPYC"), ("2", "Nehalem")] {
        let guest = GuestFacts { cpu: Sourced::new(Ok(cpu(model)), file("a", "")), losses: BTreeMap::new() };
        facts.add_guest(("shop".to_owned(), "db".to_owned()), uid.to_owned(), guest).unwrap();
    }
    let fleet = labelled("Skylake");
    let model = |of| facts.of("shop", "db", uid(of), &fleet).unwrap().guest.map(|guest| guest.cpu.model);
    assert_eq!(model("1"), Ok("EPYC".to_owned()));
    assert_eq!(model("2"), Ok("Nehalem".to_owned()));
    assert_eq!(model(""), Err(Silence::SeveralStarts), "an answer of another start would be believed");
    assert_eq!(model("3"), Err(Silence::StartedAgain));
}

/// An answer about a guest beside a VMI, by UIDs and times: without one of the UIDs, an answer that was saved before
/// the VMI was created is about an earlier guest of the name.
#[rstest]
#[case::older("", "2", EARLY, LATE, false)]
#[case::older_without_uids("", "", EARLY, LATE, false)]
#[case::older_beside_no_uid("1", "", EARLY, LATE, false)]
#[case::older_by_another_clock("2", "2", EARLY, LATE, true)]
#[case::at_that_second("", "2", EARLY, EARLY, true)]
#[case::younger("", "2", LATE, EARLY, true)]
#[case::younger_without_uids("", "", LATE, EARLY, true)]
#[case::younger_beside_no_uid("1", "", LATE, EARLY, true)]
#[case::younger_of_another_start("1", "2", LATE, EARLY, false)]
#[case::no_time("", "2", "", LATE, true)]
#[case::no_time_of_the_guest("", "2", EARLY, "", true)]
#[case::no_guest("1", "", EARLY, "", true)]
fn an_answer_from_before_the_guest_was_created_is_not_about_it(
    #[case] then: &str,
    #[case] now: &str,
    #[case] asked: &str,
    #[case] created: &str,
    #[case] counts: bool,
) {
    let start = GuestStart { uid: now, created: seconds(created) };
    let lost = |at| BTreeMap::from([("Nehalem".to_owned(), Sourced::new(Ok(vec!["avx".to_owned()]), file("a", at)))]);
    let facts = |cpu_at, losses_at| {
        let mut facts = LibvirtFacts::default();
        let guest = GuestFacts { cpu: Sourced::new(Ok(cpu("EPYC")), file("a", cpu_at)), losses: lost(losses_at) };
        facts.add_guest(("shop".to_owned(), "db".to_owned()), then.to_owned(), guest).unwrap();
        facts
    };
    let whole = facts(asked, asked);
    let answers = whole.of("shop", "db", start, &labelled("Skylake")).unwrap();
    let expected = if counts { Ok(cpu("EPYC")) } else { Err(Silence::StartedAgain) };
    assert_eq!(answers.guest, expected, "the CPU of an earlier guest is taken for this one's");
    assert_eq!(answers.losses.len(), usize::from(counts), "{answers:?}");
    // The comparisons have times of their own.
    let compared = facts("", asked).of("shop", "db", start, &labelled("Skylake")).unwrap();
    if compared.guest.is_ok() {
        let expected = if counts { Ok(vec!["avx".to_owned()]) } else { Err(Silence::StartedAgain) };
        assert_eq!(compared.losses["Nehalem"], expected, "a comparison of an earlier guest is taken for this one's");
    }
}

/// Answers of several starts, for a dump without UIDs: those from before the guest was created are left out.
#[rstest]
#[case::both_may_be("", Err(Silence::SeveralStarts))]
#[case::one_may_be(LATE, Ok("Nehalem"))]
#[case::none_may_be("2026-11-03T08:00:00Z", Err(Silence::StartedAgain))]
fn of_several_starts_the_one_since_the_guest_was_created_counts(
    #[case] created: &str,
    #[case] expected: Result<&str, Silence>,
    #[values("1", "")] first: &str,
) {
    let mut facts = LibvirtFacts::default();
    for (uid, model, at) in [(first, "EPYC", EARLY), ("2", "Nehalem", LATE)] {
        let guest = GuestFacts { cpu: Sourced::new(Ok(cpu(model)), file("a", at)), losses: BTreeMap::new() };
        facts.add_guest(("shop".to_owned(), "db".to_owned()), uid.to_owned(), guest).unwrap();
    }
    let start = GuestStart { uid: "", created: seconds(created) };
    let known = facts.of("shop", "db", start, &labelled("Skylake")).unwrap().guest;
    assert_eq!(known.map(|guest| guest.cpu.model), expected.map(str::to_owned));
}

/// Each kind of a node's answer beside a node that was added to the cluster at some time.
#[rstest]
#[case::older(EARLY, LATE, false)]
#[case::at_that_second(EARLY, EARLY, true)]
#[case::younger(LATE, EARLY, true)]
#[case::no_time("", LATE, true)]
#[case::no_time_of_the_node(EARLY, "", true)]
fn an_answer_from_before_the_node_was_added_is_not_about_it(
    #[case] asked: &str,
    #[case] added: &str,
    #[case] counts: bool,
    #[values("Skylake", "")] then: &str,
) {
    let of = if then.is_empty() { Machine::default() } else { machine(then) };
    let mut node = labelled("Skylake").node(0);
    node.created = seconds(added);
    let fleet = Fleet::new(vec![node]);
    let guest = GuestFacts { cpu: Sourced::new(Ok(cpu("EPYC")), file("guest", LATE)), losses: BTreeMap::new() };
    let known = |set: &dyn Fn(&mut LibvirtFacts)| {
        let mut facts = LibvirtFacts::default();
        facts.add_guest(("shop".to_owned(), "db".to_owned()), "1".to_owned(), guest.clone()).unwrap();
        set(&mut facts);
        facts.of("shop", "db", uid("1"), &fleet).unwrap()
    };
    let answered = known(&|facts| add(facts, &of, Ok(no()), file("a", asked)).unwrap());
    let expected = if counts { Ok(no()) } else { Err(Silence::NodeAdded) };
    assert_eq!(answered.nodes.get("node-b"), Some(&expected), "an answer of a machine that was replaced is believed");
    let host = LibvirtHost { model: Some(cpu("EPYC").cpu), models: None };
    let hosts = || [(Accelerator::Kvm, Sourced::new(Ok(host.clone()), file("a", asked)))];
    let described = known(&|facts| facts.add_node("node-b", &of, hosts(), [], None).unwrap());
    assert_eq!(described.hosts.contains_key("node-b"), counts, "a machine that was replaced is described");
    let silence = || Some(Sourced::new(Silence::NoLauncher, file("a", asked)));
    let silent = known(&|facts| facts.add_node("node-b", &of, [], [], silence()).unwrap());
    assert_eq!(silent.nodes.contains_key("node-b"), counts, "why another machine did not answer is said of this one");
}

#[test]
fn the_fleet_may_change_between_two_questions() {
    let mut facts = LibvirtFacts::default();
    add(&mut facts, &machine("Skylake"), Ok(no()), file("a", EARLY)).unwrap();
    assert_eq!(said(&mut facts, "Skylake"), Some(Ok(no())));
    assert!(matches!(said(&mut facts, "Icelake"), Some(Err(Silence::OtherMachine { .. }))));
    add(&mut facts, &machine("Icelake"), Ok(LibvirtAnswer::Superset), file("a", EARLY)).unwrap();
    assert_eq!(said(&mut facts, "Icelake"), Some(Ok(LibvirtAnswer::Superset)));
}

/// The features that a guest would lose: what is saved is libvirt's answer; what is judged by leaves out those that
/// QEMU gives to a guest with the model, and repetitions.
#[test]
fn a_lost_feature_that_qemu_adds_with_the_model_is_ignored() {
    let lost = ["arat", "vme", "pclmuldq", "vme"].map(str::to_owned).to_vec();
    let losses = BTreeMap::from([("Westmere".to_owned(), Sourced::new(Ok(lost), file("guest", EARLY)))]);
    let guest = GuestFacts { cpu: Sourced::new(Ok(cpu("EPYC")), file("guest", EARLY)), losses };
    let mut facts = LibvirtFacts::default();
    facts.add_guest(("shop".to_owned(), "db".to_owned()), "1".to_owned(), guest).unwrap();
    let answers = facts.of("shop", "db", uid("1"), &labelled("EPYC")).unwrap();
    assert_eq!(answers.losses["Westmere"], Ok(vec!["vme".to_owned()]));
}

/// The labels that are said to have changed: those that were known before and are known now.
#[rstest]
#[case::both(("Intel", "Broadwell"), ("AMD", "EPYC"), "cpu-vendor Intel, host-model-cpu Broadwell")]
#[case::no_vendor_then(("", "Broadwell"), ("AMD", "EPYC"), "host-model-cpu Broadwell")]
#[case::no_vendor_now(("Intel", "Broadwell"), ("", "EPYC"), "host-model-cpu Broadwell")]
#[case::the_vendor_alone(("Intel", "Broadwell"), ("AMD", "Broadwell"), "cpu-vendor Intel")]
fn a_label_that_was_not_known_is_not_said_to_have_changed(
    #[case] saved: (&str, &str),
    #[case] now: (&str, &str),
    #[case] expected: &str,
) {
    let of =
        |(vendor, host_model): (&str, &str)| Machine { vendor: vendor.to_owned(), host_model: host_model.to_owned() };
    assert_eq!(of(saved).unlike(&of(now)), expected);
    assert!(!of(saved).may_be(&of(now)));
}

/// Each kind of saved answer alone: people are shown the command that asks.
#[test]
fn any_saved_answer_counts_as_saved() {
    let host = LibvirtHost { model: Some(cpu("EPYC").cpu), models: None };
    let hosts = [(Accelerator::Kvm, Sourced::new(Ok(host), file("node", EARLY)))];
    let answers = [(cpu("EPYC"), Sourced::new(Ok(no()), file("node", EARLY)))];
    let silence = Sourced::new(Silence::NoLauncher, file("node", EARLY));
    let mut all = [(); 3].map(|()| LibvirtFacts::default());
    all[0].add_node("node-b", &Machine::default(), hosts, [], None).unwrap();
    all[1].add_node("node-b", &Machine::default(), [], answers, None).unwrap();
    all[2].add_node("node-b", &Machine::default(), [], [], Some(silence)).unwrap();
    assert!(all.iter().all(LibvirtFacts::is_saved), "{all:?}");
    assert!(!LibvirtFacts::default().is_saved());
}
