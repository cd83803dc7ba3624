//! Many guests: guests with equal input are judged once.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;

use crate::enforce::model::with_model;
use crate::fit::bits::Bits;
use crate::fit::fleet::{Fleet, HostModelClass, NodeIndex};
use crate::fit::label;
use crate::fit::libvirt::Answers;
use crate::fit::placement::Placement;
use crate::fit::verdict::Assessment;
use crate::kubevirt::cluster::Cluster;
use crate::kubevirt::migration::{self, NoPod, SourceLabels};
use crate::kubevirt::subject;
use crate::kubevirt::wire::{Domain, Vmi, VmiSpec, Vmim};
use crate::well_known;

/// The demand of the migration of equal guests, and the nodes that meet it.
#[derive(Debug)]
pub struct Demand {
    /// The placement of the predicted target pod, or why no such pod is predicted.
    pub placement: Result<Placement<'static>, NoPod>,
    fitting: OnceCell<Bits>,
}

impl Demand {
    /// Returns the nodes that the scheduler's node filters accept, including each guest's own node.
    pub fn fitting(&self, fleet: &Fleet) -> &Bits {
        self.fitting.get_or_init(|| match &self.placement {
            Ok(placement) => fleet.look_up(placement).passes().fitting,
            Err(_) => Bits::none(fleet.len()),
        })
    }

    /// Returns the number of targets of a guest that runs on this node.
    #[must_use]
    pub fn targets(&self, fleet: &Fleet, source: Option<NodeIndex>) -> usize {
        let fitting = self.fitting(fleet);
        fitting.count() - usize::from(source.is_some_and(|node| fitting.contains(node)))
    }
}

/// The guests of a cluster, with the demands of their start and migration computed once for equal guests.
#[derive(Debug)]
pub struct Guests<'w> {
    cluster: &'w Cluster,
    moves: MemoKey<Likeness<'w>, Demand>,
    starts: MemoKey<Likeness<'w>, Assessment>,
    open: MemoKey<Likeness<'w>, Option<Bits>>,
}

/// Memoized results, with the input each depends on.
pub(super) type MemoKey<L, T> = HashMap<u64, Vec<(L, Rc<T>)>>;

/// The input of a memoized result.
pub(super) trait Like: PartialEq {
    /// Returns a hash, equal for equal inputs; fields that are expensive to hash are left to the comparison.
    fn hash(&self) -> u64;
}

/// A specification as far as the prediction of a pod reads it: host name, volumes, devices and networks differ by
/// guest.
#[derive(Debug)]
struct Asks<'w>(&'w VmiSpec);

impl PartialEq for Asks<'_> {
    fn eq(&self, other: &Self) -> bool {
        let VmiSpec {
            architecture,
            domain,
            node_selector,
            affinity,
            tolerations,
            eviction_strategy,
            topology_spread_constraints,
            hostname: _,
            volumes: _,
            networks: _,
            resource_claims,
            priority_class_name: _,
        } = self.0;
        let Domain { cpu, machine, memory, features, launch_security, firmware: _, resources: _, devices: _ } = domain;
        let Self(other) = other;
        *architecture == other.architecture
            && *cpu == other.domain.cpu
            && *machine == other.domain.machine
            && memory.hugepages == other.domain.memory.hugepages
            && *features == other.domain.features
            && *launch_security == other.domain.launch_security
            && *node_selector == other.node_selector
            && *affinity == other.affinity
            && *tolerations == other.tolerations
            && *eviction_strategy == other.eviction_strategy
            && *topology_spread_constraints == other.topology_spread_constraints
            && *resource_claims == other.resource_claims
    }
}

/// The input of the prediction of a guest's pods: guests with equal input are judged once.
#[derive(Debug, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own about the guest")]
pub(super) struct Likeness<'w> {
    spec: Asks<'w>,
    tsc_frequency: Option<i64>,
    machine: Option<&'w str>,
    labelled: bool,
    /// Whether its launcher is outdated: what its next start resolves its machine type to is not known.
    outdated: bool,
    /// The entries that its launcher inherited; `None` if its launcher is not known, so that they are a guess.
    inherited: Option<Vec<(&'w str, &'w str)>>,
    /// The class of the source node. Classes are interned: equal ones have one address.
    source: Option<*const HostModelClass>,
    /// Libvirt's answers about its CPU, if it was asked.
    asked: Option<Answers>,
    /// Whether the guest, or its launcher, is too large to be read whole.
    too_large: bool,
    is_being_deleted: bool,
}

