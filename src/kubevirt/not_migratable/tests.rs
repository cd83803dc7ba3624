//! The reasons, release by release.

use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::fit::node::Node;
use crate::kubevirt::cluster::ClusterObject;
use crate::kubevirt::replicas::{Replicas, ReplicasKind};
use crate::kubevirt::subject::{Prepared, of_vm};
use crate::kubevirt::wire::Pool;
use crate::testing::Tweak as _;
use crate::testing::cluster::{cluster, read, vm, vm_pool};

const VGPU_MIGRATION: &str = FeatureGate::VgpuLiveMigration.as_str();

fn claim(name: &str, modes: &Value) -> ClusterObject {
    let claim = json!({"metadata": {"namespace": "shop", "name": name}, "spec": {"accessModes": modes}});
    ClusterObject::Claim(read(claim))
}

fn world(release: &str, gates: &Value) -> Cluster {
    let configuration = json!({
        "developerConfiguration": {"featureGates": gates},
        "permittedHostDevices": {"mediatedDevices": [{"resourceName": "x/vgpu"}]},
        "network": {"binding": {"moves": {"migration": {}}, "stays": {}}},
    });
    let kubevirt = json!({"metadata": {"name": "kubevirt"}, "spec": {"configuration": configuration}});
    let claims = [claim("shared", &json!(["ReadWriteOnce", "ReadWriteMany"])), claim("own", &json!(["ReadWriteOnce"]))];
    let reduced = claim("reduced", &json!(null));
    let objects = claims.into_iter().chain([reduced, ClusterObject::KubeVirt(Box::new(read(kubevirt)))]);
    cluster(release, Vec::new(), objects)
}

/// Returns a guest of the namespace `shop` that waits for a node.
fn stored(spec: &Value) -> Vmi {
    read(json!({"metadata": {"namespace": "shop"}, "spec": spec, "status": {"phase": "Scheduling"}}))
}

fn devices(devices: &Value) -> Value {
    json!({"architecture": "amd64", "domain": {"devices": devices}})
}

fn secured(architecture: &str, security: &Value) -> Value {
    json!({"architecture": architecture, "domain": {"firmware": {"bootloader": {"efi": {"secureBoot": false}}}, "launchSecurity": security}})
}

fn volumes(volumes: &Value) -> Value {
    json!({"architecture": "amd64", "domain": {}, "volumes": volumes})
}

const HOST_DEVICE: &str = "HostDeviceNotLiveMigratable";
const DISKS: &str = "DisksNotLiveMigratable";

#[rstest]
#[case::nothing("1.9.0", json!([]), json!({"architecture": "amd64", "domain": {}}), None)]
#[case::a_host_device("1.9.0", json!([]), devices(&json!({"hostDevices": [{"deviceName": "x"}]})), Some(HOST_DEVICE))]
#[case::and_before("1.3.1", json!([]), devices(&json!({"hostDevices": [{}]})), Some(HOST_DEVICE))]
#[case::one_gpu("1.9.0", json!([]), devices(&json!({"gpus": [{}]})), Some(HOST_DEVICE))]
#[case::one_vgpu_with_the_gate("1.9.0", json!([VGPU_MIGRATION]), devices(&json!({"gpus": [{"deviceName": "x/vgpu"}]})), None)]
#[case::one_gpu_with_the_gate("1.9.0", json!([VGPU_MIGRATION]), devices(&json!({"gpus": [{"deviceName": "x/gpu"}]})), Some(HOST_DEVICE))]
#[case::the_gate_before_1_9("1.8.4", json!([VGPU_MIGRATION]), devices(&json!({"gpus": [{}]})), Some(HOST_DEVICE))]
#[case::two_gpus_with_the_gate("1.9.0", json!([VGPU_MIGRATION]), devices(&json!({"gpus": [{}, {}]})), Some(HOST_DEVICE))]
#[case::no_devices("1.9.0", json!([]), devices(&json!({"gpus": [], "hostDevices": null})), None)]
#[case::sev("1.0.0", json!([]), secured("amd64", &json!({"sev": {}})), Some("SEVNotLiveMigratable"))]
#[case::snp("1.7.0", json!([]), secured("amd64", &json!({"snp": {}})), Some("SEVNotLiveMigratable"))]
#[case::snp_is_not_known("1.6.0", json!([]), secured("amd64", &json!({"snp": {}})), None)]
#[case::tdx("1.7.0", json!([]), secured("amd64", &json!({"tdx": {}})), Some("TDXNotLiveMigratable"))]
#[case::secure_execution("1.6.0", json!([]), secured("s390x", &json!({})), Some("SecureExecutionNotLiveMigratable"))]
#[case::on_x86_it_is_none("1.6.0", json!([]), secured("amd64", &json!({})), None)]
#[case::before_1_6("1.5.3", json!([]), secured("s390x", &json!({})), None)]
#[case::hyperv_passthrough("1.3.0", json!([]),
    json!({"domain": {"features": {"hypervPassthrough": {"enabled": true}}}}), Some("HypervPassthroughNotLiveMigratable"))]
