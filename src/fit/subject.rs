//! The guest under judgement, regardless of the kind of object it was read from.

mod at_start;
mod failed_migration;
mod setting;

use std::collections::BTreeSet;
use std::sync::Arc;

use super::author::{Author, Authors};
use super::bits::Bits;
pub(crate) use super::cpu_mode::CpuMode;
use super::fleet::{Fleet, NodeIndex};
use super::label::{self, Family};
use super::libvirt::{Answers, LibvirtHost, Provided};
use super::placement::{Affinity, Placement};
pub(crate) use at_start::UnmetAtStart;
pub(crate) use failed_migration::{FailedMigration, failed_migration};
pub(crate) use setting::{ListedFeature, Setting, SettingChange, SettingSet};

/// The entries that a later migration adds to the pod's selector at start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AfterStart {
    /// The rule for the start node's host model (host-model guests only).
    pub host_model: HostModelRule,
    /// Whether the start node's vendor is demanded (KubeVirt 1.6.4, 1.7.1 and later).
    pub vendor: bool,
}

/// The rule by which the first migration uses the start node's host model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostModelRule {
    /// Nothing is added: the guest has another CPU mode, or its pod looks as if it had migrated before.
    NotAsked,
    /// Model and required features are copied; if the label is missing, nothing is copied (KubeVirt 1.6.0 and
    /// later).
    Copied,
    /// Model and required features are copied; if the label is missing, no target pod is created (up to 1.5).
    CopiedOrRefused,
    /// Like `CopiedOrRefused`, but the model is selected by its `host-model-cpu` label: a target has the
    /// source's host model (up to 0.53).
    SameHostOrRefused,
}

/// The start of a guest: its launcher's placement, and the entries that its migrations add.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start<'a> {
    /// The CPU mode at the start.
    pub mode: CpuMode,
    /// The placement of the launcher.
    pub placement: Placement<'a>,
    /// The `cpu-model` keys that a node selector requires, the guest's own or the cluster's: they stay with any CPU
    /// model.
    pub own_models: Vec<String>,
    /// The entries that its first migration adds.
    #[expect(clippy::struct_field_names, reason = "what comes after the start is part of how a guest would start")]
    pub after_start: AfterStart,
}

impl<'a> Start<'a> {
    /// Returns the start with a named model: with the model's key, and without host-model conditions.
    pub(crate) fn with_model(&self, model: &str) -> Start<'a> {
        let mut out = self.with_any_model();
        out.mode = CpuMode::Named(model.to_owned());
        out.placement.selector.insert(format!("{}{model}", label::CPU_MODEL), "true");
        out
    }

    /// Returns the start with a named model that each node has: only the models that a node selector requires remain.
    /// Mirrors `NewNodeSelectorRenderer` (`pkg/virt-controller/services/nodeselectorrenderer.go`), which copies the
    /// node selectors of the cluster and of the guest.
    pub(crate) fn with_any_model(&self) -> Start<'a> {
        let mut placement = self.placement.clone();
        let stays = |key: &str| self.own_models.iter().any(|own| own == key);
        placement.selector.retain(|(key, _)| Family::of(key) != Family::CpuModel || stays(key));
        placement.affinity = placement.affinity.and_then(|affinity| affinity.without_obsolete_host_model());
        Start {
            mode: CpuMode::Named(String::new()),
            placement,
            own_models: self.own_models.clone(),
            after_start: AfterStart { host_model: HostModelRule::NotAsked, ..self.after_start },
        }
    }
}

/// The stage of its life at which the guest is judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The guest is to start; its later migrations are judged too.
    Start(AfterStart),
    /// The guest runs and is to migrate.
    Migration(Migration),
}

