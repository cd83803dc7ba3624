//! The test harness itself: its guarantees to the other tests, and to the machine they run on.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::read;
use crate::controlplane::{ControlPlane, Part};
use crate::installed::{Fault, Installation};
use crate::kubevirt::{VirtApi, play_guests};
use crate::load::Load;
use crate::session::Session;
use crate::world::{self, data};

/// Time limit for cleanup, well above the time needed: a leftover server would stay forever.
const GONE: Duration = Duration::from_secs(30);

/// The variable that marks the process to be killed.
const VICTIM: &str = "E2E_VICTIM";

/// Holds a control plane until it is killed. Without the variable it does nothing.
#[test]
#[ignore = "run by a_killed_test_leaves_nothing_behind"]
fn holds_a_control_plane_until_it_is_killed() {
    if std::env::var_os(VICTIM).is_none() {
        return;
    }
    let cluster = ControlPlane::start(&[]).expect("needs no part");
    println!("\nvictim in {}", cluster.workplace().path().display());
    std::thread::sleep(Duration::from_secs(300));
}

/// Ctrl-C reaches the whole process group and SIGKILL only the test; both leave neither a server nor a file.
#[test]
#[ignore = "needs a control plane: make e2e"]
fn a_killed_test_leaves_nothing_behind() {
    for signal in ["INT", "KILL"] {
        let mut victim = Command::new(std::env::current_exe().expect("this program"))
            .args(["--ignored", "--nocapture", "--exact", "guard::holds_a_control_plane_until_it_is_killed"])
            .env(VICTIM, "1")
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program once more");
        let output = BufReader::new(victim.stdout.take().expect("stdout is piped"));
        let folder =
            output.lines().map_while(Result::ok).find_map(|line| line.strip_prefix("victim in ").map(str::to_owned));
        let target = if signal == "INT" { format!("-{}", victim.id()) } else { victim.id().to_string() };
        let sent = Command::new("kill").args(["-s", signal, "--", &target]).status().expect("kill");
        assert!(sent.success(), "SIG{signal} could not be sent");
        victim.wait().expect("the victim ends");
        let folder = folder.expect("the victim printed its folder");

        let deadline = Instant::now() + GONE;
        // Servers write into the folder; its removal is the last step.
        while Path::new(&folder).exists() {
            assert!(Instant::now() < deadline, "{GONE:?} after SIG{signal} {folder} is still there");
            std::thread::sleep(Duration::from_millis(50));
        }
        let processes = Command::new("ps").args(["-A", "-o", "args"]).output().expect("ps");
        let left = String::from_utf8_lossy(&processes.stdout).matches(&folder).count();
        assert_eq!(left, 0, "after SIG{signal} there are still processes that name {folder}");
    }
}

/// Without a controller or kubelet on the machine, a node becomes Ready, and a pod on it runs.
#[test]
#[ignore = "needs a control plane: make e2e"]
fn kwok_simulates_the_kubelet() {
    let Some(cluster) = ControlPlane::start(&[Part::Scheduler, Part::Kwok]) else { return };
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-a"}});
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "guest", "namespace": "default"},
        "spec": {"containers": [{"name": "compute", "image": "registry.example/virt-launcher:v1"}]},
    });
    cluster.kubectl_with(&["create", "-f", "-"], &node);
    cluster.kubectl_with(&["create", "-f", "-"], &pod);
    cluster.kubectl(&["wait", "--for=condition=Ready", "--timeout=30s", "node/node-a"]);
    cluster.kubectl(&["wait", "--for=jsonpath={.status.phase}=Running", "--timeout=30s", "pod/guest"]);
    assert_eq!(cluster.get(&["pod", "guest"])["spec"]["nodeName"], "node-a");
}

/// Starts the demonstration's cluster with users, and writes their files to the workplace.
#[track_caller]
fn inhabited(parts: &[Part]) -> Option<ControlPlane> {
    let cluster = ControlPlane::start(parts)?;
    world::install_kubevirt(&cluster);
    world::create(&cluster, &Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/cluster.yaml"));
    cluster.kubectl(&["create", "-f", data("people.yaml").to_str().expect("a path in UTF-8")]);
    cluster.workplace().write("migrate-db.yaml", read(&data("migrate-db.yaml")));
    Some(cluster)
}

fn jane(cluster: &ControlPlane) -> Session<'_> {
    Session { cluster, kubeconfig: cluster.kubeconfig("jane", &["shop-admins"]) }
}

