//! Uncordon a node on which all else fits.

use super::{Act, Commands, Outage, Remedy, RemedyId, RemedySpec, WhyNot, edit};
use crate::fit::bits::Bits;
use crate::fit::command::{Command, Name};
use crate::fit::fleet::Fleet;
use crate::fit::judgement::Judgement;
use crate::fit::label;
use crate::fit::node::Node;
use crate::fit::subject::Subject;

pub(super) const SPEC: RemedySpec = RemedySpec {
    id: RemedyId::Uncordon,
    word: "uncordon",
    outage: Outage::None,
    risk: "none",
    offer,
    not_helping: |judgement| why_not(judgement).map(WhyNot::Uncordon),
};

/// Uncordon one of these nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uncordon {
    /// The nodes, by name.
    pub nodes: Vec<String>,
}

/// Why an uncordon does not help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoUncordon {
    /// No node is cordoned.
    NoneCordoned,
    /// Only the node the guest runs on is cordoned: it is no target for itself.
    SourceAlone {
        /// That node.
        source: String,
    },
    /// These nodes are cordoned, and more than that keeps the guest off each.
    MoreInTheWay {
        /// The nodes, by name.
        nodes: Vec<String>,
        /// The node the guest runs on, where that is cordoned as well.
        source: Option<String>,
    },
}

fn offer(judgement: &Judgement<'_, '_>) -> Option<Remedy> {
    if !judgement.needs_a_node() {
        return None;
    }
    let only_cordoned = judgement.kept_out().into_iter().filter(|k| k.cordoned && !k.unwell && k.taints.is_empty());
    let mut nodes: Vec<String> = only_cordoned.map(|k| judgement.fleet.name(k.node).to_owned()).collect();
    nodes.sort_unstable();
    if nodes.is_empty() { None } else { judgement.if_more_fit(Uncordon { nodes }) }
}

fn why_not(judgement: &Judgement<'_, '_>) -> Option<NoUncordon> {
    let fleet = judgement.fleet;
    let kept_out = |node: &usize| judgement.lookup.is_kept_out_by_cordon(*node);
    let mut nodes = Bits::none(fleet.len());
    (0..fleet.len()).filter(kept_out).for_each(|node| nodes.insert(node));
    let source = judgement.source.filter(|&source| fleet.is_cordoned(source));
    nodes.intersect(&judgement.neighbours);
    let name = |node| fleet.name(node).to_owned();
    match (nodes.is_empty(), source) {
        (true, None) => Some(NoUncordon::NoneCordoned),
        (true, Some(source)) => Some(NoUncordon::SourceAlone { source: name(source) }),
        // Where a guest that starts could go from there, a cordon may well be the cause.
        (false, _) if !judgement.needs_a_node() => None,
        (false, source) => Some(NoUncordon::MoreInTheWay { nodes: judgement.names(&nodes), source: source.map(name) }),
    }
}

/// Ends a cordon, as `kubectl uncordon` and the node controller do.
pub(super) fn uncordon(node: &mut Node) {
    node.cordoned = false;
    node.taints.retain(|taint| taint.key != label::TAINT_UNSCHEDULABLE);
}

impl Act for Uncordon {
    fn commands(&self, _: &Subject<'_>) -> Commands {
        let uncordon = |node: &String| Ok(Command::kubectl(["uncordon"]).arg(Name::new(node)?));
        self.nodes.iter().take(1).map(uncordon).collect()
    }

    fn undo(&self) -> Option<Command> {
        let node = Name::new(self.nodes.first()?).ok()?;
        Some(Command::kubectl(["cordon"]).arg(node))
    }

    fn apply(&self, _: &mut Subject<'_>, fleet: &Fleet) -> Vec<Node> {
        edit(fleet, self.nodes.first(), uncordon)
    }
}
