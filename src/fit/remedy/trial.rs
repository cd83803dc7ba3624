//! The trial of a remedy before it is offered: on the nodes that it changes, with all others unchanged.

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

/// Returns the severity; higher is worse. `None` if it is not known.
fn badness(outcome: &Outcome) -> Option<usize> {
    match outcome {
        Outcome::Fits => Some(0),
        Outcome::Impaired(impact) => Some(1 + *impact as usize),
        Outcome::Unknown(_) => None,
    }
}

/// Returns the smallest and the largest number of targets over all start nodes.
fn range(groups: &[StartGroup]) -> Option<(usize, usize)> {
    Some((groups.iter().map(StartGroup::fewest).min()?, groups.iter().map(StartGroup::most).max()?))
}

impl Judgement<'_, '_> {
    /// Whether no node takes the guest next: true for a migration, and for a start that no node takes; false
    /// for a guest that can start but has too few migration targets.
    pub(in crate::fit) fn needs_a_node(&self) -> bool {
        self.is_migration() || self.passes.fitting.is_empty()
    }

    /// Returns the number of targets that counts as an improvement: 2 for a fragile guest, else 1.
    pub(super) fn targets_needed(&self) -> usize {
        if self.assessment.outcome.impact() == Some(Impact::Fragile) { 2 } else { 1 }
    }

    /// Returns the smallest and the largest number of targets after a start, and the start nodes.
    pub(super) fn outlook(&self, start: &Start<'_>) -> ((usize, usize), Bits) {
        let mut fitting = self.fleet.look_up(&start.placement).passes().fitting;
        if let Some(failing) = self.subject.failing(&start.placement, self.fleet) {
            fitting.subtract(&failing);
        }
        let groups = self.start_groups(&start.placement, start.after_start, &fitting).unwrap_or_default();
        (range(&groups).unwrap_or_default(), fitting)
    }

    /// Returns the smallest and the largest number of targets after a restart, if it is certain to help: every
    /// start leaves at least `enough`, or the guest leaves a cordoned source.
    pub(super) fn restart_cures(&self, start: &Start<'_>, needed: usize) -> Option<(usize, usize)> {
        let (range, fitting) = self.outlook(start);
        if fitting.is_empty() {
            return None;
        }
        let leaves = self.source.is_some_and(|source| self.fleet.is_cordoned(source) && !fitting.contains(source));
        (range.0 >= needed || leaves).then_some(range)
    }

    /// Counts the nodes that fit after an action, judged on the nodes that it changes and all others
    /// unchanged.
    pub(super) fn fitting_after(&self, action: &Action) -> usize {
        let (after, changed) = action.apply(self.subject, self.fleet);
        let mut unchanged = after.fitting(self.fleet);
        let source = after.source().and_then(|name| self.fleet.find(name));
        let names = changed.iter().filter_map(|node| self.fleet.find(&node.name));
        names.chain(source).for_each(|node| unchanged.remove(node));
        let others: Vec<Node> = changed.into_iter().filter(|node| after.source() != Some(&node.name)).collect();
        unchanged.count() + after.fitting(&Fleet::new(others)).count()
    }

    /// Returns a remedy if more nodes fit afterwards. A guest that can start but has too few targets must be
    /// better off.
    pub(super) fn if_more_fit(&self, action: impl Into<Action>) -> Option<Remedy> {
        let action = action.into();
        if !self.needs_a_node() {
            return self.tried(action);
        }
        let count = self.fitting_after(&action);
        (count > self.passes.fitting.count()).then_some(Remedy { action, then_fits: (count, count) })
    }

    /// Returns a remedy if the guest is better off afterwards, judged again on the changed nodes.
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

    /// Returns the nodes that a trial depends on: the changed ones, those that the guest may be on, and its
    /// source. The selector after a start is stricter than at the start, so no other node can become a target.
    fn trial_fleet(&self, after: &Subject<'_>, changed: Vec<Node>) -> Fleet {
        let anywhere = Placement { node_name: None, ..after.placement.borrowed() };
        let mut nodes = self.fleet.look_up(&anywhere).passes().fitting;
        if let Some(source) = self.source {
            nodes.insert(source);
        }
        // If two nodes have the same name, the later one counts.
        Fleet::new(nodes.iter().map(|node| self.fleet.node(node)).chain(changed).collect())
    }

    /// Keeps the nodes of `nodes` on which the change makes the guest better off, if the guest can already
    /// start.
    pub(super) fn where_it_helps(&self, nodes: Vec<String>, done_to: impl Fn(String) -> Action) -> Vec<String> {
        const MAX_STARTS_TRIED: usize = 8;
        if self.needs_a_node() {
            return nodes;
        }
        let helps = |node: &String| self.within(|| self.tried(done_to(node.clone()))).is_some();
        nodes.into_iter().take(MAX_STARTS_TRIED).filter(helps).collect()
    }

    /// Returns the range of targets after a restart of the changed guest, if it helps: `nodes` start nodes for
    /// a guest that cannot start; a running guest must have enough targets from its start nodes.
    pub(super) fn after_change(&self, action: &Action, nodes: usize, needed: usize) -> Option<(usize, usize)> {
        if !self.is_migration() {
            return Some((nodes, nodes));
        }
        // The restarted guest keeps the CPU that libvirt refuses.
        if !labels_tell_after_restart(self) {
            return None;
        }
        let (after, _) = action.apply(self.subject, self.fleet);
        let Stage::Start(after_start) = after.stage else { return None };
        self.restart_cures(&Start { mode: after.mode, placement: after.placement, after_start }, needed)
    }
}
