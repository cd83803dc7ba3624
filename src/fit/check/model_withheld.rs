//! Labels of a model, or nodes by their host model, that KubeVirt's list of obsolete CPU models withholds from
//! the guest.
//!
//! Nodes with an obsolete host model have a label (`node-labeller.kubevirt.io/obsolete-host-model`).

use super::{Check, CheckSpec, Detail, Doubt, Finding, Reported};
use crate::fit::bits::Bits;
use crate::fit::fleet::NodeIndex;
use crate::fit::judgement::Judgement;
use crate::fit::label::{self, Family};
use crate::fit::placement::Affinity;
use crate::fit::subject::{ListKnown, Obsolete};

pub(super) const SPEC: CheckSpec = CheckSpec {
    id: Check::ModelWithheld,
    word: "model-withheld",
    reported: Reported::Always,
    applies_to_launcher_pods: false,
    applies_to_refused_guests: false,
    immobilizes: false,
    doubt: Some(Doubt::Labeller),
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
        /// Whether an operator writes the list from a HyperConverged resource.
        by_hyperconverged: bool,
    },
    /// Nodes whose host model is in the list: host-model guests avoid them.
    HostModels {
        /// The nodes, by name.
        nodes: Vec<String>,
        /// Whether an operator writes the list from a HyperConverged resource.
        by_hyperconverged: bool,
    },
    /// Nodes that host-model guests avoid for their label alone: the list is not known to hold their host model.
    OnlyLabelled {
        /// The nodes, by name.
        nodes: Vec<String>,
        /// Whether the list and their host models are known, so that the list is known not to hold them.
        is_unlisted: bool,
    },
}

fn find(judgement: &Judgement<'_, '_>) -> Vec<Finding> {
    if judgement.assessment.outcome.impact().is_none() {
        return still_there(judgement);
    }
    let required = judgement.subject.configured.required.iter();
    let model = |(model, by): &(String, Obsolete)| WithheldModel::Model { model: model.clone(), by: *by };
    let found = required.map(model).chain(avoided(judgement)).map(Detail::Withheld);
    found.map(|detail| Finding::note(Check::ModelWithheld, "", detail)).collect()
}

/// Returns the nodes that the guest avoids because of their host model.
fn avoided(judgement: &Judgement<'_, '_>) -> Vec<WithheldModel> {
    if !judgement.subject.placement.affinity.as_ref().is_some_and(Affinity::avoids_obsolete_host_model) {
        return Vec::new();
    }
    let mut nodes = judgement.neighbours.clone();
    nodes.subtract(&judgement.fleet.without(label::OBSOLETE_HOST_MODEL));
    let none = || Bits::none(judgement.fleet.len());
    let [mut listed, mut unlisted, mut unknown] = [none(), none(), none()];
    for node in nodes.iter() {
        match is_listed(judgement, node) {
            Some(true) => listed.insert(node),
            Some(false) => unlisted.insert(node),
            None => unknown.insert(node),
        }
    }
    let by_hyperconverged = judgement.subject.configured.by_hyperconverged;
    let names = |nodes: &Bits| Some(judgement.names(nodes)).filter(|names| !names.is_empty());
    let found = [
        names(&listed).map(|nodes| WithheldModel::HostModels { nodes, by_hyperconverged }),
        names(&unlisted).map(|nodes| WithheldModel::OnlyLabelled { nodes, is_unlisted: true }),
        names(&unknown).map(|nodes| WithheldModel::OnlyLabelled { nodes, is_unlisted: false }),
    ];
    found.into_iter().flatten().collect()
}

/// Whether the list of the KubeVirt resource holds a node's host model; `None` if the list or the host model is not
/// known. The built-in list makes no host model obsolete (`prepareLabels` of
/// `pkg/virt-handler/node-labeller/node_labeller.go`).
fn is_listed(judgement: &Judgement<'_, '_>, node: NodeIndex) -> Option<bool> {
    let models = judgement.fleet.names_under(node, Family::HostModelCpu);
    let is_known = judgement.subject.configured.list == ListKnown::Known && !models.is_empty();
    is_known.then(|| models.iter().any(|model| judgement.subject.configured.withheld.contains(*model)))
}

/// Finds withheld models that nodes still have labels for: the list was edited a moment ago, or the labels are
/// frozen.
fn still_there(judgement: &Judgement<'_, '_>) -> Vec<Finding> {
    let subject = judgement.subject;
    if subject.configured.withheld.is_empty() {
        return Vec::new();
    }
    let asked = subject.placement.selector.iter().filter(|(key, _)| Family::of(key).is_model());
    let withheld = asked.map(|(key, _)| label::name(key)).filter(|model| subject.configured.withheld.contains(*model));
    let by_hyperconverged = subject.configured.by_hyperconverged;
    let detail = |model: &str| Detail::Withheld(WithheldModel::Still { model: model.to_owned(), by_hyperconverged });
    withheld.map(|model| Finding::note(Check::ModelWithheld, "", detail(model))).collect()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;
    use crate::fit::judgement::Depth;
    use crate::judge::{Manifest, judge};
    use crate::kubevirt::cluster::ClusterObject;
    use crate::policy::UserName;
    use crate::testing::cluster::{cluster, read, vm};
    use crate::testing::fleet::{set, skylake};
    use crate::world::World;

    const HOST_MODEL: &str = "Skylake-Server-noTSX-IBRS";

    /// The label stays behind for three minutes after an edit of the list, and for as long as the node has `skip-node`.
    #[rstest]
    #[case::listed(Some(json!({HOST_MODEL: true})), true, "host model of i1 is in obsoleteCPUModels", "skip-node")]
    #[case::another_is_listed(Some(json!({"Westmere": true})), true, "its host model is not in obsoleteCPUModels", "is in obsoleteCPUModels")]
    #[case::no_list(Some(json!(null)), true, "its host model is not in obsoleteCPUModels", "is in obsoleteCPUModels")]
    #[case::an_empty_list(Some(json!({})), true, "its host model is not in obsoleteCPUModels", "is in obsoleteCPUModels")]
    #[case::no_kubevirt_resource(None, true, "i1 has the label", "obsoleteCPUModels")]
    #[case::no_host_model(Some(json!({HOST_MODEL: true})), false, "i1 has the label", "obsoleteCPUModels")]
    fn obsolete_models_are_named_as_cause_only_if_listed(
        #[case] list: Option<Value>,
        #[case] has_host_model: bool,
        #[case] expected: &str,
        #[case] never: &str,
    ) {
        let mut node = skylake("i1");
        set(&mut node, label::OBSOLETE_HOST_MODEL, "true");
        node.labels.retain(|key, _| has_host_model || Family::of(key) != Family::HostModelCpu);
        let kubevirt = list.map(|list| {
            let spec = json!({"configuration": {"obsoleteCPUModels": list}});
            ClusterObject::KubeVirt(Box::new(read(json!({"metadata": {"name": "kubevirt"}, "spec": spec}))))
        });
        let world = World { cluster: cluster("1.9.0", vec![node], kubevirt), policies: Vec::new() };
        let guest = Manifest::VirtualMachine(Box::new(read(vm("db", "host-model"))));
        let case = judge(&world, &guest, UserName::NOBODY, Depth::Full).expect("a guest");
        let found = case.verdict.findings.iter().filter(|found| found.check == Check::ModelWithheld);
        let said: Vec<String> = found.map(crate::say::finding::message).collect();
        let [said] = said.as_slice() else { panic!("the reason that no node takes it is missing: {said:?}") };
        assert!(
            said.contains(expected) && !said.contains(never),
            "a person edits a list that is not the cause: {said}"
        );
    }
}
