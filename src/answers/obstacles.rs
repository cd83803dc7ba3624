//! The obstacles on nodes that a guest fits on by labels, now or after a remedy: volumes, other pods, and room, as far
//! as they are known.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::anti_affinity::{OWN_LAUNCHER, Residents};
use super::pod_rules::ClosedByRules;
use super::room::RoomFor;
use crate::fit::bits::Bits;
use crate::fit::check::{Detail, Finding, PodRules};
use crate::fit::fleet::{Fleet, NodeIndex};
use crate::fit::node::Node;
use crate::fit::plural::fold_names;
use crate::fit::remedy::{Action, Outage};
use crate::fit::subject::{BoundVolume, PodRule, Stage, Subject};
use crate::fit::verdict::{Impact, Verdict};
use crate::kubevirt::room::{NodeRoomFor, PodNeed, Shortage};
use crate::kubevirt::wire::Vmi;
use crate::say;
use crate::world::World;

/// The known obstacles for one guest.
pub(crate) struct Obstacles<'c> {
    subject: &'c Subject<'c>,
    fleet: &'c Fleet,
    /// The room for its pod; `None` if no room is known.
    room: Option<RoomFor<'c>>,
    /// The nodes on which all its volumes can be used; `None` if none of them is bound to nodes.
    usable: Option<Bits>,
    /// The guest among the pods on the nodes, if it runs; without them, rules about pods are not judged.
    apart: Option<(&'c Residents<'c>, &'c Vmi)>,
    /// The nodes that pods close to the target of its migration, and to its launcher after a restart.
    kept_off: (Bits, Bits),
    /// The nodes that its rules about pods close to it.
    rules: ClosedByRules,
    /// The guests that leave with it and close no node.
    leaving: &'c [&'c Vmi],
}

/// The result of a remedy, given the obstacles on the nodes that it opens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AfterRemedy {
    /// The obstacles on nodes that it opens, a sentence each.
    pub in_the_way: Vec<String>,
    /// Whether there is an obstacle on each node that it opens.
    pub is_in_vain: bool,
}

/// The nodes of a set that are closed, by their first obstacle.
#[derive(Default)]
struct ClosedNodes {
    by_volumes: Vec<NodeIndex>,
    by_rules: Vec<NodeIndex>,
    by_pods: Vec<NodeIndex>,
    full: Vec<(NodeIndex, Shortage)>,
}

impl ClosedNodes {
    fn count(&self) -> usize {
        self.by_volumes.len() + self.by_rules.len() + self.by_pods.len() + self.full.len()
    }
}

