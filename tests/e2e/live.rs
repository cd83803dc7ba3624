//! The cluster watched for real: what is created is known, what vanishes is gone, whatever KubeVirt's kinds do.

use std::ffi::OsStr;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::{BIN, cpufit, head};
use crate::controlplane::ControlPlane;
use crate::process::Server;
use crate::world;

/// The longest pause of a watch that looks for a kind again is half a minute.
const SOON: Duration = Duration::from_secs(60);

struct Serving {
    server: Server,
    admin: String,
}

impl Serving {
    #[track_caller]
    fn start(cluster: &ControlPlane, kubeconfig: &Path) -> Self {
        let certificates = cluster.workplace().path().join("webhook");
        let made = cpufit([OsStr::new("certs"), OsStr::new("--out"), certificates.as_os_str()]).run();
        assert_eq!(made.code(), 0, "no certificates for the webhook: {}", head(&made.stderr));
        let mut serve = Command::new(BIN);
        serve
            .args([OsStr::new("serve"), OsStr::new("--kubeconfig"), kubeconfig.as_os_str()])
            .args([OsStr::new("--cert"), certificates.join("tls.crt").as_os_str()])
            .args([OsStr::new("--key"), certificates.join("tls.key").as_os_str()])
            .args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--log", "info,cpufit=debug"]);
        let mut server = Server::start(cluster.workplace(), "cpufit", &serve);
        let admin = |server: &Server| {
            let log = server.log();
            let line = log.lines().find_map(|line| line.split_once("admin http://"))?;
            Some(line.1.trim().to_owned())
        };
        let admin = server.wait(SOON, admin).unwrap_or_else(|problem| panic!("{problem}"));
        Self { server, admin }
    }

    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.admin).expect("the admin port");
        stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    }

    #[track_caller]
    fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + SOON;
        while !holds(self) {
            let log = self.server.log();
            assert!(
                Instant::now() < deadline,
                "{what}: not after {SOON:?}\n{}",
                &log[log.len().saturating_sub(4000)..]
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn published(log: &str) -> Option<&str> {
    log.lines().rfind(|line| line.contains("published"))
}

#[test]
#[ignore = "needs a control plane: make e2e"]
fn a_live_cluster_is_followed() {
    let Some(cluster) = ControlPlane::start(&[]) else { return };
    let admin = cluster.kubeconfig("admin", &["system:masters"]);
    let serving = Serving::start(&cluster, &admin);
    serving.until("ready without KubeVirt", |s| s.get("/readyz").contains(" 200 "));
    println!("{}", serving.get("/readyz?verbose"));

    world::install_kubevirt(&cluster);
    world::create(&cluster, &Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/cluster.yaml"));
    serving.until("KubeVirt's kinds known once they are served", |s| {
        published(&s.server.log()).is_some_and(|line| line.contains("nodes=5") && !line.contains("guests=0"))
    });
    println!("{}", serving.get("/readyz?verbose"));
    let explained = Command::new(BIN)
        .args(["explain", "vmi/db", "-n", "shop", "--kubeconfig"])
        .arg(&admin)
        .output()
        .expect("cpufit explain");
    println!("{}{}", String::from_utf8_lossy(&explained.stdout), String::from_utf8_lossy(&explained.stderr));
    println!(
        "{}",
        serving.get("/metrics").lines().filter(|line| line.contains("watch_age")).collect::<Vec<_>>().join("\n")
    );
    let _: Value = json!({});
}
