//! Remedy: migrate without `spec.addedNodeSelector`.

use super::{Act, Changes, Commands, Outage, Remedy, RemedyId, RemedySpec, again, drop_keys};
use crate::fit::fleet::Fleet;
use crate::fit::judgement::Judgement;
use crate::fit::node::Node;
use crate::fit::subject::{Stage, Subject};

pub(super) const SPEC: RemedySpec = RemedySpec {
    id: RemedyId::DropAddedSelector,
    word: "drop-added-node-selector",
    outage: Outage::None,
    risk: "it may go to another node than the one asked for",
    changes: Changes::Migration,
    remakes_target: true,
    gives_room: false,
    offer,
    not_helping: None,
};

/// A migration without `addedNodeSelector`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DropAddedSelector {
    /// The keys that are no longer selected.
    pub keys: Vec<String>,
}

fn offer(judgement: &Judgement<'_, '_>) -> Option<Remedy> {
    judgement.if_more_fit(of_migration(judgement.subject)?)
}

fn of_migration(subject: &Subject<'_>) -> Option<DropAddedSelector> {
    let Stage::Migration(migration) = &subject.stage else { return None };
    let keys: Vec<String> = migration.added.iter().map(|(key, _)| key.clone()).collect();
    (!keys.is_empty()).then_some(DropAddedSelector { keys })
}

impl Judgement<'_, '_> {
    /// Returns the number of nodes that take the guest without these entries of its selector; `None` if there are none,
    /// or the deadline passed first.
    pub(in crate::fit) fn fitting_without(&self, entries: &[(String, String)]) -> Option<usize> {
        let keys: Vec<String> = entries.iter().map(|(key, _)| key.clone()).collect();
        if keys.is_empty() {
            return None;
        }
        self.within(|| Some(self.fitting_after(&DropAddedSelector { keys }.into())))
    }

    /// Returns the number of targets of a migration without `addedNodeSelector`; `None` if it has none.
    fn targets_without_added(&self) -> Option<usize> {
        Some(self.fitting_after(&of_migration(self.subject)?.into()))
    }
}

/// Whether nothing else is in the way: without the added entries the migration has the targets that it needs. A guest
/// with another CPU would be bound by them as well.
pub(super) fn is_enough(judgement: &Judgement<'_, '_>) -> bool {
    judgement.targets_without_added().is_some_and(|targets| targets >= judgement.targets_needed())
}

/// Whether a drain of the guest's node finds a target, although this migration does not: the migrations of a
/// drain only have a `vmiName`. Mirrors the evacuation controller
/// (`pkg/virt-controller/watch/drain/evacuation/evacuation.go`).
pub(in crate::fit) fn leaves_at_drain(judgement: &Judgement<'_, '_>) -> bool {
    judgement.targets_without_added().is_some_and(|targets| targets > 0)
}

impl Act for DropAddedSelector {
    fn commands(&self, subject: &Subject<'_>) -> Commands {
        again(subject, Vec::new())
    }

    fn apply(&self, subject: &mut Subject<'_>, fleet: &Fleet) -> Vec<Node> {
        drop_keys(subject, fleet, &self.keys);
        Vec::new()
    }
}
