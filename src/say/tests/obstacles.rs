//! The sentence of a node names everything that keeps a guest off, the nearest node comes first, and counts are whole.

use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::fit::judgement::Depth;
use crate::fit::label;
use crate::fit::node::Taint;
use crate::fit::outcome::Nearest;
use crate::fit::verdict::Check;
use crate::judge::{Evaluation, Manifest, judge};
use crate::policy::UserName;
use crate::say;
use crate::testing::cluster::read;
use crate::testing::fleet::{cascade_lake, taint};

/// Returns a guest that runs on n1 and asks for these terms of node affinity, and for zone a if `zoned`.
fn guest(zoned: bool, terms: &Value) -> Value {
    running("db", "n1", "host-model").tweak(|guest| {
        if zoned {
            guest["spec"]["nodeSelector"] = json!({"zone": "a"});
        }
        if terms.as_array().is_some_and(|terms| !terms.is_empty()) {
            guest["spec"]["affinity"] = json!({
                "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
            });
        }
    })
}

fn term(key: &str, value: &str) -> Value {
    json!({"matchExpressions": [{"key": key, "operator": "In", "values": [value]}]})
}

fn judged(nodes: Vec<Node>, guest: Value, depth: Depth) -> Evaluation<'static> {
    let launcher = launcher(&guest, []);
    let world = world(nodes, vec![vmi(guest), launcher]);
    let manifest = Manifest::Migration(Box::new(read(migration("db"))));
    judge(&world, &manifest, UserName::NOBODY, depth).expect("a guest")
}

fn down(node: &mut Node) {
    node.not_ready = true;
    node.taints.push(taint("node.kubernetes.io/unreachable"));
}

fn unwell(node: &mut Node) {
    set(node, label::SCHEDULABLE, "false");
}

fn down_and_unwell(node: &mut Node) {
    down(node);
    unwell(node);
}

fn unlabelled(node: &mut Node) {
    node.labels.retain(|key, _| key.starts_with("kubernetes.io/"));
}

fn zone(name: &str) -> impl Fn(&mut Node) {
    let name = name.to_owned();
    move |node| set(node, "zone", &name)
}

