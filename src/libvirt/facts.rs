//! Known answers of libvirt about guests and nodes.
//!
//! Each answer is kept with its source and time. Answers of several files are merged: if two answers to one question
//! differ, the later one counts and a note names both; if their times do not decide, that is an error.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;

use super::{Accelerator, Answers, GuestCpu, LibvirtAnswer, LibvirtHost, Silence, Usable};
use crate::fit::fleet::{Fleet, NodeIndex};
use crate::fit::label::{self, Family};
use crate::fit::libvirt::{NodeAnswers, Provided, lost_in_qemu_too};
use crate::word::Word as _;

/// Maximum number of notes about differing answers that are listed.
const MAX_NOTES: usize = 5;

mod view;

/// The source of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnswerOrigin {
    /// The time of libvirt's answer; `None` if a file does not state it.
    pub at: Option<Timestamp>,
    /// The file and the object in it; `None` for an answer received in this run.
    pub place: Option<Arc<str>>,
}

impl AnswerOrigin {
    /// Returns the source of an answer received in this run.
    pub(crate) fn now(at: Timestamp) -> Self {
        Self { at: Some(at), place: None }
    }

    /// Whether this answer was saved before this time, in seconds since 1970; 0 is a time that is not known.
    fn is_before(&self, time: i64) -> bool {
        time != 0 && self.place.is_some() && self.at.is_some_and(|at| at.as_second() < time)
    }

    /// Whether this answer is known to be later.
    fn is_later_than(&self, other: &Self) -> bool {
        match (&self.place, &other.place) {
            (None, Some(_)) => true,
            (Some(_), None) => false,
            _ => self.at.zip(other.at).is_some_and(|(one, other)| one > other),
        }
    }
}

impl fmt::Display for AnswerOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.place, self.at) {
            (None, _) => f.write_str("libvirt, asked now"),
            (Some(place), Some(at)) => write!(f, "{place} (asked {at})"),
            (Some(place), None) => write!(f, "{place} (asked at a time that it does not name)"),
        }
    }
}

/// A value with its source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sourced<T> {
    /// The value.
    pub value: T,
    /// The source.
    pub origin: AnswerOrigin,
}

/// An answer, or the reason for its lack, with its source.
pub(crate) type KeptAnswer<T> = Sourced<Result<T, Silence>>;

impl<T> Sourced<T> {
    /// Returns the later of two; the first if neither is known to be later.
    fn later<'k>(&'k self, other: &'k Self) -> &'k Self {
        if other.origin.is_later_than(&self.origin) { other } else { self }
    }

    /// Creates a value with its source.
    pub(crate) fn new(value: T, origin: AnswerOrigin) -> Self {
        Self { value, origin }
    }
}

/// A conflict between two answers to one question of which neither is known to be later: a sentence with both sources.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}: it is not known which answer is newer (askedAt): remove the older one")]
pub(crate) struct Contradiction(String);

/// A machine, as a node's labels describe it: answers apply to a machine, and a node's name may be given to another
/// one.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Machine {
    /// The vendor of the machine's CPU; empty if no label names it.
    pub vendor: String,
    /// The machine's host model; empty if no label names it.
    pub host_model: String,
}

impl Machine {
    /// Returns the machine according to the node's current labels.
    pub(crate) fn of(fleet: &Fleet, node: NodeIndex) -> Self {
        let names = |family| fleet.names_under(node, family).join(",");
        Self { vendor: names(Family::CpuVendor), host_model: names(Family::HostModelCpu) }
    }

    /// Describes the labels that differ from those of another machine, where both are known.
    fn unlike(&self, other: &Self) -> String {
        let labels =
            [("cpu-vendor", &self.vendor, &other.vendor), ("host-model-cpu", &self.host_model, &other.host_model)];
        let unlike = labels.iter().filter(|(_, name, other)| !name.is_empty() && !other.is_empty() && name != other);
        unlike.map(|(label, name, _)| format!("{label} {name}")).collect::<Vec<_>>().join(", ")
    }

