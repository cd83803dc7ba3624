//! Remedy: add the labels that the nearest node lacks, under `skip-node`, if labels and hardware disagree.

use super::{
    Act, Changes, Commands, NoNode, Outage, Remedy, RemedyId, RemedySpec, WhyNot, edit, end_skip_node, frozen,
    label_node, refused_target,
};
use crate::fit::command::{Command, CommandWord, Invalid, LabelKey, LabelValue};
use crate::fit::fleet::{Fleet, NodeIndex};
use crate::fit::judgement::Judgement;
use crate::fit::label::{self, Family};
use crate::fit::node::Node;
use crate::fit::outcome::{Evidence, Nearest};
use crate::fit::placement::Expression;
use crate::fit::subject::Subject;

pub(super) const SPEC: RemedySpec = RemedySpec {
    id: RemedyId::AddLabels,
    word: "add-labels",
    outage: Outage::None,
    risk: "if the hardware lacks what is added, the migration fails and the guest stays",
    changes: Changes::Labels,
    remakes_target: false,
    gives_room: false,
    offer,
    not_helping: Some(|judgement| why_not(judgement).map(WhyNot::Labels)),
};

/// Number of nodes of which one is labelled, if something else keeps the guest off the nearest ones.
const NODES_TRIED: usize = 16;

/// The labelling of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddLabels {
    /// The node.
    pub node: String,
    /// The labels.
    pub labels: Vec<(String, String)>,
    /// Whether a label exists with another value, which kubectl only replaces with `--overwrite`.
    pub replaces: bool,
    /// Whether `skip-node` is already set there.
    pub is_frozen: bool,
    /// The evidence for the labels.
    pub backing: Backing,
}

/// The evidence for labels that are to be added, from weak to strong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Backing {
    /// Other labels suggest it.
    Labels,
    /// Libvirt there provides the guest's CPU, and does not report whether the node has what these labels
    /// state.
    TakesCpu,
    /// Libvirt there provides the guest's CPU, and reports that the node has what these labels state.
    Provided,
}

/// The reason why adding labels does not help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoLabels {
    /// There is no node to migrate to or start on.
    NoNode(NoNode),
    /// No candidate node lacks a label.
    NothingMissing {
        /// Whether the guest runs on a node, which is not a candidate.
        runs: bool,
        /// Whether there are nodes of another architecture, which are not candidates.
        has_others: bool,
    },
    /// Each node that lacks a label lacks one that a person cannot add; those of the nearest node.
    NotToAdd {
        /// The nearest node.
        node: String,
        /// The label of that kind that it lacks.
        lacks: NotToAdd,
    },
    /// Each node that lacks a label is different hardware by its labels: libvirt may refuse.
    OtherHardware {
        /// The nearest node.
        node: String,
    },
    /// The libvirt of the nearest node refuses the guest; the others are no better.
    LibvirtRefuses {
        /// The nearest node.
        node: String,
    },
    /// Each node that lacks a label lacks one that would be untrue; the libvirt of the nearest node reports
    /// so.
    Untrue {
        /// The nearest node.
        node: String,
        /// The untrue labels.
        lacks: Vec<(String, String)>,
    },
}

/// A label that is overwritten, or that does not create the capability that it states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotToAdd {
    /// A label written by virt-controller: a TSC frequency.
    TscFrequency(String),
    /// A label written by virt-handler's heartbeat: `kubevirt.io/schedulable`, `cpumanager`.
    Heartbeat {
        /// The label's key.
        key: String,
        /// The state of virt-handler there.
        virt_handler: VirtHandler,
    },
    /// The label `kubevirt.io/cpumanager`, which the virt-handler of the node does not write yet, and the value that it
    /// writes of the earlier name, `cpumanager`.
    EarlierName {
        /// The label's key.
        key: String,
        /// The value of the earlier name.
        value: String,
    },
    /// A machine type, which a label does not add to QEMU.
    MachineType(String),
}

/// The state of a node's virt-handler, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VirtHandler {
    /// It may run.
    MayRun,
    /// The node is not ready.
    NodeNotReady,
    /// It has never run there: its heartbeat writes its label at once, and no one removes it.
    Absent,
}

impl VirtHandler {
    /// Returns the state of a node's. A dump may lack the label of the heartbeat alone.
    fn of(fleet: &Fleet, node: NodeIndex) -> Self {
        let is_labelled = || fleet.labels(node).any(|(key, _)| Family::of(key).is_labeller());
        if fleet.label(node, label::SCHEDULABLE).is_none() && !is_labelled() {
            Self::Absent
        } else if fleet.not_ready().contains(node) {
            Self::NodeNotReady
        } else {
            Self::MayRun
        }
    }
}

