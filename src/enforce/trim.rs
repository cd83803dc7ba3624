//! Selector entries dropped from the pod of a migration's target, at its CREATE, because a pod's selector is
//! immutable afterwards.
//!
//! The target must provide the CPU that the guest *has*, regardless of its pod's selector: dropping an entry
//! only fixes labels that disagree with the hardware. Libvirt decides; if it refuses, the guest stays where it
//! is.
//!
//! Never dropped are entries of families other than `cpu-feature` and `cpu-model-migration`; entries required
//! by the guest, its node selector or KubeVirt's own configuration; and, for a host-model guest, the last
//! inherited `cpu-feature`: KubeVirt treats a guest whose pod has none as one that never migrated, and would
//! pin it to the CPU of its current node. A host-passthrough guest keeps all: libvirt checks next to nothing
//! of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use json_patch::PatchOperation;
use serde_json::{Map, Value, json};

use super::patch;
use crate::fit::fleet::{Fleet, NodeIndex};
use crate::fit::label::{self, Family};
use crate::fit::placement::Placement;
use crate::fit::plural;
use crate::fit::subject::CpuMode;
use crate::kubevirt::cluster::{self, Cluster, is_launcher};
use crate::kubevirt::placement;
use crate::kubevirt::subject::vmi_of_pod;
use crate::kubevirt::wire::{Pod, Texts, Vmi, Vmim};
use crate::policy::{LauncherSelectors, Policy};
use crate::say;
use crate::well_known;
use crate::world::World;

/// A selector entry: key and value.
pub(crate) type OwnedEntry = (String, String);

/// The entries dropped from a pod; none for most pods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub(crate) struct Trim {
    /// `namespace/name` of the guest.
    pub guest: String,
    /// The dropped entries, by reason.
    pub cuts: Vec<Cut>,
    /// The reason why a requested change was not made.
    pub refused: Option<KeptEntry>,
}

/// Entries dropped for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    /// The reason.
    pub by: By,
    /// The entries, by key.
    pub entries: Vec<OwnedEntry>,
}

/// The reason why entries are dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// No node has the label any more: `launcherSelectors: DropStale`.
    DropStale {
        /// The policy.
        policy: String,
    },
    /// The guest has the common model and does not need them: `launcherSelectors: Common`.
    Common {
        /// The policy.
        policy: String,
        /// The model.
        model: String,
    },
    /// The migration is annotated `cpufit.io/relax: "true"`.
    Relax {
        /// The migration.
        migration: String,
        /// The node that fits without them.
        node: String,
    },
}

/// The reason why entries are kept that a policy or an annotation requires to be dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeptEntry {
    /// The guest is not known, so neither are its CPU mode and the features it requires.
    UnknownGuest,
    /// The guest, its migration, the pod or KubeVirt's configuration is too large to be read whole.
    TooLarge,
    /// The guest uses its host's own CPU.
    HostPassthrough,
    /// No node has labels that a judgement can use.
    NoLabels,
    /// No inherited feature would remain.
    LastFeature,
    /// All nodes are excluded by more than entries that may be dropped.
    OtherCauses,
}

impl fmt::Display for KeptEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownGuest => "its VMI is not known, so neither are its CPU mode and the features it requires",
            Self::TooLarge => "its VMI, its migration, its pod or the KubeVirt resource is too large to judge by",
            Self::HostPassthrough => "it runs with host-passthrough, of which libvirt checks next to nothing",
            Self::NoLabels => "no node has a CPU model or feature label: is virt-handler running?",
            Self::LastFeature => {
                "no inherited cpu-feature would be left, and its next migration would ask for the CPU of its node of then"
            }
            Self::OtherCauses => "no node lacks only inherited cpu-feature and cpu-model-migration labels",
        })
    }
}

/// Whether entries of a pod could be dropped at all: a cheap test without a judgement.
pub(crate) fn concerns(world: &World, pod: &Pod<'_>) -> bool {
    let by_policy = || world.policies.iter().any(|policy| policy.launcher_selectors != LauncherSelectors::Keep);
    is_target(pod) && (by_policy() || migration_of(pod, &world.cluster).is_some_and(is_relaxed))
}