    /// Whether both may be one machine with the same host model.
    fn may_be(&self, other: &Self) -> bool {
        let agree = |one: &str, other: &str| one.is_empty() || other.is_empty() || one == other;
        agree(&self.vendor, &other.vendor) && agree(&self.host_model, &other.host_model)
    }
}

/// One start of a guest: each start has a VMI of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct GuestStart<'a> {
    /// The UID of the VMI; empty if it is not known.
    pub uid: &'a str,
    /// The time at which the VMI was created, in seconds since 1970; 0 if it is not known.
    pub created: i64,
}

impl GuestStart<'_> {
    /// Returns the answers about this start. Answers without a UID, and those beside a VMI without one, may be about an
    /// earlier start: those that were saved before the VMI was created are.
    fn find<'s>(&self, starts: &'s BTreeMap<String, GuestFacts>) -> Result<&'s GuestFacts, Silence> {
        if let Some(known) = starts.get(self.uid).filter(|_| !self.uid.is_empty()) {
            return Ok(known);
        }
        let may_be = |(uid, known): &(&String, &GuestFacts)| {
            (self.uid.is_empty() || uid.is_empty()) && !known.cpu.origin.is_before(self.created)
        };
        let mut known = starts.iter().filter(may_be).map(|(_, known)| known);
        match (known.next(), known.next()) {
            (Some(only), None) => Ok(only),
            (Some(_), Some(_)) => Err(Silence::SeveralStarts),
            (None, _) => Err(Silence::StartedAgain),
        }
    }

    /// Whether an answer beside those of this start is about an earlier one.
    fn is_after(&self, starts: &BTreeMap<String, GuestFacts>, origin: &AnswerOrigin) -> bool {
        (self.uid.is_empty() || !starts.contains_key(self.uid)) && origin.is_before(self.created)
    }
}

/// The known answers of libvirt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LibvirtFacts {
    /// Answers about guests by namespace and name, then by the UID of the VMI at the time of the query, because another
    /// start has another CPU. The UID is empty if it is not known.
    pub guests: BTreeMap<(String, String), BTreeMap<String, GuestFacts>>,
    /// Answers of nodes by name, then by the machine of that name.
    pub nodes: BTreeMap<String, BTreeMap<Machine, NodeFacts>>,
    /// Notes on answers that later ones replaced, one line each.
    replaced: Vec<String>,
    view: view::ViewMemo,
}

/// The known answers about a running guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestFacts {
    /// The guest's CPU.
    pub cpu: KeptAnswer<GuestCpu>,
    /// The features that the guest has and would lose with each of these named models.
    pub losses: BTreeMap<String, KeptAnswer<Vec<String>>>,
}

/// The known answers of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeFacts {
    /// The node's host model and usable models.
    pub hosts: BTreeMap<Accelerator, KeptAnswer<LibvirtHost>>,
    /// The node's answers about CPUs.
    pub answers: BTreeMap<GuestCpu, KeptAnswer<LibvirtAnswer>>,
    /// The reason why it answered nothing, at the last query.
    pub silence: Option<Sourced<Silence>>,
}

impl LibvirtFacts {
    /// Whether an answer was read from a file.
    fn is_saved(&self) -> bool {
        let guests = self.guests.values().flat_map(BTreeMap::values).map(|guest| &guest.cpu.origin);
        let nodes = self.nodes.values().flat_map(BTreeMap::values);
        let answers = |node: &NodeFacts| {
            node.answers.values().any(|answer| answer.origin.place.is_some())
                || node.hosts.values().any(|host| host.origin.place.is_some())
        };
        guests.into_iter().any(|origin| origin.place.is_some())
            || nodes
                .into_iter()
                .any(|node| answers(node) || node.silence.iter().any(|kept| kept.origin.place.is_some()))
    }

    /// Whether nothing is known.
    pub(crate) fn is_empty(&self) -> bool {
        self.guests.is_empty() && self.nodes.is_empty()
    }

    /// Returns the names of nodes whose libvirt lists named models, usable or not.
    pub(crate) fn listing(&self, fleet: &Fleet) -> BTreeSet<String> {
        self.hosts(fleet, |host| host.models.is_some())
    }

