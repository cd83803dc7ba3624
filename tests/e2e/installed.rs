//! An installed cpufit: the manifests as `cpufit manifests` prints them, the process with the rights of its account.
//!
//! There is no kubelet for the Deployment, so a test starts its process, with the Deployment's own arguments except for
//! the addresses, and puts it behind the Service.

use std::cell::OnceCell;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::routing::any;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::common::{BIN, cpufit, head};
use crate::controlplane::ControlPlane;
use crate::kubevirt::{answer, request};
use crate::process::Server;
use crate::servers::{Behind, Https, Proxy};

/// Time limit; normally a few seconds, but a machine under load needs more.
pub const SOON: Duration = Duration::from_secs(60);

/// The objects of an installation in a cluster.
pub struct Installation<'c> {
    cluster: &'c ControlPlane,
    kubeconfig: PathBuf,
    args: Vec<String>,
    /// The address at which the API server reaches the Service.
    pub service: SocketAddr,
    /// The proxy that forwards its connections; created with the first server behind it.
    proxy: OnceCell<Proxy>,
}

/// Any free port of this machine.
pub const ANYWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const SERVER_NAME: &str = "cpufit.cpufit-system.svc";
const CONFIGURATIONS: [&str; 2] = ["mutatingwebhookconfiguration", "validatingwebhookconfiguration"];

impl<'c> Installation<'c> {
    /// Applies the manifests, unmodified.
    #[track_caller]
    pub fn new(cluster: &'c ControlPlane) -> Self {
        Self::with(cluster, &[])
    }

    /// Applies the manifests that `cpufit manifests` prints with these arguments.
    #[track_caller]
    pub fn with(cluster: &'c ControlPlane, more: &[&str]) -> Self {
        let printed = cpufit(["manifests", "-o", "json"]).args(more).run();
        assert_eq!(printed.code(), 0, "no manifests: {}", head(&printed.stderr));
        let list: Value = serde_json::from_str(&printed.stdout).expect("a List");
        cluster.kubectl_with(&["apply", "--server-side", "--force-conflicts", "-f", "-"], &list);
        cluster.kubectl(&["wait", "--for=condition=Established", "--timeout=30s", "crd/cpupolicies.cpufit.io"]);
        let find = |kind: &str| {
            let items = list["items"].as_array().expect("items");
            items
                .iter()
                .find(|object| object["kind"] == kind)
                .unwrap_or_else(|| panic!("no {kind} among the manifests"))
        };
        let container = &find("Deployment")["spec"]["template"]["spec"]["containers"][0];
        let args = container["args"].as_array().expect("arguments");
        let args = args.iter().map(|arg| arg.as_str().expect("text").to_owned());
        let service = cluster.get(&["service", "cpufit", "--namespace=cpufit-system"]);
        let address = service["spec"]["clusterIP"].as_str().expect("a clusterIP");
        let port = service["spec"]["ports"].as_array().expect("ports").iter().find(|port| port["port"] == 443);
        assert!(port.is_some(), "the webhook configurations reach the Service on 443: {service}");
        Self {
            cluster,
            kubeconfig: cluster.token_kubeconfig("cpufit-system", "cpufit"),
            args: args
                .filter(|arg| {
                    !arg.starts_with("--listen")
                        && !arg.starts_with("--admin-listen")
                        && !arg.starts_with("--log-format")
                })
                .collect(),
            service: SocketAddr::new(address.parse().expect("an address"), 443),
            proxy: OnceCell::new(),
        }
    }

    /// Starts a replica behind the Service and waits until it is ready.
    #[track_caller]
    pub fn serve(&self, name: &str, more: &[&str]) -> Replica {
        let mut replica = self.start(name, ANYWHERE, more);
        replica.until("ready", |replica| replica.get("/readyz").contains(" 200 "));
        replica.behind = Some(self.put_behind(replica.address));
        replica
    }

    #[track_caller]
    fn put_behind(&self, address: SocketAddr) -> Behind {
        let IpAddr::V4(service) = self.service.ip() else { panic!("the Services have IPv4 addresses") };
        self.proxy.get_or_init(|| Proxy::start(service, self.service.port())).put(address)
    }