/// Returns the entries to drop from a pod that is being created. `policy` is the one that governs the guest.
pub(crate) fn trim(world: &World, policy: &Policy, pod: &Pod<'_>) -> Trim {
    if !is_target(pod) {
        return Trim::default();
    }
    let cluster = &world.cluster;
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let name = cluster::owner(pod).map(|owner| owner.name.as_str()).unwrap_or_default();
    let (vmi, migration) = (vmi_of_pod(pod, cluster), migration_of(pod, cluster));
    let placement = pod.metadata.excess.is_none().then(|| placement::of_pod(pod));
    from_target(world, policy, (namespace, name), vmi, migration, placement)
}

/// Predicts the entries that will be dropped from the pod of a migration's target. `migration` is the
/// requested one, if it is known.
pub(crate) fn predict(
    world: &World,
    policy: &Policy,
    vmi: &Vmi,
    migration: Option<&Vmim>,
    placement: &Placement<'_>,
) -> Trim {
    let guest = (vmi.metadata.namespace.as_str(), vmi.metadata.name.as_str());
    from_target(world, policy, guest, Some(vmi), migration, Some(placement.clone()))
}

fn from_target(
    world: &World,
    policy: &Policy,
    (namespace, name): (&str, &str),
    vmi: Option<&Vmi>,
    migration: Option<&Vmim>,
    placement: Option<Placement<'_>>,
) -> Trim {
    let cluster = &world.cluster;
    let relaxed = migration.filter(|migration| is_relaxed(migration));
    let is_asked = policy.launcher_selectors != LauncherSelectors::Keep || relaxed.is_some();
    if !is_asked || world.exempts(namespace) {
        return Trim::default();
    }
    let mut out = Trim { guest: format!("{namespace}/{name}"), ..Trim::default() };
    let Some(vmi) = vmi else { return out.refuse(KeptEntry::UnknownGuest) };
    let is_read = vmi.metadata.excess.is_none()
        && cluster.config.excess.is_none()
        && migration.is_none_or(|migration| migration.metadata.excess.is_none());
    let Some(placement) = placement.filter(|_| is_read) else { return out.refuse(KeptEntry::TooLarge) };
    let mode = CpuMode::parse(vmi.spec.cpu_model());
    if mode == CpuMode::HostPassthrough {
        return if relaxed.is_some() { out.refuse(KeptEntry::HostPassthrough) } else { out };
    }
    let mut case = TrimInput { cluster, vmi, migration, required: required(vmi), placement };
    if !cluster.fleet.is_labelled(case.placement.get(label::ARCH)) {
        return out.refuse(KeptEntry::NoLabels);
    }
    match (policy.launcher_selectors, &policy.common_model) {
        (LauncherSelectors::DropStale, _) => {
            let by = By::DropStale { policy: policy.name.clone() };
            match case.stale() {
                Ok(entries) => out.cut(&mut case, by, entries),
                Err(refused) => out.refused = Some(refused),
            }
        }
        (LauncherSelectors::Common, Some(common)) if mode == CpuMode::Named(common.name.clone()) => {
            let by = By::Common { policy: policy.name.clone(), model: common.name.clone() };
            let entries = case.foreign(&common.name);
            out.cut(&mut case, by, entries);
        }
        _ => {}
    }
    if let Some(relaxed) = relaxed {
        match case.in_the_way() {
            Ok(Some((node, entries))) => {
                let migration = relaxed.metadata.name.clone();
                out.cut(&mut case, By::Relax { migration, node }, entries);
                out.refused = None;
            }
            Ok(None) => {}
            Err(refused) => out.refused = Some(refused),
        }
    }
    out
}

impl Trim {
    fn refuse(self, why: KeptEntry) -> Self {
        Self { refused: Some(why), ..self }
    }

    fn cut(&mut self, case: &mut TrimInput<'_>, by: By, mut entries: Vec<OwnedEntry>) {
        if entries.is_empty() {
            return;
        }
        entries.sort_unstable();
        self.cuts.push(Cut { by, entries });
        self.leave(&mut case.placement);
    }

    /// Removes the dropped entries from a placement.
    pub(crate) fn leave(&self, placement: &mut Placement<'_>) {
        let dropped: BTreeSet<&str> = self.dropped().into_iter().map(|(key, _)| key.as_str()).collect();
        placement.selector.retain(|(key, _)| !dropped.contains(&**key));
    }

