//! A manifest judged as `check` and `explain` do it: as if a person created it, before and after the mutating webhook.

use std::collections::BTreeMap;

use anyhow::Context;
use json_patch::PatchOperation;
use serde::Deserialize;

use super::output::ResultOrigin;
use crate::admission::Webhook;
use crate::admission::response::Decision;
use crate::admission::review::decode;
use crate::answers::libvirt_plan::Survey;
use crate::answers::pod_rules;
use crate::enforce::forecast;
use crate::enforce::present_fields::PresentFields;
use crate::enforce::text_patch;
use crate::fit::judgement::Depth;
use crate::judge::{self, Evaluation, Manifest};
use crate::kubevirt::guest::guest_of;
use crate::policy::{LabelSelector, UserName};
use crate::review::{self, ReviewContext};
use crate::snapshot::{self, Item};
use crate::world::World;

/// The head of an object, parsed before the rest.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Head {
    metadata: HeadMeta,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct HeadMeta {
    name: Option<String>,
    generate_name: Option<String>,
    namespace: Option<String>,
    labels: Option<BTreeMap<String, String>>,
}

/// Whether an object has the selected labels; a review has no labels of its own.
pub(crate) fn is_selected(item: &Item, selector: Option<&LabelSelector>) -> bool {
    let Some(selector) = selector else { return true };
    let head: Head = serde_json::from_str(item.json.get()).unwrap_or_default();
    selector.matches(&head.metadata.labels.unwrap_or_default())
}

/// Returns the origin of a result: the object, not its guest.
pub(crate) fn origin(item: &Item, index: usize) -> ResultOrigin {
    let head: Head = serde_json::from_str(item.json.get()).unwrap_or_default();
    let HeadMeta { name, generate_name, namespace, .. } = head.metadata;
    ResultOrigin {
        file: item.place.file.clone(),
        index,
        line: item.place.line,
        group: item.group().to_owned(),
        kind: item.kind.clone(),
        namespace: namespace.unwrap_or_default(),
        name: name.filter(|name| !name.is_empty()).or(generate_name).unwrap_or_default(),
    }
}

/// Judges the rules about pods of a guest in a file, where the pods on the nodes are known.
pub(crate) fn settle(case: &mut Evaluation<'_>, item: &Item, survey: &Survey<'_>) -> Result<(), snapshot::Error> {
    let cluster = &survey.world.cluster;
    let guest = match Manifest::read(item.group(), &item.kind, &item)? {
        Some(Manifest::VirtualMachine(vm)) => Some(forecast::vmi_of(&vm, &guest_of(&vm, cluster))),
        Some(Manifest::Vmi(vmi)) => Some(*vmi),
        Some(Manifest::Pod(_) | Manifest::Replicas(_) | Manifest::Migration(_)) | None => None,
    };
    pod_rules::settle(case, guest.as_ref(), survey.world, survey.residents());
    Ok(())
}

/// The answer of the mutating webhook.
#[derive(Debug, Default)]
pub struct Mutated {
    /// The changes.
    pub patch: Vec<PatchOperation>,
    /// The warnings, without the prefix.
    pub warnings: Vec<String>,
}

/// Returns the changes of the mutating webhook to the object, or to the object of the review.
///
/// # Errors
///
/// Returns an error if the object is malformed.
pub fn mutation(world: &World, item: &Item) -> anyhow::Result<Mutated> {
    let text = item.json.get();
    Ok(if item.is_review() {
        let request = decode(text.as_bytes()).with_context(|| item.place.to_string())?;
        let answer = review::answer(&ReviewContext::new(world), Webhook::Mutate, &request);
        match answer.with_context(|| item.place.to_string())?.decision {
            Decision::Admit { patch, warnings, .. } => Mutated { patch, warnings: warnings.first },
            Decision::Deny { .. } => Mutated::default(),
        }
    } else {
        match Manifest::read(item.group(), &item.kind, &item)? {
            Some(manifest) => {
                let outline = || item.parse::<PresentFields>();
                let done = judge::mutation(world, &manifest, UserName::NOBODY, Depth::Brief.into(), outline)?;
                Mutated { patch: done.patch, warnings: done.warnings }
            }
            None => Mutated::default(),
        }
    })
}

/// Returns the object, or the review with its object, as it leaves the mutating webhook.
///
/// # Errors
///
/// Returns an error if the patch does not apply.
pub fn patched(item: Item, patch: &[PatchOperation]) -> anyhow::Result<Item> {
    if patch.is_empty() {
        return Ok(item);
    }
    let place: &[&str] = if item.is_review() { &["request", "object"] } else { &[] };
    let json = text_patch::patched(&item.json, place, patch).with_context(|| item.place.to_string())?;
    Ok(Item { json, ..item })
}

/// Judges a manifest as if a person created it.
///
/// # Errors
///
/// Returns an error if it is malformed.
pub fn judged<'a>(world: &World, item: &'a Item) -> Result<Option<Evaluation<'a>>, snapshot::Error> {
    judged_with(world, item, Depth::Full)
}

pub(crate) fn judged_with<'a>(
    world: &World,
    item: &'a Item,
    depth: Depth,
) -> Result<Option<Evaluation<'a>>, snapshot::Error> {
    let Some(manifest) = Manifest::read(item.group(), &item.kind, &item)? else { return Ok(None) };
    Ok(judge::judge(world, &manifest, UserName::NOBODY, depth))
}
