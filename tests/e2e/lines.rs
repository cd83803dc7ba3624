//! Command lines on a real cluster, compared with kubectl; completion as kubectl requests it; a snapshot of the
//! cluster, with which every verb prints the same as with the cluster.

mod beside;

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::common::{BIN, Ran, apart, cpufit, program, running};
use crate::controlplane::ControlPlane;
use crate::world;

fn demo() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/cluster.yaml")
}

#[track_caller]
fn cluster() -> Option<ControlPlane> {
    let cluster = ControlPlane::start(&[])?;
    world::install_kubevirt(&cluster);
    world::create(&cluster, &demo());
    Some(cluster)
}

fn ours(cluster: &ControlPlane, line: &str) -> Ran {
    cpufit(line.split(' ')).env("KUBECONFIG", cluster.admin().to_str().expect("a path in UTF-8")).run()
}

fn kubectl(cluster: &ControlPlane, line: &str, path: &str) -> Ran {
    let mut command = Command::new(cluster.assets().join("kubectl"));
    command.args(line.split(' ')).env("KUBECONFIG", cluster.admin()).env("HOME", cluster.workplace().path());
    program(command).env("PATH", path).run()
}

/// Returns the output of `-o name`, in any order, and whether the command succeeded.
fn named(ran: &Ran) -> (BTreeSet<String>, bool) {
    (ran.stdout.lines().map(str::to_owned).collect(), ran.code == Some(0))
}

/// Returns arguments for `explain` and `kubectl get`.
fn arguments() -> Vec<String> {
    let vms = [
        "vm",
        "vms",
        "virtualmachine",
        "virtualmachines",
        "virtualmachine.kubevirt.io",
        "virtualmachines.v1.kubevirt.io",
    ];
    let running = [
        "vmi",
        "vmis",
        "virtualmachineinstance",
        "virtualmachineinstances",
        "virtualmachineinstance.kubevirt.io",
        "virtualmachineinstances.v1.kubevirt.io",
    ];
    let pods = ["pod", "pods", "po"];
    let mut out = Vec::new();
    for (words, one, other) in [
        (&vms[..], "db", "ledger"),
        (&running[..], "db", "ledger"),
        (&pods[..], "virt-launcher-db-x7k2p", "virt-launcher-none-x"),
    ] {
        for word in words {
            out.extend([
                format!("{word} -n shop"),
                format!("-n shop {word}"),
                format!("{word} --namespace=shop"),
                format!("{word} -A"),
                format!("{word} -n lab"),
                format!("{word} {one} -n shop"),
                format!("{word}/{one} -n shop"),
                format!("{word} {one} {other} -n shop"),
                format!("{word}/{one} {word}/{other} -n shop"),
                format!("{word} nowhere -n shop"),
                format!("{word}/nowhere -n shop"),
            ]);
        }
    }
    out.extend(
        ["vm/ -n shop", "vm vm/db -n shop", "vm/db -A", "vm,vmi -n shop", "vm/db vmi/db -n shop"].map(str::to_owned),
    );
    for selector in ["app=db", "app!=db", "app", "!app", "app=none", "app=db,app", "kubevirt.io=virt-launcher"] {
        out.extend(["vm", "vmi", "pod"].map(|word| format!("{word} -l {selector} -n shop")));
    }
    out
}

