//! All that reviews are judged by: the cluster and the policies.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::sync::Arc;

use crate::bounds::Excess;
use crate::domain::Domain;
use crate::kubevirt::cluster::{Cluster, ClusterObject};
use crate::kubevirt::release::Release;
use crate::kubevirt::room::Room;
use crate::kubevirt::wire::Meta;
use crate::libvirt::{LibvirtFacts, saved};
use crate::policy::{Policy, PolicySubject, Unread, UserName};
use crate::snapshot::{self, DumpPlace, DumpSource, Item};

/// What is said of a world without a node.
#[must_use]
pub(crate) fn no_nodes(cluster: &Cluster) -> &'static str {
    if cluster.is_live { "the cluster has no node, so nothing can be judged" } else { NO_NODES }
}

/// A dump that nothing can be judged by.
pub(crate) const NO_NODES: &str = concat!(
    "the dump holds no node, so nothing can be judged by it: add what `",
    crate::dump_command!(),
    "` prints (leave out kinds that the cluster does not have)"
);

/// The cluster and the policies at one instant.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// Nodes, guests, configuration.
    pub cluster: Cluster,
    /// The policies; empty means the built-in one alone.
    pub policies: Vec<Policy>,
}

/// A world that cannot be built from what was given.
#[derive(Debug, thiserror::Error)]
pub enum WorldError {
    /// An input cannot be read.
    #[error(transparent)]
    Snapshot(#[from] snapshot::Error),
    /// A policy is not one.
    #[error("{place}")]
    Policy {
        /// Where it stands.
        place: String,
        /// What is wrong with it.
        source: crate::policy::PolicyError,
    },
    /// Two policies have one name.
    #[error("{place}: there is a CPUPolicy named {name} already")]
    PolicyTwice {
        /// Where the second one stands.
        place: String,
        /// The name.
        name: String,
    },
    /// Two nodes have one name, and differ: dumps of two clusters, or of two days.
    #[error(
        "{place}: there is a Node named {name} already, with other labels or taints ({first}): give one dump of one cluster"
    )]
    NodeTwice {
        /// Where the second one stands.
        place: String,
        /// The name.
        name: String,
        /// Where the first one stands.
        first: String,
    },
    /// Answers of libvirt are not as they were saved.
    #[error("{place}: not an answer of libvirt as --save-libvirt-facts writes it: {problem}")]
    LibvirtFacts {
        /// Where they stand.
        place: String,
        /// What is wrong with them.
        problem: String,
    },
    /// `--libvirt-facts` names a file with something else in it.
    #[error("{place}: a {kind} is no answer of libvirt; --save-libvirt-facts writes such files")]
    NoLibvirtFacts {
        /// Where it stands.
        place: String,
        /// What stands there.
        kind: String,
    },
    /// `--policy` names a file with something else in it.
    #[error("{place}: a {kind} is not a CPUPolicy (apiVersion cpufit.io/v1alpha1, kind CPUPolicy)")]
    NotAPolicy {
        /// Where it stands.
        place: String,
        /// What stands there.
        kind: String,
    },
}

impl World {
    /// A guest with these labels as policies see it, and who asks. It is one that was read whole.
    #[must_use]
    pub fn guest<'g>(
        &'g self,
        namespace: &'g str,
        labels: &'g BTreeMap<String, String>,
        user: &'g UserName,
    ) -> PolicySubject<'g> {
        static NO_LABELS: BTreeMap<String, String> = BTreeMap::new();
        PolicySubject {
            namespace,
            namespace_labels: self.cluster.namespace(namespace).unwrap_or(&NO_LABELS),
            labels,
            user,
            kubevirt_namespace: self.cluster.kubevirt_namespace.as_deref(),
            unread: Unread {
                namespace_labels: self.cluster.namespace_excess(namespace).is_some_and(Excess::cuts_labels),
                ..Unread::default()
            },
        }
    }

    /// A guest of the cluster as policies see it, without a user.
    #[must_use]
    pub(crate) fn guest_of<'g>(&'g self, metadata: &'g Meta) -> PolicySubject<'g> {
        self.guest(&metadata.namespace, &metadata.labels, UserName::NOBODY).less(metadata.excess.as_ref())
    }

    /// Reads policies from files, as `kubectl apply` would bring them into the cluster: beside those that are there, and in the place of
    /// one of the same name.
    ///
    /// # Errors
    ///
    /// An input cannot be read, holds something else than policies, or two of one name.
    pub(crate) fn apply_policies(&mut self, policies: &[DumpSource], stdin: impl Read) -> Result<(), WorldError> {
        let domain = self.cluster.domain.clone();
        let mut applied: Vec<Policy> = Vec::new();
        snapshot::read_all(policies, &domain, stdin, |item| {
            if !is_policy(&item) {
                return Err(WorldError::NotAPolicy { place: item.place.to_string(), kind: item.kind });
            }
            add(&mut applied, policy(&item)?, &item)
        })?;
        self.policies.retain(|known| applied.iter().all(|policy| policy.name != known.name));
        self.policies.extend(applied);
        Ok(())
    }

    /// Reads answers of libvirt from files, besides those that are there; notes where some gave way to later ones.
    ///
    /// # Errors
    ///
    /// An input cannot be read, or holds something else.
    pub(crate) fn add_libvirt_facts(
        &mut self,
        sources: &[DumpSource],
        stdin: impl Read,
    ) -> Result<Vec<String>, WorldError> {
        let domain = self.cluster.domain.clone();
        let facts = Arc::make_mut(&mut self.cluster.libvirt);
        read_libvirt_facts(facts, sources, &domain, stdin)?;
        Ok(facts.take_notes())
    }
}

