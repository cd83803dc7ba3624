//! Tests of a restart after which a guest no longer has what libvirt refuses of its CPU.

use super::*;
use crate::fit::libvirt::PROVIDES_FORBIDDEN;
use crate::fit::placement::{Expression, NodeSelector, Term};
use crate::fit::remedy::{DisableFeature, DropSetting, NoRestart};
use crate::fit::subject::{ListedFeature, Setting, SettingChange};

/// Parses features: `+f` is required, `!f` forced, `?f` optional, `-f` disabled, `x f` forbidden.
fn listed(words: &str) -> CpuFeatures {
    let mut out = CpuFeatures::default();
    for word in words.split_whitespace() {
        let list = match &word[..1] {
            "+" => &mut out.required,
            "!" => &mut out.forced,
            "?" => &mut out.optional,
            "-" => &mut out.disabled,
            "x" => &mut out.forbidden,
            other => panic!("{other}"),
        };
        list.push(word[1..].to_owned());
    }
    out
}

/// Builds libvirt's refusal: `provides f, g` for forbidden features, else the missing ones.
fn refused(words: &str) -> Incompatible {
    match words.strip_prefix("provides ") {
        Some(list) => Incompatible { reason: format!("{PROVIDES_FORBIDDEN} {list}"), ..Incompatible::default() },
        None => Incompatible {
            missing: words.split(", ").filter(|name| !name.is_empty()).map(str::to_owned).collect(),
            ..Incompatible::default()
        },
    }
}

/// Builds a guest on node-a with a named model and these features, now and at its next start.
fn named(now: &str, then: &str, why: &Incompatible) -> Subject<'static> {
    let refusal = || LibvirtAnswer::Incompatible(why.clone());
    let asked = said(cpu(NEW, &[], &[]), [("node-b", refusal()), ("node-c", refusal())], []);
    guest(&[model(NEW)], asked).tweak(|subject| {
        subject.mode = CpuMode::Named(NEW.to_owned());
        subject.features = listed(now);
        let start = subject.restart.as_mut().expect("a restart");
        (start.mode, start.features) = (CpuMode::Named(NEW.to_owned()), listed(then));
        start.placement.selector.insert(model(NEW), "true");
    })
}

fn plain_nodes() -> Vec<Node> {
    let plain = |name| cascade_lake(name).tweak(|node| take(node, &[model("Cascadelake-Server"), model(OLD)]));
    ["node-a", "node-b", "node-c"].map(plain).to_vec()
}

/// The model is Cascadelake-Server-noTSX, which has `fpu` and `avx512vnni`, and neither `vaes` nor `gfni`.
#[rstest]
#[case::a_required_one_is_dropped("+vaes", "", "vaes", true)]
#[case::a_forced_one_is_dropped("!vaes", "", "vaes", true)]
#[case::an_optional_one_is_dropped("?vaes", "", "vaes", true)]
#[case::it_is_disabled_then("+vaes", "-vaes", "vaes", true)]
#[case::it_is_forbidden_then("+vaes", "xvaes", "vaes", true)]
#[case::it_is_optional_then("+vaes", "?vaes", "vaes", false)]
#[case::nothing_changes("+vaes", "+vaes", "vaes", false)]
#[case::it_never_asked_for_it("", "", "vaes", false)]
#[case::the_model_has_it("+fpu", "", "fpu", false)]
#[case::the_model_has_it_and_it_is_disabled("", "-fpu", "fpu", true)]
#[case::both_are_dropped("+vaes ?gfni", "", "gfni, vaes", true)]
#[case::one_of_two_is_dropped("+vaes +gfni", "+gfni", "gfni, vaes", false)]
#[case::one_is_dropped_and_one_disabled("+vaes", "-gfni", "gfni, vaes", true)]
#[case::one_of_two_is_of_the_model("+vaes", "", "fpu, vaes", false)]
#[case::without_names("+vaes", "", "", false)]
#[case::forbidden_no_longer("xvaes", "", "provides vaes", true)]
#[case::disabled_instead("xvaes", "-vaes", "provides vaes", true)]
#[case::forbidden_still("xvaes", "xvaes", "provides vaes", false)]
#[case::one_of_two_is_forbidden_still("xvaes xgfni", "xgfni", "provides gfni, vaes", false)]
#[case::neither_is_forbidden_still("xvaes xgfni", "-gfni", "provides gfni, vaes", true)]
fn a_restart_gives_up_what_libvirt_names(
    #[case] now: &str,
    #[case] then: &str,
    #[case] why: &str,
    #[case] gives_up: bool,
) {
    let subject = named(now, then, &refused(why));
    let start = subject.restart.clone().expect("a restart");
    assert_eq!(subject.gives_up(&start, &refused(why)), gives_up);
    let verdict = judge(&subject, plain_nodes());
    let restarts = actions(&verdict).any(|action| matches!(action, Action::Restart(_)));
    assert_eq!(restarts, gives_up, "{:?}", verdict.not_helping);
    let is_refused = |why: &WhyNot| matches!(why, WhyNot::Restart(NoRestart::LibvirtRefuses { .. }));
    assert_eq!(
        verdict.not_helping.iter().any(|not| is_refused(&not.why)),
        !gives_up,
        "a restart is said to be refused, or to help, where it is not so"
    );
}

