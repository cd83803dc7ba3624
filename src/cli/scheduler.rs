//! The scheduler's message about a pod, compared with the known nodes.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::answers::room::RoomFor;
use crate::answers::scheduler::{Filter, RefusalGroup, Sentence, UnplacedLauncher, refused};
use crate::fit::fleet::{Fleet, NodeIndex};
use crate::fit::plural::{fold_names, nodes};
use crate::fit::subject::Subject;
use crate::kubevirt::room::PodNeed;
use crate::page::Page;

/// The data of a given pod other than its labels and node requirements.
pub(super) struct PastedPod {
    /// The scheduler's message about it.
    pub(super) said: Option<Sentence>,
    /// Its resource requests.
    pub(super) need: Option<PodNeed>,
}

impl PastedPod {
    pub(super) fn read(json: &str) -> Self {
        Self { said: said(json), need: PodNeed::of_json(json) }
    }
}

/// Returns the scheduler's message about a pod from its condition `PodScheduled`; `None` without one.
fn said(pod: &str) -> Option<Sentence> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Pod {
        status: Option<Status>,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Status {
        conditions: Option<Vec<Condition>>,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Condition {
        #[serde(rename = "type")]
        kind: Option<String>,
        status: Option<String>,
        message: Option<String>,
    }
    let Pod { status } = serde_json::from_str(pod).ok()?;
    let conditions = status?.conditions?;
    let is_meant = |condition: &&Condition| {
        condition.kind.as_deref() == Some("PodScheduled") && condition.status.as_deref() == Some("False")
    };
    Sentence::parse(conditions.iter().find(is_meant)?.message.as_deref()?)
}

/// Prints the message, group by group. `unplaced`: the pod, if it is not the object that is explained: the scheduler
/// read its requirements, not those of a pod that would be created now.
pub(super) fn print(
    sentence: &Sentence,
    unplaced: Option<&UnplacedLauncher<'_>>,
    subject: &Subject<'_>,
    room: Option<&RoomFor<'_>>,
    fleet: &Fleet,
    page: &mut Page,
) {
    let Sentence { total, groups, rest } = sentence;
    let pod = unplaced.map(|found| format!(" for {}", found.named())).unwrap_or_default();
    page.line(format_args!("The scheduler found no place{pod} among {}:", nodes(*total)));
    let own = unplaced.and_then(|found| found.placement(&subject.placement));
    let refused = refused(own.as_ref().unwrap_or(&subject.placement), fleet);
    // A node is counted under the first filter that refuses it: that of room comes before that of other pods.
    let full = groups.iter().filter_map(|group| group.full(room, &refused, fleet)).flatten();
    let earlier: BTreeSet<NodeIndex> = full.chain(refused.iter().map(|refused| refused.node)).collect();
    for group in groups {
        let here = group.nodes(&refused).or_else(|| group.full(room, &refused, fleet));
        let names = |here: &[usize]| {
            let names: Vec<&str> = here.iter().map(|&node| fleet.name(node)).collect();
            fold_names(&names, 6)
        };
        let what = match group.filter() {
            None if group.is_cut() => "for a reason that is cut off",
            Some(Filter::Cordon) => "cordoned",
            Some(Filter::Taint) => "tainted, and the pod does not tolerate it",
            Some(Filter::Selector) if group.count == 1 => "does not meet its selector or node affinity",
            Some(Filter::Selector) => "do not meet its selector or node affinity",
            None if group.is_anti_affinity() => "kept off by the pod's anti-affinity",
            None if group.resource().is_some() => "without room for it",
            None => "for a reason that is not judged here",
        };
        let of_dump = match here.as_deref() {
            None if group.is_anti_affinity() => not_back(group, subject, &earlier, fleet),
            None => String::new(),
            Some([]) => ": none of the nodes known here".to_owned(),
            Some(here) if here.len() == group.count => format!(": {}", names(here)),
            Some(here) => format!(": {} of those known here ({})", here.len(), names(here)),
        };
        page.line(format_args!("- {} {what} ({}){of_dump}", group.count, group.reason));
    }
    if !rest.is_empty() {
        page.line(format_args!("- {rest}"));
    }
    let counted = sentence.counted();
    if counted < *total && !groups.is_empty() {
        page.line(format_args!("Its groups make {counted} of {}: of the others it says nothing.", nodes(*total)));
    } else if counted > *total {
        page.line(format_args!("A node may be in several groups: together they make {counted}, of {}.", nodes(*total)));
    }
    if fleet.len() != *total {
        page.line(format_args!("{} are known here: the nodes are not those of that moment.", nodes(fleet.len())));
    }
}

/// Says whose anti-affinity it is, if KubeVirt's is a part of it: the rule that keeps the target of a migration off its
/// source's node. Mirrors `createMigrationPodAntiAffinityRule` of `pkg/virt-controller/watch/migration/migration.go`.
///
/// `earlier`: the nodes that earlier filters refuse.
fn not_back(group: &RefusalGroup, subject: &Subject<'_>, earlier: &BTreeSet<NodeIndex>, fleet: &Fleet) -> String {
    let source = subject.source().and_then(|name| Some((name, fleet.find(name)?)));
    match source.filter(|(_, node)| !earlier.contains(node)) {
        Some((name, _)) if group.count == 1 => {
            format!(": KubeVirt keeps the target of a migration off the node that it leaves, {name}")
        }
        Some((name, _)) => format!(
            ": KubeVirt keeps the target of a migration off the node that it leaves, {name}, and the guest has such rules of its own"
        ),
        None => String::new(),
    }
}
