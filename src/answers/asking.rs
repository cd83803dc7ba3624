//! Whom to ask about a running guest's CPU: its own launcher, and one on each node that labels alone keep it off, or nothing.

use std::collections::{BTreeMap, BTreeSet};

use crate::fit::fleet::NodeIndex;
use crate::fit::judgement::Depth;
use crate::fit::label::{self, Family};
use crate::fit::remedy::Action;
use crate::fit::subject::CpuMode;
use crate::judge::{self, Case, Manifest};
use crate::kubevirt::migration;
use crate::kubevirt::wire::{Vmi, Vmim};
use crate::policy::UserName;
use crate::world::World;

/// A launcher pod: namespace and name.
pub(crate) type LauncherName = (String, String);

/// How many launchers of a node are tried, each of another namespace: who may not exec in one may in another.
const TRIES: usize = 3;

/// What is to be asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The guests.
    pub guests: Vec<PlannedGuest>,
    /// The launchers of each node that comes into question; none where none runs there.
    pub launchers: BTreeMap<String, Vec<LauncherName>>,
}

/// A guest to be asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PlannedGuest {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The UID of its VMI.
    pub uid: String,
    /// The pod it runs in.
    pub launcher: LauncherName,
    /// The node it runs on.
    pub node: String,
    /// The nodes to ask about it.
    pub nodes: Vec<String>,
}

/// Whom to ask about these guests. Guests that do not run are left out, and those whose launcher is not known.
pub(crate) fn plan<'v>(world: &World, guests: impl IntoIterator<Item = &'v Vmi>) -> Plan {
    let cluster = &world.cluster;
    let mut out = Plan::default();
    let mut by_node: BTreeMap<&str, Vec<LauncherName>> = BTreeMap::new();
    for vmi in cluster.vmis().filter(|vmi| migration::runs(vmi)) {
        if let Some(launcher) = cluster.current_launcher(vmi) {
            let name = (launcher.namespace.clone(), launcher.name.clone());
            by_node.entry(&launcher.node).or_default().push(name);
        }
    }
    for vmi in guests {
        let Some(launcher) = cluster.current_launcher(vmi).filter(|_| migration::runs(vmi)) else { continue };
        let nodes = nodes_to_ask(world, vmi);
        for node in &nodes {
            out.launchers.entry(node.clone()).or_insert_with(|| {
                let there = by_node.get(node.as_str()).map(Vec::as_slice).unwrap_or_default();
                some_of(there, &vmi.metadata.namespace)
            });
        }
        out.guests.push(PlannedGuest {
            namespace: vmi.metadata.namespace.clone(),
            name: vmi.metadata.name.clone(),
            uid: vmi.metadata.uid.clone(),
            launcher: (launcher.namespace.clone(), launcher.name.clone()),
            node: launcher.node.clone(),
            nodes,
        });
    }
    out
}

/// One launcher of each namespace, that of the guest first.
fn some_of(launchers: &[LauncherName], namespace: &str) -> Vec<LauncherName> {
    let mut out: Vec<LauncherName> = Vec::new();
    let own = launchers.iter().filter(|(of, _)| of == namespace);
    for launcher in own.chain(launchers) {
        if out.len() < TRIES && !out.iter().any(|(of, _)| *of == launcher.0) {
            out.push(launcher.clone());
        }
    }
    out
}

/// The named models that a guest's CPU is compared with, other than its own: the one that a restart is offered with, its
/// policy's common model, and the one that is recommended for its node.
#[must_use]
pub(crate) fn candidates(
    world: &World,
    guest: &PlannedGuest,
    recommended: &BTreeMap<NodeIndex, String>,
) -> BTreeSet<String> {
    let manifest = migration_of(&guest.namespace, &guest.name);
    let Some(case) = judge::judge(world, &manifest, &UserName::from(""), Depth::Full) else { return BTreeSet::new() };
    let node = world.cluster.fleet.find(&guest.node);
    let of_policy = case.policy.as_ref().and_then(|policy| policy.common_model.as_ref());
    let models = [
        offered(&case),
        of_policy.map(|common| common.name.as_str()),
        node.and_then(|node| recommended.get(&node)).map(String::as_str),
    ];
    let start = case.judged.subject.restart.as_ref();
    let has_it = |model: &&str| start.is_some_and(|start| start.mode == CpuMode::Named((*model).to_owned()));
    models.into_iter().flatten().filter(|model| !has_it(model)).map(str::to_owned).collect()
}

/// The common model that a guest would be restarted with, were it to migrate now and had too few nodes.
fn offered<'c>(case: &'c Case<'_>) -> Option<&'c str> {
    let mut remedies = case.verdict.findings.iter().flat_map(|finding| &finding.remedies);
    remedies.find_map(|remedy| match &remedy.action {
        Action::UseModel(found) => Some(found.model.as_str()),
        _ => None,
    })
}

fn migration_of(namespace: &str, name: &str) -> Manifest<'static> {
    let mut vmim = Vmim::default();
    namespace.clone_into(&mut vmim.metadata.namespace);
    name.clone_into(&mut vmim.spec.vmi_name);
    Manifest::Migration(Box::new(vmim))
}

/// The nodes that take the guest but for labels of the CPU, a cordon, taints or virt-handler: by name.
fn nodes_to_ask(world: &World, vmi: &Vmi) -> Vec<String> {
    let judged = migration_of(&vmi.metadata.namespace, &vmi.metadata.name)
        .subject(world)
        .filter(|judged| judged.not_judged.is_none());
    let Some(judged) = judged else { return Vec::new() };
    let (subject, fleet) = (&judged.subject, &world.cluster.fleet);
    let lookup = fleet.look_up(&subject.placement);
    let may_come_right = |key: &str| Family::of(key).is_cpu() || Family::of(key) == Family::Schedulable;
    let is_asked = |node: &NodeIndex| {
        let refusal = lookup.refusal(*node);
        let is_foreign = subject.placement.get(label::ARCH).zip(fleet.label(*node, label::ARCH));
        subject.source() != Some(fleet.name(*node))
            && is_foreign.is_none_or(|(wanted, has)| wanted == has)
            && refusal.affinity.is_empty()
            && !refusal.other_node
            && refusal.missing.iter().all(|(key, _)| may_come_right(key))
    };
    fleet.in_name_order().into_iter().filter(is_asked).map(|node| fleet.name(node).to_owned()).collect()
}
