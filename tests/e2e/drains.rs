//! The predictions of `cpufit drain` match `kubectl drain` on random fleets. kwok acts as the kubelets, kube-scheduler
//! places the targets, the API server enforces the budgets; KubeVirt's interceptor and its migrations are simulated
//! ([`Evacuation`]).

use std::collections::BTreeMap;
use std::process::Child;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kube::Client;
use kube::ResourceExt as _;
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::runtime::Handle;

use crate::common::{Tally, cpufit, head};
use crate::controlplane::{ControlPlane, Part};
use crate::evacuation::{Evacuation, Fault, launcher, resource, start_selector};
use crate::kubevirt::{VirtApi, client};
use crate::random::Random;
use crate::running::running;
use crate::servers::runtime;
use crate::world;

/// Number of fleets, each with its own namespace and nodes.
const FLEETS: usize = 108;
/// Number of fleets drained at a time: kubectl mostly waits.
const AT_A_TIME: usize = 12;
/// Number of objects created at a time.
const WRITERS: usize = 16;
/// Time limit of a drain that ends; kubectl retries after 5 seconds.
const ENDS: Duration = Duration::from_secs(40);

const CASCADE_LAKE: [&str; 6] = ["avx", "avx512f", "avx512vnni", "fpu", "hle", "vme"];
const SKYLAKE: [&str; 4] = ["avx", "avx512f", "fpu", "vme"];
const ROME: [&str; 4] = ["avx", "clzero", "fpu", "vme"];
/// A kind of hardware: vendor, host model, its features, the usable models.
type Hardware = (&'static str, &'static str, &'static [&'static str], &'static [&'static str]);
const HARDWARE: [Hardware; 5] = [
    ("Intel", "Cascadelake-Server", &CASCADE_LAKE, &["Cascadelake-Server", "Skylake-Server-noTSX-IBRS"]),
    ("Intel", "Cascadelake-Server", &CASCADE_LAKE, &["Cascadelake-Server", "Skylake-Server-noTSX-IBRS"]),
    ("Intel", "Cascadelake-Server", &CASCADE_LAKE, &["Cascadelake-Server", "Skylake-Server-noTSX-IBRS"]),
    ("Intel", "Skylake-Server-noTSX-IBRS", &SKYLAKE, &["Skylake-Server-noTSX-IBRS"]),
    ("AMD", "EPYC-Rome", &ROME, &["EPYC-Rome"]),
];
const KNOWN: [&str; 3] = ["Cascadelake-Server", "Skylake-Server-noTSX-IBRS", "EPYC-Rome"];
const LOW: &str = "test-low";

/// A fleet: its objects and the drained node.
struct Fleet {
    namespace: String,
    drained: String,
    nodes: Vec<Value>,
    guests: Vec<Guest>,
    fillers: Vec<Value>,
    budget: Option<Value>,
}

struct Guest {
    vmi: Value,
    /// Whether its launcher inherited the CPU of a Cascade Lake node.
    has_migrated: bool,
}

impl Fleet {
    fn random(random: &mut Random, number: usize) -> Self {
        let namespace = format!("fleet-{number:03}");
        let names: Vec<String> = (0..3 + random.below(4)).map(|at| format!("f{number:03}-{at}")).collect();
        let nodes = names.iter().map(|name| node(random, &namespace, name)).collect();
        let mut guests = Vec::new();
        for (at, name) in names.iter().enumerate() {
            let count = if at == 0 { 1 + random.below(6) } else { random.below(3) };
            for _ in 0..count {
                let title = format!("g{}", guests.len());
                guests.push(guest(random, &namespace, &title, name));
            }
        }
        let mut fillers = Vec::new();
        for name in &names {
            if random.percent(35) {
                let (cores, is_low) = (1 + random.below(5), random.percent(30));
                fillers.push(filler(&namespace, &format!("filler-{name}"), name, cores, is_low));
            }
        }
        let budget = random.percent(50).then(|| budget(&namespace, random.one(&[0, 0, 1, 1, 20])));
        Self { drained: names[0].clone(), namespace, nodes, guests, fillers, budget }
    }

