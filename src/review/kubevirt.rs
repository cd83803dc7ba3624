//! Edits of the KubeVirt resource: of `configuration.cpuModel`, which affects the start of guests without a model of
//! their own, of `configuration.obsoleteCPUModels` (`obsolete`), which removes labels from nodes, and of all else that
//! is read of the configuration: every guest is judged by the old and by the new one.

mod obsolete;

use crate::admission::response::Decision;
use crate::answers::diff::{KubeVirtChange, of_configuration};
use crate::answers::guest_state::GuestStates;
use crate::answers::pool::{LeftOut, bearing, guest_nodes, next_higher};
use crate::answers::{CountProgress, Deadline, NamedGuests};
use crate::fit::bits::Bits;
use crate::fit::command::{Command, CpuModel, HYPERCONVERGED, Json, Name, Namespace, Script};
use crate::fit::fleet::Fleet;
use crate::fit::label::{self, Family};
use crate::fit::plural;
use crate::fit::shown::Shown;
use crate::fit::subject::CpuMode;
use crate::judge::all_guests;
use crate::kubevirt::defaults::hyperconverged;
use crate::kubevirt::wire::KubeVirt;
use crate::well_known;
use crate::world::World;

/// Warns a user who changes a part of the configuration that affects where guests run. No warnings if none changes.
pub(crate) fn update(world: &World, before: &KubeVirt, after: &KubeVirt, is_over: Deadline<'_>) -> Decision {
    let mut lines = obsolete::lines(world, before, after, other_lines(before, after), is_over);
    lines.extend(default_model(world, before, after, is_over));
    lines.extend(obsolete::started_again(world, before, after, is_over));
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
    Decision::admit_with(lines.into_iter().map(|line| format!("KubeVirt {name}: {line}")).collect::<Vec<_>>())
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

/// The settings with lines of their own.
const APART: [&str; 3] = ["cpuModel", "obsoleteCPUModels", "minCPUModel"];

/// Returns a line for each other changed setting with a known effect on guests, in the words of `diff`.
fn other_lines(before: &KubeVirt, after: &KubeVirt) -> Vec<String> {
    const VALUE_CHARS: usize = 60;
    let mut changes = of_configuration(&before.spec.configuration, &after.spec.configuration);
    changes.retain(|change| !APART.contains(&change.setting.as_str()));
    let line = |KubeVirtChange { setting, before, after, means }: KubeVirtChange| {
        // The text of a gate names it: the whole list is long.
        if setting.ends_with("FeatureGates") || setting.ends_with("featureGates") {
            return format!("{setting}: {means}");
        }
        let shown = |value: Option<String>| value.map(|value| Shown::within(&value, VALUE_CHARS).to_string());
        let is = shown(after).map_or_else(|| "is no longer set".to_owned(), |value| format!("is {value}"));
        let was = shown(before).map(|value| format!(" (was {value})")).unwrap_or_default();
        format!("{setting} {is}{was}: {means}")
    };
    changes.into_iter().map(line).collect()
}

fn default_model(world: &World, before: &KubeVirt, after: &KubeVirt, is_over: Deadline<'_>) -> Vec<String> {
    let [old, new] = [before, after].map(|kubevirt| kubevirt.spec.configuration.cpu_model.as_str());
    if old == new {
        return Vec::new();
    }
    let takers = Takers::of(world, is_over);
    match CpuMode::parse(new) {
        CpuMode::Named(model) => named(world, &model, &takers),
        CpuMode::Unset | CpuMode::HostModel | CpuMode::HostModelOrPassthrough | CpuMode::Unread => vec![format!(
            "cpuModel host-model: at its next start a guest without a model takes the CPU of the node it starts on, \
             and keeps it{}",
            takers.concerned()
        )],
        CpuMode::HostPassthrough => vec![format!(
            "cpuModel host-passthrough: no label shows where a guest with it can migrate to; only like hardware \
             takes it{}",
            takers.concerned()
        )],
    }
}

/// The architectures whose guests take `cpuModel`. Guests of arm64 always run with host-passthrough
/// (`setDefaultArm64CPUModel` of `pkg/defaults/arm64.go`).
const WITH_MODELS: [&str; 2] = ["amd64", "s390x"];

/// The guests, running and stopped, that take the default CPU model at their next start.
struct Takers {
    /// By architecture, as in [`WITH_MODELS`].
    guests: [NamedGuests; WITH_MODELS.len()],
    looked: CountProgress,
}

impl Takers {
    fn of(world: &World, is_over: Deadline<'_>) -> Self {
        let mut out = Self { guests: Default::default(), looked: CountProgress::none_of_all(&world.cluster) };
        let mut states = GuestStates::new(world);
        for guest in all_guests(&world.cluster) {
            if is_over() {
                break;
            }
            out.looked.guest(guest);
            let architecture = states.takes_default(guest);
            let at = architecture.and_then(|taken| WITH_MODELS.iter().position(|known| *known == taken));
            if let Some(at) = at {
                out.guests[at].add(guest.title());
            }
        }
        out
    }

    /// Returns ` (3 guests)`; empty without guests.
    fn concerned(&self) -> String {
        let count: usize = self.guests.iter().map(|guests| guests.count).sum();
        if count == 0 { String::new() } else { format!(" ({})", self.looked.count(count, "guest")) }
    }
}

/// Returns the warnings about a named default model, for the nodes of each architecture.
fn named(world: &World, model: &str, takers: &Takers) -> Vec<String> {
    let fleet: &Fleet = &world.cluster.fleet;
    let nodes = WITH_MODELS.map(|architecture| labelled(fleet, architecture));
    let is_mixed = nodes.iter().all(|nodes| !nodes.is_empty());
    let mut out = Vec::new();
    for ((nodes, guests), architecture) in nodes.iter().zip(&takers.guests).zip(WITH_MODELS) {
        if !nodes.is_empty() {
            // Where nodes of several architectures have models, the lines say which nodes they count.
            let of = if is_mixed { format!("{architecture} ") } else { String::new() };
            out.extend(named_on(world, model, nodes, guests, &takers.looked, &of));
        }
    }
    if nodes.iter().all(Bits::is_empty) {
        out.push(format!("no node has a CPU model label: where cpuModel {model} is usable is not known"));
    }
    // A count that was broken off is noted where a line counts guests.
    let counts = takers.guests.iter().any(|guests| !guests.is_empty());
    out.extend(takers.looked.left_out().filter(|_| counts));
    out
}

/// Returns the warnings about a named default model, for nodes of one architecture, which `of` names.
fn named_on(
    world: &World,
    model: &str,
    nodes: &Bits,
    guests: &NamedGuests,
    looked: &CountProgress,
    of: &str,
) -> Vec<String> {
    let fleet: &Fleet = &world.cluster.fleet;
    let on = |prefix: &str| {
        let mut found = fleet.bearing(&format!("{prefix}{model}"), "true");
        found.intersect(nodes);
        found
    };
    let usable = on(label::CPU_MODEL);
    let known = on(label::CPU_MODEL_MIGRATION);
    let LeftOut { nodes: left_out, of: total, tainted, is_usable_on_tainted } = LeftOut::of(fleet, nodes, &usable);
    let mut out = Vec::new();
    let names = plural::fold_names(&fleet.names(&left_out), 3);
    let counted = plural::counted(total, &format!("{of}node"), &format!("{of}nodes"));
    match total - left_out.count() {
        0 if known.is_empty() => out.push(format!("cpuModel {model} is known on 0 of {counted}, usable on none")),
        0 => out.push(format!(
            "cpuModel {model} is known on {} of {counted}, usable on 0 of {total}: cpu-model-migration labels do \
             not mean usable",
            known.count()
        )),
        count if count < total => {
            out.push(format!("cpuModel {model} is usable on {count} of {counted}, not on {names}{tainted}"));
        }
        _ => {
            let on = if of.is_empty() { String::new() } else { format!("on {of}nodes, ") };
            let higher = next_higher(&world.cluster, &usable, model);
            return higher.map(|line| format!("cpuModel {model}: {on}{line}")).into_iter().collect();
        }
    }
    if !guests.is_empty() {
        let where_to = match usable.count() {
            _ if is_usable_on_tainted => "would crowd on the nodes that can run it".to_owned(),
            0 => "could start nowhere".to_owned(),
            1 => format!("could start on {} alone", plural::fold_names(&fleet.names(&usable), 1)),
            count => format!("would crowd on these {count}"),
        };
        let without = looked.count(guests.count, &format!("{of}guest"));
        let its = plural::number(guests.count, "its", "their");
        let names = guests.names();
        out.push(format!("at {its} next start {without} without a model of {its} own {where_to}: {names}"));
    }
    out
}

/// Returns the nodes of an architecture that can take guests now and have CPU model labels.
fn labelled(fleet: &Fleet, architecture: &str) -> Bits {
    let mut nodes = guest_nodes(fleet, architecture);
    nodes.intersect(&bearing(fleet, &well_known::SCHEDULABLE));
    let is_labelled = |node: &usize| fleet.labels(*node).any(|(key, _)| Family::of(key) == Family::CpuModel);
    for node in nodes.iter().filter(|node| !is_labelled(node)).collect::<Vec<_>>() {
        nodes.remove(node);
    }
    nodes
}

#[cfg(test)]
mod tests;
