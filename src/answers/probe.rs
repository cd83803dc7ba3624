//! The guest that brings a launcher to a node, so that libvirt there can be asked.

use std::collections::{BTreeMap, BTreeSet};

use crate::fit::command::{Command, Invalid, Json, LabelValue, Name, Namespace, Script};
use crate::fit::fleet::NodeIndex;
use crate::fit::label;
use crate::fit::libvirt::{Accelerator, Silence};
use crate::fit::node::Taint;
use crate::fit::placement::Placement;
use crate::fit::plural::fold_names;
use crate::kubevirt::cluster::{Cluster, Launcher};
use crate::kubevirt::devices;
use crate::kubevirt::migration;
use crate::kubevirt::resource::Resource;
use crate::kubevirt::room::{NodeRoomFor, PODS, PodNeed};
use crate::kubevirt::wire::{Vmi, VmiSpec};
use crate::say;

/// The name of the guest that starts a launcher.
const PROBE: &str = "cpufit-probe";
/// The memory that the guest asks for, and its bytes in thousandths: its launcher asks for more.
const MEMORY: (&str, i64) = ("128Mi", (128 << 20) * 1000);

/// Whether a node without an answer could be asked through a launcher that is started there.
pub(crate) fn may_bring(silence: &Silence, node: &str, reachable: &BTreeSet<&str>) -> bool {
    may_be_asked(silence) && !reachable.contains(node)
}

/// Returns the known launchers of running guests, with their guests.
pub(crate) fn launchers(cluster: &Cluster) -> impl Iterator<Item = (&Vmi, &Launcher)> {
    let running = cluster.vmis().filter(|vmi| migration::runs(vmi));
    running.filter_map(|vmi| Some((vmi, cluster.current_launcher(vmi)?)))
}

/// Returns the nodes with such a launcher: their libvirt can be queried.
pub(crate) fn reachable(cluster: &Cluster) -> BTreeSet<&str> {
    launchers(cluster).map(|(_, launcher)| launcher.node.as_str()).collect()
}

/// Whether a node has no answer because nobody asked it as it is now. A dump may hold a launcher on a node that had
/// none when libvirt was asked.
pub(crate) fn may_be_asked(silence: &Silence) -> bool {
    matches!(silence, Silence::NoLauncher | Silence::NotSaved | Silence::OtherMachine { .. } | Silence::NodeAdded)
}

/// A guest that brings a launcher to one node.
pub(crate) struct Probe<'p> {
    /// The cluster.
    pub cluster: &'p Cluster,
    /// The node.
    pub node: NodeIndex,
    /// The accelerator of the guest about which libvirt is asked.
    pub accelerator: Accelerator,
}

