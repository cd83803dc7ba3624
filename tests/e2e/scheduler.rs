//! Agreement with the running scheduler: random launcher pods, created on random clusters through the webhook, bound or
//! reported Unschedulable by kube-scheduler, and judged by `cpufit check` on the live cluster.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::{Tally, check, fitting, list};
use crate::controlplane::{ControlPlane, Part};
use crate::installed::{Installation, Replica};
use crate::random::{Random, node, pod};

/// Number of pods on each cluster.
const PODS_PER_CLUSTER: usize = 40;
const FEWEST_NODES: usize = 6;
const MOST_NODES: usize = 16;

/// Time limit for all decisions; an idle machine needs milliseconds for each pod.
const DECIDED: Duration = Duration::from_secs(60);

/// The decision of the scheduler about a pod.
#[derive(Debug)]
enum Outcome {
    Bound(String),
    Unschedulable(String),
}

#[test]
#[ignore = "needs a control plane: make scheduler-agreement, or make e2e"]
fn scheduler_agreement() {
    let number = |variable: &str, default: u64| {
        let text = std::env::var(variable).unwrap_or_default();
        if text.is_empty() {
            default
        } else {
            text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text}"))
        }
    };
    let wanted = usize::try_from(number("AGREEMENT_PODS", 200)).expect("a number of pods");
    let seed = number("AGREEMENT_SEED", 4);
    let Some(cluster) = ControlPlane::start(&[Part::Scheduler]) else { return };
    let webhook = Webhook::new(&cluster);

    let started = Instant::now();
    let mut random = Random::new(seed);
    let mut tally = Tally::new("agreement with the running kube-scheduler");
    let (mut bound, mut rounds, mut done) = (0, 0, 0);
    while done < wanted {
        let count = PODS_PER_CLUSTER.min(wanted - done);
        bound += round(&webhook, &mut random, rounds, count, &mut tally);
        done += count;
        rounds += 1;
    }
    tally.note(format!("{bound} bound, {} Unschedulable", done - bound));
    tally.note(format!("{rounds} clusters, seed {seed}, {:.0} s", started.elapsed().as_secs_f32()));
    tally.finish("the answer would be that a pod has a node, or has none, and the scheduler does otherwise");
}

/// An installed cpufit that is called for every pod.
struct Webhook<'c> {
    cluster: &'c ControlPlane,
    installation: Installation<'c>,
    replica: Replica,
}

impl<'c> Webhook<'c> {
    fn new(cluster: &'c ControlPlane) -> Self {
        let installation = Installation::new(cluster);
        let replica = installation.serve("cpufit-0", &[]);
        Self { cluster, installation, replica }
    }

    /// Creates pods; returns kubectl's output, including warnings.
    fn create(&self, pods: &Value) -> String {
        self.cluster.workplace().write("pods.json", pods.to_string());
        self.cluster.output(self.cluster.admin(), &["create", "-f", "pods.json"])
    }

