//! Random guests: their VMs and, for running ones, the VMI, the launcher and later changes.

use serde_json::{Map, Value, json};

use super::further::further;
use super::nodes::{RACK, ZONE};
use super::{NAMES, NAMESPACE};
use crate::fit::label;
use crate::fit::node::Node;
use crate::kubevirt::cluster::{Cluster, ClusterObject};
use crate::kubevirt::launch::Rendered;
use crate::kubevirt::release::Release;
use crate::kubevirt::subject;
use crate::kubevirt::wire::{Vmi, Vmim};
use crate::testing::cluster::{read, vmi};
use crate::testing::fleet::{feature, vendor};
use crate::testing::objects::launcher_pod;
use crate::testing::random::{Random, expression, toleration};

/// A feature that nodes once had: an upgrade leaves such entries in inherited node selectors.
const STALE: &str = "amd-stibp";
pub(super) const MODELS: [&str; 6] = [
    "Skylake-Server-noTSX-IBRS",
    "Cascadelake-Server-noTSX",
    "Icelake-Server-noTSX",
    "EPYC-Rome",
    "EPYC-Turin",
    "Skylake-Server-IBRS",
];
pub(super) const INSTANCETYPES: [&str; 3] = ["d1.large", "cx1.medium", "gone.small"];
pub(super) const PREFERENCES: [&str; 3] = ["windows.11", "fedora", "gone.preference"];

/// Returns the `spec.template.spec` of a VM.
pub(super) fn spec(random: &mut Random) -> Value {
    let mut domain = Map::new();
    let mut cpu = Map::new();
    match random.below(10) {
        0..=2 => {}
        3..=5 => drop(cpu.insert("model".into(), json!("host-model"))),
        6 => drop(cpu.insert("model".into(), json!("host-passthrough"))),
        _ => drop(cpu.insert("model".into(), json!(random.one(&MODELS)))),
    }
    if random.percent(25) {
        let names = ["fpu", "vme", "gfni", "svm", "vmx", "invtsc", "hle", "avx2", "erms"];
        let policies = ["require", "", "optional", "optional", "force", "forbid", "disable"];
        let features = random.some(3, |random| json!({"name": random.one(&names), "policy": random.one(&policies)}));
        cpu.insert("features".into(), json!(features));
    }
    if random.percent(6) {
        cpu.insert("dedicatedCpuPlacement".into(), json!(true));
        if random.percent(50) {
            cpu.insert("realtime".into(), json!({}));
        }
    }
    if !cpu.is_empty() {
        domain.insert("cpu".into(), Value::Object(cpu));
    }
    if random.percent(40) {
        let kind = random.one(&["q35", "q35", "pc-q35-9.2", "pc-q35-4.2", "virt"]);
        domain.insert("machine".into(), json!({"type": kind}));
    }
    if random.percent(12) {
        let names =
            ["vpindex", "synic", "synictimer", "reenlightenment", "frequencies", "ipi", "tlbflush", "evmcs", "vapic"];
        let settings: Map<String, Value> = (0..=random.below(3))
            .map(|_| (random.one(&names).to_owned(), random.one(&["on", "silent", "off"])))
            .map(|(name, is)| (name, if is == "silent" { json!({}) } else { json!({"enabled": is == "on"}) }))
            .collect();
        domain.insert("features".into(), json!({"hyperv": settings}));
    }
    if random.percent(12) {
        let kinds = [json!({"sev": {}}), json!({"sev": {"policy": {"encryptedState": true}}}), json!({"tdx": {}})];
        domain.insert("launchSecurity".into(), kinds[random.below(3)].clone());
        // KubeVirt refuses it without UEFI.
        if further(random, 31).percent(85) {
            domain.insert("firmware".into(), json!({"bootloader": {"efi": {"secureBoot": false}}}));
        }
    }
    let mut spec = json!({"domain": domain, "evictionStrategy": random.one(&["LiveMigrate", "LiveMigrate", "None"])});
    place(random, &mut spec);
    match random.below(10) {
        0..=5 => spec["architecture"] = json!("amd64"),
        6 => spec["architecture"] = json!("arm64"),
        _ => {}
    }
    spec
}

