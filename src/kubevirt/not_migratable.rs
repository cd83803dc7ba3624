//! The reason for which KubeVirt will not live-migrate a guest, foreseen from its specification before virt-handler has
//! set the condition `LiveMigratable` of its VMI.
//!
//! Mirrors `calculateLiveMigrationCondition`, `vmiContainsNonMigratablePCIHostDevices` and `checkVolumesForMigration`
//! of `pkg/virt-handler/vm.go`, `VerifyVMIMigratable` of `pkg/network/vmispec/interface.go`,
//! `SetDefaultNetworkInterface` of `pkg/network/vmispec/defaults.go`, `HasVMISpecPersistentReservation` of
//! `pkg/storage/reservation/pr.go`, `IsSEVVMI` and `IsTDXVMI` of `pkg/util/amd64.go`, `IsSecureExecutionVMI` of
//! `pkg/util/s390x.go`, and `HasSharedAccessMode` of `pkg/storage/types/pvc.go`. Reasons that depend on the libvirt of
//! a node, or on objects that are not known, are not foreseen.

use super::cluster::Cluster;
use super::feature_gate::FeatureGate;
use super::guest::Guest;
use super::migration;
use super::release::Release;
use super::wire::{DataVolume, Interface, LIVE_MIGRATABLE, LaunchSecurity, VirtualMachine, Vmi, VmiSpec, Volume};
use crate::fit::shown::{Shown, TITLE_CHARS};
use crate::fit::subject::{Foreseen, NotMigratable};
use crate::well_known;

/// The reason of a guest whose binding on the pod network is not migrated.
const INTERFACE: &str = "InterfaceNotLiveMigratable";

/// The reason of a guest whose volumes are not shared by nodes.
const DISKS: &str = "DisksNotLiveMigratable";

/// The Hyper-V setting whose guests need a TSC frequency to migrate.
pub(super) const REENLIGHTENMENT: &str = "domain.features.hyperv.reenlightenment";

/// A guest, as virt-handler will see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Foresight<'f> {
    /// The specification, to which [`defaults::apply`](super::defaults::apply) must have been applied.
    pub spec: &'f VmiSpec,
    /// The namespace.
    pub namespace: &'f str,
    /// The name of the guest.
    pub name: &'f str,
    /// The `dataVolumeTemplates` of its VirtualMachine.
    pub templates: &'f [DataVolume],
    /// Whether the guest is annotated to be migrated with a bridge on the pod network.
    pub migrates_bridge: bool,
    /// Whether KubeVirt has yet to create the guest: it gives a TSC frequency to one that needs it.
    pub is_new: bool,
    /// Whether no node gives a new guest the TSC frequency that its migration needs.
    pub lacks_frequency: bool,
}

impl<'f> Foresight<'f> {
    /// Returns the foresight for a VMI that exists or is being created.
    pub(crate) fn of_vmi(vmi: &'f Vmi) -> Self {
        Self {
            spec: &vmi.spec,
            namespace: &vmi.metadata.namespace,
            name: &vmi.metadata.name,
            templates: &[],
            migrates_bridge: well_known::MIGRATES_BRIDGE.is_set(&vmi.metadata.annotations),
            is_new: vmi.status.phase.is_empty(),
            lacks_frequency: false,
        }
    }

    /// Returns the foresight for the guest made from a VirtualMachine.
    pub(crate) fn of_guest(vm: &'f VirtualMachine, guest: &'f Guest) -> Self {
        Self {
            spec: &guest.spec,
            namespace: &vm.metadata.namespace,
            name: &vm.metadata.name,
            templates: &vm.spec.data_volume_templates,
            migrates_bridge: guest.migrates_bridge,
            is_new: true,
            lacks_frequency: false,
        }
    }

