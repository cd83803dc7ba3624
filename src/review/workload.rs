//! A guest, its owner, its launcher or its migration is created or changed: it is judged by the policy that governs it.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{MissingInput, ReviewAnswer, missing};
use crate::admission::response::Decision;
use crate::admission::review::{self, Operation, Request, ReviewError, ReviewedObject};
use crate::bounds::Measured;
use crate::enforce::present_fields::PresentFields;
use crate::fit::judgement::{Depth, Effort};
use crate::fit::verdict::{Check, Impact};
use crate::judge::{Evaluation, Manifest, Mutation, judge_change, mutation};
use crate::kubevirt::cluster;
use crate::kubevirt::subject;
use crate::kubevirt::wire::{Meta, OwnerReference, Reader};
use crate::policy::{Exemption, UserName};
use crate::report::{self, EventReport, Note, Quotable, Reason, Regarding};
use crate::say;
use crate::world::World;

/// A part of a review.
struct Part<'a> {
    path: &'static str,
    json: &'a RawValue,
}

impl<'a> Reader<'a> for Part<'a> {
    type Error = ReviewError;

    fn read<T: Deserialize<'a> + Measured>(&self) -> Result<T, ReviewError> {
        review::object(self.path, self.json)
    }
}

/// Judges the object of a review; `None` if it is not to be judged.
///
/// # Errors
///
/// Returns the field of a malformed object of a judged kind.
pub fn case<'a>(world: &World, request: &Request<'a>) -> Result<Option<Evaluation<'a>>, ReviewError> {
    let Some(Concern { manifest, before }) = concern(world, request)? else { return Ok(None) };
    let user = UserName::from(&*request.user.username);
    Ok(judge_change(world, before.as_ref(), &manifest, &user, effort(&manifest, &|| false)))
}

/// The object of a review that is to be judged, and the one it replaces.
struct Concern<'a> {
    manifest: Manifest<'a>,
    before: Option<Manifest<'a>>,
}

/// Returns the object of a review, if it is to be judged.
fn concern<'a>(world: &World, request: &Request<'a>) -> Result<Option<Concern<'a>>, ReviewError> {
    let Some(object) = request.object.as_ref().filter(|_| request.sub_resource.is_empty()) else { return Ok(None) };
    let (group, kind) = (&*request.kind.group, &*request.kind.kind);
    let read = |path, json| Manifest::read(group, kind, &Part { path, json });
    let (mut manifest, mut before) = match (request.operation, object) {
        (Operation::Create, ReviewedObject::Pod(pod)) => (Manifest::launcher(Arc::clone(pod)), None),
        (Operation::Create, ReviewedObject::Text(json)) => (read("request.object", json)?, None),
        (Operation::Update, ReviewedObject::Text(json)) if Manifest::is_mutable(group, kind) => {
            let new = read("request.object", json)?;
            let old = match request.old_object {
                Some(json) => read("request.oldObject", json)?,
                None => None,
            };
            let user = UserName::from(&*request.user.username);
            let captures = user.is_kubevirt_controller(world.cluster.kubevirt_namespace.as_deref());
            let templates = old.as_ref().and_then(Manifest::template).zip(new.as_ref().and_then(Manifest::template));
            let is_same = templates.is_some_and(|(old, new)| !subject::concerns(old, new, captures));
            (new.filter(|_| !is_same), old)
        }
        (Operation::Update | Operation::Delete | Operation::Connect, _) => return Ok(None),
    };
    for object in [&mut manifest, &mut before].into_iter().flatten() {
        object.put_into(&request.namespace);
    }
    Ok(manifest.map(|manifest| Concern { manifest, before }))
}

/// Skips remedies for launcher pods: they come from a controller that only logs warnings.
fn effort<'e>(manifest: &Manifest<'_>, is_over: &'e dyn Fn() -> bool) -> Effort<'e> {
    let depth = if matches!(manifest, Manifest::Pod(_)) { Depth::Brief } else { Depth::Full };
    Effort::until(depth, is_over)
}

/// Returns the Events about the guest, if the sender shows no warnings and the policy records it.
fn events(manifest: &Manifest<'_>, case: &Evaluation<'_>) -> Vec<(Reason, String)> {
    let audited = match &case.decision {
        Decision::Admit { audit, .. } | Decision::Deny { audit, .. } => !audit.is_empty(),
    };
    let mut out = Vec::new();
    if audited && let Some(impact) = case.verdict.assessment.outcome.impact() {
        let reason = match impact {
            Impact::Unschedulable => Reason::NoNode,
            Impact::Pinned => Reason::NoTarget,
            Impact::Fragile => Reason::OneTarget,
        };
        let mut message = match case.messages.lines.first() {
            Some(line) => format!("{}; {line}", case.messages.headline),
            None => case.messages.headline.clone(),
        };
        // An Event about an owner of many guests names the guest.
        if let Some((report::EventKind::Replicas(_), _)) = manifest.metadata().and_then(owner) {
            message = format!("{} {message}", case.prepared.subject.title());
        }
        out.push((reason, message));
    }
    // A guest in danger is reported regardless of the dials.
    if let Some(finding) = case.verdict.found(Check::OwnNode) {
        out.push((Reason::OwnNode, say::finding::message(finding)));
    }
    // Reported at each start, and not for its VM before that, unless the sender was a controller.
    let is_start = matches!(manifest, Manifest::Vmi(_)) || case.exempted() == Some(Exemption::Controller);
    if let Some(left) = case.left.as_ref().filter(|_| is_start) {
        out.push((Reason::ModelNotReplaced, left.clone()));
    }
    out
}

