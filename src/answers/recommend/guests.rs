//! The effect of a model on running guests.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use serde::Serialize;

use super::features::KnownFeatures;
use super::pools::NodePool;
use crate::answers::Guests;
use crate::fit::bits::Bits;
use crate::fit::fleet::{Fleet, NodeIndex};
use crate::fit::label::{self, Family};
use crate::fit::subject::CpuMode;
use crate::kubevirt::cluster::{Cluster, Launcher};
use crate::kubevirt::eviction::{self, Effect};
use crate::kubevirt::migration::{self, NotEvacuated};
use crate::kubevirt::wire::{Condition, Vmi};
use crate::world::World;

/// Number of guests by number of migration targets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Coverage {
    /// Number of guests, by number of migration targets.
    pub guests_by_targets: BTreeMap<usize, usize>,
    /// Number of guests that could start on no node of the pool with it.
    pub cannot_start: usize,
    /// Number of guests that could start, and that KubeVirt refuses to migrate for a reason other than their CPU.
    pub not_migratable: usize,
    /// Number of guests for which this cannot be known.
    pub unknown: usize,
}

/// The CPU features that guests would lose or gain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FeatureChange {
    /// Number of guests.
    pub guests: usize,
    /// The features that any of them would lose or gain, sorted.
    pub features: Vec<String>,
}

/// The source of a guest's CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum CpuSource {
    /// The host: `host-model` or `host-passthrough`.
    Host,
    /// A model by name.
    Named,
}

/// The data about a running guest that is compared.
#[derive(Debug)]
struct RunningGuest {
    node: NodeIndex,
    cpu: CpuSource,
    /// The index in `sets` of its features; `None` if not known.
    has: Option<usize>,
    /// The nodes it could start on with any model; `None` if not known.
    open: Rc<Option<Bits>>,
    /// Whether KubeVirt refuses to migrate it for a reason other than its CPU.
    is_refused: bool,
    /// Whether KubeVirt migrates it when it is evicted, as far as its own settings decide that.
    is_evacuated: bool,
}

/// The running guests.
#[derive(Debug)]
pub(super) struct RunningGuests<'w> {
    /// The cluster in which guests start again.
    cluster: &'w Cluster,
    guests: Vec<RunningGuest>,
    /// The distinct sets of features of guests.
    sets: Vec<Bits>,
}

impl<'w> RunningGuests<'w> {
    /// Collects the running guests of the world `now`, which could start again in `then`; equal ones are computed once.
    /// A running guest has the CPU that the nodes of `now` gave it.
    pub(super) fn of(
        now: &'w World,
        then: &'w World,
        features: &mut KnownFeatures,
        progress: &dyn Fn(usize, usize),
    ) -> Self {
        let fleet: &Fleet = &now.cluster.fleet;
        let mut out = Self { cluster: &then.cluster, guests: Vec::new(), sets: Vec::new() };
        let mut like = Guests::new(&then.cluster);
        let mut known: HashMap<FeatureKey<'w>, Option<usize>> = HashMap::new();
        let of_running = now.cluster.vmis().filter(|vmi| migration::runs(vmi));
        let of_running: Vec<(&Vmi, NodeIndex)> =
            of_running.filter_map(|vmi| Some((vmi, fleet.find(&vmi.status.node_name)?))).collect();
        for (at, &(vmi, node)) in of_running.iter().enumerate() {
            progress(at, of_running.len());
            let key = FeatureKey::of(vmi, fleet.first_of_profile(node), now.cluster.current_launcher(vmi));
            let has = known.entry(key).or_insert_with_key(|key| {
                let set = key.features(fleet, features)?;
                let at = out.sets.iter().position(|other| *other == set);
                Some(at.unwrap_or_else(|| {
                    out.sets.push(set);
                    out.sets.len() - 1
                }))
            });
            let cpu = match CpuMode::parse(vmi.spec.cpu_model()) {
                CpuMode::Named(_) => CpuSource::Named,
                _ => CpuSource::Host,
            };
            out.guests.push(RunningGuest {
                node,
                cpu,
                has: *has,
                open: like.open_to_models(vmi),
                is_refused: migration::not_migratable(vmi).is_some_and(|condition| !is_of_cpu(condition)),
                is_evacuated: match eviction::effect(vmi, &now.cluster) {
                    Effect::Migrates => true,
                    // A named model ends this reason.
                    Effect::NotMigrated(NotEvacuated::Refused(condition)) => is_of_cpu(condition),
                    _ => false,
                },
            });
        }
        progress(of_running.len(), of_running.len());
        out
    }

