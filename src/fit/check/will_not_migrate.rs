//! KubeVirt will refuse to migrate the guest for what its specification has: virt-handler has not set the condition
//! `LiveMigratable` yet. Outcome and fitting nodes stay as they are: they count nodes, and the guest may start.
//!
//! Mirrors `calculateLiveMigrationCondition` of `pkg/virt-handler/vm.go`.

use super::{Check, CheckSpec, Detail, Finding, Reported};
use crate::fit::judgement::Judgement;

pub(super) const SPEC: CheckSpec = CheckSpec {
    id: Check::WillNotMigrate,
    word: "will-not-migrate",
    reported: Reported::Always,
    applies_to_launcher_pods: false,
    applies_to_refused_guests: false,
    immobilizes: false,
    doubt: None,
    find,
};

fn find(judgement: &Judgement<'_, '_>) -> Vec<Finding> {
    let subject = judgement.subject;
    // The condition itself says it.
    let Some(foreseen) =
        subject.live_migratable.foreseen.as_ref().filter(|_| subject.live_migratable.refused.is_none())
    else {
        return Vec::new();
    };
    let field = if judgement.is_migration() { "spec.vmiName".to_owned() } else { foreseen.field.clone() };
    vec![Finding::note(Check::WillNotMigrate, field, Detail::WillNotMigrate(foreseen.refused.clone()))]
}
