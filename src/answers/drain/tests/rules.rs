//! Rules about pods: where they close nodes for certain, a guest does not leave; where they may, the row says so.

use std::collections::{BTreeMap, BTreeSet};

use super::promises::Random;
use super::*;

const ZONE: &str = "topology.kubernetes.io/zone";

/// Returns a guest with these labels, terms of required pod affinity, and spread constraints.
fn ruled(name: &str, node: &str, app: &str, terms: &Value, spread: &Value) -> Value {
    live(running(name, node, SKY)).tweak(|guest| {
        guest["metadata"]["labels"] = json!({"app": app});
        guest["spec"]["affinity"] = json!({"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}});
        guest["spec"]["topologySpreadConstraints"] = spread.clone();
    })
}

fn term(app: &str, key: &str) -> Value {
    json!({"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": key})
}

fn pod(name: &str, node: &str, app: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": "shop", "labels": {"app": app}},
        "spec": {"nodeName": node, "containers": []}, "status": {"phase": "Running"}})
}

/// node-a and node-b are in zone west, node-c in zone east, node-d and node-e in none.
fn in_zones() -> Vec<Node> {
    intel().tweak(|nodes| {
        for (name, zone) in [("node-a", "west"), ("node-b", "west"), ("node-c", "east")] {
            of(nodes, name).labels.insert(ZONE.to_owned(), zone.to_owned());
        }
    })
}

#[rstest]
#[case::spread_by_a_key_of_no_node(
    "rack",
    "",
    None,
    State::Stuck,
    "node-b, node-c, node-d and 1 more lack the label rack of its topology spread (DoNotSchedule)"
)]
#[case::spread_by_a_key_of_some(
    ZONE,
    "",
    None,
    State::CanLeave,
    "node-d, node-e lack the label topology.kubernetes.io/zone of its topology spread"
)]
#[case::affinity_by_a_key_of_no_node(
    "",
    "rack",
    None,
    State::Stuck,
    "lack the label rack of its required pod affinity: kube-scheduler never chooses them"
)]
#[case::pods_are_not_known("", label::HOSTNAME, None, State::CanLeave, "its required pod affinity is not judged")]
#[case::with_a_pod_of_its_node(
    "",
    label::HOSTNAME,
    Some("node-a"),
    State::Stuck,
    "its required pod affinity (kubernetes.io/hostname) keeps it off: the pods that it selects are on node-a alone"
)]
#[case::with_a_pod_of_another("", label::HOSTNAME, Some("node-c"), State::OneTarget, "only node-c")]
#[case::with_a_pod_of_its_zone("", ZONE, Some("node-a"), State::OneTarget, "only node-b")]
fn rules_about_pods_close_nodes(
    #[case] spread: &str,
    #[case] affinity: &str,
    #[case] with: Option<&str>,
    #[case] expected: State,
    #[case] why: &str,
) {
    let terms = if affinity.is_empty() { json!([]) } else { json!([term("cache", affinity)]) };
    let spread = if spread.is_empty() {
        json!([])
    } else {
        json!([{"maxSkew": 1, "topologyKey": spread, "whenUnsatisfiable": "DoNotSchedule"}])
    };
    let mut known = world(in_zones(), [vmi(ruled("db", "node-a", "db", &terms, &spread))]);
    if let Some(node) = with {
        read_pod(&mut known, &pod("cache-0", node, "cache"));
    }
    let found = drained(&known, "node-a");
    let row = &found.nodes[0].guests[0];
    assert_eq!((row.state, row.why.contains(why)), (expected, true), "a drain would wait without end: {row:?}");
    if expected == State::Stuck {
        assert_eq!(found.least_to_do, None, "no change of the CPU frees it: {found:?}");
    }
    if with.is_some() {
        assert!(!row.why.contains("not judged"), "its pods are known: {}", row.why);
    }
}

/// Guests that affinity holds together on one node stay there, unless one of them may leave first.
#[rstest]
#[case::all_select_each_other("db", &[State::Stuck, State::Stuck])]
#[case::one_is_free("web", &[State::CanLeave, State::CanLeave])]
fn guests_that_hold_each_other_stay(#[case] app: &str, #[case] expected: &[State]) {
    let together = |name: &str, terms: Value| vmi(ruled(name, "node-a", "db", &terms, &json!([])));
    let own = if app == "db" { json!([term("db", label::HOSTNAME)]) } else { json!([]) };
    let guests = [together("db-1", json!([term("db", label::HOSTNAME)])), together("db-2", own)];
    let mut known = world(in_zones(), guests);
    read_pod(&mut known, &pod("other-0", "node-e", "other"));
    let found = drained(&known, "node-a");
    let states: Vec<State> = found.nodes[0].guests.iter().map(|row| row.state).collect();
    assert_eq!(states, expected, "{found:?}");
    // Where the other one goes is not known: there the affinity is a doubt.
    let is_said = found.nodes[0].guests[0].why.contains("its required pod affinity is not judged");
    assert_eq!(is_said, expected[0] == State::CanLeave, "{found:?}");
}

/// The choices of kube-scheduler, by its source: an oracle of its own, over all orders of the migrations.
struct Scheduler<'s> {
    /// The zone of each node, if any, and whether it is cordoned.
    nodes: &'s [(Option<usize>, bool)],
    /// App and terms of each guest: the app that a term selects, and whether it is by zone, not by node.
    guests: &'s [(usize, Vec<(usize, bool)>)],
    /// Node and app of the other pods.
    pods: &'s [(usize, usize)],
}

