//! The known objects of a cluster: nodes, guests, their launchers, namespaces, configuration.

mod objects;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::defaults::{ClusterConfig, hyperconverged};
use super::placement;
use super::release::{Release, ReleaseKnown};
use super::replicas::{Replicas, ReplicasKind};
use super::resource::Resource;
use super::revision::Revision;
use super::room::Room;
use super::wire::{
    self, Claim, DataSource, DataVolume, Instancetype, KubeVirt, MetaOnly, PersistentVolume, Pod, Preference,
    VirtualMachine, Vmi, Vmim,
};
use super::withheld::Withheld;
use crate::bounds::Excess;
use crate::domain::Domain;
use crate::fit::fleet::{Fleet, Requirement};
use crate::fit::node::{Effect, Node, Taint};
use crate::fit::placement::Placement;
use crate::fit::subject::ListOwner;
use crate::libvirt::facts::GuestStart;
use crate::libvirt::{Answers, LibvirtFacts};
use crate::well_known::{self, Pairs as _};
use crate::word::Word as _;
pub use objects::{ClusterObject, ObjectName};
use objects::{Kept, Objects, get, key};

/// A cluster at one instant, with the objects that judgements depend on.
///
/// A copy is cheap, and an edit of the copy leaves the original unchanged. Hypothetical clusters are made by copying,
/// and a live cluster's next state after each change.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    /// All nodes.
    pub fleet: Arc<Fleet>,
    /// The KubeVirt custom resource, the part that affects placement.
    pub config: ClusterConfig,
    /// The release whose rules apply.
    pub release: ReleaseKnown,
    /// The object that owns the list of obsolete CPU models.
    pub list_owner: ListOwner,
    /// The CPU models that this list withholds.
    pub withheld: Arc<Withheld>,
    /// The namespace KubeVirt is installed in; `None` if its custom resource is not known.
    pub kubevirt_namespace: Option<String>,
    /// Allocatable resources of nodes and requests of pods, if they were read; the webhook does not read them.
    pub room: Arc<Room>,
    /// The domain of KubeVirt's names in this cluster, used for output. All other fields use KubeVirt's own domain.
    pub domain: Domain,
    /// Libvirt's answers; empty if libvirt was not queried.
    pub libvirt: Arc<LibvirtFacts>,
    /// Whether the cluster was read from an API server. A dump may be incomplete.
    pub is_live: bool,
    /// The namespaces of which the dump holds a snapshot; empty if it is of all namespaces.
    pub only_namespaces: BTreeSet<String>,
    /// The resources that the API server did not list, with the reason.
    pub unread: Vec<(Resource, WhyUnread)>,
    /// The release that the user named.
    release_override: Option<Release>,
    kubevirts: Vec<KubeVirt>,
    launchers: Objects<Launcher>,
    /// The launchers by the UID of the VMI that owns them; launchers that name no UID are under the empty UID.
    launchers_of: Arc<HashMap<String, Vec<Arc<Launcher>>>>,
    /// The objects of all other kinds.
    kept: Kept,
}

/// The reason why the API server did not list a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhyUnread {
    /// The user lacks the permission.
    Forbidden,
    /// The API server does not have the resource.
    NotInstalled,
    /// An object of it has a form that this program does not know.
    Invalid,
}