#[case::switched_off("1.9.0", json!([]), json!({"domain": {"features": {"hypervPassthrough": {"enabled": false}}}}), None)]
#[case::before_1_3("1.2.0", json!([]), json!({"domain": {"features": {"hypervPassthrough": {"enabled": true}}}}), None)]
#[case::a_claim_of_its_own("1.9.0", json!([]),
    volumes(&json!([{"name": "a", "persistentVolumeClaim": {"claimName": "own"}}])), Some(DISKS))]
#[case::of_a_data_volume("1.9.0", json!([]), volumes(&json!([{"name": "a", "dataVolume": {"name": "own"}}])), Some(DISKS))]
#[case::shared("1.9.0", json!([]), volumes(&json!([{"name": "a", "dataVolume": {"name": "shared"}}])), None)]
#[case::not_known("1.9.0", json!([]), volumes(&json!([{"name": "a", "dataVolume": {"name": "none"}}])), None)]
#[case::of_a_reduced_dump("1.9.0", json!([]), volumes(&json!([{"name": "a", "dataVolume": {"name": "reduced"}}])), None)]
#[case::ephemeral("1.9.0", json!([]),
    volumes(&json!([{"name": "a", "ephemeral": {"persistentVolumeClaim": {"claimName": "own"}}}])), None)]
#[case::a_file("1.9.0", json!([]), volumes(&json!([{"name": "a", "hostDisk": {"path": "/d", "type": "Disk"}}])), Some(DISKS))]
#[case::a_shared_file("1.9.0", json!([]), volumes(&json!([{"name": "a", "hostDisk": {"shared": true}}])), None)]
fn the_reason_of_virt_handler(
    #[case] release: &str,
    #[case] gates: Value,
    #[case] spec: Value,
    #[case] expected: Option<&str>,
) {
    let found = Foresight::of_vmi(&stored(&spec)).reason(&world(release, &gates));
    let reason = found.as_ref().map(|found| found.refused.reason.as_str());
    assert_eq!(reason, expected, "a person counts on a migration that KubeVirt refuses, or gives one up in vain");
}

/// virt-handler reports one reason only: up to 1.5 that of the volumes first, since then last.
#[rstest]
#[case("1.5.3", DISKS)]
#[case("1.6.0", HOST_DEVICE)]
fn the_first_reason_is_said(#[case] release: &str, #[case] expected: &str) {
    let mut spec = volumes(&json!([{"name": "a", "dataVolume": {"name": "own"}}]));
    spec["domain"] = json!({"devices": {"gpus": [{}]}, "firmware": {"bootloader": {"efi": {"secureBoot": false}}}, "launchSecurity": {"sev": {}}});
    let found = Foresight::of_vmi(&stored(&spec)).reason(&world(release, &json!([])));
    assert_eq!(found.map(|found| found.refused.reason).as_deref(), Some(expected));
}

const INTERFACE_STAYS: Option<&str> = Some(INTERFACE);
const RESERVATION: &str = "PersistentReservationNotLiveMigratable";
const VIRTIOFS: &str = "VirtIOFSNotLiveMigratable";

/// One release of each minor version, 1.1 to 1.9.
const RELEASES: [&str; 9] = ["1.1.0", "1.2.0", "1.3.0", "1.4.0", "1.5.0", "1.6.0", "1.7.0", "1.8.0", "1.9.0"];

/// Returns a guest with this interface on the pod network, and another one that never counts.
fn on_pod_network(interface: &Value) -> Value {
    let mut own = interface.clone();
    own["name"] = json!("default");
    let networks = json!([{"name": "other", "multus": {"networkName": "x"}}, {"name": "default", "pod": {}}]);
    let interfaces = json!([{"name": "other", "sriov": {}}, own]);
    json!({"architecture": "amd64", "domain": {"devices": {"interfaces": interfaces}}, "networks": networks})
}

