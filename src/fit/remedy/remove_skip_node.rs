//! Remedy: let the labeller update a node again whose labels are frozen (`skip-node`) and fewer than those of
//! its class.
//!
//! Mirrors `skipNodeLabelling` of KubeVirt's node-labeller: the annotation's presence counts, not its value.

use super::{Act, Commands, Outage, Remedy, RemedyId, RemedySpec, edit, end_skip_node};
use crate::fit::fleet::Fleet;
use crate::fit::judgement::Judgement;
use crate::fit::label;
use crate::fit::node::Node;
use crate::fit::outcome::Evidence;
use crate::fit::subject::Subject;

pub(super) const SPEC: RemedySpec = RemedySpec {
    id: RemedyId::RemoveSkipNode,
    word: "remove-skip-node",
    outage: Outage::None,
    risk: "hand-made labels on the node are lost",
    offer,
    not_helping: |_| None,
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

fn offer(judgement: &Judgement<'_, '_>) -> Option<Remedy> {
    if !judgement.needs_a_node() {
        return None;
    }
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

impl Act for RemoveSkipNode {
    fn commands(&self, _: &Subject<'_>) -> Commands {
        Ok(vec![end_skip_node(&self.node)?.comment("its value does not count, its presence does")])
    }

    fn apply(&self, _: &mut Subject<'_>, fleet: &Fleet) -> Vec<Node> {
        let like = fleet.find(&self.like).map(|like| fleet.node(like).labels).unwrap_or_default();
        edit(fleet, [&self.node], |node| {
            node.skip_node = None;
            node.labels.retain(|key, _| !label::is_removed_by_labeller(key));
            let fresh = like.iter().filter(|(key, _)| label::is_written_by_labeller(key));
            node.labels.extend(fresh.map(|(key, value)| (key.clone(), value.clone())));
        })
    }
}
