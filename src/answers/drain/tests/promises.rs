//! The promises hold when they are carried out: the commands of `leastToDo`, and an order, on random fleets.

use std::collections::BTreeMap;

use super::*;
use crate::fit::label;
use crate::kubevirt::subject;
use crate::testing::fleet::{cascade_lake, ice_lake, rome, skylake};

/// `SplitMix64`: the same seed gives the same fleets everywhere.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % end as u64).expect("less than a usize")
    }

    pub(super) fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }
}

/// A cluster that commands can change: nodes, and guests with the node selectors of their launchers.
#[derive(Clone)]
struct Stage {
    nodes: Vec<Node>,
    guests: BTreeMap<String, (Value, BTreeMap<String, String>)>,
    /// `launcherSelectors` of the existing policy; `None` without a policy.
    policy: Option<&'static str>,
    /// Number of cores by node; each guest requests two. Empty if not known.
    cores: BTreeMap<String, usize>,
    /// Whether the VM of each guest is known, so that a command restarts it.
    has_vms: bool,
}

impl Stage {
    fn random(random: &mut Random, beyond_labels: bool) -> Self {
        let kinds = [cascade_lake, cascade_lake, skylake, ice_lake, rome];
        let mut nodes: Vec<Node> =
            (0..3 + random.below(4)).map(|at| kinds[random.below(kinds.len())](&format!("node-{at}"))).collect();
        for node in &mut nodes {
            if random.percent(30) {
                cordon(node);
            }
            if random.percent(35) {
                take(node, &[feature("fpu"), feature("vme")]);
            }
        }
        let policy = random.percent(50).then_some("Keep");
        let mut cores = BTreeMap::new();
        if beyond_labels && random.percent(50) {
            cores.extend(nodes.iter().map(|node| (node.name.clone(), 1 + random.below(6))));
        }
        let mut stage = Self { nodes, guests: BTreeMap::new(), policy, cores, has_vms: false };
        for at in 0..=random.below(5) {
            let name = format!("guest-{at}");
            let node = stage.nodes[random.below(stage.nodes.len())].name.clone();
            let model = ["host-model", "host-model", "Skylake-Server-noTSX-IBRS", "Icelake-Server-noTSX", "EPYC"]
                [random.below(5)];
            let guest = if beyond_labels && random.percent(40) {
                apart(&name, &node, model, label::HOSTNAME)
            } else {
                live(running(&name, &node, model))
            };
            // Half of the host-model guests migrated before, from a node with all labels.
            let inherited = [&COMMON[..], &SKYLAKE].concat().into_iter().map(|name| (feature(name), "true".to_owned()));
            let selector =
                if model == "host-model" && random.percent(50) { inherited.collect() } else { BTreeMap::new() };
            stage.guests.insert(name, (guest, selector));
        }
        stage
    }

    fn world(&self) -> World {
        let objects = self.guests.values().flat_map(|(guest, selector)| {
            let pod = match launcher(guest, []) {
                ClusterObject::Launcher(mut pod) => {
                    let mut placement = (*pod.placement).clone();
                    placement.selector = selector.iter().map(|(k, v)| (k.clone().into(), v.clone().into())).collect();
                    pod.placement = placement.into();
                    ClusterObject::Launcher(pod)
                }
                other => other,
            };
            [vmi(guest.clone()), pod]
        });
        let vms = self.guests.iter().filter(|_| self.has_vms).map(|(name, (guest, _))| {
            let model = guest["spec"]["domain"]["cpu"]["model"].as_str().unwrap_or_default();
            ClusterObject::VirtualMachine(Box::new(read(vm(name, model))))
        });
        let mut world = world(self.nodes.clone(), objects.chain(vms).collect::<Vec<_>>());
        let policy = |selectors: &str| read_policy("pool", &json!({"launcherSelectors": selectors}));
        world.policies = self.policy.map(policy).into_iter().collect();
        if self.cores.is_empty() {
            return world;
        }
        let cores: Vec<(&str, String)> =
            self.cores.iter().map(|(node, cores)| (node.as_str(), cores.to_string())).collect();
        let cores: Vec<(&str, &str)> = cores.iter().map(|(node, cores)| (*node, cores.as_str())).collect();
        let nodes: Vec<String> = self.guests.keys().map(|name| self.node_of(name)).collect();
        let pods: Vec<(&str, Option<&str>, &str)> =
            self.guests.keys().zip(&nodes).map(|(name, node)| (node.as_str(), Some(name.as_str()), "2")).collect();
        with_room(world, &cores, &pods)
    }

