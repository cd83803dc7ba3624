//! The nodes that a guest's rules about pods leave for certain: those with the topology keys of its topology spread
//! (`DoNotSchedule`) and its required pod affinity, and in the domains of the pods that this affinity selects.
//!
//! A topology spread is judged by its key alone: its counts depend on the pods of the moment.

use std::borrow::Cow;

use super::anti_affinity::{Mates, Residents};
use crate::enforce::forecast;
use crate::fit::bits::Bits;
use crate::fit::check::{ClosedByPods, PodRules};
use crate::fit::fleet::{Fleet, NodeIndex};
use crate::fit::subject::{PodRule, Stage, Unjudged};
use crate::fit::verdict::{Check, Detail, Finding};
use crate::judge::Evaluation;
use crate::kubevirt::cluster::Cluster;
use crate::kubevirt::guest::guest_of;
use crate::kubevirt::wire::Vmi;
use crate::say;
use crate::world::World;

/// The nodes that rules about pods close to a guest.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClosedByRules {
    /// The topology keys that nodes lack, with these nodes.
    without_keys: Vec<(PodRule, String, Bits)>,
    /// The nodes outside of the domains of the pods that required pod affinity selects.
    apart: Option<Apart>,
}

/// The nodes that required pod affinity closes.
#[derive(Clone, Debug)]
struct Apart {
    closed: Bits,
    keys: Vec<String>,
    /// The nodes that the selected pods are on.
    mates: Bits,
    /// Whether these pods stay there, so that no other node is closed.
    is_settled: bool,
}