/// A launcher pod that exists.
#[derive(Clone, Debug, PartialEq)]
pub struct Launcher {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.namespace`.
    pub namespace: String,
    /// The name of the VMI that owns the pod.
    pub guest: String,
    /// The UID of that VMI; empty in a dump without UIDs.
    pub owner: String,
    /// `spec.nodeName`; empty while pending.
    pub node: String,
    /// `metadata.creationTimestamp`, which sorts as text.
    pub created: String,
    /// Whether the pod is being deleted.
    pub is_terminating: bool,
    /// `metadata.labels`; the webhook, which nothing asks for them, does not keep them.
    pub labels: BTreeMap<String, String>,
    /// The placement requirements of the pod; shared by launchers with equal requirements.
    pub placement: Arc<Placement<'static>>,
    /// The reason why the pod is too large to judge by; `None` if it is not.
    pub excess: Option<Excess>,
}

/// The label of claims that keep a guest's state, and the start of the names of those from before KubeVirt 1.4.
const STATE_CLAIM: &str = "persistent-state-for";

impl Launcher {
    /// Returns the node selector as a map.
    #[must_use]
    pub fn selector(&self) -> BTreeMap<String, String> {
        self.placement.selector.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()
    }
}

impl Cluster {
    /// Builds a cluster from its objects. `release` overrides the release in the KubeVirt custom resource.
    #[must_use]
    pub fn new(objects: impl IntoIterator<Item = ClusterObject>, release: Option<Release>) -> Self {
        let mut cluster = Self { release_override: release, ..Self::default() };
        let mut nodes = Vec::new();
        for object in objects {
            match object {
                ClusterObject::Node(node) => nodes.push(node),
                other => drop(cluster.put(other)),
            }
        }
        cluster.set_fleet(Arc::new(Fleet::new(nodes)));
        cluster
    }

    /// Replaces the nodes.
    pub(crate) fn set_fleet(&mut self, fleet: Arc<Fleet>) {
        self.fleet = fleet;
        self.settle();
    }

    /// Adds an object, or replaces the one with its name. Returns whether that changes anything. Nodes are ignored;
    /// only [`set_fleet`](Self::set_fleet) changes them.
    pub fn put(&mut self, object: ClusterObject) -> bool {
        match object {
            ClusterObject::Launcher(launcher) => self.put_launcher(launcher),
            ClusterObject::KubeVirt(kubevirt) => self.put_kubevirt(*kubevirt),
            other => self.kept.put(other),
        }
    }

    /// Removes an object. Returns whether it existed. Nodes, policies and budgets are kept elsewhere.
    pub fn remove(&mut self, resource: Resource, name: &ObjectName) -> bool {
        match resource {
            Resource::Pods => self.remove_launcher(name),
            Resource::KubeVirts => {
                let before = self.kubevirts.len();
                self.kubevirts.retain(|known| key(&known.metadata) != *name);
                self.settle();
                self.kubevirts.len() != before
            }
            other => self.kept.remove(other, name),
        }
    }

    /// Returns the names of a resource's objects. Nodes, policies and budgets are kept elsewhere.
    #[must_use]
    pub fn names(&self, resource: Resource) -> Vec<ObjectName> {
        match resource {
            Resource::Pods => self.launchers.keys().cloned().collect(),
            Resource::KubeVirts => self.kubevirts.iter().map(|kubevirt| key(&kubevirt.metadata)).collect(),
            other => self.kept.names(other),
        }
    }

    /// Updates the fields that depend on the KubeVirt custom resource and on the nodes.
    fn settle(&mut self) {
        // A resource with an observed release comes from the cluster and takes precedence over a manifest.
        let chosen = self.kubevirts.iter().rfind(|kubevirt| is_observed(kubevirt)).or(self.kubevirts.last());
        let observed = chosen.and_then(observed);
        self.kubevirt_namespace =
            chosen.map(|kubevirt| kubevirt.metadata.namespace.clone()).filter(|namespace| !namespace.is_empty());
        self.list_owner = chosen.map_or(ListOwner::Unknown, list_owner);
        self.config = chosen.cloned().map(ClusterConfig::from).unwrap_or_default();
        self.withheld = Arc::new(Withheld::of(&self.config.configuration));
        self.release = match self.release_override.or(observed) {
            Some(release) => ReleaseKnown::Observed(release),
            None if self.fleet.is_labelled_without_machine_types() => ReleaseKnown::WithoutMachineTypes,
            None => ReleaseKnown::Newest,
        };
    }

    fn put_kubevirt(&mut self, kubevirt: KubeVirt) -> bool {
        match self.kubevirts.iter_mut().find(|known| key(&known.metadata) == key(&kubevirt.metadata)) {
            // A dump may hold a manifest beside the object read from the cluster, under the same name.
            Some(known) if *known == kubevirt || (is_observed(known) && !is_observed(&kubevirt)) => return false,
            Some(known) => *known = kubevirt,
            None => self.kubevirts.push(kubevirt),
        }
        self.settle();
        true
    }

    fn put_launcher(&mut self, launcher: Launcher) -> bool {
        let name = (launcher.namespace.clone(), launcher.name.clone());
        if self.launchers.get(&name).is_some_and(|known| **known == launcher) {
            return false;
        }
        self.remove_launcher(&name);
        let launcher = Arc::new(launcher);
        let of_owner = Arc::make_mut(&mut self.launchers_of).entry(launcher.owner.clone()).or_default();
        of_owner.push(Arc::clone(&launcher));
        Arc::make_mut(&mut self.launchers).insert(name, launcher);
        true
    }

    fn remove_launcher(&mut self, name: &ObjectName) -> bool {
        let Some(known) = self.launchers.get(name).cloned() else { return false };
        Arc::make_mut(&mut self.launchers).remove(name);
        let launchers_of = Arc::make_mut(&mut self.launchers_of);
        if let Some(of_owner) = launchers_of.get_mut(&known.owner) {
            of_owner.retain(|launcher| !Arc::ptr_eq(launcher, &known));
            if of_owner.is_empty() {
                launchers_of.remove(&known.owner);
            }
        }
        true
    }

    /// Returns the release that fixes the values of capability labels; `None` if they are right, or the release is
    /// assumed.
    pub(crate) fn fixed_in(&self) -> Option<&'static str> {
        match self.release {
            ReleaseKnown::Observed(release) => release.fixes_capability_values_in(),
            ReleaseKnown::Newest | ReleaseKnown::WithoutMachineTypes => None,
        }
    }

    /// Returns the release whose labeller labels each model that libvirt knows; `None` if the cluster's does, or the
    /// release is assumed.
    pub(crate) fn known_models_in(&self) -> Option<&'static str> {
        match self.release {
            ReleaseKnown::Observed(release) => release.labels_known_models_in(),
            ReleaseKnown::Newest | ReleaseKnown::WithoutMachineTypes => None,
        }
    }

    /// Whether the KubeVirt custom resource is known.
    pub(crate) fn has_kubevirt(&self) -> bool {
        !self.kubevirts.is_empty()
    }

    /// Returns a VMI; `None` if it is not known, as in the lookups below.
    #[must_use]
    pub fn vmi(&self, namespace: &str, name: &str) -> Option<&Vmi> {
        get(&self.kept.vmis, namespace, name)
    }

    /// Returns libvirt's answers about the guest of this name as it runs now; `None` if libvirt was not queried at all.
    pub(crate) fn asked(&self, namespace: &str, name: &str) -> Option<Answers> {
        match self.vmi(namespace, name) {
            Some(vmi) => self.asked_about(vmi),
            // No start is known of a guest that does not run.
            None => self.libvirt.of(namespace, name, GuestStart::default(), &self.fleet),
        }
    }

    /// Returns libvirt's answers about this guest as it runs; `None` if libvirt was not queried at all.
    pub(crate) fn asked_about(&self, vmi: &Vmi) -> Option<Answers> {
        let meta = &vmi.metadata;
        let mut asked = self.libvirt.of(&meta.namespace, &meta.name, meta.start(), &self.fleet)?;
        let features = || vmi.spec.domain.cpu.iter().flat_map(|cpu| &cpu.features);
        let with = |policy: &'static str| features().filter(move |feature| feature.policy == policy);
        if with("force").next().is_none() && !vmi.status.node_name.is_empty() {
            asked.own_node = Some(vmi.status.node_name.clone());
        }
        let forbidden = with("forbid").map(|feature| feature.name.as_str()).collect();
        Some(self.libvirt.forbidding(asked, &forbidden, &self.fleet))
    }

    /// Returns all VMIs.
    pub fn vmis(&self) -> impl Iterator<Item = &Vmi> {
        self.kept.vmis.values().map(AsRef::as_ref)
    }

    /// Returns a VirtualMachine.
    #[must_use]
    pub fn vm(&self, namespace: &str, name: &str) -> Option<&VirtualMachine> {
        get(&self.kept.vms, namespace, name)
    }

    /// Returns all `VirtualMachine`s.
    pub fn vms(&self) -> impl Iterator<Item = &VirtualMachine> {
        self.kept.vms.values().map(AsRef::as_ref)
    }

    /// Returns a replica set or a pool.
    #[must_use]
    pub fn replicas(&self, kind: ReplicasKind, namespace: &str, name: &str) -> Option<&Replicas> {
        let kept = match kind {
            ReplicasKind::ReplicaSet => &self.kept.replica_sets,
            ReplicasKind::Pool => &self.kept.pools,
        };
        get(kept, namespace, name)
    }

    /// Returns a migration.
    #[must_use]
    pub fn migration(&self, namespace: &str, name: &str) -> Option<&Vmim> {
        get(&self.kept.migrations, namespace, name)
    }

    /// Returns all launchers.
    pub(crate) fn launchers(&self) -> impl Iterator<Item = &Launcher> {
        self.launchers.values().map(AsRef::as_ref)
    }

    /// Returns the launcher of this name.
    pub(crate) fn launcher(&self, namespace: &str, name: &str) -> Option<&Launcher> {
        get(&self.launchers, namespace, name)
    }

    /// Returns the guest of a launcher pod, by the pod's name.
    pub(crate) fn guest_of_launcher(&self, namespace: &str, name: &str) -> Option<&Vmi> {
        self.vmi(namespace, &self.launcher(namespace, name)?.guest)
    }

    /// Returns the launcher a guest runs in: the most recent one on its node. Mirrors `CurrentVMIPod`
    /// of `pkg/controller/controller.go`.
    pub(crate) fn current_launcher(&self, vmi: &Vmi) -> Option<&Launcher> {
        let on_node = |pod: &&Launcher| vmi.status.node_name.is_empty() || pod.node == vmi.status.node_name;
        // Keeps the first of several equally recent pods: KubeVirt's comparison is strict.
        let pods = self.launchers_of(vmi).filter(on_node);
        pods.reduce(|best, pod| if pod.created > best.created { pod } else { best })
    }

    /// Returns what the launcher of a running guest requires of its node and does not find there; empty if nothing, or
    /// if the launcher or the node is not known.
    pub(crate) fn unmet(&self, vmi: &Vmi) -> BTreeSet<Requirement> {
        let launcher = self.current_launcher(vmi).zip(self.fleet.find(&vmi.status.node_name));
        launcher.map(|(pod, node)| self.fleet.look_up(&pod.placement).refusal(node).unmet()).unwrap_or_default()
    }

    /// Returns the launchers of a guest, including the target pod of a migration.
    pub(crate) fn launchers_of(&self, vmi: &Vmi) -> impl Iterator<Item = &Launcher> {
        // A dump without UIDs still names the guest of each pod.
        let is_its = |pod: &&Launcher| pod.guest == vmi.metadata.name && pod.namespace == vmi.metadata.namespace;
        self.launchers_of.get(&vmi.metadata.uid).into_iter().flatten().map(AsRef::as_ref).filter(is_its)
    }

    /// Returns all known migrations, including ended ones.
    pub(crate) fn migrations(&self) -> impl Iterator<Item = &Vmim> {
        self.kept.migrations.values().map(AsRef::as_ref)
    }

    /// Returns the known migrations of a guest, including ended ones.
    pub(crate) fn migrations_of(&self, vmi: &Vmi) -> impl Iterator<Item = &Vmim> {
        let namespace = &vmi.metadata.namespace;
        self.migrations().filter(move |it| it.metadata.namespace == *namespace && it.spec.vmi_name == vmi.metadata.name)
    }

    /// Returns the labels of a namespace; `None` if it is not known.
    #[must_use]
    pub fn namespace(&self, name: &str) -> Option<&BTreeMap<String, String>> {
        get(&self.kept.namespaces, "", name).map(|namespace| &namespace.metadata.labels)
    }

    /// Returns the annotations of a namespace; `None` if it is not known.
    pub(crate) fn namespace_annotations(&self, name: &str) -> Option<&BTreeMap<String, String>> {
        get(&self.kept.namespaces, "", name).map(|namespace| &namespace.metadata.annotations)
    }

    /// Returns why the labels of a namespace were not all read; `None` if they were.
    pub(crate) fn namespace_excess(&self, name: &str) -> Option<&Excess> {
        get(&self.kept.namespaces, "", name)?.metadata.excess.as_ref()
    }

    /// Returns an instancetype; cluster-wide ones have an empty namespace.
    #[must_use]
    pub fn instancetype(&self, namespace: &str, name: &str) -> Option<&Instancetype> {
        get(&self.kept.instancetypes, namespace, name)
    }

    /// Returns a preference; cluster-wide ones have an empty namespace.
    #[must_use]
    pub fn preference(&self, namespace: &str, name: &str) -> Option<&Preference> {
        get(&self.kept.preferences, namespace, name)
    }

    /// Returns a ControllerRevision that holds an instancetype or a preference.
    #[must_use]
    pub fn revision(&self, namespace: &str, name: &str) -> Option<&Revision> {
        get(&self.kept.revisions, namespace, name)
    }

    /// Returns a DataSource.
    pub(crate) fn data_source(&self, namespace: &str, name: &str) -> Option<&DataSource> {
        get(&self.kept.data_sources, namespace, name)
    }

    /// Returns a PersistentVolumeClaim.
    #[must_use]
    pub fn claim(&self, namespace: &str, name: &str) -> Option<&Claim> {
        get(&self.kept.claims, namespace, name)
    }

    /// Returns the claim that keeps the state of a guest's TPM or EFI, which its launcher mounts. Mirrors `PVCForVMI`
    /// of `pkg/storage/backend-storage/backend-storage.go`: by its label, else by its name.
    pub(crate) fn state_claim(&self, namespace: &str, guest: &str) -> Option<&Claim> {
        let from = (namespace.to_owned(), String::new());
        let mut of_namespace =
            self.kept.claims.range(from..).take_while(|((of, _), _)| of == namespace).map(|(_, claim)| &**claim);
        let is_labelled = |claim: &&Claim| claim.metadata.labels.get(STATE_CLAIM).is_some_and(|of| of == guest);
        let by_name = || self.claim(namespace, &format!("{STATE_CLAIM}-{guest}"));
        of_namespace.find(is_labelled).or_else(by_name)
    }

    /// Returns a DataVolume.
    pub(crate) fn data_volume(&self, namespace: &str, name: &str) -> Option<&DataVolume> {
        get(&self.kept.data_volumes, namespace, name)
    }

    /// Returns a `VolumeSnapshot`.
    pub(crate) fn volume_snapshot(&self, namespace: &str, name: &str) -> Option<&MetaOnly> {
        get(&self.kept.volume_snapshots, namespace, name)
    }

    /// Returns a PersistentVolume.
    #[must_use]
    pub fn volume(&self, name: &str) -> Option<&PersistentVolume> {
        get(&self.kept.volumes, "", name)
    }
}

/// Returns the owner of the configuration: the KubeVirt resource, or the HyperConverged resource from which an operator
/// writes it.
fn list_owner(kubevirt: &KubeVirt) -> ListOwner {
    let metadata = &kubevirt.metadata;
    if let Some(name) = hyperconverged(kubevirt) {
        return ListOwner::HyperConverged { namespace: metadata.namespace.clone(), name: name.to_owned() };
    }
    ListOwner::KubeVirt { namespace: metadata.namespace.clone(), name: metadata.name.clone() }
}

fn observed(kubevirt: &KubeVirt) -> Option<Release> {
    Release::parse(&kubevirt.status.observed_kubevirt_version)
}

fn is_observed(kubevirt: &KubeVirt) -> bool {
    observed(kubevirt).is_some()
}

impl From<wire::Node> for Node {
    fn from(node: wire::Node) -> Self {
        if let Some(excess) = node.metadata.excess {
            let wire::Meta { name, uid, creation_timestamp: created, .. } = node.metadata;
            return Self { name, uid, created, unread: Some(excess.to_string()), ..Self::default() };
        }
        let ready = node.status.conditions.iter().find(|condition| condition.kind == "Ready");
        Self {
            name: node.metadata.name,
            uid: node.metadata.uid,
            created: node.metadata.creation_timestamp,
            labels: node.metadata.labels,
            taints: node.spec.taints.into_iter().filter_map(taint).collect(),
            cordoned: node.spec.unschedulable,
            not_ready: ready.is_some_and(|ready| ready.status != "True"),
            skip_node: well_known::SKIP_NODE.value(&node.metadata.annotations).map(str::to_owned),
            unread: None,
        }
    }
}

/// Converts a taint. `None` for an effect that this release does not know, which the scheduler ignores too.
fn taint(taint: wire::Taint) -> Option<Taint> {
    Some(Taint { key: taint.key, value: taint.value, effect: Effect::of(&taint.effect)? })
}

/// Whether a pod is a virt-launcher, in any domain of KubeVirt's names.
#[must_use]
pub fn is_launcher(pod: &Pod<'_>) -> bool {
    // virt-controller copies a guest's labels; if there are too many, the launcher label may have been cut off.
    let are_cut = pod.metadata.excess.as_ref().is_some_and(Excess::cuts_labels);
    well_known::LAUNCHER.is_set(&pod.metadata.labels) || (are_cut && owner(pod).is_some())
}

/// Returns the VMI that owns a pod: its controller. The pod's label `vm.kubevirt.io/name` is not used.
#[must_use]
pub fn owner<'p>(pod: &'p Pod<'_>) -> Option<&'p wire::OwnerReference> {
    pod.metadata.owner_references.iter().find(|owner| owner.is_a(Resource::Vmis))
}

/// Whether a pod has ended, so that it uses no resources.
#[must_use]
pub fn is_finished(pod: &Pod<'_>) -> bool {
    wire::is_final(&pod.status.phase)
}

/// Reads a launcher pod of a dump; `None` for any other pod, and for a finished one.
#[must_use]
pub fn launcher(pod: &Pod<'_>) -> Option<Launcher> {
    if !is_launcher(pod) || is_finished(pod) {
        return None;
    }
    let owner = owner(pod)?;
    let text = |text: &Option<wire::Text<'_>>| text.as_deref().unwrap_or_default().to_owned();
    let mut placement = match &pod.metadata.excess {
        Some(_) => Placement::default(),
        None => placement::of_pod(pod).into_owned(),
    };
    placement.node_name = None;
    Some(Launcher {
        name: text(&pod.metadata.name),
        namespace: text(&pod.metadata.namespace),
        guest: owner.name.clone(),
        owner: owner.uid.clone(),
        node: text(&pod.spec.node_name),
        created: pod.metadata.creation_timestamp.clone().unwrap_or_default(),
        is_terminating: pod.metadata.deletion_timestamp.is_some(),
        labels: pod.metadata.labels.pairs().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
        placement: Arc::new(placement),
        excess: pod.metadata.excess.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launcher(name: &str, namespace: &str, guest: &str) -> ClusterObject {
        let launcher = Launcher {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            guest: guest.to_owned(),
            node: "node-a".to_owned(),
            owner: String::new(),
            created: String::new(),
            is_terminating: false,
            labels: BTreeMap::new(),
            placement: Arc::default(),
            excess: None,
        };
        ClusterObject::Launcher(launcher)
    }

    fn vmi(namespace: &str, name: &str) -> ClusterObject {
        let mut vmi = Vmi::default();
        namespace.clone_into(&mut vmi.metadata.namespace);
        name.clone_into(&mut vmi.metadata.name);
        "node-a".clone_into(&mut vmi.status.node_name);
        ClusterObject::Vmi(Box::new(vmi))
    }

    #[test]
    fn without_uids_a_launcher_is_found_by_the_names() {
        let pods = [launcher("p1", "lab", "db"), launcher("p2", "shop", "web"), launcher("p3", "shop", "db")];
        let cluster = Cluster::new([vmi("shop", "db"), vmi("lab", "db")].into_iter().chain(pods), None);
        let of = |namespace| cluster.vmi(namespace, "db").and_then(|vmi| cluster.current_launcher(vmi));
        assert_eq!(of("shop").map(|pod| pod.name.as_str()), Some("p3"), "another guest's selector would be inherited");
        assert_eq!(of("lab").map(|pod| pod.name.as_str()), Some("p1"));
        let guest = cluster.guest_of_launcher("lab", "p1").map(|vmi| vmi.metadata.namespace.as_str());
        assert_eq!(guest, Some("lab"), "another guest would be explained");
    }

    #[test]
    fn a_manifest_without_status_keeps_the_observed_release() {
        let mut observed = KubeVirt::default();
        "v1.5.2".clone_into(&mut observed.status.observed_kubevirt_version);
        "Haswell".clone_into(&mut observed.spec.configuration.cpu_model);
        let objects = [observed, KubeVirt::default()].map(|kubevirt| ClusterObject::KubeVirt(Box::new(kubevirt)));
        let cluster = Cluster::new(objects, None);
        assert_eq!(cluster.release.release().to_string(), "v1.5.2", "the rules of another release would be applied");
        assert_eq!(cluster.config.configuration.cpu_model, "Haswell");
    }
}
