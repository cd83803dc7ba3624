//! An API server behind a proxy, and the amount of data transferred.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use serde_json::{Value, json};

use crate::common::forward::Forward;
use crate::common::{BIN, cpufit, head};
use crate::controlplane::ControlPlane;
use crate::installed::SOON;
use crate::process::Server;
use crate::world;

/// Returns the administrator's kubeconfig with other fields of its cluster.
fn kubeconfig(cluster: &ControlPlane, name: &str, fields: &Value) -> PathBuf {
    let text = std::fs::read_to_string(cluster.admin()).expect("the kubeconfig");
    let mut content: Value = serde_json::from_str(&text).expect("JSON");
    let of_cluster = content["clusters"][0]["cluster"].as_object_mut().expect("a cluster");
    of_cluster.extend(fields.as_object().expect("fields").clone());
    cluster.workplace().write(name, content.to_string())
}

fn server(cluster: &ControlPlane) -> std::net::SocketAddr {
    let text = std::fs::read_to_string(cluster.admin()).expect("the kubeconfig");
    let content: Value = serde_json::from_str(&text).expect("JSON");
    let url = content["clusters"][0]["cluster"]["server"].as_str().expect("a server");
    url.trim_start_matches("https://").parse().expect("an address")
}

/// Adds `count` nodes, each with all labels that virt-handler writes.
fn add_nodes(cluster: &ControlPlane, count: usize) {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/cluster.yaml");
    let text = std::fs::read_to_string(demo).expect("the demo");
    let list: Value = serde_saphyr::from_str(&text).expect("YAML");
    let node = list["items"].as_array().expect("items").iter().find(|item| item["kind"] == "Node").expect("a node");
    let numbered = |number: usize| {
        let mut labels = node["metadata"]["labels"].clone();
        labels["kubernetes.io/hostname"] = format!("node-{number:03}").into();
        crate::node::node(&format!("node-{number:03}"), &labels)
    };
    let nodes: Vec<Value> = (0..count).map(numbered).collect();
    cluster.kubectl_with(&["create", "-f", "-"], &json!({"apiVersion": "v1", "kind": "List", "items": nodes}));
}

#[test]
#[ignore = "needs a control plane: make e2e"]
fn lists_come_compressed() {
    const NODES: usize = 300;
    let Some(cluster) = ControlPlane::start(&[]) else { return };
    world::install_kubevirt(&cluster);
    add_nodes(&cluster, NODES);
    let proxy = Forward::start(server(&cluster));
    let url = format!("http://{}", proxy.address());
    let vmi = json!({"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance", "metadata": {"name": "db"}});
    let vmi = cluster.workplace().write("vmi.json", vmi.to_string());
    let measure = |is_plain: bool| {
        let fields = json!({"proxy-url": url, "disable-compression": is_plain});
        let kubeconfig = kubeconfig(&cluster, "measured.kubeconfig", &fields);
        let (before, started) = (proxy.received(), Instant::now());
        let ran = cpufit(["check", "-o", "json", "--kubeconfig"]).args([&kubeconfig]).args(["-f"]).args([&vmi]).run();
        assert_eq!(ran.code(), 0, "{}", head(&ran.stderr));
        assert_eq!(ran.json()["results"][0]["nodes"]["judged"], NODES, "{}", head(&ran.stdout));
        (proxy.received() - before, started.elapsed())
    };
    measure(true);
    let (plain, compressed) = (measure(true), measure(false));
    println!("a list of {NODES} nodes: {plain:?} plain, {compressed:?} compressed");
    assert!(compressed.0 * 4 < plain.0, "{} bytes of {}", compressed.0, plain.0);
}

#[test]
#[ignore = "needs a control plane: make e2e"]
fn the_webhook_watches_through_a_proxy() {
    let Some(cluster) = ControlPlane::start(&[]) else { return };
    add_nodes(&cluster, 2);
    let address = server(&cluster);
    let proxy = Forward::start(address);
    // The name cannot be resolved: only the proxy can reach it.
    let fields = json!({"server": format!("https://kubernetes:{}", address.port())});
    let kubeconfig = kubeconfig(&cluster, "proxied.kubeconfig", &fields);
    let certificates = cluster.workplace().path().join("certs");
    assert_eq!(cpufit(["certs", "--out"]).args([certificates.as_os_str()]).run().code(), 0);
    let mut command = Command::new(BIN);
    command.args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--log", "info,cpufit=debug"]);
    command
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .arg("--cert")
        .arg(certificates.join("tls.crt"))
        .arg("--key")
        .arg(certificates.join("tls.key"));
    command.env("HTTPS_PROXY", proxy.address()).env("NO_PROXY", ".svc,10.0.0.0/8,localhost,");
    let mut replica = Server::start(cluster.workplace(), "proxied", &command);
    let known = |nodes: usize| move |server: &Server| server.log().contains(&format!("nodes={nodes}")).then_some(());
    replica.wait(SOON, known(2)).unwrap_or_else(|problem| panic!("{problem}"));
    cluster.kubectl(&["delete", "node", "node-001"]);
    replica
        .wait(SOON, known(1))
        .unwrap_or_else(|problem| panic!("a watch through a proxy receives nothing: {problem}"));
    let wanted = format!("CONNECT kubernetes:{}", address.port());
    assert!(proxy.asked().iter().all(|asked| *asked == wanted) && !proxy.asked().is_empty(), "{:?}", proxy.asked());
}
