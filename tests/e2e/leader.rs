//! Two replicas and one Lease: one is the leader, and the other takes over soon after it stops.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::controlplane::ControlPlane;
use crate::installed::{Installation, Replica, SOON};

const ANYWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

fn lease(cluster: &ControlPlane) -> Value {
    cluster.get(&["lease", "cpufit", "--namespace=cpufit-system"])["spec"].clone()
}

/// Waits until this replica holds the Lease; returns the time it took.
#[track_caller]
fn until_held_by(cluster: &ControlPlane, holder: &str) -> Duration {
    let started = Instant::now();
    loop {
        let lease = lease(cluster);
        if lease["holderIdentity"] == holder {
            return started.elapsed();
        }
        assert!(started.elapsed() < SOON, "{holder} does not lead: {lease}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
#[ignore = "needs a control plane: make e2e"]
fn another_replica_becomes_leader_when_the_leader_stops() {
    let Some(cluster) = ControlPlane::start(&[]) else { return };
    let installation = Installation::new(&cluster);
    let start = |name: &str| installation.start(name, ANYWHERE, &[]);
    let is_ready = |replica: &Replica| replica.get("/readyz").contains(" 200 ");
    let first = start("cpufit-a");
    until_held_by(&cluster, "cpufit-a");
    let second = start("cpufit-b");
    second.until("ready", is_ready);
    assert_eq!(lease(&cluster)["holderIdentity"], "cpufit-a");
    assert_eq!(lease(&cluster)["leaseTransitions"], 0, "the first leader counts as a change of leaders");

    // The effect of kill -9.
    drop(first);
    let took = until_held_by(&cluster, "cpufit-b");
    println!("after SIGKILL: {took:?}");
    assert!(took > Duration::from_secs(8), "a leader that is only slow must not be replaced: {took:?}");
    assert_eq!(lease(&cluster)["leaseTransitions"], 1, "a change of leaders is not recorded");

    let third = start("cpufit-c");
    third.until("ready", is_ready);
    second.server.signal("TERM");
    let took = until_held_by(&cluster, "cpufit-c");
    println!("after SIGTERM: {took:?}");
    assert!(took < Duration::from_secs(8), "a rolling update would wait for a Lease to run out: {took:?}");
    assert_eq!(lease(&cluster)["leaseTransitions"], 2, "a change of leaders is not recorded");
    third.until("leads", |replica| replica.server.log().contains("became leader"));

    // The last replica releases the Lease too.
    third.server.signal("TERM");
    until_held_by(&cluster, "");
}
