//! A control plane of its own for a test: etcd, the API server, and where wanted the scheduler and kwok, all on loopback.

use std::fmt::Write as _;
use std::io::{PipeReader, Read as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::common::{self, Ran, head};
use crate::pki::{Authority, Pair, token_keys};
use crate::process::{Server, Workplace};

/// Seconds on an idle machine.
const READY: Duration = Duration::from_secs(90);

/// No kubectl of a test waits for anything; one that hangs must end as a failure.
const KUBECTL: Duration = Duration::from_secs(60);

/// From here addresses of Services are taken. On Linux they are loopback addresses: what listens there is reached through the
/// Service, by the API server.
const SERVICES: &str = "127.96.0.0/16";
const FIRST_SERVICE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 96, 0, 1));
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// What a control plane may have besides etcd and the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Binds pods.
    Scheduler,
    /// Plays the kubelets: nodes are Ready and pods Running.
    Kwok,
}

impl Part {
    fn program(self) -> &'static str {
        match self {
            Self::Scheduler => "kube-scheduler",
            Self::Kwok => "kwok",
        }
    }
}

/// The folder of the programs: `KUBEBUILDER_ASSETS`, else where `make controlplane` builds them.
fn assets() -> PathBuf {
    let named = std::env::var_os("KUBEBUILDER_ASSETS").filter(|folder| !folder.is_empty());
    let folder = named.map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/controlplane"), PathBuf::from);
    for program in ["etcd", "kube-apiserver", "kubectl"] {
        assert!(
            folder.join(program).is_file(),
            "there is no {program} in {}: run `make e2e`, which builds the control plane first, or point \
             KUBEBUILDER_ASSETS to a folder with kube-apiserver, etcd and kubectl",
            folder.display()
        );
    }
    folder
}

/// Ports that were free a moment ago, each another one.
fn free_ports<const N: usize>() -> [u16; N] {
    let held: [TcpListener; N] = std::array::from_fn(|_| TcpListener::bind((LOOPBACK, 0)).expect("a free port"));
    held.map(|listener| listener.local_addr().expect("its address").port())
}

/// Stopped, with all that belongs to it, when dropped.
pub struct ControlPlane {
    // In the order in which they are stopped.
    _others: Vec<Server>,
    _api: Server,
    _etcd: Server,
    authority: Authority,
    port: u16,
    assets: PathBuf,
    admin: PathBuf,
    workplace: Workplace,
}

impl ControlPlane {
    /// Starts it and waits until it is ready; `None`, said on standard output, where a part's program is not there.
    #[track_caller]
    pub fn start(parts: &[Part]) -> Option<Self> {
        let assets = assets();
        if let Some(part) = parts.iter().find(|part| !assets.join(part.program()).is_file()) {
            println!("LEFT OUT: this test needs {}, which is not in {}", part.program(), assets.display());
            return None;
        }
        let started = Instant::now();
        // Somebody else may have taken a port since it was found free.
        let mut problems = String::new();
        for _ in 0..3 {
            match Self::try_start(&assets, parts) {
                Ok(cluster) => {
                    println!("control plane with {parts:?} ready in {:.1} s", started.elapsed().as_secs_f32());
                    return Some(cluster);
                }
                Err(problem) => {
                    let taken = problem.contains("address already in use");
                    writeln!(problems, "{problem}").expect("writing to a string");
                    if !taken {
                        break;
                    }
                }
            }
        }
        panic!("no control plane to test on: {problems}");
    }

