//! Remedy: let the labeller update a node again whose labels are frozen (`skip-node`) and fewer than those of
//! its class; or the guest's own node, if its frozen labels ask for more than the labels of its class.
//!
//! A first migration reads the labels of the source when it is created: mirrors `prepareNodeSelectorForHostCpuModel` of
//! `pkg/virt-controller/watch/migration/migration.go`.
//!
//! Mirrors `skipNodeLabelling` of KubeVirt's node-labeller: the annotation's presence counts, not its value.

use super::{Act, Changes, Commands, Outage, Remedy, RemedyId, RemedySpec, edit, end_skip_node};
use crate::fit::fleet::Fleet;
use crate::fit::judgement::Judgement;
use crate::fit::label;
use crate::fit::node::Node;
use crate::fit::outcome::{Evidence, Nearest};
use crate::fit::subject::{CpuMode, Stage, Subject};

pub(super) const SPEC: RemedySpec = RemedySpec {
    id: RemedyId::RemoveSkipNode,
    word: "remove-skip-node",
    outage: Outage::None,
    risk: "hand-made labels on the node are lost",
    changes: Changes::Nodes,
    remakes_target: false,
    gives_room: false,
    offer,
    not_helping: None,
};

/// The removal of `skip-node` from a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoveSkipNode {
    /// The node.
    pub node: String,
    /// The annotation's value, which has no effect.
    pub value: String,
    /// A node of the same class, whose labels the node should get.
    pub like: String,
}

pub(super) fn offer(judgement: &Judgement<'_, '_>) -> Option<Remedy> {
    if !judgement.needs_a_node() {
        return None;
    }
    target(judgement).or_else(|| source(judgement))
}

fn target(judgement: &Judgement<'_, '_>) -> Option<Remedy> {
    let fleet = judgement.fleet;
    let source = judgement.source?;
    let (node, near) = judgement.curable().find(|(node, _)| fleet.skip_node(*node).is_some())?;
    if judgement.evidence_of_labels(node, &near.missing) != Evidence::Drifted {
        return None;
    }
    judgement.if_more_fit(RemoveSkipNode {
        node: near.node.clone(),
        value: fleet.skip_node(node).unwrap_or_default().to_owned(),
        like: fleet.name(source).to_owned(),
    })
}

/// The labels of a node of the same host model show what the labeller writes only if they are not frozen.
fn source(judgement: &Judgement<'_, '_>) -> Option<Remedy> {
    let fleet = judgement.fleet;
    let source = judgement.source?;
    let value = fleet.skip_node(source)?;
    let is_like = |near: &&Nearest| {
        let node = fleet.find(&near.node).filter(|node| fleet.skip_node(*node).is_none());
        node.is_some_and(|node| judgement.evidence_of_labels(node, &near.missing) == Evidence::FrozenSource)
    };
    let like = judgement.nearest().iter().find(is_like)?;
    judgement.if_more_fit(RemoveSkipNode {
        node: fleet.name(source).to_owned(),
        value: value.to_owned(),
        like: like.node.clone(),
    })
}

/// Replaces the selector entries that a migration copies from the labels of the guest's node.
fn copy_again(subject: &mut Subject<'_>, fleet: &Fleet, node: &str, like: &str) {
    let copies = matches!(&subject.stage, Stage::Migration(migration) if migration.copies_labels());
    let (true, Some(source), Some(node), Some(like)) =
        (copies && subject.mode == CpuMode::HostModel, subject.source(), fleet.find(node), fleet.find(like))
    else {
        return;
    };
    if source != fleet.name(node) {
        return;
    }
    let (old, new) = (&fleet.host_model_class(node).model, &fleet.host_model_class(like).model);
    let (Some(old), Some(new)) = (old, new) else { return };
    let is_copied = |key: &str| old.iter().any(|(copied, _)| copied == key);
    subject.placement.selector.retain(|(key, _)| !is_copied(key));
    for (key, value) in new {
        subject.placement.selector.insert(key.clone(), value.clone());
    }
}

impl Act for RemoveSkipNode {
    fn commands(&self, _: &Subject<'_>) -> Commands {
        Ok(vec![end_skip_node(&self.node)?.comment("its value does not count, its presence does")])
    }

    fn apply(&self, subject: &mut Subject<'_>, fleet: &Fleet) -> Vec<Node> {
        copy_again(subject, fleet, &self.node, &self.like);
        let like = fleet.find(&self.like).map(|like| fleet.node(like).labels).unwrap_or_default();
        edit(fleet, [&self.node], |node| {
            node.skip_node = None;
            node.labels.retain(|key, _| !label::is_removed_by_labeller(key));
            let fresh = like.iter().filter(|(key, _)| label::is_written_by_labeller(key));
            node.labels.extend(fresh.map(|(key, value)| (key.clone(), value.clone())));
        })
    }
}
