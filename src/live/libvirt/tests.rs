//! Launchers that never answer: they delay the command only by the queries that run at once.

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::{Request, Response};
use kube::client::Body;
use rstest::rstest;
use tower::service_fn;

use super::*;
use crate::answers::libvirt_plan::plan;
use crate::kubevirt::cluster::{Cluster, ClusterObject};
use crate::kubevirt::wire::Vmi;
use crate::testing::Tweak as _;
use crate::testing::cluster::{cluster, launcher as pod_of, running, vmi};
use crate::testing::fleet::{cascade_lake, set};
use crate::testing::random::Random;
use crate::testing::thorough::one_in;
use crate::world::World;

const LIMIT: Duration = Duration::from_secs(10);
/// Maximum time of a query.
const QUESTION: Duration = LIMIT.saturating_add(SLACK);

/// Returns an API server whose launchers never answer, and a counter of queries.
fn silence() -> (Client, Arc<AtomicUsize>) {
    let questions = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&questions);
    let service = service_fn(move |_: Request<Body>| {
        counted.fetch_add(1, Ordering::Relaxed);
        pending::<Result<Response<Body>, Infallible>>()
    });
    (Client::new(service, "default"), questions)
}

fn launcher(name: &str) -> LauncherName {
    ("shop".to_owned(), name.to_owned())
}

fn current(launchers: &[LauncherName]) -> Vec<NodeLauncher> {
    launchers.iter().map(|pod| NodeLauncher { pod: pod.clone(), is_outdated: false }).collect()
}

fn cpus(count: usize) -> BTreeSet<GuestCpu> {
    let cpu = |number| Cpu { model: format!("EPYC-v{number}"), ..Cpu::default() };
    (0..count).map(|number| GuestCpu { cpu: cpu(number), accelerator: Accelerator::Kvm }).collect()
}

/// Regardless of the number of CPUs and launchers of a namespace: after two queries none of them is queried any more.
#[tokio::test(start_paused = true)]
async fn a_node_that_is_silent_twice_is_not_asked_again() {
    for launchers in [&["one"][..], &["one", "two"], &["one", "two", "three"]] {
        let launchers: Vec<LauncherName> = launchers.iter().map(|name| launcher(name)).collect();
        let (client, questions) = silence();
        let asker = Asker::new(&client, LIMIT, &|_, _| {});
        let began = Instant::now();
        let known = asker.node("node-b", &current(&launchers), cpus(20)).await;
        assert_eq!(
            (questions.load(Ordering::Relaxed), began.elapsed()),
            (MAX_FAILURES_IN_A_ROW, QUESTION * 2),
            "{launchers:?}"
        );
        assert!(
            known.hosts.is_empty() && known.answers.values().all(|answer| answer.value == Err(Silence::TooSlow(10)))
        );
        assert_eq!(known.silence.map(|kept| kept.value), Some(Silence::GivenUp(10)));
        // No other query is sent to this node.
        assert_eq!(asker.host("node-b", &launchers[0], Accelerator::Kvm).await, Err(Silence::GivenUp(10)));
        assert_eq!((questions.load(Ordering::Relaxed), began.elapsed()), (MAX_FAILURES_IN_A_ROW, QUESTION * 2));
        assert_eq!(
            asker.host("node-c", &launchers[0], Accelerator::Kvm).await,
            Err(Silence::TooSlow(10)),
            "of another node"
        );
    }
}

/// A single CPU: it is queried once through each launcher, at most twice.
#[tokio::test(start_paused = true)]
async fn a_failed_question_is_repeated_through_another_launcher() {
    for (launchers, times) in [(1, 1), (2, 2), (3, 2)] {
        let launchers: Vec<LauncherName> = (0..launchers).map(|number| launcher(&format!("l{number}"))).collect();
        let (client, questions) = silence();
        let asker = Asker::new(&client, LIMIT, &|_, _| {});
        asker.node("node-b", &current(&launchers), cpus(1)).await;
        assert_eq!(questions.load(Ordering::Relaxed), times, "{launchers:?}");
    }
}

