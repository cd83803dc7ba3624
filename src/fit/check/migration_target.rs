//! At most one node is left to migrate to: for a running guest now, for one that is to start from a node where
//! it may start.

use super::{Check, CheckSpec, Detail, Finding, Reported};
use crate::fit::judgement::Judgement;
use crate::fit::outcome::{Cause, Impact, Outcome};
use crate::fit::remedy;
use crate::fit::subject::{CpuMode, Stage};

pub(super) const SPEC: CheckSpec = CheckSpec {
    id: Check::MigrationTarget,
    word: "migration-target",
    reported: Reported::AsHeadline,
    applies_to_launcher_pods: true,
    applies_to_refused_guests: false,
    immobilizes: false,
    doubt: None,
    find,
};

/// Too few nodes to migrate to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoTarget {
    /// The guest runs, and no node offers these CPU entries of its target's selector.
    Nowhere(Vec<(String, String)>),
    /// The guest runs, and there is no other node.
    NoOtherNode {
        /// Whether there are nodes of another architecture.
        has_others: bool,
    },
    /// The guest runs, and none of the judged nodes takes it.
    None {
        /// Number of judged nodes.
        judged: usize,
        /// Whether there are nodes of another architecture, which were not judged.
        has_others: bool,
        /// Whether it comes from another cluster, so that no node here is its source.
        from_elsewhere: bool,
        /// Whether no node's CPU labels fit: the cause is not temporary.
        lasting: bool,
        /// Whether a node meets the selector and fails the node affinity.
        by_affinity: bool,
    },
    /// The guest runs, and libvirt refuses it on these nodes, the only ones that fit by labels.
    LibvirtRefuses(Vec<String>),
    /// The guest runs, and this is its only target.
    One {
        /// The node.
        node: String,
        /// Whether the node fits by labels only: KubeVirt refuses to migrate the guest, or the node has not what its
        /// volumes and devices need.
        by_labels: bool,
    },
    /// The guest is to start: it would have too few targets from some start nodes.
    ByStart {
        /// Its CPU mode.
        mode: CpuMode,
        /// The start nodes by the number of targets that they leave, fewest first.
        targets: Vec<(usize, Vec<String>)>,
        /// Whether the CPU mode contributes: from a start node the guest would have fewer targets than there
        /// are other start nodes.
        mode_decides: bool,
        /// Whether some of the start nodes fit by labels only: they have not what its volumes and devices need.
        by_labels: bool,
        /// Whether KubeVirt will migrate the guest; false if it will refuse for what the specification has.
        will_migrate: bool,
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
            let will_migrate = judgement.subject.live_migratable.foreseen.is_none();
            let by_labels = fits_by_labels_only(judgement);
            NoTarget::ByStart { mode: judgement.subject.mode.clone(), targets, mode_decides, by_labels, will_migrate }
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

/// Whether a node that fits by labels has not what the guest's volumes and devices need.
fn fits_by_labels_only(judgement: &Judgement<'_, '_>) -> bool {
    let fitting = &judgement.assessment.fitting;
    judgement.subject.unjudged.with_volumes_and_devices(fitting, judgement.fleet) != *fitting
}

fn running(judgement: &Judgement<'_, '_>, impact: Impact, from_elsewhere: bool) -> NoTarget {
    let assessment = &judgement.assessment;
    let nowhere = judgement.cpu_nowhere();
    if !nowhere.is_empty() {
        return NoTarget::Nowhere(nowhere);
    }
    if impact == Impact::Fragile {
        let node = judgement.names(&assessment.fitting).join(", ");
        let by_labels = judgement.subject.live_migratable.refused.is_some() || fits_by_labels_only(judgement);
        return NoTarget::One { node, by_labels };
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
