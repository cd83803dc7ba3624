//! Remedy: exclude the TSC frequency of a node that takes no guests, under `skip-node`, and restart.
//!
//! Mirrors `LowestTSCFrequencyOnCluster` of KubeVirt's `pkg/virt-controller/watch/topology/hinter.go`: the lowest
//! frequency of the fleet is written into `status.topologyHints` once, when the VMI is created.

use super::made_again::restarted;
use super::{
    Act, Action, Changes, Commands, Outage, Remedy, RemedyId, RemedySpec, edit, end_skip_node, frozen, label_node,
    replace_key, restart_commands,
};
use crate::fit::bits::Bits;
use crate::fit::command::{Command, LabelKey};
use crate::fit::fleet::Fleet;
use crate::fit::judgement::Judgement;
use crate::fit::label::{self, Family};
use crate::fit::node::Node;
use crate::fit::subject::Subject;

pub(super) const SPEC: RemedySpec = RemedySpec {
    id: RemedyId::RemoveTscLabel,
    word: "remove-labels",
    outage: Outage::Restart,
    risk: "guests there that need a TSC frequency lose a place to go",
    changes: Changes::Guest,
    remakes_target: false,
    gives_room: false,
    offer,
    not_helping: None,
};

/// The removal of the frequency label from a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoveTscLabel {
    /// The node.
    pub node: String,
    /// The TSC frequency that the guest gets then, in Hz.
    pub frequency: i64,
    /// Whether `skip-node` is already set there.
    pub is_frozen: bool,
}

fn offer(judgement: &Judgement<'_, '_>) -> Option<Remedy> {
    if !judgement.needs_a_node() {
        return None;
    }
    let fleet = judgement.fleet;
    let selector = &judgement.subject.placement.selector;
    let (key, value) = selector.iter().find(|(key, _)| Family::of(key) == Family::SchedulingTsc)?;
    let bearing = fleet.bearing(key, value);
    let mut others = Bits::all(fleet.len());
    others.subtract(&bearing);
    if bearing.count() != 1 || bearing.count_common(&judgement.passes.fitting) > 0 {
        return None;
    }
    let node = bearing.iter().next()?;
    let frequency =
        others.iter().filter_map(|other| label::frequency(fleet.label(other, label::TSC_FREQUENCY)?)).min()?;
    let action = Action::from(RemoveTscLabel {
        node: fleet.name(node).to_owned(),
        frequency,
        is_frozen: fleet.skip_node(node).is_some(),
    });
    let count = judgement.fitting_after(&action);
    let prospect = judgement.after_change(&action, count, judgement.targets_needed()).filter(|_| count > 0)?;
    Some(Remedy::new(action, prospect))
}

impl Act for RemoveTscLabel {
    fn commands(&self, subject: &Subject<'_>) -> Commands {
        let key = LabelKey::new(label::TSC_FREQUENCY)?.removed();
        let mut out = frozen(&self.node, self.is_frozen, [label_node(&self.node)?.arg(key)])?;
        out.extend(restart_commands(subject)?);
        Ok(out)
    }

    fn undo(&self) -> Option<Command> {
        if self.is_frozen { None } else { end_skip_node(&self.node).ok() }
    }

    fn apply(&self, subject: &mut Subject<'_>, fleet: &Fleet) -> Vec<Node> {
        restarted(subject);
        replace_key(
            &mut subject.placement,
            Family::SchedulingTsc,
            format!("{}{}", label::SCHEDULING_TSC, self.frequency),
        );
        edit(fleet, [&self.node], |node| {
            node.skip_node = Some("true".to_owned());
            node.labels.retain(|key, _| key != label::TSC_FREQUENCY);
        })
    }
}