/// A migration under judgement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Migration {
    /// The node that the guest runs on, which is no target.
    pub source: Option<String>,
    /// Whether its CPU entries were inherited from the selector of an earlier migration.
    pub inherited: bool,
    /// `spec.addedNodeSelector`: the entries that the migration adds, sorted by key.
    pub added: Vec<(String, String)>,
    /// Whether it comes from another cluster, so that no node here is its source.
    pub from_elsewhere: bool,
    /// The entries of the source's host model that KubeVirt does not add to the selector, because it takes a
    /// feature that the guest itself requires as the trace of an earlier migration: libvirt may refuse a node
    /// that lacks one of them. `None` if the host model is selected or inherited, or is not the guest's CPU
    /// mode.
    pub unasked: Option<Vec<(String, String)>>,
    /// The entries of `spec.addedNodeSelector` that the guest's own node selector overrides, sorted by key.
    pub overridden: Vec<(String, String)>,
    /// Whether no label of the source names the host model and KubeVirt ignores that: it selects no CPU model
    /// and no features.
    pub overlooked: bool,
    /// The `cpu-vendor` keys of its source, sorted, if KubeVirt selects any one of them.
    pub vendors: Vec<String>,
}

impl Migration {
    /// Whether the migration adds this key.
    #[must_use]
    pub fn adds(&self, key: &str) -> bool {
        has_key(&self.added, key)
    }
}

/// Whether an entry has this key; the entries are sorted by key.
fn has_key(entries: &[(String, String)], key: &str) -> bool {
    entries.binary_search_by(|(known, _)| known.as_str().cmp(key)).is_ok()
}

/// The pod and the node of a running guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running<'a> {
    /// The node that the guest runs on.
    pub node: String,
    /// The node requirements of its pod, which a restarting kubelet checks again.
    pub placement: Placement<'a>,
}

/// A rule of the guest that kube-scheduler decides by the pods on the nodes. KubeVirt copies it to the
/// launcher; it is not judged here. Mirrors `spec.affinity` and `spec.topologySpreadConstraints`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodRule {
    /// A required pod affinity.
    Affinity,
    /// A required pod anti-affinity.
    AntiAffinity,
    /// A topology spread constraint with `DoNotSchedule`.
    Spread,
}

impl PodRule {
    /// Returns its field below the guest's spec.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::Affinity => "affinity.podAffinity",
            Self::AntiAffinity => "affinity.podAntiAffinity",
            Self::Spread => "topologySpreadConstraints",
        }
    }
}

/// A volume of the guest that only some nodes can use. It is not judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundVolume {
    /// Its name in the guest's specification.
    pub volume: String,
    /// The PersistentVolume behind it.
    pub persistent_volume: String,
    /// `spec.nodeAffinity.required` of the PersistentVolume.
    pub nodes: Affinity,
}

impl BoundVolume {
    /// Returns the nodes on which the volume can be used.
    pub(crate) fn usable(&self, fleet: &Fleet) -> Bits {
        let place = Placement { affinity: Some(self.nodes.clone()), ..Placement::default() };
        fleet.look_up(&place).passes().placement
    }

    /// Returns the nodes on which all these volumes can be used; `None` if there are none.
    pub(crate) fn all_usable(volumes: &[Self], fleet: &Fleet) -> Option<Bits> {
        volumes.iter().map(|volume| volume.usable(fleet)).reduce(|mut all, nodes| {
            all.intersect(&nodes);
            all
        })
    }
}

/// A device, or a size of huge pages, that the guest's launcher requests and some nodes do not offer. It is not judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// The name of the resource.
    pub resource: String,
    /// The nodes that offer none, by name, sorted.
    pub without: Vec<String>,
}

impl Device {
    /// Whether a node offers the resource, as far as is known.
    pub(crate) fn is_offered_by(&self, node: &str) -> bool {
        self.without.binary_search_by(|name| name.as_str().cmp(node)).is_err()
    }
}

/// The way in which a VM starts its guest again, by its `spec.runStrategy`. Mirrors `RestartVMRequestHandler`
/// and `StopVMRequestHandler` (`pkg/virt-api/rest/lifecycle.go`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RestartRequest {
    /// A restart.
    #[default]
    Restart,
    /// `Once`: a restart is refused. A stop sets `Halted`; setting `Once` again starts the guest.
    Once,
    /// `Halted`: the guest is being stopped, and a restart is refused.
    Halted,
}