    fn node(&mut self, name: &str) -> &mut Node {
        of(&mut self.nodes, name)
    }

    /// Migrates a guest: its launcher becomes the target that KubeVirt would create.
    fn migrate(&mut self, name: &str, to: &str) {
        let world = self.world();
        let vmi = world.cluster.vmi("shop", name).expect("it runs");
        let target =
            subject::of_running(vmi, &world.cluster).and_then(|prepared| prepared.predicted).expect("a target");
        let (guest, selector) = self.guests.get_mut(name).expect("a guest");
        guest["status"]["nodeName"] = json!(to);
        *selector = target.node_selector;
    }

    /// Judges again and returns the targets of a guest.
    fn targets(&self, name: &str) -> Vec<String> {
        let world = self.world();
        let vmi = world.cluster.vmi("shop", name).expect("it runs");
        let prepared = subject::of_running(vmi, &world.cluster).expect("it runs");
        let fitting = prepared.assess(&world.cluster).fitting;
        world.cluster.fleet.names(&fitting).into_iter().map(str::to_owned).collect()
    }

    /// Returns a node to which a guest migrates, with any vendor of its node that leaves one.
    fn leave(&mut self, name: &str, random: &mut Random) -> Option<String> {
        let node = self.node_of(name);
        let labels = self.node(&node).labels.clone();
        let mut vendors: Vec<&String> = labels.keys().filter(|key| key.starts_with(label::CPU_VENDOR)).collect();
        let mut targets = self.targets(name);
        if vendors.len() > 1 {
            let first = random.below(vendors.len());
            vendors.rotate_left(first);
            for vendor in vendors {
                let is_other = |key: &String| key.starts_with(label::CPU_VENDOR) && key != vendor;
                self.node(&node).labels.retain(|key, _| !is_other(key));
                targets = self.targets(name);
                if !targets.is_empty() {
                    break;
                }
            }
        }
        (!targets.is_empty()).then(|| targets[random.below(targets.len())].clone())
    }

    fn node_of(&self, name: &str) -> String {
        self.guests[name].0["status"]["nodeName"].as_str().expect("a node").to_owned()
    }

    /// Carries out a command; returns false if this test cannot.
    fn run(&mut self, command: &str) -> bool {
        let words: Vec<&str> = command.split("      #").next().unwrap_or_default().split(' ').collect();
        match words.as_slice() {
            ["kubectl", "cordon", node] => cordon(self.node(node)),
            ["kubectl", "uncordon", node] => self.node(node).uncordon(),
            ["kubectl", "annotate", "node", node, skip] => {
                self.node(node).skip_node = (!skip.ends_with('-')).then(|| "true".to_owned());
            }
            ["kubectl", "label", "node", node, labels @ ..] => {
                for label in labels {
                    match label.split_once('=') {
                        Some((key, value)) => drop(self.node(node).labels.insert(key.to_owned(), value.to_owned())),
                        None => drop(self.node(node).labels.remove(label.trim_end_matches('-'))),
                    }
                }
            }
            ["kubectl", "patch", "cpupolicy", "pool", "--type", "merge", "-p", patch]
                if patch.contains("DropStale") =>
            {
                self.policy = Some("DropStale");
            }
            ["virtctl", "restart", guest, "-n", "shop"] => return self.restart(guest),
            _ => return false,
        }
        true
    }

    /// Returns the result of a drain after the chosen acts; `None` if this test cannot carry one out.
    fn after(&self, node: &str, steps: &[LeastAct], chosen: &dyn Fn(usize) -> bool) -> Option<DrainReport> {
        let mut stage = self.clone();
        // A drain cordons first.
        cordon(stage.node(node));
        let mut steps = steps.iter().enumerate().filter(|(at, _)| chosen(*at));
        let done =
            steps.all(|(_, step)| step.by_hand.is_none() && step.commands.iter().all(|command| stage.run(command)));
        done.then(|| drained(&stage.world(), node))
    }

