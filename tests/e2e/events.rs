//! Problems that no user sees at a terminal, as Events: one for each reason, counted, none for a dry run.

use std::time::Instant;

use serde_json::Value;

use crate::controlplane::ControlPlane;
use crate::installed::SOON;
use crate::webhook::Scene;

/// Returns the Events about a guest in namespace `shop` with a reason.
fn events(cluster: &ControlPlane, guest: &str, reason: &str) -> Vec<Value> {
    let all = cluster.get(&["events", "--namespace=shop"]);
    let all = all["items"].as_array().expect("items").clone();
    all.into_iter().filter(|event| event["involvedObject"]["name"] == guest && event["reason"] == reason).collect()
}

#[test]
#[ignore = "needs a control plane: make e2e"]
fn a_storm_of_retries_is_one_event() {
    let Some(cluster) = ControlPlane::start(&[]) else { return };
    let scene = Scene::new(&cluster);
    let replica = scene.serve();
    for _ in 0..3 {
        scene.jane.output("create -f migrate-ledger.yaml --dry-run=server");
    }
    let denied = scene.jane.output("create -f migrate-ledger.yaml");
    assert!(denied.contains("Forbidden"), "{denied}");
    let message = scene.await_event("VirtualMachineInstance/ledger", "CPUNoTarget");
    let first = events(&cluster, "ledger", "CPUNoTarget");
    assert_eq!(first.len(), 1, "{first:#?}");
    assert_eq!(first[0]["count"], 1, "the dry runs before must not count");
    assert_eq!(first[0]["reportingComponent"], "cpufit.io/cpufit");
    assert_eq!(first[0]["reportingInstance"], "cpufit-0");

    for _ in 0..5 {
        scene.jane.output("create -f migrate-ledger.yaml");
    }
    let deadline = Instant::now() + SOON;
    loop {
        let now = events(&cluster, "ledger", "CPUNoTarget");
        assert_eq!(now.len(), 1, "{now:#?}");
        if now[0]["count"] == 6 {
            assert_eq!(
                now[0]["message"],
                message.as_str(),
                "the Event of a repeated finding was replaced, not counted"
            );
            break;
        }
        assert!(Instant::now() < deadline, "{now:#?}");
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    let output = cluster.output(cluster.admin(), &["events", "--for", "vmi/ledger", "--namespace=shop"]);
    assert!(output.contains("(x6 over ") && output.contains("CPUNoTarget"), "{output}");
    let described = cluster.output(cluster.admin(), &["describe", "vmi", "ledger", "--namespace=shop"]);
    assert!(described.contains("(x6 over ") && described.contains("cpufit.io/cpufit"), "{described}");
    println!("{output}");

    // The guest also does not match its own node, which is another reason.
    assert_eq!(events(&cluster, "ledger", "CPUOwnNode").len(), 1);
    let metrics = replica.get("/metrics");
    for line in [
        "cpufit_events_total{result=\"written\"} 4",
        "cpufit_events_total{result=\"deduplicated\"} 10",
        "cpufit_events_total{result=\"failed\"} 0",
        "cpufit_events_total{result=\"limited\"} 0",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }

    // A report just before shutdown is written during shutdown.
    scene.jane.output("create -f migrate-ledger.yaml");
    replica.server.signal("TERM");
    replica.until("ended", |replica| replica.server.log().contains("drained"));
    let deadline = Instant::now() + SOON;
    while events(&cluster, "ledger", "CPUNoTarget")[0]["count"] != 7 {
        assert!(Instant::now() < deadline, "the last word is lost");
    }
}
