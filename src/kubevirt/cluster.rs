//! What is known of a cluster besides its nodes: guests, their launchers, namespaces, configuration.

use std::collections::{BTreeMap, HashMap};

use super::defaults::ClusterConfig;
use super::launch;
use super::release::Release;
use super::wire::{self, Instancetype, KubeVirt, MetaOnly, Pod, Preference, Texts, VirtualMachine, Vmi, Vmim};
use crate::compat::fleet::Fleet;
use crate::compat::node::{Effect, Node, Taint};
use crate::compat::placement::Placement;

/// The cluster at one instant, as far as guests are judged by it.
#[derive(Debug, Default)]
pub struct Cluster {
    /// All nodes.
    pub fleet: Fleet,
    /// The KubeVirt custom resource, the part that bears on placement.
    pub config: ClusterConfig,
    /// Whose rules apply.
    pub release: ReleaseKnown,
    /// The namespace KubeVirt is installed in, where its custom resource is known.
    pub kubevirt_namespace: Option<String>,
    vmis: BTreeMap<Name, Vmi>,
    vms: BTreeMap<Name, VirtualMachine>,
    migrations: BTreeMap<Name, Vmim>,
    /// By the UID of the VMI that owns them; those that name none under the empty one.
    launchers: HashMap<String, Vec<Launcher>>,
    namespaces: BTreeMap<String, BTreeMap<String, String>>,
    instancetypes: BTreeMap<Name, Instancetype>,
    preferences: BTreeMap<Name, Preference>,
}

/// Namespace (empty for cluster-wide kinds) and name.
type Name = (String, String);

/// How the release is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ReleaseKnown {
    /// The KubeVirt custom resource says so, or the user.
    Observed(Release),
    /// Nothing names it: the newest is assumed.
    #[default]
    Newest,
    /// Nothing names it, and no labelled node has a machine type: it must be an older one.
    WithoutMachineTypes,
}

impl ReleaseKnown {
    /// The release whose rules apply.
    #[must_use]
    pub fn release(&self) -> Release {
        match self {
            Self::Observed(release) => *release,
            Self::Newest => Release::NEWEST,
            Self::WithoutMachineTypes => Release::BEFORE_MACHINE_TYPES,
        }
    }

    /// What had to be assumed, in words.
    #[must_use]
    pub fn assumption(&self) -> Option<String> {
        match self {
            Self::Observed(_) => None,
            Self::Newest => Some(format!(
                "no KubeVirt version is known (status.observedKubeVirtVersion): judged by the rules of {}",
                Release::NEWEST
            )),
            Self::WithoutMachineTypes => Some(
                "no KubeVirt version is known and no node has a machine-type label: judged by the rules before v1.5.1"
                    .to_owned(),
            ),
        }
    }
}

