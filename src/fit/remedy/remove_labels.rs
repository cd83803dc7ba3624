//! Remedy: remove host-model labels from the guest's node, under `skip-node`, so that its first migration
//! selects less.
//!
//! Offered only for a guest that never migrated, and only if labels drifted or libvirt provides its CPU:
//! elsewhere libvirt may refuse.

use std::collections::BTreeSet;

use super::add_labels::Backing;
use super::specification::before_migration;
use super::{
    Act, Changes, Commands, Outage, Remedy, RemedyId, RemedySpec, WhyNot, edit, end_skip_node, frozen, label_node,
};
use crate::fit::bits::Bits;
use crate::fit::command::{Command, CommandWord, LabelKey};
use crate::fit::fleet::{Fleet, NodeIndex};
use crate::fit::judgement::Judgement;
use crate::fit::label::{self, Family};
use crate::fit::libvirt::Provided;
use crate::fit::node::Node;
use crate::fit::outcome::Evidence;
use crate::fit::placement::Expression;
use crate::fit::subject::{CpuMode, Stage, Subject};

pub(super) const SPEC: RemedySpec = RemedySpec {
    id: RemedyId::RemoveLabels,
    word: "remove-labels",
    outage: Outage::None,
    risk: "host-model guests that leave the node for the first time then ask for less than their CPU needs; libvirt may refuse",
    changes: Changes::OwnLabels,
    remakes_target: true,
    gives_room: false,
    offer,
    not_helping: Some(|judgement| why_not(judgement).map(WhyNot::Removal)),
};

/// The removal of labels from a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoveLabels {
    /// The node.
    pub node: String,
    /// The label keys.
    pub keys: Vec<String>,
    /// Whether `skip-node` is already set there.
    pub is_frozen: bool,
    /// The evidence for the nodes that fit by labels in addition then: `Provided` if libvirt accepts the guest's CPU on
    /// each of them, `TakesCpu` if on some.
    pub backing: Backing,
}

/// The reason why removing labels does not help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoRemoval {
    /// The entries of its target were inherited: labels of a node do not change them.
    Inherited,
    /// The guest does not use host-model: none of its entries is copied from a node's host model.
    NotHostModel {
        /// Its CPU mode.
        mode: CpuMode,
    },
    /// The guest is to start, and no node has a label that a condition requires to be absent, or to have another value.
    NothingTooMuch,
    /// Each node that lacks a CPU label is different hardware by its labels: libvirt may refuse.
    OtherHardware {
        /// The nearest node.
        node: String,
    },
    /// Each node that lacks a CPU label does not provide the guest's CPU; the libvirt of the nearest reports
    /// so.
    LibvirtRefuses {
        /// The nearest node.
        node: String,
    },
}

fn required(key: &str) -> String {
    label::same_name_in(key, label::HOST_MODEL_REQUIRED)
}

/// Whether the guest itself requires an entry, which stays whatever the labels of its node are.
fn is_required(subject: &Subject<'_>, key: &str) -> bool {
    subject.is_own(key) || subject.features.required.iter().any(|name| name == label::name(key))
}

fn offer(judgement: &Judgement<'_, '_>) -> Option<Remedy> {
    let Stage::Migration(migration) = &judgement.subject.stage else { return None };
    let fleet = judgement.fleet;
    let source = judgement.source.filter(|_| migration.copies_labels())?;
    let subject = judgement.subject;
    let from_source = |(key, _): &(String, String)| {
        Family::of(key) == Family::CpuFeature && judgement.is_copied(source, key) && !is_required(subject, key)
    };
    let lacks = |node: NodeIndex| (node, judgement.lookup.missing(node));
    let mut nodes: Vec<(NodeIndex, Vec<(String, String)>)> = match judgement.subject.asked() {
        // With answers of libvirt, missing labels do not limit the nodes that may take the guest.
        Some(_) => judgement.neighbours.iter().map(lacks).collect(),
        None => judgement.curable().map(|(node, near)| (node, near.missing.clone())).collect(),
    };
    nodes.retain(|(node, missing)| {
        !missing.is_empty() && missing.iter().all(from_source) && may_take(judgement, *node, missing)
    });
    let agrees = |node: NodeIndex| judgement.subject.asked().is_some_and(|asked| asked.agrees(fleet.name(node)));
    nodes.sort_by_key(|(node, missing)| (!agrees(*node), missing.len()));
    let mut tried = BTreeSet::new();
    nodes.retain(|(_, missing)| tried.insert(missing.clone()));
    nodes.into_iter().take(MAX_TRIES).find_map(|(_, missing)| {
        let action = RemoveLabels {
            node: fleet.name(source).to_owned(),
            keys: missing.iter().map(|(key, _)| required(key)).collect(),
            is_frozen: fleet.skip_node(source).is_some(),
            backing: Backing::Labels,
        };
        let mut after = judgement.subject.clone();
        action.apply(&mut after, fleet);
        let mut freed = after.fitting(fleet);
        // kube-scheduler may choose these too, and libvirt there refuses.
        freed.union(&after.refused_targets(fleet).unwrap_or_else(|| Bits::none(fleet.len())));
        freed.subtract(&judgement.passes.fitting);
        freed.subtract(&judgement.refused_targets);
        freed.remove(source);
        let backing = match freed.iter().filter(|node| agrees(*node)).count() {
            0 => Backing::Labels,
            all if all == freed.count() => Backing::Provided,
            _ => Backing::TakesCpu,
        };
        judgement.if_more_fit(RemoveLabels { backing, ..action })
    })
}