#[test]
#[ignore = "needs a control plane: make e2e"]
fn the_same_objects_are_named_as_by_kubectl() {
    let Some(cluster) = cluster() else { return };
    let rows = arguments();
    assert!(rows.len() >= 150, "{} command lines", rows.len());
    let found = AtomicUsize::new(0);
    let compare = |rows: &[String]| {
        let differs = |row: &String| {
            let mine = ours(&cluster, &format!("explain {row} -o name"));
            let theirs = kubectl(&cluster, &format!("get {row} -o name"), "/usr/bin:/bin");
            found.fetch_add(usize::from(!named(&theirs).0.is_empty()), Ordering::Relaxed);
            (named(&mine) != named(&theirs)).then(|| {
                format!(
                    "{row}: {:?} {}, kubectl {:?} {}",
                    named(&mine),
                    mine.stderr.trim(),
                    named(&theirs),
                    theirs.stderr.trim()
                )
            })
        };
        rows.iter().filter_map(differs).collect::<Vec<_>>()
    };
    let (one, other) = rows.split_at(rows.len() / 2);
    let faults = std::thread::scope(|scope| {
        let other = scope.spawn(|| compare(other));
        [compare(one), other.join().expect("the other half")].concat()
    });
    let found = found.into_inner();
    println!("{} command lines, beside kubectl, which finds something by {found}", rows.len());
    assert!(found > 100, "both may find nothing");
    assert!(faults.is_empty(), "{} of {} differ:\n{}", faults.len(), rows.len(), faults.join("\n"));
}

#[test]
#[ignore = "needs a control plane: make e2e"]
fn kubectl_completes_the_plugin() {
    let Some(cluster) = cluster() else { return };
    let folder = cluster.workplace().path().join("plugins");
    std::fs::create_dir_all(&folder).expect("a folder");
    symlink(BIN, folder.join("kubectl-cpufit")).expect("a link");
    let script =
        cluster.workplace().write("plugins/kubectl_complete-cpufit", cpufit(["completion", "kubectl"]).run().stdout);
    std::fs::set_permissions(script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("permissions");
    let path = format!("{}:/usr/bin:/bin", folder.display());
    let complete = |line: &str| {
        let ran = kubectl(&cluster, &format!("__complete cpufit {line}"), &path);
        let words = ran.stdout.lines().filter(|line| !line.starts_with(':'));
        words.map(|line| line.split('\t').next().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(complete("expl"), ["explain"], "the shell does not complete a verb");
    assert_eq!(complete("explain -n shop vm/"), ["vm/db", "vm/ledger", "vm/web"]);
    assert_eq!(complete("audit --fail-on pin"), ["pinned"], "the shell does not complete a value");
    assert!(
        complete("audit -n sh").contains(&"shop".to_owned()),
        "the shell does not complete a namespace of the cluster"
    );
    assert_eq!(complete("drain node-").len(), 5, "the shell does not complete the nodes of the cluster");
}

/// Returns a guest, and one of another namespace with its launcher, which its anti-affinity excludes.
fn kept_apart_from_another_namespace() -> Vec<Value> {
    let term = json!({
        "labelSelector": {"matchLabels": {"app": "hermit"}}, "namespaces": ["lab"], "topologyKey": "kubernetes.io/hostname",
    });
    let guest = |name: &str, namespace: &str, node: &str| {
        let mut guest = running(name, node, "Skylake-Server-noTSX-IBRS");
        guest["metadata"]["namespace"] = namespace.into();
        guest["metadata"]["labels"] = json!({"app": name});
        guest["status"]["conditions"] = json!([{"type": "LiveMigratable", "status": "True"}]);
        guest
    };
    let mut shy = guest("shy", "shop", "node-a");
    shy["spec"]["affinity"] = json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}});
    let hermit = guest("hermit", "lab", "node-e");
    let launcher = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "virt-launcher-hermit-a1b2c", "namespace": "lab", "uid": "0001-hermit-pod",
            "labels": {"kubevirt.io": "virt-launcher", "kubevirt.io/created-by": hermit["metadata"]["uid"], "app": "hermit"},
            "ownerReferences": [{
                "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance", "name": "hermit", "controller": true,
                "uid": hermit["metadata"]["uid"],
            }],
        },
        "spec": {"nodeName": "node-e", "containers": [{"name": "compute", "image": "registry.example/launcher:1"}]},
        "status": {"phase": "Running"},
    });
    vec![shy, hermit, launcher]
}

