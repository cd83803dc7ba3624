//! Nodes with KubeVirt's labels: five Intel nodes of three generations, three AMD nodes, an ARM node.

use super::Tweak;
use crate::fit::label;
use crate::fit::node::{Effect, Node, Taint};

/// CPU features of every x86 node of the small fleet.
pub(crate) const COMMON: [&str; 13] =
    ["aes", "avx", "avx2", "bmi1", "bmi2", "erms", "fma", "fpu", "movbe", "rdrand", "smep", "vme", "xsave"];
/// Additional CPU features of the Intel nodes.
pub(crate) const SKYLAKE: [&str; 2] = ["avx512f", "clflushopt"];
/// CPU features of the Cascade Lake nodes and the Ice Lake node that the Skylake node lacks.
pub(crate) const CASCADE_LAKE: [&str; 5] = ["arch-capabilities", "avx512vnni", "ibrs-all", "mds-no", "rdctl-no"];
/// CPU features of the Cascade Lake nodes only.
pub(crate) const TSX: [&str; 2] = ["hle", "rtm"];
/// CPU features of the Ice Lake node only.
pub(crate) const ICE_LAKE: [&str; 2] = ["gfni", "vaes"];
/// Models that libvirt knows on any x86 node, usable or not.
pub(crate) const KNOWN: [&str; 7] = [
    "Skylake-Server-IBRS",
    "Skylake-Server-noTSX-IBRS",
    "Cascadelake-Server",
    "Cascadelake-Server-noTSX",
    "Icelake-Server-noTSX",
    "EPYC",
    "EPYC-Rome",
];

/// Returns `cpu-feature.node.kubevirt.io/NAME`.
pub(crate) fn feature(name: &str) -> String {
    format!("{}{name}", label::CPU_FEATURE)
}

/// Returns `cpu-model.node.kubevirt.io/NAME`.
pub(crate) fn model(name: &str) -> String {
    format!("{}{name}", label::CPU_MODEL)
}

/// Returns `cpu-model-migration.node.kubevirt.io/NAME`.
pub(crate) fn known(name: &str) -> String {
    format!("{}{name}", label::CPU_MODEL_MIGRATION)
}

/// Returns `host-model-required-features.node.kubevirt.io/NAME`.
pub(crate) fn required(name: &str) -> String {
    format!("{}{name}", label::HOST_MODEL_REQUIRED)
}

/// Returns `cpu-vendor.node.kubevirt.io/NAME`.
pub(crate) fn vendor(name: &str) -> String {
    format!("{}{name}", label::CPU_VENDOR)
}

/// Returns `machine-type.node.kubevirt.io/NAME`.
pub(crate) fn machine(name: &str) -> String {
    format!("{}{name}", label::MACHINE_TYPE)
}

/// Returns `scheduling.node.kubevirt.io/tsc-frequency-HZ`.
pub(crate) fn tsc(hz: i64) -> String {
    format!("{}{hz}", label::SCHEDULING_TSC)
}

/// Returns a taint that excludes new pods.
pub(crate) fn taint(key: &str) -> Taint {
    Taint { key: key.to_owned(), value: String::new(), effect: Effect::NoSchedule }
}

/// Returns a node that runs KubeVirt, without CPU labels.
pub(crate) fn node(name: &str) -> Node {
    Node { name: name.to_owned(), ..Node::default() }.tweak(|node| {
        set(node, label::SCHEDULABLE, "true");
        set(node, label::ARCH, "amd64");
        set(node, label::HOSTNAME, name);
        give(node, [machine("q35"), machine("pc-q35-9.2")]);
    })
}

/// Sets a label.
pub(crate) fn set(node: &mut Node, key: &str, value: &str) {
    node.labels.insert(key.to_owned(), value.to_owned());
}

/// Sets labels to `true`.
pub(crate) fn give(node: &mut Node, keys: impl IntoIterator<Item = String>) {
    node.labels.extend(keys.into_iter().map(|key| (key, "true".to_owned())));
}

/// Removes labels.
pub(crate) fn take(node: &mut Node, keys: &[String]) {
    node.labels.retain(|key, _| !keys.contains(key));
}

/// Cordons a node as `kubectl cordon` and the node controller do.
pub(crate) fn cordon(node: &mut Node) {
    node.cordoned = true;
    node.taints.push(taint(label::TAINT_UNSCHEDULABLE));
}

/// Returns a labelled node: its vendor, its host model with the required features, and the usable models.
pub(crate) fn host(name: &str, vendor_name: &str, host_model: &str, features: &[&str], models: &[&str]) -> Node {
    node(name).tweak(|node| {
        give(node, features.iter().flat_map(|name| [feature(name), required(name)]));
        give(node, models.iter().map(|name| model(name)));
        give(node, KNOWN.iter().map(|name| known(name)));
        give(node, [vendor(vendor_name), format!("{}{host_model}", label::HOST_MODEL_CPU)]);
    })
}

/// Returns a Skylake node with TSX disabled.
pub(crate) fn skylake(name: &str) -> Node {
    host(name, "Intel", "Skylake-Server-noTSX-IBRS", &[&COMMON[..], &SKYLAKE].concat(), &["Skylake-Server-noTSX-IBRS"])
}

/// Returns a Cascade Lake node.
pub(crate) fn cascade_lake(name: &str) -> Node {
    let models = ["Skylake-Server-noTSX-IBRS", "Cascadelake-Server-noTSX", "Cascadelake-Server"];
    host(name, "Intel", "Cascadelake-Server", &[&COMMON[..], &SKYLAKE, &CASCADE_LAKE, &TSX].concat(), &models)
}

/// Returns an Ice Lake node without TSX.
pub(crate) fn ice_lake(name: &str) -> Node {
    let models = ["Skylake-Server-noTSX-IBRS", "Cascadelake-Server-noTSX", "Icelake-Server-noTSX"];
    let features = [&COMMON[..], &SKYLAKE, &CASCADE_LAKE, &ICE_LAKE].concat();
    host(name, "Intel", "Icelake-Server-noTSX", &features, &models)
}

/// Returns an AMD node.
pub(crate) fn rome(name: &str) -> Node {
    host(name, "AMD", "EPYC-Rome", &[&COMMON[..], &["svm", "clzero"]].concat(), &["EPYC-Rome", "EPYC"])
}

/// Returns an ARM node: machine type labels and no CPU labels.
pub(crate) fn arm(name: &str) -> Node {
    node(name).tweak(|node| {
        set(node, label::ARCH, "arm64");
        take(node, &[machine("q35"), machine("pc-q35-9.2")]);
        give(node, [machine("virt")]);
    })
}

/// Returns node-a, node-c and node-d (Cascade Lake), node-b (Skylake), node-e (Ice Lake), three AMD nodes and an ARM
/// node.
pub(crate) fn mixed() -> Vec<Node> {
    vec![
        cascade_lake("node-a"),
        skylake("node-b"),
        cascade_lake("node-c"),
        cascade_lake("node-d"),
        ice_lake("node-e"),
        rome("amd-1"),
        rome("amd-2"),
        rome("amd-3"),
        arm("arm-1"),
    ]
}

/// Returns the Intel nodes of the small fleet.
pub(crate) fn intel() -> Vec<Node> {
    mixed().into_iter().take(5).collect()
}

/// Returns one node of a list, to be changed.
pub(crate) fn of<'n>(nodes: &'n mut [Node], name: &str) -> &'n mut Node {
    nodes.iter_mut().find(|node| node.name == name).expect("a node of that name")
}