/// Adds placement rules of the owner.
fn place(random: &mut Random, spec: &mut Value) {
    if random.percent(25) {
        let (key, value) = match random.below(6) {
            0 => (ZONE.to_owned(), random.one(&["z1", "z2", "z9"]).to_owned()),
            1 => (label::HOSTNAME.to_owned(), random.one(&NAMES).to_owned()),
            2 => (RACK.to_owned(), random.one(&["1", "r3", ""]).to_owned()),
            3 => (vendor(random.one(&["Intel", "AMD"])), "true".to_owned()),
            4 => (feature(random.one(&["fpu", "gfni", "gfnii"])), "true".to_owned()),
            _ => (label::ARCH.to_owned(), random.one(&["amd64", "arm64"]).to_owned()),
        };
        spec["nodeSelector"] = json!({key: value});
    }
    if random.percent(18) {
        let names: Vec<String> = NAMES.map(str::to_owned).to_vec();
        let terms: Vec<Value> = (0..=random.below(2))
            .map(|_| json!({"matchExpressions": random.some(2, |random| own_expression(random, &names))}))
            .collect();
        spec["affinity"] =
            json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}});
    }
    if random.percent(8) {
        let term = json!({"labelSelector": {"matchLabels": {"app": "ledger"}}, "topologyKey": label::HOSTNAME});
        let kind = random.one(&["podAffinity", "podAntiAffinity"]);
        spec["affinity"][kind] =
            json!({"requiredDuringSchedulingIgnoredDuringExecution": random.some(1, |_| term.clone())});
    }
    if random.percent(6) {
        spec["volumes"] = json!([
            {"name": "root", "dataVolume": {"name": "claim-1"}},
            {"name": "data", "persistentVolumeClaim": {"claimName": random.one(&["claim-2", "claim-9"])}},
            {"name": "init", "cloudInitNoCloud": {"userData": "x"}},
        ]);
        let strict = random.one(&["DoNotSchedule", "ScheduleAnyway"]);
        spec["topologySpreadConstraints"] = json!([{"maxSkew": 1, "topologyKey": ZONE, "whenUnsatisfiable": strict}]);
    }
    if random.percent(18) {
        spec["tolerations"] = json!(random.some(2, toleration));
        match random.below(100) {
            0..40 => spec["tolerations"] = json!([{"key": "example.com/dedicated", "operator": "Exists"}]),
            // Nearly that of a node.
            40..70 => spec["tolerations"] = json!([{"key": "example.com/dedicated", "value": "dbs"}]),
            _ => {}
        }
    }
}

fn own_expression(random: &mut Random, names: &[String]) -> Value {
    match random.below(4) {
        0 => json!({"key": ZONE, "operator": random.one(&["In", "NotIn"]), "values": ["z1"]}),
        1 => json!({"key": RACK, "operator": random.one(&["Gt", "Lt"]), "values": ["2"]}),
        2 => json!({"key": label::HOSTNAME, "operator": random.one(&["In", "NotIn"]), "values": [random.one(&NAMES)]}),
        _ => expression(random, names),
    }
}

/// Returns a VM with this name.
pub(super) fn vm(random: &mut Random, name: &str) -> Value {
    let mut vm = json!({
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine",
        "metadata": {"namespace": NAMESPACE, "name": name, "uid": format!("vm-{name}")},
        "spec": {"template": {"metadata": {"labels": {"app": name}}, "spec": spec(random)}},
    });
    if random.percent(15) {
        vm["spec"]["instancetype"] = json!({"name": random.one(&INSTANCETYPES)});
        if let Some(cpu) = vm["spec"]["template"]["spec"]["domain"]["cpu"].as_object_mut() {
            // KubeVirt refuses a VM that sets a field that its instancetype sets.
            cpu.remove("model");
            cpu.remove("dedicatedCpuPlacement");
        }
    }
    if random.percent(12) {
        vm["spec"]["preference"] = json!({"name": random.one(&PREFERENCES)});
    }
    if random.percent(5) {
        // The VM before virt-api has inferred the preference.
        let policy = random.one(&["Reject", "Ignore"]);
        vm["spec"]["preference"] = json!({"inferFromVolume": "root", "inferFromVolumeFailurePolicy": policy});
        vm["spec"]["template"]["spec"]["volumes"] = json!([{"name": "root", "dataVolume": {"name": "claim-1"}}]);
    }
    vm
}

/// Pins a VM with the second instancetype to an older copy of it, with another CPU model. Returns the copy.
fn pinned(vm: &mut Value, name: &str) -> Option<Value> {
    let of = INSTANCETYPES[1];
    if vm["spec"]["instancetype"]["name"] != of {
        return None;
    }
    let revision = format!("{name}-{of}-1");
    vm["spec"]["instancetype"]["revisionName"] = json!(revision);
    let cpu = json!({"guest": 2, "model": MODELS[MODELS.len() - 1]});
    Some(json!({
        "apiVersion": "apps/v1", "kind": "ControllerRevision",
        "metadata": {"namespace": NAMESPACE, "name": revision}, "revision": 0,
        "data": {
            "apiVersion": "instancetype.kubevirt.io/v1beta1", "kind": "VirtualMachineClusterInstancetype",
            "metadata": {"name": of}, "spec": {"cpu": cpu},
        },
    }))
}

