//! Nodes that fit and have no room, in words.

use crate::fit::plural::{and_names, fold_names, number};
use crate::kubevirt::room::{KVM, Shortage};

/// Returns `node-d fits by CPU, no room: 2 of 64 cores free (it asks for 8 cores); 2 more nodes have too little
/// room`.
pub(crate) fn no_room(node: &str, short: &Shortage, more: usize) -> String {
    let more = match more {
        0 => String::new(),
        1 => "; 1 more node has too little room".to_owned(),
        more => format!("; {more} more nodes have too little room"),
    };
    format!("{node} fits by CPU, no room: {}{more}", too_little(short))
}

/// Returns `node-d fits by labels, and required pod anti-affinity keeps it off (shop/db-2)`.
pub(crate) fn kept_apart(nodes: &[&str], keepers: &[String]) -> String {
    let fits = number(nodes.len(), "fits", "fit");
    let whose = match keepers {
        [] => String::new(),
        keepers => format!(" ({})", fold_names(keepers, 3)),
    };
    format!("{} {fits} by labels, and required pod anti-affinity keeps it off{whose}", fold_names(nodes, 3))
}

/// Returns `node-d fits by labels, and its volume root (PersistentVolume pv-1) can be used on node-a alone`.
pub(crate) fn off_by_volumes(nodes: &[&str], volumes: &str) -> String {
    format!("{} {} by labels, and {volumes}", fold_names(nodes, 3), number(nodes.len(), "fits", "fit"))
}

/// Returns `its volume root (PersistentVolume pv-1) can be used on node-a alone`.
pub(crate) fn usable_on(volume: &str, persistent_volume: &str, nodes: &[&str]) -> String {
    let place = if nodes.is_empty() { "no node".to_owned() } else { format!("{} alone", and_names(nodes, 3)) };
    format!("its volume {volume} (PersistentVolume {persistent_volume}) can be used on {place}")
}

/// Returns `2 of 64 cores free (it asks for 8 cores)`.
pub(crate) fn too_little(short: &Shortage) -> String {
    match short.asked {
        0 if short.of == 0 => format!("{}, which it asks for", short.words()),
        0 => format!("{}, and it asks for some", short.words()),
        _ => format!("{} (it asks for {})", short.words(), short.wanted()),
    }
}

/// Returns `no node that fits has room: node-d fits by CPU, no room: …`. `is_bound`: its volumes leave nodes out.
pub(crate) fn nowhere(node: &str, short: &Shortage, more: usize, is_bound: bool) -> String {
    let usable = if is_bound { " and on which its volumes can be used" } else { "" };
    format!("no node that fits{usable} has room: {}", no_room(node, short, more))
}

/// Returns why changes of labels, cordons or the CPU model help no guest for which no node has room.
pub(crate) fn useless(runs: bool) -> &'static str {
    if runs { "room is short on every other node" } else { "room is short on every node" }
}

/// Returns `node-d has room for it only once pods of a lower priority are shut down (preemption): shop/batch may be
/// among them`, with the known guests among those pods.
pub(crate) fn by_preemption(nodes: &[&str], victims: &[String]) -> String {
    let has = number(nodes.len(), "has", "have");
    let names = fold_names(nodes, 3);
    let guests = match victims {
        [] => String::new(),
        victims => format!(": {} may be among them", fold_names(victims, 3)),
    };
    format!("{names} {has} room for it only once pods of a lower priority are shut down (preemption){guests}")
}

/// Returns `node-a and node-b offer no devices.kubevirt.io/kvm: …`.
pub(crate) fn no_kvm(nodes: &[&str]) -> String {
    let (names, offer) = (and_names(nodes, 3), number(nodes.len(), "offers", "offer"));
    format!(
        "{names} {offer} no {KVM}: virtualization is off in the firmware there, or in the hypervisor that runs the node, or \
         virt-handler's device plugin does not work; guests start without it only where KubeVirt emulates \
         (developerConfiguration.useEmulation)"
    )
}
