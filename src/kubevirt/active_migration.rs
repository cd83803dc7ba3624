//! Migrations that are under way: the target pod has a node, and the guest still runs on its source.
//!
//! Mirrors `CurrentVMIPod` and `VMIActivePodsCount` (`pkg/controller/controller.go`), by which virt-controller tells the target pod
//! from the one the guest runs in; and `filterRunningNonMigratingVMIs` of the evacuation controller
//! (`pkg/virt-controller/watch/drain/evacuation/evacuation.go`), which leaves a guest alone that is being migrated: it goes where its
//! target pod is.

use std::cmp::Ordering;
use std::sync::Arc;

use super::cluster::{Cluster, ClusterObject, Launcher};
use super::migration::is_being_deleted;
use super::room::Room;
use super::wire::{Vmi, is_final};

/// The launcher to which a guest moves: its newest one, on a node other than the guest's. `None` if no migration
/// is under way, or its target pod has no node yet. A guest that is starting has no node either: it moves to that of its
/// launcher.
#[must_use]
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
    // Once the guest has arrived, the pod that it left is there for a moment: it is the older one. What the status says of the last
    // migration may be about one before this one: it decides where the dates do not.
    let has_arrived = state.is_some_and(|state| state.completed && state.target_node == *source);
    let is_newer = match cluster.current_launcher(vmi).map(|current| newest.created.cmp(&current.created)) {
        Some(Ordering::Greater) => true,
        Some(Ordering::Equal) => !has_arrived,
        Some(Ordering::Less) | None => false,
    };
    let mut migrations = cluster.migrations_of(vmi).peekable();
    // The pod of a migration that failed may be there for a moment as well.
    let is_under_way = match migrations.peek() {
        Some(_) => migrations.any(|migration| !is_final(&migration.status.phase)),
        None => !state.is_some_and(|state| state.failed && state.target_node == newest.node),
    };
    (is_newer && is_under_way).then_some(newest)
}

/// The cluster once all migrations that are under way have ended: these guests run where their target pods are, and their source
/// pods are gone. `None` where there is no such migration.
#[must_use]
pub(crate) fn landed(cluster: &Cluster) -> Option<Cluster> {
    let flights: Vec<(&Vmi, &Launcher)> = cluster.vmis().filter_map(|vmi| Some((vmi, target(vmi, cluster)?))).collect();
    if flights.is_empty() {
        return None;
    }
    let mut out = cluster.clone();
    let room: &mut Room = Arc::make_mut(&mut out.room);
    flights.iter().filter(|(vmi, _)| !vmi.status.node_name.is_empty()).for_each(|(vmi, _)| room.leave(vmi));
    for (vmi, pod) in flights {
        let mut vmi = vmi.clone();
        vmi.status.node_name.clone_from(&pod.node);
        out.put(ClusterObject::Vmi(Box::new(vmi)));
    }
    Some(out)
}