impl Scheduler<'_> {
    /// Returns the nodes that take a guest while the guests are on these nodes.
    fn takes(&self, guest: usize, at: &[usize]) -> BTreeSet<usize> {
        let (own, terms) = &self.guests[guest];
        let selects = |app: usize| terms.iter().all(|(wanted, _)| *wanted == app);
        let guests = at.iter().enumerate().map(|(other, node)| (*node, self.guests[other].0));
        let pods: Vec<(usize, usize)> = guests.chain(self.pods.iter().copied()).collect();
        let mates: Vec<usize> = pods.iter().filter(|(_, app)| selects(*app)).map(|(node, _)| *node).collect();
        let domain = |node: usize, by_zone: bool| if by_zone { self.nodes[node].0 } else { Some(100 + node) };
        let counts: BTreeSet<usize> =
            mates.iter().flat_map(|node| terms.iter().filter_map(|(_, by_zone)| domain(*node, *by_zone))).collect();
        let is_first = counts.is_empty() && selects(*own);
        let fits = |node: &usize| {
            let domains: Option<Vec<usize>> = terms.iter().map(|(_, by_zone)| domain(*node, *by_zone)).collect();
            let is_met = |domains: &Vec<usize>| is_first || domains.iter().all(|domain| counts.contains(domain));
            *node != at[guest] && !self.nodes[*node].1 && domains.as_ref().is_some_and(is_met)
        };
        (0..self.nodes.len()).filter(fits).collect()
    }

    /// Returns the guests that leave node 0 in some order and with some choices.
    fn ever_leave(&self, at: &[usize]) -> BTreeSet<usize> {
        let (mut seen, mut left) = (BTreeSet::from([at.to_vec()]), vec![at.to_vec()]);
        let mut out = BTreeSet::new();
        while let Some(at) = left.pop() {
            for guest in (0..at.len()).filter(|&guest| at[guest] == 0) {
                for node in self.takes(guest, &at).into_iter().filter(|node| *node != 0) {
                    out.insert(guest);
                    let mut next = at.clone();
                    next[guest] = node;
                    if seen.insert(next.clone()) {
                        left.push(next);
                    }
                }
            }
        }
        out
    }
}

/// A guest is said to be stuck by its affinity only if no order and no choice of the scheduler takes it off its node;
/// a guest that leaves alone has exactly the targets that kube-scheduler takes.
#[test]
fn pod_affinity_is_judged_as_kube_scheduler_does() {
    const APPS: [&str; 3] = ["db", "web", "cache"];
    let mut random = Random(7);
    let (mut stuck, mut alone, mut targets) = (0, 0, 0);
    for turn in 0..400 {
        let names: Vec<String> = intel().iter().map(|node| node.name.clone()).collect();
        let nodes: Vec<(Option<usize>, bool)> =
            names.iter().map(|_| (Some(random.below(3)).filter(|zone| *zone < 2), random.percent(20))).collect();
        let some = |random: &mut Random| -> Vec<(usize, bool)> {
            let count = [0, 1, 1, 2][random.below(4)];
            let app = random.below(APPS.len());
            (0..count).map(|_| (app, random.percent(50))).collect()
        };
        let guests: Vec<(usize, Vec<(usize, bool)>)> =
            (0..=random.below(3)).map(|_| (random.below(APPS.len()), some(&mut random))).collect();
        let at: Vec<usize> = guests.iter().map(|_| if random.percent(70) { 0 } else { random.below(5) }).collect();
        let pods: Vec<(usize, usize)> =
            (0..=random.below(2)).map(|_| (random.below(5), random.below(APPS.len()))).collect();
        let fleet = intel().tweak(|fleet| {
            for (node, (zone, is_cordoned)) in fleet.iter_mut().zip(&nodes) {
                if let Some(zone) = zone {
                    node.labels.insert(ZONE.to_owned(), format!("z{zone}"));
                }
                if *is_cordoned {
                    cordon(node);
                }
            }
        });
        let objects = guests.iter().zip(&at).enumerate().map(|(guest, ((app, terms), node))| {
            let key = |by_zone: bool| if by_zone { ZONE } else { label::HOSTNAME };
            let terms: Vec<Value> = terms.iter().map(|(app, by_zone)| term(APPS[*app], key(*by_zone))).collect();
            vmi(ruled(&format!("guest-{guest}"), &names[*node], APPS[*app], &json!(terms), &json!([])))
        });
        let mut known = world(fleet, objects);
        for (number, (node, app)) in pods.iter().enumerate() {
            read_pod(&mut known, &pod(&format!("pod-{number}"), &names[*node], APPS[*app]));
        }
        let scheduler = Scheduler { nodes: &nodes, guests: &guests, pods: &pods };
        let leave = scheduler.ever_leave(&at);
        let found = drained(&known, &names[0]);
        let here: BTreeMap<&str, &GuestRow> =
            found.nodes[0].guests.iter().map(|row| (row.guest.as_str(), row)).collect();
        for guest in (0..at.len()).filter(|&guest| at[guest] == 0) {
            let row = here[format!("shop/guest-{guest}").as_str()];
            if row.state == State::Stuck {
                stuck += 1;
                assert!(!leave.contains(&guest), "{turn}: it may leave: {row:?} {guests:?} {at:?} {pods:?} {nodes:?}");
            }
            if here.len() == 1 && !row.why.contains("not judged") {
                alone += 1;
                let taken: BTreeSet<&str> =
                    scheduler.takes(guest, &at).into_iter().map(|node| names[node].as_str()).collect();
                let targeted: BTreeSet<&str> = row.targets.names().into_iter().collect();
                targets += targeted.len();
                assert_eq!(targeted, taken, "{turn}: {row:?} {guests:?} {at:?} {pods:?} {nodes:?}");
            }
        }
    }
    assert!(stuck > 20 && alone > 50 && targets > 50, "{stuck} {alone} {targets}");
}
