//! A control plane for one test: etcd, the API server and, on request, the scheduler and kwok, all on loopback.

use std::fmt::Write as _;
use std::io::{PipeReader, Read as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::common::{self, Ran, head};
use crate::pki::{Authority, Pair, token_keys};
use crate::process::{Server, Workplace};

/// Time limit for becoming ready; an idle machine needs seconds.
const READY: Duration = Duration::from_secs(90);

/// Time limit of a kubectl; none should wait, so one that hangs fails the test.
const KUBECTL: Duration = Duration::from_secs(60);

const API: &str = "kube-apiserver";
/// The name in the API server's certificate for cpufit's webhooks.
pub const CLIENT: &str = "kube-apiserver-cpufit";
const AUDIT_LOG: &str = "audit.log";

/// The range for addresses of Services. On Linux these are loopback addresses: the API server reaches a listener there
/// through the Service.
const SERVICES: &str = "127.96.0.0/16";
const FIRST_SERVICE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 96, 0, 1));
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// An optional part of a control plane, in addition to etcd and the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The scheduler, which binds pods.
    Scheduler,
    /// A kwok in place of the kubelets: nodes are Ready and pods Running.
    Kwok,
    /// An API server without streaming lists, like older ones.
    NoStreamingLists,
    /// An API server with a certificate for cpufit's webhooks, from the authority in `clients.pem`.
    ClientCertificate,
}

impl Part {
    fn program(self) -> &'static str {
        match self {
            Self::Scheduler => "kube-scheduler",
            Self::Kwok => "kwok",
            Self::NoStreamingLists | Self::ClientCertificate => API,
        }
    }
}

/// Returns the folder of the programs: `KUBEBUILDER_ASSETS`, or the output folder of `make controlplane`.
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

/// Returns distinct ports that were free a moment ago.
fn free_ports<const N: usize>() -> [u16; N] {
    let held: [TcpListener; N] = std::array::from_fn(|_| TcpListener::bind((LOOPBACK, 0)).expect("a free port"));
    held.map(|listener| listener.local_addr().expect("its address").port())
}

/// A control plane, which is stopped with all its parts when dropped.
pub struct ControlPlane {
    // In the order in which they are stopped.
    _others: Vec<Server>,
    api: Mutex<Option<Server>>,
    api_command: Command,
    _etcd: Server,
    authority: Authority,
    port: u16,
    assets: PathBuf,
    admin: PathBuf,
    workplace: Workplace,
}

impl ControlPlane {
    /// Starts it and waits until it is ready; prints a note and returns `None` if a part's program is missing.
    #[track_caller]
    pub fn start(parts: &[Part]) -> Option<Self> {
        let assets = assets();
        if let Some(part) = parts.iter().find(|part| !assets.join(part.program()).is_file()) {
            println!("LEFT OUT: this test needs {}, which is not in {}", part.program(), assets.display());
            return None;
        }
        let started = Instant::now();
        // Another process may have taken a port since it was found free.
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
        let mut api_command = api_server(&workplace, assets, &authority, port, client);
        if parts.contains(&Part::NoStreamingLists) {
            api_command.arg("--feature-gates=WatchList=false");
        }
        if parts.contains(&Part::ClientCertificate) {
            api_command.arg("--admission-control-config-file=admission.yaml");
            write_client_certificate(&workplace);
        }
        let mut api = Server::start(&workplace, API, &api_command);
        let admin = kubeconfig(&workplace, &authority, port, "admin", &["system:masters"]);
        let kubectl = |args: &[&str]| kubectl(assets, workplace.path(), &admin, args).run().code == Some(0);

        api.wait(READY, |_| kubectl(&["get", "--raw=/readyz"]).then_some(()))
            .map_err(|problem| format!("{problem}\netcd: {}", etcd.log().lines().last().unwrap_or_default()))?;
        // The API server creates these some time after it is ready.
        api.wait(READY, |_| kubectl(&["get", "namespace", "default", "kube-system"]).then_some(()))?;

        let mut others = Vec::new();
        for part in parts {
            let server = match part {
                Part::NoStreamingLists | Part::ClientCertificate => continue,
                Part::Scheduler => {
                    let mut server = start_scheduler(&workplace, assets, &authority, &admin, scheduler);
                    let address = format!("--server=https://{}", SocketAddr::new(LOOPBACK, scheduler));
                    server.wait(READY, |_| kubectl(&[&address, "get", "--raw=/readyz"]).then_some(()))?;
                    server
                }
                Part::Kwok => {
                    let mut server = start_kwok(&workplace, assets, &admin, kwok);
                    server.wait(READY, |_| is_well(SocketAddr::new(LOOPBACK, kwok)))?;
                    server
                }
            };
            others.push(server);
        }
        let (api, assets) = (Mutex::new(Some(api)), assets.to_owned());
        Ok(Self { _others: others, api, api_command, _etcd: etcd, authority, port, assets, admin, workplace })
    }