/// Guests of a silent node: only the queries that run at once wait.
#[tokio::test(start_paused = true)]
async fn guests_of_a_silent_node_are_waited_for_once() {
    let (client, questions) = silence();
    let guest = |number: usize| PlannedGuest {
        guest: GuestName { namespace: "shop".to_owned(), name: format!("db-{number}"), uid: String::new() },
        launcher: launcher(&format!("virt-launcher-{number}")),
        node: "node-a".to_owned(),
        nodes: vec!["node-b".to_owned()],
    };
    let plan = Plan { guests: (0..100).map(guest).collect(), ..Plan::default() };
    let began = Instant::now();
    let facts = Asker::new(&client, LIMIT, &|_, _| {}).ask(&plan).await;
    assert_eq!((questions.load(Ordering::Relaxed), began.elapsed()), (AT_ONCE, QUESTION));
    let cpus = facts.guests.values().flat_map(BTreeMap::values).map(|guest| &guest.cpu.value);
    let count = |silence: &Silence| cpus.clone().filter(|cpu| cpu.as_ref().err() == Some(silence)).count();
    assert_eq!((count(&Silence::TooSlow(10)), count(&Silence::GivenUp(10))), (AT_ONCE, 100 - AT_ONCE));
    assert!(facts.nodes.is_empty(), "nothing is known that node-b could be asked about");
}

