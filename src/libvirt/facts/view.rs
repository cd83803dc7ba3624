//! The answers for the nodes of one fleet, computed once for all guests.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::{KeptAnswer, LibvirtFacts, Machine, NodeFacts, Sourced};
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

/// The answers of the nodes of a fleet.
pub(super) struct View {
    /// The machines, by current labels, of the nodes with known answers.
    machines: BTreeMap<String, Machine>,
    hosts: BTreeMap<Accelerator, Arc<LibvirtHosts>>,
    about: Mutex<BTreeMap<GuestCpu, Arc<NodeAnswers>>>,
    /// Whether answers come from files.
    pub(super) saved: bool,
}

impl View {
    fn of(facts: &LibvirtFacts, fleet: &Fleet) -> Self {
        let machine = |name: &String| fleet.find(name).map(|node| Machine::of(fleet, node)).unwrap_or_default();
        let machines: BTreeMap<String, Machine> =
            facts.nodes.keys().map(|name| (name.clone(), machine(name))).collect();
        let host = |accelerator| {
            let known = facts.nodes.iter().filter_map(|(name, all)| {
                let known = are(all, &machines[name]).filter_map(|facts| facts.hosts.get(&accelerator));
                Some((name.clone(), latest(known)?.value.as_ref().ok()?.clone()))
            });
            (accelerator, Arc::new(known.collect()))
        };
        let hosts = Accelerator::ALL.iter().copied().map(host).collect();
        Self { machines, hosts, about: Mutex::default(), saved: facts.is_saved() }
    }

    /// Returns the nodes' host models and usable models for guests with this accelerator.
    pub(super) fn host(&self, accelerator: Accelerator) -> Arc<LibvirtHosts> {
        self.hosts.get(&accelerator).cloned().unwrap_or_default()
    }

    /// Returns the nodes' answers about a CPU.
    pub(super) fn about(&self, facts: &LibvirtFacts, cpu: &GuestCpu) -> Arc<NodeAnswers> {
        let mut about = self.about.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = about.get(cpu) {
            return Arc::clone(known);
        }
        let of_node = |(name, all): (&String, &BTreeMap<Machine, NodeFacts>)| {
            Some((name.clone(), said(all, self.machines.get(name)?, cpu)?))
        };
        let found: Arc<NodeAnswers> = Arc::new(facts.nodes.iter().filter_map(of_node).collect());
        about.insert(cpu.clone(), Arc::clone(&found));
        found
    }
}

/// Returns the answers that apply to the node's current machine.
fn are<'f>(all: &'f BTreeMap<Machine, NodeFacts>, now: &'f Machine) -> impl Iterator<Item = &'f NodeFacts> {
    all.iter().filter(|(machine, _)| machine.may_be(now)).map(|(_, facts)| facts)
}

/// Returns the answer of a node's libvirt about a CPU; `None` if it was not queried.
fn said(all: &BTreeMap<Machine, NodeFacts>, now: &Machine, cpu: &GuestCpu) -> Option<Result<LibvirtAnswer, Silence>> {
    let known = are(all, now).filter_map(|facts| facts.answers.get(cpu));
    let silence = || {
        let silences = are(all, now).filter_map(|facts| facts.silence.as_ref());
        silences.reduce(Sourced::later).map(|kept| Err(kept.value.clone()))
    };
    let other_machine = || {
        let was = all.iter().find(|(_, facts)| facts.answers.contains_key(cpu))?.0;
        Some(Err(Silence::OtherMachine { saved: was.unlike(now), now: now.unlike(was) }))
    };
    latest(known).map(|kept| kept.value.clone()).or_else(silence).or_else(other_machine)
}

/// Returns the latest answer, or else the latest missing answer.
fn latest<'k, T>(all: impl Iterator<Item = &'k KeptAnswer<T>>) -> Option<&'k Sourced<Result<T, Silence>>>
where
    T: 'k,
{
    all.reduce(|one, two| match (one.value.is_ok(), two.value.is_ok()) {
        (true, false) => one,
        (false, true) => two,
        _ => one.later(two),
    })
}
