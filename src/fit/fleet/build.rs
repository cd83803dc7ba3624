//! The builder of a fleet: nodes with numbered labels.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::{Fleet, HostModelClass, IndexedLabel, Label, Members, Profile};
use crate::fit::bits::Bits;
use crate::fit::host_model;
use crate::fit::label::{self, Family};
use crate::fit::memo::FleetId;
use crate::fit::node::{Node, Taint};

/// The nodes of a live cluster as they come and go; each label is stored once for all of them.
#[derive(Debug, Default)]
pub struct FleetBuilder {
    keys: HashMap<Arc<str>, IndexedLabel>,
    labels: Vec<(Arc<str>, Arc<str>)>,
    profiles: HashSet<Arc<[u32]>>,
    nodes: BTreeMap<Arc<str>, NodeEntry>,
    /// The number of labels at which unused labels are removed.
    room: usize,
}

/// A node with its labels as numbers.
#[derive(Debug, PartialEq)]
struct NodeEntry {
    profile: Arc<[u32]>,
    own: Arc<[u32]>,
    taints: Vec<Taint>,
    cordoned: bool,
    not_ready: bool,
    skip_node: Option<String>,
    uid: String,
    created: i64,
    unread: Option<String>,
}

impl FleetBuilder {
    /// Adds a node, or replaces one with the same name. Returns whether that changed anything.
    pub fn insert(&mut self, node: Node) -> bool {
        if self.labels.len() >= self.room {
            self.forget();
        }
        let Node { name, uid, created, labels, mut taints, cordoned, not_ready, skip_node, unread } = node;
        let (profile, own) = self.numbered(labels.iter().map(|(key, value)| (key.as_str(), value.as_str())));
        taints.sort_unstable();
        let entry = NodeEntry { profile, own, taints, cordoned, not_ready, skip_node, uid, created, unread };
        match self.nodes.get_mut(name.as_str()) {
            Some(known) if *known == entry => false,
            Some(known) => {
                *known = entry;
                true
            }
            None => {
                self.nodes.insert(name.into(), entry);
                true
            }
        }
    }

    /// Removes a node. Returns whether it existed.
    pub fn remove(&mut self, name: &str) -> bool {
        self.nodes.remove(name).is_some()
    }

