//! The audit, the status of a policy, the warnings about its change, and `check` of the same objects agree.

use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};

use super::*;
use crate::answers::audit::{AuditRow, StateRow, audit};
use crate::answers::guest_state::{PolicyAnswer, Tally};
use crate::answers::status::statuses;
use crate::fit::assess::targets_by_start;
use crate::fit::judgement::Depth;
use crate::fit::node::Node;
use crate::fit::subject::Stage;
use crate::fit::verdict::{Check, Impact};
use crate::judge::{self, Evaluation, Manifest};
use crate::kubevirt::cluster::ClusterObject;
use crate::policy::UserName;
use crate::testing::cluster::{cluster, launcher, migration, read, read_policy, running, vm, vmi};
use crate::testing::fleet::{COMMON, SKYLAKE, TSX, feature, mixed, set, take};
use crate::testing::thorough::one_in;
use crate::testing::{NEVER, NO_TIME};

const MODELS: [&str; 7] = [
    "",
    "host-model",
    "host-passthrough",
    "Skylake-Server-noTSX-IBRS",
    "Cascadelake-Server-noTSX",
    "Icelake-Server-noTSX",
    "EPYC-Turin",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Runs,
    RunsAlone,
    Waits,
    Stopped,
    Ended,
}

#[derive(Clone, Debug)]
struct Guest {
    life: Life,
    node: Index,
    stated: &'static str,
    has: &'static str,
    inherited: Vec<String>,
    is_gold: bool,
    has_launcher: bool,
    is_migratable: bool,
}

fn guest() -> impl Strategy<Value = Guest> {
    let life = select(vec![Life::Runs, Life::Runs, Life::RunsAlone, Life::Waits, Life::Stopped, Life::Ended]);
    let inherited = prop_oneof![
        Just(Vec::new()),
        Just(vec![feature("gone"), feature("fpu")]),
        Just(vec![feature("gone")]),
        Just([&COMMON[..], &SKYLAKE].concat().into_iter().map(feature).collect()),
        Just(TSX.map(feature).to_vec()),
    ];
    let rest = (any::<bool>(), prop::bool::weighted(0.9), prop::bool::weighted(0.9));
    (life, any::<Index>(), select(MODELS.to_vec()), select(MODELS.to_vec()), inherited, rest).prop_map(
        |(life, node, stated, has, inherited, (is_gold, has_launcher, is_migratable))| Guest {
            life,
            node,
            stated,
            has,
            inherited,
            is_gold,
            has_launcher,
            is_migratable,
        },
    )
}

fn spec() -> impl Strategy<Value = Value> {
    let dial = || select(vec!["None", "Unschedulable", "Pinned", "Fragile"]);
    let replaces = prop::sample::subsequence(vec!["Unset", "HostModel", "HostPassthrough", "Named"], 1..=4);
    let common = (select(MODELS[3..].to_vec()), replaces, select(vec!["Allow", "Warn", "Deny"]))
        .prop_map(|(name, replaces, otherwise)| json!({"name": name, "replaces": replaces, "otherwise": otherwise}));
    let rest = (any::<[bool; 3]>(), select(vec!["Keep", "DropStale", "Common"]));
    (dial(), dial(), prop::option::of(common), rest).prop_map(|(enforce, warn, common, (flags, selectors))| {
        let mut spec = json!({"enforce": enforce, "warn": warn});
        if let Some(common) = common {
            spec["commonModel"] = common;
            spec["launcherSelectors"] = json!(selectors);
        } else if selectors != "Common" {
            spec["launcherSelectors"] = json!(selectors);
        }
        let [of_gold, of_pool, is_exempt] = flags;
        if of_gold {
            spec["virtualMachineSelector"] = json!({"matchLabels": {"tier": "gold"}});
        }
        if of_pool {
            spec["nodeSelector"] = json!({"matchLabels": {"pool": "intel"}});
        }
        if is_exempt {
            spec["exemptions"] = json!({"namespaces": ["lab"]});
        }
        spec
    })
}

