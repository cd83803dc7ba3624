//! The pools of nodes that share a recommendation.

use std::collections::BTreeMap;

use crate::fit::bits::Bits;
use crate::fit::fleet::{Fleet, NodeIndex};
use crate::fit::label::Family;
use crate::fit::models::{self, NotCounted};
use crate::policy::{LabelSelector, Policy};
use crate::world::World;

/// Nodes of one architecture and vendor.
#[derive(Clone, Debug)]
pub(super) struct NodePool {
    /// The policies that select these nodes.
    pub(super) policies: Vec<String>,
    /// The selector of the pool, without architecture and vendor.
    pub(super) selector: LabelSelector,
    /// The selector in the name of the pool, if the pools are those of several selectors.
    source: Option<String>,
    pub(super) arch: String,
    /// The vendors in the labels of each of the nodes.
    vendors: Vec<String>,
    /// The vendor, if there is exactly one.
    pub(super) vendor: Option<String>,
    pub(super) nodes: Bits,
}

impl NodePool {
    /// Whether this pool and one of the same cluster with other nodes are of the same hardware and policy or selector.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let has_policy = |name: &String| other.policies.contains(name);
        let has_source = self.policies.iter().any(has_policy)
            || self.policies.is_empty() && other.policies.is_empty() && self.selector == other.selector;
        self.arch == other.arch && self.vendors == other.vendors && has_source
    }

    /// Returns the display name.
    pub(super) fn name(&self) -> String {
        let vendor =
            if self.vendors.is_empty() { "no cpu-vendor label".to_owned() } else { self.vendors.join(" and ") };
        let hardware = if self.arch == "amd64" { vendor } else { format!("{vendor} ({})", self.arch) };
        match (self.policies.as_slice(), &self.source) {
            ([], None) => hardware,
            ([], Some(selector)) => format!("{selector}: {hardware}"),
            (policies, _) => format!("{}: {hardware}", policies.join(", ")),
        }
    }
}

/// Nodes of one selector, before they are split by hardware.
struct NodePart {
    policies: Vec<String>,
    selector: LabelSelector,
    nodes: Bits,
}

/// Returns the pools, and the nodes that are in none, by name.
pub(super) fn pools(world: &World, selectors: &[LabelSelector]) -> (Vec<NodePool>, Vec<(String, NotCounted)>) {
    let fleet: &Fleet = &world.cluster.fleet;
    let mut taking_part = Bits::none(fleet.len());
    let mut arch_of: BTreeMap<NodeIndex, &str> = BTreeMap::new();
    let mut not_counted = Vec::new();
    for (node, part) in models::takes_part(fleet, &Bits::all(fleet.len())) {
        match part {
            Ok(arch) => {
                taking_part.insert(node);
                arch_of.insert(node, arch);
            }
            Err(why) => not_counted.push((fleet.name(node).to_owned(), why)),
        }
    }
    let vendors = fleet.bearers(Family::CpuVendor);
    let mut out: Vec<NodePool> = Vec::new();
    for part in parts(world, selectors) {
        let mut split: BTreeMap<(&str, Vec<&str>), Bits> = BTreeMap::new();
        for node in part.nodes.iter().filter(|node| taking_part.contains(*node)) {
            let of_node = vendors.iter().filter(|(_, bearers)| bearers.contains(node)).map(|(vendor, _)| *vendor);
            let arch = arch_of.get(&node).copied().unwrap_or_default();
            let nodes = split.entry((arch, of_node.collect())).or_insert_with(|| Bits::none(fleet.len()));
            nodes.insert(node);
        }
        for ((arch, vendors), nodes) in split {
            // Two policies may select the same nodes.
            if let Some(known) = out.iter_mut().find(|known| known.nodes == nodes) {
                known.policies.extend(part.policies.iter().cloned());
                continue;
            }
            let vendor = if let [vendor] = vendors[..] { Some(vendor.to_owned()) } else { None };
            out.push(NodePool {
                policies: part.policies.clone(),
                source: (selectors.len() > 1).then(|| part.selector.text()).filter(|text| !text.is_empty()),
                selector: part.selector.clone(),
                arch: arch.to_owned(),
                vendors: vendors.into_iter().map(str::to_owned).collect(),
                vendor,
                nodes,
            });
        }
    }
    (out, not_counted)
}

fn parts(world: &World, selectors: &[LabelSelector]) -> Vec<NodePart> {
    let fleet: &Fleet = &world.cluster.fleet;
    let part = |selector: &LabelSelector, policies: Vec<String>| NodePart {
        policies,
        selector: selector.clone(),
        nodes: selector.nodes(fleet),
    };
    if !selectors.is_empty() {
        return selectors.iter().map(|selector| part(selector, Vec::new())).collect();
    }
    let mut out: Vec<NodePart> = Vec::new();
    // The order of a dump changes nothing.
    let mut policies: Vec<&Policy> = world.policies.iter().collect();
    policies.sort_by(|one, other| one.name.cmp(&other.name));
    for Policy { name, node_selector, .. } in policies {
        match out.iter_mut().find(|known| known.selector == *node_selector) {
            Some(known) => known.policies.push(name.clone()),
            None => out.push(part(node_selector, vec![name.clone()])),
        }
    }
    let mut rest = Bits::all(fleet.len());
    for part in &out {
        rest.subtract(&part.nodes);
    }
    out.push(NodePart { policies: Vec::new(), selector: LabelSelector::default(), nodes: rest });
    out
}
