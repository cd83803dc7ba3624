//! The clients that cpufit answers, and the objects that cpufit's own account may change.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::json;

use crate::controlplane::{CLIENT, ControlPlane, Part};
use crate::installed::SOON;
use crate::launcher::launcher_pod;
use crate::manifests::write_authority;
use crate::review::create;
use crate::webhook::Scene;

/// Returns the answer to a client that trusts the server and has no certificate.
fn asked_by_a_stranger(address: SocketAddr, authority: &str) -> String {
    sent_by_a_stranger(address, authority, &["{}".to_owned()])
}

/// Returns the answers to reviews of a client that trusts the server and has no certificate.
fn sent_by_a_stranger(address: SocketAddr, authority: &str, reviews: &[String]) -> String {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authority.as_bytes()) {
        roots.add(certificate.expect("PEM")).expect("an authority");
    }
    let config = ClientConfig::builder_with_provider(cpufit::crypto::provider())
        .with_safe_default_protocol_versions()
        .expect("TLS")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("cpufit.cpufit-system.svc").expect("a name");
    let stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a limit");
    let connection = ClientConnection::new(Arc::new(config), name).expect("a client");
    let mut stream = StreamOwned::new(connection, stream);
    let mut requests = String::new();
    for (number, review) in reviews.iter().enumerate() {
        let end = if number + 1 == reviews.len() { "close" } else { "keep-alive" };
        let length = review.len();
        // Writing to a String cannot fail.
        let _ = write!(
            requests,
            "POST /validate HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: {end}\r\n\r\n{review}"
        );
    }
    let mut answer = Vec::new();
    match stream.write_all(requests.as_bytes()).and_then(|()| stream.read_to_end(&mut answer)) {
        Ok(_) => String::from_utf8_lossy(&answer).into_owned(),
        Err(error) => format!("{}{error}", String::from_utf8_lossy(&answer)),
    }
}

/// Returns the authority that the API server trusts for cpufit.
fn bundle(cluster: &ControlPlane) -> String {
    let secret = cluster.get(&["secret", "cpufit-certificates", "--namespace=cpufit-system"]);
    let bundle = STANDARD.decode(secret["data"]["ca.crt"].as_str().expect("a bundle")).expect("base64");
    String::from_utf8(bundle).expect("PEM")
}

/// Without client certificates, every client that reaches the port may send any review. Events are only written about
/// existing guests, and the real Event is still written.
#[test]
#[ignore = "needs a control plane: make e2e"]
fn forged_reviews_write_no_events_and_suppress_none() {
    let Some(cluster) = ControlPlane::start(&[]) else { return };
    let scene = Scene::new(&cluster);
    let replica = scene.serve();
    let review = |number: u32, guest: &str, uid: &str| {
        let key = format!("cpu-feature.node.kubevirt.io/forged-{number}");
        let guest = json!({"metadata": {"name": guest, "namespace": "shop", "uid": uid}});
        let pod = launcher_pod(&guest, "x", &json!({key: "CALL THIS NUMBER", "kubevirt.io/schedulable": "true"}));
        let mut review = create(&pod, "system:serviceaccount:kubevirt:kubevirt-controller");
        review["request"]["uid"] = json!(number.to_string());
        review.to_string()
    };
    let strangers = (0..500).map(|number| review(number, &format!("no-such-{number}"), "forged"));
    let of_db = (500..600).map(|number| review(number, "db", "forged"));
    let forged: Vec<String> = strangers.chain(of_db).collect();
    let answers = sent_by_a_stranger(replica.address, &bundle(&cluster), &forged);
    assert_eq!(answers.matches("AdmissionReview").count(), forged.len(), "they were not judged: {answers}");
    scene.jane.output("create -f migrate-ledger.yaml");
    scene.await_event("VirtualMachineInstance/ledger", "CPUNoTarget");
    let events = scene.events();
    assert!(events.iter().all(|(object, ..)| object == "VirtualMachineInstance/ledger"), "{events:#?}");
    let reads = cluster.audit_log().into_iter().filter(|event| {
        event["user"]["username"] == "system:serviceaccount:cpufit-system:cpufit"
            && event["objectRef"]["name"].as_str().is_some_and(|name| name.starts_with("no-such-") || name == "db")
    });
    let reads = reads.count();
    println!("{} forged reviews: {} Events, all true; {reads} look-ups", forged.len(), events.len());
    assert!(reads < 100, "{reads} look-ups of {} forged reviews", forged.len());
}

#[test]
#[ignore = "needs a control plane: make e2e"]
fn with_a_client_authority_the_api_server_alone_is_answered() {
    let Some(cluster) = ControlPlane::start(&[Part::ClientCertificate]) else { return };
    let scene = Scene::new(&cluster);
    let authority = cluster.workplace().path().join("clients.pem");
    let authority = authority.to_str().expect("a path in UTF-8");
    let replica = scene.installation.serve("cpufit-0", &["--client-ca", authority, "--client-name", CLIENT]);
    replica.until_known(5, 1);
    scene.await_webhook();
    let answer = asked_by_a_stranger(replica.address, &bundle(&cluster));
    assert!(answer.contains("CertificateRequired"), "every client that reaches the port is answered: {answer}");
    replica.until("the stranger is counted", |replica| {
        replica.get("/metrics").contains("cpufit_tls_handshake_failures_total{reason=\"client-certificate\"} 1")
    });
    drop(replica);

    // The API server's certificate is from the authority, but with another name than required.
    let replica = scene.installation.serve("cpufit-1", &["--client-ca", authority, "--client-name", "another-name"]);
    let before = cluster.failed_open();
    let output = scene.jane.output("create -f migrate-db.yaml --dry-run=server");
    assert!(!output.contains("cpufit") && output.contains(" created"), "{output}");
    assert!(cluster.failed_open() > before, "the API server sent no review");
    assert!(!replica.get("/metrics").contains("reason=\"client-certificate\"} 0"), "{}", replica.get("/metrics"));
}

