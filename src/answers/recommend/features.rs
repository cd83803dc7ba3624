//! CPU features of nodes, models and guests, as sets that are cheap to compare.

use std::collections::{BTreeMap, HashMap};

use super::LackRow;
use crate::fit::bits::Bits;
use crate::fit::fleet::{Fleet, NodeIndex};
use crate::fit::label::{self, Family};
use crate::fit::libvirt::NOT_MIGRATABLE;
use crate::fit::models;
use crate::world::World;

/// Capacity of the sets: more than the number of features.
const FEATURE_CAPACITY: usize = 4096;

/// The known features of nodes and models.
#[derive(Debug, Default)]
pub(super) struct KnownFeatures {
    numbers: HashMap<String, usize>,
    names: Vec<String>,
    /// The features of nodes, by their fleet, the first node of a profile, and whether nobody updates their labels.
    of_nodes: HashMap<(*const Fleet, NodeIndex, bool), Bits>,
    of_models: HashMap<String, Bits>,
}

impl KnownFeatures {
    /// Collects the features of the nodes of these worlds, and of the models that their labels name.
    pub(super) fn of(worlds: [&World; 2]) -> Self {
        let mut out = Self::default();
        let [one, other]: [&Fleet; 2] = worlds.map(|world| &*world.cluster.fleet);
        out.add_fleet(one);
        if !std::ptr::eq(one, other) {
            out.add_fleet(other);
        }
        out
    }

    fn add_fleet(&mut self, fleet: &Fleet) {
        for family in [Family::CpuModel, Family::CpuModelMigration, Family::HostModelCpu] {
            for model in fleet.bearers(family).into_keys() {
                self.add_model(model);
            }
        }
        let (frozen, others): (Vec<_>, Vec<_>) = (0..fleet.len()).partition(|node| fleet.skip_node(*node).is_some());
        for nodes in [frozen, others] {
            let mut of = Bits::none(fleet.len());
            for node in nodes {
                of.insert(node);
            }
            for node in fleet.one_of_each_profile(&of) {
                self.add_node(fleet, node);
            }
        }
    }

    /// Adds the features of a node: those of its labels and of the models that it can run.
    fn add_node(&mut self, fleet: &Fleet, node: NodeIndex) {
        let mut has = Bits::none(FEATURE_CAPACITY);
        let mut one = Bits::none(fleet.len());
        one.insert(node);
        for (key, _) in fleet.labels(node).filter(|(_, value)| *value == "true") {
            match Family::of(key) {
                Family::CpuFeature | Family::HostModelRequired => self.put(label::name(key), &mut has),
                Family::CpuModel if models::contradicting(fleet, label::name(key), &one).is_empty() => {
                    models::needed(label::name(key)).for_each(|name| self.put(name, &mut has));
                }
                _ => {}
            }
        }
        self.of_nodes.insert(key_of(fleet, node), has);
    }

    /// Adds a model's features.
    pub(super) fn add_model(&mut self, model: &str) {
        if self.of_models.contains_key(model) {
            return;
        }
        if let Some(held) = models::features(model) {
            let held = self.set(held);
            self.of_models.insert(model.to_owned(), held);
        }
    }

    /// Returns a set of features by name.
    pub(super) fn set<'n>(&mut self, names: impl IntoIterator<Item = &'n str>) -> Bits {
        let mut out = Bits::none(FEATURE_CAPACITY);
        names.into_iter().for_each(|name| self.put(name, &mut out));
        out
    }

    fn put(&mut self, name: &str, set: &mut Bits) {
        if !is_compared(name) {
            return;
        }
        let number = match self.numbers.get(name) {
            Some(number) => *number,
            None if self.names.len() == FEATURE_CAPACITY => return,
            None => {
                self.numbers.insert(name.to_owned(), self.names.len());
                self.names.push(name.to_owned());
                self.names.len() - 1
            }
        };
        set.insert(number);
    }

    /// Returns the features of a node; `None` if not known.
    pub(super) fn of_node(&self, fleet: &Fleet, node: NodeIndex) -> Option<&Bits> {
        self.of_nodes.get(&key_of(fleet, node))
    }

    /// Returns the features of a model; `None` if not known.
    pub(super) fn of_model(&self, model: &str) -> Option<&Bits> {
        self.of_models.get(model)
    }

    /// Returns the names in a set, sorted.
    pub(super) fn names(&self, set: &Bits) -> Vec<String> {
        let mut out: Vec<String> = set.iter().filter_map(|number| self.names.get(number).cloned()).collect();
        out.sort_unstable();
        out
    }

    /// Returns the features of a model that these nodes lack; nodes that lack the same ones share a row.
    pub(super) fn lacks(&self, fleet: &Fleet, model: &str, nodes: &Bits) -> Vec<LackRow> {
        let Some(held) = self.of_model(model) else { return Vec::new() };
        let mut rows: BTreeMap<Vec<String>, Vec<String>> = BTreeMap::new();
        let mut of_profile: HashMap<(NodeIndex, bool), Vec<String>> = HashMap::new();
        for node in nodes.iter() {
            let lack = of_profile
                .entry((fleet.first_of_profile(node), fleet.skip_node(node).is_some()))
                .or_insert_with(|| {
                    let mut lack = held.clone();
                    if let Some(has) = self.of_node(fleet, node) {
                        lack.subtract(has);
                    }
                    self.names(&lack)
                });
            rows.entry(lack.clone()).or_default().push(fleet.name(node).to_owned());
        }
        let mut rows: Vec<LackRow> = rows
            .into_iter()
            .map(|(features, mut nodes)| {
                nodes.sort_unstable();
                LackRow { nodes, features }
            })
            .collect();
        rows.sort_by(|one, other| one.nodes.cmp(&other.nodes));
        rows
    }
}

fn key_of(fleet: &Fleet, node: NodeIndex) -> (*const Fleet, NodeIndex, bool) {
    (std::ptr::from_ref(fleet), fleet.first_of_profile(node), fleet.skip_node(node).is_some())
}

/// Returns the features of a model that a node lacks, sorted; `None` if the features of the model are not known.
pub(crate) fn lacked(fleet: &Fleet, node: NodeIndex, model: &str) -> Option<Vec<String>> {
    let mut known = KnownFeatures::default();
    known.add_model(model);
    known.of_model(model)?;
    known.add_node(fleet, node);
    let mut one = Bits::none(fleet.len());
    one.insert(node);
    Some(known.lacks(fleet, model, &one).into_iter().flat_map(|row| row.features).collect())
}

/// Whether a feature matters when guests are compared: host-model leaves out those that keep a guest from migrating;
/// QEMU gives `hypervisor` and `x2apic` to every guest, and the features of nested virtualization on AMD are in the
/// definitions of models but not enabled by them.
fn is_compared(feature: &str) -> bool {
    models::is_given(feature)
        && !NOT_MIGRATABLE.contains(&feature)
        && !feature.starts_with("vmx-")
        && !matches!(feature, "hypervisor" | "x2apic")
}
