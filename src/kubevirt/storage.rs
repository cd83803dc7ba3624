//! Volumes that can be used on some nodes only.
//!
//! Mirrors the scheduler's plugin `VolumeBinding` (`volume.CheckNodeAffinity`), as far as claims are bound; which claims a launcher
//! uses is `withVMIVolumes` of `pkg/virt-controller/services/rendervolumes.go`. A volume that is plugged in later is used from a pod of
//! its own, on the guest's node: it binds the guest no less.

use super::cluster::Cluster;
use super::placement;
use super::wire::{VmiSpec, Volume};
use crate::fit::subject::BoundVolume;

/// The volumes of a guest of which it is not known on which nodes they can be used: their claim or its PersistentVolume is not
/// known, or they are files of a node (`hostDisk`), and not known to be there on others.
pub(super) fn unplaced(spec: &VmiSpec, namespace: &str, cluster: &Cluster) -> Vec<String> {
    let is_known = |claim: &str| {
        let volume = cluster.claim(namespace, claim).and_then(|claim| cluster.volume(&claim.spec.volume_name));
        volume.is_some_and(|volume| volume.metadata.excess.is_none())
    };
    let is_unplaced =
        |volume: &&Volume| volume.host_disk.is_some() || volume.claim().is_some_and(|claim| !is_known(claim));
    spec.volumes.iter().filter(is_unplaced).map(|volume| volume.name.clone()).collect()
}

/// The volumes of a guest that are bound to nodes, as far as the cluster is known to hold them.
pub(super) fn bound_volumes(spec: &VmiSpec, namespace: &str, cluster: &Cluster) -> Vec<BoundVolume> {
    let bound = spec.volumes.iter().filter_map(|volume| {
        let claim = cluster.claim(namespace, volume.claim()?)?;
        let found = cluster.volume(&claim.spec.volume_name)?;
        // What goes beyond a bound was not read: nothing is said by half of it.
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
