//! Edits of nodes: the guests that they strand or free, and the guests that no longer match the node they run on.
//!
//! Only the edited node changes, so every guest is judged on that node alone, before and after; the rest of the fleet
//! is counted only for guests for which the edit makes a difference.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use crate::admission::response::Decision;
use crate::answers::{CountProgress, Deadline, Demand, Guests, NamedGuests, predict};
use crate::fit::command::{Command, Invalid, LabelKey, LabelValue, Name};
use crate::fit::fleet::{Fleet, Requirement};
use crate::fit::label::{self, Family};
use crate::fit::node::Node;
use crate::fit::placement::Placement;
use crate::fit::plural;
use crate::kubevirt::cluster::Cluster;
use crate::kubevirt::migration;
use crate::kubevirt::subject::title;
use crate::kubevirt::wire::Vmi;
use crate::say;
use crate::world::World;

/// The effect of an edit of a node on running guests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Consequences {
    /// Guests with a launcher that the node no longer matches: the kubelet would fail them at its next start.
    pub own_node_unmet: NamedGuests,
    /// The requirements for its labels that it no longer meets.
    pub lost: BTreeSet<Requirement>,
    /// Guests that had a migration target and have none now.
    pub stranded: NamedGuests,
    /// Guests that are left with one target.
    pub fragile: NamedGuests,
    /// Guests that had no target and have one now.
    pub freed: NamedGuests,
    /// The progress of the count.
    pub looked: CountProgress,
}

/// Warns a user who edits a node about the effects on guests. No warnings if it affects none.
pub(crate) fn update(world: &World, before: &Node, after: &Node, is_over: Deadline<'_>) -> Decision {
    let [before, after] = [before, after].map(settled);
    Decision::admit_with(lines(&before, &after, &consequences(&world.cluster, &before, &after, is_over)))
}

/// Returns the node as it will be a moment later: the node controller sets the taint of cordoned nodes by the cordon.
fn settled(node: &Node) -> Node {
    let mut node = node.clone();
    node.taints.retain(|taint| taint.key != label::TAINT_UNSCHEDULABLE);
    node
}

/// Whether an edit can affect any guest.
fn matters(before: &Node, after: &Node) -> bool {
    before.labels != after.labels || before.taints != after.taints || before.cordoned != after.cordoned
}

/// A fleet with one node, to test whether it takes a pod.
struct Alone(Fleet);

impl Alone {
    fn new(node: &Node) -> Self {
        Self(Fleet::new(vec![node.clone()]))
    }

    fn takes(&self, placement: &Placement<'_>) -> bool {
        !self.0.look_up(placement).passes().fitting.is_empty()
    }

    /// Returns what a running pod requires of the node's labels and does not find.
    fn unmet(&self, placement: &Placement<'_>) -> BTreeSet<Requirement> {
        self.0.look_up(placement).refusal(0).unmet()
    }
}

/// Computes the effect of an edit.
pub(crate) fn consequences(cluster: &Cluster, before: &Node, after: &Node, is_over: Deadline<'_>) -> Consequences {
    let mut out = Consequences::default();
    if !matters(before, after) {
        return out;
    }
    let labels_changed = before.labels != after.labels;
    let edit = NodeEdit { cluster, before: Alone::new(before), after: Alone::new(after), labels: [before, after] };
    let mut guests = Guests::new(cluster);
    let mut changes: HashMap<*const Demand, OnceCell<(bool, bool)>> = HashMap::new();
    out.looked = CountProgress::none_of(cluster);
    // Guests on the node come first: they may lose more than a migration target.
    let on_it = |vmi: &&Vmi| vmi.status.node_name == before.name;
    for vmi in cluster.vmis().filter(on_it) {
        if is_over() {
            return out;
        }
        out.looked.at(vmi);
        if labels_changed {
            edit.at_home(vmi, &mut out);
        }
    }
    for vmi in cluster.vmis().filter(|vmi| !on_it(vmi)) {
        if is_over() {
            return out;
        }
        out.looked.at(vmi);
        let Some(demand) = guests.demand(vmi).filter(|_| migration::not_migratable(vmi).is_none()) else { continue };
        let Ok(placement) = &demand.placement else { continue };
        let takes = || (edit.before.takes(placement), edit.after.takes(placement));
        let change = changes.entry(Rc::as_ptr(&demand)).or_default();
        let (did, does) = *change.get_or_init(takes);
        if did != does {
            let others = edit.others(&demand, vmi);
            note(vmi, others + usize::from(did), others + usize::from(does), &mut out);
        }
    }
    out
}

struct NodeEdit<'c> {
    cluster: &'c Cluster,
    before: Alone,
    after: Alone,
    labels: [&'c Node; 2],
}

impl NodeEdit<'_> {
    /// Counts the nodes that take a guest, without the edited one and its own.
    fn others(&self, demand: &Demand, vmi: &Vmi) -> usize {
        let fleet = &self.cluster.fleet;
        let edited = fleet.find(&self.labels[0].name);
        let edited = edited.is_some_and(|node| demand.fitting(fleet).contains(node));
        demand.targets(fleet, fleet.find(&vmi.status.node_name)) - usize::from(edited)
    }

    /// Judges a guest that runs on the edited node: whether the node still matches its launcher, and its migration
    /// targets.
    fn at_home(&self, vmi: &Vmi, out: &mut Consequences) {
        if let Some(pod) = self.cluster.current_launcher(vmi) {
            let (had, has) = (self.before.unmet(&pod.placement), self.after.unmet(&pod.placement));
            if !has.is_subset(&had) {
                out.own_node_unmet.add(title(&vmi.metadata));
                out.lost.extend(has.difference(&had).cloned());
            }
        }
        if !migration::runs(vmi) || migration::not_migratable(vmi).is_some() {
            return;
        }
        let fleet = &self.cluster.fleet;
        let targets = self.labels.map(|node| {
            let Ok(placement) = predict(vmi, self.cluster, Some(&node.labels)) else { return 0 };
            let mut fitting = fleet.look_up(&placement).passes().fitting;
            if let Some(own) = fleet.find(&node.name) {
                fitting.remove(own);
            }
            fitting.count()
        });
        note(vmi, targets[0], targets[1], out);
    }
}