    /// Returns the names of nodes whose libvirt describes their host model, and so whether they have a feature.
    pub(crate) fn describing(&self, fleet: &Fleet) -> BTreeSet<String> {
        self.hosts(fleet, |host| host.model.is_some())
    }

    fn hosts(&self, fleet: &Fleet, is: impl Fn(&LibvirtHost) -> bool) -> BTreeSet<String> {
        let view = self.view.of(self, fleet);
        let hosts = Accelerator::ALL.iter().map(|accelerator| view.host(*accelerator)).collect::<Vec<_>>();
        let found = hosts.iter().flat_map(|hosts| hosts.iter()).filter(|(_, host)| is(host));
        found.filter(|(name, _)| fleet.find(name).is_some()).map(|(name, _)| name.clone()).collect()
    }

    /// Returns the answers about a guest, by namespace, name and start, on the nodes of a fleet; `None` if libvirt was
    /// not queried at all.
    pub(crate) fn of(&self, namespace: &str, name: &str, start: GuestStart<'_>, fleet: &Fleet) -> Option<Answers> {
        if self.is_empty() {
            return None;
        }
        let view = self.view.of(self, fleet);
        let starts = self.guests.get(&(namespace.to_owned(), name.to_owned()));
        let known = starts.ok_or(Silence::NotSaved).and_then(|starts| start.find(starts));
        let guest = known.clone().and_then(|known| known.cpu.value.clone());
        let is_of_earlier = |origin| starts.is_some_and(|starts| start.is_after(starts, origin));
        let losses = known.iter().flat_map(|known| &known.losses).map(|(model, lost)| {
            let lost = match &lost.value {
                _ if is_of_earlier(&lost.origin) => Err(Silence::StartedAgain),
                Ok(features) => Ok(lost_in_qemu_too(model, features)),
                Err(silence) => Err(silence.clone()),
            };
            (model.clone(), lost)
        });
        let accelerator = guest.as_ref().map_or(Accelerator::Kvm, |guest| guest.accelerator);
        Some(Answers {
            hosts: view.host(accelerator),
            silent_hosts: view.silent(accelerator),
            nodes: guest.as_ref().map(|guest| view.about(self, guest)).unwrap_or_default(),
            losses: losses.collect(),
            own_node: None,
            saved: view.saved,
            guest,
        })
    }

    /// Returns saved answers as those about a guest that forbids these features. Older files list them as disabled:
    /// what a node refuses of such a CPU it refuses of the guest's too, and where it agrees, it was not asked whether
    /// it provides the features.
    pub(crate) fn forbidding(&self, mut asked: Answers, forbidden: &BTreeSet<&str>, fleet: &Fleet) -> Answers {
        let Ok(guest) = &mut asked.guest else { return asked };
        let known: Vec<String> =
            guest.cpu.disable.iter().filter(|name| forbidden.contains(name.as_str())).cloned().collect();
        if known.is_empty() || !asked.saved {
            return asked;
        }
        guest.cpu.disable.retain(|name| !known.contains(name));
        guest.cpu.forbid.extend(known.iter().cloned());
        let mut nodes = NodeAnswers::clone(&self.view.of(self, fleet).about(self, guest));
        let lacks = |node: &String, name: &String| {
            let host = asked.hosts.get(node);
            host.is_some_and(|host| host.provides(&format!("{}{name}", label::CPU_FEATURE)) == Provided::No)
        };
        for (node, answer) in asked.nodes.iter() {
            let is_about_it = match answer {
                Ok(answer) => !answer.agrees() || known.iter().all(|name| lacks(node, name)),
                Err(_) => true,
            };
            let answer = if is_about_it { answer.clone() } else { Err(Silence::NotSaved) };
            if nodes.get(node).is_none_or(Result::is_err) {
                nodes.insert(node.clone(), answer);
            }
        }
        asked.nodes = Arc::new(nodes);
        asked
    }