    /// Kills the API server and starts it again after `away`, with the same port and the same etcd. Returns when it is
    /// ready.
    #[track_caller]
    pub fn api_restart(&self, away: Duration) {
        let mut api = self.api.lock().expect("no restart failed");
        drop(api.take());
        std::thread::sleep(away);
        let mut server = Server::start(&self.workplace, API, &self.api_command);
        let kubectl = |args: &[&str]| kubectl(&self.assets, self.workplace.path(), &self.admin, args).run();
        let ready = server.wait(READY, |_| (kubectl(&["get", "--raw=/readyz"]).code == Some(0)).then_some(()));
        *api = Some(server);
        ready.unwrap_or_else(|problem| panic!("the API server does not come back: {problem}"));
    }

    /// Returns the audit log so far, of requests that change pods, nodes, KubeVirt's or cpufit's objects, and of all
    /// requests of cpufit's account: `audit.k8s.io/v1` Events, each with its annotations.
    pub fn audit_log(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.workplace.path().join(AUDIT_LOG)).unwrap_or_default();
        // The last line may be incomplete.
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Returns the log of the API server so far, which names the errors of webhooks.
    pub fn api_log(&self) -> String {
        std::fs::read_to_string(self.workplace.path().join(format!("{API}.log"))).unwrap_or_default()
    }

    /// Returns the number of requests that the API server admitted although a webhook failed, since its start; nothing
    /// else shows the effect of `failurePolicy: Ignore`.
    #[track_caller]
    pub fn failed_open(&self) -> u64 {
        let metrics = self.kubectl(&["get", "--raw=/metrics"]);
        let counts = metrics.lines().filter(|line| line.starts_with("apiserver_admission_webhook_fail_open_count{"));
        counts.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum()
    }

    /// Returns the authority of this control plane, which signs certificates.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Returns the administrator's kubeconfig.
    pub fn admin(&self) -> &Path {
        &self.admin
    }

    /// Returns the folder of kubectl, helm and the servers.
    pub fn assets(&self) -> &Path {
        &self.assets
    }

    /// Returns a folder for the test's files, in which kubectl runs; it is removed with the control plane.
    pub fn workplace(&self) -> &Workplace {
        &self.workplace
    }

    /// Returns the kubeconfig of a user, or of `system:serviceaccount:NAMESPACE:NAME` with the groups of service
    /// accounts.
    pub fn kubeconfig(&self, user: &str, groups: &[&str]) -> PathBuf {
        kubeconfig(&self.workplace, &self.authority, self.port, user, groups)
    }

    /// Returns the kubeconfig of a service account with a certificate instead of a token.
    pub fn service_account(&self, namespace: &str, name: &str) -> PathBuf {
        let all_of_namespace = format!("system:serviceaccounts:{namespace}");
        self.kubeconfig(
            &format!("system:serviceaccount:{namespace}:{name}"),
            &["system:serviceaccounts", &all_of_namespace],
        )
    }

    /// Returns the kubeconfig of a service account with a token from the API server, as in a pod, valid for an hour.
    #[track_caller]
    pub fn token_kubeconfig(&self, namespace: &str, name: &str) -> PathBuf {
        let token = self.kubectl(&["create", "token", name, "--namespace", namespace, "--duration=1h"]);
        let file = format!("{namespace}-{name}.token");
        write_kubeconfig(&self.workplace, &self.authority, self.port, &file, &json!({"token": token.trim()}))
    }

