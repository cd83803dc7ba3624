//! Queries to a real libvirt: Debian's libvirtd and virsh, without KVM, through kwok's exec and the API server.
//!
//! Two libvirtd represent two kinds of hardware. The host model of one is what QEMU emulates; that of the other lacks
//! two features, because its cache of QEMU's capabilities says so. Each launcher's `virsh` is connected to one of them.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::common::{self, Ran, cpufit, program};
use crate::controlplane::ControlPlane;
use crate::launcher::launcher_pod;
use crate::policy::policy;
use crate::process::Server;
use crate::running::running;
use crate::world;

mod daemon;

use daemon::*;

const PROGRAMS: [&str; 4] = ["virsh", "libvirtd", "qemu-system-x86_64", "setpriv"];
const SOON: Duration = Duration::from_secs(60);
/// The user of libvirt: as root it would use the folders of the machine's own libvirt.
const NOBODY: u32 = 65534;
/// Guests of one node: the container of the first has ended, the launcher of the second runs as root, that of the third
/// does not.
const SHARED: [&str; 3] = ["a-ended", "b-of-root", "c-of-user"];
/// Number of features of the emulated CPU, beyond the named model, that labels list.
const LABELLED: usize = 4;

struct Scene<'c> {
    cluster: &'c ControlPlane,
    _kubelets: [Server; 2],
    _rich: Libvirt,
    _poor: Libvirt,
    /// The features that `_poor` lacks.
    lacking: Vec<String>,
    /// The features that the drifted node lacks by labels.
    drifted: Vec<String>,
    kubeconfig: PathBuf,
}

/// Returns the required features in an XML of libvirt.
fn required(xml: &str) -> Vec<String> {
    let features = xml.split("<feature policy='require' name='").skip(1);
    features.filter_map(|rest| Some(rest.split_once('\'')?.0.to_owned())).collect()
}

/// Returns a CPU that forbids a feature.
fn shy(feature: &str) -> String {
    let forbids = format!("<feature policy='forbid' name='{feature}'/>");
    format!("<cpu mode='custom' match='exact' check='partial'><model>Nehalem</model>{forbids}</cpu>")
}