/// Returns the objects of a guest: its VM, its VMI, its launcher pod. `then`: the nodes as they were when it started.
pub(super) fn guest(random: &mut Random, name: &str, then: &[Node], others: &[Value]) -> Vec<Value> {
    let mut vm = vm(random, name);
    let revision = pinned(&mut vm, name);
    let has_vm = random.percent(88);
    let mut out: Vec<Value> = revision.iter().cloned().collect();
    let failing = further(random, 41);
    let alone = |mut vm: Value| {
        fail_to_start(failing, &mut vm);
        revision.iter().cloned().chain([vm]).collect()
    };
    if random.percent(22) || then.is_empty() {
        return alone(vm);
    }
    let others: Vec<Value> = others.iter().chain(&revision).cloned().collect();
    let cluster = cluster(then, &others, &vm);
    let Some(mut vmi) = instance(random, name, &vm, has_vm, &cluster, then) else { return alone(vm) };
    if has_vm {
        out.push(vm);
    }
    if vmi["status"]["nodeName"].is_string() || random.percent(20) {
        out.extend(launcher(random, &vmi, &cluster));
    }
    if vmi["status"]["phase"] == "Running" {
        if random.percent(12) {
            let moving = in_flight(random, &vmi, &out, &cluster);
            out.extend(moving);
        }
        if random.percent(10) {
            hot_plug(random, &mut vmi, &mut out);
        }
    }
    out.push(vmi);
    out
}

/// Returns an active migration: its object, and its target pod, with or without a node.
fn in_flight(random: &mut Random, vmi_json: &Value, known: &[Value], cluster: &Cluster) -> Vec<Value> {
    let guest: Vmi = read(vmi_json.clone());
    let name = &guest.metadata.name;
    let uid = format!("job-of-{name}");
    let mut vmim = json!({
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstanceMigration",
        "metadata": {"namespace": NAMESPACE, "name": format!("evacuate-{name}"), "uid": uid},
        "spec": {"vmiName": name}, "status": {"phase": random.one(&["Pending", "Scheduling", "TargetReady", "Running"])},
    });
    if vmim["status"]["phase"] == "Pending" {
        let status = if further(random, 43).percent(50) { "True" } else { "False" };
        vmim["status"]["conditions"] = json!([{"type": "migrationRejectedByResourceQuota", "status": status}]);
    }
    let nodes = (0..cluster.fleet.len()).map(|at| ClusterObject::Node(cluster.fleet.node(at)));
    let objects = known.iter().filter_map(super::object).chain([vmi(vmi_json.clone())]);
    let before = Cluster::new(nodes.chain(objects), Some(Release::NEWEST));
    let migration: Vmim = read(vmim.clone());
    let Some(rendered) = subject::of_migration(&migration, &before).predicted else { return vec![vmim] };
    let mut target = pod(&guest, &rendered, "moving");
    target["metadata"]["creationTimestamp"] = json!("2026-01-02T00:00:00Z");
    target["metadata"]["labels"]["kubevirt.io/migrationJobUID"] = json!(uid);
    target["metadata"]["annotations"] = json!({"kubevirt.io/migrationJobName": vmim["metadata"]["name"]});
    target["spec"]["nodeName"] = if random.percent(60) { Value::Null } else { json!(random.one(&NAMES)) };
    target["status"]["phase"] = json!("Pending");
    vec![vmim, target]
}

/// Changes the placement rules in the VM, as the owner, and in the VMI, as KubeVirt does; the launcher is older.
fn hot_plug(random: &mut Random, vmi: &mut Value, others: &mut [Value]) {
    let mut places = json!({});
    place(random, &mut places);
    let vm = others.iter_mut().find(|object| object["kind"] == "VirtualMachine");
    let specs = vm.map(|vm| &mut vm["spec"]["template"]["spec"]).into_iter().chain([&mut vmi["spec"]]);
    for spec in specs.filter_map(Value::as_object_mut) {
        for field in ["affinity", "nodeSelector"] {
            spec.remove(field);
            spec.extend(places.get(field).map(|value| (field.to_owned(), value.clone())));
        }
    }
    // Another change of the VM waits for a restart.
    let vm = others.iter_mut().find(|object| object["kind"] == "VirtualMachine");
    if let Some(vm) = vm.filter(|_| random.percent(40)) {
        vm["status"] = json!({"conditions": [{"type": "RestartRequired", "status": "True"}]});
        if random.percent(50) {
            vm["spec"]["template"]["spec"].as_object_mut().and_then(|spec| spec.remove("nodeSelector"));
        }
    }
}