/// Returns a migration that cpufit warns about.
fn migration(number: usize) -> Value {
    json!({
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstanceMigration",
        "metadata": {"name": format!("migrate-db-{number}"), "namespace": "shop"}, "spec": {"vmiName": "db"},
    })
}

/// Returns the errors of webhooks from the log.
fn failures(cluster: &ControlPlane) -> String {
    let log = cluster.api_log();
    log.lines().filter(|line| line.contains("failing open")).collect::<Vec<_>>().join("\n")
}

const MIGRATIONS: &str = "/apis/kubevirt.io/v1/namespaces/shop/virtualmachineinstancemigrations?dryRun=All";
const MIGRATE: &str = "create -f migrate-db.yaml --dry-run=server";

/// Two replicas, installed by the manifests and with the rights of their account, behind the Service; one stops, and
/// each request of a load is accounted for.
#[test]
#[ignore = "needs a control plane: make e2e"]
fn replicas_behind_the_service_of_the_manifests() {
    let Some(cluster) = inhabited(&[]) else { return };
    let jane = jane(&cluster);
    let installation = Installation::new(&cluster);
    let first = installation.serve("cpufit-0", &[]);
    jane.output_until(MIGRATE, "Warning: cpufit");

    let second = installation.serve("cpufit-1", &[]);
    let failed_open = cluster.failed_open();
    let load = Load::start(&jane.kubeconfig, 4, MIGRATIONS, migration);
    load.until_sent(100);
    assert_eq!(first.stop(), Some(0), "SIGTERM is answered by an orderly end");
    load.until_sent(100);
    let count = load.stop();
    println!("{} sent, the slowest in {:?}", count.sent, count.slowest);
    assert_eq!(count.failures, Vec::<String>::new());
    let unanswered = count.sent - count.warned;
    assert_eq!(unanswered, 0, "reviews were lost when a replica stopped: {}", failures(&cluster));
    assert_eq!(cluster.failed_open(), failed_open, "the API server went on without an answer");
    assert!(second.get("/metrics").contains("cpufit_requests"), "{}", second.get("/metrics"));
    assert!(!second.server.log().contains("panicked at"), "{}", second.server.log());
    let asked = |event: &Value, status: i64| {
        event["user"]["username"] == "system:serviceaccount:cpufit-system:cpufit"
            && event["responseStatus"]["code"] == status
    };
    let log = cluster.audit_log();
    assert!(log.iter().any(|event| asked(event, 200)), "cpufit asks the API server by its own account");
    let refused: Vec<&Value> = log.iter().filter(|event| asked(event, 403)).collect();
    assert!(refused.is_empty(), "the manifests lack rights: {refused:#?}");
    let audited = log.iter().find(|event| event["user"]["username"] == "jane").expect("jane's requests are recorded");
    assert_eq!(audited["objectRef"]["resource"], "virtualmachineinstancemigrations", "{audited}");
}

/// Impostors in cpufit's place, with a certificate that the API server accepts.
#[test]
#[ignore = "needs a control plane: make e2e"]
fn the_api_server_rejects_each_faulty_webhook_server() {
    let Some(cluster) = inhabited(&[]) else { return };
    let jane = jane(&cluster);
    let installation = Installation::new(&cluster);
    for (fault, why) in [
        (Fault::Slow, "deadline exceeded"),
        (Fault::Rubbish, "parse error"),
        (Fault::Expired, "certificate has expired"),
    ] {
        let impostor = installation.impostor(fault);
        let (failed_open, deadline) = (cluster.failed_open(), Instant::now() + GONE);
        while cluster.failed_open() == failed_open {
            assert!(Instant::now() < deadline, "the API server never asks the one that is {fault:?}");
            let output = jane.output(MIGRATE);
            assert!(output.contains("created (server dry run)"), "{fault:?}: {output}");
        }
        drop(impostor);
        assert!(failures(&cluster).contains(why), "{fault:?}: {}", failures(&cluster));
    }
}