    fn try_start(assets: &Path, parts: &[Part]) -> Result<Self, String> {
        let workplace = Workplace::new();
        let [client, peer, port, scheduler, kwok] = free_ports();
        let authority = Authority::new();
        let etcd = etcd(&workplace, assets, client, peer);
        let mut api = api_server(&workplace, assets, &authority, port, client);
        let admin = kubeconfig(&workplace, &authority, port, "admin", &["system:masters"]);
        let kubectl = |args: &[&str]| kubectl(assets, workplace.path(), &admin, args).run().code == Some(0);

        api.wait(READY, |_| kubectl(&["get", "--raw=/readyz"]).then_some(()))
            .map_err(|problem| format!("{problem}\netcd: {}", etcd.log().lines().last().unwrap_or_default()))?;
        // Made by the API server itself, some time after it is ready.
        api.wait(READY, |_| kubectl(&["get", "namespace", "default", "kube-system"]).then_some(()))?;

        let mut others = Vec::new();
        for part in parts {
            others.push(match part {
                Part::Scheduler => {
                    let mut server = start_scheduler(&workplace, assets, &authority, &admin, scheduler);
                    let address = format!("--server=https://{}", SocketAddr::new(LOOPBACK, scheduler));
                    server.wait(READY, |_| kubectl(&[&address, "get", "--raw=/readyz"]).then_some(()))?;
                    server
                }
                Part::Kwok => {
                    let mut server = start_kwok(&workplace, assets, &admin, kwok);
                    server.wait(READY, |_| answers(SocketAddr::new(LOOPBACK, kwok), "/healthz").then_some(()))?;
                    server
                }
            });
        }
        let (assets, workplace) = (assets.to_owned(), workplace);
        Ok(Self { _others: others, _api: api, _etcd: etcd, authority, port, assets, admin, workplace })
    }

    /// A folder for the test's files, which is also where kubectl runs; gone with the control plane.
    pub fn workplace(&self) -> &Workplace {
        &self.workplace
    }

    /// The kubeconfig of a user, or of `system:serviceaccount:NAMESPACE:NAME` with the groups of service accounts.
    pub fn kubeconfig(&self, user: &str, groups: &[&str]) -> PathBuf {
        kubeconfig(&self.workplace, &self.authority, self.port, user, groups)
    }

    /// The kubeconfig of a service account, by a certificate instead of a token.
    pub fn service_account(&self, namespace: &str, name: &str) -> PathBuf {
        let all_of_namespace = format!("system:serviceaccounts:{namespace}");
        self.kubeconfig(
            &format!("system:serviceaccount:{namespace}:{name}"),
            &["system:serviceaccounts", &all_of_namespace],
        )
    }

    /// The kubeconfig of a service account, by a token as pods get it.
    #[track_caller]
    pub fn token_kubeconfig(&self, namespace: &str, name: &str) -> PathBuf {
        let token = self.kubectl(&["create", "token", name, "--namespace", namespace, "--duration=1h"]);
        let user = json!({"token": token.trim()});
        kubeconfig_of(&self.workplace, &self.authority, self.port, &format!("{namespace}-{name}-token"), &user)
    }

    /// kubectl as the administrator: what it prints on standard output; it must succeed.
    #[track_caller]
    pub fn kubectl(&self, args: &[&str]) -> String {
        succeed(args, kubectl(&self.assets, self.workplace.path(), &self.admin, args).run())
    }

    /// The same, with something on standard input (`-f -`).
    #[track_caller]
    pub fn kubectl_with(&self, args: &[&str], input: &Value) -> String {
        let run = kubectl(&self.assets, self.workplace.path(), &self.admin, args).stdin(input.to_string());
        succeed(args, run.run())
    }

    /// kubectl's answer as JSON.
    #[track_caller]
    pub fn get(&self, args: &[&str]) -> Value {
        let text = self.kubectl(&[&["get", "-o", "json"], args].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("kubectl get {args:?}: {error}"))
    }