impl<'c> Scene<'c> {
    /// Creates the scene; prints a note and returns `None` if libvirt is missing.
    #[track_caller]
    fn new(cluster: &'c ControlPlane) -> Option<Self> {
        let folder = prepare(cluster, "rich");
        own(&folder);
        let rich = Libvirt::start(cluster, &folder);
        for guest in ["db", "stuck", "drift", "b-of-root", "c-of-user"] {
            rich.run(cluster, &format!("shop_{guest}"), "<cpu mode='host-model'/>");
        }
        rich.run(cluster, "shop_old", "<cpu mode='custom' match='exact' check='none'><model>Nehalem</model></cpu>");
        let live = rich.virsh(&["dumpxml", "shop_db"]);
        let mut features = required(&live);
        assert!(features.len() > LABELLED + 2, "the emulated CPU has more than its model: {live}");
        let model = live.split_once("<model fallback='forbid'>").and_then(|(_, rest)| rest.split_once('<'));
        let model = model.expect("a model").0.to_owned();
        // Names that QEMU and libvirt share, and that a guest can run without.
        let given = ["vaes", "clwb", "la57", "umip", "pku", "3dnowext"].map(str::to_owned);
        let lacking: Vec<String> = given.into_iter().filter(|name| features.contains(name)).take(2).collect();
        assert_eq!(lacking.len(), 2, "none of the known features: {features:?}");
        features.retain(|name| !lacking.contains(name));
        features.truncate(LABELLED);
        let poor = poorer(cluster, &rich, &lacking);
        poor.run(cluster, "shop_shy", &shy(&lacking[0]));

        world::install_kubevirt(cluster);
        for namespace in ["shop", "locked"] {
            cluster.kubectl(&["create", "namespace", namespace]);
        }
        let nodes = [
            ("source", real(&rich)),
            ("equal", real(&rich)),
            ("drifted", real(&rich)),
            ("poor", real(&poor)),
            ("locked", real(&rich)),
            ("rubbish", "echo '<all is=well>'".to_owned()),
            ("endless", "exec sleep 1000".to_owned()),
            ("huge", "exec head -c 100000000 /dev/zero".to_owned()),
            ("complaining", "exec head -c 100000000 /dev/zero >&2".to_owned()),
            ("flooding", "exec yes '<cpu>'".to_owned()),
            ("deep", "printf '<a>%.0s' {1..60000}; printf '</a>%.0s' {1..60000}".to_owned()),
            ("latin", "printf 'CPU described in \\xff is identical to the CPU provided by hypervisor on the host\\n'".to_owned()),
            ("lying", "echo 'error: the CPU is incompatible with host CPU: Host CPU does not provide required features: $(reboot)' >&2; exit 1".to_owned()),
            ("shell-less", real(&rich)),
            ("old", "echo \"error: unknown command: '$3'\" >&2; exit 1".to_owned()),
            // This virsh answers the first query, and is killed at the second.
            ("dying", format!("[ \"$3\" = domcapabilities ] && kill -9 $PPID $$\n{}", real(&rich))),
            ("shared", real(&rich)),
            ("bare", String::new()),
        ];
        let mut execs = String::new();
        for (node, script) in &nodes {
            let lacks = if *node == "drifted" { &features[..2] } else { &[] };
            create_node(cluster, node, &model, &features, lacks);
            if script.is_empty() {
                continue;
            }
            let bin = launcher_of(cluster, node, script);
            let there = format!("on-{node}");
            let guests: &[&str] = match *node {
                "source" => &["db", "stuck", "drift", "old", "moved"],
                "shared" => &SHARED,
                "poor" => &["on-poor", "shy"],
                _ => &[&there],
            };
            for guest in guests {
                // Some launchers run as another user, one of them beside launchers of root.
                let is_of_user = *node == "equal" || *guest == SHARED[2];
                let user = json!({"runAsUser": NOBODY, "runAsGroup": NOBODY});
                let user = if is_of_user && is_root() { user } else { Value::Null };
                let namespace = if *node == "locked" { "locked" } else { "shop" };
                let pod = create_guest(cluster, namespace, guest, node);
                let exec = json!({
                    "apiVersion": "kwok.x-k8s.io/v1alpha1", "kind": "Exec",
                    "metadata": {"name": pod, "namespace": namespace},
                    "spec": {"execs": [{"containers": ["compute"], "local": {
                        "envs": [{"name": "PATH", "value": format!("{}:/usr/bin:/bin", bin.display())}],
                        "securityContext": user,
                    }}]},
                });
                writeln!(execs, "---\n{exec}").expect("text");
            }
        }
        let execs = cluster.workplace().write("execs.yaml", execs);
        let mut kubelets = cluster.play_kubelets("kubelets", &execs, "kubernetes.io/hostname!=shell-less", None)?;
        let others = "kubernetes.io/hostname=shell-less";
        let shell_less = cluster.play_kubelets("shell-less", &execs, others, Some("/nonexistent"))?;
        let is_there = |_: &Server| {
            let nodes = cluster.get(&["nodes"]);
            let nodes = nodes["items"].as_array().expect("nodes").clone();
            let port = |node: &Value| node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"].as_u64();
            nodes.iter().all(|node| port(node).is_some_and(|port| port > 0)).then_some(())
        };
        kubelets.wait(SOON, is_there).unwrap_or_else(|problem| panic!("{problem}"));
        end_container(cluster, &mut kubelets, SHARED[0]);
        allow(cluster);
        let kubeconfig = cluster.kubeconfig("jane", &[]);
        let drifted = features[..2].to_vec();
        Some(Self {
            cluster,
            _kubelets: [kubelets, shell_less],
            _rich: rich,
            _poor: poor,
            lacking,
            drifted,
            kubeconfig,
        })
    }

    fn run(&self, args: &[&str]) -> Ran {
        let kubeconfig = self.kubeconfig.to_str().expect("a path");
        // A printed command repeats the connection options that were given, and others have the rights to run it.
        cpufit(args).env("KUBECONFIG", kubeconfig).run()
    }

