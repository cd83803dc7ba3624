//! A parser of the scheduler's message about a pod that it placed nowhere, and of the nodes it refers to, as far as the
//! known nodes show it.
//!
//! Mirrors `FitError.Error` (`pkg/scheduler/framework/types.go`): `0/9 nodes are available: 3 node(s) didn't match …,
//! 2 node(s) were unschedulable.` Each node is counted under the first filter that refuses it.

use super::room::RoomFor;
use crate::fit::fleet::{Fleet, NodeIndex};
use crate::fit::node::Taint;
use crate::fit::placement::Placement;
use crate::fit::plural::nodes;
use crate::fit::shown::{Shown, TITLE_CHARS};
use crate::kubevirt::cluster::{Cluster, Launcher};
use crate::kubevirt::room::PODS;
use crate::kubevirt::subject;

/// A launcher that the scheduler placed nowhere.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct UnplacedLauncher<'w> {
    /// The pod's name; empty if only the condition of its guest is known.
    pub pod: &'w str,
    /// The pod itself; `None` if only its condition is known.
    launcher: Option<&'w Launcher>,
    /// The scheduler's message.
    pub said: Sentence,
}

impl<'w> UnplacedLauncher<'w> {
    /// Returns the waiting launcher of a guest; `None` if none is known, or the scheduler's message is of another kind.
    pub(crate) fn of(cluster: &'w Cluster, namespace: &str, guest: &str) -> Option<Self> {
        let of_guest = || Some(("", subject::found_no_place(cluster.vmi(namespace, guest)?, cluster)?));
        let (pod, message) = cluster.room.unplaced(namespace, guest).or_else(of_guest)?;
        Some(Self { pod, launcher: cluster.launcher(namespace, pod), said: Sentence::parse(message)? })
    }

    /// Returns what the pod itself requires; `None` if it is not known. A description of a pod does not show its
    /// affinity, which is then that of the predicted pod.
    pub(crate) fn placement(&self, predicted: &Placement<'_>) -> Option<Placement<'static>> {
        let pod = self.launcher.filter(|pod| pod.excess.is_none())?;
        let own = Placement::clone(&pod.placement);
        let affinity = own.affinity.clone().or_else(|| predicted.affinity.clone());
        Some(Placement { affinity, ..own })
    }

    /// Returns `pod virt-launcher-web-x`, or `its launcher`.
    pub(crate) fn named(&self) -> String {
        match self.pod {
            "" => "its launcher".to_owned(),
            pod => format!("pod {}", Shown::within(pod, TITLE_CHARS)),
        }
    }

    /// Returns `the scheduler found no place for pod virt-launcher-web-x among 3 nodes: 2 Insufficient cpu, …`.
    pub(crate) fn sentence(&self) -> String {
        let said = &self.said;
        let words = said.words();
        let words = if words.is_empty() { words } else { format!(": {words}") };
        format!("the scheduler found no place for {} among {}{words}", self.named(), nodes(said.total))
    }
}

/// A parsed message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sentence {
    /// Number of nodes in all.
    pub total: usize,
    /// The groups, in the message's order.
    pub groups: Vec<RefusalGroup>,
    /// The rest of the text, which counts no nodes.
    pub rest: String,
}

/// Nodes that the scheduler refuses for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RefusalGroup {
    /// Number of nodes.
    pub count: usize,
    /// The reason in the scheduler's words.
    pub reason: String,
}

/// The filter that refuses a node, as far as labels, cordons and taints show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Filter {
    /// The plugin `NodeUnschedulable`.
    Cordon,
    /// The plugin `TaintToleration`.
    Taint,
    /// The plugin `NodeAffinity`: node selector or required node affinity.
    Selector,
}

impl Filter {
    /// Returns the filter of a reason, in the words of Kubernetes 1.20 and later; `None` for those that other facts
    /// decide: room, volumes, other pods, the scheduler's own configuration.
    pub(crate) fn of(reason: &str) -> Option<Self> {
        let says = |words: &[&str]| words.iter().any(|word| reason.contains(word));
        if says(&["unschedulable"]) {
            Some(Self::Cordon)
        } else if says(&["taint"]) {
            Some(Self::Taint)
        } else if says(&["node affinity", "node selector"]) && !says(&["olume", "scheduler-enforced"]) {
            Some(Self::Selector)
        } else {
            None
        }
    }
}

