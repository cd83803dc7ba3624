//! cpufit as it is installed: the manifests as `cpufit manifests` prints them, the process under its ServiceAccount's rights.
//!
//! Nobody runs the Deployment here, so a test starts its process, with the Deployment's own arguments but for the addresses:
//! it listens where the API server finds the Service, on the clusterIP.

use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::common::{BIN, cpufit, head};
use crate::controlplane::ControlPlane;
use crate::process::Server;

/// Seconds at most; a machine under load is given its time.
pub const SOON: Duration = Duration::from_secs(60);

/// The objects of an installation, in a cluster.
pub struct Installation<'c> {
    cluster: &'c ControlPlane,
    kubeconfig: PathBuf,
    args: Vec<String>,
    /// Where the API server reaches the Service.
    pub service: SocketAddr,
}

impl<'c> Installation<'c> {
    /// Applies the manifests, unmodified.
    #[track_caller]
    pub fn new(cluster: &'c ControlPlane) -> Self {
        let printed = cpufit(["manifests", "-o", "json"]).run();
        assert_eq!(printed.code(), 0, "no manifests: {}", head(&printed.stderr));
        let list: Value = serde_json::from_str(&printed.stdout).expect("a List");
        cluster.kubectl_with(&["apply", "-f", "-"], &list);
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
        }
    }

    /// One replica, answering where the Service is, ready.
    #[track_caller]
    pub fn serve(&self, more: &[&str]) -> Replica {
        let replica = self.start("cpufit-0", self.service, more);
        replica.until("ready", |replica| replica.get("/readyz").contains(" 200 "));
        replica
    }

    /// A replica, on this address; it need not be ready.
    #[track_caller]
    pub fn start(&self, name: &str, listen: SocketAddr, more: &[&str]) -> Replica {
        let mut command = Command::new(BIN);
        command.args(&self.args).arg("--kubeconfig").arg(&self.kubeconfig).args(more);
        command.args(["--listen".to_owned(), listen.to_string()]).args(["--admin-listen", "127.0.0.1:0"]);
        command.args(["--log", "info,cpufit=debug"]);
        command.env("POD_NAME", name).env("POD_NAMESPACE", "cpufit-system");
        let mut server = Server::start(self.cluster.workplace(), name, &command);
        let admin = |server: &Server| {
            Some(server.log().lines().find_map(|l| l.split_once("admin http://"))?.1.trim().to_owned())
        };
        let admin = server.wait(SOON, admin).unwrap_or_else(|problem| panic!("{problem}"));
        Replica { server, admin }
    }

    /// The kubeconfig of the ServiceAccount.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }
}

/// One running cpufit; ended when dropped.
pub struct Replica {
    pub server: Server,
    admin: String,
}

impl Replica {
    /// A page of the admin port, with its head; empty where nobody answers.
    pub fn get(&self, path: &str) -> String {
        let get = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(&self.admin)?;
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            write!(stream, "GET {path} HTTP/1.0\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        get().unwrap_or_default()
    }

    /// Waits until something holds.
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

    /// Waits until what is known holds so many nodes and at least so many guests.
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

/// `cpufit` with these arguments, on the cluster of a kubeconfig; what it prints, as at a terminal.
#[track_caller]
pub fn told_by_cpufit(kubeconfig: &Path, command: &str) -> String {
    let mut args: Vec<OsString> = command.split(' ').map(OsString::from).collect();
    args.extend(["--kubeconfig".into(), kubeconfig.into()]);
    let ran = cpufit(args).run();
    let end = if ran.code() == 0 { String::new() } else { format!("[exit code {}]\n", ran.code()) };
    format!("$ cpufit {command}\n{}{}{end}", ran.stdout, ran.stderr)
}
