//! The input of all reviews: the cluster and the policies.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Read;
use std::sync::Arc;

use crate::bounds::Excess;
use crate::domain::Domain;
use crate::kubevirt::cluster::{Cluster, ClusterObject};
use crate::kubevirt::release::Release;
use crate::kubevirt::resource::Resource;
use crate::kubevirt::room::{Room, only_namespace};
use crate::kubevirt::wire::Meta;
use crate::libvirt::saved::Rejected;
use crate::libvirt::{LibvirtFacts, saved};
use crate::policy::{self, Policy, PolicySubject, Unread, UserName};
use crate::snapshot::{self, DumpPlace, DumpSource, Item};

/// Returns the message about a world without a node.
pub(crate) fn no_nodes(cluster: &Cluster) -> &'static str {
    if cluster.is_live { "the cluster has no node, so nothing can be judged" } else { NO_NODES }
}

/// The message about a dump without a node.
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
    /// The policies; if empty, only the built-in one applies.
    pub policies: Vec<Policy>,
}

/// An error that prevents building a world from the inputs.
#[derive(Debug, thiserror::Error)]
pub enum WorldError {
    /// An input cannot be read.
    #[error(transparent)]
    Snapshot(#[from] snapshot::Error),
    /// A document is not a valid policy.
    #[error("{place}")]
    Policy {
        /// The place of the document.
        place: String,
        /// The problems.
        source: crate::policy::PolicyError,
    },
    /// Two policies have one name.
    #[error("{place}: there is a CPUPolicy named {name} already")]
    PolicyTwice {
        /// The place of the second one.
        place: String,
        /// The name.
        name: String,
    },
    /// Two nodes have one name and differ: the dumps are of two clusters, or of two days.
    #[error(
        "{place}: there is a Node named {name} already, with other labels or taints ({first}): give one dump of one cluster"
    )]
    NodeTwice {
        /// The place of the second one.
        place: String,
        /// The name.
        name: String,
        /// The place of the first one.
        first: String,
    },
    /// Answers of libvirt are not in the saved format.
    #[error("{place}: not an answer of libvirt as --save-libvirt-facts writes it: {problem}")]
    LibvirtFacts {
        /// The place of the answers.
        place: String,
        /// The problem.
        problem: String,
    },
    /// Saved answers contradict others.
    #[error("saved answers of libvirt contradict each other: {0}")]
    LibvirtContradiction(String),
    /// `--libvirt-facts` names a file with another object.
    #[error("{place}: a {kind} is not an answer of libvirt; --save-libvirt-facts writes such files")]
    NoLibvirtFacts {
        /// The place of the object.
        place: String,
        /// The kind of the object.
        kind: String,
    },
    /// `--policy` names a file with another object.
    #[error("{place}: a {kind} is not a CPUPolicy (apiVersion cpufit.io/v1alpha1, kind CPUPolicy)")]
    NotAPolicy {
        /// The place of the object.
        place: String,
        /// The kind of the object.
        kind: String,
    },
}

impl World {
    /// Returns the guest with these labels as policies see it, with the user of the request. It was read
    /// whole.
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

    /// Returns a guest of the cluster as policies see it, without a user.
    pub(crate) fn guest_of<'g>(&'g self, metadata: &'g Meta) -> PolicySubject<'g> {
        self.guest(&metadata.namespace, &metadata.labels, UserName::NOBODY).less(metadata.excess.as_ref())
    }

    /// Whether a namespace is exempt from everything.
    pub(crate) fn exempts(&self, namespace: &str) -> bool {
        self.cluster.namespace(namespace).is_some_and(policy::is_exempt)
    }

    /// Reads policies from files and adds them like `kubectl apply`: a policy of an existing name replaces the
    /// old one.
    ///
    /// # Errors
    ///
    /// Returns an error if an input cannot be read, contains an object that is not a policy, or has two
    /// policies of one name.
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

    /// Reads answers of libvirt from files and adds them to the existing ones. Returns a note for each that a
    /// later one replaced. Other objects of a dump that has answers are skipped.
    ///
    /// # Errors
    ///
    /// Returns an error if an input cannot be read or contains no answers, but other objects.
    pub(crate) fn add_libvirt_facts(
        &mut self,
        sources: &[DumpSource],
        mut stdin: impl Read,
    ) -> Result<Vec<String>, WorldError> {
        let domain = self.cluster.domain.clone();
        let facts = Arc::make_mut(&mut self.cluster.libvirt);
        let (mut empty, mut notes) = (None, Vec::new());
        for source in sources {
            let (mut has_answers, mut other, mut dangling) = (false, None, None);
            let read = snapshot::read_each(std::slice::from_ref(source), &domain, &mut stdin, |read| {
                let item = match read {
                    Ok(item) => item,
                    Err(error) => {
                        let note = error.dangling_link(source).map(left_out);
                        let error = WorldError::from(error);
                        let Some(note) = note else { return Err(error) };
                        notes.push(note);
                        dangling.get_or_insert(error);
                        return Ok(());
                    }
                };
                if saved::is_kind(&item.api_version, &item.kind) {
                    has_answers = true;
                    return take_in(facts, &item);
                }
                other.get_or_insert_with(|| not_an_answer(&item));
                Ok(())
            });
            match read {
                Err(error @ WorldError::Snapshot(snapshot::Error::NoObject { .. })) if sources.len() > 1 => {
                    empty = empty.or(Some(error));
                }
                Err(error) => return Err(error),
                Ok(()) => {}
            }
            if let Some(other) = other.or(dangling).filter(|_| !has_answers) {
                return Err(other);
            }
        }
        match empty {
            Some(error) if facts.is_empty() => Err(error),
            _ => {
                notes.extend(facts.take_notes());
                Ok(notes)
            }
        }
    }
}

