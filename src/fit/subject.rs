//! The guest under judgement, whichever kind of object carried it.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::author::{Author, Authors, TypeReference};
use super::bits::Bits;
use super::fleet::{Fleet, NodeIndex};
use super::label::{self, Family};
use super::libvirt::{Answers, LibvirtHost, Provided};
use super::placement::{Affinity, Placement};

/// How the guest's CPU is chosen. Mirrors `spec.domain.cpu.model`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CpuMode {
    /// No model, in an object that never met KubeVirt's defaulting.
    Unset,
    /// `host-model`: the host's CPU as libvirt names it, fixed at start.
    HostModel,
    /// `host-passthrough`: the host's CPU itself.
    HostPassthrough,
    /// A named model.
    Named(String),
}

impl CpuMode {
    /// From `spec.domain.cpu.model`.
    #[must_use]
    pub fn parse(model: &str) -> Self {
        match model {
            "" => Self::Unset,
            "host-model" => Self::HostModel,
            "host-passthrough" => Self::HostPassthrough,
            named => Self::Named(named.to_owned()),
        }
    }
}

impl std::fmt::Display for CpuMode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unset => f.write_str("no CPU model"),
            Self::HostModel => f.write_str("host-model"),
            Self::HostPassthrough => f.write_str("host-passthrough"),
            Self::Named(model) => f.write_str(model),
        }
    }
}

/// What a later migration will demand beyond the pod's selector at start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AfterStart {
    /// Whether the start node's own host model is demanded (host-model guests only).
    pub host_model: HostModelRule,
    /// Whether the start node's vendor is demanded (KubeVirt 1.6.4, 1.7.1 and later).
    pub vendor: bool,
}

/// What becomes of the start node's host model at the first migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostModelRule {
    /// It is not asked for: the guest has another CPU mode, or its pod looks as if it had migrated before.
    NotAsked,
    /// Model and required features are copied; where the label is missing, nothing is (KubeVirt 1.6.0 on).
    Copied,
    /// They are copied; where the label is missing, no target pod is made (up to 1.5).
    CopiedOrRefused,
    /// So up to 0.53 as well, but the model is asked for by its `host-model-cpu` label: a target has the same host model.
    SameHostOrRefused,
}

/// How a guest would start: its launcher's placement, and what its migrations would demand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start<'a> {
    /// The CPU mode it would start with.
    pub mode: CpuMode,
    /// Placement of the launcher.
    pub placement: Placement<'a>,
    /// What follows at its first migration.
    #[expect(clippy::struct_field_names, reason = "what comes after the start is part of how a guest would start")]
    pub after_start: AfterStart,
}

impl<'a> Start<'a> {
    /// The same guest with a named model: no host-model condition any more, but the model's key.
    #[must_use]
    pub(crate) fn with_model(&self, model: &str) -> Start<'a> {
        let mut placement = self.placement.clone();
        placement.selector.retain(|(key, _)| Family::of(key) != Family::CpuModel);
        placement.selector.insert(format!("{}{model}", label::CPU_MODEL), "true");
        placement.affinity = placement.affinity.and_then(|affinity| affinity.without_obsolete_host_model());
        Start {
            mode: CpuMode::Named(model.to_owned()),
            placement,
            after_start: AfterStart { host_model: HostModelRule::NotAsked, ..self.after_start },
        }
    }
}

/// At which point of its life the guest is judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It is to be started; what would follow is judged too.
    Start(AfterStart),
    /// It runs and is to move away.
    Migration(Migration),
}

/// A migration under judgement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Migration {
    /// The node it runs on, left out of the targets.
    pub source: Option<String>,
    /// Whether its CPU entries were inherited from an earlier migration's selector.
    pub inherited: bool,
    /// `spec.addedNodeSelector`: the entries that the migration adds, sorted by key.
    pub added: Vec<(String, String)>,
    /// It comes from another cluster, so that no node here is its source.
    pub from_elsewhere: bool,
    /// What the source's host model has and KubeVirt does not ask for, because it takes a feature that the guest itself asks
    /// for as the trace of an earlier migration: libvirt may refuse on a node that lacks any of it. `None` where the
    /// host model is asked for, was inherited, or is not the guest's CPU mode.
    pub unasked: Option<Vec<(String, String)>>,
    /// No label of its source names the host model, and KubeVirt overlooks that: it asks for no CPU model and no feature.
    pub overlooked: bool,
    /// The `cpu-vendor` keys of its source, sorted, where KubeVirt asks for any one of them.
    pub vendors: Vec<String>,
}