    /// Returns the reason that KubeVirt will give; `None` if none is certain.
    pub(crate) fn reason(&self, cluster: &Cluster) -> Option<Foreseen> {
        let release = cluster.release.release();
        let volumes = || {
            let message = not_shared(self.spec, self.namespace, self.templates, cluster);
            let message = message.or_else(|| self.as_it_runs(cluster))?;
            Some(foreseen("volumes", DISKS, &message))
        };
        let rest = || {
            self.network(cluster, release)
                .or_else(|| virtiofs(self.spec, release))
                .or_else(|| host_devices(self.spec, cluster, release))
                .or_else(|| launch_security(self.spec, release))
                .or_else(|| reservation(self.spec, release))
                .or_else(|| self.frequency())
                .or_else(|| hyperv_passthrough(self.spec, release))
        };
        if release.checks_volumes_first() { volumes().or_else(rest) } else { rest().or_else(volumes) }
    }

    /// Returns why virt-handler refuses to migrate the guest that runs, for its volumes, if the next start has the same
    /// ones, and the claim of one of them is not known.
    fn as_it_runs(&self, cluster: &Cluster) -> Option<String> {
        let vmi = cluster.vmi(self.namespace, self.name)?;
        let refused = migration::not_migratable(vmi)?;
        let running = &vmi.spec.volumes;
        let is_unknown = |volume: &Volume| {
            let claim = volume.claim().filter(|_| volume.ephemeral.is_none());
            claim.is_some_and(|claim| cluster.claim(self.namespace, claim).is_none())
        };
        let is_same = running.iter().any(is_unknown) && running.iter().all(|volume| self.spec.volumes.contains(volume));
        (is_same && refused.reason == DISKS).then(|| refused.message.clone())
    }

    /// Mirrors `VerifyVMIMigratable`: only the interface on the pod network counts. Which interface KubeVirt gives to a
    /// guest that names no network is not foreseen.
    fn network(&self, cluster: &Cluster, release: Release) -> Option<Foreseen> {
        const FIELD: &str = "domain.devices.interfaces";
        let devices = &self.spec.domain.devices;
        if !release.is_migratability_known() {
            return None;
        }
        let pod = self.spec.networks.iter().find(|network| network.pod.is_some())?;
        let Some(interface) = devices.interfaces.iter().find(|interface| interface.name == pod.name) else {
            let message = "VMI has no interface on its pod network";
            let is_refused = release.asks_for_a_pod_interface() && !devices.interfaces.is_empty();
            return is_refused.then(|| foreseen(FIELD, INTERFACE, message));
        };
        let is_migrated = match interface {
            Interface { masquerade: Some(_), .. } => true,
            Interface { passt_binding: Some(_), .. } if release.asks_for_a_pod_interface() => true,
            Interface { bridge: Some(_), .. } => self.migrates_bridge,
            Interface { binding: Some(_), .. } if !release.may_migrate_plugins() => false,
            // KubeVirt refuses a plugin that is not registered; the configuration may not be known.
            Interface { binding: Some(plugin), .. } => {
                let plugin = cluster.config.configuration.network.binding.get(&plugin.name);
                plugin.is_none_or(|plugin| plugin.migration.is_some())
            }
            // KubeVirt refuses an interface without a binding; its preference may not be known.
            unbound if unbound.is_unbound() => true,
            _ => false,
        };
        let binding = match interface {
            Interface { bridge: Some(_), .. } => "a bridge",
            Interface { binding: Some(_), .. } => "a network binding plugin that is not migrated",
            _ => "a binding other than masquerade",
        };
        let message = format!("VMI uses {binding} on the pod network");
        (!is_migrated).then(|| foreseen(FIELD, INTERFACE, &message))
    }

    fn frequency(&self) -> Option<Foreseen> {
        let message = "VMI uses reenlightenment, and no node has a TSC frequency";
        (self.is_new && self.lacks_frequency)
            .then(|| foreseen(REENLIGHTENMENT, "NoTSCFrequencyNotLiveMigratable", message))
    }
}

/// Returns the reason that KubeVirt will give for a guest of which virt-handler has not set the condition; `None` if it
/// has, or if no reason is certain.
pub(crate) fn undecided_reason(vmi: &Vmi, cluster: &Cluster) -> Option<Foreseen> {
    if is_decided(vmi) { None } else { Foresight::of_vmi(vmi).reason(cluster) }
}

/// Whether virt-handler has set the condition of a guest.
pub(crate) fn is_decided(vmi: &Vmi) -> bool {
    vmi.status.conditions.iter().any(|condition| condition.kind == LIVE_MIGRATABLE)
}

