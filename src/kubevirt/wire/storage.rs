//! Volumes of guests, and the claims and volumes behind them.

use serde::de::{Deserialize, Deserializer};

use super::{EachText, Meta, NodeSelector, Present, nullable};

wire! {
    /// `spec.volumes[]` of a guest, as far as it names a claim.
    Volume {
        /// `name`.
        name: String,
        /// `persistentVolumeClaim`.
        persistent_volume_claim: Option<ClaimVolume>,
        /// `dataVolume`: its claim has its name.
        data_volume: Option<DataVolumeVolume>,
        /// `ephemeral`: changes are thrown away.
        ephemeral: Option<EphemeralVolume>,
        /// `hostDisk`: a file of the node.
        host_disk: Option<Present>,
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
        /// `required`: the nodes that it can be used on; none stated means all.
        required: Option<NodeSelector>,
    }
}

impl Volume {
    /// The claim that it uses, in the guest's namespace.
    #[must_use]
    pub fn claim(&self) -> Option<&str> {
        let claim = self.persistent_volume_claim.as_ref();
        let claim = claim.or(self.ephemeral.as_ref().and_then(|ephemeral| ephemeral.persistent_volume_claim.as_ref()));
        let of_data_volume = self.data_volume.as_ref().map(|volume| volume.name.as_str());
        claim.map(|claim| claim.claim_name.as_str()).or(of_data_volume).filter(|name| !name.is_empty())
    }
}