fn cluster(then: &[Node], others: &[Value], vm: &Value) -> Cluster {
    let objects = others.iter().chain([vm]).filter_map(super::object);
    Cluster::new(then.iter().cloned().map(ClusterObject::Node).chain(objects), None)
}

/// Returns the VMI of a VM.
fn instance(
    random: &mut Random,
    name: &str,
    vm: &Value,
    has_vm: bool,
    cluster: &Cluster,
    then: &[Node],
) -> Option<Value> {
    let guest = crate::kubevirt::guest::guest_of(&read(vm.clone()), cluster);
    if guest.missing.is_some() {
        return None;
    }
    let mut spec = guest.spec;
    crate::kubevirt::defaults::apply(&mut spec, &cluster.config);
    let mut sent = vm["spec"]["template"]["spec"].clone();
    // The state after KubeVirt's own webhooks.
    sent["architecture"] = json!(spec.architecture);
    let cpu = spec.domain.cpu.unwrap_or_default();
    sent["domain"]["cpu"]["model"] = json!(cpu.model);
    sent["domain"]["cpu"]["features"] =
        json!(cpu.features.iter().map(|f| json!({"name": f.name, "policy": f.policy})).collect::<Vec<_>>());
    sent["domain"]["machine"] = json!({"type": spec.domain.machine.map(|machine| machine.kind)});
    let phase = random.one(
        &["Running"; 8]
            .iter()
            .chain(&["", "Pending", "Scheduling", "Succeeded", "Failed"])
            .copied()
            .collect::<Vec<_>>(),
    );
    let mut vmi = json!({
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance",
        "metadata": {"namespace": NAMESPACE, "name": name, "uid": format!("uid-{name}"), "labels": {"app": name}},
        "spec": sent, "status": {"phase": phase},
    });
    if has_vm {
        vmi["metadata"]["ownerReferences"] =
            json!([{"kind": "VirtualMachine", "name": name, "uid": format!("vm-{name}"), "controller": true}]);
    }
    if !matches!(phase, "Running" | "Succeeded" | "Failed") {
        wait(further(random, 42), &mut vmi, then);
    }
    if phase == "Running" {
        let node = &then[random.below(then.len())].name;
        vmi["status"]["nodeName"] = json!(node);
        if random.percent(97) {
            vmi["status"]["selinuxContext"] = json!("none");
        }
        history(random, &mut vmi);
    }
    Some(vmi)
}

/// Adds KubeVirt's report about a VM without a VMI.
fn fail_to_start(mut random: Random, vm: &mut Value) {
    let failure = random.below(6);
    if failure < 2 {
        vm["spec"]["runStrategy"] = json!(random.one(&["Always", "Always", "Halted"]));
    }
    match failure {
        0 => {
            let message = "admission webhook \"guests.example.com\" denied the request";
            let failure = json!({"type": "Failure", "status": "True", "reason": "FailedCreate", "message": message});
            vm["status"] = json!({"printableStatus": "Starting", "conditions": [failure]});
        }
        1 => vm["status"] = json!({"startFailure": {"consecutiveFailCount": random.one(&[1, 7])}}),
        _ => {}
    }
}

/// Adds KubeVirt's report about a guest that waits to start, on its node if it has one.
fn wait(mut random: Random, vmi: &mut Value, then: &[Node]) {
    if random.percent(40) {
        return;
    }
    let (kind, status, reason, message) = random.one(&[
        ("Synchronized", "False", "Synchronizing with the Domain failed.", "server error. command SyncVMI failed: \"LibvirtError(Code=91, Domain=31, Message='the CPU is incompatible with host CPU: Host CPU does not provide required features: erms, vaes')\""),
        ("Synchronized", "False", "FailedCreate", "pods \"virt-launcher-x\" is forbidden: exceeded quota: small"),
        ("Synchronized", "False", "", "an error"),
        ("Synchronized", "True", "", ""),
        ("PodScheduled", "False", "Unschedulable", "0/3 nodes are available: 3 Insufficient memory."),
    ]);
    vmi["status"]["conditions"] = json!([{"type": kind, "status": status, "reason": reason, "message": message}]);
    if vmi["status"]["phase"] == "Scheduling" && reason.starts_with("Synchronizing") && random.percent(60) {
        vmi["status"]["phase"] = json!("Scheduled");
        vmi["status"]["nodeName"] = json!(then[random.below(then.len())].name);
    }
}

