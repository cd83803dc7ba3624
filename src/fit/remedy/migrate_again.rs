//! Remedy: cancel a migration whose target pod waits for a node, and migrate again. The pod keeps the selector that was
//! made of labels and settings as they were when it was created: nothing changes a pod, and virt-controller creates no
//! other one for the same migration (`createTargetPod` of `pkg/virt-controller/watch/migration/migration.go`).

use super::specification::is_under_way;
use super::{Act, Changes, Commands, Outage, Remedy, RemedyId, RemedySpec, again};
use crate::fit::fleet::Fleet;
use crate::fit::judgement::Judgement;
use crate::fit::node::Node;
use crate::fit::subject::{Stage, Subject};

pub(super) const SPEC: RemedySpec = RemedySpec {
    id: RemedyId::MigrateAgain,
    word: "migrate-again",
    outage: Outage::None,
    risk: "libvirt decides; if it refuses, the guest stays",
    changes: Changes::Migration,
    remakes_target: true,
    gives_room: false,
    offer,
    not_helping: None,
};

/// A migration with a new target pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MigrateAgain;

fn offer(judgement: &Judgement<'_, '_>) -> Option<Remedy> {
    let Stage::Migration(migration) = &judgement.subject.stage else { return None };
    // The migration that is requested again has no `addedNodeSelector`.
    let is_plain = migration.added.is_empty() && migration.overridden.is_empty();
    if migration.new_target.is_none() || !is_plain || !is_under_way(judgement.subject) {
        return None;
    }
    judgement.if_more_fit(MigrateAgain)
}

impl Act for MigrateAgain {
    fn commands(&self, subject: &Subject<'_>) -> Commands {
        again(subject, Vec::new())
    }

    /// The new target pod is that of each remedy which changes what a migration asks for.
    fn apply(&self, _: &mut Subject<'_>, _: &Fleet) -> Vec<Node> {
        Vec::new()
    }
}
