//! Active migrations: a drain is judged by where they end, and lists the guests that leave by them.

use super::promises::Random;
use super::*;
use crate::fit::label;
use crate::kubevirt::cluster::Launcher;

/// A guest, and the target of its migration.
#[derive(Clone, Debug)]
struct Traveller {
    guest: Value,
    /// The node of its target pod.
    to: Option<String>,
}

impl Traveller {
    fn name(&self) -> &str {
        self.guest["metadata"]["name"].as_str().expect("a name")
    }

    fn from(&self) -> &str {
        self.guest["status"]["nodeName"].as_str().expect("a node")
    }

    fn landed(&self) -> Value {
        let to = self.to.clone().unwrap_or_else(|| self.from().to_owned());
        self.guest.clone().tweak(|guest| guest["status"]["nodeName"] = json!(to))
    }

    fn pod(&self, node: &str, created: &str) -> ClusterObject {
        match launcher(&self.guest, [feature("fpu")]) {
            ClusterObject::Launcher(pod) => ClusterObject::Launcher(Launcher {
                name: format!("{}-{node}", pod.name),
                node: node.to_owned(),
                created: created.to_owned(),
                ..pod
            }),
            other => other,
        }
    }
}

fn migration(guest: &str, phase: &str) -> ClusterObject {
    ClusterObject::Migration(Box::new(read(json!({
        "metadata": {"namespace": "shop", "name": format!("kubevirt-evacuation-{guest}")},
        "spec": {"vmiName": guest}, "status": {"phase": phase}}))))
}

const EARLIER: &str = "2026-01-01T00:00:00Z";
const LATER: &str = "2026-01-01T00:05:00Z";

