//! The nodes that changed, and how.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Serialize;

use crate::fit::bits::Bits;
use crate::fit::fleet::{Fleet, NodeIndex};
use crate::fit::label::{self, Family};
use crate::snapshot::redact::comparable;
use crate::word::words;

/// A node that was added, removed or changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeChange {
    /// The node.
    pub node: String,
    /// Labels it has now and had not: the key alone if the value is `true`, else `key=value`; sorted.
    pub gained: Vec<String>,
    /// Labels it had and has not now.
    pub lost: Vec<String>,
    /// The kind of change.
    pub change: ChangeKind,
    /// Its host model, from its label.
    pub host_model: Option<String>,
    /// Its host model before; `None` if it did not exist or had none.
    pub host_model_before: Option<String>,
    /// Whether its labels name another vendor or host model than before: its CPU was replaced or renamed. Facts about
    /// the old CPU need not hold for the new one.
    pub other_cpu: bool,
    /// Whether it has another UID than before: it was deleted, and another node has its name.
    pub replaced: bool,
    /// Changes other than labels: `cordoned`, `taint …`, `annotation skip-node`, `not ready`; a state that ended begins
    /// with `no longer `.
    pub also: Vec<String>,
}

words! {
    /// The kind of change of a node or a policy.
    #[derive(Serialize)]
    #[serde(into = "&'static str")]
    ChangeKind {
        /// On the new side only.
        Added = "added",
        /// On the old side only.
        Removed = "removed",
        /// On both sides.
        Changed = "changed",
    }
}

/// A node with frozen labels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Frozen {
    /// The node.
    pub node: String,
    /// Whether they were frozen before.
    pub was_before: bool,
    /// Whether its labels name another CPU than before although they are frozen.
    pub other_cpu: bool,
}

/// Nodes with CPU labels other than those of most nodes with their host model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Unlike {
    /// The nodes.
    pub nodes: Vec<String>,
    /// The host model.
    pub host_model: String,
    /// Number of nodes with equal labels.
    pub alike: usize,
    /// Keys that those nodes have and these lack.
    pub lacks: Vec<String>,
    /// Keys that these nodes have and those lack.
    pub has: Vec<String>,
}

type LabelPair<'f> = (&'f str, &'f str);

/// Returns all nodes that were added, removed or changed, by name; none if a side holds no nodes.
pub(super) fn changes(old: &Fleet, new: &Fleet) -> Vec<NodeChange> {
    // A dump without nodes does not show which came or went.
    if old.is_empty() || new.is_empty() {
        return Vec::new();
    }
    let mut out = Vec::new();
    // The CPU labels of nodes with one profile changed equally.
    let mut of_profiles: HashMap<(NodeIndex, NodeIndex), Labels> = HashMap::new();
    for node in old.in_name_order() {
        let name = old.name(node);
        let Some(now) = new.find(name) else {
            out.push(whole(old, node, ChangeKind::Removed));
            continue;
        };
        let profiles = (old.first_of_profile(node), new.first_of_profile(now));
        let of_profile = of_profiles
            .entry(profiles)
            .or_insert_with(|| Labels::between(old.profile_labels(node), new.profile_labels(now)));
        let mut labels = Labels::between(old.own_labels(node), new.own_labels(now));
        labels.extend(of_profile);
        let also = also(old, node, new, now);
        let replaced = is_replaced(old, node, new, now);
        if labels == Labels::default() && also.is_empty() && !replaced {
            continue;
        }
        let Labels { gained, lost } = labels;
        out.push(NodeChange {
            node: name.to_owned(),
            gained,
            lost,
            change: ChangeKind::Changed,
            host_model: host_model(new, now),
            host_model_before: host_model(old, node),
            other_cpu: has_other_cpu(old, node, new, now),
            replaced,
            also,
        });
    }
    let came = new.in_name_order().into_iter().filter(|node| old.find(new.name(*node)).is_none());
    out.extend(came.map(|node| whole(new, node, ChangeKind::Added)));
    out.sort_by(|one, other| one.node.cmp(&other.node));
    out
}

fn whole(fleet: &Fleet, node: NodeIndex, change: ChangeKind) -> NodeChange {
    let mut labels: Vec<String> = fleet.labels(node).map(shown).collect();
    labels.sort_unstable();
    let (gained, lost) = if change == ChangeKind::Added { (labels, Vec::new()) } else { (Vec::new(), labels) };
    let (node, host_model) = (fleet.name(node).to_owned(), host_model(fleet, node));
    let host_model_before = host_model.clone().filter(|_| change == ChangeKind::Removed);
    NodeChange {
        node,
        gained,
        lost,
        change,
        host_model,
        host_model_before,
        other_cpu: false,
        replaced: false,
        also: Vec::new(),
    }
}

fn host_model(fleet: &Fleet, node: NodeIndex) -> Option<String> {
    fleet.names_under(node, Family::HostModelCpu).first().map(|model| (*model).to_owned())
}

/// Whether the vendor or host model labels name another CPU; only families labelled on both sides are compared.
///
/// A newer libvirt may give a host model another name: the same node with the same features has the same CPU.
fn has_other_cpu(old: &Fleet, was: NodeIndex, new: &Fleet, is: NodeIndex) -> bool {
    let differs = |family| {
        let (before, after) = (old.names_under(was, family), new.names_under(is, family));
        !before.is_empty() && !after.is_empty() && before != after
    };
    let uids = old.uid(was).and_then(comparable).zip(new.uid(is).and_then(comparable));
    let is_same = uids.is_some_and(|(before, after)| before == after);
    let is_renamed = || is_same && old.names_under(was, Family::CpuFeature) == new.names_under(is, Family::CpuFeature);
    differs(Family::CpuVendor) || differs(Family::HostModelCpu) && !is_renamed()
}