fn note(vmi: &Vmi, before: usize, after: usize, out: &mut Consequences) {
    match (before, after) {
        (1.., 0) => out.stranded.add(title(&vmi.metadata)),
        (2.., 1) => out.fragile.add(title(&vmi.metadata)),
        (0, 1..) => out.freed.add(title(&vmi.metadata)),
        _ => {}
    }
}

fn lines(before: &Node, after: &Node, found: &Consequences) -> Vec<String> {
    let Consequences { own_node_unmet, lost, stranded, fragile, freed, looked } = found;
    let node = &after.name;
    let edit = match (before.cordoned, after.cordoned) {
        (false, true) => format!("cordoning {node}"),
        (true, false) => format!("uncordoning {node}"),
        _ => format!("this edit of {node}"),
    };
    let mut out = Vec::new();
    if !own_node_unmet.is_empty() {
        let entries = lost.iter().filter_map(|of| match of {
            Requirement::Entry(key, value) => Some((key.as_str(), value.as_str())),
            Requirement::Condition(_) => None,
        });
        let conditions = lost.iter().filter_map(|of| match of {
            Requirement::Entry(..) => None,
            Requirement::Condition(condition) => Some(condition.to_string()),
        });
        let entries = plural::fold(entries, 3);
        let lost = Some(entries).filter(|entries| !entries.is_empty()).into_iter().chain(conditions);
        let lost = lost.collect::<Vec<_>>().join(", ");
        let (ask, them) = if own_node_unmet.count == 1 { ("asks", "it") } else { ("ask", "them") };
        out.push(format!(
            "{} on {node} ({}) {ask} for {lost}, which it will no longer meet: a restart of the kubelet there would \
             fail {them}",
            looked.count(own_node_unmet.count, "guest"),
            own_node_unmet.names()
        ));
    }
    let many = |named: &NamedGuests| looked.count(named.count, "guest");
    if !stranded.is_empty() {
        out.push(format!("{edit} leaves {} no node to migrate to: {}", many(stranded), stranded.names()));
    }
    if !fragile.is_empty() {
        out.push(format!("{edit} leaves {} one node to migrate to: {}", many(fragile), fragile.names()));
    }
    if !freed.is_empty() {
        out.push(format!("{edit} frees {} that could migrate nowhere: {}", many(freed), freed.names()));
    }
    if !(own_node_unmet.is_empty() && stranded.is_empty()) {
        out.extend(undo(before, after));
    }
    if out.is_empty() {
        out.extend(looked.left_out().map(|line| format!("{node}: {line}")));
    }
    out
}

/// Returns a note that reverts the edit, if one short command does.
fn undo(before: &Node, after: &Node) -> Option<String> {
    let node = &after.name;
    let name = Name::new(node).ok();
    if before.labels == after.labels {
        let uncordon = Command::kubectl(["uncordon"]).arg(name.filter(|_| !before.cordoned && after.cordoned)?);
        return undo_line(node, &uncordon);
    }
    let changed = changed(&before.labels, &after.labels);
    // The labeller writes the vendor of the hardware and removes no other one: `nodeLabellerLabels` of
    // `pkg/virt-handler/node-labeller/node_labeller.go` does not list `CPUModelVendorLabel`.
    let is_undone = |(key, had): &(&str, Option<&str>)| match Family::of(key) {
        Family::CpuVendor => *had == Some("true"),
        family => family.is_labeller(),
    };
    if changed.iter().all(is_undone) && after.skip_node.is_none() {
        return Some(format!(
            "{node}: virt-handler's node-labeller undoes this within 7 minutes: the node has no skip-node"
        ));
    }
    let pair = |&(key, value): &(&str, Option<&str>)| {
        let key = LabelKey::new(key)?;
        Ok(match value {
            Some(value) => key.set_to(&LabelValue::new(value)?),
            None => key.removed(),
        })
    };
    let pairs = changed.iter().map(pair).collect::<Result<Vec<_>, Invalid>>().ok()?;
    let label = Command::kubectl(["label", "node"]).arg(name?).arg("--overwrite");
    undo_line(node, &label.args(pairs)).filter(|_| changed.len() <= 2)
}

fn undo_line(node: &str, command: &Command) -> Option<String> {
    let line = say::first_with_room(node, [format!("to undo: {command}")])?;
    Some(format!("{node}: {line}"))
}

/// Returns the labels that differ, with their old values.
fn changed<'n>(
    before: &'n BTreeMap<String, String>,
    after: &'n BTreeMap<String, String>,
) -> Vec<(&'n str, Option<&'n str>)> {
    let keys: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let differs = keys.into_iter().filter(|&key| before.get(key) != after.get(key));
    differs.map(|key| (key.as_str(), before.get(key).map(String::as_str))).collect()
}

#[cfg(test)]
mod tests;
