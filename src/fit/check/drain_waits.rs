//! A drain of the node waits for a guest that has no target, or that no eviction migrates: its eviction
//! strategy requires a migration.
//!
//! Mirrors `pkg/virt-api/webhooks/validating-webhook/admitters/pod-eviction-admitter.go`: with `LiveMigrate` the
//! eviction is refused until the guest has left, and a guest that is not `IsMigratable` is not migrated.

use super::{Check, CheckSpec, Detail, Finding, Reported};
use crate::fit::author::Author;
use crate::fit::judgement::Judgement;
use crate::fit::outcome::Impact;
use crate::fit::remedy;

pub(super) const SPEC: CheckSpec = CheckSpec {
    id: Check::DrainWaits,
    word: "drain-waits",
    reported: Reported::Apart,
    applies_to_launcher_pods: false,
    applies_to_refused_guests: false,
    immobilizes: false,
    doubt: None,
    find,
};

/// A guest that a drain of its node waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrainWaits {
    /// The node that it runs on.
    pub node: String,
    /// Its eviction strategy.
    pub strategy: &'static str,
    /// The author of the strategy.
    pub author: Author,
    /// Whether the cluster has no other node.
    pub single_node: bool,
    /// The status of `LiveMigratable`, empty without the condition, if it alone prevents the migration.
    pub undecided: Option<String>,
}

fn find(judgement: &Judgement<'_, '_>) -> Vec<Finding> {
    let subject = judgement.subject;
    let mut at_some_try = subject.fitting_with_any_vendor(judgement.fleet);
    at_some_try.intersect(&judgement.neighbours);
    let pinned = judgement.assessment.outcome.impact() == Some(Impact::Pinned)
        && !remedy::leaves_at_drain(judgement)
        && at_some_try.is_empty();
    let waits = pinned || subject.live_migratable.undecided.is_some() || subject.live_migratable.refused.is_some();
    let (Some((strategy, author)), Some(source), true) = (&subject.live_migrate, judgement.source, waits) else {
        return Vec::new();
    };
    let found = DrainWaits {
        node: judgement.fleet.name(source).to_owned(),
        strategy,
        author: author.clone(),
        single_node: judgement.fleet.len() == 1,
        undecided: subject.live_migratable.undecided.clone().filter(|_| !pinned),
    };
    vec![Finding::note(Check::DrainWaits, "spec.vmiName", Detail::DrainWaits(found))]
}
