use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::facts::FAMILIES;
use super::recommend::Recommendation;
use super::*;
use crate::fit::node::Node;

#[test]
fn the_most_modern_model_of_the_vendor_comes_first_and_hardened_before_plain() {
    let models = [
        "Westmere-IBRS",
        "Skylake-Server-v4",
        "Skylake-Server-noTSX-IBRS",
        "EPYC-Milan",
        "qemu64",
        "Skylake-Server",
        "Broadwell-IBRS",
        "made-up",
        "Skylake-Server-IBRS",
        "Skylake-Server-v5",
    ];
    assert_eq!(
        ranked(models, "Intel"),
        [
            "Skylake-Server-noTSX-IBRS",
            "Skylake-Server-v5",
            "Skylake-Server-v4",
            "Skylake-Server-IBRS",
            "Skylake-Server",
            "Broadwell-IBRS",
            "Westmere-IBRS"
        ],
        "a guest would be given an older or a vulnerable CPU"
    );
    assert_eq!(ranked(models, "AMD"), ["EPYC-Milan"]);
    assert_eq!(
        of_same_family("EPYC-IBPB", &["EPYC", "EPYC-v1", "EPYC-v2", "EPYC-v4", "EPYC-Rome"]),
        ["EPYC-v4", "EPYC"]
    );
}

#[test]
fn an_unknown_version_of_a_model_ranks_as_the_newest_known() {
    let order = ranked(["Skylake-Server-v9", "Skylake-Server-noTSX-IBRS", "Skylake-Server-v5"], "Intel");
    assert_eq!(order, ["Skylake-Server-noTSX-IBRS", "Skylake-Server-v9", "Skylake-Server-v5"]);
    // The newest known version of SapphireRapids has TSX.
    assert_eq!(drawbacks("SapphireRapids-v99"), [Drawback::Tsx]);
    assert_eq!(ranked(["EPYC-Venice", "EPYC-v5000", "EPYC-IBPBX"], "AMD"), ["EPYC-v5000"]);
}

/// Only a version is assumed to be like others of its family, written as libvirt writes it.
#[test]
fn a_name_that_is_not_known_is_not_recommended_as_if_it_were() {
    for model in ["SapphireRapids-noTSX", "EPYC-Rome-IBRS", "Haswell-v+9", "Haswell-v007", "Haswell-v0", "Haswell-v"] {
        assert!(!is_known(model), "{model} would be recommended, and no QEMU may have it");
    }
    for model in ["Haswell-v9", "GraniteRapids-v9", "EPYC-Rome", "EPYC-IBPB"] {
        assert!(is_known(model), "{model} would be left out");
    }
}

#[test]
fn drawbacks_of_a_model_are_reported() {
    assert_eq!(drawbacks("Skylake-Server"), [Drawback::NoMitigations("spec-ctrl"), Drawback::Tsx]);
    assert_eq!(drawbacks("Skylake-Server-v1"), drawbacks("Skylake-Server"), "another spelling of it");
    assert_eq!(drawbacks("EPYC"), [Drawback::NoMitigations("ibpb")]);
    assert_eq!(drawbacks("EPYC-IBPB"), []);
    assert_eq!(drawbacks("Broadwell-noTSX"), [Drawback::NoMitigations("spec-ctrl")]);
    assert_eq!(drawbacks("Cascadelake-Server-noTSX"), []);
    assert_eq!(drawbacks("made-up"), []);
}

/// The facts have the forms that the ranking relies on.
#[test]
fn the_table_is_well_formed() {
    for family in FAMILIES {
        let name = family.name;
        assert!(family.rank > 0 && !family.vendor.is_empty(), "{name}");
        assert_eq!(family.models[0].suffix, "", "{name}: the plain model goes first");
        let forms: Vec<(u8, u16)> = family.models.iter().map(|model| split(model.suffix).expect(name)).collect();
        assert!(forms.windows(2).all(|pair| pair[0] < pair[1]), "{name}: {forms:?}");
        for other in family.models.iter().filter_map(|model| model.same_as) {
            let target = family.models.iter().find(|model| model.suffix == other).expect(name);
            assert!(target.same_as.is_none(), "{name}{other} is itself another spelling");
        }
        for model in family.models {
            let known = KnownModel::of(&format!("{name}{}", model.suffix)).expect(name);
            assert_eq!(known.family, name, "{name}{} is taken for one of another family", model.suffix);
        }
    }
    let mut ranks: Vec<(&str, u16)> = FAMILIES.iter().map(|family| (family.vendor, family.rank)).collect();
    ranks.sort_unstable();
    ranks.dedup();
    assert_eq!(ranks.len(), FAMILIES.len(), "two families of a vendor have one rank");
}