    /// Adds the answers about a guest, by namespace, name and UID.
    ///
    /// # Errors
    ///
    /// They contradict known answers.
    pub(crate) fn add_guest(
        &mut self,
        key: (String, String),
        uid: String,
        new: GuestFacts,
    ) -> Result<(), Contradiction> {
        self.view = view::ViewMemo::default();
        let title = format!("the CPU of {}/{}", key.0, key.1);
        let replaced = &mut self.replaced;
        let GuestFacts { cpu, losses } = new;
        let starts = self.guests.entry(key).or_default();
        let known = match starts.get_mut(&uid) {
            None => starts.entry(uid).or_insert(GuestFacts { cpu, losses: BTreeMap::new() }),
            Some(known) => {
                if is_taken(&title, &known.cpu, &cpu, replaced)? {
                    known.cpu = cpu;
                }
                known
            }
        };
        for (model, lost) in losses {
            let about = format!("{title} beside {model}");
            let before = known.losses.get(&model);
            if before.map_or(Ok(true), |before| is_taken(&about, before, &lost, replaced))? {
                known.losses.insert(model, lost);
            }
        }
        Ok(())
    }

    /// Replaces the features that a guest would lose with models.
    pub(crate) fn set_losses(
        &mut self,
        key: &(String, String),
        uid: &str,
        losses: BTreeMap<String, KeptAnswer<Vec<String>>>,
    ) {
        if let Some(guest) = self.guests.get_mut(key).and_then(|starts| starts.get_mut(uid)) {
            guest.losses = losses;
        }
    }

    /// Returns the CPU of a guest, by namespace and name, and UID of its VMI.
    pub(crate) fn cpu(&self, key: &(String, String), uid: &str) -> Option<&GuestCpu> {
        self.guests.get(key)?.get(uid)?.cpu.value.as_ref().ok()
    }

    /// Adds the answers of a node, for the machine that had its name.
    ///
    /// # Errors
    ///
    /// They contradict known answers.
    pub(crate) fn add_node(
        &mut self,
        name: &str,
        machine: &Machine,
        hosts: impl IntoIterator<Item = (Accelerator, KeptAnswer<LibvirtHost>)>,
        answers: impl IntoIterator<Item = (GuestCpu, KeptAnswer<LibvirtAnswer>)>,
        silence: Option<Sourced<Silence>>,
    ) -> Result<(), Contradiction> {
        self.view = view::ViewMemo::default();
        let mut machines =
            Machines { all: self.nodes.entry(name.to_owned()).or_default(), machine, replaced: &mut self.replaced };
        machines.all.entry(machine.clone()).or_default();
        for (accelerator, host) in hosts {
            let about = format!("the host model of node {name} ({})", accelerator.as_str());
            machines.add(&about, accelerator, host, |facts| &mut facts.hosts)?;
        }
        for (cpu, answer) in answers {
            let about = format!("node {name} about the CPU {} ({})", cpu.cpu, cpu.accelerator.as_str());
            machines.add(&about, cpu, answer, |facts| &mut facts.answers)?;
        }
        let facts = machines.all.entry(machine.clone()).or_default();
        if silence
            .as_ref()
            .is_some_and(|new| facts.silence.as_ref().is_none_or(|old| new.origin.is_later_than(&old.origin)))
        {
            facts.silence = silence;
        }
        // A node that answered later is no longer silent.
        let answered = facts.answers.values().filter(|answer| answer.value.is_ok());
        let last = answered.reduce(Sourced::later);
        if facts.silence.as_ref().zip(last).is_some_and(|(silence, last)| !silence.origin.is_later_than(&last.origin)) {
            facts.silence = None;
        }
        Ok(())
    }

    /// Adds all answers of `other`.
    ///
    /// # Errors
    ///
    /// They contradict known answers.
    pub(crate) fn add_all(&mut self, other: &Self) -> Result<(), Contradiction> {
        for (key, starts) in &other.guests {
            for (uid, guest) in starts {
                self.add_guest(key.clone(), uid.clone(), guest.clone())?;
            }
        }
        for (name, machines) in &other.nodes {
            for (machine, facts) in machines {
                let NodeFacts { hosts, answers, silence } = facts.clone();
                self.add_node(name, machine, hosts, answers, silence)?;
            }
        }
        Ok(())
    }