    #[track_caller]
    fn explain(&self, guest: &str) -> Value {
        let name = format!("vmi/{guest}");
        let ran = self.run(&["explain", &name, "-n", "shop", "--ask-libvirt", "--ask-timeout", "3", "-o", "json"]);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        ran.json()["results"][0].clone()
    }
}

/// Ends the container of a guest's launcher, which kwok keeps running.
#[track_caller]
fn end_container(cluster: &ControlPlane, kubelets: &mut Server, guest: &str) {
    let pod = format!("virt-launcher-{guest}-x");
    let statuses = |_: &Server| {
        let statuses = &cluster.get(&["pod", &pod, "-n", "shop"])["status"]["containerStatuses"];
        statuses.is_array().then(|| statuses.clone())
    };
    let mut statuses = kubelets.wait(SOON, statuses).unwrap_or_else(|problem| panic!("{problem}"));
    statuses[0]["state"] = json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}});
    let patch = json!({"status": {"containerStatuses": statuses}}).to_string();
    cluster.kubectl(&["patch", "pod", &pod, "-n", "shop", "--subresource=status", "--type=merge", "-p", &patch]);
}

/// Creates a node with the labeller's labels, for the given features.
#[track_caller]
fn create_node(cluster: &ControlPlane, name: &str, model: &str, features: &[String], lacks: &[String]) {
    let mut labels = json!({
        "kubernetes.io/hostname": name, "kubernetes.io/arch": "amd64", "kubevirt.io/schedulable": "true",
        "cpu-vendor.node.kubevirt.io/AMD": "true",
        "machine-type.node.kubevirt.io/q35": "true",
    });
    let labels_of = labels.as_object_mut().expect("labels");
    let mut set = |key: String| labels_of.insert(key, "true".into());
    for prefix in ["host-model-cpu", "cpu-model", "cpu-model-migration"] {
        set(format!("{prefix}.node.kubevirt.io/{model}"));
    }
    for feature in features.iter().filter(|feature| !lacks.contains(feature)) {
        set(format!("cpu-feature.node.kubevirt.io/{feature}"));
    }
    for feature in features {
        set(format!("host-model-required-features.node.kubevirt.io/{feature}"));
    }
    for (pool, nodes) in [("stuck", ["source", "poor"]), ("drift", ["source", "drifted"])] {
        if nodes.contains(&name) {
            set(format!("pool.example.com/{pool}"));
        }
    }
    let mut node = crate::node::node(name, &labels);
    // kwok makes a node ready itself, and then sets its kubelet's port.
    node["status"] = json!({});
    cluster.kubectl_with(&["create", "-f", "-"], &node);
}

/// Creates a running guest with its launcher; returns the launcher's name.
#[track_caller]
fn create_guest(cluster: &ControlPlane, namespace: &str, name: &str, node: &str) -> String {
    let pool = json!({format!("pool.example.com/{name}"): "true"});
    let selector = if ["stuck", "drift"].contains(&name) { pool } else { json!({}) };
    let mut vmi = running(name, node, "host-model");
    vmi["metadata"] = json!({"name": name, "namespace": namespace});
    vmi["spec"]["nodeSelector"] = selector;
    vmi["spec"]["evictionStrategy"] = json!("LiveMigrate");
    let created = cluster.kubectl_with(&["create", "--validate=false", "-o", "json", "-f", "-"], &vmi);
    let created: Value = serde_json::from_str(&created).expect("a VMI");
    let pod = launcher_pod(&created, "x", &json!({"kubevirt.io/schedulable": "true"}));
    cluster.kubectl_with(&["create", "-f", "-"], &pod);
    format!("virt-launcher-{name}-x")
}

