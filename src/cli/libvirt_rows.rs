//! Libvirt's answers in JSON, and the models that a guest is compared with.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::answers::libvirt_plan::{self, NamedBy, Survey};
use crate::fit::bits::Bits;
use crate::fit::fleet::{Fleet, NodeIndex};
use crate::fit::label::{self, Family};
use crate::fit::libvirt::{Answers, Labelled, Lost, Silence, labelled};
use crate::fit::subject::Subject;

/// The answers of libvirt: `libvirt` of a result.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LibvirtRow {
    /// The guest's CPU; null if it is not known.
    pub cpu: Option<CpuRow>,
    /// The reason why the guest's CPU is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unanswered: Option<String>,
    /// The reason in one word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unanswered_code: Option<&'static str>,
    /// By node, libvirt's answer, or the reason for its lack; empty if the guest's CPU is not known.
    pub nodes: BTreeMap<String, LibvirtNodeRow>,
    /// The features of the guest, beyond its model's, for which no node has a label.
    pub unlabelled: Vec<String>,
    /// By named model, the features that the guest would lose with it, according to libvirt.
    pub losses: BTreeMap<String, Vec<String>>,
    /// By named model (of all policies, of `recommend` for the guest's node, and of `losses`), the comparison with the
    /// guest.
    pub compared: BTreeMap<String, ComparedRow>,
}

/// A model that a guest is compared with.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ComparedRow {
    /// The features that it would lose; null if the features of the guest or the model are not known.
    pub lost: Option<Vec<String>>,
    /// The source: `libvirt` if it was asked, `models` for the definitions of libvirt and QEMU, or null.
    pub by: Option<&'static str>,
    /// The policies with this common model.
    pub policies: Vec<String>,
    /// Whether `recommend` names it for the pool of the guest's node.
    pub recommended: bool,
    /// Whether the guest gets this model at its next start.
    pub at_next_start: bool,
    /// The reason why libvirt did not compare it, or could not be asked about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unanswered: Option<String>,
}

/// Returns the features that the guest would lose with the model at its next start, if it would lose `lost` for the
/// model alone: it keeps those that it then requires or forces itself, and optional ones where the node has them, and
/// loses those that it then switches off.
pub(crate) fn lost_at_next_start(asked: &Answers, subject: &Subject<'_>, lost: &[String]) -> Vec<String> {
    let features = subject.features_at_start();
    let selector = subject.restart.iter().flat_map(|start| start.placement.selector.iter());
    let required: BTreeSet<&str> =
        selector.filter(|(key, _)| Family::of(key) == Family::CpuFeature).map(|(key, _)| label::name(key)).collect();
    let is_kept = |name: &str| required.contains(name) || features.asks_for(name);
    let cpu = asked.guest.as_ref().ok().map(|guest| &guest.cpu);
    let has = |name: &&String| cpu.and_then(|cpu| cpu.has(name)) == Some(true);
    let off = features.switched_off().filter(has);
    let lost: BTreeSet<&String> = lost.iter().filter(|name| !is_kept(name)).chain(off).collect();
    lost.into_iter().cloned().collect()
}

/// Compares the guest with each model other than its own; empty if its CPU is not known.
pub(crate) fn compared(asked: &Answers, subject: &Subject<'_>, survey: &Survey<'_>) -> BTreeMap<String, ComparedRow> {
    if asked.guest.is_err() {
        return BTreeMap::new();
    }
    let node = subject.source().and_then(|name| survey.world.cluster.fleet.find(name));
    let mut named = survey.models(node);
    let next = libvirt_plan::at_next_start(subject);
    for model in asked.losses.keys().map(String::as_str).chain(next) {
        named.entry(model.to_owned()).or_default();
    }
    named.retain(|model, _| !libvirt_plan::has_model(subject, model));
    let row = |(model, by): (String, NamedBy)| {
        let lost = asked.lost(&model);
        let answered = asked.losses.get(&model).map(|lost| lost.as_ref().err().map(ToString::to_string));
        let not_asked = || libvirt_plan::why_not_asked(&model).map(|why| format!("not asked: {why}"));
        let row = ComparedRow {
            by: lost.as_ref().map(Lost::source),
            lost: lost.map(|lost| lost_at_next_start(asked, subject, lost.features())),
            policies: by.policies,
            recommended: by.recommended,
            at_next_start: next == Some(model.as_str()),
            unanswered: answered.unwrap_or_else(not_asked),
        };
        (model, row)
    };
    named.into_iter().map(row).collect()
}

