//! Devices and networks of guests, the part that decides what the launcher requests and whether KubeVirt migrates the
//! guest.

use serde::de::{Deserialize, Deserializer};

use super::{EachText, Present, nullable};

wire! {
    /// `spec.domain.devices` of a guest.
    Devices {
        /// `gpus`.
        gpus: Vec<HostDevice>,
        /// `hostDevices`.
        host_devices: Vec<HostDevice>,
        /// `disks`.
        disks: Vec<Disk>,
        /// `filesystems`.
        filesystems: Vec<Filesystem>,
        /// `interfaces`.
        interfaces: Vec<Interface>,
        /// `autoattachPodInterface`: unset is true.
        autoattach_pod_interface: Option<bool>,
        /// `autoattachVSOCK`.
        #[serde(rename = "autoattachVSOCK")]
        autoattach_vsock: Option<bool>,
        /// `tpm`.
        tpm: Option<Tpm>,
    }
    /// `spec.domain.devices.tpm`.
    Tpm {
        /// `enabled`: unset is true.
        enabled: Option<bool>,
        /// `persistent`: its state is kept in a claim.
        persistent: Option<bool>,
    }
    /// `spec.domain.devices.gpus[]` and `spec.domain.devices.hostDevices[]`.
    HostDevice {
        /// `deviceName`: the resource that the device is one of.
        device_name: String,
        /// `claimName`: the resource claim that the device is from, since 1.6.
        claim_name: Option<Present>,
        /// `requestName`: the request of that claim.
        request_name: Option<Present>,
    }
    /// `spec.domain.devices.disks[]`.
    Disk {
        /// `lun`.
        lun: Option<Lun>,
    }
    /// `lun` of a disk.
    Lun {
        /// `reservation`: the guest may reserve the disk (SCSI persistent reservation).
        reservation: bool,
    }
    /// `spec.domain.devices.filesystems[]`.
    Filesystem {
        /// `virtiofs`.
        virtiofs: Option<Present>,
    }
    /// `spec.domain.devices.interfaces[]`: its name and its binding.
    Interface {
        /// `name`: the network of the same name.
        name: String,
        /// `model`: empty is virtio.
        model: String,
        /// `bridge`.
        bridge: Option<Present>,
        /// `masquerade`.
        masquerade: Option<Present>,
        /// `sriov`.
        sriov: Option<Present>,
        /// `slirp`.
        slirp: Option<Present>,
        /// `macvtap`.
        macvtap: Option<Present>,
        /// `passt`, up to 1.2.
        passt: Option<Present>,
        /// `passtBinding`, since 1.8.
        passt_binding: Option<Present>,
        /// `binding`: a plugin.
        binding: Option<PluggedBinding>,
    }
    /// `binding` of an interface.
    PluggedBinding {
        /// `name`.
        name: String,
    }
    /// `spec.networks[]` of a guest.
    Network {
        /// `name`.
        name: String,
        /// `pod`: the pod network.
        pod: Option<Present>,
    }
}

impl Interface {
    /// Whether no binding is chosen. Mirrors `isInterfaceBindingUnset` of
    /// `pkg/instancetype/preference/apply/interface.go`.
    pub(crate) fn is_unbound(&self) -> bool {
        let Self { name: _, model: _, bridge, masquerade, sriov, slirp, macvtap, passt, passt_binding, binding } = self;
        let chosen = [bridge, masquerade, sriov, slirp, macvtap, passt, passt_binding];
        binding.is_none() && chosen.iter().all(|binding| binding.is_none())
    }
}