    /// Returns all dropped entries, by key.
    pub(crate) fn dropped(&self) -> Vec<&OwnedEntry> {
        let mut out: Vec<&OwnedEntry> = self.cuts.iter().flat_map(|cut| &cut.entries).collect();
        out.sort_unstable();
        out
    }

    /// Returns the patch of the pod. Once applied, the next patch is empty.
    pub(crate) fn patch(&self, pod: &Pod<'_>) -> Vec<PatchOperation> {
        let dropped = self.dropped();
        if dropped.is_empty() {
            return Vec::new();
        }
        let mut out: Vec<PatchOperation> =
            dropped.iter().map(|(key, _)| patch::remove(&["spec", "nodeSelector", key])).collect();
        // Keys that an earlier call dropped stay in the annotation.
        let before = well_known::DROPPED_SELECTORS.value(&pod.metadata.annotations).unwrap_or_default();
        let earlier = before.split(',').filter(|key| !key.is_empty());
        let all: BTreeSet<&str> = dropped.iter().map(|(key, _)| key.as_str()).chain(earlier).collect();
        let all: Vec<&str> = all.into_iter().collect();
        let object = json!({"metadata": {"annotations": annotations(pod.metadata.annotations.as_ref())}});
        out.extend(patch::annotate(&object, &[(well_known::DROPPED_SELECTORS.key, all.join(","))]));
        out
    }

    /// Returns a sentence for each change made or not made: for warnings and for Events on the VMI.
    pub(crate) fn sentences(&self) -> Vec<String> {
        self.done().into_iter().chain(self.undone()).collect()
    }

    /// Returns these sentences without the guest's name.
    pub(crate) fn notes(&self) -> Vec<String> {
        self.done_notes().into_iter().chain(self.undone_note()).collect()
    }

    fn titled(&self, note: &str) -> String {
        format!("{}: {note}", self.guest)
    }

    /// Returns the change that was not made, and why.
    pub(crate) fn undone(&self) -> Option<String> {
        self.undone_note().map(|note| self.titled(&note))
    }

    fn undone_note(&self) -> Option<String> {
        self.refused.map(|why| format!("its selector stays as it is: {why}"))
    }

    /// Returns the changes made, a sentence for each reason.
    pub(crate) fn done(&self) -> Vec<String> {
        self.done_notes().iter().map(|note| self.titled(note)).collect()
    }

    fn done_notes(&self) -> Vec<String> {
        let done = self.cuts.iter().map(|cut| {
            let entries = cut.entries.iter().map(|(key, value)| (key.as_str(), value.as_str()));
            let keys = plural::fold(entries, 4);
            match &cut.by {
                By::DropStale { policy } => {
                    let line = format!("its target need not have {keys}, which no node offers any more");
                    format!("{}; libvirt decides", say::by_policy(&line, policy))
                }
                By::Common { policy, model } => {
                    let line = format!("its target need not have {keys}: it runs with model {model}");
                    say::by_policy(&line, policy)
                }
                By::Relax { migration, node } => {
                    // A migration with a generated name has none yet.
                    let migration = if migration.is_empty() { "the migration" } else { migration.as_str() };
                    format!(
                        "its target need not have {keys}, so that {node} fits ({migration} is annotated {}); \
                         libvirt decides",
                        well_known::RELAX.key
                    )
                }
            }
        });
        done.collect()
    }

    /// Returns the audit annotations, by key.
    pub(crate) fn audit(&self) -> BTreeMap<String, String> {
        let dropped: Vec<&str> = self.dropped().into_iter().map(|(key, _)| key.as_str()).collect();
        let done = (!dropped.is_empty()).then(|| ("dropped-selectors".to_owned(), dropped.join(",")));
        let undone = self.refused.map(|why| ("kept-selectors".to_owned(), why.to_string()));
        done.into_iter().chain(undone).collect()
    }
}

fn annotations(texts: Option<&Texts<'_>>) -> Value {
    let Some(texts) = texts else { return Value::Null };
    Value::Object(texts.0.iter().map(|(key, value)| (key.to_string(), json!(value))).collect::<Map<_, _>>())
}