impl RefusalGroup {
    /// Whether the reason was truncated, as tables and terminals do.
    pub(crate) fn is_cut(&self) -> bool {
        self.reason.ends_with("...") || self.reason.ends_with('…')
    }

    /// Whether the pod's own required anti-affinity is the reason: `ErrReasonAntiAffinityRulesNotMatch` of the filter
    /// `InterPodAffinity`.
    pub(crate) fn is_anti_affinity(&self) -> bool {
        self.reason.contains("didn't match pod anti-affinity rules")
    }

    /// Returns the resource of which the nodes have too little: `Insufficient cpu`, `Too many pods`. Mirrors
    /// `fitsRequest` of `pkg/scheduler/framework/plugins/noderesources/fit.go`.
    pub(crate) fn resource(&self) -> Option<&str> {
        match self.reason.strip_prefix("Insufficient ") {
            _ if self.is_cut() => None,
            Some(resource) => Some(resource),
            None => (self.reason == "Too many pods").then_some(PODS),
        }
    }

    /// Returns the known nodes that no earlier filter refuses and that have too little of its resource, by name; `None`
    /// if it is about something else, or that is not known.
    pub(crate) fn full(
        &self,
        room: Option<&RoomFor<'_>>,
        refused: &[RefusedNode],
        fleet: &Fleet,
    ) -> Option<Vec<NodeIndex>> {
        let (resource, room) = (self.resource()?, room?);
        let others = fleet.in_name_order().into_iter().filter(|node| refused.iter().all(|other| other.node != *node));
        let lacks: Vec<(NodeIndex, bool)> =
            others.map(|node| Some((node, room.lacks(node, resource)?))).collect::<Option<_>>()?;
        Some(lacks.into_iter().filter(|(_, lacks)| *lacks).map(|(node, _)| node).collect())
    }

    /// Returns the filter of its reason.
    pub(crate) fn filter(&self) -> Option<Filter> {
        Filter::of(&self.reason)
    }

    /// Returns the refused nodes that this reason may refer to: if it names a taint, the nodes with that taint.
    pub(crate) fn nodes(&self, refused: &[RefusedNode]) -> Option<Vec<NodeIndex>> {
        let filter = self.filter()?;
        let named = self.reason.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(taint, _)| taint);
        let (key, value) = named.map(|taint| taint.split_once(':').unwrap_or((taint, ""))).unzip();
        let is_meant = |taint: &Taint| {
            key.is_none_or(|key| taint.key == key.trim()) && value.is_none_or(|value| taint.value == value.trim())
        };
        let meant = refused.iter().filter(|node| node.filter == filter && node.taint.as_ref().is_none_or(is_meant));
        Some(meant.map(|node| node.node).collect())
    }
}

/// A known node with the filter that refuses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RefusedNode {
    pub node: NodeIndex,
    filter: Filter,
    /// The first taint that is not tolerated, if the filter is `Taint`.
    taint: Option<Taint>,
}

impl Sentence {
    /// Parses a message; `None` if it is not of this kind.
    pub(crate) fn parse(message: &str) -> Option<Self> {
        let (head, tail) = message.split_once(" nodes are available")?;
        let (_, total) = head.trim().rsplit_once('/')?;
        let total = total.parse().ok()?;
        // Later sentences are about preemption or deallocating a claim.
        let end = [". ", "preemption:"].into_iter().filter_map(|end| tail.find(end)).min().unwrap_or(tail.len());
        let tail = tail[..end].trim_start_matches(':').trim();
        // A truncated reason ends in three full stops.
        let tail = if tail.ends_with("...") { tail } else { closed(tail) };
        let tail = tail.strip_suffix("no new claims to deallocate").map_or(tail, closed);
        let mut groups: Vec<RefusalGroup> = Vec::new();
        let mut rest = Vec::new();
        for part in tail.split(", ") {
            let counted = part.split_once(' ').and_then(|(count, reason)| Some((count.parse().ok()?, reason)));
            match (counted, groups.last_mut()) {
                (Some((count, reason)), _) => groups.push(RefusalGroup { count, reason: reason.to_owned() }),
                // A count with a truncated reason.
                (None, _) if part.parse::<usize>().is_ok() => {}
                // A reason may contain a comma.
                (None, Some(last)) => {
                    last.reason.push_str(", ");
                    last.reason.push_str(part);
                }
                (None, None) => rest.extend(Some(part).filter(|part| !part.is_empty())),
            }
        }
        Some(Self { total, groups, rest: rest.join(", ") })
    }

