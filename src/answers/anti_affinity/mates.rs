//! The pods that required pod affinity binds a guest to.
//!
//! Mirrors the scheduler's plugin `InterPodAffinity` (`updateWithAffinityTerms`, `podMatchesAllAffinityTerms`,
//! `satisfyPodAffinity` of `pkg/scheduler/framework/plugins/interpodaffinity/filtering.go`, Kubernetes): a pod counts
//! if all terms of the guest select it, and a node takes the guest if, for each term, such a pod is in its topology
//! domain. Without any such pod, a guest that its own terms select is taken anywhere: it is the first one.

use std::collections::BTreeSet;

use super::{Of, Resident, Residents, Side};
use crate::fit::bits::Bits;
use crate::fit::fleet::{Fleet, NodeIndex};
use crate::fit::label;
use crate::kubevirt::cluster::Cluster;
use crate::kubevirt::migration;
use crate::kubevirt::pod_affinity::PodAffinityTerm;
use crate::kubevirt::wire::Vmi;

/// The pods that all terms of a guest's required pod affinity select.
#[derive(Clone, Debug)]
pub(crate) struct Mates<'w> {
    /// The topology key of each term, each once.
    pub keys: BTreeSet<String>,
    /// The guests among them that run; the guest itself too, if it selects itself.
    pub guests: Vec<&'w Vmi>,
    /// The nodes of the others.
    others: Bits,
    /// Whether the guest's own terms select it.
    selects_itself: bool,
}

impl<'w> Residents<'w> {
    /// Returns the pods to which required pod affinity binds a guest; `None` if it has none, or if it is not known
    /// which pods there are.
    pub(crate) fn mates(&self, vmi: &Vmi) -> Option<Mates<'w>> {
        self.mates_but(vmi, |_| false)
    }

    /// Returns the same for a guest that is to start: its own launcher, if it has one, has ended by then.
    pub(crate) fn mates_at_start(&self, vmi: &Vmi) -> Option<Mates<'w>> {
        self.mates_but(vmi, |other| is_same(other, vmi))
    }

    fn mates_but(&self, vmi: &Vmi, ended: impl Fn(&Vmi) -> bool) -> Option<Mates<'w>> {
        let cluster = self.cluster;
        let terms = PodAffinityTerm::together_of(vmi);
        if terms.is_empty() || !cluster.room.knows_mates() || self.is_cut {
            return None;
        }
        let of = side(vmi);
        let selects = |other: Side<'_>| terms.iter().all(|term| may_select(cluster, term, of, other));
        let every: Vec<usize>;
        let near = if let Some(near) = self.bearing.as_ref().and_then(|bearing| bearing.that_may_match(&terms)) {
            near
        } else {
            every = (0..self.all.len() + self.others.len()).collect();
            &every
        };
        let mut out = Mates {
            keys: terms.iter().map(|term| term.topology_key.clone()).collect(),
            guests: Vec::new(),
            others: Bits::none(cluster.fleet.len()),
            selects_itself: selects(of),
        };
        for &at in near {
            match at.checked_sub(self.all.len()) {
                None if ended(self.all[at].vmi) => {}
                None if selects(self.all[at].side()) => {
                    let Resident { vmi, node, .. } = &self.all[at];
                    // A guest that starts stays on the node of its launcher.
                    if migration::runs(vmi) {
                        out.guests.push(vmi);
                    } else if let Some(node) = node {
                        out.others.insert(*node);
                    }
                }
                Some(other) if selects(self.others[other].side()) => out.others.insert(self.others[other].node),
                _ => {}
            }
        }
        // Guests that start are pods on their nodes as well. The labels of a launcher whose guest is not known are not
        // known either.
        for pod in cluster.launchers() {
            let Some(node) = cluster.fleet.find(&pod.node) else { continue };
            let reaches = || terms.iter().all(|term| may_reach(cluster, term, &vmi.metadata.namespace, &pod.namespace));
            match cluster.vmi(&pod.namespace, &pod.guest) {
                Some(guest) if migration::runs(guest) || migration::has_ended(guest) || ended(guest) => {}
                Some(guest) if selects(side(guest)) => out.others.insert(node),
                None if reaches() => return None,
                Some(_) | None => {}
            }
        }
        let is_any = !out.guests.is_empty() || !out.others.is_empty();
        (is_any || self.knows_all_of(&terms, &vmi.metadata.namespace)).then_some(out)
    }

    /// Whether pods of each namespace that these terms cover are known, so that a pod that is not known does not exist.
    fn knows_all_of(&self, terms: &[PodAffinityTerm], own: &str) -> bool {
        let is_known = |namespace: &str| self.others.iter().any(|other| other.pod.namespace == namespace);
        terms.iter().all(|term| term.namespaces(own).is_some_and(|all| all.into_iter().all(is_known)))
    }
}