impl Migration {
    /// Whether the migration adds this key.
    #[must_use]
    pub fn adds(&self, key: &str) -> bool {
        has_key(&self.added, key)
    }
}

/// Whether one of these entries, sorted by key, has this one.
fn has_key(entries: &[(String, String)], key: &str) -> bool {
    entries.binary_search_by(|(known, _)| known.as_str().cmp(key)).is_ok()
}

/// A running guest's pod and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running<'a> {
    /// The node it runs on.
    pub node: String,
    /// What its pod asks of a node: a kubelet that restarts asks again.
    pub placement: Placement<'a>,
}

/// A rule of the guest that kube-scheduler decides by the pods on the nodes: KubeVirt copies it to the launcher, and it is not
/// judged here. Mirrors `spec.affinity` and `spec.topologySpreadConstraints`.
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
    /// Its field below the guest's spec.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::Affinity => "affinity.podAffinity",
            Self::AntiAffinity => "affinity.podAntiAffinity",
            Self::Spread => "topologySpreadConstraints",
        }
    }
}

/// A volume of the guest that can be used on some nodes only, which is not judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundVolume {
    /// Its name in the guest's specification.
    pub volume: String,
    /// The PersistentVolume behind it.
    pub persistent_volume: String,
    /// `spec.nodeAffinity.required` of that one.
    pub nodes: Affinity,
}

impl BoundVolume {
    /// The nodes on which it can be used.
    #[must_use]
    pub(crate) fn usable(&self, fleet: &Fleet) -> Bits {
        let place = Placement { affinity: Some(self.nodes.clone()), ..Placement::default() };
        fleet.look_up(&place).passes().placement
    }

    /// The nodes on which all of these can be used; `None` without any.
    #[must_use]
    pub(crate) fn all_usable(volumes: &[Self], fleet: &Fleet) -> Option<Bits> {
        volumes.iter().map(|volume| volume.usable(fleet)).reduce(|mut all, nodes| {
            all.intersect(&nodes);
            all
        })
    }
}

/// How a VM takes a request to start its guest again, by its `spec.runStrategy`. Mirrors `RestartVMRequestHandler` and
/// `StopVMRequestHandler` (`pkg/virt-api/rest/lifecycle.go`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Anew {
    /// By a restart.
    #[default]
    Restart,
    /// `Once`: a restart is refused. A stop makes it `Halted`; given `Once` again, it starts again.
    Once,
    /// `Halted`: it is being stopped, and a restart is refused.
    Halted,
}

/// A change of what the guest asks for, and how it would start then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingChange<'a> {
    /// What is changed.
    pub setting: Setting,
    /// The instancetype or preference that sets it; `None` where the guest's own specification does.
    pub set_by: Option<TypeReference>,
    /// How it would start.
    pub start: Start<'a>,
}

/// A setting that a user can change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setting {
    /// CPU features that are required.
    Features(Vec<ListedFeature>),
    /// CPU features that are forbidden: disabled instead, they are hidden from the guest, and no node is asked to lack them.
    Forbidden(Vec<ListedFeature>),
    /// The CPU model.
    Model(String),
    /// A Hyper-V setting, by its name.
    HyperV(&'static str),
    /// `dedicatedCpuPlacement`.
    DedicatedCpus,
    /// `nodeSelector`.
    NodeSelector,
}

/// A CPU feature of a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedFeature {
    /// Its place in `domain.cpu.features`.
    pub at: usize,
    /// Its name.
    pub name: String,
}

