//! Self-managed certificates: created once, published to the API server, rotated under load.

use std::collections::HashSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};

use crate::controlplane::ControlPlane;
use crate::installed::{Installation, Replica, SOON};
use crate::policy::policy;

const ANYWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const KINDS: [&str; 2] = ["mutatingwebhookconfiguration", "validatingwebhookconfiguration"];

/// Returns the distinct `caBundle`s of all webhooks of both configurations.
fn bundles(cluster: &ControlPlane) -> HashSet<String> {
    let mut out = HashSet::new();
    for kind in KINDS {
        let found = cluster.get(&[kind, "cpufit"]);
        for webhook in found["webhooks"].as_array().expect("webhooks") {
            let bundle = webhook["clientConfig"]["caBundle"].as_str().unwrap_or_default();
            out.insert(String::from_utf8(STANDARD.decode(bundle).expect("base64")).expect("PEM"));
        }
    }
    out
}

fn secret(cluster: &ControlPlane) -> Value {
    cluster.get(&["secret", "cpufit-certificates", "--namespace=cpufit-system"])
}

/// Waits until all webhooks trust the bundle in the Secret.
#[track_caller]
fn until_published(cluster: &ControlPlane) {
    let deadline = Instant::now() + SOON;
    loop {
        let output = bundles(cluster);
        let wanted = secret(cluster)["data"]["ca.crt"].as_str().expect("a bundle").to_owned();
        let wanted = String::from_utf8(STANDARD.decode(wanted).expect("base64")).expect("PEM");
        if output.len() == 1 && output.contains(&wanted) {
            return;
        }
        assert!(Instant::now() < deadline, "the configurations trust {output:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Returns the certificate that a server presents to a client that trusts only `bundle`.
fn shake_hands(address: SocketAddr, bundle: &str) -> Result<Vec<u8>, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(bundle.as_bytes()) {
        roots.add(certificate.map_err(|error| error.to_string())?).map_err(|error| error.to_string())?;
    }
    let config = ClientConfig::builder_with_provider(cpufit::crypto::provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("cpufit.cpufit-system.svc").map_err(|error| error.to_string())?;
    let connection = ClientConnection::new(Arc::new(config), name).map_err(|error| error.to_string())?;
    let stream = TcpStream::connect(address).map_err(|error| error.to_string())?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).map_err(|error| error.to_string())?;
    let mut stream = StreamOwned::new(connection, stream);
    write!(stream, "GET /livez HTTP/1.1\r\nHost: cpufit\r\n\r\n").map_err(|error| error.to_string())?;
    let mut line = String::new();
    let shown = {
        let mut reader = BufReader::new(&mut stream);
        reader.read_line(&mut line).map_err(|error| error.to_string())?;
        stream.conn.peer_certificates().map(|chain| chain[0].to_vec())
    };
    if line.starts_with("HTTP/1.1 ") { shown.ok_or("no certificate".to_owned()) } else { Err(line) }
}

/// Returns the address on which a replica listens.
fn address(replica: &Replica) -> SocketAddr {
    let log = replica.server.log();
    let line = log.lines().find_map(|line| line.split_once("listening on https://")).expect("it listens").1;
    line.split(',').next().expect("an address").parse().expect("an address")
}

/// Returns the number of requests that the API server admitted because it could not call a webhook.
fn failed_open(cluster: &ControlPlane) -> f64 {
    let metrics = cluster.kubectl(&["get", "--raw=/metrics"]);
    let lines = metrics.lines().filter(|line| line.starts_with("apiserver_admission_webhook_fail_open_count"));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

fn is_ready(replica: &Replica) -> bool {
    replica.get("/readyz").contains(" 200 ")
}

#[test]
#[ignore = "needs a control plane: make e2e"]
fn certificates_are_made_once_and_what_is_reset_is_written_again() {
    let Some(cluster) = ControlPlane::start(&[]) else { return };
    let installation = Installation::new(&cluster);
    let replicas = ["cpufit-a", "cpufit-b"].map(|name| installation.start(name, ANYWHERE, &[]));
    for replica in &replicas {
        replica.until("ready", is_ready);
    }
    until_published(&cluster);
    let made = secret(&cluster);
    assert_eq!(made["type"], "kubernetes.io/tls");
    let keys: Vec<&String> = made["data"].as_object().expect("data").keys().collect();
    assert_eq!(keys, ["ca.crt", "tls.crt", "tls.key"], "no authority's key is kept");
    let bundle = bundles(&cluster).into_iter().next().expect("a bundle");
    let shown = replicas.each_ref().map(|replica| shake_hands(address(replica), &bundle).expect("trusted"));
    assert_eq!(shown[0], shown[1], "both serve the one certificate");

    // Applied again, as after each merge under GitOps: the caBundle remains.
    Installation::new(&cluster);
    assert_eq!(bundles(&cluster), HashSet::from([bundle.clone()]));
    let reset = json!([{"op": "remove", "path": "/webhooks/0/clientConfig/caBundle"}]).to_string();
    cluster.kubectl(&["patch", KINDS[1], "cpufit", "--type=json", "-p", &reset]);
    until_published(&cluster);
    // Deleted and applied again, as by helm uninstall and install.
    cluster.kubectl(&["delete", KINDS[0], "cpufit"]);
    std::thread::sleep(Duration::from_secs(1));
    Installation::new(&cluster);
    until_published(&cluster);
    assert_eq!(secret(&cluster)["data"], made["data"], "nothing was made again for that");

    // A release with one webhook less, as Helm and Flux apply it.
    let mut configuration = cluster.get(&[KINDS[1], "cpufit"]);
    configuration["metadata"] = json!({"name": "cpufit"});
    let webhooks = configuration["webhooks"].as_array_mut().expect("webhooks");
    for webhook in webhooks.iter_mut() {
        webhook["clientConfig"].as_object_mut().expect("a client").remove("caBundle");
    }
    let apply = ["apply", "--server-side", "--force-conflicts", "--field-manager=helm", "-f", "-"];
    cluster.kubectl(&["delete", KINDS[1], "cpufit"]);
    cluster.kubectl_with(&apply, &configuration);
    until_published(&cluster);
    let gone = configuration["webhooks"].as_array_mut().expect("webhooks").pop().expect("one");
    cluster.kubectl_with(&apply, &configuration);
    until_published(&cluster);
    let left = cluster.get(&[KINDS[1], "cpufit"])["webhooks"].to_string();
    assert!(!left.contains(gone["name"].as_str().expect("a name")), "{left}");

    let logs = replicas.each_ref().map(|replica| replica.server.log()).concat();
    assert!(!logs.contains("PRIVATE KEY"), "a key stands in the log");
    assert!(!logs.contains("cannot be reconciled"), "{logs}");
}

#[test]
#[ignore = "needs a control plane: make e2e"]
fn certificates_are_rotated_and_no_handshake_fails() {
    let Some(cluster) = ControlPlane::start(&[]) else { return };
    let installation = Installation::new(&cluster);
    // Renewed after 24 seconds; the API server has 6 of the remaining 12.
    let validity = ["--certificate-validity", "36"];
    let service = installation.start("cpufit-a", installation.service, &validity);
    let other = installation.start("cpufit-b", ANYWHERE, &validity);
    service.until("ready", is_ready);
    other.until("ready", is_ready);
    until_published(&cluster);
    // The API server receives it after a moment.
    std::thread::sleep(Duration::from_secs(2));
    let before = failed_open(&cluster);

    let addresses = [address(&service), address(&other)];
    let stop = AtomicBool::new(false);
    let policy = policy("asked", &json!({}));
    let (shown, failures, asked) = std::thread::scope(|scope| {
        let client = scope.spawn(|| {
            let (mut shown, mut failures) = (HashSet::new(), Vec::new());
            while !stop.load(Ordering::Relaxed) {
                let trusted = bundles(&cluster);
                let bundle = trusted.iter().min_by_key(|bundle| bundle.len()).expect("a bundle");
                for address in addresses {
                    match shake_hands(address, bundle) {
                        Ok(certificate) => {
                            shown.insert(certificate);
                        }
                        // An API server watches the bundle; this client may have read it some time ago.
                        Err(_) if bundles(&cluster) != trusted => {}
                        Err(error) => failures.push(format!("{:?}: {address}: {error}", SystemTime::now())),
                    }
                }
            }
            (shown, failures)
        });
        let asker = scope.spawn(|| {
            let mut asked = 0;
            while !stop.load(Ordering::Relaxed) {
                cluster.kubectl_with(&["create", "--dry-run=server", "-f", "-"], &policy);
                asked += 1;
            }
            asked
        });
        std::thread::sleep(Duration::from_secs(50));
        // The certificate is replaced at once, and still no request fails.
        cluster.kubectl(&["delete", "secret", "cpufit-certificates", "--namespace=cpufit-system"]);
        std::thread::sleep(Duration::from_secs(15));
        stop.store(true, Ordering::Relaxed);
        let (shown, failures) = client.join().expect("the client");
        (shown, failures, asker.join().expect("the asker"))
    });
    println!("{} certificates shown, {asked} requests of the API server", shown.len());
    let log = [&service, &other].map(|replica| {
        let log = replica.server.log();
        log.lines().filter(|line| line.contains("certificates")).collect::<Vec<_>>().join("\n")
    });
    assert!(failures.is_empty(), "{failures:#?}\n{}", log.join("\n\n"));
    assert!(shown.len() >= 3, "{} certificates in a minute", shown.len());
    assert!((failed_open(&cluster) - before).abs() < 0.5, "the API server could not ask");
    let metrics = [&service, &other].map(|replica| replica.get("/metrics"));
    let rotations = metrics.iter().any(|text| {
        text.lines().any(|line| line.starts_with("cpufit_certificate_rotations_total ") && !line.ends_with(" 0"))
    });
    assert!(rotations, "{}", metrics.concat());
    let authorities = STANDARD.decode(secret(&cluster)["data"]["ca.crt"].as_str().expect("a bundle")).expect("base64");
    let authorities = String::from_utf8(authorities).expect("PEM").matches("BEGIN CERTIFICATE").count();
    assert!(authorities <= 3, "{authorities} authorities pile up");
}
