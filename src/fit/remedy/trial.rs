//! A remedy is tried before it is offered: on the nodes it changes, with all others as they are.

use super::{Action, Remedy, labels_tell_after_restart};
use crate::fit::assess::{StartGroup, start_groups};
use crate::fit::bits::Bits;
use crate::fit::effort::Depth;
use crate::fit::fleet::Fleet;
use crate::fit::judgement::Judgement;
use crate::fit::node::Node;
use crate::fit::outcome::{Impact, Outcome};
use crate::fit::placement::Placement;
use crate::fit::subject::{Stage, Start, Subject};

/// The more, the worse; `None` where it is not known.
fn badness(outcome: &Outcome) -> Option<usize> {
    match outcome {
        Outcome::Fits => Some(0),
        Outcome::Impaired(impact) => Some(1 + *impact as usize),
        Outcome::Unknown(_) => None,
    }
}

/// The fewest and the most targets, over the places where a guest may start.
fn range(groups: &[StartGroup]) -> Option<(usize, usize)> {
    Some((groups.iter().map(StartGroup::fewest).min()?, groups.iter().map(StartGroup::most).max()?))
}

impl Judgement<'_, '_> {
    /// Whether it has no node to be on next. Where it starts is not the trouble of a guest that starts; where it could
    /// go from there is.
    pub(in crate::fit) fn needs_a_node(&self) -> bool {
        self.is_migration() || self.passes.fitting.is_empty()
    }

    /// How many targets make it better off: one target is no cure for a guest that has one.
    pub(super) fn enough(&self) -> usize {
        if self.assessment.outcome.impact() == Some(Impact::Fragile) { 2 } else { 1 }
    }

    /// Targets after a start, fewest and most; and where it may start.
    pub(super) fn outlook(&self, start: &Start<'_>) -> ((usize, usize), Bits) {
        let mut fitting = self.fleet.look_up(&start.placement).passes().fitting;
        if let Some(failing) = self.subject.failing(&start.placement, self.fleet) {
            fitting.subtract(&failing);
        }
        let groups = self.start_groups(&start.placement, start.after_start, &fitting).unwrap_or_default();
        (range(&groups).unwrap_or_default(), fitting)
    }

    /// The targets it has after a start again, fewest and most, where that is certain to cure: every start leaves it so
    /// many, or at least it gets off a cordoned source.
    pub(super) fn restart_cures(&self, start: &Start<'_>, enough: usize) -> Option<(usize, usize)> {
        let (range, fitting) = self.outlook(start);
        if fitting.is_empty() {
            return None;
        }
        let leaves = self.source.is_some_and(|source| self.fleet.is_cordoned(source) && !fitting.contains(source));
        (range.0 >= enough || leaves).then_some(range)
    }

    /// How many nodes fit once an action is done, judged on the nodes it changes and all others as they are.
    pub(super) fn fitting_after(&self, action: &Action) -> usize {
        let (after, changed) = action.apply(self.subject, self.fleet);
        let mut unchanged = after.fitting(self.fleet);
        let source = after.source().and_then(|name| self.fleet.find(name));
        let names = changed.iter().filter_map(|node| self.fleet.find(&node.name));
        names.chain(source).for_each(|node| unchanged.remove(node));
        let others: Vec<Node> = changed.into_iter().filter(|node| after.source() != Some(&node.name)).collect();
        unchanged.count() + after.fitting(&Fleet::new(others)).count()
    }

    /// A remedy, if more nodes fit once it is done. A guest that can start, and has too few nodes to go to from there, must be
    /// better off.
    pub(super) fn if_more_fit(&self, action: impl Into<Action>) -> Option<Remedy> {
        let action = action.into();
        if !self.needs_a_node() {
            return self.tried(action);
        }
        let count = self.fitting_after(&action);
        (count > self.passes.fitting.count()).then_some(Remedy { action, then_fits: (count, count) })
    }

    /// A remedy, if the guest is better off once it is done: judged again, on the nodes as they are then.
    pub(super) fn tried(&self, action: impl Into<Action>) -> Option<Remedy> {
        let action = action.into();
        let (after, changed) = action.apply(self.subject, self.fleet);
        let changed = (!changed.is_empty()).then(|| self.trial_fleet(&after, changed));
        let fleet = changed.as_ref().unwrap_or(self.fleet);
        let now = Judgement::new(&after, fleet, self.effort.at(Depth::Brief)).into_assessment();
        if badness(&now.outcome)? >= badness(&self.assessment.outcome)? {
            return None;
        }
        let then_fits = match (&after.stage, &self.subject.stage) {
            (Stage::Start(after_start), Stage::Migration(_)) => {
                range(&start_groups(&after, &after.placement, *after_start, &now.fitting, fleet, self.effort)?)?
            }
            _ => (now.fitting.count(), now.fitting.count()),
        };
        Some(Remedy { action, then_fits })
    }

    /// The nodes that a trial depends on: those that are changed, those that the guest may be on, and the one that it leaves. What it
    /// asks for after a start is more than at the start, so that no other node can be one to go to.
    fn trial_fleet(&self, after: &Subject<'_>, changed: Vec<Node>) -> Fleet {
        let anywhere = Placement { node_name: None, ..after.placement.borrowed() };
        let mut nodes = self.fleet.look_up(&anywhere).passes().fitting;
        self.source.into_iter().for_each(|source| nodes.insert(source));
        // If two nodes have the same name, the later one counts.
        Fleet::new(nodes.iter().map(|node| self.fleet.node(node)).chain(changed).collect())
    }

    /// The nodes of `nodes` on which the change leaves the guest better off, for a guest that can start already.
    pub(super) fn where_it_helps(&self, nodes: Vec<String>, done_to: impl Fn(String) -> Action) -> Vec<String> {
        const TRIED: usize = 8;
        if self.needs_a_node() {
            return nodes;
        }
        let helps = |node: &String| self.within(|| self.tried(done_to(node.clone()))).is_some();
        nodes.into_iter().take(TRIED).filter(helps).collect()
    }

    /// What a restart with a changed guest leaves: a guest that cannot start gets `nodes` nodes to start on; one that
    /// runs must have somewhere to go from where it starts.
    pub(super) fn after_change(&self, action: &Action, nodes: usize, enough: usize) -> Option<(usize, usize)> {
        if !self.is_migration() {
            return Some((nodes, nodes));
        }
        // It is a restart with the CPU that it has: what libvirt refuses now it refuses then.
        if !labels_tell_after_restart(self) {
            return None;
        }
        let (after, _) = action.apply(self.subject, self.fleet);
        let Stage::Start(after_start) = after.stage else { return None };
        self.restart_cures(&Start { mode: after.mode, placement: after.placement, after_start }, enough)
    }
}
