//! Answers as they are kept in files: objects `LibvirtGuest` and `LibvirtNode`, one a file, which may lie in a dump.
//!
//! Fields are only ever added. What is read back is checked like an answer of a container: a dump comes from strangers.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::answer::{Host, name, words};
use super::facts::{GuestFacts, NodeFacts};
use super::{Accelerator, Answer, Cpu, Facts, GuestCpu, Incompatible, Silence};

/// `apiVersion` of both kinds.
pub(crate) const API_VERSION: &str = "cpufit.io/v1alpha1";
/// The kind of what is known of a guest.
pub(crate) const GUEST: &str = "LibvirtGuest";
/// The kind of what is known of a node.
pub(crate) const NODE: &str = "LibvirtNode";
/// Bytes of one object that are read.
const MOST: usize = 4 << 20;

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

/// A CPU, and by what it runs.
#[derive(Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct SavedCpu {
    model: String,
    vendor: Option<String>,
    require: BTreeSet<String>,
    disable: BTreeSet<String>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct SavedGuest {
    metadata: Meta,
    accelerator: String,
    cpu: Option<SavedCpu>,
    unanswered: Option<String>,
    losses: BTreeMap<String, Vec<String>>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct SavedNode {
    metadata: Meta,
    host_model: Option<SavedCpu>,
    usable_models: Option<Vec<String>>,
    answers: Vec<SavedAnswer>,
    unanswered: Option<String>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct SavedAnswer {
    accelerator: String,
    cpu: SavedCpu,
    answer: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    missing: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    reason: String,
    unanswered: Option<String>,
}

impl From<&Cpu> for SavedCpu {
    fn from(cpu: &Cpu) -> Self {
        let Cpu { model, vendor, require, disable } = cpu.clone();
        Self { model, vendor, require, disable }
    }
}

impl SavedCpu {
    fn read(self) -> Result<Cpu, String> {
        let names = self.require.iter().chain(&self.disable).chain(&self.vendor).chain([&self.model]);
        names.map(|text| checked(text)).collect::<Result<Vec<_>, _>>()?;
        let Self { model, vendor, require, disable } = self;
        Ok(Cpu { model, vendor, require, disable })
    }

    fn of_guest(self, accelerator: &str) -> Result<GuestCpu, String> {
        let accelerator = match accelerator {
            "kvm" => Accelerator::Kvm,
            "qemu" => Accelerator::Qemu,
            other => return Err(format!("accelerator: expected kvm or qemu, found {}", Value::from(other))),
        };
        Ok(GuestCpu { cpu: self.read()?, accelerator })
    }
}

fn checked(text: &str) -> Result<String, String> {
    name(text).map_err(|silence| silence.to_string())
}

fn checked_all(texts: &[String]) -> Result<Vec<String>, String> {
    texts.iter().map(|text| checked(text)).collect()
}

fn recorded(unanswered: Option<String>) -> Silence {
    Silence::Recorded(unanswered.map_or_else(|| "no answer is recorded".to_owned(), |text| words(&text)))
}

/// The answers as files: name and content. Nothing of a guest but its CPU is in them.
#[must_use]
pub(crate) fn files(facts: &Facts) -> Vec<(String, Value)> {
    let guests = facts.guests.iter().map(|((namespace, name), guest)| {
        let metadata = Meta { namespace: namespace.clone(), name: name.clone(), uid: guest.uid.clone() };
        let known = guest.cpu.as_ref();
        let saved = SavedGuest {
            metadata,
            accelerator: known.map_or("", |known| known.accelerator.as_str()).to_owned(),
            cpu: known.ok().map(|known| (&known.cpu).into()),
            unanswered: known.err().map(ToString::to_string),
            losses: guest.losses.clone(),
        };
        (format!("guest.{namespace}.{name}.json"), object(GUEST, &saved))
    });
    let nodes = facts.nodes.iter().map(|(name, node)| {
        let answer = |(cpu, answer): (&GuestCpu, &Result<Answer, Silence>)| {
            let why = match answer {
                Ok(Answer::Incompatible(why)) => why.clone(),
                _ => Incompatible::default(),
            };
            SavedAnswer {
                accelerator: cpu.accelerator.as_str().to_owned(),
                cpu: (&cpu.cpu).into(),
                answer: answer.as_ref().ok().map(|answer| answer.as_str().to_owned()),
                missing: why.missing,
                reason: why.reason,
                unanswered: answer.as_ref().err().map(ToString::to_string),
            }
        };
        let saved = SavedNode {
            metadata: Meta { name: name.clone(), ..Meta::default() },
            host_model: node.host.as_ref().and_then(|host| host.model.as_ref()).map(Into::into),
            usable_models: node.host.as_ref().map(|host| host.usable.clone()),
            answers: node.answers.iter().map(answer).collect(),
            unanswered: node.silence.as_ref().map(ToString::to_string),
        };
        (format!("node.{name}.json"), object(NODE, &saved))
    });
    guests.chain(nodes).collect()
}

fn object(kind: &str, saved: &impl Serialize) -> Value {
    let mut out = json!({"apiVersion": API_VERSION, "kind": kind});
    if let (Some(out), Ok(Value::Object(fields))) = (out.as_object_mut(), serde_json::to_value(saved)) {
        out.extend(fields);
    }
    out
}

/// Whether an object holds answers.
#[must_use]
pub(crate) fn is_kind(api_version: &str, kind: &str) -> bool {
    api_version == API_VERSION && matches!(kind, GUEST | NODE)
}

/// Takes in an object of one of the kinds. What it says of a guest or a node takes the place of what was known of it.
///
/// # Errors
///
/// It is not what [`files`] writes; the error says what is wrong.
pub(crate) fn take_in(facts: &mut Facts, kind: &str, json: &str) -> Result<(), String> {
    if json.len() > MOST {
        return Err(format!("more than {MOST} bytes"));
    }
    if kind == GUEST {
        let SavedGuest { metadata, accelerator, cpu, unanswered, losses } = parse(json)?;
        metadata.is_named()?;
        let cpu = match cpu {
            Some(cpu) => Ok(cpu.of_guest(&accelerator)?),
            None => Err(recorded(unanswered)),
        };
        let loss = |(model, features): (String, Vec<String>)| Ok((checked(&model)?, checked_all(&features)?));
        let losses = losses.into_iter().map(loss).collect::<Result<_, String>>()?;
        facts.guests.insert((metadata.namespace, metadata.name), GuestFacts { uid: metadata.uid, cpu, losses });
        return Ok(());
    }
    let SavedNode { metadata, host_model, usable_models, answers, unanswered } = parse(json)?;
    metadata.is_named()?;
    let model = host_model.map(SavedCpu::read).transpose()?;
    let usable = usable_models.as_deref().map(checked_all).transpose()?.map(|mut usable| {
        usable.sort_unstable();
        usable
    });
    let host = usable.map(|usable| Host { model, usable });
    let answers = answers.into_iter().map(SavedAnswer::read).collect::<Result<_, _>>()?;
    let silence = unanswered.map(|text| recorded(Some(text)));
    facts.nodes.insert(metadata.name, NodeFacts { host, answers, silence });
    Ok(())
}

fn parse<'j, T: Deserialize<'j>>(json: &'j str) -> Result<T, String> {
    serde_json::from_str(json).map_err(|error| words(&error.to_string()))
}

impl SavedAnswer {
    fn read(self) -> Result<(GuestCpu, Result<Answer, Silence>), String> {
        let cpu = self.cpu.of_guest(&self.accelerator)?;
        let mut missing = checked_all(&self.missing)?;
        missing.sort_unstable();
        let answer = match self.answer.as_deref() {
            None => Err(recorded(self.unanswered)),
            Some("identical") => Ok(Answer::Identical),
            Some("superset") => Ok(Answer::Superset),
            Some("incompatible") => Ok(Answer::Incompatible(Incompatible { missing, reason: words(&self.reason) })),
            Some(other) => {
                let found = Value::from(other);
                return Err(format!("answer: expected identical, superset or incompatible, found {found}"));
            }
        };
        Ok((cpu, answer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cpu() -> GuestCpu {
        let require = ["vaes", "sse4.1"].map(str::to_owned).into();
        let cpu = Cpu { model: "EPYC".to_owned(), vendor: Some("AMD".to_owned()), require, ..Cpu::default() };
        GuestCpu { cpu, accelerator: Accelerator::Kvm }
    }

    fn facts() -> Facts {
        let mut facts = Facts::default();
        let losses = [("EPYC-IBPB".to_owned(), vec!["vaes".to_owned()])].into();
        let guest = GuestFacts { uid: "1-2".to_owned(), cpu: Ok(cpu()), losses };
        facts.guests.insert(("shop".to_owned(), "db".to_owned()), guest);
        let silent = Err(Silence::Recorded("host-passthrough".to_owned()));
        let passed = GuestFacts { uid: String::new(), cpu: silent, losses: BTreeMap::new() };
        facts.guests.insert(("shop".to_owned(), "web".to_owned()), passed);
        let why = Incompatible { missing: vec!["vaes".to_owned()], reason: String::new() };
        let answers = [(cpu(), Ok(Answer::Incompatible(why)))].into();
        let host = Some(Host { model: Some(cpu().cpu), usable: vec!["EPYC".to_owned()] });
        facts.nodes.insert("node-b".to_owned(), NodeFacts { host, answers, silence: None });
        let silence = Some(Silence::Recorded("no answer".to_owned()));
        facts.nodes.insert("node-c".to_owned(), NodeFacts { silence, ..NodeFacts::default() });
        facts
    }

    #[test]
    fn what_is_kept_is_read_back() {
        let mut read = Facts::default();
        for (_, object) in files(&facts()) {
            let kind = object["kind"].as_str().unwrap_or_default();
            assert!(is_kind(API_VERSION, kind));
            assert_eq!(take_in(&mut read, kind, &object.to_string()), Ok(()));
        }
        assert_eq!(read, facts());
        assert!(read.of("shop", "db", "1-2").is_some());
        assert_eq!(read.of("shop", "db", "2-2"), None, "it was started anew: another CPU");
    }

    #[test]
    fn what_a_stranger_writes_is_checked() {
        let shell = r#"{"metadata":{"name":"db"},"accelerator":"kvm","cpu":{"model":"$(reboot)"}}"#;
        let word =
            r#"{"metadata":{"name":"n"},"answers":[{"accelerator":"kvm","cpu":{"model":"EPYC"},"answer":"yes"}]}"#;
        let other = r#"{"metadata":{"name":"db"},"accelerator":"hvf","cpu":{"model":"EPYC"}}"#;
        for (kind, text) in [(GUEST, shell), (NODE, word), (GUEST, other), (GUEST, "[]"), (NODE, r#"{"answers":1}"#)] {
            assert!(take_in(&mut Facts::default(), kind, text).is_err(), "{text}");
        }
    }
}
