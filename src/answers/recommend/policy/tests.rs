#![allow(clippy::expect_used)]

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::answers::recommend::recommend;
use crate::fit::node::Node;
use crate::testing::cluster::{cluster, read_policy};
use crate::testing::fleet::{mixed, set};

/// Returns nodes with labels `pool` and `zone` from a few values, or without them.
fn nodes(labels: &[(usize, usize)]) -> Vec<Node> {
    let mut nodes = mixed();
    for (node, (pool, zone)) in nodes.iter_mut().zip(labels) {
        for (key, at) in [("pool", pool), ("zone", zone)] {
            if let Some(value) = ["a", "b"].get(*at) {
                set(node, key, value);
            }
        }
    }
    nodes
}

fn selectors() -> impl Strategy<Value = Vec<Value>> {
    let one = prop::sample::select(vec![
        json!({"matchLabels": {"pool": "a"}}),
        json!({"matchLabels": {"pool": "b"}}),
        json!({"matchLabels": {"pool": "a", "zone": "a"}}),
        json!({"matchExpressions": [{"key": "zone", "operator": "Exists"}]}),
        json!({"matchExpressions": [{"key": "pool", "operator": "NotIn", "values": ["a"]}]}),
        json!({}),
    ]);
    prop::collection::vec(one, 0..3)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// The printed selector, parsed from the output and applied to the nodes.
    #[test]
    fn a_printed_policy_selects_the_nodes_of_its_pool_or_names_the_others(
        labels in prop::collection::vec((0_usize..3, 0_usize..3), 9),
        selectors in selectors(),
    ) {
        let policies = selectors.iter().enumerate().map(|(at, nodes)| {
            read_policy(&format!("policy-{at}"), &json!({"nodeSelector": nodes}))
        });
        let world = World { policies: policies.collect(), cluster: cluster("1.9.0", nodes(&labels), []) };
        let fleet = &world.cluster.fleet;
        let report = recommend(&world, &[], &|_, _| {});
        for pool in &report.pools {
            for adoption in of_pool(&world, &report, pool) {
                let Adoption::Apply(policy, beyond) = adoption else { continue };
                let policy = Policy::from_json(&policy.to_string()).expect("a policy");
                let selected = nodes_of(&policy.node_selector, fleet);
                let (mut more, mut fewer) = (selected.clone(), pool.members.clone());
                more.subtract(&pool.members);
                fewer.subtract(&selected);
                prop_assert!(fewer.is_empty(), "{} loses {:?}", pool.name, fleet.names(&fewer));
                let names = fleet.names(&more);
                let is_said = |name: &&&str| beyond.as_ref().is_some_and(|line| line.contains(**name));
                prop_assert_eq!(beyond.is_some(), !names.is_empty(), "{}: {:?}", pool.name, names);
                prop_assert!(names.iter().all(|name| is_said(&name)), "{:?}: {:?}", beyond, names);
            }
        }
    }
}

/// The nodes that one policy leaves can be expressed as a selector.
#[test]
fn the_rest_is_selected_apart_from_the_policy_that_is_there() {
    let labels: Vec<(usize, usize)> = (0..9).map(|node| (node % 2, 2)).collect();
    let policy = read_policy("mine", &json!({"nodeSelector": {"matchLabels": {"pool": "a"}}}));
    let world = World { policies: vec![policy], cluster: cluster("1.9.0", nodes(&labels), []) };
    let report = recommend(&world, &[], &|_, _| {});
    let rest: Vec<Adoption> = report
        .pools
        .iter()
        .filter(|pool| pool.policies.is_empty())
        .flat_map(|pool| of_pool(&world, &report, pool))
        .collect();
    assert!(!rest.is_empty());
    for adoption in rest {
        assert!(
            matches!(adoption, Adoption::Apply(_, None)),
            "the policy for the rest would take nodes of mine: {adoption:?}"
        );
    }
}