fn nodes(changes: &[(Index, u8)]) -> Vec<Node> {
    let mut nodes = mixed();
    nodes.iter_mut().take(5).for_each(|node| set(node, "pool", "intel"));
    for (at, change) in changes {
        let node = at.get_mut(&mut nodes);
        match change % 3 {
            0 => node.cordoned = true,
            1 => take(node, &[feature("fpu")]),
            _ => set(node, &feature("gone"), "true"),
        }
    }
    nodes
}

/// Returns the objects of a guest: its VMI and its VM, if it has them.
fn objects(at: usize, guest: &Guest, nodes: &[Node]) -> (Option<Value>, Option<Value>) {
    let name = format!("g{at}");
    let mut labels = json!({"app": name});
    if guest.is_gold {
        labels["tier"] = json!("gold");
    }
    let mut template = vm(&name, guest.stated);
    template["spec"]["template"]["metadata"]["labels"] = labels.clone();
    let mut live =
        running(&name, &guest.node.get(nodes).name, if guest.has.is_empty() { "host-model" } else { guest.has });
    live["metadata"]["labels"] = labels;
    if !guest.is_migratable {
        live["status"]["conditions"] = json!([{"type": "LiveMigratable", "status": "False", "reason": "Disks"}]);
    }
    match guest.life {
        Life::Runs => (Some(live), Some(template)),
        Life::RunsAlone => {
            live["metadata"]["ownerReferences"] = json!([]);
            (Some(live), None)
        }
        Life::Waits => {
            live["status"] = json!({"phase": "Scheduling"});
            (Some(live), Some(template))
        }
        Life::Stopped => (None, Some(template)),
        Life::Ended => {
            live["status"]["phase"] = json!("Succeeded");
            (Some(live), Some(template))
        }
    }
}

fn world(guests: &[Guest], changes: &[(Index, u8)], policies: Vec<Policy>) -> World {
    let nodes = nodes(changes);
    let mut all: Vec<ClusterObject> = Vec::new();
    for (at, guest) in guests.iter().enumerate() {
        let (live, template) = objects(at, guest, &nodes);
        if let Some(live) = live {
            all.extend(guest.has_launcher.then(|| launcher(&live, guest.inherited.clone())));
            all.push(vmi(live));
        }
        all.extend(template.map(|vm| ClusterObject::VirtualMachine(Box::new(read(vm)))));
    }
    World { cluster: cluster("1.9.0", nodes, all), policies }
}

/// Runs `check` of an object as it leaves the mutating webhook, judged for a person.
fn checked(world: &World, object: &Value) -> Evaluation<'static> {
    let user = UserName::from("");
    let manifest = |object: Value| match object["kind"].as_str() {
        Some("VirtualMachine") => Manifest::VirtualMachine(Box::new(read(object))),
        Some("VirtualMachineInstance") => Manifest::Vmi(Box::new(read(object))),
        _ => Manifest::Migration(Box::new(read(object))),
    };
    let outline = || serde_json::from_value(object.clone());
    let patch = judge::mutation(world, &manifest(object.clone()), &user, Depth::Brief.into(), outline)
        .expect("a mutation")
        .patch;
    let mut patched = object.clone();
    json_patch::patch(&mut patched, &patch).expect("a patch of it");
    judge::judge(world, &manifest(patched), &user, Depth::Full).expect("it is judged")
}

/// The parts of a state that must equal those of `check`.
type Answered = (PolicyAnswer, Option<Impact>, usize, Option<usize>, (usize, usize));

fn answered(row: &StateRow) -> Answered {
    let targets = (row.targets.min, row.targets.max);
    (row.answer, row.impact, row.judged, row.start_nodes, targets)
}

/// Returns the answer that the sender of an object sees.
fn seen(decision: &Decision) -> PolicyAnswer {
    match decision {
        Decision::Deny { .. } => PolicyAnswer::Deny,
        Decision::Admit { .. } if decision.warning_count() > 0 => PolicyAnswer::Warn,
        Decision::Admit { .. } => PolicyAnswer::Admit,
    }
}

