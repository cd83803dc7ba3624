//! A change of the running guest that counts once it has migrated: more vCPUs or memory, other volumes or interfaces.
//!
//! Mirrors `doesRequireMigration`, `isHotplugInProgress` and `isVolumesUpdateInProgress` of
//! `pkg/virt-controller/watch/workload-updater/workload-updater.go`.

use super::{Check, CheckSpec, Detail, Finding, Reported};
use crate::fit::judgement::Judgement;

pub(super) const SPEC: CheckSpec = CheckSpec {
    id: Check::MigrationWanted,
    word: "migration-wanted",
    reported: Reported::IfWarned,
    applies_to_launcher_pods: false,
    applies_to_refused_guests: false,
    immobilizes: false,
    doubt: None,
    find,
};

fn find(judgement: &Judgement<'_, '_>) -> Vec<Finding> {
    let pending = &judgement.subject.live_migratable.pending;
    if pending.is_empty() || !judgement.is_migration() {
        return Vec::new();
    }
    vec![Finding::note(Check::MigrationWanted, "", Detail::MigrationWanted(pending.clone()))]
}
