//! Volumes that can be used on some nodes only.
//!
//! Mirrors the scheduler's plugin `VolumeBinding` (`CheckNodeAffinity` of
//! `k8s.io/component-helpers/storage/volume/helpers.go`) for bound claims, and `withVMIVolumes`
//! of `pkg/virt-controller/services/rendervolumes.go` for the claims that a launcher uses. A hotplugged volume is
//! attached through its own pod on the guest's node, so it binds the guest equally.

use super::cluster::Cluster;
use super::placement;
use super::wire::{Claim, VmiSpec, Volume};
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

/// The pod that mounts the volumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MountedBy {
    /// The launcher of a start.
    Start,
    /// The target pod of a migration.
    Target,
}

/// Returns the volumes of a guest that are bound to nodes, as far as the cluster's objects are known.
pub(super) fn bound_volumes(
    spec: &VmiSpec,
    (namespace, name): (&str, &str),
    by: MountedBy,
    cluster: &Cluster,
) -> Vec<BoundVolume> {
    let bound = |volume: &str, claim: &Claim| {
        let found = cluster.volume(&claim.spec.volume_name)?;
        // A volume that exceeds a bound was not read whole, so it is skipped.
        if found.metadata.excess.is_some() {
            return None;
        }
        let required = found.spec.node_affinity.required.clone()?;
        Some(BoundVolume {
            volume: volume.to_owned(),
            persistent_volume: found.metadata.name.clone(),
            nodes: placement::node_selector(required).into(),
        })
    };
    let named = spec.volumes.iter().filter_map(|volume| {
        let claim = cluster.claim(namespace, volume.claim()?)?;
        bound(&volume.name, claim)
    });
    let state = state_claim(spec, (namespace, name), by, cluster);
    named.chain(state.and_then(|claim| bound(&claim.metadata.name, claim))).collect()
}

/// Returns the claim that keeps the state of the guest's TPM or EFI, if the pod mounts it. Mirrors
/// `IsBackendStorageNeeded` of `pkg/storage/backend-storage/backend-storage.go`, and `handleBackendStorage` of
/// `pkg/virt-controller/watch/migration/migration.go`: a target pod has a claim of its own, unless several nodes may
/// write the present one.
fn state_claim<'c>(
    spec: &VmiSpec,
    (namespace, name): (&str, &str),
    by: MountedBy,
    cluster: &'c Cluster,
) -> Option<&'c Claim> {
    let domain = &spec.domain;
    let tpm = domain.devices.tpm.as_ref().filter(|tpm| tpm.enabled != Some(false));
    let efi = domain.firmware.as_ref().and_then(|firmware| firmware.bootloader.as_ref()?.efi.as_ref());
    let is_kept =
        tpm.is_some_and(|tpm| tpm.persistent == Some(true)) || efi.is_some_and(|efi| efi.persistent == Some(true));
    if !is_kept {
        return None;
    }
    let found = cluster.state_claim(namespace, name)?;
    let is_shared = found.spec.access_modes.iter().any(|mode| mode == "ReadWriteMany");
    (by == MountedBy::Start || is_shared).then_some(found)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;
    use crate::kubevirt::cluster::ClusterObject;
    use crate::testing::cluster::{cluster, read};
    use crate::testing::fleet::mixed;

    /// A guest is said to start, or to migrate, where its TPM or EFI variables cannot be read.
    #[rstest]
    #[case::tpm(json!({"devices": {"tpm": {"persistent": true}}}), true)]
    #[case::efi(json!({"firmware": {"bootloader": {"efi": {"persistent": true}}}}), true)]
    #[case::not_kept(json!({"devices": {"tpm": {}}, "firmware": {"bootloader": {"efi": {}}}}), false)]
    #[case::switched_off(json!({"devices": {"tpm": {"persistent": true, "enabled": false}}}), false)]
    fn the_claim_of_a_guests_state_binds_it(#[case] domain: Value, #[case] is_kept: bool) {
        let near = json!({"nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "Exists"}]}]});
        let volume = json!({"metadata": {"name": "pv"}, "spec": {"nodeAffinity": {"required": near}}});
        for (name, labels) in [("anything", json!({STATE: "db"})), ("persistent-state-for-db", json!({}))] {
            for (mode, at_migration) in [("ReadWriteOnce", false), ("ReadWriteMany", true)] {
                let claim = json!({
                    "metadata": {"namespace": "shop", "name": name, "labels": labels},
                    "spec": {"volumeName": "pv", "accessModes": [mode]},
                });
                let objects = [ClusterObject::Claim(read(claim)), ClusterObject::Volume(read(volume.clone()))];
                let known = cluster("1.8.4", mixed(), objects);
                let spec: VmiSpec = read(json!({"domain": domain.clone()}));
                let bound = |guest, by| bound_volumes(&spec, ("shop", guest), by, &known).len();
                assert_eq!(bound("db", MountedBy::Start), usize::from(is_kept), "{name} {mode}");
                assert_eq!(bound("db", MountedBy::Target), usize::from(is_kept && at_migration), "{name} {mode}");
                assert_eq!(bound("web", MountedBy::Start), 0, "another guest's state: {name} {mode}");
            }
        }
    }

    const STATE: &str = "persistent-state-for";
}