/// Gives Jane the right to read everything that affects a verdict, and to exec only in namespace shop.
#[track_caller]
fn allow(cluster: &ControlPlane) {
    cluster.kubectl(&["create", "clusterrole", "reader", "--verb=get,list,watch", "--resource=*.*"]);
    cluster.kubectl(&["create", "clusterrolebinding", "reader", "--clusterrole=reader", "--user=jane"]);
    let rule = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "exec", "namespace": "shop"},
        "rules": [{"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["create", "get"]}],
    });
    cluster.kubectl_with(&["create", "-f", "-"], &rule);
    cluster.kubectl(&["create", "rolebinding", "exec", "--role=exec", "--user=jane", "--namespace=shop"]);
}

fn names(row: &Value) -> Vec<&str> {
    let rows = row.as_array().map(Vec::as_slice).unwrap_or_default();
    rows.iter().filter_map(|row| row["feature"].as_str()).collect()
}

#[test]
#[ignore = "needs a control plane: make e2e"]
fn libvirt_is_asked_through_launchers() {
    if let Some(program) = PROGRAMS.iter().find(|program| find(program).is_none()) {
        println!(
            "LEFT OUT: this test needs {program} (Debian: libvirt-daemon, libvirt-daemon-driver-qemu, libvirt-clients, qemu-system-x86)"
        );
        return;
    }
    let Some(cluster) = ControlPlane::start(&[]) else { return };
    let Some(scene) = Scene::new(&cluster) else { return };
    kubectl_reaches_the_same_libvirt(&scene);
    everything_is_said_by_node(&scene);
    launchers_of_two_users_share_a_node(&scene);
    labels_that_drifted_are_added_with_confidence(&scene);
    where_libvirt_refuses_no_label_helps(&scene);
    both_verdicts_decide_who_can_leave(&scene);
    models_are_compared(&scene);
    an_older_cpu_is_a_subset(&scene);
    a_forbidden_feature_keeps_it_off(&scene);
    a_launcher_is_brought_by_the_printed_commands(&scene);
    progress_is_shown_on_a_terminal(&scene);
    answers_are_kept(&scene);
}

/// A person checks an answer with `kubectl exec`.
fn kubectl_reaches_the_same_libvirt(scene: &Scene<'_>) {
    let uri = if is_root() { "qemu:///system" } else { "qemu+unix:///session?socket=/var/run/libvirt/virtqemud-sock" };
    let exec = "kubectl exec -n shop virt-launcher-db-x -c compute --";
    let live = scene.cluster.shell(&format!("{exec} bash -c \"virsh -c '{uri}' dumpxml shop_db\""));
    let model = scene.explain("db")["libvirt"]["cpu"]["model"].as_str().expect("a model").to_owned();
    assert!(live.contains(&format!(">{model}</model>")), "another CPU is read than kubectl shows: {model}, {live}");
}