/// A launcher pod that exists.
#[derive(Clone, Debug, PartialEq)]
pub struct Launcher {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.namespace`.
    pub namespace: String,
    /// The name of the VMI that owns it.
    pub guest: String,
    /// `spec.nodeName`; empty while pending.
    pub node: String,
    /// `metadata.creationTimestamp`, which sorts as text.
    pub created: String,
    /// What it asks of a node.
    pub placement: Placement<'static>,
}

impl Launcher {
    /// Its selector as a map.
    #[must_use]
    pub fn selector(&self) -> BTreeMap<String, String> {
        self.placement.selector.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()
    }
}

/// Something that a dump of a cluster holds.
#[derive(Clone, Debug)]
pub enum Object {
    /// A Node.
    Node(Node),
    /// A launcher pod, by the UID of its VMI.
    Launcher(String, Launcher),
    /// A VirtualMachine.
    VirtualMachine(Box<VirtualMachine>),
    /// A VirtualMachineInstance.
    Vmi(Box<Vmi>),
    /// A VirtualMachineInstanceMigration.
    Migration(Box<Vmim>),
    /// The KubeVirt custom resource.
    KubeVirt(Box<KubeVirt>),
    /// A Namespace.
    Namespace(MetaOnly),
    /// An instancetype.
    Instancetype(Instancetype),
    /// A preference.
    Preference(Preference),
}

impl Cluster {
    /// A cluster from its objects. `release` overrides what the KubeVirt custom resource says.
    #[must_use]
    pub fn new(objects: impl IntoIterator<Item = Object>, release: Option<Release>) -> Self {
        let mut cluster = Self::default();
        let mut nodes = Vec::new();
        let mut observed = None;
        for object in objects {
            match object {
                Object::Node(node) => nodes.push(node),
                Object::Launcher(owner, launcher) => cluster.launchers.entry(owner).or_default().push(launcher),
                Object::VirtualMachine(vm) => {
                    cluster.vms.insert(key(&vm.metadata), *vm);
                }
                Object::Vmi(vmi) => {
                    cluster.vmis.insert(key(&vmi.metadata), *vmi);
                }
                Object::Migration(vmim) => {
                    cluster.migrations.insert(key(&vmim.metadata), *vmim);
                }
                Object::KubeVirt(kubevirt) => {
                    let found = Release::parse(&kubevirt.status.observed_kubevirt_version);
                    if found.is_none() && observed.is_some() {
                        // A manifest beside the dump: what the cluster itself says counts.
                        continue;
                    }
                    observed = found;
                    cluster.kubevirt_namespace =
                        Some(kubevirt.metadata.namespace.clone()).filter(|namespace| !namespace.is_empty());
                    cluster.config = ClusterConfig::from(*kubevirt);
                }
                Object::Namespace(namespace) => {
                    cluster.namespaces.insert(namespace.metadata.name, namespace.metadata.labels);
                }
                Object::Instancetype(found) => {
                    cluster.instancetypes.insert(key(&found.metadata), found);
                }
                Object::Preference(found) => {
                    cluster.preferences.insert(key(&found.metadata), found);
                }
            }
        }
        cluster.fleet = Fleet::new(nodes);
        cluster.release = match release.or(observed) {
            Some(release) => ReleaseKnown::Observed(release),
            None if cluster.fleet.is_labelled_without_machine_types() => ReleaseKnown::WithoutMachineTypes,
            None => ReleaseKnown::Newest,
        };
        cluster
    }

    /// A VMI.
    #[must_use]
    pub fn vmi(&self, namespace: &str, name: &str) -> Option<&Vmi> {
        self.vmis.get(&(namespace.to_owned(), name.to_owned()))
    }

    /// All VMIs.
    pub fn vmis(&self) -> impl Iterator<Item = &Vmi> {
        self.vmis.values()
    }

    /// A VirtualMachine.
    #[must_use]
    pub fn vm(&self, namespace: &str, name: &str) -> Option<&VirtualMachine> {
        self.vms.get(&(namespace.to_owned(), name.to_owned()))
    }

    /// All VMs.
    pub fn vms(&self) -> impl Iterator<Item = &VirtualMachine> {
        self.vms.values()
    }

    /// A migration.
    #[must_use]
    pub fn migration(&self, namespace: &str, name: &str) -> Option<&Vmim> {
        self.migrations.get(&(namespace.to_owned(), name.to_owned()))
    }

    /// The guest that a launcher pod belongs to, by the pod's name.
    #[must_use]
    pub fn guest_of_launcher(&self, namespace: &str, name: &str) -> Option<&Vmi> {
        let is_it = |pod: &Launcher| pod.namespace == namespace && pod.name == name;
        let pod = self.launchers.values().flatten().find(|pod| is_it(pod))?;
        self.vmi(namespace, &pod.guest)
    }

    /// The launcher a guest runs in: the most recent one on its node. Mirrors `CurrentVMIPod`.
    #[must_use]
    pub fn current_launcher(&self, vmi: &Vmi) -> Option<&Launcher> {
        let on_node = |pod: &&Launcher| vmi.status.node_name.is_empty() || pod.node == vmi.status.node_name;
        // A dump that was cleaned of UIDs still tells whose pod it is.
        let is_its = |pod: &&Launcher| pod.guest == vmi.metadata.name && pod.namespace == vmi.metadata.namespace;
        let pods = self.launchers.get(&vmi.metadata.uid)?;
        // The first of the most recent, as KubeVirt's strict comparison keeps it.
        pods.iter()
            .filter(on_node)
            .filter(is_its)
            .reduce(|best, pod| if pod.created > best.created { pod } else { best })
    }

    /// The labels of a namespace; none where it is not known.
    #[must_use]
    pub fn namespace(&self, name: &str) -> Option<&BTreeMap<String, String>> {
        self.namespaces.get(name)
    }

    /// An instancetype by what a VM says of it.
    #[must_use]
    pub fn instancetype(&self, namespace: &str, matcher: &wire::Matcher) -> Option<&Instancetype> {
        self.instancetypes.get(&matched(namespace, matcher))
    }

    /// A preference by what a VM says of it.
    #[must_use]
    pub fn preference(&self, namespace: &str, matcher: &wire::Matcher) -> Option<&Preference> {
        self.preferences.get(&matched(namespace, matcher))
    }
}

fn key(meta: &wire::Meta) -> Name {
    (meta.namespace.clone(), meta.name.clone())
}

fn matched(namespace: &str, matcher: &wire::Matcher) -> Name {
    // The kind decides: the cluster-wide one is the default.
    let kind = matcher.kind.to_ascii_lowercase();
    let scoped = !kind.is_empty() && !kind.starts_with("virtualmachinecluster");
    (if scoped { namespace.to_owned() } else { String::new() }, matcher.name.clone())
}

impl From<wire::Node> for Node {
    fn from(node: wire::Node) -> Self {
        let ready = node.status.conditions.iter().find(|condition| condition.kind == "Ready");
        Self {
            name: node.metadata.name,
            labels: node.metadata.labels,
            taints: node.spec.taints.into_iter().filter_map(taint).collect(),
            cordoned: node.spec.unschedulable,
            not_ready: ready.is_some_and(|ready| ready.status != "True"),
            skip_node: node.metadata.annotations.get(crate::compat::label::SKIP_NODE).cloned(),
        }
    }
}

/// A taint with an effect this release does not know is no refusal, as for the scheduler.
fn taint(taint: wire::Taint) -> Option<Taint> {
    Some(Taint { key: taint.key, value: taint.value, effect: Effect::parse(&taint.effect)? })
}

/// Whether a pod is a virt-launcher, under whatever domain the distribution uses.
#[must_use]
pub fn is_launcher(labels: &Texts<'_>) -> bool {
    labels.0.iter().any(|(key, value)| value == "virt-launcher" && key.starts_with("kubevirt."))
}

/// A label of a pod by the part of its key after the domain.
#[must_use]
pub fn pod_label<'l>(labels: &'l Texts<'_>, name: &str) -> Option<&'l str> {
    let found = labels.0.iter().find(|(key, _)| {
        key.strip_suffix(name).and_then(|domain| domain.strip_suffix('/')).is_some_and(|d| d.starts_with("kubevirt."))
    });
    found.map(|(_, value)| value.as_ref())
}

/// The VMI that owns a pod: its controller, never the pod's `vm.kubevirt.io/name`.
#[must_use]
pub fn owner<'p>(pod: &'p Pod<'_>) -> Option<&'p wire::OwnerReference> {
    pod.metadata.owner_references.iter().find(|owner| owner.kind.ends_with("VirtualMachineInstance"))
}

/// What a pod asks of a node.
#[must_use]
pub fn placement<'a>(pod: &Pod<'a>) -> Placement<'a> {
    let required = &pod.spec.affinity.node_affinity.required_during_scheduling_ignored_during_execution;
    Placement {
        selector: pod.spec.node_selector.0.clone(),
        affinity: required.clone().map(launch::node_selector),
        tolerations: pod.spec.tolerations.iter().map(launch::toleration).collect(),
        node_name: pod.spec.node_name.as_ref().map(|name| name.0.clone()),
    }
}

/// A launcher pod of a dump; `None` for any other pod, and for one that is finished.
#[must_use]
pub fn launcher(pod: &Pod<'_>) -> Option<(String, Launcher)> {
    let finished = matches!(pod.status.phase.as_str(), "Succeeded" | "Failed");
    if !is_launcher(&pod.metadata.labels) || finished {
        return None;
    }
    let owner = owner(pod)?;
    let text = |text: &Option<wire::Text<'_>>| text.as_deref().unwrap_or_default().to_owned();
    let mut placement = placement(pod).into_owned();
    placement.node_name = None;
    let launcher = Launcher {
        name: text(&pod.metadata.name),
        namespace: text(&pod.metadata.namespace),
        guest: owner.name.clone(),
        node: text(&pod.spec.node_name),
        created: pod.metadata.creation_timestamp.clone().unwrap_or_default(),
        placement,
    };
    Some((owner.uid.clone(), launcher))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launcher(name: &str, namespace: &str, guest: &str) -> Object {
        let launcher = Launcher {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            guest: guest.to_owned(),
            node: "node-a".to_owned(),
            created: String::new(),
            placement: Placement::default(),
        };
        Object::Launcher(String::new(), launcher)
    }

    fn vmi(namespace: &str, name: &str) -> Object {
        let mut vmi = Vmi::default();
        namespace.clone_into(&mut vmi.metadata.namespace);
        name.clone_into(&mut vmi.metadata.name);
        "node-a".clone_into(&mut vmi.status.node_name);
        Object::Vmi(Box::new(vmi))
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
    fn a_bare_manifest_does_not_hide_what_the_cluster_says_of_itself() {
        let mut observed = KubeVirt::default();
        "v1.5.2".clone_into(&mut observed.status.observed_kubevirt_version);
        "Haswell".clone_into(&mut observed.spec.configuration.cpu_model);
        let objects = [observed, KubeVirt::default()].map(|kubevirt| Object::KubeVirt(Box::new(kubevirt)));
        let cluster = Cluster::new(objects, None);
        assert_eq!(cluster.release.release().to_string(), "v1.5.2", "the rules of another release would be applied");
        assert_eq!(cluster.config.configuration.cpu_model, "Haswell");
    }
}