fn add(policies: &mut Vec<Policy>, policy: Policy, item: &Item) -> Result<(), WorldError> {
    if policies.iter().any(|known| known.name == policy.name) {
        return Err(WorldError::PolicyTwice { place: item.place.to_string(), name: policy.name });
    }
    policies.push(policy);
    Ok(())
}

/// Reads a snapshot and policies.
///
/// A `CPUPolicy` in the snapshot counts like one of `policies`, which takes the place of one of its name. Kinds that affect nothing are passed over. Objects that name no
/// namespace are in this one; names of this domain become KubeVirt's own. What is worth knowing of the dumps comes beside the world, a line each.
///
/// # Errors
///
/// An input cannot be read, or holds something malformed; the error names file, document and field.
pub fn load(
    snapshots: &[DumpSource],
    policies: &[DumpSource],
    release: Option<Release>,
    namespace: &str,
    domain: &Domain,
    stdin: impl Read,
) -> Result<(World, Vec<String>), WorldError> {
    read(snapshots, policies, release, namespace, domain, stdin, None)
}

/// The same, with what nodes have and pods ask for.
///
/// # Errors
///
/// As [`load`].
pub fn load_with_room(
    snapshots: &[DumpSource],
    policies: &[DumpSource],
    release: Option<Release>,
    namespace: &str,
    domain: &Domain,
    stdin: impl Read,
) -> Result<(World, Vec<String>), WorldError> {
    let mut room = Room::default();
    let (mut world, notes) = read(snapshots, policies, release, namespace, domain, stdin, Some(&mut room))?;
    world.cluster.room = Arc::new(room);
    Ok((world, notes))
}

fn read(
    snapshots: &[DumpSource],
    policies: &[DumpSource],
    release: Option<Release>,
    namespace: &str,
    domain: &Domain,
    mut stdin: impl Read,
    mut room: Option<&mut Room>,
) -> Result<(World, Vec<String>), WorldError> {
    let mut world = World::default();
    world.cluster.domain = domain.clone();
    let mut objects = Vec::new();
    // By name, the place in `objects`, and where the node stands.
    let mut places: HashMap<String, (usize, DumpPlace)> = HashMap::new();
    let mut twice: Vec<String> = Vec::new();
    let mut facts = LibvirtFacts::default();
    let skipped = snapshot::read_dumps(snapshots, domain, &mut stdin, |item| {
        if is_policy(&item) {
            return add(&mut world.policies, policy(&item)?, &item);
        }
        if saved::is_kind(&item.api_version, &item.kind) {
            return take_in(&mut facts, &item);
        }
        let item = item.in_namespace(namespace);
        if let Some(room) = &mut room {
            room.read(group(&item), &item.kind, &&item)?;
        }
        let Some(object) = object(&item)? else { return Ok(()) };
        if let ClusterObject::Node(node) = &object {
            match places.entry(node.name.clone()) {
                Entry::Vacant(entry) => {
                    entry.insert((objects.len(), item.place));
                }
                Entry::Occupied(known) => {
                    let (at, first) = known.get();
                    if !matches!(&objects[*at], ClusterObject::Node(known) if known == node) {
                        let (place, name, first) = (item.place.to_string(), node.name.clone(), first.to_string());
                        return Err(WorldError::NodeTwice { place, name, first });
                    }
                    twice.push(node.name.clone());
                    return Ok(());
                }
            }
        }
        objects.push(object);
        Ok(())
    })?;
    world.apply_policies(policies, &mut stdin)?;
    world.cluster = Cluster::new(objects, release);
    world.cluster.domain = domain.clone();
    let mut notes: Vec<String> = skipped.line().into_iter().collect();
    notes.extend(facts.take_notes());
    world.cluster.libvirt = Arc::new(facts);
    if let Some(first) = twice.first() {
        let one = format!("node {first} is in the dump more than once, alike, and counts once");
        let more = twice.len() - 1;
        notes.push(match more {
            0 => one,
            1 => format!("{one}; so does 1 other"),
            _ => format!("{one}; so do {more} others"),
        });
    }
    if world.cluster.fleet.is_empty() {
        notes.push(NO_NODES.to_owned());
    }
    Ok((world, notes))
}

/// Reads answers of libvirt from files, besides what is known.
///
/// # Errors
///
/// An input cannot be read, or holds something else.
pub(crate) fn read_libvirt_facts(
    facts: &mut LibvirtFacts,
    sources: &[DumpSource],
    domain: &Domain,
    stdin: impl Read,
) -> Result<(), WorldError> {
    snapshot::read_all(sources, domain, stdin, |item| {
        if saved::is_kind(&item.api_version, &item.kind) {
            return take_in(facts, &item);
        }
        Err(WorldError::NoLibvirtFacts { place: item.place.to_string(), kind: item.kind })
    })
}

fn take_in(facts: &mut LibvirtFacts, item: &Item) -> Result<(), WorldError> {
    let taken = saved::take_in(facts, &item.kind, item.json.get(), &item.place.to_string());
    taken.map_err(|problem| WorldError::LibvirtFacts { place: item.place.to_string(), problem })
}

/// Whether an object is a `CPUPolicy`.
#[must_use]
pub(crate) fn is_policy(item: &Item) -> bool {
    item.kind == "CPUPolicy" && item.api_version.starts_with("cpufit.io/")
}

fn policy(item: &Item) -> Result<Policy, WorldError> {
    let read = Policy::from_json(item.json.get());
    read.map_err(|source| WorldError::Policy { place: item.place.to_string(), source })
}

/// One object of a dump, if guests are judged by it.
fn object(item: &Item) -> Result<Option<ClusterObject>, snapshot::Error> {
    ClusterObject::read(group(item), &item.kind, &item)
}

fn group(item: &Item) -> &str {
    item.api_version.split_once('/').map_or("", |(group, _)| group)
}