/// The CPU of a guest: `cpu` of libvirt's answers.
#[derive(Debug, Serialize)]
pub struct CpuRow {
    /// The model.
    pub model: String,
    /// The vendor, or null.
    pub vendor: Option<String>,
    /// The features it has in addition to the model's.
    pub require: BTreeSet<String>,
    /// The features of the model that it lacks.
    pub disable: BTreeSet<String>,
    /// The features that it lacks and that its nodes may not provide.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub forbid: BTreeSet<String>,
    /// The accelerator: `kvm` or `qemu`.
    pub accelerator: &'static str,
}

/// Libvirt's answer for one node.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LibvirtNodeRow {
    /// The answer: `identical`, `superset`, `incompatible`, or null.
    pub answer: Option<&'static str>,
    /// The features that it misses.
    pub missing: Vec<MissingRow>,
    /// Libvirt's own words, if they name no features.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether it refuses and only outdated launchers there could be asked.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub outdated_launcher: bool,
    /// The reason why there is no answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unanswered: Option<String>,
    /// The reason in one word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unanswered_code: Option<&'static str>,
    /// Its host model, if libvirt there was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_model: Option<String>,
    /// The reason why libvirt there, when asked, described neither its host model nor its usable models.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_unanswered: Option<String>,
    /// The reason in one word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_unanswered_code: Option<&'static str>,
}

/// A feature that a node misses.
#[derive(Debug, Serialize)]
pub struct MissingRow {
    /// The feature.
    pub feature: String,
    /// The state of its label: `there` although it is missing, `elsewhere`, or `nowhere`.
    pub label: &'static str,
}

impl LibvirtRow {
    /// Collects libvirt's answers about a guest; `None` if it was not asked.
    pub(crate) fn of(subject: &Subject<'_>, survey: &Survey<'_>) -> Option<Self> {
        let fleet = &survey.world.cluster.fleet;
        let asked = subject.asked()?;
        let guest = asked.guest.as_ref();
        let said = asked.by_node(&subject.placement, fleet);
        let node = |node: NodeIndex| {
            let (name, answer) = (fleet.name(node), said(node));
            let why = asked.refusal(name);
            let missing = why.map(|why| labelled(fleet, node, &why.missing)).unwrap_or_default();
            let row = LibvirtNodeRow {
                answer: answer.as_ref().ok().map(|answer| answer.as_str()),
                missing: missing.into_iter().map(MissingRow::from).collect(),
                reason: why.map(|why| why.reason.clone()).filter(|reason| !reason.is_empty()),
                outdated_launcher: why.is_some_and(|why| why.by_outdated),
                unanswered: answer.as_ref().err().map(ToString::to_string),
                unanswered_code: answer.as_ref().err().map(Silence::code),
                host_model: asked.hosts.get(name).and_then(|host| Some(host.model.as_ref()?.model.clone())),
                host_unanswered: asked.silent_hosts.get(name).map(ToString::to_string),
                host_unanswered_code: asked.silent_hosts.get(name).map(Silence::code),
            };
            (name.to_owned(), row)
        };
        let losses = |(model, lost): (&String, &Result<Vec<String>, Silence>)| {
            Some((model.clone(), lost_at_next_start(asked, subject, lost.as_ref().ok()?)))
        };
        let is_spoken_of = |node: &NodeIndex| guest.is_ok() && subject.source() != Some(fleet.name(*node));
        Some(Self {
            cpu: guest.ok().map(|guest| CpuRow {
                model: guest.cpu.model.clone(),
                vendor: guest.cpu.vendor.clone(),
                require: guest.cpu.require.clone(),
                disable: guest.cpu.disable.clone(),
                forbid: guest.cpu.forbid.clone(),
                accelerator: guest.accelerator.as_str(),
            }),
            unanswered: guest.err().map(ToString::to_string),
            unanswered_code: guest.err().map(Silence::code),
            nodes: fleet.in_name_order().into_iter().filter(is_spoken_of).map(node).collect(),
            unlabelled: unlabelled(asked, fleet).map(str::to_owned).collect(),
            losses: asked.losses.iter().filter_map(losses).collect(),
            compared: compared(asked, subject, survey),
        })
    }
}

impl From<(&str, Labelled)> for MissingRow {
    fn from((feature, label): (&str, Labelled)) -> Self {
        let label = match label {
            Labelled::There => "there",
            Labelled::Elsewhere => "elsewhere",
            Labelled::Nowhere => "nowhere",
        };
        Self { feature: feature.to_owned(), label }
    }
}

/// Returns the features of the guest, beyond its model's, for which no node has a label.
pub(crate) fn unlabelled<'a>(asked: &'a Answers, fleet: &Fleet) -> impl Iterator<Item = &'a str> {
    let anywhere = fleet.offered(Family::CpuFeature, &Bits::all(fleet.len()));
    let has = asked.guest.iter().flat_map(|guest| &guest.cpu.require).map(String::as_str);
    has.filter(move |feature| anywhere.binary_search(feature).is_err())
}
