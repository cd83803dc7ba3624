//! Remedy: remove models from KubeVirt's list of obsolete ones, so that the labels that it withholds return
//! within minutes.
//!
//! Mirrors `filterCpuModels` of `pkg/virt-handler/node-labeller/cpu_plugin.go` and `prepareLabels` of
//! `pkg/virt-handler/node-labeller/node_labeller.go`. A host model's own key returns for certain. A model is usable if
//! the node has all its features: those of models that are usable there, and those that are labelled.

use std::collections::{BTreeMap, BTreeSet};

use super::{Act, Changes, Commands, Outage, Remedy, RemedyId, RemedySpec};
use crate::fit::command::{Command, CommandWord, CpuModel, HYPERCONVERGED, Json, Name, Namespace};
use crate::fit::fleet::{Fleet, NodeIndex};
use crate::fit::judgement::Judgement;
use crate::fit::label::{self, Family};
use crate::fit::models;
use crate::fit::node::Node;
use crate::fit::subject::{ListOwner, ObsoleteModels, Subject};

pub(super) const SPEC: RemedySpec = RemedySpec {
    id: RemedyId::EditObsoleteModels,
    word: "edit-obsolete-models",
    outage: Outage::None,
    risk: "all guests of the cluster may use these models again",
    changes: Changes::Nodes,
    remakes_target: false,
    gives_room: false,
    offer,
    not_helping: None,
};

/// The removal of models from KubeVirt's list of obsolete ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EditObsoleteModels {
    /// The list.
    pub list: ObsoleteModels,
}

fn offer(judgement: &Judgement<'_, '_>) -> Option<Remedy> {
    let list = judgement.subject.configured.obsolete.clone()?;
    judgement.tried(EditObsoleteModels { list })
}

/// Whether the node's labels prove that its libvirt lists the model as usable.
fn is_usable(fleet: &Fleet, node: NodeIndex, model: &str) -> bool {
    let mut has: BTreeSet<&str> = fleet.names_under(node, Family::CpuFeature).into_iter().collect();
    for usable in fleet.names_under(node, Family::CpuModel) {
        has.extend(models::features(usable).into_iter().flatten());
    }
    models::features(model).is_some_and(|needed| needed.iter().all(|feature| has.contains(feature)))
}

/// Returns the label keys that return on a node.
fn returning(fleet: &Fleet, node: NodeIndex, list: &ObsoleteModels) -> Vec<String> {
    let host_models = fleet.names_under(node, Family::HostModelCpu);
    let mut out = Vec::new();
    for model in &list.models {
        let usable = is_usable(fleet, node, model);
        out.extend(usable.then(|| format!("{}{model}", label::CPU_MODEL)));
        let is_known = usable || host_models.contains(&model.as_str());
        out.extend(is_known.then(|| format!("{}{model}", label::CPU_MODEL_MIGRATION)));
    }
    out
}

impl Act for EditObsoleteModels {
    fn commands(&self, _: &Subject<'_>) -> Commands {
        let ObsoleteModels { models, edits, rest, owner } = &self.list;
        let names =
            models.iter().map(|model| CpuModel::new(model).map(CommandWord::from)).collect::<Result<Vec<_>, _>>()?;
        match owner {
            ListOwner::KubeVirt { namespace, name } => {
                let entry = |(model, is_in): &(String, bool)| {
                    Ok((CpuModel::new(model)?.into(), if *is_in { Json::True } else { Json::Null }))
                };
                let list = Json::Object(edits.iter().map(entry).collect::<Result<_, _>>()?);
                let patch = Command::kubectl(["patch", "kubevirt"]).arg(Name::new(name)?);
                let patch = patch.namespace(Namespace::new(namespace)?).args(["--type", "merge", "-p"]);
                let patch = patch.arg(list.below(&["spec", "configuration", "obsoleteCPUModels"]));
                Ok(vec![patch.comment("the labels return within 3 minutes")])
            }
            ListOwner::HyperConverged { namespace, name } => {
                let entry = |model: &String| Ok(Json::Text(CpuModel::new(model)?.into()));
                let list = Json::Array(rest.iter().map(entry).collect::<Result<_, _>>()?);
                let patch = Command::kubectl(["patch", HYPERCONVERGED]).arg(Name::new(name)?);
                let patch = patch.namespace(Namespace::new(namespace)?).args(["--type", "merge", "-p"]);
                let patch = patch.arg(list.below(&["spec", "obsoleteCPUs", "cpuModels"]));
                Ok(vec![patch.comment("its operator writes KubeVirt's list; the labels return within 3 minutes")])
            }
            ListOwner::Unknown => {
                let what = ["take".into()].into_iter().chain(names);
                let whose = "out of spec.configuration.obsoleteCPUModels of the KubeVirt resource";
                Ok(vec![Command::remark(what.chain([whose.into()]))])
            }
        }
    }

    fn apply(&self, _: &mut Subject<'_>, fleet: &Fleet) -> Vec<Node> {
        // The returning labels depend on labels that all nodes of a profile share.
        let mut by_profile: BTreeMap<NodeIndex, (Vec<String>, bool)> = BTreeMap::new();
        // A node without virt-handler has no labeller, and a node with `skip-node` keeps its labels.
        let labelled =
            |node: &NodeIndex| fleet.skip_node(*node).is_none() && fleet.label(*node, label::SCHEDULABLE).is_some();
        let mut out = Vec::new();
        for node in (0..fleet.len()).filter(labelled) {
            let (returning, is_lifted) = by_profile.entry(fleet.first_of_profile(node)).or_insert_with(|| {
                let is_lifted = |model: &&str| self.list.models.iter().any(|lifted| lifted == model);
                let mut returning = returning(fleet, node, &self.list);
                returning.retain(|key| fleet.label(node, key) != Some("true"));
                let host_models = fleet.names_under(node, Family::HostModelCpu);
                (returning, !host_models.is_empty() && host_models.iter().all(is_lifted))
            });
            let is_no_longer_obsolete =
                *is_lifted && fleet.labels(node).any(|(key, _)| label::is_obsolete_host_model(key));
            if returning.is_empty() && !is_no_longer_obsolete {
                continue;
            }
            let mut node = fleet.node(node);
            if is_no_longer_obsolete {
                node.labels.retain(|key, _| !label::is_obsolete_host_model(key));
            }
            node.labels.extend(returning.iter().map(|key| (key.clone(), "true".to_owned())));
            out.push(node);
        }
        out
    }
}