/// Returns the note about a file of a folder that is not read.
fn left_out(link: &str) -> String {
    format!("{link} is left out: it is a link to a file that does not exist")
}

fn add(policies: &mut Vec<Policy>, policy: Policy, item: &Item) -> Result<(), WorldError> {
    if policies.iter().any(|known| known.name == policy.name) {
        return Err(WorldError::PolicyTwice { place: item.place.to_string(), name: policy.name });
    }
    policies.push(policy);
    Ok(())
}

/// The input of [`load`].
#[derive(Clone, Copy, Debug)]
pub struct LoadInput<'i> {
    /// The dumps.
    pub snapshots: &'i [DumpSource],
    /// Files of policies: each replaces one of the same name in the dumps.
    pub policies: &'i [DumpSource],
    /// KubeVirt's release, if it is given.
    pub release: Option<Release>,
    /// The namespace of objects that name none.
    pub namespace: &'i str,
    /// The domain whose names become KubeVirt's own.
    pub domain: &'i Domain,
    /// Whether to read the capacity of nodes and the requests of pods too.
    pub with_room: bool,
}

impl<'i> LoadInput<'i> {
    /// Reads these dumps alone, in namespace `default`, without room.
    #[must_use]
    pub const fn new(snapshots: &'i [DumpSource], domain: &'i Domain) -> Self {
        Self { snapshots, policies: &[], release: None, namespace: "default", domain, with_room: false }
    }
}

/// Reads a snapshot and policies.
///
/// A `CPUPolicy` in the snapshot counts like one of the policies. Kinds that affect nothing are skipped. Returns notes
/// about the dumps with the world, a line each.
///
/// # Errors
///
/// Returns an error if an input cannot be read or is malformed; it names file, document and field.
pub fn load(input: LoadInput<'_>, mut stdin: impl Read) -> Result<(World, Vec<String>), WorldError> {
    let LoadInput { snapshots, policies, release, namespace, domain, with_room } = input;
    let mut room = with_room.then(Room::default);
    let mut world = World::default();
    world.cluster.domain = domain.clone();
    let mut objects = Vec::new();
    // The index in `objects` and the place of each node, by name.
    let mut places: HashMap<String, (usize, DumpPlace)> = HashMap::new();
    let mut twice: Vec<String> = Vec::new();
    let mut facts = LibvirtFacts::default();
    let mut only_namespaces = BTreeSet::new();
    let skipped = snapshot::read_dumps(snapshots, domain, &mut stdin, |item| {
        if is_policy(&item) {
            return add(&mut world.policies, policy(&item)?, &item);
        }
        if saved::is_kind(&item.api_version, &item.kind) {
            return take_in(&mut facts, &item);
        }
        let item = item.in_namespace(namespace);
        only_namespaces.extend(only_namespace(item.group(), &item.kind, &&item)?);
        if let Some(room) = &mut room {
            room.read(item.group(), &item.kind, &&item)?;
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
    world.cluster.only_namespaces = only_namespaces;
    world.cluster.domain = domain.clone();
    let mut notes: Vec<String> = skipped.line().into_iter().collect();
    notes.extend(facts.take_notes());
    world.cluster.libvirt = Arc::new(facts);
    if let Some(mut room) = room {
        room.adopt_launchers(|namespace, guest| world.cluster.vmi(namespace, guest).is_some());
        world.cluster.room = Arc::new(room);
    }
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

/// Reads answers of libvirt from files and adds them to the known ones.
///
/// # Errors
///
/// Returns an error if an input cannot be read or contains another object.
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
        Err(not_an_answer(&item))
    })
}

fn not_an_answer(item: &Item) -> WorldError {
    WorldError::NoLibvirtFacts { place: item.place.to_string(), kind: item.kind.clone() }
}

fn take_in(facts: &mut LibvirtFacts, item: &Item) -> Result<(), WorldError> {
    let taken = saved::take_in(facts, &item.kind, item.json.get(), &item.place.to_string());
    taken.map_err(|rejected| match rejected {
        Rejected::Form(problem) => WorldError::LibvirtFacts { place: item.place.to_string(), problem },
        Rejected::Contradiction(contradiction) => WorldError::LibvirtContradiction(contradiction.to_string()),
    })
}

/// Whether an object is a `CPUPolicy`.
pub(crate) fn is_policy(item: &Item) -> bool {
    Resource::Policies.is(item.group(), &item.kind)
}

fn policy(item: &Item) -> Result<Policy, WorldError> {
    let read = Policy::from_json(item.json.get());
    read.map_err(|source| WorldError::Policy { place: item.place.to_string(), source })
}

/// Reads an object of a dump; `None` if its kind does not affect judgements.
fn object(item: &Item) -> Result<Option<ClusterObject>, snapshot::Error> {
    ClusterObject::read(item.group(), &item.kind, &item)
}
