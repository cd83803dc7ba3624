//! cpufit as its manifests install it, with a process of the test in the place of the Deployment's pods.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::routing::any;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::common::{BIN, cpufit, head};
use crate::controlplane::{ControlPlane, http_get};
use crate::kubevirt::{answer, request};
use crate::process::Server;
use crate::servers::{Behind, Https, Proxy};

const READY: Duration = Duration::from_secs(60);
const NAMESPACE: &str = "cpufit-system";
const SERVER_NAME: &str = "cpufit.cpufit-system.svc";

/// What `cpufit manifests` prints.
#[track_caller]
pub fn manifests() -> String {
    let printed = cpufit(["manifests"]).run();
    assert_eq!(printed.code(), 0, "there is nothing to install: {}", head(&printed.stderr));
    printed.stdout
}

/// The manifests on a cluster. Nobody is behind the Service until a test starts somebody.
pub struct Installation<'a> {
    cluster: &'a ControlPlane,
    /// The container of the Deployment's pods.
    container: Value,
    service: Proxy,
}

impl<'a> Installation<'a> {
    /// Applies them as they are. Only the Service is there before: its address is one that the test can listen on.
    #[track_caller]
    pub fn new(cluster: &'a ControlPlane, manifests: &str) -> Self {
        let objects: Vec<Value> = serde_saphyr::from_multiple(manifests).expect("manifests in YAML");
        let named = |kind: &str| {
            let found = objects.iter().find(|object| object["kind"] == kind);
            found.unwrap_or_else(|| panic!("the manifests have no {kind}")).clone()
        };
        let (mut service, address) = (named("Service"), cluster.service_address());
        let port = service["spec"]["ports"][0]["port"].as_u64().and_then(|port| u16::try_from(port).ok());
        service["spec"]["clusterIP"] = json!(address);
        let first = json!({"apiVersion": "v1", "kind": "List", "items": [named("Namespace"), service]});
        cluster.kubectl_with(&["apply", "--server-side", "-f", "-"], &first);
        let file = cluster.workplace().write("manifests.yaml", manifests);
        let file = file.to_str().expect("a path in UTF-8");
        cluster.kubectl(&["apply", "--server-side", "--force-conflicts", "-f", file]);
        if objects.iter().any(|object| object["kind"] == "CustomResourceDefinition") {
            let kinds =
                ["wait", "--for=condition=Established", "--timeout=30s", "crd", "-l", "app.kubernetes.io/name=cpufit"];
            cluster.kubectl(&kinds);
        }
        let container = named("Deployment")["spec"]["template"]["spec"]["containers"][0].clone();
        Self { cluster, container, service: Proxy::start(address, port.expect("a port of the Service")) }
    }

    /// Starts a replica of this name with the Deployment's arguments and the rights of its account, waits until
    /// it is ready, and puts it behind the Service. Settings such as `--certificates=files` take the place of the
    /// Deployment's own.
    #[track_caller]
    pub fn start(&self, name: &str, settings: &[String]) -> Cpufit {
        let kubeconfig = self.cluster.token_kubeconfig(NAMESPACE, "cpufit");
        let mut own = vec![
            "--listen=127.0.0.1:0".to_owned(),
            "--admin-listen=127.0.0.1:0".to_owned(),
            format!("--kubeconfig={}", kubeconfig.display()),
        ];
        own.extend_from_slice(settings);
        let texts = |list: &Value| list.as_array().into_iter().flatten().map(text).collect::<Vec<_>>();
        let args = replace(texts(&self.container["args"]), &own);
        let mut command = Command::new(BIN);
        command.args(args).env("NO_COLOR", "1").env("HOME", self.cluster.workplace().path());
        for variable in self.container["env"].as_array().into_iter().flatten() {
            let field = variable["valueFrom"]["fieldRef"]["fieldPath"].as_str();
            let value = match field {
                Some("metadata.name") => name.to_owned(),
                Some("metadata.namespace") => NAMESPACE.to_owned(),
                _ => text(&variable["value"]),
            };
            command.env(text(&variable["name"]), value);
        }
        let mut server = Server::start(self.cluster.workplace(), name, &command);
        let listening = server.wait(READY, |server| addresses(&server.log()));
        let (https, admin) = listening.unwrap_or_else(|problem| panic!("{problem}"));
        let ready = server.wait(READY, |_| http_get(admin, "/readyz").filter(|(code, _)| *code == 200));
        ready.unwrap_or_else(|problem| panic!("/readyz says {:?}: {problem}", http_get(admin, "/readyz?verbose")));
        Cpufit { behind: self.service.put(https), server, admin }
    }

