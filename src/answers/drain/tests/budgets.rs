//! Random `PodDisruptionBudgets` and eviction strategies: the guests that are shut down, and the budgets that block.

use super::promises::Random;
use super::*;
use crate::fit::word::Word as _;

/// The `evictionStrategy` of a guest and the status of its `LiveMigratable`.
#[derive(Clone, Copy, Debug)]
struct Kind {
    strategy: &'static str,
    status: &'static str,
}

/// Whether the admitter of pod evictions admits the eviction, so that the pod is evicted like any other.
fn is_evicted(kind: Kind) -> bool {
    match kind.strategy {
        "LiveMigrate" | "External" => false,
        "LiveMigrateIfPossible" => kind.status != "True",
        _ => true,
    }
}

/// Returns a budget, and whether it selects the launcher of a guest of namespace `shop` with the label `app: APP`.
fn budget(random: &mut Random, at: usize, app: &str) -> (Value, bool) {
    let (selector, selects) = match random.below(6) {
        0 => (json!({"matchLabels": {"app": "db"}}), app == "db"),
        1 => (json!({"matchLabels": {"kubevirt.io": "virt-launcher"}}), true),
        2 => {
            (json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["web", "cache"]}]}), app == "web")
        }
        3 => (json!({"matchExpressions": [{"key": "app", "operator": "Exists"}]}), true),
        4 => (json!({}), true),
        _ => (Value::Null, false),
    };
    let namespace = ["shop", "shop", "shop", "bank"][random.below(4)];
    // Until 1.8 KubeVirt created a budget for each guest, which allows no disruption and only blocks the guest's own
    // migration.
    let owners =
        if random.percent(20) { json!([{"kind": "VirtualMachineInstance", "name": "guest"}]) } else { Value::Null };
    let is_peoples = owners.is_null();
    let object = json!({
        "metadata": {"name": format!("budget-{at}"), "namespace": namespace, "ownerReferences": owners},
        "spec": {"selector": selector}, "status": {"disruptionsAllowed": random.below(2)}});
    (object, selects && namespace == "shop" && is_peoples)
}

