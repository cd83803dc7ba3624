//! Add the labels that the nearest node lacks, under `skip-node`: where labels and hardware disagree.

use super::{
    Act, Commands, NoNode, Outage, Remedy, RemedyId, RemedySpec, WhyNot, edit, end_skip_node, frozen, label_node,
};
use crate::fit::command::{Command, CommandWord, Invalid, LabelKey, LabelValue};
use crate::fit::fleet::{Fleet, NodeIndex};
use crate::fit::judgement::Judgement;
use crate::fit::label::{self, Family};
use crate::fit::node::Node;
use crate::fit::outcome::Evidence;
use crate::fit::subject::Subject;

pub(super) const SPEC: RemedySpec = RemedySpec {
    id: RemedyId::AddLabels,
    word: "add-labels",
    outage: Outage::None,
    risk: "if the hardware lacks what is added, the migration fails and the guest stays",
    offer,
    not_helping: |judgement| why_not(judgement).map(WhyNot::Labels),
};

/// Label a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddLabels {
    /// The node.
    pub node: String,
    /// The labels.
    pub labels: Vec<(String, String)>,
    /// Whether one of them is there with another value, which kubectl does not replace unless it is asked to.
    pub replaces: bool,
    /// Whether `skip-node` is set there already.
    pub is_frozen: bool,
    /// What speaks for it.
    pub backing: Backing,
}

/// What speaks for labels that are to be added: the more, the later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Backing {
    /// Other labels.
    Labels,
    /// Libvirt there provides the guest's CPU, and does not tell whether the node has what these labels say.
    TakesCpu,
    /// Libvirt there provides the guest's CPU, and says that the node has what these labels say.
    Provided,
}

/// Why no label that is added helps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoLabels {
    /// There is no node to go to.
    NoNode(NoNode),
    /// No candidate node lacks a label.
    NothingMissing {
        /// Whether the guest runs on a node, which is left out.
        runs: bool,
        /// Whether there are nodes of another architecture, which are left out.
        has_others: bool,
    },
    /// Each node that lacks a label lacks one that is not a person's to add; of the nearest, these.
    NotToAdd {
        /// The nearest node.
        node: String,
        /// What it lacks of that kind.
        lacks: NotToAdd,
    },
    /// Each node that lacks a label is other hardware by its labels: libvirt may refuse.
    OtherHardware {
        /// The nearest node.
        node: String,
    },
    /// The same of each, as the libvirt of the nearest says.
    LibvirtRefuses {
        /// The nearest node.
        node: String,
    },
    /// Each node that lacks a label lacks one that would be untrue, as the libvirt of the nearest says.
    Untrue {
        /// The nearest node.
        node: String,
        /// What it does not have.
        lacks: Vec<(String, String)>,
    },
}

/// A label that does not stay, or does not make true what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotToAdd {
    /// virt-controller writes it: a TSC frequency.
    TscFrequency(String),
    /// virt-handler's heartbeat writes it: `kubevirt.io/schedulable`, `cpumanager`.
    Heartbeat(String),
    /// It does not make QEMU offer the machine type.
    MachineType(String),
}

fn offer(judgement: &Judgement<'_, '_>) -> Option<Remedy> {
    if !judgement.needs_a_node() {
        return None;
    }
    // A label does not make a node the place that a user chose.
    let can_be_made = |(key, _): &(String, String)| {
        matches!(Family::of(key), Family::CpuFeature | Family::CpuModelMigration | Family::CpuVendor)
            && !judgement.subject.is_chosen(key)
    };
    let (at, near) = judgement.curable().find(|(_, near)| near.missing.iter().all(can_be_made))?;
    let takes_cpu = judgement.subject.asked().is_some_and(|asked| asked.agrees(&near.node));
    let backing = match near.evidence {
        Evidence::LibvirtAgrees => Backing::Provided,
        _ if takes_cpu => Backing::TakesCpu,
        _ => Backing::Labels,
    };
    let (node, labels) = (near.node.clone(), near.missing.clone());
    let is_frozen = judgement.fleet.skip_node(at).is_some();
    judgement.if_more_fit(AddLabels { node, labels, replaces: !near.has.is_empty(), is_frozen, backing })
}

/// What of a node's lack is not a person's to add.
fn not_to_add(missing: &[(String, String)]) -> Option<NotToAdd> {
    missing.iter().find_map(|(key, _)| match Family::of(key) {
        Family::SchedulingTsc => Some(NotToAdd::TscFrequency(key.clone())),
        Family::Schedulable => Some(NotToAdd::Heartbeat(key.clone())),
        Family::MachineType => Some(NotToAdd::MachineType(label::name(key).to_owned())),
        _ if matches!(key.as_str(), label::CPU_MANAGER | label::CPU_MANAGER_OLD) => {
            Some(NotToAdd::Heartbeat(key.clone()))
        }
        _ => None,
    })
}

fn why_not(judgement: &Judgement<'_, '_>) -> Option<NoLabels> {
    if !judgement.needs_a_node() {
        return None;
    }
    // Nodes of one profile differ in their own labels alone: in what is not a person's to add, and in places.
    let mut lacking = false;
    for node in judgement.others() {
        if judgement.effort.is_enough() {
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
        let runs = judgement.source.is_some();
        return Some(NoLabels::NothingMissing { runs, has_others: judgement.has_other_architectures() });
    }
    let near = judgement.nearest().first()?;
    let node = near.node.clone();
    Some(match not_to_add(&near.missing) {
        Some(lacks) => NoLabels::NotToAdd { node, lacks },
        None if near.evidence == Evidence::LibvirtRefuses => NoLabels::LibvirtRefuses { node },
        None if !near.untrue.is_empty() => NoLabels::Untrue { node, lacks: near.untrue.clone() },
        None => NoLabels::OtherHardware { node },
    })
}

/// Whether labels cannot make a node take the guest for good.
fn is_hopeless(judgement: &Judgement<'_, '_>, node: NodeIndex, missing: &[(String, String)]) -> bool {
    let evidence = judgement.evidence(node, missing);
    let is_hopeless = matches!(evidence, Evidence::OtherHardware | Evidence::LibvirtLacks | Evidence::LibvirtRefuses);
    is_hopeless || not_to_add(missing).is_some()
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
            Backing::TakesCpu => Some("libvirt there takes its CPU; whether the hardware has them is not known"),
            Backing::Provided => Some("libvirt there agrees"),
        }
    }

    fn undo(&self) -> Option<Command> {
        if !self.is_frozen {
            return end_skip_node(&self.node).ok();
        }
        // The labeller does not bring back what was there.
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
