//! One model for the same nodes, wherever it is named: by `recommend`, in the policy's status, in `audit`, and in the
//! warning about an edit of the policy.

use std::collections::BTreeMap;

use super::*;
use crate::answers::status::{PolicyNodes, statuses};
use crate::fit::label;
use crate::kubevirt::cluster::ClusterObject;
use crate::testing::cluster::read;
use crate::testing::fleet::{arm, host, vendor};
use crate::testing::random::Random;
use crate::testing::thorough::one_in;
use crate::testing::{NEVER, NO_TIME, at_least};

const POOL: &str = "pool";
const HASWELL: [&str; 2] = ["Haswell-noTSX", "Haswell-noTSX-IBRS"];

/// Returns a node with random hardware, of which labels may be lost.
fn random_node(random: &mut Random, name: &str) -> Node {
    let haswell = |name: &str| host(name, "Intel", "Haswell-noTSX", &["avx"], &HASWELL);
    let mut node = match random.below(12) {
        0..4 => cascade_lake(name),
        4..6 => skylake(name),
        6..8 => ice_lake(name),
        8 => haswell(name),
        9 | 10 => rome(name),
        _ => arm(name),
    };
    let models: Vec<String> = node.labels.keys().filter(|key| key.starts_with(label::CPU_MODEL)).cloned().collect();
    if !models.is_empty() && random.percent(30) {
        take(&mut node, &[models[random.below(models.len())].clone()]);
    }
    if random.percent(5) {
        take(&mut node, &models);
    }
    if random.percent(5) {
        take(&mut node, &[vendor("Intel"), vendor("AMD")]);
    }
    if random.percent(4) {
        give(&mut node, [vendor("Intel"), vendor("AMD")]);
    }
    if random.percent(8) {
        set(&mut node, label::SCHEDULABLE, "false");
    }
    set(&mut node, POOL, random.one(&["a", "b"]));
    node
}

fn random_policy(random: &mut Random, name: &str) -> Policy {
    let selector = match random.below(4) {
        0 => json!({}),
        1 => json!({"matchLabels": {vendor("Intel"): "true"}}),
        2 => json!({"matchLabels": {POOL: "b"}}),
        _ => json!({"matchLabels": {POOL: "a", vendor(random.one(&["Intel", "AMD"])): "true"}}),
    };
    let mut spec = json!({"nodeSelector": selector});
    if random.percent(50) {
        let models = [&HASWELL[..], &["Skylake-Server-noTSX-IBRS", "Cascadelake-Server-noTSX"]].concat();
        spec["commonModel"] = json!({"name": random.one(&models)});
    }
    read_policy(name, &spec)
}

#[test]
fn one_model_is_named_for_the_same_nodes_by_recommend_status_audit_and_warnings() {
    let mut random = Random::new(12);
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for number in (0..3000).step_by(one_in()) {
        let nodes = (0..=random.below(6)).map(|at| random_node(&mut random, &format!("node-{at}"))).collect();
        let withheld = json!({"configuration": {"obsoleteCPUModels": {"Cascadelake-Server-noTSX": true}}});
        let kubevirt = json!({"metadata": {"name": "kubevirt", "namespace": "kubevirt"}, "spec": withheld});
        let kubevirt = random.percent(25).then(|| ClusterObject::KubeVirt(Box::new(read(kubevirt))));
        let policies = (0..=random.below(3)).map(|at| random_policy(&mut random, &format!("policy-{at}"))).collect();
        let world = World { cluster: cluster("1.9.0", nodes, kubevirt), policies };
        let report = recommend(&world, &[], &|_, _| {});
        for (policy, status) in world.policies.iter().zip(statuses(&world, NEVER, NO_TIME)) {
            let show = || format!("fleet {number}, {}: {:#?}\n{report:#?}", policy.name, world.cluster.fleet);
            let PolicyNodes { recommended_model: model, of_model, .. } = &status.nodes;
            assert_eq!(status.nodes, PolicyNodes::of(&world.cluster, policy), "status and audit differ: {}", show());
            let of_policy = |pool: &&PoolReport| pool.policies.contains(&policy.name);
            let mut pools: Vec<&PoolReport> = report.pools.iter().filter(of_policy).collect();
            // A common model is for amd64.
            pools.retain(|pool| pool.arch == "amd64");
            match pools.as_slice() {
                [] => assert_eq!(*model, None, "a model without a node: {}", show()),
                [pool] => {
                    assert_eq!(pool.model, *model, "two answers for the same nodes: {}", show());
                    *seen.entry(if model.is_some() { "a model" } else { "none" }).or_default() += 1;
                }
                pools => {
                    let runs = |pool: &&PoolReport| {
                        let of = pool.candidates.iter().find(|candidate| Some(&candidate.model) == model.as_ref());
                        pool.vendor.is_none() || of.is_some_and(|candidate| candidate.leaves_out.is_empty())
                    };
                    assert!(model.is_none() || pools.iter().all(runs), "it runs not on all: {}", show());
                    *seen.entry("several pools").or_default() += 1;
                }
            }
            let own = recommend(&world, std::slice::from_ref(&policy.node_selector), &|_, _| {});
            if let ([pool], [same]) = (&own.pools[..], &pools[..]) {
                assert_eq!(pool.model, same.model, "recommend differs with --node-selector: {}", show());
            }
            if policy.node_selector == LabelSelector::default() {
                assert_eq!(report.all.model, *model, "all nodes are the policy's: {}", show());
                *seen.entry("all nodes").or_default() += 1;
            }
            if let Some(higher) = of_model.as_ref().and_then(|line| line.split_once(" can run ")).map(|(_, it)| it)
                && let Some((higher, _)) = higher.split_once(", which ranks above")
            {
                assert_eq!(Some(higher), model.as_deref(), "the warning names another model: {}", show());
                *seen.entry("a higher one in the warning").or_default() += 1;
            }
        }
    }
    let least = seen.values().min().copied().unwrap_or_default();
    assert!(seen.len() == 5 && least >= at_least(60), "too few fleets show it: {seen:?}");
}