impl<'w> Likeness<'w> {
    /// Collects the input of a running guest's migration, except for the node that it has to leave.
    pub(super) fn of_running(vmi: &'w Vmi, cluster: &'w Cluster) -> Self {
        let fleet: &'w Fleet = &cluster.fleet;
        let source = fleet.find(&vmi.status.node_name);
        let launcher = cluster.current_launcher(vmi);
        let inherited = launcher.map(|pod| {
            let entries = pod.placement.selector.iter().filter(|(key, _)| label::is_inherited(key));
            entries.map(|(key, value)| (key.as_ref(), value.as_ref())).collect()
        });
        let alone = likeness(vmi);
        Self {
            too_large: alone.too_large || launcher.is_some_and(|pod| pod.excess.is_some()),
            inherited,
            asked: cluster.asked_about(vmi),
            source: source.map(|node| std::ptr::from_ref(fleet.host_model_class(node))),
            ..alone
        }
    }
}

impl Like for Likeness<'_> {
    fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        let Self {
            spec: Asks(spec),
            tsc_frequency,
            machine,
            labelled,
            outdated: _,
            inherited,
            source,
            asked: _,
            too_large,
            is_being_deleted: _,
        } = self;
        (tsc_frequency, machine, labelled, inherited, source, too_large).hash(&mut hasher);
        spec.node_selector.hash(&mut hasher);
        spec.domain.cpu.as_ref().map(|cpu| (&cpu.model, cpu.features.len())).hash(&mut hasher);
        hasher.finish()
    }
}

impl<'w> Guests<'w> {
    /// Creates an empty cache for the guests of a cluster.
    #[must_use]
    pub fn new(cluster: &'w Cluster) -> Self {
        Self { cluster, moves: HashMap::new(), starts: HashMap::new(), open: HashMap::new() }
    }

    /// Returns the demand of the migration of a running guest; `None` if it does not run.
    pub fn demand(&mut self, vmi: &'w Vmi) -> Option<Rc<Demand>> {
        if !migration::runs(vmi) {
            return None;
        }
        let cluster = self.cluster;
        let fleet: &'w Fleet = &cluster.fleet;
        Some(alike(&mut self.moves, Likeness::of_running(vmi, cluster), || {
            let labels = fleet.find(&vmi.status.node_name).map(|node| fleet.node(node).labels);
            Demand { placement: predict(vmi, cluster, labels.as_ref()), fitting: OnceCell::new() }
        }))
    }

    /// Returns the assessment of a guest's start.
    pub fn start(&mut self, vmi: &'w Vmi) -> Rc<Assessment> {
        let cluster = self.cluster;
        alike(&mut self.starts, likeness(vmi), || subject::of_vmi(vmi, cluster).assess(cluster))
    }

    /// Returns the nodes that would take a guest that starts with a named model, if each of them offered that model;
    /// `None` if that cannot be known.
    pub(crate) fn open_to_models(&mut self, vmi: &'w Vmi) -> Rc<Option<Bits>> {
        // No model has this name, so no other condition mentions it.
        const ANY: &str = "any";
        let cluster = self.cluster;
        alike(&mut self.open, likeness(vmi), || {
            let prepared = subject::of_vmi(&with_model(vmi, ANY), cluster);
            if prepared.not_judged.is_some() {
                return None;
            }
            let mut placement = prepared.subject.placement;
            let key = format!("{}{ANY}", label::CPU_MODEL);
            placement.selector.retain(|(other, _)| *other != key);
            Some(cluster.fleet.look_up(&placement).passes().fitting)
        })
    }
}

fn likeness(vmi: &Vmi) -> Likeness<'_> {
    Likeness {
        spec: Asks(&vmi.spec),
        tsc_frequency: vmi.status.topology_hints.tsc_frequency,
        machine: vmi.status.machine.as_ref().map(|machine| machine.kind.as_str()),
        labelled: !vmi.status.selinux_context.is_empty(),
        outdated: well_known::OUTDATED_LAUNCHER.is_set(&vmi.metadata.labels),
        inherited: None,
        source: None,
        asked: None,
        too_large: vmi.metadata.excess.is_some(),
        is_being_deleted: migration::is_being_deleted(&vmi.metadata),
    }
}

/// Returns the result of equal input if there is one, else that of `find_out`.
pub(super) fn alike<L: Like, T>(known: &mut MemoKey<L, T>, likeness: L, find_out: impl FnOnce() -> T) -> Rc<T> {
    let bucket = known.entry(likeness.hash()).or_default();
    if let Some((_, found)) = bucket.iter().find(|(other, _)| *other == likeness) {
        return Rc::clone(found);
    }
    let found = Rc::new(find_out());
    bucket.push((likeness, Rc::clone(&found)));
    found
}

/// Predicts the target pod of a guest's migration away from a node with these labels.
///
/// # Errors
///
/// Returns why KubeVirt would create none.
pub(crate) fn predict(
    vmi: &Vmi,
    cluster: &Cluster,
    labels: Option<&SourceLabels>,
) -> Result<Placement<'static>, NoPod> {
    let selector = subject::source_selector(vmi, cluster)?;
    let release = cluster.release.release();
    let target = migration::predict(&Vmim::default(), vmi, &selector, labels, &cluster.config, release)?;
    let source = cluster.fleet.find(&vmi.status.node_name);
    Ok(target.with_best_vendor(source, &cluster.fleet).pod.placement())
}