/// KubeVirt's list of obsolete CPU models, as far as it keeps the guest off nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObsoleteModels {
    /// The models of it that the guest asks for, or that nodes which it avoids have as their host model, by name.
    pub models: Vec<String>,
    /// How the list is changed so that it holds them no more: by name, whether the name is added or taken out.
    pub edits: Vec<(String, bool)>,
    /// What else people put on the list: what a HyperConverged resource lists then.
    pub rest: Vec<String>,
    /// The object that keeps the list.
    pub owner: ListOwner,
}

/// The object that keeps KubeVirt's configuration, its list of obsolete CPU models among it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ListOwner {
    /// The KubeVirt custom resource.
    KubeVirt {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// A HyperConverged resource, whose operator writes the KubeVirt resource and undoes other edits of it.
    HyperConverged {
        /// Its namespace, which is KubeVirt's.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// It is not known.
    #[default]
    Unknown,
}

/// Why KubeVirt refuses to migrate the guest: its condition `LiveMigratable`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotMigratable {
    /// `reason`.
    pub reason: String,
    /// `message`.
    pub message: String,
}

/// Libvirt's last word on the guest. Mirrors `status.migrationState`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LibvirtRefusal {
    /// The node that was tried.
    pub target: String,
    /// `failureReason`, the part that libvirt wrote.
    pub reason: String,
    /// CPU features named as missing on the target.
    pub missing: Vec<String>,
    /// CPU features the target's QEMU had beyond the guest's.
    pub extra: Vec<String>,
}

/// What a start asks for, by its label, and a node does not have as its libvirt says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnmetAtStart {
    /// The key of the selector.
    pub key: String,
    /// The features that make a named model unusable, if libvirt names them.
    pub blockers: Vec<String>,
}

/// The kind of object that has the guest's name and holds the template it is made by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Template {
    /// A VirtualMachine, which a restart keeps.
    VirtualMachine,
    /// A `VirtualMachineInstanceReplicaSet`: its VMIs stay as they are until they are deleted.
    ReplicaSet,
    /// A `VirtualMachinePool`, which brings a change to its VMs itself (`spec.updateStrategy`).
    Pool,
}

impl Template {
    /// The resource as kubectl's arguments name it.
    #[must_use]
    pub fn resource(self) -> &'static str {
        match self {
            Self::VirtualMachine => "vm",
            Self::ReplicaSet => "vmirs",
            Self::Pool => "vmpool",
        }
    }

    /// The path of the guest's spec in it.
    #[must_use]
    pub fn path(self) -> &'static [&'static str] {
        match self {
            Self::VirtualMachine | Self::ReplicaSet => &["spec", "template", "spec"],
            Self::Pool => &["spec", "virtualMachineTemplate", "spec", "template", "spec"],
        }
    }
}

