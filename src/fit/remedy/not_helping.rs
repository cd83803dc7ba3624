//! The well-known remedies that do not help a guest, with the reason.

use std::collections::BTreeSet;

use super::{ALL, Changes, Outage, RemedyId, RemedySpec, WhyNot, foreseen, refused_target};
use crate::fit::immobile::Immobile;
use crate::fit::judgement::Judgement;
use crate::fit::outcome::Outcome;
use crate::fit::subject::{NotMigratable, Subject};

/// A well-known remedy that would not help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotHelping {
    /// The remedy.
    pub id: RemedyId,
    /// The reason.
    pub why: WhyNot,
}

/// Iterates over the well-known remedies.
pub(crate) fn well_known() -> impl Iterator<Item = &'static RemedySpec> {
    ALL.iter().filter(|spec| spec.not_helping.is_some())
}

/// Returns the well-known remedies that are known not to help, without those whose word is in `may_help`.
pub(in crate::fit) fn not_helping(judgement: &Judgement<'_, '_>, may_help: &BTreeSet<&str>) -> Vec<NotHelping> {
    let subject = judgement.subject;
    // No node helps a guest that KubeVirt refuses.
    if subject.is_refused {
        return Vec::new();
    }
    match Immobile::of(subject, judgement.fleet) {
        Some(Immobile::Refused(refused)) => return useless_where_refused(refused),
        // Whether KubeVirt can start it elsewhere is not known.
        Some(Immobile::SourceDown(node)) => return useless(is_without_restart, &WhyNot::SourceDown(node.to_owned())),
        Some(Immobile::Off(limit)) => return useless(is_without_restart, &WhyNot::MigrationsOff(limit)),
        None => {}
    }
    if let Some(foreseen) = foreseen(judgement).filter(|_| judgement.assessment.outcome.impact().is_some()) {
        return useless_where_foreseen(foreseen, subject);
    }
    match judgement.assessment.outcome {
        Outcome::Fits if judgement.subject.failed.as_ref().is_some_and(|refused| refused.is_of_cpu) => {
            useless(is_without_restart, &WhyNot::LibvirtRefused)
        }
        Outcome::Impaired(_) => ALL
            .iter()
            .filter(|spec| !may_help.contains(spec.word))
            .filter_map(|spec| {
                let refused = refused_target::is_why(judgement, spec).map(|node| WhyNot::RefusedThere { node });
                let by_labels = || judgement.within(|| spec.not_helping.and_then(|why_not| why_not(judgement)));
                Some(NotHelping { id: spec.id, why: refused.or_else(by_labels)? })
            })
            .collect(),
        Outcome::Fits | Outcome::Unknown(_) => Vec::new(),
    }
}

fn useless(is_useless: impl Fn(&RemedySpec) -> bool, why: &WhyNot) -> Vec<NotHelping> {
    well_known().filter(|spec| is_useless(spec)).map(|spec| NotHelping { id: spec.id, why: why.clone() }).collect()
}

/// Whether a remedy opens nodes, or changes what a migration asks for: it does not help a guest that nothing migrates.
fn is_without_restart(spec: &RemedySpec) -> bool {
    spec.outage == Outage::None
}

/// Returns the remedies that do not help a guest that KubeVirt refuses to migrate. For some reasons another
/// start node, or a node's host-model label, may help: those remedies are not listed.
fn useless_where_refused(refused: &NotMigratable) -> Vec<NotHelping> {
    let is_of_labels = |spec: &RemedySpec| matches!(spec.changes, Changes::Labels | Changes::OwnLabels);
    let is_useless = |spec: &RemedySpec| match refused.reason.as_str() {
        "DisksNotLiveMigratable" => true,
        "CPUModeLiveMigratable" => is_without_restart(spec) && !is_of_labels(spec),
        _ => is_without_restart(spec),
    };
    useless(is_useless, &WhyNot::NotMigratable(refused.reason.clone()))
}

/// Returns the remedies that do not help a guest that KubeVirt will refuse to migrate for what its specification has,
/// whatever its CPU is and wherever it starts.
fn useless_where_foreseen(refused: &NotMigratable, subject: &Subject<'_>) -> Vec<NotHelping> {
    let is_of_guest = |spec: &RemedySpec| subject.is_running() || !spec.changes.needs_running();
    useless(is_of_guest, &WhyNot::WillNotMigrate(refused.reason.clone()))
}
