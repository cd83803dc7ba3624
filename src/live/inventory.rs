//! Conversion of changes to snapshots: the known state of the cluster, published as immutable values.
//!
//! A change that does not affect judgements, such as a node's heartbeat, publishes nothing.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info};

use super::kinds::{Projected, Registered};
use super::watch::ResourceChange;
use crate::fit::fleet::FleetBuilder;
use crate::fit::placement::Placement;
use crate::kubevirt::cluster::{Cluster, ClusterObject, Launcher, ObjectName, WhyUnread};
use crate::kubevirt::release::Release;
use crate::kubevirt::resource::Resource;
use crate::world::World;

/// The known state at one instant.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The input of judgements.
    pub world: World,
    /// The policies in the cluster, valid or not, by name.
    pub policies: Arc<BTreeMap<String, Registered>>,
}

/// The known state, as it changes.
#[derive(Debug, Default)]
pub struct Inventory {
    fleet_builder: FleetBuilder,
    cluster: Cluster,
    policies: BTreeMap<String, Registered>,
    /// The known objects of a resource that is being listed, without those that the list has sent so far.
    unlisted: HashMap<Resource, HashSet<ObjectName>>,
    synced: HashSet<Resource>,
    placements: HashSet<Arc<Placement<'static>>>,
    nodes_changed: bool,
    changed: bool,
}

impl Inventory {
    /// Creates an empty inventory. `release` is the release that the user named.
    #[must_use]
    pub fn new(release: Option<Release>) -> Self {
        let mut cluster = Cluster::new([], release);
        cluster.is_live = true;
        Self { cluster, ..Self::default() }
    }

    /// Applies a change.
    pub fn apply(&mut self, change: ResourceChange) {
        match change {
            ResourceChange::Relisting(resource) => {
                self.unlisted.insert(resource, self.names(resource).into_iter().collect());
            }
            ResourceChange::Put(resource, name, projected) => {
                if let Some(unlisted) = self.unlisted.get_mut(&resource) {
                    unlisted.remove(&name);
                }
                self.put(projected);
            }
            ResourceChange::Gone(resource, name) => self.remove(resource, &name),
            ResourceChange::Listed(resource) => {
                for name in self.unlisted.remove(&resource).unwrap_or_default() {
                    self.remove(resource, &name);
                }
                self.note_unread(resource, false);
                self.sync(resource);
            }
            ResourceChange::Absent(resource) => {
                self.unlisted.remove(&resource);
                for name in self.names(resource) {
                    self.remove(resource, &name);
                }
                self.note_unread(resource, true);
                self.sync(resource);
            }
        }
    }

    /// Records whether the objects of a resource may exist without being known.
    fn note_unread(&mut self, resource: Resource, is_unread: bool) {
        let unread = (resource, WhyUnread::Forbidden);
        if self.cluster.unread.contains(&unread) != is_unread {
            self.cluster.unread.retain(|known| *known != unread);
            self.cluster.unread.extend(is_unread.then_some(unread));
            self.changed = true;
        }
    }

    fn sync(&mut self, resource: Resource) {
        if self.synced.insert(resource) {
            self.changed = true;
            debug!(%resource, "read");
        }
    }

    fn put(&mut self, projected: Projected) {
        match projected {
            Projected::Nothing => {}
            Projected::Policy(policy) => {
                let known = self.policies.get(&policy.metadata.name);
                self.changed |= known.is_none_or(|known| {
                    known.policy != policy.policy
                        || known.metadata.generation != policy.metadata.generation
                        || known.metadata.uid != policy.metadata.uid
                        || known.status != policy.status
                });
                self.policies.insert(policy.metadata.name.clone(), *policy);
            }
            Projected::Object(object) => match *object {
                ClusterObject::Node(node) => self.nodes_changed |= self.fleet_builder.insert(node),
                ClusterObject::Launcher(launcher) => {
                    let launcher = self.sharing(launcher);
                    self.changed |= self.cluster.put(ClusterObject::Launcher(launcher));
                }
                other => self.changed |= self.cluster.put(other),
            },
        }
    }

    /// Shares the placement of launchers, of which thousands have the same few, and drops their labels.
    fn sharing(&mut self, mut launcher: Launcher) -> Launcher {
        launcher.labels.clear();
        if let Some(known) = self.placements.get(&launcher.placement) {
            launcher.placement = Arc::clone(known);
        } else {
            // Placements that are no longer shared are dropped from time to time.
            if self.placements.len() == self.placements.capacity() {
                self.placements.retain(|placement| Arc::strong_count(placement) > 1);
            }
            self.placements.insert(Arc::clone(&launcher.placement));
        }
        launcher
    }

    fn remove(&mut self, resource: Resource, name: &ObjectName) {
        match resource {
            Resource::Nodes => self.nodes_changed |= self.fleet_builder.remove(&name.1),
            Resource::Policies => self.changed |= self.policies.remove(&name.1).is_some(),
            other => self.changed |= self.cluster.remove(other, name),
        }
    }

    /// Returns the names of a resource's objects.
    fn names(&self, resource: Resource) -> Vec<ObjectName> {
        match resource {
            Resource::Nodes => self.fleet_builder.names().map(|name| (String::new(), name.to_owned())).collect(),
            Resource::Policies => self.policies.keys().map(|name| (String::new(), name.clone())).collect(),
            other => self.cluster.names(other),
        }
    }

    /// Whether every resource was listed once.
    pub(crate) fn is_synced(&self) -> bool {
        self.synced.len() == Resource::WATCHED.len()
    }

    /// Whether the input of judgements changed since the last snapshot.
    #[must_use]
    pub fn has_changed(&self) -> bool {
        self.changed || self.nodes_changed
    }

    /// Returns the current state.
    pub fn snapshot(&mut self) -> Snapshot {
        if std::mem::take(&mut self.nodes_changed) {
            self.cluster.set_fleet(Arc::new(self.fleet_builder.fleet()));
        }
        self.changed = false;
        let valid = self.policies.values().filter_map(|registered| registered.policy.as_ref().ok());
        Snapshot {
            world: World { cluster: self.cluster.clone(), policies: valid.cloned().collect() },
            policies: Arc::new(self.policies.clone()),
        }
    }
}

/// Applies changes and publishes the result, until all senders are gone.
///
/// The first snapshot is published when every resource was listed once; later, changes within `together` form one
/// snapshot. If a snapshot takes longer to build, the next one is delayed: building takes at most a tenth of the time.
pub async fn run(
    mut inventory: Inventory,
    mut changes: mpsc::Receiver<ResourceChange>,
    together: Duration,
    mut publish: impl FnMut(Snapshot),
) {
    let mut due = None;
    let mut pause = together;
    loop {
        let change = tokio::select! {
            change = changes.recv() => change,
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                due = None;
                let started = Instant::now();
                publish(inventory.snapshot());
                pause = together.max(started.elapsed() * 9);
                continue;
            }
        };
        let Some(change) = change else { return };
        let was_synced = inventory.is_synced();
        inventory.apply(change);
        if inventory.is_synced() && inventory.has_changed() {
            if !was_synced {
                info!("every resource was read");
                publish(inventory.snapshot());
            } else if due.is_none() {
                due = Some(Instant::now() + pause);
            }
        }
    }
}

#[cfg(test)]
mod tests;