/// The guest under judgement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject<'a> {
    /// Its namespace.
    pub namespace: String,
    /// The name of VM or VMI.
    pub name: String,
    /// At which point of its life it is judged.
    pub stage: Stage,
    /// What the pod in question asks of a node.
    pub placement: Placement<'a>,
    /// Its CPU mode, as far as it is known.
    pub mode: CpuMode,
    /// How it would start again, where that is known.
    pub restart: Option<Start<'a>>,
    /// Where it runs, if it does.
    pub running: Option<Running<'a>>,
    /// Libvirt's last refusal.
    pub refused: Option<LibvirtRefusal>,
    /// What libvirt says of the CPU it runs with, and of the nodes, where libvirt was asked.
    pub asked: Option<Answers>,
    /// The CPU features that its specification disables or forbids: they do not keep a named model from being run.
    pub switched_off: Vec<String>,
    /// KubeVirt refuses to migrate it, and why.
    pub not_migratable: Option<NotMigratable>,
    /// The status of its condition `LiveMigratable` where that is neither `True` nor `False`, empty where there is none: no eviction
    /// migrates it.
    pub undecided: Option<String>,
    /// What kube-scheduler goes by beside the node's labels, taints and name.
    pub pod_rules: Vec<PodRule>,
    /// Its volumes that are bound to nodes.
    pub volumes: Vec<BoundVolume>,
    /// Its volumes of which it is not known on which nodes they can be used, by their names in its specification.
    pub unplaced: Vec<String>,
    /// How its VM takes a request to start it again.
    pub anew: Anew,
    /// The settings of its specification that a user could change and in which nodes differ.
    pub changes: Vec<SettingChange<'a>>,
    /// KubeVirt's list of obsolete CPU models, where it matters to the guest.
    pub obsolete: Option<ObsoleteModels>,
    /// The models that the list withholds: none of them is offered to the guest.
    pub withheld: Arc<BTreeSet<String>>,
    /// The release from which on the labeller gives capability labels the value that the cluster's KubeVirt asks for; `None` where
    /// it does already, or the release is not known.
    pub mended_in: Option<&'static str>,
    /// Whether KubeVirt applies a change of its VM's node selector or node affinity while it runs.
    pub live_update: bool,
    /// Whether its VM waits for a restart (condition `RestartRequired`): KubeVirt applies no change of it to the running guest.
    pub restart_required: bool,
    /// The keys of `own_selector` that its VM does not have any more: a restart takes them out, and no edit of the VM does.
    pub dropped_from_vm: Vec<String>,
    /// Who asks for the eviction strategy `LiveMigrate`, where a migration is judged and that is its guest's.
    pub live_migrate: Option<Author>,
    /// `kubevirt.io/outdatedLauncherImage`: its QEMU is older than that of a target.
    pub outdated_launcher: bool,
    /// What it is made by; `None` for a VMI that nothing makes again, or something of another name.
    pub template: Option<Template>,
    /// `spec.nodeSelector` of the guest's own specification, what a person chose, sorted by key.
    pub own_selector: Vec<(String, String)>,
    /// What is asked for by keys of `own_selector` all the same where it is taken out: by KubeVirt of every launcher, by the cluster's
    /// configuration, by another field.
    pub under_own: Vec<(String, String)>,
    /// The path of the guest's spec in the judged object: that of its template, `spec`, or empty for a pod.
    pub field_root: String,
    /// The machine type it asks for.
    pub machine_type: Option<String>,
    /// Who asks for each entry of the selector and each rule of the affinity, as far as it is known.
    pub authors: Authors,
}

