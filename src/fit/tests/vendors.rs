//! Tests of the common model where nodes lack the label of their vendor.

use rstest::rstest;

use crate::fit::fleet::Fleet;
use crate::fit::judgement::{Depth, Judgement};
use crate::fit::label;
use crate::fit::models::vendors;
use crate::fit::node::Node;
use crate::fit::outcome::Outcome;
use crate::fit::placement::Placement;
use crate::fit::remedy::{Action, NoModel, UseModel, WhyNot};
use crate::fit::subject::{
    AfterStart, CpuFeatures, CpuMode, HostModelRule, Migration, Stage, Start, Subject, Template,
};
use crate::testing::Tweak;
use crate::testing::fleet::{cascade_lake, feature, rome, set, skylake};

/// Removes the vendor label.
fn no_vendor(mut node: Node) -> Node {
    node.labels.retain(|key, _| !key.starts_with(label::CPU_VENDOR));
    node
}

/// Removes the vendor label, and gives the node this host model.
fn of_model(node: Node, model: &str) -> Node {
    no_vendor(node).tweak(|node| {
        node.labels.retain(|key, _| !key.starts_with(label::HOST_MODEL_CPU));
        set(node, &format!("{}{model}", label::HOST_MODEL_CPU), "true");
    })
}

/// Builds a guest on node-a that no other node takes now, and that may start on any node with its model.
fn stuck() -> Subject<'static> {
    let mut placement = Placement::default();
    placement.selector.insert(feature("hle"), "true");
    let stage = Stage::Migration(Migration { source: Some("node-a".to_owned()), ..Migration::default() });
    Subject::new("shop", "db", stage, placement).tweak(|subject| {
        subject.mode = CpuMode::HostModel;
        subject.definition.template = Some(Template::VirtualMachine);
        subject.restart = Some(Start {
            mode: CpuMode::HostModel,
            placement: Placement::default(),
            own_models: Vec::new(),
            features: CpuFeatures::default(),
            by_policy: None,
            after_start: AfterStart { host_model: HostModelRule::NotAsked, vendor: false },
        });
    })
}

const SKYLAKE: &str = "Skylake-Server-noTSX-IBRS";

/// The nodes on which the offered model runs, those with its label and no known vendor, and whether no model is said to
/// be shared.
#[rstest]
#[case::all_are_labelled([cascade_lake("node-a"), skylake("node-b"), skylake("node-c")], Some(SKYLAKE), "node-a node-b node-c", "")]
#[case::none_is_labelled([cascade_lake("node-a"), skylake("node-b"), skylake("node-c")].map(no_vendor), Some(SKYLAKE), "node-a node-b node-c", "")]
#[case::own_node_is_not([no_vendor(cascade_lake("node-a")), skylake("node-b"), skylake("node-c")], Some(SKYLAKE), "node-a node-b node-c", "")]
#[case::one_is_not([cascade_lake("node-a"), no_vendor(skylake("node-b")), skylake("node-c")], Some(SKYLAKE), "node-a node-b node-c", "")]
#[case::others_are_not_known(
    [cascade_lake("node-a"), skylake("node-b"), of_model(skylake("node-c"), "Later")], Some(SKYLAKE), "node-a node-b", "node-c"
)]
#[case::no_vendor_is_known([cascade_lake("node-a"), skylake("node-b"), skylake("node-c")].map(|node| of_model(node, "Later")), None, "", "")]
#[case::others_are_amd(
    [no_vendor(cascade_lake("node-a")), no_vendor(rome("node-b")), no_vendor(rome("node-c"))], Some("EPYC-Rome"), "node-b node-c", ""
)]
fn a_node_without_a_vendor_label_counts_by_its_host_model(
    #[case] nodes: [Node; 3],
    #[case] model: Option<&str>,
    #[case] runs_on: &str,
    #[case] not_known: &str,
) {
    let verdict = Judgement::new(&stuck(), &Fleet::new(nodes.to_vec()), Depth::Full).verdict();
    let mut actions = verdict.findings.iter().flat_map(|finding| &finding.remedies).chain(&verdict.by_luck);
    let offered = actions.find_map(|remedy| match &remedy.action {
        Action::UseModel(model) => Some(model),
        _ => None,
    });
    let said = |offer: &UseModel| (offer.model.clone(), offer.nodes.join(" "), offer.elsewhere.join(" "));
    assert_eq!(offered.map(said), model.map(|model| (model.to_owned(), runs_on.to_owned(), not_known.to_owned())));
    let none = |why: &WhyNot| matches!(why, WhyNot::Model(NoModel::NoneShared { .. }));
    assert!(
        !verdict.not_helping.iter().any(|not| none(&not.why)),
        "the nodes share a model: {:?}",
        verdict.not_helping
    );
}

#[test]
fn no_model_is_shared_where_each_is_on_one_node() {
    let nodes = vec![of_model(cascade_lake("node-a"), "Later"), of_model(rome("node-b"), "Later")];
    let verdict = Judgement::new(&stuck(), &Fleet::new(nodes), Depth::Full).verdict();
    let none = |why: &WhyNot| *why == WhyNot::Model(NoModel::NoneShared { at_least: 2 });
    assert!(verdict.not_helping.iter().any(|not| none(&not.why)), "{:?}", verdict.not_helping);
}

#[test]
fn a_node_has_the_vendor_of_its_label_else_of_its_host_model() {
    let nodes = [no_vendor(rome("a")), of_model(skylake("b"), "Later"), skylake("c"), of_model(rome("d"), "Penryn")];
    let fleet = Fleet::new(nodes.to_vec());
    let of = |name: &str| fleet.find(name).map(|node| vendors::of_node(&fleet, node)).unwrap_or_default();
    assert_eq!(["a", "b", "c", "d"].map(of), [vec!["AMD"], vec![], vec!["Intel"], vec!["Intel"]]);
    assert_eq!(vendors::of_all(&fleet), ["AMD", "Intel"]);
    assert_eq!(fleet.names(&vendors::nodes_of(&fleet, "Intel")), ["c", "d"]);
}

/// KubeVirt selects one of the vendors of the source at random, at each try.
#[test]
fn a_start_is_judged_by_the_vendor_that_leaves_the_most_nodes() {
    for untrue in ["AMD", "Zhaoxin"] {
        let on = cascade_lake("node-a").tweak(|node| set(node, &format!("{}{untrue}", label::CPU_VENDOR), "true"));
        let fleet = Fleet::new(vec![on, cascade_lake("node-b"), cascade_lake("node-c"), rome("node-d")]);
        let placement = Placement { node_name: Some("node-a".into()), ..Placement::default() };
        let after_start = AfterStart { host_model: HostModelRule::Copied, vendor: true };
        let subject = Subject::new("shop", "db", Stage::Start(after_start), placement);
        let assessed = Judgement::new(&subject, &fleet, Depth::Brief).into_assessment();
        assert_eq!(assessed.outcome, Outcome::Fits, "{untrue}: a later try finds the other Intel nodes");
    }
}
