//! A named model that nodes list but cannot run: manuals point users to those labels.

use super::{Check, CheckSpec, Detail, Finding, Reported};
use crate::fit::judgement::Judgement;
use crate::fit::label::{self, Family};

pub(super) const SPEC: CheckSpec = CheckSpec {
    id: Check::ModelKnownNotUsable,
    word: "model-known-not-usable",
    reported: Reported::Always,
    applies_to_launcher_pods: false,
    applies_to_refused_guests: false,
    immobilizes: false,
    doubt: None,
    find,
};

/// A model that is named by `cpu-model-migration` labels only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownNotUsable {
    /// The model.
    pub model: String,
    /// Number of nodes of the guest's architecture that list it.
    pub known: usize,
    /// Number of nodes of that architecture.
    pub total: usize,
}

fn find(judgement: &Judgement<'_, '_>) -> Vec<Finding> {
    let selector = &judgement.subject.placement.selector;
    let Some((key, _)) = selector.iter().find(|(key, _)| Family::of(key) == Family::CpuModel) else {
        return Vec::new();
    };
    let fleet = judgement.fleet;
    let model = label::name(key);
    // Nodes of another architecture do not count; the node that the guest runs on does.
    let nodes = judgement.neighbours_and_source();
    let known = nodes.count_common(&fleet.bearing(&format!("{}{model}", label::CPU_MODEL_MIGRATION), "true"));
    if known == 0 || nodes.meets(&fleet.bearing(key, "true")) {
        return Vec::new();
    }
    let detail = KnownNotUsable { model: model.to_owned(), known, total: nodes.count() };
    let asked = judgement.subject.authors.of_entry(key);
    let field = asked.map(|asked| asked.field.clone()).unwrap_or_default();
    vec![Finding::note(Check::ModelKnownNotUsable, field, Detail::KnownNotUsable(detail))]
}
