//! The sentence about labels that KubeVirt's node-labeller withholds, by obsoleteCPUModels or its built-in list.

use crate::fit::check::WithheldModel;
use crate::fit::plural::{fold_names, number};
use crate::fit::subject::Obsolete;

/// Returns the sentence of the finding `withheld-model`.
pub(super) fn sentence(found: &WithheldModel) -> String {
    match found {
        WithheldModel::Still { model, by_hyperconverged } => format!(
            "CPU model {model} is in obsoleteCPUModels of the KubeVirt resource{}: the labels of it that are there go within 3 \
             minutes, but from nodes with skip-node",
            if *by_hyperconverged { ", which HyperConverged writes" } else { "" }
        ),
        WithheldModel::Model { model, by: Obsolete::Configured } => format!(
            "CPU model {model} is in obsoleteCPUModels of the KubeVirt resource, so the labeller gives no node its labels: once \
             it is not listed, they return within 3 minutes on each node that can run it, without an outage"
        ),
        WithheldModel::Model { model, by: Obsolete::Both } => format!(
            "CPU model {model} is the only one in obsoleteCPUModels of the KubeVirt resource, so the labeller gives no node its \
             labels. An empty list counts as none, and KubeVirt's built-in list holds {model} too: with another model in its \
             place, the labels return within 3 minutes on each node that can run it, without an outage"
        ),
        WithheldModel::Model { model, by: Obsolete::HyperConverged } => format!(
            "CPU model {model} is in obsoleteCPUModels of the KubeVirt resource, so the labeller gives no node its labels. \
             HyperConverged writes that list: edit obsoleteCPUs there; models of its operator stay"
        ),
        WithheldModel::Model { model, by: Obsolete::BuiltIn } => format!(
            "CPU model {model} is in KubeVirt's built-in list of obsolete models, so the labeller gives no node its labels: an \
             obsoleteCPUModels without it takes that list's place, and the labels return within 3 minutes on each node that can run it, \
             without an outage"
        ),
        WithheldModel::Model { model, by: Obsolete::AlwaysListed } => format!(
            "CPU model {model} is in KubeVirt's built-in list of obsolete models, so the labeller gives no node its labels; the \
             operator of HyperConverged lists it by itself too"
        ),
        WithheldModel::OnlyLabelled { nodes, is_unlisted } => {
            let many = nodes.len();
            let labelled = format!(
                "{} {} the label obsolete-host-model, so guests with host-model avoid {}",
                fold_names(nodes, 2),
                number(many, "has", "have"),
                number(many, "it", "them")
            );
            if !is_unlisted {
                return labelled;
            }
            format!(
                "{labelled}, but {} not in obsoleteCPUModels: within 7 minutes the labeller takes the label off, unless skip-node is set",
                number(many, "its host model is", "their host models are")
            )
        }
        WithheldModel::HostModels { nodes, by_hyperconverged } => {
            let many = nodes.len();
            let ends = if *by_hyperconverged {
                ". HyperConverged writes that list: edit obsoleteCPUs there; models of its operator stay".to_owned()
            } else {
                let they = number(many, "it is", "they are");
                format!(": once {they} not listed, that ends within 3 minutes, without an outage")
            };
            format!(
                "the host {} of {} {} in obsoleteCPUModels of the KubeVirt resource, and guests with host-model avoid {}{ends}",
                number(many, "model", "models"),
                fold_names(nodes, 3),
                number(many, "is", "are"),
                number(many, "it", "them")
            )
        }
    }
}
