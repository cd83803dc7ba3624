//! Volumes that can be used on some of the nodes that fit only.
//!
//! Mirrors the scheduler's plugin `VolumeBinding`. Which volumes there are changes while guests live: they are named, not judged; whether an act that ends
//! the guest leaves it a node to start on is judged by them as well ([`Subject::known_starts`]).
//!
//! [`Subject::known_starts`]: crate::fit::subject::Subject::known_starts

use super::{Check, CheckSpec, Detail, Finding};
use crate::fit::judgement::Judgement;

pub(super) const SPEC: CheckSpec = CheckSpec {
    id: Check::BoundVolumes,
    word: "bound-volumes",
    always_reported: false,
    applies_to_launcher_pods: false,
    find,
};

/// Volumes that keep the guest off nodes that fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundVolumes {
    /// How many nodes fit.
    pub fitting: usize,
    /// The volumes that cannot be used on all of them.
    pub volumes: Vec<UsableOn>,
}

/// Where a volume can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsableOn {
    /// Its name in the guest's specification.
    pub volume: String,
    /// The PersistentVolume behind it.
    pub persistent_volume: String,
    /// The nodes that fit and on which it can be used, by name.
    pub nodes: Vec<String>,
}

fn find(judgement: &Judgement<'_, '_>) -> Vec<Finding> {
    let fitting = &judgement.passes.fitting;
    if !judgement.is_judged() || fitting.is_empty() {
        return Vec::new();
    }
    let volumes = judgement.subject.volumes.iter().filter_map(|bound| {
        let mut usable = bound.usable(judgement.fleet);
        usable.intersect(fitting);
        (usable.count() < fitting.count()).then(|| UsableOn {
            volume: bound.volume.clone(),
            persistent_volume: bound.persistent_volume.clone(),
            nodes: judgement.names(&usable),
        })
    });
    let found = BoundVolumes { fitting: fitting.count(), volumes: volumes.collect() };
    if found.volumes.is_empty() {
        return Vec::new();
    }
    let field = judgement.field_of_guest("volumes");
    vec![Finding::note(Check::BoundVolumes, field, Detail::BoundVolumes(found))]
}
