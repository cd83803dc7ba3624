//! Volumes that can be used only on some of the fitting nodes.
//!
//! Mirrors the scheduler's plugin `VolumeBinding`. A guest's volumes change while it runs, so they are
//! reported, not judged. [`Subject::known_starts`] considers them too, when an action would stop the guest and
//! it has to start again.
//!
//! [`Subject::known_starts`]: crate::fit::subject::Subject::known_starts

use super::{Check, CheckSpec, Detail, Doubt, Finding, Reported};
use crate::fit::judgement::Judgement;

pub(super) const SPEC: CheckSpec = CheckSpec {
    id: Check::BoundVolumes,
    word: "bound-volumes",
    reported: Reported::IfWarned,
    applies_to_launcher_pods: false,
    applies_to_refused_guests: false,
    immobilizes: false,
    doubt: Some(Doubt::Scheduler),
    find,
};

/// The volumes that keep the guest off fitting nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundVolumes {
    /// Number of fitting nodes.
    pub fitting: usize,
    /// The volumes that cannot be used on all of them.
    pub volumes: Vec<UsableOn>,
}

/// The nodes on which a volume can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsableOn {
    /// Its name in the guest's specification.
    pub volume: String,
    /// The PersistentVolume behind it.
    pub persistent_volume: String,
    /// The fitting nodes on which it can be used, by name.
    pub nodes: Vec<String>,
}

fn find(judgement: &Judgement<'_, '_>) -> Vec<Finding> {
    let fitting = &judgement.passes.fitting;
    if !judgement.is_judged() || fitting.is_empty() {
        return Vec::new();
    }
    let volumes = judgement.subject.unjudged.volumes.iter().filter_map(|bound| {
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
