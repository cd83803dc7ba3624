//! Volumes that can be used on some nodes only.
//!
//! Mirrors the scheduler's plugin `VolumeBinding` (`volume.CheckNodeAffinity`), as far as claims are bound; which claims a launcher
//! uses is `withVMIVolumes` of `pkg/virt-controller/services/rendervolumes.go`. A volume that is plugged in later is used from a pod of
//! its own, on the guest's node: it binds the guest no less.

use super::cluster::Cluster;
use super::placement;
use super::wire::VmiSpec;
use crate::fit::subject::BoundVolume;

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
