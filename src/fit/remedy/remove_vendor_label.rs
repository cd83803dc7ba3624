//! Remedy: remove an untrue vendor label from the node that the guest leaves. KubeVirt selects any one vendor that its
//! node is labelled with, and the labeller removes none.
//!
//! Mirrors `nodeLabellerLabels` and `prepareLabels` of `pkg/virt-handler/node-labeller/node_labeller.go`: the labeller
//! writes the vendor of the hardware alone, so that no `skip-node` is necessary.

use super::trial::Prospect;
use super::{Act, Action, Changes, Commands, Outage, Remedy, RemedyId, RemedySpec, edit, label_node};
use crate::fit::command::{CommandWord, LabelKey};
use crate::fit::fleet::{Fleet, NodeIndex};
use crate::fit::judgement::Judgement;
use crate::fit::label::{self, Family};
use crate::fit::models::vendors;
use crate::fit::node::Node;
use crate::fit::subject::{Stage, Subject};

pub(super) const SPEC: RemedySpec = RemedySpec {
    id: RemedyId::RemoveVendorLabel,
    word: "remove-vendor-label",
    outage: Outage::None,
    risk: "guests whose pods select the removed label die at a restart of the kubelet",
    changes: Changes::OwnLabels,
    remakes_target: false,
    gives_room: false,
    // It leaves no more nodes than the vendor by which the guest is judged; the check of the source's labels offers it.
    offer: |_| None,
    not_helping: None,
};

/// The removal of untrue vendor labels from a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoveVendorLabel {
    /// The node.
    pub node: String,
    /// The keys of the labels that are untrue.
    pub keys: Vec<String>,
    /// The key of the one that is true.
    pub vendor: String,
}

/// Makes the choice of the vendor certain, if the true one leaves the guest as many nodes as any other. It leaves no
/// more of them than the best choice.
pub(in crate::fit) fn makes_certain(judgement: &Judgement<'_, '_>) -> Option<Remedy> {
    let Stage::Migration(migration) = &judgement.subject.stage else { return None };
    let source = judgement.source?;
    let vendor = vendor_of(judgement, source)?;
    let (is, others): (Vec<&String>, Vec<&String>) =
        migration.vendors.iter().partition(|key| label::name(key) == vendor);
    let [vendor] = is.as_slice() else { return None };
    if others.is_empty() {
        return None;
    }
    let action = Action::from(RemoveVendorLabel {
        node: judgement.fleet.name(source).to_owned(),
        keys: others.into_iter().cloned().collect(),
        vendor: (*vendor).clone(),
    });
    let count = judgement.fitting_after(&action);
    (count >= judgement.passes.fitting.count().max(1)).then(|| Remedy::new(action, Prospect::exactly(count)))
}

/// Returns the vendor of a node's CPU: as its libvirt reports it, else that of its host model; `None` if neither is
/// known.
fn vendor_of(judgement: &Judgement<'_, '_>, node: NodeIndex) -> Option<String> {
    let fleet = judgement.fleet;
    let reported = judgement.subject.host(fleet.name(node)).and_then(|host| host.model.as_ref()?.vendor.clone());
    reported.or_else(|| vendors::of_host_model(fleet, node).map(str::to_owned))
}

impl Act for RemoveVendorLabel {
    fn commands(&self, _: &Subject<'_>) -> Commands {
        let removed = |key: &String| LabelKey::new(key).map(LabelKey::removed);
        let keys: Vec<CommandWord> = self.keys.iter().map(removed).collect::<Result<_, _>>()?;
        Ok(vec![label_node(&self.node)?.args(keys)])
    }

    fn apply(&self, subject: &mut Subject<'_>, fleet: &Fleet) -> Vec<Node> {
        if let Stage::Migration(migration) = &mut subject.stage {
            migration.vendors.retain(|key| *key == self.vendor);
        }
        super::replace_key(&mut subject.placement, Family::CpuVendor, self.vendor.clone());
        edit(fleet, [&self.node], |node| node.labels.retain(|key, _| !self.keys.contains(key)))
    }
}