#[test]
fn budgets_delay_only_guests_that_an_eviction_would_shut_down() {
    let mut random = Random(31);
    let mut seen = [0; 6];
    let (mut held_by_one, mut held_by_two, mut moves_in_spite) = (0, 0, 0);
    for _ in (0..1000).step_by(one_in()) {
        let kind = Kind {
            strategy: ["None", "External", "LiveMigrate", "LiveMigrateIfPossible", ""][random.below(5)],
            status: ["True", "True", "False", "Unknown"][random.below(4)],
        };
        let app = ["db", "web", "other"][random.below(3)];
        let guest = running("guest", "node-a", SKY).tweak(|guest| {
            guest["metadata"]["labels"] = json!({"app": app});
            guest["spec"]["evictionStrategy"] = json!(kind.strategy);
            guest["status"]["conditions"] = json!([{"type": "LiveMigratable", "status": kind.status}]);
        });
        let kubevirt = read(json!({"metadata": {"name": "kubevirt", "namespace": "kubevirt"}}));
        let mut known = world(intel(), [vmi(guest), ClusterObject::KubeVirt(Box::new(kubevirt))]);
        let mut own: Vec<(String, i64)> = Vec::new();
        for at in 0..random.below(4) {
            let (object, selects) = budget(&mut random, at, app);
            if selects {
                let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
                own.push((name, object["status"]["disruptionsAllowed"].as_i64().unwrap_or_default()));
            }
            let text = object.to_string();
            let room = std::sync::Arc::make_mut(&mut known.cluster.room);
            room.read("policy", "PodDisruptionBudget", &Json(&text)).expect("well-formed");
        }
        // The API server evicts a pod that at most one budget protects, and only while that budget allows it.
        let holders: Vec<&str> = match own.as_slice() {
            [] | [(_, 1..)] => Vec::new(),
            held => held.iter().take(2).map(|(name, _)| name.as_str()).collect(),
        };
        let found = drained(&known, "node-a");
        let guest = &found.nodes[0].guests[0];
        let expected = match (is_evicted(kind), kind.strategy) {
            (true, _) if holders.is_empty() => State::ShutDown,
            (true, _) | (false, "External") => State::Stays,
            (false, _) if kind.status == "True" => State::CanLeave,
            (false, _) => State::Stuck,
        };
        assert_eq!(guest.state, expected, "{kind:?} {own:?}: {guest:?}");
        let is_held = is_evicted(kind) && !holders.is_empty();
        let fails = matches!(expected, State::ShutDown | State::Stuck) || is_held;
        assert_eq!(found.has_failed(), fails, "a drain would wait, then shut it down: {guest:?}");
        let hint = "virtctl migrate guest -n shop moves it without an eviction (4 nodes fit)";
        assert_eq!(guest.why.contains(hint), is_held && kind.status == "True", "nobody says what helps: {}", guest.why);
        let named = holders.iter().all(|name| guest.why.contains(name));
        assert_eq!(is_evicted(kind) && !holders.is_empty(), guest.why.contains("PodDisruptionBudget"), "{}", guest.why);
        assert!(!is_evicted(kind) || named, "{holders:?} hold it up: {}", guest.why);
        seen[State::ALL.iter().position(|state| *state == expected).expect("one of all")] += 1;
        held_by_one += usize::from(is_evicted(kind) && holders.len() == 1);
        held_by_two += usize::from(is_evicted(kind) && holders.len() == 2);
        moves_in_spite += usize::from(expected == State::CanLeave && !holders.is_empty());
    }
    assert!(
        seen[..3].iter().chain(&seen[5..]).all(|&count| count >= at_least(50))
            && held_by_one.min(held_by_two).min(moves_in_spite) >= at_least(30),
        "too few show it: {seen:?}, held by one {held_by_one}, by two {held_by_two}, moves in spite of one {moves_in_spite}"
    );
}

/// The guests of one node that one budget protects: by name, whether its VM starts it again.
type Protected = Vec<(String, bool)>;

/// Returns the lowest number of them that are evicted, for any order of `kubectl drain`: an eviction uses one
/// disruption, and a guest that starts again elsewhere restores it.
fn fewest_evicted(left: &[bool], allowed: usize) -> usize {
    let after = |at: usize| {
        let (mut rest, returns) = (left.to_vec(), left[at]);
        rest.remove(at);
        1 + fewest_evicted(&rest, if returns { allowed } else { allowed - 1 })
    };
    if allowed == 0 { 0 } else { (0..left.len()).map(after).min().unwrap_or(0) }
}