pub(super) fn offer(judgement: &Judgement<'_, '_>) -> Option<Remedy> {
    if !judgement.needs_a_node() {
        return None;
    }
    let refused = refused_target::refused_on(judgement);
    let first = |near: &[Nearest]| {
        let can_be = near.iter().filter(|near| near.is_curable() && can_be_made(judgement, near));
        // Labels alone do not open a node that something else keeps the guest off.
        let found = can_be.min_by_key(|near| (!near.besides.is_none(), refused == Some(near.node.as_str())))?;
        Some((judgement.fleet.find(&found.node)?, found.clone()))
    };
    let mut found = first(judgement.nearest())?;
    if !found.1.besides.is_none() {
        found = judgement.within(|| first(&judgement.find_nearest(NODES_TRIED)))?;
    }
    judgement.if_more_fit(AddLabels::to(judgement, found.0, &found.1))
}

/// Returns the labelling of each node, of the `most` nearest ones, whose labels are probably wrong; none if those of
/// the very nearest are not.
pub(crate) fn label_each(judgement: &Judgement<'_, '_>, most: usize) -> Vec<AddLabels> {
    let may_be_wrong = judgement.needs_a_node() && judgement.curable().next().is_some();
    let near = if may_be_wrong { judgement.find_nearest(most) } else { Vec::new() };
    let refused = refused_target::refused_on(judgement);
    let near = near.iter().filter(|near| near.is_curable() && can_be_made(judgement, near));
    let near = near.filter(|near| refused != Some(near.node.as_str()));
    near.filter_map(|near| Some(AddLabels::to(judgement, judgement.fleet.find(&near.node)?, near))).collect()
}

/// Whether a person can add the labels that a node lacks. A label that a user chose to place the guest cannot be added
/// to another node. A label does not make libvirt run a named model: that it lists the model as usable must be known.
fn can_be_made(judgement: &Judgement<'_, '_>, near: &Nearest) -> bool {
    let is_made = |key: &str| match Family::of(key) {
        Family::CpuFeature | Family::CpuModelMigration | Family::CpuVendor => true,
        Family::CpuModel => near.evidence == Evidence::LibvirtAgrees,
        _ => false,
    };
    near.missing.iter().all(|(key, _)| is_made(key) && !judgement.subject.is_chosen(key))
}

impl AddLabels {
    /// Returns the labelling of a node with what it lacks.
    fn to(judgement: &Judgement<'_, '_>, at: NodeIndex, near: &Nearest) -> Self {
        let takes_cpu = judgement.subject.asked().is_some_and(|asked| asked.agrees(&near.node));
        let backing = match near.evidence {
            Evidence::LibvirtAgrees => Backing::Provided,
            _ if takes_cpu => Backing::TakesCpu,
            _ => Backing::Labels,
        };
        Self {
            node: near.node.clone(),
            labels: near.missing.clone(),
            replaces: !near.has.is_empty(),
            is_frozen: judgement.fleet.skip_node(at).is_some(),
            backing,
        }
    }
}

/// Returns the first missing label of a node that a person cannot add.
///
/// Mirrors `do` of `pkg/virt-handler/heartbeat/heartbeat.go`: since 1.8.0 it writes `kubevirt.io/cpumanager` beside
/// `cpumanager`. Mirrors `markNodeAsUnresponsive` of `pkg/virt-controller/watch/node/node.go`, which sets
/// `kubevirt.io/schedulable` to `false` where the heartbeat is 5 minutes old.
fn not_to_add(fleet: &Fleet, node: NodeIndex, missing: &[(String, String)]) -> Option<NotToAdd> {
    let earlier = fleet.label(node, label::CPU_MANAGER_OLD).filter(|_| fleet.label(node, label::CPU_MANAGER).is_none());
    let heartbeat =
        |key: &String| Some(NotToAdd::Heartbeat { key: key.clone(), virt_handler: VirtHandler::of(fleet, node) });
    missing.iter().find_map(|(key, _)| match Family::of(key) {
        Family::SchedulingTsc => Some(NotToAdd::TscFrequency(key.clone())),
        Family::Schedulable => heartbeat(key),
        Family::MachineType => Some(NotToAdd::MachineType(label::name(key).to_owned())),
        _ if key == label::CPU_MANAGER => match earlier {
            Some(value) => Some(NotToAdd::EarlierName { key: key.clone(), value: value.to_owned() }),
            None => heartbeat(key),
        },
        _ if key == label::CPU_MANAGER_OLD => heartbeat(key),
        _ => None,
    })
}

