//! The webhook, asked by the API server as it would be in a cluster: what a person at kubectl reads.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::common::{BIN, cpufit, head, read};
use crate::controlplane::ControlPlane;
use crate::process::Server;
use crate::session::Session;
use crate::world::{self, data};

const STARTED: Duration = Duration::from_secs(60);

/// `cpufit serve` behind the Service `cpufit-system/cpufit`.
struct Webhook {
    server: Server,
}

impl Webhook {
    /// Judges by a snapshot of the cluster, taken now, and by a policy.
    #[track_caller]
    fn start(cluster: &ControlPlane, policy: &Path) -> Self {
        let kinds = "nodes,pods,vm,vmi,vmim,kubevirt,ns";
        let snapshot = cluster.kubectl(&["get", kinds, "-A", "-o", "yaml"]);
        let snapshot = cluster.workplace().write("cluster.yaml", snapshot);
        let certificates = cluster.workplace().path().join("webhook");
        let made = cpufit([OsStr::new("certs"), OsStr::new("--out"), certificates.as_os_str()]).run();
        assert_eq!(made.code(), 0, "no certificates for the webhook: {}", head(&made.stderr));

        let address = cluster.service_address();
        let mut serve = Command::new(BIN);
        serve
            .args([OsStr::new("serve"), OsStr::new("--snapshot"), snapshot.as_os_str()])
            .args([OsStr::new("--policy"), policy.as_os_str()])
            .args([OsStr::new("--cert"), certificates.join("tls.crt").as_os_str()])
            .args([OsStr::new("--key"), certificates.join("tls.key").as_os_str()])
            .args(["--listen", &format!("{address}:0"), "--admin-listen", "127.0.0.1:0"]);
        let mut server = Server::start(cluster.workplace(), "cpufit", &serve);
        let port = server.wait(STARTED, |server| port(&server.log())).unwrap_or_else(|problem| panic!("{problem}"));

        let ca_bundle = STANDARD.encode(read(&certificates.join("ca.pem")));
        let service = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "cpufit", "namespace": "cpufit-system"},
            "spec": {"clusterIP": address, "ports": [{"port": port}]},
        });
        let rule = |group: &str, resources: &[&str], operations: &[&str]| json!({"apiGroups": [group], "apiVersions": ["v1"], "resources": resources, "operations": operations});
        let guests = ["virtualmachines", "virtualmachineinstances"];
        let client = json!({
            "service": {"namespace": "cpufit-system", "name": "cpufit", "path": "/validate", "port": port},
            "caBundle": ca_bundle,
        });
        let webhook = |name: &str, rules: serde_json::Value, selector: serde_json::Value| {
            json!({
                "name": name, "clientConfig": client, "rules": rules, "objectSelector": selector,
                "admissionReviewVersions": ["v1"], "failurePolicy": "Ignore", "sideEffects": "NoneOnDryRun",
                "timeoutSeconds": 5,
            })
        };
        let configuration = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": "cpufit"},
            "webhooks": [
                webhook("validate.cpufit.io", json!([
                    rule("kubevirt.io", &guests, &["CREATE", "UPDATE"]),
                    rule("kubevirt.io", &["virtualmachineinstancemigrations"], &["CREATE"]),
                ]), json!({})),
                webhook("pods.validate.cpufit.io", json!([rule("", &["pods"], &["CREATE"])]),
                    json!({"matchLabels": {"kubevirt.io": "virt-launcher"}})),
            ],
        });
        cluster.kubectl_with(&["create", "-f", "-"], &service);
        cluster.kubectl_with(&["create", "-f", "-"], &configuration);
        Self { server }
    }
}

/// The port in `listening on https://ADDRESS:PORT, admin …`.
fn port(log: &str) -> Option<u16> {
    let line = log.lines().find_map(|line| line.split_once("listening on https://"))?.1;
    line.split_once(", admin")?.0.rsplit_once(':')?.1.parse().ok()
}

#[test]
#[ignore = "needs a control plane: make e2e"]
fn webhook_as_kubectl_shows_it() {
    let Some(cluster) = ControlPlane::start(&[]) else { return };
    world::install_kubevirt(&cluster);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    world::create(&cluster, &root.join("demo/cluster.yaml"));
    for file in ["migrate-db.yaml", "migrate-ledger.yaml", "report.yaml", "launcher.yaml"] {
        cluster.workplace().write(file, read(&data(file)));
    }
    cluster.kubectl(&["create", "-f", data("people.yaml").to_str().expect("a path in UTF-8")]);
    let jane = Session { cluster: &cluster, kubeconfig: cluster.kubeconfig("jane", &["shop-admins"]) };
    let controller =
        Session { cluster: &cluster, kubeconfig: cluster.service_account("kubevirt", "kubevirt-controller") };

    let webhook = Webhook::start(&cluster, &root.join("demo/policy.yaml"));
    // The API server asks a new webhook only after it has heard of it.
    jane.told_until("create -f migrate-db.yaml --dry-run=server", "Warning: cpufit");

    let asked_first = jane.told("create -f migrate-db.yaml --dry-run=server --warnings-as-errors");
    insta::assert_snapshot!("asked_first", asked_first);
    let stored = cluster.get(&["vmim", "--namespace=shop"]);
    assert_eq!(stored["items"], json!([]), "a dry run must store nothing");

    insta::assert_snapshot!("the_lottery", jane.told("apply -f report.yaml"));
    insta::assert_snapshot!("denied", jane.told("create -f migrate-ledger.yaml"));
    insta::assert_snapshot!("controller_is_exempt", controller.told("create -f migrate-ledger.yaml"));
    insta::assert_snapshot!("launcher_nowhere", controller.told("create -f launcher.yaml"));
    assert!(!webhook.server.log().contains("panicked at"), "{}", head(&webhook.server.log()));

    drop(webhook);
    cluster.kubectl(&["delete", "vmim", "--all", "--namespace=shop"]);
    cluster.kubectl(&["delete", "vm", "report", "--namespace=lab"]);
    cluster.kubectl(&["delete", "pod", "virt-launcher-lost-7k2px", "--namespace=lab", "--force", "--grace-period=0"]);
    let down = [
        jane.told("create -f migrate-db.yaml"),
        jane.told("create -f migrate-ledger.yaml"),
        jane.told("apply -f report.yaml"),
        controller.told("create -f launcher.yaml"),
    ];
    insta::assert_snapshot!("webhook_down", down.concat());
}
