//! Volumes that can be used on some nodes only.
//!
//! Mirrors the scheduler's plugin `VolumeBinding` (`CheckNodeAffinity` of
//! `k8s.io/component-helpers/storage/volume/helpers.go`) for bound claims, and `withVMIVolumes`
//! of `pkg/virt-controller/services/rendervolumes.go` for the claims that a launcher uses. A hotplugged volume is
//! attached through its own pod on the guest's node, so it binds the guest equally.

use super::cluster::Cluster;
use super::placement;
use super::wire::{VmiSpec, Volume};
use crate::fit::subject::BoundVolume;

/// Returns the volumes of a guest whose usable nodes are not known: the claim or its PersistentVolume is not known, or
/// the volume is a file of a node (`hostDisk`) that may not exist on others.
pub(super) fn unplaced(spec: &VmiSpec, namespace: &str, cluster: &Cluster) -> Vec<String> {
    let is_known = |claim: &str| {
        let volume = cluster.claim(namespace, claim).and_then(|claim| cluster.volume(&claim.spec.volume_name));
        volume.is_some_and(|volume| volume.metadata.excess.is_none())
    };
    let is_unplaced =
        |volume: &&Volume| volume.host_disk.is_some() || volume.claim().is_some_and(|claim| !is_known(claim));
    spec.volumes.iter().filter(is_unplaced).map(|volume| volume.name.clone()).collect()
}

/// Returns the volumes of a guest that are bound to nodes, as far as the cluster's objects are known.
pub(super) fn bound_volumes(spec: &VmiSpec, namespace: &str, cluster: &Cluster) -> Vec<BoundVolume> {
    let bound = spec.volumes.iter().filter_map(|volume| {
        let claim = cluster.claim(namespace, volume.claim()?)?;
        let found = cluster.volume(&claim.spec.volume_name)?;
        // A volume that exceeds a bound was not read whole, so it is skipped.
        if found.metadata.excess.is_some() {
            return None;
        }
        let required = found.spec.node_affinity.required.clone()?;
        Some(BoundVolume {
            volume: volume.name.clone(),
            persistent_volume: found.metadata.name.clone(),
            nodes: placement::node_selector(required).into(),
        })
    });
    bound.collect()
}