/// The part of KubeVirt's list of obsolete CPU models that keeps the guest off nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObsoleteModels {
    /// The listed models that the guest requires, or that are the host model of nodes which it avoids, by
    /// name.
    pub models: Vec<String>,
    /// The edits that make the list exclude them, by name: true to add the name, false to remove it.
    pub edits: Vec<(String, bool)>,
    /// The other models that people listed, which a HyperConverged resource has to list after the edits.
    pub rest: Vec<String>,
    /// The object that holds the list.
    pub owner: ListOwner,
}

/// The object that holds KubeVirt's configuration, including its list of obsolete CPU models.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ListOwner {
    /// The KubeVirt custom resource.
    KubeVirt {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// A HyperConverged resource, whose operator writes the KubeVirt resource and reverts other edits of it.
    HyperConverged {
        /// Its namespace, which is KubeVirt's.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// The owner is not known.
    #[default]
    Unknown,
}

/// Whether the configured list of obsolete CPU models is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListKnown {
    /// The KubeVirt resource is known, with a list or without one.
    Known,
    /// No KubeVirt resource is known.
    Unknown,
}

/// The reason why KubeVirt refuses to migrate the guest: its condition `LiveMigratable`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotMigratable {
    /// `reason`.
    pub reason: String,
    /// `message`.
    pub message: String,
}

/// The reason for which KubeVirt will refuse to migrate the guest, foreseen from its specification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreseen {
    /// The path of the field below the guest's spec.
    pub field: &'static str,
    /// `reason` and `message` of the condition `LiveMigratable` that virt-handler will set.
    pub refused: NotMigratable,
}

/// Whether the object that holds the guest's specification is in the cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// It is, so that a command can change it.
    #[default]
    Stored,
    /// It is in a manifest, or in the request that creates it: no command can change it.
    Submitted,
}

/// The kind of object that has the guest's name and holds its template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Template {
    /// A VirtualMachine, which a restart keeps.
    VirtualMachine,
    /// A `VirtualMachineInstanceReplicaSet`: its VMIs stay unchanged until they are deleted.
    ReplicaSet,
    /// A `VirtualMachinePool`, which applies a change to its VMs itself (`spec.updateStrategy`).
    Pool,
}

impl Template {
    /// Returns the resource's name for kubectl's arguments.
    #[must_use]
    pub fn resource(self) -> &'static str {
        match self {
            Self::VirtualMachine => "vm",
            Self::ReplicaSet => "vmirs",
            Self::Pool => "vmpool",
        }
    }

    /// Returns the path of the guest's spec in the object.
    #[must_use]
    pub fn path(self) -> &'static [&'static str] {
        match self {
            Self::VirtualMachine | Self::ReplicaSet => &["spec", "template", "spec"],
            Self::Pool => &["spec", "virtualMachineTemplate", "spec", "template", "spec"],
        }
    }
}

