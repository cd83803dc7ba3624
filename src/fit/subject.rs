//! The guest under judgement, regardless of the kind of object it was read from.

mod at_start;
mod configured;
mod definition;
mod failed_migration;
mod live_migratable;
mod not_started;
mod refresh;
mod setting;
mod stage;
mod unjudged;

use super::author::{Author, Authors};
use super::bits::Bits;
pub(crate) use super::cpu_mode::CpuMode;
use super::fleet::{Fleet, NodeIndex};
use super::label::{self, Family};
use super::libvirt::{Answers, LibvirtHost, Provided};
use super::placement::{Placement, Tolerations};
pub(crate) use at_start::{UnmetAtStart, missed_of_model};
pub(crate) use configured::{Configured, ListKnown, ListOwner, MigrationLimit, Obsolete, ObsoleteModels, Workloads};
pub(crate) use definition::{Definition, Origin, RestartRequest, Template};
pub(crate) use failed_migration::{FailedMigration, failed_migration};
pub(crate) use live_migratable::{Foreseen, LiveMigratable, NotMigratable, PendingChange, ShutDownBy};
pub(crate) use not_started::NotStarted;
pub(crate) use refresh::{Pinned, PinnedTo, Refresh};
pub(crate) use setting::{ListedFeature, Setting, SettingChange, SettingSet};
pub(crate) use stage::{AfterStart, CpuFeatures, HostModelRule, Migration, ReportedNode, Running, Stage, Start};
pub(crate) use unjudged::{BoundVolume, Device, PodRule, Unjudged};

/// Whether an entry has this key; the entries are sorted by key.
fn has_key(entries: &[(String, String)], key: &str) -> bool {
    entries.binary_search_by(|(known, _)| known.as_str().cmp(key)).is_ok()
}

/// The guest under judgement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject<'a> {
    /// Its namespace.
    pub namespace: String,
    /// The name of the VM or VMI.
    pub name: String,
    /// The stage at which it is judged.
    pub stage: Stage,
    /// The node requirements of the pod under judgement.
    pub placement: Placement<'a>,
    /// The authors of its selector entries and affinity rules, as far as they are known.
    pub authors: Authors,
    /// Its requirements that are named and not judged.
    pub unjudged: Unjudged,
    /// The requirements of this kind of its next start; `None` if they are the same.
    pub next_unjudged: Option<Box<Unjudged>>,
    /// Its CPU mode, if it is known.
    pub mode: CpuMode,
    /// The CPU features that its specification lists.
    pub features: CpuFeatures,
    /// The machine type that it requires.
    pub machine_type: Option<String>,
    /// The machine type labels that its start and its later migrations select, if its machine type is an alias that
    /// QEMU resolves; `None` for another machine type, or if that is not known.
    pub resolved_machine: Option<(String, String)>,
    /// The start after a restart, if it is known.
    pub restart: Option<Start<'a>>,
    /// Its current node and pod, if it runs.
    pub running: Option<Running<'a>>,
    /// Whether its QEMU is older than that of a target (`kubevirt.io/outdatedLauncherImage`).
    pub outdated_launcher: bool,
    /// Its condition `LiveMigratable`.
    pub live_migratable: LiveMigratable,
    /// Its eviction strategy and the author, if a drain waits for it by that strategy and a migration is judged.
    pub live_migrate: Option<(&'static str, Author)>,
    /// Why a drain shuts it down, if it does.
    pub shut_down: Option<ShutDownBy>,
    /// Whether KubeVirt refuses its specification, so that there will be no guest.
    pub is_refused: bool,
    /// The last migration, if it failed.
    pub failed: Option<FailedMigration>,
    /// KubeVirt's report, if it is to run and has not started.
    pub not_started: Option<NotStarted>,
    /// The answers of libvirt about its CPU and the nodes, if libvirt was asked.
    pub asked: Option<Answers>,
    /// The object that holds its specification.
    pub definition: Definition,
    /// The settings of its specification that a user could change and that nodes support differently.
    pub changes: Vec<SettingChange<'a>>,
    /// Sets of two and of three of these changes.
    pub combined: Vec<SettingSet<'a>>,
    /// The removals of references to older copies of its instancetype and preference.
    pub refreshes: Vec<Refresh<'a>>,
    /// KubeVirt's configuration, as far as it affects the guest.
    pub configured: Configured,
}