/// Words, and the change of a node that they are about.
type Obstacle = (&'static str, fn(&mut Node));

/// Whatever two of the obstacles a node has, its sentence names both.
#[rstest]
fn a_node_is_named_with_all_that_keeps_the_guest_off(
    #[values(0, 1, 2, 3)] one: usize,
    #[values(0, 1, 2, 3)] other: usize,
) {
    let obstacles: [Obstacle; 4] = [
        ("is cordoned", cordon),
        ("is not Ready", down),
        ("is tainted dedicated:NoSchedule", |node| node.taints.push(taint("dedicated"))),
        ("fails its node affinity (rack in (1))", |node| set(node, "rack", "2")),
    ];
    let mut node = cascade_lake("n2").tweak(|node| (zone("b")(node), set(node, "rack", "1")).1);
    let (words, change) = obstacles[one];
    change(&mut node);
    let (more, change) = obstacles[other];
    if one != other {
        change(&mut node);
    }
    let own = cascade_lake("n1").tweak(|node| (zone("a")(node), set(node, "rack", "1")).1);
    let case = judged(vec![own, node], guest(true, &json!([term("rack", "1")])), Depth::Full);
    let warnings = case.decision.warnings().join("\n");
    for said in [say::obstacles(&case.verdict), warnings] {
        for part in ["n2", "lacks zone (has b, needs a)", words, more] {
            assert!(said.contains(part), "a person removes one of two obstacles: {part} is not in {said}");
        }
    }
}

/// A node that nothing else keeps the guest off is named before others that lack as many entries.
#[test]
fn a_free_node_is_named_before_a_cordoned_one() {
    let lacking = |name: &str| cascade_lake(name).tweak(|node| zone("b")(node));
    let own = cascade_lake("n1").tweak(|node| zone("a")(node));
    let case = judged(vec![own, lacking("n2").tweak(cordon), lacking("n3")], guest(true, &json!([])), Depth::Full);
    let names = |names: Vec<&Nearest>| names.iter().map(|near| near.node.clone()).collect::<Vec<_>>();
    assert_eq!(names(say::named(&case.verdict).collect()), ["n3", "n2"], "a person uncordons a node for nothing");
    assert_eq!(names(case.verdict.nearest.iter().collect()), ["n2", "n3"], "by count, then by name");
}

/// A node that is down is named as such, and no other node is bought for it.
#[test]
fn a_node_that_is_down_is_waited_for() {
    let nodes = vec![cascade_lake("n1"), cascade_lake("n2").tweak(down).tweak(unwell)];
    let case = judged(nodes, guest(false, &json!([])), Depth::Full);
    assert_snapshot!(case.decision.warnings().join("\n"), @r"
    cpufit: shop/db cannot migrate now: the only other node does not meet its selector or is not free
    cpufit: shop/db: nearest is n2, which is not Ready, and fits once it is
    ");
    assert_eq!(say::obstacles(&case.verdict), "n2 is not Ready, and fits once it is");
}

/// The node with the fewest obstacles is named first, and of equals the one that opens by itself.
#[test]
fn the_nearest_of_blocked_nodes_is_named() {
    let tainted = |name: &str, keys: &[&str]| {
        cascade_lake(name).tweak(|node| node.taints.extend(keys.iter().map(|key| taint(key))))
    };
    let pressure = "node.kubernetes.io/memory-pressure";
    let nodes = vec![
        cascade_lake("n1"),
        tainted("n2", &["dedicated"]).tweak(cordon),
        tainted("n3", &["dedicated"]),
        tainted("n4", &[pressure]),
    ];
    let case = judged(nodes, guest(false, &json!([])), Depth::Full);
    assert_eq!(
        say::obstacles(&case.verdict),
        "n4 fits but is tainted node.kubernetes.io/memory-pressure:NoSchedule, n3 fits but is tainted dedicated:NoSchedule"
    );
}

/// All nodes that only the affinity keeps off are counted, whatever the depth, and those of other conditions too.
#[rstest]
fn nodes_outside_the_affinity_are_all_counted(
    #[values(1, 2, 3, 6, 70)] count: usize,
    #[values(Depth::Brief, Depth::Full)] depth: Depth,
) {
    let nodes = (0..count).map(|at| cascade_lake(&format!("x{at:02}")));
    let odd = cascade_lake("z").tweak(|node| set(node, "rack", "1"));
    let own = cascade_lake("n1").tweak(|node| (set(node, "rack", "1"), set(node, "disk", "ssd")).1);
    let both = json!([{"matchExpressions": [
        {"key": "rack", "operator": "In", "values": ["1"]}, {"key": "disk", "operator": "In", "values": ["ssd"]},
    ]}]);
    let nodes = std::iter::once(own).chain(nodes).chain([odd]).collect();
    let case = judged(nodes, guest(false, &both), depth);
    let said = say::obstacles(&case.verdict);
    let numbers = said.split(|char: char| !char.is_ascii_digit()).filter_map(|word| word.parse::<usize>().ok());
    let named = said.matches("x0").count() + said.matches('z').count();
    let more: usize =
        said.match_indices(" more").filter_map(|(at, _)| said[..at].rsplit(' ').next()?.parse::<usize>().ok()).sum();
    assert!(numbers.count() > 0 && named + more == count + 1, "nodes are lost: {said}");
}

/// No single one of alternative terms is said to be asked for.
#[test]
fn one_of_the_terms_suffices() {
    let nodes = vec![
        cascade_lake("n1").tweak(|node| set(node, "rack", "1")),
        cascade_lake("n2"),
        cascade_lake("n3").tweak(|node| set(node, "rack", "2")),
    ];
    let case = judged(nodes, guest(false, &json!([term("rack", "1"), term("special", "yes")])), Depth::Full);
    let asked = case.verdict.findings.iter().filter(|finding| finding.check == Check::AskedBy);
    let said: Vec<String> = asked.map(say::finding::message).collect();
    assert_eq!(
        said,
        ["one of 2 terms is asked for by spec.affinity of the VMI: rack in (1); or special in (yes)"],
        "a person labels a node for a condition that need not hold"
    );
}

/// A label of virt-handler's is not said to be undone by a virt-handler that does not run.
#[rstest]
#[case::may_run(unwell, "virt-handler's heartbeat would undo it")]
#[case::node_is_down(down_and_unwell, "the node is not Ready, and KubeVirt would undo it")]
#[case::none_runs(unlabelled, "which virt-handler writes, and none runs there")]
fn the_heartbeat_is_that_of_a_virt_handler_that_runs(#[case] change: fn(&mut Node), #[case] expected: &str) {
    let nodes = vec![cascade_lake("n1"), cascade_lake("n2").tweak(change)];
    let case = judged(nodes, guest(false, &json!([])), Depth::Full);
    let subject = &case.prepared.subject;
    let said: Vec<String> = case.verdict.not_helping.iter().map(|not| say::remedy::why_not(&not.why)).collect();
    assert!(said.iter().any(|why| why.contains(expected)), "{}: {said:?}", subject.title());
}

/// Whatever two things keep the guest off a node, each of which a known change ends, both changes are offered.
#[rstest]
fn two_changes_are_offered_together(#[values(0, 1, 2, 3, 4)] one: usize, #[values(0, 1, 2, 3, 4)] other: usize) {
    if one == other {
        return;
    }
    let changes: [Obstacle; 5] = [
        ("change nodeSelector zone", |node| set(node, "zone", "b")),
        ("uncordon n2", cordon),
        ("tolerate dedicated=db:NoSchedule as well as dedicated=web:NoSchedule", |node| {
            node.taints.push(Taint { value: "db".to_owned(), ..taint("dedicated") });
        }),
        ("find out why virt-handler is not ready on n2", unwell),
        ("take skip-node off n2", |node| {
            node.skip_node = Some("true".to_owned());
            take(node, &[feature("hle")]);
        }),
    ];
    let node = |name: &str| cascade_lake(name).tweak(|node| set(node, "zone", "a"));
    let n2 = node("n2").tweak(|node| {
        changes[one].1(node);
        changes[other].1(node);
    });
    let own = json!({
        "nodeSelector": {"zone": "a"},
        "tolerations": [{"key": "dedicated", "value": "web", "effect": "NoSchedule"}],
    });
    let put = |spec: &mut Value| {
        for (key, value) in own.as_object().into_iter().flatten() {
            spec[key] = value.clone();
        }
    };
    let guest = running("db", "n1", "host-model").tweak(|guest| put(&mut guest["spec"]));
    let vm = vm("db", "host-model").tweak(|vm| put(&mut vm["spec"]["template"]["spec"]));
    let objects = vec![launcher(&guest, []), vmi(guest), ClusterObject::VirtualMachine(Box::new(read(vm)))];
    let world = world(vec![node("n1"), n2], objects);
    let manifest = Manifest::Migration(Box::new(read(migration("db"))));
    let case = judge(&world, &manifest, UserName::NOBODY, Depth::Full).expect("a guest");
    let remedies = case.verdict.findings.iter().flat_map(|finding| &finding.remedies);
    let said: Vec<String> =
        remedies.map(|remedy| say::remedy::summary(&remedy.action, &case.prepared.subject)).collect();
    let Some(first) = said.first() else { panic!("nothing is offered") };
    // Labels under skip-node are compared with those of the guest's node, which a failing virt-handler does not change.
    for words in [changes[one].0, changes[other].0] {
        assert!(first.contains(words), "a person adds a node instead of two changes: {said:?}");
    }
}