/// Answers of a node's launchers, by namespace and name, in the order of use; the queried launchers with the number of
/// CPUs; the number of CPUs with an answer, and why the others have none.
#[rstest]
#[case::refused_and_allowed(&["shop/forbidden", "bank/well"], 2, &["shop", "bank", "bank"], 2, None)]
#[case::allowed_and_refused(&["shop/well", "bank/forbidden"], 2, &["shop", "shop"], 2, None)]
#[case::gone_and_well_in_one_namespace(&["shop/gone", "shop/well"], 1, &["shop", "shop"], 1, None)]
#[case::without_a_shell(&["shop/bare", "shop/well"], 1, &["shop", "shop"], 1, None)]
#[case::ended_and_well(&["shop/ended", "shop/well"], 1, &["shop", "shop"], 1, None)]
#[case::ended_alone(&["shop/ended"], 2, &["shop"], 0, Some("not-running"))]
#[case::refused_everywhere(&["shop/forbidden", "bank/forbidden"], 3, &["shop", "bank"], 0, Some("forbidden"))]
#[case::refused_by_three_and_allowed_by_its_own(
    &["bank/forbidden", "lab/forbidden", "mill/forbidden", "shop/outdated-well"], 2, &["bank", "lab", "mill", "shop", "shop"], 2, None
)]
#[case::refused_beside_others_that_fail(
    &["bank/gone", "lab/forbidden", "mill/gone", "shop/well"], 1, &["bank", "lab", "mill", "shop"], 1, None
)]
#[case::three_that_fail(&["bank/gone", "lab/gone", "mill/gone", "shop/well"], 1, &["bank", "lab", "mill"], 0, Some("not-run"))]
#[case::gone_everywhere(&["shop/gone", "bank/gone"], 1, &["shop", "bank"], 0, Some("not-run"))]
// A launcher that was late once is queried again if there is no other.
// During an upgrade, a node has launchers of two releases.
#[case::old_and_new(&["shop/old", "bank/well"], 2, &["shop", "bank", "bank"], 2, None)]
#[case::old_alone(&["shop/old"], 2, &["shop"], 0, Some("no-verb"))]
#[case::broken_and_well(&["shop/broken", "bank/well"], 2, &["shop", "bank", "bank"], 2, None)]
#[case::rubbish_and_well(&["shop/rubbish", "bank/well"], 2, &["shop", "bank", "bank"], 2, None)]
#[case::endless_and_well(&["shop/endless", "bank/well"], 2, &["shop", "bank", "bank"], 2, None)]
#[case::broken_rubbish_and_well(&["shop/broken", "lab/rubbish", "bank/well"], 1, &["shop", "lab", "bank"], 1, None)]
#[case::well_and_broken(&["shop/well", "bank/broken"], 2, &["shop", "shop"], 2, None)]
#[case::broken_alone(&["shop/broken"], 2, &["shop", "shop"], 0, None)]
#[case::broken_everywhere(&["shop/broken", "bank/rubbish"], 1, &["shop", "bank"], 0, None)]
#[case::broken_and_forbidden(&["shop/broken", "bank/forbidden"], 1, &["shop", "bank"], 0, None)]
#[case::late_once_and_refused(&["shop/late", "bank/forbidden"], 3, &["shop", "bank", "shop", "shop", "shop"], 3, None)]
#[case::late_once_and_gone(&["shop/late", "bank/gone"], 1, &["shop", "bank", "shop"], 1, None)]
#[case::outdated_and_well(&["shop/outdated-refuses", "bank/well"], 2, &["shop", "bank", "bank"], 2, None)]
#[case::outdated_and_forbidden(&["shop/outdated-refuses", "bank/forbidden"], 2, &["shop", "bank", "shop"], 2, None)]
#[case::outdated_alone(&["shop/outdated-refuses"], 2, &["shop", "shop"], 2, None)]
#[case::outdated_and_broken(&["shop/outdated-refuses", "bank/broken"], 1, &["shop", "bank"], 1, None)]
#[case::outdated_and_late(&["shop/outdated-refuses", "bank/late"], 1, &["shop", "bank", "bank"], 1, None)]
#[case::current_that_refuses(&["shop/refuses", "bank/well"], 1, &["shop"], 1, None)]
#[case::hangs_and_well(&["shop/hangs", "bank/well"], 3, &["shop", "bank", "bank", "bank"], 3, None)]
#[case::none(&[], 2, &[], 0, Some("no-launcher"))]
#[tokio::test(start_paused = true)]
async fn a_node_is_asked_through_the_launcher_that_answers(
    #[case] there: &[&str],
    #[case] count: usize,
    #[case] expected: &[&str],
    #[case] answered: usize,
    #[case] silence: Option<&str>,
) {
    let asked = RefCell::new(Vec::new());
    let failed = |words: &str| CommandOutput { code: Some(1), stderr: words.to_owned(), ..CommandOutput::default() };
    let script = |pod: &PodName, command: &[String]| {
        if !command[2].contains("hypervisor-cpu-compare") {
            return Err(Silence::NoVirsh);
        }
        let is_first = !asked.borrow().contains(&pod.namespace);
        asked.borrow_mut().push(pod.namespace.clone());
        match pod.name.as_str() {
            "forbidden" => Err(Silence::Forbidden(format!("namespace {}: no", pod.namespace))),
            "gone" => Err(Silence::NotRun("container not found (\"compute\")".to_owned())),
            "ended" => Err(Silence::NotRunning("OOMKilled".to_owned())),
            "bare" => Err(Silence::NoShell),
            "endless" => Err(Silence::TooLong(1024)),
            "old" => Ok(failed("error: unknown command: 'hypervisor-cpu-compare'")),
            "outdated-refuses" | "refuses" => Ok(failed("error: internal error: Unknown CPU feature vaes")),
            "broken" => Ok(failed("error: Failed to connect socket: Connection refused")),
            "rubbish" => {
                Ok(CommandOutput { code: Some(0), stdout: "all is well".to_owned(), ..CommandOutput::default() })
            }
            "late" if is_first => Err(Silence::TooSlow(10)),
            "hangs" => Err(Silence::TooSlow(10)),
            _ => {
                let stdout =
                    "CPU described in x is identical to the CPU provided by hypervisor on the host\nexit code 0";
                Ok(CommandOutput { code: Some(0), stdout: stdout.to_owned(), stderr: String::new() })
            }
        }
    };
    let exec: Exec<'_> = Box::new(|pod, command, _| {
        let answer = script(&pod, &command);
        Box::pin(async move { answer })
    });
    let asker =
        Asker { exec, limit: LIMIT, progress: &|_, _| {}, in_vain: RefCell::default(), spent: RefCell::default() };
    let names = there.iter().filter_map(|words| words.split_once('/'));
    let launchers: Vec<NodeLauncher> = names
        .map(|(of, name)| NodeLauncher {
            pod: (of.to_owned(), name.to_owned()),
            is_outdated: name.starts_with("outdated"),
        })
        .collect();
    let known = asker.node("node-b", &launchers, cpus(count)).await;
    drop(asker);
    assert_eq!(asked.into_inner(), expected);
    let refusal = |answer: &LibvirtAnswer| match answer {
        LibvirtAnswer::Incompatible(why) => Some(why.by_outdated),
        _ => None,
    };
    let refusals: Vec<bool> = known.answers.values().filter_map(|kept| refusal(kept.value.as_ref().ok()?)).collect();
    let is_overruled = there.contains(&"bank/well") && !there.contains(&"shop/refuses");
    assert!(refusals.is_empty() || !is_overruled, "an outdated launcher's refusal decides: {known:?}");
    let is_current = there.contains(&"shop/refuses");
    assert!(refusals.iter().all(|by_outdated| *by_outdated != is_current), "it is not said who refused: {known:?}");
    assert_eq!(known.answers.values().filter(|answer| answer.value.is_ok()).count(), answered, "{known:?}");
    assert_eq!(known.silence.map(|kept| kept.value.code()), silence, "what could be asked is said not to be");
}