/// With the `ValidatingAdmissionPolicy`, the account that writes `caBundle` cannot change anything else.
#[test]
#[ignore = "needs a control plane: make e2e"]
fn cpufit_may_change_its_cabundle_alone() {
    let Some(cluster) = ControlPlane::start(&[]) else { return };
    let deploy = |folder| Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(folder);
    cluster.kubectl(&["apply", "--server-side", "-k", deploy("base").to_str().expect("UTF-8")]);
    let policy = std::fs::read_to_string(deploy("components/cabundle-only/policy.yaml")).expect("the policy");
    cluster.workplace().write("policy.yaml", policy.replace("$(CPUFIT_ACCOUNT_NAMESPACE)", "cpufit-system"));
    cluster.kubectl(&["apply", "--server-side", "-f", "policy.yaml"]);
    let account = cluster.service_account("cpufit-system", "cpufit");
    let patch = |kind: &str, operations: serde_json::Value| {
        let patch = operations.to_string();
        cluster.output(&account, &["patch", kind, "cpufit", "--type=json", "-p", &patch])
    };
    write_authority(&cluster);
    let bundle = STANDARD.encode(&cluster.authority().certificate);
    let kinds = ["mutatingwebhookconfiguration", "validatingwebhookconfiguration"];
    let changes = [
        json!({"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Fail"}),
        json!({"op": "replace", "path": "/webhooks/0/clientConfig/service/name", "value": "other"}),
        json!({"op": "replace", "path": "/webhooks/0/clientConfig/service/namespace", "value": "other"}),
        json!({"op": "replace", "path": "/webhooks/0/clientConfig/service/path", "value": "/other"}),
        json!({"op": "replace", "path": "/webhooks/0/clientConfig/service/port", "value": 444}),
        json!({"op": "replace", "path": "/webhooks/0/clientConfig",
            "value": {"url": "https://other.example/", "caBundle": bundle}}),
        json!({"op": "replace", "path": "/webhooks/0/rules/0/resources", "value": ["*"]}),
        json!({"op": "replace", "path": "/webhooks/0/rules/0/operations", "value": ["*"]}),
        json!({"op": "remove", "path": "/webhooks/0/namespaceSelector"}),
        json!({"op": "add", "path": "/webhooks/0/objectSelector", "value": {"matchLabels": {"a": "b"}}}),
        json!({"op": "add", "path": "/webhooks/0/matchConditions", "value": [{"name": "never", "expression": "false"}]}),
        json!({"op": "replace", "path": "/webhooks/0/matchPolicy", "value": "Exact"}),
        json!({"op": "replace", "path": "/webhooks/0/sideEffects", "value": "None"}),
        json!({"op": "replace", "path": "/webhooks/0/timeoutSeconds", "value": 30}),
        json!({"op": "replace", "path": "/webhooks/0/name", "value": "other.cpufit.io"}),
        json!({"op": "remove", "path": "/webhooks/0"}),
        json!({"op": "move", "from": "/webhooks/0", "path": "/webhooks/1"}),
        json!({"op": "copy", "from": "/webhooks/0", "path": "/webhooks/-"}),
        json!({"op": "remove", "path": "/metadata/labels"}),
        json!({"op": "add", "path": "/metadata/annotations", "value": {"a": "b"}}),
        json!({"op": "add", "path": "/metadata/finalizers", "value": ["example.com/a"]}),
    ];
    for kind in kinds {
        // The policy applies a moment after its creation. Each try is a different edit: one that changes nothing is not
        // admitted again.
        let deadline = Instant::now() + SOON;
        let attempt = |number: u32| {
            let annotations = json!({"attempt": number.to_string()});
            patch(kind, json!([{"op": "add", "path": "/metadata/annotations", "value": annotations}]))
        };
        let mut number = 0;
        while !attempt(number).contains("caBundle of webhooks alone") {
            assert!(Instant::now() < deadline, "{kind}: the policy does not apply");
            std::thread::sleep(Duration::from_millis(200));
            number += 1;
        }
        for change in &changes {
            let output = patch(kind, json!([change]));
            assert!(output.contains("exit status"), "{kind}: cpufit may do {change}: {output}");
        }
        let output =
            patch(kind, json!([{"op": "replace", "path": "/webhooks/0/clientConfig/caBundle", "value": bundle}]));
        assert!(output.contains("patched"), "cpufit's webhooks would not be trusted: {output}");
    }
    let reinvoked = json!([{"op": "replace", "path": "/webhooks/0/reinvocationPolicy", "value": "Never"}]);
    let output = patch(kinds[0], reinvoked);
    assert!(output.contains("caBundle of webhooks alone"), "{output}");
    let admin = json!([{"op": "replace", "path": "/webhooks/0/timeoutSeconds", "value": 7}]).to_string();
    cluster.kubectl(&["patch", kinds[0], "cpufit", "--type=json", "-p", &admin]);
}