/// Whether a node may take the guest if these entries are no longer selected: its libvirt provides the CPU, or
/// its labels drifted and libvirt does not report that it lacks a feature of the guest.
fn may_take(judgement: &Judgement<'_, '_>, node: NodeIndex, missing: &[(String, String)]) -> bool {
    let (subject, name) = (judgement.subject, judgement.fleet.name(node));
    let asked = subject.asked();
    if let Some(answer) = asked.and_then(|asked| asked.answer(name)) {
        return answer.agrees();
    }
    let cpu = asked.and_then(|asked| asked.guest.as_ref().ok()).map(|guest| &guest.cpu);
    let has = |key: &str| cpu.and_then(|cpu| cpu.has(label::name(key))) == Some(true);
    let is_refused = |(key, _): &(String, String)| has(key) && subject.provides(name, key) == Provided::No;
    judgement.evidence_of_labels(node, missing) == Evidence::Drifted && !missing.iter().any(is_refused)
}

fn why_not(judgement: &Judgement<'_, '_>) -> Option<NoRemoval> {
    let subject = judgement.subject;
    match &subject.stage {
        Stage::Migration(migration) if migration.inherited => Some(NoRemoval::Inherited),
        // A feature that the guest itself requires does not come from a label of its node.
        Stage::Migration(migration) if !migration.copies_labels() => None,
        Stage::Migration(_) if subject.mode != CpuMode::HostModel => {
            Some(NoRemoval::NotHostModel { mode: subject.mode.clone() })
        }
        Stage::Migration(_) => {
            let hopeless = |node: usize| {
                let missing = judgement.lookup.missing(node);
                let lacks_of_cpu = missing.iter().any(|(key, _)| Family::of(key).is_profile());
                let evidence = judgement.evidence(node, &missing);
                lacks_of_cpu && matches!(evidence, Evidence::OtherHardware | Evidence::LibvirtRefuses)
            };
            let near = judgement.nearest().first().filter(|_| !judgement.neighbours.is_empty())?;
            let node = near.node.clone();
            judgement.neighbours.iter().all(hopeless).then_some(match near.evidence {
                Evidence::LibvirtRefuses => NoRemoval::LibvirtRefuses { node },
                _ => NoRemoval::OtherHardware { node },
            })
        }
        Stage::Start(_) => {
            let affinity = subject.placement.affinity.iter().flat_map(|affinity| &affinity.terms);
            // A condition that a node without the label meets.
            let fleet = judgement.fleet;
            let is_violated =
                |rule: &Expression| rule.holds(None) && fleet.meeting_condition(rule).count() < fleet.len();
            let unschedulable = judgement.passes.fitting.is_empty();
            let asks_for_tsc =
                subject.placement.selector.iter().any(|(key, _)| Family::of(key) == Family::SchedulingTsc);
            (unschedulable && !asks_for_tsc && !affinity.flat_map(|term| &term.expressions).any(is_violated))
                .then_some(NoRemoval::NothingTooMuch)
        }
    }
}

/// Maximum number of label sets that are tried.
const MAX_TRIES: usize = 8;

impl Act for RemoveLabels {
    fn commands(&self, subject: &Subject<'_>) -> Commands {
        let removed = |key: &String| LabelKey::new(key).map(LabelKey::removed);
        let keys: Vec<CommandWord> = self.keys.iter().map(removed).collect::<Result<_, _>>()?;
        before_migration(subject, frozen(&self.node, self.is_frozen, [label_node(&self.node)?.args(keys)])?)
    }

    fn risk(&self, _: &Subject<'_>) -> Option<&'static str> {
        match self.backing {
            Backing::Labels => None,
            Backing::TakesCpu => Some(
                "host-model guests that leave the node for the first time then ask for less than their CPU needs; libvirt agrees on some of the nodes that fit by labels in addition",
            ),
            Backing::Provided => Some(
                "host-model guests that leave the node for the first time then ask for less than their CPU needs; libvirt agrees on each node that becomes a target",
            ),
        }
    }

    fn undo(&self) -> Option<Command> {
        if self.is_frozen { None } else { end_skip_node(&self.node).ok() }
    }

    fn apply(&self, subject: &mut Subject<'_>, fleet: &Fleet) -> Vec<Node> {
        let features = self.keys.iter().map(|key| label::same_name_in(key, label::CPU_FEATURE));
        let features: BTreeSet<String> = features.filter(|key| !is_required(subject, key)).collect();
        subject.placement.selector.retain(|(key, _)| !features.contains(&**key));
        let removed: BTreeSet<&String> = self.keys.iter().collect();
        edit(fleet, [&self.node], |node| {
            node.skip_node = Some("true".to_owned());
            node.labels.retain(|key, _| !removed.contains(key));
        })
    }
}
