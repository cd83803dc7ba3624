//! Remedy: uncordon a node that otherwise fits.

use super::{Act, Changes, Commands, Outage, Remedy, RemedyId, RemedySpec, WhyNot, edit, keeps_cpu, refused_target};
use crate::fit::command::{Command, Name};
use crate::fit::fleet::Fleet;
use crate::fit::judgement::Judgement;
use crate::fit::label;
use crate::fit::node::{Node, Taint};
use crate::fit::subject::Subject;

pub(super) const SPEC: RemedySpec = RemedySpec {
    id: RemedyId::Uncordon,
    word: "uncordon",
    outage: Outage::None,
    risk: "none",
    changes: Changes::Nodes,
    remakes_target: false,
    gives_room: false,
    offer,
    not_helping: Some(|judgement| why_not(judgement).map(WhyNot::Uncordon)),
};

/// The uncordon of one of these nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uncordon {
    /// The nodes, by name.
    pub nodes: Vec<String>,
}

/// The reason why an uncordon does not help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoUncordon {
    /// No node is cordoned.
    NoneCordoned,
    /// None of the cordons is the cause.
    NotTheCause(Cordoned),
}

/// All cordoned nodes, grouped by why the cordon is not the cause. Each node is in one group, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cordoned {
    /// The node that the guest runs on, which is no target.
    pub source: Option<String>,
    /// The nodes that are excluded by more than the cordon.
    pub more: Vec<String>,
    /// The nodes whose cordon the guest tolerates.
    pub tolerated: Vec<String>,
    /// The nodes of another architecture.
    pub other_architecture: Vec<String>,
}

pub(super) fn offer(judgement: &Judgement<'_, '_>) -> Option<Remedy> {
    let only_cordoned = judgement.kept_out().into_iter().filter(|k| k.cordoned && !k.unwell && k.taints.is_empty());
    let mut nodes: Vec<String> = only_cordoned.map(|k| judgement.fleet.name(k.node).to_owned()).collect();
    nodes.sort_unstable();
    let nodes = refused_target::without_it(judgement, nodes);
    let nodes = judgement.where_it_helps(nodes, |node| Uncordon { nodes: vec![node] }.into());
    if nodes.is_empty() { None } else { judgement.if_more_fit(Uncordon { nodes }) }
}

fn why_not(judgement: &Judgement<'_, '_>) -> Option<NoUncordon> {
    let fleet = judgement.fleet;
    let mut found = Cordoned::default();
    let is_taint = |taint: &Taint| taint.key == label::TAINT_UNSCHEDULABLE && taint.effect.refuses();
    let is_cordoned = |&node: &usize| fleet.is_cordoned(node) || fleet.taints(node).iter().any(is_taint);
    for node in fleet.in_name_order().into_iter().filter(is_cordoned) {
        let name = fleet.name(node).to_owned();
        if judgement.source == Some(node) {
            found.source = Some(name);
        } else if !judgement.neighbours.contains(node) {
            found.other_architecture.push(name);
        } else if judgement.lookup.is_kept_out_by_cordon(node) {
            found.more.push(name);
        } else {
            found.tolerated.push(name);
        }
    }
    if found == Cordoned::default() {
        return Some(NoUncordon::NoneCordoned);
    }
    // A cordon may limit the targets of a guest that can start.
    let may_be_the_cause = !found.more.is_empty() && !judgement.needs_a_node();
    (!may_be_the_cause).then_some(NoUncordon::NotTheCause(found))
}

impl Act for Uncordon {
    /// Returns the risk for a host-passthrough guest: no label states whether a node has the CPU of its
    /// source.
    fn risk(&self, subject: &Subject<'_>) -> Option<&'static str> {
        keeps_cpu(subject).then_some("it keeps the CPU of its node: libvirt may refuse it there")
    }

    fn commands(&self, _: &Subject<'_>) -> Commands {
        let uncordon = |node: &String| Ok(Command::kubectl(["uncordon"]).arg(Name::new(node)?));
        self.nodes.iter().take(1).map(uncordon).collect()
    }

    fn undo(&self) -> Option<Command> {
        let node = Name::new(self.nodes.first()?).ok()?;
        Some(Command::kubectl(["cordon"]).arg(node))
    }

    fn alternatives(&mut self) -> Option<&mut Vec<String>> {
        Some(&mut self.nodes)
    }

    fn apply(&self, _: &mut Subject<'_>, fleet: &Fleet) -> Vec<Node> {
        edit(fleet, self.nodes.first(), Node::uncordon)
    }
}
