//! The reason for which KubeVirt will not live-migrate a guest, foreseen from its specification before virt-handler has
//! set the condition `LiveMigratable` of its VMI.
//!
//! Mirrors `calculateLiveMigrationCondition`, `vmiContainsNonMigratablePCIHostDevices` and `checkVolumesForMigration` of
//! `pkg/virt-handler/vm.go`, `IsSEVVMI` and `IsTDXVMI` of `pkg/util/amd64.go`, `IsSecureExecutionVMI` of
//! `pkg/util/s390x.go`, and `HasSharedAccessMode` of `pkg/storage/types/pvc.go`. Reasons that depend on the node, on
//! network plugins or on objects that are not known are not foreseen.

use super::cluster::Cluster;
use super::release::Release;
use super::wire::{LIVE_MIGRATABLE, LaunchSecurity, Vmi, VmiSpec, Volume};
use crate::fit::shown::{Shown, TITLE_CHARS};
use crate::fit::subject::{Foreseen, NotMigratable};

/// The feature gate of the migration of a guest with one virtual GPU.
const VGPU_MIGRATION: &str = "VGPULiveMigration";

/// Returns the reason that KubeVirt will give; `None` if none is certain. [`defaults::apply`](super::defaults::apply)
/// must have been applied to the spec.
pub(super) fn foresee(spec: &VmiSpec, namespace: &str, cluster: &Cluster) -> Option<Foreseen> {
    let release = cluster.release.release();
    let volumes = || {
        let message = not_shared(spec, namespace, cluster)?;
        Some(foreseen("volumes", "DisksNotLiveMigratable", &message))
    };
    let devices = || host_devices(spec, cluster, release);
    let security = || launch_security(spec, release);
    let hyperv = || {
        let is_on = spec.domain.features.hyperv_passthrough.as_ref().is_some_and(|state| state.enabled == Some(true));
        let message = "VMI uses hyperv passthrough";
        (is_on && release.refuses_hyperv_passthrough())
            .then(|| foreseen("domain.features.hypervPassthrough", "HypervPassthroughNotLiveMigratable", message))
    };
    let rest = || devices().or_else(security).or_else(hyperv);
    if release.checks_volumes_first() { volumes().or_else(rest) } else { rest().or_else(volumes) }
}

/// Whether virt-handler has set the condition of a guest.
pub(super) fn is_decided(vmi: &Vmi) -> bool {
    vmi.status.conditions.iter().any(|condition| condition.kind == LIVE_MIGRATABLE)
}

fn foreseen(field: &'static str, reason: &str, message: &str) -> Foreseen {
    Foreseen { field, refused: NotMigratable { reason: reason.to_owned(), message: message.to_owned() } }
}

fn host_devices(spec: &VmiSpec, cluster: &Cluster, release: Release) -> Option<Foreseen> {
    let devices = &spec.domain.devices;
    let (field, message) = match (devices.host_devices.len(), devices.gpus.len()) {
        (0, 0) => return None,
        (0, _) if !release.may_migrate_gpus() => ("domain.devices.gpus", "VMI uses a PCI host devices"),
        (_, _) if !release.may_migrate_gpus() => ("domain.devices.hostDevices", "VMI uses a PCI host devices"),
        // A device of an instance type that is mediated migrates; which is, KubeVirt's `permittedHostDevices` says.
        (0, 1) if cluster.config.gate(VGPU_MIGRATION) || !cluster.config.is_known => return None,
        (0, 1) => ("domain.devices.gpus", "VMI specifies a GPU but feature gate VGPULiveMigration is not enabled"),
        (0, _) => ("domain.devices.gpus", "VMI specifies too many GPUs"),
        _ => ("domain.devices.hostDevices", "VMI specifies non-migratable generic PCI host device"),
    };
    Some(foreseen(field, "HostDeviceNotLiveMigratable", message))
}