    /// Returns a description for finding the cause of a failure.
    fn summary(&self) -> String {
        let node = |node: &Value| {
            let (name, spec, labels) = (&node["metadata"]["name"], &node["spec"], &node["metadata"]["labels"]);
            let zone = &labels["topology.kubernetes.io/zone"];
            format!("{name} {zone} {} {spec} {labels}", node["status"]["allocatable"])
        };
        let guest = |guest: &Guest| {
            format!(
                "{} migrated: {} {}",
                guest.vmi["metadata"],
                guest.has_migrated,
                json!([guest.vmi["spec"], guest.vmi["status"]])
            )
        };
        let all = self.nodes.iter().map(node).chain(self.guests.iter().map(guest));
        let rest = self.fillers.iter().chain(&self.budget).map(|filler| filler["spec"].to_string());
        all.chain(rest).collect::<Vec<_>>().join("\n      ")
    }
}

fn node(random: &mut Random, fleet: &str, name: &str) -> Value {
    let (vendor, host_model, features, models) = random.one(&HARDWARE);
    let has_drifted = random.percent(25);
    let mut labels = json!({
        "fleet": fleet, "kubernetes.io/hostname": name, "kubernetes.io/arch": "amd64",
        "topology.kubernetes.io/zone": format!("{fleet}-{}", random.below(3)),
        "kubevirt.io/schedulable": if random.percent(94) { "true" } else { "false" },
        format!("cpu-vendor.node.kubevirt.io/{vendor}"): "true",
        format!("host-model-cpu.node.kubevirt.io/{host_model}"): "true",
        "machine-type.node.kubevirt.io/q35": "true",
    });
    for feature in features.iter().filter(|feature| !(has_drifted && matches!(**feature, "fpu" | "vme"))) {
        labels[format!("cpu-feature.node.kubevirt.io/{feature}")] = json!("true");
        labels[format!("host-model-required-features.node.kubevirt.io/{feature}")] = json!("true");
    }
    for model in models {
        labels[format!("cpu-model.node.kubevirt.io/{model}")] = json!("true");
    }
    for model in KNOWN {
        labels[format!("cpu-model-migration.node.kubevirt.io/{model}")] = json!("true");
    }
    let taint = json!({"key": "example.com/gpu", "value": "yes", "effect": "NoSchedule"});
    let taints: Vec<Value> = random.percent(12).then_some(taint).into_iter().collect();
    let room = json!({
        "cpu": random.one(&["6", "8", "16", "32"]), "memory": "64Gi", "pods": random.one(&["3", "110", "110", "110"]),
    });
    let mut out = crate::node::node(name, &labels);
    out["spec"] = json!({"unschedulable": random.percent(15), "taints": taints});
    out["status"] = json!({"allocatable": room, "capacity": room});
    out
}

fn guest(random: &mut Random, namespace: &str, name: &str, node: &str) -> Guest {
    let model = random.one(&[
        "host-model",
        "host-model",
        "host-model",
        "Skylake-Server-noTSX-IBRS",
        "Skylake-Server-noTSX-IBRS",
        "Cascadelake-Server",
        "EPYC-Rome",
        "host-passthrough",
    ]);
    let strategy = random.below(100);
    let strategy = match strategy {
        0..70 => json!("LiveMigrate"),
        70..78 => json!("LiveMigrateIfPossible"),
        78..86 => Value::Null,
        86..92 => json!("None"),
        _ => json!("External"),
    };
    let is_migratable = random.percent(88);
    let key = random.one(&["kubernetes.io/hostname", "kubernetes.io/hostname", "topology.kubernetes.io/zone"]);
    let apart = json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"labelSelector": {"matchLabels": {"app": "db"}}, "topologyKey": key}]}});
    let is_apart = random.percent(25);
    let tolerations = json!([{"key": "example.com/gpu", "operator": "Exists"}]);
    let condition = json!({
        "type": "LiveMigratable", "status": if is_migratable { "True" } else { "False" },
        "reason": if is_migratable { "" } else { "DisksNotLiveMigratable" },
        "message": if is_migratable { "" } else { "cannot migrate VMI: PVC data is not shared" },
    });
    let mut vmi = running(name, node, model);
    let metadata = vmi["metadata"].as_object_mut().expect("metadata");
    metadata.remove("uid");
    metadata.insert("namespace".to_owned(), json!(namespace));
    metadata.insert("labels".to_owned(), json!({"app": if is_apart || random.percent(25) { "db" } else { "web" }}));
    metadata.insert("annotations".to_owned(), json!({"test.cpufit.io/cpu": random.one(&["1", "1", "2", "3"])}));
    vmi["spec"]["evictionStrategy"] = strategy;
    vmi["spec"]["nodeSelector"] = json!({"fleet": namespace});
    vmi["spec"]["affinity"] = if is_apart { apart } else { json!({}) };
    vmi["spec"]["tolerations"] = if random.percent(25) { tolerations } else { json!([]) };
    vmi["spec"]["domain"]["cpu"] = json!({"model": model, "cores": 1, "sockets": 1, "threads": 1});
    vmi["status"]["conditions"] = json!([condition]);
    Guest { vmi, has_migrated: random.percent(50) }
}