    /// Runs kubectl as the administrator and returns its standard output; it must succeed.
    #[track_caller]
    pub fn kubectl(&self, args: &[&str]) -> String {
        succeed(args, kubectl(&self.assets, self.workplace.path(), &self.admin, args).run())
    }

    /// Runs kubectl as the administrator with standard input (`-f -`).
    #[track_caller]
    pub fn kubectl_with(&self, args: &[&str], input: &Value) -> String {
        let run = kubectl(&self.assets, self.workplace.path(), &self.admin, args).stdin(input.to_string());
        succeed(args, run.run())
    }

    /// Runs a printed command line in bash, as the administrator, and returns its standard output; it must succeed.
    #[track_caller]
    pub fn shell(&self, line: &str) -> String {
        let mut command = Command::new("bash");
        let path = format!("{}:{}", self.assets.display(), std::env::var("PATH").unwrap_or_default());
        command.args(["-c", line]).env("PATH", path).env("KUBECONFIG", &self.admin).env("HOME", self.workplace.path());
        succeed(&[line], common::program(command).run())
    }

    /// Returns kubectl's answer as JSON.
    #[track_caller]
    pub fn get(&self, args: &[&str]) -> Value {
        let text = self.kubectl(&[&["get", "-o", "json"], args].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("kubectl get {args:?}: {error}"))
    }

    /// Returns a session at a terminal: the command, then both outputs in order, then the exit code if it is not 0.
    #[track_caller]
    pub fn output(&self, kubeconfig: &Path, args: &[&str]) -> String {
        self.output_within(kubeconfig, args, KUBECTL)
            .unwrap_or_else(|so_far| panic!("kubectl {args:?} did not end within {KUBECTL:?}: {so_far}"))
    }