fn launch_security(spec: &VmiSpec, release: Release) -> Option<Foreseen> {
    let LaunchSecurity { sev, snp, tdx } = spec.domain.launch_security.as_ref()?;
    let (reason, message) = if sev.is_some() || snp.is_some() && release.knows_snp_and_tdx() {
        ("SEVNotLiveMigratable", "VMI uses SEV")
    } else if tdx.is_some() && release.knows_snp_and_tdx() {
        ("TDXNotLiveMigratable", "VMI uses TDX")
    } else if spec.architecture == "s390x" && release.knows_secure_execution() {
        ("SecureExecutionNotLiveMigratable", "VMI uses Secure Execution")
    } else {
        return None;
    };
    Some(foreseen("domain.launchSecurity", reason, message))
}

/// Returns why the guest's volumes cannot be shared by two nodes; `None` if that is not certain: a claim that is not known
/// may be shared.
pub(crate) fn not_shared(spec: &VmiSpec, namespace: &str, cluster: &Cluster) -> Option<String> {
    let of_volume = |volume: &Volume| {
        if let Some(disk) = &volume.host_disk {
            return (disk.shared != Some(true)).then(|| "VMI has a non-shared HostDisk".to_owned());
        }
        // Changes of an ephemeral volume stay on the node, and are copied.
        let claim = volume.claim().filter(|_| volume.ephemeral.is_none())?;
        let modes = &cluster.claim(namespace, claim)?.spec.access_modes;
        let is_of_one = |mode: &String| matches!(mode.as_str(), "ReadWriteOnce" | "ReadWriteOncePod" | "ReadOnlyMany");
        let claim = Shown::within(claim, TITLE_CHARS);
        (!modes.is_empty() && modes.iter().all(is_of_one))
            .then(|| format!("PVC {claim} is not shared: it has no access mode ReadWriteMany"))
    };
    spec.volumes.iter().find_map(of_volume)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;
    use crate::kubevirt::cluster::ClusterObject;
    use crate::testing::cluster::{cluster, read};

    fn claim(name: &str, modes: &Value) -> ClusterObject {
        let claim = json!({"metadata": {"namespace": "shop", "name": name}, "spec": {"accessModes": modes}});
        ClusterObject::Claim(read(claim))
    }

    fn world(release: &str, gates: &Value) -> Cluster {
        let configuration = json!({"developerConfiguration": {"featureGates": gates}});
        let kubevirt = json!({"metadata": {"name": "kubevirt"}, "spec": {"configuration": configuration}});
        let claims =
            [claim("shared", &json!(["ReadWriteOnce", "ReadWriteMany"])), claim("own", &json!(["ReadWriteOnce"]))];
        let reduced = claim("reduced", &json!(null));
        let objects = claims.into_iter().chain([reduced, ClusterObject::KubeVirt(Box::new(read(kubevirt)))]);
        cluster(release, Vec::new(), objects)
    }

    fn devices(devices: &Value) -> Value {
        json!({"architecture": "amd64", "domain": {"devices": devices}})
    }

    fn secured(architecture: &str, security: &Value) -> Value {
        json!({"architecture": architecture, "domain": {"launchSecurity": security}})
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
    #[case::one_gpu_with_the_gate("1.9.0", json!([VGPU_MIGRATION]), devices(&json!({"gpus": [{}]})), None)]
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
        let found = foresee(&read(spec), "shop", &world(release, &gates));
        let reason = found.as_ref().map(|found| found.refused.reason.as_str());
        assert_eq!(reason, expected, "a person counts on a migration that KubeVirt refuses, or gives one up in vain");
    }

    /// virt-handler reports one reason only: up to 1.5 that of the volumes first, since then last.
    #[rstest]
    #[case("1.5.3", DISKS)]
    #[case("1.6.0", HOST_DEVICE)]
    fn the_first_reason_is_said(#[case] release: &str, #[case] expected: &str) {
        let mut spec = volumes(&json!([{"name": "a", "dataVolume": {"name": "own"}}]));
        spec["domain"] = json!({"devices": {"gpus": [{}]}, "launchSecurity": {"sev": {}}});
        let found = foresee(&read(spec), "shop", &world(release, &json!([])));
        assert_eq!(found.map(|found| found.refused.reason).as_deref(), Some(expected));
    }
}
