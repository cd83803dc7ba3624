//! The room for the judged pod on the nodes that fit.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::answers::room::RoomFor;
use crate::fit::bits::Bits;
use crate::fit::fleet::NodeIndex;
use crate::fit::judgement::neighbours;
use crate::fit::remedy::{self, Action, Outage, RemedyId, RemedySpec};
use crate::fit::subject::{Stage, Subject};
use crate::judge::Evaluation;
use crate::kubevirt::cluster::Cluster;
use crate::kubevirt::room::{KVM, NodeRoomFor, NodeSpace, PodNeed, Shortage};
use crate::say;

/// The room of nodes that fit, as far as it is known.
#[derive(Debug, Default)]
pub(crate) struct FittingRoom {
    /// The nodes without room, in the fleet's order, with the resource that they lack.
    short: Vec<(NodeIndex, Shortage)>,
    /// The nodes with room only once pods with a lower priority are shut down.
    by_preemption: Vec<NodeIndex>,
    /// Number of nodes that fit, without those on which its volumes cannot be used.
    fitting: usize,
    /// Whether volumes are bound to nodes.
    is_bound: bool,
    /// Whether no node that fits has room, and no other node that it could be moved to or start on either.
    is_short_everywhere: bool,
    /// Whether the resources of the nodes are known, but not the requests of the pod.
    is_unknown: bool,
    /// If the requests are not known: the most CPU and the most memory that is free on one of the nodes, each with the
    /// node.
    most_free: Vec<String>,
}

impl FittingRoom {
    /// Computes the room for the pod of a guest: that of its migration, or of its start. `pod`: the requests of a pod
    /// that was given.
    pub(crate) fn of(case: &Evaluation<'_>, pod: Option<&PodNeed>, cluster: &Cluster) -> Self {
        let Some(room) = RoomFor::of(case, pod, cluster) else { return Self::default() };
        let is_unknown = room.waits && room.need.is_none();
        let most_free = if is_unknown { most_free(&room.nodes, cluster) } else { Vec::new() };
        let (fitting, is_bound) = (room.nodes.count(), room.is_bound);
        let mut out = Self { fitting, is_bound, is_unknown, most_free, ..Self::default() };
        let is_short = |node: NodeIndex| matches!(room.on(node), NodeRoomFor::Short(_));
        out.is_short_everywhere =
            fitting > 0 && neighbours(&case.prepared.subject, &cluster.fleet).iter().all(is_short);
        for node in room.nodes.iter() {
            match room.on(node) {
                NodeRoomFor::Enough => {}
                NodeRoomFor::ByPreemption => out.by_preemption.push(node),
                NodeRoomFor::Short(short) => out.short.push((node, short)),
            }
        }
        out
    }

    /// Whether nodes fit, and none of them has room.
    pub(crate) fn is_nowhere(&self) -> bool {
        self.fitting > 0 && self.short.len() == self.fitting
    }

    /// Returns the remedies that are known not to help, because no node has room, and why; none if a node has.
    pub(crate) fn useless(&self, subject: &Subject<'_>) -> Vec<(RemedyId, &'static str)> {
        // KubeVirt's refusal is the better reason.
        let is_refused = subject.live_migratable.refused.is_some() || subject.live_migratable.foreseen.is_some();
        if !self.is_short_everywhere || is_refused {
            return Vec::new();
        }
        let is_useless = |spec: &&RemedySpec| match subject.stage {
            Stage::Start(_) => !spec.changes.needs_running(),
            // Its VM may ask for less by now.
            Stage::Migration(_) if subject.definition.restart_required => spec.outage == Outage::None,
            Stage::Migration(_) => true,
        };
        let why = say::room::useless(matches!(subject.stage, Stage::Migration(_)));
        remedy::well_known().filter(is_useless).map(|spec| (spec.id, why)).collect()
    }

    /// Whether a remedy that helps by labels may give the guest room as well: by another node, or by a smaller demand.
    pub(crate) fn may_help(&self, action: &Action) -> bool {
        !self.is_short_everywhere || action.id().spec().gives_room
    }