/// Adds later changes of a running guest.
fn history(random: &mut Random, vmi: &mut Value) {
    if random.percent(10) {
        vmi["metadata"]["labels"]["kubevirt.io/outdatedLauncherImage"] = json!("");
    }
    if random.percent(25) {
        let said = random.one(&[
            "operation failed: guest CPU doesn't match specification: extra features: ht",
            "operation failed: guest CPU doesn't match specification: missing features: erms,vaes; extra features: rtm",
            "Live migration failed: timed out",
        ]);
        vmi["status"]["migrationState"] = json!({"failed": true, "failureReason": said, "targetNode": random.one(&NAMES), "sourceNode": vmi["status"]["nodeName"]});
    }
    if random.percent(10) {
        const REFUSED: (&str, &str) = ("LiveMigratable", "False");
        let ((kind, status), reason, message) = random.one(&[
            (REFUSED, "DisksNotLiveMigratable", "cannot migrate VMI: PVC web-disk is not shared"),
            (REFUSED, "HostDeviceNotLiveMigratable", "VMI uses a PCI host device"),
            (REFUSED, "CPUModeLiveMigratable", "cannot migrate VMI: missing host-model-cpu label"),
            (REFUSED, "", "for some reason"),
            (REFUSED, "SomeReason", ""),
            (REFUSED, "", ""),
            (("HotVCPUChange", "True"), "", ""),
            (("VolumesChange", "True"), "", ""),
        ]);
        vmi["status"]["conditions"] = json!([{"type": kind, "status": status, "reason": reason, "message": message}]);
    }
}

/// Returns the pod it runs in, or will run in, possibly with inherited entries.
fn launcher(random: &mut Random, vmi_json: &Value, cluster: &Cluster) -> Option<Value> {
    let guest: Vmi = read(vmi_json.clone());
    let mut rendered = subject::of_vmi(&guest, cluster).predicted?;
    if random.percent(5) {
        return None;
    }
    if random.percent(40) && guest.status.phase == "Running" {
        rendered = migrated(&guest, vmi_json, &rendered, cluster).unwrap_or(rendered);
        if random.percent(35) {
            rendered.node_selector.insert(feature(STALE), "true".to_owned());
        }
    }
    // Its VM or the configuration may have changed since the pod was created.
    let waits = !matches!(guest.status.phase.as_str(), "Running" | "Succeeded" | "Failed");
    if waits && random.percent(40) {
        let (key, value) = (ZONE.to_owned(), random.one(&["z1", "z2", "z9"]).to_owned());
        rendered.node_selector.insert(key, value);
    }
    let mut out = pod(&guest, &rendered, "abcde");
    // A plugin adds tolerations to pods.
    if further(random, 11).percent(4) {
        out["spec"]["tolerations"] = json!([{"key": "example.com/dedicated", "operator": "Exists"}]);
    }
    Some(out)
}

/// Returns the pod of the guest after its first migration, away from a node like its current one.
fn migrated(guest: &Vmi, vmi_json: &Value, first: &Rendered, cluster: &Cluster) -> Option<Rendered> {
    let pod = pod(guest, first, "first");
    let nodes = (0..cluster.fleet.len()).map(|at| ClusterObject::Node(cluster.fleet.node(at)));
    let objects = [vmi(vmi_json.clone()), super::object(&pod)?];
    let before = Cluster::new(nodes.chain(objects), Some(Release::NEWEST));
    let mut vmim = Vmim::default();
    vmim.metadata.namespace = NAMESPACE.to_owned();
    vmim.spec.vmi_name.clone_from(&guest.metadata.name);
    subject::of_migration(&vmim, &before).predicted
}

/// Returns a launcher pod of a guest.
pub(super) fn pod(guest: &Vmi, rendered: &Rendered, suffix: &str) -> Value {
    let (name, node) = (&guest.metadata.name, &guest.status.node_name);
    let vmi = json!({
        "metadata": {"name": name, "namespace": NAMESPACE, "uid": guest.metadata.uid},
        "status": {"nodeName": (!node.is_empty()).then_some(node)},
    });
    let mut out = launcher_pod(&vmi, suffix, &json!(rendered.node_selector));
    out["metadata"]["labels"]["app"] = json!(name);
    out["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
    out["spec"]["tolerations"] = json!(rendered.tolerations);
    out["spec"]["affinity"] = rendered.affinity.clone().unwrap_or(json!({}));
    out["status"] = json!({"phase": "Running"});
    out
}
