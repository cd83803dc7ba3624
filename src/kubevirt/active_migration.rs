//! Migrations under way: the target pod has a node, and the guest still runs on its source node.
//!
//! Mirrors `CurrentVMIPod` and `VMIActivePodsCount` (`pkg/controller/controller.go`), by which virt-controller
//! distinguishes the target pod from the launcher the guest runs in, and `filterRunningNonMigratingVMIs` of the
//! evacuation controller (`pkg/virt-controller/watch/drain/evacuation/evacuation.go`), which does not evacuate a guest
//! that is being migrated: the guest moves to the node of its target pod.

use std::cmp::Ordering;
use std::sync::Arc;

use super::cluster::{Cluster, ClusterObject, Launcher};
use super::migration::is_being_deleted;
use super::room::Room;
use super::wire::{Vmi, is_final};

/// Returns the launcher to which a guest moves: its newest one, on a node other than the guest's. `None` if no
/// migration is under way, or its target pod has no node yet. A guest that is starting has no node; it moves to the
/// node of its launcher.
pub(crate) fn target<'c>(vmi: &Vmi, cluster: &'c Cluster) -> Option<&'c Launcher> {
    if is_final(&vmi.status.phase) || is_being_deleted(&vmi.metadata) {
        return None;
    }
    let source = &vmi.status.node_name;
    let elsewhere = cluster.launchers_of(vmi).filter(|pod| !pod.node.is_empty() && pod.node != *source);
    let newest = elsewhere.reduce(|best, pod| if pod.created > best.created { pod } else { best })?;
    if source.is_empty() {
        return Some(newest);
    }
    let state = vmi.status.migration_state.as_ref();
    // After the migration, the source pod exists for a moment longer; it is the older one. The status may describe an
    // earlier migration, so it decides only where the creation times are equal.
    let has_arrived = state.is_some_and(|state| state.completed && state.target_node == *source);
    let is_newer = match cluster.current_launcher(vmi).map(|current| newest.created.cmp(&current.created)) {
        Some(Ordering::Greater) => true,
        Some(Ordering::Equal) => !has_arrived,
        Some(Ordering::Less) | None => false,
    };
    let mut migrations = cluster.migrations_of(vmi).peekable();
    // The target pod of a failed migration may exist for a moment as well.
    let is_under_way = match migrations.peek() {
        Some(_) => migrations.any(|migration| !is_final(&migration.status.phase)),
        None => !state.is_some_and(|state| state.failed && state.target_node == newest.node),
    };
    (is_newer && is_under_way).then_some(newest)
}

/// Returns the cluster after all migrations under way have succeeded: their guests run on the nodes of their target
/// pods, and the source pods are gone. `None` if no migration is under way.
pub(crate) fn landed(cluster: &Cluster) -> Option<Cluster> {
    let flights: Vec<(&Vmi, &Launcher)> = cluster.vmis().filter_map(|vmi| Some((vmi, target(vmi, cluster)?))).collect();
    if flights.is_empty() {
        return None;
    }
    let mut out = cluster.clone();
    let room: &mut Room = Arc::make_mut(&mut out.room);
    flights.iter().filter(|(vmi, _)| !vmi.status.node_name.is_empty()).for_each(|(vmi, _)| room.leave(vmi));
    for (vmi, pod) in flights {
        for migration in cluster.migrations_of(vmi).filter(|migration| !is_final(&migration.status.phase)) {
            let mut migration = migration.clone();
            "Succeeded".clone_into(&mut migration.status.phase);
            out.put(ClusterObject::Migration(Box::new(migration)));
        }
        let mut vmi = vmi.clone();
        vmi.status.node_name.clone_from(&pod.node);
        out.put(ClusterObject::Vmi(Box::new(vmi)));
    }
    Some(out)
}