/// The placement of virt-handler: `spec.workloads.nodePlacement` of the KubeVirt custom resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workloads {
    /// Its node selector and required node affinity.
    pub placement: Placement<'static>,
    /// Whether an operator writes it from a HyperConverged resource.
    pub by_hyperconverged: bool,
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
    /// Its CPU mode, if it is known.
    pub mode: CpuMode,
    /// The start after a restart, if it is known.
    pub restart: Option<Start<'a>>,
    /// Its current node and pod, if it runs.
    pub running: Option<Running<'a>>,
    /// The last migration, if it failed.
    pub failed: Option<FailedMigration>,
    /// The answers of libvirt about its CPU and the nodes, if libvirt was asked.
    pub asked: Option<Answers>,
    /// The CPU features that its specification disables or forbids: they do not prevent the use of a named
    /// model.
    pub switched_off: Vec<String>,
    /// The reason why KubeVirt refuses to migrate it, if it does.
    pub not_migratable: Option<NotMigratable>,
    /// The reason why KubeVirt will refuse to migrate it, if that follows from its specification and it has no condition
    /// `LiveMigratable` yet.
    pub foreseen: Option<Foreseen>,
    /// The status of its condition `LiveMigratable` if that is neither `True` nor `False`, empty if it has
    /// none: no eviction migrates it. `None` otherwise.
    pub undecided: Option<String>,
    /// The rules by which kube-scheduler considers more than the node's labels, taints and name.
    pub pod_rules: Vec<PodRule>,
    /// Its volumes that are bound to nodes.
    pub volumes: Vec<BoundVolume>,
    /// The names of its volumes for which the usable nodes are not known.
    pub unplaced: Vec<String>,
    /// The devices that its launcher requests and some nodes do not offer.
    pub devices: Vec<Device>,
    /// The way in which its VM starts it again.
    pub restart_request: RestartRequest,
    /// The settings of its specification that a user could change and that nodes support differently.
    pub changes: Vec<SettingChange<'a>>,
    /// Sets of two and of three of these changes.
    pub combined: Vec<SettingSet<'a>>,
    /// KubeVirt's list of obsolete CPU models, if it affects the guest.
    pub obsolete: Option<ObsoleteModels>,
    /// The models that the list withholds: none of them is proposed for the guest.
    pub withheld: Arc<BTreeSet<String>>,
    /// Whether the list is known, so that a model which is not in `withheld` is not in the list.
    pub list: ListKnown,
    /// KubeVirt's placement of virt-handler, if it selects nodes.
    pub workloads: Option<Workloads>,
    /// The first release whose labeller gives capability labels the value that the cluster's KubeVirt selects;
    /// `None` if the cluster's does so already, or the release is not known.
    pub mended_in: Option<&'static str>,
    /// Whether KubeVirt applies a change of its VM's node selector or node affinity to the running guest.
    pub live_update: bool,
    /// Whether its VM waits for a restart (condition `RestartRequired`), so that KubeVirt applies no change of
    /// it to the running guest.
    pub restart_required: bool,
    /// The keys of `own_selector` that its VM no longer has: a restart removes them, an edit of the VM does
    /// not.
    pub dropped_from_vm: Vec<String>,
    /// The author of its eviction strategy, if that is `LiveMigrate` and a migration is judged.
    pub live_migrate: Option<Author>,
    /// Whether its QEMU is older than that of a target (`kubevirt.io/outdatedLauncherImage`).
    pub outdated_launcher: bool,
    /// The kind of object that creates it; `None` for a VMI that nothing recreates.
    pub template: Option<Template>,
    /// The name of that object, if it is not the guest's.
    pub template_name: Option<String>,
    /// Whether the object with its specification is in the cluster: that of its template, else its VMI.
    pub origin: Origin,
    /// The guest's own `spec.nodeSelector`, which a person wrote, sorted by key.
    pub own_selector: Vec<(String, String)>,
    /// The entries that remain for keys of `own_selector` if those are removed: added by KubeVirt to every
    /// launcher, by the cluster's configuration, or by another field.
    pub under_own: Vec<(String, String)>,
    /// The path of the guest's spec in the judged object: that of its template, `spec`, or empty for a pod.
    pub field_root: String,
    /// The machine type that it requires.
    pub machine_type: Option<String>,
    /// The authors of its selector entries and affinity rules, as far as they are known.
    pub authors: Authors,
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
            mode: CpuMode::Unset,
            restart: None,
            running: None,
            failed: None,
            asked: None,
            switched_off: Vec::new(),
            not_migratable: None,
            foreseen: None,
            undecided: None,
            pod_rules: Vec::new(),
            volumes: Vec::new(),
            unplaced: Vec::new(),
            devices: Vec::new(),
            restart_request: RestartRequest::Restart,
            changes: Vec::new(),
            combined: Vec::new(),
            obsolete: None,
            withheld: Arc::default(),
            list: ListKnown::Unknown,
            workloads: None,
            mended_in: None,
            live_update: false,
            restart_required: false,
            dropped_from_vm: Vec::new(),
            live_migrate: None,
            outdated_launcher: false,
            template: None,
            template_name: None,
            origin: Origin::Stored,
            own_selector: Vec::new(),
            under_own: Vec::new(),
            field_root: String::new(),
            machine_type: None,
            authors: Authors::default(),
        }
    }

    /// Returns libvirt's answers about the CPU that a migration would keep; `None` for a guest that is to
    /// start, which has none yet.
    #[must_use]
    pub fn asked(&self) -> Option<&Answers> {
        let leaves = matches!(&self.stage, Stage::Migration(migration) if !migration.from_elsewhere);
        self.asked.as_ref().filter(|_| leaves)
    }

    /// Returns the description of a node by its libvirt, if it is known.
    #[must_use]
    pub fn host(&self, node: &str) -> Option<&LibvirtHost> {
        self.asked.as_ref()?.hosts.get(node)
    }

    /// Whether a node has the capability that a label states, by its libvirt.
    pub(crate) fn provides(&self, node: &str, key: &str) -> Provided {
        match self.asked() {
            Some(asked) => asked.provides(node, key),
            None => self.host(node).map_or(Provided::Unknown, |host| host.provides(key)),
        }
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
            Stage::Start(_) => self.failing(&self.placement, fleet),
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

    /// Returns the nodes on which all its volumes can be used; `None` if no volume is bound to nodes.
    pub(crate) fn usable(&self, fleet: &Fleet) -> Option<Bits> {
        BoundVolume::all_usable(&self.volumes, fleet)
    }

    /// Returns the fitting nodes on which the guest is known to start after it was stopped: those where its
    /// volumes can be used and that offer its devices. `None` if that is not known, for example where other pods decide, unless its `own`
    /// node is among the fitting ones: it starts there in any case.
    pub(crate) fn known_starts(&self, fitting: &Bits, own: Option<NodeIndex>, fleet: &Fleet) -> Option<Bits> {
        let decides = |rule: &PodRule| matches!(rule, PodRule::Affinity | PodRule::Spread);
        let is_unknown = !self.unplaced.is_empty() || self.pod_rules.iter().any(decides);
        if is_unknown && !own.is_some_and(|node| fitting.contains(node)) {
            return None;
        }
        let mut out = fitting.clone();
        if let Some(usable) = self.usable(fleet) {
            out.intersect(&usable);
        }
        for node in self.devices.iter().flat_map(|device| &device.without).filter_map(|name| fleet.find(name)) {
            out.remove(node);
        }
        Some(out)
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

    /// Whether the guest runs.
    pub(crate) fn is_running(&self) -> bool {
        let leaves = matches!(&self.stage, Stage::Migration(migration) if !migration.from_elsewhere);
        leaves || self.running.is_some()
    }

    /// Returns the template if the judged object is the one that holds it.
    pub(crate) fn judged_template(&self) -> Option<Template> {
        self.template.filter(|template| self.field_root == template.path().join("."))
    }

    /// Returns the path of a field below the guest's spec.
    #[must_use]
    pub fn field(&self, below: &str) -> String {
        if self.field_root.is_empty() { below.to_owned() } else { format!("{}.{below}", self.field_root) }
    }

    /// Whether a user chose the entry for this migration, or to place the guest, so that it does not describe
    /// the guest's CPU.
    pub(crate) fn is_chosen(&self, key: &str) -> bool {
        let is_added = matches!(&self.stage, Stage::Migration(migration) if migration.adds(key));
        is_added || self.is_own(key)
    }

    /// Returns the value that remains for this key if the guest's own selector does not have it.
    pub(crate) fn value_without_own(&self, key: &str) -> Option<&str> {
        self.under_own.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    /// Whether the entry comes from the guest's own `spec.nodeSelector`.
    pub(crate) fn is_own(&self, key: &str) -> bool {
        has_key(&self.own_selector, key)
    }
}
