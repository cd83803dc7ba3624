//! Edits of the KubeVirt resource: of `configuration.cpuModel`, which affects the start of guests without a model of
//! their own, and of `configuration.obsoleteCPUModels` (`obsolete`), which removes labels from nodes.

mod obsolete;

use super::warned;
use crate::admission::response::Decision;
use crate::answers::model_use::states_model;
use crate::answers::pool::{bearing, guest_nodes, next_higher};
use crate::answers::{CountProgress, Deadline, Guests, NamedGuests, policy_of};
use crate::fit::bits::Bits;
use crate::fit::command::{Command, CpuModel, HYPERCONVERGED, Json, Name, Namespace, Script};
use crate::fit::fleet::Fleet;
use crate::fit::label::{self, Family};
use crate::fit::subject::CpuMode;
use crate::kubevirt::defaults::hyperconverged;
use crate::kubevirt::subject::title;
use crate::kubevirt::wire::KubeVirt;
use crate::policy::ReplacedMode;
use crate::say::plural;
use crate::well_known;
use crate::world::World;

/// Warns a user who changes the default CPU model or `obsoleteCPUModels`. No warnings if neither changes.
pub(crate) fn update(world: &World, before: &KubeVirt, after: &KubeVirt, is_over: Deadline<'_>) -> Decision {
    let mut lines = obsolete::lines(world, before, after, is_over);
    lines.extend(default_model(world, before, after, is_over));
    if let Some(owner) = hyperconverged(after).filter(|_| !lines.is_empty()) {
        lines.push(format!(
            "HyperConverged {owner} owns this resource: its operator undoes edits of what it writes, so make them there"
        ));
        let [old, new] = [before, after].map(|kubevirt| kubevirt.spec.configuration.cpu_model.as_str());
        if old != new {
            lines.extend(there(owner, &after.metadata.namespace, new).lines());
        }
    }
    let name = &after.metadata.name;
    warned(lines.into_iter().map(|line| format!("KubeVirt {name}: {line}")).collect())
}

/// Returns the command that sets the default CPU model in the HyperConverged resource; empty if the value is no valid
/// model name.
fn there(owner: &str, namespace: &str, model: &str) -> Script {
    let command = || {
        let value = if model.is_empty() { Json::Null } else { Json::Text(CpuModel::new(model)?.into()) };
        let patch = Command::kubectl(["patch", HYPERCONVERGED]).arg(Name::new(owner)?);
        let patch = patch.namespace(Namespace::new(namespace)?).args(["--type", "merge", "-p"]);
        Ok(vec![patch.arg(value.below(&["spec", "defaultCPUModel"]))])
    };
    command().into()
}

fn default_model(world: &World, before: &KubeVirt, after: &KubeVirt, is_over: Deadline<'_>) -> Vec<String> {
    let [old, new] = [before, after].map(|kubevirt| kubevirt.spec.configuration.cpu_model.as_str());
    if old == new {
        return Vec::new();
    }
    match CpuMode::parse(new) {
        CpuMode::Named(model) => named(world, &model, is_over),
        CpuMode::Unset | CpuMode::HostModel | CpuMode::HostModelOrPassthrough => {
            let (guests, looked) = without_model(world, is_over);
            vec![format!(
                "cpuModel host-model: at its next start a guest without a model takes the CPU of the node it starts on, \
                 and keeps it{}",
                concerned(&guests, looked)
            )]
        }
        CpuMode::HostPassthrough => {
            let (guests, looked) = without_model(world, is_over);
            vec![format!(
                "cpuModel host-passthrough: no label tells where a guest with it can migrate to; only like hardware \
                 takes it{}",
                concerned(&guests, looked)
            )]
        }
    }
}

fn concerned(guests: &NamedGuests, looked: CountProgress) -> String {
    if guests.is_empty() { String::new() } else { format!(" ({})", looked.count(guests.count, "guest")) }
}

