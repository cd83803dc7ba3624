//! Remedy: restart without other changes. Selectors inherited from earlier migrations end with the VMI.

use super::made_again::{OTHER_CPU, restarted, starts_if_made_again};
use super::{
    Act, Changes, Commands, Outage, Remedy, RemedyId, RemedySpec, WhyNot, drop_added_selector, restart_commands,
};
use crate::fit::fleet::Fleet;
use crate::fit::judgement::Judgement;
use crate::fit::node::Node;
use crate::fit::subject::{CpuMode, Start, Subject};

pub(super) const SPEC: RemedySpec = RemedySpec {
    id: RemedyId::Restart,
    word: "restart",
    outage: Outage::Restart,
    risk: "depends on where it starts",
    changes: Changes::Guest,
    remakes_target: false,
    gives_room: false,
    offer,
    not_helping: Some(|judgement| why_not(judgement).map(WhyNot::Restart)),
};

/// A restart of the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restart;

/// The reason why a restart does not help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoRestart {
    /// No node takes the guest at its start: it would stay down.
    StartsNowhere,
    /// No start node leaves more migration targets than the guest has now.
    NoMore {
        /// Largest number of targets that a start node leaves.
        most: usize,
    },
    /// Without `spec.addedNodeSelector` the migration finds its targets: the guest is not in the way.
    Added,
    /// Libvirt refuses the guest's CPU on these nodes, which fit by labels: labels do not predict the targets
    /// after a restart.
    LibvirtRefuses {
        /// The nodes, by name.
        nodes: Vec<String>,
    },
}

/// Whether labels predict the targets after a restart without other changes.
pub(crate) fn labels_predict_after_restart(judgement: &Judgement<'_, '_>) -> bool {
    let start = judgement.subject.restart.as_ref();
    start.map_or(judgement.refused_targets.is_empty(), |start| judgement.labels_predict(start))
}

/// Returns the start after a restart, if the guest runs and labels predict its targets then.
fn start<'j>(judgement: &'j Judgement<'_, '_>) -> Option<&'j Start<'j>> {
    let runs = judgement.is_migration() && judgement.subject.is_running() && labels_predict_after_restart(judgement);
    judgement.subject.restart.as_ref().filter(|_| runs && !drop_added_selector::is_enough(judgement))
}

/// Returns the restart if it may help: the start node may decide.
fn offer(judgement: &Judgement<'_, '_>) -> Option<Remedy> {
    if let Some(nodes) = starts_if_made_again(judgement) {
        return Some(Remedy { action: Restart.into(), then_fits: (nodes, nodes), luck: None });
    }
    let prospect = judgement.after_restart(start(judgement)?, judgement.targets_needed())?;
    Some(Remedy::new(Restart, prospect))
}

/// Returns the restart if it leaves a target from every start node.
pub(super) fn cures(judgement: &Judgement<'_, '_>) -> Option<Remedy> {
    let prospect = judgement.after_restart(start(judgement)?, 1)?;
    prospect.luck.is_none().then(|| Remedy::new(Restart, prospect))
}

/// Returns the restart if a policy gives the guest a named model then, which leaves at least `needed` targets from
/// every start node: libvirt accepts it on all of them.
pub(super) fn gets_model(judgement: &Judgement<'_, '_>, needed: usize) -> Option<Remedy> {
    let start = start(judgement).filter(|start| start.by_policy.is_some())?;
    let (range, _) = judgement.outlook(start);
    (range.0 >= needed).then(|| Remedy { action: Restart.into(), then_fits: range, luck: None })
}

fn why_not(judgement: &Judgement<'_, '_>) -> Option<NoRestart> {
    if judgement.is_migration() && !labels_predict_after_restart(judgement) {
        return Some(NoRestart::LibvirtRefuses { nodes: judgement.names(&judgement.refused_targets) });
    }
    // Nothing is said of a restart that is not known.
    if judgement.subject.restart.is_some() && drop_added_selector::is_enough(judgement) {
        return Some(NoRestart::Added);
    }
    let ((_, most), fitting) = judgement.outlook(start(judgement)?);
    if fitting.is_empty() {
        Some(NoRestart::StartsNowhere)
    } else if most < judgement.targets_needed() {
        Some(NoRestart::NoMore { most })
    } else {
        None
    }
}

impl Act for Restart {
    fn commands(&self, subject: &Subject<'_>) -> Commands {
        restart_commands(subject)
    }

    /// Returns what the guest gets: without a named model the CPU of its start node, to which it is bound, and with one
    /// the CPU that the model and the features then give it, wherever it starts.
    fn risk(&self, subject: &Subject<'_>) -> Option<&'static str> {
        let refusals =
            || subject.asked().into_iter().flat_map(|asked| asked.nodes.keys().filter_map(|node| asked.refusal(node)));
        // A feature that it no longer forbids need not be part of its CPU then.
        let loses = || refusals().any(|why| why.provided_forbidden().next().is_none());
        if !subject.is_running() {
            return Some("none");
        }
        let start = subject.restart.as_ref()?;
        let had_named = matches!(subject.mode, CpuMode::Named(_));
        let (is_same, has_same_features) = (subject.mode == start.mode, subject.features.give_as(&start.features));
        Some(match &start.mode {
            // Without a model libvirt gives it the host model.
            CpuMode::HostModel | CpuMode::Unset if had_named => {
                "the guest sees another CPU, and is bound to the host model of the node where it starts"
            }
            CpuMode::HostModel | CpuMode::Unset => "it is bound again, to the host model of the node where it starts",
            CpuMode::HostPassthrough | CpuMode::HostModelOrPassthrough if had_named => {
                "the guest sees another CPU, and is bound to that of the node where it starts"
            }
            CpuMode::HostPassthrough | CpuMode::HostModelOrPassthrough => {
                "it is bound again, to the CPU of the node where it starts"
            }
            CpuMode::Named(_) if is_same && refusals().any(|why| !subject.gives_up(start, why)) => {
                "it gets the CPU again that libvirt refuses, and may be bound again"
            }
            CpuMode::Named(_) if !is_same || loses() => OTHER_CPU,
            CpuMode::Named(_) if !has_same_features => "the guest sees other CPU features",
            CpuMode::Named(_) => "none",
            CpuMode::Unread => return None,
        })
    }

    fn apply(&self, subject: &mut Subject<'_>, _: &Fleet) -> Vec<Node> {
        restarted(subject);
        Vec::new()
    }
}
