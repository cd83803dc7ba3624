//! Labels of a model, or nodes by their host model, that KubeVirt's list of obsolete CPU models withholds from
//! the guest.
//!
//! A withheld model does not depend on the nodes, and is a note of the judgement; nodes with an obsolete host
//! model have a label (`node-labeller.kubevirt.io/obsolete-host-model`).

use super::{Check, CheckSpec, Detail, Finding};
use crate::fit::judgement::Judgement;
use crate::fit::label::{self, Family};
use crate::fit::placement::Affinity;

pub(super) const SPEC: CheckSpec = CheckSpec {
    id: Check::ModelWithheld,
    word: "model-withheld",
    always_reported: true,
    applies_to_launcher_pods: false,
    find,
};

/// The models or nodes that the list withholds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WithheldModel {
    /// The labels of a model that the guest requires.
    Model {
        /// The model.
        model: String,
        /// The list.
        by: Obsolete,
    },
    /// The labels of a model that the guest requires and that nodes still have: the guest fits until the
    /// labeller runs again.
    Still {
        /// The model.
        model: String,
    },
    /// Nodes whose host model is in the list: host-model guests avoid them.
    HostModels {
        /// The nodes, by name.
        nodes: Vec<String>,
    },
}

/// A list of obsolete models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obsolete {
    /// The list of the KubeVirt custom resource.
    Configured,
    /// The list of the KubeVirt custom resource, which a HyperConverged resource manages.
    HyperConverged,
    /// The list built into KubeVirt.
    BuiltIn,
}

fn find(judgement: &Judgement<'_, '_>) -> Vec<Finding> {
    if judgement.assessment.outcome.impact().is_none() {
        return still_there(judgement);
    }
    let mut out = Vec::new();
    let avoids = || judgement.subject.placement.affinity.as_ref().is_some_and(Affinity::avoids_obsolete_host_model);
    let mut nodes = judgement.fleet.bearing(label::OBSOLETE_HOST_MODEL, "true");
    nodes.intersect(&judgement.neighbours);
    if !nodes.is_empty() && avoids() {
        let detail = WithheldModel::HostModels { nodes: judgement.names(&nodes) };
        out.push(Finding::note(Check::ModelWithheld, "", Detail::Withheld(detail)));
    }
    out
}

/// Finds withheld models that nodes still have labels for: the list was edited a moment ago, or the labels are
/// frozen.
fn still_there(judgement: &Judgement<'_, '_>) -> Vec<Finding> {
    let subject = judgement.subject;
    if subject.withheld.is_empty() {
        return Vec::new();
    }
    let asked = subject.placement.selector.iter().filter(|(key, _)| Family::of(key).is_model());
    let withheld = asked.map(|(key, _)| label::name(key)).filter(|model| subject.withheld.contains(*model));
    let detail = |model: &str| Detail::Withheld(WithheldModel::Still { model: model.to_owned() });
    withheld.map(|model| Finding::note(Check::ModelWithheld, "", detail(model))).collect()
}