    /// A session at a terminal: the command, then both outputs as they came, then the exit code if it is not 0.
    #[track_caller]
    pub fn told(&self, kubeconfig: &Path, args: &[&str]) -> String {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let mut command = kubectl_command(&self.assets, self.workplace.path(), kubeconfig, args);
        command.stdin(Stdio::null()).stdout(writer.try_clone().expect("a pipe")).stderr(writer);
        let mut child = command.spawn().expect("kubectl");
        // The command holds the pipe's other ends, which must close for its reader to end.
        drop(command);
        let output = std::thread::spawn(move || read(reader));
        let status = common::wait(&mut child, KUBECTL).unwrap_or_else(|| {
            child.kill().ok();
            child.wait().ok();
            panic!("kubectl {args:?} did not end within {KUBECTL:?}")
        });
        let output = output.join().expect("a reader");
        let end = if status.success() { String::new() } else { format!("[{status}]\n") };
        format!("$ kubectl {}\n{output}{end}", args.join(" "))
    }

    /// The administrator's session.
    #[track_caller]
    pub fn told_admin(&self, args: &[&str]) -> String {
        self.told(&self.admin, args)
    }

    /// An address of the Services' range, another one for each control plane.
    pub fn service_address(&self) -> Ipv4Addr {
        let [high, low] = self.port.to_be_bytes();
        // Neither the first nor the last ones of the range, which the API server gives away or refuses.
        Ipv4Addr::new(127, 96, high.clamp(1, 254), low.clamp(1, 254))
    }
}

#[track_caller]
fn succeed(args: &[&str], ran: Ran) -> String {
    assert!(ran.code() == 0, "kubectl {args:?}: {}{}", head(&ran.stdout), head(&ran.stderr));
    ran.stdout
}

fn read(mut from: PipeReader) -> String {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).ok();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Whether a plain HTTP server answers 200.
fn answers(address: SocketAddr, path: &str) -> bool {
    use std::io::Write as _;
    let limit = Duration::from_secs(2);
    let Ok(mut stream) = std::net::TcpStream::connect_timeout(&address, limit) else { return false };
    stream.set_read_timeout(Some(limit)).ok();
    let mut answer = [0; 64];
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").is_ok()
        && stream.read(&mut answer).is_ok_and(|length| String::from_utf8_lossy(&answer[..length]).contains(" 200 "))
}

fn kubectl_command(assets: &Path, folder: &Path, kubeconfig: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(assets.join("kubectl"));
    command.args(args).arg("--request-timeout=30s").current_dir(folder).env("HOME", folder);
    command.env("KUBECONFIG", kubeconfig).env_remove("KUBECTL_EXTERNAL_DIFF");
    command
}

fn kubectl(assets: &Path, folder: &Path, kubeconfig: &Path, args: &[&str]) -> common::Run {
    common::program(kubectl_command(assets, folder, kubeconfig, args)).limit(KUBECTL)
}

fn kubeconfig(workplace: &Workplace, authority: &Authority, port: u16, user: &str, groups: &[&str]) -> PathBuf {
    let Pair { certificate, key } = authority.client(user, groups);
    let user_data = json!({
        "client-certificate-data": STANDARD.encode(certificate), "client-key-data": STANDARD.encode(key),
    });
    kubeconfig_of(workplace, authority, port, user, &user_data)
}

fn kubeconfig_of(workplace: &Workplace, authority: &Authority, port: u16, user: &str, user_data: &Value) -> PathBuf {
    let content = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "e2e",
        "contexts": [{"name": "e2e", "context": {"cluster": "e2e", "user": user}}],
        "clusters": [{"name": "e2e", "cluster": {
            "server": format!("https://{}", SocketAddr::new(LOOPBACK, port)),
            "certificate-authority-data": STANDARD.encode(&authority.certificate),
        }}],
        "users": [{"name": user, "user": user_data}],
    });
    workplace.write(&format!("{}.kubeconfig", user.replace(':', "-")), content.to_string())
}

fn etcd(workplace: &Workplace, assets: &Path, client: u16, peer: u16) -> Server {
    let url = |port| format!("http://{}", SocketAddr::new(LOOPBACK, port));
    let mut command = Command::new(assets.join("etcd"));
    command
        .args(["--unsafe-no-fsync", "--log-level=warn"])
        .arg(format!("--data-dir={}", workplace.path().join("etcd").display()))
        .arg(format!("--listen-client-urls={}", url(client)))
        .arg(format!("--advertise-client-urls={}", url(client)))
        .arg(format!("--listen-peer-urls={}", url(peer)))
        .arg(format!("--initial-advertise-peer-urls={}", url(peer)))
        .arg(format!("--initial-cluster=default={}", url(peer)));
    Server::start(workplace, "etcd", &command)
}

