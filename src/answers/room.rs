//! The room of nodes that fit for the pod of a guest, for all verbs that print it.

use crate::fit::bits::Bits;
use crate::fit::fleet::NodeIndex;
use crate::fit::subject::{Device, Stage, Subject};
use crate::judge::Evaluation;
use crate::kubevirt::cluster::Cluster;
use crate::kubevirt::room::{NodeRoomFor, PodNeed, Shortage};
use crate::kubevirt::wire::Vmi;
use crate::say;

/// The requests of a judged pod, and the nodes whose room counts. The webhook reads no pods but launchers and no
/// resources of nodes: it knows of no room.
#[derive(Clone, Debug)]
pub(crate) struct RoomFor<'w> {
    cluster: &'w Cluster,
    vmi: Option<&'w Vmi>,
    /// The requests, if they are known.
    pub(crate) need: Option<&'w PodNeed>,
    devices: &'w [Device],
    /// The nodes that fit, without those on which its volumes cannot be used.
    pub(crate) nodes: Bits,
    /// Whether volumes are bound to nodes.
    pub(crate) is_bound: bool,
    /// Whether the requests of its current launcher apply: a start may have another specification.
    pub(crate) waits: bool,
}

impl<'w> RoomFor<'w> {
    /// Returns the question for the pod of a guest: that of its migration, or of its start; `None` if nothing is judged
    /// or the resources of the nodes are not known. `pod`: the requests of a pod that was given.
    pub(crate) fn of(case: &'w Evaluation<'_>, pod: Option<&'w PodNeed>, cluster: &'w Cluster) -> Option<Self> {
        let subject: &Subject<'_> = &case.prepared.subject;
        let mut nodes = case.verdict.assessment.fitting.clone();
        let usable = subject.usable(&cluster.fleet);
        if let Some(usable) = &usable {
            nodes.intersect(usable);
        }
        let of_subject = Self::of_subject(subject, pod, cluster).filter(|_| case.prepared.not_judged.is_none())?;
        Some(Self { nodes, is_bound: usable.is_some(), ..of_subject })
    }

    /// Returns the question without nodes; `None` if the resources of the nodes are not known.
    pub(super) fn of_subject(subject: &'w Subject<'_>, pod: Option<&'w PodNeed>, cluster: &'w Cluster) -> Option<Self> {
        let room = &cluster.room;
        if room.is_empty() {
            return None;
        }
        let vmi = cluster.vmi(&subject.namespace, &subject.name);
        let waits = matches!(subject.stage, Stage::Migration(_)) || subject.running.is_none();
        let need = pod.or_else(|| room.need(vmi.filter(|_| waits)?));
        let (nodes, devices) = (Bits::none(cluster.fleet.len()), subject.unjudged.devices.as_slice());
        Some(Self { cluster, vmi, need, devices, nodes, is_bound: false, waits })
    }

    /// Returns whether a node has too little of a resource for the pod beside all pods there; `None` if that is not
    /// known.
    pub(super) fn lacks(&self, node: NodeIndex, resource: &str) -> Option<bool> {
        let space = self.cluster.room.of_node(self.cluster.fleet.name(node), i64::MIN)?;
        let asked = self.need?.amounts.get(resource).copied().unwrap_or(0);
        Some(asked > 0 && asked > space.free(resource))
    }

    /// Returns whether a node has room.
    pub(crate) fn on(&self, node: NodeIndex) -> NodeRoomFor {
        let name = self.cluster.fleet.name(node);
        let found = self.need.map(|need| self.cluster.room.for_pod(name, need, self.vmi));
        match found {
            Some(NodeRoomFor::Short(short)) => return NodeRoomFor::Short(short),
            Some(NodeRoomFor::Enough | NodeRoomFor::ByPreemption) | None => {}
        }
        let short = |device: &Device| {
            let &(free, of) = device.without.get(name)?;
            let at_least = matches!(device.resource.as_str(), "cpu" | "memory");
            let Device { resource, asked, .. } = device;
            Some(NodeRoomFor::Short(Shortage { resource: resource.clone(), free, of, asked: *asked, at_least }))
        };
        self.devices.iter().find_map(short).or(found).unwrap_or(NodeRoomFor::Enough)
    }
}

/// Returns the reason why no node that fits has room; `None` if one has, or that is not known.
pub(crate) fn nowhere(case: &Evaluation<'_>, cluster: &Cluster) -> Option<String> {
    let room = RoomFor::of(case, None, cluster)?;
    let mut first = None;
    for node in room.nodes.iter() {
        let NodeRoomFor::Short(short) = room.on(node) else { return None };
        first.get_or_insert((node, short));
    }
    let (node, short) = first?;
    Some(say::room::nowhere(cluster.fleet.name(node), &short, room.nodes.count() - 1, room.is_bound))
}