    /// Restarts a guest on a node that takes its start.
    fn restart(&mut self, name: &str) -> bool {
        let world = self.world();
        let vmi = world.cluster.vmi("shop", name).expect("it runs");
        let fitting = subject::of_vmi(vmi, &world.cluster).assess(&world.cluster).fitting;
        if let Some(node) = fitting.iter().next() {
            self.start(name, world.cluster.fleet.name(node));
        }
        true
    }

    /// Starts a guest on a node, with no launcher from before.
    fn start(&mut self, name: &str, node: &str) {
        let world = self.world();
        let vmi = world.cluster.vmi("shop", name).expect("it runs");
        let selector = subject::of_vmi(vmi, &world.cluster).predicted.map(|pod| pod.node_selector).unwrap_or_default();
        let (guest, launcher) = self.guests.get_mut(name).expect("a guest");
        guest["status"]["nodeName"] = json!(node);
        *launcher = selector;
    }
}

#[test]
fn the_least_to_do_frees_every_guest_and_no_part_of_it_does() {
    let mut random = Random(7);
    let (mut carried_out, mut several, mut with_room, mut governed) = (0, 0, 0, 0);
    for _ in (0..500).step_by(one_in()) {
        let stage = Stage::random(&mut random, true);
        let node = stage.nodes[random.below(stage.nodes.len())].name.clone();
        let found = drained(&stage.world(), &node);
        let Some(steps) = found.least_to_do.clone().filter(|steps| !steps.is_empty()) else { continue };
        let after = |chosen: &dyn Fn(usize) -> bool| stage.after(&node, &steps, chosen);
        let Some(freed) = after(&|_| true) else { continue };
        assert_eq!(freed.nodes[0].count(State::Stuck), 0, "{steps:?} do not free all: {:?}", freed.nodes[0]);
        let is_sure = freed.nodes[0].is_count_sure;
        assert_eq!(found.least_is, LeastProof::Smallest, "all sets of {} acts were tried", steps.len());
        assert_eq!(found.is_least_sure, is_sure, "the scheduler decides after {steps:?}: {:?}", freed.nodes[0]);
        carried_out += 1;
        several += usize::from(steps.len() > 1);
        with_room += usize::from(!stage.cores.is_empty());
        governed += usize::from(stage.policy.is_some());
        for part in 0..(1_usize << steps.len()) - 1 {
            let less = after(&|at| part & (1 << at) != 0).expect("all of it was carried out");
            assert!(less.nodes[0].count(State::Stuck) > 0, "a part of {steps:?} is enough: {part:b}");
        }
    }
    assert!(
        carried_out >= at_least(60) && several >= at_least(5) && with_room >= at_least(20) && governed >= at_least(20),
        "too few fleets show it: {carried_out}, {several} of several acts, {with_room} with room, {governed} with a policy"
    );
}

/// Restarts, uncordons and labels are listed together only where no part of them frees all guests.
#[test]
fn no_part_of_restarts_uncordons_and_labels_is_enough() {
    let mut random = Random(31);
    let (mut carried_out, mut restarts, mut mixed) = (0, 0, 0);
    for _ in (0..1200).step_by(one_in()) {
        let stage = Stage { has_vms: true, ..Stage::random(&mut random, false) };
        let node = stage.nodes[random.below(stage.nodes.len())].name.clone();
        let found = drained(&stage.world(), &node);
        let Some(steps) = found.least_to_do.filter(|steps| !steps.is_empty()) else { continue };
        let Some(freed) = stage.after(&node, &steps, &|_| true) else { continue };
        assert_eq!(freed.nodes[0].count(State::Stuck), 0, "{steps:?} do not free all: {:?}", freed.nodes[0]);
        carried_out += 1;
        let by_restart = steps.iter().filter(|step| step.id == "restart").count();
        restarts += usize::from(by_restart > 0);
        mixed += usize::from(by_restart > 0 && by_restart < steps.len());
        for part in 0..(1_usize << steps.len()) - 1 {
            let less = stage.after(&node, &steps, &|at| part & (1 << at) != 0).expect("all of it was carried out");
            assert!(less.nodes[0].count(State::Stuck) > 0, "a guest is restarted for nothing: {steps:?}, {part:b}");
        }
    }
    assert!(
        carried_out >= at_least(80) && restarts >= at_least(16) && mixed >= at_least(5),
        "too few fleets show it: {carried_out}, {restarts} with a restart, {mixed} with other acts too"
    );
}

