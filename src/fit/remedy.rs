//! Remedies as data: what to change, what it costs, and what it promises.

use std::collections::BTreeSet;

use super::command::{
    Command, CpuModel, Invalid, Json, LabelKey, LabelValue, MachineType, Name, Namespace, Script, Word,
};
use super::fleet::Fleet;
use super::label::{self, Family};
use super::node::Node;
use super::subject::{Onward, Stage, Subject};

/// A change that would cure a finding.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Remedy {
    /// What to do.
    pub action: Action,
    /// The fewest and the most nodes that fit afterwards, over the places where it may start.
    pub then_fits: (usize, usize),
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Uncordon one of these nodes: all else fits there.
    Uncordon {
        /// The nodes, by name.
        nodes: Vec<String>,
    },
    /// Let the labeller work again on a node whose labels are frozen and poorer than those of its like.
    RemoveSkipNode {
        /// The node.
        node: String,
        /// The annotation's value, which does not count.
        value: String,
        /// A node of the same kind, whose labels it should get.
        like: String,
    },
    /// Add the missing labels under `skip-node`.
    AddLabels {
        /// The node.
        node: String,
        /// The labels.
        labels: Vec<(String, String)>,
    },
    /// Take host-model labels off the node it runs on, under `skip-node`: its first migration asks for less.
    RemoveLabels {
        /// The node.
        node: String,
        /// The label keys.
        keys: Vec<String>,
    },
    /// Take the clock of a node that takes no guests out of the choice, under `skip-node`, and start again.
    RemoveTscLabel {
        /// The node.
        node: String,
        /// The frequency the guest then gets, Hz.
        frequency: i64,
    },
    /// Drop inherited keys that no node offers (`launcherSelectors: DropStale`).
    DropStale {
        /// The keys.
        keys: Vec<String>,
    },
    /// Ask for the migration without its `addedNodeSelector`.
    DropWish {
        /// The keys asked for.
        keys: Vec<String>,
    },
    /// Restart: selectors inherited from earlier migrations end with the VMI.
    Restart,
    /// Give it a named model that runs on more nodes; takes effect at the next start.
    UseModel {
        /// The model.
        model: String,
        /// The nodes on which it is usable.
        nodes: Vec<String>,
        /// Other models of its family that are usable on all of them.
        also: Vec<String>,
    },
    /// Change entries of the guest's own node selector.
    ChangeSelector {
        /// The keys.
        keys: Vec<String>,
    },
    /// Change the machine type; takes effect at the next start.
    ChangeMachineType {
        /// What it asks for.
        from: String,
        /// A machine type that more nodes offer.
        to: String,
    },
    /// Bring virt-handler back: it marked these nodes unschedulable.
    MendVirtHandler {
        /// The nodes.
        nodes: Vec<String>,
    },
    /// Add a node with the hardware of this one.
    AddNode {
        /// The node whose like is wanted.
        like: String,
    },
}

/// What the guest loses meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outage {
    /// Nothing.
    None,
    /// It is restarted.
    Restart,
}