    /// Returns the sentence that stands in place of a verdict by labels:
    /// `Cannot start: no node that fits has room: …`; `None` if a node has room.
    pub(crate) fn headline(&self, stage: &Stage, cluster: &Cluster) -> Option<String> {
        let what = if matches!(stage, Stage::Migration(_)) { "migrate" } else { "start" };
        self.nowhere(cluster).map(|words| format!("Cannot {what} now: {words}."))
    }

    fn nowhere(&self, cluster: &Cluster) -> Option<String> {
        let (first, short) = self.short.first().filter(|_| self.is_nowhere())?;
        Some(say::room::nowhere(cluster.fleet.name(*first), short, self.short.len() - 1, self.is_bound))
    }

    /// Returns the lines about room.
    pub(crate) fn facts(&self, cluster: &Cluster) -> Vec<String> {
        let mut out: Vec<String> = self.remarks(cluster).iter().map(|words| format!("{}.", capital(words))).collect();
        if self.is_unknown && self.fitting > 0 && !self.is_nowhere() {
            let most = match self.most_free.as_slice() {
                [] => String::new(),
                most => format!(" Most free where it fits: {}.", most.join(", ")),
            };
            out.push(format!("How much its launcher will ask for is not known: a node that fits may be full.{most}"));
        }
        out
    }

    /// Returns what is known of nodes without room.
    pub(crate) fn remarks(&self, cluster: &Cluster) -> Vec<String> {
        let fleet = &cluster.fleet;
        let mut out = Vec::new();
        if let Some(nowhere) = self.nowhere(cluster) {
            out.push(nowhere);
        } else if let Some((first, short)) = self.short.first() {
            out.push(say::room::no_room(fleet.name(*first), short, self.short.len() - 1));
        }
        let no_kvm = |(_, short): &&(NodeIndex, Shortage)| short.resource == KVM && short.of == 0;
        let without: Vec<&str> = self.short.iter().filter(no_kvm).map(|(node, _)| fleet.name(*node)).collect();
        if !without.is_empty() {
            out.push(say::room::no_kvm(&without));
        }
        if !self.by_preemption.is_empty() {
            let nodes: Vec<&str> = self.by_preemption.iter().map(|&node| fleet.name(node)).collect();
            out.push(say::room::by_preemption(&nodes, &[]));
        }
        out
    }

    /// Returns `no room: 2 of 64 cores free`, for one node.
    pub(crate) fn on(&self, node: NodeIndex) -> Option<String> {
        let short = self.short.iter().find(|(short, _)| *short == node).map(|(_, short)| short);
        let by_preemption = self.by_preemption.contains(&node).then(|| "room by preemption alone".to_owned());
        short.map(|short| format!("no room: {}", short.words())).or(by_preemption)
    }

    /// Returns, by the name of each node without room, the resource that it lacks.
    pub(crate) fn no_room(&self, cluster: &Cluster) -> BTreeMap<String, String> {
        let of = |(node, short): &(NodeIndex, Shortage)| {
            (cluster.fleet.name(*node).to_owned(), say::room::too_little(short))
        };
        self.short.iter().map(of).collect()
    }

    /// Returns the names of nodes with room only once pods with a lower priority are shut down.
    pub(crate) fn by_preemption(&self, cluster: &Cluster) -> Vec<String> {
        self.by_preemption.iter().map(|&node| cluster.fleet.name(node).to_owned()).collect()
    }
}

/// Returns a sentence with its first word as it stands at the beginning: names keep their spelling.
fn capital(words: &str) -> String {
    words.strip_prefix("no ").map_or_else(|| words.to_owned(), |rest| format!("No {rest}"))
}

/// Returns `2 of 64 cores free on node-a` and `3 of 256 GiB of memory free on node-b`: the most that is free on one of
/// these nodes without preemption, as far as their room is known.
fn most_free(nodes: &Bits, cluster: &Cluster) -> Vec<String> {
    let (room, fleet) = (&cluster.room, &cluster.fleet);
    let spaces: Vec<(&str, NodeSpace)> =
        nodes.iter().filter_map(|node| Some((fleet.name(node), room.of_node(fleet.name(node), i64::MIN)?))).collect();
    let most = |resource: &str| {
        let (node, space) = spaces.iter().max_by_key(|(node, space)| (space.free(resource), Reverse(*node)))?;
        Some(format!("{} on {node}", space.words(resource)))
    };
    ["cpu", "memory"].into_iter().filter_map(most).collect()
}