impl<'c> Obstacles<'c> {
    /// Finds those of a guest. `pod`: the requests of a pod that was given. `leaving`: guests that leave with it.
    pub(crate) fn of(
        subject: &'c Subject<'c>,
        pod: Option<&'c PodNeed>,
        world: &'c World,
        residents: &'c Residents<'c>,
        leaving: &'c [&'c Vmi],
    ) -> Self {
        let cluster = &world.cluster;
        let vmi = cluster.vmi(&subject.namespace, &subject.name);
        let apart = vmi.filter(|_| matches!(subject.stage, Stage::Migration(_))).map(|vmi| (residents, vmi));
        let none = || Bits::none(cluster.fleet.len());
        let kept_off = match apart {
            Some((residents, vmi)) => (residents.kept_off(vmi, leaving), residents.kept_off_at_start(vmi, leaving)),
            None => (none(), none()),
        };
        let room = RoomFor::of_subject(subject, pod, cluster);
        let usable = subject.usable(&cluster.fleet);
        let rules = match apart {
            Some((residents, vmi)) => ClosedByRules::now(&subject.unjudged, vmi, residents, leaving, &cluster.fleet),
            None => ClosedByRules::of(&subject.unjudged, None, &cluster.fleet),
        };
        Self { subject, fleet: &cluster.fleet, room, usable, apart, kept_off, rules, leaving }
    }

    /// Whether one of these nodes is not known to be closed.
    pub(crate) fn is_open(&self, nodes: &Bits) -> bool {
        self.closed(nodes, false).count() < nodes.count()
    }

    /// Returns the impact of volumes and pods that are known to close nodes that fit by labels, given room as well: no
    /// node is left, or one to migrate to; `None` if they close none, or if more nodes are left.
    pub(crate) fn impact(&self, verdict: &Verdict) -> Option<Impact> {
        let fitting = &verdict.assessment.fitting;
        let ClosedNodes { by_volumes, by_rules, by_pods, full } = self.closed(fitting, false);
        let mut open = fitting.clone();
        by_volumes.into_iter().chain(by_rules).chain(by_pods).for_each(|node| open.remove(node));
        // The pods that close nodes at a start are in the finding alone.
        let of_pods = verdict.findings.iter().find_map(|finding| match &finding.detail {
            Detail::PodRules(found) => Some(found),
            _ => None,
        });
        let at_start =
            fitting.iter().filter(|node| of_pods.is_some_and(|found| found.is_closed(self.fleet.name(*node))));
        at_start.for_each(|node| open.remove(node));
        if open == *fitting {
            return None;
        }
        for (node, _) in full {
            open.remove(node);
        }
        match (&self.subject.stage, open.count()) {
            (Stage::Migration(_), 0) => Some(Impact::Pinned),
            (Stage::Migration(_), 1) => Some(Impact::Fragile),
            (Stage::Start(_), 0) => Some(Impact::Unschedulable),
            (Stage::Migration(_) | Stage::Start(_), _) => None,
        }
    }

    /// Returns a finding without the rules about pods that are judged here; `None` if it is about no others.
    pub(crate) fn not_judged<'f>(&self, finding: &'f Finding) -> Option<Cow<'f, Finding>> {
        let Detail::PodRules(found) = &finding.detail else { return Some(Cow::Borrowed(finding)) };
        let open = self.rules_not_judged();
        let rules: Vec<PodRule> = found.rules.iter().filter(|rule| open.contains(rule)).copied().collect();
        if rules.len() == found.rules.len() {
            return Some(Cow::Borrowed(finding));
        }
        let detail = Detail::PodRules(PodRules { rules, ..found.clone() });
        let is_of_others = |finding: &Finding| matches!(&finding.detail, Detail::PodRules(found) if !found.is_empty());
        Some(Finding { detail, ..finding.clone() }).filter(is_of_others).map(Cow::Owned)
    }

    /// Returns the rules about pods that are not judged here.
    pub(crate) fn rules_not_judged(&self) -> Vec<PodRule> {
        let knows_apart = self.apart.is_some_and(|(residents, vmi)| residents.know_all_apart(vmi));
        self.rules.not_judged(&self.subject.unjudged.pod_rules, knows_apart)
    }

    /// Returns the obstacles on one node, in a few words each.
    pub(crate) fn on(&self, node: NodeIndex) -> Vec<String> {
        let mut one = Bits::none(self.fleet.len());
        one.insert(node);
        let ClosedNodes { by_volumes, by_rules, by_pods, full } = self.closed(&one, false);
        let mut out = Vec::new();
        out.extend(by_volumes.first().map(|_| "its volumes cannot be used here".to_owned()));
        out.extend(by_rules.first().and_then(|node| self.rules.on(*node)));
        out.extend(by_pods.first().map(|_| "kept off by pod anti-affinity".to_owned()));
        out.extend(full.first().map(|(_, short)| format!("no room: {}", short.words())));
        out
    }

    /// Returns the obstacles on these nodes, on which it fits by labels, a sentence each: to its migration, or to its
    /// start after a restart.
    pub(crate) fn words(&self, nodes: &Bits, starts: bool) -> Vec<String> {
        self.sentences(&self.closed(nodes, starts), starts)
    }

    /// Returns the result of a remedy. `fitting`: the nodes that fit now. `is_resized`: its launcher may ask for
    /// another amount after a restart.
    pub(crate) fn after(&self, action: &Action, fitting: &Bits, is_resized: bool) -> AfterRemedy {
        let (after, changed) = action.apply(self.subject, self.fleet);
        let starts = self.apart.is_some() && action.outage(self.subject) == Outage::Restart;
        let own = self.subject.source().or(self.subject.running.as_ref().map(|running| running.node.as_str()));
        let mut opened = after.fitting(self.fleet);
        changed.iter().filter_map(|node| self.fleet.find(&node.name)).for_each(|node| opened.remove(node));
        let (known, added): (Vec<Node>, Vec<Node>) =
            changed.into_iter().partition(|node| self.fleet.find(&node.name).is_some());
        let edited = Fleet::new(known);
        let names = after.fitting(&edited);
        names.iter().filter_map(|node| self.fleet.find(edited.name(node))).for_each(|node| opened.insert(node));
        own.and_then(|own| self.fleet.find(own)).into_iter().for_each(|own| opened.remove(own));
        opened.subtract(fitting);
        let mut closed = self.closed(&opened, starts);
        if starts && is_resized {
            closed.full.clear();
        }
        let in_the_way = self.sentences(&closed, starts);
        // A node is added only if the guest's volumes can be used there.
        let is_in_vain = closed.count() == opened.count() && added.is_empty();
        AfterRemedy { is_in_vain: is_in_vain && !in_the_way.is_empty(), in_the_way }
    }

    fn closed(&self, nodes: &Bits, starts: bool) -> ClosedNodes {
        let kept_off = if starts { &self.kept_off.1 } else { &self.kept_off.0 };
        let mut out = ClosedNodes::default();
        for node in nodes.iter() {
            if self.usable.as_ref().is_some_and(|usable| !usable.contains(node)) {
                out.by_volumes.push(node);
            } else if self.rules.closes(node) {
                out.by_rules.push(node);
            } else if kept_off.contains(node) {
                out.by_pods.push(node);
            } else if let Some(NodeRoomFor::Short(short)) = self.room.as_ref().map(|room| room.on(node)) {
                out.full.push((node, short));
            }
        }
        out
    }

    fn sentences(&self, closed: &ClosedNodes, starts: bool) -> Vec<String> {
        let mut out = Vec::new();
        if !closed.by_volumes.is_empty() {
            let mut in_the_way: BTreeMap<&str, String> = BTreeMap::new();
            for volume in &self.subject.unjudged.volumes {
                let usable = volume.usable(self.fleet);
                if closed.by_volumes.iter().any(|&node| !usable.contains(node)) {
                    in_the_way.insert(&volume.volume, usable_on(volume, self.fleet));
                }
            }
            let volumes: Vec<String> = in_the_way.into_values().collect();
            out.push(say::room::off_by_volumes(&self.names(&closed.by_volumes), &fold_names(&volumes, 2)));
        }
        out.extend(self.rules.sentences(&self.set(&closed.by_rules), self.fleet));
        if let (Some((residents, vmi)), false) = (self.apart, closed.by_pods.is_empty()) {
            let nodes = self.set(&closed.by_pods);
            let mut keepers = residents.keepers(vmi, &nodes, self.leaving);
            keepers.retain(|keeper| !starts || keeper != OWN_LAUNCHER);
            out.push(say::room::kept_apart(&self.names(&closed.by_pods), &keepers));
        }
        if let Some((first, short)) = closed.full.first() {
            out.push(say::room::no_room(self.fleet.name(*first), short, closed.full.len() - 1));
        }
        out
    }

    fn set(&self, nodes: &[NodeIndex]) -> Bits {
        let mut out = Bits::none(self.fleet.len());
        for &node in nodes {
            out.insert(node);
        }
        out
    }

    fn names(&self, nodes: &[NodeIndex]) -> Vec<&str> {
        let mut names: Vec<&str> = nodes.iter().map(|&node| self.fleet.name(node)).collect();
        names.sort_unstable();
        names
    }
}

/// Returns `its volume root (PersistentVolume pv-1) can be used on node-a alone`.
pub(crate) fn usable_on(volume: &BoundVolume, fleet: &Fleet) -> String {
    let usable = volume.usable(fleet);
    say::room::usable_on(&volume.volume, &volume.persistent_volume, &fleet.names(&usable))
}
