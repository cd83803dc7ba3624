//! Answers in files: objects `LibvirtGuest` and `LibvirtNode`, which may be part of a dump.
//!
//! A file holds all answers about one guest or of one node ([`files`]); its name depends only on theirs. Fields are
//! only ever added. Files are checked like a container's answer when they are read, because a dump is untrusted.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::answer::{HOST_UNKNOWN, bounded, comparable, name, reason, unknown_in, words};
use super::facts::{AnswerOrigin, Contradiction, GuestFacts, KeptAnswer, Machine, NodeFacts, Sourced};
use super::{Accelerator, Cpu, GuestCpu, Incompatible, LibvirtAnswer, LibvirtFacts, LibvirtHost, Silence, Usable};
use crate::fnv::fnv1a;
use crate::policy::API_VERSION;
use crate::word::Word;

/// The kind of objects with answers about a guest.
pub(crate) const GUEST: &str = "LibvirtGuest";
/// The kind of objects with answers of a node.
pub(crate) const NODE: &str = "LibvirtNode";
/// Maximum bytes of one object that are read.
const MAX_OBJECT_BYTES: usize = 4 << 20;
/// Approximate maximum bytes of answers written into one object; further ones go into another object of the same file.
const MAX_WRITTEN_BYTES: usize = 1 << 20;
/// Maximum bytes of a file's name, which file systems limit to 255.
const FILE_NAME: usize = 200;

#[derive(Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Meta {
    #[serde(skip_serializing_if = "String::is_empty")]
    namespace: String,
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    uid: String,
}

impl Meta {
    fn is_named(&self) -> Result<(), String> {
        if self.name.is_empty() { Err("metadata.name is missing".to_owned()) } else { Ok(()) }
    }
}

/// A CPU, and the accelerator that runs it.
#[derive(Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct SavedCpu {
    model: String,
    vendor: Option<String>,
    require: BTreeSet<String>,
    disable: BTreeSet<String>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    forbid: BTreeSet<String>,
}