impl ClosedByRules {
    /// Finds them, given the pods that its affinity selects, if they are known, the nodes that may be in their domains,
    /// and whether these pods stay where they are.
    pub(crate) fn of(unjudged: &Unjudged, mates: Option<(&Mates<'_>, Bits, bool)>, fleet: &Fleet) -> Self {
        let without_keys = unjudged.without_keys(fleet).map(|(rule, key, nodes)| (rule, key.to_owned(), nodes));
        let apart = mates.map(|(mates, open, is_settled)| {
            let mut closed = open;
            closed.invert();
            Apart { closed, keys: mates.keys.iter().cloned().collect(), mates: mates.nodes(fleet), is_settled }
        });
        Self { without_keys: without_keys.collect(), apart }
    }

    /// Finds those of a guest, while all other pods stay where they are, but for the guests of `leaving`.
    pub(crate) fn now(
        unjudged: &Unjudged,
        vmi: &Vmi,
        residents: &Residents<'_>,
        leaving: &[&Vmi],
        fleet: &Fleet,
    ) -> Self {
        let mates = residents.mates(vmi);
        let leaves =
            |guest: &Vmi| !std::ptr::eq(guest, vmi) && leaving.iter().any(|leaving| std::ptr::eq(*leaving, guest));
        let place = |guest: &Vmi| (!leaves(guest)).then(|| on(fleet, &guest.status.node_name));
        let is_settled = |mates: &Mates<'_>| !mates.guests.iter().any(|guest| leaves(guest));
        let mates = mates.as_ref().map(|mates| (mates, mates.open(fleet, place), is_settled(mates)));
        Self::of(unjudged, mates, fleet)
    }

    /// Finds those of a guest that is to start, while all other pods stay where they are.
    pub(crate) fn at_start(unjudged: &Unjudged, vmi: &Vmi, residents: &Residents<'_>, fleet: &Fleet) -> Self {
        let place = |guest: &Vmi| Some(on(fleet, &guest.status.node_name));
        let mates = residents.mates_at_start(vmi);
        Self::of(unjudged, mates.as_ref().map(|mates| (mates, mates.open(fleet, place), true)), fleet)
    }

    /// Returns those of these nodes that required pod affinity closes, with its topology keys and the nodes that the
    /// selected pods are on; `None` if it closes none.
    fn without_mates(&self, nodes: &Bits, fleet: &Fleet) -> Option<ClosedByPods> {
        let Apart { closed, keys, mates, .. } = self.apart.as_ref()?;
        let mut nodes = nodes.clone();
        nodes.intersect(closed);
        (!nodes.is_empty()).then(|| ClosedByPods::WithoutMates {
            nodes: names(&nodes, fleet),
            keys: keys.clone(),
            mates: names(mates, fleet),
        })
    }

    /// Whether they close no node.
    pub(crate) fn is_empty(&self) -> bool {
        self.without_keys.is_empty() && self.apart.as_ref().is_none_or(|apart| apart.closed.is_empty())
    }

    /// Whether required pod affinity closes no other node.
    pub(crate) fn judges_affinity(&self) -> bool {
        self.apart.as_ref().is_some_and(|apart| apart.is_settled)
    }

    /// Returns the rules about pods that are not judged. `knows_apart`: whether all pods are known that anti-affinity
    /// may keep apart from the guest.
    pub(crate) fn not_judged(&self, rules: &[PodRule], knows_apart: bool) -> Vec<PodRule> {
        let is_judged = |rule: &PodRule| match rule {
            PodRule::AntiAffinity => knows_apart,
            PodRule::Affinity => self.judges_affinity(),
            PodRule::Spread | PodRule::Claims | PodRule::Reservation => false,
        };
        rules.iter().filter(|rule| !is_judged(rule)).copied().collect()
    }

    /// Whether they close a node.
    pub(crate) fn closes(&self, node: NodeIndex) -> bool {
        self.without_keys.iter().any(|(_, _, nodes)| nodes.contains(node)) || self.keeps_apart(node)
    }

    fn keeps_apart(&self, node: NodeIndex) -> bool {
        self.apart.as_ref().is_some_and(|apart| apart.closed.contains(node))
    }

    /// Removes the nodes that they close.
    pub(crate) fn leave(&self, nodes: &mut Bits) {
        self.without_keys.iter().for_each(|(_, _, closed)| nodes.subtract(closed));
        self.apart.iter().for_each(|apart| nodes.subtract(&apart.closed));
    }

    /// Returns why they close one node, in a few words.
    pub(crate) fn on(&self, node: NodeIndex) -> Option<String> {
        let without = self.without_keys.iter().find(|(_, _, nodes)| nodes.contains(node));
        let without = without.map(|(rule, key, _)| say::pod_rules::lacks_key(*rule, key));
        without.or_else(|| self.keeps_apart(node).then(|| "kept off by pod affinity".to_owned()))
    }

    /// Returns why they close these nodes, a sentence for each reason.
    pub(crate) fn sentences(&self, nodes: &Bits, fleet: &Fleet) -> Vec<String> {
        let mut left = nodes.clone();
        let mut out = Vec::new();
        for (rule, key, closed) in &self.without_keys {
            let mut lacking = left.clone();
            lacking.intersect(closed);
            left.subtract(closed);
            if !lacking.is_empty() {
                out.push(say::pod_rules::without_key(*rule, key, &fleet.names(&lacking)));
            }
        }
        if let Some(Apart { closed, keys, mates, .. }) = &self.apart {
            left.intersect(closed);
            if !left.is_empty() {
                out.push(say::pod_rules::without_mates(&fleet.names(&left), keys, &fleet.names(mates)));
            }
        }
        out
    }
}

fn names(nodes: &Bits, fleet: &Fleet) -> Vec<String> {
    fleet.names(nodes).into_iter().map(str::to_owned).collect()
}

/// Judges the rules about pods of an evaluated guest where the pods on the nodes are known: its finding names the nodes
/// that pods close, and no longer the rules that are judged. `guest`: the VMI of its start.
pub(crate) fn settle(case: &mut Evaluation<'_>, guest: Option<&Vmi>, world: &World, residents: &Residents<'_>) {
    let Evaluation { prepared, verdict, .. } = case;
    let (subject, cluster) = (&prepared.subject, &world.cluster);
    let fitting = &verdict.assessment.fitting;
    let is_settled = prepared.not_judged.is_some() || verdict.refused().is_some() || verdict.immobile().is_some();
    if is_settled || fitting.is_empty() {
        return;
    }
    let starts = matches!(subject.stage, Stage::Start(_));
    let live = || cluster.vmi(&subject.namespace, &subject.name);
    let Some(vmi) = (if starts { guest } else { live() }) else { return };
    let (rules, fleet) = (&subject.unjudged.pod_rules, &*cluster.fleet);
    let (apart, of_rules) = if starts {
        (
            apart_at_start(vmi, fitting, residents, fleet),
            ClosedByRules::at_start(&subject.unjudged, vmi, residents, fleet),
        )
    } else {
        (apart_now(vmi, fitting, residents, fleet), ClosedByRules::now(&subject.unjudged, vmi, residents, &[], fleet))
    };
    let left = of_rules.not_judged(rules, residents.know_all_apart(vmi));
    let closed: Vec<ClosedByPods> = apart.into_iter().chain(of_rules.without_mates(fitting, fleet)).collect();
    let found = verdict.findings.iter().position(|finding| finding.check == Check::PodRules);
    match found {
        None if closed.is_empty() => {}
        None => {
            let rules = PodRules { rules: left, fitting: names(fitting, fleet), without_key: Vec::new(), closed };
            let finding = Finding::note(Check::PodRules, String::new(), Detail::PodRules(rules));
            let is_later = |other: &Finding| other.check > Check::PodRules;
            let at = verdict.findings.iter().position(is_later).unwrap_or(verdict.findings.len());
            verdict.findings.insert(at, finding);
        }
        Some(at) => {
            let Detail::PodRules(rules) = &mut verdict.findings[at].detail else { return };
            (rules.rules, rules.closed) = (left, closed);
            if rules.is_empty() {
                verdict.findings.remove(at);
            }
        }
    }
}

/// Returns the nodes from which pods exclude the target of a guest's migration.
fn apart_now(vmi: &Vmi, fitting: &Bits, residents: &Residents<'_>, fleet: &Fleet) -> Option<ClosedByPods> {
    let mut nodes = residents.kept_off(vmi, &[]);
    nodes.intersect(fitting);
    (!nodes.is_empty())
        .then(|| ClosedByPods::Apart { keepers: residents.keepers(vmi, &nodes, &[]), nodes: names(&nodes, fleet) })
}

/// Returns the nodes from which pods exclude the launcher of a guest that is to start.
fn apart_at_start(vmi: &Vmi, fitting: &Bits, residents: &Residents<'_>, fleet: &Fleet) -> Option<ClosedByPods> {
    let mut nodes = Bits::none(fleet.len());
    let mut keepers = Vec::new();
    for (keeper, closed) in residents.keepers_at_start(vmi) {
        if closed.meets(fitting) {
            nodes.union(&closed);
            keepers.push(keeper);
        }
    }
    nodes.intersect(fitting);
    keepers.sort_unstable();
    keepers.dedup();
    (!nodes.is_empty()).then(|| ClosedByPods::Apart { nodes: names(&nodes, fleet), keepers })
}

/// Returns the VMI that the start of a guest of the cluster would make; `None` if that is not known.
pub(crate) fn vmi_at_start<'w>(namespace: &str, name: &str, cluster: &'w Cluster) -> Option<Cow<'w, Vmi>> {
    match cluster.vm(namespace, name) {
        Some(vm) => Some(Cow::Owned(forecast::vmi_of(vm, &guest_of(vm, cluster)))),
        None => cluster.vmi(namespace, name).map(Cow::Borrowed),
    }
}

/// Returns the set of this one node; empty if it is not known.
pub(crate) fn on(fleet: &Fleet, node: &str) -> Bits {
    let mut out = Bits::none(fleet.len());
    fleet.find(node).into_iter().for_each(|node| out.insert(node));
    out
}

#[cfg(test)]
mod tests;