    /// Puts another server behind the Service in place of cpufit.
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
        Impostor { _behind: self.put_behind(server.address), _server: server }
    }

    /// Sets the control plane's authority as the `caBundle` of cpufit's webhooks.
    #[track_caller]
    fn trust_authority(&self) {
        let bundle = STANDARD.encode(&self.cluster.authority().certificate);
        for kind in CONFIGURATIONS {
            let configuration = self.cluster.get(&[kind, "cpufit"]);
            let count = configuration["webhooks"].as_array().map_or(0, Vec::len);
            let patch: Vec<Value> = (0..count)
                .map(|i| json!({"op": "add", "path": format!("/webhooks/{i}/clientConfig/caBundle"), "value": bundle}))
                .collect();
            self.cluster.kubectl(&["patch", kind, "cpufit", "--type=json", "-p", &Value::Array(patch).to_string()]);
        }
    }

    /// Starts a replica that listens there; it is behind no Service, and need not be ready.
    #[track_caller]
    pub fn start(&self, name: &str, listen: SocketAddr, more: &[&str]) -> Replica {
        let mut command = Command::new(BIN);
        command.args(&self.args).arg("--kubeconfig").arg(&self.kubeconfig).args(more);
        command.args(["--listen".to_owned(), listen.to_string()]).args(["--admin-listen", "127.0.0.1:0"]);
        command.args(["--log", "info,cpufit=debug"]);
        command.env("POD_NAME", name).env("POD_NAMESPACE", "cpufit-system");
        let mut server = Server::start(self.cluster.workplace(), name, &command);
        let (address, admin) =
            server.wait(SOON, |server| addresses(&server.log())).unwrap_or_else(|problem| panic!("{problem}"));
        Replica { behind: None, server, address, admin }
    }

    /// Returns the kubeconfig of cpufit's account.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }
}

/// The fault of an impostor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// An answer after ten seconds.
    Slow,
    /// An answer with status 200 that is no review.
    Rubbish,
    /// A certificate that expired yesterday.
    Expired,
}

/// A server in cpufit's place, which is removed when dropped.
pub struct Impostor {
    // In this order: no connection is forwarded to a stopped server.
    _behind: Behind,
    _server: Https,
}

/// A running cpufit; killed when dropped.
pub struct Replica {
    // In this order: no connection is forwarded to a stopped replica.
    behind: Option<Behind>,
    pub server: Server,
    /// The address for reviews.
    pub address: SocketAddr,
    /// The address for probes.
    pub admin: SocketAddr,
}

/// Returns the addresses in `listening on https://ADDRESS:PORT, admin http://ADDRESS:PORT`.
fn addresses(log: &str) -> Option<(SocketAddr, SocketAddr)> {
    let line = log.lines().find_map(|line| line.split_once("listening on https://"))?.1;
    let (https, admin) = line.split_once(", admin http://")?;
    Some((https.parse().ok()?, admin.trim().parse().ok()?))
}

impl Replica {
    /// Returns a page of the admin port, with its head; empty without an answer.
    pub fn get(&self, path: &str) -> String {
        let get = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(self.admin)?;
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            write!(stream, "GET {path} HTTP/1.0\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        get().unwrap_or_default()
    }

    /// Stops it as a kubelet stops a pod: removes it from the Service, then sends SIGTERM. Returns its exit code;
    /// `None` if it had to be killed.
    #[track_caller]
    pub fn stop(self) -> Option<i32> {
        let Self { behind, server, .. } = self;
        drop(behind);
        server.terminate(SOON)
    }

    /// Waits until a condition holds.
    #[track_caller]
    pub fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + SOON;
        while !holds(self) {
            let log = self.server.log();
            let start = log.char_indices().rev().nth(4000).map_or(0, |(at, _)| at);
            assert!(Instant::now() < deadline, "{what}: not after {SOON:?}; its last words:\n{}", &log[start..]);
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until this many nodes and at least this many guests are known.
    #[track_caller]
    pub fn until_known(&self, nodes: usize, guests: usize) {
        let of = |line: &str, field: &str| -> Option<usize> {
            let rest = line.split_once(&format!("{field}="))?.1;
            rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
        };
        self.until(&format!("{nodes} nodes and {guests} guests known"), |replica| {
            let log = replica.server.log();
            let published = log.lines().rfind(|line| line.contains("published"));
            published.is_some_and(|line| of(line, "nodes") == Some(nodes) && of(line, "guests") >= Some(guests))
        });
    }
}

/// Runs `cpufit` with these arguments on the cluster of a kubeconfig; returns its output, as at a terminal.
#[track_caller]
pub fn output_of_cpufit(kubeconfig: &Path, command: &str) -> String {
    // Printed commands repeat the connection options that were given.
    let ran = cpufit(command.split(' ')).env("KUBECONFIG", kubeconfig.to_str().expect("a path in UTF-8")).run();
    let end = if ran.code() == 0 { String::new() } else { format!("[exit code {}]\n", ran.code()) };
    format!("$ cpufit {command}\n{}{}{end}", ran.stdout, ran.stderr)
}