fn why_not(judgement: &Judgement<'_, '_>) -> Option<NoLabels> {
    if !judgement.needs_a_node() {
        return None;
    }
    // Nodes of one profile differ only in other labels: those that a person cannot add, and places.
    let mut lacking = false;
    for node in judgement.neighbours.iter() {
        if judgement.effort.is_over() {
            return None;
        }
        let missing = judgement.lookup.missing(node);
        lacking |= !missing.is_empty();
        if !missing.is_empty() && !is_hopeless(judgement, node, &missing) {
            return None;
        }
    }
    if let Some(none) = NoNode::of(judgement) {
        return Some(NoLabels::NoNode(none));
    }
    if !lacking {
        // A label that its node affinity asks for would help.
        let excluded = judgement.excluded_nodes();
        let is_of_absence = |rule: &Expression| matches!(rule, Expression::DoesNotExist(_) | Expression::Invalid(_));
        let fails = |rule: &Expression| {
            !is_of_absence(rule) && judgement.fleet.meeting_condition(rule).count_common(&excluded) < excluded.count()
        };
        let terms = judgement.subject.placement.affinity.iter().flat_map(|affinity| &affinity.terms);
        if !excluded.is_empty() && terms.flat_map(|term| &term.expressions).any(fails) {
            return None;
        }
        let runs = judgement.source.is_some();
        return Some(NoLabels::NothingMissing { runs, has_others: judgement.has_other_architectures() });
    }
    let near = judgement.nearest().first()?;
    let node = near.node.clone();
    let lacks = judgement.fleet.find(&node).and_then(|at| not_to_add(judgement.fleet, at, &near.missing));
    Some(match lacks {
        Some(lacks) => NoLabels::NotToAdd { node, lacks },
        None if near.evidence == Evidence::LibvirtRefuses => NoLabels::LibvirtRefuses { node },
        None if !near.untrue.is_empty() => NoLabels::Untrue { node, lacks: near.untrue.clone() },
        None => NoLabels::OtherHardware { node },
    })
}

/// Whether adding labels cannot permanently make the node take the guest.
fn is_hopeless(judgement: &Judgement<'_, '_>, node: NodeIndex, missing: &[(String, String)]) -> bool {
    let evidence = judgement.evidence(node, missing);
    let is_hopeless = matches!(
        evidence,
        Evidence::OtherHardware | Evidence::LibvirtLacks | Evidence::LibvirtLacksSome | Evidence::LibvirtRefuses
    );
    is_hopeless || not_to_add(judgement.fleet, node, missing).is_some()
}

impl Act for AddLabels {
    fn commands(&self, _: &Subject<'_>) -> Commands {
        let pair = |(key, value): &(String, String)| -> Result<CommandWord, Invalid> {
            Ok(LabelKey::new(key)?.set_to(&LabelValue::new(value)?))
        };
        let pairs: Vec<CommandWord> = self.labels.iter().map(pair).collect::<Result<_, _>>()?;
        let overwrite = self.replaces.then_some("--overwrite");
        frozen(&self.node, self.is_frozen, [label_node(&self.node)?.args(overwrite).args(pairs)])
    }

    fn risk(&self, _: &Subject<'_>) -> Option<&'static str> {
        match self.backing {
            Backing::Labels => None,
            Backing::TakesCpu => {
                Some("libvirt there has all features of its CPU, and does not confirm each of these labels")
            }
            Backing::Provided => Some("libvirt there agrees"),
        }
    }

    fn undo(&self) -> Option<Command> {
        if !self.is_frozen {
            return end_skip_node(&self.node).ok();
        }
        // The labeller does not restore the previous values.
        let removed: Vec<CommandWord> = self
            .labels
            .iter()
            .map(|(key, _)| LabelKey::new(key).map(LabelKey::removed))
            .collect::<Result<_, _>>()
            .ok()?;
        if self.replaces { None } else { Some(label_node(&self.node).ok()?.args(removed)) }
    }

    fn apply(&self, _: &mut Subject<'_>, fleet: &Fleet) -> Vec<Node> {
        edit(fleet, [&self.node], |node| {
            node.skip_node = Some("true".to_owned());
            node.labels.extend(self.labels.iter().cloned());
        })
    }
}