/// Without a named model the start node decides which features the guest has; what it forbids is known.
#[rstest]
#[case::missing("+vaes", "", "vaes", false)]
#[case::forbidden_no_longer("xvaes", "-vaes", "provides vaes", true)]
#[case::forbidden_still("xvaes", "xvaes", "provides vaes", false)]
fn a_restart_with_the_host_model_gives_up_what_it_no_longer_forbids(
    #[case] now: &str,
    #[case] then: &str,
    #[case] why: &str,
    #[case] gives_up: bool,
) {
    let subject = named(now, then, &refused(why)).tweak(|subject| {
        subject.mode = CpuMode::HostModel;
        subject.restart.as_mut().expect("a restart").mode = CpuMode::HostModel;
    });
    let restarts = actions(&judge(&subject, plain_nodes())).any(|action| matches!(action, Action::Restart(_)));
    assert_eq!(restarts, gives_up, "a guest is restarted in vain, or its way out is hidden");
}

/// Adds a change of the guest's own features, and the start after it.
fn with_change(subject: &mut Subject<'static>, setting: Setting, then: &str) {
    let mut start = subject.restart.clone().expect("a restart");
    start.features = listed(then);
    subject.changes.push(SettingChange { setting, set_by: None, start, ends_refusal: false });
}

fn features(names: &[&str]) -> Vec<ListedFeature> {
    names.iter().enumerate().map(|(at, name)| ListedFeature { at, name: (*name).to_owned() }).collect()
}

/// A feature of the guest's own that libvirt names is dropped, or disabled instead of forbidden, where nothing else
/// that libvirt names is kept.
#[rstest]
#[case::required("+vaes", "", "vaes", true)]
#[case::forced("!vaes", "", "vaes", true)]
#[case::optional("?vaes", "", "vaes", true)]
#[case::another_is_missing_too("+vaes", "", "hle, vaes", false)]
#[case::the_model_has_it("+fpu", "", "fpu", false)]
#[case::without_names("+vaes", "", "", false)]
#[case::forbidden("xvaes", "-vaes", "provides vaes", true)]
#[case::another_is_forbidden_too("xvaes xgfni", "-vaes xgfni", "provides gfni, vaes", false)]
fn a_feature_that_libvirt_names_is_given_up(
    #[case] now: &str,
    #[case] then: &str,
    #[case] why: &str,
    #[case] helps: bool,
) {
    let is_forbidden = now.starts_with('x');
    let setting =
        if is_forbidden { Setting::Forbidden(features(&["vaes"])) } else { Setting::Features(features(&["vaes"])) };
    let subject = named(now, now, &refused(why)).tweak(|subject| with_change(subject, setting.clone(), then));
    let verdict = judge(&subject, plain_nodes());
    let found = verdict.findings.iter().flat_map(|finding| &finding.remedies).find(|remedy| match &remedy.action {
        Action::DropSetting(DropSetting { setting: dropped, .. }) => *dropped == setting,
        Action::DisableFeature(DisableFeature { features, .. }) => setting == Setting::Forbidden(features.clone()),
        _ => false,
    });
    assert_eq!(
        found.is_some(),
        helps,
        "a small change that helps is hidden, or one is made in vain: {:?}",
        verdict.findings
    );
    if let Some(remedy) = found {
        assert_eq!(remedy.then_fits, (2, 2));
        let (after, _) = remedy.action.apply(&subject, &Fleet::new(plain_nodes()));
        assert_eq!(after.features, listed(then), "it starts with other features than was said");
    }
}

