//! The reason why a running guest migrates nowhere now, whatever the labels are: one rule for findings, remedies,
//! gates, the audit and drains.

use super::fleet::{Fleet, NodeHealth};
use super::subject::{MigrationLimit, NotMigratable, Subject};

/// The reason why a guest migrates nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Immobile<'a> {
    /// KubeVirt refuses its migration: condition `LiveMigratable` is False.
    Refused(&'a NotMigratable),
    /// KubeVirt starts no migration: this limit of its resource is 0.
    Off(MigrationLimit),
    /// The node that it leaves, by name, is down.
    SourceDown(&'a str),
}

impl<'a> Immobile<'a> {
    /// Returns the reason of a guest; `None` if it may migrate, or does not run.
    pub(crate) fn of(subject: &'a Subject<'_>, fleet: &Fleet) -> Option<Self> {
        let refused = subject.live_migratable.refused.as_ref().map(Self::Refused);
        let off = || subject.configured.migrations_off.filter(|_| subject.source().is_some()).map(Self::Off);
        refused.or_else(off).or_else(|| down(subject.source()?, fleet).map(Self::SourceDown))
    }
}

/// Returns the node if it is down: nothing there migrates a guest.
pub(crate) fn down<'n>(node: &'n str, fleet: &Fleet) -> Option<&'n str> {
    fleet.find(node).is_some_and(|node| fleet.health(node) == NodeHealth::Down).then_some(node)
}
