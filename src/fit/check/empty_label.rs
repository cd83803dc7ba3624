//! A capability label without a value: the nodes have the capability and the label, and the guest selects the
//! value `true`.
//!
//! Mirrors `pkg/virt-controller/services/nodeselectorrenderer.go`, which selects `true` since KubeVirt 1.5.0, and
//! `pkg/virt-handler/node-labeller/node_labeller.go`, which writes the empty text until 1.5.2.

use super::{Check, CheckSpec, Detail, Finding, Reported};
use crate::fit::judgement::Judgement;
use crate::fit::label;

pub(super) const SPEC: CheckSpec = CheckSpec {
    id: Check::EmptyLabel,
    word: "empty-label",
    reported: Reported::Always,
    applies_to_launcher_pods: false,
    applies_to_refused_guests: false,
    immobilizes: false,
    doubt: None,
    find,
};

/// A label with an empty value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmptyLabel {
    /// The label key.
    pub key: String,
    /// The nodes with the empty value, by name.
    pub nodes: Vec<String>,
    /// The nodes that lack the label, by name.
    pub without: Vec<String>,
    /// Whether the release of KubeVirt that runs writes the empty value and asks for another one.
    pub is_written_so: bool,
}

fn finding(judgement: &Judgement<'_, '_>, found: EmptyLabel) -> Finding {
    let asked = judgement.subject.authors.of_entry(&found.key);
    let field = asked.map(|asked| asked.field.clone()).unwrap_or_default();
    Finding::note(Check::EmptyLabel, field, Detail::EmptyLabel(found))
}

fn find(judgement: &Judgement<'_, '_>) -> Vec<Finding> {
    if judgement.assessment.outcome.impact().is_none() {
        return Vec::new();
    }
    let selector = judgement.subject.placement.selector.iter();
    let asked = selector.filter(|(key, value)| label::is_capability(key) && value == "true");
    let found = asked.filter_map(|(key, _)| {
        let mut nodes = judgement.fleet.bearing(key, "");
        nodes.intersect(&judgement.neighbours);
        let nodes = judgement.names(&nodes);
        let mut without = judgement.fleet.without(key);
        without.intersect(&judgement.neighbours);
        let without = judgement.names(&without);
        let is_written_so = judgement.subject.configured.fixed_in.is_some();
        (!nodes.is_empty()).then(|| EmptyLabel { key: key.to_string(), nodes, without, is_written_so })
    });
    found.map(|found| finding(judgement, found)).collect()
}