fn filler(namespace: &str, name: &str, node: &str, cores: usize, is_low: bool) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": namespace, "name": name},
        "spec": {
            "nodeName": node, "terminationGracePeriodSeconds": 1, "tolerations": [{"operator": "Exists"}],
            "priorityClassName": is_low.then_some(LOW),
            "containers": [{
                "name": "app", "image": "registry.example/app:v1", "resources": {"requests": {"cpu": cores.to_string()}},
            }],
        },
    })
}

fn budget(namespace: &str, allowed: usize) -> Value {
    json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"namespace": namespace, "name": "db"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "db"}}},
        "status": {
            "observedGeneration": 1, "disruptionsAllowed": allowed, "currentHealthy": 0, "desiredHealthy": 1,
            "expectedPods": 1,
        },
    })
}

/// A writer of objects to the API server.
struct Writer {
    client: Client,
}

impl Writer {
    async fn create(&self, object: &Value) -> Result<DynamicObject, Fault> {
        let (group, _) = object["apiVersion"].as_str().unwrap_or_default().split_once('/').unwrap_or_default();
        let resource = resource(group, object["kind"].as_str().unwrap_or_default());
        let api: Api<DynamicObject> = match object["metadata"]["namespace"].as_str() {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        };
        let created = api.create(&PostParams::default(), &serde_json::from_value(object.clone())?).await?;
        if object["kind"] == "PodDisruptionBudget" {
            // No disruption controller runs here.
            let status = json!({"status": object["status"]});
            api.patch_status(&created.name_any(), &PatchParams::default(), &Patch::Merge(&status)).await?;
        }
        Ok(created)
    }

    async fn fleet(&self, fleet: &Fleet) -> Result<(), Fault> {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": fleet.namespace}});
        self.create(&namespace).await?;
        for object in fleet.nodes.iter().chain(&fleet.fillers).chain(&fleet.budget) {
            self.create(object).await?;
        }
        for guest in &fleet.guests {
            let vmi = serde_json::to_value(self.create(&guest.vmi).await?)?;
            let mut selector = start_selector(&vmi);
            if guest.has_migrated && vmi["spec"]["domain"]["cpu"]["model"] == "host-model" {
                let features = CASCADE_LAKE.iter().map(|name| format!("cpu-feature.node.kubevirt.io/{name}"));
                let model = "cpu-model-migration.node.kubevirt.io/Cascadelake-Server".to_owned();
                selector.extend(features.chain([model]).map(|key| (key, "true".to_owned())));
            }
            let mut pod = launcher(&vmi, &selector);
            pod["spec"]["nodeName"] = vmi["status"]["nodeName"].clone();
            self.create(&pod).await?;
        }
        Ok(())
    }
}

/// The state of a guest after the drain.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Is {
    Moved(String),
    Stayed,
    ShutDown,
}

/// Runs `count` jobs, a few at a time.
fn side_by_side(workers: usize, count: usize, job: impl Fn(usize) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(at) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|at| *at < count) {
                    job(at);
                }
            });
        }
    });
}