    /// Returns the guests that run on these nodes.
    pub(super) fn on(&self, nodes: &Bits) -> Here<'_> {
        let mut kinds: BTreeMap<(CpuSource, Option<usize>), usize> = BTreeMap::new();
        // Guests with the same open nodes are counted together.
        let mut open: HashMap<(*const Option<Bits>, bool), OpenNodes> = HashMap::new();
        let (mut count, mut not_evacuated) = (0, 0);
        for guest in self.guests.iter().filter(|guest| nodes.contains(guest.node)) {
            count += 1;
            not_evacuated += usize::from(!guest.is_evacuated);
            *kinds.entry((guest.cpu, guest.has)).or_default() += 1;
            let is_refused = guest.is_refused;
            let open = open.entry((Rc::as_ptr(&guest.open), is_refused)).or_insert_with(|| OpenNodes {
                to: Rc::clone(&guest.open),
                is_refused,
                guests: 0,
            });
            open.guests += 1;
        }
        Here { running: self, kinds, open: open.into_values().collect(), count, not_evacuated }
    }

    /// Counts the guests that run outside of the nodes `now`, and that could start with a named model on nodes of the
    /// pool only.
    pub(super) fn elsewhere(&self, now: &Bits, pool: &NodePool) -> usize {
        let mut known: HashMap<*const Option<Bits>, bool> = HashMap::new();
        let mut is_bound = |open: &Rc<Option<Bits>>| {
            *known.entry(Rc::as_ptr(open)).or_insert_with(|| {
                open.as_ref().as_ref().is_some_and(|open| {
                    let inside = open.count_common(&pool.nodes);
                    inside > 0 && inside == open.count()
                })
            })
        };
        self.guests.iter().filter(|guest| !now.contains(guest.node) && is_bound(&guest.open)).count()
    }
}

/// Whether a guest is not live-migratable because of its CPU: its node has no host model. Mirrors
/// `calculateLiveMigrationCondition` of `pkg/virt-handler/vm.go`; a named model changes that.
fn is_of_cpu(condition: &Condition) -> bool {
    condition.reason == "CPUModeLiveMigratable"
}

/// Guests with the same open nodes.
struct OpenNodes {
    to: Rc<Option<Bits>>,
    is_refused: bool,
    guests: usize,
}

/// The guests that run on some nodes.
pub(super) struct Here<'r> {
    running: &'r RunningGuests<'r>,
    kinds: BTreeMap<(CpuSource, Option<usize>), usize>,
    open: Vec<OpenNodes>,
    count: usize,
    not_evacuated: usize,
}

