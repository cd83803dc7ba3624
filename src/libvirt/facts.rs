//! The answers that are known: of guests, and of nodes.

use std::collections::{BTreeMap, BTreeSet};

use super::answer::Host;
use super::{Answer, Answers, GuestCpu, Silence};

/// What is known from libvirt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// By namespace and name.
    pub guests: BTreeMap<(String, String), GuestFacts>,
    /// By name.
    pub nodes: BTreeMap<String, NodeFacts>,
}

/// What is known of a running guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestFacts {
    /// The UID of its VMI when it was asked: another start is another CPU. Empty where it is not known.
    pub uid: String,
    /// Its CPU.
    pub cpu: Result<GuestCpu, Silence>,
    /// What it has and would not have with each of these named models.
    pub losses: BTreeMap<String, Vec<String>>,
}

/// What is known of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeFacts {
    /// Its host model.
    pub host: Option<Host>,
    /// What it says of CPUs.
    pub answers: BTreeMap<GuestCpu, Result<Answer, Silence>>,
    /// Why it says nothing of any.
    pub silence: Option<Silence>,
}

impl Facts {
    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.guests.is_empty()
    }

    /// What is known about a guest by namespace, name and UID of its VMI; `None` where its libvirt was not asked, or before it was started anew.
    #[must_use]
    pub fn of(&self, namespace: &str, name: &str, uid: &str) -> Option<Answers> {
        if self.is_empty() {
            return None;
        }
        let guest = self.guests.get(&(namespace.to_owned(), name.to_owned()))?;
        if !guest.uid.is_empty() && !uid.is_empty() && guest.uid != uid {
            return None;
        }
        let of_node = |(name, node): (&String, &NodeFacts)| {
            let known = guest.cpu.as_ref().ok().and_then(|cpu| node.answers.get(cpu).cloned());
            Some((name.clone(), known.or_else(|| node.silence.clone().map(Err))?))
        };
        let host_model = |(name, node): (&String, &NodeFacts)| {
            Some((name.clone(), node.host.as_ref()?.model.as_ref()?.model.clone()))
        };
        let usable = |(name, node): (&String, &NodeFacts)| {
            Some((name.clone(), node.host.as_ref()?.usable.iter().cloned().collect()))
        };
        Some(Answers {
            usable: self.nodes.iter().filter_map(usable).collect(),
            host_models: self.nodes.iter().filter_map(host_model).collect(),
            guest: guest.cpu.clone(),
            nodes: self.nodes.iter().filter_map(of_node).collect(),
            losses: guest.losses.clone(),
        })
    }
}

/// What a guest loses with a model: features it has beyond those, without what every guest is given.
#[must_use]
pub(crate) fn losses(guest: &BTreeSet<String>, model: &BTreeSet<String>) -> Vec<String> {
    // QEMU shows the one to all guests, and KVM gives the other to all named models.
    const GIVEN: [&str; 2] = ["hypervisor", "x2apic"];
    guest.difference(model).filter(|name| !GIVEN.contains(&name.as_str())).cloned().collect()
}