fn api_server(workplace: &Workplace, assets: &Path, authority: &Authority, port: u16, etcd: u16) -> Server {
    let ca = workplace.write("ca.pem", &authority.certificate);
    let names = ["kubernetes.default.svc", "kubernetes", "localhost"];
    let Pair { certificate, key } = authority.server(&names, &[LOOPBACK, FIRST_SERVICE]);
    workplace.write("api.pem", certificate);
    workplace.write("api.key", key);
    let (private, public) = token_keys();
    workplace.write("tokens.key", private);
    workplace.write("tokens.pub", public);
    let mut command = Command::new(assets.join("kube-apiserver"));
    command
        .arg(format!("--etcd-servers=http://{}", SocketAddr::new(LOOPBACK, etcd)))
        .arg(format!("--bind-address={LOOPBACK}"))
        .arg(format!("--advertise-address={LOOPBACK}"))
        .arg(format!("--secure-port={port}"))
        .arg(format!("--service-cluster-ip-range={SERVICES}"))
        .arg(format!("--client-ca-file={}", ca.display()))
        .args(["--tls-cert-file=api.pem", "--tls-private-key-file=api.key"])
        .args(["--service-account-key-file=tokens.pub", "--service-account-signing-key-file=tokens.key"])
        .args(["--service-account-issuer=https://kubernetes.default.svc", "--authorization-mode=Node,RBAC"])
        .args(["--endpoint-reconciler-type=none", "--external-hostname=localhost"])
        .args(["--allow-privileged", "--profiling=false"])
        // No controller is there to make accounts, or to take from new nodes the taint that says they are not ready.
        .arg("--disable-admission-plugins=ServiceAccount,TaintNodesByCondition");
    Server::start(workplace, "kube-apiserver", &command)
}

fn start_scheduler(workplace: &Workplace, assets: &Path, authority: &Authority, admin: &Path, port: u16) -> Server {
    let Pair { certificate, key } = authority.server(&["localhost"], &[LOOPBACK]);
    workplace.write("scheduler.pem", certificate);
    workplace.write("scheduler.key", key);
    let config = json!({
        "apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration",
        "leaderElection": {"leaderElect": false},
        "clientConnection": {"kubeconfig": admin, "qps": 1000, "burst": 1000},
    });
    workplace.write("scheduler.yaml", config.to_string());
    let mut command = Command::new(assets.join("kube-scheduler"));
    command
        .args(["--config=scheduler.yaml", "--tls-cert-file=scheduler.pem", "--tls-private-key-file=scheduler.key"])
        .arg(format!("--bind-address={LOOPBACK}"))
        .arg(format!("--secure-port={port}"))
        .arg(format!("--authentication-kubeconfig={}", admin.display()))
        .arg(format!("--authorization-kubeconfig={}", admin.display()));
    Server::start(workplace, "kube-scheduler", &command)
}

fn start_kwok(workplace: &Workplace, assets: &Path, admin: &Path, port: u16) -> Server {
    let mut command = Command::new(assets.join("kwok"));
    command
        .arg(format!("--kubeconfig={}", admin.display()))
        .arg(format!("--server-address={}", SocketAddr::new(LOOPBACK, port)))
        .args(["--manage-all-nodes=true", "--node-lease-duration-seconds=0"]);
    let stages = std::fs::read_dir(assets.join("stages")).expect("the stages are built with kwok");
    let mut stages: Vec<PathBuf> = stages.map(|stage| stage.expect("a stage").path()).collect();
    stages.sort();
    for stage in stages {
        command.arg("--config").arg(stage);
    }
    Server::start(workplace, "kwok", &command)
}
