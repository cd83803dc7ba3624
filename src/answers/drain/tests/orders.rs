//! Orders of nodes, compared with an oracle that models fleets by a few numbers and tries every order and every choice.

use std::collections::BTreeSet;

use super::promises::Random;
use super::*;
use crate::fit::label;
use crate::testing::fleet::skylake;

/// Topology keys of the anti-affinity between guests of the app.
const KEYS: [&str; 2] = [label::HOSTNAME, "zone"];

#[derive(Clone, Debug)]
struct Host {
    pools: BTreeSet<usize>,
    zone: usize,
    cordoned: bool,
    /// Number of cores; `None` if the room of no node is known.
    cores: Option<usize>,
    /// The cores of a pod that belongs to no guest, and whether it is of the app.
    other: Option<(usize, bool)>,
}

#[derive(Clone, Debug)]
struct Tenant {
    host: usize,
    pool: Option<usize>,
    cores: usize,
    priority: i64,
    /// Whether it has `preemptionPolicy: Never`.
    never: bool,
    /// Whether it is of the app.
    of_app: bool,
    /// The index in `KEYS` of its anti-affinity to guests of the app; `None` without one.
    apart: Option<usize>,
    strategy: &'static str,
}

#[derive(Clone, Debug)]
struct Plan {
    hosts: Vec<Host>,
    tenants: Vec<Tenant>,
    /// The disruptions that a budget over the app allows; `None` without a budget.
    budget: Option<usize>,
    /// The hosts that are drained.
    turns: Vec<usize>,
}

impl Plan {
    fn random(random: &mut Random) -> Self {
        let count = 2 + random.below(4);
        let knows_room = random.percent(75);
        let hosts: Vec<Host> = (0..count)
            .map(|_| Host {
                pools: (0..3).filter(|_| random.percent(70)).collect(),
                zone: random.below(2),
                cordoned: random.percent(25),
                cores: knows_room.then(|| 2 + random.below(6)),
                other: random.percent(20).then(|| (1 + random.below(2), random.percent(30))),
            })
            .collect();
        let is_mixed = random.percent(20);
        let tenants = (0..=random.below(5))
            .map(|_| Tenant {
                host: random.below(count),
                pool: random.percent(60).then(|| random.below(3)),
                cores: 1 + random.below(3),
                priority: if is_mixed && random.percent(40) { 10 } else { 0 },
                never: random.percent(30),
                of_app: random.percent(50),
                apart: random.percent(35).then(|| random.below(2)),
                strategy: match random.below(20) {
                    0 | 1 => "None",
                    2 if random.percent(20) => "External",
                    _ => "LiveMigrate",
                },
            })
            .collect();
        let all: Vec<usize> = (0..count).collect();
        let some: Vec<usize> = all.iter().copied().filter(|_| random.percent(70)).collect();
        let turns = if random.percent(25) && some.len() > 1 { some } else { all };
        Self { hosts, tenants, budget: random.percent(20).then(|| random.below(2)), turns }
    }

    fn world(&self) -> World {
        let nodes = self.hosts.iter().enumerate().map(|(at, host)| {
            let mut node = skylake(&format!("node-{at}"));
            node.labels.insert("zone".to_owned(), host.zone.to_string());
            host.pools.iter().for_each(|pool| drop(node.labels.insert(format!("pool-{pool}"), "true".to_owned())));
            if host.cordoned {
                cordon(&mut node);
            }
            node
        });
        let guests = self.tenants.iter().enumerate().map(|(at, tenant)| {
            let guest = running(&format!("guest-{at}"), &format!("node-{}", tenant.host), SKY).tweak(|guest| {
                guest["spec"]["evictionStrategy"] = json!(tenant.strategy);
                if tenant.of_app {
                    guest["metadata"]["labels"] = json!({"app": "db"});
                }
                if let Some(pool) = tenant.pool {
                    guest["spec"]["nodeSelector"] = json!({format!("pool-{pool}"): "true"});
                }
                if let Some(key) = tenant.apart {
                    guest["spec"]["affinity"] = json!({"podAntiAffinity": {
                        "requiredDuringSchedulingIgnoredDuringExecution": [
                            {"labelSelector": {"matchLabels": {"app": "db"}}, "topologyKey": KEYS[key]}]}});
                }
            });
            vmi(guest)
        });
        let mut world = world(nodes.collect(), guests.collect::<Vec<_>>());
        for (at, host) in self.hosts.iter().enumerate() {
            let node = format!("node-{at}");
            if let Some(cores) = host.cores {
                let allocatable = json!({"cpu": cores.to_string(), "memory": "64Gi", "pods": "110"});
                let object = json!({"metadata": {"name": node}, "status": {"allocatable": allocatable}});
                read_room(&mut world, "", "Node", &object);
            }
            if let Some((cores, of_app)) = host.other {
                let labels = if of_app { json!({"app": "db"}) } else { json!({}) };
                read_pod(&mut world, &pod(&format!("other-{at}"), &node, cores, 1000, &labels, &json!(null)));
            }
        }
        for (at, tenant) in self.tenants.iter().enumerate() {
            let owners = json!([{"kind": "VirtualMachineInstance", "name": format!("guest-{at}")}]);
            let node = format!("node-{}", tenant.host);
            let mut launcher =
                pod(&format!("launcher-{at}"), &node, tenant.cores, tenant.priority, &json!({}), &owners);
            if tenant.never {
                launcher["spec"]["preemptionPolicy"] = json!("Never");
            }
            read_pod(&mut world, &launcher);
        }
        if let Some(allowed) = self.budget {
            let budget = json!({"metadata": {"name": "db", "namespace": "shop"},
                "spec": {"selector": {"matchLabels": {"app": "db"}}}, "status": {"disruptionsAllowed": allowed}});
            read_room(&mut world, "policy", "PodDisruptionBudget", &budget);
        }
        world
    }