fn foreseen(field: &'static str, reason: &str, message: &str) -> Foreseen {
    Foreseen {
        field: field.to_owned(),
        refused: NotMigratable { reason: reason.to_owned(), message: message.to_owned() },
    }
}

fn host_devices(spec: &VmiSpec, cluster: &Cluster, release: Release) -> Option<Foreseen> {
    let devices = &spec.domain.devices;
    let (field, message) = match (devices.host_devices.len(), devices.gpus.len()) {
        (0, 0) => return None,
        (0, _) if !release.may_migrate_gpus() => ("domain.devices.gpus", "VMI uses a PCI host devices"),
        (_, _) if !release.may_migrate_gpus() => ("domain.devices.hostDevices", "VMI uses a PCI host devices"),
        (0, 1) if !cluster.config.is_known => return None,
        (0, 1) if cluster.config.gate(FeatureGate::VgpuLiveMigration) => {
            let permitted = cluster.config.configuration.permitted_host_devices.as_ref();
            let mut mediated = permitted.into_iter().flat_map(|permitted| &permitted.mediated_devices);
            if mediated.any(|known| devices.gpus.iter().any(|gpu| known.resource_name == gpu.device_name)) {
                return None;
            }
            ("domain.devices.gpus", "VMI specifies non-migratable GPU device")
        }
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

fn virtiofs(spec: &VmiSpec, release: Release) -> Option<Foreseen> {
    let is_used = spec.domain.devices.filesystems.iter().any(|filesystem| filesystem.virtiofs.is_some());
    let refused = || foreseen("domain.devices.filesystems", "VirtIOFSNotLiveMigratable", "VMI uses virtiofs");
    (is_used && release.refuses_virtiofs()).then(refused)
}

fn reservation(spec: &VmiSpec, release: Release) -> Option<Foreseen> {
    let mut luns = spec.domain.devices.disks.iter().filter_map(|disk| disk.lun.as_ref());
    let (reason, message) = ("PersistentReservationNotLiveMigratable", "VMI uses SCSI persistent reservation");
    (luns.any(|lun| lun.reservation) && release.refuses_persistent_reservation())
        .then(|| foreseen("domain.devices.disks", reason, message))
}

fn hyperv_passthrough(spec: &VmiSpec, release: Release) -> Option<Foreseen> {
    let is_on = spec.domain.features.hyperv_passthrough.as_ref().is_some_and(|state| state.enabled == Some(true));
    let (reason, message) = ("HypervPassthroughNotLiveMigratable", "VMI uses hyperv passthrough");
    (is_on && release.knows_hyperv_passthrough())
        .then(|| foreseen("domain.features.hypervPassthrough", reason, message))
}

/// Returns why the guest's volumes cannot be shared by two nodes; `None` if that is not certain: a claim that is
/// neither known nor described by a template may be shared.
fn not_shared(spec: &VmiSpec, namespace: &str, templates: &[DataVolume], cluster: &Cluster) -> Option<String> {
    let requested = |claim: &str| {
        let template = templates.iter().find(|template| template.metadata.name == claim)?;
        let requested = template.spec.pvc.as_ref().or(template.spec.storage.as_ref())?;
        Some(&requested.access_modes)
    };
    let of_volume = |volume: &Volume| {
        if let Some(disk) = &volume.host_disk {
            return (disk.shared != Some(true)).then(|| "VMI has a non-shared HostDisk".to_owned());
        }
        // Changes of an ephemeral volume stay on the node, and are copied.
        let claim = volume.claim().filter(|_| volume.ephemeral.is_none())?;
        let known = cluster.claim(namespace, claim).map(|claim| &claim.spec.access_modes);
        let modes = known.or_else(|| requested(claim))?;
        let is_of_one = |mode: &String| matches!(mode.as_str(), "ReadWriteOnce" | "ReadWriteOncePod" | "ReadOnlyMany");
        let claim = Shown::within(claim, TITLE_CHARS);
        (!modes.is_empty() && modes.iter().all(is_of_one))
            .then(|| format!("PVC {claim} is not shared: it has no access mode ReadWriteMany"))
    };
    spec.volumes.iter().find_map(of_volume)
}

#[cfg(test)]
mod tests;
