//! Expensive objects within the bounds, on many nodes: the cost grows at most linearly with the nodes and with the
//! object. Counted are allocations, bytes, and the steps at which a judgement checks its deadline.

use allocation_counter::measure;
use cpufit::world::World;
use serde_json::{Map, Value, json};

use crate::objects::{Kind, merged};
use crate::paths;

/// Maximum bytes held at once, for 2,000 nodes.
const HELD: u64 = 24 << 20;
/// Allowed cost of doubling the size, in addition to twice the cost.
const SLACK: u64 = 2_000;

fn term(number: usize, many: usize, rule: impl Fn(usize, usize) -> Value) -> Value {
    json!({"matchExpressions": (0..many).map(|at| rule(number, at)).collect::<Vec<_>>()})
}

fn affinity(terms: &[Value]) -> Value {
    json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}})
}

/// Returns guests that are expensive to judge, `size` times the smallest of each kind.
fn guests(size: usize) -> Vec<(&'static str, Value)> {
    let absent = |term: usize, at: usize| json!({"key": format!("k{term}-{at}"), "operator": "Exists"});
    // Each node fails all but a few of them, and no two nodes the same ones.
    let some_nodes = |_: usize, at: usize| {
        let names: Vec<_> = (0..4).map(|name| format!("node-{:03}", at * 4 + name)).collect();
        json!({"key": "kubernetes.io/hostname", "operator": "In", "values": names})
    };
    let forbidden =
        |many: usize| (0..many).map(|at| json!({"name": format!("f{at}"), "policy": "forbid"})).collect::<Vec<_>>();
    let required: Vec<_> = (0..60).map(|at| json!({"name": format!("f{at}")})).collect();
    let hyperv = [
        "vpindex",
        "runtime",
        "reset",
        "synic",
        "synictimer",
        "frequencies",
        "reenlightenment",
        "tlbflush",
        "ipi",
        "evmcs",
    ];
    let hyperv: Map<_, _> = hyperv.map(|name| (name.to_owned(), json!({}))).into_iter().collect();
    let settings = json!({"domain": {"cpu": {"features": required}, "features": {"hyperv": hyperv}}});
    let keys = |many: usize| (0..many).map(|at| (format!("key-{at}"), json!("x"))).collect::<Map<_, _>>();
    let machine =
        |rest: Value| merged(json!({"domain": {"cpu": {"model": "host-model"}, "machine": {"type": "q35"}}}), rest);
    let spec =
        |rest: Value| merged(Kind::VirtualMachine.base(), json!({"spec": {"template": {"spec": machine(rest)}}}));
    let terms = |many: usize, each: usize| (0..many).map(|number| term(number, each, absent)).collect::<Vec<_>>();
    let mut out = vec![
        ("terms", spec(affinity(&terms(24 * size, 20)))),
        ("expressions", spec(affinity(&[term(0, 120 * size, absent)]))),
        (
            "forbidden in each term",
            spec(merged(affinity(&terms(8, 1)), json!({"domain": {"cpu": {"features": forbidden(30 * size)}}}))),
        ),
        ("names", spec(affinity(&[term(0, 100 * size, some_nodes)]))),
        ("selector", spec(json!({"nodeSelector": keys(200 * size)}))),
        (
            "forbidden",
            spec(merged(affinity(&terms(10, 2)), json!({"domain": {"cpu": {"features": forbidden(25 * size)}}}))),
        ),
        // Each setting is tried with the whole affinity, of which every node has the label, with a value of its own.
        (
            "settings and expressions",
            spec(merged(
                affinity(&[term(0, 120 * size, |_, _| json!({"key": "kubernetes.io/hostname", "operator": "Exists"}))]),
                settings.clone(),
            )),
        ),
        ("settings and selector", spec(merged(json!({"nodeSelector": keys(200 * size)}), settings))),
    ];
    for (_, vm) in &mut out {
        // The guest's own requirements are judged.
        for field in ["instancetype", "preference"] {
            vm["spec"].as_object_mut().unwrap().remove(field);
        }
    }
    out
}

fn review(vm: &Value) -> String {
    paths::review("CREATE", vm, None)
}