fn answered_by_check(case: &Evaluation<'_>, world: &World, answer: PolicyAnswer) -> Answered {
    let (fleet, assessment) = (&world.cluster.fleet, &case.verdict.assessment);
    let impact = case.verdict.impact();
    let fits = assessment.fitting.count();
    let (start_nodes, targets) = match case.prepared.subject.stage {
        // Nothing migrates it, so no node is a target.
        Stage::Migration(_) if case.verdict.immobile().is_some() => (None, (0, 0)),
        Stage::Migration(_) if case.prepared.subject.live_migratable.foreseen.is_some() => (None, (0, 0)),
        Stage::Start(_) if case.prepared.subject.live_migratable.foreseen.is_some() => (Some(fits), (0, 0)),
        Stage::Start(_) if case.verdict.refused().is_some() => (Some(0), (0, 0)),
        Stage::Migration(_) => (None, (fits, fits)),
        Stage::Start(after_start) => {
            let placement = &case.prepared.subject.placement;
            let by_start: Vec<usize> =
                targets_by_start(&case.prepared.subject, placement, after_start, &assessment.fitting, fleet)
                    .into_keys()
                    .collect();
            let count = |found: Option<&usize>| found.copied().unwrap_or(0);
            (Some(fits), (count(by_start.iter().min()), count(by_start.iter().max())))
        }
    };
    (answer, impact, assessment.nodes_judged, start_nodes, targets)
}

fn tally<'r>(states: impl Iterator<Item = &'r StateRow>, policy: &str) -> Tally {
    let mut out = Tally::default();
    for state in states.filter(|state| state.policy.as_deref() == Some(policy)) {
        match state.impact {
            Some(Impact::Fragile) => out.fragile += 1,
            Some(Impact::Pinned) => out.pinned += 1,
            Some(Impact::Unschedulable) => out.unschedulable += 1,
            None => {}
        }
        out.denied += usize::from(state.answer == PolicyAnswer::Deny);
    }
    out
}