/// The host model is read through each launcher in turn, first through the one that answered.
#[rstest]
#[case::the_first(&["well", "other"], "superset", &["well"])]
#[case::another(&["rubbish", "well"], "superset", &["rubbish", "well"])]
#[case::after_a_hanging_one(&["hangs", "well"], "superset", &["hangs", "well"])]
#[case::nobody(&["rubbish-1", "rubbish-2"], "unreadable", &["rubbish-1", "rubbish-2"])]
#[tokio::test(start_paused = true)]
async fn a_host_model_is_read_through_another_launcher(
    #[case] there: &[&str],
    #[case] expected: &str,
    #[case] asked: &[&str],
) {
    let put = RefCell::new(Vec::new());
    let exec: Exec<'_> = Box::new(|pod, command, _| {
        let text = match (command[2].contains("domcapabilities"), pod.name.as_str()) {
            (false, _) => {
                Ok("CPU described in x is identical to the CPU provided by hypervisor on the host\nexit code 0")
            }
            (true, name) if name.starts_with("rubbish") => Ok("all is well"),
            (true, "hangs") => Err(Silence::TooSlow(10)),
            (true, _) => Ok("<domainCapabilities/>"),
        };
        if command[2].contains("domcapabilities") {
            put.borrow_mut().push(pod.name);
        }
        let output = |stdout: &str| CommandOutput { code: Some(0), stdout: stdout.to_owned(), stderr: String::new() };
        Box::pin(async move { text.map(output) })
    });
    let asker =
        Asker { exec, limit: LIMIT, progress: &|_, _| {}, in_vain: RefCell::default(), spent: RefCell::default() };
    let launchers: Vec<LauncherName> = there.iter().map(|name| launcher(name)).collect();
    let known = asker.node("node-b", &current(&launchers), cpus(1)).await;
    drop(asker);
    let host = &known.hosts.values().next().expect("it was asked").value;
    assert_eq!(host.as_ref().map_or_else(Silence::code, |_| "superset"), expected);
    assert_eq!(put.into_inner(), asked, "the usable models of the node are not known, though a launcher knows them");
}

/// Each answer is slow and in time: the node is asked for a limited time in all, and other nodes are asked on.
#[rstest]
#[case::slow(9, &[Some("identical"), Some("time-spent")])]
#[case::fast(1, &[Some("identical"), None])]
#[tokio::test(start_paused = true)]
async fn slow_answers_of_a_node_are_bounded_in_sum(#[case] seconds: u64, #[case] expected: &[Option<&str>; 2]) {
    const CPUS: usize = 60;
    let exec: Exec<'_> = Box::new(|_, command, _| {
        Box::pin(async move {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            let stdout = if command[2].contains("domcapabilities") {
                "<domainCapabilities/>"
            } else {
                "CPU described in x is identical to the CPU provided by hypervisor on the host\nexit code 0"
            };
            Ok(CommandOutput { code: Some(0), stdout: stdout.to_owned(), stderr: String::new() })
        })
    });
    let asker =
        Asker { exec, limit: LIMIT, progress: &|_, _| {}, in_vain: RefCell::default(), spent: RefCell::default() };
    for node in ["node-b", "node-c"] {
        let began = Instant::now();
        let known = asker.node(node, &current(&[launcher("one"), launcher("two")]), cpus(CPUS)).await;
        assert!(
            began.elapsed() <= LIMIT * (LIMITS_OF_A_NODE + 1),
            "{node} delays the command by {:?}",
            began.elapsed()
        );
        let answered = known.answers.values().filter(|answer| answer.value.is_ok()).count();
        let said = known.answers.values().next().and_then(|answer| Some(answer.value.as_ref().ok()?.as_str()));
        assert_eq!([said, known.silence.map(|kept| kept.value.code())], *expected, "{node}");
        assert_eq!(answered == CPUS, expected[1].is_none(), "{node}: {answered} answers");
    }
}