/// Returns random guests on five nodes, with the cores of each node.
fn fleet(random: &mut Random) -> (Vec<Traveller>, Vec<(&'static str, String)>) {
    const NODES: [&str; 5] = ["node-a", "node-b", "node-c", "node-d", "node-e"];
    let guests = (0..=random.below(5)).map(|at| {
        let name = format!("guest-{at}");
        let from = NODES[random.below(5)];
        let model = [SKY, "Cascadelake-Server-noTSX", "Icelake-Server-noTSX", "host-model"][random.below(4)];
        let mut guest = if random.percent(30) {
            apart(&name, from, model, "kubernetes.io/hostname")
        } else {
            live(running(&name, from, model))
        };
        if random.percent(15) {
            guest["spec"]["evictionStrategy"] = json!("None");
        }
        let to = random.percent(50).then(|| NODES[random.below(5)].to_owned()).filter(|to| to != from);
        Traveller { guest, to }
    });
    let guests = guests.collect();
    (guests, NODES.map(|node| (node, (4 + random.below(6)).to_string())).into())
}

fn at(guests: &[Traveller], cores: &[(&'static str, String)], landed: bool) -> World {
    let mut objects = Vec::new();
    let mut pods = Vec::new();
    for guest in guests {
        let to = guest.to.as_deref();
        if landed {
            objects.extend([vmi(guest.landed()), guest.pod(to.unwrap_or(guest.from()), LATER)]);
            pods.push((to.unwrap_or(guest.from()), Some(guest.name()), "2"));
        } else {
            objects.extend([vmi(guest.guest.clone()), guest.pod(guest.from(), EARLIER)]);
            pods.push((guest.from(), Some(guest.name()), "2"));
            objects.extend(to.map(|to| guest.pod(to, LATER)));
            objects.extend(to.map(|_| migration(guest.name(), "Running")));
            pods.extend(to.map(|to| (to, Some(guest.name()), "2")));
        }
    }
    let cores: Vec<(&str, &str)> = cores.iter().map(|(node, cores)| (*node, cores.as_str())).collect();
    with_room(world(intel(), objects), &cores, &pods)
}

#[test]
fn a_drain_is_judged_by_where_migrations_under_way_end() {
    let mut random = Random(41);
    let (mut come, mut leave, mut down, mut stuck) = (0, 0, 0, 0);
    for _ in (0..400).step_by(one_in()) {
        let (guests, cores) = fleet(&mut random);
        let (now, then) = (at(&guests, &cores, false), at(&guests, &cores, true));
        for node in ["node-a", "node-b", "node-c", "node-d", "node-e"] {
            let (found, expected) = (drained(&now, node), drained(&then, node));
            let (leaving, here): (Vec<&GuestRow>, Vec<&GuestRow>) =
                found.nodes[0].guests.iter().partition(|guest| guest.migrates_to.is_some());
            let judged = |guest: &GuestRow| {
                let GuestRow { guest, state, targets, no_room, after, rivals, .. } = guest.clone();
                (guest, state, targets, no_room, after, rivals)
            };
            let here_then: Vec<_> = expected.nodes[0].guests.iter().map(judged).collect();
            assert_eq!(here.iter().map(|guest| judged(guest)).collect::<Vec<_>>(), here_then, "{node}: {guests:?}");
            assert_eq!(found.least_to_do, expected.least_to_do, "{node}: {guests:?}");
            for guest in guests.iter().filter(|guest| guest.from() == node && guest.to.is_some()) {
                let row = leaving.iter().find(|row| row.guest == format!("shop/{}", guest.name())).expect("a row");
                assert_eq!(row.migrates_to, guest.to);
                let is_ended = guest.guest["spec"]["evictionStrategy"] == json!("None");
                assert_eq!(row.state, if is_ended { State::ShutDown } else { State::CanLeave }, "{row:?}");
                let to = guest.to.as_deref().expect("it migrates");
                assert!(row.why.contains(&format!("its migration to {to} is under way")), "{}", row.why);
                assert_eq!(row.targets.names(), if is_ended { vec![] } else { vec![to] });
                (leave, down) = (leave + 1, down + usize::from(is_ended));
            }
            let from_here = guests.iter().filter(|guest| guest.from() == node && guest.to.is_some()).count();
            assert_eq!(leaving.len(), from_here, "{found:?}");
            for row in here {
                let guest = guests.iter().find(|guest| row.guest.ends_with(guest.name())).expect("a guest");
                let comes_from = guest.to.is_some().then(|| guest.from().to_owned());
                assert_eq!(row.comes_from, comes_from, "{row:?}");
                assert_eq!(row.why.contains(" is under way"), comes_from.is_some(), "{}", row.why);
                (come, stuck) =
                    (come + usize::from(comes_from.is_some()), stuck + usize::from(row.state == State::Stuck));
            }
        }
    }
    assert!(
        come.min(leave) >= at_least(200) && down.min(stuck) >= at_least(30),
        "too few show it: {come}, {leave}, {down}, {stuck}"
    );
}

/// A guest has a second pod, but no active migration.
#[rstest]
#[case::the_one_it_left("2025-12-31T00:00:00Z", None, json!({"completed": true, "targetNode": "node-a"}))]
#[case::the_one_it_left_without_a_date(EARLIER, None, json!({"completed": true, "targetNode": "node-a"}))]
#[case::its_migration_failed(LATER, Some("Failed"), json!({"failed": true, "targetNode": "node-b"}))]
#[case::its_migration_failed_and_is_not_known(LATER, None, json!({"failed": true, "targetNode": "node-b"}))]
fn a_pod_of_an_ended_migration_moves_no_guest(
    #[case] created: &str,
    #[case] phase: Option<&str>,
    #[case] state: Value,
) {
    let guest = live(running("db", "node-a", SKY)).tweak(|guest| guest["status"]["migrationState"] = state);
    let guest = Traveller { guest, to: None };
    let pods = [guest.pod("node-a", EARLIER), guest.pod("node-b", created)];
    let migration = phase.map(|phase| migration("db", phase));
    let known = world(intel(), [vmi(guest.guest)].into_iter().chain(pods).chain(migration));
    assert!(drained(&known, "node-b").nodes[0].guests.is_empty(), "a guest would be moved that never comes");
    let found = drained(&known, "node-a");
    assert_eq!((found.nodes[0].guests.len(), &found.nodes[0].guests[0].migrates_to), (1, &None));
}

/// The status describes the previous migration until the target of the active one is ready.
#[rstest]
#[case::that_brought_it_here(json!({"completed": true, "targetNode": "node-a", "sourceNode": "node-c"}))]
#[case::that_failed_elsewhere(json!({"completed": true, "failed": true, "targetNode": "node-e"}))]
#[case::none(Value::Null)]
fn an_ended_migration_does_not_hide_an_active_one(#[case] state: Value) {
    let guest = live(running("db", "node-a", SKY)).tweak(|guest| guest["status"]["migrationState"] = state);
    let guest = Traveller { guest, to: None };
    let pods = [guest.pod("node-a", EARLIER), guest.pod("node-b", LATER)];
    let known = world(intel(), [vmi(guest.guest)].into_iter().chain(pods));
    let found = drained(&known, "node-a");
    assert_eq!(found.nodes[0].guests[0].migrates_to.as_deref(), Some("node-b"), "{found:?}");
    assert_eq!(drained(&known, "node-b").nodes[0].guests[0].comes_from.as_deref(), Some("node-a"));
}

/// A guest is starting: its pod has a node, its status names none yet.
#[test]
fn a_guest_that_is_being_started_is_on_the_node_of_its_pod() {
    let guest = live(running("db", "node-a", SKY)).tweak(|guest| {
        guest["status"]["phase"] = json!("Scheduling");
        guest["status"]["nodeName"] = json!("");
        guest["status"]["conditions"] = json!([{"type": "Ready", "status": "False"}]);
    });
    let guest = Traveller { guest, to: None };
    let pod = guest.pod("node-a", EARLIER);
    let found = drained(&world(intel(), [vmi(guest.guest), pod]), "node-a");
    let row = &found.nodes[0].guests[0];
    assert_eq!(
        (row.state, &row.comes_from, row.why.contains("does not run yet")),
        (State::Stays, &None, true),
        "{row:?}"
    );
}

#[test]
fn a_guests_own_target_pod_takes_no_room_from_it() {
    let guest = Traveller { guest: live(running("db", "node-a", SKY)), to: Some("node-b".to_owned()) };
    let cores = [("node-a", "3".to_owned()), ("node-b", "3".to_owned())];
    let now = at(std::slice::from_ref(&guest), &cores, false);
    let db = now.cluster.vmi("shop", "db").expect("it runs");
    let need = now.cluster.room.need(db).expect("its launcher is known");
    let room = now.cluster.room.for_pod("node-b", need, Some(db));
    assert_eq!(room, crate::kubevirt::room::NodeRoomFor::Enough, "it would be stuck for want of its own room");
    let found = drained(&now, "node-a");
    assert_eq!(found.nodes[0].guests[0].state, State::CanLeave, "{found:?}");
    assert!(!found.has_failed());
}

/// KubeVirt creates no second migration of a guest while one is unfinished: the row names it, with the command that
/// cancels it if it goes nowhere, and a change of the guest begins with that command.
#[rstest]
#[case::no_node_takes_its_pod(Some("nowhere"), "Scheduling", Some(true))]
#[case::a_node_takes_its_pod(Some("node-c"), "Scheduling", Some(false))]
#[case::it_has_no_pod_yet(None, "Pending", Some(false))]
#[case::it_has_ended(Some("nowhere"), "Failed", None)]
fn an_unfinished_migration_is_named(#[case] asks: Option<&str>, #[case] phase: &str, #[case] expected: Option<bool>) {
    let guest = live(running("db", "node-a", SKY)).tweak(|guest| {
        guest["spec"]["nodeSelector"] = json!({"zone": "west"});
    });
    let own = vm("db", SKY).tweak(|vm| vm["spec"]["template"]["spec"]["nodeSelector"] = json!({"zone": "west"}));
    let ClusterObject::Launcher(mut waits) = launcher(&guest, []) else { unreachable!("it is a launcher") };
    (waits.name, waits.node, waits.created) = ("target".into(), String::new(), LATER.into());
    let mut placement = (*waits.placement).clone();
    let wanted = asks.unwrap_or_default().to_owned();
    placement.selector = [(label::HOSTNAME.into(), wanted.into())].into_iter().collect();
    waits.placement = placement.into();
    let pod = asks.map(|_| ClusterObject::Launcher(waits));
    for is_stuck in [false, true] {
        let nodes = intel().tweak(|nodes| {
            for node in nodes {
                let zone = if is_stuck && node.name != "node-a" { "east" } else { "west" };
                node.labels.insert("zone".to_owned(), zone.to_owned());
                node.labels.insert(label::HOSTNAME.to_owned(), node.name.clone());
            }
        });
        let objects = [
            vmi(guest.clone()),
            ClusterObject::VirtualMachine(Box::new(read(own.clone()))),
            launcher(&guest, []),
            migration("db", phase),
        ];
        let known = world(nodes, objects.into_iter().chain(pod.clone()));
        let found = drained(&known, "node-a");
        let row = &found.nodes[0].guests[0];
        assert_eq!(row.state, if is_stuck { State::Stuck } else { State::CanLeave }, "{row:?}");
        let name = expected.map(|_| "kubevirt-evacuation-db");
        assert_eq!(row.unfinished_migration.as_deref(), name, "it is said to leave at once: {row:?}");
        let is_said = row.why.contains("its migration kubevirt-evacuation-db is unfinished");
        let is_cancelled = row.why.contains("(virtctl migrate-cancel db -n shop)");
        assert_eq!((is_said, is_cancelled), (expected.is_some(), expected == Some(true)), "{}", row.why);
        if is_stuck {
            let commands = commands(&found).expect("a change");
            let cancels = commands.iter().any(|command| command.starts_with("virtctl migrate-cancel db -n shop"));
            assert_eq!(
                cancels,
                expected.is_some(),
                "KubeVirt changes no selector of a guest that migrates: {commands:?}"
            );
            let guest = known.cluster.vmi("shop", "db").expect("it runs");
            let prepared = crate::kubevirt::subject::of_running(guest, &known.cluster).expect("it runs");
            let verdict = prepared.judge(&known.cluster, crate::fit::judgement::Depth::Full);
            let mut remedies = verdict.findings.iter().flat_map(|finding| &finding.remedies);
            let change =
                remedies.find(|remedy| remedy.action.id().as_str() == "change-node-selector").expect("a remedy");
            assert_eq!(change.action.commands(&prepared.subject).commands(), commands, "explain has other commands");
        }
    }
}
