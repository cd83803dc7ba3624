//! The vendor of a node's CPU: by its `cpu-vendor` label, else by its host model.
//!
//! KubeVirt labels the vendor that libvirt's `domcapabilities` name (`loadDomCapabilities` of
//! `pkg/virt-handler/node-labeller/cpu_plugin.go`). A node may lack the label, and still have the one of its host
//! model, which libvirt never takes from another vendor's models.

use super::super::bits::Bits;
use super::super::fleet::{Fleet, NodeIndex};
use super::super::label::Family;
use super::vendor;

/// Returns the nodes without a vendor label.
fn unlabelled(fleet: &Fleet) -> Bits {
    let mut out = Bits::all(fleet.len());
    fleet.bearers(Family::CpuVendor).values().for_each(|bearers| out.subtract(bearers));
    out
}

/// Returns the nodes with CPUs of a vendor.
pub(crate) fn nodes_of(fleet: &Fleet, of: &str) -> Bits {
    let mut out = Bits::none(fleet.len());
    for (model, mut bearers) in fleet.bearers(Family::HostModelCpu) {
        if vendor(model) == Some(of) {
            bearers.intersect(&unlabelled(fleet));
            out.union(&bearers);
        }
    }
    if let Some(labelled) = fleet.bearers(Family::CpuVendor).get(of) {
        out.union(labelled);
    }
    out
}

/// Returns the vendors of a node's CPU, sorted; none if no label shows one.
pub(crate) fn of_node(fleet: &Fleet, node: NodeIndex) -> Vec<&str> {
    let labelled = fleet.names_under(node, Family::CpuVendor);
    if !labelled.is_empty() {
        return labelled;
    }
    of_host_models(fleet, node)
}

/// Returns the vendors of a node's host models, sorted; none if none is known.
fn of_host_models(fleet: &Fleet, node: NodeIndex) -> Vec<&str> {
    let mut out: Vec<&str> = fleet.names_under(node, Family::HostModelCpu).into_iter().filter_map(vendor).collect();
    out.sort_unstable();
    out.dedup();
    out
}

/// Returns the one vendor of a node's host models, whatever its vendor labels; `None` if it is not known.
pub(crate) fn of_host_model(fleet: &Fleet, node: NodeIndex) -> Option<&str> {
    match of_host_models(fleet, node).as_slice() {
        [vendor] => Some(vendor),
        _ => None,
    }
}

/// Returns the vendors of all nodes, sorted.
pub(crate) fn of_all(fleet: &Fleet) -> Vec<&str> {
    let labelled = fleet.bearers(Family::CpuVendor).into_keys();
    let unlabelled = unlabelled(fleet);
    let of_hosts = fleet.bearers(Family::HostModelCpu).into_iter();
    let of_hosts = of_hosts.filter(|(_, bearers)| bearers.meets(&unlabelled)).filter_map(|(model, _)| vendor(model));
    let mut out: Vec<&str> = labelled.chain(of_hosts).collect();
    out.sort_unstable();
    out.dedup();
    out
}