/// A start that forbids a feature of the guest's present CPU fails on the node that gave the guest the feature,
/// whatever that node's labels are.
#[rstest]
#[case::forbidden("xvaes", &["node-b", "node-c"])]
#[case::disabled("-vaes", &["node-a", "node-b", "node-c"])]
fn a_start_that_forbids_a_feature_of_the_live_cpu_avoids_its_node(#[case] then: &str, #[case] starts: &[&str]) {
    let mut asked = said(cpu(NEW, &["vaes"], &[]), [], []);
    asked.own_node = Some("node-a".to_owned());
    let listed = listed(then);
    let mut placement = Placement::default();
    placement.selector.insert(model(NEW), "true");
    if !listed.forbidden.is_empty() {
        let expressions = vec![Expression::DoesNotExist(feature("vaes"))];
        let term = Term { expressions, names: Vec::new() };
        placement.affinity = Some(NodeSelector { terms: vec![term] }.into());
    }
    let subject = guest(&[], asked).tweak(|subject| {
        subject.stage = Stage::Start(AfterStart { host_model: HostModelRule::NotAsked, vendor: false });
        (subject.placement, subject.features) = (placement.clone(), listed);
        subject.mode = CpuMode::Named(NEW.to_owned());
    });
    let fleet = Fleet::new(plain_nodes());
    assert_eq!(fleet.names(&subject.fitting(&fleet)), starts, "a start is promised where libvirt refuses it");
}

/// Random guests with a named model, refusals and changes of features: a restart that is offered without another model
/// leaves the guest nothing that libvirt names on a node that fits by labels.
#[test]
fn no_restart_is_offered_that_keeps_what_libvirt_names() {
    const NAMES: [&str; 4] = ["fpu", "gfni", "hle", "vaes"];
    let mut seen = BTreeMap::<&str, usize>::new();
    for seed in (0..4_000).step_by(one_in()) {
        let random = &mut Random::new(seed);
        let random_list = |random: &mut Random| {
            let words = NAMES.map(|name| format!("{}{name}", random.one(&["+", "!", "?", "-", "x", "+", "?"])));
            words.into_iter().filter(|_| random.percent(50)).collect::<Vec<_>>()
        };
        let now = random_list(random);
        let without = |random: &mut Random| {
            let left = now.iter().filter(|_| random.percent(50)).cloned().collect::<Vec<_>>().join(" ");
            left.replace('x', if random.percent(50) { "-" } else { "x" })
        };
        let then = if random.percent(50) { now.join(" ") } else { without(random) };
        let named_by = |random: &mut Random| {
            let names: Vec<&str> = NAMES.into_iter().filter(|_| random.percent(30)).collect();
            let provides = if random.percent(30) && !names.is_empty() { "provides " } else { "" };
            refused(&format!("{provides}{}", names.join(", ")))
        };
        let (of_b, of_c) = (named_by(random), named_by(random));
        let mut subject = named(&now.join(" "), &then, &of_b);
        let answers = [("node-b", of_b.clone()), ("node-c", of_c.clone())];
        let answers = answers.map(|(node, why)| (node.to_owned(), Ok(LibvirtAnswer::Incompatible(why))));
        subject.asked.as_mut().expect("libvirt was asked").nodes = Arc::new(answers.into());
        for at in 0..random.below(3) {
            let then = without(random);
            with_change(&mut subject, Setting::Features(features(&NAMES[at..=at])), &then);
        }
        let verdict = judge(&subject, plain_nodes());
        for remedy in verdict.findings.iter().flat_map(|finding| &finding.remedies) {
            if remedy.action.outage(&subject) != Outage::Restart || matches!(remedy.action, Action::UseModel(_)) {
                continue;
            }
            *seen.entry(remedy.action.id().as_str()).or_default() += 1;
            let (after, _) = remedy.action.apply(&subject, &Fleet::new(plain_nodes()));
            let CpuFeatures { required, forced, optional, disabled, forbidden } = &after.features;
            for why in [&of_b, &of_c] {
                for name in &why.missing {
                    let is_off = disabled.contains(name) || forbidden.contains(name);
                    let is_given = name == "fpu" || [required, forced, optional].iter().any(|list| list.contains(name));
                    assert!(is_off || !is_given, "{seed}: {:?} keeps {name}", remedy.action);
                }
                let is_left = |name: &str| forbidden.iter().any(|left| left == name);
                assert!(!why.provided_forbidden().any(is_left), "{seed}: {:?} forbids {:?}", remedy.action, why.reason);
                assert!(!why.missing.is_empty() || !why.reason.is_empty(), "{seed}: nothing is known to be given up");
            }
        }
        let useless = |why: &WhyNot| matches!(why, WhyNot::Restart(NoRestart::LibvirtRefuses { .. }));
        *seen.entry("useless").or_default() += usize::from(verdict.not_helping.iter().any(|not| useless(&not.why)));
    }
    for what in ["restart", "drop-setting", "useless"] {
        assert!(seen.get(what).copied().unwrap_or(0) >= at_least(20), "{what} is hardly tried: {seen:?}");
    }
}