#[derive(Debug)]
struct Cost {
    allocations: u64,
    held: u64,
    steps: u64,
}

fn cost(world: &World, vm: &Value) -> Cost {
    let review = review(vm);
    let mut steps = 0;
    let info = measure(|| steps = paths::steps(world, &review));
    Cost { allocations: info.count_total, held: info.bytes_max, steps }
}

fn assert_linear(name: &str, [one, two, four]: [u64; 3]) {
    let (first, second) = (two.saturating_sub(one), four.saturating_sub(two));
    assert!(second <= first * 5 / 2 + SLACK, "{name}: {one}, {two}, {four} for sizes that double");
}

#[test]
fn twice_the_nodes_cost_twice_as_much() {
    let worlds = [500, 1000, 2000].map(paths::world_of);
    for (name, vm) in guests(4) {
        let [one, two, four] = worlds.each_ref().map(|world| cost(world, &vm));
        assert!(four.held <= HELD, "{name}: {four:?} on 2,000 nodes");
        assert_linear(
            &format!("{name}, allocations on twice the nodes"),
            [one.allocations, two.allocations, four.allocations],
        );
        assert_linear(&format!("{name}, steps on twice the nodes"), [one.steps, two.steps, four.steps]);
        assert!(one.steps > 0, "{name}: no step asks whether it is enough");
    }
}

#[test]
fn twice_the_guest_costs_twice_as_much() {
    let world = paths::world_of(300);
    let sizes = [1, 2, 4].map(guests);
    for (at, (name, _)) in sizes[0].iter().enumerate() {
        let [one, two, four] = sizes.each_ref().map(|guests| cost(&world, &guests[at].1));
        assert_linear(&format!("{name}, allocations"), [one.allocations, two.allocations, four.allocations]);
        assert_linear(&format!("{name}, steps"), [one.steps, two.steps, four.steps]);
    }
}

/// Each condition has an author of its own, and every node fails all of them, in each term.
#[test]
fn twice_the_forbidden_features_that_nodes_have_cost_twice_as_much() {
    let world = paths::world_with(60, 480);
    let costs = [1, 2, 4].map(|size| {
        let features: Vec<Value> =
            (0..30 * size).map(|at| json!({"name": format!("f{at}"), "policy": "forbid"})).collect();
        let everywhere = |_: usize, _: usize| json!({"key": "kubernetes.io/hostname", "operator": "Exists"});
        let terms: Vec<Value> = (0..8).map(|number| term(number, 1, everywhere)).collect();
        let domain = json!({"domain": {"cpu": {"model": "host-model", "features": features}}});
        let spec = json!({"spec": {"template": {"spec": merged(domain, affinity(&terms))}}});
        let mut vm = merged(Kind::VirtualMachine.base(), spec);
        for field in ["instancetype", "preference"] {
            vm["spec"].as_object_mut().unwrap().remove(field);
        }
        cost(&world, &vm)
    });
    println!("{costs:?}");
    let [one, two, four] = costs;
    assert_linear("forbidden features, allocations", [one.allocations, two.allocations, four.allocations]);
    assert_linear("forbidden features, steps", [one.steps, two.steps, four.steps]);
}

/// The guest is admitted with the findings known by then.
#[test]
fn a_guest_for_which_there_is_no_time_is_admitted_with_a_warning() {
    let mut world = paths::world_of(300);
    world.policies.clear();
    let vm = merged(Kind::VirtualMachine.base(), json!({"spec": {"instancetype": null, "preference": null}}));
    let output = paths::warnings_within(&world, &review(&vm), 0);
    assert_eq!(output[0], "cpufit: shop/db: there was no time to judge it");
    let output = paths::warnings_within(&world, &review(&vm), u64::MAX);
    assert!(!output[0].contains("no time"), "{output:?}");
    for (name, vm) in guests(4) {
        let (none, all) =
            (paths::warnings_within(&world, &review(&vm), 0), paths::warnings_within(&world, &review(&vm), u64::MAX));
        let is_said = none.iter().any(|line| line.contains("no time")) || none.len() <= all.len();
        assert!(is_said, "{name}: {none:#?} instead of {all:#?}");
    }
}
