//! KubeVirt refuses to migrate the guest, regardless of the labels: condition `LiveMigratable` of its VMI is
//! False.
//!
//! Mirrors `isMigratable` of `pkg/virt-api/webhooks/validating-webhook/admitters/migration-create-admitter.go`.

use super::{Check, CheckSpec, Detail, Finding, Reported};
use crate::fit::judgement::Judgement;
use crate::fit::outcome::Impact;

pub(super) const SPEC: CheckSpec = CheckSpec {
    id: Check::NotMigratable,
    word: "not-migratable",
    reported: Reported::Always,
    applies_to_launcher_pods: false,
    applies_to_refused_guests: false,
    immobilizes: true,
    doubt: None,
    find,
};

fn find(judgement: &Judgement<'_, '_>) -> Vec<Finding> {
    let Some(refused) = &judgement.subject.live_migratable.refused else { return Vec::new() };
    vec![Finding {
        impact: Some(Impact::Pinned),
        ..Finding::note(Check::NotMigratable, "spec.vmiName", Detail::NotMigratable(refused.clone()))
    }]
}