    /// Iterates over the names of all nodes.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.nodes.keys().map(AsRef::as_ref)
    }

    /// Removes labels that no node has, once they are the majority: label values that change all day would
    /// fill the memory.
    fn forget(&mut self) {
        const MIN_LABELS: usize = 1024;
        let mut borne = vec![false; self.labels.len()];
        for &label in self.nodes.values().flat_map(|entry| entry.profile.iter().chain(&*entry.own)) {
            borne[label as usize] = true;
        }
        let count = borne.into_iter().filter(|borne| *borne).count();
        self.room = 2 * count.max(MIN_LABELS);
        if 2 * count >= self.labels.len() {
            return;
        }
        let mut fresh = Self { room: self.room, ..Self::default() };
        for (name, entry) in std::mem::take(&mut self.nodes) {
            let labels = entry.profile.iter().chain(&*entry.own).map(|&label| &self.labels[label as usize]);
            let (profile, own) = fresh.numbered(labels.map(|(key, value)| (key.as_ref(), value.as_ref())));
            fresh.nodes.insert(name, NodeEntry { profile, own, ..entry });
        }
        *self = fresh;
    }

    /// Returns the numbers of labels: those of the profile, and those of the node alone.
    fn numbered<'l>(&mut self, labels: impl Iterator<Item = (&'l str, &'l str)>) -> (Arc<[u32]>, Arc<[u32]>) {
        let (mut of_profile, mut of_node) = (Vec::new(), Vec::new());
        for (key, value) in labels {
            let (family, label) = self.intern(key, value);
            let list = if family.is_profile() { &mut of_profile } else { &mut of_node };
            list.push(label);
        }
        of_profile.sort_unstable();
        of_node.sort_unstable();
        if let Some(known) = self.profiles.get(of_profile.as_slice()) {
            return (Arc::clone(known), of_node.into());
        }
        if self.profiles.len() == self.profiles.capacity() {
            self.profiles.retain(|profile| Arc::strong_count(profile) > 1);
        }
        let profile: Arc<[u32]> = of_profile.into();
        self.profiles.insert(Arc::clone(&profile));
        (profile, of_node.into())
    }

    fn intern(&mut self, key: &str, value: &str) -> (Family, u32) {
        let place = |found: &IndexedLabel| found.values.binary_search_by(|(v, _)| v.as_ref().cmp(value));
        if let Some(found) = self.keys.get(key)
            && let Ok(at) = place(found)
        {
            return (found.family, found.values[at].1);
        }
        let label = self.labels.len() as u32;
        let value: Arc<str> = value.into();
        // The text of the key is shared too.
        let key = self.keys.get_key_value(key).map_or_else(|| key.into(), |(key, _)| Arc::clone(key));
        self.labels.push((Arc::clone(&key), Arc::clone(&value)));
        let family = Family::of(&key);
        let found = self.keys.entry(key).or_insert(IndexedLabel { family, values: Vec::new() });
        if let Err(at) = found.values.binary_search_by(|(v, _)| v.cmp(&value)) {
            found.values.insert(at, (value, label));
        }
        (family, label)
    }

    /// Builds the fleet from the current nodes.
    #[must_use]
    pub fn fleet(&self) -> Fleet {
        let mut by_profile: HashMap<&[u32], Vec<usize>> = HashMap::new();
        // Nodes are in name order, so that this order holds within each profile.
        let nodes: Vec<(&Arc<str>, &NodeEntry)> = self.nodes.iter().collect();
        for (at, (_, entry)) in nodes.iter().enumerate() {
            by_profile.entry(&entry.profile).or_default().push(at);
        }
        let mut groups: Vec<(&[u32], Vec<usize>)> = by_profile.into_iter().collect();
        groups.sort_unstable_by_key(|(_, members)| members[0]);

        let count = nodes.len();
        let mut fleet = Fleet {
            id: FleetId::fresh(count),
            cordoned: Bits::none(count),
            not_ready: Bits::none(count),
            ..Fleet::default()
        };
        let mut members: Vec<Vec<u32>> = vec![Vec::new(); self.labels.len()];
        let mut classes: HashMap<HostModelClass, usize> = HashMap::new();
        let mut taints: BTreeMap<&[Taint], Vec<u32>> = BTreeMap::new();
        for (number, (labels, of_profile)) in groups.into_iter().enumerate() {
            let start = fleet.names.len();
            for &label in labels {
                members[label as usize].push(number as u32);
            }
            let mut shared = None;
            for at in of_profile {
                let (name, entry) = nodes[at];
                let index = fleet.names.len();
                for &label in &*entry.own {
                    members[label as usize].push(index as u32);
                }
                if entry.cordoned {
                    fleet.cordoned.insert(index);
                }
                if entry.not_ready {
                    fleet.not_ready.insert(index);
                }
                if let Some(value) = &entry.skip_node {
                    fleet.skip_node.insert(index, value.clone());
                }
                if !entry.uid.is_empty() {
                    fleet.uid.insert(index, entry.uid.clone());
                }
                if entry.created != 0 {
                    fleet.created.insert(index, entry.created);
                }
                if let Some(why) = &entry.unread {
                    fleet.unread.insert(index, why.clone());
                }
                if !entry.taints.is_empty() {
                    taints.entry(&entry.taints).or_default().push(index as u32);
                }
                fleet.rank.push(at as u32);
                fleet.by_name.insert(Arc::clone(name), index as u32);
                fleet.names.push(Arc::clone(name));
                fleet.profile_of.push(number as u32);
                fleet.own_labels.push(Arc::clone(&entry.own));
                shared.get_or_insert_with(|| Arc::clone(&entry.profile));
            }
            let next = classes.len();
            let class = *classes.entry(self.class(labels)).or_insert(next);
            let labels = shared.unwrap_or_default();
            fleet.profiles.push(Profile { start, end: fleet.names.len(), labels, class });
        }
        let mut ordered: Vec<(HostModelClass, usize)> = classes.into_iter().collect();
        ordered.sort_unstable_by_key(|(_, number)| *number);
        fleet.classes = ordered.into_iter().map(|(class, _)| class).collect();
        fleet.taints_of = vec![None; count];
        for (at, (taints, members)) in taints.into_iter().enumerate() {
            for &node in &members {
                fleet.taints_of[node as usize] = Some(at as u32);
            }
            fleet.taints.push((taints.to_vec(), Members::of(members, count)));
        }
        let profiles = fleet.profiles.len();
        // Labels that no node has are treated as unknown.
        fleet.keys.clone_from(&self.keys);
        fleet.keys.retain(|_, key| {
            key.values.retain(|(_, label)| !members[*label as usize].is_empty());
            !key.values.is_empty()
        });
        fleet.labels = self
            .labels
            .iter()
            .zip(members)
            .map(|((key, value), members)| {
                let len = if Family::of(key).is_profile() { profiles } else { count };
                Label { members: Members::of(members, len), key: Arc::clone(key), value: Arc::clone(value) }
            })
            .collect();
        fleet.labelled = labelled(&fleet);
        fleet
    }

    fn class(&self, labels: &[u32]) -> HostModelClass {
        let labels = labels.iter().map(|&label| {
            let (key, value) = &self.labels[label as usize];
            (&**key, &**value)
        });
        let is_vendor = |key: &&str| Family::of(key) == Family::CpuVendor;
        let mut vendors: Vec<String> =
            labels.clone().map(|(key, _)| key).filter(is_vendor).map(str::to_owned).collect();
        vendors.sort_unstable();
        HostModelClass { model: host_model::demand(labels, label::CPU_MODEL_MIGRATION), vendors }
    }
}
/// Returns, by architecture, whether a node has labels that a judgement can use.
fn labelled(fleet: &Fleet) -> BTreeMap<String, bool> {
    let speaks = |family| matches!(family, Family::CpuFeature | Family::CpuModel);
    let mut out = BTreeMap::new();
    for profile in &fleet.profiles {
        let speaks = profile.labels.iter().any(|&label| speaks(Family::of(&fleet.labels[label as usize].key)));
        for node in profile.start..profile.end {
            let architecture = fleet.label(node, label::ARCH).unwrap_or_default();
            let known = speaks
                || (architecture == "arm64"
                    && fleet.labels(node).any(|(key, _)| Family::of(key) == Family::MachineType));
            match out.get_mut(architecture) {
                Some(before) => *before = *before || known,
                None => drop(out.insert(architecture.to_owned(), known)),
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, labels: &[(&str, String)]) -> Node {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        Node { name: name.to_owned(), labels, ..Node::default() }
    }

    /// Some administrators label nodes with a time or a count that changes all day.
    #[test]
    fn labels_of_removed_nodes_are_freed() {
        let mut fleet_builder = FleetBuilder::default();
        let fpu = || ("cpu-feature.node.kubevirt.io/fpu", "true".to_owned());
        fleet_builder.insert(node("steady", &[fpu(), ("zone", "a".to_owned())]));
        for time in 0..20_000 {
            let stamp = ("cpu-feature.node.kubevirt.io/stamp", time.to_string());
            fleet_builder.insert(node("restless", &[fpu(), stamp, ("seen", time.to_string())]));
        }
        assert!(fleet_builder.labels.len() < 5_000, "{} labels are kept of 5", fleet_builder.labels.len());
        assert!(fleet_builder.profiles.len() < 5_000, "{} profiles are kept of 2", fleet_builder.profiles.len());
        let fleet = fleet_builder.fleet();
        let labels = |name: &str| {
            let node = fleet.find(name).unwrap_or_default();
            fleet.labels(node).collect::<BTreeMap<_, _>>()
        };
        let stamp = "cpu-feature.node.kubevirt.io/stamp";
        assert_eq!(labels("steady"), BTreeMap::from([("cpu-feature.node.kubevirt.io/fpu", "true"), ("zone", "a")]));
        assert_eq!((labels("restless")[stamp], labels("restless")["seen"]), ("19999", "19999"));
        assert!(!fleet_builder.insert(node("steady", &[fpu(), ("zone", "a".to_owned())])), "a heartbeat would publish");
    }
}