    /// Takes the notes on replaced answers, in a limited number of lines.
    pub(crate) fn take_notes(&mut self) -> Vec<String> {
        let mut out = std::mem::take(&mut self.replaced);
        let more = out.len().saturating_sub(MAX_NOTES);
        out.truncate(MAX_NOTES);
        if more > 0 {
            out.push(format!("{more} more answers of libvirt gave way to later ones"));
        }
        out
    }
}

/// The machines of one name, and the one that an answer is about.
struct Machines<'f> {
    all: &'f mut BTreeMap<Machine, NodeFacts>,
    machine: &'f Machine,
    replaced: &'f mut Vec<String>,
}

impl Machines<'_> {
    /// Adds an answer, unless a known answer of possibly the same machine takes precedence.
    fn add<K: Ord, T: Words>(
        &mut self,
        about: &str,
        key: K,
        new: KeptAnswer<T>,
        table: impl Fn(&mut NodeFacts) -> &mut BTreeMap<K, KeptAnswer<T>>,
    ) -> Result<(), Contradiction> {
        let mut counts = true;
        for (_, facts) in self.all.iter_mut().filter(|(of, _)| of.may_be(self.machine)) {
            let known = table(facts);
            let Some(before) = known.get(&key) else { continue };
            if is_taken(about, before, &new, self.replaced)? {
                known.remove(&key);
            } else {
                counts = false;
            }
        }
        if counts {
            table(self.all.entry(self.machine.clone()).or_default()).insert(key, new);
        }
        Ok(())
    }
}

/// A value that can be described in a few words.
trait Words: PartialEq {
    fn words(&self) -> String;

    /// Whether an answer that is not weak takes precedence, whichever is later.
    fn is_weak(&self) -> bool {
        false
    }
}

impl Words for GuestCpu {
    fn words(&self) -> String {
        format!("{} ({})", self.cpu, self.accelerator.as_str())
    }
}

impl Words for LibvirtAnswer {
    /// The libvirt of an outdated launcher may know less than that of a migration's target.
    fn is_weak(&self) -> bool {
        matches!(self, Self::Incompatible(why) if why.by_outdated)
    }

    fn words(&self) -> String {
        match self {
            Self::Identical | Self::Superset => self.as_str().to_owned(),
            Self::Incompatible(why) => {
                let missing = why.missing.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
                let more = if why.missing.len() > 3 { ", …" } else { "" };
                format!("incompatible ({missing}{more}{})", why.reason)
            }
        }
    }
}

impl Words for LibvirtHost {
    fn words(&self) -> String {
        let model = self.model.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string);
        let Some(models) = &self.models else { return model };
        let usable = models.values().filter(|usable| **usable == Usable::Yes).count();
        format!("{model}, {usable} usable models")
    }
}

impl Words for Vec<String> {
    fn words(&self) -> String {
        format!("{} features are lost", self.len())
    }
}

/// Whether a new answer replaces a known one. An answer takes precedence over a missing one.
fn is_taken<T: Words>(
    about: &str,
    known: &KeptAnswer<T>,
    new: &KeptAnswer<T>,
    replaced: &mut Vec<String>,
) -> Result<bool, Contradiction> {
    let is_later = new.origin.is_later_than(&known.origin);
    let (Ok(before), Ok(after)) = (&known.value, &new.value) else {
        return Ok(match (known.value.is_ok(), new.value.is_ok()) {
            (true, false) => false,
            (false, true) => true,
            _ => is_later,
        });
    };
    if before == after {
        return Ok(is_later);
    }
    if before.is_weak() != after.is_weak() {
        return Ok(before.is_weak());
    }
    if !is_later && !known.origin.is_later_than(&new.origin) {
        let (one, other) = (&known.origin, &new.origin);
        let words = format!("{about}: {one} says {}, and {other} says {}", before.words(), after.words());
        return Err(Contradiction(words));
    }
    let ((old, old_words), (later, words)) = if is_later {
        ((&known.origin, before.words()), (&new.origin, after.words()))
    } else {
        ((&new.origin, after.words()), (&known.origin, before.words()))
    };
    replaced.push(format!("{about}: {later} says {words}, and counts; before that, {old} said {old_words}"));
    Ok(is_later)
}

#[cfg(test)]
mod tests;