fn everything_is_said_by_node(scene: &Scene<'_>) {
    let result = scene.explain("db");
    let nodes = &result["libvirt"]["nodes"];
    let answer = |node: &str| nodes[node]["answer"].as_str().unwrap_or_default().to_owned();
    let silence = |node: &str| nodes[node]["unanswered"].as_str().unwrap_or_default().to_owned();
    assert_eq!(answer("equal"), "identical", "{result:#}");
    assert_eq!(answer("drifted"), "identical");
    assert_eq!(answer("poor"), "incompatible", "{nodes:#}");
    let mut lacking = scene.lacking.clone();
    lacking.sort_unstable();
    assert_eq!(names(&nodes["poor"]["missing"]), lacking, "another feature is named than QEMU lacks");
    assert!(
        silence("locked").contains("exec is refused") && silence("locked").contains("namespace locked"),
        "{nodes:#}"
    );
    assert!(silence("rubbish").contains("cannot be read"), "{nodes:#}");
    assert_eq!(silence("endless"), "no answer within 3 s");
    assert!(silence("huge").contains("more than") && silence("huge").contains("bytes"), "{nodes:#}");
    assert!(silence("complaining").contains("more than") && silence("complaining").contains("bytes"), "{nodes:#}");
    assert!(silence("flooding").contains("more than") && silence("flooding").contains("bytes"), "{nodes:#}");
    for node in ["deep", "latin", "lying"] {
        assert!(silence(node).contains("cannot be read"), "{node}: {nodes:#}");
    }
    assert_eq!(silence("shell-less"), "not asked: the launcher there has no bash", "{nodes:#}");
    assert_eq!(silence("old"), "not asked: virsh there does not know hypervisor-cpu-compare");
    assert_eq!(silence("bare"), "not asked: no launcher is known there");
    assert_eq!((answer("dying").as_str(), &nodes["dying"]["hostModel"]), ("identical", &Value::Null), "{nodes:#}");
    // Its launcher exists, but its guest has moved to another one.
    let moved = &scene.explain("moved")["libvirt"];
    let why = moved["unanswered"].as_str().expect("why its CPU is not known");
    assert!(why.starts_with("virsh failed: ") && why.contains("omain"), "{moved:#}");
    let fitting = result["nodes"]["fitting"].as_array().expect("nodes");
    assert!(fitting.iter().any(|node| node == "equal") && !fitting.iter().any(|node| node == "poor"), "{result:#}");

    let output = scene.run(&["explain", "vmi/db", "-n", "shop", "--ask-libvirt", "--ask-timeout", "3"]);
    println!("{}{}", output.stdout, output.stderr);
    assert!(
        output.stdout.contains("BY LABELS")
            && output.stdout.contains("identical: libvirt there has exactly its features")
    );
    assert!(
        output.stdout.contains(&format!("incompatible: missing features {}", lacking.join(", "))),
        "{}",
        output.stdout
    );
    assert!(output.stdout.contains("No node has a cpu-feature label for"), "{}", output.stdout);
    assert!(
        output.stdout.contains("VirtualMachineInstance") && output.stdout.contains("\"bare\""),
        "{}",
        output.stdout
    );
    assert_eq!(output.stderr, "", "output is not a terminal, so no progress is shown");
}

/// Launchers of root and of another user reach one libvirt by different sockets; one whose container has ended is
/// passed over.
fn launchers_of_two_users_share_a_node(scene: &Scene<'_>) {
    let asked = scene.explain("db");
    assert_eq!(asked["libvirt"]["nodes"]["shared"]["answer"], "identical", "{:#}", asked["libvirt"]);
    for guest in &SHARED[1..] {
        let libvirt = &scene.explain(guest)["libvirt"];
        assert!(libvirt["cpu"]["model"].is_string(), "{guest} cannot be read in its own launcher: {libvirt:#}");
        assert_eq!(libvirt["nodes"]["poor"]["answer"], "incompatible", "{guest}: {libvirt:#}");
    }
    let ended = &scene.explain(SHARED[0])["libvirt"];
    let why = "not asked: the container compute of the launcher there does not run (OOMKilled)";
    assert_eq!((&ended["unanswered"], &ended["unansweredCode"]), (&json!(why), &json!("not-running")), "{ended:#}");
}

fn labels_that_drifted_are_added_with_confidence(scene: &Scene<'_>) {
    let result = scene.explain("drift");
    assert_eq!(result["verdict"], "pinned", "{result:#}");
    let remedies = result["remedies"].as_array().expect("remedies");
    let add = remedies.iter().find(|remedy| remedy["id"] == "add-labels").expect("labels are to blame");
    assert_eq!(add["risk"], "libvirt there agrees");
    let commands = add["commands"].to_string();
    assert!(scene.drifted.iter().all(|feature| commands.contains(feature)), "{commands}");
    assert_eq!(result["nearest"][0]["evidence"], "libvirt-agrees");
    let printed = scene.run(&["explain", "vmi/drift", "-n", "shop", "--ask-libvirt", "--ask-timeout", "3"]).stdout;
    let command = label_command(scene, &add["commands"]);
    assert!(printed.lines().any(|line| line.ends_with(&command)), "the command is not printed: {printed}");
    assert!(printed.contains("libvirt there agrees"), "{printed}");
}

/// Returns the command that adds the missing labels to a node.
#[track_caller]
fn label_command(scene: &Scene<'_>, commands: &Value) -> String {
    let commands = commands.as_array().expect("commands").iter().filter_map(Value::as_str);
    let adds = |command: &&str| scene.drifted.iter().all(|feature| command.contains(feature));
    commands.into_iter().find(adds).expect("a command that adds them all").to_owned()
}

