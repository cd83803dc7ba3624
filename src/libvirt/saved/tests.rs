use proptest::prelude::*;
use rstest::rstest;

use super::*;

const AT: &str = "2026-11-01T08:00:00Z";

fn cpu(model: &str) -> GuestCpu {
    let require = ["vaes", "sse4.1"].map(str::to_owned).into();
    let forbid = ["svm".to_owned()].into();
    let cpu = Cpu { model: model.to_owned(), vendor: Some("AMD".to_owned()), require, forbid, ..Cpu::default() };
    GuestCpu { cpu, accelerator: Accelerator::Kvm }
}

fn from_file<T>(value: T) -> Sourced<T> {
    Sourced::new(value, AnswerOrigin { at: AT.parse().ok(), place: Some("file".into()) })
}

fn facts() -> LibvirtFacts {
    let mut facts = LibvirtFacts::default();
    let losses = [
        ("EPYC-IBPB".to_owned(), from_file(Ok(vec!["vaes".to_owned()]))),
        ("EPYC-Rome".to_owned(), from_file(Err(Silence::Failed("internal error: boom".to_owned())))),
    ]
    .into();
    let guest = GuestFacts { cpu: from_file(Ok(cpu("EPYC"))), losses };
    let key = |name: &str| ("shop".to_owned(), name.to_owned());
    facts.add_guest(key("db"), "1-2".to_owned(), guest.clone()).unwrap();
    facts.add_guest(key("db"), "1-3".to_owned(), GuestFacts { losses: BTreeMap::new(), ..guest }).unwrap();
    let silent = from_file(Err(Silence::NoModel("host-passthrough".to_owned())));
    facts.add_guest(key("web"), String::new(), GuestFacts { cpu: silent, losses: BTreeMap::new() }).unwrap();
    let why = Incompatible { missing: vec!["vaes".to_owned()], by_outdated: true, ..Incompatible::default() };
    let emulated = GuestCpu { accelerator: Accelerator::Qemu, ..cpu("EPYC") };
    let answers = [
        (cpu("EPYC"), from_file(Ok(LibvirtAnswer::Incompatible(why)))),
        (cpu("Nehalem"), from_file(Err(Silence::TooSlow(10)))),
        (emulated, from_file(Ok(LibvirtAnswer::Identical))),
    ];
    let models = [
        ("EPYC", Usable::Yes),
        ("EPYC-Genoa", Usable::No(vec!["vaes".to_owned(), "vnmi".to_owned()])),
        ("EPYC-Rome", Usable::No(Vec::new())),
        ("n270", Usable::Unknown),
    ];
    let models: BTreeMap<String, Usable> = models.map(|(model, usable)| (model.to_owned(), usable)).into();
    let host = |model: &str| from_file(Ok(LibvirtHost { model: Some(cpu(model).cpu), models: Some(models.clone()) }));
    let hosts = [(Accelerator::Kvm, host("EPYC")), (Accelerator::Qemu, host("EPYC-Rome"))];
    let machine = Machine { vendor: "AMD".to_owned(), host_model: "EPYC".to_owned() };
    facts.add_node("node-b", &machine, hosts, answers.clone(), None).unwrap();
    let other = Machine { vendor: "AMD".to_owned(), host_model: "EPYC-Rome".to_owned() };
    let in_vain = [(Accelerator::Kvm, from_file(Err(Silence::Failed("internal error: boom".to_owned()))))];
    facts.add_node("node-b", &other, in_vain, answers, None).unwrap();
    facts.add_node("node-c", &Machine::default(), [], [], Some(from_file(Silence::NoLauncher))).unwrap();
    facts
}

fn read_back(files: &[(String, Value)]) -> Result<LibvirtFacts, Rejected> {
    let mut read = LibvirtFacts::default();
    for (_, content) in files {
        let items = content["items"].as_array().cloned().unwrap_or_else(|| vec![content.clone()]);
        for object in items {
            let kind = object["kind"].as_str().unwrap_or_default();
            assert!(is_kind(API_VERSION, kind));
            take_in(&mut read, kind, &object.to_string(), "file")?;
        }
    }
    Ok(read)
}

#[test]
fn saved_answers_are_read_back_unchanged() {
    let files = files(&facts());
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["guest.shop.db.json", "guest.shop.web.json", "node.node-b.json", "node.node-c.json"]);
    assert!(names.iter().all(|name| is_file_name(name)));
    assert_eq!(super::names(&facts()), names.iter().map(ToString::to_string).collect());
    assert_eq!(read_back(&files), Ok(facts()));
}