impl<'a> Subject<'a> {
    /// A subject of which nothing is known but its name, stage and placement.
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
            refused: None,
            asked: None,
            switched_off: Vec::new(),
            not_migratable: None,
            undecided: None,
            pod_rules: Vec::new(),
            volumes: Vec::new(),
            unplaced: Vec::new(),
            anew: Anew::Restart,
            changes: Vec::new(),
            obsolete: None,
            withheld: Arc::default(),
            mended_in: None,
            live_update: false,
            restart_required: false,
            dropped_from_vm: Vec::new(),
            live_migrate: None,
            outdated_launcher: false,
            template: None,
            own_selector: Vec::new(),
            under_own: Vec::new(),
            field_root: String::new(),
            machine_type: None,
            authors: Authors::default(),
        }
    }

    /// What libvirt says of the CPU that a migration would take along; a guest that is to start has none yet.
    #[must_use]
    pub fn asked(&self) -> Option<&Answers> {
        let leaves = matches!(&self.stage, Stage::Migration(migration) if !migration.from_elsewhere);
        self.asked.as_ref().filter(|_| leaves)
    }

    /// What the libvirt of a node says of it, where that is known.
    #[must_use]
    pub fn host(&self, node: &str) -> Option<&LibvirtHost> {
        self.asked.as_ref()?.hosts.get(node)
    }

    /// Whether a node has what a label says, as far as its libvirt tells.
    #[must_use]
    pub(crate) fn provides(&self, node: &str, key: &str) -> Provided {
        match self.asked() {
            Some(asked) => asked.provides(node, key),
            None => self.host(node).map_or(Provided::Unknown, |host| host.provides(key)),
        }
    }

    /// The missing entries that describe the CPU. Entries by which a user chose nodes do not.
    pub(crate) fn of_cpu<'m>(
        &self,
        missing: &'m [(String, String)],
    ) -> impl Iterator<Item = &'m (String, String)> + use<'m, '_> {
        missing.iter().filter(|(key, _)| Family::of(key).is_cpu() && !self.is_chosen(key))
    }

    /// The missing entries that would be untrue on the node, according to its libvirt.
    pub(crate) fn untrue(&self, node: &str, missing: &[(String, String)]) -> Vec<(String, String)> {
        self.of_cpu(missing).filter(|(key, _)| self.provides(node, key) == Provided::No).cloned().collect()
    }

    /// The nodes that libvirt keeps out, whatever their labels say: of a guest that runs those that refuse its CPU, of one that is
    /// to start those on which it would fail. `None` where nothing is known from libvirt.
    #[must_use]
    pub(crate) fn kept_out(&self, fleet: &Fleet) -> Option<Bits> {
        match &self.stage {
            Stage::Migration(_) => Some(self.asked()?.refusing(fleet)),
            Stage::Start(_) => self.failing(&self.placement, fleet),
        }
    }

    /// The nodes on which a start with this placement would fail, as their libvirt says; `None` where nothing is known from libvirt.
    #[must_use]
    pub(crate) fn failing(&self, placement: &Placement<'_>, fleet: &Fleet) -> Option<Bits> {
        let asked = self.asked.as_ref()?;
        let mut out = Bits::none(fleet.len());
        let fails = |host: &LibvirtHost| !self.unmet_at_start(placement, host).is_empty();
        let nodes = asked.hosts.iter().filter(|(_, host)| fails(host)).filter_map(|(name, _)| fleet.find(name));
        nodes.for_each(|node| out.insert(node));
        Some(out)
    }

    /// What a start with this placement asks of the CPU, and a node does not have, as its libvirt says: a named model, or a feature.
    #[must_use]
    pub(crate) fn unmet_at_start(&self, placement: &Placement<'_>, host: &LibvirtHost) -> Vec<UnmetAtStart> {
        let unmet = |key: &str| match Family::of(key) {
            Family::CpuModel => {
                let blockers = host.unusable(label::name(key))?;
                let is_off = |name: &String| self.switched_off.contains(name);
                // Which features are in the way is not known of each libvirt.
                let may_start = blockers.iter().all(is_off) && !self.switched_off.is_empty();
                (!may_start).then(|| UnmetAtStart { key: key.to_owned(), blockers: blockers.to_vec() })
            }
            Family::CpuFeature if host.provides(key) == Provided::No => {
                Some(UnmetAtStart { key: key.to_owned(), blockers: Vec::new() })
            }
            _ => None,
        };
        placement.selector.iter().filter_map(|(key, _)| unmet(key)).collect()
    }

    /// The nodes that fit by labels and that libvirt keeps out: kube-scheduler may choose them all the same. `None` where nothing is
    /// known from libvirt.
    #[must_use]
    pub(crate) fn refused_targets(&self, fleet: &Fleet) -> Option<Bits> {
        let mut out = self.kept_out(fleet)?;
        out.intersect(&fleet.look_up(&self.placement).passes().fitting);
        self.source().and_then(|name| fleet.find(name)).into_iter().for_each(|source| out.remove(source));
        Some(out)
    }

    /// The nodes of a fleet that fit, those left out that libvirt keeps out.
    #[must_use]
    pub fn fitting(&self, fleet: &Fleet) -> Bits {
        let mut fitting = fleet.look_up(&self.placement).passes().fitting;
        if let Some(kept_out) = self.kept_out(fleet) {
            fitting.subtract(&kept_out);
        }
        fitting
    }

    /// The nodes on which all its volumes can be used; `None` where none of them is bound to nodes.
    #[must_use]
    pub(crate) fn usable(&self, fleet: &Fleet) -> Option<Bits> {
        BoundVolume::all_usable(&self.volumes, fleet)
    }

    /// The nodes, among those that take its launcher by labels, on which it is known to start once it was ended: those where its volumes can be
    /// used. `None` where that is not known, as where other pods decide; it starts again on the node that it runs on, its `own`, in
    /// any case, where that is among them.
    #[must_use]
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
        Some(out)
    }

    /// `namespace/name`.
    #[must_use]
    pub fn title(&self) -> String {
        if self.namespace.is_empty() { self.name.clone() } else { format!("{}/{}", self.namespace, self.name) }
    }

    /// The node it must leave, if it is a migration within the cluster.
    #[must_use]
    pub fn source(&self) -> Option<&str> {
        match &self.stage {
            Stage::Migration(migration) => migration.source.as_deref(),
            Stage::Start(_) => None,
        }
    }

    /// Whether the guest runs.
    #[must_use]
    pub(crate) fn is_running(&self) -> bool {
        let leaves = matches!(&self.stage, Stage::Migration(migration) if !migration.from_elsewhere);
        leaves || self.running.is_some()
    }

    /// The template, where the judged object is the one that holds it.
    #[must_use]
    pub(crate) fn judged_template(&self) -> Option<Template> {
        self.template.filter(|template| self.field_root == template.path().join("."))
    }

    /// The path of a field below the guest's spec.
    #[must_use]
    pub fn field(&self, below: &str) -> String {
        if self.field_root.is_empty() { below.to_owned() } else { format!("{}.{below}", self.field_root) }
    }

    /// Whether a user chose an entry for this migration, or to place the guest: it says nothing about the guest's CPU.
    #[must_use]
    pub(crate) fn is_chosen(&self, key: &str) -> bool {
        let is_added = matches!(&self.stage, Stage::Migration(migration) if migration.adds(key));
        is_added || self.is_own(key)
    }

    /// The value that is asked for where the guest's own selector does not have this key.
    #[must_use]
    pub(crate) fn value_without_own(&self, key: &str) -> Option<&str> {
        self.under_own.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    /// Whether an entry of the selector comes from the guest's own `spec.nodeSelector`.
    #[must_use]
    pub(crate) fn is_own(&self, key: &str) -> bool {
        has_key(&self.own_selector, key)
    }
}

