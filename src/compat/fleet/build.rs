//! From nodes to an indexed fleet.

use std::collections::{BTreeMap, HashMap};

use super::{Fleet, HostModelClass, Key, Label, Members, Profile};
use crate::compat::bits::Bits;
use crate::compat::label::{self, Family};
use crate::compat::node::{Node, Taint};

#[derive(Default)]
pub(super) struct Builder {
    keys: HashMap<Box<str>, Key>,
    labels: Vec<(Box<str>, Box<str>, Vec<u32>)>,
}

impl Builder {
    fn intern(&mut self, key: &str, value: &str) -> (Family, u32) {
        let found = match self.keys.get_mut(key) {
            Some(found) => found,
            None => self.keys.entry(key.into()).or_insert(Key { family: Family::of(key), values: Vec::new() }),
        };
        let label = match found.values.binary_search_by(|(v, _)| v.as_ref().cmp(value)) {
            Ok(at) => found.values[at].1,
            Err(at) => {
                let label = self.labels.len() as u32;
                self.labels.push((key.into(), value.into(), Vec::new()));
                found.values.insert(at, (value.into(), label));
                label
            }
        };
        (found.family, label)
    }

    /// Nodes come in the order of their names, so that this order holds inside each profile.
    pub(super) fn build(mut self, nodes: Vec<Node>) -> Fleet {
        let mut by_profile: HashMap<Box<[u32]>, Vec<usize>> = HashMap::new();
        let mut own: Vec<Box<[u32]>> = Vec::with_capacity(nodes.len());
        for (at, node) in nodes.iter().enumerate() {
            let (mut of_profile, mut of_node) = (Vec::new(), Vec::new());
            for (key, value) in &node.labels {
                let (family, label) = self.intern(key, value);
                let list = if family.is_profile() { &mut of_profile } else { &mut of_node };
                list.push(label);
            }
            of_profile.sort_unstable();
            of_node.sort_unstable();
            own.push(of_node.into());
            by_profile.entry(of_profile.into()).or_default().push(at);
        }
        let mut groups: Vec<(Box<[u32]>, Vec<usize>)> = by_profile.into_iter().collect();
        groups.sort_unstable_by_key(|(_, members)| members[0]);

        let count = nodes.len();
        let mut fleet = Fleet { cordoned: Bits::none(count), not_ready: Bits::none(count), ..Fleet::default() };
        let mut slots: Vec<Option<(Node, Box<[u32]>)>> = nodes.into_iter().zip(own).map(Some).collect();
        let mut classes: HashMap<HostModelClass, usize> = HashMap::new();
        let mut taints: BTreeMap<Vec<Taint>, Vec<u32>> = BTreeMap::new();
        for (number, (labels, members)) in groups.into_iter().enumerate() {
            let start = fleet.names.len();
            for &label in &labels {
                self.labels[label as usize].2.push(number as u32);
            }
            for at in members {
                let Some((node, own)) = slots[at].take() else { continue };
                let index = fleet.names.len();
                for &label in &own {
                    self.labels[label as usize].2.push(index as u32);
                }
                if node.cordoned {
                    fleet.cordoned.insert(index);
                }
                if node.not_ready {
                    fleet.not_ready.insert(index);
                }
                if let Some(value) = node.skip_node {
                    fleet.skip_node.insert(index, value);
                }
                if !node.taints.is_empty() {
                    let mut sorted = node.taints;
                    sorted.sort_unstable();
                    taints.entry(sorted).or_default().push(index as u32);
                }
                fleet.rank.push(at as u32);
                fleet.by_name.insert(node.name.as_str().into(), index as u32);
                fleet.names.push(node.name.into());
                fleet.profile_of.push(number as u32);
                fleet.own_labels.push(own);
            }
            let next = classes.len();
            let class = *classes.entry(self.class(&labels)).or_insert(next);
            fleet.profiles.push(Profile { start, end: fleet.names.len(), labels, class });
        }
        let mut ordered: Vec<(HostModelClass, usize)> = classes.into_iter().collect();
        ordered.sort_unstable_by_key(|(_, number)| *number);
        fleet.classes = ordered.into_iter().map(|(class, _)| class).collect();
        fleet.taints = taints.into_iter().map(|(taints, members)| (taints, Members::of(members, count))).collect();
        let profiles = fleet.profiles.len();
        fleet.labels = self
            .labels
            .into_iter()
            .map(|(key, value, members)| {
                let len = if Family::of(&key).is_profile() { profiles } else { count };
                Label { members: Members::of(members, len), key, value }
            })
            .collect();
        fleet.labelled = labelled(&fleet);
        fleet.keys = self.keys;
        fleet
    }

    fn class(&self, labels: &[u32]) -> HostModelClass {
        let mut entries = Vec::new();
        let mut vendors = Vec::new();
        let mut named = false;
        for &label in labels {
            let (key, value, _) = &self.labels[label as usize];
            match Family::of(key) {
                Family::HostModelRequired => {
                    entries.push((label::twin(key, label::CPU_FEATURE), value.to_string()));
                }
                Family::HostModelCpu => {
                    named = true;
                    entries.push((label::twin(key, label::CPU_MODEL_MIGRATION), value.to_string()));
                }
                Family::CpuVendor => vendors.push(key.to_string()),
                _ => {}
            }
        }
        entries.sort_unstable();
        vendors.sort_unstable();
        HostModelClass { model: named.then_some(entries), vendors }
    }
}

/// By architecture, whether a node bears labels to judge by.
fn labelled(fleet: &Fleet) -> BTreeMap<String, bool> {
    let mut out = BTreeMap::new();
    for node in 0..fleet.len() {
        let architecture = fleet.label(node, label::ARCH).unwrap_or_default();
        let speaks = |family| {
            matches!(family, Family::CpuFeature | Family::CpuModel)
                || (architecture == "arm64" && family == Family::MachineType)
        };
        let known = out.entry(architecture.to_owned()).or_insert(false);
        *known = *known || fleet.labels(node).any(|(key, _)| speaks(Family::of(key)));
    }
    out
}