/// `from` and `to`: the first and the last minor version in which KubeVirt does not migrate the guest; 0 for none.
#[rstest]
#[case::masquerade(on_pod_network(&json!({"masquerade": {}})), INTERFACE, 0, 0)]
#[case::bridge(on_pod_network(&json!({"bridge": {}})), INTERFACE, 1, 9)]
#[case::slirp(on_pod_network(&json!({"slirp": {}})), INTERFACE, 1, 9)]
#[case::macvtap(on_pod_network(&json!({"macvtap": {}})), INTERFACE, 1, 9)]
#[case::passt(on_pod_network(&json!({"passt": {}})), INTERFACE, 1, 9)]
#[case::passt_core(on_pod_network(&json!({"passtBinding": {}})), INTERFACE, 1, 7)]
#[case::plugin_that_moves(on_pod_network(&json!({"binding": {"name": "moves"}})), INTERFACE, 1, 1)]
#[case::plugin_that_stays(on_pod_network(&json!({"binding": {"name": "stays"}})), INTERFACE, 1, 9)]
#[case::plugin_that_is_not_known(on_pod_network(&json!({"binding": {"name": "none"}})), INTERFACE, 1, 1)]
#[case::no_binding(on_pod_network(&json!({"model": "e1000"})), INTERFACE, 0, 0)]
#[case::no_interface_on_it(json!({"domain": {"devices": {"interfaces": [{"name": "a", "bridge": {}}]}},
    "networks": [{"name": "default", "pod": {}}]}), INTERFACE, 8, 9)]
#[case::no_pod_network(json!({"domain": {"devices": {"interfaces": [{"name": "a", "bridge": {}}]}},
    "networks": [{"name": "a", "multus": {"networkName": "x"}}]}), INTERFACE, 0, 0)]
#[case::sriov_and_no_pod_network(json!({"domain": {"devices": {"interfaces": [{"name": "a", "sriov": {}}]}},
    "networks": [{"name": "a", "multus": {"networkName": "x", "default": true}}]}), INTERFACE, 0, 0)]
#[case::stored_without_networks(json!({"domain": {}}), INTERFACE, 0, 0)]
#[case::virtiofs(devices(&json!({"filesystems": [{"name": "a", "virtiofs": {}}]})), VIRTIOFS, 1, 4)]
#[case::reservation(devices(&json!({"disks": [{"name": "a", "lun": {"reservation": true}}]})), RESERVATION, 1, 8)]
#[case::lun(devices(&json!({"disks": [{"name": "a", "lun": {}}, {"name": "b", "disk": {}}]})), RESERVATION, 0, 0)]
#[case::hyperv_passthrough(json!({"domain": {"features": {"hypervPassthrough": {"enabled": true}}}}),
    "HypervPassthroughNotLiveMigratable", 3, 9)]
#[case::tdx(secured("amd64", &json!({"tdx": {}})), "TDXNotLiveMigratable", 7, 9)]
#[case::sev(secured("amd64", &json!({"sev": {}})), "SEVNotLiveMigratable", 1, 9)]
#[case::secure_execution(secured("s390x", &json!({})), "SecureExecutionNotLiveMigratable", 6, 9)]
fn each_reason_holds_in_its_releases(
    #[case] spec: Value,
    #[case] reason: &str,
    #[case] from: usize,
    #[case] to: usize,
) {
    for (at, release) in RELEASES.into_iter().enumerate() {
        let found = Foresight::of_vmi(&stored(&spec)).reason(&world(release, &json!([])));
        let found = found.as_ref().map(|found| found.refused.reason.as_str());
        let expected = (from..=to).contains(&(at + 1)).then_some(reason);
        assert_eq!(found, expected, "{release}: a guest that migrates is given up, or one that does not is counted on");
    }
}

/// Returns the reason that is foreseen for a VM of the namespace `shop` with this guest, and with the preference
/// `linux` if that exists.
fn of_template(world: &Cluster, metadata: &Value, guest: &Value, templates: &Value) -> Option<String> {
    let template = json!({"metadata": metadata, "spec": guest});
    let mut spec = json!({"template": template, "dataVolumeTemplates": templates});
    if world.preference("", "linux").is_some() {
        spec["preference"] = json!({"name": "linux"});
    }
    let vm = json!({"metadata": {"namespace": "shop", "name": "web"}, "spec": spec});
    let prepared = of_vm(&read(vm), world);
    prepared.subject.live_migratable.foreseen.map(|found| found.refused.reason)
}

fn configured(network: &Value, preference: Option<Value>) -> Cluster {
    let kubevirt = json!({"metadata": {"name": "kubevirt"}, "spec": {"configuration": {"network": network}}});
    let kubevirt = ClusterObject::KubeVirt(Box::new(read(kubevirt)));
    let preference = preference.map(|spec| {
        let preference = json!({"metadata": {"name": "linux"}, "spec": spec});
        ClusterObject::Preference(read(preference))
    });
    cluster("1.9.0", Vec::new(), [Some(kubevirt), preference].into_iter().flatten())
}