/// The API server is killed under load, and restarts with all its data.
#[test]
#[ignore = "needs a control plane: make e2e"]
fn the_api_server_restarts() {
    let Some(cluster) = inhabited(&[]) else { return };
    cluster.kubectl(&["create", "serviceaccount", "robot", "--namespace=default"]);
    let robot = Session { cluster: &cluster, kubeconfig: cluster.token_kubeconfig("default", "robot") };
    let whoami = "auth whoami -o jsonpath={.status.userInfo.username}";
    let before = robot.output(whoami);
    assert!(before.contains("system:serviceaccount:default:robot"), "{before}");
    let load = Load::start(cluster.admin(), 2, MIGRATIONS, migration);
    load.until_sent(20);
    cluster.api_restart(Duration::from_secs(1));
    let during = load.so_far();
    load.until_sent(20);
    let after = load.stop();
    println!("{} of {} failed, the first: {:?}", after.failures.len(), after.sent, after.failures.first());
    assert!(!during.failures.is_empty(), "no request failed while the API server was away");
    assert_eq!(robot.output(whoami), before, "a token outlives the API server that gave it");
}

/// Guests start to run, evictions are refused, and unset fields of a guest are set.
#[test]
#[ignore = "needs a control plane: make e2e"]
fn the_kubevirt_simulation_creates_guests_and_migrations() {
    let Some(cluster) = inhabited(&[]) else { return };
    let virt_api = VirtApi::start(&cluster);
    virt_api.set_defaults();
    virt_api.intercept_evictions();
    let guest = |name: &str, spec: Value| {
        let metadata = json!({"name": name, "namespace": "lab", "annotations": {"test.cpufit.io/node": "node-c"}});
        json!({"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance", "metadata": metadata, "spec": spec})
    };
    let deadline = Instant::now() + GONE;
    while virt_api.seen().is_empty() {
        assert!(Instant::now() < deadline, "the API server does not ask virt-api");
        cluster.kubectl_with(&["create", "--dry-run=server", "-f", "-"], &guest("nobody", json!({"domain": {}})));
    }
    let asked = virt_api.seen().len();
    for (name, spec, expected) in [
        ("unset", json!({"domain": {}}), json!(["host-model", "q35", "amd64"])),
        ("named", json!({"domain": {"cpu": {"model": "EPYC", "cores": 2}}}), json!(["EPYC", "q35", "amd64"])),
        ("arm", json!({"architecture": "arm64", "domain": {}}), json!(["host-passthrough", "virt", "arm64"])),
    ] {
        cluster.kubectl_with(&["create", "-f", "-"], &guest(name, spec));
        let vmi = cluster.get(&["vmi", name, "--namespace=lab"]);
        let (domain, architecture) = (&vmi["spec"]["domain"], &vmi["spec"]["architecture"]);
        assert_eq!(json!([domain["cpu"]["model"], domain["machine"]["type"], architecture]), expected, "{name}");
    }
    let seen = virt_api.seen();
    assert_eq!(seen[asked]["object"]["spec"], json!({"domain": {}}), "seen as it came");
    let model = r#"{"spec":{"configuration":{"cpuModel":"Haswell"}}}"#;
    cluster.kubectl(&["patch", "kubevirt", "kubevirt", "--namespace=kubevirt", "--type=merge", "-p", model]);
    cluster.kubectl_with(&["create", "-f", "-"], &guest("later", json!({"domain": {}})));
    let later = cluster.get(&["vmi", "later", "--namespace=lab"]);
    assert_eq!(later["spec"]["domain"]["cpu"]["model"], "Haswell", "the cluster's default is as it is now");

    let Some(_guests) = play_guests(&cluster) else { return };
    cluster.kubectl(&[
        "wait",
        "--for=jsonpath={.status.phase}=Running",
        "--timeout=30s",
        "vmi/unset",
        "--namespace=lab",
    ]);
    let vmi = cluster.get(&["vmi", "unset", "--namespace=lab"]);
    assert_eq!(
        (&vmi["status"]["nodeName"], &vmi["metadata"]["labels"]["kubevirt.io/nodeName"]),
        (&json!("node-c"), &json!("node-c"))
    );

    let admin = Session { cluster: &cluster, kubeconfig: cluster.admin().to_owned() };
    let drain = "drain node-a --ignore-daemonsets --delete-emptydir-data --force";
    for drain in [format!("{drain} --dry-run=server"), drain.to_owned()] {
        let drained = admin.output_for(&drain, Duration::from_secs(3));
        assert!(drained.contains("Eviction triggered evacuation of VMI \"shop/db\""), "{drained}");
        assert!(drained.ends_with("[stopped after 3 s]\n"), "{drained}");
    }
    let eviction = cluster.audit_log().into_iter().find(|event| event["objectRef"]["subresource"] == "eviction");
    assert_eq!(
        eviction.expect("recorded")["responseStatus"]["code"],
        429,
        "KubeVirt's refusal of the eviction is not played"
    );
}