#[test]
fn adding_saved_answers_again_changes_nothing() {
    let mut twice = read_back(&files(&facts())).unwrap();
    twice.add_all(&facts()).unwrap();
    assert_eq!(twice.take_notes(), Vec::<String>::new());
    assert_eq!(twice, facts());
}

/// Each reason as it is saved: the same sentence results when it is read.
#[test]
fn reasons_are_read_back() {
    let words = || "in its words".to_owned();
    let kept = [
        Silence::NoLauncher,
        Silence::NoOwnLauncher,
        Silence::Forbidden(words()),
        Silence::NotRun(words()),
        Silence::NotRunning("OOMKilled".to_owned()),
        Silence::NoShell,
        Silence::NoVirsh,
        Silence::NoVerb("hypervisor-cpu-compare".to_owned()),
        Silence::GivenUp(10),
        Silence::TooSlow(10),
        Silence::TooLong(1 << 20),
        Silence::Failed(words()),
        Silence::Unreadable(words()),
        Silence::NoModel(words()),
        Silence::Recorded(words()),
    ];
    for silence in kept {
        assert_eq!(SavedSilence::of(Some(&silence)).read(), Some(silence.clone()), "{silence}");
    }
    assert_eq!(SavedSilence::of(None).read(), None);
}

/// A file's statement about a model's name: none, that no model is usable, or that it is usable.
#[rstest]
#[case::nothing("", None)]
#[case::null(r#""usableModels":null,"#, None)]
#[case::none(r#""usableModels":[],"#, Some(false))]
#[case::another(r#""usableModels":["Nehalem"],"#, Some(false))]
#[case::unusable(r#""usableModels":[],"unusableModels":{"EPYC":["vaes"]},"#, Some(false))]
#[case::neither(r#""usableModels":[],"otherModels":["EPYC"],"#, None)]
#[case::usable(r#""usableModels":["EPYC"],"#, Some(true))]
fn an_empty_list_of_models_is_an_answer(#[case] models: &str, #[case] usable: Option<bool>) {
    let text =
        format!(r#"{{"metadata":{{"name":"node-b"}},"accelerator":"kvm",{models}"hostModel":{{"model":"EPYC"}}}}"#);
    let mut facts = LibvirtFacts::default();
    assert_eq!(take_in(&mut facts, NODE, &text, "file"), Ok(()));
    for _ in 0..2 {
        let known = &facts.nodes["node-b"][&Machine::default()].hosts[&Accelerator::Kvm];
        let host = known.value.as_ref().unwrap();
        let says = if host.is_usable("EPYC") { Some(true) } else { host.unusable("EPYC").map(|_| false) };
        assert_eq!(says, usable, "{host:?}");
        // The result is unchanged after writing and reading.
        let written = files(&facts)[0].1.to_string();
        facts = LibvirtFacts::default();
        assert_eq!(take_in(&mut facts, NODE, &written, "file"), Ok(()), "{written}");
    }
}

/// Files from before times, machines and codes were added.
#[test]
fn files_of_earlier_releases_are_read() {
    let guest = r#"{"apiVersion":"cpufit.io/v1alpha1","kind":"LibvirtGuest","metadata":{"namespace":"shop","name":"db","uid":"1"},
        "accelerator":"qemu","cpu":{"model":"EPYC","vendor":"AMD","require":["vaes"],"disable":[]},"unanswered":null,
        "losses":{"Nehalem":["vaes"]}}"#;
    let node = r#"{"apiVersion":"cpufit.io/v1alpha1","kind":"LibvirtNode","metadata":{"name":"node-b"},
        "hostModel":{"model":"EPYC","vendor":"AMD","require":[],"disable":[]},"usableModels":["EPYC"],
        "answers":[{"accelerator":"qemu","cpu":{"model":"EPYC","vendor":"AMD","require":["vaes"],"disable":[]},
        "answer":"superset","unanswered":null}],"unanswered":null}"#;
    let silent = r#"{"metadata":{"name":"node-c"},"hostModel":null,"usableModels":null,"answers":[],
        "unanswered":"not asked: no launcher is known there"}"#;
    let mut facts = LibvirtFacts::default();
    for (kind, text) in [(GUEST, guest), (NODE, node), (NODE, silent)] {
        assert_eq!(take_in(&mut facts, kind, text, "old.json"), Ok(()));
    }
    let known = &facts.guests[&("shop".to_owned(), "db".to_owned())]["1"];
    assert_eq!(known.losses["Nehalem"].value, Ok(vec!["vaes".to_owned()]));
    let node_b = &facts.nodes["node-b"][&Machine::default()];
    assert_eq!(node_b.answers.values().next().map(|kept| kept.value.clone()), Some(Ok(LibvirtAnswer::Superset)));
    assert!(node_b.hosts.contains_key(&Accelerator::Qemu), "it was asked for that guest");
    let silence = facts.nodes["node-c"][&Machine::default()].silence.as_ref();
    assert_eq!(silence.map(|kept| &kept.value), Some(&Silence::NoLauncher), "a sentence of old means the same");
}

