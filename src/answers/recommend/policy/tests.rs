use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::answers::recommend::recommend;
use crate::fit::node::Node;
use crate::kubevirt::cluster::ClusterObject;
use crate::testing::cluster::{cluster, read, read_policy, running, vm, vmi};
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
                let Adoption::Apply(AdoptedPolicy { document, beyond, .. }) = adoption else { continue };
                let policy = Policy::from_json(&document.to_string()).expect("a policy");
                let selected = policy.node_selector.nodes(fleet);
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
fn printed_policies_select_the_nodes_that_the_stored_policy_leaves() {
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
            matches!(&adoption, Adoption::Apply(adopted) if adopted.beyond.is_none()),
            "the policy for the rest would take nodes of mine: {adoption:?}"
        );
    }
}

/// Guests on both vendors, stopped ones among them.
fn guests() -> Vec<ClusterObject> {
    let mut out = Vec::new();
    for (name, node, cpu) in
        [("db", "node-a", "host-model"), ("amd", "amd-1", ""), ("old", "node-d", "Skylake-Server-noTSX-IBRS")]
    {
        out.push(vmi(running(name, node, cpu)));
    }
    for (name, model) in [("st", ""), ("st2", "host-model"), ("never", "EPYC-Genoa")] {
        out.push(ClusterObject::VirtualMachine(Box::new(read(vm(name, model)))));
    }
    out
}

fn spec() -> impl Strategy<Value = Value> {
    let selector = prop::sample::select(vec![
        json!({}),
        json!({"matchLabels": {"cpu-vendor.node.kubevirt.io/Intel": "true"}}),
        json!({"matchLabels": {"pool": "a"}}),
        json!({"matchLabels": {"pool": "a", "zone": "a"}}),
    ]);
    let common = prop::sample::select(vec![
        json!({"name": "Skylake-Server-noTSX-IBRS"}),
        json!({"name": "Skylake-Server-noTSX-IBRS", "replaces": []}),
        json!({"name": "EPYC-Rome", "replaces": ["Unset"], "otherwise": "Deny"}),
        Value::Null,
    ]);
    let enforce = prop::sample::select(vec!["None", "Pinned", "Unschedulable"]);
    (selector, common, enforce)
        .prop_map(|(nodes, common, enforce)| json!({"nodeSelector": nodes, "commonModel": common, "enforce": enforce}))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Applying what is printed overwrites no policy and changes nothing for a guest of another policy.
    #[test]
    fn printed_policies_overwrite_none_and_change_no_guest(
        labels in prop::collection::vec((0_usize..3, 0_usize..3), 9),
        specs in prop::collection::vec(spec(), 1..3),
        is_first_in_the_alphabet in any::<bool>(),
    ) {
        let name = |at| if is_first_in_the_alphabet { format!("aa-{at}") } else { format!("intel-amd64-{at}") };
        let mut policies: Vec<Policy> =
            specs.iter().enumerate().map(|(at, spec)| read_policy(&name(at), spec)).collect();
        if let Some(last) = policies.last_mut() {
            "intel-amd64".clone_into(&mut last.name);
        }
        let world = World { policies, cluster: cluster("1.9.0", nodes(&labels), guests()) };
        let report = recommend(&world, &[], &|_, _| {});
        let before = judged(&world);
        let mut after = world.clone();
        for adoption in adoptions(&world, &report, &|_, _| {}) {
            let Adoption::Apply(adopted) = adoption else { continue };
            let policy = Policy::from_json(&adopted.document.to_string()).expect("a policy");
            let old = world.policies.iter().find(|old| old.name == policy.name);
            prop_assert_eq!(old.is_some(), adopted.exists, "{} would be overwritten", policy.name);
            if let Some(old) = old {
                let unlike_the_model = |policy: &Policy| Policy { common_model: None, ..policy.clone() };
                prop_assert_eq!(unlike_the_model(old), unlike_the_model(&policy));
            }
            after.policies.retain(|known| known.name != policy.name);
            after.policies.push(policy);
        }
        for (was, is) in before.iter().zip(&judged(&after)) {
            prop_assert!(is.keeps(was), "{:?}, then {:?}", was, is);
        }
    }
}

/// A guest with its treatment, judged as it is now too.
#[derive(Debug)]
struct JudgedGuest {
    title: String,
    /// Whether it is denied as it is now.
    is_denied_now: bool,
    treatment: Treatment,
}

impl JudgedGuest {
    fn keeps(&self, before: &Self) -> bool {
        self.title == before.title
            && self.is_denied_now == before.is_denied_now
            && self.treatment.keeps(&before.treatment)
    }
}

/// Judges every guest, as it is now and at its next start.
fn judged(world: &World) -> Vec<JudgedGuest> {
    let mut states = GuestStates::new(world);
    let guests = all_guests(&world.cluster).map(|guest| {
        let next = states.at_next_start(guest);
        let now = match guest {
            GuestOf::Vmi(vmi) => Some(states.now(vmi)),
            GuestOf::Vm(_) => None,
        };
        let mut treatment = Treatment::of(&mut states, world, guest, &next);
        treatment.policies[0] = now.as_ref().and_then(|now| now.policy.clone());
        let is_denied_now = now.is_some_and(|now| now.ruling.denies());
        JudgedGuest { title: guest.title(), is_denied_now, treatment }
    });
    guests.collect()
}

