//! Remedies in words: the action in one line, and why a well-known one does not help.

use crate::fit::author::TypeReference;
use crate::fit::label;
use crate::fit::placement::Toleration;
use crate::fit::plural::{and_names, fold_entries, fold_lack, fold_names, number, or_names};
use crate::fit::remedy::{
    Action, ChangeTogether, Cordoned, DropSetting, Luck, NoDrop, NoLabels, NoModel, NoNode, NoRemoval, NoRestart,
    NoUncordon, NotToAdd, Outage, RemedyId, VirtHandler, WhyNot, is_one, setting_of,
};
use crate::fit::subject::{Origin, Setting, Subject};

/// Returns why no change of nodes helps.
fn no_node(none: NoNode) -> String {
    let NoNode { is_alone, has_others } = none;
    let (other, of) = (if is_alone { "other " } else { "" }, if has_others { " of its architecture" } else { "" });
    format!("there is no {other}node{of}")
}

/// Returns the action in one line.
pub(crate) fn summary(action: &Action, subject: &Subject<'_>) -> String {
    change(action, subject, if action.outage(subject) == Outage::Restart { ", restart" } else { "" })
}

/// Returns the action in one line, with this end if the guest's specification changes.
fn change(action: &Action, subject: &Subject<'_>, restart: &str) -> String {
    // A guest that does not run is started, not restarted.
    let with = if subject.is_running() { "restart with" } else { "start with" };
    match action {
        Action::Uncordon(uncordon) => match uncordon.nodes.as_slice() {
            [node] => format!("uncordon {node}"),
            many => format!("uncordon any of {}", fold_names(many, 3)),
        },
        Action::RemoveSkipNode(remove) => format!("take skip-node off {}, wait 7 minutes", remove.node),
        Action::RemoveVendorLabel(remove) => {
            let names: Vec<&str> = remove.keys.iter().map(|key| label::name(key)).collect();
            format!(
                "take cpu-vendor {} off {}, which is {}",
                fold_names(&names, 2),
                remove.node,
                label::name(&remove.vendor)
            )
        }
        Action::AddLabels(add) => {
            let count = add.labels.len();
            format!("add {count} {} to {}{}", number(count, "label", "labels"), add.node, skip(add.is_frozen))
        }
        Action::RemoveLabels(remove) => {
            let count = remove.keys.len();
            let labels = number(count, "label", "labels");
            format!("remove {count} {labels} from {}{}", remove.node, skip(remove.is_frozen))
        }
        Action::RemoveTscLabel(remove) => {
            let start = if subject.is_running() { "restart" } else { "start" };
            format!("remove the TSC label of {}, {start}", remove.node)
        }
        Action::DropStale(drop) => format!("policy launcherSelectors: DropStale ({} stale)", drop.keys.len()),
        Action::DisableFeature(disable) => {
            let features: Vec<&str> = disable.features.iter().map(|feature| feature.name.as_str()).collect();
            match &disable.set_by {
                Some(by) => {
                    let (which, features) = (which(by), fold_names(&features, 2));
                    format!("another preference than {}, {which} forbids {features}", by.name)
                }
                None => format!("disable {} instead of forbidding it{restart}", fold_names(&features, 2)),
            }
        }
        Action::DropSetting(DropSetting { setting, set_by: None }) => format!("drop {}{restart}", what(setting)),
        Action::DropSetting(DropSetting { setting, set_by: Some(named) }) => {
            format!("another {} than {}, {} sets {}", named.what(), named.name, which(named), what(setting))
        }
        Action::RefreshRevision(refresh) => {
            let names = refresh.pinned.iter().map(|pinned| format!("{} {}", pinned.of.field(), pinned.name));
            let names: Vec<String> = names.collect();
            let they_are = number(names.len(), "it is", "they are");
            format!("take {} as {they_are} now: clear the VM's revision{restart}", and_names(&names, 2))
        }
        Action::EditObsoleteModels(edit) => {
            format!("take {} off obsoleteCPUModels, wait 3 minutes", fold_names(&edit.list.models, 2))
        }
        Action::UpgradeKubeVirt(upgrade) => format!("upgrade KubeVirt to v{}", upgrade.to),
        Action::MigrateAgain(_) => "cancel its migration, migrate again".to_owned(),
        Action::DropAddedSelector(_) => "migrate without addedNodeSelector".to_owned(),
        Action::Restart(_) if subject.is_running() => {
            match subject.restart.as_ref().map(|start| (&start.by_policy, &start.mode)) {
                Some((Some(policy), mode)) => format!("restart as it is: policy {policy} gives it {mode}"),
                _ => "restart as it is".to_owned(),
            }
        }
        Action::Restart(_) => "create it again as it is specified now".to_owned(),
        Action::UseModel(model) => match &model.set_by {
            Some(by) => format!("{with} another instancetype than {}, one that sets {}", by.name, model.model),
            None => format!("{with} {}", model.model),
        },
        Action::ChangeSelector(change) => format!("change nodeSelector {}{restart}", fold_names(&change.keys, 2)),
        Action::ChangeAffinity(_) => format!("take its own required node affinity out{restart}"),
        Action::ChangeTolerations(change) => {
            let words = |all: &[Toleration]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
            let (add, near) = (words(&change.add), words(&change.near));
            format!("tolerate {} as well as {}{restart}", and_names(&add, 2), and_names(&near, 2))
        }
        Action::EnableCpuManager(enable) => match enable.nodes.as_slice() {
            [node] => format!("{}turn on the CPU manager on {node}", gate(enable.gate_is_off)),
            many => format!("{}turn on the CPU manager on any of {}", gate(enable.gate_is_off), fold_names(many, 3)),
        },
        Action::ChangeMachineType(change) => format!("{with} machine type {}", change.to),
        Action::FixVirtHandler(fix) => format!(
            "find out why virt-handler is not ready on {}, and fix it",
            match fix.nodes.as_slice() {
                [node] => node.clone(),
                many => format!("any of {}", fold_names(many, 3)),
            }
        ),
        Action::ChangeTogether(changes) => together(changes, subject, with, restart),
        Action::AddNode(add) => format!("add a node like {}", add.like),
    }
}

