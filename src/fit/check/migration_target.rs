//! No node, or one, is left to migrate to: of a guest that runs, now; of one that is to start, from a node it may start on.

use super::{Check, CheckSpec, Detail, Finding};
use crate::fit::judgement::Judgement;
use crate::fit::outcome::{Cause, Impact, Outcome};
use crate::fit::remedy;
use crate::fit::subject::{CpuMode, Stage};

pub(super) const SPEC: CheckSpec = CheckSpec {
    id: Check::MigrationTarget,
    word: "migration-target",
    always_reported: false,
    applies_to_launcher_pods: true,
    find,
};

/// Too few nodes to migrate to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoTarget {
    /// It runs, and no node offers these CPU entries of its target's selector.
    Nowhere(Vec<(String, String)>),
    /// It runs, and there is no other node.
    NoOtherNode {
        /// Whether there are nodes of another architecture.
        has_others: bool,
    },
    /// It runs, and none of the nodes judged takes it.
    None {
        /// How many were judged.
        judged: usize,
        /// Whether there are nodes of another architecture, which were not.
        has_others: bool,
        /// Whether it comes from another cluster, so that no node here is its source.
        from_elsewhere: bool,
        /// Whether no node's CPU labels fit: it will not pass by itself.
        lasting: bool,
        /// Whether a node meets the selector and fails the node affinity.
        by_affinity: bool,
    },
    /// It runs, and libvirt, which was asked, refuses it on these nodes, the only ones that fit by labels.
    LibvirtRefuses(Vec<String>),
    /// It runs, and this node alone is left.
    One(String),
    /// It is to start: for each number of nodes that it could go to, from how many start nodes; fewest first.
    ByStart {
        /// Its CPU mode.
        mode: CpuMode,
        /// The start nodes by how many targets they leave.
        targets: Vec<(usize, Vec<String>)>,
        /// Whether the mode has a part in it: from a start node it could go to fewer nodes than all the others it may start on.
        mode_decides: bool,
    },
}

fn find(judgement: &Judgement<'_, '_>) -> Vec<Finding> {
    let Outcome::Impaired(impact) = judgement.assessment.outcome else { return Vec::new() };
    let detail = match &judgement.subject.stage {
        Stage::Start(_) if impact == Impact::Unschedulable => return Vec::new(),
        Stage::Start(after_start) => {
            let fitting = &judgement.assessment.fitting;
            let by_targets = judgement.targets_by_start(&judgement.subject.placement, *after_start, fitting);
            let targets = by_targets.iter().map(|(count, nodes)| (*count, judgement.names(nodes))).collect();
            let mode_decides = by_targets.keys().any(|count| count + 1 < fitting.count());
            NoTarget::ByStart { mode: judgement.subject.mode.clone(), targets, mode_decides }
        }
        Stage::Migration(migration) => running(judgement, impact, migration.from_elsewhere),
    };
    vec![Finding {
        check: Check::MigrationTarget,
        impact: Some(impact),
        field: judgement.field(),
        detail: Detail::NoTarget(detail),
        remedies: remedy::offers(judgement),
    }]
}

fn running(judgement: &Judgement<'_, '_>, impact: Impact, from_elsewhere: bool) -> NoTarget {
    let assessment = &judgement.assessment;
    let nowhere = judgement.cpu_nowhere();
    if !nowhere.is_empty() {
        return NoTarget::Nowhere(nowhere);
    }
    if impact == Impact::Fragile {
        return NoTarget::One(judgement.names(&assessment.fitting).join(", "));
    }
    if !judgement.refused_targets.is_empty() {
        return NoTarget::LibvirtRefuses(judgement.names(&judgement.refused_targets));
    }
    match assessment.nodes_judged {
        0 => NoTarget::NoOtherNode { has_others: judgement.has_other_architectures() },
        judged => NoTarget::None {
            judged,
            has_others: judgement.has_other_architectures(),
            from_elsewhere,
            lasting: assessment.cause == Some(Cause::Structural),
            by_affinity: !judgement.excluded_nodes().is_empty(),
        },
    }
}