#[test]
fn models_of_s390x_are_ranked_by_generation() {
    let models = ["z14-base", "gen15a-base", "z13.2", "z14", "qemu", "max", "z14.2", "z14ZR1", "zEC12", "gen99a"];
    assert_eq!(
        ranked(models, "IBM"),
        ["gen15a-base", "z14.2", "z14", "z14ZR1", "z14-base", "z13.2", "zEC12"],
        "a guest would be given an older machine"
    );
    assert_eq!(KnownModel::of("gen15a").map(|known| known.family), Some("z15"));
    assert!(is_known("qemu") && !is_known("gen99a"), "a name that is not known must be said, not guessed");
}

/// The features agree with the other facts about the models.
#[test]
fn the_features_of_each_model_agree_with_its_properties() {
    let mut seen = 0;
    for family in FAMILIES {
        for suffix in family.models.iter().map(|model| model.suffix) {
            let name = format!("{}{suffix}", family.name);
            let (known, held) = (KnownModel::of(&name).expect(&name), features(&name).expect(&name));
            let bit = if matches!(family.vendor, "AMD" | "Hygon") { "ibpb" } else { "spec-ctrl" };
            assert_eq!((held.contains(bit), held.contains("rtm")), (known.hardened, known.tsx), "{name}: {held:?}");
            assert!(held.contains("fpu") && held.len() > 25, "{name}: {held:?}");
            seen += 1;
        }
    }
    assert!(seen > 140, "{seen} models have features");
    assert!(features("Skylake-Server-v99").is_none() && features("qemu64").is_none(), "never guessed");
    assert_eq!(holding("gfni").first(), Some(&"EPYC-Genoa"));
}

#[test]
fn obsolete_and_generic_models_are_known_and_never_recommended() {
    for model in ["486", "486-v1", "Opteron_G2-v1", "qemu64", "kvm64-v1", "cpu64-rhel6", "Conroe"] {
        assert!(is_obsolete(model) && is_known(model), "{model} would be reported as unknown");
        assert_eq!(ranked([model], "Intel"), Vec::<&str>::new());
    }
    assert!(!is_obsolete("Skylake-Server-v4") && !is_known("FutureLake"));
}

