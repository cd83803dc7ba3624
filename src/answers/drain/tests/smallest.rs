//! The least to do compared with every set of uncordons and restarts, on random fleets of alike nodes. The simulation
//! knows anti-affinity and room; each guest asks for two cores.

use std::collections::HashSet;

use super::promises::Random;
use super::*;
use crate::testing::fleet::skylake;

const MODEL: &str = "Skylake-Server-noTSX-IBRS";
const CORES: usize = 2;

struct SimNode {
    zone: usize,
    is_cordoned: bool,
    cores: usize,
}

struct SimGuest {
    node: usize,
    /// The topology key of its anti-affinity to all guests that have one; `None` without it.
    apart: Option<&'static str>,
    /// Whether KubeVirt refuses to migrate it.
    is_refused: bool,
}

/// A fleet whose first node is drained.
struct Sim {
    nodes: Vec<SimNode>,
    guests: Vec<SimGuest>,
    knows_room: bool,
}

/// The acts: by node, whether it is uncordoned, and by guest, whether it is restarted.
#[derive(Clone, Debug, Default, PartialEq)]
struct Acts {
    uncordoned: Vec<usize>,
    restarted: Vec<usize>,
}

impl Acts {
    fn len(&self) -> usize {
        self.uncordoned.len() + self.restarted.len()
    }
}

impl Sim {
    fn random(random: &mut Random) -> Self {
        let node = |random: &mut Random| SimNode {
            zone: random.below(3),
            is_cordoned: random.percent(50),
            cores: CORES * (1 + random.below(3)),
        };
        let nodes: Vec<SimNode> = (0..2 + random.below(3)).map(|_| node(random)).collect();
        let guest = |random: &mut Random| SimGuest {
            node: if random.percent(70) { 0 } else { random.below(nodes.len()) },
            apart: [None, Some(label::HOSTNAME), Some("zone")][random.below(3)],
            is_refused: random.percent(25),
        };
        let guests = (0..=random.below(4)).map(|_| guest(random)).collect();
        Self { nodes, guests, knows_room: random.percent(50) }
    }

    fn world(&self) -> World {
        let node = |(at, node): (usize, &SimNode)| {
            let mut out = skylake(&format!("node-{at}"));
            out.labels.insert("zone".to_owned(), format!("z{}", node.zone));
            if node.is_cordoned {
                cordon(&mut out);
            }
            out
        };
        let guest = |(at, guest): (usize, &SimGuest)| {
            let (name, node) = (format!("guest-{at}"), format!("node-{}", guest.node));
            let out = match guest.apart {
                Some(key) => apart(&name, &node, MODEL, key),
                None => live(running(&name, &node, MODEL)),
            };
            let status = if guest.is_refused { "False" } else { "True" };
            vmi(out.tweak(|out| {
                out["status"]["conditions"] = json!([{"type": "LiveMigratable", "status": status,
                    "reason": "DisksNotLiveMigratable", "message": "PVC root is not shared"}]);
            }))
        };
        let nodes = self.nodes.iter().enumerate().map(node).collect();
        let world = world(nodes, self.guests.iter().enumerate().map(guest).collect::<Vec<_>>());
        if !self.knows_room {
            return world;
        }
        let name = |at: usize| format!("node-{at}");
        let cores: Vec<(String, String)> =
            self.nodes.iter().enumerate().map(|(at, node)| (name(at), self.cores_of(at, node).to_string())).collect();
        let pods: Vec<(String, String)> =
            self.guests.iter().enumerate().map(|(at, guest)| (name(guest.node), format!("guest-{at}"))).collect();
        let cores: Vec<(&str, &str)> = cores.iter().map(|(node, cores)| (node.as_str(), cores.as_str())).collect();
        let asked = CORES.to_string();
        let pods: Vec<(&str, Option<&str>, &str)> =
            pods.iter().map(|(node, guest)| (node.as_str(), Some(guest.as_str()), asked.as_str())).collect();
        with_room(world, &cores, &pods)
    }

    /// Returns the cores of a node: enough for the guests on it.
    fn cores_of(&self, at: usize, node: &SimNode) -> usize {
        node.cores.max(CORES * self.guests.iter().filter(|guest| guest.node == at).count())
    }

    fn is_in_domain(&self, key: &str, one: usize, other: usize) -> bool {
        if key == "zone" { self.nodes[one].zone == self.nodes[other].zone } else { one == other }
    }

    /// Whether a guest on a node closes another one to a guest.
    fn closes(&self, own: usize, other: usize, at: usize, node: usize) -> bool {
        let (Some(mine), Some(its)) = (self.guests[own].apart, self.guests[other].apart) else { return false };
        self.is_in_domain(mine, at, node) || self.is_in_domain(its, at, node)
    }

