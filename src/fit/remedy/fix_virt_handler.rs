//! Remedy: restore virt-handler on nodes that it marked unschedulable: `kubevirt.io/schedulable` is not `true`
//! there.

use super::{Act, Changes, Commands, Outage, Remedy, RemedyId, RemedySpec, edit, refused_target};
use crate::fit::command::{Command, CommandWord, Name};
use crate::fit::fleet::Fleet;
use crate::fit::judgement::Judgement;
use crate::fit::label;
use crate::fit::node::Node;
use crate::fit::subject::Subject;

pub(super) const SPEC: RemedySpec = RemedySpec {
    id: RemedyId::FixVirtHandler,
    word: "mend-virt-handler",
    outage: Outage::None,
    risk: "none",
    changes: Changes::Nodes,
    remakes_target: false,
    gives_room: false,
    offer,
    not_helping: None,
};

/// The repair of virt-handler on these nodes. The labels do not show its fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FixVirtHandler {
    /// The nodes, by name.
    pub nodes: Vec<String>,
}

pub(super) fn offer(judgement: &Judgement<'_, '_>) -> Option<Remedy> {
    let only_unwell = judgement.kept_out().into_iter().filter(|k| k.unwell && !k.cordoned && k.taints.is_empty());
    let mut nodes: Vec<String> = only_unwell.map(|k| judgement.fleet.name(k.node).to_owned()).collect();
    nodes.sort_unstable();
    let nodes = refused_target::without_it(judgement, nodes);
    let nodes = judgement.where_it_helps(nodes, |node| FixVirtHandler { nodes: vec![node] }.into());
    if nodes.is_empty() { None } else { judgement.if_more_fit(FixVirtHandler { nodes }) }
}

impl Act for FixVirtHandler {
    fn commands(&self, _: &Subject<'_>) -> Commands {
        let look = |node: &String| {
            let pods = ["get", "pods", "-A", "-l", "kubevirt.io=virt-handler", "-o", "wide", "--field-selector"];
            let look = Command::kubectl(pods).arg(CommandWord::joined("spec.nodeName=", Name::new(node)?));
            Ok(look.comment("shows its pod there, and changes nothing"))
        };
        self.nodes.iter().map(look).collect()
    }

    fn apply(&self, _: &mut Subject<'_>, fleet: &Fleet) -> Vec<Node> {
        edit(fleet, &self.nodes, |node| {
            node.labels.insert(label::SCHEDULABLE.to_owned(), "true".to_owned());
        })
    }
}
