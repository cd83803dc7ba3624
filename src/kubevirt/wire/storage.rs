//! Volumes of guests, the claims of volumes, and `PersistentVolumes`.

use serde::de::{Deserialize, Deserializer};

use super::{EachText, Meta, NodeSelector, nullable};

wire! {
    /// `spec.volumes[]` of a guest, the part that names a claim or a file of the node.
    Volume {
        /// `name`.
        name: String,
        /// `persistentVolumeClaim`.
        persistent_volume_claim: Option<ClaimVolume>,
        /// `dataVolume`: its claim has the same name.
        data_volume: Option<DataVolumeVolume>,
        /// `ephemeral`: changes are discarded.
        ephemeral: Option<EphemeralVolume>,
        /// `hostDisk`: a file of the node.
        host_disk: Option<HostDisk>,
    }
    /// `hostDisk` of a volume.
    HostDisk {
        /// `shared`: whether all nodes have the file.
        shared: Option<bool>,
    }
    /// `persistentVolumeClaim` of a volume.
    ClaimVolume {
        /// `claimName`.
        claim_name: String,
    }
    /// `dataVolume` of a volume.
    DataVolumeVolume {
        /// `name`.
        name: String,
    }
    /// `ephemeral` of a volume.
    EphemeralVolume {
        /// `persistentVolumeClaim`.
        persistent_volume_claim: Option<ClaimVolume>,
    }
    /// A PersistentVolumeClaim.
    Claim {
        /// `metadata`.
        metadata: Meta,
        /// `spec`.
        spec: ClaimSpec,
    }
    /// `spec` of a PersistentVolumeClaim.
    ClaimSpec {
        /// `volumeName`: the PersistentVolume that it is bound to.
        volume_name: String,
        /// `accessModes`.
        access_modes: Vec<String>,
    }
    /// A PersistentVolume.
    PersistentVolume {
        /// `metadata`.
        metadata: Meta,
        /// `spec`.
        spec: PersistentVolumeSpec,
    }
    /// `spec` of a PersistentVolume.
    PersistentVolumeSpec {
        /// `nodeAffinity`.
        node_affinity: VolumeNodeAffinity,
    }
    /// `spec.nodeAffinity` of a PersistentVolume.
    VolumeNodeAffinity {
        /// `required`: the nodes that the volume can be used on; `None` means all.
        required: Option<NodeSelector>,
    }
}

impl Volume {
    /// Returns the claim that the volume uses, in the guest's namespace.
    #[must_use]
    pub fn claim(&self) -> Option<&str> {
        let claim = self.persistent_volume_claim.as_ref();
        let claim = claim.or(self.ephemeral.as_ref().and_then(|ephemeral| ephemeral.persistent_volume_claim.as_ref()));
        let of_data_volume = self.data_volume.as_ref().map(|volume| volume.name.as_str());
        claim.map(|claim| claim.claim_name.as_str()).or(of_data_volume).filter(|name| !name.is_empty())
    }
}