impl Here<'_> {
    /// Returns the number of guests.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Returns the number of guests that KubeVirt does not migrate when they are evicted, whatever nodes fit.
    pub(super) fn not_evacuated(&self) -> usize {
        self.not_evacuated
    }

    /// Counts the guests by number of migration targets in the pool after a new start there with this model.
    pub(super) fn coverage(&self, model: &str, pool: &NodePool) -> Coverage {
        let fleet: &Fleet = &self.running.cluster.fleet;
        let mut takes = fleet.bearing(&format!("{}{model}", label::CPU_MODEL), "true");
        takes.intersect(&pool.nodes);
        let mut out = Coverage::default();
        for OpenNodes { to, is_refused, guests } in &self.open {
            let Some(open) = to.as_ref() else {
                out.unknown += guests;
                continue;
            };
            match open.count_common(&takes) {
                0 => out.cannot_start += guests,
                _ if *is_refused => out.not_migratable += guests,
                // Wherever it starts, that node is in the set and is no target.
                nodes => *out.guests_by_targets.entry(nodes - 1).or_default() += guests,
            }
        }
        out
    }

    /// Returns the features that guests with their host's CPU have and the model lacks.
    pub(super) fn lose(&self, features: &KnownFeatures, model: &str) -> FeatureChange {
        self.change(features, model, |cpu| cpu == CpuSource::Host, |has, held| (has, held))
    }

    /// Returns the features that the model has and guests lack.
    pub(super) fn gain(&self, features: &KnownFeatures, model: &str) -> FeatureChange {
        self.change(features, model, |_| true, |has, held| (held, has))
    }

    fn change(
        &self,
        features: &KnownFeatures,
        model: &str,
        is_meant: impl Fn(CpuSource) -> bool,
        order: impl for<'b> Fn(&'b Bits, &'b Bits) -> (&'b Bits, &'b Bits),
    ) -> FeatureChange {
        let Some(held) = features.of_model(model) else { return FeatureChange::default() };
        let (mut guests, mut all) = (0, Bits::none(held.len()));
        for ((_, set), count) in self.kinds.iter().filter(|((cpu, _), _)| is_meant(*cpu)) {
            let Some(has) = set.and_then(|set| self.running.sets.get(set)) else { continue };
            let (more, less) = order(has, held);
            let mut change = more.clone();
            change.subtract(less);
            if !change.is_empty() {
                guests += count;
                all.union(&change);
            }
        }
        FeatureChange { guests, features: features.names(&all) }
    }
}

/// The input of a guest's features.
#[derive(Debug, PartialEq, Eq, Hash)]
enum FeatureKey<'w> {
    /// The features of the nodes of a profile.
    Host(NodeIndex),
    /// The features of the node it left first, as its launcher inherited them.
    Inherited(Vec<&'w str>),
    /// The features of a model, and those that its specification requires.
    Named(&'w str, Vec<&'w str>),
}

impl<'w> FeatureKey<'w> {
    fn of(vmi: &'w Vmi, node: NodeIndex, launcher: Option<&'w Launcher>) -> Self {
        let cpu = vmi.spec.domain.cpu.as_ref();
        match vmi.spec.cpu_model() {
            "" | "host-passthrough" => Self::Host(node),
            "host-model" => {
                let selector = launcher.into_iter().flat_map(|pod| pod.placement.selector.iter());
                let inherited: Vec<&str> =
                    selector.map(|(key, _)| key.as_ref()).filter(|key| label::is_inherited(key)).collect();
                let names_its_model = |key: &&str| Family::of(key) == Family::CpuModelMigration;
                if inherited.iter().any(names_its_model) { Self::Inherited(inherited) } else { Self::Host(node) }
            }
            named => {
                let asked = cpu.into_iter().flat_map(|cpu| &cpu.features);
                let asked = asked.filter(|feature| matches!(feature.policy.as_str(), "" | "require" | "force"));
                Self::Named(named, asked.map(|feature| feature.name.as_str()).collect())
            }
        }
    }

    fn features(&self, fleet: &Fleet, features: &mut KnownFeatures) -> Option<Bits> {
        match self {
            Self::Host(node) => features.of_node(fleet, *node).cloned(),
            Self::Inherited(keys) => {
                let model = keys.iter().find(|key| Family::of(key) == Family::CpuModelMigration)?;
                features.add_model(label::name(model));
                let mut out = features.of_model(label::name(model))?.clone();
                // Libvirt may have disabled features of its host model, which then no node with that host model has.
                let host_model = format!("{}{}", label::HOST_MODEL_CPU, label::name(model));
                let hosts = fleet.bearing(&host_model, "true");
                let mut of_hosts: Option<Bits> = None;
                for has in hosts.iter().filter_map(|host| features.of_node(fleet, host)) {
                    match &mut of_hosts {
                        Some(all) => all.union(has),
                        None => of_hosts = Some(has.clone()),
                    }
                }
                if let Some(of_hosts) = &of_hosts {
                    out.intersect(of_hosts);
                }
                let named = keys.iter().filter(|key| Family::of(key) == Family::CpuFeature).map(|key| label::name(key));
                out.union(&features.set(named));
                Some(out)
            }
            Self::Named(model, asked) => {
                features.add_model(model);
                let mut out = features.of_model(model)?.clone();
                out.union(&features.set(asked.iter().copied()));
                Some(out)
            }
        }
    }
}