    fn moves(&self, tenant: usize) -> bool {
        self.tenants[tenant].strategy == "LiveMigrate"
    }

    fn ends(&self, tenant: usize) -> bool {
        self.tenants[tenant].strategy == "None"
    }

    /// Whether a guest of the drained hosts neither moves nor ends.
    fn is_held(&self) -> bool {
        let here = |host: usize| self.tenants.iter().filter(move |tenant| tenant.host == host);
        self.turns.iter().any(|&host| {
            let protected = here(host).filter(|tenant| tenant.strategy == "None" && tenant.of_app).count();
            here(host).any(|tenant| tenant.strategy == "External")
                || self.budget.is_some_and(|allowed| protected > allowed)
        })
    }

    fn share(&self, key: usize, one: usize, other: usize) -> bool {
        if key == 0 { one == other } else { self.hosts[one].zone == self.hosts[other].zone }
    }

    /// Whether two guests exclude each other from these hosts.
    fn keep_off(&self, one: usize, other: usize, there: usize, host: usize) -> bool {
        let (one, other) = (&self.tenants[one], &self.tenants[other]);
        let by = |own: &Tenant, of: &Tenant| of.of_app && own.apart.is_some_and(|key| self.share(key, there, host));
        by(one, other) || by(other, one)
    }

    /// Returns the hosts that take a guest of the drained one.
    fn targets(&self, at: &[usize], tenant: usize, drained: usize, done: usize) -> Vec<usize> {
        let own = &self.tenants[tenant];
        let is_there = |other: &usize| {
            // A guest that was shut down excludes no other guest, and its room is free.
            !self.ends(*other) || (at[*other] != drained && done & (1 << at[*other]) == 0)
        };
        let takes = |host: &usize| {
            let Host { pools, cordoned, cores, .. } = &self.hosts[*host];
            let is_open = *host != drained && (!cordoned || done & (1 << host) != 0);
            let fits = own.pool.is_none_or(|pool| pools.contains(&pool));
            let apart = (0..at.len()).filter(is_there).any(|other| self.keep_off(tenant, other, at[other], *host));
            let others = self.hosts.iter().enumerate().filter_map(|(there, host)| Some((there, host.other?)));
            let off = others
                .clone()
                .any(|(there, (_, of_app))| of_app && own.apart.is_some_and(|key| self.share(key, there, *host)));
            let counts = |other: &usize| {
                is_there(other) && self.tenants[*other].priority >= if own.never { 0 } else { own.priority }
            };
            let guests = (0..at.len()).filter(|&other| at[other] == *host).filter(counts);
            let taken: usize = guests.map(|other| self.tenants[other].cores).sum();
            let by_others: usize = others.filter(|(there, _)| there == host).map(|(_, (cores, _))| cores).sum();
            let has_room = cores.is_none_or(|cores| own.cores + taken + by_others <= cores);
            is_open && fits && !apart && !off && has_room
        };
        (0..self.hosts.len()).filter(takes).collect()
    }

    /// Returns the possible positions after a drain, and the guests that are stuck with some of the choices.
    fn drain(&self, all: &BTreeSet<Vec<usize>>, host: usize, done: usize) -> (BTreeSet<Vec<usize>>, BTreeSet<usize>) {
        let (mut seen, mut left) = (all.clone(), all.iter().cloned().collect::<Vec<_>>());
        let (mut ends, mut stuck) = (BTreeSet::new(), BTreeSet::new());
        while let Some(at) = left.pop() {
            let here: Vec<usize> = (0..at.len()).filter(|&tenant| at[tenant] == host && self.moves(tenant)).collect();
            let mut one_leaves = false;
            for &tenant in &here {
                for target in self.targets(&at, tenant, host, done) {
                    one_leaves = true;
                    let next = at.clone().tweak(|at| at[tenant] = target);
                    if seen.insert(next.clone()) {
                        left.push(next);
                    }
                }
            }
            if here.is_empty() {
                ends.insert(at);
            } else if !one_leaves {
                stuck.extend(here);
            }
        }
        (ends, stuck)
    }