/// Files of older releases: a libvirt that does not know the CPU refuses it, and one that knows nothing of its own host
/// has compared nothing.
#[rstest]
#[case::model(
    r#""unansweredCode":"failed","unansweredDetail":"internal error: Unknown CPU model EPYC-v2""#,
    Ok("libvirt there does not know CPU model EPYC-v2")
)]
#[case::feature(
    r#""unanswered":"-","unansweredCode":"failed","unansweredDetail":"internal error: Unknown CPU feature avx10.1""#,
    Ok("libvirt there does not know CPU feature avx10.1")
)]
#[case::sentence_alone(
    r#""unanswered":"virsh failed: internal error: Unknown CPU model EPYC-v2""#,
    Ok("libvirt there does not know CPU model EPYC-v2")
)]
#[case::no_name(
    r#""unansweredCode":"failed","unansweredDetail":"internal error: Unknown CPU model <x>""#,
    Err(Silence::Failed("internal error: Unknown CPU model <x>".to_owned()))
)]
#[case::another_failure(
    r#""unansweredCode":"failed","unansweredDetail":"out of memory""#,
    Err(Silence::Failed("out of memory".to_owned()))
)]
#[case::another_silence(
    r#""unansweredCode":"forbidden","unansweredDetail":"Unknown CPU model EPYC-v2""#,
    Err(Silence::Forbidden("Unknown CPU model EPYC-v2".to_owned()))
)]
#[case::unknown_host(
    r#""answer":"incompatible","reason":"unknown host CPU""#,
    Err(Silence::Failed("unknown host CPU".to_owned()))
)]
#[case::incompatible_with_other_words(r#""answer":"incompatible","reason":"vendor""#, Ok("vendor"))]
fn saved_answers_about_unknown_cpus_are_read_as_failures(
    #[case] fields: &str,
    #[case] expected: Result<&str, Silence>,
) {
    let text = format!(
        r#"{{"metadata":{{"name":"node-b"}},"answers":[{{"accelerator":"kvm","cpu":{{"model":"EPYC-v2","require":["avx10.1"]}},{fields}}}]}}"#
    );
    let mut facts = LibvirtFacts::default();
    assert_eq!(take_in(&mut facts, NODE, &text, "file"), Ok(()));
    let kept = facts.nodes["node-b"][&Machine::default()].answers.values().next().map(|kept| kept.value.clone());
    let refused = |reason: &str| {
        LibvirtAnswer::Incompatible(Incompatible { reason: reason.to_owned(), ..Incompatible::default() })
    };
    assert_eq!(kept, Some(expected.map(refused)), "a node is said to be silent, or to refuse, and does neither");
    assert_eq!(
        read_back(&files(&facts)).map(|facts| facts.nodes),
        Ok(facts.nodes),
        "it changes when it is saved again"
    );
}