/// Returns the subject of what a type sets: the copy that the VM uses, if the type has changed since.
fn which(named: &TypeReference) -> String {
    if named.revision.is_empty() { "which".to_owned() } else { format!("whose ControllerRevision {}", named.revision) }
}

/// Returns the change of KubeVirt's configuration without which a node's CPU manager does not count.
fn gate(is_off: bool) -> &'static str {
    if is_off { "add the feature gate CPUManager, " } else { "" }
}

/// Returns the prefix of a change of labels.
fn skip(is_frozen: bool) -> &'static str {
    if is_frozen { ", where skip-node is set" } else { ", with skip-node" }
}

/// Returns the name of a setting.
fn what(setting: &Setting) -> String {
    match setting {
        Setting::Features(features) | Setting::Forbidden(features) => {
            let names: Vec<&str> = features.iter().map(|feature| feature.name.as_str()).collect();
            format!("CPU {} {}", number(names.len(), "feature", "features"), fold_names(&names, 2))
        }
        Setting::Model(model) => format!("CPU model {model}"),
        Setting::MachineType(name) => format!("machine type {name}"),
        Setting::HyperV(name) => format!("Hyper-V setting {name}"),
        Setting::DedicatedCpus => "dedicatedCpuPlacement".to_owned(),
        Setting::Numa => "cpu.numa".to_owned(),
        Setting::Realtime => "cpu.realtime".to_owned(),
        Setting::NodeSelector => "its node selector".to_owned(),
        Setting::NodeAffinity => "its required node affinity".to_owned(),
    }
}