/// Reads libvirt's refusal from a failure reason; `None` where it is not about the CPU.
#[must_use]
pub(crate) fn libvirt_refusal(target: &str, reason: &str) -> Option<LibvirtRefusal> {
    let words = reason.split_once("guest CPU doesn't match specification").map(|(_, rest)| rest)?;
    let list = |head: &str| -> Vec<String> {
        let Some((_, rest)) = words.split_once(head) else { return Vec::new() };
        let end = rest.find([';', '\'', '"', ')', '\n']).unwrap_or(rest.len());
        let end = rest.find("extra features").map_or(end, |other| other.min(end));
        rest[..end].split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect()
    };
    let short = reason.find("guest CPU doesn't").map_or(reason, |at| &reason[at..]);
    Some(LibvirtRefusal {
        target: target.to_owned(),
        reason: short.trim_end_matches(['\'', ')', '"']).to_owned(),
        missing: list("missing features:"),
        extra: list("extra features:"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::extra(
        "Live migration failed … virError(Code=9, Domain=31, Message='operation failed: guest CPU doesn't match specification: extra features: ht')",
        &[], &["ht"]
    )]
    #[case::missing("operation failed: guest CPU doesn't match specification: missing features: erms,vaes,vpclmulqdq,fsrm", &["erms", "vaes", "vpclmulqdq", "fsrm"], &[])]
    #[case::both("guest CPU doesn't match specification: missing features: a, b; extra features: c", &["a", "b"], &["c"])]
    fn refusals_of_libvirt_are_read(#[case] reason: &str, #[case] missing: &[&str], #[case] extra: &[&str]) {
        let Some(found) = libvirt_refusal("n1", reason) else {
            panic!("the only trace of the guest's real CPU is lost")
        };
        assert_eq!(
            (found.missing.as_slice(), found.extra.as_slice()),
            (
                missing.iter().map(ToString::to_string).collect::<Vec<_>>().as_slice(),
                extra.iter().map(ToString::to_string).collect::<Vec<_>>().as_slice(),
            )
        );
    }

    #[test]
    fn other_failures_are_not_about_the_cpu() {
        assert_eq!(libvirt_refusal("n1", "Live migration failed: timed out"), None);
    }
}