#[test]
#[ignore = "needs a control plane: make e2e"]
fn every_verb_says_of_a_snapshot_what_it_says_of_the_cluster() {
    let Some(cluster) = ControlPlane::start(&[]) else { return };
    world::install_kubevirt(&cluster);
    let text = std::fs::read_to_string(demo()).expect("the demo's cluster");
    let mut crowded: Value = serde_saphyr::from_str(&text).expect("a snapshot in YAML");
    let items = crowded["items"].as_array_mut().expect("a List");
    items.extend(apart::items());
    items.extend(kept_apart_from_another_namespace());
    // The one node that fits for db is full.
    let node = items.iter_mut().find(|item| item["kind"] == "Node" && item["metadata"]["name"] == "node-c");
    let labels = &mut node.expect("the demo's node-c")["metadata"]["labels"];
    for feature in ["fpu", "vme"] {
        labels[format!("cpu-feature.node.kubevirt.io/{feature}")] = "true".into();
    }
    items.push(json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "hog", "namespace": "lab", "uid": "0001-hog"},
        "status": {"phase": "Running"},
        "spec": {"nodeName": "node-c", "containers": [
            {"name": "hog", "image": "hog", "resources": {"requests": {"memory": "255Gi", "cpu": "63"}}}]},
    }));
    world::create(&cluster, &cluster.workplace().write("crowded.yaml", crowded.to_string()));
    let taken = ours(&cluster, "snapshot");
    assert_eq!(taken.code, Some(0), "{}", taken.stderr);
    let snapshot = cluster.workplace().write("snapshot.yaml", &taken.stdout);
    let manifests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/verdicts/manifests.yaml");
    let check = format!("check -o json -f {}", manifests.display());
    let running = kubectl(&cluster, "get vmi db -n shop -o json", "/usr/bin:/bin").stdout;
    let check_running = format!("check -f {}", cluster.workplace().write("running.json", running).display());
    let lines = [
        "explain vm,vmi -A -o json",
        "explain db -n shop",
        "explain vmi/db -n shop",
        "explain pod -n shop -l kubevirt.io=virt-launcher",
        "audit -o json",
        "audit vmi/db -n shop",
        "recommend --without-node node-b",
        "audit -o wide -n shop",
        "recommend -o json",
        "recommend -o yaml",
        "drain --all -o json",
        "audit vmi/far vmi/calm -n shop -o json",
        "explain vmi/shy -n shop",
        "explain vmi/shy -n shop -o json",
        "audit vmi/shy -n shop -o json",
        "drain node-a -o wide",
        check.as_str(),
        check_running.as_str(),
    ];
    let before = cluster.workplace().write("before.yaml", include_str!("../../demo/cluster.yaml"));
    let diff = format!("diff {} -o json", before.display());
    for line in lines.into_iter().chain([diff.as_str()]) {
        let live = ours(&cluster, line);
        let offline = match line.strip_prefix("diff ") {
            Some(_) => cpufit(["diff"]).args([&before, &snapshot]).args(["-o", "json"]).run(),
            None => cpufit(line.split(' ')).args(["--snapshot".as_ref(), snapshot.as_os_str()]).run(),
        };
        assert_eq!(live.code, offline.code, "{line}: {} {}", live.stderr, offline.stderr);
        assert!(live.stdout.len() > 100, "{line}: {}", live.stdout);
        assert_eq!(live.stdout, offline.stdout, "{line} says another thing of the snapshot");
        assert!(!offline.stdout.contains("other pods are not known"), "{line}: {}", offline.stdout);
        if line == "explain vmi/shy -n shop" {
            assert!(
                live.stdout.contains("kept off by pod anti-affinity"),
                "a guest of another namespace is not counted: {}",
                live.stdout
            );
        }
        if ["explain vmi/db -n shop", "audit vmi/db -n shop"].contains(&line) {
            assert!(live.stdout.contains("NO-ROOM"), "{line} hides that the node is full: {}", live.stdout);
        }
    }
}