/// The nodes that a restarted guest cannot leave again are those from which no node takes it, judged again there.
#[test]
fn a_restarted_guest_is_stuck_again_on_exactly_the_named_nodes() {
    let mut random = Random(53);
    let (mut stuck, mut free) = (0, 0);
    'fleets: for _ in (0..1200).step_by(one_in()) {
        let stage = Stage { has_vms: true, ..Stage::random(&mut random, false) };
        let node = stage.nodes[random.below(stage.nodes.len())].name.clone();
        let Some(steps) = drained(&stage.world(), &node).least_to_do else { continue };
        let mut then = stage.clone();
        for command in steps.iter().flat_map(|step| &step.commands) {
            let is_of_restart = command.starts_with("virtctl restart ") || command.starts_with("kubectl cordon ");
            if !is_of_restart && !then.run(command) {
                continue 'fleets;
            }
        }
        for step in steps.iter().filter(|step| step.id == "restart") {
            let restarts = step.commands.iter().find_map(|command| command.strip_prefix("virtctl restart "));
            let Some(name) = restarts.and_then(|rest| rest.split(' ').next()) else { continue };
            let world = then.world();
            let start = subject::of_vmi(world.cluster.vmi("shop", name).expect("it runs"), &world.cluster);
            let fitting = start.assess(&world.cluster).fitting;
            for start in world.cluster.fleet.names(&fitting).into_iter().filter(|start| *start != node) {
                let mut started = then.clone();
                started.start(name, start);
                let is_stuck = started.targets(name).is_empty();
                stuck += usize::from(is_stuck);
                free += usize::from(!is_stuck);
                assert_eq!(step.stuck_on.iter().any(|known| known == start), is_stuck, "{name} on {start}: {step:?}");
            }
            assert_eq!(step.stuck_again.is_some(), !step.stuck_on.is_empty(), "{step:?}");
        }
    }
    assert!(stuck >= at_least(20) && free >= at_least(20), "too few fleets show it: {stuck} stuck, {free} free");
}

/// If nothing frees all guests: only the named ones are stuck after the acts for the others, and each proper subset of
/// the acts leaves another one stuck.
#[test]
fn the_least_for_the_others_frees_all_but_those_it_names() {
    let mut random = Random(23);
    let (mut carried_out, mut hopeless, mut too_few_places, mut nothing_to_do, mut by_places) = (0, 0, 0, 0, 0);
    for _ in (0..4000).step_by(one_in()) {
        let mut stage = Stage::random(&mut random, true);
        // Guests that nothing frees: no act changes an architecture, a disk or a label of the owner.
        let pinned: Vec<String> = stage.guests.keys().filter(|_| random.percent(20)).cloned().collect();
        for name in pinned {
            let node = stage.node_of(&name);
            stage.node(&node).labels.insert("rack".to_owned(), node.clone());
            if let Some((guest, _)) = stage.guests.get_mut(&name) {
                guest["spec"]["nodeSelector"] = json!({"rack": node});
                guest["metadata"]["ownerReferences"] = json!([{"kind": "Pool", "name": "p", "controller": true}]);
            }
        }
        let node = stage.nodes[random.below(stage.nodes.len())].name.clone();
        let found = drained(&stage.world(), &node);
        assert_eq!(found.least_to_do.is_none(), found.least_for_others.is_some());
        let Some(others) = found.least_for_others else { continue };
        let stuck = |drained: &DrainReport| -> Vec<String> {
            let guests = drained.nodes[0].guests.iter().filter(|guest| guest.state == State::Stuck);
            let mut out: Vec<String> = guests.map(|guest| guest.guest.clone()).collect();
            out.sort_unstable();
            out
        };
        assert!(!others.stuck.is_empty());
        assert!(found.not_freed.iter().all(|guest| others.stuck.contains(guest)), "{:?}", found.not_freed);
        if others.acts.is_empty() {
            nothing_to_do += 1;
            assert_eq!(stuck(&drained(&stage.world(), &node)).len(), others.stuck.len());
        }
        let Some(freed) = stage.after(&node, &others.acts, &|_| true) else { continue };
        let then = stuck(&freed);
        // A restarted guest may have taken the last place of another: the line says so.
        let is_as_said = if found.is_least_sure { then == others.stuck } else { then.len() >= others.stuck.len() };
        assert!(is_as_said, "{:?} was to free all but {:?}, and {then:?} are stuck", others.acts, others.stuck);
        if then != others.stuck {
            by_places += 1;
            continue;
        }
        if others.acts.is_empty() {
            continue;
        }
        carried_out += 1;
        hopeless += usize::from(!found.not_freed.is_empty());
        too_few_places += usize::from(found.not_freed.len() < others.stuck.len());
        for part in 0..(1_usize << others.acts.len()) - 1 {
            let less = stage.after(&node, &others.acts, &|at| part & (1 << at) != 0).expect("all was carried out");
            assert!(stuck(&less).len() > others.stuck.len(), "a part of {:?} is enough: {part:b}", others.acts);
        }
    }
    assert!(
        carried_out >= at_least(30)
            && hopeless >= at_least(12)
            && too_few_places >= at_least(5)
            && nothing_to_do >= at_least(20)
            && by_places <= 1 + carried_out / 10,
        "too few fleets show it: {carried_out}, {hopeless} with guests that nothing frees, {too_few_places} with too few places, {nothing_to_do} with nothing to do"
    );
}

