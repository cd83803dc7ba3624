//! CPU features of nodes, models and guests, as sets that are cheap to compare.

use std::collections::{BTreeMap, HashMap};

use super::LackRow;
use crate::fit::bits::Bits;
use crate::fit::fleet::{Fleet, NodeIndex};
use crate::fit::label::{self, Family};
use crate::fit::models;
use crate::world::World;

/// More than there are features.
const ROOM: usize = 4096;

/// What is known of features: which a node has, which a model.
#[derive(Debug)]
pub(super) struct KnownFeatures {
    numbers: HashMap<String, usize>,
    names: Vec<String>,
    /// By the first node of a profile.
    of_nodes: HashMap<NodeIndex, Bits>,
    of_models: HashMap<String, Bits>,
}

impl KnownFeatures {
    /// Those of the nodes of a world, and of the models that they know.
    pub(super) fn of(world: &World) -> Self {
        let fleet: &Fleet = &world.cluster.fleet;
        let mut out =
            Self { numbers: HashMap::new(), names: Vec::new(), of_nodes: HashMap::new(), of_models: HashMap::new() };
        for family in [Family::CpuModel, Family::CpuModelMigration, Family::HostModelCpu] {
            for model in fleet.bearers(family).into_keys() {
                out.add_model(model);
            }
        }
        for node in fleet.one_of_each_profile(&Bits::all(fleet.len())) {
            let mut has = Bits::none(ROOM);
            for (key, _) in fleet.labels(node).filter(|(_, value)| *value == "true") {
                match Family::of(key) {
                    Family::CpuFeature | Family::HostModelRequired => out.put(label::name(key), &mut has),
                    // What can run a model has all that it holds.
                    Family::CpuModel => {
                        out.of_models.get(label::name(key)).into_iter().for_each(|held| has.union(held));
                    }
                    _ => {}
                }
            }
            out.of_nodes.insert(fleet.first_of_profile(node), has);
        }
        out
    }

    /// Looks a model up, so that it is known from now on.
    pub(super) fn add_model(&mut self, model: &str) {
        if self.of_models.contains_key(model) {
            return;
        }
        if let Some(held) = models::features(model) {
            let held = self.set(held);
            self.of_models.insert(model.to_owned(), held);
        }
    }

    /// A set of features by their names.
    pub(super) fn set<'n>(&mut self, names: impl IntoIterator<Item = &'n str>) -> Bits {
        let mut out = Bits::none(ROOM);
        names.into_iter().for_each(|name| self.put(name, &mut out));
        out
    }

    fn put(&mut self, name: &str, set: &mut Bits) {
        if !is_compared(name) {
            return;
        }
        let number = match self.numbers.get(name) {
            Some(number) => *number,
            None if self.names.len() == ROOM => return,
            None => {
                self.numbers.insert(name.to_owned(), self.names.len());
                self.names.push(name.to_owned());
                self.names.len() - 1
            }
        };
        set.insert(number);
    }

    /// What a node has.
    pub(super) fn of_node(&self, fleet: &Fleet, node: NodeIndex) -> Option<&Bits> {
        self.of_nodes.get(&fleet.first_of_profile(node))
    }

    /// What a model holds; `None` where it is not known.
    pub(super) fn of_model(&self, model: &str) -> Option<&Bits> {
        self.of_models.get(model)
    }

    /// The names of a set, sorted.
    pub(super) fn names(&self, set: &Bits) -> Vec<String> {
        let mut out: Vec<String> = set.iter().filter_map(|number| self.names.get(number).cloned()).collect();
        out.sort_unstable();
        out
    }

    /// Which features of a model these nodes do not have; nodes with the same lack together.
    pub(super) fn lacks(&self, fleet: &Fleet, model: &str, nodes: &Bits) -> Vec<LackRow> {
        let Some(held) = self.of_model(model) else { return Vec::new() };
        let mut rows: BTreeMap<Vec<String>, Vec<String>> = BTreeMap::new();
        let mut of_profile: HashMap<NodeIndex, Vec<String>> = HashMap::new();
        for node in nodes.iter() {
            let lack = of_profile.entry(fleet.first_of_profile(node)).or_insert_with(|| {
                let mut lack = held.clone();
                self.of_node(fleet, node).into_iter().for_each(|has| lack.subtract(has));
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

/// Whether a feature tells something when guests are compared: QEMU gives `hypervisor` and `x2apic` to every guest, and what comes
/// with nested virtualization on AMD is in the definitions of models but not switched on by them.
fn is_compared(feature: &str) -> bool {
    const NESTED: [&str; 13] = [
        "svm",
        "npt",
        "nrip-save",
        "svme-addr-chk",
        "lbrv",
        "tsc-scale",
        "vmcb-clean",
        "flushbyasid",
        "pause-filter",
        "pfthreshold",
        "v-vmsave-vmload",
        "vgif",
        "vnmi",
    ];
    !NESTED.contains(&feature) && !feature.starts_with("vmx-") && !matches!(feature, "hypervisor" | "x2apic")
}
