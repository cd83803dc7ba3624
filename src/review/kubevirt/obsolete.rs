//! Edits of `obsoleteCPUModels`: the labels that are removed. And the guests that such an edit, or one of
//! other settings, leaves worse off.

use std::sync::Arc;

use crate::answers::guest_state::GuestStates;
use crate::answers::{CountProgress, Deadline, NamedGuests};
use crate::fit::fleet::Fleet;
use crate::fit::label::{self, Family};
use crate::fit::node::Node;
use crate::fit::plural;
use crate::fit::verdict::Impact;
use crate::judge::{GuestOf, all_guests};
use crate::kubevirt::cluster::ClusterObject;
use crate::kubevirt::obsolete::relabelled;
use crate::kubevirt::wire::{Configuration, KubeVirt};
use crate::world::World;

/// Returns the warnings about an edit of `obsoleteCPUModels` or `minCPUModel`, and `others`, those about other
/// settings, with the effect on guests; empty if nothing of it changes.
pub(super) fn lines(
    world: &World,
    before: &KubeVirt,
    after: &KubeVirt,
    others: Vec<String>,
    is_over: Deadline<'_>,
) -> Vec<String> {
    let [old, new] = [before, after].map(|kubevirt| &kubevirt.spec.configuration.obsolete_cpu_models);
    let has_others = differ_in_others(before, after);
    let mut out = others;
    if old != new || has_others {
        let Some((outcome, changed)) = predicted(world, after, is_over) else {
            out.push(
                "the effect on nodes and guests was not counted in time; afterwards: kubectl cpufit audit".to_owned(),
            );
            return out;
        };
        let added: Vec<&str> = new.keys().filter(|name| !old.contains_key(*name)).map(String::as_str).collect();
        if old != new {
            out.extend(withheld(world, &changed, &added));
        }
        if has_others || old != new && (!changed.is_empty() || has_other_model(before, after)) {
            out.extend(effects(&worse(world, &outcome, is_over)));
        }
    }
    if old != new {
        let taken: Vec<&str> = old.keys().filter(|name| !new.contains_key(*name)).map(String::as_str).collect();
        if !taken.is_empty() && !new.is_empty() {
            let (models, its) = (plural::fold_names(&taken, 4), plural::number(taken.len(), "its", "their"));
            out.push(format!(
                "obsoleteCPUModels no longer withholds {models}: {its} labels return within 3 minutes on each node that \
                 can run it, and no guest is restarted"
            ));
        }
        if old.is_empty() && !new.is_empty() {
            out.push(
                "obsoleteCPUModels takes the place of KubeVirt's built-in list: old models such as Conroe and qemu64 are \
                 labelled again where nodes can run them"
                    .to_owned(),
            );
        }
    }
    let [old, new] = [before, after].map(|kubevirt| &kubevirt.spec.configuration.min_cpu_model);
    if old != new && !new.is_empty() {
        out.push(
            "minCPUModel changes no label of any node: KubeVirt's labeller does not read it since 0.56".to_owned(),
        );
    }
    out
}

/// Whether an edit changes more of what is read of the configuration than the settings with lines of their own.
fn differ_in_others(before: &KubeVirt, after: &KubeVirt) -> bool {
    let own = &before.spec.configuration;
    let others = Configuration {
        cpu_model: own.cpu_model.clone(),
        obsolete_cpu_models: own.obsolete_cpu_models.clone(),
        min_cpu_model: own.min_cpu_model.clone(),
        ..after.spec.configuration.clone()
    };
    others != *own
}

/// Returns the cluster after the labeller acted on the edit, and the nodes with changed labels; `None` if the deadline
/// passed first.
fn predicted(world: &World, after: &KubeVirt, is_over: Deadline<'_>) -> Option<(World, Vec<Node>)> {
    let mut cluster = world.cluster.clone();
    let fleet: &Fleet = &world.cluster.fleet;
    let mut changed: Vec<Node> = Vec::new();
    for node in 0..fleet.len() {
        if is_over() {
            return None;
        }
        changed.extend(relabelled(&fleet.node(node), &after.spec.configuration, world.cluster.release.release()));
    }
    cluster.put(ClusterObject::KubeVirt(Box::new(after.clone())));
    if !changed.is_empty() {
        cluster.set_fleet(Arc::new(fleet.with(changed.clone())));
    }
    Some((World { cluster, policies: world.policies.clone() }, changed))
}

/// The guests that the edit leaves worse off.
#[derive(Default)]
struct Worse {
    /// Guests with a launcher that their own node no longer matches: the kubelet would fail them at its next start.
    own_node_unmet: NamedGuests,
    /// Running guests without a migration target any more.
    pinned: NamedGuests,
    /// Guests that find a node for their next start, and no migration target any more from some start node.
    pinned_then: NamedGuests,
    /// Guests without a node for their next start any more.
    no_start: NamedGuests,
    looked: CountProgress,
}

/// Whether an edit changes the default CPU model.
fn has_other_model(before: &KubeVirt, after: &KubeVirt) -> bool {
    before.spec.configuration.cpu_model != after.spec.configuration.cpu_model
}

/// Returns the line about the guests without a migration target after their next start, for an edit of the default CPU
/// model alone: where more is edited, [`lines`] names them.
pub(super) fn started_again(
    world: &World,
    before: &KubeVirt,
    after: &KubeVirt,
    is_over: Deadline<'_>,
) -> Option<String> {
    let [old, new] = [before, after].map(|kubevirt| &kubevirt.spec.configuration.obsolete_cpu_models);
    if old != new || differ_in_others(before, after) || !has_other_model(before, after) {
        return None;
    }
    let (outcome, _) = predicted(world, after, is_over)?;
    pinned_then(&worse(world, &outcome, is_over))
}

