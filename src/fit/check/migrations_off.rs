//! KubeVirt starts no migration: a limit of parallel migrations is 0.
//!
//! Mirrors `handleTargetPodCreation` of `pkg/virt-controller/watch/migration/migration.go`, which creates no target pod
//! while as many migrations run as `parallelMigrationsPerCluster` or `parallelOutboundMigrationsPerNode` allows.

use super::{Check, CheckSpec, Detail, Finding, Reported};
use crate::fit::immobile::Immobile;
use crate::fit::judgement::Judgement;
use crate::fit::outcome::Impact;

pub(super) const SPEC: CheckSpec = CheckSpec {
    id: Check::MigrationsOff,
    word: "migrations-off",
    reported: Reported::Always,
    applies_to_launcher_pods: false,
    applies_to_refused_guests: false,
    immobilizes: true,
    doubt: None,
    find,
};

fn find(judgement: &Judgement<'_, '_>) -> Vec<Finding> {
    let Some(Immobile::Off(limit)) = Immobile::of(judgement.subject, judgement.fleet) else { return Vec::new() };
    let finding = Finding::note(Check::MigrationsOff, "spec.vmiName", Detail::MigrationsOff(limit));
    vec![Finding { impact: Some(Impact::Pinned), ..finding }]
}