/// Whether another node has the name now: both UIDs are known, and they differ.
fn is_replaced(old: &Fleet, was: NodeIndex, new: &Fleet, is: NodeIndex) -> bool {
    let uids = old.uid(was).and_then(comparable).zip(new.uid(is).and_then(comparable));
    uids.is_some_and(|(before, after)| before != after)
}

fn shown((key, value): LabelPair<'_>) -> String {
    if value == "true" { key.to_owned() } else { format!("{key}={value}") }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Labels {
    gained: Vec<String>,
    lost: Vec<String>,
}

impl Labels {
    fn between<'f>(old: impl Iterator<Item = LabelPair<'f>>, new: impl Iterator<Item = LabelPair<'f>>) -> Self {
        let (old, new): (BTreeSet<LabelPair<'f>>, BTreeSet<LabelPair<'f>>) = (old.collect(), new.collect());
        Self {
            gained: new.difference(&old).copied().map(shown).collect(),
            lost: old.difference(&new).copied().map(shown).collect(),
        }
    }

    fn extend(&mut self, other: &Self) {
        self.gained.extend(other.gained.iter().cloned());
        self.lost.extend(other.lost.iter().cloned());
        self.gained.sort_unstable();
        self.lost.sort_unstable();
    }
}

/// Returns the changes of a node other than labels.
fn also(old: &Fleet, was: NodeIndex, new: &Fleet, is: NodeIndex) -> Vec<String> {
    let state = |fleet: &Fleet, node: NodeIndex| -> BTreeSet<String> {
        let taints = fleet.taints(node).iter().filter(|taint| taint.key != label::TAINT_UNSCHEDULABLE);
        let mut out: BTreeSet<String> = taints.map(|taint| format!("taint {taint}")).collect();
        out.extend(fleet.is_cordoned(node).then(|| "cordoned".to_owned()));
        out.extend(fleet.not_ready().contains(node).then(|| "not ready".to_owned()));
        out.extend(fleet.skip_node(node).map(|_| "annotation skip-node".to_owned()));
        out
    };
    let (before, after) = (state(old, was), state(new, is));
    let ended = before.difference(&after).map(|what| format!("no longer {what}"));
    after.difference(&before).cloned().chain(ended).collect()
}

/// Returns the nodes with frozen labels, by name; none if the old side holds no nodes, as their state before is not
/// known.
pub(super) fn frozen(old: &Fleet, new: &Fleet) -> Vec<Frozen> {
    if old.is_empty() {
        return Vec::new();
    }
    let is_frozen = |node: &NodeIndex| new.skip_node(*node).is_some();
    let row = |node: NodeIndex| {
        let name = new.name(node);
        let before = old.find(name);
        Frozen {
            node: name.to_owned(),
            was_before: before
                .is_some_and(|before| old.skip_node(before).is_some() && !is_replaced(old, before, new, node)),
            other_cpu: before.is_some_and(|before| has_other_cpu(old, before, new, node)),
        }
    };
    new.in_name_order().into_iter().filter(is_frozen).map(row).collect()
}

/// Returns the nodes that differ from most others with their host model.
pub(super) fn unlike(fleet: &Fleet) -> Vec<Unlike> {
    let mut out = Vec::new();
    let vendors = fleet.bearers(Family::CpuVendor);
    for (model, nodes) in fleet.bearers(Family::HostModelCpu) {
        for of_vendor in vendors.values() {
            let mut nodes = nodes.clone();
            nodes.intersect(of_vendor);
            out.extend(unlike_of(fleet, model, &nodes));
        }
    }
    out
}

fn unlike_of(fleet: &Fleet, model: &str, nodes: &Bits) -> Vec<Unlike> {
    let mut profiles: BTreeMap<NodeIndex, Vec<NodeIndex>> = BTreeMap::new();
    for node in nodes.iter() {
        profiles.entry(fleet.first_of_profile(node)).or_default().push(node);
    }
    let Some((usual, alike)) = profiles.iter().max_by_key(|(_, nodes)| nodes.len()) else { return Vec::new() };
    let (usual, alike) = (*usual, alike.len());
    // With two nodes, neither is the unusual one.
    if alike < 2 || alike * 2 <= nodes.count() {
        return Vec::new();
    }
    let keys = |node: NodeIndex| -> BTreeSet<&str> {
        let is_compared =
            |key: &str| matches!(Family::of(key), Family::CpuFeature | Family::CpuModel | Family::HostModelRequired);
        fleet.profile_labels(node).map(|(key, _)| key).filter(|key| is_compared(key)).collect()
    };
    let usual_keys = keys(usual);
    let row = |(profile, nodes): (&NodeIndex, &Vec<NodeIndex>)| {
        let own = keys(*profile);
        let names =
            |keys: std::collections::btree_set::Difference<'_, &str>| keys.map(|key| (*key).to_owned()).collect();
        let mut nodes: Vec<String> = nodes.iter().map(|node| fleet.name(*node).to_owned()).collect();
        nodes.sort_unstable();
        Unlike {
            nodes,
            host_model: model.to_owned(),
            alike,
            lacks: names(usual_keys.difference(&own)),
            has: names(own.difference(&usual_keys)),
        }
    };
    let others = profiles.iter().filter(|(profile, _)| **profile != usual);
    others.map(row).filter(|row| !row.lacks.is_empty() || !row.has.is_empty()).collect()
}
