//! A guest whose metadata alone is too large to be read whole still runs on its node.

use super::*;
use crate::admission::response::Decision;
use crate::answers::audit::audit;
use crate::bounds::Bounded;
use crate::kubevirt::wire::Vmi;
use crate::review::eviction::eviction;
use crate::testing::NEVER;

/// Returns a guest on `node-a` that cannot be migrated, with labels of 137 KB, as a dump or a watch reads it.
fn guest() -> Value {
    let labels: serde_json::Map<_, _> = (0..1200).map(|at| (format!("{at:060}"), json!("v".repeat(60)))).collect();
    live(running("db", "node-a", "Haswell")).tweak(|guest| {
        guest["metadata"]["labels"] = labels.into();
        guest["status"]["conditions"] =
            json!([{"type": "LiveMigratable", "status": "False", "reason": "DisksNotLiveMigratable"}]);
    })
}

fn world_with(guest: &Value) -> World {
    let Bounded(read): Bounded<Vmi> = serde_json::from_str(&guest.to_string()).expect("a guest");
    assert!(read.metadata.excess.is_some(), "the guest is not too large");
    world(intel(), [launcher(guest, []), ClusterObject::Vmi(Box::new(read))])
}

#[test]
fn a_drain_does_not_overlook_a_guest_whose_labels_are_too_large() {
    let found = drained(&world_with(&guest()), "node-a");
    let names: Vec<&str> = found.nodes[0].guests.iter().map(|guest| guest.guest.as_str()).collect();
    assert_eq!(names, ["shop/db"], "the drain is said to have no guests, and waits for one");
    assert!(found.has_failed(), "a script would drain and wait without end");
}

#[test]
fn an_audit_shows_node_and_model_of_a_guest_whose_labels_are_too_large() {
    let rows = audit(&world_with(&guest()), NEVER);
    let cells: Vec<_> = rows.iter().map(|row| (row.name.as_str(), row.node.as_deref(), row.cpu.as_str())).collect();
    assert_eq!(cells, [("db", Some("node-a"), "Haswell")]);
}

#[test]
fn an_eviction_of_a_guest_whose_labels_are_too_large_is_warned_about() {
    let world = world_with(&guest());
    let decision = eviction(&world, "shop", "virt-launcher-db-x7k2p", false, NEVER);
    let warnings = Decision::warnings(&decision);
    assert!(
        warnings.iter().any(|line| line.contains("shop/db cannot leave node-a: it is not live-migratable")),
        "kubectl drain waits without a word: {warnings:?}"
    );
}