/// Fleets whose nodes have two vendor labels or do not name their host model: what a guest's next migration asks for
/// then depends on the node to which it goes.
fn unsettle(stage: &mut Stage, random: &mut Random) {
    for node in &mut stage.nodes {
        if random.percent(40) {
            let labels = &mut node.labels;
            match random.below(3) {
                0 => {
                    let both = ["AMD", "Intel"];
                    labels.extend(both.map(|name| (format!("{}{name}", label::CPU_VENDOR), "true".to_owned())));
                }

                1 => labels.retain(|key, _| !key.starts_with(label::CPU_VENDOR)),
                _ => labels.retain(|key, _| {
                    !key.starts_with(label::HOST_MODEL_CPU) && !key.starts_with(label::CPU_MODEL_MIGRATION)
                }),
            }
        }
    }
    // With the labels of an earlier migration, the next ones ask for the same.
    for (_, selector) in stage.guests.values_mut().filter(|_| random.percent(70)) {
        selector.clear();
    }
}

#[rstest]
#[case::settled(false)]
#[case::depending_on_the_node(true)]
fn an_order_strands_no_guest_wherever_guests_migrate(#[case] is_unsettled: bool) {
    let mut random = Random(11);
    let (mut orders, mut moves, mut not_sure) = (0, 0, 0);
    for _ in (0..400).step_by(one_in()) {
        let mut start = Stage::random(&mut random, false);
        if is_unsettled {
            unsettle(&mut start, &mut random);
        }
        let world = start.world();
        let all: Vec<NodeIndex> = (0..world.cluster.fleet.len()).collect();
        let found = drain(&world, &all, true, &|_, _| {});
        let Some(order) = found.order else {
            assert!(!found.stranded.is_empty(), "no order, and no guest is named as the cause");
            continue;
        };
        orders += 1;
        not_sure += usize::from(!found.order_may_strand.is_empty());
        for _ in 0..3 {
            let mut stage = start.clone();
            for node in &order {
                cordon(stage.node(node));
                let here: Vec<String> =
                    stage.guests.keys().filter(|name| stage.node_of(name) == *node).cloned().collect();
                for name in here {
                    let Some(to) = stage.leave(&name, &mut random) else {
                        let named = found.order_may_strand.contains(&format!("shop/{name}"));
                        assert!(named, "{name} is stuck on {node}, order {order:?}");
                        continue;
                    };
                    stage.migrate(&name, &to);
                    let labels = start.clone().node(node).labels.clone();
                    stage.node(node).labels = labels;
                    moves += 1;
                }
                assert!(stage.run(&format!("kubectl uncordon {node}")));
            }
        }
    }
    assert!(
        orders >= at_least(60) && moves >= at_least(300) && not_sure <= orders / 4 && (is_unsettled || not_sure == 0),
        "too few fleets show it: {orders} orders, {moves} moves, {not_sure} orders not sure"
    );
}