#[test]
fn guests_that_share_a_budget_are_shut_down_as_it_allows() {
    let mut random = Random(53);
    let (mut wait, mut in_turn, mut enough) = (0, 0, 0);
    for _ in (0..300).step_by(one_in()) {
        let guests: Protected = (0..=random.below(5)).map(|at| (format!("guest-{at}"), random.percent(60))).collect();
        let allowed = 1 + random.below(4);
        let objects = guests.iter().flat_map(|(name, returns)| {
            let guest = running(name, "node-a", SKY).tweak(|guest| {
                guest["metadata"]["labels"] = json!({"app": "web"});
                guest["spec"]["evictionStrategy"] = json!("None");
            });
            let vm = crate::testing::cluster::vm(name, SKY).tweak(|vm| match (*returns, random.below(2)) {
                (true, 0) => vm["spec"]["runStrategy"] = json!("Always"),
                (true, _) => vm["spec"]["running"] = json!(true),
                (false, 0) => vm["spec"]["runStrategy"] = json!("Manual"),
                (false, _) => vm["spec"]["runStrategy"] = json!("RerunOnFailure"),
            });
            [vmi(guest), ClusterObject::VirtualMachine(Box::new(read(vm)))]
        });
        let objects: Vec<ClusterObject> = objects.collect();
        let mut known = world(intel(), objects);
        let budget = json!({"metadata": {"name": "web", "namespace": "shop"},
            "spec": {"selector": {"matchLabels": {"app": "web"}}}, "status": {"disruptionsAllowed": allowed}});
        let text = budget.to_string();
        let room = std::sync::Arc::make_mut(&mut known.cluster.room);
        room.read("policy", "PodDisruptionBudget", &Json(&text)).expect("well-formed");
        let found = drained(&known, "node-a");
        let node = &found.nodes[0];
        let returns: Vec<bool> = guests.iter().map(|(_, returns)| *returns).collect();
        let expected = fewest_evicted(&returns, allowed);
        assert_eq!(node.count(State::ShutDown), expected, "{allowed} of {guests:?}: {node:?}");
        assert_eq!(node.count(State::Stays), guests.len() - expected, "{node:?}");
        let is_said = guests.len() > allowed;
        for row in &node.guests {
            let named = guests.iter().all(|(name, _)| row.why.contains(name.as_str())) || guests.len() > 4;
            assert_eq!(row.why.contains("PodDisruptionBudget shop/web"), is_said, "{}", row.why);
            assert!(!is_said || named, "{}", row.why);
        }
        match (is_said, expected == guests.len()) {
            (false, _) => enough += 1,
            (true, true) => in_turn += 1,
            (true, false) => wait += 1,
        }
    }
    assert!(
        wait.min(in_turn).min(enough) >= at_least(30),
        "too few show it: {wait} wait, {in_turn} in turn, {enough} at once"
    );
}

/// Each case: the state of a launcher, the policy and the healthy pods of a budget that allows no disruption, and
/// whether the API server evicts the launcher.
#[rstest]
#[case::ready(json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}), "AlwaysAllow", 3, false)]
#[case::not_known(json!({"phase": "Running"}), "AlwaysAllow", 3, false)]
#[case::paused(json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "False"}]}), "AlwaysAllow", 1, true)]
#[case::paused_and_others_well(json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "False"}]}), "IfHealthyBudget", 2, true)]
#[case::paused_by_default(json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "False"}]}), "", 2, true)]
#[case::paused_and_others_ill(json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "False"}]}), "", 1, false)]
#[case::waits_for_a_node(json!({"phase": "Pending"}), "", 1, true)]
fn a_budget_protects_launchers_that_are_ready(
    #[case] status: Value,
    #[case] policy: &str,
    #[case] healthy: i64,
    #[case] is_evicted: bool,
) {
    let guest = running("guest", "node-a", SKY).tweak(|guest| {
        guest["metadata"]["labels"] = json!({"app": "web"});
        guest["spec"]["evictionStrategy"] = json!("None");
    });
    let mut known = world(intel(), [vmi(guest)]);
    let budget = json!({"metadata": {"name": "web", "namespace": "shop"},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, "unhealthyPodEvictionPolicy": policy},
        "status": {"disruptionsAllowed": 0, "currentHealthy": healthy, "desiredHealthy": 2}});
    let pod = json!({"metadata": {"name": "virt-launcher-guest-x", "namespace": "shop",
            "ownerReferences": [{"kind": "VirtualMachineInstance", "name": "guest"}]},
        "spec": {"nodeName": "node-a"}, "status": status});
    let text = budget.to_string();
    let room = std::sync::Arc::make_mut(&mut known.cluster.room);
    room.read("policy", "PodDisruptionBudget", &Json(&text)).expect("well-formed");
    read_pod(&mut known, &pod);
    let found = drained(&known, "node-a");
    let expected = if is_evicted { State::ShutDown } else { State::Stays };
    assert_eq!(found.nodes[0].guests[0].state, expected, "a drain ends a guest that was said to stay: {found:?}");
}