/// `drop dedicatedCpuPlacement, start with machine type q35`; `another instancetype than large, which sets CPU model X
/// and dedicatedCpuPlacement`.
fn together(changes: &ChangeTogether, subject: &Subject<'_>, with: &str, restart: &str) -> String {
    let (mut types, mut own, mut given) = (Vec::<(&TypeReference, Vec<String>)>::new(), Vec::new(), Vec::new());
    for part in &changes.parts {
        match (part, setting_of(part)) {
            (_, Some((setting, Some(by)))) => {
                let what = match setting {
                    Setting::Forbidden(_) => format!("a policy forbid of {}", what(&setting)),
                    setting => what(&setting),
                };
                match types.iter_mut().find(|(known, _)| is_one(known, by)) {
                    Some((_, whats)) => whats.push(what),
                    None => types.push((by, vec![what])),
                }
            }
            (Action::UseModel(model), _) => given.push(model.model.clone()),
            (Action::ChangeMachineType(change), _) => given.push(format!("machine type {}", change.to)),
            (part, _) => own.push(change(part, subject, "")),
        }
    }
    let types = types.into_iter().map(|(by, whats)| {
        format!("another {} than {}, {} sets {}", by.what(), by.name, which(by), and_names(&whats, 3))
    });
    let types: Vec<String> = types.collect();
    let restart = if own.is_empty() && given.is_empty() { "" } else { restart };
    let own = and_names(&own, 3);
    let first = types.into_iter().chain(Some(own).filter(|own| !own.is_empty())).collect::<Vec<_>>().join(", and ");
    match (first.is_empty(), given.is_empty()) {
        (_, true) => format!("{first}{restart}"),
        (true, false) => format!("{with} {}", given.join(" and ")),
        (false, false) => format!("{first}, {with} {}", given.join(" and ")),
    }
}

/// Returns a remedy in the shortest form: its command if there is only one, or the edit of a manifest that is not
/// stored, else its summary.
pub(crate) fn step(action: &Action, subject: &Subject<'_>) -> String {
    let commands = action.commands(subject);
    let edit = || {
        commands.by_hand().filter(|_| subject.definition.origin == Origin::Submitted && commands.commands().is_empty())
    };
    let command = commands.single().map(ToString::to_string);
    command.or_else(edit).unwrap_or_else(|| summary(action, subject))
}