    /// Returns the groups in the scheduler's words: `2 Insufficient cpu, 1 node(s) were unschedulable`.
    pub(crate) fn words(&self) -> String {
        /// Maximum characters.
        const MAX_CHARS: usize = 400;
        let groups = self.groups.iter().map(|group| format!("{} {}", group.count, group.reason));
        let rest = Some(self.rest.clone()).filter(|rest| !rest.is_empty());
        let words = groups.chain(rest).collect::<Vec<_>>().join(", ");
        Shown::within(&words, MAX_CHARS).to_string()
    }

    /// Returns the total of all groups.
    pub(crate) fn counted(&self) -> usize {
        self.groups.iter().map(|group| group.count).fold(0, usize::saturating_add)
    }
}

/// Removes trailing full stops, commas and spaces.
fn closed(text: &str) -> &str {
    text.trim_end_matches(['.', ',', ' '])
}

/// Returns the nodes that refuse a pod, by name, each with the first filter that does.
pub(crate) fn refused(placement: &Placement<'_>, fleet: &Fleet) -> Vec<RefusedNode> {
    let lookup = fleet.look_up(placement);
    let of_node = |node: NodeIndex| {
        let refusal = lookup.refusal(node);
        let filter = if refusal.cordoned {
            Filter::Cordon
        } else if !refusal.taints.is_empty() {
            Filter::Taint
        } else if !refusal.missing.is_empty() || !refusal.affinity.is_empty() {
            Filter::Selector
        } else {
            return None;
        };
        let taint = refusal.taints.into_iter().next().filter(|_| filter == Filter::Taint);
        Some(RefusedNode { node, filter, taint })
    };
    fleet.in_name_order().into_iter().filter_map(of_node).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    /// The total of nodes, the groups, and the rest of the text.
    type Groups = (usize, Vec<(usize, String)>, String);

    fn groups(message: &str) -> Option<Groups> {
        let found = Sentence::parse(message)?;
        Some((found.total, found.groups.into_iter().map(|group| (group.count, group.reason)).collect(), found.rest))
    }

    #[rstest]
    #[case::two_groups(
        "0/9 nodes are available: 3 node(s) didn't match Pod's node affinity/selector, 2 node(s) were unschedulable. preemption: 0/9 nodes are available: 9 Preemption is not helpful for scheduling.",
        9, &[(3, "node(s) didn't match Pod's node affinity/selector"), (2, "node(s) were unschedulable")], ""
    )]
    #[case::a_comma_in_a_reason(
        "0/3 nodes are available: 1 node(s) had taint {a: b}, that the pod didn't tolerate, 2 Insufficient cpu.",
        3, &[(1, "node(s) had taint {a: b}, that the pod didn't tolerate"), (2, "Insufficient cpu")], ""
    )]
    #[case::nothing_is_counted(
        "0/3 nodes are available: persistentvolumeclaim \"x\" not found.",
        3, &[], "persistentvolumeclaim \"x\" not found"
    )]
    #[case::preemption_behind_a_comma(
        "0/2 nodes are available: 2 node(s) were unschedulable, no new claims to deallocate, preemption: 0/2 nodes are available: 2 Preemption is not helpful.",
        2, &[(2, "node(s) were unschedulable")], ""
    )]
    #[case::as_1_20_says_it(
        "0/5 nodes are available: 1 node(s) had taint {node-role.kubernetes.io/master: }, that the pod didn't tolerate, 4 node(s) didn't match node selector.",
        5, &[(1, "node(s) had taint {node-role.kubernetes.io/master: }, that the pod didn't tolerate"), (4, "node(s) didn't match node selector")], ""
    )]
    #[case::as_1_32_says_it(
        "0/3 nodes are available: 1 Insufficient devices.kubevirt.io/kvm, 2 node(s) had untolerated taint {a: b}. no new claims to deallocate, preemption: 0/3 nodes are available: 1 No preemption victims found for incoming pod, 2 Preemption is not helpful for scheduling.",
        3, &[(1, "Insufficient devices.kubevirt.io/kvm"), (2, "node(s) had untolerated taint {a: b}")], ""
    )]
    #[case::a_claim_that_is_not_bound(
        "0/3 nodes are available: pod has unbound immediate PersistentVolumeClaims. preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling.",
        3, &[], "pod has unbound immediate PersistentVolumeClaims"
    )]
    #[case::cut_in_a_reason("0/3 nodes are available: 1 Insufficient cpu, 2 node(s) didn't ma...", 3, &[(1, "Insufficient cpu"), (2, "node(s) didn't ma...")], "")]
    #[case::cut_behind_a_count("0/3 nodes are available: 1 Insufficient cpu, 2", 3, &[(1, "Insufficient cpu")], "")]
    #[case::cut_behind_the_colon("0/3 nodes are available:", 3, &[], "")]
    fn a_scheduler_message_is_split_into_reasons(
        #[case] message: &str,
        #[case] total: usize,
        #[case] expected: &[(usize, &str)],
        #[case] rest: &str,
    ) {
        let expected = expected.iter().map(|(count, reason)| (*count, (*reason).to_owned())).collect();
        assert_eq!(groups(message), Some((total, expected, rest.to_owned())));
    }

    #[rstest]
    #[case::of_1_20("node(s) didn't match node selector", Some(Filter::Selector))]
    #[case::of_1_21("node(s) didn't match Pod's node affinity", Some(Filter::Selector))]
    #[case::of_1_22("node(s) didn't match Pod's node affinity/selector", Some(Filter::Selector))]
    #[case::of_the_schedulers_configuration("node(s) didn't match scheduler-enforced node affinity", None)]
    #[case::of_volumes("node(s) had volume node affinity conflict", None)]
    #[case::of_volumes_since_1_34("node(s) didn't match PersistentVolume's node affinity", None)]
    #[case::of_other_pods("node(s) didn't match pod affinity rules", None)]
    #[case::of_pods_there("node(s) didn't satisfy existing pods anti-affinity rules", None)]
    #[case::of_a_spread("node(s) didn't match pod topology spread constraints (missing required label)", None)]
    #[case::of_room("Insufficient memory", None)]
    #[case::of_taints_until_1_23("node(s) had taint {a: b}, that the pod didn't tolerate", Some(Filter::Taint))]
    #[case::of_taints("node(s) had untolerated taint {a: b}", Some(Filter::Taint))]
    #[case::of_taints_without_their_names("node(s) had untolerated taint(s)", Some(Filter::Taint))]
    #[case::of_a_cordon("node(s) were unschedulable", Some(Filter::Cordon))]
    #[case::of_a_cordons_taint(
        "node(s) had untolerated taint {node.kubernetes.io/unschedulable: }",
        Some(Filter::Cordon)
    )]
    fn each_scheduler_reason_is_attributed_to_its_filter(#[case] reason: &str, #[case] expected: Option<Filter>) {
        assert_eq!(Filter::of(reason), expected);
    }

    #[rstest]
    #[case::cpu("Insufficient cpu", Some("cpu"))]
    #[case::a_device("Insufficient devices.kubevirt.io/kvm", Some("devices.kubevirt.io/kvm"))]
    #[case::pods("Too many pods", Some("pods"))]
    #[case::cut("Insufficient mem...", None)]
    #[case::another_reason("node(s) were unschedulable", None)]
    fn a_reason_of_room_names_its_resource(#[case] reason: &str, #[case] expected: Option<&str>) {
        let group = RefusalGroup { count: 1, reason: reason.to_owned() };
        assert_eq!(group.resource(), expected, "a node without room is not named, or another one is");
    }

    #[rstest]
    #[case::another_sentence("pod has unbound immediate PersistentVolumeClaims")]
    #[case::no_count("many nodes are available: 3 x")]
    fn sentences_of_others_are_not_parsed_as_scheduler_messages(#[case] message: &str) {
        assert_eq!(groups(message), None);
    }
}