#[test]
#[ignore = "needs a control plane: make e2e"]
fn a_real_drain_ends_as_predicted() {
    let seed = std::env::var("DRAIN_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(12);
    let Some(cluster) = ControlPlane::start(&[Part::Scheduler, Part::Kwok]) else { return };
    world::install_kubevirt(&cluster);
    let kubevirt = json!({
        "apiVersion": "kubevirt.io/v1", "kind": "KubeVirt", "metadata": {"namespace": "kubevirt", "name": "kubevirt"},
        "spec": {"configuration": {}},
        "status": {"phase": "Deployed", "observedKubeVirtVersion": "v1.8.4"},
    });
    let low =
        json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": LOW}, "value": -10});
    cluster.kubectl(&["create", "namespace", "kubevirt"]);
    cluster
        .kubectl_with(&["create", "-f", "-"], &json!({"apiVersion": "v1", "kind": "List", "items": [kubevirt, low]}));
    let status = json!({"status": kubevirt["status"]}).to_string();
    cluster.kubectl(&[
        "patch",
        "kubevirt",
        "kubevirt",
        "-n",
        "kubevirt",
        "--subresource=status",
        "--type=merge",
        "-p",
        &status,
    ]);
    let virt_api = VirtApi::start(&cluster);
    virt_api.intercept_evictions();

    let started = Instant::now();
    let mut random = Random::new(seed);
    let mut fleets: Vec<Fleet> = (0..FLEETS).map(|number| Fleet::random(&mut random, number)).collect();
    if let Some(only) = std::env::var("DRAIN_ONLY").ok().filter(|only| !only.is_empty()) {
        fleets.retain(|fleet| fleet.namespace == only);
    }
    let count = fleets.len();
    let runtime = runtime();
    let handle = runtime.handle().clone();
    let writer = Writer { client: handle.block_on(client(cluster.admin())).expect("a client") };
    side_by_side(WRITERS, count, |at| {
        handle.block_on(writer.fleet(&fleets[at])).unwrap_or_else(|error| panic!("fleet {at}: {error}"));
    });
    handle.block_on(all_run(&writer.client));
    println!("{count} fleets are there after {:.0} s", started.elapsed().as_secs_f32());

    let dumps = dumps(&cluster, &fleets);
    let tally = Mutex::new(Tally::new("drains foretold"));
    let counts: Mutex<BTreeMap<String, usize>> = Mutex::default();
    side_by_side(AT_A_TIME, count, |at| {
        let fleet = &fleets[at];
        let foretold = foretell(&dumps[at], &fleet.drained);
        let drained = Drained { cluster: &cluster, fleet, handle: &handle, client: writer.client.clone() };
        let problems = drained.compare(&foretold, &mut Random::new(seed + at as u64), &counts);
        tally.lock().expect("no panic").case(&fleet.namespace, &problems);
    });
    let counts = counts.into_inner().expect("no panic");
    let mut tally = tally.into_inner().expect("no panic");
    tally.note(counts.iter().map(|(what, count)| format!("{count} {what}")).collect::<Vec<_>>().join(", "));
    tally.note(format!("seed {seed}, {:.0} s", started.elapsed().as_secs_f32()));
    tally.finish("a person drains a node on the word of cpufit, and something else happens");
    for what in ["can-leave", "one-target", "stuck", "shut-down", "stays"] {
        assert!(counts.get(what).is_some_and(|count| *count > 5), "hardly any guest is {what}: {counts:?}");
    }
}

async fn all_run(client: &Client) {
    let deadline = Instant::now() + Duration::from_secs(120);
    let pods: Api<DynamicObject> = Api::all_with(client.clone(), &resource("", "Pod"));
    loop {
        let pods = pods.list(&ListParams::default()).await.expect("pods");
        let waiting = pods.items.iter().filter(|pod| pod.data["status"]["phase"] != "Running").count();
        if waiting == 0 {
            return;
        }
        assert!(Instant::now() < deadline, "{waiting} pods do not run: does kwok?");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

/// Writes the output of the documented command, split by fleet.
fn dumps(cluster: &ControlPlane, fleets: &[Fleet]) -> Vec<std::path::PathBuf> {
    let kinds = "nodes,pods,poddisruptionbudgets,vm,vmi,vmim,kubevirt,ns";
    let all = cluster.get(&[kinds, "--all-namespaces"]);
    let items = all["items"].as_array().expect("a List");
    let mut of_fleets: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for item in items {
        let metadata = &item["metadata"];
        let fleet = match item["kind"].as_str() {
            Some("Node") => &metadata["labels"]["fleet"],
            Some("Namespace") => &metadata["name"],
            _ => &metadata["namespace"],
        };
        of_fleets.entry(fleet.as_str().unwrap_or_default()).or_default().push(item);
    }
    let dump = |fleet: &Fleet| {
        let items = [&of_fleets["kubevirt"][..], &of_fleets[fleet.namespace.as_str()]].concat();
        let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
        cluster.workplace().write(&format!("{}.json", fleet.namespace), list.to_string())
    };
    fleets.iter().map(dump).collect()
}

fn foretell(dump: &std::path::Path, node: &str) -> Value {
    let ran = cpufit(["drain", node, "-o", "json", "--snapshot"]).args([dump]).run();
    assert!(matches!(ran.code(), 0 | 1), "drain {node}: {}", head(&ran.stderr));
    // A snapshot holds room and budgets too, without the pods that use the room.
    let taken = cpufit(["snapshot", "--snapshot"]).args([dump]).run();
    let snapshot = dump.with_extension("snapshot.yaml");
    std::fs::write(&snapshot, &taken.stdout).expect("a file");
    let again = cpufit(["drain", node, "-o", "json", "--snapshot"]).args([&snapshot]).run();
    // A snapshot holds the requests of other pods and no labels: `why` says what that leaves open.
    let not_known = "its required pod anti-affinity is judged among guests: other pods are not known";
    let judged = |text: &str| text.replace(&format!("; {not_known}"), "").replace(not_known, "");
    let (again, first) = (judged(&again.stdout), judged(&ran.stdout));
    assert_eq!(again, first, "drain {node} of {} says another thing of its snapshot", dump.display());
    serde_json::from_str(&ran.stdout).expect("JSON")
}

/// A fleet that is drained.
struct Drained<'f> {
    cluster: &'f ControlPlane,
    fleet: &'f Fleet,
    handle: &'f Handle,
    client: Client,
}

impl Drained<'_> {
    fn compare(&self, foretold: &Value, random: &mut Random, counts: &Mutex<BTreeMap<String, usize>>) -> Vec<String> {
        let rows = foretold["nodes"][0]["guests"].as_array().expect("guests");
        let names = |row: &Value, field: &str| row[field].as_array().is_some_and(|names| !names.is_empty());
        // The result for a guest that waits for one with rivals depends on the rivals too.
        let any_shares = rows.iter().any(|row| names(row, "rivals"));
        // With rivals the order of migrations decides whether all find a place, so neither end is foretold.
        let ends = match rows.iter().any(|row| row["state"] == "stuck" || row["state"] == "stays") {
            true => Some(false),
            false if any_shares => None,
            false => Some(true),
        };
        let mut problems = Vec::new();
        let actual = match self.drain(ends, random) {
            Ok((actual, None)) => actual,
            Ok((actual, Some(problem))) => {
                problems.push(problem);
                actual
            }
            Err(fault) => return vec![fault.to_string()],
        };
        let mut left_behind = 0;
        // Which of several guests use up their budget is not known; their number is.
        let shares_budget =
            |row: &Value| row["why"].as_str().is_some_and(|why| why.contains("that many are shut down"));
        let (mut ended, mut to_end) = (0, 0);
        for row in rows {
            let shares = names(row, "rivals") || (any_shares && names(row, "after"));
            let (title, state) = (row["guest"].as_str().expect("a name"), row["state"].as_str().expect("a state"));
            *counts.lock().expect("no panic").entry(state.to_owned()).or_default() += 1;
            let is = actual.get(title).cloned().unwrap_or(Is::ShutDown);
            left_behind += usize::from(is == Is::Stayed && state != "stays" && !shares_budget(row));
            if shares_budget(row) {
                (ended, to_end) = (ended + usize::from(is == Is::ShutDown), to_end + usize::from(state == "shut-down"));
                *counts.lock().expect("no panic").entry("share a budget".to_owned()).or_default() += 1;
            }
            let agrees = match (state, &is) {
                ("shut-down", Is::ShutDown) | ("stays" | "stuck", Is::Stayed) => true,
                ("shut-down", Is::Stayed) | ("stays", Is::ShutDown) => shares_budget(row),
                ("can-leave" | "one-target", Is::Moved(to)) => {
                    row["targets"].as_array().is_some_and(|targets| targets.iter().any(|target| target == to))
                }
                // Guests that compete for too few places: it is not known in advance which of them gets one.
                ("can-leave" | "one-target", Is::Stayed) | ("stuck", Is::Moved(_)) => shares,
                _ => false,
            };
            if !agrees {
                problems.push(format!("{title}: {is:?}, but foretold is {row}"));
            }
        }
        let stuck = rows.iter().filter(|row| row["state"] == "stuck").count();
        if left_behind < stuck || (left_behind > stuck && !any_shares) {
            problems.push(format!("{left_behind} are stuck, but {stuck} are foretold"));
        }
        if ended != to_end {
            problems.push(format!("{ended} that share a budget are shut down, but {to_end} are foretold"));
        }
        if !problems.is_empty() {
            problems.push(self.fleet.summary());
            problems.push(format!("{foretold}"));
            problems.push(format!("{actual:?}"));
        }
        if any_shares {
            *counts.lock().expect("no panic").entry("fleets with rivals".to_owned()).or_default() += 1;
        }
        if rows.iter().any(|row| names(row, "after")) {
            *counts.lock().expect("no panic").entry("fleets where one waits for another".to_owned()).or_default() += 1;
        }
        problems
    }

    /// Drains the node and returns the states of the guests, with a fault of kubectl if there is one. Where it is not
    /// foretold whether the drain ends, it ends exactly if no guest stays.
    fn drain(&self, ends: Option<bool>, random: &mut Random) -> Result<(BTreeMap<String, Is>, Option<String>), Fault> {
        let Fleet { namespace, drained, .. } = self.fleet;
        let log = self.cluster.workplace().path().join(format!("{drained}.log"));
        let out = std::fs::File::create(&log)?;
        let args = ["drain", drained, "--ignore-daemonsets", "--delete-emptydir-data", "--force"];
        let mut kubectl = Kubectl(self.cluster.spawn(&args, out)?);
        let said = Arc::new(log);
        let launchers: Vec<String> = self.handle.block_on(self.launchers(drained))?;
        let asked_since = Mutex::new(None);
        let all_asked = || {
            let said = std::fs::read_to_string(&*said).unwrap_or_default();
            let all = launchers.iter().all(|pod| said.contains(&format!("evicting pod {namespace}/{pod}\n")));
            let mut since = asked_since.lock().expect("no panic");
            all && since.get_or_insert_with(Instant::now).elapsed() > Duration::from_millis(1500)
        };
        let evacuation = Evacuation::new(self.client.clone(), namespace, drained);
        let work = async { tokio::time::timeout(Duration::from_secs(180), evacuation.run(random, all_asked)).await };
        self.handle.block_on(work).map_err(|_| "the evacuation does not end")??;
        let actual = self.handle.block_on(self.whereabouts(drained))?;
        let ends = ends.unwrap_or_else(|| !actual.values().any(|is| *is == Is::Stayed));
        let ended = crate::common::wait(&mut kubectl.0, if ends { ENDS } else { Duration::from_millis(100) });
        let said = || std::fs::read_to_string(&*said).unwrap_or_default();
        let problem = match ended {
            Some(status) if !status.success() => Some(format!("kubectl drain: {status}: {}", said())),
            Some(_) if !ends => Some(format!("kubectl drain has ended, but it was to wait: {}", said())),
            None if ends => Some(format!("kubectl drain waits, but it was to end: {}", said())),
            _ => None,
        };
        drop(kubectl);
        Ok((self.handle.block_on(self.whereabouts(drained))?, problem))
    }

    async fn launchers(&self, node: &str) -> Result<Vec<String>, Fault> {
        let pods: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &self.fleet.namespace, &resource("", "Pod"));
        let here = ListParams::default().fields(&format!("spec.nodeName={node}")).labels("kubevirt.io=virt-launcher");
        Ok(pods.list(&here).await?.items.iter().map(kube::ResourceExt::name_any).collect())
    }

    async fn whereabouts(&self, drained: &str) -> Result<BTreeMap<String, Is>, Fault> {
        let namespace = &self.fleet.namespace;
        let all = |group: &str, kind: &str| -> Api<DynamicObject> {
            Api::namespaced_with(self.client.clone(), namespace, &resource(group, kind))
        };
        let pods = all("", "Pod").list(&ListParams::default().labels("kubevirt.io=virt-launcher")).await?;
        let mut out = BTreeMap::new();
        for vmi in all("kubevirt.io", "VirtualMachineInstance").list(&ListParams::default()).await? {
            let uid = vmi.uid().unwrap_or_default();
            let launcher = pods.items.iter().find(|pod| {
                pod.labels().get("kubevirt.io/created-by") == Some(&uid) && pod.metadata.deletion_timestamp.is_none()
            });
            let is = match launcher.map(|pod| pod.data["spec"]["nodeName"].as_str().unwrap_or_default()) {
                None => Is::ShutDown,
                Some(node) if node == drained => Is::Stayed,
                Some(node) => Is::Moved(node.to_owned()),
            };
            out.insert(format!("{namespace}/{}", vmi.name_any()), is);
        }
        Ok(out)
    }
}

/// A process that is killed if it does not end.
struct Kubectl(Child);

impl Drop for Kubectl {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}
