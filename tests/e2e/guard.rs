//! The harness itself: what it promises the other tests, and the machine that they run on.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::controlplane::{ControlPlane, Part};

/// Well above what is needed: a leftover server would stay for ever.
const GONE: Duration = Duration::from_secs(30);

/// Set for the process that is to be killed.
const VICTIM: &str = "E2E_VICTIM";

/// Holds a control plane until it is killed. By itself it does nothing.
#[test]
#[ignore = "run by a_killed_test_leaves_nothing_behind"]
fn victim() {
    if std::env::var_os(VICTIM).is_none() {
        return;
    }
    let cluster = ControlPlane::start(&[]).expect("needs no part");
    println!("\nvictim in {}", cluster.workplace().path().display());
    std::thread::sleep(Duration::from_secs(300));
}

/// Ctrl-C goes to the whole process group and SIGKILL to the test alone; both leave neither a server nor a file.
#[test]
#[ignore = "needs a control plane: make e2e"]
fn a_killed_test_leaves_nothing_behind() {
    for signal in ["INT", "KILL"] {
        let mut victim = Command::new(std::env::current_exe().expect("this program"))
            .args(["--ignored", "--nocapture", "--exact", "guard::victim"])
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
        let folder = folder.expect("the victim told its folder");

        let deadline = Instant::now() + GONE;
        // Servers write into the folder; the last thing that happens is its removal.
        while Path::new(&folder).exists() {
            assert!(Instant::now() < deadline, "{GONE:?} after SIG{signal} {folder} is still there");
            std::thread::sleep(Duration::from_millis(50));
        }
        let processes = Command::new("ps").args(["-A", "-o", "args"]).output().expect("ps");
        let left = String::from_utf8_lossy(&processes.stdout).matches(&folder).count();
        assert_eq!(left, 0, "after SIG{signal} there are still processes that name {folder}");
    }
}

/// Without a controller or a kubelet on the machine: a node becomes Ready, and a pod on it runs.
#[test]
#[ignore = "needs a control plane: make e2e"]
fn kwok_plays_the_kubelet() {
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