/// A drain does not count a node that libvirt refuses, and names the labels to add where libvirt agrees; with these
/// labels, the guest leaves.
fn both_verdicts_decide_who_can_leave(scene: &Scene<'_>) {
    let by_labels = ["drain", "source", "-o", "json"];
    let by_both = ["drain", "source", "--ask-libvirt", "--ask-timeout", "3", "-o", "json"];
    let guest = |drained: &Value, name: &str| {
        let guests = drained["nodes"][0]["guests"].as_array().expect("guests");
        guests.iter().find(|row| row["guest"] == name).unwrap_or_else(|| panic!("{name}: {drained:#}")).clone()
    };
    let without = scene.run(&by_labels).json();
    assert_eq!(guest(&without, "shop/stuck")["state"], "one-target", "{without:#}");
    let ran = scene.run(&by_both);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    let both = ran.json();
    let stuck = guest(&both, "shop/stuck");
    assert_eq!((&stuck["state"], &stuck["targets"]), (&json!("stuck"), &json!([])), "{stuck:#}");
    assert!(stuck["why"].as_str().expect("words").contains("libvirt refuses its CPU on poor"), "{stuck:#}");
    let db = guest(&both, "shop/db");
    assert_eq!(db["state"], "can-leave", "{db:#}");
    let targets = db["targets"].as_array().expect("targets");
    assert!(targets.contains(&json!("equal")) && !targets.contains(&json!("poor")), "{db:#}");
    assert!(
        guest(&without, "shop/db")["targets"].as_array().expect("targets").contains(&json!("poor")),
        "labels exclude it already, so the answer of libvirt shows nothing"
    );
    assert_eq!(guest(&both, "shop/old")["state"], "can-leave");
    let drift = guest(&both, "shop/drift");
    assert_eq!(drift["state"], "stuck", "its labels keep it: {drift:#}");
    let steps = both["leastToDo"].as_array().expect("something helps");
    let add = steps.iter().find(|step| step["id"] == "add-labels").expect("labels are to blame");
    assert_eq!(add["risk"], "libvirt there agrees", "{add:#}");
    let of_stuck = |step: &&Value| step["summary"].as_str().is_some_and(|summary| summary.starts_with("shop/stuck:"));
    let of_stuck = steps.iter().find(of_stuck).expect("an act for the guest that libvirt refuses");
    assert_eq!(of_stuck["outage"], "restart", "no label and no cordon helps it: {of_stuck:#}");

    let command = label_command(scene, &add["commands"]);
    let words: Vec<&str> = command.split(' ').collect();
    assert_eq!(words[0], "kubectl", "{command}");
    scene.cluster.kubectl(&words[1..]);
    let after = scene.run(&by_both).json();
    assert_eq!(guest(&after, "shop/drift")["state"], "one-target", "{after:#}");
    assert_eq!(guest(&after, "shop/stuck")["state"], "stuck");
}

/// A guest is compared with the model of its policy and with the recommended one, even if none is offered to it.
fn models_are_compared(scene: &Scene<'_>) {
    for (model, nodes) in [("Nehalem", "--all"), ("Westmere", "source")] {
        scene.cluster.kubectl(&["label", "node", nodes, &format!("cpu-model.node.kubevirt.io/{model}=true")]);
    }
    let policy = policy("shop", &json!({"commonModel": {"name": "Westmere"}}));
    let file = scene.cluster.workplace().write("policy.json", policy.to_string());
    let file = file.to_str().expect("a path");
    let args = ["explain", "vmi/db", "-n", "shop", "--ask-libvirt", "--ask-timeout", "3", "--policy", file];
    let result = scene.run(&[&args[..], &["-o", "json"]].concat()).json();
    let losses = &result["results"][0]["libvirt"]["losses"];
    let recommend = scene.run(&["recommend", "-o", "json"]).json();
    let recommended =
        recommend["pools"][0]["model"].as_str().unwrap_or_else(|| panic!("none: {recommend:#}")).to_owned();
    for model in ["Westmere", &recommended] {
        let lost = losses[model].as_array().unwrap_or_else(|| panic!("{model}: {losses:#}"));
        assert!(scene.lacking.iter().all(|feature| lost.contains(&json!(feature))), "{model}: {lost:?}");
    }
    let printed = scene.run(&args).stdout;
    assert!(printed.contains("With Westmere, the common model of CPUPolicy shop, it would lose "), "{printed}");
}

