//! Remedy: drop inherited CPU features that no node offers any more (`launcherSelectors: DropStale` of a
//! policy).

use super::specification::before_migration;
use super::{Act, Changes, Commands, Outage, Remedy, RemedyId, RemedySpec, WhyNot, drop_keys};
use crate::fit::command::Command;
use crate::fit::fleet::Fleet;
use crate::fit::judgement::Judgement;
use crate::fit::label::Family;
use crate::fit::node::Node;
use crate::fit::subject::{Stage, Subject};

pub(super) const SPEC: RemedySpec = RemedySpec {
    id: RemedyId::DropStale,
    word: "drop-stale",
    outage: Outage::None,
    risk: "libvirt decides; if it refuses, the guest stays",
    changes: Changes::Policy,
    remakes_target: true,
    gives_room: false,
    offer,
    not_helping: Some(|judgement| why_not(judgement).map(WhyNot::Drop)),
};

/// The removal of these keys from the selector of the migration's target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DropStale {
    /// The keys.
    pub keys: Vec<String>,
}

/// The reason why dropping stale keys does not help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoDrop {
    /// The guest has inherited nothing.
    NothingInherited,
    /// Each inherited feature is offered by a node.
    NothingStale,
    /// A model key, which is never dropped, is stale.
    ModelKey {
        /// The key.
        key: String,
        /// The stale features.
        features: Vec<String>,
    },
    /// All inherited features are stale, and the last one is never dropped.
    LastFeature,
    /// No more nodes fit without them.
    NotEnough {
        /// The stale keys.
        keys: Vec<String>,
    },
}

/// The inherited features, and those of them that no node offers.
struct Inherited {
    count: usize,
    stale: Vec<String>,
}

fn inherited(judgement: &Judgement<'_, '_>) -> Inherited {
    let subject = judgement.subject;
    let is = |key: &str| Family::of(key) == Family::CpuFeature && !subject.is_own(key);
    Inherited {
        count: subject.placement.selector.iter().filter(|(key, _)| is(key)).count(),
        stale: judgement.nowhere().into_iter().map(|(key, _)| key).filter(|key| is(key)).collect(),
    }
}

fn offer(judgement: &Judgement<'_, '_>) -> Option<Remedy> {
    let Stage::Migration(migration) = &judgement.subject.stage else { return None };
    if !migration.inherited {
        return None;
    }
    let Inherited { count, stale } = inherited(judgement);
    // The last inherited feature is kept: without any, the next migration would use a newer CPU as the
    // guest's.
    if stale.is_empty() || stale.len() >= count {
        return None;
    }
    judgement.if_more_fit(DropStale { keys: stale })
}

fn why_not(judgement: &Judgement<'_, '_>) -> Option<NoDrop> {
    match &judgement.subject.stage {
        Stage::Migration(migration) if migration.inherited => {}
        Stage::Migration(migration) if migration.may_be_first => return None,
        _ => return Some(NoDrop::NothingInherited),
    }
    let Inherited { count, stale } = inherited(judgement);
    let model = judgement.nowhere().into_iter().find(|(key, _)| Family::of(key) == Family::CpuModelMigration);
    Some(match model {
        Some((key, _)) => NoDrop::ModelKey { key, features: stale },
        None if stale.is_empty() => NoDrop::NothingStale,
        None if stale.len() >= count => NoDrop::LastFeature,
        None => NoDrop::NotEnough { keys: stale },
    })
}

impl Act for DropStale {
    fn commands(&self, subject: &Subject<'_>) -> Commands {
        let remark = "in the CPUPolicy that governs this guest: spec.launcherSelectors: DropStale";
        before_migration(subject, vec![Command::remark([remark.into()])])
    }

    fn apply(&self, subject: &mut Subject<'_>, fleet: &Fleet) -> Vec<Node> {
        drop_keys(subject, fleet, &self.keys);
        Vec::new()
    }
}
