//! The named model is the host model of nodes that cannot run it by that name.
//!
//! Libvirt describes a host as a model with features added and removed: a host model does not promise that the
//! whole named model is usable. Mirrors `pkg/virt-handler/node-labeller/node_labeller.go`, which writes
//! `host-model-cpu` and `cpu-model` from different sources.

use super::{Check, CheckSpec, Detail, Finding, Reported};
use crate::fit::judgement::Judgement;
use crate::fit::label::{self, Family};

pub(super) const SPEC: CheckSpec = CheckSpec {
    id: Check::OwnHostModel,
    word: "own-host-model",
    reported: Reported::Always,
    applies_to_launcher_pods: false,
    applies_to_refused_guests: false,
    immobilizes: false,
    doubt: None,
    find,
};

/// A model that is the host model of nodes on which it is not usable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnHostModel {
    /// The model.
    pub model: String,
    /// The nodes of the guest's architecture on which it is usable, by name.
    pub usable: Vec<String>,
    /// Number of nodes of its architecture.
    pub total: usize,
    /// The nodes with this host model that cannot run it by name.
    pub unusable: Vec<String>,
    /// Whether KubeVirt's list of obsolete models holds it.
    pub is_withheld: bool,
}

fn find(judgement: &Judgement<'_, '_>) -> Vec<Finding> {
    if judgement.assessment.outcome.impact().is_none() || !judgement.is_judged() {
        return Vec::new();
    }
    let selector = &judgement.subject.placement.selector;
    let Some((key, value)) = selector.iter().find(|(key, _)| Family::of(key) == Family::CpuModel) else {
        return Vec::new();
    };
    let fleet = judgement.fleet;
    let all = judgement.neighbours_and_source();
    let mut usable = fleet.bearing(key, value);
    usable.intersect(&all);
    let mut unusable = fleet.bearing(&label::same_name_in(key, label::HOST_MODEL_CPU), "true");
    unusable.intersect(&all);
    unusable.subtract(&usable);
    if unusable.is_empty() {
        return Vec::new();
    }
    let model = label::name(key);
    let found = OwnHostModel {
        model: model.to_owned(),
        is_withheld: judgement.subject.configured.withheld.contains(model),
        usable: judgement.names(&usable),
        total: all.count(),
        unusable: judgement.names(&unusable),
    };
    let asked = judgement.subject.authors.of_entry(key);
    let field = asked.map(|asked| asked.field.clone()).unwrap_or_default();
    vec![Finding::note(Check::OwnHostModel, field, Detail::OwnHostModel(found))]
}