impl Action {
    /// As JSON spells it.
    #[must_use]
    pub fn id(&self) -> &'static str {
        match self {
            Self::Uncordon { .. } => "uncordon",
            Self::RemoveSkipNode { .. } => "remove-skip-node",
            Self::AddLabels { .. } => "add-labels",
            Self::RemoveLabels { .. } | Self::RemoveTscLabel { .. } => "remove-labels",
            Self::DropStale { .. } => "drop-stale",
            Self::DropWish { .. } => "drop-added-node-selector",
            Self::Restart => "restart",
            Self::UseModel { .. } => "restart-with-common-model",
            Self::ChangeSelector { .. } => "change-node-selector",
            Self::ChangeMachineType { .. } => "change-machine-type",
            Self::MendVirtHandler { .. } => "mend-virt-handler",
            Self::AddNode { .. } => "add-node",
        }
    }

    /// What the guest loses meanwhile.
    #[must_use]
    pub fn outage(&self) -> Outage {
        match self {
            Self::Restart | Self::UseModel { .. } | Self::ChangeMachineType { .. } | Self::RemoveTscLabel { .. } => {
                Outage::Restart
            }
            _ => Outage::None,
        }
    }

    /// What may go wrong, in a few words.
    #[must_use]
    pub fn risk(&self) -> &'static str {
        match self {
            Self::Uncordon { .. } | Self::AddNode { .. } | Self::MendVirtHandler { .. } => "none",
            Self::DropWish { .. } => "it goes to another node than was wished",
            Self::RemoveSkipNode { .. } => "hand-made labels on the node are lost",
            Self::AddLabels { .. } => "if the hardware lacks them the migration fails, the guest stays",
            Self::RemoveLabels { .. } => {
                "guests whose pods select a removed label die at a restart of the kubelet; libvirt may refuse"
            }
            Self::RemoveTscLabel { .. } => "guests there that need a TSC frequency lose a place to go",
            Self::DropStale { .. } => "libvirt decides; if it refuses, the guest stays",
            Self::Restart => "depends on where it starts",
            Self::UseModel { .. } => "the guest sees another CPU",
            Self::ChangeSelector { .. } => "it may run where it was not meant to",
            Self::ChangeMachineType { .. } => "the guest sees other devices",
        }
    }

    /// What to do, in one line.
    #[must_use]
    pub fn summary(&self) -> String {
        match self {
            Self::Uncordon { nodes } => match nodes.as_slice() {
                [node] => format!("uncordon {node}"),
                many => format!("uncordon any of {}", label::fold_names(many, 3)),
            },
            Self::RemoveSkipNode { node, .. } => format!("take skip-node off {node}, wait 3 minutes"),
            Self::AddLabels { node, labels } => {
                let noun = if labels.len() == 1 { "label" } else { "labels" };
                format!("skip-node and {} {noun} on {node}", labels.len())
            }
            Self::RemoveLabels { node, keys } => {
                let noun = if keys.len() == 1 { "label" } else { "labels" };
                format!("skip-node and {} {noun} less on {node}", keys.len())
            }
            Self::RemoveTscLabel { node, .. } => format!("take {node}'s clock out of the choice, restart"),
            Self::DropStale { keys } => format!("policy launcherSelectors: DropStale ({} stale)", keys.len()),
            Self::DropWish { .. } => "migrate without addedNodeSelector".to_owned(),
            Self::Restart => "restart as it is".to_owned(),
            Self::UseModel { model, .. } => format!("restart with {model}"),
            Self::ChangeSelector { keys } => format!("change nodeSelector {}", label::fold_names(keys, 2)),
            Self::ChangeMachineType { to, .. } => format!("restart with machine type {to}"),
            Self::MendVirtHandler { nodes } => format!("look at virt-handler on {}", label::fold_names(nodes, 3)),
            Self::AddNode { like } => format!("add a node like {like}"),
        }
    }

    /// The commands, in order.
    #[must_use]
    pub fn commands(&self, subject: &Subject<'_>) -> Script {
        self.script(subject).into()
    }

    fn script(&self, subject: &Subject<'_>) -> Result<Vec<Command>, Invalid> {
        let Subject { name, namespace, .. } = subject;
        let skip = |node: &str| -> Result<Command, Invalid> {
            let skip = LabelKey::new(label::SKIP_NODE)?.set_to(&LabelValue::new("true")?);
            let skip = Command::kubectl(["annotate", "node"]).arg(Name::new(node)?).arg(skip);
            Ok(skip.comment("first: the labeller would undo the rest in 3 minutes"))
        };
        let of_guest = |command: Command| -> Result<Command, Invalid> {
            Ok(command.arg(Name::new(name)?).namespace(Namespace::new(namespace)?))
        };
        let restart = || -> Result<Command, Invalid> {
            let restart = of_guest(Command::virtctl(["restart"]))?;
            Ok(restart.comment("a reboot inside the guest is not enough"))
        };
        let patch = |below: &[&'static str], value: Json| -> Result<Command, Invalid> {
            let patch = value.below(below).below(&["spec", "template", "spec"]);
            Ok(of_guest(Command::kubectl(["patch", "vm"]))?.args(["--type", "merge", "-p"]).arg(patch))
        };
        let label =
            |node: &str| -> Result<Command, Invalid> { Ok(Command::kubectl(["label", "node"]).arg(Name::new(node)?)) };
        Ok(match self {
            Self::Uncordon { nodes } => match nodes.first() {
                Some(node) => vec![Command::kubectl(["uncordon"]).arg(Name::new(node)?)],
                None => Vec::new(),
            },
            Self::RemoveSkipNode { node, .. } => {
                vec![unskip(node)?.comment("its value does not count, its presence does")]
            }
            Self::AddLabels { node, labels } => {
                let pair = |(key, value): &(String, String)| -> Result<Word, Invalid> {
                    Ok(LabelKey::new(key)?.set_to(&LabelValue::new(value)?))
                };
                let pairs: Vec<Word> = labels.iter().map(pair).collect::<Result<_, _>>()?;
                vec![skip(node)?, label(node)?.args(pairs)]
            }
            Self::RemoveLabels { node, keys } => {
                let removed = |key: &String| LabelKey::new(key).map(LabelKey::removed);
                let keys: Vec<Word> = keys.iter().map(removed).collect::<Result<_, _>>()?;
                vec![skip(node)?, label(node)?.args(keys)]
            }
            Self::RemoveTscLabel { node, .. } => {
                let key = LabelKey::new(label::TSC_FREQUENCY)?.removed();
                vec![skip(node)?, label(node)?.arg(key), restart()?]
            }
            Self::DropStale { .. } => vec![
                Command::remark(["in the CPUPolicy that governs this guest: spec.launcherSelectors: DropStale".into()]),
                Command::remark(["(read and checked by this release, acted on by a later one)".into()]),
            ],
            Self::DropWish { .. } => vec![of_guest(Command::virtctl(["migrate"]))?],
            Self::Restart => vec![restart()?],
            Self::UseModel { model, .. } if subject.has_vm => {
                vec![patch(&["domain", "cpu", "model"], Json::Text(CpuModel::new(model)?.into()))?, restart()?]
            }
            Self::UseModel { model, .. } => {
                let set = Word::joined("set spec.domain.cpu.model to ", CpuModel::new(model)?);
                vec![Command::remark([set, "and create the guest anew".into()])]
            }
            Self::ChangeSelector { keys } => {
                let null = |key: &String| LabelKey::new(key).map(|key| (key.into(), Json::Null));
                let nulls = keys.iter().map(null).collect::<Result<_, _>>()?;
                vec![patch(&["nodeSelector"], Json::Object(nulls))?]
            }
            Self::ChangeMachineType { to, .. } => {
                vec![patch(&["domain", "machine", "type"], Json::Text(MachineType::new(to)?.into()))?, restart()?]
            }
            Self::MendVirtHandler { nodes } => match nodes.first() {
                Some(node) => vec![
                    Command::kubectl(["get", "pods", "-A", "-l", "kubevirt.io=virt-handler", "-o", "wide"])
                        .arg("--field-selector")
                        .arg(Word::joined("spec.nodeName=", Name::new(node)?)),
                ],
                None => Vec::new(),
            },
            Self::AddNode { .. } => Vec::new(),
        })
    }

    /// The command that takes it back, where there is one.
    #[must_use]
    pub fn undo(&self) -> Option<Command> {
        match self {
            Self::Uncordon { nodes } => {
                let node = Name::new(nodes.first()?).ok()?;
                Some(Command::kubectl(["cordon"]).arg(node))
            }
            Self::AddLabels { node, .. } | Self::RemoveLabels { node, .. } | Self::RemoveTscLabel { node, .. } => {
                unskip(node).ok()
            }
            _ => None,
        }
    }

    /// The guest after it was done, and the nodes it changes or adds: what the promise is checked against.
    #[must_use]
    pub fn apply<'a>(&self, subject: &Subject<'a>, fleet: &Fleet) -> (Subject<'a>, Vec<Node>) {
        let mut after = subject.clone();
        after.refused = None;
        let edit = |name: &str, change: &dyn Fn(&mut Node)| -> Vec<Node> {
            let mut node = fleet.find(name).map(|node| fleet.node(node));
            node.iter_mut().for_each(change);
            node.into_iter().collect()
        };
        let changed = match self {
            Self::Uncordon { nodes } => nodes.first().map_or_else(Vec::new, |node| edit(node, &uncordon)),
            Self::RemoveSkipNode { node, like, .. } => {
                let like = fleet.find(like).map(|like| fleet.node(like).labels).unwrap_or_default();
                edit(node, &|node| {
                    node.skip_node = None;
                    node.labels.retain(|key, _| !Family::of(key).is_labeller());
                    let fresh = like.iter().filter(|(key, _)| Family::of(key).is_labeller());
                    node.labels.extend(fresh.map(|(key, value)| (key.clone(), value.clone())));
                })
            }
            Self::AddLabels { node, labels } => edit(node, &|node| {
                node.skip_node = Some("true".to_owned());
                node.labels.extend(labels.iter().cloned());
            }),
            Self::RemoveLabels { node, keys } => {
                let feature = |key: &String| label::twin(key, label::CPU_FEATURE);
                let features: BTreeSet<String> = keys.iter().map(feature).collect();
                after.placement.selector.retain(|(key, _)| !features.contains(&**key));
                let removed: BTreeSet<&String> = keys.iter().collect();
                edit(node, &|node| {
                    node.skip_node = Some("true".to_owned());
                    node.labels.retain(|key, _| !removed.contains(key));
                })
            }
            Self::RemoveTscLabel { node, frequency } => {
                restart(&mut after);
                replace(&mut after, Family::SchedulingTsc, format!("{}{frequency}", label::SCHEDULING_TSC));
                edit(node, &|node| {
                    node.skip_node = Some("true".to_owned());
                    node.labels.retain(|key, _| key != label::TSC_FREQUENCY);
                })
            }
            Self::DropStale { keys } | Self::DropWish { keys } | Self::ChangeSelector { keys } => {
                let dropped: BTreeSet<&str> = keys.iter().map(String::as_str).collect();
                after.placement.selector.retain(|(key, _)| !dropped.contains(&**key));
                if let Stage::Migration(migration) = &mut after.stage {
                    migration.wish.retain(|(key, _)| !dropped.contains(key.as_str()));
                }
                // A vendor that was wished for stands in the place of the source's own, which comes back.
                if keys.iter().any(|key| Family::of(key) == Family::CpuVendor)
                    && subject.restart.as_ref().is_some_and(|start| start.onward.vendor)
                    && let Some(source) = subject.source().and_then(|source| fleet.find(source))
                    && let Some(vendor) = fleet.host_model_class(source).vendors.first()
                {
                    after.placement.selector.insert(vendor.clone(), "true");
                }
                Vec::new()
            }
            Self::Restart => {
                restart(&mut after);
                Vec::new()
            }
            Self::UseModel { model, .. } => {
                after.restart = after.restart.as_ref().map(|start| start.with_model(model));
                restart(&mut after);
                Vec::new()
            }
            Self::ChangeMachineType { to, .. } => {
                restart(&mut after);
                replace(&mut after, Family::MachineType, format!("{}{to}", label::MACHINE_TYPE));
                Vec::new()
            }
            Self::MendVirtHandler { nodes } => {
                let well = |node: &mut Node| {
                    node.labels.insert(label::SCHEDULABLE.to_owned(), "true".to_owned());
                };
                nodes.iter().flat_map(|node| edit(node, &well)).collect()
            }
            Self::AddNode { like } => edit(like, &|node| {
                node.name.push_str("-twin");
                uncordon(node);
                node.not_ready = false;
                if let Some(host) = node.labels.get_mut(label::HOSTNAME) {
                    host.clone_from(&node.name);
                }
            }),
        };
        (after, changed)
    }
}