/// Returns the Events of a review, about the objects they belong to. An object that the world does not hold gets none:
/// it is added to `lacks`.
fn reports(
    world: &World,
    manifest: &Manifest<'_>,
    user: &UserName,
    events: Vec<(Reason, String)>,
    lacks: &mut Vec<MissingInput>,
) -> Vec<EventReport> {
    if events.is_empty() {
        return Vec::new();
    }
    let Some((kind, namespace, name, uid)) = regarding(manifest, user) else { return Vec::new() };
    let Some(regarding) = Regarding::known(world, kind, namespace, name, uid) else {
        // Missing VMIs are in `lacks` already.
        if kind != report::EventKind::Vmi {
            lacks.push(MissingInput::Owner { kind, namespace: namespace.to_owned(), name: name.to_owned() });
        }
        return Vec::new();
    };
    let quotable = Quotable::of(manifest);
    let report = |(reason, line): (Reason, String)| {
        let note = Note::new(reason, &line, quotable);
        EventReport { regarding: regarding.clone(), reason, note }
    };
    events.into_iter().map(report).collect()
}

/// Returns the owner of a VMI or VM: a VM, a replica set or a pool.
fn owner(meta: &Meta) -> Option<(report::EventKind, &OwnerReference)> {
    meta.owner_references.iter().find_map(|owner| Some((report::EventKind::of_owner(owner)?, owner)))
}

/// Returns the object that Events of a review are about, as the review refers to it: kind, namespace, name, and UID if
/// it states one. It is the VMI; before one exists, its owner: a VM or a replica set, and before a VM exists, its pool.
/// `None` if a person sends it and reads the warnings.
fn regarding<'m>(
    manifest: &'m Manifest<'_>,
    user: &UserName,
) -> Option<(report::EventKind, &'m str, &'m str, Option<&'m str>)> {
    use report::EventKind;
    let itself = |kind, meta: &'m Meta| {
        let is_stored = !meta.uid.is_empty();
        is_stored.then_some((kind, meta.namespace.as_str(), meta.name.as_str(), Some(meta.uid.as_str())))
    };
    let owner = |meta: &'m Meta| {
        let (kind, owner) = owner(meta)?;
        Some((kind, meta.namespace.as_str(), owner.name.as_str(), Some(owner.uid.as_str())))
    };
    match manifest {
        Manifest::Pod(pod) => {
            let owner = cluster::owner(pod)?;
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            Some((EventKind::Vmi, namespace, &owner.name, Some(&owner.uid)))
        }
        Manifest::Migration(vmim) => Some((EventKind::Vmi, &vmim.metadata.namespace, &vmim.spec.vmi_name, None)),
        _ if user.service_account().is_none() => None,
        Manifest::Vmi(new) => owner(&new.metadata),
        Manifest::VirtualMachine(vm) => owner(&vm.metadata).or_else(|| itself(EventKind::VirtualMachine, &vm.metadata)),
        Manifest::Replicas(replicas) => itself(EventKind::Replicas(replicas.kind), &replicas.vm.metadata),
    }
}

/// Answers a review in the validating stage.
///
/// # Errors
///
/// Returns the field of a malformed object.
pub(super) fn validate(
    world: &World,
    request: &Request<'_>,
    is_over: &dyn Fn() -> bool,
) -> Result<ReviewAnswer, ReviewError> {
    let Some(Concern { manifest, before }) = concern(world, request)? else { return Ok(Decision::admit().into()) };
    let user = UserName::from(&*request.user.username);
    let mut lacks = missing::of_workload(world, &manifest);
    let Some(case) = judge_change(world, before.as_ref(), &manifest, &user, effort(&manifest, is_over)) else {
        return Ok(Decision::admit().into());
    };
    let events = if request.dry_run { Vec::new() } else { events(&manifest, &case) };
    let reports = reports(world, &manifest, &user, events, &mut lacks);
    let exempted = case.exempted().filter(|_| !request.dry_run);
    Ok(ReviewAnswer { decision: case.decision, reports, lacks, exempted })
}

/// Answers a review in the mutating stage.
///
/// # Errors
///
/// Returns the field of a malformed object.
pub(super) fn mutate(
    world: &World,
    request: &Request<'_>,
    is_over: &dyn Fn() -> bool,
) -> Result<ReviewAnswer, ReviewError> {
    let Some(Concern { manifest, .. }) = concern(world, request)? else { return Ok(Decision::admit().into()) };
    let user = UserName::from(&*request.user.username);
    let outline = || match &request.object {
        Some(ReviewedObject::Text(json)) => review::object("request.object", json),
        Some(ReviewedObject::Pod(_)) | None => Ok(PresentFields::default()),
    };
    let Mutation { patch, warnings, events, audit } =
        mutation(world, &manifest, &user, Effort::until(Depth::Brief, is_over), outline)?;
    let mut lacks = missing::of_mutation(world, &manifest);
    let events = if request.dry_run { Vec::new() } else { events };
    let reports = reports(world, &manifest, &user, events, &mut lacks);
    let decision = Decision::Admit { warnings: warnings.into(), audit, patch };
    Ok(ReviewAnswer { reports, lacks, ..decision.into() })
}
