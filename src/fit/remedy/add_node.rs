//! Remedy: add a node with the hardware of the one that the guest runs on.

use super::refused_target::refused_on;
use super::{Act, Changes, Commands, Outage, Remedy, RemedyId, RemedySpec, edit};
use crate::fit::fleet::Fleet;
use crate::fit::judgement::Judgement;
use crate::fit::label;
use crate::fit::node::Node;
use crate::fit::subject::Subject;

pub(super) const SPEC: RemedySpec = RemedySpec {
    id: RemedyId::AddNode,
    word: "add-node",
    outage: Outage::None,
    risk: "none",
    changes: Changes::Cluster,
    remakes_target: false,
    gives_room: true,
    offer,
    not_helping: None,
};

/// The addition of a node like this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddNode {
    /// The node to copy.
    pub like: String,
}

fn offer(judgement: &Judgement<'_, '_>) -> Option<Remedy> {
    let like = judgement.fleet.name(judgement.source?).to_owned();
    // Its volumes may be usable on the present nodes alone.
    let added = Fleet::new(copies(judgement.fleet, &like));
    if judgement.subject.usable(&added).is_some_and(|usable| usable.is_empty()) {
        return None;
    }
    let Remedy { action, then_fits: (least, most), luck } = judgement.if_more_fit(AddNode { like })?;
    // The guest keeps the CPU that libvirt refused there.
    let refused = refused_on(judgement).and_then(|name| judgement.fleet.find(name));
    let lost = usize::from(refused.is_some_and(|node| judgement.passes.fitting.contains(node)));
    Some(Remedy { action, then_fits: (least - lost, most - lost), luck })
}

impl Act for AddNode {
    fn commands(&self, _: &Subject<'_>) -> Commands {
        Ok(Vec::new())
    }

    fn apply(&self, _: &mut Subject<'_>, fleet: &Fleet) -> Vec<Node> {
        copies(fleet, &self.like)
    }
}

/// Returns a node like this one, with another name.
fn copies(fleet: &Fleet, like: &String) -> Vec<Node> {
    edit(fleet, [like], |node| {
        node.name.push_str("-copy");
        node.uncordon();
        node.not_ready = false;
        if let Some(host) = node.labels.get_mut(label::HOSTNAME) {
            host.clone_from(&node.name);
        }
    })
}
