//! Tests of the conclusions from libvirt's answers about a node's labels: the comparison of the guest's own CPU comes
//! first, then the node's host model, as far as its definitions agree.

use super::*;

const SERVER: &str = "Skylake-Server";

/// Judges a guest on node-a that selects these features; node-c is of the same hardware, without the labels of some.
fn drifted(asks: &[&str], lost: &[&str], asked: Answers) -> Verdict {
    let own: Vec<String> = asks.iter().map(|name| feature(name)).collect();
    let lost: Vec<String> = lost.iter().map(|name| feature(name)).collect();
    let all = |name: &str| {
        cascade_lake(name).tweak(|node| node.labels.extend(own.iter().map(|key| (key.clone(), "true".to_owned()))))
    };
    judge(&guest(&own, asked), vec![all("node-a"), all("node-c").tweak(|node| take(node, &lost))])
}

/// A feature in which definitions of a model differ: a host model that does not name it proves nothing.
#[rstest]
#[case::in_libvirt_9("mpx", SERVER)]
#[case::in_libvirt_9_too("mpx", "Icelake-Server-noTSX")]
#[case::given_by_qemu("pku", "Cascadelake-Server")]
#[case::given_by_qemu_too("topoext", "EPYC-Rome")]
#[case::by_another_name("topoext", "EPYC-Rome-v1")]
#[case::marked_as_removed_later("monitor", "EPYC")]
fn a_host_model_that_names_no_disputed_feature_proves_nothing(#[case] name: &str, #[case] model: &str) {
    let provides = |require: &[&str], disable: &[&str]| {
        LibvirtHost { model: Some(cpu(model, require, disable)), models: None }.provides(&feature(name))
    };
    assert_eq!(provides(&[], &[]), Provided::Unknown, "{model}: a guest that needs {name} is said not to start");
    assert_eq!((provides(&[name], &[]), provides(&[], &[name])), (Provided::Yes, Provided::No), "{model} {name}");
    assert_eq!(cpu(model, &[], &[]).has(name), None, "{model}: a guest is said to run without {name}");
}

/// A node agrees to a CPU with the feature; its own host model, whether it is older or of another definition, says
/// nothing else or denies it.
#[rstest]
#[case::not_named("mpx", &[], &[], SERVER)]
#[case::denied_by_an_older_answer("md-clear", &[], &["md-clear"], SERVER)]
#[case::named("md-clear", &["md-clear"], &[], SERVER)]
#[case::of_a_model_that_lacks_it("gfni", &[], &[], SERVER)]
#[case::of_a_model_that_is_not_known("gfni", &[], &[], "Nosuch")]
fn a_node_that_agrees_has_what_the_compared_cpu_requires(
    #[case] name: &str,
    #[case] require: &[&str],
    #[case] disable: &[&str],
    #[case] model: &str,
) {
    for answer in [LibvirtAnswer::Identical, LibvirtAnswer::Superset] {
        let host = LibvirtHost { model: Some(cpu(model, require, disable)), models: None };
        let asked = said(cpu("Cascadelake-Server", &[name], &[]), [("node-c", answer)], [("node-c", host)]);
        let verdict = drifted(&["fpu", name], &[name], asked);
        let near = &verdict.nearest[0];
        assert_eq!((near.evidence, near.untrue.len()), (Evidence::LibvirtAgrees, 0), "{name} is said to be missing");
        assert_eq!(added(&verdict).map(|add| add.backing), Some(Backing::Provided), "the drifted label stays away");
    }
}

/// At the next start, a feature of the running guest that the node's libvirt compared counts too.
#[test]
fn a_start_fails_on_no_node_that_agrees_to_the_required_feature() {
    let host = || LibvirtHost { model: Some(cpu(SERVER, &[], &["md-clear"])), models: None };
    let requires = Placement::default().tweak(|placement| placement.selector.insert(feature("md-clear"), "true"));
    for (answer, expected) in [(Some(LibvirtAnswer::Superset), 0), (None, 1)] {
        let mut asked = said(cpu(SERVER, &["md-clear"], &[]), [], [("node-c", host())]);
        asked.nodes = Arc::new(answer.into_iter().map(|answer| ("node-c".to_owned(), Ok(answer))).collect());
        let subject = guest(&[], asked);
        assert_eq!(
            subject.unmet_at_start(&requires, &subject.features, "node-c").len(),
            expected,
            "a start is said to fail there"
        );
    }
    let undecided = LibvirtHost { model: Some(cpu(SERVER, &[], &[])), models: None };
    let subject = guest(&[], said(cpu("EPYC", &[], &[]), [], [("node-c", undecided)]));
    let requires = Placement::default().tweak(|placement| placement.selector.insert(feature("mpx"), "true"));
    assert_eq!(
        subject.unmet_at_start(&requires, &subject.features, "node-c"),
        [],
        "a guest that can start is said to be unable to"
    );
}