#[rstest]
#[case::shell(
    GUEST,
    r#"{"metadata":{"namespace":"shop","name":"db"},"accelerator":"kvm","cpu":{"model":"$(reboot)"}}"#,
    "not the name of a CPU model"
)]
#[case::accelerator(
    GUEST,
    r#"{"metadata":{"namespace":"shop","name":"db"},"accelerator":"hvf","cpu":{"model":"EPYC"}}"#,
    "accelerator: expected kvm or qemu"
)]
#[case::no_name(GUEST, r#"{"metadata":{},"accelerator":"kvm","cpu":{"model":"EPYC"}}"#, "metadata.name is missing")]
#[case::no_namespace(
    GUEST,
    r#"{"metadata":{"name":"db"},"accelerator":"kvm","cpu":{"model":"EPYC"}}"#,
    "metadata.namespace is missing"
)]
#[case::a_feature_that_it_has_and_has_not(
    GUEST,
    r#"{"metadata":{"namespace":"shop","name":"db"},"accelerator":"kvm","cpu":{"model":"EPYC","require":["hle","ss"],"disable":["hle"]}}"#,
    "feature hle stands in require and in disable"
)]
#[case::a_feature_that_it_has_and_may_not_have(
    GUEST,
    r#"{"metadata":{"namespace":"shop","name":"db"},"accelerator":"kvm","cpu":{"model":"EPYC","require":["hle"],"forbid":["hle"]}}"#,
    "feature hle stands in require and in forbid"
)]
#[case::a_feature_that_is_disabled_and_forbidden(
    GUEST,
    r#"{"metadata":{"namespace":"shop","name":"db"},"accelerator":"kvm","cpu":{"model":"EPYC","disable":["hle"],"forbid":["hle"]}}"#,
    "feature hle stands in disable and in forbid"
)]
#[case::no_model(
    GUEST,
    r#"{"metadata":{"namespace":"shop","name":"db"},"accelerator":"kvm","cpu":{}}"#,
    "not the name of a CPU model"
)]
#[case::other_time(
    GUEST,
    r#"{"metadata":{"namespace":"shop","name":"db"},"askedAt":"yesterday"}"#,
    "askedAt: expected a time in RFC 3339"
)]
#[case::no_object(GUEST, "[1]", "invalid type")]
#[case::type_of_a_field(NODE, r#"{"metadata":{"name":"n"},"answers":1}"#, "invalid type")]
#[case::other_answer(
    NODE,
    r#"{"metadata":{"name":"n"},"answers":[{"accelerator":"kvm","cpu":{"model":"EPYC"},"answer":"yes"}]}"#,
    "answer: expected identical, superset or incompatible, found \"yes\""
)]
#[case::unusable_models_alone(
    NODE,
    r#"{"metadata":{"name":"n"},"unusableModels":{"EPYC":["vaes"]}}"#,
    "usableModels is missing beside unusableModels or otherModels; where none is usable it is []"
)]
#[case::escape_in_a_machine(
    NODE,
    "{\"metadata\":{\"name\":\"n\"},\"machine\":{\"hostModel\":\"\\u001b[31m\"}}",
    "not the name"
)]
#[case::one_cpu_twice(
    NODE,
    r#"{"metadata":{"name":"n"},"answers":[{"accelerator":"kvm","cpu":{"model":"EPYC"},"answer":"identical"},
        {"accelerator":"kvm","cpu":{"model":"EPYC"},"answer":"incompatible"}]}"#,
    "it is not known which answer is newer"
)]
fn saved_answers_are_validated(#[case] kind: &str, #[case] text: &str, #[case] expected: &str) {
    let problem =
        take_in(&mut LibvirtFacts::default(), kind, text, "file").expect_err("it is not what is written").to_string();
    assert!(problem.contains(expected), "{problem}");
    assert!(problem.chars().count() < 600 && !problem.contains('\u{1b}'), "{problem}");
}

/// Returns the answer of a node about a CPU with these further fields.
fn answer_with(fields: &str) -> String {
    let answer = format!(r#"{{"accelerator":"kvm","cpu":{{"model":"EPYC"}},{fields}}}"#);
    format!(r#"{{"metadata":{{"name":"n"}},"answers":[{answer}]}}"#)
}

/// Files are held to the bounds of a container's answer, and state an answer or the reason for its lack.
#[rstest]
#[case::missing(NODE, answer_with(&format!(r#""answer":"incompatible","missing":{}"#, json!(many(2049)))), "more than 2048 features")]
#[case::cpu(NODE, format!(r#"{{"metadata":{{"name":"n"}},"hostModel":{{"model":"EPYC","require":{}}}}}"#, json!(many(2049))), "more than 2048")]
#[case::cpu_of_two_lists(GUEST, format!(r#"{{"metadata":{{"name":"n","namespace":"s"}},"accelerator":"kvm",
    "cpu":{{"model":"EPYC","require":{},"disable":{}}}}}"#, json!(many(2048)), json!(["x"])), "more than 2048")]