/// Returns `started again, 2 guests may end on a node from which they can migrate nowhere (shop/db, shop/web)`.
fn pinned_then(worse: &Worse) -> Option<String> {
    let Worse { pinned_then, looked, .. } = worse;
    let they = plural::number(pinned_then.count, "it", "they");
    (!pinned_then.is_empty()).then(|| {
        format!(
            "started again, {} may end on a node from which {they} can migrate nowhere ({})",
            looked.count(pinned_then.count, "guest"),
            pinned_then.names()
        )
    })
}

/// Returns the lines about the labels that go; `changed`: the nodes with changed labels.
fn withheld(world: &World, changed: &[Node], added: &[&str]) -> Vec<String> {
    let old = &world.cluster.fleet;
    let mut out = Vec::new();
    let has = |model: &&str| {
        let key = |prefix: &str| format!("{prefix}{model}");
        !old.bearing(&key(label::CPU_MODEL), "true").is_empty()
            || !old.bearing(&key(label::CPU_MODEL_MIGRATION), "true").is_empty()
    };
    let gone: Vec<&str> = added.iter().copied().filter(|model| has(model)).collect();
    let names = |is: &dyn Fn(&Node) -> bool| {
        let mut names: Vec<&str> = changed.iter().filter(|node| is(node)).map(|node| node.name.as_str()).collect();
        names.sort_unstable();
        (names.len(), plural::fold_names(&names, 3))
    };
    let loses_model = |node: &Node| {
        let had = old.find(&node.name).into_iter().flat_map(|node| old.labels(node));
        had.into_iter().any(|(key, _)| Family::of(key).is_model() && !node.labels.contains_key(key))
    };
    let (count, nodes) = names(&loses_model);
    if count > 0 && !gone.is_empty() {
        out.push(format!(
            "obsoleteCPUModels withholds {}: within 3 minutes {} labels go from {count} of {} ({nodes})",
            plural::fold_names(&gone, 4),
            plural::number(gone.len(), "its", "their"),
            plural::nodes(old.len())
        ));
    }
    let was_obsolete = |node: &Node| {
        old.find(&node.name).is_some_and(|node| old.labels(node).any(|(key, _)| label::is_obsolete_host_model(key)))
    };
    let (count, nodes) = names(&|node| node.labels.contains_key(label::OBSOLETE_HOST_MODEL) && !was_obsolete(node));
    if count > 0 {
        let (is, them) = (plural::number(count, "is", "are"), plural::number(count, "it", "them"));
        out.push(format!(
            "{nodes} {is} then of an obsolete host model: guests with host-model neither start on nor move to {them}"
        ));
    }
    out
}

/// Returns the lines about the guests that are worse off; empty if none is.
fn effects(worse: &Worse) -> Vec<String> {
    let mut out = Vec::new();
    let Worse { own_node_unmet, pinned, no_start, looked, .. } = worse;
    let many = |named: &NamedGuests| looked.count(named.count, "guest");
    if !own_node_unmet.is_empty() {
        let number = |one, many| plural::number(own_node_unmet.count, one, many);
        let (fits, their, them) = (number("fits", "fit"), number("its", "their"), number("it", "them"));
        out.push(format!(
            "then {} no longer {fits} {their} own node ({}): a restart of the kubelet there would fail {them}",
            many(own_node_unmet),
            own_node_unmet.names()
        ));
    }
    let pinned = (!pinned.is_empty()).then(|| format!("{} could migrate nowhere ({})", many(pinned), pinned.names()));
    let no_start =
        (!no_start.is_empty()).then(|| format!("{} could not start again ({})", many(no_start), no_start.names()));
    out.extend(
        pinned
            .into_iter()
            .chain(no_start)
            .reduce(|one, other| format!("{one}, {other}"))
            .map(|line| format!("then {line}")),
    );
    out.extend(pinned_then(worse));
    out.extend(looked.left_out());
    out
}

/// Compares the state of each guest before and after.
fn worse(before: &World, after: &World, is_over: Deadline<'_>) -> Worse {
    let mut out = Worse { looked: CountProgress::none_of_all(&before.cluster), ..Worse::default() };
    let mut states = [GuestStates::new(before), GuestStates::new(after)];
    for guest in all_guests(&before.cluster) {
        if is_over() {
            break;
        }
        out.looked.guest(guest);
        let [was, is] = &mut states;
        let is_new = |was: Option<Impact>, is: Option<Impact>, what: Impact| is == Some(what) && was != Some(what);
        let next = [was.at_next_start(guest), is.at_next_start(guest)].map(|next| next.state.impact());
        if is_new(next[0], next[1], Impact::Unschedulable) {
            out.no_start.add(guest.title());
        }
        if is_new(next[0], next[1], Impact::Pinned) && next[0] != Some(Impact::Unschedulable) {
            out.pinned_then.add(guest.title());
        }
        let GuestOf::Vmi(vmi) = guest else { continue };
        let now = [was.now(vmi), is.now(vmi)].map(|now| now.impact());
        if is_new(now[0], now[1], Impact::Pinned) {
            out.pinned.add(guest.title());
        }
        if before.cluster.unmet(vmi).is_empty() && !after.cluster.unmet(vmi).is_empty() {
            out.own_node_unmet.add(guest.title());
        }
    }
    out
}