    /// Returns the number of launcher pods it was called for.
    fn asked(&self) -> usize {
        let metrics = self.replica.get("/metrics");
        let of_pods = metrics.lines().filter(|line| {
            line.starts_with("cpufit_requests_total") && line.contains("validate") && line.contains(r#"kind="Pod""#)
        });
        of_pods.filter_map(|line| line.rsplit_once(' ')?.1.parse::<usize>().ok()).sum()
    }
}

/// Whether a node is judged: not if the pod selects another architecture.
fn is_judged(pod: &Value, node: &Value) -> bool {
    let wanted = &pod["spec"]["nodeSelector"]["kubernetes.io/arch"];
    let offered = &node["metadata"]["labels"]["kubernetes.io/arch"];
    wanted.is_null() || offered.is_null() || wanted == offered
}

/// Creates another cluster and its pods; returns the number of bound pods.
fn round(webhook: &Webhook<'_>, random: &mut Random, number: usize, count: usize, tally: &mut Tally) -> usize {
    let cluster = webhook.cluster;
    cluster.kubectl(&["delete", "pods", "--all", "--namespace=default", "--force", "--grace-period=0", "--wait=false"]);
    cluster.kubectl(&["delete", "nodes", "--all", "--wait=false"]);
    let size = FEWEST_NODES + random.below(MOST_NODES - FEWEST_NODES + 1);
    let names: Vec<String> = (0..size).map(|i| format!("node-{number}-{i:02}")).collect();
    let nodes = list(names.iter().map(|name| node(random, name)));
    cluster.kubectl_with(&["create", "-f", "-"], &nodes);
    await_scheduler(cluster, names.last().expect("a node"));

    let pods: Vec<Value> =
        (0..count).map(|i| pod(random, &format!("virt-launcher-g{number}-{i:02}"), &names)).collect();
    // The nodes of this round, and none of the earlier ones.
    webhook.replica.until_known(names.len(), 0);
    let asked_before = webhook.asked();
    let output = webhook.create(&list(pods));
    let outcomes = outcomes(cluster, count, names.len());
    assert_eq!(webhook.asked() - asked_before, count, "the API server did not ask about every pod: {output}");

    let judged: Vec<Value> = launchers(cluster).into_iter().map(unbound).collect();
    let expected: Vec<&Value> = judged.iter().map(|pod| &pod["metadata"]["name"]).collect();
    let file = cluster.workplace().write(&format!("pods-{number}.json"), list(judged.clone()).to_string());
    let kubeconfig = webhook.installation.kubeconfig().to_str().expect("a path in UTF-8");
    let results = check(&[], &[&file], &["--kubeconfig", kubeconfig]);
    assert_eq!(results.len(), expected.len(), "check judged another number of pods than it was given");

    for (pod, result) in judged.iter().zip(&results) {
        let name = pod["metadata"]["name"].as_str().expect("a name");
        let judged =
            nodes["items"].as_array().map_or(0, |nodes| nodes.iter().filter(|node| is_judged(pod, node)).count());
        assert_eq!(result["nodes"]["judged"], json!(judged), "{name}: the snapshot has other nodes: {result}");
        let mut problems: Vec<String> = disagreement(&outcomes[name], &fitting(result)).into_iter().collect();
        // Warnings name the guest.
        let guest = name.trim_start_matches("virt-launcher-");
        let warned = output.lines().any(|line| line.contains(&format!("/{guest} cannot start")));
        let stuck = matches!(outcomes[name], Outcome::Unschedulable(_));
        if warned != stuck && result["verdict"] != "unknown" {
            problems.push(format!("the webhook's warning says otherwise: {output}"));
        }
        if !problems.is_empty() {
            problems.push(format!("the pod: {}", pod["spec"]));
        }
        tally.case(name, &problems);
    }
    outcomes.values().filter(|outcome| matches!(outcome, Outcome::Bound(_))).count()
}

fn disagreement(outcome: &Outcome, fitting: &[String]) -> Option<String> {
    match outcome {
        Outcome::Bound(node) if fitting.contains(node) => None,
        Outcome::Bound(node) => Some(format!("bound to {node}, which is not in nodes.fitting: {fitting:?}")),
        Outcome::Unschedulable(_) if fitting.is_empty() => None,
        Outcome::Unschedulable(why) => Some(format!("Unschedulable ({why}), but nodes.fitting is {fitting:?}")),
    }
}

/// Waits until the scheduler knows the newest node, and so all earlier changes of nodes.
fn await_scheduler(cluster: &ControlPlane, newest: &str) {
    let name = format!("probe-{newest}");
    let on_newest = json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [newest]}]}]);
    let required = json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": on_newest}});
    let probe = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "containers": [{"name": "probe", "image": "registry.example/probe:v1"}],
            "tolerations": [{"operator": "Exists"}],
            "affinity": {"nodeAffinity": required},
        },
    });
    cluster.kubectl_with(&["create", "-f", "-"], &probe);
    let deadline = Instant::now() + DECIDED;
    while cluster.get(&["pod", &name, "--namespace=default"])["spec"]["nodeName"] != newest {
        assert!(Instant::now() < deadline, "kube-scheduler took no notice of {newest} in {DECIDED:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn launchers(cluster: &ControlPlane) -> Vec<Value> {
    let pods = cluster.get(&["pods", "--namespace=default", "--selector=kubevirt.io=virt-launcher"]);
    pods["items"].as_array().expect("a list of pods").clone()
}

/// Returns the pod as the scheduler received it.
fn unbound(mut pod: Value) -> Value {
    pod["spec"].as_object_mut().expect("a spec").remove("nodeName");
    pod.as_object_mut().expect("a pod").remove("status");
    pod
}

/// Waits until each pod is bound, or found unschedulable on all nodes.
fn outcomes(cluster: &ControlPlane, count: usize, nodes: usize) -> BTreeMap<String, Outcome> {
    let deadline = Instant::now() + DECIDED;
    let of_all = format!("0/{nodes} nodes are available");
    loop {
        let pods = launchers(cluster);
        assert_eq!(pods.len(), count, "other launcher pods are there than were created");
        let mut open = BTreeMap::new();
        let mut outcomes = BTreeMap::new();
        for pod in pods {
            let name = pod["metadata"]["name"].as_str().expect("a name").to_owned();
            match outcome(&pod) {
                Some(Outcome::Unschedulable(why)) if !why.starts_with(&of_all) => drop(open.insert(name, pod)),
                Some(outcome) => drop(outcomes.insert(name, outcome)),
                None => drop(open.insert(name, pod)),
            }
        }
        if open.is_empty() {
            return outcomes;
        }
        assert!(Instant::now() < deadline, "kube-scheduler did not decide about these in {DECIDED:?}: {open:#?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn outcome(pod: &Value) -> Option<Outcome> {
    if let Some(node) = pod["spec"]["nodeName"].as_str() {
        return Some(Outcome::Bound(node.to_owned()));
    }
    let conditions = pod["status"]["conditions"].as_array()?;
    let scheduled = conditions.iter().find(|condition| condition["type"] == "PodScheduled")?;
    let refused = scheduled["status"] == "False" && scheduled["reason"] == "Unschedulable";
    refused.then(|| Outcome::Unschedulable(scheduled["message"].as_str().unwrap_or_default().to_owned()))
}