/// Leaves out policies as `without_effect` does, and judges every guest for each of them.
fn without_effect_by_judging_all(world: &World, adoptions: Vec<Adoption>) -> Vec<String> {
    let before = judged(world);
    let changed = |adoptions: &[&Adoption]| -> Vec<String> {
        let after = judged(&with_adopted(world, adoptions.iter().copied()));
        let otherwise = before.iter().zip(&after).filter(|(was, is)| !is.keeps(was));
        otherwise.map(|(was, _)| was.title.clone()).collect()
    };
    let is_any_left_out = !changed(&adoptions.iter().collect::<Vec<_>>()).is_empty();
    let mut kept: Vec<Adoption> = Vec::new();
    let mut left_out = Vec::new();
    for adoption in adoptions {
        let Adoption::Apply(adopted) = &adoption else { continue };
        let guests = changed(&kept.iter().chain([&adoption]).collect::<Vec<_>>());
        if is_any_left_out && !guests.is_empty() {
            left_out.push(format!("{} {}", adopted.name(), plural::fold_names(&guests, 3)));
        } else {
            kept.push(adoption);
        }
    }
    left_out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Guests that no policy can change are not judged again, and the answer is that of judging all.
    #[test]
    fn policies_are_left_out_exactly_where_judging_every_guest_again_leaves_them_out(
        labels in prop::collection::vec((0_usize..3, 0_usize..3), 9),
        specs in prop::collection::vec(spec(), 1..4),
        is_last_in_the_alphabet in any::<bool>(),
    ) {
        let name = |at| if is_last_in_the_alphabet { format!("zz-{at}") } else { format!("aa-{at}") };
        let policies = specs.iter().enumerate().map(|(at, spec)| read_policy(&name(at), spec)).collect();
        let world = World { policies, cluster: cluster("1.9.0", nodes(&labels), guests()) };
        let report = recommend(&world, &[], &|_, _| {});
        let proposed = proposals(&world, &report);
        let expected = without_effect_by_judging_all(&world, proposed.clone());
        let found: Vec<Adoption> = without_effect(&world, proposed.clone(), &|_, _| {});
        let is_left_out = |(was, is): &(&Adoption, &Adoption)| was != is;
        let left_out: Vec<(&Adoption, &Adoption)> = proposed.iter().zip(&found).filter(is_left_out).collect();
        prop_assert_eq!(left_out.len(), expected.len(), "{:?} and {:?}", left_out, expected);
        for ((_, is), expected) in left_out.iter().zip(&expected) {
            let (name, guests) = expected.split_once(' ').unwrap_or_default();
            let is_same = |why: &str| why.starts_with(&format!("{name}:")) && why.contains(&format!("({guests})"));
            prop_assert!(matches!(is, Adoption::Nothing(why) if is_same(why)), "{:?}, not {}", is, expected);
        }
    }
}

/// The order of the policies in a dump changes no answer; a policy without a pool is named with the reason.
#[test]
fn every_policy_is_in_a_pool_or_named_without_one() {
    let of = |name: &str, key: &str| read_policy(name, &json!({"nodeSelector": {"matchLabels": {key: "a"}}}));
    let policies = vec![of("b", "pool"), of("mars", "planet"), of("a", "pool")];
    let labels: Vec<(usize, usize)> = (0..9).map(|_| (0, 2)).collect();
    let world = World { policies, cluster: cluster("1.9.0", nodes(&labels), []) };
    let reversed = World { policies: world.policies.iter().rev().cloned().collect(), ..world.clone() };
    let report = recommend(&world, &[], &|_, _| {});
    assert_eq!(recommend(&reversed, &[], &|_, _| {}), report);
    let without: Vec<(&str, &str)> =
        report.without_pool.iter().map(|row| (row.policy.as_str(), row.why.as_str())).collect();
    assert_eq!(without, [("mars", "it selects no node")]);
    let policies: Vec<&[String]> = report.pools.iter().map(|pool| pool.policies.as_slice()).collect();
    assert!(!policies.is_empty() && policies.iter().all(|names| *names == ["a", "b"]), "{:?}", report.pools);
}

/// The names of printed policies depend on the selected nodes alone.
#[test]
fn the_order_of_the_pools_changes_no_name() {
    let labels: Vec<(usize, usize)> = (0..9).map(|node| (node % 2, node % 3)).collect();
    let world = World { policies: Vec::new(), cluster: cluster("1.9.0", nodes(&labels), []) };
    let zone = |operator: Operator, value: &str| LabelSelector {
        match_expressions: vec![LabelCondition { key: "zone".to_owned(), operator, values: vec![value.to_owned()] }],
        ..LabelSelector::default()
    };
    let selectors = vec![zone(Operator::In, "a"), zone(Operator::In, "b"), zone(Operator::NotIn, "a")];
    let names = |selectors: &[LabelSelector]| -> BTreeSet<(String, String)> {
        let report = recommend(&world, selectors, &|_, _| {});
        let name = |adoption| match adoption {
            Adoption::Apply(adopted) => {
                Some((adopted.name().to_owned(), adopted.document["spec"]["nodeSelector"].to_string()))
            }
            Adoption::Nothing(_) => None,
        };
        adoptions(&world, &report, &|_, _| {}).into_iter().filter_map(name).collect()
    };
    let all = names(&selectors);
    let reversed: Vec<LabelSelector> = selectors.iter().cloned().rev().collect();
    assert_eq!(names(&reversed), all, "another order would apply one pool's model to another pool's policy");
    let apart: BTreeSet<(String, String)> =
        selectors.iter().flat_map(|selector| names(std::slice::from_ref(selector))).collect();
    assert_eq!(apart, all, "the second of two runs would overwrite the policy of the first");
    let different: BTreeSet<&String> = all.iter().map(|(name, _)| name).collect();
    assert_eq!(different.len(), all.len(), "{all:?}");
}