#[case::host_and_its_lack(NODE, r#"{"metadata":{"name":"n"},"usableModels":[],"hostUnanswered":{"unanswered":"x"}}"#.to_owned(), "only one of them can be")]
#[case::losses(GUEST, format!(r#"{{"metadata":{{"name":"n","namespace":"s"}},"losses":{{"EPYC":{}}}}}"#, json!(many(2049))), "more than 2048")]
#[case::reason_beside(
    NODE,
    answer_with(r#""answer":"superset","reason":"no way""#),
    "answer: superset, and reason is \"no way\""
)]
#[case::silence_beside(
    NODE,
    answer_with(r#""answer":"superset","unansweredCode":"failed""#),
    "answer: superset, and unanswered says why"
)]
#[case::silence_beside_a_refusal(
    NODE,
    answer_with(r#""answer":"incompatible","unanswered":"-""#),
    "only one of them can be"
)]
#[case::silence_beside_a_cpu(GUEST, r#"{"metadata":{"name":"n","namespace":"s"},"accelerator":"kvm","cpu":{"model":"EPYC"},
    "unansweredCode":"failed"}"#.to_owned(), "cpu, and unanswered says why")]
#[case::lost_and_silent(GUEST, r#"{"metadata":{"name":"n","namespace":"s"},"losses":{"EPYC":[]},
    "lossesUnanswered":{"EPYC":{"unansweredCode":"failed"}}}"#.to_owned(), "stands in losses and in lossesUnanswered")]
fn a_file_is_held_to_the_bounds_of_an_answer(#[case] kind: &str, #[case] text: String, #[case] expected: &str) {
    let taken = take_in(&mut LibvirtFacts::default(), kind, &text, "file");
    let problem = taken.expect_err("an answer that no container could give counts").to_string();
    assert!(problem.contains(expected) && problem.chars().count() < 600, "{problem}");
}