/// Whether two VMIs are those of one guest.
pub(super) fn is_same(one: &Vmi, other: &Vmi) -> bool {
    (&one.metadata.namespace, &one.metadata.name) == (&other.metadata.namespace, &other.metadata.name)
}

fn side(vmi: &Vmi) -> Side<'_> {
    Side { terms: &[], namespace: &vmi.metadata.namespace, of: Of::Guest(vmi) }
}

/// Whether a term selects a pod, as far as labels are known.
fn may_select(cluster: &Cluster, term: &PodAffinityTerm, of: Side<'_>, other: Side<'_>) -> bool {
    let release = cluster.release.release();
    may_reach(cluster, term, of.namespace, other.namespace) && term.selects(|key| other.label(key, release))
}

/// Whether a term covers a namespace, whose labels may not be known.
fn may_reach(cluster: &Cluster, term: &PodAffinityTerm, of: &str, namespace: &str) -> bool {
    let labels = cluster.namespace(namespace);
    term.reaches(of, namespace, labels) || (labels.is_none() && term.namespaces(of).is_none())
}

impl Mates<'_> {
    /// Returns the nodes that the guest's affinity leaves, if each of the guests among them may be on the nodes of
    /// `places`; `None` stands for any node. A node without a topology key is left too.
    pub(crate) fn open(&self, fleet: &Fleet, places: impl Fn(&Vmi) -> Option<Bits>) -> Bits {
        let mut all = Bits::none(fleet.len());
        all.insert_range(0, fleet.len());
        let mut at = self.others.clone();
        for guest in &self.guests {
            match places(guest) {
                Some(places) => at.union(&places),
                None => return all,
            }
        }
        let has_key = |node: NodeIndex| self.keys.iter().any(|key| domain_of(fleet, key, node).is_some());
        if self.selects_itself && !at.iter().any(has_key) {
            return all;
        }
        for key in &self.keys {
            let values: BTreeSet<&str> = at.iter().filter_map(|node| domain_of(fleet, key, node)).collect();
            let is_open = |node: &NodeIndex| domain_of(fleet, key, *node).is_none_or(|value| values.contains(value));
            let mut open = Bits::none(fleet.len());
            all.iter().filter(is_open).for_each(|node| open.insert(node));
            all = open;
        }
        all
    }

    /// Returns the nodes that they are on now.
    pub(crate) fn nodes(&self, fleet: &Fleet) -> Bits {
        let mut out = self.others.clone();
        self.guests.iter().filter_map(|vmi| fleet.find(&vmi.status.node_name)).for_each(|node| out.insert(node));
        out
    }
}

/// Returns the value of a topology key; the name of the node for its host name in a dump that is reduced to labels of
/// the CPU.
fn domain_of<'f>(fleet: &'f Fleet, key: &str, node: NodeIndex) -> Option<&'f str> {
    fleet.label(node, key).or_else(|| (key == label::HOSTNAME).then(|| fleet.name(node)))
}