/// A guest whose launcher is not known is never denied for what it may have inherited: it is counted apart from one
/// like it.
#[test]
fn guests_with_and_without_a_launcher_are_counted_apart() {
    let nodes = nodes(&[]);
    let guest = |name: &str| {
        let mut live = running(name, &nodes[1].name, "Icelake-Server-noTSX");
        live["status"]["conditions"] = json!([{"type": "LiveMigratable", "status": "False", "reason": "Disks"}]);
        live
    };
    let (with, without) = (guest("g0"), guest("g1"));
    let objects = [launcher(&with, Vec::new()), vmi(with), vmi(without)];
    let policies = vec![read_policy("p0", &json!({"enforce": "Fragile", "warn": "None"}))];
    let world = World { cluster: cluster("1.9.0", nodes, objects), policies };
    let rows = audit(&world, NEVER);
    let now = tally(rows.iter().filter_map(|row| row.now.as_ref()), "p0");
    let statuses = statuses(&world, NEVER, NO_TIME);
    assert_eq!((now.denied, statuses[0].now), (1, now), "the status of a policy counts a denial that does not happen");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400 / one_in() as u32))]

    #[test]
    fn audit_status_words_and_check_agree(
        guests in prop::collection::vec(guest(), 1..7),
        changes in prop::collection::vec((any::<Index>(), any::<u8>()), 0..4),
        specs in prop::collection::vec(spec(), 1..3),
    ) {
        let policies: Vec<Policy> = specs.iter().enumerate().map(|(at, spec)| read_policy(&format!("p{at}"), spec)).collect();
        let world = world(&guests, &changes, policies);
        let rows: Vec<AuditRow> = audit(&world, NEVER);
        prop_assert_eq!(rows.len(), guests.len());
        for (at, guest) in guests.iter().enumerate() {
            let name = format!("g{at}");
            let row = rows.iter().find(|row| row.name == name).expect("a row of each guest");
            let (live, template) = objects(at, guest, &nodes(&changes));
            let next = match (template, &live) {
                (Some(vm), _) => vm,
                (None, Some(live)) => {
                    let mut again = live.clone();
                    again["status"] = json!({});
                    again
                }
                (None, None) => unreachable!("a guest has one of them"),
            };
            let case = checked(&world, &next);
            // Its launcher has ended by its next start, whether or not its own node still meets it.
            let is_of_now = case.verdict.found(Check::OwnNode).is_some();
            let answer = if is_of_now { row.at_next_start.answer } else { seen(&case.decision) };
            prop_assert_eq!(answered(&row.at_next_start), answered_by_check(&case, &world, answer), "next start of {}", name);
            let now = match guest.life {
                Life::Runs | Life::RunsAlone => Some(checked(&world, &migration(&name))),
                Life::Waits | Life::Stopped | Life::Ended => None,
            };
            let stated = row.now.as_ref().unwrap_or(&row.at_next_start);
            if guest.life != Life::Stopped && guest.life != Life::Ended {
                prop_assert_eq!(
                    (row.stated_verdict, row.impact, row.targets),
                    (stated.verdict, stated.impact, stated.targets.min),
                    "a gate on the row of {} would miss what NOW says", name
                );
            }
            match (now, &row.now) {
                (Some(case), Some(now)) => prop_assert_eq!(answered(now), answered_by_check(&case, &world, seen(&case.decision)), "{} now", name),
                (_, now) => prop_assert_eq!(now.is_some(), guest.life == Life::Waits, "{}", name),
            }
        }
        let of = |named: &NamedGuests| named.count;
        for (policy, status) in world.policies.iter().zip(statuses(&world, NEVER, NO_TIME)) {
            let now = tally(rows.iter().filter_map(|row| row.now.as_ref()), &policy.name);
            let next = tally(rows.iter().map(|row| &row.at_next_start), &policy.name);
            prop_assert_eq!((status.now, status.at_next_start), (now, next), "the status of {}", policy.name);
            let governed = governed(&world, policy, None, NEVER);
            let words = (of(&governed.denied_now), of(&governed.denied_at_next_start));
            prop_assert_eq!(words, (now.denied, next.denied), "the words on {}", policy.name);
        }
        // Each policy is created, and changed from the specification of another one.
        for (at, policy) in world.policies.iter().enumerate() {
            for before in [None, Some(read_policy(&policy.name, &specs[(at + 1) % specs.len()]))] {
                let found = governed(&world, policy, before.as_ref(), NEVER);
                let others = world.policies.iter().filter(|other| other.name != policy.name);
                let policies = others.chain(&before).cloned().collect();
                let before = audit(&World { cluster: world.cluster.clone(), policies }, NEVER);
                let (mut over, mut up) = (BTreeMap::new(), BTreeMap::new());
                for is in &rows {
                    let was = before.iter().find(|was| was.guest == is.guest).expect("the same guests");
                    let of = |row: &AuditRow| [row.now.clone(), Some(row.at_next_start.clone())].map(|state| state.map(|state| state.policy));
                    let pairs = of(was).into_iter().zip(of(is)).filter_map(|(was, is)| was.zip(is)).filter(|(was, is)| was != is);
                    let (mut from, mut to) = (BTreeSet::new(), BTreeSet::new());
                    for (was, is) in pairs {
                        if is.as_ref() == Some(&policy.name) {
                            from.extend(was);
                        } else if was.as_ref() == Some(&policy.name) {
                            to.insert(is);
                        }
                    }
                    for policy in from {
                        *over.entry(policy).or_default() += 1;
                    }
                    for policy in to {
                        *up.entry(policy).or_default() += 1;
                    }
                }
                let counts: BTreeMap<String, usize> = found.taken_over.iter().map(|(policy, guests)| (policy.clone(), of(guests))).collect();
                prop_assert_eq!(counts, over, "an administrator would not know which guests {} takes over", policy.name);
                let counts: BTreeMap<Option<String>, usize> = found.given_up.iter().map(|(policy, guests)| (policy.clone(), of(guests))).collect();
                prop_assert_eq!(counts, up, "an administrator would not know which guests {} loses", policy.name);
            }
        }
    }
}