    /// Starts kubectl as the administrator with both outputs to a file; the caller stops it.
    ///
    /// # Errors
    ///
    /// Returns an error if it cannot be started.
    pub fn spawn(&self, args: &[&str], out: std::fs::File) -> std::io::Result<std::process::Child> {
        let mut command = kubectl_command(&self.assets, self.workplace.path(), &self.admin, args);
        command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out).spawn()
    }

    /// Returns a session with a command that may not end, such as a drain: it is stopped after `limit`.
    #[track_caller]
    pub fn output_for(&self, kubeconfig: &Path, args: &[&str], limit: Duration) -> String {
        let stopped = |so_far| format!("{so_far}[stopped after {} s]\n", limit.as_secs());
        self.output_within(kubeconfig, args, limit).unwrap_or_else(stopped)
    }

    /// # Errors
    ///
    /// Returns the output so far if the command was killed at the limit.
    #[track_caller]
    fn output_within(&self, kubeconfig: &Path, args: &[&str], limit: Duration) -> Result<String, String> {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let mut command = kubectl_command(&self.assets, self.workplace.path(), kubeconfig, args);
        command.stdin(Stdio::null()).stdout(writer.try_clone().expect("a pipe")).stderr(writer);
        let mut child = command.spawn().expect("kubectl");
        // The command holds the other ends of the pipe, which must close for its reader to end.
        drop(command);
        let output = std::thread::spawn(move || read(reader));
        let status = common::wait(&mut child, limit);
        if status.is_none() {
            child.kill().ok();
            child.wait().ok();
        }
        let output = format!("$ kubectl {}\n{}", args.join(" "), output.join().expect("a reader"));
        match status {
            None => Err(output),
            Some(status) if status.success() => Ok(output),
            Some(status) => Ok(format!("{output}[{status}]\n")),
        }
    }

    /// Starts another kwok with the test's own stages, for kinds that must be served already; prints a note and returns
    /// `None` if kwok is missing.
    #[track_caller]
    pub fn play(&self, stages: &Path) -> Option<Server> {
        if !self.assets.join("kwok").is_file() {
            println!("LEFT OUT: this test needs kwok, which is not in {}", self.assets.display());
            return None;
        }
        let [port] = free_ports();
        let name = format!("kwok-{port}");
        let mut server = kwok(&self.workplace, &self.assets, &self.admin, &name, port, stages);
        let ready = server.wait(READY, |_| is_well(SocketAddr::new(LOOPBACK, port)));
        ready.unwrap_or_else(|problem| panic!("{problem}"));
        Some(server)
    }

    /// Starts a kwok in place of the kubelets of nodes with these labels, which answers exec by the `Exec` objects of a
    /// file: with commands of this machine, or of another `PATH`. Prints a note and returns `None` if kwok is missing.
    #[track_caller]
    pub fn play_kubelets(&self, name: &str, execs: &Path, labels: &str, path: Option<&str>) -> Option<Server> {
        if !self.assets.join("kwok").is_file() {
            println!("LEFT OUT: this test needs kwok, which is not in {}", self.assets.display());
            return None;
        }
        let [port] = free_ports();
        let Pair { certificate, key } = self.authority.server(&["localhost"], &[LOOPBACK]);
        let mut command = kwok_command(&self.assets, &self.admin, port, &self.assets.join("stages"));
        command
            .arg("--config")
            .arg(execs)
            .arg(format!("--node-ip={LOOPBACK}"))
            .arg(format!("--node-port={port}"))
            .arg(format!("--tls-cert-file={}", self.workplace.write(&format!("{name}.pem"), certificate).display()))
            .arg(format!("--tls-private-key-file={}", self.workplace.write(&format!("{name}.key"), key).display()));
        command.arg("--manage-all-nodes=false").arg(format!("--manage-nodes-with-label-selector={labels}"));
        if let Some(path) = path {
            let mut elsewhere = Command::new("env");
            elsewhere.arg(format!("PATH={path}")).arg(command.get_program()).args(command.get_args());
            command = elsewhere;
        }
        let mut server = Server::start(&self.workplace, name, &command);
        let ready = server.wait(READY, |_| is_well(SocketAddr::new(LOOPBACK, port)));
        ready.unwrap_or_else(|problem| panic!("{problem}"));
        Some(server)
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

/// Returns the status and the body of a plain HTTP answer; `None` without an answer.
pub fn http_get(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    use std::io::Write as _;
    let limit = Duration::from_secs(5);
    let mut stream = TcpStream::connect_timeout(&address, limit).ok()?;
    stream.set_read_timeout(Some(limit)).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

fn is_well(address: SocketAddr) -> Option<()> {
    http_get(address, "/healthz").filter(|(status, _)| *status == 200).map(drop)
}

fn kubectl_command(assets: &Path, folder: &Path, kubeconfig: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(assets.join("kubectl"));
    command.args(args).arg("--request-timeout=30s").current_dir(folder).env("HOME", folder);
    command.env("KUBECONFIG", kubeconfig).env_remove("KUBECTL_EXTERNAL_DIFF");
    command
}

fn kubectl(assets: &Path, folder: &Path, kubeconfig: &Path, args: &[&str]) -> common::Run {
    common::program(kubectl_command(assets, folder, kubeconfig, args))
}

fn kubeconfig(workplace: &Workplace, authority: &Authority, port: u16, user: &str, groups: &[&str]) -> PathBuf {
    let Pair { certificate, key } = authority.client(user, groups);
    let credentials = json!({
        "client-certificate-data": STANDARD.encode(certificate), "client-key-data": STANDARD.encode(key),
    });
    write_kubeconfig(workplace, authority, port, &user.replace(':', "-"), &credentials)
}

/// Writes the API server's configuration for webhooks, as described in docs/install.md.
fn write_client_certificate(workplace: &Workplace) {
    let authority = Authority::new();
    workplace.write("clients.pem", &authority.certificate);
    let Pair { certificate, key } = authority.client(CLIENT, &[]);
    let user = json!({
        "client-certificate": workplace.write("client.pem", certificate), "client-key": workplace.write("client.key", key),
    });
    let users = json!([{"name": "cpufit.cpufit-system.svc", "user": user}]);
    let kubeconfig = json!({"apiVersion": "v1", "kind": "Config", "users": users}).to_string();
    let kubeconfig = workplace.write("webhooks.kubeconfig", kubeconfig);
    let plugin = |name: &str| {
        let configuration = json!({
            "apiVersion": "apiserver.config.k8s.io/v1", "kind": "WebhookAdmissionConfiguration", "kubeConfigFile": kubeconfig,
        });
        json!({"name": name, "configuration": configuration})
    };
    let plugins = [plugin("ValidatingAdmissionWebhook"), plugin("MutatingAdmissionWebhook")];
    let admission =
        json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration", "plugins": plugins});
    workplace.write("admission.yaml", admission.to_string());
}

fn write_kubeconfig(
    workplace: &Workplace,
    authority: &Authority,
    port: u16,
    user: &str,
    credentials: &Value,
) -> PathBuf {
    let content = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "e2e",
        "contexts": [{"name": "e2e", "context": {"cluster": "e2e", "user": user}}],
        "clusters": [{"name": "e2e", "cluster": {
            "server": format!("https://{}", SocketAddr::new(LOOPBACK, port)),
            "certificate-authority-data": STANDARD.encode(&authority.certificate),
        }}],
        "users": [{"name": user, "user": credentials}],
    });
    workplace.write(&format!("{user}.kubeconfig"), content.to_string())
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

/// Returns an audit policy with the metadata that `ControlPlane::audit_log` returns, written once a request is
/// answered.
fn audit_policy() -> Value {
    let changes = ["create", "update", "patch", "delete", "deletecollection"];
    json!({
        "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived", "ResponseStarted"],
        "rules": [
            {"level": "Metadata", "userGroups": ["system:serviceaccounts:cpufit-system"]},
            {"level": "Metadata", "verbs": changes, "resources": [
                {"group": "", "resources": ["pods", "pods/eviction", "nodes"]},
                {"group": "kubevirt.io"},
                {"group": "cpufit.io"},
            ]},
            {"level": "None"},
        ],
    })
}