/// Libvirt denies all, some or none of several missing labels: only the denied ones are said to be right.
#[rstest]
#[case::all(&["hle", "rtm"], Evidence::LibvirtLacks, "(libvirt there confirms it)")]
#[case::one_more(&["hle", "fpu"], Evidence::LibvirtLacksSome, "(libvirt there confirms only cpu-feature hle)")]
#[case::two_of_four(&["hle", "rtm", "fpu", "vme"], Evidence::LibvirtLacksSome, "(libvirt there confirms only cpu-feature hle, rtm)")]
#[case::beside_one_that_is_not_known(&["hle", "vmx-ept"], Evidence::LibvirtLacksSome, "(libvirt there confirms only cpu-feature hle)")]
#[case::none(&["fpu", "vme"], Evidence::LibvirtAgrees, "(libvirt there has its features: the labels are wrong)")]
fn libvirt_confirms_only_what_it_denies(#[case] lost: &[&str], #[case] expected: Evidence, #[case] words: &str) {
    let without = || cpu("Cascadelake-Server", &[], &["hle", "rtm"]);
    let host = || LibvirtHost { model: Some(without()), models: None };
    let verdict = drifted(lost, lost, said(without(), [("node-c", LibvirtAnswer::Superset)], [("node-c", host())]));
    assert_eq!(verdict.nearest[0].evidence, expected);
    let untrue = verdict.nearest[0].untrue.len();
    assert_eq!(untrue, lost.iter().filter(|name| ["hle", "rtm"].contains(name)).count(), "{:?}", verdict.nearest);
    assert_eq!(added(&verdict).is_some(), expected == Evidence::LibvirtAgrees, "a label would be untrue");
    let suffix = crate::say::evidence::suffix(&verdict.nearest[0]);
    assert_eq!(suffix.trim_start(), words, "hardware is said to lack what it has");
}

/// The label of a named model: it is added only where libvirt lists the model as usable and takes the guest.
#[rstest]
#[case::usable(Some(Usable::Yes), Some(Backing::Provided))]
#[case::blocked(Some(blocked(&["hle"])), None)]
#[case::not_known(Some(Usable::Unknown), None)]
#[case::no_list(None, None)]
fn the_label_of_a_model_is_added_where_libvirt_lists_it(
    #[case] listed: Option<Usable>,
    #[case] expected: Option<Backing>,
) {
    let host = listed.map_or_else(LibvirtHost::default, |usable| lists(&[(OLD, usable), ("n270", blocked(&[]))]));
    let asked = said(cpu(OLD, &[], &[]), [("node-c", LibvirtAnswer::Superset)], [("node-c", host)]);
    let nodes = vec![cascade_lake("node-a"), cascade_lake("node-c").tweak(|node| take(node, &[model(OLD)]))];
    let verdict = judge(&guest(&[model(OLD)], asked), nodes);
    assert_eq!(added(&verdict).map(|add| add.backing), expected, "{:?}", verdict.nearest);
    let added = added(&verdict).into_iter().flat_map(|add| &add.labels).map(|(key, _)| key.clone());
    assert!(added.eq(expected.map(|_| model(OLD))), "a label is added that libvirt does not confirm");
}

#[test]
fn features_without_an_answer_of_libvirt_are_not_called_wrong_labels() {
    for key in [format!("{}synic", label::HYPERV), format!("{}2100000000", label::SCHEDULING_TSC)] {
        let has_it = cascade_lake("node-a").tweak(|node| node.labels.extend([(key.clone(), "true".to_owned())]));
        let asked = said(cpu("Cascadelake-Server", &[], &[]), [("node-c", LibvirtAnswer::Identical)], []);
        let verdict = judge(&guest(&[feature("fpu"), key.clone()], asked), vec![has_it, cascade_lake("node-c")]);
        assert_eq!(verdict.nearest[0].evidence, Evidence::LibvirtTakesCpu, "{key}");
    }
}