fn where_libvirt_refuses_no_label_helps(scene: &Scene<'_>) {
    let without = scene.run(&["explain", "vmi/stuck", "-n", "shop", "-o", "json"]).json();
    assert_eq!(without["results"][0]["nodes"]["fitting"], json!(["poor"]), "it fits by labels");
    let result = scene.explain("stuck");
    assert_eq!(result["verdict"], "pinned", "{result:#}");
    assert_eq!(
        result["nodes"]["fitting"],
        json!([]),
        "a node is called fitting although libvirt refuses the guest there"
    );
    let found: Vec<&str> =
        result["findings"].as_array().expect("findings").iter().filter_map(|found| found["check"].as_str()).collect();
    assert!(found.contains(&"libvirt-refuses"), "{found:?}");
    let remedies: Vec<&str> =
        result["remedies"].as_array().expect("remedies").iter().filter_map(|remedy| remedy["id"].as_str()).collect();
    // All nodes are labelled with the host model by name, which the emulated CPU does not fully provide: libvirt
    // reports that.
    let offered = ["restart-with-common-model", "add-labels", "restart"].iter().find(|id| remedies.contains(id));
    assert_eq!(offered, None, "{remedies:?}");
    let not_helping = result["notHelping"].as_array().expect("what does not help");
    let model = not_helping.iter().find(|not| not["id"] == "restart-with-common-model").expect("why no model helps");
    assert!(model["why"].as_str().expect("words").contains("does not list it as usable"), "{model:#}");
    let losses = result["libvirt"]["losses"].as_object().expect("losses");
    let lost: Vec<&Value> = losses.values().flat_map(|lost| lost.as_array().expect("features")).collect();
    assert!(scene.lacking.iter().all(|feature| lost.contains(&&json!(feature))), "{losses:?}");
    let output = scene.run(&["explain", "vmi/stuck", "-n", "shop", "--ask-libvirt"]).stdout;
    println!("{output}");
    assert!(output.contains("it would lose"), "{output}");
    let audit = scene.run(&["audit", "-n", "shop", "--ask-libvirt", "--ask-timeout", "3", "-o", "json"]);
    assert_eq!(audit.code, Some(0), "{}", audit.stderr);
    let audit = audit.json();
    let rows = audit["items"].as_array().expect("items");
    let stuck = rows.iter().find(|row| row["name"] == "stuck").expect("a row");
    assert_eq!((&stuck["verdict"], &stuck["targets"]), (&json!("pinned"), &json!(0)), "{stuck:#}");
    assert!(stuck["why"].as_str().expect("words").contains("libvirt refuses its CPU on poor"), "{stuck:#}");
}

fn an_older_cpu_is_a_subset(scene: &Scene<'_>) {
    let result = scene.explain("old");
    assert_eq!(result["libvirt"]["cpu"]["model"], "Nehalem");
    for node in ["equal", "poor"] {
        assert_eq!(result["libvirt"]["nodes"][node]["answer"], "superset", "{result:#}");
    }
}

/// Libvirt refuses a guest that forbids a feature where the node provides it, at the migration too. An answer to a
/// question that disables the feature would promise that migration.
fn a_forbidden_feature_keeps_it_off(scene: &Scene<'_>) {
    let result = scene.explain("shy");
    let libvirt = &result["libvirt"];
    assert_eq!(libvirt["cpu"]["forbid"], json!([scene.lacking[0]]), "{libvirt:#}");
    for node in ["equal", "drifted"] {
        let answer = &libvirt["nodes"][node];
        let why = format!("Host CPU provides forbidden features: {}", scene.lacking[0]);
        assert_eq!((&answer["answer"], &answer["reason"]), (&json!("incompatible"), &json!(why)), "{libvirt:#}");
    }
    let fitting = result["nodes"]["fitting"].as_array().expect("nodes");
    assert!(!fitting.contains(&json!("equal")), "a migration that libvirt refuses is promised: {fitting:?}");
}

