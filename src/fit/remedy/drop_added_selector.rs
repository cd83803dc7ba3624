//! Ask for the migration without its `spec.addedNodeSelector`.

use super::{Act, Commands, Outage, Remedy, RemedyId, RemedySpec, drop_keys, of_guest};
use crate::fit::command::Command;
use crate::fit::fleet::Fleet;
use crate::fit::judgement::Judgement;
use crate::fit::node::Node;
use crate::fit::subject::{Stage, Subject};

pub(super) const SPEC: RemedySpec = RemedySpec {
    id: RemedyId::DropAddedSelector,
    word: "drop-added-node-selector",
    outage: Outage::None,
    risk: "it may go to another node than the one asked for",
    offer,
    not_helping: |_| None,
};

/// Migrate without `addedNodeSelector`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DropAddedSelector {
    /// The keys that then are asked for no more.
    pub keys: Vec<String>,
}

fn offer(judgement: &Judgement<'_, '_>) -> Option<Remedy> {
    let Stage::Migration(migration) = &judgement.subject.stage else { return None };
    let keys: Vec<String> = migration.added.iter().map(|(key, _)| key.clone()).collect();
    if keys.is_empty() { None } else { judgement.if_more_fit(DropAddedSelector { keys }) }
}

impl Act for DropAddedSelector {
    fn commands(&self, subject: &Subject<'_>) -> Commands {
        Ok(vec![of_guest(Command::virtctl(["migrate"]), subject)?])
    }

    fn apply(&self, subject: &mut Subject<'_>, fleet: &Fleet) -> Vec<Node> {
        drop_keys(subject, fleet, &self.keys);
        Vec::new()
    }
}