fn unskip(node: &str) -> Result<Command, Invalid> {
    let annotate = Command::kubectl(["annotate", "node"]).arg(Name::new(node)?);
    Ok(annotate.arg(LabelKey::new(label::SKIP_NODE)?.removed()))
}

/// Puts one key in the place of those of a family.
fn replace(subject: &mut Subject<'_>, family: Family, key: String) {
    subject.placement.selector.retain(|(key, _)| Family::of(key) != family);
    subject.placement.selector.insert(key, "true");
}

fn uncordon(node: &mut Node) {
    node.cordoned = false;
    node.taints.retain(|taint| taint.key != label::TAINT_UNSCHEDULABLE);
}

/// The guest is started anew: it is where its start placement lets it be.
fn restart(subject: &mut Subject<'_>) {
    let onward = subject.restart.as_ref().map(|start| start.onward);
    if let Some(start) = &subject.restart {
        subject.placement = start.placement.clone();
        subject.mode = start.mode.clone();
    }
    let fallback = match subject.stage {
        Stage::Start(onward) => onward,
        Stage::Migration(_) => Onward { host_model: super::subject::HostModelRule::NotAsked, vendor: false },
    };
    subject.stage = Stage::Start(onward.unwrap_or(fallback));
    subject.running = None;
    subject.outdated_launcher = false;
}