fn named(world: &World, model: &str, is_over: Deadline<'_>) -> Vec<String> {
    let fleet: &Fleet = &world.cluster.fleet;
    let nodes = labelled(fleet);
    let total = nodes.count();
    if total == 0 {
        return vec![format!("no node has a CPU model label: where cpuModel {model} is usable is not known")];
    }
    let on = |prefix: &str| {
        let mut found = fleet.bearing(&format!("{prefix}{model}"), "true");
        found.intersect(&nodes);
        found
    };
    let usable = on(label::CPU_MODEL);
    let known = on(label::CPU_MODEL_MIGRATION);
    let mut left_out = nodes.clone();
    left_out.subtract(&usable);
    let mut out = Vec::new();
    let names = plural::fold_names(&fleet.names(&left_out), 3);
    let nodes = plural::nodes(total);
    match usable.count() {
        0 if known.is_empty() => out.push(format!("cpuModel {model} is known on 0 of {nodes}, usable on none")),
        0 => out.push(format!(
            "cpuModel {model} is known on {} of {nodes}, usable on 0 of {total}: cpu-model-migration labels do \
             not mean usable",
            known.count()
        )),
        count if count < total => {
            out.push(format!("cpuModel {model} is usable on {count} of {nodes}, not on {names}"));
        }
        _ => {
            let higher = next_higher(&world.cluster, &usable, model);
            return higher.map(|line| format!("cpuModel {model}: {line}")).into_iter().collect();
        }
    }
    let (guests, looked) = without_model(world, is_over);
    if !guests.is_empty() {
        let where_to = match usable.count() {
            0 => "could start nowhere".to_owned(),
            1 => format!("could start on {} alone", plural::fold_names(&fleet.names(&usable), 1)),
            count => format!("would crowd on these {count}"),
        };
        let without = looked.count(guests.count, "guest");
        let its = plural::number(guests.count, "its", "their");
        let names = guests.names();
        out.push(format!("at {its} next start {without} without a model of {its} own {where_to}: {names}"));
    }
    out.extend(looked.left_out());
    out
}

/// Returns the x86 nodes that can take guests now and have CPU model labels.
fn labelled(fleet: &Fleet) -> Bits {
    let mut nodes = guest_nodes(fleet);
    nodes.intersect(&bearing(fleet, &well_known::SCHEDULABLE));
    let tells = |node: &usize| fleet.labels(*node).any(|(key, _)| Family::of(key) == Family::CpuModel);
    for node in nodes.iter().filter(|node| !tells(node)).collect::<Vec<_>>() {
        nodes.remove(node);
    }
    nodes
}

/// Finds the guests with a VM that sets no CPU model and a policy that gives them none: they get the default at their
/// next start.
fn without_model(world: &World, is_over: Deadline<'_>) -> (NamedGuests, CountProgress) {
    let cluster = &world.cluster;
    let mut named = NamedGuests::default();
    let mut looked = CountProgress::none_of(cluster);
    let mut guests = Guests::new(cluster);
    for vmi in cluster.vmis() {
        if is_over() {
            break;
        }
        looked.at(vmi);
        if states_model(vmi, cluster) != Some(false) || !matches!(vmi.spec.architecture.as_str(), "" | "amd64") {
            continue;
        }
        let runs_on = cluster.fleet.find(&vmi.status.node_name);
        let start = runs_on.is_none().then(|| guests.start(vmi));
        let none = Bits::none(cluster.fleet.len());
        let fitting = start.as_ref().map_or(&none, |start| &start.fitting);
        let policy = policy_of(world, &world.policies, vmi, runs_on, fitting);
        let common = policy.and_then(|policy| policy.common_model.as_ref());
        if common.is_none_or(|common| !common.replaces.contains(&ReplacedMode::Unset)) {
            named.add(title(vmi));
        }
    }
    (named, looked)
}

#[cfg(test)]
mod tests;