    /// Settings with which cpufit takes a certificate of the control plane's authority from files, as from
    /// cert-manager, and that authority into the webhook configurations. The files are the replica's own.
    #[track_caller]
    pub fn certificate_files(&self) -> Vec<String> {
        let pair = self.cluster.authority().server(&[SERVER_NAME], &[]);
        let certificate = self.cluster.workplace().write("serving/tls.crt", pair.certificate);
        let key = self.cluster.workplace().write("serving/tls.key", pair.key);
        self.trust_authority();
        let file = |flag: &str, path: PathBuf| format!("--{flag}={}", path.display());
        vec!["--certificates=files".to_owned(), file("cert", certificate), file("key", key)]
    }

    /// The control plane's authority as the `caBundle` of cpufit's webhooks.
    #[track_caller]
    fn trust_authority(&self) {
        let bundle = STANDARD.encode(&self.cluster.authority().certificate);
        for kind in ["mutatingwebhookconfiguration", "validatingwebhookconfiguration"] {
            let all = self.cluster.get(&[kind]);
            let ours =
                all["items"].as_array().expect("a list").iter().filter(|one| one["metadata"]["name"] == "cpufit");
            for configuration in ours {
                let count = configuration["webhooks"].as_array().map_or(0, Vec::len);
                let field = |i| format!("/webhooks/{i}/clientConfig/caBundle");
                let patch = (0..count).map(|i| json!({"op": "add", "path": field(i), "value": bundle})).collect();
                let patch = Value::Array(patch).to_string();
                self.cluster.kubectl(&["patch", kind, "cpufit", "--type=json", "-p", &patch]);
            }
        }
    }

    /// Puts somebody else behind the Service, whom the API server takes for cpufit.
    #[track_caller]
    pub fn impostor(&self, fault: Fault) -> Impostor {
        let authority = self.cluster.authority();
        let pair = match fault {
            Fault::Expired => authority.expired_server(SERVER_NAME),
            Fault::Slow | Fault::Rubbish => authority.server(&[SERVER_NAME], &[]),
        };
        self.trust_authority();
        let handler = move |review: Bytes| async move {
            if fault == Fault::Slow {
                tokio::time::sleep(Duration::from_secs(10)).await;
            }
            let (kind, honest) = answer(&request(&review), json!({"allowed": true, "warnings": ["not cpufit"]}));
            (kind, if fault == Fault::Rubbish { "<html>It works!</html>".to_owned() } else { honest })
        };
        let server = Https::start(&pair, Router::new().fallback(any(handler)));
        Impostor { _behind: self.service.put(server.address), _server: server }
    }
}

/// What is wrong with one in cpufit's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Answers after ten seconds.
    Slow,
    /// Answers 200 with what is no review.
    Rubbish,
    /// Its certificate was good until yesterday.
    Expired,
}

/// Out of the way when dropped.
pub struct Impostor {
    // In this order: nobody is sent to a server that is gone.
    _behind: Behind,
    _server: Https,
}

/// A replica of cpufit; killed when dropped.
pub struct Cpufit {
    // In this order: nobody is sent to a replica that is gone.
    behind: Behind,
    server: Server,
    admin: SocketAddr,
}

impl Cpufit {
    /// What it said so far.
    pub fn log(&self) -> String {
        self.server.log()
    }

    /// The status and the body of a GET on the admin port; `None` where it does not answer.
    pub fn admin(&self, path: &str) -> Option<(u16, String)> {
        http_get(self.admin, path)
    }

    /// As a kubelet stops a pod: nobody new is sent to it, then SIGTERM. Its exit code, `None` where it had to be
    /// killed.
    #[track_caller]
    pub fn stop(self) -> Option<i32> {
        let Self { behind, server, .. } = self;
        drop(behind);
        server.terminate(READY)
    }
}

#[track_caller]
fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

/// Arguments of the form `--flag=value`, in which others take the place of those of the same flag.
fn replace(mut args: Vec<String>, others: &[String]) -> Vec<String> {
    let flag = |arg: &String| arg.split('=').next().expect("one part at least").to_owned();
    for other in others {
        args.retain(|arg| flag(arg) != flag(other));
        args.push(other.clone());
    }
    args
}

/// The addresses in `listening on https://ADDRESS:PORT, admin http://ADDRESS:PORT`.
fn addresses(log: &str) -> Option<(SocketAddr, SocketAddr)> {
    let line = log.lines().find_map(|line| line.split_once("listening on https://"))?.1;
    let (https, admin) = line.split_once(", admin http://")?;
    Some((https.parse().ok()?, admin.trim().parse().ok()?))
}