/// The largest numbers that are read from a container are read from a file.
#[test]
fn what_a_container_may_answer_is_read_from_a_file() {
    let text = answer_with(&format!(r#""answer":"incompatible","missing":{}"#, json!(many(2048))));
    assert_eq!(take_in(&mut LibvirtFacts::default(), NODE, &text, "file"), Ok(()));
}

fn many(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("f{number}")).collect()
}

#[test]
fn a_saved_file_beyond_the_bound_is_refused() {
    let text = format!(r#"{{"metadata":{{"name":"n"}},"more":"{}"}}"#, "x".repeat(MAX_OBJECT_BYTES));
    let problem = take_in(&mut LibvirtFacts::default(), NODE, &text, "file").expect_err("it is too large").to_string();
    assert!(problem.contains("at most 4194304 of one object are read"), "{problem}");
}

#[test]
fn fields_of_later_releases_are_ignored() {
    let text = r#"{"metadata":{"name":"n","labels":{}},"later":{"much":[1]},
        "answers":[{"accelerator":"kvm","cpu":{"model":"EPYC","level":3},"answer":"identical","later":1}]}"#;
    let mut facts = LibvirtFacts::default();
    assert_eq!(take_in(&mut facts, NODE, text, "file"), Ok(()));
    assert_eq!(facts.nodes["n"][&Machine::default()].answers.len(), 1);
    let later = r#"{"metadata":{"name":"m"},"unanswered":"not asked: it rains","unansweredCode":"rain"}"#;
    assert_eq!(take_in(&mut facts, NODE, later, "file"), Ok(()));
    let silence = facts.nodes["m"][&Machine::default()].silence.as_ref().map(|kept| kept.value.to_string());
    assert_eq!(silence.as_deref(), Some("not asked: it rains"));
}

/// A node that was queried about more CPUs than fit into one readable object.
#[test]
fn many_answers_are_written_as_several_objects() {
    let many = (0..3_000).map(|number| {
        let require = (0..60).map(|feature| format!("feature-{number}-{feature}")).collect();
        let cpu = Cpu { model: "EPYC".to_owned(), require, ..Cpu::default() };
        (GuestCpu { cpu, accelerator: Accelerator::Kvm }, from_file(Ok(LibvirtAnswer::Superset)))
    });
    let mut facts = LibvirtFacts::default();
    facts.add_node("node-b", &Machine::default(), [], many, None).unwrap();
    let files = files(&facts);
    assert_eq!(files.len(), 1);
    assert!(files[0].1["items"].as_array().map_or(0, Vec::len) > 2);
    assert_eq!(read_back(&files), Ok(facts));
}

#[rstest]
#[case(&["node", "node-b"], "node.node-b.json")]
#[case(&["node", "a.b.example"], "node.a.b.example.json")]
#[case(&["guest", "shop", "db.x"], "guest.shop.db.x.json")]
#[case(&["guest", "a.b", "c"], "guest.a%2Eb.c.json")]
#[case(&["guest", "..", "../../etc/passwd"], "guest.%2E%2E...%2F..%2Fetc%2Fpasswd.json")]
#[case(&["node", "NODE_b"], "node.%4E%4F%44%45%5Fb.json")]
#[case(&["node", "é\n"], "node.%C3%A9%0A.json")]
fn names_of_files_are_safe_and_stable(#[case] parts: &[&str], #[case] expected: &str) {
    assert_eq!(file_name(parts), expected);
}

#[test]
fn long_names_are_cut_and_stay_apart() {
    let (one, two) = ("a".repeat(300) + "1", "a".repeat(300) + "2");
    let (one, two) = (file_name(&["node", &one]), file_name(&["node", &two]));
    assert!(one.len() < 255 && one != two, "{one}");
    assert_eq!(one, file_name(&["node", &("a".repeat(300) + "1")]));
}

/// Other files of the folder are not read, so that they do not keep answers from being added.
#[rstest]
#[case::node("node.node-b.json", true)]
#[case::node_with_dots("node.a.b.example.json", true)]
#[case::guest("guest.shop.db.json", true)]
#[case::guest_with_dots("guest.shop.db.x.json", true)]
#[case::node_without_a_name("node.json", false)]
#[case::guest_without_a_name("guest.json", false)]
#[case::node_with_an_empty_name("node..json", false)]
#[case::guest_without_a_namespace("guest.shop.json", false)]
#[case::guest_with_an_empty_name("guest.shop..json", false)]
#[case::other_kind("nodes.node-b.json", false)]
#[case::other_ending("node.node-b.yaml", false)]
fn files_with_other_names_are_left_alone(#[case] name: &str, #[case] expected: bool) {
    assert_eq!(is_file_name(name), expected);
}

/// Lists at the bound and beyond it, in each answer of a container that has a list: what is read is saved, and what is
/// saved is read.
#[test]
fn an_answer_of_a_container_leaves_the_folder_readable() {
    use crate::libvirt::answer;
    use crate::libvirt::question::{CommandOutput, Question};
    let said = |stdout: String| CommandOutput { code: Some(0), stdout, stderr: String::new() };
    for count in [2048, 2049] {
        let feature = |name: String| format!("<feature name='{name}'/>");
        let features: String = many(count).into_iter().map(feature).collect();
        let blockers = format!(
            "<domainCapabilities><cpu><mode name='custom' supported='yes'><model usable='no'>EPYC</model>\
             <blockers model='EPYC'>{features}</blockers></mode></cpu></domainCapabilities>"
        );
        let host = answer::host(&Question::Host(Accelerator::Kvm), &said(blockers));
        let stderr = format!(
            "error: the CPU is incompatible with host CPU: Host CPU does not provide required features: {}",
            many(count).join(", ")
        );
        let refusal = CommandOutput { code: Some(1), stdout: String::new(), stderr };
        let refusal = answer::comparison(&Question::Compare(cpu("EPYC")), &refusal);
        assert_eq!((host.is_ok(), refusal.is_ok()), (count == 2048, count == 2048), "{count}");
        let mut facts = LibvirtFacts::default();
        let hosts = [(Accelerator::Kvm, from_file(host))];
        facts.add_node("node-b", &Machine::default(), hosts, [(cpu("EPYC"), from_file(refusal))], None).unwrap();
        assert_eq!(read_back(&files(&facts)), Ok(facts), "{count}: nothing can be added to the folder any more");
    }
}

proptest! {
    /// Models of templates, which may be any text: those that libvirt is asked about are read back.
    #[test]
    fn losses_with_any_model_are_read_back(
        names in proptest::collection::btree_set(prop_oneof!["[A-Za-z0-9._+-]{1,80}", ".{0,12}", "EPYC[ \t<>&'\"/]?[a-z]*"], 1..6),
    ) {
        let is_asked = |name: &String| crate::answers::libvirt_plan::why_not_asked(name).is_none();
        let losses = names.into_iter().filter(is_asked).map(|name| (name, from_file(Ok(vec!["vaes".to_owned()]))));
        let guest = GuestFacts { cpu: from_file(Ok(cpu("EPYC"))), losses: losses.collect() };
        let mut facts = LibvirtFacts::default();
        facts.add_guest(("shop".to_owned(), "db".to_owned()), "1".to_owned(), guest).unwrap();
        let files = files(&facts);
        prop_assert!(files.iter().all(|(name, _)| is_file_name(name)));
        prop_assert_eq!(read_back(&files), Ok(facts));
    }
}