/// Returns a remedy's display name for a guest.
pub(crate) fn title(id: RemedyId, subject: &Subject<'_>) -> &'static str {
    match id {
        // A guest that does not run is started, not restarted.
        RemedyId::UseModel if !subject.is_running() => "start with a common model",
        RemedyId::Restart => "restart as it is",
        RemedyId::UseModel => "restart with a common model",
        RemedyId::AddLabels => "add labels",
        RemedyId::RemoveLabels => "remove labels",
        RemedyId::DropStale => "drop stale keys",
        other => other.as_str(),
    }
}

/// Returns `start with machine type q35 does not help now: n2 fits by CPU, no room: …`, for a remedy with obstacles
/// on nodes that it opens. `better`: another remedy that helps.
pub(crate) fn hindered(named: &str, in_the_way: &[String], is_in_vain: bool, better: Option<&str>) -> String {
    let does = if is_in_vain { " does not help now: " } else { ": then " };
    let better = better.map(|better| format!("; another remedy: {better}")).unwrap_or_default();
    format!("{named}{does}{}{better}", in_the_way.join("; "))
}

/// Returns why a well-known remedy does not help.
pub(crate) fn why_not(why: &WhyNot) -> String {
    match why {
        WhyNot::NotMigratable(reason) if reason.is_empty() => {
            "KubeVirt refuses to migrate it for another reason".to_owned()
        }
        WhyNot::NotMigratable(reason) => format!("KubeVirt refuses to migrate it for another reason ({reason})"),
        WhyNot::WillNotMigrate(reason) => format!("KubeVirt will refuse to migrate it for another reason ({reason})"),
        WhyNot::MigrationsOff(limit) => super::finding::migrations_off(*limit),
        WhyNot::SourceDown(node) => format!("{node}, where it runs, is down: nothing migrates it until that is back"),
        WhyNot::LibvirtRefused => "labels and cordons are not the cause: nodes fit, libvirt refused".to_owned(),
        WhyNot::RefusedThere { node } => format!("it opens {node} alone, where libvirt refused the guest's CPU last"),
        WhyNot::Uncordon(why) => no_uncordon(why),
        WhyNot::Restart(NoRestart::StartsNowhere) => "it could start nowhere: stop it and it stays down".to_owned(),
        WhyNot::Restart(NoRestart::LibvirtRefuses { nodes }) => format!(
            "libvirt refuses its CPU on {}, which {} by labels, so labels do not show where it could go afterwards",
            fold_names(nodes, 3),
            number(nodes.len(), "fits", "fit")
        ),
        WhyNot::Restart(NoRestart::Added) => added(),
        WhyNot::Restart(NoRestart::NoMore { most }) => format!("wherever it starts, {}", left(*most)),
        WhyNot::Model(why) => no_model(why),
        WhyNot::Labels(why) => no_labels(why),
        WhyNot::Removal(why) => no_removal(why),
        WhyNot::Drop(why) => no_drop(why),
    }
}

/// Returns why it is not certain that a remedy helps: `whether it helps depends on the node that the scheduler chooses:
/// started on n1 it would be stuck`.
pub(crate) fn depends(by: &Luck, subject: &Subject<'_>) -> String {
    format!("whether it helps depends on the node that the scheduler chooses: {}", luck(by, subject))
}

/// Returns the start nodes on which a remedy does not help: `started on n1 it would be stuck; on n2 it could go to 1
/// node only`.
pub(crate) fn luck(luck: &Luck, subject: &Subject<'_>) -> String {
    let again = if subject.is_running() { " again" } else { "" };
    let stuck = |nodes: &[String]| format!("started on {} it would be stuck{again}", or_names(nodes, 3));
    let no_better = |nodes: &[String]| format!("on {} it could go to 1 node only", or_names(nodes, 3));
    match (luck.stuck_on.as_slice(), luck.no_better_on.as_slice()) {
        (stuck_on, []) => stuck(stuck_on),
        ([], no_better_on) => format!("started {}", no_better(no_better_on)),
        (stuck_on, no_better_on) => format!("{}; {}", stuck(stuck_on), no_better(no_better_on)),
    }
}

fn no_uncordon(why: &NoUncordon) -> String {
    match why {
        NoUncordon::NoneCordoned => "no node is cordoned".to_owned(),
        NoUncordon::NotTheCause(Cordoned { source, more, tolerated, other_architecture }) => {
            let no_other = more.is_empty() && tolerated.is_empty() && other_architecture.is_empty();
            let source = source.iter().map(|source| {
                let others = if no_other { "; no other node is cordoned" } else { "" };
                format!("the cordon of {source}, where the guest runs, is not the cause{others}")
            });
            let cordoned = |nodes: &[String], why: &str| {
                let is = number(nodes.len(), "is", "are");
                (!nodes.is_empty()).then(|| format!("{} {is} cordoned, and {why}", fold_names(nodes, 3)))
            };
            let parts = [
                cordoned(more, "more than that keeps the guest off"),
                cordoned(tolerated, "the guest tolerates that"),
                cordoned(other_architecture, "of another architecture than the guest"),
            ];
            source.chain(parts.into_iter().flatten()).collect::<Vec<_>>().join("; ")
        }
    }
}

/// Returns why the guest itself need not change.
fn added() -> String {
    "without spec.addedNodeSelector of the migration it can migrate as it is".to_owned()
}

fn no_model(why: &NoModel) -> String {
    match why {
        NoModel::StillLacks { node, missing, has } => {
            format!("not a matter of CPU models alone: {node} would still lack {}", fold_lack(missing, has, 4))
        }
        NoModel::Added => added(),
        NoModel::NoNode(none) => no_node(*none),
        NoModel::NoMore { most: None } => "with any named CPU model no node can take it now".to_owned(),
        NoModel::NoMore { most: Some(most) } => format!("with any named CPU model {}", left(*most)),
        NoModel::NoneShared { at_least: 1 } => {
            "no current CPU model is usable on any of the nodes it may run on".to_owned()
        }
        NoModel::NoneShared { .. } => "no current CPU model is usable on two of the nodes it may run on".to_owned(),
        NoModel::NotUsable(found) => format!("by labels {}", super::model::not_usable(found)),
        NoModel::NotProvided(found) => super::model::not_provided(found),
        NoModel::HasNotUsable(found) => super::model::has_not_usable(found),
        NoModel::HasRefused { model, nodes } => {
            format!("it has {model} already, and libvirt on {} refuses that CPU", fold_names(nodes, 3))
        }
        NoModel::HasIt { model } => format!("it asks for {model} already, which runs on the most nodes"),
    }
}

/// Returns `at most 1 node is left to migrate to`.
fn left(most: usize) -> String {
    match most {
        0 => "no node is left to migrate to".to_owned(),
        many => format!("at most {many} {} left to migrate to", number(many, "node is", "nodes are")),
    }
}

fn no_labels(why: &NoLabels) -> String {
    match why {
        NoLabels::NoNode(none) => no_node(*none),
        NoLabels::NothingMissing { runs, has_others } => {
            let (other, of) =
                (if *runs { "other " } else { "" }, if *has_others { " of its architecture" } else { "" });
            format!("no {other}node{of} lacks a label that it asks for")
        }
        NoLabels::NotToAdd { node, lacks } => match lacks {
            NotToAdd::TscFrequency(key) => format!(
                "{node} lacks {}, which virt-controller owns: skip-node does not keep a hand-made one",
                label::name(key)
            ),
            NotToAdd::Heartbeat { key, virt_handler } => {
                let why = match virt_handler {
                    VirtHandler::MayRun => ": virt-handler's heartbeat would undo it within 3 minutes",
                    VirtHandler::NodeNotReady => ": the node is not Ready, and KubeVirt would undo it",
                    VirtHandler::Absent => ", which virt-handler writes, and none runs there",
                };
                format!("{node} lacks {key}{why}")
            }
            NotToAdd::EarlierName { key, value } => {
                let then = if value == "true" {
                    "the label comes with virt-handler's upgrade"
                } else {
                    "its CPU manager is off"
                };
                format!(
                    "{node} lacks {key}, which virt-handler writes since 1.8: the one there is older and writes {}={value}, so {then}",
                    label::CPU_MANAGER_OLD
                )
            }
            NotToAdd::MachineType(name) => {
                format!("{node} lacks machine-type {name}: a label does not make QEMU offer it")
            }
        },
        NoLabels::OtherHardware { node } => {
            format!("{node} is other hardware, which no label changes: libvirt there may refuse")
        }
        NoLabels::Untrue { node, lacks } => {
            format!("libvirt on {node} says that the node does not have {}", fold_entries(lacks, 4))
        }
        NoLabels::LibvirtRefuses { node } => {
            format!("libvirt on {node} refuses its CPU, whatever the labels there say")
        }
    }
}

fn no_removal(why: &NoRemoval) -> String {
    match why {
        NoRemoval::Inherited => "its selector is inherited: labels taken off a node change nothing of it".to_owned(),
        NoRemoval::NotHostModel { mode } => {
            format!("it uses {mode}: what it asks for is not copied from a node's host model")
        }
        NoRemoval::NothingTooMuch => "no node has a label that keeps it off by being there".to_owned(),
        NoRemoval::OtherHardware { node } => {
            format!("{node} is other hardware, whatever its target is asked for: libvirt there may refuse")
        }
        NoRemoval::LibvirtRefuses { node } => {
            format!("libvirt on {node} refuses its CPU, whatever its target is asked for")
        }
    }
}

fn no_drop(why: &NoDrop) -> String {
    match why {
        NoDrop::NothingInherited => "it has inherited nothing".to_owned(),
        NoDrop::NothingStale => "each feature that it inherited is offered by some node".to_owned(),
        NoDrop::ModelKey { key, features } => {
            let like = match features.as_slice() {
                [] => String::new(),
                features => format!(" like {}", fold_keys(features)),
            };
            format!("{} is stale{like}, and only feature keys are dropped", label::short(key, "true"))
        }
        NoDrop::LastFeature => "all features it inherited are stale, and the last one is never dropped".to_owned(),
        NoDrop::NotEnough { keys } => {
            format!("without {} no more nodes fit", fold_keys(keys))
        }
    }
}

fn fold_keys(keys: &[String]) -> String {
    super::plural::fold(keys.iter().map(|key| (key.as_str(), "true")), 3)
}
