//! The guest that brings a launcher to a node, so that libvirt there can be asked.

use crate::fit::command::{Command, Invalid, Json, LabelValue, Name, Namespace};
use crate::fit::fleet::Fleet;
use crate::fit::label;
use crate::fit::libvirt::Accelerator;
use crate::fit::subject::Subject;
use crate::kubevirt::resource::Resource;

/// Returns the commands that start a guest on one node, with any CPU, whatever its taints, wait for it, ask while it
/// runs, and end it. `names_arch`: whether KubeVirt knows `spec.architecture`; a guest that names none gets the
/// cluster's default, which another node may not have (`setDefaultArchitecture` of `pkg/defaults/defaults.go`).
pub(super) fn probe(
    subject: &Subject<'_>,
    node: &str,
    fleet: &Fleet,
    accelerator: Accelerator,
    names_arch: bool,
    is_taken: impl Fn(&str) -> bool,
    ask: Option<Command>,
) -> Result<Vec<Command>, Invalid> {
    let name = free_name(is_taken);
    let host = fleet.find(node).and_then(|node| fleet.label(node, label::HOSTNAME)).unwrap_or(node);
    let text = |text: &'static str| Json::Text(text.into());
    let object = |entries: Vec<(&'static str, Json)>| {
        Json::Object(entries.into_iter().map(|(key, value)| (key.into(), value)).collect())
    };
    // Emulation has no host-passthrough.
    let model = match accelerator {
        Accelerator::Kvm => "host-passthrough",
        Accelerator::Qemu => "host-model",
    };
    let cpu = object(vec![("model", text(model))]);
    let memory = text("128Mi").below(&["requests", "memory"]);
    let domain = object(vec![("cpu", cpu), ("resources", memory), ("devices", Json::Object(Vec::new()))]);
    let selector = Json::Text(LabelValue::new(host)?.into()).below(&[label::HOSTNAME]);
    // A cordon is a taint as well, which a pod that names no node has to tolerate.
    let tolerations = Json::Array(vec![object(vec![("operator", text("Exists"))])]);
    // The cluster's own strategy may be LiveMigrate: a drain would wait for a guest that cannot migrate.
    let strategy = ("evictionStrategy", text("None"));
    let mut spec = vec![("nodeSelector", selector), ("domain", domain), ("tolerations", tolerations), strategy];
    let arch = fleet.find(node).and_then(|node| fleet.label(node, label::ARCH)).filter(|_| names_arch);
    if let Some(arch) = arch {
        spec.push(("architecture", Json::Text(LabelValue::new(arch)?.into())));
    }
    let guest = object(vec![
        ("apiVersion", text("kubevirt.io/v1")),
        ("kind", text(Resource::Vmis.kind())),
        ("metadata", Json::Text(Name::new(&name)?.into()).below(&["name"])),
        ("spec", object(spec)),
    ]);
    let namespace = || Namespace::new(&subject.namespace);
    let ready = Command::kubectl(["wait"]).args(["--for=condition=Ready", "--timeout=2m"]);
    let mut out = vec![
        Command::kubectl(["create"]).namespace(namespace()?).args(["-f", "-"]).fed(guest),
        ready.arg(Name::new(&name)?.of("vmi")).namespace(namespace()?),
    ];
    out.extend(ask);
    out.push(Command::kubectl(["delete", "vmi"]).arg(Name::new(&name)?).namespace(namespace()?));
    Ok(out)
}

/// Returns a name that no guest of the namespace has: the last command deletes the guest of that name.
fn free_name(is_taken: impl Fn(&str) -> bool) -> String {
    let numbered = (2..).map(|number| format!("{PROBE}-{number}"));
    std::iter::once(PROBE.to_owned()).chain(numbered).find(|name| !is_taken(name)).unwrap_or_default()
}

/// The name of the guest that starts a launcher.
const PROBE: &str = "cpufit-probe";