/// Only the last consecutive failures count.
#[test]
fn an_answer_resets_the_count_of_failures_in_a_row() {
    let slow = || Err::<(), _>(Silence::TooSlow(10));
    let refused = || Err::<(), _>(Silence::Forbidden("namespace shop: no".to_owned()));
    let broken = || Err::<(), _>(Silence::NotRun("the pod is gone".to_owned()));
    let rows = [
        (vec![slow()], None),
        (vec![slow(), slow()], Some("given-up")),
        (vec![slow(), Ok(()), slow()], None),
        (vec![slow(), broken(), slow()], Some("given-up")),
        (vec![refused()], None),
        (vec![refused(), refused()], Some("forbidden")),
        (vec![refused(), Ok(()), refused()], None),
        (vec![broken(), broken(), broken()], None),
    ];
    // A tenant whose launchers hang must not keep those of others from answering.
    let mut in_vain = InVain::default();
    for (namespace, others) in [("a", None), ("b", None), ("c", None), ("d", Some("given-up"))] {
        for _ in 0..20 {
            in_vain.learn("node-b", namespace, &slow());
        }
        assert_eq!(in_vain.reason("node-b", namespace, 10).map(|silence| silence.code()), Some("given-up"));
        assert_eq!(in_vain.reason("node-b", "bank", 10).map(|silence| silence.code()), others, "after {namespace}");
    }
    for (answers, expected) in rows {
        let mut in_vain = InVain::default();
        for answer in &answers {
            in_vain.learn("node-b", "shop", answer);
        }
        let reason = |node, namespace| in_vain.reason(node, namespace, 10).map(|silence| silence.code());
        assert_eq!(reason("node-b", "shop"), expected, "{answers:?}");
        assert_eq!(reason("node-c", "bank"), None, "{answers:?}: of another node and namespace");
    }
}

/// The pools of nodes, and of guests: a label of both.
const POOLS: [&str; 3] = ["pool.example.com/a", "pool.example.com/b", "pool.example.com/c"];
/// The named models of the guests' CPUs.
const MODELS: [&str; 3] = ["Cascadelake-Server", "Nehalem", "EPYC"];

/// Returns nodes and running guests of several pools and namespaces; nodes and guests may be of more than one pool.
fn pools(random: &mut Random) -> Cluster {
    let mut pools = |many: usize| POOLS.iter().filter(|_| random.percent(many)).copied().collect::<Vec<_>>();
    let nodes: Vec<_> = (0..8).map(|number| (format!("node-{number}"), pools(60))).collect();
    let guests: Vec<_> = (0..9).map(|number| (format!("guest-{number}"), pools(40))).collect();
    let objects: Vec<ClusterObject> = guests
        .iter()
        .flat_map(|(name, pools)| {
            let node = format!("node-{}", random.below(6));
            let selector: serde_json::Map<_, _> = pools.iter().map(|key| ((*key).to_owned(), "true".into())).collect();
            let guest = running(name, &node, "Cascadelake-Server").tweak(|guest| {
                guest["metadata"]["namespace"] = random.one(&["shop", "bank", "farm"]).into();
                guest["spec"]["nodeSelector"] = selector.into();
            });
            [pod_of(&guest, pools.iter().map(|key| (*key).to_owned())), vmi(guest)]
        })
        .collect();
    let nodes = nodes
        .iter()
        .map(|(name, pools)| cascade_lake(name).tweak(|node| pools.iter().for_each(|key| set(node, key, "true"))));
    cluster("1.9.0", nodes.collect(), objects)
}