/// On a node without a launcher: kubectl and the API server accept the commands as they are printed.
fn a_launcher_is_brought_by_the_printed_commands(scene: &Scene<'_>) {
    let printed = scene.run(&["explain", "vmi/db", "-n", "shop", "--ask-libvirt", "--ask-timeout", "3"]).stdout;
    let line = |verb: &str| {
        let line = printed.lines().map(str::trim).find(|line| line.contains(verb));
        line.unwrap_or_else(|| panic!("{verb} is not printed: {printed}")).to_owned()
    };
    let create = line("kubectl create ");
    for dry_run in ["client", "server"] {
        let created = scene.cluster.shell(&format!("{create} --dry-run={dry_run} -o json"));
        let created: Value = serde_json::from_str(&created).expect("the guest");
        assert_eq!(created["spec"]["nodeSelector"], json!({"kubernetes.io/hostname": "bare"}), "{created:#}");
        assert_eq!(created["metadata"]["namespace"], "shop", "{created:#}");
    }
    let guests = || scene.cluster.kubectl(&["get", "vmi", "-n", "shop", "-o", "name"]).contains("cpufit-probe");
    scene.cluster.shell(&create);
    assert!(guests(), "{create}");
    scene.cluster.shell(&line("kubectl delete vmi "));
    assert!(!guests(), "the guest stays, and uses the node's memory");
}

/// On a terminal the number of questions is shown while they are asked, and nothing of it is left at the end.
fn progress_is_shown_on_a_terminal(scene: &Scene<'_>) {
    if find("script").is_none() {
        println!("LEFT OUT: this part needs script (Debian: bsdutils)");
        return;
    }
    let kubeconfig = scene.kubeconfig.display();
    let line =
        format!("{} explain vmi/db -n shop --ask-libvirt --ask-timeout 3 --kubeconfig {kubeconfig}", common::BIN);
    let mut command = Command::new("script");
    command.args(["-qec", &line, "/dev/null"]);
    let shown = program(command).run().stdout;
    let last = shown.rsplit("libvirt was asked: ").next().expect("a part");
    assert_ne!(last, shown, "a person who waits sees nothing: {shown}");
    let (count, rest) =
        last.split_once("\r\u{1b}[K").unwrap_or_else(|| panic!("progress stays on the screen: {shown}"));
    let (done, of) = count.split_once(" of ").expect("a number of a number");
    assert!(done.parse::<usize>().expect("a number") <= of.parse().expect("a number"), "{count}");
    assert!(rest.contains("BY LIBVIRT"), "{rest}");
}

/// Saved answers give the same result, with the cluster and with a dump that holds them.
fn answers_are_kept(scene: &Scene<'_>) {
    let folder = scene.cluster.workplace().path().join("dump");
    let path = folder.to_str().expect("a path");
    let args = ["explain", "vmi/stuck", "-n", "shop", "-o", "json"];
    let asked = scene.run(&[&args[..], &["--ask-libvirt", "--save-libvirt-facts", path]].concat()).json();
    let read = scene.run(&[&args[..], &["--libvirt-facts", path]].concat()).json();
    assert_eq!(asked, read, "saved answers give another result than libvirt itself");
    let dump = scene.cluster.kubectl(&["get", "nodes,pods,vmi,ns", "-A", "-o", "yaml"]);
    std::fs::write(folder.join("cluster.yaml"), dump).expect("a dump");
    let offline = cpufit([&args[..], &["--snapshot", path]].concat()).run();
    assert_eq!(common::head(&offline.stderr), "");
    assert_eq!(asked["results"][0]["libvirt"], offline.json()["results"][0]["libvirt"]);
}
