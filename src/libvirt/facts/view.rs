//! The answers for the nodes of one fleet, computed once for all guests.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::{KeptAnswer, LibvirtFacts, Machine, NodeFacts, Sourced, Words};
use crate::fit::fleet::Fleet;
use crate::fit::libvirt::{LibvirtHosts, NodeAnswers};
use crate::fit::memo::Memo;
use crate::libvirt::{Accelerator, GuestCpu, LibvirtAnswer, Silence};
use crate::word::Word;

/// A cache of the view of the last fleet. It is ignored in comparisons, and is not copied.
#[derive(Default)]
pub(super) struct ViewMemo(Memo<View>);

impl ViewMemo {
    pub(super) fn of(&self, facts: &LibvirtFacts, fleet: &Fleet) -> Arc<View> {
        self.0.of(fleet.id(), || View::of(facts, fleet))
    }
}

impl Clone for ViewMemo {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for ViewMemo {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for ViewMemo {}

impl fmt::Debug for ViewMemo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Memory")
    }
}

/// A node as it is now.
#[derive(Default)]
struct NodeNow {
    /// The machine, by its labels.
    machine: Machine,
    /// The time at which the node was added, in seconds since 1970; 0 if it is not known.
    created: i64,
}

impl NodeNow {
    fn of(fleet: &Fleet, name: &str) -> Self {
        let found = fleet.find(name);
        found.map(|node| Self { machine: Machine::of(fleet, node), created: fleet.created(node) }).unwrap_or_default()
    }

    /// Returns the values of the machines that may be this node, without those saved before the node was added.
    fn are<'f, T: 'f>(
        &self,
        all: &'f BTreeMap<Machine, NodeFacts>,
        of: impl Fn(&'f NodeFacts) -> Option<&'f Sourced<T>>,
    ) -> impl Iterator<Item = &'f Sourced<T>> {
        let machines = all.iter().filter(|(machine, _)| machine.may_be(&self.machine));
        machines.filter_map(move |(_, facts)| of(facts)).filter(|known| !known.origin.is_before(self.created))
    }
}

/// The answers of the nodes of a fleet.
pub(super) struct View {
    /// The nodes with known answers as they are now.
    nodes: BTreeMap<String, NodeNow>,
    hosts: BTreeMap<Accelerator, Arc<LibvirtHosts>>,
    /// Why nodes gave no description.
    silent: BTreeMap<Accelerator, Arc<BTreeMap<String, Silence>>>,
    about: Mutex<BTreeMap<GuestCpu, Arc<NodeAnswers>>>,
    /// Whether answers come from files.
    pub(super) saved: bool,
}

impl View {
    fn of(facts: &LibvirtFacts, fleet: &Fleet) -> Self {
        let nodes: BTreeMap<String, NodeNow> =
            facts.nodes.keys().map(|name| (name.clone(), NodeNow::of(fleet, name))).collect();
        let (mut hosts, mut silent) = (BTreeMap::new(), BTreeMap::new());
        for &accelerator in Accelerator::ALL {
            let (mut known, mut unknown) = (LibvirtHosts::new(), BTreeMap::new());
            for (name, all) in &facts.nodes {
                let of_node = nodes[name].are(all, |facts| facts.hosts.get(&accelerator));
                match latest(of_node).map(|kept| kept.value.clone()) {
                    Some(Ok(host)) => drop(known.insert(name.clone(), host)),
                    Some(Err(silence)) => drop(unknown.insert(name.clone(), silence)),
                    None => {}
                }
            }
            hosts.insert(accelerator, Arc::new(known));
            silent.insert(accelerator, Arc::new(unknown));
        }
        Self { nodes, hosts, silent, about: Mutex::default(), saved: facts.is_saved() }
    }

    /// Returns the nodes' host models and usable models for guests with this accelerator.
    pub(super) fn host(&self, accelerator: Accelerator) -> Arc<LibvirtHosts> {
        self.hosts.get(&accelerator).cloned().unwrap_or_default()
    }

    /// Returns why nodes gave no description for guests with this accelerator.
    pub(super) fn silent(&self, accelerator: Accelerator) -> Arc<BTreeMap<String, Silence>> {
        self.silent.get(&accelerator).cloned().unwrap_or_default()
    }

    /// Returns the nodes' answers about a CPU.
    pub(super) fn about(&self, facts: &LibvirtFacts, cpu: &GuestCpu) -> Arc<NodeAnswers> {
        let mut about = self.about.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = about.get(cpu) {
            return Arc::clone(known);
        }
        let of_node = |(name, all): (&String, &BTreeMap<Machine, NodeFacts>)| {
            Some((name.clone(), said(all, self.nodes.get(name)?, cpu)?))
        };
        let found: Arc<NodeAnswers> = Arc::new(facts.nodes.iter().filter_map(of_node).collect());
        about.insert(cpu.clone(), Arc::clone(&found));
        found
    }
}

/// Returns the answer of a node's libvirt about a CPU; `None` if it was not queried.
fn said(all: &BTreeMap<Machine, NodeFacts>, now: &NodeNow, cpu: &GuestCpu) -> Option<Result<LibvirtAnswer, Silence>> {
    let known = now.are(all, |facts| facts.answers.get(cpu));
    let silence = || {
        let silences = now.are(all, |facts| facts.silence.as_ref());
        silences.reduce(Sourced::later).map(|kept| Err(kept.value.clone()))
    };
    let earlier = || {
        let mut asked = all.iter().filter(|(_, facts)| facts.answers.contains_key(cpu)).map(|(machine, _)| machine);
        let (was, now) = (asked.next()?, &now.machine);
        if was.may_be(now) || asked.any(|was| was.may_be(now)) {
            return Some(Err(Silence::NodeAdded));
        }
        Some(Err(Silence::OtherMachine { saved: was.unlike(now), now: now.unlike(was) }))
    };
    latest(known).map(|kept| kept.value.clone()).or_else(silence).or_else(earlier)
}

/// Returns the latest answer that is not weak, or else the latest weak one, or else the latest missing answer.
fn latest<'k, T: Words + 'k>(all: impl Iterator<Item = &'k KeptAnswer<T>>) -> Option<&'k KeptAnswer<T>> {
    let rank = |kept: &KeptAnswer<T>| kept.value.as_ref().map_or(0, |value| if value.is_weak() { 1 } else { 2 });
    all.reduce(|one, two| match rank(one).cmp(&rank(two)) {
        Ordering::Greater => one,
        Ordering::Less => two,
        Ordering::Equal => one.later(two),
    })
}