/// Answers a question as libvirt does: guests have one of three CPUs.
fn answer_of(pod: &PodName, command: &[String]) -> CommandOutput {
    let guest: usize = pod.name.bytes().filter(u8::is_ascii_digit).map(|digit| usize::from(digit - b'0')).sum();
    let cpu = format!("<cpu mode='custom' match='exact'><model>{}</model></cpu>", MODELS[guest % MODELS.len()]);
    let stdout = match &command[2] {
        script if script.contains("dumpxml") => format!("<domain type='kvm'>{cpu}</domain>"),
        script if script.contains("hypervisor-cpu-compare") => {
            "CPU described in x is identical to the CPU provided by hypervisor on the host".to_owned()
        }
        script if script.contains("domcapabilities") => "<domainCapabilities/>".to_owned(),
        _ => cpu,
    };
    CommandOutput { code: Some(0), stdout, stderr: String::new() }
}

/// Guests of several pools, on shared nodes: each node is asked about each CPU once, through any launcher, and no node
/// of a guest's pool is left out.
#[tokio::test(start_paused = true)]
async fn nodes_of_several_pools_are_asked_once_each_and_none_is_left_out() {
    let mut seen = BTreeMap::<&str, usize>::new();
    for seed in (0..200).step_by(one_in()) {
        let cluster = pools(&mut Random::new(seed));
        let world = World { cluster, ..World::default() };
        let cluster = &world.cluster;
        let guests: Vec<Vmi> = cluster.vmis().cloned().collect();
        // A guest may be given twice: by its VM and by its VMI.
        let plan = plan(&world, guests.iter().chain(&guests));
        let questions = RefCell::new(Vec::new());
        let exec: Exec<'_> = Box::new(|pod, command, _| {
            let node = cluster.launcher(&pod.namespace, &pod.name).expect("a launcher").node.clone();
            let answer = answer_of(&pod, &command);
            questions.borrow_mut().push((node, command));
            Box::pin(async move { Ok(answer) })
        });
        let asker =
            Asker { exec, limit: LIMIT, progress: &|_, _| {}, in_vain: RefCell::default(), spent: RefCell::default() };
        let facts = asker.ask(&plan).await;
        let models: BTreeSet<String> = ["Westmere", "Penryn"].map(str::to_owned).into();
        let of = |guest: &PlannedGuest| facts.cpu(&guest.guest.key(), &guest.guest.uid).cloned();
        let wanted: Vec<_> = plan.guests.iter().filter_map(|guest| Some((guest, of(guest)?, models.clone()))).collect();
        let losses = asker.losses(&wanted).await;
        drop(asker);
        assert!(losses.iter().all(|lost| lost.len() == models.len()), "{seed}: {losses:?}");

        let questions = questions.into_inner();
        let distinct: BTreeSet<_> = questions.iter().collect();
        assert_eq!(distinct.len(), questions.len(), "{seed}: a question is put twice to one node: {questions:#?}");
        assert_eq!(plan.guests.len(), guests.len(), "{seed}: a guest is left out, or asked twice");
        for guest in &guests {
            let meta = &guest.metadata;
            let answers = facts.of(&meta.namespace, &meta.name, meta.start(), &cluster.fleet).expect("it was asked");
            let own = &guest.status.node_name;
            for node in cluster.fleet.in_name_order() {
                let name = cluster.fleet.name(node);
                let is_in_pool = guest.spec.node_selector.keys().all(|key| cluster.fleet.label(node, key).is_some());
                let is_asked = is_in_pool && name != own;
                let has_launcher = cluster.launchers().any(|pod| pod.node == name);
                let expected = is_asked.then_some(if has_launcher { "identical" } else { "no-launcher" });
                let known = answers
                    .nodes
                    .get(name)
                    .map(|known| known.as_ref().map_or_else(Silence::code, LibvirtAnswer::as_str));
                // Another guest with this CPU may have been asked about there.
                assert!(
                    known == expected || !is_asked,
                    "{seed}: {name} about {}/{}: {known:?}",
                    meta.namespace,
                    meta.name
                );
                *seen.entry(expected.unwrap_or("left out")).or_default() += 1;
            }
        }
        let of_pools = |name: &String| plan.guests.iter().any(|guest| guest.nodes.contains(name));
        assert!(plan.launchers.keys().all(of_pools), "{seed}: a node of no guest's pool is asked");
    }
    assert!(
        ["identical", "no-launcher", "left out"].iter().all(|what| seen.get(what) > Some(&50)),
        "a kind of node is hardly tried: {seen:?}"
    );
}