/// Made-up clusters with the models that their nodes have in common, best first.
///
/// A host's models are those whose features are a subset of its own, as libvirt 12.8.0 lists them; `Broadwell
/// . -IBRS` denotes the plain model and one variant.
#[derive(Deserialize)]
struct Recorded {
    hosts: BTreeMap<String, Host>,
    clusters: Vec<Cluster>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Host {
    vendor: String,
    #[serde(rename = "hostModel")]
    own_model: String,
    known_models: Vec<String>,
    models: Vec<String>,
}

#[derive(Deserialize)]
struct Cluster {
    name: String,
    nodes: Vec<String>,
    why: String,
    candidates: Vec<String>,
}

fn recorded() -> Recorded {
    serde_json::from_str(include_str!("../../../tests/data/models/clusters.json")).unwrap()
}

/// Expands `Broadwell . -IBRS` to Broadwell, Broadwell-IBRS.
fn spread(packed: &[String]) -> Vec<String> {
    let of_family = |line: &String| -> Vec<String> {
        let mut words = line.split(' ');
        let family = words.next().unwrap().to_owned();
        words.map(|suffix| format!("{family}{}", suffix.trim_start_matches('.'))).collect()
    };
    packed.iter().flat_map(of_family).collect()
}

/// Builds a node with this name and kind; the kind may be followed by `(not schedulable now)`.
fn node(name: &str, kind: &str, hosts: &BTreeMap<String, Host>) -> Node {
    let (kind, schedulable) = kind.split_once(" (").map_or((kind, "true"), |(kind, _)| (kind, "false"));
    let Host { vendor, own_model, known_models, models } = &hosts[kind];
    let mut labels = BTreeMap::from([
        ("kubernetes.io/arch".to_owned(), "amd64".to_owned()),
        (label::SCHEDULABLE.to_owned(), schedulable.to_owned()),
        (format!("{}{vendor}", label::CPU_VENDOR), "true".to_owned()),
        (format!("host-model-cpu.node.kubevirt.io/{own_model}"), "true".to_owned()),
    ]);
    let migration = known_models.iter().map(|model| format!("cpu-model-migration.node.kubevirt.io/{model}"));
    let usable = spread(models).into_iter().map(|model| format!("{}{model}", label::CPU_MODEL));
    labels.extend(migration.chain(usable).map(|key| (key, "true".to_owned())));
    Node { name: name.to_owned(), labels, ..Node::default() }
}

fn of(nodes: Vec<Node>) -> Recommendation {
    let fleet = Fleet::new(nodes);
    recommend(&fleet, &Bits::all(fleet.len()), &BTreeSet::new())
}

#[test]
fn the_recommendation_is_the_best_model_that_all_nodes_can_run() {
    let Recorded { hosts, clusters } = recorded();
    assert_eq!(clusters.len(), 30);
    for cluster in clusters {
        let numbered = |(number, kind): (usize, &String)| node(&format!("node{}", number + 1), kind, &hosts);
        let found = of(cluster.nodes.iter().enumerate().map(numbered).collect());
        assert_eq!(found.counted.len(), cluster.nodes.len(), "{}: {:?}", cluster.name, found.not_counted);
        let models: Vec<String> = found.candidates.unwrap().into_iter().map(|candidate| candidate.model).collect();
        assert_eq!(models, spread(&cluster.candidates), "{}: {}", cluster.name, cluster.why);
    }
}

#[test]
fn nodes_left_out_and_the_reason_for_no_model_are_reported() {
    let hosts = recorded().hosts;
    let with = |name: &str, kind: &str, change: fn(&mut Node)| {
        let mut node = node(name, kind, &hosts);
        change(&mut node);
        node
    };
    let not_labelled = |node: &mut Node| node.labels.retain(|key, _| !key.starts_with(label::CPU_MODEL));
    let arm = |node: &mut Node| drop(node.labels.insert("kubernetes.io/arch".to_owned(), "arm64".to_owned()));
    let control_plane = |node: &mut Node| {
        node.labels.retain(|key, _| key == "kubernetes.io/arch");
    };
    let nothing = |_: &mut Node| {};
    let found =
        of(vec![with("a", "epyc-rome", nothing), with("b", "epyc-rome", arm), with("c", "epyc", control_plane)]);
    assert_eq!(found.counted, ["a"]);
    assert_eq!(
        found.not_counted,
        [("b".to_owned(), NotCounted::Architecture("arm64".to_owned())), ("c".to_owned(), NotCounted::NotLabelled)]
    );
    assert_eq!(found.candidates.unwrap()[0].family, "EPYC-Rome");

    let none = |nodes| of(nodes).candidates.unwrap_err();
    assert_eq!(none(Vec::new()), WhyNone::NoNode);
    assert_eq!(none(vec![with("a", "epyc-rome", arm)]), WhyNone::NoNode);
    assert_eq!(
        none(vec![with("a", "epyc-rome", nothing), with("b", "epyc-rome", not_labelled)]),
        WhyNone::NoModels(vec!["b".to_owned()]),
        "a node that takes guests and offers no model would be left without them"
    );
    assert_eq!(
        none(vec![with("a", "epyc-rome", nothing), with("b", "broadwell", nothing)]),
        WhyNone::Vendors(vec!["AMD".to_owned(), "Intel".to_owned()])
    );
    let no_vendor = |node: &mut Node| node.labels.retain(|key, _| !key.starts_with(label::CPU_VENDOR));
    assert_eq!(
        none(vec![with("a", "epyc-rome", nothing), with("b", "epyc-rome", no_vendor)]),
        WhyNone::NoVendor { nodes: vec!["b".to_owned()], vendor: "AMD".to_owned() },
        "a guest of the others would have a target too many"
    );
    assert_eq!(none(vec![with("b", "epyc-rome", no_vendor)]), WhyNone::Vendors(Vec::new()));
    let only =
        |node: &mut Node| node.labels.retain(|key, _| !key.starts_with(label::CPU_MODEL) || key.ends_with("/EPYC"));
    let other =
        |node: &mut Node| node.labels.retain(|key, _| !key.starts_with(label::CPU_MODEL) || key.ends_with("_G3"));
    assert_eq!(none(vec![with("a", "epyc-rome", only), with("b", "epyc-rome", other)]), WhyNone::NothingInCommon);
}

#[test]
fn a_model_that_kubevirt_withholds_is_not_recommended() {
    let hosts = recorded().hosts;
    let fleet = Fleet::new(vec![node("a", "epyc-rome", &hosts), node("b", "epyc-rome", &hosts)]);
    let all = Bits::all(fleet.len());
    let with = |withheld: &[String]| recommend(&fleet, &all, &withheld.iter().cloned().collect());
    let models = |found: &Recommendation| -> Vec<String> {
        found.candidates.iter().flatten().map(|candidate| candidate.model.clone()).collect()
    };
    let before = models(&with(&[]));
    let best = before[0].clone();
    let found = with(std::slice::from_ref(&best));
    assert_eq!((models(&found), found.passed_over), (before[1..].to_vec(), Some(best.clone())));
    assert_eq!(with(&before).candidates, Err(WhyNone::Withheld(best.clone())));

    // The model is still offered, with its drawback.
    let marked = |offer: &Offer| offer.candidate.drawbacks.contains(&Drawback::Withheld);
    let offered = offers(&fleet, &all, "AMD", &BTreeSet::from([best.clone()]));
    let marked: Vec<&str> =
        offered.iter().filter(|offer| marked(offer)).map(|offer| offer.candidate.model.as_str()).collect();
    assert_eq!(marked, [best]);
}