fn api_server(workplace: &Workplace, assets: &Path, authority: &Authority, port: u16, etcd: u16) -> Command {
    let ca = workplace.write("ca.pem", &authority.certificate);
    let names = ["kubernetes.default.svc", "kubernetes", "localhost"];
    let Pair { certificate, key } = authority.server(&names, &[LOOPBACK, FIRST_SERVICE]);
    workplace.write("api.pem", certificate);
    workplace.write("api.key", key);
    let (private, public) = token_keys();
    workplace.write("tokens.key", private);
    workplace.write("tokens.pub", public);
    workplace.write("audit-policy.yaml", audit_policy().to_string());
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
        .args(["--allow-privileged", "--profiling=false", "--audit-policy-file=audit-policy.yaml"])
        .arg(format!("--audit-log-path={AUDIT_LOG}"))
        // There is no controller that creates accounts, or that removes the not-ready taint from new nodes.
        .arg("--disable-admission-plugins=ServiceAccount,TaintNodesByCondition");
    command
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
    kwok(workplace, assets, admin, "kwok", port, &assets.join("stages"))
}

/// Starts kwok with the stages of a folder.
fn kwok(workplace: &Workplace, assets: &Path, admin: &Path, name: &str, port: u16, stages: &Path) -> Server {
    Server::start(workplace, name, &kwok_command(assets, admin, port, stages))
}

fn kwok_command(assets: &Path, admin: &Path, port: u16, stages: &Path) -> Command {
    let mut command = Command::new(assets.join("kwok"));
    command
        .arg(format!("--kubeconfig={}", admin.display()))
        .arg(format!("--server-address={}", SocketAddr::new(LOOPBACK, port)))
        .args(["--manage-all-nodes=true", "--node-lease-duration-seconds=0"]);
    let stages = std::fs::read_dir(stages).unwrap_or_else(|error| panic!("{}: {error}", stages.display()));
    let mut stages: Vec<PathBuf> = stages.map(|stage| stage.expect("a stage").path()).collect();
    stages.sort();
    for stage in stages {
        command.arg("--config").arg(stage);
    }
    command
}
