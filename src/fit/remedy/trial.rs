//! The trial of a remedy before it is offered: on the nodes that it changes, with all others unchanged.

use super::{Action, Counted, Luck, Outage, Remedy};
use crate::fit::assess::{self, StartGroup, StartOf, start_groups};
use crate::fit::bits::Bits;
use crate::fit::effort::Depth;
use crate::fit::fleet::Fleet;
use crate::fit::judgement::Judgement;
use crate::fit::node::Node;
use crate::fit::outcome::{Impact, Outcome};
use crate::fit::placement::Placement;
use crate::fit::subject::{AfterStart, Stage, Start, Subject};

/// The start nodes or the targets after a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Prospect {
    /// As [`Remedy::then_fits`].
    pub(super) then_fits: (usize, usize),
    /// As [`Remedy::luck`].
    pub(super) luck: Option<Luck>,
}

impl Prospect {
    /// Returns those of a change that is certain to help.
    pub(super) fn certain(then_fits: (usize, usize)) -> Self {
        Self { then_fits, luck: None }
    }

    /// Returns those of a change that leaves `count` nodes for certain.
    pub(super) fn exactly(count: usize) -> Self {
        Self::certain((count, count))
    }
}

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

    /// Returns what the numbers of its remedies count.
    fn counted(&self) -> Counted {
        Counted::of(self.subject, &self.assessment)
    }

    /// Returns the number of targets that counts as an improvement: 2 for a fragile guest, else 1.
    pub(super) fn targets_needed(&self) -> usize {
        if self.assessment.outcome.impact() == Some(Impact::Fragile) { 2 } else { 1 }
    }

    /// Returns the smallest and the largest number of targets after a start, and the start nodes.
    pub(super) fn outlook(&self, start: &Start<'_>) -> ((usize, usize), Bits) {
        let mut fitting = self.fleet.look_up(&start.placement).passes().fitting;
        if let Some(failing) = self.subject.failing(&start.placement, &start.features, self.fleet) {
            fitting.subtract(&failing);
        }
        let groups = self.groups_from(start, &fitting).unwrap_or_default();
        (range(&groups).unwrap_or_default(), fitting)
    }

    /// Groups the nodes of a start by the targets that they leave; `None` if the deadline passed first.
    fn groups_from(&self, start: &Start<'_>, fitting: &Bits) -> Option<Vec<StartGroup>> {
        start_groups(self.subject, start.into(), fitting, self.fleet, self.effort)
    }

    /// Returns the targets after a restart, if it may help. It is certain to help if every start leaves `needed`
    /// targets, or if the guest has no target now and leaves a cordoned source. If only some starts do, the node that
    /// the scheduler chooses decides.
    pub(super) fn after_restart(&self, start: &Start<'_>, needed: usize) -> Option<Prospect> {
        let (range, fitting) = self.outlook(start);
        if fitting.is_empty() {
            return None;
        }
        let is_cordoned = |source| self.fleet.is_cordoned(source) && !fitting.contains(source);
        // A guest that can migrate leaves it without a restart.
        let leaves = self.passes.fitting.is_empty() && self.source.is_some_and(is_cordoned);
        if range.0 >= needed || leaves {
            return Some(Prospect::certain(range));
        }
        if !self.is_in_need(needed)? {
            return None;
        }
        let groups = self.groups_from(start, &fitting)?;
        by_luck(groups, self.fleet, range, needed)
    }

    /// Whether it has fewer than `needed` targets now, wherever it starts.
    fn is_in_need(&self, needed: usize) -> Option<bool> {
        let most = match &self.subject.stage {
            Stage::Migration(_) => self.passes.fitting.count(),
            Stage::Start(after_start) => {
                let groups = self.start_groups(&self.subject.placement, *after_start, &self.passes.fitting)?;
                groups.iter().map(StartGroup::most).max().unwrap_or_default()
            }
        };
        Some(most < needed)
    }

    /// Whether a restart is certain to help.
    pub(super) fn restart_cures(&self, start: &Start<'_>, needed: usize) -> bool {
        self.after_restart(start, needed).is_some_and(|prospect| prospect.luck.is_none())
    }

    /// Counts the nodes that fit after an action, judged on the nodes that it changes and all others
    /// unchanged.
    pub(super) fn fitting_after(&self, action: &Action) -> usize {
        let (after, changed) = action.apply(self.subject, self.fleet);
        let mut unchanged = after.fitting(self.fleet);
        let source = after.source().and_then(|name| self.fleet.find(name));
        let names = changed.iter().filter_map(|node| self.fleet.find(&node.name));
        names.chain(source).for_each(|node| unchanged.remove(node));
        let others = changed.into_iter().filter(|node| after.source() != Some(&node.name)).collect();
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
        (count > self.passes.fitting.count()).then(|| Remedy::new(action, Prospect::exactly(count)))
    }

    /// Returns the remedy of a change of the guest's own template: by its targets after the restart where a running
    /// guest has to restart for it, else if more nodes fit.
    pub(super) fn by_template(&self, action: Action) -> Option<Remedy> {
        if action.outage(self.subject) == Outage::Restart && self.is_migration() {
            let prospect = self.after_change(&action, 0, self.targets_needed())?;
            return Some(Remedy::new(action, prospect));
        }
        self.if_more_fit(action)
    }

    /// Returns a remedy if the guest is better off after it: judged again, on the nodes as they are then. If only some
    /// start nodes leave it better off, and it is not better off now, the remedy depends on luck.
    pub(super) fn tried(&self, action: impl Into<Action>) -> Option<Remedy> {
        let action = action.into();
        let (after, changed) = action.apply(self.subject, self.fleet);
        let changed = (!changed.is_empty()).then(|| self.trial_fleet(&after, changed));
        let fleet = changed.as_ref().unwrap_or(self.fleet);
        let now = Judgement::new(&after, fleet, self.effort.at(Depth::Brief)).into_assessment();
        let is_better = badness(&now.outcome)? < badness(&self.assessment.outcome)?;
        let Stage::Start(after_start) = after.stage else {
            return is_better.then(|| Remedy::new(action, Prospect::exactly(now.fitting.count())));
        };
        if self.is_migration() && !self.labels_predict(&start_of(&after, after_start)) {
            return None;
        }
        if is_better && self.counted() == Counted::StartNodes {
            return Some(Remedy::new(action, Prospect::exactly(now.fitting.count())));
        }
        let start = StartOf::next(&after, &after.placement, after_start);
        let groups = start_groups(&after, start, &now.fitting, fleet, self.effort)?;
        let range = range(&groups)?;
        if is_better {
            return Some(Remedy::new(action, Prospect::certain(range)));
        }
        let found =
            self.is_in_need(self.targets_needed())?.then(|| by_luck(groups, fleet, range, self.targets_needed()));
        found.flatten().map(|prospect| Remedy::new(action, prospect))
    }

    /// Returns the first action that is certain to help, else the first that helps from some start nodes.
    pub(super) fn first_that_helps(&self, actions: impl IntoIterator<Item = Action>) -> Option<Remedy> {
        let mut lucky = None;
        for action in actions {
            match self.within(|| self.tried(action)) {
                Some(remedy) if remedy.luck.is_some() => lucky = lucky.or(Some(remedy)),
                Some(remedy) => return Some(remedy),
                None => {}
            }
        }
        lucky
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

    /// The nodes of `nodes` on which the change leaves the guest better off, for a guest that can start already. Where
    /// it does so on none for certain, those on which it does by luck.
    pub(super) fn where_it_helps(&self, nodes: Vec<String>, done_to: impl Fn(String) -> Action) -> Vec<String> {
        const MAX_STARTS_TRIED: usize = 8;
        if self.needs_a_node() {
            return nodes;
        }
        let tried = nodes.into_iter().take(MAX_STARTS_TRIED);
        let helps = tried.filter_map(|node| Some((self.within(|| self.tried(done_to(node.clone())))?, node)));
        let (certain, lucky): (Vec<_>, Vec<_>) = helps.partition(|(remedy, _)| remedy.luck.is_none());
        let found = if certain.is_empty() { lucky } else { certain };
        found.into_iter().map(|(_, node)| node).collect()
    }

    /// Returns the range of targets after a restart of the changed guest, if it may help: `nodes` start nodes for
    /// a guest that cannot start; a running guest must have enough targets from its start nodes.
    pub(super) fn after_change(&self, action: &Action, nodes: usize, needed: usize) -> Option<Prospect> {
        if !self.is_migration() {
            return Some(Prospect::exactly(nodes));
        }
        let (after, _) = action.apply(self.subject, self.fleet);
        let Stage::Start(after_start) = after.stage else { return None };
        let start = start_of(&after, after_start);
        // The guest may keep the CPU that libvirt refuses.
        if !self.labels_predict(&start) {
            return None;
        }
        self.after_restart(&start, needed)
    }
}