    /// Whether no guest is stuck with some choices in this order, and the guests that are with others.
    fn follow(&self, order: &[usize]) -> (bool, BTreeSet<usize>) {
        let mut all: BTreeSet<Vec<usize>> = [self.tenants.iter().map(|tenant| tenant.host).collect()].into();
        let (mut done, mut stuck) = (0, BTreeSet::new());
        for &host in order {
            let (ends, more) = self.drain(&all, host, done);
            stuck.extend(more);
            (all, done) = (ends, done | 1 << host);
        }
        (!all.is_empty(), stuck)
    }

    /// Whether a sure order exists, and whether one exists with some choices.
    fn exist(&self) -> (bool, bool) {
        fn orders(left: &[usize], so_far: &mut Vec<usize>, each: &mut dyn FnMut(&[usize]) -> bool) -> bool {
            if left.is_empty() {
                return each(so_far);
            }
            left.iter().any(|&next| {
                so_far.push(next);
                let rest: Vec<usize> = left.iter().copied().filter(|&other| other != next).collect();
                let found = orders(&rest, so_far, each);
                so_far.pop();
                found
            })
        }
        let (mut sure, mut some) = (false, false);
        orders(&self.turns, &mut Vec::new(), &mut |order| {
            let (ends_well, stuck) = self.follow(order);
            (some, sure) = (some || ends_well, ends_well && stuck.is_empty());
            sure
        });
        (sure, some)
    }
}

fn pod(name: &str, node: &str, cores: usize, priority: i64, labels: &Value, owners: &Value) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "shop", "labels": labels, "ownerReferences": owners},
        "spec": {"nodeName": node, "priority": priority, "containers": [
            {"resources": {"requests": {"cpu": cores.to_string(), "memory": "1Gi"}}}]},
        "status": {"phase": "Running"}})
}

fn read_room(world: &mut World, group: &str, kind: &str, object: &Value) {
    let text = object.to_string();
    std::sync::Arc::make_mut(&mut world.cluster.room).read(group, kind, &Json(&text)).expect("well-formed");
}

/// Sure if a sure order exists; with the guests that choices strand if an order exists with some choices; none if no
/// order ends well.
#[test]
fn an_order_is_found_exactly_where_there_is_one() {
    let mut random = Random(41);
    let (mut sure_ones, mut with_choices, mut none, mut held, mut moved) = (0, 0, 0, 0, 0);
    for fleet in (0..1_200).step_by(one_in()) {
        let plan = Plan::random(&mut random);
        let world = plan.world();
        let nodes: Vec<NodeIndex> = plan
            .turns
            .iter()
            .map(|host| world.cluster.fleet.find(&format!("node-{host}")).expect("the node"))
            .collect();
        let found = drain(&world, &nodes, true, &|_, _| {});
        let context =
            format!("fleet {fleet}: {plan:#?}, {:?} {:?} {:?}", found.order, found.order_may_strand, found.stranded);
        assert_eq!(found.order_tries, None, "a small fleet is searched to the end; {context}");
        if plan.is_held() {
            assert!(found.order.is_none() && !found.stranded.is_empty(), "{context}");
            held += 1;
            continue;
        }
        let (sure, some) = plan.exist();
        let Some(order) = found.order else {
            assert!(!some && !found.stranded.is_empty(), "there is one (sure: {sure}); {context}");
            none += 1;
            continue;
        };
        let order: Vec<usize> = order.iter().map(|node| node["node-".len()..].parse().expect("a number")).collect();
        let (ends_well, stuck) = plan.follow(&order);
        let stuck: Vec<String> = stuck.into_iter().map(|tenant| format!("shop/guest-{tenant}")).collect();
        assert!(ends_well, "no choice gives each guest a node; {context}");
        assert_eq!(found.order_may_strand, stuck, "{context}");
        assert_eq!(stuck.is_empty(), sure, "there is a sure one: {sure}; {context}");
        sure_ones += usize::from(sure);
        with_choices += usize::from(!sure);
        moved += plan.tenants.len();
    }
    assert!(
        [(sure_ones, 300), (with_choices, 25), (none, 200), (held, 20), (moved, 1_000)]
            .into_iter()
            .all(|(count, least)| count >= at_least(least)),
        "too few fleets show it: {sure_ones} sure, {with_choices} with choices, {none} without, {held} held up, {moved} guests"
    );
}