/// Whether the pod is that of a migration's target and not yet bound to a node.
fn is_target(pod: &Pod<'_>) -> bool {
    let labels = &pod.metadata.labels;
    let is_bound = pod.spec.node_name.as_deref().is_some_and(|node| !node.is_empty());
    is_launcher(pod) && well_known::MIGRATION_UID.is_set(labels) && !is_bound
}

/// Finds the migration of a target pod; one with this name and another UID is not it.
fn migration_of<'c>(pod: &Pod<'_>, cluster: &'c Cluster) -> Option<&'c Vmim> {
    let name = well_known::MIGRATION_NAME.value(&pod.metadata.annotations)?;
    let found = cluster.migration(pod.metadata.namespace.as_deref().unwrap_or_default(), name)?;
    let uid = found.metadata.uid.as_str();
    (uid.is_empty() || well_known::MIGRATION_UID.value(&pod.metadata.labels) == Some(uid)).then_some(found)
}

/// Returns the name of a target pod's migration if it is not known: it may be annotated.
pub(crate) fn unknown_migration<'p>(pod: &'p Pod<'_>, cluster: &Cluster) -> Option<&'p str> {
    let name = well_known::MIGRATION_NAME.value(&pod.metadata.annotations).filter(|_| is_target(pod))?;
    migration_of(pod, cluster).is_none().then_some(name)
}

fn is_relaxed(migration: &Vmim) -> bool {
    well_known::RELAX.is_set(&migration.metadata.annotations)
}

/// Whether a change of a migration sets `cpufit.io/relax`, for which its sender needs the right to relax. An annotation
/// with a meaning is read whole, whatever else the object holds.
pub(crate) fn asks_relax(migration: &Vmim, old: Option<&Vmim>) -> bool {
    let is_known_relaxed = |old: &Vmim| old.metadata.excess.is_none() && is_relaxed(old);
    is_relaxed(migration) && !old.is_some_and(is_known_relaxed)
}

/// A target pod of a known guest.
struct TrimInput<'c> {
    cluster: &'c Cluster,
    vmi: &'c Vmi,
    migration: Option<&'c Vmim>,
    /// The CPU features that the guest's own specification requires.
    required: BTreeSet<&'c str>,
    placement: Placement<'c>,
}

/// Returns the CPU features that a guest's own specification requires.
fn required(vmi: &Vmi) -> BTreeSet<&str> {
    let features = vmi.spec.domain.cpu.iter().flat_map(|cpu| &cpu.features);
    let required = features.filter(|own| matches!(own.policy.as_str(), "" | "require" | "force"));
    required.map(|own| own.name.as_str()).collect()
}