impl<'a> Subject<'a> {
    /// Creates a subject with only a name, a stage and a placement.
    #[must_use]
    pub fn new(namespace: &str, name: &str, stage: Stage, placement: Placement<'a>) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            stage,
            placement,
            authors: Authors::default(),
            unjudged: Unjudged::default(),
            next_unjudged: None,
            mode: CpuMode::Unset,
            features: CpuFeatures::default(),
            machine_type: None,
            resolved_machine: None,
            restart: None,
            running: None,
            outdated_launcher: false,
            live_migratable: LiveMigratable::default(),
            live_migrate: None,
            shut_down: None,
            is_refused: false,
            failed: None,
            not_started: None,
            asked: None,
            definition: Definition::default(),
            changes: Vec::new(),
            combined: Vec::new(),
            refreshes: Vec::new(),
            configured: Configured::default(),
        }
    }

    /// Returns libvirt's answers about the CPU that a migration would keep; `None` for a guest that is to
    /// start, which has none yet.
    #[must_use]
    pub fn asked(&self) -> Option<&Answers> {
        let leaves = matches!(&self.stage, Stage::Migration(migration) if !migration.from_elsewhere);
        self.asked.as_ref().filter(|_| leaves)
    }

    /// Whether the CPU of a running guest, as its libvirt describes it, lacks a feature.
    pub(crate) fn runs_without(&self, feature: &str) -> bool {
        let known = self.asked().and_then(|asked| asked.guest.as_ref().ok());
        known.is_some_and(|guest| guest.cpu.has(feature) == Some(false))
    }

    /// Returns the description of a node by its libvirt, if it is known.
    #[must_use]
    pub fn host(&self, node: &str) -> Option<&LibvirtHost> {
        self.asked.as_ref()?.hosts.get(node)
    }

    /// Whether a node has the capability that a label states, by its libvirt.
    pub(crate) fn provides(&self, node: &str, key: &str) -> Provided {
        self.asked.as_ref().map_or(Provided::Unknown, |asked| asked.provides(node, key))
    }

    /// Iterates over the missing entries that describe the CPU, without those by which a user chose nodes.
    pub(crate) fn of_cpu<'m>(
        &self,
        missing: &'m [(String, String)],
    ) -> impl Iterator<Item = &'m (String, String)> + use<'m, '_> {
        missing.iter().filter(|(key, _)| Family::of(key).is_cpu() && !self.is_chosen(key))
    }

    /// Returns the missing entries that would be untrue on the node, according to its libvirt.
    pub(crate) fn untrue(&self, node: &str, missing: &[(String, String)]) -> Vec<(String, String)> {
        self.of_cpu(missing).filter(|(key, _)| self.provides(node, key) == Provided::No).cloned().collect()
    }

    /// Returns the nodes that libvirt excludes regardless of their labels: for a running guest those that
    /// refuse its CPU, for a start those on which it would fail. `None` if libvirt was not asked.
    pub(crate) fn kept_out(&self, fleet: &Fleet) -> Option<Bits> {
        match &self.stage {
            Stage::Migration(_) => Some(self.asked()?.refusing(fleet)),
            Stage::Start(_) => self.failing(&self.placement, &self.features, fleet),
        }
    }

    /// Returns the nodes that fit by labels and that libvirt excludes, which kube-scheduler may choose
    /// nevertheless. `None` if libvirt was not asked.
    pub(crate) fn refused_targets(&self, fleet: &Fleet) -> Option<Bits> {
        let mut out = self.kept_out(fleet)?;
        out.intersect(&fleet.look_up(&self.placement).passes().fitting);
        if let Some(source) = self.source().and_then(|name| fleet.find(name)) {
            out.remove(source);
        }
        Some(out)
    }

    /// Returns the nodes of a fleet that fit, without those that libvirt excludes.
    #[must_use]
    pub fn fitting(&self, fleet: &Fleet) -> Bits {
        let mut fitting = fleet.look_up(&self.placement).passes().fitting;
        if let Some(kept_out) = self.kept_out(fleet) {
            fitting.subtract(&kept_out);
        }
        fitting
    }

    /// Returns the optional features that a guest has where it starts on this node, as entries: libvirt decides on them
    /// at the start, and requires of a target what it decided. None for a guest with the CPU of its node.
    pub(crate) fn optional_on(&self, node: NodeIndex, fleet: &Fleet) -> Vec<(String, String)> {
        let may_have = |name: &&String| !self.mode.may_pass_through() && !self.runs_without(name);
        let optional = self.features.optional.iter().filter(may_have);
        let keys = optional.map(|name| format!("{}{name}", label::CPU_FEATURE));
        keys.filter(|key| fleet.label(node, key) == Some("true")).map(|key| (key, "true".to_owned())).collect()
    }

    /// Whether some of these nodes have an optional feature of the guest that others lack; false for a guest with the
    /// CPU of its node.
    pub(crate) fn differs_in_optional(&self, fleet: &Fleet, nodes: &Bits) -> bool {
        let having =
            |name: &String| fleet.bearing(&format!("{}{name}", label::CPU_FEATURE), "true").count_common(nodes);
        let differs = |count: usize| count > 0 && count < nodes.count();
        !self.mode.may_pass_through() && self.features.optional.iter().map(having).any(differs)
    }

    /// Returns the placement of a migration after a start with this placement, without what it adds from its source: a
    /// migration selects the machine type that the guest was started with.
    pub(crate) fn after_start<'p>(&self, placement: &'p Placement<'_>) -> Placement<'p> {
        let mut out = placement.borrowed();
        if let Some((alias, resolved)) = &self.resolved_machine
            && out.selector.get(alias).is_some()
        {
            out.selector.retain(|(key, _)| key != alias);
            out.selector.insert(resolved.clone(), "true");
        }
        out
    }

    /// Whether its source is labelled with several vendors.
    pub(crate) fn has_several_vendors(&self) -> bool {
        matches!(&self.stage, Stage::Migration(migration) if migration.vendors.len() > 1)
    }

    /// Returns the nodes that fit with any of the vendors of its source: KubeVirt chooses one of them at random for
    /// each try of a migration.
    pub(crate) fn fitting_with_any_vendor(&self, fleet: &Fleet) -> Bits {
        let mut fitting = self.fitting(fleet);
        let Stage::Migration(migration) = &self.stage else { return fitting };
        for vendor in migration.vendors.iter().filter(|_| migration.vendors.len() > 1) {
            fitting.union(&fleet.look_up(&self.placement.with_vendor(vendor)).passes().fitting);
        }
        if let Some(kept_out) = self.kept_out(fleet) {
            fitting.subtract(&kept_out);
        }
        fitting
    }

    /// Returns the selector entries that no node of a fleet meets, sorted.
    pub(crate) fn nowhere(&self, fleet: &Fleet) -> Vec<(String, String)> {
        fleet.look_up(&self.placement).nowhere()
    }

    /// Returns the nodes on which all its volumes can be used; `None` if no volume is bound to nodes.
    pub(crate) fn usable(&self, fleet: &Fleet) -> Option<Bits> {
        BoundVolume::all_usable(&self.unjudged.volumes, fleet)
    }

    /// Whether volumes or other pods, which are not known or not judged, decide where it starts.
    pub(crate) fn is_start_unknown(&self) -> bool {
        let decides = |rule: &PodRule| matches!(rule, PodRule::Affinity | PodRule::Spread | PodRule::Claims);
        let next = self.unjudged_next();
        !next.unplaced.is_empty() || next.differs_in_rules_or_room || next.pod_rules.iter().any(decides)
    }

    /// Returns the requirements of its next start that are named and not judged.
    pub(crate) fn unjudged_next(&self) -> &Unjudged {
        self.next_unjudged.as_deref().unwrap_or(&self.unjudged)
    }

    /// Returns the fitting nodes on which the guest is known to start after it was stopped: those where its
    /// volumes can be used and that have its devices. `None` if that is not known, for example where other pods
    /// decide, unless its `own` node is among the fitting ones: it starts there in any case.
    pub(crate) fn known_starts(&self, fitting: &Bits, own: Option<NodeIndex>, fleet: &Fleet) -> Option<Bits> {
        if self.is_start_unknown() && !own.is_some_and(|node| fitting.contains(node)) {
            return None;
        }
        Some(self.unjudged_next().with_volumes_and_devices(fitting, fleet))
    }

    /// Returns `namespace/name`, or the name alone if there is no namespace.
    #[must_use]
    pub fn title(&self) -> String {
        if self.namespace.is_empty() { self.name.clone() } else { format!("{}/{}", self.namespace, self.name) }
    }

    /// Returns the node that the guest leaves in a migration within the cluster; `None` otherwise.
    #[must_use]
    pub fn source(&self) -> Option<&str> {
        match &self.stage {
            Stage::Migration(migration) => migration.source.as_deref(),
            Stage::Start(_) => None,
        }
    }

    /// Returns the tolerations that a person can correct: those of the object that makes the guest again, for a guest
    /// whose pod waits and stays as it is.
    pub(crate) fn own_tolerations(&self) -> &Tolerations {
        let again = self.restart.as_ref().filter(|_| self.definition.waits);
        &again.map_or(&self.placement, |start| &start.placement).tolerations
    }

    /// Whether the guest runs, so that a change of its specification interrupts it. A manifest that is not applied
    /// describes no guest that runs.
    pub(crate) fn is_running(&self) -> bool {
        let leaves = matches!(&self.stage, Stage::Migration(migration) if !migration.from_elsewhere);
        leaves || self.running.is_some() && self.definition.origin == Origin::Stored
    }

    /// Whether a manifest that is not applied is judged, of a guest that runs: it counts at the guest's next start.
    pub(crate) fn is_for_next_start(&self) -> bool {
        self.running.is_some() && self.definition.origin == Origin::Submitted
    }

    /// Gives its next start, with and without changes of its settings, the CPU model that a policy sets.
    pub(crate) fn set_model_at_next_start(&mut self, model: &str, policy: &str) {
        let give = |start: &mut Start<'a>| {
            *start = Start { by_policy: Some(policy.to_owned()), ..start.with_model(model) };
        };
        self.restart.iter_mut().for_each(give);
        self.changes.iter_mut().map(|change| &mut change.start).for_each(give);
        self.combined.iter_mut().map(|set| &mut set.start).for_each(give);
        self.refreshes.iter_mut().map(|refresh| &mut refresh.start).for_each(give);
    }

    /// Whether there is a VMI that a change of its template does not reach.
    pub(crate) fn has_vmi(&self) -> bool {
        self.is_running() || self.definition.waits
    }

    /// Returns the template if the judged object is the one that holds it.
    pub(crate) fn judged_template(&self) -> Option<Template> {
        self.definition.template.filter(|template| self.definition.field_root == template.path().join("."))
    }

    /// Returns the path of a field below the guest's spec.
    #[must_use]
    pub fn field(&self, below: &str) -> String {
        if self.definition.field_root.is_empty() {
            below.to_owned()
        } else {
            format!("{}.{below}", self.definition.field_root)
        }
    }

    /// Whether a user chose the entry for this migration, or to place the guest, so that it does not describe
    /// the guest's CPU.
    pub(crate) fn is_chosen(&self, key: &str) -> bool {
        let is_added = matches!(&self.stage, Stage::Migration(migration) if migration.adds(key));
        is_added || self.is_own(key)
    }

    /// Returns the value that remains for this key if the guest's own selector does not have it.
    pub(crate) fn value_without_own(&self, key: &str) -> Option<&str> {
        let under = &self.definition.under_own;
        let at = under.binary_search_by(|(known, _)| known.as_str().cmp(key)).ok()?;
        Some(under[at].1.as_str())
    }

    /// Returns the architecture that the guest's own node selector asks for instead of the guest's own.
    pub(crate) fn chosen_architecture(&self) -> Option<&str> {
        let own = self.value_without_own(label::ARCH)?;
        self.placement.get(label::ARCH).filter(|chosen| *chosen != own)
    }

    /// Whether the entry comes from the guest's own `spec.nodeSelector`.
    pub(crate) fn is_own(&self, key: &str) -> bool {
        has_key(&self.definition.own_selector, key)
    }
}