impl Probe<'_> {
    /// Returns why the guest does not start on the node now, or brings no answer; `None` if there is no reason.
    pub(crate) fn closed(&self) -> Option<String> {
        let (cluster, fleet) = (self.cluster, &self.cluster.fleet);
        let name = fleet.name(self.node);
        let taints = fleet.look_up(&Placement::default()).refusal(self.node).taints;
        if fleet.not_ready().contains(self.node) || taints.iter().any(Taint::is_of_down_node) {
            return Some("a node that is not ready starts no pod".to_owned());
        }
        if fleet.label(self.node, label::SCHEDULABLE) != Some("true") {
            let why = "its label kubevirt.io/schedulable is not true, so that virt-handler starts no guest there";
            return Some(why.to_owned());
        }
        if fleet.label(self.node, label::HOSTNAME).is_none() {
            return Some("without the label kubernetes.io/hostname nothing selects the node alone".to_owned());
        }
        // Mirrors `getRequiredResources` of `pkg/virt-controller/services/renderresources.go`: an emulated guest's
        // launcher gets no `/dev/kvm`.
        if self.accelerator == Accelerator::Kvm && self.emulates() {
            let why =
                "KubeVirt emulates (developerConfiguration.useEmulation), so that no launcher has the KVM to ask about";
            return Some(why.to_owned());
        }
        let mut lacking = devices::lacking(&specification(), None, cluster).into_iter();
        if let Some(device) = lacking.find(|device| device.without.contains_key(name)) {
            return Some(format!("it offers no {}, which the guest asks for", device.resource));
        }
        let amounts = [("memory".to_owned(), MEMORY.1), (PODS.to_owned(), 1000)].into();
        let need = PodNeed { amounts, ..PodNeed::default() };
        match cluster.room.for_pod(name, &need, None) {
            NodeRoomFor::Short(short) => Some(format!("no room: {}", say::room::too_little(&short))),
            NodeRoomFor::Enough | NodeRoomFor::ByPreemption => None,
        }
    }

    /// Returns what the guest needs on the node.
    pub(crate) fn needs(&self) -> &'static str {
        if self.emulates() { "virt-launcher's image" } else { "virt-launcher's image and the node's KVM" }
    }

    /// Whether the guest would run without KVM.
    fn emulates(&self) -> bool {
        let config = &self.cluster.config;
        if config.is_known {
            config.configuration.developer_configuration.use_emulation
        } else {
            self.accelerator == Accelerator::Qemu
        }
    }

    /// Returns the commands that start the guest in a namespace, with any CPU, whatever the node's taints, wait for it,
    /// ask while it runs, and end it. `is_free`: whether no guest of the namespace has a name.
    pub(crate) fn script(&self, namespace: &str, is_free: impl FnMut(&str) -> bool, ask: Option<Command>) -> Script {
        self.commands(namespace, &free_name(is_free), ask).into()
    }

    fn commands(&self, namespace: &str, name: &str, ask: Option<Command>) -> Result<Vec<Command>, Invalid> {
        let fleet = &self.cluster.fleet;
        let host = fleet.label(self.node, label::HOSTNAME).unwrap_or_else(|| fleet.name(self.node));
        let text = |text: &'static str| Json::Text(text.into());
        let object = |entries: Vec<(&'static str, Json)>| {
            Json::Object(entries.into_iter().map(|(key, value)| (key.into(), value)).collect())
        };
        // Emulation has no host-passthrough.
        let is_emulated = self.emulates() || self.accelerator == Accelerator::Qemu;
        let model = if is_emulated { "host-model" } else { "host-passthrough" };
        let cpu = object(vec![("model", text(model))]);
        let memory = text(MEMORY.0).below(&["requests", "memory"]);
        // Without an interface it asks for no device of networks, and for no address.
        let devices = Json::False.below(&["autoattachPodInterface"]);
        let domain = object(vec![("cpu", cpu), ("resources", memory), ("devices", devices)]);
        let selector = Json::Text(LabelValue::new(host)?.into()).below(&[label::HOSTNAME]);
        // A cordon is a taint as well, which a pod that names no node has to tolerate.
        let tolerations = Json::Array(vec![object(vec![("operator", text("Exists"))])]);
        // The cluster's own strategy may be LiveMigrate: a drain would wait for a guest that cannot migrate.
        let strategy = ("evictionStrategy", text("None"));
        let mut spec = vec![("nodeSelector", selector), ("domain", domain), ("tolerations", tolerations), strategy];
        // A guest that names no architecture gets the cluster's default, which another node may not have
        // (`setDefaultArchitecture` of `pkg/defaults/defaults.go`).
        let names_arch = self.cluster.release.release().selects_arch();
        if let Some(arch) = fleet.label(self.node, label::ARCH).filter(|_| names_arch) {
            spec.push(("architecture", Json::Text(LabelValue::new(arch)?.into())));
        }
        let guest = object(vec![
            ("apiVersion", text("kubevirt.io/v1")),
            ("kind", text(Resource::Vmis.kind())),
            ("metadata", Json::Text(Name::new(name)?.into()).below(&["name"])),
            ("spec", object(spec)),
        ]);
        let namespace = || Namespace::new(namespace);
        let ready = Command::kubectl(["wait"]).args(["--for=condition=Ready", "--timeout=2m"]);
        let mut out = vec![
            Command::kubectl(["create"]).namespace(namespace()?).args(["-f", "-"]).fed(guest),
            ready.arg(Name::new(name)?.of("vmi")).namespace(namespace()?),
        ];
        out.extend(ask);
        out.push(Command::kubectl(["delete", "vmi"]).arg(Name::new(name)?).namespace(namespace()?));
        Ok(out)
    }
}

/// Returns the part of the guest's specification that its launcher's devices follow from.
fn specification() -> VmiSpec {
    let mut out = VmiSpec::default();
    out.domain.devices.autoattach_pod_interface = Some(false);
    out
}

/// Returns a name that no guest of the namespace has: the last command deletes the guest of that name.
fn free_name(mut is_free: impl FnMut(&str) -> bool) -> String {
    let numbered = (2..).map(|number| format!("{PROBE}-{number}"));
    std::iter::once(PROBE.to_owned()).chain(numbered).find(|name| is_free(name)).unwrap_or_default()
}

/// Whether a guest of the cluster has a name.
pub(crate) fn is_taken(cluster: &Cluster, namespace: &str, name: &str) -> bool {
    cluster.vmi(namespace, name).is_some() || cluster.vm(namespace, name).is_some()
}

/// Returns a line for each reason why no launcher can be started on nodes.
pub(crate) fn closed_lines(closed: &BTreeMap<String, Vec<&str>>) -> Vec<String> {
    let line = |(why, nodes): (&String, &Vec<&str>)| {
        let nodes = fold_names(nodes, 6);
        format!("No launcher is known on {nodes}, and none can be started there now: {why}.")
    };
    closed.iter().map(line).collect()
}

/// Returns the line before the commands that ask `first`, one of the nodes without a launcher.
pub(crate) fn offer_line(nodes: &[&str], needs: &str, first: &str) -> String {
    format!(
        "No launcher is known on {}. A guest without disks brings one, with {needs}; while it runs, {first} can be asked:",
        fold_names(nodes, 6)
    )
}