const ALLOWED: &str = "kubevirt.io/allow-pod-bridge-network-live-migration";

#[rstest]
#[case::masquerade_is_preferred(json!({}), Some(json!({"devices": {"preferredInterfaceMasquerade": {}}})), json!({}),
    on_pod_network(&json!({})), None)]
#[case::but_not_over_a_binding(json!({}), Some(json!({"devices": {"preferredInterfaceMasquerade": {}}})), json!({}),
    on_pod_network(&json!({"bridge": {}})), INTERFACE_STAYS)]
#[case::annotated(json!({}), None, json!({"annotations": {ALLOWED: ""}}), on_pod_network(&json!({"bridge": {}})), None)]
#[case::annotated_by_its_preference(json!({}), Some(json!({"annotations": {ALLOWED: "true"}})), json!({}),
    on_pod_network(&json!({"bridge": {}})), None)]
#[case::another_binding_is_not_annotated(json!({"binding": {"stays": {}}}), None, json!({"annotations": {ALLOWED: ""}}),
    on_pod_network(&json!({"binding": {"name": "stays"}})), INTERFACE_STAYS)]
fn a_vm_gets_its_network_before_it_starts(
    #[case] network: Value,
    #[case] preference: Option<Value>,
    #[case] metadata: Value,
    #[case] guest: Value,
    #[case] expected: Option<&str>,
) {
    let found = of_template(&configured(&network, preference), &metadata, &guest, &json!([]));
    assert_eq!(found.as_deref(), expected, "a person counts on a migration that KubeVirt refuses, or gives one up");
}

#[test]
fn no_network_is_assumed_where_it_is_optional() {
    let known = configured(&json!({}), None);
    assert_eq!(of_template(&known, &json!({}), &json!({"domain": {}}), &json!([])), None, "a dump may lack networks");
    let unknown = cluster("1.9.0", Vec::new(), []);
    let guest = on_pod_network(&json!({"binding": {"name": "any"}}));
    assert_eq!(of_template(&unknown, &json!({}), &guest, &json!([])), None, "the configuration is not known");
}

#[rstest]
#[case::of_one_node(json!({"storage": {"accessModes": ["ReadWriteOnce"]}}), Some(DISKS))]
#[case::shared(json!({"storage": {"accessModes": ["ReadWriteMany"]}}), None)]
#[case::as_the_storage_class_says(json!({"storage": {}}), None)]
#[case::a_claim(json!({"pvc": {"accessModes": ["ReadWriteOnce"]}}), Some(DISKS))]
fn a_claim_that_a_template_asks_for_is_read(#[case] spec: Value, #[case] expected: Option<&str>) {
    let guest = volumes(&json!([{"name": "a", "dataVolume": {"name": "root"}}]));
    let templates = json!([{"metadata": {"name": "root"}, "spec": spec}]);
    let found = of_template(&configured(&json!({}), None), &json!({}), &guest, &templates);
    assert_eq!(found.as_deref(), expected, "a person counts on a migration that KubeVirt refuses, or gives one up");
}

#[rstest]
#[case::no_frequency(&["hyperv.node.kubevirt.io/reenlightenment"], Some("NoTSCFrequencyNotLiveMigratable"))]
#[case::one(&["hyperv.node.kubevirt.io/reenlightenment", "cpu-timer.node.kubevirt.io/tsc-frequency"], None)]
#[case::labels_left_out(&["cpu-feature.node.kubevirt.io/vmx"], None)]
fn a_windows_guest_needs_a_frequency(#[case] keys: &[&str], #[case] expected: Option<&str>) {
    let value = |key: &str| if key.ends_with("frequency") { "2100000000" } else { "true" };
    let mut labels: Vec<(String, String)> = keys.iter().map(|key| ((*key).to_owned(), value(key).to_owned())).collect();
    labels.push(("kubevirt.io/schedulable".to_owned(), "true".to_owned()));
    let labels = labels.into_iter().collect();
    let node = Node { name: "a".to_owned(), labels, ..Node::default() };
    let world = cluster("1.9.0", vec![node], []);
    let guest = json!({"architecture": "amd64", "domain": {"features": {"hyperv": {"reenlightenment": {}}}}});
    assert_eq!(of_template(&world, &json!({}), &guest, &json!([])).as_deref(), expected, "{keys:?}");
}