/// The reason why there is no answer: as a sentence, which is all that older files have, and as code and detail.
#[derive(Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct SavedSilence {
    #[serde(skip_serializing_if = "Option::is_none")]
    unanswered: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unanswered_code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unanswered_detail: Option<String>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct SavedGuest {
    metadata: Meta,
    #[serde(skip_serializing_if = "Option::is_none")]
    asked_at: Option<String>,
    accelerator: String,
    cpu: Option<SavedCpu>,
    #[serde(flatten)]
    silence: SavedSilence,
    losses: BTreeMap<String, Vec<String>>,
    /// The models about which libvirt was asked without an answer.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    losses_unanswered: BTreeMap<String, SavedSilence>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    losses_asked_at: BTreeMap<String, String>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct SavedMachine {
    vendor: String,
    host_model: String,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct SavedNode {
    metadata: Meta,
    /// The node's labels at the time of the query.
    #[serde(skip_serializing_if = "Option::is_none")]
    machine: Option<SavedMachine>,
    /// The accelerator to which this host model and these usable models apply.
    #[serde(skip_serializing_if = "Option::is_none")]
    accelerator: Option<String>,
    host_model: Option<SavedCpu>,
    usable_models: Option<Vec<String>>,
    /// Unusable models with the features that block them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    unusable_models: BTreeMap<String, Vec<String>>,
    /// The models that libvirt lists as neither usable nor unusable.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    other_models: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host_asked_at: Option<String>,
    /// Why a query for the host model and the models had no answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    host_unanswered: Option<SavedSilence>,
    answers: Vec<SavedAnswer>,
    #[serde(flatten)]
    silence: SavedSilence,
    /// The time of a query without an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    asked_at: Option<String>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct SavedAnswer {
    accelerator: String,
    cpu: SavedCpu,
    #[serde(skip_serializing_if = "Option::is_none")]
    asked_at: Option<String>,
    answer: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    missing: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    reason: String,
    /// Whether only outdated launchers could be asked.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    outdated_launcher: bool,
    #[serde(flatten)]
    silence: SavedSilence,
}

impl From<&Cpu> for SavedCpu {
    fn from(cpu: &Cpu) -> Self {
        let Cpu { model, vendor, require, disable, forbid } = cpu.clone();
        Self { model, vendor, require, disable, forbid }
    }
}

impl SavedCpu {
    fn read(self) -> Result<Cpu, String> {
        bounded("a CPU", self.features().count())?;
        self.features().chain(&self.vendor).chain([&self.model]).try_for_each(|text| checked(text).map(drop))?;
        let Self { model, vendor, require, disable, forbid } = self;
        let cpu = Cpu { model, vendor, require, disable, forbid };
        match cpu.contradiction() {
            Some(fault) => Err(format!("{fault}; leave it in one")),
            None => Ok(cpu),
        }
    }

    fn of_guest(self, accelerator: &str) -> Result<GuestCpu, String> {
        Ok(GuestCpu { accelerator: accelerated(accelerator)?, cpu: self.read()? })
    }

    /// Returns the approximate size in bytes.
    fn size(&self) -> usize {
        self.features().map(|name| name.len() + 24).sum::<usize>() + 256
    }

    fn features(&self) -> impl Iterator<Item = &String> {
        self.require.iter().chain(&self.disable).chain(&self.forbid)
    }
}

impl SavedSilence {
    fn of(silence: Option<&Silence>) -> Self {
        let unanswered = silence.map(ToString::to_string);
        let unanswered_code = silence.map(|silence| silence.code().to_owned());
        let detail = silence.map(Silence::detail).filter(|detail| !detail.is_empty());
        Self { unanswered, unanswered_code, unanswered_detail: detail }
    }

    /// Whether the file states a reason.
    fn is_stated(&self) -> bool {
        self.unanswered.is_some() || self.unanswered_code.is_some() || self.unanswered_detail.is_some()
    }

    /// Returns the reason; `None` if the file states none.
    fn read(self) -> Option<Silence> {
        let Self { unanswered, unanswered_code: code, unanswered_detail: detail } = self;
        let known = code.as_ref().and_then(|code| Silence::of_code(code, &words(&detail.unwrap_or_default())));
        known.or_else(|| {
            let Some(sentence) = unanswered else { return code.map(|_| no_answer()) };
            // Older files have only the sentence.
            let is_of_old = |silence: &Silence| silence.to_string() == sentence;
            let known = [Silence::NoLauncher, Silence::NoShell].into_iter().find(is_of_old);
            Some(known.unwrap_or_else(|| Silence::Recorded(words(&sentence))))
        })
    }
}

impl From<&Machine> for SavedMachine {
    fn from(machine: &Machine) -> Self {
        let Machine { vendor, host_model } = machine.clone();
        Self { vendor, host_model }
    }
}

impl SavedMachine {
    fn read(self) -> Result<Machine, String> {
        for names in [&self.vendor, &self.host_model] {
            names.split(',').filter(|name| !name.is_empty()).map(checked).collect::<Result<Vec<_>, _>>()?;
        }
        let Self { vendor, host_model } = self;
        Ok(Machine { vendor, host_model })
    }
}

fn accelerated(text: &str) -> Result<Accelerator, String> {
    Accelerator::of(text).ok_or_else(|| format!("accelerator: expected kvm or qemu, found {}", shown(text)))
}

fn shown(text: &str) -> String {
    words(&Value::from(text).to_string())
}

fn checked(text: &str) -> Result<String, String> {
    name(text).map_err(|silence| silence.to_string())
}

fn checked_all(texts: &[String]) -> Result<Vec<String>, String> {
    bounded("a list", texts.len())?;
    texts.iter().map(|text| checked(text)).collect()
}

/// Returns the source: the object's place, and the time of libvirt's answer.
fn origin(place: &Arc<str>, at: Option<&str>) -> Result<AnswerOrigin, String> {
    let read = |text: &str| {
        text.parse::<Timestamp>().map_err(|_| format!("askedAt: expected a time in RFC 3339, found {}", shown(text)))
    };
    Ok(AnswerOrigin { at: at.map(read).transpose()?, place: Some(Arc::clone(place)) })
}

fn written(origin: &AnswerOrigin) -> Option<String> {
    origin.at.map(|at| at.to_string())
}

/// Returns the file name of a guest or a node: letters, digits, `-` and `.`, with other bytes escaped by `%`.
fn file_name(parts: &[&str]) -> String {
    let mut out = String::new();
    for (number, part) in parts.iter().enumerate() {
        let is_last = number + 1 == parts.len();
        if number > 0 {
            out.push('.');
        }
        for byte in part.bytes() {
            match byte {
                b'a'..=b'z' | b'0'..=b'9' | b'-' => out.push(byte.into()),
                // Only objects' names have dots, so the parts before end at the first one.
                b'.' if is_last => out.push('.'),
                other => {
                    let _ = write!(out, "%{other:02X}");
                }
            }
        }
    }
    if out.len() > FILE_NAME {
        let hash = fnv1a(&parts.join("/"));
        out.truncate(FILE_NAME);
        let _ = write!(out, "~{hash:016x}");
    }
    out + ".json"
}

/// Whether a file has a name that [`files`] assigns.
pub(crate) fn is_file_name(name: &str) -> bool {
    let Some(name) = name.strip_suffix(".json") else { return false };
    let has_name = |name: &str| !name.is_empty();
    match name.split_once('.') {
        Some(("node", name)) => has_name(name),
        // The part before a guest's name is its namespace, which has no dots.
        Some(("guest", rest)) => rest.split_once('.').is_some_and(|(_, name)| has_name(name)) || rest.contains('~'),
        _ => false,
    }
}

/// Returns the names of the files of all guests and nodes with known answers.
pub(crate) fn names(facts: &LibvirtFacts) -> BTreeSet<String> {
    let guests = facts.guests.keys().map(|(namespace, name)| file_name(&["guest", namespace, name]));
    guests.chain(facts.nodes.keys().map(|name| file_name(&["node", name]))).collect()
}

/// Returns the answers as files: name and content, one for each guest and each node. Of a guest they contain only its
/// CPU.
pub(crate) fn files(facts: &LibvirtFacts) -> Vec<(String, Value)> {
    let guests = facts.guests.iter().map(|((namespace, name), starts)| {
        let objects = starts.iter().map(|(uid, guest)| of_guest(namespace, name, uid, guest));
        (file_name(&["guest", namespace, name]), one_or_list(objects.collect()))
    });
    let nodes = facts.nodes.iter().filter_map(|(name, machines)| {
        let objects: Vec<Value> = machines.iter().flat_map(|(machine, node)| of_node(name, machine, node)).collect();
        (!objects.is_empty()).then(|| (file_name(&["node", name]), one_or_list(objects)))
    });
    guests.chain(nodes).collect()
}

fn one_or_list(mut objects: Vec<Value>) -> Value {
    match objects.len() {
        1 => objects.remove(0),
        _ => json!({"apiVersion": "v1", "kind": "List", "items": objects}),
    }
}

fn of_guest(namespace: &str, name: &str, uid: &str, guest: &GuestFacts) -> Value {
    let known = guest.cpu.value.as_ref();
    let losses = || guest.losses.iter();
    let silence = |lost: &KeptAnswer<Vec<String>>| Some(SavedSilence::of(Some(lost.value.as_ref().err()?)));
    let saved = SavedGuest {
        metadata: Meta { namespace: namespace.to_owned(), name: name.to_owned(), uid: uid.to_owned() },
        asked_at: written(&guest.cpu.origin),
        accelerator: known.map_or("", |known| known.accelerator.as_str()).to_owned(),
        cpu: known.ok().map(|known| (&known.cpu).into()),
        silence: SavedSilence::of(known.err()),
        losses: losses().filter_map(|(model, lost)| Some((model.clone(), lost.value.clone().ok()?))).collect(),
        losses_unanswered: losses().filter_map(|(model, lost)| Some((model.clone(), silence(lost)?))).collect(),
        losses_asked_at: losses().filter_map(|(model, lost)| Some((model.clone(), written(&lost.origin)?))).collect(),
    };
    object(GUEST, &saved)
}

/// Returns an object for each accelerator that the node was queried about, or several if there are many answers.
fn of_node(name: &str, machine: &Machine, node: &NodeFacts) -> Vec<Value> {
    let bare = || SavedNode {
        metadata: Meta { name: name.to_owned(), ..Meta::default() },
        machine: (*machine != Machine::default()).then(|| machine.into()),
        ..SavedNode::default()
    };
    let mut out = Vec::new();
    for &accelerator in Accelerator::ALL {
        let host = node.hosts.get(&accelerator);
        let mut answers =
            node.answers.iter().filter(|(cpu, _)| cpu.accelerator == accelerator).map(of_answer).peekable();
        if host.is_none() && answers.peek().is_none() {
            continue;
        }
        let mut saved = bare();
        if let Some(kept) = host {
            saved.accelerator = Some(accelerator.as_str().to_owned());
            saved.host_asked_at = written(&kept.origin);
            match &kept.value {
                Ok(host) => {
                    saved.host_model = host.model.as_ref().map(Into::into);
                    host.models.iter().for_each(|models| saved.list(models));
                }
                Err(silence) => saved.host_unanswered = Some(SavedSilence::of(Some(silence))),
            }
        }
        let mut size = 0;
        for answer in answers {
            let missing: usize = answer.missing.iter().map(|name| name.len() + 24).sum();
            let more = answer.cpu.size() + missing + answer.reason.len();
            if size > 0 && size + more > MAX_WRITTEN_BYTES {
                out.push(std::mem::replace(&mut saved, bare()));
                size = 0;
            }
            size += more;
            saved.answers.push(answer);
        }
        out.push(saved);
    }
    if let Some(kept) = &node.silence {
        if out.is_empty() {
            out.push(bare());
        }
        out[0].silence = SavedSilence::of(Some(&kept.value));
        out[0].asked_at = written(&kept.origin);
    }
    out.iter().map(|saved| object(NODE, saved)).collect()
}

fn of_answer((cpu, answer): (&GuestCpu, &KeptAnswer<LibvirtAnswer>)) -> SavedAnswer {
    let why = match &answer.value {
        Ok(LibvirtAnswer::Incompatible(why)) => why.clone(),
        _ => Incompatible::default(),
    };
    SavedAnswer {
        accelerator: cpu.accelerator.as_str().to_owned(),
        cpu: (&cpu.cpu).into(),
        asked_at: written(&answer.origin),
        answer: answer.value.as_ref().ok().map(|answer| answer.as_str().to_owned()),
        missing: why.missing,
        reason: why.reason,
        outdated_launcher: why.by_outdated,
        silence: SavedSilence::of(answer.value.as_ref().err()),
    }
}

fn object(kind: &str, saved: &impl Serialize) -> Value {
    let mut out = json!({"apiVersion": API_VERSION, "kind": kind});
    if let (Some(out), Ok(Value::Object(fields))) = (out.as_object_mut(), serde_json::to_value(saved)) {
        out.extend(fields);
    }
    out
}

/// Whether an object holds answers.
pub(crate) fn is_kind(api_version: &str, kind: &str) -> bool {
    api_version == API_VERSION && matches!(kind, GUEST | NODE)
}

/// The reason why saved answers cannot be added to the known ones.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Rejected {
    /// The object does not have the form that [`files`] writes.
    #[error("{0}")]
    Form(String),
    /// The object contradicts known answers.
    #[error("{0}")]
    Contradiction(#[from] Contradiction),
}

impl From<String> for Rejected {
    fn from(problem: String) -> Self {
        Self::Form(problem)
    }
}

/// Returns the objects of a dump's object with answers, of the fields that are read.
///
/// # Errors
///
/// The object does not have the form that [`files`] writes; the error says why.
pub(crate) fn read_fields(kind: &str, json: &str) -> Result<Vec<Value>, Rejected> {
    let mut facts = LibvirtFacts::default();
    take_in(&mut facts, kind, json, "")?;
    let of_file = |(_, content): (String, Value)| match content {
        Value::Object(mut list) if list.get("kind").is_some_and(|kind| kind == "List") => match list.remove("items") {
            Some(Value::Array(items)) => items,
            _ => Vec::new(),
        },
        object => vec![object],
    };
    Ok(files(&facts).into_iter().flat_map(of_file).collect())
}

/// Adds the answers of an object to the known ones; `place` names the object's place.
///
/// # Errors
///
/// The object does not have the form that [`files`] writes, or contradicts known answers; the error says why.
pub(crate) fn take_in(facts: &mut LibvirtFacts, kind: &str, json: &str, place: &str) -> Result<(), Rejected> {
    if json.len() > MAX_OBJECT_BYTES {
        return Err(format!("{} bytes; at most {MAX_OBJECT_BYTES} of one object are read", json.len()).into());
    }
    let place: Arc<str> = place.into();
    let added = if kind == GUEST {
        let saved: SavedGuest = parse(json)?;
        saved.metadata.is_named()?;
        if saved.metadata.namespace.is_empty() {
            return Err("metadata.namespace is missing".to_owned().into());
        }
        let (key, uid, guest) = saved.read(&place)?;
        facts.add_guest(key, uid, guest)
    } else {
        let saved: SavedNode = parse(json)?;
        saved.metadata.is_named()?;
        let name = saved.metadata.name.clone();
        let SavedNodeRead { machine, hosts, answers, silence } = saved.read(&place)?;
        facts.add_node(&name, &machine, hosts, answers, silence)
    };
    Ok(added?)
}

fn parse<'j, T: Deserialize<'j>>(json: &'j str) -> Result<T, String> {
    serde_json::from_str(json).map_err(|error| words(&error.to_string()))
}

impl SavedGuest {
    fn read(self, place: &Arc<str>) -> Result<((String, String), String, GuestFacts), String> {
        let Self { metadata, asked_at, accelerator, cpu, silence, losses, losses_unanswered, losses_asked_at } = self;
        let origin_of = |at: Option<&str>| origin(place, at);
        let value = match cpu {
            Some(_) if silence.is_stated() => {
                return Err("cpu, and unanswered says why it is missing: only one of them can be".to_owned());
            }
            // Older files have CPUs that libvirt cannot compare.
            Some(cpu) => comparable(cpu.of_guest(&accelerator)?),
            None => Err(silence.read().unwrap_or_else(no_answer)),
        };
        let cpu = Sourced::new(value, origin_of(asked_at.as_deref())?);
        if let Some(model) = losses.keys().find(|model| losses_unanswered.contains_key(*model)) {
            return Err(format!("model {} stands in losses and in lossesUnanswered; leave it in one", shown(model)));
        }
        let loss = |(model, lost): (String, Result<Vec<String>, SavedSilence>)| {
            let at = losses_asked_at.get(&model).or(asked_at.as_ref());
            let lost = match lost {
                Ok(features) => Ok(checked_all(&features)?.into_iter().collect::<BTreeSet<_>>().into_iter().collect()),
                Err(silence) => Err(silence.read().unwrap_or_else(no_answer)),
            };
            Ok((checked(&model)?, Sourced::new(lost, origin_of(at.map(String::as_str))?)))
        };
        let answered = losses.into_iter().map(|(model, lost)| (model, Ok(lost)));
        let unanswered = losses_unanswered.into_iter().map(|(model, silence)| (model, Err(silence)));
        let losses = answered.chain(unanswered).map(loss).collect::<Result<_, String>>()?;
        Ok(((metadata.namespace, metadata.name), metadata.uid, GuestFacts { cpu, losses }))
    }
}

/// The answers of a node in an object. A CPU may be listed more than once.
struct SavedNodeRead {
    machine: Machine,
    hosts: Option<(Accelerator, KeptAnswer<LibvirtHost>)>,
    answers: Vec<(GuestCpu, KeptAnswer<LibvirtAnswer>)>,
    silence: Option<Sourced<Silence>>,
}

fn no_answer() -> Silence {
    Silence::Recorded("no answer is recorded".to_owned())
}

/// Returns the named models that a node lists.
fn listed(
    usable: &[String],
    unusable: &BTreeMap<String, Vec<String>>,
    other: &[String],
) -> Result<BTreeMap<String, Usable>, String> {
    let mut out = BTreeMap::new();
    let mut list = |model: &String, usable: Usable| match out.insert(checked(model)?, usable.clone()) {
        Some(before) if before != usable => Err(format!(
            "model {model} stands in several of usableModels, unusableModels and otherModels; leave it in one"
        )),
        _ => Ok(()),
    };
    for model in usable {
        list(model, Usable::Yes)?;
    }
    for (model, blockers) in unusable {
        let blockers: BTreeSet<String> = checked_all(blockers)?.into_iter().collect();
        list(model, Usable::No(blockers.into_iter().collect()))?;
    }
    for model in other {
        list(model, Usable::Unknown)?;
    }
    Ok(out)
}

impl SavedNode {
    fn list(&mut self, models: &BTreeMap<String, Usable>) {
        let usable_models = self.usable_models.get_or_insert_default();
        for (model, usable) in models {
            match usable {
                Usable::Yes => usable_models.push(model.clone()),
                Usable::No(blockers) => drop(self.unusable_models.insert(model.clone(), blockers.clone())),
                Usable::Unknown => self.other_models.push(model.clone()),
            }
        }
    }

    fn read(self, place: &Arc<str>) -> Result<SavedNodeRead, String> {
        let Self {
            metadata: _,
            machine,
            accelerator,
            host_model,
            usable_models,
            unusable_models,
            other_models,
            host_asked_at,
            host_unanswered,
            answers,
            silence,
            asked_at,
        } = self;
        let machine = machine.map(SavedMachine::read).transpose()?.unwrap_or_default();
        let answers = answers.into_iter().map(|answer| answer.read(place)).collect::<Result<Vec<_>, _>>()?;
        let model = host_model.map(SavedCpu::read).transpose()?;
        // An empty list means that no model is usable. If the list were missing, the others would be taken for all
        // models.
        if usable_models.is_none() && !(unusable_models.is_empty() && other_models.is_empty()) {
            return Err("usableModels is missing beside unusableModels or otherModels; where none is usable it is []"
                .to_owned());
        }
        let models = usable_models.map(|usable| listed(&usable, &unusable_models, &other_models)).transpose()?;
        let has_host = model.is_some() || models.is_some();
        // Older files do not name the host model's accelerator: it was queried for the first of the CPUs.
        let first = || answers.first().map_or(Accelerator::Kvm, |(cpu, _)| cpu.accelerator);
        let accelerator = accelerator.as_deref().map(accelerated).transpose()?.unwrap_or_else(first);
        let host_origin = origin(place, host_asked_at.as_deref())?;
        if has_host && host_unanswered.is_some() {
            return Err(
                "hostModel or usableModels, and hostUnanswered says why they are missing: only one of them can be"
                    .to_owned(),
            );
        }
        let host = match host_unanswered {
            Some(silence) => Some(Err(silence.read().unwrap_or_else(no_answer))),
            None => has_host.then_some(Ok(LibvirtHost { model, models })),
        };
        let host = host.map(|host| (accelerator, Sourced::new(host, host_origin)));
        let silent_at = origin(place, asked_at.as_deref())?;
        let silence = silence.read().map(|silence| Sourced::new(silence, silent_at));
        Ok(SavedNodeRead { machine, hosts: host, answers, silence })
    }
}

impl SavedAnswer {
    fn read(self, place: &Arc<str>) -> Result<(GuestCpu, KeptAnswer<LibvirtAnswer>), String> {
        let cpu = self.cpu.of_guest(&self.accelerator)?;
        let by_outdated = self.outdated_launcher;
        let mut missing = checked_all(&self.missing)?;
        missing.sort_unstable();
        missing.dedup();
        let answer = match self.answer.as_deref() {
            Some(agrees @ ("identical" | "superset")) if !missing.is_empty() => {
                let missing = words(&missing.join(", "));
                return Err(format!("answer: {agrees}, and missing names {missing}: only one of them can be"));
            }
            Some(agrees @ ("identical" | "superset")) if !self.reason.is_empty() => {
                let reason = shown(&self.reason);
                return Err(format!("answer: {agrees}, and reason is {reason}: only one of them can be"));
            }
            Some(answer @ ("identical" | "superset" | "incompatible")) if self.silence.is_stated() => {
                return Err(format!(
                    "answer: {answer}, and unanswered says why it is missing: only one of them can be"
                ));
            }
            None => match self.silence.read().unwrap_or_else(no_answer) {
                // Older files list a libvirt that does not know the CPU's model or one of its features as failed.
                silence @ (Silence::Failed(_) | Silence::Recorded(_)) => match unknown_in(&silence.detail()) {
                    Some(reason) => {
                        Ok(LibvirtAnswer::Incompatible(Incompatible { missing: Vec::new(), reason, by_outdated }))
                    }
                    None => Err(silence),
                },
                silence => Err(silence),
            },
            Some("identical") => Ok(LibvirtAnswer::Identical),
            Some("superset") => Ok(LibvirtAnswer::Superset),
            Some("incompatible") if missing.is_empty() && self.reason == HOST_UNKNOWN => {
                Err(Silence::Failed(HOST_UNKNOWN.to_owned()))
            }
            Some("incompatible") => {
                let reason = reason(&self.reason).map_err(|silence| format!("reason: {silence}"))?;
                Ok(LibvirtAnswer::Incompatible(Incompatible { missing, reason, by_outdated }))
            }
            Some(other) => {
                let found = shown(other);
                return Err(format!("answer: expected identical, superset or incompatible, found {found}"));
            }
        };
        Ok((cpu, Sourced::new(answer, origin(place, self.asked_at.as_deref())?)))
    }
}

#[cfg(test)]
mod tests;
