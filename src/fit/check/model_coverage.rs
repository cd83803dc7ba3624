//! A named model that fits some nodes and excludes a large part of those that could take the guest otherwise.

use super::{Check, CheckSpec, Detail, Finding, Reported};
use crate::fit::author::Author;
use crate::fit::judgement::Judgement;
use crate::fit::label::{self, Family};
use crate::fit::placement::Placement;
use crate::fit::remedy;
use crate::fit::subject::Stage;

pub(super) const SPEC: CheckSpec = CheckSpec {
    id: Check::ModelCoverage,
    word: "model-coverage",
    reported: Reported::IfWarned,
    applies_to_launcher_pods: false,
    applies_to_refused_guests: false,
    immobilizes: false,
    doubt: None,
    find,
};

/// The smallest large part, as one in this many: if a third of the nodes is excluded, each of the rest must
/// take half as much again, which is more than clusters keep free for the loss of a node.
const LARGE_PART: usize = 3;

/// A model that many nodes cannot run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelCoverage {
    /// The model.
    pub model: String,
    /// Number of nodes that could take the guest with any model.
    pub open: usize,
    /// The nodes among them that cannot run the model, by name.
    pub left_out: Vec<String>,
    /// The author of the model; `None` if it is not known.
    pub author: Option<Author>,
    /// The model that runs on the most of the nodes that could take the guest, and their number; `None` if it is not
    /// known, no model runs on more nodes, or a remedy gives the guest that model.
    pub better: Option<(String, usize)>,
}

fn find(judgement: &Judgement<'_, '_>) -> Vec<Finding> {
    let (subject, fitting) = (judgement.subject, &judgement.passes.fitting);
    let selector = &subject.placement.selector;
    let named = selector.iter().find(|(key, _)| Family::of(key) == Family::CpuModel);
    let (Stage::Start(_), Some((key, _))) = (&subject.stage, named) else { return Vec::new() };
    if fitting.is_empty() || !judgement.is_judged() {
        return Vec::new();
    }
    let mut free = Placement { selector: selector.borrowed(), ..subject.placement.clone() };
    free.selector.retain(|(key, _)| Family::of(key) != Family::CpuModel);
    let mut open = judgement.fleet.look_up(&free).passes().fitting;
    if let Some(failing) = subject.failing(&free, &subject.features, judgement.fleet) {
        open.subtract(&failing);
    }
    let mut left_out = open.clone();
    left_out.subtract(fitting);
    if left_out.is_empty() || left_out.count() * LARGE_PART < open.count() {
        return Vec::new();
    }
    let asked = subject.authors.of_entry(key);
    let remedies = remedy::evens_starts(judgement);
    let better = if remedies.is_empty() { remedy::runs_on_more(judgement, &open) } else { None };
    let found = ModelCoverage {
        model: label::name(key).to_owned(),
        open: open.count(),
        left_out: judgement.names(&left_out),
        author: asked.map(|asked| asked.author.clone()),
        better,
    };
    let field = asked.map(|asked| asked.field.clone()).unwrap_or_default();
    vec![Finding { remedies, ..Finding::note(Check::ModelCoverage, field, Detail::ModelCoverage(found)) }]
}