/// Returns the start of a guest that a change has restarted.
fn start_of<'a>(after: &Subject<'a>, after_start: AfterStart) -> Start<'a> {
    let Subject { mode, placement, features, .. } = after.clone();
    Start { mode, placement, own_models: Vec::new(), features, by_policy: None, after_start }
}

/// Returns the targets after these starts, if some leave the guest enough and others do not.
fn by_luck(groups: Vec<StartGroup>, fleet: &Fleet, range: (usize, usize), needed: usize) -> Option<Prospect> {
    if range.1 < needed {
        return None;
    }
    let by_count = assess::by_count(groups, fleet);
    // The range counts the most of each group, which no start may leave.
    let is_enough = by_count.keys().any(|count| *count >= needed);
    let names = |is: &dyn Fn(usize) -> bool| -> Vec<String> {
        let nodes = by_count.iter().filter(|(count, _)| is(**count)).flat_map(|(_, nodes)| nodes.iter());
        let mut names: Vec<String> = nodes.map(|node| fleet.name(node).to_owned()).collect();
        names.sort_unstable();
        names
    };
    let luck = Luck { stuck_on: names(&|count| count == 0), no_better_on: names(&|count| count > 0 && count < needed) };
    is_enough.then_some(Prospect { then_fits: range, luck: Some(luck) })
}