    /// Whether all guests of the first node can leave it after these acts, with some order and some choice of nodes.
    fn frees(&self, acts: &Acts) -> bool {
        let leaving: Vec<usize> = (0..self.guests.len()).filter(|&at| self.guests[at].node == 0).collect();
        let is_restarted = |at: &usize| acts.restarted.contains(at);
        // The node of each guest; `None` for one that is down.
        let start: Vec<Option<usize>> =
            (0..self.guests.len()).map(|at| Some(self.guests[at].node).filter(|_| !is_restarted(&at))).collect();
        let is_open = |node: usize| !self.nodes[node].is_cordoned || acts.uncordoned.contains(&node);
        let takes = |places: &[Option<usize>], own: usize, node: usize| {
            let closed =
                (0..places.len()).any(|other| places[other].is_some_and(|at| self.closes(own, other, at, node)));
            let there = places.iter().filter(|place| **place == Some(node)).count();
            let has_room = !self.knows_room || CORES * (there + 1) <= self.cores_of(node, &self.nodes[node]);
            is_open(node) && !closed && has_room
        };
        let mut seen: HashSet<Vec<Option<usize>>> = [start.clone()].into();
        let mut todo = vec![start];
        while let Some(places) = todo.pop() {
            if leaving.iter().all(|&at| places[at].is_some_and(|node| node != 0)) {
                return true;
            }
            for &at in leaving.iter().filter(|&&at| places[at].is_none_or(|node| node == 0)) {
                if self.guests[at].is_refused && !is_restarted(&at) {
                    continue;
                }
                for node in (1..self.nodes.len()).filter(|&node| takes(&places, at, node)) {
                    let mut next = places.clone();
                    next[at] = Some(node);
                    if seen.insert(next.clone()) {
                        todo.push(next);
                    }
                }
            }
        }
        false
    }

    /// Returns the number of acts and that of restarts of the smallest set that frees all guests; `None` if none does.
    fn smallest(&self) -> Option<(usize, usize)> {
        let closed: Vec<usize> = (1..self.nodes.len()).filter(|&node| self.nodes[node].is_cordoned).collect();
        let here: Vec<usize> = (0..self.guests.len()).filter(|&at| self.guests[at].node == 0).collect();
        let part = |all: &[usize], bits: usize| -> Vec<usize> {
            all.iter().enumerate().filter(|(at, _)| bits >> at & 1 == 1).map(|(_, it)| *it).collect()
        };
        let sets = (0..1_usize << (closed.len() + here.len()))
            .map(|bits| Acts { uncordoned: part(&closed, bits), restarted: part(&here, bits >> closed.len()) });
        sets.filter(|set| self.frees(set)).map(|set| (set.len(), set.restarted.len())).min()
    }
}

/// Returns the acts of an answer; `None` if there are others than uncordons and restarts.
fn read_acts(steps: &[LeastAct]) -> Option<Acts> {
    let mut out = Acts::default();
    for step in steps {
        let last = step.commands.last()?;
        let words: Vec<&str> = last.split(' ').collect();
        match (step.id, words.as_slice()) {
            ("uncordon", ["kubectl", "uncordon", node]) => {
                out.uncordoned.push(node.strip_prefix("node-")?.parse().ok()?);
            }
            ("restart", ["virtctl", "restart", guest, ..]) => {
                out.restarted.push(guest.strip_prefix("guest-")?.parse().ok()?);
            }
            _ => return None,
        }
    }
    Some(out)
}

#[test]
fn no_smaller_set_and_none_of_one_size_with_fewer_restarts_frees_all() {
    let mut random = Random(41);
    let (mut nothing, mut none, mut several, mut restarts, mut beyond_the_host) = (0, 0, 0, 0, 0);
    for case in (0..1500).step_by(one_in()) {
        let sim = Sim::random(&mut random);
        let world = sim.world();
        let found = drained(&world, "node-0");
        let expected = sim.smallest();
        let Some(steps) = &found.least_to_do else {
            assert_eq!(expected, None, "case {case}: a set frees all, and none is offered: {:?}", found.nodes);
            none += 1;
            continue;
        };
        let acts = read_acts(steps).unwrap_or_else(|| panic!("case {case}: other acts: {steps:?}"));
        assert!(sim.frees(&acts), "case {case}: {acts:?} do not free all: {:?}", found.nodes);
        let size = (acts.len(), acts.restarted.len());
        assert_eq!(Some(size), expected, "case {case}: {acts:?} are not the least harmful: {:?}", found.nodes);
        assert_eq!(found.least_is, LeastProof::Smallest, "case {case}: {acts:?} are the smallest set");
        nothing += usize::from(steps.is_empty());
        several += usize::from(steps.len() > 1);
        restarts += usize::from(!acts.restarted.is_empty());
        let is_wide = |at: &usize| sim.guests[*at].apart == Some("zone");
        beyond_the_host += usize::from(acts.restarted.iter().any(is_wide));
    }
    assert!(
        nothing >= at_least(100)
            && none >= at_least(100)
            && several >= at_least(100)
            && restarts >= at_least(100)
            && beyond_the_host >= at_least(50),
        "too few fleets show it: {nothing} with nothing to do, {none} that nothing frees, {several} with several acts, \
         {restarts} with restarts, {beyond_the_host} of guests that keep off a zone"
    );
}