impl TrimInput<'_> {
    /// Whether the guest's own specification or KubeVirt's configuration requires the entry.
    fn is_own(&self, key: &str) -> bool {
        self.vmi.spec.node_selector.contains_key(key)
            || self.cluster.config.configuration.developer_configuration.node_selectors.contains_key(key)
            || (Family::of(key) == Family::CpuFeature && self.required.contains(label::name(key)))
    }

    /// Whether a person added the entry to this migration.
    fn is_added(&self, key: &str) -> bool {
        self.migration.is_some_and(|migration| migration.spec.added_node_selector.contains_key(key))
    }

    /// Iterates over the inherited entries.
    fn inherited(&self) -> impl Iterator<Item = (&str, &str)> {
        let of_cpu = |key: &str| matches!(Family::of(key), Family::CpuFeature | Family::CpuModelMigration);
        let entries = self.placement.selector.iter().map(|(key, value)| (key.as_ref(), value.as_ref()));
        entries.filter(move |(key, _)| of_cpu(key) && !self.is_own(key) && !self.is_added(key))
    }

    fn features<'e>(entries: impl IntoIterator<Item = (&'e str, &'e str)>) -> usize {
        entries.into_iter().filter(|(key, _)| Family::of(key) == Family::CpuFeature).count()
    }

    /// Returns the inherited features that no node has a label for.
    fn stale(&self) -> Result<Vec<OwnedEntry>, KeptEntry> {
        let fleet = &self.cluster.fleet;
        let is_stale =
            |(key, value): &(&str, &str)| Family::of(key) == Family::CpuFeature && fleet.bearing(key, value).is_empty();
        let stale: Vec<OwnedEntry> = self.inherited().filter(is_stale).map(owned).collect();
        if !stale.is_empty() && stale.len() >= Self::features(self.inherited()) {
            return Err(KeptEntry::LastFeature);
        }
        Ok(stale)
    }

    /// Returns the entries that a guest with this named model does not need. Its next pod is rendered from its
    /// VMI, so none is needed for later migrations.
    fn foreign(&self, model: &str) -> Vec<OwnedEntry> {
        let asks_for_model = |key: &str| Family::of(key) == Family::CpuModel && label::name(key) == model;
        if !self.placement.selector.iter().any(|(key, _)| asks_for_model(key)) {
            return Vec::new();
        }
        let of_cpu = |key: &str| matches!(Family::of(key), Family::CpuFeature | Family::CpuModelMigration);
        let entries = self.placement.selector.iter().map(|(key, value)| (key.as_ref(), value.as_ref()));
        entries.filter(|(key, _)| of_cpu(key) && !self.is_own(key)).map(owned).collect()
    }

    /// Returns the smallest set of inherited entries whose removal makes a node fit, and that node; `None` if
    /// one already fits.
    fn in_the_way(&self) -> Result<Option<(String, Vec<OwnedEntry>)>, KeptEntry> {
        let fleet = &self.cluster.fleet;
        let from_elsewhere = self.migration.is_some_and(|migration| migration.spec.receive.is_some());
        let source = fleet.find(&self.vmi.status.node_name).filter(|_| !from_elsewhere);
        let lookup = fleet.look_up(&self.placement);
        if lookup.passes().fitting.iter().any(|node| Some(node) != source) {
            return Ok(None);
        }
        let inherited: BTreeSet<&str> = self.inherited().map(|(key, _)| key).collect();
        let mut without = self.placement.borrowed();
        without.selector.retain(|(key, _)| !inherited.contains(&**key));
        let mut free = fleet.look_up(&without).passes().fitting;
        if let Some(source) = source {
            free.remove(source);
        }
        // Inherited entries, vendor and host model are in a node's profile, so one node of each profile is
        // enough.
        let candidates = fleet.one_of_each_profile(&free).into_iter();
        let candidates = candidates.filter(|&node| is_of_vendor(fleet, source, node));
        let candidates = candidates.map(|node| (node, lookup.missing(node)));
        let mut is_last = false;
        let features = Self::features(self.inherited());
        let keeps_one = |(_, missing): &(NodeIndex, Vec<OwnedEntry>)| {
            let keeps = Self::features(missing.iter().map(|(key, value)| (key.as_str(), value.as_str()))) < features;
            is_last |= !keeps;
            keeps
        };
        // Nodes with the source's host model come first: libvirt may refuse the guest on others.
        let is_unlike = |node| source.is_some_and(|source| !is_like(fleet, source, node));
        let best = candidates.filter(keeps_one).min_by_key(|(node, missing)| (missing.len(), is_unlike(*node)));
        match best {
            Some((node, missing)) => Ok(Some((fleet.name(node).to_owned(), missing))),
            None if is_last => Err(KeptEntry::LastFeature),
            None => Err(KeptEntry::OtherCauses),
        }
    }
}

/// Whether two nodes have the same host model, so that labels which one of them lacks have probably drifted.
fn is_like(fleet: &Fleet, one: NodeIndex, other: NodeIndex) -> bool {
    fleet.names_under(one, Family::HostModelCpu) == fleet.names_under(other, Family::HostModelCpu)
}

/// Whether a node has the source's CPU vendor. Older releases do not select the vendor: libvirt may refuse, or
/// the guest may crash.
fn is_of_vendor(fleet: &Fleet, source: Option<NodeIndex>, node: NodeIndex) -> bool {
    let vendors = |node| fleet.names_under(node, Family::CpuVendor);
    source.is_none_or(|source| {
        let (from, to) = (vendors(source), vendors(node));
        from.is_empty() || to.is_empty() || from.iter().any(|vendor| to.contains(vendor))
    })
}

fn owned((key, value): (&str, &str)) -> OwnedEntry {
    (key.to_owned(), value.to_owned())
}