/// A VM, or a pool of them, lacks the field that its instancetype or preference sets.
#[rstest]
#[case::devices(json!({"devices": {"hostDevices": [{"name": "a", "deviceName": "x/y"}]}}), json!({}), json!({}), "spec.template.spec.domain.devices.hostDevices")]
#[case::devices_of_the_type(json!({}), json!({"hostDevices": [{"name": "a", "deviceName": "x/y"}]}), json!({}), "spec.instancetype")]
#[case::gpus_of_the_type(json!({}), json!({"gpus": [{"name": "a", "deviceName": "x/y"}, {"name": "b", "deviceName": "x/y"}]}), json!({}), "spec.instancetype")]
#[case::encryption(json!({"launchSecurity": {"sev": {}}}), json!({}), json!({}), "spec.template.spec.domain.launchSecurity")]
#[case::encryption_of_the_type(json!({}), json!({"launchSecurity": {"sev": {}}}), json!({}), "spec.instancetype")]
#[case::encryption_of_the_preference(json!({}), json!({}), json!({"preferredLaunchSecurity": {"sev": {}}}), "spec.preference")]
#[case::frequency(json!({"features": {"hyperv": {"reenlightenment": {}}}}), json!({}), json!({}), "spec.template.spec.domain.features.hyperv.reenlightenment")]
#[case::frequency_of_the_preference(json!({}), json!({}), json!({"features": {"preferredHyperv": {"reenlightenment": {}}}}), "spec.preference")]
fn the_field_is_one_that_the_object_has(
    #[case] domain: Value,
    #[case] instancetype: Value,
    #[case] preference: Value,
    #[case] expected: &str,
) {
    let labels = [("kubevirt.io/schedulable", "true"), ("hyperv.node.kubevirt.io/reenlightenment", "true")];
    let labels = labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    let node = Node { name: "a".to_owned(), labels, ..Node::default() };
    let named = |spec: Value| json!({"metadata": {"name": "big"}, "spec": spec});
    let known = cluster(
        "1.9.0",
        vec![node],
        [ClusterObject::Instancetype(read(named(instancetype))), ClusterObject::Preference(read(named(preference)))],
    );
    let of = |kind: &str| json!({"kind": kind, "name": "big"});
    let vm = vm("db", "").tweak(|vm| {
        vm["spec"]["template"]["spec"] = json!({"architecture": "amd64", "domain": domain});
        vm["spec"]["instancetype"] = of("VirtualMachineClusterInstancetype");
        vm["spec"]["preference"] = of("VirtualMachineClusterPreference");
    });
    let field = |prepared: Prepared<'_>| prepared.subject.live_migratable.foreseen.map(|foreseen| foreseen.field);
    let of_pool = field(Replicas::from(read::<Pool>(vm_pool(&vm))).prepared(&known));
    assert_eq!(
        field(of_vm(&read(vm), &known)).as_deref(),
        Some(expected),
        "a person is sent to a field that is not there"
    );
    assert_eq!(of_pool, Some(ReplicasKind::Pool.field(expected)), "a person is sent to a field that is not there");
}

/// A guest that does not migrate for its volumes does not after a restart with the same ones.
#[rstest]
#[case::the_same(&["own"], "False", DISKS, Some(DISKS))]
#[case::one_more(&["own", "more"], "False", DISKS, Some(DISKS))]
#[case::another(&["other"], "False", DISKS, None)]
#[case::migratable(&["own"], "True", "", None)]
#[case::for_another_reason(&["own"], "False", "CPUModeLiveMigratable", None)]
fn the_reason_of_a_running_guest_stays_with_its_volumes(
    #[case] claims: &[&str],
    #[case] status: &str,
    #[case] reason: &str,
    #[case] expected: Option<&str>,
) {
    let of = |claims: &[&str]| -> Value {
        claims.iter().map(|claim| json!({"name": claim, "persistentVolumeClaim": {"claimName": claim}})).collect()
    };
    let vmi = json!({
        "metadata": {"namespace": "shop", "name": "db"},
        "spec": {"volumes": of(&["own"])},
        "status": {"conditions": [{"type": "LiveMigratable", "status": status, "reason": reason}]},
    });
    let next: Vmi = read(json!({"metadata": {"namespace": "shop", "name": "db"}, "spec": {"volumes": of(claims)}}));
    let running = || ClusterObject::Vmi(Box::new(read(vmi.clone())));
    let reason = |known: &Cluster| Foresight::of_vmi(&next).reason(known).map(|found| found.refused.reason);
    assert_eq!(reason(&cluster("1.9.0", Vec::new(), [running()])).as_deref(), expected);
    let shared = claim("own", &json!(["ReadWriteMany"]));
    let known = cluster("1.9.0", Vec::new(), [running(), shared]);
    assert_eq!(reason(&known), None, "the claim is known, and shared");
}
